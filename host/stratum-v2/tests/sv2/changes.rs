//! Closing channels (M-60 to M-63), and whose work is wanted.

use sluice_core::ids::AccountName;
use sluice_core::session::{ChannelKind, Note, Session};

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
        assert_eq!(pool.released, pool.reserved);
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
    pool.pass(std::time::Duration::from_secs(10));
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
