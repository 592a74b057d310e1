use std::time::Duration;

use serde_json::json;
use sluice_core::session::Session;
use sluice_core::share::Reason;

use crate::support::*;

/// A share of the miner's newest job.
fn share(miner: &mut Miner, difficulty: f64) -> String {
    let job = miner.job().clone();
    submit(4, &miner.mine(&job, difficulty, 0))
}

/// Meets `low` and not `high`.
fn between(miner: &mut Miner, job: &Notify, low: f64, high: f64) -> String {
    let target = |difficulty| sluice_core::units::Difficulty::saturating(difficulty).to_target();
    let (low, high) = (target(low), target(high));
    submit(4, &miner.search(job, 0, |hash| low.is_met_by(hash) && !high.is_met_by(hash)))
}

#[test]
fn numbers_have_no_exponent_and_no_empty_fraction() {
    // V1-38
    for (difficulty, text) in
        [(1024.0, "1024"), (0.000_01, "0.00001"), (0.00015, "0.00015"), (1e15, "1000000000000000")]
    {
        let mut pool = Pool::new();
        pool.opening = Some(difficulty);
        pool.say(r#"{"id":1,"method":"mining.subscribe"}"#);
        let text_sent = pool.send_raw(b"{\"id\":2,\"method\":\"mining.authorize\",\"params\":[\"alice\"]}\n");
        let expected = format!(r#"{{"id":null,"method":"mining.set_difficulty","params":[{text}]}}"#);
        assert!(text_sent.contains(&expected), "{text_sent}");
    }
}

#[test]
fn without_a_policy_the_configured_start_holds() {
    let mut started = config();
    started.start = sluice_core::units::Difficulty::saturating(77.0);
    let mut pool = Pool::with(started, HARD);
    pool.opening = None;
    let (_, miner) = pool.handshake();
    assert_eq!(miner.difficulty, Some(77.0));
}

#[test]
fn a_change_is_followed_by_one_notify_that_keeps_old_work() {
    // V1-39, V1-41
    let (mut pool, mut miner) = Pool::ready();
    pool.decide(EASY * 2.0);
    pool.decide(EASY * 4.0);
    let lines = pool.lines();
    assert_eq!(kinds(&lines), ["mining.set_difficulty", "mining.notify"], "superseded changes are not sent");
    miner.hear(&lines);
    assert_eq!(miner.difficulty, Some(EASY * 4.0));
    assert!(!miner.job().clean);
    assert_ne!(miner.jobs[0].job, miner.jobs[1].job);
    pool.decide(EASY * 4.0);
    assert!(pool.lines().is_empty(), "no change, no line");
    pool.offer();
    assert_eq!(kinds(&pool.lines()), ["mining.notify"]);
}

#[test]
fn old_jobs_keep_their_difficulty_after_a_raise() {
    // V1-40, 1M item 8
    let (mut pool, mut miner) = Pool::ready();
    let old = miner.job().clone();
    pool.decide(EASY * 100.0);
    miner.hear(&pool.lines());
    let late = between(&mut miner, &old, EASY, EASY * 100.0);
    assert_eq!(pool.say(&late)[0]["result"], true);
    assert_eq!(pool.recorded[0].difficulty.get(), EASY, "credited as it was assigned");
    let new = miner.job().clone();
    let low = between(&mut miner, &new, EASY, EASY * 100.0);
    assert_eq!(code(&pool.say(&low)[0]), 23);
    let good = share(&mut miner, EASY * 100.0);
    assert_eq!(pool.say(&good)[0]["result"], true);
    assert_eq!(pool.recorded[1].difficulty.get(), EASY * 100.0);
}

#[test]
fn a_lowering_counts_at_once_and_credits_the_lower() {
    // V1-40: many miners apply it at once, also to work they have.
    let mut pool = Pool::new();
    pool.opening = Some(EASY * 100.0);
    let (mut pool, mut miner) = pool.handshake();
    let old = miner.job().clone();
    pool.decide(EASY);
    miner.hear(&pool.lines());
    let low = between(&mut miner, &old, EASY, EASY * 100.0);
    assert_eq!(pool.say(&low)[0]["result"], true);
    assert_eq!(pool.recorded[0].difficulty.get(), EASY);
    pool.pass(Duration::from_secs(61));
    let low = between(&mut miner, &old, EASY, EASY * 100.0);
    assert_eq!(code(&pool.say(&low)[0]), 23, "the grace is over");
}

#[test]
fn suggestions_reach_the_policy_within_bounds() {
    // V1-7, V1-42, V1-43, V1-44
    let mut bounded = config();
    bounded.floor = sluice_core::units::Difficulty::saturating(0.001);
    bounded.ceiling = sluice_core::units::Difficulty::saturating(1000.0);
    let target = "00000000".to_owned() + &"ff".repeat(28);
    for (method, params, expected) in [
        ("mining.suggest_difficulty", json!([42]), Some(42.0)),
        ("mining.suggest_difficulty", json!(["42.5"]), Some(42.5)),
        ("mining.suggest_difficulty(42)", json!([]), Some(42.0)),
        ("mining.suggest_difficulty", json!([0.00015]), Some(0.001)),
        ("mining.suggest_difficulty", json!([1e300]), Some(1000.0)),
        ("mining.suggest_difficulty", json!([0]), None),
        ("mining.suggest_difficulty", json!([-5]), None),
        ("mining.suggest_difficulty", json!([null]), None),
        ("mining.suggest_difficulty", json!([]), None),
        ("mining.set_difficulty", json!([9]), Some(9.0)),
        ("mining.suggest_target", json!([target]), Some(0.999_984_741_210_937_5)),
    ] {
        let mut pool = Pool::with(bounded.clone(), HARD);
        let lines = pool.say(&json!({"id": 8, "method": method, "params": params}).to_string());
        assert_eq!(lines, [json!({"id": 8, "result": true, "error": null})]);
        let (pool, _) = pool.handshake();
        let suggested = pool.openings[0].suggested.map(sluice_core::units::Difficulty::get);
        assert_eq!(suggested, expected, "{method} {params}");
    }
}

#[test]
fn a_repeated_suggestion_asks_nobody() {
    // V1-42, V1-84: a NerdMiner repeats it every 30 s to stay connected.
    let (mut pool, _) = Pool::ready();
    for _ in 0..20 {
        let lines = pool.say(r#"{"id":8,"method":"mining.suggest_difficulty","params":[0.00015]}"#);
        assert_eq!(lines[0]["result"], true);
        pool.pass(Duration::from_secs(30));
        let suggested = pool.reviews.len();
        assert!(suggested >= 1);
    }
    let first = &pool.reviews[0];
    assert_eq!(first.suggested.map(sluice_core::units::Difficulty::get), Some(0.00015));
    assert_eq!(pool.reviews.len(), 1, "an answer is awaited");
}

#[test]
fn a_minimum_is_a_floor() {
    // V1-29
    let mut pool = Pool::new();
    pool.opening = Some(0.5);
    pool.say(r#"{"id":0,"method":"mining.configure","params":[["minimum-difficulty"],{"minimum-difficulty.value":3}]}"#);
    let (mut pool, mut miner) = pool.handshake();
    assert_eq!(miner.difficulty, Some(3.0));
    let lines = pool.say(r#"{"id":0,"method":"mining.configure","params":[["minimum-difficulty"],{"minimum-difficulty.value":8}]}"#);
    assert_eq!(kinds(&lines), ["reply", "mining.set_difficulty", "mining.notify"]);
    miner.hear(&lines);
    pool.decide(1.0);
    miner.hear(&pool.lines());
    assert_eq!(miner.difficulty, Some(8.0));
}

#[test]
fn the_policy_is_asked_by_the_clock_and_by_shares() {
    // V1-47
    let (mut pool, _) = Pool::ready();
    pool.pass(Duration::from_secs(61));
    assert_eq!(pool.reviews.len(), 1);
    assert_eq!((pool.reviews[0].accepted, pool.reviews[0].elapsed), (0, Duration::from_secs(60)));

    let (mut pool, mut miner) = Pool::ready();
    for _ in 0..999 {
        let line = share(&mut miner, EASY);
        pool.say(&line);
    }
    assert_eq!(pool.reviews.len(), 0, "never twice within a second, however fast the shares come");
    pool.pass(Duration::from_secs(1));
    let line = share(&mut miner, EASY);
    pool.say(&line);
    assert_eq!(pool.recorded.len(), 1000);
    assert_eq!(pool.reviews.len(), 1);
    assert_eq!(pool.reviews[0].accepted, 1000);
    assert!(pool.rejected.is_empty());
    assert!(pool.session.wants_input());
    assert!(!pool.rejected.contains(&Reason::LowDifficulty));
}
