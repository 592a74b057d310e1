//! A client that knows nothing but the wire, and stops the test when the pool says what the specification forbids.

use std::collections::BTreeMap;

use bitcoin::hashes::{Hash, sha256d};
use bitcoin::{BlockHash, Target};
use sluice_core::session::ChannelKind;
use sluice_stratum_v2::messages::{
    Decoded, NewMiningJob, ServerMessage, SetNewPrevHash, SetTarget, SetupConnectionSuccess,
    SubmitSharesExtended, SubmitSharesStandard, SubmitSharesSuccess, write_frame_with,
};
use sluice_stratum_v2::noise::{HEADER_RECORD, Transport, sealed_length};
use sluice_stratum_v2::wire::FrameHeader;

/// The client's side of the wire.
pub(crate) enum Link {
    Plain,
    Noise(Box<Transport>),
}

impl Link {
    /// What goes over the wire of frames that are given in the clear.
    pub(crate) fn seal(&mut self, frames: &[u8]) -> Vec<u8> {
        let Self::Noise(transport) = self else { return frames.to_vec() };
        let (mut out, mut rest) = (Vec::new(), frames);
        while let Some((header, behind)) = rest.split_first_chunk() {
            let (payload, next) = behind.split_at(FrameHeader::read(*header).length as usize);
            transport.send.seal(*header, &[payload], &mut out);
            rest = next;
        }
        assert!(rest.is_empty());
        out
    }

    /// What is said in these bytes: whole frames (N-34).
    pub(crate) fn open(&mut self, mut bytes: &[u8]) -> Vec<Said> {
        let mut said = Vec::new();
        while !bytes.is_empty() {
            let (header, payload, rest) = self.open_frame(bytes);
            said.push(Said::read(header, &payload));
            bytes = rest;
        }
        said
    }

    fn open_frame<'a>(&mut self, bytes: &'a [u8]) -> (FrameHeader, Vec<u8>, &'a [u8]) {
        let Self::Noise(transport) = self else {
            let (header, rest) = bytes.split_first_chunk().unwrap();
            let header = FrameHeader::read(*header);
            let (payload, rest) = rest.split_at(header.length as usize);
            return (header, payload.to_vec(), rest);
        };
        let (record, rest) = bytes.split_first_chunk::<HEADER_RECORD>().unwrap();
        let header = FrameHeader::read(transport.receive.open_header(record).unwrap());
        let (records, rest) = rest.split_at(sealed_length(header.length as usize));
        let mut payload = Vec::new();
        transport.receive.open_payload(records, &mut payload).unwrap();
        (header, payload, rest)
    }
}

/// A channel as its opening said it.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Opened {
    pub(crate) kind: ChannelKind,
    pub(crate) request_id: u32,
    pub(crate) channel_id: u32,
    pub(crate) target: [u8; 32],
    /// 0 for standard channels.
    pub(crate) extranonce_size: u16,
    pub(crate) prefix: Vec<u8>,
    pub(crate) group: u32,
}

#[derive(Clone, Debug, PartialEq)]
pub(crate) struct ExtendedJob {
    pub(crate) channel_id: u32,
    pub(crate) job_id: u32,
    pub(crate) min_ntime: Option<u32>,
    pub(crate) version: u32,
    pub(crate) path: Vec<[u8; 32]>,
    pub(crate) prefix: Vec<u8>,
    pub(crate) suffix: Vec<u8>,
}

/// What the pool says.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Said {
    SetUp(SetupConnectionSuccess),
    NotSetUp { flags: u32, code: String },
    Opened(Opened),
    NotOpened { request_id: u32, code: String },
    Job(NewMiningJob),
    Extended(ExtendedJob),
    PrevHash(SetNewPrevHash),
    Target(SetTarget),
    Accepted(SubmitSharesSuccess),
    Refused { channel_id: u32, sequence: u32, code: String },
    NotUpdated { channel_id: u32, code: String },
    Closed { channel_id: u32, reason: String },
    Extensions { request_id: u16, supported: Vec<u16> },
    NoExtensions { request_id: u16, unsupported: Vec<u16>, required: Vec<u16> },
}

