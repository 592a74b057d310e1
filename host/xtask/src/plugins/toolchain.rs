//! A compiler that can make wasm32-unknown-unknown, and how to call it so that the same sources give the same bytes.
//!
//! `sluice plugin build` compiles this file too.

use std::env;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

/// What the plugins are built for: a target without a system interface, since a policy has none.
pub(crate) const TARGET: &str = "wasm32-unknown-unknown";
/// Cargo's profile for plugins; given on the command line, so that the manifest stays about the host.
pub(crate) const PROFILE: &str = "plugin";
/// Small, and the same bytes from the same sources.
pub(crate) const PROFILE_SETTINGS: [&str; 9] = [
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

/// Debian's compiler, for machines where rustup's target cannot be had.
const DEBIAN_RUSTC: &str = "/usr/bin/rustc";
const DEBIAN_CARGO: &str = "/usr/bin/cargo";

/// Where the standard library for the target comes from.
#[derive(Debug)]
pub(crate) enum Toolchain {
    /// It is installed, as `rustup target add` does.
    Installed { version: String, sysroot: PathBuf },
    /// Debian's rustc-web builds it from rust-web-src; the linker is borrowed from the other toolchain.
    DebianBuildStd { version: String, sysroot: PathBuf, linker_directory: PathBuf },
}

impl Toolchain {
    /// # Errors
    /// There is none; says how to get one.
    pub(crate) fn find() -> Result<Self> {
        let (rustc, sysroot) = (rustc(), sysroot(&rustc())?);
        if sysroot.join("lib/rustlib").join(TARGET).join("lib").is_dir() {
            return Ok(Self::Installed { version: version(&rustc)?, sysroot });
        }
        match Self::find_debian(&rustc, &sysroot) {
            Some(toolchain) => Ok(toolchain),
            None => bail!(
                "no standard library for {TARGET}; get one with `rustup target add {TARGET}`, or on Debian with `apt-get \
                 install rustc-web cargo-web rust-web-src` beside a rustup toolchain (for its rust-lld)"
            ),
        }
    }

    fn find_debian(rustc: &OsString, other_sysroot: &Path) -> Option<Self> {
        let debian = OsString::from(DEBIAN_RUSTC);
        let linker_directory = linker_directory(rustc, other_sysroot)?;
        let sysroot = sysroot(&debian).ok()?;
        let has_sources = sysroot.join("lib/rustlib/src/rust/library/std").is_dir();
        let version = version(&debian).ok()?;
        (has_sources && Path::new(DEBIAN_CARGO).is_file()).then_some(Self::DebianBuildStd {
            version,
            sysroot,
            linker_directory,
        })
    }

    /// As `rustc --version` says.
    pub(crate) fn version(&self) -> &str {
        let (Self::Installed { version, .. } | Self::DebianBuildStd { version, .. }) = self;
        version
    }

    /// `cargo build` for the target with the plugins' profile; packages and directories are the caller's to add.
    pub(crate) fn cargo(&self, root: &Path) -> Result<Command> {
        let mut command = match self {
            Self::Installed { .. } => {
                let mut command = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
                command.arg("build");
                command
            }
            Self::DebianBuildStd { linker_directory, .. } => {
                let mut command = Command::new(DEBIAN_CARGO);
                // build-std is unstable; the variable lets a stable compiler do it.
                command.env("RUSTC_BOOTSTRAP", "1").env("RUSTC", DEBIAN_RUSTC);
                command.env("PATH", path_with(linker_directory)?);
                command.args(["build", "-Z", "build-std=std,panic_abort"]);
                command
            }
        };
        command.args(["--target", TARGET, "--profile", PROFILE]);
        for setting in PROFILE_SETTINGS {
            command.arg("--config").arg(format!("profile.{PROFILE}.{setting}"));
        }
        command.env_remove("RUSTFLAGS").env("CARGO_ENCODED_RUSTFLAGS", self.remapped_paths(root));
        Ok(command)
    }

    /// Panic messages name source files: without the paths of this machine.
    fn remapped_paths(&self, root: &Path) -> OsString {
        let (Self::Installed { sysroot, .. } | Self::DebianBuildStd { sysroot, .. }) = self;
        let library = sysroot.join("lib/rustlib/src/rust");
        let mut prefixes = vec![(root.to_path_buf(), "."), (cargo_home(), "cargo")];
        prefixes.extend(library.canonicalize().ok().map(|path| (path, "rust")));
        prefixes.push((library, "rust"));
        let flag = |(from, to): &(PathBuf, &str)| {
            let mut flag = OsString::from("--remap-path-prefix=");
            flag.push(from);
            flag.push("=");
            flag.push(to);
            flag
        };
        let flags: Vec<OsString> = prefixes.iter().map(flag).collect();
        flags.join(std::ffi::OsStr::new("\x1f"))
    }
}

fn rustc() -> OsString {
    env::var_os("RUSTC").unwrap_or_else(|| "rustc".into())
}

fn cargo_home() -> PathBuf {
    let home = || PathBuf::from(env::var_os("HOME").unwrap_or_default()).join(".cargo");
    env::var_os("CARGO_HOME").map_or_else(home, PathBuf::from)
}

/// What `rustc` prints for `arguments`, trimmed.
fn ask(rustc: &OsString, arguments: &[&str]) -> Result<String> {
    let output = Command::new(rustc).args(arguments).output();
    let output =
        output.with_context(|| format!("failed to run {}; https://rustup.rs has it", rustc.display()))?;
    Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

fn sysroot(rustc: &OsString) -> Result<PathBuf> {
    ask(rustc, &["--print", "sysroot"]).map(PathBuf::from)
}

fn version(rustc: &OsString) -> Result<String> {
    let text = ask(rustc, &["--version"])?;
    // `rustc 1.95.0 (hash date)`: the number says enough.
    Ok(text.split_whitespace().take(2).collect::<Vec<_>>().join(" "))
}

/// Where a toolchain of rustup's keeps rust-lld.
fn linker_directory(rustc: &OsString, sysroot: &Path) -> Option<PathBuf> {
    let about = ask(rustc, &["-vV"]).ok()?;
    let host = about.lines().find_map(|line| line.strip_prefix("host: "))?;
    let directory = sysroot.join("lib/rustlib").join(host).join("bin");
    directory.join("rust-lld").is_file().then_some(directory)
}

fn path_with(directory: &Path) -> Result<OsString> {
    let path = env::var_os("PATH").unwrap_or_default();
    let all = std::iter::once(directory.to_path_buf()).chain(env::split_paths(&path));
    env::join_paths(all).context("the path of the linker cannot stand in PATH")
}
