//! plugin.toml: what a directory of an author's holds.

use std::fs;
use std::path::Path;

use anyhow::{Context, ensure};
use serde::Deserialize;
use sluice_core::policy::PolicyKind;

use crate::cli::Language;

/// Its name within a plugin's directory.
pub(super) const FILE: &str = "plugin.toml";

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    plugin: Manifest,
}

/// `[plugin]`.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Manifest {
    /// Lower case, digits and `-`: the component is NAME.wasm.
    pub(super) name: String,
    pub(super) kind: PolicyKind,
    pub(super) language: Language,
    /// JavaScript only.
    #[serde(default)]
    pub(super) engine: Option<Engine>,
    /// Auth only: it asks the host to look things up, and loads only where the configuration grants it a URL.
    #[serde(default)]
    pub(super) lookup: bool,
}

/// What runs JavaScript within the component.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Engine {
    #[default]
    Quickjs,
    Starlingmonkey,
}

impl Manifest {
    /// # Errors
    /// A directory without one, or one that is wrong: the line is named.
    pub(super) fn read(dir: &Path) -> anyhow::Result<Self> {
        let path = dir.join(FILE);
        let text = fs::read_to_string(&path).with_context(|| {
            format!("failed to read {}; `sluice plugin new` makes a directory with one", path.display())
        })?;
        Self::parse(&text).with_context(|| format!("{} is wrong", path.display()))
    }

    fn parse(text: &str) -> anyhow::Result<Self> {
        let File { plugin } = toml::from_str(text)?;
        let fits = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
        ensure!(
            (1..=64).contains(&plugin.name.len()) && plugin.name.bytes().all(fits),
            "name = {:?}: 1 to 64 lower-case letters, digits and '-' are allowed",
            plugin.name
        );
        ensure!(
            !plugin.lookup || plugin.kind == PolicyKind::Auth,
            "lookup = true: only auth policies look things up, and this is kind = \"{}\"",
            plugin.kind
        );
        ensure!(
            plugin.engine.is_none() || plugin.language == Language::Javascript,
            "engine is for language = \"javascript\", and this is \"{}\"",
            plugin.language.label()
        );
        Ok(plugin)
    }

    /// The world of the contract that it targets.
    pub(super) fn world(&self) -> String {
        let lookup = if self.lookup { "-lookup" } else { "" };
        format!("{}-policy{lookup}", self.kind)
    }

    /// The built component's file name.
    pub(super) fn component(&self) -> String {
        format!("{}.wasm", self.name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_wrong_is_named() {
        let good = "[plugin]\nname = \"a-1\"\nkind = \"auth\"\nlanguage = \"c\"\n";
        assert_eq!(Manifest::parse(good).unwrap().component(), "a-1.wasm");
        for (text, part) in [
            (good.replace("a-1", "../a"), "digits"),
            (good.replace("auth", "pay"), "vardiff"),
            (good.replace("\"c\"", "\"cobol\""), "python"),
            (format!("{good}nmae = 1\n"), "nmae"),
            (format!("{good}engine = \"quickjs\"\n"), "engine is for language"),
            (format!("{good}lookup = true\n").replace("auth", "payout"), "only auth policies"),
        ] {
            let error = format!("{:#}", Manifest::parse(&text).unwrap_err());
            assert!(error.contains(part), "{error} says {part}");
        }
    }

    #[test]
    fn a_policy_that_looks_things_up_targets_a_world_of_its_own() {
        let text = "[plugin]\nname = \"a\"\nkind = \"auth\"\nlanguage = \"python\"\n";
        assert_eq!(Manifest::parse(text).unwrap().world(), "auth-policy");
        assert_eq!(Manifest::parse(&format!("{text}lookup = true\n")).unwrap().world(), "auth-policy-lookup");
    }
}
