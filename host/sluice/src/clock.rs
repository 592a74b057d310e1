//! The two clocks, read in one place.

use std::time::{Instant, SystemTime, UNIX_EPOCH};

use sluice_core::units::{Moment, Now, Timestamp};

/// Reads time for everything below, which takes it as an argument.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    start: Instant,
}

impl Clock {
    pub fn start() -> Self {
        Self { start: Instant::now() }
    }

    pub fn now(&self) -> Now {
        Now { moment: self.moment(), wall: wall() }
    }

    pub fn moment(&self) -> Moment {
        Moment(u64::try_from(self.start.elapsed().as_millis()).unwrap_or(u64::MAX))
    }

    /// The instant of a moment, for timers.
    pub fn instant(&self, moment: Moment) -> tokio::time::Instant {
        (self.start + std::time::Duration::from_millis(moment.0)).into()
    }
}

/// The wall clock; 0 before 1970.
pub fn wall() -> Timestamp {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Timestamp(u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
}
