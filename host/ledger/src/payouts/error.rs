//! Why the desk did not do as asked.

use std::path::PathBuf;
use std::time::Duration;

use sluice_core::bitcoin::{Amount, OutPoint, Txid};

use super::batch::BatchId;
use super::terms::REASON_BYTES;
use crate::error::LedgerError;
use crate::readonly::FileError;

/// Nothing was changed.
#[derive(Debug, thiserror::Error)]
pub enum DeskError {
    #[error(transparent)]
    File(#[from] FileError),
    #[error("the database {} cannot be written; run this as the user that the pool runs as", path.display())]
    ReadOnly { path: PathBuf },
    #[error("another process has held the ledger for {} seconds; try again", waited.as_secs())]
    Busy { waited: Duration },
    #[error("there is no batch {0}")]
    UnknownBatch(BatchId),
    #[error("batch {id} is {state}; only a prepared or sent one can be drafted")]
    NotOpen { id: BatchId, state: &'static str },
    #[error("batch {0} is prepared; enter the transaction that pays it first")]
    NotSent(BatchId),
    #[error("batch {0} is prepared, not cancelled; enter its transaction as sent")]
    NotCancelled(BatchId),
    #[error(
        "batch {id} was sent as {txid}, which may confirm; it can be cancelled only when another confirmed transaction \
         spends one of its coins"
    )]
    Sent { id: BatchId, txid: Txid },
    #[error("batch {id} is paid by {txid}, confirmed in block {height} with a fee of {fee}")]
    Confirmed { id: BatchId, txid: Txid, height: u32, fee: Amount },
    #[error(
        "batch {0} was cancelled, what it paid is due again; if a transaction that pays it is in a mempool or in the chain \
         after all, enter that as sent"
    )]
    Cancelled(BatchId),
    #[error("batch {id} cannot be paid any more: the confirmed transaction {by} spends one of its coins")]
    Conflicted { id: BatchId, by: Txid },
    #[error(
        "batch {id} was sent as {recorded}, not as {given}; if that was replaced, or entered by mistake, enter {given} with --replaces {recorded}"
    )]
    OtherTransaction { id: BatchId, recorded: Txid, given: Txid },
    #[error("{txid} is the transaction of batch {of}")]
    TransactionTaken { txid: Txid, of: BatchId },
    #[error(
        "no PSBT was made for batch {0} before it was sent, so that a new one could be paid beside its transaction; raise the \
         fee with the wallet that made that, then enter the new one with --replaces"
    )]
    NoDraft(BatchId),
    #[error("no draft of batch {id} spends the coin {coin}")]
    NotItsCoin { id: BatchId, coin: OutPoint },
    #[error(
        "batch {id} waits until batch {on} is confirmed: until then a cancelled draft could be paid in place of {on} that \
         pays an account more"
    )]
    Waits { id: BatchId, on: BatchId },
    #[error(
        "a coinbase pays account {account} what batch {id} would pay it again; cancel the batch and prepare again (if the \
         pool has a block whose round is not settled, once it is)"
    )]
    PaidTwice { id: BatchId, account: String },
    #[error("the coin {0} is there twice")]
    Twice(OutPoint),
    #[error("{count} coins are too many, at most {limit} are allowed")]
    TooManyCoins { count: usize, limit: usize },
    #[error(
        "the draft has to spend the coin {coin}, which a draft of batch {of} spends, or both could be paid"
    )]
    MustSpend { coin: OutPoint, of: BatchId },
    #[error("the coin {coin} belongs to batch {of}")]
    Reserved { coin: OutPoint, of: BatchId },
    #[error("account {0:?} is not known to the ledger")]
    UnknownAccount(String),
    #[error("a minimum of {0} is not allowed: above 0 and at most {max} is, or `default` for the pool's", max = Amount::MAX_MONEY)]
    Minimum(Amount),
    #[error("a reason is allowed 1 to {REASON_BYTES} bytes, without control characters")]
    Reason,
    #[error("the ledger holds {what} of batch {id} as nothing that it writes; check the disk")]
    Unreadable { id: BatchId, what: &'static str },
    #[error(transparent)]
    Ledger(#[from] LedgerError),
    #[error("database: {0}")]
    Database(#[from] rusqlite::Error),
}
