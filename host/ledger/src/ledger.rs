//! The handle that the rest of the host holds.

use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;

use rusqlite::{Connection, Transaction};
use sluice_core::bitcoin::BlockHash;
use sluice_core::ids::{AccountId, AccountName, ShareSeq, WorkerId, WorkerName};
use sluice_core::policy::payout::{Contribution, Round, Window};
use sluice_core::share::ShareRecord;
use sluice_core::units::{Difficulty, Timestamp};
use tokio::sync::watch;
use tokio::task::spawn_blocking;

use crate::blocks::{self, BlockRow, NewBlock, OpenRound, StoredBlock};
use crate::books::{self, Settlement};
use crate::checkpoint::Checkpointer;
use crate::error::{AppendError, LedgerError, NamesFull, OpenError, Stopped};
use crate::fold;
use crate::job::{Job, Reply};
use crate::life::{self, Change, Place, Verdict, WatchedBlock};
use crate::names::Interned;
use crate::open::{self, Durability, now};
use crate::query::{self, Balance, BlockView, CreditRow, Totals, WorkerRow};
use crate::queue::{Push, Queue};
use crate::sums::difficulty_of;
use crate::templates::{NO_TEMPLATE, TemplateFacts};
use crate::totals;
use crate::window::{Ask, Windows};
use crate::writer::{Ends, LedgerHealth, Shared, Writer, lock};

/// Shares that may wait for a commit, by default: a third of a second at 200,000 a second, 3 MiB. Beyond it `append`
/// waits, so that miners are slowed down instead of memory filling up.
pub const QUEUE_LIMIT: usize = 65_536;

#[derive(Clone, Debug)]
pub struct LedgerConfig {
    /// Made if it does not exist; holds the database and a lock, nothing else.
    pub dir: PathBuf,
    pub durability: Durability,
    /// Shares that may wait for a commit; see [`QUEUE_LIMIT`].
    pub queue_limit: usize,
}

/// Work by account over a window.
#[derive(Clone, Debug, PartialEq)]
pub struct Contributions {
    /// Difficulty that one unit of `work` stands for; a power of two.
    pub work_unit: f64,
    /// Sorted by account. The work sums to less than 2^53.
    pub list: Vec<Contribution>,
    /// The newest share there was.
    pub through: ShareSeq,
}

/// A pool's share log and books. Clones are the same ledger. All async methods need a tokio runtime.
#[derive(Clone)]
pub struct Ledger(Arc<Inner>);

struct Inner {
    shared: Arc<Shared>,
    windows: Arc<Mutex<Windows>>,
    reader: Arc<Mutex<Connection>>,
    committed: watch::Receiver<ShareSeq>,
    health: watch::Receiver<LedgerHealth>,
    writer: Mutex<Option<JoinHandle<()>>>,
}

impl Ledger {
    /// Opens the ledger in `config.dir`, new or old: takes the lock, checks the file, reads where the log stopped.
    /// Blocks for as long as that takes.
    ///
    /// # Errors
    /// [`OpenError`]: in use, damaged, newer than this program, not ours, or not readable.
    pub fn open(config: &LedgerConfig) -> Result<Self, OpenError> {
        let lock = open::lock_directory(&config.dir)?;
        let path = open::database_path(&config.dir);
        let connection = open::open_writer(&path, config.durability)?;
        let failed = |source| open::refused(&path, source);
        let resume = open::resume(&connection).map_err(failed)?;
        let mut queue = Queue::new(config.queue_limit, resume);
        let names = open::load_names(&connection, &mut queue).map_err(failed)?;
        let live = totals::load(&connection, resume.last, resume.last_at).map_err(failed)?;
        let folded = fold::through(&connection).map_err(failed)?;
        let windows = Windows::new(open::open_reader(&path)?, resume.last.0, folded);
        let reader = open::open_reader(&path)?;
        let checkpointer = Checkpointer::start(&path)?;
        let shared = Arc::new(Shared::new(queue, names, live, (path.clone(), lock)));
        let (committed_sender, committed) = watch::channel(resume.last);
        let (health_sender, health) = watch::channel(LedgerHealth::Healthy);
        let ends = Ends {
            connection,
            durability: config.durability,
            checkpointer,
            committed: committed_sender,
            health: health_sender,
        };
        let writer = Writer::start(Arc::clone(&shared), ends);
        Ok(Self(Arc::new(Inner {
            shared,
            windows: Arc::new(Mutex::new(windows)),
            reader: Arc::new(Mutex::new(reader)),
            committed,
            health,
            writer: Mutex::new(Some(writer.map_err(OpenError::Thread)?)),
        })))
    }

