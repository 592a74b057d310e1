//! Who may depend on whom, from `cargo metadata`.
//!
//! A crate exists to forbid a dependency: this is where that is kept. See docs/ARCHITECTURE.md.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use cargo_metadata::{DependencyKind, Metadata, MetadataCommand};

use super::Problem;

/// The crates of host/ and which of their own they may depend on. `None`: any.
const HOST: [(&str, Option<&[&str]>); 8] = [
    ("sluice-core", Some(&[])),
    ("sluice-stratum-v1", Some(&["sluice-core"])),
    ("sluice-stratum-v2", Some(&["sluice-core"])),
    ("sluice-node", Some(&["sluice-core"])),
    ("sluice-policy", Some(&["sluice-core"])),
    ("sluice-ledger", Some(&["sluice-core"])),
    ("sluice", None),
    ("xtask", Some(&[])),
];

/// Crates without a socket, a file, a clock or randomness: they may name none of these.
const PURE: [&str; 3] = ["sluice-core", "sluice-stratum-v1", "sluice-stratum-v2"];
const IMPURE: [&str; 14] = [
    "tokio",
    "mio",
    "async-std",
    "smol",
    "socket2",
    "hyper",
    "rustls",
    "rusqlite",
    "wasmtime",
    "getrandom",
    "rand",
    "notify",
    "tempfile",
    "chrono",
];

/// Dependencies that one crate exists to hide.
const SOLE_OWNERS: [(&str, &str); 2] = [("wasmtime", "sluice-policy"), ("rusqlite", "sluice-ledger")];

/// The start of every plugin's name, and the one crate of ours that plugins share.
const PLUGIN_PREFIX: &str = "plugin-";
const PLUGIN_SDK: &str = "sluice-plugin";

/// A member of the workspace, as far as the rules look.
#[derive(Debug)]
struct Member {
    name: String,
    /// From the root.
    manifest: PathBuf,
    manifest_text: String,
    dependencies: Vec<Dependency>,
}

#[derive(Clone, Debug)]
struct Dependency {
    name: String,
    kind: DependencyKind,
}

/// Every breach of the layering.
pub(super) fn check(root: &Path) -> Result<Vec<Problem>> {
    // Features are unified over the workspace, so what a dependency depends on is not the member's doing.
    let metadata = MetadataCommand::new().current_dir(root).no_deps().exec();
    let members = members(root, &metadata.context("failed to run cargo metadata")?)?;
    Ok(problems(&members))
}

fn problems(members: &[Member]) -> Vec<Problem> {
    let ours: BTreeSet<&str> = members.iter().map(|member| member.name.as_str()).collect();
    members.iter().flat_map(|member| member_problems(member, &ours)).collect()
}

fn member_problems(member: &Member, ours: &BTreeSet<&str>) -> Vec<Problem> {
    let mut problems = Vec::new();
    if !is_known(member) {
        let what = format!("{} has no place in the layering; give it one in host/xtask", member.name);
        problems.push(Problem::new(&member.manifest, None, what));
    }
    for dependency in &member.dependencies {
        let breach = edge_problem(member, dependency, ours)
            .or_else(|| owner_problem(member, dependency))
            .or_else(|| purity_problem(member, dependency));
        problems.extend(breach.map(|what| member.problem(&dependency.name, what)));
    }
    problems
}

fn is_known(member: &Member) -> bool {
    host_rule(member).is_some() || is_plugin(member) || is_tests(member)
}

/// The package of the end-to-end tests may depend on everything.
fn is_tests(member: &Member) -> bool {
    member.manifest.starts_with("tests")
}

fn host_rule(member: &Member) -> Option<Option<&'static [&'static str]>> {
    HOST.iter().find(|(name, _)| *name == member.name).map(|(_, allowed)| *allowed)
}

fn is_plugin(member: &Member) -> bool {
    member.name.starts_with(PLUGIN_PREFIX) || member.name == PLUGIN_SDK
}

/// An edge between two members that must not be. Of host crates only what is built counts: their tests may look across.
fn edge_problem(member: &Member, dependency: &Dependency, ours: &BTreeSet<&str>) -> Option<String> {
    let (name, target) = (member.name.as_str(), dependency.name.as_str());
    if !ours.contains(target) {
        return None;
    }
    if is_plugin(member) {
        let allowed = target == PLUGIN_SDK && name != PLUGIN_SDK;
        return (!allowed).then(|| format!("{name} is a plugin and must not depend on {target}"));
    }
    let allowed = host_rule(member)??;
    let breach = dependency.kind != DependencyKind::Development && !allowed.contains(&target);
    breach.then(|| match allowed {
        [] => format!("{name} must not depend on {target}: it may depend on none of our crates"),
        _ => format!(
            "{name} must not depend on {target}: of our crates it may depend on {}",
            allowed.join(", ")
        ),
    })
}

/// A dependency that is another crate's to name.
fn owner_problem(member: &Member, dependency: &Dependency) -> Option<String> {
    let (name, owner) = SOLE_OWNERS.iter().find(|(name, _)| *name == dependency.name)?;
    let breach = member.name != *owner && !is_tests(member) && dependency.kind != DependencyKind::Development;
    breach.then(|| format!("only {owner} may name {name}"))
}

/// A dependency that reaches for the world, of a crate that must not.
fn purity_problem(member: &Member, dependency: &Dependency) -> Option<String> {
    let pure = PURE.contains(&member.name.as_str()) && dependency.kind != DependencyKind::Development;
    let breach = pure && IMPURE.contains(&dependency.name.as_str());
    breach.then(|| format!("{} is pure and must not depend on {}", member.name, dependency.name))
}

impl Member {
    /// At the line of the manifest that names the dependency.
    fn problem(&self, dependency: &str, what: String) -> Problem {
        let names = |line: &str| {
            line.trim_start()
                .strip_prefix(dependency)
                .is_some_and(|rest| rest.starts_with([' ', '=', '.', ']']))
        };
        let line = self.manifest_text.lines().position(names);
        Problem::new(&self.manifest, line.map(|index| index + 1), what)
    }
}

fn members(root: &Path, metadata: &Metadata) -> Result<Vec<Member>> {
    let mut members = Vec::new();
    for package in metadata.workspace_packages() {
        let manifest = package.manifest_path.as_std_path();
        let manifest_text =
            fs::read_to_string(manifest).with_context(|| format!("failed to read {}", manifest.display()))?;
        let dependencies = package.dependencies.iter();
        members.push(Member {
            name: package.name.to_string(),
            manifest: manifest.strip_prefix(root).unwrap_or(manifest).to_path_buf(),
            manifest_text,
            dependencies: dependencies.map(|d| Dependency { name: d.name.clone(), kind: d.kind }).collect(),
        });
    }
    Ok(members)
}

#[cfg(test)]
mod tests;
