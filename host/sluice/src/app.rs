//! The composition root: configuration to parts, in the order in which they depend on each other. Read it top to
//! bottom and you have seen the whole pool.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use sluice_core::coinbase::PoolMark;
use sluice_core::extranonce::ExtranoncePrefix;
use sluice_core::ids::Protocol;
use sluice_core::policy::PolicyKind;
use sluice_core::session::Close;
use sluice_ledger::{Durability, Ledger, LedgerConfig};
use sluice_node::{BlockEvent, BlockStore, NodeHandle};
use sluice_policy::lookup::{Http, LookupConfig, Outside, Scheme, Trust};
use sluice_policy::{Compiler, Policies, PolicyConfig, ShadowConfig, SlotConfig};
use tokio::net::TcpListener;
use tokio::sync::{Notify, broadcast, mpsc, oneshot, watch};
use tokio::task::JoinSet;

use crate::accruals::AccrualTask;
use crate::blocks::{BlockDesk, BooksTask, Handed, JournalTask};
use crate::chainwatch::ChainWatch;
use crate::clock::{self, Clock};
use crate::config::{self, Config};
use crate::control::ControlSocket;
use crate::files;
use crate::health;
use crate::http;
use crate::identity::Endpoint;
use crate::jobs::{self, Board, BoardConfig, Classes, Splitter, SplitterConfig};
use crate::metrics::Metrics;
use crate::net::connection::Shared;
use crate::net::doors::{self, Doors, Listening};
use crate::net::prefixes::Prefixes;
use crate::retention::Retention;
use crate::view::View;

/// How long the end of the pool may take.
const DRAIN_LIMIT: Duration = Duration::from_secs(10);

/// A running pool.
pub struct Pool {
    pub http: SocketAddr,
    /// SV1.
    pub listeners: Vec<Listening>,
    pub stratum_v2: Option<Endpoint>,
    pub policies: Policies,
    pub ledger: Ledger,
    pub metrics: Arc<Metrics>,
    pub node: NodeHandle,
    pub block_events: broadcast::Receiver<BlockEvent>,
    closing: watch::Sender<Option<Close>>,
    tasks: JoinSet<()>,
    block_tasks: JoinSet<()>,
    /// The journal's task runs while this lives.
    stop_journal: oneshot::Sender<()>,
    /// Work goes on to be credited while this lives.
    stop_accruals: watch::Sender<()>,
}

/// What the tasks of a pool are started with.
struct Start {
    config: Config,
    shared: Arc<Shared>,
    splitter: Arc<Splitter>,
    node: NodeHandle,
    store: Arc<BlockStore>,
    block_events: broadcast::Receiver<BlockEvent>,
    found: mpsc::Receiver<Handed>,
    accepting: watch::Sender<bool>,
    closing: watch::Sender<Option<Close>>,
}

impl Pool {
    /// # Errors
    /// What could not be started, and why.
    pub async fn start(config: &Config) -> anyhow::Result<Self> {
        let policies = async { anyhow::Ok(Policies::start(policy_config(config)?).await?) };
        Self::start_with(config, policies).await
    }

    /// With other policies than those of the configuration, made once the ledger is open: to measure what those cost.
    ///
    /// # Errors
    /// What could not be started, and why.
    pub async fn start_with(
        config: &Config,
        policies: impl Future<Output = anyhow::Result<Policies>>,
    ) -> anyhow::Result<Self> {
        let clock = Clock::start();
        let metrics = Arc::new(Metrics::new());
        let ledger = open_ledger(config)?;
        let policies = policies.await?;
        // Before the plan is asked for, so that no reload falls between.
        let reloads = policies.payout_changed();
        let plan = policies.plan().await.context("the payout policy gave no plan")?;
        if plan.accrues {
            // Before the first miner is let in, so that no share falls between.
            ledger.accruing(true).await?;
        }
        let node = start_node(config).await?;
        let (store, block_events) = BlockStore::open(config.data_dir.join("blocks"), node.sinks())?;
        let seed = seed()?;
        let board = Board::new(board_config(config), clock, plan, seed, Arc::clone(&metrics));
        let (closing, closing_seen) = watch::channel(None);
        let (accepting, accepting_seen) = watch::channel(node.health().borrow().is_healthy());
        let (desk, found) = BlockDesk::new();
        let shared = Arc::new(Shared {
            clock,
            ledger,
            policies,
            board: Arc::clone(&board),
            blocks: desk,
            prefixes: Prefixes::new(u8::try_from(seed >> 24).unwrap_or(0), |protocol| {
                doors::quota(config, protocol)
            }),
            metrics,
            closing: closing_seen,
            accepting: accepting_seen,
        });
        let doors = Doors::bind(config)?;
        let http = bind_http(config).await?;
        let mut tasks = JoinSet::new();
        let splitter = Arc::new(Splitter::new(splitter_config(config, &shared)));
        tasks.spawn(jobs::keep(board, Arc::clone(&splitter), node.templates(), reloads));
        let (config, store) = (config.clone(), Arc::new(store));
        let start = Start { config, shared, splitter, node, store, block_events, found, accepting, closing };
        start.run(tasks, doors, http)
    }

