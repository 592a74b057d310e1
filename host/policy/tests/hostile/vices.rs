//! What does not end, traps, recurses or grows: in the start function and in every export.

use std::time::Duration;

use sluice_core::policy::PolicyKind;
use sluice_policy::status::{Outcome, SlotState};
use sluice_policy::{Policies, TrapCause};

use crate::guest::{Guest, HOARD, LOOP, RECURSE, TRAP};
use crate::house::{House, rejected, status};
use crate::scene::{Question, Scene};

/// What a guest may do wrong anywhere.
#[derive(Clone, Copy, Debug)]
struct Vice {
    body: &'static str,
    stop: TrapCause,
    says: &'static str,
}

const TABLES: &str = "(loop $more (br_if $more (i32.ne (i32.const -1)
    (table.grow $t (ref.null func) (i32.const 20000))))) (unreachable)";

const VICES: [Vice; 5] = [
    Vice { body: LOOP, stop: TrapCause::Fuel, says: "used up its fuel" },
    Vice { body: TRAP, stop: TrapCause::Other, says: "unreachable" },
    Vice { body: RECURSE, stop: TrapCause::Stack, says: "used up its stack" },
    Vice { body: HOARD, stop: TrapCause::Memory, says: "more memory than its limit" },
    Vice { body: TABLES, stop: TrapCause::Memory, says: "more memory than its limit" },
];

fn guest(kind: PolicyKind) -> Guest {
    Guest::new(kind, "bad").with("(table $t 0 funcref)")
}

/// With a start function that does this.
fn starting(kind: PolicyKind, body: &str) -> Guest {
    guest(kind).with(&format!("(func $begin (drop (block (result i32) {body}))) (start $begin)"))
}

/// Where a guest is asked something before it serves, and how the refusal begins.
const ENTRANCES: [(&str, &str); 5] = [
    ("start", "it cannot be instantiated"),
    ("describe", "`describe` failed"),
    ("configure", "`configure` failed"),
    ("self-test", "its self-test failed"),
    ("describe-plan", "its plan was refused"),
];

async fn each_vice_at_each_entrance(kind: PolicyKind, question: Question) {
    let mut house = House::new();
    house.config.debounce = Duration::from_millis(5);
    for slot in [&mut house.config.auth, &mut house.config.vardiff, &mut house.config.payout] {
        slot.limits.fuel = 1_000_000;
    }
    let policies = house.start().await;
    let mut events = policies.events();
    let entrances =
        ENTRANCES.iter().filter(|(name, _)| *name != "describe-plan" || kind == PolicyKind::Payout);
    let mut refusals = 0;
    for ((entrance, begins), vice) in entrances.flat_map(|one| VICES.map(|vice| (one, vice))) {
        let bad = match *entrance {
            "start" => starting(kind, vice.body),
            export => guest(kind).body(export, vice.body),
        };
        house.put(kind, &bad.build());
        let why = rejected(&mut events).await;
        assert!(why.starts_with(begins) && why.contains(vice.says), "{entrance} {vice:?}: {why}");
        refusals += 1;
        let status = status(&policies, kind);
        assert_eq!((status.generation, status.last_reload.outcome), (1, Outcome::Rejected));
        assert_eq!((status.last_reload.error.as_ref(), status.slot.rejected_reloads), (Some(&why), refusals));
        assert_eq!(status.figures.traps, 0, "what a candidate does is not counted against what serves");
        question.ask(&policies).await.unwrap();
    }
    house.put(kind, &Guest::new(kind, "good").build());
    assert_eq!(crate::house::applied(&mut events).await, "good");
    question.ask(&policies).await.unwrap();
}

#[tokio::test]
async fn an_auth_policy_that_misbehaves_while_it_loads_changes_nothing() {
    each_vice_at_each_entrance(PolicyKind::Auth, Question::Authorize).await;
}

#[tokio::test]
async fn a_vardiff_policy_that_misbehaves_while_it_loads_changes_nothing() {
    each_vice_at_each_entrance(PolicyKind::Vardiff, Question::ReviewAll).await;
}

#[tokio::test]
async fn a_payout_policy_that_misbehaves_while_it_loads_changes_nothing() {
    each_vice_at_each_entrance(PolicyKind::Payout, Question::Settle).await;
}

async fn each_vice_in(question: Question) {
    for vice in VICES {
        let guest = guest(question.kind()).body(question.export(), vice.body);
        let scene = Scene::of(question, guest).await;
        scene.stopped(vice.stop, vice.says).await;
        scene.mended().await;
    }
}

#[tokio::test]
async fn authorize_that_misbehaves_costs_that_login() {
    each_vice_in(Question::Authorize).await;
}

#[tokio::test]
async fn open_that_misbehaves_leaves_the_default_difficulty() {
    each_vice_in(Question::Open).await;
}

#[tokio::test]
async fn review_all_that_misbehaves_leaves_the_difficulty() {
    each_vice_in(Question::ReviewAll).await;
}

