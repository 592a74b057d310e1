//! What happens to a found block: journal and submission first, then the books.
//!
//! A block goes to the journal (fsync) and to the nodes before anything else is done with it. Once the finder's share
//! is in the log, the round is recorded; once a node has accepted the block, the payout policy settles the round. A
//! policy that fails leaves the round open; the mended one settles it.

use std::collections::HashSet;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bitcoin::{Amount, BlockHash};
use serde::{Deserialize, Serialize};
use sluice_core::ids::{AccountName, Protocol, ShareSeq, TemplateId, WorkerId, WorkerName};
use sluice_core::job::Job;
use sluice_core::policy::payout::{Round, Window};
use sluice_core::policy::split::split;
use sluice_core::share::FoundBlock;
use sluice_core::units::{Difficulty, Timestamp};
use sluice_ledger::{
    BlockRow, BlockState, BlockView, INCONCLUSIVE, Ledger, LedgerError, Payment, Settlement, Verdict,
};
use sluice_node::{BlockEvent, BlockStore, Outcome};
use sluice_policy::Policies;
use tokio::sync::{Notify, broadcast, mpsc, oneshot, watch};

use crate::clock;
use crate::metrics::{BlockOutcome, Metrics};

/// Blocks on their way to the journal. When it is full the finder's connection waits: a block is never dropped.
const QUEUE: usize = 256;
/// Blocks on their way from the journal to the books. Beyond it they reach the books from the journal, later.
const BOOKS_QUEUE: usize = 4096;
/// Rounds that could not be settled are tried again so often, and at once after a reload.
const RETRY: Duration = Duration::from_secs(10);
/// How long the end of the pool waits for the nodes' word on a block.
const LAST_WORD: Duration = Duration::from_secs(3);
/// Blocks that are remembered as not booked. With more of them nobody knows, until the next start, that all are.
const UNBOOKED_LIMIT: usize = 4096;
/// The ledger's blocks that a start compares with the journal, which keeps fewer.
const CATCH_UP: usize = 4096;

/// A block from a connection.
#[derive(Debug)]
pub struct Found {
    pub block: FoundBlock,
    pub job: Arc<Job>,
    pub worker: WorkerId,
    pub protocol: Protocol,
    /// Tells when the finder's share is queued for the log; closed without a word where it counts as none.
    pub logged: oneshot::Receiver<ShareSeq>,
}

/// A block on its way to the journal, and who waits until it is there.
pub struct Handed {
    found: Found,
    journaled: oneshot::Sender<()>,
}

/// Where connections hand blocks in.
#[derive(Clone, Debug)]
pub struct BlockDesk {
    queue: mpsc::Sender<Handed>,
    unbooked: Arc<Unbooked>,
}

impl BlockDesk {
    pub fn new() -> (Self, mpsc::Receiver<Handed>) {
        let (queue, receiver) = mpsc::channel(QUEUE);
        (Self { queue, unbooked: Arc::default() }, receiver)
    }

    /// Blocks that the ledger does not know yet.
    pub fn unbooked(&self) -> Arc<Unbooked> {
        Arc::clone(&self.unbooked)
    }

    /// Returns when the block is in the journal: its finder is told of the share only after that, so that a block whose
    /// share was acknowledged survives whatever happens to the process.
    pub async fn found(&self, found: Found) {
        let (journaled, written) = oneshot::channel();
        // Before any node has it, and so before there is a template on it.
        self.unbooked.add(found.block.hash);
        // Closed only after every connection has ended.
        if self.queue.send(Handed { found, journaled }).await.is_ok() {
            let _ = written.await;
        }
    }
}

/// Blocks that were handed in and that the ledger does not know yet. What their coinbases paid is still owed in the books.
#[derive(Debug, Default)]
pub struct Unbooked {
    /// The books have what the journal had at the start.
    caught_up: AtomicBool,
    /// One that cannot be booked stays; it is tried again with every look at the rounds.
    hashes: Mutex<HashSet<BlockHash>>,
    /// There was one too many.
    overrun: AtomicBool,
}

impl Unbooked {
    /// Whether there are no such blocks, for sure.
    pub fn is_none(&self) -> bool {
        self.caught_up.load(Ordering::Acquire)
            && !self.overrun.load(Ordering::Acquire)
            && self.lock().is_empty()
    }

    fn add(&self, hash: BlockHash) {
        let mut hashes = self.lock();
        if hashes.len() < UNBOOKED_LIMIT || hashes.contains(&hash) {
            hashes.insert(hash);
        } else if !self.overrun.swap(true, Ordering::AcqRel) {
            tracing::error!(
                "more than {UNBOOKED_LIMIT} blocks are not booked; no coinbase pays balances until a restart"
            );
        }
    }

