//! The database's file: what tells it from others, what SQLite says of its pages, and who may read what is written.

use std::fs::{self, File};
use std::io;
use std::path::Path;
use std::time::Duration;

use rusqlite::{Connection, ErrorCode, OpenFlags};

/// "SLGR": tells our file from another program's.
pub(crate) const APPLICATION_ID: i64 = 0x534c_4752;
/// The longest that an opening or closing pool may hold the file to itself.
const BUSY_WAIT: Duration = Duration::from_secs(10);
/// The most problems that SQLite's check tells.
const PROBLEMS_LIMIT: usize = 3;

/// Whose file it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Ledger {
        /// Steps of the schema that were done.
        version: i64,
    },
    /// Nobody's yet.
    New,
    /// Another program's.
    Foreign,
}

/// A connection that cannot write, whoever else has the file open.
pub(crate) fn read_only(path: &Path) -> rusqlite::Result<Connection> {
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(path, flags)?;
    connection.busy_timeout(BUSY_WAIT)?;
    Ok(connection)
}

pub(crate) fn kind(connection: &Connection) -> rusqlite::Result<Kind> {
    let read = |name| connection.pragma_query_value(None, name, |row| row.get::<_, i64>(0));
    let tables: i64 = connection.query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get(0))?;
    match read("application_id")? {
        APPLICATION_ID => Ok(Kind::Ledger { version: read("user_version")? }),
        _ if tables == 0 => Ok(Kind::New),
        _ => Ok(Kind::Foreign),
    }
}

/// What SQLite finds wrong with the file, or with one of its tables; nothing where it is whole.
pub(crate) fn quick_check(connection: &Connection, table: Option<&str>) -> rusqlite::Result<Vec<String>> {
    let text = table.map_or_else(
        || format!("PRAGMA quick_check({PROBLEMS_LIMIT})"),
        |name| format!("PRAGMA quick_check('{name}')"),
    );
    let mut statement = connection.prepare(&text)?;
    let lines: Vec<String> = statement.query_map([], |row| row.get(0))?.collect::<Result<_, _>>()?;
    Ok(lines.into_iter().filter(|line| line != "ok").take(PROBLEMS_LIMIT).collect())
}

/// The file is no database, or not any more.
pub(crate) fn is_damage(error: &rusqlite::Error) -> bool {
    matches!(error.sqlite_error_code(), Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase))
}

/// A new file that only its owner can read, whatever the process lets others do: it tells who earns what.
pub(crate) fn create(path: &Path) -> io::Result<File> {
    let mut options = File::options();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options.open(path)
}

/// A new directory that only its owner can enter; those above it are made as ever.
pub(crate) fn create_dir(path: &Path) -> io::Result<()> {
    if let Some(parent) = path.parent() {
        fs::create_dir_all(parent)?;
    }
    let mut builder = fs::DirBuilder::new();
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.create(path)
}

/// The directory entries of `path` are on disk.
pub(crate) fn sync_parent(path: &Path) -> io::Result<()> {
    let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    File::open(parent).and_then(|dir| dir.sync_all())
}
