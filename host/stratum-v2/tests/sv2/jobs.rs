//! Jobs on their way to the client (M-20 to M-46). The client's own checks hold in every test: job ids (M-30), future
//! jobs and what names them (M-35, M-40), nothing to closed channels (M-60).

use sluice_core::session::{Recipient, Session};

use crate::miner::{ExtendedJob, Said, addressed, code, kinds};
use crate::support::*;

#[test]
fn a_new_tip_comes_as_a_future_job_and_a_prev_hash() {
    // M-41, M-42; a single channel is addressed by its own id (ESP-Miner #1897).
    for wire in Wire::BOTH {
        let mut pool = Pool::standard(wire);
        let said = pool.new_tip();
        let [Said::Job(job), Said::PrevHash(tip)] = &said[..] else { panic!("{said:?}") };
        assert_eq!((job.channel_id, job.min_ntime), (FIRST, None));
        assert_eq!((tip.channel_id, tip.job_id), (FIRST, job.job_id));
        assert_eq!(pool.miner.channel(FIRST).jobs.len(), 1);
        assert_eq!(kinds(&pool.mine(FIRST)), ["accepted"]);

        let mut pool = Pool::extended(wire);
        let said = pool.new_tip();
        assert_eq!(kinds(&said), ["future extended job", "prev hash"]);
        assert_eq!(addressed(&said), [FIRST, FIRST]);
        assert_eq!(kinds(&pool.mine(FIRST)), ["accepted"]);
    }
}

#[test]
fn later_work_on_the_same_tip_is_active_at_once() {
    // M-35, M-42, M-44: earlier jobs stay good.
    for wire in Wire::BOTH {
        for mut pool in [Pool::standard(wire), Pool::extended(wire)] {
            let first = pool.miner.channel(FIRST).job().clone();
            pool.now = at(30_000);
            let said = pool.publish();
            let ntime = match &said[..] {
                [Said::Job(job)] => job.min_ntime,
                [Said::Extended(job)] => job.min_ntime,
                other => panic!("{other:?}"),
            };
            assert_eq!(ntime, Some(pool.now.wall.seconds()));
            assert_eq!(kinds(&pool.mine(FIRST)), ["accepted"]);
            let proof = pool.miner.mine_job(FIRST, &first);
            pool.submit(&proof);
            assert_eq!((pool.recorded.len(), pool.rejected.len()), (2, 0));
            pool.end();
        }
    }
}

#[test]
fn channels_that_share_a_coinbase_get_one_message() {
    // M-34, M-45, M-50
    for wire in Wire::BOTH {
        let mut pool = Pool::ready(wire);
        let ids = [
            pool.open_standard("alice"),
            pool.open_extended("bob"),
            pool.open_extended("carol"),
            pool.open_standard("alice.2"),
        ];
        let said = pool.publish();
        assert_eq!(kinds(&said), ["extended job"]);
        assert_eq!(addressed(&said), [GROUP]);
        let said = pool.new_tip();
        assert_eq!(kinds(&said), ["future extended job", "prev hash"]);
        assert_eq!(addressed(&said), [GROUP, GROUP]);
        for id in ids {
            assert_eq!(kinds(&pool.mine(id)), ["accepted"], "M-34: also where it is a standard channel");
        }
        // One is left: by its own id again.
        for id in &ids[..3] {
            pool.close(*id);
        }
        assert_eq!(addressed(&pool.publish()), [ids[3]]);
        pool.mine(ids[3]);
        assert_eq!(pool.recorded.len(), 5);
        pool.end();
    }
}

#[test]
fn a_newcomer_among_others_is_addressed_by_itself_once() {
    // M-20, M-21, M-24
    let mut pool = Pool::ready(Wire::Noise);
    pool.open_extended("alice");
    pool.open_extended("alice");
    pool.publish();
    let said = pool.say(&open_extended(7, "alice"));
    assert_eq!(kinds(&said), ["opened", "future extended job", "prev hash"]);
    assert_eq!(addressed(&said), [4, 4]);
    let said = pool.publish();
    assert_eq!((kinds(&said), addressed(&said)), (vec!["extended job"], vec![GROUP]));
    for id in 2..5 {
        pool.mine(id);
    }
    assert_eq!(pool.recorded.len(), 3);
    pool.end();
}

