//! What was changed, when, by whom and why: JSON lines in the pool's own directory, bounded, read again at the next
//! start.

use std::collections::VecDeque;
use std::fmt;
use std::fs::{self, File, OpenOptions};
use std::io::{self, BufRead, BufReader, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use serde::{Deserialize, Serialize};
use sluice_core::policy::PolicyKind;

use crate::check::bounded;

/// Below the directory of the policies.
const FILE: &str = "history.jsonl";
/// Entries that are kept; the oldest go first. The file is rewritten when it holds twice as many.
pub const KEPT: usize = 1000;
/// The longest line, in bytes: settings that do not fit are not kept with it.
const LINE_LIMIT: usize = 64 << 10;
/// The most of the file's end that is read at the start, in bytes.
const READ_LIMIT: u64 = 32 << 20;
/// The longest reason, in bytes.
pub const WHY_LIMIT: usize = 400;

/// Who changed something.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum By {
    /// The user at the other end of the control socket.
    Uid(u32),
    /// The policy's file changed.
    File,
    /// The configuration changed.
    Config,
    /// A young generation kept failing.
    Recovery,
}

impl fmt::Display for By {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Uid(uid) => write!(f, "uid {uid}"),
            Self::File => f.write_str("file"),
            Self::Config => f.write_str("config"),
            Self::Recovery => f.write_str("recovery"),
        }
    }
}

/// What was done.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Action {
    /// The pool started with something else than it last served with.
    Started,
    /// A changed file or changed settings took over.
    Applied,
    /// The shadow took over.
    Promoted,
    RolledBack,
    Pinned,
    Unpinned,
}

/// One change.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// Milliseconds since 1970.
    pub at: u64,
    pub kind: PolicyKind,
    pub action: Action,
    /// Content hash of what served before.
    pub from: Option<String>,
    /// Content hash of what serves since.
    pub to: String,
    /// `uid 1000`, `file`, `config` or `recovery`.
    pub who: String,
    pub why: String,
    /// Canonical JSON, in the file only: settings may be secret.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) settings: Option<String>,
}

/// The latest changes of all kinds.
#[derive(Debug)]
pub(crate) struct History {
    path: PathBuf,
    inner: Mutex<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    /// Oldest first.
    entries: VecDeque<Entry>,
    lines: usize,
    /// The last line is not there, or not whole: the file is written anew before it grows.
    torn: bool,
}

impl History {
    /// Reads what is there. A line that cannot be read (a crash may have cut the last) is left out and said so.
    ///
    /// # Errors
    /// The file cannot be read or written.
    pub(crate) fn open(dir: &Path) -> io::Result<Self> {
        let path = dir.join(FILE);
        let (entries, clean) = read(&path)?;
        let lines = entries.len();
        let history = Self { path, inner: Mutex::new(Inner { entries, lines, torn: false }) };
        if !clean {
            tracing::warn!(file = %history.path.display(), "lines of the policies' history cannot be read; they are left out");
            history.rewrite(&mut history.locked())?;
        }
        Ok(history)
    }

    fn locked(&self) -> std::sync::MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Puts a change on record. What cannot be written is kept in memory, and said so.
    pub(crate) fn record(&self, mut entry: Entry) {
        entry.why = bounded(&entry.why, WHY_LIMIT);
        let mut inner = self.locked();
        let line = line(&mut entry);
        inner.entries.push_back(entry);
        while inner.entries.len() > KEPT {
            inner.entries.pop_front();
        }
        inner.lines += 1;
        let anew = inner.torn || inner.lines > 2 * KEPT;
        let written = if anew { self.rewrite(&mut inner) } else { append(&self.path, &line) };
        inner.torn = written.is_err();
        if let Err(error) = written {
            tracing::error!(file = %self.path.display(), %error, "a change of a policy is not on record on disk");
        }
    }

    fn rewrite(&self, inner: &mut Inner) -> io::Result<()> {
        let mut text = Vec::new();
        for entry in &mut inner.entries {
            text.extend_from_slice(&line(entry));
        }
        replace(&self.path, &text)?;
        inner.lines = inner.entries.len();
        Ok(())
    }

