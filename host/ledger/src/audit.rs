//! The books computed again from the share log: what anyone with a copy of the data directory can do.
//!
//! In order, each step on what is on record of the one before, so that one difference is told once: the log itself
//! ([`log`]), each round's question from the log, its answer by the recorded policy, the credits by the host's division
//! and the entries ([`rounds`]), the books as a whole ([`books`]). Everything is read in short transactions: a pool that
//! runs is not held up, and what it adds meanwhile is left for the next time.

mod books;
mod findings;
mod log;
mod rounds;
mod scope;

use std::path::Path;

use serde::Serialize;
use sluice_core::policy::payout::{Entitlement, Plan, Round};

pub use findings::{Difference, Finding, Subject};

use crate::readonly::{self, FileError};
use findings::Findings;
use scope::Scope;

/// The policy that settled a round, as recorded with it.
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
    /// Its component is not kept: the round cannot be judged.
    #[error("{0}")]
    Missing(String),
    /// It answered once and does not now.
    #[error("{0}")]
    Failed(String),
}

/// Runs the policies that settled rounds, each question in a fresh instance.
pub trait Judge {
    /// # Errors
    /// [`NoAnswer`].
    fn plan(&mut self, policy: &PolicyRecord) -> Result<Plan, NoAnswer>;

    /// # Errors
    /// [`NoAnswer`].
    fn settle(&mut self, policy: &PolicyRecord, round: &Round) -> Result<Vec<Entitlement>, NoAnswer>;
}

/// How far an audit is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Progress {
    Shares { done: u64, of: u64 },
    Rounds { done: u64, of: u64 },
}

/// A policy without its component, and how many rounds it settled.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct MissingPolicy {
    pub policy: PolicyRecord,
    pub why: String,
    pub rounds: u64,
}

/// What an audit found.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Report {
    pub shares: u64,
    /// Settled rounds, those of missing policies too.
    pub rounds: u64,
    /// Entries of the rounds, compared one by one.
    pub entries: u64,
    /// Entries of transactions that settle no round: only their sums are checked.
    pub other_entries: u64,
    pub missing: Vec<MissingPolicy>,
    /// The first difference of each kind, and how many there are.
    pub findings: Vec<Finding>,
}

impl Report {
    /// Everything was computed again, and everything is equal.
    pub fn is_clean(&self) -> bool {
        self.findings.is_empty() && self.missing.is_empty()
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
    let mut findings = Findings::default();
    let scope = Scope::read(&connection, &mut findings)?;
    log::check(&connection, &scope, &mut findings, progress)?;
    let outcome = rounds::Rounds::new(&connection, &scope, judge, &mut findings).check(progress)?;
    let other_entries = books::check(&connection, &scope, &outcome.balances, &mut findings)?;
    Ok(Report {
        shares: scope.last,
        rounds: u64::try_from(scope.rounds.len()).unwrap_or(u64::MAX),
        entries: outcome.entries,
        other_entries,
        missing: outcome.missing,
        findings: findings.into_list(),
    })
}
