use proptest::prelude::*;

use super::*;
use crate::payout::Portion;

fn work(list: &[(&str, u64)]) -> Vec<Contribution> {
    let one = |(account, work): &(&str, u64)| Contribution {
        account: (*account).to_owned(),
        work: *work,
        shares: 1,
    };
    list.iter().map(one).collect()
}

fn fee(bps: u64) -> BasisPoints {
    BasisPoints::new(bps).unwrap()
}

#[test]
fn work_is_weight_and_the_fee_is_fixed() {
    let answer = by_work(&work(&[("alice", 30), ("bob", 10)]), 312_500_099, fee(100));
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
    let answer = by_work(&work(&[("alice", 1)]), 100, fee(0));
    assert_eq!(answer, [Entitlement::weight("alice", 1, "work in the window")]);
}

#[test]
fn without_work_the_house_gets_all() {
    let wanted = [Entitlement::weight("", 1, "block without work in the window")];
    for list in [&[][..], &[("alice", 0)], &[("", 5)], &[("", 5), ("alice", 0)]] {
        assert_eq!(by_work(&work(list), 1000, fee(100)), wanted, "{list:?}");
    }
}

#[test]
fn the_houses_own_work_joins_its_fee() {
    let answer = by_work(&work(&[("", 1), ("alice", 2)]), 1000, fee(1000));
    assert_eq!(
        answer,
        [
            Entitlement::weight("alice", 2, "work in the window"),
            Entitlement::fixed("", 100 + 300, "fee 10% and the pool's own work"),
        ]
    );
}

proptest! {
    /// The host refuses an account that is named twice, and fixed portions beyond the reward.
    #[test]
    fn every_answer_can_be_divided(
        list in prop::collection::btree_map("[a-c]{0,2}", 0u64..1 << 53, 0..8),
        reward in 0u64..2_100_000_000_000_000,
        bps in 0u64..=10_000,
    ) {
        let list: Vec<(&str, u64)> = list.iter().map(|(account, work)| (account.as_str(), *work)).collect();
        let answer = by_work(&work(&list), reward, fee(bps));
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
