//! A miner over a [`Client`]: SRI's `channels_sv2` keeps its channels and judges each share before it is submitted, so
//! that every word of the pool's is compared with an independent opinion.

use std::collections::{HashMap, HashSet};

use anyhow::{Context, Result, anyhow, bail, ensure};
use bitcoin::{BlockHash, Target};
use stratum_apps::stratum_core::channels_sv2::client::extended::ExtendedChannel;
use stratum_apps::stratum_core::channels_sv2::client::group::GroupChannel;
use stratum_apps::stratum_core::channels_sv2::client::share_accounting::{
    ShareValidationError, ShareValidationResult,
};
use stratum_apps::stratum_core::channels_sv2::client::standard::StandardChannel;
use stratum_apps::stratum_core::channels_sv2::extranonce_manager::ExtranoncePrefix;
use stratum_apps::stratum_core::mining_sv2::{
    CloseChannelOwned, NewExtendedMiningJobOwned, NewMiningJobOwned, OpenExtendedMiningChannelOwned,
    OpenExtendedMiningChannelSuccessOwned, OpenMiningChannelErrorOwned, OpenStandardMiningChannelOwned,
    OpenStandardMiningChannelSuccessOwned, SetNewPrevHashOwned, SubmitSharesErrorOwned,
    SubmitSharesSuccessOwned, UpdateChannelErrorOwned, UpdateChannelOwned,
};
use stratum_apps::stratum_core::parsers_sv2::{AnyMessageOwned, MiningOwned};

use tokio::time::timeout;

use sluice_tests::SOON;

use crate::channel::Channel;
use crate::client::{Client, text};

/// What the pool said that is more than work.
#[derive(Debug)]
pub enum Event {
    Opened(u32),
    OpenRefused(OpenMiningChannelErrorOwned),
    Acknowledged(SubmitSharesSuccessOwned),
    ShareRefused(SubmitSharesErrorOwned),
    UpdateRefused(UpdateChannelErrorOwned),
    /// A SetTarget.
    Retargeted(u32),
    /// A job on the tip that the channel or group has.
    Job(u32),
    /// A job for the next tip.
    FutureJob(u32),
    /// A SetNewPrevHash.
    Tip(u32),
    Closed(CloseChannelOwned),
}

/// What is asked for when a channel is opened.
#[derive(Clone, Debug)]
pub struct Opening<'a> {
    pub user: &'a str,
    pub hashrate: f32,
    pub max_target: Target,
}

impl<'a> Opening<'a> {
    /// Without conditions.
    pub fn by(user: &'a str) -> Self {
        Self { user, hashrate: 1e4, max_target: Target::from_le_bytes([0xff; 32]) }
    }
}

/// A share, and the hash of its header.
#[derive(Clone, Debug)]
pub struct Share {
    pub message: MiningOwned,
    pub hash: BlockHash,
    pub sequence: u32,
}

/// Everything that one connection mines.
pub struct Miner {
    client: Client,
    channels: HashMap<u32, Channel>,
    groups: HashMap<u32, GroupChannel>,
    /// Every channel there ever was.
    used: HashSet<u32>,
    /// Channel that was asked for, by request id.
    opening: HashMap<u32, Pending>,
    next_request: u32,
    next_sequence: u32,
    next_extranonce: u64,
    /// How many SubmitShares.Success came for each channel: `new_shares_sum` is cut to an integer once in each (M-83).
    pub batches: HashMap<u32, u32>,
}

struct Pending {
    user: String,
    hashrate: f32,
    min_extranonce_size: u16,
}

impl Miner {
    /// Over a connection that is set up.
    pub fn new(client: Client) -> Self {
        Self {
            client,
            channels: HashMap::new(),
            groups: HashMap::new(),
            used: HashSet::new(),
            opening: HashMap::new(),
            next_request: 100,
            next_sequence: 1,
            next_extranonce: 0,
            batches: HashMap::new(),
        }
    }

    pub fn client(&mut self) -> &mut Client {
        &mut self.client
    }

    /// Asks for a standard channel. Returns the request id.
    ///
    /// # Errors
    /// The peer closed.
    pub async fn ask_standard(&mut self, opening: &Opening<'_>) -> Result<u32> {
        let request_id = self.pend(opening, 0);
        let message = OpenStandardMiningChannelOwned {
            request_id,
            user_identity: text(opening.user)?,
            nominal_hash_rate: opening.hashrate,
            max_target: opening.max_target.to_le_bytes().into(),
        };
        self.client.send_mining(MiningOwned::OpenStandardMiningChannel(message)).await?;
        Ok(request_id)
    }

