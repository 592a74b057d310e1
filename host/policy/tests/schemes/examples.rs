//! The worked examples of docs/payout-schemes.md: the page shows what the schemes answer.

use std::collections::BTreeMap;

use sluice_core::bitcoin::Amount;
use sluice_core::policy::accrual::whole;
use sluice_core::policy::payout::{Round, Tally};
use sluice_core::units::Timestamp;

use crate::histories;
use crate::native::scheme;
use crate::{accruing, settling};

const PAGE: &str = include_str!("../../../../docs/payout-schemes.md");

fn work(list: &[(&str, u64)]) -> BTreeMap<String, u64> {
    list.iter().map(|(account, work)| ((*account).to_owned(), *work)).collect()
}

/// 3.125 BTC and 0.02 BTC of fees; alice, bob and carol have worked, bob has found the block.
fn block(list: &[(&str, u64)]) -> Round {
    Round {
        found: true,
        height: 900_000,
        at: Timestamp(1),
        subsidy: Amount::from_sat(312_500_000),
        fees: Amount::from_sat(2_000_000),
        network_difficulty: 1e14,
        finder: "bob".to_owned(),
        work_unit: 1e11,
        contributions: histories::of(work(list)),
    }
}

/// 312500000 as `312,500,000`.
fn grouped(sats: u64) -> String {
    let digits = sats.to_string();
    let groups: Vec<&str> =
        digits.as_bytes().rchunks(3).rev().map(|group| std::str::from_utf8(group).unwrap()).collect();
    groups.join(",")
}

/// The page has a row for every account with what it gets, in its section.
fn assert_shown(section: &str, credits: &BTreeMap<String, u64>) {
    let (_, text) = PAGE.split_once(&format!("\n## {section}\n")).expect("the section is there");
    let text = text.split("\n## ").next().unwrap();
    for (account, sats) in credits {
        let name = if account.is_empty() { "the house" } else { account };
        let row = text.lines().find(|line| line.starts_with(&format!("| {name} |")));
        let row = row.unwrap_or_else(|| panic!("{section}: no row for {name}"));
        assert!(
            row.contains(&format!("| {} |", grouped(*sats))),
            "{section}: {name} gets {}",
            grouped(*sats)
        );
    }
}

#[test]
fn solo() {
    let mut policy = scheme("payout-solo", r#"{"fee-bps": 100}"#);
    assert_shown("Solo", &settling::credits(&mut *policy, &block(&[("alice", 500)])));
}

#[test]
fn pplns() {
    let mut policy = scheme("payout-pplns", r#"{"fee-bps": 200}"#);
    let round = block(&[("alice", 1200), ("bob", 799), ("carol", 1)]);
    assert_shown("PPLNS", &settling::credits(&mut *policy, &round));
}

#[test]
fn tides() {
    let mut policy = scheme("payout-tides", r#"{"fee-bps": 200}"#);
    let round = block(&[("alice", 4800), ("bob", 3199), ("carol", 1)]);
    assert_shown("TIDES", &settling::credits(&mut *policy, &round));
}

#[test]
fn fpps_and_pps() {
    let tally = |fees, list: &[(&str, u64)]| Tally {
        height: 900_000,
        subsidy: Amount::from_sat(312_500_000),
        fees: Amount::from_sat(fees),
        network_difficulty: 1e14,
        // A unit is a difficulty of 10 million: a block takes 10 million units.
        work_unit: 1e7,
        contributions: histories::of(work(list)),
    };
    let tallies = [tally(2_000_000, &[("alice", 300), ("bob", 7)]), tally(3_500_000, &[("alice", 200)])];
    for (section, name) in [("FPPS", "fpps"), ("PPS", "pps")] {
        let mut policy = scheme("payout-fpps", &format!("{{\"scheme\": \"{name}\", \"fee-bps\": 200}}"));
        let accrued = accruing::accrued(&mut *policy, &tallies);
        let sats = accrued.iter().map(|(account, microsats)| (account.clone(), whole(0, *microsats).0));
        assert_shown(section, &sats.collect());
        for (account, microsats) in &accrued {
            let rest = grouped(whole(0, *microsats).1);
            let (_, text) = PAGE.split_once(&format!("\n## {section}\n")).unwrap();
            let row = text.lines().find(|line| line.starts_with(&format!("| {account} |"))).unwrap();
            assert!(row.contains(&format!("| {rest} |")), "{section}: {account} is carried {rest}");
        }
    }
}

/// What the page says of the chance to get nothing out of a window, and of the reserve.
#[test]
fn the_chances_are_what_the_formulas_give() {
    assert!(PAGE.contains(&format!("{:.2} %", 100.0 * (-8.0f64).exp())));
    for (fee, risk) in [(0.01f64, 0.001f64), (0.02, 0.001), (0.02, 0.0001), (0.04, 0.001)] {
        let blocks = (1.0 / risk).ln() / (2.0 * fee);
        let row = format!("| {} % | {} % | {:.0} |", fee * 100.0, risk * 100.0, blocks.ceil());
        assert!(PAGE.contains(&row), "{row}");
        // Lundberg's exponent y solves 1 - exp(-y) = (1 - f) y; the bound uses 2 f, which is less.
        let y = lundberg(fee);
        assert!(y >= 2.0 * fee && (-y * blocks).exp() <= risk, "{y}");
    }
}

/// By bisection between 2 f, where the left side is larger, and 1.
fn lundberg(fee: f64) -> f64 {
    let (mut low, mut high) = (2.0 * fee, 1.0);
    for _ in 0..100 {
        let middle = f64::midpoint(low, high);
        if 1.0 - (-middle).exp() > (1.0 - fee) * middle { low = middle } else { high = middle }
    }
    low
}
