//! How the pool stands: what it owes in all, what it holds, what waits.

use rusqlite::{Connection, Row};
use serde::Serialize;
use sluice_core::bitcoin::Txid;
use sluice_core::bitcoin::hashes::Hash;
use sluice_core::units::Timestamp;

use crate::account::Owed;
use crate::accruals;
use crate::error::LedgerError;
use crate::insert::unsigned;
use crate::ledger::Ledger;
use crate::query::{self, Balance, rows};

/// Batches that wait for their transaction or its confirmation: no more are listed.
const OPEN_LIMIT: usize = 10;

/// How the pool stands.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Money {
    /// The pool's own: fees, less what its address holds for accounts.
    pub house: Owed,
    /// All accounts added up; what is due is what is due to each, added up.
    pub accounts: Owed,
    /// Every account that ever had an entry, the largest balance first.
    pub balances: Vec<(String, Owed)>,
    /// Batches that are prepared or sent, the newest first.
    pub open_payouts: Vec<PayoutRow>,
    /// Rounds of blocks in the chain that no policy has settled yet.
    pub held_rounds: u64,
    /// Shares that wait to be credited by themselves; `None` where the plan credits blocks only.
    pub unaccrued: Option<u64>,
}

/// A batch of payouts.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct PayoutRow {
    pub batch: u64,
    /// `prepared`, `sent`, `confirmed` or `cancelled`.
    pub state: String,
    pub at: Timestamp,
    pub lines: u64,
    pub amount_sat: u64,
    pub txid: Option<Txid>,
    /// Of the block that has it.
    pub height: Option<u32>,
    /// Network fee.
    pub fee_sat: Option<u64>,
}

impl Ledger {
    /// How the pool stands. Reads every account's balance.
    ///
    /// # Errors
    /// [`LedgerError`] where the database cannot be read.
    pub async fn money(&self) -> Result<Money, LedgerError> {
        self.read(|connection, shared| {
            let newest = shared.live().through.0;
            let moment = connection.unchecked_transaction()?;
            let after = accruals::accrued_through(&moment)?;
            let (house, balances) = balances(&moment)?;
            Ok(Money {
                house,
                accounts: total(&balances),
                balances,
                open_payouts: open_payouts(&moment)?,
                held_rounds: held_rounds(&moment)?,
                unaccrued: after.map(|after| newest.saturating_sub(after)),
            })
        })
        .await
    }

    /// Batches of payouts, the newest first.
    ///
    /// # Errors
    /// [`LedgerError`] where the database cannot be read.
    pub async fn payout_rows(&self, limit: usize) -> Result<Vec<PayoutRow>, LedgerError> {
        self.read(move |connection, _| Ok(payouts(connection, "", limit)?)).await
    }
}

/// The house's, and the accounts' in order.
fn balances(connection: &Connection) -> rusqlite::Result<(Owed, Vec<(String, Owed)>)> {
    let owed = |balance: Balance| (balance.account, Owed::new(balance.sat, balance.immature_sat));
    let (house, mut accounts): (Vec<_>, Vec<_>) =
        query::balances(connection)?.into_iter().map(owed).partition(|(account, _)| account.is_empty());
    accounts.sort_by(|(a, x), (b, y)| y.sat.cmp(&x.sat).then_with(|| a.cmp(b)));
    Ok((house.into_iter().next().map(|(_, owed)| owed).unwrap_or_default(), accounts))
}

fn total(balances: &[(String, Owed)]) -> Owed {
    balances.iter().fold(Owed::default(), |sum, (_, owed)| Owed {
        sat: sum.sat.saturating_add(owed.sat),
        mature_sat: sum.mature_sat.saturating_add(owed.mature_sat),
        immature_sat: sum.immature_sat.saturating_add(owed.immature_sat),
        due_sat: sum.due_sat.saturating_add(owed.due_sat),
    })
}

fn held_rounds(connection: &Connection) -> rusqlite::Result<u64> {
    let mut statement = connection.prepare_cached(
        "SELECT count(*) FROM blocks b WHERE b.state IN ('accepted', 'immature', 'mature') \
         AND NOT EXISTS (SELECT 1 FROM rounds WHERE block = b.id)",
    )?;
    statement.query_row([], |row| row.get(0)).map(unsigned)
}

fn open_payouts(connection: &Connection) -> rusqlite::Result<Vec<PayoutRow>> {
    payouts(connection, "WHERE p.state IN ('prepared', 'sent')", OPEN_LIMIT)
}

fn payouts(connection: &Connection, which: &str, limit: usize) -> rusqlite::Result<Vec<PayoutRow>> {
    let text = format!(
        "SELECT p.id, p.state, p.at_ms, count(l.line), coalesce(sum(l.amount), 0), p.txid, p.height, p.fee \
         FROM (SELECT * FROM payouts p {which} ORDER BY p.id DESC LIMIT ?) p \
         LEFT JOIN payout_lines l ON l.payout = p.id GROUP BY p.id ORDER BY p.id DESC"
    );
    let read = |row: &Row<'_>| {
        Ok(PayoutRow {
            batch: unsigned(row.get(0)?),
            state: row.get(1)?,
            at: Timestamp(unsigned(row.get(2)?)),
            lines: unsigned(row.get(3)?),
            amount_sat: unsigned(row.get(4)?),
            txid: txid(row, 5)?,
            height: row.get(6)?,
            fee_sat: row.get::<_, Option<i64>>(7)?.map(unsigned),
        })
    };
    connection.prepare_cached(&text)?.query_map([rows(limit)], read)?.collect()
}

pub(crate) fn txid(row: &Row<'_>, column: usize) -> rusqlite::Result<Option<Txid>> {
    Ok(row.get::<_, Option<[u8; 32]>>(column)?.map(Txid::from_byte_array))
}
