//! The coins that drafts spend. At most one of all drafts that pay an account the same money can ever be in the chain:
//! drafts of one batch share coins, and a batch that was cancelled after a draft shares one with a later batch.

use std::collections::{BTreeSet, HashMap, HashSet};

use rusqlite::{Connection, OptionalExtension, Row, Transaction, params};
use serde::Serialize;
use sluice_core::bitcoin::hashes::Hash;
use sluice_core::bitcoin::{Amount, BlockHash, OutPoint, Txid, amount};

use super::Desk;
use super::batch::{self, BatchId, BatchState};
use super::due;
use super::error::DeskError;
use crate::insert::{sql, unsigned};

/// The most coins of one batch: about as many inputs as a transaction that nodes relay has room for.
pub const COINS_LIMIT: usize = 1_500;
/// The most coinbases that are listed: the newest. Older ones are for the operator's wallet.
pub const COINBASES_LIMIT: usize = 10_000;

/// An output that the pool can spend.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub struct Coin {
    pub outpoint: OutPoint,
    #[serde(rename = "amount_sat", with = "amount::serde::as_sat")]
    pub amount: Amount,
}

/// What a block that is final paid to the pool.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct OwnCoinbase {
    pub block: BlockHash,
    pub height: u32,
    /// Where the coinbase paid it.
    pub address: String,
    #[serde(rename = "amount_sat", with = "amount::serde::as_sat")]
    pub amount: Amount,
}

impl Desk {
    /// Writes down that a draft of the batch spends `coins`, before anybody sees the draft. Those it has already come
    /// first in it and stay. Of a sent batch as well: for a draft that replaces its transaction. `false`: all of them were
    /// written down.
    ///
    /// # Errors
    /// [`DeskError::NotOpen`], [`DeskError::NoDraft`], [`DeskError::Waits`]; [`DeskError::MustSpend`] where one of [`Desk::must_spend`] is missing;
    /// [`DeskError::Reserved`], [`DeskError::Twice`], [`DeskError::TooManyCoins`].
    pub fn reserve(&mut self, id: BatchId, coins: &[Coin]) -> Result<bool, DeskError> {
        self.write(|transaction| {
            let drafts = Drafts::read(transaction)?;
            let needed = drafts.must_spend(transaction, id)?;
            drafts.check(&needed, id, coins)?;
            insert(transaction, id, drafts.own(id).len(), &drafts.unwritten(&needed, id, coins))
        })
    }

    /// The coins that a draft of the batch has to spend: those of its own drafts before, in their order, then the first of
    /// each cancelled batch whose draft may be about and is ruled out by nothing else.
    ///
    /// # Errors
    /// [`DeskError::Waits`]; [`DeskError::NotOpen`]; [`DeskError::NoDraft`] of a sent batch that none was drafted for; [`DeskError::UnknownBatch`].
    pub fn must_spend(&mut self, id: BatchId) -> Result<Vec<Coin>, DeskError> {
        self.read(|moment| {
            let coins = Drafts::read(moment)?.must_spend(moment, id)?;
            Ok(coins.into_iter().map(|(_, coin)| coin).collect())
        })
    }

    /// Whether a batch that is prepared may still be paid by hand: no coinbase has paid one of its accounts what it pays.
    ///
    /// # Errors
    /// [`DeskError::PaidTwice`], [`DeskError::UnknownBatch`].
    pub fn check_unpaid(&mut self, id: BatchId) -> Result<(), DeskError> {
        self.read(|moment| match batch::state(moment, id)? {
            BatchState::Prepared => covered(moment, id),
            _ => Ok(()),
        })
    }

    /// The coins of all other batches that are not cancelled.
    ///
    /// # Errors
    /// [`DeskError`] where the ledger cannot be read.
    pub fn reserved_by_others(&mut self, id: BatchId) -> Result<BTreeSet<OutPoint>, DeskError> {
        self.read(|moment| {
            let mut held = Drafts::read(moment)?.held;
            held.retain(|_, of| *of != id);
            Ok(held.into_keys().collect())
        })
    }