    /// The numbers of an account and its worker, for ever the same. Their rows are written with the first share.
    ///
    /// # Errors
    /// [`NamesFull`]: refuse the login for now.
    pub fn worker(
        &self,
        account: &AccountName,
        worker: &WorkerName,
    ) -> Result<(AccountId, WorkerId), NamesFull> {
        let shared = &self.0.shared;
        if let Some(known) = known_worker(shared, account, worker) {
            return Ok(known);
        }
        let account_id = self.account_id(account)?;
        let mut names = shared.names_mut();
        let interned = names.intern_worker(account_id, worker)?;
        if let Interned::New(id) = interned {
            shared.queue().add_worker(id, account_id, worker.clone());
        }
        Ok((account_id, interned.id()))
    }

    fn account_id(&self, name: &AccountName) -> Result<AccountId, NamesFull> {
        let shared = &self.0.shared;
        let mut names = shared.names_mut();
        let interned = names.intern_account(name)?;
        if let Interned::New(id) = interned {
            shared.queue().add_account(id, name.clone());
        }
        Ok(interned.id())
    }

    /// Where `account` is paid from now on. Kept on disk once the account has sent a share.
    ///
    /// # Errors
    /// [`NamesFull`].
    pub fn payout_address(&self, account: &AccountName, address: &str) -> Result<(), NamesFull> {
        let id = self.account_id(account)?;
        let shared = &self.0.shared;
        let mut names = shared.names_mut();
        if names.address(id) == Some(address) {
            return Ok(());
        }
        names.put_address(id, address.to_owned());
        let mut queue = shared.queue();
        queue.put_address(id, address.to_owned(), now());
        shared.wake(queue);
        Ok(())
    }

    /// The names behind a number that [`Ledger::worker`] gave.
    pub fn worker_names(&self, worker: WorkerId) -> Option<(AccountName, WorkerName)> {
        let names = self.0.shared.names();
        let (account, worker) = names.worker_name(worker.0)?;
        Some((names.account_name(account.0)?.clone(), worker.clone()))
    }

    /// Whether somebody has logged in to `account`, since the start or ever with a share.
    pub fn account_known(&self, account: &str) -> bool {
        self.0.shared.names().account(account).is_some()
    }

    /// The latest payout address of `account`.
    pub fn address_of(&self, account: &str) -> Option<String> {
        let names = self.0.shared.names();
        names.address(names.account(account)?).map(str::to_owned)
    }

    /// Announces a template, before any share that names it. Its row is written with the first such share.
    pub fn template(&self, facts: TemplateFacts) {
        self.0.shared.queue().announce(facts);
    }

    /// Queues `shares` together and in order, and returns the number of the last. Waits while the queue is full.
    /// Nothing is on disk yet: see [`Ledger::committed`].
    ///
    /// # Errors
    /// [`AppendError`]; none of them was queued.
    pub async fn append(&self, shares: &[ShareRecord]) -> Result<ShareSeq, AppendError> {
        loop {
            let room = self.0.shared.room.notified();
            match self.try_append(shares)? {
                Push::Queued(last) => return Ok(last),
                Push::Full => room.await,
            }
        }
    }

    fn try_append(&self, shares: &[ShareRecord]) -> Result<Push<ShareSeq>, AppendError> {
        let shared = &self.0.shared;
        let mut queue = shared.queue();
        let pushed = queue.push_shares(shares)?;
        shared.wake(queue);
        Ok(pushed)
    }

