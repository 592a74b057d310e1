//! A miner's side of the work: what it was sent, at which difficulty, and what it has handed in. SV1 connections have
//! exactly one.

pub mod pacing;

use std::collections::HashSet;
use std::hash::{BuildHasherDefault, Hasher};
use std::sync::Arc;
use std::time::Duration;

use bitcoin::hashes::Hash;
use bitcoin::{BlockHash, Target};

use crate::extranonce::Extranonce;
use crate::ids::JobId;
use crate::job::{Job, Solution, TipNumber};
use crate::merkle::Node;
use crate::sha::{self, HeaderMidstate};
use crate::share::{Reason, RolledVersion, Share, Submission, Verdict};
use crate::units::{Difficulty, Moment, Now, VersionMask};

/// How long a job of the present tip is good after a newer one was sent: more than two refresh periods (V1-56).
const KEEP: Duration = Duration::from_secs(120);
/// How long jobs of an earlier tip are kept, so that a block on it can still be handed in (V1-56).
const KEEP_EARLIER_TIP: Duration = Duration::from_secs(10);
/// The most jobs a channel keeps; beyond it the oldest is forgotten.
const JOBS_LIMIT: usize = 32;
/// The most shares that are remembered of one job; when it is full, the job takes no more, and nothing is forgotten
/// (M-86). A thousand shares a second for two minutes are a tenth of it.
const SEEN_LIMIT: usize = 1 << 20;
/// After a lowering, shares of earlier jobs count at the lower difficulty for so long or so many notifies (V1-40).
const LOWERING_GRACE: Duration = Duration::from_secs(60);
const LOWERING_GRACE_JOBS: u8 = 2;
/// Header times may lead the job's by this much, in seconds (V1-70).
const NTIME_LEAD: u32 = 7000;
/// Header times may lead the clock by this much: two hours less a margin for clocks that differ.
const CLOCK_LEAD: u32 = 7200 - 300;

/// Keys are hashes already.
#[derive(Default)]
pub struct HashedAlready(u64);

impl Hasher for HashedAlready {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = (self.0 << 8) | u64::from(*byte);
        }
    }

    fn write_u64(&mut self, value: u64) {
        self.0 = value;
    }
}

/// Shares accepted for one job: 64 bits of each header hash. Case or spelling on the wire does not matter (V1-71).
type Seen = HashSet<u64, BuildHasherDefault<HashedAlready>>;

#[derive(Debug)]
struct Sent {
    job: Arc<Job>,
    difficulty: Difficulty,
    target: Target,
    at: Moment,
    seen: Seen,
    /// Where the coinbase is fixed.
    fixed: Option<Box<Fixed>>,
}

/// What does not change between the shares of a job whose coinbase is fixed.
#[derive(Debug)]
struct Fixed {
    root: Node,
    midstate: Option<HeaderMidstate>,
}

impl Sent {
    /// The header and its hash.
    fn hash(&mut self, solution: Solution<'_>) -> ([u8; 80], BlockHash) {
        let (header, hash) = match &mut self.fixed {
            None => {
                let header = self.job.header(solution);
                (header, sha::double_header(&header))
            }
            Some(fixed) => {
                let header = self.job.header_of(&fixed.root, solution);
                (header, HeaderMidstate::double_header(&mut fixed.midstate, &header))
            }
        };
        (header, BlockHash::from_byte_array(hash))
    }
}

/// The jobs a channel was sent and the shares seen for each; the part that outlives a connection (V1-76). Bounded by
/// time and by number.
#[derive(Debug, Default)]
pub struct SentJobs(Vec<Sent>);

impl SentJobs {
    pub fn len(&self) -> usize {
        self.0.len()
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    fn prune(&mut self, tip: TipNumber, tip_since: Moment, now: Moment) {
        let old_tip_over = now.since(tip_since) > KEEP_EARLIER_TIP;
        let newest = self.0.last().map(|sent| sent.job.id);
        self.0.retain(|sent| {
            let current = sent.job.work.tip == tip;
            Some(sent.job.id) == newest || (now.since(sent.at) <= KEEP && (current || !old_tip_over))
        });
        if self.0.len() >= JOBS_LIMIT {
            self.0.remove(0);
        }
    }
}

/// The rules a channel judges by. The same for all channels of a listener.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rules {
    /// How long shares for the previous tip still count (V1-57).
    pub stale_grace: Duration,
}

/// A lowering whose grace is not over.
#[derive(Clone, Copy, Debug)]
struct Lowering {
    since: Moment,
    jobs_left: u8,
}

