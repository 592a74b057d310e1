//! The state machine of one connection: what comes in, what it leads to, what goes out and when.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use sluice_core::channel::Rules;
use sluice_core::extranonce::Parked;
use sluice_core::ids::ChannelId;
use sluice_core::session::pressure::{Allowance, RejectedRun};
use sluice_core::session::{Answer, Close, Effect, Recipient, Session};
use sluice_core::units::{Difficulty, Moment, Now, VersionMask};

use crate::fast;
use crate::handshake::Asking;
use crate::json::Envelope;
use crate::line::{self, Cut, PartialLine};
use crate::notify::{Announcement, Clean};
use crate::phase::{Phase, Supply, Working};
use crate::reply::{self, Fault, Replies};
use crate::request::{Malformed, Request};

/// An SV1 connection is one channel.
pub(crate) const CHANNEL: ChannelId = ChannelId(0);
/// How much longer than `idle_timeout` a slow miner may be silent at most (V1-77).
const IDLE_STRETCH: u32 = 6;
/// What the pool calls itself (V1-62).
const SERVER_NAME: &str = concat!("\"Sluice/", env!("CARGO_PKG_VERSION"), "\"");

/// What holds for all connections of a listener.
#[derive(Clone, Debug)]
pub struct SessionConfig {
    /// The listener's name, for policies.
    pub listener: Arc<str>,
    /// Where a channel starts when neither login nor vardiff policy says anything.
    pub start: Difficulty,
    pub floor: Difficulty,
    pub ceiling: Difficulty,
    /// Bytes the miner rolls: 4 to 8 (V1-14).
    pub extranonce2_length: usize,
    /// Version bits that miners may roll; the same that jobs are made with.
    pub version_mask: VersionMask,
    pub rules: Rules,
    /// The longest line, in bytes (V1-2).
    pub line_limit: usize,
    /// From connecting to subscribe.
    pub subscribe_timeout: Duration,
    /// From connecting to the first authorised worker.
    pub authorize_timeout: Duration,
    /// Silence that ends a connection; a miner whose shares come seldom has up to six times as long (V1-77).
    pub idle_timeout: Duration,
    /// Messages a minute, accepted shares not counted; a minute's worth may come at once (V1-83). 0: any number.
    pub messages_per_minute: u32,
    /// Usernames one connection may authorise (V1-22).
    pub workers_per_connection: usize,
    /// Answers to accepted shares that may wait for the log; beyond it nothing is read.
    pub held_replies: usize,
    /// Rejected shares in a row that end a connection (V1-73). 0: any number.
    pub rejected_in_a_row: u32,
}

impl SessionConfig {
    /// The defaults for a listener of that name.
    pub fn new(listener: Arc<str>) -> Self {
        Self {
            listener,
            start: Difficulty::saturating(1024.0),
            floor: Difficulty::saturating(0.000_01),
            ceiling: Difficulty::MAX,
            extranonce2_length: 8,
            version_mask: VersionMask::BIP320,
            rules: Rules { stale_grace: Duration::from_secs(2) },
            line_limit: 8 * 1024,
            subscribe_timeout: Duration::from_secs(30),
            authorize_timeout: Duration::from_secs(60),
            idle_timeout: Duration::from_secs(600),
            messages_per_minute: 600,
            workers_per_connection: 64,
            held_replies: 1024,
            rejected_in_a_row: 200,
        }
    }
}

/// Whether requests are read.
#[derive(Debug)]
pub(crate) enum Input {
    Reading,
    /// A request waits for the driver; what comes after it waits too (V1-21).
    Asking(Box<Asking>),
    /// One more worker logs in where others mine: their shares are judged, and only the answers wait (V1-21, V1-22).
    /// The first line of anything else makes [`Self::Asking`] of it.
    Beside(Box<Asking>),
    /// The connection is ending: what comes is dropped.
    Closed,
}

