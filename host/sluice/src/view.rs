//! What the HTTP side sees of the pool.

mod money;
mod recent;

use std::sync::Arc;

use bitcoin::Network;
use sluice_core::template::Template;
use sluice_core::units::Timestamp;
use sluice_ledger::{BlockView, CreditRow, CreditSource, Ledger, LedgerError, LedgerHealth};
use sluice_node::{ChainHealth, NodeHandle};
use sluice_policy::{Difference, Policies, PolicyStatus, ShadowStatus};
use tokio::sync::watch;

use crate::clock;
use crate::http::{
    AccountInfo, Answer, BalancesInfo, BlockInfo, ByProtocol, Channels, CreditInfo, DifferenceInfo, JobInfo,
    MoneyInfo, PayoutInfo, PolicyInfo, PoolInfo, PoolView, ReloadInfo, ShadowInfo, Shares, StratumV2Info,
    Tip, ViewError, WorkerInfo,
};
use crate::identity::Endpoint;
use crate::jobs::Posting;
use crate::metrics::Metrics;
use crate::net::connection::Shared;
use money::Books;
pub use money::{Forecaster, Forecasting};
use recent::Recent;

pub struct View {
    network: Network,
    ledger: Ledger,
    policies: Policies,
    metrics: Arc<Metrics>,
    templates: watch::Receiver<Option<Arc<Template>>>,
    health: watch::Receiver<ChainHealth>,
    newest: Posting,
    ledger_health: watch::Receiver<LedgerHealth>,
    blocks: watch::Receiver<u64>,
    accepting: watch::Receiver<bool>,
    stratum_v2: Option<Endpoint>,
    forecaster: Option<Arc<dyn Forecaster>>,
    books: Recent<(), Books>,
    /// By name and limit.
    accounts: Recent<(String, usize), Option<AccountInfo>>,
}

impl View {
    pub fn new(
        network: Network,
        shared: &Shared,
        node: &NodeHandle,
        blocks: watch::Receiver<u64>,
        stratum_v2: Option<Endpoint>,
    ) -> Self {
        Self {
            network,
            stratum_v2,
            ledger: shared.ledger.clone(),
            policies: shared.policies.clone(),
            metrics: Arc::clone(&shared.metrics),
            templates: node.templates(),
            health: node.health(),
            newest: shared.board.newest(),
            ledger_health: shared.ledger.health(),
            blocks,
            accepting: shared.accepting.clone(),
            forecaster: None,
            books: Recent::new(money::MONEY_AGE, 1),
            accounts: Recent::new(money::ACCOUNT_AGE, money::ACCOUNTS_LIMIT),
        }
    }

    /// Whom to ask what the next block would pay; without one, nobody knows.
    #[must_use]
    pub fn with_forecast(mut self, forecaster: Arc<dyn Forecaster>) -> Self {
        self.forecaster = Some(forecaster);
        self
    }
}

fn failed(error: &LedgerError) -> ViewError {
    ViewError(format!("the ledger does not answer: {error}"))
}

impl PoolView for View {
    fn pool(&self) -> PoolInfo {
        let tip = self.templates.borrow().as_ref().map(|template| Tip {
            height: template.height.saturating_sub(1),
            hash: template.previous.to_string(),
        });
        let job = self.newest.borrow().as_ref().map(|published| JobInfo {
            id: published.job.id.to_string(),
            height: published.job.work.template.height,
            age_ms: u64::try_from(published.at.elapsed().as_millis()).unwrap_or(u64::MAX),
        });
        PoolInfo {
            network: network_name(self.network).to_owned(),
            tip,
            job,
            connections: ByProtocol::of(|protocol| self.metrics.connections(protocol)),
            channels: Channels::of(&self.metrics),
            shares: Shares::of(&self.metrics),
            hashrate: self.metrics.hashrate().0,
            blocks: *self.blocks.borrow(),
            stratum_v2: self.stratum_v2.as_ref().map(|endpoint| StratumV2Info {
                address: endpoint.address.to_string(),
                authority_public_key: endpoint.authority.to_string(),
            }),
        }
    }

    fn readiness(&self) -> Result<(), String> {
        let health = self.health.borrow();
        if !health.is_healthy() {
            return Err(format!("no node serves templates: {}", health.overall()));
        }
        if !*self.accepting.borrow() {
            return Err("miners are not let in yet".to_owned());
        }
        if self.newest.borrow().is_none() && self.templates.borrow().is_none() {
            return Err("there is no job yet".to_owned());
        }
        if self.ledger_health.has_changed().is_err() {
            return Err("the ledger has stopped; restart the pool".to_owned());
        }
        match &*self.ledger_health.borrow() {
            LedgerHealth::Healthy => Ok(()),
            LedgerHealth::Failing { error, .. } => Err(format!("the ledger cannot write: {error}")),
        }
    }

