use std::time::Duration;

use serde_json::{Value, json};
use sluice_core::session::{Close, Session};

use crate::support::*;

#[test]
fn subscribe_takes_anything_and_comes_first() {
    // V1-12, V1-13, V1-14
    for params in [
        "",
        r#","params":null"#,
        r#","params":[]"#,
        r#","params":["a"]"#,
        r#","params":[null,null]"#,
        r#","params":["bosminer",null,"pool.example:3333",null]"#,
        r#","params":["NiceHash/1.0.0","0011223344",1700000000,null]"#,
    ] {
        let mut pool = Pool::new();
        let lines = pool.say(&format!(r#"{{"id":1,"method":"mining.subscribe"{params}}}"#));
        assert_eq!(kinds(&lines), ["reply"], "{params}");
        let miner = Miner::subscribed(&lines[0]);
        assert_eq!((miner.extranonce1.len(), miner.extranonce2_size), (8, 8));
        assert_eq!(miner.session.len(), 32, "V1-76: nobody guesses it");
    }
}

#[test]
fn extranonces_differ_and_a_second_subscribe_repeats_the_first() {
    // V1-15, V1-16
    let mut pool = Pool::new();
    let subscribe = r#"{"id":1,"method":"mining.subscribe","params":["a"]}"#;
    let first = pool.say(subscribe);
    assert_eq!(pool.say(subscribe), first);
    pool.session = sluice_stratum_v1::Connection::new(config().into(), "192.0.2.8".into(), pool.now);
    assert_ne!(pool.say(subscribe)[0]["result"][1], first[0]["result"][1]);
}

#[test]
fn a_full_pool_says_so_and_closes() {
    let mut pool = Pool::new();
    assert_eq!(pool.session.receive(pool.now, b"{\"id\":1,\"method\":\"mining.subscribe\"}\n"), 37);
    pool.session.answer(pool.now, sluice_core::session::Answer::Reserved(CHANNEL, None));
    assert_eq!(code(&pool.lines()[0]), 20);
    pool.run();
}

#[test]
fn ids_come_back_byte_for_byte() {
    // V1-5
    for id in ["7", "\"a\\u0041\"", "null", "1.50", "-3", "18446744073709551616", "\"\""] {
        let mut pool = Pool::new();
        let text = pool.send_raw(format!("{{\"id\":{id},\"method\":\"mining.ping\"}}\n").as_bytes());
        assert_eq!(text, format!("{{\"id\":{id},\"result\":\"pong\",\"error\":null}}\n"));
    }
    for odd in ["{}", "[1]", "true"] {
        let mut pool = Pool::new();
        let lines = pool.say(&format!("{{\"id\":{odd},\"method\":\"mining.ping\"}}"));
        assert_eq!(lines, [json!({"id": null, "result": "pong", "error": null})]);
    }
}

#[test]
fn authorize_goes_by_three_names_and_one_to_three_elements() {
    // V1-7, V1-17
    for (method, params) in [
        ("mining.authorize", json!(["alice"])),
        ("mining.auth", json!(["alice.a", ""])),
        ("mining.authorise", json!(["alice.a", null, "extra"])),
    ] {
        let mut pool = Pool::new();
        let lines = pool.say(&json!({"id": 9, "method": method, "params": params}).to_string());
        assert_eq!(lines, [json!({"id": 9, "result": true, "error": null})]);
        assert_eq!(pool.logins[0].username, params[0].as_str().unwrap(), "V1-18: as it was sent");
    }
    let mut pool = Pool::new();
    assert_eq!(code(&pool.say(r#"{"id":1,"method":"mining.authorize","params":[5]}"#)[0]), 20);
    let long = json!({"id": 1, "method": "mining.authorize", "params": ["a".repeat(300)]}).to_string();
    assert_eq!(code(&pool.say(&long)[0]), 20);
    assert!(pool.logins.is_empty());
}

#[test]
fn work_starts_when_both_are_done_in_any_order() {
    // V1-19, V1-24
    let subscribe = r#"{"id":1,"method":"mining.subscribe","params":["x"]}"#;
    let authorize = r#"{"id":2,"method":"mining.authorize","params":["alice.a","d=5"]}"#;
    for (first, second) in [(subscribe, authorize), (authorize, subscribe)] {
        let mut pool = Pool::new();
        assert_eq!(kinds(&pool.say(first)), ["reply"]);
        assert!(pool.supplied.is_empty());
        assert_eq!(pool.established, 0);
        assert_eq!(kinds(&pool.say(second)), ["reply", "mining.set_difficulty", "mining.notify"]);
        let supplied: Vec<&str> = pool.supplied.iter().map(|account| account.as_str()).collect();
        assert_eq!((supplied, pool.established), (vec!["alice"], 1));
        let facts = &pool.openings[0].channel;
        assert_eq!(facts.password.as_deref(), Some("d=5"), "V1-45");
        assert_eq!((&*facts.client.agent, &*facts.client.address), ("x", "192.0.2.7"));
    }
}

#[test]
fn pipelined_requests_are_answered_in_order_and_wait_for_the_login() {
    // V1-20, V1-21
    let mut pool = Pool::new();
    pool.answers_logins = false;
    let lines = pool.send(
        b"{\"id\":1,\"method\":\"mining.subscribe\"}\n{\"id\":2,\"method\":\"mining.authorize\",\"params\":[\"alice\"]}\n",
    );
    assert_eq!(lines.len(), 1);
    let submit = b"{\"id\":3,\"method\":\"mining.submit\",\"params\":[\"alice\",\"1\",\"00\",\"1\",\"1\"]}\n";
    assert_eq!(pool.session.receive(pool.now, submit), 0, "nothing overtakes the login");
    assert!(!pool.session.wants_input());
    pool.answer_login();
    let lines = pool.send(submit);
    assert_eq!(lines[0]["id"], 2);
    assert_eq!(lines[1]["id"], 3);
    assert_eq!(code(&lines[1]), 20, "judged as alice's, who has a wrong extranonce2");
}

#[test]
fn many_workers_one_connection() {
    // V1-22
    let mut limited = config();
    limited.workers_per_connection = 3;
    let (mut pool, mut miner) = Pool::with(limited, HARD).handshake();
    let authorize =
        |name: &str| json!({"id": 5, "method": "mining.authorize", "params": [name, "x"]}).to_string();
    for name in ["bob.1", "alice.rig", "carol.1"] {
        assert_eq!(pool.say(&authorize(name)), [json!({"id": 5, "result": true, "error": null})], "{name}");
    }
    let refused = &pool.say(&authorize("dave.1"))[0];
    assert_eq!((code(refused), &refused["result"]), (20, &Value::Bool(false)));
    for (name, ok) in [("bob.1", true), ("bob.other", true), ("alice", true), ("dave.1", false), ("", false)]
    {
        let job = miner.job().clone();
        let mut params = miner.mine(&job, EASY, 0);
        params[0] = name.into();
        // V1-72
        assert_eq!(pool.say(&submit(6, &params))[0]["result"] == true, ok, "{name}");
    }
    assert_eq!(pool.rejected, [sluice_core::share::Reason::Unauthorized; 2]);
}

#[test]
fn a_refused_login_hears_why_and_the_third_closes() {
    // V1-17, V1-23
    let mut pool = Pool::new();
    let login = r#"{"id":4,"method":"mining.authorize","params":["mallory.1","x"]}"#;
    let expected = json!({"id": 4, "result": false, "error": [24, "nobody of that name", null]});
    assert_eq!(pool.say(login)[0], expected);
    pool.say(login);
    assert_eq!(pool.closed, None);
    assert_eq!(pool.say(login)[0], expected);
    assert_eq!(pool.closed, Some(Close::AuthFailures));
}

#[test]
fn a_failing_policy_is_not_the_miners_fault() {
    let mut pool = Pool::new();
    for _ in 0..5 {
        let lines = pool.say(r#"{"id":4,"method":"mining.authorize","params":["later.1","x"]}"#);
        assert_eq!(code(&lines[0]), 24);
    }
    assert_eq!(pool.closed, None);
}

#[test]
fn submitting_before_login_is_refused_and_the_third_in_a_row_closes() {
    // V1-11, V1-20
    let mut pool = Pool::new();
    let line = submit(1, &["alice", "1", "00", "00", "00"].map(String::from));
    assert_eq!(code(&pool.say(&line)[0]), 25);
    pool.say(r#"{"id":1,"method":"mining.subscribe"}"#);
    assert_eq!(code(&pool.say(&line)[0]), 24);
    assert_eq!(pool.closed, None);
    assert_eq!(code(&pool.say(&line)[0]), 24);
    assert_eq!(pool.closed, Some(Close::Unauthorized));
}

#[test]
fn handshakes_have_their_time() {
    // V1-77
    let mut pool = Pool::new();
    pool.pass(Duration::from_secs(29));
    assert_eq!(pool.closed, None);
    pool.pass(Duration::from_secs(1));
    assert_eq!(pool.closed, Some(Close::HandshakeTimeout));

    let mut pool = Pool::new();
    pool.say(r#"{"id":1,"method":"mining.subscribe"}"#);
    pool.pass(Duration::from_secs(59));
    assert_eq!(pool.closed, None);
    pool.pass(Duration::from_secs(1));
    assert_eq!(pool.closed, Some(Close::HandshakeTimeout));

    let mut pool = Pool::new();
    pool.answers_logins = false;
    pool.say(r#"{"id":1,"method":"mining.authorize","params":["alice"]}"#);
    pool.pass(Duration::from_secs(300));
    assert_eq!(pool.closed, None, "the policy is slow, not the miner");
}

#[test]
fn configure_answers_what_was_asked() {
    // V1-25, V1-26, V1-28 to V1-33
    let cases = [
        (json!([]), json!({})),
        (json!([["version-rolling"]]), json!({"version-rolling": true, "version-rolling.mask": "1fffe000"})),
        (
            json!([["version-rolling"], {"version-rolling.mask": "00C00000", "version-rolling.min-bit-count": 2}]),
            json!({"version-rolling": true, "version-rolling.mask": "00c00000"}),
        ),
        (
            json!([["version-rolling"], {"version-rolling.mask": "0000e000", "version-rolling.min-bit-count": 16}]),
            json!({"version-rolling": true, "version-rolling.mask": "0000e000"}),
        ),
        (
            json!([["version-rolling"], {"version-rolling.mask": "00000001"}]),
            json!({"version-rolling": false}),
        ),
        (
            json!(["version_rolling", {"version_rolling.mask": "ffffffff"}]),
            json!({"version_rolling": true, "version_rolling.mask": "1fffe000"}),
        ),
        (
            json!([["minimum-difficulty", "version-rolling"], {"minimum-difficulty.value": 0.5}]),
            json!({"minimum-difficulty": true, "version-rolling": true, "version-rolling.mask": "1fffe000"}),
        ),
        (
            json!([["subscribe-extranonce", "info", "warp\"drive"], {"info.hw-version": "S9"}]),
            json!({"subscribe-extranonce": true, "info": true, "warp\"drive": false}),
        ),
        (
            json!([["suggest-difficulty"], {"suggest-difficulty.value": 7}]),
            json!({"suggest-difficulty": true}),
        ),
    ];
    for (params, expected) in cases {
        let mut pool = Pool::new();
        let lines = pool.say(&json!({"id": 0, "method": "mining.configure", "params": params}).to_string());
        assert_eq!(lines, [json!({"id": 0, "result": expected, "error": null})], "{params}");
    }
    let mut pool = Pool::new();
    let bad = json!({"id": 0, "method": "mining.configure", "params": [["version-rolling"], {"version-rolling.mask": "xyz"}]});
    assert!(pool.say(&bad.to_string())[0]["result"]["version-rolling"].is_string());
    let bad = json!({"id": 0, "method": "mining.configure", "params": [[1]]});
    assert_eq!(code(&pool.say(&bad.to_string())[0]), 20);
}

#[test]
fn what_the_machine_says_of_itself_reaches_the_policies() {
    // V1-31
    let mut pool = Pool::new();
    pool.say(
        r#"{"id":0,"method":"mining.configure","params":[["info"],{"info.hw-version":"Antminer S19"}]}"#,
    );
    pool.say(r#"{"id":1,"method":"mining.subscribe","params":["cgminer/4.12\u0007"]}"#);
    pool.say(r#"{"id":2,"method":"mining.authorize","params":["alice.a"]}"#);
    let client = &pool.logins[0].client;
    assert_eq!(
        (&*client.agent, &*client.hardware, &*client.listener),
        ("cgminer/4.12", "Antminer S19", "test")
    );
}

#[test]
fn the_small_methods() {
    // V1-8, V1-35, V1-59 to V1-66
    let cases = [
        ("mining.extranonce.subscribe", json!([]), Ok(json!(true))),
        ("mining.ping", json!([]), Ok(json!("pong"))),
        ("client.ping", json!(null), Ok(json!("pong"))),
        ("client.show_message", json!(["hello"]), Ok(json!(true))),
        ("mining.multi_version", json!([1]), Ok(json!(true))),
        ("mining.capabilities", json!({"a": 1}), Ok(json!(true))),
        ("mining.hashrate", json!([1]), Ok(json!(true))),
        ("mining.set_difficulty", json!([5]), Ok(json!(true))),
        ("mining.set_target", json!(["00".repeat(4) + &"ff".repeat(28)]), Ok(json!(true))),
        ("mining.get_transactions", json!(["1"]), Err(20)),
        ("mining.get_txnhashes", json!(["1"]), Err(20)),
        ("mining.getwork", json!([]), Err(20)),
        ("Mining.Submit", json!([]), Err(20)),
        ("mining.remote", json!([]), Err(20)),
    ];
    for (method, params, expected) in cases {
        let mut pool = Pool::new();
        let lines = pool.say(&json!({"id": 3, "method": method, "params": params}).to_string());
        match expected {
            Ok(result) => assert_eq!(lines, [json!({"id": 3, "result": result, "error": null})], "{method}"),
            Err(expected) => assert_eq!(code(&lines[0]), expected, "{method}"),
        }
        assert_eq!(pool.closed, None, "{method}");
    }
    let mut pool = Pool::new();
    let version = pool.say(r#"{"id":3,"method":"client.get_version"}"#);
    assert!(version[0]["result"].as_str().unwrap().starts_with("Sluice/"));
    for silent in [
        r#"{"id":3,"method":"pong","params":[]}"#,
        r#"{"id":3,"result":"pong","error":null}"#,
        r#"{"method":"mining.whatever"}"#,
        "",
        "   ",
    ] {
        assert!(pool.say(silent).is_empty(), "{silent}");
    }
}
