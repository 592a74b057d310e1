//! The loop that runs a session over a socket. It knows no protocol: bytes and answers go in, bytes and effects come
//! out. One task per connection owns its session, so that nothing on the share path is locked.

mod effects;
mod questions;
mod supplies;

use std::collections::VecDeque;
use std::future::poll_fn;
use std::io;
use std::net::IpAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use sluice_core::ids::{ConnectionId, Protocol, ShareSeq};
use sluice_core::session::{Answer, ChannelKind, Close, Session};
use sluice_core::share::ShareRecord;
use sluice_core::units::Moment;
use sluice_ledger::{AppendError, Ledger};
use sluice_policy::Policies;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::sync::{oneshot, watch};

use crate::blocks::BlockDesk;
use crate::clock::Clock;
use crate::jobs::{Board, Class, Published};
use crate::metrics::Metrics;

use super::handshakes::Place;
use super::prefixes::{Holder, Prefixes};
use super::wire::{Moved, Pending};
use effects::Batch;
use questions::{Questions, Running};
use supplies::{News, Supplies};

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
    pub prefixes: Prefixes,
    pub metrics: Arc<Metrics>,
    /// Why connections are to end; `None` while they may go on.
    pub closing: watch::Receiver<Option<Close>>,
    /// Whether newcomers are let in: not while no node serves (V1-80).
    pub accepting: watch::Receiver<bool>,
}

/// How a protocol picks its form of a job.
pub type Pick<W> = fn(&Published) -> &Arc<W>;

/// A connection as it comes from the door.
#[derive(Debug)]
pub struct Newcomer {
    pub protocol: Protocol,
    pub id: ConnectionId,
    /// Who it is: behind a proxy that tells, the miner.
    pub address: IpAddr,
    /// Its place among those in a handshake, where the session makes that itself (N-22).
    pub place: Option<Place>,
}

/// How far the peer is.
enum Arrival {
    Coming {
        /// Given back as soon as the peer has come through.
        _place: Option<Place>,
    },
    Established,
}

/// A connection and what it waits for.
pub struct Connection<S: Session, T> {
    shared: Arc<Shared>,
    protocol: Protocol,
    id: ConnectionId,
    address: IpAddr,
    session: S,
    stream: T,
    pick: Pick<S::Work>,
    pending: Pending,
    arrival: Arrival,
    /// A login: one at a time.
    asked: Option<Running>,
    questions: Questions,
    supplies: Supplies,
    /// Whose coinbases it gets: decided when a channel opens, by what the peer has said of itself.
    class: Class,
    /// Open channels by kind, in the order of [`ChannelKind::ALL`].
    channels: [u32; ChannelKind::ALL.len()],
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
    /// It was the last thing that happened.
    rang: bool,
}

/// Rings so late that nothing waits for it.
const FAR: Duration = Duration::from_secs(30 * 24 * 3600);

impl Alarm {
    fn new(clock: Clock) -> Self {
        let at = clock.moment().after(FAR);
        Self { sleep: Box::pin(tokio::time::sleep_until(clock.instant(at))), at, rang: false }
    }

    /// Rings at `deadline` or before.
    fn set(&mut self, clock: Clock, deadline: Option<Moment>) {
        let Some(deadline) = deadline.filter(|deadline| *deadline < self.at) else { return };
        self.at = deadline;
        self.sleep.as_mut().reset(clock.instant(deadline));
    }

