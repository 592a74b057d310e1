//! Login to account and worker.

use serde::{Deserialize, Serialize};

use crate::ids::{AccountName, WorkerName};
use crate::units::Difficulty;

use super::{Client, PolicyFailure};

/// A login as the miner sent it.
#[derive(Clone, Debug, PartialEq)]
pub struct Login {
    /// SV1 username or SV2 user_identity.
    pub username: String,
    /// SV1 only.
    pub password: Option<String>,
    pub client: Client,
}

/// Who a login is, checked.
#[derive(Clone, Debug, PartialEq)]
pub struct Grant {
    pub account: AccountName,
    pub worker: WorkerName,
    /// Where this account is paid, if the login says so; valid on the pool's network.
    pub payout_address: Option<bitcoin::Address>,
    pub start: Option<Difficulty>,
    pub minimum: Option<Difficulty>,
    pub maximum: Option<Difficulty>,
}

/// Why a login is not welcome. The text is printable and at most 200 bytes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Refusal {
    UnknownUser(String),
    WrongPassword(String),
    Forbidden(String),
    /// Not the miner's fault; what a failing policy comes to.
    TryLater(String),
}

impl Refusal {
    pub fn text(&self) -> &str {
        match self {
            Self::UnknownUser(text)
            | Self::WrongPassword(text)
            | Self::Forbidden(text)
            | Self::TryLater(text) => text,
        }
    }
}

/// Asked once per login.
pub trait AuthPolicy: Send {
    /// # Errors
    /// [`PolicyFailure`] where no decision came about; the host refuses the login for now.
    fn authorize(&mut self, login: &Login) -> Result<Result<Grant, Refusal>, PolicyFailure>;
}
