//! What one account may know of itself: read from indexes, so that it costs the same in a ledger of any size.

use std::time::Duration;

use rusqlite::{Connection, OptionalExtension, Row, params};
use serde::Serialize;
use sluice_core::bitcoin::Txid;
use sluice_core::ids::{AccountId, Protocol};
use sluice_core::units::{Hashrate, Timestamp};

use crate::error::LedgerError;
use crate::insert::unsigned;
use crate::ledger::Ledger;
use crate::live::WorkerStats;
use crate::money::txid;
use crate::payouts::{Terms, latest_terms};
use crate::query::{BLOCKS, BlockView, CREDITS, CreditRow, credit, read_blocks, rows};
use crate::sums::{Sum, difficulty_of};
use crate::writer::Shared;

/// What the pool owes an account.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Owed {
    /// The sum of the next two. Negative where a coinbase paid more than the round gave.
    pub sat: i64,
    /// From blocks that are final, from accruals, and less payouts.
    pub mature_sat: i64,
    /// From blocks that a reorganisation could still take away.
    pub immature_sat: i64,
    /// What a payout could pay now: the lesser of total and mature part, never below zero.
    pub due_sat: u64,
}

impl Owed {
    pub(crate) fn new(sat: i64, immature_sat: i64) -> Self {
        let mature_sat = sat.saturating_sub(immature_sat);
        let due_sat = u64::try_from(sat.min(mature_sat)).unwrap_or(0);
        Self { sat, mature_sat, immature_sat, due_sat }
    }
}

/// Accepted work.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct Done {
    pub shares: u64,
    /// Sum of difficulties.
    pub work: f64,
    /// The part of it from the last ten minutes.
    pub recent_work: f64,
    /// Over the same time.
    pub hashrate: Hashrate,
}

/// A worker of the account.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct AccountWorker {
    /// May be empty.
    pub worker: String,
    /// The one it last used.
    pub protocol: Protocol,
    pub done: Done,
    pub last_share_at: Timestamp,
}

/// What a payout paid, or is about to pay, to the account.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct AccountPayout {
    pub batch: u64,
    /// `prepared`, `sent`, `confirmed` or `cancelled`.
    pub state: String,
    pub at: Timestamp,
    pub amount_sat: u64,
    pub address: String,
    /// Of the transaction; `None` until it is sent.
    pub txid: Option<Txid>,
}

/// An account with all that concerns it. Lists are the newest, as many as were asked for.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct AccountView {
    pub account: String,
    /// Where it is paid now.
    pub address: Option<String>,
    pub owed: Owed,
    /// Millionths of a satoshi that accruals owe it beyond that.
    pub carried_microsats: u64,
    pub terms: Terms,
    /// Of all its workers.
    pub done: Done,
    /// The fastest first.
    pub workers: Vec<AccountWorker>,
    /// That its workers found.
    pub blocks: Vec<BlockView>,
    pub credits: Vec<CreditRow>,
    pub payouts: Vec<AccountPayout>,
}

impl Ledger {
    /// What there is to know of `account`, each list with at most `limit` rows; `None` where nobody ever logged in to it.
    ///
    /// # Errors
    /// [`LedgerError`] where the database cannot be read.
    pub async fn account(
        &self,
        account: String,
        now: Timestamp,
        limit: usize,
    ) -> Result<Option<AccountView>, LedgerError> {
        self.read(move |connection, shared| {
            let names = shared.names();
            let Some(id) = names.account(&account) else { return Ok(None) };
            let address = names.address(id).map(str::to_owned);
            drop(names);
            // One moment for all of it.
            let moment = connection.unchecked_transaction()?;
            let (done, workers) = workers(shared, id, now, limit);
            Ok(Some(AccountView {
                address,
                owed: owed(&moment, id)?,
                carried_microsats: carried(&moment, id)?,
                terms: latest_terms(&moment, i64::from(id.0))?,
                done,
                workers,
                blocks: blocks(&moment, id, limit)?,
                credits: credits(&moment, id, limit)?,
                payouts: payouts(&moment, id, limit)?,
                account,
            }))
        })
        .await
    }
}

