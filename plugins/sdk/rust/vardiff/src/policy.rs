//! What difficulty a miner works at: as many shares a minute as the settings say.
//!
//! The contract, with every field and its bounds, is wit/policy.wit. The host checks every answer.

use sluice_plugin::settings::Settings;
use sluice_plugin::vardiff::{Channel, Decision, Opening, Review, VardiffPolicy};
use sluice_plugin::{Client, Descriptor, Policy, PolicyError, Protocol, expect};

/// The target.
#[derive(Debug, PartialEq)]
pub struct SimpleVardiff {
    shares_per_minute: f64,
}

/// Hashes that a share of difficulty 1 takes.
const HASHES: f64 = 4_294_967_296.0;
/// Where a miner starts of which nothing is known.
const START: f64 = 1024.0;
/// The rate may be off by this factor until the difficulty is changed: shares come by chance.
const TOLERANCE: f64 = 1.5;
/// The furthest that one decision goes.
const STEP_UP: f64 = 16.0;
const STEP_DOWN: f64 = 1.0 / 4.0;
/// A rate is judged after the time in which so many shares are expected, or after [`REVIEW_SHARES`] of them: the fewer
/// there are, the less they say.
const EXPECTED_SHARES: f64 = 3.0;
/// When to look again, whichever comes first; later where shares are expected seldom.
const REVIEW_MS: u32 = 60_000;
const REVIEW_SHARES: u32 = 30;

impl Policy for SimpleVardiff {
    const DESCRIPTOR: Descriptor = Descriptor {
        name: "simple-vardiff",
        version: env!("CARGO_PKG_VERSION"),
        summary: "Difficulty by the rate of shares since the last look.",
        settings_schema: include_str!("settings.schema.json"),
        memo_format: 0,
    };

    // Every setting is taken by name; one that nobody takes is refused for us.
    fn configure(settings: &mut Settings) -> Self {
        Self { shares_per_minute: settings.number("shares-per-minute", 0.1..=600.0).unwrap_or(18.0) }
    }

    /// Known answers, asked for before the plugin is let in: for known settings, because the operator's may be anything.
    fn self_test(&self) -> Result<(), String> {
        let vardiff = Self { shares_per_minute: 18.0 };
        let after = |accepted| vardiff.decide(&a_minute(accepted)).difficulty;
        expect("a minute on target", &after(18), &1024.0)?;
        expect("four times too fast", &after(72), &4096.0)?;
        expect("silence", &after(0), &512.0)
    }
}

impl VardiffPolicy for SimpleVardiff {
    fn open(&self, opening: &Opening) -> Result<Decision, PolicyError> {
        // What is not given says nothing, and neither does 0.
        let said = |value: Option<f64>| value.filter(|value| *value > 0.0);
        let by_hashrate = |hashrate| hashrate * 60.0 / HASHES / self.shares_per_minute;
        let difficulty = said(wish(&opening.channel, opening.suggested))
            .or_else(|| said(opening.nominal_hashrate).map(by_hashrate))
            .or(opening.start)
            .unwrap_or(START);
        Ok(self.decision(bounded(difficulty, &opening.channel, opening.suggested)))
    }

    fn review(&self, review: &Review) -> Result<Decision, PolicyError> {
        Ok(self.decide(review))
    }
}

impl SimpleVardiff {
    fn decide(&self, review: &Review) -> Decision {
        self.decision(bounded(review.current * self.factor(review), &review.channel, review.suggested))
    }

    fn factor(&self, review: &Review) -> f64 {
        if review.accepted < REVIEW_SHARES && review.elapsed_ms < u64::from(self.patience_ms()) {
            return 1.0;
        }
        if review.accepted == 0 {
            return 1.0 / 2.0;
        }
        let minutes = review.elapsed_ms.max(1) as f64 / 60_000.0;
        let ratio = f64::from(review.accepted) / minutes / self.shares_per_minute;
        let settled = (1.0 / TOLERANCE..=TOLERANCE).contains(&ratio);
        if settled { 1.0 } else { ratio.clamp(STEP_DOWN, STEP_UP) }
    }

    /// Half an hour at most: the settings allow no rarer shares.
    fn patience_ms(&self) -> u32 {
        (EXPECTED_SHARES * 60_000.0 / self.shares_per_minute).ceil() as u32
    }

    fn decision(&self, difficulty: f64) -> Decision {
        Decision {
            difficulty,
            review_after_ms: self.patience_ms().max(REVIEW_MS),
            review_after_shares: REVIEW_SHARES,
            // Handed in with the next review of the channel: up to 256 bytes, the only memory there is.
            memo: Vec::new(),
        }
    }
}

/// What an SV1 miner suggests. Of an SV2 miner it is a bound; see [`bounded`].
fn wish(channel: &Channel, suggested: Option<f64>) -> Option<f64> {
    suggested.filter(|_| channel.client.protocol == Protocol::StratumV1)
}

fn bounded(difficulty: f64, channel: &Channel, suggested: Option<f64>) -> f64 {
    let bound = suggested.filter(|_| channel.client.protocol == Protocol::StratumV2).unwrap_or(0.0);
    difficulty.min(channel.ceiling).max(channel.floor).max(bound)
}

fn a_minute(accepted: u32) -> Review {
    let client = Client {
        protocol: Protocol::StratumV1,
        listener: String::new(),
        address: String::new(),
        agent: String::new(),
        hardware: String::new(),
    };
    let (account, worker) = ("a".to_owned(), String::new());
    Review {
        channel: Channel { account, worker, client, password: None, floor: 1.0, ceiling: 1e12 },
        now: 0,
        current: 1024.0,
        elapsed_ms: 60_000,
        accepted,
        rejected: 0,
        work: f64::from(accepted) * 1024.0,
        suggested: None,
        nominal_hashrate: None,
        memo: Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn passes_its_own_test() {
        let vardiff: SimpleVardiff = sluice_plugin::configure("{}").unwrap();
        assert_eq!(vardiff.self_test(), Ok(()));
    }

    #[test]
    fn a_minute_says_little_where_shares_are_seldom() {
        let vardiff = SimpleVardiff { shares_per_minute: 1.0 };
        for accepted in [0, 1, 4] {
            assert_eq!(vardiff.decide(&a_minute(accepted)), vardiff.decision(1024.0));
        }
        assert_eq!(vardiff.decision(1024.0).review_after_ms, 180_000);
    }

    #[test]
    fn a_target_out_of_range_is_refused() {
        let refused = sluice_plugin::configure::<SimpleVardiff>(r#"{"shares-per-minute":0}"#).unwrap_err();
        assert!(refused.contains("shares-per-minute"), "{refused}");
    }
}
