//! The ledger as files that any program reads: CSV as in RFC 4180 with JSON lines for what is JSON, or Parquet.
//!
//! docs/ledger.md documents every column. All files are of one moment, and only their owner can read them: they tell who
//! earns what.

mod csv;
mod lines;
mod parquet;
mod tables;

use std::fmt;
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use rusqlite::{Connection, Row, Transaction};
use serde::Serialize;

use self::csv::CsvFile;
use self::lines::LinesFile;
use self::parquet::ParquetFile;
use self::tables::{Column, TABLES, Table};
use crate::file;
use crate::readonly::{self, FileError};

/// Rows between two words on progress.
const STEP: u64 = 100_000;

/// How the files are written. Both have the same tables, columns and values.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// Text; tables with JSON in them as JSON lines.
    Csv,
    /// Typed columns, compressed with Snappy.
    Parquet,
}

/// Rows that were written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Exported {
    pub shares: u64,
    pub blocks: u64,
    pub rounds: u64,
    pub accruals: u64,
    pub payouts: u64,
    pub entries: u64,
    pub accounts: u64,
}

/// A value of a row.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Cell<'a> {
    Nothing,
    Integer(i64),
    Real(f64),
    Text(&'a str),
    /// Text that was written as JSON.
    Json(&'a str),
    /// Hex, in the order of the bytes.
    Bytes(&'a [u8]),
    /// Hex, the last byte first: as people write the hashes of blocks and transactions.
    Hash(&'a [u8]),
    Big(u128),
}

impl fmt::Display for Cell<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Nothing => Ok(()),
            Self::Integer(value) => write!(f, "{value}"),
            // The shortest decimal that reads back as the same number.
            Self::Real(value) => write!(f, "{value}"),
            Self::Text(text) | Self::Json(text) => f.write_str(text),
            Self::Bytes(bytes) => bytes.iter().try_for_each(|byte| write!(f, "{byte:02x}")),
            Self::Hash(bytes) => bytes.iter().rev().try_for_each(|byte| write!(f, "{byte:02x}")),
            Self::Big(value) => write!(f, "{value}"),
        }
    }
}

/// A file under way.
enum Sink {
    Csv(CsvFile),
    Lines(LinesFile),
    Parquet(Box<ParquetFile>),
}

impl Sink {
    fn create(dir: &Path, table: &Table, format: Format) -> (PathBuf, io::Result<Self>) {
        let has_json = table.columns.iter().any(Column::is_json);
        let kind = match (format, has_json) {
            (Format::Csv, false) => "csv",
            (Format::Csv, true) => "jsonl",
            (Format::Parquet, _) => "parquet",
        };
        let path = dir.join(format!("{}.{kind}", table.name));
        let sink = file::create(&path).and_then(|file| Self::begin(file, table.columns, (format, has_json)));
        (path, sink)
    }

    fn begin(file: File, columns: &'static [Column], kind: (Format, bool)) -> io::Result<Self> {
        Ok(match kind {
            (Format::Csv, false) => Self::Csv(CsvFile::begin(file, columns)?),
            (Format::Csv, true) => Self::Lines(LinesFile::begin(file, columns)),
            (Format::Parquet, _) => Self::Parquet(Box::new(ParquetFile::begin(file, columns)?)),
        })
    }