    /// The last share that survives kill -9 (and a power cut with [`Durability::Power`]), with all before it. Closed when
    /// the ledger is.
    pub fn committed(&self) -> watch::Receiver<ShareSeq> {
        self.0.committed.clone()
    }

    /// Whether the ledger can write. Closed when the ledger is.
    pub fn health(&self) -> watch::Receiver<LedgerHealth> {
        self.0.health.clone()
    }

    /// Work by account over `window` as of the newest committed share. The first call for a window reads it from the
    /// log; later ones read what left it since.
    ///
    /// # Errors
    /// [`LedgerError`] where the log cannot be read.
    pub async fn contributions(
        &self,
        window: Window,
        network_difficulty: Difficulty,
    ) -> Result<Contributions, LedgerError> {
        self.with_windows(move |windows, shared| {
            let through = refresh(windows, shared);
            let boundary = blocks::boundary(windows.connection(), through)?;
            let sums = windows.newest(&Ask { window, network_difficulty, boundary })?;
            let (work_unit, list) = sums.tell(&shared.names());
            Ok(Contributions { work_unit, list, through: ShareSeq(through) })
        })
        .await
    }

    /// Writes down a found block, after all shares appended before; it closes the round. On disk, power cut or not, when
    /// this returns. Does nothing where the block is known.
    ///
    /// # Errors
    /// [`LedgerError`]; waits, and does not fail, while the disk refuses.
    pub async fn block_found(&self, block: BlockRow) -> Result<(), LedgerError> {
        for payment in &block.payments {
            // A name that is none is kept as it is; it is an error when the round is settled.
            let _ = self.touch(&payment.account);
        }
        let new = self.new_block(block)?;
        self.transact(move |transaction, through| blocks::insert(transaction, &new, through)).await
    }

    fn new_block(&self, row: BlockRow) -> Result<NewBlock, LedgerError> {
        let mut queue = self.0.shared.queue();
        queue.touch_worker(row.finder).ok_or(LedgerError::UnknownWorker(row.finder))?;
        // A block from before a restart may carry a number that means another template now.
        let facts = queue.template_facts(row.template).filter(|facts| facts.height == row.height);
        let template = facts.map_or(NO_TEMPLATE, |facts| queue.template_row(facts.id));
        let subsidy = facts.map_or(row.reward, |facts| facts.subsidy.min(row.reward));
        Ok(NewBlock { row, template, subsidy })
    }

    /// Makes sure that the account's row is on disk before the next job.
    pub(crate) fn touch(&self, account: &str) -> Result<(), LedgerError> {
        if account.is_empty() {
            return Ok(());
        }
        let name = AccountName::new(account)
            .map_err(|source| LedgerError::Account { account: account.to_owned(), source })?;
        let id = self.account_id(&name)?;
        self.0.shared.queue().touch_account(id);
        Ok(())
    }

    /// What the nodes said of a block; a block that was seen in the chain, or beside it, stays as it is. On disk when this
    /// returns.
    ///
    /// # Errors
    /// [`LedgerError::UnknownBlock`], [`LedgerError::Settled`].
    pub async fn block_verdict(&self, hash: BlockHash, verdict: Verdict) -> Result<(), LedgerError> {
        self.transact(move |transaction, _| life::judge(transaction, hash, &verdict)).await
    }

    /// Enters where blocks stand in the chain, and books what follows from it, in one transaction: the credits of a block
    /// that left the chain are reversed, those of one that came back are booked again, each once however often it is told.
    /// Returns what changed, block by block in the order given. On disk when this returns.
    ///
    /// # Errors
    /// [`LedgerError::UnknownBlock`]; nothing was changed.
    pub async fn block_places(&self, places: Vec<(BlockHash, Place)>) -> Result<Vec<Change>, LedgerError> {
        self.transact(move |transaction, _| {
            places.iter().map(|(hash, place)| life::place(transaction, *hash, *place)).collect()
        })
        .await
    }

