//! What means harm is put in place of each policy, one after the other, while miners submit: nobody notices, and each is
//! shown with its reason.

use std::fs;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use sluice_core::policy::PolicyKind;
use sluice_tests::miner::{self, Miner};
use sluice_tests::plugins::{AUTH, Broken, SOLO, VARDIFF, shipped};
use sluice_tests::pool::{Pool, Setup};
use sluice_tests::stress::{Load, Protocols, Stress};
use sluice_tests::{http, ledger};

use crate::guest::{Guest, HOARD, LOOP, RECURSE, TRAP};

/// One reload on a busy machine: debounce, compile, try.
const RELOAD: Duration = Duration::from_secs(120);
/// What the pool's memory may grow by: the compiled code of a candidate, and what it may hold while it is tried.
const GROWTH: u64 = 256 << 20;

/// Small limits: what never ends is stopped soon.
const LIMITS: &str = "[policy.auth.limits]\nfuel = 50000000\nmemory_mb = 32\n\
    [policy.vardiff.limits]\nfuel = 50000000\nmemory_mb = 32\n\
    [policy.payout.limits]\nfuel = 50000000\nmemory_mb = 32\n";

const SLOTS: [(PolicyKind, &str, &[&str]); 3] = [
    (PolicyKind::Auth, AUTH, &["authorize"]),
    (PolicyKind::Vardiff, VARDIFF, &["open", "review-all"]),
    (PolicyKind::Payout, SOLO, &["settle", "describe-plan"]),
];

async fn policy(pool: &Pool, kind: PolicyKind, is: impl Fn(&Value) -> bool) -> Result<Value> {
    let look = |policies: &Value| {
        let policy = policies.as_array()?.iter().find(|one| one["kind"] == kind.label())?;
        is(policy).then(|| policy.clone())
    };
    http::json_until(pool.http, "/api/v1/policies", RELOAD, look).await
}

