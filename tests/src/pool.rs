//! The pool as a process: started on ports of its own, listened to, killed, started again on the same data.

mod setup;

use std::fs;
use std::io::Write as _;
use std::net::SocketAddr;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};

use anyhow::{Context, Result, ensure};
use tempfile::TempDir;

use crate::output::Output;
use crate::plugins::Plugins;
use crate::sv2::{self, Endpoint};
use crate::{POLL, SOON, binary, http};

pub use setup::{Chain, Difficulty, HOUSE, NodeAccess, Payout, Setup, StratumV2};

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
