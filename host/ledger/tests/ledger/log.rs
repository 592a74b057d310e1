//! Shares go in once, in order, and stay.

use std::fs;
use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};

use sluice_core::ids::{Protocol, ShareSeq, TemplateId, WorkerId};
use sluice_core::units::{Hashrate, Timestamp};
use sluice_ledger::{AppendError, Durability, Ledger, LedgerConfig};

use crate::support::{config, hash, number, open, share, sql, template, until, worker};

#[tokio::test]
async fn shares_are_in_the_log_in_order_with_their_names_and_template() {
    let dir = tempfile::tempdir().expect("a directory");
    let ledger = open(dir.path());
    ledger.template(template(1, 100));
    let (alice, bob) = (worker(&ledger, "alice", "rig"), worker(&ledger, "bob", ""));
    assert_eq!(ledger.append(&[share(alice, 1, 2.5), share(bob, 2, 4.0)]).await, Ok(ShareSeq(2)));
    assert_eq!(ledger.append(&[share(alice, 3, 1.0)]).await, Ok(ShareSeq(3)));
    until(&ledger, ShareSeq(3)).await;

    let connection = sql(dir.path());
    let mut statement = connection
        .prepare(
            "SELECT s.seq, a.name, w.name, t.height, s.difficulty, s.hash FROM shares s JOIN workers w ON w.id = s.worker \
             JOIN accounts a ON a.id = w.account JOIN templates t ON t.id = s.template ORDER BY s.seq",
        )
        .expect("the schema");
    let rows: Vec<(i64, String, String, u32, f64, [u8; 16])> = statement
        .query_map([], |row| {
            Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?, row.get(4)?, row.get(5)?))
        })
        .expect("rows")
        .map(|row| row.expect("a row"))
        .collect();
    let half = |of: u64| <[u8; 16]>::try_from(&AsRef::<[u8]>::as_ref(&hash(of))[..16]).expect("16 bytes");
    let expected = [
        (1, "alice".to_owned(), "rig".to_owned(), 100, 2.5, half(1)),
        (2, "bob".to_owned(), String::new(), 100, 4.0, half(2)),
        (3, "alice".to_owned(), "rig".to_owned(), 100, 1.0, half(3)),
    ];
    assert_eq!(rows, expected);
}

#[tokio::test]
async fn a_share_of_an_unknown_worker_is_refused_with_its_whole_batch() {
    let dir = tempfile::tempdir().expect("a directory");
    let ledger = open(dir.path());
    let alice = worker(&ledger, "alice", "");
    let stranger = (alice.0, WorkerId(77));
    let refused = ledger.append(&[share(alice, 1, 1.0), share(stranger, 2, 1.0)]).await;
    assert_eq!(refused, Err(AppendError::UnknownWorker(WorkerId(77))));
    assert_eq!(ledger.append(&[share(alice, 3, 1.0)]).await, Ok(ShareSeq(1)));
    until(&ledger, ShareSeq(1)).await;
    assert_eq!(ledger.totals().await.expect("totals").shares, 1);
}

#[tokio::test]
async fn a_login_without_a_share_leaves_no_row() {
    let dir = tempfile::tempdir().expect("a directory");
    let ledger = open(dir.path());
    worker(&ledger, "idle", "rig");
    let busy = worker(&ledger, "busy", "rig");
    assert!(ledger.account_known("idle"), "somebody logged in");
    assert!(!ledger.account_known("nobody"));
    let last = ledger.append(&[share(busy, 1, 1.0)]).await.expect("room");
    until(&ledger, last).await;
    assert_eq!(number(&sql(dir.path()), "SELECT count(*) FROM accounts WHERE name = 'idle'"), 0);
    ledger.close().await;
    let ledger = open(dir.path());
    assert!(ledger.account_known("busy"));
    assert_eq!(worker(&ledger, "busy", "rig"), busy, "numbers stay");
}

#[tokio::test]
async fn the_latest_payout_address_counts_and_outlives_a_restart() {
    let dir = tempfile::tempdir().expect("a directory");
    let ledger = open(dir.path());
    let alice = worker(&ledger, "alice", "");
    let name = sluice_core::ids::AccountName::new("alice").expect("a name");
    assert_eq!(ledger.address_of("alice"), None);
    ledger.payout_address(&name, "first").expect("room");
    let last = ledger.append(&[share(alice, 1, 1.0)]).await.expect("room");
    until(&ledger, last).await;
    ledger.payout_address(&name, "second").expect("room");
    ledger.payout_address(&name, "second").expect("room");
    assert_eq!(ledger.address_of("alice").as_deref(), Some("second"));
    ledger.close().await;
    assert_eq!(open(dir.path()).address_of("alice").as_deref(), Some("second"));
    assert_eq!(number(&sql(dir.path()), "SELECT count(*) FROM addresses"), 2, "both, with their time");
}

