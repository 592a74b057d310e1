//! What the pool's own transactions paid: each batch against its lines and its state.

use std::collections::BTreeMap;

use rusqlite::{Connection, Row};

use super::booked::Booked;
use super::findings::{Bearing, Subject};
use super::inquiry::{Inquiry, Turns};
use crate::journal::Owner;
use crate::readonly::FileError;

/// A batch as recorded.
struct Batch {
    state: String,
    fee: Option<i64>,
}

pub(crate) fn check(inquiry: &mut Inquiry<'_>) -> Result<(), FileError> {
    for payout in &inquiry.scope.payouts {
        let transaction = inquiry.connection.unchecked_transaction()?;
        check_payout(inquiry, *payout)?;
        transaction.commit()?;
    }
    Ok(())
}

fn check_payout(inquiry: &mut Inquiry<'_>, payout: i64) -> rusqlite::Result<()> {
    let batch = batch(inquiry.connection, payout)?;
    let at = Bearing::Payout { payout };
    let lines = Turns {
        owner: Owner::Payout(payout),
        at,
        booked: Booked::payout(lines(inquiry.connection, payout)?),
        counts: batch.state != "cancelled",
        state: &format!("its lines, while it is {}", batch.state),
        subject: Subject::Payouts,
        what: "what it takes, in sat",
    };
    inquiry.check_turns(&lines)?;
    let fee = BTreeMap::from([(String::new(), -i128::from(batch.fee.unwrap_or(0)))]);
    let fee = Turns {
        owner: Owner::Fee(payout),
        at,
        booked: Booked::payout(if batch.fee.unwrap_or(0) == 0 { BTreeMap::new() } else { fee }),
        counts: batch.state == "confirmed",
        state: &format!("its network fee, while it is {}", batch.state),
        subject: Subject::Payouts,
        what: "its network fee, in sat",
    };
    inquiry.check_turns(&fee)
}

fn batch(connection: &Connection, payout: i64) -> rusqlite::Result<Batch> {
    let mut statement = connection.prepare_cached("SELECT state, fee FROM payouts WHERE id = ?")?;
    statement.query_row([payout], |row| Ok(Batch { state: row.get(0)?, fee: row.get(1)? }))
}

/// What each account is paid, as the entries have it: negative.
fn lines(connection: &Connection, payout: i64) -> rusqlite::Result<BTreeMap<String, i128>> {
    let mut statement = connection.prepare_cached(
        "SELECT coalesce(a.name, '?' || l.account), sum(l.amount) FROM payout_lines l \
         LEFT JOIN accounts a ON a.id = l.account WHERE l.payout = ? GROUP BY l.account",
    )?;
    let read = |row: &Row<'_>| Ok((row.get(0)?, -i128::from(row.get::<_, i64>(1)?)));
    statement.query_map([payout], read)?.collect()
}
