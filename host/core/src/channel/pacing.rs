//! When to ask the vardiff policy about a channel, and what to tell it. The same for both protocols.

use std::sync::Arc;
use std::time::Duration;

use crate::policy::vardiff::{ChannelFacts, Decision, Memo, Opening, Review};
use crate::units::{Difficulty, Moment, Now};

/// The least time between two looks at a channel.
pub const SHORTEST_REVIEW: Duration = Duration::from_secs(1);
/// The most; a policy cannot forget a channel.
pub const LONGEST_REVIEW: Duration = Duration::from_secs(3600);
/// How soon to ask again after no answer came.
const AFTER_NO_ANSWER: Duration = Duration::from_secs(30);
/// A miner's wish changes the difficulty at most this often (V1-42).
const SUGGESTION_INTERVAL: Duration = Duration::from_secs(60);

/// A channel's account with the vardiff policy.
#[derive(Debug)]
pub struct Pacing {
    facts: Arc<ChannelFacts>,
    decided: Moment,
    accepted: u32,
    rejected: u32,
    work: f64,
    review_after: Duration,
    review_after_shares: u32,
    memo: Memo,
    suggested: Option<Difficulty>,
    suggested_at: Option<Moment>,
    nominal_hashrate: Option<f64>,
    /// Asked, and not yet answered.
    asked: bool,
}

impl Pacing {
    pub fn new(facts: Arc<ChannelFacts>, now: Moment) -> Self {
        Self {
            facts,
            decided: now,
            accepted: 0,
            rejected: 0,
            work: 0.0,
            review_after: AFTER_NO_ANSWER,
            review_after_shares: u32::MAX,
            memo: Memo::default(),
            suggested: None,
            suggested_at: None,
            nominal_hashrate: None,
            asked: false,
        }
    }

    pub fn facts(&self) -> &Arc<ChannelFacts> {
        &self.facts
    }

    /// What to ask when the channel opens.
    pub fn opening(&mut self, start: Option<Difficulty>, now: Now) -> Opening {
        self.asked = true;
        Opening {
            channel: Arc::clone(&self.facts),
            now: now.wall,
            start,
            suggested: self.suggested,
            nominal_hashrate: self.nominal_hashrate,
        }
    }

    /// The miner names a difficulty. Returns whether it is heard: not when it repeats itself or comes too soon (V1-42).
    pub fn suggest(&mut self, difficulty: Difficulty, now: Moment) -> bool {
        let too_soon = self.suggested_at.is_some_and(|at| now.since(at) < SUGGESTION_INTERVAL);
        if self.suggested == Some(difficulty) || too_soon {
            return false;
        }
        self.suggested = Some(difficulty);
        self.suggested_at = Some(now);
        // Look at once.
        self.review_after = Duration::ZERO;
        true
    }

    /// SV2 nominal_hash_rate, hashes per second.
    pub fn set_nominal_hashrate(&mut self, hashrate: f64) {
        self.nominal_hashrate = Some(hashrate);
    }

    /// The least difficulty from now on.
    pub fn set_floor(&mut self, floor: Difficulty) {
        if self.facts.floor != floor {
            Arc::make_mut(&mut self.facts).floor = floor;
        }
    }

    /// What the miner bears or wants at least, as the policy is told (SV2: its maximum target).
    pub fn set_suggested(&mut self, difficulty: Difficulty) {
        self.suggested = Some(difficulty);
    }

    /// Whether an answer is awaited.
    pub fn is_asked(&self) -> bool {
        self.asked
    }

    pub fn count_accepted(&mut self, difficulty: Difficulty) {
        self.accepted = self.accepted.saturating_add(1);
        self.work += difficulty.get();
    }

    pub fn count_rejected(&mut self) {
        self.rejected = self.rejected.saturating_add(1);
    }

    /// When the next look is due by the clock; `None` while an answer is awaited.
    pub fn due_at(&self) -> Option<Moment> {
        (!self.asked).then(|| self.decided.after(self.review_after))
    }

    /// The question to ask, if its time has come.
    pub fn review(&mut self, current: Difficulty, now: Now) -> Option<Review> {
        let enough =
            self.accepted >= self.review_after_shares && now.moment.since(self.decided) >= SHORTEST_REVIEW;
        let due = enough || self.due_at().is_some_and(|at| at <= now.moment);
        if self.asked || !due {
            return None;
        }
        self.asked = true;
        Some(Review {
            channel: Arc::clone(&self.facts),
            now: now.wall,
            current,
            elapsed: now.moment.since(self.decided),
            accepted: self.accepted,
            rejected: self.rejected,
            work: self.work,
            suggested: self.suggested,
            nominal_hashrate: self.nominal_hashrate,
            memo: self.memo.clone(),
        })
    }

    /// Takes the answer. Returns the difficulty to work at, between floor and ceiling; `None` keeps the present one.
    pub fn decide(&mut self, decision: Option<Decision>, now: Moment) -> Option<Difficulty> {
        self.asked = false;
        let Some(decision) = decision else {
            self.review_after = now.since(self.decided) + AFTER_NO_ANSWER;
            self.review_after_shares = u32::MAX;
            return None;
        };
        self.decided = now;
        self.accepted = 0;
        self.rejected = 0;
        self.work = 0.0;
        self.review_after = decision.review_after.clamp(SHORTEST_REVIEW, LONGEST_REVIEW);
        self.review_after_shares = decision.review_after_shares.max(1);
        self.memo = decision.memo;
        Some(decision.difficulty.within(self.facts.floor, self.facts.ceiling))
    }
}
