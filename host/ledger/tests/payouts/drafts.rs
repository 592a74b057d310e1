//! Which coins a draft spends: at most one of all transactions that pay the same money can be in the chain.

use std::collections::BTreeSet;

use sluice_core::bitcoin::Amount;
use sluice_ledger::Ledger;
use sluice_ledger::payouts::{BatchState, COINS_LIMIT, Coin, Desk, DeskError, OwnCoinbase};

use crate::pool::{DEEP, SHALLOW, address_of, coin, desk, earn, find, place, prepare, sat, settle, txid};
use crate::support::{hash, open};

/// A pool that owes Alice.
async fn pool() -> (tempfile::TempDir, Ledger, Desk) {
    let dir = tempfile::tempdir().expect("a directory");
    let ledger = open(dir.path());
    earn(&ledger, 1, &[("alice", 700)], DEEP).await;
    let desk = desk(dir.path());
    (dir, ledger, desk)
}

#[tokio::test]
async fn a_later_draft_spends_every_coin_of_the_earlier_ones() {
    let (_dir, ledger, mut desk) = pool().await;
    let batch = prepare(&mut desk);
    assert_eq!(desk.must_spend(batch.id).expect("read"), []);
    assert!(desk.reserve(batch.id, &[coin(1), coin(2)]).expect("drafted"));
    assert!(!desk.reserve(batch.id, &[coin(2), coin(1)]).expect("drafted"), "the same");
    let missing = desk.reserve(batch.id, &[coin(2), coin(3)]);
    assert!(matches!(missing, Err(DeskError::MustSpend { coin: spent, of })
        if spent == coin(1).outpoint && of == batch.id));
    let changed = Coin { amount: sat(1), ..coin(1) };
    assert!(desk.reserve(batch.id, &[changed, coin(2)]).is_err(), "a coin keeps its amount");
    assert!(desk.reserve(batch.id, &[coin(3), coin(1), coin(2)]).expect("drafted"));
    let all = [coin(1), coin(2), coin(3)];
    assert_eq!(desk.must_spend(batch.id).expect("read"), all);
    assert_eq!(desk.batch(batch.id).expect("there").coins, all);
    let twice = desk.reserve(batch.id, &[coin(1), coin(2), coin(3), coin(2)]);
    assert!(matches!(twice, Err(DeskError::Twice(spent)) if spent == coin(2).outpoint));
    let many = vec![coin(1); COINS_LIMIT + 1];
    assert!(matches!(desk.reserve(batch.id, &many), Err(DeskError::TooManyCoins { .. })));
    assert_eq!(desk.batch(batch.id).expect("there").coins, all);
    ledger.close().await;
}

#[tokio::test]
async fn a_coin_belongs_to_one_batch_that_stands() {
    let (_dir, ledger, mut desk) = pool().await;
    let first = prepare(&mut desk);
    desk.reserve(first.id, &[coin(1)]).expect("drafted");
    desk.sent(first.id, txid(1), None).expect("sent");
    earn(&ledger, 2, &[("bob", 50)], DEEP).await;
    let second = prepare(&mut desk);
    assert_eq!(desk.reserved_by_others(second.id).expect("read"), BTreeSet::from([coin(1).outpoint]));
    assert!(desk.reserved_by_others(first.id).expect("read").is_empty());
    let taken = |refused| matches!(refused, Err(DeskError::Reserved { of, .. }) if of == first.id);
    assert!(taken(desk.reserve(second.id, &[coin(1), coin(2)])));
    desk.confirmed(first.id, txid(1), 200, sat(9)).expect("confirmed");
    assert!(taken(desk.reserve(second.id, &[coin(1), coin(2)])));
    assert_eq!(desk.batch(second.id).expect("there").coins, []);
    desk.reserve(second.id, &[coin(2)]).expect("drafted");
    let closed = desk.reserve(first.id, &[coin(1)]);
    assert!(matches!(closed, Err(DeskError::NotOpen { state: "confirmed", .. })));
    ledger.close().await;
}

