//! Shares and what is said of them (M-70 to M-88).

use std::time::Duration;

use bitcoin::Target;
use sluice_core::ids::{AccountId, ChannelId, WorkerId};
use sluice_core::session::{Answer, ChannelKind, Close, Note, Session};
use sluice_core::share::Reason;
use sluice_core::units::Difficulty;

use crate::miner::{Proof, Rolled, Said, code, kinds};
use crate::support::*;

/// A pool with a channel of each kind.
fn kinds_of_pool(wire: Wire) -> [(ChannelKind, Pool); 2] {
    [(ChannelKind::Standard, Pool::standard(wire)), (ChannelKind::Extended, Pool::extended(wire))]
}

fn everywhere(test: impl Fn(ChannelKind, Pool)) {
    for wire in Wire::BOTH {
        for (kind, pool) in kinds_of_pool(wire) {
            test(kind, pool);
        }
    }
}

fn rolled(pool: &mut Pool, rolled: Rolled) -> Proof {
    let job = pool.miner.channel(FIRST).job().clone();
    let target = Target::from_le_bytes(job.active.unwrap().target);
    pool.miner.search(FIRST, &job, rolled, |hash| target.is_met_by(hash))
}

fn sequence(said: &[Said]) -> u32 {
    let [Said::Refused { channel_id: FIRST, sequence, .. }] = said else { panic!("{said:?}") };
    *sequence
}

#[test]
fn a_good_share_is_recorded_and_acknowledged() {
    // M-70, M-77, M-80, M-81
    everywhere(|_, mut pool| {
        let proof = pool.miner.mine(FIRST);
        let said = pool.submit(&proof);
        let [Said::Accepted(success)] = &said[..] else { panic!("{said:?}") };
        assert_eq!((success.channel_id, success.last_sequence_number), (FIRST, proof.sequence));
        assert_eq!(success.new_submits_accepted_count, 1);
        let (share, account, worker) = pool.recorded[0];
        assert_eq!((share.hash, account, worker), (proof.hash, AccountId(1), WorkerId(2)));
        assert_eq!(share.difficulty, Difficulty::saturating(EASY));
        assert_eq!(pool.notes.last(), Some(&Note::Acknowledged { shares: 1 }));
        pool.end();
    });
}

#[test]
fn every_bad_share_has_its_own_answer() {
    // M-78, M-72, F-63
    everywhere(|_, mut pool| {
        let target = Target::from_le_bytes(target_of(EASY));
        let job = pool.miner.channel(FIRST).job().clone();
        let low = pool.miner.search(FIRST, &job, Rolled::default(), |hash| !target.is_met_by(hash));
        let said = pool.submit(&low);
        assert_eq!((code(&said), sequence(&said)), ("difficulty-too-low", low.sequence));

        let good = pool.miner.mine(FIRST);
        pool.submit(&good);
        // M-86
        let said = pool.submit(&Proof { sequence: 99, ..good.clone() });
        assert_eq!((code(&said), sequence(&said)), ("duplicate-share", 99));

        let unknown = Proof { job: 0xffff, ..good };
        assert_eq!(code(&pool.submit(&unknown)), "invalid-job-id");
        assert_eq!(pool.rejected, [Reason::LowDifficulty, Reason::Duplicate, Reason::UnknownJob]);
        assert_eq!((pool.recorded.len(), pool.miner.accepted.len()), (1, 1));
        pool.end();
    });
}

#[test]
fn times_are_those_that_the_network_takes() {
    // M-74, M-75
    everywhere(|_, mut pool| {
        // The template's minimum is ten minutes ago.
        for seconds in [-601, -100_000] {
            let proof = rolled(&mut pool, Rolled { version: 0, seconds });
            assert_eq!(code(&pool.submit(&proof)), "invalid-ntime");
        }
        for seconds in [6901, 7201, 100_000] {
            let proof = rolled(&mut pool, Rolled { version: 0, seconds });
            assert_eq!(code(&pool.submit(&proof)), "invalid-ntime");
        }
        assert_eq!(&pool.rejected[..2], [Reason::TimeTooOld; 2]);
        assert_eq!(&pool.rejected[2..], [Reason::TimeTooNew; 3]);
        // A step every second, and what the reference's own miner does.
        for seconds in [0, 1, 60, 6900] {
            let proof = rolled(&mut pool, Rolled { version: 0, seconds });
            pool.submit(&proof);
        }
        assert_eq!(pool.recorded.len(), 4);
    });
}

#[test]
fn version_bits_are_those_of_bip323() {
    // M-3, M-36, M-76
    everywhere(|_, mut pool| {
        for version in [0x20, 0x1fff_ffe0, 0x1000_0000, 0x0000_2000] {
            let proof = rolled(&mut pool, Rolled { version, seconds: 0 });
            pool.submit(&proof);
        }
        assert_eq!(pool.recorded.len(), 4);
        for version in [1, 0x10, 0x2000_0000, 0x8000_0000, 0x1fff_fff0] {
            let proof = rolled(&mut pool, Rolled { version, seconds: 0 });
            assert_eq!(code(&pool.submit(&proof)), "invalid-non-rollable-version-bit", "{version:#x}");
        }
        assert_eq!(pool.rejected, [Reason::BadVersion; 5]);
    });
}

