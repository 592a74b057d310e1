//! A desk beside a pool that writes, and two desks at once.

use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Barrier};
use std::thread;
use std::time::Duration;

use sluice_core::ids::ShareSeq;
use sluice_ledger::Ledger;
use tokio::task::spawn_blocking;
use tokio::time::timeout;

use crate::pool::{DEEP, balance, desk, earn, paid, prepare, rules, txid};
use crate::support::{number, open, share, sql, until, worker};

/// Long enough for a busy machine; the work takes well under a second.
const PATIENCE: Duration = Duration::from_secs(60);
/// So much each does at least while the other works.
const ROUNDS: usize = 40;
const SHARES: u64 = 40;

async fn keep_mining(ledger: Ledger, busy: Arc<AtomicBool>) {
    let miner = worker(&ledger, "miner", "");
    while busy.load(Ordering::Relaxed) {
        let last = ledger.append(&[share(miner, 100, 1.0)]).await.expect("room");
        until(&ledger, last).await;
    }
}

/// Batches that are cancelled, and at last one that is sent. Returns how many there were.
fn keep_paying(dir: &Path, ledger: &Ledger) -> usize {
    let mut desk = desk(dir);
    let enough = ShareSeq(ledger.committed().borrow().0 + SHARES);
    let mut rounds = 1;
    while rounds < ROUNDS || *ledger.committed().borrow() < enough {
        let batch = prepare(&mut desk);
        desk.hold("alice", &format!("round {rounds}")).expect("held");
        desk.release("alice").expect("released");
        desk.cancel(batch.id).expect("cancelled");
        rounds += 1;
    }
    let batch = prepare(&mut desk);
    desk.sent(batch.id, txid(1), None).expect("sent");
    rounds
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn shares_are_committed_while_a_desk_writes_and_the_other_way_round() {
    let dir = tempfile::tempdir().expect("a directory");
    let ledger = open(dir.path());
    earn(&ledger, 1, &[("alice", 700), ("bob", 200)], DEEP).await;
    let health = ledger.health();
    let busy = Arc::new(AtomicBool::new(true));
    let mining = tokio::spawn(keep_mining(ledger.clone(), Arc::clone(&busy)));
    let (place, pool) = (dir.path().to_owned(), ledger.clone());
    let paying = spawn_blocking(move || keep_paying(&place, &pool));
    let batches = timeout(PATIENCE, paying).await.expect("in time").expect("no panic");
    busy.store(false, Ordering::Relaxed);
    timeout(PATIENCE, mining).await.expect("in time").expect("no panic");
    assert!(!health.has_changed().expect("open"), "no commit ever failed");
    assert_eq!((balance(&ledger, "alice").await, balance(&ledger, "bob").await), (0, 0));
    assert_eq!(ledger.books_sum().await.expect("a sum"), 0);
    ledger.close().await;
    assert_eq!(number(&sql(dir.path()), "SELECT count(*) FROM payouts"), batches as i64);
}

#[tokio::test]
async fn two_desks_at_once_prepare_one_batch() {
    let dir = tempfile::tempdir().expect("a directory");
    let ledger = open(dir.path());
    earn(&ledger, 1, &[("alice", 700), ("bob", 200)], DEEP).await;
    let desks = 4;
    let start = Arc::new(Barrier::new(desks));
    let clerks: Vec<_> = (0..desks)
        .map(|_| {
            let (start, mut desk) = (Arc::clone(&start), desk(dir.path()));
            thread::spawn(move || {
                start.wait();
                desk.prepare(&rules(1, 9)).expect("prepared").expect("two accounts")
            })
        })
        .collect();
    let batches: Vec<_> = clerks.into_iter().map(|clerk| clerk.join().expect("no panic")).collect();
    assert_eq!(batches.iter().filter(|(_, new)| *new).count(), 1);
    assert!(batches.iter().all(|(batch, _)| *batch == batches[0].0));
    assert_eq!(paid(&batches[0].0), [("alice", 700), ("bob", 200)]);
    assert_eq!(balance(&ledger, "alice").await, 0);
    ledger.close().await;
}
