//! What becomes of a call that goes wrong, and of an answer that breaks a rule.

use std::time::Duration;

use sluice_core::policy::auth::Refusal;
use sluice_core::policy::payout::Portion;
use sluice_core::policy::vardiff::Memo;
use sluice_core::policy::{PolicyFailure, PolicyKind};
use sluice_policy::{PolicyEvent, SlotConfig};

use crate::guest::{Grant, Guest, HOARD, LOOP, RECURSE, TRAP};
use crate::house::{House, event, loader, login, opening, review, round, status, tight};

/// Asks a guest directly.
fn authorize(guest: Guest) -> Result<Result<sluice_core::policy::auth::Grant, Refusal>, PolicyFailure> {
    let root = tempfile::tempdir().unwrap();
    let config = SlotConfig { limits: tight(PolicyKind::Auth), ..SlotConfig::new(PolicyKind::Auth, "") };
    loader(root.path()).auth(&guest.build(), &config).unwrap().authorize(&login("alice"))
}

fn auth(name: &str) -> Guest {
    Guest::new(PolicyKind::Auth, name)
}

fn grant(account: &str) -> Grant {
    Grant { account: account.to_owned(), ..Grant::default() }
}

#[test]
fn a_grant_is_checked_and_handed_on() {
    let full = Grant {
        account: "alice".to_owned(),
        address: Some("bcrt1qw508d6qejxtdg4y5r3zarvary0c5xw7kygt080".to_owned()),
        start: Some(512.0),
    };
    let answer = authorize(auth("a").grants(&full)).unwrap().unwrap();
    assert_eq!(answer.account.as_str(), "alice");
    assert_eq!(answer.worker.as_str(), "rig");
    assert_eq!(answer.payout_address.unwrap().to_string(), full.address.unwrap());
    assert_eq!(answer.start.unwrap().get(), 512.0);
}

#[test]
fn a_bad_account_is_a_bad_answer() {
    for account in ["", "a\nb", "<script>", "\u{fc}", &"x".repeat(129)] {
        let answer = authorize(auth("a").grants(&grant(account)));
        assert!(matches!(answer, Err(PolicyFailure::BadAnswer(_))), "{account:?}: {answer:?}");
    }
}

#[test]
fn difficulties_that_are_none_are_bad_answers() {
    for start in [f64::NAN, f64::INFINITY, -1.0, 0.0] {
        let answer = authorize(auth("a").grants(&Grant { start: Some(start), ..grant("alice") }));
        assert!(matches!(answer, Err(PolicyFailure::BadAnswer(_))), "{start}: {answer:?}");
    }
}

#[test]
fn an_address_of_another_network_is_the_miners_fault() {
    for address in ["bc1qw508d6qejxtdg4y5r3zarvary0c5xw7kv8f3t4", "no address"] {
        let answer =
            authorize(auth("a").grants(&Grant { address: Some(address.to_owned()), ..grant("alice") }));
        let Ok(Err(Refusal::Forbidden(text))) = answer else { panic!("{answer:?}") };
        assert!(text.contains(address) && text.contains("regtest"), "{text}");
    }
}

#[test]
fn a_refusal_is_made_printable_and_short() {
    let answer = authorize(auth("a").refuses(&format!("\x1b[31m\u{1f4a9}\n{}", "x".repeat(5000)))).unwrap();
    let Err(Refusal::UnknownUser(text)) = answer else { panic!("{answer:?}") };
    assert_eq!(text.len(), 200);
    assert!(text.starts_with("?[31m? xxx"), "{text}");
}

#[test]
fn an_answer_beyond_its_limit_is_stopped() {
    // A refusal whose text is two megabytes of zeros.
    let body = "(i32.store8 (i32.const 64) (i32.const 1)) (i32.store (i32.const 76) (i32.const 65536))
                (i32.store (i32.const 80) (i32.const 2097152)) (i32.const 64)";
    let answer = authorize(auth("a").pages(64).body("authorize", body));
    let Err(PolicyFailure::Trap(why)) = answer else { panic!("{answer:?}") };
    assert!(why.contains("answer is larger"), "{why}");
}

#[test]
fn calls_that_never_end_hoard_or_recurse_are_stopped() {
    for (body, says) in [(LOOP, "fuel"), (HOARD, "memory"), (RECURSE, "stack"), (TRAP, "unreachable")] {
        let answer = authorize(auth("a").body("authorize", body));
        let Err(PolicyFailure::Trap(why)) = answer else { panic!("{answer:?}") };
        assert!(why.contains(says), "{why}");
    }
}

