//! What is measured: a pool that is running, one that is started for it, or the floor.

use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::num::NonZero;
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;
use std::time::Duration;

use anyhow::{Context, Result};
use clap::ValueEnum;
use sluice_tests::pool::{Chain, Difficulty, Pool, Setup};

use crate::machine;

/// The server's core and that of this program.
const SERVER_CORE: usize = 0;
const OWN_CORE: usize = 1;

/// What the miners speak.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Protocol {
    Sv1,
    Sv2,
}

/// Something that answers at an address.
pub(crate) struct Target {
    pub(crate) address: SocketAddr,
    /// SV2 without encryption.
    pub(crate) plain_text: bool,
    pub(crate) pid: Option<u32>,
    /// Ended when dropped.
    _server: Option<Server>,
}

enum Server {
    Pool { _pool: Box<Pool> },
    Floor(Child),
}

impl Drop for Server {
    fn drop(&mut self) {
        if let Self::Floor(child) = self {
            // It may be gone already.
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// How to start a pool for a measurement.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Wanted {
    pub(crate) difficulty: f64,
    pub(crate) block_interval: Option<Duration>,
    pub(crate) transactions: u32,
}

/// Limits out of the way: they are not what is measured.
const UNLIMITED: &str = "max_connections = 1000000\nmax_connections_per_address = 1000000\n\
    messages_per_minute = 1000000000\nreconnects_per_minute = 1000000\nrejected_in_a_row = 0\n\
    idle_timeout_s = 86400\n";
/// What there is for SV2 beside those.
const UNLIMITED_SV2: &str = "max_unfinished_handshakes = 65536\nhandshake_timeout_s = 300\n\
    setup_timeout_s = 300\nchannel_timeout_s = 3600\n";

impl Target {
    pub(crate) fn running(address: SocketAddr, pid: Option<u32>, plain_text: bool) -> Self {
        Self { address, plain_text, pid, _server: None }
    }

    /// A pool on a simulated chain, kept on a core of its own.
    ///
    /// # Errors
    /// It does not start.
    pub(crate) fn pool(wanted: Wanted, protocol: Protocol) -> Result<Self> {
        let chain = Chain::Simulated {
            difficulty: 1e9,
            transactions: wanted.transactions,
            block_interval: wanted.block_interval,
        };
        let setup = Setup::new(chain, Difficulty::fixed(wanted.difficulty)).with(UNLIMITED);
        let setup = match protocol {
            Protocol::Sv1 => setup,
            Protocol::Sv2 => setup.sv2_with(&format!("{UNLIMITED}{UNLIMITED_SV2}")),
        };
        let setup = Setup { log: "warn", ..setup };
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let pool = on_server_core(|| runtime.block_on(Pool::ready(setup)))?;
        let address = match protocol {
            Protocol::Sv1 => pool.sv1,
            Protocol::Sv2 => pool.sv2()?.address,
        };
        Ok(Self {
            address,
            plain_text: false,
            pid: Some(pool.pid()),
            _server: Some(Server::Pool { _pool: Box::new(pool) }),
        })
    }

    /// The floor, kept on the same core.
    ///
    /// # Errors
    /// It does not start.
    pub(crate) fn floor(protocol: Protocol, job_bytes: usize, interval: Option<Duration>) -> Result<Self> {
        let mut command = Command::new(std::env::current_exe()?);
        command.args(["floor", "--listen", "127.0.0.1:0", "--notify-bytes", &job_bytes.to_string()]);
        if protocol == Protocol::Sv2 {
            command.args(["--protocol", "sv2"]);
        }
        if let Some(interval) = interval {
            command.args(["--interval", &interval.as_secs_f64().to_string()]);
        }
        let mut child = on_server_core(|| Ok(command.stdout(Stdio::piped()).spawn()?))?;
        let stdout = child.stdout.take().context("piped")?;
        let server = Server::Floor(child);
        let mut line = String::new();
        BufReader::new(stdout).read_line(&mut line)?;
        let address = line.trim().rsplit('/').next().unwrap_or_default();
        let address = address.parse().with_context(|| format!("the floor said {line:?}"))?;
        let pid = if let Server::Floor(child) = &server { Some(child.id()) } else { None };
        Ok(Self { address, plain_text: true, pid, _server: Some(server) })
    }
}

/// What `start` starts stays on the server's core; this thread goes on on its own.
fn on_server_core<T>(start: impl FnOnce() -> Result<T>) -> Result<T> {
    // Asked once: after the first time this thread has only one.
    static CORES: OnceLock<usize> = OnceLock::new();
    let cores = *CORES.get_or_init(|| std::thread::available_parallelism().map_or(1, NonZero::get));
    if cores < 2 {
        eprintln!("one core only: the server and this program share it, and the figures say little");
        return start();
    }
    machine::pin(SERVER_CORE)?;
    let started = start();
    machine::pin(OWN_CORE)?;
    started
}
