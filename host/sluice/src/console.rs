//! What happens, as it happens, for the person who started the demo.

use std::io::{self, Write};
use std::sync::Arc;
use std::time::Duration;

use sluice_core::ids::ShareSeq;
use sluice_node::{BlockEvent, Outcome};
use sluice_policy::PolicyEvent;
use tokio::sync::{broadcast, watch};
use tokio::time::Instant;

use crate::metrics::Metrics;

/// Shares are told together, at most so often.
const SHARES_INTERVAL: Duration = Duration::from_secs(1);

/// Writes a line to standard output. A closed pipe is the reader's choice, not an error.
pub fn say(line: &str) {
    let mut out = io::stdout().lock();
    let _ = writeln!(out, "{line}").and_then(|()| out.flush());
}

/// Tells of shares, blocks and reloads until `blocks` were accepted; for ever where that is `None`.
pub async fn tell(
    metrics: Arc<Metrics>,
    mut committed: watch::Receiver<ShareSeq>,
    mut block_events: broadcast::Receiver<BlockEvent>,
    mut policy_events: broadcast::Receiver<PolicyEvent>,
    blocks: Option<u64>,
) {
    let start = Instant::now();
    let stamp = || {
        let seconds = start.elapsed().as_secs();
        format!("{:3}:{:02}", seconds / 60, seconds % 60)
    };
    let mut told = committed.borrow_and_update().0;
    let mut accepted = 0;
    loop {
        tokio::select! {
            Ok(()) = committed.changed() => {
                // Many at once are one line.
                tokio::time::sleep(SHARES_INTERVAL.min(if told == 0 { Duration::ZERO } else { SHARES_INTERVAL })).await;
                let total = committed.borrow_and_update().0;
                let more = total.saturating_sub(told);
                told = total;
                let shares = if more == 1 { "share" } else { "shares" };
                let hashrate = metrics.hashrate();
                // Unknown in the first seconds.
                let rate = if hashrate.0 > 0.0 { format!(", {hashrate}") } else { String::new() };
                say(&format!("{}  {more} {shares} accepted, {total} in all{rate}", stamp()));
            }
            Ok(event) = block_events.recv() => {
                match &event.outcome {
                    Outcome::Pending => say(&format!("{}  block {} found: {}", stamp(), event.height, event.hash)),
                    Outcome::Accepted { node } => {
                        accepted += 1;
                        say(&format!("{}  block {} accepted by {node}", stamp(), event.height));
                    }
                    Outcome::Inconclusive { node } => {
                        say(&format!("{}  block {} lost a race at {node}", stamp(), event.height));
                    }
                    Outcome::Rejected { node, reason } => {
                        say(&format!("{}  block {} rejected by {node}: {reason}", stamp(), event.height));
                    }
                }
                if blocks.is_some_and(|wanted| accepted >= wanted) {
                    return;
                }
            }
            Ok(event) = policy_events.recv() => say(&format!("{}  {event}", stamp())),
            else => return,
        }
    }
}
