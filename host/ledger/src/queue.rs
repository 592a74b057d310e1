//! What waits for the writer: shares in order, the rows they need, and jobs between them.

use std::collections::{BTreeMap, HashMap};
use std::mem;

use sluice_core::bitcoin::hashes::Hash;
use sluice_core::ids::{AccountId, AccountName, Protocol, ShareSeq, TemplateId, WorkerId, WorkerName};
use sluice_core::share::ShareRecord;
use sluice_core::units::Timestamp;

use crate::error::{AppendError, Stopped};
use crate::job::Job;
use crate::templates::{TemplateFacts, TemplateRow, Templates};

/// Jobs (blocks, states, settlements) that may wait; a caller beyond it waits.
pub(crate) const JOBS_LIMIT: usize = 256;

/// Bytes of a share's hash that the log keeps.
pub(crate) const HASH_BYTES: usize = 16;

/// A share as it waits: 48 bytes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct LoggedShare {
    pub(crate) at: u64,
    pub(crate) difficulty: f64,
    pub(crate) hash: [u8; HASH_BYTES],
    pub(crate) worker: u32,
    pub(crate) account: u32,
    pub(crate) template: u32,
    pub(crate) protocol: Protocol,
}

/// A row that has to be there before what follows it.
#[derive(Debug)]
pub(crate) enum NameRow {
    Account(AccountId, AccountName),
    Worker(WorkerId, AccountId, WorkerName),
    Template(TemplateRow),
}

/// What one round of the writer takes.
#[derive(Default)]
pub(crate) struct Batch {
    pub(crate) rows: Vec<NameRow>,
    pub(crate) addresses: BTreeMap<AccountId, (String, Timestamp)>,
    pub(crate) shares: Vec<LoggedShare>,
    /// Each with the number of this batch's shares that go before it.
    pub(crate) jobs: Vec<(usize, Box<dyn Job>)>,
}

impl Batch {
    fn is_empty(&self) -> bool {
        self.rows.is_empty() && self.addresses.is_empty() && self.shares.is_empty() && self.jobs.is_empty()
    }
}

/// What became of an attempt to queue.
pub(crate) enum Push<T> {
    Queued(T),
    Full,
}

enum WorkerSlot {
    /// A number that nobody holds.
    Empty,
    Unwritten(AccountId, WorkerName),
    Written(AccountId),
}

#[derive(Debug)]
struct UnwrittenAccount {
    name: AccountName,
    address: Option<(String, Timestamp)>,
}

/// Guarded by one mutex that is held for the time of a copy.
pub(crate) struct Queue {
    waiting: Batch,
    limit: usize,
    workers: Vec<WorkerSlot>,
    unwritten_accounts: HashMap<AccountId, UnwrittenAccount>,
    templates: Templates,
    last: ShareSeq,
    last_at: u64,
    /// The writer sleeps and wants to be woken.
    idle: bool,
    stopping: bool,
}

/// Where a log goes on.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Resume {
    pub(crate) last: ShareSeq,
    pub(crate) last_at: u64,
    pub(crate) last_template: u32,
}

impl Queue {
    pub(crate) fn new(limit: usize, resume: Resume) -> Self {
        Self {
            waiting: Batch::default(),
            limit,
            workers: Vec::new(),
            unwritten_accounts: HashMap::new(),
            templates: Templates::new(resume.last_template),
            last: resume.last,
            last_at: resume.last_at,
            idle: false,
            stopping: false,
        }
    }

    pub(crate) fn add_account(&mut self, id: AccountId, name: AccountName) {
        self.unwritten_accounts.insert(id, UnwrittenAccount { name, address: None });
    }

    pub(crate) fn add_worker(&mut self, id: WorkerId, account: AccountId, name: WorkerName) {
        self.put_worker(id, WorkerSlot::Unwritten(account, name));
    }

    pub(crate) fn add_written_worker(&mut self, id: WorkerId, account: AccountId) {
        self.put_worker(id, WorkerSlot::Written(account));
    }

    fn put_worker(&mut self, id: WorkerId, slot: WorkerSlot) {
        let index = id.0 as usize;
        if index >= self.workers.len() {
            self.workers.resize_with(index + 1, || WorkerSlot::Empty);
        }
        self.workers[index] = slot;
    }

