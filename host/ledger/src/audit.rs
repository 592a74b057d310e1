//! The books computed again from the share log: what anyone with a copy of the data directory can do.
//!
//! In order, each step on what is on record of the one before, so that one difference is told once: the log itself
//! ([`log`]), each question from the log, its answer by the recorded policy, the credits by the host's arithmetic and the
//! entries (of [`rounds`] and [`accruals`]), what was paid out ([`payouts`]), the books as a whole ([`books`]).
//! Everything is read in short transactions: a pool that runs is not held up, and what it adds meanwhile is left for the
//! next time.

mod accruals;
mod booked;
mod books;
mod findings;
mod inquiry;
mod log;
mod payouts;
mod questions;
mod record;
mod rounds;
mod scope;
mod unsettled;

use std::path::Path;

use rusqlite::Connection;
use serde::Serialize;
use sluice_core::bitcoin::BlockHash;
use sluice_core::policy::payout::{Accrued, Entitlement, Plan, Round, Tally};

pub use findings::{Bearing, Difference, Finding, Subject};

use crate::readonly::{self, FileError};
use findings::Findings;
use inquiry::Inquiry;
use scope::Scope;

/// A pool folds old shares slower than an audit reads them: once is nearly always enough.
const ATTEMPTS: usize = 10;

/// The policy that settled a round or credited work, as recorded with it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct PolicyRecord {
    pub name: String,
    pub version: String,
    /// sha256 of the component, hex.
    pub hash: String,
    /// JSON.
    pub settings: String,
}

/// Why a policy of the past is not asked, or gives no answer now.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NoAnswer {
    /// Its component is not kept: what it answered cannot be judged.
    #[error("{0}")]
    Missing(String),
    /// It answered once and does not now.
    #[error("{0}")]
    Failed(String),
}

/// Runs the policies of the past, each question in a fresh instance.
pub trait Judge {
    /// # Errors
    /// [`NoAnswer`].
    fn plan(&mut self, policy: &PolicyRecord) -> Result<Plan, NoAnswer>;

    /// # Errors
    /// [`NoAnswer`].
    fn settle(&mut self, policy: &PolicyRecord, round: &Round) -> Result<Vec<Entitlement>, NoAnswer>;

    /// # Errors
    /// [`NoAnswer`].
    fn accrue(&mut self, policy: &PolicyRecord, tallies: &[Tally]) -> Result<Vec<Accrued>, NoAnswer>;
}

/// How far an audit is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Progress {
    Shares { done: u64, of: u64 },
    Rounds { done: u64, of: u64 },
    Accruals { done: u64, of: u64 },
}

/// A policy without its component, and how much it answered.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct MissingPolicy {
    pub policy: PolicyRecord,
    pub why: String,
    pub rounds: u64,
    pub accruals: u64,
}

/// A block that counts and whose round nobody settled.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct UnsettledBlock {
    pub block: BlockHash,
    pub height: u32,
}

/// What an audit found.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Report {
    /// The newest share.
    pub shares: u64,
    /// The last share of which only the hour is left.
    pub folded_through: u64,
    /// Settled rounds, those of missing policies too.
    pub rounds: u64,
    pub accruals: u64,
    /// Shares between two accruals that no accrual credits: that another plan ran then is on no record.
    pub between_accruals: u64,
    pub payouts: u64,
    /// Entries of the above, compared one by one.
    pub entries: u64,
    /// Entries that belong to none of the above: only their sums are checked, and each makes a balance differ.
    pub other_entries: u64,
    /// Rounds and accruals whose shares are folded, in part or all: their question is taken as recorded, everything else of
    /// them is computed again.
    pub folded: u64,
    /// Blocks that count and are not settled.
    pub held: u64,
    /// The first of them.
    pub unsettled: Vec<UnsettledBlock>,
    pub missing: Vec<MissingPolicy>,
    /// The first difference of each kind, and how many there are.
    pub findings: Vec<Finding>,
}

impl Report {
    /// Everything that the log still tells was computed again, and everything is equal.
    pub fn is_clean(&self) -> bool {
        self.findings.is_empty() && self.missing.is_empty() && self.held == 0
    }
}

/// Computes the books in `database` again. The pool may run.
///
/// # Errors
/// [`FileError`]: there is no ledger, or it cannot be read. A difference is no error: see [`Report`].
pub fn audit(
    database: &Path,
    judge: &mut dyn Judge,
    progress: &mut dyn FnMut(Progress),
) -> Result<Report, FileError> {
    let connection = readonly::open(database)?;
    let (scope, findings) = read_log(&connection, progress)?;
    let mut inquiry = Inquiry::new(&connection, &scope, judge, findings);
    rounds::check(&mut inquiry, progress)?;
    let between_accruals = accruals::check(&mut inquiry, progress)?;
    payouts::check(&mut inquiry)?;
    let mut outcome = inquiry.finish();
    let other_entries = books::check(&connection, &scope, &outcome.balances, &mut outcome.findings)?;
    let (held, unsettled) = unsettled::still(&connection, &scope)?;
    let count = |length| u64::try_from(length).unwrap_or(u64::MAX);
    Ok(Report {
        shares: scope.last,
        folded_through: scope.folded,
        rounds: count(scope.rounds.len()),
        accruals: count(scope.accruals.len()),
        between_accruals,
        payouts: count(scope.payouts.len()),
        entries: outcome.entries,
        other_entries,
        folded: outcome.folded,
        held,
        unsettled,
        missing: outcome.missing,
        findings: outcome.findings.into_list(),
    })
}

/// What there is to audit, and what its log is like.
fn read_log(
    connection: &Connection,
    progress: &mut dyn FnMut(Progress),
) -> Result<(Scope, Findings), FileError> {
    for _ in 0..ATTEMPTS {
        let mut findings = Findings::default();
        let scope = Scope::read(connection, &mut findings)?;
        if log::check(connection, &scope, &mut findings, progress)? {
            return Ok((scope, findings));
        }
    }
    Err(FileError::Folding)
}
