//! Blocks close rounds; rounds are settled once; the books sum to zero.

use proptest::prelude::*;
use sluice_core::bitcoin::Amount;
use sluice_core::ids::{ShareSeq, WorkerId};
use sluice_core::policy::payout::{Contribution, Window};
use sluice_core::policy::split::Credit;
use sluice_ledger::{BlockRow, BlockState, Ledger, LedgerError, Settlement, Verdict};

use crate::support::{REWARD, block, hash, number, open, payment, settlement, share, sql, template, worker};

fn work(list: &[Contribution], unit: f64) -> Vec<(&str, f64, u64)> {
    list.iter().map(|part| (part.account.as_str(), part.work as f64 * unit, part.shares)).collect()
}

async fn accept(ledger: &Ledger, number: u64) {
    ledger.block_verdict(hash(number), Verdict::Submitted).await.expect("known");
    ledger.block_verdict(hash(number), Verdict::Accepted).await.expect("known");
}

/// Alice 3, Bob 1, then a block by Bob at share 3, then Alice 8.
async fn story(ledger: &Ledger, window: Window) {
    ledger.template(template(1, 100));
    let (alice, bob) = (worker(ledger, "alice", ""), worker(ledger, "bob", ""));
    let shares = [share(alice, 1, 1.0), share(alice, 2, 2.0), share(bob, 3, 1.0)];
    ledger.append(&shares).await.expect("room");
    let mut found = block(900, bob.1, window);
    found.payments = vec![payment("alice", 3_000), payment("", 2_123)];
    ledger.block_found(found).await.expect("written");
    ledger.append(&[share(alice, 4, 8.0)]).await.expect("room");
}

#[tokio::test]
async fn a_block_closes_the_round_after_the_shares_before_it() {
    let dir = tempfile::tempdir().expect("a directory");
    let ledger = open(dir.path());
    story(&ledger, Window::Round).await;
    assert!(*ledger.committed().borrow() >= ShareSeq(3), "its shares are on disk when it is");
    assert_eq!(ledger.open_rounds().await.expect("rounds"), [], "not accepted yet");
    accept(&ledger, 900).await;
    let rounds = ledger.open_rounds().await.expect("rounds");
    let round = &rounds[0].round;
    assert_eq!((rounds.len(), rounds[0].hash, rounds[0].window), (1, hash(900), Window::Round));
    assert!(round.found);
    assert_eq!((round.height, round.finder.as_str(), round.network_difficulty), (100, "bob", 4.0));
    assert_eq!((round.subsidy.to_sat(), round.fees.to_sat()), (5_000, 123), "as the template says");
    assert_eq!(work(&round.contributions, round.work_unit), [("alice", 3.0, 2), ("bob", 1.0, 1)]);
    ledger.close().await;
    assert_eq!(open(dir.path()).open_rounds().await.expect("rounds"), rounds, "the same after a restart");
}

#[tokio::test]
async fn a_settled_round_is_booked_once_with_all_that_is_needed_to_settle_it_again() {
    let dir = tempfile::tempdir().expect("a directory");
    let ledger = open(dir.path());
    story(&ledger, Window::Round).await;
    accept(&ledger, 900).await;
    let input = ledger.open_rounds().await.expect("rounds").remove(0).round;
    let settled = settlement(input);
    assert!(ledger.settle_round(hash(900), settled.clone()).await.expect("settled"));
    assert!(!ledger.settle_round(hash(900), settled.clone()).await.expect("known"), "twice is once");
    assert_eq!(ledger.open_rounds().await.expect("rounds"), []);

    let credits = ledger.credits(10).await.expect("credits");
    let parts: Vec<_> = credits.iter().map(|row| (row.account.as_str(), row.amount_sat)).collect();
    // 51 fixed, then 5,072 by 3 to 1.
    assert_eq!(parts, [("", 51), ("alice", 3_804), ("bob", 1_268)]);
    assert_eq!(credits[1].policy_hash, "ab".repeat(32));
    let balances = ledger.balances().await.expect("balances");
    let owed: Vec<_> = balances.iter().map(|row| (row.account.as_str(), row.sat)).collect();
    // The coinbase paid Alice 3,000 and the house 2,123, of which 51 are its own.
    assert_eq!(owed, [("", -2_072), ("alice", 804), ("bob", 1_268)]);
    assert_eq!(ledger.books_sum().await.expect("a sum"), 0);

    let connection = sql(dir.path());
    let (input, answer): (String, String) = connection
        .query_row("SELECT input, answer FROM rounds", [], |row| Ok((row.get(0)?, row.get(1)?)))
        .expect("a round");
    assert_eq!(
        serde_json::from_str::<sluice_core::policy::payout::Round>(&input).expect("a round"),
        settled.input
    );
    let answer: Vec<sluice_core::policy::payout::Entitlement> =
        serde_json::from_str(&answer).expect("an answer");
    assert_eq!(answer, settled.answer);
}

