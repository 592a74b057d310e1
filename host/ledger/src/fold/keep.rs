//! What shares are still needed for.

use std::fmt;

use rusqlite::{Connection, OptionalExtension, Row};
use sluice_core::policy::payout::Window;
use sluice_core::units::{Difficulty, Timestamp};

use super::{Needed, through};
use crate::accruals;
use crate::error::LedgerError;
use crate::insert::{sql, unsigned};
use crate::life::{INCONCLUSIVE, ORPHANS_WATCHED};
use crate::window::Ask;
use crate::window::replay::Replay;

/// A window of work is kept twice as long as it is: when the network's difficulty rises, it reaches farther back.
const TIMES_KEPT: f64 = 2.0;

/// What keeps the oldest share of the log there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Keeps {
    /// It is not old enough.
    Age,
    /// The window of the present plan reaches to it.
    Window,
    /// A block that is not final, or whose round is not settled.
    Round,
    /// It is not accrued.
    Accrual,
    /// Statistics are not saved up to it.
    Statistics,
    /// It is the newest.
    Newest,
}

impl Keeps {
    pub const fn label(self) -> &'static str {
        match self {
            Self::Age => "age",
            Self::Window => "window",
            Self::Round => "round",
            Self::Accrual => "accrual",
            Self::Statistics => "statistics",
            Self::Newest => "newest",
        }
    }
}

impl fmt::Display for Keeps {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.label())
    }
}

/// The first share that stays, and why.
type First = (u64, Keeps);

/// The last share that may be folded, and what keeps the next one. `accounts` holds the account of each worker.
pub(super) fn last_foldable(
    connection: &Connection,
    accounts: &[Option<u32>],
    before: Timestamp,
    needed: Needed,
) -> Result<(u64, Keeps), LedgerError> {
    let folded = through(connection)?;
    let Some(newest) = newest(connection)? else { return Ok((folded, Keeps::Newest)) };
    let number = |text| connection.query_row(text, [], |row| row.get(0)).map(unsigned);
    let cheap = [
        (first_since(connection, folded + 1, newest, before.0)?, Keeps::Age),
        (newest, Keeps::Newest),
        (not_accrued(connection)?.unwrap_or(u64::MAX), Keeps::Accrual),
        (number("SELECT through FROM totals_through")?.saturating_add(1), Keeps::Statistics),
    ];
    let first = cheap.into_iter().min_by_key(|first| first.0).unwrap_or((0, Keeps::Age));
    // Windows are read only where something could be folded.
    let first = if first.0 > folded + 1 {
        let mut windows = NeededWindows { replay: Replay::new(connection, accounts, folded), needed };
        let rounds = windows.rounds(connection)?;
        let present = windows.present(connection, newest)?;
        [first, rounds, present].into_iter().min_by_key(|first| first.0).unwrap_or(first)
    } else {
        first
    };
    Ok((first.0.saturating_sub(1).max(folded), first.1))
}

/// The first share that is not accrued; `None` while the plan does not accrue.
pub(super) fn not_accrued(connection: &Connection) -> rusqlite::Result<Option<u64>> {
    Ok(accruals::accrued_through(connection)?.map(|through| through + 1))
}

fn newest(connection: &Connection) -> rusqlite::Result<Option<u64>> {
    let newest: Option<i64> = connection.query_row("SELECT max(seq) FROM shares", [], |row| row.get(0))?;
    Ok(newest.map(unsigned))
}

/// The first share of `from..=to` that is not before the time `at`. The log's time never decreases.
fn first_since(connection: &Connection, from: u64, to: u64, at: u64) -> rusqlite::Result<u64> {
    let mut next = connection.prepare("SELECT seq, at_ms FROM shares WHERE seq >= ? ORDER BY seq LIMIT 1")?;
    let (mut low, mut high) = (from, to + 1);
    while low < high {
        let middle = low + (high - low) / 2;
        let read = |row: &Row<'_>| Ok((unsigned(row.get(0)?), unsigned(row.get(1)?)));
        match next.query_row([sql(middle)], read).optional()? {
            Some((seq, time)) if time < at => low = seq + 1,
            _ => high = middle,
        }
    }
    Ok(low)
}

/// The windows that somebody will still ask for.
struct NeededWindows<'a> {
    replay: Replay<'a>,
    needed: Needed,
}

/// A block that may still be settled, or be taken away.
struct OpenBlock {
    settled: bool,
    through: u64,
    window: String,
    ask: Ask,
}

impl OpenBlock {
    fn read(row: &Row<'_>) -> rusqlite::Result<Self> {
        let ask = Ask {
            window: Window::None,
            network_difficulty: Difficulty::saturating(row.get(1)?),
            boundary: unsigned(row.get(4)?),
        };
        Ok(Self { through: unsigned(row.get(0)?), ask, window: row.get(2)?, settled: row.get(3)? })
    }
}

/// Blocks that cannot be rejected any more: the round after one of them begins behind it, whatever happens.
const CERTAIN: &str = "(e.state IN ('immature', 'mature', 'orphaned') OR e.id IN (SELECT block FROM rounds))";

impl NeededWindows<'_> {
    /// Of the next block that is found.
    fn present(&mut self, connection: &Connection, newest: u64) -> rusqlite::Result<First> {
        let text = format!("SELECT coalesce(max(through), 0) FROM blocks e WHERE {CERTAIN}");
        let boundary = connection.query_row(&text, [], |row| row.get(0)).map(unsigned)?;
        let window = match self.needed.window {
            Window::Work(times) => Window::Work(times * TIMES_KEPT),
            other => other,
        };
        let ask = Ask { window, network_difficulty: self.needed.network_difficulty, boundary };
        Ok((self.replay.first(&ask, newest)?, Keeps::Window))
    }

    /// Of blocks that are not final (their audit), and of those whose round waits, over the present plan's window as well.
    fn rounds(&mut self, connection: &Connection) -> Result<First, LedgerError> {
        let mut first = u64::MAX;
        for block in open_blocks(connection)? {
            let own = serde_json::from_str(&block.window)
                .map_err(|_| LedgerError::Unreadable(block.window.clone()))?;
            let ask = Ask { window: own, ..block.ask };
            first = first.min(self.replay.first(&ask, block.through)?);
            if !block.settled {
                let ask = Ask { window: self.needed.window, ..block.ask };
                first = first.min(self.replay.first(&ask, block.through)?);
            }
        }
        Ok((first, Keeps::Round))
    }
}

/// In the order in which they were found.
fn open_blocks(connection: &Connection) -> rusqlite::Result<Vec<OpenBlock>> {
    let text = format!(
        "SELECT b.through, b.network_difficulty, b.window, r.block IS NOT NULL, \
         (SELECT coalesce(max(e.through), 0) FROM blocks e WHERE e.id < b.id AND {CERTAIN}) \
         FROM blocks b LEFT JOIN rounds r ON r.block = b.id \
         WHERE b.state IN ('found', 'submitted', 'accepted', 'immature') \
         OR (r.block IS NULL AND (b.state = 'mature' OR (\
         (b.state = 'orphaned' OR (b.state = 'rejected' AND b.reason = '{INCONCLUSIVE}')) \
         AND b.height + {ORPHANS_WATCHED} >= (SELECT max(height) FROM blocks)))) ORDER BY b.id"
    );
    let mut statement = connection.prepare(&text)?;
    statement.query_map([], OpenBlock::read)?.collect()
}
