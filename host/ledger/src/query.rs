//! What people and programs ask the ledger, through a connection that never holds up the writer.

use rusqlite::{Connection, Row, Rows, params};
use serde::Serialize;
use sluice_core::bitcoin::hashes::Hash;
use sluice_core::bitcoin::{Amount, BlockHash};
use sluice_core::ids::{Protocol, ShareSeq};
use sluice_core::units::{Difficulty, Hashrate, Timestamp};
use std::time::Duration;

use crate::blocks::Payment;
use crate::insert::{sql, unsigned};
use crate::life::BlockState;
use crate::live::WorkerStats;
use crate::names::Names;
use crate::sums::difficulty_of;

/// The most rows a query returns, whatever is asked for.
pub const ROWS_LIMIT: usize = 10_000;

/// What a worker has done.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct WorkerRow {
    pub account: String,
    pub worker: String,
    /// The one it last used.
    pub protocol: Protocol,
    pub shares: u64,
    /// Sum of difficulties.
    pub work: f64,
    pub last_share_at: Timestamp,
    /// Over the last ten minutes.
    pub hashrate: Hashrate,
}

/// A found block.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct BlockView {
    pub hash: BlockHash,
    pub height: u32,
    pub state: BlockState,
    /// As of the last look at the chain; 0 outside of it. Of a mature block: when it became so.
    pub confirmations: u32,
    /// Why it was rejected.
    pub reason: String,
    pub settled: bool,
    pub at: Timestamp,
    pub account: String,
    pub worker: String,
    pub difficulty: Difficulty,
    pub network_difficulty: Difficulty,
    pub reward_sat: u64,
    pub payments: Vec<Payment>,
}

/// What a credit is for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum CreditSource {
    /// A part of a block's reward; where the block is orphaned it counts for nothing.
    Block { hash: BlockHash, height: u32, state: BlockState },
    /// Work alone: the shares of an accrual.
    Work { first: ShareSeq, through: ShareSeq },
}

/// What an account was credited with, by which policy.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct CreditRow {
    pub source: CreditSource,
    pub at: Timestamp,
    /// Empty: the house.
    pub account: String,
    pub amount_sat: u64,
    pub reason: String,
    pub policy_name: String,
    pub policy_version: String,
    pub policy_hash: String,
}

/// What the pool owes an account; the house's own where the name is empty.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Balance {
    pub account: String,
    /// The sum of the next two.
    pub sat: i64,
    /// From blocks that are final, from accruals, and less payouts.
    pub mature_sat: i64,
    /// From blocks that a reorganisation could still take away.
    pub immature_sat: i64,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct Totals {
    pub shares: u64,
    /// Sum of difficulties.
    pub work: f64,
    /// Blocks found, whatever became of them.
    pub blocks: u64,
}

pub(crate) fn rows(limit: usize) -> i64 {
    sql(limit.min(ROWS_LIMIT) as u64)
}

/// The fastest first.
pub(crate) fn workers(stats: &[WorkerStats], names: &Names, now: Timestamp, limit: usize) -> Vec<WorkerRow> {
    let mut busy: Vec<(u32, Hashrate)> = (0u32..)
        .zip(stats)
        .filter(|(_, stats)| stats.sum.shares > 0)
        .map(|(id, stats)| {
            let (work, millis) = stats.recent.sum(now.0);
            (id, Hashrate::from_work(work, Duration::from_millis(millis)))
        })
        .collect();
    busy.sort_by(|(a, x), (b, y)| y.0.total_cmp(&x.0).then(a.cmp(b)));
    busy.truncate(limit.min(ROWS_LIMIT));
    let list = busy.into_iter().filter_map(|(id, hashrate)| worker(id, &stats[id as usize], hashrate, names));
    list.collect()
}

fn worker(id: u32, stats: &WorkerStats, hashrate: Hashrate, names: &Names) -> Option<WorkerRow> {
    let (account, worker) = names.worker_name(id)?;
    Some(WorkerRow {
        account: names.account_name(account.0)?.as_str().to_owned(),
        worker: worker.as_str().to_owned(),
        protocol: stats.protocol,
        shares: stats.sum.shares,
        work: difficulty_of(stats.sum.work),
        last_share_at: Timestamp(stats.last_at),
        hashrate,
    })
}

/// The newest first.
pub(crate) fn blocks(connection: &Connection, limit: usize) -> rusqlite::Result<Vec<BlockView>> {
    let mut statement = connection.prepare_cached(&format!("{BLOCKS} ORDER BY b.id DESC LIMIT ?"))?;
    read_blocks(connection, statement.query([rows(limit)])?)
}

/// Blocks as [`read_blocks`] reads them.
pub(crate) const BLOCKS: &str = "SELECT b.hash, b.height, b.state, b.reason, b.at_ms, a.name, w.name, b.difficulty, \
    b.network_difficulty, b.subsidy + b.fees, EXISTS (SELECT 1 FROM rounds WHERE block = b.id), b.id, b.confirmations \
    FROM blocks b JOIN workers w ON w.id = b.worker JOIN accounts a ON a.id = w.account";

pub(crate) fn read_blocks(connection: &Connection, mut rows: Rows<'_>) -> rusqlite::Result<Vec<BlockView>> {
    let mut list = Vec::new();
    while let Some(row) = rows.next()? {
        list.push(BlockView { payments: payments(connection, row.get(11)?)?, ..block(row)? });
    }
    Ok(list)
}