#[tokio::test]
async fn a_held_round_can_be_settled_over_another_window() {
    let dir = tempfile::tempdir().expect("a directory");
    let ledger = open(dir.path());
    story(&ledger, Window::Round).await;
    accept(&ledger, 900).await;
    ledger.close().await;
    let ledger = open(dir.path());
    // The newest shares as of the block that reach 0.6 times 4: Bob's 1 and Alice's 2; the 8 came later.
    let round = ledger.round_with(hash(900), Window::Work(0.6)).await.expect("a round");
    assert_eq!(work(&round.contributions, round.work_unit), [("alice", 2.0, 1), ("bob", 1.0, 1)]);
    let round = ledger.round_with(hash(900), Window::DurationMs(0)).await.expect("a round");
    assert_eq!(work(&round.contributions, round.work_unit), [("bob", 1.0, 1)]);
    assert!(ledger.settle_round(hash(900), settlement(round)).await.expect("settled"));
    assert_eq!(ledger.books_sum().await.expect("a sum"), 0);
    let none = ledger.round_with(hash(900), Window::None).await.expect("a round");
    assert_eq!(none.contributions, []);
}

#[tokio::test]
async fn a_rejected_blocks_shares_go_to_the_next_round() {
    let dir = tempfile::tempdir().expect("a directory");
    let ledger = open(dir.path());
    story(&ledger, Window::Round).await;
    let bob = worker(&ledger, "bob", "");
    ledger.block_found(block(901, bob.1, Window::Round)).await.expect("written");
    accept(&ledger, 901).await;
    let own = ledger.open_rounds().await.expect("rounds").remove(0).round;
    assert_eq!(work(&own.contributions, own.work_unit), [("alice", 8.0, 1)]);
    let reason = Verdict::Rejected { reason: "bad-txnmrklroot".into() };
    ledger.block_verdict(hash(900), reason).await.expect("known");
    let both = ledger.open_rounds().await.expect("rounds").remove(0).round;
    assert_eq!(work(&both.contributions, both.work_unit), [("alice", 11.0, 3), ("bob", 1.0, 1)]);
    let views = ledger.blocks(10).await.expect("blocks");
    let states: Vec<_> = views.iter().map(|view| (view.state, view.reason.as_str())).collect();
    assert_eq!(states, [(BlockState::Accepted, ""), (BlockState::Rejected, "bad-txnmrklroot")]);
    assert_eq!(views[1].payments.len(), 2);
    assert_eq!((views[0].account.as_str(), views[0].reward_sat, views[0].settled), ("bob", 5_123, false));
}

#[tokio::test]
async fn what_must_not_be_booked_is_refused_and_changes_nothing() {
    let dir = tempfile::tempdir().expect("a directory");
    let ledger = open(dir.path());
    story(&ledger, Window::Round).await;
    let round = ledger.round_with(hash(900), Window::Round).await.expect("a round");
    let good = settlement(round);
    let unknown = ledger.settle_round(hash(1), good.clone()).await;
    assert!(matches!(unknown, Err(LedgerError::UnknownBlock(_))));
    let early = ledger.settle_round(hash(900), good.clone()).await;
    assert!(matches!(early, Err(LedgerError::NotAccepted(_))));
    accept(&ledger, 900).await;
    let mut short = good.clone();
    short.credits[0].amount = Amount::from_sat(50);
    let short = ledger.settle_round(hash(900), short).await;
    assert!(matches!(short, Err(LedgerError::NotTheReward { .. })), "{short:?}");
    let mut name = good.clone();
    name.credits[1].account = "<script>".into();
    assert!(matches!(ledger.settle_round(hash(900), name).await, Err(LedgerError::Account { .. })));
    assert_eq!(number(&sql(dir.path()), "SELECT count(*) FROM entries"), 0);
    assert!(ledger.settle_round(hash(900), good).await.expect("settled"));
    let late = ledger.block_verdict(hash(900), Verdict::Rejected { reason: "stale".into() }).await;
    assert!(matches!(late, Err(LedgerError::Settled(_))));
    let stranger = ledger.block_found(block(902, WorkerId(99), Window::Round)).await;
    assert!(matches!(stranger, Err(LedgerError::UnknownWorker(_))));
}

#[tokio::test]
async fn a_block_reported_twice_is_one_block() {
    let dir = tempfile::tempdir().expect("a directory");
    let ledger = open(dir.path());
    story(&ledger, Window::Round).await;
    accept(&ledger, 900).await;
    story(&ledger, Window::Round).await;
    assert_eq!(ledger.totals().await.expect("totals").blocks, 1);
    assert_eq!(ledger.blocks(10).await.expect("blocks")[0].state, BlockState::Accepted);
}

