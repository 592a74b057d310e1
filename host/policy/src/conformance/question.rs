//! Inputs as an author writes them: the contract's names, and neutral values for what is left out.

use std::sync::Arc;
use std::time::Duration;

use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use sluice_core::bitcoin::Amount;
use sluice_core::ids::{AccountName, Protocol, WorkerName};
use sluice_core::policy::vardiff::{MEMO_LIMIT, Memo};
use sluice_core::policy::{self, auth, payout, vardiff};
use sluice_core::units::{Difficulty, Timestamp};

/// A text that is no value of the contract: what is wrong and what is allowed.
type Wrong = String;

const NOW: u64 = 1_700_000_000_000;

/// `input` as a question; where nothing is given, the neutral one.
pub(super) fn read<T: DeserializeOwned>(input: &Value) -> Result<T, Wrong> {
    let empty = Value::Object(serde_json::Map::new());
    let input = if input.is_null() { &empty } else { input };
    T::deserialize(input).map_err(|error| format!("the input cannot be read: {error}"))
}

/// As [`read`], of a list.
pub(super) fn read_list<T: DeserializeOwned>(input: &Value) -> Result<Vec<T>, Wrong> {
    if input.is_null() {
        return Ok(Vec::new());
    }
    Vec::deserialize(input).map_err(|error| format!("the input cannot be read: {error}; a list is expected"))
}

#[derive(Clone, Copy, Debug, Default, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Speaks {
    #[default]
    #[serde(rename = "stratum-v1")]
    StratumV1,
    #[serde(rename = "stratum-v2")]
    StratumV2,
}

#[derive(Debug, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
struct Client {
    protocol: Speaks,
    listener: String,
    address: String,
    agent: String,
    hardware: String,
}

impl Default for Client {
    fn default() -> Self {
        Self {
            protocol: Speaks::StratumV1,
            listener: "main".to_owned(),
            address: "192.0.2.1".to_owned(),
            agent: String::new(),
            hardware: String::new(),
        }
    }
}

