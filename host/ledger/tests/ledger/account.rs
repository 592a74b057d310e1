//! What an account sees of itself, and how the pool stands in all.

use sluice_core::bitcoin::hashes::Hash;
use sluice_core::bitcoin::{Amount, Txid};
use sluice_core::ids::{AccountName, ShareSeq};
use sluice_core::policy::payout::{Accrued, Window};
use sluice_core::units::Timestamp;
use sluice_ledger::payouts::{Desk, Rules};
use sluice_ledger::{
    AccountView, AccrualSettlement, BlockRow, BlockState, CreditSource, Ledger, Owed, Place, PolicyRecord,
    Verdict, database_in,
};

use crate::support::{REWARD, block, hash, open, payment, settlement, share, template, until, worker};

const LIMIT: usize = 100;

async fn view(ledger: &Ledger, account: &str) -> AccountView {
    view_at(ledger, account, 0).await
}

async fn view_at(ledger: &Ledger, account: &str, seconds: u64) -> AccountView {
    let view = ledger.account(account.to_owned(), Timestamp(seconds * 1000), LIMIT).await;
    view.expect("read").expect("known")
}

const fn owed(mature_sat: i64, immature_sat: i64, due_sat: u64) -> Owed {
    Owed { sat: mature_sat + immature_sat, mature_sat, immature_sat, due_sat }
}

/// A block by Alice, settled, with a quarter of the work from Bob.
async fn settled(ledger: &Ledger, number: u64) {
    ledger.template(template(1, 100));
    let (alice, bob) = (worker(ledger, "alice", "rig"), worker(ledger, "bob", ""));
    ledger.append(&[share(alice, number, 3.0), share(bob, number, 1.0)]).await.expect("room");
    let payments = vec![payment("", REWARD.to_sat())];
    let found = BlockRow { payments, ..block(number, alice.1, Window::Round) };
    ledger.block_found(found).await.expect("written");
    ledger.block_verdict(hash(number), Verdict::Accepted).await.expect("known");
    let round = ledger.round_with(hash(number), Window::Round).await.expect("a round");
    assert!(ledger.settle_round(hash(number), settlement(round)).await.expect("settled"));
}

async fn look(ledger: &Ledger, number: u64, place: Place) {
    ledger.block_places(vec![(hash(number), place)]).await.expect("known");
}

#[tokio::test]
async fn a_stranger_is_unknown_and_a_newcomer_has_nothing() {
    let dir = tempfile::tempdir().expect("a directory");
    let ledger = open(dir.path());
    for name in ["nobody", "", "'; DROP TABLE sums", "\u{0}"] {
        let view = ledger.account(name.to_owned(), Timestamp(0), LIMIT).await.expect("read");
        assert_eq!(view, None, "{name:?}");
    }
    worker(&ledger, "alice", "rig");
    let alice = view(&ledger, "alice").await;
    assert_eq!((alice.owed, alice.address, alice.done.shares), (Owed::default(), None, 0));
    assert!(alice.workers.is_empty() && alice.credits.is_empty() && alice.payouts.is_empty());
}

#[tokio::test]
async fn an_account_sees_its_own_credits_and_what_becomes_of_them() {
    let dir = tempfile::tempdir().expect("a directory");
    let ledger = open(dir.path());
    settled(&ledger, 1).await;
    ledger.payout_address(&AccountName::new("alice").expect("a name"), "an address").expect("room");
    // Of 5,072 three quarters.
    let alice = view(&ledger, "alice").await;
    assert_eq!((alice.owed, alice.address.as_deref()), (owed(0, 3_804, 0), Some("an address")));
    assert_eq!((alice.credits.len(), alice.credits[0].amount_sat), (1, 3_804));
    assert_eq!((alice.blocks.len(), alice.blocks[0].hash), (1, hash(1)));
    let bob = view(&ledger, "bob").await;
    assert_eq!((bob.owed.sat, bob.credits[0].amount_sat, bob.blocks.len()), (1_268, 1_268, 0));

    look(&ledger, 1, Place::Aside).await;
    let alice = view(&ledger, "alice").await;
    assert_eq!(alice.owed, Owed::default());
    assert!(matches!(alice.credits[0].source, CreditSource::Block { state: BlockState::Orphaned, .. }));
    look(&ledger, 1, Place::InChain { confirmations: 1 }).await;
    look(&ledger, 1, Place::InChain { confirmations: 100 }).await;
    settled(&ledger, 2).await;
    let alice = view(&ledger, "alice").await;
    assert_eq!(alice.owed, owed(3_804, 3_804, 3_804));
    let blocks: Vec<_> = alice.blocks.iter().map(|block| block.hash).collect();
    assert_eq!(blocks, [hash(2), hash(1)], "the newest first");
    let balances = ledger.balances().await.expect("balances");
    let listed = balances.iter().find(|row| row.account == "alice").expect("she is listed");
    assert_eq!((listed.sat, listed.mature_sat), (alice.owed.sat, alice.owed.mature_sat));
    let few = ledger.account("alice".to_owned(), Timestamp(0), 1).await.expect("read").expect("known");
    assert_eq!((few.credits.len(), few.blocks.len(), few.owed), (1, 1, alice.owed), "lists are bounded");
}

