//! Answers that are kept: bounded in number and bytes, the one that was not used for the longest goes first.
//!
//! Pure: time is an argument.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::config::UrlGrant;
use super::request::{Key, Said};

/// What an entry takes beside its body, in bytes, roughly.
const OVERHEAD: usize = 200;
/// One in so many entries and bytes is for answers that say no: whoever makes names up must not push the others out.
const NEGATIVE_SHARE: usize = 4;

/// An answer of a service, as it came.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Kept {
    pub(super) status: u16,
    pub(super) body: Arc<[u8]>,
}

impl Kept {
    pub(super) fn said(&self, stale: bool) -> Said {
        Said::Answer { status: self.status, body: self.body.clone(), stale }
    }
}

/// How long an answer serves: again without asking, and where the service fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Lifetimes {
    fresh: Duration,
    stale: Duration,
}

impl Lifetimes {
    fn of(status: u16, grant: &UrlGrant) -> Self {
        match status {
            200..=299 => Self { fresh: grant.fresh, stale: grant.stale },
            // Come back later: an answer for now.
            408 | 429 => Self { fresh: Duration::ZERO, stale: Duration::ZERO },
            _ => Self { fresh: grant.negative, stale: Duration::ZERO },
        }
    }
}

/// Answers that said yes, and answers that said no.
#[derive(Debug)]
pub(super) struct Cache {
    positive: Shelf,
    negative: Shelf,
}

impl Cache {
    pub(super) fn new(entries: usize, bytes: usize) -> Self {
        let (less, fewer) = (bytes / NEGATIVE_SHARE, entries / NEGATIVE_SHARE);
        Self {
            positive: Shelf::new(entries.saturating_sub(fewer), bytes.saturating_sub(less)),
            negative: Shelf::new(fewer, less),
        }
    }

    /// What was answered lately enough to be used again.
    pub(super) fn fresh(&mut self, key: Key, now: Instant) -> Option<Kept> {
        self.positive.bury(key, now);
        self.negative.bury(key, now);
        let young = |entry: &Entry| entry.age(now) < entry.lifetimes.fresh;
        self.positive.find(key, young).or_else(|| self.negative.find(key, young))
    }

    /// What may stand in where the service fails.
    pub(super) fn stale(&mut self, key: Key, now: Instant) -> Option<Kept> {
        self.positive.find(key, |entry| entry.age(now) < entry.lifetimes.stale)
    }

    /// Keeps an answer in place of the one before.
    pub(super) fn keep(&mut self, key: Key, kept: &Kept, grant: &UrlGrant, now: Instant) {
        let lifetimes = Lifetimes::of(kept.status, grant);
        if matches!(kept.status, 408 | 429) {
            return;
        }
        self.positive.remove(key);
        self.negative.remove(key);
        if lifetimes.fresh.is_zero() && lifetimes.stale.is_zero() {
            return;
        }
        let shelf = if (200..300).contains(&kept.status) { &mut self.positive } else { &mut self.negative };
        shelf.put(key, Entry { kept: kept.clone(), lifetimes, since: now, turn: 0 });
    }

    pub(super) fn entries(&self) -> usize {
        self.positive.entries.len() + self.negative.entries.len()
    }

    pub(super) fn bytes(&self) -> usize {
        self.positive.bytes + self.negative.bytes
    }
}

#[derive(Debug)]
struct Entry {
    kept: Kept,
    lifetimes: Lifetimes,
    since: Instant,
    /// When it was used last, counted in uses.
    turn: u64,
}

impl Entry {
    fn age(&self, now: Instant) -> Duration {
        now.saturating_duration_since(self.since)
    }

    fn dead(&self, now: Instant) -> bool {
        self.age(now) >= self.lifetimes.fresh.max(self.lifetimes.stale)
    }

    fn bytes(&self) -> usize {
        self.kept.body.len() + OVERHEAD
    }
}

#[derive(Debug)]
struct Shelf {
    entries: HashMap<Key, Entry>,
    /// The least recently used first.
    turns: BTreeMap<u64, Key>,
    turn: u64,
    bytes: usize,
    entry_limit: usize,
    byte_limit: usize,
}

impl Shelf {
    fn new(entry_limit: usize, byte_limit: usize) -> Self {
        let (entries, turns) = (HashMap::new(), BTreeMap::new());
        Self { entries, turns, turn: 0, bytes: 0, entry_limit, byte_limit }
    }

    /// The entry, if it will do; that is a use.
    fn find(&mut self, key: Key, will_do: impl FnOnce(&Entry) -> bool) -> Option<Kept> {
        let entry = self.entries.get_mut(&key).filter(|entry| will_do(entry))?;
        self.turns.remove(&entry.turn);
        self.turn += 1;
        entry.turn = self.turn;
        self.turns.insert(self.turn, key);
        Some(entry.kept.clone())
    }

    fn put(&mut self, key: Key, entry: Entry) {
        if entry.bytes() > self.byte_limit || self.entry_limit == 0 {
            return;
        }
        self.remove(key);
        while self.entries.len() >= self.entry_limit || self.bytes + entry.bytes() > self.byte_limit {
            let Some(oldest) = self.turns.values().next().copied() else { break };
            self.remove(oldest);
        }
        self.turn += 1;
        self.turns.insert(self.turn, key);
        self.bytes += entry.bytes();
        self.entries.insert(key, Entry { turn: self.turn, ..entry });
    }

    /// Removes an entry that will never do again.
    fn bury(&mut self, key: Key, now: Instant) {
        if self.entries.get(&key).is_some_and(|entry| entry.dead(now)) {
            self.remove(key);
        }
    }

    fn remove(&mut self, key: Key) {
        if let Some(gone) = self.entries.remove(&key) {
            self.turns.remove(&gone.turn);
            self.bytes -= gone.bytes();
        }
    }
}

#[cfg(test)]
mod tests;
