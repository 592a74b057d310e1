//! What holds whatever the order of events. The client's own checks (see [`crate::miner`]) hold all the while.

use std::collections::BTreeMap;
use std::time::Duration;

use proptest::prelude::*;
use sluice_core::extranonce::ExtranoncePrefix;
use sluice_core::ids::ChannelId;
use sluice_core::session::{Answer, Session};
use sluice_core::units::Difficulty;
use sluice_stratum_v2::messages::ClientMessage;

use crate::miner::{Proof, Said};
use crate::support::*;

#[derive(Clone, Debug)]
enum Act {
    Open {
        extended: bool,
        user: usize,
    },
    /// The one of so many that are open.
    Close(prop::sample::Index),
    CloseAll,
    Mine(prop::sample::Index),
    Misbehave(prop::sample::Index, u8),
    Update(prop::sample::Index, f32, f64),
    Publish {
        tip: bool,
        owner: usize,
    },
    AnswerLogin,
    AnswerOpening(Option<f64>),
    Decide(prop::sample::Index, f64),
    Commit(prop::sample::Index),
    Pass(u64),
    Mood(u8),
    Flush,
}

const USERS: [&str; 5] = ["alice.1", "alice.2", "bob", "mallory", "later"];
/// Whose work may come; those of [`USERS`] that are welcome.
const ACCOUNTS: [&str; 2] = ["alice", "bob"];

fn difficulty() -> impl Strategy<Value = f64> {
    (0..6i32).prop_map(|power| EASY * 2f64.powi(power))
}

fn act() -> impl Strategy<Value = Act> {
    let index = any::<prop::sample::Index>;
    prop_oneof![
        6 => (any::<bool>(), 0..USERS.len()).prop_map(|(extended, user)| Act::Open { extended, user }),
        3 => index().prop_map(Act::Close),
        1 => Just(Act::CloseAll),
        30 => index().prop_map(Act::Mine),
        8 => (index(), 0..5u8).prop_map(|(index, how)| Act::Misbehave(index, how)),
        2 => (index(), prop_oneof![Just(1000.0f32), Just(5000.0), Just(f32::NAN)], difficulty())
            .prop_map(|(index, rate, difficulty)| Act::Update(index, rate, difficulty)),
        8 => (any::<bool>(), 0..ACCOUNTS.len()).prop_map(|(tip, owner)| Act::Publish { tip, owner }),
        6 => Just(Act::AnswerLogin),
        6 => prop::option::of(difficulty()).prop_map(Act::AnswerOpening),
        2 => (index(), difficulty()).prop_map(|(index, difficulty)| Act::Decide(index, difficulty)),
        6 => index().prop_map(Act::Commit),
        4 => prop_oneof![8 => Just(10u64), 8 => Just(400), 4 => Just(1_500), 1 => Just(11_000), 1 => Just(65_000)]
            .prop_map(Act::Pass),
        2 => any::<u8>().prop_map(Act::Mood),
        15 => Just(Act::Flush),
    ]
}

/// A pool, and what its client is owed.
struct History {
    pool: Pool,
    /// Records by channel, and the difficulties that they come to.
    recorded: BTreeMap<u32, (u32, f64)>,
    committed: usize,
    /// Questions that were answered.
    logins: usize,
    openings: usize,
}

impl History {
    fn new(wire: Wire, flags: u32, solo: bool) -> Self {
        let mut config = config();
        config.channels = 6;
        config.rejected_in_a_row = 3;
        config.acknowledge_shares = 3;
        let mut pool = Pool::ready_with(wire, config, HARD, flags);
        pool.board.solo = solo;
        pool.mood.commits = false;
        Self { pool, recorded: BTreeMap::new(), committed: 0, logins: 0, openings: 0 }
    }

    fn pick(&self, index: prop::sample::Index) -> Option<u32> {
        let open: Vec<u32> =
            self.pool.miner.channels.iter().filter(|(_, chan)| chan.is_open).map(|(id, _)| *id).collect();
        (!open.is_empty()).then(|| *index.get(&open))
    }

    fn feed(&mut self, frames: &[u8]) {
        let bytes = self.pool.link.seal(frames);
        self.pool.feed(&bytes);
    }

    fn hand_in(&mut self, proof: &Proof) {
        let before = self.pool.recorded.len();
        self.feed(&proof.frame());
        for (share, _, _) in &self.pool.recorded[before..] {
            let (count, sum) = self.recorded.entry(proof.channel).or_default();
            (*count, *sum) = (*count + 1, *sum + share.difficulty.get());
        }
    }

