//! Paying what the pool owes, outside of coinbases. The desk works on the ledger's file itself, beside a running pool: it
//! takes SQLite's own locks for each step and none of the pool's.
//!
//! ```text
//! prepared -> sent -> confirmed
//!    |  ^      |
//!    v  |      v
//!  cancelled <-+   (-> sent, where its transaction is in the chain after all)
//! ```
//!
//! A batch takes what it pays from the accounts when it is prepared, in one transaction, so that nothing is due twice.
//! Every step is one transaction, and the same step again changes nothing: whoever does not know whether the last one was
//! done does it again. docs/ledger.md ("Payouts") says what happens where a step is cut off.

mod batch;
mod coins;
mod due;
mod error;
mod steps;
mod terms;

use std::path::Path;

use rusqlite::{Connection, ErrorCode, OpenFlags, Transaction, TransactionBehavior};

// The longest that a step waits for the pool, or for another desk, too. A commit of either takes milliseconds.
use crate::open::BUSY_WAIT;
use crate::readonly;

pub use batch::{BATCHES_LIMIT, Batch, BatchId, BatchState, Head, LINES_LIMIT, Line};
pub use coins::{COINBASES_LIMIT, COINS_LIMIT, Coin, OwnCoinbase};
pub use due::{Due, Rules, Standing, Unpayable};
pub use error::DeskError;
pub(crate) use terms::latest as latest_terms;
pub use terms::{REASON_BYTES, Terms};

const CACHE_KIB: i64 = 16_384;

/// The payouts of a ledger. Several may be open on one file, in one process or many.
#[derive(Debug)]
pub struct Desk {
    connection: Connection,
}

impl Desk {
    /// Opens the database of a ledger, which a pool may have open. Makes no file and migrates nothing. What a step has
    /// written survives a power cut.
    ///
    /// # Errors
    /// [`DeskError`]: there is no ledger, it is not of the present version, or it cannot be written.
    pub fn open(path: &Path) -> Result<Self, DeskError> {
        // Refuses a file that is no ledger, or not of the present schema, without a chance of writing to it.
        drop(readonly::open(path)?);
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let connection = Connection::open_with_flags(path, flags)?;
        connection.busy_timeout(BUSY_WAIT)?;
        if connection.is_readonly("main")? {
            return Err(DeskError::ReadOnly { path: path.to_owned() });
        }
        connection.pragma_update(None, "cache_size", -CACHE_KIB)?;
        connection.pragma_update(None, "synchronous", "FULL")?;
        connection.pragma_update(None, "foreign_keys", true)?;
        // Moving the write-ahead log is the pool's; without a pool SQLite does it when the file is closed.
        connection.pragma_update_and_check(None, "wal_autocheckpoint", 0, |_| Ok(()))?;
        Ok(Self { connection })
    }

    /// One moment of the ledger.
    fn read<T>(
        &mut self,
        work: impl FnOnce(&Transaction<'_>) -> Result<T, DeskError>,
    ) -> Result<T, DeskError> {
        work(&self.connection.transaction()?)
    }

    /// All of `work`, or nothing; nobody else writes meanwhile.
    fn write<T>(
        &mut self,
        work: impl FnOnce(&Transaction<'_>) -> Result<T, DeskError>,
    ) -> Result<T, DeskError> {
        let begun = self.connection.transaction_with_behavior(TransactionBehavior::Immediate);
        let transaction = begun.map_err(|error| match error.sqlite_error_code() {
            Some(ErrorCode::DatabaseBusy) => DeskError::Busy { waited: BUSY_WAIT },
            _ => error.into(),
        })?;
        let value = work(&transaction)?;
        transaction.commit()?;
        Ok(value)
    }
}
