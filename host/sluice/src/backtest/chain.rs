//! A simulated chain: the work of a scenario's miners by account, and the blocks that come of it.
//!
//! Work is what the hash rates are expected to bring, added up in buckets of time; blocks are a Poisson process. A window
//! ends with a whole bucket, but for the oldest, of which a part may count.

use std::collections::{BTreeMap, VecDeque};

use bitcoin::Amount;
use sluice_core::policy::payout::{Contribution, Plan, Round, Tally, Window};
use sluice_core::units::Timestamp;

use super::payout::Event;
use super::power::{Power, Stretch};
use super::random::Random;
use super::scenario::{Chain, Scenario};

/// The most buckets of a history, and the shortest, in seconds.
const BUCKETS: f64 = 500.0;
const SHORTEST: f64 = 60.0;
const GRAIN: f64 = 1e-3;
/// Hashes that difficulty 1 stands for.
const HASHES: f64 = 4_294_967_296.0;
/// Where a chain is now, so that policies see what is usual.
const HEIGHT: u32 = 900_000;
const EPOCH_MS: u64 = 1_700_000_000_000;
/// The most blocks of a history.
const BLOCKS_LIMIT: u32 = 100_000;

/// Work of a while, by account.
struct Bucket {
    until: f64,
    work: Vec<f64>,
    total: f64,
    /// The last bucket of a round.
    ends_round: bool,
}

struct Account {
    name: String,
    power: Power,
    stretch: Stretch,
}

/// A scenario's miners and their blocks.
pub(super) struct History {
    duration: f64,
    chain: Chain,
    accounts: Vec<Account>,
    random: Random,
    buckets: VecDeque<Bucket>,
    height: u32,
}

impl History {
    /// Every miner is an account.
    pub(super) fn new(scenario: &Scenario) -> Self {
        let mut accounts = Vec::new();
        for group in &scenario.groups {
            for number in 1..=group.count {
                let random = Random::new(scenario.seed, accounts.len() as u64);
                let name =
                    if group.count == 1 { group.name.clone() } else { format!("{}-{number}", group.name) };
                let stretch = Stretch { until: 0.0, hashrate: None };
                accounts.push(Account { name, power: Power::of(group, random), stretch });
            }
        }
        Self {
            duration: scenario.duration.0,
            chain: scenario.chain.clone(),
            accounts,
            random: Random::new(scenario.seed, u64::MAX),
            buckets: VecDeque::new(),
            height: HEIGHT,
        }
    }

    /// Visits blocks and stretches of work in the order of time, each as the two plans want to be asked.
    pub(super) fn run(&mut self, plans: (Plan, Plan), visit: &mut dyn FnMut(Event)) {
        let step = (self.duration / BUCKETS).max(SHORTEST);
        let (mut now, mut waits) = (0.0, self.random.waiting());
        let mut blocks = 0;
        // What is left of the last step by rounding is no step.
        while self.duration - now > GRAIN {
            let until = (now + step).min(self.duration);
            let bucket = self.bucket(now, until);
            visit(Event::Work(vec![self.tally(&bucket)]));
            let luck = bucket.total / self.chain.difficulty;
            self.buckets.push_back(bucket);
            if self.buckets.len() > BUCKETS as usize {
                self.buckets.pop_front();
            }
            waits -= luck;
            while waits <= 0.0 && blocks < BLOCKS_LIMIT {
                waits += self.random.waiting();
                blocks += 1;
                self.block(plans, until, visit);
            }
            now = until;
        }
    }

    fn bucket(&mut self, from: f64, until: f64) -> Bucket {
        let work: Vec<f64> = self.accounts.iter_mut().map(|account| account.work(from, until)).collect();
        let total = work.iter().sum();
        Bucket { until, work, total, ends_round: false }
    }

    fn block(&mut self, plans: (Plan, Plan), now: f64, visit: &mut dyn FnMut(Event)) {
        self.height += 1;
        let finder = self.finder();
        let question = |plan: Plan| self.question(plan, now, &finder);
        visit(Event::Block { candidate: question(plans.0), current: question(plans.1) });
        if let Some(last) = self.buckets.back_mut() {
            last.ends_round = true;
        }
    }