/// One SV1 connection.
#[derive(Debug)]
pub struct Connection {
    pub(crate) config: Arc<SessionConfig>,
    pub(crate) phase: Phase,
    pub(crate) input: Input,
    pub(crate) effects: VecDeque<Effect>,
    pub(crate) replies: Replies,
    pub(crate) run: RejectedRun,
    pub(crate) allowance: Allowance,
    partial: PartialLine,
    /// IP address without port.
    pub(crate) address: Arc<str>,
    /// User agent and hardware, as far as they are known; moved to the channel's facts when it opens.
    pub(crate) agent: Option<Arc<str>>,
    pub(crate) hardware: Option<Arc<str>>,
    pub(crate) mask: VersionMask,
    /// The least difficulty the miner wants (V1-29).
    pub(crate) minimum: Option<Difficulty>,
    /// What it wished for before its channel was open (V1-42).
    pub(crate) suggested: Option<Difficulty>,
    pub(crate) connected: Moment,
    heard: Moment,
    /// Refused logins (V1-23).
    pub(crate) refused_logins: u8,
    /// Submits in a row before any login (V1-20).
    pub(crate) early_submits: u8,
}

impl Connection {
    /// A connection from `address` (IP without port) that was made `now`.
    pub fn new(config: Arc<SessionConfig>, address: Arc<str>, now: Now) -> Self {
        Self {
            phase: Phase::Connected,
            input: Input::Reading,
            effects: VecDeque::new(),
            replies: Replies::default(),
            run: RejectedRun::default(),
            allowance: Allowance::new(config.messages_per_minute, now.moment),
            partial: PartialLine::default(),
            address,
            agent: None,
            hardware: None,
            mask: config.version_mask,
            minimum: None,
            suggested: None,
            connected: now.moment,
            heard: now.moment,
            refused_logins: 0,
            early_submits: 0,
            config,
        }
    }

    pub(crate) fn close(&mut self, why: Close) {
        if !matches!(self.input, Input::Closed) {
            self.input = Input::Closed;
            // A login that is asked has no answer any more; shares behind it have theirs.
            self.replies.close_gap();
            self.effects.push_back(Effect::Close(why));
        }
    }

    pub(crate) fn is_closed(&self) -> bool {
        matches!(self.input, Input::Closed)
    }

    /// Whether a line cannot be taken before the login beside it is answered.
    fn must_wait(&self, cut: &Cut<'_>) -> bool {
        let Input::Beside(asking) = &self.input else { return false };
        match cut {
            Cut::Whole(line) => self.depends_on(asking, line),
            Cut::Joined(line) => self.depends_on(asking, line),
            Cut::Partial => false,
        }
    }

    /// Everything does but a submission of a worker that is known without it.
    fn depends_on(&self, asking: &Asking, line: &[u8]) -> bool {
        let line = line::trim(line);
        let is_known =
            |name: &[u8]| self.phase.logins().is_some_and(|logins| logins.knows_beside(asking, name));
        if line.is_empty() {
            return false;
        }
        match fast::parse(line) {
            Some((_, fields)) => !is_known(fields.worker),
            None => {
                let request = Request::of_line(line);
                !matches!(request, Some(Request::Submit(texts)) if is_known(texts.fields().worker))
            }
        }
    }

    /// The line that was cut waits, and all that comes after it.
    fn stop_at(&mut self, cut: Cut<'_>, length: usize) {
        self.partial.put_back(cut, length);
        self.input = match std::mem::replace(&mut self.input, Input::Reading) {
            Input::Beside(asking) => Input::Asking(asking),
            other => other,
        };
    }

    fn line(&mut self, now: Now, line: &[u8]) {
        self.heard = now.moment;
        if !self.allowance.take(self.config.messages_per_minute, now.moment) {
            return self.close(Close::Flood);
        }
        let line = line::trim(line);
        if line.is_empty() {
            return;
        }
        match fast::parse(line) {
            Some((id, fields)) => self.submit(now, Some(id), &fields),
            None => self.message(now, line),
        }
    }

