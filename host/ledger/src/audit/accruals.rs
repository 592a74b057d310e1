//! Work that was credited without a block, each stretch credited again, fractions of a satoshi carried from one to the
//! next.

use std::collections::BTreeMap;

use sluice_core::policy::accrual;
use sluice_core::policy::payout::{Accrued, Tally};

use super::booked::Booked;
use super::findings::{Bearing, Difference, Subject, first_unequal};
use super::inquiry::{Answered, Inquiry, Part, Turns};
use super::questions::tallies_unlike;
use super::record::Records;
use super::scope::AccrualRef;
use super::{Judge, Progress};
use crate::accruals::tallies;
use crate::fold;
use crate::journal::Owner;
use crate::readonly::FileError;

/// An accrual as recorded.
type Recorded = super::record::Recorded<Vec<Tally>, Vec<Accrued>>;

impl AccrualRef {
    fn at(self) -> Bearing {
        Bearing::Accrual { first: self.first, through: self.through }
    }
}

/// Returns the number of shares between two accruals.
pub(crate) fn check(inquiry: &mut Inquiry<'_>, progress: &mut dyn FnMut(Progress)) -> Result<u64, FileError> {
    let scope = inquiry.scope;
    let of = u64::try_from(scope.accruals.len()).unwrap_or(u64::MAX);
    let mut carries = BTreeMap::new();
    for (done, accrual) in (0u64..).zip(&scope.accruals) {
        progress(Progress::Accruals { done, of });
        check_accrual(inquiry, *accrual, &mut carries)?;
    }
    progress(Progress::Accruals { done: of, of });
    check_carries(inquiry, carries);
    Ok(check_order(inquiry))
}

fn check_accrual(
    inquiry: &mut Inquiry<'_>,
    accrual: AccrualRef,
    carries: &mut BTreeMap<String, u64>,
) -> Result<(), FileError> {
    let transaction = inquiry.connection.unchecked_transaction()?;
    let recorded: Recorded = match Records::Accruals.read(inquiry.connection, accrual.id)? {
        Ok(recorded) => recorded,
        Err(why) => {
            let difference = Difference::new(Subject::Input, "its record", "JSON as it was written", why);
            inquiry.tell(accrual.at(), difference);
            return Ok(());
        }
    };
    check_input(inquiry, accrual, &recorded.input)?;
    let Recorded { policy, input, answer } = &recorded;
    let ask = |judge: &mut dyn Judge| judge.accrue(policy, input);
    inquiry.check_answer((accrual.at(), Answered::Accrual), policy, answer, ask);
    let turns = Turns {
        owner: Owner::Accrual(accrual.id),
        at: accrual.at(),
        booked: Booked::accrual(credits(inquiry, accrual, &recorded, carries)),
        counts: true,
        state: "its credits",
        subject: Subject::Credits,
        what: "its credit, in sat",
    };
    inquiry.check_turns(&turns)?;
    transaction.commit()?;
    Ok(())
}

/// The question, from the log and its templates alone.
fn check_input(inquiry: &mut Inquiry<'_>, accrual: AccrualRef, found: &[Tally]) -> rusqlite::Result<()> {
    let scope = inquiry.scope;
    if accrual.first <= fold::through(inquiry.connection)? {
        inquiry.fold();
        return Ok(());
    }
    let (first, through) = (accrual.first, accrual.through);
    if through > scope.last || first > through {
        let expected = format!("shares up to {}", scope.last);
        let difference = Difference::new(Subject::Accruals, "its shares", expected, through);
        inquiry.tell(accrual.at(), difference);
        return Ok(());
    }
    match tallies(inquiry.connection, &scope.accounts, &scope.names, first, through) {
        Err(rusqlite::Error::IntegralValueOutOfRange(_, worker)) => {
            let difference = Difference::new(Subject::Input, "a worker", "one that there is", worker);
            inquiry.tell(accrual.at(), difference);
        }
        expected => {
            if let Some(difference) = tallies_unlike(&expected?, found) {
                inquiry.tell(accrual.at(), difference);
            }
        }
    }
    Ok(())
}

/// Whole satoshis of the recorded answer on top of what was carried.
fn credits(
    inquiry: &mut Inquiry<'_>,
    accrual: AccrualRef,
    recorded: &Recorded,
    carries: &mut BTreeMap<String, u64>,
) -> BTreeMap<String, i128> {
    let known = |account: &str| inquiry.scope.names.account(account).is_some();
    if let Err(why) = accrual::check(&recorded.input, &recorded.answer, &known) {
        let difference = Difference::new(Subject::Answer, "its credits", "no more than the work brings", why);
        inquiry.tell(accrual.at(), difference);
        return BTreeMap::new();
    }
    let mut credits = BTreeMap::new();
    for Accrued { account, microsats, .. } in &recorded.answer {
        let carried = carries.entry(account.clone()).or_default();
        let (sats, rest) = accrual::whole(*carried, *microsats);
        *carried = rest;
        if sats > 0 {
            credits.insert(account.clone(), i128::from(sats));
        }
    }
    credits
}

fn check_carries(inquiry: &mut Inquiry<'_>, mut expected: BTreeMap<String, u64>) {
    expected.retain(|_, microsats| *microsats != 0);
    if let Some((account, expected, found)) = first_unequal(&expected, &inquiry.scope.carries) {
        let what = "carried, in millionths of a satoshi";
        inquiry.note(Difference::new(Subject::Carries, what, expected, found).of(account));
    }
}

/// Each share counts once. A gap is the time of a plan that did not accrue, as far as anybody can tell.
fn check_order(inquiry: &mut Inquiry<'_>) -> u64 {
    let mut between = 0;
    for pair in inquiry.scope.accruals.windows(2) {
        let [before, accrual] = pair else { continue };
        if accrual.first <= before.through {
            let expected = format!("behind {}, where the one before ended", before.through);
            let difference = Difference::new(Subject::Accruals, "its first share", expected, accrual.first);
            inquiry.tell(accrual.at(), difference);
        } else {
            between += accrual.first - before.through - 1;
        }
    }
    between
}

impl Part for Accrued {
    fn account(&self) -> &str {
        &self.account
    }

    fn told(&self) -> String {
        let Self { account, microsats, reason } = self;
        format!("{microsats} millionths of a satoshi for {account:?} ({reason})")
    }
}
