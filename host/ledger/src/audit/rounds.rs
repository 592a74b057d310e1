//! Settled rounds, each settled again.

use std::collections::BTreeMap;

use rusqlite::Connection;
use sluice_core::policy::payout::{Entitlement, Plan, Portion, Round, Window};
use sluice_core::policy::split::split;

use super::Progress;
use super::booked::Booked;
use super::findings::{Difference, Subject};
use super::inquiry::{Answered, Inquiry, Part, Turns};
use super::questions::{header_unlike, work_unlike};
use super::record::Records;
use super::scope::RoundRef;
use crate::blocks::{self, StoredBlock};
use crate::fold;
use crate::insert::unsigned;
use crate::journal::Owner;
use crate::readonly::FileError;
use crate::window::Ask;
use crate::window::replay::Replay;

/// A round as recorded.
type Recorded = super::record::Recorded<Round, Vec<Entitlement>>;

/// What is left of the log; a pool that runs may fold more of it meanwhile.
struct LogLeft<'a> {
    replay: Replay<'a>,
    folded: u64,
}

impl<'a> LogLeft<'a> {
    fn new(inquiry: &Inquiry<'a>, folded: u64) -> Self {
        Self { replay: Replay::new(inquiry.connection, &inquiry.scope.accounts, folded), folded }
    }

    /// Within the transaction that reads it.
    fn follow(&mut self, inquiry: &Inquiry<'a>) -> rusqlite::Result<()> {
        let folded = fold::through(inquiry.connection)?;
        if folded != self.folded {
            *self = Self::new(inquiry, folded);
        }
        Ok(())
    }
}

pub(crate) fn check(inquiry: &mut Inquiry<'_>, progress: &mut dyn FnMut(Progress)) -> Result<(), FileError> {
    let scope = inquiry.scope;
    let mut log = LogLeft::new(inquiry, scope.folded);
    let of = u64::try_from(scope.rounds.len()).unwrap_or(u64::MAX);
    for (done, round) in (0u64..).zip(&scope.rounds) {
        progress(Progress::Rounds { done, of });
        check_round(inquiry, &mut log, *round)?;
    }
    progress(Progress::Rounds { done: of, of });
    Ok(())
}

fn check_round<'a>(
    inquiry: &mut Inquiry<'a>,
    log: &mut LogLeft<'a>,
    round: RoundRef,
) -> Result<(), FileError> {
    // One moment for all that belongs to a round.
    let transaction = inquiry.connection.unchecked_transaction()?;
    let recorded: Recorded = match Records::Rounds.read(inquiry.connection, round.id)? {
        Ok(recorded) => recorded,
        Err(why) => {
            let difference = Difference::new(Subject::Input, "its record", "JSON as it was written", why);
            inquiry.tell(round.at, difference);
            return Ok(());
        }
    };
    let block = blocks::find(inquiry.connection, round.block)?;
    log.follow(inquiry)?;
    check_input(inquiry, log, (round, &block), &recorded)?;
    let Recorded { policy, input, answer } = &recorded;
    let ask = |judge: &mut dyn super::Judge| judge.settle(policy, input);
    inquiry.check_answer((round.at, Answered::Round), policy, answer, ask);
    check_entries(inquiry, round, &block, &recorded)?;
    transaction.commit()?;
    Ok(())
}

/// The question, from the log and the blocks alone.
fn check_input<'a>(
    inquiry: &mut Inquiry<'a>,
    log: &mut LogLeft<'a>,
    (round, block): (RoundRef, &StoredBlock),
    recorded: &Recorded,
) -> Result<(), FileError> {
    // Why there is none is told with the answer.
    let plan = inquiry.judge.plan(&recorded.policy).ok();
    let found = &recorded.input;
    if let Some(difference) = header_unlike(&header(inquiry, block, plan, found), found) {
        inquiry.tell(round.at, difference);
        return Ok(());
    }
    let window = plan.map_or_else(|| block.window(), |plan| Ok(plan.window))?;
    let ask = block.ask(inquiry.connection, window)?;
    let ask = Ask { boundary: beginning(inquiry.connection, block, &ask, found)?, ..ask };
    let sums = match log.replay.sums(&ask, block.through()) {
        Err(rusqlite::Error::IntegralValueOutOfRange(_, worker)) => {
            let difference = Difference::new(Subject::Input, "a worker", "one that there is", worker);
            inquiry.tell(round.at, difference);
            return Ok(());
        }
        sums => sums?,
    };
    let Some(sums) = sums else {
        inquiry.fold();
        return Ok(());
    };
    let (unit, contributions) = sums.tell(&inquiry.scope.names);
    let unlike = work_unlike(
        "its part of the window",
        (unit, &contributions),
        (found.work_unit, &found.contributions),
    );
    // Without its policy, a round may have been settled over another window than its block was found with.
    if let (Some(difference), Some(_)) = (unlike, plan) {
        inquiry.tell(round.at, difference);
    }
    Ok(())
}