#[tokio::test]
async fn work_is_told_by_worker() {
    let dir = tempfile::tempdir().expect("a directory");
    let ledger = open(dir.path());
    let (slow, fast) = (worker(&ledger, "alice", "slow"), worker(&ledger, "alice", "fast"));
    let other = worker(&ledger, "bob", "fast");
    let hour = 3600;
    let mut last = ledger.append(&[share(slow, 1, 64.0), share(other, 1, 1000.0)]).await.expect("room");
    last = last.max(ledger.append(&[share(slow, hour, 2.0), share(fast, hour, 8.0)]).await.expect("room"));
    until(&ledger, last).await;
    let alice = view_at(&ledger, "alice", hour + 60).await;
    let names: Vec<_> = alice.workers.iter().map(|worker| worker.worker.as_str()).collect();
    assert_eq!(names, ["fast", "slow"]);
    assert_eq!((alice.done.shares, alice.done.work, alice.done.recent_work), (3, 74.0, 10.0));
    let slow = &alice.workers[1];
    assert_eq!((slow.done.shares, slow.done.work, slow.done.recent_work), (2, 66.0, 2.0));
    assert_eq!(slow.last_share_at, Timestamp(hour * 1000));
    let sum: f64 = alice.workers.iter().map(|worker| worker.done.hashrate.0).sum();
    assert!(sum > 0.0 && (sum - alice.done.hashrate.0).abs() < 1e-6 * sum);
    // Ten minutes later nothing of it is recent.
    assert_eq!(view_at(&ledger, "alice", 2 * hour).await.done.recent_work, 0.0);
}

#[tokio::test]
async fn credits_for_work_alone_and_fractions_are_seen() {
    let dir = tempfile::tempdir().expect("a directory");
    let ledger = open(dir.path());
    ledger.accruing(true).await.expect("written");
    ledger.template(template(1, 100));
    let alice = worker(&ledger, "alice", "");
    let last = ledger.append(&[share(alice, 1, 100.0), share(alice, 2, 100.0)]).await.expect("room");
    until(&ledger, last).await;
    assert_eq!(ledger.money().await.expect("money").unaccrued, Some(2));
    let open = ledger.open_accrual().await.expect("read").expect("shares wait");
    let policy = PolicyRecord {
        name: "pps".into(),
        version: "1.0.0".into(),
        hash: "ab".repeat(32),
        settings: "{}".into(),
    };
    let accrued = Accrued { account: "alice".into(), microsats: 7_250_000, reason: "work".into() };
    let settlement = AccrualSettlement {
        policy,
        first: open.first,
        through: open.through,
        input: open.tallies,
        answer: vec![accrued],
    };
    assert!(ledger.accrue(settlement).await.expect("booked"));
    let alice = view(&ledger, "alice").await;
    assert_eq!((alice.owed, alice.carried_microsats), (owed(7, 0, 7), 250_000));
    assert_eq!(alice.credits.len(), 1);
    assert_eq!(
        (alice.credits[0].amount_sat, &alice.credits[0].source),
        (7, &CreditSource::Work { first: ShareSeq(1), through: last })
    );
    let money = ledger.money().await.expect("money");
    assert_eq!((money.house.sat, money.accounts.sat, money.unaccrued), (-7, 7, Some(0)));
}

