//! What a component asks for and offers, read from its bytes before anything is compiled.

use std::fmt;

use sluice_core::policy::PolicyKind;
use wasmparser::{Encoding, Parser, Payload};
use wasmtime::Engine;

use crate::check::{TEXT_LIMIT, bounded};
use crate::error::LoadError;

/// The largest component, in bytes. CPython's has 18 MB.
pub(crate) const SIZE_LIMIT: u64 = 64 << 20;
/// The most names that are listed; a component with more is refused.
const NAMES_LIMIT: usize = 1000;

const PACKAGE: &str = "sluice:policy/";
const LOOKUP: &str = "lookup";
/// The track of the contract that this host speaks: every 0.1.x.
const TRACK: (u64, u64) = (0, 1);
const VERSION: &str = "0.1.x";

/// The longest name that is shown, in bytes. Names of interfaces are shorter; a longer one is none that is granted.
const NAME_LIMIT: usize = 200;

/// Names at a component's surface, printable: they reach logs, pages and terminals.
#[derive(Clone, Debug, Default)]
pub(crate) struct Outline {
    pub(crate) imports: Vec<String>,
    pub(crate) exports: Vec<String>,
}

impl Outline {
    /// # Errors
    /// Bytes that are no component.
    pub(crate) fn read(bytes: &[u8]) -> Result<Self, LoadError> {
        let size = u64::try_from(bytes.len()).unwrap_or(u64::MAX);
        if size > SIZE_LIMIT {
            return Err(LoadError::TooLarge { size, limit: SIZE_LIMIT });
        }
        if Engine::detect_precompiled(bytes).is_some() || bytes.starts_with(b"\x7fELF") {
            return Err(LoadError::Precompiled);
        }
        let mut outline = Self::default();
        let mut depth = 0usize;
        for payload in Parser::new(0).parse_all(bytes) {
            match payload.map_err(malformed)? {
                Payload::Version { encoding: Encoding::Module, .. } if depth == 0 => {
                    return Err(LoadError::CoreModule);
                }
                Payload::ModuleSection { .. } | Payload::ComponentSection { .. } => depth += 1,
                Payload::End(_) => depth = depth.saturating_sub(1),
                Payload::ComponentImportSection(section) if depth == 0 => {
                    for import in section {
                        outline.imports.push(bounded(import.map_err(malformed)?.name.name, NAME_LIMIT));
                    }
                }
                Payload::ComponentExportSection(section) if depth == 0 => {
                    for export in section {
                        outline.exports.push(bounded(export.map_err(malformed)?.name.name, NAME_LIMIT));
                    }
                }
                _ => {}
            }
            if outline.imports.len() + outline.exports.len() > NAMES_LIMIT {
                return Err(LoadError::Malformed(format!("more than {NAMES_LIMIT} imports and exports")));
            }
        }
        Ok(outline)
    }

    /// Refuses what no policy is granted, lookups where nothing may be looked up, and what is not `kind` at the version
    /// this host speaks. Extra exports are normal, and never called.
    pub(crate) fn check(&self, kind: PolicyKind, may_look_up: bool) -> Result<(), LoadError> {
        for name in &self.imports {
            check_import(kind, name, may_look_up)?;
        }
        for interface in ["lifecycle", kind.label()] {
            self.check_export(kind, interface)?;
        }
        Ok(())
    }

    fn check_export(&self, kind: PolicyKind, interface: &str) -> Result<(), LoadError> {
        let world = |why: String| Err(LoadError::World { kind, why });
        let versions: Vec<Version<'_>> = self
            .exports
            .iter()
            .filter_map(|name| Version::of(name))
            .filter(|version| version.interface == interface)
            .collect();
        if versions.iter().any(Version::spoken) {
            return Ok(());
        }
        if let Some(other) = versions.first() {
            return world(other.unspoken());
        }
        let kinds: Vec<&str> = self.kinds().iter().map(|kind| kind.label()).collect();
        if kinds.is_empty() {
            return world(format!(
                "it exports {}; {PACKAGE}{interface}@{VERSION} is missing",
                list(&self.exports)
            ));
        }
        world(format!(
            "it is a policy of kind {}; {PACKAGE}{interface}@{VERSION} is missing",
            kinds.join(" and ")
        ))
    }

    /// The kinds that it exports, whatever their version.
    pub(crate) fn kinds(&self) -> Vec<PolicyKind> {
        let exports = |kind: &PolicyKind| {
            self.exports
                .iter()
                .filter_map(|name| Version::of(name))
                .any(|version| version.interface == kind.label())
        };
        PolicyKind::ALL.into_iter().filter(exports).collect()
    }