#[test]
fn decisions_are_checked_one_by_one() {
    let root = tempfile::tempdir().unwrap();
    let loader = loader(root.path());
    let config =
        SlotConfig { limits: tight(PolicyKind::Vardiff), ..SlotConfig::new(PolicyKind::Vardiff, "") };
    let load = |guest: Guest| loader.vardiff(&guest.build(), &config).unwrap();
    let vardiff = |name| Guest::new(PolicyKind::Vardiff, name);
    let mut fine = load(vardiff("memo"));
    let decisions = fine.review_all(&vec![review(Memo::default()); 256]).unwrap();
    assert_eq!(decisions.len(), 256);
    assert_eq!(decisions[255].difficulty.get(), 1000.0);
    assert_eq!(decisions[255].memo, Memo { format: 1, bytes: b"memo".as_slice().into() });
    assert_eq!(decisions[255].review_after, Duration::from_secs(60));
    for difficulty in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY, -5.0, 0.0, 1e300] {
        let mut bad = load(vardiff("bad").decides(difficulty));
        assert!(matches!(bad.open(&opening()), Err(PolicyFailure::BadAnswer(_))), "{difficulty}");
        let reviewed = bad.review_all(&[review(Memo::default())]);
        assert!(matches!(reviewed, Err(PolicyFailure::BadAnswer(_))), "{difficulty}");
    }
    // An empty list for one review.
    let mut short = load(vardiff("short").body("review-all", "(i32.const 16)"));
    let answer = short.review_all(&[review(Memo::default())]);
    let Err(PolicyFailure::BadAnswer(why)) = answer else { panic!("{answer:?}") };
    assert!(why.contains("0 decisions for 1 reviews"), "{why}");
    let mut long = load(vardiff(&"m".repeat(64)).body("open", "(i32.store (i32.const 4) (i32.const 0)) (i32.store8 (i32.const 64) (i32.const 0)) (f64.store (i32.const 72) (f64.const 1)) (i32.store (i32.const 92) (i32.const 257)) (i32.const 64)"));
    assert!(matches!(long.open(&opening()), Err(PolicyFailure::BadAnswer(_))));
}

#[test]
fn a_memo_of_another_format_is_not_handed_in() {
    let root = tempfile::tempdir().unwrap();
    let config = SlotConfig::new(PolicyKind::Vardiff, "");
    // Traps where the first review has a memo; the record's last two words are the list.
    let strict = "(if (i32.load (i32.add (local.get 0) (i32.const 156))) (then unreachable))";
    let guest = Guest::new(PolicyKind::Vardiff, "strict")
        .memo_format(7)
        .body("review-all", &format!("{strict} (i32.const 16)"));
    let mut policy = loader(root.path()).vardiff(&guest.build(), &config).unwrap();
    let memo = |format| Memo { format, bytes: b"abc".as_slice().into() };
    let other = policy.review_all(&[review(memo(6))]);
    assert!(matches!(other, Err(PolicyFailure::BadAnswer(_))), "no memo was handed in: {other:?}");
    let same = policy.review_all(&[review(memo(7))]);
    assert!(matches!(same, Err(PolicyFailure::Trap(_))), "the memo was handed in: {same:?}");
}

#[test]
fn entitlements_are_checked() {
    let root = tempfile::tempdir().unwrap();
    let loader = loader(root.path());
    let config = SlotConfig { limits: tight(PolicyKind::Payout), ..SlotConfig::new(PolicyKind::Payout, "") };
    let load = |guest: Guest| loader.payout(&guest.build(), &config).unwrap();
    let payout = || Guest::new(PolicyKind::Payout, "p");
    let mut proportional = load(payout());
    let shares = proportional.settle(&round(&[("alice", 3), ("bob", 1)])).unwrap();
    assert_eq!(shares[0].account, "alice");
    assert_eq!((shares[0].portion, shares[1].portion), (Portion::Weight(3), Portion::Weight(1)));
    let house = proportional.settle(&round(&[])).unwrap();
    assert_eq!((house[0].account.as_str(), house.len()), ("", 1));
    let mut cases =
        [load(payout().settles("a\tb", 1, 5, "")), load(payout().settles("alice", 0, 1 << 53, ""))];
    for case in &mut cases {
        assert!(matches!(case.settle(&round(&[("alice", 1)])), Err(PolicyFailure::BadAnswer(_))));
    }
    let mut noisy = load(payout().settles("alice", 1, 5, "\u{202e}evil\n"));
    assert_eq!(noisy.settle(&round(&[("alice", 1)])).unwrap()[0].reason, "?evil ");
    // What doubles cannot hold does not go in.
    let answer = proportional.settle(&round(&[("alice", 1 << 53)]));
    assert!(matches!(answer, Err(PolicyFailure::BadInput(_))), "{answer:?}");
}

#[test]
fn a_payout_policy_keeps_nothing_from_call_to_call() {
    let root = tempfile::tempdir().unwrap();
    let config = SlotConfig::new(PolicyKind::Payout, "");
    let once = "(if (global.get $calls) (then unreachable)) (global.set $calls (i32.const 1)) (i32.const 16)";
    let guest = Guest::new(PolicyKind::Payout, "once").body("settle", once);
    let mut policy = loader(root.path()).payout(&guest.build(), &config).unwrap();
    for _ in 0..3 {
        assert_eq!(policy.settle(&round(&[])).unwrap(), []);
    }
}

