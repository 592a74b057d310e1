//! A new ledger from what can be read of a damaged one.
//!
//! Every row that can be read is copied, with its number. Shares may be missing afterwards: the log has gaps then, which
//! the audit tells, and windows hold what is there. Statistics that are missing are added up anew. Of all else, the books
//! and what they stand on, nothing may be missing, or the copy is kept as what it is, and no pool opens it.

use std::collections::HashSet;
use std::fs::{self, File};
use std::path::{Path, PathBuf};

use rusqlite::config::DbConfig;
use rusqlite::types::ValueRef;
use rusqlite::{Connection, ErrorCode, Row, Transaction, params_from_iter};
use serde::Serialize;

use crate::backup::place;
use crate::check::{TableState, open_damaged};
use crate::export::beside;
use crate::file;
use crate::open;
use crate::readonly::FileError;
use crate::walk::{LostRows, Table, walk};

mod statistics;

/// "SLGP": part of a ledger. No pool takes it for a whole one.
const PARTIAL_ID: i64 = 0x534c_4750;
/// Tables that may have lost rows; see the module's text.
const EXPENDABLE: [&str; 7] =
    ["shares", "share_hours", "templates", "worker_totals", "totals_through", "folded", "sums"];
/// Tables of one row, which a new ledger has already.
const SINGLE: [&str; 3] = ["totals_through", "folded", "accrual_state"];
const SHARES: &str = "shares";

/// A table of the copy.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct SalvagedTable {
    #[serde(flatten)]
    pub copied: TableState,
    /// Rows that could be read, and cannot be right.
    pub refused: u64,
}

impl SalvagedTable {
    pub fn is_whole(&self) -> bool {
        self.copied.is_whole() && self.refused == 0
    }
}

/// What became of a salvage.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Salvaged {
    /// The copy.
    pub file: PathBuf,
    pub tables: Vec<SalvagedTable>,
    /// Why no pool opens the copy; empty: put it in the ledger's place.
    pub not_a_ledger: Vec<String>,
}

impl Salvaged {
    pub fn opens(&self) -> bool {
        self.not_a_ledger.is_empty()
    }
}

/// Copies what can be read of `database` to `file`, which must not exist. `progress` hears a table's name and how many of
/// its rows were copied. Where the books are not whole, the copy's name ends in ".partial".
///
/// # Errors
/// [`FileError`]; nothing is left behind then.
pub fn salvage(
    database: &Path,
    file: &Path,
    progress: &mut dyn FnMut(&str, u64),
) -> Result<Salvaged, FileError> {
    let partial = partial(file);
    for path in [file, &partial] {
        if fs::symlink_metadata(path).is_ok() {
            return Err(FileError::Exists { path: path.to_owned() });
        }
    }
    let (source, version) = open_damaged(database)?;
    let aside = beside(file);
    let failed = |source| FileError::Write { path: file.to_owned(), source };
    file::create(&aside).map_err(failed)?;
    let done = fill(&source, version, &aside, progress).and_then(|(tables, not_a_ledger)| {
        let name = if not_a_ledger.is_empty() { file.to_owned() } else { partial };
        File::open(&aside).and_then(|copy| copy.sync_all()).map_err(failed)?;
        place(&aside, &name)?;
        Ok(Salvaged { file: name, tables, not_a_ledger })
    });
    // After a success it has two names, or this one no more.
    let _ = fs::remove_file(&aside);
    done
}

fn partial(file: &Path) -> PathBuf {
    let mut name = file.file_name().unwrap_or_default().to_owned();
    name.push(".partial");
    file.with_file_name(name)
}

/// Fills the copy; what it has, and why it is no ledger.
fn fill(
    source: &Connection,
    version: i64,
    aside: &Path,
    progress: &mut dyn FnMut(&str, u64),
) -> Result<(Vec<SalvagedTable>, Vec<String>), FileError> {
    let mut target = Connection::open(aside)?;
    open::make(&mut target, version)?;
    // The rows are as they were when the triggers let them in.
    target.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_TRIGGER, false)?;
    target.pragma_update(None, "foreign_keys", false)?;
    let moment = source.unchecked_transaction()?;
    let copy = target.transaction()?;
    let tables = copy_all(&moment, &copy, progress)?;
    statistics::mend(&copy, &tables)?;
    let mut problems = missing(&tables);
    problems.extend(contradictions(&copy)?);
    if !problems.is_empty() {
        copy.pragma_update(None, "application_id", PARTIAL_ID)?;
    }
    copy.commit()?;
    if problems.is_empty() {
        problems.extend(finish(aside, &mut target)?);
    }
    target.pragma_update_and_check(None, "journal_mode", "DELETE", |_| Ok(()))?;
    target.close().map_err(|(_, error)| error)?;
    Ok((tables, problems))
}

