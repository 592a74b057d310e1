//! Credits for work alone (PPS, FPPS): each share counts in exactly one accrual, whatever crashes.
//!
//! Accruals are contiguous. The first begins behind the share `accrual_state.after`, which is set when a plan that accrues
//! appears; each later one begins where the one before ended. An accrual is one transaction: its record (question and
//! answer), whole satoshis to the accounts at the house's cost, and the fractions that each account keeps for the next.

mod stretch;

use rusqlite::{Connection, OptionalExtension, Transaction, params};
use sluice_core::bitcoin::Amount;
use sluice_core::ids::ShareSeq;
use sluice_core::policy::accrual::{self, AccrualError};
use sluice_core::policy::payout::{Accrued, Tally};

use crate::audit::PolicyRecord;
use crate::error::LedgerError;
use crate::insert::{sql, unsigned};
use crate::journal::{Book, Cause, Journal, Owner, signed};
use crate::ledger::Ledger;
use crate::names::Names;
use crate::open::now;
use crate::writer::Shared;
use stretch::{Limits, Stretch};

/// Shares that wait to be credited: the oldest of them, as many as one accrual takes.
#[derive(Clone, Debug, PartialEq)]
pub struct OpenAccrual {
    pub first: ShareSeq,
    pub through: ShareSeq,
    /// In the order in which their templates were first used.
    pub tallies: Vec<Tally>,
    /// Shares in no tally, because nothing is known of their template: nobody is credited for them.
    pub passed_over: u64,
    /// There are newer ones that this one does not take.
    pub more: bool,
}

/// An accrual and what a policy made of it.
#[derive(Clone, Debug, PartialEq)]
pub struct AccrualSettlement {
    pub policy: PolicyRecord,
    pub first: ShareSeq,
    pub through: ShareSeq,
    /// What the policy was asked.
    pub input: Vec<Tally>,
    /// What it answered.
    pub answer: Vec<Accrued>,
}

impl Ledger {
    /// Whether work is credited at once, from the share after the newest one on. Does nothing where that is so already:
    /// work goes on to be credited behind the last accrual. Switched off, the shares that wait are never credited. Returns
    /// whether that was otherwise before.
    ///
    /// # Errors
    /// [`LedgerError`]; waits, and does not fail, while the disk refuses.
    pub async fn accruing(&self, on: bool) -> Result<bool, LedgerError> {
        self.transact(move |transaction, through| Ok(switch(transaction, on, through)?)).await
    }

    /// How many shares wait to be credited; 0 where work is not credited at once.
    ///
    /// # Errors
    /// [`LedgerError`] where the log cannot be read.
    pub async fn unaccrued(&self) -> Result<u64, LedgerError> {
        self.read(|connection, _| {
            let newest = newest(connection)?;
            Ok(accrued_through(connection)?.map_or(0, |after| newest.saturating_sub(after)))
        })
        .await
    }

    /// The oldest shares that wait to be credited; `None` where none does. At most a million shares, 64 templates, and
    /// 20,000 accounts, those of each template added up.
    ///
    /// # Errors
    /// [`LedgerError`] where the log cannot be read.
    pub async fn open_accrual(&self) -> Result<Option<OpenAccrual>, LedgerError> {
        self.open_accrual_of(u64::MAX).await
    }

    /// The same of at most `shares`, and at least one: for a policy that cannot take more.
    ///
    /// # Errors
    /// [`LedgerError`] where the log cannot be read.
    pub async fn open_accrual_of(&self, shares: u64) -> Result<Option<OpenAccrual>, LedgerError> {
        let limits = Limits { shares: shares.clamp(1, Limits::ASKED.shares), ..Limits::ASKED };
        self.read_aside(move |connection, shared| Ok(open(connection, shared, limits)?)).await
    }

    /// Books an accrual in one transaction; `false` where it was booked before, and nothing changed. On disk, power cut or
    /// not, when this returns.
    ///
    /// # Errors
    /// [`LedgerError::NotAccruing`], [`LedgerError::AccrualRange`] where shares would be left out or counted twice,
    /// [`LedgerError::Accrual`] where the answer gives too much or names whom it must not, [`LedgerError::AccrualSum`].
    pub async fn accrue(&self, settlement: AccrualSettlement) -> Result<bool, LedgerError> {
        accrual::check(&settlement.input, &settlement.answer, &|account| self.account_known(account))?;
        for credit in &settlement.answer {
            self.touch(&credit.account)?;
        }
        let record = Record::new(settlement)?;
        self.transact(move |transaction, newest| record.book(transaction, newest)).await
    }
}

/// The last share that is accrued, or that is never to be; `None` where work is not credited at once.
pub(crate) fn accrued_through(connection: &Connection) -> rusqlite::Result<Option<u64>> {
    let text = "SELECT max(after, (SELECT coalesce(max(through), 0) FROM accruals)) FROM accrual_state";
    let through: Option<i64> = connection.prepare_cached(text)?.query_row([], |row| row.get(0))?;
    Ok(through.map(unsigned))
}

/// The question that an accrual of the shares `first..=through` put, asked of the log again. `accounts` holds the account
/// of each worker.
///
/// # Errors
/// The log cannot be read, or names a worker that there is not (`IntegralValueOutOfRange`).
pub(crate) fn tallies(
    connection: &Connection,
    accounts: &[Option<u32>],
    names: &Names,
    first: u64,
    through: u64,
) -> rusqlite::Result<Vec<Tally>> {
    let stretch = Stretch::read(connection, accounts, (first, through), Limits::NONE)?;
    Ok(stretch.tallies(connection, names)?.0)
}

