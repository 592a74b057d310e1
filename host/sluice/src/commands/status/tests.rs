use std::io::{Read, Write};
use std::net::TcpListener;
use std::thread;

use super::{StatusError, get, run};
use crate::cli::Status;

/// A server that answers every connection with `answer(path)`, byte for byte.
fn server(answer: fn(&str) -> String) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let mut request = Vec::new();
            let mut chunk = [0; 1024];
            while !request.ends_with(b"\r\n\r\n") {
                let read = stream.read(&mut chunk).unwrap();
                request.extend_from_slice(&chunk[..read]);
            }
            let request = String::from_utf8(request).unwrap();
            let path = request.split(' ').nth(1).unwrap();
            let _ = stream.write_all(answer(path).as_bytes());
        }
    });
    url
}

#[test]
fn body_of_announced_length_is_read_to_that_length() {
    let url = server(|_| "HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nbodyand more".to_owned());
    let response = get(&url, "/").unwrap();
    assert_eq!((response.status, response.body.as_slice()), (200, b"body".as_slice()));
}

#[test]
fn chunks_are_joined() {
    let url = server(|_| {
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n2;x=y\r\nde\r\n0\r\n\r\n".to_owned()
    });
    assert_eq!(get(&url, "/").unwrap().body, b"abcde");
}

#[test]
fn answer_without_a_length_ends_with_the_connection() {
    let url = server(|_| "HTTP/1.0 404 Not Found\r\n\r\nnothing".to_owned());
    let response = get(&url, "/").unwrap();
    assert_eq!((response.status, response.body.as_slice()), (404, b"nothing".as_slice()));
}

#[test]
fn broken_answers_are_errors() {
    let answers: [fn(&str) -> String; 7] = [
        |_| String::new(),
        |_| "SSH-2.0-OpenSSH\r\n".to_owned(),
        |_| "HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nshort".to_owned(),
        |_| "HTTP/1.1 200 OK\r\ncontent-length: 99999999999\r\n\r\n".to_owned(),
        |_| "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n".to_owned(),
        |_| "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nffffffffffffffff\r\n".to_owned(),
        |_| format!("HTTP/1.1 200 OK\r\n{}", "a: b\r\n".repeat(1000)),
    ];
    for (index, answer) in answers.into_iter().enumerate() {
        let error = get(&server(answer), "/").unwrap_err();
        assert!(matches!(error, StatusError::Protocol(_) | StatusError::Io(_)), "{index}: {error}");
    }
}

#[test]
fn wrong_url_and_silent_port_say_what_to_do() {
    for url in ["127.0.0.1:8080", "https://127.0.0.1", "http://", "http://a/b", "http://user:x@host"] {
        assert!(matches!(get(url, "/").unwrap_err(), StatusError::Url(_)), "{url}");
    }
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let error = get(&format!("http://127.0.0.1:{port}"), "/").unwrap_err().to_string();
    assert!(error.contains("is it running, and is [http] listen this address?"), "{error}");
}

const POOL: &str = r#"{"network":"regtest","tip":{"height":7,"hash":"00ff"},
    "job":{"id":"1a","height":8,"age_ms":2500},"hashrate":1500.0,"blocks":2,
    "connections":{"stratum_v1":3,"stratum_v2":2},"channels":{"standard":4,"extended":5},
    "shares":{"accepted":10,"rejected":{"stale":1,"duplicate":0},"by_protocol":{
        "stratum_v1":{"accepted":7,"rejected":{"stale":1,"duplicate":0}},
        "stratum_v2":{"accepted":3,"rejected":{"stale":0,"duplicate":0}}}},
    "stratum_v2":{"address":"192.0.2.1:3336","authority_public_key":"9bXiEd8b"}}"#;

const MONEY: &str = r#"{"house":{"balance_sat":-507200000,"mature_sat":-7200000,"immature_sat":-500000000,"due_sat":0},
    "accounts":{"balance_sat":507200000,"mature_sat":7200000,"immature_sat":500000000,"due_sat":7200001},
    "creditors":12,"open_payouts":[{"batch":3,"state":"prepared","at":1,"lines":2,"amount_sat":150000,
    "txid":null,"height":null,"fee_sat":null}],"held_rounds":1,"unaccrued_shares":240}"#;

