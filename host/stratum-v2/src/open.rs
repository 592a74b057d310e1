//! Opening channels (05§5.3.2…5; M-10…M-24): one login after the other, while shares of other channels go on.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use sluice_core::channel::Channel;
use sluice_core::channel::pacing::Pacing;
use sluice_core::extranonce::{Extranonce, Reservation};
use sluice_core::ids::ChannelId;
use sluice_core::policy::auth::{Grant, Login, Refusal};
use sluice_core::policy::vardiff::{ChannelFacts, Decision};
use sluice_core::session::pressure::{Allowance, RejectedRun};
use sluice_core::session::{Admission, ChannelKind, Close, Effect, Note};
use sluice_core::units::{Difficulty, Hashrate, Moment, VersionMask};

use crate::codes::OpenError;
use crate::connection::{Desk, SessionConfig};
use crate::line::{Batch, Line, Supply};
use crate::messages::{OpenExtendedMiningChannel, OpenMiningChannelError, OpenStandardMiningChannel};
use crate::serving::{JobKind, Serving};
use crate::wire::types;

/// Requests that wait for the auth policy; beyond it nothing is read.
const QUEUE_LIMIT: usize = 64;
/// Refused logins without a granted one between them that end a connection which has no channel (V1-23).
const REFUSED_LOGINS_LIMIT: u8 = 32;
/// How long a channel waits for the pool's first work (M-22).
const WORK_PATIENCE: Duration = Duration::from_secs(10);

/// A channel that is asked for.
#[derive(Debug)]
pub(crate) struct Request {
    request_id: u32,
    channel: u32,
    kind: ChannelKind,
    identity: String,
    nominal: Hashrate,
    /// The least difficulty that the client bears (M-14).
    bears: Difficulty,
}

/// Requests on their way in.
#[derive(Debug)]
pub(crate) struct Door {
    queue: VecDeque<Request>,
    turn: Turn,
    /// How many more may be asked for.
    openings: Allowance,
    /// Refused logins since one was granted.
    refused: u8,
}

/// Whose request is looked at.
#[derive(Debug, Default)]
enum Turn {
    #[default]
    Nobody,
    /// The auth policy has been asked.
    Login(Request),
    /// It is welcome, and needs an extranonce.
    Place(Request, Box<Admission>),
}

impl Door {
    pub(crate) fn new(config: &SessionConfig, now: Moment) -> Self {
        let openings = Allowance::new(openings_per_minute(config), now);
        Self { queue: VecDeque::new(), turn: Turn::Nobody, openings, refused: 0 }
    }

    pub(crate) fn is_full(&self) -> bool {
        self.queue.len() >= QUEUE_LIMIT
    }

    /// Whether nobody waits.
    pub(crate) fn is_idle(&self) -> bool {
        matches!(self.turn, Turn::Nobody) && self.queue.is_empty()
    }

    /// Whether the channel of that id is asked for and not there yet.
    pub(crate) fn awaits(&self, id: u32) -> bool {
        let turn = match &self.turn {
            Turn::Nobody => None,
            Turn::Login(request) | Turn::Place(request, _) => Some(request),
        };
        self.queue.iter().chain(turn).any(|request| request.channel == id)
    }

    fn len(&self) -> usize {
        self.queue.len() + usize::from(!matches!(self.turn, Turn::Nobody))
    }
}

/// What both messages say.
struct Wish<'a> {
    request_id: u32,
    identity: &'a [u8],
    nominal: f32,
    max_target: [u8; 32],
    kind: ChannelKind,
}

impl Serving {
    pub(crate) fn open_standard(&mut self, desk: &mut Desk, open: &OpenStandardMiningChannel<'_>) {
        let wish = Wish {
            request_id: open.request_id,
            identity: open.user_identity,
            nominal: open.nominal_hash_rate,
            max_target: open.max_target,
            kind: ChannelKind::Standard,
        };
        self.open(desk, &wish);
    }

    pub(crate) fn open_extended(&mut self, desk: &mut Desk, open: &OpenExtendedMiningChannel<'_>) {
        if self.jobs == JobKind::Standard {
            return refuse(desk, open.request_id, OpenError::StandardJobsOnly);
        }
        if usize::from(open.min_extranonce_size) > desk.config.extranonce_size {
            return refuse(desk, open.request_id, OpenError::ExtranonceTooLarge);
        }
        let wish = Wish {
            request_id: open.request_id,
            identity: open.user_identity,
            nominal: open.nominal_hash_rate,
            max_target: open.max_target,
            kind: ChannelKind::Extended,
        };
        self.open(desk, &wish);
    }

