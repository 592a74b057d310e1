//! The contract and its released versions: what is frozen stays as it is, and what is new keeps the promise of
//! docs/plugins/contract.md.

mod frozen;
mod promise;

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use anyhow::{Context, Result, ensure};
use wit_bindgen_core::wit_parser::{PackageId, Resolve};

use crate::check::Problem;

/// The version at work, from the root.
pub(crate) const NOW: &str = "wit/policy.wit";
/// Released versions, a directory each.
const RELEASED: &str = "wit";
/// Components built against released versions, a directory each.
const COMPONENTS: &str = "tests/vectors/components";
/// The shipped policies as they are now.
const DIST: &str = "plugins/dist";

/// The one package that a file holds.
pub(crate) fn read(path: &Path) -> Result<(Resolve, PackageId)> {
    let text = fs::read_to_string(path).with_context(|| format!("failed to read {}", path.display()))?;
    let name = path.display().to_string();
    let mut resolve = Resolve::default();
    let package = resolve.push_source(&name, &text).with_context(|| format!("{name} is wrong"))?;
    Ok((resolve, package))
}

/// `MAJOR.MINOR.PATCH`.
pub(crate) fn version(resolve: &Resolve, package: PackageId) -> Result<String> {
    let version = resolve.packages.get(package).and_then(|package| package.name.version.as_ref());
    Ok(version.context("the package has no version")?.to_string())
}

/// What breaks the promise: frozen files that are no longer what they were, and changes that a track does not allow.
pub(crate) fn check(root: &Path) -> Result<Vec<Problem>> {
    let mut problems = frozen::check(root)?;
    let (now, package) = read(&root.join(NOW))?;
    let current = version(&now, package)?;
    for released in versions(root, RELEASED)? {
        let file = format!("{RELEASED}/{released}/policy.wit");
        let (then, old) = read(&root.join(&file))?;
        if track(&released) != track(&current) {
            continue;
        }
        let broken = promise::broken((&then, old), (&now, package));
        problems.extend(
            broken.into_iter().map(|what| Problem::new(NOW, None, format!("{what} (since {released})"))),
        );
    }
    Ok(problems)
}

/// Freezes the version of the contract that is at work, with the shipped policies that were built against it and the
/// answers that those of the version before are known by: a test asks for them.
pub(crate) fn freeze(root: &Path) -> Result<()> {
    let problems = check(root)?;
    let unlisted = |problem: &&Problem| !frozen::is_unlisted(problem);
    let wrong: Vec<String> = problems.iter().filter(unlisted).map(Problem::to_string).collect();
    ensure!(wrong.is_empty(), "nothing is frozen while this is wrong:\n{}", wrong.join("\n"));
    let (resolve, package) = read(&root.join(NOW))?;
    let version = version(&resolve, package)?;
    if !root.join(RELEASED).join(&version).exists() {
        copy(root, &version)?;
    }
    let added = frozen::write(root)?;
    ensure!(!added.is_empty(), "{version} is frozen already; the next version is raised in {NOW} first");
    println!("frozen:\n  {}", added.join("\n  "));
    Ok(())
}

fn copy(root: &Path, version: &str) -> Result<()> {
    let (wit, components) = (root.join(RELEASED).join(version), root.join(COMPONENTS).join(version));
    let earlier = versions(root, COMPONENTS)?.into_iter().next_back();
    for directory in [&wit, &components] {
        fs::create_dir_all(directory).with_context(|| format!("failed to make {}", directory.display()))?;
    }
    copy_into(&root.join(NOW), &wit)?;
    for entry in fs::read_dir(root.join(DIST)).with_context(|| format!("failed to list {DIST}"))? {
        let component = entry?.path();
        if component.extension().is_none_or(|ending| ending != "wasm") {
            continue;
        }
        copy_into(&component, &components)?;
        let answers = component.with_extension("toml");
        let known = |earlier: &String| {
            Some(root.join(COMPONENTS).join(earlier).join(answers.file_name()?)).filter(|file| file.is_file())
        };
        if let Some(answers) = earlier.as_ref().and_then(known) {
            copy_into(&answers, &components)?;
        }
    }
    Ok(())
}

fn copy_into(file: &Path, directory: &Path) -> Result<()> {
    let name = file.file_name().unwrap_or_default();
    fs::copy(file, directory.join(name)).with_context(|| format!("failed to copy {}", file.display()))?;
    Ok(())
}

/// Directories below `place`, each a version, sorted.
fn versions(root: &Path, place: &str) -> Result<BTreeSet<String>> {
    let mut found = BTreeSet::new();
    for entry in fs::read_dir(root.join(place)).with_context(|| format!("failed to list {place}"))? {
        let entry = entry?;
        if entry.path().is_dir() {
            found.insert(entry.file_name().to_string_lossy().into_owned());
        }
    }
    Ok(found)
}

/// `0.1` of `0.1.2`.
fn track(version: &str) -> Option<&str> {
    Some(version.rsplit_once('.')?.0)
}
