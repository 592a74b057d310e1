//! Random rounds and tallies, in the bounds of the contract.

use std::collections::BTreeMap;

use proptest::prelude::*;
use sluice_core::bitcoin::Amount;
use sluice_core::policy::payout::{Contribution, Round, Tally};
use sluice_core::units::Timestamp;

/// The house, and a few accounts that sort around each other.
fn account() -> impl Strategy<Value = String> {
    prop_oneof![1 => Just(String::new()), 8 => "[a-d]{1,2}"]
}

/// Idle accounts, equal ones, and any size up to where the sum must stay below 2^53.
fn work() -> impl Strategy<Value = u64> {
    prop_oneof![1 => Just(0u64), 2 => 1u64..4, 2 => 0u64..100_000, 1 => 0u64..1 << 49]
}

fn contributions() -> impl Strategy<Value = Vec<Contribution>> {
    prop::collection::btree_map(account(), work(), 0..12).prop_map(of)
}

pub(crate) fn of(work: BTreeMap<String, u64>) -> Vec<Contribution> {
    work.into_iter().map(|(account, work)| Contribution { account, work, shares: work.min(1) }).collect()
}

/// Small rewards show rounding, large ones overflow.
fn reward() -> impl Strategy<Value = (u64, u64)> {
    prop_oneof![
        (0u64..200, 0u64..200),
        (Just(312_500_000), 0u64..500_000_000),
        (0u64..1_000_000_000_000_000, 0u64..1_000_000_000_000_000),
    ]
}

pub(crate) fn round() -> impl Strategy<Value = Round> {
    (contributions(), reward(), account(), any::<bool>()).prop_map(
        |(contributions, (subsidy, fees), finder, found)| Round {
            found,
            height: 900_000,
            at: Timestamp(1_700_000_000_000),
            subsidy: Amount::from_sat(subsidy),
            fees: Amount::from_sat(fees),
            network_difficulty: 1e14,
            finder,
            work_unit: 1.0,
            contributions,
        },
    )
}

/// A chain's reward, and less work than would be worth more than a u64 of millionths of a satoshi.
fn tally() -> impl Strategy<Value = Tally> {
    let work = prop_oneof![1 => Just(0u64), 2 => 1u64..4, 4 => 0u64..1_000_000];
    let contributions = prop::collection::btree_map(account(), work, 0..8).prop_map(of);
    let fees = prop_oneof![Just(0u64), 0u64..100_000_000];
    (contributions, fees, 1.0f64..1e9, prop_oneof![Just(0.25f64), Just(1.0), Just(16.0)]).prop_map(
        |(contributions, fees, difficulty, work_unit)| Tally {
            height: 900_000,
            subsidy: Amount::from_sat(312_500_000),
            fees: Amount::from_sat(fees),
            // A day of a large pool at once is a few blocks.
            network_difficulty: difficulty + 1_000_000.0 * work_unit,
            work_unit,
            contributions,
        },
    )
}

pub(crate) fn tallies() -> impl Strategy<Value = Vec<Tally>> {
    prop::collection::vec(tally(), 0..6)
}

/// The fee in basis points: none, all and between.
pub(crate) fn fee() -> impl Strategy<Value = u64> {
    prop_oneof![1 => Just(0u64), 1 => Just(10_000), 4 => 0u64..=10_000]
}
