//! The board with its task, a ledger, and a payout policy that counts what it is asked.

use std::sync::atomic::AtomicUsize;
use std::sync::mpsc;

use bitcoin::hashes::Hash;
use bitcoin::{BlockHash, CompactTarget};
use sluice_core::ids::{Protocol, ShareSeq, TemplateId, WorkerId, WorkerName};
use sluice_core::job::Job;
use sluice_core::policy::auth::{AuthPolicy, Grant, Login, Refusal};
use sluice_core::policy::payout::{Accrued, PayoutPolicy, Tally};
use sluice_core::policy::vardiff::{Decision, Opening, Review, VardiffPolicy};
use sluice_core::share::{FoundBlock, ShareRecord};
use sluice_core::units::{Difficulty, Timestamp, VersionMask};
use sluice_ledger::{
    BlockRow, Durability, LedgerConfig, MATURITY, Payment as BookedPayment, Place, Settlement, Verdict,
};
use tokio::sync::{oneshot, watch};

use super::*;
use crate::blocks::{BlockDesk, Found, Handed};
use crate::clock::Clock;
use crate::jobs::board::tests::{address, classes, client};
use crate::jobs::keeper::tests::template;
use crate::jobs::{Board, BoardConfig, Posting, keep};
use crate::metrics::Metrics;

const SOON: Duration = Duration::from_secs(20);
const REWARD: u64 = 5_000_000_000;
/// More than any class but the roomy one has room for.
const ACCOUNTS: u32 = 40;

/// Pays all accounts the same, or all to the house; counts the questions.
struct Counting {
    plan: Plan,
    to_house: bool,
    asked: Arc<AtomicUsize>,
    /// It fails as often as there is something here.
    failures: mpsc::Receiver<()>,
}

impl PayoutPolicy for Counting {
    fn plan(&mut self) -> Result<Plan, PolicyFailure> {
        Ok(self.plan)
    }

    fn settle(&mut self, _round: &Round) -> Result<Vec<Entitlement>, PolicyFailure> {
        self.asked.fetch_add(1, Ordering::SeqCst);
        if self.failures.try_recv().is_ok() {
            return Err(PolicyFailure::Internal("on purpose".to_owned()));
        }
        let part = |account: String| Entitlement {
            account,
            portion: Portion::Weight(1),
            reason: "equal parts".to_owned(),
        };
        if self.to_house {
            return Ok(vec![part(String::new())]);
        }
        Ok((0..ACCOUNTS).map(|number| part(format!("account{number}"))).collect())
    }

    fn accrue(&mut self, _tallies: &[Tally]) -> Result<Vec<Accrued>, PolicyFailure> {
        Ok(Vec::new())
    }
}

/// Never asked here.
struct Unasked;

impl AuthPolicy for Unasked {
    fn authorize(&mut self, _login: &Login) -> Result<Result<Grant, Refusal>, PolicyFailure> {
        Ok(Err(Refusal::Forbidden("nobody comes in".to_owned())))
    }
}

impl VardiffPolicy for Unasked {
    fn open(&mut self, _opening: &Opening) -> Result<Decision, PolicyFailure> {
        Err(PolicyFailure::Unavailable("not here".to_owned()))
    }

    fn review_all(&mut self, _reviews: &[Review]) -> Result<Vec<Decision>, PolicyFailure> {
        Err(PolicyFailure::Unavailable("not here".to_owned()))
    }
}

struct Pool {
    board: Arc<Board>,
    splitter: Arc<Splitter>,
    ledger: Ledger,
    desk: BlockDesk,
    found: Option<tokio::sync::mpsc::Receiver<Handed>>,
    templates: watch::Sender<Option<Arc<Template>>>,
    asked: Arc<AtomicUsize>,
    fail: mpsc::Sender<()>,
    _plans: watch::Sender<u64>,
    _dir: tempfile::TempDir,
}

const PLAN: Plan = Plan { window: Window::Round, per_finder: false, accrues: false, pays_balances: false };

fn account(name: &str) -> AccountName {
    AccountName::new(name).unwrap()
}

fn worker(ledger: &Ledger, name: &str) -> WorkerId {
    ledger.worker(&account(name), &WorkerName::new("").unwrap()).unwrap().1
}

