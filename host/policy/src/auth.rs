//! Login to account and worker.

use std::sync::Arc;

use sluice_core::bitcoin::{Address, Network, address::NetworkUnchecked};
use sluice_core::ids::{AccountName, WorkerName};
use sluice_core::policy::auth::{AuthPolicy, Grant, Login, Refusal};
use sluice_core::policy::{PolicyFailure, PolicyKind};
use tokio::sync::oneshot;

use crate::bindings::auth as wit;
use crate::check::{bad_answer, client, difficulty, printable, without};
use crate::instance::{GuestStore, Instance};
use crate::load::{Interface, Loaded};
use crate::lookup::{Beyond, Findings, Request, Script, Service, Session, Waiter, Waiting, Waits};
use crate::policies::TRY_LATER;
use crate::shadow::{Unlike, verdict};
use crate::slot::{Desk, Kind, Wake};

/// A login that waits for its answer.
pub(crate) struct AuthJob {
    login: Login,
    reply: oneshot::Sender<Answer>,
    findings: Findings,
}

impl AuthJob {
    pub(crate) fn new(login: Login, reply: oneshot::Sender<Answer>) -> Self {
        Self { login, reply, findings: Findings::default() }
    }
}

impl Waits for AuthJob {
    fn findings(&mut self) -> &mut Findings {
        &mut self.findings
    }

    async fn gone(&mut self) {
        self.reply.closed().await;
    }

    fn try_later(self) {
        let _ = self.reply.send(Err(Refusal::TryLater(TRY_LATER.to_owned())));
    }
}

/// A login with what was looked up for it: to be gone through again.
#[derive(Clone)]
pub(crate) struct Recorded {
    login: Login,
    findings: Findings,
    beyond: Beyond,
}

/// The most bytes of answers that a login takes along as a sample.
const SAMPLE_BYTES: usize = 64 << 10;

pub(crate) struct Auth;

impl Kind for Auth {
    const KIND: PolicyKind = PolicyKind::Auth;
    const BAD_ANSWERS: u32 = 64;
    type Policy = Gate;
    type Job = AuthJob;
    type Sample = Recorded;
    /// Logins that wait, where something may be looked up.
    type Aside = Option<Waiting<AuthJob>>;
    const SHADOW_QUEUE: usize = 1024;
    type Case = AuthCase;
    type Memory = ();

    fn aside(lookup: Option<&Arc<Service>>, wake: Wake<Self>) -> Self::Aside {
        lookup.map(|service| Waiting::new(service.clone(), Box::new(move || wake.wake())))
    }

    fn instance(loaded: &Arc<Loaded>) -> Result<Box<Gate>, PolicyFailure> {
        Ok(Box::new(Gate::Component(WasmAuth::new(loaded)?)))
    }

    fn serve(desk: &mut Desk<Self>, jobs: &mut Vec<AuthJob>) {
        let returned: Vec<_> = desk.aside().iter().flat_map(Waiting::returned).collect();
        for waiter in returned.into_iter().chain(jobs.drain(..).map(Waiter::new)) {
            answer(desk, waiter);
        }
    }

    fn try_on(policy: &mut Self::Policy, sample: &Recorded) -> Result<(), PolicyFailure> {
        policy.go_through(sample).map(|_| ())
    }

    /// Alike: the same grant, or a refusal of the same sort.
    fn compare(
        policy: &mut Self::Policy,
        (): &mut (),
        case: &AuthCase,
    ) -> Result<Vec<Unlike>, PolicyFailure> {
        let differ =
            |live: &Answer, shadow: &Answer| (!alike(live, shadow)).then(|| [tell(live), tell(shadow)]);
        let answers = verdict(&case.live, policy.go_through(&case.asked), differ, tell)?;
        let Login { username, client, .. } = &case.asked.login;
        let input = || format!("{username} by {} ({})", client.protocol, client.agent);
        Ok(answers.map(|answers| Unlike { input: input(), answers }).into_iter().collect())
    }

    fn redact(case: &AuthCase, text: String) -> String {
        without(text, case.asked.login.password.as_deref().unwrap_or(""))
    }
}

type Answer = Result<Grant, Refusal>;

/// A login and what the miner was told.
pub(crate) struct AuthCase {
    asked: Recorded,
    live: Result<Answer, PolicyFailure>,
}

