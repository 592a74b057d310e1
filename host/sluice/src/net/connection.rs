//! The loop that runs a session over a socket. It knows no protocol: bytes and answers go in, bytes and effects come
//! out. One task per connection owns its session, so that nothing on the share path is locked.

use std::collections::VecDeque;
use std::future::{Future, poll_fn};
use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::Poll;
use std::time::Duration;

use sluice_core::extranonce::{Extranonces, ResumeToken};
use sluice_core::ids::{ConnectionId, JobId, Protocol, ShareSeq};
use sluice_core::policy::auth::{Login, Refusal};
use sluice_core::session::{Admission, Answer, Close, Effect, Session};
use sluice_core::share::{Reason, ShareRecord};
use sluice_core::units::Moment;
use sluice_ledger::Ledger;
use sluice_policy::Policies;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::{oneshot, watch};

use crate::blocks::{BlockDesk, Found};
use crate::clock::Clock;
use crate::jobs::{Board, Posting, Published};
use crate::metrics::{LoginOutcome, Metrics};

use super::wire::{Moved, Pending};

/// A peer that takes nothing for so long is gone (V1-3).
const SLOW_READER: Duration = Duration::from_secs(30);

/// Replies that wait for a policy's answer, to go out with what it brings.
#[derive(Clone, Copy, Debug)]
enum Hold {
    Nothing,
    Until(Moment),
    /// The answer did not come in time: they do not wait any more.
    Over,
}

/// A reply waits at most so long for company.
const HOLD: Duration = Duration::from_millis(50);

/// What every connection shares.
pub struct Shared {
    pub clock: Clock,
    pub ledger: Ledger,
    pub policies: Policies,
    pub board: Arc<Board>,
    pub blocks: BlockDesk,
    pub extranonces: Mutex<Extranonces>,
    pub metrics: Arc<Metrics>,
    /// Why connections are to end; `None` while they may go on.
    pub closing: watch::Receiver<Option<Close>>,
    /// Whether newcomers are let in: not while no node serves (V1-80).
    pub accepting: watch::Receiver<bool>,
}

/// How a protocol picks its form of a job.
pub type Pick<W> = fn(&Published) -> &Arc<W>;

type Asked = Option<Pin<Box<dyn Future<Output = Answer> + Send>>>;

/// A connection and what it waits for.
pub struct Connection<S: Session, T> {
    shared: Arc<Shared>,
    protocol: Protocol,
    id: ConnectionId,
    session: S,
    stream: T,
    pick: Pick<S::Work>,
    pending: Pending,
    /// A login, which holds up the input.
    asked: Asked,
    /// An opening or a review, which does not.
    review: Asked,
    posting: Option<Posting>,
    /// The newest job the session was offered; a fresh one is newer.
    offered: Option<JobId>,
    committed: watch::Receiver<ShareSeq>,
    /// Shares in the log's queue: the sequence to wait for, and how many records of this session that makes.
    tickets: VecDeque<(ShareSeq, u64)>,
    recorded: u64,
    stuck_since: Option<Moment>,
    hold: Hold,
    closing: watch::Receiver<Option<Close>>,
    alarm: Alarm,
}

/// A timer that is set again only where it would ring too late: deadlines move with every message, and most never come.
struct Alarm {
    sleep: Pin<Box<tokio::time::Sleep>>,
    at: Moment,
}

/// Rings so late that nothing waits for it.
const FAR: Duration = Duration::from_secs(30 * 24 * 3600);

impl Alarm {
    fn new(clock: Clock) -> Self {
        let at = clock.moment().after(FAR);
        Self { sleep: Box::pin(tokio::time::sleep_until(clock.instant(at))), at }
    }

    /// Rings at `deadline` or before.
    fn set(&mut self, clock: Clock, deadline: Option<Moment>) {
        let Some(deadline) = deadline.filter(|deadline| *deadline < self.at) else { return };
        self.at = deadline;
        self.sleep.as_mut().reset(clock.instant(deadline));
    }

    /// Waits until it rings, and takes it back to [`FAR`].
    async fn rings(&mut self, clock: Clock) {
        self.sleep.as_mut().await;
        self.at = clock.moment().after(FAR);
        self.sleep.as_mut().reset(clock.instant(self.at));
    }
}

/// What woke the loop.
enum Event {
    Moved(io::Result<Moved>),
    Answer(Answer),
    Reviewed(Answer),
    Work,
    NewPlan,
    Committed,
    Timeout,
    Closing(Close),
}

