use std::sync::Mutex;

use bitcoin::hashes::Hash;
use bitcoin::{Amount, BlockHash};
use sluice_core::ids::{AccountName, Protocol, ShareSeq, TemplateId, WorkerName};
use sluice_core::policy::auth::{AuthPolicy, Grant, Login, Refusal};
use sluice_core::policy::payout::{Accrued, Entitlement, PayoutPolicy, Plan, Round, Tally, Window};
use sluice_core::policy::vardiff::{Decision, Opening, Review, VardiffPolicy};
use sluice_core::share::ShareRecord;
use sluice_core::units::{Difficulty, Timestamp};
use sluice_ledger::{CreditSource, Durability, LedgerConfig, TemplateFacts};

use super::*;

/// More than anything here takes.
const SOON: Duration = Duration::from_secs(20);
/// Longer than a test runs: no tick but the first.
const NEVER: Duration = Duration::from_secs(3600);

/// What the payout policy does from now on.
#[derive(Clone, Copy, Debug)]
enum Mood {
    /// 100 satoshis for each unit of difficulty.
    Pays,
    /// More than the work can bring.
    Lavish,
    /// The same, and cannot answer about more shares at once.
    Narrow(u64),
    /// The same, and cannot answer about this account at all.
    Stumbles(&'static str),
    Fails,
    /// Credits blocks only.
    Idle,
}

struct Scheme(Arc<Mutex<Mood>>);

impl Scheme {
    fn mood(&self) -> Mood {
        *self.0.lock().unwrap()
    }
}

impl PayoutPolicy for Scheme {
    fn plan(&mut self) -> Result<Plan, PolicyFailure> {
        let accrues = !matches!(self.mood(), Mood::Idle);
        Ok(Plan { window: Window::None, per_finder: false, accrues, pays_balances: false })
    }

    fn settle(&mut self, _round: &Round) -> Result<Vec<Entitlement>, PolicyFailure> {
        Ok(Vec::new())
    }

    fn accrue(&mut self, tallies: &[Tally]) -> Result<Vec<Accrued>, PolicyFailure> {
        let asked = || tallies.iter().flat_map(|tally| &tally.contributions);
        let each = match self.mood() {
            Mood::Narrow(most) if asked().map(|one| one.shares).sum::<u64>() > most => {
                return Err(PolicyFailure::BadInput("too much".to_owned()));
            }
            Mood::Stumbles(over) if asked().any(|one| one.account == over) => {
                return Err(PolicyFailure::Trap("unreachable".to_owned()));
            }
            Mood::Pays | Mood::Narrow(_) | Mood::Stumbles(_) => 100_000_000.0,
            Mood::Lavish => 1e12,
            Mood::Fails | Mood::Idle => return Err(PolicyFailure::Internal("out of order".to_owned())),
        };
        let mut list: Vec<Accrued> = Vec::new();
        for (tally, one) in
            tallies.iter().flat_map(|tally| tally.contributions.iter().map(move |one| (tally, one)))
        {
            let microsats = (one.work as f64 * tally.work_unit * each) as u64;
            match list.iter_mut().find(|credit| credit.account == one.account) {
                Some(credit) => credit.microsats += microsats,
                None => {
                    list.push(Accrued { account: one.account.clone(), microsats, reason: "work".to_owned() });
                }
            }
        }
        Ok(list)
    }
}

struct Silent;

impl AuthPolicy for Silent {
    fn authorize(&mut self, _login: &Login) -> Result<Result<Grant, Refusal>, PolicyFailure> {
        Err(PolicyFailure::Unavailable("silent".to_owned()))
    }
}

impl VardiffPolicy for Silent {
    fn open(&mut self, _opening: &Opening) -> Result<Decision, PolicyFailure> {
        Err(PolicyFailure::Unavailable("silent".to_owned()))
    }

