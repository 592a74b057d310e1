//! What the pool asks, and what it gets where a policy gives no usable answer.

use std::sync::Arc;

use serde_json::{Map, Value};
use sluice_core::policy::PolicyFailure;
use sluice_core::policy::PolicyKind;
use sluice_core::policy::auth::{AuthPolicy, Grant, Login, Refusal};
use sluice_core::policy::payout::{PayoutPolicy, Plan, Round, Tally};
use sluice_core::policy::vardiff::{Decision, Opening, Review, VardiffPolicy};
use tokio::sync::{broadcast, oneshot, watch};

use crate::auth::{Auth, AuthJob, Gate};
use crate::config::{Limits, PolicyConfig};
use crate::error::{LoadError, StartError};
use crate::history::{Entry, History};
use crate::orders::{Command, Done, OrderError};
use crate::payout::{AccruedBy, Payout, PayoutJob, Settled};
use crate::reload::{Keepers, start};
use crate::slot::{self, EVENT_BACKLOG, Kind, Slot, Source, stopped};
use crate::status::{PolicyEvent, PolicyStatus, ReloadOutcome};
use crate::vardiff::{Vardiff, VardiffJob};

/// The three policies. Cheap to clone; the threads end when the last clone is dropped.
#[derive(Clone)]
pub struct Policies {
    parts: Arc<Parts>,
}

pub(crate) struct Parts {
    pub(crate) auth: Slot<Auth>,
    pub(crate) vardiff: Slot<Vardiff>,
    pub(crate) payout: Slot<Payout>,
    pub(crate) events: broadcast::Sender<PolicyEvent>,
    /// `None` for native policies.
    pub(crate) keepers: Option<Keepers>,
    /// `None` for native policies.
    pub(crate) history: Option<Arc<History>>,
}

/// What a miner reads when the auth policy gave no usable answer: it fails closed, and the miner may come back.
pub(crate) const TRY_LATER: &str = "the pool cannot check logins just now, try again";

impl Policies {
    /// Loads, proves and starts all three.
    ///
    /// # Errors
    /// Every problem at once, each with its file and cause.
    pub async fn start(config: PolicyConfig) -> Result<Self, StartError> {
        // Compiling takes seconds: not on the reactor.
        let started = tokio::task::spawn_blocking(move || start(&config));
        let parts = started.await.map_err(|error| StartError::Thread(error.to_string()))??;
        Ok(Self { parts: Arc::new(parts) })
    }

    /// Policies that are part of the program, on the same threads and queues: for the host's own tests and for
    /// measuring what WebAssembly costs.
    ///
    /// # Errors
    /// [`StartError::Thread`].
    pub fn native(
        auth: Box<dyn AuthPolicy>,
        vardiff: Box<dyn VardiffPolicy>,
        payout: Box<dyn PayoutPolicy>,
    ) -> Result<Self, StartError> {
        let (events, _) = broadcast::channel(EVENT_BACKLOG);
        let parts = Parts {
            auth: native_slot(Box::new(Gate::Native(auth)), &events)?,
            vardiff: native_slot(vardiff, &events)?,
            payout: native_slot(payout, &events)?,
            events,
            keepers: None,
            history: None,
        };
        Ok(Self { parts: Arc::new(parts) })
    }

    /// Who a login is.
    ///
    /// # Errors
    /// The policy's refusal; [`Refusal::TryLater`] where it gave no usable answer.
    pub async fn authorize(&self, login: Login) -> Result<Grant, Refusal> {
        let (reply, answer) = oneshot::channel();
        let try_later = || Refusal::TryLater(TRY_LATER.to_owned());
        self.parts.auth.ask(AuthJob::new(login, reply)).map_err(|_| try_later())?;
        answer.await.unwrap_or_else(|_| Err(try_later()))
    }

    /// What a new channel starts with; `None`: the host's own default.
    pub async fn open(&self, opening: Opening) -> Option<Decision> {
        let (reply, answer) = oneshot::channel();
        self.parts.vardiff.ask(VardiffJob::Open { opening, reply }).ok()?;
        answer.await.ok()?
    }

    /// What a channel goes on with; `None`: as it was.
    pub async fn review(&self, review: Review) -> Option<Decision> {
        let (reply, answer) = oneshot::channel();
        self.parts.vardiff.ask(VardiffJob::Review { review, reply }).ok()?;
        answer.await.ok()?
    }

