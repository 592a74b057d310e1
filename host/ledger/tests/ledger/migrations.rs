//! Ledgers of earlier versions open, whole, and go on.

use std::fs;
use std::path::Path;

use rusqlite::Connection;
use sluice_core::bitcoin::hashes::{Hash, sha256};
use sluice_ledger::{Balance, BlockState, Change, OpenError, Place};

use crate::support::{config, hash, number, open, sql};

/// The schema as version 1 made it.
const VERSION_1: &str = include_str!("../../src/schema/1.sql");
/// The step from there to version 2.
const VERSION_2: &str = include_str!("../../src/schema/2.sql");
/// The step from there to version 3, the present one.
const VERSION_3: &str = include_str!("../../src/schema/3.sql");

/// Two accounts, three shares, a settled block (number 900), one that is accepted (901), a rejected one (902).
const CONTENT: &str = "
    INSERT INTO accounts VALUES (1, 'alice'), (2, 'bob');
    INSERT INTO workers VALUES (1, 1, 'rig'), (2, 2, '');
    INSERT INTO addresses VALUES (1, 1, 5, 'where alice is paid');
    INSERT INTO templates VALUES (1, 100, x'00', 4.0, 5000, 123, 1);
    INSERT INTO shares VALUES (1, 1000, 1, 1, 0, 3.0, x'01'), (2, 2000, 2, 1, 0, 1.0, x'02'), (3, 3000, 2, 1, 0, 8.0, x'03');
    INSERT INTO block_payments VALUES (1, 1, 'alice', 'there', 3000), (1, 2, '', 'house', 2123);
    INSERT INTO rounds VALUES (1, 4000, 'by-work', '1.0.0', 'abab', '{}', '{}', '[]');
    INSERT INTO journal VALUES (1, 4000, 1, 0);
    INSERT INTO entries VALUES (1, 1, 'reward', NULL, 'reward', -5123, ''), (1, 2, 'house', NULL, 'credit', 51, 'fee'),
        (1, 3, 'account', 1, 'credit', 3804, 'work'), (1, 4, 'account', 2, 'credit', 1268, 'work'),
        (1, 5, 'account', 1, 'payment', -3000, 'there'), (1, 6, 'house', NULL, 'payment', -2123, 'house'),
        (1, 7, 'coinbase', NULL, 'payment', 5123, '');
    UPDATE journal SET sealed = 1;
";

/// What version 1 leaves when it is closed.
fn version_1(dir: &Path) {
    let connection = Connection::open(dir.join("ledger.db")).expect("a database");
    connection.pragma_update(None, "journal_mode", "WAL").expect("WAL");
    connection.execute_batch(VERSION_1).expect("the schema");
    connection.pragma_update(None, "foreign_keys", false).expect("in any order");
    for (id, state, reason, through) in
        [(1u64, "accepted", "", 2), (2, "accepted", "", 3), (3, "rejected", "high-hash", 3)]
    {
        let block =
            "INSERT INTO blocks VALUES (?, ?, 100, 1, 3500, 1, 4.0, 4.0, 5000, 123, ?, '\"round\"', ?, ?)";
        let hash = hash(899 + id);
        let bytes: &[u8] = hash.as_ref();
        connection
            .execute(block, rusqlite::params![id as i64, bytes, through, state, reason])
            .expect("a block");
    }
    connection.execute_batch(CONTENT).expect("rows");
    connection.pragma_update(None, "application_id", 0x534c_4752).expect("ours");
    connection.pragma_update(None, "user_version", 1).expect("version 1");
}

