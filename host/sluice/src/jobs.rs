//! The job board: work for every connection, made once for all who share a coinbase.
//!
//! A new template becomes [`Work`]; the payout policy says what its coinbase pays; a [`Job`] is made and published on a
//! watch that connections hold. Where the split depends on the finder (solo) there is one watch per account.

mod split;

use std::collections::HashMap;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use sluice_core::coinbase::{Payment, PoolMark};
use sluice_core::ids::{AccountName, JobId};
use sluice_core::job::{Job, TipNumber, Work};
use sluice_core::policy::payout::Plan;
use sluice_core::template::Template;
use sluice_core::units::{Moment, VersionMask};
use sluice_stratum_v1::Announcement;
use sluice_stratum_v2::Broadcast;
use sluice_stratum_v2::messages::TailError;
use tokio::sync::{mpsc, watch};
use tokio::time::Instant;

use crate::clock::Clock;
use crate::metrics::Metrics;
pub use split::{Patience, Splitter};

/// A job, and the form in which each protocol sends it: one field for each, picked by [`crate::net::connection::Pick`].
#[derive(Debug)]
pub struct Published {
    pub job: Arc<Job>,
    pub stratum_v1: Arc<Announcement>,
    pub stratum_v2: Arc<Broadcast>,
    /// When it was put on the board, to measure the fan-out.
    pub at: Instant,
}

impl Published {
    /// Encodes the job for each protocol, once.
    fn new(job: Job) -> Result<Self, TailError> {
        let job = Arc::new(job);
        let stratum_v1 = Arc::new(Announcement::new(Arc::clone(&job)));
        let stratum_v2 = Arc::new(Broadcast::new(Arc::clone(&job))?);
        Ok(Self { job, stratum_v1, stratum_v2, at: Instant::now() })
    }
}

/// Work as one coinbase sees it; `None` until the first job is made.
pub type Posting = watch::Receiver<Option<Arc<Published>>>;

/// Coinbases of accounts that are kept whether or not somebody mines to them; beyond it those that nobody holds are
/// forgotten. Those that are held are no more than there are channels.
const COINBASES_LIMIT: usize = 200_000;
/// Accounts that wait for their first job. When it is full, the connection waits for a place.
const REQUESTS_LIMIT: usize = 1024;

/// Whose work a posting is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Coinbase {
    /// One for all accounts: a connection needs it once.
    Everybodys,
    /// The account's own, which depends on the finder.
    Own,
}

/// A coinbase: everybody's, or one account's.
pub(crate) type Key = Option<AccountName>;

struct Line {
    posted: watch::Sender<Option<Arc<Published>>>,
    /// What its coinbase pays, for the present work.
    payments: Option<Arc<[Payment]>>,
    /// The newest job made to carry a changed difficulty (V1-41); shared by all who need one.
    variant: Option<Arc<Published>>,
}

struct Inner {
    plan: Plan,
    work: Option<Arc<Work>>,
    lines: HashMap<Key, Line>,
}

/// What the board is made with.
pub struct BoardConfig {
    pub mark: PoolMark,
    pub rollable: VersionMask,
    /// How often a job goes out without a new template (V1-54).
    pub refresh: Duration,
}

pub struct Board {
    inner: Mutex<Inner>,
    config: BoardConfig,
    clock: Clock,
    next: AtomicU32,
    requests: mpsc::Sender<AccountName>,
    metrics: Arc<Metrics>,
    /// The present job of any line, for the status page.
    newest: watch::Sender<Option<Arc<Published>>>,
}

impl Board {
    /// The board, and the task that keeps it. `seed` makes job ids and coinbase nonces differ from an earlier run's.
    pub fn new(
        config: BoardConfig,
        clock: Clock,
        plan: Plan,
        seed: u32,
        metrics: Arc<Metrics>,
    ) -> (Arc<Self>, mpsc::Receiver<AccountName>) {
        let (requests, receiver) = mpsc::channel(REQUESTS_LIMIT);
        let board = Self {
            inner: Mutex::new(Inner { plan, work: None, lines: HashMap::new() }),
            config,
            clock,
            next: AtomicU32::new(seed),
            requests,
            metrics,
            newest: watch::Sender::new(None),
        };
        (Arc::new(board), receiver)
    }

