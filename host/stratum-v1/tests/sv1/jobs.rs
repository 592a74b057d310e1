use serde_json::json;
use sluice_core::session::{Answer, Effect, Recipient, Session};
use sluice_core::share::Reason;

use crate::support::*;

#[test]
fn a_notify_reads_as_the_template_says() {
    // V1-49, V1-50, V1-51, V1-58
    let (mut pool, miner) = Pool::ready();
    let work = pool.offer();
    let lines = pool.lines();
    let params = &lines[0]["params"];
    assert_eq!(lines[0]["id"], json!(null), "V1-10");
    let template = &work.job().work.template;
    let display = template.previous.to_string();
    let words: Vec<&str> = (0..8).rev().map(|word| &display[word * 8..word * 8 + 8]).collect();
    assert_eq!(params[1], words.concat());
    assert_eq!(params[0], work.job().id.to_string());
    assert!(params[0].as_str().unwrap().len() <= 16);
    assert_eq!((&params[5], &params[6]), (&json!("20000000"), &json!("1d00ffff")));
    assert_eq!(params[7], format!("{:08x}", work.job().ntime));
    assert_eq!(params[4].as_array().unwrap().len(), 2);
    assert_eq!(params[4][0], "01".repeat(32), "branches are not swapped");
    let job = Notify::read(params);
    let coinbase = [job.coinbase.0, vec![0; 12], job.coinbase.1].concat();
    let coinbase: bitcoin::Transaction = bitcoin::consensus::deserialize(&coinbase).unwrap();
    assert!(coinbase.input[0].witness.is_empty(), "V1-58: no witness for miners");
    assert_ne!(miner.job().coinbase.0, work.job().coinbase.prefix, "V1-52");
}

#[test]
fn clean_only_at_first_and_on_a_new_tip() {
    // V1-53, V1-54
    let (mut pool, mut miner) = Pool::ready();
    assert!(miner.job().clean);
    for (tip, clean) in [(1, false), (2, true), (2, false)] {
        pool.board.tip = tip;
        pool.offer();
        miner.hear(&pool.lines());
        assert_eq!(miner.job().clean, clean, "{tip}");
    }
}

#[test]
fn superseded_work_is_dropped_and_its_tip_remembered() {
    // V1-3
    let (mut pool, mut miner) = Pool::ready();
    pool.board.tip = 2;
    pool.offer();
    let newest = pool.offer();
    let lines = pool.lines();
    assert_eq!(kinds(&lines), ["mining.notify"]);
    miner.hear(&lines);
    assert_eq!(miner.job().job, newest.job().id.to_string());
    assert!(miner.job().clean);
    assert!(pool.lines().is_empty());
}

#[test]
fn old_tips_count_within_the_grace_only() {
    // V1-56, V1-57, 1M item 9
    let (mut pool, mut miner) = Pool::ready();
    let old = miner.job().clone();
    let mut late = || submit(1, &miner.mine(&old, EASY, 0));
    let (first, second, third) = (late(), late(), late());
    pool.board.tip = 2;
    pool.offer();
    pool.lines();
    pool.pass(std::time::Duration::from_millis(1999));
    assert_eq!(pool.say(&first)[0]["result"], true);
    pool.pass(std::time::Duration::from_millis(1));
    assert_eq!(code(&pool.say(&second)[0]), 21);
    pool.pass(std::time::Duration::from_secs(20));
    pool.offer();
    pool.lines();
    assert_eq!(code(&pool.say(&third)[0]), 21, "forgotten by now");
    assert_eq!(pool.rejected, [Reason::Stale, Reason::UnknownJob]);
}

#[test]
fn a_block_on_the_old_tip_is_handed_over() {
    // V1-56, V1-69, 1M item 9
    let (mut pool, mut miner) = Pool::with(config(), REGTEST).handshake();
    let old = miner.job().clone();
    let line = submit(1, &miner.mine(&old, 0.000_000_001, 0));
    pool.board.tip = 2;
    pool.offer();
    pool.pass(std::time::Duration::from_secs(5));
    assert_eq!(code(&pool.say(&line)[0]), 21);
    assert_eq!(pool.blocks.len(), 1);
    assert!(pool.recorded.is_empty());
    pool.say(&line);
    assert_eq!(pool.blocks.len(), 1, "once");
}