    /// How the payout policy wants to be asked.
    ///
    /// # Errors
    /// [`PolicyFailure`]; the host keeps the plan it had.
    pub async fn plan(&self) -> Result<Plan, PolicyFailure> {
        let (reply, answer) = oneshot::channel();
        self.parts.payout.ask(PayoutJob::Plan { reply })?;
        answer.await.unwrap_or_else(|_| Err(stopped()))
    }

    /// Who gets what of a block; the host divides it with [`sluice_core::policy::split`].
    ///
    /// # Errors
    /// [`PolicyFailure`]; the round is held.
    pub async fn settle(&self, round: Round) -> Result<Settled, PolicyFailure> {
        let (reply, answer) = oneshot::channel();
        self.parts.payout.ask(PayoutJob::Settle { round, reply })?;
        answer.await.unwrap_or_else(|_| Err(stopped()))
    }

    /// Who is credited for work at once (PPS, FPPS).
    ///
    /// # Errors
    /// [`PolicyFailure`]; the tallies stay open.
    pub async fn accrue(&self, tallies: Vec<Tally>) -> Result<AccruedBy, PolicyFailure> {
        let (reply, answer) = oneshot::channel();
        self.parts.payout.ask(PayoutJob::Accrue { tallies, reply })?;
        answer.await.unwrap_or_else(|_| Err(stopped()))
    }

    /// The payout policy's generation. A change asks for a new coinbase: it takes effect at a round boundary.
    pub fn payout_changed(&self) -> watch::Receiver<u64> {
        self.parts.payout.changed()
    }

    /// New settings for one kind, proved like a new file. Where a newer file waits that only fits the new settings, the
    /// two are applied together.
    pub async fn reconfigure(&self, kind: PolicyKind, settings: Map<String, Value>) -> ReloadOutcome {
        let rejected = |why: LoadError| ReloadOutcome::Rejected { why: why.to_string() };
        let Some(keepers) = &self.parts.keepers else { return rejected(LoadError::Native(kind)) };
        let (reply, answer) = oneshot::channel();
        keepers.reconfigure(kind, settings, reply);
        answer.await.unwrap_or_else(|_| rejected(LoadError::ShutDown))
    }

    /// Does what an operator wants of one kind: promote its shadow, go back, pin.
    ///
    /// # Errors
    /// [`OrderError`]: nothing changed, but for [`OrderError::NotKept`].
    pub async fn order(&self, kind: PolicyKind, command: Command) -> Result<Done, OrderError> {
        let Some(keepers) = &self.parts.keepers else { return Err(OrderError::Native(kind)) };
        let (reply, answer) = oneshot::channel();
        keepers.order(kind, command, reply);
        answer.await.unwrap_or(Err(OrderError::Load(LoadError::ShutDown)))
    }

    /// What was changed of a kind, by whom and why, newest first, over restarts.
    pub fn history(&self, kind: PolicyKind, limit: usize) -> Vec<Entry> {
        self.parts.history.as_ref().map_or_else(Vec::new, |history| history.latest(kind, limit))
    }

    /// The state of each slot, in the order of [`PolicyKind::ALL`].
    pub fn status(&self) -> Vec<PolicyStatus> {
        let parts = &self.parts;
        vec![parts.auth.shared.status(), parts.vardiff.shared.status(), parts.payout.shared.status()]
    }

    /// Reloads, refusals, roll-backs and failures as they happen. A listener that lags loses the oldest.
    pub fn events(&self) -> broadcast::Receiver<PolicyEvent> {
        self.parts.events.subscribe()
    }

    /// Ends the threads; every later question gets its default.
    pub fn shutdown(&self) {
        self.parts.stop();
    }
}

impl Parts {
    fn stop(&self) {
        if let Some(keepers) = &self.keepers {
            keepers.stop();
        }
        self.auth.stop();
        self.vardiff.stop();
        self.payout.stop();
    }
}

impl Drop for Parts {
    fn drop(&mut self) {
        self.stop();
    }
}

fn native_slot<K: Kind>(
    policy: Box<K::Policy>,
    events: &broadcast::Sender<PolicyEvent>,
) -> Result<Slot<K>, StartError> {
    Slot::start(slot::Opening {
        file: String::new(),
        source: Source::Native(policy),
        limits: Limits::of(K::KIND),
        events: events.clone(),
        shadow: None,
        lookup: None,
    })
}
