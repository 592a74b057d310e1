//! The extranonce prefixes of all connections, and how many channels there may be: of a protocol, and from an address.

use std::collections::HashMap;
use std::net::IpAddr;
use std::ops::Range;
use std::sync::{Mutex, PoisonError};

use sluice_core::extranonce::{Extranonces, Parked, Reservation, ResumeToken, SPACE};
use sluice_core::ids::Protocol;
use sluice_core::units::Moment;

use crate::config::address_range::AddressRange;

/// Prefixes of a protocol for each of its channels, live and kept back together. Who opens and closes channels without
/// end uses up those of his own protocol, and no more memory than these take.
const PREFIXES_FOR_EACH_CHANNEL: usize = 4;
/// At least so many, however few channels there may be: some 1700 channels that end in a second.
const LEAST_PREFIXES: usize = 1 << 20;

/// How many channels a protocol may have; none where nothing is said.
#[derive(Clone, Debug, Default)]
pub struct Quota {
    /// On all connections together (M-8).
    pub channels: usize,
    /// On all connections from one address; `None` where connections are limited and each has one channel.
    pub channels_per_address: Option<usize>,
    /// Addresses that are not limited.
    pub exempt: Vec<AddressRange>,
}

/// Whose channels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Holder {
    pub protocol: Protocol,
    pub address: IpAddr,
}

/// Why a channel gets no prefix.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Full {
    /// The protocol has as many channels as it may.
    Channels,
    /// The address has.
    ChannelsOfAddress,
    /// Those that are not in use are kept back.
    Prefixes,
}

impl Full {
    pub const fn label(self) -> &'static str {
        match self {
            Self::Channels => "channels",
            Self::ChannelsOfAddress => "channels_of_address",
            Self::Prefixes => "prefixes",
        }
    }
}

/// Gives prefixes to channels. One for the process: no two channels have the same, whatever they speak. Each protocol has
/// its own part of them, so that none can take those of another.
#[derive(Debug)]
pub struct Prefixes([Mutex<Part>; Protocol::ALL.len()]);

/// A protocol's part.
#[derive(Debug)]
struct Part {
    quota: Quota,
    pool: Extranonces,
    /// Live channels of the addresses that have any and are limited; no more than there are channels.
    by_address: HashMap<IpAddr, usize>,
}

impl Prefixes {
    /// `server`: see [`Extranonces::new`].
    pub fn new(server: u8, quota: impl Fn(Protocol) -> Quota) -> Self {
        Self(Protocol::ALL.map(|protocol| {
            let quota = quota(protocol);
            let pool = Extranonces::within(server, numbers(protocol, quota.channels));
            Mutex::new(Part { quota, pool, by_address: HashMap::new() })
        }))
    }

    /// See [`Extranonces::reserve`].
    ///
    /// # Errors
    /// There are as many as there may be.
    pub fn reserve(
        &self,
        holder: Holder,
        resume: Option<ResumeToken>,
        fresh: ResumeToken,
        now: Moment,
    ) -> Result<Reservation, Full> {
        self.part(holder.protocol).reserve(holder.address, resume, fresh, now)
    }

    /// Takes back what channels of `holder` held. See [`Extranonces::park`].
    pub fn park(&self, holder: Holder, parked: Vec<Parked>, now: Moment) {
        let mut part = self.part(holder.protocol);
        for parked in parked {
            part.leave(holder.address);
            part.pool.park(parked, now);
        }
    }

    fn part(&self, protocol: Protocol) -> std::sync::MutexGuard<'_, Part> {
        let part = match protocol {
            Protocol::StratumV1 => &self.0[0],
            Protocol::StratumV2 => &self.0[1],
        };
        part.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Part {
    fn reserve(
        &mut self,
        address: IpAddr,
        resume: Option<ResumeToken>,
        fresh: ResumeToken,
        now: Moment,
    ) -> Result<Reservation, Full> {
        if self.pool.live() >= self.quota.channels {
            return Err(Full::Channels);
        }
        let limit = self.quota.limit(address);
        let open = self.by_address.get(&address).copied().unwrap_or(0);
        if limit.is_some_and(|limit| open >= limit) {
            return Err(Full::ChannelsOfAddress);
        }
        let reservation = self.pool.reserve(resume, fresh, now).ok_or(Full::Prefixes)?;
        if limit.is_some() {
            self.by_address.insert(address, open + 1);
        }
        Ok(reservation)
    }

    /// A channel of the address has ended.
    fn leave(&mut self, address: IpAddr) {
        if let Some(open) = self.by_address.get_mut(&address) {
            *open = open.saturating_sub(1);
            if *open == 0 {
                self.by_address.remove(&address);
            }
        }
    }
}

impl Quota {
    /// What `address` may have; `None`: as many as there are.
    fn limit(&self, address: IpAddr) -> Option<usize> {
        self.channels_per_address.filter(|_| !self.exempt.iter().any(|range| range.contains(address)))
    }
}

/// The numbers of the prefixes of a protocol that may have so many channels; never those of another protocol.
fn numbers(protocol: Protocol, channels: usize) -> Range<u32> {
    const PART: u32 = SPACE >> 1;
    const _: () = assert!(Protocol::ALL.len() == 2, "each protocol has half of the space");
    let start = match protocol {
        Protocol::StratumV1 => 0,
        Protocol::StratumV2 => PART,
    };
    let wanted = channels.saturating_mul(PREFIXES_FOR_EACH_CHANNEL).max(LEAST_PREFIXES);
    start..start + u32::try_from(wanted).unwrap_or(PART).min(PART)
}

#[cfg(test)]
mod tests;
