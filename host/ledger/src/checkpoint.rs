//! Moving the write-ahead log into the database without holding up commits: a thread of its own copies most of it, and
//! the writer copies the little that came meanwhile, after which SQLite starts the log over.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, SyncSender};
use std::thread::{self, JoinHandle};

use rusqlite::Connection;
use tracing::warn;

use crate::error::OpenError;
use crate::open;

/// Pages in the write-ahead log, as we estimate, at which it is moved: 32 MiB.
const PAGES_LIMIT: usize = 8192;
/// Shares on a page, as measured, and rows in general, about; an estimate is enough here.
const ROWS_PER_PAGE: usize = 96;
/// Pages that a commit writes beside the full ones.
const PAGES_PER_COMMIT: usize = 2;

pub(crate) struct Checkpointer {
    pages: usize,
    /// Rows that the writer's connection had changed at its last commit.
    changes: u64,
    wake: Option<SyncSender<()>>,
    copied: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Checkpointer {
    pub(crate) fn start(path: &Path) -> Result<Self, OpenError> {
        let connection = open::connect(path)?;
        let copied = Arc::new(AtomicBool::new(false));
        let (wake, woken) = mpsc::sync_channel(1);
        let done = Arc::clone(&copied);
        let work = move || {
            while woken.recv().is_ok() {
                passive(&connection);
                done.store(true, Ordering::Release);
            }
        };
        let thread =
            thread::Builder::new().name("ledger-checkpoint".into()).spawn(work).map_err(OpenError::Thread)?;
        Ok(Self { pages: 0, changes: 0, wake: Some(wake), copied, thread: Some(thread) })
    }

    /// Called after each commit of the writer, with its connection: of shares, or of a job, which may fold thousands.
    pub(crate) fn wrote(&mut self, connection: &Connection) {
        let changes = connection.total_changes();
        let rows = usize::try_from(changes.saturating_sub(self.changes)).unwrap_or(usize::MAX);
        self.changes = changes;
        self.pages = self.pages.saturating_add(PAGES_PER_COMMIT + rows / ROWS_PER_PAGE);
        if self.copied.swap(false, Ordering::Acquire) {
            passive(connection);
            self.pages = 0;
        } else if self.pages >= PAGES_LIMIT {
            self.pages = 0;
            if let Some(wake) = &self.wake {
                // Full means: it is at it already.
                let _ = wake.try_send(());
            }
        }
    }
}

impl Drop for Checkpointer {
    fn drop(&mut self) {
        self.wake = None;
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// Copies what no reader needs any more; waits for nobody.
fn passive(connection: &Connection) {
    if let Err(error) = connection.query_row("PRAGMA wal_checkpoint(PASSIVE)", [], |_| Ok(())) {
        warn!(%error, "cannot move the write-ahead log into the database");
    }
}
