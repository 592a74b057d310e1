//! Books over a share log, made and audited with the shipped policies: each stretch of shares ends with a block, settled by
//! PPLNS, and is credited by FPPS as well. No pool runs both at once; whatever it runs, an audit costs it less.

use std::path::Path;

use bitcoin::hashes::{Hash, sha256};
use bitcoin::{BlockHash, Network};
use sluice_core::ids::{AccountId, TemplateId, WorkerId};
use sluice_core::policy::payout::{Accrued, Entitlement, PayoutPolicy, Plan, Round, Tally};
use sluice_core::policy::split::split;
use sluice_core::policy::{PolicyFailure, PolicyKind};
use sluice_ledger::{
    AccrualSettlement, BlockRow, Judge, Ledger, NoAnswer, PolicyRecord, Report, Settlement, Verdict,
};
use sluice_policy::{Compiler, Loader, SlotConfig};
use sluice_tests::plugins::{FPPS, PPLNS, shipped};
use tokio::runtime::Runtime;

use crate::shares::{
    SHARES_PER_BLOCK, SHARES_PER_TEMPLATE, at, feed, height, network_difficulty, opened, template, workers,
};

/// A component, ready to be asked.
struct Component {
    record: PolicyRecord,
    policy: Box<dyn PayoutPolicy>,
}

impl Component {
    fn load(loader: &Loader, file: &str) -> Self {
        let wasm = shipped(file).expect("plugins/dist");
        let policy = loader.payout(&wasm, &SlotConfig::new(PolicyKind::Payout, file)).expect("it loads");
        let record = PolicyRecord {
            name: file.trim_end_matches(".wasm").to_owned(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            hash: sha256::Hash::hash(&wasm).to_string(),
            settings: "{}".to_owned(),
        };
        Self { record, policy }
    }
}

/// The two of them.
pub(crate) struct Components {
    pplns: Component,
    fpps: Component,
}

impl Components {
    /// Compiled anew where `cache` does not hold them.
    pub(crate) fn load(cache: &Path) -> Self {
        let loader = Loader::new(cache, Compiler::InProcess, Network::Bitcoin).expect("a loader");
        Self { pplns: Component::load(&loader, PPLNS), fpps: Component::load(&loader, FPPS) }
    }

    fn ask<R>(
        &mut self,
        policy: &PolicyRecord,
        question: impl FnOnce(&mut dyn PayoutPolicy) -> Result<R, PolicyFailure>,
    ) -> Result<R, NoAnswer> {
        let components = [&mut self.pplns, &mut self.fpps];
        match components.into_iter().find(|component| component.record == *policy) {
            Some(component) => {
                question(component.policy.as_mut()).map_err(|failure| NoAnswer::Failed(failure.to_string()))
            }
            None => Err(NoAnswer::Missing(policy.hash.clone())),
        }
    }
}

impl Judge for Components {
    fn plan(&mut self, policy: &PolicyRecord) -> Result<Plan, NoAnswer> {
        self.ask(policy, |payout| payout.plan())
    }

    fn settle(&mut self, policy: &PolicyRecord, round: &Round) -> Result<Vec<Entitlement>, NoAnswer> {
        self.ask(policy, |payout| payout.settle(round))
    }

    fn accrue(&mut self, policy: &PolicyRecord, tallies: &[Tally]) -> Result<Vec<Accrued>, NoAnswer> {
        self.ask(policy, |payout| payout.accrue(tallies))
    }
}

/// A history of `shares` shares in `dir`.
pub(crate) fn fill(runtime: &Runtime, dir: &Path, components: &mut Components, shares: u64) {
    let ledger = opened(dir);
    runtime.block_on(async {
        let workers = workers(&ledger);
        ledger.accruing(true).await.expect("written");
        for first in (0..shares).step_by(SHARES_PER_BLOCK as usize) {
            let end = shares.min(first + SHARES_PER_BLOCK);
            feed(&ledger, &workers, (first, end)).await;
            settle(&ledger, &mut components.pplns, workers[0], end - 1).await;
            accrue(&ledger, &mut components.fpps).await;
        }
        ledger.close().await;
    });
}

/// The share of that number finds a block.
async fn settle(ledger: &Ledger, pplns: &mut Component, (_, finder): (AccountId, WorkerId), share: u64) {
    let hash = BlockHash::hash(&share.to_le_bytes());
    let number = share / SHARES_PER_TEMPLATE;
    let facts = template(number);
    let reward = facts.subsidy + facts.fees;
    let row = BlockRow {
        hash,
        height: height(share),
        template: TemplateId(number),
        at: at(share),
        finder,
        difficulty: network_difficulty(),
        network_difficulty: network_difficulty(),
        reward,
        payments: Vec::new(),
        window: pplns.policy.plan().expect("a plan").window,
    };
    ledger.block_found(row).await.expect("written");
    ledger.block_verdict(hash, Verdict::Accepted).await.expect("known");
    let open = ledger.open_rounds().await.expect("readable").remove(0);
    let input = Round { finder: String::new(), ..open.round };
    let answer = pplns.policy.settle(&input).expect("an answer");
    let credits = split(reward, &answer, &|_| true).expect("a split");
    let PolicyRecord { name, version, hash: policy_hash, settings } = pplns.record.clone();
    let settlement = Settlement {
        policy_name: name,
        policy_version: version,
        policy_hash,
        settings,
        input,
        answer,
        credits,
    };
    ledger.settle_round(hash, settlement).await.expect("settled");
}

async fn accrue(ledger: &Ledger, fpps: &mut Component) {
    let open = ledger.open_accrual().await.expect("readable").expect("shares that wait");
    let answer = fpps.policy.accrue(&open.tallies).expect("an answer");
    let settlement = AccrualSettlement {
        policy: fpps.record.clone(),
        first: open.first,
        through: open.through,
        input: open.tallies,
        answer,
    };
    assert!(ledger.accrue(settlement).await.expect("booked"));
}

/// The whole audit, with the policies compiled for it as `sluice audit` does.
pub(crate) fn audit(dir: &Path, cache: &Path) -> Report {
    let mut components = Components::load(cache);
    let database = sluice_ledger::database_in(dir);
    let report = sluice_ledger::audit(&database, &mut components, &mut |_| {}).expect("readable");
    assert!(report.is_clean(), "{report:?}");
    report
}
