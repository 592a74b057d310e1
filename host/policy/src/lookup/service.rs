//! The host's side of lookups: answers that are kept, requests under way, and how many there may be.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::runtime::Handle;
use tokio::sync::{Semaphore, watch};
use tokio::time::timeout;

use super::cache::{Cache, Kept};
use super::config::{Clock, LookupConfig, Outside, UrlGrant};
use super::figures::{Counts, GrantStatus, LookupFault, LookupStatus, Present};
use super::grants::covering;
use super::request::{Key, Request, Said};
use super::transport::{Outgoing, Reply, Transport, TransportError};
use super::url::shown;
use crate::check::printable;

/// A service that failed is not waited for so long where an old answer can stand in.
const GRACE: Duration = Duration::from_secs(5);
/// The transport ends a request in time by itself; so much later it is ended for it.
const NET: Duration = Duration::from_millis(250);
/// A login may hold so many of the largest answers: thousands may wait.
const LOGIN_ANSWERS: usize = 2;
/// At most one line of a sort in this time: a miner may cause them at will.
const REPORT_EVERY: Duration = Duration::from_secs(1);

/// What the others wait for; `None` until it is there.
type Told = watch::Sender<Option<Said>>;

/// Looks things up for the auth slot.
pub(crate) struct Service {
    config: LookupConfig,
    transport: Arc<dyn Transport>,
    clock: Clock,
    runtime: Handle,
    /// Requests that may be under way.
    turns: Semaphore,
    flights: Mutex<HashMap<Key, Arc<Told>>>,
    cache: Mutex<Cache>,
    /// When the latest request under a grant failed, in the order of the grants.
    failed: Mutex<Vec<Option<Instant>>>,
    /// When a denial and a failure were last told of.
    reported: Mutex<[Option<Instant>; 2]>,
    pub(super) counts: Counts,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Service {
    /// Requests are made on `runtime`.
    pub(crate) fn new(config: LookupConfig, outside: Outside, runtime: Handle) -> Arc<Self> {
        let Outside { transport, clock } = outside;
        Arc::new(Self {
            turns: Semaphore::new(config.concurrency.clamp(1, Semaphore::MAX_PERMITS)),
            flights: Mutex::default(),
            cache: Mutex::new(Cache::new(config.cache_entries, config.cache_bytes)),
            failed: Mutex::new(vec![None; config.grants.len()]),
            reported: Mutex::default(),
            counts: Counts::default(),
            config,
            transport,
            clock,
            runtime,
        })
    }

    pub(super) fn config(&self) -> &LookupConfig {
        &self.config
    }

    /// The most bytes of answers that one login may hold while it waits for the next.
    pub(super) fn login_bytes(&self) -> usize {
        self.config.answer_bytes.saturating_mul(LOGIN_ANSWERS)
    }

    pub(super) fn runtime(&self) -> &Handle {
        &self.runtime
    }

    /// Whether a grant covers a request.
    ///
    /// # Errors
    /// What is not granted, for the policy and the log.
    pub(super) fn permit(&self, request: &Request) -> Result<(), String> {
        match covering(&self.config.grants, &request.url) {
            Some(_) => Ok(()),
            None => Err("no grant of the configuration covers this URL".to_owned()),
        }
    }

    /// Counts and tells that a policy asked for what it may not.
    pub(super) fn denied(&self, url: &str, why: &str) {
        Counts::add(&self.counts.denied);
        if self.due(0) {
            tracing::warn!(target: "policy", "lookup of {:?} denied: {why}", shown(url));
        }
    }

    /// What can be said without asking.
    pub(super) fn at_hand(&self, request: &Request) -> Option<Said> {
        let now = (self.clock)();
        let mut cache = lock(&self.cache);
        if let Some(kept) = cache.fresh(request.key(), now) {
            Counts::add(&self.counts.fresh);
            return Some(kept.said(false));
        }
        let (place, _) = covering(&self.config.grants, &request.url)?;
        let kept = self.failing(place, now).then(|| cache.stale(request.key(), now)).flatten()?;
        Counts::add(&self.counts.stale);
        Some(kept.said(true))
    }

    fn failing(&self, place: usize, now: Instant) -> bool {
        let since = lock(&self.failed).get(place).copied().flatten();
        since.is_some_and(|since| now.saturating_duration_since(since) < GRACE)
    }

    /// Asks the service, or waits with whoever asked the same.
    pub(super) async fn fetch(self: &Arc<Self>, request: &Request) -> Said {
        let mut told = match self.join(request) {
            Ok(told) => told,
            Err(said) => return said,
        };
        let said = told.wait_for(Option::is_some).await.ok().and_then(|said| said.clone());
        said.unwrap_or_else(|| Said::Unavailable("the request was given up".to_owned()))
    }

    /// A request under way, or what can be said at once.
    fn join(self: &Arc<Self>, request: &Request) -> Result<watch::Receiver<Option<Said>>, Said> {
        let mut flights = lock(&self.flights);
        // It may have come while the login was on its way here.
        if let Some(said) = self.at_hand(request) {
            return Err(said);
        }
        let under_way = flights.len();
        match flights.entry(request.key()) {
            Entry::Occupied(flight) => {
                Counts::add(&self.counts.joined);
                Ok(flight.get().subscribe())
            }
            // One for each login that may wait, and those that were sent for logins that have gone away.
            Entry::Vacant(_) if under_way >= self.config.waiting.saturating_add(self.config.concurrency) => {
                Err(self.fail(request, LookupFault::Busy, "too many requests wait"))
            }
            Entry::Vacant(place) => {
                let (told, receiver) = watch::channel(None);
                let told = place.insert(Arc::new(told)).clone();
                self.runtime.spawn(self.clone().fly(request.clone(), told));
                Ok(receiver)
            }
        }
    }

    /// One request, from its turn to its answer.
    async fn fly(self: Arc<Self>, request: Request, told: Arc<Told>) {
        let flight = Flight { service: &self, key: request.key(), told: &told };
        let said = {
            let turn = timeout(self.config.timeout, self.turns.acquire());
            tokio::pin!(turn);
            loop {
                tokio::select! {
                    turn = &mut turn => break match turn {
                        Ok(_turn) => self.ask(&request).await,
                        Err(_) => self.fail(&request, LookupFault::Busy, "too many requests were before it"),
                    },
                    // Nobody waits for it any more.
                    () = told.closed() => if flight.abandoned() { return },
                }
            }
        };
        // Who asks from now on finds what is kept.
        drop(flight);
        told.send_replace(Some(said));
    }

    async fn ask(&self, request: &Request) -> Said {
        let Some((place, grant)) = covering(&self.config.grants, &request.url) else {
            return Said::Unavailable("it is not granted".to_owned());
        };
        let _present = Present::new(&self.counts.in_flight);
        Counts::add(&self.counts.requests);
        let began = Instant::now();
        let reply = timeout(self.config.timeout + NET, self.transport.send(self.outgoing(request, grant)));
        let reply = reply.await.unwrap_or(Err(TransportError::Timeout));
        self.counts.latency.record(began.elapsed());
        match judge(reply, self.config.answer_bytes) {
            Ok(kept) => {
                let now = (self.clock)();
                lock(&self.cache).keep(request.key(), &kept, grant, now);
                self.note(place, None);
                kept.said(false)
            }
            Err((fault, why)) => {
                if fault.of_the_service() {
                    self.note(place, Some((self.clock)()));
                }
                self.fail(request, fault, &why)
            }
        }
    }

    fn outgoing(&self, request: &Request, grant: &UrlGrant) -> Outgoing {
        Outgoing {
            method: request.method,
            url: request.url.clone(),
            headers: grant.headers.clone(),
            content_type: request.content_type.clone(),
            body: request.body.clone(),
            timeout: self.config.timeout,
            answer_bytes: self.config.answer_bytes,
        }
    }

    fn note(&self, place: usize, failed: Option<Instant>) {
        if let Some(of) = lock(&self.failed).get_mut(place) {
            *of = failed;
        }
    }

    /// Counts a failure; an old answer stands in where there is one.
    fn fail(&self, request: &Request, fault: LookupFault, why: &str) -> Said {
        self.counts.fault(fault);
        if self.due(1) {
            tracing::warn!(target: "policy", "lookup of {:?} failed: {why}", shown(&request.url.to_string()));
        }
        match lock(&self.cache).stale(request.key(), (self.clock)()) {
            Some(kept) => {
                Counts::add(&self.counts.stale);
                kept.said(true)
            }
            None => Said::Unavailable(printable(why)),
        }
    }

    /// Whether a line of this sort may be written again.
    fn due(&self, sort: usize) -> bool {
        let now = Instant::now();
        let mut reported = lock(&self.reported);
        let due = reported[sort].is_none_or(|last| now.duration_since(last) >= REPORT_EVERY);
        if due {
            reported[sort] = Some(now);
        }
        due
    }

    pub(crate) fn status(&self) -> LookupStatus {
        let now = (self.clock)();
        let grants = self.config.grants.iter().enumerate();
        let grants = grants
            .map(|(place, grant)| GrantStatus {
                url: grant.prefix.to_string(),
                failing: self.failing(place, now),
            })
            .collect();
        let cache = lock(&self.cache);
        self.counts.told(grants, [cache.entries(), cache.bytes()])
    }
}

/// A request on the list of those under way; off it when this is dropped, whatever becomes of it.
struct Flight<'a> {
    service: &'a Service,
    key: Key,
    told: &'a Arc<Told>,
}

