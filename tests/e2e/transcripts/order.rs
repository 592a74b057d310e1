//! Logins in any order and number, ids of any type, methods of any name.

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use sluice_tests::miner::{Miner, address};

use super::{ensure_code, good_share, pool, still_serves, user};

#[tokio::test]
async fn authorize_before_subscribe() -> Result<()> {
    // V1-19, V1-24: work comes when both are done, not before.
    let pool = pool().await?;
    let mut miner = Miner::connect(pool.sv1).await?;
    miner.authorize(&user(), "x").await?;
    miner.send("mining.subscribe", json!(["late/1"])).await?;
    let reply = miner.line().await?;
    ensure!(reply["id"] == 2, "work came before the subscription's reply: {reply}");
    miner.subscribed(&reply)?;
    good_share(&mut miner).await.map(drop)
}

#[tokio::test]
async fn many_workers_on_one_connection_and_the_same_one_twice() -> Result<()> {
    // V1-22, V1-72
    let pool = pool().await?;
    let mut miner = Miner::working(pool.sv1, &user()).await?;
    let other = format!("{}.other", address(8));
    miner.authorize(&other, "x").await?;
    good_share(&mut miner).await?;
    miner.authorize(&user(), "x").await?;
    good_share(&mut miner).await?;
    // A suffix that was never announced belongs to the account all the same.
    miner.set_user(&format!("{}.new", address(8)));
    good_share(&mut miner).await?;
    // An account that never logged in earns nothing.
    miner.set_user(&format!("{}.rig", address(9)));
    let job = miner.job().await?;
    let share = miner.mine(&job)?;
    ensure_code(&miner.submit(&share).await?, 24)
}

#[tokio::test]
async fn a_second_subscription_repeats_the_first() -> Result<()> {
    // V1-16
    let pool = pool().await?;
    let mut miner = Miner::working(pool.sv1, &user()).await?;
    let first = miner.subscription()?.clone();
    let second = miner.subscribe(None).await?;
    ensure!(second == first, "{first:?} became {second:?}");
    good_share(&mut miner).await.map(drop)
}

#[tokio::test]
async fn submits_before_the_handshake_are_refused_then_end_it() -> Result<()> {
    // V1-20
    let pool = pool().await?;
    let params = json!([user(), "1", "0000000000000000", "6553a1b2", "00000000"]);
    let mut miner = Miner::connect(pool.sv1).await?;
    ensure_code(&miner.call("mining.submit", params.clone()).await?, 25)?;
    miner.subscribe(None).await?;
    ensure_code(&miner.call("mining.submit", params.clone()).await?, 24)?;
    ensure_code(&miner.call("mining.submit", params).await?, 24)?;
    miner.until_closed().await?;
    still_serves(&pool).await
}

#[tokio::test]
async fn a_wrong_login_is_refused_with_24() -> Result<()> {
    // V1-17, V1-23
    let pool = pool().await?;
    let mut miner = Miner::connect(pool.sv1).await?;
    miner.subscribe(None).await?;
    for name in ["", "nobody", "bc1qw508d6qejxtdg4y5r3zarvary0c5xw7kv8f3t4.main"] {
        let reply = miner.call("mining.authorize", json!([name, "x"])).await?;
        ensure_code(&reply, 24).with_context(|| format!("login {name:?}"))?;
    }
    still_serves(&pool).await
}

#[tokio::test]
async fn ids_come_back_as_they_were_sent() -> Result<()> {
    // V1-5: byte for byte, so compared as text.
    let pool = pool().await?;
    for id in ["\"text\"", "1.50", "18446744073709551616", "-1", "null", "0"] {
        let miner = Miner::connect(pool.sv1).await?;
        let (mut reader, mut writer) = miner.into_parts();
        let line = format!("{{\"id\":{id},\"method\":\"mining.subscribe\",\"params\":[]}}\n");
        tokio::io::AsyncWriteExt::write_all(&mut writer, line.as_bytes()).await?;
        let mut reply = String::new();
        let read = tokio::io::AsyncBufReadExt::read_line(&mut reader, &mut reply);
        tokio::time::timeout(sluice_tests::SOON, read).await??;
        ensure!(reply.starts_with(&format!("{{\"id\":{id},")), "{id} came back in {reply}");
    }
    Ok(())
}

#[tokio::test]
async fn known_oddities_are_answered_and_unknown_methods_close_nothing() -> Result<()> {
    let pool = pool().await?;
    let mut miner = Miner::working(pool.sv1, &user()).await?;
    let yes: [(&str, Value); 5] = [
        ("mining.multi_version", json!([1])),
        ("mining.capabilities", json!({"notify": []})),
        (
            "mining.suggest_target",
            json!(["00000000ffff0000000000000000000000000000000000000000000000000000"]),
        ),
        ("mining.suggest_difficulty(42)", json!([])),
        ("mining.extranonce.subscribe", Value::Null),
    ];
    for (method, params) in yes {
        let reply = miner.call(method, params).await?;
        ensure!(reply["result"] == true && reply["error"].is_null(), "{method}: {reply}");
    }
    // V1-60, V1-62
    ensure!(miner.call("mining.ping", json!([])).await?["result"] == "pong");
    ensure!(miner.call("client.get_version", json!([])).await?["result"].is_string());
    // V1-7: aliases.
    ensure!(miner.call("mining.auth", json!([user(), "x"])).await?["result"] == true);
    ensure!(miner.call("mining.authorise", json!([user(), "x"])).await?["result"] == true);
    // V1-8
    ensure_code(&miner.call("mining.make_coffee", json!([])).await?, 20)?;
    ensure_code(&miner.call("mining.get_transactions", json!(["1"])).await?, 20)?;
    good_share(&mut miner).await.map(drop)
}

#[tokio::test]
async fn lines_in_any_cut_and_with_any_ending() -> Result<()> {
    // V1-1
    let pool = pool().await?;
    let mut miner = Miner::connect(pool.sv1).await?;
    miner.send_raw("\r\n\n  \n{\"id\":1,\"meth").await?;
    miner.send_raw("od\":\"mining.subscribe\"}\r\n").await?;
    let reply = miner.reply(1).await?;
    miner.subscribed(&reply)?;
    for byte in format!("{{\"id\":2,\"method\":\"mining.authorize\",\"params\":[\"{}\"]}}\n", user()).bytes()
    {
        miner.send_raw([byte]).await?;
    }
    ensure!(miner.reply(2).await?["result"] == true);
    miner.set_user(&user());
    good_share(&mut miner).await.map(drop)
}
