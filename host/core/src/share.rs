//! What a miner hands in and what becomes of it.

use bitcoin::BlockHash;
use serde::{Deserialize, Serialize};

use crate::ids::{AccountId, JobId, Protocol, TemplateId, WorkerId};
use crate::units::{Difficulty, Timestamp};

/// A share as a protocol decoded it. Only syntax has been checked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Submission<'a> {
    pub job: JobId,
    /// The miner's part of the extranonce, exactly as long as the channel says.
    pub extranonce2: &'a [u8],
    pub ntime: u32,
    pub nonce: u32,
    /// The rolled bits; `None` leaves the job's version.
    pub version: RolledVersion,
}

/// How the protocol hands in the version (V1-75).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RolledVersion {
    /// The job's version as sent.
    Unrolled,
    /// SV1: the sixth parameter, the rolled bits alone.
    Bits(u32),
    /// SV2: the whole version.
    Whole(u32),
}

/// Why a share does not count. An outcome, not an error. Each protocol maps it to its code in one match.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Reason {
    /// No job of that id is known to this channel.
    UnknownJob,
    /// The job belongs to a tip that was replaced, and the grace is over (V1-57).
    Stale,
    Duplicate,
    /// The hash does not meet the target.
    LowDifficulty,
    /// Header time before the template's minimum.
    TimeTooOld,
    /// Header time too far ahead of the job or of the clock (V1-70).
    TimeTooNew,
    /// Version bits outside the mask (V1-34, V1-75).
    BadVersion,
    /// The extranonce has the wrong length (V1-68).
    BadExtranonce,
    /// The worker is not authorised on this connection (V1-20, V1-72).
    Unauthorized,
    /// The message could not be understood.
    Malformed,
}

impl Reason {
    pub const ALL: [Self; 10] = [
        Self::UnknownJob,
        Self::Stale,
        Self::Duplicate,
        Self::LowDifficulty,
        Self::TimeTooOld,
        Self::TimeTooNew,
        Self::BadVersion,
        Self::BadExtranonce,
        Self::Unauthorized,
        Self::Malformed,
    ];

    /// The label in metrics, logs and the API.
    pub const fn label(self) -> &'static str {
        match self {
            Self::UnknownJob => "unknown_job",
            Self::Stale => "stale",
            Self::Duplicate => "duplicate",
            Self::LowDifficulty => "low_difficulty",
            Self::TimeTooOld => "time_too_old",
            Self::TimeTooNew => "time_too_new",
            Self::BadVersion => "bad_version",
            Self::BadExtranonce => "bad_extranonce",
            Self::Unauthorized => "unauthorized",
            Self::Malformed => "malformed",
        }
    }
}

/// What a good share is worth.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Share {
    pub hash: BlockHash,
    /// What it is credited with: the difficulty its job was sent with or, soon after a lowering, the lower one (V1-40), and
    /// at most the network's.
    pub difficulty: Difficulty,
    pub template: TemplateId,
}

/// A block, ready for `submitblock`, with what the ledger needs to settle it.
#[derive(Clone, Debug)]
pub struct FoundBlock {
    pub hash: BlockHash,
    pub height: u32,
    /// Consensus-serialised, witness included.
    pub block: Vec<u8>,
    pub template: TemplateId,
}

/// The judgement of one submission.
#[derive(Debug)]
pub enum Verdict {
    Accepted(Share),
    /// It counts, and it is a block on the present tip.
    Block(Share, Box<FoundBlock>),
    Rejected(Reason),
    /// It does not count as a share, yet it solves a block on the previous tip, which may win a race (V1-56).
    RejectedBlock(Reason, Box<FoundBlock>),
}

/// A share as the log keeps it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ShareRecord {
    pub at: Timestamp,
    pub account: AccountId,
    pub worker: WorkerId,
    pub protocol: Protocol,
    pub template: TemplateId,
    pub difficulty: Difficulty,
    pub hash: BlockHash,
}
