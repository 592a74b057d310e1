//! Logins on a connection that works already: they wait for the policy, its shares do not (V1-21, V1-22).

use std::time::Duration;

use serde_json::{Value, json};
use sluice_core::session::{Close, Session};
use sluice_core::share::Reason;

use crate::support::*;

const LOGIN: &str = r#"{"id":5,"method":"mining.authorize","params":["bob.1","x"]}"#;
/// Under a name that has logged in, and of a job that nobody knows.
const REJECTED: &str = r#"{"id":9,"method":"mining.submit","params":["alice.rig","ffff","0000000000000000","00000001","00000001"]}"#;

/// A working connection whose next logins are not answered at once.
fn working() -> (Pool, Miner) {
    working_with(config(), HARD)
}

fn working_with(config: sluice_stratum_v1::SessionConfig, bits: u32) -> (Pool, Miner) {
    let (mut pool, miner) = Pool::with(config, bits).handshake();
    pool.answers_logins = false;
    (pool, miner)
}

/// A share of `worker` that counts.
fn share(miner: &mut Miner, id: u64, worker: &str) -> String {
    let job = miner.job().clone();
    let mut params = miner.mine(&job, EASY, 0);
    params[0] = worker.into();
    submit(id, &params)
}

fn ids(lines: &[Value]) -> Vec<u64> {
    lines.iter().filter_map(|line| line["id"].as_u64()).collect()
}

/// Hands in what is wanted and keeps the rest, as a driver does.
fn feed(pool: &mut Pool, input: &mut Vec<u8>) {
    while !input.is_empty() && pool.session.wants_input() {
        let used = pool.session.receive(pool.now, input);
        pool.run();
        input.drain(..used);
        assert!(used > 0 || !pool.session.wants_input(), "it would be called for ever");
    }
}

#[test]
fn shares_are_judged_while_a_login_is_asked() {
    // V1-21, V1-22
    let (mut pool, mut miner) = working();
    assert!(pool.say(LOGIN).is_empty());
    for (id, worker) in [(6, "alice.rig"), (7, "alice.other")] {
        let line = share(&mut miner, id, worker);
        assert!(pool.say(&line).is_empty(), "no answer overtakes the login's");
    }
    assert!(pool.say(REJECTED).is_empty());
    assert_eq!((pool.recorded.len(), &*pool.rejected), (2, [Reason::UnknownJob].as_slice()));
    assert!(pool.session.wants_input());
    pool.answer_login();
    let lines = pool.lines();
    assert_eq!(ids(&lines), [5, 6, 7, 9]);
    assert_eq!(lines[0], json!({"id": 5, "result": true, "error": null}));
    assert_eq!((&lines[1]["result"], &lines[2]["result"], code(&lines[3])), (&json!(true), &json!(true), 21));
    let bobs = share(&mut miner, 10, "bob.1");
    assert_eq!(pool.say(&bobs)[0]["result"], true, "bob is in");
}

#[test]
fn unusual_submits_do_not_wait_either() {
    let (mut pool, mut miner) = working();
    pool.say(LOGIN);
    let line = share(&mut miner, 6, "alice.rig").replace("\"id\":6", "\"id\":\"six\"");
    assert!(sluice_stratum_v1::fast::parse(line.as_bytes()).is_none());
    pool.say("\r");
    pool.say(&line);
    assert_eq!(pool.recorded.len(), 1);
    pool.answer_login();
    let lines = pool.lines();
    assert_eq!((&lines[0]["id"], &lines[1]["id"]), (&json!(5), &json!("six")));
}

#[test]
fn a_block_does_not_wait_for_a_login() {
    // V1-69
    let (mut pool, mut miner) = working_with(config(), REGTEST);
    pool.say(LOGIN);
    let job = miner.job().clone();
    let params = miner.search(&job, 0, |hash| {
        bitcoin::Target::from_compact(bitcoin::CompactTarget::from_consensus(REGTEST)).is_met_by(hash)
    });
    pool.say(&submit(6, &params));
    assert_eq!(pool.blocks.len(), 1);
    assert!(meets(&pool.blocks[0], REGTEST));
    pool.answer_login();
    assert_eq!(ids(&pool.lines()), [5, 6]);
}

