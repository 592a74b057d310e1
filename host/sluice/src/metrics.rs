//! What the pool counts. Every counter of the share path is resolved once, so that counting is one atomic add.
//!
//! Names, labels and meaning: docs/metrics.md, which a test compares with what [`Metrics::encode`] writes. Labels come
//! from closed sets; accounts, workers, addresses and jobs are never labels. The one exception is the generations of a
//! policy, of which a bounded number is told: see [`policies`].

pub mod history;
mod labels;
mod policies;

use std::sync::Mutex;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use prometheus_client::encoding::text;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::{Family, MetricConstructor};
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::{Metric, Registry};
use sluice_core::ids::Protocol;
use sluice_core::policy::PolicyKind;
use sluice_core::session::{ChannelKind, Close};
use sluice_core::share::Reason;
use sluice_core::units::{Hashrate, Moment};
use sluice_policy::PolicyStatus;

use history::{History, Sample};
pub use labels::{BlockMove, BlockOutcome, LoginOutcome, Refused, ReloadLabel};
use labels::{ByMove, ByNode, ByProtocol, ByReload, ByTwo};
use policies::Policies;

/// The content type of [`Metrics::encode`].
pub const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// Work is a sum of difficulties; a double, because difficulties reach from 2^-32 to 2^128.
type Work = Counter<f64, AtomicU64>;

/// All counters. Shared by everything that counts.
#[derive(Debug)]
pub struct Metrics {
    registry: Mutex<Registry>,
    history: History,
    protocols: [PerProtocol; Protocol::ALL.len()],
    closed: Family<ByTwo, Counter>,
    refused: Family<ByTwo, Counter>,
    handshakes_failed: Family<ByTwo, Counter>,
    channels: Family<ByTwo, Gauge>,
    channels_opened: Family<ByTwo, Counter>,
    channels_refused: Family<ByTwo, Counter>,
    updates_refused: Family<ByTwo, Counter>,
    strayed: Family<ByTwo, Counter>,
    logins: Family<ByTwo, Counter>,
    blocks: Family<ByTwo, Counter>,
    block_moves: Family<ByMove, Counter>,
    jobs_built: Counter,
    tip_height: Gauge,
    ledger_healthy: Gauge,
    rounds_held: Gauge,
    shares_folded: Counter,
    accruals_held: Gauge,
    accrued_shares: Counter,
    passed_over: Counter,
    policies: Policies,
    policy_reloads: Family<ByReload, Counter>,
    node_healthy: Family<ByNode, Gauge>,
    certificate_end: Gauge,
    hashrate: Gauge<f64, AtomicU64>,
}

/// What is counted on the share path, resolved for one protocol.
#[derive(Debug)]
struct PerProtocol {
    open: Gauge,
    opened: Counter,
    bans: Counter,
    accepted: Counter,
    rejected: [Counter; Reason::ALL.len()],
    work: Work,
    acknowledgements: Counter,
    shares_acknowledged: Counter,
    jobs_sent: Counter,
    fanout_seconds: Histogram,
    bytes_received: Counter,
    bytes_sent: Counter,
}

impl Default for Metrics {
    fn default() -> Self {
        Self::new()
    }
}

impl Metrics {
    pub fn new() -> Self {
        let mut registry = Registry::with_prefix("sluice");
        let build = Info::new([("version", env!("CARGO_PKG_VERSION"))]);
        registry.register("build", "What is running", build);
        let protocols = register_protocols(&mut registry);
        let r = &mut registry;
        Self {
            closed: added(r, "connections_closed", "Connections that ended, by reason"),
            refused: added(r, "connections_refused", "Connections refused at the door, by cause"),
            handshakes_failed: added(r, "handshakes_failed", "Connections that ended before work, by reason"),
            channels: added(r, "channels", "Channels that are open, by kind"),
            channels_opened: added(r, "channels_opened", "Channels opened, by kind"),
            channels_refused: added(r, "channels_refused", "Channels refused, by the code sent"),
            updates_refused: added(r, "updates_refused", "Channels not changed, by the code sent"),
            strayed: added(r, "strayed", "Messages not as specified that were let pass, by what is wrong"),
            logins: added(r, "logins", "Logins, by outcome"),
            blocks: added(r, "blocks", "Blocks: found, then accepted or rejected by the nodes"),
            block_moves: added(r, "block_moves", "What the chain did with accepted blocks"),
            jobs_built: added(r, "jobs_built", "Jobs made from templates"),
            tip_height: added(r, "tip_height", "Height of the chain's tip"),
            ledger_healthy: added(r, "ledger_healthy", "1 while the ledger can write, else 0"),
            rounds_held: added(r, "rounds_held", "Accepted blocks whose round is not settled"),
            shares_folded: added(r, "shares_folded", "Old shares that were folded into hours"),
            accruals_held: added(r, "accruals_held", "Shares that wait because they could not be credited"),
            accrued_shares: added(r, "shares_accrued", "Shares credited as they came"),
            passed_over: added(r, "shares_passed_over", "Shares that no accrual counts: unknown template"),
            policies: collected(r),
            policy_reloads: added(r, "policy_reloads", "Reloads of a policy, by outcome"),
            node_healthy: added(r, "node_healthy", "1 where the node answers and is synced, else 0"),
            certificate_end: added(
                r,
                "stratum_v2_certificate_end_seconds",
                "When the certificate that miners are shown runs out, in seconds since 1970",
            ),
            hashrate: added(r, "hashrate", "Estimated hashes per second over the last minute"),
            history: History::default(),
            protocols,
            registry: Mutex::new(registry),
        }
    }

