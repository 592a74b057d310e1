//! Which coinbase a miner's firmware takes (V1-92).

use sluice_core::policy::Client;

use crate::config::{CoinbaseClass, Pool};

/// A class by its number: 0 is of those that no class knows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Class(u8);

impl Class {
    pub const DEFAULT: Self = Self(0);
}

/// The classes of the configuration.
#[derive(Clone, Debug)]
pub struct Classes {
    default_bytes: usize,
    list: Vec<CoinbaseClass>,
}

impl Classes {
    pub fn new(pool: &Pool) -> Self {
        Self { default_bytes: pool.coinbase_bytes, list: pool.coinbase_classes.clone() }
    }

    /// The first class that knows the agent or the hardware.
    pub fn of(&self, client: &Client) -> Class {
        let names = [&*client.agent, &*client.hardware];
        let number = (1u8..).zip(&self.list).find(|(_, class)| class.knows(&names));
        number.map_or(Class::DEFAULT, |(number, _)| Class(number))
    }

    /// The most bytes that a coinbase of the class may have.
    pub fn bytes(&self, class: Class) -> usize {
        let listed = usize::from(class.0).checked_sub(1).and_then(|index| self.list.get(index));
        listed.map_or(self.default_bytes, |class| class.bytes)
    }
}
