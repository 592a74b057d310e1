//! Accounts and workers: name to number and back, in memory. Rows are written with the first share that needs them.

use std::collections::HashMap;

use sluice_core::ids::{AccountId, AccountName, WorkerId, WorkerName};

use crate::error::NamesFull;

/// The most accounts, and the most workers, in memory; beyond it a new login is refused. About 200 bytes each.
pub const NAMES_LIMIT: usize = 4_000_000;

/// A number without a name was given to a login that never sent a share before a restart.
#[derive(Debug, Default)]
pub(crate) struct Names {
    accounts: HashMap<Box<str>, AccountId>,
    account_names: Vec<Option<AccountName>>,
    workers: HashMap<(AccountId, WorkerName), WorkerId>,
    worker_names: Vec<Option<(AccountId, WorkerName)>>,
    addresses: HashMap<AccountId, String>,
}

/// Whether a name was there before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Interned<T> {
    Known(T),
    New(T),
}

impl<T> Interned<T> {
    pub(crate) fn id(self) -> T {
        match self {
            Self::Known(id) | Self::New(id) => id,
        }
    }
}

impl Names {
    pub(crate) fn account(&self, name: &str) -> Option<AccountId> {
        self.accounts.get(name).copied()
    }

    pub(crate) fn worker(&self, account: AccountId, name: &WorkerName) -> Option<WorkerId> {
        self.workers.get(&(account, name.clone())).copied()
    }

    pub(crate) fn intern_account(&mut self, name: &AccountName) -> Result<Interned<AccountId>, NamesFull> {
        if let Some(id) = self.account(name.as_str()) {
            return Ok(Interned::Known(id));
        }
        let id = AccountId(next(self.account_names.len())?);
        self.put_account(id, name.clone());
        Ok(Interned::New(id))
    }

    pub(crate) fn intern_worker(
        &mut self,
        account: AccountId,
        name: &WorkerName,
    ) -> Result<Interned<WorkerId>, NamesFull> {
        if let Some(id) = self.worker(account, name) {
            return Ok(Interned::Known(id));
        }
        let id = WorkerId(next(self.worker_names.len())?);
        self.put_worker(id, account, name.clone());
        Ok(Interned::New(id))
    }

    pub(crate) fn put_account(&mut self, id: AccountId, name: AccountName) {
        self.accounts.insert(name.as_str().into(), id);
        put(&mut self.account_names, id.0, name);
    }

    pub(crate) fn put_worker(&mut self, id: WorkerId, account: AccountId, name: WorkerName) {
        self.workers.insert((account, name.clone()), id);
        put(&mut self.worker_names, id.0, (account, name));
    }

    pub(crate) fn account_name(&self, id: u32) -> Option<&AccountName> {
        self.account_names.get(id as usize)?.as_ref()
    }

    pub(crate) fn worker_name(&self, id: u32) -> Option<(AccountId, &WorkerName)> {
        self.worker_names.get(id as usize)?.as_ref().map(|(account, name)| (*account, name))
    }

    /// The account of each worker from `start` on; `None` where the number has no name.
    pub(crate) fn accounts_of_workers(&self, start: usize) -> impl Iterator<Item = Option<u32>> {
        self.worker_names.iter().skip(start).map(|slot| slot.as_ref().map(|(account, _)| account.0))
    }

    pub(crate) fn address(&self, account: AccountId) -> Option<&str> {
        self.addresses.get(&account).map(String::as_str)
    }

    pub(crate) fn put_address(&mut self, account: AccountId, address: String) {
        self.addresses.insert(account, address);
    }
}

fn next(length: usize) -> Result<u32, NamesFull> {
    let full = NamesFull { limit: NAMES_LIMIT };
    if length < NAMES_LIMIT { u32::try_from(length).map_err(|_| full) } else { Err(full) }
}

fn put<T>(list: &mut Vec<Option<T>>, id: u32, value: T) {
    let index = id as usize;
    if index >= list.len() {
        list.resize_with(index + 1, || None);
    }
    list[index] = Some(value);
}
