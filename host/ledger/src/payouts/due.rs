//! What is due to whom, and what stands in the way of paying it.

use std::collections::{BTreeSet, HashMap};

use rusqlite::{Connection, OptionalExtension};
use serde::Serialize;
use sluice_core::bitcoin::{Amount, amount};

use super::Desk;
use super::batch::{BatchId, LINES_LIMIT};
use super::error::DeskError;
use super::terms::{self, Terms};
use crate::insert::unsigned;

/// What an operator pays by.
pub struct Rules<'a> {
    /// The least that is paid to an account without a minimum of its own.
    pub minimum: Amount,
    /// The most accounts that one batch pays, the largest first; [`LINES_LIMIT`](super::LINES_LIMIT) at most.
    pub max_lines: usize,
    /// Whether the pool's network can pay this much to this address. Asked while nobody else can write: it only computes.
    pub payable: &'a dyn Fn(&str, Amount) -> Result<(), Unpayable>,
}

/// Why an address cannot be paid an amount.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Unpayable {
    /// It is none, or another network's, with what is wrong.
    Address(String),
    /// The amount is below what nodes relay to such an address.
    Dust,
}

/// Whether an account is paid by the next batch, if there is room.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "standing", rename_all = "snake_case")]
pub enum Standing {
    Payable,
    BelowMinimum,
    /// By the operator.
    Held {
        reason: String,
    },
    NoAddress,
    BadAddress {
        problem: String,
    },
    /// Its balance is immature, or it owes the pool.
    Nothing,
}

/// An account with a balance.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Due {
    pub account: String,
    /// The latest it gave.
    pub address: Option<String>,
    /// What its entries sum to. Negative: it owes the pool.
    pub balance_sat: i64,
    /// The part of it that no reorganisation takes away.
    pub mature_sat: i64,
    /// What coinbases of blocks that wait for their settlement pay it; no entry says so yet.
    #[serde(rename = "in_coinbases_sat", with = "amount::serde::as_sat")]
    pub in_coinbases: Amount,
    /// What may be paid: the smaller of the mature part and of the balance less `in_coinbases`.
    #[serde(rename = "amount_sat", with = "amount::serde::as_sat")]
    pub amount: Amount,
    /// Its own, or the rules'.
    #[serde(rename = "minimum_sat", with = "amount::serde::as_sat")]
    pub minimum: Amount,
    #[serde(flatten)]
    pub standing: Standing,
    #[serde(skip)]
    pub(super) id: i64,
}

impl Desk {
    /// Every account with a balance: the largest amount first, then by name.
    ///
    /// # Errors
    /// [`DeskError`] where the ledger cannot be read.
    pub fn due(&mut self, rules: &Rules<'_>) -> Result<Vec<Due>, DeskError> {
        self.read(|moment| list(moment, rules))
    }
}

/// In the order of [`Desk::due`]. Takes one transaction of SQLite's, and time with the number of accounts.
pub(super) fn list(connection: &Connection, rules: &Rules<'_>) -> Result<Vec<Due>, DeskError> {
    Facts::read(connection)?.list(connection, &balances(connection)?, rules)
}

/// Who the next batch would pay, and up to which address that is known. To be looked at again under the lock.
pub(super) struct Choice {
    accounts: Vec<Due>,
    addresses_through: i64,
}

impl Choice {
    pub(super) fn of(connection: &Connection, rules: &Rules<'_>) -> Result<Self, DeskError> {
        let mut accounts = list(connection, rules)?;
        accounts.retain(|due| due.standing == Standing::Payable);
        accounts.truncate(rules.max_lines.min(LINES_LIMIT));
        let newest = "SELECT coalesce(max(id), 0) FROM addresses";
        let addresses_through = connection.query_row(newest, [], |row| row.get(0))?;
        Ok(Self { accounts, addresses_through })
    }

    /// Those of them that are payable now, with what is due now. Takes time with their number, not with all accounts'.
    pub(super) fn again(self, connection: &Connection, rules: &Rules<'_>) -> Result<Vec<Due>, DeskError> {
        let mut facts = Facts {
            immature: immature(connection)?,
            in_coinbases: in_coinbases(connection)?,
            addresses: HashMap::new(),
            terms: HashMap::new(),
        };
        let mut balances = HashMap::new();
        let mut balance = connection.prepare_cached("SELECT amount FROM sums WHERE account = ?")?;
        for Due { id, address, .. } in self.accounts {
            balances.insert(id, balance.query_row([id], |row| row.get(0)).optional()?.unwrap_or(0));
            facts.addresses.extend(address.map(|address| (id, address)));
            facts.terms.insert(id, terms::latest(connection, id)?);
        }
        for (id, address) in addresses_after(connection, self.addresses_through)? {
            facts.addresses.insert(id, address);
        }
        facts.immature.retain(|id, _| balances.contains_key(id));
        let mut list = facts.list(connection, &balances, rules)?;
        list.retain(|due| due.standing == Standing::Payable);
        Ok(list)
    }
}

/// The first account of the batch that has less than nothing by now, and no draft has promised it anything.
pub(super) fn overdrawn(connection: &Connection, id: BatchId) -> rusqlite::Result<Option<String>> {
    let in_coinbases = in_coinbases(connection)?;
    let mut statement = connection.prepare_cached(
        "SELECT l.account, a.name, coalesce(s.amount, 0) FROM payout_lines l JOIN accounts a ON a.id = l.account \
         LEFT JOIN sums s ON s.account = l.account WHERE l.payout = ? ORDER BY l.line",
    )?;
    let mut rows = statement.query([id])?;
    while let Some(row) = rows.next()? {
        let paid = in_coinbases.get(&row.get(0)?).copied().unwrap_or(0);
        if row.get::<_, i64>(2)?.saturating_sub(paid) < 0 {
            return row.get(1).map(Some);
        }
    }
    Ok(None)
}

