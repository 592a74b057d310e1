//! What a policy call costs: the shipped components against native fakes, alone and through a slot.
//!
//! Run with `cargo bench -p sluice-policy`. A shipped component that is not built is skipped by name.

use std::hint::black_box;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use sluice_core::bitcoin::{Amount, Network};
use sluice_core::ids::{AccountName, Protocol, WorkerName};
use sluice_core::policy::auth::{AuthPolicy, Grant, Login, Refusal};
use sluice_core::policy::payout::{
    Accrued, Contribution, Entitlement, PayoutPolicy, Plan, Portion, Round, Tally, Window,
};
use sluice_core::policy::vardiff::{ChannelFacts, Decision, Memo, Opening, Review, VardiffPolicy};
use sluice_core::policy::{Client, PolicyFailure, PolicyKind};
use sluice_core::units::{Difficulty, Timestamp};
use sluice_policy::lookup::Outside;
use sluice_policy::{Compiler, Loader, Policies, PolicyConfig, ShadowConfig, ShadowState, SlotConfig};

const ADDRESS: &str = "bcrt1qw508d6qejxtdg4y5r3zarvary0c5xw7kygt080";

struct Native;

impl AuthPolicy for Native {
    fn authorize(&mut self, login: &Login) -> Result<Result<Grant, Refusal>, PolicyFailure> {
        let (account, worker) = login.username.split_once('.').unwrap_or((&login.username, ""));
        let bad = |_| PolicyFailure::BadAnswer(String::new());
        Ok(Ok(Grant {
            account: AccountName::new(account).map_err(bad)?,
            worker: WorkerName::new(worker).map_err(bad)?,
            payout_address: None,
            start: None,
            minimum: None,
            maximum: None,
        }))
    }
}

fn decision() -> Decision {
    let review_after = Duration::from_secs(60);
    Decision { difficulty: Difficulty::ONE, review_after, review_after_shares: 100, memo: Memo::default() }
}

impl VardiffPolicy for Native {
    fn open(&mut self, _: &Opening) -> Result<Decision, PolicyFailure> {
        Ok(decision())
    }

    fn review_all(&mut self, reviews: &[Review]) -> Result<Vec<Decision>, PolicyFailure> {
        Ok(reviews.iter().map(|_| decision()).collect())
    }
}

impl PayoutPolicy for Native {
    fn plan(&mut self) -> Result<Plan, PolicyFailure> {
        Ok(Plan { window: Window::Work(2.0), per_finder: false, accrues: false, pays_balances: false })
    }

    fn settle(&mut self, round: &Round) -> Result<Vec<Entitlement>, PolicyFailure> {
        let portion = |one: &Contribution| Entitlement {
            account: one.account.clone(),
            portion: Portion::Weight(one.work),
            reason: String::new(),
        };
        Ok(round.contributions.iter().map(portion).collect())
    }

    fn accrue(&mut self, _: &[Tally]) -> Result<Vec<Accrued>, PolicyFailure> {
        Ok(Vec::new())
    }
}

fn client() -> Client {
    Client {
        protocol: Protocol::StratumV1,
        listener: Arc::from("main"),
        address: Arc::from("203.0.113.7"),
        agent: Arc::from("cgminer/4.12"),
        hardware: Arc::from(""),
    }
}

fn login() -> Login {
    Login { username: format!("{ADDRESS}.rig1"), password: Some("x".to_owned()), client: client() }
}

fn review() -> Review {
    Review {
        channel: Arc::new(ChannelFacts {
            account: AccountName::new(ADDRESS).expect("an address is a name"),
            worker: WorkerName::new("rig1").expect("a short name"),
            client: client(),
            password: None,
            floor: Difficulty::ONE,
            ceiling: Difficulty::MAX,
        }),
        now: Timestamp(60_000),
        current: Difficulty::ONE,
        elapsed: Duration::from_secs(60),
        accepted: 20,
        rejected: 0,
        work: 20.0,
        suggested: None,
        nominal_hashrate: None,
        memo: Memo::default(),
    }
}

fn round(accounts: usize) -> Round {
    let contribution =
        |index| Contribution { account: format!("{ADDRESS}{index:04}"), work: 1000, shares: 10 };
    Round {
        found: true,
        height: 100,
        at: Timestamp(1),
        subsidy: Amount::from_sat(5_000_000_000),
        fees: Amount::from_sat(1234),
        network_difficulty: 1.0,
        finder: String::new(),
        work_unit: 1.0,
        contributions: (0..accounts).map(contribution).collect(),
    }
}

fn ask_auth(c: &mut Criterion, name: &str, policy: &mut dyn AuthPolicy) {
    let login = login();
    c.bench_function(&format!("authorize/{name}"), |b| b.iter(|| policy.authorize(black_box(&login))));
}

fn ask_vardiff(c: &mut Criterion, name: &str, policy: &mut dyn VardiffPolicy) {
    for count in [1, 256] {
        let reviews = vec![review(); count];
        let mut group = c.benchmark_group("review_all");
        group.throughput(Throughput::Elements(u64::try_from(count).unwrap_or(1)));
        group
            .bench_function(format!("{name}/{count}"), |b| b.iter(|| policy.review_all(black_box(&reviews))));
        group.finish();
    }
}

