//! Retention: old shares become hours, and nothing that is still to be computed changes.

use std::path::Path;

use rusqlite::Connection;
use sluice_core::ids::ShareSeq;
use sluice_core::policy::payout::Window;
use sluice_core::units::{Difficulty, Timestamp};
use sluice_ledger::{Folded, Keeps, Ledger, Needed, Place, Verdict};

use crate::support::{block, difficulty, hash, number, open, settlement, share, sql, until, worker};

const NONE: Needed = Needed { window: Window::None, network_difficulty: Difficulty::ONE };
const EVER: Timestamp = Timestamp(u64::MAX / 2);

/// Shares at the seconds `from..=to` of alice and bob in turn, each worth its second.
async fn feed(ledger: &Ledger, from: u64, to: u64) {
    let workers = [worker(ledger, "alice", "rig"), worker(ledger, "bob", "")];
    let shares: Vec<_> =
        (from..=to).map(|at| share(workers[usize::from(at % 2 == 0)], at, at as f64)).collect();
    let last = ledger.append(&shares).await.expect("open");
    until(ledger, last).await;
}

async fn fold(ledger: &Ledger, before: Timestamp, needed: Needed) -> Folded {
    ledger.fold(before, needed).await.expect("readable")
}

fn first_share(connection: &Connection) -> i64 {
    number(connection, "SELECT min(seq) FROM shares")
}

/// Worker, hour, shares and work in units of difficulty.
fn hours(dir: &Path) -> Vec<(i64, i64, i64, f64)> {
    let connection = sql(dir);
    let mut statement = connection
        .prepare("SELECT worker, hour, shares, work FROM share_hours ORDER BY hour, worker")
        .expect("hours");
    let rows = statement.query_map([], |row| {
        let work = u128::from_be_bytes(row.get(3)?);
        Ok((row.get(0)?, row.get(1)?, row.get(2)?, work as f64 / 4_294_967_296.0))
    });
    rows.expect("rows").map(|row| row.expect("a row")).collect()
}

#[tokio::test]
async fn old_shares_become_hours_and_statistics_stay() {
    let dir = tempfile::tempdir().expect("a directory");
    let ledger = open(dir.path());
    feed(&ledger, 3_590, 3_620).await;
    let before =
        (ledger.totals().await.expect("totals"), ledger.workers(Timestamp(0), 10).await.expect("rows"));
    let folded = fold(&ledger, Timestamp(3_610_000), NONE).await;
    assert_eq!(folded, Folded { shares: 20, through: ShareSeq(20), keeps: Keeps::Age });
    assert_eq!(ledger.folded().await.expect("a number"), ShareSeq(20));
    let (even, odd) = (worker(&ledger, "bob", "").1, worker(&ledger, "alice", "rig").1);
    let sum = |from: u64, to: u64, parity| (from..=to).filter(|at| at % 2 == parity).sum::<u64>() as f64;
    let row = |worker: sluice_core::ids::WorkerId, hour, work| (i64::from(worker.0), hour, 5, work);
    let mut expected = vec![
        row(even, 0, sum(3_590, 3_599, 0)),
        row(odd, 0, sum(3_590, 3_599, 1)),
        row(even, 1, sum(3_600, 3_609, 0)),
        row(odd, 1, sum(3_600, 3_609, 1)),
    ];
    expected.sort_by_key(|row| (row.1, row.0));
    assert_eq!(hours(dir.path()), expected);
    assert_eq!(first_share(&sql(dir.path())), 21);

    let statistics = async |ledger: &Ledger| {
        (ledger.totals().await.expect("totals"), ledger.workers(Timestamp(0), 10).await.expect("rows"))
    };
    assert_eq!(statistics(&ledger).await, before);
    // A second part of the same hour is added to the first.
    fold(&ledger, Timestamp(3_612_000), NONE).await;
    assert_eq!(hours(dir.path()).iter().map(|row| row.2).sum::<i64>(), 22);
    assert_eq!(hours(dir.path()).len(), 4);
    ledger.close().await;
    let ledger = open(dir.path());
    let (totals, workers) = statistics(&ledger).await;
    assert_eq!(totals, before.0);
    let counted = |rows: &[sluice_ledger::WorkerRow]| {
        let mut list: Vec<_> = rows.iter().map(|row| (row.account.clone(), row.shares, row.work)).collect();
        list.sort_by(|a, b| a.0.cmp(&b.0));
        list
    };
    assert_eq!(counted(&workers), counted(&before.1));
    feed(&ledger, 4_000, 4_000).await;
    assert_eq!(number(&sql(dir.path()), "SELECT max(seq) FROM shares"), 32);
}

