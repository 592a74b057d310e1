//! What the pool can spend: outputs of its mature coinbases to itself, and the change of confirmed batches. The ledger
//! says which there are, the nodes which of them are unspent.

use std::collections::BTreeSet;

use bitcoin::{Amount, BlockHash, Network, OutPoint, ScriptBuf, Transaction, Txid};
use sluice_core::coinbase::parse_address;
use sluice_ledger::payouts::{Batch, BatchState, Coin, OwnCoinbase};
use sluice_node::{LookupError, Mempool, Unspent};

use super::chain::Chain;
use super::draft::Input;
use super::proof;

/// Confirmations from which a coinbase can be spent (consensus).
const COINBASE_MATURITY: u32 = 100;
/// The most coinbases that a search looks at, each two questions; beyond, the operator names coins.
pub const SEARCH_LIMIT: usize = 2000;
/// The most confirmed batches whose change is looked for, the newest.
pub const CHANGES_LIMIT: usize = 100;

/// What the ledger knows of the pool's coins.
pub struct Holdings<'b> {
    pub network: Network,
    pub coinbases: Vec<OwnCoinbase>,
    /// Among them the confirmed ones, whose change is looked for; the newest first.
    pub batches: &'b [Batch],
    /// The scripts that pay the pool.
    pub own: &'b [ScriptBuf],
    /// Not to be given out.
    pub taken: BTreeSet<OutPoint>,
}

/// The pool's coins, the largest first, each looked at when its turn comes.
pub struct Purse<'a> {
    chain: &'a dyn Chain,
    network: Network,
    /// The largest at the end.
    coinbases: Vec<OwnCoinbase>,
    /// The largest at the end.
    changes: Vec<Input>,
    /// Not to be given out, or given out already.
    taken: BTreeSet<OutPoint>,
    searched: usize,
}

impl<'a> Purse<'a> {
    /// # Errors
    /// No node answers.
    pub fn new(chain: &'a dyn Chain, holdings: Holdings<'_>) -> Result<Self, LookupError> {
        let Holdings { network, mut coinbases, batches, own, taken } = holdings;
        // Of equal ones the oldest.
        coinbases.sort_by(|a, b| a.amount.cmp(&b.amount).then(b.height.cmp(&a.height)));
        let mut changes = changes(chain, network, batches, own)?;
        changes.sort_by_key(|change| change.coin);
        changes.sort_by_key(|change| change.coin.amount);
        Ok(Self { chain, network, coinbases, changes, taken, searched: 0 })
    }

    /// The largest coin that is left, `None` if there is none or the search has gone on for [`SEARCH_LIMIT`].
    ///
    /// # Errors
    /// No node answers.
    pub fn take(&mut self) -> Result<Option<Input>, LookupError> {
        while self.searched < SEARCH_LIMIT {
            self.searched += 1;
            let coinbase = self.coinbases.last().map(|coinbase| coinbase.amount);
            let change = self.changes.last().map(|change| change.coin.amount);
            let coin = match (coinbase, change) {
                (None, None) => return Ok(None),
                (coinbase, change) if change >= coinbase => self.next_change()?,
                _ => self.next_coinbase()?,
            };
            if let Some(input) = coin {
                self.taken.insert(input.coin.outpoint);
                return Ok(Some(input));
            }
        }
        Ok(None)
    }

    /// Whether the search was given up.
    pub fn is_exhausted(&self) -> bool {
        self.searched >= SEARCH_LIMIT
    }

    fn next_change(&mut self) -> Result<Option<Input>, LookupError> {
        let Some(change) = self.changes.pop().filter(|change| !self.taken.contains(&change.coin.outpoint))
        else {
            return Ok(None);
        };
        let unspent = self.chain.unspent(change.coin.outpoint, Mempool::Counts)?;
        Ok(unspent.filter(is_spendable).map(|_| change))
    }

