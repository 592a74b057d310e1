//! A client with its channels. It follows the rules for clients, and fails where the pool breaks one for servers.

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use sluice_stratum_v2::messages::common::{MINING, VERSION};
use sluice_stratum_v2::messages::{
    CloseChannel, NewExtendedMiningJob, NewMiningJob, OpenExtendedMiningChannel, OpenStandardMiningChannel,
    RequestExtensions, ServerMessage, SetupConnection, SubmitSharesExtended, SubmitSharesStandard,
    SubmitSharesSuccess,
};
use sluice_stratum_v2::wire::{Integers, WORKER_TRACKING, tlv};

use super::Endpoint;
use super::channel::{Channel, Dormant, Kind};
use super::wire::Wire;
use super::work::{Content, Job, Search, Share};
use crate::SOON;

/// What the pool said, when it was taken in.
#[derive(Clone, Debug, PartialEq)]
pub enum Event {
    Opened {
        request: u32,
        channel: u32,
    },
    OpenRefused {
        request: u32,
        code: String,
    },
    /// A job for the next tip came to a channel or a group.
    FutureJob {
        channel: u32,
    },
    /// A job on the present tip.
    Job {
        channel: u32,
    },
    /// A future job became active.
    Tip {
        channel: u32,
    },
    Target {
        channel: u32,
    },
    Acknowledged(SubmitSharesSuccess),
    Refused {
        channel: u32,
        sequence: u32,
        code: String,
    },
    UpdateRefused {
        channel: u32,
        code: String,
    },
    Closed {
        channel: u32,
        code: String,
    },
}

/// What became of a share.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    Accepted,
    Refused(String),
}

/// How a channel is asked for.
#[derive(Clone, Debug)]
pub struct Opening<'a> {
    pub kind: Kind,
    pub user: &'a [u8],
    pub hash_rate: f32,
    pub max_target: [u8; 32],
    pub extranonce_size: u16,
}

impl<'a> Opening<'a> {
    /// A miner that takes whatever it is given.
    pub fn of(kind: Kind, user: &'a str) -> Self {
        Self { kind, user: user.as_bytes(), hash_rate: 0.0, max_target: [0xff; 32], extranonce_size: 4 }
    }
}

/// A connection that is set up.
pub struct Client {
    wire: Wire,
    channels: BTreeMap<u32, Channel>,
    /// What may still be on its way for them is passed over.
    closed: BTreeSet<u32>,
    /// Channels that were asked for, by request.
    asked: HashMap<u32, Kind>,
    next_request: u32,
    next_sequence: u32,
    names_workers: bool,
    /// Events that were read while something else was waited for.
    kept: VecDeque<Event>,
}

impl Client {
    /// Connects, checks the authority, and sets up without any flag.
    ///
    /// # Errors
    /// One of the three failed.
    pub async fn connect(pool: Endpoint) -> Result<Self> {
        Self::set_up(Wire::connect(pool.address, Some(pool.authority)).await?, 0).await
    }

    /// Connects and opens one channel, which then has a job.
    ///
    /// # Errors
    /// One of them failed.
    pub async fn working(pool: Endpoint, kind: Kind, user: &str) -> Result<(Self, u32)> {
        let mut client = Self::connect(pool).await?;
        let channel = client.open(kind, user).await?;
        Ok((client, channel))
    }

    /// SetupConnection with `flags` over a wire that stands.
    ///
    /// # Errors
    /// Refused, or not answered.
    pub async fn set_up(wire: Wire, flags: u32) -> Result<Self> {
        Self::set_up_as(wire, &setup(flags)).await
    }

