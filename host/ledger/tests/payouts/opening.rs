//! What a desk refuses to open, and what an operator says of accounts.

use std::fs;

use sluice_core::bitcoin::Amount;
use sluice_ledger::payouts::{Desk, DeskError, REASON_BYTES, Terms};
use sluice_ledger::{FileError, database_in};

use crate::pool::{DEEP, desk, earn, sat};
use crate::support::{number, open, sql};

#[tokio::test]
async fn a_missing_foreign_old_or_newer_file_is_refused_and_stays_as_it_is() {
    let dir = tempfile::tempdir().expect("a directory");
    let path = database_in(dir.path());
    let refusal = || Desk::open(&path).expect_err("it opened");
    assert!(matches!(refusal(), DeskError::File(FileError::Missing { .. })));
    assert!(!path.exists());
    fs::write(&path, "no database at all, but long enough to have a header of a hundred bytes".repeat(9))
        .expect("written");
    assert!(matches!(refusal(), DeskError::File(FileError::Foreign { .. })));
    fs::remove_file(&path).expect("removed");
    sql(dir.path()).execute_batch("CREATE TABLE other (id INTEGER)").expect("made");
    assert!(matches!(refusal(), DeskError::File(FileError::Foreign { .. })));
    fs::remove_file(&path).expect("removed");
    open(dir.path()).close().await;
    let version = number(&sql(dir.path()), "PRAGMA user_version");
    let set = |version: i64| sql(dir.path()).pragma_update(None, "user_version", version).expect("set");
    set(version - 1);
    let text = refusal().to_string();
    assert!(text.contains("start the pool once"), "{text}");
    assert!(matches!(refusal(), DeskError::File(FileError::Older { found, .. }) if found == version - 1));
    set(version + 1);
    assert!(matches!(refusal(), DeskError::File(FileError::Newer { found, .. }) if found == version + 1));
    assert_eq!(number(&sql(dir.path()), "PRAGMA user_version"), version + 1, "nothing is migrated");
    set(version);
    Desk::open(&path).expect("the present one");
}

#[tokio::test]
async fn a_desk_does_not_keep_a_pool_from_starting() {
    let dir = tempfile::tempdir().expect("a directory");
    open(dir.path()).close().await;
    let mut desk = desk(dir.path());
    let ledger = open(dir.path());
    earn(&ledger, 1, &[("alice", 700)], DEEP).await;
    assert_eq!(desk.due(&crate::pool::rules(1, 10)).expect("read").len(), 1);
    ledger.close().await;
}

#[tokio::test]
async fn terms_are_kept_with_their_history_and_only_for_accounts_that_exist() {
    let dir = tempfile::tempdir().expect("a directory");
    let ledger = open(dir.path());
    earn(&ledger, 1, &[("alice", 700)], DEEP).await;
    let mut desk = desk(dir.path());
    assert_eq!(desk.terms("alice").expect("known"), Terms::default());
    for refused in [desk.hold("mallory", "why"), desk.release("mallory"), desk.minimum("mallory", None)] {
        assert!(matches!(refused, Err(DeskError::UnknownAccount(name)) if name == "mallory"));
    }
    for reason in ["", "two\nlines", &"x".repeat(REASON_BYTES + 1)] {
        assert!(matches!(desk.hold("alice", reason), Err(DeskError::Reason)));
    }
    for amount in [Amount::ZERO, Amount::MAX_MONEY + sat(1)] {
        assert!(matches!(desk.minimum("alice", Some(amount)), Err(DeskError::Minimum(_))));
    }
    assert!(desk.hold("alice", "asked by mail").expect("held"));
    assert!(!desk.hold("alice", "asked by mail").expect("held"), "it was");
    assert!(desk.minimum("alice", Some(sat(5))).expect("set"));
    let terms = Terms { minimum: Some(sat(5)), held: Some("asked by mail".to_owned()) };
    assert_eq!(desk.terms("alice").expect("known"), terms);
    assert!(desk.release("alice").expect("released"));
    assert!(!desk.release("alice").expect("released"), "it was");
    drop(desk);
    let mut desk = crate::pool::desk(dir.path());
    assert_eq!(desk.terms("alice").expect("known"), Terms { minimum: Some(sat(5)), held: None });
    assert!(desk.minimum("alice", None).expect("set"));
    assert_eq!(number(&sql(dir.path()), "SELECT count(*) FROM terms"), 4, "every change is kept");
    ledger.close().await;
}
