//! Windows are what their definition says, whatever way the ledger came to them.

use proptest::prelude::*;
use sluice_core::policy::payout::{Contribution, Window};
use sluice_core::units::{Difficulty, Timestamp};
use sluice_ledger::{Contributions, Ledger, Needed, Place, Verdict};

use crate::support::{block, difficulty, hash, open, settlement, share, until, worker};

/// What happens to a ledger.
#[derive(Clone, Debug)]
enum Step {
    /// Account, milliseconds since the share before, difficulty.
    Shares(Vec<(u8, u16, f64)>),
    Block,
    RejectLastBlock,
    Restart,
    Ask(Window, f64),
    /// Settles and buries what can be, then folds what is older than so many milliseconds before the newest share.
    Fold(Window, f64, u64),
}

#[derive(Clone, Debug)]
struct Logged {
    account: u8,
    at: u64,
    work: u128,
}

/// The definition, word for word, by looking at every share.
#[derive(Default)]
struct Model {
    log: Vec<Logged>,
    /// Shares up to each block, and whether it was rejected.
    blocks: Vec<(usize, bool)>,
    /// Blocks that are final, by their position.
    buried: Vec<usize>,
    /// Shares that are folded: no window has them.
    folded: usize,
}

impl Model {
    fn window(&self, window: Window, network: f64, through: usize, blocks: &[(usize, bool)]) -> &[Logged] {
        let log = &self.log[..through];
        let first = match window {
            Window::None => log.len(),
            Window::Round => blocks
                .iter()
                .filter(|(_, rejected)| !rejected)
                .map(|(through, _)| *through)
                .max()
                .unwrap_or(0),
            Window::DurationMs(duration) => {
                let cutoff = log.last().map_or(0, |share| share.at).saturating_sub(duration);
                log.iter().position(|share| share.at >= cutoff).unwrap_or(0)
            }
            Window::Work(times) => {
                let target = ((times * network * 4_294_967_296.0).round() as u128).max(1);
                let reaches =
                    |first: &usize| log[*first..].iter().map(|share| share.work).sum::<u128>() >= target;
                (self.folded.min(through)..log.len()).rev().find(reaches).unwrap_or(0)
            }
        };
        &log[first.max(self.folded).min(through)..]
    }
}

fn told(window: &[Logged]) -> (f64, Vec<Contribution>) {
    let total: u128 = window.iter().map(|share| share.work).sum();
    let mut shift = 0;
    while total >> shift >= 1 << 53 {
        shift += 1;
    }
    let mut list: Vec<Contribution> = Vec::new();
    for account in 0..=u8::MAX {
        let own: Vec<_> = window.iter().filter(|share| share.account == account).collect();
        let work: u128 = own.iter().map(|share| share.work).sum();
        if !own.is_empty() {
            let work = u64::try_from(work >> shift).expect("below 2^53");
            list.push(Contribution { account: name(account), work, shares: own.len() as u64 });
        }
    }
    list.sort_by(|a, b| a.account.cmp(&b.account));
    (2f64.powi(shift - 32), list)
}

fn name(account: u8) -> String {
    format!("account{account}")
}

fn windows() -> impl Strategy<Value = Window> {
    prop_oneof![
        Just(Window::Round),
        Just(Window::None),
        prop_oneof![Just(0.5), Just(2.0), 0.01f64..50.0].prop_map(Window::Work),
        prop_oneof![Just(0), Just(500), 0u64..100_000].prop_map(Window::DurationMs),
    ]
}

fn worth() -> impl Strategy<Value = f64> {
    prop_oneof![4 => prop_oneof![Just(1.0), Just(0.5), Just(1024.0)], 2 => 1e-9f64..1e6, 1 => 1e12f64..1e15]
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let shares = prop::collection::vec((0u8..6, 0u16..2000, worth()), 1..40).prop_map(Step::Shares);
    let ask =
        (windows(), prop_oneof![Just(1.0), Just(100.0), 0.001f64..1e6]).prop_map(|(w, d)| Step::Ask(w, d));
    let step = prop_oneof![
        5 => shares,
        1 => Just(Step::Block),
        1 => Just(Step::RejectLastBlock),
        1 => Just(Step::Restart),
        6 => ask,
        1 => (windows(), prop_oneof![Just(1.0), 0.001f64..1e6], 0u64..60_000).prop_map(|(w, d, age)| Step::Fold(w, d, age)),
    ];
    prop::collection::vec(step, 1..30)
}

struct Run {
    dir: tempfile::TempDir,
    ledger: Ledger,
    model: Model,
}

impl Run {
    fn new() -> Self {
        let dir = tempfile::tempdir().expect("a directory");
        let ledger = open(dir.path());
        Self { dir, ledger, model: Model::default() }
    }

    async fn step(mut self, step: Step) -> Self {
        match step {
            Step::Shares(shares) => self.append(&shares).await,
            Step::Block => self.find_block().await,
            Step::RejectLastBlock => self.reject().await,
            Step::Restart => {
                self.ledger.close().await;
                self.ledger = open(self.dir.path());
            }
            Step::Ask(window, network) => self.ask(window, difficulty(network)).await,
            Step::Fold(window, network, age) => self.fold(window, difficulty(network), age).await,
        }
        self
    }