    /// Asks for an extended channel. Returns the request id.
    ///
    /// # Errors
    /// The peer closed.
    pub async fn ask_extended(&mut self, opening: &Opening<'_>, min_extranonce_size: u16) -> Result<u32> {
        let request_id = self.pend(opening, min_extranonce_size);
        let message = OpenExtendedMiningChannelOwned {
            request_id,
            user_identity: text(opening.user)?,
            nominal_hash_rate: opening.hashrate,
            max_target: opening.max_target.to_le_bytes().into(),
            min_extranonce_size,
        };
        self.client.send_mining(MiningOwned::OpenExtendedMiningChannel(message)).await?;
        Ok(request_id)
    }

    fn pend(&mut self, opening: &Opening<'_>, min_extranonce_size: u16) -> u32 {
        self.next_request += 1;
        let pending =
            Pending { user: opening.user.to_owned(), hashrate: opening.hashrate, min_extranonce_size };
        self.opening.insert(self.next_request, pending);
        self.next_request
    }

    /// Opens a standard channel and waits until it has work: its job must have come first as a future job, then the
    /// tip (M-20, M-21).
    ///
    /// # Errors
    /// Refused, or something out of order.
    pub async fn open_standard(&mut self, user: &str) -> Result<u32> {
        self.ask_standard(&Opening::by(user)).await?;
        self.until_working().await
    }

    /// As [`Miner::open_standard`].
    ///
    /// # Errors
    /// Refused, or something out of order.
    pub async fn open_extended(&mut self, user: &str, min_extranonce_size: u16) -> Result<u32> {
        self.ask_extended(&Opening::by(user), min_extranonce_size).await?;
        self.until_working().await
    }

    async fn until_working(&mut self) -> Result<u32> {
        let channel = loop {
            match self.event().await? {
                Event::Opened(channel) => break channel,
                // Other channels live on.
                Event::Job(_) | Event::FutureJob(_) | Event::Tip(_) | Event::Acknowledged(_) => {}
                other => bail!("the channel is not opened: {other:?}"),
            }
        };
        // M-20, M-21: nothing comes in between, and both are for this channel, not for its group.
        let job = self.event().await?;
        ensure!(matches!(job, Event::FutureJob(id) if id == channel), "first came {job:?}");
        let tip = self.event().await?;
        ensure!(matches!(tip, Event::Tip(id) if id == channel), "after the first job came {tip:?}");
        Ok(channel)
    }

    /// The next message, taken over into the channels.
    ///
    /// # Errors
    /// Silence, the peer closed, or SRI thinks that it should not have been sent.
    pub async fn event(&mut self) -> Result<Event> {
        let message = self.client.next().await?;
        self.take(message)
    }

    /// Takes over what has arrived.
    ///
    /// # Errors
    /// As [`Miner::event`].
    pub fn catch_up(&mut self) -> Result<Vec<Event>> {
        let mut events = Vec::new();
        while let Some(message) = self.client.arrived()? {
            events.push(self.take(message)?);
        }
        Ok(events)
    }

    /// The first event that `wanted` likes; others are passed over.
    ///
    /// # Errors
    /// As [`Miner::event`], or there is none for too long.
    pub async fn until<T>(&mut self, mut wanted: impl FnMut(Event) -> Option<T>) -> Result<T> {
        let mut passed = Vec::new();
        let search = async {
            loop {
                let event = self.event().await?;
                passed.push(format!("{event:?}"));
                if let Some(found) = wanted(event) {
                    return Ok(found);
                }
            }
        };
        let found = timeout(SOON, search).await;
        found.with_context(|| format!("the pool says other things only: {passed:#?}"))?
    }

    fn take(&mut self, message: AnyMessageOwned) -> Result<Event> {
        let AnyMessageOwned::Mining(message) = message else {
            bail!("not of the mining protocol: {message}")
        };
        let shown = message.to_string();
        self.dispatch(message).with_context(|| format!("SRI does not agree with {shown}"))
    }

