//! What a policy costs, for `sluice plugin bench`: one policy alone, asked on the caller's thread as its slot would.

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};

use serde::Serialize;
use sluice_core::bitcoin::Amount;
use sluice_core::ids::{AccountName, Protocol, WorkerName};
use sluice_core::policy::auth::Login;
use sluice_core::policy::payout::{Contribution, PayoutPolicy, Round, Window};
use sluice_core::policy::vardiff::{ChannelFacts, Memo, Opening, Review, VardiffPolicy};
use sluice_core::policy::{Client, PolicyFailure, PolicyKind};
use sluice_core::units::{Difficulty, Timestamp};

use crate::auth::WasmAuth;
use crate::compile::content_hash;
use crate::config::SlotConfig;
use crate::conformance::{Lookup, answers};
use crate::counters::Counters;
use crate::error::LoadError;
use crate::load::{Candidate, Loaded, Loader};
use crate::lookup::Script;
use crate::payout::WasmPayout;
use crate::sheet::Role;
use crate::vardiff::WasmVardiff;

mod suggestion;

pub use suggestion::Suggestion;

/// The longest that one question is asked again and again.
const TIME_LIMIT: Duration = Duration::from_secs(10);
/// Instances that are made to see how long it takes.
const INSTANCES: u32 = 50;
/// The most reviews that the pool asks about at once.
const BATCH: usize = 256;
/// Accounts of the larger round.
const ACCOUNTS: usize = 1000;

/// How a number was spread over many measurements.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub struct Spread {
    pub p50: u64,
    pub p90: u64,
    pub p99: u64,
    pub max: u64,
}

impl Spread {
    fn of(mut values: Vec<u64>) -> Self {
        values.sort_unstable();
        let at = |permille: usize| {
            let index = (values.len() * permille / 1000).min(values.len().saturating_sub(1));
            values.get(index).copied().unwrap_or(0)
        };
        Self { p50: at(500), p90: at(900), p99: at(990), max: at(1000) }
    }
}

/// One question, asked many times. Times are nanoseconds, fuel is as wasmtime counts it.
#[derive(Clone, Debug, Serialize)]
pub struct Asked {
    pub question: &'static str,
    /// Reviews or accounts that it is about.
    pub items: usize,
    pub calls: usize,
    /// The first call to a fresh instance.
    pub first_ns: u64,
    pub time_ns: Spread,
    pub fuel: Spread,
    /// The largest answer, in bytes.
    pub answer: u64,
}

/// What was measured of a policy.
#[derive(Clone, Debug, Serialize)]
pub struct Measured {
    pub name: String,
    pub version: String,
    pub sha256: String,
    pub bytes: usize,
    /// From bytes to machine code, in the pool's own way.
    pub compile_cold_ns: u64,
    /// The same where the code is in the cache.
    pub compile_cached_ns: u64,
    /// A fresh instance with its settings in force.
    pub instantiate_ns: Spread,
    /// The most bytes of linear memory that an instance held.
    pub memory: u64,
    /// The most elements of tables that an instance held.
    pub table_elements: u64,
    /// The most fuel that instantiating, describe, configure or self-test took.
    pub setup_fuel: u64,
    pub questions: Vec<Asked>,
}

/// What a policy is asked, and how often.
#[derive(Clone, Debug)]
pub struct Questions {
    /// For auth policies.
    pub login: Login,
    /// What services say to it.
    pub lookups: Vec<Lookup>,
    /// Of each question.
    pub calls: usize,
}

/// Measures a policy. `loader` must have an empty cache, or compiling is not measured.
///
/// # Errors
/// It does not load with these settings, or it fails when it is asked.
pub fn measure(
    wasm: &[u8],
    kind: PolicyKind,
    config: &SlotConfig,
    questions: &Questions,
    loader: &Loader,
) -> Result<Measured, MeasureError> {
    let hash = content_hash(wasm);
    let compile = || loader.cache.component(wasm, &hash, &|| false);
    let (compile_cold_ns, _) = timed(compile)?;
    let (compile_cached_ns, _) = timed(compile)?;
    let (settings, limits) = (&config.settings, &config.limits);
    let candidate = Candidate { kind, bytes: wasm, hash: &hash, settings, limits, may_look_up: true };
    let proved = loader.load(&candidate, &|| false)?;
    let loaded = proved.with_role(Role::Candidate, 0);
    // What describe and self-test took.
    loaded.sheet.counters.absorb(&proved.sheet.counters);
    let instances = (0..INSTANCES).map(|_| timed(|| loaded.instance()).map(|(nanos, _)| nanos));
    let instantiate_ns = Spread::of(instances.collect::<Result<_, PolicyFailure>>()?);
    let bench = Bench { loaded, calls: questions.calls };
    let questions = match kind {
        PolicyKind::Auth => {
            bench.auth(&questions.login, &answers(&questions.lookups).map_err(MeasureError::Lookups)?)?
        }
        PolicyKind::Vardiff => bench.vardiff()?,
        PolicyKind::Payout => bench.payout()?,
    };
    Ok(Measured {
        name: bench.loaded.descriptor.name.clone(),
        version: bench.loaded.descriptor.version.clone(),
        sha256: hash,
        bytes: wasm.len(),
        compile_cold_ns,
        compile_cached_ns,
        instantiate_ns,
        memory: bench.counters().memory_peak.load(Relaxed),
        table_elements: bench.counters().table_peak.load(Relaxed),
        setup_fuel: bench.counters().setup_fuel_peak.load(Relaxed),
        questions,
    })
}

