//! Credits for work alone: each share counts once, whatever crashes.

use std::collections::BTreeMap;
use std::path::Path;

use proptest::prelude::*;
use sluice_core::bitcoin::Amount;
use sluice_core::ids::{ShareSeq, TemplateId};
use sluice_core::policy::accrual::{AccrualError, MICROSATS, expected};
use sluice_core::policy::payout::{Accrued, Tally, Window};
use sluice_core::share::ShareRecord;
use sluice_ledger::{
    AccrualSettlement, CreditSource, Ledger, LedgerError, OpenAccrual, PolicyRecord, TemplateFacts,
};

use crate::support::{block, difficulty, number, open, share, sql, template, until, worker};

/// What a fair pay-per-share policy answers: the expected value of each account's work, rounded down.
fn fair(tallies: &[Tally]) -> Vec<Accrued> {
    let mut credits: BTreeMap<&str, u64> = BTreeMap::new();
    for tally in tallies {
        let value =
            (tally.subsidy + tally.fees).to_sat() as f64 * MICROSATS as f64 / tally.network_difficulty;
        for one in &tally.contributions {
            *credits.entry(&one.account).or_default() += (one.work as f64 * tally.work_unit * value) as u64;
        }
    }
    let credit = |(account, microsats): (&str, u64)| Accrued {
        account: account.to_owned(),
        microsats,
        reason: "pay per share".to_owned(),
    };
    credits.into_iter().map(credit).collect()
}

fn policy() -> PolicyRecord {
    PolicyRecord {
        name: "pps".into(),
        version: "1.0.0".into(),
        hash: "cd".repeat(32),
        settings: r#"{"fee":0}"#.into(),
    }
}

fn settlement(open: &OpenAccrual, answer: Vec<Accrued>) -> AccrualSettlement {
    let OpenAccrual { first, through, tallies, .. } = open.clone();
    AccrualSettlement { policy: policy(), first, through, input: tallies, answer }
}

/// Template 1 pays 5,123 satoshis at difficulty 1000: 5.123 for a share of difficulty 1.
async fn accruing(dir: &Path) -> Ledger {
    let ledger = open(dir);
    ledger.template(template(1, 100));
    ledger.accruing(true).await.expect("it is on");
    ledger
}

async fn log(ledger: &Ledger, shares: &[ShareRecord]) {
    let seq = ledger.append(shares).await.expect("shares");
    until(ledger, seq).await;
}

async fn waiting(ledger: &Ledger) -> OpenAccrual {
    ledger.open_accrual().await.expect("readable").expect("shares that wait")
}

async fn accrue(ledger: &Ledger) -> OpenAccrual {
    let open = waiting(ledger).await;
    assert!(ledger.accrue(settlement(&open, fair(&open.tallies))).await.expect("booked"));
    open
}

async fn balance(ledger: &Ledger, account: &str) -> i64 {
    let balances = ledger.balances().await.expect("balances");
    balances.iter().find(|balance| balance.account == account).map_or(0, |balance| balance.sat)
}

