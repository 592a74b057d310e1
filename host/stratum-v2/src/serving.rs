//! A connection that is set up: its channels, and whose turn it is. What is done with a channel is in [`crate::open`],
//! [`crate::submit`], [`crate::delivery`] and [`crate::change`].

use std::collections::VecDeque;
use std::sync::Arc;

use sluice_core::extranonce::{ExtranoncePrefix, Parked};
use sluice_core::ids::AccountName;
use sluice_core::policy::Client;
use sluice_core::session::{Answer, Close, Effect, Note, Recipient};
use sluice_core::units::{Moment, Now};

use crate::connection::{Desk, SessionConfig};
use crate::extensions::Extensions;
use crate::line::{Held, Line, Supply};
use crate::messages::common::REQUIRES_STANDARD_JOBS;
use crate::messages::{ClientMessage, Decoded};
use crate::open::Door;
use crate::submit::Unnamed;
use crate::work::Broadcast;

/// The group that all channels of a connection belong to (M-6, M-102). It shares its numbers with the channels (M-5).
pub(crate) const GROUP: u32 = 1;
/// The first channel; 0 is avoided, as the largest number is (M-5).
const FIRST_CHANNEL: u32 = 2;
/// How much longer than `idle_timeout` a slow miner may be silent at most (V1-77).
const IDLE_STRETCH: u32 = 6;
/// Messages of kinds nobody knows that are passed over (F-10).
const UNKNOWN_MESSAGES_LIMIT: u8 = 32;

/// The jobs a connection is sent (M-33, M-34).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum JobKind {
    /// Standard ones only, to each channel its own.
    Standard,
    /// Extended ones too, and one for the group where all share it.
    Any,
}

#[derive(Debug)]
pub(crate) struct Serving {
    pub(crate) client: Client,
    pub(crate) jobs: JobKind,
    pub(crate) extensions: Extensions,
    pub(crate) door: Door,
    /// By id; ids only grow.
    pub(crate) lines: Vec<Line>,
    pub(crate) next_id: u32,
    /// Shares on their way to the log, oldest first.
    pub(crate) held: VecDeque<Held>,
    /// Shares that are in the log.
    pub(crate) committed: u64,
    /// Channels with shares that are not acknowledged.
    pub(crate) unacknowledged: Vec<u32>,
    /// When to look at them.
    pub(crate) acknowledge_at: Option<Moment>,
    /// A share whose worker has no number yet; what follows it waits.
    pub(crate) unnamed: Option<Box<Unnamed>>,
    /// Workers that shares have made known.
    pub(crate) named: u16,
    /// When a vardiff policy is to be asked at the latest: no channel is due before.
    pub(crate) review_at: Option<Moment>,
    /// When the first of the channels that wait for work gives up.
    pub(crate) gives_up_at: Option<Moment>,
    /// Whether work waits for a channel.
    pub(crate) offered: bool,
    /// Since when there is no channel.
    pub(crate) empty_since: Moment,
    /// When the first channel was opened.
    pub(crate) since: Moment,
    pub(crate) accepted: u32,
    unknown_messages: u8,
    pub(crate) unknown_channels: u8,
    /// What was reserved for a channel and came after the connection had ended.
    pub(crate) late: Option<ExtranoncePrefix>,
}

impl Serving {
    pub(crate) fn new(client: Client, flags: u32, config: &SessionConfig, now: Moment) -> Self {
        let jobs = if flags & REQUIRES_STANDARD_JOBS == 0 { JobKind::Any } else { JobKind::Standard };
        Self {
            client,
            jobs,
            extensions: Extensions::default(),
            door: Door::new(config, now),
            lines: Vec::new(),
            next_id: FIRST_CHANNEL,
            held: VecDeque::new(),
            committed: 0,
            unacknowledged: Vec::new(),
            acknowledge_at: None,
            unnamed: None,
            named: 0,
            review_at: None,
            gives_up_at: None,
            offered: false,
            empty_since: now,
            since: now,
            accepted: 0,
            unknown_messages: 0,
            unknown_channels: 0,
            late: None,
        }
    }

    pub(crate) fn receive(
        &mut self,
        desk: &mut Desk,
        decoded: Decoded<'_, ClientMessage<'_>>,
    ) -> Result<(), Close> {
        let (message, trailing) = match decoded {
            Decoded::Message { message, trailing } => (message, trailing),
            Decoded::UnknownMessage => return self.unknown_message(desk),
            Decoded::UnknownExtension => {
                desk.note(Note::Strayed("unknown_extension"));
                return Ok(());
            }
        };
        match message {
            ClientMessage::SubmitSharesStandard(share) => self.submit_standard(desk, &share)?,
            ClientMessage::SubmitSharesExtended(share) => {
                self.submit_extended(desk, &share, trailing)?;
            }
            ClientMessage::OpenStandardMiningChannel(open) => self.open_standard(desk, &open),
            ClientMessage::OpenExtendedMiningChannel(open) => self.open_extended(desk, &open),
            ClientMessage::UpdateChannel(update) => self.update(desk, &update),
            ClientMessage::CloseChannel(close) => self.close_channel(desk, close.channel_id),
            ClientMessage::RequestExtensions(request) => {
                let has_channels = self.next_id > FIRST_CHANNEL;
                self.extensions.request(desk, &request, has_channels);
            }
            // S-15
            ClientMessage::SetupConnection(_) => return Err(Close::OutOfOrder),
        }
        if self.unknown_channels > UNKNOWN_CHANNELS_LIMIT { Err(Close::UnknownChannels) } else { Ok(()) }
    }