#[test]
fn work_of_its_own_does_not_part_a_channel_from_its_group_for_good() {
    // M-24, M-52
    let mut pool = Pool::ready(Wire::Noise);
    pool.open_extended("alice");
    pool.open_standard("alice");
    let said = pool.decide(2, EASY * 2.0);
    assert_eq!((kinds(&said), addressed(&said)), (vec!["target", "extended job"], vec![2, 2]));
    let said = pool.new_tip();
    assert_eq!(addressed(&said), [GROUP, GROUP]);
    assert_eq!(addressed(&pool.publish()), [GROUP]);
    for id in [2, 3] {
        assert_eq!(kinds(&pool.mine(id)), ["accepted"]);
    }
    pool.end();
}

#[test]
fn channels_on_different_tips_are_addressed_one_by_one() {
    // M-40: what is future for one is not for the other.
    let mut pool = Pool::ready(Wire::Noise);
    pool.open_extended("alice");
    pool.open_extended("bob");
    // The one gets work on another tip before the other.
    pool.board.tip += 1;
    pool.decide(2, EASY * 2.0);
    let said = pool.publish();
    assert_eq!(kinds(&said), ["extended job", "future extended job", "prev hash"]);
    assert_eq!(addressed(&said), [2, 3, 3]);
    assert_eq!(addressed(&pool.publish()), [GROUP]);
    pool.end();
}

#[test]
fn a_coinbase_of_ones_own_is_sent_to_ones_own_channels() {
    // M-102: solo
    for wire in Wire::BOTH {
        for flags in [0, 1] {
            let mut pool = Pool::ready_with(wire, config(), HARD, flags);
            pool.board.solo = true;
            let [alice, bob, again] = ["alice.1", "bob", "alice.2"].map(|user| pool.open_standard(user));
            pool.board.tip += 1;
            pool.offer_to_account("alice");
            pool.offer_to_account("bob");
            let said = pool.flush();
            assert_eq!(kinds(&said), ["future job", "prev hash"].repeat(3));
            assert_eq!(addressed(&said), [alice, alice, bob, bob, again, again]);
            assert_ne!(pool.miner.channel(alice).job().id, pool.miner.channel(bob).job().id);
            let said = {
                pool.offer_to_account("bob");
                pool.flush()
            };
            assert_eq!(addressed(&said), [bob]);
            for id in [alice, bob, again] {
                assert_eq!(kinds(&pool.mine(id)), ["accepted"]);
            }
            pool.end();
        }
    }
}

#[test]
fn one_owner_of_all_channels_is_a_group() {
    // M-34
    let mut pool = Pool::ready(Wire::Noise);
    pool.board.solo = true;
    pool.open_extended("alice.1");
    pool.open_extended("alice.2");
    pool.offer_to_account("bob");
    assert!(pool.flush().is_empty(), "for somebody else");
    pool.offer_to_account("alice");
    assert_eq!(addressed(&pool.flush()), [GROUP]);
    pool.end();
}

#[test]
fn work_that_was_not_sent_is_superseded() {
    // V1-3, M-46: a slow reader gets the newest, and its shares are good.
    for wire in Wire::BOTH {
        let mut pool = Pool::standard(wire);
        for _ in 0..5 {
            pool.board.tip += 1;
            pool.offer();
        }
        let newest = pool.offer().job().id.0;
        let said = pool.flush();
        let [Said::Job(job), Said::PrevHash(tip)] = &said[..] else { panic!("{said:?}") };
        assert_eq!((job.job_id, tip.job_id), (newest, newest));
        assert!(pool.flush().is_empty());
        assert_eq!(kinds(&pool.mine(FIRST)), ["accepted"]);
    }
}

#[test]
fn work_that_the_channel_has_is_not_sent_again() {
    // M-30
    let mut pool = Pool::standard(Wire::Noise);
    let work = pool.offer();
    pool.flush();
    pool.session.offer(pool.now, Recipient::Everyone, &work);
    assert!(pool.flush().is_empty());
}

#[test]
fn work_of_an_earlier_tip_is_not_sent_any_more() {
    // M-41: a miner is not sent back.
    let mut pool = Pool::standard(Wire::Noise);
    let earlier = pool.board.job(None, pool.now);
    pool.new_tip();
    pool.session.offer(pool.now, Recipient::Everyone, &earlier);
    assert!(pool.flush().is_empty());
}

#[test]
fn a_block_change_comes_before_everything_else() {
    // M-46
    let mut pool = Pool::standard(Wire::Noise);
    let bytes = pool.link.seal(&frames(&[update(77, 1.0, ANY)]));
    pool.feed(&bytes);
    pool.board.tip += 1;
    pool.offer();
    assert_eq!(kinds(&pool.flush()), ["future job", "prev hash", "not updated"]);
}