#[tokio::test]
async fn work_is_credited_in_whole_satoshis_at_the_cost_of_the_house() {
    let dir = tempfile::tempdir().expect("a directory");
    let ledger = accruing(dir.path()).await;
    let (alice, bob) = (worker(&ledger, "alice", "a"), worker(&ledger, "bob", "b"));
    log(&ledger, &[share(alice, 1, 10.0), share(bob, 2, 1.0), share(alice, 3, 20.0)]).await;
    let open = accrue(&ledger).await;
    assert_eq!((open.first, open.through, open.more, open.passed_over), (ShareSeq(1), ShareSeq(3), false, 0));
    let named: Vec<_> = open.tallies[0].contributions.iter().map(|one| (&*one.account, one.shares)).collect();
    assert_eq!(named, [("alice", 2), ("bob", 1)], "sorted by account");
    // 30 * 5.123 = 153.69 and 5.123.
    let balances = ledger.balances().await.expect("balances");
    let rows: Vec<_> = balances.iter().map(|row| (&*row.account, row.sat, row.mature_sat)).collect();
    assert_eq!(rows, [("", -158, -158), ("alice", 153, 153), ("bob", 5, 5)], "mature at once");
    assert_eq!(ledger.books_sum().await.expect("a sum"), 0);
    let credits = ledger.credits(10).await.expect("credits");
    let told: Vec<_> = credits.iter().map(|row| (&*row.account, row.amount_sat, &*row.reason)).collect();
    assert_eq!(told, [("alice", 153, "pay per share"), ("bob", 5, "pay per share")]);
    assert_eq!(credits[0].source, CreditSource::Work { first: ShareSeq(1), through: ShareSeq(3) });
    assert_eq!(credits[0].policy_hash, "cd".repeat(32));
    let file = sql(dir.path());
    assert_eq!(number(&file, "SELECT sum(microsats) FROM carries"), 690_000 + 123_000);
}

#[tokio::test]
async fn a_stretch_can_be_asked_for_in_parts() {
    let dir = tempfile::tempdir().expect("a directory");
    let ledger = accruing(dir.path()).await;
    let alice = worker(&ledger, "alice", "a");
    log(&ledger, &(1..=5).map(|number| share(alice, number, 1.0)).collect::<Vec<_>>()).await;
    let part = ledger.open_accrual_of(3).await.expect("readable").expect("shares that wait");
    assert_eq!((part.first, part.through, part.more), (ShareSeq(1), ShareSeq(3), true));
    let one = ledger.open_accrual_of(0).await.expect("readable").expect("shares that wait");
    assert_eq!((one.first, one.through, one.more), (ShareSeq(1), ShareSeq(1), true), "never none");
    let all = waiting(&ledger).await;
    assert_eq!((all.through, all.more), (ShareSeq(5), false));
}

/// The figures of docs/ledger.md ("Credits for work alone") are these, times templates, accounts and accruals.
#[tokio::test]
async fn what_an_account_named_by_its_address_takes_in_a_record() {
    const ACCOUNTS: u64 = 100;
    const TEMPLATES: u64 = 5;
    let dir = tempfile::tempdir().expect("a directory");
    let ledger = accruing(dir.path()).await;
    for id in 2..=TEMPLATES {
        ledger.template(template(id, 100));
    }
    for account in 0..ACCOUNTS {
        let miner = worker(&ledger, &format!("bc1q{account:038}"), "rig");
        for id in 1..=TEMPLATES {
            let share = share(miner, account * TEMPLATES + id, 65_536.125);
            log(&ledger, &[ShareRecord { template: TemplateId(id), ..share }]).await;
        }
    }
    accrue(&ledger).await;
    let file = sql(dir.path());
    let per = |text: &str, count: u64| number(&file, text) / i64::try_from(count).expect("small");
    let asked = per("SELECT length(input) FROM accruals", ACCOUNTS * TEMPLATES);
    let answered = per("SELECT length(answer) FROM accruals", ACCOUNTS);
    assert!((80..=105).contains(&asked), "{asked} bytes for each account and template");
    assert!((80..=120).contains(&answered), "{answered} bytes for each account");
}

#[tokio::test]
async fn accruals_follow_each_other_without_gap_or_overlap() {
    let dir = tempfile::tempdir().expect("a directory");
    let ledger = accruing(dir.path()).await;
    let alice = worker(&ledger, "alice", "a");
    let mut ends = Vec::new();
    for number in 1..=4_u64 {
        let shares: Vec<_> = (0..number).map(|each| share(alice, 10 * number + each, 1.0)).collect();
        log(&ledger, &shares).await;
        assert_eq!(ledger.unaccrued().await.expect("a number"), number);
        let open = accrue(&ledger).await;
        ends.push((open.first.0, open.through.0));
        assert_eq!(ledger.open_accrual().await.expect("readable"), None);
        assert_eq!(ledger.unaccrued().await.expect("a number"), 0);
    }
    assert_eq!(ends, [(1, 1), (2, 3), (4, 6), (7, 10)]);
}

