//! plugins/dist/dist.lock: which bytes were built from which sources.

use std::collections::BTreeMap;

use anyhow::Result;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

/// Its name within plugins/dist.
pub(crate) const FILE: &str = "dist.lock";

const HEADER: &str =
    "# Written by `cargo xtask plugins`, compared by `cargo xtask plugins --check`. Do not edit.\n\n";

/// What was built.
#[derive(Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Lock {
    /// The compiler; another one makes other bytes of the same sources.
    pub(crate) toolchain: String,
    pub(crate) plugins: BTreeMap<String, Entry>,
}

/// Both are SHA-256 in lower-case hex.
#[derive(Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Entry {
    /// Of the component.
    pub(crate) wasm: String,
    /// Of everything that it is made from.
    pub(crate) sources: String,
}

impl Lock {
    pub(crate) fn parse(text: &str) -> Result<Self> {
        Ok(toml::from_str(text)?)
    }

    pub(crate) fn to_text(&self) -> Result<String> {
        Ok(format!("{HEADER}{}", toml::to_string(self)?))
    }

    /// What is stale, a line each. `found` is what is there now; an empty hash of a component says it is missing.
    pub(crate) fn differences<'a>(&self, found: impl Iterator<Item = (&'a str, &'a Entry)>) -> Vec<String> {
        let mut stale = Vec::new();
        let mut names = Vec::new();
        for (name, now) in found {
            names.push(name);
            match self.plugins.get(name) {
                None => stale.push(format!("{name}: never built")),
                Some(_) if now.wasm.is_empty() => stale.push(format!("{name}: {name}.wasm is missing")),
                Some(then) => {
                    if then.sources != now.sources {
                        stale.push(format!("{name}: its sources have changed since it was built"));
                    }
                    if then.wasm != now.wasm {
                        stale.push(format!("{name}: {name}.wasm is not the one that was built"));
                    }
                }
            }
        }
        let gone = self.plugins.keys().filter(|name| !names.contains(&name.as_str()));
        stale.extend(gone.map(|name| format!("{name}: recorded and no longer a plugin")));
        stale
    }
}

/// Lower-case hex.
pub(crate) fn sha256(bytes: &[u8]) -> String {
    hex::encode(Sha256::digest(bytes))
}

#[cfg(test)]
mod tests;