impl Said {
    fn read(header: FrameHeader, payload: &[u8]) -> Self {
        let Ok(Decoded::Message { message, trailing: [] }) = ServerMessage::decode(header, payload) else {
            panic!("{header:?} {payload:x?}")
        };
        // F-7
        assert_eq!(message.is_channel_message(), header.channel_message, "{message:?}");
        Self::of(message)
    }

    fn of(message: ServerMessage<'_>) -> Self {
        match message {
            ServerMessage::SetupConnectionSuccess(success) => Self::SetUp(success),
            ServerMessage::SetupConnectionError(error) => {
                Self::NotSetUp { flags: error.flags, code: text(error.error_code) }
            }
            ServerMessage::OpenStandardMiningChannelSuccess(success) => Self::Opened(Opened {
                kind: ChannelKind::Standard,
                request_id: success.request_id,
                channel_id: success.channel_id,
                target: success.target,
                extranonce_size: 0,
                prefix: success.extranonce_prefix.to_vec(),
                group: success.group_channel_id,
            }),
            ServerMessage::OpenExtendedMiningChannelSuccess(success) => Self::Opened(Opened {
                kind: ChannelKind::Extended,
                request_id: success.request_id,
                channel_id: success.channel_id,
                target: success.target,
                extranonce_size: success.extranonce_size,
                prefix: success.extranonce_prefix.to_vec(),
                group: success.group_channel_id,
            }),
            ServerMessage::OpenMiningChannelError(error) => {
                Self::NotOpened { request_id: error.request_id, code: text(error.error_code) }
            }
            ServerMessage::NewMiningJob(job) => Self::Job(job),
            ServerMessage::NewExtendedMiningJob(job) => {
                assert!(job.version_rolling_allowed, "M-37");
                Self::Extended(ExtendedJob {
                    channel_id: job.channel_id,
                    job_id: job.job_id,
                    min_ntime: job.min_ntime,
                    version: job.version,
                    path: job.merkle_path.to_vec(),
                    prefix: job.coinbase_tx_prefix.to_vec(),
                    suffix: job.coinbase_tx_suffix.to_vec(),
                })
            }
            ServerMessage::SetNewPrevHash(prev) => Self::PrevHash(prev),
            ServerMessage::SetTarget(target) => Self::Target(target),
            ServerMessage::SubmitSharesSuccess(success) => Self::Accepted(success),
            ServerMessage::SubmitSharesError(error) => Self::Refused {
                channel_id: error.channel_id,
                sequence: error.sequence_number,
                code: text(error.error_code),
            },
            ServerMessage::UpdateChannelError(error) => {
                Self::NotUpdated { channel_id: error.channel_id, code: text(error.error_code) }
            }
            ServerMessage::CloseChannel(close) => {
                Self::Closed { channel_id: close.channel_id, reason: text(close.reason_code) }
            }
            ServerMessage::RequestExtensionsSuccess(success) => Self::Extensions {
                request_id: success.request_id,
                supported: success.supported.iter().collect(),
            },
            ServerMessage::RequestExtensionsError(error) => Self::NoExtensions {
                request_id: error.request_id,
                unsupported: error.unsupported.iter().collect(),
                required: error.required.iter().collect(),
            },
            other => panic!("a pool does not say {}", other.name()),
        }
    }
}

/// F-62
fn text(code: &[u8]) -> String {
    assert!(code.iter().all(|byte| matches!(byte, b' '..=b'~')), "{code:?}");
    str::from_utf8(code).unwrap().to_owned()
}

/// Where the merkle root comes from.
#[derive(Clone, Debug)]
enum Root {
    Given([u8; 32]),
    Coinbase { path: Vec<[u8; 32]>, prefix: Vec<u8>, suffix: Vec<u8> },
}

/// A job of a channel.
#[derive(Clone, Debug)]
pub(crate) struct WireJob {
    pub(crate) id: u32,
    pub(crate) version: u32,
    root: Root,
    /// What there is when it is active; its target freezes then (M-51).
    pub(crate) active: Option<Active>,
}

#[derive(Clone, Copy, Debug)]
pub(crate) struct Active {
    pub(crate) previous: [u8; 32],
    pub(crate) bits: u32,
    pub(crate) ntime: u32,
    pub(crate) target: [u8; 32],
}

