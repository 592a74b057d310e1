//! SV2: the handshake, one channel, submissions sealed one by one.

use anyhow::{Context, Result, bail, ensure};
use sluice_stratum_v2::messages::{Decoded, NewExtendedMiningJob, NewMiningJob};
use sluice_stratum_v2::messages::{
    Message, OpenExtendedMiningChannel, OpenStandardMiningChannel, ServerMessage, SetNewPrevHash,
    SubmitSharesExtended, SubmitSharesStandard, header_of,
};
use sluice_stratum_v2::noise::{self, ACT_2, HEADER_RECORD, Initiator, Transport};
use sluice_stratum_v2::wire::FrameHeader;
use sluice_tests::sv2::client::setup;
use sluice_tests::sv2::entropy;

use crate::speaker::{News, Plan, Speaker};

/// How bytes go over the socket.
enum Link {
    /// Act 2 is awaited.
    Greeting(Box<Initiator>),
    Noise(Box<Transport>),
    Clear,
}

/// What a job's shares say of it.
#[derive(Clone, Copy, Debug, Default)]
struct Job {
    id: u32,
    version: u32,
    ntime: u32,
    /// Bytes on the wire of what announced it.
    bytes: usize,
}

/// A connection with one channel.
pub(crate) struct Sv2 {
    link: Link,
    /// The record that is not complete.
    partial: Vec<u8>,
    /// Of a frame whose payload has not come.
    header: Option<FrameHeader>,
    channel: u32,
    /// Bytes that the shares fill; `None` on a standard channel.
    extranonce_size: Option<usize>,
    future: Job,
    job: Option<Job>,
    sequence: u32,
    nonce: u32,
}

impl Speaker for Sv2 {
    fn new(plan: &Plan, out: &mut Vec<u8>) -> Result<Self> {
        let mut speaker = Self {
            link: Link::Clear,
            partial: Vec::new(),
            header: None,
            channel: 0,
            extranonce_size: None,
            future: Job::default(),
            job: None,
            sequence: 0,
            nonce: 0,
        };
        if plan.clear {
            speaker.send(&setup(0), out);
        } else {
            // Whose certificate it is does not matter here; the signature is not this side's to measure.
            let (initiator, act_1) = Initiator::new(None, entropy()?)?;
            out.extend_from_slice(&act_1);
            speaker.link = Link::Greeting(Box::new(initiator));
        }
        Ok(speaker)
    }

    fn take_in(&mut self, plan: &Plan, bytes: &[u8], out: &mut Vec<u8>, news: &mut News) -> Result<()> {
        let mut bytes = bytes;
        loop {
            let missing = self.needed().saturating_sub(self.partial.len());
            let Some((piece, rest)) = bytes.split_at_checked(missing) else {
                self.partial.extend_from_slice(bytes);
                return Ok(());
            };
            bytes = rest;
            if self.partial.is_empty() {
                self.complete(plan, piece, out, news)?;
            } else {
                let mut whole = std::mem::take(&mut self.partial);
                whole.extend_from_slice(piece);
                self.complete(plan, &whole, out, news)?;
            }
        }
    }

    fn submit(&mut self, count: u32, out: &mut Vec<u8>) -> Result<()> {
        let job = self.job.context("no job")?;
        for _ in 0..count {
            self.sequence = self.sequence.wrapping_add(1);
            self.nonce = self.nonce.wrapping_add(1);
            match self.extranonce_size {
                None => self.send(&self.standard_share(job), out),
                Some(size) => self.submit_extended(job, size, out),
            }
        }
        Ok(())
    }
}

impl Sv2 {
    /// Bytes on the wire of what comes next.
    fn needed(&self) -> usize {
        let payload = self.header.map(|header| header.length as usize);
        match (&self.link, payload) {
            (Link::Greeting(_), _) => ACT_2,
            (Link::Noise(_), None) => HEADER_RECORD,
            (Link::Noise(_), Some(length)) => noise::sealed_length(length),
            (Link::Clear, None) => FrameHeader::LENGTH,
            (Link::Clear, Some(length)) => length,
        }
    }

    fn complete(&mut self, plan: &Plan, bytes: &[u8], out: &mut Vec<u8>, news: &mut News) -> Result<()> {
        if matches!(self.link, Link::Greeting(_)) {
            return self.greeted(bytes, out);
        }
        let Some(header) = self.header.take() else {
            let plain = match &mut self.link {
                Link::Noise(transport) => transport.receive.open_header(bytes.try_into()?)?,
                Link::Greeting(_) | Link::Clear => bytes.try_into()?,
            };
            self.header = Some(FrameHeader::read(plain));
            return Ok(());
        };
        let mut payload = std::mem::take(&mut news.scratch);
        payload.clear();
        match &mut self.link {
            Link::Noise(transport) => transport.receive.open_payload(bytes, &mut payload)?,
            Link::Greeting(_) | Link::Clear => payload.extend_from_slice(bytes),
        }
        let Decoded::Message { message, .. } = ServerMessage::decode(header, &payload)? else {
            bail!("a message that no pool sends: {header:?}");
        };
        self.message(plan, &message, bytes.len() + self.header_bytes(), (out, news))?;
        news.scratch = payload;
        Ok(())
    }

