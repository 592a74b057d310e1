//! Opening: the lock, the schema, the checks, and what the log says about where it stopped.

use std::fs::{self, File, TryLockError};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rusqlite::{Connection, ErrorCode, MAIN_DB, OpenFlags, OptionalExtension, ffi};
use sluice_core::ids::{AccountId, AccountName, ShareSeq, WorkerId, WorkerName};
use sluice_core::units::Timestamp;
use tracing::{info, warn};

use crate::check::wrong_balances;
use crate::damage::{self, Damage, Depth};
use crate::error::OpenError;
use crate::file::{self, APPLICATION_ID, Kind};
use crate::insert::unsigned;
use crate::names::Names;
use crate::queue::{Queue, Resume};

/// The steps from an empty file to the present schema; `user_version` counts those done. Never changed, only added to.
const MIGRATIONS: [&str; 3] =
    [include_str!("schema/1.sql"), include_str!("schema/2.sql"), include_str!("schema/3.sql")];
/// The present schema.
pub(crate) const SCHEMA: i64 = MIGRATIONS.len() as i64;
/// Up to this size the whole file is checked at the start (about five seconds per GiB); beyond it, all but [`LONG`].
const CHECK_LIMIT_BYTES: u64 = 2 << 30;
/// Tables that only grow and that no balance is made of: shares, and what policies were asked and answered. The books
/// are always read whole.
const LONG: [&str; 3] = ["shares", "accruals", "rounds"];
/// The longest that a connection of the pool waits for a payout desk's commit, before the alarm is raised.
pub(crate) const BUSY_WAIT: Duration = Duration::from_secs(30);
/// Page cache of a connection, in KiB. The writer only appends.
const CACHE_KIB: i64 = 8192;
/// The most that may stay in the write-ahead log's file after it was moved.
const WAL_KEPT_BYTES: i64 = 256 << 20;

const DATABASE: &str = "ledger.db";
const LOCK: &str = "ledger.lock";

/// What a commit of shares survives. Blocks, their states and settlements always survive a power cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Durability {
    /// The end of the process, kill -9 included; a power cut may take the last seconds, never the file.
    Process,
    /// A power cut as well: every commit waits until the disk has it.
    Power,
}