fn ask_payout(c: &mut Criterion, name: &str, policy: &mut dyn PayoutPolicy) {
    for accounts in [1, 1000] {
        let round = round(accounts);
        c.bench_function(&format!("settle/{name}/{accounts}"), |b| {
            b.iter(|| policy.settle(black_box(&round)));
        });
    }
}

/// A shipped component, or why it is not measured.
fn shipped(name: &str) -> Option<Vec<u8>> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../plugins/dist").join(format!("{name}.wasm"));
    std::fs::read(&path).inspect_err(|error| eprintln!("{name} is skipped: {error}")).ok()
}

/// Many logins at once through the queue and back, as connections make them.
fn through_slot(c: &mut Criterion, name: &str, policies: &Policies) {
    const AT_ONCE: u64 = 256;
    let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
    let mut group = c.benchmark_group("slot");
    group.throughput(Throughput::Elements(AT_ONCE));
    group.bench_function(format!("authorize/{name}/{AT_ONCE} at once"), |b| {
        b.iter(|| {
            runtime.block_on(async {
                let mut asked = tokio::task::JoinSet::new();
                for _ in 0..AT_ONCE {
                    let policies = policies.clone();
                    asked.spawn(async move { policies.authorize(login()).await });
                }
                while let Some(answer) = asked.join_next().await {
                    black_box(answer.expect("no panic").expect("welcome"));
                }
            });
        });
    });
    group.finish();
}

/// The login's address is checked against a network.
fn with_settings(mut config: SlotConfig, kind: PolicyKind) -> SlotConfig {
    if kind == PolicyKind::Auth {
        config.settings.insert("network".to_owned(), "regtest".into());
    }
    config
}

fn calls(c: &mut Criterion) {
    let root = tempfile::tempdir().expect("a directory");
    let loader =
        Loader::new(&root.path().join("cache"), Compiler::InProcess, Network::Regtest).expect("a loader");
    let config = |kind| with_settings(SlotConfig::new(kind, ""), kind);
    ask_auth(c, "native", &mut Native);
    ask_vardiff(c, "native", &mut Native);
    ask_payout(c, "native", &mut Native);
    if let Some(wasm) = shipped("auth-address") {
        ask_auth(c, "auth-address", &mut *loader.auth(&wasm, &config(PolicyKind::Auth)).expect("it loads"));
    }
    if let Some(wasm) = shipped("vardiff-steady") {
        ask_vardiff(
            c,
            "vardiff-steady",
            &mut *loader.vardiff(&wasm, &config(PolicyKind::Vardiff)).expect("it loads"),
        );
    }
    if let Some(wasm) = shipped("payout-pplns") {
        ask_payout(
            c,
            "payout-pplns",
            &mut *loader.payout(&wasm, &config(PolicyKind::Payout)).expect("it loads"),
        );
    }
    let native = Policies::native(Box::new(Native), Box::new(Native), Box::new(Native)).expect("threads");
    through_slot(c, "native", &native);
    slots(c, root.path());
}

/// Through a slot, alone and beside a shadow: the same component under another hash.
fn slots(c: &mut Criterion, root: &Path) {
    const SHADOW: &str = "shadow.wasm";
    let Some(mut variant) = shipped("auth-address") else { return };
    let dir = root.join("plugins");
    std::fs::create_dir(&dir).expect("a directory");
    for name in ["auth-address", "vardiff-steady", "payout-pplns"] {
        let Some(bytes) = shipped(name) else { return };
        std::fs::write(dir.join(format!("{name}.wasm")), bytes).expect("room");
    }
    // A custom section without content, called "x".
    variant.extend([0, 2, 1, b'x']);
    std::fs::write(dir.join(SHADOW), variant).expect("room");
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    for (name, shadow) in [("auth-address", None), ("auth-address beside a shadow", Some(SHADOW))] {
        let config = slot_config(&dir, root.join(format!("slots-{}", shadow.is_some())), shadow);
        let policies = runtime.block_on(Policies::start(config)).expect("they start");
        let comparing = || {
            let status = policies.status();
            let shadow = status.first().and_then(|auth| auth.shadow.as_ref());
            shadow.is_some_and(|shadow| shadow.state == ShadowState::Comparing)
        };
        while shadow.is_some() && !comparing() {
            std::thread::sleep(Duration::from_millis(10));
        }
        through_slot(c, name, &policies);
        policies.shutdown();
    }
}

fn slot_config(dir: &Path, cache_dir: PathBuf, shadow: Option<&str>) -> PolicyConfig {
    let slot = |kind, name: &str| with_settings(SlotConfig::new(kind, &format!("{name}.wasm")), kind);
    let mut auth = slot(PolicyKind::Auth, "auth-address");
    let settings = auth.settings.clone();
    auth.shadow = shadow.map(|file| ShadowConfig { file: file.to_owned(), settings });
    PolicyConfig {
        dir: dir.to_owned(),
        cache_dir,
        network: Network::Regtest,
        compiler: Compiler::InProcess,
        auth,
        vardiff: slot(PolicyKind::Vardiff, "vardiff-steady"),
        payout: slot(PolicyKind::Payout, "payout-pplns"),
        poll_interval: PolicyConfig::POLL_INTERVAL,
        debounce: PolicyConfig::DEBOUNCE,
        outside: Outside::offline(),
    }
}

criterion_group!(benches, calls);
criterion_main!(benches);
