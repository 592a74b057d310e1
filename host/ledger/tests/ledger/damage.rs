//! Damaged files: what hit them is told by name, and what can be read is saved.

use std::fs::{self, File, OpenOptions};
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use rusqlite::Connection;
use sluice_core::policy::payout::Window;
use sluice_core::units::Difficulty;
use sluice_ledger::{
    Checked, FileError, Ledger, LostRows, Needed, OpenError, Salvaged, Verdict, check, database_in, salvage,
};

use crate::support::{block, config, hash, number, open, settlement, share, sql, until, worker};

const PAGE: u64 = 4096;
const SHARES: u64 = 5_000;

/// A closed ledger with rows in most tables, and nothing in its write-ahead log.
async fn filled(dir: &Path) {
    let ledger = open(dir);
    for rig in 0..200 {
        let id = worker(&ledger, &format!("account{rig}"), "rig");
        ledger.append(&[share(id, 1, 1.5)]).await.expect("room");
    }
    let id = worker(&ledger, "alice", "");
    let shares: Vec<_> = (1..=SHARES - 200).map(|number| share(id, number, 1.5)).collect();
    let last = ledger.append(&shares).await.expect("room");
    until(&ledger, last).await;
    ledger.block_found(block(900, id.1, Window::Round)).await.expect("written");
    ledger.block_verdict(hash(900), Verdict::Accepted).await.expect("known");
    let open = ledger.open_rounds().await.expect("readable").remove(0);
    assert!(ledger.settle_round(hash(900), settlement(open.round)).await.expect("booked"));
    ledger.close().await;
    let connection = sql(dir);
    connection.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(())).expect("moved");
}

/// The pages of a table or an index; the first is its root.
fn pages(dir: &Path, name: &str) -> Vec<u64> {
    let root = number(&sql(dir), &format!("SELECT rootpage FROM sqlite_schema WHERE name = '{name}'"));
    let mut file = File::open(database_in(dir)).expect("the database");
    let mut pages = vec![u64::try_from(root).expect("a page")];
    let mut next = 0;
    while let Some(page) = pages.get(next).copied() {
        pages.extend(children(&mut file, page));
        next += 1;
    }
    pages
}

/// What an interior page of a tree points to.
fn children(file: &mut File, page: u64) -> Vec<u64> {
    let mut bytes = [0; PAGE as usize];
    file.seek(SeekFrom::Start((page - 1) * PAGE)).expect("a page");
    file.read_exact(&mut bytes).expect("a page");
    if !matches!(bytes[0], 2 | 5) {
        return Vec::new();
    }
    let word = |at: usize| u64::from(u32::from_be_bytes(bytes[at..at + 4].try_into().expect("four bytes")));
    let short = |at: usize| usize::from(u16::from_be_bytes([bytes[at], bytes[at + 1]]));
    let mut list: Vec<u64> = (0..short(3)).map(|cell| word(short(12 + 2 * cell))).collect();
    list.push(word(8));
    list
}

fn overwrite(dir: &Path, position: u64, bytes: &[u8]) {
    let mut file = OpenOptions::new().write(true).open(database_in(dir)).expect("the database");
    file.seek(SeekFrom::Start(position)).expect("a position");
    file.write_all(bytes).expect("written");
}

fn spoil(dir: &Path, page: u64) {
    overwrite(dir, (page - 1) * PAGE, &[0xa5; PAGE as usize]);
}

fn refusal(dir: &Path) -> String {
    match Ledger::open(&config(dir)) {
        Ok(_) => panic!("it opened"),
        Err(error @ OpenError::Damaged { .. }) => error.to_string(),
        Err(error) => panic!("{error}"),
    }
}

fn checked(dir: &Path) -> Checked {
    check(&database_in(dir), &mut |_, _| {}).expect("readable")
}

fn salvaged(dir: &Path, to: &Path) -> Salvaged {
    salvage(&database_in(dir), to, &mut |_, _| {}).expect("salvaged")
}

/// A directory with the salvaged file in the place of a ledger.
fn placed(salvaged: &Salvaged) -> tempfile::TempDir {
    assert_eq!(salvaged.not_a_ledger, Vec::<String>::new());
    let dir = tempfile::tempdir().expect("a directory");
    fs::copy(&salvaged.file, database_in(dir.path())).expect("copied");
    dir
}

fn rows(salvaged: &Salvaged, table: &str) -> u64 {
    salvaged.tables.iter().find(|found| found.copied.name == table).expect("the table").copied.rows
}

