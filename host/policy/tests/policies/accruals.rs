//! Credits for work alone: what a policy may answer, and what becomes of an answer that it may not give.

use sluice_core::bitcoin::Amount;
use sluice_core::policy::accrual::{self, AccrualError};
use sluice_core::policy::payout::{Accrued, Contribution, Tally, Window};
use sluice_core::policy::split::ENTITLEMENT_LIMIT;
use sluice_core::policy::{PolicyFailure, PolicyKind};
use sluice_policy::{Policies, SlotConfig};

use crate::guest::{Accrual, Guest, TRAP};
use crate::house::{House, applied, loader, rejected, round, status};

/// What the tallies below are expected to bring, in satoshis.
const EXPECTED: u64 = 300;

/// Two templates: 100 and 200 sat of expected reward, all of them alice's and bob's work.
fn tallies() -> Vec<Tally> {
    let one = |account: &str, work| Contribution { account: account.to_owned(), work, shares: 1 };
    let tally = |fees| Tally {
        height: 900_000,
        subsidy: Amount::from_sat(50_000),
        fees: Amount::from_sat(fees),
        network_difficulty: 2000.0,
        work_unit: 2.0,
        contributions: vec![one("alice", 1), one("bob", 1)],
    };
    vec![tally(0), tally(50_000)]
}

fn accruing(accruals: &[Accrual]) -> Guest {
    Guest::new(PolicyKind::Payout, "accruing").accrues(accruals)
}

fn of(account: &'static str, sats: u64, microsats: u32) -> Accrual {
    Accrual { account, sats, microsats }
}

/// Asks a guest itself: what its answer is before anybody judges the amounts.
fn lifted(guest: Guest) -> Result<Vec<Accrued>, PolicyFailure> {
    let root = tempfile::tempdir().unwrap();
    let config = SlotConfig::new(PolicyKind::Payout, "");
    loader(root.path()).payout(&guest.build(), &config).unwrap().accrue(&tallies())
}

async fn started(guest: Guest) -> (House, Policies) {
    let house = House::new();
    house.put(PolicyKind::Payout, &guest.build());
    let policies = house.start().await;
    (house, policies)
}

fn refused<T: std::fmt::Debug>(answer: Result<T, PolicyFailure>) -> String {
    let Err(PolicyFailure::BadAnswer(why)) = answer else { panic!("{answer:?}") };
    why
}

#[tokio::test]
async fn an_accrual_names_what_gave_it() {
    let (_house, policies) = started(accruing(&[of("bob", 7, 999_999), of("alice", 292, 0)])).await;
    let plan = policies.plan().await.unwrap();
    assert_eq!((plan.window, plan.accrues), (Window::None, true));
    assert_eq!((plan.per_finder, plan.pays_balances), (false, false));
    let answer = policies.accrue(tallies()).await.unwrap();
    let accrued = |account: &str, microsats| Accrued {
        account: account.to_owned(),
        microsats,
        reason: "by the share".to_owned(),
    };
    assert_eq!(answer.accrued, [accrued("bob", 7_999_999), accrued("alice", 292_000_000)]);
    assert_eq!(answer.policy.hash, status(&policies, PolicyKind::Payout).hash);
    assert_eq!(answer.policy.name.as_str(), "accruing");
}

#[tokio::test]
async fn answers_that_break_a_rule_are_refused_and_the_tallies_may_come_again() {
    let cases = [
        (vec![of("", 1, 0)], "the house is credited"),
        (vec![of("alice", 1, 0), of("bob", 1, 0), of("alice", 1, 0)], "\"alice\" is named twice"),
        (vec![of("alice", EXPECTED, 0), of("bob", 2, 1)], "the work is expected to bring 300000000"),
        (vec![of("a\tb", 1, 0)], ""),
    ];
    for (accruals, says) in cases {
        let (_house, policies) = started(accruing(&accruals)).await;
        let why = refused(policies.accrue(tallies()).await);
        assert!(why.contains(says), "{why}");
        // Blocks are settled as ever.
        policies.settle(round(&[("alice", 1)])).await.unwrap();
    }
}