    fn all(&self) -> HashSet<BlockHash> {
        self.lock().clone()
    }

    /// The ledger has it.
    fn remove(&self, hash: &BlockHash) {
        self.lock().remove(hash);
    }

    pub(crate) fn caught_up(&self) {
        self.caught_up.store(true, Ordering::Release);
    }

    fn lock(&self) -> MutexGuard<'_, HashSet<BlockHash>> {
        self.hashes.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What the journal keeps beside the block: enough to write the books after a crash.
#[derive(Debug, Serialize, Deserialize)]
struct Facts {
    at: Timestamp,
    protocol: Protocol,
    account: String,
    worker: String,
    template: TemplateId,
    reward_sat: u64,
    network_difficulty: f64,
    payments: Vec<(String, String, u64)>,
}

/// A block in the journal that the books shall have.
#[derive(Debug)]
pub struct Journaled {
    hash: BlockHash,
    height: u32,
    facts: Facts,
    logged: oneshot::Receiver<ShareSeq>,
}

/// The task that writes blocks down and hands them to the nodes. Nothing else delays it: the books have a task of
/// their own, which may wait for the disk and for a policy.
pub struct JournalTask {
    pub store: Arc<BlockStore>,
    pub ledger: Ledger,
    pub metrics: Arc<Metrics>,
    pub books: mpsc::Sender<Journaled>,
}

impl JournalTask {
    /// Where it hands on what [`BooksTask`] takes.
    pub fn channel() -> (mpsc::Sender<Journaled>, mpsc::Receiver<Journaled>) {
        mpsc::channel(BOOKS_QUEUE)
    }

    /// Runs until `stop`, then writes what still waits, and gives the nodes a moment for their word.
    pub async fn run(self, mut found: mpsc::Receiver<Handed>, mut stop: oneshot::Receiver<()>) {
        let mut events = self.store.events();
        loop {
            tokio::select! {
                biased;
                handed = found.recv() => match handed {
                    Some(handed) => self.on_found(handed).await,
                    None => break,
                },
                // Dropped or sent: the pool stops.
                _ = &mut stop => break,
            }
        }
        while let Ok(handed) = found.try_recv() {
            self.on_found(handed).await;
        }
        let answered = async { while self.has_pending() && events.recv().await.is_ok() {} };
        if tokio::time::timeout(LAST_WORD, answered).await.is_err() {
            tracing::warn!("a block has no verdict yet; it is submitted again at the next start");
        }
    }

    fn has_pending(&self) -> bool {
        let records = self.store.records().unwrap_or_default();
        records.iter().any(|record| record.outcome == Outcome::Pending)
    }

    async fn on_found(&self, Handed { found, journaled }: Handed) {
        let Found { block, job, worker, protocol, logged } = found;
        let (hash, height) = (block.hash, block.height);
        let names = self.ledger.worker_names(worker);
        let (account, worker) = names.map_or_else(Default::default, |(a, w)| (a.to_string(), w.to_string()));
        tracing::info!(%hash, height, account, worker, %protocol, "block found");
        self.metrics.block(protocol, BlockOutcome::Found);
        let facts = facts((&job, protocol), &block, account, worker);
        let value = serde_json::to_value(&facts).unwrap_or_default();
        // Before the journal, so that the books hear of the block before its verdict.
        if self.books.try_send(Journaled { hash, height, facts, logged }).is_err() {
            tracing::warn!(%hash, height, "the books are behind; they will have this block from the journal");
        }
        if let Err(error) = self.store.found(block, value).await {
            tracing::error!(%error, %hash, height, "block not written to the journal; it was submitted all the same");
        }
        // The connection may have ended.
        let _ = journaled.send(());
    }
}

/// The task that enters blocks in the books and settles rounds.
pub struct BooksTask {
    pub store: Arc<BlockStore>,
    pub ledger: Ledger,
    pub policies: Policies,
    pub metrics: Arc<Metrics>,
    /// Blocks in the ledger, for the status page.
    pub count: watch::Sender<u64>,
    /// Told of each block that a node accepted, once the ledger has it.
    pub accepted: Arc<Notify>,
    pub unbooked: Arc<Unbooked>,
}

enum Event {
    Found(Option<Journaled>),
    Outcome(BlockEvent),
    Lagged,
    Settle,
    Retry,
}

impl BooksTask {
    /// Runs until the journal's task is gone.
    pub async fn run(
        self,
        mut found: mpsc::Receiver<Journaled>,
        mut events: broadcast::Receiver<BlockEvent>,
        mut reloads: watch::Receiver<u64>,
    ) {
        self.catch_up().await;
        let mut retry = tokio::time::interval(RETRY);
        retry.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut reloads_open = true;
        let mut late = HashSet::new();
        loop {
            let event = tokio::select! {
                biased;
                found = found.recv() => Event::Found(found),
                // Lagging behind loses events, not outcomes: they are in the journal.
                event = events.recv() => event.map_or(Event::Lagged, Event::Outcome),
                changed = reloads.changed(), if reloads_open => {
                    reloads_open = changed.is_ok();
                    Event::Settle
                }
                _ = retry.tick() => Event::Retry,
            };
            match event {
                Event::Found(Some(Journaled { hash, height, facts, logged })) => {
                    // The round ends with the finder's share, so that must be queued first.
                    let _ = logged.await;
                    self.record(hash, height, &facts).await;
                }
                Event::Found(None) => break,
                Event::Outcome(event) => {
                    if let Some(protocol) =
                        self.on_outcome((event.hash, event.height), &event.outcome, &event.facts).await
                    {
                        tell(&self.metrics, protocol, event.height, event.hash, &event.outcome);
                    }
                    self.settle_open().await;
                }
                Event::Lagged => self.catch_up().await,
                Event::Settle => self.settle_open().await,
                Event::Retry => late = self.book_late(&late).await,
            }
        }
    }

