//! What runs on the side: the node's health and what follows from it (V1-80), and the samples of the status page.

use std::sync::Arc;
use std::time::Duration;

use sluice_core::session::Close;
use sluice_node::ChainHealth;
use sluice_policy::PolicyEvent;
use tokio::sync::{broadcast, watch};
use tokio::time::{Instant, sleep_until};

use crate::clock::Clock;
use crate::metrics::{Metrics, ReloadLabel, history};

/// How long the node may be away before newcomers are refused.
const BEFORE_REFUSING: Duration = Duration::from_secs(15);

/// Refuses newcomers soon after the last node is lost, and lets miners go after `grace`, so that they turn to their
/// other pools: the only sign SV1 has (V1-80).
pub async fn watch_node(
    mut health: watch::Receiver<ChainHealth>,
    (accepting, closing): (watch::Sender<bool>, watch::Sender<Option<Close>>),
    grace: Duration,
    metrics: Arc<Metrics>,
) {
    let mut down_since: Option<Instant> = None;
    let mut was_healthy = *accepting.borrow();
    loop {
        let healthy = {
            let health = health.borrow_and_update();
            for (index, node) in (0..).zip(&health.nodes) {
                metrics.node_health(index, node.health == sluice_node::Health::Healthy);
            }
            health.is_healthy()
        };
        if healthy {
            if !was_healthy {
                tracing::info!("the node serves templates");
            }
            down_since = None;
            accepting.send_replace(true);
            closing.send_if_modified(|why| why.take_if(|why| *why == Close::NoWork).is_some());
        } else if was_healthy {
            tracing::error!(health = %health.borrow().overall(), "no node serves templates; miners keep their work for now");
            down_since = Some(Instant::now());
        }
        was_healthy = healthy;
        let changed = tokio::select! {
            changed = health.changed() => changed.is_ok(),
            () = at(down_since.map(|since| since + BEFORE_REFUSING)), if *accepting.borrow() => {
                accepting.send_replace(false);
                true
            }
            () = at(down_since.map(|since| since + grace)), if closing.borrow().is_none() => {
                tracing::error!("no node for too long; miners are let go");
                closing.send_if_modified(|why| why.is_none() && why.replace(Close::NoWork).is_none());
                true
            }
        };
        if !changed {
            return;
        }
    }
}

async fn at(instant: Option<Instant>) {
    match instant {
        Some(instant) => sleep_until(instant).await,
        None => std::future::pending().await,
    }
}

/// Feeds the history that the status page draws. Runs for ever.
pub async fn sample(clock: Clock, metrics: Arc<Metrics>) {
    let mut interval = tokio::time::interval(history::STEP);
    loop {
        interval.tick().await;
        metrics.sample(clock.moment());
    }
}

/// Counts what becomes of changed policies. Runs until the policies end.
pub async fn count_reloads(mut events: broadcast::Receiver<PolicyEvent>, metrics: Arc<Metrics>) {
    loop {
        let (kind, label) = match events.recv().await {
            Ok(PolicyEvent::Applied { kind, .. }) => (kind, ReloadLabel::Applied),
            Ok(PolicyEvent::Unchanged { kind, .. }) => (kind, ReloadLabel::Unchanged),
            Ok(PolicyEvent::Rejected { kind, .. }) => (kind, ReloadLabel::Rejected),
            Ok(PolicyEvent::RolledBack { kind, .. }) => (kind, ReloadLabel::RolledBack),
            Ok(_) | Err(broadcast::error::RecvError::Lagged(_)) => continue,
            Err(broadcast::error::RecvError::Closed) => return,
        };
        metrics.policy_reload(kind, label);
    }
}
