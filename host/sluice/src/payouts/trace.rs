//! Where a batch's transaction is, or what has spent its coins instead.

use bitcoin::{Amount, OutPoint, Transaction, Txid};
use sluice_core::units::Timestamp;
use sluice_ledger::payouts::Coin;
use sluice_node::{BlockPlace, LookupError};

use super::chain::Chain;

/// The most blocks that are read on one search: eight weeks of them. Beyond, a node with an index is needed.
pub const WALK_LIMIT: u32 = 8 * 1008;
/// A block's time may be two hours ahead of the clock, and a batch's clock wrong by some.
const TIME_SLACK_S: u32 = 3 * 3600;
/// So many blocks in a row that are too old end a search: times of single blocks jump.
const OLD_IN_A_ROW: u32 = 12;

/// A transaction, seen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sighting {
    pub txid: Txid,
    pub transaction: Transaction,
    /// `None` in the mempool.
    pub block: Option<BlockPlace>,
}

/// What a search brought.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Found {
    /// The transaction that was asked for, or another one that spends one of the coins.
    Seen(Sighting),
    /// Neither; in so many blocks. `whole`: they reach back to the time that was asked for.
    Nothing { blocks: u32, whole: bool },
}

/// Looks for `txid`, or whatever spends one of `coins`: in the mempool, in the nodes' indexes, then in the blocks from
/// `since` on, the newest first.
///
/// # Errors
/// No node answers, or none has a block any more.
pub fn find(
    chain: &dyn Chain,
    txid: Option<Txid>,
    coins: &[OutPoint],
    since: Timestamp,
    progress: &mut dyn FnMut(u32),
) -> Result<Found, LookupError> {
    if let Some(txid) = txid
        && let Some(sighting) = known(chain, txid)?
    {
        return Ok(Found::Seen(sighting));
    }
    for coin in coins {
        if let Some(other) = chain.waiting_spender(*coin)?
            && let Some(sighting) = known(chain, other)?
        {
            return Ok(Found::Seen(sighting));
        }
    }
    walk(chain, txid, coins, since, progress)
}

/// A transaction that a node knows without a search, unless its block has left the chain.
fn known(chain: &dyn Chain, txid: Txid) -> Result<Option<Sighting>, LookupError> {
    let Some(found) = chain.transaction(txid, None)? else { return Ok(None) };
    let block = match found.block {
        None => None,
        Some(hash) => match chain.block_place(hash)?.filter(|place| place.confirmations.is_some()) {
            Some(place) => Some(place),
            None => return Ok(None),
        },
    };
    Ok(Some(Sighting { txid, transaction: found.transaction, block }))
}

fn walk(
    chain: &dyn Chain,
    txid: Option<Txid>,
    coins: &[OutPoint],
    since: Timestamp,
    progress: &mut dyn FnMut(u32),
) -> Result<Found, LookupError> {
    let oldest = since.seconds().saturating_sub(TIME_SLACK_S);
    let tip = chain.tip()?;
    let (mut hash, mut old) = (tip.hash, 0);
    for blocks in 0..WALK_LIMIT {
        // A block that is gone meanwhile: the chain was reorganised, and the next search sees another one.
        let Some(block) = chain.block(hash)? else { return Ok(Found::Nothing { blocks, whole: false }) };
        for transaction in &block.txdata {
            let spends = transaction.input.iter().any(|input| coins.contains(&input.previous_output));
            if !spends && txid.is_none() {
                continue;
            }
            let id = transaction.compute_txid();
            if Some(id) == txid || spends {
                let Some(place) = chain.block_place(hash)?.filter(|place| place.confirmations.is_some())
                else {
                    return Ok(Found::Nothing { blocks, whole: false });
                };
                let transaction = transaction.clone();
                return Ok(Found::Seen(Sighting { txid: id, transaction, block: Some(place) }));
            }
        }
        progress(blocks + 1);
        old = if block.header.time < oldest { old + 1 } else { 0 };
        if old == OLD_IN_A_ROW || tip.height == blocks {
            return Ok(Found::Nothing { blocks: blocks + 1, whole: true });
        }
        hash = block.header.prev_blockhash;
    }
    Ok(Found::Nothing { blocks: WALK_LIMIT, whole: false })
}

/// What a transaction paid the miners, if the amounts of all its inputs are to be known: from `coins`, or from the
/// transactions that made them.
///
/// # Errors
/// No node answers.
pub fn fee(
    chain: &dyn Chain,
    transaction: &Transaction,
    coins: &[Coin],
) -> Result<Option<Amount>, LookupError> {
    let mut spent = Amount::ZERO;
    for input in &transaction.input {
        let coin = input.previous_output;
        let Some(amount) = amount_of(chain, coin, coins)? else { return Ok(None) };
        let Some(sum) = spent.checked_add(amount) else { return Ok(None) };
        spent = sum;
    }
    let outputs = transaction.output.iter().map(|output| output.value);
    let paid = outputs.into_iter().try_fold(Amount::ZERO, Amount::checked_add);
    Ok(paid.and_then(|paid| spent.checked_sub(paid)))
}

fn amount_of(chain: &dyn Chain, coin: OutPoint, coins: &[Coin]) -> Result<Option<Amount>, LookupError> {
    if let Some(known) = coins.iter().find(|known| known.outpoint == coin) {
        return Ok(Some(known.amount));
    }
    let previous = chain.transaction(coin.txid, None)?;
    let output = |vout: u32| usize::try_from(vout).ok();
    Ok(previous
        .zip(output(coin.vout))
        .and_then(|(found, vout)| found.transaction.output.get(vout).map(|output| output.value)))
}

#[cfg(test)]
mod tests;
