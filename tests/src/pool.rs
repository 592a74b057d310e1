//! The pool as a process: started on ports of its own, listened to, killed, started again on the same data.

use std::fmt::Write as _;
use std::fs;
use std::io::Write as _;
use std::net::SocketAddr;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use tempfile::TempDir;

use crate::output::Output;
use crate::plugins::{AUTH, FPPS, PPLNS, Plugins, SOLO, TABLE, TIDES, VARDIFF};
use crate::sv2::{self, Endpoint};
use crate::{POLL, SOON, binary, http};

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
    /// Lines for the table `[pool]`.
    pub pool: String,
    /// Lines for the table `[stratum_v1]`.
    pub stratum_v1: String,
    /// Lines for the table `[policy.vardiff]`.
    pub vardiff: String,
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
            pool: String::new(),
            stratum_v1: String::new(),
            vardiff: String::new(),
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

    fn node_addresses(&self) -> Vec<SocketAddr> {
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
        let (auth, logins) = match &self.accounts {
            None => (AUTH, "network = \"regtest\"".to_owned()),
            Some(accounts) => (TABLE, format!("accounts = {accounts}")),
        };
        let chain = self.chain.toml();
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
settings = {{ {logins} }}
[policy.vardiff]
file = "{VARDIFF}"
{vardiff}
[policy.payout]
file = "{payout}"
settings = {{ {settings} }}
[http]
listen = "{http}"
[log]
filter = "{log}"
"#
        )
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

/// What is started.
#[derive(Clone, Debug)]
enum What {
    Demo,
    Run(Box<Setup>),
}

/// Where a pool listens, or is to listen.
#[derive(Clone, Copy, Debug)]
pub struct Addresses {
    pub sv1: SocketAddr,
    pub sv2: SocketAddr,
    pub http: SocketAddr,
}

impl Addresses {
    /// Free ports.
    const ANY: Self = Self { sv1: ANY_PORT, sv2: ANY_PORT, http: ANY_PORT };
}

/// A running pool. Killed when dropped, and its directories removed.
pub struct Pool {
    pub sv1: SocketAddr,
    pub http: SocketAddr,
    sv2: Option<Endpoint>,
    pub plugins: Plugins,
    what: What,
    home: TempDir,
    child: Child,
    output: Output,
}

const ANY_PORT: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 0);

impl Pool {
    /// `sluice demo`.
    ///
    /// # Errors
    /// It did not start, or did not say where it listens.
    pub async fn demo() -> Result<Self> {
        Self::start(What::Demo).await
    }

    /// `sluice run` with `setup`; not necessarily with work yet.
    ///
    /// # Errors
    /// It did not start, or did not say where it listens.
    pub async fn run(setup: Setup) -> Result<Self> {
        Self::start(What::Run(Box::new(setup))).await
    }

    /// `sluice run` with `setup`, once `/readyz` says yes.
    ///
    /// # Errors
    /// It did not start or did not become ready.
    pub async fn ready(setup: Setup) -> Result<Self> {
        let pool = Self::run(setup).await?;
        pool.wait_ready().await?;
        Ok(pool)
    }

    async fn start(what: What) -> Result<Self> {
        let (home, plugins) = (TempDir::with_prefix("sluice-home-")?, Plugins::copy()?);
        if what.wants_own_authority() {
            write_secret(&authority_key(home.path()), &sv2::new_authority()?.reveal())?;
        }
        let (child, output) = spawn(&what, Addresses::ANY, home.path(), &plugins)?;
        let mut pool = Self { sv1: ANY_PORT, http: ANY_PORT, sv2: None, plugins, what, home, child, output };
        pool.find_listeners().await?;
        Ok(pool)
    }

    async fn find_listeners(&mut self) -> Result<()> {
        let nodes = match &self.what {
            What::Demo => Vec::new(),
            What::Run(setup) => setup.node_addresses(),
        };
        self.sv1 = self.output.find(SOON, |line| address_after(line, "stratum+tcp://")).await?;
        let http = |line: &str| address_after(line, "http://").filter(|found| !nodes.contains(found));
        self.http = self.output.find(SOON, http).await?;
        if self.what.has_sv2() {
            self.sv2 = Some(self.output.find(SOON, Endpoint::in_line).await?);
        }
        Ok(())
    }

    /// Where SV2 miners connect.
    ///
    /// # Errors
    /// It was not enabled.
    pub fn sv2(&self) -> Result<Endpoint> {
        self.sv2.context("the pool speaks no SV2")
    }

    /// # Errors
    /// `/readyz` did not say 200 in good time.
    pub async fn wait_ready(&self) -> Result<()> {
        let wait = async {
            while !http::get(self.http, "/readyz").await.is_ok_and(|answer| answer.status == 200) {
                tokio::time::sleep(POLL).await;
            }
        };
        let waited = tokio::time::timeout(SOON, wait).await;
        waited.with_context(|| format!("the pool does not become ready; it said:\n{}", self.output.tail()))
    }

    /// Kills it as a power cut would (SIGKILL), and waits until it is gone.
    ///
    /// # Errors
    /// The system refuses.
    pub fn kill(&mut self) -> Result<()> {
        self.child.kill()?;
        self.child.wait()?;
        Ok(())
    }

