//! A pool's policy directory in a temporary place, and ways to await what happens there.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use bitcoin::Network;
use sluice_core::bitcoin::Amount;
use sluice_core::ids::{AccountName, Protocol, WorkerName};
use sluice_core::policy::auth::Login;
use sluice_core::policy::payout::{Contribution, Round};
use sluice_core::policy::vardiff::{ChannelFacts, Memo, Opening, Review};
use sluice_core::policy::{Client, PolicyKind};
use sluice_core::units::{Difficulty, Timestamp};
use sluice_policy::config::Settings;
use sluice_policy::lookup::Outside;
use sluice_policy::{
    Compiler, Limits, Loader, Policies, PolicyConfig, PolicyEvent, PolicyStatus, SlotConfig,
};
use tempfile::TempDir;
use tokio::sync::broadcast;

use crate::guest::Guest;

/// Long enough for the slowest machine; nothing waits for it to pass.
const PATIENCE: Duration = Duration::from_secs(60);

pub(crate) struct House {
    pub(crate) root: TempDir,
    pub(crate) config: PolicyConfig,
}

pub(crate) fn file(kind: PolicyKind) -> String {
    format!("{kind}.wasm")
}

/// Limits that a test reaches soon.
pub(crate) fn tight(kind: PolicyKind) -> Limits {
    Limits { fuel: 20_000_000, deadline: Duration::from_secs(20), memory: 8 << 20, ..Limits::of(kind) }
}

impl House {
    /// With a well-behaved guest of each kind.
    pub(crate) fn new() -> Self {
        let root = tempfile::tempdir().expect("a temporary directory");
        let dir = root.path().join("plugins");
        std::fs::create_dir(&dir).unwrap();
        let slot = |kind| SlotConfig { limits: tight(kind), ..SlotConfig::new(kind, &file(kind)) };
        let config = PolicyConfig {
            dir,
            cache_dir: root.path().join("cache"),
            network: Network::Regtest,
            compiler: Compiler::InProcess,
            auth: slot(PolicyKind::Auth),
            vardiff: slot(PolicyKind::Vardiff),
            payout: slot(PolicyKind::Payout),
            poll_interval: Duration::from_millis(100),
            debounce: Duration::from_millis(50),
            outside: Outside::offline(),
        };
        let house = Self { root, config };
        for kind in PolicyKind::ALL {
            house.put(kind, &Guest::new(kind, "first").build());
        }
        house
    }

    pub(crate) fn path(&self, kind: PolicyKind) -> PathBuf {
        self.config.dir.join(file(kind))
    }

    /// As an operator should: aside, then renamed.
    pub(crate) fn put(&self, kind: PolicyKind, bytes: &[u8]) {
        let aside = self.root.path().join("aside");
        std::fs::write(&aside, bytes).unwrap();
        std::fs::rename(&aside, self.path(kind)).unwrap();
    }

    pub(crate) async fn start(&self) -> Policies {
        Policies::start(self.config.clone()).await.expect("the policies start")
    }
}

/// Waits for an event that `wanted` picks.
pub(crate) async fn event<T>(
    events: &mut broadcast::Receiver<PolicyEvent>,
    mut wanted: impl FnMut(&PolicyEvent) -> Option<T>,
) -> T {
    let found = async {
        loop {
            let event = events.recv().await.expect("the policies live");
            if let Some(found) = wanted(&event) {
                return found;
            }
        }
    };
    tokio::time::timeout(PATIENCE, found).await.expect("the event comes")
}

pub(crate) async fn applied(events: &mut broadcast::Receiver<PolicyEvent>) -> String {
    event(events, |event| match event {
        PolicyEvent::Applied { name, .. } => Some(name.clone()),
        _ => None,
    })
    .await
}

pub(crate) async fn rejected(events: &mut broadcast::Receiver<PolicyEvent>) -> String {
    event(events, |event| match event {
        PolicyEvent::Rejected { why, .. } => Some(why.clone()),
        _ => None,
    })
    .await
}

pub(crate) fn status(policies: &Policies, kind: PolicyKind) -> PolicyStatus {
    policies.status().into_iter().find(|status| status.kind == kind).expect("there is one of each kind")
}

pub(crate) fn settings(json: &str) -> Settings {
    serde_json::from_str(json).unwrap()
}

/// A loader of its own, for what needs no slot.
pub(crate) fn loader(root: &Path) -> Loader {
    Loader::new(&root.join("cache"), Compiler::InProcess, Network::Regtest).expect("a loader")
}

pub(crate) fn client() -> Client {
    Client {
        protocol: Protocol::StratumV1,
        listener: Arc::from("main"),
        address: Arc::from("203.0.113.7"),
        agent: Arc::from("cgminer/4.12"),
        hardware: Arc::from(""),
    }
}

pub(crate) fn login(username: &str) -> Login {
    Login { username: username.to_owned(), password: Some("x".to_owned()), client: client() }
}

fn channel() -> Arc<ChannelFacts> {
    Arc::new(ChannelFacts {
        account: AccountName::new("alice").unwrap(),
        worker: WorkerName::new("rig").unwrap(),
        client: client(),
        password: None,
        floor: Difficulty::ONE,
        ceiling: Difficulty::MAX,
    })
}

pub(crate) fn opening() -> Opening {
    Opening { channel: channel(), now: Timestamp(1), start: None, suggested: None, nominal_hashrate: None }
}

pub(crate) fn review(memo: Memo) -> Review {
    Review {
        channel: channel(),
        now: Timestamp(60_000),
        current: Difficulty::ONE,
        elapsed: Duration::from_secs(60),
        accepted: 20,
        rejected: 0,
        work: 20.0,
        suggested: None,
        nominal_hashrate: None,
        memo,
    }
}

pub(crate) fn round(accounts: &[(&str, u64)]) -> Round {
    Round {
        found: true,
        height: 100,
        at: Timestamp(1),
        subsidy: Amount::from_sat(5_000_000_000),
        fees: Amount::from_sat(1234),
        network_difficulty: 1.0,
        finder: String::new(),
        work_unit: 1.0,
        contributions: accounts
            .iter()
            .map(|(account, work)| Contribution { account: (*account).to_owned(), work: *work, shares: 1 })
            .collect(),
    }
}
