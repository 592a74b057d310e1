//! A disk that is full, and what waits meanwhile. The limit on pages makes SQLite answer as a full disk does.

use std::sync::atomic::Ordering;

use sluice_core::bitcoin::BlockHash;
use sluice_core::bitcoin::hashes::Hash;
use sluice_core::ids::{Protocol, TemplateId};
use tempfile::TempDir;

use super::*;

const QUEUE: usize = 1000;

fn opened() -> (TempDir, Ledger, Vec<ShareRecord>) {
    let dir = tempfile::tempdir().expect("a directory");
    let config = LedgerConfig { dir: dir.path().into(), durability: Durability::Process, queue_limit: QUEUE };
    let ledger = Ledger::open(&config).expect("a ledger");
    let (account, worker) = ledger
        .worker(&AccountName::new("alice").expect("a name"), &WorkerName::new("").expect("a name"))
        .expect("room");
    let share = ShareRecord {
        at: Timestamp(1),
        account,
        worker,
        protocol: Protocol::StratumV2,
        template: TemplateId(1),
        difficulty: Difficulty::ONE,
        hash: BlockHash::from_byte_array([7; 32]),
    };
    (dir, ledger, vec![share; QUEUE])
}

fn limit_pages(ledger: &Ledger, pages: u32) {
    ledger.0.shared.page_limit.store(pages, Ordering::Relaxed);
}

async fn failing(ledger: &Ledger) -> String {
    let mut health = ledger.health();
    let state = health.wait_for(|health| *health != LedgerHealth::Healthy).await.expect("open").clone();
    match state {
        LedgerHealth::Failing { error, .. } => error,
        LedgerHealth::Healthy => unreachable!("waited for the other"),
    }
}

#[tokio::test]
async fn a_full_disk_acknowledges_nothing_raises_the_alarm_and_recovers() {
    let (_dir, ledger, shares) = opened();
    let mut committed = ledger.committed();
    ledger.append(&shares[..1]).await.expect("open");
    committed.wait_for(|seq| seq.0 == 1).await.expect("open");

    limit_pages(&ledger, 1);
    ledger.append(&shares).await.expect("open");
    let error = failing(&ledger).await;
    assert!(error.contains("full"), "{error}");
    assert_eq!(*committed.borrow(), ShareSeq(1), "nothing is acknowledged");

    limit_pages(&ledger, 0);
    committed.wait_for(|seq| seq.0 == 1001).await.expect("open");
    ledger.health().wait_for(|health| *health == LedgerHealth::Healthy).await.expect("open");
    let all = ledger.contributions(Window::Round, Difficulty::ONE).await.expect("readable");
    assert_eq!((all.list[0].shares, all.through), (1001, ShareSeq(1001)), "each once");
    let stored: i64 = ledger
        .transact(|transaction, _| {
            Ok(transaction.query_row("SELECT count(*) FROM shares", [], |row| row.get(0))?)
        })
        .await
        .expect("readable");
    assert_eq!(stored, 1001);
}

#[tokio::test]
async fn a_full_queue_makes_the_next_append_wait() {
    let (_dir, ledger, shares) = opened();
    limit_pages(&ledger, 1);
    ledger.append(&shares).await.expect("open");
    failing(&ledger).await;
    // The writer holds the first batch; these fill the queue.
    ledger.append(&shares).await.expect("open");
    let mut waiting = Box::pin(ledger.append(&shares[..1]));
    tokio::select! {
        biased;
        _ = &mut waiting => panic!("the queue is full"),
        () = std::future::ready(()) => {}
    }
    limit_pages(&ledger, 0);
    assert_eq!(waiting.await, Ok(ShareSeq(2001)));
    ledger.committed().wait_for(|seq| seq.0 == 2001).await.expect("open");
}

#[tokio::test]
async fn a_block_waits_for_the_disk_behind_its_shares() {
    let (_dir, ledger, shares) = opened();
    limit_pages(&ledger, 1);
    ledger.append(&shares).await.expect("open");
    failing(&ledger).await;
    let row = BlockRow {
        hash: shares[0].hash,
        height: 1,
        template: TemplateId(1),
        at: Timestamp(1),
        finder: shares[0].worker,
        difficulty: Difficulty::ONE,
        network_difficulty: Difficulty::ONE,
        reward: sluice_core::bitcoin::Amount::from_sat(1),
        payments: Vec::new(),
        window: Window::Round,
    };
    let found = tokio::spawn({
        let ledger = ledger.clone();
        async move { ledger.block_found(row).await }
    });
    limit_pages(&ledger, 0);
    found.await.expect("no panic").expect("written");
    let round = ledger.round_with(shares[0].hash, Window::Round).await.expect("a round");
    assert_eq!(round.contributions[0].shares, 1000);
}

#[tokio::test]
async fn closing_while_the_disk_refuses_does_not_hang() {
    let (dir, ledger, shares) = opened();
    limit_pages(&ledger, 1);
    ledger.append(&shares).await.expect("open");
    failing(&ledger).await;
    let mut committed = ledger.committed();
    ledger.close().await;
    assert!(committed.changed().await.is_err(), "closed, not acknowledged");
    let config = LedgerConfig { dir: dir.path().into(), durability: Durability::Power, queue_limit: QUEUE };
    let ledger = Ledger::open(&config).expect("whole");
    assert_eq!(*ledger.committed().borrow(), ShareSeq(0));
}
