//! What policies cost a pool that runs, and what replacing them costs: in one run on one machine, with what is compared
//! taking turns.
//!
//! `cargo bench -p sluice-tests --bench policies`; `-- --help` tells what can be chosen. Times of a shared machine mean
//! little, the ratios are what counts.

mod house;
mod latency;
#[path = "../../src/bin/load/machine.rs"]
#[allow(dead_code, reason = "the load program needs more of it")]
mod machine;
mod memory;
mod native;
mod overhead;
mod pools;

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result};
use clap::{Parser, ValueEnum};
use sluice_tests::plugins::{self, VARDIFF};

/// Measures policies: swaps, latency while they are replaced, overhead, shadows, memory.
#[derive(Debug, Parser)]
#[command(
    bin_name = "cargo bench -p sluice-tests --bench policies --",
    after_help = "Examples:
  cargo bench -p sluice-tests --bench policies
  cargo bench -p sluice-tests --bench policies -- --only swap,memory --component starling=vardiff.wasm
  cargo bench -p sluice-tests --bench policies -- --only overhead --turns 9 --seconds 8"
)]
pub(crate) struct Cli {
    /// Only these measurements, with commas between them
    #[arg(long, value_enum, value_delimiter = ',')]
    only: Vec<What>,
    /// A vardiff component to measure beside the shipped one; may be given several times
    #[arg(long = "component", value_name = "NAME=FILE", value_parser = named)]
    components: Vec<(String, PathBuf)>,
    /// Reloads in a row
    #[arg(long, default_value_t = 1000, value_name = "N")]
    reloads: u32,
    /// How often what is compared takes turns; medians are printed
    #[arg(long, default_value_t = 5, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    turns: u32,
    /// How long one turn of load takes
    #[arg(long, default_value_t = 4.0, value_name = "SECONDS")]
    seconds: f64,
    /// What cargo gives every bench
    #[arg(long, hide = true)]
    bench: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum What {
    /// From a file's rename to the new generation serving
    Swap,
    /// Many reloads in a row: time, memory, threads, open files
    Reloads,
    /// What an instance holds
    Memory,
    /// Submissions a second with components and with shadows, against policies that are part of the program
    Overhead,
    /// From submission to reply, with and without a reload running
    Latency,
}

fn named(text: &str) -> Result<(String, PathBuf), String> {
    let (name, file) = text.split_once('=').ok_or("NAME=FILE is allowed")?;
    Ok((name.to_owned(), PathBuf::from(file)))
}

/// A vardiff component.
pub(crate) struct Component {
    pub(crate) name: String,
    bytes: Vec<u8>,
}

impl Component {
    pub(crate) fn size(&self) -> usize {
        self.bytes.len()
    }

    /// The same code as another file: a custom section with a number at its end, so that its hash differs.
    pub(crate) fn numbered(&self, number: u32) -> Vec<u8> {
        const NAME: &[u8] = b"sluice-tests";
        let mut bytes = self.bytes.clone();
        // A section of id 0: its size, the length of its name, its name, its content. All below 128, so each one byte.
        bytes.extend([0, 1 + 12 + 4, 12]);
        bytes.extend(NAME);
        bytes.extend(number.to_le_bytes());
        bytes
    }
}

fn components(cli: &Cli) -> Result<Vec<Component>> {
    let shipped = Component { name: "shipped".to_owned(), bytes: plugins::shipped(VARDIFF)? };
    let given = cli.components.iter().map(|(name, file)| {
        let bytes = std::fs::read(file).with_context(|| file.display().to_string())?;
        Ok(Component { name: name.clone(), bytes })
    });
    std::iter::once(Ok(shipped)).chain(given).collect()
}

/// The middle one.
pub(crate) fn median<T: Copy + PartialOrd>(mut all: Vec<T>) -> Option<T> {
    all.sort_by(|one, other| one.partial_cmp(other).unwrap_or(std::cmp::Ordering::Equal));
    all.get(all.len() / 2).copied()
}

pub(crate) fn millis(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}

fn main() -> Result<std::process::ExitCode> {
    let mut args = std::env::args_os().skip(1);
    match args.next().as_deref().and_then(|first| first.to_str()) {
        // This program compiles for itself, as the pool does.
        Some("compile-component") => return Ok(sluice_policy::compile_child_main(args)),
        Some("pool") => {
            let rest: Vec<OsString> = args.collect();
            return pools::serve(&rest).map(|()| std::process::ExitCode::SUCCESS);
        }
        _ => {}
    }
    let cli = Cli::parse();
    let components = components(&cli)?;
    let wanted = |what| cli.only.is_empty() || cli.only.contains(&what);
    if wanted(What::Swap) {
        house::swaps(&components, cli.turns)?;
    }
    if wanted(What::Reloads) {
        house::reloads(&components[0], cli.reloads)?;
    }
    if wanted(What::Memory) {
        memory::instances(&components)?;
    }
    if wanted(What::Overhead) {
        overhead::compare(cli.turns, cli.seconds)?;
    }
    if wanted(What::Latency) {
        latency::compare(&components, cli.turns, cli.seconds)?;
    }
    Ok(std::process::ExitCode::SUCCESS)
}
