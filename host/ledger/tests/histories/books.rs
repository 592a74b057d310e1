//! What holds of the books at any moment.

use std::collections::BTreeMap;
use std::path::Path;

use rusqlite::{Connection, Row};
use sluice_ledger::{Report, audit, database_in};

use crate::life::{Life, block_hash};
use crate::model::{ACCOUNTS, Model};
use crate::policies::Native;
use crate::support::{number, sql};

/// Everything sums to zero, each transaction is sealed, and the sums kept beside the entries are theirs.
pub(crate) fn balanced(books: &Connection) {
    assert_eq!(number(books, "SELECT coalesce(sum(amount), 0) FROM entries"), 0, "the books");
    let open = "SELECT count(*) FROM journal j WHERE sealed = 0 \
                OR (SELECT coalesce(sum(amount), 0) FROM entries WHERE journal = j.id) <> 0";
    assert_eq!(number(books, open), 0, "transactions that do not come to zero, or are open");
    let stray = "SELECT count(*) FROM entries WHERE journal NOT IN (SELECT id FROM journal)";
    assert_eq!(number(books, stray), 0, "entries of no transaction");
    let entered = "SELECT coalesce(account, -1), sum(amount) FROM entries WHERE book IN ('account', 'house') GROUP BY 1";
    assert_eq!(pairs(books, "SELECT account, amount FROM sums"), pairs(books, entered), "sums");
}

fn pairs(books: &Connection, query: &str) -> BTreeMap<i64, i64> {
    let mut statement = books.prepare(query).expect("a query");
    let read = |row: &Row<'_>| Ok((row.get(0)?, row.get(1)?));
    statement.query_map([], read).expect("rows").map(|row| row.expect("a row")).collect()
}

fn unsigned(row: &Row<'_>, column: usize) -> rusqlite::Result<u64> {
    Ok(row.get::<_, i64>(column)?.unsigned_abs())
}

fn by_name(books: &Connection, query: &str) -> BTreeMap<String, i64> {
    let mut statement = books.prepare(query).expect("a query");
    let read = |row: &Row<'_>| Ok((row.get(0)?, row.get(1)?));
    statement.query_map([], read).expect("rows").map(|row| row.expect("a row")).collect()
}

pub(crate) fn audited(dir: &Path) -> Report {
    audit(&database_in(dir), &mut Native, &mut |_| {}).expect("readable")
}

impl Life {
    /// The books are those of the model, and whole; computed again they are the same.
    pub(crate) async fn check(&self) {
        let (books, model) = (sql(self.dir()), &self.model);
        balanced(&books);
        let mut expected = model.balances();
        expected.retain(|_, sat| *sat != 0);
        let entered = "SELECT coalesce(name, ''), sum(amount) FROM entries LEFT JOIN accounts a ON a.id = account \
                       WHERE book IN ('account', 'house') GROUP BY 1 HAVING sum(amount) <> 0";
        assert_eq!(by_name(&books, entered), expected, "balances");
        let told = self.ledger().balances().await.expect("balances");
        let told: BTreeMap<_, _> =
            told.into_iter().filter(|one| one.sat != 0).map(|one| (one.account, one.sat)).collect();
        assert_eq!(told, expected, "what the pool says of balances");
        let book = |name| {
            number(&books, &format!("SELECT coalesce(sum(amount), 0) FROM entries WHERE book = '{name}'"))
        };
        let (rewards, coinbases, payouts) = model.totals();
        assert_eq!((book("reward"), book("coinbase"), book("payout")), (-rewards, coinbases, payouts));
        rounds(&books, model);
        accruals(&books, model);
        shares(&books, model);
        // It waits for rounds to be settled.
        if !model.blocks.iter().any(|block| block.is_open()) {
            let report = audited(self.dir());
            assert!(report.is_clean(), "{report:#?}");
            assert_eq!(report.other_entries, 0);
        }
    }
}