    fn open(&mut self, desk: &mut Desk, wish: &Wish<'_>) {
        if !self.door.openings.take(openings_per_minute(&desk.config), desk.now.moment) {
            return refuse(desk, wish.request_id, OpenError::Full);
        }
        match self.admissible(&desk.config, wish) {
            Ok(request) => {
                self.next_id = self.next_id.saturating_add(1);
                self.door.queue.push_back(request);
                self.next_login(desk);
            }
            Err(code) => refuse(desk, wish.request_id, code),
        }
    }

    /// What can be said before anybody is asked; quotas first (M-8).
    fn admissible(&self, config: &SessionConfig, wish: &Wish<'_>) -> Result<Request, OpenError> {
        // The largest number is somebody's own (M-5).
        if self.lines.len() + self.door.len() >= config.channels || self.next_id == u32::MAX {
            return Err(OpenError::Full);
        }
        let nominal = types::nominal_hash_rate(wish.nominal).ok_or(OpenError::InvalidHashRate)?;
        let bears = bearable(wish.max_target, config).ok_or(OpenError::TargetOutOfRange)?;
        let identity = str::from_utf8(wish.identity).map_err(|_| OpenError::InvalidUserIdentity)?;
        if identity.chars().any(char::is_control) {
            return Err(OpenError::InvalidUserIdentity);
        }
        Ok(Request {
            request_id: wish.request_id,
            channel: self.next_id,
            kind: wish.kind,
            identity: identity.to_owned(),
            nominal,
            bears,
        })
    }

    /// One login at a time.
    fn next_login(&mut self, desk: &mut Desk) {
        if !matches!(self.door.turn, Turn::Nobody) {
            return;
        }
        let Some(request) = self.door.queue.pop_front() else { return };
        let login = Login { username: request.identity.clone(), password: None, client: self.client.clone() };
        desk.effect(Effect::Authorize { channel: ChannelId(request.channel), login: Box::new(login) });
        self.door.turn = Turn::Login(request);
    }

    pub(crate) fn authorized(
        &mut self,
        desk: &mut Desk,
        id: u32,
        outcome: Result<Box<Admission>, Refusal>,
    ) -> Result<(), Close> {
        let request = match std::mem::take(&mut self.door.turn) {
            Turn::Login(request) if request.channel == id => request,
            other => {
                self.door.turn = other;
                return Ok(());
            }
        };
        match outcome {
            Ok(admission) if request.bears > ceiling(&desk.config, &admission.grant) => {
                refuse(desk, request.request_id, OpenError::TargetOutOfRange);
                self.next_login(desk);
                Ok(())
            }
            Ok(admission) => {
                self.door.refused = 0;
                desk.effect(Effect::Reserve { channel: ChannelId(id), resume: None });
                self.door.turn = Turn::Place(request, admission);
                Ok(())
            }
            Err(refusal) => {
                refuse(desk, request.request_id, OpenError::from(&refusal));
                self.next_login(desk);
                self.count_refused(&refusal)
            }
        }
    }

    fn count_refused(&mut self, refusal: &Refusal) -> Result<(), Close> {
        // A policy that fails is not the miner's fault.
        if !matches!(refusal, Refusal::TryLater(_)) {
            self.door.refused = self.door.refused.saturating_add(1);
        }
        // One miner with a wrong name must not take those with it that work behind the same proxy.
        let is_over = self.door.refused >= REFUSED_LOGINS_LIMIT && self.lines.is_empty();
        if is_over { Err(Close::AuthFailures) } else { Ok(()) }
    }

    pub(crate) fn reserved(&mut self, desk: &mut Desk, id: u32, reservation: Option<Reservation>) {
        let (request, admission) = match std::mem::take(&mut self.door.turn) {
            Turn::Place(request, admission) if request.channel == id => (request, admission),
            other => {
                self.door.turn = other;
                // Nobody waits for it.
                let prefix = reservation.map(|reservation| reservation.prefix);
                return prefix
                    .into_iter()
                    .for_each(|prefix| desk.effect(Effect::Release { prefix, used: false }));
            }
        };
        match reservation {
            Some(reservation) => self.begin(desk, &request, *admission, &reservation),
            None => refuse(desk, request.request_id, OpenError::Full),
        }
        self.next_login(desk);
    }