#[test]
fn an_extranonce_has_the_size_that_was_agreed() {
    // M-71
    let mut pool = Pool::extended(Wire::Noise);
    let good = pool.miner.mine(FIRST);
    for size in [0, 1, 7, 9, 32] {
        let wrong = Proof { extranonce: vec![0; size], ..good.clone() };
        assert_eq!(code(&pool.submit(&wrong)), "bad-extranonce-size");
    }
    assert_eq!(kinds(&pool.submit(&good)), ["accepted"]);
}

#[test]
fn a_channel_has_shares_of_its_kind() {
    // M-73
    everywhere(|kind, mut pool| {
        let other = match kind {
            ChannelKind::Standard => ChannelKind::Extended,
            ChannelKind::Extended => ChannelKind::Standard,
        };
        let proof = pool.miner.mine(FIRST);
        assert_eq!(code(&pool.submit(&Proof { kind: other, ..proof.clone() })), "invalid-channel-id");
        assert_eq!(kinds(&pool.submit(&proof)), ["accepted"]);
    });
}

#[test]
fn work_of_the_last_block_is_good_for_a_moment() {
    // M-41, M-79, V1-57
    everywhere(|_, mut pool| {
        let [first, second] = [(); 2].map(|()| pool.miner.mine(FIRST));
        pool.new_tip();
        pool.now = at(1_900);
        pool.submit(&first);
        assert_eq!(pool.recorded.len(), 1);
        pool.now = at(2_100);
        assert_eq!(code(&pool.submit(&second)), "stale-share");
        // Long after, and with newer work since.
        pool.now = at(60_000);
        pool.publish();
        assert!(matches!(code(&pool.submit(&second)), "stale-share" | "invalid-job-id"));
        pool.end();
    });
}

#[test]
fn work_of_the_block_before_the_last_is_stale_at_once() {
    // M-41, M-79: the moment is for what was under way when a block came, not for a miner that missed one.
    everywhere(|_, mut pool| {
        let [first, second] = [(); 2].map(|()| pool.miner.mine(FIRST));
        pool.new_tip();
        pool.now = at(500);
        pool.submit(&first);
        let next = pool.miner.mine(FIRST);
        pool.new_tip();
        pool.now = at(1_000);
        assert_eq!(code(&pool.submit(&second)), "stale-share");
        pool.submit(&next);
        assert_eq!((pool.recorded.len(), &pool.rejected[..]), (2, &[Reason::Stale][..]));
        pool.end();
    });
}

#[test]
fn a_block_goes_before_everything_and_is_told_at_once() {
    // M-72, M-85
    for wire in Wire::BOTH {
        for extended in [false, true] {
            let mut pool = Pool::ready_with(wire, config(), REGTEST, 0);
            let _ = if extended { pool.open_extended("alice") } else { pool.open_standard("alice") };
            let network = Target::from_compact(bitcoin::CompactTarget::from_consensus(REGTEST));
            let job = pool.miner.channel(FIRST).job().clone();
            for _ in 0..3 {
                let proof = pool.miner.search(FIRST, &job, Rolled::default(), |hash| network.is_met_by(hash));
                let said = pool.submit(&proof);
                let [Said::Accepted(success)] = &said[..] else { panic!("{said:?}") };
                assert_eq!(success.last_sequence_number, proof.sequence, "each for itself");
                assert_eq!(pool.blocks.last().unwrap().0.hash, proof.hash);
            }
            assert_eq!(pool.order, ["block", "record"].repeat(3));
            let (block, job) = &pool.blocks[0];
            assert_eq!(&block.block[4..36], bitcoin::hashes::Hash::as_byte_array(&pool.board.previous()));
            assert_eq!(job.id.0, pool.miner.channel(FIRST).job().id);
            pool.end();
        }
    }
}

#[test]
fn a_block_counts_whatever_is_wrong_with_the_share() {
    // M-72, M-85, V1-56: late, or with a time that is not taken; never twice.
    for wire in Wire::BOTH {
        let mut pool = Pool::ready_with(wire, config(), REGTEST, 0);
        pool.open_extended("alice");
        let network = Target::from_compact(bitcoin::CompactTarget::from_consensus(REGTEST));
        let job = pool.miner.channel(FIRST).job().clone();
        let proof = pool.miner.search(FIRST, &job, Rolled::default(), |hash| network.is_met_by(hash));
        pool.new_tip();
        pool.now = at(3_000);
        assert_eq!(code(&pool.submit(&proof)), "stale-share");
        assert_eq!((pool.blocks.len(), pool.recorded.len()), (1, 0));
        assert_eq!(code(&pool.submit(&proof)), "duplicate-share");
        assert_eq!(pool.blocks.len(), 1);
    }
}

