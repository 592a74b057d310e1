//! The demo's CPU miner: an SV1 client over a real socket, like any other.

use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context, ensure};
use bitcoin::hashes::{Hash, sha256d};
use bitcoin::{BlockHash, Target};
use serde_json::{Value, json};
use sluice_core::sha;
use sluice_core::units::Difficulty;

/// Hashes between two looks at the job.
const STRIDE: u32 = 20_000;
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// What to hash.
#[derive(Clone)]
struct Task {
    job: String,
    coinbase: (Vec<u8>, Vec<u8>),
    branch: Vec<[u8; 32]>,
    version: u32,
    previous: [u8; 32],
    bits: u32,
    ntime: u32,
    target: Target,
}

struct Shared {
    task: Mutex<Option<Arc<Task>>>,
    generation: AtomicU64,
    stop: AtomicBool,
    writer: Mutex<TcpStream>,
    username: String,
    extranonce1: Vec<u8>,
    extranonce2_size: usize,
}

/// A miner that runs until it is dropped or the pool closes the connection.
pub struct Miner {
    shared: Arc<Shared>,
}

impl Miner {
    /// Connects, logs in and starts `threads` hashing threads.
    ///
    /// # Errors
    /// The pool cannot be reached or refuses the login.
    pub fn start(pool: SocketAddr, username: &str, threads: u16) -> anyhow::Result<Self> {
        let mut stream = TcpStream::connect_timeout(&pool, CONNECT_TIMEOUT)
            .context("failed to connect the demo's miner")?;
        stream.set_nodelay(true)?;
        let mut reader = BufReader::new(stream.try_clone()?);
        send(&mut stream, 1, "mining.subscribe", &json!(["sluice-demo-miner"]))?;
        let subscribed = reply(&mut reader)?;
        send(&mut stream, 2, "mining.authorize", &json!([username, "x"]))?;
        let authorized = reply(&mut reader)?;
        ensure!(authorized["result"] == true, "the pool refused the demo's miner: {}", authorized["error"]);
        let shared = Arc::new(Shared {
            task: Mutex::default(),
            generation: AtomicU64::new(0),
            stop: AtomicBool::new(false),
            writer: Mutex::new(stream),
            username: username.to_owned(),
            extranonce1: bytes(&subscribed["result"][1])?,
            extranonce2_size: usize::try_from(subscribed["result"][2].as_u64().unwrap_or(8))?,
        });
        let listening = Arc::clone(&shared);
        std::thread::Builder::new().name("demo-miner".into()).spawn(move || listening.listen(reader))?;
        for index in 0..threads {
            let hashing = Arc::clone(&shared);
            std::thread::Builder::new()
                .name(format!("demo-hasher-{index}"))
                .spawn(move || hashing.hash(index))?;
        }
        Ok(Self { shared })
    }
}

impl Drop for Miner {
    fn drop(&mut self) {
        self.shared.end();
    }
}

impl Shared {
    fn end(&self) {
        self.stop.store(true, Ordering::Relaxed);
        let writer = self.writer.lock().unwrap_or_else(PoisonError::into_inner);
        // Wakes the listening thread; the socket may be closed already.
        let _ = writer.shutdown(std::net::Shutdown::Both);
    }

    fn listen(&self, mut reader: BufReader<TcpStream>) {
        let mut target = Difficulty::ONE.to_target();
        while let Ok(message) = line(&mut reader) {
            match message["method"].as_str() {
                Some("mining.set_difficulty") => {
                    let difficulty = message["params"][0].as_f64().unwrap_or(1.0);
                    target = Difficulty::saturating(difficulty).to_target();
                }
                Some("mining.notify") => match task(&message["params"], target) {
                    Ok(task) => {
                        *self.task.lock().unwrap_or_else(PoisonError::into_inner) = Some(Arc::new(task));
                        self.generation.fetch_add(1, Ordering::Release);
                    }
                    Err(error) => {
                        tracing::warn!(error = %format!("{error:#}"), "the demo's miner got a job it cannot read");
                    }
                },
                _ => {}
            }
        }
        self.end();
    }

    fn hash(&self, index: u16) {
        let mut round = 0u64;
        while !self.stop.load(Ordering::Relaxed) {
            let generation = self.generation.load(Ordering::Acquire);
            let task = self.task.lock().unwrap_or_else(PoisonError::into_inner).clone();
            match task {
                Some(task) => {
                    round += 1;
                    self.search(&task, (u64::from(index) << 40) | round, generation);
                }
                None => std::thread::park_timeout(Duration::from_millis(20)),
            }
        }
    }

