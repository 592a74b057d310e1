//! Opening channels (M-5 to M-24).

use std::time::Duration;

use sluice_core::extranonce::{ExtranoncePrefix, Reservation, ResumeToken};
use sluice_core::ids::{ChannelId, WorkerId};
use sluice_core::policy::auth::Refusal;
use sluice_core::session::{Answer, ChannelKind, Close, Note, Session};
use sluice_core::units::Difficulty;
use sluice_stratum_v2::messages::{
    ClientMessage, OpenExtendedMiningChannel, OpenStandardMiningChannel, SubmitSharesStandard,
};

use crate::miner::{Said, addressed, code, kinds};
use crate::support::*;

fn standard(user: &[u8], nominal: f32, max_target: [u8; 32]) -> ClientMessage<'_> {
    ClientMessage::OpenStandardMiningChannel(OpenStandardMiningChannel {
        request_id: 9,
        user_identity: user,
        nominal_hash_rate: nominal,
        max_target,
    })
}

fn extended(size: u16) -> ClientMessage<'static> {
    ClientMessage::OpenExtendedMiningChannel(OpenExtendedMiningChannel {
        request_id: 9,
        user_identity: b"alice",
        nominal_hash_rate: 1000.0,
        max_target: ANY,
        min_extranonce_size: size,
    })
}

#[test]
fn a_standard_channel_opens_with_its_first_job() {
    // M-7, M-17, M-20, M-21, M-31, M-41
    for wire in Wire::BOTH {
        let mut pool = Pool::ready(wire);
        let said = pool.say(&open_standard(0xdead_beef, "alice.rig"));
        let [Said::Opened(opened), Said::Job(job), Said::PrevHash(tip)] = &said[..] else {
            panic!("{said:?}");
        };
        // M-11
        assert_eq!((opened.request_id, opened.channel_id, opened.group), (0xdead_beef, FIRST, GROUP));
        // M-18: the prefix is the whole extranonce.
        assert_eq!((opened.kind, opened.prefix.len()), (ChannelKind::Standard, 12));
        assert_eq!(opened.target, target_of(EASY));
        assert_eq!((job.channel_id, job.min_ntime, job.version), (FIRST, None, 0x2000_0000));
        assert_eq!((tip.channel_id, tip.job_id, tip.nbits), (FIRST, job.job_id, HARD));
        assert_eq!(tip.prev_hash, *bitcoin::hashes::Hash::as_byte_array(&pool.board.previous()));
        assert_eq!(tip.min_ntime, pool.now.wall.seconds());
        assert_eq!(pool.supplied.len(), 1);
        assert_eq!(pool.notes, [Note::ChannelOpened(ChannelKind::Standard)]);
        pool.end();
    }
}

#[test]
fn an_extended_channel_opens_with_its_first_job() {
    // M-7, M-17, M-20, M-32
    for wire in Wire::BOTH {
        let mut pool = Pool::ready(wire);
        let said = pool.say(&open_extended(1, "alice.rig"));
        let [Said::Opened(opened), Said::Extended(job), Said::PrevHash(tip)] = &said[..] else {
            panic!("{said:?}");
        };
        assert_eq!((opened.kind, opened.prefix.len(), opened.extranonce_size), (ChannelKind::Extended, 4, 8));
        assert_eq!((opened.group, job.channel_id, job.min_ntime), (GROUP, FIRST, None));
        assert_eq!((tip.channel_id, tip.job_id), (FIRST, job.job_id));
        // M-38: no marker and flag behind the version.
        assert_eq!(job.prefix[..5], [2, 0, 0, 0, 1]);
        pool.end();
    }
}

#[test]
fn a_channel_id_is_never_used_again() {
    // M-5
    let mut pool = Pool::ready(Wire::Noise);
    let mut seen = vec![0, GROUP, u32::MAX];
    for index in 0..20 {
        let id = if index % 2 == 0 { pool.open_standard("alice") } else { pool.open_extended("bob") };
        assert!(!seen.contains(&id), "{id} again");
        seen.push(id);
        if index % 3 == 0 {
            pool.close(id);
        }
    }
    pool.end();
}

