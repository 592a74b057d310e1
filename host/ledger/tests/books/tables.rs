//! Both formats of an export say the same, cell by cell, and the files are what docs/ledger.md says of them.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::path::Path;

use parquet::file::reader::{FileReader, SerializedFileReader};
use parquet::record::Field;
use serde_json::Value;
use serde_json::value::RawValue;
use sluice_core::policy::payout::Window;
use sluice_ledger::{Format, database_in, export};

use crate::judge::{find, history};
use crate::support::{sql, worker};
use crate::{accruals, payouts};

/// A cell as text, in both formats.
type Rows = Vec<BTreeMap<String, String>>;

/// RFC 4180: fields in quotes may hold anything, a quote twice.
fn records(text: &str) -> Vec<Vec<String>> {
    let (mut list, mut record, mut field, mut quoted) = (Vec::new(), Vec::new(), String::new(), false);
    let mut characters = text.chars().peekable();
    while let Some(character) = characters.next() {
        match character {
            '"' if quoted && characters.peek() == Some(&'"') => field.extend(characters.next()),
            '"' => quoted = !quoted,
            ',' if !quoted => record.push(std::mem::take(&mut field)),
            '\n' if !quoted => {
                record.push(std::mem::take(&mut field));
                list.push(std::mem::take(&mut record));
            }
            other => field.push(other),
        }
    }
    assert!(record.is_empty() && field.is_empty() && !quoted, "the file ends with a line");
    list
}

fn csv(path: &Path) -> (Vec<String>, Rows) {
    let mut records = records(&fs::read_to_string(path).expect("readable")).into_iter();
    let header = records.next().expect("a header");
    let rows = records.map(|record| {
        assert_eq!(record.len(), header.len(), "{}", path.display());
        header.iter().cloned().zip(record).collect()
    });
    (header.clone(), rows.collect())
}

fn lines(path: &Path) -> Rows {
    let text = fs::read_to_string(path).expect("readable");
    let row = |line: &str| {
        let fields: BTreeMap<String, Box<RawValue>> = serde_json::from_str(line).expect("JSON");
        let cell = |value: &RawValue| match serde_json::from_str(value.get()).expect("JSON") {
            Value::String(text) => text,
            _ => value.get().to_owned(),
        };
        fields.iter().map(|(name, value)| (name.clone(), cell(value))).collect()
    };
    text.lines().map(row).collect()
}

fn parquet(path: &Path) -> (Vec<String>, Rows) {
    let reader = SerializedFileReader::new(File::open(path).expect("there")).expect("Parquet");
    let schema = reader.metadata().file_metadata().schema_descr();
    let names = schema.columns().iter().map(|column| column.name().to_owned()).collect();
    let cell = |field: &Field| match field {
        Field::Null => String::new(),
        Field::Long(value) | Field::TimestampMillis(value) => value.to_string(),
        Field::Double(value) => value.to_string(),
        Field::Str(text) => text.clone(),
        other => panic!("{other:?} in {}", path.display()),
    };
    let rows = reader.get_row_iter(None).expect("rows").map(|row| {
        let row = row.expect("a row");
        row.get_column_iter().map(|(name, field)| (name.clone(), cell(field))).collect()
    });
    (names, rows.collect())
}

/// Every kind of row there is, and names that would break a line.
async fn everything(dir: &Path) {
    payouts::history(dir).await;
    let ledger = history(dir, Window::Round).await;
    let odd = worker(&ledger, "dave", "a,b");
    ledger.append(&[crate::support::share(odd, 41, 1.0 / 3.0)]).await.expect("room");
    find(&ledger, 41, Window::Round).await;
    ledger.accruing(true).await.expect("written");
    accruals::append(&ledger, 42..=50).await;
    accruals::accrue(&ledger).await;
    ledger.close().await;
    let file = sql(dir);
    file.execute_batch(
        "INSERT INTO payout_inputs VALUES (1, 1, x'000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f', 3, 77); \
         INSERT INTO terms (account, at_ms, minimum, held, reason) VALUES (1, 5, NULL, 1, 'a \"reason\",
of two lines'); \
         INSERT INTO share_hours VALUES (7, 1, 0, 9, x'0000000000000000ffffffffffffffff')",
    )
    .expect("written");
}

