//! Login to account and worker.

use std::sync::Arc;

use sluice_core::bitcoin::{Address, Network, address::NetworkUnchecked};
use sluice_core::ids::{AccountName, WorkerName};
use sluice_core::policy::auth::{AuthPolicy, Grant, Login, Refusal};
use sluice_core::policy::{PolicyFailure, PolicyKind};
use tokio::sync::oneshot;

use crate::bindings::auth as wit;
use crate::check::{bad_answer, client, difficulty, printable};
use crate::instance::Instance;
use crate::load::{Interface, Loaded};
use crate::policies::TRY_LATER;
use crate::shadow::{Unlike, verdict};
use crate::slot::{Desk, Kind};

/// A login that waits for its answer.
pub(crate) struct AuthJob {
    pub(crate) login: Login,
    pub(crate) reply: oneshot::Sender<Result<Grant, Refusal>>,
}

pub(crate) struct Auth;

impl Kind for Auth {
    const KIND: PolicyKind = PolicyKind::Auth;
    const BAD_ANSWERS: u32 = 64;
    type Policy = dyn AuthPolicy;
    type Job = AuthJob;
    type Sample = Login;
    const SHADOW_QUEUE: usize = 1024;
    type Case = AuthCase;
    type Memory = ();

    fn instance(loaded: &Arc<Loaded>) -> Result<Box<dyn AuthPolicy>, PolicyFailure> {
        Ok(Box::new(WasmAuth::new(loaded)?))
    }

    fn serve(desk: &mut Desk<Self>, jobs: &mut Vec<AuthJob>) {
        for AuthJob { login, reply } in jobs.drain(..) {
            // The miner is gone.
            if reply.is_closed() {
                continue;
            }
            let answer = desk.ask(1, |policy| policy.authorize(&login));
            let well = answer.is_ok();
            desk.shadow(1, || AuthCase { login: login.clone(), live: answer.clone() });
            let answer = answer.unwrap_or_else(|_| Err(Refusal::TryLater(TRY_LATER.to_owned())));
            let _ = reply.send(answer);
            if well {
                desk.sample(login);
            }
        }
    }

    fn try_on(policy: &mut Self::Policy, sample: &Login) -> Result<(), PolicyFailure> {
        policy.authorize(sample).map(|_| ())
    }

    /// Alike: the same grant, or a refusal of the same sort.
    fn compare(
        policy: &mut Self::Policy,
        (): &mut (),
        case: &AuthCase,
    ) -> Result<Vec<Unlike>, PolicyFailure> {
        let differ =
            |live: &Answer, shadow: &Answer| (!alike(live, shadow)).then(|| [tell(live), tell(shadow)]);
        let answers = verdict(&case.live, policy.authorize(&case.login), differ, tell)?;
        let Login { username, client, .. } = &case.login;
        let input = || format!("{username} by {} ({})", client.protocol, client.agent);
        Ok(answers.map(|answers| Unlike { input: input(), answers }).into_iter().collect())
    }

    fn redact(case: &AuthCase, text: String) -> String {
        match case.login.password.as_deref() {
            // Shorter ones guard nothing ("x"), and are parts of words.
            Some(password) if password.len() >= SECRET_LENGTH => text.replace(password, "***"),
            _ => text,
        }
    }
}

type Answer = Result<Grant, Refusal>;

/// The shortest password that is kept out of examples, in bytes.
const SECRET_LENGTH: usize = 3;

/// A login and what the miner was told.
pub(crate) struct AuthCase {
    login: Login,
    live: Result<Answer, PolicyFailure>,
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

/// The auth policy behind the contract.
pub(crate) struct WasmAuth {
    instance: Instance,
    guest: wit::Guest,
    network: Network,
}

impl WasmAuth {
    pub(crate) fn new(loaded: &Arc<Loaded>) -> Result<Self, PolicyFailure> {
        let mut instance = loaded.instance()?;
        let Interface::Auth(indices) = &loaded.interface else { return Err(loaded.wrong_kind()) };
        let guest = instance.load(|store, instance| indices.load(store, instance))?;
        Ok(Self { instance, guest, network: loaded.network })
    }
}

impl AuthPolicy for WasmAuth {
    fn authorize(&mut self, login: &Login) -> Result<Result<Grant, Refusal>, PolicyFailure> {
        let question = wit::Login {
            username: &login.username,
            password: login.password.as_deref(),
            client: client(&login.client),
        };
        let guest = &self.guest;
        match self.instance.call(1, |store| guest.call_authorize(store, question))? {
            Ok(answer) => grant(&answer, self.network),
            Err(answer) => Ok(Err(refusal(&answer))),
        }
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