#[test]
fn a_connection_has_a_quota() {
    // M-8, C-5
    let mut small = config();
    small.channels = 3;
    for wire in Wire::BOTH {
        let mut pool = Pool::ready_with(wire, small.clone(), HARD, 0);
        for _ in 0..3 {
            pool.open_standard("alice");
        }
        let reserved = pool.reserved.len();
        assert_eq!(code(&pool.say(&open_extended(4, "alice"))), "channel-capacity-exhausted");
        assert_eq!((pool.reserved.len(), pool.logins.len()), (reserved, 3), "nothing was asked for it");
        assert_eq!(pool.notes.last(), Some(&Note::ChannelRefused("channel-capacity-exhausted")));
        pool.close(FIRST);
        pool.open_extended("alice");
        pool.end();
    }
}

#[test]
fn requests_that_wait_count_too() {
    // M-8
    let mut small = config();
    small.channels = 3;
    let mut pool = Pool::ready_with(Wire::Noise, small, HARD, 0);
    pool.mood.answers_logins = false;
    let opens: Vec<_> = (0..4).map(|id| open_standard(id, "alice")).collect();
    let said = pool.say_frames(&frames(&opens));
    assert_eq!(said, [Said::NotOpened { request_id: 3, code: "channel-capacity-exhausted".into() }]);
    for _ in 0..2 {
        pool.answer_login();
    }
    assert_eq!(kinds(&pool.answer_login())[0], "opened");
    pool.end();
}

#[test]
fn a_full_pool_refuses_and_goes_on() {
    // M-8, C-5
    let mut pool = Pool::standard(Wire::Noise);
    pool.mood.has_room = false;
    let opens = frames(&[open_standard(1, "alice"), open_extended(2, "bob")]);
    let said = pool.say_frames(&opens);
    assert_eq!(kinds(&said), ["not opened"; 2]);
    assert_eq!(code(&said[..1]), "channel-capacity-exhausted");
    assert_eq!(kinds(&pool.mine(FIRST)), ["accepted"]);
    pool.mood.has_room = true;
    pool.open_standard("alice");
    // What was not given is not given back.
    assert_eq!(pool.reserved.len(), 2);
    pool.end();
}

#[test]
fn requests_may_follow_each_other_with_equal_ids() {
    // M-11, V1-21: one login at a time, in order.
    for wire in Wire::BOTH {
        let mut pool = Pool::ready(wire);
        pool.mood.answers_logins = false;
        let users = ["a.1", "b.2", "mallory", "c.3", "d.4"];
        let opens: Vec<_> = users
            .iter()
            .enumerate()
            .map(|(at, user)| if at % 2 == 0 { open_standard(10, user) } else { open_extended(10, user) })
            .collect();
        assert!(pool.say_frames(&frames(&opens)).is_empty());
        let mut said = Vec::new();
        for asked in 1..=5 {
            assert_eq!(pool.logins.len(), asked);
            said.extend(pool.answer_login());
        }
        assert_eq!(pool.logins.iter().map(|login| &*login.1.username).collect::<Vec<_>>(), users);
        let ids: Vec<u32> = said
            .iter()
            .filter_map(|said| match said {
                Said::Opened(opened) => Some(opened.request_id),
                Said::NotOpened { request_id, .. } => Some(*request_id),
                _ => None,
            })
            .collect();
        assert_eq!(ids, [10; 5]);
        assert_eq!(pool.miner.channels.len(), 4);
        pool.end();
    }
}

#[test]
fn a_refused_login_leaves_the_connection() {
    // M-12
    let mut pool = Pool::standard(Wire::Noise);
    for (user, expected) in
        [("mallory", "unknown-user"), ("banned.x", "user-forbidden"), ("later", "try-later")]
    {
        assert_eq!(code(&pool.say(&open_standard(1, user))), expected);
        assert_eq!(pool.notes.last(), Some(&Note::ChannelRefused(expected)));
    }
    for user in [&b"al\nice"[..], b"\xff\xfe", b"a\0", b"caf\xc3", "a\u{85}b".as_bytes()] {
        let asked = pool.logins.len();
        assert_eq!(code(&pool.say(&standard(user, 1.0, ANY))), "invalid-user-identity");
        assert_eq!(pool.logins.len(), asked, "no policy sees it");
    }
    assert_eq!(kinds(&pool.mine(FIRST)), ["accepted"]);
    assert_eq!(pool.closed, None);
    pool.end();
}

