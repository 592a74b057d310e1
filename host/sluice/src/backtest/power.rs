//! How fast a miner is over time: in stretches of one speed.

use super::random::Random;
use super::scenario::{Group, Outage, Ramp};

/// How often the speed of a miner with jitter, or within a ramp, is drawn anew, in seconds.
const STEP: f64 = 30.0;

/// A stretch of time.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Stretch {
    /// Its end, in seconds; infinite for the last.
    pub(super) until: f64,
    /// Hashes per second; `None` without a connection.
    pub(super) hashrate: Option<f64>,
}

/// A miner's speed. Asked in the order of time.
#[derive(Clone, Debug)]
pub(super) enum Power {
    Made(Box<Made>),
    /// From the log: ends of stretches and their speed, in order; then nothing.
    Recorded {
        stretches: Vec<Stretch>,
        next: usize,
    },
}

/// As a scenario says.
#[derive(Clone, Debug)]
pub(super) struct Made {
    random: Random,
    start: f64,
    base: f64,
    jitter: f64,
    ramps: Vec<Ramp>,
    outage: Option<Outage>,
    /// Of the next or present outage.
    out: (f64, f64),
}

impl Power {
    pub(super) fn of(group: &Group, mut random: Random) -> Self {
        let start = group.start.0 + group.spread.0 * random.even();
        let mut made = Made {
            random,
            start,
            base: group.hashrate.0,
            jitter: group.jitter,
            ramps: group.ramp.clone(),
            outage: group.outage,
            out: (f64::INFINITY, f64::INFINITY),
        };
        made.plan_outage(start);
        Self::Made(Box::new(made))
    }

    pub(super) fn recorded(stretches: Vec<Stretch>) -> Self {
        Self::Recorded { stretches, next: 0 }
    }

    /// The stretch that `now` is in.
    pub(super) fn at(&mut self, now: f64) -> Stretch {
        match self {
            Self::Made(made) => made.at(now),
            Self::Recorded { stretches, next } => {
                while stretches.get(*next).is_some_and(|stretch| stretch.until <= now) {
                    *next += 1;
                }
                let over = Stretch { until: f64::INFINITY, hashrate: None };
                stretches.get(*next).copied().unwrap_or(over)
            }
        }
    }
}

impl Made {
    fn plan_outage(&mut self, after: f64) {
        if let Some(outage) = self.outage {
            let from = after + outage.every.0 * self.random.waiting();
            // Shorter ones nobody would see.
            self.out = (from, from + (outage.lasts.0 * self.random.waiting()).max(1.0));
        }
    }

    fn at(&mut self, now: f64) -> Stretch {
        if now < self.start {
            return Stretch { until: self.start, hashrate: None };
        }
        if now >= self.out.1 {
            self.plan_outage(now);
        }
        let (from, until) = self.out;
        if now >= from {
            let reconnects = self.outage.is_some_and(|outage| outage.reconnect);
            return Stretch { until, hashrate: (!reconnects).then_some(0.0) };
        }
        let (factor, end) = factor(&self.ramps, now);
        let jitter =
            if self.jitter > 0.0 { (1.0 + self.jitter * self.random.normal()).max(0.0) } else { 1.0 };
        let step = if self.jitter > 0.0 { now + STEP } else { f64::INFINITY };
        Stretch { until: end.min(step).min(from), hashrate: Some(self.base * factor * jitter) }
    }
}

/// What the hash rate is multiplied with, and until when.
fn factor(ramps: &[Ramp], now: f64) -> (f64, f64) {
    let mut before = 1.0;
    for ramp in ramps {
        let (at, over) = (ramp.at.0, ramp.over.0);
        if now < at {
            return (before, at);
        }
        if now < at + over {
            let part = (now - at) / over;
            return (before + (ramp.factor - before) * part, (now + STEP).min(at + over));
        }
        before = ramp.factor;
    }
    (before, f64::INFINITY)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backtest::scenario::Scenario;

    fn power(lines: &str) -> Power {
        let text = format!("duration = \"4h\"\n[[group]]\nname = \"a\"\nhashrate = \"1TH/s\"\n{lines}");
        let scenario = Scenario::parse(&text).unwrap();
        Power::of(&scenario.groups[0], Random::new(1, 1))
    }

    /// Every stretch up to four hours, with its beginning.
    fn stretches(mut power: Power) -> Vec<(f64, Stretch)> {
        let (mut now, mut all) = (0.0, Vec::new());
        while now < 14_400.0 {
            let stretch = power.at(now);
            assert!(stretch.until > now, "time goes on");
            all.push((now, stretch));
            now = stretch.until;
        }
        all
    }

    #[test]
    fn a_plain_miner_hashes_from_its_start_on() {
        let all = stretches(power("start = \"10m\""));
        let spans: Vec<_> = all.iter().map(|(from, stretch)| (*from, stretch.hashrate)).collect();
        assert_eq!(spans, [(0.0, None), (600.0, Some(1e12))]);
    }

    #[test]
    fn ramps_lead_from_one_speed_to_the_next() {
        let all = stretches(power(
            "ramp = [{ at = \"1h\", factor = 3.0, over = \"10m\" }, { at = \"2h\", factor = 0.0 }]",
        ));
        let at = |now: f64| all.iter().rfind(|(from, _)| *from <= now).unwrap().1.hashrate.unwrap();
        assert_eq!(at(0.0), 1e12);
        assert!((at(3900.0) - 2e12).abs() < 1.1e11, "{}", at(3900.0));
        assert_eq!([at(5000.0), at(7300.0)], [3e12, 0.0]);
    }

    #[test]
    fn outages_come_and_go() {
        let share = |lines: &str, out: fn(&Stretch) -> bool| {
            let all = stretches(power(lines));
            let out = all.iter().filter(|(_, stretch)| out(stretch));
            out.map(|(from, stretch)| stretch.until.min(14_400.0) - from).sum::<f64>() / 14_400.0
        };
        let lost = share("outage = { every = \"2m\", lasts = \"2m\" }", |stretch| stretch.hashrate.is_none());
        assert!((0.3..0.7).contains(&lost), "{lost}");
        let lines = "outage = { every = \"2m\", lasts = \"2m\", reconnect = false }";
        let silent = share(lines, |stretch| stretch.hashrate == Some(0.0));
        assert!((0.3..0.7).contains(&silent), "{silent}");
    }

    #[test]
    fn jitter_keeps_the_mean() {
        let all = stretches(power("jitter = 0.1"));
        let mean = all.iter().filter_map(|(_, stretch)| stretch.hashrate).sum::<f64>() / all.len() as f64;
        assert!((mean / 1e12 - 1.0).abs() < 0.03 && all.len() > 400, "{mean}");
    }
}