    /// Ends connections, writes what is left, stops.
    pub async fn stop(mut self) {
        self.closing.send_replace(Some(Close::Shutdown));
        let open = || Protocol::ALL.iter().map(|protocol| self.metrics.connections(*protocol)).sum::<u64>();
        let drained = tokio::time::timeout(DRAIN_LIMIT, async {
            while open() > 0 {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        });
        if drained.await.is_err() {
            tracing::warn!("connections have not ended in time");
        }
        // Blocks first: to disk, to the nodes, and into the books. The last shares too.
        drop(self.stop_journal);
        drop(self.stop_accruals);
        let mut block_tasks = self.block_tasks;
        let written = async { while block_tasks.join_next().await.is_some() {} };
        if tokio::time::timeout(DRAIN_LIMIT, written).await.is_err() {
            tracing::warn!("the books have not caught up in time; they do so at the next start");
        }
        self.tasks.shutdown().await;
        self.policies.shutdown();
        self.node.shutdown().await;
        self.ledger.close().await;
    }
}

impl Start {
    fn run(self, mut tasks: JoinSet<()>, doors: Doors, http: TcpListener) -> anyhow::Result<Pool> {
        let Self { config, shared, splitter, node, store, block_events, found, accepting, closing } = self;
        let Shared { policies, ledger, metrics, .. } = &*shared;
        let (count, blocks_seen) = watch::channel(0);
        let (stop_journal, stopped) = oneshot::channel();
        let accepted = Arc::new(Notify::new());
        let console = store.events();
        let mut block_tasks = JoinSet::new();
        let (books, entries) = JournalTask::channel();
        let journal = JournalTask {
            store: Arc::clone(&store),
            ledger: ledger.clone(),
            metrics: Arc::clone(metrics),
            books,
        };
        block_tasks.spawn(journal.run(found, stopped));
        let books = BooksTask {
            store,
            ledger: ledger.clone(),
            policies: policies.clone(),
            metrics: Arc::clone(metrics),
            count,
            accepted: Arc::clone(&accepted),
            unbooked: shared.blocks.unbooked(),
        };
        block_tasks.spawn(books.run(entries, block_events, policies.payout_changed()));
        let interval = config.ledger.accrue_interval;
        let accruals = AccrualTask::new(ledger.clone(), policies.clone(), Arc::clone(metrics), interval);
        let (stop_accruals, accruals_stopped) = watch::channel(());
        block_tasks.spawn(accruals.run(accruals_stopped));
        let watch = ChainWatch::new(ledger.clone(), node.places(), Arc::clone(metrics));
        tasks.spawn(watch.run(node.templates(), accepted));
        if let Some(keep) = config.ledger.retention {
            let (ledger, policies, metrics) = (ledger.clone(), policies.clone(), Arc::clone(metrics));
            tasks.spawn(Retention { ledger, policies, metrics, keep }.run(node.templates()));
        }
        let grace = config.stratum_v1.no_work_grace;
        tasks.spawn(health::watch_node(
            node.health(),
            (accepting, closing.clone()),
            grace,
            Arc::clone(metrics),
        ));
        take_orders(&config, policies, &mut tasks);
        tasks.spawn(health::sample(shared.clock, Arc::clone(metrics)));
        tasks.spawn(health::count_reloads(policies.events(), Arc::clone(metrics)));
        let (listeners, stratum_v2) = (doors.listening()?, doors.endpoint()?);
        doors.open(&config, &shared, &mut tasks);
        let address = http.local_addr()?;
        let view = View::new(config.network, &shared, &node, blocks_seen, stratum_v2);
        let view = Arc::new(view.with_forecast(splitter));
        tasks.spawn(serve_http(http, view, Arc::clone(metrics), closing.subscribe()));
        Ok(Pool {
            http: address,
            listeners,
            stratum_v2,
            policies: policies.clone(),
            ledger: ledger.clone(),
            metrics: Arc::clone(metrics),
            node,
            block_events: console,
            closing,
            tasks,
            block_tasks,
            stop_journal,
            stop_accruals,
        })
    }
}

/// Miners do without it where it cannot be had.
fn take_orders(config: &Config, policies: &Policies, tasks: &mut JoinSet<()>) {
    match ControlSocket::open(&config.data_dir) {
        Ok(socket) => drop(tasks.spawn(socket.serve(policies.clone()))),
        Err(error) => tracing::error!("`sluice policy` cannot reach this pool: {error:#}"),
    }
}

fn board_config(config: &Config) -> BoardConfig {
    BoardConfig {
        mark: pool_mark(config),
        rollable: config.stratum_v1.version_mask,
        refresh: config.stratum_v1.refresh,
        classes: Classes::new(&config.pool),
    }
}

fn splitter_config(config: &Config, shared: &Shared) -> SplitterConfig {
    SplitterConfig {
        policies: shared.policies.clone(),
        ledger: shared.ledger.clone(),
        pool: config.pool.address.clone(),
        classes: Classes::new(&config.pool),
        mark: pool_mark(config),
        unbooked: shared.blocks.unbooked(),
    }
}

async fn bind_http(config: &Config) -> anyhow::Result<TcpListener> {
    TcpListener::bind(config.http.listen).await.with_context(|| {
        format!("failed to listen on {} for HTTP; choose another address or port 0", config.http.listen)
    })
}

async fn serve_http(
    listener: TcpListener,
    view: Arc<View>,
    metrics: Arc<Metrics>,
    mut closing: watch::Receiver<Option<Close>>,
) {
    let shutdown = async move {
        // An error means that the pool is gone, which ends the page too.
        let _ = closing.wait_for(|why| *why == Some(Close::Shutdown)).await;
    };
    if let Err(error) = http::serve(listener, view, metrics, shutdown).await {
        tracing::error!(%error, "HTTP ended");
    }
}

fn open_ledger(config: &Config) -> anyhow::Result<Ledger> {
    let durability = match config.ledger.durability {
        config::Durability::Process => Durability::Process,
        config::Durability::Power => Durability::Power,
    };
    let dir = files::ledger_dir(&config.data_dir);
    Ok(Ledger::open(&LedgerConfig { dir, durability, queue_limit: sluice_ledger::QUEUE_LIMIT })?)
}

/// What the policy host is told.
///
/// # Errors
/// The program cannot find itself.
pub fn policy_config(config: &Config) -> anyhow::Result<PolicyConfig> {
    Ok(PolicyConfig {
        dir: config.policy.dir.clone(),
        cache_dir: config.data_dir.join("policies"),
        network: config.network,
        compiler: compiler()?,
        auth: slot_config(config, PolicyKind::Auth),
        vardiff: slot_config(config, PolicyKind::Vardiff),
        payout: slot_config(config, PolicyKind::Payout),
        poll_interval: PolicyConfig::POLL_INTERVAL,
        debounce: PolicyConfig::DEBOUNCE,
        outside: outside(&config.policy.lookup)?,
    })
}

/// How the auth policy's requests leave the pool.
///
/// # Errors
/// A file of authorities that cannot be used; https without any authority.
pub fn outside(lookup: &config::Lookup) -> anyhow::Result<Outside> {
    let grants = &lookup.rules.grants;
    if grants.is_empty() {
        return Ok(Outside::offline());
    }
    let trust = match &lookup.authorities {
        Some(file) => Trust::MachineAnd(file),
        None if grants.iter().any(|grant| grant.prefix.scheme() == Scheme::Https) => Trust::Machine,
        None => Trust::Nobody,
    };
    let http = Http::new(trust).context("policy.auth.lookup_limits")?;
    Ok(Outside::new(Arc::new(http)))
}

/// This program compiles components in a child of its own.
///
/// # Errors
/// The program cannot find itself.
pub fn compiler() -> anyhow::Result<Compiler> {
    Ok(Compiler::Child {
        program: std::env::current_exe().context("failed to find this program's own file")?,
        args: vec!["compile-component".into()],
    })
}

/// One policy of the configuration.
pub fn slot_config(config: &Config, kind: PolicyKind) -> SlotConfig {
    let policy = config.policy.of(kind);
    let limits = policy.limits;
    let shadow =
        policy.shadow.clone().map(|file| ShadowConfig { file, settings: policy.shadow_settings.clone() });
    let lookup = match kind {
        PolicyKind::Auth => config.policy.lookup.rules.clone(),
        PolicyKind::Vardiff | PolicyKind::Payout => LookupConfig::default(),
    };
    SlotConfig { file: policy.file.clone(), settings: policy.settings.clone(), limits, shadow, lookup }
}

async fn start_node(config: &Config) -> anyhow::Result<NodeHandle> {
    match &config.chain {
        config::Chain::Nodes(nodes) => {
            Ok(sluice_node::start(crate::chain::nodes(config.network, nodes)?).await?)
        }
        config::Chain::Simulated(simulation) => Ok(crate::chain::simulated(config.network, simulation)?),
    }
}

fn pool_mark(config: &Config) -> PoolMark {
    PoolMark {
        tag: config.pool.tag.clone().into_bytes(),
        extranonce_length: ExtranoncePrefix::LENGTH + config.stratum_v1.extranonce2_size,
    }
}

fn seed() -> anyhow::Result<u32> {
    let mut bytes = [0; 4];
    getrandom::fill(&mut bytes)
        .map_err(|error| anyhow::anyhow!("the system gives no randomness: {error}"))?;
    Ok(u32::from_ne_bytes(bytes))
}

/// Whether `dir` can be written, for `check`.
///
/// # Errors
/// It cannot, and why.
pub fn check_data_dir(dir: &Path) -> anyhow::Result<()> {
    std::fs::create_dir_all(dir).with_context(|| format!("failed to create {}", dir.display()))?;
    let probe = dir.join(format!(".probe-{}", clock::wall().0));
    std::fs::write(&probe, b"").with_context(|| format!("failed to write in {}", dir.display()))?;
    std::fs::remove_file(&probe).with_context(|| format!("failed to remove a file in {}", dir.display()))
}