impl Pool {
    fn new(plan: Plan, to_house: bool, refresh: Duration) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let config = LedgerConfig {
            dir: dir.path().join("ledger"),
            durability: Durability::Process,
            queue_limit: sluice_ledger::QUEUE_LIMIT,
        };
        let ledger = Ledger::open(&config).unwrap();
        for number in 0..ACCOUNTS {
            let name = format!("account{number}");
            worker(&ledger, &name);
            ledger.payout_address(&account(&name), &address(number + 1).to_string()).unwrap();
        }
        let asked = Arc::new(AtomicUsize::new(0));
        let (fail, failures) = mpsc::channel();
        let payout = Counting { plan, to_house, asked: Arc::clone(&asked), failures };
        let policies = Policies::native(Box::new(Unasked), Box::new(Unasked), Box::new(payout)).unwrap();
        let mark = PoolMark { tag: b"/test/".to_vec(), extranonce_length: 12 };
        let (desk, found) = BlockDesk::new();
        desk.unbooked().caught_up();
        let splitter = Arc::new(Splitter::new(SplitterConfig {
            policies,
            ledger: ledger.clone(),
            pool: address(0),
            classes: classes(),
            mark: mark.clone(),
            unbooked: desk.unbooked(),
        }));
        let board_config = BoardConfig { mark, rollable: VersionMask::BIP320, refresh, classes: classes() };
        let board = Board::new(board_config, Clock::start(), plan, 1, Arc::new(Metrics::new()));
        let (templates, seen) = watch::channel(None);
        let (plans, plans_seen) = watch::channel(0);
        tokio::spawn(keep(Arc::clone(&board), Arc::clone(&splitter), seen, plans_seen));
        let found = Some(found);
        Self { board, splitter, ledger, desk, found, templates, asked, fail, _plans: plans, _dir: dir }
    }

    /// The next template, on a block of its own.
    fn template(&self, number: u8) {
        let value = Amount::from_sat(REWARD);
        let template = Template {
            id: TemplateId(number.into()),
            network: bitcoin::Network::Regtest,
            bits: CompactTarget::from_consensus(0x1d00_ffff),
            coinbase_value: value,
            subsidy: value,
            witness_commitment: Some(vec![0; 38]),
            ..template(number, 0x1d00_ffff)
        };
        self.templates.send_replace(Some(Arc::new(template)));
    }

    fn join(&self, name: &str, agent: &str) -> Posting {
        self.board.subscribe(&account(name), classes().of(&client(agent, ""))).0
    }

    fn asked(&self) -> usize {
        self.asked.load(Ordering::SeqCst)
    }
}

/// The first job on that template that `wanted` likes.
async fn job_where(posting: &mut Posting, number: u8, wanted: impl Fn(&Arc<Job>) -> bool) -> Arc<Job> {
    let is_there = posting.wait_for(|published| {
        let job = published.as_ref().map(|published| &published.job);
        job.is_some_and(|job| job.work.template.id == TemplateId(number.into()) && wanted(job))
    });
    let published = tokio::time::timeout(SOON, is_there).await.expect("a job in time").unwrap();
    Arc::clone(&published.as_ref().unwrap().job)
}

async fn job(posting: &mut Posting, number: u8) -> Arc<Job> {
    job_where(posting, number, |_| true).await
}

/// What a job pays an account.
fn paid(job: &Arc<Job>, name: &str) -> Option<u64> {
    job.payments.iter().find(|payment| payment.account == name).map(|payment| payment.amount.to_sat())
}

const HOUR: Duration = Duration::from_secs(3600);

#[tokio::test]
async fn one_answer_makes_the_coinbases_of_all_classes() {
    // V1-92
    let pool = Pool::new(PLAN, false, HOUR);
    let mut postings =
        [pool.join("alice", ""), pool.join("alice", "NiceHash/1"), pool.join("bob", "bitaxe/1")];
    pool.template(1);
    let mut jobs = Vec::new();
    for posting in &mut postings {
        jobs.push(job(posting, 1).await);
    }
    assert_eq!(pool.asked(), 1);
    let sizes: Vec<usize> = jobs.iter().map(|job| job.coinbase.len()).collect();
    // An output has 31 bytes, and the height may take 4 more.
    assert!((715..=750).contains(&sizes[0]) && (465..=500).contains(&sizes[1]), "{sizes:?}");
    assert_eq!(jobs[2].payments.len(), usize::try_from(ACCOUNTS).unwrap(), "everybody, and nothing is left");
    for job in &jobs {
        assert!(Arc::ptr_eq(&job.work, &jobs[0].work), "the same work");
        assert_eq!(job.payments.iter().map(|payment| payment.amount.to_sat()).sum::<u64>(), REWARD);
    }
    // A newcomer of a class is served from what is known.
    let mut more = [pool.join("carol", "NiceHash/2"), pool.join("carol", "")];
    drop(postings);
    for posting in &mut more {
        job(posting, 1).await;
    }
    assert_eq!(pool.asked(), 1);
    pool.template(2);
    for posting in &mut more {
        job(posting, 2).await;
    }
    assert_eq!(pool.asked(), 2);
}