/// Asks about one login; one that needs to know more waits aside.
fn answer(desk: &mut Desk<Auth>, mut waiter: Waiter<AuthJob>) {
    let AuthJob { login, reply, findings } = &mut waiter.job;
    // The miner is gone.
    if reply.is_closed() {
        return;
    }
    let beyond = desk.aside().as_ref().map_or(Beyond::Silent, Waiting::beyond);
    let ask = |gate: &mut Gate| gate.ask(login, findings, &beyond);
    let answer = match desk.ask_in_turns(1, ask, |turn| matches!(turn, Turn::Answered(_))) {
        Ok(Turn::Wants(request)) => {
            if let Some(waiting) = desk.aside() {
                waiting.wait(waiter, request);
            }
            return;
        }
        Ok(Turn::Answered(answer)) => Ok(answer),
        Err(failure) => Err(failure),
    };
    let AuthJob { login, reply, findings } = waiter.job;
    let beyond = desk.aside().as_ref().map_or(Beyond::Silent, Waiting::recorded);
    let asked = Recorded { login, findings, beyond };
    desk.shadow(1, || AuthCase { asked: asked.clone(), live: answer.clone() });
    // Before the answer goes out: whoever has it may count on its being tried.
    if answer.is_ok() && asked.findings.bytes() <= SAMPLE_BYTES {
        desk.sample(asked);
    }
    let _ = reply.send(answer.unwrap_or_else(|_| Err(Refusal::TryLater(TRY_LATER.to_owned()))));
}

fn alike(live: &Answer, shadow: &Answer) -> bool {
    match (live, shadow) {
        (Ok(live), Ok(shadow)) => live == shadow,
        (Err(live), Err(shadow)) => std::mem::discriminant(live) == std::mem::discriminant(shadow),
        _ => false,
    }
}

/// The texts of refusals stay out: a policy may put anything there.
fn tell(answer: &Answer) -> String {
    let grant = match answer {
        Ok(grant) => grant,
        Err(Refusal::UnknownUser(_)) => return "refused: unknown user".to_owned(),
        Err(Refusal::WrongPassword(_)) => return "refused: wrong password".to_owned(),
        Err(Refusal::Forbidden(_)) => return "refused: forbidden".to_owned(),
        Err(Refusal::TryLater(_)) => return "refused: try later".to_owned(),
    };
    let mut text =
        format!("granted: account {:?}, worker {:?}", grant.account.as_str(), grant.worker.as_str());
    if let Some(address) = &grant.payout_address {
        text.push_str(&format!(", paid to {address}"));
    }
    for (what, difficulty) in [("start", grant.start), ("minimum", grant.minimum), ("maximum", grant.maximum)]
    {
        if let Some(difficulty) = difficulty {
            text.push_str(&format!(", {what} {difficulty}"));
        }
    }
    text
}

/// What the slot asks.
pub(crate) enum Gate {
    Native(Box<dyn AuthPolicy>),
    Component(WasmAuth),
}

/// What a call came to.
pub(crate) enum Turn {
    Answered(Answer),
    /// The call is over, and its instance with it: once this is looked up, it begins anew.
    Wants(Request),
}

impl Gate {
    fn ask(
        &mut self,
        login: &Login,
        findings: &mut Findings,
        beyond: &Beyond,
    ) -> Result<Turn, PolicyFailure> {
        match self {
            Self::Native(policy) => policy.authorize(login).map(Turn::Answered),
            Self::Component(policy) => {
                policy.instance.hide(login.password.as_deref().into_iter());
                let turn = policy.ask(login, findings, beyond);
                turn.map_err(|failure| policy.instance.without_secrets(failure))
            }
        }
    }

    /// Asks with what was found before and nothing else.
    fn go_through(&mut self, recorded: &Recorded) -> Result<Answer, PolicyFailure> {
        self.ask(&recorded.login, &mut recorded.findings.clone(), &recorded.beyond)?.answered()
    }
}

/// The auth policy behind the contract.
pub(crate) struct WasmAuth {
    instance: Instance,
    guest: wit::Guest,
    network: Network,
    looks_up: bool,
}

