//! Work on its way out (05§5.3.15…17, 5.3.21; M-20…M-52): each job once to the group where all channels share it, else
//! to each channel.

use std::collections::VecDeque;
use std::sync::Arc;

use sluice_core::session::{ChannelKind, Effect, Note};
use sluice_core::units::{Difficulty, Now};

use crate::line::{Line, Supply};
use crate::link::Link;
use crate::messages::{OpenExtendedMiningChannelSuccess, OpenStandardMiningChannelSuccess};
use crate::serving::{GROUP, JobKind, Serving};
use crate::wire::types::wire_target;
use crate::work::{Broadcast, Timing, set_target};

/// Where messages go.
pub(crate) struct Way<'a> {
    pub(crate) link: &'a mut Link,
    pub(crate) out: &'a mut Vec<u8>,
}

impl Serving {
    /// Sends the channels that are open what waits for them. Returns whether there was anything.
    pub(crate) fn send_work(&mut self, now: Now, way: &mut Way<'_>) -> bool {
        if !self.offered {
            return false;
        }
        if let Some(work) = self.shared_work() {
            self.send_to_group(now, &work, way);
            return true;
        }
        let mut sent = false;
        for line in &mut self.lines {
            if let Supply::Open { next, told } = &mut line.supply
                && let Some(work) = next.take()
            {
                let told = std::mem::replace(told, line.channel.difficulty());
                line.send(now, &work, told, way);
                sent = true;
            }
        }
        sent
    }

    /// The work that waits for every channel of the group, if it is the same for all and comes on the same tip. A
    /// single channel is addressed by its own number: some devices know no groups.
    fn shared_work(&self) -> Option<Arc<Broadcast>> {
        if self.jobs == JobKind::Standard || self.lines.iter().filter(|line| line.is_open()).count() < 2 {
            return None;
        }
        let mut open = self.lines.iter().filter(|line| line.is_open());
        let first = open.next()?;
        let work = first.next()?;
        let is_alike = |line: &Line| {
            line.next().is_some_and(|next| Arc::ptr_eq(next, work))
                && line.channel.last_tip() == first.channel.last_tip()
        };
        open.all(is_alike).then(|| Arc::clone(work))
    }

    fn send_to_group(&mut self, now: Now, work: &Broadcast, way: &mut Way<'_>) {
        let mut timing = Timing::Active;
        for line in &mut self.lines {
            let Supply::Open { next, told } = &mut line.supply else { continue };
            *next = None;
            let difficulty = line.channel.difficulty();
            if *told != difficulty {
                *told = difficulty;
                way.link.send_message(&set_target(line.id, difficulty), way.out);
            }
            timing = Timing::of(line.channel.send(work.job(), now.moment));
        }
        work.send_extended(GROUP, timing, way);
    }

    /// Opens the channels that have waited for their first job: the answer, a future job, and what activates it, with
    /// nothing between them (M-20, M-21). Returns whether there was any.
    pub(crate) fn send_first_work(
        &mut self,
        now: Now,
        effects: &mut VecDeque<Effect>,
        way: &mut Way<'_>,
    ) -> bool {
        // Everything that waited is sent with this.
        if !std::mem::take(&mut self.offered) {
            return false;
        }
        let mut sent = false;
        for line in &mut self.lines {
            if let Supply::Waiting { request_id, first, .. } = &mut line.supply
                && let Some(work) = first.take()
            {
                let told = line.channel.difficulty();
                let request_id = *request_id;
                line.supply = Supply::Open { next: None, told };
                line.send_success(request_id, way);
                line.send(now, &work, told, way);
                effects.push_back(Effect::Note(Note::ChannelOpened(line.kind)));
                sent = true;
            }
        }
        sent
    }
}

impl Line {
    fn next(&self) -> Option<&Arc<Broadcast>> {
        match &self.supply {
            Supply::Open { next, .. } => next.as_ref(),
            Supply::Opening { .. } | Supply::Waiting { .. } => None,
        }
    }

    /// The target first if it is another than the one `told`: it holds for the jobs that follow (M-50).
    fn send(&mut self, now: Now, work: &Broadcast, told: Difficulty, way: &mut Way<'_>) {
        let difficulty = self.channel.difficulty();
        if told != difficulty {
            way.link.send_message(&set_target(self.id, difficulty), way.out);
        }
        let timing = Timing::of(self.channel.send(work.job(), now.moment));
        match (self.kind, self.channel.root(work.job().id)) {
            (ChannelKind::Standard, Some(root)) => {
                way.link.send_message(&work.standard(self.id, root, timing), way.out);
                work.activate(self.id, timing, way);
            }
            _ => work.send_extended(self.id, timing, way),
        }
    }

    fn send_success(&self, request_id: u32, way: &mut Way<'_>) {
        let extranonce = self.channel.extranonce();
        let target = wire_target(self.channel.difficulty().to_target());
        let (channel_id, group_channel_id) = (self.id, GROUP);
        let chosen = extranonce.chosen();
        let extranonce_prefix = &*chosen;
        match self.kind {
            ChannelKind::Standard => {
                let success = OpenStandardMiningChannelSuccess {
                    request_id,
                    channel_id,
                    target,
                    extranonce_prefix,
                    group_channel_id,
                };
                way.link.send_message(&success, way.out);
            }
            ChannelKind::Extended => {
                let success = OpenExtendedMiningChannelSuccess {
                    request_id,
                    channel_id,
                    target,
                    // At most 28.
                    extranonce_size: u16::try_from(extranonce.rolled_length()).unwrap_or(0),
                    extranonce_prefix,
                    group_channel_id,
                };
                way.link.send_message(&success, way.out);
            }
        }
    }
}

impl Broadcast {
    fn send_extended(&self, channel: u32, timing: Timing, way: &mut Way<'_>) {
        let job = self.extended(channel, timing);
        way.link.send(job.header().write(), &[job.head().as_ref(), self.tail()], way.out);
        self.activate(channel, timing, way);
    }

    /// On another tip the job is a future one: this makes it the only one that is valid (M-41, M-42).
    fn activate(&self, channel: u32, timing: Timing, way: &mut Way<'_>) {
        if timing == Timing::Future {
            way.link.send_message(&self.prev_hash(channel), way.out);
        }
    }
}
