//! What a connection's session asks for, done.

use std::sync::Arc;

use sluice_core::extranonce::{Parked, Reservation, ResumeToken};
use sluice_core::ids::{AccountName, ChannelId, Protocol, ShareSeq};
use sluice_core::policy::auth::{Login, Refusal};
use sluice_core::session::{Admission, Answer, Close, Effect, Note, Recipient, Session};
use sluice_core::share::{Reason, ShareRecord};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::oneshot;

use crate::blocks::Found;
use crate::jobs::Published;
use crate::metrics::LoginOutcome;

use super::supplies::News;
use super::{Arrival, Connection, Shared};

/// What effects lead to that is done for all of them together.
#[derive(Default)]
pub(super) struct Batch {
    pub(super) records: Vec<ShareRecord>,
    /// Blocks that are to learn where in the log the records are.
    pub(super) blocks: Vec<oneshot::Sender<ShareSeq>>,
    pub(super) changes: Vec<Change>,
    /// There was more than something to count.
    pub(super) goes_on: bool,
}

/// Of who is to have work.
pub(super) enum Change {
    Begin(ChannelId, AccountName),
    End(AccountName),
}

impl<S: Session, T: AsyncRead + AsyncWrite + Unpin + Send> Connection<S, T> {
    pub(super) async fn run_effects(&mut self, batch: &mut Batch) -> Option<Close> {
        while let Some(effect) = self.session.next_effect() {
            batch.goes_on |= !matches!(effect, Effect::Note(_) | Effect::Rejected(_));
            match effect {
                Effect::Record { share, account, worker } => batch.records.push(ShareRecord {
                    at: self.shared.clock.now().wall,
                    account,
                    worker,
                    protocol: self.protocol,
                    template: share.template,
                    difficulty: share.difficulty,
                    hash: share.hash,
                }),
                Effect::Block { block, job, worker, .. } => {
                    let (logged, receiver) = oneshot::channel();
                    batch.blocks.push(logged);
                    let found =
                        Found { block: *block, job, worker, protocol: self.protocol, logged: receiver };
                    Box::pin(self.shared.blocks.found(found)).await;
                }
                Effect::Supply { channel, account } => batch.changes.push(Change::Begin(channel, account)),
                Effect::Unsupply(account) => batch.changes.push(Change::End(account)),
                Effect::Close(why) => return Some(why),
                other => self.run_effect(other),
            }
        }
        None
    }

    /// What needs no waiting.
    fn run_effect(&mut self, effect: Effect) {
        match effect {
            Effect::Rejected(reason) => self.reject(reason),
            Effect::Reserve { channel, resume } => {
                let reservation = self.reserve(resume);
                self.session.answer(self.shared.clock.now(), Answer::Reserved(channel, reservation));
            }
            Effect::Release(prefix) => self.park(vec![Parked { prefix, resume: None }]),
            Effect::Authorize { channel, login } => {
                let shared = Arc::clone(&self.shared);
                self.asked = Some(Box::pin(authorize(shared, self.protocol, channel, *login)));
            }
            Effect::Open { channel, opening } => {
                let policies = self.shared.policies.clone();
                let question = async move { Answer::Opened(channel, policies.open(*opening).await) };
                self.ask(question, Answer::Opened(channel, None));
            }
            Effect::Review { channel, review } => {
                let policies = self.shared.policies.clone();
                let question = async move { Answer::Reviewed(channel, policies.review(*review).await) };
                self.ask(question, Answer::Reviewed(channel, None));
            }
            Effect::Name { channel, account, worker } => {
                let named = self.shared.ledger.worker(&account, &worker).ok().map(|(_, worker)| worker);
                self.session.answer(self.shared.clock.now(), Answer::Named(channel, named));
            }
            Effect::FreshWork { channel, account, sent } => {
                if let Some(published) = self.shared.board.fresh(&account, sent) {
                    self.offer(Recipient::Channel(channel), &published);
                }
            }
            // Its place among those in a handshake is free again.
            Effect::Established => self.arrival = Arrival::Established,
            Effect::Note(note) => self.note(note),
            // Taken by the caller.
            Effect::Record { .. }
            | Effect::Block { .. }
            | Effect::Supply { .. }
            | Effect::Unsupply(_)
            | Effect::Close(_) => {}
        }
    }

