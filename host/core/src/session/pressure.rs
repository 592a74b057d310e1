//! How much a connection may ask for, and when its behaviour ends it.

use std::time::Duration;

use crate::share::Reason;
use crate::units::Moment;

/// What one message costs, in the unit that fills at `messages_per_minute` per millisecond.
const COST: u64 = 60_000;
/// Shares just under a raised difficulty are forgiven for so long (V1-73).
const RAISE_GRACE: Duration = Duration::from_secs(60);

/// A minute's worth of messages at once, refilled evenly (V1-83). An accepted share gives back what it cost: work was
/// done for it, and the difficulty governs how many there are.
#[derive(Debug)]
pub struct Allowance {
    left: u64,
    at: Moment,
}

impl Allowance {
    pub fn new(per_minute: u32, now: Moment) -> Self {
        Self { left: u64::from(per_minute) * COST, at: now }
    }

    /// Takes one message. False: there have been too many. `per_minute` 0 allows any number.
    pub fn take(&mut self, per_minute: u32, now: Moment) -> bool {
        if per_minute == 0 {
            return true;
        }
        if now > self.at {
            let rate = u64::from(per_minute);
            let earned = (now.0 - self.at.0).saturating_mul(rate);
            self.left = self.left.saturating_add(earned).min(rate * COST);
            self.at = now;
        }
        match self.left.checked_sub(COST) {
            Some(left) => {
                self.left = left;
                true
            }
            None => false,
        }
    }

    pub fn give_back(&mut self, per_minute: u32) {
        self.left = self.left.saturating_add(COST).min(u64::from(per_minute) * COST);
    }
}

/// Rejected shares without an accepted one between them (V1-73).
#[derive(Debug, Default)]
pub struct RejectedRun {
    length: u32,
    raised: Option<Moment>,
}

impl RejectedRun {
    /// The difficulty went up: for a while shares under it mean nothing.
    pub fn raised(&mut self, now: Moment) {
        self.raised = Some(now);
    }

    pub fn accepted(&mut self) {
        self.length = 0;
    }

    /// Counts a rejected share. Returns whether the run is longer than `limit`; 0 means that none is.
    pub fn rejected(&mut self, reason: Reason, now: Moment, limit: u32) -> bool {
        let forgiven = match reason {
            // Late work is the network's doing, and a wrong length is a firmware's (V1-68).
            Reason::Stale | Reason::BadExtranonce => true,
            Reason::LowDifficulty => self.raised.is_some_and(|at| now.since(at) <= RAISE_GRACE),
            _ => false,
        };
        self.length = self.length.saturating_add(u32::from(!forgiven));
        limit > 0 && self.length > limit
    }
}
