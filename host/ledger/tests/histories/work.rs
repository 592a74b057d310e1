//! The process that is killed: a pool under load, with everything that writes to the books at once.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use sluice_core::bitcoin::hashes::Hash;
use sluice_core::bitcoin::{Amount, BlockHash, OutPoint, Txid};
use sluice_core::ids::{AccountName, ShareSeq};
use sluice_core::policy::payout::{Round, Window};
use sluice_core::share::ShareRecord;
use sluice_core::units::Timestamp;
use sluice_ledger::payouts::{BatchState, Coin, Desk, DeskError, Rules, Unpayable};
use sluice_ledger::{
    AccrualSettlement, BlockRow, BlockState, Ledger, LedgerError, MATURITY, Needed, OpenAccrual, Place,
    Verdict, database_in,
};

use crate::model::ACCOUNTS;
use crate::policies::{Code, Generation, Mood, Settings};
use crate::support::{block, difficulty, open, payment, share, template, until, worker};

/// Which ledger the process works on, and how often that was done before. Without it there is nothing to do.
pub(crate) const DIRECTORY: &str = "SLUICE_TEST_KILLED";
pub(crate) const LIFE: &str = "SLUICE_TEST_LIFE";
pub(crate) const MINERS: usize = 3;
/// Lives after which a share is an hour.
pub(crate) const FOLDED_AFTER: u64 = 30;
const SHARES_PER_BLOCK: u64 = 50;
const NETWORK: f64 = 900.0;
/// Where the chain is, and the most blocks that are looked for in it.
const TIP: u32 = 101;
const WATCHED: usize = 1_000;

/// Credits work as it comes, and divides blocks as well.
pub(crate) const PLAN: Generation = Generation {
    code: Code::Weighed,
    settings: Settings {
        window: Window::Work(0.8),
        per_finder: false,
        fee_bps: 150,
        accrue_bps: Some(9_700),
    },
    mood: Mood::Steady,
};

/// Enough chance for a test (xorshift64).
pub(crate) struct Rng(u64);

impl Rng {
    pub(crate) const fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    pub(crate) const fn below(&mut self, end: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) % end
    }

    /// From 0 to 1.
    pub(crate) fn part(&mut self) -> f64 {
        self.below(1 << 20) as f64 / f64::from(1 << 20)
    }
}

/// Says it to whoever kills this process. What was said was done.
fn say(what: &str) {
    let line = format!("@ {what}\n");
    std::io::stdout().lock().write_all(line.as_bytes()).expect("somebody listens");
}

/// Every share has its own.
pub(crate) fn hash_of_share(life: u64, miner: u64, count: u64) -> [u8; 32] {
    let mut bytes = [0; 32];
    bytes[..8].copy_from_slice(&(life << 40 | miner << 32 | count).to_le_bytes());
    bytes
}

fn hash_of_block(life: u64, count: u64) -> BlockHash {
    let mut bytes = hash_of_share(life, 0, count);
    bytes[31] = 1;
    BlockHash::from_byte_array(bytes)
}

/// Settles what is open, as a pool does it.
pub(crate) async fn settle(ledger: &Ledger, say: fn(&str)) {
    for open in ledger.open_rounds().await.expect("rounds") {
        let input = Round { finder: String::new(), ..open.round };
        let settlement = PLAN.settle(input, &|account| ledger.account_known(account)).expect("steady");
        match ledger.settle_round(open.hash, settlement).await {
            Ok(_) => say(&format!("settled {}", open.hash)),
            // It left the chain meanwhile.
            Err(LedgerError::NotAccepted(_)) => {}
            Err(error) => panic!("{error}"),
        }
    }
}

/// Credits the work that waits.
pub(crate) async fn credit(ledger: &Ledger, say: fn(&str)) {
    while let Some(open) = ledger.open_accrual().await.expect("read") {
        let OpenAccrual { first, through, tallies, .. } = open;
        let answer = PLAN.accrue(&tallies).expect("steady");
        let settlement = AccrualSettlement { policy: PLAN.record(), first, through, input: tallies, answer };
        assert!(ledger.accrue(settlement).await.expect("booked"));
        say(&format!("accrued {} {}", first.0, through.0));
    }
}

