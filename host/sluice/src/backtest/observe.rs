//! What is noted of a simulated miner, and what is told of its group.

use serde::Serialize;

/// A miner has settled when it stays within the factor for so long, in seconds.
const HOLD: f64 = 600.0;
/// Shares are counted over so long, in seconds.
const WINDOW: f64 = 60.0;
/// Points of a plot.
pub(super) const BINS: usize = 240;

/// Whether the share rate that is to be expected is within a factor of the target, over time.
#[derive(Clone, Copy, Debug)]
struct Settling {
    factor: f64,
    since: Option<f64>,
    /// Seconds of hashing since then.
    held: f64,
    /// When it began to hold.
    at: Option<f64>,
    /// Seconds of hashing after that, and those of them within the factor.
    after: f64,
    within: f64,
}

impl Settling {
    fn new(factor: f64) -> Self {
        Self { factor, since: None, held: 0.0, at: None, after: 0.0, within: 0.0 }
    }

    fn pass(&mut self, from: f64, to: f64, ratio: f64) {
        let is_within = ratio <= self.factor && ratio * self.factor >= 1.0;
        if self.at.is_none() {
            self.since = is_within.then(|| self.since.unwrap_or(from));
            self.held = if is_within { self.held + to - from } else { 0.0 };
            self.at = self.since.filter(|_| self.held >= HOLD);
            let held = self.at.map_or(0.0, |_| self.held);
            (self.after, self.within) = (held, held);
            return;
        }
        self.after += to - from;
        self.within += if is_within { to - from } else { 0.0 };
    }
}

/// Squares of what share counts differ by, over what they would be if shares came by chance alone.
#[derive(Clone, Copy, Debug, Default)]
struct Spread {
    squares: f64,
    expected: f64,
}

impl Spread {
    fn ratio(self) -> Option<f64> {
        (self.expected > 0.0).then(|| self.squares / self.expected)
    }
}

/// A minute of shares, as long as the miner hashes all through it.
#[derive(Clone, Copy, Debug, Default)]
struct Minute {
    from: f64,
    shares: u32,
    hashed: f64,
}

/// A time of one speed, in seconds.
#[derive(Clone, Copy, Debug)]
pub(super) struct Stretch {
    pub(super) from: f64,
    pub(super) to: f64,
    /// Shares a second that are to be expected; 0 where the miner does not hash.
    pub(super) rate: f64,
    pub(super) difficulty: f64,
}

/// The difficulties that a miner worked at.
#[derive(Clone, Copy, Debug)]
struct Range {
    lowest: f64,
    highest: f64,
}

impl Range {
    const NONE: Self = Self { lowest: f64::INFINITY, highest: 0.0 };

    fn with(self, other: Self) -> Self {
        Self { lowest: self.lowest.min(other.lowest), highest: self.highest.max(other.highest) }
    }

    fn bounds(self) -> Option<(f64, f64)> {
        (self.lowest <= self.highest).then_some((self.lowest, self.highest))
    }
}

/// What a miner does once it was within a factor of 2 of the target for [`HOLD`].
#[derive(Clone, Copy, Debug)]
struct Calm {
    hashed: f64,
    shares: u64,
    changes: u64,
    range: Range,
}

/// What is noted of a miner.
#[derive(Clone, Debug)]
pub(super) struct Watch {
    born: Option<f64>,
    double: Settling,
    half_more: Settling,
    minute: Minute,
    spread: Spread,
    calm: Calm,
    range: Range,
    pub(super) shares: u64,
    pub(super) lost: u64,
    pub(super) lost_work: f64,
    work: f64,
}

impl Watch {
    pub(super) fn new() -> Self {
        Self {
            born: None,
            double: Settling::new(2.0),
            half_more: Settling::new(1.5),
            minute: Minute::default(),
            spread: Spread::default(),
            calm: Calm { hashed: 0.0, shares: 0, changes: 0, range: Range::NONE },
            range: Range::NONE,
            shares: 0,
            lost: 0,
            lost_work: 0.0,
            work: 0.0,
        }
    }

    fn is_calm(&self) -> bool {
        self.double.at.is_some()
    }

