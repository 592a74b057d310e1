//! Closing channels (M-60 to M-63), and whose work is wanted.

use std::time::Duration;

use sluice_core::extranonce::{ExtranoncePrefix, Parked, Reservation, ResumeToken};
use sluice_core::ids::{AccountName, ChannelId};
use sluice_core::session::{Answer, ChannelKind, Close, Note, Session};
use sluice_stratum_v2::messages::{ClientMessage, CloseChannel};

use crate::miner::{Rolled, code, kinds};
use crate::support::*;

fn accounts(names: &[&str]) -> Vec<AccountName> {
    names.iter().map(|name| AccountName::new(name).unwrap()).collect()
}

#[test]
fn nothing_is_said_to_a_channel_that_is_closed() {
    // M-60: not even about shares that were in flight, good or bad; the client's checks see the rest.
    for wire in Wire::BOTH {
        let mut pool = Pool::standard(wire);
        let other = pool.open_extended("bob");
        pool.mood.commits = false;
        let [before, good] = [(); 2].map(|()| pool.miner.mine(FIRST));
        let job = pool.miner.channel(FIRST).job().clone();
        let bad = pool.miner.search(FIRST, &job, Rolled { version: 1, seconds: 0 }, |_| true);
        pool.submit(&before);
        assert!(pool.close(FIRST).is_empty());
        assert!(pool.commit(1).is_empty(), "it was in the log too late to be told");
        assert!(pool.submit(&good).is_empty());
        assert!(pool.submit(&bad).is_empty());
        assert!(pool.decide(FIRST, EASY * 2.0).is_empty());
        assert_eq!((pool.recorded.len(), pool.rejected.len()), (1, 0));
        let strayed = pool.notes.iter().filter(|note| **note == Note::Strayed("closed_channel"));
        assert_eq!(strayed.count(), 2);
        assert_eq!(pool.released, [pool.reserved[0]]);
        pool.mood.commits = true;
        pool.new_tip();
        assert_eq!(kinds(&pool.mine(other)), ["accepted"], "the other goes on");
        pool.end();
    }
}

#[test]
fn unknown_channels_are_closed_without_a_word() {
    // M-62
    let mut pool = Pool::standard(Wire::Noise);
    for id in [0, 3, 77, u32::MAX] {
        assert!(pool.say(&close(id)).is_empty());
    }
    pool.close(FIRST);
    for _ in 0..3 {
        assert!(pool.say(&close(FIRST)).is_empty(), "once more");
    }
    assert_eq!((pool.released.len(), pool.unsupplied.len()), (1, 1));
    assert_eq!(kinds(&pool.say(&open_standard(1, "alice")))[0], "opened");
    pool.end();
}

#[test]
fn closing_the_group_closes_its_members() {
    // M-61
    for wire in Wire::BOTH {
        let mut pool = Pool::ready(wire);
        for user in ["alice", "bob", "alice.2"] {
            pool.open_extended(user);
        }
        pool.mood.answers_logins = false;
        pool.say(&open_standard(8, "dave"));
        assert!(pool.close(GROUP).is_empty());
        // From the last to the first: what was opened first is used again first.
        let backwards: Vec<_> = pool.reserved.iter().rev().copied().collect();
        assert_eq!(pool.released, backwards);
        let mut unsupplied = pool.unsupplied.clone();
        unsupplied.sort();
        assert_eq!(unsupplied, accounts(&["alice", "bob"]));
        let closed = pool.notes.iter().filter(|note| **note == Note::ChannelClosed(ChannelKind::Extended));
        assert_eq!(closed.count(), 3);
        assert!(pool.publish().is_empty());
        assert_eq!(kinds(&pool.answer_login())[0], "opened", "who was on the way in still comes");
        pool.end();
    }
}

#[test]
fn an_account_is_supplied_while_it_has_a_channel() {
    let mut pool = Pool::ready(Wire::Noise);
    let [first, second, bob] = ["alice.1", "alice.2", "bob"].map(|user| pool.open_standard(user));
    pool.close(first);
    assert!(pool.unsupplied.is_empty());
    pool.close(bob);
    assert_eq!(pool.unsupplied, accounts(&["bob"]));
    // One that has no work yet counts as well.
    pool.mood.has_work = false;
    pool.say(&open_standard(1, "alice.3"));
    pool.close(second);
    assert_eq!(pool.unsupplied, accounts(&["bob"]));
    pool.pass(Duration::from_secs(10));
    assert_eq!(pool.unsupplied, accounts(&["bob", "alice"]));
    pool.end();
}

#[test]
fn shares_after_a_close_do_not_use_up_the_patience() {
    // M-60, M-87
    let mut pool = Pool::standard(Wire::Noise);
    pool.open_standard("bob");
    let late = pool.miner.mine(FIRST);
    pool.close(FIRST);
    for _ in 0..100 {
        assert!(pool.submit(&late).is_empty());
    }
    assert_eq!(pool.closed, None);
    assert_eq!(code(&pool.say(&update(FIRST, 1.0, ANY))), "invalid-channel-id");
    assert!(pool.session.wants_input());
    pool.end();
}

#[test]
fn a_channel_is_closed_whatever_the_reason() {
    // F-60, F-61: a code is not looked at, known or not.
    for reason_code in [&b""[..], b"done", b"too-many-invalid-shares", b"no-such-code", &[0xff; 255]] {
        let mut pool = Pool::standard(Wire::Noise);
        let other = pool.open_extended("bob");
        pool.miner.close(FIRST);
        let close = ClientMessage::CloseChannel(CloseChannel { channel_id: FIRST, reason_code });
        assert!(pool.say(&close).is_empty());
        assert_eq!((pool.released.len(), pool.closed), (1, None));
        assert_eq!(pool.notes.last(), Some(&Note::ChannelClosed(ChannelKind::Standard)));
        assert_eq!(kinds(&pool.mine(other)), ["accepted"]);
        pool.end();
    }
}

#[test]
fn a_prefix_comes_back_with_whether_it_was_sent_work() {
    // M-63: one that nobody was sent work under can be used again at once.
    let mut pool = Pool::standard(Wire::Noise);
    pool.close(FIRST);
    assert_eq!(pool.released_used, [true]);
    pool.mood.has_work = false;
    pool.say(&open_standard(1, "alice"));
    pool.pass(Duration::from_secs(10));
    assert_eq!(pool.released_used, [true, false], "it got no work in time");
    pool.end();
}

#[test]
fn an_ended_connection_says_which_prefixes_were_sent_work() {
    // M-63
    let mut pool = Pool::standard(Wire::Noise);
    pool.mood.has_work = false;
    pool.say(&open_extended(1, "bob"));
    pool.mood.answers_openings = false;
    pool.say(&open_extended(2, "carol"));
    pool.session.shut_down(pool.now, Close::Shutdown);
    pool.run();
    let late = ExtranoncePrefix([9, 9, 9, 9]);
    let reservation = Reservation { prefix: late, token: ResumeToken([0; 16]), resumed: None };
    pool.session.answer(pool.now, Answer::Reserved(ChannelId(77), Some(reservation)));
    let parked: Vec<_> =
        pool.session.park().iter().map(|&Parked { prefix, used, .. }| (prefix, used)).collect();
    let [sent, waiting, opening] = pool.reserved[..] else { panic!("{:?}", pool.reserved) };
    assert_eq!(parked, [(sent, true), (waiting, false), (opening, false), (late, false)]);
}
