//! Targets and UpdateChannel (M-50 to M-56).

use std::time::Duration;

use sluice_core::ids::ChannelId;
use sluice_core::session::{Answer, Note, Session};
use sluice_core::units::Difficulty;

use crate::miner::{Rolled, Said, addressed, code, kinds};
use crate::support::*;

/// How often a channel's difficulty has a job made for it, and its hash rate has the policy asked.
const PAUSE: Duration = Duration::from_secs(5);

#[test]
fn a_target_comes_with_work_of_its_own() {
    // M-50, M-52
    for wire in Wire::BOTH {
        for (mut pool, job) in [(Pool::standard(wire), "job"), (Pool::extended(wire), "extended job")] {
            let said = pool.decide(FIRST, EASY * 8.0);
            assert_eq!(kinds(&said), ["target", job]);
            let Said::Target(target) = &said[0] else { panic!() };
            assert_eq!(target.maximum_target, target_of(EASY * 8.0));
            assert_eq!(pool.fresh_after.len(), 1);
            assert_eq!(kinds(&pool.mine(FIRST)), ["accepted"]);
            assert_eq!(pool.recorded[0].0.difficulty, Difficulty::saturating(EASY * 8.0));
            assert!(pool.decide(FIRST, EASY * 8.0).is_empty(), "the same again is no news");
            pool.end();
        }
    }
}

#[test]
fn the_target_of_a_job_is_frozen() {
    // M-51, A-4, C-12: earlier jobs keep the target they were sent with, and are credited with it.
    for wire in Wire::BOTH {
        let mut pool = Pool::extended(wire);
        let earlier = pool.miner.channel(FIRST).job().clone();
        pool.decide(FIRST, EASY * 64.0);
        let later = pool.miner.channel(FIRST).job().clone();
        let (easy, hard) = (target_of(EASY), target_of(EASY * 64.0));
        let [easy, hard] = [easy, hard].map(bitcoin::Target::from_le_bytes);
        let between = |hash| easy.is_met_by(hash) && !hard.is_met_by(hash);
        let proof = pool.miner.search(FIRST, &earlier, Rolled::default(), between);
        assert_eq!(kinds(&pool.submit(&proof)), ["accepted"]);
        assert_eq!(pool.recorded[0].0.difficulty, Difficulty::saturating(EASY));
        let proof = pool.miner.search(FIRST, &later, Rolled::default(), between);
        assert_eq!(code(&pool.submit(&proof)), "difficulty-too-low");
        let proof = pool.miner.mine_job(FIRST, &later);
        pool.submit(&proof);
        assert_eq!(pool.recorded[1].0.difficulty, Difficulty::saturating(EASY * 64.0));
        pool.end();
    }
}

#[test]
fn a_target_waits_for_work_that_is_on_its_way() {
    // M-50: before the job it is for, and once.
    let mut pool = Pool::standard(Wire::Noise);
    pool.offer();
    assert_eq!(kinds(&pool.decide(FIRST, EASY * 2.0)), ["target", "job"]);
    assert!(pool.fresh_after.is_empty(), "it goes with what waits");
    // Several changes before the next job come to one.
    pool.board.tip += 1;
    pool.offer();
    for difficulty in [4.0, 3.0, 7.0] {
        let id = ChannelId(FIRST);
        let answer = Answer::Reviewed(id, Some(decision(EASY * difficulty)));
        pool.session.answer(pool.now, answer);
        pool.run();
    }
    let said = pool.flush();
    assert_eq!(kinds(&said), ["target", "future job", "prev hash"]);
    assert_eq!(pool.miner.channel(FIRST).target, target_of(EASY * 7.0));
}

#[test]
fn a_group_job_comes_after_the_targets_of_its_members() {
    // M-50, M-52: vardiff acts on a channel, not on the group.
    let mut pool = Pool::ready(Wire::Noise);
    for user in ["alice", "bob", "carol"] {
        pool.open_extended(user);
    }
    pool.offer();
    let id = ChannelId(3);
    let answer = Answer::Reviewed(id, Some(decision(EASY * 16.0)));
    pool.session.answer(pool.now, answer);
    pool.run();
    let said = pool.flush();
    assert_eq!((kinds(&said), addressed(&said)), (vec!["target", "extended job"], vec![3, GROUP]));
    for (id, difficulty) in [(2, EASY), (3, EASY * 16.0), (4, EASY)] {
        assert_eq!(kinds(&pool.mine(id)), ["accepted"]);
        assert_eq!(pool.recorded.last().unwrap().0.difficulty, Difficulty::saturating(difficulty));
    }
    assert_eq!(kinds(&pool.publish()), ["extended job"], "told once");
}

#[test]
fn an_update_that_is_accepted_has_no_answer() {
    // M-53
    for wire in Wire::BOTH {
        let mut pool = Pool::standard(wire);
        for rate in [1000.0, 1001.0, 0.0, f32::MAX] {
            assert!(pool.say(&update(FIRST, rate, ANY)).is_empty(), "{rate}");
        }
        pool.end();
    }
}

