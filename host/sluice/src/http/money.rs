//! The JSON about money. The fields are documented in docs/http-api.md.

use serde::{Serialize, Serializer};
use sluice_core::ids::Protocol;
use sluice_core::units::Timestamp;

use super::view::{BlockInfo, CreditInfo};

/// What somebody is owed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct OwedInfo {
    /// The sum of the next two.
    pub balance_sat: i64,
    /// From final blocks and from work credited as it came, less payouts.
    pub mature_sat: i64,
    /// From blocks that are not final.
    pub immature_sat: i64,
    /// What a payout could pay now.
    pub due_sat: u64,
}

/// `GET /api/v1/money`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct MoneyInfo {
    pub house: OwedInfo,
    /// All accounts together.
    pub accounts: OwedInfo,
    /// Accounts that are owed something.
    pub creditors: u64,
    /// Batches that are prepared or sent.
    pub open_payouts: Vec<PayoutInfo>,
    /// Rounds of blocks in the chain that wait for the payout policy.
    pub held_rounds: u64,
    /// Shares that wait to be credited; none where only blocks are.
    pub unaccrued_shares: Option<u64>,
}

/// `GET /api/v1/balances`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct BalancesInfo {
    pub house: OwedInfo,
    /// The largest first.
    pub accounts: Vec<BalanceInfo>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct BalanceInfo {
    pub account: String,
    #[serde(flatten)]
    pub owed: OwedInfo,
}

/// An element of `GET /api/v1/payouts`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct PayoutInfo {
    pub batch: u64,
    /// `prepared`, `sent`, `confirmed` or `cancelled`.
    pub state: String,
    pub at: Timestamp,
    /// Accounts it pays.
    pub lines: u64,
    pub amount_sat: u64,
    pub txid: Option<String>,
    /// Of the block that has the transaction.
    pub height: Option<u32>,
    /// Network fee.
    pub fee_sat: Option<u64>,
}

/// `GET /api/v1/accounts/{account}`.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct AccountInfo {
    pub account: String,
    /// Where it is paid now.
    pub address: Option<String>,
    #[serde(flatten)]
    pub owed: OwedInfo,
    /// Millionths of a satoshi that it is owed beyond that.
    pub carried_microsats: u64,
    /// The least that is paid to it; none: as the pool's configuration says.
    pub minimum_sat: Option<u64>,
    /// Why nothing is paid to it.
    pub held: Option<String>,
    #[serde(flatten)]
    pub done: DoneInfo,
    /// The fastest first.
    pub workers: Vec<AccountWorkerInfo>,
    /// Two fields: `next_block`, and why it is null where it is.
    #[serde(flatten)]
    pub forecast: Forecast,
    /// That its workers found.
    pub blocks: Vec<BlockInfo>,
    pub credits: Vec<CreditInfo>,
    pub payouts: Vec<AccountPayoutInfo>,
}

/// Accepted work.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct DoneInfo {
    pub shares: u64,
    pub work: f64,
    /// The part of it from the last ten minutes.
    pub recent_work: f64,
    /// Hashes per second, over the same time.
    pub hashrate: f64,
}

#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct AccountWorkerInfo {
    /// May be empty.
    pub worker: String,
    /// The one it last used.
    pub protocol: Protocol,
    #[serde(flatten)]
    pub done: DoneInfo,
    pub last_share_at: Timestamp,
}

/// A payout's part for the account.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct AccountPayoutInfo {
    pub batch: u64,
    /// `prepared`, `sent`, `confirmed` or `cancelled`.
    pub state: String,
    pub at: Timestamp,
    pub amount_sat: u64,
    pub address: String,
    pub txid: Option<String>,
}

/// What the next block would pay the account if it were found now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Forecast {
    /// The payout policy's answer, divided to the satoshi.
    Known(NextBlock),
    /// For a person.
    Unknown { reason: String },
}

impl Serialize for Forecast {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        #[derive(Serialize)]
        struct Fields<'a> {
            next_block: Option<&'a NextBlock>,
            next_block_reason: Option<&'a str>,
        }
        let (next_block, next_block_reason) = match self {
            Self::Known(next) => (Some(next), None),
            Self::Unknown { reason } => (None, Some(reason.as_str())),
        };
        Fields { next_block, next_block_reason }.serialize(serializer)
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct NextBlock {
    /// Subsidy and fees.
    pub reward_sat: u64,
    pub credit_sat: u64,
    /// What its own output of the coinbase would hold; 0 where the block has none for it, and it is owed the credit.
    pub output_sat: u64,
    /// The policy credits work as it comes, whether or not a block is found.
    pub accrues: bool,
    /// None where it gave no answer that can be used, and the split of a moment ago stands.
    pub policy: PolicyName,
}

/// What decided.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct PolicyName {
    pub name: String,
    pub version: String,
    /// Content hash of the plugin, in hex.
    pub hash: String,
}