    async fn append(&mut self, shares: &[(u8, u16, f64)]) {
        let mut at = self.model.log.last().map_or(0, |share| share.at);
        let mut records = Vec::new();
        for (account, pause, worth) in shares {
            at += u64::from(*pause);
            let id = worker(&self.ledger, &name(*account), "");
            let mut record = share(id, 0, *worth);
            record.at.0 = at;
            records.push(record);
            let work = (worth * 4_294_967_296.0).round() as u128;
            self.model.log.push(Logged { account: *account, at, work: work.max(1) });
        }
        let last = self.ledger.append(&records).await.expect("open");
        until(&self.ledger, last).await;
    }

    async fn find_block(&mut self) {
        let finder = worker(&self.ledger, "finder", "").1;
        let number = self.model.blocks.len() as u64;
        self.ledger.block_found(block(number, finder, Window::Round)).await.expect("written");
        self.ledger.block_verdict(hash(number), Verdict::Accepted).await.expect("known");
        self.model.blocks.push((self.model.log.len(), false));
    }

    async fn reject(&mut self) {
        let Some(last) = self.model.blocks.len().checked_sub(1) else { return };
        if self.model.buried.contains(&last) {
            return;
        }
        let state = Verdict::Rejected { reason: "stale-prevblk".into() };
        self.ledger.block_verdict(hash(last as u64), state).await.expect("known");
        self.model.blocks[last].1 = true;
    }

    async fn bury(&mut self) {
        for open in self.ledger.open_rounds().await.expect("readable") {
            // A round without work has nobody to be given to.
            if open.round.contributions.is_empty() {
                continue;
            }
            assert!(self.ledger.settle_round(open.hash, settlement(open.round)).await.expect("booked"));
            let place = vec![(open.hash, Place::InChain { confirmations: 100 })];
            self.ledger.block_places(place).await.expect("known");
            let number = (0..self.model.blocks.len()).find(|number| hash(*number as u64) == open.hash);
            self.model.buried.extend(number);
        }
    }

    async fn fold(&mut self, window: Window, network: Difficulty, age: u64) {
        self.bury().await;
        let newest = self.model.log.last().map_or(0, |share| share.at);
        let before = |model: &Model| {
            let window = model.window(window, network.get(), model.log.len(), &model.blocks);
            (told(window), window.len())
        };
        let (needed, length) = before(&self.model);
        let kept = Needed { window, network_difficulty: network };
        let folded = self.ledger.fold(Timestamp(newest.saturating_sub(age)), kept).await.expect("readable");
        let through = usize::try_from(folded.through.0).expect("small");
        assert_eq!((self.model.folded as u64 + folded.shares) as usize, through);
        assert!(
            self.model.log[self.model.folded..through]
                .iter()
                .all(|share| share.at < newest.saturating_sub(age))
        );
        self.model.folded = through;
        // What the plan needs is all there, whatever it was.
        assert_eq!(before(&self.model), (needed, length), "{window:?} at {network}");
        self.ask(window, network).await;
    }

    async fn ask(&self, window: Window, network: Difficulty) {
        let Contributions { work_unit, list, through } =
            self.ledger.contributions(window, network).await.expect("readable");
        let log = self.model.window(window, network.get(), self.model.log.len(), &self.model.blocks);
        assert_eq!((work_unit, list), told(log), "{window:?} at {network}");
        assert_eq!(through.0, self.model.log.len() as u64);
        for (number, (through, _)) in self.model.blocks.iter().enumerate() {
            let round = self.ledger.round_with(hash(number as u64), window).await.expect("readable");
            let log = self.model.window(window, 4.0, *through, &self.model.blocks[..number]);
            assert_eq!((round.work_unit, round.contributions), told(log), "{window:?} at block {number}");
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_window_is_what_its_definition_says(steps in steps()) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().expect("a runtime");
        runtime.block_on(async {
            let mut run = Run::new();
            for step in steps {
                run = run.step(step).await;
            }
            run = run.step(Step::Restart).await;
            for window in [Window::Round, Window::Work(2.0), Window::DurationMs(5_000)] {
                run = run.step(Step::Ask(window, 100.0)).await;
            }
            run.ledger.close().await;
        });
    }
}

#[tokio::test]
async fn the_unit_of_work_keeps_the_total_below_2_to_53() {
    let dir = tempfile::tempdir().expect("a directory");
    let ledger = open(dir.path());
    let (alice, bob) = (worker(&ledger, "alice", ""), worker(&ledger, "bob", ""));
    let last = ledger
        .append(&[share(alice, 1, 1e30), share(bob, 2, 1e15), share(bob, 3, 0.001)])
        .await
        .expect("open");
    until(&ledger, last).await;
    let all = ledger.contributions(Window::Round, Difficulty::ONE).await.expect("readable");
    let total: u64 = all.list.iter().map(|part| part.work).sum();
    assert!((1 << 52..1 << 53).contains(&total), "{total}");
    assert!(all.work_unit.log2().fract().abs() < f64::EPSILON, "a power of two");
    assert_eq!(all.list.iter().map(|part| part.shares).sum::<u64>(), 3);
}

#[tokio::test]
async fn an_empty_log_has_empty_windows() {
    let dir = tempfile::tempdir().expect("a directory");
    let ledger = open(dir.path());
    for window in [Window::Round, Window::Work(1.0), Window::DurationMs(1), Window::None] {
        let nothing = ledger.contributions(window, Difficulty::ONE).await.expect("readable");
        assert_eq!((nothing.list.len(), nothing.through.0), (0, 0));
    }
}
