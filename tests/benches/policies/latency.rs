//! From a submission to its reply, while policies are replaced and while they are not.

use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result};
use bitcoin::hashes::{Hash, sha256};
use sluice_tests::http;
use sluice_tests::plugins::VARDIFF;

use crate::pools::{Measured, Mode, Running};
use crate::{Component, median};

/// Few enough that the pool's core has time left.
const CONNECTIONS: u32 = 4;
const IN_FLIGHT: u32 = 1;
const PATIENCE: Duration = Duration::from_secs(300);

/// Puts one version after the other in place until it is told to stop.
struct Reloader<'a> {
    pool: &'a Running,
    next: AtomicU32,
    stop: AtomicBool,
}

impl Reloader<'_> {
    fn served(&self, bytes: &[u8], meanwhile: impl Fn() -> bool) -> Result<bool> {
        self.pool.plugins.replace(VARDIFF, bytes)?;
        let wanted = sha256::Hash::hash(bytes).to_string();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        runtime.block_on(http::json_until(self.pool.http, "/api/v1/policies", PATIENCE, |policies| {
            let vardiff = policies.as_array()?.iter().find(|policy| policy["kind"] == "vardiff")?;
            let serves = vardiff["hash"] == *wanted;
            (serves || !meanwhile()).then_some(serves)
        }))
    }

    /// How many were served.
    fn run(&self, component: &Component) -> Result<u32> {
        let mut count = 0;
        while !self.stop.load(Ordering::Relaxed) {
            let bytes = component.numbered(self.next.fetch_add(1, Ordering::Relaxed));
            count += u32::from(self.served(&bytes, || !self.stop.load(Ordering::Relaxed))?);
        }
        Ok(count)
    }

    /// The load while `component` is reloaded, and how often it was.
    fn loaded(&self, component: &Component, seconds: f64) -> Result<(Measured, u32)> {
        self.stop.store(false, Ordering::Relaxed);
        thread::scope(|scope| {
            let reloads = scope.spawn(|| self.run(component));
            let measured = self.pool.load(CONNECTIONS, IN_FLIGHT, seconds);
            self.stop.store(true, Ordering::Relaxed);
            let count = reloads.join().ok().context("the reloading thread")??;
            Ok((measured?, count))
        })
    }
}

pub(crate) fn compare(components: &[Component], turns: u32, seconds: f64) -> Result<()> {
    let pool = Running::start(Mode::Components)?;
    let reloader = Reloader { pool: &pool, next: AtomicU32::new(1), stop: AtomicBool::new(false) };
    let rest = components.first().context("the shipped one")?.numbered(0);
    let mut quiet = Vec::new();
    let mut busy: Vec<(Vec<Measured>, u32)> = vec![Default::default(); components.len()];
    for _ in 0..turns {
        quiet.push(pool.load(CONNECTIONS, IN_FLIGHT, seconds)?);
        for (component, (measured, count)) in components.iter().zip(&mut busy) {
            let (one, reloads) = reloader.loaded(component, seconds)?;
            measured.push(one);
            *count += reloads;
            // What is still being compiled is given up.
            reloader.served(&rest, || true)?;
        }
    }
    println!(
        "from submission to reply, us, {CONNECTIONS} connections with one each in flight, median of {turns} turns of {seconds} s; \
         pool and compiler share a core"
    );
    println!(
        "{:<28} {:>8} {:>8} {:>8} {:>8} {:>14} {:>9}",
        "reloading", "p50", "p90", "p99", "worst", "submissions/s", "reloads"
    );
    show("nothing", &quiet, 0)?;
    for (component, (measured, count)) in components.iter().zip(&busy) {
        show(&format!("{}, compiled anew", component.name), measured, *count)?;
    }
    println!();
    Ok(())
}

fn show(what: &str, measured: &[Measured], reloads: u32) -> Result<()> {
    let of = |place: usize| median(measured.iter().map(|one| one.latency[place]).collect()).context("turns");
    let rate = median(measured.iter().map(|one| one.rate).collect()).context("turns")?;
    println!(
        "{what:<28} {:>8.0} {:>8.0} {:>8.0} {:>8.0} {rate:>14.0} {reloads:>9}",
        of(0)?,
        of(1)?,
        of(2)?,
        of(3)?
    );
    Ok(())
}