#[tokio::test]
async fn a_whole_ledger_is_whole() {
    let dir = tempfile::tempdir().expect("a directory");
    filled(dir.path()).await;
    let found = checked(dir.path());
    assert!(found.is_whole(), "{found:?}");
    let shares = found.tables.iter().find(|table| table.name == "shares").expect("shares");
    assert_eq!((shares.rows, found.books_sum_sat), (SHARES, Some(0)));
    // While a pool has it open as well.
    let ledger = open(dir.path());
    assert!(checked(dir.path()).is_whole());
    ledger.close().await;
}

#[tokio::test]
async fn a_damaged_page_of_shares_costs_that_pages_rows() {
    let dir = tempfile::tempdir().expect("a directory");
    filled(dir.path()).await;
    let leaf = pages(dir.path(), "shares")[20];
    spoil(dir.path(), leaf);
    let text = refusal(dir.path());
    assert!(text.contains("table shares") && text.contains(&format!("page {leaf}")), "{text}");
    assert!(text.contains("sluice ledger check") && text.contains("restore a backup"), "{text}");

    let found = checked(dir.path());
    assert!(!found.is_whole());
    let part = &found.damage.parts[0];
    assert_eq!((part.table.as_deref(), part.pages.as_slice()), (Some("shares"), &[leaf as u32][..]));
    let hit: Vec<_> = found.damaged_tables().collect();
    assert_eq!((hit.len(), hit[0].name.as_str()), (1, "shares"));
    let [LostRows { after: Some(after), before: Some(before) }] = hit[0].lost[..] else {
        panic!("{:?}", hit[0].lost)
    };
    let lost = u64::try_from(before - after - 1).expect("some");
    assert!((20..200).contains(&lost) && hit[0].rows + lost == SHARES, "{lost} of {}", hit[0].rows);

    let out = tempfile::tempdir().expect("a directory");
    let copy = salvaged(dir.path(), &out.path().join("new.db"));
    assert!(copy.opens());
    assert_eq!(rows(&copy, "shares"), SHARES - lost);
    let dir = placed(&copy);
    let ledger = open(dir.path());
    let window = ledger.contributions(Window::Work(1e6), Difficulty::ONE).await.expect("readable");
    assert_eq!(window.through.0, SHARES);
    let counted: u64 = window.list.iter().map(|part| part.shares).sum();
    assert_eq!(counted, SHARES - lost);
    let id = worker(&ledger, "alice", "");
    let last = ledger.append(&[share(id, SHARES + 1, 1.5)]).await.expect("room");
    assert_eq!(last.0, SHARES + 1);
    until(&ledger, last).await;
    assert_eq!(ledger.books_sum().await.expect("a sum"), 0);
    let needed = Needed { window: Window::None, network_difficulty: Difficulty::ONE };
    let folded = ledger.fold(sluice_core::units::Timestamp(u64::MAX / 2), needed).await.expect("readable");
    // The block is not final: its shares stay, gap or not.
    assert_eq!(folded.shares, 0);
    ledger.close().await;
    let again = checked(dir.path());
    assert!(again.damage.said.is_empty() && !again.is_whole());
    assert_eq!(again.missing_shares, [LostRows { after: Some(after), before: Some(before) }]);
}

#[tokio::test]
async fn the_last_page_of_shares_may_be_lost_and_no_number_comes_twice() {
    let dir = tempfile::tempdir().expect("a directory");
    filled(dir.path()).await;
    let leaf = *pages(dir.path(), "shares").last().expect("pages");
    spoil(dir.path(), leaf);
    let out = tempfile::tempdir().expect("a directory");
    let copy = salvaged(dir.path(), &out.path().join("new.db"));
    let dir = placed(&copy);
    assert!(number(&sql(dir.path()), "SELECT max(seq) FROM shares") < SHARES as i64);
    let ledger = open(dir.path());
    let id = worker(&ledger, "alice", "");
    // Time windows are taken from the newest share there is.
    let window = ledger.contributions(Window::DurationMs(10_000), Difficulty::ONE).await.expect("readable");
    assert_eq!(window.list.iter().map(|part| part.shares).sum::<u64>(), 11);
    let last = ledger.append(&[share(id, SHARES + 1, 1.5)]).await.expect("room");
    assert_eq!(last.0, SHARES + 1);
    until(&ledger, last).await;
    ledger.close().await;
    open(dir.path()).close().await;
}

#[tokio::test]
async fn a_damaged_index_costs_nothing() {
    let dir = tempfile::tempdir().expect("a directory");
    filled(dir.path()).await;
    let index = "sqlite_autoindex_accounts_1";
    spoil(dir.path(), *pages(dir.path(), index).last().expect("a page"));
    let text = refusal(dir.path());
    assert!(text.contains(index) && text.contains("table accounts"), "{text}");
    let found = checked(dir.path());
    assert!(found.damage.parts[0].index && found.damaged_tables().next().is_none(), "{found:?}");
    let out = tempfile::tempdir().expect("a directory");
    let copy = salvaged(dir.path(), &out.path().join("new.db"));
    assert_eq!((rows(&copy, "shares"), rows(&copy, "accounts")), (SHARES, 201));
    let dir = placed(&copy);
    assert!(checked(dir.path()).is_whole());
    open(dir.path()).close().await;
}

