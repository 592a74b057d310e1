use super::*;
use crate::open::{Durability, open_writer};

/// How SQLite goes about it, step by step.
fn plan(connection: &Connection, text: &str) -> Vec<String> {
    let mut statement = connection.prepare(&format!("EXPLAIN QUERY PLAN {text}")).unwrap();
    let values = vec![1i64; statement.parameter_count()];
    let steps = statement.query_map(rusqlite::params_from_iter(values), |row| row.get(3)).unwrap();
    steps.map(Result::unwrap).collect()
}

#[test]
fn an_account_is_read_from_indexes_however_long_the_books_are() {
    let dir = tempfile::tempdir().unwrap();
    let connection = open_writer(&dir.path().join("ledger.db"), Durability::Process).unwrap();
    for (text, first) in [
        (SUM.to_owned(), "SEARCH sums USING INTEGER PRIMARY KEY"),
        (IMMATURE.to_owned(), "SCAN b"),
        (credits_text(), "SEARCH e USING INDEX entries_of_account (account=?)"),
        (PAYOUTS.to_owned(), "SEARCH l USING"),
    ] {
        let steps = plan(&connection, &text);
        assert!(steps[0].starts_with(first), "{steps:?}");
        // Blocks are few; nothing else is read from end to end, and nothing is sorted.
        let whole = |step: &&String| step.starts_with("SCAN") && *step != "SCAN b";
        assert_eq!(steps.iter().find(whole), None, "{text}");
        assert!(!steps.iter().any(|step| step.contains("TEMP B-TREE")), "{steps:?}");
    }
    let immature = plan(&connection, IMMATURE);
    let covered = "SEARCH e USING COVERING INDEX entries_of_account (account=? AND journal=?)";
    assert!(immature.iter().any(|step| step == covered), "{immature:?}");
}

#[test]
fn what_is_due_is_never_what_could_be_taken_away() {
    for (total, immature, due) in [(100, 0, 100), (100, 40, 60), (100, -40, 100), (30, -40, 30), (-5, 0, 0)] {
        assert_eq!(Owed::new(total, immature).due_sat, due, "{total} {immature}");
    }
    assert_eq!(Owed::new(i64::MIN, i64::MAX).due_sat, 0);
}
