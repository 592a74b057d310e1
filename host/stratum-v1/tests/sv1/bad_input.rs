use serde_json::json;
use sluice_core::session::Close;

use crate::support::*;

const PING: &str = r#"{"id":1,"method":"mining.ping"}"#;

#[test]
fn lines_come_in_any_pieces() {
    // V1-1
    let mut pool = Pool::new();
    for byte in PING.bytes() {
        assert!(pool.send(&[byte]).is_empty());
    }
    assert_eq!(pool.send(b"\r\n").len(), 1);
    assert_eq!(pool.send(format!("\n\r\n{PING}\r\n\n{PING}\n{PING}").as_bytes()).len(), 2);
    assert_eq!(pool.send(b"\n").len(), 1);
}

#[test]
fn long_lines_close() {
    // V1-2, 1M item 11
    let mut pool = Pool::new();
    let padded = format!("{PING:<8192}\n");
    assert_eq!(pool.send(padded.as_bytes()).len(), 1);
    assert!(pool.send(&[b' '; 8000]).is_empty());
    assert_eq!(pool.closed, None);
    assert!(pool.send(&[b' '; 193]).is_empty());
    assert_eq!(pool.closed, Some(Close::LineTooLong));
}

#[test]
fn what_is_not_json_gets_one_line_and_the_door() {
    // V1-4, 1M item 11
    let deep =
        format!(r#"{{"id":1,"method":"mining.ping","params":{}{}}}"#, "[".repeat(2000), "]".repeat(2000));
    let cases: Vec<Vec<u8>> = vec![
        b"GET / HTTP/1.1".to_vec(),
        b"{".to_vec(),
        b"[]".to_vec(),
        b"5".to_vec(),
        b"{\"id\":1,\"method\":\"mining.ping\"} x".to_vec(),
        b"{\"id\":1,\"id\":2,\"method\":\"mining.ping\"}".to_vec(),
        b"{\"id\":1,\"method\":\"mining.ping\",\"method\":\"mining.ping\"}".to_vec(),
        b"{\"id\":1,\"method\":\"mining.ping\",\"x\":1,\"x\":1}".to_vec(),
        b"{\"id\":1,\"method\":\"mining.configure\",\"params\":[[],{\"a\":1,\"a\":2}]}".to_vec(),
        b"{\"id\":1,\"method\":\"mining.authorize\",\"params\":[\"\xff\xfe\"]}".to_vec(),
        deep.into_bytes(),
        vec![0; 50],
    ];
    for line in cases {
        let mut pool = Pool::new();
        let lines = pool.send(&[&line, b"\n".as_slice(), PING.as_bytes(), b"\n"].concat());
        let shown = String::from_utf8_lossy(&line);
        assert_eq!(
            lines,
            [json!({"id": null, "result": null, "error": [-32700, "Parse error", null]})],
            "{shown}"
        );
        assert_eq!(pool.closed, Some(Close::NotJson), "{shown}");
    }
}

#[test]
fn odd_requests_are_refused_and_the_connection_lives() {
    // V1-6, V1-8
    let mut pool = Pool::new();
    for line in [
        r#"{"id":1,"method":5}"#,
        r#"{"id":1,"method":null}"#,
        r#"{"id":1,"method":"mining.subscribe","params":{"a":1}}"#,
        r#"{"id":1,"method":"mining.subscribe","params":"x"}"#,
        r#"{"id":1,"method":"mining.suggest_target","params":["xyz"]}"#,
        r#"{"id":1,"method":"no.such.method","params":[]}"#,
    ] {
        assert_eq!(code(&pool.say(line)[0]), 20, "{line}");
    }
    assert!(pool.say("{}").is_empty());
    assert_eq!(pool.closed, None);
    assert_eq!(pool.say(PING)[0]["result"], "pong");
}