/// The present tip as this channel has heard of it.
#[derive(Clone, Copy, Debug)]
struct Tip {
    number: TipNumber,
    since: Moment,
}

#[derive(Debug)]
pub struct Channel {
    extranonce: Extranonce,
    mask: VersionMask,
    rules: Rules,
    difficulty: Difficulty,
    target: Target,
    lowering: Option<Lowering>,
    tip: Option<Tip>,
    jobs: SentJobs,
}

impl Channel {
    /// A channel at `extranonce` that starts at `difficulty`.
    pub fn new(
        extranonce: Extranonce,
        difficulty: Difficulty,
        mask: VersionMask,
        rules: Rules,
        resumed: Option<SentJobs>,
    ) -> Self {
        Self {
            extranonce,
            mask,
            rules,
            difficulty,
            target: difficulty.to_target(),
            lowering: None,
            tip: None,
            jobs: resumed.unwrap_or_default(),
        }
    }

    pub fn extranonce(&self) -> Extranonce {
        self.extranonce
    }

    pub fn difficulty(&self) -> Difficulty {
        self.difficulty
    }

    pub fn mask(&self) -> VersionMask {
        self.mask
    }

    /// The version bits this miner may roll, from now on.
    pub fn set_mask(&mut self, mask: VersionMask) {
        self.mask = mask;
    }

    /// Binds to jobs sent from now on (V1-40). Returns whether it is a change.
    pub fn set_difficulty(&mut self, difficulty: Difficulty, now: Moment) -> bool {
        if difficulty == self.difficulty {
            return false;
        }
        self.lowering =
            (difficulty < self.difficulty).then_some(Lowering { since: now, jobs_left: LOWERING_GRACE_JOBS });
        self.difficulty = difficulty;
        self.target = difficulty.to_target();
        true
    }

    /// The channel hears of a tip, whether or not the job goes out at once: older work is stale from then.
    pub fn hear(&mut self, job: &Job, now: Moment) {
        if self.tip.is_none_or(|tip| job.work.tip > tip.number) {
            self.tip = Some(Tip { number: job.work.tip, since: now });
        }
    }

    /// Notes that a job goes out, at the present difficulty. Returns whether it is on another tip than the last (the
    /// miner is to drop what it has, V1-53).
    pub fn send(&mut self, job: &Arc<Job>, now: Moment) -> bool {
        self.hear(job, now);
        let last = self.jobs.0.last().map(|sent| sent.job.work.tip);
        if let Some(tip) = self.tip {
            self.jobs.prune(tip.number, tip.since, now);
        }
        self.lowering = self.lowering.and_then(|lowering| {
            let jobs_left = lowering.jobs_left.checked_sub(1)?;
            Some(Lowering { jobs_left, ..lowering })
        });
        if self.jobs.0.last().is_some_and(|sent| sent.job.id == job.id) {
            return false;
        }
        self.jobs.0.push(Sent {
            job: Arc::clone(job),
            difficulty: self.difficulty,
            target: self.target,
            at: now,
            seen: Seen::default(),
            fixed: self.extranonce.root(job).map(|root| Box::new(Fixed { root, midstate: None })),
        });
        last != Some(job.work.tip)
    }

    /// The job sent last.
    pub fn last_sent(&self) -> Option<JobId> {
        self.jobs.0.last().map(|sent| sent.job.id)
    }

    /// Leaves the jobs to whoever resumes.
    pub fn into_sent_jobs(self) -> SentJobs {
        self.jobs
    }