fn switch(transaction: &Transaction<'_>, on: bool, through: ShareSeq) -> rusqlite::Result<bool> {
    let changed = if on {
        let text = "UPDATE accrual_state SET after = ? WHERE after IS NULL";
        transaction.execute(text, [sql(through.0)])?
    } else {
        transaction.execute("UPDATE accrual_state SET after = NULL WHERE after IS NOT NULL", [])?
    };
    Ok(changed > 0)
}

fn newest(connection: &Connection) -> rusqlite::Result<u64> {
    let newest: Option<i64> =
        connection.prepare_cached("SELECT max(seq) FROM shares")?.query_row([], |row| row.get(0))?;
    Ok(newest.map_or(0, unsigned))
}

fn open(connection: &Connection, shared: &Shared, limits: Limits) -> rusqlite::Result<Option<OpenAccrual>> {
    let Some(after) = accrued_through(connection)? else { return Ok(None) };
    let newest = newest(connection)?;
    if newest <= after {
        return Ok(None);
    }
    // Named before they are logged: every worker of a share up to the newest is among them.
    let accounts: Vec<Option<u32>> = shared.names().accounts_of_workers(0).collect();
    let stretch = Stretch::read(connection, &accounts, (after + 1, newest), limits)?;
    let (tallies, passed_over) = stretch.tallies(connection, &shared.names())?;
    let (first, through) = (ShareSeq(after + 1), ShareSeq(stretch.through()));
    let more = stretch.through() < newest;
    Ok((first <= through).then_some(OpenAccrual { first, through, tallies, passed_over, more }))
}

/// An accrual as it is written down.
struct Record {
    policy: PolicyRecord,
    first: ShareSeq,
    through: ShareSeq,
    answer: Vec<Accrued>,
    input_json: String,
    answer_json: String,
}

impl Record {
    fn new(settlement: AccrualSettlement) -> Result<Self, LedgerError> {
        let AccrualSettlement { policy, first, through, input, answer } = settlement;
        let (input_json, answer_json) = (serde_json::to_string(&input)?, serde_json::to_string(&answer)?);
        Ok(Self { policy, first, through, answer, input_json, answer_json })
    }

    fn book(&self, transaction: &Transaction<'_>, newest: ShareSeq) -> Result<bool, LedgerError> {
        if self.is_booked(transaction)? {
            return Ok(false);
        }
        self.is_next(transaction, newest)?;
        let id = self.insert(transaction)?;
        let mut journal = Journal::open(transaction, Owner::Accrual(id))?;
        let mut given = Amount::ZERO;
        for credit in &self.answer {
            let sum = given.checked_add(enter(&mut journal, credit)?);
            given = sum.filter(|sum| *sum <= Amount::MAX_MONEY).ok_or(LedgerError::AccrualSum)?;
        }
        journal.enter(Book::House, Cause::Accrual, -signed(given), "")?;
        journal.seal()?;
        Ok(true)
    }

    fn is_booked(&self, transaction: &Transaction<'_>) -> rusqlite::Result<bool> {
        let text = "SELECT EXISTS (SELECT 1 FROM accruals WHERE through = ? AND first = ?)";
        transaction.query_row(text, [sql(self.through.0), sql(self.first.0)], |row| row.get(0))
    }

    fn is_next(&self, transaction: &Transaction<'_>, newest: ShareSeq) -> Result<(), LedgerError> {
        let after = accrued_through(transaction)?.ok_or(LedgerError::NotAccruing)?;
        let (first, through, next) = (self.first, self.through, ShareSeq(after + 1));
        if first != next || through < first || through > newest {
            return Err(LedgerError::AccrualRange { first, through, next, newest });
        }
        Ok(())
    }

    fn insert(&self, transaction: &Transaction<'_>) -> rusqlite::Result<i64> {
        transaction
            .prepare_cached(
                "INSERT INTO accruals (at_ms, first, through, policy_name, policy_version, policy_hash, settings, input, \
                 answer) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
            )?
            .execute(params![
                sql(now().0),
                sql(self.first.0),
                sql(self.through.0),
                self.policy.name,
                self.policy.version,
                self.policy.hash,
                self.policy.settings,
                self.input_json,
                self.answer_json,
            ])?;
        Ok(transaction.last_insert_rowid())
    }
}

/// Credits whole satoshis and keeps the rest for the account's next accrual. Returns what was credited.
fn enter(journal: &mut Journal<'_>, credit: &Accrued) -> Result<Amount, LedgerError> {
    let book = journal.book_of(&credit.account)?;
    let Book::Account(account) = book else { return Err(AccrualError::House.into()) };
    let transaction = journal.transaction();
    let (sats, rest) = accrual::whole(carried(transaction, account)?, credit.microsats);
    transaction
        .prepare_cached(
            "INSERT INTO carries VALUES (?, ?) ON CONFLICT (account) DO UPDATE SET microsats = excluded.microsats",
        )?
        .execute(params![account, sql(rest)])?;
    let amount = Amount::from_sat(sats);
    journal.enter(book, Cause::Accrual, signed(amount), &credit.reason)?;
    Ok(amount)
}

fn carried(transaction: &Transaction<'_>, account: i64) -> rusqlite::Result<u64> {
    let mut statement = transaction.prepare_cached("SELECT microsats FROM carries WHERE account = ?")?;
    let carried: Option<i64> = statement.query_row([account], |row| row.get(0)).optional()?;
    Ok(carried.map_or(0, unsigned))
}