/// What version 2 adds: a block that left the chain and came back (900), one that stayed out (901), statistics.
const CONTENT_2: &str = "
    UPDATE blocks SET state = 'immature', confirmations = 5 WHERE id = 1;
    UPDATE blocks SET state = 'orphaned' WHERE id = 2;
    INSERT INTO worker_totals VALUES (1, 0, 1, x'00000000000000000000000300000000', 1000);
    UPDATE totals_through SET through = 1;
    INSERT INTO rounds VALUES (2, 4100, 'by-work', '1.0.0', 'abab', '{}', '{}', '[]');
    INSERT INTO journal VALUES (2, 4050, 1, 2, 0);
    INSERT INTO entries SELECT 2, line, book, account, 'reversal', -amount, reason FROM entries WHERE journal = 1;
    UPDATE journal SET sealed = 1 WHERE id = 2;
    INSERT INTO journal VALUES (3, 4060, 1, 3, 0);
    INSERT INTO entries SELECT 3, line, book, account, cause, amount, reason FROM entries WHERE journal = 1;
    UPDATE journal SET sealed = 1 WHERE id = 3;
    INSERT INTO journal VALUES (4, 4100, 2, 1, 0);
    INSERT INTO entries VALUES (4, 1, 'reward', NULL, 'reward', -5123, ''), (4, 2, 'account', 2, 'credit', 5123, 'work');
    UPDATE journal SET sealed = 1 WHERE id = 4;
    INSERT INTO journal VALUES (5, 4200, 2, 2, 0);
    INSERT INTO entries SELECT 5, line, book, account, 'reversal', -amount, reason FROM entries WHERE journal = 4;
    UPDATE journal SET sealed = 1 WHERE id = 5;
";

/// What version 2 leaves when it is closed: rows in every table.
pub(crate) fn version_2(dir: &Path) {
    version_1(dir);
    let connection = sql(dir);
    connection.pragma_update(None, "foreign_keys", false).expect("tables are written anew");
    connection.execute_batch(VERSION_2).expect("the step");
    connection.pragma_update(None, "user_version", 2).expect("version 2");
    connection.execute_batch(CONTENT_2).expect("rows");
}

#[test]
fn a_released_schema_never_changes() {
    let hash = |text: &str| sha256::Hash::hash(text.as_bytes()).to_string();
    let released = [
        (VERSION_1, "a8b962be1d3a291925342990f3aa2bc9a4ab7fb6d140b18240deb825c37e2b4e"),
        (VERSION_2, "7eb7819c503e9911a3aed23913071d872377241fc96e5ba5e26ab17b58dc8bd3"),
    ];
    for (text, pinned) in released {
        assert_eq!(hash(text), pinned, "there are ledgers made with it: write another version");
    }
}

#[tokio::test]
async fn a_ledger_of_version_1_opens_whole_and_its_blocks_live_on() {
    let dir = tempfile::tempdir().expect("a directory");
    version_1(dir.path());
    let ledger = open(dir.path());
    let views = ledger.blocks(10).await.expect("blocks");
    let seen: Vec<_> = views.iter().map(|view| (view.state, view.settled, view.reason.as_str())).collect();
    let accepted = BlockState::Accepted;
    assert_eq!(
        seen,
        [(BlockState::Rejected, false, "high-hash"), (accepted, false, ""), (accepted, true, "")]
    );
    assert_eq!(views[2].payments.len(), 2);
    let totals = ledger.totals().await.expect("totals");
    assert_eq!((totals.shares, totals.blocks, totals.work), (3, 3, 12.0));
    assert_eq!(ledger.address_of("alice").as_deref(), Some("where alice is paid"));
    let row =
        |account: &str, sat: i64| Balance { account: account.into(), sat, mature_sat: 0, immature_sat: sat };
    let booked = [row("", -2_072), row("alice", 804), row("bob", 1_268)];
    assert_eq!(ledger.balances().await.expect("balances"), booked);
    assert_eq!(ledger.open_rounds().await.expect("rounds").len(), 1);

    let look = async |place| ledger.block_places(vec![(hash(900), place)]).await.expect("known")[0];
    assert_eq!(look(Place::Aside).await, Change::Orphaned);
    assert!(ledger.balances().await.expect("balances").iter().all(|row| row.sat == 0));
    assert_eq!(look(Place::InChain { confirmations: 100 }).await, Change::Returned);
    assert_eq!(ledger.balances().await.expect("balances"), booked);
    ledger.close().await;
    let connection = sql(dir.path());
    assert_eq!(number(&connection, "SELECT count(*) FROM journal WHERE sealed = 1"), 3);
    assert_eq!(number(&connection, "SELECT count(*) FROM pragma_foreign_key_check"), 0);
}

