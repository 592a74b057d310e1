//! One line: the short cut for submits must read what the JSON parser reads, and nothing may panic.

use serde_json::Value;
use sluice_stratum_v1::fast;

use super::sv1_connection::Pool;

pub fn run(data: &[u8]) {
    let line: Vec<u8> = data.iter().copied().filter(|byte| *byte != b'\n').collect();
    agrees(line.trim_ascii());
    // To a connection at each stage of its life.
    for stage in 0..3 {
        let mut pool = Pool::new();
        pool.handshake(stage);
        pool.receive(&line);
        pool.receive(b"\n");
    }
}

/// What the short cut takes is JSON, and the same texts are in it.
fn agrees(line: &[u8]) {
    let Some((id, fields)) = fast::parse(line) else { return };
    let value: Value = serde_json::from_slice(line).expect("what the short cut takes is JSON");
    assert_eq!(value["id"].to_string(), id);
    assert_eq!(value["method"], "mining.submit");
    let params = value["params"].as_array().expect("a list");
    let texts = [fields.worker, fields.job, fields.extranonce2, fields.ntime, fields.nonce];
    let texts: Vec<&[u8]> = texts.into_iter().chain(fields.version).collect();
    assert_eq!(params.len(), texts.len());
    for (param, text) in params.iter().zip(texts) {
        assert_eq!(param.as_str().map(str::as_bytes), Some(text));
    }
}
