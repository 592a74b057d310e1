//! What a pool in a test is configured with.

use std::fmt::Write as _;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::{Addresses, authority_key};
use crate::plugins::{AUTH, DIRECTORY, FPPS, PPLNS, SOLO, TABLE, TIDES, VARDIFF};

/// Where the house is paid in all these tests: the example of BIP 173, whose secret key is 1.
pub const HOUSE: &str = "bcrt1qw508d6qejxtdg4y5r3zarvary0c5xw7kygt080";

/// Where templates come from.
#[derive(Clone, Debug)]
pub enum Chain {
    Simulated {
        difficulty: f64,
        transactions: u32,
        /// `None`: blocks only by miners.
        block_interval: Option<Duration>,
    },
    Nodes(Vec<NodeAccess>),
}

/// How the pool reaches a node.
#[derive(Clone, Debug)]
pub struct NodeAccess {
    pub address: SocketAddr,
    /// `None`: a user and a password that anything accepts which does not look.
    pub cookie: Option<PathBuf>,
}

/// Who is paid.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Payout {
    Solo {
        fee_bps: u32,
    },
    /// The window is in multiples of the network difficulty.
    Pplns {
        fee_bps: u32,
        window: f64,
    },
    /// The same, with balances in coinbases.
    Tides {
        fee_bps: u32,
        window: f64,
    },
    Fpps {
        fee_bps: u32,
    },
    /// The same, of the subsidy alone.
    Pps {
        fee_bps: u32,
    },
}

impl Payout {
    /// The file of its policy.
    pub const fn file(self) -> &'static str {
        match self {
            Self::Solo { .. } => SOLO,
            Self::Pplns { .. } => PPLNS,
            Self::Tides { .. } => TIDES,
            Self::Fpps { .. } | Self::Pps { .. } => FPPS,
        }
    }

    pub const fn fee_bps(self) -> u32 {
        let (Self::Solo { fee_bps }
        | Self::Fpps { fee_bps }
        | Self::Pps { fee_bps }
        | Self::Pplns { fee_bps, .. }
        | Self::Tides { fee_bps, .. }) = self;
        fee_bps
    }

    fn settings(self) -> String {
        let fee = format!("fee-bps = {}", self.fee_bps());
        match self {
            Self::Solo { .. } | Self::Fpps { .. } => fee,
            Self::Pps { .. } => format!("{fee}, scheme = \"pps\""),
            Self::Pplns { window, .. } | Self::Tides { window, .. } => format!("{fee}, window = {window:?}"),
        }
    }
}

/// What the listener says of difficulty.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Difficulty {
    pub start: f64,
    pub floor: f64,
    pub ceiling: f64,
}

impl Difficulty {
    /// It stays where it is, whatever the vardiff policy says.
    pub fn fixed(difficulty: f64) -> Self {
        Self { start: difficulty, floor: difficulty, ceiling: difficulty }
    }
}

/// The table `[stratum_v2]`.
#[derive(Clone, Debug, Default)]
pub struct StratumV2 {
    /// The line that names the key or certificate; `None`: an authority of its own is made.
    pub identity: Option<String>,
    /// Other lines.
    pub lines: String,
}

/// A configuration for `sluice run`.
#[derive(Clone, Debug)]
pub struct Setup {
    pub chain: Chain,
    pub difficulty: Difficulty,
    pub payout: Payout,
    /// The accounts of `auth-table`, as TOML behind `accounts = `; `None`: `auth-address`.
    pub accounts: Option<String>,
    /// `auth-directory` in the place of both: its settings, an inline table of TOML, and tables below `[policy.auth]`.
    pub directory: Option<(String, String)>,
    /// Lines for the table `[pool]`.
    pub pool: String,
    /// Lines for the table `[stratum_v1]`.
    pub stratum_v1: String,
    /// Lines for the table `[policy.vardiff]`.
    pub vardiff: String,
    /// The files of shadows beside the auth and the payout policy.
    pub shadows: [Option<&'static str>; 2],
    /// Other tables.
    pub tables: String,
    /// `None`: not enabled.
    pub stratum_v2: Option<StratumV2>,
    /// `None`: a directory of its own.
    pub data: Option<PathBuf>,
    /// What is logged, as a filter of tracing.
    pub log: &'static str,
}

impl Setup {
    /// A simulated chain on which blocks are so hard that none is found.
    pub fn without_blocks(difficulty: f64) -> Self {
        let chain = Chain::Simulated { difficulty: 1e9, transactions: 20, block_interval: None };
        Self::new(chain, Difficulty::fixed(difficulty))
    }

    /// On real or pretended nodes; every regtest block is a share.
    pub fn on_nodes(nodes: Vec<NodeAccess>, payout: Payout) -> Self {
        Self { payout, ..Self::new(Chain::Nodes(nodes), Difficulty::fixed(3e-10)) }
    }

    /// Solo, without a fee.
    pub fn new(chain: Chain, difficulty: Difficulty) -> Self {
        let payout = Payout::Solo { fee_bps: 0 };
        Self {
            chain,
            difficulty,
            payout,
            accounts: None,
            directory: None,
            pool: String::new(),
            stratum_v1: String::new(),
            vardiff: String::new(),
            shadows: [None; 2],
            tables: String::new(),
            stratum_v2: None,
            data: None,
            log: "info,sluice=debug",
        }
    }

    /// With lines for the table `[stratum_v1]`.
    #[must_use]
    pub fn with(self, stratum_v1: &str) -> Self {
        Self { stratum_v1: stratum_v1.to_owned(), ..self }
    }

    /// With lines for the table `[policy.vardiff]`.
    #[must_use]
    pub fn vardiff(self, vardiff: &str) -> Self {
        Self { vardiff: vardiff.to_owned(), ..self }
    }