#[test]
fn the_two_forms_of_a_job_come_to_the_same_root() {
    // M-18, M-31, M-38, M-39
    let mut pool = Pool::ready(Wire::Noise);
    let standard = pool.open_standard("alice");
    let said = pool.say(&open_extended(2, "bob"));
    let [_, Said::Extended(extended), _] = &said[..] else { panic!("{said:?}") };
    let chan = pool.miner.channel(standard);
    let job = chan.job();
    assert_eq!(job.id, extended.job_id);
    let given = chan.root(job, &[]);
    assert_eq!(root_of(extended, &chan.opened.prefix), given);
    assert_eq!(extended.path.len(), 2);
    assert_eq!(job.version, extended.version);
}

#[test]
fn every_job_lets_its_version_be_rolled() {
    // M-37: whether the client asked for it or not; proxies leave a pool at the first job that does not.
    for flags in [0, 0b100] {
        let mut pool = Pool::with(Wire::Plain, config(), HARD);
        let mut out =
            pool.exchange(&frames(&[setup(flags), open_extended(1, "alice"), open_extended(2, "bob")]));
        for _ in 0..2 {
            pool.offer();
            out.extend(pool.exchange(&[]));
            pool.board.tip += 1;
        }
        let jobs: Vec<_> = payloads(&out).into_iter().filter(|(kind, _)| *kind == 0x1f).collect();
        assert_eq!(jobs.len(), 4, "two first ones, one on the same tip, one on the next");
        for (_, job) in jobs {
            // Behind two ids, the time (five bytes, or one for none) and the version.
            let head = if job[8] == 1 { 13 } else { 9 };
            assert_eq!(job[head + 4], 1);
        }
    }
}

#[test]
fn no_future_job_waits_for_its_block() {
    // M-43: each is made on the new block and activated at once, so that none can conflict with it.
    for wire in Wire::BOTH {
        for mut pool in [Pool::standard(wire), Pool::extended(wire)] {
            for _ in 0..3 {
                let said = pool.new_tip();
                let [job, Said::PrevHash(tip)] = &said[..] else { panic!("{said:?}") };
                let id = match job {
                    Said::Job(job) => job.job_id,
                    Said::Extended(job) => job.job_id,
                    other => panic!("{other:?}"),
                };
                assert_eq!(tip.job_id, id);
                // What is better follows on the same block, active.
                assert_eq!(pool.publish().len(), 1);
                assert!(pool.miner.channel(FIRST).jobs.iter().all(|job| job.active.is_some()));
            }
            pool.end();
        }
    }
}

#[test]
fn other_bits_on_the_same_block_are_another_tip() {
    // M-40, M-41: on testnet4 the difficulty of a block depends on its time.
    const EASIER: u32 = 0x1e00_ffff;
    for wire in Wire::BOTH {
        for mut pool in [Pool::standard(wire), Pool::extended(wire)] {
            let previous = *bitcoin::hashes::Hash::as_byte_array(&pool.board.previous());
            let [before, late] = [(); 2].map(|()| pool.miner.mine(FIRST));
            pool.board.block = Some(pool.board.tip);
            pool.board.bits = EASIER;
            let said = pool.new_tip();
            let [_, Said::PrevHash(tip)] = &said[..] else { panic!("{said:?}") };
            assert_eq!((tip.nbits, tip.prev_hash, tip.channel_id), (EASIER, previous, FIRST));
            assert_eq!(kinds(&pool.mine(FIRST)), ["accepted"], "its header has the new bits");
            pool.submit(&before);
            pool.now = at(3_000);
            assert_eq!(code(&pool.submit(&late)[..1]), "stale-share", "as after a block");
            assert_eq!(pool.recorded.len(), 2);
            pool.end();
        }
    }
    // The group is told once.
    let mut pool = Pool::ready(Wire::Noise);
    let ids = [pool.open_standard("alice"), pool.open_extended("bob")];
    (pool.board.block, pool.board.bits) = (Some(1), EASIER);
    let said = pool.new_tip();
    assert_eq!((kinds(&said), addressed(&said)), (vec!["future extended job", "prev hash"], vec![GROUP; 2]));
    for id in ids {
        assert_eq!(kinds(&pool.mine(id)), ["accepted"]);
    }
    pool.end();
}

#[test]
fn frames_are_sealed_when_they_are_written() {
    // N-34: the records count up in the order of the wire, whatever overtakes what, and nothing is sealed in vain.
    let mut pool = Pool::standard(Wire::Noise);
    let mut out = Vec::new();
    for round in 0..3 {
        let bytes = pool.link.seal(&frames(&[update(77 + round, 1.0, ANY)]));
        pool.feed(&bytes);
        pool.board.tip += 1;
        pool.offer();
        pool.board.tip += 1;
        pool.offer();
        out.extend(pool.exchange(&[]));
    }
    let said = pool.link.open(&out);
    assert_eq!(kinds(&said), ["future job", "prev hash", "not updated"].repeat(3));
}

