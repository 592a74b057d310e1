//! A pool that is made up, and a server that shows it.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use serde_json::Value;
use sluice::commands::status::{Response, get};
use sluice::http::{
    AccountInfo, AccountPayoutInfo, AccountWorkerInfo, Answer, BalanceInfo, BalancesInfo, BlockInfo,
    ByProtocol, Channels, CreditInfo, DifferenceInfo, DoneInfo, Forecast, JobInfo, MoneyInfo, NextBlock,
    OwedInfo, PayoutInfo, PolicyInfo, PolicyName, PoolInfo, PoolView, ReloadInfo, ShadowInfo, Shares,
    StratumV2Info, Tip, ViewError, WorkerInfo, serve,
};
use sluice::metrics::Metrics;
use sluice_core::ids::Protocol;
use sluice_core::policy::PolicyKind;
use sluice_core::session::ChannelKind;
use sluice_core::share::Reason;
use sluice_core::units::Timestamp;
use sluice_policy::{Budget, Budgets, Failure, Fault, Figures, GenerationStatus, TrapCause};
use tokio::net::TcpListener;
use tokio::sync::{Semaphore, oneshot, watch};
use tokio::task::JoinHandle;

/// A pool that says hostile things and whose ledger may be out of order.
pub(crate) struct MadeUp {
    pub(crate) stopped: AtomicBool,
    /// Where SV2 miners connect, if they can.
    pub(crate) stratum_v2: Option<StratumV2Info>,
    pub(crate) ledger_fails: AtomicBool,
    /// Queries of the ledger that wait for `answers`.
    pub(crate) waiting: watch::Sender<usize>,
    pub(crate) answers: Semaphore,
}

impl Default for MadeUp {
    fn default() -> Self {
        let (stopped, ledger_fails) = (AtomicBool::default(), AtomicBool::default());
        let answers = Semaphore::new(Semaphore::MAX_PERMITS);
        let stratum_v2 = Some(second_door("192.0.2.1:3336"));
        Self { stopped, stratum_v2, ledger_fails, waiting: watch::Sender::new(0), answers }
    }
}

/// An authority's key, as text (N-40).
pub(crate) const KEY: &str = "9bXiEd8boQVhq7WddEcERUL5tyyJVFYdU8th3HfbNXK3Yw6GRXh";

pub(crate) fn second_door(address: &str) -> StratumV2Info {
    StratumV2Info { address: address.to_owned(), authority_public_key: KEY.to_owned() }
}

pub(crate) const HOSTILE: &str = "<b>bold</b>\"'&";

impl MadeUp {
    fn ledger<T: Send + 'static>(&self, value: T) -> Answer<'_, T> {
        Box::pin(async move {
            self.waiting.send_modify(|waiting| *waiting += 1);
            self.answers.acquire().await.expect("never closed").forget();
            let failed = self.ledger_fails.load(Ordering::Relaxed);
            if failed { Err(ViewError("the ledger is <busy>".to_owned())) } else { Ok(value) }
        })
    }
}

impl PoolView for MadeUp {
    fn pool(&self) -> PoolInfo {
        let metrics = counted();
        PoolInfo {
            network: "regtest".to_owned(),
            tip: Some(Tip { height: 101, hash: "0f".repeat(32) }),
            job: Some(JobInfo { id: "2a".to_owned(), height: 102, age_ms: 1500 }),
            connections: ByProtocol::of(|protocol| metrics.connections(protocol)),
            channels: Channels::of(&metrics),
            shares: Shares::of(&metrics),
            hashrate: 2.5e12,
            blocks: 3,
            stratum_v2: self.stratum_v2.clone(),
        }
    }

    fn readiness(&self) -> Result<(), String> {
        if self.stopped.load(Ordering::Relaxed) { Err("no node answers".to_owned()) } else { Ok(()) }
    }

