//! An audit finds nothing in honest books, and names what was changed in others.

use sluice_core::policy::payout::Window;
use sluice_ledger::{Place, Subject, Verdict, database_in};

use crate::judge::{Mood, find, forge, history, judged, settle, subjects};
use crate::support::{hash, number, share, sql, worker};

const WINDOWS: [Window; 3] = [Window::Round, Window::Work(1.7), Window::DurationMs(4_000)];

#[tokio::test]
async fn honest_books_are_equal_while_the_pool_runs_and_after() {
    for window in WINDOWS {
        let dir = tempfile::tempdir().expect("a directory");
        let ledger = history(dir.path(), window).await;
        let running = judged(dir.path(), window, Mood::Steady);
        assert_eq!(running.findings, [], "{window:?}");
        assert!(running.is_clean());
        ledger.close().await;
        let stopped = judged(dir.path(), window, Mood::Steady);
        assert_eq!(stopped, running, "the same of a pool that is stopped");
        let entries = number(&sql(dir.path()), "SELECT count(*) FROM entries");
        assert_eq!((stopped.shares, stopped.rounds, stopped.other_entries), (20, 4, 0));
        assert_eq!(i64::try_from(stopped.entries).expect("few"), entries, "each one was compared");
    }
}

#[tokio::test]
async fn a_verdict_that_came_after_the_settlement_changes_nothing() {
    let dir = tempfile::tempdir().expect("a directory");
    let ledger = history(dir.path(), Window::Round).await;
    let alice = worker(&ledger, "alice", "rig");
    ledger.append(&[share(alice, 51, 1.0)]).await.expect("room");
    find(&ledger, 51, Window::Round).await;
    ledger.append(&[share(alice, 52, 2.0)]).await.expect("room");
    find(&ledger, 52, Window::Round).await;
    settle(&ledger, 52).await;
    // The round of 52 began behind 51, which still had no verdict.
    let reason = Verdict::Rejected { reason: "stale-prevblk".into() };
    ledger.block_verdict(hash(51), reason).await.expect("known");
    assert_eq!(judged(dir.path(), Window::Round, Mood::Steady).findings, []);
    ledger.close().await;
}

#[tokio::test]
async fn a_block_that_left_the_chain_and_came_back_is_followed() {
    let dir = tempfile::tempdir().expect("a directory");
    let ledger = history(dir.path(), Window::Work(1.0)).await;
    let audited = || judged(dir.path(), Window::Work(1.0), Mood::Steady);
    let place = |place| ledger.block_places(vec![(hash(15), place)]);
    place(Place::InChain { confirmations: 1 }).await.expect("known");
    place(Place::Aside).await.expect("known");
    let orphaned = audited();
    assert_eq!(orphaned.findings, []);
    place(Place::InChain { confirmations: 3 }).await.expect("known");
    let returned = audited();
    assert_eq!(returned.findings, []);
    assert!(returned.entries > orphaned.entries);
    ledger.close().await;
    forge(dir.path(), "UPDATE blocks SET state = 'orphaned', confirmations = 0 WHERE id = 2");
    let told = audited().findings[0].first.to_string();
    assert!(told.contains("while the block is orphaned: expected not booked, found booked"), "{told}");
    forge(
        dir.path(),
        "UPDATE entries SET amount = amount + 7 WHERE journal = 5 AND line IN (SELECT max(line) FROM entries WHERE journal = 5)",
    );
    assert!(subjects(&audited()).contains(&Subject::Journal));
}

/// What is done to the file, what an audit says of it first, and words of that.
const FORGERIES: [(&str, Subject, &str); 26] = [
    ("UPDATE shares SET difficulty = difficulty * 2 WHERE seq = 8", Subject::Totals, "worker"),
    ("UPDATE shares SET difficulty = difficulty * 2 WHERE seq = 8", Subject::Input, "its part of the window"),
    ("UPDATE shares SET worker = 0 WHERE seq = 8", Subject::Input, "its part of the window"),
    ("UPDATE shares SET worker = 77 WHERE seq = 8", Subject::Log, "worker of share 8"),
    ("UPDATE shares SET worker = 77 WHERE seq = 8", Subject::Input, "one that there is, found 77"),
    ("UPDATE shares SET at_ms = 1 WHERE seq = 8", Subject::Log, "time of share 8"),
    ("DELETE FROM shares WHERE seq = 8", Subject::Log, "expected 8, found 9"),
    ("UPDATE blocks SET fees = fees + 1 WHERE id = 2", Subject::Input, "fees"),
    ("UPDATE blocks SET through = through - 1 WHERE id = 2", Subject::Input, "window"),
    (
        "UPDATE rounds SET input = replace(input, '\"height\":100', '\"height\":99') WHERE block = 2",
        Subject::Input,
        "height: expected 100, found 99",
    ),
    ("UPDATE rounds SET input = '{' WHERE block = 2", Subject::Input, "its record"),
    (
        "UPDATE rounds SET answer = replace(answer, '51', '52') WHERE block = 2",
        Subject::Answer,
        "policy by-work 1.0.0 (abab",
    ),
    (
        "UPDATE rounds SET answer = replace(answer, '51', '52') WHERE block = 2",
        Subject::Credits,
        "its credit, in sat: expected 52, found 51",
    ),
    (
        "UPDATE rounds SET answer = replace(answer, 'carol', 'carl') WHERE block = 2",
        Subject::Answer,
        "policy by-work",
    ),
    (
        "UPDATE entries SET amount = amount + 1 WHERE journal = 2 AND line = 2",
        Subject::Journal,
        "sum of transaction 2",
    ),
    (
        "UPDATE entries SET amount = amount + 1 WHERE journal = 2 AND line = 2",
        Subject::Accounts,
        "balance in sat",
    ),
    ("UPDATE entries SET amount = 0 WHERE journal = 2", Subject::Credits, "its credit"),
    (
        "UPDATE entries SET account = 0 WHERE journal = 2 AND account IS NOT NULL AND cause = 'credit'",
        Subject::Credits,
        "its credit",
    ),
    (
        "UPDATE entries SET account = 99 WHERE journal = 2 AND account IS NOT NULL",
        Subject::Journal,
        "for accounts that there are",
    ),
    (
        "UPDATE block_payments SET amount = amount + 1 WHERE block = 2 AND account = 'alice'",
        Subject::Payments,
        "what the coinbase paid it",
    ),
    (
        "DELETE FROM entries WHERE journal = 2; DELETE FROM journal WHERE id = 2",
        Subject::Journal,
        "expected booked, found not booked",
    ),
    ("DELETE FROM journal WHERE id = 2", Subject::Journal, "expected booked, found not booked"),
    ("UPDATE journal SET sealed = 0 WHERE id = 2", Subject::Journal, "expected sealed"),
    (
        "INSERT INTO entries VALUES (2, 90, 'account', 2, 'credit', 5, ''), (2, 91, 'house', NULL, 'credit', -5, '')",
        Subject::Credits,
        "its credit",
    ),
    (
        "PRAGMA foreign_keys = OFF; INSERT INTO journal (id, at_ms, block, number) VALUES (90, 1, 77, 1); \
         INSERT INTO entries VALUES (90, 1, 'house', NULL, 'credit', -5, ''), (90, 2, 'account', 2, 'credit', 5, ''); \
         UPDATE journal SET sealed = 1 WHERE id = 90",
        Subject::Accounts,
        "balance in sat",
    ),
    (
        "DELETE FROM blocks WHERE id = 2",
        Subject::Input,
        "rounds whose block is not there: expected 0, found 1",
    ),
];

