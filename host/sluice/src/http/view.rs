//! What the HTTP side asks of the pool, and the JSON it answers with. The fields are documented in docs/http-api.md;
//! times are milliseconds since 1970, amounts satoshis.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::pin::Pin;

use serde::{Deserialize, Serialize};
use sluice_core::ids::Protocol;
use sluice_core::policy::PolicyKind;
use sluice_core::session::ChannelKind;
use sluice_core::units::Timestamp;
use sluice_policy::lookup::LookupStatus;
use sluice_policy::{Budgets, Failure, GenerationStatus};

use super::money::{AccountInfo, BalancesInfo, MoneyInfo, PayoutInfo};
use crate::metrics::Metrics;

/// An answer that may take a while, such as a query of the ledger.
pub type Answer<'a, T> = Pin<Box<dyn Future<Output = Result<T, ViewError>> + Send + 'a>>;

/// The pool has no answer now. The text reaches the client.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct ViewError(pub String);

/// The pool, as seen from outside: reads only.
pub trait PoolView: Send + Sync + 'static {
    fn pool(&self) -> PoolInfo;

    /// # Errors
    /// Why miners cannot work now, for a person.
    fn readiness(&self) -> Result<(), String>;

    fn policies(&self) -> Answer<'_, Vec<PolicyInfo>>;

    /// Those that were heard last, first; at most `limit`.
    fn workers(&self, limit: usize) -> Answer<'_, Vec<WorkerInfo>>;

    /// Newest first; at most `limit`.
    fn blocks(&self, limit: usize) -> Answer<'_, Vec<BlockInfo>>;

    /// Newest first; at most `limit`.
    fn credits(&self, limit: usize) -> Answer<'_, Vec<CreditInfo>>;

    /// How the pool stands.
    fn money(&self) -> Answer<'_, MoneyInfo>;

    /// What each account is owed, the largest balance first; at most `limit`.
    fn balances(&self, limit: usize) -> Answer<'_, BalancesInfo>;

    /// Newest first; at most `limit`.
    fn payouts(&self, limit: usize) -> Answer<'_, Vec<PayoutInfo>>;

    /// All that concerns one account, each list with at most `limit` elements; `None` where nobody ever logged in to it.
    fn account(&self, account: String, limit: usize) -> Answer<'_, Option<AccountInfo>>;

    /// Called before the metrics are written: for figures that somebody else counts. Must not block.
    fn before_scrape(&self, _metrics: &Metrics) {}
}

/// `GET /api/v1/pool`.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct PoolInfo {
    /// `main`, `testnet4`, `signet` or `regtest`.
    pub network: String,
    /// `None` until the node has answered.
    pub tip: Option<Tip>,
    pub job: Option<JobInfo>,
    pub connections: ByProtocol<u64>,
    pub channels: Channels,
    pub shares: Shares,
    /// Hashes per second.
    pub hashrate: f64,
    /// Found since the ledger began.
    pub blocks: u64,
    /// `None` where it is switched off.
    pub stratum_v2: Option<StratumV2Info>,
}

/// What an SV2 miner needs to know.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StratumV2Info {
    /// `host:port` of the listener, as it is bound.
    pub address: String,
    /// base58check (N-40).
    pub authority_public_key: String,
}

impl StratumV2Info {
    /// What stands in the URL where the pool listens on every address: it cannot know by which one miners reach it.
    pub const ANY_HOST: &str = "HOST";

    /// The URL that miners take (N-40).
    pub fn url(&self) -> String {
        let Self { address, authority_public_key: key } = self;
        match self.port_of_any() {
            Some(port) => format!("stratum2+tcp://{}:{port}/{key}", Self::ANY_HOST),
            None => format!("stratum2+tcp://{address}/{key}"),
        }
    }

    /// The port, where the pool listens on every address.
    pub fn port_of_any(&self) -> Option<u16> {
        let bound: SocketAddr = self.address.parse().ok()?;
        bound.ip().is_unspecified().then_some(bound.port())
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Tip {
    pub height: u32,
    pub hash: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct JobInfo {
    /// As miners see it.
    pub id: String,
    pub height: u32,
    pub age_ms: u64,
}

/// One of each for every protocol.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct ByProtocol<T> {
    pub stratum_v1: T,
    pub stratum_v2: T,
}

impl<T> ByProtocol<T> {
    pub fn of(one: impl Fn(Protocol) -> T) -> Self {
        Self { stratum_v1: one(Protocol::StratumV1), stratum_v2: one(Protocol::StratumV2) }
    }
}

/// SV2 channels that are open, by kind.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Channels {
    pub standard: u64,
    pub extended: u64,
}

impl Channels {
    pub fn of(metrics: &Metrics) -> Self {
        let open = |kind| metrics.channels(Protocol::StratumV2, kind);
        Self { standard: open(ChannelKind::Standard), extended: open(ChannelKind::Extended) }
    }
}

/// Since the process started, as the metrics count.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Shares {
    #[serde(flatten)]
    pub total: Tally,
    pub by_protocol: ByProtocol<Tally>,
}

