//! What the rest of the program holds of a node, real or simulated.

use std::sync::Arc;
use std::time::Duration;

use sluice_core::template::Template;
use tokio::sync::{mpsc, watch};

use crate::health::ChainHealth;
use crate::place::{Chainsight, Places};
use crate::sink::BlockSink;

/// How long [`NodeHandle::shutdown`] waits for its threads: longer than a connect may take.
const SHUTDOWN_LIMIT: Duration = Duration::from_secs(8);

/// Tells threads to end.
pub(crate) type Stop = Box<dyn Fn() + Send + Sync>;

/// Threads that end when this is dropped.
pub(crate) struct Crew {
    pub(crate) stop: Stop,
    /// Every thread holds the sender; it is closed when the last one has ended.
    pub(crate) ended: mpsc::Receiver<()>,
}

impl Drop for Crew {
    fn drop(&mut self) {
        (self.stop)();
    }
}

/// Templates in, blocks out. Dropping it ends the threads behind it.
pub struct NodeHandle {
    pub(crate) templates: watch::Receiver<Option<Arc<Template>>>,
    pub(crate) health: watch::Receiver<ChainHealth>,
    pub(crate) sinks: Vec<Arc<dyn BlockSink>>,
    pub(crate) sights: Arc<[Arc<dyn Chainsight>]>,
    pub(crate) crew: Crew,
}

impl NodeHandle {
    /// The template to work on; `None` until the first one comes. It stands while nodes are away.
    pub fn templates(&self) -> watch::Receiver<Option<Arc<Template>>> {
        self.templates.clone()
    }

    pub fn health(&self) -> watch::Receiver<ChainHealth> {
        self.health.clone()
    }

    /// Where blocks go: every node, in order of preference. For [`crate::BlockStore::open`].
    pub fn sinks(&self) -> Vec<Arc<dyn BlockSink>> {
        self.sinks.clone()
    }

    /// Whom to ask where a block is. Fails once this handle is gone.
    pub fn places(&self) -> Places {
        Places { nodes: Arc::clone(&self.sights), health: self.health.clone() }
    }

    /// Ends the threads and waits for them, at most a few seconds.
    pub async fn shutdown(mut self) {
        (self.crew.stop)();
        if tokio::time::timeout(SHUTDOWN_LIMIT, self.crew.ended.recv()).await.is_err() {
            tracing::warn!("a node thread has not ended in time");
        }
    }
}

impl std::fmt::Debug for NodeHandle {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("NodeHandle").field("health", &*self.health.borrow()).finish_non_exhaustive()
    }
}
