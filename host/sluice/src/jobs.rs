//! Work for every connection, made once for all who share a coinbase.
//!
//! A new template becomes [`Work`](sluice_core::job::Work); the payout policy says what its coinbase pays, which is fitted
//! into the room that each class of miners has; a [`Job`] is made and published on a watch that connections hold
//! ([`board`]). Where the split depends on the finder (solo) each account has a coinbase of its own.

pub(crate) mod board;
mod classes;
mod keeper;
mod preview;
mod split;

use std::sync::Arc;

use sluice_core::job::Job;
use sluice_stratum_v1::Announcement;
use sluice_stratum_v2::Broadcast;
use sluice_stratum_v2::messages::TailError;
use tokio::sync::watch;
use tokio::time::Instant;

pub use board::{Board, BoardConfig, Coinbase};
pub use classes::{Class, Classes};
pub use keeper::keep;
pub use preview::Preview;
pub use split::{Splitter, SplitterConfig};

/// A job, and the form in which each protocol sends it: one field for each, picked by [`crate::net::connection::Pick`].
#[derive(Debug)]
pub struct Published {
    pub job: Arc<Job>,
    pub stratum_v1: Arc<Announcement>,
    pub stratum_v2: Arc<Broadcast>,
    /// When it was put on the board, to measure the fan-out.
    pub at: Instant,
}

impl Published {
    /// Encodes the job for each protocol, once.
    fn new(job: Job) -> Result<Self, TailError> {
        let job = Arc::new(job);
        let stratum_v1 = Arc::new(Announcement::new(Arc::clone(&job)));
        let stratum_v2 = Arc::new(Broadcast::new(Arc::clone(&job))?);
        Ok(Self { job, stratum_v1, stratum_v2, at: Instant::now() })
    }
}

/// Work as one coinbase sees it; `None` until the first job is made.
pub type Posting = watch::Receiver<Option<Arc<Published>>>;