    pub(crate) fn looks_up(&self) -> bool {
        self.imports.iter().any(|name| Access::to(PolicyKind::Auth, name) == Access::ByGrant)
    }

    /// The version of the contract that it was built against.
    pub(crate) fn wit_version(&self) -> Option<String> {
        self.exports
            .iter()
            .filter_map(|name| Version::of(name))
            .find_map(|version| version.number.map(str::to_owned))
    }
}

fn malformed(error: impl fmt::Display) -> LoadError {
    let why = error.to_string().split_whitespace().collect::<Vec<_>>().join(" ");
    LoadError::Malformed(bounded(&why, 2 * TEXT_LIMIT))
}

fn list(names: &[String]) -> String {
    const SHOWN: usize = 8;
    if names.is_empty() {
        return "nothing".to_owned();
    }
    let more = names.len().saturating_sub(SHOWN);
    let shown = names.iter().take(SHOWN).map(String::as_str).collect::<Vec<_>>().join(", ");
    if more == 0 { shown } else { format!("{shown} and {more} more") }
}

/// An interface of the contract, as a component names it.
struct Version<'a> {
    interface: &'a str,
    number: Option<&'a str>,
}

impl<'a> Version<'a> {
    /// `sluice:policy/INTERFACE@VERSION`.
    fn of(name: &'a str) -> Option<Self> {
        let rest = name.strip_prefix(PACKAGE)?;
        let (interface, number) =
            rest.split_once('@').map_or((rest, None), |(name, number)| (name, Some(number)));
        Some(Self { interface, number })
    }

    fn track(&self) -> Option<(u64, u64)> {
        let mut parts = self.number?.splitn(3, '.');
        let (major, minor, patch) = (parts.next()?, parts.next()?, parts.next()?);
        // Pre-releases match nothing but themselves.
        patch.parse::<u64>().ok()?;
        Some((major.parse().ok()?, minor.parse().ok()?))
    }

    fn spoken(&self) -> bool {
        self.track() == Some(TRACK)
    }

    fn unspoken(&self) -> String {
        let built = self.number.unwrap_or("none");
        let help = if self.track() > Some(TRACK) { "a newer Sluice is needed" } else { "build it again" };
        format!(
            "it was built against version {built} of sluice:policy (interface {}) and this host speaks {VERSION}; {help}",
            self.interface
        )
    }
}

/// Who may import something.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Access {
    Everybody,
    /// Where the configuration grants it a URL.
    ByGrant,
    Nobody,
}

impl Access {
    pub(crate) fn to(kind: PolicyKind, name: &str) -> Self {
        let interface = Version::of(name).filter(Version::spoken).map(|version| version.interface);
        match interface {
            // `types` holds no function.
            Some("log" | "types") => Self::Everybody,
            Some(LOOKUP) if kind == PolicyKind::Auth => Self::ByGrant,
            _ => Self::Nobody,
        }
    }
}

fn check_import(kind: PolicyKind, name: &str, may_look_up: bool) -> Result<(), LoadError> {
    match (Access::to(kind, name), Version::of(name).filter(|version| !version.spoken())) {
        (Access::Everybody, _) => Ok(()),
        (Access::ByGrant, _) if may_look_up => Ok(()),
        (Access::ByGrant, _) => Err(LoadError::Lookup { name: name.to_owned() }),
        (Access::Nobody, Some(version)) => Err(LoadError::World { kind, why: version.unspoken() }),
        (Access::Nobody, None) => Err(LoadError::Import { name: name.to_owned(), advice: advice(name) }),
    }
}

/// Which flag of which toolchain removes an import.
pub(crate) fn advice(name: &str) -> &'static str {
    if name.starts_with("wasi:") {
        "policies have no files, network, environment, clock or randomness: build with componentize-py --stub-wasi, \
         componentize-qjs --stub-wasi --sync, componentize-js with disableFeatures: [\"random\", \"stdio\", \"clocks\", \
         \"http\", \"fetch-event\"], or Rust for wasm32-unknown-unknown"
    } else if Version::of(name).is_some_and(|version| version.interface == LOOKUP) {
        "only an auth policy may look things up: what vardiff and payout policies answer depends on their arguments and \
         settings alone"
    } else {
        "sluice:policy/log is all that a policy may import: remove this one from its world"
    }
}
