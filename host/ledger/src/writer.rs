//! The one thread that writes. It takes everything that waits, commits it, says how far the log is on disk, and starts
//! over; there is no timer. While the disk refuses, it keeps what it has and tries again.

use std::io;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use rusqlite::{Connection, TransactionBehavior};
use sluice_core::ids::ShareSeq;
use sluice_core::units::Timestamp;
use tokio::sync::{Notify, watch};
use tracing::{error, info, warn};

use crate::checkpoint::Checkpointer;
use crate::insert::{ShareInsert, insert_addresses, insert_names};
use crate::job::Job;
use crate::live::Live;
use crate::names::Names;
use crate::open::{DataLock, Durability, now, set_durability};
use crate::queue::{Batch, LoggedShare, Queue};
use crate::totals;

/// Waits between attempts while the disk refuses: doubled from the first to the last.
const FIRST_RETRY: Duration = Duration::from_millis(100);
const LAST_RETRY: Duration = Duration::from_secs(5);

/// Statistics by worker are saved after so many shares, so that a start reads at most about that many.
const TOTALS_EVERY: u64 = 1_000_000;

/// Whether the ledger can write.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum LedgerHealth {
    #[default]
    Healthy,
    /// Nothing is acknowledged; the shares are kept and tried again until it works. Raise an alarm.
    Failing { error: String, since: Timestamp },
}

/// How often the writer lets others run before it sleeps: waking it costs more than that, and while shares come in a
/// stream the next batch grows meanwhile.
const PATIENCE: usize = 4;

/// What the writer and the handles share.
pub(crate) struct Shared {
    pub(crate) queue: Mutex<Queue>,
    /// The writer waits here for work.
    work: Condvar,
    /// Callers wait here for room in the queue.
    pub(crate) room: Notify,
    pub(crate) names: RwLock<Names>,
    pub(crate) live: Mutex<Live>,
    /// The most pages the file may have; 0 is no limit. Tests fill the disk with it.
    pub(crate) page_limit: AtomicU32,
    /// Somebody wants the workers' statistics saved, however little is new.
    pub(crate) save_totals: AtomicBool,
    /// The database.
    pub(crate) path: PathBuf,
    /// Gone when the last user is.
    _lock: DataLock,
}

impl Shared {
    pub(crate) fn new(queue: Queue, names: Names, live: Live, (path, lock): (PathBuf, DataLock)) -> Self {
        Self {
            queue: Mutex::new(queue),
            work: Condvar::new(),
            room: Notify::new(),
            names: RwLock::new(names),
            live: Mutex::new(live),
            page_limit: AtomicU32::new(0),
            save_totals: AtomicBool::new(false),
            path,
            _lock: lock,
        }
    }