    /// SetupConnection of a miner that says something else of itself.
    ///
    /// # Errors
    /// Refused, or not answered.
    pub async fn set_up_as(mut wire: Wire, setup: &SetupConnection<'_>) -> Result<Self> {
        wire.send(setup).await?;
        let frame = wire.frame_within(SOON).await?.context("closed instead of set up")?;
        match frame.message()? {
            ServerMessage::SetupConnectionSuccess(success) => {
                ensure!(success.used_version == VERSION && success.flags == 0, "{success:?}");
            }
            other => bail!("not set up: {other:?}"),
        }
        Ok(Self {
            wire,
            channels: BTreeMap::new(),
            closed: BTreeSet::new(),
            asked: HashMap::new(),
            next_request: 1,
            next_sequence: 1,
            names_workers: false,
            kept: VecDeque::new(),
        })
    }

    /// Agrees that shares name their workers (extension 0x0002).
    ///
    /// # Errors
    /// The pool does not.
    pub async fn name_workers(&mut self) -> Result<()> {
        let requested = Integers(&[WORKER_TRACKING.to_le_bytes()]);
        self.wire.send(&RequestExtensions { request_id: 7, requested }).await?;
        let frame = self.wire.frame_within(SOON).await?.context("closed")?;
        let ServerMessage::RequestExtensionsSuccess(success) = frame.message()? else {
            bail!("not agreed: {:?}", frame.message()?);
        };
        ensure!(success.request_id == 7 && success.supported == requested, "{success:?}");
        self.names_workers = true;
        Ok(())
    }

    /// The connection below, to say what no client says.
    pub fn wire(&mut self) -> &mut Wire {
        &mut self.wire
    }

    /// # Errors
    /// There is no such channel.
    pub fn channel(&self, id: u32) -> Result<&Channel> {
        self.channels.get(&id).with_context(|| format!("no channel {id}"))
    }

    /// Asks for a channel; returns the number of the request.
    ///
    /// # Errors
    /// The peer closed.
    pub async fn ask(&mut self, opening: &Opening<'_>) -> Result<u32> {
        let request_id = self.next_request;
        self.next_request += 1;
        self.asked.insert(request_id, opening.kind);
        let Opening { user: user_identity, hash_rate: nominal_hash_rate, max_target, .. } = *opening;
        match opening.kind {
            Kind::Standard => {
                let open =
                    OpenStandardMiningChannel { request_id, user_identity, nominal_hash_rate, max_target };
                self.wire.send(&open).await?;
            }
            Kind::Extended => {
                let open = OpenExtendedMiningChannel {
                    request_id,
                    user_identity,
                    nominal_hash_rate,
                    max_target,
                    min_extranonce_size: opening.extranonce_size,
                };
                self.wire.send(&open).await?;
            }
        }
        Ok(request_id)
    }

    /// Opens a channel and waits for its first job; else the code of the refusal.
    ///
    /// # Errors
    /// Silence, or the peer closed.
    pub async fn try_open(&mut self, opening: &Opening<'_>) -> Result<std::result::Result<u32, String>> {
        let request_id = self.ask(opening).await?;
        let outcome = self
            .wait(|event| match event {
                Event::Opened { request, channel } if *request == request_id => Some(Ok(*channel)),
                Event::OpenRefused { request, code } if *request == request_id => Some(Err(code.clone())),
                _ => None,
            })
            .await?;
        if let Ok(channel) = outcome {
            self.job(channel).await?;
        }
        Ok(outcome)
    }

    /// Opens a channel and waits for its first job.
    ///
    /// # Errors
    /// Refused, silence, or the peer closed.
    pub async fn open(&mut self, kind: Kind, user: &str) -> Result<u32> {
        let opened = self.try_open(&Opening::of(kind, user)).await?;
        opened.map_err(|code| anyhow::anyhow!("{user} was refused: {code}"))
    }

    /// Closes a channel; what comes for it afterwards breaks M-60, but for what was on its way.
    ///
    /// # Errors
    /// The peer closed.
    pub async fn close(&mut self, channel_id: u32) -> Result<()> {
        self.channels.remove(&channel_id);
        self.closed.insert(channel_id);
        self.wire.send(&CloseChannel { channel_id, reason_code: b"done" }).await
    }