    fn act(&mut self, act: &Act) {
        match *act {
            Act::Open { extended, user } => {
                let open =
                    if extended { open_extended(1, USERS[user]) } else { open_standard(1, USERS[user]) };
                self.feed(&frames(&[open]));
            }
            Act::Close(index) => {
                if let Some(id) = self.pick(index) {
                    self.pool.flush();
                    if self.pool.miner.channel(id).is_open && self.pool.closed.is_none() {
                        self.pool.miner.close(id);
                        self.feed(&frames(&[close(id)]));
                    }
                }
            }
            Act::CloseAll => self.close_all(),
            Act::Mine(index) => {
                if let Some(id) = self.pick(index) {
                    let proof = self.pool.miner.mine(id);
                    self.hand_in(&proof);
                }
            }
            Act::Misbehave(index, how) => self.misbehave(index, how),
            Act::Update(index, rate, difficulty) => {
                if let Some(id) = self.pick(index) {
                    self.feed(&frames(&[update(id, rate, target_of(difficulty))]));
                }
            }
            Act::Publish { tip, owner } => {
                self.pool.board.tip += u64::from(tip);
                self.pool.offer_to_account(ACCOUNTS[owner]);
            }
            Act::AnswerLogin => self.answer_login(),
            Act::AnswerOpening(difficulty) => self.answer_opening(difficulty),
            Act::Decide(index, difficulty) => {
                if let Some(id) = self.pick(index) {
                    let id = ChannelId(id);
                    self.pool.session.answer(self.pool.now, Answer::Reviewed(id, Some(decision(difficulty))));
                    self.pool.run();
                }
            }
            Act::Commit(index) => {
                self.committed += index.index(self.pool.recorded.len() - self.committed + 1);
                self.pool.session.committed(self.committed as u64);
            }
            Act::Pass(millis) => drop(self.pool.pass(Duration::from_millis(millis))),
            Act::Mood(bits) => self.mood(bits),
            Act::Flush => drop(self.pool.flush()),
        }
    }

    fn close_all(&mut self) {
        self.pool.flush();
        if self.pool.closed.is_none() && self.pool.miner.channels.values().any(|chan| chan.is_open) {
            for chan in self.pool.miner.channels.values_mut() {
                chan.is_open = false;
            }
            self.feed(&frames(&[close(GROUP)]));
        }
    }

    fn misbehave(&mut self, index: prop::sample::Index, how: u8) {
        let Some(id) = self.pick(index) else { return };
        let good = self.pool.miner.mine(id);
        let bad = match how {
            0 => Proof { job: 1, ..good },
            1 => Proof { ntime: 1, ..good },
            2 => Proof { version: 0, ..good },
            3 => Proof { channel: 4_000_000, ..good },
            _ => {
                self.hand_in(&good);
                good
            }
        };
        self.hand_in(&bad);
    }

    fn mood(&mut self, bits: u8) {
        let mood = &mut self.pool.mood;
        // Answers that were held back are given by hand, in order.
        mood.answers_logins = bits & 1 == 0 && self.logins == self.pool.logins.len();
        mood.answers_openings = bits & 2 == 0 && self.openings == self.pool.openings.len();
        mood.has_work = bits & 4 == 0;
        mood.has_room = bits & 0x18 != 0;
    }

    fn answer_login(&mut self) {
        if !self.pool.mood.answers_logins && self.logins < self.pool.logins.len() {
            self.logins = self.pool.logins.len();
            self.pool.answer_login_quietly();
        }
    }

    fn answer_opening(&mut self, difficulty: Option<f64>) {
        if let Some((channel, _)) = self.pool.openings.get(self.openings)
            && !self.pool.mood.answers_openings
        {
            let answer = Answer::Opened(*channel, difficulty.map(decision));
            self.openings += 1;
            self.pool.session.answer(self.pool.now, answer);
            self.pool.run();
        }
    }

    /// What was answered at once needs no answer by hand.
    fn note_answers(&mut self) {
        if self.pool.mood.answers_logins {
            self.logins = self.pool.logins.len();
        }
        if self.pool.mood.answers_openings {
            self.openings = self.pool.openings.len();
        }
    }

    /// What the client was told by now agrees with what was given back.
    fn check(&self) {
        for chan in self.pool.miner.channels.values().filter(|chan| chan.is_open) {
            let prefix: [u8; 4] = chan.opened.prefix[..4].try_into().unwrap();
            let prefix = ExtranoncePrefix(prefix);
            assert!(self.pool.reserved.contains(&prefix));
            assert!(!self.pool.released.contains(&prefix), "{prefix} is in use");
        }
        assert!(self.pool.released.len() <= self.pool.reserved.len());
    }

