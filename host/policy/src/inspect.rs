//! What a file is, for `sluice plugin inspect`: everything that can be said without running it, and what it says of
//! itself where it may be run.

use serde::Serialize;
use sluice_core::policy::{Descriptor, PolicyKind};

use crate::compile::content_hash;
use crate::component::{Access, Outline, advice};
use crate::config::SlotConfig;
use crate::error::LoadError;
use crate::load::{Candidate, Loader};

/// One import.
#[derive(Clone, Debug, Serialize)]
pub struct Import {
    pub name: String,
    pub granted: bool,
    /// Where it is not granted: what removes it. Where it is: what the configuration has to say for it.
    pub advice: Option<&'static str>,
}

/// What a file is.
#[derive(Clone, Debug, Serialize)]
pub struct Inspection {
    pub sha256: String,
    pub size: usize,
    /// What it exports; usually one.
    pub kinds: Vec<PolicyKind>,
    /// The version of `sluice:policy` that it was built against.
    pub wit_version: Option<String>,
    pub imports: Vec<Import>,
    pub exports: Vec<String>,
    /// What it says of itself; `None` where it cannot be run.
    pub descriptor: Option<Descriptor>,
    /// Why it does not load.
    pub problems: Vec<String>,
    /// What it says of empty settings, where it does not take them. Nothing is wrong with that.
    pub wants_settings: Option<String>,
}

/// Looks at a component; `loader` compiles and runs it where its imports are granted.
pub fn inspect(bytes: &[u8], loader: &Loader) -> Inspection {
    let mut inspection = Inspection {
        sha256: content_hash(bytes),
        size: bytes.len(),
        kinds: Vec::new(),
        wit_version: None,
        imports: Vec::new(),
        exports: Vec::new(),
        descriptor: None,
        problems: Vec::new(),
        wants_settings: None,
    };
    match Outline::read(bytes) {
        Ok(outline) => inspection.fill(&outline, bytes, loader),
        Err(why) => inspection.problems.push(why.to_string()),
    }
    inspection
}

impl Inspection {
    fn fill(&mut self, outline: &Outline, bytes: &[u8], loader: &Loader) {
        self.kinds = outline.kinds();
        self.wit_version = outline.wit_version();
        self.exports.clone_from(&outline.exports);
        // One that exports no kind is refused for that.
        let kind = self.kinds.first().copied().unwrap_or(PolicyKind::Auth);
        self.imports = outline.imports.iter().map(|name| import(kind, name)).collect();
        if self.kinds.is_empty() {
            self.problems.push("it exports none of auth, vardiff and payout of sluice:policy".to_owned());
        }
        for kind in self.kinds.clone() {
            let config = SlotConfig::new(kind, "");
            let (settings, limits) = (&config.settings, &config.limits);
            let hash = &self.sha256.clone();
            let candidate = Candidate { kind, bytes, hash, settings, limits, may_look_up: true };
            match loader.describe(&candidate) {
                Ok(descriptor) => self.descriptor = Some(descriptor),
                Err(why) => {
                    self.problems.push(format!("{kind}: {why}"));
                    continue;
                }
            }
            match loader.load(&candidate, &|| false) {
                Ok(_) => {}
                Err(LoadError::Settings(why)) => self.wants_settings = Some(why),
                Err(why) => self.problems.push(format!("{kind}: {why}")),
            }
        }
    }
}

fn import(kind: PolicyKind, name: &str) -> Import {
    let (granted, advice) = match Access::to(kind, name) {
        Access::Everybody => (true, None),
        Access::ByGrant => (true, Some(NEEDS_GRANT)),
        Access::Nobody => (false, Some(advice(name))),
    };
    Import { name: name.to_owned(), granted, advice }
}

const NEEDS_GRANT: &str =
    "it needs a grant: [[policy.auth.lookup]] with url = \"https://...\" in the pool's configuration";