    /// Tries blocks again that were not booked at the look before either. Returns those that are not booked now.
    async fn book_late(&self, before: &HashSet<BlockHash>) -> HashSet<BlockHash> {
        let late = self.unbooked.all().intersection(before).count();
        if late == 0 && self.unbooked.caught_up.load(Ordering::Acquire) {
            self.settle_open().await;
        } else {
            tracing::error!(
                blocks = late,
                "blocks are not in the ledger yet; no coinbase pays balances until they are"
            );
            self.catch_up().await;
        }
        self.unbooked.all()
    }

    async fn record(&self, hash: BlockHash, height: u32, facts: &Facts) {
        self.unbooked.add(hash);
        let window = match self.policies.plan().await {
            Ok(plan) => plan.window,
            Err(error) => {
                tracing::warn!(%error, "payout plan unknown; the round can be settled with any window later");
                Window::Round
            }
        };
        let finder = match self.finder(facts) {
            Ok(finder) => finder,
            Err(error) => {
                return tracing::error!(error = %format!("{error:#}"), %hash, "the finder of a block is unknown");
            }
        };
        match self.ledger.block_found(row((hash, height), facts, finder, window)).await {
            Ok(()) => self.unbooked.remove(&hash),
            Err(error) => {
                tracing::error!(%error, %hash, height, "block not in the ledger yet; it is in the journal");
            }
        }
        self.recount().await;
    }

    async fn recount(&self) {
        if let Ok(totals) = self.ledger.totals().await {
            self.count.send_replace(totals.blocks);
        }
    }

    fn finder(&self, facts: &Facts) -> anyhow::Result<WorkerId> {
        let (account, worker) = (AccountName::new(&facts.account)?, WorkerName::new(&facts.worker)?);
        Ok(self.ledger.worker(&account, &worker)?.1)
    }

    /// Writes what the journal knows and the ledger does not, after a start or a gap. Until the journal was read once nobody
    /// knows that every block is booked.
    async fn catch_up(&self) {
        let known = self.ledger.blocks(CATCH_UP).await.unwrap_or_default();
        let is_known = |hash: &BlockHash, outcome: &Outcome| {
            known.iter().any(|block| block.hash == *hash && agrees(block, outcome))
        };
        match self.store.records() {
            Ok(records) => {
                for record in records.iter().filter(|record| !is_known(&record.hash, &record.outcome)) {
                    self.on_outcome((record.hash, record.height), &record.outcome, &record.facts).await;
                }
                self.unbooked.caught_up();
            }
            Err(error) => tracing::error!(%error, "the block journal cannot be read"),
        }
        self.recount().await;
        self.settle_open().await;
    }

    /// Enters a verdict. Returns whose block it was, where it could be entered.
    async fn on_outcome(
        &self,
        (hash, height): (BlockHash, u32),
        outcome: &Outcome,
        facts: &serde_json::Value,
    ) -> Option<Protocol> {
        let protocol = match serde_json::from_value::<Facts>(facts.clone()) {
            Ok(facts) => {
                // Nothing happens where the ledger has it.
                self.record(hash, height, &facts).await;
                facts.protocol
            }
            Err(error) => {
                self.unbooked.add(hash);
                tracing::error!(%error, %hash, "the journal's facts of a block cannot be read");
                return None;
            }
        };
        match self.ledger.block_verdict(hash, verdict_of(outcome)).await {
            Ok(()) => {
                if matches!(outcome, Outcome::Accepted { .. }) {
                    self.accepted.notify_one();
                }
                Some(protocol)
            }
            Err(LedgerError::Settled(_)) => None,
            Err(error) => {
                tracing::error!(%error, %hash, "block state not written");
                None
            }
        }
    }

