//! What is due: never more than what is final, never what a coinbase pays already.

use sluice_core::bitcoin::Amount;
use sluice_core::ids::AccountName;
use sluice_core::policy::payout::Window;
use sluice_ledger::payouts::{DeskError, Due, Rules, Standing, Unpayable};
use sluice_ledger::{Ledger, Place};

use crate::pool::{DEEP, SHALLOW, address_of, coin, desk, earn, find, paid, place, rules, sat, settle};
use crate::support::{hash, open};

fn row(due: &Due) -> (&str, i64, i64, u64) {
    (due.account.as_str(), due.balance_sat, due.mature_sat, due.amount.to_sat())
}

#[tokio::test]
async fn only_what_no_reorganisation_takes_away_is_due() {
    let dir = tempfile::tempdir().expect("a directory");
    let ledger = open(dir.path());
    earn(&ledger, 1, &[("alice", 700), ("bob", 200)], DEEP).await;
    earn(&ledger, 2, &[("alice", 40), ("carol", 300)], SHALLOW).await;
    // Its coinbase pays Bob more than it gives him: that takes from what he had.
    find(&ledger, 3, &[("bob", 10), ("dave", 500)], &[("bob", 60), ("", 450)]).await;
    settle(&ledger, 3, &[("bob", 10), ("dave", 500)]).await;
    place(&ledger, 3, SHALLOW).await;
    let mut desk = desk(dir.path());
    let list = desk.due(&rules(1, 10)).expect("read");
    let rows: Vec<_> = list.iter().map(row).collect();
    assert_eq!(
        rows,
        [("alice", 740, 700, 700), ("bob", 150, 200, 150), ("carol", 300, 0, 0), ("dave", 500, 0, 0)]
    );
    assert_eq!(list[0].standing, Standing::Payable);
    assert_eq!(list[0].address.as_deref(), Some(address_of("alice").as_str()));
    assert_eq!(list[2].standing, Standing::Nothing);
    place(&ledger, 2, Place::Aside).await;
    place(&ledger, 3, DEEP).await;
    let list = desk.due(&rules(1, 10)).expect("read");
    let rows: Vec<_> = list.iter().map(row).collect();
    assert_eq!(rows, [("alice", 700, 700, 700), ("dave", 500, 500, 500), ("bob", 150, 150, 150)]);
    ledger.close().await;
}

#[tokio::test]
async fn what_the_coinbase_of_a_block_that_waits_for_its_settlement_pays_is_not_due() {
    let dir = tempfile::tempdir().expect("a directory");
    let ledger = open(dir.path());
    earn(&ledger, 1, &[("alice", 700), ("bob", 100)], DEEP).await;
    find(&ledger, 2, &[("alice", 50), ("bob", 50)], &[("alice", 650), ("bob", 200)]).await;
    let mut desk = desk(dir.path());
    let list = desk.due(&rules(1, 10)).expect("read");
    assert_eq!(list[0].in_coinbases, sat(650));
    let rows: Vec<_> = list.iter().map(row).collect();
    assert_eq!(rows, [("alice", 700, 700, 50), ("bob", 100, 100, 0)]);
    let (batch, _) = desk.prepare(&rules(1, 10)).expect("prepared").expect("alice");
    assert_eq!(paid(&batch), [("alice", 50)]);
    desk.cancel(batch.id).expect("cancelled");
    // It lost its race: all of it is due again.
    place(&ledger, 2, Place::Aside).await;
    assert_eq!(desk.due(&rules(1, 10)).expect("read")[0].amount, sat(700));
    ledger.close().await;
}

#[tokio::test]
async fn what_a_coinbase_paid_since_the_batch_was_prepared_is_not_paid_again() {
    let dir = tempfile::tempdir().expect("a directory");
    let ledger = open(dir.path());
    earn(&ledger, 1, &[("alice", 700), ("bob", 100)], DEEP).await;
    let mut desk = desk(dir.path());
    let (batch, _) = desk.prepare(&rules(1, 10)).expect("prepared").expect("two accounts");
    desk.check_unpaid(batch.id).expect("nobody was paid");
    // Its template was older than the batch: it pays Alice 600 of what she had.
    find(&ledger, 2, &[("alice", 50), ("bob", 50)], &[("alice", 650), ("", 50)]).await;
    let twice =
        |error: &DeskError| matches!(error, DeskError::PaidTwice { account, .. } if account == "alice");
    for _ in 0..2 {
        assert!(desk.must_spend(batch.id).is_err_and(|error| twice(&error)));
        assert!(desk.reserve(batch.id, &[coin(1)]).is_err_and(|error| twice(&error)));
        assert!(desk.check_unpaid(batch.id).is_err_and(|error| twice(&error)));
        settle(&ledger, 2, &[("alice", 50), ("bob", 50)]).await;
    }
    desk.cancel(batch.id).expect("cancelled");
    let (again, _) = desk.prepare(&rules(1, 10)).expect("prepared").expect("two accounts");
    assert_eq!(paid(&again), [("alice", 100), ("bob", 100)]);
    desk.reserve(again.id, &[coin(1)]).expect("drafted");
    ledger.close().await;
}

