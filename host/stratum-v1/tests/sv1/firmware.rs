//! Conversations of real miners (section 1M of the compatibility rules).

use std::time::Duration;

use serde_json::json;
use sluice_core::session::Session;

use crate::support::*;

#[test]
fn cgminer() {
    // V1-27, V1-28, V1-39, V1-86, 1M item 1: the answer to configure is the very next line.
    let mut pool = Pool::new();
    let lines = pool.say(
        r#"{"id": 0, "method": "mining.configure", "params": [["version-rolling"], {"version-rolling.mask": "ffffffff"}]}"#,
    );
    assert_eq!(lines.len(), 1);
    assert_eq!(lines[0]["result"], json!({"version-rolling": true, "version-rolling.mask": "1fffe000"}));
    let lines = pool.say(r#"{"id": 1, "method": "mining.subscribe", "params": ["cgminer/4.11.1"]}"#);
    let mut miner = Miner::subscribed(&lines[0]);
    assert!((2..=16).contains(&miner.extranonce2_size));
    let lines = pool.say(r#"{"id": 2, "method": "mining.authorize", "params": ["alice.rig", "x"]}"#);
    assert_eq!(kinds(&lines), ["reply", "mining.set_difficulty", "mining.notify"]);
    miner.hear(&lines);
    let job = miner.job().clone();
    let p = miner.mine(&job, EASY, 0x4000);
    let line = format!(
        r#"{{"params": ["{}", "{}", "{}", "{}", "{}", "{}"], "id": 3, "method": "mining.submit"}}"#,
        p[0], p[1], p[2], p[3], p[4], p[5]
    );
    assert_eq!(pool.say(&line), [json!({"id": 3, "result": true, "error": null})]);
    // Its answers to the pool's ping or version request are no requests.
    assert!(pool.say(r#"{"id": 42, "result": "pong", "error": null}"#).is_empty());
    pool.reconnect(config());
    let line = format!(
        r#"{{"id": 1, "method": "mining.subscribe", "params": ["cgminer/4.11.1", "{}"]}}"#,
        miner.session
    );
    assert_eq!(Miner::subscribed(&pool.say(&line)[0]).extranonce1, miner.extranonce1);
}

#[test]
fn esp_miner() {
    // V1-21, V1-41, V1-60, V1-85, 1M item 2
    let mut pool = Pool::new();
    let lines = pool.send(
        concat!(
            r#"{"id": 1, "method": "mining.configure", "params": [["version-rolling"], {"version-rolling.mask": "ffffffff"}]}"#,
            "\n",
            r#"{"id": 2, "method": "mining.subscribe", "params": ["bitaxe/BM1368/v2.4.0"]}"#,
            "\n",
            r#"{"id": 3, "method": "mining.authorize", "params": ["alice.bitaxe", "x"]}"#,
            "\n"
        )
        .as_bytes(),
    );
    assert_eq!(kinds(&lines), ["reply", "reply", "reply", "mining.set_difficulty", "mining.notify"]);
    assert_eq!([&lines[0]["id"], &lines[1]["id"], &lines[2]["id"]], [&json!(1), &json!(2), &json!(3)]);
    let mut miner = Miner::subscribed(&lines[1]);
    miner.hear(&lines);
    assert_eq!(
        pool.say(r#"{"id": 4, "method": "mining.extranonce.subscribe", "params": []}"#)[0]["result"],
        true
    );
    assert_eq!(
        pool.say(r#"{"id": 5, "method": "mining.suggest_difficulty", "params": [1000]}"#)[0]["result"],
        true
    );
    assert!(pool.say(r#"{"id":6,"method":"pong","params":[]}"#).is_empty());
    for _ in 0..20 {
        pool.offer();
        miner.hear(&pool.lines());
    }
    let mut ids: Vec<_> = miner.jobs.iter().map(|job| job.job.clone()).collect();
    ids.dedup();
    assert_eq!(ids.len(), 21, "no id comes twice");
    let job = miner.job().clone();
    let params = miner.mine(&job, EASY, 0x0800_0000);
    assert_eq!(pool.say(&submit(7, &params))[0]["result"], true);
    assert_eq!(code(&pool.say(&submit(8, &params))[0]), 22);
}

#[test]
fn nerd_miner() {
    // V1-13, V1-38, V1-68, V1-84, 1M item 3
    let mut pool = Pool::new();
    pool.opening = Some(0.00015);
    let lines = pool.say(r#"{"id": 1, "method": "mining.subscribe", "params": ["NerdMinerV2/V1.7.0"]}"#);
    assert_eq!(kinds(&lines), ["reply"], "it reads exactly one line");
    let mut miner = Miner::subscribed(&lines[0]);
    let text = pool
        .send_raw(b"{\"params\": [\"alice.nerd\", \"x\"], \"id\": 2, \"method\": \"mining.authorize\"}\n");
    assert!(text.contains(r#""params":[0.00015]"#));
    miner.hear(&parse(&text));
    assert!(text.lines().all(|line| line.len() < 4096));
    for id in 3..6 {
        let line = format!(r#"{{"id": {id}, "method": "mining.suggest_difficulty", "params": [0.00015]}}"#);
        assert_eq!(pool.say(&line)[0]["result"], true);
        pool.pass(Duration::from_secs(30));
    }
    // A nonce without its leading zeros.
    pool.decide(sluice_core::units::Difficulty::MIN.get());
    miner.hear(&pool.lines());
    let job = miner.job().clone();
    let mut params = miner.search(&job, 0, |_| true);
    params[4] = "0".into();
    let line = submit(9, &params[..5]);
    assert_eq!(pool.say(&line)[0]["result"], true);
}

#[test]
fn nice_hash() {
    // V1-12, V1-35, V1-90, 1M item 4
    let mut pool = Pool::new();
    let lines = pool
        .say(r#"{"id":1,"method":"mining.subscribe","params":["NiceHash/1.0.0",null,"pool.example",null]}"#);
    let miner = Miner::subscribed(&lines[0]);
    assert!(miner.extranonce2_size >= 4);
    let lines = pool.say(r#"{"id":2,"method":"mining.authorize","params":["alice.order","x"]}"#);
    assert_eq!(lines[0]["result"], true);
    let lines = pool.say(r#"{"id":3,"method":"mining.extranonce.subscribe","params":[]}"#);
    assert_eq!(lines, [json!({"id": 3, "result": true, "error": null})]);
    for _ in 0..5 {
        pool.offer();
        assert_eq!(kinds(&pool.lines()), ["mining.notify"], "the extranonce never changes (V1-36)");
    }
}

#[test]
fn antminer_s9() {
    // V1-65, V1-88, 1M item 5
    let mut pool = Pool::new();
    let configure = r#"{"params":[["version-rolling"],{"version-rolling.min-bit-count":2,"version-rolling.mask":"00c00000"}],"method":"mining.configure","id":9}"#;
    assert_eq!(pool.say(configure)[0]["result"]["version-rolling.mask"], "00c00000");
    let (mut pool, mut miner) = pool.handshake();
    assert_eq!(pool.say(r#"{"id":3,"method":"mining.multi_version","params":[4]}"#)[0]["result"], true);
    let job = miner.job().clone();
    let params = miner.mine(&job, EASY, 0x00c0_0000);
    assert_eq!(pool.say(&submit(4, &params))[0]["result"], true);
}

#[test]
fn bosminer() {
    // V1-87
    let mut pool = Pool::new();
    let lines = pool.send(
        b"{\"id\":0,\"method\":\"mining.configure\",\"params\":[[\"version-rolling\"],{\"version-rolling.mask\":\"1fffe000\",\"version-rolling.min-bit-count\":16}]}\n{\"id\":1,\"method\":\"mining.subscribe\",\"params\":[\"bosminer/0.2.0\",null,\"pool:3333\",null]}\n",
    );
    assert_eq!(lines[0]["result"]["version-rolling"], true);
    assert_eq!(Miner::subscribed(&lines[1]).extranonce2_size, 8);
    assert!(pool.session.wants_input());
}