    /// The miner hashes.
    fn pass(&mut self, Stretch { from, to, rate, difficulty }: Stretch, target: f64) {
        self.born.get_or_insert(from);
        self.minute.hashed += to - from;
        let here = Range { lowest: difficulty, highest: difficulty };
        self.range = self.range.with(here);
        if self.is_calm() {
            self.calm.hashed += to - from;
            self.calm.range = self.calm.range.with(here);
        }
        self.double.pass(from, to, rate / target);
        self.half_more.pass(from, to, rate / target);
    }

    /// Ends the minute if it is over; returns its square and its expectation.
    fn turn(&mut self, now: f64, target: f64) -> Option<Spread> {
        if now < self.minute.from + WINDOW {
            return None;
        }
        let Minute { from, shares, hashed } = self.minute;
        let begins = from + ((now - from) / WINDOW).floor() * WINDOW;
        self.minute = Minute { from: begins, ..Minute::default() };
        let settled = self.double.at.is_some_and(|at| at <= from);
        // A stretch of time that ends behind the minute takes the minute's end with it.
        if !settled || hashed < WINDOW * 0.99 {
            return None;
        }
        let expected = target * WINDOW;
        let spread = Spread { squares: (f64::from(shares) - expected).powi(2), expected };
        self.spread.squares += spread.squares;
        self.spread.expected += expected;
        Some(spread)
    }

    fn share(&mut self, difficulty: f64) {
        self.shares += 1;
        self.work += difficulty;
        self.minute.shares += 1;
        self.calm.shares += u64::from(self.is_calm());
    }

    /// The difficulty was changed.
    pub(super) fn change(&mut self) {
        self.calm.changes += u64::from(self.is_calm());
    }
}

/// A point of a group's plots.
#[derive(Clone, Copy, Debug, Default)]
struct Bin {
    shares: f64,
    hashed: f64,
    log_difficulty: f64,
    spread: Spread,
}

/// A group over time.
#[derive(Clone, Debug)]
pub(super) struct Group {
    name: String,
    hashrate: f64,
    bins: Vec<Bin>,
    width: f64,
    target: f64,
}

impl Group {
    /// Of `duration` and `target` shares, in seconds and a second.
    pub(super) fn new(name: &str, hashrate: f64, duration: f64, target: f64) -> Self {
        let bins = vec![Bin::default(); BINS];
        Self { name: name.to_owned(), hashrate, bins, width: duration / BINS as f64, target }
    }

    fn bin(&mut self, now: f64) -> &mut Bin {
        let index = ((now / self.width) as usize).min(self.bins.len() - 1);
        &mut self.bins[index]
    }

    pub(super) fn width(&self) -> f64 {
        self.width
    }

    /// Time passes for a miner of the group.
    pub(super) fn pass(&mut self, watch: &mut Watch, stretch: Stretch) {
        let Stretch { from, to, rate, difficulty } = stretch;
        if rate > 0.0 && to > from {
            watch.pass(stretch, self.target);
            let bin = self.bin((from + to) / 2.0);
            bin.hashed += to - from;
            bin.log_difficulty += difficulty.ln() * (to - from);
        }
        if let Some(spread) = watch.turn(to, self.target) {
            let bin = self.bin(to);
            bin.spread.squares += spread.squares;
            bin.spread.expected += spread.expected;
        }
    }

    /// An accepted share.
    pub(super) fn share(&mut self, watch: &mut Watch, now: f64, difficulty: f64) {
        watch.share(difficulty);
        self.bin(now).shares += 1.0;
    }

