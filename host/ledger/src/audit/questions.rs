//! How a recorded question differs from the one that the log gives.

use std::collections::BTreeMap;
use std::fmt;

use sluice_core::policy::payout::{Contribution, Round, Tally};

use super::findings::{Difference, Subject, first_unequal};

/// What an account did.
#[derive(PartialEq)]
struct Work {
    work: u64,
    shares: u64,
}

impl fmt::Display for Work {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "work {} in {} shares", self.work, self.shares)
    }
}

fn by_account(list: &[Contribution]) -> BTreeMap<String, Work> {
    list.iter().map(|one| (one.account.clone(), Work { work: one.work, shares: one.shares })).collect()
}

fn unlike(what: &str, expected: impl fmt::Display, found: impl fmt::Display) -> Option<Difference> {
    let (expected, found) = (expected.to_string(), found.to_string());
    (expected != found).then(|| Difference::new(Subject::Input, what, expected, found))
}

/// The first field of a round's question, its window aside, that differs.
pub(crate) fn header_unlike(expected: &Round, found: &Round) -> Option<Difference> {
    unlike("height", expected.height, found.height)
        .or_else(|| unlike("time", expected.at.0, found.at.0))
        .or_else(|| unlike("subsidy", expected.subsidy, found.subsidy))
        .or_else(|| unlike("fees", expected.fees, found.fees))
        .or_else(|| unlike("network difficulty", expected.network_difficulty, found.network_difficulty))
        .or_else(|| unlike("finder", format!("{:?}", expected.finder), format!("{:?}", found.finder)))
        .or_else(|| unlike("found", expected.found, found.found))
}

/// The first account whose work differs, or else the unit, or else the list itself.
pub(crate) fn work_unlike(
    what: &str,
    (unit, expected): (f64, &[Contribution]),
    (found_unit, found): (f64, &[Contribution]),
) -> Option<Difference> {
    if unit.to_bits() == found_unit.to_bits() && expected == found {
        return None;
    }
    let (by_expected, by_found) = (by_account(expected), by_account(found));
    if let Some((account, expected, found)) = first_unequal(&by_expected, &by_found) {
        return Some(Difference::new(Subject::Input, what, expected, found).of(account));
    }
    let list = || Difference::new(Subject::Input, "the list of accounts", "sorted, each once", "it is not");
    unlike("unit of work", unit, found_unit).or_else(|| Some(list()))
}

/// The first of an accrual's tallies that differs.
pub(crate) fn tallies_unlike(expected: &[Tally], found: &[Tally]) -> Option<Difference> {
    let parts = (1u64..).zip(expected.iter().zip(found));
    let first = parts.into_iter().find_map(|(number, (expected, found))| {
        let difference = tally_unlike(expected, found)?;
        Some(Difference { what: format!("tally {number}: {}", difference.what), ..difference })
    });
    first.or_else(|| unlike("tallies", expected.len(), found.len()))
}

fn tally_unlike(expected: &Tally, found: &Tally) -> Option<Difference> {
    let work = || {
        let expected = (expected.work_unit, expected.contributions.as_slice());
        work_unlike("its work", expected, (found.work_unit, &found.contributions))
    };
    unlike("height", expected.height, found.height)
        .or_else(|| unlike("subsidy", expected.subsidy, found.subsidy))
        .or_else(|| unlike("fees", expected.fees, found.fees))
        .or_else(|| unlike("network difficulty", expected.network_difficulty, found.network_difficulty))
        .or_else(work)
}
