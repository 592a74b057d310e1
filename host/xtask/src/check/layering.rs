//! Who may depend on whom, from `cargo metadata`.
//!
//! A crate exists to forbid a dependency: this is where that is kept. See docs/ARCHITECTURE.md.

use std::collections::{BTreeMap, BTreeSet};
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

/// Crates without a socket, a file, a clock or randomness: neither they nor what they depend on may name these.
pub(super) const PURE: [&str; 3] = ["sluice-core", "sluice-stratum-v1", "sluice-stratum-v2"];
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
    /// Names of every package that it is built from, directly or not, itself aside.
    closure: BTreeSet<String>,
}

#[derive(Clone, Debug)]
struct Dependency {
    name: String,
    kind: DependencyKind,
}

/// Every breach of the layering.
pub(super) fn check(root: &Path) -> Result<Vec<Problem>> {
    let metadata = MetadataCommand::new().current_dir(root).exec().context("failed to run cargo metadata")?;
    let members = members(root, &metadata)?;
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
        let edge = edge_problem(member, dependency, ours).or_else(|| owner_problem(member, dependency));
        problems.extend(edge.map(|what| member.problem(&dependency.name, what)));
    }
    if PURE.contains(&member.name.as_str()) {
        let impure = IMPURE.iter().filter(|name| member.closure.contains(**name));
        problems.extend(
            impure.map(|name| {
                member.problem(name, format!("{} is pure and is built from {name}", member.name))
            }),
        );
    }
    problems
}

/// The package of the end-to-end tests may depend on everything.
fn is_known(member: &Member) -> bool {
    host_rule(member).is_some() || is_plugin(member) || member.manifest.starts_with("tests")
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
    let breach = member.name != *owner && dependency.kind != DependencyKind::Development;
    breach.then(|| format!("only {owner} may name {name}"))
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
    let built = built_from(metadata)?;
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
            closure: closure(&package.id.repr, &built),
        });
    }
    Ok(members)
}

/// A package's name, and the ids of what it is built from.
struct Built<'a> {
    name: &'a str,
    from: Vec<&'a str>,
}

/// By package id. Development dependencies are no part of what is built.
fn built_from(metadata: &Metadata) -> Result<BTreeMap<&str, Built<'_>>> {
    let resolve = metadata.resolve.as_ref().context("cargo metadata did not resolve the dependencies")?;
    let mut built: BTreeMap<&str, Built<'_>> = metadata
        .packages
        .iter()
        .map(|package| (package.id.repr.as_str(), Built { name: package.name.as_str(), from: Vec::new() }))
        .collect();
    for node in &resolve.nodes {
        let from = node.deps.iter().filter(|d| d.dep_kinds.iter().any(|k| k.kind == DependencyKind::Normal));
        if let Some(entry) = built.get_mut(node.id.repr.as_str()) {
            entry.from = from.map(|dependency| dependency.pkg.repr.as_str()).collect();
        }
    }
    Ok(built)
}

fn closure(id: &str, built: &BTreeMap<&str, Built<'_>>) -> BTreeSet<String> {
    let mut seen = BTreeSet::from([id]);
    let mut open = vec![id];
    let mut names = BTreeSet::new();
    while let Some(id) = open.pop() {
        for next in built.get(id).into_iter().flat_map(|entry| &entry.from) {
            if seen.insert(next) {
                open.push(next);
                names.extend(built.get(next).map(|entry| entry.name.to_owned()));
            }
        }
    }
    names
}

#[cfg(test)]
mod tests;
