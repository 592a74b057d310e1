//! Connections that are not through their preamble or their handshake: how many there may be, in all and from one
//! address (N-22).

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};

use crate::metrics::Refused;

/// One address may have this part of the places, and always one.
const PART_OF_AN_ADDRESS: usize = 4;

/// The places of one listener.
#[derive(Debug)]
pub struct Handshakes {
    limit: usize,
    taken: Mutex<Taken>,
}

#[derive(Debug, Default)]
struct Taken {
    all: usize,
    /// Of those whose address counts; no more entries than places.
    by_address: HashMap<IpAddr, usize>,
}

/// A place, given back when dropped.
#[derive(Debug)]
pub struct Place {
    handshakes: Arc<Handshakes>,
    /// For whom it counts, where that is known and matters.
    address: Option<IpAddr>,
}

impl Handshakes {
    pub fn new(limit: usize) -> Arc<Self> {
        Arc::new(Self { limit, taken: Mutex::default() })
    }

    /// A place for somebody whose address is not known yet, or does not count.
    ///
    /// # Errors
    /// All are taken.
    pub fn enter(self: &Arc<Self>) -> Result<Place, Refused> {
        let mut taken = self.lock();
        if taken.all >= self.limit {
            return Err(Refused::Full);
        }
        taken.all += 1;
        Ok(Place { handshakes: Arc::clone(self), address: None })
    }

    fn limit_of_an_address(&self) -> usize {
        (self.limit / PART_OF_AN_ADDRESS).max(1)
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Taken> {
        self.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Place {
    /// From now on it counts for `address`.
    ///
    /// # Errors
    /// The address has as many as it may; the place is given back.
    pub fn of(mut self, address: IpAddr) -> Result<Self, Refused> {
        {
            let mut taken = self.handshakes.lock();
            let count = taken.by_address.entry(address).or_default();
            if *count >= self.handshakes.limit_of_an_address() {
                return Err(Refused::AddressLimit);
            }
            *count += 1;
        }
        self.address = Some(address);
        Ok(self)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut taken = self.handshakes.lock();
        taken.all = taken.all.saturating_sub(1);
        let Some(address) = self.address else { return };
        if let Some(count) = taken.by_address.get_mut(&address) {
            *count = count.saturating_sub(1);
            if *count == 0 {
                taken.by_address.remove(&address);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HERE: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 1));
    const THERE: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 2));

    #[test]
    fn one_address_has_a_quarter_and_all_have_what_there_is() {
        // N-22
        let handshakes = Handshakes::new(8);
        let enter = |address| handshakes.enter().and_then(|place| place.of(address));
        let mut held: Vec<Place> = (0..2).map(|_| enter(HERE).unwrap()).collect();
        assert_eq!(enter(HERE).unwrap_err(), Refused::AddressLimit);
        held.push(enter(THERE).unwrap());
        held.extend((0..5).map(|_| handshakes.enter().unwrap()));
        assert_eq!(enter(THERE).unwrap_err(), Refused::Full);
        drop(held.remove(0));
        assert!(enter(HERE).is_ok(), "a place is given back");
        drop(held);
        let taken = handshakes.lock();
        assert_eq!((taken.all, taken.by_address.len()), (0, 0), "nothing is remembered");
    }

    #[test]
    fn everybody_may_have_one() {
        let handshakes = Handshakes::new(2);
        let _first = handshakes.enter().unwrap().of(HERE).unwrap();
        assert_eq!(handshakes.enter().unwrap().of(HERE).unwrap_err(), Refused::AddressLimit);
        assert!(handshakes.enter().unwrap().of(THERE).is_ok());
    }
}