    /// Blocks that are not final, in the order in which they were found, at most `limit`, from the first whose number is
    /// above `after`. Those that are not in the chain are left out once the chain's `tip` is
    /// [`ORPHANS_WATCHED`](crate::ORPHANS_WATCHED) blocks above them.
    pub async fn watched_blocks(
        &self,
        after: i64,
        tip: u32,
        limit: usize,
    ) -> Result<Vec<WatchedBlock>, LedgerError> {
        self.read(move |connection, _| Ok(life::watched(connection, after, tip, limit)?)).await
    }

    /// The rounds of accepted blocks that are not settled, oldest first, each as of its block's share. May read a whole
    /// window of the log for each.
    ///
    /// # Errors
    /// [`LedgerError`] where the log cannot be read.
    pub async fn open_rounds(&self) -> Result<Vec<OpenRound>, LedgerError> {
        self.with_windows(|windows, shared| {
            refresh(windows, shared);
            let open = |block: StoredBlock| {
                let window = block.window()?;
                Ok(OpenRound { hash: block.hash, window, round: round(windows, shared, &block, window)? })
            };
            blocks::unsettled(windows.connection())?.into_iter().map(open).collect()
        })
        .await
    }

    /// The round that `hash` closed, over `window` instead of the one of its time: a mended plugin may have another plan.
    ///
    /// # Errors
    /// [`LedgerError::UnknownBlock`], or where the log cannot be read.
    pub async fn round_with(&self, hash: BlockHash, window: Window) -> Result<Round, LedgerError> {
        self.with_windows(move |windows, shared| {
            refresh(windows, shared);
            let block = blocks::find(windows.connection(), hash)?;
            round(windows, shared, &block, window)
        })
        .await
    }

    /// Books an accepted block's round in one transaction; `false` where it was settled before, and nothing changed.
    ///
    /// # Errors
    /// [`LedgerError`]: the block is unknown or not accepted, or the credits do not come to the reward.
    pub async fn settle_round(&self, hash: BlockHash, settlement: Settlement) -> Result<bool, LedgerError> {
        for credit in &settlement.credits {
            self.touch(&credit.account)?;
        }
        self.transact(move |transaction, _| books::settle(transaction, hash, &settlement)).await
    }

    /// The workers that ever sent a share, the fastest first, at most `limit`.
    pub async fn workers(&self, now: Timestamp, limit: usize) -> Result<Vec<WorkerRow>, LedgerError> {
        self.read(move |_, shared| {
            let stats = shared.live().workers.clone();
            Ok(query::workers(&stats, &shared.names(), now, limit))
        })
        .await
    }

    /// Found blocks, the newest first.
    pub async fn blocks(&self, limit: usize) -> Result<Vec<BlockView>, LedgerError> {
        self.read(move |connection, _| Ok(query::blocks(connection, limit)?)).await
    }

    /// Credits of rounds and of accruals, the newest first.
    pub async fn credits(&self, limit: usize) -> Result<Vec<CreditRow>, LedgerError> {
        self.read(move |connection, _| Ok(query::credits(connection, limit)?)).await
    }

    /// What the pool owes each account, and the house's own.
    pub async fn balances(&self) -> Result<Vec<Balance>, LedgerError> {
        self.read(|connection, _| Ok(query::balances(connection)?)).await
    }

    pub async fn totals(&self) -> Result<Totals, LedgerError> {
        self.read(|connection, shared| {
            let blocks = query::count_blocks(connection)?;
            let total = shared.live().total;
            Ok(Totals { shares: total.shares, work: difficulty_of(total.work), blocks })
        })
        .await
    }

    /// Zero, or something is very wrong.
    pub async fn books_sum(&self) -> Result<i64, LedgerError> {
        self.read(|connection, _| Ok(query::books_sum(connection)?)).await
    }

    /// Writes what waits and stops, for all clones. Gives up what a refusing disk does not take; none of it was
    /// acknowledged.
    pub async fn close(self) {
        self.0.shared.stop();
        let inner = Arc::clone(&self.0);
        drop(self);
        // A panic of the writer has nothing to add here.
        let _ = spawn_blocking(move || inner.join()).await;
    }

