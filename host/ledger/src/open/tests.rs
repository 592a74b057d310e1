use std::io::{Seek, SeekFrom, Write};

use super::*;

const PAGE: u64 = 4096;

/// A ledger in which the first page of `table` holds nonsense.
fn spoiled(dir: &Path, table: &str) -> PathBuf {
    let path = database_path(dir);
    let connection = open_writer(&path, Durability::Process).unwrap();
    let root: i64 = connection
        .query_row("SELECT rootpage FROM sqlite_schema WHERE type = 'table' AND name = ?", [table], |row| {
            row.get(0)
        })
        .unwrap();
    connection.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(())).unwrap();
    drop(connection);
    let mut file = File::options().write(true).open(&path).unwrap();
    file.seek(SeekFrom::Start((u64::try_from(root).unwrap() - 1) * PAGE)).unwrap();
    file.write_all(&[0xa5; PAGE as usize]).unwrap();
    path
}

/// What a check of a ledger with a damaged table says, of a file above the limit or below it.
fn verdict(table: &str, limit: u64) -> Result<(), String> {
    let dir = tempfile::tempdir().unwrap();
    let path = spoiled(dir.path(), table);
    check_up_to(limit, &path, &connect(&path).unwrap()).map_err(|error| error.to_string())
}

#[test]
fn of_a_long_ledger_all_is_checked_but_what_only_grows() {
    for table in LONG {
        assert_eq!(verdict(table, 0), Ok(()), "{table}");
        let error = verdict(table, CHECK_LIMIT_BYTES).unwrap_err();
        assert!(error.contains(&format!("table {table}")), "{error}");
    }
    for table in ["entries", "journal", "payout_lines", "sums", "accounts", "share_hours"] {
        let error = verdict(table, 0).unwrap_err();
        assert!(error.contains(table), "{table}: {error}");
    }
}

#[test]
fn a_balance_that_is_not_the_sum_of_its_entries_is_damage() {
    let dir = tempfile::tempdir().unwrap();
    let path = database_path(dir.path());
    let connection = open_writer(&path, Durability::Process).unwrap();
    let book = "PRAGMA foreign_keys = 0;
        INSERT INTO entries VALUES (1, 1, 'account', 7, 'accrual', 300, ''), (1, 2, 'house', NULL, 'accrual', -300, '');";
    connection.execute_batch(book).unwrap();
    assert!(check(&path, &connection).is_ok());
    for spoil in [
        "UPDATE sums SET amount = 301 WHERE account = 7",
        "UPDATE sums SET account = 8 WHERE account = 7",
        "DELETE FROM sums WHERE account = -1",
    ] {
        let aside = connection.unchecked_transaction().unwrap();
        aside.execute_batch(spoil).unwrap();
        let error = check(&path, &aside).unwrap_err().to_string();
        assert!(error.contains("not the sum of their entries"), "{spoil}: {error}");
    }
}

#[test]
fn a_connection_of_the_pool_waits_for_a_desk() {
    let dir = tempfile::tempdir().unwrap();
    let connection = open_writer(&database_path(dir.path()), Durability::Process).unwrap();
    let millis: i64 = connection.pragma_query_value(None, "busy_timeout", |row| row.get(0)).unwrap();
    assert_eq!(Duration::from_millis(millis.unsigned_abs()), BUSY_WAIT);
}
