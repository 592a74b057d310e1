//! Who may connect (V1-82): limits in all and by address, bans that expire.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use sluice_core::units::Moment;

use crate::config::address_range::AddressRange;
use crate::metrics::Refused;

/// The most addresses remembered; beyond it those without connections and bans are forgotten, then newcomers refused.
const ADDRESSES_LIMIT: usize = 262_144;
/// Offences within [`OFFENCE_MEMORY`] that earn a ban.
const OFFENCES_TO_BAN: u32 = 3;
const OFFENCE_MEMORY: Duration = Duration::from_secs(600);
const MINUTE: Duration = Duration::from_secs(60);

#[derive(Clone, Debug)]
pub struct GateConfig {
    pub connections: usize,
    pub connections_per_address: usize,
    pub reconnects_per_minute: u32,
    pub ban: Duration,
    pub never_ban: Vec<AddressRange>,
}

#[derive(Debug, Default)]
struct Visitor {
    open: usize,
    /// Connects left in the bucket that refills by the minute.
    connects: u32,
    minute: Moment,
    offences: u32,
    last_offence: Moment,
    banned_until: Option<Moment>,
}

#[derive(Debug, Default)]
struct Visitors {
    open: usize,
    by_address: HashMap<IpAddr, Visitor>,
}

/// One for all listeners of a protocol.
#[derive(Debug)]
pub struct Gate {
    config: GateConfig,
    visitors: Mutex<Visitors>,
}

/// A connection's place; given back when dropped.
#[derive(Debug)]
pub struct Pass {
    gate: Arc<Gate>,
    address: IpAddr,
}

impl Gate {
    pub fn new(config: GateConfig) -> Arc<Self> {
        Arc::new(Self { config, visitors: Mutex::default() })
    }

    /// # Errors
    /// Why the connection is refused.
    pub fn enter(self: &Arc<Self>, address: IpAddr, now: Moment) -> Result<Pass, Refused> {
        let mut visitors = self.lock();
        if visitors.open >= self.config.connections {
            return Err(Refused::Full);
        }
        if visitors.by_address.len() >= ADDRESSES_LIMIT && !visitors.by_address.contains_key(&address) {
            visitors.by_address.retain(|_, visitor| visitor.open > 0 || visitor.is_banned(now));
            if visitors.by_address.len() >= ADDRESSES_LIMIT {
                return Err(Refused::Full);
            }
        }
        let visitor = visitors.by_address.entry(address).or_default();
        if !self.is_exempt(address) {
            visitor.check(&self.config, now)?;
        }
        visitor.open += 1;
        visitors.open += 1;
        Ok(Pass { gate: Arc::clone(self), address })
    }

    /// The address did what no miner does. Returns whether it is banned now; never where bans last no time.
    pub fn offence(&self, address: IpAddr, now: Moment) -> bool {
        if self.is_exempt(address) {
            return false;
        }
        let mut visitors = self.lock();
        let visitor = visitors.by_address.entry(address).or_default();
        let recent = now.since(visitor.last_offence) < OFFENCE_MEMORY;
        visitor.offences = if recent { visitor.offences + 1 } else { 1 };
        visitor.last_offence = now;
        let ban = visitor.offences >= OFFENCES_TO_BAN && !self.config.ban.is_zero();
        if ban {
            visitor.offences = 0;
            visitor.banned_until = Some(now.after(self.config.ban));
        }
        ban
    }

    fn is_exempt(&self, address: IpAddr) -> bool {
        self.config.never_ban.iter().any(|range| range.contains(address))
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Visitors> {
        self.visitors.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Visitor {
    fn is_banned(&self, now: Moment) -> bool {
        self.banned_until.is_some_and(|until| now < until)
    }

    fn check(&mut self, config: &GateConfig, now: Moment) -> Result<(), Refused> {
        if self.is_banned(now) {
            return Err(Refused::Banned);
        }
        if self.open >= config.connections_per_address {
            return Err(Refused::AddressLimit);
        }
        if self.minute == Moment::default() || now.since(self.minute) >= MINUTE {
            self.minute = Moment(now.0.max(1));
            self.connects = config.reconnects_per_minute;
        }
        self.connects = self.connects.checked_sub(1).ok_or(Refused::Reconnects)?;
        Ok(())
    }
}

impl Pass {
    pub fn address(&self) -> IpAddr {
        self.address
    }

    /// Whether nothing is limited by this address.
    pub fn is_exempt(&self) -> bool {
        self.gate.is_exempt(self.address)
    }

    /// See [`Gate::offence`].
    pub fn offence(&self, now: Moment) -> bool {
        self.gate.offence(self.address, now)
    }
}

impl Drop for Pass {
    fn drop(&mut self) {
        let mut visitors = self.gate.lock();
        visitors.open = visitors.open.saturating_sub(1);
        if let Some(visitor) = visitors.by_address.get_mut(&self.address) {
            visitor.open = visitor.open.saturating_sub(1);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn gate() -> Arc<Gate> {
        Gate::new(GateConfig {
            connections: 3,
            connections_per_address: 2,
            reconnects_per_minute: 4,
            ban: Duration::from_secs(30),
            never_ban: vec!["10.0.0.0/8".parse().unwrap()],
        })
    }

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn limits_in_all_and_by_address() {
        // V1-82
        let gate = gate();
        let a = ip("192.0.2.1");
        let first = gate.enter(a, Moment(1)).unwrap();
        let _second = gate.enter(a, Moment(1)).unwrap();
        assert_eq!(gate.enter(a, Moment(1)).unwrap_err(), Refused::AddressLimit);
        let _third = gate.enter(ip("192.0.2.2"), Moment(1)).unwrap();
        assert_eq!(gate.enter(ip("192.0.2.3"), Moment(1)).unwrap_err(), Refused::Full);
        drop(first);
        assert!(gate.enter(a, Moment(1)).is_ok(), "a place is given back");
    }

    #[test]
    fn reconnects_are_counted_by_the_minute() {
        let gate = gate();
        let a = ip("192.0.2.1");
        for _ in 0..4 {
            drop(gate.enter(a, Moment(5)).unwrap());
        }
        assert_eq!(gate.enter(a, Moment(6)).unwrap_err(), Refused::Reconnects);
        assert!(gate.enter(a, Moment(60_005)).is_ok());
    }

    #[test]
    fn bans_expire_and_spare_the_exempt() {
        let gate = gate();
        let a = ip("192.0.2.1");
        assert!(!gate.offence(a, Moment(1)));
        assert!(!gate.offence(a, Moment(2)));
        assert!(gate.offence(a, Moment(3)));
        assert_eq!(gate.enter(a, Moment(30_002)).unwrap_err(), Refused::Banned);
        assert!(gate.enter(a, Moment(30_003)).is_ok());
        for _ in 0..9 {
            assert!(!gate.offence(ip("10.1.1.1"), Moment(1)));
        }
    }
}