    /// Runs `work` as the writer's transaction after all shares queued so far.
    pub(crate) async fn transact<T, F>(&self, work: F) -> Result<T, LedgerError>
    where
        T: Send + 'static,
        F: FnMut(&Transaction<'_>, ShareSeq) -> Result<T, LedgerError> + Send + 'static,
    {
        let (job, outcome) = Reply::new(work);
        let mut job: Option<Box<dyn Job>> = Some(Box::new(job));
        loop {
            let room = self.0.shared.room.notified();
            if matches!(self.try_job(&mut job)?, Push::Queued(())) {
                break;
            }
            room.await;
        }
        outcome.await.map_err(|_| Stopped)?
    }

    fn try_job(&self, job: &mut Option<Box<dyn Job>>) -> Result<Push<()>, Stopped> {
        let shared = &self.0.shared;
        let mut queue = shared.queue();
        let pushed = queue.push_job(job)?;
        shared.wake(queue);
        Ok(pushed)
    }

    pub(crate) fn shared(&self) -> &Shared {
        &self.0.shared
    }

    pub(crate) async fn with_windows<T, F>(&self, work: F) -> Result<T, LedgerError>
    where
        T: Send + 'static,
        F: FnOnce(&mut Windows, &Shared) -> Result<T, LedgerError> + Send + 'static,
    {
        let (windows, shared) = (Arc::clone(&self.0.windows), Arc::clone(&self.0.shared));
        spawn_blocking(move || work(&mut lock(&windows), &shared)).await?
    }

    pub(crate) async fn read<T, F>(&self, work: F) -> Result<T, LedgerError>
    where
        T: Send + 'static,
        F: FnOnce(&Connection, &Shared) -> Result<T, LedgerError> + Send + 'static,
    {
        let (reader, shared) = (Arc::clone(&self.0.reader), Arc::clone(&self.0.shared));
        spawn_blocking(move || work(&lock(&reader), &shared)).await?
    }

    /// Like [`Ledger::read`], of one moment, on a connection of its own: nobody waits while much is read.
    pub(crate) async fn read_aside<T, F>(&self, work: F) -> Result<T, LedgerError>
    where
        T: Send + 'static,
        F: FnOnce(&Connection, &Shared) -> Result<T, LedgerError> + Send + 'static,
    {
        let shared = Arc::clone(&self.0.shared);
        let read = move || {
            let connection = open::open_reader(&shared.path).map_err(LedgerError::Connection)?;
            work(&*connection.unchecked_transaction()?, &shared)
        };
        spawn_blocking(read).await?
    }
}

fn known_worker(
    shared: &Shared,
    account: &AccountName,
    worker: &WorkerName,
) -> Option<(AccountId, WorkerId)> {
    let names = shared.names();
    let account = names.account(account.as_str())?;
    Some((account, names.worker(account, worker)?))
}

/// Brings the windows up to the newest committed share, and returns its number.
fn refresh(windows: &mut Windows, shared: &Shared) -> u64 {
    let fresh = shared.live().take_fresh();
    windows.add(&fresh);
    let start = windows.workers();
    windows.add_workers(shared.names().accounts_of_workers(start));
    fresh.through
}

/// The round of `block` over `window`, as of its share.
fn round(
    windows: &Windows,
    shared: &Shared,
    block: &StoredBlock,
    window: Window,
) -> Result<Round, LedgerError> {
    let ask = block.ask(windows.connection(), window)?;
    let sums = windows.as_of(&ask, block.through())?;
    let names = shared.names();
    let (work_unit, contributions) = sums.tell(&names);
    let finder = names.worker_name(block.worker()).and_then(|(account, _)| names.account_name(account.0));
    let finder = finder.map_or_else(String::new, |name| name.as_str().to_owned());
    Ok(block.round(finder, work_unit, contributions))
}

impl Inner {
    fn join(&self) {
        if let Some(writer) = lock(&self.writer).take() {
            let _ = writer.join();
        }
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.shared.stop();
        self.join();
    }
}

#[cfg(test)]
mod tests;
