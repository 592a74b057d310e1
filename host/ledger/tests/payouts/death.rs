//! A desk that dies, or is refused, at any point of a step leaves all of the step or nothing.

use std::io::{BufRead, BufReader};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::process::{Command, Stdio};

use sluice_core::bitcoin::Amount;
use sluice_ledger::payouts::{BatchState, Desk, Rules, Unpayable};

use crate::pool::{DEEP, balance, coin, desk, earn, prepare, rules, sat, txid};
use crate::support::{number, open, sql};

const CREDITS: [(&str, u64); 3] = [("alice", 700), ("bob", 200), ("carol", 300)];
/// Tells the child process which ledger to work on.
const DIRECTORY: &str = "SLUICE_TEST_LEDGER";
/// How often a desk is killed in one test.
const KILLS: usize = 25;

async fn owing(dir: &Path) {
    let ledger = open(dir);
    earn(&ledger, 1, &CREDITS, DEEP).await;
    ledger.close().await;
}

fn rows(dir: &Path, table: &str) -> i64 {
    number(&sql(dir), &format!("SELECT count(*) FROM {table}"))
}

/// Everything that a step could have left.
fn traces(dir: &Path) -> Vec<i64> {
    ["payouts", "payout_lines", "payout_inputs", "journal", "entries", "terms"]
        .map(|table| rows(dir, table))
        .to_vec()
}

#[tokio::test]
async fn a_fault_at_any_row_of_a_batch_leaves_nothing_of_it() {
    let dir = tempfile::tempdir().expect("a directory");
    owing(dir.path()).await;
    let before = traces(dir.path());
    let faults = [
        "BEFORE INSERT ON payouts",
        "BEFORE INSERT ON payout_lines WHEN NEW.line = 2",
        "BEFORE INSERT ON journal WHEN NEW.payout IS NOT NULL",
        "BEFORE INSERT ON entries WHEN NEW.cause = 'payout' AND NEW.line = 1",
        "BEFORE INSERT ON entries WHEN NEW.book = 'payout'",
        "BEFORE UPDATE OF sealed ON journal WHEN NEW.payout IS NOT NULL",
    ];
    for fault in faults {
        let trigger = format!("CREATE TRIGGER fault {fault} BEGIN SELECT raise(ABORT, 'a fault'); END");
        sql(dir.path()).execute_batch(&trigger).expect("a trigger");
        let refused = desk(dir.path()).prepare(&rules(1, 9)).expect_err("it went through");
        assert!(refused.to_string().contains("a fault"), "{refused}");
        assert_eq!(traces(dir.path()), before, "{fault}");
        sql(dir.path()).execute_batch("DROP TRIGGER fault").expect("dropped");
    }
    assert_eq!(prepare(&mut desk(dir.path())).total(), sat(1_200));
}

#[tokio::test]
async fn a_fault_in_a_later_step_leaves_the_batch_where_it_was() {
    let dir = tempfile::tempdir().expect("a directory");
    owing(dir.path()).await;
    let mut desk = desk(dir.path());
    let batch = prepare(&mut desk);
    desk.reserve(batch.id, &[coin(1)]).expect("drafted");
    let fault =
        "CREATE TRIGGER fault BEFORE UPDATE OF sealed ON journal BEGIN SELECT raise(ABORT, 'a fault'); END";
    sql(dir.path()).execute_batch(fault).expect("a trigger");
    let before = traces(dir.path());
    assert!(desk.cancel(batch.id).is_err());
    assert_eq!(desk.batch(batch.id).expect("there").state, BatchState::Prepared);
    desk.sent(batch.id, txid(1), None).expect("books nothing");
    assert!(desk.confirmed(batch.id, txid(1), 200, sat(9)).is_err());
    assert!(desk.conflicted(batch.id, txid(2), coin(1).outpoint).is_err());
    assert_eq!(desk.batch(batch.id).expect("there").state, BatchState::Sent { txid: txid(1) });
    assert_eq!(traces(dir.path()), before);
    sql(dir.path()).execute_batch("DROP TRIGGER fault").expect("dropped");
    assert!(desk.confirmed(batch.id, txid(1), 200, sat(9)).expect("confirmed"));
}

#[tokio::test]
async fn a_panic_under_the_lock_frees_it_and_leaves_nothing() {
    let dir = tempfile::tempdir().expect("a directory");
    owing(dir.path()).await;
    let before = traces(dir.path());
    let panics = |_: &str, _: Amount| -> Result<(), Unpayable> { panic!("no such network") };
    let asked = Rules { payable: &panics, ..rules(1, 9) };
    let mut one = desk(dir.path());
    assert!(catch_unwind(AssertUnwindSafe(|| one.prepare(&asked))).is_err());
    assert_eq!(traces(dir.path()), before);
    assert_eq!(prepare(&mut desk(dir.path())).total(), sat(1_200));
    assert_eq!(one.heads(1).expect("read")[0].lines, 3, "the one that panicked goes on");
}