    pub(crate) fn put_address(&mut self, account: AccountId, address: String, at: Timestamp) {
        match self.unwritten_accounts.get_mut(&account) {
            Some(unwritten) => unwritten.address = Some((address, at)),
            None => {
                self.waiting.addresses.insert(account, (address, at));
            }
        }
    }

    pub(crate) fn announce(&mut self, facts: TemplateFacts) {
        self.templates.announce(facts);
    }

    pub(crate) fn template_facts(&self, id: TemplateId) -> Option<TemplateFacts> {
        self.templates.facts(id)
    }

    /// The row of a template, which is queued if it was not.
    pub(crate) fn template_row(&mut self, id: TemplateId) -> u32 {
        let (row, new) = self.templates.row(id);
        self.waiting.rows.extend(new.map(NameRow::Template));
        row
    }

    /// The worker's account; the rows of both are queued if they were not.
    pub(crate) fn touch_worker(&mut self, id: WorkerId) -> Option<AccountId> {
        let slot = self.workers.get_mut(id.0 as usize)?;
        let account = match slot {
            WorkerSlot::Empty => return None,
            WorkerSlot::Written(account) => return Some(*account),
            WorkerSlot::Unwritten(account, _) => *account,
        };
        let WorkerSlot::Unwritten(_, name) = mem::replace(slot, WorkerSlot::Written(account)) else {
            return None;
        };
        self.touch_account(account);
        self.waiting.rows.push(NameRow::Worker(id, account, name));
        Some(account)
    }

    pub(crate) fn touch_account(&mut self, id: AccountId) {
        let Some(UnwrittenAccount { name, address }) = self.unwritten_accounts.remove(&id) else { return };
        self.waiting.rows.push(NameRow::Account(id, name));
        self.waiting.addresses.extend(address.map(|address| (id, address)));
    }

    /// Queues all of `shares` or none. An empty queue takes any number, so that nobody waits for ever.
    pub(crate) fn push_shares(&mut self, shares: &[ShareRecord]) -> Result<Push<ShareSeq>, AppendError> {
        if self.stopping {
            return Err(Stopped.into());
        }
        let queued = self.waiting.shares.len();
        if queued > 0 && queued + shares.len() > self.limit {
            return Ok(Push::Full);
        }
        for share in shares {
            if let Err(error) = self.push_share(share) {
                self.waiting.shares.truncate(queued);
                return Err(error);
            }
        }
        self.last.0 += shares.len() as u64;
        Ok(Push::Queued(self.last))
    }

    fn push_share(&mut self, share: &ShareRecord) -> Result<(), AppendError> {
        let account = self.touch_worker(share.worker).ok_or(AppendError::UnknownWorker(share.worker))?;
        let template = self.template_row(share.template);
        // The log's time never runs backwards, so that a window of time is a suffix of the log.
        self.last_at = self.last_at.max(share.at.0);
        let mut hash = [0; HASH_BYTES];
        hash.copy_from_slice(&share.hash.as_byte_array()[..HASH_BYTES]);
        self.waiting.shares.push(LoggedShare {
            at: self.last_at,
            difficulty: share.difficulty.get(),
            hash,
            worker: share.worker.0,
            account: account.0,
            template,
            protocol: share.protocol,
        });
        Ok(())
    }

    /// A job that runs after all shares queued so far are committed.
    pub(crate) fn push_job(&mut self, job: &mut Option<Box<dyn Job>>) -> Result<Push<()>, Stopped> {
        if self.stopping {
            return Err(Stopped);
        }
        if self.waiting.jobs.len() >= JOBS_LIMIT {
            return Ok(Push::Full);
        }
        self.waiting.jobs.extend(job.take().map(|job| (self.waiting.shares.len(), job)));
        Ok(Push::Queued(()))
    }

    /// Whether the writer slept; the caller wakes it.
    pub(crate) fn wake(&mut self) -> bool {
        mem::take(&mut self.idle)
    }

    pub(crate) fn stop(&mut self) {
        self.stopping = true;
    }

    pub(crate) fn stopping(&self) -> bool {
        self.stopping
    }

    /// Everything that waits, in exchange for an empty `spare`; `false` where nothing waits.
    pub(crate) fn take(&mut self, spare: &mut Batch) -> bool {
        self.idle = self.waiting.is_empty();
        if !self.idle {
            mem::swap(&mut self.waiting, spare);
        }
        !self.idle
    }
}
