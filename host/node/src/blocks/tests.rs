use std::sync::mpsc;
use std::time::Duration;

use serde_json::json;
use sluice_core::bitcoin::block::{Header, Version};
use sluice_core::bitcoin::hashes::Hash;
use sluice_core::bitcoin::{BlockHash, CompactTarget, TxMerkleNode, consensus};
use sluice_core::ids::TemplateId;

use super::*;
use crate::rpc::RpcError;
use crate::sink::SubmitAnswer;

const PATIENCE: Duration = Duration::from_secs(30);

/// A node that says what it is told, one answer at a time; without one it is away.
struct Scripted {
    name: &'static str,
    answers: Mutex<Vec<Result<SubmitAnswer, RpcError>>>,
    asked: mpsc::SyncSender<Vec<u8>>,
}

impl BlockSink for Scripted {
    fn name(&self) -> String {
        self.name.into()
    }

    fn submit(&self, block: &[u8]) -> Result<SubmitAnswer, RpcError> {
        let _ = self.asked.try_send(block.to_vec());
        let mut answers = self.answers.lock().unwrap();
        if answers.is_empty() { Err(away()) } else { answers.remove(0) }
    }
}

fn away() -> RpcError {
    RpcError::Unreachable("away".into())
}

fn node(
    name: &'static str,
    answers: Vec<Result<SubmitAnswer, RpcError>>,
) -> (Arc<dyn BlockSink>, mpsc::Receiver<Vec<u8>>) {
    let (asked, receiver) = mpsc::sync_channel(1000);
    (Arc::new(Scripted { name, answers: Mutex::new(answers), asked }), receiver)
}

fn rejected(reason: &str) -> SubmitAnswer {
    SubmitAnswer::Rejected(reason.into())
}

/// A header and some bytes; nobody here looks further.
fn block(number: u32) -> FoundBlock {
    let header = Header {
        version: Version::TWO,
        prev_blockhash: BlockHash::all_zeros(),
        merkle_root: TxMerkleNode::all_zeros(),
        time: 1,
        bits: CompactTarget::from_consensus(0x207f_ffff),
        nonce: number,
    };
    let mut bytes = consensus::serialize(&header);
    bytes.extend_from_slice(b"\nthe rest\n");
    FoundBlock { hash: header.block_hash(), height: 7, block: bytes, template: TemplateId(3) }
}

/// Waits for an outcome of `hash` other than pending.
fn outcome(events: &mut broadcast::Receiver<BlockEvent>, hash: BlockHash) -> Outcome {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    runtime.block_on(async {
        loop {
            let event = tokio::time::timeout(PATIENCE, events.recv()).await.unwrap().unwrap();
            if event.hash == hash && event.outcome != Outcome::Pending {
                return event.outcome;
            }
        }
    })
}

#[test]
fn it_is_on_disk_before_any_node_sees_it() {
    let dir = tempfile::tempdir().unwrap();
    let found = block(1);
    let path = dir.path().join(format!("{}.block", found.hash));
    struct Looks(PathBuf, mpsc::SyncSender<bool>);
    impl BlockSink for Looks {
        fn name(&self) -> String {
            "looks".into()
        }
        fn submit(&self, block: &[u8]) -> Result<SubmitAnswer, RpcError> {
            let file = std::fs::read(&self.0).unwrap_or_default();
            self.1.send(file.ends_with(block)).unwrap();
            Ok(SubmitAnswer::Accepted)
        }
    }
    let (send, seen) = mpsc::sync_channel(1);
    let (store, mut events) =
        BlockStore::open(dir.path(), vec![Arc::new(Looks(path.clone(), send))]).unwrap();
    store.found_blocking(found.clone(), json!({ "worker": "w" })).unwrap();
    assert!(seen.recv_timeout(PATIENCE).unwrap());
    assert_eq!(outcome(&mut events, found.hash), Outcome::Accepted { node: "looks".into() });
    let record = store.records().unwrap().remove(0);
    assert_eq!((record.hash, record.height, record.facts), (found.hash, 7, json!({ "worker": "w" })));
    assert_eq!(record.outcome, Outcome::Accepted { node: "looks".into() });
    assert!(!path.with_added_extension("tmp").exists());
}

#[test]
fn what_has_no_verdict_is_submitted_again_at_the_next_start() {
    let dir = tempfile::tempdir().unwrap();
    let (away, asked) = node("a", vec![]);
    let (store, _events) = BlockStore::open(dir.path(), vec![away]).unwrap();
    let found = block(1);
    store.found_blocking(found.clone(), json!(5)).unwrap();
    asked.recv_timeout(PATIENCE).unwrap();
    drop(store);

    let (back, asked) = node("a", vec![Ok(SubmitAnswer::Accepted)]);
    let (store, mut events) = BlockStore::open(dir.path(), vec![back]).unwrap();
    assert_eq!(asked.recv_timeout(PATIENCE).unwrap(), found.block);
    assert_eq!(outcome(&mut events, found.hash), Outcome::Accepted { node: "a".into() });
    drop(store);

    // It has a verdict now.
    let (idle, asked) = node("a", vec![]);
    let (store, _events) = BlockStore::open(dir.path(), vec![idle]).unwrap();
    let second = block(2);
    store.found_blocking(second.clone(), json!(null)).unwrap();
    assert_eq!(asked.recv_timeout(PATIENCE).unwrap(), second.block);
}