    /// Tries all nonces of one extranonce2, until there is other work.
    fn search(&self, task: &Task, extranonce2: u64, generation: u64) {
        let wide = [[0; 24].as_slice(), &extranonce2.to_be_bytes()].concat();
        let extranonce2 = wide[wide.len() - self.extranonce2_size.min(32)..].to_vec();
        let (prefix, suffix) = &task.coinbase;
        let coinbase = [prefix.as_slice(), &self.extranonce1, &extranonce2, suffix].concat();
        let root = sluice_core::merkle::root(sha256d::Hash::hash(&coinbase).to_byte_array(), &task.branch);
        let mut header = [0; 80];
        header[..4].copy_from_slice(&task.version.to_le_bytes());
        header[4..36].copy_from_slice(&task.previous);
        header[36..68].copy_from_slice(&root);
        header[68..72].copy_from_slice(&task.ntime.to_le_bytes());
        header[72..76].copy_from_slice(&task.bits.to_le_bytes());
        let mut first = [[0; 64]];
        first[0].copy_from_slice(&header[..64]);
        let midstate = sha::midstate(&first);
        let mut last = sha::padded(&header[64..], 80);
        for nonce in 0..=u32::MAX {
            if nonce % STRIDE == 0
                && (self.stop.load(Ordering::Relaxed)
                    || self.generation.load(Ordering::Acquire) != generation)
            {
                return;
            }
            last[0][12..16].copy_from_slice(&nonce.to_le_bytes());
            let hash = BlockHash::from_byte_array(sha::finish_double(midstate, &last));
            if task.target.is_met_by(hash) && self.submit(task, &extranonce2, nonce).is_err() {
                return self.end();
            }
        }
    }

    fn submit(&self, task: &Task, extranonce2: &[u8], nonce: u32) -> anyhow::Result<()> {
        let params = json!([
            self.username,
            task.job,
            hex::encode(extranonce2),
            format!("{:08x}", task.ntime),
            format!("{nonce:08x}"),
        ]);
        let mut writer = self.writer.lock().unwrap_or_else(PoisonError::into_inner);
        send(&mut writer, 4, "mining.submit", &params)
    }
}

fn send(stream: &mut TcpStream, id: u32, method: &str, params: &Value) -> anyhow::Result<()> {
    let mut line = json!({"id": id, "method": method, "params": params}).to_string();
    line.push('\n');
    stream.write_all(line.as_bytes()).context("failed to write to the pool")
}

fn line(reader: &mut BufReader<TcpStream>) -> anyhow::Result<Value> {
    let mut text = String::new();
    ensure!(reader.read_line(&mut text)? > 0, "the pool closed the connection");
    Ok(serde_json::from_str(&text)?)
}

/// The next line that is a reply.
fn reply(reader: &mut BufReader<TcpStream>) -> anyhow::Result<Value> {
    loop {
        let message = line(reader)?;
        if message["method"].is_null() {
            return Ok(message);
        }
    }
}

fn bytes(value: &Value) -> anyhow::Result<Vec<u8>> {
    hex::decode(value.as_str().context("a text is missing")?).context("a text is no hex")
}

fn number(value: &Value) -> anyhow::Result<u32> {
    u32::from_str_radix(value.as_str().context("a text is missing")?, 16).context("a text is no number")
}

fn task(params: &Value, target: Target) -> anyhow::Result<Task> {
    let mut previous: [u8; 32] =
        bytes(&params[1])?.try_into().map_err(|_| anyhow::anyhow!("a hash has 32 bytes"))?;
    // V1-50: eight words, each reversed.
    previous.chunks_exact_mut(4).for_each(<[u8]>::reverse);
    let branch = params[4].as_array().context("the branch is missing")?;
    let node = |value| bytes(value)?.try_into().map_err(|_| anyhow::anyhow!("a node has 32 bytes"));
    Ok(Task {
        job: params[0].as_str().context("the job has no id")?.to_owned(),
        coinbase: (bytes(&params[2])?, bytes(&params[3])?),
        branch: branch.iter().map(node).collect::<anyhow::Result<_>>()?,
        version: number(&params[5])?,
        previous,
        bits: number(&params[6])?,
        ntime: number(&params[7])?,
        target,
    })
}