    /// What mature blocks paid to the pool, spent or not, the oldest first; the newest [`COINBASES_LIMIT`].
    ///
    /// # Errors
    /// [`DeskError`] where the ledger cannot be read.
    pub fn own_coinbases(&mut self) -> Result<Vec<OwnCoinbase>, DeskError> {
        self.read(|moment| {
            let mut statement = moment.prepare_cached(
                "SELECT b.hash, b.height, p.address, p.amount FROM blocks b JOIN block_payments p ON p.block = b.id \
                 WHERE b.state = 'mature' AND p.account = '' AND p.amount > 0 ORDER BY b.id DESC, p.line DESC LIMIT ?",
            )?;
            let rows = statement.query_map([sql(COINBASES_LIMIT as u64)], own_coinbase)?;
            let mut list = rows.collect::<Result<Vec<_>, _>>()?;
            list.reverse();
            Ok(list)
        })
    }
}

fn own_coinbase(row: &Row<'_>) -> rusqlite::Result<OwnCoinbase> {
    Ok(OwnCoinbase {
        block: BlockHash::from_byte_array(row.get(0)?),
        height: row.get(1)?,
        address: row.get(2)?,
        amount: Amount::from_sat(unsigned(row.get(3)?)),
    })
}

/// In the order in which they were chosen.
pub(super) fn of_batch(connection: &Connection, id: BatchId) -> rusqlite::Result<Vec<Coin>> {
    let mut statement = connection.prepare_cached(
        "SELECT txid, vout, amount FROM payout_inputs WHERE payout = ? ORDER BY line LIMIT ?",
    )?;
    statement.query_map(params![id, sql(COINS_LIMIT as u64)], |row| coin(row, 0))?.collect()
}

fn coin(row: &Row<'_>, first: usize) -> rusqlite::Result<Coin> {
    let txid = Txid::from_byte_array(row.get(first)?);
    let amount = Amount::from_sat(unsigned(row.get(first + 2)?));
    Ok(Coin { outpoint: OutPoint { txid, vout: row.get(first + 1)? }, amount })
}

/// Every coin that was ever chosen, except by batches that are known to be ruled out.
struct Drafts {
    /// Of batches that are not cancelled.
    held: HashMap<OutPoint, BatchId>,
    /// By batch, in the order in which they were chosen; those of cancelled ones too.
    by_batch: Vec<(BatchId, Vec<Coin>)>,
}

impl Drafts {
    fn read(connection: &Connection) -> rusqlite::Result<Self> {
        let mut drafts = Self { held: HashMap::new(), by_batch: Vec::new() };
        let mut statement = connection.prepare_cached(
            "SELECT p.id, p.state = 'cancelled', i.txid, i.vout, i.amount FROM payouts p \
             JOIN payout_inputs i ON i.payout = p.id WHERE p.conflict IS NULL ORDER BY p.id, i.line",
        )?;
        let mut rows = statement.query([])?;
        while let Some(row) = rows.next()? {
            drafts.add(row.get(0)?, row.get(1)?, coin(row, 2)?);
        }
        Ok(drafts)
    }

    fn add(&mut self, id: BatchId, cancelled: bool, coin: Coin) {
        if !cancelled {
            self.held.insert(coin.outpoint, id);
        }
        match self.by_batch.last_mut() {
            Some((last, coins)) if *last == id => coins.push(coin),
            _ => self.by_batch.push((id, vec![coin])),
        }
    }

    fn own(&self, id: BatchId) -> &[Coin] {
        self.by_batch.iter().find(|(batch, _)| *batch == id).map_or(&[], |(_, coins)| coins)
    }

    /// Each with the batch that asks for it.
    fn must_spend(&self, connection: &Connection, id: BatchId) -> Result<Vec<(BatchId, Coin)>, DeskError> {
        let own = self.own(id).iter().map(|coin| (id, *coin));
        match batch::state(connection, id)? {
            BatchState::Prepared => {
                if let Some(on) = waits_for(connection, id)? {
                    return Err(DeskError::Waits { id, on });
                }
                if own.len() == 0 {
                    covered(connection, id)?;
                }
                Ok(own.chain(self.not_ruled_out()).collect())
            }
            // It is not the next draft of what was cancelled later. Without a coin of its transaction it would be paid twice.
            BatchState::Sent { .. } if own.len() > 0 => Ok(own.collect()),
            BatchState::Sent { .. } => Err(DeskError::NoDraft(id)),
            state => Err(DeskError::NotOpen { id, state: state.label() }),
        }
    }

