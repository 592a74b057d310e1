//! What an instance holds: many of them in one process.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Result;
use bitcoin::Network;
use sluice_core::ids::{AccountName, Protocol, WorkerName};
use sluice_core::policy::vardiff::{ChannelFacts, Opening};
use sluice_core::policy::{Client, PolicyKind};
use sluice_core::units::{Difficulty, Timestamp};
use sluice_policy::{Loader, SlotConfig};

use crate::Component;
use crate::house::{Holdings, compiler};

const INSTANCES: u64 = 16;

fn opening() -> Result<Opening> {
    let client = Client {
        protocol: Protocol::StratumV1,
        listener: Arc::from("main"),
        address: Arc::from("203.0.113.7"),
        agent: Arc::from("cgminer/4.12"),
        hardware: Arc::from(""),
    };
    let channel = ChannelFacts {
        account: AccountName::new("alice")?,
        worker: WorkerName::new("rig")?,
        client,
        password: None,
        floor: Difficulty::ONE,
        ceiling: Difficulty::MAX,
    };
    let channel = Arc::new(channel);
    Ok(Opening { channel, now: Timestamp(1), start: None, suggested: None, nominal_hashrate: None })
}

/// Anonymous memory for each of many instances that were configured and asked once.
pub(crate) fn instances(components: &[Component]) -> Result<()> {
    println!("memory of an instance that was asked once, mean of {INSTANCES}");
    println!("{:<16} {:>9} {:>16} {:>18}", "component", "bytes", "anonymous, KiB", "first call, us");
    let root = tempfile::tempdir()?;
    let loader = Loader::new(root.path(), compiler()?, Network::Regtest)?;
    let (config, opening) = (SlotConfig::new(PolicyKind::Vardiff, ""), opening()?);
    for component in components {
        let bytes = component.numbered(0);
        let make = || -> Result<_> {
            let mut policy = loader.vardiff(&bytes, &config)?;
            let began = std::time::Instant::now();
            policy.open(&opening)?;
            Ok((policy, began.elapsed()))
        };
        // Compiled, mapped, and what is made once is made.
        let first = make()?;
        let before = Holdings::now()?;
        let all = (0..INSTANCES).map(|_| make()).collect::<Result<Vec<_>>>()?;
        let each = Holdings::now()?.anonymous.saturating_sub(before.anonymous) / INSTANCES;
        let calls: Duration = all.iter().map(|(_, took)| *took).sum();
        let call = calls.as_secs_f64() * 1e6 / INSTANCES as f64;
        println!("{:<16} {:>9} {each:>16} {call:>18.0}", component.name, component.size());
        drop((first, all));
    }
    println!();
    Ok(())
}
