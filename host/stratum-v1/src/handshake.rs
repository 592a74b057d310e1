//! Configure, subscribe, authorize and what they lead to: a channel that opens, and its difficulty.

use std::borrow::Cow;
use std::io::Write as _;
use std::sync::Arc;

use sluice_core::channel::Channel;
use sluice_core::channel::pacing::Pacing;
use sluice_core::extranonce::{Extranonce, Reservation, ResumeToken};
use sluice_core::ids::Protocol;
use sluice_core::policy::Client;
use sluice_core::policy::auth::{Login, Refusal};
use sluice_core::policy::vardiff::{ChannelFacts, Decision};
use sluice_core::session::{Admission, Close, Effect};
use sluice_core::units::{Difficulty, Now, VersionMask};

use crate::configure::{self, Extension, Outcome, Wish};
use crate::connection::{CHANNEL, Connection, Input};
use crate::phase::{Logins, Phase, Subscription, Supply, Terms, Working};
use crate::reply::Fault;

/// Refused logins that end a connection (V1-23).
const REFUSED_LOGINS_LIMIT: u8 = 3;

/// A request that waits for the driver, with the id to answer under.
#[derive(Debug)]
pub(crate) enum Asking {
    Reservation { id: Option<Box<str>> },
    Login { id: Option<Box<str>>, username: Box<str>, password: Option<Box<str>> },
}

impl Asking {
    /// Whether `name` is to log in.
    pub(crate) fn is_login_of(&self, name: &[u8]) -> bool {
        matches!(self, Self::Login { username, .. } if username.as_bytes() == name)
    }
}

// === impl Connection: configure and suggest ===

