//! Pools in processes of their own on core 0, and the load program on core 1.

use std::ffi::OsString;
use std::fs;
use std::io::{BufRead, BufReader, Read, Write as _};
use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use anyhow::{Context, Result, bail, ensure};
use sluice::app::Pool;
use sluice::config::Config;
use sluice_tests::plugins::{AUTH, Plugins, SOLO, VARDIFF, variant};
use sluice_tests::pool::{Addresses, Setup};
use tempfile::TempDir;

use crate::{machine, native};

/// The least difficulty there is: one hash in 65,536 misses.
const DIFFICULTY: f64 = 1.0 / 4_294_967_296.0;
const POOL_CORE: usize = 0;
const OWN_CORE: usize = 1;
/// Limits out of the way: they are not what is measured.
const UNLIMITED: &str = "max_connections = 1000000\nmax_connections_per_address = 1000000\n\
    messages_per_minute = 1000000000\nreconnects_per_minute = 1000000\nrejected_in_a_row = 0\n";
const SHADOWS: [&str; 3] = ["next-auth.wasm", "next-vardiff.wasm", "next-payout.wasm"];

/// Where a pool's policies come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mode {
    Native,
    Components,
    /// Components, and a shadow beside each.
    Shadows,
}

impl Mode {
    pub(crate) const ALL: [Self; 3] = [Self::Native, Self::Components, Self::Shadows];

    pub(crate) const fn label(self) -> &'static str {
        match self {
            Self::Native => "native",
            Self::Components => "components",
            Self::Shadows => "shadows",
        }
    }
}

/// The other side of [`Running::start`]: mode and configuration file. Ends when standard input does.
pub(crate) fn serve(args: &[OsString]) -> Result<()> {
    let [mode, file] = args else { bail!("usage: pool MODE CONFIG") };
    let config = Config::load(Path::new(file)).map_err(|errors| anyhow::anyhow!("{errors}"))?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let pool = if mode == Mode::Native.label() {
        runtime.block_on(Pool::start_with(&config, async { native::policies() }))?
    } else {
        runtime.block_on(Pool::start(&config))?
    };
    let listener = pool.listeners.first().context("no listener")?;
    println!("{} {}", listener.address, pool.http);
    std::io::stdout().flush()?;
    std::io::stdin().read_to_end(&mut Vec::new())?;
    runtime.block_on(pool.stop());
    Ok(())
}

/// A pool that runs. Ends when dropped.
pub(crate) struct Running {
    child: Child,
    sv1: SocketAddr,
    pub(crate) http: SocketAddr,
    pub(crate) plugins: Plugins,
    _home: TempDir,
}

impl Running {
    pub(crate) fn start(mode: Mode) -> Result<Self> {
        let (home, plugins) = (tempfile::tempdir()?, Plugins::copy()?);
        let data = home.path().join("data");
        fs::create_dir(&data)?;
        let mut setup = Setup { log: "warn", ..Setup::without_blocks(DIFFICULTY).with(UNLIMITED) };
        if mode == Mode::Shadows {
            for (shadow, file) in SHADOWS.into_iter().zip([AUTH, VARDIFF, SOLO]) {
                plugins.replace(shadow, &variant(file, 1)?)?;
            }
            setup = setup.shadows(SHADOWS);
        }
        let any = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        let config = home.path().join("pool.toml");
        let toml =
            setup.toml(Addresses { sv1: any, sv2: any, http: any }, home.path(), &data, plugins.path());
        fs::write(&config, toml)?;
        let mut command = Command::new(std::env::current_exe()?);
        command.args(["pool", mode.label()]).arg(&config).stdin(Stdio::piped()).stdout(Stdio::piped());
        machine::pin(POOL_CORE)?;
        let spawned = command.spawn();
        machine::pin(OWN_CORE)?;
        let mut child = spawned?;
        let mut line = String::new();
        BufReader::new(child.stdout.take().context("piped")?).read_line(&mut line)?;
        let (sv1, http) = line.trim().split_once(' ').with_context(|| format!("the pool said {line:?}"))?;
        Ok(Self { sv1: sv1.parse()?, http: http.parse()?, child, plugins, _home: home })
    }

    /// Loads it with `connections` that have `in_flight` submissions each without a reply.
    pub(crate) fn load(&self, connections: u32, in_flight: u32, seconds: f64) -> Result<Measured> {
        let output = Command::new(env!("CARGO_BIN_EXE_load"))
            .args(["submit", "--mode", "accept"])
            .args(["--address", &self.sv1.to_string(), "--pid", &self.child.id().to_string()])
            .args(["--connections", &connections.to_string(), "--in-flight", &in_flight.to_string()])
            .args(["--seconds", &seconds.to_string()])
            .output()?;
        let said = String::from_utf8_lossy(&output.stdout);
        ensure!(output.status.success(), "{said}{}", String::from_utf8_lossy(&output.stderr));
        Measured::read(&said).with_context(|| format!("the load program said {said}"))
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // Its standard input ends.
        drop(self.child.stdin.take());
        let _ = self.child.wait();
    }
}

/// What the load program saw.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Measured {
    /// Submissions answered in a second.
    pub(crate) rate: f64,
    /// Processor time of the pool for each, in nanoseconds.
    pub(crate) nanos: f64,
    /// From submission to reply, in microseconds: p50, p90, p99, the worst.
    pub(crate) latency: [f64; 4],
}

impl Measured {
    fn read(said: &str) -> Option<Self> {
        let after = |mark: &str| -> Option<f64> {
            let rest = &said[said.find(mark)? + mark.len()..];
            rest.split_whitespace().next()?.parse().ok()
        };
        Some(Self {
            rate: after("pool ")?,
            nanos: after("of a core, ")?,
            latency: [after("p50 ")?, after("p90 ")?, after("p99 ")?, after("max ")?],
        })
    }
}
