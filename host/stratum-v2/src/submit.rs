//! Submissions and their acknowledgements (05§5.3.11…14; M-70…M-88, E-20…E-24).

use sluice_core::ids::{ChannelId, JobId, WorkerId, WorkerName};
use sluice_core::session::{ChannelKind, Close, Effect, Note};
use sluice_core::share::{FoundBlock, Reason, RolledVersion, Share, Submission, Verdict};
use sluice_core::units::Moment;

use crate::codes::{CloseReason, ShareError};
use crate::connection::{Desk, SessionConfig};
use crate::line::{Held, Line, WORKERS_LIMIT};
use crate::messages::{CloseChannel, SubmitSharesError, SubmitSharesExtended, SubmitSharesStandard};
use crate::serving::{GROUP, Serving};
use crate::wire::tlv;

/// Workers that one connection may make known, over all its channels and all its life (E-22).
const NAMES_LIMIT: u16 = 4096;

/// A good share of a worker that the ledger has not been asked about yet. Only shares that count make a worker known.
#[derive(Debug)]
pub(crate) struct Unnamed {
    channel: u32,
    worker: Box<str>,
    good: Good,
}

/// A share that counts.
#[derive(Debug)]
struct Good {
    sequence: u32,
    share: Share,
    /// It is a block of this job.
    found: Option<(Box<FoundBlock>, JobId)>,
}

/// A share, and whose it is.
struct Handed<'a> {
    sequence: u32,
    submission: Submission<'a>,
    whose: Whose,
}

/// Whose share it is.
enum Whose {
    /// The channel's own worker's.
    Channels,
    Known(WorkerId),
    /// The ledger is to be asked first.
    Unknown(WorkerName),
}

impl Serving {
    pub(crate) fn submit_standard(
        &mut self,
        desk: &mut Desk,
        share: &SubmitSharesStandard,
    ) -> Result<(), Close> {
        let SubmitSharesStandard { channel_id, sequence_number, job_id, nonce, ntime, version } = *share;
        let (kind, extranonce) = (ChannelKind::Standard, [].as_slice());
        let share =
            SubmitSharesExtended { channel_id, sequence_number, job_id, nonce, ntime, version, extranonce };
        let Some(place) = self.submitter(desk, &share, kind) else { return Ok(()) };
        self.judge(desk, place, handed(&share, Whose::Channels))
    }

    pub(crate) fn submit_extended(
        &mut self,
        desk: &mut Desk,
        share: &SubmitSharesExtended<'_>,
        trailing: &[u8],
    ) -> Result<(), Close> {
        let Some(place) = self.submitter(desk, share, ChannelKind::Extended) else { return Ok(()) };
        let Some(line) = self.lines.get(place).filter(|_| self.extensions.names_workers()) else {
            return self.judge(desk, place, handed(share, Whose::Channels));
        };
        match line.whose(desk, trailing) {
            Ok(whose) => self.judge(desk, place, handed(share, whose)),
            Err(tlv::TlvError::Short { .. } | tlv::TlvError::WorkerTooLong { .. }) => {
                self.refuse(desk, place, &handed(share, Whose::Channels))
            }
        }
    }

    /// The channel a share is for, if there is one that takes shares of this kind (M-73, M-87).
    fn submitter(
        &mut self,
        desk: &mut Desk,
        share: &SubmitSharesExtended<'_>,
        kind: ChannelKind,
    ) -> Option<usize> {
        let (id, sequence) = (share.channel_id, share.sequence_number);
        let place = self.place(id);
        if let Some(line) = place.and_then(|place| self.lines.get(place))
            && line.is_open()
            && line.kind == kind
        {
            return place;
        }
        let was_closed = place.is_none() && (GROUP + 1..self.next_id).contains(&id) && !self.door.awaits(id);
        if was_closed {
            // In flight when the channel was closed: no answer (M-60).
            desk.note(Note::Strayed("closed_channel"));
            return None;
        }
        self.unknown_channels = self.unknown_channels.saturating_add(1);
        answer_error(desk, id, sequence, ShareError::InvalidChannel);
        desk.effect(Effect::Rejected(Reason::Malformed));
        None
    }