    fn of(&self, protocol: Protocol) -> &PerProtocol {
        match protocol {
            Protocol::StratumV1 => &self.protocols[0],
            Protocol::StratumV2 => &self.protocols[1],
        }
    }

    pub fn connection_opened(&self, protocol: Protocol) {
        self.of(protocol).opened.inc();
        self.of(protocol).open.inc();
    }

    pub fn connection_closed(&self, protocol: Protocol, why: Close) {
        self.of(protocol).open.dec();
        self.closed.get_or_create(&ByTwo::reason(protocol, why.label())).inc();
    }

    pub fn connections(&self, protocol: Protocol) -> u64 {
        u64::try_from(self.of(protocol).open.get()).unwrap_or(0)
    }

    /// A connection that ended before its peer had come through the handshake; counted as closed too.
    pub fn handshake_failed(&self, protocol: Protocol, why: Close) {
        self.handshakes_failed.get_or_create(&ByTwo::reason(protocol, why.label())).inc();
    }

    pub fn channel_opened(&self, protocol: Protocol, kind: ChannelKind) {
        let label = ByTwo::kind(protocol, kind.label());
        self.channels_opened.get_or_create(&label).inc();
        self.channels.get_or_create(&label).inc();
    }

    /// Channels that are open.
    pub fn channels(&self, protocol: Protocol, kind: ChannelKind) -> u64 {
        let open = self.channels.get(&ByTwo::kind(protocol, kind.label()));
        open.map_or(0, |open| u64::try_from(open.get()).unwrap_or(0))
    }

    /// `count` channels of a kind, closed one by one or with their connection.
    pub fn channels_closed(&self, protocol: Protocol, kind: ChannelKind, count: u32) {
        if count > 0 {
            self.channels.get_or_create(&ByTwo::kind(protocol, kind.label())).dec_by(count.into());
        }
    }

    /// `code`: one of the codes that the protocol knows.
    pub fn channel_refused(&self, protocol: Protocol, code: &'static str) {
        self.channels_refused.get_or_create(&ByTwo::code(protocol, code)).inc();
    }

    /// A channel stays as it is. `code`: one of the codes that the protocol knows.
    pub fn update_refused(&self, protocol: Protocol, code: &'static str) {
        self.updates_refused.get_or_create(&ByTwo::code(protocol, code)).inc();
    }

    /// One message told a miner that so many of its shares are in the log.
    pub fn acknowledged(&self, protocol: Protocol, shares: u32) {
        self.of(protocol).acknowledgements.inc();
        self.of(protocol).shares_acknowledged.inc_by(shares.into());
    }

    /// A peer's message was not as specified and was let pass. `what`: one of the protocol's labels.
    pub fn strayed(&self, protocol: Protocol, what: &'static str) {
        self.strayed.get_or_create(&ByTwo::what(protocol, what)).inc();
    }

    /// A connection that never came to be.
    pub fn connection_refused(&self, protocol: Protocol, cause: Refused) {
        self.refused.get_or_create(&ByTwo::cause(protocol, cause.label())).inc();
    }

    pub fn banned(&self, protocol: Protocol) {
        self.of(protocol).bans.inc();
    }