/// Beside the entries, what decides on an account; by its number.
struct Facts {
    immature: HashMap<i64, i64>,
    in_coinbases: HashMap<i64, i64>,
    addresses: HashMap<i64, String>,
    terms: HashMap<i64, Terms>,
}

impl Facts {
    fn read(connection: &Connection) -> Result<Self, DeskError> {
        Ok(Self {
            immature: immature(connection)?,
            in_coinbases: in_coinbases(connection)?,
            addresses: addresses(connection)?,
            terms: terms::all(connection)?,
        })
    }

    /// The accounts of `balances` with a balance, and those with immature entries.
    fn list(
        &self,
        connection: &Connection,
        balances: &HashMap<i64, i64>,
        rules: &Rules<'_>,
    ) -> Result<Vec<Due>, DeskError> {
        let accounts: BTreeSet<i64> = balances.keys().chain(self.immature.keys()).copied().collect();
        let mut list = Vec::new();
        for id in accounts {
            let balance = balances.get(&id).copied().unwrap_or(0);
            let mature = balance.saturating_sub(self.immature.get(&id).copied().unwrap_or(0));
            if (balance, mature) != (0, 0) {
                list.push(self.due(connection, (id, balance, mature), rules)?);
            }
        }
        list.sort_by(|a, b| b.amount.cmp(&a.amount).then_with(|| a.account.cmp(&b.account)));
        Ok(list)
    }

    fn due(
        &self,
        connection: &Connection,
        (id, balance_sat, mature_sat): (i64, i64, i64),
        rules: &Rules<'_>,
    ) -> Result<Due, DeskError> {
        let account = connection
            .prepare_cached("SELECT name FROM accounts WHERE id = ?")?
            .query_row([id], |row| row.get(0))?;
        let in_coinbases = self.in_coinbases.get(&id).copied().unwrap_or(0);
        let amount = mature_sat.min(balance_sat.saturating_sub(in_coinbases));
        let terms = self.terms.get(&id);
        let mut due = Due {
            account,
            address: self.addresses.get(&id).cloned(),
            balance_sat,
            mature_sat,
            in_coinbases: Amount::from_sat(unsigned(in_coinbases)),
            amount: Amount::from_sat(unsigned(amount)),
            minimum: terms.and_then(|terms| terms.minimum).unwrap_or(rules.minimum),
            standing: Standing::Nothing,
            id,
        };
        due.standing = standing(&due, terms.and_then(|terms| terms.held.as_deref()), rules);
        Ok(due)
    }
}

fn standing(due: &Due, held: Option<&str>, rules: &Rules<'_>) -> Standing {
    if due.amount == Amount::ZERO {
        return Standing::Nothing;
    }
    if let Some(reason) = held {
        return Standing::Held { reason: reason.to_owned() };
    }
    let Some(address) = &due.address else { return Standing::NoAddress };
    match (rules.payable)(address, due.amount) {
        Err(Unpayable::Address(problem)) => Standing::BadAddress { problem },
        Err(Unpayable::Dust) => Standing::BelowMinimum,
        Ok(()) if due.amount < due.minimum => Standing::BelowMinimum,
        Ok(()) => Standing::Payable,
    }
}

/// What the entries of each account come to; the house's are under a number below zero.
fn balances(connection: &Connection) -> rusqlite::Result<HashMap<i64, i64>> {
    sums(connection, "SELECT account, amount FROM sums WHERE account >= 0")
}

/// The part of the balances that comes from blocks which are not final; few of them have entries.
fn immature(connection: &Connection) -> rusqlite::Result<HashMap<i64, i64>> {
    sums(
        connection,
        "SELECT e.account, sum(e.amount) FROM blocks b CROSS JOIN journal j ON j.block = b.id \
         CROSS JOIN entries e ON e.journal = j.id WHERE b.state <> 'mature' AND e.book = 'account' GROUP BY e.account",
    )
}

/// What the coinbases of blocks pay that may be in the chain and whose rounds are not settled.
fn in_coinbases(connection: &Connection) -> rusqlite::Result<HashMap<i64, i64>> {
    sums(
        connection,
        "SELECT a.id, sum(p.amount) FROM blocks b CROSS JOIN block_payments p ON p.block = b.id \
         JOIN accounts a ON a.name = p.account \
         WHERE b.state NOT IN ('rejected', 'orphaned') AND b.id NOT IN (SELECT block FROM rounds) GROUP BY a.id",
    )
}

fn sums(connection: &Connection, query: &str) -> rusqlite::Result<HashMap<i64, i64>> {
    let mut statement = connection.prepare_cached(query)?;
    statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?.collect()
}

/// The latest of each account: SQLite takes the other columns from the row with the maximum.
fn addresses(connection: &Connection) -> rusqlite::Result<HashMap<i64, String>> {
    let mut statement =
        connection.prepare_cached("SELECT account, address, max(id) FROM addresses GROUP BY account")?;
    statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?.collect()
}

/// Those that came later, in their order.
fn addresses_after(connection: &Connection, after: i64) -> rusqlite::Result<Vec<(i64, String)>> {
    let mut statement =
        connection.prepare_cached("SELECT account, address FROM addresses WHERE id > ? ORDER BY id")?;
    statement.query_map([after], |row| Ok((row.get(0)?, row.get(1)?)))?.collect()
}