    /// The work of an account. Closed when the plan changes: subscribe again then.
    pub async fn subscribe(&self, account: &AccountName) -> (Posting, Coinbase) {
        let (posting, coinbase, is_new) = {
            let mut inner = self.lock();
            let key = inner.plan.per_finder.then(|| account.clone());
            if key.is_some() && inner.lines.len() >= COINBASES_LIMIT {
                inner.lines.retain(|_, line| line.posted.receiver_count() > 0);
            }
            let is_new = !inner.lines.contains_key(&key);
            let line = inner.lines.entry(key.clone()).or_insert_with(Line::new);
            let coinbase = if key.is_some() { Coinbase::Own } else { Coinbase::Everybodys };
            (line.posted.subscribe(), coinbase, is_new)
        };
        if is_new && coinbase == Coinbase::Own {
            // The board's task has ended only when the pool stops.
            let _ = self.requests.send(account.clone()).await;
        }
        (posting, coinbase)
    }

    /// A job made after `sent`, to carry a changed difficulty: one that was made for somebody else, or a new one.
    pub fn fresh(&self, account: &AccountName, sent: Option<JobId>) -> Option<Arc<Published>> {
        let mut inner = self.lock();
        let key = inner.plan.per_finder.then(|| account.clone());
        let work = inner.work.clone()?;
        let line = inner.lines.get_mut(&key)?;
        let candidates = [line.posted.borrow().clone(), line.variant.clone()];
        let newest = candidates.into_iter().flatten().max_by_key(|published| published.job.id)?;
        if sent.is_none_or(|sent| is_newer(newest.job.id, sent)) {
            return Some(newest);
        }
        let variant = self.publishable(work, line.payments.clone()?, key.as_ref())?;
        line.variant = Some(Arc::clone(&variant));
        Some(variant)
    }

    /// The newest job on the board.
    pub fn newest(&self) -> watch::Receiver<Option<Arc<Published>>> {
        self.newest.subscribe()
    }

    fn work(&self) -> Option<Arc<Work>> {
        self.lock().work.clone()
    }

    fn plan(&self) -> Plan {
        self.lock().plan
    }

    /// Another plan: all lines are closed, and connections subscribe again.
    pub(crate) fn set_plan(&self, plan: Plan) {
        let mut inner = self.lock();
        if plan.per_finder != inner.plan.per_finder {
            inner.lines.clear();
        }
        inner.plan = plan;
    }

    /// Other work: what the coinbases of the last paid does not fit it.
    pub(crate) fn set_work(&self, work: &Arc<Work>) {
        let mut inner = self.lock();
        inner.work = Some(Arc::clone(work));
        for line in inner.lines.values_mut() {
            line.payments = None;
            line.variant = None;
        }
    }

    /// Whose coinbases are wanted, in no order; those that nobody holds any more are forgotten.
    fn wanted(&self) -> Vec<Key> {
        let mut inner = self.lock();
        if !inner.plan.per_finder {
            return vec![None];
        }
        inner.lines.retain(|key, line| key.is_none() || line.posted.receiver_count() > 0);
        inner.lines.keys().filter(|key| key.is_some()).cloned().collect()
    }

    /// Makes a job and hands it to everybody on the line.
    pub(crate) fn publish(&self, key: &Key, payments: Arc<[Payment]>) {
        let mut inner = self.lock();
        let Some(work) = inner.work.clone() else { return };
        let Some(published) = self.publishable(work, Arc::clone(&payments), key.as_ref()) else { return };
        let line = inner.lines.entry(key.clone()).or_insert_with(Line::new);
        line.payments = Some(payments);
        line.variant = None;
        line.posted.send_replace(Some(Arc::clone(&published)));
        self.newest.send_replace(Some(published));
    }

    /// The same work with a new nonce and time, for everybody (V1-54).
    fn refresh(&self) {
        let inner = self.lock();
        let due: Vec<(Key, Arc<[Payment]>)> = inner
            .lines
            .iter()
            .filter(|(key, line)| key.is_none() || line.posted.receiver_count() > 0)
            .filter_map(|(key, line)| Some((key.clone(), line.payments.clone()?)))
            .collect();
        drop(inner);
        for (key, payments) in due {
            self.publish(&key, payments);
        }
    }

