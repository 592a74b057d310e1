//! A core module from a plugin in Rust, with rustup's standard library for wasm or with Debian's sources of one.

use std::env;
use std::ffi::{OsStr, OsString};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, bail};

use super::recipe::read;
use super::workshop::{Prerequisite, require, step};

/// A target without a system interface, since a policy has none.
const TARGET: &str = "wasm32-unknown-unknown";
const PROFILE: &str = "plugin";
/// Small, and the same bytes from the same sources.
const PROFILE_SETTINGS: [&str; 9] = [
    "inherits='release'",
    "opt-level='s'",
    "lto='fat'",
    "codegen-units=1",
    "panic='abort'",
    "strip='symbols'",
    "debug=false",
    "debug-assertions=false",
    "incremental=false",
];
/// The first build also makes the bindings' generator, and with Debian's sources the standard library.
const LIMIT: Duration = Duration::from_secs(1200);

const DEBIAN_RUSTC: &str = "/usr/bin/rustc";
const DEBIAN_CARGO: &str = "/usr/bin/cargo";

const CARGO: [Prerequisite; 1] = [Prerequisite {
    program: "cargo",
    arguments: &["--version"],
    at_least: (1, 85),
    how: "https://rustup.rs, then `rustup target add wasm32-unknown-unknown`",
}];

/// Where the standard library for the target comes from.
#[derive(Debug)]
enum Toolchain {
    /// It is installed, as `rustup target add` does.
    Installed,
    /// Debian's rustc-web builds it from rust-web-src; the linker is borrowed from rustup's toolchain.
    DebianBuildStd { linker: PathBuf },
}

impl Toolchain {
    fn find() -> Result<Self> {
        let sysroot = sysroot("rustc")?;
        if sysroot.join("lib/rustlib").join(TARGET).join("lib").is_dir() {
            return Ok(Self::Installed);
        }
        let Some(linker) = debian_linker(&sysroot) else {
            bail!(
                "this cannot be built here yet:\n  no standard library for {TARGET}: `rustup target add {TARGET}`, or on \
                 Debian `apt-get install rustc-web cargo-web rust-web-src` beside a rustup toolchain (for its rust-lld)"
            );
        };
        Ok(Self::DebianBuildStd { linker })
    }

    fn cargo(&self) -> Result<Command> {
        let mut command = match self {
            Self::Installed => {
                let mut command = Command::new("cargo");
                command.arg("build");
                command
            }
            Self::DebianBuildStd { linker } => {
                let mut command = Command::new(DEBIAN_CARGO);
                // build-std is unstable; the variable lets a stable compiler do it.
                command.env("RUSTC_BOOTSTRAP", "1").env("RUSTC", DEBIAN_RUSTC);
                command.env("PATH", path_with(linker)?);
                command.args(["build", "-Z", "build-std=std,panic_abort"]);
                command
            }
        };
        command.args(["--target", TARGET, "--profile", PROFILE]);
        for setting in PROFILE_SETTINGS {
            command.arg("--config").arg(format!("profile.{PROFILE}.{setting}"));
        }
        Ok(command)
    }
}

/// Debian's linker for wasm is missing in rustc-web; a rustup toolchain has one.
fn debian_linker(sysroot_of_other: &Path) -> Option<PathBuf> {
    let about = ask("rustc", &["-vV"]).ok()?;
    let host = about.lines().find_map(|line| line.strip_prefix("host: "))?;
    let linker = sysroot_of_other.join("lib/rustlib").join(host).join("bin");
    let has_sources = sysroot(DEBIAN_RUSTC).ok()?.join("lib/rustlib/src/rust/library/std").is_dir();
    (linker.join("rust-lld").is_file() && has_sources && Path::new(DEBIAN_CARGO).is_file()).then_some(linker)
}

/// Whether a plugin in Rust can be built here.
///
/// # Errors
/// What is missing, and how to get it.
pub(super) fn available() -> Result<()> {
    require(&CARGO)?;
    Toolchain::find().map(|_| ())
}

/// The core module of the crate in `dir`.
///
/// # Errors
/// What is missing; what cargo could not do.
pub(super) fn build(dir: &Path, out: &mut dyn Write) -> Result<Vec<u8>> {
    available()?;
    let target =
        dir.canonicalize().with_context(|| format!("failed to find {}", dir.display()))?.join("target");
    let mut cargo = Toolchain::find()?.cargo()?;
    cargo.arg("--target-dir").arg(&target).current_dir(dir);
    // Messages of a panic name sources: not by where they lie on this machine.
    cargo.env_remove("RUSTFLAGS").env("CARGO_ENCODED_RUSTFLAGS", remapped(dir));
    step(out, "build with cargo", &mut cargo, LIMIT)?;
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

fn remapped(dir: &Path) -> OsString {
    let home = PathBuf::from(env::var_os("HOME").unwrap_or_default()).join(".cargo");
    let cargo_home = env::var_os("CARGO_HOME").map_or(home, PathBuf::from);
    let own = dir.canonicalize().unwrap_or_else(|_| dir.to_path_buf());
    let flag = |(from, to): (PathBuf, &str)| {
        let mut flag = OsString::from("--remap-path-prefix=");
        flag.push(from);
        flag.push("=");
        flag.push(to);
        flag
    };
    [(own, "."), (cargo_home, "cargo")].map(flag).join(OsStr::new("\x1f"))
}

/// What a program prints, trimmed.
fn ask(program: &str, arguments: &[&str]) -> Result<String> {
    let output = Command::new(program).args(arguments).output();
    let output = output.with_context(|| format!("failed to run {program}; https://rustup.rs has it"))?;
    Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

fn sysroot(rustc: &str) -> Result<PathBuf> {
    ask(rustc, &["--print", "sysroot"]).map(PathBuf::from)
}

fn path_with(directory: &Path) -> Result<OsString> {
    let path = env::var_os("PATH").unwrap_or_default();
    let all = std::iter::once(directory.to_path_buf()).chain(env::split_paths(&path));
    env::join_paths(all).context("the path of the linker cannot stand in PATH")
}
