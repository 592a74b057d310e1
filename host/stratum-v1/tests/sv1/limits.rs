use std::time::Duration;

use serde_json::json;
use sluice_core::session::{Close, Session};
use sluice_core::units::Difficulty;

use crate::support::*;

#[test]
fn a_connection_is_small() {
    let size = size_of::<sluice_stratum_v1::Connection>();
    println!("Connection: {size} bytes");
    assert!(size <= 768, "{size}");
}

#[test]
fn too_many_messages_close() {
    // V1-83, 1M item 11
    let mut limited = config();
    limited.messages_per_minute = 60;
    let (mut pool, _) = Pool::with(limited, HARD).handshake();
    let ping = r#"{"id":1,"method":"mining.ping"}"#;
    for _ in 0..58 {
        assert_eq!(pool.say(ping).len(), 1);
    }
    pool.pass(Duration::from_secs(2));
    pool.say(ping);
    pool.say(ping);
    assert_eq!(pool.closed, None, "two seconds earn two messages");
    assert!(pool.say(ping).is_empty());
    assert_eq!(pool.closed, Some(Close::Flood));
    assert!(pool.say(ping).is_empty(), "nothing is heard after");
}

#[test]
fn accepted_shares_are_not_counted_as_messages() {
    // V1-83: work was done for each.
    let mut limited = config();
    limited.messages_per_minute = 60;
    let (mut pool, mut miner) = Pool::with(limited, HARD).handshake();
    let job = miner.job().clone();
    for _ in 0..500 {
        let line = submit(1, &miner.mine(&job, EASY, 0));
        assert_eq!(pool.say(&line)[0]["result"], true);
    }
}

#[test]
fn a_long_run_of_invalid_shares_closes() {
    // V1-73
    let mut limited = config();
    limited.rejected_in_a_row = 10;
    let (mut pool, mut miner) = Pool::with(limited, HARD).handshake();
    let job = miner.job().clone();
    let good = submit(1, &miner.mine(&job, EASY, 0));
    let bad = submit(1, &["alice.rig", "1", "0000000000000001", "00000001", "00000001"].map(String::from));
    for _ in 0..10 {
        pool.say(&bad);
    }
    assert_eq!(pool.say(&good)[0]["result"], true, "one good share forgives them");
    for _ in 0..10 {
        pool.say(&bad);
    }
    assert_eq!(pool.closed, None);
    pool.say(&bad);
    assert_eq!(pool.closed, Some(Close::InvalidShares));
}

#[test]
fn shares_under_a_raised_difficulty_are_forgiven_for_a_while() {
    // V1-73
    let mut limited = config();
    limited.rejected_in_a_row = 5;
    let (mut pool, mut miner) = Pool::with(limited, HARD).handshake();
    pool.decide(1.0);
    miner.hear(&pool.lines());
    let job = miner.job().clone();
    let mut low = || submit(1, &miner.mine(&job, EASY, 0));
    for _ in 0..20 {
        assert_eq!(code(&pool.say(&low())[0]), 23);
    }
    assert_eq!(pool.closed, None);
    pool.pass(Duration::from_secs(61));
    for _ in 0..6 {
        pool.say(&low());
    }
    assert_eq!(pool.closed, Some(Close::InvalidShares));
}

#[test]
fn wrong_lengths_are_no_offence() {
    // V1-68
    let mut limited = config();
    limited.rejected_in_a_row = 5;
    let (mut pool, miner) = Pool::with(limited, HARD).handshake();
    let params = ["alice.rig", &miner.job().job, "00", "00000001", "00000001"].map(String::from);
    for _ in 0..20 {
        assert_eq!(code(&pool.say(&submit(1, &params))[0]), 20);
    }
    assert_eq!(pool.closed, None);
}

#[test]
fn silence_ends_a_busy_miner_soon_and_a_slow_one_late() {
    // V1-77
    let (mut pool, mut miner) = Pool::ready();
    let job = miner.job().clone();
    for _ in 0..5 {
        let line = submit(1, &miner.mine(&job, EASY, 0));
        assert_eq!(pool.say(&line)[0]["result"], true);
        pool.now = at(pool.now.moment.0 + 1000);
    }
    pool.pass(Duration::from_secs(590));
    assert_eq!(pool.closed, None);
    pool.pass(Duration::from_secs(20));
    assert_eq!(pool.closed, Some(Close::Idle));

    let (mut pool, _) = Pool::ready();
    pool.pass(Duration::from_secs(3590));
    assert_eq!(pool.closed, None, "no share yet: it may be a slow one");
    pool.pass(Duration::from_secs(10));
    assert_eq!(pool.closed, Some(Close::Idle));
}

#[test]
fn a_miner_with_a_share_every_twenty_minutes_is_kept() {
    // V1-77: twice the mean time between its shares, from the first one on.
    let (mut pool, mut miner) = Pool::ready();
    let job = miner.job().clone();
    for count in 1..=4 {
        pool.pass(Duration::from_secs(1200));
        assert_eq!(pool.closed, None, "before share {count}");
        let line = submit(1, &miner.mine(&job, EASY, 0));
        assert_eq!(pool.say(&line)[0]["result"], true);
    }
    pool.pass(Duration::from_secs(2390));
    assert_eq!(pool.closed, None);
    pool.pass(Duration::from_secs(10));
    assert_eq!(pool.closed, Some(Close::Idle));
}

#[test]
fn a_byte_a_second_does_not_keep_a_connection() {
    // 1M item 11
    let mut pool = Pool::new();
    for _ in 0..40 {
        pool.send(b" ");
        pool.pass(Duration::from_secs(1));
    }
    assert_eq!(pool.closed, Some(Close::HandshakeTimeout));
}

#[test]
fn an_ending_pool_says_nothing_and_closes() {
    // V1-64, V1-80
    let (mut pool, _) = Pool::ready();
    pool.session.shut_down(pool.now, Close::NoWork);
    pool.run();
    assert_eq!(pool.closed, Some(Close::NoWork));
    assert_eq!(pool.session.deadline(), None);
    let [parked] = <[_; 1]>::try_from(pool.session.park()).unwrap();
    assert_eq!(parked.resume.unwrap().1.len(), 1);
    assert!(pool.session.park().is_empty());
}

#[test]
fn limits_of_a_login_bound_the_difficulty() {
    let mut bounded = config();
    bounded.floor = Difficulty::saturating(10.0);
    bounded.ceiling = Difficulty::saturating(20.0);
    for (wanted, expected) in [(1.0, 10.0), (15.0, 15.0), (1e9, 20.0)] {
        let mut pool = Pool::with(bounded.clone(), HARD);
        pool.opening = Some(wanted);
        let (_, miner) = pool.handshake();
        assert_eq!(miner.difficulty, Some(expected));
    }
    let mut pool = Pool::with(bounded, HARD);
    pool.say(&json!({"id": 1, "method": "mining.suggest_difficulty", "params": [5]}).to_string());
    assert_eq!(pool.handshake().0.openings[0].suggested, Some(Difficulty::saturating(10.0)));
}
