//! What a ledger refuses to open, and what it says.

use std::fs::{self, OpenOptions};
use std::io::{Seek, SeekFrom, Write};
use std::path::Path;

use sluice_ledger::{Ledger, OpenError};

use crate::support::{config, open, share, sql, worker};

/// A closed ledger with enough shares for many pages.
async fn filled(dir: &Path) {
    let ledger = open(dir);
    let alice = worker(&ledger, "alice", "");
    let shares: Vec<_> = (1..=5000).map(|number| share(alice, number, 1.5)).collect();
    ledger.append(&shares).await.expect("room");
    ledger.close().await;
}

fn overwrite(dir: &Path, position: u64, bytes: &[u8]) {
    let mut file = OpenOptions::new().write(true).open(dir.join("ledger.db")).expect("the database");
    file.seek(SeekFrom::Start(position)).expect("a position");
    file.write_all(bytes).expect("written");
}

fn refusal(dir: &Path) -> OpenError {
    match Ledger::open(&config(dir)) {
        Ok(_) => panic!("it opened"),
        Err(error) => error,
    }
}

#[tokio::test]
async fn a_damaged_page_is_refused_with_what_to_do() {
    let dir = tempfile::tempdir().expect("a directory");
    filled(dir.path()).await;
    let length = fs::metadata(dir.path().join("ledger.db")).expect("the database").len();
    overwrite(dir.path(), length / 2 / 4096 * 4096, &[0xa5; 64]);
    let error = refusal(dir.path());
    assert!(matches!(error, OpenError::Damaged { .. }), "{error}");
    let text = error.to_string();
    assert!(
        text.contains("ledger.db") && text.contains("damaged") && text.contains("restore a backup"),
        "{text}"
    );
}

#[tokio::test]
async fn a_damaged_header_is_refused() {
    let dir = tempfile::tempdir().expect("a directory");
    filled(dir.path()).await;
    overwrite(dir.path(), 0, b"not a database at all");
    assert!(matches!(refusal(dir.path()), OpenError::Damaged { .. }));
}

#[tokio::test]
async fn a_truncated_file_is_refused() {
    let dir = tempfile::tempdir().expect("a directory");
    filled(dir.path()).await;
    let file = OpenOptions::new().write(true).open(dir.path().join("ledger.db")).expect("the database");
    file.set_len(6 * 4096).expect("cut");
    assert!(matches!(refusal(dir.path()), OpenError::Damaged { .. }));
}

#[tokio::test]
async fn books_that_do_not_sum_to_zero_are_refused() {
    let dir = tempfile::tempdir().expect("a directory");
    filled(dir.path()).await;
    sql(dir.path())
        .execute_batch("PRAGMA foreign_keys = OFF; INSERT INTO journal (id, at_ms, block, number) VALUES (1, 0, 1, 1); INSERT INTO entries VALUES (1, 1, 'house', NULL, 'credit', 5, '')")
        .expect("forged");
    let error = refusal(dir.path());
    assert!(error.to_string().contains("the books sum to 5 sat"), "{error}");
}

#[tokio::test]
async fn a_second_user_of_the_directory_is_refused() {
    let dir = tempfile::tempdir().expect("a directory");
    let ledger = open(dir.path());
    assert!(matches!(refusal(dir.path()), OpenError::InUse { .. }));
    ledger.close().await;
    open(dir.path()).close().await;
}

#[tokio::test]
async fn a_newer_schema_and_a_foreign_database_are_refused() {
    let dir = tempfile::tempdir().expect("a directory");
    filled(dir.path()).await;
    sql(dir.path()).pragma_update(None, "user_version", 99).expect("set");
    assert!(matches!(refusal(dir.path()), OpenError::Newer { found: 99, .. }));

    let dir = tempfile::tempdir().expect("a directory");
    sql(dir.path()).execute_batch("CREATE TABLE other (id)").expect("made");
    assert!(matches!(refusal(dir.path()), OpenError::Foreign { .. }));
}

#[tokio::test]
async fn a_directory_that_cannot_be_made_is_named() {
    let dir = tempfile::tempdir().expect("a directory");
    let file = dir.path().join("file");
    fs::write(&file, "").expect("written");
    let error = refusal(&file.join("ledger"));
    assert!(matches!(error, OpenError::Directory { .. }), "{error}");
}