#[tokio::test]
async fn the_newest_share_stays_and_the_log_goes_on_behind_it() {
    let dir = tempfile::tempdir().expect("a directory");
    let ledger = open(dir.path());
    feed(&ledger, 1, 10).await;
    assert_eq!(fold(&ledger, EVER, NONE).await.keeps, Keeps::Newest);
    assert_eq!(first_share(&sql(dir.path())), 10);
    assert_eq!(fold(&ledger, EVER, NONE).await.shares, 0);
    ledger.close().await;
    let ledger = open(dir.path());
    feed(&ledger, 11, 12).await;
    assert_eq!(number(&sql(dir.path()), "SELECT max(seq) FROM shares"), 12);
    let empty = tempfile::tempdir().expect("a directory");
    assert_eq!(fold(&open(empty.path()), EVER, NONE).await.shares, 0);
}

#[tokio::test]
async fn more_shares_than_one_transaction_takes_are_folded() {
    let dir = tempfile::tempdir().expect("a directory");
    let ledger = open(dir.path());
    feed(&ledger, 1, 10_000).await;
    feed(&ledger, 10_001, 20_000).await;
    feed(&ledger, 20_001, 25_000).await;
    let folding = fold(&ledger, Timestamp(24_501_000), NONE);
    // Shares come in meanwhile.
    let (folded, ()) = tokio::join!(folding, feed(&ledger, 25_001, 25_100));
    assert_eq!(folded.shares, 24_500);
    assert_eq!(ledger.totals().await.expect("totals").shares, 25_100);
    let counted = number(&sql(dir.path()), "SELECT sum(shares) FROM share_hours");
    assert_eq!(counted + number(&sql(dir.path()), "SELECT count(*) FROM shares"), 25_100);
}

#[tokio::test]
async fn the_window_of_the_plan_is_the_same_before_and_after() {
    let dir = tempfile::tempdir().expect("a directory");
    let ledger = open(dir.path());
    feed(&ledger, 1, 1_000).await;
    for window in [Window::DurationMs(100_000), Window::Work(20.0)] {
        let network = difficulty(1_000.0);
        let before = ledger.contributions(window, network).await.expect("readable");
        let folded = fold(&ledger, EVER, Needed { window, network_difficulty: network }).await;
        assert_eq!(folded.keeps, Keeps::Window, "{window:?}");
        assert!(folded.shares > 0, "{window:?}");
        assert_eq!(ledger.contributions(window, network).await.expect("readable"), before);
    }
    // One that reaches farther gets what is left, whether it was asked for before or is asked for the first time.
    let left = number(&sql(dir.path()), "SELECT count(*) FROM shares");
    for window in [Window::Work(900.0), Window::DurationMs(5_000_000), Window::Round] {
        let all = ledger.contributions(window, difficulty(1_000.0)).await.expect("readable");
        assert_eq!(all.list.iter().map(|part| part.shares).sum::<u64>() as i64, left, "{window:?}");
    }
}

#[tokio::test]
async fn a_window_that_was_asked_for_forgets_what_is_folded() {
    let dir = tempfile::tempdir().expect("a directory");
    let ledger = open(dir.path());
    feed(&ledger, 1, 100).await;
    let all = Window::Work(1_000.0);
    let shares = async || {
        let window = ledger.contributions(all, difficulty(1_000.0)).await.expect("readable");
        window.list.iter().map(|part| part.shares).sum::<u64>()
    };
    assert_eq!(shares().await, 100);
    fold(&ledger, Timestamp(51_000), NONE).await;
    assert_eq!(shares().await, 50);
    feed(&ledger, 101, 110).await;
    assert_eq!(shares().await, 60);
}