impl<S: Session, T: AsyncRead + AsyncWrite + Unpin + Send> Connection<S, T> {
    pub fn new(
        shared: Arc<Shared>,
        (protocol, id): (Protocol, ConnectionId),
        session: S,
        stream: T,
        pick: Pick<S::Work>,
    ) -> Self {
        let mut committed = shared.ledger.committed();
        committed.mark_unchanged();
        Self {
            protocol,
            id,
            session,
            stream,
            pick,
            pending: Pending::default(),
            asked: None,
            review: None,
            posting: None,
            offered: None,
            committed,
            tickets: VecDeque::new(),
            recorded: 0,
            stuck_since: None,
            hold: Hold::Nothing,
            closing: shared.closing.clone(),
            alarm: Alarm::new(shared.clock),
            shared,
        }
    }

    pub fn id(&self) -> ConnectionId {
        self.id
    }

    pub fn protocol(&self) -> Protocol {
        self.protocol
    }

    pub fn now(&self) -> Moment {
        self.shared.clock.moment()
    }

    pub fn metrics(&self) -> &Metrics {
        &self.shared.metrics
    }

    /// Runs the connection to its end. Once.
    pub async fn run(&mut self) -> Close {
        self.shared.metrics.connection_opened(self.protocol);
        let why = self.drive().await;
        if let Some(parked) = self.session.park() {
            let now = self.shared.clock.moment();
            self.shared.extranonces.lock().unwrap_or_else(PoisonError::into_inner).park(parked, now);
        }
        self.shared.metrics.connection_closed(self.protocol, why);
        why
    }

    async fn drive(&mut self) -> Close {
        loop {
            if let Some(why) = self.settle().await {
                self.say_goodbye().await;
                return why;
            }
            let event = self.next_event().await;
            if let Some(why) = self.on_event(event) {
                return why;
            }
        }
    }

    /// Runs effects until nothing is left to do but wait. Returns why to close.
    async fn settle(&mut self) -> Option<Close> {
        loop {
            let now = self.shared.clock.now();
            self.pending.feed(&mut self.session, now);
            let mut records = Vec::new();
            let mut waiting_blocks = Vec::new();
            let closed = self.run_effects(&mut records, &mut waiting_blocks).await;
            let idle = records.is_empty();
            if !idle {
                let Ok(seq) = self.shared.ledger.append(&records).await else { return Some(Close::Shutdown) };
                self.recorded += u64::try_from(records.len()).unwrap_or(0);
                self.tickets.push_back((seq, self.recorded));
                self.count(&records);
                for block in waiting_blocks {
                    // The block task may have ended with the pool.
                    let _ = block.send(seq);
                }
            }
            self.redeem();
            if let Some(why) = closed {
                return Some(why);
            }
            let subscribed = self.subscribe().await;
            if !self.pending.has_output() && !self.holds(now.moment) {
                self.session.transmit(now, &mut self.pending.output);
                if self.write_now().await.is_err() {
                    return Some(Close::Io);
                }
            }
            if idle && !subscribed && !self.can_feed() {
                return None;
            }
        }
    }

    /// Whether replies wait for the answer of a policy that comes in a moment: subscribe, authorize and the first job of
    /// a miner that does not wait between them go out together.
    fn holds(&mut self, now: Moment) -> bool {
        let expects = self.asked.is_some() || (self.review.is_some() && self.posting.is_none());
        self.hold = match self.hold {
            _ if !expects => Hold::Nothing,
            Hold::Nothing => Hold::Until(now.after(HOLD)),
            Hold::Until(end) if end <= now => Hold::Over,
            unchanged => unchanged,
        };
        matches!(self.hold, Hold::Until(_))
    }

    /// Writes what the socket takes without waiting, which is nearly always all.
    async fn write_now(&mut self) -> io::Result<()> {
        if !self.pending.has_output() {
            return Ok(());
        }
        let Self { pending, stream, .. } = self;
        let count = poll_fn(|context| Poll::Ready(pending.write_some(context, stream))).await?;
        self.shared.metrics.sent(self.protocol, u64::try_from(count).unwrap_or(0));
        Ok(())
    }

    fn can_feed(&self) -> bool {
        !self.pending.input.is_empty() && self.session.wants_input() && self.asked.is_none()
    }

    /// Counts what is in the log by now.
    fn redeem(&mut self) {
        let committed = *self.committed.borrow_and_update();
        let mut done = None;
        while let Some((seq, count)) = self.tickets.front().copied() {
            if seq > committed {
                break;
            }
            done = Some(count);
            self.tickets.pop_front();
        }
        if let Some(count) = done {
            self.session.committed(count);
        }
        if self.tickets.is_empty() {
            self.tickets = VecDeque::new();
        }
    }