#[derive(Clone)]
struct Pool {
    ledger: Ledger,
    dir: PathBuf,
    life: u64,
    began: Instant,
}

impl Pool {
    fn now(&self) -> Timestamp {
        let elapsed = u64::try_from(self.began.elapsed().as_millis()).unwrap_or(999);
        Timestamp(self.life * 1000 + elapsed.min(999))
    }

    async fn mine(self, miner: usize) {
        let ids = worker(&self.ledger, ACCOUNTS[miner], "rig");
        let mut count = 0;
        let number = miner as u64;
        loop {
            let batch = 1 + (count + self.life) % 8;
            let record = |count: u64| ShareRecord {
                at: self.now(),
                hash: BlockHash::from_byte_array(hash_of_share(self.life, number, count)),
                ..share(ids, 0, 1.0 + (count % 13) as f64)
            };
            let records: Vec<_> = (count..count + batch).map(record).collect();
            let last = self.ledger.append(&records).await.expect("room");
            until(&self.ledger, last).await;
            count += batch;
            say(&format!("shares {miner} {count}"));
        }
    }

    async fn find(self) {
        let (_, finder) = worker(&self.ledger, ACCOUNTS[0], "rig");
        self.settle_old().await;
        let mut rng = Rng::new(self.life);
        for count in 0.. {
            let goal = self.ledger.committed().borrow().0 + rng.below(SHARES_PER_BLOCK) + 1;
            until(&self.ledger, ShareSeq(goal)).await;
            let hash = hash_of_block(self.life, count);
            let reward = Amount::from_sat(5_123);
            let paid = rng.below(1_000);
            let payments = vec![payment(ACCOUNTS[1], paid), payment("", reward.to_sat() - paid)];
            let window = PLAN.settings.window;
            let network_difficulty = difficulty(NETWORK);
            let row = BlockRow {
                hash,
                at: self.now(),
                network_difficulty,
                reward,
                payments,
                ..block(0, finder, window)
            };
            self.ledger.block_found(row).await.expect("written");
            say(&format!("block {hash}"));
            self.ledger.block_verdict(hash, Verdict::Accepted).await.expect("known");
            settle(&self.ledger, say).await;
        }
    }

    /// What the life before left.
    async fn settle_old(&self) {
        for block in self.ledger.blocks(10).await.expect("blocks") {
            if block.state == BlockState::Found {
                self.ledger.block_verdict(block.hash, Verdict::Accepted).await.expect("known");
            }
        }
        settle(&self.ledger, say).await;
    }

    async fn credit(self) {
        loop {
            credit(&self.ledger, say).await;
            tokio::time::sleep(Duration::from_millis(3)).await;
        }
    }

    async fn look_at_the_chain(self) {
        let mut rng = Rng::new(self.life + 1_000_000);
        loop {
            // Old orphans come back too, or their rounds would keep the log.
            let mut blocks = self.ledger.watched_blocks(0, TIP, WATCHED).await.expect("blocks");
            let skipped = rng.below(blocks.len() as u64 / 6 + 1) * 6;
            blocks.drain(..usize::try_from(skipped).expect("few").min(blocks.len()));
            blocks.truncate(6);
            let place = |at: u64| match at {
                0..3 => Place::Aside,
                3..7 => Place::InChain { confirmations: 1 },
                _ => Place::InChain { confirmations: MATURITY },
            };
            let places = blocks.iter().map(|block| (block.hash, place(rng.below(10)))).collect();
            self.ledger.block_places(places).await.expect("known");
            tokio::time::sleep(Duration::from_millis(1 + rng.below(4))).await;
        }
    }

