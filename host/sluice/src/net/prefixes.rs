//! The extranonce prefixes of all connections, and how many each protocol may hold.

use std::sync::{Mutex, PoisonError};

use sluice_core::extranonce::{Extranonces, Parked, Reservation, ResumeToken};
use sluice_core::ids::Protocol;
use sluice_core::units::Moment;

/// Gives prefixes to channels. One for the process: no two channels have the same, whatever they speak.
#[derive(Debug)]
pub struct Prefixes {
    inner: Mutex<Inner>,
    /// Channels of a protocol, on all connections together (M-8).
    limits: [usize; Protocol::ALL.len()],
}

#[derive(Debug)]
struct Inner {
    pool: Extranonces,
    live: [usize; Protocol::ALL.len()],
}

impl Prefixes {
    /// `limit`: how many channels a protocol may have.
    pub fn new(pool: Extranonces, limit: impl Fn(Protocol) -> usize) -> Self {
        let live = [0; Protocol::ALL.len()];
        Self { inner: Mutex::new(Inner { pool, live }), limits: Protocol::ALL.map(limit) }
    }

    /// See [`Extranonces::reserve`]. `None` also where the protocol has as many channels as it may.
    pub fn reserve(
        &self,
        protocol: Protocol,
        resume: Option<ResumeToken>,
        fresh: ResumeToken,
        now: Moment,
    ) -> Option<Reservation> {
        let place = place(protocol);
        let mut inner = self.lock();
        if inner.live[place] >= self.limits[place] {
            return None;
        }
        let reservation = inner.pool.reserve(resume, fresh, now)?;
        inner.live[place] += 1;
        Some(reservation)
    }

    /// Takes back what channels of `protocol` held. See [`Extranonces::park`].
    pub fn park(&self, protocol: Protocol, parked: Vec<Parked>, now: Moment) {
        let place = place(protocol);
        let mut inner = self.lock();
        for parked in parked {
            inner.live[place] = inner.live[place].saturating_sub(1);
            inner.pool.park(parked, now);
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// In the order of [`Protocol::ALL`].
const fn place(protocol: Protocol) -> usize {
    match protocol {
        Protocol::StratumV1 => 0,
        Protocol::StratumV2 => 1,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_protocol_has_a_quota_of_its_own() {
        // M-8
        let limit = |protocol| if protocol == Protocol::StratumV2 { 2 } else { 3 };
        let prefixes = Prefixes::new(Extranonces::new(0), limit);
        let reserve = |protocol| {
            let reservation = prefixes.reserve(protocol, None, ResumeToken([1; 16]), Moment(0));
            reservation.map(|reservation| Parked { prefix: reservation.prefix, resume: None })
        };
        let mut first: Vec<Parked> = (0..4).filter_map(|_| reserve(Protocol::StratumV1)).collect();
        let second: Vec<Parked> = (0..4).filter_map(|_| reserve(Protocol::StratumV2)).collect();
        assert_eq!((first.len(), second.len()), (3, 2));
        prefixes.park(Protocol::StratumV1, vec![first.remove(0)], Moment(1));
        assert!(reserve(Protocol::StratumV2).is_none(), "another protocol's place");
        assert!(reserve(Protocol::StratumV1).is_some());
        prefixes.park(Protocol::StratumV2, second, Moment(1));
        assert!(reserve(Protocol::StratumV2).is_some());
    }
}
