//! The default limits let a large pool through, and refuse nothing that a ledger may ask.

use std::ops::Range;
use std::time::{Duration, Instant};

use sluice_core::bitcoin::Amount;
use sluice_core::policy::payout::{Contribution, Round, Tally};
use sluice_core::policy::split::ENTITLEMENT_LIMIT;
use sluice_core::units::Timestamp;

use crate::settling::credits;
use crate::wasm::shipped;

/// The deadline of a payout call.
const DEADLINE: Duration = Duration::from_secs(30);
/// The contract's limit of entitlements and accruals, and the ledger's of shares and templates in an accrual.
const LARGEST: u64 = 1_000_000;
const TEMPLATES: u64 = 64;

/// With names as long as addresses are.
fn contributions(accounts: Range<u64>) -> Vec<Contribution> {
    let one = |index| Contribution { account: format!("bc1q{index:038}"), work: 1000 + index, shares: 10 };
    accounts.map(one).collect()
}

fn round(accounts: u64) -> Round {
    Round {
        found: true,
        height: 900_000,
        at: Timestamp(1),
        subsidy: Amount::from_sat(312_500_000),
        fees: Amount::from_sat(1_000_000),
        network_difficulty: 1e14,
        finder: String::new(),
        work_unit: 1e6,
        contributions: contributions(0..accounts),
    }
}

#[test]
fn a_hundred_thousand_accounts_are_settled() {
    for name in ["payout-pplns", "payout-tides"] {
        let mut shipped = shipped(name, r#"{"fee-bps": 100}"#);
        let start = Instant::now();
        let credits = credits(&mut *shipped.policy, &round(100_000));
        assert_eq!(credits.len(), 100_001, "{name}");
        assert!(start.elapsed() < DEADLINE, "{name}: {:?}", start.elapsed());
    }
}

#[test]
fn as_many_accounts_as_the_contract_allows_are_settled() {
    let answer = shipped("payout-pplns", "{}").policy.settle(&round(LARGEST)).unwrap();
    assert_eq!(answer.len(), ENTITLEMENT_LIMIT);
}

/// As many shares as the ledger hands in at once, each an account's only one, on as many templates.
#[test]
fn the_largest_accrual_is_made() {
    let each = LARGEST / TEMPLATES;
    let tally = |index: u64| Tally {
        height: 900_000,
        subsidy: Amount::from_sat(312_500_000),
        fees: Amount::from_sat(index),
        network_difficulty: 1e14,
        work_unit: 1.0,
        contributions: contributions(index * each..(index + 1) * each),
    };
    let tallies: Vec<Tally> = (0..TEMPLATES).map(tally).collect();
    let answer = shipped("payout-fpps", "{}").policy.accrue(&tallies).unwrap();
    assert_eq!(answer.len(), ENTITLEMENT_LIMIT);
}
