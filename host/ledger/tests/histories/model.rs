//! What the books should hold, by adding up.

use std::collections::BTreeMap;

use sluice_core::bitcoin::Txid;
use sluice_core::ids::TemplateId;
use sluice_core::policy::payout::{Accrued, Contribution, Window};
use sluice_core::units::Timestamp;
use sluice_ledger::payouts::BatchId;
use sluice_ledger::{BlockState, MATURITY, Place, TemplateFacts};

use crate::policies::{Code, Generation, Mood, Settings};
use crate::step::Word;
use crate::support::{difficulty, hash};

pub(crate) const ACCOUNTS: [&str; 4] = ["alice", "bob", "carol", "dave"];

#[derive(Clone, Debug)]
pub(crate) struct Share {
    pub(crate) account: usize,
    pub(crate) worth: f64,
    /// `None`: nobody announced it.
    pub(crate) template: Option<TemplateId>,
    pub(crate) at: Timestamp,
}

#[derive(Clone, Debug)]
pub(crate) struct Block {
    pub(crate) state: BlockState,
    pub(crate) finder: usize,
    /// The last share before it.
    pub(crate) through: u64,
    pub(crate) reward: i64,
    /// By account, the house's under the empty name.
    pub(crate) paid: Vec<(String, i64)>,
    pub(crate) credits: Option<Vec<(String, i64)>>,
}

impl Block {
    /// Whether what it brings is in the books, once its round is settled.
    pub(crate) fn counts(&self) -> bool {
        matches!(self.state, BlockState::Accepted | BlockState::Immature | BlockState::Mature)
    }

    pub(crate) fn is_open(&self) -> bool {
        self.counts() && self.credits.is_none()
    }

    fn is_booked(&self) -> bool {
        self.counts() && self.credits.is_some()
    }

    /// What a node says of it; the chain's word is stronger.
    pub(crate) fn told(&mut self, word: Word) {
        use BlockState::{Accepted, Found, Immature, Mature, Orphaned, Rejected, Submitted};
        self.state = match (self.state, word) {
            (Found, Word::Submitted) => Submitted,
            (state @ (Immature | Mature | Orphaned), _) | (state, Word::Submitted) => state,
            (_, Word::Accepted) => Accepted,
            (_, Word::Stale | Word::Inconclusive) => Rejected,
        };
    }

    pub(crate) fn seen(&mut self, place: Place) {
        use BlockState::{Accepted, Immature, Mature, Orphaned, Rejected};
        self.state = match (self.state, place) {
            (Accepted | Immature, Place::InChain { confirmations }) if confirmations >= MATURITY => Mature,
            (Accepted | Immature | Orphaned | Rejected, Place::InChain { .. }) => Immature,
            (Accepted | Immature, Place::Aside) => Orphaned,
            (state, _) => state,
        };
    }
}

#[derive(Clone, Debug)]
pub(crate) struct Accrual {
    pub(crate) first: u64,
    pub(crate) through: u64,
    pub(crate) answer: Vec<Accrued>,
}

#[derive(Clone, Debug)]
pub(crate) struct Batch {
    pub(crate) id: BatchId,
    pub(crate) lines: Vec<(String, i64)>,
    pub(crate) txid: Option<Txid>,
    /// Taken from the accounts.
    pub(crate) stands: bool,
    pub(crate) fee: i64,
}

#[derive(Clone, Debug)]
pub(crate) struct Model {
    /// The newest share's number is their count.
    pub(crate) shares: Vec<Share>,
    /// The last that is only an hour by now.
    pub(crate) folded: u64,
    pub(crate) blocks: Vec<Block>,
    pub(crate) accruals: Vec<Accrual>,
    /// The share after which work waits to be credited, while the plan does so.
    pub(crate) after: Option<u64>,
    pub(crate) batches: Vec<Batch>,
    pub(crate) plan: Generation,
    pub(crate) template: TemplateFacts,
    /// Seconds; steps backwards at times.
    pub(crate) clock: i64,
}