    fn message(&mut self, now: Now, line: &[u8]) {
        let Ok(envelope) = Envelope::parse(line) else {
            self.replies.not_json();
            return self.close(Close::NotJson);
        };
        let id = envelope.id;
        // Without a method it answers something, and nothing was asked.
        let Some(method) = envelope.method else { return };
        let Some(method) = method.text() else { return self.replies.refuse(id, Fault::Malformed) };
        match Request::parse(&method, envelope.params) {
            Ok(request) => self.request(now, id, request),
            Err(Malformed::Submit) => self.refuse_malformed_submit(now, id),
            Err(Malformed::Other) => self.replies.refuse(id, Fault::Malformed),
        }
    }

    fn request(&mut self, now: Now, id: Option<&str>, request: Request<'_>) {
        match request {
            Request::Configure(extensions) => self.configure(now, id, &extensions),
            Request::Subscribe { agent, session } => self.subscribe(id, &agent, session),
            Request::Authorize { username, password } => self.authorize(id, username, password),
            Request::Submit(texts) => self.submit(now, id, &texts.fields()),
            Request::Suggest(wish) => {
                self.replies.accept(id);
                self.suggest(now, wish);
            }
            // The extranonce does not change while a connection lives, so nobody needs to be told (V1-35, V1-36).
            Request::ExtranonceSubscribe | Request::Acknowledge => self.replies.accept(id),
            Request::Ping => self.replies.result(id, |out| out.extend_from_slice(b"\"pong\"")),
            Request::GetVersion => {
                self.replies.result(id, |out| out.extend_from_slice(SERVER_NAME.as_bytes()));
            }
            Request::NotSupported => self.replies.refuse(id, Fault::NotSupported),
            Request::Ignore => {}
            // A notification nobody knows needs no answer (V1-8).
            Request::Unknown if id.is_none() => {}
            Request::Unknown => self.replies.refuse(id, Fault::UnknownMethod),
        }
    }

    /// Asks the vardiff policy if it is time.
    pub(crate) fn review(&mut self, now: Now) {
        if let Some(working) = self.phase.working()
            && let Some(review) = working.pacing.review(working.subscription.channel.difficulty(), now)
        {
            self.effects.push_back(Effect::Review { channel: CHANNEL, review: Box::new(review) });
        }
    }

    /// Asks for a job that the miner has not had, to carry a difficulty to it (V1-41).
    pub(crate) fn ask_fresh_work(&mut self) {
        if let Phase::Working(working) = &self.phase {
            let (account, sent) =
                (working.logins.account().clone(), working.subscription.channel.last_sent());
            self.effects.push_back(Effect::FreshWork { channel: CHANNEL, account, sent });
        }
    }

    /// Frees what a busy connection keeps for its next message. Called with every notify: a busy connection allocates
    /// again once in a while, an idle one keeps nothing.
    fn release(&mut self) {
        self.replies.release();
        self.partial.release();
        if self.effects.is_empty() {
            self.effects = VecDeque::new();
        }
    }

    fn handshake_deadline(&self) -> Option<Moment> {
        let subscribe = self.connected.after(self.config.subscribe_timeout);
        let authorize = self.connected.after(self.config.authorize_timeout);
        match &self.phase {
            Phase::Connected => Some(subscribe.min(authorize)),
            Phase::Subscribed(_) => Some(authorize),
            Phase::Authorized(..) => Some(subscribe),
            Phase::Working(_) => None,
        }
    }

    /// Twice the mean time between shares, at least `idle_timeout` and at most [`IDLE_STRETCH`] times that (V1-77).
    fn idle_deadline(&self, working: &Working) -> Moment {
        let least = self.config.idle_timeout;
        let mean = self.heard.since(working.since) / working.accepted.max(1);
        let patience = if working.accepted == 0 { least * IDLE_STRETCH } else { mean * 2 };
        self.heard.after(patience.clamp(least, least * IDLE_STRETCH))
    }
}

impl Session for Connection {
    type Work = Announcement;

