//! Batches as they are written down.

use std::fmt;

use rusqlite::types::{FromSql, FromSqlResult, ToSql, ToSqlOutput, ValueRef};
use rusqlite::{Connection, OptionalExtension, Row, params};
use serde::Serialize;
use sluice_core::bitcoin::hashes::Hash;
use sluice_core::bitcoin::{Amount, Txid, amount};
use sluice_core::units::Timestamp;

use super::Desk;
use super::coins::{self, Coin};
use super::error::DeskError;
use crate::insert::{sql, unsigned};

/// The most accounts that a batch pays, whatever is asked for: as many outputs as a transaction that nodes relay has
/// room for, about. The rest are paid by the next one.
pub const LINES_LIMIT: usize = 3_000;
/// The most batches that are listed at once, the newest.
pub const BATCHES_LIMIT: usize = 1_000;

/// A batch's number; never given twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(transparent)]
pub struct BatchId(pub i64);

impl fmt::Display for BatchId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl ToSql for BatchId {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        self.0.to_sql()
    }
}

impl FromSql for BatchId {
    fn column_result(value: ValueRef<'_>) -> FromSqlResult<Self> {
        i64::column_result(value).map(Self)
    }
}

/// Where a batch stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "state", rename_all = "snake_case")]
pub enum BatchState {
    /// Taken from the accounts; a transaction may be drafted.
    Prepared,
    /// By this transaction.
    Sent { txid: Txid },
    /// In the chain.
    Confirmed {
        txid: Txid,
        height: u32,
        #[serde(rename = "fee_sat", with = "amount::serde::as_sat")]
        fee: Amount,
    },
    /// Given back to the accounts.
    Cancelled {
        /// A confirmed transaction that spends the batch's first coin: none of its own can ever confirm.
        conflict: Option<Txid>,
    },
}

impl BatchState {
    pub const fn label(&self) -> &'static str {
        match self {
            Self::Prepared => "prepared",
            Self::Sent { .. } => "sent",
            Self::Confirmed { .. } => "confirmed",
            Self::Cancelled { .. } => "cancelled",
        }
    }
}

/// What a batch pays an account.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Line {
    pub account: String,
    pub address: String,
    #[serde(rename = "amount_sat", with = "amount::serde::as_sat")]
    pub amount: Amount,
}

/// A batch of payments, to be paid by one transaction.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Batch {
    pub id: BatchId,
    /// When it was prepared.
    pub at: Timestamp,
    #[serde(flatten)]
    pub state: BatchState,
    /// The largest first.
    pub lines: Vec<Line>,
    /// What its drafts spend, in the order in which they were chosen; all of them spend the first. Empty: none was made
    /// here.
    pub coins: Vec<Coin>,
}

impl Batch {
    /// What it pays all accounts, without the network's fee.
    pub fn total(&self) -> Amount {
        // Each is at most 2^63 sat and all were due at once, so they do not overflow.
        self.lines.iter().fold(Amount::ZERO, |sum, line| sum.checked_add(line.amount).unwrap_or(Amount::MAX))
    }
}

/// A batch without its lines and coins.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Head {
    pub id: BatchId,
    pub state: BatchState,
    /// How many accounts it pays.
    pub lines: u64,
    /// What it pays them, without the network's fee.
    pub total: Amount,
}

impl Desk {
    /// # Errors
    /// [`DeskError::UnknownBatch`].
    pub fn batch(&mut self, id: BatchId) -> Result<Batch, DeskError> {
        self.read(|moment| read(moment, id))
    }

