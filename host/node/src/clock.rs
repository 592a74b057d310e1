//! The one place where this crate reads the wall clock.

use std::time::{SystemTime, UNIX_EPOCH};

use sluice_core::units::Timestamp;

/// Now; the epoch itself if the clock stands before it.
pub(crate) fn now() -> Timestamp {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Timestamp(u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
}
