//! The life of a block: what a node said of it, then where it stands in the chain.
//!
//! ```text
//! found -> submitted -> accepted -> immature -> mature
//!              |            |        |  ^  ^
//!              v            v        v  |  |
//!           rejected        +---> orphaned |
//!              |                           |
//!              +------- inconclusive ------+
//! ```
//!
//! The node's word ([`Verdict`]) counts until the chain has spoken ([`Place`]). A settled block that leaves the chain has
//! its transaction reversed in the same commit, one that comes back has it booked again (see `books`). A block with
//! [`MATURITY`] confirmations is final.

use rusqlite::{Connection, OptionalExtension, Row, Transaction, params};
use serde::Serialize;
use sluice_core::bitcoin::BlockHash;
use sluice_core::bitcoin::hashes::Hash;

use crate::blocks::is_settled;
use crate::books;
use crate::error::LedgerError;
use crate::query::rows;

/// Confirmations from which a block's coinbase can be spent in the next one (consensus: COINBASE_MATURITY) and its
/// credits are final.
pub const MATURITY: u32 = 100;
/// A block that is not in the chain is looked at until the tip is so many blocks above it: about two weeks.
pub const ORPHANS_WATCHED: u32 = 2016;
/// The reason of a block that the nodes keep and that lost its race so far. Unlike other rejected ones it may still come
/// into the chain.
pub const INCONCLUSIVE: &str = "inconclusive";

/// What the nodes said of a block.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Nothing yet; it was handed to them.
    Submitted,
    Accepted,
    /// Its shares belong to the next block's round.
    Rejected {
        reason: String,
    },
}

/// Where a block stands, according to a node that knows the chain up to its height.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// In the best chain; the tip has one confirmation.
    InChain { confirmations: u32 },
    /// Another block is in the chain at its height, and the nodes agree, or its chain is the longer one.
    Aside,
}

/// What became of a block.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum BlockState {
    /// Written down, not yet handed to a node.
    Found,
    Submitted,
    /// By a node; not yet seen in the chain by the pool.
    Accepted,
    /// In the chain, with less than [`MATURITY`] confirmations.
    Immature,
    /// In the chain for good.
    Mature,
    /// Was accepted, is not in the best chain.
    Orphaned,
    Rejected,
}

impl BlockState {
    pub const ALL: [Self; 7] = [
        Self::Found,
        Self::Submitted,
        Self::Accepted,
        Self::Immature,
        Self::Mature,
        Self::Orphaned,
        Self::Rejected,
    ];

    pub const fn label(self) -> &'static str {
        match self {
            Self::Found => "found",
            Self::Submitted => "submitted",
            Self::Accepted => "accepted",
            Self::Immature => "immature",
            Self::Mature => "mature",
            Self::Orphaned => "orphaned",
            Self::Rejected => "rejected",
        }
    }

    /// Whether its round may be settled.
    pub(crate) const fn counts(self) -> bool {
        matches!(self, Self::Accepted | Self::Immature | Self::Mature)
    }

    /// The schema allows no other label.
    pub(crate) fn from_label(label: &str) -> Self {
        Self::ALL.into_iter().find(|state| state.label() == label).unwrap_or(Self::Found)
    }
}

/// What a look at the chain changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// Nothing but the number of confirmations.
    None,
    /// It is final.
    Matured,
    /// It left the chain; what its round had booked is reversed.
    Orphaned,
    /// It came into the chain after all; what was reversed is booked again.
    Returned,
}

/// A block that is not final.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WatchedBlock {
    /// Its number in the ledger; grows with every block found.
    pub id: i64,
    pub hash: BlockHash,
    pub height: u32,
    pub state: BlockState,
    pub confirmations: u32,
}

impl WatchedBlock {
    /// Whether the ledger has more to write than it knows, if the block is at `place`.
    pub fn is_news(&self, place: Place) -> bool {
        step(self.state, place).is_some_and(|(state, confirmations, _)| {
            (state, confirmations) != (self.state, self.confirmations)
        })
    }
}

/// Enters a node's word. A block that the chain has spoken of stays as it is.
pub(crate) fn judge(
    transaction: &Transaction<'_>,
    hash: BlockHash,
    verdict: &Verdict,
) -> Result<(), LedgerError> {
    let (id, state) = find(transaction, hash)?;
    let (next, reason) = match verdict {
        Verdict::Rejected { .. } if is_settled(transaction, id)? => return Err(LedgerError::Settled(hash)),
        _ if matches!(state, BlockState::Immature | BlockState::Mature | BlockState::Orphaned) => {
            return Ok(());
        }
        Verdict::Submitted if state != BlockState::Found => return Ok(()),
        Verdict::Submitted => (BlockState::Submitted, ""),
        Verdict::Accepted => (BlockState::Accepted, ""),
        Verdict::Rejected { reason } => (BlockState::Rejected, reason.as_str()),
    };
    transaction
        .execute("UPDATE blocks SET state = ?, reason = ? WHERE id = ?", params![next.label(), reason, id])?;
    Ok(())
}

