//! What is on record, read for a backtest.

use std::ops::ControlFlow;
use std::path::Path;

use sluice_core::ids::ShareSeq;
use sluice_core::policy::payout::{Plan, Window};
use sluice_ledger::{Recorded, RecordedRound, RecordedWork, Verdict, database_in};

use crate::accruals::{accrue, append};
use crate::support::{block, hash, open, settlement, template, worker};

fn plan(window: Window, per_finder: bool) -> Plan {
    Plan { window, per_finder, accrues: false, pays_balances: false }
}

/// Two settled blocks, the second found by bob, and a third that is rejected.
async fn history(dir: &Path) {
    let ledger = open(dir);
    ledger.template(template(1, 100));
    let finder = |name| worker(&ledger, name, "rig").1;
    for (number, name, shares) in [(900, "alice", 1..=10), (901, "bob", 11..=30), (902, "carol", 31..=32)] {
        append(&ledger, shares).await;
        ledger.block_found(block(number, finder(name), Window::Round)).await.expect("written");
        let verdict =
            if number == 902 { Verdict::Rejected { reason: "bad".into() } } else { Verdict::Accepted };
        ledger.block_verdict(hash(number), verdict).await.expect("written");
        for open in ledger.open_rounds().await.expect("readable") {
            let input = sluice_core::policy::payout::Round { finder: String::new(), ..open.round };
            assert!(ledger.settle_round(open.hash, settlement(input)).await.expect("booked"));
        }
    }
    ledger.close().await;
}

fn rounds(dir: &Path, plans: &[Plan]) -> Vec<RecordedRound> {
    let recorded = Recorded::open(&database_in(dir)).expect("a ledger");
    let mut all = Vec::new();
    let visit = &mut |round| {
        all.push(round);
        ControlFlow::Continue(())
    };
    recorded.rounds(plans, visit).expect("readable");
    all
}

#[tokio::test]
async fn a_plan_like_the_one_of_the_time_is_asked_what_was_asked() {
    let dir = tempfile::tempdir().expect("a directory");
    history(dir.path()).await;
    let all = rounds(dir.path(), &[plan(Window::Round, false)]);
    assert_eq!(all.iter().map(|round| round.block).collect::<Vec<_>>(), [hash(900), hash(901)]);
    for round in all {
        assert_eq!(round.questions, [Some(round.asked.clone())]);
        assert_eq!(round.answer, settlement(round.asked).answer);
    }
}

#[tokio::test]
async fn another_plan_is_asked_about_its_own_window_and_finder() {
    let dir = tempfile::tempdir().expect("a directory");
    history(dir.path()).await;
    let (lately, never) = (plan(Window::DurationMs(4_000), true), plan(Window::None, false));
    let all = rounds(dir.path(), &[lately, never]);
    let question = all[1].questions[0].as_ref().expect("the log has it");
    let shares: u64 = question.contributions.iter().map(|one| one.shares).sum();
    // The newest share is at second 30; those of seconds 26 to 30 count.
    assert_eq!((question.finder.as_str(), shares), ("bob", 5));
    let nobody = |round: &RecordedRound| {
        round.questions[1].as_ref().is_some_and(|one| one.contributions.is_empty() && one.finder.is_empty())
    };
    assert!(all.iter().all(nobody));
}

#[tokio::test]
async fn work_is_told_once_in_the_stretches_that_were_credited_and_between_them() {
    let dir = tempfile::tempdir().expect("a directory");
    let ledger = open(dir.path());
    ledger.template(template(1, 100));
    append(&ledger, 1..=3).await;
    ledger.accruing(true).await.expect("written");
    append(&ledger, 4..=10).await;
    accrue(&ledger).await;
    append(&ledger, 11..=12).await;
    ledger.close().await;
    let recorded = Recorded::open(&database_in(dir.path())).expect("a ledger");
    let mut all: Vec<RecordedWork> = Vec::new();
    let visit = &mut |work| {
        all.push(work);
        ControlFlow::Continue(())
    };
    recorded.work(visit).expect("readable");
    let spans: Vec<_> = all.iter().map(|work| (work.first, work.through, work.answer.is_some())).collect();
    // Nobody was paid for the last two yet.
    assert_eq!(spans, [(ShareSeq(1), ShareSeq(3), false), (ShareSeq(4), ShareSeq(10), true)]);
    let shares = |work: &RecordedWork| -> u64 {
        work.tallies.iter().flat_map(|tally| &tally.contributions).map(|one| one.shares).sum()
    };
    assert_eq!(all.iter().map(shares).collect::<Vec<_>>(), [3, 7]);
}

#[tokio::test]
async fn every_share_is_told_with_its_worker() {
    let dir = tempfile::tempdir().expect("a directory");
    history(dir.path()).await;
    let recorded = Recorded::open(&database_in(dir.path())).expect("a ledger");
    let mut times = Vec::new();
    let count =
        recorded.shares(&mut |share| times.push((share.at.0 / 1000, share.worker))).expect("readable");
    assert_eq!((count, times.len(), times[0].0, times[31].0), (32, 32, 1, 32));
    let extent = recorded.extent().expect("readable");
    assert_eq!((extent.shares, extent.last, extent.rounds), (32, 32, 2));
    let name = |worker| recorded.workers().iter().find(|known| known.worker == worker).expect("known");
    assert_eq!((name(times[0].1).account.as_str(), name(times[0].1).name.as_str()), ("bob", "rig"));
}
