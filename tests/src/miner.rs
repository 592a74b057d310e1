//! A miner on a socket: plain SV1, nothing hidden, so that tests can speak as any firmware does.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use bitcoin::hashes::Hash;
use bitcoin::{Address, Network, ScriptBuf, WPubkeyHash};
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::time::timeout;

use crate::SOON;
use crate::share::{Job, Search, Share, difficulty_of};

/// What a miner was told at its subscription.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Subscription {
    /// Of the `mining.notify` tuple: shown again to resume (V1-76).
    pub session: String,
    pub extranonce1: Vec<u8>,
    pub extranonce2_size: usize,
}

/// An SV1 client.
pub struct Miner {
    reader: BufReader<OwnedReadHalf>,
    writer: OwnedWriteHalf,
    next_id: u64,
    next_extranonce2: u64,
    user: String,
    subscription: Option<Subscription>,
    difficulty: Option<f64>,
    /// Notifications not yet looked at, oldest first.
    inbox: VecDeque<Value>,
    job: Option<Job>,
}

/// The regtest address of the test account `number`.
pub fn address(number: u32) -> Address {
    let mut hash = [0x51; 20];
    hash[..4].copy_from_slice(&number.to_be_bytes());
    let script = ScriptBuf::new_p2wpkh(&WPubkeyHash::from_byte_array(hash));
    Address::from_script(&script, Network::Regtest).expect("every witness program of 20 bytes has an address")
}

impl Miner {
    /// # Errors
    /// No connection.
    pub async fn connect(address: SocketAddr) -> Result<Self> {
        let socket = timeout(SOON, TcpStream::connect(address)).await.context("connecting hangs")??;
        socket.set_nodelay(true)?;
        let (reader, writer) = socket.into_split();
        Ok(Self {
            reader: BufReader::new(reader),
            writer,
            next_id: 1,
            next_extranonce2: 0,
            user: String::new(),
            subscription: None,
            difficulty: None,
            inbox: VecDeque::new(),
            job: None,
        })
    }

    /// Connects, subscribes and logs in as `user`.
    ///
    /// # Errors
    /// One of the three failed.
    pub async fn log_in(address: SocketAddr, user: &str) -> Result<Self> {
        let mut miner = Self::connect(address).await?;
        miner.subscribe(None).await?;
        miner.authorize(user, "x").await?;
        Ok(miner)
    }

    /// The same, for firmware that calls itself `agent`, and waits for work.
    ///
    /// # Errors
    /// One of the four failed.
    pub async fn working_as(address: SocketAddr, user: &str, agent: &str) -> Result<Self> {
        let mut miner = Self::connect(address).await?;
        let reply = miner.call("mining.subscribe", json!([agent])).await?;
        miner.subscribed(&reply)?;
        miner.authorize(user, "x").await?;
        miner.job().await?;
        Ok(miner)
    }

    /// Connects, subscribes, logs in, and waits for work.
    ///
    /// # Errors
    /// One of the four failed.
    pub async fn working(address: SocketAddr, user: &str) -> Result<Self> {
        let mut miner = Self::log_in(address, user).await?;
        miner.job().await?;
        Ok(miner)
    }

    /// Bytes as they are.
    ///
    /// # Errors
    /// The peer closed.
    pub async fn send_raw(&mut self, bytes: impl AsRef<[u8]>) -> Result<()> {
        Ok(timeout(SOON, self.writer.write_all(bytes.as_ref())).await.context("sending hangs")??)
    }

    /// A request; returns its id.
    ///
    /// # Errors
    /// The peer closed.
    pub async fn send(&mut self, method: &str, params: Value) -> Result<u64> {
        let id = self.next_id;
        self.next_id += 1;
        let line = json!({"id": id, "method": method, "params": params});
        self.send_raw(format!("{line}\n")).await?;
        Ok(id)
    }