    fn row(&mut self, cells: &[Cell<'_>]) -> io::Result<()> {
        match self {
            Self::Csv(file) => file.row(cells),
            Self::Lines(file) => file.row(cells),
            Self::Parquet(file) => file.row(cells),
        }
    }

    /// Everything is on disk when this returns.
    fn finish(self) -> io::Result<()> {
        match self {
            Self::Csv(file) => file.finish(),
            Self::Lines(file) => file.finish(),
            Self::Parquet(file) => file.finish(),
        }
    }
}

/// Writes `database` into the directory `out`, which must not exist or be empty. The pool may run. `progress` hears how
/// many shares are written.
///
/// # Errors
/// [`FileError`]; nothing is left behind then.
pub fn export(
    database: &Path,
    out: &Path,
    format: Format,
    progress: &mut dyn FnMut(u64),
) -> Result<Exported, FileError> {
    let connection = readonly::open(database)?;
    check_place(out)?;
    let aside = beside(out);
    file::create_dir(&aside).map_err(|source| not_made(&aside, source))?;
    let placed = write_all(&connection, &aside, format, progress).and_then(|exported| {
        let placed = fs::rename(&aside, out).and_then(|()| file::sync_parent(out));
        placed.map_err(|source| FileError::Write { path: out.to_owned(), source })?;
        Ok(exported)
    });
    if placed.is_err() {
        // What cannot be removed has a name that says what it is.
        let _ = fs::remove_dir_all(&aside);
    }
    placed
}

/// Before hours of work: the directory can get its name when it is done.
fn check_place(out: &Path) -> Result<(), FileError> {
    let no_place = |what| Err(FileError::NoPlace { path: out.to_owned(), what });
    if out.file_name().is_none() {
        return no_place("no name of its own");
    }
    match fs::symlink_metadata(out) {
        Err(_) => Ok(()),
        Ok(there) if there.is_symlink() => no_place("a symbolic link"),
        Ok(_) if is_empty_directory(out) => Ok(()),
        Ok(_) => Err(FileError::Exists { path: out.to_owned() }),
    }
}

fn is_empty_directory(path: &Path) -> bool {
    fs::read_dir(path).is_ok_and(|mut entries| entries.next().is_none())
}

/// A name beside `path`, for what is not finished.
pub(crate) fn beside(path: &Path) -> PathBuf {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(format!(".partial-{}", std::process::id()));
    path.with_file_name(name)
}

/// What [`beside`] names was not made.
pub(crate) fn not_made(path: &Path, source: io::Error) -> FileError {
    let path = path.to_owned();
    match source.kind() {
        io::ErrorKind::AlreadyExists => FileError::Leftover { path },
        _ => FileError::Write { path, source },
    }
}

fn write_all(
    connection: &Connection,
    dir: &Path,
    format: Format,
    progress: &mut dyn FnMut(u64),
) -> Result<Exported, FileError> {
    // One moment for all files.
    let transaction = connection.unchecked_transaction()?;
    let mut exported = Exported::default();
    for table in TABLES {
        let mut quiet = |_| {};
        let progress: &mut dyn FnMut(u64) = if table.name == "shares" { progress } else { &mut quiet };
        let rows = write_table(&transaction, dir, table, format, progress)?;
        match table.name {
            "shares" => exported.shares = rows,
            "blocks" => exported.blocks = rows,
            "rounds" => exported.rounds = rows,
            "accruals" => exported.accruals = rows,
            "payouts" => exported.payouts = rows,
            "entries" => exported.entries = rows,
            "accounts" => exported.accounts = rows,
            _ => {}
        }
    }
    Ok(exported)
}

fn write_table(
    transaction: &Transaction<'_>,
    dir: &Path,
    table: &Table,
    format: Format,
    progress: &mut dyn FnMut(u64),
) -> Result<u64, FileError> {
    let (path, sink) = Sink::create(dir, table, format);
    let failed = |source| FileError::Write { path: path.clone(), source };
    let mut sink = sink.map_err(failed)?;
    let mut statement = transaction.prepare(table.query)?;
    let mut rows = statement.query([])?;
    let mut count = 0;
    while let Some(row) = rows.next()? {
        sink.row(&cells(row, table.columns)?).map_err(failed)?;
        count += 1;
        if count % STEP == 0 {
            progress(count);
        }
    }
    sink.finish().map_err(failed)?;
    progress(count);
    Ok(count)
}

fn cells<'a>(row: &'a Row<'_>, columns: &[Column]) -> rusqlite::Result<Vec<Cell<'a>>> {
    columns.iter().enumerate().map(|(index, column)| column.cell(row, index)).collect()
}
