//! SRI's `translator_sv2` in front of the pool, with SV1 miners behind it.

use std::fs;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use sluice_interop::pool::Sluice;
use sluice_interop::program::{Program, Running};
use sluice_tests::bitcoind::Bitcoind;
use sluice_tests::miner::{Miner, address};
use sluice_tests::pool::{Difficulty, Payout, Setup};
use sluice_tests::share::{Job, difficulty_of, network_difficulty};
use sluice_tests::{SOON, http};
use tempfile::TempDir;

/// A share takes some four thousand hashes.
const DIFFICULTY: f64 = 1e-6;
/// BIP320, which is what SV1 miners may roll of it.
const MASK: u32 = 0x1fff_e000;

/// How the proxy is set up.
#[derive(Clone, Copy, Debug)]
struct Mode {
    /// One channel for all miners, or one for each.
    aggregated: bool,
    /// Extension 0x0002.
    workers: bool,
    /// It sets its miners' difficulty itself, for so many hashes per second.
    vardiff: Option<f64>,
    /// It looks whether each coinbase pays the user.
    verify_payout: bool,
}

impl Mode {
    fn new(aggregated: bool) -> Self {
        Self { aggregated, workers: false, vardiff: None, verify_payout: false }
    }
}

/// A running translator.
struct Proxy {
    running: Running,
    address: SocketAddr,
    _home: TempDir,
}

impl Proxy {
    async fn start(program: PathBuf, sluice: &Sluice, user: &str, mode: Mode) -> Result<Self> {
        let home = TempDir::with_prefix("sluice-translator-")?;
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, free_port()?));
        let config = home.path().join("translator.toml");
        fs::write(&config, toml(sluice, user, address, mode))?;
        let mut command = Command::new(program);
        command.arg("-c").arg(&config).current_dir(home.path());
        let running = Running::start(command)?;
        running.says(&["listening on", &address.to_string()], SOON).await?;
        Ok(Self { running, address, _home: home })
    }

    /// It has not fallen over, and the pool has refused none of its shares.
    fn is_content(&mut self) -> Result<()> {
        ensure!(self.running.is_running()?, "the translator ended:\n{}", self.running.tail());
        for complaint in ["❌", "panicked", " ERROR ", "fallback"] {
            let lines = self.running.said(&[complaint]);
            ensure!(lines.is_empty(), "the translator complains:\n{}", lines.join("\n"));
        }
        Ok(())
    }
}

fn free_port() -> Result<u16> {
    Ok(TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?.port())
}

fn toml(sluice: &Sluice, user: &str, address: SocketAddr, mode: Mode) -> String {
    let Mode { aggregated, workers, vardiff, verify_payout } = mode;
    let extensions = if workers { "[2]" } else { "[]" };
    format!(
        r#"downstream_address = "{}"
downstream_port = {}
max_supported_version = 2
min_supported_version = 2
downstream_extranonce2_size = 4
verify_payout = {verify_payout}
aggregate_channels = {aggregated}
supported_extensions = [2]
required_extensions = {extensions}
[downstream_difficulty_config]
min_individual_miner_hashrate = {:?}
shares_per_minute = 60.0
enable_vardiff = {}
job_keepalive_interval_secs = 60
[[upstreams]]
address = "{}"
port = {}
authority_pubkey = "{}"
user_identity = "{user}"
"#,
        address.ip(),
        address.port(),
        vardiff.unwrap_or(5_000.0),
        vardiff.is_some(),
        sluice.address.ip(),
        sluice.address.port(),
        sluice.authority,
    )
}

/// An SV1 miner behind the proxy.
struct Rig {
    miner: Miner,
    /// Has asked for version rolling; the proxy then wants the bits with every share.
    rolls: bool,
}

impl Rig {
    /// With work.
    async fn connect(proxy: &Proxy, user: &str, rolls: bool) -> Result<Self> {
        let mut miner = Miner::connect(proxy.address).await?;
        if rolls {
            let wishes = json!([["version-rolling"], {"version-rolling.mask": format!("{MASK:08x}")}]);
            let reply = miner.call("mining.configure", wishes).await?;
            let mask = reply["result"]["version-rolling.mask"].as_str().unwrap_or("");
            ensure!(u32::from_str_radix(mask, 16) == Ok(MASK), "P-20: no version rolling: {reply}");
        }
        miner.subscribe(None).await?;
        miner.authorize(user, "x").await?;
        miner.job().await.with_context(|| format!("the translator said:\n{}", proxy.running.tail()))?;
        Ok(Self { miner, rolls })
    }

