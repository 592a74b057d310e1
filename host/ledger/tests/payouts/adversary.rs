//! Every draft may have been signed, and whoever has them broadcasts what he likes: nobody gets more than he earned.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;
use proptest::sample::Index;
use sluice_core::bitcoin::Amount;
use sluice_ledger::payouts::{Batch, BatchId, Coin, Desk, DeskError};

use crate::pool::{DEEP, coin, desk, earn, rules, sat, txid};
use crate::support::open;

/// What each of the two accounts earned.
const EARNED: u64 = 1_000;
/// Coins of the pool.
const COINS: u8 = 12;

#[derive(Clone, Debug)]
enum Step {
    /// The least that is paid, so that batches leave accounts out.
    Prepare {
        minimum: u64,
    },
    /// A draft of any batch, with coins of the clerk's choice beside those that it has to spend.
    Draft(Index, Vec<u8>),
    Sent(Index),
    Cancel(Index),
    /// The last draft of a sent batch gets into the chain.
    Confirm(Index),
    /// The pool's wallet spends a coin on something else.
    Elsewhere(u8),
    /// The clerk sees that, for a batch and a coin of it.
    Conflicted(Index, Index),
    Hold(bool),
    Release(bool),
    Earn(u8, u8),
}

fn step() -> impl Strategy<Value = Step> {
    let index = any::<Index>;
    prop_oneof![
        4 => prop_oneof![Just(1u64), Just(600)].prop_map(|minimum| Step::Prepare { minimum }),
        6 => (index(), prop::collection::vec(0..COINS, 1..3)).prop_map(|(batch, coins)| Step::Draft(batch, coins)),
        3 => index().prop_map(Step::Sent),
        3 => index().prop_map(Step::Cancel),
        1 => index().prop_map(Step::Confirm),
        1 => (0..COINS).prop_map(Step::Elsewhere),
        2 => (index(), index()).prop_map(|(batch, coin)| Step::Conflicted(batch, coin)),
        1 => any::<bool>().prop_map(Step::Hold),
        1 => any::<bool>().prop_map(Step::Release),
        1 => any::<(u8, u8)>().prop_map(|(a, b)| Step::Earn(a, b)),
    ]
}

fn account(first: bool) -> &'static str {
    if first { "alice" } else { "bob" }
}

/// The desk, and what the world may have got from it.
struct World {
    desk: Desk,
    ledger: sluice_ledger::Ledger,
    earned: BTreeMap<&'static str, u64>,
    blocks: u64,
    batches: Vec<Batch>,
    /// Signed, each with its batch.
    drafts: Vec<(BatchId, Vec<Coin>)>,
    /// Coins that the chain has spent, and drafts that did it.
    spent: BTreeSet<Coin>,
    elsewhere: BTreeSet<Coin>,
    confirmed: Vec<BatchId>,
}

impl World {
    async fn step(&mut self, step: &Step) {
        match step {
            Step::Prepare { minimum } => self.prepare(*minimum),
            Step::Draft(batch, coins) => self.draft(batch, coins),
            Step::Sent(batch) => self.on(batch, |desk, batch| {
                let _ = desk.sent(batch, txid_of(batch), None);
            }),
            Step::Cancel(batch) => self.on(batch, |desk, batch| {
                let _ = desk.cancel(batch);
            }),
            Step::Confirm(batch) => self.confirm(batch),
            Step::Elsewhere(number) => {
                if self.spent.insert(coin(*number)) {
                    self.elsewhere.insert(coin(*number));
                }
            }
            Step::Conflicted(batch, coin) => self.conflicted(batch, coin),
            Step::Hold(first) => drop(self.desk.hold(account(*first), "why").expect("held")),
            Step::Release(first) => drop(self.desk.release(account(*first)).expect("released")),
            Step::Earn(a, b) => self.earn(u64::from(*a), u64::from(*b)).await,
        }
    }

    async fn earn(&mut self, alice: u64, bob: u64) {
        self.blocks += 1;
        earn(&self.ledger, self.blocks, &[("alice", alice), ("bob", bob)], DEEP).await;
        *self.earned.entry("alice").or_default() += alice;
        *self.earned.entry("bob").or_default() += bob;
    }

    fn prepare(&mut self, minimum: u64) {
        if let Some((batch, true)) = self.desk.prepare(&rules(minimum, 2)).expect("prepared") {
            self.batches.push(batch);
        }
    }

