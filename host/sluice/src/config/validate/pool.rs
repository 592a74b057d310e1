//! `[pool]` as a whole.

use bitcoin::{Address, Network};

use super::{network_name, size, twice, value};
use crate::config::raw;
use crate::config::reader::Notes;
use crate::config::{CoinbaseClass, Pool};

pub(super) fn validate(raw: raw::Pool, network: Option<Network>, notes: &mut Notes<'_>) -> Option<Pool> {
    let names = raw.coinbase_classes.iter().filter_map(|class| class.name.as_ref());
    twice(names.map(|at| (at.value.clone(), &at.place)), "class", notes);
    let classes: Option<Vec<CoinbaseClass>> = raw.coinbase_classes.into_iter().map(class).collect();
    let (address, network) = (raw.address?, network?);
    let place = address.place;
    let checked: Option<Address> = address.value.require_network(network).ok();
    if checked.is_none() {
        let network = network_name(network);
        notes.wrong(&place, "belongs to another network", format!("an address of {network} is allowed"));
    }
    Some(Pool {
        tag: value(raw.tag)?,
        address: checked?,
        coinbase_bytes: size(raw.coinbase_bytes)?,
        coinbase_classes: classes?,
    })
}

fn class(raw: raw::CoinbaseClass) -> Option<CoinbaseClass> {
    Some(CoinbaseClass { name: value(raw.name)?, agents: value(raw.agents)?, bytes: size(raw.bytes)? })
}