/// A guest and how its refusal is worded.
fn guests(kind: PolicyKind, calls: &[&'static str]) -> Vec<(String, Vec<u8>, &'static str)> {
    let guest = || Guest::new(kind, "hostile");
    let mut all = Vec::new();
    for (vice, body, says) in [
        ("a loop", LOOP, "fuel"),
        ("a memory bomb", HOARD, "memory"),
        ("deep recursion", RECURSE, "stack"),
        ("a trap", TRAP, "unreachable"),
    ] {
        let start = format!("(func $begin (drop (block (result i32) {body}))) (start $begin)");
        all.push((format!("{vice} in its start function"), guest().with(&start).build(), says));
        let exports = ["describe", "configure", "self-test"].iter().chain(calls);
        all.extend(
            exports.map(|export| (format!("{vice} in {export}"), guest().body(export, body).build(), says)),
        );
    }
    let flood =
        "(loop $more (call $log (i32.const 3) (i32.const 4096) (i32.const 7)) (br $more)) (unreachable)";
    all.push(("a flood of log lines".to_owned(), guest().body("self-test", flood).build(), "it last said"));
    let giant = "(i32.store offset=16 (i32.const 0) (i32.const 4096))
        (i32.store offset=20 (i32.const 0) (i32.const 1073741824)) (i32.const 16)";
    all.push(("a gigantic answer".to_owned(), guest().body("describe", giant).build(), "out of bounds"));
    let clock = guest().imports("wasi:clocks/wall-clock@0.2.0", "now").build();
    all.push(("an import that is not granted".to_owned(), clock, "wasi:clocks/wall-clock@0.2.0"));
    all
}

/// Puts something in place and waits until it is refused; what served before must still serve.
async fn refused(pool: &Pool, kind: PolicyKind, says: &str, put: impl FnOnce() -> Result<()>) -> Result<()> {
    let before = policy(pool, kind, |_| true).await?;
    put()?;
    let after = policy(pool, kind, |policy| {
        policy["last_reload"] != before["last_reload"] && policy["last_reload"]["outcome"] == "rejected"
    })
    .await?;
    let why = after["last_reload"]["error"].as_str().unwrap_or_default();
    ensure!(why.contains(says), "refused for another reason: {why}");
    ensure!(after["generation"] == before["generation"] && after["hash"] == before["hash"], "{after}");
    Ok(())
}

async fn everything(pool: &Pool, (kind, file, calls): (PolicyKind, &str, &[&'static str])) -> Result<()> {
    for (what, bytes, says) in guests(kind, calls) {
        let put = || pool.plugins.replace(file, &bytes);
        refused(pool, kind, says, put).await.with_context(|| format!("{kind}: {what}"))?;
    }
    for broken in Broken::ALL {
        let put = || pool.plugins.replace(file, &broken.bytes(file)?);
        refused(pool, kind, "", put).await.with_context(|| format!("{kind}: {broken:?}"))?;
    }
    let path = pool.plugins.file(file);
    let directory = || -> Result<()> {
        fs::remove_file(&path)?;
        Ok(fs::create_dir(&path)?)
    };
    refused(pool, kind, "it is a directory", directory).await.context("a directory")?;
    let pipe = || -> Result<()> {
        fs::remove_dir(&path)?;
        let made = Command::new("mkfifo").arg(&path).status()?;
        ensure!(made.success(), "no pipe was made");
        Ok(())
    };
    refused(pool, kind, "it is no regular file", pipe).await.context("a pipe")?;
    pool.plugins.replace(file, &shipped(file)?)?;
    policy(pool, kind, |policy| policy["last_reload"]["outcome"] == "unchanged").await?;
    Ok(())
}

/// Fine when it is tried, and after that it loops: the generation before comes back by itself.
async fn late(pool: &Pool, stress: &mut Stress) -> Result<()> {
    let later = "(global.set $calls (i32.add (global.get $calls) (i32.const 1)))
        (if (i32.gt_u (global.get $calls) (i32.const 40)) (then (loop $for_ever (br $for_ever))))";
    let guest = Guest::new(PolicyKind::Vardiff, "late")
        .body_before("review-all", later)
        .body_before("open", later)
        .build();
    let before = policy(pool, PolicyKind::Vardiff, |_| true).await?;
    pool.plugins.replace(VARDIFF, &guest)?;
    let back = |policy: &Value| policy["last_reload"]["outcome"] == "rolled_back";
    let mut shares = 0;
    let after = loop {
        stress.acknowledged(200).await?;
        shares += 200;
        let now = policy(pool, PolicyKind::Vardiff, |_| true).await?;
        if back(&now) {
            break now;
        }
        ensure!(shares < 1_000_000, "it serves still: {now}");
    };
    let why = after["last_reload"]["error"].as_str().unwrap_or_default();
    ensure!(why.contains("fuel") && after["hash"] == before["hash"], "{after}");
    Ok(())
}

fn memory(pool: &Pool) -> Result<u64> {
    let status = fs::read_to_string(format!("/proc/{}/status", pool.pid()))?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).context("no VmHWM")?;
    Ok(1024 * line.trim().trim_end_matches(" kB").parse::<u64>()?)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn hostile_policies_of_each_kind_under_load_lose_nothing() -> Result<()> {
    let setup = Setup::without_blocks(2.4e-10).tables(LIMITS).sv2_with("acknowledge_after_ms = 50");
    let pool = Pool::ready(setup).await?;
    let load = Load { connections: 100, accounts: 10, in_flight: 2, protocols: Protocols::Mixed };
    let mut stress = Stress::start(&pool, load).await?;
    stress.acknowledged(1000).await?;
    let before = memory(&pool)?;
    let [auth, vardiff, payout] = SLOTS.map(|slot| everything(&pool, slot));
    tokio::try_join!(auth, vardiff, payout)?;
    stress.acknowledged(1000).await?;
    late(&pool, &mut stress).await?;
    let grown = memory(&pool)?.saturating_sub(before);
    ensure!(grown < GROWTH, "the pool grew by {} MiB", grown >> 20);
    // Somebody new is let in.
    Miner::working(pool.sv1, &format!("{}.late", miner::address(1))).await?;
    stress.acknowledged(1000).await?;
    let tally = stress.finish().await?;
    ensure!(tally.disconnects == 0, "{} miners were disconnected", tally.disconnects);
    ensure!(tally.refused.is_empty(), "{} shares were refused", tally.refused.len());
    ensure!(tally.unanswered.is_empty(), "{} shares were not answered", tally.unanswered.len());
    tally.compare(&ledger::shares(&pool.data())?)
}