    /// With a shadow beside each policy, with the same settings.
    #[must_use]
    pub fn shadows(self, [auth, vardiff, payout]: [&'static str; 3]) -> Self {
        Self { shadows: [Some(auth), Some(payout)], ..self.vardiff(&shadow(Some(vardiff), "{}")) }
    }

    /// With other tables beside those that are written anyway.
    #[must_use]
    pub fn tables(self, tables: &str) -> Self {
        Self { tables: tables.to_owned(), ..self }
    }

    /// Logins come from a table of accounts, an inline table of TOML.
    #[must_use]
    pub fn accounts(self, accounts: &str) -> Self {
        Self { accounts: Some(accounts.to_owned()), ..self }
    }

    /// Logins are asked of a service: the settings of `auth-directory` as an inline table, and the tables that grant it URLs.
    #[must_use]
    pub fn directory(self, settings: &str, tables: &str) -> Self {
        Self { directory: Some((settings.to_owned(), tables.to_owned())), ..self }
    }

    /// With SV2, under an authority of its own.
    #[must_use]
    pub fn sv2(self) -> Self {
        self.sv2_with("")
    }

    /// The same, with lines for the table `[stratum_v2]`.
    #[must_use]
    pub fn sv2_with(self, lines: &str) -> Self {
        Self { stratum_v2: Some(StratumV2 { identity: None, lines: lines.to_owned() }), ..self }
    }

    /// With SV2 under an identity that the test has made: the line that names its file.
    #[must_use]
    pub fn sv2_as(self, identity: &str) -> Self {
        let identity = Some(identity.to_owned());
        Self { stratum_v2: Some(StratumV2 { identity, lines: String::new() }), ..self }
    }

    pub(super) fn node_addresses(&self) -> Vec<SocketAddr> {
        match &self.chain {
            Chain::Simulated { .. } => Vec::new(),
            Chain::Nodes(nodes) => nodes.iter().map(|node| node.address).collect(),
        }
    }

    /// The configuration file.
    pub fn toml(&self, at: Addresses, home: &Path, data: &Path, plugins: &Path) -> String {
        let Addresses { sv1, http, .. } = at;
        let stratum_v2 = self.stratum_v2(at.sv2, home);
        let (data, plugins) = (data.display(), plugins.display());
        let Self {
            difficulty: Difficulty { start, floor, ceiling },
            pool,
            stratum_v1,
            vardiff,
            tables,
            log,
            ..
        } = self;
        let (payout, settings) = (self.payout.file(), self.payout.settings());
        let (auth, logins) = self.auth();
        let chain = self.chain.toml();
        let auth_shadow = shadow(self.shadows[0], &logins);
        let payout_shadow = shadow(self.shadows[1], &format!("{{ {settings} }}"));
        format!(
            r#"network = "regtest"
data_dir = "{data}"
[pool]
address = "{HOUSE}"
{pool}
{chain}
[stratum_v1]
{stratum_v1}
[[stratum_v1.listener]]
name = "test"
listen = "{sv1}"
start_difficulty = {start:?}
minimum_difficulty = {floor:?}
maximum_difficulty = {ceiling:?}
{stratum_v2}{tables}
[policy]
dir = "{plugins}"
[policy.auth]
file = "{auth}"
{auth_shadow}
settings = {logins}
[policy.vardiff]
file = "{VARDIFF}"
{vardiff}
[policy.payout]
file = "{payout}"
{payout_shadow}
settings = {{ {settings} }}
[http]
listen = "{http}"
[log]
filter = "{log}"
"#
        )
    }

    /// The file of the auth policy, and what stands behind `settings = `.
    fn auth(&self) -> (&'static str, String) {
        match (&self.directory, &self.accounts) {
            (Some((settings, tables)), _) => (DIRECTORY, format!("{settings}\n{tables}")),
            (None, Some(accounts)) => (TABLE, format!("{{ accounts = {accounts} }}")),
            (None, None) => (AUTH, "{ network = \"regtest\" }".to_owned()),
        }
    }

    fn stratum_v2(&self, listen: SocketAddr, home: &Path) -> String {
        let Some(StratumV2 { identity, lines }) = &self.stratum_v2 else { return String::new() };
        let own = || format!("authority_key = \"{}\"", authority_key(home).display());
        let identity = identity.clone().unwrap_or_else(own);
        let Difficulty { start, floor, ceiling } = self.difficulty;
        format!(
            "[stratum_v2]\nenabled = true\nlisten = \"{listen}\"\n{identity}\nstart_difficulty = {start:?}\n\
             minimum_difficulty = {floor:?}\nmaximum_difficulty = {ceiling:?}\n{lines}\n"
        )
    }
}

/// The lines that name a shadow.
fn shadow(file: Option<&str>, settings: &str) -> String {
    file.map_or_else(String::new, |file| format!("shadow = \"{file}\"\nshadow_settings = {settings}"))
}

impl Chain {
    fn toml(&self) -> String {
        match self {
            Self::Simulated { difficulty, transactions, block_interval } => format!(
                "[simulation]\nenabled = true\ndifficulty = {difficulty:?}\ntransactions = {transactions}\n\
                 block_interval_s = {}\n",
                block_interval.unwrap_or_default().as_secs()
            ),
            Self::Nodes(nodes) => nodes.iter().fold(String::new(), |mut text, node| {
                let access = node.cookie.as_ref().map_or_else(
                    || "user = \"sluice\"\npassword = \"sluice\"".to_owned(),
                    |path| format!("cookie = \"{}\"", path.display()),
                );
                // Writing to a string cannot fail.
                let _ = write!(text, "[[node]]\nurl = \"http://{}\"\n{access}\n", node.address);
                text
            }),
        }
    }
}
