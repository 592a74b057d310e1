//! The contract as C, which the starters in C carry: made here, so that their authors need no generator.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use wit_bindgen_c::Opts;
use wit_bindgen_core::Files;
use wit_bindgen_core::wit_parser::{PackageId, Resolve, WorldId, WorldItem};

use crate::contract;

/// Where the starters in C are, from the root.
const STARTERS: &str = "plugins/sdk/c";
/// A starter and the world that its bindings are of. What an auth policy does not call of its world's imports the
/// linker drops, so one that looks nothing up imports no `lookup`.
const WORLDS: [(&str, &str); 3] =
    [("auth", "auth-policy-lookup"), ("payout", "payout-policy"), ("vardiff", "vardiff-policy")];
/// What mends stale bindings.
const MEND: &str = "cargo xtask bindings";

/// A file and what should be in it.
type Wanted = (PathBuf, Vec<u8>);

/// Writes the bindings of every starter.
pub(crate) fn write(root: &Path) -> Result<()> {
    for (path, content) in all(root)? {
        if let Some(parent) = path.parent() {
            fs::create_dir_all(parent).with_context(|| format!("failed to make {}", parent.display()))?;
        }
        fs::write(&path, content).with_context(|| format!("failed to write {}", path.display()))?;
    }
    println!("{STARTERS}/*/bindings are those of wit/policy.wit");
    Ok(())
}

/// Compares what is there with what the generator makes.
pub(crate) fn check(root: &Path) -> Result<()> {
    let differs = |(path, content): &Wanted| {
        let same = fs::read(path).is_ok_and(|there| there == *content);
        (!same).then(|| path.strip_prefix(root).unwrap_or(path).display().to_string())
    };
    let stale: Vec<String> = all(root)?.iter().filter_map(differs).collect();
    if stale.is_empty() {
        println!("{STARTERS}/*/bindings are those of wit/policy.wit");
        return Ok(());
    }
    bail!("not what wit/policy.wit makes:\n  {}\nrun `{MEND}`", stale.join("\n  "))
}

fn all(root: &Path) -> Result<Vec<Wanted>> {
    let (resolve, package) = contract::read(&root.join(contract::NOW))?;
    let mut wanted = Vec::new();
    for (starter, world) in WORLDS {
        let directory = root.join(STARTERS).join(starter).join("bindings");
        let files = generated(resolve.clone(), package, world)
            .with_context(|| format!("failed to make the bindings of {world}"))?;
        wanted.extend(files.into_iter().map(|(name, content)| (directory.join(name), content)));
    }
    Ok(wanted)
}

fn generated(mut resolve: Resolve, package: PackageId, world: &str) -> Result<Vec<(String, Vec<u8>)>> {
    let version = contract::version(&resolve, package)?;
    let world = resolve.select_world(&[package], Some(world))?;
    // Names in C without package and version: `log_write`, not `sluice_policy_log_write`.
    let rename = |name: String| (format!("sluice:policy/{name}@{version}"), name);
    let options = Opts {
        rename_world: Some("policy".to_owned()),
        rename: interfaces(&resolve, world).into_iter().map(rename).collect(),
        ..Opts::default()
    };
    let mut files = Files::default();
    options.build().generate(&mut resolve, world, &mut files)?;
    Ok(files.iter().map(|(name, content)| (name.to_owned(), content.to_vec())).collect())
}

/// Every interface that a world imports or exports.
fn interfaces(resolve: &Resolve, world: WorldId) -> BTreeSet<String> {
    let Some(world) = resolve.worlds.get(world) else { return BTreeSet::new() };
    let name = |item: &WorldItem| match item {
        WorldItem::Interface { id, .. } => resolve.interfaces.get(*id)?.name.clone(),
        WorldItem::Function(_) | WorldItem::Type { .. } => None,
    };
    world.imports.values().chain(world.exports.values()).filter_map(name).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bindings_name_interfaces_without_package_and_version() {
        let mut resolve = Resolve::default();
        let wit = "package sluice:policy@7.1.2;\n\
            interface log { write: func(message: string); }\n\
            interface payout { settle: func() -> u32; }\n\
            world payout-policy { import log; export payout; }";
        let package = resolve.push_source("policy.wit", wit).unwrap();
        let files = generated(resolve, package, "payout-policy").unwrap();
        let header = files.iter().find(|(name, _)| name == "policy.h").unwrap();
        let header = String::from_utf8(header.1.clone()).unwrap();
        assert!(header.contains("uint32_t exports_payout_settle(void);"), "{header}");
        assert!(header.contains("void log_write(policy_string_t *message);"), "{header}");
        assert!(files.iter().any(|(name, _)| name == "policy_component_type.o"));
    }
}