#[tokio::test]
async fn settle_that_misbehaves_holds_the_round() {
    each_vice_in(Question::Settle).await;
}

#[tokio::test]
async fn accrue_that_misbehaves_leaves_the_shares_open() {
    each_vice_in(Question::Accrue).await;
}

/// What is done once the host has read the answer is part of the call.
#[tokio::test]
async fn what_misbehaves_behind_its_answer_is_stopped_too() {
    for question in Question::ALL.into_iter().filter(|question| *question != Question::DescribePlan) {
        for (post, stop, says) in [
            ("(loop $for_ever (br $for_ever))", TrapCause::Fuel, "fuel"),
            ("(unreachable)", TrapCause::Other, "unreachable"),
        ] {
            let scene = Scene::of(question, guest(question.kind()).post(question.export(), post)).await;
            scene.stopped(stop, says).await;
        }
    }
}

#[tokio::test]
async fn a_plan_that_is_not_asked_for_again_has_to_be_fine_at_once() {
    let bad = Guest::new(PolicyKind::Payout, "bad").post("describe-plan", "(unreachable)");
    let house = House::new();
    house.put(PolicyKind::Payout, &bad.build());
    let why = sluice_policy::Policies::start(house.config.clone()).await.err().expect("it does not start");
    assert!(why.to_string().contains("its plan was refused"), "{why}");
}

/// Fuel without end, so that only the clock stops it.
async fn others_answer_while_it_loops(question: Question) {
    let endless = Guest::new(question.kind(), "endless").body(question.export(), LOOP);
    let scene = Scene::with(question, endless, |limits| {
        limits.fuel = u64::MAX / 16;
        limits.deadline = Duration::from_secs(3);
    })
    .await;
    let policies = scene.policies.clone();
    let looping = tokio::spawn(async move { question.ask(&policies).await });
    for _ in 0..100 {
        scene.others_answer().await;
    }
    assert!(!looping.is_finished(), "the others waited for it");
    assert!(looping.await.unwrap().is_err());
    let traps = status(&scene.policies, question.kind()).figures.traps_by_cause;
    assert_eq!(traps.deadline, 1, "{traps:?}");
    scene.mended().await;
}

#[tokio::test]
async fn logins_that_loop_delay_no_share_and_no_block() {
    others_answer_while_it_loops(Question::Authorize).await;
}

#[tokio::test]
async fn reviews_that_loop_delay_no_login_and_no_block() {
    others_answer_while_it_loops(Question::ReviewAll).await;
}

#[tokio::test]
async fn settlements_that_loop_delay_no_login_and_no_review() {
    others_answer_while_it_loops(Question::Settle).await;
}

#[tokio::test]
async fn a_start_function_that_runs_for_ever_delays_nobody() {
    let mut house = House::new();
    house.config.auth.limits.fuel = u64::MAX / 16;
    // Five times as long while it loads.
    house.config.auth.limits.deadline = Duration::from_millis(400);
    let policies = house.start().await;
    let mut events = policies.events();
    house.put(PolicyKind::Auth, &starting(PolicyKind::Auth, LOOP).build());
    becomes(&policies, SlotState::Loading).await;
    for question in Question::ALL {
        question.ask(&policies).await.unwrap();
    }
    let why = rejected(&mut events).await;
    assert!(why.contains("cannot be instantiated") && why.contains("deadline"), "{why}");
    // It is told of before the keeper is done with it.
    becomes(&policies, SlotState::Active).await;
}

async fn becomes(policies: &Policies, state: SlotState) {
    let there = async {
        while status(policies, PolicyKind::Auth).state != state {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(60), there).await.expect("it comes to that");
}

#[tokio::test]
async fn a_guest_that_begins_larger_than_its_limit_is_refused() {
    let larger = [
        Guest::new(PolicyKind::Auth, "bad").pages(65_535),
        Guest::new(PolicyKind::Auth, "bad").with("(table 300000 funcref)"),
        Guest::new(PolicyKind::Auth, "bad").with(&"(memory 60)".repeat(5)),
        Guest::new(PolicyKind::Auth, "bad").with(&"(memory 0)".repeat(90)),
    ];
    for guest in larger {
        let house = House::new();
        house.put(PolicyKind::Auth, &guest.build());
        let why = sluice_policy::Policies::start(house.config.clone()).await.err().expect("it is too large");
        assert!(why.to_string().contains("cannot be instantiated"), "{why}");
    }
}

/// A refusal that a guest gets along with is not what a later trap is blamed on.
#[tokio::test]
async fn a_trap_is_not_blamed_on_memory_that_was_refused_before() {
    let once = "(if (i32.eqz (global.get $calls)) (then
            (global.set $calls (i32.const 1))
            (drop (memory.grow (i32.const 60000))))
        (else (unreachable)))";
    let guest = Guest::new(PolicyKind::Auth, "later").body_before("authorize", once);
    let scene = Scene::of(Question::Authorize, guest).await;
    Question::Authorize.ask(&scene.policies).await.unwrap();
    scene.stopped(TrapCause::Other, "unreachable").await;
}
