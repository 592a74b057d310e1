//! The keys of `[pool]`.

use std::ops::RangeInclusive;

use bitcoin::Address;
use bitcoin::address::NetworkUnchecked;

use super::{NAME, name, printable};
use crate::config::problem::quoted;
use crate::config::reader::{At, Section};

/// Bytes that a coinbase scriptSig leaves for the tag.
const TAG_LIMIT: usize = 20;
/// A coinbase with the longest tag and extranonce and one output of any kind has 209 bytes. A job of Stratum V2 has room
/// for 65,535 on either side of the extranonce.
const COINBASE_BYTES: RangeInclusive<u64> = 250..=65_000;
/// Every class is a coinbase and a job more for each template.
const CLASS_LIMIT: usize = 16;
const AGENTS_LIMIT: usize = 32;
/// The longest of a class's agents, in bytes; user agents are kept no longer than 256.
const AGENT_LIMIT: usize = 64;

pub(in crate::config) struct Pool {
    pub(in crate::config) tag: Option<At<String>>,
    pub(in crate::config) address: Option<At<Address<NetworkUnchecked>>>,
    pub(in crate::config) coinbase_bytes: Option<At<u64>>,
    pub(in crate::config) coinbase_classes: Vec<CoinbaseClass>,
}

pub(in crate::config) struct CoinbaseClass {
    pub(in crate::config) name: Option<At<String>>,
    pub(in crate::config) agents: Option<At<Vec<String>>>,
    pub(in crate::config) bytes: Option<At<u64>>,
}

pub(super) fn read(pool: &mut Section<'_, '_>) -> Pool {
    Pool {
        tag: pool.parsed("tag", "/Sluice/", "up to 20 characters of printable ASCII", |text| {
            printable(text, TAG_LIMIT)
        }),
        address: pool.required("address", "an address of the network", |text| {
            text.parse().map_err(|error| format!("{} is no address ({error})", quoted(text)))
        }),
        coinbase_bytes: pool.integer("coinbase_bytes", 750, COINBASE_BYTES),
        coinbase_classes: pool.sections("coinbase_class", CLASS_LIMIT, class),
    }
}

fn class(class: &mut Section<'_, '_>) -> CoinbaseClass {
    let agents = "1 to 32 texts of 1 to 64 characters of printable ASCII, each a part of a user agent or, with ^ before \
                  it, a beginning";
    CoinbaseClass {
        name: class.required("name", NAME, name),
        agents: class.required_list("agents", agents, 1..=AGENTS_LIMIT, agent),
        bytes: class.required_integer("bytes", COINBASE_BYTES),
    }
}

fn agent(text: &str) -> Result<String, String> {
    if text.trim_start_matches('^').is_empty() {
        return Err(format!("{} would be every user agent", quoted(text)));
    }
    printable(text, AGENT_LIMIT).map_err(|wrong| format!("{} {wrong}", quoted(text)))
}
