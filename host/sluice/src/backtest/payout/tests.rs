use sluice_core::policy::PolicyKind;
use sluice_policy::SlotConfig;

use super::super::payout_simulated;
use super::super::scenario::Scenario;
use super::super::tests::{loader, on_a_thread, shipped};
use super::*;

const TEXT: &str = "duration = \"7d\"\n[chain]\ndifficulty = 1e9\n\
    [[group]]\nname = \"small\"\ncount = 4\nhashrate = \"10TH/s\"\n\
    [[group]]\nname = \"large\"\nhashrate = \"100TH/s\"\noutage = { every = \"6h\", lasts = \"2h\" }\n";

fn compared(candidate: &str, current: &str, settings: &str) -> Comparison {
    on_a_thread(|| {
        let (_dir, loader) = loader();
        let config = SlotConfig::new(PolicyKind::Payout, "");
        let set = SlotConfig { settings: serde_json::from_str(settings).unwrap(), ..config.clone() };
        let mut one = loader.payout(shipped(candidate), &set).unwrap();
        let mut two = loader.payout(shipped(current), &config).unwrap();
        payout_simulated(&Scenario::parse(TEXT).unwrap(), one.as_mut(), two.as_mut()).unwrap()
    })
}

#[test]
fn the_same_policy_gives_the_same() {
    let comparison = compared("payout-pplns.wasm", "payout-pplns.wasm", "{}");
    assert!(comparison.is_equal(), "{comparison:?}");
    // 140 TH/s on difficulty 1e9 for a week: about nineteen blocks, less with the large one's outages.
    assert!((5..40).contains(&comparison.rounds), "{}", comparison.rounds);
    let paid: i64 = comparison.accounts.iter().map(|line| line.current_sat).sum();
    assert_eq!(u64::try_from(paid), Ok(comparison.reward_sat));
}

#[test]
fn a_fee_goes_from_the_accounts_to_the_house() {
    let comparison = compared("payout-pplns.wasm", "payout-pplns.wasm", "{\"fee-bps\":1000}");
    let house = comparison.accounts.iter().find(|line| line.account.is_empty()).unwrap();
    let tenth = i64::try_from(comparison.reward_sat / 10).unwrap();
    assert!(house.difference_sat > tenth / 2 && comparison.held == 0, "{house:?}");
    let others = comparison.accounts.iter().filter(|line| !line.account.is_empty());
    assert!(others.clone().count() == 5 && others.clone().all(|line| line.difference_sat < 0));
    assert_eq!(comparison.accounts.iter().map(|line| line.difference_sat).sum::<i64>(), 0);
}

#[test]
fn solo_pays_whoever_finds() {
    let comparison = compared("payout-solo.wasm", "payout-pplns.wasm", "{}");
    assert!(!comparison.is_equal() && comparison.held == 0, "{comparison:?}");
    let sum: i64 = comparison.accounts.iter().map(|line| line.difference_sat).sum();
    assert_eq!(sum, 0);
}

#[test]
fn fractions_of_a_satoshi_add_up_and_the_house_pays_them() {
    let accrued = |microsats| Accrued { account: "a".to_owned(), microsats, reason: String::new() };
    let mut scales = Scales::default();
    scales.work(Ok((vec![accrued(600_000)], vec![accrued(600_000)])));
    scales.work(Ok((vec![accrued(600_000)], vec![accrued(1_600_000)])));
    let comparison = scales.finish();
    let of = |name: &str| comparison.accounts.iter().find(|line| line.account == name).unwrap().clone();
    assert_eq!((of("a").current_sat, of("a").candidate_sat), (1, 2));
    assert_eq!((of("").current_sat, of("").candidate_sat), (-1, -2));
    assert_eq!(comparison.accruals, 2);
}

/// A ledger with two settled blocks of a policy of our own, and what it gave.
async fn history(dir: &std::path::Path, policy: &mut ByWork) {
    use bitcoin::BlockHash;
    use bitcoin::hashes::Hash;
    use sluice_core::ids::{AccountName, Protocol, TemplateId, WorkerName};
    use sluice_core::share::ShareRecord;
    use sluice_core::units::{Difficulty, Timestamp};
    use sluice_ledger::{BlockRow, Durability, Ledger, LedgerConfig, Settlement, TemplateFacts, Verdict};

    let config = LedgerConfig { dir: dir.to_owned(), durability: Durability::Process, queue_limit: 1000 };
    let ledger = Ledger::open(&config).unwrap();
    ledger.template(TemplateFacts {
        id: TemplateId(1),
        height: 100,
        previous: BlockHash::all_zeros(),
        network_difficulty: Difficulty::ONE,
        subsidy: Amount::from_sat(1_000_000),
        fees: Amount::from_sat(1),
        at: Timestamp(1),
    });
    let names = ["alice", "bob", "carol"];
    let miners = names
        .map(|name| ledger.worker(&AccountName::new(name).unwrap(), &WorkerName::new("").unwrap()).unwrap());
    for number in 1..=2u8 {
        for at in 0..30u64 {
            let (account, worker) = miners[(at % u64::from(number + 1)) as usize];
            let share = ShareRecord {
                at: Timestamp(u64::from(number) * 1_000_000 + at * 10_000),
                account,
                worker,
                protocol: Protocol::StratumV1,
                template: TemplateId(1),
                difficulty: Difficulty::ONE,
                hash: BlockHash::from_byte_array([number; 32]),
            };
            let seq = ledger.append(&[share]).await.unwrap();
            ledger.committed().wait_for(|done| *done >= seq).await.unwrap();
        }
        let hash = BlockHash::from_byte_array([number; 32]);
        let block = BlockRow {
            hash,
            height: 100,
            template: TemplateId(1),
            at: Timestamp(u64::from(number) * 2_000_000),
            finder: miners[0].1,
            difficulty: Difficulty::ONE,
            network_difficulty: Difficulty::ONE,
            reward: Amount::from_sat(1_000_001),
            payments: Vec::new(),
            window: policy.plan().unwrap().window,
        };
        ledger.block_found(block).await.unwrap();
        ledger.block_verdict(hash, Verdict::Accepted).await.unwrap();
        for open in ledger.open_rounds().await.unwrap() {
            let input = Round { finder: String::new(), ..open.round };
            let answer = policy.settle(&input).unwrap();
            let credits = split(input.reward(), &answer, &|_| true).unwrap();
            let settlement = Settlement {
                policy_name: "by-work".into(),
                policy_version: "1".into(),
                policy_hash: "ab".repeat(32),
                settings: "{}".into(),
                input,
                answer,
                credits,
            };
            assert!(ledger.settle_round(open.hash, settlement).await.unwrap());
        }
    }
    ledger.close().await;
}

