//! A submission: from its texts to the judgement, and what follows.

use sluice_core::coinbase::EXTRANONCE_LIMIT;
use sluice_core::extranonce::ExtranoncePrefix;
use sluice_core::ids::{AccountId, JobId, WorkerId};
use sluice_core::session::{Close, Effect};
use sluice_core::share::{FoundBlock, Reason, RolledVersion, Share, Submission, Verdict};
use sluice_core::units::Now;

use crate::connection::Connection;
use crate::hex;
use crate::phase::{Phase, Worker};
use crate::reply::Fault;
use crate::request::Fields;

/// Submits in a row before any login that end a connection (V1-20).
const EARLY_SUBMITS_LIMIT: u8 = 3;
/// The longest second part of an extranonce, in bytes.
const EXTRANONCE2_LIMIT: usize = EXTRANONCE_LIMIT - ExtranoncePrefix::LENGTH;

/// A submission with its texts decoded. Upper and lower case come to the same (V1-67).
pub(crate) struct Decoded {
    job: JobId,
    extranonce2: [u8; EXTRANONCE2_LIMIT],
    length: usize,
    ntime: u32,
    nonce: u32,
    version: RolledVersion,
}

impl Decoded {
    /// Reads the texts; `length` is the extranonce2's, in bytes.
    pub(crate) fn read(fields: &Fields<'_>, length: usize) -> Result<Self, Reason> {
        let word = |text: &[u8]| hex::read_u32(text).ok_or(Reason::Malformed);
        let (ntime, nonce) = (word(fields.ntime)?, word(fields.nonce)?);
        let version = match fields.version {
            None => RolledVersion::Unrolled,
            Some(bits) => RolledVersion::Bits(word(bits)?),
        };
        let mut extranonce2 = [0; EXTRANONCE2_LIMIT];
        let length = length.min(EXTRANONCE2_LIMIT);
        let text = fields.extranonce2;
        if !hex::read_bytes(text, &mut extranonce2[..length]) {
            let is_hex = !text.is_empty() && hex::is_hex(text);
            return Err(if is_hex { Reason::BadExtranonce } else { Reason::Malformed });
        }
        let job = hex::read_u32(fields.job).map(JobId).ok_or(Reason::UnknownJob)?;
        Ok(Self { job, extranonce2, length, ntime, nonce, version })
    }

    fn submission(&self) -> Submission<'_> {
        Submission {
            job: self.job,
            extranonce2: &self.extranonce2[..self.length],
            ntime: self.ntime,
            nonce: self.nonce,
            version: self.version,
        }
    }
}

impl Connection {
    pub(crate) fn submit(&mut self, now: Now, id: Option<&str>, fields: &Fields<'_>) {
        let Phase::Working(working) = &mut self.phase else { return self.refuse_early(id) };
        let channel = &mut working.subscription.channel;
        let decoded = match Decoded::read(fields, channel.extranonce().rolled_length()) {
            Ok(decoded) => decoded,
            Err(reason) => return self.reject(now, id, reason),
        };
        let verdict = channel.judge(&decoded.submission(), now);
        let Some(finder) = working.logins.find(fields.worker).map(Worker::ids) else {
            return self.judged_stranger(now, id, verdict, decoded.job);
        };
        match verdict {
            Verdict::Accepted(share) => self.accept(now, id, share, finder),
            Verdict::Block(share, block) => {
                self.hand_over(block, decoded.job, finder);
                self.accept(now, id, share, finder);
            }
            Verdict::RejectedBlock(reason, block) => {
                self.hand_over(block, decoded.job, finder);
                self.reject(now, id, reason);
            }
            Verdict::Rejected(reason) => self.reject(now, id, reason),
        }
    }

    /// A submission whose parameters are not even texts.
    pub(crate) fn refuse_malformed_submit(&mut self, now: Now, id: Option<&str>) {
        match self.phase {
            Phase::Working(_) => self.reject(now, id, Reason::Malformed),
            _ => self.refuse_early(id),
        }
    }

    /// Not subscribed or not authorised (V1-20).
    fn refuse_early(&mut self, id: Option<&str>) {
        let fault = match self.phase.subscription() {
            None => Fault::NotSubscribed,
            Some(_) => Fault::Share(Reason::Unauthorized),
        };
        self.replies.refuse(id, fault);
        self.effects.push_back(Effect::Rejected(Reason::Unauthorized));
        self.early_submits = self.early_submits.saturating_add(1);
        if self.early_submits >= EARLY_SUBMITS_LIMIT {
            self.close(Close::Unauthorized);
        }
    }

    /// A name nobody authorised earns nothing; a block is a block whoever hands it in (V1-69).
    fn judged_stranger(&mut self, now: Now, id: Option<&str>, verdict: Verdict, job: JobId) {
        if let Verdict::Block(_, block) | Verdict::RejectedBlock(_, block) = verdict
            && let Some(finder) = self.phase.logins().map(|logins| logins.first().ids())
        {
            self.hand_over(block, job, finder);
        }
        self.reject(now, id, Reason::Unauthorized);
    }

    fn accept(&mut self, now: Now, id: Option<&str>, share: Share, (account, worker): (AccountId, WorkerId)) {
        self.effects.push_back(Effect::Record { share, account, worker });
        self.replies.accept_when_committed(id);
        self.allowance.give_back(self.config.messages_per_minute);
        self.run.accepted();
        if let Some(working) = self.phase.working() {
            working.accepted = working.accepted.saturating_add(1);
            working.pacing.count_accepted(share.difficulty);
        }
        self.review(now);
    }

    fn reject(&mut self, now: Now, id: Option<&str>, reason: Reason) {
        self.replies.refuse(id, Fault::Share(reason));
        self.effects.push_back(Effect::Rejected(reason));
        if let Some(working) = self.phase.working() {
            working.pacing.count_rejected();
        }
        if self.run.rejected(reason, now.moment, self.config.rejected_in_a_row) {
            self.close(Close::InvalidShares);
        }
    }

    /// A block goes before everything else.
    fn hand_over(&mut self, block: Box<FoundBlock>, job: JobId, (account, worker): (AccountId, WorkerId)) {
        let job = self.phase.subscription().and_then(|subscription| subscription.channel.job(job)).cloned();
        if let Some(job) = job {
            self.effects.push_back(Effect::Block { block, job, account, worker });
        }
    }
}