#[test]
fn a_worker_that_logs_in_again_mines_under_the_login_that_stands() {
    let (mut pool, mut miner) = working();
    pool.say(&LOGIN.replace("bob.1", "alice.rig"));
    let line = share(&mut miner, 6, "alice.rig");
    assert!(pool.say(&line).is_empty());
    assert_eq!(pool.recorded.len(), 1);
    pool.answer_login();
    assert_eq!(ids(&pool.lines()), [5, 6]);
}

#[test]
fn what_needs_the_answer_waits_for_it_with_all_behind_it() {
    // V1-21
    let others = [
        share(&mut working().1, 6, "bob.1"),
        share(&mut working().1, 6, "carol.1"),
        r#"{"id":6,"method":"mining.submit","params":["alice.rig"]}"#.to_owned(),
        r#"{"id":6,"method":"mining.ping"}"#.to_owned(),
        r#"{"id":6,"method":"mining.suggest_difficulty","params":[7]}"#.to_owned(),
    ];
    for other in others {
        let (mut pool, mut miner) = working();
        let mut input =
            format!("{LOGIN}\n{}\n{other}\n{REJECTED}\n", share(&mut miner, 55, "alice.rig")).into_bytes();
        feed(&mut pool, &mut input);
        assert_eq!(input, format!("{other}\n{REJECTED}\n").into_bytes(), "{other}");
        assert_eq!((pool.recorded.len(), pool.rejected.len()), (1, 0), "{other}");
        assert!(!pool.session.wants_input() && pool.lines().is_empty(), "{other}");
        pool.answer_login();
        feed(&mut pool, &mut input);
        assert_eq!(ids(&pool.lines()), [5, 55, 6, 9], "{other}");
        assert!(input.is_empty() && pool.session.wants_input(), "{other}");
    }
}

#[test]
fn shares_of_who_logs_in_wait_though_others_of_the_account_are_in() {
    // V1-72: they would go to another worker.
    let (mut pool, mut miner) = working();
    let own = share(&mut miner, 7, "alice.two");
    let mut input =
        format!("{}\n{}\n{own}\n", LOGIN.replace("bob.1", "alice.two"), share(&mut miner, 6, "alice.three"))
            .into_bytes();
    feed(&mut pool, &mut input);
    assert_eq!((pool.recorded.len(), input.len()), (1, own.len() + 1));
    pool.answer_login();
    feed(&mut pool, &mut input);
    assert_eq!((pool.recorded.len(), ids(&pool.lines())), (2, vec![5, 6, 7]));
}

#[test]
fn logins_are_asked_one_after_the_other() {
    let (mut pool, mut miner) = working();
    let second = LOGIN.replace('5', "6").replace("bob", "carol");
    let mut input = format!("{LOGIN}\n{second}\n{}\n", share(&mut miner, 7, "alice.rig")).into_bytes();
    feed(&mut pool, &mut input);
    assert_eq!((pool.logins.len(), pool.recorded.len()), (2, 0), "the first of the handshake, and bob's");
    pool.answer_login();
    feed(&mut pool, &mut input);
    assert_eq!((pool.logins.len(), pool.recorded.len()), (3, 1));
    assert_eq!(ids(&pool.lines()), [5]);
    pool.answer_login();
    assert_eq!(ids(&pool.lines()), [6, 7]);
}

#[test]
fn the_pieces_in_which_lines_come_do_not_matter() {
    // V1-1, V1-83: no line is lost, and none is counted twice.
    let mut exact = config();
    // The two of the handshake, and each of the six lines once; the shares of alice give back what they cost.
    exact.messages_per_minute = 2 + 6;
    let (_, mut miner) = working();
    let (first, second) = (share(&mut miner, 6, "alice.rig"), share(&mut miner, 8, "alice.rig"));
    let all = format!(
        "{LOGIN}\r\n{first}\n{REJECTED}\n{}\n{second}\n{REJECTED}\n",
        REJECTED.replace("alice", "bob")
    );
    for cut in 0..=all.len() {
        let (mut pool, _) = working_with(exact.clone(), HARD);
        let mut input = all.as_bytes()[..cut].to_vec();
        feed(&mut pool, &mut input);
        input.extend_from_slice(&all.as_bytes()[cut..]);
        feed(&mut pool, &mut input);
        assert_eq!((pool.recorded.len(), pool.rejected.len()), (1, 1), "cut at {cut}");
        pool.answer_login();
        feed(&mut pool, &mut input);
        assert_eq!(ids(&pool.lines()), [5, 6, 9, 9, 8, 9], "cut at {cut}");
        // Two shares gave back what they cost.
        for _ in 0..2 {
            assert_eq!(pool.say(REJECTED).len(), 1, "cut at {cut}");
        }
        pool.say(REJECTED);
        assert_eq!(pool.closed, Some(Close::Flood), "cut at {cut}");
    }
}

