//! One-off questions to the configured nodes, for commands that end before following a node would pay.
//!
//! The first node that is on the right network, has caught up and answers is asked, and stays the one that is asked. A
//! transaction is asked for at all of them: one may have an index, or a mempool, that another has not.

use std::cell::Cell;
use std::time::Duration;

use serde::Deserialize;
use serde_json::json;
use sluice_core::bitcoin::amount::serde::as_btc;
use sluice_core::bitcoin::{
    Amount, Block, BlockHash, Network, OutPoint, ScriptBuf, Transaction, Txid, consensus,
};

use crate::address::NodeAddress;
use crate::bitcoind::NodeConfig;
use crate::rpc::{OUT_OF_RANGE, Rpc, RpcError, UNKNOWN};

/// JSON-RPC: Core before version 24 has no `gettxspendingprevout`.
const NO_SUCH_METHOD: i32 = -32601;

/// A block of a node's best chain, or one beside it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BlockPlace {
    pub hash: BlockHash,
    pub height: u32,
    /// The tip has one; `None` beside the best chain.
    pub confirmations: Option<u32>,
}

/// A transaction that a node has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FoundTransaction {
    pub transaction: Transaction,
    /// `None` in the mempool.
    pub block: Option<BlockHash>,
}

/// A coin that nobody has spent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unspent {
    pub amount: Amount,
    pub script: ScriptBuf,
    /// 0 in the mempool.
    pub confirmations: u32,
    /// It cannot be spent before 100 confirmations.
    pub coinbase: bool,
    /// The tip that the node counted from.
    pub tip: BlockHash,
}

/// Whether what waits in the mempool counts as having spent a coin.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mempool {
    Counts,
    Ignored,
}

/// Why a node was of no use.
#[derive(Debug, thiserror::Error)]
pub enum NodeFault {
    #[error("is on the network `{found}`, the pool is configured for `{}`", expected.to_core_arg())]
    WrongNetwork { expected: Network, found: String },
    #[error("has {blocks} of {headers} blocks and is still catching up")]
    CatchingUp { blocks: u32, headers: u32 },
    #[error(transparent)]
    Rpc(#[from] RpcError),
}

/// Why a question has no answer.
#[derive(Debug, thiserror::Error)]
pub enum LookupError {
    #[error("no node is configured; at least one is needed")]
    NoNodes,
    #[error("no node answers: {}", listed(.0))]
    NoAnswer(Vec<(String, NodeFault)>),
}

fn listed(faults: &[(String, NodeFault)]) -> String {
    let one = |(node, fault): &(String, NodeFault)| format!("{node}: {fault}");
    faults.iter().map(one).collect::<Vec<_>>().join("; ")
}

/// The nodes of a configuration, to be asked. Every question blocks.
#[derive(Debug)]
pub struct Lookup {
    network: Network,
    nodes: Vec<Node>,
    /// For each call.
    timeout: Duration,
    /// The node that answered last.
    active: Cell<usize>,
}

#[derive(Debug)]
struct Node {
    rpc: Rpc,
    /// It was asked for its network and its progress.
    known: Cell<bool>,
}

impl Lookup {
    pub fn new(config: NodeConfig) -> Self {
        let node = |address: NodeAddress| Node { rpc: Rpc::new(address), known: Cell::new(false) };
        Self {
            network: config.network,
            nodes: config.nodes.into_iter().map(node).collect(),
            // Where a block has to be read from the disk, longer than an ordinary call.
            timeout: config.polling.submit,
            active: Cell::new(0),
        }
    }

    /// The last block of the best chain.
    ///
    /// # Errors
    /// No node answers; so for every question.
    pub fn tip(&self) -> Result<BlockPlace, LookupError> {
        self.ask(|rpc| {
            let hash: BlockHash = rpc.call("getbestblockhash", &[], self.timeout)?;
            place(rpc, hash, self.timeout)
        })
    }

    /// The block at `height` of the best chain; `None` beyond its end.
    ///
    /// # Errors
    /// As [`Lookup::tip`].
    pub fn block_hash(&self, height: u32) -> Result<Option<BlockHash>, LookupError> {
        self.ask(|rpc| unless(rpc.call("getblockhash", &[json!(height)], self.timeout), &[OUT_OF_RANGE]))
    }

