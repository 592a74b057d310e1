//! Transactions of entries: opened, entered line by line, sealed. What is sealed never changes; triggers see to it.

use rusqlite::{Connection, OptionalExtension, Transaction, params};
use sluice_core::bitcoin::Amount;

use crate::error::LedgerError;
use crate::insert::sql;
use crate::open::now;

/// The transaction that books; the later ones of an owner reverse or repeat it.
const FIRST: i64 = 1;

/// What a transaction belongs to, by its number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Owner {
    /// A block's settled round.
    Block(i64),
    Accrual(i64),
    Payout(i64),
    /// The network fee of a payout.
    Fee(i64),
}

impl Owner {
    const fn column(self) -> &'static str {
        match self {
            Self::Block(_) => "block",
            Self::Accrual(_) => "accrual",
            Self::Payout(_) => "payout",
            Self::Fee(_) => "fee",
        }
    }

    const fn id(self) -> i64 {
        match self {
            Self::Block(id) | Self::Accrual(id) | Self::Payout(id) | Self::Fee(id) => id,
        }
    }

    /// Its transactions, by number.
    pub(crate) fn journals(self, connection: &Connection) -> rusqlite::Result<Vec<i64>> {
        let text = format!("SELECT id FROM journal WHERE {} = ? ORDER BY number", self.column());
        connection.prepare_cached(&text)?.query_map([self.id()], |row| row.get(0))?.collect()
    }
}

#[derive(Clone, Copy, Debug)]
pub(crate) enum Book {
    /// What blocks brought in, as a debit.
    Reward,
    /// What the pool owes an account.
    Account(i64),
    /// The pool's own.
    House,
    /// What coinbases paid out.
    Coinbase,
    /// What the pool's transactions paid out, network fees included.
    Payout,
}

impl Book {
    const fn label(self) -> &'static str {
        match self {
            Self::Reward => "reward",
            Self::Account(_) => "account",
            Self::House => "house",
            Self::Coinbase => "coinbase",
            Self::Payout => "payout",
        }
    }

    const fn account(self) -> Option<i64> {
        if let Self::Account(id) = self { Some(id) } else { None }
    }
}

#[derive(Clone, Copy, Debug)]
pub(crate) enum Cause {
    Reward,
    Credit,
    Payment,
    Accrual,
    Payout,
    Fee,
}

impl Cause {
    const fn label(self) -> &'static str {
        match self {
            Self::Reward => "reward",
            Self::Credit => "credit",
            Self::Payment => "payment",
            Self::Accrual => "accrual",
            Self::Payout => "payout",
            Self::Fee => "fee",
        }
    }
}

/// A transaction of entries under way.
pub(crate) struct Journal<'a> {
    transaction: &'a Transaction<'a>,
    id: i64,
    line: i64,
}

impl<'a> Journal<'a> {
    /// The first transaction of `owner`.
    pub(crate) fn open(transaction: &'a Transaction<'a>, owner: Owner) -> rusqlite::Result<Self> {
        Self::numbered(transaction, owner, FIRST)
    }

    fn numbered(transaction: &'a Transaction<'a>, owner: Owner, number: i64) -> rusqlite::Result<Self> {
        let text = format!("INSERT INTO journal (at_ms, {}, number) VALUES (?, ?, ?)", owner.column());
        transaction.prepare_cached(&text)?.execute(params![sql(now().0), owner.id(), number])?;
        Ok(Self { transaction, id: transaction.last_insert_rowid(), line: 0 })
    }

    pub(crate) fn transaction(&self) -> &'a Transaction<'a> {
        self.transaction
    }

    /// An account's book, or the house's where the name is empty.
    pub(crate) fn book_of(&self, account: &str) -> Result<Book, LedgerError> {
        if account.is_empty() {
            return Ok(Book::House);
        }
        let mut statement = self.transaction.prepare_cached("SELECT id FROM accounts WHERE name = ?")?;
        let id = statement.query_row([account], |row| row.get(0)).optional()?;
        id.map(Book::Account).ok_or_else(|| LedgerError::UnknownAccount(account.to_owned()))
    }

    /// Nothing is entered for an amount of zero.
    pub(crate) fn enter(
        &mut self,
        book: Book,
        cause: Cause,
        amount: i64,
        reason: &str,
    ) -> Result<(), LedgerError> {
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

    /// A trigger refuses it where the entries do not sum to zero, or do not undo the owner's transaction before.
    pub(crate) fn seal(self) -> rusqlite::Result<()> {
        self.transaction.execute("UPDATE journal SET sealed = 1 WHERE id = ?", [self.id])?;
        Ok(())
    }
}

/// Brings an owner's bookings to where they should be: booked, or reversed. Does nothing where they are there already, or
/// where nothing was ever booked.
pub(crate) fn turn(transaction: &Transaction<'_>, owner: Owner, booked: bool) -> rusqlite::Result<()> {
    let text = format!("SELECT coalesce(max(number), 0) FROM journal WHERE {} = ?", owner.column());
    let last: i64 = transaction.prepare_cached(&text)?.query_row([owner.id()], |row| row.get(0))?;
    if last < FIRST || (last % 2 == 1) == booked {
        return Ok(());
    }
    let journal = Journal::numbered(transaction, owner, last + 1)?;
    let taken = if booked { "cause, amount" } else { "'reversal', -amount" };
    let text = format!(
        "INSERT INTO entries SELECT ?, line, book, account, {taken}, reason FROM entries \
         WHERE journal = (SELECT id FROM journal WHERE {} = ? AND number = ?)",
        owner.column()
    );
    transaction.prepare_cached(&text)?.execute(params![journal.id, owner.id(), FIRST])?;
    journal.seal()
}

/// As entries have it.
pub(crate) fn signed(amount: Amount) -> i64 {
    sql(amount.to_sat())
}