    /// What is told of the group's miners.
    pub(super) fn summary(self, miners: &[&Watch]) -> Summary {
        let sum = |of: fn(&Watch) -> f64| miners.iter().map(|watch| of(watch)).sum::<f64>();
        let sums = |of: fn(&Watch) -> u64| miners.iter().map(|watch| of(watch)).sum::<u64>();
        let spread = Spread {
            squares: sum(|watch| watch.spread.squares),
            expected: sum(|watch| watch.spread.expected),
        };
        let calm_seconds = sum(|watch| watch.calm.hashed);
        let range = |of: fn(&Watch) -> Range| {
            miners.iter().map(|watch| of(watch)).fold(Range::NONE, Range::with).bounds()
        };
        let swing = |watch: &&Watch| watch.calm.range.bounds().map(|(lowest, highest)| highest / lowest);
        let work = sum(|watch| watch.work) + sum(|watch| watch.lost_work);
        Summary {
            name: self.name,
            miners: miners.len(),
            hashrate: self.hashrate,
            within_2: Settled::of(miners, |watch| watch.double),
            within_1_5: Settled::of(miners, |watch| watch.half_more),
            shares: sums(|watch| watch.shares),
            shares_per_minute: quotient(sums(|watch| watch.calm.shares) as f64, calm_seconds / 60.0),
            variance: spread.ratio(),
            changes_per_hour: quotient(sums(|watch| watch.calm.changes) as f64, calm_seconds / 3600.0),
            swing: miners.iter().filter_map(swing).reduce(f64::max),
            settled_difficulty: range(|watch| watch.calm.range),
            difficulty: range(|watch| watch.range),
            lost_shares: sums(|watch| watch.lost),
            lost_work: quotient(sum(|watch| watch.lost_work), work).unwrap_or(0.0),
            points: points(&self.bins, self.width),
        }
    }
}

fn quotient(a: f64, b: f64) -> Option<f64> {
    (b > 0.0).then(|| a / b)
}

fn points(bins: &[Bin], width: f64) -> Vec<Point> {
    let point = |(index, bin): (usize, &Bin)| Point {
        at_s: (index as f64 + 0.5) * width,
        shares_per_minute: quotient(bin.shares, bin.hashed / 60.0),
        difficulty: quotient(bin.log_difficulty, bin.hashed).map(f64::exp),
        variance: bin.spread.ratio(),
    };
    bins.iter().enumerate().map(point).collect()
}

/// How long it took until the share rate was within a factor of the target for ten minutes of hashing, from the first
/// hash on.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Settled {
    /// Miners that never did.
    pub never: usize,
    /// In seconds, of those that did.
    pub median_s: Option<f64>,
    pub worst_s: Option<f64>,
    /// Part of the time after that within the factor: of all miners together, and of the worst.
    pub stayed: Option<f64>,
    pub stayed_worst: Option<f64>,
}

impl Settled {
    fn of(miners: &[&Watch], which: fn(&Watch) -> Settling) -> Self {
        let took = |watch: &&Watch| Some(which(watch).at? - watch.born?);
        let mut took: Vec<f64> = miners.iter().filter_map(took).collect();
        took.sort_by(f64::total_cmp);
        let settled = || miners.iter().map(|watch| which(watch)).filter(|one| one.after > 0.0);
        let sum = |of: fn(&Settling) -> f64| settled().map(|one| of(&one)).sum::<f64>();
        Self {
            never: miners.len() - took.len(),
            median_s: took.get(took.len() / 2).copied(),
            worst_s: took.last().copied(),
            stayed: quotient(sum(|one| one.within), sum(|one| one.after)),
            stayed_worst: settled().map(|one| one.within / one.after).reduce(f64::min),
        }
    }
}

/// A group of miners under a policy.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Summary {
    pub name: String,
    pub miners: usize,
    /// Of one miner, in hashes per second.
    pub hashrate: f64,
    pub within_2: Settled,
    pub within_1_5: Settled,
    /// Accepted.
    pub shares: u64,
    /// After it has settled within a factor of 2, while it hashes.
    pub shares_per_minute: Option<f64>,
    /// Mean square of the difference between shares of a minute and the target, over the target: 1 is what chance alone
    /// does to shares that come at the target.
    pub variance: Option<f64>,
    /// After it has settled, for an hour of hashing.
    pub changes_per_hour: Option<f64>,
    /// The highest difficulty of a miner over its lowest, after it has settled: of the worst.
    pub swing: Option<f64>,
    /// The lowest and the highest that a miner worked at after it had settled, and all the time.
    pub settled_difficulty: Option<(f64, f64)>,
    pub difficulty: Option<(f64, f64)>,
    /// Shares that were refused because the difficulty had changed, and their part of the work.
    pub lost_shares: u64,
    pub lost_work: f64,
    pub points: Vec<Point>,
}

/// A group at a time.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Point {
    pub at_s: f64,
    pub shares_per_minute: Option<f64>,
    /// Geometric mean.
    pub difficulty: Option<f64>,
    pub variance: Option<f64>,
}
