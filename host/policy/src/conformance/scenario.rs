//! An author's own calls and the answers that must come.

use std::sync::Arc;

use serde::Deserialize;
use serde_json::Value;
use sluice_core::policy::payout::{self as core_payout, PayoutPolicy};
use sluice_core::policy::split::split;
use sluice_core::policy::vardiff::{self as core_vardiff, VardiffPolicy};
use sluice_core::policy::{PolicyKind, accrual, auth as core_auth};

use super::lookups::{Answers, Lookup};
use super::{Check, Sheet, answer, load, matching, question};
use crate::auth::WasmAuth;
use crate::config::Settings;
use crate::error::LoadError;
use crate::load::{Loaded, Loader};
use crate::payout::WasmPayout;
use crate::vardiff::WasmVardiff;

/// A scenario file.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Scenarios {
    /// The policy's table, as in a pool's configuration.
    #[serde(default)]
    pub settings: Settings,
    /// The network that payout addresses are checked against; `main` where it is not given.
    pub network: Option<String>,
    /// Where the settings must be refused: a part of what the policy says of them. There are no calls then.
    pub refused: Option<String>,
    /// In order; the calls of a file are made to one instance, those to a payout policy each to a fresh one.
    #[serde(default, rename = "call")]
    pub calls: Vec<Call>,
}

/// One call.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Call {
    pub name: String,
    pub function: Function,
    /// Fields that are left out get neutral values.
    #[serde(default)]
    pub input: Value,
    /// What services say, where the policy looks things up; every other request is unavailable.
    #[serde(default)]
    pub lookups: Vec<Lookup>,
    /// Only what is given is compared.
    pub expect: Value,
}

/// What a policy can be asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Function {
    Authorize,
    Open,
    ReviewAll,
    DescribePlan,
    Settle,
    Accrue,
}

impl Function {
    fn kind(self) -> PolicyKind {
        match self {
            Self::Authorize => PolicyKind::Auth,
            Self::Open | Self::ReviewAll => PolicyKind::Vardiff,
            Self::DescribePlan | Self::Settle | Self::Accrue => PolicyKind::Payout,
        }
    }
}

impl Scenarios {
    /// Makes the calls of a file and compares the answers.
    pub fn run(&self, wasm: &[u8], kind: PolicyKind, loader: &Loader) -> Vec<Check> {
        let mut sheet = Sheet::default();
        match (load(wasm, kind, &self.settings, loader), &self.refused) {
            (Ok(loaded), None) => self.calls(&mut sheet, loaded),
            (outcome, Some(part)) => {
                sheet.note(format!("the settings are refused: {part}"), refused(outcome.err(), part));
            }
            (Err(why), None) => sheet.note("the settings of the scenarios are taken", Err(why.to_string())),
        }
        sheet.checks
    }

    fn calls(&self, sheet: &mut Sheet, mut loaded: Loaded) {
        if let Some(name) = &self.network {
            match bitcoin::Network::from_core_arg(name) {
                Ok(network) => loaded.network = network,
                Err(_) => {
                    let why =
                        format!("network {name:?}; main, test, testnet4, signet and regtest are allowed");
                    return sheet.note("the network of the scenarios is one", Err(why));
                }
            }
        }
        let mut asked = Asked::new(Arc::new(loaded));
        for call in &self.calls {
            sheet.note(call.name.clone(), asked.check(call));
        }
    }

    /// The first login that is expected to be let in, and what services say to it: what a bench asks an auth policy.
    pub fn welcome_login(&self) -> Option<(core_auth::Login, Vec<Lookup>)> {
        let welcome = |call: &&Call| call.function == Function::Authorize && call.expect.get("ok").is_some();
        let call = self.calls.iter().find(welcome)?;
        let login = question::read::<question::Login>(&call.input).ok()?;
        Some((login.into(), call.lookups.clone()))
    }
}

fn refused(error: Option<LoadError>, part: &str) -> Result<(), String> {
    match error {
        Some(LoadError::Settings(why)) if why.contains(part) => Ok(()),
        Some(LoadError::Settings(why)) => Err(format!("what it says does not contain {part:?}: {why}")),
        Some(other) => Err(other.to_string()),
        None => Err("it takes them".to_owned()),
    }
}

fn compared(expect: &Value, got: &Value) -> Result<(), String> {
    matching::difference(expect, got).map_or(Ok(()), Err)
}

