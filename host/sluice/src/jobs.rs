//! The job board: work for every connection, made once for all who share a coinbase.
//!
//! A new template becomes [`Work`]; the payout policy says what its coinbase pays; a [`Job`] is made and published on a
//! watch that connections hold. Where the split depends on the finder (solo) there is one watch per account.

mod split;

use std::collections::{HashMap, VecDeque};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bitcoin::{BlockHash, CompactTarget};
use sluice_core::coinbase::{Payment, PoolMark};
use sluice_core::ids::{AccountName, JobId};
use sluice_core::job::{Job, TipNumber, Work};
use sluice_core::policy::payout::Plan;
use sluice_core::template::Template;
use sluice_core::units::{Moment, Now, Timestamp, VersionMask};
use sluice_stratum_v1::Announcement;
use sluice_stratum_v2::Broadcast;
use sluice_stratum_v2::messages::TailError;
use tokio::sync::{Notify, watch};
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
    /// Accounts that wait for their first job: each once, so that they are no more than there are lines.
    requested: VecDeque<AccountName>,
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
    /// The time of the last job, and its tip.
    last: Mutex<(TipNumber, Timestamp)>,
    /// There is an account that waits for its first job.
    requested: Notify,
    metrics: Arc<Metrics>,
    /// The present job of any line, for the status page.
    newest: watch::Sender<Option<Arc<Published>>>,
}

impl Board {
    /// An empty board; [`keep`] keeps it. `seed` makes job ids and coinbase nonces differ from an earlier run's.
    pub fn new(config: BoardConfig, clock: Clock, plan: Plan, seed: u32, metrics: Arc<Metrics>) -> Arc<Self> {
        let inner = Inner { plan, work: None, lines: HashMap::new(), requested: VecDeque::new() };
        Arc::new(Self {
            inner: Mutex::new(inner),
            config,
            clock,
            next: AtomicU32::new(seed),
            last: Mutex::new((TipNumber(0), Timestamp(0))),
            requested: Notify::new(),
            metrics,
            newest: watch::Sender::new(None),
        })
    }

    /// The work of an account. Closed when the plan changes: subscribe again then. Waits for nothing: a connection that
    /// opens a channel goes on with its others.
    pub fn subscribe(&self, account: &AccountName) -> (Posting, Coinbase) {
        let mut inner = self.lock();
        if !inner.plan.per_finder {
            let line = inner.lines.entry(None).or_insert_with(Line::new);
            return (line.posted.subscribe(), Coinbase::Everybodys);
        }
        if inner.lines.len() >= COINBASES_LIMIT {
            inner.lines.retain(|_, line| line.posted.receiver_count() > 0);
        }
        let key = Some(account.clone());
        if !inner.lines.contains_key(&key) {
            inner.requested.push_back(account.clone());
            self.requested.notify_one();
        }
        let line = inner.lines.entry(key).or_insert_with(Line::new);
        (line.posted.subscribe(), Coinbase::Own)
    }

    /// The next account that waits for its first job.
    async fn request(&self) -> AccountName {
        loop {
            if let Some(account) = self.lock().requested.pop_front() {
                return account;
            }
            self.requested.notified().await;
        }
    }

