//! A chain that lives in this process, behind the same [`NodeHandle`] as real nodes. For the demo and for tests.
//!
//! Templates carry synthetic transactions, segwit ones among them, so that merkle branches and the witness commitment
//! are real. What is submitted is checked as Core checks it and refused in Core's words ([`chain`]).

pub mod chain;
mod transactions;

use std::collections::VecDeque;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use sluice_core::bitcoin::{BlockHash, CompactTarget, Network};
use sluice_core::template::Template;
use sluice_core::units::{Difficulty, Timestamp};
use tokio::sync::{mpsc, watch};

use crate::clock::now;
use crate::handle::{Crew, NodeHandle};
use crate::health::{ChainHealth, Health, NodeStatus};
use crate::place::{Chainsight, Place};
use crate::rpc::RpcError;
use crate::sink::{BlockSink, SubmitAnswer};

pub use chain::{Chain, Origin, SimBlock};

/// The most synthetic transactions per template; their branch has 14 levels.
pub const TRANSACTIONS_LIMIT: usize = 10_000;
/// Answers kept for [`SimChain::submissions`]; older ones are dropped.
const SUBMISSIONS_LIMIT: usize = 1000;
/// The name of the simulated node.
const NAME: &str = "simulated";

/// How hard blocks are.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum SimDifficulty {
    /// Regtest's: every second hash is a block.
    Regtest,
    Difficulty(Difficulty),
}

impl SimDifficulty {
    fn bits(self) -> CompactTarget {
        match self {
            Self::Regtest => CompactTarget::from_consensus(0x207f_ffff),
            Self::Difficulty(difficulty) => difficulty.to_target().to_compact_lossy(),
        }
    }
}

/// What chain to simulate.
#[derive(Clone, Debug)]
pub struct SimConfig {
    /// Decides addresses and the subsidy.
    pub network: Network,
    /// The height of the first tip; the first template is one higher.
    pub start_height: u32,
    pub difficulty: SimDifficulty,
    /// Per template, at most [`TRANSACTIONS_LIMIT`].
    pub transactions: usize,
    /// The same seed, heights and clock give the same templates.
    pub seed: u64,
    /// Others find a block this often; `None`: never.
    pub block_interval: Option<Duration>,
    /// A new template of the same tip this often.
    pub refresh: Duration,
}

impl Default for SimConfig {
    fn default() -> Self {
        Self {
            network: Network::Regtest,
            start_height: 200,
            difficulty: SimDifficulty::Regtest,
            transactions: 50,
            seed: 1,
            block_interval: None,
            refresh: Duration::from_secs(30),
        }
    }
}

/// Starts the chain and publishes its first template before it returns.
///
/// # Errors
/// The thread that keeps time cannot start.
pub fn start(config: SimConfig) -> Result<(NodeHandle, SimChain), std::io::Error> {
    let mut chain = Chain::new(&config, now());
    let (templates, template_watch) = watch::channel(Some(Arc::new(chain.template(now()))));
    let (health, health_watch) = watch::channel(summary(Health::Healthy, None));
    let world = World { chain, stopped: false, submissions: VecDeque::new(), unspoken: None };
    let shared = Arc::new(Shared { world: Mutex::new(world), changed: Condvar::new(), templates, health });
    let (alive, ended) = mpsc::channel(1);
    let timed = Arc::clone(&shared);
    let stopped = Arc::clone(&shared);
    let crew = Crew { stop: Box::new(move || stopped.stop()), ended };
    std::thread::Builder::new().name("simulated-chain".into()).spawn(move || {
        timed.keep_time(&config);
        drop(alive);
    })?;
    let sim = SimChain { shared };
    let sinks: Vec<Arc<dyn BlockSink>> = vec![Arc::new(sim.clone())];
    let sight: Arc<dyn Chainsight> = Arc::new(sim.clone());
    let sights = Arc::from([sight]);
    Ok((NodeHandle { templates: template_watch, health: health_watch, sinks, sights, crew }, sim))
}

fn summary(health: Health, down_since: Option<Timestamp>) -> ChainHealth {
    let active = (health == Health::Healthy).then_some(0);
    ChainHealth { nodes: vec![NodeStatus { name: NAME.into(), health }], active, down_since }
}

/// The simulated chain, to look at and to steer. Also the node that takes blocks.
#[derive(Clone)]
pub struct SimChain {
    shared: Arc<Shared>,
}

struct Shared {
    world: Mutex<World>,
    changed: Condvar,
    templates: watch::Sender<Option<Arc<Template>>>,
    health: watch::Sender<ChainHealth>,
}

struct World {
    chain: Chain,
    stopped: bool,
    submissions: VecDeque<SubmitAnswer>,
    /// Questions about it get no answer.
    unspoken: Option<BlockHash>,
}

