//! What happens to a found block: journal and submission first, then the books.
//!
//! A block goes to the journal (fsync) and to the nodes before anything else is done with it. Once the finder's share
//! is in the log, the round is recorded; once a node has accepted the block, the payout policy settles the round. A
//! policy that fails leaves the round open; the mended one settles it.

use std::sync::Arc;
use std::time::Duration;

use bitcoin::{Amount, BlockHash};
use serde::{Deserialize, Serialize};
use sluice_core::ids::{AccountName, Protocol, ShareSeq, TemplateId, WorkerId, WorkerName};
use sluice_core::job::Job;
use sluice_core::policy::payout::{Round, Window};
use sluice_core::policy::split::split;
use sluice_core::share::FoundBlock;
use sluice_core::units::{Difficulty, Timestamp};
use sluice_ledger::{BlockRow, BlockState, Ledger, LedgerError, Payment, Settlement};
use sluice_node::{BlockEvent, BlockStore, Outcome};
use sluice_policy::Policies;
use tokio::sync::{broadcast, mpsc, oneshot, watch};

use crate::clock;
use crate::metrics::{BlockOutcome, Metrics};

/// Blocks on their way to the journal. When it is full the finder's connection waits: a block is never dropped.
const QUEUE: usize = 256;
/// Rounds that could not be settled are tried again so often, and at once after a reload.
const RETRY: Duration = Duration::from_secs(10);

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
pub struct BlockDesk(mpsc::Sender<Handed>);

impl BlockDesk {
    pub fn new() -> (Self, mpsc::Receiver<Handed>) {
        let (sender, receiver) = mpsc::channel(QUEUE);
        (Self(sender), receiver)
    }

    /// Returns when the block is in the journal: its finder is told of the share only after that, so that a block whose
    /// share was acknowledged survives whatever happens to the process.
    pub async fn found(&self, found: Found) {
        let (journaled, written) = oneshot::channel();
        // Closed only after every connection has ended.
        if self.0.send(Handed { found, journaled }).await.is_ok() {
            let _ = written.await;
        }
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

/// The task that owns blocks.
pub struct BlockTask {
    pub store: BlockStore,
    pub ledger: Ledger,
    pub policies: Policies,
    pub metrics: Arc<Metrics>,
    /// Blocks in the ledger, for the status page.
    pub count: watch::Sender<u64>,
}

enum Event {
    Found(Option<Handed>),
    Outcome(BlockEvent),
    Settle,
}

impl BlockTask {
    /// Runs until every [`BlockDesk`] is gone.
    pub async fn run(
        self,
        mut found: mpsc::Receiver<Handed>,
        mut events: broadcast::Receiver<BlockEvent>,
        mut reloads: watch::Receiver<u64>,
    ) {
        self.catch_up().await;
        self.recount().await;
        let mut retry = tokio::time::interval(RETRY);
        let mut reloads_open = true;
        loop {
            let event = tokio::select! {
                biased;
                found = found.recv() => Event::Found(found),
                event = events.recv() => match event {
                    Ok(event) => Event::Outcome(event),
                    // Lagging behind loses events, not outcomes: they are in the journal.
                    Err(_) => { self.catch_up().await; Event::Settle }
                },
                changed = reloads.changed(), if reloads_open => { reloads_open = changed.is_ok(); Event::Settle }
                _ = retry.tick() => Event::Settle,
            };
            match event {
                Event::Found(Some(handed)) => self.on_found(handed).await,
                Event::Found(None) => break,
                Event::Outcome(event) => {
                    self.on_outcome((event.hash, event.height), &event.outcome, &event.facts).await
                }
                Event::Settle => self.settle_open().await,
            }
        }
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
        if let Err(error) = self.store.found(block, value).await {
            tracing::error!(%error, %hash, height, "block not written to the journal; it was submitted all the same");
        }
        // The connection may have ended.
        let _ = journaled.send(());
        // The round ends with the finder's share, so that must be queued first.
        let _ = logged.await;
        self.record(hash, height, &facts).await;
    }

    async fn record(&self, hash: BlockHash, height: u32, facts: &Facts) {
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
        if let Err(error) = self.ledger.block_found(row((hash, height), facts, finder, window)).await {
            tracing::error!(%error, %hash, height, "block not in the ledger yet; it is in the journal");
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

    /// Writes what the journal knows and the ledger may not, after a start or a gap.
    async fn catch_up(&self) {
        match self.store.records() {
            Ok(records) => {
                for record in records {
                    self.on_outcome((record.hash, record.height), &record.outcome, &record.facts).await;
                }
            }
            Err(error) => tracing::error!(%error, "the block journal cannot be read"),
        }
        self.settle_open().await;
    }

    async fn on_outcome(
        &self,
        (hash, height): (BlockHash, u32),
        outcome: &Outcome,
        facts: &serde_json::Value,
    ) {
        let protocol = match serde_json::from_value::<Facts>(facts.clone()) {
            Ok(facts) => {
                // Nothing happens where the ledger has it.
                self.record(hash, height, &facts).await;
                facts.protocol
            }
            Err(error) => {
                return tracing::error!(%error, %hash, "the journal's facts of a block cannot be read");
            }
        };
        let state = match outcome {
            Outcome::Pending => BlockState::Submitted,
            Outcome::Accepted { node } => {
                self.metrics.block(protocol, BlockOutcome::Accepted);
                tracing::info!(%hash, height, node, "block accepted");
                BlockState::Accepted
            }
            Outcome::Inconclusive { node } => {
                tracing::warn!(%hash, node, "block lost a race");
                BlockState::Rejected { reason: "inconclusive".to_owned() }
            }
            Outcome::Rejected { node, reason } => {
                self.metrics.block(protocol, BlockOutcome::Rejected);
                tracing::error!(%hash, height, node, reason, "block rejected");
                BlockState::Rejected { reason: reason.clone() }
            }
        };
        if let Err(error) = self.ledger.block_state(hash, state).await
            && !matches!(error, LedgerError::Settled(_))
        {
            tracing::error!(%error, %hash, "block state not written");
        }
        self.settle_open().await;
    }

    async fn settle_open(&self) {
        let open = match self.ledger.open_rounds().await {
            Ok(open) => open,
            Err(error) => return tracing::error!(%error, "open rounds cannot be read"),
        };
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
        Ok(())
    }
}

fn facts((job, protocol): (&Job, Protocol), block: &FoundBlock, account: String, worker: String) -> Facts {
    let template = &job.work.template;
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
