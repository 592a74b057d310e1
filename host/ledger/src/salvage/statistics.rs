//! Sums and statistics of a salvaged ledger: those that are not whole are added up again, from entries, hours and the log.

use std::collections::BTreeMap;

use rusqlite::{Connection, params};

use super::SalvagedTable;
use crate::insert::{sql, unsigned};
use crate::sums::Sum;

const HOUR_MS: i64 = 3_600_000;

/// Makes `folded` and the workers' totals agree with what there is.
pub(super) fn mend(copy: &Connection, tables: &[SalvagedTable]) -> rusqlite::Result<()> {
    let whole = |name| tables.iter().any(|table| table.copied.name == name && table.is_whole());
    let has_hours = tables.iter().any(|table| table.copied.name == "share_hours");
    if has_hours && !whole("folded") {
        copy.execute(
            "UPDATE folded SET through = coalesce((SELECT min(seq) - 1 FROM shares WHERE EXISTS \
             (SELECT 1 FROM share_hours)), 0)",
            [],
        )?;
    }
    if !(whole("worker_totals") && whole("totals_through")) {
        copy.execute("DELETE FROM worker_totals", [])?;
        copy.execute("UPDATE totals_through SET through = 0", [])?;
        if has_hours {
            add_hours(copy)?;
        }
    }
    // An older ledger gets its sums when it is brought to the present schema.
    if tables.iter().any(|table| table.copied.name == "sums") {
        add_entries(copy)?;
    }
    Ok(())
}

/// The sums of the entries that there are: whether those are whole is asked elsewhere.
fn add_entries(copy: &Connection) -> rusqlite::Result<()> {
    copy.execute_batch(
        "DELETE FROM sums; INSERT INTO sums SELECT coalesce(account, -1), sum(amount) FROM entries \
         WHERE book IN ('account', 'house') GROUP BY account;",
    )
}

/// The totals of what was folded; a start adds what the log has.
fn add_hours(copy: &Connection) -> rusqlite::Result<()> {
    let mut statement =
        copy.prepare("SELECT worker, protocol, shares, work, hour FROM share_hours ORDER BY hour")?;
    let mut rows = statement.query([])?;
    let mut totals = BTreeMap::<i64, (i64, Sum, i64)>::new();
    while let Some(row) = rows.next()? {
        let sum = Sum { shares: unsigned(row.get(2)?), work: u128::from_be_bytes(row.get(3)?) };
        let (protocol, total, hour) = totals.entry(row.get(0)?).or_default();
        total.add(sum);
        (*protocol, *hour) = (row.get(1)?, row.get(4)?);
    }
    for (worker, (protocol, total, hour)) in totals {
        copy.execute(
            "INSERT INTO worker_totals VALUES (?, ?, ?, ?, ?)",
            params![worker, protocol, sql(total.shares), total.work.to_be_bytes(), hour * HOUR_MS],
        )?;
    }
    copy.execute("UPDATE totals_through SET through = (SELECT through FROM folded)", [])?;
    Ok(())
}
