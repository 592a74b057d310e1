//! Waits inside one node's `getblocktemplate` and publishes what comes back.

use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use sluice_core::bitcoin::{BlockHash, Network};

use super::board::Board;
use super::bounded_wait;
use super::poller::{BackOff, Bell};
use crate::clock::now;
use crate::rpc::Rpc;

/// A node that answers long polls faster than this without a new tip is held back to it.
const FASTEST: Duration = Duration::from_secs(1);

/// The long poller of one node.
pub(super) struct LongPoller {
    pub(super) node: usize,
    pub(super) network: Network,
    pub(super) timeout: Duration,
    pub(super) rpc: Arc<Rpc>,
    pub(super) slot: Arc<Slot>,
    pub(super) bell: Arc<Bell>,
    pub(super) board: Arc<Board>,
}

impl LongPoller {
    /// Until the slot is stopped.
    pub(super) fn run(self) {
        let mut pause = BackOff::default();
        while let Some(order) = self.slot.take() {
            let began = Instant::now();
            match self.rpc.block_template(self.network, Some(&order.id), self.timeout) {
                Ok(received) => {
                    let previous = received.template.previous;
                    if !self.board.push(self.node, received.template, now()) {
                        self.slot.fail();
                        self.bell.ring();
                        continue;
                    }
                    pause = BackOff::default();
                    if previous == order.previous && began.elapsed() < FASTEST {
                        self.slot.pause(FASTEST);
                    }
                    match received.longpollid {
                        Some(id) => self.slot.renew(Order { id, previous }),
                        None => {
                            self.slot.fail();
                        }
                    }
                }
                Err(error) => {
                    tracing::debug!(node = %self.rpc.name(), %error, "long poll ended");
                    if self.slot.fail() {
                        // The poller finds out what is wrong, and orders anew when nothing is.
                        self.bell.ring();
                        self.slot.pause(pause.next());
                    }
                }
            }
        }
    }
}

/// A long poll to make.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Order {
    pub(super) id: String,
    /// The tip that `id` stands for.
    pub(super) previous: BlockHash,
}

/// What the long poller is to do; holds the latest order only.
#[derive(Default)]
pub(super) struct Slot {
    phase: Mutex<Phase>,
    changed: Condvar,
}

#[derive(Default)]
enum Phase {
    #[default]
    Idle,
    Ordered(Order),
    /// A call is in flight that waits for the end of this tip.
    Waiting(BlockHash),
    Stopped,
}

impl Slot {
    fn phase(&self) -> MutexGuard<'_, Phase> {
        self.phase.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The poller has a template with this id. Whether a call is in flight that should have ended, and must be cut.
    pub(super) fn offer(&self, id: String, previous: BlockHash) -> bool {
        let mut phase = self.phase();
        let cut = match &*phase {
            Phase::Stopped => return false,
            Phase::Waiting(tip) if *tip == previous => return false,
            Phase::Waiting(_) => true,
            Phase::Idle | Phase::Ordered(_) => false,
        };
        *phase = Phase::Ordered(Order { id, previous });
        self.changed.notify_all();
        cut
    }

    /// The node failed: nothing is to be asked.
    pub(super) fn withdraw(&self) {
        let mut phase = self.phase();
        if !matches!(*phase, Phase::Stopped) {
            *phase = Phase::Idle;
        }
    }

    pub(super) fn stop(&self) {
        *self.phase() = Phase::Stopped;
        self.changed.notify_all();
    }

    /// Waits for an order; `None` when stopped.
    fn take(&self) -> Option<Order> {
        let mut phase = self.phase();
        loop {
            match &*phase {
                Phase::Stopped => return None,
                Phase::Ordered(order) => {
                    let order = order.clone();
                    *phase = Phase::Waiting(order.previous);
                    return Some(order);
                }
                Phase::Idle | Phase::Waiting(_) => {}
            }
            phase = self.changed.wait(phase).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// The call brought a template: go on with the next, unless something else was ordered.
    fn renew(&self, order: Order) {
        let mut phase = self.phase();
        if matches!(*phase, Phase::Waiting(_)) {
            *phase = Phase::Ordered(order);
        }
    }

    /// The call failed. Whether nobody knows yet why.
    fn fail(&self) -> bool {
        let mut phase = self.phase();
        let unknown = matches!(*phase, Phase::Waiting(_));
        if unknown {
            *phase = Phase::Idle;
        }
        unknown
    }

    /// Waits `limit`, or until stopped.
    fn pause(&self, limit: Duration) {
        let until = Instant::now() + limit;
        let mut phase = self.phase();
        while !matches!(*phase, Phase::Stopped) {
            let Some(guard) = bounded_wait(&self.changed, phase, until) else { return };
            phase = guard;
        }
    }
}

#[cfg(test)]
mod tests;
