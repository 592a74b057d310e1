//! What the ledger has on record, for whoever tries a policy on it: the share log, and every question that was put to
//! the payout policy, with its answer. The pool may run; nothing is written.

use std::ops::ControlFlow;
use std::path::Path;

use rusqlite::{Connection, Row};
use sluice_core::bitcoin::BlockHash;
use sluice_core::bitcoin::hashes::Hash;
use sluice_core::ids::{AccountId, AccountName, ShareSeq, WorkerId};
use sluice_core::policy::payout::{Accrued, Entitlement, Plan, Round, Tally};
use sluice_core::units::{Difficulty, Timestamp};

use crate::accruals;
use crate::blocks;
use crate::error::LedgerError;
use crate::fold;
use crate::insert::{sql, unsigned};
use crate::names::{NAMES_LIMIT, Names};
use crate::readonly::{self, FileError};
use crate::window::replay::Replay;

/// Shares that are added up into tallies at once where no accrual on record says how many.
const STRETCH: u64 = 1_000_000;

/// A worker of the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RecordedWorker {
    pub worker: WorkerId,
    pub account: String,
    pub name: String,
}

/// A share of the log.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct RecordedShare {
    pub at: Timestamp,
    pub worker: WorkerId,
    pub difficulty: Difficulty,
}

/// How much there is on record.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Extent {
    /// Shares that are left in the log, and the number of the last.
    pub shares: u64,
    pub last: u64,
    /// Settled rounds of blocks that count.
    pub rounds: u64,
}

/// A settled round of a block that counts, asked as other plans want it asked.
#[derive(Clone, Debug, PartialEq)]
pub struct RecordedRound {
    pub block: BlockHash,
    /// What policies of these plans are to be asked, in their order; `None` where the window reaches into shares of which
    /// only hours are left.
    pub questions: Vec<Option<Round>>,
    /// What was asked, and answered.
    pub asked: Round,
    pub answer: Vec<Entitlement>,
}

/// Work without a block: a stretch of the log.
#[derive(Clone, Debug, PartialEq)]
pub struct RecordedWork {
    pub first: ShareSeq,
    pub through: ShareSeq,
    pub tallies: Vec<Tally>,
    /// What was credited for it; `None` where the plan of the time did not accrue.
    pub answer: Option<Vec<Accrued>>,
}

/// A ledger's file, open for reading.
pub struct Recorded {
    connection: Connection,
    names: Names,
    accounts: Vec<Option<u32>>,
    workers: Vec<RecordedWorker>,
}

impl Recorded {
    /// # Errors
    /// [`FileError`]: there is no ledger, or it cannot be read.
    pub fn open(database: &Path) -> Result<Self, FileError> {
        let connection = readonly::open(database)?;
        let mut names = Names::default();
        read_accounts(&connection, &mut names)?;
        let (accounts, workers) = read_workers(&connection, &names)?;
        Ok(Self { connection, names, accounts, workers })
    }

    pub fn workers(&self) -> &[RecordedWorker] {
        &self.workers
    }

