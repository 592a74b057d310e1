//! What a peer gets wrong on the way to a message.

use std::time::Duration;

use sluice_core::session::{Close, Note, Session};
use sluice_stratum_v2::messages::{
    ClientMessage, RequestExtensions, SubmitSharesExtended, SubmitSharesStandard, UNKNOWN_LIMIT,
    inbound_limit,
};
use sluice_stratum_v2::wire::Integers;

use crate::miner::{Proof, Said, kinds};
use crate::support::*;

/// As cgminer says it: 71 bytes.
const SV1: &[u8] = b"{\"id\": 1, \"method\": \"mining.subscribe\", \"params\": [\"cgminer/4.11.1-x\"]}\n";

/// One of each of a client's messages but the setup.
fn requests() -> Vec<ClientMessage<'static>> {
    vec![
        ClientMessage::RequestExtensions(RequestExtensions {
            request_id: 3,
            requested: Integers(&[[2, 0], [9, 0]]),
        }),
        open_standard(7, "alice"),
        open_extended(8, "bob"),
        update(77, 1000.0, ANY),
        ClientMessage::SubmitSharesStandard(SubmitSharesStandard {
            channel_id: 77,
            sequence_number: 5,
            job_id: 1,
            nonce: 0,
            ntime: 0,
            version: 0,
        }),
        ClientMessage::SubmitSharesExtended(SubmitSharesExtended {
            channel_id: 77,
            sequence_number: 6,
            job_id: 1,
            nonce: 0,
            ntime: 0,
            version: 0,
            extranonce: &[0; 8],
        }),
        close(77),
    ]
}

fn sorted(said: &[Said]) -> Vec<String> {
    let mut said: Vec<String> = said.iter().map(|said| format!("{said:?}")).collect();
    said.sort();
    said
}

#[test]
fn a_line_of_sv1_in_one_piece_ends_the_connection() {
    // N-23
    let mut pool = Pool::bare(noise(), config(), HARD);
    assert!(pool.exchange(SV1).is_empty());
    assert_eq!(pool.closed, Some(Close::EarlyBytes));
    // In the clear it is a frame of no kind that may come first.
    let mut pool = Pool::new(Wire::Plain);
    assert!(pool.send(SV1).is_empty());
    assert_eq!(pool.closed, Some(Close::OutOfOrder));
}

#[test]
fn sixty_four_bytes_of_anything_are_a_key() {
    // N-21: noticed with the first record.
    let mut pool = Pool::bare(noise(), config(), HARD);
    assert_eq!(pool.exchange(&SV1[..64]).len(), 234);
    assert!(pool.exchange(&SV1[64..]).is_empty());
    assert_eq!(pool.closed, None);
    assert!(pool.exchange(SV1).is_empty(), "N-20: nothing is said");
    assert_eq!(pool.closed, Some(Close::BadMac));
}

#[test]
fn a_short_act_one_ends_by_the_clock() {
    // N-21, N-22
    let mut pool = Pool::bare(noise(), config(), HARD);
    for byte in &SV1[..63] {
        assert!(pool.exchange(&[*byte]).is_empty());
        pool.pass(Duration::from_millis(150));
    }
    assert_eq!(pool.closed, None);
    pool.pass(Duration::from_secs(1));
    assert_eq!(pool.closed, Some(Close::HandshakeTimeout));
}

#[test]
fn a_wrong_code_ends_the_connection_in_silence() {
    // N-20
    let length = Pool::ready(Wire::Noise).link.seal(&frames(&[open_standard(7, "alice")])).len();
    for place in [0, 5, 6, 21, 22, 40, length - 17, length - 16, length - 1] {
        let mut pool = Pool::ready(Wire::Noise);
        let mut bytes = pool.link.seal(&frames(&[open_standard(7, "alice")]));
        bytes[place] ^= 0x10;
        assert!(pool.send(&bytes).is_empty());
        assert_eq!(pool.closed, Some(Close::BadMac), "{place}");
        assert!(pool.logins.is_empty());
    }
}

