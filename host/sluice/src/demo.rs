//! `sluice demo`: the whole pool on a simulated chain, with a miner, out of the box.

use std::path::{Path, PathBuf};

use anyhow::Context;
use sluice_core::units::Difficulty;

use crate::app::Pool;
use crate::cli;
use crate::commands::keygen::{self, SECRET_FILE};
use crate::config::{self, Config};
use crate::console::{self, say};
use crate::identity::Endpoint;
use crate::miner::Miner;
use crate::run::tell_stratum_v2;

/// The shipped policies, so that the program runs anywhere.
pub(crate) const SHIPPED: [(&str, &[u8]); 5] = [
    ("auth-address.wasm", include_bytes!("../../../plugins/dist/auth-address.wasm")),
    ("auth-table.wasm", include_bytes!("../../../plugins/dist/auth-table.wasm")),
    ("vardiff-steady.wasm", include_bytes!("../../../plugins/dist/vardiff-steady.wasm")),
    ("payout-pplns.wasm", include_bytes!("../../../plugins/dist/payout-pplns.wasm")),
    ("payout-solo.wasm", include_bytes!("../../../plugins/dist/payout-solo.wasm")),
];

/// BIP173's examples on regtest: nobody's money is at stake.
const MINER_ADDRESS: &str = "bcrt1qw508d6qejxtdg4y5r3zarvary0c5xw7kygt080";
const POOL_ADDRESS: &str = "bcrt1qrp33g0q5c5txsp9arysrx4k6zdkfs4nce4xj0gdcccefvpysxf3qzf4jry";
/// At a few million hashes a second, a block every quarter of a minute.
const NETWORK_DIFFICULTY: f64 = 0.01;
/// Of the listeners, within reach of one CPU.
const START_DIFFICULTY: f64 = 0.001;
const MINIMUM_DIFFICULTY: f64 = 0.000_01;

/// Runs the demo until interrupted, or until so many blocks were accepted.
///
/// # Errors
/// What could not be started.
pub async fn run(args: &cli::Demo, interrupted: impl Future<Output = ()>) -> anyhow::Result<()> {
    let scratch = Scratch::new(args.data.as_deref())?;
    let data = scratch.dir.clone();
    let plugins = args.plugins.clone().unwrap_or_else(|| data.join("plugins"));
    unpack(&plugins)?;
    let authority = authority(&data)?;
    let pool = Pool::start(&configuration(args, &data, &plugins, authority)?).await?;
    introduce(&pool, &plugins, &data);
    let address = pool.listeners.first().context("the demo has a listener")?.address;
    let username = format!("{MINER_ADDRESS}.demo");
    let threads = args.miner_threads;
    let miner = if threads > 0 {
        Some(tokio::task::spawn_blocking(move || Miner::start(address, &username, threads)).await??)
    } else {
        None
    };
    let telling = console::tell(
        std::sync::Arc::clone(&pool.metrics),
        pool.ledger.committed(),
        pool.block_events.resubscribe(),
        pool.policies.events(),
        args.blocks,
    );
    tokio::select! {
        () = telling => {}
        () = interrupted => say("stopping"),
    }
    drop(miner);
    pool.stop().await;
    Ok(())
}

fn introduce(pool: &Pool, plugins: &Path, data: &Path) {
    for listener in &pool.listeners {
        say(&format!("sv1      stratum+tcp://{}", listener.address));
    }
    if let Some(endpoint) = &pool.stratum_v2 {
        tell_stratum_v2(endpoint);
    }
    say(&format!("http     http://{}/", pool.http));
    say(&format!("plugins  {}  (replace a file there, and the pool follows)", plugins.display()));
    say(&format!("data     {}", data.display()));
    if let Some(listener) = pool.listeners.first() {
        say(&format!(
            "paste    cpuminer -a sha256d -o stratum+tcp://{} -u {MINER_ADDRESS}.mine -p x",
            listener.address
        ));
    }
    if let Some(endpoint) = &pool.stratum_v2 {
        say("paste    for SRI's translator_sv2, in its configuration:");
        translator_upstream(endpoint).lines().for_each(|line| say(&format!("         {line}")));
    }
}