    fn policies(&self) -> Answer<'_, Vec<PolicyInfo>> {
        Box::pin(async { Ok(self.policies.status().into_iter().map(policy_info).collect()) })
    }

    fn workers(&self, limit: usize) -> Answer<'_, Vec<WorkerInfo>> {
        Box::pin(async move {
            let rows = self.ledger.workers(clock::wall(), limit).await.map_err(|error| failed(&error))?;
            let info = rows.into_iter().map(|row| WorkerInfo {
                account: row.account,
                worker: row.worker,
                protocol: row.protocol,
                shares: row.shares,
                work: row.work,
                hashrate: row.hashrate.0,
                last_share_at: row.last_share_at,
            });
            Ok(info.collect())
        })
    }

    fn blocks(&self, limit: usize) -> Answer<'_, Vec<BlockInfo>> {
        Box::pin(async move {
            let rows = self.ledger.blocks(limit).await.map_err(|error| failed(&error))?;
            Ok(rows.into_iter().map(block_info).collect())
        })
    }

    fn credits(&self, limit: usize) -> Answer<'_, Vec<CreditInfo>> {
        Box::pin(async move {
            let rows = self.ledger.credits(limit).await.map_err(|error| failed(&error))?;
            Ok(rows.into_iter().map(credit_info).collect())
        })
    }

    fn money(&self) -> Answer<'_, MoneyInfo> {
        Box::pin(self.money_info())
    }

    fn balances(&self, limit: usize) -> Answer<'_, BalancesInfo> {
        Box::pin(self.balances_info(limit))
    }

    fn payouts(&self, limit: usize) -> Answer<'_, Vec<PayoutInfo>> {
        Box::pin(self.payout_infos(limit))
    }

    fn account(&self, account: String, limit: usize) -> Answer<'_, Option<AccountInfo>> {
        Box::pin(self.account_info(account, limit))
    }

    fn before_scrape(&self, metrics: &Metrics) {
        metrics.ledger_healthy(matches!(*self.ledger_health.borrow(), LedgerHealth::Healthy));
        metrics.policies(self.policies.status());
    }
}

/// `main`, `testnet4`, `signet` or `regtest`, as in the configuration.
pub fn network_name(network: Network) -> &'static str {
    network.to_core_arg()
}

fn block_info(row: BlockView) -> BlockInfo {
    BlockInfo {
        height: row.height,
        hash: row.hash.to_string(),
        state: row.state.label().to_owned(),
        confirmations: row.confirmations,
        reason: (!row.reason.is_empty()).then_some(row.reason),
        settled: row.settled,
        at: row.at,
        account: row.account,
        worker: row.worker,
        difficulty: row.network_difficulty.get(),
        reward_sat: row.reward_sat,
    }
}

fn credit_info(row: CreditRow) -> CreditInfo {
    let (block, height, state, shares) = match row.source {
        CreditSource::Block { hash, height, state } => {
            (Some(hash.to_string()), Some(height), Some(state.label().to_owned()), None)
        }
        CreditSource::Work { first, through } => (None, None, None, Some([first.0, through.0])),
    };
    CreditInfo {
        block,
        height,
        state,
        shares,
        at: row.at,
        account: row.account,
        amount_sat: row.amount_sat,
        reason: row.reason,
        policy_hash: row.policy_hash,
    }
}

fn policy_info(status: PolicyStatus) -> PolicyInfo {
    PolicyInfo {
        kind: status.kind,
        file: status.file,
        name: status.name,
        version: status.version,
        hash: status.hash,
        generation: status.generation,
        loaded_at: Timestamp(status.loaded_at),
        state: word(&status.state),
        last_reload: ReloadInfo {
            outcome: word(&status.last_reload.outcome),
            at: Timestamp(status.last_reload.at),
            error: status.last_reload.error,
        },
        calls: status.figures.calls,
        traps: status.figures.traps,
        unavailable: status.figures.unavailable,
        queue_full: status.slot.queue_full,
        budgets: status.budgets,
        last_failure: status.last_failure,
        generations: status.generations,
        pinned: status.pinned,
        held: status.held,
        shadow: status.shadow.map(shadow_info),
        lookup: status.lookup,
    }
}

fn shadow_info(status: ShadowStatus) -> ShadowInfo {
    let difference = |example: Difference| {
        let Difference { at, input, live, shadow } = example;
        DifferenceInfo { at: Timestamp(at), input, live, shadow }
    };
    let latency = status.figures.latency;
    ShadowInfo {
        file: status.file,
        name: status.name,
        version: status.version,
        hash: status.hash,
        loaded_at: Timestamp(status.loaded_at),
        state: word(&status.state),
        error: status.error,
        against: status.against,
        compared: status.compared,
        agreed: status.agreed,
        differed: status.differed,
        failed: status.failed,
        dropped: status.dropped,
        skipped: status.skipped,
        calls: status.figures.calls,
        traps: status.figures.traps,
        call_mean_nanos: latency.mean_nanos,
        call_p99_micros: latency.p99_micros,
        call_max_micros: latency.max_micros,
        last_failure: status.last_failure,
        waiting: status.waiting,
        generations: status.generations,
        examples: status.examples.into_iter().map(difference).collect(),
    }
}

/// A unit variant as its serialised word.
fn word(value: &impl serde::Serialize) -> String {
    match serde_json::to_value(value) {
        Ok(serde_json::Value::String(word)) => word,
        _ => String::new(),
    }
}
