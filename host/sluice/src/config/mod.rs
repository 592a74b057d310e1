//! The configuration: TOML in, [`Config`] out, or every problem at once.
//!
//! Text becomes a tree with places, [`raw`] reads it key by key, [`validate`] looks at keys together. Unknown keys are
//! problems. `config/sluice.toml` and `docs/configuration.md` are checked against [`reference`].

pub mod address_range;
mod lookup;
mod pool;
mod problem;
mod raw;
mod reader;
mod settings;
mod stratum_v2;
mod validate;

use std::fmt;
use std::io::Read;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use bitcoin::{Amount, Network};
use sluice_core::policy::PolicyKind;
use sluice_core::units::{Difficulty, VersionMask};
use sluice_policy::Limits;
use toml::de::DeTable;

use address_range::AddressRange;
pub use lookup::Lookup;
pub use pool::{CoinbaseClass, Pool};
pub use problem::{ConfigErrors, PROBLEM_LIMIT, Problem};
pub use reader::Key;
pub(crate) use reader::position;
use reader::{Notes, Place, Section};
pub use settings::Map as Settings;
pub use stratum_v2::{IdentitySource, StratumV2};

/// The largest file that is read, in bytes.
pub const FILE_LIMIT: u64 = 1 << 20;

/// A configuration that was checked as a whole. Paths are absolute or relative to the working directory; in the file
/// they are relative to the file.
#[derive(Clone, Debug, PartialEq)]
pub struct Config {
    pub network: Network,
    pub data_dir: PathBuf,
    pub pool: Pool,
    pub chain: Chain,
    pub stratum_v1: StratumV1,
    /// `None` where it is not enabled.
    pub stratum_v2: Option<StratumV2>,
    pub policy: Policies,
    pub ledger: Ledger,
    pub payouts: Payouts,
    pub http: Http,
    pub log: Log,
}

/// Where templates come from and blocks go to.
#[derive(Clone, Debug, PartialEq)]
pub enum Chain {
    /// At least one, in order of preference.
    Nodes(Vec<Node>),
    Simulated(Simulation),
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Node {
    /// `http://host:port`, without credentials.
    pub url: String,
    pub auth: NodeAuth,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NodeAuth {
    /// The file that bitcoind writes at each start.
    Cookie(PathBuf),
    Password {
        user: String,
        password: Secret,
    },
}

/// A text that does not show in logs.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[redacted]")
    }
}

/// A chain that exists in this process only.
#[derive(Clone, Debug, PartialEq)]
pub struct Simulation {
    pub difficulty: Difficulty,
    /// Synthetic transactions per template.
    pub transactions: u32,
    /// How often somebody else finds a block; `None`: never.
    pub block_interval: Option<Duration>,
    pub start_height: u32,
}

/// What holds for every SV1 listener.
#[derive(Clone, Debug, PartialEq)]
pub struct StratumV1 {
    /// At least one; names and addresses are distinct.
    pub listeners: Vec<Listener>,
    /// 4 to 8 bytes.
    pub extranonce2_size: usize,
    pub version_mask: VersionMask,
    /// The longest line a miner may send, in bytes (V1-2).
    pub line_limit: usize,
    /// From connect to subscribe (V1-77).
    pub subscribe_timeout: Duration,
    /// From connect to authorize (V1-77).
    pub authorize_timeout: Duration,
    pub idle_timeout: Duration,
    /// How often a miner gets a notify without a new block.
    pub refresh: Duration,
    /// How long shares of the previous tip still count (V1-57).
    pub stale_grace: Duration,
    /// How long miners are kept without a healthy node (V1-80).
    pub no_work_grace: Duration,
    pub door: Door,
    pub messages_per_minute: u32,
    pub workers_per_connection: usize,
    /// Rejected shares without an accepted one between them that end a connection (V1-73); 0: any number.
    pub rejected_in_a_row: u32,
}

/// Who may connect, on all listeners of a protocol together (V1-82).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Door {
    pub max_connections: usize,
    pub max_connections_per_address: usize,
    /// From one address.
    pub reconnects_per_minute: u32,
    /// Zero: nobody is banned.
    pub ban: Duration,
    /// Never banned and never limited by address.
    pub never_ban: Vec<AddressRange>,
}

#[derive(Clone, Debug, PartialEq)]
pub struct Listener {
    /// What policies, logs and metrics call it.
    pub name: String,
    pub listen: SocketAddr,
    pub tls: Option<Tls>,
    pub proxy_protocol: ProxyProtocol,
    pub start_difficulty: Difficulty,
    /// The floor (V1-48).
    pub minimum_difficulty: Difficulty,
    pub maximum_difficulty: Difficulty,
}

/// PEM files, re-read when they change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tls {
    pub certificate: PathBuf,
    pub key: PathBuf,
}

/// Which PROXY protocol header a listener demands. Where one is demanded, a connection without it is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProxyProtocol {
    Off,
    V1,
    V2,
    /// Version 1 or 2.
    Any,
}

#[derive(Clone, Debug, PartialEq)]
pub struct Policies {
    /// The directory that is watched.
    pub dir: PathBuf,
    pub auth: Policy,
    pub vardiff: Policy,
    pub payout: Policy,
    /// What the auth policy may look up.
    pub lookup: Lookup,
}

