//! All rows of a table that can be read, past the pages that cannot.
//!
//! Rows come in the order of the table's key. Where reading fails, the next key that can be read is searched for from
//! the top of the tree, in growing steps; a damaged page inside of the tree hides all that is below it.

use rusqlite::{Connection, ErrorCode, Row};
use serde::Serialize;

use crate::file;

/// Steps of the search for the next row: first key by key, then in steps of [`STRIDE`], then doubled.
const SINGLE_STEPS: i64 = 256;
const STRIDE: i64 = 16;
const STRIDES: i64 = 4096;

/// Rows that cannot be read: those whose keys lie between the two, which can.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct LostRows {
    /// `None`: from the first on.
    pub after: Option<i64>,
    /// `None`: to the last.
    pub before: Option<i64>,
}

/// A table and how it is walked through.
#[derive(Clone, Debug)]
pub(crate) struct Table {
    pub(crate) name: String,
    pub(crate) columns: usize,
    /// The first column of the primary key, an integer in every table of ours.
    key: String,
    /// Its position among the columns.
    key_column: usize,
    order: String,
}

impl Table {
    pub(crate) fn read(connection: &Connection, name: &str) -> rusqlite::Result<Self> {
        let mut statement = connection.prepare("SELECT name, pk, cid FROM pragma_table_info(?)")?;
        let rows = statement.query_map([name], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))?;
        let columns: Vec<(String, i64, i64)> = rows.collect::<Result<_, _>>()?;
        let mut keys: Vec<&(String, i64, i64)> = columns.iter().filter(|(_, pk, _)| *pk > 0).collect();
        keys.sort_by_key(|(_, pk, _)| *pk);
        let (key, _, key_column) = keys.first().copied().ok_or(rusqlite::Error::QueryReturnedNoRows)?;
        let order: Vec<&str> = keys.iter().map(|(name, ..)| name.as_str()).collect();
        Ok(Self {
            name: name.to_owned(),
            columns: columns.len(),
            key: key.clone(),
            key_column: usize::try_from(*key_column).unwrap_or(0),
            order: order.join(", "),
        })
    }

    fn rows(&self) -> String {
        let Self { name, key, order, .. } = self;
        format!("SELECT * FROM {name} NOT INDEXED WHERE {key} >= ? ORDER BY {order}")
    }

    fn probe(&self) -> String {
        let Self { name, key, .. } = self;
        format!("SELECT {key} FROM {name} NOT INDEXED WHERE {key} >= ? ORDER BY {key} LIMIT 1")
    }
}

/// Why a scan ended before the end.
enum End {
    /// After the row with this key, if there was one.
    Unreadable(Option<i64>),
    Failed(rusqlite::Error),
}

/// A walk under way.
struct Walk<'a> {
    connection: &'a Connection,
    table: &'a Table,
    lost: Vec<LostRows>,
}

/// Visits every row of `table` that can be read, with its key, and returns what cannot.
///
/// # Errors
/// What `visit` fails with, or what is no damage: a locked database, no memory.
pub(crate) fn walk(
    connection: &Connection,
    table: &Table,
    visit: &mut dyn FnMut(i64, &Row<'_>) -> rusqlite::Result<()>,
) -> rusqlite::Result<Vec<LostRows>> {
    let mut walk = Walk { connection, table, lost: Vec::new() };
    let (mut from, mut before) = (i64::MIN, None);
    loop {
        let last = match walk.scan(from, visit) {
            Ok(()) => return Ok(walk.lost),
            Err(End::Failed(error)) => return Err(error),
            Err(End::Unreadable(last)) => last,
        };
        let next = walk.next_readable(last.unwrap_or(from))?;
        match walk.lost.last_mut() {
            // Nothing was read in between.
            Some(gap) if last.is_none() => gap.before = next,
            _ => walk.lost.push(LostRows { after: last.or(before), before: next }),
        }
        before = last.or(before);
        let Some(next) = next else { return Ok(walk.lost) };
        from = next;
    }
}

impl Walk<'_> {
    /// The rows from the key `from` on.
    fn scan(
        &self,
        from: i64,
        visit: &mut dyn FnMut(i64, &Row<'_>) -> rusqlite::Result<()>,
    ) -> Result<(), End> {
        let mut last = None;
        let stopped =
            |error, last| if is_damage(&error) { End::Unreadable(last) } else { End::Failed(error) };
        let mut statement =
            self.connection.prepare_cached(&self.table.rows()).map_err(|error| stopped(error, None))?;
        let mut rows = statement.query([from]).map_err(|error| stopped(error, None))?;
        loop {
            let row = match rows.next() {
                Ok(Some(row)) => row,
                Ok(None) => return Ok(()),
                Err(error) => return Err(stopped(error, last)),
            };
            // A page of noise may lead back, round and round.
            match row.get::<_, i64>(self.table.key_column) {
                Ok(key) if last.is_none_or(|last| key >= last) && key >= from => {
                    visit(key, row).map_err(End::Failed)?;
                    last = Some(key);
                }
                _ => return Err(End::Unreadable(last)),
            }
        }
    }

    /// The key of the first row behind the key `after` that can be found.
    fn next_readable(&self, after: i64) -> rusqlite::Result<Option<i64>> {
        let (mut bad, mut step, mut steps) = (after, 1, 0);
        let (mut good, mut found) = loop {
            let Some(key) = bad.checked_add(step) else { return Ok(None) };
            if let Some(found) = self.probe(key)? {
                break (key, found);
            }
            bad = key;
            steps += 1;
            step = if steps < SINGLE_STEPS {
                1
            } else if steps < STRIDES {
                STRIDE
            } else {
                step.saturating_mul(2)
            };
        };
        while good - bad > 1 {
            let middle = bad + (good - bad) / 2;
            match self.probe(middle)? {
                Some(nearer) => (good, found) = (middle, nearer),
                None => bad = middle,
            }
        }
        Ok(found)
    }

    /// The first key from `from` on, if any; `None` where it cannot be read.
    fn probe(&self, from: i64) -> rusqlite::Result<Option<Option<i64>>> {
        let mut statement = self.connection.prepare_cached(&self.table.probe())?;
        let mut rows = statement.query([from])?;
        let read = rows.next().and_then(|row| row.map(|row| row.get::<_, i64>(0)).transpose());
        match read {
            Ok(Some(key)) if key < from => Ok(None),
            Ok(key) => Ok(Some(key)),
            Err(error) if is_damage(&error) => Ok(None),
            Err(error) => Err(error),
        }
    }
}

/// A page that is not what it was, or that the disk does not give.
fn is_damage(error: &rusqlite::Error) -> bool {
    file::is_damage(error)
        || error.sqlite_error_code() == Some(ErrorCode::SystemIoFailure)
        || matches!(
            error,
            rusqlite::Error::InvalidColumnType(..) | rusqlite::Error::FromSqlConversionFailure(..)
        )
        || matches!(error, rusqlite::Error::IntegralValueOutOfRange(..) | rusqlite::Error::Utf8Error(..))
}
