//! Retention: the oldest shares, once they are old enough and nothing needs them any more, become a row for each hour,
//! worker and protocol, and leave the log.
//!
//! Whatever is still to be computed from shares keeps them (`keep`): the window of the present plan, the rounds of blocks
//! that are not final or not settled, work that is not accrued, statistics that are not saved; and the newest share stays.
//! The pool goes on meanwhile: a transaction moves a bounded number of shares and moves `folded.through` with them, and
//! between two of them the writer takes what waits.

mod keep;

use std::collections::BTreeMap;
use std::sync::atomic::Ordering;
use std::time::Duration;

use rusqlite::{Connection, OptionalExtension, Transaction, params};
use sluice_core::ids::ShareSeq;
use sluice_core::policy::payout::Window;
use sluice_core::units::{Difficulty, Timestamp};

use crate::error::LedgerError;
use crate::insert::{sql, unsigned};
use crate::ledger::Ledger;
use crate::sums::{Sum, work_of};
use crate::writer::Shared;

pub use keep::Keeps;

/// Shares of one transaction.
const SHARES_PER_STEP: u64 = 4_000;
/// Between two of them: commits of shares come first.
const PAUSE: Duration = Duration::from_millis(20);
const HOUR_MS: u64 = 3_600_000;

/// What the payout plan of the moment needs of the log.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Needed {
    pub window: Window,
    pub network_difficulty: Difficulty,
}

/// What a fold did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Folded {
    /// Shares that left the log.
    pub shares: u64,
    /// The last share that is folded, from now or before.
    pub through: ShareSeq,
    /// What keeps the next share.
    pub keeps: Keeps,
}

impl Ledger {
    /// Folds the shares that are older than `before` and that nothing needs. Commits of shares go on meanwhile. Needs a
    /// runtime with timers.
    ///
    /// # Errors
    /// [`LedgerError`] where the log cannot be read; waits, and does not fail, while the disk refuses. What was folded
    /// until then stays folded.
    pub async fn fold(&self, before: Timestamp, needed: Needed) -> Result<Folded, LedgerError> {
        self.save_totals().await?;
        let foldable = move |moment: &Connection, shared: &Shared| {
            // The moment begins here. Names that come later have no share in it.
            through(moment)?;
            let accounts: Vec<Option<u32>> = shared.names().accounts_of_workers(0).collect();
            keep::last_foldable(moment, &accounts, before, needed)
        };
        // What may be folded, and what keeps the next. A long window is read for that.
        let (last, keeps) = self.read_aside(foldable).await?;
        let mut folded = Folded { shares: 0, through: self.folded().await?, keeps };
        if last <= folded.through.0 {
            return Ok(folded);
        }
        // Before anything is deleted, so that no window is read from a log that changes under it.
        self.with_windows(move |windows, _| {
            windows.forget(last);
            Ok(())
        })
        .await?;
        loop {
            let (shares, through) = self.transact(move |transaction, _| Ok(step(transaction, last)?)).await?;
            let stays = through == folded.through.0;
            folded.shares += shares;
            folded.through = ShareSeq(through);
            if stays || through >= last {
                return Ok(folded);
            }
            tokio::time::sleep(PAUSE).await;
        }
    }

    /// The last share that is folded; 0 where none is.
    ///
    /// # Errors
    /// [`LedgerError`] where the database cannot be read.
    pub async fn folded(&self) -> Result<ShareSeq, LedgerError> {
        self.read(|connection, _| Ok(ShareSeq(through(connection)?))).await
    }

    /// Shares after the saved statistics are not folded: they would count for nobody after a restart.
    async fn save_totals(&self) -> Result<(), LedgerError> {
        self.shared().save_totals.store(true, Ordering::Relaxed);
        // The writer saves them after the job that it is woken for; the second answer comes after that.
        self.transact(|_, _| Ok(())).await?;
        self.transact(|_, _| Ok(())).await
    }
}

/// The last share that is folded.
pub(crate) fn through(connection: &Connection) -> rusqlite::Result<u64> {
    connection.prepare_cached("SELECT through FROM folded")?.query_row([], |row| row.get(0)).map(unsigned)
}

/// Work of a worker over a protocol within an hour since 1970.
type Hours = BTreeMap<(u64, u32, i64), Sum>;

/// Folds the next shares up to `last`; how many they were, and the last that is folded now.
fn step(transaction: &Transaction<'_>, last: u64) -> rusqlite::Result<(u64, u64)> {
    let after = through(transaction)?;
    let last = keep::not_accrued(transaction)?.map_or(last, |kept| last.min(kept.saturating_sub(1)));
    let to = last.min(after + SHARES_PER_STEP);
    if to <= after {
        return Ok((0, after));
    }
    for ((hour, worker, protocol), sum) in &hours(transaction, after + 1, to)? {
        add(transaction, (*hour, *worker, *protocol), *sum)?;
    }
    let range = [sql(after + 1), sql(to)];
    let shares =
        transaction.prepare_cached("DELETE FROM shares WHERE seq BETWEEN ? AND ?")?.execute(range)?;
    transaction.execute("UPDATE folded SET through = ?", [sql(to)])?;
    Ok((shares as u64, to))
}

fn hours(connection: &Connection, from: u64, to: u64) -> rusqlite::Result<Hours> {
    let mut statement = connection
        .prepare_cached("SELECT at_ms, worker, protocol, difficulty FROM shares WHERE seq BETWEEN ? AND ?")?;
    let mut rows = statement.query([sql(from), sql(to)])?;
    let mut hours = Hours::new();
    while let Some(row) = rows.next()? {
        let key = (unsigned(row.get(0)?) / HOUR_MS, row.get(1)?, row.get(2)?);
        hours.entry(key).or_default().add(Sum { work: work_of(row.get(3)?), shares: 1 });
    }
    Ok(hours)
}

fn add(
    transaction: &Transaction<'_>,
    (hour, worker, protocol): (u64, u32, i64),
    mut sum: Sum,
) -> rusqlite::Result<()> {
    let key = params![sql(hour), worker, protocol];
    let mut statement = transaction.prepare_cached(
        "SELECT shares, work FROM share_hours WHERE hour = ? AND worker = ? AND protocol = ?",
    )?;
    let read = |row: &rusqlite::Row<'_>| {
        Ok(Sum { shares: unsigned(row.get(0)?), work: u128::from_be_bytes(row.get(1)?) })
    };
    if let Some(before) = statement.query_row(key, read).optional()? {
        sum.add(before);
    }
    transaction
        .prepare_cached("INSERT OR REPLACE INTO share_hours VALUES (?, ?, ?, ?, ?)")?
        .execute(params![sql(hour), worker, protocol, sql(sum.shares), sum.work.to_be_bytes()])?;
    Ok(())
}

#[cfg(test)]
mod tests;
