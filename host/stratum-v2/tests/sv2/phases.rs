//! Every message in every phase.

use std::time::Duration;

use sluice_core::session::{Answer, Close, Session};
use sluice_stratum_v2::messages::{
    ClientMessage, RequestExtensions, SubmitSharesExtended, SubmitSharesStandard, SubmitSharesSuccess,
    write_frame,
};
use sluice_stratum_v2::noise::HEADER_RECORD;
use sluice_stratum_v2::wire::Integers;

use crate::miner::{Said, kinds};
use crate::support::*;

/// All that a client may say, and some that it may not.
fn messages() -> Vec<(&'static str, Vec<u8>)> {
    let submit_standard = ClientMessage::SubmitSharesStandard(SubmitSharesStandard {
        channel_id: FIRST,
        sequence_number: 5,
        job_id: 1,
        nonce: 0,
        ntime: 0,
        version: 0,
    });
    let submit_extended = ClientMessage::SubmitSharesExtended(SubmitSharesExtended {
        channel_id: FIRST,
        sequence_number: 5,
        job_id: 1,
        nonce: 0,
        ntime: 0,
        version: 0,
        extranonce: &[0; 8],
    });
    let requested = Integers(&[[2, 0]]);
    let known = [
        setup(0),
        ClientMessage::RequestExtensions(RequestExtensions { request_id: 3, requested }),
        open_standard(7, "alice"),
        open_extended(8, "alice"),
        update(FIRST, 1000.0, ANY),
        close(FIRST),
        submit_standard,
        submit_extended,
    ];
    let mut of_the_pool = Vec::new();
    let success = SubmitSharesSuccess {
        channel_id: FIRST,
        last_sequence_number: 1,
        new_submits_accepted_count: 1,
        new_shares_sum: 1,
    };
    write_frame(&success, &mut of_the_pool);
    let known = known.iter().map(|message| (message.name(), frames(std::slice::from_ref(message))));
    let others = [
        ("SubmitShares.Success", of_the_pool),
        ("SetCustomMiningJob", frame(0x8000, 0x22, &[0; 200])),
        ("unknown message", frame(0, 0x66, b"whatever")),
        ("unknown extension", frame(0x0abc, 0x01, b"")),
        ("unknown extension, for a channel", frame(0x8abc, 0x01, &[2, 0, 0, 0])),
    ];
    known.chain(others).collect()
}

