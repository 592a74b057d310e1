//! A channel as its client knows it: its target, its place in the search space, its jobs.

use std::collections::HashMap;

use anyhow::{Context, Result, ensure};
use sluice_stratum_v2::messages::SetNewPrevHash;

use super::work::{Content, Job, Search};

/// The kinds of channels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Standard,
    Extended,
}

/// What SetNewPrevHash says.
#[derive(Clone, Copy, Debug)]
struct Tip {
    previous: [u8; 32],
    bits: u32,
}

/// A job before it is active.
#[derive(Clone, Debug)]
pub(super) struct Dormant {
    pub(super) version: u32,
    pub(super) content: Content,
}

/// A channel as its client knows it.
#[derive(Debug)]
pub struct Channel {
    pub id: u32,
    pub kind: Kind,
    pub group: u32,
    pub target: [u8; 32],
    pub extranonce_prefix: Vec<u8>,
    /// Bytes the client may fill.
    pub extranonce_size: usize,
    future: HashMap<u32, Dormant>,
    tip: Option<Tip>,
    job: Option<Job>,
    /// Extranonces that were searched.
    searched: u64,
    /// The nonces of a job that were searched, where there is nothing else to change.
    next_nonce: (u32, u32),
}

impl Channel {
    pub(super) fn new(
        id: u32,
        kind: Kind,
        group: u32,
        target: [u8; 32],
        (extranonce_prefix, extranonce_size): (Vec<u8>, usize),
    ) -> Self {
        Self {
            id,
            kind,
            group,
            target,
            extranonce_prefix,
            extranonce_size,
            future: HashMap::new(),
            tip: None,
            job: None,
            searched: 0,
            next_nonce: (0, 0),
        }
    }

    /// The newest job that is active.
    pub fn job(&self) -> Option<&Job> {
        self.job.as_ref()
    }

    /// Where nothing was searched before.
    pub(super) fn search(&mut self, job: &Job) -> Search {
        let counter = self.searched.to_be_bytes();
        self.searched += 1;
        let size = self.extranonce_size;
        let mut extranonce = vec![0; size.saturating_sub(8)];
        extranonce.extend_from_slice(&counter[8 - size.min(8)..]);
        let (searched, nonce) = self.next_nonce;
        let first_nonce = if size == 0 && searched == job.id { nonce } else { 0 };
        Search { extranonce, ntime: job.ntime, version: job.version, first_nonce }
    }

    /// The nonces of a job up to this one need not be searched again.
    pub(super) fn searched_to(&mut self, job: u32, nonce: u32) {
        self.next_nonce = (job, nonce.wrapping_add(1));
    }

    fn activate(&mut self, id: u32, dormant: Dormant, ntime: u32) -> Result<()> {
        let tip = self.tip.context("an active job before any SetNewPrevHash (M-35)")?;
        ensure!(self.job.as_ref().is_none_or(|job| job.id != id), "job {id} twice (M-30)");
        self.job = Some(Job {
            channel: self.id,
            id,
            version: dormant.version,
            previous: tip.previous,
            bits: tip.bits,
            ntime,
            target: self.target,
            content: dormant.content,
            extranonce_prefix: self.extranonce_prefix.clone(),
        });
        Ok(())
    }

    pub(super) fn learn(&mut self, id: u32, min_ntime: Option<u32>, dormant: Dormant) -> Result<()> {
        let Some(ntime) = min_ntime else {
            ensure!(self.future.insert(id, dormant).is_none(), "future job {id} twice (M-30)");
            return Ok(());
        };
        self.activate(id, dormant, ntime)
    }

    /// Only the job named is valid from now on (M-41).
    pub(super) fn set_tip(&mut self, set: &SetNewPrevHash) -> Result<()> {
        let dormant = self.future.remove(&set.job_id);
        let dormant = dormant.with_context(|| format!("no future job {} (M-40)", set.job_id))?;
        self.future.clear();
        self.tip = Some(Tip { previous: set.prev_hash, bits: set.nbits });
        self.activate(set.job_id, dormant, set.min_ntime)
    }
}
