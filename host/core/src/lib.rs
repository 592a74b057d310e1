//! What a mining pool decides, without anything a pool talks to.
//!
//! Reading order: [`units`] and [`ids`] are the vocabulary; [`template`] is what a node hands in; [`job`] makes
//! work of it ([`coinbase`], [`merkle`]); [`channel`] is a miner's side of it and judges what comes back ([`share`]);
//! [`policy`] is what the operator's plugins are asked and how their answers are checked; [`session`] is the seam
//! between a protocol's state machine and the driver that runs it.
//!
//! Pure: no socket, file, clock or randomness. Time and entropy are arguments.

pub mod base64;
pub mod channel;
pub mod coinbase;
pub mod extranonce;
pub mod ids;
pub mod job;
pub mod merkle;
pub mod policy;
pub mod session;
pub mod sha;
pub mod share;
pub mod template;
pub mod units;

pub use bitcoin;
