//! Where the work of a connection comes from: the board's lines that the accounts of its channels are on.

use std::collections::HashMap;
use std::sync::Arc;

use sluice_core::ids::AccountName;
use tokio::sync::watch::error::RecvError;
use tokio::task::{AbortHandle, Id, JoinError, JoinSet};

use crate::jobs::{Board, Class, Coinbase, Posting, Published};

/// The lines of one connection. It is on each only once, however many accounts share it.
#[derive(Default)]
pub(super) enum Supplies {
    /// No channel is ready for work.
    #[default]
    Nothing,
    /// Every channel works for one account: SV1, and most of SV2.
    One {
        account: AccountName,
        posting: Posting,
        coinbase: Coinbase,
    },
    Several(Box<Several>),
}

/// What a line says.
pub(super) enum News {
    Work(Arc<Published>),
    /// A line was closed: another plan. All are to be renewed.
    NewPlan,
}

/// What an account finds on its line.
struct Joined {
    present: Option<Arc<Published>>,
    /// Nobody of the connection was on the line before.
    is_new: bool,
}

impl Supplies {
    pub(super) fn is_nothing(&self) -> bool {
        matches!(self, Self::Nothing)
    }

    /// Takes the account on, with the coinbases of a class: the connection's only one. Returns the work that is there for it now.
    pub(super) async fn begin(
        &mut self,
        line: (&Board, Class),
        account: AccountName,
    ) -> Option<Arc<Published>> {
        self.join(line, account).await.present
    }

    /// Nobody works for the account any more.
    pub(super) fn end(&mut self, account: &AccountName) {
        let is_over = match self {
            Self::Nothing => false,
            Self::One { account: only, .. } => only == account,
            Self::Several(several) => {
                several.leave(account);
                several.accounts.is_empty()
            }
        };
        if is_over {
            *self = Self::Nothing;
        }
    }

    /// Goes to the board again for every account. Returns what is on the new lines.
    pub(super) async fn renew(&mut self, line: (&Board, Class)) -> Vec<Arc<Published>> {
        let accounts: Vec<AccountName> = match std::mem::take(self) {
            Self::Nothing => Vec::new(),
            Self::One { account, .. } => vec![account],
            Self::Several(several) => several.accounts.into_keys().collect(),
        };
        let mut present = Vec::new();
        for account in accounts {
            let joined = self.join(line, account).await;
            present.extend(joined.present.filter(|_| joined.is_new));
        }
        present
    }

    /// Waits for other work; for ever while there is no line.
    pub(super) async fn news(&mut self) -> News {
        match self {
            Self::Nothing => std::future::pending().await,
            Self::One { posting, .. } => changed(posting).await,
            // Boxed: only few connections need the room.
            Self::Several(several) => Box::pin(several.news()).await,
        }
    }

    async fn join(&mut self, (board, class): (&Board, Class), account: AccountName) -> Joined {
        if let Some(posting) = self.posting(&account) {
            return Joined { present: posting.borrow().clone(), is_new: false };
        }
        let (mut posting, coinbase) = board.subscribe(&account, class);
        let present = posting.borrow_and_update().clone();
        let is_new = match self {
            Self::Nothing => {
                *self = Self::One { account, posting, coinbase };
                true
            }
            Self::One { .. } => {
                let mut several = Box::new(Several::default());
                if let Self::One { account, posting, coinbase } = std::mem::take(self) {
                    several.join(account, posting, coinbase);
                }
                let is_new = several.join(account, posting, coinbase);
                *self = Self::Several(several);
                is_new
            }
            Self::Several(several) => several.join(account, posting, coinbase),
        };
        Joined { present, is_new }
    }

    /// The line of an account that is on one.
    fn posting(&self, account: &AccountName) -> Option<&Posting> {
        match self {
            Self::Nothing => None,
            Self::One { account: only, posting, .. } => (only == account).then_some(posting),
            Self::Several(several) => several.posting(account),
        }
    }
}

/// The lines of a connection whose channels work for several accounts.
#[derive(Default)]
pub(super) struct Several {
    accounts: HashMap<AccountName, Source>,
    everybodys: Option<Everybodys>,
    /// A task for each line of one account: what happens on one costs nothing for the others.
    watchers: JoinSet<Seen>,
}

/// What a watcher has seen on whose line: a change, or its end.
type Seen = (AccountName, Result<(), RecvError>);

struct Everybodys {
    posting: Posting,
    /// Accounts on it.
    users: usize,
}

/// Where an account's work comes from.
enum Source {
    Everybodys,
    Own { posting: Posting, watcher: AbortHandle },
}

impl Several {
    /// Returns whether the line is new to the connection.
    fn join(&mut self, account: AccountName, posting: Posting, coinbase: Coinbase) -> bool {
        match (coinbase, &mut self.everybodys) {
            (Coinbase::Own, _) => {
                let watcher = self.watch(account.clone(), posting.clone());
                self.accounts.insert(account, Source::Own { posting, watcher });
                true
            }
            (Coinbase::Everybodys, known) => {
                self.accounts.insert(account, Source::Everybodys);
                let is_new = known.is_none();
                known.get_or_insert(Everybodys { posting, users: 0 }).users += 1;
                is_new
            }
        }
    }

    fn leave(&mut self, account: &AccountName) {
        match self.accounts.remove(account) {
            None => {}
            Some(Source::Own { watcher, .. }) => watcher.abort(),
            Some(Source::Everybodys) => {
                self.everybodys = self.everybodys.take().and_then(|Everybodys { posting, users }| {
                    let users = users.checked_sub(1).filter(|users| *users > 0)?;
                    Some(Everybodys { posting, users })
                });
            }
        }
    }

    fn posting(&self, account: &AccountName) -> Option<&Posting> {
        match self.accounts.get(account)? {
            Source::Own { posting, .. } => Some(posting),
            Source::Everybodys => self.everybodys.as_ref().map(|line| &line.posting),
        }
    }

    /// Watches for the next change.
    fn watch(&mut self, account: AccountName, mut posting: Posting) -> AbortHandle {
        self.watchers.spawn(async move {
            let changed = posting.changed().await;
            (account, changed)
        })
    }

    async fn news(&mut self) -> News {
        loop {
            let everybodys = async {
                match &mut self.everybodys {
                    Some(line) => changed(&mut line.posting).await,
                    None => std::future::pending().await,
                }
            };
            let woken = tokio::select! {
                biased;
                news = everybodys => return news,
                Some(woken) = self.watchers.join_next_with_id() => woken,
            };
            if let Some(news) = self.on_woken(woken) {
                return news;
            }
        }
    }

    /// A watcher has ended. `None`: it was the watcher of an account that has left meanwhile.
    fn on_woken(&mut self, woken: Result<(Id, Seen), JoinError>) -> Option<News> {
        // Aborted: the account has left. It cannot panic.
        let (id, (account, changed)) = woken.ok()?;
        let mut posting = match self.accounts.get(&account)? {
            Source::Own { posting, watcher } if watcher.id() == id => posting.clone(),
            _ => return None,
        };
        if changed.is_err() {
            return Some(News::NewPlan);
        }
        let published = posting.borrow_and_update().clone();
        let watcher = self.watch(account.clone(), posting.clone());
        self.accounts.insert(account, Source::Own { posting, watcher });
        published.map(News::Work)
    }
}

async fn changed(posting: &mut Posting) -> News {
    loop {
        if posting.changed().await.is_err() {
            return News::NewPlan;
        }
        if let Some(published) = posting.borrow_and_update().clone() {
            return News::Work(published);
        }
    }
}

#[cfg(test)]
mod tests;
