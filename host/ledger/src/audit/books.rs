//! The books as a whole: every transaction sums to zero, and the balances are what rounds and accruals gave and payouts took.

use std::collections::BTreeMap;

use rusqlite::{Connection, OptionalExtension, Row, params};
use sluice_core::bitcoin::BlockHash;
use sluice_core::bitcoin::hashes::Hash;

use super::findings::{Bearing, Difference, Findings, Subject, first_unequal};
use super::scope::Scope;
use crate::insert::unsigned;

/// Entries of transactions that belong to no settled round, no accrual and no payout.
const OTHERS: &str = "e.journal NOT IN (SELECT id FROM journal WHERE block IN (SELECT block FROM rounds) \
                      OR accrual IN (SELECT id FROM accruals) OR payout IN (SELECT id FROM payouts) \
                      OR fee IN (SELECT id FROM payouts))";

/// `balances` is what everything before gives. Returns the number of entries that belong to none.
pub(crate) fn check(
    connection: &Connection,
    scope: &Scope,
    balances: &BTreeMap<String, i128>,
    findings: &mut Findings,
) -> rusqlite::Result<u64> {
    check_sums(connection, scope, findings)?;
    check_shape(connection, scope, findings)?;
    // What belongs to nothing changes a balance that nothing explains.
    let mut expected = balances.clone();
    let mut found = sums(connection, scope)?;
    expected.retain(|_, sats| *sats != 0);
    found.retain(|_, sats| *sats != 0);
    let sides =
        [("balance in sat", &expected, &found), ("kept sum of entries in sat", &found, &scope.balances)];
    for (what, expected, found) in sides {
        if let Some((account, expected, found)) = first_unequal(expected, found) {
            findings.add(Difference::new(Subject::Accounts, what, expected, found).of(account));
        }
    }
    let count = format!("SELECT count(*) FROM entries e WHERE e.journal <= ? AND {OTHERS}");
    connection.query_row(&count, [scope.journal], |row| row.get(0)).map(unsigned)
}

fn sums(connection: &Connection, scope: &Scope) -> rusqlite::Result<BTreeMap<String, i128>> {
    let mut statement = connection.prepare(
        "SELECT coalesce(a.name, CASE e.book WHEN 'account' THEN '?' || e.account ELSE '' END), sum(e.amount) \
         FROM entries e LEFT JOIN accounts a ON a.id = e.account \
         WHERE e.journal <= ? AND e.book IN ('account', 'house') GROUP BY 1",
    )?;
    let read = |row: &Row<'_>| Ok((row.get(0)?, row.get::<_, i64>(1)?.into()));
    statement.query_map([scope.journal], read)?.collect()
}

fn check_sums(connection: &Connection, scope: &Scope, findings: &mut Findings) -> rusqlite::Result<()> {
    let mut statement = connection.prepare(
        "SELECT journal, sum(amount) FROM entries WHERE journal <= ? GROUP BY journal HAVING sum(amount) <> 0",
    )?;
    let mut rows = statement.query([scope.journal])?;
    while let Some(row) = rows.next()? {
        let (journal, sum): (i64, i64) = (row.get(0)?, row.get(1)?);
        let difference =
            Difference::new(Subject::Journal, format_args!("sum of transaction {journal}"), 0, sum);
        findings.add(placed(connection, journal, difference)?);
    }
    Ok(())
}

/// With what a transaction belongs to, where that is there.
fn placed(connection: &Connection, journal: i64, difference: Difference) -> rusqlite::Result<Difference> {
    let mut statement = connection.prepare_cached(
        "SELECT b.hash, b.height, a.first, a.through, coalesce(j.payout, j.fee) FROM journal j \
         LEFT JOIN blocks b ON b.id = j.block LEFT JOIN accruals a ON a.id = j.accrual WHERE j.id = ?",
    )?;
    let bearing = statement.query_row([journal], bearing).optional()?.flatten();
    Ok(match bearing {
        Some(bearing) => difference.at(bearing),
        None => difference,
    })
}

fn bearing(row: &Row<'_>) -> rusqlite::Result<Option<Bearing>> {
    if let Some(hash) = row.get(0)? {
        let block = BlockHash::from_byte_array(hash);
        return Ok(Some(Bearing::Block { block, height: row.get(1)? }));
    }
    if let Some(first) = row.get(2)? {
        return Ok(Some(Bearing::Accrual { first: unsigned(first), through: unsigned(row.get(3)?) }));
    }
    let payout: Option<i64> = row.get(4)?;
    Ok(payout.map(|payout| Bearing::Payout { payout }))
}

/// What the triggers and keys of the file refuse as long as they are there.
fn check_shape(connection: &Connection, scope: &Scope, findings: &mut Findings) -> rusqlite::Result<()> {
    let rules = [
        ("sealed", "SELECT id FROM journal WHERE sealed = 0 AND id <= ? LIMIT 1"),
        (
            "in the journal",
            "SELECT journal FROM entries WHERE journal NOT IN (SELECT id FROM journal) AND journal <= ? LIMIT 1",
        ),
        (
            "for accounts that there are",
            "SELECT journal FROM entries WHERE book = 'account' AND account NOT IN (SELECT id FROM accounts) AND journal <= ? LIMIT 1",
        ),
    ];
    for (rule, broken) in rules {
        let found: Option<i64> =
            connection.query_row(broken, params![scope.journal], |row| row.get(0)).optional()?;
        if let Some(journal) = found {
            let what = format_args!("transaction {journal}").to_string();
            let difference = Difference::new(Subject::Journal, what, rule, "it is not");
            findings.add(placed(connection, journal, difference)?);
        }
    }
    Ok(())
}
