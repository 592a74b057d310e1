//! Credits without a block: what work is expected to bring, and the check that a policy gives no more.

use std::collections::BTreeSet;

use super::payout::{Accrued, Tally};
use super::split::ENTITLEMENT_LIMIT;

/// Millionths of a satoshi in a satoshi.
pub const MICROSATS: u64 = 1_000_000;

/// An accrual that is not booked.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AccrualError {
    #[error(
        "credits come to {given} millionths of a satoshi, the work is expected to bring {expected}; no more is allowed"
    )]
    MoreThanExpected { given: u128, expected: u128 },
    #[error("account {0:?} is named twice")]
    Twice(String),
    #[error("account {0:?} is not known to the pool")]
    UnknownAccount(String),
    #[error("the house is credited; it pays, and keeps what is not credited")]
    House,
    #[error("{count} credits; at most {limit} are allowed")]
    TooMany { count: usize, limit: usize },
}

/// What the work of `tallies` is expected to bring, in millionths of a satoshi: of each tally its reward times its work
/// over the network's difficulty, rounded up.
pub fn expected(tallies: &[Tally]) -> u128 {
    tallies.iter().map(expected_of).sum()
}

fn expected_of(tally: &Tally) -> u128 {
    let reward = u128::from(tally.subsidy.to_sat()) + u128::from(tally.fees.to_sat());
    let work: u128 = tally.contributions.iter().map(|one| u128::from(one.work)).sum();
    // Both are finite and above 0; a cast from float saturates and takes NaN to 0.
    let whole = ((tally.network_difficulty / tally.work_unit).round() as u128).max(1);
    // Below 2^52, 2^20 and 2^53.
    (reward * u128::from(MICROSATS)).saturating_mul(work).div_ceil(whole)
}

/// Checks an answer against what it was asked. A satoshi for each tally is left for rounding.
///
/// # Errors
/// [`AccrualError`]; nothing of it is booked then.
pub fn check(
    tallies: &[Tally],
    accrued: &[Accrued],
    known: &dyn Fn(&str) -> bool,
) -> Result<(), AccrualError> {
    if accrued.len() > ENTITLEMENT_LIMIT {
        return Err(AccrualError::TooMany { count: accrued.len(), limit: ENTITLEMENT_LIMIT });
    }
    let mut seen = BTreeSet::new();
    for Accrued { account, .. } in accrued {
        if account.is_empty() {
            return Err(AccrualError::House);
        }
        if !known(account) {
            return Err(AccrualError::UnknownAccount(account.clone()));
        }
        if !seen.insert(account.as_str()) {
            return Err(AccrualError::Twice(account.clone()));
        }
    }
    let given: u128 = accrued.iter().map(|one| u128::from(one.microsats)).sum();
    let expected = expected(tallies);
    let rounding = u128::from(MICROSATS) * tallies.len() as u128;
    if given > expected + rounding {
        return Err(AccrualError::MoreThanExpected { given, expected });
    }
    Ok(())
}

/// Whole satoshis of `microsats` on top of what was carried, and what is carried on.
pub fn whole(carried: u64, microsats: u64) -> (u64, u64) {
    let sum = carried.saturating_add(microsats);
    (sum / MICROSATS, sum % MICROSATS)
}

#[cfg(test)]
mod tests {
    use bitcoin::Amount;
    use proptest::prelude::*;

    use super::*;
    use crate::policy::payout::Contribution;

    fn tally(work: &[(&str, u64)]) -> Tally {
        let contributions = work
            .iter()
            .map(|(account, work)| Contribution { account: (*account).to_owned(), work: *work, shares: 1 })
            .collect();
        Tally {
            height: 900_000,
            subsidy: Amount::from_sat(312_500_000),
            fees: Amount::from_sat(1_500_000),
            network_difficulty: 1000.0,
            work_unit: 0.5,
            contributions,
        }
    }

    fn accrued(account: &str, microsats: u64) -> Accrued {
        Accrued { account: account.to_owned(), microsats, reason: "work".to_owned() }
    }

    #[test]
    fn work_of_the_whole_difficulty_is_expected_to_bring_the_whole_reward() {
        let whole = tally(&[("a", 1500), ("b", 500)]);
        assert_eq!(expected(&[whole]), 314_000_000 * 1_000_000);
        assert_eq!(expected(&[]), 0);
    }

    #[test]
    fn more_than_the_work_is_expected_to_bring_is_refused() {
        let asked = [tally(&[("a", 2)])];
        let fair = 314_000_000_000_u64;
        let known = |name: &str| name == "a";
        assert_eq!(check(&asked, &[accrued("a", fair)], &known), Ok(()));
        let refused = check(&asked, &[accrued("a", fair + 1_000_001)], &known);
        assert_eq!(
            refused,
            Err(AccrualError::MoreThanExpected {
                given: u128::from(fair) + 1_000_001,
                expected: fair.into()
            })
        );
    }

    #[test]
    fn the_house_strangers_and_a_name_given_twice_are_refused() {
        let asked = [tally(&[("a", 2)])];
        let known = |name: &str| name == "a";
        assert_eq!(check(&asked, &[accrued("", 1)], &known), Err(AccrualError::House));
        let stranger = check(&asked, &[accrued("x", 1)], &known);
        assert_eq!(stranger, Err(AccrualError::UnknownAccount("x".to_owned())));
        let twice = check(&asked, &[accrued("a", 1), accrued("a", 1)], &known);
        assert_eq!(twice, Err(AccrualError::Twice("a".to_owned())));
    }

    proptest! {
        #[test]
        fn nothing_is_lost_however_small_the_pieces(pieces in prop::collection::vec(0u64..5_000_000, 0..200)) {
            let (mut carried, mut sats) = (0, 0);
            for piece in &pieces {
                let (credited, rest) = whole(carried, *piece);
                sats += credited;
                carried = rest;
            }
            prop_assert!(carried < MICROSATS);
            prop_assert_eq!(sats * MICROSATS + carried, pieces.iter().sum::<u64>());
        }
    }
}
