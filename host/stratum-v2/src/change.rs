//! Changing and closing channels, and their difficulty (05§5.3.7…9, 5.3.21; M-50…M-63).

use std::time::Duration;

use sluice_core::ids::ChannelId;
use sluice_core::session::{Effect, Note};
use sluice_core::units::{Difficulty, Hashrate};

use crate::codes::UpdateError;
use crate::connection::Desk;
use crate::line::{Line, Supply};
use crate::messages::{UpdateChannel, UpdateChannelError};
use crate::open::bearable;
use crate::serving::{GROUP, Serving};
use crate::wire::types;

/// A nominal hash rate that differs by less than this factor is not worth asking the vardiff policy about: proxies send
/// one every second (M-53).
const NEWS: f64 = 1.25;
/// A changed difficulty goes out with a job of its own at most this often for each channel; else with the next job
/// (M-54). Clients may change their minds without end, and each such job is made for them.
const FRESH_PAUSE: Duration = Duration::from_secs(5);

impl Line {
    /// Changes the difficulty. The channel learns of it with work that is new to it (M-51, M-52).
    pub(crate) fn work_at(&mut self, desk: &mut Desk, difficulty: Difficulty) {
        let before = self.channel.difficulty();
        if !self.channel.set_difficulty(difficulty, desk.now.moment) {
            return;
        }
        if before < difficulty {
            self.run.raised(desk.now.moment);
        }
        let now = desk.now.moment;
        let is_soon = self.fresh_at.is_some_and(|at| now.since(at) < FRESH_PAUSE);
        if matches!(self.supply, Supply::Open { next: None, .. }) && !is_soon {
            self.fresh_at = Some(now);
            desk.effect(Effect::FreshWork {
                channel: ChannelId(self.id),
                account: self.account.clone(),
                sent: self.channel.last_sent(),
            });
        }
    }

    /// Asks the vardiff policy if it is time.
    pub(crate) fn review(&mut self, desk: &mut Desk) {
        if let Some(review) = self.pacing.review(self.channel.difficulty(), desk.now) {
            desk.effect(Effect::Review { channel: ChannelId(self.id), review: Box::new(review) });
        }
    }
}

impl Serving {
    pub(crate) fn update(&mut self, desk: &mut Desk, update: &UpdateChannel) {
        if let Err(code) = self.try_update(desk, update) {
            let channel_id = update.channel_id;
            desk.outbox.push(&UpdateChannelError { channel_id, error_code: code.as_bytes() });
            desk.note(Note::UpdateRefused(code.as_str()));
        }
    }

    fn try_update(&mut self, desk: &mut Desk, update: &UpdateChannel) -> Result<(), UpdateError> {
        let bears = bearable(update.maximum_target, &desk.config);
        // A group is not a channel (M-55).
        let line = self.line(update.channel_id).filter(|line| line.is_open());
        let line = line.ok_or(UpdateError::InvalidChannel)?;
        let nominal =
            types::nominal_hash_rate(update.nominal_hash_rate).ok_or(UpdateError::InvalidHashRate)?;
        let ceiling = line.pacing.facts().ceiling;
        let bears = bears.filter(|bears| *bears <= ceiling).ok_or(UpdateError::TargetOutOfRange)?;
        let floor = line.least.max(bears);
        line.pacing.set_floor(floor);
        line.pacing.set_suggested(bears);
        line.pacing.set_nominal_hashrate(nominal.0);
        if line.channel.difficulty() < floor {
            // Followed at once (M-54).
            line.work_at(desk, floor);
        }
        if is_news(line.nominal, nominal) {
            line.reconsider(desk, nominal);
        }
        Ok(())
    }

    pub(crate) fn close_channel(&mut self, desk: &mut Desk, id: u32) {
        if id == GROUP {
            // All its members (M-61).
            let ids: Vec<u32> = self.lines.iter().filter(|line| line.is_open()).map(|line| line.id).collect();
            return ids.into_iter().rev().for_each(|id| self.remove(desk, id));
        }
        // One that was not told yet is nobody's (M-62).
        if self.line(id).is_some_and(|line| line.is_open()) {
            self.remove(desk, id);
        }
    }

    /// Asks the vardiff policy about every channel whose time has come, and notes when the next is due.
    pub(crate) fn review_due(&mut self, desk: &mut Desk) {
        for line in &mut self.lines {
            line.review(desk);
        }
        self.review_at = self.lines.iter().filter_map(|line| line.pacing.due_at()).min();
    }
}

impl Line {
    /// The vardiff policy is asked as if the channel opened anew: what it was told then has changed.
    fn reconsider(&mut self, desk: &mut Desk, nominal: Hashrate) {
        let now = desk.now.moment;
        if self.pacing.is_asked() || self.asked_at.is_some_and(|at| now.since(at) < FRESH_PAUSE) {
            return;
        }
        self.asked_at = Some(now);
        self.nominal = nominal;
        let opening = self.pacing.opening(Some(self.channel.difficulty()), desk.now);
        desk.effect(Effect::Open { channel: ChannelId(self.id), opening: Box::new(opening) });
    }
}

fn is_news(Hashrate(before): Hashrate, Hashrate(after): Hashrate) -> bool {
    before.max(after) > before.min(after) * NEWS
}