impl Policies {
    pub const fn of(&self, kind: PolicyKind) -> &Policy {
        match kind {
            PolicyKind::Auth => &self.auth,
            PolicyKind::Vardiff => &self.vardiff,
            PolicyKind::Payout => &self.payout,
        }
    }

    pub const fn of_mut(&mut self, kind: PolicyKind) -> &mut Policy {
        match kind {
            PolicyKind::Auth => &mut self.auth,
            PolicyKind::Vardiff => &mut self.vardiff,
            PolicyKind::Payout => &mut self.payout,
        }
    }
}

#[derive(Clone, PartialEq)]
pub struct Policy {
    /// Name of a file in [`Policies::dir`], ending in `.wasm`.
    pub file: String,
    /// Handed to the plugin as JSON. May hold secrets.
    pub settings: Settings,
    /// Name of a file in [`Policies::dir`] whose answers are compared with it, and never used.
    pub shadow: Option<String>,
    /// What the shadow is told. May hold secrets.
    pub shadow_settings: Settings,
    /// Of one call, of it and of its shadow.
    pub limits: Limits,
}

/// Settings are the operator's: only their names show.
impl fmt::Debug for Policy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<&String> = self.settings.keys().collect();
        let shadow_names: Vec<&String> = self.shadow_settings.keys().collect();
        f.debug_struct("Policy")
            .field("file", &self.file)
            .field("settings (values redacted)", &names)
            .field("shadow", &self.shadow)
            .field("shadow_settings (values redacted)", &shadow_names)
            .field("limits", &self.limits)
            .finish()
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ledger {
    pub durability: Durability,
    /// How long shares are kept that nothing needs any more; `None`: for ever.
    pub retention: Option<Duration>,
    /// How often the payout policy is asked what the newest shares are worth, where it credits work as it comes.
    pub accrue_interval: Duration,
}

/// What `sluice payouts` goes by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Payouts {
    /// The least that an account is paid, unless it asked for another minimum.
    pub minimum: Amount,
    /// The most accounts that one transaction pays.
    pub max_lines: usize,
    /// Blocks on a payout, its own included, from which it counts as paid.
    pub confirmations: u32,
}

/// What an acknowledged share survives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Durability {
    /// The end of the process, `kill -9` included.
    Process,
    /// A power cut.
    Power,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Http {
    pub listen: SocketAddr,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Log {
    pub format: LogFormat,
    /// Directives of `tracing_subscriber::EnvFilter`; they parse.
    pub filter: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogFormat {
    Text,
    Json,
}

impl Config {
    /// Reads and checks the file at `path`.
    ///
    /// # Errors
    /// Every problem found; one that says why where the file cannot be read.
    pub fn load(path: &Path) -> Result<Self, ConfigErrors> {
        let file = path.display().to_string();
        let text = read(path).map_err(|wrong| unreadable(&file, wrong))?;
        parse(&text, &file)
    }
}

/// Reads and checks a text. `file` is named in problems, and its directory is where relative paths start.
/// Pure, and never panics.
///
/// # Errors
/// Every problem found.
pub fn parse(text: &str, file: &str) -> Result<Config, ConfigErrors> {
    let (tree, syntax) = DeTable::parse_recoverable(text);
    let mut notes = Notes::new(text, file);
    for error in syntax {
        let offset = error.span().map_or(0, |span| span.start);
        let place = Place { key: "syntax".to_owned(), offset };
        notes.wrong(&place, error.message().replace('\n', ", "), "TOML is allowed");
    }
    let raw = Section::root(&mut notes, tree.get_ref()).run(raw::read);
    let base = Path::new(file).parent().unwrap_or(Path::new(""));
    let config = validate::validate(raw, base, &mut notes);
    match (notes.into_errors(), config) {
        (None, Some(config)) => Ok(config),
        (Some(errors), _) => Err(errors),
        // Whatever makes a value unusable has noted a problem; this is the safe side of that invariant.
        (None, None) => Err(unreadable(file, "cannot be understood".to_owned())),
    }
}

/// Every key there is, with its default.
pub fn reference() -> Vec<Key> {
    // One of each repeated table, so that their keys are asked for.
    let text =
        "[[pool.coinbase_class]]\n[[node]]\n[[stratum_v1.listener]]\ntls = {}\n[[policy.auth.lookup]]\n";
    let (tree, _) = DeTable::parse_recoverable(text);
    let mut notes = Notes::new(text, "");
    Section::root(&mut notes, tree.get_ref()).run(raw::read);
    notes.keys
}

fn read(path: &Path) -> Result<String, String> {
    let mut text = String::new();
    let file = std::fs::File::open(path).map_err(|error| format!("cannot be opened ({error})"))?;
    // One byte more than allowed shows that there is more.
    file.take(FILE_LIMIT + 1)
        .read_to_string(&mut text)
        .map_err(|error| format!("cannot be read ({error})"))?;
    if text.len() as u64 > FILE_LIMIT { Err("is too large".to_owned()) } else { Ok(text) }
}

fn unreadable(file: &str, wrong: String) -> ConfigErrors {
    let allowed = format!("a TOML file of at most {FILE_LIMIT} bytes is allowed");
    let (file, key) = (file.to_owned(), "file".to_owned());
    ConfigErrors { problems: vec![Problem { file, line: 1, column: 1, key, wrong, allowed }], more: 0 }
}

#[cfg(test)]
mod tests;
