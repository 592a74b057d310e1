//! Keeps every channel at a steady number of shares per minute (V1-46).
//!
//! The start is the best hint there is. A channel with shares is moved only when its rate is outside a band around the
//! target and there is evidence enough, then straight to where the estimate says. A channel without shares is halved
//! again and again (V1-47): a small miner on a great difficulty must not wait for a share that never comes.

use sluice_plugin::settings::Settings;
use sluice_plugin::vardiff::{Channel, Decision, Opening, Review, VardiffPolicy};
use sluice_plugin::{Descriptor, Policy, PolicyError, Protocol, expect};

use crate::estimate::{Estimate, MEMO_BYTES, Memo, Stretch};
use crate::password;

/// The policy with its settings.
#[derive(Clone, Debug, PartialEq)]
pub struct Steady {
    /// Target, in shares per second.
    rate: f64,
    start: f64,
    minimum: f64,
    maximum: f64,
    /// Seconds between two looks at a channel with shares.
    review: f64,
    /// Seconds without a share until the difficulty is halved.
    silence: f64,
    /// Time constant of the average, in seconds.
    window: f64,
    band: f64,
    hints: Hints,
}

/// Which of a miner's own wishes are heard.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Hints {
    password: bool,
    suggestions: bool,
}

/// The contract's range of difficulties.
const DIFFICULTY_MIN: f64 = 1.0 / 4_294_967_296.0;
const DIFFICULTY_MAX: f64 = 1e18;
/// Hashes that difficulty 1 stands for.
const HASHES_PER_DIFFICULTY: f64 = 4_294_967_296.0;
/// 18 a minute make the hashrate of five minutes good to ten percent (V1-46).
const SHARES_PER_MINUTE: f64 = 18.0;
/// A device of 1 TH/s is about right with it; ten times as much or little is a matter of a minute.
const START: f64 = 1024.0;
/// Shares that must have been expected before silence means anything: by chance one time in twenty.
const SILENCE_SHARES: f64 = 3.0;
/// Standard deviations that a rate must be off before the difficulty is changed.
const EVIDENCE: f64 = 2.0;
/// The furthest that one decision goes up or down: a burst after an outage must not lock a miner out.
const STEP_UP: f64 = 16.0;
const STEP_DOWN: f64 = 4.0;
/// The least time between two suggestions that are acted on, in milliseconds (V1-42).
const SUGGESTION_PAUSE_MS: u64 = 60_000;
/// The fewest shares until the next look, so that there is something to see.
const REVIEW_SHARES_MIN: f64 = 8.0;
const REVIEW_SHARES_MAX: f64 = 10_000.0;

impl Policy for Steady {
    const DESCRIPTOR: Descriptor = Descriptor {
        name: "vardiff-steady",
        version: env!("CARGO_PKG_VERSION"),
        summary: "Keeps every miner at a steady number of shares per minute.",
        settings_schema: include_str!("settings.schema.json"),
        memo_format: 1,
    };

    fn configure(settings: &mut Settings) -> Self {
        let difficulty = DIFFICULTY_MIN..=DIFFICULTY_MAX;
        let per_minute = settings.number("shares-per-minute", 0.1..=600.0).unwrap_or(SHARES_PER_MINUTE);
        let policy = Self {
            rate: per_minute / 60.0,
            start: settings.number("start", difficulty.clone()).unwrap_or(START),
            minimum: settings.number("minimum", difficulty.clone()).unwrap_or(DIFFICULTY_MIN),
            maximum: settings.number("maximum", difficulty).unwrap_or(DIFFICULTY_MAX),
            review: settings.number("review-seconds", 5.0..=3600.0).unwrap_or(60.0),
            silence: settings.number("silence-seconds", 5.0..=3600.0).unwrap_or(30.0),
            window: settings.number("window-seconds", 10.0..=86_400.0).unwrap_or(300.0),
            band: settings.number("band", 1.05..=16.0).unwrap_or(1.4),
            hints: Hints {
                password: settings.flag_or("honour-password", true),
                suggestions: settings.flag_or("honour-suggestions", true),
            },
        };
        if policy.minimum > policy.maximum {
            settings.problem("minimum", "above maximum");
        }
        policy
    }