    /// Judges a submission. The order is V1-69: header, hash, is it a block, duplicate, stale, time, version, target.
    /// Only a job that is not known and an extranonce of the wrong length keep it from being hashed.
    pub fn judge(&mut self, submission: &Submission<'_>, now: Now) -> Verdict {
        let Some(sent) = self.jobs.0.iter_mut().rev().find(|sent| sent.job.id == submission.job) else {
            return Verdict::Rejected(Reason::UnknownJob);
        };
        let extranonce = self.extranonce.with(submission.extranonce2);
        let Some(extranonce) = extranonce.filter(|whole| whole.len() == sent.job.coinbase.extranonce_length)
        else {
            return Verdict::Rejected(Reason::BadExtranonce);
        };
        let (version, version_allowed) = roll(sent.job.work.version, submission.version, self.mask);
        let solution =
            Solution { extranonce: &extranonce, version, ntime: submission.ntime, nonce: submission.nonce };
        let (header, hash) = sent.hash(solution);
        let is_block = sent.job.work.target.is_met_by(hash);

        let lowered = self.lowering.filter(|lowering| now.moment.since(lowering.since) <= LOWERING_GRACE);
        let lower = lowered.map(|_| (self.difficulty, self.target));
        let credit = credited(sent, lower, hash, is_block);
        let key = short(hash);
        let reason = if sent.seen.contains(&key) {
            Some(Reason::Duplicate)
        } else if sent.seen.len() >= SEEN_LIMIT {
            Some(Reason::UnknownJob)
        } else if is_stale(sent.job.work.tip, self.tip, self.rules, now.moment) {
            Some(Reason::Stale)
        } else {
            ntime_reason(&sent.job, submission.ntime, now)
                .or((!version_allowed).then_some(Reason::BadVersion))
                .or(credit.is_none().then_some(Reason::LowDifficulty))
        };
        let block = |job: &Job| Box::new(job.block(&header, &extranonce));
        match (reason, credit) {
            (None, Some(difficulty)) => {
                sent.seen.insert(key);
                let share = Share { hash, difficulty, template: sent.job.work.template.id };
                if is_block { Verdict::Block(share, block(&sent.job)) } else { Verdict::Accepted(share) }
            }
            // A duplicate's block was handed over the first time.
            (Some(reason), _) if is_block && reason != Reason::Duplicate && sent.seen.insert(key) => {
                Verdict::RejectedBlock(reason, block(&sent.job))
            }
            (reason, _) => Verdict::Rejected(reason.unwrap_or(Reason::LowDifficulty)),
        }
    }

    /// The merkle root a job was sent with, where the coinbase is fixed (M-31).
    pub fn root(&self, id: JobId) -> Option<Node> {
        let sent = self.jobs.0.iter().rev().find(|sent| sent.job.id == id)?;
        sent.fixed.as_ref().map(|fixed| fixed.root)
    }

    /// The tip it was sent a job of last.
    pub fn last_tip(&self) -> Option<TipNumber> {
        self.jobs.0.last().map(|sent| sent.job.work.tip)
    }

    /// What the coinbase of a job pays, for the block task.
    pub fn job(&self, id: JobId) -> Option<&Arc<Job>> {
        self.jobs.0.iter().rev().find(|sent| sent.job.id == id).map(|sent| &sent.job)
    }
}

/// The header's version, and whether the miner was allowed to make it. The job's version has no bits within the mask,
/// so masked replace, OR and XOR agree there (V1-75).
fn roll(version: u32, rolled: RolledVersion, mask: VersionMask) -> (u32, bool) {
    match rolled {
        RolledVersion::Unrolled => (version, true),
        RolledVersion::Bits(bits) => (version | bits, mask.allows(bits)),
        RolledVersion::Whole(whole) => (whole, mask.allows(whole ^ version)),
    }
}

/// What a hash earns: the difficulty its job was sent with; while a lower one may have been taken up already, the lower
/// (V1-40). Not the one that it happens to meet: the chance of meeting either would be worth up to twice the work. Nor ever
/// more than a block is worth, for the same reason: a block counts whatever the target is.
fn credited(
    sent: &Sent,
    lower: Option<(Difficulty, Target)>,
    hash: BlockHash,
    is_block: bool,
) -> Option<Difficulty> {
    let (difficulty, target) = match lower {
        Some(lower) if lower.0 < sent.difficulty => lower,
        _ => (sent.difficulty, sent.target),
    };
    (target.is_met_by(hash) || is_block).then(|| difficulty.min(sent.job.work.network_difficulty))
}

/// The grace is for the tip before the present one; a job of an earlier one is stale at once (V1-57).
fn is_stale(job: TipNumber, tip: Option<Tip>, rules: Rules, now: Moment) -> bool {
    tip.is_some_and(|tip| {
        let is_previous = job.0.saturating_add(1) == tip.number.0;
        let is_over = now.since(tip.since) >= rules.stale_grace;
        job < tip.number && (is_over || !is_previous)
    })
}

fn ntime_reason(job: &Job, ntime: u32, now: Now) -> Option<Reason> {
    let latest = job
        .ntime
        .saturating_add(NTIME_LEAD)
        .min(now.wall.seconds().saturating_add(CLOCK_LEAD).max(job.ntime));
    if ntime < job.work.template.min_time {
        Some(Reason::TimeTooOld)
    } else if ntime > latest {
        Some(Reason::TimeTooNew)
    } else {
        None
    }
}

/// The low 64 bits of a hash; the high ones are zero in good shares.
fn short(hash: BlockHash) -> u64 {
    let [a, b, c, d, e, f, g, h, ..] = hash.to_byte_array();
    u64::from_le_bytes([a, b, c, d, e, f, g, h])
}

#[cfg(test)]
mod tests;
