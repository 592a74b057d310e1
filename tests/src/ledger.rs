//! The ledger as anyone with SQLite sees it, for what the HTTP API does not list share by share.

use std::collections::{BTreeMap, HashMap};
use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use bitcoin::BlockHash;
use rusqlite::{Connection, OpenFlags};

use crate::share;

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
    let list = fs::read_dir(directory);
    for entry in list.with_context(|| format!("{} cannot be read", directory.display()))? {
        let path = entry?.path();
        let mut magic = [0; 15];
        // A pool that runs may have removed it by now.
        let open = |path: &Path| fs::File::open(path).ok();
        let reads = path.is_file() && open(&path).is_some_and(|mut file| file.read_exact(&mut magic).is_ok());
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

/// What became of a found block.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fate {
    pub state: String,
    /// Settlements of its round.
    pub rounds: u32,
    /// Bookings and reversals.
    pub transactions: u32,
}

impl Fate {
    /// Whether it has a verdict, and the books have of it what follows.
    pub fn is_done(&self) -> bool {
        match self.state.as_str() {
            "found" | "submitted" => false,
            "accepted" | "immature" | "mature" => self.rounds == 1 && self.transactions % 2 == 1,
            _ => self.rounds <= 1 && self.transactions.is_multiple_of(2),
        }
    }
}

/// The found blocks.
///
/// # Errors
/// The file cannot be read, or a block is there twice.
pub fn fates(data: &Path) -> Result<HashMap<ShareKey, Fate>> {
    let connection = open(data)?;
    let mut statement = connection.prepare(
        "SELECT hash, state, (SELECT count(*) FROM rounds WHERE block = b.id), \
         (SELECT count(*) FROM journal WHERE block = b.id) FROM blocks b",
    )?;
    let mut rows = statement.query([])?;
    let mut fates = HashMap::new();
    while let Some(row) = rows.next()? {
        let hash: [u8; 32] = row.get(0)?;
        let fate = Fate { state: row.get(1)?, rounds: row.get(2)?, transactions: row.get(3)? };
        let before = fates.insert(share::key_of(&hash), fate);
        ensure!(before.is_none(), "block {} is there twice", hex::encode(hash));
    }
    Ok(fates)
}

/// How many settled rounds there are.
///
/// # Errors
/// The file cannot be read.
pub fn rounds(data: &Path) -> Result<u32> {
    Ok(open(data)?.query_row("SELECT count(*) FROM rounds", [], |row| row.get(0))?)
}

/// Who decided on money: a row of `rounds` or `accruals`.
#[derive(Clone, Debug, PartialEq)]
pub struct Decision {
    /// The first and last share of work that was credited as it came; `None` for a block's round.
    pub shares: Option<(u32, u32)>,
    pub policy_hash: String,
    pub settings: serde_json::Value,
}

/// The decisions on rounds, then those on work as it came, each in the order in which they were made.
///
/// # Errors
/// The file cannot be read.
pub fn decisions(data: &Path) -> Result<Vec<Decision>> {
    let connection = open(data)?;
    let mut statement = connection.prepare(
        "SELECT NULL, NULL, policy_hash, settings, 0, block FROM rounds UNION ALL \
         SELECT first, through, policy_hash, settings, 1, id FROM accruals ORDER BY 5, 6",
    )?;
    let mut rows = statement.query([])?;
    let mut decisions = Vec::new();
    while let Some(row) = rows.next()? {
        let (first, through, settings): (Option<u32>, Option<u32>, String) =
            (row.get(0)?, row.get(1)?, row.get(3)?);
        decisions.push(Decision {
            shares: first.zip(through),
            policy_hash: row.get(2)?,
            settings: serde_json::from_str(&settings)?,
        });
    }
    Ok(decisions)
}

/// What each account's entries of these causes come to, where that is not zero; the house is the empty name.
fn sums(data: &Path, causes: &[&str]) -> Result<BTreeMap<String, i64>> {
    let connection = open(data)?;
    let mut statement = connection.prepare(
        "SELECT coalesce(accounts.name, ''), entries.cause, sum(amount) FROM entries \
         LEFT JOIN accounts ON accounts.id = entries.account WHERE book IN ('account', 'house') GROUP BY 1, 2",
    )?;
    let rows = statement.query_map([], |row| Ok((row.get(0)?, row.get::<_, String>(1)?, row.get(2)?)))?;
    let mut sums: BTreeMap<String, i64> = BTreeMap::new();
    for row in rows {
        let (account, cause, amount): (String, String, i64) = row?;
        if causes.is_empty() || causes.contains(&cause.as_str()) {
            *sums.entry(account).or_default() += amount;
        }
    }
    sums.retain(|_, amount| *amount != 0);
    Ok(sums)
}

/// What each account is owed, where that is not zero; the house is the empty name.
///
/// # Errors
/// The file cannot be read.
pub fn balances(data: &Path) -> Result<BTreeMap<String, i64>> {
    sums(data, &[])
}

/// What each account was credited with so far, for blocks that were never reversed and for work as it came.
///
/// # Errors
/// The file cannot be read.
pub fn credits(data: &Path) -> Result<BTreeMap<String, i64>> {
    sums(data, &["credit", "accrual"])
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
