//! Work credited without a block is credited again, fractions of a satoshi and all.

use std::path::Path;

use sluice_core::policy::payout::Window;
use sluice_ledger::{AccrualSettlement, Ledger, PolicyRecord, Subject, database_in};

use crate::judge::{Mood, expected, forge, judged, subjects};
use crate::support::{number, open, share, sql, template, until, worker};

pub(crate) async fn append(ledger: &Ledger, seconds: impl Iterator<Item = u64>) {
    let miners = ["alice", "bob", "carol"].map(|name| worker(ledger, name, "rig"));
    for at in seconds {
        let miner = miners[usize::try_from(at % 3).expect("small")];
        let last = ledger.append(&[share(miner, at, 0.7 + (at % 7) as f64 / 3.0)]).await.expect("room");
        until(ledger, last).await;
    }
}

pub(crate) async fn accrue(ledger: &Ledger) {
    let open = ledger.open_accrual().await.expect("a question").expect("shares that wait");
    let policy = PolicyRecord {
        name: "by-work".into(),
        version: "1.0.0".into(),
        hash: "ab".repeat(32),
        settings: "{}".into(),
    };
    let answer = expected(&open.tallies);
    let (first, through, input) = (open.first, open.through, open.tallies);
    let settlement = AccrualSettlement { policy, first, through, input, answer };
    assert!(ledger.accrue(settlement).await.expect("booked"));
}

/// Three shares that count for nobody, two accruals, four shares of another plan's time, one accrual.
async fn history(dir: &Path) -> Ledger {
    let ledger = open(dir);
    ledger.template(template(1, 100));
    append(&ledger, 1..=3).await;
    ledger.accruing(true).await.expect("written");
    append(&ledger, 4..=10).await;
    accrue(&ledger).await;
    append(&ledger, 11..=16).await;
    accrue(&ledger).await;
    ledger.accruing(false).await.expect("written");
    append(&ledger, 17..=20).await;
    ledger.accruing(true).await.expect("written");
    append(&ledger, 21..=25).await;
    accrue(&ledger).await;
    ledger
}

#[tokio::test]
async fn work_that_is_credited_audits_equal_while_the_pool_runs_and_after() {
    let dir = tempfile::tempdir().expect("a directory");
    let ledger = history(dir.path()).await;
    let running = judged(dir.path(), Window::None, Mood::Steady);
    assert_eq!(running.findings, []);
    assert!(running.is_clean());
    assert_eq!((running.accruals, running.between_accruals, running.other_entries), (3, 4, 0));
    append(&ledger, 26..=28).await;
    ledger.close().await;
    let file = sql(dir.path());
    assert!(number(&file, "SELECT sum(microsats) FROM carries") > 0, "fractions are carried");
    let stopped = judged(dir.path(), Window::None, Mood::Steady);
    assert_eq!((&stopped.findings, stopped.entries), (&running.findings, running.entries));
    let entries = number(&file, "SELECT count(*) FROM entries");
    assert_eq!(i64::try_from(stopped.entries).expect("few"), entries, "each one was compared");
}

/// What is done to the file, what an audit says of it, and words of that.
const FORGERIES: [(&str, Subject, &str); 12] = [
    (
        "UPDATE shares SET difficulty = difficulty * 2 WHERE seq = 5",
        Subject::Input,
        "accrual of the shares 4 to 10, account carol: tally 1: its work",
    ),
    ("UPDATE shares SET worker = 77 WHERE seq = 5", Subject::Input, "one that there is, found 77"),
    ("UPDATE templates SET fees = fees + 1", Subject::Input, "tally 1: fees"),
    (
        "UPDATE accruals SET input = replace(input, '\"height\":100', '\"height\":99') WHERE id = 2",
        Subject::Input,
        "accrual of the shares 11 to 16: tally 1: height: expected 100, found 99",
    ),
    ("UPDATE accruals SET input = '{' WHERE id = 2", Subject::Input, "its record"),
    (
        "UPDATE accruals SET answer = replace(answer, '\"microsats\":', '\"microsats\":1') WHERE id = 1",
        Subject::Answer,
        "policy by-work 1.0.0 (abab",
    ),
    (
        "UPDATE accruals SET first = 9 WHERE id = 2",
        Subject::Accruals,
        "its first share: expected behind 10, where the one before ended, found 9",
    ),
    (
        "UPDATE accruals SET through = 99 WHERE id = 3",
        Subject::Accruals,
        "expected shares up to 25, found 99",
    ),
    (
        "UPDATE entries SET amount = amount + CASE book WHEN 'house' THEN -1 ELSE 1 END \
         WHERE journal = 2 AND (account = 1 OR book = 'house')",
        Subject::Credits,
        "its credit, in sat",
    ),
    (
        "UPDATE carries SET microsats = (microsats + 1) % 1000000 WHERE account = 1",
        Subject::Carries,
        "carried, in millionths of a satoshi",
    ),
    (
        "DELETE FROM entries WHERE journal = 2; DELETE FROM journal WHERE id = 2",
        Subject::Journal,
        "its credits: expected booked, found not booked",
    ),
    ("DELETE FROM accruals WHERE id = 2", Subject::Accounts, "balance in sat"),
];

#[tokio::test]
async fn whatever_is_changed_is_named() {
    let dir = tempfile::tempdir().expect("a directory");
    history(dir.path()).await.close().await;
    for (text, subject, words) in FORGERIES {
        let copy = tempfile::tempdir().expect("a directory");
        std::fs::copy(database_in(dir.path()), database_in(copy.path())).expect("copied");
        forge(copy.path(), text);
        let report = judged(copy.path(), Window::None, Mood::Steady);
        let finding = report.findings.iter().find(|finding| finding.first.subject == subject);
        let told = finding.unwrap_or_else(|| panic!("{text}: {:?}", report.findings)).first.to_string();
        assert!(told.contains(words), "{text}: {told}");
    }
}

#[tokio::test]
async fn an_answer_that_is_not_repeated_and_a_component_that_is_gone_are_named() {
    let dir = tempfile::tempdir().expect("a directory");
    history(dir.path()).await.close().await;
    let cases = [
        (Mood::Wavering, Subject::Answer, "does not repeat its answer"),
        (Mood::Changed, Subject::Answer, "millionths of a satoshi for \"alice\" (work)"),
        (Mood::Failing, Subject::Policy, "it ran out of fuel"),
    ];
    for (mood, subject, words) in cases {
        let report = judged(dir.path(), Window::None, mood);
        assert_eq!(subjects(&report), [subject]);
        let told = report.findings[0].first.to_string();
        assert!(told.contains(words), "{told}");
        assert_eq!(report.findings[0].count, 3, "each accrual is counted");
    }
    let report = judged(dir.path(), Window::None, Mood::Missing);
    assert_eq!(report.findings, []);
    assert_eq!((report.missing[0].rounds, report.missing[0].accruals), (0, 3));
    assert!(!report.is_clean());
}
