//! Found blocks: on disk before anything else, then to every node until each has said what it thinks.
//!
//! One file per block, `HASH.block`: a line of JSON (what the ledger needs to settle it), then the block as it goes on
//! the wire. A verdict is a second file beside it: `HASH.accepted`, `HASH.inconclusive` or `HASH.rejected`. A block
//! without verdict is submitted again at the next start.

mod case;
mod journal;

use std::path::PathBuf;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};
use serde_json::Value;
use sluice_core::bitcoin::BlockHash;
use sluice_core::share::FoundBlock;
use sluice_core::units::Timestamp;
use tokio::sync::broadcast;

use crate::clock::now;
use crate::sink::BlockSink;

use case::{Cases, Entry, Step};
use journal::Journal;

/// Events kept for a slow receiver; one that falls further behind loses the oldest, and reads
/// [`BlockStore::records`] to catch up.
const EVENTS_LIMIT: usize = 1024;

/// What became of a block.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "outcome")]
pub enum Outcome {
    /// Not known yet; it is being submitted, or will be at the next start.
    Pending,
    /// At least one node has it as valid; the first that said so.
    Accepted { node: String },
    /// A node keeps it, yet none has it as its tip: it lost a race, unless the next block builds on it.
    Inconclusive { node: String },
    /// Every node that answered refused it; the first of them, in its words.
    Rejected { node: String, reason: String },
}

/// Something happened to a block. `facts` are those handed to [`BlockStore::found`].
#[derive(Clone, Debug)]
pub struct BlockEvent {
    pub hash: BlockHash,
    pub height: u32,
    pub outcome: Outcome,
    pub facts: Arc<Value>,
}

/// A block of the journal.
#[derive(Clone, Debug)]
pub struct BlockRecord {
    pub hash: BlockHash,
    pub height: u32,
    pub found_at: Timestamp,
    pub outcome: Outcome,
    pub facts: Value,
}

/// Why the journal failed.
#[derive(Debug, thiserror::Error)]
pub enum JournalError {
    #[error("cannot {action} {}: {source}", path.display())]
    Io { action: &'static str, path: PathBuf, source: std::io::Error },
    #[error("{} is no found block: {problem}", path.display())]
    Damaged { path: PathBuf, problem: String },
    #[error("cannot start a thread: {0}")]
    Thread(std::io::Error),
    #[error("the task that writes the block was ended")]
    Ended,
}

/// The journal and the threads that submit from it. Dropping it ends them; what has no verdict stays on disk.
pub struct BlockStore {
    shared: Arc<Shared>,
}

struct Shared {
    journal: Journal,
    sinks: Vec<Arc<dyn BlockSink>>,
    events: broadcast::Sender<BlockEvent>,
    work: Mutex<Work>,
    changed: Condvar,
}

struct Work {
    cases: Cases,
    stopped: bool,
}

impl BlockStore {
    /// Opens or creates the journal in `dir`, and submits again what has no verdict. The receiver gets every event
    /// from the start.
    ///
    /// # Errors
    /// The directory cannot be made or read, or a thread cannot start. A damaged file is set aside, not an error.
    pub fn open(
        dir: impl Into<PathBuf>,
        sinks: Vec<Arc<dyn BlockSink>>,
    ) -> Result<(Self, broadcast::Receiver<BlockEvent>), JournalError> {
        let journal = Journal::open(dir.into())?;
        let (events, receiver) = broadcast::channel(EVENTS_LIMIT);
        let work = Work { cases: Cases::new(sinks.len()), stopped: false };
        let shared =
            Arc::new(Shared { journal, sinks, events, work: Mutex::new(work), changed: Condvar::new() });
        let store = Self { shared: Arc::clone(&shared) };
        shared.refill();
        for node in 0..shared.sinks.len() {
            let shared = Arc::clone(&shared);
            let body = move || shared.serve(node);
            std::thread::Builder::new()
                .name(format!("blocks-{node}"))
                .spawn(body)
                .map_err(JournalError::Thread)?;
        }
        Ok((store, receiver))
    }

    /// Writes the block to disk, then hands it to the threads that submit it. Returns when it is on disk; dropping the
    /// future changes nothing. `facts` come back with every event of this block, also after a restart.
    ///
    /// # Errors
    /// It could not be written. It is submitted all the same: a full disk must not cost a block.
    pub async fn found(&self, block: FoundBlock, facts: Value) -> Result<(), JournalError> {
        let shared = Arc::clone(&self.shared);
        let task = tokio::task::spawn_blocking(move || shared.found(block, facts));
        task.await.map_err(|_| JournalError::Ended)?
    }