#[derive(Clone, Debug)]
pub(crate) struct Chan {
    pub(crate) opened: Opened,
    /// As told last.
    pub(crate) target: [u8; 32],
    /// Those that are valid, in the order of their coming.
    pub(crate) jobs: Vec<WireJob>,
    /// Those that died with their block (M-41).
    pub(crate) dead: Vec<WireJob>,
    tip: Option<SetNewPrevHash>,
    pub(crate) is_open: bool,
}

impl Chan {
    fn activate(&self, ntime: u32, tip: SetNewPrevHash) -> Active {
        Active { previous: tip.prev_hash, bits: tip.nbits, ntime, target: self.target }
    }

    fn take(&mut self, id: u32, version: u32, root: Root, min_ntime: Option<u32>) {
        assert!(self.jobs.iter().chain(&self.dead).all(|job| job.id != id), "M-30: job {id} again");
        let active = min_ntime.map(|ntime| {
            // M-20, M-35
            let tip = self.tip.unwrap_or_else(|| panic!("job {id} is active without a SetNewPrevHash"));
            self.activate(ntime, tip)
        });
        self.jobs.push(WireJob { id, version, root, active });
    }

    fn turn(&mut self, tip: SetNewPrevHash) {
        let named = self.jobs.iter().position(|job| job.id == tip.job_id && job.active.is_none());
        let mut job = self.jobs.remove(named.expect("M-40: SetNewPrevHash names no future job"));
        job.active = Some(self.activate(tip.min_ntime, tip));
        self.dead.append(&mut self.jobs);
        self.jobs.push(job);
        self.tip = Some(tip);
    }

    pub(crate) fn job(&self) -> &WireJob {
        self.jobs.iter().rev().find(|job| job.active.is_some()).expect("a job")
    }

    /// The merkle root with these bytes behind the prefix (M-39).
    pub(crate) fn root(&self, job: &WireJob, extranonce: &[u8]) -> [u8; 32] {
        match &job.root {
            Root::Given(root) => *root,
            Root::Coinbase { path, prefix, suffix } => {
                let coinbase = [prefix, &self.opened.prefix, extranonce, suffix].concat();
                let mut root = sha256d::Hash::hash(&coinbase).to_byte_array();
                for node in path {
                    root = sha256d::Hash::hash(&[root, *node].concat()).to_byte_array();
                }
                root
            }
        }
    }
}

/// A share, before it is handed in.
#[derive(Clone, Debug)]
pub(crate) struct Proof {
    pub(crate) kind: ChannelKind,
    pub(crate) channel: u32,
    pub(crate) sequence: u32,
    pub(crate) job: u32,
    pub(crate) nonce: u32,
    pub(crate) ntime: u32,
    pub(crate) version: u32,
    pub(crate) extranonce: Vec<u8>,
    pub(crate) hash: BlockHash,
}

impl Proof {
    pub(crate) fn frame(&self) -> Vec<u8> {
        self.frame_with(&[])
    }

    /// With what follows the last field.
    pub(crate) fn frame_with(&self, trailing: &[u8]) -> Vec<u8> {
        let Self { channel: channel_id, sequence: sequence_number, job: job_id, .. } = *self;
        let Self { nonce, ntime, version, .. } = *self;
        let mut frame = Vec::new();
        match self.kind {
            ChannelKind::Standard => {
                let share =
                    SubmitSharesStandard { channel_id, sequence_number, job_id, nonce, ntime, version };
                write_frame_with(&share, trailing, &mut frame);
            }
            ChannelKind::Extended => {
                let extranonce = &self.extranonce;
                let share = SubmitSharesExtended {
                    channel_id,
                    sequence_number,
                    job_id,
                    nonce,
                    ntime,
                    version,
                    extranonce,
                };
                write_frame_with(&share, trailing, &mut frame);
            }
        }
        frame
    }
}

/// What the client changes of a job's header.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Rolled {
    pub(crate) version: u32,
    pub(crate) seconds: i64,
}

