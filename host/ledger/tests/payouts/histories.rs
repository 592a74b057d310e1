//! Random histories of a pool and its desk, against a model that only adds up.

use std::collections::BTreeMap;
use std::path::Path;

use proptest::prelude::*;
use sluice_core::bitcoin::Txid;
use sluice_core::bitcoin::hashes::Hash;
use sluice_ledger::payouts::{Batch, BatchId, BatchState, Desk, DeskError};
use sluice_ledger::{Ledger, Place};

use crate::pool::{self, DEEP, SHALLOW, desk, find, rules, sat, settle};
use crate::support::{number, open, sql};

const ACCOUNTS: [&str; 3] = ["alice", "bob", "carol"];

#[derive(Clone, Debug)]
enum Step {
    /// What a block gives each account, and what its coinbase would like to pay it.
    Find([u16; 3], [u16; 3]),
    Settle(prop::sample::Index),
    Place(prop::sample::Index, Place),
    Prepare {
        minimum: u16,
        max_lines: usize,
    },
    Sent(prop::sample::Index),
    Confirmed(prop::sample::Index, u8),
    Cancel(prop::sample::Index),
    Revive(prop::sample::Index),
    Hold(usize),
    Release(usize),
    Minimum(usize, Option<u16>),
    Reopen,
}

