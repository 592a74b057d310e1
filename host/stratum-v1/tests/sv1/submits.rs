use serde_json::{Value, json};
use sluice_core::session::Session;
use sluice_core::share::Reason;

use crate::support::*;

fn ready_share() -> (Pool, [String; 6]) {
    let (pool, mut miner) = Pool::ready();
    let job = miner.job().clone();
    let params = miner.mine(&job, EASY, 0);
    (pool, params)
}

/// Replaces one parameter of a good share and expects this outcome.
fn check(index: usize, value: &Value, expected: Option<(i64, Reason)>) {
    let (mut pool, params) = ready_share();
    let mut params: Vec<Value> = params.into_iter().map(Value::from).collect();
    params[index] = value.clone();
    let lines = pool.say(&json!({"id": 4, "method": "mining.submit", "params": params}).to_string());
    match expected {
        None => assert_eq!(lines, [json!({"id": 4, "result": true, "error": null})], "{index} {value}"),
        Some((expected, reason)) => {
            assert_eq!((code(&lines[0]), pool.rejected[0]), (expected, reason), "{index} {value}");
        }
    }
    assert_eq!(pool.closed, None);
}

#[test]
fn every_hex_field_in_every_shape() {
    // V1-67, V1-68, 1M item 12
    let malformed = Some((20, Reason::Malformed));
    for index in 2..6 {
        for value in
            [json!(null), json!(5), json!("xyzw0000"), json!("-1"), json!("0x12"), json!(["a"]), json!("é")]
        {
            let expected = if index == 5 && value.is_null() { None } else { malformed };
            check(index, &value, expected);
        }
        check(index, &json!(""), malformed);
    }
    for index in 3..6 {
        check(index, &json!("0123456789"), malformed);
    }
    let length = Some((20, Reason::BadExtranonce));
    for value in ["00", "0011223344556", "00112233445566", "001122334455667788", &"00".repeat(100)] {
        check(2, &json!(value), length);
    }
    check(3, &json!("ffffffff"), Some((20, Reason::TimeTooNew)));
    check(3, &json!("1"), Some((20, Reason::TimeTooOld)));
    check(5, &json!("00000001"), Some((20, Reason::BadVersion)));
    check(1, &json!("ffff"), Some((21, Reason::UnknownJob)));
    check(1, &json!(""), Some((21, Reason::UnknownJob)));
    check(1, &json!("not hex"), Some((21, Reason::UnknownJob)));
    check(1, &json!(27), malformed);
    check(0, &json!("mallory"), Some((24, Reason::Unauthorized)));
    check(0, &json!(null), malformed);
}

