//! What is counted of lookups: for the status page, the API and the metrics.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use serde::Serialize;

use crate::counters::{Histogram, Latency};

/// Why a service gave no answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LookupFault {
    Connect,
    Timeout,
    TooLarge,
    /// A status of 500 and above.
    Server,
    Protocol,
    /// Too many requests before it: it was not sent.
    Busy,
}

impl LookupFault {
    pub const ALL: [Self; 6] =
        [Self::Connect, Self::Timeout, Self::TooLarge, Self::Server, Self::Protocol, Self::Busy];

    pub const fn label(self) -> &'static str {
        match self {
            Self::Connect => "connect",
            Self::Timeout => "timeout",
            Self::TooLarge => "too_large",
            Self::Server => "server",
            Self::Protocol => "protocol",
            Self::Busy => "busy",
        }
    }

    /// Whether it says that the service is down. A status of 500 may be about one account alone, and it came quickly.
    pub(super) const fn of_the_service(self) -> bool {
        matches!(self, Self::Connect | Self::Timeout)
    }
}

#[derive(Debug, Default)]
pub(super) struct Counts {
    pub(super) requests: AtomicU64,
    pub(super) fresh: AtomicU64,
    pub(super) joined: AtomicU64,
    pub(super) stale: AtomicU64,
    pub(super) denied: AtomicU64,
    faults: [AtomicU64; LookupFault::ALL.len()],
    pub(super) latency: Histogram,
    pub(super) in_flight: AtomicU64,
    pub(super) waiting: AtomicU64,
    pub(super) turned_away: AtomicU64,
    pub(super) given_up: AtomicU64,
}

impl Counts {
    pub(super) fn add(counter: &AtomicU64) {
        counter.fetch_add(1, Relaxed);
    }

    pub(super) fn fault(&self, fault: LookupFault) {
        self.faults[fault as usize].fetch_add(1, Relaxed);
    }

    pub(super) fn told(&self, grants: Vec<GrantStatus>, [entries, bytes]: [usize; 2]) -> LookupStatus {
        let of = |fault: LookupFault| self.faults[fault as usize].load(Relaxed);
        let failures = LookupFailures {
            connect: of(LookupFault::Connect),
            timeout: of(LookupFault::Timeout),
            too_large: of(LookupFault::TooLarge),
            server: of(LookupFault::Server),
            protocol: of(LookupFault::Protocol),
            busy: of(LookupFault::Busy),
        };
        LookupStatus {
            grants,
            requests: self.requests.load(Relaxed),
            fresh: self.fresh.load(Relaxed),
            joined: self.joined.load(Relaxed),
            stale: self.stale.load(Relaxed),
            denied: self.denied.load(Relaxed),
            failures,
            in_flight: self.in_flight.load(Relaxed),
            waiting: self.waiting.load(Relaxed),
            turned_away: self.turned_away.load(Relaxed),
            given_up: self.given_up.load(Relaxed),
            cached_answers: u64::try_from(entries).unwrap_or(u64::MAX),
            cached_bytes: u64::try_from(bytes).unwrap_or(u64::MAX),
            latency: self.latency.latency(),
        }
    }
}

/// Counts a thing while it is there.
pub(super) struct Present<'a>(&'a AtomicU64);

impl<'a> Present<'a> {
    pub(super) fn new(gauge: &'a AtomicU64) -> Self {
        gauge.fetch_add(1, Relaxed);
        Self(gauge)
    }
}

impl Drop for Present<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Relaxed);
    }
}

/// Lookups of the auth policy since the start of the process, whichever generation made them.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct LookupStatus {
    /// What the configuration grants.
    pub grants: Vec<GrantStatus>,
    /// Requests that were sent.
    pub requests: u64,
    /// Answered without asking, within the answer's lifetime.
    pub fresh: u64,
    /// Waited for a request that was under way already.
    pub joined: u64,
    /// Answered with what the service said earlier, since it fails now.
    pub stale: u64,
    /// Refused by the host: not granted, or against a rule of the contract.
    pub denied: u64,
    pub failures: LookupFailures,
    /// Requests under way.
    pub in_flight: u64,
    /// Logins that wait for an answer.
    pub waiting: u64,
    /// Logins that were told to try later since too many waited.
    pub turned_away: u64,
    /// Logins that were told to try later since they had waited too long.
    pub given_up: u64,
    pub cached_answers: u64,
    pub cached_bytes: u64,
    /// Of requests, from sending to the whole answer or the failure.
    pub latency: Latency,
}

/// Requests without an answer by what went wrong.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct LookupFailures {
    pub connect: u64,
    pub timeout: u64,
    pub too_large: u64,
    pub server: u64,
    pub protocol: u64,
    pub busy: u64,
}

impl LookupFailures {
    pub const fn of(&self, fault: LookupFault) -> u64 {
        match fault {
            LookupFault::Connect => self.connect,
            LookupFault::Timeout => self.timeout,
            LookupFault::TooLarge => self.too_large,
            LookupFault::Server => self.server,
            LookupFault::Protocol => self.protocol,
            LookupFault::Busy => self.busy,
        }
    }
}

/// A granted URL.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct GrantStatus {
    pub url: String,
    /// It did not answer a moment ago: old answers stand in at once.
    pub failing: bool,
}