#[derive(Default)]
pub(crate) struct Miner {
    pub(crate) channels: BTreeMap<u32, Chan>,
    /// Of the setup.
    pub(crate) flags: u32,
    pub(crate) accepted: Vec<SubmitSharesSuccess>,
    counter: u32,
}

impl Miner {
    pub(crate) fn channel(&self, id: u32) -> &Chan {
        self.channels.get(&id).unwrap_or_else(|| panic!("no channel {id}"))
    }

    /// The channels that an id means: itself, or the members of the group. Nothing is said to one that is closed
    /// (M-60), and to no group of a client that need not know any (M-33).
    fn members(&mut self, id: u32) -> Vec<&mut Chan> {
        let is_group = !self.channels.contains_key(&id);
        assert!(!is_group || self.flags & 1 == 0, "M-33: to group {id}");
        let is_meant = |chan: &&mut Chan| {
            if is_group { chan.is_open && chan.opened.group == id } else { chan.opened.channel_id == id }
        };
        let members: Vec<_> = self.channels.values_mut().filter(is_meant).collect();
        assert!(!members.is_empty(), "nobody is {id}");
        assert!(members.iter().all(|chan| chan.is_open), "M-60: {id} is closed");
        members
    }

    fn one(&mut self, id: u32) -> &mut Chan {
        let chan = self.channels.get_mut(&id).unwrap_or_else(|| panic!("no channel {id}"));
        assert!(chan.is_open, "M-60: {id} is closed");
        chan
    }

    pub(crate) fn hear(&mut self, said: &Said) {
        match said {
            Said::Opened(opened) => self.open(opened),
            Said::Job(job) => {
                let chan = self.one(job.channel_id);
                assert_eq!(chan.opened.kind, ChannelKind::Standard);
                chan.take(job.job_id, job.version, Root::Given(job.merkle_root), job.min_ntime);
            }
            Said::Extended(job) => {
                assert_eq!(self.flags & 1, 0, "M-33");
                let is_channel = self.channels.contains_key(&job.channel_id);
                for chan in self.members(job.channel_id) {
                    assert!(!is_channel || chan.opened.kind == ChannelKind::Extended, "M-31");
                    let root = Root::Coinbase {
                        path: job.path.clone(),
                        prefix: job.prefix.clone(),
                        suffix: job.suffix.clone(),
                    };
                    chan.take(job.job_id, job.version, root, job.min_ntime);
                }
            }
            Said::PrevHash(tip) => self.members(tip.channel_id).into_iter().for_each(|chan| chan.turn(*tip)),
            Said::Target(target) => {
                let members = self.members(target.channel_id).into_iter();
                members.for_each(|chan| chan.target = target.maximum_target);
            }
            Said::Accepted(success) => {
                assert!(success.new_submits_accepted_count > 0);
                self.one(success.channel_id);
                self.accepted.push(*success);
            }
            Said::Closed { channel_id, .. } => {
                self.members(*channel_id).into_iter().for_each(|chan| chan.is_open = false);
            }
            Said::Refused { .. }
            | Said::SetUp(_)
            | Said::NotSetUp { .. }
            | Said::NotOpened { .. }
            | Said::NotUpdated { .. }
            | Said::Extensions { .. }
            | Said::NoExtensions { .. } => {}
        }
    }

    fn open(&mut self, opened: &Opened) {
        let id = opened.channel_id;
        // M-5, M-6
        assert!(id != 0 && id != u32::MAX && id != opened.group);
        assert!(self.channels.values().all(|chan| chan.opened.group != id));
        let full = opened.prefix.len() + usize::from(opened.extranonce_size);
        for chan in self.channels.values().filter(|chan| chan.opened.group == opened.group) {
            let other = &chan.opened;
            assert_eq!(other.prefix.len() + usize::from(other.extranonce_size), full, "M-4");
            assert_ne!(other.prefix, opened.prefix, "M-1");
        }
        let chan = Chan {
            opened: opened.clone(),
            target: opened.target,
            jobs: Vec::new(),
            dead: Vec::new(),
            tip: None,
            is_open: true,
        };
        assert!(self.channels.insert(id, chan).is_none(), "M-5: channel {id} again");
    }

    /// The client closes it.
    pub(crate) fn close(&mut self, id: u32) {
        self.members(id).into_iter().for_each(|chan| chan.is_open = false);
    }