#[test]
fn too_many_refused_logins_end_the_connection() {
    // V1-23
    let mut pool = Pool::ready(Wire::Noise);
    for _ in 0..31 {
        pool.say(&open_standard(1, "mallory"));
    }
    let alice = pool.open_standard("alice");
    pool.close(alice);
    for _ in 0..100 {
        pool.say(&open_standard(1, "later"));
    }
    for _ in 0..31 {
        pool.say(&open_standard(1, "mallory"));
    }
    assert_eq!(pool.closed, None, "one that is welcome forgives them, and a policy that fails is no fault");
    assert_eq!(kinds(&pool.say(&open_standard(1, "banned"))), ["not opened"]);
    assert_eq!(pool.closed, Some(Close::AuthFailures));
    pool.end();
}

#[test]
fn one_wrong_name_does_not_take_working_channels_along() {
    // V1-23: a proxy passes on what its miners call themselves.
    let mut pool = Pool::standard(Wire::Noise);
    for _ in 0..100 {
        assert_eq!(code(&pool.say(&open_standard(1, "mallory"))), "unknown-user");
    }
    assert_eq!(kinds(&pool.mine(FIRST)), ["accepted"]);
    assert_eq!(pool.closed, None);
    // Without a channel that is over.
    pool.close(FIRST);
    assert_eq!(pool.closed, None);
    pool.say(&open_standard(1, "mallory"));
    assert_eq!(pool.closed, Some(Close::AuthFailures));
    pool.end();
}

#[test]
fn openings_are_rationed() {
    // M-8: each costs a policy's time and a prefix.
    let mut small = config();
    small.channels = 3;
    for wire in Wire::BOTH {
        let mut pool = Pool::ready_with(wire, small.clone(), HARD, 0);
        for index in 0..6 {
            if index % 2 == 0 {
                assert_eq!(code(&pool.say(&open_standard(1, "mallory"))), "unknown-user");
            } else {
                let id = pool.open_extended("alice");
                pool.close(id);
            }
        }
        let full = |pool: &mut Pool| {
            assert_eq!(code(&pool.say(&open_standard(8, "alice"))), "channel-capacity-exhausted");
            assert_eq!(pool.notes.last(), Some(&Note::ChannelRefused("channel-capacity-exhausted")));
        };
        full(&mut pool);
        assert_eq!((pool.logins.len(), pool.reserved.len()), (6, 3), "nobody was asked");
        // Six a minute.
        pool.pass(Duration::from_secs(10));
        pool.open_standard("alice");
        full(&mut pool);
        assert_eq!(pool.closed, None);
        pool.end();
    }
}

#[test]
fn a_maximum_target_beyond_the_logins_difficulty_is_refused() {
    // M-14
    for wire in Wire::BOTH {
        let mut pool = Pool::ready(wire);
        let harder = standard(b"capped", 1.0, target_of(EASY * 101.0));
        assert_eq!(code(&pool.say(&harder)), "max-target-out-of-range");
        assert_eq!(pool.notes.last(), Some(&Note::ChannelRefused("max-target-out-of-range")));
        assert_eq!((pool.logins.len(), pool.reserved.len()), (1, 0));
        // Those that wait behind it have their turn, and another login may go further.
        let said = pool.say_frames(&frames(&[
            harder,
            standard(b"alice", 1.0, target_of(EASY * 101.0)),
            standard(b"capped", 1.0, target_of(EASY * 100.0)),
        ]));
        let opened = ["opened", "future job", "prev hash"];
        assert_eq!(kinds(&said), [&["not opened"][..], &opened, &opened].concat());
        pool.end();
    }
}

#[test]
fn every_channel_has_an_extranonce_of_the_same_length() {
    // M-4: one job for the group fits all.
    let mut pool = Pool::ready(Wire::Noise);
    let opens =
        [standard(b"alice", 1.0, ANY), extended(0), extended(2), extended(8), standard(b"bob", 0.0, ANY)];
    for open in opens {
        let said = pool.say(&open);
        let [Said::Opened(opened), ..] = &said[..] else { panic!("{said:?}") };
        let full = opened.prefix.len() + usize::from(opened.extranonce_size);
        assert_eq!((full, opened.group), (12, GROUP));
    }
    assert_eq!(addressed(&pool.publish()), [GROUP]);
    for id in 2..7 {
        assert_eq!(kinds(&pool.mine(id)), ["accepted"]);
    }
    pool.end();
}