/// Enters where the block stands, and books what follows from it.
pub(crate) fn place(
    transaction: &Transaction<'_>,
    hash: BlockHash,
    place: Place,
) -> Result<Change, LedgerError> {
    let (id, state) = find(transaction, hash)?;
    let Some((next, confirmations, change)) = step(state, place) else { return Ok(Change::None) };
    let row = params![next.label(), confirmations, id];
    transaction
        .prepare_cached("UPDATE blocks SET state = ?, confirmations = ?, reason = '' WHERE id = ?")?
        .execute(row)?;
    if matches!(change, Change::Orphaned | Change::Returned) {
        books::follow(transaction, id, next.counts())?;
    }
    Ok(change)
}

/// `None`: nothing changes. One that comes back is immature until the next look, however deep it is.
fn step(state: BlockState, place: Place) -> Option<(BlockState, u32, Change)> {
    use BlockState::{Accepted, Found, Immature, Mature, Orphaned, Rejected, Submitted};
    match (state, place) {
        (Found | Submitted | Mature, _) | (Orphaned | Rejected, Place::Aside) => None,
        (Accepted | Immature, Place::Aside) => Some((Orphaned, 0, Change::Orphaned)),
        (Orphaned | Rejected, Place::InChain { confirmations }) => {
            Some((Immature, confirmations.max(1), Change::Returned))
        }
        (Accepted | Immature, Place::InChain { confirmations }) if confirmations >= MATURITY => {
            Some((Mature, confirmations, Change::Matured))
        }
        (Accepted | Immature, Place::InChain { confirmations }) => {
            Some((Immature, confirmations.max(1), Change::None))
        }
    }
}

fn find(transaction: &Transaction<'_>, hash: BlockHash) -> Result<(i64, BlockState), LedgerError> {
    let mut statement = transaction.prepare_cached("SELECT id, state FROM blocks WHERE hash = ?")?;
    let read = |row: &Row<'_>| Ok((row.get(0)?, BlockState::from_label(&row.get::<_, String>(1)?)));
    statement.query_row([hash.as_byte_array()], read).optional()?.ok_or(LedgerError::UnknownBlock(hash))
}

/// Blocks that are not final, in the order in which they were found, from the first after `after`.
pub(crate) fn watched(
    connection: &Connection,
    after: i64,
    tip: u32,
    limit: usize,
) -> rusqlite::Result<Vec<WatchedBlock>> {
    let mut statement = connection.prepare_cached(
        "SELECT id, hash, height, state, confirmations FROM blocks WHERE id > ? AND (state IN ('accepted', 'immature') OR \
         (height > ? AND (state = 'orphaned' OR (state = 'rejected' AND reason = ?)))) ORDER BY id LIMIT ?",
    )?;
    let from = tip.saturating_sub(ORPHANS_WATCHED);
    let read = |row: &Row<'_>| {
        Ok(WatchedBlock {
            id: row.get(0)?,
            hash: BlockHash::from_byte_array(row.get(1)?),
            height: row.get(2)?,
            state: BlockState::from_label(&row.get::<_, String>(3)?),
            confirmations: row.get(4)?,
        })
    };
    statement.query_map(params![after, from, INCONCLUSIVE, rows(limit)], read)?.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_label_is_its_own_state() {
        for state in BlockState::ALL {
            assert_eq!(BlockState::from_label(state.label()), state);
        }
    }

    #[test]
    fn what_is_final_stays_and_what_has_no_verdict_waits_for_it() {
        for place in [Place::Aside, Place::InChain { confirmations: 7 }] {
            for state in [BlockState::Found, BlockState::Submitted, BlockState::Mature] {
                assert_eq!(step(state, place), None);
            }
        }
    }

    #[test]
    fn only_what_changes_is_news() {
        let block = |state, confirmations| WatchedBlock {
            id: 1,
            hash: BlockHash::from_byte_array([1; 32]),
            height: 100,
            state,
            confirmations,
        };
        let immature = block(BlockState::Immature, 3);
        assert!(!immature.is_news(Place::InChain { confirmations: 3 }));
        assert!(immature.is_news(Place::InChain { confirmations: 4 }) && immature.is_news(Place::Aside));
        let orphan = block(BlockState::Orphaned, 0);
        assert!(!orphan.is_news(Place::Aside) && orphan.is_news(Place::InChain { confirmations: 1 }));
    }

    #[test]
    fn the_hundredth_confirmation_makes_a_block_mature() {
        let at = |confirmations| step(BlockState::Immature, Place::InChain { confirmations });
        assert_eq!(at(99), Some((BlockState::Immature, 99, Change::None)));
        assert_eq!(at(100), Some((BlockState::Mature, 100, Change::Matured)));
    }
}
