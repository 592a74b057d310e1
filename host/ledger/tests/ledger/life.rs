//! A block's way through the chain, and what the books make of it: credits count while the block is in the chain, once.

use std::collections::BTreeMap;

use proptest::prelude::*;
use rusqlite::Connection;
use sluice_core::bitcoin::BlockHash;
use sluice_core::policy::payout::Window;
use sluice_ledger::{
    Balance, BlockRow, BlockState, Change, CreditRow, CreditSource, INCONCLUSIVE, Ledger, LedgerError,
    MATURITY, ORPHANS_WATCHED, Place, Verdict,
};

use crate::support::{REWARD, block, hash, number, open, payment, settlement, share, sql, template, worker};

const IN_CHAIN: Place = Place::InChain { confirmations: 1 };
const DEEP: Place = Place::InChain { confirmations: MATURITY };

/// A block by Alice that pays her `paid` in its coinbase, accepted.
async fn accepted(ledger: &Ledger, number: u64, paid: u64) {
    ledger.template(template(1, 100));
    let (alice, bob) = (worker(ledger, "alice", ""), worker(ledger, "bob", ""));
    ledger.append(&[share(alice, number, 3.0), share(bob, number, 1.0)]).await.expect("room");
    let payments = vec![payment("alice", paid), payment("", REWARD.to_sat() - paid)];
    let found = BlockRow { payments, ..block(number, alice.1, Window::Round) };
    ledger.block_found(found).await.expect("written");
    ledger.block_verdict(hash(number), Verdict::Accepted).await.expect("known");
}

async fn settle(ledger: &Ledger, number: u64) -> Result<bool, LedgerError> {
    let round = ledger.round_with(hash(number), Window::Round).await.expect("a round");
    ledger.settle_round(hash(number), settlement(round)).await
}

async fn look(ledger: &Ledger, number: u64, place: Place) -> Change {
    ledger.block_places(vec![(hash(number), place)]).await.expect("known")[0]
}

/// The block that a credit is a part of, and its state.
fn of_block(credit: &CreditRow) -> Option<(BlockHash, BlockState)> {
    match credit.source {
        CreditSource::Block { hash, state, .. } => Some((hash, state)),
        CreditSource::Work { .. } => None,
    }
}

async fn state(ledger: &Ledger, number: u64) -> (BlockState, u32) {
    let views = ledger.blocks(1000).await.expect("blocks");
    let view = views.iter().find(|view| view.hash == hash(number)).expect("the block");
    (view.state, view.confirmations)
}

async fn owed(ledger: &Ledger) -> Vec<(String, i64, i64, i64)> {
    let rows = ledger.balances().await.expect("balances");
    let row = |row: Balance| (row.account, row.sat, row.mature_sat, row.immature_sat);
    rows.into_iter().map(row).collect()
}

/// Block, number of its transaction, book, account, cause, amount, reason.
type Entry = (i64, i64, String, Option<i64>, String, i64, String);

/// All transactions as they are in the file.
fn entries(connection: &Connection) -> Vec<Entry> {
    let mut statement = connection
        .prepare(
            "SELECT j.block, j.number, e.book, e.account, e.cause, e.amount, e.reason FROM entries e \
             JOIN journal j ON j.id = e.journal ORDER BY j.id, e.line",
        )
        .expect("the schema");
    let read = |row: &rusqlite::Row<'_>| {
        Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?, row.get(4)?, row.get(5)?, row.get(6)?))
    };
    statement.query_map([], read).expect("rows").map(|row| row.expect("a row")).collect()
}

