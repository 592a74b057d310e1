use proptest::prelude::*;

use super::*;

fn entitlement(account: &str, portion: Portion) -> Entitlement {
    Entitlement { account: account.into(), portion, reason: String::new() }
}

fn amounts(reward: u64, entitlements: &[Entitlement]) -> Result<Vec<u64>, SplitError> {
    let credits = split(Amount::from_sat(reward), entitlements, &|_| true)?;
    Ok(credits.into_iter().map(|c| c.amount.to_sat()).collect())
}

#[test]
fn largest_remainder_then_name() {
    let three = ["c", "a", "b"].map(|name| entitlement(name, Portion::Weight(1)));
    assert_eq!(amounts(10, &three), Ok(vec![3, 4, 3]));
    assert_eq!(amounts(11, &three), Ok(vec![3, 4, 4]));
    let uneven = [entitlement("a", Portion::Weight(1)), entitlement("b", Portion::Weight(5))];
    assert_eq!(amounts(10, &uneven), Ok(vec![2, 8]));
}

#[test]
fn refuses_what_cannot_be_divided() {
    let over = [entitlement("a", Portion::Fixed(11))];
    assert_eq!(amounts(10, &over), Err(SplitError::MoreThanReward { fixed: 11, reward: 10 }));
    let under = [entitlement("a", Portion::Fixed(9))];
    assert_eq!(amounts(10, &under), Err(SplitError::NobodyForTheRest { left: 1 }));
    let twice = [entitlement("a", Portion::Weight(1)), entitlement("a", Portion::Fixed(1))];
    assert_eq!(amounts(10, &twice), Err(SplitError::Twice("a".into())));
    let unknown = split(Amount::from_sat(1), &[entitlement("x", Portion::Weight(1))], &|_| false);
    assert_eq!(unknown, Err(SplitError::UnknownAccount("x".into())));
}

proptest! {
    #[test]
    fn conserves_every_satoshi(
        reward in 0u64..2_100_000_000_000_000,
        weights in prop::collection::vec(0u64..u64::MAX, 1..200),
        fee in 0u64..1_000_000,
    ) {
        prop_assume!(fee <= reward && weights.iter().any(|w| *w > 0));
        let mut all: Vec<_> = weights
            .iter()
            .enumerate()
            .map(|(i, w)| entitlement(&format!("a{i:04}"), Portion::Weight(*w)))
            .collect();
        all.push(entitlement("", Portion::Fixed(fee)));
        let amounts = amounts(reward, &all).unwrap();
        prop_assert_eq!(amounts.iter().sum::<u64>(), reward);
        // Nobody is more than one satoshi off the exact share.
        let total: u128 = weights.iter().map(|w| u128::from(*w)).sum();
        for (amount, weight) in amounts.iter().zip(&weights) {
            let exact = u128::from(reward - fee) * u128::from(*weight) / total;
            prop_assert!(u128::from(*amount) == exact || u128::from(*amount) == exact + 1);
        }
    }
}