    fn header_bytes(&self) -> usize {
        if matches!(self.link, Link::Clear) { FrameHeader::LENGTH } else { HEADER_RECORD }
    }

    fn greeted(&mut self, act_2: &[u8], out: &mut Vec<u8>) -> Result<()> {
        let Link::Greeting(initiator) = std::mem::replace(&mut self.link, Link::Clear) else { return Ok(()) };
        // The time only matters to who checks certificates.
        self.link = Link::Noise(Box::new(initiator.finish(act_2.try_into()?, 0)?));
        self.send(&setup(0), out);
        Ok(())
    }

    fn message(
        &mut self,
        plan: &Plan,
        message: &ServerMessage<'_>,
        bytes: usize,
        (out, news): (&mut Vec<u8>, &mut News),
    ) -> Result<()> {
        match message {
            ServerMessage::SubmitSharesSuccess(success) => {
                news.accepted += success.new_submits_accepted_count;
            }
            ServerMessage::SubmitSharesError(error) if error.error_code == b"difficulty-too-low" => {
                news.missed += 1;
            }
            ServerMessage::SubmitSharesError(error) => {
                news.other += 1;
                news.sample = Some(String::from_utf8_lossy(error.error_code).into_owned());
            }
            ServerMessage::NewMiningJob(NewMiningJob { job_id: id, min_ntime, version, .. })
            | ServerMessage::NewExtendedMiningJob(NewExtendedMiningJob {
                job_id: id,
                min_ntime,
                version,
                ..
            }) => {
                let job = Job { id: *id, version: *version, ntime: min_ntime.unwrap_or(0), bytes };
                *(if min_ntime.is_some() { self.job.get_or_insert(job) } else { &mut self.future }) = job;
            }
            ServerMessage::SetNewPrevHash(set) => self.new_tip(set, bytes, news)?,
            ServerMessage::SetTarget(_) => {}
            ServerMessage::SetupConnectionSuccess(_) => self.open(plan, out),
            ServerMessage::OpenStandardMiningChannelSuccess(success) => self.channel = success.channel_id,
            ServerMessage::OpenExtendedMiningChannelSuccess(success) => {
                self.channel = success.channel_id;
                self.extranonce_size = Some(success.extranonce_size.into());
            }
            other => bail!("the pool refuses: {other:?}"),
        }
        Ok(())
    }

    fn new_tip(&mut self, set: &SetNewPrevHash, bytes: usize, news: &mut News) -> Result<()> {
        ensure!(set.job_id == self.future.id, "job {} is not known", set.job_id);
        self.job = Some(Job { ntime: set.min_ntime, ..self.future });
        news.ready = true;
        news.tips += 1;
        news.job_bytes = self.future.bytes + bytes;
        Ok(())
    }

    fn open(&mut self, plan: &Plan, out: &mut Vec<u8>) {
        let user_identity = plan.login.as_bytes();
        let (request_id, nominal_hash_rate, max_target) = (1, 0.0, [0xff; 32]);
        if plan.extended {
            let open = OpenExtendedMiningChannel {
                request_id,
                user_identity,
                nominal_hash_rate,
                max_target,
                min_extranonce_size: 4,
            };
            self.send(&open, out);
        } else {
            let open = OpenStandardMiningChannel { request_id, user_identity, nominal_hash_rate, max_target };
            self.send(&open, out);
        }
    }

    fn standard_share(&self, job: Job) -> SubmitSharesStandard {
        SubmitSharesStandard {
            channel_id: self.channel,
            sequence_number: self.sequence,
            job_id: job.id,
            nonce: self.nonce,
            ntime: job.ntime,
            version: job.version,
        }
    }

    fn submit_extended(&mut self, job: Job, size: usize, out: &mut Vec<u8>) {
        let SubmitSharesStandard { channel_id, sequence_number, job_id, nonce, ntime, version } =
            self.standard_share(job);
        // One extranonce will do: the nonces differ.
        let extranonce = &[0; 32][..size.min(32)];
        let share =
            SubmitSharesExtended { channel_id, sequence_number, job_id, nonce, ntime, version, extranonce };
        self.send(&share, out);
    }

    fn send<'a, M: Message<'a>>(&mut self, message: &M, out: &mut Vec<u8>) {
        let mut payload = Vec::with_capacity(64);
        message.encode(&mut payload);
        let header = header_of::<M>(payload.len()).write();
        match &mut self.link {
            Link::Noise(transport) => transport.send.seal(header, &[&payload], out),
            Link::Greeting(_) | Link::Clear => {
                out.extend_from_slice(&header);
                out.extend_from_slice(&payload);
            }
        }
    }
}