#[tokio::test]
async fn a_settled_block_that_leaves_the_chain_loses_its_credits_and_has_them_again_when_it_returns() {
    let dir = tempfile::tempdir().expect("a directory");
    let ledger = open(dir.path());
    accepted(&ledger, 1, 3_000).await;
    assert_eq!(look(&ledger, 1, IN_CHAIN).await, Change::None);
    assert_eq!(state(&ledger, 1).await, (BlockState::Immature, 1));
    assert!(settle(&ledger, 1).await.expect("settled"));
    // 51 for the house; 5,072 by three to one, of which Alice has 3,000 from the coinbase.
    let booked =
        [("", -2_072), ("alice", 804), ("bob", 1_268)].map(|(who, sat)| (who.to_owned(), sat, 0, sat));
    assert_eq!(owed(&ledger).await, booked);

    assert_eq!(look(&ledger, 1, Place::Aside).await, Change::Orphaned);
    assert_eq!(look(&ledger, 1, Place::Aside).await, Change::None, "once");
    assert_eq!(state(&ledger, 1).await, (BlockState::Orphaned, 0));
    assert!(owed(&ledger).await.iter().all(|row| (row.1, row.2, row.3) == (0, 0, 0)));
    let credits = ledger.credits(10).await.expect("credits");
    assert_eq!((credits.len(), of_block(&credits[0])), (3, Some((hash(1), BlockState::Orphaned))));

    let at = |confirmations| Place::InChain { confirmations };
    assert_eq!(look(&ledger, 1, at(2)).await, Change::Returned);
    assert_eq!(state(&ledger, 1).await, (BlockState::Immature, 2));
    assert_eq!(look(&ledger, 1, at(2)).await, Change::None, "once");
    assert_eq!(look(&ledger, 1, at(3)).await, Change::None);
    assert_eq!(state(&ledger, 1).await, (BlockState::Immature, 3));
    assert_eq!(owed(&ledger).await, booked);
    assert_eq!(ledger.credits(10).await.expect("credits").len(), 3, "listed once");

    assert_eq!(look(&ledger, 1, DEEP).await, Change::Matured);
    assert_eq!(state(&ledger, 1).await, (BlockState::Mature, MATURITY));
    assert_eq!(owed(&ledger).await, booked.map(|(who, sat, _, _)| (who, sat, sat, 0)));
    // Final: no later word changes it.
    assert_eq!(look(&ledger, 1, Place::Aside).await, Change::None);
    assert_eq!(state(&ledger, 1).await.0, BlockState::Mature);
    ledger.close().await;

    let connection = sql(dir.path());
    let rows = entries(&connection);
    let of = |number: i64| rows.iter().filter(move |row| row.1 == number);
    assert_eq!(rows.iter().map(|row| row.1).max(), Some(3));
    assert!(of(2).all(|row| row.4 == "reversal"));
    assert!(
        of(1).zip(of(2)).all(|(booked, back)| (&booked.2, booked.3, -booked.5) == (&back.2, back.3, back.5))
    );
    let bare = |number: i64| of(number).map(|row| (&row.2, row.3, &row.4, row.5, &row.6)).collect::<Vec<_>>();
    assert_eq!(bare(1), bare(3));
}

#[tokio::test]
async fn a_round_that_is_not_settled_waits_for_its_block_to_return() {
    let dir = tempfile::tempdir().expect("a directory");
    let ledger = open(dir.path());
    accepted(&ledger, 1, 0).await;
    assert_eq!(ledger.open_rounds().await.expect("rounds").len(), 1);
    assert_eq!(look(&ledger, 1, Place::Aside).await, Change::Orphaned);
    assert_eq!(ledger.open_rounds().await.expect("rounds").len(), 0);
    assert!(matches!(settle(&ledger, 1).await, Err(LedgerError::NotAccepted(_))));
    // Its shares stay with it: the next round does not pay them.
    accepted(&ledger, 2, 0).await;
    let next = ledger.open_rounds().await.expect("rounds").remove(0);
    assert_eq!(next.round.contributions.iter().map(|part| part.shares).collect::<Vec<_>>(), [1, 1]);
    assert_eq!(look(&ledger, 1, DEEP).await, Change::Returned);
    assert_eq!(look(&ledger, 1, DEEP).await, Change::Matured);
    assert_eq!(ledger.open_rounds().await.expect("rounds").len(), 2, "mature blocks are settled too");
    assert!(settle(&ledger, 1).await.expect("settled"));
    assert!(owed(&ledger).await.iter().all(|row| row.1 == row.2), "mature at once");
}

#[tokio::test]
async fn a_block_that_lost_its_race_counts_if_the_chain_takes_it_after_all() {
    let dir = tempfile::tempdir().expect("a directory");
    let ledger = open(dir.path());
    accepted(&ledger, 1, 0).await;
    accepted(&ledger, 2, 0).await;
    let lost = Verdict::Rejected { reason: INCONCLUSIVE.into() };
    ledger.block_verdict(hash(1), lost).await.expect("known");
    ledger.block_verdict(hash(2), Verdict::Rejected { reason: "high-hash".into() }).await.expect("known");
    let watched = ledger.watched_blocks(0, 100, 10).await.expect("blocks");
    assert_eq!(watched.iter().map(|block| block.hash).collect::<Vec<_>>(), [hash(1)], "the other is invalid");
    assert_eq!(look(&ledger, 1, Place::Aside).await, Change::None);
    assert_eq!(state(&ledger, 1).await.0, BlockState::Rejected);
    assert_eq!(look(&ledger, 1, IN_CHAIN).await, Change::Returned);
    assert_eq!(ledger.open_rounds().await.expect("rounds").len(), 1);
    let view = ledger.blocks(10).await.expect("blocks").pop().expect("the first");
    assert_eq!((view.state, view.reason.as_str()), (BlockState::Immature, ""));
    // A node that repeats itself after a restart changes nothing: the chain has spoken.
    let repeated = Verdict::Rejected { reason: INCONCLUSIVE.into() };
    ledger.block_verdict(hash(1), repeated).await.expect("known");
    assert_eq!(state(&ledger, 1).await.0, BlockState::Immature);
}

