//! What every scheme promises of a block.

use std::collections::BTreeMap;

use proptest::prelude::*;
use proptest::test_runner::TestCaseResult;
use sluice_core::policy::payout::{Contribution, PayoutPolicy, Round};
use sluice_core::policy::split::split;

use crate::{histories, native};

pub(crate) const HOUSE: &str = "";

/// Asks, divides as the host does, and adds up.
pub(crate) fn credits(policy: &mut dyn PayoutPolicy, round: &Round) -> BTreeMap<String, u64> {
    let answer = policy.settle(round).expect("a scheme settles any round");
    let credits = split(round.reward(), &answer, &|_| true).expect("the answer can be divided");
    credits.into_iter().map(|credit| (credit.account, credit.amount.to_sat())).collect()
}

fn work_of(round: &Round, account: &str) -> u64 {
    round.contributions.iter().filter(|one| one.account == account).map(|one| one.work).sum()
}

/// The fee as docs/payout-schemes.md states it.
fn fee_of(round: &Round, bps: u64) -> u64 {
    u64::try_from(u128::from(round.reward().to_sat()) * u128::from(bps) / 10_000).unwrap()
}

fn paid(credits: &BTreeMap<String, u64>, account: &str) -> u64 {
    credits.get(account).copied().unwrap_or(0)
}

/// Nothing is lost or made, a preview is what a block pays, and the order of the contributions does not matter.
pub(crate) fn any_scheme(policy: &mut dyn PayoutPolicy, round: &Round) -> TestCaseResult {
    let credits = credits_of_all(policy, round)?;
    let preview = Round { found: !round.found, ..round.clone() };
    prop_assert_eq!(&self::credits(policy, &preview), &credits, "a preview");
    let mut turned = round.clone();
    turned.contributions.reverse();
    prop_assert_eq!(&self::credits(policy, &turned), &credits, "turned around");
    Ok(())
}

fn credits_of_all(
    policy: &mut dyn PayoutPolicy,
    round: &Round,
) -> Result<BTreeMap<String, u64>, TestCaseError> {
    let credits = credits(policy, round);
    prop_assert_eq!(credits.values().sum::<u64>(), round.reward().to_sat());
    Ok(credits)
}

/// PPLNS and TIDES.
pub(crate) fn by_work(policy: &mut dyn PayoutPolicy, round: &Round, bps: u64) -> TestCaseResult {
    let credits = credits_of_all(policy, round)?;
    let miners = || round.contributions.iter().filter(|one| one.account != HOUSE);
    if miners().all(|one| one.work == 0) {
        prop_assert_eq!(paid(&credits, HOUSE), round.reward().to_sat(), "nobody worked");
        return Ok(());
    }
    let fee = fee_of(round, bps);
    match work_of(round, HOUSE) {
        0 => prop_assert_eq!(paid(&credits, HOUSE), fee),
        _ => prop_assert!(paid(&credits, HOUSE) >= fee),
    }
    let unearned = credits
        .iter()
        .find(|(account, sats)| **sats > 0 && account.as_str() != HOUSE && work_of(round, account) == 0);
    prop_assert_eq!(unearned, None, "nobody without work is paid");
    for (less, more) in miners().flat_map(|less| miners().map(move |more| (less, more))) {
        if less.work < more.work {
            prop_assert!(paid(&credits, &less.account) <= paid(&credits, &more.account));
        }
    }
    more_never_earns_less(policy, round, &credits)
}

/// An account that works more, the others as before. Where the house works too, its part is rounded down before the
/// rest is divided, which may move a satoshi.
fn more_never_earns_less(
    policy: &mut dyn PayoutPolicy,
    round: &Round,
    credits: &BTreeMap<String, u64>,
) -> TestCaseResult {
    let slack = u64::from(work_of(round, HOUSE) > 0);
    for (index, Contribution { account, .. }) in round.contributions.iter().enumerate() {
        for extra in [1, 1000] {
            let mut harder = round.clone();
            harder.contributions[index].work += extra;
            let now = paid(&self::credits(policy, &harder), account);
            if account != HOUSE {
                prop_assert!(now + slack >= paid(credits, account), "{account} with {extra} more");
            }
        }
    }
    Ok(())
}

pub(crate) fn solo(policy: &mut dyn PayoutPolicy, round: &Round, bps: u64) -> TestCaseResult {
    let credits = credits_of_all(policy, round)?;
    if round.finder == HOUSE {
        prop_assert_eq!(paid(&credits, HOUSE), round.reward().to_sat());
        return Ok(());
    }
    prop_assert_eq!(paid(&credits, HOUSE), fee_of(round, bps));
    prop_assert_eq!(paid(&credits, &round.finder), round.reward().to_sat() - fee_of(round, bps));
    Ok(())
}

pub(crate) fn fpps(policy: &mut dyn PayoutPolicy, round: &Round) -> TestCaseResult {
    prop_assert_eq!(paid(&credits_of_all(policy, round)?, HOUSE), round.reward().to_sat());
    Ok(())
}

proptest! {
    #[test]
    fn solo_pays_the_finder_less_the_fee(round in histories::round(), bps in histories::fee()) {
        let mut policy = native::scheme("payout-solo", &format!("{{\"fee-bps\": {bps}}}"));
        any_scheme(&mut *policy, &round)?;
        solo(&mut *policy, &round, bps)?;
    }

    #[test]
    fn pplns_pays_by_work_less_the_fee(round in histories::round(), bps in histories::fee()) {
        let mut policy = native::scheme("payout-pplns", &format!("{{\"fee-bps\": {bps}}}"));
        any_scheme(&mut *policy, &round)?;
        by_work(&mut *policy, &round, bps)?;
    }

    #[test]
    fn tides_pays_by_work_less_the_fee(
        round in histories::round(),
        bps in histories::fee(),
        carry in any::<bool>(),
    ) {
        let settings = format!("{{\"fee-bps\": {bps}, \"carry\": {carry}}}");
        let mut policy = native::scheme("payout-tides", &settings);
        any_scheme(&mut *policy, &round)?;
        by_work(&mut *policy, &round, bps)?;
    }

    #[test]
    fn fpps_leaves_the_block_to_the_house(round in histories::round(), bps in histories::fee()) {
        let mut policy = native::scheme("payout-fpps", &format!("{{\"fee-bps\": {bps}}}"));
        any_scheme(&mut *policy, &round)?;
        fpps(&mut *policy, &round)?;
    }
}