    fn self_test(&self) -> Result<(), String> {
        // Known answers for known settings: those of the operator may do anything with the same input.
        let policy: Self = sluice_plugin::configure("{}")?;
        let mut review = known_review();
        expect("a steady miner", &policy.decide(&review).difficulty, &1024.0)?;
        (review.accepted, review.work) = (72, 72.0 * 1024.0);
        expect("four times too fast", &policy.decide(&review).difficulty, &4096.0)?;
        (review.accepted, review.work) = (0, 0.0);
        expect("a silent miner", &policy.decide(&review).difficulty, &512.0)?;
        let mine = self.decide(&review);
        expect("the size of the memo", &mine.memo.len(), &MEMO_BYTES)?;
        expect("a finite difficulty", &mine.difficulty.is_finite(), &true)
    }
}

/// A minute on target.
fn known_review() -> Review {
    let client = sluice_plugin::Client {
        protocol: Protocol::StratumV1,
        listener: String::new(),
        address: String::new(),
        agent: String::new(),
        hardware: String::new(),
    };
    let (account, worker) = ("a".to_owned(), String::new());
    let channel = Channel { account, worker, client, password: None, floor: 0.001, ceiling: 1e12 };
    Review {
        channel,
        now: 1_700_000_000_000,
        current: 1024.0,
        elapsed_ms: 60_000,
        accepted: 18,
        rejected: 0,
        work: 18.0 * 1024.0,
        suggested: None,
        nominal_hashrate: None,
        memo: Vec::new(),
    }
}

impl VardiffPolicy for Steady {
    fn open(&self, opening: &Opening) -> Result<Decision, PolicyError> {
        let bounds = self.bounds(&opening.channel, opening.suggested);
        let suggested = self.wish(&opening.channel, opening.suggested);
        let memo = Memo {
            suggested: suggested.unwrap_or_default(),
            suggested_at: suggested.map_or(0, |_| opening.now),
            ..Memo::default()
        };
        let nominal = opening.nominal_hashrate.filter(|hashrate| hashrate.is_finite() && *hashrate > 0.0);
        let difficulty = self
            .password_wish(&opening.channel)
            .or_else(|| nominal.map(|hashrate| hashrate / HASHES_PER_DIFFICULTY / self.rate))
            .or(suggested)
            .or(opening.start)
            .unwrap_or(self.start);
        Ok(self.decision(bounds.clamp(tidy(difficulty)), self.silent_wait(), memo))
    }

    fn review(&self, review: &Review) -> Result<Decision, PolicyError> {
        Ok(self.decide(review))
    }
}

impl Steady {
    fn decide(&self, review: &Review) -> Decision {
        let bounds = self.bounds(&review.channel, review.suggested);
        let mut memo = Memo::read(&review.memo);
        if let Some(suggested) = self.new_suggestion(review, &memo) {
            memo = Memo { suggested, suggested_at: review.now, ..Memo::default() };
            return self.decision(bounds.clamp(tidy(suggested)), self.silent_wait(), memo);
        }
        if review.accepted == 0 {
            return self.silent(review, bounds, memo);
        }
        memo.silent_ms = 0;
        memo.estimate = memo.estimate.with(stretch(review), self.window);
        let wanted = self.retarget(review.current, memo.estimate).unwrap_or(review.current);
        self.decision(bounds.clamp(wanted), self.review, memo)
    }

    /// Halves once the silence means something, and forgets an estimate that it contradicts.
    fn silent(&self, review: &Review, bounds: Bounds, mut memo: Memo) -> Decision {
        memo.silent_ms = memo.silent_ms.saturating_add(review.elapsed_ms);
        let silent = memo.silent_ms as f64 / 1000.0;
        // A millisecond early is not a reason to wait once more.
        if silent + 0.001 < self.silent_wait() {
            let left = self.silent_wait() - silent;
            return self.decision(bounds.clamp(review.current), left, memo);
        }
        memo.silent_ms = 0;
        memo.estimate = Estimate::default();
        self.decision(bounds.clamp(tidy(review.current / 2.0)), self.silent_wait(), memo)
    }