    /// The channel is there; the vardiff policy is asked where to start.
    fn begin(&mut self, desk: &mut Desk, request: &Request, admission: Admission, reservation: &Reservation) {
        let config = Arc::clone(&desk.config);
        let grant = admission.grant;
        let least = grant.minimum.map_or(config.floor, |minimum| minimum.max(config.floor));
        let ceiling = ceiling(&config, &grant);
        let facts = ChannelFacts {
            account: grant.account.clone(),
            worker: grant.worker,
            client: self.client.clone(),
            password: None,
            floor: least.max(request.bears),
            ceiling,
        };
        let start = grant.start.unwrap_or(config.start).within(facts.floor, facts.ceiling);
        let mut pacing = Pacing::new(Arc::new(facts), desk.now.moment);
        pacing.set_suggested(request.bears);
        pacing.set_nominal_hashrate(request.nominal.0);
        let channel = ChannelId(request.channel);
        desk.effect(Effect::Open { channel, opening: Box::new(pacing.opening(Some(start), desk.now)) });
        let extranonce = match request.kind {
            ChannelKind::Standard => Extranonce::fixed(reservation.prefix, config.extranonce_size),
            ChannelKind::Extended => Extranonce::rolled(reservation.prefix, config.extranonce_size),
        };
        if self.lines.is_empty() && self.accepted == 0 {
            self.since = desk.now.moment;
        }
        self.lines.push(Line {
            id: request.channel,
            kind: request.kind,
            account: grant.account,
            account_id: admission.account,
            worker_id: admission.worker,
            workers: HashMap::new(),
            channel: Channel::new(extranonce, start, VersionMask::BIP323, config.rules, None),
            pacing,
            least,
            nominal: request.nominal,
            supply: Supply::Opening { request_id: request.request_id },
            batch: Batch::default(),
            run: RejectedRun::default(),
            fresh_at: None,
            asked_at: None,
        });
        desk.set_channels(self.lines.len());
    }

    /// The vardiff policy's answer, for a channel that opens or for one that works.
    pub(crate) fn decided(&mut self, desk: &mut Desk, id: u32, decision: Option<Decision>) {
        let Some(line) = self.line(id) else { return };
        let difficulty = line.pacing.decide(decision, desk.now.moment);
        if let Supply::Opening { request_id } = line.supply {
            if let Some(difficulty) = difficulty {
                line.channel.set_difficulty(difficulty, desk.now.moment);
            }
            let until = desk.now.moment.after(WORK_PATIENCE);
            line.supply = Supply::Waiting { request_id, until, first: None };
            let account = line.account.clone();
            self.gives_up_at = Some(earlier(self.gives_up_at, until));
            desk.effect(Effect::Supply { channel: ChannelId(id), account });
        } else if let Some(difficulty) = difficulty {
            line.work_at(desk, difficulty);
        }
        if let Some(due) = self.line(id).and_then(|line| line.pacing.due_at()) {
            self.review_at = Some(earlier(self.review_at, due));
        }
    }

    /// Channels that waited too long for work are not opened (M-22).
    pub(crate) fn give_up_waiting(&mut self, desk: &mut Desk) {
        let late: Vec<_> = self.waiting().filter(|(until, ..)| *until <= desk.now.moment).collect();
        for (_, id, request_id) in late {
            refuse(desk, request_id, OpenError::NotReady);
            self.remove(desk, id);
        }
        self.note_waiting();
    }

    /// Notes when the first of the channels that wait for work gives up.
    pub(crate) fn note_waiting(&mut self) {
        self.gives_up_at = self.waiting().map(|(until, ..)| until).min();
    }

    /// Channels without any work: until when they wait, their ids and those of their requests.
    fn waiting(&self) -> impl Iterator<Item = (Moment, u32, u32)> {
        self.lines.iter().filter_map(|line| match line.supply {
            Supply::Waiting { request_id, until, first: None } => Some((until, line.id, request_id)),
            _ => None,
        })
    }
}

fn earlier(known: Option<Moment>, at: Moment) -> Moment {
    known.map_or(at, |known| known.min(at))
}

/// The highest difficulty of a login.
fn ceiling(config: &SessionConfig, grant: &Grant) -> Difficulty {
    grant.maximum.map_or(config.ceiling, |maximum| maximum.min(config.ceiling))
}

fn refuse(desk: &mut Desk, request_id: u32, code: OpenError) {
    desk.outbox.push(&OpenMiningChannelError { request_id, error_code: code.as_bytes() });
    desk.note(Note::ChannelRefused(code.as_str()));
}

/// Every channel may be opened twice at once, and twice in every minute after: opening costs others something (M-8).
fn openings_per_minute(config: &SessionConfig) -> u32 {
    u32::try_from(config.channels).unwrap_or(u32::MAX).saturating_mul(2)
}

/// The least difficulty whose target is not above the client's maximum; `None` where that is zero or harder than the
/// pool goes (M-14).
pub(crate) fn bearable(max_target: [u8; 32], config: &SessionConfig) -> Option<Difficulty> {
    let target = types::target(max_target);
    let difficulty = Difficulty::at_most(target);
    (max_target != [0; 32] && difficulty <= config.ceiling && difficulty.to_target() <= target)
        .then_some(difficulty)
}