    fn dispatch(&mut self, message: MiningOwned) -> Result<Event> {
        match message {
            MiningOwned::OpenStandardMiningChannelSuccess(opened) => self.opened_standard(opened),
            MiningOwned::OpenExtendedMiningChannelSuccess(opened) => self.opened_extended(opened),
            MiningOwned::OpenMiningChannelError(error) => {
                let known = self.opening.remove(&error.request_id).is_some();
                ensure!(known, "M-11: no such request");
                Ok(Event::OpenRefused(error))
            }
            MiningOwned::NewMiningJob(job) => self.standard_job(job),
            MiningOwned::NewExtendedMiningJob(job) => self.extended_job(job),
            MiningOwned::SetNewPrevHash(tip) => self.tip(tip),
            MiningOwned::SetTarget(target) => {
                let value = Target::from_le_bytes(target.maximum_target.to_array());
                for id in self.members(target.channel_id)? {
                    self.channel_mut(id)?.set_target(value)?;
                }
                Ok(Event::Retargeted(target.channel_id))
            }
            MiningOwned::SubmitSharesSuccess(success) => {
                let channel = self.channel_mut(success.channel_id)?;
                channel.acknowledge(success.new_submits_accepted_count, success.new_shares_sum);
                *self.batches.entry(success.channel_id).or_default() += 1;
                Ok(Event::Acknowledged(success))
            }
            MiningOwned::SubmitSharesError(error) => Ok(Event::ShareRefused(error)),
            MiningOwned::UpdateChannelError(error) => Ok(Event::UpdateRefused(error)),
            MiningOwned::CloseChannel(close) => {
                for id in self.members(close.channel_id)? {
                    self.forget(id);
                }
                Ok(Event::Closed(close))
            }
            other => bail!("a pool does not send {other}"),
        }
    }

    fn opened_standard(&mut self, opened: OpenStandardMiningChannelSuccessOwned) -> Result<Event> {
        let pending = self.opening.remove(&opened.request_id).context("M-11: no such request")?;
        let prefix = opened.extranonce_prefix.to_owned_bytes();
        let length = prefix.len();
        let channel = StandardChannel::new(
            opened.channel_id,
            pending.user,
            prefix_of(prefix)?,
            Target::from_le_bytes(opened.target.to_array()),
            pending.hashrate,
            None,
        );
        let channel = Channel::Standard(channel.map_err(|error| anyhow!("{error:?}"))?);
        self.join(opened.channel_id, channel, opened.group_channel_id, length)
    }

    fn opened_extended(&mut self, opened: OpenExtendedMiningChannelSuccessOwned) -> Result<Event> {
        let pending = self.opening.remove(&opened.request_id).context("M-11: no such request")?;
        ensure!(
            (pending.min_extranonce_size..=32).contains(&opened.extranonce_size),
            "M-15: asked for {}, granted {}",
            pending.min_extranonce_size,
            opened.extranonce_size
        );
        let prefix = opened.extranonce_prefix.to_owned_bytes();
        let length = prefix.len() + usize::from(opened.extranonce_size);
        let channel = ExtendedChannel::new(
            opened.channel_id,
            pending.user,
            prefix_of(prefix)?,
            Target::from_le_bytes(opened.target.to_array()),
            pending.hashrate,
            true,
            opened.extranonce_size,
            None,
        );
        let channel = Channel::Extended(channel.map_err(|error| anyhow!("{error:?}"))?);
        self.join(opened.channel_id, channel, opened.group_channel_id, length)
    }

    /// M-4: SRI's group refuses a member whose full extranonce has another length. M-5: no id is used twice.
    fn join(&mut self, id: u32, channel: Channel, group: u32, length: usize) -> Result<Event> {
        ensure!(id != group && !self.groups.contains_key(&id), "M-5: {id} is a group");
        ensure!(!self.channels.contains_key(&group), "M-5: {group} is a channel");
        let group = self.groups.entry(group).or_insert_with(|| GroupChannel::new(group));
        group.add_channel_id(id, length).map_err(|error| anyhow!("{error:?}"))?;
        ensure!(self.used.insert(id), "M-5: {id} is used again");
        self.channels.insert(id, channel);
        Ok(Event::Opened(id))
    }

    fn standard_job(&mut self, job: NewMiningJobOwned) -> Result<Event> {
        let (id, future) = (job.channel_id, job.is_future());
        self.channel_mut(id)?.standard_job(job)?;
        Ok(if future { Event::FutureJob(id) } else { Event::Job(id) })
    }

