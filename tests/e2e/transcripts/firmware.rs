//! What well-known clients say, in their order and in their spelling.

use anyhow::{Context, Result, ensure};
use serde_json::json;
use sluice_tests::miner::Miner;
use sluice_tests::share::difficulty_of;

use super::{DIFFICULTY, good_share, nobody_connected, pool, user};

#[tokio::test]
async fn cgminer() -> Result<()> {
    let pool = pool().await?;
    let mut miner = Miner::connect(pool.sv1).await?;
    // V1-28: the very next line must be the reply, an object with version-rolling true and a mask.
    let extensions = json!([["version-rolling"], {
        "version-rolling.mask": "1fffe000", "version-rolling.min-bit-count": "2"}]);
    miner.send("mining.configure", extensions).await?;
    let reply = miner.line().await?;
    ensure!(reply["id"] == 1 && reply["result"]["version-rolling"] == true, "{reply}");
    ensure!(reply["result"]["version-rolling.mask"] == "1fffe000" && reply["error"].is_null(), "{reply}");
    let subscription = miner.subscribe(None).await?;
    // V1-14: cgminer refuses an extranonce2 outside 2 to 16, others above 8.
    ensure!((4..=8).contains(&subscription.extranonce2_size), "{subscription:?}");
    miner.authorize(&user(), "x").await?;
    // V1-24, V1-39: one difficulty, then the job.
    let difficulty = miner.line().await?;
    ensure!(difficulty["method"] == "mining.set_difficulty" && difficulty["id"].is_null(), "{difficulty}");
    let notify = miner.line().await?;
    ensure!(notify["method"] == "mining.notify" && notify["params"][8] == true, "{notify}");
    ensure!(notify["params"].as_array().is_some_and(|params| params.len() == 9), "{notify}");
    good_share(&mut miner).await.map(drop)
}

#[tokio::test]
async fn cgminer_resumes_its_session() -> Result<()> {
    // V1-76
    let pool = pool().await?;
    let mut miner = Miner::connect(pool.sv1).await?;
    let first = miner.subscribe(None).await?;
    miner.authorize(&user(), "x").await?;
    let job = good_share(&mut miner).await?;
    let late = miner.mine(&job)?;
    drop(miner);
    nobody_connected(&pool).await?;
    let mut again = Miner::connect(pool.sv1).await?;
    let second = again.subscribe(Some(&first.session)).await?;
    ensure!(second.extranonce1 == first.extranonce1, "{first:?} became {second:?}");
    again.authorize(&user(), "x").await?;
    again.job().await?;
    // Work begun before the connection was lost still counts.
    again.submit_good(&late).await?;
    // A session that nobody had is a new one, not an error.
    let mut stranger = Miner::connect(pool.sv1).await?;
    let third = stranger.subscribe(Some("deadbeef")).await?;
    ensure!(third.extranonce1 != first.extranonce1);
    Ok(())
}

#[tokio::test]
async fn esp_miner() -> Result<()> {
    let pool = pool().await?;
    let mut miner = Miner::connect(pool.sv1).await?;
    // V1-21: three requests in one segment, answered in order.
    let name = user();
    let three = format!(
        "{{\"id\": 1, \"method\": \"mining.configure\", \"params\": [[\"version-rolling\"], \
         {{\"version-rolling.mask\": \"ffffffff\"}}]}}\n\
         {{\"id\": 2, \"method\": \"mining.subscribe\", \"params\": [\"bitaxe/BM1370/v2.9.0\"]}}\n\
         {{\"id\": 3, \"method\": \"mining.authorize\", \"params\": [\"{name}\", \"x\"]}}\n"
    );
    miner.send_raw(three).await?;
    let configured = miner.line().await?;
    // V1-26: the intersection.
    ensure!(
        configured["id"] == 1 && configured["result"]["version-rolling.mask"] == "1fffe000",
        "{configured}"
    );
    let subscribed = miner.line().await?;
    ensure!(subscribed["id"] == 2, "{subscribed}");
    miner.subscribed(&subscribed)?;
    let authorized = miner.reply(3).await?;
    ensure!(authorized["result"] == true, "{authorized}");
    miner.set_user(&name);
    miner.send_raw("{\"id\": 4, \"method\": \"mining.suggest_difficulty\", \"params\": [1000]}\n").await?;
    ensure!(miner.reply(4).await?["result"] == true);
    miner.send_raw("{\"id\": 5, \"method\": \"mining.extranonce.subscribe\", \"params\": []}\n").await?;
    ensure!(miner.reply(5).await?["result"] == true);
    // V1-60: its answer to a ping is a method of its own, which is not to be answered.
    miner.send_raw("{\"id\":6,\"method\":\"pong\",\"params\":[]}\n").await?;
    let job = miner.job().await?;
    // It sends the rolled bits, and ids of its own.
    let mut search = miner.search(&job)?;
    search.version_bits = Some(0x0000_2000);
    let share = search.find(&job, |hash| difficulty_of(hash) >= job.difficulty).context("no share")?;
    miner.submit_good(&share).await?;
    // Errors are arrays of three (V1-9, V1-11).
    super::ensure_code(&miner.submit(&share).await?, 22)
}

