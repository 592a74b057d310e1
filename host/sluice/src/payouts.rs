//! Paying what the pool owes outside of coinbases: what `sluice payouts` computes, and what it asks of the nodes.
//!
//! The ledger keeps batches (`sluice_ledger::payouts`). Here a batch becomes a transaction without signatures: [`coins`]
//! finds what the pool can spend, [`draft`] puts the transaction together with a fee by [`size`], [`psbt`] writes it
//! down. [`proof`] compares a transaction with the batch, [`trace`] finds it in the chain. No key is ever held here.

pub mod chain;
pub mod coins;
pub mod draft;
pub mod proof;
pub mod psbt;
pub mod size;
pub mod trace;

#[cfg(test)]
pub(crate) mod testchain;
