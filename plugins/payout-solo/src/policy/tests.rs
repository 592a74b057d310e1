use proptest::prelude::*;
use sluice_plugin::configure;
use sluice_plugin::payout::Portion;

use super::*;

fn solo(settings: &str) -> Solo {
    configure(settings).unwrap()
}

fn round(finder: &str, subsidy: u64, fees: u64) -> Round {
    Round {
        found: true,
        height: 900_000,
        at: 1_700_000_000_000,
        subsidy,
        fees,
        network_difficulty: 1e14,
        finder: finder.to_owned(),
        work_unit: 1.0,
        contributions: Vec::new(),
    }
}

#[test]
fn every_finder_has_a_coinbase_of_its_own() {
    assert_eq!(
        solo("{}").plan(),
        Plan { window: Window::None, per_finder: true, accrues: false, pays_balances: false }
    );
}

#[test]
fn without_a_fee_the_finder_gets_all() {
    let answer = solo("{}").settle(&round("alice", 312_500_000, 1_234)).unwrap();
    assert_eq!(answer, [Entitlement::weight("alice", 1, "solo block")]);
}

#[test]
fn the_fee_is_of_subsidy_and_fees_and_rounded_down() {
    let answer = solo(r#"{"fee-bps": 150}"#).settle(&round("alice", 312_500_000, 67)).unwrap();
    assert_eq!(
        answer,
        [Entitlement::weight("alice", 1, "solo block"), Entitlement::fixed("", 4_687_501, "fee 1.5%")]
    );
}

#[test]
fn without_a_finder_the_house_gets_all() {
    let answer = solo(r#"{"fee-bps": 150}"#).settle(&round("", 312_500_000, 0)).unwrap();
    assert_eq!(answer, [Entitlement::weight("", 1, "block without a finder")]);
}

#[test]
fn a_preview_is_what_a_block_would_pay() {
    let policy = solo(r#"{"fee-bps": 99}"#);
    let block = round("alice", 5_000_000_000, 12);
    let preview = Round { found: false, ..block.clone() };
    assert_eq!(policy.settle(&preview), policy.settle(&block));
}

#[test]
fn it_does_not_accrue() {
    assert!(matches!(solo("{}").accrue(&[]), Err(PolicyError::BadInput(_))));
}

#[test]
fn settings_are_checked() {
    for (settings, wanted) in [
        (r#"{"fee-bps": 10001}"#, "fee-bps: 10001 is not a whole number from 0 to 10000"),
        (r#"{"fee-bps": -1}"#, "fee-bps: -1 is not a whole number from 0 to 10000"),
        (r#"{"fee-bps": "1%"}"#, "fee-bps: \"1%\" is not a whole number from 0 to 10000"),
        (r#"{"fee": 1}"#, "fee: no such setting; there are: fee-bps"),
    ] {
        assert_eq!(configure::<Solo>(settings).unwrap_err(), wanted);
    }
}

#[test]
fn the_self_test_passes_with_any_fee() {
    for settings in ["{}", r#"{"fee-bps": 10000}"#] {
        assert_eq!(solo(settings).self_test(), Ok(()));
    }
}

#[test]
fn the_schema_is_json_and_names_the_settings() {
    let schema: serde_json::Value = serde_json::from_str(Solo::DESCRIPTOR.settings_schema).unwrap();
    let names: Vec<&String> = schema["properties"].as_object().unwrap().keys().collect();
    assert_eq!(names, ["fee-bps"]);
}

proptest! {
    #[test]
    fn the_fee_never_exceeds_the_reward_nor_its_rate(reward in 0u64..2_100_000_000_000_000, bps in 0u64..=10_000) {
        let policy = solo(&format!("{{\"fee-bps\": {bps}}}"));
        let answer = policy.settle(&round("alice", reward, 0)).unwrap();
        let fee = answer.iter().find_map(|e| match e.portion {
            Portion::Fixed(sats) => Some(sats),
            Portion::Weight(_) => None,
        });
        let fee = u128::from(fee.unwrap_or(0));
        prop_assert!(fee * 10_000 <= u128::from(reward) * u128::from(bps));
        prop_assert!((fee + 1) * 10_000 > u128::from(reward) * u128::from(bps));
    }
}
