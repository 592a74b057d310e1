//! What to do about a policy that fails: a new instance at once, then longer and longer pauses, or the version before.
//!
//! The version before comes back where failures of a young one follow each other closely, and where they are spread but make
//! up a part of its calls; in both cases only where the one before failed less often. Pure: time is an argument.

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
/// Failures of a young generation that are too few to say anything, however few its calls.
const TOO_FEW: u64 = 3;
/// Failures that lie apart count where at least one call in so many failed.
const ONE_IN: u64 = 100;
/// A young generation fails more often than the one before where it does so at least so many times as often.
const TIMES: u64 = 2;
/// Calls after which older ones count half.
const CALLS_REMEMBERED: u64 = 20_000;

/// What a failure leads to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Remedy {
    NewInstance,
    Pause(Duration),
    RollBack,
}

/// How often a generation failed lately.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Rate {
    calls: u64,
    failures: u64,
}

impl Rate {
    fn called(&mut self) {
        if self.calls >= CALLS_REMEMBERED {
            self.calls /= 2;
            self.failures /= 2;
        }
        self.calls += 1;
    }

    fn failed(&mut self) {
        self.failures += 1;
        // One that does not even start was not called.
        self.calls = self.calls.max(self.failures);
    }

    /// Small numbers: nothing here comes near an overflow.
    fn exceeds(self, before: Self) -> bool {
        self.failures * before.calls.max(1) >= TIMES * before.failures * self.calls
    }

    fn matters(self) -> bool {
        self.failures > TOO_FEW && self.failures * ONE_IN >= self.calls
    }
}

/// The sheet of a generation.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Recovery {
    born: Instant,
    rate: Rate,
    /// Of the generation that would come back.
    before: Rate,
    /// When the present instance began to serve.
    serving_since: Instant,
    strikes: u32,
    paused_until: Option<Instant>,
}

impl Recovery {
    /// `before` is how often the generation failed that would come back.
    pub(crate) fn new(now: Instant, before: Rate) -> Self {
        let rate = Rate::default();
        Self { born: now, rate, before, serving_since: now, strikes: 0, paused_until: None }
    }

    /// It is asked something.
    pub(crate) fn called(&mut self) {
        self.rate.called();
    }

    pub(crate) fn rate(&self) -> Rate {
        self.rate
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
        self.rate.failed();
        let young = has_last_good && now.duration_since(self.born) < PROBATION;
        let often = self.strikes > IMMEDIATE || self.rate.matters();
        if young && often && self.rate.exceeds(self.before) {
            return Remedy::RollBack;
        }
        if self.strikes <= IMMEDIATE {
            return Remedy::NewInstance;
        }
        let doublings = (self.strikes - IMMEDIATE - 1).min(16);
        let pause = FIRST_PAUSE.saturating_mul(1 << doublings).min(LONGEST_PAUSE);
        self.paused_until = Some(now + pause);
        Remedy::Pause(pause)
    }
}

#[cfg(test)]
mod tests;