#[test]
fn a_block_is_taken_once() {
    let dir = tempfile::tempdir().unwrap();
    let (sink, asked) = node("a", vec![Ok(SubmitAnswer::Accepted), Ok(rejected("duplicate-invalid"))]);
    let (store, mut events) = BlockStore::open(dir.path(), vec![sink]).unwrap();
    store.found_blocking(block(1), json!(1)).unwrap();
    outcome(&mut events, block(1).hash);
    store.found_blocking(block(1), json!(2)).unwrap();
    store.found_blocking(block(2), json!(3)).unwrap();
    assert_eq!(
        outcome(&mut events, block(2).hash),
        Outcome::Rejected { node: "a".into(), reason: "duplicate-invalid".into() }
    );
    assert_eq!(asked.try_iter().count(), 2);
    assert_eq!(
        store.records().unwrap().iter().map(|record| record.facts.clone()).collect::<Vec<_>>(),
        [1, 3]
    );
}

#[test]
fn transport_errors_are_retried_until_there_is_a_verdict() {
    let dir = tempfile::tempdir().unwrap();
    let later = Ok(SubmitAnswer::Inconclusive);
    let (sink, asked) = node("a", vec![Err(away()), Err(RpcError::Status(503)), later]);
    let (store, mut events) = BlockStore::open(dir.path(), vec![sink]).unwrap();
    store.found_blocking(block(1), json!(1)).unwrap();
    assert_eq!(outcome(&mut events, block(1).hash), Outcome::Inconclusive { node: "a".into() });
    assert_eq!(asked.try_iter().count(), 3);
    assert!(dir.path().join(format!("{}.inconclusive", block(1).hash)).exists());
}

#[test]
fn any_node_accepting_is_accepted() {
    let dir = tempfile::tempdir().unwrap();
    let (no, _asked_no) = node("no", vec![Ok(rejected("high-hash"))]);
    let (slow, _asked) = node("slow", vec![Err(away()), Err(away()), Ok(SubmitAnswer::Accepted)]);
    let (store, mut events) = BlockStore::open(dir.path(), vec![no, slow]).unwrap();
    store.found_blocking(block(1), json!(1)).unwrap();
    assert_eq!(outcome(&mut events, block(1).hash), Outcome::Accepted { node: "slow".into() });
}

#[test]
fn more_blocks_than_fit_in_memory_wait_on_disk() {
    let dir = tempfile::tempdir().unwrap();
    let (away, _asked) = node("a", vec![]);
    let (store, _events) = BlockStore::open(dir.path(), vec![away]).unwrap();
    let count = 2 * u32::try_from(case::OPEN_LIMIT).unwrap() + 5;
    for number in 0..count {
        store.found_blocking(block(number), json!(number)).unwrap();
    }
    assert_eq!(store.shared.work().cases.hashes().len(), case::OPEN_LIMIT);
    drop(store);
    let answers = (0..count).map(|_| Ok(SubmitAnswer::Accepted)).collect();
    let (back, _asked) = node("a", answers);
    let (store, mut events) = BlockStore::open(dir.path(), vec![back]).unwrap();
    let mut accepted = std::collections::HashSet::new();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    while accepted.len() < count as usize {
        let event =
            runtime.block_on(async { tokio::time::timeout(PATIENCE, events.recv()).await }).unwrap().unwrap();
        if event.outcome != Outcome::Pending {
            assert!(accepted.insert(event.hash), "told twice");
        }
    }
    assert!(store.records().unwrap().iter().all(|record| record.outcome != Outcome::Pending));
}

#[test]
fn damaged_files_are_set_aside_and_the_others_used() {
    let dir = tempfile::tempdir().unwrap();
    let (away, _asked) = node("a", vec![]);
    let (store, _events) = BlockStore::open(dir.path(), vec![away]).unwrap();
    for number in 1..=5 {
        store.found_blocking(block(number), json!(number)).unwrap();
    }
    drop(store);
    let path = |number: u32, ending: &str| dir.path().join(format!("{}.{ending}", block(number).hash));
    let bytes = std::fs::read(path(1, "block")).unwrap();
    std::fs::write(path(1, "block"), &bytes[..bytes.len() - 1]).unwrap();
    std::fs::write(path(2, "block"), b"\0\xff").unwrap();
    std::fs::write(path(3, "block"), &bytes).unwrap();
    std::fs::write(path(4, "block"), b"").unwrap();
    // A write that was cut short.
    std::fs::write(dir.path().join(format!("{}.block.tmp", block(6).hash)), b"{").unwrap();
    let (back, asked) = node("a", vec![Ok(SubmitAnswer::Accepted)]);
    let (store, mut events) = BlockStore::open(dir.path(), vec![back]).unwrap();
    assert_eq!(outcome(&mut events, block(5).hash), Outcome::Accepted { node: "a".into() });
    assert_eq!(asked.try_iter().count(), 1);
    for number in 1..=4 {
        assert!(path(number, "damaged").exists() && !path(number, "block").exists(), "{number}");
    }
    assert_eq!(store.records().unwrap().len(), 1);
}

#[test]
fn a_block_that_cannot_be_written_is_submitted_all_the_same() {
    let dir = tempfile::tempdir().unwrap();
    let inside = dir.path().join("found");
    let (sink, asked) = node("a", vec![Ok(SubmitAnswer::Accepted)]);
    let (store, mut events) = BlockStore::open(&inside, vec![sink]).unwrap();
    std::fs::remove_dir_all(&inside).unwrap();
    let error = store.found_blocking(block(1), json!(1)).unwrap_err();
    assert!(matches!(error, JournalError::Io { action: "write", .. }));
    assert_eq!(asked.recv_timeout(PATIENCE).unwrap(), block(1).block);
    assert_eq!(outcome(&mut events, block(1).hash), Outcome::Accepted { node: "a".into() });
}
