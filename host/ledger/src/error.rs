//! What can go wrong, by name.

use std::io;
use std::path::PathBuf;

use sluice_core::bitcoin::{Amount, BlockHash};
use sluice_core::ids::{NameError, ShareSeq, WorkerId};
use sluice_core::policy::accrual::AccrualError;

/// Why a ledger cannot be opened. Nothing was changed.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    #[error("cannot use the directory {}: {source}", dir.display())]
    Directory { dir: PathBuf, source: io::Error },
    #[error("the ledger in {} is open in another process; stop that one or use another directory", dir.display())]
    InUse { dir: PathBuf },
    #[error(
        "the database {} is damaged: {detail}; keep a copy of its directory, ask `sluice ledger check` what can be read, \
         then restore a backup or save what is whole with `sluice ledger salvage`", path.display()
    )]
    Damaged { path: PathBuf, detail: String },
    #[error("the database {} cannot be written: the file or its disk is read-only", path.display())]
    ReadOnly { path: PathBuf },
    #[error("the database {} has schema {found}, this version knows up to {known}; run the newer version", path.display())]
    Newer { path: PathBuf, found: i64, known: i64 },
    #[error("{} is a database of another program; use an empty directory", path.display())]
    Foreign { path: PathBuf },
    #[error("cannot open the database {}: {source}", path.display())]
    Database { path: PathBuf, source: rusqlite::Error },
    #[error("cannot start a thread: {0}")]
    Thread(io::Error),
}

/// The ledger was closed, or its writer has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the ledger is closed")]
pub struct Stopped;

/// Why shares were not queued. None of them was.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AppendError {
    #[error(transparent)]
    Stopped(#[from] Stopped),
    /// The id does not come from this ledger.
    #[error("worker {} is not known to the ledger", .0.0)]
    UnknownWorker(WorkerId),
}

/// More names than the ledger keeps in memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the ledger holds {limit} names, no more are allowed")]
pub struct NamesFull {
    pub limit: usize,
}

/// Why a ledger did not do as asked. Nothing was changed.
#[derive(Debug, thiserror::Error)]
pub enum LedgerError {
    #[error(transparent)]
    Stopped(#[from] Stopped),
    #[error("worker {} is not known to the ledger", .0.0)]
    UnknownWorker(WorkerId),
    #[error("block {0} is not known to the ledger")]
    UnknownBlock(BlockHash),
    #[error("block {0} is not accepted; only an accepted block's round is settled")]
    NotAccepted(BlockHash),
    #[error("block {0} is settled; a node's refusal comes too late, only the chain can take it away")]
    Settled(BlockHash),
    #[error("credits come to {credits}, the block's reward is {reward}; they have to be equal")]
    NotTheReward { credits: Amount, reward: Amount },
    #[error("the payout plan credits no work at once; switch accruing on first")]
    NotAccruing,
    #[error(
        "an accrual of the shares {} to {}; it has to begin with {} and to end with {} at the latest",
        first.0, through.0, next.0, newest.0
    )]
    AccrualRange { first: ShareSeq, through: ShareSeq, next: ShareSeq, newest: ShareSeq },
    #[error(transparent)]
    Accrual(#[from] AccrualError),
    #[error("the credits of one accrual come to more than {}, which is all there will be", Amount::MAX_MONEY)]
    AccrualSum,
    #[error("account {account:?}: {source}")]
    Account { account: String, source: NameError },
    #[error("account {0:?} is not known to the ledger")]
    UnknownAccount(String),
    #[error("the ledger holds {0:?} as a block's hash or window, which it never wrote; check the disk")]
    Unreadable(String),
    #[error("cannot open another connection to the ledger: {0}")]
    Connection(OpenError),
    #[error(transparent)]
    Names(#[from] NamesFull),
    #[error("cannot read or write a record as JSON: {0}")]
    Json(#[from] serde_json::Error),
    #[error("database: {0}")]
    Database(#[from] rusqlite::Error),
    #[error("the query was given up: {0}")]
    Interrupted(#[from] tokio::task::JoinError),
}