    /// A job made after `sent`, to carry a changed difficulty: one that was made for somebody else, or a new one.
    pub fn fresh(&self, account: &AccountName, sent: Option<JobId>) -> Option<Arc<Published>> {
        let is_fresh = |published: &Arc<Published>| sent.is_none_or(|sent| is_newer(published.job.id, sent));
        let (key, work, payments) = {
            let inner = self.lock();
            let key = inner.plan.per_finder.then(|| account.clone());
            let line = inner.lines.get(&key)?;
            let newest = line.newest()?;
            if is_fresh(&newest) {
                return Some(newest);
            }
            (key, inner.work.clone()?, line.payments.clone()?)
        };
        // Made while others go on: who asks at the same time may make one too, and the newer is kept.
        let made = self.publishable(Arc::clone(&work), Arc::clone(&payments), key.as_ref());
        let mut inner = self.lock();
        let is_current = inner.work.as_ref().is_some_and(|current| Arc::ptr_eq(current, &work));
        let line = inner.lines.get_mut(&key)?;
        if is_current && line.pays(&payments) {
            line.take_variant(made?);
        }
        // Where there is other work by now, its first job comes to everybody on the line.
        line.newest().filter(is_fresh)
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
            inner.requested.clear();
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
        let now = self.time_on(work.tip);
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

    /// The time for a job. It does not go back on one tip, whatever the clock does: SV2 miners take the first job's for
    /// the least that is allowed (M-35, M-41).
    fn time_on(&self, tip: TipNumber) -> Now {
        let now = self.clock.now();
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        let wall = if last.0 == tip { now.wall.max(last.1) } else { now.wall };
        *last = (tip, wall);
        Now { wall, ..now }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Line {
    fn new() -> Self {
        Self { posted: watch::Sender::new(None), payments: None, variant: None }
    }

    /// The newest job, whether for everybody or to carry a difficulty.
    fn newest(&self) -> Option<Arc<Published>> {
        let posted = self.posted.borrow().clone();
        match (posted, self.variant.clone()) {
            (Some(posted), Some(variant)) if is_newer(variant.job.id, posted.job.id) => Some(variant),
            (Some(posted), _) => Some(posted),
            (None, variant) => variant,
        }
    }

    /// Whether that is still what its coinbase pays.
    fn pays(&self, payments: &Arc<[Payment]>) -> bool {
        self.payments.as_ref().is_some_and(|current| Arc::ptr_eq(current, payments))
    }

    fn take_variant(&mut self, made: Arc<Published>) {
        if self.variant.as_ref().is_none_or(|variant| is_newer(made.job.id, variant.job.id)) {
            self.variant = Some(made);
        }
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
            Ok(()) = plans.changed() => Event::Plan,
            _ = refresh.tick() => Event::Refresh,
            account = keeper.board.request() => Event::Account(account),
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

/// What all present work is on.
struct Tip {
    on: (BlockHash, CompactTarget),
    number: TipNumber,
    since: Moment,
}

/// The board's task, between two events.
struct Keeper {
    board: Arc<Board>,
    splitter: Splitter,
    tip: Option<Tip>,
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

/// Another previous block, or another difficulty on the same one, which testnet4 allows: SV2 miners learn of either
/// only with SetNewPrevHash (M-41).
fn next_tip(tip: &mut Option<Tip>, template: &Template, now: Moment) -> (TipNumber, Moment) {
    let on = (template.previous, template.bits);
    match tip {
        Some(known) if known.on == on => (known.number, known.since),
        _ => {
            let number = TipNumber(tip.as_ref().map_or(0, |known| known.number.0) + 1);
            *tip = Some(Tip { on, number, since: now });
            (number, now)
        }
    }
}

#[cfg(test)]
mod tests {
    use bitcoin::hashes::Hash;
    use sluice_core::ids::TemplateId;

    use super::*;

    fn template(previous: u8, bits: u32) -> Template {
        Template {
            id: TemplateId(1),
            network: bitcoin::Network::Testnet4,
            height: 7,
            previous: BlockHash::from_byte_array([previous; 32]),
            version: 0x2000_0000,
            bits: CompactTarget::from_consensus(bits),
            min_time: 1,
            cur_time: 2,
            coinbase_value: bitcoin::Amount::ZERO,
            subsidy: bitcoin::Amount::ZERO,
            witness_commitment: None,
            transactions: Vec::new().into(),
            received: sluice_core::units::Timestamp(0),
        }
    }

    #[test]
    fn another_difficulty_on_the_same_block_is_another_tip() {
        // M-41: on testnet4 a block after twenty minutes may have difficulty 1.
        let mut tip = None;
        let first = next_tip(&mut tip, &template(1, 0x1b00_ffff), Moment(5));
        assert_eq!(next_tip(&mut tip, &template(1, 0x1b00_ffff), Moment(6)), first);
        let easier = next_tip(&mut tip, &template(1, 0x1d00_ffff), Moment(7));
        assert!(easier.0 > first.0);
        let next = next_tip(&mut tip, &template(2, 0x1d00_ffff), Moment(8));
        assert_eq!(next, (TipNumber(easier.0.0 + 1), Moment(8)));
    }

    #[test]
    fn job_ids_wrap() {
        assert!(is_newer(JobId(6), JobId(5)));
        assert!(!is_newer(JobId(5), JobId(5)));
        assert!(is_newer(JobId(0), JobId(u32::MAX)));
        assert!(!is_newer(JobId(4), JobId(5)));
    }
}
