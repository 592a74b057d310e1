//! The job board: a line for each coinbase, with the present job for all who mine to it.

use std::collections::{HashMap, VecDeque};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use sluice_core::coinbase::{Payment, PoolMark};
use sluice_core::ids::{AccountName, JobId};
use sluice_core::job::{Job, TipNumber, Work};
use sluice_core::policy::Client;
use sluice_core::policy::payout::Plan;
use sluice_core::units::{Now, Timestamp, VersionMask};
use tokio::sync::{Notify, watch};

use super::{Class, Classes, Posting, Published};
use crate::clock::Clock;
use crate::metrics::Metrics;

/// Accounts whose coinbases are kept whether or not somebody mines to them; beyond it those that nobody holds are
/// forgotten. Those that are held are no more than there are channels.
const COINBASES_LIMIT: usize = 200_000;

/// Whose work a posting is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Coinbase {
    /// One for all accounts of a class: a connection needs it once.
    Everybodys,
    /// The account's own, which depends on the finder.
    Own,
}

/// Whose block it would be, where that matters; otherwise everybody's.
pub(crate) type Finder = Option<AccountName>;

/// A coinbase of one finder, or everybody's, for one class.
struct Line {
    posted: watch::Sender<Option<Arc<Published>>>,
    /// What its coinbase pays, for the present work.
    payments: Option<Arc<[Payment]>>,
    /// The newest job made to carry a changed difficulty (V1-41); shared by all who need one.
    variant: Option<Arc<Published>>,
}

/// The lines of one finder: those of the classes that somebody is in.
#[derive(Default)]
struct Lines(Vec<(Class, Line)>);

struct Inner {
    plan: Plan,
    work: Option<Arc<Work>>,
    lines: HashMap<Finder, Lines>,
    /// Lines that wait for their first job: each once, so that they are no more than there are lines.
    requested: VecDeque<(Finder, Class)>,
}

/// What the board is made with.
pub struct BoardConfig {
    pub mark: PoolMark,
    pub rollable: VersionMask,
    /// How often a job goes out without a new template (V1-54).
    pub refresh: Duration,
    pub classes: Classes,
}

pub struct Board {
    inner: Mutex<Inner>,
    config: BoardConfig,
    pub(super) clock: Clock,
    next: AtomicU32,
    /// The time of the last job, and its tip.
    last: Mutex<(TipNumber, Timestamp)>,
    /// There is a line that waits for its first job.
    requested: Notify,
    metrics: Arc<Metrics>,
    /// The present job of any line, for the status page.
    newest: watch::Sender<Option<Arc<Published>>>,
}

impl Board {
    /// An empty board; [`keep`](super::keep) keeps it. `seed` makes job ids and coinbase nonces differ from an earlier
    /// run's.
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

    /// The class of a miner that says this of itself.
    pub fn class_of(&self, client: &Client) -> Class {
        self.config.classes.of(client)
    }

    pub(super) fn refresh_interval(&self) -> Duration {
        self.config.refresh
    }

    pub(super) fn rollable(&self) -> VersionMask {
        self.config.rollable
    }

    /// The work of an account's miners of a class. Closed when the plan changes: subscribe again then. Waits for nothing:
    /// a connection that opens a channel goes on with its others.
    pub fn subscribe(&self, account: &AccountName, class: Class) -> (Posting, Coinbase) {
        let mut inner = self.lock();
        let finder = inner.plan.per_finder.then(|| account.clone());
        let coinbase = if finder.is_some() { Coinbase::Own } else { Coinbase::Everybodys };
        if inner.lines.len() >= COINBASES_LIMIT {
            inner.forget_unheld();
        }
        if !inner.lines.get(&finder).is_some_and(|lines| lines.has(class)) && !is_kept(&finder, class) {
            inner.requested.push_back((finder.clone(), class));
            self.requested.notify_one();
        }
        let line = inner.lines.entry(finder).or_default().line(class);
        (line.posted.subscribe(), coinbase)
    }

    /// The next line that waits for its first job.
    pub(super) async fn request(&self) -> (Finder, Class) {
        loop {
            if let Some(line) = self.lock().requested.pop_front() {
                return line;
            }
            self.requested.notified().await;
        }
    }