    fn judge(&mut self, desk: &mut Desk, place: usize, handed: Handed<'_>) -> Result<(), Close> {
        let Some(line) = self.lines.get_mut(place) else { return Ok(()) };
        let Handed { sequence, submission, whose } = handed;
        let job = submission.job;
        match line.channel.judge(&submission, desk.now) {
            Verdict::Accepted(share) => {
                self.accept(desk, place, whose, Good { sequence, share, found: None });
            }
            Verdict::Block(share, block) => {
                self.accept(desk, place, whose, Good { sequence, share, found: Some((block, job)) });
            }
            Verdict::RejectedBlock(reason, block) => {
                let finder = if let Whose::Known(worker) = whose { worker } else { line.worker_id };
                line.hand_over(desk, (block, job), finder);
                return self.reject(desk, place, sequence, reason);
            }
            Verdict::Rejected(reason) => return self.reject(desk, place, sequence, reason),
        }
        Ok(())
    }

    /// A message that must not count (F-42, E-21). A block is a block whatever stands behind it.
    fn refuse(&mut self, desk: &mut Desk, place: usize, handed: &Handed<'_>) -> Result<(), Close> {
        let Some(line) = self.lines.get_mut(place) else { return Ok(()) };
        let verdict = line.channel.judge(&handed.submission, desk.now);
        if let Verdict::Block(_, block) | Verdict::RejectedBlock(_, block) = verdict {
            line.hand_over(desk, (block, handed.submission.job), line.worker_id);
        }
        self.reject(desk, place, handed.sequence, Reason::Malformed)
    }

    fn accept(&mut self, desk: &mut Desk, place: usize, whose: Whose, good: Good) {
        let Some(line) = self.lines.get(place) else { return };
        match whose {
            Whose::Channels => self.credit(desk, place, line.worker_id, good),
            Whose::Known(worker) => self.credit(desk, place, worker, good),
            Whose::Unknown(worker) if self.named < NAMES_LIMIT => {
                self.named += 1;
                let (channel, account, name) = (line.id, line.account.clone(), worker.as_str().into());
                // The answer comes before anything else is read.
                self.unnamed = Some(Box::new(Unnamed { channel, worker: name, good }));
                desk.effect(Effect::Name { channel: ChannelId(channel), account, worker });
            }
            Whose::Unknown(_) => {
                desk.note(Note::Strayed("unusable_worker"));
                self.credit(desk, place, line.worker_id, good);
            }
        }
    }

    /// The ledger's number of a worker, or none.
    pub(crate) fn named(&mut self, desk: &mut Desk, id: u32, worker: Option<WorkerId>) {
        let Some(unnamed) = self.unnamed.take_if(|unnamed| unnamed.channel == id) else { return };
        let Some(place) = self.place(id) else { return };
        let Some(line) = self.lines.get_mut(place) else { return };
        let Unnamed { worker: name, good, .. } = *unnamed;
        line.workers.insert(name, worker);
        let worker = worker.unwrap_or(line.worker_id);
        self.credit(desk, place, worker, good);
    }

    fn credit(&mut self, desk: &mut Desk, place: usize, worker: WorkerId, good: Good) {
        let Some(line) = self.lines.get_mut(place) else { return };
        let Good { sequence, share, found } = good;
        let is_block = found.is_some();
        if let Some(found) = found {
            line.hand_over(desk, found, worker);
        }
        desk.effect(Effect::Record { share, account: line.account_id, worker });
        let (channel, difficulty, at) = (line.id, share.difficulty, desk.now.moment);
        self.held.push_back(Held { channel, sequence, difficulty, at, is_block });
        self.accepted = self.accepted.saturating_add(1);
        desk.allowance.give_back(desk.rate);
        line.run.accepted();
        line.pacing.count_accepted(difficulty);
        line.review(desk);
        self.forgive();
    }

    /// Every bad share has its own answer, at once (M-78).
    fn reject(&mut self, desk: &mut Desk, place: usize, sequence: u32, reason: Reason) -> Result<(), Close> {
        let Some(line) = self.lines.get_mut(place) else { return Ok(()) };
        answer_error(desk, line.id, sequence, ShareError::from(reason));
        desk.effect(Effect::Rejected(reason));
        line.pacing.count_rejected();
        if line.run.rejected(reason, desk.now.moment, desk.config.rejected_in_a_row) {
            let id = line.id;
            return self.expel(desk, id);
        }
        Ok(())
    }