#[tokio::test]
async fn blocks_are_watched_until_they_are_final_page_by_page() {
    let dir = tempfile::tempdir().expect("a directory");
    let ledger = open(dir.path());
    for number in 1..=5 {
        accepted(&ledger, number, 0).await;
    }
    look(&ledger, 2, DEEP).await;
    look(&ledger, 4, Place::Aside).await;
    let mut pages = Vec::new();
    let mut after = 0;
    loop {
        let page = ledger.watched_blocks(after, 100, 2).await.expect("blocks");
        let Some(last) = page.last() else { break };
        after = last.id;
        pages.push(page.iter().map(|block| (block.hash, block.state)).collect::<Vec<_>>());
    }
    let accepted = BlockState::Accepted;
    let first = vec![(hash(1), accepted), (hash(3), accepted)];
    assert_eq!(pages, [first, vec![(hash(4), BlockState::Orphaned), (hash(5), accepted)]]);
    // An orphan is given up at some depth, a block in the chain never.
    let late = ledger.watched_blocks(0, 100 + ORPHANS_WATCHED, 10).await.expect("blocks");
    assert_eq!(late.iter().map(|block| block.hash).collect::<Vec<_>>(), [1, 3, 5].map(hash));
    let unknown = ledger.block_places(vec![(hash(1), IN_CHAIN), (hash(77), IN_CHAIN)]).await;
    assert!(matches!(unknown, Err(LedgerError::UnknownBlock(_))));
    assert_eq!(state(&ledger, 1).await.0, accepted, "all or nothing");
}

#[tokio::test]
async fn the_database_itself_refuses_a_reversal_of_anything_else() {
    let dir = tempfile::tempdir().expect("a directory");
    let ledger = open(dir.path());
    accepted(&ledger, 1, 3_000).await;
    settle(&ledger, 1).await.expect("settled");
    ledger.close().await;
    let connection = sql(dir.path());
    let seal = |number: u32, lines: &str| {
        connection.execute_batch("BEGIN").expect("a transaction");
        let done = connection.execute_batch(&format!(
            "INSERT INTO journal (id, at_ms, block, number) VALUES (2, 0, 1, {number}); {lines}; \
             UPDATE journal SET sealed = 1 WHERE id = 2"
        ));
        connection.execute_batch("ROLLBACK").expect("rolled back");
        done.map_err(|error| error.to_string())
    };
    let with = |amount: &str, rows: &str| {
        format!(
            "INSERT INTO entries SELECT 2, line, book, account, 'reversal', {amount}, '' FROM entries WHERE journal = 1 {rows}"
        )
    };
    assert_eq!(seal(2, &with("-amount", "")), Ok(()));
    for (number, lines) in [
        (3, with("-amount", "")),
        (2, with("amount", "")),
        (2, with("0", "")),
        (2, with("-amount", "AND false")),
        (2, with("-amount", "AND cause <> 'payment'")),
    ] {
        let refused = seal(number, &lines).expect_err("it must not pass");
        assert!(refused.contains("does not undo") || refused.contains("sum to zero"), "{refused}");
    }
    assert!(seal(1, &with("-amount", "")).expect_err("it must not pass").contains("UNIQUE"));
}

/// What happens to one of a few blocks.
#[derive(Clone, Copy, Debug)]
enum Step {
    Find(u64),
    Settle(u64),
    Orphan(u64),
    Return(u64, u32),
    Reopen,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let one = || 0u64..4;
    let step = prop_oneof![
        2 => one().prop_map(Step::Find),
        3 => one().prop_map(Step::Settle),
        4 => one().prop_map(Step::Orphan),
        4 => (one(), prop_oneof![8 => 1u32..100, 1 => 100u32..200]).prop_map(|(n, deep)| Step::Return(n, deep)),
        1 => Just(Step::Reopen),
    ];
    prop::collection::vec(step, 1..40)
}