    /// A job made after `sent`, to carry a changed difficulty: one that was made for somebody else, or a new one.
    pub fn fresh(&self, account: &AccountName, class: Class, sent: Option<JobId>) -> Option<Arc<Published>> {
        let is_fresh = |published: &Arc<Published>| sent.is_none_or(|sent| is_newer(published.job.id, sent));
        let (finder, work, payments) = {
            let inner = self.lock();
            let finder = inner.plan.per_finder.then(|| account.clone());
            let line = inner.lines.get(&finder)?.get(class)?;
            let newest = line.newest()?;
            if is_fresh(&newest) {
                return Some(newest);
            }
            (finder, inner.work.clone()?, line.payments.clone()?)
        };
        // Made while others go on: who asks at the same time may make one too, and the newer is kept.
        let made = self.publishable(Arc::clone(&work), Arc::clone(&payments), finder.as_ref());
        let mut inner = self.lock();
        let is_current = inner.work.as_ref().is_some_and(|current| Arc::ptr_eq(current, &work));
        let line = inner.lines.get_mut(&finder)?.get_mut(class)?;
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

    pub(super) fn work(&self) -> Option<Arc<Work>> {
        self.lock().work.clone()
    }

    pub(super) fn plan(&self) -> Plan {
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
        for (_, line) in inner.lines.values_mut().flat_map(|lines| &mut lines.0) {
            line.payments = None;
            line.variant = None;
        }
    }

    /// Whose coinbases are wanted, in no order, and of which classes; those that nobody holds any more are forgotten.
    /// Everybody's of no class always is, for who comes next and for the status page.
    pub(crate) fn wanted(&self) -> Vec<(Finder, Vec<Class>)> {
        let mut inner = self.lock();
        inner.forget_unheld();
        if !inner.plan.per_finder {
            inner.lines.entry(None).or_default().line(Class::DEFAULT);
        }
        let per_finder = inner.plan.per_finder;
        let wanted = inner.lines.iter().filter(|(finder, _)| finder.is_some() == per_finder);
        wanted.map(|(finder, lines)| (finder.clone(), lines.classes())).collect()
    }

    /// Makes a job and hands it to everybody on the line.
    pub(crate) fn publish(&self, finder: &Finder, class: Class, payments: Arc<[Payment]>) {
        let mut inner = self.lock();
        let Some(work) = inner.work.clone() else { return };
        let Some(published) = self.publishable(work, Arc::clone(&payments), finder.as_ref()) else { return };
        let line = inner.lines.entry(finder.clone()).or_default().line(class);
        line.payments = Some(payments);
        line.variant = None;
        line.posted.send_replace(Some(Arc::clone(&published)));
        self.newest.send_replace(Some(published));
    }

    /// The same work with a new nonce and time, for everybody (V1-54).
    pub(crate) fn refresh(&self) {
        let inner = self.lock();
        let due: Vec<(Finder, Class, Arc<[Payment]>)> = inner
            .lines
            .iter()
            .flat_map(|(finder, lines)| lines.0.iter().map(move |(class, line)| (finder, *class, line)))
            .filter(|(finder, class, line)| is_kept(finder, *class) || line.is_held())
            .filter_map(|(finder, class, line)| Some((finder.clone(), class, line.payments.clone()?)))
            .collect();
        drop(inner);
        for (finder, class, payments) in due {
            self.publish(&finder, class, payments);
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

/// Everybody's coinbase of no class is kept whoever is there.
fn is_kept(finder: &Finder, class: Class) -> bool {
    finder.is_none() && class == Class::DEFAULT
}

impl Inner {
    fn forget_unheld(&mut self) {
        self.lines.retain(|finder, lines| {
            lines.0.retain(|(class, line)| is_kept(finder, *class) || line.is_held());
            !lines.0.is_empty()
        });
    }
}

impl Lines {
    fn has(&self, class: Class) -> bool {
        self.get(class).is_some()
    }

    fn get(&self, class: Class) -> Option<&Line> {
        self.0.iter().find(|(own, _)| *own == class).map(|(_, line)| line)
    }

    fn get_mut(&mut self, class: Class) -> Option<&mut Line> {
        self.0.iter_mut().find(|(own, _)| *own == class).map(|(_, line)| line)
    }

    /// The line of a class, new if need be.
    fn line(&mut self, class: Class) -> &mut Line {
        let place = self.0.iter().position(|(own, _)| *own == class).unwrap_or(self.0.len());
        if place == self.0.len() {
            self.0.push((class, Line::new()));
        }
        &mut self.0[place].1
    }

    fn classes(&self) -> Vec<Class> {
        self.0.iter().map(|(class, _)| *class).collect()
    }
}

impl Line {
    fn new() -> Self {
        Self { posted: watch::Sender::new(None), payments: None, variant: None }
    }

    fn is_held(&self) -> bool {
        self.posted.receiver_count() > 0
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

#[cfg(test)]
pub(crate) mod tests;
