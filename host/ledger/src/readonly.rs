//! The ledger's file as it lies there, whether a pool has it open or not: read, never written.

use std::io;
use std::path::{Path, PathBuf};

use rusqlite::{Connection, ErrorCode};

use crate::error::LedgerError;
use crate::file::{self, Kind};
use crate::open::{self, SCHEMA};

const CACHE_KIB: i64 = 16_384;

/// Why a ledger's file was not read, or not copied.
#[derive(Debug, thiserror::Error)]
pub enum FileError {
    #[error("there is no ledger at {}; give the data directory of a pool that has run", path.display())]
    Missing { path: PathBuf },
    #[error("{} is no ledger", path.display())]
    Foreign { path: PathBuf },
    #[error(
        "{} has schema {found}, this version reads {SCHEMA}; start the pool once to bring it to that, or use the version \
         that wrote it", path.display()
    )]
    Older { path: PathBuf, found: i64 },
    #[error("{} has schema {found}, this version reads {SCHEMA}; use the newer version", path.display())]
    Newer { path: PathBuf, found: i64 },
    #[error("the database {} is damaged: {detail}; restore a backup", path.display())]
    Damaged { path: PathBuf, detail: String },
    #[error("cannot read {}: {source}; the directory has to be writable, or the pool has to run", path.display())]
    Open { path: PathBuf, source: rusqlite::Error },
    #[error("{} exists already and stays as it is; choose another name", path.display())]
    Exists { path: PathBuf },
    #[error("{} is left from a copy that was not finished; remove it", path.display())]
    Leftover { path: PathBuf },
    #[error("cannot write to {}: it is {what}; name a directory that does not exist, or is empty", path.display())]
    NoPlace { path: PathBuf, what: &'static str },
    #[error("cannot write {}: {source}", path.display())]
    Write { path: PathBuf, source: io::Error },
    #[error("the copy is not like the ledger: {0}; it was removed")]
    Copy(String),
    #[error("the pool folds its old shares faster than they are read; try again when it is done")]
    Folding,
    #[error(transparent)]
    Ledger(#[from] LedgerError),
    #[error("database: {0}")]
    Database(#[from] rusqlite::Error),
}

/// The database in the ledger's directory.
pub fn database_in(dir: &Path) -> PathBuf {
    open::database_path(dir)
}

/// A connection that cannot write, to a file that is a ledger.
pub(crate) fn open(path: &Path) -> Result<Connection, FileError> {
    if !path.is_file() {
        return Err(FileError::Missing { path: path.to_owned() });
    }
    let connect = || {
        let connection = file::read_only(path)?;
        connection.pragma_update(None, "cache_size", -CACHE_KIB)?;
        let kind = file::kind(&connection)?;
        Ok((connection, kind))
    };
    let (connection, kind) = connect().map_err(|source| refused(path, source))?;
    let path = || path.to_owned();
    match kind {
        Kind::Ledger { version: SCHEMA } => Ok(connection),
        Kind::Ledger { version: found } if found < SCHEMA => Err(FileError::Older { path: path(), found }),
        Kind::Ledger { version: found } => Err(FileError::Newer { path: path(), found }),
        Kind::New | Kind::Foreign => Err(FileError::Foreign { path: path() }),
    }
}

fn refused(path: &Path, source: rusqlite::Error) -> FileError {
    let (path, detail) = (path.to_owned(), source.to_string());
    match source.sqlite_error_code() {
        Some(ErrorCode::NotADatabase) => FileError::Foreign { path },
        _ if file::is_damage(&source) => FileError::Damaged { path, detail },
        _ => FileError::Open { path, source },
    }
}
