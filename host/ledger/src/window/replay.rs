//! The windows of an audit: each moves along the log from block to block, so that a share is read about twice, however
//! many rounds it counts in.

use rusqlite::Connection;
use sluice_core::policy::payout::Window;

use super::{Ask, Log, Span};
use crate::sums::Sums;

/// Windows that move along at the same time; one for each plan in use. The oldest is dropped, and read anew.
const SPANS_LIMIT: usize = 4;

pub(crate) struct Replay<'a> {
    log: Log<'a>,
    spans: Vec<(Window, Span)>,
}

impl<'a> Replay<'a> {
    /// `accounts` holds the account of each worker. The shares up to `folded` are not in the log any more.
    pub(crate) fn new(connection: &'a Connection, accounts: &'a [Option<u32>], folded: u64) -> Self {
        Self { log: Log { connection, accounts, floor: folded }, spans: Vec::new() }
    }

    /// Work by account over the window as of the share `through`; `None` where some of it is folded.
    ///
    /// # Errors
    /// The log cannot be read, or names a worker that there is not (`IntegralValueOutOfRange`).
    pub(crate) fn sums(&mut self, ask: &Ask, through: u64) -> rusqlite::Result<Option<Sums>> {
        let (span, whole) = self.span(ask, through)?;
        let sums = whole.then(|| span.sums.clone());
        self.keep(ask.window, span);
        Ok(sums)
    }

    /// The first share of that window that is still in the log.
    ///
    /// # Errors
    /// As of [`Self::sums`].
    pub(crate) fn first(&mut self, ask: &Ask, through: u64) -> rusqlite::Result<u64> {
        let (span, _) = self.span(ask, through)?;
        let first = span.first;
        self.keep(ask.window, span);
        Ok(first)
    }

    /// The window, and whether all of it is in the log.
    fn span(&mut self, ask: &Ask, through: u64) -> rusqlite::Result<(Span, bool)> {
        let known = self.spans.iter().position(|(window, _)| *window == ask.window);
        let mut span = known.map_or_else(|| Span::empty(through), |index| self.spans.remove(index).1);
        // A window that could not be read is left out: the next one is read anew.
        span.move_through(&self.log, through)?;
        let whole = span.fit(&self.log, ask)?;
        Ok((span, whole))
    }

    fn keep(&mut self, window: Window, span: Span) {
        if self.spans.len() >= SPANS_LIMIT {
            self.spans.remove(0);
        }
        self.spans.push((window, span));
    }
}
