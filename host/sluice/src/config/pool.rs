//! `[pool]`: what every coinbase says and pays, and how long it may be for whom.

use bitcoin::Address;

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pool {
    /// Goes into every coinbase. At most 20 bytes of printable ASCII.
    pub tag: String,
    /// The pool's own payout address, valid on the network.
    pub address: Address,
    /// The most bytes a serialised coinbase may have for miners that are in no class (V1-92).
    pub coinbase_bytes: usize,
    /// Names are distinct. A miner belongs to the first that knows its user agent.
    pub coinbase_classes: Vec<CoinbaseClass>,
}

/// Miners whose firmware takes a coinbase of another length (V1-92).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CoinbaseClass {
    pub name: String,
    /// At least one. Parts of a user agent, or with a leading `^` its beginning; small and capital letters are the same.
    pub agents: Vec<String>,
    /// The most bytes that a serialised coinbase may have.
    pub bytes: usize,
}

impl CoinbaseClass {
    /// Whether one of the texts by which a miner names itself is of this class.
    pub fn knows(&self, names: &[&str]) -> bool {
        self.agents.iter().any(|agent| names.iter().any(|name| is_of(name, agent)))
    }
}

fn is_of(name: &str, agent: &str) -> bool {
    let (name, agent) = (name.as_bytes(), agent.as_bytes());
    match agent.split_first() {
        Some((b'^', start)) => {
            name.get(..start.len()).is_some_and(|beginning| beginning.eq_ignore_ascii_case(start))
        }
        _ => name.windows(agent.len().max(1)).any(|part| part.eq_ignore_ascii_case(agent)),
    }
}