    /// The first coin of each cancelled batch, which all its drafts spend, where no batch that stands spends it.
    fn not_ruled_out(&self) -> Vec<(BatchId, Coin)> {
        let mut chosen: HashSet<OutPoint> = self.held.keys().copied().collect();
        let firsts = self.by_batch.iter().filter_map(|(of, coins)| Some((*of, *coins.first()?)));
        firsts.filter(|(_, first)| chosen.insert(first.outpoint)).collect()
    }

    fn check(&self, needed: &[(BatchId, Coin)], id: BatchId, coins: &[Coin]) -> Result<(), DeskError> {
        if coins.len() > COINS_LIMIT {
            return Err(DeskError::TooManyCoins { count: coins.len(), limit: COINS_LIMIT });
        }
        let mut seen = HashSet::new();
        for Coin { outpoint, .. } in coins {
            if !seen.insert(*outpoint) {
                return Err(DeskError::Twice(*outpoint));
            }
            if let Some(of) = self.held.get(outpoint).filter(|of| **of != id) {
                return Err(DeskError::Reserved { coin: *outpoint, of: *of });
            }
        }
        let missing = needed.iter().find(|(_, coin)| !coins.contains(coin));
        missing.map_or(Ok(()), |(of, coin)| Err(DeskError::MustSpend { coin: coin.outpoint, of: *of }))
    }

    /// What is not written down yet. Coins that rule out others come first, so that the batch's own first coin is theirs.
    fn unwritten(&self, needed: &[(BatchId, Coin)], id: BatchId, coins: &[Coin]) -> Vec<Coin> {
        let own = self.own(id);
        let needed: Vec<Coin> = needed.iter().map(|(_, coin)| *coin).collect();
        let free = coins.iter().filter(|coin| !needed.contains(coin));
        needed.iter().chain(free).filter(|coin| !own.contains(coin)).copied().collect()
    }
}

/// Refuses a batch whose accounts were paid by a coinbase as well since it was prepared.
fn covered(connection: &Connection, id: BatchId) -> Result<(), DeskError> {
    due::overdrawn(connection, id)?.map_or(Ok(()), |account| Err(DeskError::PaidTwice { id, account }))
}

/// A sent batch that rules out a cancelled draft and does not pay each account as much as that. Should the cancelled one get
/// into the chain in its place, the accounts have more than the ledger knows: nothing may be paid meanwhile. Of cancelled
/// batches with one first coin, only one can.
fn waits_for(connection: &Connection, id: BatchId) -> rusqlite::Result<Option<BatchId>> {
    let mut statement = connection.prepare_cached(
        "SELECT c.batch FROM ( \
             SELECT m.id AS batch, nl.account AS account, max(nl.amount) AS most \
             FROM payouts m JOIN payout_inputs mi ON mi.payout = m.id \
             JOIN payout_inputs ni ON ni.txid = mi.txid AND ni.vout = mi.vout AND ni.line = 1 \
             JOIN payouts n ON n.id = ni.payout AND n.state = 'cancelled' AND n.conflict IS NULL \
             JOIN payout_lines nl ON nl.payout = n.id \
             WHERE m.state = 'sent' AND m.id <> ? GROUP BY m.id, mi.line, nl.account) AS c \
         LEFT JOIN payout_lines l ON l.payout = c.batch AND l.account = c.account \
         GROUP BY c.batch, c.account HAVING sum(c.most) > coalesce(max(l.amount), 0) ORDER BY c.batch LIMIT 1",
    )?;
    statement.query_row([id], |row| row.get(0)).optional()
}

fn insert(
    transaction: &Transaction<'_>,
    id: BatchId,
    before: usize,
    coins: &[Coin],
) -> Result<bool, DeskError> {
    let mut statement = transaction.prepare_cached("INSERT INTO payout_inputs VALUES (?, ?, ?, ?, ?)")?;
    for (line, Coin { outpoint, amount }) in (sql(before as u64) + 1..).zip(coins) {
        let row = params![id, line, outpoint.txid.as_byte_array(), outpoint.vout, sql(amount.to_sat())];
        statement.execute(row)?;
    }
    Ok(!coins.is_empty())
}