impl Flight<'_> {
    /// Takes it back, unless somebody has joined meanwhile.
    fn abandoned(&self) -> bool {
        let mut flights = lock(&self.service.flights);
        let abandoned = self.told.receiver_count() == 0;
        if abandoned {
            self.remove(&mut flights);
        }
        abandoned
    }

    /// Another request for the same may have begun.
    fn remove(&self, flights: &mut HashMap<Key, Arc<Told>>) {
        if flights.get(&self.key).is_some_and(|told| Arc::ptr_eq(told, self.told)) {
            flights.remove(&self.key);
        }
    }
}

impl Drop for Flight<'_> {
    fn drop(&mut self) {
        self.remove(&mut lock(&self.service.flights));
    }
}

/// An answer that a policy may see, or what is wrong.
fn judge(reply: Result<Reply, TransportError>, limit: usize) -> Result<Kept, (LookupFault, String)> {
    let Reply { status, body } = reply.map_err(|why| (fault(&why), why.to_string()))?;
    match status {
        200..=499 if body.len() > limit => {
            let why = TransportError::TooLarge { limit };
            Err((fault(&why), why.to_string()))
        }
        200..=499 => Ok(Kept { status, body: Arc::from(body) }),
        500..=599 => Err((LookupFault::Server, format!("the service answered {status}"))),
        _ => Err((LookupFault::Protocol, format!("the service answered {status}, which is no status"))),
    }
}

fn fault(why: &TransportError) -> LookupFault {
    match why {
        TransportError::Connect(_) => LookupFault::Connect,
        TransportError::Timeout => LookupFault::Timeout,
        TransportError::TooLarge { .. } => LookupFault::TooLarge,
        TransportError::Protocol(_) => LookupFault::Protocol,
    }
}

#[cfg(test)]
mod tests;
