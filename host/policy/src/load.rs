//! From a file's bytes to a generation: checked, compiled, configured and tested.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use serde_json::Value;
use sluice_core::bitcoin::Network;
use sluice_core::policy::auth::AuthPolicy;
use sluice_core::policy::payout::PayoutPolicy;
use sluice_core::policy::vardiff::VardiffPolicy;
use sluice_core::policy::{Descriptor, PolicyFailure, PolicyKind};
use wasmtime::Engine;
use wasmtime::component::{Component, InstancePre, Linker};

use crate::auth::WasmAuth;
use crate::bindings::{auth, lifecycle, payout, types, vardiff};
use crate::check::{TEXT_LIMIT, bad_answer, bounded, lifted};
use crate::compile::{CodeCache, content_hash};
use crate::component::Outline;
use crate::config::{Compiler, Limits, Settings, SlotConfig};
use crate::engine::{engine, tick};
use crate::error::{LoadError, StartError};
use crate::instance::{Guest, Instance, Terms, linker};
use crate::payout::WasmPayout;
use crate::sheet::{Bearer, Role, Sheet};
use crate::status::PolicyIdentity;
use crate::vardiff::WasmVardiff;

/// The longest JSON Schema of settings, in bytes.
const SCHEMA_LIMIT: usize = 64 << 10;
const NAME_LIMIT: usize = 64;

/// Where the functions of a kind are.
#[derive(Clone)]
pub(crate) enum Interface {
    Auth(auth::GuestIndices),
    Vardiff(vardiff::GuestIndices),
    Payout(payout::GuestIndices),
}

/// A component with its settings, proved: makes instances.
#[derive(Clone)]
pub(crate) struct Loaded {
    pub(crate) kind: PolicyKind,
    pub(crate) hash: String,
    /// Canonical JSON.
    pub(crate) settings: Arc<str>,
    pub(crate) descriptor: Descriptor,
    pub(crate) interface: Interface,
    pub(crate) network: Network,
    /// It imports `lookup`.
    pub(crate) looks_up: bool,
    pub(crate) limits: Limits,
    /// Where its instances count, and whose name their log lines have.
    pub(crate) sheet: Arc<Sheet>,
    engine: Engine,
    pre: InstancePre<Guest>,
    lifecycle: lifecycle::GuestIndices,
    /// Holds the component's file where it can be loaded again.
    kept: Option<Arc<str>>,
}

impl Loaded {
    /// A fresh instance with the settings in force.
    pub(crate) fn instance(&self) -> Result<Instance, PolicyFailure> {
        let (mut instance, guest) = self.bare()?;
        let configured = instance.set_up(|store| guest.call_configure(store, &self.settings))?;
        // They were accepted before.
        configured.map_err(|error| {
            PolicyFailure::Internal(format!("it now refuses its settings: {}", lifted(error)))
        })?;
        Ok(instance)
    }

    fn bare(&self) -> Result<(Instance, lifecycle::Guest), PolicyFailure> {
        let terms = Terms { limits: self.limits, sheet: self.sheet.clone() };
        let mut instance = Instance::new(&self.engine, &self.pre, &terms)?;
        let guest = instance.load(|store, instance| self.lifecycle.load(store, instance))?;
        Ok((instance, guest))
    }

    /// Bytes of linear memory that an instance may hold.
    pub(crate) fn memory_limit(&self) -> u64 {
        u64::try_from(self.limits.memory).unwrap_or(u64::MAX)
    }

    pub(crate) fn wrong_kind(&self) -> PolicyFailure {
        bad_answer(format_args!("it is of kind {}", self.kind))
    }

    pub(crate) fn identity(&self, generation: u64) -> PolicyIdentity {
        PolicyIdentity {
            name: self.descriptor.name.clone(),
            version: self.descriptor.version.clone(),
            hash: self.hash.clone(),
            settings: self.settings.to_string(),
            generation,
        }
    }

    /// The same with a sheet of its own: what a candidate does while it is tried is not the doing of what serves.
    pub(crate) fn with_role(&self, role: Role, generation: u64) -> Arc<Self> {
        let Descriptor { name, version, .. } = self.descriptor.clone();
        let bearer = Bearer { role, kind: self.kind, name, version, hash: self.hash.clone(), generation };
        Arc::new(Self { sheet: Sheet::new(bearer, &self.limits), ..self.clone() })
    }