#[test]
fn a_hash_rate_is_a_number() {
    // M-13, F-27
    for wire in Wire::BOTH {
        let mut pool = Pool::ready(wire);
        for rate in [f32::NAN, -f32::NAN, f32::INFINITY, f32::NEG_INFINITY, -1.0, -0.0, -f32::MIN_POSITIVE] {
            assert_eq!(code(&pool.say(&standard(b"alice", rate, ANY))), "invalid-nominal-hashrate", "{rate}");
        }
        for rate in [0.0, 1.0, f32::MIN_POSITIVE, f32::MAX] {
            assert_eq!(kinds(&pool.say(&standard(b"alice", rate, ANY)))[0], "opened", "{rate}");
            assert_eq!(pool.openings.last().unwrap().1.nominal_hashrate, Some(f64::from(rate)));
        }
        pool.end();
    }
}

fn opened_target(said: &[Said]) -> bitcoin::Target {
    let [Said::Opened(opened), ..] = said else { panic!("{said:?}") };
    bitcoin::Target::from_le_bytes(opened.target)
}

#[test]
fn a_maximum_target_is_honoured_or_refused() {
    // M-14, M-56
    let mut bounded = config();
    bounded.floor = Difficulty::saturating(0.001);
    bounded.ceiling = Difficulty::saturating(1000.0);
    let mut pool = Pool::ready_with(Wire::Noise, bounded, HARD, 0);
    pool.mood.opening = Some(1e-9);
    let mut one = [0; 32];
    one[0] = 1;
    for too_hard in [[0; 32], one, target_of(1000.5)] {
        assert_eq!(code(&pool.say(&standard(b"alice", 1.0, too_hard))), "max-target-out-of-range");
    }
    let mut ragged = target_of(10.0);
    ragged[5] ^= 0x55;
    ragged[20] ^= 0x55;
    for max_target in [target_of(1000.0), target_of(17.3), ragged, target_of(0.001)] {
        let target = opened_target(&pool.say(&standard(b"alice", 1.0, max_target)));
        let max = bitcoin::Target::from_le_bytes(max_target);
        assert!(target <= max, "{target:x} for {max:x}");
        // The policy wants it as easy as it may be.
        assert!(Difficulty::from_target(target).get() <= Difficulty::from_target(max).get() * 1.000_001);
    }
    // C-1: the pool's own floor is not lowered by anybody.
    for easy in [ANY, target_of(1e-9), target_of(0.0005)] {
        assert_eq!(opened_target(&pool.say(&standard(b"alice", 0.0, easy))).to_le_bytes(), target_of(0.001));
    }
    // Nor is a login's.
    assert_eq!(opened_target(&pool.say(&standard(b"big", 0.0, ANY))).to_le_bytes(), target_of(1.0));
    // A start that is harder is fine.
    pool.mood.opening = Some(500.0);
    let target = opened_target(&pool.say(&standard(b"alice", 1.0, target_of(17.3))));
    assert_eq!(target.to_le_bytes(), target_of(500.0));
    // And what the policy is told.
    let facts = &pool.openings.last().unwrap().1;
    assert_eq!(facts.channel.floor, facts.suggested.unwrap());
    assert!((facts.channel.floor.get() - 17.3).abs() < 1e-6);
    pool.end();
}

#[test]
fn an_extranonce_is_as_large_as_asked_or_refused() {
    // M-15
    for wire in Wire::BOTH {
        let mut pool = Pool::ready(wire);
        for size in [0, 1, 2, 8] {
            let said = pool.say(&extended(size));
            let [Said::Opened(opened), ..] = &said[..] else { panic!("{said:?}") };
            assert_eq!(opened.extranonce_size, 8);
        }
        for size in [9, 32, 255, 256, u16::MAX] {
            assert_eq!(code(&pool.say(&extended(size))), "min-extranonce-size-too-large");
        }
        pool.end();
    }
}