#[tokio::test]
async fn a_rounds_shares_stay_until_it_is_settled_and_final() {
    let dir = tempfile::tempdir().expect("a directory");
    let ledger = open(dir.path());
    let finder = worker(&ledger, "alice", "rig").1;
    feed(&ledger, 1, 50).await;
    ledger.block_found(block(900, finder, Window::Round)).await.expect("written");
    feed(&ledger, 51, 100).await;
    let kept = async |keeps, first| {
        let needed = Needed { window: Window::Round, network_difficulty: Difficulty::ONE };
        assert_eq!(fold(&ledger, EVER, needed).await.keeps, keeps);
        assert_eq!(first_share(&sql(dir.path())), first);
    };
    // It may still be rejected, and then all hundred are of the next round.
    kept(Keeps::Round, 1).await;
    ledger.block_verdict(hash(900), Verdict::Accepted).await.expect("known");
    kept(Keeps::Round, 1).await;
    let open = ledger.open_rounds().await.expect("readable").remove(0);
    assert!(ledger.settle_round(hash(900), settlement(open.round)).await.expect("booked"));
    kept(Keeps::Round, 1).await;
    ledger.block_places(vec![(hash(900), Place::InChain { confirmations: 100 })]).await.expect("known");
    kept(Keeps::Window, 51).await;
}

#[tokio::test]
async fn a_rejected_block_gives_its_shares_to_the_next_round_still() {
    let dir = tempfile::tempdir().expect("a directory");
    let ledger = open(dir.path());
    let finder = worker(&ledger, "alice", "rig").1;
    feed(&ledger, 1, 10).await;
    ledger.block_found(block(900, finder, Window::Round)).await.expect("written");
    feed(&ledger, 11, 20).await;
    ledger.block_found(block(901, finder, Window::Round)).await.expect("written");
    ledger.block_verdict(hash(901), Verdict::Accepted).await.expect("known");
    fold(&ledger, EVER, NONE).await;
    ledger.block_verdict(hash(900), Verdict::Rejected { reason: "high-hash".into() }).await.expect("known");
    let rounds = ledger.open_rounds().await.expect("readable");
    let counted: u64 = rounds[0].round.contributions.iter().map(|part| part.shares).sum();
    assert_eq!(counted, 20);
}

#[tokio::test]
async fn what_is_not_accrued_stays() {
    let dir = tempfile::tempdir().expect("a directory");
    let ledger = open(dir.path());
    feed(&ledger, 1, 30).await;
    ledger.accruing(true).await.expect("written");
    feed(&ledger, 31, 60).await;
    let folded = fold(&ledger, EVER, NONE).await;
    assert_eq!((folded.keeps, folded.through), (Keeps::Accrual, ShareSeq(30)));
    ledger.accruing(false).await.expect("written");
    assert_eq!(fold(&ledger, EVER, NONE).await.keeps, Keeps::Newest);
}

#[tokio::test]
async fn clock_steps_neither_reorder_the_log_nor_fold_too_much() {
    let dir = tempfile::tempdir().expect("a directory");
    let ledger = open(dir.path());
    feed(&ledger, 1_000, 1_009).await;
    // Two hours ahead for one share, then right again: time stands still until the clock has caught up.
    feed(&ledger, 9_000, 9_000).await;
    feed(&ledger, 1_010, 1_019).await;
    let last_hour =
        ledger.contributions(Window::DurationMs(3_600_000), Difficulty::ONE).await.expect("readable");
    assert_eq!(last_hour.list.iter().map(|part| part.shares).sum::<u64>(), 11);
    let connection = sql(dir.path());
    assert_eq!(
        number(
            &connection,
            "SELECT count(*) FROM shares a JOIN shares b ON b.seq = a.seq + 1 AND b.at_ms < a.at_ms"
        ),
        0
    );
    let folded = fold(&ledger, Timestamp(5_000_000), NONE).await;
    assert_eq!((folded.shares, folded.keeps), (10, Keeps::Age));
    // A clock that is behind folds nothing.
    assert_eq!(fold(&ledger, Timestamp(0), NONE).await.shares, 0);
    ledger.close().await;
    let ledger = open(dir.path());
    feed(&ledger, 1_020, 1_020).await;
    assert_eq!(number(&connection, "SELECT at_ms FROM shares ORDER BY seq DESC LIMIT 1"), 9_000_000);
}