    /// A channel whose shares are no good is closed; the connection with it where it was the only one (V1-73).
    fn expel(&mut self, desk: &mut Desk, id: u32) -> Result<(), Close> {
        self.acknowledge_line(desk, id);
        let reason_code = CloseReason::InvalidShares.as_bytes();
        desk.outbox.push(&CloseChannel { channel_id: id, reason_code });
        self.remove(desk, id);
        if self.lines.is_empty() { Err(Close::InvalidShares) } else { Ok(()) }
    }
}

impl Line {
    /// The worker that a share names (E-20), or the channel's own where it names none that can be used (E-21, E-22).
    fn whose(&self, desk: &mut Desk, trailing: &[u8]) -> Result<Whose, tlv::TlvError> {
        let Some(worker) = tlv::worker(trailing)? else {
            desk.note(Note::Strayed("no_worker"));
            return Ok(Whose::Channels);
        };
        if worker.big_endian {
            desk.note(Note::Strayed("big_endian_tlv"));
        }
        if let Some(known) = self.workers.get(worker.name) {
            return Ok(known.map_or(Whose::Channels, Whose::Known));
        }
        match WorkerName::new(worker.name) {
            Ok(name) if !worker.name.is_empty() && self.workers.len() < WORKERS_LIMIT => {
                Ok(Whose::Unknown(name))
            }
            _ => {
                desk.note(Note::Strayed("unusable_worker"));
                Ok(Whose::Channels)
            }
        }
    }

    /// A block goes before everything else (M-85).
    fn hand_over(&self, desk: &mut Desk, (block, job): (Box<FoundBlock>, JobId), worker: WorkerId) {
        if let Some(job) = self.channel.job(job).cloned() {
            desk.effect(Effect::Block { block, job, account: self.account_id, worker });
        }
    }
}

fn handed<'a>(share: &SubmitSharesExtended<'a>, whose: Whose) -> Handed<'a> {
    let submission = Submission {
        job: JobId(share.job_id),
        extranonce2: share.extranonce,
        ntime: share.ntime,
        nonce: share.nonce,
        version: RolledVersion::Whole(share.version),
    };
    Handed { sequence: share.sequence_number, submission, whose }
}

fn answer_error(desk: &mut Desk, channel_id: u32, sequence_number: u32, code: ShareError) {
    desk.outbox.push(&SubmitSharesError { channel_id, sequence_number, error_code: code.as_bytes() });
}

// === impl Serving: acknowledgements ===

impl Serving {
    /// So many shares since the first are in the log.
    pub(crate) fn committed(&mut self, shares: u64, config: &SessionConfig) {
        while self.committed < shares
            && let Some(held) = self.held.pop_front()
        {
            self.committed += 1;
            let Some(line) = self.line(held.channel) else { continue };
            let begins = line.batch.add(&held);
            let due = line.batch.due(config.acknowledge_shares, config.acknowledge_after);
            if begins {
                self.unacknowledged.push(held.channel);
            }
            self.acknowledge_at = Some(self.acknowledge_at.map_or(due, |at| at.min(due)));
        }
    }

    /// Tells the channels whose batch is due.
    pub(crate) fn acknowledge(&mut self, desk: &mut Desk) {
        if self.acknowledge_at.is_none_or(|at| at > desk.now.moment) {
            return;
        }
        let (shares, after) = (desk.config.acknowledge_shares, desk.config.acknowledge_after);
        let mut next = None;
        let mut waiting = std::mem::take(&mut self.unacknowledged);
        waiting.retain(|id| {
            let Some(line) = self.line(*id) else { return false };
            let due = line.batch.due(shares, after);
            if due <= desk.now.moment {
                line.acknowledge(desk);
                return false;
            }
            next = Some(next.map_or(due, |at: Moment| at.min(due)));
            true
        });
        self.unacknowledged = waiting;
        self.acknowledge_at = next;
    }

    /// Tells everybody, due or not.
    pub(crate) fn acknowledge_all(&mut self, desk: &mut Desk) {
        for id in std::mem::take(&mut self.unacknowledged) {
            self.acknowledge_line(desk, id);
        }
        self.acknowledge_at = None;
    }

    fn acknowledge_line(&mut self, desk: &mut Desk, id: u32) {
        if let Some(line) = self.line(id)
            && !line.batch.is_empty()
        {
            line.acknowledge(desk);
        }
    }
}

impl Line {
    fn acknowledge(&mut self, desk: &mut Desk) {
        let success = self.batch.take(self.id, desk.now.moment);
        desk.outbox.push(&success);
        desk.note(Note::Acknowledged { shares: success.new_submits_accepted_count });
    }
}
