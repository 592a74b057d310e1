//! Ledgers of earlier versions open, whole, and go on.

use std::path::Path;

use rusqlite::Connection;
use sluice_core::bitcoin::hashes::{Hash, sha256};
use sluice_ledger::{Balance, BlockState, Change, OpenError, Place};

use crate::support::{config, hash, number, open, sql};

/// The schema as version 1 made it.
const VERSION_1: &str = include_str!("../../src/schema/1.sql");

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

#[test]
fn a_released_schema_never_changes() {
    let hash = sha256::Hash::hash(VERSION_1.as_bytes()).to_string();
    assert_eq!(
        hash, "a8b962be1d3a291925342990f3aa2bc9a4ab7fb6d140b18240deb825c37e2b4e",
        "there are ledgers made with it: write another version"
    );
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
    let (old, new) = (tempfile::tempdir().expect("a directory"), tempfile::tempdir().expect("a directory"));
    version_1(old.path());
    let found = schema(old.path()).await;
    assert_eq!(found, schema(new.path()).await);
    assert_eq!(found.0, 2);
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
