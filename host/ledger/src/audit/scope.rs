//! What there is to audit, read at one moment.

use std::collections::{BTreeMap, HashMap};
use std::time::Instant;

use rusqlite::{Connection, Transaction};
use sluice_core::bitcoin::BlockHash;
use sluice_core::bitcoin::hashes::Hash;
use sluice_core::ids::{AccountId, AccountName};

use super::findings::{Bearing, Difference, Findings, Subject};
use super::{UnsettledBlock, unsettled};
use crate::insert::unsigned;
use crate::names::{NAMES_LIMIT, Names};
use crate::sums::Sum;

/// More than any sum that the ledger wrote, and little enough to add up as many as there are.
const SHARES_LIMIT: u64 = 1 << 38;
const WORK_LIMIT: u128 = 1 << 104;

/// A settled round.
#[derive(Clone, Copy, Debug)]
pub(crate) struct RoundRef {
    pub(crate) id: i64,
    pub(crate) block: BlockHash,
    pub(crate) at: Bearing,
}

/// The shares that an accrual credits.
#[derive(Clone, Copy, Debug)]
pub(crate) struct AccrualRef {
    pub(crate) id: i64,
    pub(crate) first: u64,
    pub(crate) through: u64,
}

pub(crate) struct Scope {
    pub(crate) read_at: Instant,
    /// The newest share.
    pub(crate) last: u64,
    /// The last share that is no longer in the log.
    pub(crate) folded: u64,
    /// The newest transaction.
    pub(crate) journal: i64,
    /// In the order in which their blocks were found.
    pub(crate) rounds: Vec<RoundRef>,
    /// In the order in which they were booked.
    pub(crate) accruals: Vec<AccrualRef>,
    /// Millionths of a satoshi by account; none of zero.
    pub(crate) carries: BTreeMap<String, u64>,
    pub(crate) payouts: Vec<i64>,
    /// The ledger's own sums of entries by account, the house's under the empty name.
    pub(crate) balances: BTreeMap<String, i128>,
    pub(crate) unsettled: Vec<UnsettledBlock>,
    /// Account names only.
    pub(crate) names: Names,
    /// The account of each worker.
    pub(crate) accounts: Vec<Option<u32>>,
    pub(crate) totals_through: u64,
    /// Statistics of workers as saved.
    pub(crate) totals: HashMap<u32, Sum>,
    /// What is left of each worker's shares up to `folded`.
    pub(crate) hours: HashMap<u32, Sum>,
}

impl Scope {
    pub(crate) fn read(connection: &Connection, findings: &mut Findings) -> rusqlite::Result<Self> {
        let transaction = connection.unchecked_transaction()?;
        let number = |text| transaction.query_row(text, [], |row| row.get::<_, i64>(0));
        let folded = unsigned(number("SELECT coalesce(max(through), 0) FROM folded")?);
        Ok(Self {
            read_at: Instant::now(),
            last: unsigned(number("SELECT coalesce(max(seq), 0) FROM shares")?).max(folded),
            folded,
            journal: number("SELECT coalesce(max(id), 0) FROM journal")?,
            rounds: rounds(&transaction, findings)?,
            accruals: accruals(&transaction)?,
            carries: carries(&transaction)?,
            payouts: payouts(&transaction)?,
            balances: balances(&transaction)?,
            unsettled: unsettled::read(&transaction)?,
            names: names(&transaction, findings)?,
            accounts: accounts(&transaction, findings)?,
            totals_through: unsigned(number("SELECT through FROM totals_through")?),
            totals: sums(&transaction, "SELECT worker, shares, work FROM worker_totals")?,
            hours: sums(&transaction, "SELECT worker, shares, work FROM share_hours")?,
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
        let block = BlockHash::from_byte_array(row.get(1)?);
        Ok(RoundRef { id: row.get(0)?, block, at: Bearing::Block { block, height: row.get(2)? } })
    };
    statement.query_map([], read)?.collect()
}

fn accruals(transaction: &Transaction<'_>) -> rusqlite::Result<Vec<AccrualRef>> {
    let mut statement = transaction.prepare("SELECT id, first, through FROM accruals ORDER BY id")?;
    let read = |row: &rusqlite::Row<'_>| {
        Ok(AccrualRef { id: row.get(0)?, first: unsigned(row.get(1)?), through: unsigned(row.get(2)?) })
    };
    statement.query_map([], read)?.collect()
}

fn carries(transaction: &Transaction<'_>) -> rusqlite::Result<BTreeMap<String, u64>> {
    let mut statement = transaction.prepare(
        "SELECT coalesce(a.name, '?' || c.account), c.microsats FROM carries c LEFT JOIN accounts a ON a.id = c.account \
         WHERE c.microsats <> 0",
    )?;
    statement.query_map([], |row| Ok((row.get(0)?, unsigned(row.get(1)?))))?.collect()
}

fn balances(transaction: &Transaction<'_>) -> rusqlite::Result<BTreeMap<String, i128>> {
    let mut statement = transaction.prepare(
        "SELECT coalesce(a.name, CASE s.account WHEN -1 THEN '' ELSE '?' || s.account END), s.amount \
         FROM sums s LEFT JOIN accounts a ON a.id = s.account WHERE s.amount <> 0",
    )?;
    statement.query_map([], |row| Ok((row.get(0)?, row.get::<_, i64>(1)?.into())))?.collect()
}

fn payouts(transaction: &Transaction<'_>) -> rusqlite::Result<Vec<i64>> {
    transaction.prepare("SELECT id FROM payouts ORDER BY id")?.query_map([], |row| row.get(0))?.collect()
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

/// Added up by worker.
fn sums(transaction: &Transaction<'_>, text: &str) -> rusqlite::Result<HashMap<u32, Sum>> {
    let mut sums: HashMap<u32, Sum> = HashMap::new();
    let mut statement = transaction.prepare(text)?;
    let mut rows = statement.query([])?;
    while let Some(row) = rows.next()? {
        let sum = Sum {
            shares: unsigned(row.get(1)?).min(SHARES_LIMIT),
            work: u128::from_be_bytes(row.get(2)?).min(WORK_LIMIT),
        };
        sums.entry(row.get(0)?).or_default().add(sum);
    }
    Ok(sums)
}
