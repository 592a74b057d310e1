//! The life of a batch: each step once, whoever asks again.

use sluice_core::bitcoin::Amount;
use sluice_ledger::payouts::{BatchId, BatchState, DeskError, Head};

use crate::pool::{DEEP, balance, coin, desk, earn, paid, prepare, rules, sat, txid};
use crate::support::{number, open, sql};

const CREDITS: [(&str, u64); 3] = [("alice", 700), ("bob", 200), ("carol", 300)];

#[tokio::test]
async fn a_batch_takes_from_the_accounts_at_once_and_asking_again_gives_the_same() {
    let dir = tempfile::tempdir().expect("a directory");
    let ledger = open(dir.path());
    earn(&ledger, 1, &CREDITS, DEEP).await;
    let mut desk = desk(dir.path());
    let (batch, new) = desk.prepare(&rules(250, 10)).expect("prepared").expect("two accounts");
    assert!(new);
    assert_eq!(paid(&batch), [("alice", 700), ("carol", 300)]);
    assert_eq!((batch.total(), batch.state), (sat(1_000), BatchState::Prepared));
    assert_eq!((balance(&ledger, "alice").await, balance(&ledger, "carol").await), (0, 0));
    assert_eq!(ledger.books_sum().await.expect("a sum"), 0);
    // Whatever became due meanwhile, and by whatever rules.
    earn(&ledger, 2, &[("alice", 900)], DEEP).await;
    let (again, new) = desk.prepare(&rules(1, 1)).expect("prepared").expect("the same");
    assert_eq!((&again, new), (&batch, false));
    assert_eq!(desk.batch(batch.id).expect("there"), batch);
    let due = desk.due(&rules(1, 10)).expect("read");
    assert_eq!((due[0].account.as_str(), due[0].amount), ("alice", sat(900)));
    ledger.close().await;
}

#[tokio::test]
async fn the_largest_amounts_come_first_and_the_rest_wait_for_the_next_batch() {
    let dir = tempfile::tempdir().expect("a directory");
    let ledger = open(dir.path());
    earn(&ledger, 1, &CREDITS, DEEP).await;
    let mut desk = desk(dir.path());
    assert!(desk.prepare(&rules(1, 0)).expect("asked").is_none(), "no lines are allowed");
    assert!(desk.prepare(&rules(701, 9)).expect("asked").is_none(), "nobody has that much");
    let (first, _) = desk.prepare(&rules(1, 2)).expect("prepared").expect("two accounts");
    assert_eq!(paid(&first), [("alice", 700), ("carol", 300)]);
    desk.sent(first.id, txid(1), None).expect("sent");
    let second = prepare(&mut desk);
    assert_eq!(paid(&second), [("bob", 200)]);
    let sent = BatchState::Sent { txid: txid(1) };
    let heads = [
        Head { id: second.id, state: BatchState::Prepared, lines: 1, total: sat(200) },
        Head { id: first.id, state: sent, lines: 2, total: sat(1_000) },
    ];
    assert_eq!(desk.heads(10).expect("read"), heads);
    assert_eq!(desk.heads(1).expect("read"), heads[..1]);
    ledger.close().await;
}

#[tokio::test]
async fn a_confirmed_batch_costs_the_house_its_fee_once() {
    let dir = tempfile::tempdir().expect("a directory");
    let ledger = open(dir.path());
    earn(&ledger, 1, &CREDITS, DEEP).await;
    let mut desk = desk(dir.path());
    let batch = prepare(&mut desk);
    desk.reserve(batch.id, &[coin(1)]).expect("drafted");
    let house = balance(&ledger, "").await;
    assert!(matches!(desk.confirmed(batch.id, txid(1), 200, sat(9)), Err(DeskError::NotSent(_))));
    assert!(desk.sent(batch.id, txid(1), None).expect("sent"));
    assert!(!desk.sent(batch.id, txid(1), None).expect("sent"), "it was");
    let other = desk.confirmed(batch.id, txid(2), 200, sat(9));
    assert!(matches!(other, Err(DeskError::OtherTransaction { recorded, .. }) if recorded == txid(1)));
    assert!(desk.confirmed(batch.id, txid(1), 200, sat(9)).expect("confirmed"));
    assert!(!desk.confirmed(batch.id, txid(1), 200, sat(9)).expect("confirmed"), "it was");
    let state = BatchState::Confirmed { txid: txid(1), height: 200, fee: sat(9) };
    assert_eq!(desk.batch(batch.id).expect("there").state, state);
    assert_eq!(balance(&ledger, "").await, house - 9);
    let books = sql(dir.path());
    assert_eq!(number(&books, "SELECT sum(amount) FROM entries WHERE book = 'payout'"), 1_200 + 9);
    assert_eq!(ledger.books_sum().await.expect("a sum"), 0);
    for refused in [
        desk.sent(batch.id, txid(1), None),
        desk.sent(batch.id, txid(3), Some(txid(1))),
        desk.confirmed(batch.id, txid(1), 200, sat(10)),
        desk.cancel(batch.id),
        desk.conflicted(batch.id, txid(7), coin(1).outpoint),
        desk.revive(batch.id, txid(1)),
    ] {
        assert!(matches!(refused, Err(DeskError::Confirmed { height: 200, .. })));
    }
    ledger.close().await;
}