fn step() -> impl Strategy<Value = Step> {
    let index = any::<prop::sample::Index>;
    let place = prop_oneof![3 => Just(DEEP), 1 => Just(SHALLOW), 1 => Just(Place::Aside)];
    prop_oneof![
        3 => (any::<[u16; 3]>(), prop::array::uniform3(0u16..20_000)).prop_map(|(a, b)| Step::Find(a, b)),
        4 => index().prop_map(Step::Settle),
        6 => (index(), place).prop_map(|(block, place)| Step::Place(block, place)),
        4 => (1u16..20_000, 0usize..4).prop_map(|(minimum, max_lines)| Step::Prepare { minimum, max_lines }),
        2 => index().prop_map(Step::Sent),
        2 => (index(), any::<u8>()).prop_map(|(batch, fee)| Step::Confirmed(batch, fee)),
        2 => index().prop_map(Step::Cancel),
        1 => index().prop_map(Step::Revive),
        1 => (0usize..3).prop_map(Step::Hold),
        1 => (0usize..3).prop_map(Step::Release),
        1 => (0usize..3, prop::option::of(1u16..30_000)).prop_map(|(who, minimum)| Step::Minimum(who, minimum)),
        1 => Just(Step::Reopen),
    ]
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum InChain {
    Waiting,
    Immature,
    Mature,
    Orphaned,
}

/// A block of the model: what it gives and pays each account.
struct Block {
    credits: [i64; 3],
    paid: [i64; 3],
    settled: bool,
    state: InChain,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Stage {
    Prepared,
    Sent,
    Confirmed { fee: i64 },
    Cancelled,
}

struct Model {
    blocks: Vec<Block>,
    /// By number, in order.
    batches: Vec<(BatchId, BTreeMap<usize, i64>, Stage)>,
    held: [bool; 3],
    minimum: [Option<i64>; 3],
}

impl Model {
    fn sum(&self, account: usize, counts: impl Fn(&Block) -> bool) -> i64 {
        let blocks = self.blocks.iter().filter(|block| block.settled && counts(block));
        blocks.map(|block| block.credits[account] - block.paid[account]).sum()
    }

    fn in_batches(&self, account: usize) -> i64 {
        let standing = self.batches.iter().filter(|(_, _, stage)| *stage != Stage::Cancelled);
        standing.filter_map(|(_, lines, _)| lines.get(&account)).sum()
    }

    fn balance(&self, account: usize) -> i64 {
        self.sum(account, |block| block.state != InChain::Orphaned) - self.in_batches(account)
    }

    fn due(&self, account: usize) -> i64 {
        let mature = self.sum(account, |block| block.state == InChain::Mature) - self.in_batches(account);
        let open = self.blocks.iter().filter(|block| !block.settled && block.state != InChain::Orphaned);
        let waiting: i64 = open.map(|block| block.paid[account]).sum();
        mature.min(self.balance(account) - waiting).max(0)
    }

    /// The lines of a new batch, the largest first.
    fn payable(&self, minimum: i64, max_lines: usize) -> Vec<(usize, i64)> {
        let amounts = (0..ACCOUNTS.len()).map(|account| (account, self.due(account)));
        let pays = |&(account, due): &(usize, i64)| {
            due > 0 && !self.held[account] && due >= self.minimum[account].unwrap_or(minimum)
        };
        let mut lines: Vec<_> = amounts.filter(pays).collect();
        lines.sort_by_key(|(account, due)| (-due, *account));
        lines.truncate(max_lines);
        lines
    }

    fn waiting_batch(&self) -> Option<BatchId> {
        let waiting = self.batches.iter().find(|(_, _, stage)| *stage == Stage::Prepared);
        waiting.map(|(id, _, _)| *id)
    }
}

/// The model beside the real thing.
struct History<'a> {
    dir: &'a Path,
    ledger: Ledger,
    desk: Desk,
    model: Model,
}

fn lines(batch: &Batch) -> Vec<(usize, i64)> {
    let number = |name: &str| ACCOUNTS.iter().position(|account| *account == name).expect("one of ours");
    batch.lines.iter().map(|line| (number(&line.account), line.amount.to_sat() as i64)).collect()
}

/// Every batch has a transaction of its own.
fn txid_of(id: BatchId) -> Txid {
    let mut bytes = [7; 32];
    bytes[..8].copy_from_slice(&id.0.to_le_bytes());
    Txid::from_byte_array(bytes)
}

impl<'a> History<'a> {
    fn new(dir: &'a Path) -> Self {
        let ledger = open(dir);
        let model = Model { blocks: Vec::new(), batches: Vec::new(), held: [false; 3], minimum: [None; 3] };
        Self { dir, ledger, desk: desk(dir), model }
    }

    async fn step(mut self, step: &Step) -> Self {
        match step {
            Step::Find(credits, wishes) => self.find(*credits, *wishes).await,
            Step::Settle(index) => self.settle(index).await,
            Step::Place(index, place) => self.place(index, *place).await,
            Step::Prepare { minimum, max_lines } => self.prepare(*minimum, *max_lines),
            Step::Sent(index) => self.sent(index),
            Step::Confirmed(index, fee) => self.confirmed(index, *fee),
            Step::Cancel(index) => self.cancel(index),
            Step::Revive(index) => self.revive(index),
            Step::Reopen => self = self.reopen().await,
            Step::Hold(_) | Step::Release(_) | Step::Minimum(..) => self.terms(step),
        }
        self.compare().await;
        self
    }

    async fn find(&mut self, credits: [u16; 3], wishes: [u16; 3]) {
        let mut room: u64 = credits.iter().map(|amount| u64::from(*amount)).sum();
        let paid = wishes.map(|wish| {
            let paid = u64::from(wish).min(room);
            room -= paid;
            paid
        });
        let credited: Vec<_> = ACCOUNTS.into_iter().zip(credits.map(u64::from)).collect();
        let mut payments: Vec<_> = ACCOUNTS.into_iter().zip(paid).collect();
        payments.push(("", room));
        self.model.blocks.push(Block {
            credits: credits.map(i64::from),
            paid: paid.map(|amount| amount as i64),
            settled: false,
            state: InChain::Waiting,
        });
        find(&self.ledger, self.model.blocks.len() as u64, &credited, &payments).await;
    }

    async fn settle(&mut self, index: &prop::sample::Index) {
        let blocks = &mut self.model.blocks;
        if blocks.is_empty() {
            return;
        }
        let chosen = index.index(blocks.len());
        let block = &mut blocks[chosen];
        if block.state != InChain::Orphaned {
            let credits: Vec<_> =
                ACCOUNTS.into_iter().zip(block.credits.map(|amount| amount as u64)).collect();
            assert_eq!(settle(&self.ledger, chosen as u64 + 1, &credits).await, !block.settled);
            block.settled = true;
        }
    }

    async fn place(&mut self, index: &prop::sample::Index, place: Place) {
        let blocks = &mut self.model.blocks;
        if blocks.is_empty() {
            return;
        }
        let chosen = index.index(blocks.len());
        pool::place(&self.ledger, chosen as u64 + 1, place).await;
        let state = &mut blocks[chosen].state;
        *state = match (*state, place) {
            (InChain::Mature, _) => InChain::Mature,
            (InChain::Waiting | InChain::Immature, place) if place == DEEP => InChain::Mature,
            (_, Place::Aside) => InChain::Orphaned,
            _ => InChain::Immature,
        };
    }

    fn prepare(&mut self, minimum: u16, max_lines: usize) {
        let answer = self.desk.prepare(&rules(u64::from(minimum), max_lines)).expect("prepared");
        let expected = self.model.payable(i64::from(minimum), max_lines);
        match (self.model.waiting_batch(), answer) {
            (Some(id), Some((batch, new))) => assert_eq!((batch.id, new), (id, false)),
            (None, None) => assert_eq!(expected, []),
            (None, Some((batch, true))) => {
                assert_eq!(lines(&batch), expected);
                self.model.batches.push((batch.id, expected.into_iter().collect(), Stage::Prepared));
            }
            (waiting, answer) => panic!("{waiting:?} waits, {answer:?} came"),
        }
    }

    fn batch(&mut self, index: &prop::sample::Index) -> Option<&mut (BatchId, BTreeMap<usize, i64>, Stage)> {
        let batches = &mut self.model.batches;
        let count = batches.len();
        if count == 0 { None } else { batches.get_mut(index.index(count)) }
    }

    fn sent(&mut self, index: &prop::sample::Index) {
        let Some(&mut (id, _, stage)) = self.batch(index) else { return };
        let answer = self.desk.sent(id, txid_of(id), None);
        match stage {
            Stage::Prepared | Stage::Sent => {
                assert_eq!(answer.expect("sent"), stage == Stage::Prepared);
                self.batch(index).expect("there").2 = Stage::Sent;
            }
            Stage::Confirmed { .. } => assert!(matches!(answer, Err(DeskError::Confirmed { .. }))),
            Stage::Cancelled => assert!(matches!(answer, Err(DeskError::Cancelled(_)))),
        }
    }

    fn confirmed(&mut self, index: &prop::sample::Index, fee: u8) {
        let Some(&mut (id, _, stage)) = self.batch(index) else { return };
        let answer = self.desk.confirmed(id, txid_of(id), 200, sat(u64::from(fee)));
        match stage {
            Stage::Sent => {
                assert!(answer.expect("confirmed"));
                self.batch(index).expect("there").2 = Stage::Confirmed { fee: i64::from(fee) };
            }
            Stage::Confirmed { fee: booked } if booked == i64::from(fee) => {
                assert!(!answer.expect("it was"));
            }
            Stage::Confirmed { .. } => assert!(matches!(answer, Err(DeskError::Confirmed { .. }))),
            Stage::Prepared => assert!(matches!(answer, Err(DeskError::NotSent(_)))),
            Stage::Cancelled => assert!(matches!(answer, Err(DeskError::Cancelled(_)))),
        }
    }

    fn cancel(&mut self, index: &prop::sample::Index) {
        let Some(&mut (id, _, stage)) = self.batch(index) else { return };
        let answer = self.desk.cancel(id);
        match stage {
            Stage::Prepared | Stage::Cancelled => {
                assert_eq!(answer.expect("cancelled"), stage == Stage::Prepared);
                self.batch(index).expect("there").2 = Stage::Cancelled;
            }
            Stage::Sent => assert!(matches!(answer, Err(DeskError::Sent { .. }))),
            Stage::Confirmed { .. } => assert!(matches!(answer, Err(DeskError::Confirmed { .. }))),
        }
    }

    /// Whatever was paid since: it may leave an account below zero, never lose what was paid.
    fn revive(&mut self, index: &prop::sample::Index) {
        let Some(&mut (id, _, stage)) = self.batch(index) else { return };
        if stage == Stage::Cancelled {
            assert!(self.desk.revive(id, txid_of(id)).expect("revived"));
            self.batch(index).expect("there").2 = Stage::Sent;
        }
    }

    fn terms(&mut self, step: &Step) {
        let known = !self.model.blocks.is_empty();
        let model = &mut self.model;
        let (answer, changes) = match step {
            Step::Hold(who) => {
                (self.desk.hold(ACCOUNTS[*who], "why"), !std::mem::replace(&mut model.held[*who], known))
            }
            Step::Release(who) => (self.desk.release(ACCOUNTS[*who]), std::mem::take(&mut model.held[*who])),
            Step::Minimum(who, minimum) => {
                let asked = minimum.map(|amount| sat(u64::from(amount)));
                let next = minimum.map(i64::from).filter(|_| known);
                let before = std::mem::replace(&mut model.minimum[*who], next);
                (self.desk.minimum(ACCOUNTS[*who], asked), before != next)
            }
            _ => return,
        };
        match answer {
            Ok(changed) => assert_eq!((known, changed), (true, changes)),
            Err(error) => assert!(!known && matches!(error, DeskError::UnknownAccount(_)), "{error}"),
        }
    }

    async fn reopen(self) -> Self {
        self.ledger.close().await;
        drop(self.desk);
        Self { ledger: open(self.dir), desk: desk(self.dir), ..self }
    }

    /// Credited = due some day + in batches; the books say the same, account by account and in sum.
    async fn compare(&mut self) {
        assert_eq!(self.ledger.books_sum().await.expect("a sum"), 0);
        let rows = self.ledger.balances().await.expect("balances");
        for (number, account) in ACCOUNTS.iter().enumerate() {
            let have = rows.iter().find(|row| row.account == *account).map_or(0, |row| row.sat);
            assert_eq!(have, self.model.balance(number), "{account}");
        }
        for (id, _, stage) in &self.model.batches {
            let state = self.desk.batch(*id).expect("there").state;
            let same = match (stage, state) {
                (Stage::Prepared, BatchState::Prepared)
                | (Stage::Cancelled, BatchState::Cancelled { .. }) => true,
                (Stage::Sent, BatchState::Sent { txid }) => txid == txid_of(*id),
                (Stage::Confirmed { fee: booked }, BatchState::Confirmed { fee, .. }) => {
                    fee.to_sat() as i64 == *booked
                }
                _ => false,
            };
            assert!(same, "batch {id} is {state:?}");
        }
        self.compare_payouts();
    }

    /// The book of payouts holds what batches pay and the network took.
    fn compare_payouts(&self) {
        let lines = |lines: &BTreeMap<usize, i64>| lines.values().sum::<i64>();
        let standing = self.model.batches.iter().map(|(_, batch, stage)| match stage {
            Stage::Prepared | Stage::Sent => lines(batch),
            Stage::Confirmed { fee } => lines(batch) + fee,
            Stage::Cancelled => 0,
        });
        let booked = "SELECT coalesce(sum(amount), 0) FROM entries WHERE book = 'payout'";
        assert_eq!(number(&sql(self.dir), booked), standing.sum::<i64>());
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn nobody_is_paid_more_than_is_due_and_nothing_is_lost(steps in prop::collection::vec(step(), 1..40)) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
        runtime.block_on(async {
            let dir = tempfile::tempdir().expect("a directory");
            let mut history = History::new(dir.path());
            for step in &steps {
                history = history.step(step).await;
            }
            history.reopen().await.ledger.close().await;
        });
    }
}