#[tokio::test]
async fn nerdminer() -> Result<()> {
    let pool = pool().await?;
    let mut miner = Miner::connect(pool.sv1).await?;
    // V1-13: it reads one line after the subscription.
    miner
        .send_raw("{\"id\": 1, \"method\": \"mining.subscribe\", \"params\": [\"NerdMinerV2/1.8.2\"]}\n")
        .await?;
    let reply = miner.line().await?;
    ensure!(reply["id"] == 1, "the reply must be the next line: {reply}");
    miner.subscribed(&reply)?;
    let name = user();
    let authorize =
        format!("{{\"params\": [\"{name}\", \"x\"], \"id\": 2, \"method\": \"mining.authorize\"}}\n");
    miner.send_raw(authorize).await?;
    ensure!(miner.reply(2).await?["result"] == true);
    miner.set_user(&name);
    // V1-42: it repeats its wish as a sign of life.
    for id in 3..8 {
        let suggest =
            format!("{{\"id\": {id}, \"method\": \"mining.suggest_difficulty\", \"params\": [0.00015]}}\n");
        miner.send_raw(suggest).await?;
        ensure!(miner.reply(id).await?["result"] == true);
    }
    let job = miner.job().await?;
    // V1-38: fractions without an exponent, which its parser takes for an integer.
    ensure!(miner.difficulty() == Some(DIFFICULTY), "{:?}", miner.difficulty());
    // V1-68: nonces are printed without leading zeros.
    let share = miner.mine(&job)?;
    ensure!(share.nonce < 0x1000_0000, "nonces are searched from zero");
    let (extranonce2, ntime) = (hex::encode(&share.extranonce2), share.ntime);
    let submit = format!(
        "{{\"id\":9,\"method\":\"mining.submit\",\"params\":[\"{name}\",\"{}\",\"{extranonce2}\",\"{ntime:x}\",\"{:x}\"]}}\n",
        share.job, share.nonce
    );
    miner.send_raw(submit).await?;
    let reply = miner.reply(9).await?;
    ensure!(reply["result"] == true, "{reply}");
    Ok(())
}

#[tokio::test]
async fn replies_to_nerdminer_fit_its_buffer_and_numbers_have_no_exponent() -> Result<()> {
    // V1-9, V1-38
    let pool = pool().await?;
    let mut miner = Miner::log_in(pool.sv1, &user()).await?;
    miner.job().await?;
    drop(miner);
    let mut raw = Miner::connect(pool.sv1).await?;
    let name = user();
    raw.send_raw(format!(
        "{{\"id\":1,\"method\":\"mining.subscribe\",\"params\":[]}}\n\
         {{\"id\":2,\"method\":\"mining.authorize\",\"params\":[\"{name}\"]}}\n"
    ))
    .await?;
    let (mut reader, writer) = raw.into_parts();
    let mut lines = Vec::new();
    while !lines.iter().any(|line: &String| line.contains("mining.notify\",\"params")) {
        let mut line = String::new();
        let read = tokio::io::AsyncBufReadExt::read_line(&mut reader, &mut line);
        ensure!(tokio::time::timeout(sluice_tests::SOON, read).await?? > 0, "closed after {lines:?}");
        lines.push(line);
    }
    drop(writer);
    for line in &lines {
        ensure!(line.len() < 4096 && line.ends_with("}\n") && !line.contains("jsonrpc"), "{line}");
        ensure!(!line.contains("e-") || !line.contains("set_difficulty"), "an exponent: {line}");
    }
    ensure!(lines.iter().any(|line| line.contains("\"params\":[0.000001]")), "{lines:?}");
    Ok(())
}

