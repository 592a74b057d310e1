//! A job as `mining.notify` (V1-49), written once for all connections that share its coinbase.

use std::sync::Arc;

use bitcoin::hashes::Hash;
use sluice_core::job::Job;

use crate::hex;

/// A job and its line. The last parameter is all that differs between connections.
#[derive(Debug)]
pub struct Announcement {
    job: Arc<Job>,
    /// The line up to `clean_jobs`.
    head: Box<[u8]>,
}

impl Announcement {
    /// Serialises the line, once.
    pub fn new(job: Arc<Job>) -> Self {
        let head = head(&job).into_boxed_slice();
        Self { job, head }
    }

    pub fn job(&self) -> &Arc<Job> {
        &self.job
    }

    /// Appends the line; `clean` tells the miner to drop what it has (V1-53).
    pub fn write(&self, clean: Clean, out: &mut Vec<u8>) {
        let tail: &[u8] = match clean {
            Clean::Drop => b"true]}\n",
            Clean::Keep => b"false]}\n",
        };
        out.reserve(self.head.len() + tail.len());
        out.extend_from_slice(&self.head);
        out.extend_from_slice(tail);
    }
}

/// What the miner is to do with older jobs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Clean {
    Drop,
    Keep,
}

fn head(job: &Job) -> Vec<u8> {
    let template = &job.work.template;
    let mut out = Vec::with_capacity(256 + 2 * job.coinbase.len() + 67 * job.work.branch.len());
    out.extend_from_slice(br#"{"id":null,"method":"mining.notify","params":[""#);
    out.extend_from_slice(job.id.to_string().as_bytes());
    next(&mut out);
    // Eight words, each with its bytes reversed (V1-50).
    hex::write(
        template.previous.as_byte_array().chunks_exact(4).flat_map(|word| word.iter().rev().copied()),
        &mut out,
    );
    next(&mut out);
    hex::write(job.coinbase.prefix.iter().copied(), &mut out);
    next(&mut out);
    hex::write(job.coinbase.suffix.iter().copied(), &mut out);
    out.extend_from_slice(b"\",[");
    for (index, node) in job.work.branch.iter().enumerate() {
        out.extend_from_slice(if index == 0 { b"\"" } else { b",\"" });
        hex::write(*node, &mut out);
        out.push(b'"');
    }
    out.extend_from_slice(b"],\"");
    hex::write(job.work.version.to_be_bytes(), &mut out);
    next(&mut out);
    hex::write(template.bits.to_consensus().to_be_bytes(), &mut out);
    next(&mut out);
    hex::write(job.ntime.to_be_bytes(), &mut out);
    out.extend_from_slice(b"\",");
    out
}

/// Between two texts.
fn next(out: &mut Vec<u8>) {
    out.extend_from_slice(b"\",\"");
}