    fn next_coinbase(&mut self) -> Result<Option<Input>, LookupError> {
        let Some(coinbase) = self.coinbases.pop() else { return Ok(None) };
        let Ok(address) = parse_address(&coinbase.address, self.network) else { return Ok(None) };
        let Some(previous) = coinbase_of(self.chain, coinbase.block)? else { return Ok(None) };
        let txid = previous.compute_txid();
        for (vout, output) in (0..).zip(&previous.output) {
            let coin = Coin { outpoint: OutPoint { txid, vout }, amount: output.value };
            let ours = output.value == coinbase.amount && output.script_pubkey == address.script_pubkey();
            if !ours || self.taken.contains(&coin.outpoint) {
                continue;
            }
            if self.chain.unspent(coin.outpoint, Mempool::Counts)?.is_some_and(|coin| is_spendable(&coin)) {
                let script = output.script_pubkey.clone();
                return Ok(Some(Input { coin, script, previous: Some(previous) }));
            }
        }
        Ok(None)
    }
}

fn is_spendable(coin: &Unspent) -> bool {
    coin.confirmations >= if coin.coinbase { COINBASE_MATURITY } else { 1 }
}

fn coinbase_of(chain: &dyn Chain, block: BlockHash) -> Result<Option<Transaction>, LookupError> {
    let Some(txid) = chain.block_txids(block)?.and_then(|txids| txids.first().copied()) else {
        return Ok(None);
    };
    Ok(chain.transaction(txid, Some(block))?.map(|found| found.transaction))
}

/// Outputs of confirmed batches' transactions beside the lines that pay one of the scripts `own`.
fn changes(
    chain: &dyn Chain,
    network: Network,
    batches: &[Batch],
    own: &[ScriptBuf],
) -> Result<Vec<Input>, LookupError> {
    let confirmed = batches.iter().filter_map(|batch| match batch.state {
        BatchState::Confirmed { txid, height, .. } => Some((batch, txid, height)),
        _ => None,
    });
    let mut changes = Vec::new();
    for (batch, txid, height) in confirmed.take(CHANGES_LIMIT) {
        let Some(block) = chain.block_hash(height)? else { continue };
        let Some(found) = chain.transaction(txid, Some(block))? else { continue };
        let previous = found.transaction;
        let Ok(beside) = proof::check(&previous, &batch.lines, network, own) else { continue };
        for (vout, output) in (0..).zip(&previous.output) {
            if own.contains(&output.script_pubkey) && beside.contains(output) {
                let coin = Coin { outpoint: OutPoint { txid, vout }, amount: output.value };
                let script = output.script_pubkey.clone();
                changes.push(Input { coin, script, previous: Some(previous.clone()) });
            }
        }
    }
    Ok(changes)
}

/// A coin that the nodes know, with what made it; `None` if it is spent, or cannot be spent yet.
///
/// # Errors
/// No node answers.
pub fn input(chain: &dyn Chain, outpoint: OutPoint, mempool: Mempool) -> Result<Option<Input>, LookupError> {
    let Some(unspent) = chain.unspent(outpoint, mempool)?.filter(is_spendable) else { return Ok(None) };
    let previous = previous(chain, outpoint.txid, &unspent)?;
    let Unspent { amount, script, .. } = unspent;
    Ok(Some(Input { coin: Coin { outpoint, amount }, script, previous }))
}

/// The transaction that made a coin, from the block that has it: no index is needed.
fn previous(chain: &dyn Chain, txid: Txid, coin: &Unspent) -> Result<Option<Transaction>, LookupError> {
    let Some(tip) = chain.block_place(coin.tip)? else { return Ok(None) };
    let height = tip.height.saturating_add(1).saturating_sub(coin.confirmations);
    let Some(block) = chain.block_hash(height)? else { return Ok(None) };
    // A node that has pruned the block refuses. The coin can be spent without, by most scripts.
    Ok(chain.transaction(txid, Some(block)).ok().flatten().map(|found| found.transaction))
}

/// The sum.
pub fn total(inputs: &[Input]) -> Amount {
    inputs.iter().fold(Amount::ZERO, |sum, input| sum.checked_add(input.coin.amount).unwrap_or(Amount::MAX))
}

#[cfg(test)]
mod tests;