    fn publishable(
        &self,
        work: Arc<Work>,
        payments: Arc<[Payment]>,
        owner: Option<&AccountName>,
    ) -> Option<Arc<Published>> {
        let now = self.clock.now();
        let id = JobId(self.next.fetch_add(1, Ordering::Relaxed));
        let height = work.template.height;
        // Unlike any nonce of an earlier run: the time is in it.
        let nonce = (now.wall.0 << 20) ^ u64::from(id.0);
        let made = Job::new((id, nonce), work, payments, &self.config.mark, now)
            .map_err(anyhow::Error::from)
            .and_then(|job| Ok(Published::new(job.owned_by(owner.cloned()))?));
        match made {
            Ok(published) => {
                self.metrics.job_built(height.saturating_sub(1));
                Some(Arc::new(published))
            }
            Err(error) => {
                tracing::error!(%error, height, "job not made");
                None
            }
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Line {
    fn new() -> Self {
        Self { posted: watch::Sender::new(None), payments: None, variant: None }
    }
}

/// Ids count up and wrap.
fn is_newer(a: JobId, b: JobId) -> bool {
    a.0.wrapping_sub(b.0).wrapping_sub(1) < u32::MAX / 2
}

/// What makes the board's task act.
enum Event {
    Template(Arc<Template>),
    Plan,
    Account(AccountName),
    Refresh,
    Stop,
}

/// Keeps the board until the node's watch closes.
pub async fn keep(
    board: Arc<Board>,
    splitter: Splitter,
    mut templates: watch::Receiver<Option<Arc<Template>>>,
    mut requests: mpsc::Receiver<AccountName>,
    mut plans: watch::Receiver<u64>,
) {
    let mut keeper = Keeper { board, splitter, tip: None, unanswered: false, plan_due: false };
    let mut refresh = tokio::time::interval(keeper.board.config.refresh);
    refresh.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    templates.mark_changed();
    loop {
        let event = tokio::select! {
            biased;
            changed = templates.changed() => match changed {
                Ok(()) => templates.borrow_and_update().clone().map_or(Event::Refresh, Event::Template),
                Err(_) => Event::Stop,
            },
            Some(account) = requests.recv() => Event::Account(account),
            Ok(()) = plans.changed() => Event::Plan,
            _ = refresh.tick() => Event::Refresh,
        };
        if keeper.plan_due {
            keeper.ask_plan().await;
        }
        match event {
            Event::Template(template) => {
                keeper.take(template);
                keeper.publish_all(&templates).await;
                refresh.reset();
            }
            Event::Plan => {
                keeper.ask_plan().await;
                keeper.publish_all(&templates).await;
            }
            Event::Account(account) => keeper.publish(&Some(account)).await,
            // What the policy did not answer in time is asked again, now without a hurry to lose.
            Event::Refresh if keeper.unanswered => keeper.publish_all(&templates).await,
            Event::Refresh => keeper.board.refresh(),
            Event::Stop => break,
        }
    }
}

/// The board's task, between two events.
struct Keeper {
    board: Arc<Board>,
    splitter: Splitter,
    tip: Option<(bitcoin::BlockHash, TipNumber, Moment)>,
    /// The payout policy did not answer for the present work; the last split stands.
    unanswered: bool,
    /// It has not said how it wants to be asked.
    plan_due: bool,
}

impl Keeper {
    fn take(&mut self, template: Arc<Template>) {
        let place = next_tip(&mut self.tip, &template, self.board.clock.moment());
        let work = Arc::new(Work::new(template, place, self.board.config.rollable));
        self.splitter.note_template(&work.template);
        self.board.set_work(&work);
        self.unanswered = false;
    }

    async fn ask_plan(&mut self) {
        match self.splitter.plan().await {
            Some(plan) => {
                self.board.set_plan(plan);
                self.plan_due = false;
            }
            None => self.plan_due = true,
        }
    }

    /// Work for everybody. Left when a newer template is there.
    async fn publish_all(&mut self, templates: &watch::Receiver<Option<Arc<Template>>>) {
        self.unanswered = false;
        for key in self.board.wanted() {
            self.publish(&key).await;
            if templates.has_changed().unwrap_or(false) {
                break;
            }
        }
    }

    async fn publish(&mut self, key: &Key) {
        let plan = self.board.plan();
        let Some(work) = self.board.work().filter(|_| key.is_some() == plan.per_finder) else { return };
        let patience = if self.unanswered { Patience::None } else { Patience::Short };
        let (payments, answered) = self.splitter.payments(&work, key.as_ref(), plan.window, patience).await;
        self.unanswered |= !answered;
        self.board.publish(key, payments);
    }
}

fn next_tip(
    tip: &mut Option<(bitcoin::BlockHash, TipNumber, Moment)>,
    template: &Template,
    now: Moment,
) -> (TipNumber, Moment) {
    match tip {
        Some((previous, number, since)) if *previous == template.previous => (*number, *since),
        _ => {
            let number = TipNumber(tip.map_or(0, |(_, number, _)| number.0) + 1);
            *tip = Some((template.previous, number, now));
            (number, now)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn job_ids_wrap() {
        assert!(is_newer(JobId(6), JobId(5)));
        assert!(!is_newer(JobId(5), JobId(5)));
        assert!(is_newer(JobId(0), JobId(u32::MAX)));
        assert!(!is_newer(JobId(4), JobId(5)));
    }
}
