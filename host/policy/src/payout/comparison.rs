//! When two answers about money are alike: to the satoshi, whatever the reasons given.

use std::collections::BTreeMap;

use sluice_core::policy::PolicyFailure;
use sluice_core::policy::payout::{Accrued, Entitlement, PayoutPolicy, Plan, Round, Tally};
use sluice_core::policy::split::split;

use super::{creditable, divisible};
use crate::shadow::{Unlike, verdict};

/// Accounts that an example names.
const NAMED: usize = 4;

/// Questions and what the pool got. The rounds were added up over the window of the plan that serves.
pub(crate) enum PayoutCase {
    Plan { live: Result<Plan, PolicyFailure> },
    Settle { round: Round, live: Result<Vec<Entitlement>, PolicyFailure> },
    Accrue { tallies: Vec<Tally>, live: Result<Vec<Accrued>, PolicyFailure> },
}

/// By account, in satoshis or in millionths of them; nothing is as good as no entry.
type Division<'a> = BTreeMap<&'a str, u64>;

pub(super) fn compare(
    policy: &mut dyn PayoutPolicy,
    case: &PayoutCase,
) -> Result<Option<Unlike>, PolicyFailure> {
    let (input, answers) = match case {
        PayoutCase::Plan { live } => {
            let differ = |one: &Plan, other: &Plan| (one != other).then(|| [tell(one), tell(other)]);
            ("how it wants to be asked".to_owned(), verdict(live, policy.plan(), differ, tell)?)
        }
        PayoutCase::Settle { round, live } => {
            let differ = |one: &Vec<Entitlement>, other: &Vec<Entitlement>| {
                unlike(&division(round, one), &division(round, other), "sat")
            };
            let answers = verdict(live, divisible(policy, round), differ, |all| accounts(all.len()))?;
            let what = if round.found { "block" } else { "next block" };
            let (height, reward) = (round.height, round.reward().to_sat());
            let count = round.contributions.len();
            (format!("{what} {height}: {reward} sat, {count} accounts"), answers)
        }
        PayoutCase::Accrue { tallies, live } => {
            let differ =
                |one: &Vec<Accrued>, other: &Vec<Accrued>| unlike(&credits(one), &credits(other), "microsat");
            let answers = verdict(live, creditable(policy, tallies), differ, |all| accounts(all.len()))?;
            (format!("work on {} templates", tallies.len()), answers)
        }
    };
    Ok(answers.map(|answers| Unlike { input, answers }))
}

fn tell(plan: &Plan) -> String {
    format!("{plan:?}")
}

fn accounts(count: usize) -> String {
    format!("an answer for {count} accounts")
}

/// Empty where it cannot be divided: both were checked before.
fn division<'a>(round: &Round, entitlements: &'a [Entitlement]) -> Division<'a> {
    let credits = split(round.reward(), entitlements, &|_| true).unwrap_or_default();
    let sats = credits.iter().map(|credit| credit.amount.to_sat());
    let names = entitlements.iter().map(|entitlement| entitlement.account.as_str());
    names.zip(sats).filter(|(_, sats)| *sats > 0).collect()
}

fn credits(accrued: &[Accrued]) -> Division<'_> {
    let all = accrued.iter().map(|one| (one.account.as_str(), one.microsats));
    all.filter(|(_, amount)| *amount > 0).collect()
}

/// The first accounts that get something else, and how many more.
fn unlike(live: &Division<'_>, shadow: &Division<'_>, unit: &str) -> Option<[String; 2]> {
    let amount = |of: &Division<'_>, account: &str| of.get(account).copied().unwrap_or(0);
    let mut names: Vec<&str> = live.keys().chain(shadow.keys()).copied().collect();
    names.sort_unstable();
    names.dedup();
    names.retain(|account| amount(live, account) != amount(shadow, account));
    let tell = |of: &Division<'_>| {
        let parts = names.iter().take(NAMED).map(|account| {
            let name = if account.is_empty() { "the house" } else { account };
            format!("{name} {} {unit}", amount(of, account))
        });
        let more = names.len().saturating_sub(NAMED);
        let more = if more > 0 { format!(" and {more} more accounts") } else { String::new() };
        format!("{}{more}", parts.collect::<Vec<_>>().join(", "))
    };
    (!names.is_empty()).then(|| [tell(live), tell(shadow)])
}
