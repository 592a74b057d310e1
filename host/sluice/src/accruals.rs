//! Credits for work as it comes, where the payout policy wants that (PPS, FPPS).
//!
//! Every interval, and after a reload of the payout policy, the shares that wait are put to the policy and what it gives is
//! booked, batch by batch. A policy that fails holds them: they stay in the log, it is asked again at the next tick and
//! after a reload, and the mended one credits them, once. The ledger sees to "once".
//!
//! A policy that refuses a question, or is stopped at it, may only have been asked too much: it is asked half of it, down
//! to a single share, so that shares are held only by one that cannot be credited even by itself.

use std::sync::Arc;
use std::time::Duration;

use sluice_core::policy::PolicyFailure;
use sluice_ledger::{AccrualSettlement, Ledger, LedgerError, OpenAccrual, PolicyRecord};
use sluice_policy::{AccruedBy, Policies};
use tokio::sync::watch;
use tokio::time::MissedTickBehavior;

use crate::metrics::Metrics;

/// How long the end of the pool may wait for the last accrual; what it does not credit, the next start does.
const LAST_ACCRUAL: Duration = Duration::from_secs(5);

/// While a policy that is backing off is asked less and less, it is asked again so soon: its longest pause.
const ASK_LESS: Duration = Duration::from_secs(30);

/// The task.
pub struct AccrualTask {
    ledger: Ledger,
    policies: Policies,
    metrics: Arc<Metrics>,
    interval: Duration,
    held: Option<Trouble>,
    /// The most shares of the next question; the ledger has a bound of its own.
    most: u64,
}

/// Why shares wait longer than they should.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
enum Trouble {
    #[error("{0}")]
    Policy(PolicyFailure),
    /// The books do not take its answer.
    #[error("{0}")]
    Answer(String),
    /// The ledger cannot be read or written.
    #[error("{0}")]
    Ledger(String),
}

impl From<PolicyFailure> for Trouble {
    fn from(failure: PolicyFailure) -> Self {
        Self::Policy(failure)
    }
}

impl From<LedgerError> for Trouble {
    fn from(error: LedgerError) -> Self {
        match error {
            LedgerError::Accrual(_) | LedgerError::AccrualSum => Self::Answer(error.to_string()),
            _ => Self::Ledger(error.to_string()),
        }
    }
}

impl Trouble {
    /// Whether less work at once may do.
    fn may_be_size(&self) -> bool {
        match self {
            Self::Policy(failure) => matches!(
                failure,
                PolicyFailure::BadInput(_) | PolicyFailure::BadAnswer(_) | PolicyFailure::Trap(_)
            ),
            Self::Answer(_) => true,
            Self::Ledger(_) => false,
        }
    }

    /// What shares wait for.
    fn until(&self) -> &'static str {
        match self {
            Self::Policy(_) | Self::Answer(_) => "shares wait until the payout policy credits them",
            Self::Ledger(_) => "shares wait until the ledger can be read and written",
        }
    }

    /// Whether it says more than `before`: a policy that is backing off says how long, each time anew.
    fn is_news(&self, before: Option<&Self>) -> bool {
        match (self, before) {
            (Self::Policy(PolicyFailure::Unavailable(_)), Some(Self::Policy(_))) => false,
            _ => before != Some(self),
        }
    }
}

impl AccrualTask {
    pub const fn new(ledger: Ledger, policies: Policies, metrics: Arc<Metrics>, interval: Duration) -> Self {
        Self { ledger, policies, metrics, interval, held: None, most: u64::MAX }
    }

    /// Runs until the sender of `stop` is dropped, then credits what is left if the policy answers in time.
    pub async fn run(mut self, mut stop: watch::Receiver<()>) {
        let mut reloads = self.policies.payout_changed();
        let mut reloads_open = true;
        let mut timer = tokio::time::interval(self.interval);
        timer.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                biased;
                _ = stop.changed() => break,
                changed = reloads.changed(), if reloads_open => reloads_open = changed.is_ok(),
                _ = timer.tick() => {}
                () = tokio::time::sleep(ASK_LESS), if self.asks_less() => {}
            }
            // A long backlog must not hold up the end of the pool.
            self.look(|| stop.has_changed().is_ok()).await;
        }
        if tokio::time::timeout(LAST_ACCRUAL, self.look(|| true)).await.is_err() {
            tracing::warn!("the last shares are not credited yet; the next start does so");
        }
    }

    /// Whether less is asked each time, and there is less to ask.
    fn asks_less(&self) -> bool {
        self.held.is_some() && (2..u64::MAX).contains(&self.most)
    }

    /// Credits what waits, for as long as it may `go_on`, and says how that went.
    async fn look(&mut self, go_on: impl Fn() -> bool + Send) {
        let trouble = self.accrue_all(go_on).await.err();
        let held = match &trouble {
            Some(_) => self.ledger.unaccrued().await.unwrap_or_default(),
            None => 0,
        };
        self.metrics.accruals_held(held);
        match &trouble {
            Some(trouble) if trouble.is_news(self.held.as_ref()) => {
                tracing::error!(%trouble, shares = held, "{}", trouble.until());
            }
            None if self.held.is_some() => tracing::info!("shares are credited again"),
            _ => {}
        }
        self.held = trouble;
    }

    async fn accrue_all(&mut self, go_on: impl Fn() -> bool + Send) -> Result<(), Trouble> {
        let plan = self.policies.plan().await?;
        if !plan.accrues {
            return Ok(self.switch_off().await?);
        }
        self.ledger.accruing(true).await?;
        while let Some(open) = self.ledger.open_accrual_of(self.most).await? {
            let (more, shares) = (open.more, open.through.0 - open.first.0 + 1);
            match self.accrue(open).await {
                Ok(()) => self.most = self.most.saturating_mul(2),
                Err(trouble) if trouble.may_be_size() && shares > 1 => {
                    self.most = shares / 2;
                    tracing::warn!(%trouble, shares, "not credited at once; half of them are put to the payout policy");
                    if go_on() {
                        continue;
                    }
                    return Err(trouble);
                }
                Err(trouble) => return Err(trouble),
            }
            if !more || !go_on() {
                break;
            }
        }
        Ok(())
    }

    async fn switch_off(&self) -> Result<(), LedgerError> {
        let shares = self.ledger.unaccrued().await?;
        if shares > 0 {
            tracing::warn!(
                shares,
                "the payout policy no longer credits work as it comes: shares since the last time count for blocks only"
            );
        }
        if self.ledger.accruing(false).await? {
            tracing::warn!(
                "blocks are divided by the new plan's window from now on: shares in it that were credited as they came are \
                 paid again, at the house's cost"
            );
        }
        Ok(())
    }

    async fn accrue(&self, open: OpenAccrual) -> Result<(), Trouble> {
        let OpenAccrual { first, through, tallies, passed_over, .. } = open;
        let AccruedBy { accrued, policy } = self.policies.accrue(tallies.clone()).await?;
        let policy = PolicyRecord {
            name: policy.name.clone(),
            version: policy.version.clone(),
            hash: policy.hash.clone(),
            settings: policy.settings.clone(),
        };
        let settlement = AccrualSettlement { policy, first, through, input: tallies, answer: accrued };
        if self.ledger.accrue(settlement).await? {
            let shares = through.0 - first.0 + 1 - passed_over;
            self.metrics.accrued(shares, passed_over);
            tracing::debug!(first = first.0, through = through.0, "work credited");
            if passed_over > 0 {
                tracing::warn!(shares = passed_over, "shares of unknown templates credit nobody");
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
