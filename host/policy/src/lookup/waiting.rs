//! Logins that wait for an answer: aside, as text, while the others go on.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};

use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::time::Instant;

use super::figures::{Counts, Present};
use super::request::Request;
use super::service::Service;
use super::session::{Beyond, Findings};

/// The most logins that can wait, whatever the configuration says.
const PLACES: usize = 1 << 16;

/// A question that may have to wait.
pub(crate) trait Waits: Send + 'static {
    /// What was found for it so far.
    fn findings(&mut self) -> &mut Findings;

    /// Resolves when nobody wants the answer any more.
    fn gone(&mut self) -> impl Future<Output = ()> + Send;

    /// Answers that it has to be tried later.
    fn try_later(self);
}

/// One that waited, with its place and the end of its patience.
pub(crate) struct Waiter<J> {
    pub(crate) job: J,
    /// Since it first had to wait.
    stay: Option<Stay>,
}

struct Stay {
    until: Instant,
    _place: OwnedSemaphorePermit,
}

impl<J> Waiter<J> {
    pub(crate) fn new(job: J) -> Self {
        Self { job, stay: None }
    }
}

/// The asking thread's side: hands logins over, and gets them back.
pub(crate) struct Waiting<J> {
    service: Arc<Service>,
    places: Arc<Semaphore>,
    /// As many as there are places.
    returned: Receiver<Waiter<J>>,
    back: SyncSender<Waiter<J>>,
    bell: Arc<Bell>,
    /// Those that wait are let go when this is dropped.
    open: watch::Sender<()>,
}

impl<J: Waits> Waiting<J> {
    /// `wake` has the thread look at [`Waiting::returned`].
    pub(crate) fn new(service: Arc<Service>, wake: Box<dyn Fn() + Send + Sync>) -> Self {
        let count = service.config().waiting.clamp(1, PLACES);
        let (back, returned) = sync_channel(count);
        let (open, _) = watch::channel(());
        let bell = Arc::new(Bell { rung: AtomicBool::new(false), wake });
        Self { service, places: Arc::new(Semaphore::new(count)), returned, back, bell, open }
    }

    pub(crate) fn beyond(&self) -> Beyond {
        Beyond::Ask(self.service.clone())
    }

    /// What an earlier login is gone through again with.
    pub(crate) fn recorded(&self) -> Beyond {
        Beyond::Recorded(self.service.clone())
    }

    /// Those whose answers came.
    pub(crate) fn returned(&self) -> impl Iterator<Item = Waiter<J>> {
        self.bell.heard();
        self.returned.try_iter()
    }

    /// Has `request` looked up for a login; it comes back by itself.
    pub(crate) fn wait(&self, mut waiter: Waiter<J>, request: Request) {
        if waiter.stay.is_none() {
            let Ok(place) = self.places.clone().try_acquire_owned() else {
                Counts::add(&self.service.counts.turned_away);
                return waiter.job.try_later();
            };
            let until = Instant::now() + self.service.config().login_timeout;
            waiter.stay = Some(Stay { until, _place: place });
        }
        let errand = Errand {
            service: self.service.clone(),
            back: self.back.clone(),
            bell: self.bell.clone(),
            open: self.open.subscribe(),
        };
        self.service.runtime().spawn(errand.run(waiter, request));
    }
}

/// Wakes the thread once for all that came back since it looked: its queue is for those who are new.
struct Bell {
    rung: AtomicBool,
    wake: Box<dyn Fn() + Send + Sync>,
}

impl Bell {
    /// After something was put where the thread will look.
    fn ring(&self) {
        if !self.rung.swap(true, Ordering::AcqRel) {
            (self.wake)();
        }
    }

    /// Before the thread looks.
    fn heard(&self) {
        self.rung.swap(false, Ordering::AcqRel);
    }
}

/// One wait of one login.
struct Errand<J> {
    service: Arc<Service>,
    back: SyncSender<Waiter<J>>,
    bell: Arc<Bell>,
    open: watch::Receiver<()>,
}

impl<J: Waits> Errand<J> {
    async fn run(mut self, mut waiter: Waiter<J>, request: Request) {
        let until = waiter.stay.as_ref().map_or_else(Instant::now, |stay| stay.until);
        let said = {
            let _present = Present::new(&self.service.counts.waiting);
            tokio::select! {
                said = self.service.fetch(&request) => Some(said),
                () = tokio::time::sleep_until(until) => {
                    Counts::add(&self.service.counts.given_up);
                    None
                }
                () = waiter.job.gone() => return,
                // The pool is shutting down.
                _ = self.open.changed() => None,
            }
        };
        match said {
            None => waiter.job.try_later(),
            Some(said) => {
                waiter.job.findings().add(&request, said, self.service.login_bytes());
                // There is a place in it for each that waits; without a receiver the login is let go.
                let _ = self.back.try_send(waiter);
                self.bell.ring();
            }
        }
    }
}