    fn count(&self, records: &[ShareRecord]) {
        let work = records.iter().map(|record| record.difficulty.get()).sum();
        self.shared.metrics.shares_accepted(self.protocol, u64::try_from(records.len()).unwrap_or(0), work);
    }

    async fn run_effects(
        &mut self,
        records: &mut Vec<ShareRecord>,
        waiting_blocks: &mut Vec<oneshot::Sender<ShareSeq>>,
    ) -> Option<Close> {
        while let Some(effect) = self.session.next_effect() {
            match effect {
                Effect::Record { share, account, worker } => records.push(ShareRecord {
                    at: self.shared.clock.now().wall,
                    account,
                    worker,
                    protocol: self.protocol,
                    template: share.template,
                    difficulty: share.difficulty,
                    hash: share.hash,
                }),
                Effect::Rejected(reason) => self.reject(reason),
                Effect::Block { block, job, worker, .. } => {
                    let (logged, receiver) = oneshot::channel();
                    waiting_blocks.push(logged);
                    let found =
                        Found { block: *block, job, worker, protocol: self.protocol, logged: receiver };
                    self.shared.blocks.found(found).await;
                }
                Effect::Reserve { resume } => self.reserve(resume),
                Effect::Authorize(login) => {
                    self.asked = Some(Box::pin(authorize(Arc::clone(&self.shared), self.protocol, *login)));
                }
                // Beside a login, which may follow at once; no review is asked before the channel is open.
                Effect::Open(opening) => {
                    let policies = self.shared.policies.clone();
                    self.review =
                        Some(Box::pin(async move { Answer::Opened(policies.open(*opening).await) }));
                }
                Effect::Review(review) => {
                    let policies = self.shared.policies.clone();
                    self.review =
                        Some(Box::pin(async move { Answer::Reviewed(policies.review(*review).await) }));
                }
                Effect::FreshWork => self.offer_fresh(),
                Effect::Close(why) => return Some(why),
            }
        }
        None
    }

    fn reject(&self, reason: Reason) {
        self.shared.metrics.share_rejected(self.protocol, reason);
        tracing::debug!(conn.id = self.id.0, protocol = %self.protocol, reason = reason.label(), "share rejected");
    }

    fn reserve(&mut self, resume: Option<ResumeToken>) {
        let mut entropy = [0; 16];
        let fresh = getrandom::fill(&mut entropy).map(|()| ResumeToken(entropy));
        let now = self.shared.clock.now();
        let reservation = fresh.ok().and_then(|fresh| {
            let mut extranonces = self.shared.extranonces.lock().unwrap_or_else(PoisonError::into_inner);
            extranonces.reserve(resume, fresh, now.moment)
        });
        self.session.answer(now, Answer::Reserved(reservation));
    }

    fn offer_fresh(&mut self) {
        let Some(account) = self.session.wants_work().cloned() else { return };
        if let Some(published) = self.shared.board.fresh(&account, self.offered) {
            self.offered = Some(published.job.id);
            self.session.offer(self.shared.clock.now(), (self.pick)(&published));
            self.shared.metrics.jobs_sent(self.protocol, 1);
        }
    }

    /// Goes to the board once the session is ready for work. Returns whether it did: an offer may have effects.
    async fn subscribe(&mut self) -> bool {
        if self.posting.is_some() {
            return false;
        }
        let Some(account) = self.session.wants_work().cloned() else { return false };
        let mut posting = self.shared.board.subscribe(&account).await;
        self.offer(&mut posting);
        self.posting = Some(posting);
        true
    }

    fn offer(&mut self, posting: &mut Posting) -> Option<Arc<Published>> {
        let published = posting.borrow_and_update().clone()?;
        self.offered = Some(published.job.id);
        self.session.offer(self.shared.clock.now(), (self.pick)(&published));
        self.shared.metrics.jobs_sent(self.protocol, 1);
        Some(published)
    }

    async fn next_event(&mut self) -> Event {
        if self.pending.has_output() && self.stuck_since.is_none() {
            self.stuck_since = Some(self.shared.clock.moment());
        }
        let stuck = self.stuck_since.map(|since| since.after(SLOW_READER));
        let held = if let Hold::Until(end) = self.hold { Some(end) } else { None };
        let deadline = [self.session.deadline(), stuck, held];
        let deadline = deadline.into_iter().flatten().min();
        let clock = self.shared.clock;
        self.alarm.set(clock, deadline);
        let waits_for_commit = !self.tickets.is_empty();
        let Self { pending, stream, session, asked, review, posting, committed, closing, alarm, .. } = self;
        tokio::select! {
            biased;
            answer = answered(asked), if asked.is_some() => Event::Answer(answer),
            changed = changed(posting), if posting.is_some() => if changed { Event::Work } else { Event::NewPlan },
            moved = poll_fn(|context| pending.poll_move(context, stream, session, || clock.now())) => Event::Moved(moved),
            changed = committed.changed(), if waits_for_commit => match changed {
                Ok(()) => Event::Committed,
                // The log has ended: nothing can be acknowledged any more.
                Err(_) => Event::Closing(Close::Shutdown),
            },
            answer = answered(review), if review.is_some() => Event::Reviewed(answer),
            () = alarm.rings(clock) => Event::Timeout,
            why = close_wanted(closing) => Event::Closing(why),
        }
    }

