//! Random histories against the model, and against themselves.

use std::cell::Cell;
use std::future::Future;

use proptest::prelude::*;
use proptest::test_runner::TestRunner;
use sluice_core::policy::payout::Window;

use crate::life::Life;
use crate::model::Model;
use crate::policies::{Code, Generation, Mood, Settings};
use crate::step::{Step, any_step, generation};
use crate::tables::{assert_same, timeless};

/// Steps between two looks at everything.
const LOOK_EVERY: usize = 6;
/// Histories that fit into seconds; `PROPTEST_CASES` asks for others.
const CASES: u32 = 32;

fn config(cases: u32) -> ProptestConfig {
    let default = ProptestConfig::default();
    let cases = if std::env::var_os("PROPTEST_CASES").is_some() { default.cases } else { cases };
    ProptestConfig { cases, failure_persistence: None, max_shrink_iters: 400, ..default }
}

fn on_a_runtime<T>(work: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().expect("a runtime");
    runtime.block_on(work)
}

/// All that is open is settled and credited, by a policy that works.
fn last_steps() -> Vec<Step> {
    let settings =
        Settings { window: Window::Work(1.5), per_finder: false, fee_bps: 50, accrue_bps: Some(9_000) };
    let mended = Generation { code: Code::Weighed, settings, mood: Mood::Steady };
    vec![Step::Reload(mended), Step::Accrue, Step::SettleAll]
}

async fn lived(steps: &[Step]) -> Life {
    let mut life = Life::begin();
    for (number, step) in steps.iter().enumerate() {
        life = life.run(step).await;
        if number % LOOK_EVERY == 0 || matches!(step, Step::Crash(..) | Step::Fold { .. }) {
            life.check().await;
        }
    }
    for step in last_steps() {
        life = life.run(&step).await;
    }
    life = life.run(&Step::Reopen { beside: false }).await;
    life.check().await;
    life
}

/// A property that never meets a block proves nothing of blocks.
#[derive(Default)]
struct Met {
    rounds: Cell<usize>,
    accruals: Cell<usize>,
    batches: Cell<usize>,
    folded: Cell<u64>,
}

impl Met {
    fn add(&self, model: &Model) {
        let settled = model.blocks.iter().filter(|block| block.credits.is_some()).count();
        self.rounds.set(self.rounds.get() + settled);
        self.accruals.set(self.accruals.get() + model.accruals.len());
        self.batches.set(self.batches.get() + model.batches.len());
        self.folded.set(self.folded.get() + model.folded);
    }

    fn is_enough(&self) -> bool {
        self.rounds.get() > 10 && self.accruals.get() > 10 && self.batches.get() > 3 && self.folded.get() > 0
    }
}

#[test]
fn the_books_hold_all_the_way_and_the_same_history_gives_the_same_rows() {
    let histories =
        (generation(), prop::collection::vec(any_step(), 20..80)).prop_map(|(first, mut steps)| {
            steps.insert(0, Step::Reload(first));
            steps
        });
    let (met, config) = (Met::default(), config(CASES));
    let cases = config.cases;
    let outcome = TestRunner::new(config).run(&histories, |steps| {
        on_a_runtime(async {
            let life = lived(&steps).await;
            met.add(&life.model);
            let mut again = Life::begin();
            for step in &life.done {
                again = again.repeat(step).await;
            }
            let (first, second) = (life.close().await, again.close().await);
            assert_same(
                &timeless(first.path()),
                &timeless(second.path()),
                "another life of the same history",
            );
        });
        Ok(())
    });
    if let Err(error) = outcome {
        panic!("{error}");
    }
    let [rounds, accruals, batches] = [&met.rounds, &met.accruals, &met.batches].map(Cell::get);
    let folded = met.folded.get();
    let told = format!("{rounds} rounds, {accruals} accruals, {batches} payouts, {folded} shares folded");
    println!("{cases} histories: {told}");
    assert!(cases < CASES || met.is_enough(), "{told}");
}
