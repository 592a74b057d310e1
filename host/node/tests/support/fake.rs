//! A node that answers as it is told to: on a port of its own, one thread per connection.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::time::Duration;

use serde_json::{Value, json};
use sluice_core::bitcoin::Network;
use sluice_node::{Auth, NodeAddress, NodeConfig, Polling, Secret};

/// How it answers.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Mode {
    Well,
    /// These bytes, whatever is asked; then it closes.
    Raw(Vec<u8>),
    /// It takes the request and says nothing.
    Hang,
    /// This error to `getblocktemplate`.
    Refuse(i32, &'static str),
}

/// What it knows. Tests change it and wait for it.
pub(crate) struct State {
    pub(crate) mode: Mode,
    pub(crate) chain: &'static str,
    pub(crate) downloading: bool,
    /// The tip's height and a number that makes its hash.
    pub(crate) tip: (u32, u8),
    /// What `getblockheader` says of any block but its own; `None`: it knows no other.
    pub(crate) confirmations: Option<i64>,
    /// What it says of its own, at any height.
    pub(crate) own_confirmations: i64,
    /// The only `Authorization` it takes.
    pub(crate) authorization: Option<String>,
    /// Results of `submitblock`, the first one next; the last stays.
    pub(crate) verdicts: Vec<Value>,
    pub(crate) submitted: Vec<String>,
    /// Long polls that wait now.
    pub(crate) waiting: usize,
    /// What it says to other methods: a result, or a refusal.
    pub(crate) answers: Vec<(&'static str, Result<Value, i32>)>,
    /// Methods asked, in order.
    pub(crate) asked: Vec<String>,
    stopped: bool,
}

struct Shared {
    state: Mutex<State>,
    changed: Condvar,
}

/// Ends when dropped.
pub(crate) struct FakeNode {
    port: u16,
    shared: Arc<Shared>,
}

impl FakeNode {
    pub(crate) fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let port = listener.local_addr().expect("an address").port();
        let state = State {
            mode: Mode::Well,
            chain: "regtest",
            downloading: false,
            tip: (100, 1),
            confirmations: Some(1),
            own_confirmations: 1,
            authorization: None,
            verdicts: vec![Value::Null],
            submitted: Vec::new(),
            waiting: 0,
            answers: Vec::new(),
            asked: Vec::new(),
            stopped: false,
        };
        let shared = Arc::new(Shared { state: Mutex::new(state), changed: Condvar::new() });
        let serving = Arc::clone(&shared);
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                if serving.state().stopped {
                    return;
                }
                let serving = Arc::clone(&serving);
                std::thread::spawn(move || serving.serve(stream));
            }
        });
        Self { port, shared }
    }

    pub(crate) fn address(&self) -> NodeAddress {
        let auth = Auth::User { user: "pool".into(), password: Secret::new("a password") };
        NodeAddress { host: "127.0.0.1".into(), port: self.port, auth }
    }

    /// Changes something; whoever waits looks again.
    pub(crate) fn set(&self, change: impl FnOnce(&mut State)) {
        change(&mut self.shared.state());
        self.shared.changed.notify_all();
    }

    /// Waits until the state is as wanted. Blocks.
    pub(crate) fn until(&self, mut wanted: impl FnMut(&State) -> bool) {
        let state = self.shared.state();
        let waited = self.shared.changed.wait_timeout_while(state, super::PATIENCE, |state| !wanted(state));
        assert!(!waited.expect("not poisoned").1.timed_out(), "it does not happen");
    }
}

impl Drop for FakeNode {
    fn drop(&mut self) {
        self.set(|state| state.stopped = true);
        // Wakes the listener.
        let _ = TcpStream::connect(("127.0.0.1", self.port));
    }
}

/// Short times, so that tests need not wait.
pub(crate) fn config(nodes: &[&FakeNode]) -> NodeConfig {
    let polling = Polling {
        refresh: Duration::from_millis(200),
        call: Duration::from_millis(1500),
        longpoll: Duration::from_secs(3600),
        submit: Duration::from_millis(500),
    };
    NodeConfig {
        network: Network::Regtest,
        nodes: nodes.iter().map(|node| node.address()).collect(),
        polling,
    }
}

