//! Double entry. Every settled round is one transaction of entries in satoshis that sums to zero:
//!
//! | book | holds | at a settled round |
//! |---|---|---|
//! | `reward` | what blocks brought in, as a debit | minus the block's reward |
//! | `account` | one for each account: what the pool owes it | plus its credit, minus what the coinbase paid it |
//! | `house` | the pool's own: fees, less what the pool's addresses hold for accounts | plus its credit, minus what the coinbase paid it |
//! | `coinbase` | what coinbases paid out | plus all that this one paid |
//!
//! An accrual (see `accruals`) credits accounts at the cost of the house, a payout (see `payouts`) takes from accounts, and
//! its network fee from the house, what the book `payout` holds: all that transactions of the pool paid out.
//!
//! An account's balance is what it has earned and not yet got. The house's is negative where the coinbase paid the pool
//! more than its fee: that much it holds for the accounts. Triggers refuse a transaction that does not sum to zero and
//! any change to one that was sealed.
//!
//! A block that leaves the chain takes its reward and its coinbase's payments with it: its transaction is reversed, entry by
//! entry. One that comes back has it booked again. A block's transactions are numbered; odd ones book, even ones reverse.

use rusqlite::{Transaction, params};
use sluice_core::bitcoin::{Amount, BlockHash};
use sluice_core::policy::payout::{Entitlement, Round};
use sluice_core::policy::split::Credit;

use crate::blocks::{self, StoredBlock};
use crate::error::LedgerError;
use crate::insert::sql;
use crate::journal::{self, Book, Cause, Journal, Owner, signed};
use crate::open::now;

/// A round and what a policy made of it.
#[derive(Clone, Debug, PartialEq)]
pub struct Settlement {
    pub policy_name: String,
    pub policy_version: String,
    /// sha256 of the component, hex.
    pub policy_hash: String,
    /// The settings the policy was configured with, as JSON.
    pub settings: String,
    /// What the policy was asked.
    pub input: Round,
    /// What it answered.
    pub answer: Vec<Entitlement>,
    /// The answer divided; sums to the block's reward.
    pub credits: Vec<Credit>,
}

/// Books the round of `hash`; `false` where it was settled before.
pub(crate) fn settle(
    transaction: &Transaction<'_>,
    hash: BlockHash,
    settlement: &Settlement,
) -> Result<bool, LedgerError> {
    let block = blocks::find(transaction, hash)?;
    if blocks::is_settled(transaction, block.id)? {
        return Ok(false);
    }
    check(&block, settlement)?;
    insert_round(transaction, block.id, settlement)?;
    let mut journal = Journal::open(transaction, Owner::Block(block.id))?;
    journal.enter(Book::Reward, Cause::Reward, -signed(block.reward()), "")?;
    for credit in &settlement.credits {
        let book = journal.book_of(&credit.account)?;
        journal.enter(book, Cause::Credit, signed(credit.amount), &credit.reason)?;
    }
    enter_payments(&mut journal, block.id)?;
    journal.seal()?;
    Ok(true)
}

/// Brings the books to where the block is: its round booked if it `counts`, reversed if not. Does nothing where they are
/// there already, or where the round is not settled.
pub(crate) fn follow(transaction: &Transaction<'_>, block: i64, counts: bool) -> Result<(), LedgerError> {
    Ok(journal::turn(transaction, Owner::Block(block), counts)?)
}

fn check(block: &StoredBlock, settlement: &Settlement) -> Result<(), LedgerError> {
    if !block.state.counts() {
        return Err(LedgerError::NotAccepted(block.hash));
    }
    let reward = block.reward();
    let sum = settlement.credits.iter().try_fold(Amount::ZERO, |sum, credit| sum.checked_add(credit.amount));
    match sum.unwrap_or(Amount::MAX) {
        credits if credits == reward => Ok(()),
        credits => Err(LedgerError::NotTheReward { credits, reward }),
    }
}

fn insert_round(
    transaction: &Transaction<'_>,
    block: i64,
    settlement: &Settlement,
) -> Result<(), LedgerError> {
    transaction.execute(
        "INSERT INTO rounds VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
        params![
            block,
            sql(now().0),
            settlement.policy_name,
            settlement.policy_version,
            settlement.policy_hash,
            settlement.settings,
            serde_json::to_string(&settlement.input)?,
            serde_json::to_string(&settlement.answer)?,
        ],
    )?;
    Ok(())
}

fn enter_payments(journal: &mut Journal<'_>, block: i64) -> Result<(), LedgerError> {
    let mut statement = journal
        .transaction()
        .prepare("SELECT account, address, amount FROM block_payments WHERE block = ? ORDER BY line")?;
    let mut rows = statement.query([block])?;
    let mut paid = 0;
    while let Some(row) = rows.next()? {
        let (account, address, amount): (String, String, i64) = (row.get(0)?, row.get(1)?, row.get(2)?);
        let book = journal.book_of(&account)?;
        journal.enter(book, Cause::Payment, -amount, &address)?;
        paid += amount;
    }
    journal.enter(Book::Coinbase, Cause::Payment, paid, "")
}
