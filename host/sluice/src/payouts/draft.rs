//! A batch's transaction before it is signed.
//!
//! The same coins, lines and fee rate give the same transaction. Inputs stand in the order of their outpoints, then come
//! the lines in the batch's order, then the change, unless it would be dust: then it goes to the miners.

use bitcoin::absolute::LockTime;
use bitcoin::transaction::Version;
use bitcoin::{Amount, ScriptBuf, Sequence, Transaction, TxIn, TxOut, Witness};
use sluice_ledger::payouts::Coin;

use super::size::{self, FeeRate, Spend};

/// A fee may take so much of what is paid, in percent, unless it is forced.
pub const FEE_LIMIT_PERCENT: u64 = 10;
/// The largest transaction that nodes relay, in virtual bytes (Core's MAX_STANDARD_TX_WEIGHT).
const VSIZE_LIMIT: u64 = 100_000;

/// A coin to spend.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Input {
    pub coin: Coin,
    pub script: ScriptBuf,
    /// The transaction that made it, where it is to be had.
    pub previous: Option<Transaction>,
}

impl Input {
    pub fn output(&self) -> TxOut {
        TxOut { value: self.coin.amount, script_pubkey: self.script.clone() }
    }

    /// Whether signing leaves the transaction's id as it is. P2SH has a script to be signed.
    fn keeps_the_id(&self) -> bool {
        self.script.is_witness_program()
    }
}

/// What to pay, and how.
#[derive(Clone, Debug)]
pub struct Order {
    pub lines: Vec<TxOut>,
    pub change: ScriptBuf,
    pub rate: FeeRate,
    /// Of the transaction: 1 or 2.
    pub version: i32,
    /// What an input takes whose script does not tell, in virtual bytes.
    pub input_vsize: Option<u32>,
    /// Pay any fee.
    pub forced: bool,
}

/// A transaction without signatures.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Draft {
    version: i32,
    pub inputs: Vec<Input>,
    /// Change included, as the last one.
    pub outputs: Vec<TxOut>,
    pub change: Option<Amount>,
    pub fee: Amount,
    /// Estimated, once signed.
    pub vsize: u64,
}

/// Why there is no draft.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DraftError {
    #[error("{needed} are needed, fee included, and the coins come to {there}")]
    NotEnough { needed: Amount, there: Amount },
    #[error(
        "how large an input is that spends {0} cannot be told from its script; say it with --input-vsize (a 2-of-3 \
         P2WSH takes 105)"
    )]
    UnknownSize(String),
    #[error(
        "{0} is spent with a signature that older signers make over its whole transaction, and no node has that; ask a \
         node with txindex=1"
    )]
    NoPrevious(String),
    #[error(
        "the fee of {fee} is more than {FEE_LIMIT_PERCENT} % of the {paid} that are paid; --force pays it"
    )]
    FeeTooHigh { fee: Amount, paid: Amount },
    #[error(
        "the transaction would have {vsize} vB; nodes relay up to {VSIZE_LIMIT}. Cancel the batch, lower payouts.max_lines and \
         prepare again: a batch that is prepared stays as it is"
    )]
    TooLarge { vsize: u64 },
    #[error("the amounts are beyond all coins")]
    Overflow,
}

impl Draft {
    /// Spends all of `inputs`.
    ///
    /// # Errors
    /// [`DraftError::NotEnough`] where more inputs would help; the others say what is wrong.
    pub fn new(order: &Order, mut inputs: Vec<Input>) -> Result<Self, DraftError> {
        inputs.sort_by_key(|input| input.coin.outpoint);
        let spends = spends(order, &inputs)?;
        let there = sum(inputs.iter().map(|input| input.coin.amount))?;
        let paid = sum(order.lines.iter().map(|line| line.value))?;
        let mut draft = Self {
            version: order.version,
            inputs,
            outputs: order.lines.clone(),
            change: None,
            fee: Amount::ZERO,
            vsize: 0,
        };
        draft.vsize = size::signed_vsize(&draft.transaction(), &spends);
        let needed = sum([paid, order.rate.fee(draft.vsize)])?;
        let left = there.checked_sub(paid).filter(|_| there >= needed);
        let left = left.ok_or(DraftError::NotEnough { needed, there })?;
        draft.fee = left;
        draft.give_change(order, &spends, left);
        draft.check(order, paid)?;
        Ok(draft)
    }

    /// Sends back what the fee leaves of `left`, if nodes relay so little.
    fn give_change(&mut self, order: &Order, spends: &[Spend], left: Amount) {
        self.outputs.push(TxOut { value: Amount::ZERO, script_pubkey: order.change.clone() });
        let vsize = size::signed_vsize(&self.transaction(), spends);
        let fee = order.rate.fee(vsize);
        self.outputs.pop();
        let change = left.checked_sub(fee).filter(|change| *change >= order.change.minimal_non_dust());
        if let Some(value) = change {
            self.outputs.push(TxOut { value, script_pubkey: order.change.clone() });
            (self.change, self.fee, self.vsize) = (change, fee, vsize);
        }
    }

    fn check(&self, order: &Order, paid: Amount) -> Result<(), DraftError> {
        if self.vsize > VSIZE_LIMIT {
            return Err(DraftError::TooLarge { vsize: self.vsize });
        }
        // In u128: no product overflows.
        let percent = u128::from(self.fee.to_sat()) * 100;
        if !order.forced && percent > u128::from(paid.to_sat()) * u128::from(FEE_LIMIT_PERCENT) {
            return Err(DraftError::FeeTooHigh { fee: self.fee, paid });
        }
        Ok(())
    }

    /// The transaction, to be signed. It says that it may be replaced (BIP 125).
    pub fn transaction(&self) -> Transaction {
        let input = |input: &Input| TxIn {
            previous_output: input.coin.outpoint,
            script_sig: ScriptBuf::new(),
            sequence: Sequence::ENABLE_RBF_NO_LOCKTIME,
            witness: Witness::new(),
        };
        Transaction {
            version: Version(self.version),
            lock_time: LockTime::ZERO,
            input: self.inputs.iter().map(input).collect(),
            output: self.outputs.clone(),
        }
    }

    /// Whether the signed transaction has the id of this one.
    pub fn keeps_its_id(&self) -> bool {
        self.inputs.iter().all(Input::keeps_the_id)
    }
}

fn spends(order: &Order, inputs: &[Input]) -> Result<Vec<Spend>, DraftError> {
    let spend = |input: &Input| {
        let name = || input.coin.outpoint.to_string();
        let spend =
            Spend::of(&input.script, order.input_vsize).ok_or_else(|| DraftError::UnknownSize(name()))?;
        // Only signatures of segwit cover the amount (BIP 143, BIP 341).
        let covers = input.script.is_witness_program() || spend == Spend::P2shP2wpkh;
        if input.previous.is_none() && !covers {
            return Err(DraftError::NoPrevious(name()));
        }
        Ok(spend)
    };
    inputs.iter().map(spend).collect()
}

fn sum(amounts: impl IntoIterator<Item = Amount>) -> Result<Amount, DraftError> {
    let mut amounts = amounts.into_iter();
    amounts.try_fold(Amount::ZERO, Amount::checked_add).ok_or(DraftError::Overflow)
}

#[cfg(test)]
mod tests;
