//! Agreeing on extensions (E-1 to E-7), and workers named by their shares (E-20 to E-24).

use bitcoin::{CompactTarget, Target};
use sluice_core::ids::WorkerId;
use sluice_core::session::Note;
use sluice_core::share::Reason;
use sluice_stratum_v2::messages::{ClientMessage, RequestExtensions};
use sluice_stratum_v2::wire::Integers;
use sluice_stratum_v2::wire::tlv;

use crate::miner::{Proof, Rolled, Said, code, kinds};
use crate::support::*;

fn request(pool: &mut Pool, request_id: u16, extensions: &[u16]) -> Vec<Said> {
    let requested: Vec<[u8; 2]> = extensions.iter().map(|extension| extension.to_le_bytes()).collect();
    let requested = Integers(&requested);
    pool.say(&ClientMessage::RequestExtensions(RequestExtensions { request_id, requested }))
}

/// A connection on which shares name their worker, with an extended channel.
fn naming(wire: Wire) -> Pool {
    let mut pool = Pool::ready(wire);
    request(&mut pool, 1, &[2]);
    pool.open_extended("alice.own");
    pool
}

fn submit_as(pool: &mut Pool, worker: &[u8]) -> Vec<Said> {
    let mut trailing = Vec::new();
    tlv::write_worker(worker, &mut trailing);
    submit_with(pool, &trailing)
}

fn submit_with(pool: &mut Pool, trailing: &[u8]) -> Vec<Said> {
    let frame = pool.miner.mine(FIRST).frame_with(trailing);
    pool.say_frames(&frame)
}

/// Whose the last share is.
fn last_worker(pool: &Pool) -> u32 {
    pool.recorded.last().unwrap().2.0
}

/// The channel's own.
const OWN: u32 = 2;

#[test]
fn the_extensions_that_are_supported_are_agreed_on() {
    // E-1, E-3, E-7
    for wire in Wire::BOTH {
        for (asked, supported) in
            [(&[2][..], &[2][..]), (&[2, 2, 2], &[2]), (&[1, 2, 3, 0x7fff], &[2]), (&[], &[])]
        {
            let said = request(&mut Pool::ready(wire), 0xfffe, asked);
            let expected = Said::Extensions { request_id: 0xfffe, supported: supported.to_vec() };
            assert_eq!(said, [expected]);
        }
    }
}

#[test]
fn none_that_is_supported_is_an_error() {
    // E-3, E-4, E-5, E-6: answered, so that no client waits; nothing is required; the connection goes on.
    for wire in Wire::BOTH {
        let mut pool = Pool::ready(wire);
        let said = request(&mut pool, 7, &[3, 0x4000]);
        let expected = Said::NoExtensions { request_id: 7, unsupported: vec![3, 0x4000], required: vec![] };
        assert_eq!(said, [expected]);
        assert_eq!(kinds(&request(&mut pool, 8, &[2])), ["extensions"], "it may come again with others");
        pool.open_extended("alice");
    }
}

#[test]
fn a_long_list_is_answered() {
    // E-7
    let mut pool = Pool::ready(Wire::Noise);
    let all: Vec<u16> = (3..259).collect();
    let said = request(&mut pool, 7, &all);
    let [Said::NoExtensions { unsupported, .. }] = &said[..] else { panic!("{said:?}") };
    assert_eq!(*unsupported, all);
}

#[test]
fn it_is_too_late_once_there_are_channels() {
    // E-2
    let mut pool = Pool::extended(Wire::Noise);
    assert!(request(&mut pool, 7, &[2]).is_empty());
    assert_eq!(pool.notes.last(), Some(&Note::Strayed("late_extensions")));
    submit_as(&mut pool, b"rig");
    assert!(pool.named.is_empty(), "E-20: not negotiated, not looked at");
    assert_eq!(last_worker(&pool), OWN);
    // Nor does it undo what was agreed on.
    let mut pool = naming(Wire::Noise);
    request(&mut pool, 8, &[]);
    submit_as(&mut pool, b"rig");
    assert_eq!(last_worker(&pool), 101);
}