#[tokio::test]
async fn both_formats_say_the_same() {
    let dir = tempfile::tempdir().expect("a directory");
    everything(dir.path()).await;
    let out = |name: &str| dir.path().join(name);
    let database = database_in(dir.path());
    let text = export(&database, &out("csv"), Format::Csv, &mut |_| {}).expect("written");
    let typed = export(&database, &out("parquet"), Format::Parquet, &mut |_| {}).expect("written");
    assert_eq!(text, typed);
    assert!(text.accruals == 1 && text.payouts == 3 && text.rounds >= 4, "{text:?}");
    let mut files = 0;
    for entry in fs::read_dir(out("csv")).expect("readable") {
        let path = entry.expect("readable").path();
        let other = out("parquet").join(path.file_name().expect("a name")).with_extension("parquet");
        let (names, rows) = parquet(&other);
        let expected = if path.extension().is_some_and(|kind| kind == "csv") {
            let (header, rows) = csv(&path);
            assert_eq!(header, names);
            rows
        } else {
            lines(&path)
        };
        assert!(!expected.is_empty(), "{} has rows", path.display());
        assert_eq!(rows, expected, "{}", path.display());
        files += 1;
    }
    assert_eq!(fs::read_dir(out("parquet")).expect("readable").count(), files);
}

#[tokio::test]
async fn a_cell_is_what_the_documentation_says() {
    let dir = tempfile::tempdir().expect("a directory");
    everything(dir.path()).await;
    let out = dir.path().join("books");
    export(&database_in(dir.path()), &out, Format::Csv, &mut |_| {}).expect("written");
    let table = |name: &str| csv(&out.join(format!("{name}.csv"))).1;
    let inputs = table("payout_inputs");
    assert_eq!(
        inputs[0]["txid"], "1f1e1d1c1b1a191817161514131211100f0e0d0c0b0a09080706050403020100",
        "as people write it"
    );
    let terms = table("terms");
    assert_eq!((terms[0]["minimum_sat"].as_str(), terms[0]["held"].as_str()), ("", "1"));
    assert_eq!(terms[0]["reason"], "a \"reason\",\nof two lines");
    let hours = table("share_hours");
    assert_eq!((hours[0]["hour"].as_str(), hours[0]["work"].as_str()), ("7", "18446744073709551615"));
    let shares = table("shares");
    assert!(shares.iter().any(|share| share["worker"] == "a,b" && share["account"] == "dave"));
    // What belongs to an accrual or a payout says so.
    let entries = table("entries");
    let of = |column: &str, cause: &str| {
        let mut rows = entries.iter().filter(|entry| entry["cause"] == cause).peekable();
        assert!(rows.peek().is_some(), "no entry of the cause {cause}");
        rows.all(|entry| !entry[column].is_empty())
    };
    assert!(
        of("accrual", "accrual") && of("payout", "payout") && of("payout", "fee") && of("block", "credit")
    );
    // The documentation names every file and every column.
    let documentation = include_str!("../../../../docs/ledger.md");
    for entry in fs::read_dir(&out).expect("readable") {
        let path = entry.expect("readable").path();
        let name = path.file_name().and_then(|name| name.to_str()).expect("a name");
        let line = documentation.lines().find(|line| line.starts_with(&format!("| `{name}` |")));
        let line = line.unwrap_or_else(|| panic!("{name} is not documented"));
        let rows = if name.ends_with("csv") { csv(&path).1 } else { lines(&path) };
        for column in rows[0].keys() {
            assert!(line.contains(&format!("`{column}`")), "{name}: `{column}` is not documented");
        }
    }
}