    /// The newest first, at most `limit` and [`BATCHES_LIMIT`].
    ///
    /// # Errors
    /// [`DeskError`] where the ledger cannot be read.
    pub fn heads(&mut self, limit: usize) -> Result<Vec<Head>, DeskError> {
        self.read(|moment| {
            let mut statement = moment.prepare_cached(
                "SELECT p.state, p.txid, p.height, p.fee, p.conflict, p.id, count(l.line), coalesce(sum(l.amount), 0) \
                 FROM (SELECT * FROM payouts ORDER BY id DESC LIMIT ?) p LEFT JOIN payout_lines l ON l.payout = p.id \
                 GROUP BY p.id ORDER BY p.id DESC",
            )?;
            let heads = statement.query_map([sql(limit.min(BATCHES_LIMIT) as u64)], head)?;
            heads.map(|head| head?).collect()
        })
    }
}

fn head(row: &Row<'_>) -> rusqlite::Result<Result<Head, DeskError>> {
    let id = row.get(5)?;
    let (lines, total) = (unsigned(row.get(6)?), Amount::from_sat(unsigned(row.get(7)?)));
    let state = read_state(row)?.ok_or(DeskError::Unreadable { id, what: "the state" });
    Ok(state.map(|state| Head { id, state, lines, total }))
}

/// The one that waits for its transaction.
pub(super) fn prepared(connection: &Connection) -> Result<Option<Batch>, DeskError> {
    let mut statement = connection.prepare_cached("SELECT id FROM payouts WHERE state = 'prepared'")?;
    let id = statement.query_row([], |row| row.get(0)).optional()?;
    id.map(|id| read(connection, id)).transpose()
}

pub(super) fn read(connection: &Connection, id: BatchId) -> Result<Batch, DeskError> {
    let state = state(connection, id)?;
    let at = connection
        .prepare_cached("SELECT at_ms FROM payouts WHERE id = ?")?
        .query_row([id], |row| row.get(0))?;
    Ok(Batch {
        id,
        at: Timestamp(unsigned(at)),
        state,
        lines: lines(connection, id)?,
        coins: coins::of_batch(connection, id)?,
    })
}

pub(super) fn state(connection: &Connection, id: BatchId) -> Result<BatchState, DeskError> {
    let mut statement =
        connection.prepare_cached("SELECT state, txid, height, fee, conflict FROM payouts WHERE id = ?")?;
    let state = statement.query_row([id], |row| Ok(read_state(row)?.ok_or(id))).optional()?;
    state.ok_or(DeskError::UnknownBatch(id))?.map_err(|id| DeskError::Unreadable { id, what: "the state" })
}

/// The schema allows nothing else.
fn read_state(row: &Row<'_>) -> rusqlite::Result<Option<BatchState>> {
    let txid = txid(row, 1)?;
    Ok(match (row.get_ref(0)?.as_str()?, txid) {
        ("prepared", None) => Some(BatchState::Prepared),
        ("sent", Some(txid)) => Some(BatchState::Sent { txid }),
        ("confirmed", Some(txid)) => {
            let fee = Amount::from_sat(unsigned(row.get(3)?));
            Some(BatchState::Confirmed { txid, height: row.get(2)?, fee })
        }
        ("cancelled", None) => Some(BatchState::Cancelled { conflict: self::txid(row, 4)? }),
        _ => None,
    })
}

fn txid(row: &Row<'_>, column: usize) -> rusqlite::Result<Option<Txid>> {
    Ok(row.get::<_, Option<[u8; 32]>>(column)?.map(Txid::from_byte_array))
}

fn lines(connection: &Connection, id: BatchId) -> rusqlite::Result<Vec<Line>> {
    let mut statement = connection.prepare_cached(
        "SELECT a.name, l.address, l.amount FROM payout_lines l JOIN accounts a ON a.id = l.account \
         WHERE l.payout = ? ORDER BY l.line LIMIT ?",
    )?;
    let read = |row: &Row<'_>| {
        let amount = Amount::from_sat(unsigned(row.get(2)?));
        Ok(Line { account: row.get(0)?, address: row.get(1)?, amount })
    };
    statement.query_map(params![id, sql(LINES_LIMIT as u64)], read)?.collect()
}
