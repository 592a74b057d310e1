//! Copies of the ledger: text that others can compute with, and backups of a ledger that is being written.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use serde_json::Value;
use sluice_core::policy::payout::Window;
use sluice_ledger::{Exported, FileError, Format, Ledger, Verdict, backup, database_in};

use crate::support::{block, hash, number, open, payment, settlement, share, sql, template, until, worker};

fn export(database: &Path, out: &Path, progress: &mut dyn FnMut(u64)) -> Result<Exported, FileError> {
    sluice_ledger::export(database, out, Format::Csv, progress)
}

async fn two_rounds(dir: &Path) -> Ledger {
    let ledger = open(dir);
    ledger.template(template(1, 100));
    let miners = [worker(&ledger, "alice", "a,b"), worker(&ledger, "bob", "")];
    for at in 1..=8 {
        let miner = miners[usize::from(at % 3 == 0)];
        ledger.append(&[share(miner, at, 0.3 + at as f64 / 7.0)]).await.expect("room");
        if at % 4 == 0 {
            let mut found = block(at, miners[1].1, Window::Round);
            found.payments = vec![payment("bob", 4_000), payment("", 1_123)];
            ledger.block_found(found).await.expect("written");
            ledger.block_verdict(hash(at), Verdict::Accepted).await.expect("known");
            let open = ledger.open_rounds().await.expect("rounds").remove(0);
            ledger.settle_round(hash(at), settlement(open.round)).await.expect("settled");
        }
    }
    ledger
}

fn lines(dir: &Path, file: &str) -> Vec<String> {
    fs::read_to_string(dir.join(file)).expect(file).lines().map(str::to_owned).collect()
}

#[tokio::test]
async fn what_is_exported_can_be_added_up_by_anybody() {
    let dir = tempfile::tempdir().expect("a directory");
    let ledger = two_rounds(dir.path()).await;
    let out = dir.path().join("books");
    let done = export(&database_in(dir.path()), &out, &mut |_| {}).expect("written");
    ledger.close().await;
    assert_eq!((done.shares, done.blocks, done.rounds, done.accounts), (8, 2, 2, 2));
    let shares = lines(&out, "shares.csv");
    assert_eq!(shares[0], "seq,at_ms,account,worker,template,protocol,difficulty,hash");
    assert!(shares[1].starts_with("1,1000,alice,\"a,b\",1,stratum_v1,0.44285714285714284,0100000000000000"));
    // The second round's work by account, in units of 2^-32 difficulty.
    let mut work: BTreeMap<&str, u64> = BTreeMap::new();
    for line in &shares[5..] {
        let difficulty: f64 = line.rsplit(',').nth(1).and_then(|text| text.parse().ok()).expect("a number");
        let account = line.split(',').nth(2).expect("a name");
        *work.entry(account).or_default() += (difficulty * 4_294_967_296.0).round() as u64;
    }
    let rounds = lines(&out, "rounds.jsonl");
    let round: Value = serde_json::from_str(&rounds[1]).expect("JSON");
    assert_eq!(round["block"], hash(8).to_string());
    assert_eq!(round["input"]["work_unit"], 2f64.powi(-32));
    let told: BTreeMap<&str, u64> = round["input"]["contributions"]
        .as_array()
        .expect("a list")
        .iter()
        .map(|one| (one["account"].as_str().expect("a name"), one["work"].as_u64().expect("a number")))
        .collect();
    assert_eq!(told, work);
    let amounts = lines(&out, "entries.csv");
    let sum: i64 = amounts[1..]
        .iter()
        .map(|line| line.split(',').nth(7).and_then(|text| text.parse::<i64>().ok()).expect("a number"))
        .sum();
    assert_eq!((sum, amounts.len() as u64), (0, done.entries + 1));
    let credits = |account: &str| -> i64 {
        let of = |line: &&String| line.contains(&format!(",account,{account},"));
        amounts.iter().filter(of).map(|line| line.split(',').nth(7).unwrap().parse::<i64>().unwrap()).sum()
    };
    assert_eq!(
        lines(&out, "accounts.csv")[1..],
        [format!("alice,,{}", credits("alice")), format!("bob,,{}", credits("bob"))]
    );
    assert_eq!(lines(&out, "payments.csv")[1], format!("{},1,bob,address-of-bob,4000", hash(4)));
    assert!(
        lines(&out, "blocks.csv")[1].starts_with(&format!("{},100,4000,bob,,1,8,4,5000,123,4,", hash(4)))
    );
    assert_eq!(lines(&out, "templates.csv").len(), 2);
}