#[test]
fn a_worker_is_named_once() {
    // E-20, E-24
    for wire in Wire::BOTH {
        let mut pool = naming(wire);
        for (worker, expected) in [("rig1", 101), ("rig2", 102), ("rig1", 101), ("rig2", 102)] {
            submit_as(&mut pool, worker.as_bytes());
            assert_eq!(last_worker(&pool), expected);
        }
        let named: Vec<&str> = pool.named.iter().map(|(_, worker)| worker.as_str()).collect();
        assert_eq!(named, ["rig1", "rig2"]);
        assert!(pool.named.iter().all(|(account, _)| account.as_str() == "alice"));
        assert!(pool.rejected.is_empty());
        // Another channel has its own.
        let other = pool.open_extended("bob");
        let mut trailing = Vec::new();
        tlv::write_worker(b"rig1", &mut trailing);
        let frame = pool.miner.mine(other).frame_with(&trailing);
        pool.say_frames(&frame);
        assert_eq!(pool.named.last().unwrap().0.as_str(), "bob");
        pool.end();
    }
}

#[test]
fn shares_in_one_piece_keep_their_order() {
    // E-20: what follows a share waits until its worker is known.
    let mut pool = naming(Wire::Noise);
    let mut all = Vec::new();
    for index in 0..6u8 {
        let mut trailing = Vec::new();
        tlv::write_worker(&[b'a' + index % 3], &mut trailing);
        all.extend(pool.miner.mine(FIRST).frame_with(&trailing));
    }
    pool.say_frames(&all);
    let workers: Vec<u32> = pool.recorded.iter().map(|(_, _, WorkerId(worker))| *worker).collect();
    assert_eq!(workers, [101, 102, 103, 101, 102, 103]);
}

#[test]
fn a_share_without_a_usable_worker_is_the_channels_own() {
    // E-21, E-22
    let mut pool = naming(Wire::Noise);
    let field = |extension, value: &[u8]| {
        let mut trailing = Vec::new();
        tlv::write(extension, 1, value, &mut trailing);
        trailing
    };
    for trailing in [vec![], field(3, b"x"), field(2, b"\xff\xfe"), field(2, b""), field(2, b"a\nb")] {
        submit_with(&mut pool, &trailing);
        assert_eq!(last_worker(&pool), OWN);
    }
    assert_eq!((pool.recorded.len(), pool.named.len()), (5, 0));
    let strayed = pool.notes.iter().filter(|note| matches!(note, Note::Strayed(_))).count();
    assert_eq!(strayed, 5);
}

#[test]
fn fields_come_in_any_order() {
    // F-41, F-43
    let mut pool = naming(Wire::Noise);
    let mut trailing = Vec::new();
    tlv::write(9, 1, b"something", &mut trailing);
    tlv::write_worker(b"rig", &mut trailing);
    tlv::write(1, 1, b"", &mut trailing);
    submit_with(&mut pool, &trailing);
    assert_eq!(last_worker(&pool), 101);
}

#[test]
fn a_field_that_is_too_long_or_cut_short_refuses_the_share() {
    // F-42, E-21
    for wire in Wire::BOTH {
        let mut pool = naming(wire);
        assert_eq!(code(&submit_as(&mut pool, &[b'x'; 33])), "invalid-share");
        assert_eq!(code(&submit_with(&mut pool, &[2, 0, 1])), "invalid-share");
        assert_eq!(code(&submit_with(&mut pool, &[2, 0, 1, 5, 0, b'x'])), "invalid-share");
        submit_as(&mut pool, &[b'x'; 32]);
        assert_eq!(last_worker(&pool), 101);
        assert_eq!((pool.recorded.len(), pool.rejected.len()), (1, 3));
    }
}

#[test]
fn the_examples_of_the_specification_are_understood() {
    // F-44
    let mut pool = naming(Wire::Noise);
    submit_with(&mut pool, b"\x00\x02\x01\x00\x0aWorker_001");
    assert_eq!(pool.named[0].1.as_str(), "Worker_001");
    assert!(pool.notes.contains(&Note::Strayed("big_endian_tlv")));
}