/// Its version, and type, name, table and text of everything in it.
type Schema = (i64, Vec<[Option<String>; 4]>);

/// What opening the ledger in `dir` leaves.
async fn schema(dir: &Path) -> Schema {
    open(dir).close().await;
    let connection = sql(dir);
    let mut statement = connection
        .prepare("SELECT type, name, tbl_name, sql FROM sqlite_schema ORDER BY type, name")
        .expect("a schema");
    let rows = statement.query_map([], |row| Ok([row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?]));
    let rows = rows.expect("rows").map(|row| row.expect("a row")).collect();
    (number(&connection, "PRAGMA user_version"), rows)
}

#[tokio::test]
async fn a_migrated_ledger_has_the_schema_of_a_new_one() {
    let new = tempfile::tempdir().expect("a directory");
    let present = schema(new.path()).await;
    assert_eq!(present.0, 3);
    for released in [version_1, version_2] {
        let old = tempfile::tempdir().expect("a directory");
        released(old.path());
        assert_eq!(schema(old.path()).await, present);
    }
}

/// Every row of the tables that version 2 has, but for the columns that came later.
fn rows_of_2(connection: &Connection) -> Vec<String> {
    let queries = [
        "SELECT * FROM accounts",
        "SELECT * FROM workers",
        "SELECT * FROM addresses",
        "SELECT * FROM templates",
        "SELECT * FROM shares",
        "SELECT * FROM worker_totals",
        "SELECT * FROM totals_through",
        "SELECT * FROM blocks",
        "SELECT * FROM block_payments",
        "SELECT * FROM rounds",
        "SELECT id, at_ms, block, number, sealed FROM journal",
        "SELECT * FROM entries",
    ];
    let mut all = Vec::new();
    for query in queries {
        let mut statement = connection.prepare(query).expect(query);
        let columns = statement.column_count();
        let mut rows = statement.query([]).expect(query);
        while let Some(row) = rows.next().expect(query) {
            let values: Vec<_> = (0..columns).map(|column| row.get_ref(column).expect("a value")).collect();
            all.push(format!("{query}: {values:?}"));
        }
    }
    all
}

#[tokio::test]
async fn a_ledger_of_version_2_opens_with_every_row() {
    let dir = tempfile::tempdir().expect("a directory");
    version_2(dir.path());
    let before = rows_of_2(&sql(dir.path()));
    let ledger = open(dir.path());
    assert_eq!(rows_of_2(&sql(dir.path())), before);
    let states: Vec<_> = ledger
        .blocks(10)
        .await
        .expect("blocks")
        .iter()
        .map(|view| (view.state, view.confirmations))
        .collect();
    let expected = [(BlockState::Rejected, 0), (BlockState::Orphaned, 0), (BlockState::Immature, 5)];
    assert_eq!(states, expected);
    let totals = ledger.totals().await.expect("totals");
    assert_eq!((totals.shares, totals.work), (3, 12.0));
    let sats: Vec<_> =
        ledger.balances().await.expect("balances").into_iter().map(|row| (row.account, row.sat)).collect();
    let row = |account: &str, sat| (account.to_owned(), sat);
    assert_eq!(sats, [row("", -2_072), row("alice", 804), row("bob", 1_268)]);
    let look =
        async |number, place| ledger.block_places(vec![(hash(number), place)]).await.expect("known")[0];
    assert_eq!(look(901, Place::InChain { confirmations: 1 }).await, Change::Returned);
    assert_eq!(look(900, Place::Aside).await, Change::Orphaned);
    let bob = ledger.balances().await.expect("balances").into_iter().find(|row| row.account == "bob");
    assert_eq!(bob.expect("bob").sat, 5_123);
    assert_eq!(ledger.books_sum().await.expect("a sum"), 0);
}