#[tokio::test]
async fn a_finder_is_asked_about_once_for_all_its_classes() {
    let pool = Pool::new(Plan { per_finder: true, ..PLAN }, false, HOUR);
    pool.template(1);
    let mut alice =
        [pool.join("alice", ""), pool.join("alice", "NiceHash/1"), pool.join("alice", "bitaxe/1")];
    let mut bob = pool.join("bob", "bitaxe/1");
    for posting in &mut alice {
        assert_eq!(job(posting, 1).await.owner, Some(account("alice")));
    }
    assert_eq!(job(&mut bob, 1).await.owner, Some(account("bob")));
    assert_eq!(pool.asked(), 2);
    pool.template(2);
    let mut sizes = Vec::new();
    for posting in &mut alice {
        sizes.push(job(posting, 2).await.coinbase.len());
    }
    job(&mut bob, 2).await;
    assert_eq!(pool.asked(), 4);
    assert!(sizes[1] < sizes[0] && sizes[0] < sizes[2], "{sizes:?}");
}

#[tokio::test]
async fn the_last_split_stands_in_every_class_while_the_policy_fails() {
    let pool = Pool::new(PLAN, false, HOUR);
    let mut postings = [pool.join("alice", ""), pool.join("alice", "bitaxe/1")];
    for failure in [false, true] {
        if failure {
            pool.fail.send(()).unwrap();
        }
        let number = 1 + u8::from(failure);
        pool.template(number);
        let plain = job(&mut postings[0], number).await;
        let roomy = job(&mut postings[1], number).await;
        assert!(plain.payments.len() > 10 && roomy.payments.len() == usize::try_from(ACCOUNTS).unwrap());
    }
    // A newcomer of another class gets the same, though nothing was answered for this template.
    let mut narrow = pool.join("bob", "NiceHash/1");
    assert!(job(&mut narrow, 2).await.payments.len() > 5);
}

#[tokio::test]
async fn a_block_too_full_leaves_the_coinbase_less_room() {
    let pool = Pool::new(PLAN, false, HOUR);
    let mut roomy = pool.join("alice", "bitaxe/1");
    let whole = {
        pool.template(1);
        job(&mut roomy, 1).await.coinbase.len()
    };
    // One transaction that leaves 4,000 units of weight, as a node without blockreservedweight may.
    let present = pool.templates.borrow().clone().unwrap();
    let transaction = sluice_core::template::TemplateTransaction {
        data: vec![1; (4_000_000 - 4_000) / 4],
        txid: bitcoin::Txid::all_zeros(),
        wtxid: bitcoin::Wtxid::all_zeros(),
    };
    let full = Template {
        id: TemplateId(2),
        transactions: [transaction].into_iter().collect(),
        ..Template::clone(&present)
    };
    pool.templates.send_replace(Some(Arc::new(full)));
    let cut = job(&mut roomy, 2).await.coinbase.len();
    // Header, transaction count and witness of the coinbase are in the 4,000 too.
    assert!(cut < whole && cut * 4 + 80 * 4 + 4 + 36 <= 4_000, "{cut} of {whole}");
}

// === balances ===

const PAYS: Plan = Plan { pays_balances: true, ..PLAN };

