//! What a connection is at any moment. A field exists only where it is true.

use std::sync::Arc;

use sluice_core::channel::Channel;
use sluice_core::channel::pacing::Pacing;
use sluice_core::extranonce::{Parked, ResumeToken};
use sluice_core::ids::{AccountId, AccountName, WorkerId, WorkerName};
use sluice_core::policy::auth::Grant;
use sluice_core::session::Admission;
use sluice_core::units::{Difficulty, Moment};

use crate::handshake::Asking;
use crate::notify::Announcement;

/// How far the handshake has come. Subscribe and authorize come in any order (V1-19).
#[expect(clippy::large_enum_variant, reason = "nearly all connections are working: a box would add to each")]
#[derive(Debug)]
pub(crate) enum Phase {
    Connected,
    Subscribed(Subscription),
    Authorized(Logins, Terms),
    Working(Working),
}

/// The connection's place in the search space, and what it was sent there.
#[derive(Debug)]
pub(crate) struct Subscription {
    pub(crate) token: ResumeToken,
    pub(crate) channel: Channel,
}

impl Subscription {
    pub(crate) fn park(self) -> Parked {
        let prefix = self.channel.extranonce().prefix();
        Parked { prefix, resume: Some((self.token, self.channel.into_sent_jobs())), used: true }
    }
}

/// Subscribed and authorised.
#[derive(Debug)]
pub(crate) struct Working {
    pub(crate) subscription: Subscription,
    pub(crate) logins: Logins,
    pub(crate) pacing: Pacing,
    pub(crate) supply: Supply,
    pub(crate) since: Moment,
    pub(crate) accepted: u32,
}

/// What the first login says about the channel that will open.
#[derive(Debug)]
pub(crate) struct Terms {
    pub(crate) start: Option<Difficulty>,
    pub(crate) minimum: Option<Difficulty>,
    pub(crate) maximum: Option<Difficulty>,
    pub(crate) password: Option<Box<str>>,
}

impl Terms {
    pub(crate) fn new(grant: &Grant, password: Option<Box<str>>) -> Self {
        Self { start: grant.start, minimum: grant.minimum, maximum: grant.maximum, password }
    }
}

/// The way of work to the miner.
#[derive(Debug)]
pub(crate) enum Supply {
    /// The vardiff policy has been asked where to start.
    Opening,
    Open {
        /// The newest work that was not sent (V1-39: it takes the newest difficulty with it).
        next: Option<Arc<Announcement>>,
        /// The difficulty the miner was told last. `None`: none yet, and no work either.
        told: Option<Difficulty>,
    },
}

impl Phase {
    pub(crate) fn subscription(&self) -> Option<&Subscription> {
        match self {
            Self::Connected | Self::Authorized(..) => None,
            Self::Subscribed(subscription) => Some(subscription),
            Self::Working(working) => Some(&working.subscription),
        }
    }

    pub(crate) fn subscription_mut(&mut self) -> Option<&mut Subscription> {
        match self {
            Self::Connected | Self::Authorized(..) => None,
            Self::Subscribed(subscription) => Some(subscription),
            Self::Working(working) => Some(&mut working.subscription),
        }
    }

    pub(crate) fn logins(&self) -> Option<&Logins> {
        match self {
            Self::Connected | Self::Subscribed(_) => None,
            Self::Authorized(logins, _) => Some(logins),
            Self::Working(working) => Some(&working.logins),
        }
    }

    pub(crate) fn logins_mut(&mut self) -> Option<&mut Logins> {
        match self {
            Self::Connected | Self::Subscribed(_) => None,
            Self::Authorized(logins, _) => Some(logins),
            Self::Working(working) => Some(&mut working.logins),
        }
    }

    pub(crate) fn working(&mut self) -> Option<&mut Working> {
        match self {
            Self::Working(working) => Some(working),
            _ => None,
        }
    }
}

/// A username that may submit, and to whom its shares go.
#[derive(Debug)]
pub(crate) struct Worker {
    username: Box<str>,
    account: AccountName,
    pub(crate) name: WorkerName,
    account_id: AccountId,
    worker_id: WorkerId,
}

/// Who may submit on a connection (V1-22): at least one; the first one's account owns the coinbase.
#[derive(Debug)]
pub(crate) struct Logins {
    first: Worker,
    others: Vec<Worker>,
}

impl Logins {
    pub(crate) fn new(username: &str, admission: Admission) -> Self {
        Self { first: Worker::new(username, admission), others: Vec::new() }
    }

    pub(crate) fn account(&self) -> &AccountName {
        &self.first.account
    }

    pub(crate) fn len(&self) -> usize {
        1 + self.others.len()
    }

    pub(crate) fn knows(&self, username: &str) -> bool {
        self.iter().any(|worker| *worker.username == *username)
    }

    /// Whether it is known who submits under `name` while somebody else logs in, whatever the answer to that will be.
    pub(crate) fn knows_beside(&self, asking: &Asking, name: &[u8]) -> bool {
        match self.find(name) {
            None => false,
            // Another worker of an account that is in may be the one who logs in.
            Some(worker) => worker.username.as_bytes() == name || !asking.is_login_of(name),
        }
    }

    /// Adds a worker, or replaces the one of that username.
    pub(crate) fn add(&mut self, username: &str, admission: Admission) {
        let worker = Worker::new(username, admission);
        if *self.first.username == *username {
            // The coinbase stays with the account that opened the channel.
            if self.first.account == worker.account {
                self.first = worker;
            }
        } else if let Some(known) = self.others.iter_mut().find(|known| *known.username == *username) {
            *known = worker;
        } else {
            self.others.push(worker);
        }
    }

    /// Who submits under `name`: an authorised username, or another worker of the same account (V1-72).
    pub(crate) fn find(&self, name: &[u8]) -> Option<&Worker> {
        if self.first.username.as_bytes() == name {
            return Some(&self.first);
        }
        let account = base(name);
        self.iter().find(|worker| worker.username.as_bytes() == name).or_else(|| {
            self.iter().find(|worker| {
                base(worker.username.as_bytes()) == account || worker.account.as_str().as_bytes() == account
            })
        })
    }

    /// Whose share it is when nobody else's.
    pub(crate) fn first(&self) -> &Worker {
        &self.first
    }

    fn iter(&self) -> impl Iterator<Item = &Worker> {
        std::iter::once(&self.first).chain(&self.others)
    }
}

impl Worker {
    /// The ledger's numbers for its shares.
    pub(crate) fn ids(&self) -> (AccountId, WorkerId) {
        (self.account_id, self.worker_id)
    }

    fn new(username: &str, admission: Admission) -> Self {
        Self {
            username: username.into(),
            account: admission.grant.account,
            name: admission.grant.worker,
            account_id: admission.account,
            worker_id: admission.worker,
        }
    }
}

/// Before the first dot (V1-18).
fn base(name: &[u8]) -> &[u8] {
    name.split(|byte| *byte == b'.').next().unwrap_or(name)
}
