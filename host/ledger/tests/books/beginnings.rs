//! Where a round began, which blocks wait for a settlement, and what can be said without the component.

use std::path::Path;

use sluice_core::policy::payout::{Round, Window};
use sluice_ledger::{INCONCLUSIVE, Ledger, Place, Subject, Verdict};

use crate::judge::{Mood, find, forge, history, judged, settle, subjects};
use crate::support::{hash, open, settlement, share, template, worker};

const EVERYTHING: Window = Window::DurationMs(1_000_000);

/// Shares of one second each, and a block on the last of them without a verdict.
async fn mine(ledger: &Ledger, seconds: std::ops::RangeInclusive<u64>) {
    let alice = worker(ledger, "alice", "rig");
    let last = *seconds.end();
    for at in seconds {
        ledger.append(&[share(alice, at, 1.0 + at as f64 / 8.0)]).await.expect("room");
    }
    find(ledger, last, Window::Round).await;
}

fn started(dir: &Path) -> Ledger {
    let ledger = open(dir);
    ledger.template(template(1, 100));
    ledger
}

async fn reject(ledger: &Ledger, at: u64) {
    let verdict = Verdict::Rejected { reason: INCONCLUSIVE.into() };
    ledger.block_verdict(hash(at), verdict).await.expect("known");
}

/// Settles the round of one block over `window`, whatever its plan says.
async fn settle_over(ledger: &Ledger, at: u64, window: Window) {
    ledger.block_verdict(hash(at), Verdict::Accepted).await.expect("known");
    let round = ledger.round_with(hash(at), window).await.expect("a round");
    let settlement = settlement(Round { finder: String::new(), ..round });
    assert!(ledger.settle_round(hash(at), settlement).await.expect("settled"));
}

#[tokio::test]
async fn a_round_that_began_with_the_log_before_a_block_came_back_is_right() {
    let dir = tempfile::tempdir().expect("a directory");
    let ledger = started(dir.path());
    mine(&ledger, 1..=3).await;
    reject(&ledger, 3).await;
    mine(&ledger, 4..=6).await;
    settle(&ledger, 6).await;
    // The first one comes into the chain after all, and gets a round of its own.
    let back = ledger.block_places(vec![(hash(3), Place::InChain { confirmations: 2 })]);
    back.await.expect("known");
    settle_over(&ledger, 3, Window::Round).await;
    ledger.close().await;
    assert_eq!(judged(dir.path(), Window::Round, Mood::Steady).findings, []);
}

#[tokio::test]
async fn a_round_that_reaches_behind_a_settled_block_is_named() {
    let dir = tempfile::tempdir().expect("a directory");
    let ledger = started(dir.path());
    mine(&ledger, 1..=3).await;
    settle(&ledger, 3).await;
    mine(&ledger, 4..=6).await;
    settle_over(&ledger, 6, EVERYTHING).await;
    ledger.close().await;
    let report = judged(dir.path(), Window::Round, Mood::Steady);
    assert_eq!(subjects(&report), [Subject::Input]);
    let told = report.findings[0].first.to_string();
    assert!(told.contains("account alice: its part of the window") && told.contains("in 6 shares"), "{told}");
}

#[tokio::test]
async fn a_round_that_reaches_behind_a_block_without_a_verdict_is_named() {
    let dir = tempfile::tempdir().expect("a directory");
    let ledger = started(dir.path());
    mine(&ledger, 1..=3).await;
    mine(&ledger, 4..=6).await;
    settle_over(&ledger, 6, EVERYTHING).await;
    ledger.close().await;
    assert_eq!(subjects(&judged(dir.path(), Window::Round, Mood::Steady)), [Subject::Input]);
}

#[tokio::test]
async fn a_round_that_begins_where_no_block_was_is_named() {
    let dir = tempfile::tempdir().expect("a directory");
    let ledger = started(dir.path());
    mine(&ledger, 1..=3).await;
    reject(&ledger, 3).await;
    mine(&ledger, 4..=9).await;
    settle_over(&ledger, 9, Window::DurationMs(4_000)).await;
    ledger.close().await;
    assert_eq!(subjects(&judged(dir.path(), Window::Round, Mood::Steady)), [Subject::Input]);
}

#[tokio::test]
async fn a_block_that_counts_and_is_not_settled_is_told() {
    let dir = tempfile::tempdir().expect("a directory");
    let ledger = history(dir.path(), Window::Round).await;
    mine(&ledger, 51..=52).await;
    ledger.block_verdict(hash(52), Verdict::Accepted).await.expect("known");
    mine(&ledger, 53..=54).await;
    reject(&ledger, 54).await;
    let report = judged(dir.path(), Window::Round, Mood::Steady);
    assert_eq!(report.findings, []);
    assert_eq!((report.held, report.unsettled.len()), (1, 1));
    assert_eq!(report.unsettled[0].block, hash(52));
    assert!(!report.is_clean());
    settle(&ledger, 52).await;
    assert!(judged(dir.path(), Window::Round, Mood::Steady).is_clean());
    ledger.close().await;
}

#[tokio::test]
async fn without_its_component_a_round_over_another_window_is_unknown_and_not_different() {
    let dir = tempfile::tempdir().expect("a directory");
    let ledger = history(dir.path(), Window::Round).await;
    mine(&ledger, 51..=52).await;
    settle_over(&ledger, 52, EVERYTHING).await;
    ledger.close().await;
    let report = judged(dir.path(), Window::Round, Mood::Missing);
    assert_eq!(report.findings, []);
    assert_eq!(report.missing[0].rounds, 5);
    forge(dir.path(), "UPDATE blocks SET fees = fees + 1 WHERE id = 5");
    let report = judged(dir.path(), Window::Round, Mood::Missing);
    assert!(subjects(&report).contains(&Subject::Input), "what needs no component is still compared");
}

#[tokio::test]
async fn a_blocks_transactions_are_followed_by_their_number() {
    let dir = tempfile::tempdir().expect("a directory");
    let ledger = history(dir.path(), Window::Work(1.0)).await;
    ledger.block_places(vec![(hash(15), Place::Aside)]).await.expect("known");
    ledger.close().await;
    // As a salvage may leave it: the rows got other ids.
    forge(
        dir.path(),
        "UPDATE entries SET journal = 4000 WHERE journal = 2; UPDATE journal SET id = 4000 WHERE id = 2",
    );
    assert_eq!(judged(dir.path(), Window::Work(1.0), Mood::Steady).findings, []);
}
