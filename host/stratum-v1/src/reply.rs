//! Answers, in the order of the requests. The answer to an accepted share waits until the share is in the log, the one
//! to a login until the policy has decided, and everything behind them waits too.

use std::collections::VecDeque;
use std::io::Write as _;

use sluice_core::share::Reason;
use sluice_core::units::Difficulty;

use crate::configure::write_text;

/// The most bytes of answers that may wait; beyond it no more requests are read.
const BYTES_LIMIT: usize = 64 * 1024;

/// The rest of an answer after its id. The whole error table of V1-11 is made with this.
macro_rules! error {
    ($result:literal, $code:literal, $text:literal) => {
        concat!(",\"result\":", $result, ",\"error\":[", $code, ",\"", $text, "\",null]}\n")
    };
}

const ACCEPTED: &str = ",\"result\":true,\"error\":null}\n";
/// Sent before closing; the only answer that is not in the style of V1-11 (V1-4).
const NOT_JSON: &str = "{\"id\":null,\"result\":null,\"error\":[-32700,\"Parse error\",null]}\n";

/// Why a request gets an error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    Share(Reason),
    NotSubscribed,
    Malformed,
    UnknownMethod,
    NotSupported,
    TooManyWorkers,
    Full,
}

impl Fault {
    /// Codes 20 to 25 only, as arrays of three (V1-11).
    const fn tail(self) -> &'static str {
        match self {
            Self::Share(Reason::UnknownJob) => error!("null", 21, "Job not found"),
            Self::Share(Reason::Stale) => error!("null", 21, "Stale share"),
            Self::Share(Reason::Duplicate) => error!("null", 22, "Duplicate share"),
            Self::Share(Reason::LowDifficulty) => error!("null", 23, "Low difficulty share"),
            Self::Share(Reason::TimeTooOld) => error!("null", 20, "Time too old"),
            Self::Share(Reason::TimeTooNew) => error!("null", 20, "Time too new"),
            Self::Share(Reason::BadVersion) => error!("null", 20, "Invalid version mask"),
            Self::Share(Reason::BadExtranonce) => error!("null", 20, "Invalid extranonce2 size"),
            Self::Share(Reason::Unauthorized) => error!("null", 24, "Unauthorized worker"),
            Self::Share(Reason::Malformed) | Self::Malformed => error!("null", 20, "Malformed parameters"),
            Self::NotSubscribed => error!("null", 25, "Not subscribed"),
            Self::UnknownMethod => error!("null", 20, "Unsupported method"),
            Self::NotSupported => error!("null", 20, "Not supported"),
            Self::TooManyWorkers => error!("false", 20, "Too many workers on this connection"),
            Self::Full => error!("null", 20, "The pool is full"),
        }
    }
}

/// Answers not yet handed to the driver.
#[derive(Debug, Default)]
pub(crate) struct Replies {
    bytes: Vec<u8>,
    /// Bytes handed over before `bytes`, so that positions stay true.
    gone: u64,
    /// Where the answers of shares begin that are not in the log, oldest first.
    held: VecDeque<u64>,
    /// Shares that are in the log.
    committed: u64,
    /// Where the answer to a login belongs that is not known yet.
    gap: Option<u64>,
}

impl Replies {
    /// Whether so much waits that no more requests should be read.
    pub(crate) fn is_full(&self, held_limit: usize) -> bool {
        self.held.len() >= held_limit || self.bytes.len() >= BYTES_LIMIT
    }

    pub(crate) fn accept(&mut self, id: Option<&str>) {
        self.begin(id);
        self.bytes.extend_from_slice(ACCEPTED.as_bytes());
    }

    /// The answer to the next share that goes to the log.
    pub(crate) fn accept_when_committed(&mut self, id: Option<&str>) {
        self.held.push_back(self.end());
        self.accept(id);
    }

    /// The next answer is not known yet: what is said from now on stays behind it until [`Self::fill_gap`].
    pub(crate) fn leave_gap(&mut self) {
        self.gap = Some(self.end());
    }

    /// What `write` says goes where a gap was left, or to the end.
    pub(crate) fn fill_gap(&mut self, write: impl FnOnce(&mut Self)) {
        let Some(gap) = self.gap.take() else { return write(self) };
        let mut behind = self.bytes.split_off(self.index(gap));
        write(self);
        let moved = self.end() - gap;
        self.bytes.append(&mut behind);
        self.held.iter_mut().rev().take_while(|start| **start >= gap).for_each(|start| *start += moved);
    }

    /// Nothing will fill the gap any more.
    pub(crate) fn close_gap(&mut self) {
        self.gap = None;
    }

    pub(crate) fn refuse(&mut self, id: Option<&str>, fault: Fault) {
        self.begin(id);
        self.bytes.extend_from_slice(fault.tail().as_bytes());
    }

    /// A refused login, in the policy's words (V1-17).
    pub(crate) fn refuse_login(&mut self, id: Option<&str>, text: &str) {
        self.begin(id);
        self.bytes.extend_from_slice(b",\"result\":false,\"error\":[24,");
        write_text(text, &mut self.bytes);
        self.bytes.extend_from_slice(b",null]}\n");
    }

    /// A result that `write` appends.
    pub(crate) fn result(&mut self, id: Option<&str>, write: impl FnOnce(&mut Vec<u8>)) {
        self.begin(id);
        self.bytes.extend_from_slice(b",\"result\":");
        write(&mut self.bytes);
        self.bytes.extend_from_slice(b",\"error\":null}\n");
    }

    pub(crate) fn not_json(&mut self) {
        self.bytes.extend_from_slice(NOT_JSON.as_bytes());
    }

    /// So many shares since the first are in the log.
    pub(crate) fn committed(&mut self, shares: u64) {
        while self.committed < shares && self.held.pop_front().is_some() {
            self.committed += 1;
        }
    }

    /// Appends what may go out.
    pub(crate) fn flush(&mut self, out: &mut Vec<u8>) {
        let waits = [self.held.front().copied(), self.gap].into_iter().flatten().min();
        let ready = waits.map_or(self.bytes.len(), |start| self.index(start));
        out.extend_from_slice(&self.bytes[..ready]);
        self.bytes.drain(..ready);
        self.gone += ready as u64;
    }

    /// Frees what holds nothing.
    pub(crate) fn release(&mut self) {
        if self.bytes.is_empty() {
            self.bytes = Vec::new();
        }
        if self.held.is_empty() {
            self.held = VecDeque::new();
        }
    }

    /// The position of the next answer.
    fn end(&self) -> u64 {
        self.gone + self.bytes.len() as u64
    }

    /// Where in `bytes` a position is.
    fn index(&self, position: u64) -> usize {
        let index = usize::try_from(position - self.gone).unwrap_or(self.bytes.len());
        index.min(self.bytes.len())
    }

    /// The id goes back byte for byte (V1-5).
    fn begin(&mut self, id: Option<&str>) {
        self.bytes.extend_from_slice(b"{\"id\":");
        self.bytes.extend_from_slice(id.unwrap_or("null").as_bytes());
    }
}

/// Appends a `mining.set_difficulty` line (V1-38: no exponent, no trailing `.0`).
pub(crate) fn write_set_difficulty(difficulty: Difficulty, out: &mut Vec<u8>) {
    // Writing to memory does not fail; if it did, nothing would be written.
    writeln!(out, r#"{{"id":null,"method":"mining.set_difficulty","params":[{difficulty}]}}"#)
        .unwrap_or_default();
}