#[test]
fn nothing_is_acknowledged_before_it_is_in_the_log() {
    // M-88, C-30
    everywhere(|_, mut pool| {
        pool.mood.commits = false;
        for _ in 0..3 {
            assert!(pool.mine(FIRST).is_empty());
        }
        pool.pass(Duration::from_secs(30));
        assert!(pool.flush().is_empty());
        let said = pool.commit(1);
        let [Said::Accepted(success)] = &said[..] else { panic!("{said:?}") };
        assert_eq!((success.last_sequence_number, success.new_submits_accepted_count), (1, 1));
        assert!(pool.commit(1).is_empty(), "nothing new");
        pool.end();
    });
}

#[test]
fn acknowledgements_come_in_batches() {
    // M-82, M-84: so many together, each once.
    everywhere(|_, mut pool| {
        assert_eq!(kinds(&pool.mine(FIRST)), ["accepted"], "the first at once");
        let mut last = 0;
        for index in 1..=32 {
            let proof = pool.miner.mine(FIRST);
            last = proof.sequence;
            let expected: &[&str] = if index % 16 == 0 { &["accepted"] } else { &[] };
            assert_eq!(kinds(&pool.submit(&proof)), expected, "{index}");
        }
        let counts: Vec<u32> =
            pool.miner.accepted.iter().map(|success| success.new_submits_accepted_count).collect();
        assert_eq!(counts, [1, 16, 16]);
        assert_eq!(pool.miner.accepted[2].last_sequence_number, last);
        pool.end();
    });
}

#[test]
fn a_batch_does_not_wait_long() {
    // M-84, C-31
    everywhere(|_, mut pool| {
        pool.mine(FIRST);
        pool.now = at(100);
        assert!(pool.mine(FIRST).is_empty());
        pool.now = at(600);
        assert!(pool.mine(FIRST).is_empty());
        assert!(pool.pass(Duration::from_millis(499)).is_empty());
        let said = pool.pass(Duration::from_millis(1));
        let [Said::Accepted(success)] = &said[..] else { panic!("{said:?}") };
        assert_eq!(success.new_submits_accepted_count, 2);
        // The first after a pause at once.
        pool.now = at(5_000);
        assert_eq!(kinds(&pool.mine(FIRST)), ["accepted"]);
        assert!(pool.mine(FIRST).is_empty());
        pool.end();
    });
}

#[test]
fn batches_are_a_channels_own() {
    // M-80
    let mut pool = Pool::ready(Wire::Noise);
    let [one, other] = ["alice", "bob"].map(|user| pool.open_standard(user));
    pool.mood.commits = false;
    for id in [one, other, one, one, other] {
        pool.mine(id);
    }
    let said = pool.commit(5);
    let told = |said: &Said| match said {
        Said::Accepted(success) => (success.channel_id, success.new_submits_accepted_count),
        other => panic!("{other:?}"),
    };
    assert_eq!(said.iter().map(told).collect::<Vec<_>>(), [(one, 3), (other, 2)]);
    pool.end();
}

#[test]
fn a_stopping_pool_tells_what_is_in_the_log() {
    // M-84
    everywhere(|_, mut pool| {
        pool.mine(FIRST);
        for _ in 0..3 {
            assert!(pool.mine(FIRST).is_empty());
        }
        pool.session.shut_down(pool.now, Close::Shutdown);
        pool.run();
        let said = pool.flush();
        let [Said::Accepted(success)] = &said[..] else { panic!("{said:?}") };
        assert_eq!(success.new_submits_accepted_count, 3);
        assert_eq!(pool.closed, Some(Close::Shutdown));
        pool.end();
    });
}

#[test]
fn bad_shares_are_answered_beside_the_batch() {
    // M-78, M-82: they are not part of it.
    everywhere(|_, mut pool| {
        pool.mine(FIRST);
        for _ in 0..15 {
            let proof = pool.miner.mine(FIRST);
            assert!(pool.submit(&proof).is_empty());
            assert_eq!(code(&pool.submit(&proof)), "duplicate-share");
        }
        let said = pool.mine(FIRST);
        let [Said::Accepted(success)] = &said[..] else { panic!("{said:?}") };
        assert_eq!(success.new_submits_accepted_count, 16);
    });
}

#[test]
fn a_review_that_is_due_by_shares_follows_the_share() {
    let mut pool = Pool::ready(Wire::Noise);
    pool.mood.answers_openings = false;
    pool.say(&open_standard(1, "alice"));
    let mut opening = decision(EASY);
    opening.review_after_shares = 3;
    pool.session.answer(pool.now, Answer::Opened(ChannelId(FIRST), Some(opening)));
    pool.run();
    pool.flush();
    pool.now = at(2_000);
    for _ in 0..5 {
        pool.mine(FIRST);
    }
    assert_eq!(pool.reviews.len(), 1);
    assert_eq!((pool.reviews[0].1.accepted, pool.reviews[0].0.0), (3, FIRST));
}