/// A block by account0, with a share of it, that pays everything to the house. Its number is its hash.
async fn found(ledger: &Ledger, number: u8) {
    let (account, worker) = ledger.worker(&account("account0"), &WorkerName::new("").unwrap()).unwrap();
    let hash = BlockHash::from_byte_array([number; 32]);
    let share = ShareRecord {
        at: Timestamp(1),
        account,
        worker,
        protocol: Protocol::StratumV1,
        template: TemplateId(1),
        difficulty: Difficulty::MIN,
        hash,
    };
    let seq: ShareSeq = ledger.append(&[share]).await.unwrap();
    ledger.committed().wait_for(|done| *done >= seq).await.unwrap();
    let house = BookedPayment {
        account: String::new(),
        address: address(0).to_string(),
        amount: Amount::from_sat(REWARD),
    };
    let row = BlockRow {
        hash,
        height: 7,
        template: TemplateId(1),
        at: Timestamp(2),
        finder: worker,
        difficulty: Difficulty::MIN,
        network_difficulty: Difficulty::MIN,
        reward: Amount::from_sat(REWARD),
        payments: vec![house],
        window: Window::Round,
    };
    ledger.block_found(row).await.unwrap();
    ledger.block_verdict(hash, Verdict::Accepted).await.unwrap();
}

/// Everything to account1, which is owed it from then on.
async fn settle(ledger: &Ledger, number: u8) {
    let hash = BlockHash::from_byte_array([number; 32]);
    let input = ledger.round_with(hash, Window::Round).await.unwrap();
    let answer = vec![Entitlement {
        account: "account1".to_owned(),
        portion: Portion::Weight(1),
        reason: "all of it".to_owned(),
    }];
    let credits = split(input.reward(), &answer, &|_| true).unwrap();
    let settlement = Settlement {
        policy_name: "test".to_owned(),
        policy_version: "1".to_owned(),
        policy_hash: "ab".repeat(32),
        settings: "{}".to_owned(),
        input,
        answer,
        credits,
    };
    assert!(ledger.settle_round(hash, settlement).await.unwrap());
}

async fn confirm(ledger: &Ledger, number: u8, confirmations: u32) {
    let hash = BlockHash::from_byte_array([number; 32]);
    ledger.block_places(vec![(hash, Place::InChain { confirmations })]).await.unwrap();
}

#[tokio::test]
async fn balances_are_paid_when_they_are_final_and_no_block_waits() {
    let pool = Pool::new(PAYS, true, HOUR);
    let mut posting = pool.join("alice", "");
    pool.template(1);
    assert_eq!(paid(&job(&mut posting, 1).await, ""), Some(REWARD), "nobody is owed anything");
    found(&pool.ledger, 101).await;
    settle(&pool.ledger, 101).await;
    confirm(&pool.ledger, 101, 1).await;
    pool.template(2);
    assert_eq!(paid(&job(&mut posting, 2).await, "account1"), None, "not final yet");
    confirm(&pool.ledger, 101, MATURITY).await;
    pool.template(3);
    let third = job(&mut posting, 3).await;
    assert_eq!((paid(&third, "account1"), paid(&third, "")), (Some(REWARD), None));
    // A block that pays it was found, and is not settled.
    found(&pool.ledger, 102).await;
    pool.template(4);
    assert_eq!(paid(&job(&mut posting, 4).await, "account1"), None);
    settle(&pool.ledger, 102).await;
    pool.template(5);
    assert_eq!(paid(&job(&mut posting, 5).await, "account1"), Some(REWARD));
}

#[tokio::test]
async fn balances_are_not_paid_while_the_ledger_does_not_know_of_a_block() {
    let mut pool = Pool::new(PAYS, true, HOUR);
    let mut posting = pool.join("alice", "");
    pool.template(1);
    let first = job(&mut posting, 1).await;
    found(&pool.ledger, 101).await;
    settle(&pool.ledger, 101).await;
    confirm(&pool.ledger, 101, MATURITY).await;
    pool.template(2);
    assert_eq!(paid(&job(&mut posting, 2).await, "account1"), Some(REWARD));
    // Handed in, and not further: as if the disk were slow.
    let (_logged, receiver) = oneshot::channel();
    let worker = worker(&pool.ledger, "account0");
    let block = FoundBlock {
        hash: BlockHash::from_byte_array([9; 32]),
        height: 7,
        block: Vec::new(),
        template: TemplateId(1),
    };
    let handed = Found { block, job: first, worker, protocol: Protocol::StratumV1, logged: receiver };
    let desk = pool.desk.clone();
    let finder = tokio::spawn(async move { desk.found(handed).await });
    let mut queue = pool.found.take().unwrap();
    let _handed = tokio::time::timeout(SOON, queue.recv()).await.unwrap().unwrap();
    pool.template(3);
    assert_eq!(paid(&job(&mut posting, 3).await, "account1"), None);
    finder.abort();
}

