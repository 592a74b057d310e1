//! `sluice plugin build`: a directory to a component, written aside, renamed and looked at.

use std::fs::{self, File};
use std::io::Write;
use std::path::Path;
use std::time::Instant;

use anyhow::Context;

use super::manifest::Manifest;
use super::recipe::{self, Place};
use super::{Code, Inspection, running, starters};
use crate::cli::{BuildPlugin, exit};
use crate::run;

/// # Errors
/// What is missing or went wrong; the component of an earlier build stays.
pub(super) fn run(args: &BuildPlugin, out: &mut dyn Write) -> anyhow::Result<u8> {
    let dir = args.dir.as_path();
    let manifest = Manifest::read(dir)?;
    running::end_tools_with_us()?;
    let _alone = alone(dir, out)?;
    if !starters::is_current_contract(dir) {
        let file = dir.join(starters::CONTRACT);
        writeln!(
            out,
            "note: {} is not the contract of this program; it may refuse the result",
            file.display()
        )?;
    }
    let began = Instant::now();
    let tools = recipe::tools_dir(args.tools.as_deref(), dir);
    let tools = std::path::absolute(&tools).with_context(|| format!("{} cannot be used", tools.display()))?;
    let component = recipe::build(&Place { dir, manifest: &manifest, tools: &tools }, out)?;
    let file = dir.join(manifest.component());
    put(&file, &component)?;
    // For `inspect` here, and for what the author does next.
    let _code = Code::of_built(&component);
    let inspection = run::inspect(&file)?;
    report(&inspection, &manifest, began, out)
}

/// Two builds in one directory would write the same files: the second waits.
fn alone(dir: &Path, out: &mut dyn Write) -> anyhow::Result<File> {
    let lock = File::open(dir).with_context(|| format!("failed to open {}", dir.display()))?;
    if lock.try_lock().is_err() {
        writeln!(out, "another build is at work in {}; this one waits for it", dir.display())?;
        lock.lock().context("failed to wait for another build")?;
    }
    Ok(lock)
}

/// Aside and renamed, so that a pool that watches the file never reads half of it.
fn put(file: &Path, component: &[u8]) -> anyhow::Result<()> {
    let aside = file.with_extension("wasm.new");
    fs::write(&aside, component)
        .and_then(|()| fs::rename(&aside, file))
        .with_context(|| format!("failed to write {}", file.display()))
}

fn report(
    inspection: &Inspection,
    manifest: &Manifest,
    began: Instant,
    out: &mut dyn Write,
) -> anyhow::Result<u8> {
    let seconds = began.elapsed().as_secs_f64();
    writeln!(out, "{}: {} bytes, built in {seconds:.1} s", inspection.file, inspection.bytes)?;
    writeln!(out, "sha256  {}", inspection.hash)?;
    let mut problems: Vec<String> =
        inspection.checks.iter().filter_map(|check| check.error.clone()).collect();
    if inspection.kind != Some(manifest.kind) {
        problems.push(format!("it is no {} policy, as plugin.toml says", manifest.kind));
    }
    let looks_up = inspection.imports.iter().any(|import| import.name.starts_with("sluice:policy/lookup@"));
    if looks_up && !manifest.lookup {
        problems.push("it looks things up, and plugin.toml does not say `lookup = true`".to_owned());
    }
    if problems.is_empty() && inspection.is_accepted() {
        let where_granted = if looks_up { " where [[policy.auth.lookup]] grants it a URL" } else { "" };
        let file = &inspection.file;
        writeln!(out, "verdict this pool takes it{where_granted}; next: sluice plugin test {file}")?;
        return Ok(exit::OK);
    }
    writeln!(out, "verdict this pool refuses it: {}", problems.join("; "))?;
    Ok(exit::FAILED)
}

#[cfg(test)]
mod tests {
    use sluice_core::policy::PolicyKind;

    use super::*;
    use crate::cli::Language;
    use crate::commands::plugin::{rust, workshop};

    /// From an empty directory to a component that keeps the contract (issue: new, build, test).
    #[test]
    fn a_starter_in_rust_builds_to_a_module_that_makes_a_component() {
        if let Err(why) = rust::available() {
            eprintln!("a_starter_in_rust_builds_to_a_module_that_makes_a_component is skipped: {why:#}");
            return;
        }
        let dir = tempfile::tempdir().unwrap();
        starters::make(PolicyKind::Payout, Language::Rust, dir.path()).unwrap();
        let manifest = Manifest::read(dir.path()).unwrap();
        let mut out = Vec::new();
        let place = Place { dir: dir.path(), manifest: &manifest, tools: dir.path() };
        let component = recipe::build(&place, &mut out).unwrap();
        let kinds = sluice_policy::conformance::kinds(&component).unwrap();
        assert_eq!(kinds, [PolicyKind::Payout]);
        assert!(component.len() < 200_000, "{} bytes", component.len());
    }

    #[test]
    fn a_directory_without_a_manifest_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let args = BuildPlugin { dir: dir.path().to_owned(), tools: None };
        let error = format!("{:#}", run(&args, &mut Vec::new()).unwrap_err());
        assert!(error.contains("plugin.toml") && error.contains("sluice plugin new"), "{error}");
    }

    #[test]
    fn tools_are_asked_for_before_anything_is_done() {
        let nothing = workshop::Prerequisite {
            program: "no-such-program-here",
            arguments: &[],
            at_least: (1, 0),
            how: "nowhere",
        };
        assert!(workshop::require(&[nothing]).is_err());
    }
}
