//! What tests need of a node: a real one, a fake one, and a way to make blocks.

pub(crate) mod bitcoind;
pub(crate) mod fake;
pub(crate) mod mine;

use std::time::Duration;

use tokio::sync::watch;

/// Long enough for a busy machine; nothing waits this long when all is well.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// The first value that satisfies `wanted`.
pub(crate) async fn eventually<T: Clone>(
    watch: &mut watch::Receiver<T>,
    wanted: impl FnMut(&T) -> bool,
) -> T {
    tokio::time::timeout(PATIENCE, watch.wait_for(wanted))
        .await
        .expect("it happens in time")
        .expect("the node is still followed")
        .clone()
}
