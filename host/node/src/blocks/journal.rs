//! The directory of found blocks. Every file is written aside, synced, renamed, and the directory synced.

use std::collections::{HashSet, VecDeque};
use std::fs::{self, File};
use std::io::{BufRead, BufReader, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use serde::{Deserialize, Serialize};
use serde_json::Value;
use sluice_core::bitcoin::block::Header as BlockHeader;
use sluice_core::bitcoin::{BlockHash, consensus};
use sluice_core::units::Timestamp;

use super::case::Entry;
use super::{BlockRecord, JournalError, Outcome};

/// The format that this program writes.
const FORMAT: u32 = 1;
/// Blocks with a verdict that are kept; older ones are deleted, which only busy test chains ever see.
const SETTLED_LIMIT: usize = 2000;
/// The largest first line read. It holds the facts, which are small.
const HEAD_LIMIT: u64 = 1 << 20;
/// The endings of verdicts.
const VERDICTS: [&str; 3] = ["accepted", "inconclusive", "rejected"];

/// The first line of `HASH.block`.
#[derive(Serialize, Deserialize)]
struct Head {
    format: u32,
    hash: BlockHash,
    height: u32,
    template: u64,
    found_at: Timestamp,
    /// Of the block that follows, in bytes.
    size: usize,
    facts: Value,
}

/// What a verdict file holds.
#[derive(Serialize, Deserialize)]
struct Verdict {
    #[serde(flatten)]
    outcome: Outcome,
    at: Timestamp,
}

/// Whether the block was there already.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Written {
    New,
    Known,
}

pub(super) struct Journal {
    dir: PathBuf,
    /// Blocks with a verdict, oldest first.
    settled: Mutex<VecDeque<BlockHash>>,
}

impl Journal {
    pub(super) fn open(dir: PathBuf) -> Result<Self, JournalError> {
        fs::create_dir_all(&dir).map_err(failed("create", &dir))?;
        let journal = Self { dir, settled: Mutex::default() };
        let mut settled = Vec::new();
        for hash in journal.blocks()? {
            if let Some(path) = journal.verdict_path(hash) {
                let written = fs::metadata(&path).and_then(|meta| meta.modified());
                settled.push((written.unwrap_or(std::time::UNIX_EPOCH), hash));
            }
        }
        settled.sort_unstable();
        settled.into_iter().for_each(|(_, hash)| journal.settle(hash));
        Ok(journal)
    }

    /// Returns when the block survives a crash.
    pub(super) fn write(&self, entry: &Entry) -> Result<Written, JournalError> {
        let path = self.path(entry.hash, "block");
        if path.exists() {
            return Ok(Written::Known);
        }
        let head = Head {
            format: FORMAT,
            hash: entry.hash,
            height: entry.height,
            template: entry.template,
            found_at: entry.found_at,
            size: entry.block.len(),
            facts: Value::clone(&entry.facts),
        };
        let mut line = json(&head, &path)?;
        line.push(b'\n');
        self.place(&path, &[&line, &entry.block])?;
        Ok(Written::New)
    }

    /// Writes the verdict beside the block.
    pub(super) fn mark(&self, entry: &Entry, outcome: &Outcome, at: Timestamp) -> Result<(), JournalError> {
        let path = self.path(entry.hash, ending(outcome));
        let verdict = json(&Verdict { outcome: outcome.clone(), at }, &path)?;
        self.place(&path, &[&verdict, b"\n"])?;
        self.settle(entry.hash);
        Ok(())
    }

    /// Up to `limit` blocks without verdict that are not in `known`, oldest first. What is damaged is renamed to
    /// `HASH.damaged` and left out.
    pub(super) fn pending(
        &self,
        known: &HashSet<BlockHash>,
        limit: usize,
    ) -> Result<Vec<Entry>, JournalError> {
        let mut waiting = Vec::new();
        for hash in self.blocks()? {
            if !known.contains(&hash) && self.verdict_path(hash).is_none() {
                waiting.extend(self.sound(hash, self.head(hash)));
            }
        }
        waiting.sort_unstable_by_key(|head| (head.found_at, head.hash));
        waiting.truncate(limit);
        Ok(waiting.into_iter().filter_map(|head| self.sound(head.hash, self.entry(head))).collect())
    }

    pub(super) fn records(&self) -> Result<Vec<BlockRecord>, JournalError> {
        let mut records = Vec::new();
        for hash in self.blocks()? {
            let Some(head) = self.sound(hash, self.head(hash)) else { continue };
            let Head { height, found_at, facts, .. } = head;
            records.push(BlockRecord { hash, height, found_at, outcome: self.outcome(hash), facts });
        }
        records.sort_unstable_by_key(|record| (record.found_at, record.hash));
        Ok(records)
    }

    fn path(&self, hash: BlockHash, ending: &str) -> PathBuf {
        self.dir.join(format!("{hash}.{ending}"))
    }

    fn verdict_path(&self, hash: BlockHash) -> Option<PathBuf> {
        VERDICTS.iter().map(|ending| self.path(hash, ending)).find(|path| path.exists())
    }