#[test]
fn a_wrong_code_takes_the_answers_before_it_along() {
    // N-20: nothing is sent any more, whatever was still to be said.
    let mut pool = Pool::ready(Wire::Noise);
    let mut bytes = pool.link.seal(&frames(&[update(77, 1.0, ANY), update(78, 1.0, ANY)]));
    *bytes.last_mut().unwrap() ^= 1;
    assert!(pool.exchange(&bytes).is_empty());
    assert_eq!(pool.closed, Some(Close::BadMac));
}

#[test]
fn records_are_taken_in_their_order_only() {
    // N-30
    let mut pool = Pool::ready(Wire::Noise);
    let first = pool.link.seal(&frames(&[update(77, 1.0, ANY)]));
    let second = pool.link.seal(&frames(&[update(78, 1.0, ANY)]));
    assert_eq!(kinds(&pool.send(&first)), ["not updated"]);
    pool.send(&first);
    assert_eq!(pool.closed, Some(Close::BadMac), "the same again");
    pool.send(&second);
}

#[test]
fn half_a_record_waits() {
    for wire in Wire::BOTH {
        let mut pool = Pool::new(wire);
        let bytes = pool.link.seal(&frames(&[setup(0)]));
        for byte in &bytes[..bytes.len() - 1] {
            assert!(pool.send(&[*byte]).is_empty());
        }
        assert_eq!(pool.closed, None);
        pool.pass(Duration::from_secs(10));
        assert_eq!(pool.closed, Some(Close::HandshakeTimeout));
    }
}

/// The header of a frame that says it is so long.
fn header(extension: u16, message: u8, length: u32) -> Vec<u8> {
    let length = length.to_le_bytes();
    [&extension.to_le_bytes(), &[message][..], &length[..3]].concat()
}

/// Whether the header alone ends the connection.
fn ends_at_header(pool: &mut Pool, header: &[u8]) -> Option<Close> {
    let bytes = match &mut pool.link {
        crate::miner::Link::Plain => header.to_vec(),
        crate::miner::Link::Noise(transport) => {
            let mut bytes = Vec::new();
            transport.send.seal(header.try_into().unwrap(), &[], &mut bytes);
            bytes
        }
    };
    assert!(pool.send(&bytes).is_empty());
    pool.closed
}

#[test]
fn oversized_frames_end_before_their_payload() {
    // F-13
    let kinds = [(0, 0x10), (0, 0x13), (0, 0x16), (0, 0x18), (0, 0x1a), (0, 0x1b), (0x0001, 0x00)];
    for wire in Wire::BOTH {
        for length in [1292, 100_000, 0xff_ffff] {
            let ended = ends_at_header(&mut Pool::new(wire), &header(0, 0, length));
            assert_eq!(ended, Some(Close::Oversized), "{length}");
        }
        assert_eq!(ends_at_header(&mut Pool::new(wire), &header(0, 0, 1291)), None);
        for (extension, message) in kinds {
            let limit = inbound_limit(extension, message).unwrap();
            let within = header(extension, message, limit);
            assert_eq!(ends_at_header(&mut Pool::ready(wire), &within), None, "{message:#x}");
            let beyond = header(extension, message, limit + 1);
            let ended = ends_at_header(&mut Pool::ready(wire), &beyond);
            assert_eq!(ended, Some(Close::Oversized), "{message:#x}");
        }
        for (extension, message) in [(0, 0x66), (0x0abc, 0), (0x8abc, 1)] {
            let within = header(extension, message, UNKNOWN_LIMIT);
            assert_eq!(ends_at_header(&mut Pool::ready(wire), &within), None);
            let beyond = header(extension, message, UNKNOWN_LIMIT + 1);
            assert_eq!(ends_at_header(&mut Pool::ready(wire), &beyond), Some(Close::Oversized));
        }
    }
}

#[test]
fn a_message_nobody_knows_has_four_kibibytes() {
    // F-10, F-13: more than any that is known, and no room for those who want to fill memory.
    for wire in Wire::BOTH {
        for extension in [0, 1, 0x8000, 0x0abc, 0x8abc] {
            let mut pool = Pool::ready(wire);
            for length in [4, 5, 1291, 4095, 4096] {
                assert!(pool.say_frames(&frame(extension, 0x66, &vec![7; length])).is_empty());
                assert_eq!(pool.closed, None, "{length}");
            }
            pool.open_standard("alice");
            assert!(pool.say_frames(&frame(extension, 0x66, &[7; 4097])).is_empty());
            assert_eq!(pool.closed, Some(Close::Oversized));
            pool.end();
        }
    }
}

