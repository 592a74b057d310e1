//! Work by account over a window of the log, kept up to date without reading it again.
//!
//! A window is a suffix of the log up to some share, so it is two positions and one sum for each account, whatever its
//! length: nothing is kept in memory for a share. The newest shares are added as the writer commits them; the oldest are
//! taken away by reading them back from the log when somebody asks. Sums are integers, so the way to a position does not
//! matter and a window rebuilt from the log is the same:
//!
//! - `Round`: the shares after the last block that was not rejected.
//! - `Work(n)`: the fewest newest shares whose work reaches n times the network difficulty; all, if they do not.
//! - `DurationMs(d)`: the shares not older than d before the newest. The log's time never decreases.
//! - `None`: no share.
//!
//! No window reaches into what was folded into hours (see `fold`): it holds what is left. Numbers that are missing in
//! between, after a salvage, are shares that are not there.

pub(crate) mod replay;

use std::ops::ControlFlow;

use rusqlite::{Connection, OptionalExtension, Row, params};
use sluice_core::policy::payout::Window;
use sluice_core::units::Difficulty;

use crate::insert::{sql, unsigned};
use crate::live::Fresh;
use crate::sums::{Sums, units, work_of};

/// Windows kept up to date: the running plan's, and those of whoever asks "what if". The least recently asked for is
/// dropped, and read again from the log when it is asked for.
const WINDOWS_LIMIT: usize = 4;

/// A share as a window sees it.
struct LogRow {
    seq: u64,
    at: u64,
    account: u32,
    work: u128,
}

/// The committed log, read.
struct Log<'a> {
    connection: &'a Connection,
    accounts: &'a [Option<u32>],
    /// The last share that is not looked at any more: folded, or about to be.
    floor: u64,
}

const COLUMNS: &str = "SELECT seq, at_ms, worker, difficulty FROM shares";

impl Log<'_> {
    /// Visits `from..=to` in order until told to stop.
    fn forward(
        &self,
        from: u64,
        to: u64,
        visit: impl FnMut(LogRow) -> ControlFlow<()>,
    ) -> rusqlite::Result<()> {
        self.visit(&format!("{COLUMNS} WHERE seq BETWEEN ?1 AND ?2 ORDER BY seq"), from, to, visit)
    }

    /// Visits `to` down to the first that is left until told to stop.
    fn backward(&self, to: u64, visit: impl FnMut(LogRow) -> ControlFlow<()>) -> rusqlite::Result<()> {
        self.visit(
            &format!("{COLUMNS} WHERE seq BETWEEN ?1 AND ?2 ORDER BY seq DESC"),
            self.floor + 1,
            to,
            visit,
        )
    }

    fn visit(
        &self,
        text: &str,
        from: u64,
        to: u64,
        mut visit: impl FnMut(LogRow) -> ControlFlow<()>,
    ) -> rusqlite::Result<()> {
        if from > to {
            return Ok(());
        }
        let mut statement = self.connection.prepare_cached(text)?;
        let mut rows = statement.query([sql(from), sql(to)])?;
        while let Some(row) = rows.next()? {
            if visit(self.row(row)?).is_break() {
                break;
            }
        }
        Ok(())
    }

    fn row(&self, row: &Row<'_>) -> rusqlite::Result<LogRow> {
        let worker: u32 = row.get(2)?;
        let account = self.accounts.get(worker as usize).copied().flatten();
        let account = account.ok_or(rusqlite::Error::IntegralValueOutOfRange(2, worker.into()))?;
        let (seq, at) = (unsigned(row.get(0)?), unsigned(row.get(1)?));
        Ok(LogRow { seq, at, account, work: work_of(row.get(3)?) })
    }

    /// The time of the newest share up to `seq`.
    fn at(&self, seq: u64) -> rusqlite::Result<Option<u64>> {
        let mut statement = self
            .connection
            .prepare_cached("SELECT at_ms FROM shares WHERE seq BETWEEN ? AND ? ORDER BY seq DESC LIMIT 1")?;
        let at = statement.query_row(params![sql(self.floor + 1), sql(seq)], |row| row.get(0)).optional()?;
        Ok(at.map(unsigned))
    }
}

/// The shares `first..=through`, added up.
#[derive(Clone, Debug)]
struct Span {
    first: u64,
    through: u64,
    sums: Sums,
}

impl Span {
    /// No share, at the end `through`.
    fn empty(through: u64) -> Self {
        Self { first: through + 1, through, sums: Sums::default() }
    }

    fn move_through(&mut self, log: &Log<'_>, to: u64) -> rusqlite::Result<()> {
        if to + 1 < self.first || to.abs_diff(self.through) > self.through.saturating_sub(self.first) {
            // Farther than it is long: whoever sets the first share reads less from here.
            *self = Self::empty(to);
            return Ok(());
        }
        let sums = &mut self.sums;
        if to >= self.through {
            log.forward(self.through + 1, to, |row| add(sums, &row))?;
        } else {
            log.forward(self.first.max(to + 1), self.through, |row| take(sums, &row))?;
        }
        self.through = to;
        Ok(())
    }

    fn move_first(&mut self, log: &Log<'_>, to: u64) -> rusqlite::Result<()> {
        if to > self.first && to - self.first > (self.through + 1).saturating_sub(to) {
            *self = Self::empty(self.through);
        }
        let sums = &mut self.sums;
        if to >= self.first {
            log.forward(self.first, (to - 1).min(self.through), |row| take(sums, &row))?;
        } else {
            log.forward(to, self.first - 1, |row| add(sums, &row))?;
        }
        self.first = to;
        Ok(())
    }