#[tokio::test]
async fn payouts_and_terms_are_seen_by_the_account_and_in_all() {
    let dir = tempfile::tempdir().expect("a directory");
    let ledger = open(dir.path());
    settled(&ledger, 1).await;
    for name in ["alice", "bob"] {
        let address = format!("address of {name}");
        ledger.payout_address(&AccountName::new(name).expect("a name"), &address).expect("room");
    }
    look(&ledger, 1, Place::InChain { confirmations: 100 }).await;
    look(&ledger, 1, Place::InChain { confirmations: 101 }).await;
    let last = ledger.append(&[share(worker(&ledger, "alice", "rig"), 9, 1.0)]).await.expect("room");
    until(&ledger, last).await;
    let mut desk = Desk::open(&database_in(dir.path())).expect("a desk");
    assert!(desk.hold("bob", "asked us to").expect("held"));
    let rules = Rules { minimum: Amount::from_sat(1_000), max_lines: 10, payable: &|_, _| Ok(()) };
    let (batch, new) = desk.prepare(&rules).expect("prepared").expect("something is due");
    assert!(new);
    let alice = view(&ledger, "alice").await;
    assert_eq!(alice.owed, Owed::default(), "taken at once");
    let seen = &alice.payouts[0];
    let told = (seen.amount_sat, seen.state.as_str(), seen.address.as_str(), seen.txid);
    assert_eq!(told, (3_804, "prepared", "address of alice", None));
    let bob = view(&ledger, "bob").await;
    assert_eq!((bob.owed.due_sat, bob.terms.held.as_deref()), (1_268, Some("asked us to")));
    assert!(bob.payouts.is_empty());

    let money = ledger.money().await.expect("money");
    assert_eq!((money.accounts.sat, money.accounts.due_sat), (1_268, 1_268));
    let first = &money.open_payouts[0];
    assert_eq!((first.state.as_str(), first.lines, first.amount_sat), ("prepared", 1, 3_804));
    let txid = Txid::from_byte_array([7; 32]);
    desk.sent(batch.id, txid, None).expect("sent");
    desk.confirmed(batch.id, txid, 321, Amount::from_sat(150)).expect("confirmed");
    let rows = ledger.payout_rows(10).await.expect("rows");
    let row = &rows[0];
    assert_eq!((row.state.as_str(), row.txid, row.height), ("confirmed", Some(txid), Some(321)));
    assert_eq!((row.fee_sat, row.lines, row.amount_sat), (Some(150), 1, 3_804));
    assert_eq!(view(&ledger, "alice").await.payouts[0].txid, Some(txid));
    assert!(ledger.money().await.expect("money").open_payouts.is_empty());
}

#[tokio::test]
async fn the_pool_sees_what_it_owes_what_it_has_and_what_waits() {
    let dir = tempfile::tempdir().expect("a directory");
    let ledger = open(dir.path());
    settled(&ledger, 1).await;
    look(&ledger, 1, Place::InChain { confirmations: 1 }).await;
    look(&ledger, 1, Place::InChain { confirmations: 100 }).await;
    settled(&ledger, 2).await;
    // One that no policy has settled.
    let carol = worker(&ledger, "carol", "");
    ledger.append(&[share(carol, 3, 1.0)]).await.expect("room");
    ledger.block_found(block(3, carol.1, Window::Round)).await.expect("written");
    ledger.block_verdict(hash(3), Verdict::Accepted).await.expect("known");
    let money = ledger.money().await.expect("money");
    assert_eq!((money.held_rounds, money.unaccrued), (1, None));
    assert_eq!(money.accounts, owed(5_072, 5_072, 5_072));
    // What the coinbases paid to the pool, less its fee, is owed.
    assert_eq!((money.house.mature_sat, money.house.immature_sat), (-5_072, -5_072));
    let accounts: Vec<_> = money.balances.iter().map(|(name, owed)| (name.as_str(), owed.sat)).collect();
    assert_eq!(accounts, [("alice", 7_608), ("bob", 2_536)], "the largest first");
}

/// Two blocks of ours at one height: each has its round, and only the one in the chain counts.
#[tokio::test]
async fn of_two_blocks_at_one_height_one_counts_and_they_may_change_places() {
    let dir = tempfile::tempdir().expect("a directory");
    let ledger = open(dir.path());
    settled(&ledger, 1).await;
    look(&ledger, 1, Place::InChain { confirmations: 1 }).await;
    settled(&ledger, 2).await;
    let heights: Vec<u32> = ledger.blocks(10).await.expect("blocks").iter().map(|row| row.height).collect();
    assert_eq!(heights, [100, 100]);
    let one_round = owed(0, 3_804, 0);
    for (inside, outside) in [(2, 1), (1, 2), (2, 1)] {
        // Both in one look, as the watch enters them.
        let places = vec![(hash(inside), Place::InChain { confirmations: 2 }), (hash(outside), Place::Aside)];
        ledger.block_places(places).await.expect("known");
        let alice = view(&ledger, "alice").await;
        assert_eq!(alice.owed, one_round, "{inside} is in the chain");
        for credit in &alice.credits {
            let CreditSource::Block { hash: source, state, .. } = &credit.source else {
                panic!("{credit:?}")
            };
            assert_eq!(*state == BlockState::Immature, *source == hash(inside), "{credit:?}");
        }
        assert_eq!(ledger.books_sum().await.expect("a sum"), 0);
    }
    look(&ledger, 2, Place::InChain { confirmations: 100 }).await;
    assert_eq!(view(&ledger, "alice").await.owed, owed(3_804, 0, 3_804));
}