#[tokio::test]
async fn nicehash() -> Result<()> {
    let pool = pool().await?;
    let mut miner = Miner::connect(pool.sv1).await?;
    // V1-90: a signature and a time may stand where the session id does.
    let params = json!(["NiceHash/1.0.0", "0f".repeat(32), "1700000000"]);
    let reply = miner.call("mining.subscribe", params).await?;
    miner.subscribed(&reply)?;
    // V1-35, before the login here.
    let reply = miner.call("mining.extranonce.subscribe", json!([])).await?;
    ensure!(reply["result"] == true && reply["error"].is_null(), "{reply}");
    miner.authorize(&user(), "x").await?;
    let job = good_share(&mut miner).await?;
    // V1-36: nothing changes what was subscribed unless it is announced.
    ensure!(
        job.coinbase.0.len() + job.coinbase.1.len() <= 500,
        "coinbases for NiceHash stay below 500 bytes"
    );
    Ok(())
}

#[tokio::test]
async fn miners_without_extranonce_subscription_are_never_sent_one() -> Result<()> {
    // V1-36: some firmware is confused by it.
    let pool = pool().await?;
    let mut miner = Miner::connect(pool.sv1).await?;
    miner.subscribe(None).await?;
    miner.authorize(&user(), "x").await?;
    loop {
        let line = miner.line().await?;
        ensure!(line["method"] != "mining.set_extranonce", "{line}");
        if line["method"] == "mining.notify" {
            return Ok(());
        }
    }
}

#[tokio::test]
async fn old_antminer_s9() -> Result<()> {
    let pool = pool().await?;
    let mut miner = Miner::connect(pool.sv1).await?;
    // V1-88: any key order; V1-26: a narrow mask is fine.
    let params = json!([["minimum-difficulty", "version-rolling"], {
        "version-rolling.min-bit-count": 2, "minimum-difficulty.value": 1e-6, "version-rolling.mask": "00c00000"}]);
    let reply = miner.call("mining.configure", params).await?;
    ensure!(reply["result"]["version-rolling"] == true, "{reply}");
    ensure!(reply["result"]["version-rolling.mask"] == "00c00000", "{reply}");
    ensure!(reply["result"]["minimum-difficulty"] == true, "{reply}");
    miner.subscribe(None).await?;
    miner.authorize(&user(), "123").await?;
    // V1-65
    let reply = miner.call("mining.multi_version", json!([4])).await?;
    ensure!(reply["result"] == true, "{reply}");
    let job = miner.job().await?;
    for (bits, good) in [(0x0040_0000, true), (0x00c0_0000, true), (0x0020_0000, false)] {
        let mut search = miner.search(&job)?;
        search.version_bits = Some(bits);
        let share = search.find(&job, |hash| difficulty_of(hash) >= job.difficulty).context("no share")?;
        let reply = miner.submit(&share).await?;
        if good {
            ensure!(reply["result"] == true, "{bits:08x}: {reply}");
        } else {
            super::ensure_code(&reply, 20)?;
        }
    }
    Ok(())
}

#[tokio::test]
async fn bosminer() -> Result<()> {
    // V1-87: id 0, four parameters with nulls.
    let pool = pool().await?;
    let mut miner = Miner::connect(pool.sv1).await?;
    let configure = json!({"id": 0, "method": "mining.configure", "params": [["version-rolling"], {
        "version-rolling.mask": "1fffe000", "version-rolling.min-bit-count": 16}]});
    miner.send_raw(format!("{configure}\n")).await?;
    let reply = miner.reply(0).await?;
    ensure!(reply["result"]["version-rolling"] == true, "{reply}");
    let subscribe = json!({"id": 1, "method": "mining.subscribe", "params": ["bosminer-plus-tuner 22.08", null,
        "pool.example:3333", null]});
    miner.send_raw(format!("{subscribe}\n")).await?;
    let reply = miner.reply(1).await?;
    miner.subscribed(&reply)?;
    miner.authorize(&user(), "x").await?;
    good_share(&mut miner).await.map(drop)
}
