//! Submissions a second with the shipped components, and with a shadow beside each, against native policies.

use anyhow::{Context, Result};
use serde_json::Value;
use sluice_tests::http;

use crate::median;
use crate::pools::{Measured, Mode, Running};

/// As in the measurements of submissions.
const CONNECTIONS: u32 = 100;
const IN_FLIGHT: u32 = 16;

pub(crate) fn compare(turns: u32, seconds: f64) -> Result<()> {
    let pools = Mode::ALL.into_iter().map(Running::start).collect::<Result<Vec<_>>>()?;
    let mut seen: Vec<Vec<Measured>> = vec![Vec::new(); pools.len()];
    for turn in 0..turns {
        // Nobody always goes first.
        for place in 0..pools.len() {
            let at = (place + usize::try_from(turn)?) % pools.len();
            seen[at].push(pools[at].load(CONNECTIONS, IN_FLIGHT, seconds)?);
        }
    }
    println!(
        "submissions accepted in a second, {CONNECTIONS} connections, {IN_FLIGHT} in flight, median of {turns} turns of {seconds} s"
    );
    println!(
        "{:<12} {:>14} {:>10} {:>16} {:>10}  asked",
        "policies", "submissions/s", "of native", "processor, ns", "of native"
    );
    for ((mode, pool), measured) in Mode::ALL.iter().zip(&pools).zip(&seen) {
        let of = |pick: fn(&Measured) -> f64| median(measured.iter().map(pick).collect()).context("turns");
        // Turn by turn: what slows the machine slows both.
        let against = |pick: fn(&Measured) -> f64| {
            let ratios = measured.iter().zip(&seen[0]).map(|(one, native)| pick(one) / pick(native));
            median(ratios.collect()).context("turns")
        };
        println!(
            "{:<12} {:>14.0} {:>10.3} {:>16.0} {:>10.3}  {}",
            mode.label(),
            of(|one| one.rate)?,
            against(|one| one.rate)?,
            of(|one| one.nanos)?,
            against(|one| one.nanos)?,
            asked(pool)?
        );
    }
    println!("wanted: at least 0.950 of native for components\n");
    Ok(())
}

/// How much the policies had to do.
fn asked(pool: &Running) -> Result<String> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let policies = runtime.block_on(http::json(pool.http, "/api/v1/policies"))?;
    let tell = |policy: &Value| {
        let shadow = &policy["shadow"];
        let beside = match shadow["compared"].as_u64() {
            Some(compared) => format!(" (shadow: {compared} compared, {} dropped)", shadow["dropped"]),
            None => String::new(),
        };
        format!("{} {} calls{beside}", policy["kind"].as_str().unwrap_or_default(), policy["calls"])
    };
    Ok(policies.as_array().into_iter().flatten().map(tell).collect::<Vec<_>>().join(", "))
}
