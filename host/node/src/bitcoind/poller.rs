//! Asks one node for health and templates at intervals, and says how it is.

use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use sluice_core::bitcoin::Network;

use super::board::Board;
use super::longpoll::Slot;
use super::{Polling, bounded_wait};
use crate::clock::now;
use crate::health::Health;
use crate::rpc::{ChainInfo, Rpc, RpcError};
use crate::template::Received;

/// Between two looks at a node that is syncing, and at one that offers no long poll.
const SOON: Duration = Duration::from_secs(1);
/// Between two tries to reach a node: from the first, doubled up to the second.
const BACK_OFF: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(5));

/// The poller of one node.
pub(super) struct Poller {
    pub(super) node: usize,
    pub(super) network: Network,
    pub(super) polling: Polling,
    pub(super) rpc: Arc<Rpc>,
    /// The long poller's: to cut its call.
    pub(super) wait: Arc<Rpc>,
    pub(super) slot: Arc<Slot>,
    pub(super) bell: Arc<Bell>,
    pub(super) board: Arc<Board>,
}

impl Poller {
    /// Until the bell is stopped.
    pub(super) fn run(self) {
        let mut pause = BackOff::default();
        loop {
            let asked = self.board.generation(self.node);
            let wait = match self.look() {
                Ok(received) => {
                    pause = BackOff::default();
                    let soon = received.longpollid.is_none();
                    self.publish(received, asked);
                    if soon { self.polling.refresh.min(SOON) } else { self.polling.refresh }
                }
                Err(Health::Unreachable { since, error }) => {
                    self.fail(Health::Unreachable { since, error });
                    pause.next()
                }
                Err(health) => {
                    self.fail(health);
                    SOON
                }
            };
            if self.bell.wait(wait) == Wake::Stop {
                return;
            }
        }
    }

    fn look(&self) -> Result<Received, Health> {
        let info = self.rpc.chain_info(self.polling.call).map_err(diagnose)?;
        self.check_chain(&info)?;
        self.rpc.block_template(self.network, None, self.polling.call).map_err(diagnose)
    }

    fn check_chain(&self, info: &ChainInfo) -> Result<(), Health> {
        if info.chain != self.network.to_core_arg() {
            let found = crate::rpc::bounded(info.chain.clone());
            return Err(Health::WrongNetwork { expected: self.network, found });
        }
        // Core refuses templates while it downloads blocks, except on test networks. A regtest node without recent
        // blocks always says that it downloads.
        if info.initial_block_download && self.network != Network::Regtest {
            let reason = format!("block {} of {}", info.blocks, info.headers);
            return Err(Health::Syncing { reason });
        }
        Ok(())
    }

    fn publish(&self, received: Received, asked: super::board::Generation) {
        let previous = received.template.previous;
        if !self.board.answer(self.node, received.template, asked, now()) {
            return;
        }
        if let Some(id) = received.longpollid
            && self.slot.offer(id, previous)
        {
            self.wait.interrupt();
        }
    }

    fn fail(&self, health: Health) {
        self.board.report(self.node, health, now());
        self.slot.withdraw();
        self.wait.interrupt();
    }
}

/// What a failed call says of the node.
fn diagnose(error: RpcError) -> Health {
    /// Core's RPC_CLIENT_NOT_CONNECTED, RPC_CLIENT_IN_INITIAL_DOWNLOAD and RPC_IN_WARMUP.
    const NOT_YET: [i32; 3] = [-9, -10, -28];
    match error {
        RpcError::Refused { code, message, .. } if NOT_YET.contains(&code) => {
            Health::Syncing { reason: message }
        }
        other => Health::Unreachable { since: now(), error: crate::rpc::bounded(other.to_string()) },
    }
}

/// Doubling pauses.
#[derive(Default)]
pub(super) struct BackOff(Option<Duration>);

impl BackOff {
    pub(super) fn next(&mut self) -> Duration {
        let pause = self.0.map_or(BACK_OFF.0, |last| (last * 2).min(BACK_OFF.1));
        self.0 = Some(pause);
        pause
    }
}

/// Why a wait ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Wake {
    Time,
    Ring,
    Stop,
}

/// Wakes the poller.
#[derive(Default)]
pub(super) struct Bell {
    word: Mutex<Option<Wake>>,
    changed: Condvar,
}

impl Bell {
    fn word(&self) -> MutexGuard<'_, Option<Wake>> {
        self.word.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Look at the node now. Rings before the next wait count once.
    pub(super) fn ring(&self) {
        self.word().get_or_insert(Wake::Ring);
        self.changed.notify_all();
    }

    pub(super) fn stop(&self) {
        *self.word() = Some(Wake::Stop);
        self.changed.notify_all();
    }

    fn wait(&self, limit: Duration) -> Wake {
        let until = Instant::now() + limit;
        let mut word = self.word();
        loop {
            match *word {
                Some(Wake::Stop) => return Wake::Stop,
                Some(wake) => {
                    *word = None;
                    return wake;
                }
                None => {}
            }
            let Some(guard) = bounded_wait(&self.changed, word, until) else { return Wake::Time };
            word = guard;
        }
    }
}
