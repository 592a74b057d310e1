//! Double entry. Every settled round is one transaction of entries in satoshis that sums to zero:
//!
//! | book | holds | at a settled round |
//! |---|---|---|
//! | `reward` | what blocks brought in, as a debit | minus the block's reward |
//! | `account` | one for each account: what the pool owes it | plus its credit, minus what the coinbase paid it |
//! | `house` | the pool's own: fees, less what the pool's addresses hold for accounts | plus its credit, minus what the coinbase paid it |
//! | `coinbase` | what coinbases paid out | plus all that this one paid |
//!
//! An account's balance is what it has earned and not yet got. The house's is negative where the coinbase paid the pool
//! more than its fee: that much it holds for the accounts. Triggers refuse a transaction that does not sum to zero and
//! any change to one that was sealed.
//!
//! A block that leaves the chain takes its reward and its coinbase's payments with it: its transaction is reversed, entry by
//! entry. One that comes back has it booked again. A block's transactions are numbered; odd ones book, even ones reverse.

use rusqlite::{OptionalExtension, Transaction, params};
use sluice_core::bitcoin::{Amount, BlockHash};
use sluice_core::policy::payout::{Entitlement, Round};
use sluice_core::policy::split::Credit;

use crate::blocks::{self, StoredBlock};
use crate::error::LedgerError;
use crate::insert::sql;
use crate::open::now;

/// The transaction that a settlement books; the later ones of a block repeat or reverse it.
const FIRST: i64 = 1;

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
    let mut journal = Journal::open(transaction, block.id, FIRST)?;
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
    let last: i64 = transaction
        .prepare_cached("SELECT coalesce(max(number), 0) FROM journal WHERE block = ?")?
        .query_row([block], |row| row.get(0))?;
    let booked = last % 2 == 1;
    if last < FIRST || booked == counts {
        return Ok(());
    }
    let journal = Journal::open(transaction, block, last + 1)?;
    journal.repeat(block, if counts { Repeat::Again } else { Repeat::Reversed })?;
    Ok(journal.seal()?)
}

/// How a block's first transaction is repeated.
#[derive(Clone, Copy, Debug)]
enum Repeat {
    Again,
    Reversed,
}

impl Repeat {
    const fn statement(self) -> &'static str {
        match self {
            Self::Again => {
                "INSERT INTO entries SELECT ?, line, book, account, cause, amount, reason FROM entries \
                 WHERE journal = (SELECT id FROM journal WHERE block = ? AND number = ?)"
            }
            Self::Reversed => {
                "INSERT INTO entries SELECT ?, line, book, account, 'reversal', -amount, reason FROM entries \
                 WHERE journal = (SELECT id FROM journal WHERE block = ? AND number = ?)"
            }
        }
    }
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
        .transaction
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

fn signed(amount: Amount) -> i64 {
    sql(amount.to_sat())
}

#[derive(Clone, Copy, Debug)]
enum Book {
    Reward,
    Account(i64),
    House,
    Coinbase,
}

impl Book {
    const fn label(self) -> &'static str {
        match self {
            Self::Reward => "reward",
            Self::Account(_) => "account",
            Self::House => "house",
            Self::Coinbase => "coinbase",
        }
    }

    const fn account(self) -> Option<i64> {
        if let Self::Account(id) = self { Some(id) } else { None }
    }
}

#[derive(Clone, Copy, Debug)]
enum Cause {
    Reward,
    Credit,
    Payment,
}

impl Cause {
    const fn label(self) -> &'static str {
        match self {
            Self::Reward => "reward",
            Self::Credit => "credit",
            Self::Payment => "payment",
        }
    }
}

/// A transaction of entries under way.
struct Journal<'a> {
    transaction: &'a Transaction<'a>,
    id: i64,
    line: i64,
}

impl<'a> Journal<'a> {
    fn open(transaction: &'a Transaction<'a>, block: i64, number: i64) -> rusqlite::Result<Self> {
        let row = params![sql(now().0), block, number];
        transaction.execute("INSERT INTO journal (at_ms, block, number) VALUES (?, ?, ?)", row)?;
        Ok(Self { transaction, id: transaction.last_insert_rowid(), line: 0 })
    }

    /// An account's book, or the house's where the name is empty.
    fn book_of(&self, account: &str) -> Result<Book, LedgerError> {
        if account.is_empty() {
            return Ok(Book::House);
        }
        let mut statement = self.transaction.prepare_cached("SELECT id FROM accounts WHERE name = ?")?;
        let id = statement.query_row([account], |row| row.get(0)).optional()?;
        id.map(Book::Account).ok_or_else(|| LedgerError::UnknownAccount(account.to_owned()))
    }

    /// Nothing is entered for an amount of zero.
    fn enter(&mut self, book: Book, cause: Cause, amount: i64, reason: &str) -> Result<(), LedgerError> {
        if amount != 0 {
            self.line += 1;
            let row =
                params![self.id, self.line, book.label(), book.account(), cause.label(), amount, reason];
            self.transaction
                .prepare_cached("INSERT INTO entries VALUES (?, ?, ?, ?, ?, ?, ?)")?
                .execute(row)?;
        }
        Ok(())
    }

    fn repeat(&self, block: i64, how: Repeat) -> rusqlite::Result<()> {
        self.transaction.prepare_cached(how.statement())?.execute(params![self.id, block, FIRST])?;
        Ok(())
    }

    /// A trigger refuses it where the entries do not sum to zero, or do not undo the block's transaction before.
    fn seal(self) -> rusqlite::Result<()> {
        self.transaction.execute("UPDATE journal SET sealed = 1 WHERE id = ?", [self.id])?;
        Ok(())
    }
}
