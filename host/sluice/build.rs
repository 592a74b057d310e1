//! Lists what plugin authors start from (plugins/sdk, wit), so that the program carries it.

use std::fmt::Write;
use std::path::{Path, PathBuf};
use std::{env, fs, io};

/// What tools leave in a starter while somebody works on it.
const LEFT: [&str; 6] = ["target", "node_modules", "build", "__pycache__", "venv", "wit"];

fn main() -> io::Result<()> {
    let root = PathBuf::from(env::var_os("CARGO_MANIFEST_DIR").unwrap_or_default()).join("../..");
    let sdk = root.join("plugins/sdk");
    let mut files = vec![("wit/policy.wit".to_owned(), root.join("wit/policy.wit"))];
    list(&sdk, "", &mut files)?;
    files.sort();
    let mut text = String::from("[\n");
    for (name, path) in &files {
        println!("cargo::rerun-if-changed={}", path.display());
        writeln!(text, "    ({name:?}, include_bytes!({:?})),", path.display().to_string())
            .map_err(io::Error::other)?;
    }
    text.push_str("]\n");
    println!("cargo::rerun-if-changed={}", sdk.display());
    let out = PathBuf::from(env::var_os("OUT_DIR").unwrap_or_default());
    fs::write(out.join("starters.rs"), text)
}

/// Every file below `dir` that belongs to a starter, by its path from plugins/sdk.
fn list(dir: &Path, prefix: &str, files: &mut Vec<(String, PathBuf)>) -> io::Result<()> {
    for entry in fs::read_dir(dir)? {
        let path = entry?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let relative = format!("{prefix}{name}");
        if path.is_dir() && !LEFT.contains(&name.as_str()) {
            list(&path, &format!("{relative}/"), files)?;
        } else if path.is_file() && name != "tests.rs" && !name.ends_with(".wasm") {
            files.push((relative, path));
        }
    }
    Ok(())
}