    /// The next event; `None` when the peer closed.
    ///
    /// # Errors
    /// Nothing within `limit`, or the pool breaks a rule.
    pub async fn event_within(&mut self, limit: Duration) -> Result<Option<Event>> {
        if let Some(event) = self.kept.pop_front() {
            return Ok(Some(event));
        }
        self.read_event(limit).await
    }

    async fn read_event(&mut self, limit: Duration) -> Result<Option<Event>> {
        let Some(frame) = self.wire.frame_within(limit).await? else { return Ok(None) };
        let message = frame.message()?;
        self.apply(&message).with_context(|| format!("after {message:?}")).map(Some)
    }

    /// Reads until `pick` likes an event; those before it are kept for [`Client::event_within`].
    ///
    /// # Errors
    /// Silence, or the peer closed.
    pub async fn wait<T>(&mut self, pick: impl Fn(&Event) -> Option<T>) -> Result<T> {
        for (index, event) in self.kept.iter().enumerate() {
            if let Some(found) = pick(event) {
                self.kept.remove(index);
                return Ok(found);
            }
        }
        // Work goes on coming meanwhile: the limit is for all of it.
        let end = Instant::now() + SOON;
        loop {
            let left = end.saturating_duration_since(Instant::now());
            let event = self.read_event(left).await?.context("the pool closed the connection")?;
            match pick(&event) {
                Some(found) => return Ok(found),
                None => self.kept.push_back(event),
            }
        }
    }

    /// The newest job of a channel: waits for the first one.
    ///
    /// # Errors
    /// Silence, or the peer closed.
    pub async fn job(&mut self, channel: u32) -> Result<Job> {
        self.next_job(channel, |_| true).await
    }

    /// The newest job of a channel, once `wanted` likes it.
    ///
    /// # Errors
    /// Silence, or the peer closed.
    pub async fn next_job(&mut self, channel: u32, wanted: impl Fn(&Job) -> bool) -> Result<Job> {
        let end = Instant::now() + SOON;
        loop {
            if let Some(job) = self.channel(channel)?.job().filter(|job| wanted(job)) {
                return Ok(job.clone());
            }
            let left = end.saturating_duration_since(Instant::now());
            let event = self.read_event(left).await?.context("the pool closed the connection")?;
            self.kept.push_back(event);
        }
    }

    /// Where to search in a job: nothing that was searched before on its channel.
    ///
    /// # Errors
    /// There is no such channel any more.
    pub fn search(&mut self, job: &Job) -> Result<Search> {
        let channel = self.channels.get_mut(&job.channel).context("the channel is closed")?;
        Ok(channel.search(job))
    }

    /// A share that meets the job's target.
    ///
    /// # Errors
    /// There is no such channel any more.
    pub fn mine(&mut self, job: &Job) -> Result<Share> {
        self.mine_where(job, |hash| job.is_share(hash))
    }

    /// A share whose hash `wanted` likes.
    ///
    /// # Errors
    /// There is no such channel any more, or no such hash.
    pub fn mine_where(&mut self, job: &Job, wanted: impl Fn(&[u8; 32]) -> bool) -> Result<Share> {
        let search = self.search(job)?;
        self.find(job, &search, wanted)
    }

    /// The first share of a search whose hash `wanted` likes; the next search begins behind it.
    ///
    /// # Errors
    /// No such hash.
    pub fn find(&mut self, job: &Job, search: &Search, wanted: impl Fn(&[u8; 32]) -> bool) -> Result<Share> {
        let share = search.find(job, wanted).context("no nonce of 2^32 will do")?;
        if let Some(channel) = self.channels.get_mut(&job.channel) {
            channel.searched_to(job.id, share.nonce);
        }
        Ok(share)
    }

    /// Sends a share; returns its sequence number.
    ///
    /// # Errors
    /// The peer closed.
    pub async fn submit(&mut self, share: &Share) -> Result<u32> {
        self.submit_for(share, None).await
    }