#[tokio::test]
async fn balances_are_looked_up_again_without_a_new_template() {
    let pool = Pool::new(PAYS, true, Duration::from_millis(50));
    let mut posting = pool.join("alice", "");
    pool.template(1);
    job(&mut posting, 1).await;
    found(&pool.ledger, 101).await;
    settle(&pool.ledger, 101).await;
    confirm(&pool.ledger, 101, MATURITY).await;
    job_where(&mut posting, 1, |job| paid(job, "account1") == Some(REWARD)).await;
    assert_eq!(pool.asked(), 1, "the policy need not be asked for that");
}

#[test]
fn only_the_largest_are_kept() {
    let mut owed: Owed = (0..300).map(|sats| (format!("account{sats}"), Amount::from_sat(sats))).collect();
    keep_largest(&mut owed, 100);
    assert_eq!(owed.len(), 100);
    assert!(owed.values().all(|amount| amount.to_sat() >= 200));
}

// === previews ===

#[tokio::test]
async fn a_preview_is_what_the_present_coinbase_pays() {
    let pool = Pool::new(PLAN, false, HOUR);
    let (rich, stranger) = (account("account0"), account("stranger"));
    let early = pool.splitter.preview(&rich).await;
    assert!(matches!(early, Err(PolicyFailure::Unavailable(_))), "{early:?}");
    let mut posting = pool.join("alice", "");
    pool.template(1);
    let job = job(&mut posting, 1).await;
    let preview = pool.splitter.preview(&rich).await.unwrap();
    let part = REWARD / u64::from(ACCOUNTS);
    assert_eq!((preview.credit.to_sat(), preview.reward.to_sat()), (part, REWARD));
    assert_eq!(preview.coinbase_output.map(Amount::to_sat), paid(&job, "account0"));
    assert_eq!(preview.policy.hash, "native");
    // All are credited the same; not all have an output.
    let mut outputs = 0;
    for number in 0..ACCOUNTS {
        let preview = pool.splitter.preview(&account(&format!("account{number}"))).await.unwrap();
        assert_eq!(preview.credit.to_sat(), part);
        outputs += usize::from(preview.coinbase_output.is_some());
    }
    assert_eq!(outputs, job.payments.len() - 1);
    let preview = pool.splitter.preview(&stranger).await.unwrap();
    assert_eq!((preview.credit, preview.coinbase_output), (Amount::ZERO, None));
    assert_eq!(pool.asked(), 1);
}

#[tokio::test]
async fn what_a_preview_works_out_is_not_what_the_coinbase_pays() {
    let pool = Pool::new(PLAN, false, HOUR);
    let mut posting = pool.join("alice", "");
    pool.template(1);
    let job = job(&mut posting, 1).await;
    let present = pool.splitter.present().unwrap();
    let nobody = pool.splitter.fit(&present.template, Class::DEFAULT, &Claims::new(&[], &Owed::new()));
    assert_ne!(nobody[..], job.payments[..]);
    assert_eq!(pool.splitter.paid(present.round).as_deref(), Some(&job.payments[..]));
}

#[tokio::test]
async fn who_would_be_the_finder_is_asked_about_once() {
    let pool = Pool::new(Plan { per_finder: true, ..PLAN }, false, HOUR);
    let mut posting = pool.join("alice", "");
    pool.template(1);
    job(&mut posting, 1).await;
    pool.splitter.preview(&account("alice")).await.unwrap();
    assert_eq!(pool.asked(), 1, "it is what her job was made of");
    let previews = (0..8).map(|_| {
        let splitter = Arc::clone(&pool.splitter);
        tokio::spawn(async move { splitter.preview(&account("account3")).await.unwrap() })
    });
    let previews: Vec<_> = previews.collect();
    for preview in previews {
        let preview = tokio::time::timeout(SOON, preview).await.unwrap().unwrap();
        assert_eq!(preview.credit.to_sat(), REWARD / u64::from(ACCOUNTS));
    }
    assert!(pool.asked() <= 1 + crate::jobs::preview::AT_ONCE, "{}", pool.asked());
    pool.fail.send(()).unwrap();
    let failed = pool.splitter.preview(&account("account4")).await;
    assert!(matches!(failed, Err(PolicyFailure::Internal(_))), "{failed:?}");
}