    /// A peer that works may stray now and then.
    pub(crate) fn forgive(&mut self) {
        self.unknown_messages = 0;
        self.unknown_channels = 0;
    }

    fn unknown_message(&mut self, desk: &mut Desk) -> Result<(), Close> {
        desk.note(Note::Strayed("unknown_message"));
        self.unknown_messages = self.unknown_messages.saturating_add(1);
        if self.unknown_messages > UNKNOWN_MESSAGES_LIMIT { Err(Close::UnknownMessages) } else { Ok(()) }
    }

    pub(crate) fn wants_input(&self, config: &SessionConfig) -> bool {
        self.unnamed.is_none() && self.held.len() < config.held_shares && !self.door.is_full()
    }

    pub(crate) fn answer(&mut self, desk: &mut Desk, answer: Answer) -> Result<(), Close> {
        match answer {
            Answer::Authorized(id, outcome) => self.authorized(desk, id.0, outcome),
            Answer::Reserved(id, reservation) => {
                self.reserved(desk, id.0, reservation);
                Ok(())
            }
            Answer::Opened(id, decision) | Answer::Reviewed(id, decision) => {
                self.decided(desk, id.0, decision);
                Ok(())
            }
            Answer::Named(id, worker) => {
                self.named(desk, id.0, worker);
                Ok(())
            }
        }
    }

    pub(crate) fn offer(&mut self, now: Now, to: Recipient, work: &Arc<Broadcast>) {
        let owner = work.job().owner.as_ref();
        for line in &mut self.lines {
            let is_meant = match to {
                Recipient::Channel(id) => id.0 == line.id,
                Recipient::Everyone => true,
            };
            if is_meant && owner.is_none_or(|owner| *owner == line.account) {
                line.offer(now.moment, work);
                self.offered = true;
            }
        }
        if self.gives_up_at.is_some() {
            self.note_waiting();
        }
    }

    pub(crate) fn line(&mut self, id: u32) -> Option<&mut Line> {
        let place = self.place(id)?;
        self.lines.get_mut(place)
    }

    pub(crate) fn place(&self, id: u32) -> Option<usize> {
        self.lines.binary_search_by_key(&id, |line| line.id).ok()
    }

    /// Takes a channel off the connection; its prefix comes back to the pool (M-63).
    pub(crate) fn remove(&mut self, desk: &mut Desk, id: u32) {
        let Some(place) = self.place(id) else { return };
        let line = self.lines.remove(place);
        let (prefix, used) = (line.channel.extranonce().prefix(), line.channel.last_sent().is_some());
        desk.effect(Effect::Release { prefix, used });
        if line.is_open() {
            desk.note(Note::ChannelClosed(line.kind));
        }
        if !matches!(line.supply, Supply::Opening { .. }) && !self.works_for(&line.account) {
            desk.effect(Effect::Unsupply(line.account));
        }
        self.unacknowledged.retain(|other| *other != id);
        desk.set_channels(self.lines.len());
        if self.lines.is_empty() {
            self.empty_since = desk.now.moment;
        }
    }

    fn works_for(&self, account: &AccountName) -> bool {
        let supplied = |line: &&Line| !matches!(line.supply, Supply::Opening { .. });
        self.lines.iter().filter(supplied).any(|line| line.account == *account)
    }

    /// When something is due at the latest; `heard` is when the peer said something last.
    pub(crate) fn deadline(&self, config: &SessionConfig, heard: Moment) -> Moment {
        let silence = self.silence_ends(config, heard);
        let due = [self.review_at, self.acknowledge_at, self.gives_up_at].into_iter().flatten();
        due.fold(silence, Moment::min)
    }

    /// No channel for too long (S-16), or nothing heard: twice the mean time between shares, at least `idle_timeout`
    /// and at most [`IDLE_STRETCH`] times that (V1-77).
    fn silence_ends(&self, config: &SessionConfig, heard: Moment) -> Moment {
        if self.lines.is_empty() {
            // Nobody is late while a policy thinks.
            let since = if self.door.is_idle() { self.empty_since } else { heard.max(self.empty_since) };
            return since.after(config.channel_timeout);
        }
        let least = config.idle_timeout;
        let mean = heard.since(self.since) / self.accepted.max(1);
        let patience = if self.accepted == 0 { least * IDLE_STRETCH } else { mean * 2 };
        heard.after(patience.clamp(least, least * IDLE_STRETCH))
    }

    pub(crate) fn timeout(&mut self, desk: &mut Desk, heard: Moment) -> Result<(), Close> {
        if self.silence_ends(&desk.config, heard) <= desk.now.moment {
            return Err(if self.lines.is_empty() { Close::NoChannel } else { Close::Idle });
        }
        if self.gives_up_at.is_some_and(|at| at <= desk.now.moment) {
            self.give_up_waiting(desk);
        }
        // Also while the peer does not read: what is due must not stay due.
        self.acknowledge(desk);
        if self.review_at.is_some_and(|at| at <= desk.now.moment) {
            self.review_due(desk);
        }
        Ok(())
    }

    pub(crate) fn park(self) -> Vec<Parked> {
        let parked = |prefix, used| Parked { prefix, resume: None, used };
        let lines = self
            .lines
            .iter()
            .map(|line| parked(line.channel.extranonce().prefix(), line.channel.last_sent().is_some()));
        lines.chain(self.late.map(|prefix| parked(prefix, false))).collect()
    }
}

/// Shares for channels that never were, before they end the connection (M-87).
const UNKNOWN_CHANNELS_LIMIT: u8 = 32;