/// Why nothing was measured.
#[derive(Debug, thiserror::Error)]
pub enum MeasureError {
    #[error(transparent)]
    Load(#[from] LoadError),
    #[error(transparent)]
    Failed(#[from] PolicyFailure),
    /// What services are to say is no answer.
    #[error("{0}")]
    Lookups(String),
}

/// Nanoseconds.
fn timed<T, E>(what: impl FnOnce() -> Result<T, E>) -> Result<(u64, T), E> {
    let began = Instant::now();
    let value = what()?;
    Ok((u64::try_from(began.elapsed().as_nanos()).unwrap_or(u64::MAX), value))
}

struct Bench {
    loaded: Arc<Loaded>,
    calls: usize,
}

impl Bench {
    fn counters(&self) -> &Counters {
        &self.loaded.sheet.counters
    }

    fn auth(&self, login: &Login, services: &Arc<dyn Script>) -> Result<Vec<Asked>, PolicyFailure> {
        let mut policy = WasmAuth::new(&self.loaded)?;
        let ask = || policy.ask_scripted(login, services.clone()).map(|_| ());
        Ok(vec![self.ask("authorize", 1, ask)?])
    }

    fn vardiff(&self) -> Result<Vec<Asked>, PolicyFailure> {
        let fresh = || WasmVardiff::new(&self.loaded);
        let (mut policy, opening) = (fresh()?, opening());
        let open = self.ask("open", 1, || policy.open(&opening).map(|_| ()))?;
        let (mut policy, one) = (fresh()?, reviews(1));
        let alone = self.ask("review-all of 1", 1, || policy.review_all(&one).map(|_| ()))?;
        let (mut policy, many) = (fresh()?, reviews(BATCH));
        let batch = self.ask("review-all of 256", BATCH, || policy.review_all(&many).map(|_| ()))?;
        Ok(vec![open, alone, batch])
    }

    fn payout(&self) -> Result<Vec<Asked>, PolicyFailure> {
        let mut policy = WasmPayout::new(self.loaded.clone());
        let window = policy.plan()?.window;
        let mut settle = |question, accounts| {
            let round = round(if window == Window::None { 0 } else { accounts });
            self.ask(question, accounts, || policy.settle(&round).map(|_| ()))
        };
        Ok(vec![settle("settle of 10", 10)?, settle("settle of 1,000", ACCOUNTS)?])
    }

    fn ask(
        &self,
        question: &'static str,
        items: usize,
        mut call: impl FnMut() -> Result<(), PolicyFailure>,
    ) -> Result<Asked, PolicyFailure> {
        let began = Instant::now();
        self.counters().answer_peak.store(0, Relaxed);
        let (first_ns, ()) = timed(&mut call)?;
        let (mut times, mut fuels) = (Vec::new(), Vec::new());
        while times.len() < self.calls && (times.is_empty() || began.elapsed() < TIME_LIMIT) {
            self.counters().fuel_peak.store(0, Relaxed);
            times.push(timed(&mut call)?.0);
            fuels.push(self.counters().fuel_peak.load(Relaxed));
        }
        let (calls, time_ns, fuel) = (times.len(), Spread::of(times), Spread::of(fuels));
        let answer = self.counters().answer_peak.load(Relaxed);
        Ok(Asked { question, items, calls, first_ns, time_ns, fuel, answer })
    }
}

fn channel() -> Arc<ChannelFacts> {
    let client = Client {
        protocol: Protocol::StratumV1,
        listener: Arc::from("main"),
        address: Arc::from("203.0.113.7"),
        agent: Arc::from("cgminer/4.12"),
        hardware: Arc::from(""),
    };
    Arc::new(ChannelFacts {
        account: AccountName::new("alice").expect("a short name"),
        worker: WorkerName::new("rig-1").expect("a short name"),
        client,
        password: None,
        floor: Difficulty::ONE,
        ceiling: Difficulty::MAX,
    })
}

fn opening() -> Opening {
    let now = Timestamp(1_700_000_000_000);
    Opening { channel: channel(), now, start: None, suggested: None, nominal_hashrate: Some(1e12) }
}

fn reviews(count: usize) -> Vec<Review> {
    let channel = channel();
    let one = |index: usize| Review {
        channel: channel.clone(),
        now: Timestamp(1_700_000_000_000),
        current: Difficulty::saturating(1024.0),
        elapsed: Duration::from_secs(60),
        accepted: u32::try_from(index % 60).unwrap_or(0),
        rejected: 0,
        work: (index % 60) as f64 * 1024.0,
        suggested: None,
        nominal_hashrate: None,
        memo: Memo::default(),
    };
    (18..18 + count).map(one).collect()
}

fn round(accounts: usize) -> Round {
    let contribution =
        |index| Contribution { account: format!("account{index:04}"), work: 1000 + index as u64, shares: 10 };
    Round {
        found: true,
        height: 900_000,
        at: Timestamp(1_700_000_000_000),
        subsidy: Amount::from_sat(312_500_000),
        fees: Amount::from_sat(1_234_567),
        network_difficulty: 1e14,
        finder: String::new(),
        work_unit: 1.0,
        contributions: (0..accounts).map(contribution).collect(),
    }
}