#[test]
fn a_channel_names_so_many_workers() {
    // E-22
    let mut pool = naming(Wire::Noise);
    for index in 0..257 {
        submit_as(&mut pool, format!("rig{index}").as_bytes());
    }
    assert_eq!((pool.named.len(), pool.recorded.len()), (256, 257));
    assert_eq!(last_worker(&pool), OWN);
    submit_as(&mut pool, b"rig255");
    assert_eq!(last_worker(&pool), 356, "those that are known stay so");
}

#[test]
fn a_ledger_that_is_full_of_workers_is_asked_once_a_name() {
    let mut pool = naming(Wire::Noise);
    pool.mood.names = false;
    for _ in 0..3 {
        submit_as(&mut pool, b"rig");
        assert_eq!(last_worker(&pool), OWN);
    }
    assert_eq!(pool.named.len(), 1);
}

#[test]
fn a_worker_of_a_standard_channel_is_not_looked_for() {
    // E-20 is about SubmitSharesExtended; F-29.
    let mut pool = Pool::ready(Wire::Noise);
    request(&mut pool, 1, &[2]);
    pool.open_standard("alice.own");
    submit_as(&mut pool, b"rig");
    assert_eq!((pool.named.len(), last_worker(&pool)), (0, OWN));
}

#[test]
fn only_shares_that_count_make_a_worker_known() {
    // E-22: the ledger's numbers are not for the asking.
    let mut pool = naming(Wire::Noise);
    let mut trailing = Vec::new();
    tlv::write_worker(b"nobody", &mut trailing);
    let good = pool.miner.mine(FIRST);
    pool.submit(&good);
    for bad in [Proof { job: 0xffff, ..good.clone() }, Proof { version: 1, ..good.clone() }, good] {
        pool.say_frames(&bad.frame_with(&trailing));
    }
    assert_eq!(pool.rejected, [Reason::UnknownJob, Reason::BadVersion, Reason::Duplicate]);
    assert!(pool.named.is_empty());
    submit_as(&mut pool, b"nobody");
    assert_eq!((pool.named.len(), last_worker(&pool)), (1, 101));
    pool.end();
}

#[test]
fn a_connection_names_so_many_workers() {
    // E-22: over all its life, whatever channels it opens and closes.
    let mut pool = Pool::ready(Wire::Plain);
    request(&mut pool, 1, &[2]);
    for channel in 0..17 {
        let id = pool.open_extended("alice.own");
        for index in 0..256 {
            let mut trailing = Vec::new();
            tlv::write_worker(format!("{channel}.{index}").as_bytes(), &mut trailing);
            let frame = pool.miner.mine(id).frame_with(&trailing);
            pool.say_frames(&frame);
            if channel == 16 {
                break;
            }
        }
        pool.close(id);
    }
    assert_eq!((pool.named.len(), pool.recorded.len()), (4096, 4097));
    assert_eq!(last_worker(&pool), OWN, "its share counts all the same");
    pool.end();
}

#[test]
fn a_block_is_a_block_whatever_stands_behind_it() {
    // F-42, E-21, M-85
    for wire in Wire::BOTH {
        for trailing in [&[2, 0, 1][..], &[2, 0, 1, 5, 0, b'x']] {
            let mut pool = Pool::ready_with(wire, config(), REGTEST, 0);
            request(&mut pool, 1, &[2]);
            pool.open_extended("alice.own");
            let network = Target::from_compact(CompactTarget::from_consensus(REGTEST));
            let job = pool.miner.channel(FIRST).job().clone();
            let proof = pool.miner.search(FIRST, &job, Rolled::default(), |hash| network.is_met_by(hash));
            let frame = proof.frame_with(trailing);
            assert_eq!(code(&pool.say_frames(&frame)), "invalid-share");
            assert_eq!((pool.blocks.len(), pool.blocks[0].0.hash), (1, proof.hash));
            assert_eq!((pool.recorded.len(), &pool.rejected[..]), (0, &[Reason::Malformed][..]));
            // Handed over once, and it does not count later either.
            assert_eq!(code(&pool.say_frames(&frame)), "invalid-share");
            assert_eq!(code(&pool.submit(&proof)), "duplicate-share");
            assert_eq!((pool.blocks.len(), pool.recorded.len()), (1, 0));
            assert!(pool.named.is_empty());
            pool.end();
        }
    }
}