#[test]
fn a_block_goes_before_its_share_and_is_complete() {
    // V1-58, V1-69
    let (mut pool, mut miner) = Pool::with(config(), REGTEST).handshake();
    let job = miner.job().clone();
    let params = miner.mine(&job, EASY, 0x2000);
    assert_eq!(pool.say(&submit(1, &params))[0]["result"], true);
    assert_eq!(pool.order, ["block", "record"]);
    let block = &pool.blocks[0];
    assert!(meets(block, REGTEST));
    let (header, coinbase) = coinbase_of(block);
    assert_eq!(header.block_hash(), block.hash);
    assert_eq!(header.version.to_consensus(), 0x2000_2000);
    assert_eq!(coinbase.input[0].witness.nth(0).map(<[u8]>::len), Some(32));
    let extranonce = hex::decode(format!("{}{}", miner.extranonce1, params[2])).unwrap();
    assert!(coinbase.input[0].script_sig.as_bytes().ends_with(&extranonce));
    assert_eq!(pool.recorded[0].hash, block.hash);
}

#[test]
fn a_strangers_block_is_still_a_block() {
    // V1-69, V1-72
    let (mut pool, mut miner) = Pool::with(config(), REGTEST).handshake();
    let job = miner.job().clone();
    let mut params = miner.mine(&job, EASY, 0);
    params[0] = "stranger".into();
    assert_eq!(code(&pool.say(&submit(1, &params))[0]), 24);
    assert_eq!((pool.blocks.len(), pool.recorded.len()), (1, 0));
}

#[test]
fn a_resumed_session_keeps_its_place_and_its_memory() {
    // V1-71, V1-76, 1M items 1 and 10
    let (mut pool, mut miner) = Pool::ready();
    let job = miner.job().clone();
    let line = submit(1, &miner.mine(&job, EASY, 0));
    let unsent = submit(2, &miner.mine(&job, EASY, 0));
    assert_eq!(pool.say(&line)[0]["result"], true);
    pool.reconnect(config());
    pool.recorded.clear();
    let subscribe = json!({"id": 1, "method": "mining.subscribe", "params": ["x", miner.session]});
    let back = Miner::subscribed(&pool.say(&subscribe.to_string())[0]);
    assert_eq!((&back.extranonce1, &back.session), (&miner.extranonce1, &miner.session));
    let lines = pool.say(r#"{"id":2,"method":"mining.authorize","params":["alice.rig"]}"#);
    assert_eq!(kinds(&lines), ["reply", "mining.set_difficulty", "mining.notify"]);
    assert_eq!(code(&pool.say(&line)[0]), 22);
    assert_eq!(pool.say(&unsent)[0]["result"], true);
}

#[test]
fn a_job_known_from_before_the_resume_is_not_announced_again() {
    // V1-41: ESP-Miner ignores a job id it has had.
    let (mut pool, miner) = Pool::ready();
    let current = pool.offer();
    pool.lines();
    pool.reconnect(config());
    let subscribe = json!({"id": 1, "method": "mining.subscribe", "params": ["x", miner.session]});
    pool.say(&subscribe.to_string());
    pool.session.receive(pool.now, b"{\"id\":2,\"method\":\"mining.authorize\",\"params\":[\"alice\"]}\n");
    let mut seen = Vec::new();
    while let Some(effect) = pool.session.next_effect() {
        match effect {
            Effect::Authorize { login, .. } => {
                pool.logins.push(*login);
                pool.answer_login_only();
            }
            Effect::Open { channel, .. } => {
                pool.session.answer(pool.now, Answer::Opened(channel, Some(decision(EASY))));
            }
            Effect::Supply { channel, .. } => {
                pool.session.offer(pool.now, Recipient::Channel(channel), &current);
            }
            Effect::FreshWork { sent, .. } => seen.push(sent),
            _ => {}
        }
    }
    assert_eq!(seen, [Some(current.job().id)]);
}