impl WasmAuth {
    pub(crate) fn new(loaded: &Arc<Loaded>) -> Result<Self, PolicyFailure> {
        let mut instance = loaded.instance()?;
        let Interface::Auth(indices) = &loaded.interface else { return Err(loaded.wrong_kind()) };
        let guest = instance.load(|store, instance| indices.load(store, instance))?;
        Ok(Self { instance, guest, network: loaded.network, looks_up: loaded.looks_up })
    }

    /// Asks with what was found so far. Where that grows, the call has been told it.
    pub(crate) fn ask(
        &mut self,
        login: &Login,
        findings: &mut Findings,
        beyond: &Beyond,
    ) -> Result<Turn, PolicyFailure> {
        let question = wit::Login {
            username: &login.username,
            password: login.password.as_deref(),
            client: client(&login.client),
        };
        let guest = &self.guest;
        let call = |store: &mut GuestStore| guest.call_authorize(store, question);
        if !self.looks_up {
            return self
                .instance
                .call(1, call)
                .and_then(|said| checked(said, self.network))
                .map(Turn::Answered);
        }
        let session = Session::new(std::mem::take(findings), beyond.clone());
        let (said, session) = self.instance.call_with(session, call);
        let (found, wanted) = session.map(Session::end).unwrap_or_default();
        *findings = found;
        match wanted {
            Some(request) => Ok(Turn::Wants(request)),
            None => said.and_then(|said| checked(said, self.network)).map(Turn::Answered),
        }
    }

    /// Asks with an author's answers in place of a service's.
    pub(crate) fn ask_scripted(
        &mut self,
        login: &Login,
        script: Arc<dyn Script>,
    ) -> Result<Answer, PolicyFailure> {
        self.ask(login, &mut Findings::default(), &Beyond::Script(script))?.answered()
    }
}

impl Turn {
    fn answered(self) -> Result<Answer, PolicyFailure> {
        match self {
            Self::Answered(answer) => Ok(answer),
            Self::Wants(_) => Err(PolicyFailure::Unavailable("it wants to look up something new".to_owned())),
        }
    }
}

impl AuthPolicy for WasmAuth {
    /// Whatever it looks up is unavailable.
    fn authorize(&mut self, login: &Login) -> Result<Answer, PolicyFailure> {
        self.ask(login, &mut Findings::default(), &Beyond::Silent)?.answered()
    }
}

fn checked(said: Result<wit::Grant, wit::Refusal>, network: Network) -> Result<Answer, PolicyFailure> {
    match said {
        Ok(answer) => grant(&answer, network),
        Err(answer) => Ok(Err(refusal(&answer))),
    }
}

fn grant(answer: &wit::Grant, network: Network) -> Result<Result<Grant, Refusal>, PolicyFailure> {
    let account = AccountName::new(&answer.account).map_err(bad_answer)?;
    let worker = WorkerName::new(&answer.worker).map_err(bad_answer)?;
    let payout_address = match answer.payout_address.as_deref().map(|text| payout_address(text, network)) {
        None => None,
        Some(Ok(address)) => Some(address),
        // What the login says is the miner's: refused, not held against the policy.
        Some(Err(why)) => return Ok(Err(Refusal::Forbidden(why))),
    };
    let start = answer.start_difficulty.map(difficulty).transpose()?;
    let minimum = answer.minimum_difficulty.map(difficulty).transpose()?;
    let maximum = answer.maximum_difficulty.map(difficulty).transpose()?;
    if let (Some(low), Some(high)) = (minimum, maximum)
        && low > high
    {
        return Err(bad_answer(format_args!("the minimum difficulty {low} is above the maximum {high}")));
    }
    Ok(Ok(Grant { account, worker, payout_address, start, minimum, maximum }))
}

fn payout_address(text: &str, network: Network) -> Result<Address, String> {
    let refused = || printable(&format!("{text} is no address of this pool's network ({network})"));
    let address: Address<NetworkUnchecked> = text.parse().map_err(|_| refused())?;
    address.require_network(network).map_err(|_| refused())
}

fn refusal(answer: &wit::Refusal) -> Refusal {
    match answer {
        wit::Refusal::UnknownUser(text) => Refusal::UnknownUser(printable(text)),
        wit::Refusal::WrongPassword(text) => Refusal::WrongPassword(printable(text)),
        wit::Refusal::Forbidden(text) => Refusal::Forbidden(printable(text)),
        wit::Refusal::TryLater(text) => Refusal::TryLater(printable(text)),
    }
}
