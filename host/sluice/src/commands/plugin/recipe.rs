//! How each language's plugin is built: the same steps as an author would type, with pinned tools.

use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use bitcoin::hashes::sha256;
use wit_component::ComponentEncoder;

use super::compiled::user_cache;
use super::manifest::{Engine, Manifest};
use super::rust;
use super::workshop::{Prerequisite, require, step, tool};
use crate::cli::Language;

/// Loading tools from a registry; the largest (zig) has 80 MB.
const INSTALL_LIMIT: Duration = Duration::from_secs(900);
const BUILD_LIMIT: Duration = Duration::from_secs(900);

/// Beside what the tool says, which may be anything.
const FIRST_BUILD: &str = "the first build loads the language's tools and needs a network";

const PYTHON: [Prerequisite; 2] = [
    Prerequisite {
        program: "python3",
        arguments: &["--version"],
        at_least: (3, 11),
        how: "`apt-get install python3`, or https://www.python.org/downloads/",
    },
    Prerequisite {
        program: "python3",
        arguments: &["-c", "import venv, ensurepip"],
        at_least: (0, 0),
        how: "`apt-get install python3-venv`",
    },
];
const NODE: [Prerequisite; 2] = [
    Prerequisite {
        program: "node",
        arguments: &["--version"],
        at_least: (20, 11),
        how: "https://nodejs.org/en/download, or `apt-get install nodejs` where that is new enough",
    },
    Prerequisite {
        program: "npm",
        arguments: &["--version"],
        at_least: (9, 0),
        how: "it comes with Node.js; `apt-get install npm` on Debian",
    },
];

/// Where a plugin is and what it is built with.
pub(super) struct Place<'a> {
    pub(super) dir: &'a Path,
    pub(super) manifest: &'a Manifest,
    /// Where the tools of python and c are kept.
    pub(super) tools: &'a Path,
}

/// The component's bytes.
///
/// # Errors
/// What is missing, and how to get it; what a tool could not do.
pub(super) fn build(place: &Place<'_>, out: &mut dyn Write) -> Result<Vec<u8>> {
    match place.manifest.language {
        Language::Rust => componentize(&rust::build(place.dir, out)?),
        Language::Javascript => javascript(place, out),
        Language::Python => python(place, out),
        Language::C => componentize(&c(place, out)?),
    }
}

/// A core module with the contract in a custom section, as wit-bindgen leaves it, to a component.
fn componentize(module: &[u8]) -> Result<Vec<u8>> {
    ComponentEncoder::default()
        .validate(true)
        .module(module)
        .and_then(|encoder| encoder.encode())
        .map_err(|error| anyhow::anyhow!("the built module does not make a component: {error:#}"))
}

/// The toolchain lies in the plugin's directory, as npm has it.
fn javascript(place: &Place<'_>, out: &mut dyn Write) -> Result<Vec<u8>> {
    require(&NODE)?;
    let tools = match place.manifest.engine.unwrap_or_default() {
        Engine::Quickjs => ".",
        Engine::Starlingmonkey => "starlingmonkey",
    };
    let lock = place.dir.join(tools).join("package-lock.json");
    let installed = place.dir.join(tools).join("node_modules/.installed");
    let wanted = fs::read(&lock).with_context(|| format!("failed to read {}", lock.display()))?;
    if fs::read(&installed).ok().as_deref() != Some(wanted.as_slice()) {
        let mut npm = tool("npm", place.dir);
        npm.args([
            "ci",
            "--prefix",
            tools,
            "--ignore-scripts",
            "--no-audit",
            "--no-fund",
            "--loglevel=error",
        ]);
        step(out, "install the tools that package-lock.json names", &mut npm, INSTALL_LIMIT)
            .context(FIRST_BUILD)?;
        fs::write(&installed, wanted).with_context(|| format!("failed to write {}", installed.display()))?;
    }
    // build.mjs writes it aside and renames it; the bytes are taken from there.
    step(out, "make the component", tool("node", place.dir).arg("build.mjs"), BUILD_LIMIT)?;
    read(&place.dir.join(place.manifest.component()))
}

fn python(place: &Place<'_>, out: &mut dyn Write) -> Result<Vec<u8>> {
    let venv = venv(place, out)?;
    let world = place.manifest.world();
    let componentize_py = venv.join("bin/componentize-py");
    let command = || {
        let mut command = tool(&componentize_py, place.dir);
        command.args(["--quiet", "-d", "wit", "-w", &world]).env("VIRTUAL_ENV", &venv);
        command.env("PYTHONDONTWRITEBYTECODE", "1");
        command
    };
    if !place.dir.join("bindings").exists() {
        // Aside and renamed: what an interrupted build left is no bindings.
        let aside = place.dir.join(".bindings.new");
        let _ = fs::remove_dir_all(&aside);
        let mut bindings = command();
        bindings.args(["bindings", ".bindings.new"]);
        step(
            out,
            "write the contract's types for editors and tests to bindings/",
            &mut bindings,
            BUILD_LIMIT,
        )?;
        fs::rename(&aside, place.dir.join("bindings")).context("failed to write bindings/")?;
    }
    let aside = format!(".{}.new", place.manifest.component());
    let mut make = command();
    // Without --stub-wasi the component imports 25 interfaces of WASI, and the host grants none.
    make.args(["componentize", "--stub-wasi", "-p", ".", "-o", &aside, "plugin"]);
    step(out, "make the component", &mut make, BUILD_LIMIT)?;
    taken(&place.dir.join(aside))
}

