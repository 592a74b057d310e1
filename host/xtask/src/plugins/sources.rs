//! One hash over everything that a plugin's bytes depend on, the compiler aside.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use cargo_metadata::{DependencyKind, Metadata, MetadataCommand, PackageId};
use sha2::{Digest, Sha256};

use super::toolchain::{PROFILE_SETTINGS, TARGET};

/// What every plugin is built from beside its own directory, from the root.
const SHARED: [&str; 2] = ["plugins/sdk/rust", "wit"];

/// A hash for each of `names`.
pub(crate) fn hashes(root: &Path, names: &[String]) -> Result<Vec<String>> {
    let metadata = MetadataCommand::new()
        .current_dir(root)
        .other_options(["--filter-platform".to_owned(), TARGET.to_owned()])
        .exec()
        .context("failed to run cargo metadata")?;
    names.iter().map(|name| hash(root, &metadata, name)).collect()
}

fn hash(root: &Path, metadata: &Metadata, name: &str) -> Result<String> {
    let mut hasher = Sha256::new();
    let mut feed = |part: &[u8]| {
        // The length first, so that no two lists of parts run together to the same bytes.
        hasher.update(u64::try_from(part.len()).unwrap_or(u64::MAX).to_le_bytes());
        hasher.update(part);
    };
    PROFILE_SETTINGS.iter().for_each(|setting| feed(setting.as_bytes()));
    packages(metadata, &format!("plugin-{name}"))?.iter().for_each(|package| feed(package.as_bytes()));
    let own = format!("plugins/{name}");
    for directory in SHARED.into_iter().chain([own.as_str()]) {
        for file in files(&root.join(directory))? {
            let relative = file.strip_prefix(root).unwrap_or(&file).to_string_lossy().replace('\\', "/");
            feed(relative.as_bytes());
            feed(&fs::read(&file).with_context(|| format!("failed to read {}", file.display()))?);
        }
    }
    Ok(hex::encode(hasher.finalize()))
}

/// Name, version and edition of every package that the plugin is built from, sorted.
fn packages(metadata: &Metadata, name: &str) -> Result<BTreeSet<String>> {
    let start = metadata.packages.iter().find(|package| package.name.as_str() == name);
    let start = start.with_context(|| format!("{name} is not a member of the workspace"))?;
    let resolve = metadata.resolve.as_ref().context("cargo metadata did not resolve the dependencies")?;
    let mut seen: BTreeSet<&PackageId> = BTreeSet::new();
    let mut open = vec![&start.id];
    while let Some(id) = open.pop() {
        if !seen.insert(id) {
            continue;
        }
        let node = resolve.nodes.iter().find(|node| node.id == *id);
        let built = node.into_iter().flat_map(|node| &node.deps).filter(|dependency| {
            dependency.dep_kinds.iter().any(|kind| kind.kind != DependencyKind::Development)
        });
        open.extend(built.map(|dependency| &dependency.pkg));
    }
    let shown = metadata.packages.iter().filter(|package| seen.contains(&package.id));
    Ok(shown.map(|package| format!("{} {} {}", package.name, package.version, package.edition)).collect())
}

/// Every file below `directory` that ends up in the component, sorted: tests and prose do not.
fn files(directory: &Path) -> Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    let mut open = vec![directory.to_path_buf()];
    while let Some(directory) = open.pop() {
        let entries =
            fs::read_dir(&directory).with_context(|| format!("failed to list {}", directory.display()))?;
        for entry in entries {
            let path = entry?.path();
            if path.is_dir() {
                // What authors start from is no part of what is shipped.
                let starter = path.join("plugin.toml").is_file();
                open.extend((!starter).then_some(path));
            } else if is_built_from(&path) {
                found.push(path);
            }
        }
    }
    found.sort();
    Ok(found)
}

fn is_built_from(path: &Path) -> bool {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let built = ["rs", "wit", "json", "toml"].iter().any(|ending| name.ends_with(&format!(".{ending}")));
    built && name != "tests.rs"
}

#[cfg(test)]
mod tests;