    /// By chance, as much as each has worked lately.
    fn finder(&mut self) -> String {
        let Some(last) = self.buckets.back() else { return String::new() };
        let mut left = self.random.even() * last.total;
        let found = self.accounts.iter().zip(&last.work).find(|(_, work)| {
            left -= **work;
            left < 0.0
        });
        found.map(|(account, _)| account.name.clone()).unwrap_or_default()
    }

    fn question(&self, plan: Plan, now: f64, finder: &str) -> Round {
        let (work_unit, contributions) = self.told(&self.window(plan.window, now));
        Round {
            found: true,
            height: self.height,
            at: Timestamp(EPOCH_MS + (now * 1000.0) as u64),
            subsidy: Amount::from_sat(self.chain.subsidy_sat),
            fees: Amount::from_sat(self.chain.fees_sat),
            network_difficulty: self.chain.difficulty,
            finder: if plan.per_finder { finder.to_owned() } else { String::new() },
            work_unit,
            contributions,
        }
    }

    /// Work by account within the window, as difficulty.
    fn window(&self, window: Window, now: f64) -> Vec<f64> {
        let mut sums = vec![0.0; self.accounts.len()];
        let mut add = |bucket: &Bucket, part: f64| {
            for (sum, work) in sums.iter_mut().zip(&bucket.work) {
                *sum += work * part;
            }
        };
        let newest_first = self.buckets.iter().rev();
        match window {
            Window::None => {}
            // The newest bucket ended the round before where two blocks are in it: the work counts for both.
            Window::Round => {
                let round =
                    newest_first.enumerate().take_while(|(age, bucket)| *age == 0 || !bucket.ends_round);
                round.for_each(|(_, bucket)| add(bucket, 1.0));
            }
            Window::Work(times) => {
                let mut left = times * self.chain.difficulty;
                for bucket in newest_first {
                    if left <= 0.0 {
                        break;
                    }
                    add(bucket, (left / bucket.total.max(f64::MIN_POSITIVE)).min(1.0));
                    left -= bucket.total;
                }
            }
            Window::DurationMs(millis) => {
                let since = now - millis as f64 / 1000.0;
                newest_first.take_while(|bucket| bucket.until > since).for_each(|bucket| add(bucket, 1.0));
            }
        }
        sums
    }

    fn tally(&self, bucket: &Bucket) -> Tally {
        let (work_unit, contributions) = self.told(&bucket.work);
        Tally {
            height: self.height,
            subsidy: Amount::from_sat(self.chain.subsidy_sat),
            fees: Amount::from_sat(self.chain.fees_sat),
            network_difficulty: self.chain.difficulty,
            work_unit,
            contributions,
        }
    }

    /// The unit, and work in units, sorted by account; as the ledger tells it.
    fn told(&self, work: &[f64]) -> (f64, Vec<Contribution>) {
        let total: f64 = work.iter().sum();
        // The smallest power of two, from 2^-32, that keeps the sum below 2^52.
        let unit = 2f64.powf((total.max(f64::MIN_POSITIVE) / 2f64.powi(52)).log2().ceil().max(-32.0));
        let told = self.accounts.iter().zip(work).filter(|(_, work)| **work > 0.0);
        let by_name: BTreeMap<&str, u64> =
            told.map(|(account, work)| (account.name.as_str(), (work / unit) as u64)).collect();
        let contribution =
            |(account, work): (&str, u64)| Contribution { account: account.to_owned(), work, shares: 1 };
        (unit, by_name.into_iter().map(contribution).collect())
    }
}

impl Account {
    /// Expected between two times, as difficulty.
    fn work(&mut self, from: f64, until: f64) -> f64 {
        let (mut now, mut hashes) = (from, 0.0);
        while now < until {
            if now >= self.stretch.until {
                self.stretch = self.power.at(now);
            }
            let end = self.stretch.until.min(until);
            hashes += self.stretch.hashrate.unwrap_or(0.0) * (end - now);
            now = end;
        }
        hashes / HASHES
    }
}
