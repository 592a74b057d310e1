//! The steps of a batch, each one transaction.

use rusqlite::{Connection, OptionalExtension, Transaction, params};
use sluice_core::bitcoin::hashes::Hash;
use sluice_core::bitcoin::{Amount, OutPoint, Txid};

use super::batch::{self, Batch, BatchId, BatchState};
use super::due::{Choice, Due, Rules};
use super::error::DeskError;
use super::{Desk, coins};
use crate::insert::sql;
use crate::journal::{self, Book, Cause, Journal, Owner, signed};
use crate::open::now;

impl Desk {
    /// The batch that waits for its transaction, and `false`; where there is none, a new one of what is payable, the
    /// largest first, and `true`. `None`: nothing is payable. What it pays is taken from the accounts at once.
    ///
    /// # Errors
    /// [`DeskError`] where the ledger cannot be read or written.
    pub fn prepare(&mut self, rules: &Rules<'_>) -> Result<Option<(Batch, bool)>, DeskError> {
        // Going through all accounts takes long where there are many: before the lock, not under it.
        let choice = self.read(|moment| Choice::of(moment, rules))?;
        self.write(|transaction| {
            if let Some(waiting) = batch::prepared(transaction)? {
                return Ok(Some((waiting, false)));
            }
            let lines = choice.again(transaction, rules)?;
            if lines.is_empty() {
                return Ok(None);
            }
            let id = insert(transaction, &lines)?;
            Ok(Some((batch::read(transaction, id)?, true)))
        })
    }

    /// Enters the transaction that pays the batch, before or after it is broadcast. Where another one is entered, `replaces`
    /// has to name it: that one was replaced (BIP 125), or entered by mistake. `false`: it was entered.
    ///
    /// # Errors
    /// [`DeskError::OtherTransaction`], [`DeskError::Confirmed`], [`DeskError::Cancelled`],
    /// [`DeskError::TransactionTaken`], [`DeskError::NotSent`] (nothing to replace), [`DeskError::UnknownBatch`].
    pub fn sent(&mut self, id: BatchId, txid: Txid, replaces: Option<Txid>) -> Result<bool, DeskError> {
        self.write(|transaction| match batch::state(transaction, id)? {
            BatchState::Prepared if replaces.is_none() => set_sent(transaction, id, txid),
            BatchState::Sent { txid: recorded } if recorded != txid && replaces == Some(recorded) => {
                set_sent(transaction, id, txid)
            }
            state => already_sent(id, state, txid),
        })
    }

    /// Enters that the batch's transaction is in the chain, with the fee that it paid, which the house bears. `false`: it
    /// was entered, at this height or another.
    ///
    /// # Errors
    /// [`DeskError::NotSent`], [`DeskError::OtherTransaction`], [`DeskError::Cancelled`]; [`DeskError::Confirmed`] with
    /// another transaction or fee.
    pub fn confirmed(
        &mut self,
        id: BatchId,
        txid: Txid,
        height: u32,
        fee: Amount,
    ) -> Result<bool, DeskError> {
        self.write(|transaction| match batch::state(transaction, id)? {
            BatchState::Confirmed { txid: recorded, fee: paid, .. } if (recorded, paid) == (txid, fee) => {
                Ok(false)
            }
            BatchState::Sent { txid: recorded } if recorded == txid => {
                let row = params![height, signed(fee), id];
                transaction.execute(
                    "UPDATE payouts SET state = 'confirmed', height = ?, fee = ? WHERE id = ?",
                    row,
                )?;
                book_fee(transaction, id, txid, fee)?;
                Ok(true)
            }
            state => already_sent(id, state, txid),
        })
    }

    /// Gives back what a prepared batch would have paid. `false`: it was cancelled. The next batch's draft spends a coin of
    /// this one's, so that only one of them can be paid.
    ///
    /// # Errors
    /// [`DeskError::Sent`]: its transaction may confirm; [`DeskError::Confirmed`].
    pub fn cancel(&mut self, id: BatchId) -> Result<bool, DeskError> {
        self.write(|transaction| match batch::state(transaction, id)? {
            BatchState::Cancelled { .. } => Ok(false),
            BatchState::Sent { txid } => Err(DeskError::Sent { id, txid }),
            BatchState::Confirmed { txid, height, fee } => {
                Err(DeskError::Confirmed { id, txid, height, fee })
            }
            BatchState::Prepared => set_cancelled(transaction, id, None),
        })
    }

