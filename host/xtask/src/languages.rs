//! `cargo xtask languages`: what a policy costs in each language, measured here and written to docs/plugins/README.md.

mod figures;
mod table;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};

use figures::{Bench, Measured};

/// Where the tables stand.
const PAGE: &str = "docs/plugins/README.md";
/// The lines around them.
const BEGIN: &str = "<!-- written by `cargo xtask languages`: do not edit -->";
const END: &str = "<!-- end of what `cargo xtask languages` writes -->";

/// What a plugin is written in, and what runs it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Language {
    Rust,
    C,
    QuickJs,
    StarlingMonkey,
    Python,
}

const KINDS: [&str; 3] = ["vardiff", "auth", "payout"];

impl Language {
    const ALL: [Self; 5] = [Self::Rust, Self::C, Self::QuickJs, Self::StarlingMonkey, Self::Python];

    const fn title(self) -> &'static str {
        match self {
            Self::Rust => "Rust",
            Self::C => "C",
            Self::QuickJs => "JavaScript, QuickJS",
            Self::StarlingMonkey => "JavaScript, StarlingMonkey",
            Self::Python => "Python",
        }
    }

    /// As `--lang` has it.
    const fn option(self) -> &'static str {
        match self {
            Self::Rust => "rust",
            Self::C => "c",
            Self::QuickJs | Self::StarlingMonkey => "javascript",
            Self::Python => "python",
        }
    }
}

/// Measures everything, one after the other, and writes the tables. Takes a quarter of an hour of an idle machine; loads the
/// tools of every language anew.
///
/// # Errors
/// A tool is missing, a step failed, or the page has no place for the tables.
pub(crate) fn run(root: &Path) -> Result<()> {
    let page = root.join(PAGE);
    let text = fs::read_to_string(&page).with_context(|| format!("failed to read {PAGE}"))?;
    let (head, tail) = place(&text)?;
    let bench = Bench::new(&program(root)?, &root.join("target/languages"))?;
    let mut all: Vec<(Language, Vec<Measured>)> = Vec::new();
    for language in Language::ALL {
        let kinds = KINDS.iter().map(|kind| {
            println!("{}: {kind}", language.title());
            bench.measure(language, kind).with_context(|| format!("{kind} in {}", language.title()))
        });
        all.push((language, kinds.collect::<Result<_>>()?));
    }
    fs::write(&page, format!("{head}{BEGIN}\n\n{}\n{END}{tail}", table::render(&all)))
        .with_context(|| format!("failed to write {PAGE}"))?;
    println!("{PAGE} has the figures");
    bench.clear()
}

/// `$SLUICE_BIN`, else one that is built now: as fast as operators have it.
fn program(root: &Path) -> Result<PathBuf> {
    if let Some(path) = std::env::var_os("SLUICE_BIN") {
        return Ok(path.into());
    }
    let release = ["build", "--release", "--locked", "--package", "sluice"];
    let status = Command::new("cargo").args(release).current_dir(root).status()?;
    ensure!(status.success(), "cargo build --release --package sluice failed");
    Ok(root.join("target/release/sluice"))
}

/// What stands before and behind the tables.
fn place(text: &str) -> Result<(&str, &str)> {
    let (head, rest) = text.split_once(BEGIN).with_context(|| format!("{PAGE} has no line {BEGIN}"))?;
    let (_, tail) = rest.split_once(END).with_context(|| format!("{PAGE} has no line {END}"))?;
    Ok((head, tail))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_has_a_place_for_the_tables() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
        let text = fs::read_to_string(root.join(PAGE)).unwrap();
        let (head, tail) = place(&text).unwrap();
        assert!(head.starts_with("# Writing a plugin") && tail.ends_with('\n'));
    }
}
