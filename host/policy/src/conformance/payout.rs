//! What every payout policy is asked.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;

use sluice_core::bitcoin::Amount;
use sluice_core::policy::accrual;
use sluice_core::policy::payout::{
    Accrued, Contribution, Entitlement, PayoutPolicy, Plan, Round, Tally, Window,
};
use sluice_core::policy::split::split;
use sluice_core::units::{Difficulty, Timestamp};

use super::{MANY, Sheet, about, fair, same};
use crate::load::Loaded;
use crate::payout::WasmPayout;

/// The greatest u64 of the contract.
const INTEGER: u64 = (1 << 53) - 1;
/// All the money there will be, in satoshis.
const MONEY: u64 = 2_100_000_000_000_000;
const SUBSIDY: u64 = 312_500_000;
/// Tallies of the fullest accrual.
const TALLIES: usize = 64;

/// A question with what it is called in a report.
type Named<T> = (&'static str, T);

pub(super) fn check(sheet: &mut Sheet, loaded: &Arc<Loaded>) {
    let mut policy = WasmPayout::new(loaded.clone());
    let plan = match policy.plan() {
        Ok(plan) => plan,
        Err(failure) => return sheet.note("has a plan", Err(failure.to_string())),
    };
    let again = policy.plan().map_err(|failure| failure.to_string());
    sheet.note("has the same plan every time", again.and_then(|again| same("the plan", &plan, &again)));
    sheet.note("settles a plain round", plain(&mut policy, plan));
    for (name, round) in rounds(plan) {
        sheet.note(
            format!("settles, or refuses as beyond it: {name}"),
            settled(&mut policy, &round).map(|_| ()),
        );
    }
    sheet.note("answers the same round the same way", each(&mut policy, plan, |round| round));
    let preview = |round| Round { found: false, ..round };
    sheet.note("a preview (found = false) is what the block will pay", each(&mut policy, plan, preview));
    sheet.note("the order of contributions changes nothing", each(&mut policy, plan, backwards));
    if !plan.per_finder {
        let other = |round| Round { finder: "bob".to_owned(), ..round };
        sheet.note("the finder changes nothing, as the plan says", each(&mut policy, plan, other));
    }
    accruals(sheet, &mut policy, plan);
}

/// Entitlements that divide to the satoshi, all of them of accounts that the question named. `None`: beyond it.
fn settled(policy: &mut WasmPayout, round: &Round) -> Result<Option<Vec<Entitlement>>, String> {
    let Some(answer) = fair(policy.settle(round))? else { return Ok(None) };
    let names: HashSet<&str> = round.contributions.iter().map(|one| one.account.as_str()).collect();
    let known = |name: &str| name == round.finder || names.contains(name);
    let credits = split(round.reward(), &answer, &known).map_err(|error| error.to_string())?;
    let sum: u64 = credits.iter().map(|credit| credit.amount.to_sat()).sum();
    if sum != round.reward().to_sat() {
        return Err(format!("credits come to {sum} sat of {}", round.reward()));
    }
    Ok(Some(answer))
}

fn plain(policy: &mut WasmPayout, plan: Plan) -> Result<(), String> {
    let round = round(plan, work(&[("alice", 3), ("bob", 1)]));
    match settled(policy, &round)? {
        Some(_) => Ok(()),
        None => Err("it refuses two accounts with 3 and 1 units of work as beyond it".to_owned()),
    }
}

/// Compares what comes of every round with what comes of a changed one, by account.
fn each(policy: &mut WasmPayout, plan: Plan, change: impl Fn(Round) -> Round) -> Result<(), String> {
    for (name, round) in rounds(plan) {
        let first = credits(policy, &round).map_err(|why| format!("{name}: {why}"))?;
        let changed = change(round);
        let second = credits(policy, &changed).map_err(|why| format!("{name}: {why}"))?;
        same(name, &first, &second)?;
    }
    Ok(())
}

fn credits(policy: &mut WasmPayout, round: &Round) -> Result<Option<BTreeMap<String, u64>>, String> {
    let Some(answer) = settled(policy, round)? else { return Ok(None) };
    let credits = split(round.reward(), &answer, &|_| true).map_err(|error| error.to_string())?;
    Ok(Some(credits.into_iter().map(|credit| (credit.account, credit.amount.to_sat())).collect()))
}

fn backwards(mut round: Round) -> Round {
    round.contributions.reverse();
    round
}

fn accruals(sheet: &mut Sheet, policy: &mut WasmPayout, plan: Plan) {
    if plan.accrues {
        let plain = tally(work(&[("alice", 3), ("bob", 1)]));
        let answer = match accrued(policy, std::slice::from_ref(&plain)) {
            Ok(None) => Err("it refuses two accounts' work on one template as beyond it".to_owned()),
            Ok(Some(_)) => Ok(()),
            Err(why) => Err(why),
        };
        sheet.note("accrues plain work, as its plan says", answer);
    }
    for (name, tallies) in lists() {
        let outcome = accrued(policy, &tallies).map(|_| ());
        sheet.note(format!("accrues within what the work is expected to bring, or refuses: {name}"), outcome);
    }
    sheet.note("answers the same tallies the same way", accrued_again(policy));
}

/// Credits that the host would book. `None`: beyond it, as is right where the plan does not accrue.
fn accrued(policy: &mut WasmPayout, tallies: &[Tally]) -> Result<Option<Vec<Accrued>>, String> {
    let Some(answer) = fair(policy.accrue(tallies))? else { return Ok(None) };
    let names: HashSet<&str> =
        tallies.iter().flat_map(|tally| &tally.contributions).map(|one| one.account.as_str()).collect();
    accrual::check(tallies, &answer, &|name| names.contains(name)).map_err(|error| error.to_string())?;
    Ok(Some(answer))
}

fn accrued_again(policy: &mut WasmPayout) -> Result<(), String> {
    for (name, tallies) in lists() {
        let first = accrued(policy, &tallies).map_err(|why| about(&name, why))?;
        same(name, &first, &accrued(policy, &tallies)?)?;
    }
    Ok(())
}

fn work(list: &[(&str, u64)]) -> Vec<Contribution> {
    let contribution = |(account, work): &(&str, u64)| Contribution {
        account: (*account).to_owned(),
        work: *work,
        shares: 1,
    };
    list.iter().map(contribution).collect()
}

/// Ten thousand accounts, sorted.
fn crowd(work: u64) -> Vec<Contribution> {
    let one = |index| Contribution { account: format!("account{index:05}"), work: work + index, shares: 1 };
    (0..MANY as u64).map(one).collect()
}

/// As the host asks under this plan: without a window there are no contributions, and a finder only where it matters.
fn round(plan: Plan, contributions: Vec<Contribution>) -> Round {
    Round {
        found: true,
        height: 900_000,
        at: Timestamp(1_700_000_000_000),
        subsidy: Amount::from_sat(SUBSIDY),
        fees: Amount::from_sat(1_234_567),
        network_difficulty: 1e14,
        finder: if plan.per_finder { "alice".to_owned() } else { String::new() },
        work_unit: 1.0,
        contributions: if plan.window == Window::None { Vec::new() } else { contributions },
    }
}

fn rounds(plan: Plan) -> Vec<Named<Round>> {
    let pair = || round(plan, work(&[("alice", 3), ("bob", 1)]));
    let of = |list: &[(&str, u64)]| round(plan, work(list));
    let paying =
        |subsidy, fees| Round { subsidy: Amount::from_sat(subsidy), fees: Amount::from_sat(fees), ..pair() };
    let long = "n".repeat(128);
    let mut rounds = vec![
        ("nobody has worked", of(&[])),
        ("one account", of(&[("alice", 1)])),
        ("the house alone", of(&[("", 5)])),
        ("the house and others", of(&[("", 5), ("alice", 3), ("bob", 1)])),
        ("accounts without work", of(&[("alice", 0), ("bob", 0)])),
        ("an account without work beside one with", of(&[("alice", 0), ("bob", 7)])),
        ("the greatest work there is", of(&[("", INTEGER), ("alice", INTEGER), ("bob", INTEGER)])),
        ("the greatest work beside the least", of(&[("alice", INTEGER), ("bob", 1)])),
        (
            "names that other languages trip over",
            of(&[(" ", 1), ("__proto__", 2), ("constructor", 3), (&long, 4)]),
        ),
        ("a block that pays nothing", paying(0, 0)),
        ("a block that pays one satoshi", paying(1, 0)),
        ("a block of fees alone", paying(0, 99_999)),
        ("all the money there is, twice", paying(MONEY, MONEY)),
        ("a difficulty of almost nothing", Round { network_difficulty: Difficulty::MIN.get(), ..pair() }),
        ("the greatest difficulty", Round { network_difficulty: Difficulty::MAX.get(), ..pair() }),
        ("a tiny unit of work", Round { work_unit: f64::MIN_POSITIVE, ..pair() }),
        ("a huge unit of work", Round { work_unit: 1e300, ..pair() }),
        ("height and time zero", Round { height: 0, at: Timestamp(0), ..pair() }),
        ("the last height and time", Round { height: u32::MAX, at: Timestamp(INTEGER), ..pair() }),
        ("ten thousand accounts", round(plan, crowd(1))),
        ("ten thousand accounts of the greatest work", round(plan, crowd(INTEGER - MANY as u64))),
    ];
    if plan.per_finder {
        rounds.push(("found by the house", Round { finder: String::new(), ..pair() }));
        rounds.push(("found by an account without work", Round { finder: "carol".to_owned(), ..pair() }));
    }
    rounds
}

fn tally(contributions: Vec<Contribution>) -> Tally {
    Tally {
        height: 900_000,
        subsidy: Amount::from_sat(SUBSIDY),
        fees: Amount::from_sat(1_234_567),
        network_difficulty: 1e6,
        work_unit: 1.0,
        contributions,
    }
}

fn lists() -> Vec<Named<Vec<Tally>>> {
    let pair = || tally(work(&[("alice", 3), ("bob", 1)]));
    let money = Tally { subsidy: Amount::from_sat(MONEY), fees: Amount::from_sat(MONEY), ..pair() };
    vec![
        ("no tallies", Vec::new()),
        ("a tally without work", vec![tally(Vec::new())]),
        ("the house's own work", vec![tally(work(&[("", 5), ("alice", 1)]))]),
        ("accounts without work", vec![tally(work(&[("alice", 0), ("bob", 0)]))]),
        ("the same account on sixty-four templates", vec![pair(); TALLIES]),
        ("all the money there is, twice", vec![money]),
        ("a template that pays nothing", vec![Tally { subsidy: Amount::ZERO, fees: Amount::ZERO, ..pair() }]),
        ("the greatest difficulty", vec![Tally { network_difficulty: Difficulty::MAX.get(), ..pair() }]),
        ("more than a block's work on one template", vec![tally(work(&[("alice", 5_000_000)]))]),
        ("a difficulty below the unit of work", vec![Tally { network_difficulty: 1e-3, ..pair() }]),
        ("ten thousand accounts", vec![tally(crowd(1))]),
    ]
}