    /// A share of the newest job that meets its target.
    pub(crate) fn mine(&mut self, channel: u32) -> Proof {
        let job = self.channel(channel).job().clone();
        self.mine_job(channel, &job)
    }

    pub(crate) fn mine_job(&mut self, channel: u32, job: &WireJob) -> Proof {
        let target = Target::from_le_bytes(job.active.unwrap().target);
        self.search(channel, job, Rolled::default(), |hash| target.is_met_by(hash))
    }

    /// Something of a job that is as `wanted`.
    pub(crate) fn search(
        &mut self,
        channel: u32,
        job: &WireJob,
        rolled: Rolled,
        wanted: impl Fn(BlockHash) -> bool,
    ) -> Proof {
        self.counter += 1;
        let chan = self.channel(channel);
        let active = job.active.expect("it is active");
        let mut extranonce = vec![0; usize::from(chan.opened.extranonce_size)];
        if let Some(place) = extranonce.first_chunk_mut() {
            *place = self.counter.to_le_bytes();
        }
        let version = job.version ^ rolled.version;
        let ntime = u32::try_from(i64::from(active.ntime) + rolled.seconds).unwrap();
        let mut header = [0; 80];
        header[..4].copy_from_slice(&version.to_le_bytes());
        header[4..36].copy_from_slice(&active.previous);
        header[36..68].copy_from_slice(&chan.root(job, &extranonce));
        header[68..72].copy_from_slice(&ntime.to_le_bytes());
        header[72..76].copy_from_slice(&active.bits.to_le_bytes());
        // Elsewhere than the last time: the coinbase of a standard channel does not change.
        let first = self.counter << 20;
        let (nonce, hash) = (first..u32::MAX)
            .map(|nonce| (nonce, hash(&mut header, nonce)))
            .find(|(_, hash)| wanted(*hash))
            .unwrap();
        let (kind, sequence) = (chan.opened.kind, self.counter);
        Proof { kind, channel, sequence, job: job.id, nonce, ntime, version, extranonce, hash }
    }
}

fn hash(header: &mut [u8; 80], nonce: u32) -> BlockHash {
    header[76..].copy_from_slice(&nonce.to_le_bytes());
    BlockHash::from_byte_array(sha256d::Hash::hash(header).to_byte_array())
}

/// The kinds of what was said, in order.
pub(crate) fn kinds(said: &[Said]) -> Vec<&'static str> {
    let kind = |said: &Said| match said {
        Said::SetUp(_) => "set up",
        Said::NotSetUp { .. } => "not set up",
        Said::Opened(_) => "opened",
        Said::NotOpened { .. } => "not opened",
        Said::Job(job) if job.min_ntime.is_none() => "future job",
        Said::Job(_) => "job",
        Said::Extended(job) if job.min_ntime.is_none() => "future extended job",
        Said::Extended(_) => "extended job",
        Said::PrevHash(_) => "prev hash",
        Said::Target(_) => "target",
        Said::Accepted(_) => "accepted",
        Said::Refused { .. } => "refused",
        Said::NotUpdated { .. } => "not updated",
        Said::Closed { .. } => "closed",
        Said::Extensions { .. } => "extensions",
        Said::NoExtensions { .. } => "no extensions",
    };
    said.iter().map(kind).collect()
}

/// The code of the one refusal that was said.
pub(crate) fn code(said: &[Said]) -> &str {
    match said {
        [
            Said::Refused { code, .. }
            | Said::NotOpened { code, .. }
            | Said::NotUpdated { code, .. }
            | Said::NotSetUp { code, .. },
        ] => code,
        other => panic!("not one refusal: {other:?}"),
    }
}

/// Whether a message is for the group or for a channel.
pub(crate) fn addressed(said: &[Said]) -> Vec<u32> {
    let address = |said: &Said| match said {
        Said::Job(job) => Some(job.channel_id),
        Said::Extended(job) => Some(job.channel_id),
        Said::PrevHash(tip) => Some(tip.channel_id),
        Said::Target(target) => Some(target.channel_id),
        _ => None,
    };
    said.iter().filter_map(address).collect()
}