#[test]
fn a_harder_maximum_is_followed_at_once() {
    // M-54, M-14
    for wire in Wire::BOTH {
        let mut pool = Pool::standard(wire);
        let said = pool.say(&update(FIRST, 1000.0, target_of(EASY * 5.0)));
        assert_eq!(kinds(&said), ["target", "job"]);
        let told = bitcoin::Target::from_le_bytes(pool.miner.channel(FIRST).target);
        assert!(told <= bitcoin::Target::from_le_bytes(target_of(EASY * 5.0)));
        assert_eq!(kinds(&pool.mine(FIRST)), ["accepted"]);
        pool.pass(PAUSE);
        // Until the client changes it, no policy goes below.
        assert!(pool.decide(FIRST, EASY).is_empty());
        // A larger one is a request: the policy may.
        assert!(pool.say(&update(FIRST, 1000.0, ANY)).is_empty());
        assert_eq!(kinds(&pool.decide(FIRST, EASY)), ["target", "job"]);
        assert_eq!(pool.miner.channel(FIRST).target, target_of(EASY));
        pool.end();
    }
}

#[test]
fn a_client_that_changes_its_mind_has_a_job_made_every_five_seconds() {
    // M-54: what changes sooner goes with the next job.
    for wire in Wire::BOTH {
        let mut pool = Pool::standard(wire);
        let other = pool.open_standard("bob");
        assert_eq!(kinds(&pool.say(&update(FIRST, 1000.0, target_of(EASY * 2.0)))), ["target", "job"]);
        for factor in 3..30 {
            assert!(pool.say(&update(FIRST, 1000.0, target_of(EASY * f64::from(factor)))).is_empty());
        }
        assert!(pool.decide(FIRST, EASY * 40.0).is_empty(), "nor does a policy hurry it");
        assert_eq!(pool.fresh_after.len(), 1);
        let said = pool.say(&update(other, 1000.0, target_of(EASY * 2.0)));
        assert_eq!(addressed(&said), [other, other], "another channel has its own turn");
        let said = pool.publish();
        assert_eq!(addressed(&said), [FIRST, GROUP]);
        assert_eq!(pool.miner.channel(FIRST).target, target_of(EASY * 40.0));
        assert_eq!(kinds(&pool.mine(FIRST)), ["accepted"]);
        assert_eq!(pool.recorded[0].0.difficulty, Difficulty::saturating(EASY * 40.0));
        pool.pass(PAUSE.saturating_sub(Duration::from_millis(1)));
        assert!(pool.decide(FIRST, EASY * 50.0).is_empty());
        pool.pass(Duration::from_millis(1));
        assert_eq!(kinds(&pool.decide(FIRST, EASY * 60.0)), ["target", "job"]);
        pool.end();
    }
}

#[test]
fn the_policy_is_asked_every_five_seconds_at_most() {
    // M-53: for each channel.
    let mut pool = Pool::standard(Wire::Noise);
    let other = pool.open_extended("bob");
    pool.openings.clear();
    for rate in [1e4, 1e5, 1e6, 1.0] {
        pool.say(&update(FIRST, rate, ANY));
    }
    pool.say(&update(other, 1e4, ANY));
    let asked = |pool: &Pool| -> Vec<_> {
        pool.openings.iter().map(|(id, opening)| (id.0, opening.nominal_hashrate)).collect()
    };
    assert_eq!(asked(&pool), [(FIRST, Some(1e4)), (other, Some(1e4))]);
    pool.pass(PAUSE);
    assert_eq!(pool.openings.len(), 2);
    pool.say(&update(FIRST, 1.0, ANY));
    assert_eq!(asked(&pool)[2..], [(FIRST, Some(1.0))]);
    pool.end();
}

#[test]
fn a_review_carries_the_hash_rate_that_was_told_last() {
    // M-53: also what was no news, and what came too soon.
    let mut pool = Pool::standard(Wire::Noise);
    let other = pool.open_standard("bob");
    pool.openings.clear();
    pool.say(&update(FIRST, 1100.0, ANY));
    pool.say(&update(other, 10_000.0, ANY));
    pool.say(&update(other, 5.0, ANY));
    assert_eq!(pool.openings.len(), 1);
    pool.pass(Duration::from_secs(60));
    let told: Vec<_> = pool.reviews.iter().map(|(id, review)| (id.0, review.nominal_hashrate)).collect();
    assert_eq!(told, [(FIRST, Some(1100.0)), (other, Some(5.0))]);
    pool.end();
}