#[tokio::test]
async fn a_trap_costs_one_login_and_no_more() {
    let house = House::new();
    let fragile = auth("fragile");
    house.put(PolicyKind::Auth, &fragile.fails("authorize", 0, "", TRAP_CONDITION).build());
    let policies = house.start().await;
    let bad = policies.authorize(login("!boom")).await;
    assert!(matches!(bad, Err(Refusal::TryLater(_))), "fails closed and retryable: {bad:?}");
    let good = policies.authorize(login("alice")).await.expect("a new instance answers");
    assert_eq!(good.account.as_str(), "fragile");
    let status = status(&policies, PolicyKind::Auth);
    assert_eq!((status.figures.traps, status.figures.traps_by_cause.other), (1, 1));
    assert_eq!(status.figures.calls, 2);
}

/// Never true, and traps where the username begins with `!`.
pub(crate) const TRAP_CONDITION: &str = concat!(
    "(block (result i32) ",
    "(if (i32.eq (i32.load8_u (local.get 0)) (i32.const 33)) (then unreachable))",
    " (i32.const 0))"
);

#[tokio::test]
async fn what_keeps_failing_is_paused_and_tried_again() {
    let house = House::new();
    house.put(PolicyKind::Auth, &auth("fragile").fails("authorize", 0, "", TRAP_CONDITION).build());
    let policies = house.start().await;
    let mut events = policies.events();
    for _ in 0..4 {
        assert!(policies.authorize(login("!boom")).await.is_err());
    }
    let millis = event(&mut events, |event| match event {
        PolicyEvent::BackingOff { millis, .. } => Some(*millis),
        _ => None,
    })
    .await;
    assert_eq!(millis, 1000);
    assert!(matches!(policies.authorize(login("alice")).await, Err(Refusal::TryLater(_))), "not asked");
    assert_eq!(status(&policies, PolicyKind::Auth).figures.unavailable, 1);
    // Other kinds notice nothing.
    assert!(policies.open(opening()).await.is_some());
    let back = async {
        while policies.authorize(login("alice")).await.is_err() {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(30), back).await.expect("it is tried again");
}

#[tokio::test]
async fn a_flood_of_log_lines_is_dropped_and_counted() {
    let house = House::new();
    let flood = "(local $i i32) (loop $more
        (call $log (i32.const 1) (i32.const 4096) (i32.const 5))
        (local.set $i (i32.add (local.get $i) (i32.const 1)))
        (br_if $more (i32.lt_u (local.get $i) (i32.const 1000)))) (i32.const 4096)";
    house.put(PolicyKind::Auth, &auth("flood").refuses("no").body("authorize", flood).build());
    let policies = house.start().await;
    let _ = policies.authorize(login("alice")).await;
    let figures = status(&policies, PolicyKind::Auth).figures;
    assert_eq!(figures.log_lines, 32);
    assert_eq!(figures.log_dropped, 968);
}

#[tokio::test]
async fn a_full_queue_gets_the_default_at_once() {
    let mut house = House::new();
    house.config.auth.limits.queue = 4;
    house.config.auth.limits.fuel = u64::MAX / 16;
    house.config.auth.limits.deadline = Duration::from_millis(300);
    house.put(PolicyKind::Auth, &auth("slow").body("authorize", LOOP).build());
    let policies = house.start().await;
    let asked: Vec<_> = (0..64)
        .map(|_| {
            let policies = policies.clone();
            tokio::spawn(async move { policies.authorize(login("alice")).await })
        })
        .collect();
    for answer in asked {
        assert!(matches!(answer.await.unwrap(), Err(Refusal::TryLater(_))));
    }
    let status = status(&policies, PolicyKind::Auth);
    let figures = status.figures;
    assert!(status.slot.queue_full > 0, "{:?}", status.slot);
    assert!(figures.traps_by_cause.deadline > 0, "{figures:?}");
}

#[tokio::test]
async fn one_channel_does_not_spoil_the_batch_of_the_others() {
    let house = House::new();
    // Refuses any batch; a review alone is answered.
    let picky = Guest::new(PolicyKind::Vardiff, "picky").fails(
        "review-all",
        1,
        "one at a time",
        "(i32.gt_u (local.get 1) (i32.const 1))",
    );
    house.put(PolicyKind::Vardiff, &picky.build());
    let policies = house.start().await;
    let asked: Vec<_> = (0..100)
        .map(|_| {
            let policies = policies.clone();
            tokio::spawn(async move { policies.review(review(Memo::default())).await })
        })
        .collect();
    for answer in asked {
        assert_eq!(answer.await.unwrap().expect("each is answered").difficulty.get(), 1000.0);
    }
}

#[tokio::test]
async fn a_settlement_names_what_settled_it() {
    let house = House::new();
    let policies = house.start().await;
    let settled = policies.settle(round(&[("alice", 1)])).await.unwrap();
    let status = status(&policies, PolicyKind::Payout);
    assert_eq!(settled.policy.hash, status.hash);
    assert_eq!((settled.policy.name.as_str(), settled.policy.version.as_str()), ("first", "1.2.3"));
    assert_eq!((settled.policy.settings.as_str(), settled.policy.generation), ("{}", 1));
    assert_eq!(policies.plan().await.unwrap().window, sluice_core::policy::payout::Window::Work(2.0));
}