    /// The latest changes of a kind, newest first, without settings.
    pub(crate) fn latest(&self, kind: PolicyKind, limit: usize) -> Vec<Entry> {
        let inner = self.locked();
        let of_kind = inner.entries.iter().rev().filter(|entry| entry.kind == kind);
        of_kind.take(limit).map(|entry| Entry { settings: None, ..entry.clone() }).collect()
    }

    /// What served last, and with which settings.
    pub(crate) fn last(&self, kind: PolicyKind) -> Option<(String, Option<String>)> {
        let inner = self.locked();
        let entry = inner.entries.iter().rev().find(|entry| entry.kind == kind)?;
        Some((entry.to.clone(), entry.settings.clone()))
    }

    /// The settings that a component last served with.
    pub(crate) fn settings(&self, kind: PolicyKind, hash: &str) -> Option<String> {
        let inner = self.locked();
        let served = |entry: &&Entry| entry.kind == kind && entry.to == hash && entry.settings.is_some();
        inner.entries.iter().rev().find(served)?.settings.clone()
    }

    /// What served before the latest change of a kind, and with which settings, where that was less than `age`
    /// (milliseconds) before `now` and is not itself a return by recovery.
    pub(crate) fn lately_before(&self, kind: PolicyKind, now: u64, age: u64) -> Option<(String, String)> {
        let inner = self.locked();
        let serves =
            |entry: &&Entry| entry.kind == kind && !matches!(entry.action, Action::Pinned | Action::Unpinned);
        let mut changes = inner.entries.iter().rev().filter(serves);
        let last = changes.next()?;
        if last.at.saturating_add(age) <= now || last.who == By::Recovery.to_string() {
            return None;
        }
        let earlier = changes.find(|one| (&one.to, &one.settings) != (&last.to, &last.settings))?;
        Some((earlier.to.clone(), earlier.settings.clone()?))
    }

    /// What served before `hash` did, as far back as the record goes.
    pub(crate) fn before(&self, kind: PolicyKind, hash: &str) -> Option<String> {
        let inner = self.locked();
        let mut earlier = inner.entries.iter().rev().filter(|entry| entry.kind == kind);
        earlier.find_map(|entry| entry.from.clone().filter(|from| from != hash))
    }
}

/// The entry as a line; settings that make it too long go.
fn line(entry: &mut Entry) -> Vec<u8> {
    let text = |entry: &Entry| {
        // Strings and numbers only: this does not fail.
        let mut bytes = serde_json::to_vec(entry).unwrap_or_default();
        bytes.push(b'\n');
        bytes
    };
    let whole = text(entry);
    if whole.len() <= LINE_LIMIT {
        return whole;
    }
    entry.settings = None;
    text(entry)
}

fn append(path: &Path, line: &[u8]) -> io::Result<()> {
    let mut file = OpenOptions::new().append(true).create(true).mode(0o600).open(path)?;
    file.write_all(line)?;
    file.sync_data()
}

/// Written aside and renamed.
pub(crate) fn replace(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let aside = path.with_extension("new");
    let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&aside)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    fs::rename(&aside, path)?;
    path.parent().map_or(Ok(()), |dir| File::open(dir)?.sync_all())
}

/// The entries at the end of the file, and whether every line could be read.
fn read(path: &Path) -> io::Result<(VecDeque<Entry>, bool)> {
    let mut file = match File::open(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok((VecDeque::new(), true)),
        opened => opened?,
    };
    let beyond = file.metadata()?.len().saturating_sub(READ_LIMIT);
    file.seek(SeekFrom::Start(beyond))?;
    let mut reader = BufReader::new(file.take(READ_LIMIT));
    let (mut entries, mut clean) = (VecDeque::new(), beyond == 0);
    let mut bytes = Vec::new();
    loop {
        bytes.clear();
        if reader.read_until(b'\n', &mut bytes)? == 0 {
            return Ok((entries, clean));
        }
        match serde_json::from_slice(&bytes) {
            Ok(entry) if bytes.ends_with(b"\n") => entries.push_back(entry),
            _ => clean = false,
        }
        if entries.len() > KEPT {
            entries.pop_front();
        }
    }
}

#[cfg(test)]
mod tests;