    pub fn login(&self, protocol: Protocol, outcome: LoginOutcome) {
        self.logins.get_or_create(&ByTwo::outcome(protocol, outcome.label())).inc();
    }

    /// `count` shares worth `work` together.
    pub fn shares_accepted(&self, protocol: Protocol, count: u64, work: f64) {
        self.of(protocol).accepted.inc_by(count);
        self.of(protocol).work.inc_by(work);
    }

    pub fn share_rejected(&self, protocol: Protocol, reason: Reason) {
        if let Some(counter) = self.of(protocol).rejected.get(reason as usize) {
            counter.inc();
        }
    }

    pub fn accepted(&self) -> u64 {
        self.protocols.iter().map(|protocol| protocol.accepted.get()).sum()
    }

    pub fn accepted_by(&self, protocol: Protocol) -> u64 {
        self.of(protocol).accepted.get()
    }

    /// For each reason, in the order of [`Reason::ALL`].
    pub fn rejected_by(&self, protocol: Protocol) -> [(Reason, u64); Reason::ALL.len()] {
        let counters = &self.of(protocol).rejected;
        Reason::ALL.map(|reason| (reason, counters.get(reason as usize).map_or(0, Counter::get)))
    }

    /// For each reason, in the order of [`Reason::ALL`], of all protocols.
    pub fn rejected(&self) -> [(Reason, u64); Reason::ALL.len()] {
        Reason::ALL.map(|reason| {
            let counters =
                self.protocols.iter().filter_map(|protocol| protocol.rejected.get(reason as usize));
            (reason, counters.map(Counter::get).sum())
        })
    }

    pub fn block(&self, protocol: Protocol, outcome: BlockOutcome) {
        self.blocks.get_or_create(&ByTwo::outcome(protocol, outcome.label())).inc();
    }

    pub fn block_moved(&self, what: BlockMove) {
        self.block_moves.get_or_create(&ByMove { what: what.label() }).inc();
    }

    pub fn job_built(&self, tip_height: u32) {
        self.jobs_built.inc();
        self.tip_height.set(i64::from(tip_height));
    }

    /// Handed to a connection, for all its channels or for one.
    pub fn jobs_sent(&self, protocol: Protocol, count: u64) {
        self.of(protocol).jobs_sent.inc_by(count);
    }

    /// From a job to the last connection that got it.
    pub fn fanout(&self, protocol: Protocol, took: Duration) {
        self.of(protocol).fanout_seconds.observe(took.as_secs_f64());
    }

    pub fn received(&self, protocol: Protocol, bytes: u64) {
        self.of(protocol).bytes_received.inc_by(bytes);
    }

    pub fn sent(&self, protocol: Protocol, bytes: u64) {
        self.of(protocol).bytes_sent.inc_by(bytes);
    }

    pub fn ledger_healthy(&self, healthy: bool) {
        self.ledger_healthy.set(i64::from(healthy));
    }

    pub fn rounds_held(&self, count: usize) {
        self.rounds_held.set(i64::try_from(count).unwrap_or(i64::MAX));
    }

    /// Old shares that left the log.
    pub fn shares_folded(&self, count: u64) {
        self.shares_folded.inc_by(count);
    }

    /// One round less is held.
    pub fn round_settled(&self) {
        self.rounds_held.dec();
    }

    /// So many shares wait because the last attempt to credit them failed; 0 where it went well.
    pub fn accruals_held(&self, shares: u64) {
        self.accruals_held.set(i64::try_from(shares).unwrap_or(i64::MAX));
    }

    /// `shares` were credited as they came; `passed_over` more never are, since nothing is known of their template.
    pub fn accrued(&self, shares: u64, passed_over: u64) {
        self.accrued_shares.inc_by(shares);
        self.passed_over.inc_by(passed_over);
    }

    /// Takes over what the policy host counts itself.
    pub fn policies(&self, status: Vec<PolicyStatus>) {
        self.policies.tell(status);
    }

    pub fn policy_reload(&self, kind: PolicyKind, outcome: ReloadLabel) {
        self.policy_reloads.get_or_create(&ByReload { kind: kind.label(), outcome: outcome.label() }).inc();
    }

    /// `node` is its position in the configuration.
    pub fn node_health(&self, node: u32, healthy: bool) {
        self.node_healthy.get_or_create(&ByNode { node }).set(i64::from(healthy));
    }