fn block(row: &Row<'_>) -> rusqlite::Result<BlockView> {
    Ok(BlockView {
        hash: BlockHash::from_byte_array(row.get(0)?),
        height: row.get(1)?,
        state: BlockState::from_label(&row.get::<_, String>(2)?),
        confirmations: row.get(12)?,
        reason: row.get(3)?,
        at: Timestamp(unsigned(row.get(4)?)),
        account: row.get(5)?,
        worker: row.get(6)?,
        difficulty: Difficulty::saturating(row.get(7)?),
        network_difficulty: Difficulty::saturating(row.get(8)?),
        reward_sat: unsigned(row.get(9)?),
        settled: row.get(10)?,
        payments: Vec::new(),
    })
}

fn payments(connection: &Connection, block: i64) -> rusqlite::Result<Vec<Payment>> {
    let mut statement = connection.prepare_cached(
        "SELECT account, address, amount FROM block_payments WHERE block = ? ORDER BY line LIMIT ?",
    )?;
    let read = |row: &Row<'_>| {
        let amount = Amount::from_sat(unsigned(row.get(2)?));
        Ok(Payment { account: row.get(0)?, address: row.get(1)?, amount })
    };
    statement.query_map(params![block, rows(ROWS_LIMIT)], read)?.collect()
}

/// The newest round or accrual first, each in the order of its credits.
pub(crate) fn credits(connection: &Connection, limit: usize) -> rusqlite::Result<Vec<CreditRow>> {
    let text = format!(
        "{CREDITS} WHERE j.number = 1 AND (e.cause = 'credit' OR (e.cause = 'accrual' AND e.book = 'account')) \
         ORDER BY e.journal DESC, e.line LIMIT ?"
    );
    connection.prepare_cached(&text)?.query_map([rows(limit)], credit)?.collect()
}

/// Lines of transactions as [`credit`] reads them. CROSS JOIN keeps SQLite from beginning anywhere but at the entries.
pub(crate) const CREDITS: &str = "SELECT b.hash, b.height, b.state, c.first, c.through, coalesce(a.name, ''), e.amount, \
    e.reason, coalesce(r.at_ms, c.at_ms), coalesce(r.policy_name, c.policy_name), \
    coalesce(r.policy_version, c.policy_version), coalesce(r.policy_hash, c.policy_hash) \
    FROM entries e CROSS JOIN journal j ON j.id = e.journal LEFT JOIN rounds r ON r.block = j.block \
    LEFT JOIN blocks b ON b.id = j.block LEFT JOIN accruals c ON c.id = j.accrual \
    LEFT JOIN accounts a ON a.id = e.account";

pub(crate) fn credit(row: &Row<'_>) -> rusqlite::Result<CreditRow> {
    Ok(CreditRow {
        source: source(row)?,
        account: row.get(5)?,
        amount_sat: unsigned(row.get(6)?),
        reason: row.get(7)?,
        at: Timestamp(unsigned(row.get(8)?)),
        policy_name: row.get(9)?,
        policy_version: row.get(10)?,
        policy_hash: row.get(11)?,
    })
}

fn source(row: &Row<'_>) -> rusqlite::Result<CreditSource> {
    let hash: Option<[u8; 32]> = row.get(0)?;
    let Some(hash) = hash.map(BlockHash::from_byte_array) else {
        let share = |column| row.get(column).map(unsigned).map(ShareSeq);
        return Ok(CreditSource::Work { first: share(3)?, through: share(4)? });
    };
    let state = BlockState::from_label(&row.get::<_, String>(2)?);
    Ok(CreditSource::Block { hash, height: row.get(1)?, state })
}

/// Sorted by account, the house first. What is not final are the entries of blocks that are not mature: what an orphaned
/// one had is reversed, so those in the chain are all. CROSS JOIN keeps SQLite from reading all entries first.
const BALANCES: &str = "SELECT coalesce(a.name, '') AS name, sum(u.amount), sum(u.mature) FROM ( \
        SELECT account, amount, amount AS mature FROM sums \
        UNION ALL SELECT coalesce(e.account, -1), 0, -e.amount \
        FROM blocks b CROSS JOIN journal j CROSS JOIN entries e \
        WHERE b.state IN ('accepted', 'immature') AND j.block = b.id AND e.journal = j.id \
            AND e.book IN ('account', 'house') \
    ) u LEFT JOIN accounts a ON a.id = u.account GROUP BY u.account ORDER BY name";

pub(crate) fn balances(connection: &Connection) -> rusqlite::Result<Vec<Balance>> {
    let mut statement = connection.prepare_cached(BALANCES)?;
    let read = |row: &Row<'_>| {
        let (sat, mature_sat): (i64, i64) = (row.get(1)?, row.get(2)?);
        Ok(Balance { account: row.get(0)?, sat, mature_sat, immature_sat: sat - mature_sat })
    };
    statement.query_map([], read)?.collect()
}

pub(crate) fn books_sum(connection: &Connection) -> rusqlite::Result<i64> {
    connection.query_row("SELECT coalesce(sum(amount), 0) FROM entries", [], |row| row.get(0))
}

pub(crate) fn count_blocks(connection: &Connection) -> rusqlite::Result<u64> {
    connection.query_row("SELECT count(*) FROM blocks", [], |row| row.get(0)).map(unsigned)
}