    /// The next line, whatever it is; `None` when the peer closed.
    ///
    /// # Errors
    /// Nothing within `limit`, or not JSON.
    pub async fn line_within(&mut self, limit: Duration) -> Result<Option<Value>> {
        if let Some(value) = self.inbox.pop_front() {
            return Ok(Some(value));
        }
        let mut line = String::new();
        let read = timeout(limit, self.reader.read_line(&mut line)).await.context("the pool is silent")?;
        match read {
            Ok(0) => return Ok(None),
            Ok(_) => {}
            Err(error) if error.kind() == std::io::ErrorKind::ConnectionReset => return Ok(None),
            Err(error) => return Err(error.into()),
        }
        let value = serde_json::from_str(&line).with_context(|| format!("no JSON: {line:?}"))?;
        self.note(&value)?;
        Ok(Some(value))
    }

    /// # Errors
    /// Silence, or the peer closed.
    pub async fn line(&mut self) -> Result<Value> {
        self.line_within(SOON).await?.context("the pool closed the connection")
    }

    /// Remembers what a notification says.
    fn note(&mut self, value: &Value) -> Result<()> {
        let params = &value["params"];
        match value["method"].as_str() {
            Some("mining.set_difficulty") => {
                self.difficulty = Some(params[0].as_f64().context("a difficulty that is no number")?);
            }
            Some("mining.notify") => {
                let difficulty = self.difficulty.context("a job came before a difficulty (V1-24)")?;
                self.job = Some(Job::parse(params, difficulty)?);
            }
            _ => {}
        }
        Ok(())
    }

    /// The reply to request `id`. Notifications before it are kept for [`Miner::line`].
    ///
    /// # Errors
    /// Silence, the peer closed, or the reply to something else.
    pub async fn reply(&mut self, id: u64) -> Result<Value> {
        let mut kept = VecDeque::new();
        let reply = loop {
            let value = self.line().await?;
            if value["method"].is_string() {
                kept.push_back(value);
                continue;
            }
            ensure!(value["id"] == id, "the reply to {id} should be next (V1-21), not {value}");
            break value;
        };
        self.inbox = kept;
        Ok(reply)
    }

    /// Sends a request and waits for its reply.
    ///
    /// # Errors
    /// Silence, or the peer closed.
    pub async fn call(&mut self, method: &str, params: Value) -> Result<Value> {
        let id = self.send(method, params).await?;
        self.reply(id).await
    }

    /// # Errors
    /// Refused, or an answer that is not that of V1-13.
    pub async fn subscribe(&mut self, session: Option<&str>) -> Result<Subscription> {
        let params = session.map_or_else(|| json!(["sluice-tests/1"]), |id| json!(["sluice-tests/1", id]));
        let reply = self.call("mining.subscribe", params).await?;
        self.subscribed(&reply)
    }

    /// Takes over the reply to a subscribe.
    ///
    /// # Errors
    /// Refused, or an answer that is not that of V1-13.
    pub fn subscribed(&mut self, reply: &Value) -> Result<Subscription> {
        ensure!(reply["error"].is_null(), "the subscription was refused: {reply}");
        let result = &reply["result"];
        let tuples = result[0].as_array().context("no list of subscriptions")?;
        let notify =
            tuples.iter().find(|tuple| tuple[0] == "mining.notify").context("no mining.notify tuple")?;
        let size = result[2].as_u64().context("no extranonce2 size")?;
        let subscription = Subscription {
            session: notify[1].as_str().context("a session id that is no text")?.to_owned(),
            extranonce1: hex::decode(result[1].as_str().context("no extranonce1")?)?,
            extranonce2_size: usize::try_from(size)?,
        };
        self.subscription = Some(subscription.clone());
        Ok(subscription)
    }

    /// # Errors
    /// Refused.
    pub async fn authorize(&mut self, user: &str, password: &str) -> Result<()> {
        let reply = self.call("mining.authorize", json!([user, password])).await?;
        ensure!(reply["result"] == true, "{user} was refused: {reply}");
        user.clone_into(&mut self.user);
        Ok(())
    }

    /// Sets the name that shares are submitted under.
    pub fn set_user(&mut self, user: &str) {
        user.clone_into(&mut self.user);
    }

    pub fn user(&self) -> &str {
        &self.user
    }

    pub fn subscription(&self) -> Result<&Subscription> {
        self.subscription.as_ref().context("not subscribed")
    }

    /// The difficulty told last.
    pub fn difficulty(&self) -> Option<f64> {
        self.difficulty
    }