    /// Where a block is; `None` for one that no node has.
    ///
    /// # Errors
    /// As [`Lookup::tip`].
    pub fn block_place(&self, hash: BlockHash) -> Result<Option<BlockPlace>, LookupError> {
        self.ask_all(|rpc| unless(place(rpc, hash, self.timeout), &[UNKNOWN]))
    }

    /// The ids of a block's transactions, the coinbase first; `None` for a block that no node has.
    ///
    /// # Errors
    /// As [`Lookup::tip`]; a pruned block is an error.
    pub fn block_txids(&self, hash: BlockHash) -> Result<Option<Vec<Txid>>, LookupError> {
        #[derive(Deserialize)]
        struct Listed {
            tx: Vec<Txid>,
        }
        self.ask_all(|rpc| {
            let listed = rpc.call::<Listed>("getblock", &[json!(hash), json!(1)], self.timeout);
            Ok(unless(listed, &[UNKNOWN])?.map(|listed| listed.tx))
        })
    }

    /// A whole block; `None` for one that no node has.
    ///
    /// # Errors
    /// As [`Lookup::tip`]; a pruned block is an error.
    pub fn block(&self, hash: BlockHash) -> Result<Option<Block>, LookupError> {
        self.ask_all(|rpc| {
            let hex = rpc.call::<String>("getblock", &[json!(hash), json!(0)], self.timeout);
            unless(hex, &[UNKNOWN])?.map(|hex| decoded("getblock", &hex)).transpose()
        })
    }

    /// A transaction: in the mempool or, where a node has the index, in the chain; with `block`, in that block. `None` if
    /// no node knows it.
    ///
    /// # Errors
    /// As [`Lookup::tip`].
    pub fn transaction(
        &self,
        txid: Txid,
        block: Option<BlockHash>,
    ) -> Result<Option<FoundTransaction>, LookupError> {
        #[derive(Deserialize)]
        struct Told {
            hex: String,
            blockhash: Option<BlockHash>,
        }
        const METHOD: &str = "getrawtransaction";
        let mut parameters = vec![json!(txid), json!(true)];
        parameters.extend(block.map(|hash| json!(hash)));
        self.ask_all(|rpc| {
            let told = unless(rpc.call::<Told>(METHOD, &parameters, self.timeout), &[UNKNOWN])?;
            let Some(told) = told else { return Ok(None) };
            let transaction: Transaction = decoded(METHOD, &told.hex)?;
            if transaction.compute_txid() != txid {
                return Err(garbage(METHOD, "another transaction"));
            }
            Ok(Some(FoundTransaction { transaction, block: told.blockhash }))
        })
    }

    /// A coin; `None` if it is spent, or never was.
    ///
    /// # Errors
    /// As [`Lookup::tip`].
    pub fn unspent(&self, coin: OutPoint, mempool: Mempool) -> Result<Option<Unspent>, LookupError> {
        #[derive(Deserialize)]
        struct Told {
            bestblock: BlockHash,
            confirmations: u32,
            #[serde(with = "as_btc")]
            value: Amount,
            #[serde(rename = "scriptPubKey")]
            script: Script,
            coinbase: bool,
        }
        #[derive(Deserialize)]
        struct Script {
            hex: ScriptBuf,
        }
        let parameters = [json!(coin.txid), json!(coin.vout), json!(mempool == Mempool::Counts)];
        let told: Option<Told> = self.ask(|rpc| rpc.call("gettxout", &parameters, self.timeout))?;
        Ok(told.map(|told| Unspent {
            amount: told.value,
            script: told.script.hex,
            confirmations: told.confirmations,
            coinbase: told.coinbase,
            tip: told.bestblock,
        }))
    }

    /// The transaction that spends `coin` and waits in a mempool. A node older than Core 24 cannot tell.
    ///
    /// # Errors
    /// As [`Lookup::tip`].
    pub fn waiting_spender(&self, coin: OutPoint) -> Result<Option<Txid>, LookupError> {
        #[derive(Deserialize)]
        struct Told {
            spendingtxid: Option<Txid>,
        }
        let coins = json!([{ "txid": coin.txid, "vout": coin.vout }]);
        self.ask_all(|rpc| {
            let told =
                rpc.call::<Vec<Told>>("gettxspendingprevout", std::slice::from_ref(&coins), self.timeout);
            let told = unless(told, &[NO_SUCH_METHOD])?.unwrap_or_default();
            Ok(told.into_iter().find_map(|told| told.spendingtxid))
        })
    }