    /// Beside logins, which may follow at once.
    fn ask(&mut self, question: impl Future<Output = Answer> + Send + 'static, no_answer: Answer) {
        if self.questions.has_room() {
            self.questions.ask(Box::pin(question));
        } else {
            self.session.answer(self.shared.clock.now(), no_answer);
        }
    }

    fn note(&mut self, note: Note) {
        let (metrics, protocol) = (&self.shared.metrics, self.protocol);
        match note {
            Note::ChannelOpened(kind) => {
                metrics.channel_opened(protocol, kind);
                if let Some(open) = self.channels.get_mut(kind as usize) {
                    *open += 1;
                }
            }
            Note::ChannelClosed(kind) => {
                metrics.channels_closed(protocol, kind, 1);
                if let Some(open) = self.channels.get_mut(kind as usize) {
                    *open = open.saturating_sub(1);
                }
            }
            Note::ChannelRefused(code) => metrics.channel_refused(protocol, code),
            Note::Acknowledged { shares } => metrics.acknowledged(protocol, shares),
            Note::Strayed(what) => metrics.strayed(protocol, what),
        }
    }

    fn reject(&self, reason: Reason) {
        self.shared.metrics.share_rejected(self.protocol, reason);
        tracing::debug!(conn.id = self.id.0, protocol = %self.protocol, reason = reason.label(), "share rejected");
    }

    /// `None`: no prefix is free, or the protocol has as many channels as it may.
    fn reserve(&self, resume: Option<ResumeToken>) -> Option<Reservation> {
        let mut entropy = [0; 16];
        getrandom::fill(&mut entropy).ok()?;
        let fresh = ResumeToken(entropy);
        self.shared.prefixes.reserve(self.protocol, resume, fresh, self.shared.clock.moment())
    }

    pub(super) fn park(&self, parked: Vec<Parked>) {
        self.shared.prefixes.park(self.protocol, parked, self.shared.clock.moment());
    }

    /// In the order in which the session asked: an account may come again.
    pub(super) async fn change_supplies(&mut self, changes: Vec<Change>) {
        for change in changes {
            match change {
                Change::Begin(channel, account) => {
                    if let Some(published) = self.supplies.begin(&self.shared.board, account).await {
                        self.offer(Recipient::Channel(channel), &published);
                    }
                }
                Change::End(account) => self.supplies.end(&account),
            }
        }
    }

    fn offer(&mut self, to: Recipient, published: &Published) {
        self.session.offer(self.shared.clock.now(), to, (self.pick)(published));
        self.shared.metrics.jobs_sent(self.protocol, 1);
    }

    pub(super) async fn on_news(&mut self, news: News) {
        match news {
            News::Work(published) => {
                self.offer(Recipient::Everyone, &published);
                self.shared.metrics.fanout(self.protocol, published.at.elapsed());
            }
            News::NewPlan => {
                for published in Box::pin(self.supplies.renew(&self.shared.board)).await {
                    self.offer(Recipient::Everyone, &published);
                }
            }
        }
    }
}

async fn authorize(shared: Arc<Shared>, protocol: Protocol, channel: ChannelId, login: Login) -> Answer {
    let answer = shared.policies.authorize(login).await;
    let outcome = match &answer {
        Ok(_) => LoginOutcome::Granted,
        Err(Refusal::UnknownUser(_)) => LoginOutcome::UnknownUser,
        Err(Refusal::WrongPassword(_)) => LoginOutcome::WrongPassword,
        Err(Refusal::Forbidden(_)) => LoginOutcome::Forbidden,
        Err(Refusal::TryLater(_)) => LoginOutcome::TryLater,
    };
    shared.metrics.login(protocol, outcome);
    let admitted = answer.and_then(|grant| {
        let named = shared.ledger.worker(&grant.account, &grant.worker);
        let (account, worker) =
            named.map_err(|_| Refusal::TryLater("the pool knows as many workers as it can".to_owned()))?;
        if let Some(address) = &grant.payout_address {
            // Names are full: found out above.
            let _ = shared.ledger.payout_address(&grant.account, &address.to_string());
        }
        Ok(Box::new(Admission { grant, account, worker }))
    });
    Answer::Authorized(channel, admitted)
}
