use proptest::prelude::*;

use super::*;

fn fee(bps: u64) -> BasisPoints {
    BasisPoints::new(bps).unwrap()
}

fn tally(network_difficulty: f64, work_unit: f64) -> Tally {
    Tally { height: 1, subsidy: 0, fees: 0, network_difficulty, work_unit, contributions: Vec::new() }
}

#[test]
fn work_of_the_network_difficulty_is_worth_the_reward() {
    let worth = Worth::of(312_500_000, &tally(1000.0, 0.5));
    assert_eq!(worth.microsats(2000, fee(0)), 312_500_000_000_000);
    assert_eq!(worth.microsats(2000, fee(200)), 306_250_000_000_000);
    assert_eq!(worth.microsats(1, fee(0)), 156_250_000_000);
    assert_eq!(worth.microsats(2000, fee(10_000)), 0);
}

#[test]
fn a_fraction_is_cut_once() {
    // 5 sat / 3 less 1 %: 1,650,000 exactly, where cutting before the fee would leave 1,649,999.
    assert_eq!(Worth::of(5, &tally(3.0, 1.0)).microsats(1, fee(100)), 1_650_000);
}

#[test]
fn a_block_takes_some_work_whatever_the_floats() {
    for (difficulty, unit) in [(f64::NAN, 1.0), (0.0, 1.0), (1e-9, 1.0), (1.0, f64::INFINITY), (-1.0, 1.0)] {
        assert_eq!(Worth::of(5, &tally(difficulty, unit)).microsats(1, fee(0)), 5_000_000);
    }
    assert_eq!(Worth::of(5, &tally(1.0, 0.0)).microsats(1, fee(0)), 0);
}

proptest! {
    /// The two steps are the one division, where that fits.
    #[test]
    fn it_is_the_fraction_rounded_down(
        reward in 0u64..10_000_000_000,
        work in 0u64..1 << 40,
        difficulty in 1u64..1 << 40,
        bps in 0u64..=10_000,
    ) {
        let given = Worth::of(reward, &tally(difficulty as f64, 1.0)).microsats(work, fee(bps));
        let numerator = u128::from(reward) * 1_000_000 * u128::from(work) * u128::from(10_000 - bps);
        prop_assert_eq!(given, numerator / (u128::from(difficulty) * 10_000));
    }

    #[test]
    fn the_largest_arguments_do_not_overflow(
        reward in 2_000_000_000_000_000u64..=2_100_000_000_000_000,
        work in (1u64 << 52)..1 << 53,
        difficulty in 1e-10f64..1e30,
        bps in 0u64..=10_000,
    ) {
        let worth = Worth::of(reward, &tally(difficulty, 1.0));
        prop_assert!(worth.microsats(work, fee(bps)) <= worth.microsats(work, fee(0)));
    }
}
