//! What FPPS and PPS promise of work.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;
use proptest::test_runner::TestCaseResult;
use sluice_core::bitcoin::Amount;
use sluice_core::policy::accrual;
use sluice_core::policy::payout::{PayoutPolicy, Tally};

use crate::settling::HOUSE;
use crate::{histories, native};

/// Asks, judges as the host does, and names each account once. In millionths of a satoshi.
pub(crate) fn accrued(policy: &mut dyn PayoutPolicy, tallies: &[Tally]) -> BTreeMap<String, u64> {
    let answer = policy.accrue(tallies).expect("a scheme that accrues takes any tallies");
    let worked: BTreeSet<&str> = tallies
        .iter()
        .flat_map(|tally| &tally.contributions)
        .filter(|one| one.work > 0)
        .map(|one| one.account.as_str())
        .collect();
    accrual::check(tallies, &answer, &|name| worked.contains(name))
        .expect("nobody without work, not too much");
    answer.into_iter().map(|one| (one.account, one.microsats)).collect()
}

fn sum(credits: &BTreeMap<String, u64>) -> u128 {
    credits.values().map(|one| u128::from(*one)).sum()
}

/// As docs/payout-schemes.md states it: of each template and account, rounded down once.
fn stated(tallies: &[Tally], bps: u64, with_fees: bool) -> BTreeMap<String, u64> {
    let mut sums = BTreeMap::new();
    for tally in tallies {
        let fees = if with_fees { tally.fees } else { Amount::ZERO };
        let reward = u128::from((tally.subsidy + fees).to_sat());
        let difficulty = (tally.network_difficulty / tally.work_unit).round() as u128;
        for one in tally.contributions.iter().filter(|one| one.account != HOUSE) {
            let gross = reward * 1_000_000 * u128::from(one.work);
            let net = gross * u128::from(10_000 - bps) / (difficulty * 10_000);
            *sums.entry(one.account.clone()).or_insert(0) += u64::try_from(net).unwrap();
        }
    }
    sums.retain(|_, microsats| *microsats > 0);
    sums
}

/// Of one policy with this fee.
pub(crate) fn promises(
    policy: &mut dyn PayoutPolicy,
    tallies: &[Tally],
    bps: u64,
    with_fees: bool,
) -> TestCaseResult {
    let credits = accrued(policy, tallies);
    prop_assert_eq!(&credits, &stated(tallies, bps, with_fees));
    prop_assert!(sum(&credits) <= accrual::expected(tallies), "without the satoshi left for rounding");
    let mut turned = tallies.to_vec();
    turned.reverse();
    turned.iter_mut().for_each(|tally| tally.contributions.reverse());
    prop_assert_eq!(&accrued(policy, &turned), &credits, "turned around");
    Ok(())
}

/// However the tallies fall into answers, the credits are the same.
fn parts_are_the_whole(policy: &mut dyn PayoutPolicy, tallies: &[Tally], at: usize) -> TestCaseResult {
    let (first, second) = tallies.split_at(at.min(tallies.len()));
    let mut parts = accrued(policy, first);
    for (account, microsats) in accrued(policy, second) {
        *parts.entry(account).or_insert(0) += microsats;
    }
    prop_assert_eq!(parts, accrued(policy, tallies));
    Ok(())
}

/// A template's work in two answers: the fraction is cut twice, so up to a millionth less for each template.
fn halves_are_the_whole(policy: &mut dyn PayoutPolicy, tallies: &[Tally]) -> TestCaseResult {
    let half = |keep: fn(u64) -> u64| {
        let mut half = tallies.to_vec();
        let all = half.iter_mut().flat_map(|tally| &mut tally.contributions);
        all.for_each(|one| one.work = keep(one.work));
        half
    };
    let (first, second) = (accrued(policy, &half(|w| w / 3)), accrued(policy, &half(|w| w - w / 3)));
    for (account, whole) in accrued(policy, tallies) {
        let parts = [&first, &second].into_iter().filter_map(|part| part.get(&account)).sum::<u64>();
        prop_assert!(parts <= whole && whole <= parts + tallies.len() as u64, "{account}: {parts}, {whole}");
    }
    Ok(())
}

fn more_never_earns_less(policy: &mut dyn PayoutPolicy, tallies: &[Tally]) -> TestCaseResult {
    let before = accrued(policy, tallies);
    for (index, tally) in tallies.iter().enumerate() {
        for (at, one) in tally.contributions.iter().enumerate() {
            let mut harder = tallies.to_vec();
            harder[index].contributions[at].work += 1;
            let now = accrued(policy, &harder);
            for (account, microsats) in &before {
                let more = now.get(account).copied().unwrap_or(0);
                let fine = if *account == one.account { more >= *microsats } else { more == *microsats };
                prop_assert!(fine, "{account} got {microsats}, then {more}");
            }
        }
    }
    Ok(())
}

fn settings(scheme: &str, bps: u64) -> String {
    format!("{{\"scheme\": \"{scheme}\", \"fee-bps\": {bps}}}")
}

proptest! {
    #[test]
    fn fpps_pays_what_is_stated(tallies in histories::tallies(), bps in histories::fee(), at in 0usize..6) {
        let mut policy = native::scheme("payout-fpps", &settings("fpps", bps));
        promises(&mut *policy, &tallies, bps, true)?;
        parts_are_the_whole(&mut *policy, &tallies, at)?;
        halves_are_the_whole(&mut *policy, &tallies)?;
        more_never_earns_less(&mut *policy, &tallies)?;
    }

    #[test]
    fn pps_pays_what_is_stated(tallies in histories::tallies(), bps in histories::fee(), at in 0usize..6) {
        let mut policy = native::scheme("payout-fpps", &settings("pps", bps));
        promises(&mut *policy, &tallies, bps, false)?;
        parts_are_the_whole(&mut *policy, &tallies, at)?;
        halves_are_the_whole(&mut *policy, &tallies)?;
        more_never_earns_less(&mut *policy, &tallies)?;
    }

    #[test]
    fn pps_looks_at_no_fees_and_fpps_pays_no_less(tallies in histories::tallies(), bps in histories::fee()) {
        let mut without = tallies.clone();
        without.iter_mut().for_each(|tally| tally.fees = Amount::ZERO);
        let mut pps = native::scheme("payout-fpps", &settings("pps", bps));
        let mut fpps = native::scheme("payout-fpps", &settings("fpps", bps));
        let subsidy_alone = accrued(&mut *pps, &tallies);
        prop_assert_eq!(&accrued(&mut *pps, &without), &subsidy_alone);
        prop_assert_eq!(&accrued(&mut *fpps, &without), &subsidy_alone);
        let full = accrued(&mut *fpps, &tallies);
        for (account, microsats) in &subsidy_alone {
            prop_assert!(full.get(account).copied().unwrap_or(0) >= *microsats, "{}", account);
        }
    }

    /// The operator's part of a fee is never less than stated: what is cut stays with the house.
    #[test]
    fn a_higher_fee_pays_nobody_more(tallies in histories::tallies(), bps in 0u64..10_000) {
        let mut low = native::scheme("payout-fpps", &settings("fpps", bps));
        let mut high = native::scheme("payout-fpps", &settings("fpps", bps + 1));
        let (low, high) = (accrued(&mut *low, &tallies), accrued(&mut *high, &tallies));
        for (account, microsats) in &high {
            prop_assert!(low.get(account).copied().unwrap_or(0) >= *microsats, "{}", account);
        }
    }
}