#[test]
fn a_job_is_as_long_as_its_coinbase_allows() {
    // F-14: bytes of coinbase, 32 for each level of the path, and 30.
    use bitcoin::Network;
    use sluice_core::coinbase::{Claims, Owed, PoolMark, overhead, parse_address};
    use sluice_core::policy::split::Credit;
    let address = parse_address("bcrt1qw508d6qejxtdg4y5r3zarvary0c5xw7kygt080", Network::Regtest).unwrap();
    let mark = PoolMark { tag: b"/Sluice/".to_vec(), extranonce_length: 12 };
    let credit = |index| Credit {
        account: format!("miner{index}"),
        amount: bitcoin::Amount::from_sat(100_000_000),
        reason: String::new(),
    };
    let credits: Vec<_> = (0..50).map(credit).collect();
    for (room, transactions) in [(400, 0), (750, 1), (1600, 2), (1600, 9)] {
        let mut pool = Pool::with(Wire::Plain, config(), HARD);
        let address_of = |_: &str| Some(address.clone());
        let paid =
            Claims::new(&credits, &Owed::new()).payments(&address_of, &address, (room, overhead(&mark)));
        assert!(paid.len() > 1 && paid.len() < 50, "the room decides");
        (pool.board.payments, pool.board.transactions) = (Some(paid), transactions);
        let mut out = pool.exchange(&frames(&[setup(0), open_extended(1, "alice")]));
        pool.offer();
        out.extend(pool.exchange(&[]));
        let levels = usize::try_from((transactions + 1).next_power_of_two().trailing_zeros()).unwrap();
        let jobs: Vec<_> = payloads(&out).into_iter().filter(|(kind, _)| *kind == 0x1f).collect();
        assert_eq!(jobs.len(), 2);
        for (_, job) in jobs {
            let most = room + 32 * levels + 30;
            assert!(job.len() <= most && job.len() + 150 > most, "{} of {most}", job.len());
        }
    }
}

/// The frames that were sent in the clear: their types and payloads.
fn payloads(mut out: &[u8]) -> Vec<(u8, &[u8])> {
    let mut payloads = Vec::new();
    while let Some((header, rest)) = out.split_first_chunk::<6>() {
        let length = u32::from_le_bytes([header[3], header[4], header[5], 0]) as usize;
        payloads.push((header[2], &rest[..length]));
        out = &rest[length..];
    }
    payloads
}

fn root_of(job: &ExtendedJob, extranonce: &[u8]) -> [u8; 32] {
    use bitcoin::hashes::{Hash, sha256d};
    let coinbase = [&job.prefix[..], extranonce, &job.suffix].concat();
    let transaction: bitcoin::Transaction = bitcoin::consensus::deserialize(&coinbase).unwrap();
    assert!(transaction.is_coinbase());
    let first = sha256d::Hash::hash(&coinbase).to_byte_array();
    job.path.iter().fold(first, |root, node| sha256d::Hash::hash(&[root, *node].concat()).to_byte_array())
}

#[test]
fn the_messages_have_the_sizes_of_the_table() {
    // W-15, W-20
    let mut pool = Pool::ready(Wire::Plain);
    pool.board.tip += 1;
    let out = pool.exchange(&frames(&[open_standard(1, "alice")]));
    let lengths = |out: &[u8]| -> Vec<_> {
        payloads(out).into_iter().map(|(kind, payload)| (kind, payload.len())).collect()
    };
    assert_eq!(lengths(&out), [(0x11, 45 + 12), (0x15, 45), (0x20, 48)]);
    pool.offer();
    assert_eq!(lengths(&pool.exchange(&[])), [(0x15, 49)]);
}

#[test]
fn many_channels_get_their_work() {
    // M-8: a proxy's thousand.
    let mut wide = config();
    wide.messages_per_minute = 0;
    let mut pool = Pool::ready_with(Wire::Noise, wide, HARD, 0);
    pool.board.transactions = 0;
    for index in 0..1000 {
        let _ = if index % 2 == 0 { pool.open_extended("alice") } else { pool.open_standard("alice") };
    }
    assert_eq!(addressed(&pool.new_tip()), [GROUP, GROUP]);
    for id in [2, 3, 500, 1001] {
        assert_eq!(kinds(&pool.mine(id)), ["accepted"]);
    }
    assert!(pool.miner.channels.values().all(|chan| chan.jobs.len() == 1));
    pool.end();
}