/// Each settled round is booked once for all, then reversed and booked again as often as its block came and went.
fn rounds(books: &Connection, model: &Model) {
    let settled = (0..model.blocks.len()).filter(|number| model.blocks[*number].credits.is_some());
    let expected: BTreeMap<String, i64> = settled
        .map(|number| (block_hash(number).to_string(), i64::from(model.blocks[number].counts())))
        .collect();
    let mut statement = books
        .prepare("SELECT hash, (SELECT count(*) FROM journal WHERE block = b.id) % 2 FROM rounds JOIN blocks b ON b.id = block")
        .expect("a query");
    let read = |row: &Row<'_>| {
        let mut hash: [u8; 32] = row.get(0)?;
        hash.reverse();
        Ok((hash.iter().map(|byte| format!("{byte:02x}")).collect(), row.get(1)?))
    };
    let found: Vec<(String, i64)> =
        statement.query_map([], read).expect("rows").collect::<Result<_, _>>().expect("rows");
    assert_eq!(found.len(), expected.len(), "a round twice");
    assert_eq!(
        found.into_iter().collect::<BTreeMap<_, _>>(),
        expected,
        "rounds, and whether they are booked"
    );
    let gaps = "SELECT count(*) FROM (SELECT max(number) AS last, count(*) AS all_of FROM journal \
                GROUP BY block, accrual, payout, fee) WHERE last <> all_of";
    assert_eq!(number(books, gaps), 0, "transactions of an owner without gaps");
}

/// Each share is in one accrual at most, and what an account was given is booked or carried.
fn accruals(books: &Connection, model: &Model) {
    let mut statement = books.prepare("SELECT first, through FROM accruals ORDER BY id").expect("a query");
    let read = |row: &Row<'_>| Ok((unsigned(row, 0)?, unsigned(row, 1)?));
    let found: Vec<(u64, u64)> =
        statement.query_map([], read).expect("rows").collect::<Result<_, _>>().expect("rows");
    assert_eq!(found, model.accruals.iter().map(|one| (one.first, one.through)).collect::<Vec<_>>());
    assert!(found.windows(2).all(|pair| pair[0].1 < pair[1].0), "{found:?}");
    let kept = "SELECT name, coalesce((SELECT sum(e.amount) FROM entries e WHERE e.account = a.id AND e.cause = 'accrual'), 0) \
                * 1000000 + coalesce((SELECT microsats FROM carries c WHERE c.account = a.id), 0) FROM accounts a";
    let mut kept = by_name(books, kept);
    kept.retain(|_, microsats| *microsats != 0);
    let mut given = model.microsats();
    given.retain(|_, microsats| *microsats != 0);
    let given: BTreeMap<_, _> =
        given.into_iter().map(|(account, sum)| (account, i64::try_from(sum).expect("money"))).collect();
    assert_eq!(kept, given, "booked and carried");
}

/// Each share is there once, as itself or in an hour.
fn shares(books: &Connection, model: &Model) {
    let mut statement = books
        .prepare(
            "SELECT seq, a.name, at_ms, difficulty FROM shares s JOIN workers w ON w.id = s.worker \
                  JOIN accounts a ON a.id = w.account ORDER BY seq",
        )
        .expect("a query");
    let read = |row: &Row<'_>| Ok((unsigned(row, 0)?, row.get(1)?, unsigned(row, 2)?, row.get(3)?));
    let found: Vec<(u64, String, u64, f64)> =
        statement.query_map([], read).expect("rows").collect::<Result<_, _>>().expect("rows");
    let expected: Vec<_> = (1u64..)
        .zip(&model.shares)
        .filter(|(seq, _)| *seq > model.folded)
        .map(|(seq, share)| (seq, ACCOUNTS[share.account].to_owned(), share.at.0, share.worth))
        .collect();
    assert_eq!(found, expected, "the log");
    let hours = "SELECT a.name, sum(h.shares) FROM share_hours h JOIN workers w ON w.id = h.worker \
                 JOIN accounts a ON a.id = w.account GROUP BY 1";
    let folded = model.shares_of((1, model.folded), |_| true).into_iter();
    let folded =
        folded.map(|(account, count)| (account.to_owned(), i64::try_from(count).expect("few"))).collect();
    assert_eq!(by_name(books, hours), folded, "hours");
}