    pub(crate) fn queue(&self) -> MutexGuard<'_, Queue> {
        lock(&self.queue)
    }

    pub(crate) fn live(&self) -> MutexGuard<'_, Live> {
        lock(&self.live)
    }

    pub(crate) fn names(&self) -> RwLockReadGuard<'_, Names> {
        self.names.read().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn names_mut(&self) -> RwLockWriteGuard<'_, Names> {
        self.names.write().unwrap_or_else(PoisonError::into_inner)
    }

    /// Wakes the writer if it sleeps. Takes the guard so that the wish and the look at it are one step.
    pub(crate) fn wake(&self, mut queue: MutexGuard<'_, Queue>) {
        let asleep = queue.wake();
        drop(queue);
        if asleep {
            self.work.notify_one();
        }
    }

    /// No more work is taken; what waits is written.
    pub(crate) fn stop(&self) {
        self.queue().stop();
        self.work.notify_one();
        self.room.notify_waiters();
    }

    /// Everything that waits, once there is something; `false` when the ledger is closed and all is taken.
    fn take(&self, spare: &mut Batch) -> bool {
        let mut queue = self.queue();
        let mut patience = PATIENCE;
        loop {
            if queue.take(spare) {
                drop(queue);
                self.room.notify_waiters();
                return true;
            }
            if queue.stopping() {
                return false;
            }
            if patience > 0 {
                patience -= 1;
                drop(queue);
                std::thread::yield_now();
                queue = self.queue();
                continue;
            }
            queue = self.work.wait(queue).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// Waits before another attempt; `false` when the ledger is being closed.
    fn pause(&self, wait: Duration) -> bool {
        let queue = self.queue();
        let stopping = |queue: &mut Queue| !queue.stopping();
        let (queue, _) =
            self.work.wait_timeout_while(queue, wait, stopping).unwrap_or_else(PoisonError::into_inner);
        !queue.stopping()
    }
}

/// A panic elsewhere leaves our plain data whole.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Closing found the disk still refusing.
struct GaveUp;

pub(crate) struct Writer {
    shared: Arc<Shared>,
    connection: Connection,
    committed: watch::Sender<ShareSeq>,
    health: watch::Sender<LedgerHealth>,
    insert: ShareInsert,
    checkpointer: Checkpointer,
    durability: Durability,
    through: u64,
    totals_through: u64,
    page_limit: u32,
}

/// The writer's own: the connection that writes, and what it tells the world by.
pub(crate) struct Ends {
    pub(crate) connection: Connection,
    pub(crate) durability: Durability,
    pub(crate) checkpointer: Checkpointer,
    pub(crate) committed: watch::Sender<ShareSeq>,
    pub(crate) health: watch::Sender<LedgerHealth>,
}

/// Lets nobody wait for a thread that has ended, however it ended.
struct Ending(Arc<Shared>);

impl Drop for Ending {
    fn drop(&mut self) {
        self.0.stop();
        let mut rest = Batch::default();
        self.0.queue().take(&mut rest);
    }
}

impl Writer {
    /// Starts the thread. It ends after [`Shared::stop`].
    pub(crate) fn start(shared: Arc<Shared>, ends: Ends) -> io::Result<JoinHandle<()>> {
        let (through, totals_through) = shared.live().positions();
        let writer = Self {
            shared,
            connection: ends.connection,
            committed: ends.committed,
            health: ends.health,
            insert: ShareInsert::new(),
            checkpointer: ends.checkpointer,
            durability: ends.durability,
            through,
            totals_through,
            page_limit: 0,
        };
        thread::Builder::new().name("ledger-writer".into()).spawn(move || writer.run())
    }

    fn run(mut self) {
        let _ending = Ending(Arc::clone(&self.shared));
        let mut batch = Batch::default();
        while self.shared.take(&mut batch) {
            if self.write(&mut batch).is_err() {
                error!(lost = batch.shares.len(), "the ledger closes without what it could not write");
                break;
            }
            batch.shares.clear();
        }
        self.save_totals();
    }

    /// Shares and jobs in the order in which they were queued.
    fn write(&mut self, batch: &mut Batch) -> Result<(), GaveUp> {
        let mut start = 0;
        let jobs = std::mem::take(&mut batch.jobs);
        for (position, job) in jobs {
            self.write_shares(batch, start, position)?;
            start = position;
            self.run_job(job)?;
        }
        self.write_shares(batch, start, batch.shares.len())?;
        let asked = self.shared.save_totals.swap(false, Ordering::Relaxed);
        if asked || self.through - self.totals_through >= TOTALS_EVERY {
            self.save_totals();
        }
        Ok(())
    }

    fn write_shares(&mut self, batch: &mut Batch, start: usize, end: usize) -> Result<(), GaveUp> {
        if start == end && batch.rows.is_empty() && batch.addresses.is_empty() {
            return Ok(());
        }
        self.until_written(|writer| writer.commit(batch, start, end))?;
        batch.rows.clear();
        batch.addresses.clear();
        self.published(&batch.shares[start..end]);
        Ok(())
    }

    fn commit(&mut self, batch: &Batch, start: usize, end: usize) -> rusqlite::Result<()> {
        let transaction = self.connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        insert_names(&transaction, &batch.rows)?;
        insert_addresses(&transaction, &batch.addresses)?;
        self.insert.run(&transaction, self.through + 1, &batch.shares[start..end])?;
        transaction.commit()
    }

    /// They are on disk: count them, then tell those who wait.
    fn published(&mut self, shares: &[LoggedShare]) {
        self.through += shares.len() as u64;
        self.shared.live().count(shares);
        self.committed.send_replace(ShareSeq(self.through));
        self.checkpointer.wrote(&self.connection);
    }

    /// Money and blocks survive a power cut, whatever the shares do.
    fn run_job(&mut self, mut job: Box<dyn Job>) -> Result<(), GaveUp> {
        self.until_written(|writer| {
            set_durability(&writer.connection, Durability::Power)?;
            let done = job.attempt(&mut writer.connection, ShareSeq(writer.through));
            set_durability(&writer.connection, writer.durability)?;
            done
        })?;
        self.checkpointer.wrote(&self.connection);
        Ok(())
    }

    fn until_written(
        &mut self,
        mut attempt: impl FnMut(&mut Self) -> rusqlite::Result<()>,
    ) -> Result<(), GaveUp> {
        let mut wait = FIRST_RETRY;
        let mut failing = false;
        while let Err(error) = self.follow_page_limit().and_then(|()| attempt(self)) {
            if !failing {
                self.failing(&error);
                failing = true;
            }
            if !self.shared.pause(wait) {
                return Err(GaveUp);
            }
            wait = (wait * 2).min(LAST_RETRY);
        }
        if failing {
            info!("the ledger writes again");
            self.health.send_replace(LedgerHealth::Healthy);
        }
        Ok(())
    }

    fn failing(&self, error: &rusqlite::Error) {
        error!(%error, "the ledger cannot write; nothing is acknowledged until it can");
        self.health.send_replace(LedgerHealth::Failing { error: error.to_string(), since: now() });
    }

    fn follow_page_limit(&mut self) -> rusqlite::Result<()> {
        let limit = self.shared.page_limit.load(Ordering::Relaxed);
        if limit != self.page_limit {
            let pages = if limit == 0 { u32::MAX - 1 } else { limit };
            self.connection.pragma_update_and_check(None, "max_page_count", pages, |_| Ok(()))?;
            self.page_limit = limit;
        }
        Ok(())
    }

    /// Statistics only: if it fails, the next start reads more of the log.
    fn save_totals(&mut self) {
        if self.through == self.totals_through {
            return;
        }
        let unsaved = totals::unsaved(&mut self.shared.live().workers);
        match totals::save(&mut self.connection, &unsaved, self.through) {
            Ok(()) => self.totals_through = self.through,
            Err(error) => {
                totals::keep(&mut self.shared.live().workers, &unsaved);
                warn!(%error, "cannot save the workers' totals");
            }
        }
    }
}
