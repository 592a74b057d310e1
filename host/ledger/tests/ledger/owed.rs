//! What coinbases may pay of balances.

use std::collections::BTreeMap;

use sluice_core::ids::TemplateId;
use sluice_core::policy::payout::Window;
use sluice_core::share::ShareRecord;
use sluice_ledger::payouts::Desk;
use sluice_ledger::{BlockRow, Ledger, MATURITY, Place, Verdict, database_in};

use crate::support::{REWARD, block, hash, open, payment, settlement, share, template, until, worker};

/// A block by Alice, whose coinbase paid all to the house; she did three quarters of the work, Bob the rest.
async fn found(ledger: &Ledger, number: u64) {
    ledger.template(template(1, 100));
    let (alice, bob) = (worker(ledger, "alice", ""), worker(ledger, "bob", ""));
    ledger.append(&[share(alice, number, 3.0), share(bob, number, 1.0)]).await.expect("room");
    let payments = vec![payment("", REWARD.to_sat())];
    let found = BlockRow { payments, ..block(number, alice.1, Window::Round) };
    ledger.block_found(found).await.expect("written");
}

async fn settle(ledger: &Ledger, number: u64) {
    ledger.block_verdict(hash(number), Verdict::Accepted).await.expect("known");
    let round = ledger.round_with(hash(number), Window::Round).await.expect("a round");
    ledger.settle_round(hash(number), settlement(round)).await.expect("settled");
}

async fn confirm(ledger: &Ledger, number: u64, confirmations: u32) {
    ledger.block_places(vec![(hash(number), Place::InChain { confirmations })]).await.expect("known");
}

async fn owed(ledger: &Ledger) -> BTreeMap<String, u64> {
    let owed = ledger.owed().await.expect("balances");
    owed.into_iter().map(|(account, amount)| (account, amount.to_sat())).collect()
}

fn sats(list: &[(&str, u64)]) -> BTreeMap<String, u64> {
    list.iter().map(|(account, sats)| ((*account).to_owned(), *sats)).collect()
}

#[tokio::test]
async fn what_is_final_is_owed_unless_a_block_waits() {
    let dir = tempfile::tempdir().expect("a directory");
    let ledger = open(dir.path());
    assert_eq!(owed(&ledger).await, sats(&[]));
    found(&ledger, 900).await;
    settle(&ledger, 900).await;
    confirm(&ledger, 900, MATURITY - 1).await;
    assert_eq!(owed(&ledger).await, sats(&[]), "a reorganisation could take it away");
    confirm(&ledger, 900, MATURITY).await;
    let both = sats(&[("alice", 3_804), ("bob", 1_268)]);
    assert_eq!(owed(&ledger).await, both, "and nothing of the house's");
    // Found, handed over, accepted: until it is settled nobody knows what it paid.
    found(&ledger, 901).await;
    assert_eq!(owed(&ledger).await, sats(&[]));
    ledger.block_verdict(hash(901), Verdict::Submitted).await.expect("known");
    assert_eq!(owed(&ledger).await, sats(&[]));
    settle(&ledger, 901).await;
    assert_eq!(owed(&ledger).await, both, "the second is not final");
    // An operator holds her back, from coinbases too.
    let mut desk = Desk::open(&database_in(dir.path())).expect("a desk");
    desk.hold("alice", "her key was stolen").expect("held");
    assert_eq!(owed(&ledger).await, sats(&[("bob", 1_268)]));
    desk.release("alice").expect("released");
    // One that is refused owes nothing and holds nothing up.
    found(&ledger, 902).await;
    let reason = "high-hash".to_owned();
    ledger.block_verdict(hash(902), Verdict::Rejected { reason }).await.expect("known");
    assert_eq!(owed(&ledger).await, both);
}

#[tokio::test]
async fn what_a_coinbase_paid_is_not_owed_even_before_it_is_final() {
    let dir = tempfile::tempdir().expect("a directory");
    let ledger = open(dir.path());
    found(&ledger, 900).await;
    settle(&ledger, 900).await;
    confirm(&ledger, 900, MATURITY).await;
    // Nobody worked for this one; it pays Alice 3,000 of her balance.
    let alice = worker(&ledger, "alice", "");
    let payments = vec![payment("alice", 3_000), payment("", REWARD.to_sat() - 3_000)];
    let second = BlockRow { payments, ..block(901, alice.1, Window::None) };
    ledger.block_found(second).await.expect("written");
    ledger.block_verdict(hash(901), Verdict::Accepted).await.expect("known");
    let mut round = ledger.round_with(hash(901), Window::None).await.expect("a round");
    round.contributions.clear();
    let mut settled = settlement(ledger.round_with(hash(900), Window::Round).await.expect("a round"));
    settled.input = round;
    settled.answer.truncate(1);
    settled.credits.truncate(1);
    settled.credits[0].amount = REWARD;
    settled.answer[0].portion = sluice_core::policy::payout::Portion::Weight(1);
    ledger.settle_round(hash(901), settled).await.expect("settled");
    confirm(&ledger, 901, 1).await;
    assert_eq!(owed(&ledger).await, sats(&[("alice", 804), ("bob", 1_268)]));
    // Gone, it may come back: the first template on it must not pay her again.
    ledger.block_places(vec![(hash(901), Place::Aside)]).await.expect("known");
    assert_eq!(owed(&ledger).await, sats(&[("alice", 804), ("bob", 1_268)]));
    ledger.template(template(2, 100 + 2 * MATURITY));
    let late = ShareRecord { template: TemplateId(2), ..share(alice, 1, 1.0) };
    until(&ledger, ledger.append(&[late]).await.expect("room")).await;
    assert_eq!(owed(&ledger).await, sats(&[("alice", 3_804), ("bob", 1_268)]));
}