    /// Describe, configure, self-test, in one instance.
    fn prove(mut self) -> Result<Self, LoadError> {
        let (mut instance, guest) = self.bare().map_err(|failure| self.start_failure(failure))?;
        let said = instance.set_up(|store| guest.call_describe(store)).map_err(LoadError::Describe)?;
        self.descriptor = descriptor(said).map_err(LoadError::Describe)?;
        let named = self.with_role(Role::Candidate, 0).sheet.clone();
        named.counters.absorb(&self.sheet.counters);
        instance.counts_on(&named);
        self.sheet = named;
        let configured = instance
            .set_up(|store| guest.call_configure(store, &self.settings))
            .map_err(LoadError::Configure)?;
        configured.map_err(|error| match error {
            types::PolicyError::BadSettings(text) | types::PolicyError::BadInput(text) => {
                LoadError::Settings(bounded(&text, 5 * TEXT_LIMIT))
            }
            types::PolicyError::Internal(_) => LoadError::Configure(lifted(error)),
        })?;
        let tested = instance.set_up(|store| guest.call_self_test(store)).map_err(LoadError::SelfTest)?;
        tested.map_err(|error| LoadError::SelfTest(lifted(error)))?;
        drop(instance);
        self.check_interface()?;
        Ok(self)
    }

    fn start_failure(&self, failure: PolicyFailure) -> LoadError {
        match failure {
            PolicyFailure::BadAnswer(why) => LoadError::World { kind: self.kind, why },
            other => LoadError::Instantiate(other.to_string()),
        }
    }

    /// The functions of the kind have the types of the contract; a payout policy's plan makes sense.
    fn check_interface(&self) -> Result<(), LoadError> {
        let loaded = Arc::new(self.clone());
        let shape = |failure| self.start_failure(failure);
        match self.kind {
            PolicyKind::Auth => WasmAuth::new(&loaded).map(|_| ()).map_err(shape),
            PolicyKind::Vardiff => WasmVardiff::new(&loaded).map(|_| ()).map_err(shape),
            PolicyKind::Payout => {
                let mut payout = WasmPayout::new(loaded);
                payout.look_up().map_err(shape)?;
                payout.plan().map(|_| ()).map_err(LoadError::Plan)
            }
        }
    }
}

fn descriptor(said: lifecycle::Descriptor) -> Result<Descriptor, PolicyFailure> {
    let name = bounded(&said.name, NAME_LIMIT);
    if name.is_empty() || !name.bytes().all(|byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'-')) {
        return Err(bad_answer(format_args!("the name {name:?}; lower case, digits and '-' are allowed")));
    }
    if said.settings_schema.len() > SCHEMA_LIMIT {
        let length = said.settings_schema.len();
        return Err(bad_answer(format_args!(
            "a settings schema of {length} bytes; at most {SCHEMA_LIMIT} are allowed"
        )));
    }
    Ok(Descriptor {
        name,
        version: bounded(&said.version, NAME_LIMIT),
        summary: bounded(&said.summary, TEXT_LIMIT),
        settings_schema: said.settings_schema,
        memo_format: said.memo_format,
    })
}

/// JSON with sorted keys and no white space: equal settings are equal text.
pub(crate) fn canonical(settings: &Settings) -> Arc<str> {
    fn sorted(value: &Value) -> String {
        match value {
            Value::Object(map) => {
                let sorted_keys: BTreeMap<&String, &Value> = map.iter().collect();
                let members: Vec<String> = sorted_keys
                    .into_iter()
                    .map(|(key, value)| format!("{}:{}", Value::from(key.as_str()), sorted(value)))
                    .collect();
                format!("{{{}}}", members.join(","))
            }
            Value::Array(list) => format!("[{}]", list.iter().map(sorted).collect::<Vec<_>>().join(",")),
            other => other.to_string(),
        }
    }
    Arc::from(sorted(&Value::Object(settings.clone())))
}

/// Turns bytes into policies. What the slots use, and what audits, backtests, tests and benches use without slots.
pub struct Loader {
    engine: Engine,
    linker: Linker<Guest>,
    pub(crate) cache: CodeCache,
    network: Network,
}

/// What is to be loaded.
pub(crate) struct Candidate<'a> {
    pub(crate) kind: PolicyKind,
    pub(crate) bytes: &'a [u8],
    pub(crate) hash: &'a str,
    pub(crate) settings: &'a Settings,
    pub(crate) limits: &'a Limits,
    /// The configuration grants it a URL, or there is no configuration to ask.
    pub(crate) may_look_up: bool,
}

impl Loader {
    /// # Errors
    /// An engine that does not start, a cache that is not private.
    pub fn new(cache_dir: &Path, compiler: Compiler, network: Network) -> Result<Self, StartError> {
        let engine = engine()?;
        tick(&engine)?;
        let linker = linker(&engine).map_err(|error| StartError::Engine(format!("{error:#}")))?;
        let cache = CodeCache::open(cache_dir, compiler, engine.clone())?;
        Ok(Self { engine, linker, cache, network })
    }

    /// An auth policy that the caller asks directly, on a thread with at least 2 MiB of stack. It is not replaced when it
    /// traps.
    ///
    /// # Errors
    /// [`LoadError`].
    pub fn auth(&self, wasm: &[u8], config: &SlotConfig) -> Result<Box<dyn AuthPolicy>, LoadError> {
        let loaded = self.alone(PolicyKind::Auth, wasm, config)?;
        Ok(Box::new(WasmAuth::new(&loaded).map_err(|failure| loaded.start_failure(failure))?))
    }