#[tokio::test]
async fn the_record_holds_question_answer_and_policy_as_they_were() {
    let dir = tempfile::tempdir().expect("a directory");
    let ledger = accruing(dir.path()).await;
    log(&ledger, &[share(worker(&ledger, "alice", "a"), 1, 0.3)]).await;
    let open = accrue(&ledger).await;
    let read = |column: &str| -> String {
        sql(dir.path())
            .query_row(&format!("SELECT {column} FROM accruals"), [], |row| row.get(0))
            .expect("text")
    };
    let input: Vec<Tally> = serde_json::from_str(&read("input")).expect("tallies");
    assert_eq!(input, open.tallies);
    let answer: Vec<Accrued> = serde_json::from_str(&read("answer")).expect("credits");
    assert_eq!(answer, fair(&open.tallies));
    assert_eq!(read("policy_name || ' ' || policy_version || ' ' || settings"), r#"pps 1.0.0 {"fee":0}"#);
}

#[tokio::test]
async fn a_second_attempt_at_the_same_shares_books_nothing() {
    let dir = tempfile::tempdir().expect("a directory");
    let ledger = accruing(dir.path()).await;
    let alice = worker(&ledger, "alice", "a");
    log(&ledger, &[share(alice, 1, 10.0)]).await;
    let open = accrue(&ledger).await;
    let again = settlement(&open, fair(&open.tallies));
    assert!(!ledger.accrue(again.clone()).await.expect("no error"));
    log(&ledger, &[share(alice, 2, 10.0)]).await;
    assert!(!ledger.accrue(again.clone()).await.expect("no error"));
    ledger.close().await;
    let ledger = crate::support::open(dir.path());
    assert!(!ledger.accrue(again).await.expect("no error"));
    assert_eq!(balance(&ledger, "alice").await, 51);
}

#[tokio::test]
async fn gaps_overlaps_and_shares_to_come_are_refused() {
    let dir = tempfile::tempdir().expect("a directory");
    let ledger = accruing(dir.path()).await;
    let alice = worker(&ledger, "alice", "a");
    log(&ledger, &[share(alice, 1, 10.0), share(alice, 2, 10.0)]).await;
    accrue(&ledger).await;
    log(&ledger, &[share(alice, 3, 10.0), share(alice, 4, 10.0)]).await;
    let open = waiting(&ledger).await;
    // One share left out, one counted again, one that is not there, and none at all.
    for (first, through) in [(4, 4), (2, 3), (1, 4), (3, 5), (3, 2)] {
        let wrong = AccrualSettlement {
            first: ShareSeq(first),
            through: ShareSeq(through),
            ..settlement(&open, fair(&open.tallies))
        };
        let refused = ledger.accrue(wrong).await;
        let Err(LedgerError::AccrualRange { next, newest, .. }) = refused else {
            panic!("{first} to {through}: {refused:?}");
        };
        assert_eq!((next, newest), (ShareSeq(3), ShareSeq(4)));
    }
    assert_eq!(balance(&ledger, "alice").await, 102);
    accrue(&ledger).await;
    // 40 * 5.123 = 204.92
    assert_eq!(balance(&ledger, "alice").await, 204);
}

#[tokio::test]
async fn each_template_has_its_own_fees() {
    let dir = tempfile::tempdir().expect("a directory");
    let ledger = accruing(dir.path()).await;
    let rich = TemplateFacts { fees: Amount::from_sat(5_000), ..template(2, 100) };
    let hard = TemplateFacts { network_difficulty: difficulty(2_000.0), ..template(3, 101) };
    ledger.template(rich);
    ledger.template(hard);
    let (alice, bob) = (worker(&ledger, "alice", "a"), worker(&ledger, "bob", "b"));
    let on = |id, share: ShareRecord| ShareRecord { template: TemplateId(id), ..share };
    let shares = [
        on(2, share(alice, 1, 100.0)),
        on(1, share(alice, 2, 100.0)),
        on(2, share(bob, 3, 100.0)),
        on(3, share(bob, 4, 100.0)),
    ];
    log(&ledger, &shares).await;
    let open = accrue(&ledger).await;
    let facts: Vec<_> =
        open.tallies.iter().map(|one| (one.fees.to_sat(), one.height, one.network_difficulty)).collect();
    assert_eq!(facts, [(5_000, 100, 1000.0), (123, 100, 1000.0), (123, 101, 2000.0)], "as first used");
    // 100 * 10 + 100 * 5.123 = 1512.3, and 100 * 10 + 100 * 2.5615 = 1256.15.
    assert_eq!((balance(&ledger, "alice").await, balance(&ledger, "bob").await), (1_512, 1_256));
}

#[tokio::test]
async fn more_templates_than_one_question_holds_take_several() {
    let dir = tempfile::tempdir().expect("a directory");
    let ledger = accruing(dir.path()).await;
    let alice = worker(&ledger, "alice", "a");
    let mut shares = Vec::new();
    for id in 1..=70 {
        ledger.template(template(id, 100));
        shares.push(ShareRecord { template: TemplateId(id), ..share(alice, id, 100.0) });
    }
    log(&ledger, &shares).await;
    let first = accrue(&ledger).await;
    assert_eq!((first.tallies.len(), first.through, first.more), (64, ShareSeq(64), true));
    let second = accrue(&ledger).await;
    assert_eq!((second.first, second.through, second.more), (ShareSeq(65), ShareSeq(70), false));
    assert_eq!(balance(&ledger, "alice").await, 35_861);
}

#[tokio::test]
async fn shares_of_unknown_templates_are_passed_over() {
    let dir = tempfile::tempdir().expect("a directory");
    let ledger = accruing(dir.path()).await;
    let alice = worker(&ledger, "alice", "a");
    let lost = |at| ShareRecord { template: TemplateId(99), ..share(alice, at, 100.0) };
    log(&ledger, &[lost(1), lost(2)]).await;
    let open = accrue(&ledger).await;
    assert_eq!((open.tallies.len(), open.passed_over, open.through), (0, 2, ShareSeq(2)));
    log(&ledger, &[lost(3), share(alice, 4, 100.0)]).await;
    let open = accrue(&ledger).await;
    assert_eq!((open.first, open.tallies.len(), open.passed_over), (ShareSeq(3), 1, 1));
    assert_eq!(open.tallies[0].contributions[0].shares, 1);
    assert_eq!(balance(&ledger, "alice").await, 512);
}

#[tokio::test]
async fn what_comes_while_the_plan_does_not_accrue_is_never_credited() {
    let dir = tempfile::tempdir().expect("a directory");
    let ledger = open(dir.path());
    ledger.template(template(1, 100));
    let alice = worker(&ledger, "alice", "a");
    let at = |number| share(alice, number, 100.0);
    log(&ledger, &[at(1)]).await;
    assert_eq!(ledger.open_accrual().await.expect("readable"), None);
    ledger.accruing(true).await.expect("on");
    assert_eq!(ledger.open_accrual().await.expect("readable"), None);
    log(&ledger, &[at(2)]).await;
    ledger.accruing(true).await.expect("on still");
    assert_eq!(accrue(&ledger).await.first, ShareSeq(2));
    log(&ledger, &[at(3)]).await;
    let late = waiting(&ledger).await;
    ledger.accruing(false).await.expect("off");
    let refused = ledger.accrue(settlement(&late, fair(&late.tallies))).await;
    assert!(matches!(refused, Err(LedgerError::NotAccruing)), "{refused:?}");
    assert_eq!(ledger.unaccrued().await.expect("a number"), 0);
    log(&ledger, &[at(4)]).await;
    ledger.accruing(true).await.expect("on again");
    log(&ledger, &[at(5)]).await;
    let open = accrue(&ledger).await;
    assert_eq!((open.first, open.through), (ShareSeq(5), ShareSeq(5)));
    assert_eq!(balance(&ledger, "alice").await, 1_024, "two shares of 512.3");
}

#[tokio::test]
async fn accrual_goes_on_where_it_stopped_after_a_restart() {
    let dir = tempfile::tempdir().expect("a directory");
    let ledger = accruing(dir.path()).await;
    let alice = worker(&ledger, "alice", "a");
    log(&ledger, &[share(alice, 1, 1.0)]).await;
    accrue(&ledger).await;
    log(&ledger, &[share(alice, 2, 1.0)]).await;
    ledger.close().await;
    let ledger = open(dir.path());
    ledger.accruing(true).await.expect("on as before");
    let alice = worker(&ledger, "alice", "a");
    // The host counts its templates anew; the rows go on.
    ledger.template(TemplateFacts { fees: Amount::from_sat(1_123), ..template(1, 101) });
    log(&ledger, &[share(alice, 3, 1.0)]).await;
    let open = accrue(&ledger).await;
    assert_eq!((open.first, open.through, open.tallies.len()), (ShareSeq(2), ShareSeq(3), 2));
    // 5.123 + 5.123 + 6.123 = 16.369: fractions outlive the process.
    assert_eq!(balance(&ledger, "alice").await, 16);
}

#[tokio::test]
async fn an_answer_that_gives_too_much_or_names_a_stranger_is_refused() {
    let dir = tempfile::tempdir().expect("a directory");
    let ledger = accruing(dir.path()).await;
    log(&ledger, &[share(worker(&ledger, "alice", "a"), 1, 10.0)]).await;
    let open = waiting(&ledger).await;
    let credit = |account: &str, microsats| Accrued {
        account: account.to_owned(),
        microsats,
        reason: "gift".to_owned(),
    };
    let most = u64::try_from(expected(&open.tallies)).expect("little") + MICROSATS;
    let refused = ledger.accrue(settlement(&open, vec![credit("alice", most + 1)])).await;
    assert!(
        matches!(refused, Err(LedgerError::Accrual(AccrualError::MoreThanExpected { .. }))),
        "{refused:?}"
    );
    let refused = ledger.accrue(settlement(&open, vec![credit("mallory", 1)])).await;
    assert!(matches!(refused, Err(LedgerError::Accrual(AccrualError::UnknownAccount(_)))), "{refused:?}");
    assert!(!ledger.account_known("mallory"));
    let refused = ledger.accrue(settlement(&open, vec![credit("", 1)])).await;
    assert!(matches!(refused, Err(LedgerError::Accrual(AccrualError::House))), "{refused:?}");
    assert_eq!(ledger.unaccrued().await.expect("a number"), 1, "they wait");
    assert_eq!(number(&sql(dir.path()), "SELECT count(*) FROM accruals"), 0);
}

#[tokio::test]
async fn an_account_that_never_sent_a_share_can_be_credited_once_it_is_known() {
    let dir = tempfile::tempdir().expect("a directory");
    let ledger = accruing(dir.path()).await;
    log(&ledger, &[share(worker(&ledger, "alice", "a"), 1, 10.0)]).await;
    worker(&ledger, "charity", "");
    let open = waiting(&ledger).await;
    let gift = Accrued { account: "charity".into(), microsats: 5 * MICROSATS, reason: "gift".into() };
    assert!(ledger.accrue(settlement(&open, vec![gift])).await.expect("booked"));
    assert_eq!(balance(&ledger, "charity").await, 5);
}

#[tokio::test]
async fn a_round_of_the_same_shares_is_settled_as_ever() {
    let dir = tempfile::tempdir().expect("a directory");
    let ledger = accruing(dir.path()).await;
    let alice = worker(&ledger, "alice", "a");
    log(&ledger, &[share(alice, 1, 100.0)]).await;
    accrue(&ledger).await;
    let found = block(1, alice.1, Window::Round);
    ledger.block_found(found.clone()).await.expect("a block");
    ledger.block_verdict(found.hash, sluice_ledger::Verdict::Accepted).await.expect("accepted");
    let round = ledger.open_rounds().await.expect("rounds").remove(0).round;
    ledger.settle_round(found.hash, crate::support::settlement(round)).await.expect("settled");
    let sources: Vec<bool> = ledger
        .credits(10)
        .await
        .expect("credits")
        .iter()
        .map(|row| matches!(row.source, CreditSource::Block { .. }))
        .collect();
    assert_eq!(sources, [true, true, false], "the newest first: fee and work of the block, then the accrual");
    assert_eq!(ledger.books_sum().await.expect("a sum"), 0);
}

/// A step of a made-up history.
#[derive(Clone, Debug)]
enum Step {
    /// Account, difficulty.
    Share(usize, f64),
    Accrue,
    /// The answer of the ledger was lost: the same again.
    Twice,
    Reopen,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        6 => (0..3_usize, 0.001..3.0_f64).prop_map(|(account, worth)| Step::Share(account, worth)),
        3 => Just(Step::Accrue),
        1 => Just(Step::Twice),
        1 => Just(Step::Reopen),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    /// However often work is accrued, retried or the ledger reopened: satoshis and fractions are what the answers gave, and
    /// every share was asked about once.
    #[test]
    fn many_small_accruals_lose_nothing(steps in prop::collection::vec(step(), 1..60)) {
        let runtime = tokio::runtime::Runtime::new().expect("a runtime");
        runtime.block_on(async {
            let dir = tempfile::tempdir().expect("a directory");
            let mut ledger = accruing(dir.path()).await;
            let (mut given, mut asked, mut logged) = (BTreeMap::<String, u64>::new(), 0, 0);
            let accounts = ["alice", "bob", "carol"];
            for step in steps.into_iter().chain([Step::Accrue]) {
                match step {
                    Step::Share(account, worth) => {
                        logged += 1;
                        let worker = worker(&ledger, accounts[account], "");
                        log(&ledger, &[share(worker, logged, worth)]).await;
                    }
                    Step::Accrue | Step::Twice => {
                        let Some(open) = ledger.open_accrual().await.expect("readable") else { continue };
                        let answer = fair(&open.tallies);
                        for credit in &answer {
                            *given.entry(credit.account.clone()).or_default() += credit.microsats;
                        }
                        let shares = open.tallies.iter().flat_map(|one| &one.contributions).map(|one| one.shares);
                        asked += shares.sum::<u64>();
                        let settlement = settlement(&open, answer);
                        assert!(ledger.accrue(settlement.clone()).await.expect("booked"));
                        if matches!(step, Step::Twice) {
                            assert!(!ledger.accrue(settlement).await.expect("no error"));
                        }
                    }
                    Step::Reopen => {
                        ledger.close().await;
                        ledger = accruing(dir.path()).await;
                    }
                }
            }
            assert_eq!(asked, logged);
            assert_eq!(ledger.books_sum().await.expect("a sum"), 0);
            let mut house = 0;
            for (account, microsats) in given {
                let sats = balance(&ledger, &account).await;
                house -= sats;
                let carried = sql(dir.path())
                    .query_row(
                        "SELECT microsats FROM carries JOIN accounts ON id = account WHERE name = ?",
                        [&account],
                        |row| row.get::<_, i64>(0),
                    )
                    .expect("a carry");
                assert_eq!(sats * 1_000_000 + carried, i64::try_from(microsats).expect("little"), "{account}");
            }
            assert_eq!(balance(&ledger, "").await, house);
        });
    }
}