    /// The newest job: waits for the first one, takes in what has arrived.
    ///
    /// # Errors
    /// Silence, or the peer closed.
    pub async fn job(&mut self) -> Result<Job> {
        while self.job.is_none() {
            let line = self.line().await?;
            ensure!(line["method"].is_string(), "a reply to nothing: {line}");
        }
        self.inbox.clear();
        self.job.clone().context("there is one")
    }

    /// The next job that `wanted` likes; others are passed over.
    ///
    /// # Errors
    /// Silence, or the peer closed.
    pub async fn next_job(&mut self, wanted: impl Fn(&Job) -> bool) -> Result<Job> {
        loop {
            let line = self.line().await?;
            if line["method"] != "mining.notify" {
                continue;
            }
            let job = Job::parse(&line["params"], self.difficulty.unwrap_or(0.0))?;
            if wanted(&job) {
                return Ok(job);
            }
        }
    }

    /// Where to search in a job: an extranonce2 never used before on this connection.
    ///
    /// # Errors
    /// Not subscribed.
    pub fn search(&mut self, job: &Job) -> Result<Search> {
        let Subscription { extranonce1, extranonce2_size, .. } = self.subscription()?.clone();
        let counter = self.next_extranonce2.to_be_bytes();
        self.next_extranonce2 += 1;
        let extranonce2 = counter[8 - extranonce2_size.min(8)..].to_vec();
        Ok(Search { extranonce1, extranonce2, ntime: job.ntime, version_bits: None, first_nonce: 0 })
    }

    /// A share that meets the job's difficulty.
    ///
    /// # Errors
    /// Not subscribed.
    pub fn mine(&mut self, job: &Job) -> Result<Share> {
        self.mine_where(job, |hash| difficulty_of(hash) >= job.difficulty)
    }

    /// A share whose hash `wanted` likes.
    ///
    /// # Errors
    /// Not subscribed, or there is none.
    pub fn mine_where(&mut self, job: &Job, wanted: impl Fn(&[u8; 32]) -> bool) -> Result<Share> {
        self.search(job)?.find(job, wanted).context("no nonce of 2^32 will do")
    }

    /// Submits, and waits for the reply.
    ///
    /// # Errors
    /// Silence, or the peer closed.
    pub async fn submit(&mut self, share: &Share) -> Result<Value> {
        let params = share.params(&self.user);
        self.call("mining.submit", params).await
    }

    /// Submits a share that must be accepted.
    ///
    /// # Errors
    /// It was not.
    pub async fn submit_good(&mut self, share: &Share) -> Result<()> {
        let reply = self.submit(share).await?;
        ensure!(reply["result"] == true && reply["error"].is_null(), "a good share was refused: {reply}");
        Ok(())
    }

    /// Reads until the peer closes; returns what it said before.
    ///
    /// # Errors
    /// It does not close.
    pub async fn until_closed(&mut self) -> Result<Vec<Value>> {
        let mut said: Vec<Value> = self.inbox.drain(..).collect();
        loop {
            match self.line_within(SOON).await? {
                Some(line) => said.push(line),
                None => return Ok(said),
            }
        }
    }

    /// Both halves, for tests that read while they write.
    pub fn into_parts(self) -> (BufReader<OwnedReadHalf>, OwnedWriteHalf) {
        (self.reader, self.writer)
    }

    /// Reads raw bytes until the peer closes.
    ///
    /// # Errors
    /// It does not close.
    pub async fn drain(mut self) -> Result<Vec<u8>> {
        let mut bytes = Vec::new();
        match timeout(SOON, self.reader.read_to_end(&mut bytes)).await {
            Ok(Ok(_)) => Ok(bytes),
            Ok(Err(error)) if error.kind() == std::io::ErrorKind::ConnectionReset => Ok(bytes),
            Ok(Err(error)) => Err(error.into()),
            Err(_) => bail!("the pool keeps the connection open"),
        }
    }
}

/// The code of a reply's error, which has the three elements of V1-11.
///
/// # Errors
/// No such error.
pub fn error_code(reply: &Value) -> Result<i64> {
    let error = reply["error"].as_array().with_context(|| format!("no error array: {reply}"))?;
    ensure!(error.len() == 3 && error[1].is_string(), "not [code, text, null]: {reply}");
    error[0].as_i64().context("an error code that is no integer")
}