    /// Enters that `by`, which the caller saw deep in the chain and which is not the batch's transaction, spends `coin` of
    /// the batch: it is cancelled. If that is its first coin, which all its drafts spend, it can never be paid, and no later
    /// draft has to rule it out. `false`: it was entered.
    ///
    /// # Errors
    /// [`DeskError::NotItsCoin`]; [`DeskError::Sent`] where `by` is the batch's own; [`DeskError::Confirmed`].
    pub fn conflicted(&mut self, id: BatchId, by: Txid, coin: OutPoint) -> Result<bool, DeskError> {
        self.write(|transaction| {
            let state = batch::state(transaction, id)?;
            let coins = coins::of_batch(transaction, id)?;
            let place = coins.iter().position(|own| own.outpoint == coin);
            let place = place.ok_or(DeskError::NotItsCoin { id, coin })?;
            match state {
                BatchState::Confirmed { txid, height, fee } => {
                    Err(DeskError::Confirmed { id, txid, height, fee })
                }
                BatchState::Sent { txid } if txid == by => Err(DeskError::Sent { id, txid }),
                BatchState::Cancelled { conflict: Some(_) } => Ok(false),
                BatchState::Cancelled { conflict: None } if place > 0 => Ok(false),
                _ => set_cancelled(transaction, id, (place == 0).then_some(by)),
            }
        })
    }

    /// Enters that a transaction which pays a cancelled batch is about after all, as the caller saw: the batch is sent
    /// again, and taken from the accounts again, below zero if need be. `false`: it was entered.
    ///
    /// # Errors
    /// [`DeskError::Conflicted`], [`DeskError::NotCancelled`], and those of [`Desk::sent`].
    pub fn revive(&mut self, id: BatchId, txid: Txid) -> Result<bool, DeskError> {
        self.write(|transaction| match batch::state(transaction, id)? {
            BatchState::Prepared => Err(DeskError::NotCancelled(id)),
            BatchState::Cancelled { conflict: Some(by) } => Err(DeskError::Conflicted { id, by }),
            BatchState::Cancelled { conflict: None } => {
                journal::turn(transaction, Owner::Payout(id.0), true)?;
                set_sent(transaction, id, txid)
            }
            state => already_sent(id, state, txid),
        })
    }
}

/// Writes the batch down and takes it from the accounts.
fn insert(transaction: &Transaction<'_>, lines: &[Due]) -> Result<BatchId, DeskError> {
    transaction.execute("INSERT INTO payouts (at_ms, state) VALUES (?, 'prepared')", [sql(now().0)])?;
    let id = BatchId(transaction.last_insert_rowid());
    let mut statement = transaction.prepare_cached("INSERT INTO payout_lines VALUES (?, ?, ?, ?, ?)")?;
    let mut journal = Journal::open(transaction, Owner::Payout(id.0))?;
    let mut total = 0;
    for (line, due) in (1i64..).zip(lines) {
        let (amount, address) = (signed(due.amount), due.address.as_deref().unwrap_or_default());
        statement.execute(params![id, line, due.id, address, amount])?;
        journal.enter(Book::Account(due.id), Cause::Payout, -amount, address)?;
        total += amount;
    }
    journal.enter(Book::Payout, Cause::Payout, total, "")?;
    journal.seal()?;
    Ok(id)
}

fn set_sent(transaction: &Transaction<'_>, id: BatchId, txid: Txid) -> Result<bool, DeskError> {
    if let Some(of) = batch_of(transaction, txid)? {
        return Err(DeskError::TransactionTaken { txid, of });
    }
    let row = params![txid.as_byte_array(), id];
    transaction.execute("UPDATE payouts SET state = 'sent', txid = ? WHERE id = ?", row)?;
    Ok(true)
}

fn batch_of(connection: &Connection, txid: Txid) -> rusqlite::Result<Option<BatchId>> {
    let row = [txid.as_byte_array()];
    connection.query_row("SELECT id FROM payouts WHERE txid = ?", row, |row| row.get(0)).optional()
}

fn set_cancelled(
    transaction: &Transaction<'_>,
    id: BatchId,
    conflict: Option<Txid>,
) -> Result<bool, DeskError> {
    let row = params![conflict.as_ref().map(Txid::as_byte_array), id];
    transaction
        .execute("UPDATE payouts SET state = 'cancelled', txid = NULL, conflict = ? WHERE id = ?", row)?;
    journal::turn(transaction, Owner::Payout(id.0), false)?;
    Ok(true)
}

/// Of a batch that has a transaction: whether `given` is it.
fn already_sent(id: BatchId, state: BatchState, given: Txid) -> Result<bool, DeskError> {
    match state {
        BatchState::Sent { txid } if txid == given => Ok(false),
        BatchState::Sent { txid } => Err(DeskError::OtherTransaction { id, recorded: txid, given }),
        BatchState::Confirmed { txid, height, fee } => Err(DeskError::Confirmed { id, txid, height, fee }),
        BatchState::Cancelled { .. } => Err(DeskError::Cancelled(id)),
        BatchState::Prepared => Err(DeskError::NotSent(id)),
    }
}

fn book_fee(transaction: &Transaction<'_>, id: BatchId, txid: Txid, fee: Amount) -> Result<(), DeskError> {
    let mut journal = Journal::open(transaction, Owner::Fee(id.0))?;
    let reason = txid.to_string();
    journal.enter(Book::House, Cause::Fee, -signed(fee), &reason)?;
    journal.enter(Book::Payout, Cause::Fee, signed(fee), &reason)?;
    journal.seal()?;
    Ok(())
}
