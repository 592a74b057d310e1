//! The workers' totals on disk, so that a start reads only the newest shares. Statistics: no money depends on them.

use rusqlite::{Connection, Transaction, TransactionBehavior, params};
use sluice_core::ids::ShareSeq;

use crate::insert::{protocol_from, protocol_number, sql, unsigned};
use crate::live::{Live, RECENT_MS, WorkerStats, worker};
use crate::sums::{Sum, work_of};

/// The most shares before the saved totals that a start reads for the last ten minutes' hashrate.
const RECENT_SHARES_LIMIT: u64 = 2_000_000;

/// The statistics that changed since they were last saved; from now on they count as saved.
pub(crate) fn unsaved(workers: &mut [WorkerStats]) -> Vec<(u32, WorkerStats)> {
    (0u32..)
        .zip(workers)
        .filter(|(_, stats)| stats.unsaved)
        .map(|(id, stats)| {
            stats.unsaved = false;
            (id, *stats)
        })
        .collect()
}

/// Takes [`unsaved`] back.
pub(crate) fn keep(workers: &mut Vec<WorkerStats>, unsaved: &[(u32, WorkerStats)]) {
    for (id, _) in unsaved {
        worker(workers, *id).unsaved = true;
    }
}

pub(crate) fn save(
    connection: &mut Connection,
    unsaved: &[(u32, WorkerStats)],
    through: u64,
) -> rusqlite::Result<()> {
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    for (id, stats) in unsaved {
        save_worker(&transaction, *id, stats)?;
    }
    transaction.execute("UPDATE totals_through SET through = ?", [sql(through)])?;
    transaction.commit()
}

fn save_worker(transaction: &Transaction<'_>, id: u32, stats: &WorkerStats) -> rusqlite::Result<()> {
    transaction.prepare_cached("INSERT OR REPLACE INTO worker_totals VALUES (?, ?, ?, ?, ?)")?.execute(
        params![
            id,
            protocol_number(stats.protocol),
            sql(stats.sum.shares),
            stats.sum.work.to_be_bytes(),
            sql(stats.last_at),
        ],
    )?;
    Ok(())
}

/// The totals as saved, and what the log holds beyond them.
pub(crate) fn load(connection: &Connection, last: ShareSeq, last_at: u64) -> rusqlite::Result<Live> {
    let through: i64 = connection.query_row("SELECT through FROM totals_through", [], |row| row.get(0))?;
    let mut workers = load_saved(connection)?;
    let mut total = workers.iter().fold(Sum::default(), |mut total, stats| {
        total.add(stats.sum);
        total
    });
    let saved = unsigned(through);
    let since = last_at.saturating_sub(RECENT_MS);
    let oldest = saved.saturating_sub(RECENT_SHARES_LIMIT);
    let mut statement = connection.prepare(
        "SELECT seq, at_ms, worker, protocol, difficulty FROM shares WHERE seq > ? ORDER BY seq DESC",
    )?;
    let mut rows = statement.query([sql(oldest)])?;
    while let Some(row) = rows.next()? {
        let (seq, at) = (unsigned(row.get(0)?), unsigned(row.get(1)?));
        if seq <= saved && at < since {
            break;
        }
        let difficulty: f64 = row.get(4)?;
        let stats = worker(&mut workers, row.get(2)?);
        stats.recent.add(at, difficulty);
        if seq > saved {
            let sum = Sum { work: work_of(difficulty), shares: 1 };
            stats.sum.add(sum);
            total.add(sum);
            // A worker's newest comes first; others may have its time.
            if !stats.unsaved {
                stats.last_at = at;
                stats.protocol = protocol_from(row.get(3)?);
            }
            stats.unsaved = true;
        }
    }
    Ok(Live::new(last, saved, workers, total))
}

fn load_saved(connection: &Connection) -> rusqlite::Result<Vec<WorkerStats>> {
    let mut workers = Vec::new();
    let mut statement =
        connection.prepare("SELECT worker, protocol, shares, work, last_at_ms FROM worker_totals")?;
    let mut rows = statement.query([])?;
    while let Some(row) = rows.next()? {
        let stats = worker(&mut workers, row.get(0)?);
        stats.protocol = protocol_from(row.get(1)?);
        stats.sum = Sum { shares: unsigned(row.get(2)?), work: u128::from_be_bytes(row.get(3)?) };
        stats.last_at = unsigned(row.get(4)?);
    }
    Ok(workers)
}
