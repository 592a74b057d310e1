//! What is simulated: groups of miners as a TOML file. docs/backtest.md has every key.

use serde::Deserialize;
use sluice_core::ids::AccountName;
use sluice_core::units::Difficulty;
use toml::de::{DeTable, DeValue};

use super::quantity::{Rate, Span};
use crate::config::position;

/// The most miners of a scenario, and groups.
pub(super) const MINERS_LIMIT: u32 = 20_000;
const GROUPS_LIMIT: usize = 64;
/// The longest simulation, in seconds.
const DURATION_LIMIT: f64 = 31.0 * 86_400.0;
const TEXT_LIMIT: usize = 128;
const NAME_LIMIT: usize = 100;

/// A scenario, checked.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Scenario {
    #[serde(default)]
    pub(super) seed: u64,
    pub(super) duration: Span,
    #[serde(default)]
    pub(super) pool: Pool,
    #[serde(rename = "group")]
    pub(super) groups: Vec<Group>,
    /// For payout policies.
    #[serde(default)]
    pub(super) chain: Chain,
}

/// The listener that the miners connect to.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Pool {
    /// What the result is judged by; the policy has a target of its own.
    pub(super) shares_per_minute: f64,
    pub(super) start_difficulty: f64,
    pub(super) minimum_difficulty: f64,
    pub(super) maximum_difficulty: f64,
}

impl Default for Pool {
    fn default() -> Self {
        Self {
            shares_per_minute: 18.0,
            start_difficulty: 1024.0,
            minimum_difficulty: 0.0001,
            maximum_difficulty: 1e15,
        }
    }
}

/// The chain that blocks are found on.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Chain {
    pub(super) difficulty: f64,
    pub(super) subsidy_sat: u64,
    pub(super) fees_sat: u64,
}

impl Default for Chain {
    fn default() -> Self {
        Self { difficulty: 1e14, subsidy_sat: 312_500_000, fees_sat: 5_000_000 }
    }
}

/// Miners that are alike.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Group {
    pub(super) name: String,
    #[serde(default = "one")]
    pub(super) count: u32,
    /// Of each miner.
    pub(super) hashrate: Rate,
    /// Standard deviation of the hash rate, as a part of it.
    #[serde(default)]
    pub(super) jitter: f64,
    /// From the miner to the pool, and the other way.
    #[serde(default)]
    pub(super) latency: Span,
    /// How long the firmware goes on at the old difficulty with new work.
    #[serde(default)]
    pub(super) lag: Span,
    /// When they connect.
    #[serde(default)]
    pub(super) start: Span,
    /// Over how long after that.
    #[serde(default)]
    pub(super) spread: Span,
    #[serde(default)]
    pub(super) agent: String,
    #[serde(default)]
    pub(super) password: Option<String>,
    #[serde(default)]
    pub(super) outage: Option<Outage>,
    #[serde(default)]
    pub(super) ramp: Vec<Ramp>,
}

fn one() -> u32 {
    1
}

/// Times without hashing, at random.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Outage {
    /// On average, from the end of one to the next.
    pub(super) every: Span,
    /// On average.
    pub(super) lasts: Span,
    /// The connection is lost, and the channel opens anew.
    #[serde(default = "yes")]
    pub(super) reconnect: bool,
}

fn yes() -> bool {
    true
}

/// A change of the hash rate.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Ramp {
    pub(super) at: Span,
    /// Times the group's hash rate.
    pub(super) factor: f64,
    #[serde(default)]
    pub(super) over: Span,
}

/// A scenario that cannot be simulated.
#[derive(Debug, PartialEq, thiserror::Error)]
pub enum ScenarioError {
    /// With line, column and what is allowed.
    #[error("{0}")]
    Toml(String),
    #[error("line {line}: {}", .wrong)]
    Value { line: usize, wrong: Wrong },
}

/// A value that is not allowed.
#[derive(Debug, PartialEq, thiserror::Error)]
#[error("{key}: {found} is wrong; {allowed} is allowed")]
pub struct Wrong {
    pub key: String,
    pub found: String,
    pub allowed: &'static str,
}

impl Scenario {
    /// # Errors
    /// [`ScenarioError`].
    pub fn parse(text: &str) -> Result<Self, ScenarioError> {
        let scenario: Self =
            toml::from_str(text).map_err(|error| ScenarioError::Toml(error.to_string().trim().to_owned()))?;
        let placed = |wrong: Wrong| ScenarioError::Value { line: line_of(text, &wrong.key), wrong };
        scenario.check().map_err(placed)?;
        Ok(scenario)
    }