    async fn fold(self) {
        tokio::time::sleep(Duration::from_millis(Rng::new(self.life).below(20))).await;
        let before = Timestamp(self.life.saturating_sub(FOLDED_AFTER) * 1000);
        let needed = Needed { window: PLAN.settings.window, network_difficulty: difficulty(NETWORK) };
        self.ledger.fold(before, needed).await.expect("folded");
    }

    /// Through a connection of its own, as the operator's program does.
    fn pay(&self) {
        let mut desk = Desk::open(&database_in(&self.dir)).expect("a desk");
        let mut rng = Rng::new(self.life + 2_000_000);
        loop {
            match pay_once(&mut desk, &mut rng) {
                // It waits for another batch; or what it was about is no more.
                Ok(()) | Err(DeskError::Waits { .. } | DeskError::MustSpend { .. }) => {}
                Err(error) => panic!("{error}"),
            }
            std::thread::sleep(Duration::from_millis(1));
        }
    }
}

fn pay_once(desk: &mut Desk, rng: &mut Rng) -> Result<(), DeskError> {
    let any = |_: &str, _: Amount| -> Result<(), Unpayable> { Ok(()) };
    let rules = Rules { minimum: Amount::from_sat(1), max_lines: 10, payable: &any };
    let sent = desk.heads(100)?.into_iter().find(|head| matches!(head.state, BatchState::Sent { .. }));
    let batch = match sent {
        Some(sent) => desk.batch(sent.id)?,
        None => match desk.prepare(&rules)? {
            Some((batch, _)) => batch,
            None => return Ok(()),
        },
    };
    let mut bytes = [3; 32];
    bytes[..8].copy_from_slice(&batch.id.0.to_le_bytes());
    let txid = Txid::from_byte_array(bytes);
    if batch.state == BatchState::Prepared {
        let mut coins = desk.must_spend(batch.id)?;
        if batch.coins.is_empty() {
            coins.push(Coin { outpoint: OutPoint { txid, vout: 7 }, amount: Amount::from_sat(90_000) });
        }
        match desk.reserve(batch.id, &coins) {
            // A block's coinbase pays an account meanwhile what the batch would.
            Err(DeskError::PaidTwice { .. }) => return desk.cancel(batch.id).map(drop),
            drafted => drafted?,
        };
        if rng.below(3) == 0 {
            return desk.cancel(batch.id).map(drop);
        }
        desk.sent(batch.id, txid, None)?;
    }
    desk.confirmed(batch.id, txid, 100, Amount::from_sat(17))?;
    say(&format!("paid {}", batch.id));
    Ok(())
}

async fn work(dir: &Path, life: u64) {
    let ledger = open(dir);
    ledger.template(template(1, 100));
    for account in ACCOUNTS {
        let name = AccountName::new(account).expect("a name");
        ledger.payout_address(&name, &format!("address-of-{account}")).expect("room");
    }
    ledger.accruing(true).await.expect("on");
    say("running");
    let pool = Pool { ledger, dir: dir.to_owned(), life, began: Instant::now() };
    let mut tasks = tokio::task::JoinSet::new();
    for miner in 0..MINERS {
        tasks.spawn(pool.clone().mine(miner));
    }
    tasks.spawn(pool.clone().find());
    tasks.spawn(pool.clone().credit());
    tasks.spawn(pool.clone().look_at_the_chain());
    tasks.spawn(pool.clone().fold());
    tasks.spawn_blocking(move || pool.pay());
    // None of them ends, except folding, or one that panicked.
    while let Some(ended) = tasks.join_next().await {
        if ended.is_err() {
            std::process::exit(1);
        }
    }
}

/// The other process of the test in `killed`, which never ends by itself; without a ledger to work on it does nothing.
#[test]
fn the_pool_that_is_killed() {
    let Some(dir) = std::env::var_os(DIRECTORY) else { return };
    let life = std::env::var(LIFE).expect("which one").parse().expect("a number");
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_time()
        .build()
        .expect("a runtime");
    runtime.block_on(work(Path::new(&dir), life));
}