#[tokio::test]
async fn templates_of_two_runs_do_not_mix() {
    let dir = tempfile::tempdir().expect("a directory");
    for (run, height) in [(1, 100), (2, 200)] {
        let ledger = open(dir.path());
        // The host numbers its templates from 1 in each process.
        ledger.template(template(1, height));
        let alice = worker(&ledger, "alice", "");
        ledger.append(&[share(alice, run, 1.0)]).await.expect("room");
        let untold = sluice_core::share::ShareRecord { template: TemplateId(9), ..share(alice, run, 1.0) };
        ledger.append(&[untold]).await.expect("room");
        ledger.close().await;
    }
    let connection = sql(dir.path());
    let height = |seq: u32| {
        number(
            &connection,
            &format!(
                "SELECT height FROM templates WHERE id = (SELECT template FROM shares WHERE seq = {seq})"
            ),
        )
    };
    assert_eq!((height(1), height(3)), (100, 200));
    assert_eq!(number(&connection, "SELECT count(*) FROM shares WHERE template = 0"), 2, "never announced");
}

#[tokio::test]
async fn the_logs_time_never_runs_backwards() {
    let dir = tempfile::tempdir().expect("a directory");
    let ledger = open(dir.path());
    let alice = worker(&ledger, "alice", "");
    ledger.append(&[share(alice, 10, 1.0), share(alice, 4, 1.0)]).await.expect("room");
    ledger.close().await;
    let ledger = open(dir.path());
    ledger.append(&[share(alice, 5, 1.0), share(alice, 11, 1.0)]).await.expect("room");
    ledger.close().await;
    let times = "SELECT group_concat(at_ms) FROM (SELECT at_ms FROM shares ORDER BY seq)";
    let times: String = sql(dir.path()).query_row(times, [], |row| row.get(0)).expect("times");
    assert_eq!(times, "10000,10000,10000,11000");
}

#[tokio::test]
async fn what_was_committed_survives_a_crash() {
    let dir = tempfile::tempdir().expect("a directory");
    let ledger = open(dir.path());
    let alice = worker(&ledger, "alice", "rig");
    let shares: Vec<_> = (1..=500).map(|number| share(alice, number, 1.0)).collect();
    let last = ledger.append(&shares).await.expect("room");
    until(&ledger, last).await;
    // What a dead process leaves: the files as they are, without a close.
    let left = tempfile::tempdir().expect("a directory");
    for file in ["ledger.db", "ledger.db-wal"] {
        fs::copy(dir.path().join(file), left.path().join(file)).expect("a copy");
    }
    let after = open(left.path());
    assert_eq!(*after.committed().borrow(), last);
    assert_eq!(after.totals().await.expect("totals"), ledger.totals().await.expect("totals"));
    assert_eq!(after.append(&[share(worker(&after, "alice", "rig"), 501, 1.0)]).await, Ok(ShareSeq(501)));
}

#[tokio::test]
async fn shares_of_many_tasks_are_all_there_once() {
    let dir = tempfile::tempdir().expect("a directory");
    let ledger =
        Ledger::open(&LedgerConfig { queue_limit: 16, durability: Durability::Power, ..config(dir.path()) })
            .expect("a ledger");
    let tasks: Vec<_> = (0..8u64)
        .map(|task| {
            let ledger = ledger.clone();
            tokio::spawn(async move {
                let id = worker(&ledger, &format!("account{task}"), "");
                for number in 0..100 {
                    let shares = [
                        share(id, task * 1000 + number * 2, 1.0),
                        share(id, task * 1000 + number * 2 + 1, 1.0),
                    ];
                    ledger.append(&shares).await.expect("open");
                }
            })
        })
        .collect();
    for task in tasks {
        task.await.expect("no panic");
    }
    ledger.close().await;
    let connection = sql(dir.path());
    assert_eq!(number(&connection, "SELECT count(*) FROM shares"), 1600);
    assert_eq!(number(&connection, "SELECT count(DISTINCT hash) FROM shares"), 1600);
    assert_eq!(number(&connection, "SELECT max(seq) FROM shares"), 1600);
}

#[tokio::test]
async fn nothing_is_taken_after_the_close() {
    let dir = tempfile::tempdir().expect("a directory");
    let ledger = open(dir.path());
    let alice = worker(&ledger, "alice", "");
    let (clone, mut committed) = (ledger.clone(), ledger.committed());
    ledger.append(&[share(alice, 1, 1.0)]).await.expect("room");
    ledger.close().await;
    assert_eq!(*committed.borrow_and_update(), ShareSeq(1), "what waited was written");
    assert!(committed.changed().await.is_err(), "nobody waits for ever");
    assert!(matches!(clone.append(&[share(alice, 2, 1.0)]).await, Err(AppendError::Stopped(_))));
}