impl Shares {
    pub fn of(metrics: &Metrics) -> Self {
        let by_protocol = ByProtocol::of(|protocol| Tally::of(metrics, protocol));
        let total = by_protocol.stratum_v1.plus(&by_protocol.stratum_v2);
        Self { total, by_protocol }
    }
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Tally {
    pub accepted: u64,
    /// By the labels of `sluice_core::share::Reason`, every one present.
    pub rejected: BTreeMap<&'static str, u64>,
}

impl Tally {
    fn of(metrics: &Metrics, protocol: Protocol) -> Self {
        let rejected = metrics.rejected_by(protocol).into_iter();
        let rejected = rejected.map(|(reason, count)| (reason.label(), count)).collect();
        Self { accepted: metrics.accepted_by(protocol), rejected }
    }

    fn plus(&self, other: &Self) -> Self {
        let mut sum = self.clone();
        sum.accepted = sum.accepted.saturating_add(other.accepted);
        for (reason, count) in &other.rejected {
            let total = sum.rejected.entry(reason).or_default();
            *total = total.saturating_add(*count);
        }
        sum
    }
}

/// An element of `GET /api/v1/policies`.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct PolicyInfo {
    pub kind: PolicyKind,
    /// Name in the plugins directory.
    pub file: String,
    pub name: String,
    pub version: String,
    /// SHA-256 of the file that serves, in hex.
    pub hash: String,
    pub generation: u64,
    pub loaded_at: Timestamp,
    /// A word such as `active` or `backing_off`.
    pub state: String,
    pub last_reload: ReloadInfo,
    pub calls: u64,
    pub traps: u64,
    /// Questions that got the default since it was backing off.
    pub unavailable: u64,
    /// Questions that got the default since too many waited.
    pub queue_full: u64,
    /// What a call may use, beside the most that one used.
    pub budgets: Budgets,
    pub last_failure: Option<Failure>,
    /// The one that serves and the last few before it, newest first.
    pub generations: Vec<GenerationStatus>,
    /// Changes of its file and its settings are not applied.
    pub pinned: bool,
    /// SHA-256 of the changed file that is not applied for that.
    pub held: Option<String>,
    pub shadow: Option<ShadowInfo>,
    /// What it looks up; `None` where nothing is granted.
    pub lookup: Option<LookupStatus>,
}

/// What is compared with a policy on real traffic, and how it does. Counts are since the two came together.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ShadowInfo {
    pub file: String,
    pub name: String,
    pub version: String,
    pub hash: String,
    pub loaded_at: Timestamp,
    /// `comparing`, `loading`, `backing_off`, `serving` or `refused`.
    pub state: String,
    /// Why its file was refused.
    pub error: Option<String>,
    /// The generation that it is compared with.
    pub against: u64,
    pub compared: u64,
    pub agreed: u64,
    pub differed: u64,
    /// Questions that it gave no usable answer to.
    pub failed: u64,
    /// Questions that were not put to it: its queue was full.
    pub dropped: u64,
    /// Questions that were not put to it: it was backing off.
    pub skipped: u64,
    pub calls: u64,
    pub traps: u64,
    pub call_mean_nanos: u64,
    pub call_p99_micros: u64,
    pub call_max_micros: u64,
    pub last_failure: Option<String>,
    /// Inputs that wait for it; a batch is one.
    pub waiting: usize,
    /// It and the last few shadows before it, newest first.
    pub generations: Vec<GenerationStatus>,
    /// Newest first.
    pub examples: Vec<DifferenceInfo>,
}

/// An input that the two answered differently, without passwords.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct DifferenceInfo {
    pub at: Timestamp,
    pub input: String,
    pub live: String,
    pub shadow: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ReloadInfo {
    /// `applied`, `unchanged`, `rejected`, `rolled_back` or `held`.
    pub outcome: String,
    pub at: Timestamp,
    /// Why it was rejected or rolled back.
    pub error: Option<String>,
}

/// An element of `GET /api/v1/workers`.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct WorkerInfo {
    pub account: String,
    /// May be empty.
    pub worker: String,
    /// The one it last used.
    pub protocol: Protocol,
    /// Accepted shares.
    pub shares: u64,
    /// Their difficulties, added up.
    pub work: f64,
    /// Hashes per second.
    pub hashrate: f64,
    pub last_share_at: Timestamp,
}

/// An element of `GET /api/v1/blocks`.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct BlockInfo {
    pub height: u32,
    pub hash: String,
    /// `found`, `submitted`, `accepted`, `immature`, `mature`, `orphaned` or `rejected`.
    pub state: String,
    /// At the last look; 0 outside of the chain. Of a mature block: when it became so.
    pub confirmations: u32,
    /// What the node said of one that it rejected.
    pub reason: Option<String>,
    /// Whether its round is credited.
    pub settled: bool,
    pub at: Timestamp,
    /// Who found it.
    pub account: String,
    pub worker: String,
    /// Of the network.
    pub difficulty: f64,
    /// Subsidy and fees.
    pub reward_sat: u64,
}

/// An element of `GET /api/v1/credits`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct CreditInfo {
    /// Hash of the block that was shared out; none where work was credited as it came. So with the next two.
    pub block: Option<String>,
    pub height: Option<u32>,
    /// Of the block. What an orphaned one was credited with counts for nothing.
    pub state: Option<String>,
    /// The first and the last share that were credited as they came; none where a block was shared out.
    pub shares: Option<[u64; 2]>,
    pub at: Timestamp,
    /// Empty: the pool itself.
    pub account: String,
    pub amount_sat: u64,
    pub reason: String,
    /// Content hash of the plugin that decided.
    pub policy_hash: String,
}