/// All of the question but the window.
fn header(inquiry: &Inquiry<'_>, block: &StoredBlock, plan: Option<Plan>, found: &Round) -> Round {
    // Without the policy it is not known whether it asked for the finder.
    let named = plan.map_or(!found.finder.is_empty(), |plan| plan.per_finder);
    let finder = if named { inquiry.scope.account_of_worker(block.worker()).unwrap_or_default() } else { "" };
    block.round(finder.to_owned(), found.work_unit, Vec::new())
}

/// The last share of the round before. It began behind the last block that was not rejected *then*, and verdicts may have
/// come and gone since; the number of shares in the question says which block that was. It is believed where it could be
/// so: not before a block that was certainly not rejected, because its round was booked before this one's, or because it
/// has had no verdict to this day. Otherwise, and for other windows, it is what the blocks say now.
fn beginning(
    connection: &Connection,
    block: &StoredBlock,
    now: &Ask,
    found: &Round,
) -> rusqlite::Result<u64> {
    let shares = found.contributions.iter().fold(0u64, |sum, one| sum.saturating_add(one.shares));
    let claimed = block.through().saturating_sub(shares);
    if now.window != Window::Round || claimed == now.boundary {
        return Ok(now.boundary);
    }
    let mut statement = connection.prepare_cached(
        "SELECT b.through, b.state IN ('found', 'submitted') OR EXISTS (SELECT 1 FROM journal j WHERE j.block = b.id \
         AND j.number = 1 AND j.id < (SELECT id FROM journal WHERE block = ?1 AND number = 1)) \
         FROM blocks b WHERE b.id < ?1 ORDER BY b.id DESC",
    )?;
    let mut rows = statement.query([block.id])?;
    while let Some(row) = rows.next()? {
        let (through, certain): (i64, bool) = (row.get(0)?, row.get(1)?);
        if unsigned(through) == claimed {
            return Ok(claimed);
        }
        if certain {
            return Ok(now.boundary);
        }
    }
    // Every block before may have been rejected.
    Ok(if claimed == 0 { 0 } else { now.boundary })
}

/// A block's transactions against the recorded answer, divided as the host divides, and what the coinbase paid.
fn check_entries(
    inquiry: &mut Inquiry<'_>,
    round: RoundRef,
    block: &StoredBlock,
    recorded: &Recorded,
) -> Result<(), FileError> {
    let credits = credits(inquiry, round, recorded);
    let payments = coinbase(inquiry.connection, round.id)?;
    let turns = Turns {
        owner: Owner::Block(round.id),
        at: round.at,
        booked: Booked::round(block.reward().to_sat().into(), credits, payments),
        counts: block.state.counts(),
        state: &format!("its round, while the block is {}", block.state.label()),
        subject: Subject::Credits,
        what: "its credit, in sat",
    };
    Ok(inquiry.check_turns(&turns)?)
}

fn credits(inquiry: &mut Inquiry<'_>, round: RoundRef, recorded: &Recorded) -> BTreeMap<String, i128> {
    let known = |account: &str| inquiry.scope.names.account(account).is_some();
    match split(recorded.input.reward(), &recorded.answer, &known) {
        Ok(credits) => {
            let amounts = credits.into_iter().filter(|credit| credit.amount.to_sat() > 0);
            amounts.map(|credit| (credit.account, i128::from(credit.amount.to_sat()))).collect()
        }
        Err(why) => {
            let difference = Difference::new(Subject::Answer, "its division", "one that comes out", why);
            inquiry.tell(round.at, difference);
            BTreeMap::new()
        }
    }
}

/// What the coinbase pays, as the entries have it: negative.
fn coinbase(connection: &Connection, id: i64) -> rusqlite::Result<BTreeMap<String, i128>> {
    let mut statement = connection
        .prepare_cached("SELECT account, amount FROM block_payments WHERE block = ? AND amount <> 0")?;
    let mut rows = statement.query([id])?;
    let mut payments = BTreeMap::new();
    while let Some(row) = rows.next()? {
        *payments.entry(row.get(0)?).or_default() -= i128::from(row.get::<_, i64>(1)?);
    }
    Ok(payments)
}

impl Part for Entitlement {
    fn account(&self) -> &str {
        &self.account
    }

    fn told(&self) -> String {
        let Self { account, portion, reason } = self;
        let portion = match portion {
            Portion::Weight(weight) => format!("weight {weight}"),
            Portion::Fixed(sats) => format!("{sats} sat"),
        };
        format!("{portion} for {account:?} ({reason})")
    }
}
