//! What happens by the clock.

use std::time::Duration;

use sluice_core::ids::ChannelId;
use sluice_core::session::{Answer, Close, Session};

use crate::miner::kinds;
use crate::support::*;

const SECOND: Duration = Duration::from_secs(1);

#[test]
fn a_handshake_has_ten_seconds() {
    // N-22
    let mut pool = Pool::bare(noise(), config(), HARD);
    pool.pass(SECOND * 9);
    assert_eq!(pool.closed, None);
    pool.pass(SECOND);
    assert_eq!(pool.closed, Some(Close::HandshakeTimeout));
    assert_eq!(pool.session.deadline(), None);
}

#[test]
fn a_setup_has_ten_seconds_from_the_handshake_on() {
    // N-22, P-41
    let mut pool = Pool::bare(noise(), config(), HARD);
    pool.pass(SECOND * 9);
    assert_eq!(pool.exchange(&[5; 64]).len(), 234);
    pool.pass(SECOND * 9);
    assert_eq!(pool.closed, None);
    pool.pass(SECOND);
    assert_eq!(pool.closed, Some(Close::HandshakeTimeout));
}

#[test]
fn a_connection_without_channels_has_a_minute() {
    // S-16
    for wire in Wire::BOTH {
        let mut pool = Pool::ready(wire);
        pool.pass(SECOND * 59);
        // Talk is not enough, nor are refusals.
        pool.say(&update(77, 1.0, ANY));
        pool.say(&open_standard(1, "mallory"));
        assert_eq!(pool.closed, None);
        pool.pass(SECOND);
        assert_eq!(pool.closed, Some(Close::NoChannel));
    }
}

#[test]
fn a_connection_whose_last_channel_was_closed_has_a_minute_too() {
    // S-16
    let mut pool = Pool::standard(Wire::Noise);
    pool.pass(SECOND * 300);
    pool.close(FIRST);
    pool.pass(SECOND * 59);
    assert_eq!(pool.closed, None);
    pool.pass(SECOND);
    assert_eq!(pool.closed, Some(Close::NoChannel));
    pool.end();

    let mut pool = Pool::standard(Wire::Noise);
    pool.close(FIRST);
    pool.pass(SECOND * 59);
    pool.open_extended("alice");
    pool.pass(SECOND * 120);
    assert_eq!(pool.closed, None, "there is one again");
}

#[test]
fn nobody_is_late_while_a_policy_thinks() {
    // S-16
    let mut pool = Pool::ready(Wire::Noise);
    pool.mood.answers_logins = false;
    pool.pass(SECOND * 50);
    pool.say(&open_standard(1, "alice"));
    pool.pass(SECOND * 50);
    assert_eq!(pool.closed, None);
    assert_eq!(kinds(&pool.answer_login())[0], "opened");
    pool.pass(SECOND * 120);
    assert_eq!(pool.closed, None);
    // A policy that never answers ends it all the same.
    let mut pool = Pool::ready(Wire::Noise);
    pool.mood.answers_logins = false;
    pool.say(&open_standard(1, "alice"));
    pool.pass(SECOND * 60);
    assert_eq!(pool.closed, Some(Close::NoChannel));
    pool.end();
}

#[test]
fn the_minute_begins_with_the_last_channels_end_whoever_waits() {
    // S-16, M-22
    let mut pool = Pool::ready(Wire::Noise);
    pool.mood.has_work = false;
    pool.say(&open_standard(1, "alice"));
    pool.mood.answers_logins = false;
    pool.say(&open_standard(2, "bob"));
    assert_eq!(kinds(&pool.pass(SECOND * 10)), ["not opened"]);
    pool.pass(SECOND * 59);
    assert_eq!(pool.closed, None);
    pool.pass(SECOND);
    assert_eq!(pool.closed, Some(Close::NoChannel));
    pool.end();
}

#[test]
fn silence_ends_a_busy_miner_soon_and_a_slow_one_late() {
    // V1-77
    let mut pool = Pool::standard(Wire::Noise);
    for _ in 0..5 {
        pool.mine(FIRST);
        pool.pass(SECOND);
    }
    pool.pass(SECOND * 590);
    assert_eq!(pool.closed, None);
    pool.pass(SECOND * 10);
    assert_eq!(pool.closed, Some(Close::Idle));

    let mut pool = Pool::standard(Wire::Noise);
    pool.pass(SECOND * 3590);
    assert_eq!(pool.closed, None, "no share yet: it may be a slow one");
    pool.pass(SECOND * 10);
    assert_eq!(pool.closed, Some(Close::Idle));

    // A share in half an hour: twice that.
    let mut pool = Pool::standard(Wire::Noise);
    for _ in 0..3 {
        pool.pass(SECOND * 1800);
        pool.mine(FIRST);
    }
    pool.pass(SECOND * 2600);
    assert_eq!(pool.closed, None);
    pool.pass(SECOND * 1000);
    assert_eq!(pool.closed, Some(Close::Idle));
    pool.end();
}

#[test]
fn half_a_message_is_silence() {
    // P-41: a byte now and then keeps nobody.
    let mut pool = Pool::standard(Wire::Noise);
    let bytes = pool.link.seal(&frames(&[update(FIRST, 1.0, ANY)]));
    pool.pass(SECOND * 3000);
    pool.send(&bytes[..1]);
    pool.pass(SECOND * 600);
    assert_eq!(pool.closed, Some(Close::Idle));
}

#[test]
fn work_that_cannot_be_sent_is_no_reason_to_wake() {
    // M-22: it is there, and the socket is full.
    let mut pool = Pool::ready(Wire::Noise);
    pool.mood.has_work = false;
    let bytes = pool.link.seal(&frames(&[open_standard(1, "alice")]));
    pool.feed(&bytes);
    pool.offer();
    let end = pool.now.moment.after(SECOND * 20);
    let deadline = pool.session.deadline().unwrap();
    assert!(deadline > end, "{deadline:?}");
    pool.now = at(20_000);
    pool.session.timeout(pool.now);
    pool.run();
    assert_eq!(kinds(&pool.flush()), ["opened", "future job", "prev hash"]);
}

#[test]
fn a_silent_policy_is_asked_again() {
    let mut pool = Pool::standard(Wire::Noise);
    pool.pass(SECOND * 60);
    assert_eq!(pool.reviews.len(), 1);
    let id = ChannelId(FIRST);
    pool.session.answer(pool.now, Answer::Reviewed(id, None));
    pool.pass(SECOND * 29);
    assert_eq!(pool.reviews.len(), 1);
    pool.pass(SECOND);
    assert_eq!(pool.reviews.len(), 2);
}
