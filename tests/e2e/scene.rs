//! What the tests of money share: a pool on a node of its own, blocks through it, and what holds whenever one looks.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::future::Future;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use bitcoin::hashes::{Hash, sha256};
use bitcoin::{Address, Block, BlockHash, ScriptBuf};
use serde_json::{Value, json};
use sluice_tests::bitcoind::Bitcoind;
use sluice_tests::miner::Miner;
use sluice_tests::pool::{Payout, Pool, Setup};
use sluice_tests::share::{Job, difficulty_of, network_difficulty};
use sluice_tests::{POLL, SOON, binary, http, ledger, spend};

use crate::regtest::{job_on, mine_block, mine_through, paid};
use crate::reorg::shown;

/// No test of money takes longer, on the slowest machine.
const LIMIT: Duration = Duration::from_secs(400);
/// One reload on a busy machine: debounce, compile, try.
const RELOAD: Duration = Duration::from_secs(120);
/// The subsidy of the first blocks on regtest; it halves every 150.
pub(crate) const SUBSIDY: u64 = 5_000_000_000;
/// A share at the difficulty of these tests counts as one hash, and a block of regtest takes two.
pub(crate) const SHARES_PER_BLOCK: u64 = 2;

/// Runs a test, but not for ever.
pub(crate) async fn limited(test: impl Future<Output = Result<()>>) -> Result<()> {
    tokio::time::timeout(LIMIT, Box::pin(test)).await.context("the test does not end")?
}

/// A node and the pool on it.
pub(crate) struct Scene {
    pub(crate) node: Bitcoind,
    pub(crate) pool: Pool,
}

impl Scene {
    /// On a chain of so many blocks; `None` where there is no bitcoind.
    pub(crate) async fn open(
        test: &str,
        blocks: u32,
        setup: impl FnOnce(&Bitcoind) -> Setup,
    ) -> Result<Option<Self>> {
        let Some(node) = Bitcoind::start_or_skip(test).await? else { return Ok(None) };
        for done in (0..blocks).step_by(500) {
            node.generate((blocks - done).min(500), &spend::anyones_address())?;
        }
        let pool = Pool::ready(setup(&node)).await?;
        Ok(Some(Self { node, pool }))
    }

    pub(crate) async fn miner(&self, account: &Address) -> Result<Miner> {
        Miner::working(self.pool.sv1, &account.to_string()).await
    }

    /// Shares on the node's tip that are no blocks.
    pub(crate) async fn work(&self, miner: &mut Miner, shares: u32) -> Result<()> {
        job_on(self.node.best()?, miner).await?;
        work(miner, shares).await
    }

    /// A block of `miner` that is in the chain and settled.
    pub(crate) async fn block(&self, miner: &mut Miner) -> Result<Block> {
        let (block, _) = mine_through(&self.node, miner).await?;
        shown(&self.pool, &block.block_hash(), "immature", 1).await?;
        Ok(block)
    }

    /// The same, of the first job that pays `expected`, in any order.
    pub(crate) async fn block_paying(
        &self,
        miner: &mut Miner,
        expected: &BTreeMap<ScriptBuf, u64>,
    ) -> Result<Block> {
        let (extranonce1, size) = {
            let subscription = miner.subscription()?;
            (subscription.extranonce1.clone(), subscription.extranonce2_size)
        };
        let offers = |job: &Job| {
            let outputs = job.outputs(&extranonce1, size).unwrap_or_default();
            let paid: BTreeMap<_, _> =
                outputs.into_iter().filter(|(script, _)| !script.is_op_return()).collect();
            paid == *expected
        };
        let job = match miner.job().await? {
            job if offers(&job) => job,
            _ => miner.next_job(offers).await.with_context(|| format!("no job pays {expected:?}"))?,
        };
        let best = self.node.best()?;
        let share = mine_block(miner, &job)?;
        miner.submit_good(&share).await?;
        let block = self.node.block(&self.node.best_other_than(best).await?)?;
        ensure!(outputs(&block)? == *expected, "the coinbase pays {:?}", outputs(&block)?);
        shown(&self.pool, &block.block_hash(), "immature", 1).await?;
        Ok(block)
    }