    /// Mines and submits.
    async fn mine(&mut self, count: u32) -> Result<()> {
        for number in 0..count {
            let job = self.miner.job().await?;
            let mut search = self.miner.search(&job)?;
            search.version_bits = self.rolls.then_some((number << 13) & MASK);
            let share =
                search.find(&job, |hash| difficulty_of(hash) >= job.difficulty).context("no share")?;
            self.miner.submit_good(&share).await?;
        }
        Ok(())
    }
}

/// Waits until the pool has counted `shares` of these workers of account `number`, and no others.
async fn counted(sluice: &Sluice, number: u32, expected: &[(&str, u64)]) -> Result<()> {
    let account = address(number).to_string();
    let total = expected.iter().map(|(_, shares)| shares).sum::<u64>();
    let all = |workers: &Value| {
        let mut found = Vec::new();
        for worker in workers.as_array()? {
            ensure_account(worker, &account)?;
            found.push((worker["worker"].as_str()?.to_owned(), worker["shares"].as_u64()?));
        }
        found.sort();
        (found.iter().map(|(_, shares)| shares).sum::<u64>() >= total).then_some(found)
    };
    let found = http::json_until(sluice.pool.http, "/api/v1/workers", SOON, all).await?;
    let found: Vec<_> = found.iter().map(|(name, shares)| (name.as_str(), *shares)).collect();
    ensure!(found == expected, "the pool counts {found:?}, not {expected:?}");
    Ok(())
}

fn ensure_account(worker: &Value, account: &str) -> Option<()> {
    (worker["account"] == account && worker["protocol"] != "stratum-v1").then_some(())
}

/// A pool on a chain without blocks, the proxy, and two miners.
async fn rigs(program: PathBuf, difficulty: Difficulty, mode: Mode) -> Result<(Sluice, Proxy, [Rig; 2])> {
    let setup = Setup { difficulty, ..Setup::without_blocks(DIFFICULTY) };
    let sluice = Sluice::start(setup).await?;
    let proxy = Proxy::start(program, &sluice, &address(1).to_string(), mode).await?;
    let first = Rig::connect(&proxy, "anything.north", true).await?;
    let second = Rig::connect(&proxy, "anything.south", false).await?;
    Ok((sluice, proxy, [first, second]))
}

/// Two miners' shares, all of them counted.
async fn share_through(program: PathBuf, mode: Mode, expected: &[(&str, u64)]) -> Result<Proxy> {
    let (sluice, mut proxy, [mut first, mut second]) =
        rigs(program, Difficulty::fixed(DIFFICULTY), mode).await?;
    first.mine(20).await?;
    second.mine(10).await?;
    counted(&sluice, 1, expected).await?;
    // M-84: acknowledged without further shares.
    proxy.running.says(&["SubmitSharesSuccess", "✅"], SOON).await?;
    proxy.is_content()?;
    Ok(proxy)
}

fn program(test: &str) -> Result<Option<PathBuf>> {
    Program::Translator.find_or_skip(test)
}

#[tokio::test]
async fn each_miner_has_its_channel() -> Result<()> {
    let Some(program) = program("translator, a channel for each miner")? else { return Ok(()) };
    // Names are the proxy's own.
    share_through(program, Mode::new(false), &[("miner1", 20), ("miner2", 10)]).await.map(drop)
}

#[tokio::test]
async fn a_miner_that_leaves_takes_only_its_channel_with_it() -> Result<()> {
    let Some(program) = program("translator, a miner leaves")? else { return Ok(()) };
    let (sluice, mut proxy, [mut first, mut second]) =
        rigs(program, Difficulty::fixed(DIFFICULTY), Mode::new(false)).await?;
    first.mine(2).await?;
    drop(first);
    proxy.running.says(&["Downstream: 1 disconnected"], SOON).await?;
    second.mine(10).await?;
    counted(&sluice, 1, &[("miner1", 2), ("miner2", 10)]).await?;
    let mut third = Rig::connect(&proxy, "anything.west", false).await?;
    third.mine(3).await?;
    counted(&sluice, 1, &[("miner1", 2), ("miner2", 10), ("miner3", 3)]).await?;
    ensure!(proxy.running.is_running()? && proxy.running.said(&["❌"]).is_empty());
    Ok(())
}