    fn extended_job(&mut self, job: NewExtendedMiningJobOwned) -> Result<Event> {
        let (id, future) = (job.channel_id, job.is_future());
        ensure!(job.version_rolling_allowed, "M-37: SRI's translator leaves a pool for this");
        if let Some(group) = self.groups.get_mut(&id) {
            group.on_new_extended_mining_job(job.clone());
        } else {
            ensure!(
                matches!(self.channel_mut(id)?, Channel::Extended(_)),
                "M-32: {id} is a standard channel"
            );
        }
        for member in self.members(id)? {
            let mut job = job.clone();
            job.channel_id = member;
            self.channel_mut(member)?.extended_job(job)?;
        }
        Ok(if future { Event::FutureJob(id) } else { Event::Job(id) })
    }

    /// M-40: SRI's channels and groups refuse a tip that names no future job.
    fn tip(&mut self, tip: SetNewPrevHashOwned) -> Result<Event> {
        let id = tip.channel_id;
        if let Some(group) = self.groups.get_mut(&id) {
            // A group that was sent no job of its own so far knows only what its members know.
            if group.get_future_job(tip.job_id).is_some() {
                group.on_set_new_prev_hash(tip.clone()).map_err(|error| anyhow!("{error:?}"))?;
            }
        }
        for member in self.members(id)? {
            self.channel_mut(member)?.tip(tip.clone())?;
        }
        Ok(Event::Tip(id))
    }

    /// The channels that a message to `id` is for.
    fn members(&self, id: u32) -> Result<Vec<u32>> {
        if let Some(group) = self.groups.get(&id) {
            return Ok(group.get_channel_ids().copied().collect());
        }
        ensure!(self.channels.contains_key(&id), "there is no channel and no group {id}");
        Ok(vec![id])
    }

    /// From here on a message for this channel is a mistake.
    pub fn forget(&mut self, id: u32) {
        self.channels.remove(&id);
        for group in self.groups.values_mut() {
            group.remove_channel_id(id);
        }
    }

    fn channel_mut(&mut self, id: u32) -> Result<&mut Channel> {
        self.channels.get_mut(&id).with_context(|| format!("there is no channel {id}"))
    }

    /// # Errors
    /// There is no such channel.
    pub fn channel(&self, id: u32) -> Result<&Channel> {
        self.channels.get(&id).with_context(|| format!("there is no channel {id}"))
    }

    /// The groups, by id, with their members.
    pub fn groups(&self) -> impl Iterator<Item = (u32, Vec<u32>)> {
        self.groups.iter().map(|(id, group)| (*id, group.get_channel_ids().copied().collect()))
    }

    /// A share of the active job that meets the job's target. SRI has judged it good.
    ///
    /// # Errors
    /// There is no job, or SRI does not think it good.
    pub fn mine(&mut self, channel: u32) -> Result<Share> {
        let target = self.channel(channel)?.work()?.target;
        self.mine_where(channel, |hash| target.is_met_by(hash))
    }

    /// A share of the active job that is a block.
    ///
    /// # Errors
    /// There is no job, or SRI does not think it a block.
    pub fn mine_block(&mut self, channel: u32) -> Result<Share> {
        let bits = self.channel(channel)?.work()?.header.bits;
        let share = self.search(channel, |hash| Target::from_compact(bits).is_met_by(hash))?;
        match self.judge(channel, &share)? {
            Ok(ShareValidationResult::BlockFound(_)) => Ok(share),
            other => bail!("SRI does not think it a block: {other:?}"),
        }
    }

    /// A share of the active job whose hash `wanted` likes, and that SRI thinks good.
    ///
    /// # Errors
    /// There is no job, or SRI does not think it good.
    pub fn mine_where(&mut self, channel: u32, wanted: impl Fn(BlockHash) -> bool) -> Result<Share> {
        let share = self.search(channel, wanted)?;
        self.judge(channel, &share)?.map_err(|error| anyhow!("SRI does not think it good: {error:?}"))?;
        Ok(share)
    }

    /// What SRI thinks of a share. It counts as validated there.
    ///
    /// # Errors
    /// There is no such channel, or the share is for one of the other kind.
    pub fn judge(
        &mut self,
        channel: u32,
        share: &Share,
    ) -> Result<Result<ShareValidationResult, ShareValidationError>> {
        match (self.channel_mut(channel)?, &share.message) {
            (Channel::Standard(channel), MiningOwned::SubmitSharesStandard(share)) => {
                Ok(channel.validate_share(share.clone()))
            }
            (Channel::Extended(channel), MiningOwned::SubmitSharesExtended(share)) => {
                Ok(channel.validate_share(share.clone()))
            }
            _ => bail!("the share is for a channel of the other kind"),
        }
    }

