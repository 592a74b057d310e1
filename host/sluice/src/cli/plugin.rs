//! `sluice plugin`: everything an author of policies does beside writing one.

use std::path::PathBuf;

use clap::{Args, Subcommand, ValueEnum};
use serde::Deserialize;
use sluice_core::policy::PolicyKind;

/// Makes, builds, tests and measures plugins, and looks at them.
#[derive(Clone, Debug, Args)]
#[command(after_help = example!(
    "sluice plugin new vardiff --lang rust my-vardiff",
    "sluice plugin build my-vardiff",
    "sluice plugin test my-vardiff",
    "sluice plugin inspect plugins/dist/payout-pplns.wasm"
))]
pub struct Plugin {
    #[command(subcommand)]
    pub command: PluginCommand,
}

#[derive(Clone, Debug, Subcommand)]
pub enum PluginCommand {
    New(NewPlugin),
    Build(BuildPlugin),
    Inspect(Inspect),
    Test(TestPlugin),
    Bench(BenchPlugin),
}

/// Which decision a plugin makes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Kind {
    /// Who a login is.
    Auth,
    /// What difficulty a miner works at.
    Vardiff,
    /// Who has earned what.
    Payout,
}

impl From<Kind> for PolicyKind {
    fn from(kind: Kind) -> Self {
        match kind {
            Kind::Auth => Self::Auth,
            Kind::Vardiff => Self::Vardiff,
            Kind::Payout => Self::Payout,
        }
    }
}

/// What a plugin is written in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Language {
    Rust,
    Javascript,
    Python,
    C,
}

impl Language {
    pub const fn label(self) -> &'static str {
        match self {
            Self::Rust => "rust",
            Self::Javascript => "javascript",
            Self::Python => "python",
            Self::C => "c",
        }
    }
}

/// Makes a directory with a small policy that works: build it, test it, then change it.
#[derive(Clone, Debug, Args)]
#[command(after_help = example!(
    "sluice plugin new auth --lang python my-auth",
    "sluice plugin new payout --lang rust my-payout"
))]
pub struct NewPlugin {
    /// Which decision it makes.
    #[arg(value_name = "KIND", value_enum)]
    pub kind: Kind,
    /// What it is written in.
    #[arg(long, value_name = "LANG", value_enum)]
    pub lang: Language,
    /// Where to put it; it must not exist or be empty.
    #[arg(value_name = "DIR")]
    pub dir: PathBuf,
}

/// Builds a plugin with its language's own tools, and leaves DIR/NAME.wasm.
///
/// The tools come from the language's package registry, in the versions that the plugin pins; the first build loads them.
/// Rust's are rustup's. What must be there beforehand (node, python3, cargo) is named where it is missing.
#[derive(Clone, Debug, Args)]
#[command(after_help = example!("sluice plugin build my-auth", "sluice plugin build my-auth --tools /var/cache/sluice-tools"))]
pub struct BuildPlugin {
    /// The directory with plugin.toml.
    #[arg(value_name = "DIR")]
    pub dir: PathBuf,
    /// Where the tools of python and c are kept [default: $XDG_CACHE_HOME/sluice/tools].
    #[arg(long, value_name = "DIR")]
    pub tools: Option<PathBuf>,
}

/// Says what a plugin is, what it asks for, and whether this pool would take it.
#[derive(Clone, Debug, Args)]
#[command(after_help = example!("sluice plugin inspect plugins/dist/payout-pplns.wasm"))]
pub struct Inspect {
    /// A component, or the directory it was built in.
    #[arg(value_name = "FILE")]
    pub file: PathBuf,
    /// Print JSON instead of a table.
    #[arg(long)]
    pub json: bool,
}

/// Asks a plugin everything that every policy of its kind must be able to answer, and the author's own questions.
///
/// Plain questions must be answered; extreme and hostile ones answered or refused, never trapped on. The author's own are
/// TOML files of calls and expected answers; docs/plugins/README.md has their form.
#[derive(Clone, Debug, Args)]
#[command(after_help = example!("sluice plugin test my-auth/address-book.wasm", "sluice plugin test my-auth --json"))]
pub struct TestPlugin {
    /// A component, or the directory it was built in.
    #[arg(value_name = "FILE")]
    pub file: PathBuf,
    /// Where the author's questions are [default: the directory tests beside FILE].
    #[arg(long, value_name = "DIR")]
    pub scenarios: Option<PathBuf>,
    /// The plugin's table of settings, as a TOML file [default: none, or those of the first scenario it takes].
    #[arg(long, value_name = "FILE")]
    pub settings: Option<PathBuf>,
    /// Print JSON instead of a line for each check.
    #[arg(long)]
    pub json: bool,
}

/// Measures a plugin beside the shipped one of its kind: size, compiling, instances, calls, fuel, memory.
#[derive(Clone, Debug, Args)]
#[command(after_help = example!(
    "sluice plugin bench my-vardiff/simple-vardiff.wasm",
    "sluice plugin bench new.wasm --against old.wasm --calls 10000"
))]
pub struct BenchPlugin {
    /// A component, or the directory it was built in.
    #[arg(value_name = "FILE")]
    pub file: PathBuf,
    /// What it is compared with [default: auth-address, vardiff-steady or payout-pplns].
    #[arg(long, value_name = "FILE")]
    pub against: Option<PathBuf>,
    /// How often each question is asked; for at most ten seconds.
    #[arg(long, value_name = "N", default_value_t = 1000, value_parser = clap::value_parser!(u32).range(1..=10_000_000))]
    pub calls: u32,
    /// The plugin's table of settings, as a TOML file [default: none, or those of the first scenario it takes].
    #[arg(long, value_name = "FILE")]
    pub settings: Option<PathBuf>,
    /// Print JSON instead of a table.
    #[arg(long)]
    pub json: bool,
}