#[test]
fn answers_wait_for_the_log_and_for_the_login() {
    for login_first in [true, false] {
        let (mut pool, mut miner) = working();
        pool.commits = false;
        let lines = [6, 7].map(|id| share(&mut miner, id, "alice.rig"));
        pool.send(format!("{}\n{LOGIN}\n{}\n", lines[0], lines[1]).as_bytes());
        assert!(pool.lines().is_empty());
        let mut told = Vec::new();
        for is_login in [login_first, !login_first] {
            if is_login {
                pool.answer_login();
            } else {
                pool.session.committed(1);
            }
            told.push(ids(&pool.lines()));
        }
        let expected = if login_first { [vec![], vec![6, 5]] } else { [vec![6], vec![5]] };
        assert_eq!(told, expected);
        pool.session.committed(2);
        assert_eq!(ids(&pool.lines()), [7]);
    }
}

#[test]
fn a_login_is_answered_once() {
    let (mut pool, _) = working();
    pool.say(LOGIN);
    pool.answer_login();
    pool.answer_login();
    assert_eq!(ids(&pool.lines()), [5]);
    pool.answer_login();
    assert!(pool.lines().is_empty());
}

#[test]
fn refused_logins_keep_their_place_among_the_shares() {
    // V1-17, V1-23
    let (mut pool, mut miner) = working();
    let mallory = LOGIN.replace("bob", "mallory");
    for round in 0..3 {
        assert_eq!(pool.closed, None);
        pool.say(&mallory);
        let line = share(&mut miner, 6, "alice.rig");
        pool.say(&line);
        assert_eq!(pool.recorded.len(), round + 1);
        pool.answer_login();
        let lines = pool.lines();
        assert_eq!(lines[0], json!({"id": 5, "result": false, "error": [24, "nobody of that name", null]}));
        assert_eq!(lines[1], json!({"id": 6, "result": true, "error": null}));
    }
    assert_eq!(pool.closed, Some(Close::AuthFailures));
}

#[test]
fn a_login_that_is_asked_when_the_connection_ends_has_no_answer() {
    // V1-79: what is in the log is acknowledged all the same.
    let (mut pool, mut miner) = working();
    pool.say(LOGIN);
    let line = share(&mut miner, 6, "alice.rig");
    pool.say(&line);
    pool.session.shut_down(pool.now, Close::Shutdown);
    pool.run();
    assert_eq!((pool.closed, ids(&pool.lines())), (Some(Close::Shutdown), vec![6]));
    pool.answer_login();
    assert!(pool.lines().is_empty());
    assert_eq!(pool.session.park().len(), 1);
}

#[test]
fn shares_keep_a_connection_while_a_login_is_asked_and_silence_ends_it() {
    // V1-77
    let (mut pool, mut miner) = working();
    pool.say(LOGIN);
    for _ in 0..5 {
        pool.pass(Duration::from_secs(590));
        let line = share(&mut miner, 6, "alice.rig");
        pool.say(&line);
    }
    assert_eq!((pool.closed, pool.recorded.len()), (None, 5));
    pool.pass(Duration::from_secs(3600));
    assert_eq!(pool.closed, Some(Close::Idle));
}

#[test]
fn what_waits_behind_a_login_is_bounded() {
    // V1-3: 64 KiB of answers, and what one more adds.
    let mut unlimited = config();
    (unlimited.messages_per_minute, unlimited.rejected_in_a_row) = (0, 0);
    let (mut pool, _) = working_with(unlimited, HARD);
    pool.say(LOGIN);
    let count = 5000;
    let mut input = format!("{REJECTED}\n").repeat(count).into_bytes();
    feed(&mut pool, &mut input);
    let judged = pool.rejected.len();
    assert!(judged > 1000 && judged < count, "{judged}");
    assert!(!pool.session.wants_input());
    pool.answer_login();
    let mut told = pool.lines();
    while !input.is_empty() {
        feed(&mut pool, &mut input);
        told.extend(pool.lines());
    }
    assert_eq!((told.len(), &told[0]["id"]), (count + 1, &json!(5)));
}