#[test]
fn too_few_parameters_are_malformed_and_more_are_ignored() {
    // V1-67
    let (mut pool, params) = ready_share();
    for count in 0..5 {
        assert_eq!(code(&pool.say(&submit(1, &params[..count]))[0]), 20);
    }
    assert_eq!(code(&pool.say(r#"{"id":1,"method":"mining.submit"}"#)[0]), 20);
    assert_eq!(code(&pool.say(r#"{"id":1,"method":"mining.submit","params":{"a":1}}"#)[0]), 20);
    let more = [params.as_slice(), &["extra".into()]].concat();
    assert_eq!(pool.say(&submit(1, &more))[0]["result"], true);
}

#[test]
fn a_submit_with_a_null_id_is_answered() {
    // V1-5
    let (mut pool, params) = ready_share();
    let lines = pool.say(&json!({"id": null, "method": "mining.submit", "params": params}).to_string());
    assert_eq!(lines, [json!({"id": null, "result": true, "error": null})]);
}

#[test]
fn case_and_padding_do_not_make_a_new_share() {
    // V1-67, V1-71, 1M item 10
    let (mut pool, mut miner) = Pool::ready();
    let job = miner.job().clone();
    miner.counter = 0xabcd_ef00;
    let params = miner.mine(&job, EASY, 0);
    assert_eq!(pool.say(&submit(1, &params))[0]["result"], true);
    let upper: Vec<String> =
        params.iter().enumerate().map(|(i, p)| if i == 0 { p.clone() } else { p.to_uppercase() }).collect();
    assert_eq!(code(&pool.say(&submit(2, &upper))[0]), 22);
    let mut short = params.clone();
    short[4] = short[4].trim_start_matches('0').into();
    assert_eq!(code(&pool.say(&submit(2, &short))[0]), 22);
    assert_eq!(code(&pool.say(&submit(2, &params[..5]))[0]), 22, "V1-34: absent is unrolled");
}

#[test]
fn duplicates_are_found_after_ten_thousand_shares() {
    // V1-71, 1M item 10
    let mut easy = config();
    easy.start = sluice_core::units::Difficulty::MIN;
    let mut pool = Pool::with(easy, HARD);
    pool.opening = Some(sluice_core::units::Difficulty::MIN.get());
    let (mut pool, mut miner) = pool.handshake();
    let job = miner.job().clone();
    let first = miner.search(&job, 0, |_| true);
    pool.say(&submit(1, &first));
    for _ in 0..10_000 {
        let params = miner.search(&job, 0, |_| true);
        pool.say(&submit(1, &params));
    }
    assert!(pool.recorded.len() > 9_900, "all but one in 65,536 are good at this difficulty");
    assert_eq!(code(&pool.say(&submit(2, &first))[0]), 22);
}

#[test]
fn rolled_versions_three_ways() {
    // V1-34, V1-75, 1M item 7: the job has no bits within the mask, so that replace, OR and XOR agree.
    let (mut pool, mut miner) = Pool::ready();
    let job = miner.job().clone();
    assert_eq!(job.version & 0x1fff_e000, 0);
    let mask = 0x1fff_e000u32;
    for bits in [0x2000, 0x1fff_e000, 0x00c0_0000] {
        assert_eq!(job.version | bits, job.version ^ bits);
        assert_eq!(job.version | bits, (job.version & !mask) | (bits & mask));
        let params = miner.mine(&job, EASY, bits);
        assert_eq!(pool.say(&submit(1, &params))[0]["result"], true, "{bits:x}: also without configure");
    }
    let params = miner.mine(&job, EASY, 0x2000_0000);
    assert_eq!(code(&pool.say(&submit(1, &params))[0]), 20);
    pool.say(r#"{"id":0,"method":"mining.configure","params":[["version-rolling"],{"version-rolling.mask":"00c00000"}]}"#);
    let params = miner.mine(&job, EASY, 0x2000);
    assert_eq!(code(&pool.say(&submit(1, &params))[0]), 20, "V1-27: a narrower mask holds at once");
    let params = miner.mine(&job, EASY, 0x0040_0000);
    assert_eq!(pool.say(&submit(1, &params))[0]["result"], true);
    assert_eq!(pool.rejected, [Reason::BadVersion; 2]);
}

#[test]
fn answers_wait_for_the_log_and_work_does_not() {
    // DESIGN.md, section 4: an acknowledged share survives.
    let (mut pool, mut miner) = Pool::ready();
    pool.commits = false;
    let job = miner.job().clone();
    let mut line = |id| submit(id, &miner.mine(&job, EASY, 0)) + "\n";
    let (one, two) = (line(1), line(2));
    assert!(pool.send(one.as_bytes()).is_empty());
    assert!(pool.send(b"{\"id\":7,\"method\":\"mining.ping\"}\n").is_empty(), "in order");
    assert!(pool.send(two.as_bytes()).is_empty());
    pool.offer();
    assert_eq!(kinds(&pool.lines()), ["mining.notify"]);
    pool.session.committed(1);
    let ids: Vec<_> = pool.lines().iter().map(|line| line["id"].clone()).collect();
    assert_eq!(ids, [json!(1), json!(7)]);
    pool.session.committed(2);
    assert_eq!(pool.lines()[0]["id"], 2);
    assert_eq!(pool.recorded.len(), 2);
}

#[test]
fn only_so_many_answers_wait() {
    let mut bounded = config();
    bounded.held_replies = 2;
    let (mut pool, mut miner) = Pool::with(bounded, HARD).handshake();
    pool.commits = false;
    let job = miner.job().clone();
    let lines: Vec<String> = (0..3).map(|id| submit(id, &miner.mine(&job, EASY, 0)) + "\n").collect();
    let used = pool.session.receive(pool.now, lines.concat().as_bytes());
    assert_eq!(used, lines[0].len() + lines[1].len());
    assert!(!pool.session.wants_input());
    pool.run();
    pool.session.committed(1);
    assert!(pool.session.wants_input());
    assert_eq!(pool.session.receive(pool.now, lines[2].as_bytes()), lines[2].len());
}
