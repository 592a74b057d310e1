//! Login to account and worker: interface `auth`.

mod limits;

pub use limits::Limits;

use crate::lookup::Lookup;
use crate::{Client, Policy};

/// A login as the miner sent it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Login {
    pub username: String,
    pub password: Option<String>,
    pub client: Client,
}

/// Who a login is.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Grant {
    pub account: String,
    pub worker: String,
    pub payout_address: Option<String>,
    pub start_difficulty: Option<f64>,
    pub minimum_difficulty: Option<f64>,
    pub maximum_difficulty: Option<f64>,
}

/// Why a login is not welcome.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refusal {
    UnknownUser(String),
    WrongPassword(String),
    Forbidden(String),
    TryLater(String),
}

/// Asked once per login.
pub trait AuthPolicy: Policy {
    /// # Errors
    /// The login is refused.
    fn authorize(&self, login: &Login) -> Result<Grant, Refusal>;
}

/// The same, with a service that it may ask. Exported with [`crate::export_auth_lookup`].
pub trait AuthLookupPolicy: Policy {
    /// # Errors
    /// The login is refused.
    fn authorize(&self, login: &Login, lookup: &dyn Lookup) -> Result<Grant, Refusal>;
}

/// The longest worker name that the host takes, in bytes.
pub const WORKER_LIMIT: usize = 128;
/// The longest account name that the host takes, in bytes.
pub const ACCOUNT_LIMIT: usize = 128;

/// Account and worker of a username: `ACCOUNT[.WORKER]`, split at the first dot (V1-18). The worker is made into a name
/// that the host takes: what is not allowed becomes `_`, what is too long is cut. A miner must not be refused for it.
pub fn split_username(username: &str) -> (&str, String) {
    let username = username.trim();
    let (account, worker) = username.split_once('.').unwrap_or((username, ""));
    (account, worker.chars().take(WORKER_LIMIT).map(|c| if is_name_char(c) { c } else { '_' }).collect())
}

/// Whether the host takes this as the name of an account.
pub fn is_account_name(name: &str) -> bool {
    !name.is_empty() && name.len() <= ACCOUNT_LIMIT && name.chars().all(is_name_char)
}

fn is_name_char(c: char) -> bool {
    matches!(c, ' '..='~') && !matches!(c, '"' | '\'' | '\\' | '<' | '>' | '&')
}

#[cfg(test)]
mod tests;
