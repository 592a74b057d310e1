//! What there is to audit, read at one moment.

use std::collections::HashMap;

use rusqlite::{Connection, Transaction};
use sluice_core::bitcoin::BlockHash;
use sluice_core::bitcoin::hashes::Hash;
use sluice_core::ids::{AccountId, AccountName};

use super::findings::{Difference, Findings, Subject};
use crate::insert::unsigned;
use crate::names::{NAMES_LIMIT, Names};
use crate::sums::Sum;

/// A settled round.
#[derive(Clone, Copy, Debug)]
pub(crate) struct RoundRef {
    pub(crate) id: i64,
    pub(crate) block: (BlockHash, u32),
}

pub(crate) struct Scope {
    /// The newest share.
    pub(crate) last: u64,
    /// The newest transaction.
    pub(crate) journal: i64,
    /// In the order in which their blocks were found.
    pub(crate) rounds: Vec<RoundRef>,
    /// Account names only.
    pub(crate) names: Names,
    /// The account of each worker.
    pub(crate) accounts: Vec<Option<u32>>,
    pub(crate) totals_through: u64,
    /// Statistics of workers as saved.
    pub(crate) totals: HashMap<u32, Sum>,
}

impl Scope {
    pub(crate) fn read(connection: &Connection, findings: &mut Findings) -> rusqlite::Result<Self> {
        let transaction = connection.unchecked_transaction()?;
        let number = |text| transaction.query_row(text, [], |row| row.get::<_, i64>(0));
        Ok(Self {
            last: unsigned(number("SELECT coalesce(max(seq), 0) FROM shares")?),
            journal: number("SELECT coalesce(max(id), 0) FROM journal")?,
            rounds: rounds(&transaction, findings)?,
            names: names(&transaction, findings)?,
            accounts: accounts(&transaction, findings)?,
            totals_through: unsigned(number("SELECT through FROM totals_through")?),
            totals: totals(&transaction)?,
        })
    }

    /// The account's name, or words for what there is not.
    pub(crate) fn account_of_worker(&self, worker: u32) -> Option<&str> {
        let account = self.accounts.get(worker as usize).copied().flatten()?;
        self.names.account_name(account).map(AccountName::as_str)
    }
}

fn rounds(transaction: &Transaction<'_>, findings: &mut Findings) -> rusqlite::Result<Vec<RoundRef>> {
    let lost = "SELECT count(*) FROM rounds WHERE block NOT IN (SELECT id FROM blocks)";
    let lost: i64 = transaction.query_row(lost, [], |row| row.get(0))?;
    if lost > 0 {
        findings.add(Difference::new(Subject::Input, "rounds whose block is not there", 0, lost));
    }
    let mut statement = transaction.prepare(
        "SELECT b.id, b.hash, b.height FROM rounds r JOIN blocks b ON b.id = r.block ORDER BY b.through, b.id",
    )?;
    let read = |row: &rusqlite::Row<'_>| {
        let block = (BlockHash::from_byte_array(row.get(1)?), row.get(2)?);
        Ok(RoundRef { id: row.get(0)?, block })
    };
    statement.query_map([], read)?.collect()
}

/// Numbers are indices: one that the ledger would never give takes no memory here.
fn sane(id: i64) -> Option<u32> {
    u32::try_from(id).ok().filter(|id| (*id as usize) < NAMES_LIMIT)
}

fn names(transaction: &Transaction<'_>, findings: &mut Findings) -> rusqlite::Result<Names> {
    let mut names = Names::default();
    let mut statement = transaction.prepare("SELECT id, name FROM accounts ORDER BY id")?;
    let mut rows = statement.query([])?;
    while let Some(row) = rows.next()? {
        let (id, name): (i64, String) = (row.get(0)?, row.get(1)?);
        match (sane(id), AccountName::new(&name)) {
            (Some(id), Ok(name)) => names.put_account(AccountId(id), name),
            _ => findings.add(Difference::new(
                Subject::Log,
                format_args!("account {id}"),
                "a name that the ledger lets in",
                format_args!("{name:?}"),
            )),
        }
    }
    Ok(names)
}

fn accounts(transaction: &Transaction<'_>, findings: &mut Findings) -> rusqlite::Result<Vec<Option<u32>>> {
    let mut list: Vec<Option<u32>> = Vec::new();
    let mut statement = transaction.prepare("SELECT id, account FROM workers ORDER BY id")?;
    let mut rows = statement.query([])?;
    while let Some(row) = rows.next()? {
        let (id, account): (i64, i64) = (row.get(0)?, row.get(1)?);
        let (Some(worker), Some(account)) = (sane(id), sane(account)) else {
            let what = format_args!("worker {id}").to_string();
            findings.add(Difference::new(Subject::Log, what, "numbers that the ledger gives", account));
            continue;
        };
        let index = worker as usize;
        if index >= list.len() {
            list.resize(index + 1, None);
        }
        if let Some(slot) = list.get_mut(index) {
            *slot = Some(account);
        }
    }
    Ok(list)
}

fn totals(transaction: &Transaction<'_>) -> rusqlite::Result<HashMap<u32, Sum>> {
    let mut statement = transaction.prepare("SELECT worker, shares, work FROM worker_totals")?;
    let read = |row: &rusqlite::Row<'_>| {
        let sum = Sum { shares: unsigned(row.get(1)?), work: u128::from_be_bytes(row.get(2)?) };
        Ok((row.get(0)?, sum))
    };
    statement.query_map([], read)?.collect()
}
