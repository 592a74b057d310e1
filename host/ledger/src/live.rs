//! What the writer adds up in memory as it commits: statistics by worker, and work by account since the windows last
//! looked. No row is written for it while shares come.

use sluice_core::ids::{Protocol, ShareSeq};

use crate::queue::LoggedShare;
use crate::sums::{Sum, Sums, work_of};

/// Buckets of the recent work, a minute each.
const MINUTES: usize = 10;
const MINUTE_MS: u64 = 60_000;
/// How far back the recent work reaches.
pub(crate) const RECENT_MS: u64 = MINUTE_MS * MINUTES as u64;

/// No rate is taken over less.
const SHORTEST_MS: u64 = 10_000;

/// Difficulty accepted in each of the last ten minutes.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Recent {
    /// The minute since 1970 of the newest bucket.
    minute: u64,
    buckets: [f64; MINUTES],
}

impl Recent {
    pub(crate) fn add(&mut self, at: u64, difficulty: f64) {
        let minute = at / MINUTE_MS;
        self.move_to(minute);
        if self.minute - minute < MINUTES as u64 {
            self.buckets[bucket(minute)] += difficulty;
        }
    }

    /// Difficulty accepted in the ten minutes that end with the minute of `now`, and the milliseconds since the first
    /// minute of them that has any: a worker that has just begun is not taken for a slow one.
    pub(crate) fn sum(mut self, now: u64) -> (f64, u64) {
        let minute = now / MINUTE_MS;
        self.move_to(minute);
        let kept = 0..=self.minute.min(MINUTES as u64 - 1);
        let first = kept.rev().find(|ago| self.buckets[bucket(self.minute - ago)] > 0.0);
        let begun = self.minute.saturating_sub(first.unwrap_or(0)) * MINUTE_MS;
        (self.buckets.iter().sum(), now.saturating_sub(begun).clamp(SHORTEST_MS, RECENT_MS))
    }

    fn move_to(&mut self, minute: u64) {
        let steps = minute.saturating_sub(self.minute).min(MINUTES as u64);
        for step in 0..steps {
            self.buckets[bucket(minute - step)] = 0.0;
        }
        self.minute = self.minute.max(minute);
    }
}

fn bucket(minute: u64) -> usize {
    (minute % MINUTES as u64) as usize
}

/// 144 bytes a worker.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct WorkerStats {
    pub(crate) sum: Sum,
    pub(crate) last_at: u64,
    pub(crate) recent: Recent,
    pub(crate) protocol: Protocol,
    /// Changed since the totals were last saved.
    pub(crate) unsaved: bool,
}

impl WorkerStats {
    const NONE: Self = Self {
        sum: Sum { work: 0, shares: 0 },
        last_at: 0,
        recent: Recent { minute: 0, buckets: [0.0; MINUTES] },
        protocol: Protocol::StratumV1,
        unsaved: false,
    };
}

/// Guarded by a mutex that the writer takes once a batch.
#[derive(Debug)]
pub(crate) struct Live {
    /// The last share counted here.
    pub(crate) through: ShareSeq,
    pub(crate) workers: Vec<WorkerStats>,
    pub(crate) total: Sum,
    /// The last share that the totals saved before the start count.
    saved_through: u64,
    /// Shares after `fresh_after`, up to `through`.
    fresh: Sums,
    fresh_after: ShareSeq,
}

/// The shares after `after` up to `through`, added up.
#[derive(Debug)]
pub(crate) struct Fresh {
    pub(crate) after: u64,
    pub(crate) through: u64,
    pub(crate) sums: Sums,
}

impl Live {
    pub(crate) fn new(through: ShareSeq, saved_through: u64, workers: Vec<WorkerStats>, total: Sum) -> Self {
        Self { through, workers, total, saved_through, fresh: Sums::default(), fresh_after: through }
    }

    /// The last share, and the last that the saved totals count.
    pub(crate) fn positions(&self) -> (u64, u64) {
        (self.through.0, self.saved_through)
    }

    pub(crate) fn count(&mut self, shares: &[LoggedShare]) {
        for share in shares {
            let work = work_of(share.difficulty);
            self.fresh.add(share.account, work);
            self.total.add(Sum { work, shares: 1 });
            let worker = worker(&mut self.workers, share.worker);
            worker.sum.add(Sum { work, shares: 1 });
            worker.last_at = share.at;
            worker.protocol = share.protocol;
            worker.unsaved = true;
            worker.recent.add(share.at, share.difficulty);
        }
        self.through.0 += shares.len() as u64;
    }

    pub(crate) fn take_fresh(&mut self) -> Fresh {
        let sums = std::mem::take(&mut self.fresh);
        let after = std::mem::replace(&mut self.fresh_after, self.through);
        Fresh { after: after.0, through: self.through.0, sums }
    }
}

/// The statistics of worker `id`, made if there are none.
pub(crate) fn worker(workers: &mut Vec<WorkerStats>, id: u32) -> &mut WorkerStats {
    let index = id as usize;
    if index >= workers.len() {
        workers.resize(index + 1, WorkerStats::NONE);
    }
    &mut workers[index]
}
