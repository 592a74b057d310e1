//! A core module from a plugin in Rust, with rustup's standard library for wasm or with Debian's sources of one.

use std::io::Write;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result};

use super::recipe::read;
use super::workshop::{Prerequisite, require, step};

/// As the shipped plugins are built: the same file, since the project's chores must not need this program.
#[path = "../../../../xtask/src/plugins/toolchain.rs"]
#[allow(dead_code, reason = "the chores also record which compiler it was")]
mod toolchain;

use toolchain::{PROFILE, TARGET, Toolchain};

/// The first build also makes the bindings' generator, and with Debian's sources the standard library.
const LIMIT: Duration = Duration::from_secs(1200);

const CARGO: [Prerequisite; 1] = [Prerequisite {
    program: "cargo",
    arguments: &["--version"],
    at_least: (1, 95),
    how: "https://rustup.rs, then `rustup target add wasm32-unknown-unknown`",
}];

/// Whether a plugin in Rust can be built here.
///
/// # Errors
/// What is missing, and how to get it.
pub(super) fn available() -> Result<Toolchain> {
    require(&CARGO)?;
    Toolchain::find().context("this cannot be built here yet")
}

/// The core module of the crate in `dir`.
///
/// # Errors
/// What is missing; what cargo could not do.
pub(super) fn build(dir: &Path, out: &mut dyn Write) -> Result<Vec<u8>> {
    let toolchain = available()?;
    let root = dir.canonicalize().with_context(|| format!("failed to find {}", dir.display()))?;
    let target = root.join("target");
    let mut cargo = toolchain.cargo(&root)?;
    cargo.arg("--target-dir").arg(&target).current_dir(&root);
    step(out, "build with cargo (the first time it loads wit-bindgen)", &mut cargo, LIMIT)?;
    let module = format!("{}.wasm", library(dir)?);
    read(&target.join(TARGET).join(PROFILE).join(module))
}

/// What cargo calls the library.
fn library(dir: &Path) -> Result<String> {
    let path = dir.join("Cargo.toml");
    let text = String::from_utf8(read(&path)?).with_context(|| format!("{} is no text", path.display()))?;
    let manifest: toml::Table = text.parse().with_context(|| format!("{} is wrong", path.display()))?;
    let name = |table: &str| manifest.get(table)?.get("name")?.as_str();
    let name = name("lib").or_else(|| name("package"));
    Ok(name.with_context(|| format!("{} names no package", path.display()))?.replace('-', "_"))
}
