//! Opening: the lock, the schema, the checks, and what the log says about where it stopped.

use std::fs::{self, File, TryLockError};
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use rusqlite::{Connection, ErrorCode, OpenFlags, OptionalExtension, ffi};
use sluice_core::ids::{AccountId, AccountName, ShareSeq, WorkerId, WorkerName};
use sluice_core::units::Timestamp;
use tracing::{info, warn};

use crate::error::OpenError;
use crate::insert::unsigned;
use crate::names::Names;
use crate::queue::{Queue, Resume};

/// "SLGR": tells our file from another program's.
const APPLICATION_ID: i64 = 0x534c_4752;
/// The steps from an empty file to the present schema; `user_version` counts those done. Never changed, only added to.
const MIGRATIONS: [&str; 2] = [include_str!("schema/1.sql"), include_str!("schema/2.sql")];
/// Up to this size the whole file is checked at the start (about five seconds per GiB); beyond it, all but the share log.
const CHECK_LIMIT_BYTES: u64 = 2 << 30;
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
        connection.pragma_update(None, "cache_size", -CACHE_KIB)?;
        connection.pragma_update(None, "synchronous", "NORMAL")?;
        Ok(connection)
    };
    open().map_err(|source| refused(path, source))
}

/// The writer's connection, on a file that was checked and has the present schema.
pub(crate) fn open_writer(path: &Path, durability: Durability) -> Result<Connection, OpenError> {
    let mut connection = connect(path)?;
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
    let read = |name| connection.pragma_query_value(None, name, |row| row.get::<_, i64>(0));
    let numbers = || Ok((read("application_id")?, read("user_version")?, count_tables(connection)?));
    let (application, version, tables) = numbers().map_err(|source| refused(path, source))?;
    let known = MIGRATIONS.len() as i64;
    if application == APPLICATION_ID && version > known {
        return Err(OpenError::Newer { path: path.to_owned(), found: version, known });
    }
    if application != APPLICATION_ID && tables > 0 {
        return Err(OpenError::Foreign { path: path.to_owned() });
    }
    Ok(())
}

fn count_tables(connection: &Connection) -> rusqlite::Result<i64> {
    connection.query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get(0))
}

fn is_of_an_earlier_version(connection: &Connection) -> rusqlite::Result<bool> {
    let done: i64 = connection.pragma_query_value(None, "user_version", |row| row.get(0))?;
    Ok(usize::try_from(done).is_ok_and(|done| (1..MIGRATIONS.len()).contains(&done)))
}

fn migrate(path: &Path, connection: &mut Connection) -> Result<(), OpenError> {
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
fn check(path: &Path, connection: &Connection) -> Result<(), OpenError> {
    let size = fs::metadata(path).map_or(0, |data| data.len());
    let problems = if size <= CHECK_LIMIT_BYTES {
        quick_check(connection, None)
    } else {
        warn!(bytes = size, "the share log is too long to check at the start; all else is checked");
        check_tables(connection)
    };
    let problems = problems.map_err(|source| refused(path, source))?;
    if !problems.is_empty() {
        return Err(damaged(path, problems.join("; ")));
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
    Ok(())
}

fn check_tables(connection: &Connection) -> rusqlite::Result<Vec<String>> {
    let mut names = connection
        .prepare("SELECT name FROM sqlite_schema WHERE type = 'table' AND name <> 'shares' AND name NOT LIKE 'sqlite_%'")?;
    let mut problems = Vec::new();
    for name in names.query_map([], |row| row.get::<_, String>(0))? {
        problems.extend(quick_check(connection, Some(&name?))?);
    }
    Ok(problems)
}

fn quick_check(connection: &Connection, table: Option<&str>) -> rusqlite::Result<Vec<String>> {
    let text =
        table.map_or("PRAGMA quick_check(3)".to_owned(), |name| format!("PRAGMA quick_check('{name}')"));
    let mut statement = connection.prepare(&text)?;
    let lines: Vec<String> = statement.query_map([], |row| row.get(0))?.collect::<Result<_, _>>()?;
    Ok(lines.into_iter().filter(|line| line != "ok").collect())
}

fn damaged(path: &Path, detail: String) -> OpenError {
    OpenError::Damaged { path: path.to_owned(), detail }
}

/// Damage gets its own words; the rest is passed on.
pub(crate) fn refused(path: &Path, source: rusqlite::Error) -> OpenError {
    match source.sqlite_error_code() {
        Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase) => damaged(path, source.to_string()),
        _ => OpenError::Database { path: path.to_owned(), source },
    }
}

/// Where the log stopped.
pub(crate) fn resume(connection: &Connection) -> rusqlite::Result<Resume> {
    let (last, last_at): (i64, i64) = connection.query_row(
        "SELECT coalesce(max(seq), 0), coalesce((SELECT at_ms FROM shares ORDER BY seq DESC LIMIT 1), 0) FROM shares",
        [],
        |row| Ok((row.get(0)?, row.get(1)?)),
    )?;
    let last_template =
        connection.query_row("SELECT coalesce(max(id), 0) FROM templates", [], |row| row.get(0))?;
    Ok(Resume { last: ShareSeq(unsigned(last)), last_at: unsigned(last_at), last_template })
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