impl From<Client> for policy::Client {
    fn from(client: Client) -> Self {
        Self {
            protocol: match client.protocol {
                Speaks::StratumV1 => Protocol::StratumV1,
                Speaks::StratumV2 => Protocol::StratumV2,
            },
            listener: client.listener.into(),
            address: client.address.into(),
            agent: client.agent.into(),
            hardware: client.hardware.into(),
        }
    }
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub(super) struct Login {
    username: String,
    password: Option<String>,
    client: Client,
}

impl From<Login> for auth::Login {
    fn from(login: Login) -> Self {
        Self { username: login.username, password: login.password, client: login.client.into() }
    }
}

#[derive(Debug, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
struct Channel {
    account: String,
    worker: String,
    client: Client,
    password: Option<String>,
    floor: f64,
    ceiling: f64,
}

impl Default for Channel {
    fn default() -> Self {
        Self {
            account: "account".to_owned(),
            worker: String::new(),
            client: Client::default(),
            password: None,
            floor: Difficulty::MIN.get(),
            ceiling: Difficulty::MAX.get(),
        }
    }
}

impl Channel {
    fn facts(self) -> Result<Arc<vardiff::ChannelFacts>, Wrong> {
        Ok(Arc::new(vardiff::ChannelFacts {
            account: AccountName::new(&self.account).map_err(|error| error.to_string())?,
            worker: WorkerName::new(&self.worker).map_err(|error| error.to_string())?,
            client: self.client.into(),
            password: self.password,
            floor: difficulty("floor", self.floor)?,
            ceiling: difficulty("ceiling", self.ceiling)?,
        }))
    }
}

fn difficulty(what: &str, value: f64) -> Result<Difficulty, Wrong> {
    Difficulty::new(value).map_err(|error| format!("{what}: {error}"))
}

fn perhaps(what: &str, value: Option<f64>) -> Result<Option<Difficulty>, Wrong> {
    value.map(|value| difficulty(what, value)).transpose()
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub(super) struct Opening {
    channel: Channel,
    now: Option<u64>,
    start: Option<f64>,
    suggested: Option<f64>,
    nominal_hashrate: Option<f64>,
}

impl TryFrom<Opening> for vardiff::Opening {
    type Error = Wrong;

    fn try_from(opening: Opening) -> Result<Self, Wrong> {
        Ok(Self {
            channel: opening.channel.facts()?,
            now: Timestamp(opening.now.unwrap_or(NOW)),
            start: perhaps("start", opening.start)?,
            suggested: perhaps("suggested", opening.suggested)?,
            nominal_hashrate: opening.nominal_hashrate,
        })
    }
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub(super) struct Review {
    channel: Channel,
    now: Option<u64>,
    current: Option<f64>,
    elapsed_ms: u64,
    accepted: u32,
    rejected: u32,
    /// As much as the accepted shares are worth at the current difficulty.
    work: Option<f64>,
    suggested: Option<f64>,
    nominal_hashrate: Option<f64>,
    memo: Vec<u8>,
}

impl Review {
    /// `format` is the policy's own: a memo of another format would not reach it.
    pub(super) fn question(self, format: u32) -> Result<vardiff::Review, Wrong> {
        if self.memo.len() > MEMO_LIMIT {
            return Err(format!("memo: {} bytes; at most {MEMO_LIMIT} are allowed", self.memo.len()));
        }
        let current = self.current.map_or(Ok(Difficulty::ONE), |value| difficulty("current", value))?;
        Ok(vardiff::Review {
            channel: self.channel.facts()?,
            now: Timestamp(self.now.unwrap_or(NOW)),
            current,
            elapsed: Duration::from_millis(self.elapsed_ms),
            accepted: self.accepted,
            rejected: self.rejected,
            work: self.work.unwrap_or_else(|| f64::from(self.accepted) * current.get()),
            suggested: perhaps("suggested", self.suggested)?,
            nominal_hashrate: self.nominal_hashrate,
            memo: Memo { format, bytes: self.memo.into() },
        })
    }
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
struct Contribution {
    account: String,
    work: u64,
    shares: u64,
}

impl From<Contribution> for payout::Contribution {
    fn from(one: Contribution) -> Self {
        Self { account: one.account, work: one.work, shares: one.shares }
    }
}

#[derive(Debug, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub(super) struct Round {
    found: bool,
    height: u32,
    at: u64,
    subsidy: u64,
    fees: u64,
    network_difficulty: f64,
    finder: String,
    work_unit: f64,
    contributions: Vec<Contribution>,
}

impl Default for Round {
    fn default() -> Self {
        Self {
            found: true,
            height: 900_000,
            at: NOW,
            subsidy: 312_500_000,
            fees: 0,
            network_difficulty: 1.0,
            finder: String::new(),
            work_unit: 1.0,
            contributions: Vec::new(),
        }
    }
}

impl From<Round> for payout::Round {
    fn from(round: Round) -> Self {
        Self {
            found: round.found,
            height: round.height,
            at: Timestamp(round.at),
            subsidy: Amount::from_sat(round.subsidy),
            fees: Amount::from_sat(round.fees),
            network_difficulty: round.network_difficulty,
            finder: round.finder,
            work_unit: round.work_unit,
            contributions: round.contributions.into_iter().map(Into::into).collect(),
        }
    }
}

#[derive(Debug, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub(super) struct Tally {
    height: u32,
    subsidy: u64,
    fees: u64,
    network_difficulty: f64,
    work_unit: f64,
    contributions: Vec<Contribution>,
}

impl Default for Tally {
    fn default() -> Self {
        Self {
            height: 900_000,
            subsidy: 312_500_000,
            fees: 0,
            network_difficulty: 1.0,
            work_unit: 1.0,
            contributions: Vec::new(),
        }
    }
}

impl From<Tally> for payout::Tally {
    fn from(tally: Tally) -> Self {
        Self {
            height: tally.height,
            subsidy: Amount::from_sat(tally.subsidy),
            fees: Amount::from_sat(tally.fees),
            network_difficulty: tally.network_difficulty,
            work_unit: tally.work_unit,
            contributions: tally.contributions.into_iter().map(Into::into).collect(),
        }
    }
}