    /// Buries a block until it is final.
    pub(crate) async fn mature(&self, block: &BlockHash) -> Result<()> {
        self.node.generate(99, &spend::anyones_address())?;
        shown(&self.pool, block, "mature", 100).await
    }

    /// Takes a block from the chain for a longer one without it.
    pub(crate) async fn orphan(&self, block: &BlockHash) -> Result<()> {
        self.node.invalidate(block)?;
        self.node.generate(2, &spend::anyones_address())?;
        shown(&self.pool, block, "orphaned", 0).await
    }

    /// Waits until the first so many shares are credited as they came.
    pub(crate) async fn accrued(&self, shares: u32) -> Result<()> {
        let wait = async {
            loop {
                let accruals = ledger::decisions(&self.pool.data())?;
                if accruals.iter().filter_map(|one| one.shares).any(|(_, through)| through >= shares) {
                    return anyhow::Ok(());
                }
                tokio::time::sleep(POLL).await;
            }
        };
        let waited = tokio::time::timeout(SOON, wait).await;
        waited.with_context(|| format!("{shares} shares are not credited:\n{}", self.pool.output().tail()))?
    }

    /// What each account is owed.
    pub(crate) fn balances(&self) -> Result<BTreeMap<String, i64>> {
        ledger::balances(&self.pool.data())
    }

    /// The policy of a kind as the API shows it.
    async fn policy(&self, kind: &str) -> Result<Value> {
        let policies = http::json(self.pool.http, "/api/v1/policies").await?;
        of_kind(&policies, kind).cloned().with_context(|| format!("no {kind} policy"))
    }

    /// Puts other code in the place of the payout policy's and waits until it serves.
    pub(crate) async fn new_code(&self, file: &str, bytes: &[u8]) -> Result<String> {
        let hash = sha256::Hash::hash(bytes).to_string();
        self.pool.plugins.replace(file, bytes)?;
        self.reloaded("payout", |policy| policy["hash"] == *hash).await?;
        Ok(hash)
    }

    /// Puts other settings of a policy in the place of `old` ones and waits until they are in force.
    pub(crate) async fn new_settings(&self, kind: &str, old: &str, new: &str) -> Result<()> {
        let generation = self.policy(kind).await?["generation"].as_u64();
        let config = fs::read_to_string(self.pool.config())?;
        ensure!(config.contains(old), "no {old} in {config}");
        fs::write(self.pool.config(), config.replace(old, new))?;
        self.reloaded(kind, |policy| policy["generation"].as_u64() > generation).await
    }

    async fn reloaded(&self, kind: &str, is: impl Fn(&Value) -> bool) -> Result<()> {
        let serves = |policies: &Value| {
            let policy = of_kind(policies, kind)?;
            (is(policy) && policy["last_reload"]["outcome"] == "applied").then_some(())
        };
        http::json_until(self.pool.http, "/api/v1/policies", RELOAD, serves).await
    }

    /// What holds at any moment: the books balance, SQLite and the audit find nothing, and the API shows what they say.
    pub(crate) async fn holds(&self) -> Result<()> {
        let data = self.pool.data();
        ensure!(ledger::imbalance(&data)? == (0, 0), "the books do not balance");
        ensure!(ledger::integrity(&data)? == "ok");
        self.audited()?;
        let balances = self.balances()?;
        let shows = |shown: &Value| {
            let accounts = shown["accounts"].as_array()?.iter();
            let amount = |one: &Value| one["balance_sat"].as_i64();
            let mut all: BTreeMap<String, i64> = accounts
                .map(|one| Some((one["account"].as_str()?.to_owned(), amount(one)?)))
                .collect::<Option<_>>()?;
            all.insert(String::new(), amount(&shown["house"])?);
            all.retain(|_, amount| *amount != 0);
            (all == balances).then_some(())
        };
        http::json_until(self.pool.http, "/api/v1/balances", SOON, shows).await
    }

