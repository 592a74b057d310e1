//! Work for the writer other than shares: a transaction of its own, after the shares before it.

use rusqlite::{Connection, ErrorCode, Transaction, TransactionBehavior};
use sluice_core::ids::ShareSeq;
use tokio::sync::oneshot;

use crate::error::LedgerError;

pub(crate) trait Job: Send {
    /// Runs the transaction and answers the caller. `through` is the last share committed.
    ///
    /// # Errors
    /// Faults that pass, such as a full disk: nothing happened, and the writer tries again.
    fn attempt(&mut self, connection: &mut Connection, through: ShareSeq) -> rusqlite::Result<()>;
}

/// A transaction and where its outcome goes.
pub(crate) struct Reply<F, T> {
    work: F,
    reply: Option<oneshot::Sender<Result<T, LedgerError>>>,
}

impl<F, T> Reply<F, T>
where
    F: FnMut(&Transaction<'_>, ShareSeq) -> Result<T, LedgerError> + Send,
    T: Send,
{
    pub(crate) fn new(work: F) -> (Self, oneshot::Receiver<Result<T, LedgerError>>) {
        let (reply, outcome) = oneshot::channel();
        (Self { work, reply: Some(reply) }, outcome)
    }

    fn run(&mut self, connection: &mut Connection, through: ShareSeq) -> Result<T, LedgerError> {
        let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        let value = (self.work)(&transaction, through)?;
        transaction.commit()?;
        Ok(value)
    }
}

impl<F, T> Job for Reply<F, T>
where
    F: FnMut(&Transaction<'_>, ShareSeq) -> Result<T, LedgerError> + Send,
    T: Send,
{
    fn attempt(&mut self, connection: &mut Connection, through: ShareSeq) -> rusqlite::Result<()> {
        let outcome = match self.run(connection, through) {
            Err(LedgerError::Database(error)) if passes(&error) => return Err(error),
            outcome => outcome,
        };
        if let Some(reply) = self.reply.take() {
            // A caller that went away does not undo what was committed.
            let _ = reply.send(outcome);
        }
        Ok(())
    }
}

/// Whether the fault lies outside of the statement, so that trying again makes sense.
fn passes(error: &rusqlite::Error) -> bool {
    matches!(
        error.sqlite_error_code(),
        Some(
            ErrorCode::DiskFull
                | ErrorCode::SystemIoFailure
                | ErrorCode::DatabaseBusy
                | ErrorCode::DatabaseLocked
                | ErrorCode::CannotOpen
                | ErrorCode::OutOfMemory
                | ErrorCode::ReadOnly
                | ErrorCode::PermissionDenied
        )
    )
}
