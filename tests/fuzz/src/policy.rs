//! What both targets of policies do with a component: ask it everything, and look at what comes of it.

use std::fs;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use sluice_core::bitcoin::{Amount, Network};
use sluice_core::ids::{AccountName, Protocol, WorkerName};
use sluice_core::policy::auth::{Login, Refusal};
use sluice_core::policy::payout::{Contribution, Portion, Round, Tally};
use sluice_core::policy::vardiff::{ChannelFacts, Decision, Memo, Opening, Review};
use sluice_core::policy::{Client, PolicyFailure, PolicyKind};
use sluice_core::units::{Difficulty, Timestamp};
use sluice_policy::config::Settings;
use sluice_policy::{Compiler, Limits, LoadError, Loader, SlotConfig};

/// No call takes longer, whatever the guest does: its fuel is a few milliseconds, the rest is a slow machine.
const BOUND: Duration = Duration::from_secs(10);
/// The longest reason, in bytes.
const REASON: usize = 2500;

/// One for the process: an engine has a clock of its own.
struct Workshop {
    loader: Loader,
    /// Kept for ever, but not by a test.
    cache: tempfile::TempDir,
}

fn workshop() -> &'static Workshop {
    static WORKSHOP: OnceLock<Workshop> = OnceLock::new();
    WORKSHOP.get_or_init(|| {
        let cache = tempfile::tempdir().expect("a temporary directory");
        let loader = Loader::new(cache.path(), Compiler::InProcess, Network::Regtest).expect("a loader");
        Workshop { loader, cache }
    })
}

fn limits(kind: PolicyKind) -> Limits {
    Limits { fuel: 2_000_000, memory: 8 << 20, answer_bytes: 1 << 20, ..Limits::of(kind) }
}

/// Loads the component as a policy of this kind and asks it everything. Refused with a reason, or held to the rules;
/// whether anything was answered.
pub(super) fn ask(kind: PolicyKind, component: &[u8], settings: &Settings) -> bool {
    let config =
        SlotConfig { settings: settings.clone(), limits: limits(kind), ..SlotConfig::new(kind, "fuzz.wasm") };
    let loaded = match kind {
        PolicyKind::Auth => auth(component, &config),
        PolicyKind::Vardiff => vardiff(component, &config),
        PolicyKind::Payout => payout(component, &config),
    };
    if let Err(why) = &loaded {
        reason(&why.to_string());
    }
    let kept = fs::read_dir(workshop().cache.path().join("wasm")).expect("a directory of components");
    for entry in kept.filter_map(Result::ok) {
        // Another body at work in this process may be the first to remove it, or just have renamed it.
        let _ = fs::remove_file(entry.path());
    }
    loaded.unwrap_or(false)
}

/// Printable, and short enough to be read.
fn reason(text: &str) {
    assert!(!text.is_empty() && text.len() <= REASON, "{} bytes: {text}", text.len());
    assert!(text.bytes().all(|byte| matches!(byte, b' '..=b'~')), "not printable: {text:?}");
}

/// Within its time; a failure has a reason.
fn answer<R>(call: impl FnOnce() -> Result<R, PolicyFailure>) -> Option<R> {
    let began = Instant::now();
    let answer = call();
    assert!(began.elapsed() < BOUND, "a call of {:?}", began.elapsed());
    answer.map_err(|failure| reason(&failure.to_string())).ok()
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

fn auth(component: &[u8], config: &SlotConfig) -> Result<bool, LoadError> {
    let mut policy = workshop().loader.auth(component, config)?;
    let login = Login { username: "alice.rig".to_owned(), password: Some("x".to_owned()), client: client() };
    let answer = answer(|| policy.authorize(&login));
    let answered = answer.is_some();
    match answer {
        None => {}
        Some(Ok(grant)) => {
            assert!((1..=128).contains(&grant.account.as_str().len()));
            let difficulties = [grant.start, grant.minimum, grant.maximum].into_iter().flatten();
            difficulties
                .for_each(|difficulty| assert!(difficulty.get().is_finite() && difficulty.get() > 0.0));
        }
        Some(Err(
            Refusal::UnknownUser(text)
            | Refusal::WrongPassword(text)
            | Refusal::Forbidden(text)
            | Refusal::TryLater(text),
        )) => short(&text),
    }
    Ok(answered)
}

/// A text of a policy that reaches miners and pages.
fn short(text: &str) {
    assert!(text.len() <= 200 && text.bytes().all(|byte| matches!(byte, b' '..=b'~')), "{text:?}");
}

fn vardiff(component: &[u8], config: &SlotConfig) -> Result<bool, LoadError> {
    let mut policy = workshop().loader.vardiff(component, config)?;
    let channel = Arc::new(ChannelFacts {
        account: AccountName::new("alice").expect("a name"),
        worker: WorkerName::new("rig").expect("a name"),
        client: client(),
        password: None,
        floor: Difficulty::ONE,
        ceiling: Difficulty::MAX,
    });
    let (now, current) = (Timestamp(60_000), Difficulty::ONE);
    let opening = Opening {
        channel: channel.clone(),
        now,
        start: None,
        suggested: Some(current),
        nominal_hashrate: None,
    };
    let review = Review {
        channel,
        now,
        current,
        elapsed: Duration::from_secs(60),
        accepted: 20,
        rejected: 0,
        work: 20.0,
        suggested: None,
        nominal_hashrate: Some(1e12),
        memo: Memo::default(),
    };
    let opened = answer(|| policy.open(&opening));
    opened.iter().for_each(decided);
    let reviewed = answer(|| policy.review_all(std::slice::from_ref(&review)));
    assert!(reviewed.as_ref().is_none_or(|decisions| decisions.len() == 1));
    reviewed.iter().flatten().for_each(decided);
    Ok(opened.is_some() || reviewed.is_some())
}

fn decided(decision: &Decision) {
    assert!(decision.difficulty.get().is_finite() && decision.difficulty.get() > 0.0);
    assert!(decision.memo.bytes.len() <= 256);
}

fn contributions() -> Vec<Contribution> {
    let one = |account: &str, work| Contribution { account: account.to_owned(), work, shares: 1 };
    vec![one("alice", 3), one("bob", 1)]
}

fn payout(component: &[u8], config: &SlotConfig) -> Result<bool, LoadError> {
    let mut policy = workshop().loader.payout(component, config)?;
    let round = Round {
        found: true,
        height: 100,
        at: Timestamp(1),
        subsidy: Amount::from_sat(5_000_000_000),
        fees: Amount::from_sat(1234),
        network_difficulty: 1.0,
        finder: String::new(),
        work_unit: 1.0,
        contributions: contributions(),
    };
    let settled = answer(|| policy.settle(&round));
    for one in settled.iter().flatten() {
        named(&one.account);
        short(&one.reason);
        let (Portion::Weight(amount) | Portion::Fixed(amount)) = one.portion;
        assert!(amount < 1 << 53);
    }
    let tally = Tally {
        height: 100,
        subsidy: Amount::from_sat(5_000_000_000),
        fees: Amount::ZERO,
        network_difficulty: 1000.0,
        work_unit: 1.0,
        contributions: contributions(),
    };
    let accrued = answer(|| policy.accrue(std::slice::from_ref(&tally)));
    for one in accrued.iter().flatten() {
        named(&one.account);
        short(&one.reason);
    }
    Ok(settled.is_some() || accrued.is_some())
}

fn named(account: &str) {
    assert!(account.is_empty() || AccountName::new(account).is_ok(), "{account:?}");
}
