//! Lines that no miner sends.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::json;
use sluice_tests::SOON;
use sluice_tests::miner::{Miner, error_code};
use sluice_tests::pool::{Pool, Setup};

use super::{DIFFICULTY, pool, still_serves, user};

/// Sends bytes, and expects the connection to end.
async fn ends_after(pool: &Pool, bytes: &[u8]) -> Result<String> {
    let mut miner = Miner::connect(pool.sv1).await?;
    // The pool may close before it has read all.
    let _ = miner.send_raw(bytes).await;
    let said = miner.drain().await?;
    Ok(String::from_utf8_lossy(&said).into_owned())
}

#[tokio::test]
async fn a_flood_of_lines_ends_the_connection() -> Result<()> {
    // V1-83
    let setup = Setup::without_blocks(DIFFICULTY).with("messages_per_minute = 60");
    let pool = Pool::ready(setup).await?;
    let flood = "{\"id\":1,\"method\":\"mining.ping\",\"params\":[]}\n".repeat(100_000);
    let said = ends_after(&pool, flood.as_bytes()).await?;
    ensure!(said.lines().count() < 200, "{} lines were answered", said.lines().count());
    still_serves(&pool).await
}

#[tokio::test]
async fn one_byte_a_second_is_not_a_handshake() -> Result<()> {
    // V1-77
    let setup = Setup::without_blocks(DIFFICULTY).with("subscribe_timeout_s = 3");
    let pool = Pool::ready(setup).await?;
    let (mut reader, mut writer) = Miner::connect(pool.sv1).await?.into_parts();
    let slow = tokio::spawn(async move {
        let mut pace = tokio::time::interval(Duration::from_secs(1));
        for byte in b"{\"id\":1,\"method\":\"mining.subscribe\",\"params\":[]}".iter().cycle() {
            pace.tick().await;
            if tokio::io::AsyncWriteExt::write_all(&mut writer, &[*byte]).await.is_err() {
                break;
            }
        }
    });
    let mut said = Vec::new();
    let closed = tokio::io::AsyncReadExt::read_to_end(&mut reader, &mut said);
    // How it is closed does not matter.
    let _ = tokio::time::timeout(SOON, closed).await.context("it was not closed")?;
    slow.abort();
    still_serves(&pool).await
}

#[tokio::test]
async fn a_huge_line_ends_the_connection() -> Result<()> {
    // V1-2
    let pool = pool().await?;
    let mut huge = b"{\"id\":1,\"method\":\"mining.subscribe\",\"params\":[\"".to_vec();
    huge.resize(16 * 1024 * 1024, b'a');
    ends_after(&pool, &huge).await?;
    // Below the limit it is a name that is too long, or one that is cut: no reason to close.
    let mut miner = Miner::connect(pool.sv1).await?;
    miner.subscribe(None).await?;
    let reply = miner.call("mining.authorize", json!(["b".repeat(4000), "x"])).await?;
    ensure!(matches!(error_code(&reply)?, 20 | 24), "{reply}");
    still_serves(&pool).await
}

#[tokio::test]
async fn what_is_not_json_is_told_so_once_then_closed() -> Result<()> {
    // V1-4
    let pool = pool().await?;
    let depth_bomb = [b"[".repeat(8000), b"\n".to_vec()].concat();
    let deep_params = [
        b"{\"id\":1,\"method\":\"x\",\"params\":".to_vec(),
        b"[".repeat(4000),
        b"]".repeat(4000),
        b"}\n".to_vec(),
    ];
    let cases: [&[u8]; 6] = [
        b"GET / HTTP/1.1\r\n\r\n",
        b"{\"id\":1,\"method\":\"mining.subscribe\",\"params\":[\"\xff\xfe\"]}\n",
        b"{\"id\":1,\"method\":\n",
        b"\x16\x03\x01\x02\x00\x01\x00\n",
        &depth_bomb,
        b"{\"id\":1 \"method\":\"mining.subscribe\"}\n",
    ];
    for case in cases {
        let said =
            ends_after(&pool, case).await.with_context(|| String::from_utf8_lossy(case).into_owned())?;
        ensure!(said.lines().count() <= 1 && (said.is_empty() || said.contains("-32700")), "{said}");
    }
    // Deep but well-formed: an answer or an end, nothing worse.
    let mut miner = Miner::connect(pool.sv1).await?;
    miner.send_raw(deep_params.concat()).await?;
    let _ = miner.line_within(SOON).await?;
    still_serves(&pool).await
}

#[tokio::test]
async fn duplicate_keys_and_strange_shapes_are_survived() -> Result<()> {
    let pool = pool().await?;
    for line in [
        "{\"id\":1,\"id\":2,\"method\":\"mining.subscribe\",\"method\":\"mining.ping\",\"params\":[]}\n",
        "{\"id\":1,\"method\":\"mining.subscribe\",\"params\":{\"0\":\"x\"}}\n",
        "{\"id\":1,\"method\":7,\"params\":[]}\n",
        "{\"id\":{\"a\":[1]},\"method\":\"mining.ping\",\"params\":[]}\n",
        "{\"id\":1,\"params\":[]}\n",
        "[]\n",
        "[{\"id\":1,\"method\":\"mining.ping\",\"params\":[]}]\n",
        "null\n",
        "7\n",
        "{}\n",
        "{\"id\":1,\"method\":\"mining.authorize\",\"params\":[[[[]]],{\"a\":1}]}\n",
        "{\"id\":1,\"method\":\"mining.submit\",\"params\":[null,null,null,null,null]}\n",
        "{\"id\":1,\"method\":\"mining.configure\",\"params\":[[1,null,{}],{\"version-rolling.mask\":7}]}\n",
        "{\"id\":1,\"method\":\"\\u0000\\ud83d\\ude00\",\"params\":[\"\\u0000\"]}\n",
    ] {
        let mut miner = Miner::connect(pool.sv1).await?;
        // Where the line has no id and no meaning, the ping after it is what is answered.
        miner.send_raw(line).await?;
        miner.send_raw("{\"id\":99,\"method\":\"mining.ping\",\"params\":[]}\n").await?;
        let answer = miner.line_within(SOON).await.with_context(|| line.to_owned())?;
        ensure!(answer.is_none_or(|answer| answer.is_object()), "{line}");
    }
    still_serves(&pool).await
}

/// A peer that takes nothing for so long takes nothing more.
const STUCK: Duration = Duration::from_secs(2);
/// More than the system's buffers of both sides hold, in bytes.
const KERNEL_BUFFERS: usize = 128 << 20;

#[tokio::test]
async fn miners_that_do_not_read_do_not_hold_up_the_others() -> Result<()> {
    // V1-3
    let pool = pool().await?;
    let mut deaf = Miner::working(pool.sv1, &user()).await?;
    let ping = "{\"id\":1,\"method\":\"mining.ping\",\"params\":[]}\n".repeat(2000);
    // The pool stops reading, or closes: it does not keep answers without end.
    let mut sent = 0;
    while let Ok(Ok(())) = tokio::time::timeout(STUCK, deaf.send_raw(&ping)).await {
        sent += ping.len();
        ensure!(sent < KERNEL_BUFFERS, "{sent} bytes were taken from a miner that reads nothing");
    }
    still_serves(&pool).await
}