    fn review_all(&mut self, _reviews: &[Review]) -> Result<Vec<Decision>, PolicyFailure> {
        Err(PolicyFailure::Unavailable("silent".to_owned()))
    }
}

struct World {
    task: AccrualTask,
    mood: Arc<Mutex<Mood>>,
    ledger: Ledger,
    metrics: Arc<Metrics>,
    _dir: tempfile::TempDir,
}

fn world(mood: Mood) -> World {
    let dir = tempfile::tempdir().unwrap();
    let config =
        LedgerConfig { dir: dir.path().to_owned(), durability: Durability::Process, queue_limit: 1000 };
    let ledger = Ledger::open(&config).unwrap();
    // One unit of difficulty is expected to bring 5,000 satoshis.
    ledger.template(TemplateFacts {
        id: TemplateId(1),
        height: 100,
        previous: BlockHash::all_zeros(),
        network_difficulty: Difficulty::new(1000.0).unwrap(),
        subsidy: Amount::from_sat(5_000_000),
        fees: Amount::ZERO,
        at: Timestamp(1),
    });
    let mood = Arc::new(Mutex::new(mood));
    let scheme = Scheme(Arc::clone(&mood));
    let policies = Policies::native(Box::new(Silent), Box::new(Silent), Box::new(scheme)).unwrap();
    let metrics = Arc::new(Metrics::new());
    let task = AccrualTask::new(ledger.clone(), policies, Arc::clone(&metrics), NEVER);
    World { task, mood, ledger, metrics, _dir: dir }
}

impl World {
    fn is_now(&self, mood: Mood) {
        *self.mood.lock().unwrap() = mood;
    }

    async fn look(&mut self) {
        tokio::time::timeout(SOON, self.task.look(|| true)).await.expect("a look in time");
    }

    /// One share of difficulty 1 on the template, committed.
    async fn share(&self, account: &str, template: u64) {
        share(&self.ledger, account, template).await;
    }

