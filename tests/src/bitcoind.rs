//! A real node on regtest, on ports and in a directory of its own.

use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use anyhow::{Context, Result, ensure};
use bitcoin::{Address, Block, BlockHash, Transaction, consensus};
use bitcoincore_rpc::{Auth, Client, RpcApi};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::pool::{NodeAccess, exit_of};
use crate::{POLL, SOON};

/// A running `bitcoind -regtest`. Killed when dropped.
pub struct Bitcoind {
    program: PathBuf,
    home: TempDir,
    address: SocketAddr,
    child: Child,
}

impl Bitcoind {
    /// `None`, and a line that says why, where there is no bitcoind; CI must have one.
    ///
    /// # Errors
    /// It is there and does not start, or it is not there and `$CI` is set.
    pub async fn start_or_skip(test: &str) -> Result<Option<Self>> {
        if let Some(program) = program() {
            return Self::start(program).await.map(Some);
        }
        let how =
            "install Bitcoin Core (28 or later) and put bitcoind on PATH, or set BITCOIND=/path/to/bitcoind";
        ensure!(std::env::var_os("CI").is_none(), "{test} needs a node: {how}");
        println!("skipped: {test}: {how}");
        Ok(None)
    }

    async fn start(program: PathBuf) -> Result<Self> {
        let home = TempDir::with_prefix("sluice-bitcoind-")?;
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, free_port()?));
        let child = spawn(&program, &home, address)?;
        let node = Self { program, home, address, child };
        node.wait_answering().await?;
        Ok(node)
    }

    async fn wait_answering(&self) -> Result<()> {
        let wait = async {
            while !self.call("getblockchaininfo", &[]).is_ok_and(|info| info["chain"] == "regtest") {
                tokio::time::sleep(POLL).await;
            }
        };
        tokio::time::timeout(SOON, wait).await.context("bitcoind does not answer")
    }

    /// Stops it in good order and starts it again.
    ///
    /// # Errors
    /// It does not stop or does not start.
    pub async fn restart(&mut self) -> Result<()> {
        self.stop().await?;
        self.start_again().await
    }

    /// # Errors
    /// It does not stop.
    pub async fn stop(&mut self) -> Result<()> {
        self.call("stop", &[])?;
        exit_of(&mut self.child).await.map(drop)
    }

    /// # Errors
    /// It does not start.
    pub async fn start_again(&mut self) -> Result<()> {
        self.child = spawn(&self.program, &self.home, self.address)?;
        self.wait_answering().await
    }

    /// How the pool reaches it.
    pub fn access(&self) -> NodeAccess {
        NodeAccess { address: self.address, cookie: Some(self.cookie()) }
    }

    fn cookie(&self) -> PathBuf {
        self.home.path().join("regtest/.cookie")
    }

    fn client(&self) -> Result<Client> {
        Ok(Client::new(&format!("http://{}", self.address), Auth::CookieFile(self.cookie()))?)
    }

    /// Any RPC.
    ///
    /// # Errors
    /// The node refuses, or does not answer.
    pub fn call(&self, method: &str, params: &[Value]) -> Result<Value> {
        self.client()?.call(method, params).with_context(|| format!("{method} failed"))
    }

    /// Mines `count` blocks that pay `address`.
    ///
    /// # Errors
    /// The node refuses.
    pub fn generate(&self, count: u32, address: &Address) -> Result<Vec<BlockHash>> {
        let hashes = self.call("generatetoaddress", &[json!(count), json!(address.to_string())])?;
        Ok(serde_json::from_value(hashes)?)
    }

    /// Takes a block, and all on top of it, for invalid.
    ///
    /// # Errors
    /// The node refuses.
    pub fn invalidate(&self, hash: &BlockHash) -> Result<()> {
        self.call("invalidateblock", &[json!(hash.to_string())]).map(drop)
    }

    /// Takes it for valid again; the chain with the most work wins.
    ///
    /// # Errors
    /// The node refuses.
    pub fn reconsider(&self, hash: &BlockHash) -> Result<()> {
        self.call("reconsiderblock", &[json!(hash.to_string())]).map(drop)
    }

    /// # Errors
    /// The node refuses.
    pub fn best(&self) -> Result<BlockHash> {
        Ok(serde_json::from_value(self.call("getbestblockhash", &[])?)?)
    }

    /// # Errors
    /// The node refuses.
    pub fn height(&self) -> Result<u64> {
        self.call("getblockcount", &[])?.as_u64().context("a height that is no number")
    }

    /// # Errors
    /// The node does not have it.
    pub fn block(&self, hash: &BlockHash) -> Result<Block> {
        let hex = self.call("getblock", &[json!(hash.to_string()), json!(0)])?;
        Ok(consensus::encode::deserialize_hex(hex.as_str().context("a block that is no text")?)?)
    }

    /// # Errors
    /// The node does not want it.
    pub fn send(&self, transaction: &Transaction) -> Result<()> {
        let hex = consensus::encode::serialize_hex(transaction);
        self.call("sendrawtransaction", &[json!(hex)]).map(drop)
    }

    /// Waits until the best block is another than `old`.
    ///
    /// # Errors
    /// It stays.
    pub async fn best_other_than(&self, old: BlockHash) -> Result<BlockHash> {
        let wait = async {
            loop {
                let best = self.best()?;
                if best != old {
                    return Ok(best);
                }
                tokio::time::sleep(POLL).await;
            }
        };
        tokio::time::timeout(SOON, wait).await.context("the node hears of no block")?
    }
}

impl Drop for Bitcoind {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn program() -> Option<PathBuf> {
    if let Some(path) = std::env::var_os("BITCOIND") {
        return Some(path.into());
    }
    let paths = std::env::var_os("PATH")?;
    std::env::split_paths(&paths).map(|path| path.join("bitcoind")).find(|path| path.is_file())
}

/// A port that was free a moment ago: bitcoind cannot be asked which one it took.
fn free_port() -> Result<u16> {
    Ok(TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?.port())
}

fn spawn(program: &PathBuf, home: &TempDir, address: SocketAddr) -> Result<Child> {
    Command::new(program)
        .args(["-regtest", "-server", "-listen=0", "-connect=0", "-dnsseed=0", "-printtoconsole=0"])
        // Time for the tests' longpolls beside other calls.
        .args(["-rpcthreads=16", "-rpcbind=127.0.0.1", "-rpcallowip=127.0.0.1"])
        .arg(format!("-rpcport={}", address.port()))
        .arg(format!("-datadir={}", home.path().display()))
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .with_context(|| format!("{} does not start", program.display()))
}