    fn policies(&self) -> Answer<'_, Vec<PolicyInfo>> {
        let error = Some(format!("imports {HOSTILE}"));
        let last_reload = ReloadInfo { outcome: "rejected".to_owned(), at: Timestamp(5), error };
        let policy = |kind: PolicyKind| PolicyInfo {
            kind,
            file: format!("{kind}.wasm"),
            name: HOSTILE.to_owned(),
            version: "1.0.0".to_owned(),
            hash: "ab".repeat(32),
            generation: 2,
            loaded_at: Timestamp(4),
            state: "active".to_owned(),
            last_reload: last_reload.clone(),
            calls: 12,
            traps: 0,
            unavailable: 4,
            queue_full: 5,
            budgets: Budgets { fuel: Budget { used: 1_200_000, limit: 2_000_000_000 }, ..Budgets::default() },
            last_failure: Some(failure()),
            generations: vec![generation(2, None), generation(1, Some(4))],
            pinned: true,
            held: None,
            shadow: Some(shadow()),
            lookup: None,
        };
        let policies = PolicyKind::ALL.map(policy).to_vec();
        Box::pin(async move { Ok(policies) })
    }

    fn workers(&self, limit: usize) -> Answer<'_, Vec<WorkerInfo>> {
        let worker = |index| WorkerInfo {
            account: "alice".to_owned(),
            worker: format!("{HOSTILE}{index}"),
            protocol: Protocol::StratumV1,
            shares: 5,
            work: 5.0,
            hashrate: 1e9,
            last_share_at: Timestamp(6),
        };
        self.ledger((0..2000).take(limit).map(worker).collect())
    }

    fn blocks(&self, limit: usize) -> Answer<'_, Vec<BlockInfo>> {
        let block = BlockInfo {
            height: 101,
            hash: "0f".repeat(32),
            state: "rejected".to_owned(),
            confirmations: 0,
            reason: Some("bad-cb-height".to_owned()),
            settled: false,
            at: Timestamp(7),
            account: "alice".to_owned(),
            worker: "rig".to_owned(),
            difficulty: 1.0,
            reward_sat: 5_000_000_000,
        };
        self.ledger(vec![block; limit.min(3)])
    }

    fn credits(&self, limit: usize) -> Answer<'_, Vec<CreditInfo>> {
        let credit = CreditInfo {
            block: Some("0f".repeat(32)),
            height: Some(101),
            state: Some("immature".to_owned()),
            shares: None,
            at: Timestamp(8),
            account: String::new(),
            amount_sat: 123,
            reason: "fee".to_owned(),
            policy_hash: "ab".repeat(32),
        };
        self.ledger(vec![credit; limit.min(1)])
    }

    fn money(&self) -> Answer<'_, MoneyInfo> {
        let money = MoneyInfo {
            house: owed(-500_000_000, 0),
            accounts: owed(7_200_000, 492_800_000),
            creditors: 3,
            open_payouts: vec![batch("prepared")],
            held_rounds: 2,
            unaccrued_shares: Some(1234),
        };
        self.ledger(money)
    }

    fn balances(&self, limit: usize) -> Answer<'_, BalancesInfo> {
        let balance =
            |index: i64| BalanceInfo { account: format!("{HOSTILE}{index}"), owed: owed(2000 - index, 0) };
        self.ledger(BalancesInfo {
            house: owed(-5, 0),
            accounts: (0..2000i64).take(limit).map(balance).collect(),
        })
    }

    fn payouts(&self, limit: usize) -> Answer<'_, Vec<PayoutInfo>> {
        self.ledger(vec![batch("cancelled"); limit.min(2)])
    }

    fn account(&self, account: String, limit: usize) -> Answer<'_, Option<AccountInfo>> {
        let known = !account.starts_with("nobody");
        self.ledger(known.then(|| made_up(account, limit, self.stopped.load(Ordering::Relaxed))))
    }

    fn before_scrape(&self, metrics: &Metrics) {
        metrics.job_built(102);
    }
}

fn failure() -> Failure {
    let cause = Fault::Trap(TrapCause::Memory);
    Failure { at: 3, generation: 1, cause, why: HOSTILE.to_owned(), said: Some(HOSTILE.to_owned()) }
}

fn generation(generation: u64, until: Option<u64>) -> GenerationStatus {
    GenerationStatus {
        generation,
        name: HOSTILE.to_owned(),
        version: "1.0.0".to_owned(),
        hash: "ab".repeat(32),
        since: 4,
        until,
        figures: Figures { calls: 6, traps: 2, log_dropped: 137, ..Figures::default() },
        compared: None,
        last_failure: Some(failure()),
    }
}

fn shadow() -> ShadowInfo {
    ShadowInfo {
        file: "next.wasm".to_owned(),
        name: HOSTILE.to_owned(),
        version: "2.0.0".to_owned(),
        hash: "cd".repeat(32),
        loaded_at: Timestamp(4),
        state: "comparing".to_owned(),
        error: None,
        against: 2,
        compared: 9,
        agreed: 7,
        differed: 2,
        failed: 1,
        dropped: 0,
        skipped: 0,
        calls: 10,
        traps: 1,
        call_mean_nanos: 2500,
        call_p99_micros: 8,
        call_max_micros: 9,
        last_failure: None,
        waiting: 3,
        generations: vec![generation(1, None)],
        examples: vec![DifferenceInfo {
            at: Timestamp(6),
            input: HOSTILE.to_owned(),
            live: "difficulty 1000".to_owned(),
            shadow: "difficulty 2000".to_owned(),
        }],
    }
}

pub(crate) fn owed(mature_sat: i64, immature_sat: i64) -> OwedInfo {
    let due_sat = u64::try_from(mature_sat).unwrap_or(0);
    OwedInfo { balance_sat: mature_sat + immature_sat, mature_sat, immature_sat, due_sat }
}