#[tokio::test]
async fn a_draft_that_replaces_a_sent_transaction_spends_its_coins() {
    let (_dir, ledger, mut desk) = pool().await;
    let batch = prepare(&mut desk);
    desk.reserve(batch.id, &[coin(1)]).expect("drafted");
    desk.sent(batch.id, txid(1), None).expect("sent");
    assert_eq!(desk.must_spend(batch.id).expect("read"), [coin(1)]);
    assert!(matches!(desk.reserve(batch.id, &[coin(2)]), Err(DeskError::MustSpend { .. })));
    assert!(desk.reserve(batch.id, &[coin(1), coin(2)]).expect("drafted"));
    desk.sent(batch.id, txid(2), Some(txid(1))).expect("replaced");
    // A transaction that no coins are known of cannot be ruled out by a draft.
    earn(&ledger, 2, &[("bob", 50)], DEEP).await;
    let by_hand = prepare(&mut desk);
    desk.sent(by_hand.id, txid(3), None).expect("sent");
    assert!(matches!(desk.reserve(by_hand.id, &[coin(3)]), Err(DeskError::NoDraft(_))));
    assert!(matches!(desk.must_spend(by_hand.id), Err(DeskError::NoDraft(_))));
    let other = desk.conflicted(by_hand.id, txid(8), coin(1).outpoint);
    assert!(matches!(other, Err(DeskError::NotItsCoin { .. })));
    ledger.close().await;
}

#[tokio::test]
async fn the_draft_of_a_cancelled_batch_is_ruled_out_by_the_next_draft() {
    let (_dir, ledger, mut desk) = pool().await;
    let never_drafted = prepare(&mut desk);
    desk.cancel(never_drafted.id).expect("cancelled");
    let first = prepare(&mut desk);
    assert_eq!(desk.must_spend(first.id).expect("read"), [], "nobody can have signed anything");
    desk.reserve(first.id, &[coin(1), coin(2)]).expect("drafted");
    desk.cancel(first.id).expect("cancelled");
    let second = prepare(&mut desk);
    assert_eq!(desk.must_spend(second.id).expect("read"), [coin(1)]);
    let free = desk.reserve(second.id, &[coin(3)]);
    assert!(matches!(free, Err(DeskError::MustSpend { of, .. }) if of == first.id));
    desk.reserve(second.id, &[coin(3), coin(1)]).expect("drafted");
    desk.cancel(second.id).expect("cancelled");
    // One coin rules out both.
    let third = prepare(&mut desk);
    assert_eq!(desk.must_spend(third.id).expect("read"), [coin(1)]);
    desk.reserve(third.id, &[coin(1)]).expect("drafted");
    desk.sent(third.id, txid(1), None).expect("sent");
    earn(&ledger, 2, &[("bob", 50)], DEEP).await;
    let fourth = prepare(&mut desk);
    assert_eq!(desk.must_spend(fourth.id).expect("read"), [], "the third rules them out");
    let coins = desk.reserve(fourth.id, &[coin(2), coin(3)]);
    assert!(coins.expect("drafted"), "what only cancelled ones had is free");
    ledger.close().await;
}

