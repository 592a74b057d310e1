//! One miner, and the pool's side of its channel.

use std::collections::VecDeque;
use std::sync::Arc;

use sluice_core::channel::pacing::Pacing;
use sluice_core::ids::{AccountName, Protocol, WorkerName};
use sluice_core::policy::Client;
use sluice_core::policy::vardiff::ChannelFacts;
use sluice_core::units::{Difficulty, Moment, Now, Timestamp};

use super::super::observe::{Group, Stretch as Passed, Watch};
use super::super::power::{Power, Stretch};
use super::super::random::Random;
use super::{Asked, Terms};

/// A wall clock to begin with.
const EPOCH_MS: u64 = 1_700_000_000_000;
/// After a lowering, shares of earlier work count at the lower difficulty for so long (V1-40), in seconds.
const LOWERING_GRACE: f64 = 60.0;
/// A share that is due within this is due now: what is left is rounding. In seconds.
const GRAIN: f64 = 1e-9;

/// Who a miner is.
#[derive(Clone, Debug)]
pub(crate) struct Identity {
    pub(crate) account: AccountName,
    pub(crate) worker: WorkerName,
    pub(crate) agent: Arc<str>,
    pub(crate) password: Option<String>,
    /// To the pool, in seconds.
    pub(crate) latency: f64,
    /// At the old difficulty with new work, in seconds.
    pub(crate) lag: f64,
}

/// What an event may touch.
pub(super) struct Step<'a, 'b> {
    pub(super) terms: &'a Terms,
    pub(super) group: &'a mut Group,
    pub(super) asked: &'a mut Asked<'b>,
}

/// A share on its way.
struct Sent {
    arrives: f64,
    /// Difficulty of its work, and the one it was found at.
    work: f64,
    found_at: f64,
}

/// The pool's side of a connection.
struct Channel {
    pacing: Pacing,
    difficulty: f64,
    lowered_at: Option<f64>,
    /// New work on its way: when the miner has it, and its difficulty.
    work: VecDeque<(f64, f64)>,
    shares: VecDeque<Sent>,
    /// The miner's side: difficulty of its work, the one it hands in by, and since when it has the work.
    has: Option<f64>,
    hands_in_by: f64,
    takes_up_at: f64,
}

pub(super) struct Miner {
    facts: Arc<ChannelFacts>,
    latency: f64,
    lag: f64,
    power: Power,
    random: Random,
    now: f64,
    stretch: Stretch,
    /// Until the next share, in shares that are to be expected.
    waits: f64,
    channel: Option<Channel>,
    watch: Watch,
}

fn moment(seconds: f64) -> Now {
    let millis = (seconds * 1000.0).round() as u64;
    Now { moment: Moment(millis), wall: Timestamp(EPOCH_MS + millis) }
}

impl Miner {
    pub(super) fn new(identity: &Identity, power: Power, terms: &Terms, number: u64) -> Self {
        let client = Client {
            protocol: Protocol::StratumV1,
            listener: Arc::from("backtest"),
            address: Arc::from("192.0.2.1"),
            agent: identity.agent.clone(),
            hardware: Arc::from(""),
        };
        let facts = ChannelFacts {
            account: identity.account.clone(),
            worker: identity.worker.clone(),
            client,
            password: identity.password.clone(),
            floor: Difficulty::saturating(terms.floor),
            ceiling: Difficulty::saturating(terms.ceiling),
        };
        let mut random = Random::new(terms.seed, number);
        Self {
            facts: Arc::new(facts),
            latency: identity.latency,
            lag: identity.lag,
            power,
            waits: random.waiting(),
            random,
            now: 0.0,
            stretch: Stretch { until: 0.0, hashrate: None },
            channel: None,
            watch: Watch::new(),
        }
    }

    pub(super) fn watch(&self) -> &Watch {
        &self.watch
    }

    /// Shares a second that are to be expected at what it hands in by; `None` while it does not hash.
    fn rate(&self) -> Option<f64> {
        let channel = self.channel.as_ref().filter(|channel| channel.has.is_some())?;
        let hashrate = self.stretch.hashrate.filter(|hashrate| *hashrate > 0.0)?;
        Some(hashrate / Difficulty::saturating(channel.hands_in_by).hashes())
    }

    /// When something happens next, at most `longest` from now.
    pub(super) fn next(&self, longest: f64) -> f64 {
        let mut next = self.stretch.until.min(self.now + longest);
        if let Some(rate) = self.rate() {
            next = next.min(self.now + self.waits / rate);
        }
        let Some(channel) = &self.channel else { return next };
        let due = channel.pacing.due_at().map(|due| due.0 as f64 / 1000.0);
        let work = channel.work.front().map(|(arrives, _)| *arrives);
        let share = channel.shares.front().map(|sent| sent.arrives);
        let takes_up = channel.has.filter(|has| *has != channel.hands_in_by).map(|_| channel.takes_up_at);
        [due, work, share, takes_up].into_iter().flatten().fold(next, f64::min).max(self.now)
    }

