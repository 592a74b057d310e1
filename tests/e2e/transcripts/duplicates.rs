//! A share counts once, however it is spelt and whenever it comes again (V1-71).

use std::collections::HashMap;

use anyhow::{Result, ensure};
use serde_json::Value;
use sluice_tests::miner::Miner;
use sluice_tests::pool::{Pool, Setup};

use super::{ensure_code, nobody_connected, pool, user};

#[tokio::test]
async fn in_other_letters_or_with_other_zeros_it_is_the_same_share() -> Result<()> {
    let pool = pool().await?;
    let mut miner = Miner::working(pool.sv1, &user()).await?;
    let job = miner.job().await?;
    // An extranonce2 with letters, so that case means something.
    let mut search = miner.search(&job)?;
    search.extranonce2 = vec![0xab; search.extranonce2.len()];
    let share = search
        .find(&job, |hash| sluice_tests::share::difficulty_of(hash) >= job.difficulty)
        .expect("one of 2^32 will do");
    miner.submit_good(&share).await?;
    ensure_code(&miner.submit(&share).await?, 22)?;
    let upper: Vec<Value> = share.params(&user()).as_array().into_iter().flatten().cloned().collect();
    let upper: Vec<Value> = upper
        .iter()
        .enumerate()
        .map(|(index, value)| match (index, value.as_str()) {
            (1.., Some(text)) => Value::from(text.to_uppercase()),
            _ => value.clone(),
        })
        .collect();
    ensure_code(&miner.call("mining.submit", Value::from(upper)).await?, 22)?;
    // Version bits of zero are the version as sent.
    let mut zero = share.clone();
    zero.version_bits = Some(0);
    ensure_code(&miner.submit(&zero).await?, 22)
}

#[tokio::test]
async fn it_is_known_after_a_resume() -> Result<()> {
    let pool = pool().await?;
    let mut miner = Miner::working(pool.sv1, &user()).await?;
    let job = miner.job().await?;
    let share = miner.mine(&job)?;
    miner.submit_good(&share).await?;
    let session = miner.subscription()?.session.clone();
    drop(miner);
    nobody_connected(&pool).await?;
    let mut again = Miner::connect(pool.sv1).await?;
    again.subscribe(Some(&session)).await?;
    again.authorize(&user(), "x").await?;
    again.job().await?;
    ensure_code(&again.submit(&share).await?, 22)
}

#[tokio::test]
async fn it_is_known_after_ten_thousand_others() -> Result<()> {
    let pool = Pool::ready(Setup::without_blocks(2.4e-10)).await?;
    let mut miner = Miner::working(pool.sv1, &user()).await?;
    let job = miner.job().await?;
    let first = miner.mine(&job)?;
    miner.submit_good(&first).await?;
    let mut waiting = HashMap::new();
    for number in 0..10_000u32 {
        let mut search = miner.search(&job)?;
        search.first_nonce = number;
        let Some(share) = search.find(&job, |_| true) else { continue };
        let params = share.params(&user());
        waiting.insert(miner.send("mining.submit", params).await?, ());
        while waiting.len() >= 500 {
            take_reply(&mut miner, &mut waiting).await?;
        }
    }
    while !waiting.is_empty() {
        take_reply(&mut miner, &mut waiting).await?;
    }
    ensure_code(&miner.submit(&first).await?, 22)
}

async fn take_reply(miner: &mut Miner, waiting: &mut HashMap<u64, ()>) -> Result<()> {
    let line = miner.line().await?;
    if let Some(id) = line["id"].as_u64() {
        ensure!(waiting.remove(&id).is_some(), "a reply to nothing: {line}");
    }
    Ok(())
}
