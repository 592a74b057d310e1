//! The shipped policies: built, made into components, and recorded in plugins/dist.

mod lock;
mod sources;
mod toolchain;

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};
use wit_component::ComponentEncoder;

pub(crate) use self::lock::sha256;
use self::lock::{Entry, Lock};
use self::toolchain::{TARGET, Toolchain};

/// Where the built policies are, from the root.
const DIST: &str = "plugins/dist";
/// What mends a stale policy.
const MEND: &str = "cargo xtask plugins";

/// Builds every shipped policy and writes plugins/dist.
pub(crate) fn build(root: &Path) -> Result<()> {
    let names = names(root)?;
    let toolchain = Toolchain::find()?;
    let modules = compile(root, &names, &toolchain)?;
    let sources = sources::hashes(root, &names)?;
    let dist = root.join(DIST);
    fs::create_dir_all(&dist)?;
    let mut lock = Lock { toolchain: toolchain.version().to_owned(), ..Lock::default() };
    for ((name, module), sources) in names.iter().zip(modules).zip(sources) {
        let component = componentize(&module).with_context(|| format!("{name} does not make a component"))?;
        println!("{name}: {} bytes", component.len());
        write(&dist.join(format!("{name}.wasm")), &component)?;
        lock.plugins.insert(name.clone(), Entry { wasm: lock::sha256(&component), sources });
    }
    write(&dist.join(lock::FILE), lock.to_text()?.as_bytes())?;
    remove_strangers(&dist, &names)
}

/// Compares plugins/dist with its lock and the lock with the sources. Needs no wasm toolchain.
pub(crate) fn check(root: &Path) -> Result<()> {
    let names = names(root)?;
    let dist = root.join(DIST);
    let text = fs::read_to_string(dist.join(lock::FILE))
        .with_context(|| format!("failed to read {DIST}/{}; run `{MEND}`", lock::FILE))?;
    let lock =
        Lock::parse(&text).with_context(|| format!("{DIST}/{} is damaged; run `{MEND}`", lock::FILE))?;
    let found: Vec<Entry> = names
        .iter()
        .zip(sources::hashes(root, &names)?)
        .map(|(name, sources)| {
            let wasm = fs::read(dist.join(format!("{name}.wasm"))).map(|bytes| lock::sha256(&bytes));
            Entry { wasm: wasm.unwrap_or_default(), sources }
        })
        .collect();
    let stale = lock.differences(names.iter().map(String::as_str).zip(&found));
    if stale.is_empty() {
        println!("plugins/dist is up to date: {}", names.join(", "));
        return Ok(());
    }
    bail!("plugins/dist is stale:\n  {}\nrun `{MEND}`", stale.join("\n  "))
}

/// The shipped policies: every directory of plugins/ that is a crate.
fn names(root: &Path) -> Result<Vec<String>> {
    let mut names = Vec::new();
    for entry in fs::read_dir(root.join("plugins")).context("failed to list plugins/")? {
        let entry = entry?;
        if entry.path().join("Cargo.toml").is_file() {
            names.push(entry.file_name().to_string_lossy().into_owned());
        }
    }
    names.sort();
    ensure!(!names.is_empty(), "there are no plugins in plugins/");
    Ok(names)
}

/// The core modules, in the order of `names`.
fn compile(root: &Path, names: &[String], toolchain: &Toolchain) -> Result<Vec<Vec<u8>>> {
    let target = root.join("target").join("wasm");
    let mut cargo = toolchain.cargo(root)?;
    cargo.arg("--target-dir").arg(&target);
    for name in names {
        cargo.arg("--package").arg(format!("plugin-{name}"));
    }
    let status = cargo.current_dir(root).status().context("failed to start cargo")?;
    ensure!(status.success(), "cargo could not build the plugins");
    let read = |name: &String| {
        let file = format!("plugin_{}.wasm", name.replace('-', "_"));
        let path: PathBuf =
            [Path::new(TARGET), Path::new(toolchain::PROFILE), Path::new(&file)].iter().collect();
        let path = target.join(path);
        fs::read(&path).with_context(|| format!("failed to read {}", path.display()))
    };
    names.iter().map(read).collect()
}

/// A core module with wit-bindgen's custom sections to a component.
fn componentize(module: &[u8]) -> Result<Vec<u8>> {
    ComponentEncoder::default().validate(true).module(module)?.encode()
}

/// Aside and renamed, so that a running pool never reads half a file.
fn write(path: &Path, bytes: &[u8]) -> Result<()> {
    let aside = path.with_extension("new");
    fs::write(&aside, bytes).with_context(|| format!("failed to write {}", aside.display()))?;
    fs::rename(&aside, path).with_context(|| format!("failed to write {}", path.display()))
}

/// Components of plugins that are no more.
fn remove_strangers(dist: &Path, names: &[String]) -> Result<()> {
    for entry in fs::read_dir(dist)? {
        let path = entry?.path();
        let stem = path.file_stem().unwrap_or_default().to_string_lossy();
        if path.extension().is_some_and(|extension| extension == "wasm")
            && !names.contains(&stem.into_owned())
        {
            println!("removing {}", path.display());
            fs::remove_file(&path)?;
        }
    }
    Ok(())
}
