//! What can happen to a pool.

use proptest::prelude::*;
use proptest::sample::Index;
use sluice_core::policy::payout::Window;
use sluice_ledger::{MATURITY, Place};

use crate::model::ACCOUNTS;
use crate::policies::{Code, Generation, Mood, Settings};

/// A share to come.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Work {
    pub(crate) account: usize,
    pub(crate) worth: u16,
    /// By how much the clock has moved.
    pub(crate) seconds: i16,
    /// It names a template that nobody announced.
    pub(crate) astray: bool,
}

/// A node's word.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Word {
    Submitted,
    Accepted,
    Stale,
    Inconclusive,
}

/// What is wrong with an answer.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Wrong {
    TooMuch,
    /// It leaves a share out.
    Late,
    ToTheHouse,
}

#[derive(Clone, Debug)]
pub(crate) enum Step {
    Shares(Vec<Work>),
    Template {
        higher: bool,
        fees: u16,
        difficulty: u8,
    },
    /// Of a block whose coinbase pays accounts and the house so many parts of 65,536 of the reward, as far as it goes.
    Find {
        account: usize,
        paid: [u16; ACCOUNTS.len()],
        house: u16,
    },
    Verdict(Index, Word),
    Place(Index, Place),
    Settle(Index),
    SettleAll,
    SettleWrongly(Index),
    Accrue,
    AccrueWrongly(Wrong),
    Reload(Generation),
    Fold {
        seconds: u16,
    },
    Prepare {
        minimum: u16,
        max_lines: usize,
    },
    Draft(Index),
    Sent(Index),
    Confirmed(Index, u8),
    Cancel(Index),
    Conflicted(Index),
    Revive(Index),
    Hold(usize),
    Release(usize),
    /// The pool ends and starts again, with a desk on the file all the while or not.
    Reopen {
        beside: bool,
    },
    /// The machine dies while this is being done, with so many of 65,536 parts of it written.
    Crash(Vec<Step>, u16),
}

fn work() -> impl Strategy<Value = Work> {
    let seconds = prop_oneof![20 => 0i16..30, 1 => -10_000i16..0, 1 => 0i16..10_000];
    (0..ACCOUNTS.len(), 1u16..5_000, seconds, prop::bool::weighted(0.05))
        .prop_map(|(account, worth, seconds, astray)| Work { account, worth, seconds, astray })
}

pub(crate) fn generation() -> impl Strategy<Value = Generation> {
    let window = prop_oneof![
        3 => Just(Window::Round),
        3 => (1u8..40).prop_map(|tenths| Window::Work(f64::from(tenths) / 10.0)),
        1 => (1u64..200).prop_map(|seconds| Window::DurationMs(seconds * 1000)),
        1 => Just(Window::None),
    ];
    let mood = prop_oneof![
        12 => Just(Mood::Steady),
        1 => Just(Mood::Failing),
        1 => Just(Mood::Greedy),
        1 => Just(Mood::Astray),
    ];
    let accrue_bps = prop::option::weighted(0.7, 1u32..=10_000);
    let code = prop_oneof![Just(Code::Fixed), Just(Code::Weighed)];
    (code, window, prop::bool::weighted(0.2), 0u32..=1_000, accrue_bps, mood).prop_map(
        |(code, window, per_finder, fee_bps, accrue_bps, mood)| Generation {
            code,
            settings: Settings { window, per_finder, fee_bps, accrue_bps },
            mood,
        },
    )
}

/// What a machine may die in the middle of.
fn simple() -> impl Strategy<Value = Step> {
    let index = any::<Index>;
    let place = prop_oneof![
        3 => Just(Place::InChain { confirmations: 3 }),
        3 => Just(Place::InChain { confirmations: MATURITY }),
        2 => Just(Place::Aside),
    ];
    let word = prop_oneof![
        1 => Just(Word::Submitted),
        12 => Just(Word::Accepted),
        2 => Just(Word::Stale),
        1 => Just(Word::Inconclusive),
    ];
    let wrong = prop_oneof![Just(Wrong::TooMuch), Just(Wrong::Late), Just(Wrong::ToTheHouse)];
    let blocks = prop_oneof![
        5 => (0..ACCOUNTS.len(), any::<[u16; ACCOUNTS.len()]>(), any::<u16>())
            .prop_map(|(account, paid, house)| Step::Find { account, paid, house }),
        6 => (index(), word).prop_map(|(block, word)| Step::Verdict(block, word)),
        5 => (index(), place).prop_map(|(block, place)| Step::Place(block, place)),
        7 => index().prop_map(Step::Settle),
        1 => index().prop_map(Step::SettleWrongly),
    ];
    let payouts = prop_oneof![
        4 => (1u16..2_000, 1usize..5).prop_map(|(minimum, max_lines)| Step::Prepare { minimum, max_lines }),
        2 => index().prop_map(Step::Draft),
        2 => index().prop_map(Step::Sent),
        2 => (index(), any::<u8>()).prop_map(|(batch, fee)| Step::Confirmed(batch, fee)),
        2 => index().prop_map(Step::Cancel),
        1 => index().prop_map(Step::Conflicted),
        1 => index().prop_map(Step::Revive),
        1 => (0..ACCOUNTS.len()).prop_map(Step::Hold),
        1 => (0..ACCOUNTS.len()).prop_map(Step::Release),
    ];
    prop_oneof![
        10 => prop::collection::vec(work(), 1..30).prop_map(Step::Shares),
        2 => (any::<bool>(), any::<u16>(), any::<u8>())
            .prop_map(|(higher, fees, difficulty)| Step::Template { higher, fees, difficulty }),
        24 => blocks,
        5 => Just(Step::Accrue),
        1 => wrong.prop_map(Step::AccrueWrongly),
        3 => generation().prop_map(Step::Reload),
        16 => payouts,
    ]
}

pub(crate) fn any_step() -> impl Strategy<Value = Step> {
    prop_oneof![
        24 => simple(),
        1 => (0u16..2_000).prop_map(|seconds| Step::Fold { seconds }),
        1 => any::<bool>().prop_map(|beside| Step::Reopen { beside }),
        3 => (prop::collection::vec(simple(), 1..6), any::<u16>()).prop_map(|(steps, cut)| Step::Crash(steps, cut)),
    ]
}