    pub(crate) fn audited(&self) -> Result<()> {
        let (code, said) = self.audit()?;
        ensure!(code == Some(0) && said.contains("equal    every round"), "{said}");
        Ok(())
    }

    /// The exit code of `sluice audit`, and what it says.
    pub(crate) fn audit(&self) -> Result<(Option<i32>, String)> {
        let mut command = Command::new(binary::sluice()?);
        let output =
            command.arg("audit").arg("--data").arg(self.pool.data()).env("NO_COLOR", "1").output()?;
        let said = [output.stdout, output.stderr].map(|text| String::from_utf8_lossy(&text).into_owned());
        Ok((output.status.code(), said.concat()))
    }

    /// Every credit names the code that serves now, and the ledger has the settings to it.
    pub(crate) async fn names(&self, payout: Payout) -> Result<()> {
        let policy = self.policy("payout").await?["hash"].clone();
        ensure!(policy == sha256::Hash::hash(&fs::read(self.pool.plugins.file(payout.file()))?).to_string());
        let credits = self.credits().await?;
        ensure!(
            !credits.is_empty() && credits.iter().all(|credit| credit["policy_hash"] == policy),
            "{credits:?}"
        );
        for decision in ledger::decisions(&self.pool.data())? {
            ensure!(
                policy == decision.policy_hash && decision.settings["fee-bps"] == payout.fee_bps(),
                "{decision:?}"
            );
        }
        Ok(())
    }

    /// All credits, the newest first.
    pub(crate) async fn credits(&self) -> Result<Vec<Value>> {
        let credits = http::json(self.pool.http, "/api/v1/credits?limit=1000").await?;
        Ok(credits.as_array().context("no list")?.clone())
    }

    /// What a block was shared out into, without the house's part.
    pub(crate) async fn credits_of(&self, block: &BlockHash) -> Result<BTreeMap<String, i64>> {
        let hash = block.to_string();
        let credits = self.credits().await?;
        let of_block = credits.iter().filter(|one| one["block"] == *hash && one["account"] != "");
        of_block
            .map(|one| {
                let account = one["account"].as_str().context("no account")?.to_owned();
                Ok((account, one["amount_sat"].as_i64().context("no amount")?))
            })
            .collect()
    }

    /// What the node says an address has, in coins that are in the chain.
    pub(crate) fn on_chain(&self, address: &Address) -> Result<u64> {
        let scanned =
            self.node.call("scantxoutset", &[json!("start"), json!([format!("addr({address})")])])?;
        let total = scanned["total_amount"].as_f64().context("no amount")?;
        Ok(bitcoin::Amount::from_btc(total)?.to_sat())
    }
}

fn of_kind<'a>(policies: &'a Value, kind: &str) -> Option<&'a Value> {
    policies.as_array()?.iter().find(|one| one["kind"] == kind)
}

/// What a coinbase pays, without the witness commitment; no script has two outputs.
pub(crate) fn outputs(block: &Block) -> Result<BTreeMap<ScriptBuf, u64>> {
    let paid = paid(block)?;
    let scripts: BTreeSet<_> = paid.iter().map(|(script, _)| script.clone()).collect();
    ensure!(scripts.len() == paid.len(), "a script is paid twice: {paid:?}");
    Ok(paid.into_iter().collect())
}

/// Shares on the miner's job that are no blocks.
pub(crate) async fn work(miner: &mut Miner, shares: u32) -> Result<()> {
    let job = miner.job().await?;
    let network = network_difficulty(job.bits);
    for _ in 0..shares {
        let share =
            miner.mine_where(&job, |hash| (job.difficulty..network).contains(&difficulty_of(hash)))?;
        miner.submit_good(&share).await?;
    }
    Ok(())
}