#[tokio::test]
async fn miners_share_a_channel() -> Result<()> {
    let Some(program) = program("translator, one channel")? else { return Ok(()) };
    share_through(program, Mode::new(true), &[("translator-proxy", 30)]).await.map(drop)
}

#[tokio::test]
async fn miners_of_a_shared_channel_are_told_apart() -> Result<()> {
    let Some(program) = program("translator, workers named")? else { return Ok(()) };
    for aggregated in [true, false] {
        let mode = Mode { workers: true, ..Mode::new(aggregated) };
        let proxy = share_through(program.clone(), mode, &[("north", 20), ("south", 10)]).await?;
        proxy.running.says(&["Successfully negotiated extensions"], SOON).await?;
    }
    Ok(())
}

#[tokio::test]
async fn the_proxy_sets_difficulties_itself() -> Result<()> {
    let Some(program) = program("translator, its own vardiff")? else { return Ok(()) };
    let difficulty = Difficulty { start: DIFFICULTY, floor: DIFFICULTY, ceiling: 1e-4 };
    for aggregated in [true, false] {
        let mode = Mode { workers: true, vardiff: Some(20_000.0), ..Mode::new(aggregated) };
        let (sluice, mut proxy, mut rigs) = rigs(program.clone(), difficulty, mode).await?;
        // The proxy hands on what meets the pool's target too: some of the shares it takes.
        for rig in &mut rigs {
            let before = shares(&sluice).await?;
            for _ in 0..100 {
                rig.mine(5).await?;
                if shares(&sluice).await? > before {
                    break;
                }
            }
            ensure!(shares(&sluice).await? > before, "nothing comes through: {mode:?}");
        }
        proxy.running.says(&["SubmitSharesSuccess", "✅"], SOON).await?;
        proxy.is_content()?;
    }
    Ok(())
}

/// Shares of all workers.
async fn shares(sluice: &Sluice) -> Result<u64> {
    let workers = http::json(sluice.pool.http, "/api/v1/workers").await?;
    let workers = workers.as_array().context("no list of workers")?;
    Ok(workers.iter().filter_map(|worker| worker["shares"].as_u64()).sum())
}

/// A block on regtest from an SV1 miner behind the proxy, then another on it.
async fn find_blocks(program: PathBuf, node: &Bitcoind, mode: Mode) -> Result<()> {
    let payout = Payout::Solo { fee_bps: 0 };
    let sluice = Sluice::start(Setup::on_nodes(vec![node.access()], payout)).await?;
    let mut proxy = Proxy::start(program, &sluice, &address(7).to_string(), mode).await?;
    let Rig { mut miner, .. } = Rig::connect(&proxy, "anything.rig", false).await?;
    for _ in 0..2 {
        let best = node.best()?;
        let on_best = |job: &Job| job.previous == *AsRef::<[u8; 32]>::as_ref(&best);
        let job = match miner.job().await? {
            job if on_best(&job) => job,
            _ => miner.next_job(on_best).await?,
        };
        // The proxy forwards what meets its own target for the miner, and here that is harder than a block.
        let enough = job.difficulty.max(network_difficulty(job.bits));
        let share = miner.mine_where(&job, |hash| difficulty_of(hash) >= enough)?;
        miner.submit_good(&share).await?;
        let found = node.best_other_than(best).await?;
        ensure!(AsRef::<[u8; 32]>::as_ref(&found) == &share.hash, "another block than the miner found");
        let payee = address(7).script_pubkey();
        ensure!(node.block(&found)?.txdata[0].output.iter().any(|output| output.script_pubkey == payee));
    }
    proxy.is_content()
}

#[tokio::test]
async fn miners_behind_the_proxy_find_blocks() -> Result<()> {
    let test = "translator on regtest";
    let Some(program) = program(test)? else { return Ok(()) };
    for aggregated in [false, true] {
        let Some(node) = Bitcoind::start_or_skip(test).await? else { return Ok(()) };
        // The proxy drops a pool whose coinbase does not pay the user.
        let mode = Mode { verify_payout: true, ..Mode::new(aggregated) };
        find_blocks(program.clone(), &node, mode).await.with_context(|| format!("{mode:?}"))?;
    }
    Ok(())
}
