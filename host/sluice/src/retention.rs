//! Old shares leave the log: once at the start, then every hour, what is older than the operator keeps and what nothing
//! needs any more is folded into hours (`sluice_ledger`'s `fold` says what that is).

use std::sync::Arc;
use std::time::Duration;

use sluice_core::template::Template;
use sluice_core::units::Timestamp;
use sluice_ledger::{Folded, Keeps, Ledger, Needed};
use sluice_policy::Policies;
use tokio::sync::watch;
use tokio::time::MissedTickBehavior;

use crate::clock;
use crate::metrics::Metrics;

/// Between two folds.
const INTERVAL: Duration = Duration::from_secs(3600);

/// The task.
pub struct Retention {
    pub ledger: Ledger,
    pub policies: Policies,
    pub metrics: Arc<Metrics>,
    /// How long shares are kept at least.
    pub keep: Duration,
}

impl Retention {
    /// Runs until the node is gone.
    pub async fn run(self, mut templates: watch::Receiver<Option<Arc<Template>>>) {
        let mut timer = tokio::time::interval(INTERVAL);
        timer.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            timer.tick().await;
            // How much work a window holds follows from the chain.
            let network_difficulty = match templates.wait_for(Option::is_some).await.as_deref() {
                Ok(Some(template)) => template.network_difficulty(),
                _ => return,
            };
            match self.policies.plan().await {
                Ok(plan) => self.fold(Needed { window: plan.window, network_difficulty }).await,
                Err(error) => {
                    tracing::warn!(%error, "old shares stay for now: the payout policy gives no plan");
                }
            }
        }
    }

    async fn fold(&self, needed: Needed) {
        let kept_ms = u64::try_from(self.keep.as_millis()).unwrap_or(u64::MAX);
        let before = Timestamp(clock::wall().0.saturating_sub(kept_ms));
        match self.ledger.fold(before, needed).await {
            Ok(folded) => self.tell(folded),
            Err(error) => tracing::error!(%error, "old shares were not folded; it is tried again in an hour"),
        }
    }

    fn tell(&self, Folded { shares, through, keeps }: Folded) {
        self.metrics.shares_folded(shares);
        if shares > 0 {
            tracing::info!(shares, through = through.0, next_kept_for = %keeps, "old shares folded into hours");
        } else if keeps != Keeps::Age {
            tracing::debug!(through = through.0, next_kept_for = %keeps, "old shares stay");
        }
    }
}