fn c(place: &Place<'_>, out: &mut dyn Write) -> Result<Vec<u8>> {
    let venv = venv(place, out)?;
    let module = format!(".{}.core.wasm", place.manifest.name);
    let mut zig = tool(venv.join("bin/python"), place.dir);
    let cache = place.tools.join("zig");
    zig.env("ZIG_GLOBAL_CACHE_DIR", &cache).env("ZIG_LOCAL_CACHE_DIR", &cache);
    zig.args(["-m", "ziglang", "cc", "-target", "wasm32-wasi"]);
    // A reactor has functions to call and no main, which would import arguments and an exit. A stack protector would
    // import random numbers. Undefined behaviour traps.
    zig.args(["-mexec-model=reactor", "-std=c17", "-O2", "-s", "-Wall", "-Wextra"]);
    zig.args(["-fsanitize=undefined", "-fsanitize-trap=undefined", "-fno-stack-protector"]);
    zig.arg("-Wl,-z,stack-size=262144").args(sources(place.dir)?).args(["-o", &module]);
    step(out, "compile with zig (the first time it builds its C library)", &mut zig, BUILD_LIMIT)?;
    taken(&place.dir.join(module))
}

/// Every source and object of the directory and of bindings/, sorted.
fn sources(dir: &Path) -> Result<Vec<String>> {
    let mut found = Vec::new();
    for (below, endings) in [("", &["c"][..]), ("bindings", &["c", "o"][..])] {
        let list = dir.join(below);
        let entries = fs::read_dir(&list).with_context(|| format!("failed to list {}", list.display()))?;
        for entry in entries {
            let path = Path::new(below).join(entry?.file_name());
            let ending = path.extension().unwrap_or_default().to_string_lossy().into_owned();
            if endings.contains(&ending.as_str()) {
                // "./": a name that begins with "-" is no option.
                found.push(format!("./{}", path.display()));
            }
        }
    }
    found.sort();
    ensure!(!found.is_empty(), "{} holds no C source", dir.display());
    Ok(found)
}

/// One environment for each list of requirements: whoever pins another version gets another one.
fn venv(place: &Place<'_>, out: &mut dyn Write) -> Result<PathBuf> {
    require(&PYTHON)?;
    let requirements = place.dir.join("requirements.txt");
    let text = read(&requirements)?;
    let hash = <sha256::Hash as bitcoin::hashes::Hash>::hash(&text).to_string();
    let name = format!("{}-{}", place.manifest.language.label(), hash.get(..16).unwrap_or(&hash));
    let venv = place.tools.join(&name);
    fs::create_dir_all(place.tools).with_context(|| format!("failed to make {}", place.tools.display()))?;
    // Two builds at once: the second waits, and finds it ready.
    let lock = File::create(place.tools.join(format!("{name}.lock"))).context("failed to make a lock")?;
    lock.lock().context("failed to wait for another build")?;
    let ready = venv.join("ready");
    if ready.is_file() {
        return Ok(venv);
    }
    let _ = fs::remove_dir_all(&venv);
    // Not in the plugin's directory, whose files would stand before the library's.
    let mut make = Command::new("python3");
    step(out, "make an environment for the tools", make.args(["-m", "venv"]).arg(&venv), INSTALL_LIMIT)?;
    let mut pip = Command::new(venv.join("bin/python"));
    pip.args([
        "-m",
        "pip",
        "install",
        "--quiet",
        "--disable-pip-version-check",
        "--only-binary",
        ":all:",
        "-r",
    ]);
    let what = format!("install the tools that requirements.txt names to {}", venv.display());
    step(out, &what, pip.arg(&requirements), INSTALL_LIMIT).context(FIRST_BUILD)?;
    File::create(&ready).with_context(|| format!("failed to write {}", ready.display()))?;
    Ok(venv)
}

/// `--tools`, or the user's cache directory, or one within the plugin's own.
pub(super) fn tools_dir(given: Option<&Path>, dir: &Path) -> PathBuf {
    given.map_or_else(
        || user_cache().map_or_else(|| dir.join(".toolchain"), |cache| cache.join("tools")),
        Path::to_path_buf,
    )
}

pub(super) fn read(path: &Path) -> Result<Vec<u8>> {
    fs::read(path).with_context(|| format!("failed to read {}", path.display()))
}

/// The bytes of a file that was only a step on the way.
fn taken(path: &Path) -> Result<Vec<u8>> {
    let bytes = read(path)?;
    fs::remove_file(path).with_context(|| format!("failed to remove {}", path.display()))?;
    Ok(bytes)
}