    /// The first answer, from the node that answered last or the next one that can.
    fn ask<T>(&self, question: impl Fn(&Rpc) -> Result<T, RpcError>) -> Result<T, LookupError> {
        let mut faults = Vec::new();
        for (index, node) in self.order() {
            match self.ask_one(node, &question) {
                Ok(answer) => {
                    self.active.set(index);
                    return Ok(answer);
                }
                Err(fault) => faults.push(fault),
            }
        }
        Err(none(faults))
    }

    /// The first answer that tells something; `None` if all that answer know nothing.
    fn ask_all<T>(
        &self,
        question: impl Fn(&Rpc) -> Result<Option<T>, RpcError>,
    ) -> Result<Option<T>, LookupError> {
        let (mut faults, mut answered) = (Vec::new(), false);
        for (_, node) in self.order() {
            match self.ask_one(node, &question) {
                Ok(Some(answer)) => return Ok(Some(answer)),
                Ok(None) => answered = true,
                Err(fault) => faults.push(fault),
            }
        }
        if answered { Ok(None) } else { Err(none(faults)) }
    }

    /// The one that answered last, then the others.
    fn order(&self) -> impl Iterator<Item = (usize, &Node)> {
        let active = self.active.get();
        let numbered = || self.nodes.iter().enumerate();
        numbered().skip(active).take(1).chain(numbered().filter(move |(index, _)| *index != active))
    }

    fn ask_one<T>(
        &self,
        node: &Node,
        question: impl Fn(&Rpc) -> Result<T, RpcError>,
    ) -> Result<T, (String, NodeFault)> {
        let answer = self.meet(node).and_then(|()| question(&node.rpc).map_err(NodeFault::Rpc));
        answer.map_err(|fault| (node.rpc.name(), fault))
    }

    /// Whether a node is one that can be believed; once for each.
    fn meet(&self, node: &Node) -> Result<(), NodeFault> {
        if node.known.get() {
            return Ok(());
        }
        let info = node.rpc.chain_info(self.timeout)?;
        if info.chain != self.network.to_core_arg() {
            return Err(NodeFault::WrongNetwork {
                expected: self.network,
                found: crate::rpc::bounded(info.chain),
            });
        }
        // A chain that lives on one machine may be old and complete.
        if info.initial_block_download && self.network != Network::Regtest {
            return Err(NodeFault::CatchingUp { blocks: info.blocks, headers: info.headers });
        }
        node.known.set(true);
        Ok(())
    }
}

fn none(faults: Vec<(String, NodeFault)>) -> LookupError {
    if faults.is_empty() { LookupError::NoNodes } else { LookupError::NoAnswer(faults) }
}

fn place(rpc: &Rpc, hash: BlockHash, timeout: Duration) -> Result<BlockPlace, RpcError> {
    #[derive(Deserialize)]
    struct Told {
        /// -1 beside the best chain.
        confirmations: i64,
        height: u32,
    }
    let told: Told = rpc.call("getblockheader", &[json!(hash)], timeout)?;
    let confirmations = u32::try_from(told.confirmations).ok();
    Ok(BlockPlace { hash, height: told.height, confirmations })
}

/// `None` where the node refuses with one of these codes.
fn unless<T>(answer: Result<T, RpcError>, codes: &[i32]) -> Result<Option<T>, RpcError> {
    match answer {
        Err(RpcError::Refused { code, .. }) if codes.contains(&code) => Ok(None),
        other => other.map(Some),
    }
}

fn decoded<T: consensus::Decodable>(method: &'static str, hex: &str) -> Result<T, RpcError> {
    consensus::encode::deserialize_hex(hex).map_err(|error| garbage(method, &error.to_string()))
}

fn garbage(method: &'static str, detail: &str) -> RpcError {
    RpcError::Garbage { method, detail: crate::rpc::bounded(detail.to_owned()) }
}
