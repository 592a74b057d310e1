//! Where the built `sluice` is.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use anyhow::{Context, Result, ensure};

/// The root of the workspace.
pub fn workspace() -> PathBuf {
    let tests = Path::new(env!("CARGO_MANIFEST_DIR"));
    tests.parent().unwrap_or(tests).to_owned()
}

/// `$SLUICE_BIN`, else the program beside this executable, else one that is built now.
///
/// # Errors
/// `$SLUICE_BIN` names no file, or the build failed.
pub fn sluice() -> Result<PathBuf> {
    static FOUND: OnceLock<std::result::Result<PathBuf, String>> = OnceLock::new();
    let found = FOUND.get_or_init(|| find().map_err(|error| format!("{error:#}")));
    found.clone().map_err(anyhow::Error::msg)
}

fn find() -> Result<PathBuf> {
    if let Some(path) = std::env::var_os("SLUICE_BIN") {
        let path = PathBuf::from(path);
        ensure!(path.is_file(), "SLUICE_BIN={} is no file", path.display());
        return Ok(path);
    }
    let own = std::env::current_exe()?;
    let profile = profile_directory(&own).context("this program does not lie in a cargo target directory")?;
    let name = profile.file_name().and_then(|name| name.to_str()).unwrap_or("debug");
    let program = format!("sluice{}", std::env::consts::EXE_SUFFIX);
    let beside = profile.join(&program);
    if beside.is_file() {
        return Ok(beside);
    }
    build(name)?;
    // A workspace of its own (tests/interop) has a target directory of its own.
    let built = [beside, workspace().join("target").join(name).join(&program)];
    built.into_iter().find(|path| path.is_file()).with_context(|| format!("cargo built no {program}"))
}

/// `target/<profile>`: tests lie in `deps` below it, programs directly in it.
fn profile_directory(own: &Path) -> Option<&Path> {
    let parent = own.parent()?;
    if parent.ends_with("deps") { parent.parent() } else { Some(parent) }
}

fn build(name: &str) -> Result<()> {
    // The directory of the profile `dev` is called `debug`.
    let profile = if name == "debug" { "dev" } else { name };
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let status = Command::new(cargo)
        .args(["build", "--package", "sluice", "--profile", profile])
        .current_dir(workspace())
        .status()
        .context("cargo could not be started")?;
    ensure!(status.success(), "cargo build --package sluice failed");
    Ok(())
}