#[test]
fn a_connection_for_standard_jobs_has_no_extended_channels() {
    // M-19, M-33: the client's checks see that no extended job and no group comes.
    for wire in Wire::BOTH {
        let mut pool = Pool::ready_with(wire, config(), HARD, 1);
        let expected = "extended-channels-not-supported-for-standard-jobs";
        assert_eq!(code(&pool.say(&open_extended(1, "alice"))), expected);
        for _ in 0..3 {
            pool.open_standard("alice");
        }
        let said = pool.new_tip();
        assert_eq!(kinds(&said), ["future job", "prev hash"].repeat(3));
        assert_eq!(addressed(&said), [2, 2, 3, 3, 4, 4]);
        assert_eq!(kinds(&pool.publish()), ["job"; 3]);
        for id in 2..5 {
            assert_eq!(kinds(&pool.mine(id)), ["accepted"]);
        }
        pool.end();
    }
}

#[test]
fn a_channel_waits_ten_seconds_for_work() {
    // M-22
    for wire in Wire::BOTH {
        let mut pool = Pool::ready(wire);
        pool.mood.has_work = false;
        assert!(pool.say(&open_standard(5, "alice")).is_empty());
        assert!(pool.pass(Duration::from_millis(9_999)).is_empty());
        let said = pool.pass(Duration::from_millis(1));
        assert_eq!(said, [Said::NotOpened { request_id: 5, code: "pool-not-ready".into() }]);
        assert_eq!((pool.released.len(), pool.unsupplied.len(), pool.supplied.len()), (1, 1, 1));
        assert_eq!(pool.closed, None);
        pool.publish();
        pool.say(&open_extended(6, "alice"));
        pool.pass(Duration::from_secs(9));
        let said = pool.publish();
        assert_eq!(kinds(&said), ["opened", "future extended job", "prev hash"]);
        pool.end();
    }
}

#[test]
fn a_vardiff_policy_that_is_silent_leaves_the_start() {
    // M-13
    let mut pool = Pool::ready(Wire::Noise);
    pool.mood.opening = None;
    assert_eq!(opened_target(&pool.say(&open_standard(1, "alice"))).to_le_bytes(), target_of(EASY));
    let target = opened_target(&pool.say(&open_standard(1, "slow"))).to_le_bytes();
    assert_eq!(target, target_of(EASY * 4.0), "the login's own start");
    assert_eq!(opened_target(&pool.say(&open_standard(1, "big"))).to_le_bytes(), target_of(1.0));
    pool.end();
}

#[test]
fn a_full_queue_of_logins_stops_the_input() {
    let mut pool = Pool::standard(Wire::Noise);
    pool.mood.answers_logins = false;
    let opens: Vec<_> = (0..70).map(|id| open_standard(id, "alice")).collect();
    let mut all = frames(&opens);
    all.extend(pool.miner.mine(FIRST).frame());
    assert!(pool.say_frames(&all).is_empty());
    assert!(pool.is_full());
    assert_eq!(pool.logins.len(), 2);
    let mut opened = 0;
    while opened < 70 {
        let said = pool.answer_login();
        opened += said.iter().filter(|said| matches!(said, Said::Opened(_))).count();
    }
    pool.feed(&[]);
    pool.flush();
    assert_eq!((pool.recorded.len(), pool.miner.accepted.len()), (1, 1));
    pool.end();
}

#[test]
fn shares_are_answered_while_a_login_waits() {
    // C-5: one slow policy does not stop a proxy's other channels.
    for wire in Wire::BOTH {
        let mut pool = Pool::standard(wire);
        pool.mood.answers_logins = false;
        assert!(pool.say(&open_extended(3, "bob")).is_empty());
        assert_eq!(kinds(&pool.mine(FIRST)), ["accepted"]);
        assert_eq!(kinds(&pool.publish()), ["job"], "and it gets its work");
        assert_eq!(kinds(&pool.answer_login()), ["opened", "future extended job", "prev hash"]);
        pool.end();
    }
}