#[tokio::test]
async fn a_template_of_another_height_says_nothing_of_a_block() {
    let dir = tempfile::tempdir().expect("a directory");
    let ledger = open(dir.path());
    // The number 1 was another template's before a restart.
    ledger.template(template(1, 200));
    let alice = worker(&ledger, "alice", "");
    ledger.block_found(block(900, alice.1, Window::Round)).await.expect("written");
    let round = ledger.round_with(hash(900), Window::Round).await.expect("a round");
    assert_eq!((round.subsidy, round.fees), (REWARD, Amount::ZERO));
}

#[tokio::test]
async fn the_database_itself_refuses_books_that_do_not_balance_and_changes_to_them() {
    let dir = tempfile::tempdir().expect("a directory");
    let ledger = open(dir.path());
    story(&ledger, Window::Round).await;
    accept(&ledger, 900).await;
    let bob = worker(&ledger, "bob", "");
    ledger.block_found(block(901, bob.1, Window::Round)).await.expect("written");
    let round = ledger.round_with(hash(900), Window::Round).await.expect("a round");
    ledger.settle_round(hash(900), settlement(round)).await.expect("settled");
    ledger.close().await;
    let connection = sql(dir.path());
    let refused = |text: &str| connection.execute_batch(text).expect_err("it must not pass").to_string();
    let open_one = "INSERT INTO rounds SELECT 2, 0, '', '', '', '', '', ''; INSERT INTO journal (id, at_ms, block, number) VALUES (2, 0, 2, 1); \
                    INSERT INTO entries VALUES (2, 1, 'house', NULL, 'credit', 5, '');";
    connection.execute_batch(&format!("BEGIN; {open_one}")).expect("still open");
    assert!(refused("UPDATE journal SET sealed = 1 WHERE id = 2").contains("sum to zero"));
    connection.execute_batch("ROLLBACK").expect("rolled back");
    assert!(refused("INSERT INTO entries VALUES (1, 99, 'house', NULL, 'credit', 5, '')").contains("sealed"));
    assert!(refused("UPDATE entries SET amount = 1").contains("never changed"));
    assert!(refused("DELETE FROM entries").contains("never deleted"));
    assert!(refused("UPDATE journal SET sealed = 0").contains("never changed"));
}

#[tokio::test]
async fn a_credit_may_name_an_account_that_never_sent_a_share() {
    let dir = tempfile::tempdir().expect("a directory");
    let ledger = open(dir.path());
    story(&ledger, Window::Round).await;
    accept(&ledger, 900).await;
    let charity = Credit { account: "charity".into(), amount: REWARD, reason: "all".into() };
    let round = ledger.round_with(hash(900), Window::Round).await.expect("a round");
    let all = Settlement { credits: vec![charity], ..settlement(round) };
    assert!(ledger.settle_round(hash(900), all).await.expect("settled"));
    let charity = worker(&ledger, "charity", "box");
    let last = ledger.append(&[share(charity, 9, 1.0)]).await.expect("room");
    crate::support::until(&ledger, last).await;
    let balances = ledger.balances().await.expect("balances");
    assert!(balances.iter().any(|row| row.account == "charity" && row.sat == 5_123));
}

/// A block: what its coinbase pays Alice and Bob, and the weights they are credited by.
type Story = (u64, u64, u64, u64);

async fn settle_all(ledger: &Ledger, stories: &[Story]) {
    let (alice, bob) = (worker(ledger, "alice", ""), worker(ledger, "bob", ""));
    for (number, (to_alice, to_bob, alices, bobs)) in (1u64..).zip(stories) {
        ledger.append(&[share(alice, number, 1.0), share(bob, number, 1.0)]).await.expect("room");
        let rest = REWARD.to_sat() - to_alice - to_bob;
        let payments = vec![payment("alice", *to_alice), payment("bob", *to_bob), payment("", rest)];
        ledger
            .block_found(BlockRow { payments, ..block(number, bob.1, Window::Round) })
            .await
            .expect("written");
        accept(ledger, number).await;
        let mut input = ledger.round_with(hash(number), Window::Round).await.expect("a round");
        for (part, weight) in input.contributions.iter_mut().zip([alices, bobs]) {
            part.work = *weight;
        }
        assert!(ledger.settle_round(hash(number), settlement(input)).await.expect("settled"));
        assert_eq!(ledger.books_sum().await.expect("a sum"), 0);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 16, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn whatever_is_paid_and_credited_the_books_sum_to_zero(
        stories in prop::collection::vec((0u64..2_500, 0u64..2_500, 0u64..1 << 53, 1u64..1 << 53), 1..6)
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
        runtime.block_on(async {
            let dir = tempfile::tempdir().expect("a directory");
            let ledger = open(dir.path());
            settle_all(&ledger, &stories).await;
            let owed: i64 = ledger.balances().await.expect("balances").iter().map(|row| row.sat).sum();
            assert_eq!(owed, 0, "the coinbases paid out everything, so what accounts lack the house has");
            let credited: u64 = ledger.credits(100).await.expect("credits").iter().map(|row| row.amount_sat).sum();
            assert_eq!(credited, REWARD.to_sat() * stories.len() as u64);
            ledger.close().await;
        });
    }
}