impl Connection {
    pub(crate) fn configure(&mut self, now: Now, id: Option<&str>, extensions: &[Extension<'_>]) {
        let outcomes: Vec<(Cow<'_, str>, Outcome)> = extensions
            .iter()
            .map(|extension| (extension.name.clone(), self.extension(now, &extension.wish)))
            .collect();
        self.replies.result(id, |out| {
            out.push(b'{');
            configure::write_outcomes(&outcomes, out);
            out.push(b'}');
        });
    }

    fn extension(&mut self, now: Now, wish: &Wish) -> Outcome {
        match wish {
            Wish::VersionRolling(None) => Outcome::Failed("the mask is not up to eight hex digits"),
            Wish::VersionRolling(Some(wanted)) => {
                self.set_mask(self.config.version_mask.intersect(*wanted));
                if self.mask == VersionMask::NONE { Outcome::Refused } else { Outcome::Rolling(self.mask) }
            }
            Wish::MinimumDifficulty(minimum) => {
                self.minimum = minimum.map(|minimum| minimum.min(self.config.ceiling));
                self.heed_minimum(now);
                Outcome::Granted
            }
            Wish::SubscribeExtranonce => Outcome::Granted,
            Wish::Info(hardware) => {
                self.hardware = Some(hardware.as_str().into());
                Outcome::Granted
            }
            Wish::SuggestDifficulty(wish) => {
                self.suggest(now, *wish);
                Outcome::Granted
            }
            Wish::Unknown => Outcome::Refused,
        }
    }

    /// From now on; the answer to the request tells the miner (V1-27).
    fn set_mask(&mut self, mask: VersionMask) {
        self.mask = mask;
        if let Some(subscription) = self.phase.subscription_mut() {
            subscription.channel.set_mask(mask);
        }
    }

    /// A wish is put to the vardiff policy, between floor and ceiling (V1-42).
    pub(crate) fn suggest(&mut self, now: Now, wish: Option<Difficulty>) {
        let Some(wish) = wish else { return };
        let wish = wish.within(self.config.floor, self.config.ceiling);
        match self.phase.working() {
            None => self.suggested = Some(wish),
            Some(working) => {
                if working.pacing.suggest(wish, now.moment) {
                    self.review(now);
                }
            }
        }
    }

    /// A minimum above the present difficulty holds from now on (V1-29).
    fn heed_minimum(&mut self, now: Now) {
        if let Some(minimum) = self.minimum
            && let Some(working) = self.phase.working()
            && working.subscription.channel.difficulty() < minimum
        {
            self.work_at(minimum, now);
        }
    }
}

// === impl Connection: subscribe ===

impl Connection {
    pub(crate) fn subscribe(&mut self, id: Option<&str>, agent: &str, session: Option<ResumeToken>) {
        if self.phase.subscription().is_some() {
            // The same answer again (V1-16).
            return self.write_subscription(id);
        }
        self.agent = Some(agent.into());
        self.input = Input::Asking(Box::new(Asking::Reservation { id: id.map(Into::into) }));
        self.effects.push_back(Effect::Reserve { channel: CHANNEL, resume: session });
    }

    pub(crate) fn reserved(&mut self, now: Now, reservation: Option<Reservation>) {
        let asking = self.answered(|asking| matches!(asking, Asking::Reservation { .. }));
        let Some(Asking::Reservation { id }) = asking else { return };
        let Some(Reservation { prefix, token, resumed }) = reservation else {
            self.replies.refuse(id.as_deref(), Fault::Full);
            return self.close(Close::Full);
        };
        let extranonce = Extranonce::rolled(prefix, self.config.extranonce2_length);
        let channel = Channel::new(extranonce, self.config.start, self.mask, self.config.rules, resumed);
        let subscription = Subscription { token, channel };
        match std::mem::replace(&mut self.phase, Phase::Connected) {
            Phase::Authorized(logins, terms) => self.open(now, subscription, logins, terms),
            _ => self.phase = Phase::Subscribed(subscription),
        }
        self.write_subscription(id.as_deref());
    }

    fn write_subscription(&mut self, id: Option<&str>) {
        let Some(subscription) = self.phase.subscription() else { return };
        let (extranonce, token) = (subscription.channel.extranonce(), subscription.token);
        let (prefix, length) = (extranonce.prefix(), extranonce.rolled_length());
        self.replies.result(id, |out| {
            // Writing to memory does not fail; if it did, nothing would be written.
            write!(out, r#"[[["mining.notify","{token}"]],"{prefix}",{length}]"#).unwrap_or_default();
        });
    }

    /// Takes the question that was waiting, if it is the right one, and reads on.
    fn answered(&mut self, is_right: impl Fn(&Asking) -> bool) -> Option<Asking> {
        match std::mem::replace(&mut self.input, Input::Reading) {
            Input::Asking(asking) | Input::Beside(asking) if is_right(&asking) => Some(*asking),
            other => {
                self.input = other;
                None
            }
        }
    }
}

// === impl Connection: authorize ===

impl Connection {
    pub(crate) fn authorize(&mut self, id: Option<&str>, username: String, password: Option<String>) {
        let limit = self.config.workers_per_connection.max(1);
        if self.phase.logins().is_some_and(|logins| logins.len() >= limit && !logins.knows(&username)) {
            return self.replies.refuse(id, Fault::TooManyWorkers);
        }
        let asking = Box::new(Asking::Login {
            id: id.map(Into::into),
            username: username.as_str().into(),
            password: password.as_deref().map(Into::into),
        });
        self.input = if matches!(self.phase, Phase::Working(_)) {
            self.replies.leave_gap();
            Input::Beside(asking)
        } else {
            Input::Asking(asking)
        };
        let client = self.client();
        let login = Box::new(Login { username, password, client });
        self.effects.push_back(Effect::Authorize { channel: CHANNEL, login });
    }

    fn client(&self) -> Client {
        let text = |text: &Option<Arc<str>>| text.clone().unwrap_or_else(|| Arc::from(""));
        Client {
            protocol: Protocol::StratumV1,
            listener: Arc::clone(&self.config.listener),
            address: Arc::clone(&self.address),
            agent: text(&self.agent),
            hardware: text(&self.hardware),
        }
    }

    pub(crate) fn authorized(&mut self, now: Now, outcome: Result<Box<Admission>, Refusal>) {
        let asking = self.answered(|asking| matches!(asking, Asking::Login { .. }));
        let Some(Asking::Login { id, username, password }) = asking else { return };
        self.replies.fill_gap(|replies| match &outcome {
            Ok(_) => replies.accept(id.as_deref()),
            Err(refusal) => replies.refuse_login(id.as_deref(), refusal.text()),
        });
        match outcome {
            Ok(admission) => self.admit(now, &username, password, *admission),
            Err(refusal) => self.count_refused(&refusal),
        }
    }

    fn count_refused(&mut self, refusal: &Refusal) {
        // A policy that fails is not the miner's fault.
        if !matches!(refusal, Refusal::TryLater(_)) {
            self.refused_logins = self.refused_logins.saturating_add(1);
        }
        if self.refused_logins >= REFUSED_LOGINS_LIMIT {
            self.close(Close::AuthFailures);
        }
    }

    fn admit(&mut self, now: Now, username: &str, password: Option<Box<str>>, admission: Admission) {
        if let Some(logins) = self.phase.logins_mut() {
            return logins.add(username, admission);
        }
        let terms = Terms::new(&admission.grant, password);
        let logins = Logins::new(username, admission);
        match std::mem::replace(&mut self.phase, Phase::Connected) {
            Phase::Subscribed(subscription) => self.open(now, subscription, logins, terms),
            _ => self.phase = Phase::Authorized(logins, terms),
        }
    }
}

// === impl Connection: the channel ===

impl Connection {
    /// Subscribed and authorised: the vardiff policy is asked where to start.
    fn open(&mut self, now: Now, mut subscription: Subscription, logins: Logins, terms: Terms) {
        let config = &self.config;
        let least = [terms.minimum, self.minimum].into_iter().flatten().fold(config.floor, Difficulty::max);
        let facts = ChannelFacts {
            account: logins.account().clone(),
            worker: logins.first().name.clone(),
            client: self.client(),
            password: terms.password.map(String::from),
            floor: least,
            ceiling: terms.maximum.map_or(config.ceiling, |maximum| maximum.min(config.ceiling)),
        };
        let start = terms.start.unwrap_or(config.start).within(facts.floor, facts.ceiling);
        subscription.channel.set_difficulty(start, now.moment);
        let mut pacing = Pacing::new(Arc::new(facts), now.moment);
        if let Some(wish) = self.suggested.take() {
            pacing.suggest(wish, now.moment);
        }
        let opening = Box::new(pacing.opening(Some(start), now));
        self.effects.push_back(Effect::Open { channel: CHANNEL, opening });
        // What is known of the machine is in the facts now.
        (self.agent, self.hardware) = (None, None);
        let supply = Supply::Opening;
        let since = now.moment;
        self.phase = Phase::Working(Working { subscription, logins, pacing, supply, since, accepted: 0 });
    }

    pub(crate) fn opened(&mut self, now: Now, decision: Option<Decision>) {
        if self.is_closed() {
            return;
        }
        let Some(working) = self.phase.working() else { return };
        if !matches!(working.supply, Supply::Opening) {
            return;
        }
        working.supply = Supply::Open { next: None, told: None };
        if let Some(difficulty) = working.pacing.decide(decision, now.moment) {
            working.subscription.channel.set_difficulty(difficulty, now.moment);
        }
        let account = working.logins.account().clone();
        self.heed_minimum(now);
        self.effects.push_back(Effect::Established);
        self.effects.push_back(Effect::Supply { channel: CHANNEL, account });
    }

    pub(crate) fn reviewed(&mut self, now: Now, decision: Option<Decision>) {
        let Some(working) = self.phase.working() else { return };
        if matches!(working.supply, Supply::Opening) {
            return;
        }
        if let Some(difficulty) = working.pacing.decide(decision, now.moment) {
            let difficulty = self.minimum.map_or(difficulty, |minimum| minimum.max(difficulty));
            self.work_at(difficulty, now);
        }
    }

    /// Changes the difficulty. It reaches the miner with work it does not know (V1-39, V1-41).
    fn work_at(&mut self, difficulty: Difficulty, now: Now) {
        let Some(working) = self.phase.working() else { return };
        let channel = &mut working.subscription.channel;
        let before = channel.difficulty();
        if !channel.set_difficulty(difficulty, now.moment) {
            return;
        }
        if before < difficulty {
            self.run.raised(now.moment);
        }
        if matches!(working.supply, Supply::Open { next: None, told: Some(_) }) {
            self.ask_fresh_work();
        }
    }
}