    /// As [`Loader::auth`].
    ///
    /// # Errors
    /// [`LoadError`].
    pub fn vardiff(&self, wasm: &[u8], config: &SlotConfig) -> Result<Box<dyn VardiffPolicy>, LoadError> {
        let loaded = self.alone(PolicyKind::Vardiff, wasm, config)?;
        Ok(Box::new(WasmVardiff::new(&loaded).map_err(|failure| loaded.start_failure(failure))?))
    }

    /// As [`Loader::auth`]; a fresh instance answers each question.
    ///
    /// # Errors
    /// [`LoadError`].
    pub fn payout(&self, wasm: &[u8], config: &SlotConfig) -> Result<Box<dyn PayoutPolicy>, LoadError> {
        Ok(Box::new(WasmPayout::new(self.alone(PolicyKind::Payout, wasm, config)?)))
    }

    fn alone(&self, kind: PolicyKind, bytes: &[u8], config: &SlotConfig) -> Result<Arc<Loaded>, LoadError> {
        let hash = content_hash(bytes);
        let SlotConfig { settings, limits, .. } = config;
        let may_look_up = config.may_look_up();
        let candidate = Candidate { kind, bytes, hash: &hash, settings, limits, may_look_up };
        self.load(&candidate, &|| false).map(Arc::new)
    }

    /// Every step from bytes to a proved generation. `superseded` is asked while it compiles.
    pub(crate) fn load(
        &self,
        candidate: &Candidate<'_>,
        superseded: &dyn Fn() -> bool,
    ) -> Result<Loaded, LoadError> {
        let outline = checked(candidate)?;
        let component = self.cache.component(candidate.bytes, candidate.hash, superseded)?;
        let mut loaded = self.bind(&component, candidate, &outline)?.prove()?;
        loaded.kept = Some(self.cache.keep(candidate.kind, candidate.bytes, candidate.hash)?);
        Ok(loaded)
    }

    /// What a component says of itself before it has settings.
    pub(crate) fn describe(&self, candidate: &Candidate<'_>) -> Result<Descriptor, LoadError> {
        let outline = checked(candidate)?;
        let component = self.cache.component(candidate.bytes, candidate.hash, &|| false)?;
        let loaded = self.bind(&component, candidate, &outline)?;
        let (mut instance, guest) = loaded.bare().map_err(|failure| loaded.start_failure(failure))?;
        let said = instance.set_up(|store| guest.call_describe(store)).map_err(LoadError::Describe)?;
        descriptor(said).map_err(LoadError::Describe)
    }

    /// What is loaded already, with other settings.
    pub(crate) fn reconfigured(&self, loaded: &Loaded, settings: &Settings) -> Result<Loaded, LoadError> {
        Loaded {
            settings: canonical(settings),
            network: self.network,
            ..Loaded::clone(&loaded.with_role(Role::Candidate, 0))
        }
        .prove()
    }

    fn bind(
        &self,
        component: &Component,
        candidate: &Candidate<'_>,
        outline: &Outline,
    ) -> Result<Loaded, LoadError> {
        let kind = candidate.kind;
        let world =
            |error: wasmtime::Error| LoadError::World { kind, why: bounded(&format!("{error:#}"), 400) };
        let pre = self.linker.instantiate_pre(component).map_err(world)?;
        let interface = match kind {
            PolicyKind::Auth => auth::GuestIndices::new(&pre).map(Interface::Auth),
            PolicyKind::Vardiff => vardiff::GuestIndices::new(&pre).map(Interface::Vardiff),
            PolicyKind::Payout => payout::GuestIndices::new(&pre).map(Interface::Payout),
        };
        Ok(Loaded {
            kind,
            hash: candidate.hash.to_owned(),
            settings: canonical(candidate.settings),
            descriptor: Descriptor::default(),
            interface: interface.map_err(world)?,
            network: self.network,
            looks_up: outline.looks_up(),
            limits: *candidate.limits,
            // It has not said its name yet.
            sheet: Sheet::new(nameless(candidate), candidate.limits),
            engine: self.engine.clone(),
            lifecycle: lifecycle::GuestIndices::new(&pre).map_err(world)?,
            kept: None,
            pre,
        })
    }
}

fn checked(candidate: &Candidate<'_>) -> Result<Outline, LoadError> {
    let outline = Outline::read(candidate.bytes)?;
    outline.check(candidate.kind, candidate.may_look_up)?;
    Ok(outline)
}

fn nameless(candidate: &Candidate<'_>) -> Bearer {
    Bearer {
        role: Role::Candidate,
        kind: candidate.kind,
        name: String::new(),
        version: String::new(),
        hash: candidate.hash.to_owned(),
        generation: 0,
    }
}
