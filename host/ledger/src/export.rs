//! The ledger as text files that any program reads: CSV as in RFC 4180, and JSON lines for the rounds.
//!
//! docs/ledger.md documents every column. All files are of one moment.

mod csv;

use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

use rusqlite::types::ValueRef;
use rusqlite::{Connection, Row, Transaction};
use serde::Serialize;
use serde_json::value::RawValue;
use sluice_core::bitcoin::BlockHash;
use sluice_core::bitcoin::hashes::Hash;

use crate::readonly::{self, FileError};
use csv::Cell;

/// Rows between two words on progress.
const STEP: u64 = 100_000;
const BUFFER: usize = 1 << 20;
const ROUNDS: &str = "rounds.jsonl";

/// Rows that were written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Exported {
    pub shares: u64,
    pub blocks: u64,
    pub rounds: u64,
    pub entries: u64,
    pub accounts: u64,
}

/// A file and where its rows come from; the columns are named by the query.
struct Table {
    file: &'static str,
    query: &'static str,
}

const SHARES: Table = Table {
    file: "shares.csv",
    query: "SELECT s.seq, s.at_ms, a.name AS account, w.name AS worker, s.template, \
            CASE s.protocol WHEN 1 THEN 'stratum_v2' ELSE 'stratum_v1' END AS protocol, s.difficulty, s.hash \
            FROM shares s LEFT JOIN workers w ON w.id = s.worker LEFT JOIN accounts a ON a.id = w.account \
            ORDER BY s.seq",
};
const TEMPLATES: Table = Table {
    file: "templates.csv",
    query: "SELECT id AS template, height, previous AS previous_block, network_difficulty, subsidy AS subsidy_sat, \
            fees AS fees_sat, at_ms FROM templates ORDER BY id",
};
const BLOCKS: Table = Table {
    file: "blocks.csv",
    query: "SELECT b.hash AS block, b.height, b.at_ms, a.name AS account, w.name AS worker, b.template, b.difficulty, \
            b.network_difficulty, b.subsidy AS subsidy_sat, b.fees AS fees_sat, b.through, b.window, b.state, b.reason \
            FROM blocks b LEFT JOIN workers w ON w.id = b.worker LEFT JOIN accounts a ON a.id = w.account ORDER BY b.id",
};
const PAYMENTS: Table = Table {
    file: "payments.csv",
    query: "SELECT b.hash AS block, p.line, p.account, p.address, p.amount AS amount_sat \
            FROM block_payments p JOIN blocks b ON b.id = p.block ORDER BY p.block, p.line",
};
const ENTRIES: Table = Table {
    file: "entries.csv",
    query: "SELECT e.journal, e.line, j.at_ms, b.hash AS block, e.book, a.name AS account, e.cause, \
            e.amount AS amount_sat, e.reason FROM entries e JOIN journal j ON j.id = e.journal \
            LEFT JOIN blocks b ON b.id = j.block LEFT JOIN accounts a ON a.id = e.account ORDER BY e.journal, e.line",
};
const ACCOUNTS: Table = Table {
    file: "accounts.csv",
    query: "SELECT a.name AS account, \
            (SELECT address FROM addresses WHERE account = a.id ORDER BY id DESC LIMIT 1) AS address, \
            coalesce((SELECT sum(amount) FROM entries WHERE book = 'account' AND account = a.id), 0) AS balance_sat \
            FROM accounts a ORDER BY a.name",
};