/// All that an account's workers did, and the fastest of them.
fn workers(shared: &Shared, account: AccountId, now: Timestamp, limit: usize) -> (Done, Vec<AccountWorker>) {
    let names = shared.names();
    let ids: Vec<u32> = (0..)
        .zip(names.accounts_of_workers(0))
        .filter(|(_, owner)| *owner == Some(account.0))
        .map(|(id, _)| id)
        .collect();
    drop(names);
    let live = shared.live();
    let stats = |id: &u32| Some((*id, *live.workers.get(*id as usize)?));
    let stats: Vec<(u32, WorkerStats)> = ids.iter().filter_map(stats).collect();
    drop(live);
    let all = sum(stats.iter().map(|(_, stats)| stats), now);
    let mut list: Vec<(u32, WorkerStats, Done)> = stats
        .into_iter()
        .filter(|(_, stats)| stats.sum.shares > 0)
        .map(|(id, stats)| (id, stats, sum([&stats], now)))
        .collect();
    list.sort_by(|(a, _, x), (b, _, y)| y.hashrate.0.total_cmp(&x.hashrate.0).then(a.cmp(b)));
    list.truncate(limit);
    let names = shared.names();
    let worker = |(id, stats, done): (u32, WorkerStats, Done)| {
        let name = names.worker_name(id)?.1.as_str().to_owned();
        let last_share_at = Timestamp(stats.last_at);
        Some(AccountWorker { worker: name, protocol: stats.protocol, done, last_share_at })
    };
    (all, list.into_iter().filter_map(worker).collect())
}

fn sum<'a>(workers: impl IntoIterator<Item = &'a WorkerStats>, now: Timestamp) -> Done {
    let (mut total, mut done) = (Sum::default(), Done::default());
    for stats in workers {
        total.add(stats.sum);
        let (work, millis) = stats.recent.sum(now.0);
        done.recent_work += work;
        done.hashrate.0 += Hashrate::from_work(work, Duration::from_millis(millis)).0;
    }
    Done { shares: total.shares, work: difficulty_of(total.work), ..done }
}

const SUM: &str = "SELECT amount FROM sums WHERE account = ?";
/// Blocks that are not final are few. CROSS JOIN begins with them.
const IMMATURE: &str = "SELECT coalesce(sum(e.amount), 0) FROM blocks b CROSS JOIN journal j CROSS JOIN entries e \
    WHERE b.state IN ('accepted', 'immature') AND j.block = b.id AND e.account = ? AND e.journal = j.id";

fn owed(connection: &Connection, account: AccountId) -> rusqlite::Result<Owed> {
    let mut statement = connection.prepare_cached(SUM)?;
    let sat: Option<i64> = statement.query_row([account.0], |row| row.get(0)).optional()?;
    let immature = connection.prepare_cached(IMMATURE)?.query_row([account.0], |row| row.get(0))?;
    Ok(Owed::new(sat.unwrap_or(0), immature))
}

fn carried(connection: &Connection, account: AccountId) -> rusqlite::Result<u64> {
    let mut statement = connection.prepare_cached("SELECT microsats FROM carries WHERE account = ?")?;
    let carried: Option<i64> = statement.query_row([account.0], |row| row.get(0)).optional()?;
    Ok(carried.map_or(0, unsigned))
}

fn blocks(connection: &Connection, account: AccountId, limit: usize) -> rusqlite::Result<Vec<BlockView>> {
    let text = format!("{BLOCKS} WHERE w.account = ? ORDER BY b.id DESC LIMIT ?");
    let mut statement = connection.prepare_cached(&text)?;
    read_blocks(connection, statement.query(params![account.0, rows(limit)])?)
}

/// From the newest back, as far as the limit reaches.
fn credits_text() -> String {
    format!(
        "{CREDITS} WHERE e.account = ? AND e.cause IN ('credit', 'accrual') AND j.number = 1 \
         ORDER BY e.journal DESC, e.line DESC LIMIT ?"
    )
}

fn credits(connection: &Connection, account: AccountId, limit: usize) -> rusqlite::Result<Vec<CreditRow>> {
    let mut statement = connection.prepare_cached(&credits_text())?;
    statement.query_map(params![account.0, rows(limit)], credit)?.collect()
}

const PAYOUTS: &str = "SELECT p.id, p.state, p.at_ms, l.amount, l.address, p.txid FROM payout_lines l \
    CROSS JOIN payouts p ON p.id = l.payout WHERE l.account = ? ORDER BY l.payout DESC LIMIT ?";

fn payouts(
    connection: &Connection,
    account: AccountId,
    limit: usize,
) -> rusqlite::Result<Vec<AccountPayout>> {
    let read = |row: &Row<'_>| {
        Ok(AccountPayout {
            batch: unsigned(row.get(0)?),
            state: row.get(1)?,
            at: Timestamp(unsigned(row.get(2)?)),
            amount_sat: unsigned(row.get(3)?),
            address: row.get(4)?,
            txid: txid(row, 5)?,
        })
    };
    let mut statement = connection.prepare_cached(PAYOUTS)?;
    statement.query_map(params![account.0, rows(limit)], read)?.collect()
}

#[cfg(test)]
mod tests;
