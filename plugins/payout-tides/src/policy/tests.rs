use sluice_plugin::configure;
use sluice_plugin::payout::{Contribution, Window};

use super::*;

fn tides(settings: &str) -> Tides {
    configure(settings).unwrap()
}

fn round(work: &[(&str, u64)], reward: u64) -> Round {
    Round {
        found: true,
        height: 900_000,
        at: 1_700_000_000_000,
        subsidy: reward,
        fees: 0,
        network_difficulty: 1e14,
        finder: String::new(),
        work_unit: 1.0,
        contributions: work
            .iter()
            .map(|(account, work)| Contribution { account: (*account).to_owned(), work: *work, shares: 1 })
            .collect(),
    }
}

#[test]
fn eight_blocks_of_work_are_paid_and_what_is_owed_is_carried() {
    let plan = |window, pays_balances| Plan {
        window: Window::Work(window),
        per_finder: false,
        accrues: false,
        pays_balances,
    };
    assert_eq!(tides("{}").plan(), plan(8.0, true));
    assert_eq!(tides(r#"{"window": 4, "carry": false}"#).plan(), plan(4.0, false));
}

#[test]
fn work_is_weight_and_the_fee_is_of_subsidy_and_fees() {
    let round = Round { fees: 99, ..round(&[("alice", 30), ("bob", 10)], 312_500_000) };
    let answer = tides(r#"{"fee-bps": 200}"#).settle(&round).unwrap();
    assert_eq!(
        answer,
        [
            Entitlement::weight("alice", 30, "work in the window"),
            Entitlement::weight("bob", 10, "work in the window"),
            Entitlement::fixed("", 6_250_001, "fee 2%"),
        ]
    );
}

#[test]
fn a_preview_is_what_a_block_would_pay() {
    let policy = tides(r#"{"fee-bps": 99}"#);
    let block = round(&[("alice", 7), ("bob", 9)], 5_000_000_000);
    let preview = Round { found: false, ..block.clone() };
    assert_eq!(policy.settle(&preview), policy.settle(&block));
}

#[test]
fn it_does_not_accrue() {
    assert!(matches!(tides("{}").accrue(&[]), Err(PolicyError::BadInput(_))));
}

#[test]
fn settings_are_checked() {
    for (settings, wanted) in [
        (r#"{"window": 0}"#, "window: 0 is not a number from 0.01 to 1000"),
        (r#"{"fee-bps": 10001}"#, "fee-bps: 10001 is not a whole number from 0 to 10000"),
        (r#"{"carry": 1}"#, "carry: 1 is not true or false"),
        (r#"{"n": 2}"#, "n: no such setting; there are: window, fee-bps, carry"),
    ] {
        assert_eq!(configure::<Tides>(settings).unwrap_err(), wanted);
    }
}

#[test]
fn the_self_test_passes_with_any_settings() {
    for settings in ["{}", r#"{"fee-bps": 10000, "window": 0.01, "carry": false}"#] {
        assert_eq!(tides(settings).self_test(), Ok(()));
    }
}

#[test]
fn the_schema_is_json_and_names_the_settings() {
    let schema: serde_json::Value = serde_json::from_str(Tides::DESCRIPTOR.settings_schema).unwrap();
    let mut names: Vec<&str> = schema["properties"].as_object().unwrap().keys().map(String::as_str).collect();
    names.sort_unstable();
    assert_eq!(names, ["carry", "fee-bps", "window"]);
}
