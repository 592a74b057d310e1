//! The components in plugins/dist keep the same promises, and answer what the native code answers.

use std::cell::RefCell;
use std::path::Path;

use proptest::prelude::*;
use proptest::test_runner::{Config, TestCaseResult, TestRunner};
use sluice_core::bitcoin::Network;
use sluice_core::policy::PolicyKind;
use sluice_core::policy::payout::{PayoutPolicy, Round};
use sluice_policy::{Compiler, Loader, SlotConfig};
use tempfile::TempDir;

use crate::{accruing, histories, native, settling};

/// Each asks a new instance several times.
const SAMPLE: u32 = 24;

/// A shipped component, and the directory its compiled code is in.
pub(crate) struct Shipped {
    pub(crate) policy: Box<dyn PayoutPolicy>,
    _cache: TempDir,
}

pub(crate) fn shipped(name: &str, settings: &str) -> Shipped {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../plugins/dist").join(format!("{name}.wasm"));
    let wasm = std::fs::read(path).expect("it is built");
    let cache = tempfile::tempdir().unwrap();
    let loader = Loader::new(cache.path(), Compiler::InProcess, Network::Regtest).unwrap();
    let settings = serde_json::from_str(settings).unwrap();
    let config = SlotConfig { settings, ..SlotConfig::new(PolicyKind::Payout, "") };
    Shipped { policy: loader.payout(&wasm, &config).expect("it loads"), _cache: cache }
}

fn sample<S: Strategy>(strategy: &S, check: impl Fn(S::Value) -> TestCaseResult) {
    let config = Config { cases: SAMPLE, ..Config::default() };
    TestRunner::new(config).run(strategy, check).unwrap();
}

/// Native and component side by side.
fn settles_as_natively(name: &str, settings: &str) {
    // The sample changes a policy that proptest may only borrow.
    let pair = RefCell::new((shipped(name, settings), native::scheme(name, settings)));
    sample(&histories::round(), |round| {
        let (component, native) = &mut *pair.borrow_mut();
        prop_assert_eq!(component.policy.plan(), native.plan());
        prop_assert_eq!(component.policy.settle(&round), native.settle(&round));
        settling::any_scheme(&mut *component.policy, &round)
    });
}

#[test]
fn components_settle_as_the_native_code_does() {
    for (name, settings) in [
        ("payout-solo", r#"{"fee-bps": 150}"#),
        ("payout-pplns", r#"{"fee-bps": 150, "window": 3.5}"#),
        ("payout-tides", r#"{"fee-bps": 150, "carry": false}"#),
        ("payout-tides", "{}"),
        ("payout-fpps", r#"{"scheme": "pps"}"#),
    ] {
        settles_as_natively(name, settings);
    }
}

#[test]
fn components_keep_the_promises_of_their_schemes() {
    let check = |name: &str, promise: fn(&mut dyn PayoutPolicy, &Round) -> TestCaseResult| {
        let policy = RefCell::new(shipped(name, r#"{"fee-bps": 275}"#));
        sample(&histories::round(), |round| promise(&mut *policy.borrow_mut().policy, &round));
    };
    check("payout-solo", |policy, round| settling::solo(policy, round, 275));
    check("payout-pplns", |policy, round| settling::by_work(policy, round, 275));
    check("payout-tides", |policy, round| settling::by_work(policy, round, 275));
    check("payout-fpps", |policy, round| settling::fpps(policy, round));
}

#[test]
fn the_component_accrues_as_the_native_code_does() {
    for (scheme, with_fees) in [("fpps", true), ("pps", false)] {
        let settings = format!("{{\"scheme\": \"{scheme}\", \"fee-bps\": 275}}");
        let pair =
            RefCell::new((shipped("payout-fpps", &settings), native::scheme("payout-fpps", &settings)));
        sample(&histories::tallies(), |tallies| {
            let (component, native) = &mut *pair.borrow_mut();
            prop_assert_eq!(component.policy.accrue(&tallies), native.accrue(&tallies));
            accruing::promises(&mut *component.policy, &tallies, 275, with_fees)
        });
    }
}

#[test]
fn only_fpps_accrues() {
    for name in ["payout-solo", "payout-pplns", "payout-tides"] {
        let mut shipped = shipped(name, "{}");
        assert!(!shipped.policy.plan().unwrap().accrues, "{name}");
        assert!(shipped.policy.accrue(&[]).is_err(), "{name}");
    }
    assert!(shipped("payout-fpps", "{}").policy.plan().unwrap().accrues);
}
