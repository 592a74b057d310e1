//! Folding on a disk that is full: nothing is lost, nothing is counted twice, and it goes on by itself.

use std::sync::atomic::Ordering;

use sluice_core::bitcoin::BlockHash;
use sluice_core::bitcoin::hashes::Hash;
use sluice_core::ids::{AccountName, Protocol, TemplateId, WorkerName};
use sluice_core::share::ShareRecord;
use tokio::time::{Duration, timeout};

use super::*;
use crate::open::Durability;
use crate::{LedgerConfig, LedgerHealth};

const COUNT: usize = 3_000;

#[tokio::test]
async fn a_full_disk_delays_a_fold() {
    let dir = tempfile::tempdir().expect("a directory");
    let config =
        LedgerConfig { dir: dir.path().to_owned(), durability: Durability::Process, queue_limit: COUNT };
    let ledger = Ledger::open(&config).expect("a ledger");
    let names = (AccountName::new("alice").expect("a name"), WorkerName::new("").expect("a name"));
    let (account, worker) = ledger.worker(&names.0, &names.1).expect("room");
    let share = ShareRecord {
        at: Timestamp(1),
        account,
        worker,
        protocol: Protocol::StratumV1,
        template: TemplateId(1),
        difficulty: Difficulty::ONE,
        hash: BlockHash::from_byte_array([7; 32]),
    };
    ledger.append(&vec![share; COUNT]).await.expect("room");
    ledger.save_totals().await.expect("saved");
    let limit = |pages| ledger.shared().page_limit.store(pages, Ordering::Relaxed);
    limit(1);
    // An hour's row needs a page only where there are many: take all room by a job that needs much.
    let big = ledger.transact(|transaction, _| {
        let text = "UPDATE workers SET name = (SELECT hex(zeroblob(1000000)))";
        Ok(transaction.execute(text, [])?)
    });
    let needed = Needed { window: Window::None, network_difficulty: Difficulty::ONE };
    let fold = ledger.fold(Timestamp(2), needed);
    let release = async {
        let mut health = ledger.health();
        health.wait_for(|health| *health != LedgerHealth::Healthy).await.expect("open");
        assert_eq!(ledger.folded().await.expect("a number"), ShareSeq(0));
        limit(0);
    };
    let all = async { tokio::join!(big, fold, release) };
    let (_, folded, ()) = timeout(Duration::from_secs(60), all).await.expect("in good time");
    assert_eq!(folded.expect("folded").shares, COUNT as u64 - 1);
    assert_eq!(ledger.totals().await.expect("totals").shares, COUNT as u64);
}
