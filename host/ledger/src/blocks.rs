//! Found blocks and the rounds they close.

use rusqlite::{Connection, OptionalExtension, Row, Transaction, params};
use serde::{Deserialize, Serialize};
use sluice_core::bitcoin::hashes::Hash;
use sluice_core::bitcoin::{Amount, BlockHash};
use sluice_core::ids::{ShareSeq, TemplateId, WorkerId};
use sluice_core::policy::payout::{Contribution, Round, Window};
use sluice_core::units::{Difficulty, Timestamp};

use crate::error::LedgerError;
use crate::insert::{sql, unsigned};
use crate::life::BlockState;
use crate::window::Ask;

/// An output of a block's coinbase.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Payment {
    /// Empty: the house.
    pub account: String,
    pub address: String,
    #[serde(rename = "amount_sat", with = "sluice_core::bitcoin::amount::serde::as_sat")]
    pub amount: Amount,
}

/// A block as it is found.
#[derive(Clone, Debug, PartialEq)]
pub struct BlockRow {
    pub hash: BlockHash,
    pub height: u32,
    pub template: TemplateId,
    pub at: Timestamp,
    /// Its account follows from it.
    pub finder: WorkerId,
    /// What the share counts.
    pub difficulty: Difficulty,
    pub network_difficulty: Difficulty,
    /// Subsidy and fees: the most the coinbase may pay.
    pub reward: Amount,
    /// What its coinbase pays.
    pub payments: Vec<Payment>,
    /// The payout plan's window at that moment.
    pub window: Window,
}

/// An accepted block whose round waits for a settlement.
#[derive(Clone, Debug, PartialEq)]
pub struct OpenRound {
    pub hash: BlockHash,
    /// The window of `round`: the plan's when the block was found.
    pub window: Window,
    /// `found` is true and `finder` is the finder's account; blank it where the split does not depend on it.
    pub round: Round,
}

/// A block row with what the template says of it.
pub(crate) struct NewBlock {
    pub(crate) row: BlockRow,
    pub(crate) template: u32,
    pub(crate) subsidy: Amount,
}

/// Does nothing where the block is known.
pub(crate) fn insert(
    transaction: &Transaction<'_>,
    block: &NewBlock,
    through: ShareSeq,
) -> Result<(), LedgerError> {
    let NewBlock { row, template, subsidy } = block;
    let fees = row.reward.checked_sub(*subsidy).unwrap_or(Amount::ZERO);
    let inserted = transaction
        .prepare_cached(
            "INSERT OR IGNORE INTO blocks (hash, height, template, at_ms, worker, difficulty, network_difficulty, \
             subsidy, fees, through, window, state) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, 'found')",
        )?
        .execute(params![
            row.hash.as_byte_array(),
            row.height,
            template,
            sql(row.at.0),
            row.finder.0,
            row.difficulty.get(),
            row.network_difficulty.get(),
            sql(subsidy.to_sat()),
            sql(fees.to_sat()),
            sql(through.0),
            serde_json::to_string(&row.window)?,
        ])?;
    if inserted == 1 {
        insert_payments(transaction, transaction.last_insert_rowid(), &row.payments)?;
    }
    Ok(())
}

fn insert_payments(transaction: &Transaction<'_>, block: i64, payments: &[Payment]) -> rusqlite::Result<()> {
    let mut statement = transaction.prepare_cached("INSERT INTO block_payments VALUES (?, ?, ?, ?, ?)")?;
    for (line, payment) in (1i64..).zip(payments) {
        let amount = sql(payment.amount.to_sat());
        statement.execute(params![block, line, payment.account, payment.address, amount])?;
    }
    Ok(())
}

pub(crate) fn is_settled(connection: &Connection, block: i64) -> rusqlite::Result<bool> {
    connection.query_row("SELECT EXISTS (SELECT 1 FROM rounds WHERE block = ?)", [block], |row| row.get(0))
}

