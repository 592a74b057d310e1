//! Components of the past: one that was proved lies in the pool's own directory under its content hash, on disk before
//! it serves and never changed, so that its answers can be asked for again. One that is refused leaves nothing.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError, Weak};

use sluice_core::policy::PolicyKind;

use crate::choice;
use crate::compile::{content_hash, prune, used, write_new};

/// Where payout policies lie below the cache directory, for ever: credits name them, and an audit asks them again.
const CREDITED: &str = "wasm";
/// Where the others lie.
const RECENT: &str = "recent";
const DIRS: [&str; 2] = [CREDITED, RECENT];
/// How many of the others: what one may go back to. Of more, those that were loaded longest ago go.
pub(crate) const RECENT_LIMIT: usize = 64;

/// Where components are put once they are proved.
pub(crate) struct Shelf {
    dirs: [PathBuf; 2],
    choices: PathBuf,
    /// Content hashes of what is loaded: it may be chosen to serve after the next start too.
    in_use: Mutex<Vec<Weak<str>>>,
}

impl Shelf {
    pub(crate) fn new(cache_dir: &Path) -> Self {
        let dirs = DIRS.map(|dir| cache_dir.join(dir));
        Self { dirs, choices: cache_dir.join(choice::FILE), in_use: Mutex::default() }
    }

    pub(crate) fn dirs(&self) -> impl Iterator<Item = &Path> {
        self.dirs.iter().map(PathBuf::as_path)
    }

    /// The component stays while the answer lives. `aside`: a name that nobody else uses, on the same file system.
    pub(crate) fn keep(
        &self,
        kind: PolicyKind,
        bytes: &[u8],
        hash: &str,
        aside: &Path,
    ) -> io::Result<Arc<str>> {
        let [credited, recent] = &self.dirs;
        let dir = if kind == PolicyKind::Payout { credited } else { recent };
        let mut in_use = self.in_use.lock().unwrap_or_else(PoisonError::into_inner);
        put(dir, bytes, hash, aside)?;
        let held: Arc<str> = Arc::from(hash);
        in_use.retain(|used| used.strong_count() > 0);
        in_use.push(Arc::downgrade(&held));
        Ok(held)
    }

    /// Removes what is too much, but nothing that is loaded or chosen. Only for who serves from this directory: nobody
    /// else knows what is loaded.
    pub(crate) fn tidy(&self) {
        let [_, recent] = &self.dirs;
        let in_use = self.in_use.lock().unwrap_or_else(PoisonError::into_inner);
        let chosen = match fs::read_to_string(&self.choices) {
            Ok(text) => text,
            Err(error) if error.kind() == ErrorKind::NotFound => String::new(),
            // Nobody knows what is needed at the next start.
            Err(_) => return,
        };
        prune(recent, RECENT_LIMIT, &|path| {
            let Some(hash) = path.file_stem().and_then(OsStr::to_str) else { return false };
            chosen.contains(hash) || in_use.iter().filter_map(Weak::upgrade).any(|used| hash == &*used)
        });
    }
}

fn put(dir: &Path, bytes: &[u8], hash: &str, aside: &Path) -> io::Result<()> {
    let path = dir.join(format!("{hash}.wasm"));
    // One that was damaged is written anew.
    if fs::read(&path).is_ok_and(|kept| kept == bytes) {
        used(&path);
        return Ok(());
    }
    write_new(aside, bytes)?;
    fs::rename(aside, &path)?;
    // An audit may need it after a power cut.
    File::open(dir)?.sync_all()
}

/// Why a component of the past cannot be had.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum KeptError {
    /// A policy that was part of the program, or a record that nobody wrote.
    #[error("{0:?} is not the content hash of a component")]
    NoHash(String),
    #[error("there is no {0}")]
    Missing(String),
    #[error("{path} cannot be read: {why}")]
    Unreadable { path: String, why: String },
    #[error(
        "{0:?} is no beginning of a content hash; {SHORTEST} to 64 of the digits 0-9 and a-f are allowed"
    )]
    NoBeginning(String),
    #[error("no component that is kept has a hash that begins with {0}")]
    Unknown(String),
    #[error("more than one component has a hash that begins with {0}; more digits tell them apart")]
    Ambiguous(String),
    #[error("{path} holds something else now, with the hash {found}")]
    Changed { path: String, found: String },
}

/// Digits of a hash that a person must give.
const SHORTEST: usize = 8;

/// The content hash of the one kept component that begins like this.
///
/// # Errors
/// [`KeptError`].
pub(crate) fn resolve(cache_dir: &Path, beginning: &str) -> Result<String, KeptError> {
    let digits = beginning.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
    if !digits || !(SHORTEST..=64).contains(&beginning.len()) {
        return Err(KeptError::NoBeginning(beginning.chars().take(64).collect()));
    }
    let mut found: Option<String> = None;
    for name in names(cache_dir)? {
        let Some(hash) = name.strip_suffix(".wasm").filter(|hash| hash.starts_with(beginning)) else {
            continue;
        };
        if found.replace(hash.to_owned()).is_some_and(|other| other != hash) {
            return Err(KeptError::Ambiguous(beginning.to_owned()));
        }
    }
    found.ok_or_else(|| KeptError::Unknown(beginning.to_owned()))
}

fn names(cache_dir: &Path) -> Result<Vec<String>, KeptError> {
    let mut names = Vec::new();
    for dir in DIRS.map(|dir| cache_dir.join(dir)) {
        let unreadable = |error: io::Error| KeptError::Unreadable {
            path: dir.display().to_string(),
            why: error.to_string(),
        };
        for entry in fs::read_dir(&dir).map_err(unreadable)? {
            names.push(entry.map_err(unreadable)?.file_name().to_string_lossy().into_owned());
        }
    }
    Ok(names)
}

/// The component with the content hash `hash` (hex), from the directory that the policies were started with.
///
/// # Errors
/// [`KeptError`].
pub fn kept(cache_dir: &Path, hash: &str) -> Result<Vec<u8>, KeptError> {
    // It becomes a file name.
    if hash.len() != 64 || !hash.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f')) {
        return Err(KeptError::NoHash(hash.to_owned()));
    }
    let name = format!("{hash}.wasm");
    let [credited, recent] = DIRS.map(|dir| cache_dir.join(dir).join(&name));
    let file = if recent.exists() { recent } else { credited };
    let path = file.display().to_string();
    let bytes = fs::read(&file).map_err(|error| match error.kind() {
        ErrorKind::NotFound => KeptError::Missing(path.clone()),
        _ => KeptError::Unreadable { path: path.clone(), why: error.to_string() },
    })?;
    let found = content_hash(&bytes);
    if found == hash { Ok(bytes) } else { Err(KeptError::Changed { path, found }) }
}

#[cfg(test)]
mod tests;
