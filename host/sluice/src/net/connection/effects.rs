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
use super::{Arrival, Connection, Holder, Shared};

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
            Effect::Release { prefix, used } => self.park(vec![Parked { prefix, resume: None, used }]),
            Effect::Authorize { channel, login } => {
                let login = self.authorize(channel, *login);
                self.asked = Some(Box::pin(login));
            }
            Effect::Open { channel, opening } => {
                // What is known of the machine by now: its channel has no work yet.
                self.class = self.shared.board.class_of(&opening.channel.client);
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
                if let Some(published) = self.shared.board.fresh(&account, self.class, sent) {
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
            Note::ChannelRefused(code) => {
                metrics.channel_refused(protocol, code);
                self.tell(code, "channel refused");
            }
            Note::UpdateRefused(code) => {
                metrics.update_refused(protocol, code);
                self.tell(code, "channel not changed");
            }
            Note::Acknowledged { shares } => metrics.acknowledged(protocol, shares),
            Note::Strayed(what) => {
                metrics.strayed(protocol, what);
                self.tell(what, "not as specified, let pass");
            }
        }
    }

    fn reject(&self, reason: Reason) {
        self.shared.metrics.share_rejected(self.protocol, reason);
        self.tell(reason.label(), "share rejected");
    }

    /// A line in the log for what is counted too. `code` is of a closed set.
    fn tell(&self, code: &'static str, what: &'static str) {
        let Self { id, address, protocol, .. } = self;
        tracing::debug!(conn.id = id.0, peer.addr = %address, %protocol, code, "{what}");
    }

    /// `None`: there are as many channels as there may be.
    fn reserve(&self, resume: Option<ResumeToken>) -> Option<Reservation> {
        let mut entropy = [0; 16];
        getrandom::fill(&mut entropy).ok()?;
        let (fresh, now) = (ResumeToken(entropy), self.shared.clock.moment());
        let reserved = self.shared.prefixes.reserve(self.holder(), resume, fresh, now);
        reserved.inspect_err(|full| self.tell(full.label(), "no place for a channel")).ok()
    }

    pub(super) fn park(&self, parked: Vec<Parked>) {
        self.shared.prefixes.park(self.holder(), parked, self.shared.clock.moment());
    }

    /// Asks the policy. Its words for a refusal go into the log: an SV2 miner only gets a code.
    fn authorize(&self, channel: ChannelId, login: Login) -> impl Future<Output = Answer> + Send + 'static {
        let (shared, holder, id) = (Arc::clone(&self.shared), self.holder(), self.id);
        let username = shortened(&login.username);
        async move {
            let answer = authorize(shared, holder.protocol, login).await;
            if let Err(refusal) = &answer {
                let (outcome, said) = (LoginOutcome::of(refusal).label(), refusal.text());
                let Holder { protocol, address } = holder;
                // Debug: what a peer chose is escaped.
                tracing::debug!(
                    conn.id = id.0, peer.addr = %address, %protocol, outcome, username = ?username, said,
                    "login refused"
                );
            }
            Answer::Authorized(channel, answer)
        }
    }

    /// In the order in which the session asked: an account may come again.
    pub(super) async fn change_supplies(&mut self, changes: Vec<Change>) {
        for change in changes {
            match change {
                Change::Begin(channel, account) => {
                    let line = (&*self.shared.board, self.class);
                    if let Some(published) = self.supplies.begin(line, account).await {
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
                let line = (&*self.shared.board, self.class);
                for published in Box::pin(self.supplies.renew(line)).await {
                    self.offer(Recipient::Everyone, &published);
                }
            }
        }
    }
}

async fn authorize(shared: Arc<Shared>, protocol: Protocol, login: Login) -> Result<Box<Admission>, Refusal> {
    let answer = shared.policies.authorize(login).await;
    shared.metrics.login(protocol, answer.as_ref().map_or_else(LoginOutcome::of, |_| LoginOutcome::Granted));
    let grant = answer?;
    let named = shared.ledger.worker(&grant.account, &grant.worker);
    let (account, worker) =
        named.map_err(|_| Refusal::TryLater("the pool knows as many workers as it can".to_owned()))?;
    if let Some(address) = &grant.payout_address {
        // Names are full: found out above.
        let _ = shared.ledger.payout_address(&grant.account, &address.to_string());
    }
    Ok(Box::new(Admission { grant, account, worker }))
}

/// As much of a user's name as the log takes.
fn shortened(username: &str) -> String {
    /// Two of the longest account names fit, and every address.
    const USERNAME_LIMIT: usize = 256;
    username.chars().take(USERNAME_LIMIT).collect()
}