/// A block as its round needs it.
pub(crate) struct StoredBlock {
    pub(crate) id: i64,
    pub(crate) hash: BlockHash,
    pub(crate) state: BlockState,
    pub(crate) subsidy: Amount,
    pub(crate) fees: Amount,
    height: u32,
    at: Timestamp,
    worker: u32,
    network_difficulty: Difficulty,
    through: u64,
    window: String,
}

const STORED: &str = "SELECT id, hash, state, subsidy, fees, height, at_ms, worker, network_difficulty, \
                      through, window FROM blocks";

impl StoredBlock {
    fn read(row: &Row<'_>) -> rusqlite::Result<Self> {
        Ok(Self {
            id: row.get(0)?,
            hash: BlockHash::from_byte_array(row.get(1)?),
            state: BlockState::from_label(&row.get::<_, String>(2)?),
            subsidy: Amount::from_sat(unsigned(row.get(3)?)),
            fees: Amount::from_sat(unsigned(row.get(4)?)),
            height: row.get(5)?,
            at: Timestamp(unsigned(row.get(6)?)),
            worker: row.get(7)?,
            network_difficulty: Difficulty::saturating(row.get(8)?),
            through: unsigned(row.get(9)?),
            window: row.get(10)?,
        })
    }

    pub(crate) fn through(&self) -> u64 {
        self.through
    }

    pub(crate) fn worker(&self) -> u32 {
        self.worker
    }

    pub(crate) fn window(&self) -> Result<Window, LedgerError> {
        serde_json::from_str(&self.window).map_err(|_| LedgerError::Unreadable(self.window.clone()))
    }

    pub(crate) fn reward(&self) -> Amount {
        self.subsidy.checked_add(self.fees).unwrap_or(Amount::MAX_MONEY)
    }

    /// The question that the round of this block puts to the log.
    pub(crate) fn ask(&self, connection: &Connection, window: Window) -> rusqlite::Result<Ask> {
        let boundary: i64 = connection.query_row(
            "SELECT coalesce(max(through), 0) FROM blocks WHERE id < ? AND state <> 'rejected'",
            [self.id],
            |row| row.get(0),
        )?;
        Ok(Ask { window, network_difficulty: self.network_difficulty, boundary: unsigned(boundary) })
    }

    pub(crate) fn round(&self, finder: String, work_unit: f64, contributions: Vec<Contribution>) -> Round {
        Round {
            found: true,
            height: self.height,
            at: self.at,
            subsidy: self.subsidy,
            fees: self.fees,
            network_difficulty: self.network_difficulty.get(),
            finder,
            work_unit,
            contributions,
        }
    }
}

pub(crate) fn find(connection: &Connection, hash: BlockHash) -> Result<StoredBlock, LedgerError> {
    let text = format!("{STORED} WHERE hash = ?");
    let found = connection.query_row(&text, [hash.as_byte_array()], StoredBlock::read).optional()?;
    found.ok_or(LedgerError::UnknownBlock(hash))
}

/// Accepted, in the chain or not looked for yet, not settled, oldest first.
pub(crate) fn unsettled(connection: &Connection) -> rusqlite::Result<Vec<StoredBlock>> {
    let text = format!(
        "{STORED} WHERE state IN ('accepted', 'immature', 'mature') AND id NOT IN (SELECT block FROM rounds) ORDER BY id"
    );
    let mut statement = connection.prepare(&text)?;
    statement.query_map([], StoredBlock::read)?.collect()
}

/// Where the round that is open at the share `through` began: the last share before it.
pub(crate) fn boundary(connection: &Connection, through: u64) -> rusqlite::Result<u64> {
    let boundary: i64 = connection.query_row(
        "SELECT coalesce(max(through), 0) FROM blocks WHERE through <= ? AND state <> 'rejected'",
        [sql(through)],
        |row| row.get(0),
    )?;
    Ok(unsigned(boundary))
}
