//! What of a ledger's file can be read: SQLite's check with the damage told by table, then every row of every table.

use std::path::{Path, PathBuf};

use rusqlite::{Connection, OptionalExtension};
use serde::Serialize;
use sluice_core::ids::{AccountName, WorkerName};

use crate::damage::{self, Damage, Depth};
use crate::file::{self, Kind};
use crate::insert::unsigned;
use crate::open::{self, SCHEMA};
use crate::readonly::FileError;
use crate::walk::{LostRows, Table, walk};

/// Gaps in the share log that are listed.
const GAPS_LIMIT: usize = 100;

/// What was read of a table.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct TableState {
    pub name: String,
    /// Rows that can be read.
    pub rows: u64,
    pub lost: Vec<LostRows>,
}

impl TableState {
    pub fn is_whole(&self) -> bool {
        self.lost.is_empty()
    }
}

/// What a check found. Nothing was changed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Checked {
    pub database: PathBuf,
    pub bytes: u64,
    pub schema: i64,
    pub damage: Damage,
    pub tables: Vec<TableState>,
    /// Numbers that no share in the log has, though shares before and after it are there; the first of them.
    pub missing_shares: Vec<LostRows>,
    /// Of all entries; not zero: the books are wrong. `None`: they cannot be added up.
    pub books_sum_sat: Option<i64>,
    /// Transactions that were never sealed: there are none in books that are whole.
    pub open_transactions: Option<i64>,
    /// Balances that are not the sum of their entries; `None`: they cannot be compared.
    pub wrong_balances: Option<u64>,
    /// Names that were never let in; `None`: they cannot be read.
    pub bad_names: Option<u64>,
}

impl Checked {
    /// A pool starts on it, and nothing is missing.
    pub fn is_whole(&self) -> bool {
        self.damage.is_none()
            && self.tables.iter().all(TableState::is_whole)
            && self.missing_shares.is_empty()
            && self.books_sum_sat == Some(0)
            && self.open_transactions == Some(0)
            && self.wrong_balances == Some(0)
            && self.bad_names == Some(0)
    }

    /// Tables with rows that cannot be read.
    pub fn damaged_tables(&self) -> impl Iterator<Item = &TableState> {
        self.tables.iter().filter(|table| !table.is_whole())
    }
}

/// Checks the whole of `database`. The pool may run; the write-ahead log grows until the check ends. `progress` hears a
/// table's name and how many of its rows were read; an empty name while SQLite checks the pages.
///
/// # Errors
/// [`FileError`]: there is no ledger, or so little of it that nothing can be read.
pub fn check(database: &Path, progress: &mut dyn FnMut(&str, u64)) -> Result<Checked, FileError> {
    let (connection, schema) = open_damaged(database)?;
    let moment = connection.unchecked_transaction()?;
    progress("", 0);
    let mut checked = Checked {
        database: database.to_owned(),
        bytes: std::fs::metadata(database).map_or(0, |data| data.len()),
        schema,
        damage: Damage::look(&moment, Depth::Full, None)?,
        tables: Vec::new(),
        missing_shares: Vec::new(),
        books_sum_sat: number(&moment, "SELECT coalesce(sum(amount), 0) FROM entries"),
        open_transactions: number(&moment, "SELECT count(*) FROM journal WHERE sealed = 0"),
        wrong_balances: wrong_balances(&moment).ok(),
        bad_names: bad_names(&moment).ok(),
    };
    for name in open::tables(&moment).map_err(|source| unreadable(database, &source))? {
        let (state, missing) = state(&moment, &name, progress)?;
        if name == "shares" {
            checked.missing_shares = missing;
        }
        checked.tables.push(state);
    }
    Ok(checked)
}