/// The same in a few words.
#[derive(Clone, Debug, Default)]
struct Model {
    in_chain: bool,
    mature: bool,
    /// What the settlement gave each account, less what the coinbase had paid it.
    booked: Option<BTreeMap<String, i64>>,
}

async fn run(ledger: Ledger, dir: &std::path::Path, steps: &[Step]) -> Ledger {
    let mut ledger = ledger;
    let mut blocks: BTreeMap<u64, Model> = BTreeMap::new();
    for step in steps {
        match *step {
            Step::Find(number) if !blocks.contains_key(&number) => {
                accepted(&ledger, number, number * 1_000).await;
                blocks.insert(number, Model { in_chain: true, ..Model::default() });
            }
            Step::Find(_) => {}
            Step::Settle(number) => {
                let Some(model) = blocks.get_mut(&number) else { continue };
                settle_like(&ledger, number, model).await;
            }
            Step::Orphan(number) => {
                let Some(model) = blocks.get_mut(&number) else { continue };
                look(&ledger, number, Place::Aside).await;
                model.in_chain = model.mature;
            }
            Step::Return(number, confirmations) => {
                let Some(model) = blocks.get_mut(&number) else { continue };
                look(&ledger, number, Place::InChain { confirmations }).await;
                model.mature |= model.in_chain && confirmations >= MATURITY;
                model.in_chain = true;
            }
            Step::Reopen => {
                ledger.close().await;
                ledger = open(dir);
            }
        }
        compare(&ledger, &blocks).await;
    }
    ledger
}

async fn settle_like(ledger: &Ledger, number: u64, model: &mut Model) {
    let settled = settle(ledger, number).await;
    if model.booked.is_some() {
        assert!(matches!(settled, Ok(false)));
    } else if model.in_chain {
        assert!(settled.expect("settled"));
        let credits = ledger.credits(1000).await.expect("credits");
        let mut booked = BTreeMap::from([(String::new(), number as i64 * 1_000 - REWARD.to_sat() as i64)]);
        *booked.entry("alice".into()).or_default() -= number as i64 * 1_000;
        for credit in
            credits.iter().filter(|credit| of_block(credit).is_some_and(|(block, _)| block == hash(number)))
        {
            *booked.entry(credit.account.clone()).or_default() += credit.amount_sat as i64;
        }
        model.booked = Some(booked);
    } else {
        assert!(matches!(settled, Err(LedgerError::NotAccepted(_))));
    }
}

/// Each account has its credits from blocks in the chain less what those paid it, and the books sum to zero.
async fn compare(ledger: &Ledger, blocks: &BTreeMap<u64, Model>) {
    assert_eq!(ledger.books_sum().await.expect("a sum"), 0);
    let mut expected: BTreeMap<String, (i64, i64)> = BTreeMap::new();
    for model in blocks.values().filter(|model| model.in_chain) {
        for (account, sat) in model.booked.iter().flatten() {
            let sums = expected.entry(account.clone()).or_default();
            *(if model.mature { &mut sums.0 } else { &mut sums.1 }) += sat;
        }
    }
    expected.retain(|_, sums| *sums != (0, 0));
    let rows = owed(ledger).await.into_iter().filter(|row| (row.2, row.3) != (0, 0));
    let have: BTreeMap<_, _> = rows
        .map(|(who, sat, mature, immature)| {
            assert_eq!(sat, mature + immature);
            (who, (mature, immature))
        })
        .collect();
    assert_eq!(have, expected);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn credits_count_exactly_while_their_block_is_in_the_chain(steps in steps()) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
        runtime.block_on(async {
            let mut replays = Vec::new();
            for _ in 0..2 {
                let dir = tempfile::tempdir().expect("a directory");
                run(open(dir.path()), dir.path(), &steps).await.close().await;
                let connection = sql(dir.path());
                let unbalanced = "SELECT count(*) FROM (SELECT 1 FROM entries GROUP BY journal HAVING sum(amount) <> 0)";
                assert_eq!(number(&connection, unbalanced), 0);
                assert_eq!(number(&connection, "SELECT count(*) FROM journal WHERE sealed = 0"), 0);
                replays.push(entries(&connection));
            }
            assert_eq!(replays[0], replays[1], "the same history gives the same rows");
        });
    }
}
