//! How much a peer may ask for, and what ends it.

use std::time::Duration;

use sluice_core::session::{Close, Note, Session};
use sluice_core::share::Reason;

use crate::miner::{Proof, Said, code, kinds};
use crate::support::*;

fn bad(pool: &mut Pool, channel: u32) -> Vec<Said> {
    let proof = pool.miner.mine(channel);
    pool.submit(&Proof { job: 0xffff, ..proof })
}

#[test]
fn a_connection_is_small() {
    let size = size_of::<sluice_stratum_v2::Connection>();
    println!("Connection: {size} bytes");
    assert!(size <= 768, "{size}");
}

#[test]
fn shares_for_channels_that_never_were_end_the_connection() {
    // M-87
    for wire in Wire::BOTH {
        let mut pool = Pool::standard(wire);
        let proof = pool.miner.mine(FIRST);
        for index in 0..32 {
            let said = pool.submit(&Proof { channel: 1000 + index, ..proof.clone() });
            let [Said::Refused { channel_id, code, .. }] = &said[..] else { panic!("{said:?}") };
            assert_eq!((*channel_id, &**code), (1000 + index, "invalid-channel-id"));
        }
        assert_eq!(pool.closed, None);
        assert_eq!(pool.rejected, [Reason::Malformed; 32]);
        pool.submit(&Proof { channel: u32::MAX, ..proof });
        assert_eq!(pool.closed, Some(Close::UnknownChannels));
        pool.end();
    }
}

#[test]
fn every_accepted_share_forgives_shares_for_channels_that_never_were() {
    // M-87
    let mut pool = Pool::standard(Wire::Noise);
    let proof = pool.miner.mine(FIRST);
    let stray = Proof { channel: 1000, ..proof };
    for _ in 0..5 {
        for _ in 0..32 {
            assert_eq!(code(&pool.submit(&stray)), "invalid-channel-id");
        }
        pool.mine(FIRST);
    }
    assert_eq!((pool.recorded.len(), pool.closed), (5, None));
    for _ in 0..33 {
        pool.submit(&stray);
    }
    assert_eq!(pool.closed, Some(Close::UnknownChannels));
    pool.end();
}

#[test]
fn a_long_run_of_bad_shares_closes_the_channel_and_with_the_last_one_the_connection() {
    // V1-73, M-62, M-63
    let mut limited = config();
    limited.rejected_in_a_row = 10;
    for wire in Wire::BOTH {
        let mut pool = Pool::ready_with(wire, limited.clone(), HARD, 0);
        let [one, other] = ["alice", "bob"].map(|user| pool.open_standard(user));
        for _ in 0..10 {
            assert_eq!(kinds(&bad(&mut pool, one)), ["refused"]);
        }
        assert_eq!(kinds(&pool.mine(one)), ["accepted"], "one good share forgives them");
        assert!(pool.mine(one).is_empty());
        for _ in 0..10 {
            bad(&mut pool, one);
        }
        let said = bad(&mut pool, one);
        assert_eq!(kinds(&said), ["refused", "accepted", "closed"], "M-63: what is in the log is told");
        let expected = Said::Closed { channel_id: one, reason: "too-many-invalid-shares".into() };
        assert_eq!(said[2], expected);
        assert_eq!((pool.closed, pool.released.len()), (None, 1));
        assert_eq!(kinds(&pool.mine(other)), ["accepted"]);
        for _ in 0..10 {
            bad(&mut pool, other);
        }
        let said = bad(&mut pool, other);
        assert_eq!(kinds(&said), ["refused", "closed"]);
        assert_eq!(pool.closed, Some(Close::InvalidShares));
        pool.end();
    }
}

#[test]
fn shares_under_a_raised_difficulty_are_forgiven_for_a_while() {
    // V1-73
    let mut limited = config();
    limited.rejected_in_a_row = 5;
    let mut pool = Pool::ready_with(Wire::Noise, limited, HARD, 0);
    pool.open_standard("alice");
    pool.decide(FIRST, 1.0);
    let job = pool.miner.channel(FIRST).job().clone();
    let low = |pool: &mut Pool| {
        let proof = pool.miner.search(FIRST, &job, crate::miner::Rolled::default(), |_| true);
        pool.submit(&proof)
    };
    for _ in 0..20 {
        assert_eq!(code(&low(&mut pool)), "difficulty-too-low");
    }
    pool.pass(Duration::from_secs(61));
    for _ in 0..6 {
        low(&mut pool);
    }
    assert_eq!(pool.closed, Some(Close::InvalidShares));
}

#[test]
fn too_many_messages_end_the_connection() {
    // V1-83: a minute's worth at once, and what time earns.
    let mut limited = config();
    limited.messages_per_minute = 60;
    for wire in Wire::BOTH {
        let mut pool = Pool::ready_with(wire, limited.clone(), HARD, 0);
        let ask = update(77, 1.0, ANY);
        for _ in 0..59 {
            assert_eq!(pool.say(&ask).len(), 1);
        }
        pool.pass(Duration::from_secs(2));
        pool.say(&ask);
        pool.say(&ask);
        assert_eq!(pool.closed, None, "two seconds earn two messages");
        assert!(pool.say(&ask).is_empty());
        assert_eq!(pool.closed, Some(Close::Flood));
    }
}