#[tokio::test]
async fn damaged_books_are_named_and_make_no_ledger() {
    let dir = tempfile::tempdir().expect("a directory");
    filled(dir.path()).await;
    spoil(dir.path(), pages(dir.path(), "entries")[1]);
    let text = refusal(dir.path());
    assert!(text.contains("table entries"), "{text}");
    let out = tempfile::tempdir().expect("a directory");
    let copy = salvaged(dir.path(), &out.path().join("new.db"));
    assert!(!copy.opens());
    assert!(copy.not_a_ledger[0].contains("entries"), "{:?}", copy.not_a_ledger);
    assert_eq!(copy.file, out.path().join("new.db.partial"));
    assert_eq!(rows(&copy, "shares"), SHARES);
    let place = tempfile::tempdir().expect("a directory");
    fs::copy(&copy.file, database_in(place.path())).expect("copied");
    assert!(matches!(Ledger::open(&config(place.path())), Err(OpenError::Foreign { .. })));
}

#[tokio::test]
async fn lost_statistics_are_added_up_anew() {
    let dir = tempfile::tempdir().expect("a directory");
    filled(dir.path()).await;
    spoil(dir.path(), pages(dir.path(), "worker_totals")[1]);
    let out = tempfile::tempdir().expect("a directory");
    let copy = salvaged(dir.path(), &out.path().join("new.db"));
    let dir = placed(&copy);
    let ledger = open(dir.path());
    assert_eq!(ledger.totals().await.expect("totals").shares, SHARES);
}

#[tokio::test]
async fn a_damaged_header_is_told_and_left_alone() {
    let dir = tempfile::tempdir().expect("a directory");
    filled(dir.path()).await;
    overwrite(dir.path(), 0, b"not a database at all");
    let text = refusal(dir.path());
    assert!(text.contains("header (page 1)"), "{text}");
    let out = dir.path().join("new.db");
    for result in [
        check(&database_in(dir.path()), &mut |_, _| {}).map(drop),
        salvage(&database_in(dir.path()), &out, &mut |_, _| {}).map(drop),
    ] {
        assert!(matches!(result, Err(FileError::Damaged { .. })), "{result:?}");
    }
    assert!(!out.exists());
}

#[tokio::test]
async fn a_cut_file_is_told_and_what_is_left_is_read() {
    let dir = tempfile::tempdir().expect("a directory");
    filled(dir.path()).await;
    let path = database_in(dir.path());
    let length = fs::metadata(&path).expect("the database").len();
    let kept = length / PAGE * 2 / 3;
    OpenOptions::new().write(true).open(&path).expect("the database").set_len(kept * PAGE).expect("cut");
    let text = refusal(dir.path());
    assert!(text.contains(&format!("it ends after page {kept} of {}", length / PAGE)), "{text}");
    let found = checked(dir.path());
    let shares = found.tables.iter().find(|table| table.name == "shares").expect("shares");
    assert!(shares.rows > 0 && !shares.is_whole(), "{shares:?}");
}

#[tokio::test]
async fn a_salvage_never_writes_over_a_file() {
    let dir = tempfile::tempdir().expect("a directory");
    filled(dir.path()).await;
    for name in ["there.db", "other.db.partial"] {
        let file: PathBuf = dir.path().join(name);
        fs::write(&file, "mine").expect("written");
        let to = dir.path().join(name.trim_end_matches(".partial"));
        let refused = salvage(&database_in(dir.path()), &to, &mut |_, _| {});
        assert!(matches!(refused, Err(FileError::Exists { .. })), "{refused:?}");
        assert_eq!(fs::read_to_string(&file).expect("there"), "mine");
    }
    assert!(matches!(
        salvage(&dir.path().join("none.db"), &dir.path().join("a.db"), &mut |_, _| {}),
        Err(FileError::Missing { .. })
    ));
}

#[tokio::test]
async fn a_ledger_of_an_earlier_version_is_salvaged_into_the_present_one() {
    let dir = tempfile::tempdir().expect("a directory");
    crate::migrations::version_2(dir.path());
    let out = tempfile::tempdir().expect("a directory");
    let copy = salvaged(dir.path(), &out.path().join("new.db"));
    let dir = placed(&copy);
    let connection = Connection::open(database_in(dir.path())).expect("the copy");
    assert_eq!(number(&connection, "SELECT count(*) FROM journal WHERE sealed = 1"), 5);
    drop(connection);
    open(dir.path()).close().await;
}