    /// Where to go, if the rate is off and that is not chance.
    fn retarget(&self, current: f64, estimate: Estimate) -> Option<f64> {
        let speed = estimate.speed()?;
        let ratio = speed / current / self.rate;
        let tolerance = self.band.ln().max(EVIDENCE * estimate.doubt());
        (ratio.ln().abs() > tolerance).then(|| tidy(current * ratio.clamp(1.0 / STEP_DOWN, STEP_UP)))
    }

    /// A suggestion that was not acted on yet, and not too soon after the last one.
    fn new_suggestion(&self, review: &Review, memo: &Memo) -> Option<f64> {
        let suggested = self.wish(&review.channel, review.suggested)?;
        let rested = review.now.saturating_sub(memo.suggested_at) >= SUGGESTION_PAUSE_MS;
        (rested && suggested.to_bits() != memo.suggested.to_bits()).then_some(suggested)
    }

    /// An SV1 miner's suggestion. The one of SV2 is a bound; see [`Steady::bounds`].
    fn wish(&self, channel: &Channel, suggested: Option<f64>) -> Option<f64> {
        let heard = self.hints.suggestions && channel.client.protocol == Protocol::StratumV1;
        suggested.filter(|wish| heard && wish.is_finite() && *wish > 0.0)
    }

    fn password_wish(&self, channel: &Channel) -> Option<f64> {
        channel.password.as_deref().filter(|_| self.hints.password).and_then(password::difficulty)
    }

    fn bounds(&self, channel: &Channel, suggested: Option<f64>) -> Bounds {
        let ceiling = channel.ceiling.min(self.maximum);
        let mut floor = channel.floor.max(self.minimum);
        // The wish is a floor (V1-45), but never one above the ceiling.
        let wish = self.password_wish(channel).map_or(floor, |wish| wish.min(ceiling));
        floor = floor.max(wish);
        if channel.client.protocol == Protocol::StratumV2 {
            // A target above the channel's maximum would be refused by the miner.
            floor = floor.max(suggested.filter(|wish| wish.is_finite()).unwrap_or(floor));
        }
        Bounds { floor, ceiling }
    }

    /// Seconds after which silence means something.
    fn silent_wait(&self) -> f64 {
        self.silence.max(SILENCE_SHARES / self.rate)
    }

    /// Next look after `seconds`, or sooner if shares come twice as fast as they should.
    fn decision(&self, difficulty: f64, seconds: f64, memo: Memo) -> Decision {
        let shares = (2.0 * self.rate * self.review).clamp(REVIEW_SHARES_MIN, REVIEW_SHARES_MAX);
        Decision {
            difficulty,
            // Both are far within u32, and casts of floats saturate.
            review_after_ms: (seconds * 1000.0).ceil() as u32,
            review_after_shares: shares.ceil() as u32,
            memo: memo.write(),
        }
    }
}

/// Between these a channel is kept; the floor wins where they cross.
#[derive(Clone, Copy, Debug)]
struct Bounds {
    floor: f64,
    ceiling: f64,
}

impl Bounds {
    fn clamp(self, difficulty: f64) -> f64 {
        difficulty.min(self.ceiling).max(self.floor)
    }
}

fn stretch(review: &Review) -> Stretch {
    /// The clock's own grain: shares of the same millisecond took some of it.
    const GRAIN: f64 = 0.001;
    Stretch {
        seconds: (review.elapsed_ms as f64 / 1000.0).max(GRAIN),
        shares: f64::from(review.accepted),
        work: review.work,
    }
}

/// A number that is short to write and to read: 8 significant bits, and whole from 128 on. Some miners read no fractions
/// (V1-38), and nobody can tell a difference of 0.4 %.
fn tidy(difficulty: f64) -> f64 {
    const KEEP: u64 = !((1 << (52 - 7)) - 1);
    f64::from_bits(difficulty.to_bits() & KEEP)
}

#[cfg(test)]
mod tests;
