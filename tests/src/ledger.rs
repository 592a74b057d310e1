//! The ledger as anyone with SQLite sees it, for what the HTTP API does not list share by share.

use std::collections::HashMap;
use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use bitcoin::BlockHash;
use rusqlite::{Connection, OpenFlags};

/// What the ledger keeps of a share's hash: the first 16 bytes as Bitcoin serialises it.
pub type ShareKey = [u8; 16];

/// The SQLite file in `data` or in a directory in it.
///
/// # Errors
/// There is none, or more than one.
pub fn file(data: &Path) -> Result<PathBuf> {
    let mut found = databases(data)?;
    for entry in fs::read_dir(data)? {
        let path = entry?.path();
        if path.is_dir() {
            found.extend(databases(&path)?);
        }
    }
    ensure!(found.len() == 1, "{} holds {} databases", data.display(), found.len());
    found.pop().context("there is one")
}

fn databases(directory: &Path) -> Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(directory)? {
        let path = entry?.path();
        let mut magic = [0; 15];
        let reads = path.is_file() && fs::File::open(&path)?.read_exact(&mut magic).is_ok();
        if reads && magic == *b"SQLite format 3" {
            found.push(path);
        }
    }
    Ok(found)
}

fn open(data: &Path) -> Result<Connection> {
    let connection = Connection::open_with_flags(file(data)?, OpenFlags::SQLITE_OPEN_READ_ONLY)?;
    connection.busy_timeout(crate::SOON)?;
    Ok(connection)
}

/// How often each share is in the log.
///
/// # Errors
/// The file cannot be read.
pub fn shares(data: &Path) -> Result<HashMap<ShareKey, u32>> {
    let connection = open(data)?;
    let mut statement = connection.prepare("SELECT hash FROM shares")?;
    let mut counts = HashMap::new();
    let keys = statement.query_map([], |row| row.get::<_, Vec<u8>>(0))?;
    for key in keys {
        let key = ShareKey::try_from(key?.as_slice()).context("a hash that is not 16 bytes")?;
        *counts.entry(key).or_insert(0) += 1;
    }
    Ok(counts)
}

/// A row of the share log, with the names for its numbers.
#[derive(Clone, Debug, PartialEq)]
pub struct Row {
    pub account: String,
    pub worker: String,
    /// 1 or 2.
    pub stratum: u8,
    pub difficulty: f64,
    pub height: u32,
    pub key: ShareKey,
}

/// The share log, oldest first.
///
/// # Errors
/// The file cannot be read.
pub fn rows(data: &Path) -> Result<Vec<Row>> {
    let connection = open(data)?;
    let mut statement = connection.prepare(
        "SELECT accounts.name, workers.name, protocol, difficulty, height, hash FROM shares \
         JOIN workers ON workers.id = shares.worker JOIN accounts ON accounts.id = workers.account \
         JOIN templates ON templates.id = shares.template ORDER BY seq",
    )?;
    let rows = statement.query_map([], |row| {
        let (stratum, key): (u8, Vec<u8>) = (row.get(2)?, row.get(5)?);
        Ok(Row {
            account: row.get(0)?,
            worker: row.get(1)?,
            stratum: stratum + 1,
            difficulty: row.get(3)?,
            height: row.get(4)?,
            key: ShareKey::try_from(key.as_slice()).unwrap_or_default(),
        })
    })?;
    Ok(rows.collect::<rusqlite::Result<_>>()?)
}

/// The sum of all entries, and how many transactions do not come to zero by themselves.
///
/// # Errors
/// The file cannot be read.
pub fn imbalance(data: &Path) -> Result<(i64, u32)> {
    let connection = open(data)?;
    let total = connection.query_row("SELECT coalesce(sum(amount), 0) FROM entries", [], |row| row.get(0))?;
    let unbalanced =
        "SELECT count(*) FROM (SELECT journal FROM entries GROUP BY journal HAVING sum(amount) <> 0)";
    Ok((total, connection.query_row(unbalanced, [], |row| row.get(0))?))
}

/// What the books have of a block.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Booked {
    pub state: String,
    /// Bookings and reversals.
    pub transactions: u32,
    /// What it brought in, all transactions together.
    pub reward: i64,
    /// What it gave to accounts and to the house and paid out in its coinbase, in absolute terms.
    pub moved: i64,
}

/// # Errors
/// The file cannot be read, or does not have the block.
pub fn booked(data: &Path, block: &BlockHash) -> Result<Booked> {
    let hash: &[u8] = block.as_ref();
    let row = open(data)?.query_row(
        "SELECT state, (SELECT count(*) FROM journal WHERE block = blocks.id), \
         (SELECT coalesce(sum(amount), 0) FROM entries JOIN journal ON journal.id = journal \
          WHERE block = blocks.id AND book = 'reward'), \
         (SELECT coalesce(sum(abs(amount)), 0) FROM (SELECT sum(amount) AS amount FROM entries \
          JOIN journal ON journal.id = journal WHERE block = blocks.id AND book <> 'reward' \
          GROUP BY book, account, reason)) FROM blocks WHERE hash = ?",
        [hash],
        |row| {
            let (state, transactions, reward, moved) = (row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?);
            Ok(Booked { state, transactions, reward, moved })
        },
    )?;
    Ok(row)
}

/// How many settled rounds there are.
///
/// # Errors
/// The file cannot be read.
pub fn rounds(data: &Path) -> Result<u32> {
    Ok(open(data)?.query_row("SELECT count(*) FROM rounds", [], |row| row.get(0))?)
}

/// SQLite's own opinion of the file: `ok`, or what is wrong.
///
/// # Errors
/// The file cannot be read.
pub fn integrity(data: &Path) -> Result<String> {
    Ok(open(data)?.query_row("PRAGMA integrity_check", [], |row| row.get(0))?)
}

/// Moves everything from the write-ahead log into the file itself; for a ledger that nobody has open.
///
/// # Errors
/// The file cannot be written.
pub fn checkpoint(data: &Path) -> Result<()> {
    let connection = Connection::open(file(data)?)?;
    Ok(connection.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()))?)
}
