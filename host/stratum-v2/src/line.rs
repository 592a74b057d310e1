//! A channel of a connection, with everything that is its own: who it works for, its place in the search space, the
//! way of work to it and of acknowledgements back.

use std::collections::HashMap;
use std::sync::Arc;

use sluice_core::channel::Channel;
use sluice_core::channel::pacing::Pacing;
use sluice_core::ids::{AccountId, AccountName, WorkerId};
use sluice_core::session::ChannelKind;
use sluice_core::session::pressure::RejectedRun;
use sluice_core::units::{Difficulty, Hashrate, Moment};

use crate::messages::SubmitSharesSuccess;
use crate::work::Broadcast;

/// Workers that one channel may name in its shares (E-22); the shares of others go to the channel's own.
pub(crate) const WORKERS_LIMIT: usize = 256;

/// A channel.
#[derive(Debug)]
pub(crate) struct Line {
    pub(crate) id: u32,
    pub(crate) kind: ChannelKind,
    pub(crate) account: AccountName,
    pub(crate) account_id: AccountId,
    pub(crate) worker_id: WorkerId,
    /// Workers named by the shares themselves (E-20); `None` where there is no number for them.
    pub(crate) workers: HashMap<Box<str>, Option<WorkerId>>,
    pub(crate) channel: Channel,
    pub(crate) pacing: Pacing,
    /// The least difficulty whatever the client asks for: the pool's, or the login's.
    pub(crate) least: Difficulty,
    /// What the client said it hashes when the vardiff policy was last asked because of it.
    pub(crate) nominal: Hashrate,
    pub(crate) supply: Supply,
    pub(crate) batch: Batch,
    pub(crate) run: RejectedRun,
    /// When a job was last asked for to carry a changed difficulty.
    pub(crate) fresh_at: Option<Moment>,
    /// When the vardiff policy was last asked because the client said it hashes otherwise.
    pub(crate) asked_at: Option<Moment>,
}

/// The way of work to the channel.
#[derive(Debug)]
pub(crate) enum Supply {
    /// The vardiff policy has been asked where to start.
    Opening { request_id: u32 },
    /// The first job is awaited; the channel is told that it is open with it (M-21), or at `until` that it is not (M-22).
    Waiting { request_id: u32, until: Moment, first: Option<Arc<Broadcast>> },
    Open {
        /// The newest work that was not sent.
        next: Option<Arc<Broadcast>>,
        /// The difficulty of the target that the channel was told last.
        told: Difficulty,
    },
}

impl Line {
    pub(crate) fn is_open(&self) -> bool {
        matches!(self.supply, Supply::Open { .. })
    }

    /// There is work for it: kept until it can be sent, unless the channel has it, or newer work on another tip (M-41).
    pub(crate) fn offer(&mut self, now: Moment, work: &Arc<Broadcast>) {
        if let Supply::Opening { .. } = self.supply {
            return;
        }
        self.channel.hear(work.job(), now);
        let tip = work.job().work.tip;
        if self.channel.job(work.job().id).is_some() || self.channel.last_tip().is_some_and(|last| tip < last)
        {
            return;
        }
        match &mut self.supply {
            Supply::Opening { .. } => {}
            Supply::Waiting { first: place, .. } | Supply::Open { next: place, .. } => {
                if place.as_ref().is_none_or(|waiting| tip >= waiting.job().work.tip) {
                    *place = Some(Arc::clone(work));
                }
            }
        }
    }
}

/// Shares that are in the log and not acknowledged (M-80…M-84).
#[derive(Debug, Default)]
pub(crate) struct Batch {
    count: u32,
    /// Of the difficulties they were credited with; truncated once, when it is told (M-83).
    sum: f64,
    last_sequence: u32,
    /// When the first of them came in.
    since: Moment,
    /// When the last batch was told.
    told: Option<Moment>,
    /// Not to wait for more.
    at_once: bool,
}

/// A share on its way to the log.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Held {
    pub(crate) channel: u32,
    pub(crate) sequence: u32,
    pub(crate) difficulty: Difficulty,
    pub(crate) at: Moment,
    /// A block is acknowledged without waiting (M-85).
    pub(crate) is_block: bool,
}

impl Batch {
    pub(crate) fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// Adds a share. Returns whether the batch began with it.
    pub(crate) fn add(&mut self, share: &Held) -> bool {
        let begins = self.is_empty();
        if begins {
            self.since = share.at;
        }
        self.count = self.count.saturating_add(1);
        self.sum += share.difficulty.get();
        self.last_sequence = share.sequence;
        self.at_once |= share.is_block;
        begins
    }

    /// When it is to be told: at once where it is full, holds a block, or comes after a pause, so that a slow miner
    /// sees every share accepted.
    pub(crate) fn due(&self, shares: u32, after: std::time::Duration) -> Moment {
        let after_pause = self.told.is_none_or(|told| told.after(after) <= self.since);
        if self.at_once || after_pause || self.count >= shares { Moment(0) } else { self.since.after(after) }
    }

    /// Ends the batch (M-82): what to tell.
    pub(crate) fn take(&mut self, channel_id: u32, now: Moment) -> SubmitSharesSuccess {
        let ended = std::mem::take(self);
        self.told = Some(now);
        SubmitSharesSuccess {
            channel_id,
            last_sequence_number: ended.last_sequence,
            new_submits_accepted_count: ended.count,
            #[expect(
                clippy::cast_possible_truncation,
                clippy::cast_sign_loss,
                reason = "casts of floats saturate"
            )]
            new_shares_sum: ended.sum as u64,
        }
    }
}

#[cfg(test)]
mod tests;