#[tokio::test]
async fn an_export_never_mixes_with_what_is_there() {
    let dir = tempfile::tempdir().expect("a directory");
    two_rounds(dir.path()).await.close().await;
    let out = dir.path().join("books");
    fs::create_dir(&out).expect("made");
    export(&database_in(dir.path()), &out, &mut |_| {}).expect("an empty directory is fine");
    let error = export(&database_in(dir.path()), &out, &mut |_| {}).expect_err("it is full now");
    assert!(matches!(error, FileError::Exists { .. }), "{error}");
    assert_eq!(leftovers(dir.path()), 0);
}

fn leftovers(dir: &Path) -> usize {
    let names = fs::read_dir(dir).expect("readable").map(|entry| entry.expect("readable").file_name());
    names.filter(|name| name.to_string_lossy().contains("partial")).count()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_backup_of_a_busy_ledger_is_of_one_moment_and_opens() {
    let dir = tempfile::tempdir().expect("a directory");
    let ledger = two_rounds(dir.path()).await;
    let busy = Arc::new(AtomicBool::new(true));
    let writing = tokio::spawn(write_until_told(ledger.clone(), Arc::clone(&busy)));
    until(&ledger, sluice_core::ids::ShareSeq(5_000)).await;
    let file = dir.path().join("copy.db");
    let (database, target) = (database_in(dir.path()), file.clone());
    let done = tokio::task::spawn_blocking(move || backup(&database, &target, &mut |_, _| {}))
        .await
        .expect("no panic")
        .expect("copied");
    busy.store(false, Ordering::Relaxed);
    let written = writing.await.expect("no panic");
    ledger.close().await;
    assert!(done.shares >= 5_000 && done.shares <= written, "{} of {written}", done.shares);
    assert_eq!(done.rounds, 2);
    assert_eq!(fs::metadata(&file).expect("there").len(), done.bytes);
    assert_eq!(leftovers(dir.path()), 0);
    // Moved to where a pool looks for it, it is a ledger.
    let restored = tempfile::tempdir().expect("a directory");
    fs::copy(&file, database_in(restored.path())).expect("copied");
    assert_eq!(
        number(&sql(restored.path()), "SELECT count(*) FROM shares"),
        i64::try_from(done.shares).expect("few")
    );
    let ledger = open(restored.path());
    assert_eq!(ledger.totals().await.expect("totals").shares, done.shares);
    assert_eq!(ledger.books_sum().await.expect("a sum"), 0);
    ledger.close().await;
}

/// Returns the last share.
async fn write_until_told(ledger: Ledger, busy: Arc<AtomicBool>) -> u64 {
    let alice = worker(&ledger, "alice", "busy");
    let mut last = sluice_core::ids::ShareSeq(0);
    let mut at = 100;
    while busy.load(Ordering::Relaxed) {
        let shares: Vec<_> = (0..64).map(|step| share(alice, at + step, 1.0)).collect();
        last = ledger.append(&shares).await.expect("room");
        at += 64;
        until(&ledger, last).await;
    }
    last.0
}

#[tokio::test]
async fn a_backup_never_replaces_a_file_and_leaves_nothing_behind() {
    let dir = tempfile::tempdir().expect("a directory");
    two_rounds(dir.path()).await.close().await;
    let file = dir.path().join("copy.db");
    fs::write(&file, "precious").expect("written");
    let error = backup(&database_in(dir.path()), &file, &mut |_, _| {}).expect_err("it is there");
    assert!(matches!(error, FileError::Exists { .. }), "{error}");
    assert_eq!(fs::read_to_string(&file).expect("there"), "precious");
    let nowhere = dir.path().join("no/such/copy.db");
    let error = backup(&database_in(dir.path()), &nowhere, &mut |_, _| {}).expect_err("no directory");
    assert!(matches!(error, FileError::Write { .. }), "{error}");
    assert_eq!(leftovers(dir.path()), 0);
}

#[test]
fn what_is_no_ledger_is_not_copied() {
    let dir = tempfile::tempdir().expect("a directory");
    let (missing, target) = (dir.path().join("ledger.db"), dir.path().join("copy"));
    assert!(matches!(backup(&missing, &target, &mut |_, _| {}), Err(FileError::Missing { .. })));
    assert!(matches!(export(&missing, &target, &mut |_| {}), Err(FileError::Missing { .. })));
    fs::write(&missing, "this was a ledger once".repeat(400)).expect("written");
    assert!(matches!(export(&missing, &target, &mut |_| {}), Err(FileError::Foreign { .. })));
    fs::remove_file(&missing).expect("removed");
    sql(dir.path()).execute_batch("CREATE TABLE other (id INTEGER)").expect("made");
    assert!(matches!(export(&missing, &target, &mut |_| {}), Err(FileError::Foreign { .. })));
    assert!(!target.exists());
}