    async fn settle_open(&self) {
        let open = match self.ledger.open_rounds().await {
            Ok(open) => open,
            Err(error) => return tracing::error!(%error, "open rounds cannot be read"),
        };
        self.metrics.rounds_held(open.len());
        for round in open {
            if let Err(error) = self.settle(round.hash, round.round, round.window).await {
                tracing::error!(error = %format!("{error:#}"), hash = %round.hash, "round held until the payout policy settles it");
            }
        }
    }

    async fn settle(&self, hash: BlockHash, round: Round, window: Window) -> anyhow::Result<()> {
        let plan = self.policies.plan().await?;
        let round =
            if plan.window == window { round } else { self.ledger.round_with(hash, plan.window).await? };
        let finder = if plan.per_finder { round.finder.clone() } else { String::new() };
        let round = Round { finder, ..round };
        let settled = self.policies.settle(round.clone()).await?;
        let credits =
            split(round.reward(), &settled.entitlements, &|account| self.ledger.account_known(account))?;
        let settlement = Settlement {
            policy_name: settled.policy.name.clone(),
            policy_version: settled.policy.version.clone(),
            policy_hash: settled.policy.hash.clone(),
            settings: settled.policy.settings.clone(),
            input: round,
            answer: settled.entitlements,
            credits,
        };
        if self.ledger.settle_round(hash, settlement).await? {
            tracing::info!(%hash, "round settled");
        }
        self.metrics.round_settled();
        Ok(())
    }
}

fn verdict_of(outcome: &Outcome) -> Verdict {
    match outcome {
        Outcome::Pending => Verdict::Submitted,
        Outcome::Accepted { .. } => Verdict::Accepted,
        Outcome::Inconclusive { .. } => Verdict::Rejected { reason: INCONCLUSIVE.to_owned() },
        Outcome::Rejected { reason, .. } => Verdict::Rejected { reason: reason.clone() },
    }
}

/// Whether the ledger has this outcome, or knows more from the chain.
fn agrees(block: &BlockView, outcome: &Outcome) -> bool {
    match block.state {
        BlockState::Immature | BlockState::Mature | BlockState::Orphaned => true,
        BlockState::Accepted => matches!(outcome, Outcome::Accepted { .. }),
        BlockState::Rejected => matches!(outcome, Outcome::Inconclusive { .. } | Outcome::Rejected { .. }),
        BlockState::Submitted => *outcome == Outcome::Pending,
        BlockState::Found => false,
    }
}

/// Counts and logs a verdict, once.
fn tell(metrics: &Metrics, protocol: Protocol, height: u32, hash: BlockHash, outcome: &Outcome) {
    match outcome {
        Outcome::Pending => {}
        Outcome::Accepted { node } => {
            metrics.block(protocol, BlockOutcome::Accepted);
            tracing::info!(%hash, height, node, %protocol, "block accepted");
        }
        Outcome::Inconclusive { node } => {
            metrics.block(protocol, BlockOutcome::Rejected);
            tracing::warn!(%hash, height, node, %protocol, "block lost a race");
        }
        Outcome::Rejected { node, reason } => {
            metrics.block(protocol, BlockOutcome::Rejected);
            tracing::error!(%hash, height, node, reason, %protocol, "block rejected");
        }
    }
}

fn facts((job, protocol): (&Job, Protocol), block: &FoundBlock, account: String, worker: String) -> Facts {
    let template = &job.work.template;
    // A coinbase that pays one account is that account's block, whoever's name the share came under (V1-22).
    let (account, worker) = match &job.owner {
        Some(owner) if owner.as_str() != account => (owner.to_string(), String::new()),
        _ => (account, worker),
    };
    Facts {
        at: clock::wall(),
        protocol,
        account,
        worker,
        template: block.template,
        reward_sat: template.coinbase_value.to_sat(),
        network_difficulty: template.network_difficulty().get(),
        payments: job
            .payments
            .iter()
            .map(|payment| (payment.account.clone(), payment.address.to_string(), payment.amount.to_sat()))
            .collect(),
    }
}

fn row((hash, height): (BlockHash, u32), facts: &Facts, finder: WorkerId, window: Window) -> BlockRow {
    let network_difficulty = Difficulty::saturating(facts.network_difficulty);
    BlockRow {
        hash,
        height,
        template: facts.template,
        at: facts.at,
        finder,
        difficulty: network_difficulty,
        network_difficulty,
        reward: Amount::from_sat(facts.reward_sat),
        payments: facts
            .payments
            .iter()
            .map(|(account, address, sats)| Payment {
                account: account.clone(),
                address: address.clone(),
                amount: Amount::from_sat(*sats),
            })
            .collect(),
        window,
    }
}

#[cfg(test)]
mod tests;
