//! A job as SV2 sends it (M-30…M-46): encoded once for all channels that share its coinbase.

use std::sync::Arc;

use bitcoin::hashes::Hash;
use sluice_core::job::Job;
use sluice_core::merkle::Node;
use sluice_core::units::Difficulty;

use crate::messages::{ExtendedJob, ExtendedJobTail, NewMiningJob, SetNewPrevHash, SetTarget, TailError};
use crate::wire::types::wire_target;

/// A job, and of its `NewExtendedMiningJob` all that does not differ between channels.
#[derive(Debug)]
pub struct Broadcast {
    job: Arc<Job>,
    tail: ExtendedJobTail,
}

/// How a job goes out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Timing {
    /// On the tip the channel knows: active at once (M-35).
    Active,
    /// On another tip: a future job, and the `SetNewPrevHash` that activates it right behind (M-42).
    Future,
}

impl Timing {
    pub(crate) fn of(is_new_tip: bool) -> Self {
        if is_new_tip { Self::Future } else { Self::Active }
    }

    fn min_ntime(self, job: &Job) -> Option<u32> {
        (self == Self::Active).then_some(job.ntime)
    }
}

impl Broadcast {
    /// Encodes the job, once. Miners may roll the version on every job (M-37).
    ///
    /// # Errors
    /// The coinbase is longer than the wire allows.
    pub fn new(job: Arc<Job>) -> Result<Self, TailError> {
        let (coinbase, work) = (&job.coinbase, &job.work);
        let tail =
            ExtendedJobTail::new(work.version, true, &work.branch, &coinbase.prefix, &coinbase.suffix)?;
        Ok(Self { job, tail })
    }

    pub fn job(&self) -> &Arc<Job> {
        &self.job
    }

    /// For an extended channel or a group.
    pub(crate) fn extended(&self, channel: u32, timing: Timing) -> ExtendedJob<'_> {
        ExtendedJob {
            channel_id: channel,
            job_id: self.job.id.0,
            min_ntime: timing.min_ntime(&self.job),
            tail: &self.tail,
        }
    }

    pub(crate) fn tail(&self) -> &[u8] {
        self.tail.bytes()
    }

    /// `NewMiningJob` for a standard channel, whose coinbase comes to `root`.
    pub(crate) fn standard(&self, channel: u32, root: Node, timing: Timing) -> NewMiningJob {
        NewMiningJob {
            channel_id: channel,
            job_id: self.job.id.0,
            min_ntime: timing.min_ntime(&self.job),
            version: self.job.work.version,
            merkle_root: root,
        }
    }

    /// What activates it (M-41).
    pub(crate) fn prev_hash(&self, channel: u32) -> SetNewPrevHash {
        let template = &self.job.work.template;
        SetNewPrevHash {
            channel_id: channel,
            job_id: self.job.id.0,
            prev_hash: template.previous.to_byte_array(),
            min_ntime: self.job.ntime,
            nbits: template.bits.to_consensus(),
        }
    }
}

/// The target of a channel, as it is told (M-50).
pub(crate) fn set_target(channel: u32, difficulty: Difficulty) -> SetTarget {
    SetTarget { channel_id: channel, maximum_target: wire_target(difficulty.to_target()) }
}