    /// A solution of the active job whose hash `wanted` likes; never the same twice.
    ///
    /// # Errors
    /// There is no job.
    pub fn search(&mut self, channel: u32, wanted: impl Fn(BlockHash) -> bool) -> Result<Share> {
        self.next_extranonce += 1;
        let mut work = self.channel(channel)?.work()?;
        let extranonce = work.extranonce(self.next_extranonce);
        work.roll(&extranonce, self.next_extranonce)?;
        let mut nonces = 0..=u32::MAX;
        let hash = loop {
            work.header.nonce = nonces.next().context("no nonce of 2^32 will do")?;
            let hash = work.header.block_hash();
            if wanted(hash) {
                break hash;
            }
        };
        let sequence = self.next_sequence;
        self.next_sequence += 1;
        Ok(Share { message: work.message(channel, sequence, extranonce)?, hash, sequence })
    }

    /// # Errors
    /// The peer closed.
    pub async fn submit(&mut self, share: &Share) -> Result<()> {
        self.client.send_mining(share.message.clone()).await
    }

    /// Submits under the name of a worker (extension 0x0002).
    ///
    /// # Errors
    /// The peer closed.
    pub async fn submit_as(&mut self, share: &Share, worker: &str) -> Result<()> {
        self.client.send_with_worker(share.message.clone(), worker).await
    }

    /// Waits until the pool has acknowledged as many shares of `channel` as SRI thinks good, and that their sum is what
    /// SRI adds up, less what each batch's sum is cut by.
    ///
    /// # Errors
    /// A share was refused, or the figures differ.
    pub async fn settle(&mut self, channel: u32) -> Result<()> {
        timeout(SOON, self.acknowledged(channel)).await.context("shares are not acknowledged")??;
        let accounting = self.channel(channel)?.accounting();
        #[expect(clippy::cast_precision_loss, reason = "a few shares' work")]
        let told = accounting.get_acknowledged_work_sum() as f64;
        let batches = f64::from(self.batches.get(&channel).copied().unwrap_or(0));
        let cut = accounting.get_validated_work_sum() - told;
        ensure!((0.0..=batches).contains(&cut), "M-82: the sums differ by {cut} after {batches} batches");
        Ok(())
    }

    async fn acknowledged(&mut self, channel: u32) -> Result<()> {
        loop {
            let accounting = self.channel(channel)?.accounting();
            let (good, counted) = (accounting.get_validated_shares(), accounting.get_acknowledged_shares());
            ensure!(counted <= good, "{counted} shares were acknowledged, {good} submitted");
            if counted == good {
                return Ok(());
            }
            if let Event::ShareRefused(error) = self.event().await? {
                bail!("the pool refuses what SRI thinks good: {error:?}");
            }
        }
    }

    /// Submits, and waits for the refusal of that very share. Returns its code.
    ///
    /// # Errors
    /// It was not refused.
    pub async fn submit_bad(&mut self, share: &Share) -> Result<String> {
        self.submit(share).await?;
        let error = self
            .until(|event| match event {
                Event::ShareRefused(error) => Some(error),
                _ => None,
            })
            .await?;
        ensure!(error.sequence_number == share.sequence, "M-78: the refusal of another share: {error:?}");
        Ok(error.error_code.as_utf8_or_hex())
    }

    /// UpdateChannel; it is not answered when it is in order (M-53).
    ///
    /// # Errors
    /// The peer closed.
    pub async fn update(&mut self, channel: u32, hashrate: f32, max_target: Target) -> Result<()> {
        let message = UpdateChannelOwned {
            channel_id: channel,
            nominal_hash_rate: hashrate,
            maximum_target: max_target.to_le_bytes().into(),
        };
        self.client.send_mining(MiningOwned::UpdateChannel(message)).await
    }

    /// CloseChannel, of a channel or a group (M-61).
    ///
    /// # Errors
    /// The peer closed.
    pub async fn close(&mut self, id: u32) -> Result<()> {
        let message = CloseChannelOwned { channel_id: id, reason_code: text("done")? };
        self.client.send_mining(MiningOwned::CloseChannel(message)).await
    }
}

fn prefix_of(bytes: Vec<u8>) -> Result<ExtranoncePrefix> {
    ExtranoncePrefix::from_wire(bytes).map_err(|error| anyhow!("{error}"))
}
