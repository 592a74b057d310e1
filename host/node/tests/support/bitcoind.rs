//! A real bitcoind on regtest, in a directory of its own, that never outlives the test.

use std::io::Write;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::json;
use sluice_core::bitcoin::{Address, Network, ScriptBuf};
use sluice_node::{Auth, NodeAddress, NodeConfig, Polling, Rpc};

/// How long an ordinary call may take here.
const CALL: Duration = Duration::from_secs(30);

/// Killed when dropped.
pub(crate) struct Bitcoind {
    program: PathBuf,
    dir: tempfile::TempDir,
    port: u16,
    child: Option<Child>,
}

/// `$BITCOIND`, then PATH. Without one the test is skipped by name; in CI that is a failure.
fn program(test: &str) -> Option<PathBuf> {
    let named = std::env::var_os("BITCOIND").map(PathBuf::from);
    let path = std::env::var_os("PATH").unwrap_or_default();
    let found = named
        .or_else(|| std::env::split_paths(&path).map(|dir| dir.join("bitcoind")).find(|file| file.is_file()));
    if found.is_none() {
        let line = format!(
            "skipped: {test}: no bitcoind; install Bitcoin Core (https://bitcoincore.org) and put bitcoind on PATH, \
             or set BITCOIND to the program\n"
        );
        assert!(std::env::var_os("CI").is_none(), "{line}");
        // Past the test harness, which would swallow it.
        let _ = std::io::stderr().write_all(line.as_bytes());
    }
    found
}

impl Bitcoind {
    /// A new regtest chain. `None` if there is no bitcoind here.
    pub(crate) fn start(test: &str) -> Option<Self> {
        let program = program(test)?;
        // A port that was free may be taken by the time bitcoind listens on it.
        for _ in 0..5 {
            let free = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
            let port = free.local_addr().expect("an address").port();
            drop(free);
            let dir = tempfile::tempdir().expect("a directory");
            let mut node = Self { program: program.clone(), dir, port, child: None };
            if node.run() {
                return Some(node);
            }
        }
        panic!("bitcoind does not start");
    }

    /// Whether it came up.
    fn run(&mut self) -> bool {
        let child = Command::new(&self.program)
            .arg("-regtest")
            .arg(format!("-datadir={}", self.dir.path().display()))
            .arg(format!("-rpcport={}", self.port))
            .args(["-listen=0", "-connect=0", "-server=1", "-rpcbind=127.0.0.1", "-rpcallowip=127.0.0.1"])
            .args(["-printtoconsole=0", "-dbcache=16", "-par=1"])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("bitcoind can be started");
        self.child = Some(child);
        let patience = Instant::now() + Duration::from_secs(60);
        let rpc = self.rpc();
        while Instant::now() < patience {
            if rpc.chain_info(CALL).is_ok() {
                return true;
            }
            let ended =
                self.child.as_mut().is_none_or(|child| child.try_wait().is_ok_and(|status| status.is_some()));
            if ended {
                return false;
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        false
    }

    /// As `kill -9`.
    pub(crate) fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }

    /// Ends in good order and writes everything to disk.
    pub(crate) fn stop(&mut self) {
        let _: String = self.call("stop", &[]);
        if let Some(mut child) = self.child.take() {
            let _ = child.wait();
        }
    }

    /// The same chain on the same port again.
    pub(crate) fn start_again(&mut self) {
        assert!(self.run(), "bitcoind comes back");
    }

    pub(crate) fn address(&self) -> NodeAddress {
        let cookie = self.dir.path().join("regtest/.cookie");
        NodeAddress { host: "127.0.0.1".into(), port: self.port, auth: Auth::Cookie(cookie) }
    }

    pub(crate) fn config(&self) -> NodeConfig {
        NodeConfig { network: Network::Regtest, nodes: vec![self.address()], polling: Polling::default() }
    }

    pub(crate) fn rpc(&self) -> Rpc {
        Rpc::new(self.address())
    }

    pub(crate) fn call<T: serde::de::DeserializeOwned>(
        &self,
        method: &'static str,
        parameters: &[serde_json::Value],
    ) -> T {
        self.rpc().call(method, parameters, CALL).expect("bitcoind answers")
    }

    /// Mines `count` blocks to anyone; the hash of the last.
    pub(crate) fn generate(&self, count: u32) -> String {
        self.generate_to(0x51, count)
    }

    /// The same to a script of one byte; another one makes other blocks.
    pub(crate) fn generate_to(&self, script: u8, count: u32) -> String {
        let script = ScriptBuf::from_bytes(vec![script]);
        let address = Address::p2wsh(&script, Network::Regtest).to_string();
        let hashes: Vec<String> = self.call("generatetoaddress", &[json!(count), json!(address)]);
        hashes.last().expect("at least one").clone()
    }

    pub(crate) fn height(&self) -> u32 {
        self.call("getblockcount", &[])
    }
}

impl Drop for Bitcoind {
    fn drop(&mut self) {
        self.kill();
    }
}