    /// As [`BlockStore::found`], for callers that may block.
    ///
    /// # Errors
    /// As [`BlockStore::found`].
    pub fn found_blocking(&self, block: FoundBlock, facts: Value) -> Result<(), JournalError> {
        self.shared.found(block, facts)
    }

    /// Events from now on.
    pub fn events(&self) -> broadcast::Receiver<BlockEvent> {
        self.shared.events.subscribe()
    }

    /// Every block of the journal, oldest first. Reads the directory: not for a hot path.
    ///
    /// # Errors
    /// The directory cannot be read.
    pub fn records(&self) -> Result<Vec<BlockRecord>, JournalError> {
        self.shared.journal.records()
    }
}

impl Drop for BlockStore {
    fn drop(&mut self) {
        self.shared.work().stopped = true;
        self.shared.changed.notify_all();
        self.shared.sinks.iter().for_each(|sink| sink.interrupt());
    }
}

impl Shared {
    fn work(&self) -> MutexGuard<'_, Work> {
        self.work.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn found(&self, block: FoundBlock, facts: Value) -> Result<(), JournalError> {
        let entry = Arc::new(Entry::new(block, facts, now()));
        let written = match self.journal.write(&entry) {
            Ok(journal::Written::Known) => return Ok(()),
            Ok(journal::Written::New) => Ok(()),
            Err(error) => {
                tracing::error!(hash = %entry.hash, %error, "a found block could not be written to disk");
                Err(error)
            }
        };
        if !self.add(&entry) && written.is_err() {
            tracing::error!(hash = %entry.hash, "a found block is neither on disk nor being submitted");
        }
        written
    }

    /// Whether there was room; otherwise it waits on disk until there is.
    fn add(&self, entry: &Arc<Entry>) -> bool {
        let mut work = self.work();
        let added = work.cases.add(Arc::clone(entry), Instant::now());
        if added {
            // Under the lock, so that no verdict is told before.
            self.tell(entry, Outcome::Pending);
            self.changed.notify_all();
        }
        added
    }

    /// Takes up what waits on disk, as far as there is room. One more is read, so that it is known if some are left.
    fn refill(&self) {
        let open = self.work().cases.hashes();
        let pending = match self.journal.pending(&open, case::OPEN_LIMIT + 1) {
            Ok(pending) => pending,
            Err(error) => {
                tracing::error!(%error, "found blocks cannot be read from disk");
                return;
            }
        };
        for entry in pending {
            if !self.add(&Arc::new(entry)) {
                break;
            }
        }
    }

    fn tell(&self, entry: &Entry, outcome: Outcome) {
        let event =
            BlockEvent { hash: entry.hash, height: entry.height, outcome, facts: Arc::clone(&entry.facts) };
        // Nobody may be listening.
        let _ = self.events.send(event);
    }

    /// One node's thread: submits what is due, until stopped.
    fn serve(&self, node: usize) {
        let sink = &self.sinks[node];
        while let Some(entry) = self.next(node) {
            let answer = sink.submit(&entry.block);
            match &answer {
                Ok(answer) => {
                    tracing::info!(hash = %entry.hash, node = sink.name(), ?answer, "block submitted");
                }
                Err(error) => {
                    tracing::warn!(hash = %entry.hash, node = sink.name(), %error, "block not submitted");
                }
            }
            let step = self.work().cases.answered(entry.hash, node, answer.ok(), Instant::now());
            self.conclude(&entry, step);
        }
    }

    /// The block to submit to `node` now; waits for one. `None` when stopped.
    fn next(&self, node: usize) -> Option<Arc<Entry>> {
        /// Long enough to cost nothing; a new block notifies.
        const IDLE: Duration = Duration::from_secs(3600);
        let mut work = self.work();
        loop {
            if work.stopped {
                return None;
            }
            let wait = match work.cases.due(node, Instant::now()) {
                Step::Submit(entry) => return Some(entry),
                Step::Wait(time) => time,
                Step::Nothing => IDLE,
            };
            work = self.changed.wait_timeout(work, wait).unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    fn conclude(&self, entry: &Entry, verdict: case::Conclusion) {
        if let Some(outcome) = verdict.outcome.map(|outcome| outcome.named(|node| self.sinks[node].name())) {
            tracing::info!(hash = %entry.hash, height = entry.height, ?outcome, "block outcome");
            if let Err(error) = self.journal.mark(entry, &outcome, now()) {
                tracing::error!(hash = %entry.hash, %error, "the outcome of a block could not be written");
            }
            self.tell(entry, outcome);
        }
        if verdict.closed {
            let waiting = self.work().cases.take_overflow();
            if waiting {
                self.refill();
            }
        }
    }
}

#[cfg(test)]
mod tests;