#[tokio::test]
async fn whatever_is_changed_is_named() {
    let carol = Some("carol");
    let dir = tempfile::tempdir().expect("a directory");
    history(dir.path(), Window::Round).await.close().await;
    let mut with_account = 0;
    for (text, subject, words) in FORGERIES {
        let copy = tempfile::tempdir().expect("a directory");
        std::fs::copy(database_in(dir.path()), database_in(copy.path())).expect("copied");
        forge(copy.path(), text);
        let report = judged(copy.path(), Window::Round, Mood::Steady);
        let finding = report.findings.iter().find(|finding| finding.first.subject == subject);
        let finding = finding.unwrap_or_else(|| panic!("{text}: {:?}", report.findings));
        let told = finding.first.to_string();
        assert!(told.contains(words), "{text}: {told}");
        with_account += usize::from(finding.first.account.as_deref() == carol);
        let of_a_round = !text.starts_with("DELETE FROM blocks");
        if of_a_round
            && matches!(subject, Subject::Input | Subject::Answer | Subject::Credits | Subject::Payments)
        {
            assert!(told.contains(&hash(15).to_string()), "{text}: the block is not named in {told}");
        }
    }
    assert!(with_account > 0, "accounts are named");
}

#[tokio::test]
async fn a_policy_that_does_not_repeat_its_answer_is_named() {
    let dir = tempfile::tempdir().expect("a directory");
    history(dir.path(), Window::Round).await.close().await;
    let cases = [
        (Mood::Wavering, Subject::Answer, "does not repeat its answer to the same question"),
        (
            Mood::Changed,
            Subject::Answer,
            "does not give what is recorded: expected 50 sat for \"\" (fee), found 51 sat",
        ),
        (Mood::Failing, Subject::Policy, "expected its answer, found it ran out of fuel"),
    ];
    for (mood, subject, words) in cases {
        let report = judged(dir.path(), Window::Round, mood);
        assert_eq!(subjects(&report), [subject]);
        let told = report.findings[0].first.to_string();
        assert!(told.contains("policy by-work 1.0.0") && told.contains(words), "{told}");
        assert_eq!(report.findings[0].count, 4, "each round is counted");
    }
}

#[tokio::test]
async fn a_policy_whose_component_is_gone_is_counted_and_the_rest_is_checked() {
    let dir = tempfile::tempdir().expect("a directory");
    history(dir.path(), Window::Round).await.close().await;
    let report = judged(dir.path(), Window::Round, Mood::Missing);
    assert_eq!(report.findings, []);
    assert_eq!((report.missing.len(), report.missing[0].rounds), (1, 4));
    assert_eq!(report.missing[0].policy.hash, "ab".repeat(32));
    assert!(!report.is_clean(), "not everything was computed");
    forge(dir.path(), "UPDATE entries SET amount = amount + 1 WHERE journal = 3 AND line = 3");
    assert!(subjects(&judged(dir.path(), Window::Round, Mood::Missing)).contains(&Subject::Credits));
}

#[test]
fn numbers_of_a_record_are_read_back_exactly() {
    // A unit in the last place would make another question of it.
    let mut state = 0x9e37_79b9_7f4a_7c15u64;
    for _ in 0..20_000 {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let value = f64::from_bits(state >> 2 | 1 << 60);
        let text = serde_json::to_string(&value).expect("a number");
        assert_eq!(
            serde_json::from_str::<f64>(&text).expect("a number").to_bits(),
            value.to_bits(),
            "{text}"
        );
    }
}
