//! `getblocktemplate` answers (BIP22, BIP23, BIP145), turned strictly into [`Template`].

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use serde::Deserialize;
use sluice_core::bitcoin::{Amount, BlockHash, CompactTarget, Network, Target, Txid, Wtxid};
use sluice_core::ids::TemplateId;
use sluice_core::template::{Template, TemplateTransaction, subsidy};
use sluice_core::units::Timestamp;

/// Core's long poll ids are a hash and a number; a longer one is refused.
const LONGPOLL_ID_LIMIT: usize = 256;

/// Why an answer is no template.
#[derive(Debug, thiserror::Error)]
pub enum TemplateError {
    #[error("the template does not have the fields of BIP22: {0}")]
    Fields(serde_json::Error),
    #[error("{field} of the template is not a hash of 64 hex digits")]
    Hash { field: &'static str },
    #[error("{field} of the template is not hex")]
    Hex { field: &'static str },
    #[error("bits `{0}` of the template are no target that {1} allows")]
    Bits(String, Network),
    #[error("coinbasevalue {0} of the template is more than all coins")]
    Value(u64),
    #[error("the template demands the rule `{0}`, which is not supported")]
    Rule(String),
    #[error("the long poll id of the template is longer than {LONGPOLL_ID_LIMIT} bytes")]
    LongpollId,
}

/// A template and how to wait for the next.
#[derive(Clone, Debug)]
pub struct Received {
    pub template: Arc<Template>,
    pub longpollid: Option<String>,
}

/// As on the wire; texts are borrowed from the answer, which may be 20 MB.
#[derive(Deserialize)]
struct Wire<'a> {
    version: i32,
    #[serde(borrow)]
    previousblockhash: &'a str,
    #[serde(borrow)]
    transactions: Vec<WireTransaction<'a>>,
    coinbasevalue: u64,
    #[serde(borrow)]
    longpollid: Option<&'a str>,
    mintime: u32,
    curtime: u32,
    bits: &'a str,
    height: u32,
    default_witness_commitment: Option<&'a str>,
    #[serde(borrow, default)]
    rules: Vec<&'a str>,
}

#[derive(Deserialize)]
struct WireTransaction<'a> {
    data: &'a str,
    txid: &'a str,
    /// With witness (BIP145).
    hash: &'a str,
}

/// Ids count up from 1 over the process, whichever node the template is from.
pub(crate) fn next_id() -> TemplateId {
    static LAST: AtomicU64 = AtomicU64::new(0);
    TemplateId(LAST.fetch_add(1, Ordering::Relaxed) + 1)
}

impl Received {
    pub(crate) fn parse(json: &str, network: Network, received: Timestamp) -> Result<Self, TemplateError> {
        let wire: Wire<'_> = serde_json::from_str(json).map_err(TemplateError::Fields)?;
        check_rules(&wire.rules)?;
        let longpollid = wire.longpollid.map(str::to_owned);
        if longpollid.as_ref().is_some_and(|id| id.len() > LONGPOLL_ID_LIMIT) {
            return Err(TemplateError::LongpollId);
        }
        let template = Template {
            id: next_id(),
            network,
            height: wire.height,
            previous: hash::<BlockHash>("previousblockhash", wire.previousblockhash)?,
            version: wire.version,
            bits: bits(wire.bits, network)?,
            min_time: wire.mintime,
            cur_time: wire.curtime,
            coinbase_value: money(wire.coinbasevalue)?,
            subsidy: subsidy(network, wire.height),
            witness_commitment: commitment(wire.default_witness_commitment)?,
            transactions: transactions(&wire.transactions)?,
            received,
        };
        Ok(Self { template: Arc::new(template), longpollid })
    }
}

/// A leading `!` means: do not mine without knowing this rule (BIP9).
fn check_rules(rules: &[&str]) -> Result<(), TemplateError> {
    let known = ["segwit", "signet"];
    match rules.iter().filter_map(|rule| rule.strip_prefix('!')).find(|rule| !known.contains(rule)) {
        Some(rule) => Err(TemplateError::Rule(crate::rpc::bounded(rule.to_owned()))),
        None => Ok(()),
    }
}

fn hash<T: std::str::FromStr>(field: &'static str, text: &str) -> Result<T, TemplateError> {
    text.parse().map_err(|_| TemplateError::Hash { field })
}

fn bits(text: &str, network: Network) -> Result<CompactTarget, TemplateError> {
    let bad = || TemplateError::Bits(crate::rpc::bounded(text.to_owned()), network);
    let plain = text.len() == 8 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
    let bits = u32::from_str_radix(text, 16).ok().filter(|_| plain).map(CompactTarget::from_consensus);
    let bits = bits.ok_or_else(bad)?;
    let target = Target::from_compact(bits);
    let allowed = target > Target::ZERO && target <= network.params().max_attainable_target;
    if allowed { Ok(bits) } else { Err(bad()) }
}

fn money(sats: u64) -> Result<Amount, TemplateError> {
    let amount = Amount::from_sat(sats);
    if amount > Amount::MAX_MONEY { Err(TemplateError::Value(sats)) } else { Ok(amount) }
}

fn commitment(text: Option<&str>) -> Result<Option<Vec<u8>>, TemplateError> {
    const FIELD: &str = "default_witness_commitment";
    text.map(|text| decode_hex(text).ok_or(TemplateError::Hex { field: FIELD })).transpose()
}

fn transactions(wire: &[WireTransaction<'_>]) -> Result<Arc<[TemplateTransaction]>, TemplateError> {
    wire.iter()
        .map(|transaction| {
            Ok(TemplateTransaction {
                data: decode_hex(transaction.data)
                    .filter(|data| !data.is_empty())
                    .ok_or(TemplateError::Hex { field: "transaction data" })?,
                txid: hash::<Txid>("txid", transaction.txid)?,
                wtxid: hash::<Wtxid>("transaction hash", transaction.hash)?,
            })
        })
        .collect()
}

/// The value of each hex digit; 0xff for what is none.
const DIGITS: [u8; 256] = {
    let mut table = [0xff; 256];
    let mut value = 0u8;
    while value < 16 {
        table[b"0123456789abcdef"[value as usize] as usize] = value;
        table[b"0123456789ABCDEF"[value as usize] as usize] = value;
        value += 1;
    }
    table
};

/// By table: a full template is several megabytes of hex and stands between a new tip and its first job.
pub(crate) fn decode_hex(text: &str) -> Option<Vec<u8>> {
    let mut seen = 0;
    let bytes = text
        .as_bytes()
        .chunks_exact(2)
        .map(|pair| {
            let (high, low) = (DIGITS[usize::from(pair[0])], DIGITS[usize::from(pair[1])]);
            seen |= high | low;
            (high << 4) | (low & 15)
        })
        .collect();
    (text.len().is_multiple_of(2) && seen < 16).then_some(bytes)
}

pub(crate) fn encode_hex(bytes: &[u8]) -> String {
    hex::encode(bytes)
}

#[cfg(test)]
mod tests;