    /// The fewest newest shares whose work reaches `target`.
    fn reach(&mut self, log: &Log<'_>, target: u128) -> rusqlite::Result<()> {
        let Self { first, through, sums } = self;
        log.forward(*first, *through, |row| {
            if sums.total().work - row.work < target {
                return ControlFlow::Break(());
            }
            *first = row.seq + 1;
            take(sums, &row)
        })?;
        if sums.total().work >= target {
            return Ok(());
        }
        log.backward(*first - 1, |row| {
            *first = row.seq;
            let _ = add(sums, &row);
            if sums.total().work >= target { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        })
    }

    /// The shares from the time `cutoff` on.
    fn since(&mut self, log: &Log<'_>, cutoff: u64) -> rusqlite::Result<()> {
        let Self { first, through, sums } = self;
        log.forward(*first, *through, |row| {
            if row.at >= cutoff {
                return ControlFlow::Break(());
            }
            *first = row.seq + 1;
            take(sums, &row)
        })?;
        log.backward(*first - 1, |row| {
            if row.at < cutoff {
                return ControlFlow::Break(());
            }
            *first = row.seq;
            add(sums, &row)
        })
    }

    /// `false` where shares that belong to it are folded: it holds the others.
    fn fit(&mut self, log: &Log<'_>, ask: &Ask) -> rusqlite::Result<bool> {
        let whole = match ask.window {
            Window::None => {
                *self = Self::empty(self.through);
                true
            }
            Window::Round => {
                self.move_first(log, ask.boundary.max(log.floor) + 1)?;
                ask.boundary >= log.floor
            }
            Window::Work(times) => {
                let target = units(times * ask.network_difficulty.get()).max(1);
                self.reach(log, target)?;
                self.sums.total().work >= target
            }
            Window::DurationMs(duration) => {
                let newest = log.at(self.through)?.unwrap_or(0);
                self.since(log, newest.saturating_sub(duration))?;
                log.at(self.first - 1)?.is_some()
            }
        };
        Ok(whole || log.floor == 0)
    }
}

fn add(sums: &mut Sums, row: &LogRow) -> ControlFlow<()> {
    sums.add(row.account, row.work);
    ControlFlow::Continue(())
}

fn take(sums: &mut Sums, row: &LogRow) -> ControlFlow<()> {
    sums.take(row.account, row.work);
    ControlFlow::Continue(())
}

/// Which shares are asked for.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Ask {
    pub(crate) window: Window,
    pub(crate) network_difficulty: Difficulty,
    /// The last share of the round before.
    pub(crate) boundary: u64,
}

struct Tracked {
    window: Window,
    span: Span,
}

/// The windows that are kept up to date, and the connection they read the log through.
pub(crate) struct Windows {
    connection: Connection,
    accounts: Vec<Option<u32>>,
    /// The most recently asked for is last.
    tracked: Vec<Tracked>,
    through: u64,
    /// See [`Log::floor`].
    floor: u64,
}

impl Windows {
    /// A log whose newest share is `through`, and whose shares up to `folded` are not there any more.
    pub(crate) fn new(connection: Connection, through: u64, folded: u64) -> Self {
        Self { connection, accounts: Vec::new(), tracked: Vec::new(), through, floor: folded }
    }

    /// From now on no window looks at the shares up to `floor`. One that did is read anew when it is asked for.
    pub(crate) fn forget(&mut self, floor: u64) {
        self.floor = self.floor.max(floor);
        self.tracked.retain(|tracked| tracked.span.first > self.floor);
    }

    pub(crate) fn connection(&self) -> &Connection {
        &self.connection
    }

    /// Workers that came since; the log names no others.
    pub(crate) fn workers(&self) -> usize {
        self.accounts.len()
    }

    pub(crate) fn add_workers(&mut self, accounts: impl Iterator<Item = Option<u32>>) {
        self.accounts.extend(accounts);
    }

    /// Adds what the writer has committed since the last time.
    pub(crate) fn add(&mut self, fresh: &Fresh) {
        for tracked in &mut self.tracked {
            debug_assert_eq!(
                tracked.span.through, fresh.after,
                "every window ends where the writer's sums begin"
            );
            tracked.span.sums.merge(&fresh.sums);
            tracked.span.through = fresh.through;
        }
        self.through = fresh.through;
    }

    /// The window as of the newest share.
    pub(crate) fn newest(&mut self, ask: &Ask) -> rusqlite::Result<&Sums> {
        let mut tracked = match self.tracked.iter().position(|tracked| tracked.window == ask.window) {
            Some(index) => self.tracked.remove(index),
            None => Tracked { window: ask.window, span: Span::empty(self.through) },
        };
        if self.tracked.len() >= WINDOWS_LIMIT {
            self.tracked.remove(0);
        }
        let log = Log { connection: &self.connection, accounts: &self.accounts, floor: self.floor };
        // A window that could not be read is left out: the next call reads it anew.
        tracked.span.fit(&log, ask)?;
        self.tracked.push(tracked);
        let last = self.tracked.len() - 1;
        Ok(&self.tracked[last].span.sums)
    }

    /// The window as of the share `through`.
    pub(crate) fn as_of(&self, ask: &Ask, through: u64) -> rusqlite::Result<Sums> {
        let log = Log { connection: &self.connection, accounts: &self.accounts, floor: self.floor };
        let near = self.tracked.iter().find(|tracked| tracked.window == ask.window);
        let mut span = near.map_or_else(|| Span::empty(through), |tracked| tracked.span.clone());
        span.move_through(&log, through)?;
        span.fit(&log, ask)?;
        Ok(span.sums)
    }
}