    fn on(&mut self, index: &Index, act: impl FnOnce(&mut Desk, BatchId)) {
        if !self.batches.is_empty() {
            act(&mut self.desk, self.batches[index.index(self.batches.len())].id);
        }
    }

    fn draft(&mut self, index: &Index, wishes: &[u8]) {
        if self.batches.is_empty() {
            return;
        }
        let id = self.batches[index.index(self.batches.len())].id;
        let Ok(needed) = self.desk.must_spend(id) else { return };
        let mut coins: Vec<Coin> = wishes.iter().map(|number| coin(*number)).collect();
        coins.retain(|coin| !needed.contains(coin));
        coins.dedup();
        coins.extend(needed);
        match self.desk.reserve(id, &coins) {
            Ok(_) => self.drafts.push((id, coins)),
            Err(DeskError::Reserved { .. } | DeskError::Twice(_)) => {}
            Err(error) => panic!("{error}"),
        }
    }

    fn confirm(&mut self, index: &Index) {
        if self.batches.is_empty() {
            return;
        }
        let id = self.batches[index.index(self.batches.len())].id;
        let Some((_, coins)) = self.drafts.iter().rev().find(|(of, _)| *of == id).cloned() else { return };
        let free = coins.iter().all(|coin| !self.spent.contains(coin));
        if free && self.desk.confirmed(id, txid_of(id), 200, Amount::ZERO).is_ok() {
            self.spent.extend(coins);
            self.confirmed.push(id);
        }
    }

    fn conflicted(&mut self, batch: &Index, coin: &Index) {
        let (elsewhere, at) = (self.elsewhere.clone(), *coin);
        self.on(batch, |desk, id| {
            let coins = desk.batch(id).expect("there").coins;
            let lost: Vec<Coin> = coins.into_iter().filter(|coin| elsewhere.contains(coin)).collect();
            if !lost.is_empty() {
                let _ = desk.conflicted(id, txid(250), lost[at.index(lost.len())].outpoint);
            }
        });
    }

    /// What each account gets if the rest of the drafts are broadcast in this order, each that still can be.
    fn paid(&self, order: &[Index]) -> BTreeMap<&str, u64> {
        let mut left: Vec<_> = self.drafts.iter().collect();
        let (mut spent, mut chain) = (self.spent.clone(), self.confirmed.clone());
        for index in order.iter().cycle().take(left.len()) {
            let (id, coins) = left.swap_remove(index.index(left.len()));
            if coins.iter().all(|coin| !spent.contains(coin)) {
                spent.extend(coins.iter().copied());
                chain.push(*id);
            }
        }
        let mut sums = BTreeMap::new();
        for line in chain.iter().flat_map(|id| self.batches.iter().filter(move |batch| batch.id == *id)) {
            for line in &line.lines {
                *sums.entry(line.account.as_str()).or_default() += line.amount.to_sat();
            }
        }
        sums
    }
}

fn txid_of(id: BatchId) -> sluice_core::bitcoin::Txid {
    txid(100 + u8::try_from(id.0).expect("few"))
}

async fn world(dir: &std::path::Path) -> World {
    let ledger = open(dir);
    let mut world = World {
        desk: {
            earn(&ledger, 1, &[("alice", EARNED), ("bob", EARNED)], DEEP).await;
            desk(dir)
        },
        ledger,
        earned: BTreeMap::new(),
        blocks: 1,
        batches: Vec::new(),
        drafts: Vec::new(),
        spent: BTreeSet::new(),
        elsewhere: BTreeSet::new(),
        confirmed: Vec::new(),
    };
    world.earned.extend([("alice", EARNED), ("bob", EARNED)]);
    world
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn whatever_is_broadcast_nobody_gets_more_than_he_earned(
        steps in prop::collection::vec(step(), 1..60),
        orders in prop::collection::vec(prop::collection::vec(any::<Index>(), 16), 8),
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
        runtime.block_on(async {
            let dir = tempfile::tempdir().expect("a directory");
            let mut world = world(dir.path()).await;
            for step in &steps {
                world.step(step).await;
            }
            for order in &orders {
                for (account, paid) in world.paid(order) {
                    assert!(paid <= world.earned[account], "{account} has {}, got {}", sat(world.earned[account]), sat(paid));
                }
            }
            world.ledger.close().await;
        });
    }
}
