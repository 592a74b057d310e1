//! What was released is the same for ever: a checksum for each file.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use super::{COMPONENTS, RELEASED, versions};
use crate::check::Problem;
use crate::plugins::sha256;

/// A line for each file, as `sha256sum` writes it.
const LOCK: &str = "tests/vectors/components/frozen.lock";
const UNLISTED: &str = "it is frozen nowhere; `cargo xtask freeze`";

/// Frozen files that have changed or are gone, and files beside them that were never frozen.
pub(super) fn check(root: &Path) -> Result<Vec<Problem>> {
    let (locked, found) = (locked(root)?, found(root)?);
    let mut problems = Vec::new();
    for (file, hash) in &locked {
        match found.get(file) {
            Some(now) if now == hash => {}
            Some(_) => problems.push(Problem::new(file, None, "it is frozen and has changed; take it back")),
            None => problems.push(Problem::new(file, None, "it is frozen and gone; take it back")),
        }
    }
    let unlisted = found.keys().filter(|file| !locked.contains_key(*file));
    problems.extend(unlisted.map(|file| Problem::new(file, None, UNLISTED)));
    problems.extend(released_without_components(root)?);
    Ok(problems)
}

pub(super) fn is_unlisted(problem: &Problem) -> bool {
    problem.says(UNLISTED)
}

/// Adds what is not frozen yet, and says what that was.
pub(super) fn write(root: &Path) -> Result<Vec<String>> {
    let (locked, found) = (locked(root)?, found(root)?);
    let text: String = found.iter().map(|(file, hash)| format!("{hash}  {file}\n")).collect();
    fs::write(root.join(LOCK), text).with_context(|| format!("failed to write {LOCK}"))?;
    Ok(found.into_keys().filter(|file| !locked.contains_key(file)).collect())
}

fn released_without_components(root: &Path) -> Result<Vec<Problem>> {
    let tested = versions(root, COMPONENTS)?;
    let missing = versions(root, RELEASED)?.into_iter().filter(|version| !tested.contains(version));
    let problem =
        |version| Problem::new(COMPONENTS, None, format!("it has no components of the released {version}"));
    Ok(missing.map(problem).collect())
}

/// Checksums by file, from the root. There are none before the first release.
fn locked(root: &Path) -> Result<BTreeMap<String, String>> {
    let text = fs::read_to_string(root.join(LOCK)).unwrap_or_default();
    text.lines()
        .map(|line| {
            let (hash, file) =
                line.split_once("  ").with_context(|| format!("{LOCK}: {line:?} is no checksum"))?;
            Ok((file.to_owned(), hash.to_owned()))
        })
        .collect()
}

/// Every file of a released version, with its checksum.
fn found(root: &Path) -> Result<BTreeMap<String, String>> {
    let mut found = BTreeMap::new();
    for place in [RELEASED, COMPONENTS] {
        for version in versions(root, place)? {
            for path in files(&root.join(place).join(version))? {
                let bytes = fs::read(&path).with_context(|| format!("failed to read {}", path.display()))?;
                let name = path.strip_prefix(root).unwrap_or(&path).to_string_lossy().replace('\\', "/");
                found.insert(name, sha256(&bytes));
            }
        }
    }
    Ok(found)
}

fn files(directory: &Path) -> Result<Vec<PathBuf>> {
    let entries =
        fs::read_dir(directory).with_context(|| format!("failed to list {}", directory.display()))?;
    entries.map(|entry| Ok(entry?.path())).collect()
}

#[cfg(test)]
mod tests;
