//! Progress on a terminal, and nowhere else.

use std::io::{self, IsTerminal, Write};
use std::time::{Duration, Instant};

use crate::figures;

/// Between two words on progress.
const EVERY: Duration = Duration::from_millis(250);

/// A line of standard error that is written over.
pub(crate) struct Ticker {
    shown: bool,
    began: Instant,
    told: Option<Instant>,
}

impl Ticker {
    pub(crate) fn new() -> Self {
        Self { shown: io::stderr().is_terminal(), began: Instant::now(), told: None }
    }

    /// `done` of `of` things.
    pub(crate) fn tick(&mut self, what: &str, done: u64, of: u64) {
        if !self.shown || self.told.is_some_and(|told| told.elapsed() < EVERY) {
            return;
        }
        self.told = Some(Instant::now());
        let rate = done as f64 / self.began.elapsed().as_secs_f64().max(1e-3);
        let line = format!("{} of {} {what}, {} a second", grouped(done), grouped(of), grouped(rate as u64));
        // A terminal that is gone misses nothing.
        let _ = write!(io::stderr(), "\r\x1b[K{line}").and_then(|()| io::stderr().flush());
    }
}

impl Drop for Ticker {
    fn drop(&mut self) {
        if self.told.is_some() {
            let _ = write!(io::stderr(), "\r\x1b[K");
        }
    }
}

/// With commas between the thousands.
pub(crate) fn grouped(number: u64) -> String {
    figures::grouped(number, ',')
}