/// A connection that cannot write, to a ledger of any version known, cut short or not; and the version.
pub(crate) fn open_damaged(path: &Path) -> Result<(Connection, i64), FileError> {
    if !path.is_file() {
        return Err(FileError::Missing { path: path.to_owned() });
    }
    let connect = || {
        let connection = file::read_only(path)?;
        // Reads what is left of a file that was cut; nothing is written.
        connection.pragma_update(None, "writable_schema", true)?;
        let kind = file::kind(&connection)?;
        Ok((connection, kind))
    };
    let (connection, kind) = connect().map_err(|source: rusqlite::Error| unreadable(path, &source))?;
    match kind {
        Kind::Ledger { version } if version > SCHEMA => {
            Err(FileError::Newer { path: path.to_owned(), found: version })
        }
        Kind::Ledger { version } => Ok((connection, version)),
        Kind::New | Kind::Foreign => Err(FileError::Foreign { path: path.to_owned() }),
    }
}

fn unreadable(path: &Path, source: &rusqlite::Error) -> FileError {
    let detail = damage::of_header(path).unwrap_or_else(|| source.to_string());
    FileError::Damaged { path: path.to_owned(), detail }
}

fn number(connection: &Connection, text: &str) -> Option<i64> {
    connection.query_row(text, [], |row| row.get(0)).ok()
}

/// How many accounts' balances, the house's among them, are not the sum of their entries. A ledger of an earlier version
/// keeps none.
pub(crate) fn wrong_balances(connection: &Connection) -> rusqlite::Result<u64> {
    if !open::tables(connection)?.iter().any(|name| name == "sums") {
        return Ok(0);
    }
    let text = "WITH added AS MATERIALIZED ( \
            SELECT account, sum(amount) AS amount FROM entries WHERE account IS NOT NULL GROUP BY account \
            UNION ALL SELECT -1, sum(amount) FROM entries WHERE book = 'house' GROUP BY book \
        ), wrong AS ( \
            SELECT account FROM (SELECT * FROM added EXCEPT SELECT account, amount FROM sums) \
            UNION SELECT account FROM (SELECT account, amount FROM sums EXCEPT SELECT * FROM added) \
        ) SELECT count(*) FROM wrong";
    connection.query_row(text, [], |row| row.get(0)).map(unsigned)
}

fn bad_names(connection: &Connection) -> rusqlite::Result<u64> {
    let count = |text: &str, good: &dyn Fn(&str) -> bool| {
        let mut statement = connection.prepare(text)?;
        let names = statement.query_map([], |row| row.get::<_, String>(0))?;
        names.map(|name| Ok(u64::from(!good(&name?)))).sum::<rusqlite::Result<u64>>()
    };
    let accounts = count("SELECT name FROM accounts", &|name| AccountName::new(name).is_ok())?;
    let workers = count("SELECT name FROM workers", &|name| WorkerName::new(name).is_ok())?;
    Ok(accounts + workers)
}

fn state(
    connection: &Connection,
    name: &str,
    progress: &mut dyn FnMut(&str, u64),
) -> rusqlite::Result<(TableState, Vec<LostRows>)> {
    let table = Table::read(connection, name)?;
    let mut gaps = Gaps { before: folded(connection), list: Vec::new() };
    let mut rows = 0;
    let lost = walk(connection, &table, &mut |key, _| {
        rows += 1;
        gaps.at(key);
        progress(name, rows);
        Ok(())
    })?;
    gaps.list.retain(|gap| !lost.iter().any(|lost| lost.before == gap.before));
    Ok((TableState { name: name.to_owned(), rows, lost }, gaps.list))
}

fn folded(connection: &Connection) -> i64 {
    let read = connection.query_row("SELECT through FROM folded", [], |row| row.get(0)).optional();
    read.ok().flatten().unwrap_or(0)
}

/// Numbers that were left out.
struct Gaps {
    before: i64,
    list: Vec<LostRows>,
}

impl Gaps {
    fn at(&mut self, key: i64) {
        if key > self.before.saturating_add(1) && self.list.len() < GAPS_LIMIT {
            self.list.push(LostRows { after: Some(self.before), before: Some(key) });
        }
        self.before = key;
    }
}