/// Runs the test of this name in a process of its own, on the ledger in `dir`.
fn child(dir: &Path, test: &str) -> Command {
    let mut command = Command::new(std::env::current_exe().expect("this program"));
    command.args(["--exact", &format!("death::{test}"), "--nocapture"]).env(DIRECTORY, dir);
    command
}

#[tokio::test]
async fn a_process_that_dies_under_the_lock_frees_it_and_leaves_nothing() {
    let dir = tempfile::tempdir().expect("a directory");
    owing(dir.path()).await;
    let before = traces(dir.path());
    let died = child(dir.path(), "the_process_that_dies_under_the_lock")
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .expect("it ran");
    assert!(!died.success(), "it lived");
    assert_eq!(traces(dir.path()), before);
    assert_eq!(prepare(&mut desk(dir.path())).total(), sat(1_200));
}

/// The other process of the test above; by itself it does nothing.
#[test]
fn the_process_that_dies_under_the_lock() {
    let Some(dir) = std::env::var_os(DIRECTORY) else { return };
    let dies = |_: &str, _: Amount| -> Result<(), Unpayable> { std::process::abort() };
    let asked = Rules { payable: &dies, ..rules(1, 9) };
    desk(Path::new(&dir)).prepare(&asked).expect("dead by now");
}

#[tokio::test]
async fn a_desk_that_is_killed_at_any_moment_pays_nobody_twice() {
    let dir = tempfile::tempdir().expect("a directory");
    owing(dir.path()).await;
    for round in 0..KILLS {
        let mut clerk = child(dir.path(), "the_process_that_is_killed")
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("it runs");
        let steps = BufReader::new(clerk.stdout.take().expect("piped")).lines();
        let step = |line: &Result<String, _>| line.as_ref().is_ok_and(|line| line.starts_with("step"));
        // Killed soon after a step began, a different one each time.
        let seen = steps.filter(step).nth(round % 7);
        clerk.kill().expect("it ran");
        clerk.wait().expect("it ended");
        assert!(seen.is_some(), "it ended by itself");
        check(dir.path());
    }
    finish(&mut desk(dir.path()));
    let ledger = open(dir.path());
    for (account, _) in CREDITS {
        assert_eq!(balance(&ledger, account).await, 0, "{account}");
    }
    assert_eq!(ledger.books_sum().await.expect("a sum"), 0);
    ledger.close().await;
    let paid = "SELECT sum(amount) FROM payout_lines l JOIN payouts p ON p.id = l.payout WHERE p.state <> 'cancelled'";
    assert_eq!(number(&sql(dir.path()), paid), 1_200);
}

/// What accounts have and what batches hold is what was earned.
fn check(dir: &Path) {
    let books = sql(dir);
    assert_eq!(number(&books, "SELECT sum(amount) FROM entries"), 0);
    assert_eq!(number(&books, "SELECT count(*) FROM journal WHERE sealed = 0"), 0);
    let held = "SELECT (SELECT sum(amount) FROM entries WHERE book = 'account') + (SELECT coalesce(sum(amount), 0) \
                FROM payout_lines l JOIN payouts p ON p.id = l.payout WHERE p.state <> 'cancelled')";
    assert_eq!(number(&books, held), 1_200);
    let standing = "SELECT count(*) FROM payouts WHERE state <> 'cancelled'";
    assert!(number(&books, standing) <= 1);
}

fn finish(desk: &mut Desk) {
    if let Some((batch, _)) = desk.prepare(&rules(1, 9)).expect("asked") {
        desk.sent(batch.id, txid(9), None).expect("sent");
    }
}

/// The other process of the test above, which never ends by itself: batches that are prepared, drafted and cancelled.
#[test]
fn the_process_that_is_killed() {
    let Some(dir) = std::env::var_os(DIRECTORY) else { return };
    let mut desk = desk(Path::new(&dir));
    loop {
        println!("\nstep prepare");
        let (batch, _) = desk.prepare(&rules(1, 9)).expect("prepared").expect("three accounts");
        println!("\nstep reserve");
        let coins = desk.must_spend(batch.id).expect("read");
        let coins = if coins.is_empty() { vec![coin(1)] } else { coins };
        desk.reserve(batch.id, &coins).expect("drafted");
        println!("\nstep cancel");
        desk.cancel(batch.id).expect("cancelled");
    }
}