impl SimChain {
    /// The last block.
    pub fn tip(&self) -> SimBlock {
        self.shared.world().chain.tip().clone()
    }

    /// The active chain, oldest first, as far back as it is kept.
    pub fn blocks(&self) -> Vec<SimBlock> {
        self.shared.world().chain.blocks().cloned().collect()
    }

    pub fn block_at(&self, height: u32) -> Option<SimBlock> {
        self.shared.world().chain.block_at(height).cloned()
    }

    /// Every verdict so far, oldest first; the last thousand.
    pub fn submissions(&self) -> Vec<SubmitAnswer> {
        self.shared.world().submissions.iter().cloned().collect()
    }

    /// Others find a block on the tip.
    pub fn force_block(&self) -> SimBlock {
        self.shared.change(|chain| chain.force_block(now()))
    }

    /// The last `depth` blocks are replaced by `depth + 1` others.
    pub fn reorg(&self, depth: u32) -> SimBlock {
        self.shared.change(|chain| chain.reorg(depth, now()))
    }

    /// A new template of the same tip.
    pub fn refresh(&self) {
        self.shared.change(|_| ());
    }

    /// From now on the node fails when it is asked where this block is, and no other.
    pub fn set_unspoken(&self, hash: Option<BlockHash>) {
        self.shared.world().unspoken = hash;
    }

    /// Lets the node seem ill, or well again. While it is ill it takes no blocks and its template stands.
    pub fn set_health(&self, health: Health) {
        let since = (health != Health::Healthy).then(now);
        self.shared.health.send_replace(summary(health, since));
    }
}

impl BlockSink for SimChain {
    fn name(&self) -> String {
        NAME.into()
    }

    fn submit(&self, block: &[u8]) -> Result<SubmitAnswer, RpcError> {
        if !self.shared.health.borrow().is_healthy() {
            return Err(RpcError::Unreachable("the simulated node is away".into()));
        }
        let mut world = self.shared.world();
        let before = world.chain.tip().hash;
        let answer = SubmitAnswer::interpret(world.chain.submit(block, now()));
        if world.submissions.len() == SUBMISSIONS_LIMIT {
            world.submissions.pop_front();
        }
        world.submissions.push_back(answer.clone());
        if world.chain.tip().hash != before {
            self.shared.publish(&mut world);
        }
        Ok(answer)
    }
}

impl Chainsight for SimChain {
    fn name(&self) -> String {
        NAME.into()
    }

    fn place(&self, hash: BlockHash, height: u32) -> Result<Place, RpcError> {
        let world = self.shared.world();
        if world.unspoken == Some(hash) {
            return Err(RpcError::Unreachable("the simulated node does not answer that".into()));
        }
        Ok(world.chain.place(hash, height))
    }
}

impl Shared {
    fn world(&self) -> MutexGuard<'_, World> {
        self.world.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn change<T>(&self, change: impl FnOnce(&mut Chain) -> T) -> T {
        let mut world = self.world();
        let result = change(&mut world.chain);
        self.publish(&mut world);
        result
    }

    /// Under the lock, so that templates come in order.
    fn publish(&self, world: &mut World) {
        let template = Arc::new(world.chain.template(now()));
        self.templates.send_replace(Some(template));
        self.changed.notify_all();
    }

    fn stop(&self) {
        self.world().stopped = true;
        self.changed.notify_all();
    }

    /// Finds the others' blocks and refreshes templates, until stopped.
    fn keep_time(&self, config: &SimConfig) {
        /// Long enough to cost nothing.
        const NEVER: Duration = Duration::from_secs(3600);
        let mut next_block = config.block_interval.map(|interval| Instant::now() + interval);
        let mut next_refresh = Instant::now() + config.refresh;
        let mut world = self.world();
        while !world.stopped {
            let at = Instant::now();
            let healthy = self.health.borrow().is_healthy();
            if let (Some(due), Some(interval)) = (next_block, config.block_interval)
                && at >= due
            {
                next_block = Some(at + interval);
                if healthy {
                    world.chain.force_block(now());
                    self.publish(&mut world);
                    next_refresh = at + config.refresh;
                }
            }
            if at >= next_refresh {
                next_refresh = at + config.refresh;
                if healthy {
                    self.publish(&mut world);
                }
            }
            let until = next_block.map_or(next_refresh, |block| block.min(next_refresh));
            let wait = until.saturating_duration_since(Instant::now()).clamp(Duration::from_millis(1), NEVER);
            world = self.changed.wait_timeout(world, wait).unwrap_or_else(PoisonError::into_inner).0;
        }
    }
}