#[tokio::test]
async fn workers_are_counted_and_the_counts_outlive_a_restart() {
    let dir = tempfile::tempdir().expect("a directory");
    let ledger = open(dir.path());
    let (slow, fast) = (worker(&ledger, "alice", "slow"), worker(&ledger, "alice", "fast"));
    // Long ago, then within ten minutes of second 10,000.
    let mut shares = vec![share(slow, 1, 64.0)];
    shares.extend((9_700..9_710).map(|at| share(fast, at, 6.0)));
    shares.push(share(slow, 9_800, 30.0));
    ledger.append(&shares).await.expect("room");
    until(&ledger, ShareSeq(12)).await;
    let now = Timestamp(10_000_000);
    let rows = ledger.workers(now, 10).await.expect("workers");
    let named: Vec<_> = rows.iter().map(|row| (row.worker.as_str(), row.shares, row.work)).collect();
    assert_eq!(named, [("fast", 10, 60.0), ("slow", 2, 94.0)], "the fastest first");
    // Over the time since the minute in which it began: second 9,660.
    assert_eq!(rows[0].hashrate, Hashrate(60.0 * 4_294_967_296.0 / 340.0));
    assert_eq!(rows[1].last_share_at, Timestamp(9_800_000));
    assert_eq!(rows[1].protocol, Protocol::StratumV1);
    assert_eq!(ledger.workers(now, 1).await.expect("workers").len(), 1);
    ledger.close().await;
    assert_eq!(open(dir.path()).workers(now, 10).await.expect("workers"), rows);
    let later = Timestamp(11_000_000);
    let idle = open(dir.path()).workers(later, 10).await.expect("workers");
    assert!(idle.iter().all(|row| row.hashrate == Hashrate(0.0)), "ten minutes without a share");
}

const CHILD_DIR: &str = "SLUICE_LEDGER_TEST_CHILD";
const KILLS: u64 = 5;

/// The process that `every_committed_share_survives_kill_9_once` kills; does nothing in an ordinary run.
#[tokio::test]
async fn child_that_is_killed() {
    let Ok(dir) = std::env::var(CHILD_DIR) else { return };
    let ledger = open(dir.as_ref());
    let alice = worker(&ledger, "alice", "rig");
    let mut next = ledger.committed().borrow().0 + 1;
    loop {
        let shares: Vec<_> = (next..next + 7).map(|number| share(alice, number, 1.0)).collect();
        let last = ledger.append(&shares).await.expect("open");
        until(&ledger, last).await;
        println!("committed {}", last.0);
        next = last.0 + 1;
    }
}

#[tokio::test]
async fn every_committed_share_survives_kill_9_once() {
    let dir = tempfile::tempdir().expect("a directory");
    for kill in 1..=KILLS {
        let acknowledged = run_and_kill(dir.path().to_str().expect("a path"), 20 * kill);
        let ledger = open(dir.path());
        let found = ledger.committed().borrow().0;
        assert!(
            acknowledged > 0 && found >= acknowledged,
            "{found} of {acknowledged} acknowledged are there"
        );
        assert_eq!(ledger.totals().await.expect("totals").shares, found);
        ledger.close().await;
        let connection = sql(dir.path());
        // The hash is made of the number, so each is there once and in its place.
        let once = "SELECT count(DISTINCT hash) FROM shares WHERE seq <= ";
        assert_eq!(
            number(&connection, &format!("{once}{acknowledged}")),
            i64::try_from(acknowledged).expect("small")
        );
        assert_eq!(number(&connection, "SELECT count(*) FROM shares"), i64::try_from(found).expect("small"));
    }
}

/// Runs the child until it has said so many times that shares are committed, kills it, and returns the last it said.
fn run_and_kill(dir: &str, lines: u64) -> u64 {
    let mut child = Command::new(std::env::current_exe().expect("our own path"))
        .args(["--exact", "log::child_that_is_killed", "--nocapture"])
        .env(CHILD_DIR, dir)
        .stdout(Stdio::piped())
        .spawn()
        .expect("a child");
    let mut output = BufReader::new(child.stdout.take().expect("a pipe")).lines();
    let mut said = 0;
    let mut last = 0;
    let mut see = |line: std::io::Result<String>| {
        if let Some(seq) = line.ok().and_then(|line| line.strip_prefix("committed ").map(str::to_owned)) {
            said += 1;
            last = seq.parse().expect("a number");
        }
        said
    };
    for line in output.by_ref() {
        if see(line) >= lines {
            break;
        }
    }
    child.kill().expect("it runs");
    // What it said between is true as well.
    for line in output {
        see(line);
    }
    child.wait().expect("it ended");
    last
}