    /// Starts it again on the same data and ports, and waits until it is ready.
    ///
    /// # Errors
    /// It did not start or did not become ready.
    pub async fn restart(&mut self) -> Result<()> {
        self.respawn()?;
        self.find_listeners().await?;
        self.wait_ready().await
    }

    /// Starts it again without waiting for anything.
    ///
    /// # Errors
    /// The system refuses.
    pub fn respawn(&mut self) -> Result<()> {
        let sv2 = self.sv2.map_or(ANY_PORT, |endpoint| endpoint.address);
        let at = Addresses { sv1: self.sv1, sv2, http: self.http };
        (self.child, self.output) = spawn(&self.what, at, self.home.path(), &self.plugins)?;
        Ok(())
    }

    /// Asks it to stop (SIGTERM), and waits.
    ///
    /// # Errors
    /// It did not stop in good time.
    pub async fn stop(&mut self) -> Result<ExitStatus> {
        let status = Command::new("kill").args(["-TERM", &self.child.id().to_string()]).status()?;
        ensure!(status.success(), "the process is gone already");
        self.exit().await
    }

    /// How it ended.
    ///
    /// # Errors
    /// It did not end in good time.
    pub async fn exit(&mut self) -> Result<ExitStatus> {
        exit_of(&mut self.child).await.with_context(|| format!("it said:\n{}", self.output.tail()))
    }

    pub fn output(&self) -> &Output {
        &self.output
    }

    /// Whether the process lives.
    ///
    /// # Errors
    /// The system refuses to say.
    pub fn is_running(&mut self) -> Result<bool> {
        Ok(self.child.try_wait()?.is_none())
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    pub fn data(&self) -> PathBuf {
        self.what.data(self.home.path())
    }

    pub fn config(&self) -> PathBuf {
        config(self.home.path())
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.kill();
        if std::thread::panicking() {
            eprintln!("--- the pool's last words ---\n{}", self.output.tail());
        }
    }
}

/// Waits for the end of a process.
///
/// # Errors
/// It did not end in good time.
pub async fn exit_of(child: &mut Child) -> Result<ExitStatus> {
    let wait = async {
        loop {
            if let Some(status) = child.try_wait()? {
                return Ok(status);
            }
            tokio::time::sleep(POLL).await;
        }
    };
    tokio::time::timeout(SOON, wait).await.context("the process does not end")?
}

impl What {
    fn data(&self, home: &Path) -> PathBuf {
        let chosen = if let Self::Run(setup) = self { setup.data.clone() } else { None };
        chosen.unwrap_or_else(|| home.join("data"))
    }

    fn has_sv2(&self) -> bool {
        match self {
            Self::Demo => true,
            Self::Run(setup) => setup.stratum_v2.is_some(),
        }
    }

    fn wants_own_authority(&self) -> bool {
        let Self::Run(setup) = self else { return false };
        setup.stratum_v2.as_ref().is_some_and(|table| table.identity.is_none())
    }
}

fn config(home: &Path) -> PathBuf {
    home.join("sluice.toml")
}

fn authority_key(home: &Path) -> PathBuf {
    home.join("authority.key")
}

/// Writes a file that only its owner can read.
///
/// # Errors
/// It is there, or cannot be written.
pub fn write_secret(path: &Path, text: &str) -> Result<()> {
    let mut file = fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
    Ok(file.write_all(text.as_bytes())?)
}

fn spawn(what: &What, at: Addresses, home: &Path, plugins: &Plugins) -> Result<(Child, Output)> {
    let data = what.data(home);
    fs::create_dir_all(&data)?;
    let mut command = Command::new(binary::sluice()?);
    match what {
        What::Demo => {
            command.arg("demo").arg("--sv1").arg(at.sv1.to_string()).arg("--sv2").arg(at.sv2.to_string());
            command.arg("--http").arg(at.http.to_string());
            command.arg("--data").arg(&data).arg("--plugins").arg(plugins.path());
        }
        What::Run(setup) => {
            fs::write(config(home), setup.toml(at, home, &data, plugins.path()))?;
            command.arg("run").arg("--config").arg(config(home));
        }
    }
    command.env("NO_COLOR", "1").current_dir(home);
    let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()?;
    let (stdout, stderr) = (child.stdout.take().context("piped")?, child.stderr.take().context("piped")?);
    Ok((child, Output::capture(vec![Box::new(stdout), Box::new(stderr)])))
}

/// The address that stands behind `scheme` in `line`.
pub fn address_after(line: &str, scheme: &str) -> Option<SocketAddr> {
    let rest = &line[line.find(scheme)? + scheme.len()..];
    let end = rest.find(|c: char| c.is_whitespace() || "/\"',)".contains(c)).unwrap_or(rest.len());
    rest[..end].parse().ok().filter(|address: &SocketAddr| address.port() != 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_addresses_in_what_is_printed() {
        let paste = "  sv1    stratum+tcp://127.0.0.1:4444  (user: an address)";
        assert_eq!(address_after(paste, "stratum+tcp://"), Some("127.0.0.1:4444".parse().unwrap()));
        let page = "listening address=http://127.0.0.1:80/ x";
        assert_eq!(address_after(page, "http://"), Some("127.0.0.1:80".parse().unwrap()));
        assert_eq!(address_after("http://example.org/", "http://"), None);
    }
}