/// What to put into the configuration of SRI's translator, which takes SV1 miners to an SV2 pool.
pub fn translator_upstream(endpoint: &Endpoint) -> String {
    let (host, port, key) = (endpoint.address.ip(), endpoint.address.port(), endpoint.authority);
    format!(
        "[[upstreams]]\naddress = \"{host}\"\nport = {port}\nauthority_pubkey = \"{key}\"\n\
         user_identity = \"{MINER_ADDRESS}.proxy\""
    )
}

/// The demo's directory; removed at the end where nobody named one.
struct Scratch {
    dir: PathBuf,
    temporary: bool,
}

impl Scratch {
    fn new(named: Option<&Path>) -> anyhow::Result<Self> {
        let (dir, temporary) = match named {
            Some(dir) => (dir.to_owned(), false),
            None => (std::env::temp_dir().join(format!("sluice-demo-{}", std::process::id())), true),
        };
        std::fs::create_dir_all(&dir).with_context(|| format!("failed to create {}", dir.display()))?;
        Ok(Self { dir, temporary })
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        if self.temporary {
            // What cannot be removed is the system's to clean.
            let _ = std::fs::remove_dir_all(&self.dir);
        }
    }
}

/// Puts the shipped policies into `dir`, except where a file of that name lies there.
fn unpack(dir: &Path) -> anyhow::Result<()> {
    std::fs::create_dir_all(dir).with_context(|| format!("failed to create {}", dir.display()))?;
    for (name, bytes) in SHIPPED {
        let file = dir.join(name);
        if !file.exists() {
            std::fs::write(&file, bytes).with_context(|| format!("failed to write {}", file.display()))?;
        }
    }
    Ok(())
}

/// The SV2 authority's key, made with the first start in `data`, so that miners keep what they were given.
fn authority(data: &Path) -> anyhow::Result<PathBuf> {
    let file = data.join(SECRET_FILE);
    if !file.exists() {
        keygen::new_authority(data)?;
    }
    Ok(file)
}

fn configuration(
    args: &cli::Demo,
    data: &Path,
    plugins: &Path,
    authority: PathBuf,
) -> anyhow::Result<Config> {
    let text = format!(
        r#"
network = "regtest"
data_dir = "."
[pool]
address = "{POOL_ADDRESS}"
[simulation]
enabled = true
[[stratum_v1.listener]]
name = "demo"
[stratum_v2]
enabled = true
authority_key = "{SECRET_FILE}"
[policy]
dir = "."
[policy.auth]
file = "auth-address.wasm"
settings = {{ network = "regtest" }}
[policy.vardiff]
file = "vardiff-steady.wasm"
[policy.payout]
file = "payout-pplns.wasm"
settings = {{ fee-bps = 100 }}
"#
    );
    let mut config = config::parse(&text, "demo").context("the demo's own configuration")?;
    data.clone_into(&mut config.data_dir);
    plugins.clone_into(&mut config.policy.dir);
    config.http.listen = args.http;
    config.chain = config::Chain::Simulated(config::Simulation {
        difficulty: Difficulty::saturating(NETWORK_DIFFICULTY),
        transactions: 50,
        block_interval: None,
        start_height: 200,
    });
    if let Some(listener) = config.stratum_v1.listeners.first_mut() {
        listener.listen = args.sv1;
        listener.start_difficulty = Difficulty::saturating(START_DIFFICULTY);
        listener.minimum_difficulty = Difficulty::saturating(MINIMUM_DIFFICULTY);
    }
    if let Some(v2) = &mut config.stratum_v2 {
        v2.listen = args.sv2;
        v2.identity = config::IdentitySource::Authority(authority);
        v2.start_difficulty = Difficulty::saturating(START_DIFFICULTY);
        v2.minimum_difficulty = Difficulty::saturating(MINIMUM_DIFFICULTY);
    }
    Ok(config)
}

#[cfg(test)]
mod tests;