#[tokio::test]
async fn a_fee_of_nothing_is_a_fee() {
    let dir = tempfile::tempdir().expect("a directory");
    let ledger = open(dir.path());
    earn(&ledger, 1, &CREDITS, DEEP).await;
    let mut desk = desk(dir.path());
    let batch = prepare(&mut desk);
    desk.sent(batch.id, txid(1), None).expect("sent");
    assert!(desk.confirmed(batch.id, txid(1), 200, Amount::ZERO).expect("confirmed"));
    ledger.close().await;
    open(dir.path()).close().await;
}

#[tokio::test]
async fn a_sent_batch_changes_its_transaction_only_when_told_which_one_is_replaced() {
    let dir = tempfile::tempdir().expect("a directory");
    let ledger = open(dir.path());
    earn(&ledger, 1, &CREDITS, DEEP).await;
    let mut desk = desk(dir.path());
    let (batch, _) = desk.prepare(&rules(250, 9)).expect("prepared").expect("two accounts");
    assert!(matches!(desk.sent(batch.id, txid(1), Some(txid(9))), Err(DeskError::NotSent(_))));
    desk.sent(batch.id, txid(1), None).expect("sent");
    for replaces in [None, Some(txid(3))] {
        let refused = desk.sent(batch.id, txid(2), replaces);
        let text = refused.expect_err("another one").to_string();
        assert!(text.contains(&txid(1).to_string()), "{text}");
    }
    assert!(desk.sent(batch.id, txid(2), Some(txid(1))).expect("replaced"));
    assert!(!desk.sent(batch.id, txid(2), Some(txid(1))).expect("replaced"), "it was");
    assert_eq!(desk.batch(batch.id).expect("there").state, BatchState::Sent { txid: txid(2) });
    // One transaction pays one batch.
    let next = prepare(&mut desk);
    let taken = desk.sent(next.id, txid(2), None);
    assert!(matches!(taken, Err(DeskError::TransactionTaken { of, .. }) if of == batch.id));
    ledger.close().await;
}

#[tokio::test]
async fn a_cancelled_batch_gives_back_exactly_what_it_took() {
    let dir = tempfile::tempdir().expect("a directory");
    let ledger = open(dir.path());
    earn(&ledger, 1, &CREDITS, DEEP).await;
    let mut desk = desk(dir.path());
    let before = ledger.balances().await.expect("balances");
    let batch = prepare(&mut desk);
    assert!(desk.cancel(batch.id).expect("cancelled"));
    assert!(!desk.cancel(batch.id).expect("cancelled"), "it was");
    assert_eq!(ledger.balances().await.expect("balances"), before);
    for refused in [desk.sent(batch.id, txid(1), None), desk.confirmed(batch.id, txid(1), 2, sat(1))] {
        assert!(matches!(refused, Err(DeskError::Cancelled(id)) if id == batch.id));
    }
    let next = prepare(&mut desk);
    assert_eq!((paid(&next), next.id == batch.id), (paid(&batch), false));
    desk.sent(next.id, txid(1), None).expect("sent");
    let refused = desk.cancel(next.id).expect_err("it may confirm");
    assert!(matches!(refused, DeskError::Sent { txid: sent, .. } if sent == txid(1)), "{refused}");
    assert!(refused.to_string().contains("may confirm"));
    ledger.close().await;
}

#[tokio::test]
async fn a_batch_that_was_paid_after_it_was_cancelled_is_booked_again() {
    let dir = tempfile::tempdir().expect("a directory");
    let ledger = open(dir.path());
    earn(&ledger, 1, &CREDITS, DEEP).await;
    let mut desk = desk(dir.path());
    let batch = prepare(&mut desk);
    assert!(matches!(desk.revive(batch.id, txid(1)), Err(DeskError::NotCancelled(_))));
    desk.reserve(batch.id, &[coin(1)]).expect("drafted");
    desk.cancel(batch.id).expect("cancelled");
    assert!(desk.revive(batch.id, txid(1)).expect("revived"));
    assert!(!desk.revive(batch.id, txid(1)).expect("revived"), "it was");
    assert_eq!(desk.batch(batch.id).expect("there").state, BatchState::Sent { txid: txid(1) });
    assert_eq!(balance(&ledger, "alice").await, 0);
    assert!(desk.prepare(&rules(1, 9)).expect("asked").is_none(), "nothing is due twice");
    assert!(desk.confirmed(batch.id, txid(1), 200, sat(9)).expect("confirmed"));
    assert_eq!(ledger.books_sum().await.expect("a sum"), 0);
    ledger.close().await;
}

#[tokio::test]
async fn a_number_that_is_no_batch_is_an_error_everywhere() {
    let dir = tempfile::tempdir().expect("a directory");
    open(dir.path()).close().await;
    let mut desk = desk(dir.path());
    let none = BatchId(4);
    assert!(matches!(desk.batch(none), Err(DeskError::UnknownBatch(id)) if id == none));
    assert!(matches!(desk.must_spend(none), Err(DeskError::UnknownBatch(_))));
    for refused in [
        desk.sent(none, txid(1), None),
        desk.confirmed(none, txid(1), 1, sat(1)),
        desk.cancel(none),
        desk.conflicted(none, txid(1), coin(1).outpoint),
        desk.revive(none, txid(1)),
        desk.reserve(none, &[coin(1)]),
    ] {
        assert!(matches!(refused, Err(DeskError::UnknownBatch(_))));
    }
    assert_eq!(desk.heads(9).expect("read"), []);
}