#[test]
fn every_channel_brings_messages_of_its_own() {
    // V1-83, M-53: a proxy says the hash rate of each channel every second.
    let mut limited = config();
    limited.messages_per_minute = 60;
    let mut pool = Pool::ready_with(Wire::Noise, limited, HARD, 0);
    for user in ["alice", "bob", "carol"] {
        pool.open_standard(user);
    }
    pool.pass(Duration::from_secs(60));
    for _ in 0..240 {
        assert!(pool.say(&update(FIRST, 1000.0, ANY)).is_empty());
    }
    assert_eq!(pool.closed, None, "60, and 60 for each of three");
    // They earn them evenly: four in a second.
    pool.pass(Duration::from_secs(1));
    for _ in 0..4 {
        pool.say(&update(FIRST, 1000.0, ANY));
    }
    assert_eq!(pool.closed, None);
    pool.say(&update(FIRST, 1000.0, ANY));
    assert_eq!(pool.closed, Some(Close::Flood));
    pool.end();
}

#[test]
fn what_a_channel_brought_goes_with_it() {
    // V1-83
    let mut limited = config();
    limited.messages_per_minute = 60;
    let mut pool = Pool::ready_with(Wire::Noise, limited, HARD, 0);
    for user in ["alice", "bob", "carol"] {
        pool.open_standard(user);
    }
    pool.pass(Duration::from_secs(60));
    pool.close(FIRST);
    pool.close(FIRST + 1);
    pool.pass(Duration::from_secs(60));
    let mut count = 0;
    while pool.closed.is_none() {
        pool.say(&update(FIRST + 2, 1000.0, ANY));
        count += 1;
    }
    assert_eq!((count, pool.closed), (121, Some(Close::Flood)));
    pool.end();
}

#[test]
fn every_kind_of_message_counts_and_accepted_shares_do_not() {
    // V1-83: work was done for each.
    let mut limited = config();
    limited.messages_per_minute = 60;
    let mut pool = Pool::ready_with(Wire::Noise, limited, HARD, 0);
    pool.open_extended("alice");
    for _ in 0..500 {
        pool.mine(FIRST);
    }
    assert_eq!((pool.recorded.len(), pool.closed), (500, None));
    let mut count = 0;
    while pool.closed.is_none() {
        pool.say_frames(&frame(0x0abc, 0, b""));
        count += 1;
    }
    assert_eq!((count, pool.closed), (59, Some(Close::Flood)));
}

#[test]
fn shares_that_wait_for_the_log_stop_the_input() {
    let mut limited = config();
    limited.held_shares = 8;
    for wire in Wire::BOTH {
        let mut pool = Pool::ready_with(wire, limited.clone(), HARD, 0);
        pool.open_standard("alice");
        pool.mood.commits = false;
        let mut all = Vec::new();
        for _ in 0..20 {
            all.extend(pool.miner.mine(FIRST).frame());
        }
        assert!(pool.say_frames(&all).is_empty());
        assert_eq!(pool.recorded.len(), 8);
        assert!(pool.is_full());
        pool.commit(3);
        pool.feed(&[]);
        assert_eq!(pool.recorded.len(), 11);
        while pool.recorded.len() < 20 {
            pool.commit(pool.recorded.len());
            pool.feed(&[]);
        }
        pool.commit(20);
        pool.pass(Duration::from_secs(1));
        let told: u32 = pool.miner.accepted.iter().map(|success| success.new_submits_accepted_count).sum();
        assert_eq!(told, 20);
        pool.end();
    }
}

#[test]
fn acknowledgements_to_a_peer_that_does_not_read_do_not_pile_up() {
    // C-2: time passes, deadlines come, and nothing can be sent.
    let mut pool = Pool::ready(Wire::Noise);
    for _ in 0..4 {
        pool.open_standard("alice");
    }
    pool.mood.commits = false;
    for round in 0..50usize {
        for id in 2..6 {
            let proof = pool.miner.mine(id);
            let bytes = pool.link.seal(&proof.frame());
            pool.feed(&bytes);
        }
        pool.session.committed(4 * (round as u64 + 1));
        pool.now = at(pool.now.moment.0 + 1_000);
        let deadline = pool.session.deadline().unwrap();
        if deadline <= pool.now.moment {
            pool.session.timeout(pool.now);
            pool.run();
            assert!(pool.session.deadline().unwrap() > pool.now.moment, "or the driver would spin");
        }
    }
    pool.flush();
    let told: u32 = pool.miner.accepted.iter().map(|success| success.new_submits_accepted_count).sum();
    assert_eq!(told, 200);
    let noted: u32 = pool
        .notes
        .iter()
        .map(|note| if let Note::Acknowledged { shares } = note { *shares } else { 0 })
        .sum();
    assert_eq!(noted, 200);
}