    fn receive(&mut self, now: Now, bytes: &[u8]) -> usize {
        let mut used = 0;
        while used < bytes.len() {
            if self.is_closed() {
                return bytes.len();
            }
            if !self.wants_input() {
                break;
            }
            match self.partial.cut(&bytes[used..], self.config.line_limit) {
                Ok((cut, length)) if self.must_wait(&cut) => self.stop_at(cut, length),
                Ok((cut, length)) => {
                    used += length;
                    match cut {
                        Cut::Whole(line) => self.line(now, line),
                        Cut::Joined(buffer) => {
                            self.line(now, &buffer);
                            self.partial.recycle(buffer);
                        }
                        Cut::Partial => {}
                    }
                }
                Err(line::TooLong) => self.close(Close::LineTooLong),
            }
        }
        used
    }

    fn wants_input(&self) -> bool {
        matches!(self.input, Input::Reading | Input::Beside(_))
            && !self.replies.is_full(self.config.held_replies)
    }

    fn next_effect(&mut self) -> Option<Effect> {
        self.effects.pop_front()
    }

    fn answer(&mut self, now: Now, answer: Answer) {
        match answer {
            Answer::Reserved(_, reservation) => self.reserved(now, reservation),
            Answer::Authorized(_, outcome) => self.authorized(now, outcome),
            Answer::Opened(_, decision) => self.opened(now, decision),
            Answer::Reviewed(_, decision) => self.reviewed(now, decision),
            // Never asked for: a share's worker is one that has logged in (V1-72).
            Answer::Named(..) => {}
        }
    }

    fn offer(&mut self, now: Now, _to: Recipient, work: &Arc<Announcement>) {
        if self.is_closed() {
            return;
        }
        let Some(working) = self.phase.working() else { return };
        let Supply::Open { next, told } = &mut working.supply else { return };
        let channel = &mut working.subscription.channel;
        channel.hear(work.job(), now.moment);
        if channel.job(work.job().id).is_none() {
            *next = Some(Arc::clone(work));
        } else if *told != Some(channel.difficulty()) && next.is_none() {
            // Known from before a resume: a miner ignores a job id it has had (V1-41).
            self.ask_fresh_work();
        }
    }

    fn committed(&mut self, shares: u64) {
        self.replies.committed(shares);
    }

    fn transmit(&mut self, now: Now, out: &mut Vec<u8>) {
        self.replies.flush(out);
        if self.is_closed() {
            return;
        }
        let Some(working) = self.phase.working() else { return };
        let Supply::Open { next, told } = &mut working.supply else { return };
        let Some(work) = next.take() else { return };
        let channel = &mut working.subscription.channel;
        let difficulty = channel.difficulty();
        let is_first = told.is_none();
        if *told != Some(difficulty) {
            *told = Some(difficulty);
            reply::write_set_difficulty(difficulty, out);
        }
        let is_new_tip = channel.send(work.job(), now.moment);
        work.write(if is_first || is_new_tip { Clean::Drop } else { Clean::Keep }, out);
        self.release();
    }

    fn deadline(&self) -> Option<Moment> {
        match (&self.input, &self.phase) {
            (Input::Closed, _) => None,
            (_, Phase::Working(working)) => {
                let idle = self.idle_deadline(working);
                Some(working.pacing.due_at().map_or(idle, |due| due.min(idle)))
            }
            // Nobody is late while a policy thinks.
            (Input::Asking(_), _) => None,
            (Input::Reading | Input::Beside(_), _) => self.handshake_deadline(),
        }
    }

    fn timeout(&mut self, now: Now) {
        if self.is_closed() {
            return;
        }
        if let Phase::Working(working) = &self.phase {
            if self.idle_deadline(working) <= now.moment {
                return self.close(Close::Idle);
            }
            return self.review(now);
        }
        let is_late = self.handshake_deadline().is_some_and(|deadline| deadline <= now.moment);
        if is_late && matches!(self.input, Input::Reading) {
            self.close(Close::HandshakeTimeout);
        }
    }

    fn park(&mut self) -> Vec<Parked> {
        self.input = Input::Closed;
        match std::mem::replace(&mut self.phase, Phase::Connected) {
            Phase::Connected | Phase::Authorized(..) => Vec::new(),
            Phase::Subscribed(subscription) => vec![subscription.park()],
            Phase::Working(working) => vec![working.subscription.park()],
        }
    }

    fn shut_down(&mut self, _now: Now, why: Close) {
        self.close(why);
    }
}