    fn on_event(&mut self, event: Event) -> Option<Close> {
        let now = self.shared.clock.now();
        match event {
            Event::Moved(Ok(Moved::Read(count))) => {
                self.shared.metrics.received(self.protocol, u64::try_from(count).unwrap_or(0));
            }
            Event::Moved(Ok(Moved::Wrote(count))) => {
                self.stuck_since = None;
                self.shared.metrics.sent(self.protocol, u64::try_from(count).unwrap_or(0));
            }
            Event::Moved(Ok(Moved::EndOfFile)) => return Some(Close::Peer),
            Event::Moved(Err(_)) => return Some(Close::Io),
            Event::Answer(answer) => {
                self.asked = None;
                self.session.answer(now, answer);
            }
            Event::Reviewed(answer) => {
                self.review = None;
                self.session.answer(now, answer);
            }
            Event::Work => {
                if let Some(mut posting) = self.posting.take() {
                    if let Some(published) = self.offer(&mut posting) {
                        self.shared.metrics.fanout(self.protocol, published.at.elapsed());
                    }
                    self.posting = Some(posting);
                }
            }
            // Another plan: the next settle() subscribes anew.
            Event::NewPlan => self.posting = None,
            Event::Committed => {}
            Event::Timeout => {
                if self.stuck_since.is_some_and(|since| now.moment.since(since) >= SLOW_READER) {
                    return Some(Close::SlowReader);
                }
                self.session.timeout(now);
            }
            Event::Closing(why) => self.session.shut_down(now, why),
        }
        None
    }

    /// Writes what is left, for a moment: the peer is to learn why.
    async fn say_goodbye(&mut self) {
        const FAREWELL: Duration = Duration::from_secs(1);
        if !self.pending.has_output() {
            self.session.transmit(self.shared.clock.now(), &mut self.pending.output);
        }
        let rest = std::mem::take(&mut self.pending.output);
        let written = self.pending.written;
        let stream = &mut self.stream;
        let farewell = async move {
            use tokio::io::AsyncWriteExt;
            stream.write_all(&rest[written..]).await?;
            stream.shutdown().await
        };
        // Best effort: the connection ends either way.
        let _ = tokio::time::timeout(FAREWELL, farewell).await;
    }
}

async fn authorize(shared: Arc<Shared>, protocol: Protocol, login: Login) -> Answer {
    let answer = shared.policies.authorize(login).await;
    let outcome = match &answer {
        Ok(_) => LoginOutcome::Granted,
        Err(Refusal::UnknownUser(_)) => LoginOutcome::UnknownUser,
        Err(Refusal::WrongPassword(_)) => LoginOutcome::WrongPassword,
        Err(Refusal::Forbidden(_)) => LoginOutcome::Forbidden,
        Err(Refusal::TryLater(_)) => LoginOutcome::TryLater,
    };
    shared.metrics.login(protocol, outcome);
    Answer::Authorized(answer.and_then(|grant| {
        let named = shared.ledger.worker(&grant.account, &grant.worker);
        let (account, worker) =
            named.map_err(|_| Refusal::TryLater("the pool knows as many workers as it can".to_owned()))?;
        if let Some(address) = &grant.payout_address {
            // Names are full: found out above.
            let _ = shared.ledger.payout_address(&grant.account, &address.to_string());
        }
        Ok(Box::new(Admission { grant, account, worker }))
    }))
}

async fn answered(asked: &mut Asked) -> Answer {
    match asked {
        Some(future) => future.await,
        None => std::future::pending().await,
    }
}

/// True when there is other work, false when the line was closed.
async fn changed(posting: &mut Option<Posting>) -> bool {
    match posting {
        Some(posting) => posting.changed().await.is_ok(),
        None => std::future::pending().await,
    }
}

async fn close_wanted(closing: &mut watch::Receiver<Option<Close>>) -> Close {
    match closing.wait_for(Option::is_some).await {
        Ok(why) => why.unwrap_or(Close::Shutdown),
        Err(_) => Close::Shutdown,
    }
}