    fn check(&self) -> Result<(), Wrong> {
        let Self { duration, pool, groups, chain, .. } = self;
        let difficulty = |key: &str, value: f64| {
            need(Difficulty::new(value).is_ok(), key, value, "a number from 2^-32 to 2^128")
        };
        need((60.0..=DURATION_LIMIT).contains(&duration.0), "duration", duration, "1m to 31d")?;
        let rate = pool.shares_per_minute;
        need((0.1..=600.0).contains(&rate), "pool.shares_per_minute", rate, "0.1 to 600")?;
        difficulty("pool.start_difficulty", pool.start_difficulty)?;
        difficulty("pool.minimum_difficulty", pool.minimum_difficulty)?;
        difficulty("pool.maximum_difficulty", pool.maximum_difficulty)?;
        let (least, most) = (pool.minimum_difficulty, pool.maximum_difficulty);
        need(least <= most, "pool.minimum_difficulty", least, "at most pool.maximum_difficulty")?;
        difficulty("chain.difficulty", chain.difficulty)?;
        let reward = chain.subsidy_sat.saturating_add(chain.fees_sat);
        need(
            (1..=2_100_000_000_000_000).contains(&reward),
            "chain.subsidy_sat",
            reward,
            "1 sat to 21 million BTC with the fees",
        )?;
        need((1..=GROUPS_LIMIT).contains(&groups.len()), "group", groups.len(), "1 to 64 groups")?;
        groups.iter().enumerate().try_for_each(|(index, group)| group.check(index, duration.0))?;
        let miners = groups.iter().fold(0u32, |sum, group| sum.saturating_add(group.count));
        need(miners <= MINERS_LIMIT, "group.count", miners, "20000 miners together at most")
    }
}

impl Group {
    fn check(&self, index: usize, duration: f64) -> Result<(), Wrong> {
        let key = |name: &str| format!("group[{index}].{name}");
        let plain = |text: &str| text.len() <= TEXT_LIMIT && !text.chars().any(char::is_control);
        // Its miners' accounts are called after it.
        let name_fits = self.name.len() <= NAME_LIMIT && AccountName::new(&self.name).is_ok();
        let allowed = "1 to 100 printable ASCII characters, none of \" \\ ' < > &,";
        need(name_fits, &key("name"), format_args!("{:?}", self.name), allowed)?;
        need(plain(&self.agent), &key("agent"), format_args!("{:?}", self.agent), "up to 128 bytes of text")?;
        let password = self.password.as_deref().unwrap_or_default();
        need(plain(password), &key("password"), "what it is", "up to 128 bytes of text")?;
        need((1..=MINERS_LIMIT).contains(&self.count), &key("count"), self.count, "1 to 20000")?;
        need((0.0..=1.0).contains(&self.jitter), &key("jitter"), self.jitter, "0 to 1")?;
        need(self.latency.0 <= 60.0, &key("latency"), self.latency, "0s to 60s")?;
        need(self.lag.0 <= 600.0, &key("lag"), self.lag, "0s to 10m")?;
        let begins = self.start.0 + self.spread.0;
        need(begins < duration, &key("start"), self.start, "what ends, with spread, before the duration")?;
        if let Some(outage) = self.outage {
            need(outage.every.0 >= 1.0, &key("outage.every"), outage.every, "1s or more")?;
            need(outage.lasts.0 >= 1.0, &key("outage.lasts"), outage.lasts, "1s or more")?;
        }
        let mut last = 0.0;
        for (number, ramp) in self.ramp.iter().enumerate() {
            let key = |name: &str| key(&format!("ramp[{number}].{name}"));
            need((0.0..=1e6).contains(&ramp.factor), &key("factor"), ramp.factor, "0 to 1000000")?;
            need(ramp.at.0 >= last, &key("at"), ramp.at, "a time behind the ramp before")?;
            last = ramp.at.0 + ramp.over.0;
        }
        Ok(())
    }
}

fn need(fits: bool, key: &str, found: impl std::fmt::Display, allowed: &'static str) -> Result<(), Wrong> {
    if fits {
        return Ok(());
    }
    Err(Wrong { key: key.to_owned(), found: found.to_string(), allowed })
}

/// The line of a key such as `group[1].ramp[0].at`, from 1; of what it belongs to where it is not written.
fn line_of(text: &str, key: &str) -> usize {
    // What was read once is read again.
    let Ok(root) = DeTable::parse(text) else { return 1 };
    let root = root.into_inner();
    let (mut table, mut offset) = (Some(&root), 0);
    for part in key.split('.') {
        let (name, index) =
            part.split_once('[').map_or((part, None), |(name, rest)| (name, rest.split(']').next()));
        let Some(mut value) = table.and_then(|table| table.get(name)) else { break };
        let index = index.and_then(|index| index.parse::<usize>().ok());
        if let (DeValue::Array(items), Some(index)) = (value.get_ref(), index) {
            value = items.get(index).unwrap_or(value);
        }
        offset = value.span().start;
        table = match value.get_ref() {
            DeValue::Table(table) => Some(table),
            _ => None,
        };
    }
    position(text, offset).0
}

#[cfg(test)]
mod tests;