#[test]
fn a_maximum_beyond_the_logins_difficulty_changes_nothing() {
    // M-14, M-55
    let mut pool = Pool::standard(Wire::Noise);
    let capped = pool.open_standard("capped");
    let harder = target_of(EASY * 101.0);
    assert_eq!(code(&pool.say(&update(capped, 1000.0, harder))), "max-target-out-of-range");
    assert_eq!(pool.miner.channel(capped).target, target_of(EASY));
    assert_eq!(kinds(&pool.say(&update(capped, 1000.0, target_of(EASY * 100.0)))), ["target", "job"]);
    assert_eq!(kinds(&pool.say(&update(FIRST, 1000.0, harder))), ["target", "job"], "another login may");
    pool.end();
}

#[test]
fn an_easier_maximum_does_not_lower_the_floor() {
    // M-56
    let mut bounded = config();
    bounded.floor = Difficulty::saturating(EASY * 3.0);
    let mut pool = Pool::ready_with(Wire::Noise, bounded, HARD, 0);
    pool.open_standard("alice");
    pool.say(&update(FIRST, 0.0, ANY));
    pool.decide(FIRST, EASY);
    assert_eq!(pool.miner.channel(FIRST).target, target_of(EASY * 3.0));
    let big = pool.open_standard("big");
    pool.say(&update(big, 1.0, ANY));
    pool.decide(big, EASY);
    assert_eq!(pool.miner.channel(big).target, target_of(1.0), "nor a login's");
}

#[test]
fn an_update_that_is_none_changes_nothing() {
    // M-55, F-27
    for wire in Wire::BOTH {
        let mut bounded = config();
        bounded.ceiling = Difficulty::saturating(1000.0);
        let mut pool = Pool::ready_with(wire, bounded, HARD, 0);
        pool.open_standard("alice");
        let harder = target_of(EASY * 9.0);
        for id in [0, GROUP, FIRST + 1, 77, u32::MAX] {
            assert_eq!(code(&pool.say(&update(id, 1.0, harder))), "invalid-channel-id");
            assert_eq!(pool.notes.last(), Some(&Note::UpdateRefused("invalid-channel-id")));
        }
        for rate in [f32::NAN, f32::INFINITY, -1.0, -0.0] {
            assert_eq!(code(&pool.say(&update(FIRST, rate, harder))), "invalid-nominal-hashrate");
            assert_eq!(pool.notes.last(), Some(&Note::UpdateRefused("invalid-nominal-hashrate")));
        }
        for target in [[0; 32], target_of(1000.5)] {
            assert_eq!(code(&pool.say(&update(FIRST, 1.0, target))), "max-target-out-of-range");
            assert_eq!(pool.notes.last(), Some(&Note::UpdateRefused("max-target-out-of-range")));
        }
        assert_eq!(pool.miner.channel(FIRST).target, target_of(EASY));
        pool.close(FIRST);
        assert_eq!(code(&pool.say(&update(FIRST, 1.0, ANY))), "invalid-channel-id");
        pool.end();
    }
}

#[test]
fn the_policy_is_asked_about_a_hash_rate_that_is_news() {
    // M-53: a proxy says it every second.
    let mut pool = Pool::standard(Wire::Noise);
    pool.openings.clear();
    for rate in [1100.0, 900.0, 1249.0, 1000.0] {
        pool.say(&update(FIRST, rate, ANY));
    }
    assert!(pool.openings.is_empty());
    pool.mood.opening = Some(EASY * 10.0);
    let said = pool.say(&update(FIRST, 10_000.0, ANY));
    assert_eq!(kinds(&said), ["target", "job"]);
    let (channel, opening) = &pool.openings[0];
    assert_eq!((channel.0, opening.nominal_hashrate), (FIRST, Some(10_000.0)));
    assert_eq!(opening.start, Some(Difficulty::saturating(EASY)));
    // While it thinks it is not asked again.
    pool.pass(PAUSE);
    pool.mood.answers_openings = false;
    for rate in [1.0, 1e6, 1.0, 1e6] {
        assert!(pool.say(&update(FIRST, rate, ANY)).is_empty());
    }
    assert_eq!(pool.openings.len(), 2);
}

#[test]
fn the_policy_is_asked_when_it_wanted_to_be() {
    let mut pool = Pool::standard(Wire::Noise);
    let other = pool.open_extended("bob");
    pool.pass(Duration::from_secs(59));
    assert!(pool.reviews.is_empty());
    pool.mine(FIRST);
    pool.pass(Duration::from_secs(1));
    let asked: Vec<u32> = pool.reviews.iter().map(|review| review.0.0).collect();
    assert_eq!(asked, [FIRST, other]);
    let review = &pool.reviews[0].1;
    assert_eq!((review.accepted, review.rejected, review.current.get()), (1, 0, EASY));
    assert_eq!(review.elapsed, Duration::from_secs(60));
    pool.pass(Duration::from_secs(300));
    assert_eq!(pool.reviews.len(), 2, "not again before it has answered");
    pool.decide(other, EASY);
    pool.pass(Duration::from_secs(60));
    assert_eq!(pool.reviews.len(), 3);
    assert_eq!(pool.reviews[2].0.0, other);
    pool.end();
}