    /// How much there is; a pool that runs adds to it.
    ///
    /// # Errors
    /// [`FileError`]: the log cannot be read.
    pub fn extent(&self) -> Result<Extent, FileError> {
        let text = "SELECT (SELECT min(seq) FROM shares), (SELECT max(seq) FROM shares), \
                    (SELECT count(*) FROM rounds r JOIN blocks b ON b.id = r.block \
                     WHERE b.state IN ('accepted', 'immature', 'mature'))";
        let extent = |row: &Row<'_>| {
            let seqs: (Option<i64>, Option<i64>) = (row.get(0)?, row.get(1)?);
            let (first, last) = (seqs.0.map_or(1, unsigned), seqs.1.map_or(0, unsigned));
            Ok(Extent { shares: (last + 1).saturating_sub(first), last, rounds: unsigned(row.get(2)?) })
        };
        Ok(self.connection.query_row(text, [], extent)?)
    }

    /// Every share that is left, oldest first; returns how many there were.
    ///
    /// # Errors
    /// [`FileError`]: the log cannot be read.
    pub fn shares(&self, visit: &mut dyn FnMut(RecordedShare)) -> Result<u64, FileError> {
        let mut statement =
            self.connection.prepare("SELECT at_ms, worker, difficulty FROM shares ORDER BY seq")?;
        let mut rows = statement.query([])?;
        let mut count = 0;
        while let Some(row) = rows.next()? {
            count += 1;
            visit(RecordedShare {
                at: Timestamp(unsigned(row.get(0)?)),
                worker: WorkerId(row.get(1)?),
                difficulty: Difficulty::saturating(row.get(2)?),
            });
        }
        Ok(count)
    }

    /// Every settled round of a block that counts, in the order of the blocks, until told to stop. The write-ahead log of a
    /// pool that runs grows until this ends.
    ///
    /// # Errors
    /// [`FileError`]: the log cannot be read, or a record is not what the ledger writes.
    pub fn rounds(
        &self,
        plans: &[Plan],
        visit: &mut dyn FnMut(RecordedRound) -> ControlFlow<()>,
    ) -> Result<(), FileError> {
        // One moment for all: the pool may fold its log meanwhile.
        let transaction = self.connection.unchecked_transaction()?;
        let mut replay = Replay::new(&self.connection, &self.accounts, fold::through(&self.connection)?);
        let mut statement = transaction.prepare(
            "SELECT b.hash, r.input, r.answer FROM rounds r JOIN blocks b ON b.id = r.block \
             WHERE b.state IN ('accepted', 'immature', 'mature') ORDER BY b.through, b.id",
        )?;
        let mut rows = statement.query([])?;
        while let Some(row) = rows.next()? {
            let (input, answer): (String, String) = (row.get(1)?, row.get(2)?);
            let asked: Round = serde_json::from_str(&input).map_err(LedgerError::from)?;
            let answer = serde_json::from_str(&answer).map_err(LedgerError::from)?;
            let block = BlockHash::from_byte_array(row.get(0)?);
            let questions = plans.iter().map(|plan| self.question(&mut replay, block, *plan, &asked));
            let questions = questions.collect::<Result<_, _>>()?;
            if visit(RecordedRound { block, questions, asked, answer }).is_break() {
                break;
            }
        }
        Ok(())
    }

    /// A recorded round as `plan` wants it asked. A plan like the one of the time is asked what was asked.
    fn question(
        &self,
        replay: &mut Replay<'_>,
        block: BlockHash,
        plan: Plan,
        asked: &Round,
    ) -> Result<Option<Round>, FileError> {
        let block = blocks::find(&self.connection, block)?;
        let account = self.accounts.get(block.worker() as usize).copied().flatten();
        let name = account.and_then(|account| self.names.account_name(account));
        let finder =
            name.filter(|_| plan.per_finder).map(|name| name.as_str().to_owned()).unwrap_or_default();
        let ask = block.ask(&self.connection, plan.window)?;
        let sums = replay.sums(&ask, block.through())?;
        let from_log = sums.map(|sums| {
            let (work_unit, contributions) = sums.tell(&self.names);
            block.round(finder.clone(), work_unit, contributions)
        });
        let as_recorded = || {
            let same_window = block.window().is_ok_and(|window| window == plan.window);
            same_window.then(|| Round { finder, ..asked.clone() })
        };
        Ok(from_log.or_else(as_recorded))
    }

    /// Everything up to the last share that was paid for, by a block or by itself, in stretches: those of the accruals
    /// on record, and what lies between them. Shares of which only hours are left are missing where no accrual counts
    /// them.
    ///
    /// # Errors
    /// As of [`Self::rounds`].
    pub fn work(&self, visit: &mut dyn FnMut(RecordedWork) -> ControlFlow<()>) -> Result<(), FileError> {
        let _transaction = self.connection.unchecked_transaction()?;
        let mut next = fold::through(&self.connection)? + 1;
        let last = self.paid_through()?;
        let mut statement =
            self.connection.prepare("SELECT first, through, input, answer FROM accruals ORDER BY first")?;
        let mut rows = statement.query([])?;
        while let Some(row) = rows.next()? {
            let (first, through) = (unsigned(row.get(0)?), unsigned(row.get(1)?));
            if self.stretches(next, first.saturating_sub(1), visit)?.is_break() {
                return Ok(());
            }
            next = next.max(through + 1);
            let (input, answer): (String, String) = (row.get(2)?, row.get(3)?);
            let tallies = serde_json::from_str(&input).map_err(LedgerError::from)?;
            let answer = Some(serde_json::from_str(&answer).map_err(LedgerError::from)?);
            let (first, through) = (ShareSeq(first), ShareSeq(through));
            if visit(RecordedWork { first, through, tallies, answer }).is_break() {
                return Ok(());
            }
        }
        self.stretches(next, last, visit).map(|_| ())
    }

    /// Shares that no accrual counts.
    fn stretches(
        &self,
        first: u64,
        last: u64,
        visit: &mut dyn FnMut(RecordedWork) -> ControlFlow<()>,
    ) -> Result<ControlFlow<()>, FileError> {
        let mut next = first;
        while next <= last {
            let through = last.min(next + STRETCH - 1);
            let tallies = accruals::tallies(&self.connection, &self.accounts, &self.names, next, through)?;
            let work =
                RecordedWork { first: ShareSeq(next), through: ShareSeq(through), tallies, answer: None };
            next = through + 1;
            if visit(work).is_break() {
                return Ok(ControlFlow::Break(()));
            }
        }
        Ok(ControlFlow::Continue(()))
    }

    fn paid_through(&self) -> rusqlite::Result<u64> {
        let text = "SELECT max(coalesce((SELECT max(b.through) FROM rounds r JOIN blocks b ON b.id = r.block \
                    WHERE b.state IN ('accepted', 'immature', 'mature')), 0), \
                    coalesce((SELECT max(through) FROM accruals), 0))";
        self.connection.query_row(text, [], |row| Ok(unsigned(row.get(0)?)))
    }
}

