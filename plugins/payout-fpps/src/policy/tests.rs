use sluice_plugin::configure;

use super::*;

fn fpps(settings: &str) -> Fpps {
    configure(settings).unwrap()
}

fn work(list: &[(&str, u64)]) -> Vec<Contribution> {
    let one = |(account, work): &(&str, u64)| Contribution {
        account: (*account).to_owned(),
        work: *work,
        shares: 1,
    };
    list.iter().map(one).collect()
}

/// A block of 3.125 BTC takes a thousand units of work.
fn tally(fees: u64, list: &[(&str, u64)]) -> Tally {
    Tally {
        height: 900_000,
        subsidy: 312_500_000,
        fees,
        network_difficulty: 2000.0,
        work_unit: 2.0,
        contributions: work(list),
    }
}

fn round(found: bool) -> Round {
    Round {
        found,
        height: 900_000,
        at: 1_700_000_000_000,
        subsidy: 312_500_000,
        fees: 1_000_000,
        network_difficulty: 2000.0,
        finder: "alice".to_owned(),
        work_unit: 2.0,
        contributions: work(&[("alice", 5)]),
    }
}

fn accrual(account: &str, microsats: u64, reason: &str) -> Accrual {
    Accrual { account: account.to_owned(), microsats, reason: reason.to_owned() }
}

#[test]
fn it_accrues_and_looks_at_no_window() {
    let plan = Plan { window: Window::None, per_finder: false, accrues: true, pays_balances: false };
    assert_eq!(fpps("{}").plan(), plan);
    assert_eq!(fpps(r#"{"scheme": "pps"}"#).plan(), plan);
}

#[test]
fn the_house_keeps_the_block() {
    for found in [true, false] {
        let answer = fpps(r#"{"fee-bps": 100}"#).settle(&round(found)).unwrap();
        let wanted = Entitlement::weight("", 1, "PPS: the house pays for shares and keeps the block");
        assert_eq!(answer, [wanted]);
    }
}

#[test]
fn work_is_paid_of_its_own_templates_subsidy_and_fees() {
    let tallies = [tally(1_000_000, &[("alice", 1), ("bob", 2)]), tally(3_000_000, &[("alice", 1)])];
    let answer = fpps("{}").accrue(&tallies).unwrap();
    assert_eq!(
        answer,
        [
            accrual("alice", (313_500 + 315_500) * 1_000_000, "fpps, fee 0%"),
            accrual("bob", 627_000 * 1_000_000, "fpps, fee 0%"),
        ]
    );
}

#[test]
fn pps_pays_of_the_subsidy_alone() {
    let tallies = [tally(1_000_000, &[("alice", 1)]), tally(3_000_000, &[("alice", 1)])];
    let answer = fpps(r#"{"scheme": "pps", "fee-bps": 200}"#).accrue(&tallies).unwrap();
    assert_eq!(answer, [accrual("alice", 612_500 * 1_000_000, "pps, fee 2%")]);
}

#[test]
fn the_house_and_who_did_nothing_are_not_credited() {
    let answer = fpps("{}").accrue(&[tally(0, &[("", 7), ("alice", 0), ("bob", 1)])]).unwrap();
    assert_eq!(answer, [accrual("bob", 312_500 * 1_000_000, "fpps, fee 0%")]);
    assert_eq!(fpps("{}").accrue(&[]).unwrap(), []);
    assert_eq!(fpps(r#"{"fee-bps": 10000}"#).accrue(&[tally(0, &[("bob", 1)])]).unwrap(), []);
}

/// More than a u64 of millionths, which no chain has: refused, never cut short.
#[test]
fn more_than_there_is_is_an_error() {
    let easy = Tally { network_difficulty: 1e-9, ..tally(0, &[("alice", 1 << 52)]) };
    let answer = fpps("{}").accrue(&[easy]);
    assert!(matches!(answer, Err(PolicyError::BadInput(ref why)) if why.contains("alice")), "{answer:?}");
}

#[test]
fn settings_are_checked() {
    for (settings, wanted) in [
        (r#"{"scheme": "PPS"}"#, "scheme: \"PPS\" is not \"fpps\" or \"pps\""),
        (r#"{"fee-bps": 10001}"#, "fee-bps: 10001 is not a whole number from 0 to 10000"),
        (r#"{"fees": 1}"#, "fees: no such setting; there are: scheme, fee-bps"),
    ] {
        assert_eq!(configure::<Fpps>(settings).unwrap_err(), wanted);
    }
}

#[test]
fn the_self_test_passes_with_any_settings() {
    for settings in ["{}", r#"{"fee-bps": 10000, "scheme": "pps"}"#] {
        assert_eq!(fpps(settings).self_test(), Ok(()));
    }
}

#[test]
fn the_schema_is_json_and_names_the_settings() {
    let schema: serde_json::Value = serde_json::from_str(Fpps::DESCRIPTOR.settings_schema).unwrap();
    let mut names: Vec<&str> = schema["properties"].as_object().unwrap().keys().map(String::as_str).collect();
    names.sort_unstable();
    assert_eq!(names, ["fee-bps", "scheme"]);
}