/// Writes `database` into the directory `out`, which must not exist or be empty. The pool may run. `progress` hears how
/// many shares are written.
///
/// # Errors
/// [`FileError`]; nothing is left behind then.
pub fn export(database: &Path, out: &Path, progress: &mut dyn FnMut(u64)) -> Result<Exported, FileError> {
    let connection = readonly::open(database)?;
    if fs::symlink_metadata(out).is_ok() && !is_empty_directory(out) {
        return Err(FileError::Exists { path: out.to_owned() });
    }
    let failed = |source| FileError::Write { path: out.to_owned(), source };
    let aside = beside(out);
    fs::create_dir_all(&aside).map_err(failed)?;
    let written = write_all(&connection, &aside, progress);
    let placed = written.and_then(|exported| {
        fs::rename(&aside, out).map_err(failed)?;
        Ok(exported)
    });
    if placed.is_err() {
        // What cannot be removed has a name that says what it is.
        let _ = fs::remove_dir_all(&aside);
    }
    placed
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

fn write_all(
    connection: &Connection,
    dir: &Path,
    progress: &mut dyn FnMut(u64),
) -> Result<Exported, FileError> {
    // One moment for all files.
    let transaction = connection.unchecked_transaction()?;
    let mut quiet = |_| {};
    let exported = Exported {
        shares: write_table(&transaction, dir, &SHARES, progress)?,
        blocks: write_table(&transaction, dir, &BLOCKS, &mut quiet)?,
        rounds: write_rounds(&transaction, dir)?,
        entries: write_table(&transaction, dir, &ENTRIES, &mut quiet)?,
        accounts: write_table(&transaction, dir, &ACCOUNTS, &mut quiet)?,
    };
    write_table(&transaction, dir, &TEMPLATES, &mut quiet)?;
    write_table(&transaction, dir, &PAYMENTS, &mut quiet)?;
    Ok(exported)
}

fn create(dir: &Path, name: &str) -> Result<(PathBuf, BufWriter<File>), FileError> {
    let path = dir.join(name);
    let file = File::create_new(&path).map_err(|source| FileError::Write { path: path.clone(), source })?;
    Ok((path, BufWriter::with_capacity(BUFFER, file)))
}

fn finish(file: BufWriter<File>) -> io::Result<()> {
    file.into_inner().map_err(io::IntoInnerError::into_error)?.sync_all()
}

fn write_table(
    transaction: &Transaction<'_>,
    dir: &Path,
    table: &Table,
    progress: &mut dyn FnMut(u64),
) -> Result<u64, FileError> {
    let (path, mut file) = create(dir, table.file)?;
    let failed = |source| FileError::Write { path: path.clone(), source };
    let mut statement = transaction.prepare(table.query)?;
    let columns: Vec<String> = statement.column_names().into_iter().map(str::to_owned).collect();
    let mut line = String::new();
    csv::row(&mut line, columns.iter().map(|name| Cell::Text(name)));
    let mut rows = statement.query([])?;
    let mut count = 0;
    while let Some(row) = rows.next()? {
        file.write_all(line.as_bytes()).map_err(failed)?;
        line.clear();
        let cells = columns.iter().enumerate().map(|(index, name)| cell(row, index, name));
        csv::row(&mut line, cells.collect::<rusqlite::Result<Vec<_>>>()?.into_iter());
        count += 1;
        if count % STEP == 0 {
            progress(count);
        }
    }
    file.write_all(line.as_bytes()).map_err(failed)?;
    finish(file).map_err(failed)?;
    progress(count);
    Ok(count)
}

fn cell<'a>(row: &'a Row<'_>, index: usize, name: &str) -> rusqlite::Result<Cell<'a>> {
    Ok(match row.get_ref(index)? {
        ValueRef::Null => Cell::Text(""),
        ValueRef::Integer(value) => Cell::Integer(value),
        ValueRef::Real(value) => Cell::Real(value),
        ValueRef::Text(text) => Cell::Text(std::str::from_utf8(text)?),
        // As everybody writes them: the other way round.
        ValueRef::Blob(bytes) if name.ends_with("block") => {
            BlockHash::from_slice(bytes).map_or(Cell::Bytes(bytes), Cell::Hash)
        }
        ValueRef::Blob(bytes) => Cell::Bytes(bytes),
    })
}

/// A line of rounds.jsonl: what is recorded, character by character.
#[derive(Serialize)]
struct RoundLine {
    block: String,
    height: u32,
    at_ms: i64,
    policy_name: String,
    policy_version: String,
    policy_hash: String,
    settings: Box<RawValue>,
    input: Box<RawValue>,
    answer: Box<RawValue>,
}

fn write_rounds(transaction: &Transaction<'_>, dir: &Path) -> Result<u64, FileError> {
    let (path, mut file) = create(dir, ROUNDS)?;
    let failed = |source| FileError::Write { path: path.clone(), source };
    let mut statement = transaction.prepare(
        "SELECT b.hash, b.height, r.at_ms, r.policy_name, r.policy_version, r.policy_hash, r.settings, r.input, \
         r.answer FROM rounds r JOIN blocks b ON b.id = r.block ORDER BY r.block",
    )?;
    let mut rows = statement.query([])?;
    let mut count = 0;
    while let Some(row) = rows.next()? {
        let line = serde_json::to_string(&round_line(row)?).map_err(|error| failed(error.into()))?;
        writeln!(file, "{line}").map_err(failed)?;
        count += 1;
    }
    finish(file).map_err(failed)?;
    Ok(count)
}

fn round_line(row: &Row<'_>) -> rusqlite::Result<RoundLine> {
    let raw = |index| Ok::<_, rusqlite::Error>(recorded(&row.get::<_, String>(index)?));
    Ok(RoundLine {
        block: BlockHash::from_byte_array(row.get(0)?).to_string(),
        height: row.get(1)?,
        at_ms: row.get(2)?,
        policy_name: row.get(3)?,
        policy_version: row.get(4)?,
        policy_hash: row.get(5)?,
        settings: raw(6)?,
        input: raw(7)?,
        answer: raw(8)?,
    })
}

/// JSON as it is; what is none, or takes more than one line, as a string.
fn recorded(text: &str) -> Box<RawValue> {
    let quoted = || serde_json::value::to_raw_value(text).unwrap_or_else(|_| RawValue::NULL.to_owned());
    if text.contains('\n') {
        quoted()
    } else {
        RawValue::from_string(text.to_owned()).unwrap_or_else(|_| quoted())
    }
}