    /// When the certificate that SV2 miners are shown runs out, in seconds since 1970.
    pub fn certificate_ends(&self, unix_s: u64) {
        self.certificate_end.set(i64::try_from(unix_s).unwrap_or(i64::MAX));
    }

    /// Adds a point to the history; called every [`history::STEP`] by one task, with one clock.
    pub fn sample(&self, at: Moment) {
        let rejected = self.rejected().iter().map(|(_, count)| count).sum();
        let work = self.protocols.iter().map(|protocol| protocol.work.get()).sum();
        self.history.push(Sample { at, work, accepted: self.accepted(), rejected });
        self.hashrate.set(self.hashrate().0);
    }

    /// Over the last minute of samples.
    pub fn hashrate(&self) -> Hashrate {
        self.history.hashrate()
    }

    pub fn history(&self) -> &History {
        &self.history
    }

    /// All series in the OpenMetrics text format.
    pub fn encode(&self) -> String {
        let mut out = String::new();
        // A poisoned registry is still a complete registry: registering ended in `new`.
        let registry = self.registry.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        // Writing into a `String` does not fail.
        let _ = text::encode(&mut out, &registry);
        out
    }
}

/// Registers a metric and keeps a handle of it.
fn put<M: Metric + Clone>(registry: &mut Registry, name: &str, help: &str, metric: M) -> M {
    registry.register(name, help, metric.clone());
    metric
}

fn added<M: Metric + Clone + Default>(registry: &mut Registry, name: &str, help: &str) -> M {
    put(registry, name, help, M::default())
}

fn collected(registry: &mut Registry) -> Policies {
    let policies = Policies::default();
    registry.register_collector(Box::new(policies.clone()));
    policies
}

fn register_protocols(r: &mut Registry) -> [PerProtocol; Protocol::ALL.len()] {
    let open: Family<ByProtocol, Gauge> = added(r, "connections", "Connections that are open");
    let opened: Family<ByProtocol, Counter> = added(r, "connections_opened", "Connections accepted");
    let bans: Family<ByProtocol, Counter> = added(r, "bans", "Addresses banned for a while");
    let accepted: Family<ByProtocol, Counter> = added(r, "shares_accepted", "Shares accepted");
    let rejected: Family<ByTwo, Counter> = added(r, "shares_rejected", "Shares rejected, by reason");
    let work: Family<ByProtocol, Work> = added(r, "work", "Difficulty of the accepted shares, added up");
    let acknowledgements: Family<ByProtocol, Counter> =
        added(r, "acknowledgements", "Messages that acknowledge shares, each for many");
    let acknowledged: Family<ByProtocol, Counter> =
        added(r, "shares_acknowledged", "Shares acknowledged by such messages");
    let jobs_sent: Family<ByProtocol, Counter> = added(r, "jobs_sent", "Jobs sent to miners");
    let fanout: Family<ByProtocol, Histogram, fn() -> Histogram> =
        Family::new_with_constructor(histogram_of_fanouts as fn() -> Histogram);
    let fanout = put(r, "notify_fanout_seconds", "From a new job to the last connection that got it", fanout);
    let received: Family<ByProtocol, Counter> = added(r, "bytes_received", "Bytes from miners");
    let sent: Family<ByProtocol, Counter> = added(r, "bytes_sent", "Bytes to miners");
    Protocol::ALL.map(|protocol| PerProtocol {
        open: of(&open, protocol),
        opened: of(&opened, protocol),
        bans: of(&bans, protocol),
        accepted: of(&accepted, protocol),
        rejected: Reason::ALL
            .map(|reason| rejected.get_or_create_owned(&ByTwo::reason(protocol, reason.label()))),
        work: of(&work, protocol),
        acknowledgements: of(&acknowledgements, protocol),
        shares_acknowledged: of(&acknowledged, protocol),
        jobs_sent: of(&jobs_sent, protocol),
        fanout_seconds: of(&fanout, protocol),
        bytes_received: of(&received, protocol),
        bytes_sent: of(&sent, protocol),
    })
}

fn of<M: Clone, C: MetricConstructor<M>>(family: &Family<ByProtocol, M, C>, protocol: Protocol) -> M {
    family.get_or_create_owned(&ByProtocol { protocol: protocol.label() })
}

/// 0.1 ms to 3.3 s.
fn histogram_of_fanouts() -> Histogram {
    Histogram::new(exponential_buckets(0.0001, 2.0, 16))
}

#[cfg(test)]
mod tests;