    /// A verdict that cannot be read counts as none.
    fn outcome(&self, hash: BlockHash) -> Outcome {
        self.verdict_path(hash)
            .and_then(|path| fs::read(path).ok())
            .and_then(|bytes| serde_json::from_slice::<Verdict>(&bytes).ok())
            .map_or(Outcome::Pending, |verdict| verdict.outcome)
    }

    fn blocks(&self) -> Result<Vec<BlockHash>, JournalError> {
        let mut hashes = Vec::new();
        for file in fs::read_dir(&self.dir).map_err(failed("read", &self.dir))? {
            let name = file.map_err(failed("read", &self.dir))?.file_name();
            let hash = name.to_str().and_then(|name| name.strip_suffix(".block"));
            hashes.extend(hash.and_then(|hash| hash.parse::<BlockHash>().ok()));
        }
        Ok(hashes)
    }

    fn head(&self, hash: BlockHash) -> Result<Head, JournalError> {
        let path = self.path(hash, "block");
        let file = File::open(&path).map_err(failed("open", &path))?;
        let mut line = Vec::new();
        BufReader::new(file).take(HEAD_LIMIT).read_until(b'\n', &mut line).map_err(failed("read", &path))?;
        let head: Head = serde_json::from_slice(&line).map_err(|error| damaged(&path, &error))?;
        if head.format != FORMAT {
            return Err(damaged(&path, &format!("format {} is not {FORMAT}", head.format)));
        }
        if head.hash != hash {
            return Err(damaged(&path, &"it holds another block than its name says"));
        }
        Ok(head)
    }

    fn entry(&self, head: Head) -> Result<Entry, JournalError> {
        let path = self.path(head.hash, "block");
        let mut bytes = fs::read(&path).map_err(failed("read", &path))?;
        let start = bytes.iter().position(|byte| *byte == b'\n').map_or(bytes.len(), |at| at + 1);
        bytes.drain(..start);
        if bytes.len() != head.size {
            return Err(damaged(&path, &format!("{} bytes instead of {}", bytes.len(), head.size)));
        }
        let header = bytes.get(..80).and_then(|header| consensus::deserialize::<BlockHeader>(header).ok());
        if header.map(|header| header.block_hash()) != Some(head.hash) {
            return Err(damaged(&path, &"the block does not have the hash of its name"));
        }
        Ok(Entry {
            hash: head.hash,
            height: head.height,
            template: head.template,
            found_at: head.found_at,
            facts: Arc::new(head.facts),
            block: bytes,
        })
    }

    /// The value; a damaged file is set aside for a person to look at.
    fn sound<T>(&self, hash: BlockHash, read: Result<T, JournalError>) -> Option<T> {
        match read {
            Ok(value) => Some(value),
            Err(error) => {
                tracing::error!(%error, "a file of the found blocks cannot be used");
                if matches!(error, JournalError::Damaged { .. }) {
                    // If it cannot be renamed it is reported again next time.
                    let _ = fs::rename(self.path(hash, "block"), self.path(hash, "damaged"));
                }
                None
            }
        }
    }

    /// All or nothing, and durable.
    fn place(&self, path: &Path, parts: &[&[u8]]) -> Result<(), JournalError> {
        let aside = path.with_added_extension("tmp");
        let write = || {
            let mut file = File::create(&aside)?;
            parts.iter().try_for_each(|part| file.write_all(part))?;
            file.sync_all()?;
            fs::rename(&aside, path)?;
            File::open(&self.dir)?.sync_all()
        };
        write().map_err(|source| {
            // Frees the space; a leftover would be overwritten.
            let _ = fs::remove_file(&aside);
            JournalError::Io { action: "write", path: path.to_owned(), source }
        })
    }

    fn settle(&self, hash: BlockHash) {
        let mut settled = self.settled.lock().unwrap_or_else(PoisonError::into_inner);
        settled.push_back(hash);
        while settled.len() > SETTLED_LIMIT {
            let Some(oldest) = settled.pop_front() else { break };
            // The block first: a verdict alone means nothing, a block alone would be submitted again.
            let files = std::iter::once("block").chain(VERDICTS);
            files.for_each(|ending| drop(fs::remove_file(self.path(oldest, ending))));
        }
    }
}

fn ending(outcome: &Outcome) -> &'static str {
    match outcome {
        Outcome::Accepted { .. } => "accepted",
        Outcome::Inconclusive { .. } => "inconclusive",
        Outcome::Rejected { .. } => "rejected",
        Outcome::Pending => "pending",
    }
}

fn json(value: &impl Serialize, path: &Path) -> Result<Vec<u8>, JournalError> {
    serde_json::to_vec(value).map_err(|error| failed("write", path)(error.into()))
}

fn failed(action: &'static str, path: &Path) -> impl Fn(std::io::Error) -> JournalError {
    let path = path.to_owned();
    move |source| JournalError::Io { action, path: path.clone(), source }
}

fn damaged(path: &Path, problem: &impl ToString) -> JournalError {
    JournalError::Damaged { path: path.to_owned(), problem: problem.to_string() }
}