#[derive(Debug, PartialEq)]
enum Outcome {
    Says(Vec<&'static str>),
    Ends(Close),
}

fn outcome(pool: &mut Pool, frame: &[u8]) -> Outcome {
    let said = pool.say_frames(frame);
    match pool.closed {
        None => Outcome::Says(kinds(&said)),
        Some(why) => {
            assert!(said.is_empty(), "{said:?}");
            Outcome::Ends(why)
        }
    }
}

/// Runs every message through a fresh connection in that phase.
fn table(make: impl Fn(Wire) -> Pool, expected: impl Fn(&str) -> Outcome) {
    table_and_then(make, expected, |_, _| {});
}

/// The same, and what comes of the connections that go on.
fn table_and_then(
    make: impl Fn(Wire) -> Pool,
    expected: impl Fn(&str) -> Outcome,
    then: impl Fn(&mut Pool, &str),
) {
    for wire in Wire::BOTH {
        for (name, frame) in messages() {
            let mut pool = make(wire);
            if matches!(name, "CloseChannel") && pool.miner.channels.contains_key(&FIRST) {
                pool.miner.close(FIRST);
            }
            assert_eq!(outcome(&mut pool, &frame), expected(name), "{name}, {wire:?}");
            if pool.closed.is_none() {
                then(&mut pool, name);
            }
            pool.end();
        }
    }
}

#[test]
fn before_the_handshake_nothing_is_a_message() {
    for (name, frame) in messages() {
        let mut pool = Pool::bare(noise(), config(), HARD);
        let out = pool.exchange(&frame);
        match frame.len() {
            // N-21: it may be a key.
            64 => assert_eq!((out.len(), pool.closed), (234, None), "{name}"),
            // N-23
            65.. => assert_eq!((out.len(), pool.closed), (0, Some(Close::EarlyBytes)), "{name}"),
            _ => {
                assert_eq!((out.len(), pool.closed), (0, None), "{name}");
                // N-22
                pool.pass(Duration::from_secs(10));
                assert_eq!(pool.closed, Some(Close::HandshakeTimeout), "{name}");
            }
        }
    }
}

#[test]
fn the_setup_comes_first() {
    // S-1, F-12, F-13
    table(Pool::new, |name| match name {
        "SetupConnection" => Outcome::Says(vec!["set up"]),
        _ => Outcome::Ends(Close::OutOfOrder),
    });
}

#[test]
fn after_act_two_nothing_in_the_clear_is_a_message() {
    // N-20, N-22: nothing was decrypted yet.
    for (name, frame) in messages() {
        let mut pool = Pool::bare(noise(), config(), HARD);
        assert_eq!(pool.exchange(&[5; 64]).len(), 234);
        assert!(pool.exchange(&frame).is_empty(), "{name}");
        if frame.len() >= HEADER_RECORD {
            assert_eq!(pool.closed, Some(Close::BadMac), "{name}");
        } else {
            assert_eq!(pool.closed, None, "{name}");
            assert!(pool.pass(Duration::from_secs(10)).is_empty());
            assert_eq!(pool.closed, Some(Close::HandshakeTimeout), "{name}");
        }
        assert_eq!(pool.established, 0);
    }
}

/// What a connection answers on which a first channel is asked for and was not told yet.
fn before_it_is_told(name: &str) -> Outcome {
    match name {
        "SetupConnection" => Outcome::Ends(Close::OutOfOrder),
        // M-55, M-73: its id is nobody's.
        "UpdateChannel" => Outcome::Says(vec!["not updated"]),
        "SubmitSharesStandard" | "SubmitSharesExtended" => Outcome::Says(vec!["refused"]),
        // Too late (E-2), one after the other (V1-21), without a word (M-62), passed over.
        _ => Outcome::Says(vec![]),
    }
}

/// The channel opens whatever was said meanwhile, and those that were asked for after it.
fn opens(said: &[Said], name: &str) {
    let expected: &[&str] = match name {
        "OpenStandardMiningChannel" => &["future job", "future job"],
        "OpenExtendedMiningChannel" => &["future job", "future extended job"],
        _ => &["future job"],
    };
    let expected: Vec<_> = expected.iter().flat_map(|job| ["opened", *job, "prev hash"]).collect();
    assert_eq!(kinds(said), expected, "{name}");
}

#[test]
fn while_a_login_is_looked_at() {
    let asking = |wire| {
        let mut pool = Pool::ready(wire);
        pool.mood.answers_logins = false;
        assert!(pool.say(&open_standard(1, "alice")).is_empty());
        pool
    };
    table_and_then(asking, before_it_is_told, |pool, name| {
        assert_eq!(pool.logins.len(), 1, "{name}");
        pool.mood.answers_logins = true;
        opens(&pool.answer_login(), name);
    });
}

#[test]
fn while_the_vardiff_policy_thinks() {
    let thinking = |wire| {
        let mut pool = Pool::ready(wire);
        pool.mood.answers_openings = false;
        assert!(pool.say(&open_standard(1, "alice")).is_empty());
        pool
    };
    table_and_then(thinking, before_it_is_told, |pool, name| {
        for (id, _) in pool.openings.clone() {
            pool.session.answer(pool.now, Answer::Opened(id, Some(decision(EASY))));
            pool.run();
        }
        opens(&pool.flush(), name);
        assert_eq!(kinds(&pool.mine(FIRST)), ["accepted"]);
    });
}

#[test]
fn while_the_first_work_is_awaited() {
    // M-22
    let waiting = |wire| {
        let mut pool = Pool::ready(wire);
        pool.mood.has_work = false;
        assert!(pool.say(&open_standard(1, "alice")).is_empty());
        pool
    };
    table_and_then(waiting, before_it_is_told, |pool, name| {
        opens(&pool.publish(), name);
        assert_eq!(kinds(&pool.mine(FIRST)), ["accepted"]);
    });
}

#[test]
fn without_a_channel() {
    table(Pool::ready, |name| match name {
        // S-15
        "SetupConnection" => Outcome::Ends(Close::OutOfOrder),
        "RequestExtensions" => Outcome::Says(vec!["extensions"]),
        "OpenStandardMiningChannel" => Outcome::Says(vec!["opened", "future job", "prev hash"]),
        "OpenExtendedMiningChannel" => Outcome::Says(vec!["opened", "future extended job", "prev hash"]),
        "UpdateChannel" => Outcome::Says(vec!["not updated"]),
        // M-87
        "SubmitSharesStandard" | "SubmitSharesExtended" => Outcome::Says(vec!["refused"]),
        // M-62, F-9, F-10
        _ => Outcome::Says(vec![]),
    });
}

#[test]
fn with_a_channel() {
    table(Pool::standard, |name| match name {
        "SetupConnection" => Outcome::Ends(Close::OutOfOrder),
        "OpenStandardMiningChannel" => Outcome::Says(vec!["opened", "future job", "prev hash"]),
        "OpenExtendedMiningChannel" => Outcome::Says(vec!["opened", "future extended job", "prev hash"]),
        // An unknown job; the wrong kind (M-73).
        "SubmitSharesStandard" | "SubmitSharesExtended" => Outcome::Says(vec!["refused"]),
        // Too late (E-2), accepted without a word (M-53), closed (M-60), passed over.
        _ => Outcome::Says(vec![]),
    });
}

#[test]
fn once_it_ends_nothing_is_heard() {
    for wire in Wire::BOTH {
        for (name, frame) in messages() {
            let mut pool = Pool::standard(wire);
            pool.session.shut_down(pool.now, Close::Shutdown);
            pool.run();
            assert_eq!(pool.closed, Some(Close::Shutdown));
            let bytes = pool.link.seal(&frame);
            assert_eq!(pool.session.receive(pool.now, &bytes), bytes.len(), "{name}");
            assert!(pool.session.next_effect().is_none(), "{name}");
            assert!(!pool.session.wants_input());
            pool.offer();
            pool.session.committed(1);
            assert!(pool.flush().is_empty(), "{name}");
            assert_eq!(pool.session.deadline(), None);
            pool.session.shut_down(pool.now, Close::NoWork);
            pool.run();
            pool.end();
        }
    }
}
