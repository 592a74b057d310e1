//! Policies without a pool around them: how long a swap takes, and what many leave behind.

use std::fs;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use bitcoin::Network;
use bitcoin::hashes::{Hash, sha256};
use sluice_core::policy::PolicyKind;
use sluice_policy::lookup::Outside;
use sluice_policy::{Compiler, Policies, PolicyConfig, PolicyEvent, SlotConfig};
use sluice_tests::plugins::{AUTH, SOLO, VARDIFF, shipped};
use tempfile::TempDir;
use tokio::runtime::Runtime;
use tokio::sync::broadcast;

use crate::{Component, median, millis};

/// So short that what it adds is little, and looked at in quarters of it.
const SHORT: Duration = Duration::from_millis(20);
/// Reloads before the first look: caches fill, the allocator takes what it needs.
const WARM_UP: u32 = 100;
/// No swap takes longer on any machine.
const PATIENCE: Duration = Duration::from_secs(300);

/// This program compiles for itself.
pub(crate) fn compiler() -> Result<Compiler> {
    Ok(Compiler::Child { program: std::env::current_exe()?, args: vec!["compile-component".into()] })
}

struct House {
    root: TempDir,
    runtime: Runtime,
    policies: Policies,
    events: broadcast::Receiver<PolicyEvent>,
}

impl House {
    fn open(debounce: Duration) -> Result<Self> {
        let root = tempfile::tempdir()?;
        let dir = root.path().join("plugins");
        fs::create_dir(&dir)?;
        for name in [AUTH, VARDIFF, SOLO] {
            fs::write(dir.join(name), shipped(name)?)?;
        }
        let mut auth = SlotConfig::new(PolicyKind::Auth, AUTH);
        auth.settings.insert("network".to_owned(), "regtest".into());
        let config = PolicyConfig {
            dir,
            cache_dir: root.path().join("cache"),
            network: Network::Regtest,
            compiler: compiler()?,
            auth,
            vardiff: SlotConfig::new(PolicyKind::Vardiff, VARDIFF),
            payout: SlotConfig::new(PolicyKind::Payout, SOLO),
            poll_interval: PolicyConfig::POLL_INTERVAL,
            debounce,
            outside: Outside::offline(),
        };
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let policies = runtime.block_on(Policies::start(config))?;
        let events = policies.events();
        Ok(Self { root, runtime, policies, events })
    }

    /// From the file's rename until the new generation serves.
    fn swap(&mut self, bytes: &[u8]) -> Result<Duration> {
        let wanted = sha256::Hash::hash(bytes).to_string();
        let aside = self.root.path().join("aside");
        fs::write(&aside, bytes)?;
        let began = Instant::now();
        fs::rename(&aside, self.root.path().join("plugins").join(VARDIFF))?;
        let events = &mut self.events;
        let served = async {
            loop {
                match events.recv().await? {
                    PolicyEvent::Applied { hash, .. } if hash == wanted => return Ok(began.elapsed()),
                    PolicyEvent::Rejected { why, .. } => bail!("refused: {why}"),
                    _ => {}
                }
            }
        };
        self.runtime.block_on(async { tokio::time::timeout(PATIENCE, served).await }).context("no swap")?
    }
}

impl Drop for House {
    fn drop(&mut self) {
        self.policies.shutdown();
    }
}

/// From the rename to serving: compiled anew, and with code that was compiled before.
pub(crate) fn swaps(components: &[Component], turns: u32) -> Result<()> {
    println!("from the rename to the new generation serving, median of {turns}, ms");
    println!(
        "{:<16} {:>9} {:>12} {:>12} {:>16} {:>16}",
        "component", "bytes", "cold", "cached", "cold, in all", "cached, in all"
    );
    for component in components {
        let (cold, cached) = both(SHORT, component, turns)?;
        let beyond = |time: Duration| millis(time.saturating_sub(SHORT));
        let (all_cold, all_cached) = both(PolicyConfig::DEBOUNCE, component, turns.min(3))?;
        println!(
            "{:<16} {:>9} {:>12.0} {:>12.1} {:>16.0} {:>16.0}",
            component.name,
            component.size(),
            beyond(cold),
            beyond(cached),
            millis(all_cold),
            millis(all_cached)
        );
    }
    println!(
        "cold, cached: beyond the time that the file must lie still; in all: with its default of {} ms, which is looked at \
         in steps of a quarter\n",
        PolicyConfig::DEBOUNCE.as_millis()
    );
    Ok(())
}

fn both(debounce: Duration, component: &Component, turns: u32) -> Result<(Duration, Duration)> {
    let mut house = House::open(debounce)?;
    // Two at least, so that what serves is never what comes.
    let files: Vec<Vec<u8>> = (0..turns.max(2)).map(|number| component.numbered(number)).collect();
    let mut swap_all = || -> Result<Duration> {
        let times = files.iter().map(|file| house.swap(file)).collect::<Result<Vec<_>>>()?;
        median(times).context("no turns")
    };
    Ok((swap_all()?, swap_all()?))
}

/// What this process holds.
#[derive(Clone, Copy)]
pub(crate) struct Holdings {
    pub(crate) resident: u64,
    /// Of that, what is no mapped file.
    pub(crate) anonymous: u64,
    threads: u64,
    files: u64,
}

impl Holdings {
    pub(crate) fn now() -> Result<Self> {
        let status = fs::read_to_string("/proc/self/status")?;
        let field = |name: &str| -> Result<u64> {
            let line = status.lines().find(|line| line.starts_with(name)).context("a line of /proc")?;
            Ok(line.split_whitespace().nth(1).context("a number")?.parse()?)
        };
        let files = u64::try_from(fs::read_dir("/proc/self/fd")?.count())?;
        Ok(Self {
            resident: field("VmRSS:")?,
            anonymous: field("RssAnon:")?,
            threads: field("Threads:")?,
            files,
        })
    }
}

pub(crate) fn reloads(component: &Component, count: u32) -> Result<()> {
    let mut house = House::open(SHORT)?;
    for number in 0..WARM_UP {
        house.swap(&component.numbered(number))?;
    }
    let before = Holdings::now()?;
    let mut times = Vec::new();
    for number in 0..count {
        times.push(house.swap(&component.numbered(WARM_UP + number))?);
    }
    let after = Holdings::now()?;
    times.sort_unstable();
    let at = |part: usize| times.get(times.len() * part / 100).copied().map(millis).unwrap_or_default();
    println!("{count} reloads in a row, each compiled anew, {} ms of lying still in each", SHORT.as_millis());
    println!(
        "time        median {:.0} ms, p99 {:.0} ms, worst {:.0} ms",
        at(50),
        at(99),
        times.last().copied().map_or(0.0, millis)
    );
    println!("            before      after");
    for (what, one, other) in [
        ("resident", before.resident, after.resident),
        ("anonymous", before.anonymous, after.anonymous),
        ("threads", before.threads, after.threads),
        ("files", before.files, after.files),
    ] {
        println!("{what:<10} {one:>7} {other:>10}");
    }
    println!("memory in KiB, after {WARM_UP} reloads and after {count} more\n");
    Ok(())
}