/// Pays from 300 sat on, and knows which addresses are its network's.
fn of_the_network(address: &str, amount: Amount) -> Result<(), Unpayable> {
    match address {
        _ if address.starts_with("tb1") => Err(Unpayable::Address("of another network".to_owned())),
        _ if amount < sat(300) => Err(Unpayable::Dust),
        _ => Ok(()),
    }
}

#[tokio::test]
async fn every_account_is_told_what_stands_in_its_way() {
    let dir = tempfile::tempdir().expect("a directory");
    let ledger = open(dir.path());
    let credits = [
        ("addressed-elsewhere", 900),
        ("dusty", 250),
        ("held", 800),
        ("low", 400),
        ("modest", 450),
        ("paid", 600),
        ("picky", 700),
    ];
    earn(&ledger, 1, &credits, DEEP).await;
    let elsewhere = AccountName::new("addressed-elsewhere").expect("a name");
    ledger.payout_address(&elsewhere, "tb1q").expect("room");
    no_address(&ledger).await;
    let mut desk = desk(dir.path());
    desk.hold("held", "a court asked").expect("held");
    desk.minimum("picky", Some(sat(701))).expect("set");
    desk.minimum("modest", Some(sat(450))).expect("set");
    desk.minimum("dusty", Some(sat(1))).expect("set");
    let rules = Rules { minimum: sat(500), max_lines: 10, payable: &of_the_network };
    let list = desk.due(&rules).expect("read");
    let standings: Vec<_> = list.iter().map(|due| (due.account.as_str(), due.standing.clone())).collect();
    let below = Standing::BelowMinimum;
    let expected = [
        ("nowhere", Standing::NoAddress),
        ("addressed-elsewhere", Standing::BadAddress { problem: "of another network".to_owned() }),
        ("held", Standing::Held { reason: "a court asked".to_owned() }),
        ("picky", below.clone()),
        ("paid", Standing::Payable),
        ("modest", Standing::Payable),
        ("low", below.clone()),
        ("dusty", below),
    ];
    assert_eq!(standings, expected, "the largest first");
    assert_eq!((list[3].minimum, list[4].minimum), (sat(701), sat(500)));
    let (batch, _) = desk.prepare(&rules).expect("prepared").expect("two accounts");
    assert_eq!(paid(&batch), [("paid", 600), ("modest", 450)]);
    ledger.close().await;
}

/// An account that never said where it is paid, with 950 sat.
async fn no_address(ledger: &Ledger) {
    find(ledger, 2, &[("paid", 0)], &[]).await;
    let miner = crate::support::worker(ledger, "nowhere", "");
    ledger.append(&[crate::support::share(miner, 2, 1.0)]).await.expect("room");
    let row = crate::support::block(3, miner.1, Window::Round);
    ledger.block_found(sluice_ledger::BlockRow { reward: sat(950), ..row }).await.expect("written");
    ledger.block_verdict(hash(3), sluice_ledger::Verdict::Accepted).await.expect("known");
    settle(ledger, 3, &[("nowhere", 950)]).await;
    place(ledger, 3, DEEP).await;
}

#[tokio::test]
async fn the_latest_address_counts_and_the_batch_keeps_the_one_of_its_time() {
    let dir = tempfile::tempdir().expect("a directory");
    let ledger = open(dir.path());
    earn(&ledger, 1, &[("alice", 700)], DEEP).await;
    let mut desk = desk(dir.path());
    let (batch, _) = desk.prepare(&rules(1, 10)).expect("prepared").expect("alice");
    let alice = AccountName::new("alice").expect("a name");
    ledger.payout_address(&alice, "moved").expect("room");
    earn(&ledger, 2, &[("bob", 5)], SHALLOW).await;
    ledger.payout_address(&alice, "moved again").expect("room");
    ledger.close().await;
    assert_eq!(desk.batch(batch.id).expect("there").lines[0].address, address_of("alice"));
    desk.cancel(batch.id).expect("cancelled");
    assert_eq!(desk.due(&rules(1, 10)).expect("read")[0].address.as_deref(), Some("moved again"));
}