/// A satoshi for each tally is left for rounding.
#[tokio::test]
async fn what_the_work_is_expected_to_bring_may_be_given() {
    let (_house, policies) = started(accruing(&[of("alice", EXPECTED, 0), of("bob", 2, 0)])).await;
    policies.accrue(tallies()).await.unwrap();
}

#[test]
fn amounts_are_bounded() {
    let most = lifted(accruing(&[of("alice", 2_100_000_000_000, 999_999)])).unwrap();
    assert_eq!(most[0].microsats, 2_100_000_000_000_999_999);
    for (accrual, says) in [
        (of("alice", 1 << 53, 0), "below 2^53"),
        (of("alice", (1 << 53) - 1, 0), "at most 18446744073709 is allowed"),
        (of("alice", 0, 1_000_000), "below 1000000 is allowed"),
    ] {
        let why = refused(lifted(accruing(&[accrual])));
        assert!(why.contains(says), "{why}");
    }
}

#[test]
fn too_many_accruals_are_refused() {
    // A list of more records than are allowed, all zeros, in memory that nobody has written.
    let count = ENTITLEMENT_LIMIT + 1;
    let body = format!(
        "(i32.store (i32.const 68) (i32.const 65536)) (i32.store (i32.const 72) (i32.const {count})) (i32.const 64)"
    );
    let pages = 2 + (count * 32).div_ceil(65_536);
    let why = refused(lifted(accruing(&[]).pages(pages).body("accrue", &body)));
    assert!(why.contains("1000001 accruals; at most 1000000"), "{why}");
}

/// Which accounts there are is the ledger's to know: it judges with the same check.
#[test]
fn an_account_that_is_not_known_is_refused_by_the_host() {
    let answer = lifted(accruing(&[of("mallory", 1, 0)])).unwrap();
    let known = |name: &str| ["alice", "bob"].contains(&name);
    let judged = accrual::check(&tallies(), &answer, &known);
    assert_eq!(judged, Err(AccrualError::UnknownAccount("mallory".to_owned())));
}

#[tokio::test]
async fn a_policy_that_fails_to_accrue_is_mended_by_the_next() {
    let fragile = accruing(&[]).fails("accrue", 2, "no rate for this height", "(i32.const 1)");
    let (house, policies) = started(fragile).await;
    let answer = policies.accrue(tallies()).await;
    let Err(PolicyFailure::Internal(why)) = answer else { panic!("{answer:?}") };
    assert!(why.contains("no rate for this height"), "{why}");
    policies.settle(round(&[("alice", 1)])).await.unwrap();
    let mut events = policies.events();
    house.put(PolicyKind::Payout, &accruing(&[of("alice", 5, 0)]).build());
    applied(&mut events).await;
    assert_eq!(policies.accrue(tallies()).await.unwrap().accrued[0].microsats, 5_000_000);
}

#[tokio::test]
async fn a_policy_that_traps_in_accrue_answers_the_next_question() {
    let (_house, policies) = started(accruing(&[]).body("accrue", TRAP)).await;
    let answer = policies.accrue(tallies()).await;
    assert!(matches!(answer, Err(PolicyFailure::Trap(_))), "{answer:?}");
    policies.settle(round(&[("alice", 1)])).await.unwrap();
}

#[tokio::test]
async fn a_candidate_is_tried_on_the_latest_tallies_where_it_accrues() {
    let (house, policies) = started(accruing(&[of("alice", 5, 0)])).await;
    policies.accrue(tallies()).await.unwrap();
    let mut events = policies.events();
    house.put(PolicyKind::Payout, &accruing(&[of("alice", EXPECTED + 3, 0)]).build());
    assert!(rejected(&mut events).await.contains("recent input"));
    house.put(PolicyKind::Payout, &Guest::new(PolicyKind::Payout, "windows").body("accrue", TRAP).build());
    assert_eq!(applied(&mut events).await, "windows");
}
