//! A list of bitcoinds: the first healthy one serves templates, all of them take blocks.
//!
//! Two threads per node. The *poller* asks for health and a template at intervals and after every failure; it decides
//! what the node's health is. The *long poller* waits inside `getblocktemplate` and publishes what comes back at once:
//! between the node's answer and the watch stand decoding and one short lock.
//!
//! A long poll is not cut off by a timeout of its own: Core keeps a worker busy for a call that was given up until the
//! tip changes, and has few. Instead the poller cuts it when the node fails, or when it sees a tip before it does.

mod board;
mod longpoll;
mod poller;

use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use sluice_core::bitcoin::{BlockHash, Network};
use tokio::sync::mpsc;

use crate::address::NodeAddress;
use crate::handle::{Crew, NodeHandle, Stop};
use crate::health::Health;
use crate::place::{Chainsight, Place};
use crate::rpc::{Rpc, RpcError};
use crate::sink::{BlockSink, SubmitAnswer};

use board::Board;
use longpoll::{LongPoller, Slot};
use poller::{Bell, Poller};

/// The most nodes in a list: each costs two threads and a connection.
pub const NODES_LIMIT: usize = 16;
/// How long [`start`] waits for a first word from every node.
const START_LIMIT: Duration = Duration::from_secs(5);

/// How often and how long to ask.
#[derive(Clone, Debug)]
pub struct Polling {
    /// Between two templates of one tip, and between two looks at a node's health.
    pub refresh: Duration,
    /// An ordinary call that takes longer has failed.
    pub call: Duration,
    /// A long poll that takes longer is renewed. Much longer than blocks take: see the module's page.
    pub longpoll: Duration,
    /// `submitblock`: validating a block may take a while.
    pub submit: Duration,
}

impl Default for Polling {
    fn default() -> Self {
        Self {
            refresh: Duration::from_secs(30),
            call: Duration::from_secs(10),
            longpoll: Duration::from_secs(4 * 3600),
            submit: Duration::from_secs(60),
        }
    }
}

/// Which nodes, in order of preference.
#[derive(Clone, Debug)]
pub struct NodeConfig {
    pub network: Network,
    pub nodes: Vec<NodeAddress>,
    pub polling: Polling,
}

/// Why the nodes cannot be used at all. A node that is merely away is no such reason.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    #[error("no node is configured; at least one is needed")]
    NoNodes,
    #[error("{0} nodes are configured; at most {NODES_LIMIT} are allowed")]
    TooManyNodes(usize),
    #[error("node {0} is configured twice")]
    Repeated(String),
    #[error("node {node} is on the network `{found}`, the pool is configured for `{}`", expected.to_core_arg())]
    WrongNetwork { node: String, expected: Network, found: String },
    #[error("cannot start a thread: {0}")]
    Thread(#[from] std::io::Error),
}

/// Starts following the nodes. Waits until each has answered or failed once, five seconds at most; nodes that are away
/// are waited for in the background.
///
/// # Errors
/// An impossible list, or a node on another network.
pub async fn start(config: NodeConfig) -> Result<NodeHandle, StartError> {
    check(&config)?;
    let names: Vec<String> = config.nodes.iter().map(NodeAddress::name).collect();
    let (board, templates, health) = Board::new(&names, crate::clock::now());
    let handle = spawn(&config, &Arc::new(board), templates, health)?;
    let mut first = handle.health();
    let heard = first.wait_for(|health| health.nodes.iter().all(|node| node.health != Health::Starting));
    if tokio::time::timeout(START_LIMIT, heard).await.is_err() {
        tracing::warn!("some nodes have not answered yet");
    }
    let wrong = handle.health.borrow().nodes.iter().find_map(|node| match &node.health {
        Health::WrongNetwork { expected, found } => Some(StartError::WrongNetwork {
            node: node.name.clone(),
            expected: *expected,
            found: found.clone(),
        }),
        _ => None,
    });
    match wrong {
        Some(error) => Err(error),
        None => Ok(handle),
    }
}

fn check(config: &NodeConfig) -> Result<(), StartError> {
    if config.nodes.is_empty() {
        return Err(StartError::NoNodes);
    }
    if config.nodes.len() > NODES_LIMIT {
        return Err(StartError::TooManyNodes(config.nodes.len()));
    }
    for (index, node) in config.nodes.iter().enumerate() {
        if config.nodes[..index].iter().any(|other| other.name() == node.name()) {
            return Err(StartError::Repeated(node.name()));
        }
    }
    Ok(())
}