#[test]
fn answers_for_what_is_gone_change_nothing() {
    let mut pool = Pool::standard(Wire::Noise);
    pool.close(FIRST);
    let id = ChannelId(FIRST);
    for answer in [
        Answer::Opened(id, Some(decision(3.0))),
        Answer::Reviewed(id, None),
        Answer::Reviewed(ChannelId(99), Some(decision(3.0))),
        Answer::Named(id, Some(WorkerId(4))),
        Answer::Authorized(id, Err(Refusal::UnknownUser(String::new()))),
    ] {
        pool.session.answer(pool.now, answer);
        pool.run();
        assert!(pool.flush().is_empty());
    }
    assert_eq!(pool.closed, None);
    pool.end();
}

#[test]
fn a_prefix_that_nobody_waits_for_comes_back() {
    // M-1
    let reservation = || {
        let prefix = ExtranoncePrefix([9, 9, 9, 9]);
        Some(Reservation { prefix, token: ResumeToken([0; 16]), resumed: None })
    };
    let mut pool = Pool::standard(Wire::Plain);
    pool.session.answer(pool.now, Answer::Reserved(ChannelId(77), reservation()));
    pool.run();
    assert_eq!(pool.released, [ExtranoncePrefix([9, 9, 9, 9])]);

    // Asked for before the connection ended, answered after.
    pool.session.shut_down(pool.now, Close::Shutdown);
    pool.run();
    pool.session.answer(pool.now, Answer::Reserved(ChannelId(78), reservation()));
    pool.run();
    let parked: Vec<_> = pool.session.park().into_iter().map(|parked| parked.prefix).collect();
    assert!(parked.contains(&ExtranoncePrefix([9, 9, 9, 9])), "{parked:?}");
}

#[test]
fn an_id_that_was_not_told_yet_is_nobodys() {
    // M-62: the request is answered all the same.
    let mut pool = Pool::ready(Wire::Plain);
    pool.mood.has_work = false;
    pool.say(&open_standard(5, "alice"));
    assert!(pool.say(&close(FIRST)).is_empty());
    assert_eq!(code(&pool.say(&update(FIRST, 5.0, ANY))), "invalid-channel-id");
    let share = SubmitSharesStandard {
        channel_id: FIRST,
        sequence_number: 1,
        job_id: 1,
        nonce: 0,
        ntime: 0,
        version: 0,
    };
    assert_eq!(code(&pool.say(&ClientMessage::SubmitSharesStandard(share))), "invalid-channel-id");
    assert_eq!(kinds(&pool.publish()), ["opened", "future job", "prev hash"]);
    pool.end();
}

#[test]
fn the_first_messages_of_a_channel_stay_together() {
    // M-20, M-21: whatever happens between the answers and the sending.
    for wire in Wire::BOTH {
        let mut pool = Pool::ready(wire);
        pool.open_standard("alice.old");
        pool.open_extended("alice.old");
        pool.mood.has_work = false;
        pool.mood.answers_openings = false;
        let bytes = pool.link.seal(&frames(&[open_extended(7, "alice"), open_standard(8, "alice")]));
        pool.feed(&bytes);
        // A broadcast while the policy thinks is not for the newcomers,
        pool.offer();
        for id in [4, 5] {
            pool.session.answer(pool.now, Answer::Opened(ChannelId(id), Some(decision(EASY))));
            pool.run();
        }
        // one on another tip is, and it comes before a review's answer and before what was to be refused.
        pool.board.tip += 1;
        pool.offer();
        pool.session.answer(pool.now, Answer::Reviewed(ChannelId(4), Some(decision(EASY * 2.0))));
        pool.session.answer(pool.now, Answer::Reviewed(ChannelId(2), Some(decision(EASY * 2.0))));
        pool.run();
        let bytes = pool.link.seal(&frames(&[update(77, 1.0, ANY)]));
        pool.feed(&bytes);
        let said = pool.flush();
        let expected = [
            "target",
            "future extended job",
            "prev hash",
            "not updated",
            "opened",
            "future extended job",
            "prev hash",
            "opened",
            "future job",
            "prev hash",
        ];
        assert_eq!(kinds(&said), expected);
        assert_eq!(addressed(&said), [2, GROUP, GROUP, 4, 4, 5, 5]);
        assert_eq!(pool.miner.channel(4).target, target_of(EASY * 2.0), "opened as it was decided last");
        for id in 2..6 {
            assert_eq!(kinds(&pool.mine(id)), ["accepted"]);
        }
        pool.end();
    }
}
