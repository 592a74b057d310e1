//! What to do about a policy that fails: a new instance at once, then longer and longer pauses, or the version before.
//!
//! Pure: time is an argument.

use std::time::{Duration, Instant};

/// Failures in a row that only cost the instance.
pub(crate) const IMMEDIATE: u32 = 3;
/// The first pause; each further one is twice as long.
pub(crate) const FIRST_PAUSE: Duration = Duration::from_secs(1);
pub(crate) const LONGEST_PAUSE: Duration = Duration::from_secs(30);
/// An instance that served so long without failing starts with a clean sheet.
pub(crate) const HEALTHY: Duration = Duration::from_secs(10);
/// A generation younger than this that keeps failing gives way to the one before.
pub(crate) const PROBATION: Duration = Duration::from_secs(600);

/// What a failure leads to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Remedy {
    NewInstance,
    Pause(Duration),
    RollBack,
}

/// The sheet of a generation.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Recovery {
    born: Instant,
    /// When the present instance began to serve.
    serving_since: Instant,
    strikes: u32,
    paused_until: Option<Instant>,
}

impl Recovery {
    pub(crate) fn new(now: Instant) -> Self {
        Self { born: now, serving_since: now, strikes: 0, paused_until: None }
    }

    /// How long it is still paused; `None` where it may be asked.
    pub(crate) fn paused(&self, now: Instant) -> Option<Duration> {
        self.paused_until.and_then(|until| until.checked_duration_since(now)).filter(|left| !left.is_zero())
    }

    /// A new instance serves.
    pub(crate) fn serves(&mut self, now: Instant) {
        self.paused_until = None;
        self.serving_since = now;
    }

    /// Not failing at present: good enough to be rolled back to.
    pub(crate) fn good(&self, now: Instant) -> bool {
        self.strikes == 0 || (self.paused(now).is_none() && now.duration_since(self.serving_since) >= HEALTHY)
    }

    /// It failed.
    pub(crate) fn strike(&mut self, now: Instant, has_last_good: bool) -> Remedy {
        if now.duration_since(self.serving_since) >= HEALTHY {
            self.strikes = 0;
        }
        self.strikes = self.strikes.saturating_add(1);
        if self.strikes <= IMMEDIATE {
            return Remedy::NewInstance;
        }
        if has_last_good && now.duration_since(self.born) < PROBATION {
            return Remedy::RollBack;
        }
        let doublings = (self.strikes - IMMEDIATE - 1).min(16);
        let pause = FIRST_PAUSE.saturating_mul(1 << doublings).min(LONGEST_PAUSE);
        self.paused_until = Some(now + pause);
        Remedy::Pause(pause)
    }
}

#[cfg(test)]
mod tests;