pub(crate) fn batch(state: &str) -> PayoutInfo {
    PayoutInfo {
        batch: 3,
        state: state.to_owned(),
        at: Timestamp(9),
        lines: 2,
        amount_sat: 150_000,
        txid: None,
        height: None,
        fee_sat: None,
    }
}

pub(crate) fn made_up(account: String, limit: usize, stopped: bool) -> AccountInfo {
    let done = DoneInfo { shares: 5, work: 5.0, recent_work: 2.0, hashrate: 1e9 };
    let worker = |index| AccountWorkerInfo {
        worker: format!("{HOSTILE}{index}"),
        protocol: Protocol::StratumV2,
        done,
        last_share_at: Timestamp(6),
    };
    let credit = CreditInfo {
        block: None,
        height: None,
        state: None,
        shares: Some([1, 240]),
        at: Timestamp(8),
        account: account.clone(),
        amount_sat: 123,
        reason: HOSTILE.to_owned(),
        policy_hash: "ab".repeat(32),
    };
    let payout = AccountPayoutInfo {
        batch: 3,
        state: "sent".to_owned(),
        at: Timestamp(9),
        amount_sat: 75_000,
        address: HOSTILE.to_owned(),
        txid: Some("cd".repeat(32)),
    };
    let next = NextBlock {
        reward_sat: 312_500_000,
        credit_sat: 1_000_000,
        output_sat: 999_000,
        accrues: false,
        policy: PolicyName { name: HOSTILE.to_owned(), version: "1.0.0".to_owned(), hash: "ab".repeat(32) },
    };
    AccountInfo {
        account,
        address: Some(HOSTILE.to_owned()),
        owed: owed(100, 23),
        carried_microsats: 250_000,
        minimum_sat: Some(50_000),
        held: Some(HOSTILE.to_owned()),
        done,
        workers: (0..2000).take(limit).map(worker).collect(),
        forecast: if stopped {
            Forecast::Unknown { reason: HOSTILE.to_owned() }
        } else {
            Forecast::Known(next)
        },
        blocks: Vec::new(),
        credits: vec![credit],
        payouts: vec![payout],
    }
}

/// Four connections of SV1 and two of SV2, seven shares of SV1 and two of SV2, one of each rejected.
pub(crate) fn counted() -> Metrics {
    let metrics = Metrics::new();
    (0..4).for_each(|_| metrics.connection_opened(Protocol::StratumV1));
    (0..2).for_each(|_| metrics.connection_opened(Protocol::StratumV2));
    (0..3).for_each(|_| metrics.channel_opened(Protocol::StratumV2, ChannelKind::Standard));
    metrics.channel_opened(Protocol::StratumV2, ChannelKind::Extended);
    metrics.channels_closed(Protocol::StratumV2, ChannelKind::Standard, 1);
    metrics.shares_accepted(Protocol::StratumV1, 7, 7.0);
    metrics.shares_accepted(Protocol::StratumV2, 2, 2.0);
    metrics.share_rejected(Protocol::StratumV1, Reason::Stale);
    metrics.share_rejected(Protocol::StratumV2, Reason::LowDifficulty);
    metrics
}

pub(crate) struct Server {
    pub(crate) address: SocketAddr,
    pub(crate) pool: Arc<MadeUp>,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) stop: oneshot::Sender<()>,
    pub(crate) task: JoinHandle<std::io::Result<()>>,
}

impl Server {
    pub(crate) async fn start() -> Self {
        Self::of(MadeUp::default()).await
    }

    pub(crate) async fn of(pool: MadeUp) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (pool, metrics) = (Arc::new(pool), Arc::new(Metrics::new()));
        let (stop, stopped) = oneshot::channel();
        let shutdown = async move {
            let _ = stopped.await;
        };
        let task = tokio::spawn(serve(listener, pool.clone(), metrics.clone(), shutdown));
        Self { address, pool, metrics, stop, task }
    }

    pub(crate) async fn get(&self, path: &str) -> Response {
        let (url, path) = (format!("http://{}", self.address), path.to_owned());
        tokio::task::spawn_blocking(move || get(&url, &path)).await.unwrap().unwrap()
    }

    pub(crate) async fn json(&self, path: &str) -> Value {
        let response = self.get(path).await;
        assert_eq!((response.status, response.content_type.as_str()), (200, "application/json"), "{path}");
        serde_json::from_slice(&response.body).unwrap()
    }

    pub(crate) async fn text(&self, path: &str) -> (u16, String) {
        let response = self.get(path).await;
        (response.status, String::from_utf8(response.body).unwrap())
    }

    pub(crate) async fn error(&self, path: &str) -> (u16, String) {
        let (status, text) = self.text(path).await;
        let value: Value = serde_json::from_str(&text).unwrap_or_else(|_| panic!("{path}: {text}"));
        assert!(value["error"]["message"].is_string(), "{path}: {text}");
        (status, value["error"]["code"].as_str().unwrap().to_owned())
    }
}