#[test]
fn unknown_extensions_are_passed_over_without_end() {
    // F-9, F-11
    for wire in Wire::BOTH {
        let mut pool = Pool::ready(wire);
        for index in 0..500u16 {
            let bit = if index % 2 == 0 { 0 } else { 0x8000 };
            let extension = 2 + index % 0x7ff0;
            assert!(pool.say_frames(&frame(extension | bit, 0x10, &[2, 0, 0, 0, 9])).is_empty());
        }
        assert_eq!(pool.notes, vec![Note::Strayed("unknown_extension"); 500]);
        pool.open_standard("alice");
    }
}

#[test]
fn unknown_messages_are_passed_over_up_to_a_limit() {
    // F-10
    for wire in Wire::BOTH {
        let mut pool = Pool::standard(wire);
        pool.notes.clear();
        for _ in 0..32 {
            assert!(pool.say_frames(&frame(0, 0x66, b"?")).is_empty());
        }
        assert_eq!((pool.notes.len(), pool.closed), (32, None));
        let bad = Proof { job: 0xffff, ..pool.miner.mine(FIRST) };
        assert_eq!(kinds(&pool.submit(&bad)), ["refused"], "that is no work");
        assert!(pool.say_frames(&frame(1, 0x03, b"")).is_empty());
        assert_eq!(pool.closed, Some(Close::UnknownMessages));
        pool.end();
    }
}

#[test]
fn a_peer_that_works_may_stray_now_and_then() {
    // F-10: every accepted share begins the count anew.
    for wire in Wire::BOTH {
        let mut pool = Pool::standard(wire);
        for _ in 0..5 {
            for _ in 0..32 {
                assert!(pool.say_frames(&frame(0, 0x66, b"?")).is_empty());
            }
            pool.mine(FIRST);
        }
        assert_eq!((pool.recorded.len(), pool.closed), (5, None));
        for _ in 0..33 {
            pool.say_frames(&frame(0, 0x66, b"?"));
        }
        assert_eq!(pool.closed, Some(Close::UnknownMessages));
        pool.end();
    }
}

#[test]
fn the_channel_bit_does_not_matter() {
    // F-8
    for wire in Wire::BOTH {
        let mut right = Pool::ready(wire);
        let mut wrong = Pool::ready(wire);
        for message in requests() {
            let frame = frames(&[message]);
            let mut flipped = frame.clone();
            flipped[1] ^= 0x80;
            assert_eq!(wrong.say_frames(&flipped), right.say_frames(&frame), "{}", message.name());
        }
        let strayed =
            |pool: &Pool| pool.notes.iter().filter(|note| **note == Note::Strayed("channel_bit")).count();
        assert_eq!((strayed(&right), strayed(&wrong)), (0, requests().len()));
        let mut first = frames(&[setup(0)]);
        first[1] ^= 0x80;
        assert_eq!(kinds(&Pool::new(wire).say_frames(&first)), ["set up"]);
    }
}

#[test]
fn a_channel_message_has_a_channel() {
    // F-5
    for wire in Wire::BOTH {
        for extension in [0x8000, 0x8001, 0x8abc] {
            for length in 0..4 {
                let mut pool = Pool::ready(wire);
                pool.say_frames(&frame(extension, 0x66, &vec![0; length]));
                assert_eq!(pool.closed, Some(Close::Malformed));
            }
        }
    }
}

#[test]
fn what_is_cut_short_ends_the_connection() {
    // F-28
    for message in requests() {
        let whole = frames(&[message]);
        for length in 0..whole.len() - 6 {
            let mut cut = whole[..6 + length].to_vec();
            cut[3..6].copy_from_slice(&u32::try_from(length).unwrap().to_le_bytes()[..3]);
            let mut pool = Pool::ready(Wire::Plain);
            assert!(pool.say_frames(&cut).is_empty());
            assert_eq!(pool.closed, Some(Close::Malformed), "{} of {length}", message.name());
        }
    }
    let mut pool = Pool::new(Wire::Noise);
    pool.say_frames(&frame(0, 0, b""));
    assert_eq!(pool.closed, Some(Close::Malformed), "a setup without a payload");
}

