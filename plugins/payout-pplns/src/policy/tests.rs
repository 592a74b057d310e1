use proptest::prelude::*;
use sluice_plugin::configure;
use sluice_plugin::payout::Portion;

use super::*;

fn pplns(settings: &str) -> Pplns {
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
fn the_window_is_the_setting() {
    let plan = |window| Plan { window: Window::Work(window), per_finder: false, accrues: false };
    assert_eq!(pplns("{}").plan(), plan(2.0));
    assert_eq!(pplns(r#"{"window": 8}"#).plan(), plan(8.0));
}

#[test]
fn work_is_weight_and_the_fee_is_fixed() {
    let answer =
        pplns(r#"{"fee-bps": 100}"#).settle(&round(&[("alice", 30), ("bob", 10)], 312_500_099)).unwrap();
    assert_eq!(
        answer,
        [
            Entitlement::weight("alice", 30, "work in the window"),
            Entitlement::weight("bob", 10, "work in the window"),
            Entitlement::fixed("", 3_125_000, "fee 1%"),
        ]
    );
}

#[test]
fn without_a_fee_the_house_is_not_named() {
    let answer = pplns("{}").settle(&round(&[("alice", 1)], 100)).unwrap();
    assert_eq!(answer, [Entitlement::weight("alice", 1, "work in the window")]);
}

#[test]
fn without_work_the_house_gets_all() {
    let wanted = [Entitlement::weight("", 1, "block without work in the window")];
    for work in [&[][..], &[("alice", 0)], &[("", 5)], &[("", 5), ("alice", 0)]] {
        assert_eq!(pplns(r#"{"fee-bps": 100}"#).settle(&round(work, 1000)).unwrap(), wanted, "{work:?}");
    }
}

#[test]
fn the_houses_own_work_joins_its_fee() {
    let answer = pplns(r#"{"fee-bps": 1000}"#).settle(&round(&[("", 1), ("alice", 2)], 1000)).unwrap();
    assert_eq!(
        answer,
        [
            Entitlement::weight("alice", 2, "work in the window"),
            Entitlement::fixed("", 100 + 300, "fee 10% and the pool's own work"),
        ]
    );
}

#[test]
fn a_preview_is_what_a_block_would_pay() {
    let policy = pplns(r#"{"fee-bps": 99}"#);
    let block = round(&[("alice", 7), ("bob", 9)], 5_000_000_000);
    let preview = Round { found: false, ..block.clone() };
    assert_eq!(policy.settle(&preview), policy.settle(&block));
}

#[test]
fn settings_are_checked() {
    for (settings, wanted) in [
        (r#"{"window": 0}"#, "window: 0 is not a number from 0.01 to 1000"),
        (r#"{"window": 1001}"#, "window: 1001 is not a number from 0.01 to 1000"),
        (r#"{"fee-bps": 1.5}"#, "fee-bps: 1.5 is not a whole number from 0 to 10000"),
        (r#"{"n": 2}"#, "n: no such setting; there are: window, fee-bps"),
    ] {
        assert_eq!(configure::<Pplns>(settings).unwrap_err(), wanted);
    }
}

#[test]
fn the_self_test_passes_with_any_settings() {
    for settings in ["{}", r#"{"fee-bps": 10000, "window": 0.01}"#] {
        assert_eq!(pplns(settings).self_test(), Ok(()));
    }
}

#[test]
fn the_schema_is_json_and_names_the_settings() {
    let schema: serde_json::Value = serde_json::from_str(Pplns::DESCRIPTOR.settings_schema).unwrap();
    let mut names: Vec<&str> = schema["properties"].as_object().unwrap().keys().map(String::as_str).collect();
    names.sort_unstable();
    assert_eq!(names, ["fee-bps", "window"]);
}

proptest! {
    /// The host refuses an account that is named twice, and fixed portions beyond the reward.
    #[test]
    fn every_answer_can_be_divided(
        work in prop::collection::btree_map("[a-c]{0,2}", 0u64..1 << 53, 0..8),
        reward in 0u64..2_100_000_000_000_000,
        bps in 0u64..=10_000,
    ) {
        let list: Vec<(&str, u64)> = work.iter().map(|(account, work)| (account.as_str(), *work)).collect();
        let answer = pplns(&format!("{{\"fee-bps\": {bps}}}")).settle(&round(&list, reward)).unwrap();
        let mut names: Vec<&str> = answer.iter().map(|e| e.account.as_str()).collect();
        names.sort_unstable();
        names.dedup();
        prop_assert_eq!(names.len(), answer.len());
        let (mut fixed, mut weights) = (0u64, 0u64);
        for entitlement in &answer {
            match entitlement.portion {
                Portion::Fixed(sats) => fixed += sats,
                Portion::Weight(weight) => weights += weight,
            }
        }
        prop_assert!(fixed <= reward);
        prop_assert!(weights > 0);
    }
}
