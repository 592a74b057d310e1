//! All rows of a ledger, to be compared.

use std::path::Path;

use rusqlite::types::ValueRef;
use rusqlite::{Connection, Row};

use crate::support::sql;

/// Where `at_ms` is the wall clock's, not the history's.
const STAMPED: [&str; 6] = ["accruals", "addresses", "journal", "payouts", "rounds", "terms"];

/// Each row of each table as a line, sorted.
pub(crate) fn rows(dir: &Path) -> Vec<String> {
    all(&sql(dir), &[])
}

/// The same without the wall clock's times.
pub(crate) fn timeless(dir: &Path) -> Vec<String> {
    all(&sql(dir), &STAMPED)
}

fn all(connection: &Connection, timeless: &[&str]) -> Vec<String> {
    // One moment of all tables.
    connection.execute_batch("BEGIN").expect("a transaction");
    let mut names = connection
        .prepare("SELECT name FROM sqlite_schema WHERE type = 'table' ORDER BY name")
        .expect("tables");
    let names: Vec<String> =
        names.query_map([], |row| row.get(0)).expect("tables").collect::<Result<_, _>>().expect("names");
    let mut lines = Vec::new();
    for name in &names {
        let mut statement = connection.prepare(&format!("SELECT * FROM {name}")).expect("a table");
        let columns: Vec<String> = statement.column_names().into_iter().map(str::to_owned).collect();
        let stamped = timeless.contains(&name.as_str());
        let read = |row: &Row<'_>| {
            let column = |(at, column): (usize, &String)| {
                (!stamped || column != "at_ms").then(|| Ok(format!("{column}={}", text(row.get_ref(at)?))))
            };
            let fields: rusqlite::Result<Vec<_>> = columns.iter().enumerate().filter_map(column).collect();
            Ok(format!("{name}: {}", fields?.join(" ")))
        };
        lines.extend(statement.query_map([], read).expect("rows").map(|line| line.expect("a row")));
    }
    connection.execute_batch("COMMIT").expect("read");
    lines.sort();
    lines
}

fn text(value: ValueRef<'_>) -> String {
    match value {
        ValueRef::Null => "-".to_owned(),
        ValueRef::Integer(number) => number.to_string(),
        ValueRef::Real(number) => format!("{number:?}"),
        ValueRef::Text(text) => String::from_utf8_lossy(text).into_owned(),
        ValueRef::Blob(bytes) => bytes.iter().map(|byte| format!("{byte:02x}")).collect(),
    }
}

/// Panics with the first line that only one side has.
pub(crate) fn assert_same(expected: &[String], found: &[String], what: &str) {
    let lacks = |a: &[String], b: &[String]| a.iter().find(|line| !b.contains(line)).cloned();
    if expected != found {
        let (gone, new) = (lacks(expected, found), lacks(found, expected));
        panic!("{what}:\n expected {gone:#?}\n found {new:#?}");
    }
}
