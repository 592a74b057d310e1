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
    /// `accounts` holds the account of each worker.
    pub(crate) fn new(connection: &'a Connection, accounts: &'a [Option<u32>]) -> Self {
        Self { log: Log { connection, accounts }, spans: Vec::new() }
    }

    /// Work by account over the window as of the share `through`.
    ///
    /// # Errors
    /// The log cannot be read, or names a worker that there is not (`IntegralValueOutOfRange`).
    pub(crate) fn sums(&mut self, ask: &Ask, through: u64) -> rusqlite::Result<Sums> {
        let known = self.spans.iter().position(|(window, _)| *window == ask.window);
        let (window, mut span) =
            known.map_or_else(|| (ask.window, Span::empty(through)), |index| self.spans.remove(index));
        // A window that could not be read is left out: the next one is read anew.
        span.move_through(&self.log, through)?;
        span.fit(&self.log, ask)?;
        let sums = span.sums.clone();
        if self.spans.len() >= SPANS_LIMIT {
            self.spans.remove(0);
        }
        self.spans.push((window, span));
        Ok(sums)
    }
}
