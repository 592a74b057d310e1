//! Names, shares and ledgers for tests.

use std::fs::File;
use std::path::Path;
use std::time::{Duration, Instant};

use rusqlite::Connection;
use sluice_core::bitcoin::hashes::Hash;
use sluice_core::bitcoin::{Amount, BlockHash};
use sluice_core::ids::{AccountId, AccountName, Protocol, ShareSeq, TemplateId, WorkerId, WorkerName};
use sluice_core::policy::payout::{Entitlement, Portion, Round, Window};
use sluice_core::policy::split::{Credit, split};
use sluice_core::share::ShareRecord;
use sluice_core::units::{Difficulty, Timestamp};
use sluice_ledger::{
    BlockRow, Durability, Ledger, LedgerConfig, OpenError, Payment, Settlement, TemplateFacts,
};

pub(crate) fn config(dir: &Path) -> LedgerConfig {
    LedgerConfig { dir: dir.to_owned(), durability: Durability::Process, queue_limit: 10_000 }
}

/// A process that another test starts holds what we had open until it is another program, for a moment: a ledger that was
/// closed may still be in use. Then this waits for its lock.
pub(crate) fn open(dir: &Path) -> Ledger {
    let end = Instant::now() + Duration::from_secs(10);
    loop {
        match Ledger::open(&config(dir)) {
            Err(OpenError::InUse { .. }) if Instant::now() < end => {
                let lock = File::open(dir.join("ledger.lock")).expect("the lock's file");
                lock.lock().expect("the lock");
            }
            opened => return opened.expect("a ledger"),
        }
    }
}

pub(crate) fn difficulty(value: f64) -> Difficulty {
    Difficulty::new(value).expect("a difficulty")
}

pub(crate) fn worker(ledger: &Ledger, account: &str, worker: &str) -> (AccountId, WorkerId) {
    ledger
        .worker(&AccountName::new(account).expect("a name"), &WorkerName::new(worker).expect("a name"))
        .expect("room for names")
}

pub(crate) fn hash(number: u64) -> BlockHash {
    let mut bytes = [0; 32];
    bytes[..8].copy_from_slice(&number.to_le_bytes());
    BlockHash::from_byte_array(bytes)
}

/// A share at the second `number`, with a hash made of it.
pub(crate) fn share((account, worker): (AccountId, WorkerId), number: u64, worth: f64) -> ShareRecord {
    ShareRecord {
        at: Timestamp(number * 1000),
        account,
        worker,
        protocol: Protocol::StratumV1,
        template: TemplateId(1),
        difficulty: difficulty(worth),
        hash: hash(number),
    }
}

pub(crate) fn template(id: u64, height: u32) -> TemplateFacts {
    TemplateFacts {
        id: TemplateId(id),
        height,
        previous: hash(u64::from(height) - 1),
        network_difficulty: difficulty(1000.0),
        subsidy: Amount::from_sat(5_000),
        fees: Amount::from_sat(123),
        at: Timestamp(1_000),
    }
}

pub(crate) const REWARD: Amount = Amount::from_sat(5_123);

pub(crate) fn block(number: u64, finder: WorkerId, window: Window) -> BlockRow {
    BlockRow {
        hash: hash(number),
        height: 100,
        template: TemplateId(1),
        at: Timestamp(number * 1000),
        finder,
        difficulty: difficulty(8.0),
        network_difficulty: difficulty(4.0),
        reward: REWARD,
        payments: Vec::new(),
        window,
    }
}

pub(crate) fn payment(account: &str, sat: u64) -> Payment {
    Payment {
        account: account.into(),
        address: format!("address-of-{account}"),
        amount: Amount::from_sat(sat),
    }
}

/// By work, and one percent for the house.
pub(crate) fn settlement(input: Round) -> Settlement {
    let fee = Entitlement { account: String::new(), portion: Portion::Fixed(51), reason: "fee".into() };
    let by_work = input.contributions.iter().map(|part| Entitlement {
        account: part.account.clone(),
        portion: Portion::Weight(part.work),
        reason: "work".into(),
    });
    let answer: Vec<Entitlement> = std::iter::once(fee).chain(by_work).collect();
    let credits: Vec<Credit> = split(input.reward(), &answer, &|_| true).expect("a split");
    Settlement {
        policy_name: "by-work".into(),
        policy_version: "1.0.0".into(),
        policy_hash: "ab".repeat(32),
        settings: "{}".into(),
        input,
        answer,
        credits,
    }
}

pub(crate) async fn until(ledger: &Ledger, seq: ShareSeq) {
    let mut committed = ledger.committed();
    committed.wait_for(|done| *done >= seq).await.expect("the ledger is open");
}

/// Another process's view of the file.
pub(crate) fn sql(dir: &Path) -> Connection {
    Connection::open(dir.join("ledger.db")).expect("the database")
}

pub(crate) fn number(connection: &Connection, query: &str) -> i64 {
    connection.query_row(query, [], |row| row.get(0)).expect("a number")
}