#[tokio::test]
async fn what_the_chain_rules_out_is_cancelled_for_good() {
    let (_dir, ledger, mut desk) = pool().await;
    let first = prepare(&mut desk);
    desk.reserve(first.id, &[coin(1)]).expect("drafted");
    desk.sent(first.id, txid(1), None).expect("sent");
    assert!(
        matches!(desk.conflicted(first.id, txid(1), coin(1).outpoint), Err(DeskError::Sent { .. })),
        "it is its own"
    );
    assert!(desk.conflicted(first.id, txid(8), coin(1).outpoint).expect("cancelled"));
    assert!(!desk.conflicted(first.id, txid(8), coin(1).outpoint).expect("cancelled"), "it was");
    let state = BatchState::Cancelled { conflict: Some(txid(8)) };
    assert_eq!(desk.batch(first.id).expect("there").state, state);
    assert!(matches!(desk.revive(first.id, txid(1)), Err(DeskError::Conflicted { by, .. }) if by == txid(8)));
    let second = prepare(&mut desk);
    assert_eq!(second.total(), sat(700), "it is due again");
    assert_eq!(desk.must_spend(second.id).expect("read"), []);
    // Of a cancelled one it takes the duty from the next.
    desk.reserve(second.id, &[coin(2)]).expect("drafted");
    desk.cancel(second.id).expect("cancelled");
    assert!(desk.conflicted(second.id, txid(9), coin(2).outpoint).expect("entered"));
    let third = prepare(&mut desk);
    assert_eq!(desk.must_spend(third.id).expect("read"), []);
    ledger.close().await;
}

#[tokio::test]
async fn a_coin_that_only_a_later_draft_spends_rules_out_no_earlier_one() {
    let (_dir, ledger, mut desk) = pool().await;
    let first = prepare(&mut desk);
    desk.reserve(first.id, &[coin(1)]).expect("drafted");
    desk.reserve(first.id, &[coin(1), coin(2)]).expect("drafted");
    desk.sent(first.id, txid(1), None).expect("sent");
    assert!(desk.conflicted(first.id, txid(8), coin(2).outpoint).expect("cancelled"));
    assert!(!desk.conflicted(first.id, txid(8), coin(2).outpoint).expect("cancelled"), "it was");
    assert_eq!(desk.batch(first.id).expect("there").state, BatchState::Cancelled { conflict: None });
    let second = prepare(&mut desk);
    assert_eq!(desk.must_spend(second.id).expect("read"), [coin(1)], "the first draft may be about");
    ledger.close().await;
}

#[tokio::test]
async fn nobody_is_paid_beside_a_cancelled_draft_that_could_still_take_its_successors_place() {
    let (_dir, ledger, mut desk) = pool().await;
    earn(&ledger, 2, &[("bob", 90)], DEEP).await;
    let both = prepare(&mut desk);
    desk.reserve(both.id, &[coin(1)]).expect("drafted");
    desk.cancel(both.id).expect("cancelled");
    desk.hold("alice", "let us see").expect("held");
    let without = prepare(&mut desk);
    desk.reserve(without.id, &[coin(1)]).expect("drafted");
    desk.sent(without.id, txid(1), None).expect("sent");
    desk.release("alice").expect("released");
    // The cancelled draft pays Alice, and could confirm instead of the one without her.
    let again = prepare(&mut desk);
    let waits = |refused| matches!(refused, Err(DeskError::Waits { on, .. }) if on == without.id);
    assert!(waits(desk.reserve(again.id, &[coin(2)])));
    desk.confirmed(without.id, txid(1), 200, sat(1)).expect("confirmed");
    assert!(desk.reserve(again.id, &[coin(2)]).expect("drafted"));
    ledger.close().await;
}

#[tokio::test]
async fn the_pools_own_coins_are_what_mature_coinbases_paid_the_house() {
    let (_dir, ledger, mut desk) = pool().await;
    earn(&ledger, 2, &[("alice", 50)], SHALLOW).await;
    find(&ledger, 3, &[("alice", 80)], &[("alice", 60), ("", 20)]).await;
    settle(&ledger, 3, &[("alice", 80)]).await;
    place(&ledger, 3, DEEP).await;
    let own = |number, amount| OwnCoinbase {
        block: hash(number),
        height: 100,
        address: address_of(""),
        amount: Amount::from_sat(amount),
    };
    assert_eq!(desk.own_coinbases().expect("read"), [own(1, 700), own(3, 20)]);
    ledger.close().await;
}