/// Wall-clock time.
pub(crate) fn now() -> Timestamp {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Timestamp(u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
}

/// The directory is ours while this lives, and no longer than the process.
#[derive(Debug)]
pub(crate) struct DataLock(#[expect(dead_code, reason = "held, not used")] File);

pub(crate) fn lock_directory(dir: &Path) -> Result<DataLock, OpenError> {
    let failed = |source| OpenError::Directory { dir: dir.to_owned(), source };
    fs::create_dir_all(dir).map_err(failed)?;
    let file =
        File::options().create(true).truncate(false).write(true).open(dir.join(LOCK)).map_err(failed)?;
    match file.try_lock() {
        Ok(()) => Ok(DataLock(file)),
        Err(TryLockError::WouldBlock) => Err(OpenError::InUse { dir: dir.to_owned() }),
        Err(TryLockError::Error(source)) => Err(failed(source)),
    }
}

pub(crate) fn database_path(dir: &Path) -> PathBuf {
    dir.join(DATABASE)
}

/// A connection that cannot write.
pub(crate) fn open_reader(path: &Path) -> Result<Connection, OpenError> {
    let connection = connect(path)?;
    connection.pragma_update(None, "query_only", true).map_err(|source| refused(path, source))?;
    Ok(connection)
}

/// A connection. Files are read, not mapped: a disk that fails to read is an error then, not the end of the process.
pub(crate) fn connect(path: &Path) -> Result<Connection, OpenError> {
    let open = || {
        let connection = Connection::open_with_flags(
            path,
            OpenFlags::SQLITE_OPEN_READ_WRITE
                | OpenFlags::SQLITE_OPEN_CREATE
                | OpenFlags::SQLITE_OPEN_NO_MUTEX,
        )?;
        connection.busy_timeout(BUSY_WAIT)?;
        connection.pragma_update(None, "cache_size", -CACHE_KIB)?;
        connection.pragma_update(None, "synchronous", "NORMAL")?;
        Ok(connection)
    };
    open().map_err(|source| refused(path, source))
}

/// The writer's connection, on a file that was checked and has the present schema.
pub(crate) fn open_writer(path: &Path, durability: Durability) -> Result<Connection, OpenError> {
    let mut connection = connect(path)?;
    if connection.is_readonly(MAIN_DB).map_err(|source| refused(path, source))? {
        return Err(OpenError::ReadOnly { path: path.to_owned() });
    }
    check_kind(path, &connection)?;
    if is_of_an_earlier_version(&connection).map_err(|source| refused(path, source))? {
        // A migration must not write into what is damaged.
        check(path, &connection)?;
    }
    migrate(path, &mut connection)?;
    check(path, &connection)?;
    configure(&connection, durability).map_err(|source| refused(path, source))?;
    Ok(connection)
}

fn configure(connection: &Connection, durability: Durability) -> rusqlite::Result<()> {
    set_durability(connection, durability)?;
    connection.pragma_update_and_check(None, "wal_autocheckpoint", 0, |_| Ok(()))?;
    connection.pragma_update_and_check(None, "journal_size_limit", WAL_KEPT_BYTES, |_| Ok(()))?;
    connection.pragma_update(None, "foreign_keys", true)?;
    connection.set_prepared_statement_cache_capacity(64);
    Ok(())
}

/// How much the next commits survive.
pub(crate) fn set_durability(connection: &Connection, durability: Durability) -> rusqlite::Result<()> {
    let synchronous = match durability {
        Durability::Process => "NORMAL",
        Durability::Power => "FULL",
    };
    connection.pragma_update(None, "synchronous", synchronous)
}

fn check_kind(path: &Path, connection: &Connection) -> Result<(), OpenError> {
    match file::kind(connection).map_err(|source| refused(path, source))? {
        Kind::Ledger { version } if version > SCHEMA => {
            Err(OpenError::Newer { path: path.to_owned(), found: version, known: SCHEMA })
        }
        Kind::Foreign => Err(OpenError::Foreign { path: path.to_owned() }),
        Kind::Ledger { .. } | Kind::New => Ok(()),
    }
}

fn is_of_an_earlier_version(connection: &Connection) -> rusqlite::Result<bool> {
    let done: i64 = connection.pragma_query_value(None, "user_version", |row| row.get(0))?;
    Ok(usize::try_from(done).is_ok_and(|done| (1..MIGRATIONS.len()).contains(&done)))
}

/// Makes an empty file a ledger of the schema `version`, which is not above [`SCHEMA`].
pub(crate) fn make(connection: &mut Connection, version: i64) -> rusqlite::Result<()> {
    let steps = usize::try_from(version).unwrap_or(0);
    let transaction = connection.transaction()?;
    for step in MIGRATIONS.iter().take(steps) {
        transaction.execute_batch(step)?;
    }
    transaction.pragma_update(None, "application_id", APPLICATION_ID)?;
    transaction.pragma_update(None, "user_version", version)?;
    transaction.commit()
}

pub(crate) fn migrate(path: &Path, connection: &mut Connection) -> Result<(), OpenError> {
    let mut run = || {
        connection.pragma_update_and_check(None, "journal_mode", "WAL", |_| Ok(()))?;
        // Written anew, a table must not take along the rows that name it; what they name is checked below.
        connection.pragma_update(None, "foreign_keys", false)?;
        let done: i64 = connection.pragma_query_value(None, "user_version", |row| row.get(0))?;
        for (version, step) in (1i64..).zip(MIGRATIONS).skip(usize::try_from(done).unwrap_or(0)) {
            let transaction = connection.transaction()?;
            transaction.execute_batch(step)?;
            check_references(&transaction)?;
            transaction.pragma_update(None, "application_id", APPLICATION_ID)?;
            transaction.pragma_update(None, "user_version", version)?;
            transaction.commit()?;
            info!(version, "ledger schema");
        }
        Ok(())
    };
    run().map_err(|source| refused(path, source))
}

/// Every row that a row names is there.
fn check_references(connection: &Connection) -> rusqlite::Result<()> {
    let table: Option<String> =
        connection.query_row("PRAGMA foreign_key_check", [], |row| row.get(0)).optional()?;
    table.map_or(Ok(()), |table| {
        let problem = format!("a row of {table} names another that is not there");
        Err(rusqlite::Error::SqliteFailure(ffi::Error::new(ffi::SQLITE_CORRUPT), Some(problem)))
    })
}

/// SQLite's own check, and that the books are whole.
pub(crate) fn check(path: &Path, connection: &Connection) -> Result<(), OpenError> {
    check_up_to(CHECK_LIMIT_BYTES, path, connection)
}

/// The same; of a file above `limit` bytes without the pages of [`LONG`].
fn check_up_to(limit: u64, path: &Path, connection: &Connection) -> Result<(), OpenError> {
    let size = fs::metadata(path).map_or(0, |data| data.len());
    let damage = if size <= limit {
        Damage::look(connection, Depth::Quick, None)
    } else {
        warn!(
            bytes = size,
            "the ledger is long: {} are not checked at the start; `sluice ledger check` does",
            LONG.join(", ")
        );
        check_tables(connection)
    };
    let damage = damage.map_err(|source| refused(path, source))?;
    if !damage.is_none() {
        return Err(damaged(path, damage.to_string()));
    }
    let (sum, open) = connection
        .query_row("SELECT (SELECT coalesce(sum(amount), 0) FROM entries), (SELECT count(*) FROM journal WHERE sealed = 0)", [], |row| {
            Ok((row.get::<_, i64>(0)?, row.get::<_, i64>(1)?))
        })
        .map_err(|source| refused(path, source))?;
    if sum != 0 || open != 0 {
        return Err(damaged(
            path,
            format!("the books sum to {sum} sat with {open} open transactions, not to zero"),
        ));
    }
    match wrong_balances(connection).map_err(|source| refused(path, source))? {
        0 => Ok(()),
        wrong => Err(damaged(path, format!("{wrong} balances are not the sum of their entries"))),
    }
}

fn check_tables(connection: &Connection) -> rusqlite::Result<Damage> {
    let mut damage = Damage::default();
    for name in tables(connection)?.iter().filter(|name| !LONG.contains(&name.as_str())) {
        damage.join(Damage::look(connection, Depth::Quick, Some(name))?);
    }
    Ok(damage)
}

/// The names of all tables.
pub(crate) fn tables(connection: &Connection) -> rusqlite::Result<Vec<String>> {
    let mut names = connection
        .prepare("SELECT name FROM sqlite_schema WHERE type = 'table' AND name NOT LIKE 'sqlite_%'")?;
    names.query_map([], |row| row.get(0))?.collect()
}

fn damaged(path: &Path, detail: String) -> OpenError {
    OpenError::Damaged { path: path.to_owned(), detail }
}

/// Damage gets its own words, and so does a file that cannot be written; the rest is passed on.
pub(crate) fn refused(path: &Path, source: rusqlite::Error) -> OpenError {
    if file::is_damage(&source) {
        let detail = damage::of_header(path).unwrap_or_else(|| source.to_string());
        return damaged(path, detail);
    }
    match source.sqlite_error_code() {
        Some(ErrorCode::ReadOnly) => OpenError::ReadOnly { path: path.to_owned() },
        _ => OpenError::Database { path: path.to_owned(), source },
    }
}

/// Where the log stopped. What was written of a share's number counts as well: the newest rows of the log may have been
/// lost to a damaged page, and no number is given twice.
pub(crate) fn resume(connection: &Connection) -> rusqlite::Result<Resume> {
    let number = |text| connection.query_row(text, [], |row| row.get::<_, i64>(0));
    let last = number(
        "SELECT max((SELECT coalesce(max(seq), 0) FROM shares), (SELECT through FROM folded), \
         (SELECT through FROM totals_through), (SELECT coalesce(max(through), 0) FROM blocks), \
         (SELECT coalesce(max(through), 0) FROM accruals), (SELECT coalesce(max(after), 0) FROM accrual_state))",
    )?;
    let last_at =
        number("SELECT coalesce((SELECT at_ms FROM shares ORDER BY seq DESC LIMIT 1), 0)").map(unsigned)?;
    let last_template =
        connection.query_row("SELECT coalesce(max(id), 0) FROM templates", [], |row| row.get(0))?;
    Ok(Resume { last: ShareSeq(unsigned(last)), last_at, last_template })
}

/// The names on disk, into memory and into the queue's list of what is written.
pub(crate) fn load_names(connection: &Connection, queue: &mut Queue) -> rusqlite::Result<Names> {
    let mut names = Names::default();
    let mut statement = connection.prepare("SELECT id, name FROM accounts")?;
    let mut rows = statement.query([])?;
    while let Some(row) = rows.next()? {
        names.put_account(
            AccountId(row.get(0)?),
            AccountName::new(&row.get::<_, String>(1)?).map_err(bad_name)?,
        );
    }
    let mut statement = connection.prepare("SELECT id, account, name FROM workers")?;
    let mut rows = statement.query([])?;
    while let Some(row) = rows.next()? {
        let (id, account) = (WorkerId(row.get(0)?), AccountId(row.get(1)?));
        names.put_worker(id, account, WorkerName::new(&row.get::<_, String>(2)?).map_err(bad_name)?);
        queue.add_written_worker(id, account);
    }
    let mut statement = connection.prepare("SELECT account, address FROM addresses ORDER BY id")?;
    let mut rows = statement.query([])?;
    while let Some(row) = rows.next()? {
        names.put_address(AccountId(row.get(0)?), row.get(1)?);
    }
    Ok(names)
}

/// Only a damaged file holds a name that was never let in.
fn bad_name(error: sluice_core::ids::NameError) -> rusqlite::Error {
    rusqlite::Error::FromSqlConversionFailure(0, rusqlite::types::Type::Text, Box::new(error))
}

#[cfg(test)]
mod tests;
