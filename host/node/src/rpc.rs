//! The calls this crate makes to bitcoind, with typed failures.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bitcoincore_rpc::{Client, jsonrpc};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::value::RawValue;
use serde_json::{Value, json};
use sluice_core::bitcoin::block::Header;
use sluice_core::bitcoin::{BlockHash, Network, consensus};

use crate::address::{Auth, NodeAddress};
use crate::http::{Http, HttpError, Line, basic};
use crate::place::Place;
use crate::sink::SubmitAnswer;
use crate::template::{Received, TemplateError, encode_hex};

/// Core's RPC_INVALID_ADDRESS_OR_KEY: it knows no such block or transaction.
pub(crate) const UNKNOWN: i32 = -5;
/// Core's RPC_INVALID_PARAMETER: its chain is shorter.
pub(crate) const OUT_OF_RANGE: i32 = -8;
/// A cookie file is one short line; more than this is not one.
const COOKIE_LIMIT: usize = 4096;

/// Why a call brought no answer. Never holds a password.
#[derive(Debug, thiserror::Error)]
pub enum RpcError {
    #[error("the node cannot be reached: {0}")]
    Unreachable(String),
    #[error("the node did not answer within {0:?}")]
    Timeout(Duration),
    #[error("the call was given up")]
    Interrupted,
    #[error(
        "the node refuses the user and password; check them, or the cookie file, against the node's configuration"
    )]
    Unauthorized,
    #[error("the cookie file {} cannot be read: {source}", path.display())]
    Cookie { path: PathBuf, source: std::io::Error },
    #[error("the node answers HTTP status {0}")]
    Status(u16),
    #[error("the node answers garbage to {method}: {detail}")]
    Garbage { method: &'static str, detail: String },
    #[error("the node refuses {method}: {message} (code {code})")]
    Refused { method: &'static str, code: i32, message: String },
    #[error(transparent)]
    Template(#[from] TemplateError),
}

/// What `getblockchaininfo` says that matters here.
#[derive(Clone, Debug, Deserialize)]
pub struct ChainInfo {
    /// `main`, `test`, `testnet4`, `signet` or `regtest`.
    pub chain: String,
    pub blocks: u32,
    pub headers: u32,
    #[serde(rename = "initialblockdownload")]
    pub initial_block_download: bool,
}

/// One node's RPC. One call at a time: give each thread its own.
pub struct Rpc {
    address: NodeAddress,
    /// The `Authorization` header that worked last: a secret.
    authorization: Mutex<Option<String>>,
    line: Arc<Line>,
}

impl Rpc {
    pub fn new(address: NodeAddress) -> Self {
        Self { address, authorization: Mutex::default(), line: Arc::default() }
    }

    /// `HOST:PORT`.
    pub fn name(&self) -> String {
        self.address.name()
    }

    /// Ends the call in flight from another thread; it returns an error.
    pub fn interrupt(&self) {
        self.line.interrupt();
    }

    /// Ends the call in flight; every later one fails with [`RpcError::Interrupted`].
    pub fn close(&self) {
        self.line.close();
    }

    /// # Errors
    /// Whatever kept the answer from coming, or from being one.
    pub fn chain_info(&self, timeout: Duration) -> Result<ChainInfo, RpcError> {
        self.call("getblockchaininfo", &[], timeout)
    }

    /// The node's template (BIP22, BIP145). With `longpollid` it is held back until there is a better one than the
    /// template of that id.
    ///
    /// # Errors
    /// As [`Rpc::chain_info`]; [`RpcError::Template`] where the answer is no template.
    pub fn block_template(
        &self,
        network: Network,
        longpollid: Option<&str>,
        timeout: Duration,
    ) -> Result<Received, RpcError> {
        let rules: &[&str] = if network == Network::Signet { &["segwit", "signet"] } else { &["segwit"] };
        let mut request = json!({ "rules": rules, "capabilities": ["longpoll"] });
        if let Some(id) = longpollid {
            request["longpollid"] = json!(id);
        }
        let raw = self.raw("getblocktemplate", &[request], timeout)?;
        Ok(Received::parse(raw.get(), network, crate::clock::now())?)
    }

    /// Hands in a block (BIP22).
    ///
    /// # Errors
    /// As [`Rpc::chain_info`]. A block that the node cannot decode is an answer, not an error.
    pub fn submit_block(&self, block: &[u8], timeout: Duration) -> Result<SubmitAnswer, RpcError> {
        /// Core's RPC_DESERIALIZATION_ERROR.
        const UNDECODABLE: i32 = -22;
        match self.call::<Option<String>>("submitblock", &[Value::String(encode_hex(block))], timeout) {
            // Core says so of every valid block that it has, on the side chains too.
            Ok(Some(text)) if text == "duplicate" => self.place_of(block, timeout),
            Ok(text) => Ok(SubmitAnswer::interpret(text.as_deref())),
            Err(RpcError::Refused { code: UNDECODABLE, message, .. }) => Ok(SubmitAnswer::Rejected(message)),
            Err(error) => Err(error),
        }
    }

    fn place_of(&self, block: &[u8], timeout: Duration) -> Result<SubmitAnswer, RpcError> {
        let header = block.get(..80).and_then(|header| consensus::deserialize::<Header>(header).ok());
        let Some(header) = header else { return Ok(SubmitAnswer::Inconclusive) };
        let confirmations = self.confirmations(header.block_hash(), timeout)?;
        Ok(if confirmations.is_some() { SubmitAnswer::Accepted } else { SubmitAnswer::Inconclusive })
    }

    /// `None` on a side chain.
    fn confirmations(&self, hash: BlockHash, timeout: Duration) -> Result<Option<u32>, RpcError> {
        #[derive(Deserialize)]
        struct Known {
            /// -1 on a side chain.
            confirmations: i64,
        }
        let known: Known = self.call("getblockheader", &[json!(hash)], timeout)?;
        Ok(u32::try_from(known.confirmations).ok())
    }

    /// Where a block of `height` is. That it is not in the chain is taken for true only where another one has its place: a
    /// node that is behind, or that has lost its last blocks, knows no better.
    ///
    /// # Errors
    /// As [`Rpc::chain_info`].
    pub fn place(&self, hash: BlockHash, height: u32, timeout: Duration) -> Result<Place, RpcError> {
        match self.confirmations(hash, timeout) {
            Ok(Some(confirmations)) => return Ok(Place::InChain { confirmations }),
            Ok(None) | Err(RpcError::Refused { code: UNKNOWN, .. }) => {}
            Err(error) => return Err(error),
        }
        match self.call::<BlockHash>("getblockhash", &[json!(height)], timeout) {
            // The chain moved between the questions.
            Ok(other) if other == hash => Ok(Place::Beyond),
            Ok(other) => Ok(self
                .confirmations(other, timeout)?
                .map_or(Place::Beyond, |confirmations| Place::Aside { confirmations })),
            Err(RpcError::Refused { code: OUT_OF_RANGE, .. }) => Ok(Place::Beyond),
            Err(error) => Err(error),
        }
    }

    /// Any call, for what is not wrapped above.
    ///
    /// # Errors
    /// As [`Rpc::chain_info`].
    pub fn call<T: DeserializeOwned>(
        &self,
        method: &'static str,
        parameters: &[Value],
        timeout: Duration,
    ) -> Result<T, RpcError> {
        let raw = self.raw(method, parameters, timeout)?;
        serde_json::from_str(raw.get())
            .map_err(|error| RpcError::Garbage { method, detail: error.to_string() })
    }

    /// The result as the node wrote it.
    fn raw(
        &self,
        method: &'static str,
        parameters: &[Value],
        timeout: Duration,
    ) -> Result<Box<RawValue>, RpcError> {
        let (authorization, fresh) = self.authorization()?;
        match self.attempt(method, parameters, authorization, timeout) {
            // bitcoind writes a new cookie each time it starts.
            Err(RpcError::Unauthorized) if !fresh => {
                self.forget();
                let (authorization, _) = self.authorization()?;
                self.attempt(method, parameters, authorization, timeout)
            }
            Err(RpcError::Unauthorized) => {
                self.forget();
                Err(RpcError::Unauthorized)
            }
            other => other,
        }
    }

    fn attempt(
        &self,
        method: &'static str,
        parameters: &[Value],
        authorization: String,
        timeout: Duration,
    ) -> Result<Box<RawValue>, RpcError> {
        let http = Http {
            host: self.address.host.clone(),
            port: self.address.port,
            authorization,
            timeout,
            line: Arc::clone(&self.line),
        };
        let client = Client::from_jsonrpc(jsonrpc::Client::with_transport(http));
        // One level below `Client::call`, which would scan and copy a template's megabytes once more.
        let client = client.get_jsonrpc_client();
        let send = || -> Result<_, jsonrpc::Error> {
            let parameters = serde_json::value::to_raw_value(parameters)?;
            let response = client.send_request(client.build_request(method, Some(&parameters)))?;
            response.error.map_or(Ok(response.result), |refusal| Err(refusal.into()))
        };
        let result = send().map_err(|error| explain(method, error))?;
        result.ok_or_else(|| RpcError::Garbage { method, detail: "no result".into() })
    }

    /// The header, and whether it was made just now.
    fn authorization(&self) -> Result<(String, bool), RpcError> {
        let mut known = self.authorization.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(header) = &*known {
            return Ok((header.clone(), false));
        }
        let header = match &self.address.auth {
            Auth::Cookie(path) => basic(&read_cookie(path)?),
            Auth::User { user, password } => basic(&format!("{user}:{}", password.reveal())),
        };
        *known = Some(header.clone());
        Ok((header, true))
    }

    fn forget(&self) {
        *self.authorization.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }
}

impl std::fmt::Debug for Rpc {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Rpc").field("address", &self.address).finish_non_exhaustive()
    }
}

fn read_cookie(path: &PathBuf) -> Result<String, RpcError> {
    let fail = |source| RpcError::Cookie { path: path.clone(), source };
    let text = std::fs::read_to_string(path).map_err(fail)?;
    let cookie = text.trim();
    if cookie.len() > COOKIE_LIMIT || !cookie.contains(':') {
        let problem =
            std::io::Error::new(std::io::ErrorKind::InvalidData, "it does not hold one line USER:PASSWORD");
        return Err(fail(problem));
    }
    Ok(cookie.to_owned())
}

fn explain(method: &'static str, error: jsonrpc::Error) -> RpcError {
    match error {
        jsonrpc::Error::Rpc(refusal) => {
            RpcError::Refused { method, code: refusal.code, message: bounded(refusal.message) }
        }
        jsonrpc::Error::Transport(inner) => match inner.downcast::<HttpError>() {
            Ok(http) => explain_http(method, &http),
            Err(other) => RpcError::Unreachable(bounded(other.to_string())),
        },
        other => RpcError::Garbage { method, detail: bounded(other.to_string()) },
    }
}

fn explain_http(method: &'static str, error: &HttpError) -> RpcError {
    match error {
        HttpError::Timeout(after) => RpcError::Timeout(*after),
        HttpError::Interrupted => RpcError::Interrupted,
        HttpError::Unauthorized => RpcError::Unauthorized,
        HttpError::Status(status) => RpcError::Status(*status),
        HttpError::Connect(_) | HttpError::Io(_) | HttpError::Closed => {
            RpcError::Unreachable(error.to_string())
        }
        HttpError::Head(_) | HttpError::TooLarge | HttpError::Json(_) | HttpError::Empty => {
            RpcError::Garbage { method, detail: error.to_string() }
        }
    }
}

/// A node's words reach logs and pages: one line of at most 300 printable characters.
pub(crate) fn bounded(text: String) -> String {
    const LIMIT: usize = 300;
    if text.chars().count() <= LIMIT && !text.contains(char::is_control) {
        return text;
    }
    text.chars().take(LIMIT).map(|c| if c.is_control() { ' ' } else { c }).collect()
}