    /// Sends a share of a worker (E-20).
    ///
    /// # Errors
    /// The peer closed.
    pub async fn submit_for(&mut self, share: &Share, worker: Option<&str>) -> Result<u32> {
        let mut trailing = Vec::new();
        if let Some(worker) = worker {
            ensure!(self.names_workers, "not agreed");
            tlv::write_worker(worker.as_bytes(), &mut trailing);
        }
        self.submit_with(share, &trailing).await
    }

    /// Sends a share with bytes behind it, as the kind of its channel wants it.
    ///
    /// # Errors
    /// The peer closed.
    pub async fn submit_with(&mut self, share: &Share, trailing: &[u8]) -> Result<u32> {
        let sequence_number = self.next_sequence;
        self.next_sequence += 1;
        let kind = self.channels.get(&share.channel).map_or(Kind::Standard, |channel| channel.kind);
        let Share { channel: channel_id, job: job_id, nonce, ntime, version, .. } = *share;
        match kind {
            Kind::Standard => {
                let submit =
                    SubmitSharesStandard { channel_id, sequence_number, job_id, nonce, ntime, version };
                self.wire.send_with(&submit, trailing).await?;
            }
            Kind::Extended => {
                let extranonce = &share.extranonce;
                let submit = SubmitSharesExtended {
                    channel_id,
                    sequence_number,
                    job_id,
                    nonce,
                    ntime,
                    version,
                    extranonce,
                };
                self.wire.send_with(&submit, trailing).await?;
            }
        }
        Ok(sequence_number)
    }

    /// What becomes of the share with that number, when none later was sent on its channel.
    ///
    /// # Errors
    /// Silence, or the peer closed.
    pub async fn verdict(&mut self, channel_id: u32, number: u32) -> Result<Verdict> {
        self.wait(|event| match event {
            Event::Acknowledged(success) => (success.channel_id == channel_id
                && success.last_sequence_number == number)
                .then_some(Verdict::Accepted),
            Event::Refused { channel, sequence, code } => {
                (*channel == channel_id && *sequence == number).then(|| Verdict::Refused(code.clone()))
            }
            _ => None,
        })
        .await
    }

    /// Submits, and waits for the verdict.
    ///
    /// # Errors
    /// Silence, or the peer closed.
    pub async fn judged(&mut self, share: &Share) -> Result<Verdict> {
        let number = self.submit(share).await?;
        self.verdict(share.channel, number).await
    }

    /// Submits a share that must be accepted.
    ///
    /// # Errors
    /// It was not.
    pub async fn submit_good(&mut self, share: &Share) -> Result<()> {
        let verdict = self.judged(share).await?;
        ensure!(verdict == Verdict::Accepted, "a good share was refused: {verdict:?}");
        Ok(())
    }

    fn apply(&mut self, message: &ServerMessage<'_>) -> Result<Event> {
        Ok(match message {
            ServerMessage::SubmitSharesSuccess(success) => Event::Acknowledged(*success),
            ServerMessage::SubmitSharesError(error) => Event::Refused {
                channel: error.channel_id,
                sequence: error.sequence_number,
                code: text(error.error_code),
            },
            ServerMessage::NewMiningJob(job) => self.standard_job(job)?,
            ServerMessage::NewExtendedMiningJob(job) => self.extended_job(job)?,
            ServerMessage::SetNewPrevHash(set) => {
                self.members(set.channel_id, |channel| channel.set_tip(set))?;
                Event::Tip { channel: set.channel_id }
            }
            ServerMessage::SetTarget(set) => {
                self.members(set.channel_id, |channel| {
                    channel.target = set.maximum_target;
                    Ok(())
                })?;
                Event::Target { channel: set.channel_id }
            }
            ServerMessage::OpenStandardMiningChannelSuccess(success) => self.opened(
                success.request_id,
                Kind::Standard,
                success.channel_id,
                (success.target, success.extranonce_prefix, 0, success.group_channel_id),
            )?,
            ServerMessage::OpenExtendedMiningChannelSuccess(success) => self.opened(
                success.request_id,
                Kind::Extended,
                success.channel_id,
                (
                    success.target,
                    success.extranonce_prefix,
                    success.extranonce_size.into(),
                    success.group_channel_id,
                ),
            )?,
            ServerMessage::OpenMiningChannelError(error) => {
                self.asked.remove(&error.request_id);
                Event::OpenRefused { request: error.request_id, code: text(error.error_code) }
            }
            ServerMessage::UpdateChannelError(error) => {
                Event::UpdateRefused { channel: error.channel_id, code: text(error.error_code) }
            }
            ServerMessage::CloseChannel(close) => {
                self.channels.remove(&close.channel_id);
                self.closed.insert(close.channel_id);
                Event::Closed { channel: close.channel_id, code: text(close.reason_code) }
            }
            other => bail!("{} is not expected here", other.name()),
        })
    }

