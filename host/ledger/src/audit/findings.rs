//! Differences: the first of each kind is told, the rest is counted.

use std::collections::BTreeMap;
use std::fmt;

use serde::Serialize;
use sluice_core::bitcoin::BlockHash;

/// What is not what it should be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Subject {
    /// The share log itself: a gap, a step back in time, a worker that there is not.
    Log,
    /// A worker's statistics against the log.
    Totals,
    /// A question against the log: a round's, an accrual's.
    Input,
    /// The recorded policy refuses or fails now.
    Policy,
    /// The recorded answer against the recorded policy's.
    Answer,
    /// Booked credits against the division of the recorded answer.
    Credits,
    /// Booked payments against the coinbase on record.
    Payments,
    /// The shares of accruals: some credited twice, or not there.
    Accruals,
    /// Fractions of a satoshi that accounts carry against all accruals.
    Carries,
    /// Booked payouts against their lines and fees.
    Payouts,
    /// A transaction of the journal.
    Journal,
    /// Balances against everything above.
    Accounts,
}

impl Subject {
    pub const fn label(self) -> &'static str {
        match self {
            Self::Log => "share log",
            Self::Totals => "totals",
            Self::Input => "input",
            Self::Policy => "policy",
            Self::Answer => "answer",
            Self::Credits => "credits",
            Self::Payments => "payments",
            Self::Accruals => "accruals",
            Self::Carries => "carries",
            Self::Payouts => "payouts",
            Self::Journal => "journal",
            Self::Accounts => "accounts",
        }
    }
}

/// What a difference belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(untagged)]
pub enum Bearing {
    Block { block: BlockHash, height: u32 },
    Accrual { first: u64, through: u64 },
    Payout { payout: i64 },
}

impl fmt::Display for Bearing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Block { block, height } => write!(f, "block {block} at {height}"),
            Self::Accrual { first, through } => write!(f, "accrual of the shares {first} to {through}"),
            Self::Payout { payout } => write!(f, "payout {payout}"),
        }
    }
}

/// Something on record that is not what the log and the rules give.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Difference {
    pub subject: Subject,
    /// `None` where it concerns the ledger as a whole.
    #[serde(flatten)]
    pub at: Option<Bearing>,
    /// `None` where it concerns no account; empty for the house.
    pub account: Option<String>,
    pub what: String,
    /// As computed.
    pub expected: String,
    /// As recorded.
    pub found: String,
}

impl Difference {
    pub(crate) fn new(
        subject: Subject,
        what: impl fmt::Display,
        expected: impl fmt::Display,
        found: impl fmt::Display,
    ) -> Self {
        let (expected, found) = (expected.to_string(), found.to_string());
        Self { subject, at: None, account: None, what: what.to_string(), expected, found }
    }

    pub(crate) fn of(self, account: &str) -> Self {
        Self { account: Some(account.to_owned()), ..self }
    }

    pub(crate) fn at(self, at: Bearing) -> Self {
        Self { at: Some(at), ..self }
    }
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.subject.label())?;
        if let Some(at) = self.at {
            write!(f, ", {at}")?;
        }
        match self.account.as_deref() {
            Some("") => f.write_str(", the house")?,
            Some(account) => write!(f, ", account {account}")?,
            None => {}
        }
        write!(f, ": {}: expected {}, found {}", self.what, self.expected, self.found)
    }
}

/// The first difference of a kind.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Finding {
    pub first: Difference,
    /// Of this kind, the first included.
    pub count: u64,
}

#[derive(Debug, Default)]
pub(crate) struct Findings(BTreeMap<Subject, Finding>);

impl Findings {
    pub(crate) fn add(&mut self, difference: Difference) {
        self.0
            .entry(difference.subject)
            .and_modify(|finding| finding.count += 1)
            .or_insert(Finding { first: difference, count: 1 });
    }

    pub(crate) fn into_list(self) -> Vec<Finding> {
        self.0.into_values().collect()
    }
}

/// The first key, in order, whose values differ; what one side lacks is `-`.
pub(crate) fn first_unequal<'a, V: PartialEq + fmt::Display>(
    expected: &'a BTreeMap<String, V>,
    found: &'a BTreeMap<String, V>,
) -> Option<(&'a str, String, String)> {
    let text = |value: Option<&V>| value.map_or_else(|| "-".to_owned(), V::to_string);
    let differs = |key: &&String| expected.get(*key) != found.get(*key);
    let key = expected.keys().find(differs).into_iter().chain(found.keys().find(differs)).min()?;
    Some((key, text(expected.get(key)), text(found.get(key))))
}