fn read_accounts(connection: &Connection, names: &mut Names) -> Result<(), FileError> {
    let mut statement =
        connection.prepare("SELECT id, name FROM accounts WHERE id BETWEEN 0 AND ? ORDER BY id")?;
    let mut rows = statement.query([sql(NAMES_LIMIT as u64 - 1)])?;
    while let Some(row) = rows.next()? {
        let (id, name): (u32, String) = (row.get(0)?, row.get(1)?);
        // What the ledger would not let in is nobody's: the audit tells.
        if let Ok(name) = AccountName::new(&name) {
            names.put_account(AccountId(id), name);
        }
    }
    Ok(())
}

type Workers = (Vec<Option<u32>>, Vec<RecordedWorker>);

fn read_workers(connection: &Connection, names: &Names) -> Result<Workers, FileError> {
    let text = "SELECT id, account, name FROM workers WHERE id BETWEEN 0 AND ? ORDER BY id";
    let mut statement = connection.prepare(text)?;
    let mut rows = statement.query([sql(NAMES_LIMIT as u64 - 1)])?;
    let (mut accounts, mut workers): Workers = Default::default();
    while let Some(row) = rows.next()? {
        let (id, account): (u32, u32) = (row.get(0)?, row.get(1)?);
        if accounts.len() <= id as usize {
            accounts.resize(id as usize + 1, None);
        }
        if let Some(slot) = accounts.get_mut(id as usize) {
            *slot = Some(account);
        }
        let account = names.account_name(account).map(AccountName::as_str).unwrap_or_default();
        workers.push(RecordedWorker { worker: WorkerId(id), account: account.to_owned(), name: row.get(2)? });
    }
    Ok((accounts, workers))
}