    fn opened(
        &mut self,
        request: u32,
        kind: Kind,
        id: u32,
        (target, prefix, extranonce_size, group): ([u8; 32], &[u8], usize, u32),
    ) -> Result<Event> {
        ensure!(self.asked.remove(&request) == Some(kind), "nobody asked for it as request {request}");
        let is_new = !self.channels.contains_key(&id) && !self.closed.contains(&id) && id != group;
        ensure!(is_new, "channel {id} twice (M-5)");
        let channel = Channel::new(id, kind, group, target, (prefix.to_vec(), extranonce_size));
        self.channels.insert(id, channel);
        Ok(Event::Opened { request, channel: id })
    }

    fn standard_job(&mut self, job: &NewMiningJob) -> Result<Event> {
        let dormant = Dormant { version: job.version, content: Content::Root(job.merkle_root) };
        self.members(job.channel_id, |channel| {
            ensure!(channel.kind == Kind::Standard && channel.id == job.channel_id, "not standard (M-31)");
            channel.learn(job.job_id, job.min_ntime, dormant.clone())
        })?;
        Ok(job_event(job.channel_id, job.min_ntime))
    }

    fn extended_job(&mut self, job: &NewExtendedMiningJob<'_>) -> Result<Event> {
        ensure!(job.version_rolling_allowed, "M-37");
        let content = Content::Coinbase {
            prefix: job.coinbase_tx_prefix.to_vec(),
            suffix: job.coinbase_tx_suffix.to_vec(),
            path: job.merkle_path.to_vec(),
        };
        let dormant = Dormant { version: job.version, content };
        self.members(job.channel_id, |channel| {
            let is_group = channel.group == job.channel_id;
            ensure!(is_group || channel.kind == Kind::Extended, "an extended job for a standard channel");
            channel.learn(job.job_id, job.min_ntime, dormant.clone())
        })?;
        Ok(job_event(job.channel_id, job.min_ntime))
    }

    /// The channel of that number, or all of the group of that number.
    fn members(&mut self, id: u32, mut act: impl FnMut(&mut Channel) -> Result<()>) -> Result<()> {
        let mut found = self.closed.contains(&id);
        for channel in self.channels.values_mut().filter(|channel| channel.id == id || channel.group == id) {
            act(channel).with_context(|| format!("channel {}", channel.id))?;
            found = true;
        }
        ensure!(found || self.channels.is_empty(), "there is no channel or group {id}");
        Ok(())
    }
}

fn job_event(channel: u32, min_ntime: Option<u32>) -> Event {
    if min_ntime.is_some() { Event::Job { channel } } else { Event::FutureJob { channel } }
}

/// The setup of an ordinary miner.
pub fn setup(flags: u32) -> SetupConnection<'static> {
    SetupConnection {
        protocol: MINING,
        min_version: VERSION,
        max_version: VERSION,
        flags,
        endpoint_host: b"127.0.0.1",
        endpoint_port: 3336,
        vendor: b"sluice-tests",
        hardware_version: b"1",
        firmware: b"1",
        device_id: b"",
    }
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}