    /// Time passes up to `now`.
    pub(super) fn pass(&mut self, now: f64, group: &mut Group) {
        let rate = self.rate();
        let difficulty = self.channel.as_ref().map_or(1.0, |channel| channel.hands_in_by);
        let passed = Passed { from: self.now, to: now, rate: rate.unwrap_or(0.0), difficulty };
        group.pass(&mut self.watch, passed);
        if let Some(rate) = rate {
            self.waits -= (now - self.now) * rate;
        }
        self.now = now;
    }

    /// Whatever is due at `now`.
    pub(super) fn act(&mut self, now: f64, mut step: Step<'_, '_>) {
        self.pass(now, step.group);
        if now >= self.stretch.until {
            self.stretch = self.power.at(now);
            self.connect(&mut step);
        }
        self.receive(now);
        if self.rate().is_some_and(|rate| self.waits <= rate * GRAIN) {
            self.find(now);
        }
        self.deliver(now, &mut step);
        self.review(now, &mut step);
    }

    /// The connection is made or lost.
    fn connect(&mut self, step: &mut Step<'_, '_>) {
        match (self.stretch.hashrate, &self.channel) {
            (None, Some(_)) => self.channel = None,
            (Some(_), None) => self.channel = Some(self.open(step)),
            _ => {}
        }
    }

    fn open(&self, step: &mut Step<'_, '_>) -> Channel {
        let now = moment(self.now);
        let start = Difficulty::saturating(step.terms.start).within(self.facts.floor, self.facts.ceiling);
        let mut pacing = Pacing::new(Arc::clone(&self.facts), now.moment);
        let opening = pacing.opening(Some(start), now);
        let decision = step.asked.ask(|policy| policy.open(&opening));
        let difficulty = pacing.decide(decision, now.moment).unwrap_or(start).get();
        Channel {
            pacing,
            difficulty,
            lowered_at: None,
            work: VecDeque::from([(self.now + self.latency, difficulty)]),
            shares: VecDeque::new(),
            has: None,
            hands_in_by: difficulty,
            takes_up_at: self.now,
        }
    }

    /// New work arrives; its difficulty is taken up at once or after a while.
    fn receive(&mut self, now: f64) {
        let Some(channel) = &mut self.channel else { return };
        while let Some((_, difficulty)) = channel.work.pop_front_if(|(arrives, _)| *arrives <= now) {
            channel.takes_up_at = if channel.has.is_some() { now + self.lag } else { now };
            channel.has = Some(difficulty);
        }
        if let Some(has) = channel.has
            && channel.takes_up_at <= now
        {
            channel.hands_in_by = has;
        }
    }

    fn find(&mut self, now: f64) {
        self.waits = self.random.waiting();
        let Some(channel) = &mut self.channel else { return };
        let Some(work) = channel.has else { return };
        let found_at = channel.hands_in_by;
        channel.shares.push_back(Sent { arrives: now + self.latency, work, found_at });
    }

    /// Shares arrive and are judged.
    fn deliver(&mut self, now: f64, step: &mut Step<'_, '_>) {
        let Some(channel) = &mut self.channel else { return };
        while let Some(sent) = channel.shares.pop_front_if(|sent| sent.arrives <= now) {
            let in_grace = channel.lowered_at.is_some_and(|at| now - at <= LOWERING_GRACE);
            let asked = if in_grace { sent.work.min(channel.difficulty) } else { sent.work };
            // A hash that meets one target meets a harder one by chance.
            if sent.found_at >= asked || self.random.even() < sent.found_at / asked {
                channel.pacing.count_accepted(Difficulty::saturating(asked));
                step.group.share(&mut self.watch, now, asked);
            } else {
                channel.pacing.count_rejected();
                self.watch.lost += 1;
                self.watch.lost_work += sent.found_at;
            }
        }
    }

    fn review(&mut self, now: f64, step: &mut Step<'_, '_>) {
        let Some(channel) = &mut self.channel else { return };
        let clock = moment(now);
        let Some(review) = channel.pacing.review(Difficulty::saturating(channel.difficulty), clock) else {
            return;
        };
        let answer = step.asked.ask(|policy| policy.review_all(std::slice::from_ref(&review)));
        let decision = answer.and_then(|mut decisions| decisions.pop());
        let Some(difficulty) = channel.pacing.decide(decision, clock.moment) else { return };
        let difficulty = difficulty.get();
        if difficulty == channel.difficulty {
            return;
        }
        channel.lowered_at = (difficulty < channel.difficulty).then_some(now);
        channel.difficulty = difficulty;
        channel.work.push_back((now + self.latency, difficulty));
        self.watch.change();
    }
}