#[tokio::test]
async fn what_is_sealed_is_refused_after_a_migration_as_before() {
    for released in [version_1, version_2] {
        let dir = tempfile::tempdir().expect("a directory");
        released(dir.path());
        open(dir.path()).close().await;
        let connection = sql(dir.path());
        let before = rows_of_2(&connection);
        for (forgery, word) in [
            ("UPDATE journal SET at_ms = 0 WHERE id = 1", "never changed"),
            ("DELETE FROM journal WHERE id = 1", "never deleted"),
            ("INSERT INTO entries VALUES (1, 9, 'house', NULL, 'credit', 1, '')", "never changed"),
            ("UPDATE entries SET amount = 0", "never changed"),
            ("DELETE FROM entries", "never deleted"),
            (
                "INSERT INTO rounds VALUES (3, 0, '', '', '', '', '', ''); \
                 INSERT INTO journal (id, at_ms, block, number) VALUES (50, 0, 3, 1); \
                 INSERT INTO entries VALUES (50, 1, 'house', NULL, 'credit', 1, ''); \
                 UPDATE journal SET sealed = 1 WHERE id = 50",
                "sum to zero",
            ),
            (
                "INSERT INTO journal (id, at_ms, block, number) VALUES (50, 0, 1, 9); \
                 UPDATE journal SET sealed = 1 WHERE id = 50",
                "does not undo",
            ),
        ] {
            let refused = connection.execute_batch(&format!("BEGIN; {forgery}")).expect_err(forgery);
            assert!(refused.to_string().contains(word), "{forgery}: {refused}");
            connection.execute_batch("ROLLBACK").expect("undone");
        }
        assert_eq!(rows_of_2(&connection), before);
    }
}

/// Copies the database as it lies there, as a kill -9 leaves it.
fn killed(dir: &Path) -> tempfile::TempDir {
    let left = tempfile::tempdir().expect("a directory");
    for name in ["ledger.db", "ledger.db-wal"] {
        fs::copy(dir.join(name), left.path().join(name)).expect("copied");
    }
    left
}

#[tokio::test]
async fn a_crash_while_it_migrates_leaves_the_old_or_the_new() {
    let dir = tempfile::tempdir().expect("a directory");
    version_2(dir.path());
    let connection = sql(dir.path());
    let before = rows_of_2(&connection);
    connection.pragma_update(None, "foreign_keys", false).expect("as it is migrated");
    // So few pages that the transaction reaches the disk before it ends.
    connection.pragma_update(None, "cache_size", 4).expect("set");
    for (step, version) in [("BEGIN", 2), (VERSION_3, 2), ("PRAGMA user_version = 3", 2), ("COMMIT", 3)] {
        connection.execute_batch(step).expect("a step");
        let left = killed(dir.path());
        assert_eq!(number(&sql(left.path()), "PRAGMA user_version"), version, "{step:.20}");
        let ledger = open(left.path());
        assert_eq!(rows_of_2(&sql(left.path())), before);
        assert_eq!(ledger.books_sum().await.expect("a sum"), 0);
        ledger.close().await;
        assert_eq!(number(&sql(left.path()), "PRAGMA user_version"), 3);
    }
}

#[tokio::test]
async fn rows_that_name_what_is_not_there_are_refused_and_the_file_stays_as_it_was() {
    let dir = tempfile::tempdir().expect("a directory");
    version_1(dir.path());
    let forged = "PRAGMA foreign_keys = OFF; INSERT INTO rounds VALUES (77, 0, '', '', '', '', '', '')";
    sql(dir.path()).execute_batch(forged).expect("forged");
    let Err(error) = sluice_ledger::Ledger::open(&config(dir.path())) else { panic!("it opened") };
    assert!(matches!(error, OpenError::Damaged { .. }), "{error}");
    assert_eq!(number(&sql(dir.path()), "PRAGMA user_version"), 1);
}