/// Brings the copy to the present schema and has it checked like any ledger; what a pool would say against it.
fn finish(aside: &Path, target: &mut Connection) -> rusqlite::Result<Option<String>> {
    target.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_TRIGGER, true)?;
    let sound = open::migrate(aside, target).and_then(|()| open::check(aside, target));
    let Err(problem) = sound else { return Ok(None) };
    target.pragma_update(None, "application_id", PARTIAL_ID)?;
    Ok(Some(problem.to_string()))
}

/// Shares last: they are only kept where their workers are.
fn copy_all(
    source: &Connection,
    target: &Transaction<'_>,
    progress: &mut dyn FnMut(&str, u64),
) -> rusqlite::Result<Vec<SalvagedTable>> {
    let mut names = open::tables(target)?;
    names.sort_by_key(|name| name == SHARES);
    names.iter().map(|name| copy_table(source, target, name, progress)).collect()
}

fn copy_table(
    source: &Connection,
    target: &Transaction<'_>,
    name: &str,
    progress: &mut dyn FnMut(&str, u64),
) -> rusqlite::Result<SalvagedTable> {
    let mut copied = TableState { name: name.to_owned(), rows: 0, lost: Vec::new() };
    let Ok(table) = Table::read(source, name) else {
        copied.lost.push(LostRows { after: None, before: None });
        return Ok(SalvagedTable { copied, refused: 0 });
    };
    let verb = if SINGLE.contains(&name) { "INSERT OR REPLACE" } else { "INSERT" };
    let places = vec!["?"; table.columns].join(", ");
    let mut insert = target.prepare(&format!("{verb} INTO {name} VALUES ({places})"))?;
    let sound = Sound::of(target, name)?;
    let (mut rows, mut refused, mut last_at) = (0, 0, i64::MIN);
    let lost = walk(source, &table, &mut |_, row| {
        let values = (0..table.columns).map(|column| row.get_ref(column)).collect::<Result<Vec<_>, _>>()?;
        if !sound.allows(row, &mut last_at) {
            refused += 1;
            return Ok(());
        }
        match insert.execute(params_from_iter(values.into_iter().map(Value))) {
            Ok(_) => rows += 1,
            Err(error) if error.sqlite_error_code() == Some(ErrorCode::ConstraintViolation) => refused += 1,
            Err(error) => return Err(error),
        }
        progress(name, rows);
        Ok(())
    })?;
    Ok(SalvagedTable { copied: TableState { rows, lost, ..copied }, refused })
}

/// A value on its way from one database to the other.
struct Value<'a>(ValueRef<'a>);

impl rusqlite::ToSql for Value<'_> {
    fn to_sql(&self) -> rusqlite::Result<rusqlite::types::ToSqlOutput<'_>> {
        Ok(rusqlite::types::ToSqlOutput::Borrowed(self.0))
    }
}

/// What a row has to be besides what the schema says. Pages of noise can look like rows.
enum Sound {
    Any,
    /// Of a worker that there is, over a protocol that there is, not before the share before.
    Share(HashSet<i64>),
}

impl Sound {
    fn of(target: &Connection, table: &str) -> rusqlite::Result<Self> {
        if table != SHARES {
            return Ok(Self::Any);
        }
        let mut statement = target.prepare("SELECT id FROM workers")?;
        let workers = statement.query_map([], |row| row.get(0))?.collect::<Result<_, _>>()?;
        Ok(Self::Share(workers))
    }

    fn allows(&self, row: &Row<'_>, last_at: &mut i64) -> bool {
        let Self::Share(workers) = self else { return true };
        let number = |column: &str| row.get::<_, i64>(column).ok();
        let known = number("worker").is_some_and(|worker| workers.contains(&worker))
            && number("protocol").is_some_and(|protocol| (0..=1).contains(&protocol))
            && row
                .get::<_, f64>("difficulty")
                .is_ok_and(|difficulty| difficulty > 0.0 && difficulty.is_finite());
        let at = number("at_ms").filter(|at| *at >= *last_at && known);
        *last_at = at.unwrap_or(*last_at);
        at.is_some()
    }
}

fn missing(tables: &[SalvagedTable]) -> Vec<String> {
    let lost = tables.iter().filter(|table| !table.is_whole());
    let books = lost.filter(|table| !EXPENDABLE.contains(&table.copied.name.as_str()));
    books.map(|table| format!("rows of {} are lost", table.copied.name)).collect()
}

/// Rows that name what is not there, and books that do not come to zero.
fn contradictions(copy: &Connection) -> rusqlite::Result<Vec<String>> {
    let mut statement = copy.prepare("SELECT DISTINCT \"table\", parent FROM pragma_foreign_key_check")?;
    let read = |row: &Row<'_>| {
        let (table, parent): (String, String) = (row.get(0)?, row.get(1)?);
        Ok(format!("rows of {table} name rows of {parent} that are not there"))
    };
    let mut problems: Vec<String> = statement.query_map([], read)?.collect::<Result<_, _>>()?;
    let sum: i64 = copy.query_row("SELECT coalesce(sum(amount), 0) FROM entries", [], |row| row.get(0))?;
    if sum != 0 {
        problems.push(format!("the books sum to {sum} sat, not to zero"));
    }
    Ok(problems)
}