#[test]
fn fields_of_the_future_are_passed_over() {
    // F-29
    for wire in Wire::BOTH {
        let mut known = Pool::ready(wire);
        let mut more = Pool::ready(wire);
        for message in requests() {
            let frame = frames(&[message]);
            let payload = [&frame[6..], b"more of it"].concat();
            let extension = u16::from_le_bytes([frame[0], frame[1]]);
            let longer = crate::support::frame(extension, frame[2], &payload);
            assert_eq!(more.say_frames(&longer), known.say_frames(&frame), "{}", message.name());
        }
    }
}

#[test]
fn an_extranonce_beyond_thirty_two_bytes_is_malformed() {
    // F-23
    let mut pool = Pool::extended(Wire::Noise);
    let payload = [&[2, 0, 0, 0][..], &[0; 20], &[33], &[0; 33]].concat();
    pool.say_frames(&frame(0x8000, 0x1b, &payload));
    assert_eq!(pool.closed, Some(Close::Malformed));
    pool.end();
}

#[test]
fn the_pieces_do_not_matter() {
    for wire in Wire::BOTH {
        let conversation = |pool: &mut Pool| {
            let first = pool.link.seal(&frames(&[setup(0)]));
            [first, pool.link.seal(&frames(&requests()))].concat()
        };
        let mut whole = Pool::new(wire);
        let bytes = conversation(&mut whole);
        let expected = sorted(&whole.send(&bytes));
        assert_eq!(expected.len(), 11, "{expected:#?}");
        for cut in 0..=bytes.len() {
            let mut pool = Pool::new(wire);
            assert_eq!(conversation(&mut pool), bytes);
            let mut said = pool.send(&bytes[..cut]);
            said.extend(pool.send(&bytes[cut..]));
            assert_eq!(sorted(&said), expected, "{wire:?}, cut at {cut}");
        }
        let mut pool = Pool::new(wire);
        conversation(&mut pool);
        let said: Vec<Said> = bytes.iter().flat_map(|byte| pool.send(&[*byte])).collect();
        assert_eq!(sorted(&said), expected, "{wire:?}, byte by byte");
    }
}

#[test]
fn an_empty_payload_needs_no_more_bytes() {
    // F-2, N-31
    for wire in Wire::BOTH {
        let mut pool = Pool::ready(wire);
        pool.say_frames(&frame(0x0abc, 0, b""));
        assert_eq!(pool.notes, [Note::Strayed("unknown_extension")]);
        pool.say_frames(&frame(0, 0x66, b""));
        assert_eq!(pool.notes.len(), 2);
        pool.say_frames(&[frame(0, 0x66, b""), frame(0, 0x66, b""), frames(&[close(77)])].concat());
        assert_eq!(pool.notes.len(), 4);
    }
}

#[test]
fn many_frames_in_one_piece_are_all_answered() {
    for wire in Wire::BOTH {
        let mut pool = Pool::ready(wire);
        let all: Vec<ClientMessage<'_>> = (100..600).map(|id| update(id, 1.0, ANY)).collect();
        let said = pool.say_frames(&frames(&all));
        let ids: Vec<u32> = said
            .iter()
            .map(|said| match said {
                Said::NotUpdated { channel_id, .. } => *channel_id,
                other => panic!("{other:?}"),
            })
            .collect();
        assert_eq!(ids, (100..600).collect::<Vec<_>>());
    }
}

#[test]
fn a_peer_that_does_not_read_is_not_read() {
    // C-2
    for wire in Wire::BOTH {
        let mut free = config();
        free.messages_per_minute = 0;
        let mut pool = Pool::ready_with(wire, free, HARD, 0);
        let request = frames(&[update(77, 1.0, ANY)]);
        let mut count = 0;
        while pool.session.wants_input() {
            let bytes = pool.link.seal(&request);
            pool.feed(&bytes);
            count += 1;
            assert!(count < 10_000, "it reads without end");
        }
        let more = pool.link.seal(&request.repeat(3));
        assert_eq!(pool.session.receive(pool.now, &more), 0, "the driver keeps it");
        let said = pool.flush();
        assert_eq!(said.len(), count);
        assert!(pool.session.wants_input());
        assert_eq!(pool.send(&more).len(), 3);
    }
}