/// Divides the round by work, a part in a thousand to the house; refuses rounds with this account.
struct ByWork {
    fee: u64,
    refuses: &'static str,
}

impl PayoutPolicy for ByWork {
    fn plan(&mut self) -> Result<Plan, PolicyFailure> {
        use sluice_core::policy::payout::Window;
        Ok(Plan { window: Window::Round, per_finder: false, accrues: false, pays_balances: false })
    }

    fn settle(&mut self, round: &Round) -> Result<Vec<Entitlement>, PolicyFailure> {
        use sluice_core::policy::payout::Portion;
        if round.contributions.iter().any(|one| one.account == self.refuses) {
            return Err(PolicyFailure::BadInput("not her".to_owned()));
        }
        let one = |account: &str, portion| Entitlement {
            account: account.to_owned(),
            portion,
            reason: String::new(),
        };
        let mut all: Vec<_> =
            round.contributions.iter().map(|part| one(&part.account, Portion::Weight(part.work))).collect();
        all.push(one("", Portion::Fixed(self.fee)));
        Ok(all)
    }

    fn accrue(&mut self, _: &[Tally]) -> Result<Vec<Accrued>, PolicyFailure> {
        Ok(Vec::new())
    }
}

#[tokio::test]
async fn the_recorded_rounds_under_the_same_policy_show_no_difference() {
    let dir = tempfile::tempdir().unwrap();
    let mut policy = ByWork { fee: 1000, refuses: "" };
    history(dir.path(), &mut policy).await;
    let ledger = Recorded::open(&sluice_ledger::database_in(dir.path())).unwrap();
    let same = recorded(&ledger, &mut policy, None, &mut |_, _, _| ()).unwrap();
    assert!(same.is_equal(), "{same:?}");
    assert_eq!((same.rounds, same.reward_sat, same.accounts.len()), (2, 2_000_002, 4));
    let dear = recorded(&ledger, &mut ByWork { fee: 5000, refuses: "" }, None, &mut |_, _, _| ()).unwrap();
    let house = dear.accounts.iter().find(|line| line.account.is_empty()).unwrap();
    assert_eq!((house.current_sat, house.candidate_sat), (2000, 10_000));
    assert_eq!(dear.accounts.iter().map(|line| line.difference_sat).sum::<i64>(), 0);
    let swapped =
        recorded(&ledger, &mut policy, Some(&mut ByWork { fee: 5000, refuses: "" }), &mut |_, _, _| ())
            .unwrap();
    let house = swapped.accounts.iter().find(|line| line.account.is_empty()).unwrap();
    assert_eq!((house.current_sat, house.candidate_sat), (10_000, 2000));
}

#[tokio::test]
async fn what_the_candidate_does_not_answer_is_left_out_and_told() {
    let dir = tempfile::tempdir().unwrap();
    history(dir.path(), &mut ByWork { fee: 1000, refuses: "" }).await;
    let ledger = Recorded::open(&sluice_ledger::database_in(dir.path())).unwrap();
    let comparison =
        recorded(&ledger, &mut ByWork { fee: 1000, refuses: "carol" }, None, &mut |_, _, _| ()).unwrap();
    assert_eq!((comparison.rounds, comparison.held), (1, 1));
    assert!(comparison.failures[0].contains("not her") && !comparison.is_equal());
    assert!(comparison.accounts.iter().all(|line| line.difference_sat == 0));
}

#[tokio::test]
async fn the_workers_of_a_log_are_miners_of_a_vardiff_backtest() {
    use super::super::tests::Fixed;
    use super::super::{Miners, vardiff};

    let dir = tempfile::tempdir().unwrap();
    history(dir.path(), &mut ByWork { fee: 1000, refuses: "" }).await;
    let ledger = Recorded::open(&sluice_ledger::database_in(dir.path())).unwrap();
    let trial =
        vardiff(&Miners::Recorded(Box::new(ledger)), 1.0, &mut Fixed(1.0), &mut |_, _, _| ()).unwrap();
    // The log has 60 shares of difficulty 1 within 1290 s.
    assert_eq!(trial.groups.iter().map(|group| group.miners).sum::<usize>(), 3);
    let shares: u64 = trial.groups.iter().map(|group| group.shares).sum();
    assert!((25..=110).contains(&shares), "{shares}");
}