fn pool(path: &str) -> String {
    answer(path, POOL)
}

fn answer(path: &str, pool: &str) -> String {
    let body = match path {
        "/api/v1/pool" => pool,
        "/api/v1/policies" => {
            r#"[{"kind":"payout","name":"pplns","version":"1.0","hash":"0123456789abcdef","generation":3,"calls":5,
            "traps":0,"last_reload":{"outcome":"rejected","at":1,"error":"imports \u001b files"}}]"#
        }
        "/api/v1/money" => MONEY,
        _ => "ready\n",
    };
    format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{body}", body.len())
}

#[test]
fn table_shows_what_the_pool_says() {
    let mut out = Vec::new();
    run(&Status { url: server(pool), json: false }, &mut out).unwrap();
    let text = String::from_utf8(out).unwrap();
    for part in [
        "state        ready",
        "tip          7 00ff",
        "job          1a for height 8, 2 s old",
        "connections  stratum_v1 3, stratum_v2 2",
        "hashrate     1.50 kH/s",
        "rejected     stale 1\n",
        "stratum_v1   accepted 7, rejected stale 1\n",
        "stratum_v2   accepted 3, rejected none; channels: standard 4, extended 5\n",
        // N-40
        "sv2 url      stratum2+tcp://192.0.2.1:3336/9bXiEd8b\n",
        "owed         5.07200000 BTC to 12 accounts; 0.07200001 BTC due now, 5.00000000 BTC immature\n",
        "house        -5.07200000 BTC; -5.00000000 BTC immature\n",
        "payout batch 3 prepared, 0.00150000 BTC to 2 accounts\n",
        "held         1 rounds, 240 shares to be credited\n",
        "payout       pplns 1.0 (0123456789ab), generation 3, 5 calls, 0 traps; last reload rejected: imports",
    ] {
        assert!(text.contains(part), "{part:?} in {text}");
    }
    assert!(!text.contains('\u{1b}'));
}

#[test]
fn pool_without_sv2_is_said_to_have_none() {
    const INFO: &str = r#"{"address":"192.0.2.1:3336","authority_public_key":"9bXiEd8b"}"#;
    let url = server(|path| answer(path, &POOL.replace(INFO, "null")));
    let mut out = Vec::new();
    run(&Status { url, json: false }, &mut out).unwrap();
    let text = String::from_utf8(out).unwrap();
    assert!(text.contains("stratum_v2   off\n") && !text.contains("stratum2+tcp"), "{text}");
}

#[test]
fn json_is_what_the_pool_said() {
    let mut out = Vec::new();
    run(&Status { url: server(pool), json: true }, &mut out).unwrap();
    let value: serde_json::Value = serde_json::from_slice(&out).unwrap();
    assert_eq!(value["pool"]["tip"]["height"], 7);
    assert_eq!(value["policies"][0]["generation"], 3);
    assert_eq!(value["ready"], "ready");
    assert_eq!(value["money"]["held_rounds"], 1);
}

#[test]
fn books_that_do_not_answer_hide_nothing_else() {
    let url = server(|path| {
        if path != "/api/v1/money" {
            return pool(path);
        }
        let body = r#"{"error":{"code":"unavailable","message":"the ledger is busy"}}"#;
        format!("HTTP/1.1 503 Unavailable\r\ncontent-length: {}\r\n\r\n{body}", body.len())
    });
    let mut out = Vec::new();
    run(&Status { url, json: false }, &mut out).unwrap();
    let text = String::from_utf8(out).unwrap();
    assert!(
        text.contains("blocks       2\n")
            && text.contains("owed         not to be had now: the ledger is busy\n")
    );
}

#[test]
fn refusal_of_the_pool_is_passed_on() {
    let url = server(|_| {
        let body = r#"{"error":{"code":"unavailable","message":"the ledger is busy"}}"#;
        format!("HTTP/1.1 503 Unavailable\r\ncontent-length: {}\r\n\r\n{body}", body.len())
    });
    let error = run(&Status { url, json: false }, &mut Vec::new()).unwrap_err().to_string();
    assert_eq!(error, "the pool answered 503: the ledger is busy");
}