fn spawn(
    config: &NodeConfig,
    board: &Arc<Board>,
    templates: board::Templates,
    health: board::HealthWatch,
) -> Result<NodeHandle, StartError> {
    let (alive, ended) = mpsc::channel(1);
    let parts: Vec<Part> = config.nodes.iter().map(Part::new).collect();
    let sink = |part: &Part| -> Arc<dyn BlockSink> {
        Arc::new(NodeSink { rpc: Arc::clone(&part.submit), timeout: config.polling.submit })
    };
    let sinks = parts.iter().map(sink).collect();
    let sight = |part: &Part| -> Arc<dyn Chainsight> {
        Arc::new(NodeSight {
            rpc: Mutex::new(Arc::clone(&part.look)),
            name: part.look.name(),
            timeout: config.polling.call,
        })
    };
    let sights = parts.iter().map(sight).collect();
    let stopped = parts.clone();
    let stop: Stop = Box::new(move || stopped.iter().for_each(Part::stop));
    // Made before the threads: if one of them cannot start, dropping it ends the others.
    let handle = NodeHandle { templates, health, sinks, sights, crew: Crew { stop, ended } };
    for (node, part) in parts.iter().enumerate() {
        let poller = part.poller(node, config, board);
        run(format!("node-{node}"), &alive, move || poller.run())?;
        let long_poller = part.long_poller(node, config, board);
        run(format!("longpoll-{node}"), &alive, move || long_poller.run())?;
    }
    Ok(handle)
}

fn run(
    name: String,
    alive: &mpsc::Sender<()>,
    body: impl FnOnce() + Send + 'static,
) -> Result<(), StartError> {
    let alive = alive.clone();
    std::thread::Builder::new().name(name).spawn(move || {
        body();
        drop(alive);
    })?;
    Ok(())
}

/// What the threads of one node share.
#[derive(Clone)]
struct Part {
    poll: Arc<Rpc>,
    wait: Arc<Rpc>,
    submit: Arc<Rpc>,
    look: Arc<Rpc>,
    slot: Arc<Slot>,
    bell: Arc<Bell>,
}

impl Part {
    fn new(address: &NodeAddress) -> Self {
        let rpc = || Arc::new(Rpc::new(address.clone()));
        Self {
            poll: rpc(),
            wait: rpc(),
            submit: rpc(),
            look: rpc(),
            slot: Arc::default(),
            bell: Arc::default(),
        }
    }

    fn poller(&self, node: usize, config: &NodeConfig, board: &Arc<Board>) -> Poller {
        Poller {
            node,
            network: config.network,
            polling: config.polling.clone(),
            rpc: Arc::clone(&self.poll),
            wait: Arc::clone(&self.wait),
            slot: Arc::clone(&self.slot),
            bell: Arc::clone(&self.bell),
            board: Arc::clone(board),
        }
    }

    fn long_poller(&self, node: usize, config: &NodeConfig, board: &Arc<Board>) -> LongPoller {
        LongPoller {
            node,
            network: config.network,
            timeout: config.polling.longpoll,
            rpc: Arc::clone(&self.wait),
            slot: Arc::clone(&self.slot),
            bell: Arc::clone(&self.bell),
            board: Arc::clone(board),
        }
    }

    /// Submitting goes on: a block that was just found may still be on its way.
    fn stop(&self) {
        self.bell.stop();
        self.slot.stop();
        self.poll.close();
        self.wait.close();
        self.look.close();
    }
}

/// Waits for a change until `until`; `None` when it has passed.
fn bounded_wait<'a, T>(
    changed: &Condvar,
    guard: MutexGuard<'a, T>,
    until: Instant,
) -> Option<MutexGuard<'a, T>> {
    let left = until.checked_duration_since(Instant::now()).filter(|left| !left.is_zero())?;
    Some(changed.wait_timeout(guard, left).unwrap_or_else(PoisonError::into_inner).0)
}

/// Blocks to one node.
struct NodeSink {
    rpc: Arc<Rpc>,
    timeout: Duration,
}

impl BlockSink for NodeSink {
    fn name(&self) -> String {
        self.rpc.name()
    }

    fn submit(&self, block: &[u8]) -> Result<SubmitAnswer, RpcError> {
        self.rpc.submit_block(block, self.timeout)
    }

    fn interrupt(&self) {
        self.rpc.interrupt();
    }
}

/// Questions about blocks to one node, one at a time.
struct NodeSight {
    rpc: Mutex<Arc<Rpc>>,
    name: String,
    timeout: Duration,
}

impl Chainsight for NodeSight {
    fn name(&self) -> String {
        self.name.clone()
    }

    fn place(&self, hash: BlockHash, height: u32) -> Result<Place, RpcError> {
        self.rpc.lock().unwrap_or_else(PoisonError::into_inner).place(hash, height, self.timeout)
    }
}