impl Model {
    pub(crate) fn new() -> Self {
        let settings = Settings { window: Window::Round, per_finder: false, fee_bps: 100, accrue_bps: None };
        let template = TemplateFacts {
            id: TemplateId(1),
            height: 100,
            previous: hash(99),
            network_difficulty: difficulty(5_000.0),
            subsidy: sluice_core::bitcoin::Amount::from_sat(50_000),
            fees: sluice_core::bitcoin::Amount::from_sat(1_234),
            at: Timestamp(1_000),
        };
        Self {
            shares: Vec::new(),
            folded: 0,
            blocks: Vec::new(),
            accruals: Vec::new(),
            after: None,
            batches: Vec::new(),
            plan: Generation { code: Code::Fixed, settings, mood: Mood::Steady },
            template,
            clock: 1_000_000,
        }
    }

    pub(crate) fn newest(&self) -> u64 {
        self.shares.len() as u64
    }

    pub(crate) fn now(&self) -> Timestamp {
        Timestamp(u64::try_from(self.clock).unwrap_or(0) * 1000)
    }

    pub(crate) fn has_worked(&self, account: usize) -> bool {
        self.shares.iter().any(|share| share.account == account)
    }

    /// The last share that is credited, or never will be.
    pub(crate) fn accrued_through(&self) -> Option<u64> {
        let last = self.accruals.last().map_or(0, |accrual| accrual.through);
        self.after.map(|after| after.max(last))
    }

    /// Shares by account, of `first..=through`, as far as `counts`.
    pub(crate) fn shares_of(
        &self,
        (first, through): (u64, u64),
        counts: impl Fn(&Share) -> bool,
    ) -> BTreeMap<&str, u64> {
        let numbered = (1u64..).zip(&self.shares).filter(|(seq, _)| (first..=through).contains(seq));
        let mut by_account = BTreeMap::new();
        for (_, share) in numbered.filter(|(_, share)| counts(share)) {
            *by_account.entry(ACCOUNTS[share.account]).or_default() += 1;
        }
        by_account
    }

    /// The shares of a block's own round.
    pub(crate) fn round_of(&self, block: usize) -> (u64, u64) {
        let before = self.blocks[..block].iter().filter(|block| block.state != BlockState::Rejected);
        let boundary = before.map(|block| block.through).max().unwrap_or(0);
        (boundary.max(self.folded) + 1, self.blocks[block].through)
    }

    /// What each account is owed, and the house's own under the empty name; those with nothing too.
    pub(crate) fn balances(&self) -> BTreeMap<String, i64> {
        let mut sums: BTreeMap<String, i64> = BTreeMap::new();
        let mut add = |account: &str, amount: i64| *sums.entry(account.to_owned()).or_default() += amount;
        for block in self.blocks.iter().filter(|block| block.is_booked()) {
            block.credits.iter().flatten().for_each(|(account, sat)| add(account, *sat));
            block.paid.iter().for_each(|(account, sat)| add(account, -sat));
        }
        for (account, microsats) in self.microsats() {
            let sat = i64::try_from(microsats / 1_000_000).expect("money");
            add(&account, sat);
            add("", -sat);
        }
        for batch in self.batches.iter().filter(|batch| batch.stands) {
            batch.lines.iter().for_each(|(account, sat)| add(account, -sat));
            add("", -batch.fee);
        }
        sums
    }

    /// All that accruals gave, in millionths of a satoshi: whole satoshis of it are booked, the rest is carried.
    pub(crate) fn microsats(&self) -> BTreeMap<String, u64> {
        let mut sums = BTreeMap::new();
        for one in self.accruals.iter().flat_map(|accrual| &accrual.answer) {
            *sums.entry(one.account.clone()).or_default() += one.microsats;
        }
        sums
    }

    /// What blocks brought, what coinbases paid, what transactions paid.
    pub(crate) fn totals(&self) -> (i64, i64, i64) {
        let booked = || self.blocks.iter().filter(|block| block.is_booked());
        let standing = self.batches.iter().filter(|batch| batch.stands);
        let paid = |lines: &[(String, i64)]| lines.iter().map(|(_, sat)| sat).sum::<i64>();
        (
            booked().map(|block| block.reward).sum(),
            booked().map(|block| paid(&block.paid)).sum(),
            standing.map(|batch| paid(&batch.lines) + batch.fee).sum(),
        )
    }
}

/// Shares by account as a policy was told.
pub(crate) fn told(contributions: &[Contribution]) -> BTreeMap<&str, u64> {
    let mut by_account = BTreeMap::new();
    for one in contributions {
        *by_account.entry(one.account.as_str()).or_default() += one.shares;
    }
    by_account
}