    /// Whether `deadline` has passed, asked in each round before anything is waited for: a peer that never stops talking
    /// does not keep it from being noticed. Not twice in a row, so that a deadline that stays does not keep the peer from
    /// being heard either.
    fn is_due(&mut self, clock: Clock, deadline: Option<Moment>) -> bool {
        self.rang = !self.rang && deadline.is_some_and(|deadline| deadline <= clock.moment());
        self.rang
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
    News(News),
    Committed,
    Timeout,
    Closing(Close),
}

impl<S: Session, T: AsyncRead + AsyncWrite + Unpin + Send> Connection<S, T> {
    pub fn new(shared: Arc<Shared>, newcomer: Newcomer, session: S, stream: T, pick: Pick<S::Work>) -> Self {
        let mut committed = shared.ledger.committed();
        committed.mark_unchanged();
        let Newcomer { protocol, id, address, place } = newcomer;
        Self {
            protocol,
            id,
            address,
            session,
            stream,
            pick,
            pending: Pending::default(),
            arrival: Arrival::Coming { _place: place },
            asked: None,
            questions: Questions::default(),
            supplies: Supplies::default(),
            class: Class::DEFAULT,
            channels: [0; ChannelKind::ALL.len()],
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

    fn holder(&self) -> Holder {
        Holder { protocol: self.protocol, address: self.address }
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
        let parked = self.session.park();
        self.park(parked);
        let metrics = &self.shared.metrics;
        for (kind, open) in ChannelKind::ALL.into_iter().zip(self.channels) {
            metrics.channels_closed(self.protocol, kind, open);
        }
        if let Arrival::Coming { .. } = self.arrival {
            metrics.handshake_failed(self.protocol, why);
        }
        metrics.connection_closed(self.protocol, why);
        why
    }

    async fn drive(&mut self) -> Close {
        loop {
            if let Some(why) = self.settle().await {
                self.say_goodbye().await;
                return why;
            }
            let event = self.next_event().await;
            if let Some(why) = self.on_event(event).await {
                return why;
            }
        }
    }

    /// Runs effects until nothing is left to do but wait. Returns why to close.
    async fn settle(&mut self) -> Option<Close> {
        let (mut batch, mut closed) = (Batch::default(), None);
        loop {
            let now = self.shared.clock.now();
            self.pending.feed(&mut self.session, now);
            if closed.is_none() {
                closed = self.run_effects(&mut batch).await;
            }
            let Batch { records, blocks, changes, .. } = std::mem::take(&mut batch);
            if self.log(&records, blocks).await.is_err() {
                return Some(Close::Shutdown);
            }
            self.redeem();
            if let Some(why) = closed {
                return Some(why);
            }
            if !changes.is_empty() {
                // Boxed, as all that is rare and large: every connection would keep room for it.
                Box::pin(self.change_supplies(changes)).await;
            }
            if !self.pending.has_output() && !self.holds(now.moment) {
                self.session.transmit(now, &mut self.pending.output);
                if self.write_now().await.is_err() {
                    return Some(Close::Io);
                }
            }
            // What is in the log, what was offered and what is sent may lead to more.
            closed = self.run_effects(&mut batch).await;
            if !batch.goes_on && !self.can_feed() {
                return None;
            }
        }
    }

    /// Shares into the log; their blocks learn where they are.
    async fn log(
        &mut self,
        records: &[ShareRecord],
        blocks: Vec<oneshot::Sender<ShareSeq>>,
    ) -> Result<(), AppendError> {
        if records.is_empty() {
            return Ok(());
        }
        let seq = self.shared.ledger.append(records).await?;
        self.recorded += u64::try_from(records.len()).unwrap_or(0);
        self.tickets.push_back((seq, self.recorded));
        self.count(records);
        for block in blocks {
            // The block task may have ended with the pool.
            let _ = block.send(seq);
        }
        Ok(())
    }

    /// Whether replies wait for the answer of a policy that comes in a moment: the first job of a miner that does not
    /// wait between its requests goes out together with what is before it.
    fn holds(&mut self, now: Moment) -> bool {
        let expects = self.supplies.is_nothing() && (self.asked.is_some() || !self.questions.is_empty());
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
        !self.pending.input.is_empty() && self.session.wants_input()
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

    async fn next_event(&mut self) -> Event {
        if self.pending.has_output() && self.stuck_since.is_none() {
            self.stuck_since = Some(self.shared.clock.moment());
        }
        let stuck = self.stuck_since.map(|since| since.after(SLOW_READER));
        let held = if let Hold::Until(end) = self.hold { Some(end) } else { None };
        let deadline = [self.session.deadline(), stuck, held];
        let deadline = deadline.into_iter().flatten().min();
        let clock = self.shared.clock;
        if self.alarm.is_due(clock, deadline) {
            return Event::Timeout;
        }
        self.alarm.set(clock, deadline);
        let waits_for_commit = !self.tickets.is_empty();
        let Self { pending, stream, session, asked, questions, supplies, committed, closing, alarm, .. } =
            self;
        tokio::select! {
            biased;
            answer = answered(asked), if asked.is_some() => Event::Answer(answer),
            // Before the socket: a channel is not to wait because its neighbours never stop talking.
            answer = questions.answer(), if !questions.is_empty() => Event::Reviewed(answer),
            news = supplies.news(), if !supplies.is_nothing() => Event::News(news),
            moved = poll_fn(|context| pending.poll_move(context, stream, session, || clock.now())) => Event::Moved(moved),
            changed = committed.changed(), if waits_for_commit => match changed {
                Ok(()) => Event::Committed,
                // The log has ended: nothing can be acknowledged any more.
                Err(_) => Event::Closing(Close::Shutdown),
            },
            () = alarm.rings(clock) => Event::Timeout,
            why = close_wanted(closing) => Event::Closing(why),
        }
    }

    async fn on_event(&mut self, event: Event) -> Option<Close> {
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
            Event::Reviewed(answer) => self.session.answer(now, answer),
            Event::News(news) => self.on_news(news).await,
            Event::Committed => {}
            Event::Timeout => {
                if self.stuck_since.is_some_and(|since| now.moment.since(since) >= SLOW_READER) {
                    return Some(Close::SlowReader);
                }
                self.session.timeout(now);
            }
            Event::Closing(why) => {
                // What is in the log by now is acknowledged with the last words.
                self.redeem();
                self.session.shut_down(now, why);
            }
        }
        None
    }

    /// Writes what is left, for a moment: the peer is to learn why.
    async fn say_goodbye(&mut self) {
        const FAREWELL: Duration = Duration::from_secs(1);
        const FAREWELL_BYTES: u64 = 64 * 1024;
        // Behind what is not written yet: nothing will supersede it any more.
        self.session.transmit(self.shared.clock.now(), &mut self.pending.output);
        let rest = std::mem::take(&mut self.pending.output);
        let written = self.pending.written;
        let stream = &mut self.stream;
        let farewell = async move {
            stream.write_all(&rest[written..]).await?;
            stream.shutdown().await?;
            // Closing with something unread would reset the connection, and the peer might lose what was said (S-14).
            if written < rest.len() {
                tokio::io::copy(&mut stream.take(FAREWELL_BYTES), &mut tokio::io::sink()).await?;
            }
            io::Result::Ok(())
        };
        // Best effort: the connection ends either way.
        let _ = tokio::time::timeout(FAREWELL, farewell).await;
    }
}

async fn answered(asked: &mut Option<Running>) -> Answer {
    match asked {
        Some(future) => future.await,
        None => std::future::pending().await,
    }
}

async fn close_wanted(closing: &mut watch::Receiver<Option<Close>>) -> Close {
    match closing.wait_for(Option::is_some).await {
        Ok(why) => why.unwrap_or(Close::Shutdown),
        Err(_) => Close::Shutdown,
    }
}

#[cfg(test)]
mod tests;