    /// Whatever is in the log is told, to channels that are still open.
    fn settle_up(&mut self) {
        self.committed = self.pool.recorded.len();
        self.pool.session.committed(self.committed as u64);
        self.pool.flush();
        if self.pool.closed.is_none() {
            self.pool.pass(Duration::from_secs(1));
            self.pool.flush();
        }
        for (id, (count, sum)) in &self.recorded {
            let told = self.pool.miner.accepted.iter().filter(|success| success.channel_id == *id);
            let (told, whole) = told.fold((0, 0), |(told, whole), success| {
                (told + success.new_submits_accepted_count, whole + success.new_shares_sum)
            });
            assert!(told <= *count, "channel {id}: {told} of {count}");
            assert!(whole as f64 <= *sum, "M-83: {whole} of {sum}");
            if self.pool.miner.channel(*id).is_open && self.pool.closed.is_none() {
                assert_eq!(told, *count, "channel {id}");
            }
        }
    }

    fn end(mut self) {
        self.settle_up();
        if self.pool.closed.is_none() {
            self.close_all();
            // What waits for work is given up.
            self.pool.mood.answers_openings = true;
            self.pool.mood.answers_logins = true;
            while self.openings < self.pool.openings.len() {
                self.pool.mood.answers_openings = false;
                self.answer_opening(None);
                self.pool.mood.answers_openings = true;
            }
            self.pool.mood.has_work = false;
            self.pool.pass(Duration::from_secs(11));
            self.pool.flush();
            self.close_all();
            let is_open = self.pool.miner.channels.values().any(|chan| chan.is_open);
            let pending = self.pool.reserved.len() - self.pool.released.len();
            if !is_open && pending == 0 {
                assert!(self.pool.supplies.is_empty(), "{:?}", self.pool.supplies);
            }
        }
        self.pool.end();
    }
}

fn config_of_cases() -> ProptestConfig {
    ProptestConfig { cases: 200, failure_persistence: None, ..ProptestConfig::default() }
}

proptest! {
    #![proptest_config(config_of_cases())]

    #[test]
    fn histories_keep_their_books(
        acts in prop::collection::vec(act(), 1..160),
        noise in any::<bool>(),
        standard_only in any::<bool>(),
        solo in any::<bool>(),
    ) {
        let wire = if noise { Wire::Noise } else { Wire::Plain };
        let mut history = History::new(wire, u32::from(standard_only), solo);
        for user in ["alice.0", "bob"] {
            history.pool.open_standard(user);
        }
        history.note_answers();
        for act in &acts {
            if history.pool.closed.is_some() {
                break;
            }
            history.act(act);
            history.note_answers();
            if matches!(act, Act::Flush) {
                history.check();
            }
        }
        history.end();
    }

    #[test]
    fn any_maximum_target_is_honoured_or_refused(target in any::<[u8; 32]>(), zeros in 0..32usize) {
        // M-14
        let mut target = target;
        target[32 - zeros..].fill(0);
        let mut pool = Pool::ready(Wire::Plain);
        pool.mood.opening = Some(1e-12);
        let mut open = open_standard(1, "alice");
        if let ClientMessage::OpenStandardMiningChannel(open) = &mut open {
            open.max_target = target;
        }
        match &pool.say(&open)[..] {
            [Said::Opened(opened), ..] => {
                let [given, max] = [opened.target, target].map(bitcoin::Target::from_le_bytes);
                prop_assert!(given <= max);
                let [given, max] = [given, max].map(|target| Difficulty::from_target(target).get());
                prop_assert!(given <= max * 1.000_001, "{given} for {max}");
            }
            [Said::NotOpened { code, .. }] => prop_assert_eq!(code, "max-target-out-of-range"),
            other => prop_assert!(false, "{:?}", other),
        }
    }

    #[test]
    fn random_bytes_do_no_harm(bytes in prop::collection::vec(any::<u8>(), 0..600), behind in 0..4u8) {
        let mut pool = match behind {
            0 => Pool::bare(noise(), config(), HARD),
            1 => Pool::new(Wire::Plain),
            2 => Pool::standard(Wire::Plain),
            _ => Pool::extended(Wire::Noise),
        };
        pool.exchange(&bytes);
        pool.pass(Duration::from_secs(3));
        pool.end();
    }
}