/// A policy that is asked one call after the other. An instance that trapped is replaced, as the pool does.
struct Asked {
    loaded: Arc<Loaded>,
    auth: Option<WasmAuth>,
    vardiff: Option<WasmVardiff>,
}

impl Asked {
    fn new(loaded: Arc<Loaded>) -> Self {
        Self { loaded, auth: None, vardiff: None }
    }

    fn check(&mut self, call: &Call) -> Result<(), String> {
        let kind = self.loaded.kind;
        if call.function.kind() != kind {
            let other = call.function.kind();
            return Err(format!(
                "{:?} is a function of {other} policies, this is a {kind} policy",
                call.function
            ));
        }
        let answered = match kind {
            PolicyKind::Auth => return self.check_login(call),
            PolicyKind::Vardiff => self.ask_vardiff(call.function, &call.input),
            PolicyKind::Payout => {
                ask_payout(WasmPayout::new(self.loaded.clone()), call.function, &call.input)
            }
        };
        let got = answered.inspect_err(|_| (self.auth, self.vardiff) = (None, None))?;
        compared(&call.expect, &got)
    }

    /// Says which requests nobody answered, where the answer is another than expected.
    fn check_login(&mut self, call: &Call) -> Result<(), String> {
        let answers = Arc::new(Answers::new(&call.lookups)?);
        let got = self.ask_auth(&call.input, &answers).inspect_err(|_| self.auth = None)?;
        compared(&call.expect, &got).map_err(|difference| match answers.unanswered() {
            Some(requests) => format!("{difference}; its `lookups` do not answer {requests}"),
            None => difference,
        })
    }

    fn ask_auth(&mut self, input: &Value, answers: &Arc<Answers>) -> Result<Value, String> {
        let login: core_auth::Login = question::read::<question::Login>(input)?.into();
        let mut policy = match self.auth.take() {
            Some(policy) => policy,
            None => WasmAuth::new(&self.loaded).map_err(|failure| failure.to_string())?,
        };
        let answered = policy
            .ask_scripted(&login, answers.clone())
            .map(|answer| answer::login(&answer))
            .or_else(answer::failure)?;
        self.auth = Some(policy);
        Ok(answered)
    }

    fn ask_vardiff(&mut self, function: Function, input: &Value) -> Result<Value, String> {
        let mut policy = match self.vardiff.take() {
            Some(policy) => policy,
            None => WasmVardiff::new(&self.loaded).map_err(|failure| failure.to_string())?,
        };
        let answered = if function == Function::Open {
            let opening: core_vardiff::Opening = question::read::<question::Opening>(input)?.try_into()?;
            policy.open(&opening).map(|decision| answer::ok(answer::decision(&decision)))
        } else {
            let reviews = self.reviews(input)?;
            let all =
                |list: Vec<core_vardiff::Decision>| answer::ok(list.iter().map(answer::decision).collect());
            policy.review_all(&reviews).map(all)
        };
        let answered = answered.or_else(answer::failure)?;
        self.vardiff = Some(policy);
        Ok(answered)
    }

    fn reviews(&self, input: &Value) -> Result<Vec<core_vardiff::Review>, String> {
        let format = self.loaded.descriptor.memo_format;
        question::read_list::<question::Review>(input)?.into_iter().map(|one| one.question(format)).collect()
    }
}

fn ask_payout(mut policy: WasmPayout, function: Function, input: &Value) -> Result<Value, String> {
    match function {
        Function::Settle => {
            let round: core_payout::Round = question::read::<question::Round>(input)?.into();
            let answered = policy.settle(&round);
            if let Ok(list) = &answered {
                split(round.reward(), list, &|_| true)
                    .map_err(|error| format!("the pool would refuse the answer: {error}"))?;
            }
            answered.map(|list| answer::ok(answer::entitlements(&list))).or_else(answer::failure)
        }
        Function::Accrue => {
            let tallies: Vec<core_payout::Tally> =
                question::read_list::<question::Tally>(input)?.into_iter().map(Into::into).collect();
            let answered = policy.accrue(&tallies);
            if let Ok(list) = &answered {
                accrual::check(&tallies, list, &|_| true)
                    .map_err(|error| format!("the pool would refuse the answer: {error}"))?;
            }
            answered.map(|list| answer::ok(answer::accruals(&list))).or_else(answer::failure)
        }
        _ => policy.plan().map(answer::plan).or_else(answer::failure),
    }
}