/// The hash of a tip with this number.
pub(crate) fn tip_hash(number: u8) -> String {
    format!("{number:02x}").repeat(32)
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("not poisoned")
    }

    fn serve(&self, mut stream: TcpStream) {
        let Some((authorization, body)) = read_request(&stream) else { return };
        let Ok(request) = serde_json::from_slice::<Value>(&body) else { return };
        let method = request["method"].as_str().unwrap_or_default().to_owned();
        self.state().asked.push(method.clone());
        self.changed.notify_all();
        let mode = self.state().mode.clone();
        let refused = self.state().authorization.as_ref().is_some_and(|wanted| *wanted != authorization);
        let answer = match mode {
            _ if refused => b"HTTP/1.1 401 Unauthorized\r\nContent-Length: 0\r\n\r\n".to_vec(),
            Mode::Raw(bytes) => bytes,
            Mode::Hang => return self.hang(&stream),
            mode => self.answer(&mode, &method, &request),
        };
        let _ = stream.write_all(&answer);
    }

    /// Until this node ends or is told to do well.
    fn hang(&self, _open: &TcpStream) {
        let state = self.state();
        drop(self.changed.wait_while(state, |state| !state.stopped && state.mode == Mode::Hang));
    }

    fn answer(&self, mode: &Mode, method: &str, request: &Value) -> Vec<u8> {
        if let Some(answer) = self.told(method, request) {
            return answer;
        }
        let result = match (method, mode) {
            ("getblocktemplate", Mode::Refuse(code, message)) => {
                return refusal(request, *code, message);
            }
            ("getblockheader", _) if request["params"][0] == tip_hash(self.state().tip.1) => {
                json!({ "confirmations": self.state().own_confirmations })
            }
            ("getblockheader", _) => match self.state().confirmations {
                Some(confirmations) => json!({ "confirmations": confirmations }),
                None => return refusal(request, -5, "Block not found"),
            },
            ("getblockhash", _) if request["params"][0].as_u64() > Some(self.state().tip.0.into()) => {
                return refusal(request, -8, "Block height out of range");
            }
            ("getblockhash", _) => json!(tip_hash(self.state().tip.1)),
            ("getblocktemplate", _) => {
                self.hold(&request["params"][0]["longpollid"]);
                template(self.state().tip)
            }
            ("getblockchaininfo", _) => {
                let state = self.state();
                json!({
                    "chain": state.chain, "blocks": state.tip.0, "headers": state.tip.0,
                    "initialblockdownload": state.downloading
                })
            }
            ("submitblock", _) => {
                let mut state = self.state();
                state.submitted.push(request["params"][0].as_str().unwrap_or_default().to_owned());
                self.changed.notify_all();
                if state.verdicts.len() > 1 { state.verdicts.remove(0) } else { state.verdicts[0].clone() }
            }
            _ => json!("unknown"),
        };
        body(&json!({ "result": result, "error": null, "id": request["id"] }))
    }

    fn told(&self, method: &str, request: &Value) -> Option<Vec<u8>> {
        let state = self.state();
        let (_, answer) = state.answers.iter().find(|(asked, _)| *asked == method)?;
        Some(match answer {
            Ok(result) => body(&json!({ "result": result, "error": null, "id": request["id"] })),
            Err(code) => refusal(request, *code, "as the test wants"),
        })
    }

    /// A long poll waits until the tip is another, or something else changed the mood.
    fn hold(&self, longpollid: &Value) {
        let Some(id) = longpollid.as_str() else { return };
        let mut state = self.state();
        state.waiting += 1;
        self.changed.notify_all();
        let same =
            |state: &mut State| tip_hash(state.tip.1) == id && !state.stopped && state.mode == Mode::Well;
        let mut state = self.changed.wait_while(state, same).expect("not poisoned");
        state.waiting -= 1;
    }
}

fn refusal(request: &Value, code: i32, message: &str) -> Vec<u8> {
    body(&json!({ "result": null, "error": { "code": code, "message": message }, "id": request["id"] }))
}

fn body(value: &Value) -> Vec<u8> {
    let text = value.to_string();
    format!(
        "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{text}",
        text.len()
    )
    .into_bytes()
}

fn template((height, number): (u32, u8)) -> Value {
    json!({
        "version": 0x2000_0000, "rules": ["csv", "!segwit", "taproot"], "previousblockhash": tip_hash(number),
        "transactions": [], "coinbasevalue": 5_000_000_000u64, "longpollid": tip_hash(number),
        "mintime": 1_700_000_000, "curtime": 1_700_000_100, "bits": "207fffff", "height": height + 1,
        "default_witness_commitment": "6a24aa21a9ed"
    })
}

fn read_request(stream: &TcpStream) -> Option<(String, Vec<u8>)> {
    let mut reader = BufReader::new(stream);
    let (mut authorization, mut length) = (String::new(), 0);
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line).ok()? == 0 {
            return None;
        }
        match line.trim().split_once(": ") {
            Some(("Authorization", value)) => value.clone_into(&mut authorization),
            Some(("Content-Length", value)) => length = value.parse().ok()?,
            None if line.trim().is_empty() => break,
            Some(_) | None => {}
        }
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body).ok()?;
    Some((authorization, body))
}