    fn counts(&self, line: &str) -> bool {
        self.metrics.encode().lines().any(|have| have == line)
    }
}

async fn share(ledger: &Ledger, account: &str, template: u64) {
    let name = AccountName::new(account).unwrap();
    let (account, worker) = ledger.worker(&name, &WorkerName::new("").unwrap()).unwrap();
    let share = ShareRecord {
        at: Timestamp(1),
        account,
        worker,
        protocol: Protocol::StratumV1,
        template: TemplateId(template),
        difficulty: Difficulty::ONE,
        hash: BlockHash::all_zeros(),
    };
    let seq = ledger.append(&[share]).await.unwrap();
    tokio::time::timeout(SOON, ledger.committed().wait_for(|done| *done >= seq)).await.unwrap().unwrap();
}

async fn balance(ledger: &Ledger, account: &str) -> i64 {
    let balances = ledger.balances().await.unwrap();
    balances.iter().find(|balance| balance.account == account).map_or(0, |balance| balance.sat)
}

#[tokio::test]
async fn work_is_credited_from_the_moment_the_plan_accrues() {
    let mut world = world(Mood::Idle);
    world.share("alice", 1).await;
    world.look().await;
    world.is_now(Mood::Pays);
    world.look().await;
    assert_eq!(balance(&world.ledger, "alice").await, 0, "what came before is not credited");
    world.share("alice", 1).await;
    world.share("bob", 1).await;
    world.look().await;
    world.look().await;
    assert_eq!(balance(&world.ledger, "alice").await, 100);
    assert_eq!(balance(&world.ledger, "bob").await, 100);
    assert_eq!(balance(&world.ledger, "").await, -200, "the house pays");
    let credits = world.ledger.credits(10).await.unwrap();
    assert_eq!(credits.len(), 2);
    for credit in credits {
        assert_eq!(credit.source, CreditSource::Work { first: ShareSeq(2), through: ShareSeq(3) });
        assert_eq!((&*credit.policy_name, &*credit.policy_hash), ("native", "native"));
    }
    assert!(world.counts("sluice_shares_accrued_total 2"));
}

#[tokio::test]
async fn a_policy_that_fails_holds_the_shares_and_the_mended_one_credits_them_once() {
    let mut world = world(Mood::Fails);
    world.look().await;
    world.share("alice", 1).await;
    world.share("alice", 1).await;
    world.look().await;
    assert!(world.counts("sluice_accruals_held 2"));
    world.share("alice", 1).await;
    world.look().await;
    assert!(world.counts("sluice_accruals_held 3"));
    assert_eq!(balance(&world.ledger, "alice").await, 0);
    world.is_now(Mood::Pays);
    world.look().await;
    world.look().await;
    assert_eq!(balance(&world.ledger, "alice").await, 300);
    assert!(world.counts("sluice_accruals_held 0"));
    assert!(world.counts("sluice_shares_accrued_total 3"));
}

#[tokio::test]
async fn a_policy_that_gives_more_than_the_work_brings_credits_nobody() {
    let mut world = world(Mood::Pays);
    world.look().await;
    world.share("alice", 1).await;
    world.is_now(Mood::Lavish);
    world.look().await;
    assert_eq!(balance(&world.ledger, "alice").await, 0);
    assert!(world.counts("sluice_accruals_held 1"));
    world.is_now(Mood::Pays);
    world.look().await;
    assert_eq!(balance(&world.ledger, "alice").await, 100);
}

#[tokio::test]
async fn a_policy_that_cannot_answer_about_much_is_asked_about_less() {
    let mut world = world(Mood::Narrow(2));
    world.look().await;
    for _ in 0..9 {
        world.share("alice", 1).await;
    }
    world.look().await;
    assert_eq!(balance(&world.ledger, "alice").await, 900);
    assert!(world.counts("sluice_accruals_held 0"));
    // It is asked about more again.
    world.is_now(Mood::Pays);
    for _ in 0..3 {
        world.share("alice", 1).await;
        world.look().await;
    }
    assert_eq!((balance(&world.ledger, "alice").await, world.task.asks_less()), (1_200, false));
}

#[tokio::test]
async fn a_share_that_cannot_be_credited_holds_only_what_comes_after_it() {
    let mut world = world(Mood::Stumbles("mallory"));
    world.look().await;
    for account in ["alice", "alice", "alice", "mallory", "bob"] {
        world.share(account, 1).await;
    }
    world.look().await;
    assert_eq!(balance(&world.ledger, "alice").await, 300);
    assert!(world.counts("sluice_accruals_held 2"));
    assert!(!world.task.asks_less(), "there is nothing less to ask");
    world.is_now(Mood::Pays);
    world.look().await;
    assert_eq!(balance(&world.ledger, "mallory").await, 100);
    assert_eq!(balance(&world.ledger, "bob").await, 100);
    assert!(world.counts("sluice_shares_accrued_total 5"));
}

#[tokio::test]
async fn shares_of_unknown_templates_are_passed_over_and_counted() {
    let mut world = world(Mood::Pays);
    world.look().await;
    world.share("alice", 7).await;
    world.look().await;
    assert!(world.counts("sluice_shares_passed_over_total 1"));
    assert_eq!(world.ledger.unaccrued().await.unwrap(), 0);
    world.share("alice", 1).await;
    world.look().await;
    assert_eq!(balance(&world.ledger, "alice").await, 100);
}

#[tokio::test]
async fn a_plan_that_no_longer_accrues_leaves_what_waits() {
    let mut world = world(Mood::Pays);
    world.look().await;
    world.share("alice", 1).await;
    world.is_now(Mood::Idle);
    world.look().await;
    world.is_now(Mood::Pays);
    world.look().await;
    assert_eq!(balance(&world.ledger, "alice").await, 0);
    assert!(world.counts("sluice_accruals_held 0"));
}

#[tokio::test]
async fn the_last_shares_are_credited_when_the_pool_stops() {
    let World { task, ledger, _dir, .. } = world(Mood::Pays);
    ledger.accruing(true).await.unwrap();
    let (stop, stopped) = watch::channel(());
    let running = tokio::spawn(task.run(stopped));
    share(&ledger, "alice", 1).await;
    drop(stop);
    tokio::time::timeout(SOON, running).await.expect("it ends in time").unwrap();
    assert_eq!(balance(&ledger, "alice").await, 100);
}

#[tokio::test]
async fn a_policy_that_fails_does_not_keep_the_pool_from_stopping() {
    let World { task, ledger, _dir, .. } = world(Mood::Fails);
    ledger.accruing(true).await.unwrap();
    share(&ledger, "alice", 1).await;
    let (stop, stopped) = watch::channel(());
    let running = tokio::spawn(task.run(stopped));
    drop(stop);
    tokio::time::timeout(SOON, running).await.expect("it ends in time").unwrap();
    assert_eq!(ledger.unaccrued().await.unwrap(), 1, "they wait for the next start");
}

#[test]
fn a_policy_that_backs_off_is_no_news_each_time() {
    let off = |millis: u32| Trouble::Policy(PolicyFailure::Unavailable(format!("again in {millis} ms")));
    let trap = Trouble::Policy(PolicyFailure::Trap("unreachable".to_owned()));
    assert!(trap.is_news(None));
    assert!(!trap.is_news(Some(&trap)));
    assert!(!off(100).is_news(Some(&trap)));
    assert!(!off(100).is_news(Some(&off(200))));
    assert!(trap.is_news(Some(&off(100))));
    assert!(Trouble::Ledger("full".to_owned()).is_news(Some(&trap)));
}
