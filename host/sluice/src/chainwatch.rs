//! Follows the pool's blocks in the chain until they are final, and has the books follow.
//!
//! At each new tip, when a node has accepted a block, and every minute, it asks the nodes for the place of every block that
//! is not final, a bounded number at a time, and tells the ledger: credits of a block that left the chain are reversed,
//! those of one that came back booked again. Nodes that cannot tell, or disagree, change nothing. The ledger does each step
//! once, so that a crash anywhere is made good by the next look.

use std::sync::Arc;
use std::time::Duration;

use bitcoin::BlockHash;
use sluice_core::template::Template;
use sluice_ledger::{Change, Ledger, Place as Standing, WatchedBlock};
use sluice_node::{Place, PlaceError, Places};
use tokio::sync::{Notify, watch};
use tokio::time::{Instant, MissedTickBehavior};

use crate::metrics::{BlockMove, Metrics};

/// Between two looks while the tip stays.
const INTERVAL: Duration = Duration::from_secs(60);
/// Blocks asked for in one look. Where there are more, the next look goes on behind them.
const LOOK_LIMIT: usize = 128;
/// The pause before that.
const GO_ON: Duration = Duration::from_secs(1);

/// The task.
pub struct ChainWatch {
    ledger: Ledger,
    places: Places,
    metrics: Arc<Metrics>,
    /// The last block that was asked for in a look that did not reach the end; 0 begins anew.
    cursor: i64,
}

/// What the nodes said of some blocks.
struct Asked {
    /// What is new.
    placed: Vec<(WatchedBlock, Standing)>,
    /// The last block that need not be asked for again, where the questions ended early.
    broken_off: Option<i64>,
}

/// What a look came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Look {
    Done,
    /// There are more blocks.
    More,
}

impl ChainWatch {
    pub const fn new(ledger: Ledger, places: Places, metrics: Arc<Metrics>) -> Self {
        Self { ledger, places, metrics, cursor: 0 }
    }

    /// Runs until the node is gone. `accepted` tells of blocks that a node has just accepted.
    pub async fn run(mut self, mut templates: watch::Receiver<Option<Arc<Template>>>, accepted: Arc<Notify>) {
        let mut timer = tokio::time::interval(INTERVAL);
        timer.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut seen = None;
        loop {
            let tip = tokio::select! {
                changed = templates.changed() => {
                    if changed.is_err() {
                        return;
                    }
                    let tip = tip(&templates);
                    if tip == seen {
                        continue;
                    }
                    tip
                }
                () = accepted.notified() => tip(&templates),
                _ = timer.tick() => tip(&templates),
            };
            seen = tip;
            let Some((_, height)) = tip else { continue };
            if self.look(height).await == Look::More {
                timer.reset_at(Instant::now() + GO_ON);
            }
        }
    }

    /// One look at some blocks; `tip` is the chain's height.
    async fn look(&mut self, tip: u32) -> Look {
        let watched = match self.ledger.watched_blocks(self.cursor, tip, LOOK_LIMIT).await {
            Ok(watched) => watched,
            Err(error) => {
                tracing::error!(%error, "the blocks that are not final cannot be read");
                return Look::Done;
            }
        };
        let more = watched.len() == LOOK_LIMIT;
        let end = watched.last().filter(|_| more).map_or(0, |last| last.id);
        let asked = self.ask(watched).await;
        if !asked.placed.is_empty() && !self.enter(asked.placed).await {
            return Look::Done;
        }
        self.cursor = asked.broken_off.unwrap_or(end);
        if more && asked.broken_off.is_none() { Look::More } else { Look::Done }
    }

    /// What is new of the blocks, as far as nodes can tell. A question without an answer ends this look, as it may have
    /// taken long; the next one begins with it. Where this one did begin with it, the next goes on behind it, so that one
    /// block does not keep the others from being asked for.
    async fn ask(&self, watched: Vec<WatchedBlock>) -> Asked {
        let mut placed = Vec::with_capacity(watched.len());
        let mut answered = None;
        for block in watched {
            let place = self.places.place(block.hash, block.height).await;
            if let Ok(Some(standing)) = place.as_ref().map(standing)
                && block.is_news(standing)
            {
                placed.push((block, standing));
            }
            if let Err(error) = place {
                tracing::warn!(%error, hash = %block.hash, "no node says where a block is; asked again later");
                let begin = if matches!(error, PlaceError::Rpc { .. }) { block.id } else { self.cursor };
                return Asked { placed, broken_off: Some(answered.unwrap_or(begin)) };
            }
            answered = Some(block.id);
        }
        Asked { placed, broken_off: None }
    }

    /// Whether it is written.
    async fn enter(&self, placed: Vec<(WatchedBlock, Standing)>) -> bool {
        let places = placed.iter().map(|(block, place)| (block.hash, *place)).collect();
        match self.ledger.block_places(places).await {
            Ok(changes) => {
                for ((block, _), change) in placed.iter().zip(changes) {
                    self.tell(block.hash, block.height, change);
                }
                true
            }
            Err(error) => {
                tracing::error!(%error, "where blocks are was not written; it is asked again later");
                false
            }
        }
    }

    fn tell(&self, hash: BlockHash, height: u32, change: Change) {
        let moved = match change {
            Change::None => return,
            Change::Matured => {
                tracing::info!(%hash, height, "block mature");
                BlockMove::Matured
            }
            Change::Orphaned => {
                tracing::warn!(%hash, height, "block orphaned: another has its place; its credits are reversed");
                BlockMove::Orphaned
            }
            Change::Returned => {
                tracing::warn!(%hash, height, "block is in the chain after all; what was reversed is booked again");
                BlockMove::Returned
            }
        };
        self.metrics.block_moved(moved);
    }
}

/// What the ledger is told; `None` where the nodes cannot tell yet.
const fn standing(place: &Place) -> Option<Standing> {
    match place {
        Place::InChain { confirmations } => Some(Standing::InChain { confirmations: *confirmations }),
        Place::Aside { .. } => Some(Standing::Aside),
        Place::Beyond | Place::Disputed => None,
    }
}

/// The tip's hash and height.
fn tip(templates: &watch::Receiver<Option<Arc<Template>>>) -> Option<(BlockHash, u32)> {
    templates.borrow().as_ref().map(|template| (template.previous, template.height.saturating_sub(1)))
}

#[cfg(test)]
mod tests;
