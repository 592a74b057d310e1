//! A pool around one connection, and a miner that knows nothing but the wire.

#![allow(clippy::unwrap_used, reason = "test code: a failure is to stop the test where it is")]

use std::sync::Arc;
use std::time::Duration;

use bitcoin::hashes::{Hash, sha256d};
use bitcoin::{Amount, Block, BlockHash, CompactTarget, Network, Target, Txid, Wtxid, consensus};
use serde_json::Value;
use sluice_core::coinbase::{Payment, PoolMark, parse_address};
use sluice_core::extranonce::{Extranonces, ResumeToken};
use sluice_core::ids::{AccountId, AccountName, ChannelId, JobId, TemplateId, WorkerId, WorkerName};
use sluice_core::job::{Job, TipNumber, Work};
use sluice_core::policy::auth::{Grant, Login, Refusal};
use sluice_core::policy::vardiff::{Decision, Memo, Opening, Review};
use sluice_core::session::{Admission, Answer, Close, Effect, Recipient, Session};
use sluice_core::share::{FoundBlock, Reason, Share};
use sluice_core::template::{Template, TemplateTransaction};
use sluice_core::units::{Difficulty, Moment, Now, Timestamp, VersionMask};
use sluice_stratum_v1::{Announcement, Connection, SessionConfig};

/// Difficulty 1: a test never finds a block by chance.
pub(crate) const HARD: u32 = 0x1d00_ffff;
/// Regtest: every second hash is a block.
pub(crate) const REGTEST: u32 = 0x207f_ffff;
/// 43 hashes a share.
pub(crate) const EASY: f64 = 0.000_000_01;
/// The one channel of a connection.
pub(crate) const CHANNEL: ChannelId = ChannelId(0);
pub(crate) const MIN_TIME: u32 = 1_700_000_000;

/// Makes jobs as the job board does.
pub(crate) struct Board {
    pub(crate) bits: u32,
    pub(crate) tip: u64,
    pub(crate) transactions: usize,
    next: u32,
}

impl Board {
    pub(crate) fn new(bits: u32) -> Self {
        Self { bits, tip: 1, transactions: 2, next: 0x1a }
    }

    pub(crate) fn job(&mut self, now: Now) -> Arc<Announcement> {
        self.next += 1;
        let address =
            parse_address("bcrt1qw508d6qejxtdg4y5r3zarvary0c5xw7kygt080", Network::Regtest).unwrap();
        let value = Amount::from_sat(5_000_000_000);
        let payments = [Payment { account: String::new(), address, amount: value }];
        let work =
            Work::new(Arc::new(self.template(value)), (TipNumber(self.tip), now.moment), VersionMask::BIP320);
        let mark = PoolMark { tag: b"/Sluice/".to_vec(), extranonce_length: 12 };
        let ids = (JobId(self.next), u64::from(self.next));
        let job = Job::new(ids, Arc::new(work), payments.into(), &mark, now).unwrap();
        Arc::new(Announcement::new(Arc::new(job)))
    }

    fn template(&self, value: Amount) -> Template {
        let transactions = (0..self.transactions).map(|index| TemplateTransaction {
            data: vec![],
            txid: Txid::from_byte_array([u8::try_from(index).unwrap() + 1; 32]),
            wtxid: Wtxid::from_byte_array([9; 32]),
        });
        let mut previous = [0u8; 32];
        for (index, byte) in previous.iter_mut().enumerate() {
            *byte = u8::try_from(index).unwrap() ^ u8::try_from(self.tip).unwrap();
        }
        Template {
            id: TemplateId(u64::from(self.next)),
            network: Network::Regtest,
            height: 200,
            previous: BlockHash::from_byte_array(previous),
            version: 0x2000_0000,
            bits: CompactTarget::from_consensus(self.bits),
            min_time: MIN_TIME,
            cur_time: MIN_TIME + 600,
            coinbase_value: value,
            subsidy: value,
            witness_commitment: Some([[0x6a, 0x24, 0xaa, 0x21, 0xa9, 0xed].as_slice(), &[3; 32]].concat()),
            transactions: transactions.collect(),
            received: Timestamp(0),
        }
    }
}

pub(crate) fn config() -> SessionConfig {
    let mut config = SessionConfig::new("test".into());
    config.start = Difficulty::saturating(EASY);
    config.floor = Difficulty::MIN;
    config
}

/// A connection, the pool that serves it, and all that came of it.
pub(crate) struct Pool {
    pub(crate) session: Connection,
    pub(crate) now: Now,
    pub(crate) board: Board,
    pub(crate) extranonces: Extranonces,
    /// What the vardiff policy says of a channel that opens; `None`: nothing.
    pub(crate) opening: Option<f64>,
    /// Whether shares reach the log at once.
    pub(crate) commits: bool,
    /// Whether logins are answered at once.
    pub(crate) answers_logins: bool,
    pub(crate) recorded: Vec<Share>,
    pub(crate) rejected: Vec<Reason>,
    pub(crate) blocks: Vec<FoundBlock>,
    /// Kinds of effects, in order.
    pub(crate) order: Vec<&'static str>,
    pub(crate) logins: Vec<Login>,
    pub(crate) openings: Vec<Opening>,
    pub(crate) reviews: Vec<Review>,
    /// Whose work the session asked for.
    pub(crate) supplied: Vec<AccountName>,
    /// The jobs that fresh ones were to be newer than.
    pub(crate) fresh_after: Vec<Option<JobId>>,
    /// How often the handshake was over.
    pub(crate) established: u32,
    pub(crate) closed: Option<Close>,
    tokens: u8,
}

impl Pool {
    pub(crate) fn new() -> Self {
        Self::with(config(), HARD)
    }

    pub(crate) fn with(config: SessionConfig, bits: u32) -> Self {
        let now = at(0);
        Self {
            session: Connection::new(Arc::new(config), "192.0.2.7".into(), now),
            now,
            board: Board::new(bits),
            extranonces: Extranonces::new(0),
            opening: Some(EASY),
            commits: true,
            answers_logins: true,
            recorded: Vec::new(),
            rejected: Vec::new(),
            blocks: Vec::new(),
            order: Vec::new(),
            logins: Vec::new(),
            openings: Vec::new(),
            reviews: Vec::new(),
            supplied: Vec::new(),
            fresh_after: Vec::new(),
            established: 0,
            closed: None,
            tokens: 0,
        }
    }

    /// A connection that has subscribed and authorised, with the first job it was sent.
    pub(crate) fn ready() -> (Self, Miner) {
        Self::new().handshake()
    }

    pub(crate) fn handshake(mut self) -> (Self, Miner) {
        let lines = self.say(r#"{"id":1,"method":"mining.subscribe","params":["test/1.0"]}"#);
        let mut miner = Miner::subscribed(&lines[0]);
        let lines = self.say(r#"{"id":2,"method":"mining.authorize","params":["alice.rig","x"]}"#);
        assert_eq!(lines[0]["result"], Value::Bool(true));
        miner.hear(&lines);
        (self, miner)
    }

    /// Hangs up and comes back, without the token if `token` is empty.
    pub(crate) fn reconnect(&mut self, config: SessionConfig) {
        for parked in self.session.park() {
            self.extranonces.park(parked, self.now.moment);
        }
        self.session = Connection::new(Arc::new(config), "192.0.2.7".into(), self.now);
    }

    pub(crate) fn say(&mut self, line: &str) -> Vec<Value> {
        self.send(format!("{line}\n").as_bytes())
    }

    /// Hands bytes in as a driver does, and returns the lines that come back.
    pub(crate) fn send(&mut self, bytes: &[u8]) -> Vec<Value> {
        let text = self.send_raw(bytes);
        parse(&text)
    }

    pub(crate) fn send_raw(&mut self, mut bytes: &[u8]) -> String {
        loop {
            let used = self.session.receive(self.now, bytes);
            bytes = &bytes[used..];
            let was_waiting = !self.session.wants_input();
            self.run();
            if bytes.is_empty() || (used == 0 && was_waiting && !self.session.wants_input()) {
                break;
            }
        }
        self.flush()
    }

    /// Runs effects until there are none.
    pub(crate) fn run(&mut self) {
        while let Some(effect) = self.session.next_effect() {
            self.effect(effect);
        }
        if self.commits {
            self.session.committed(self.recorded.len() as u64);
        }
    }

    fn effect(&mut self, effect: Effect) {
        match effect {
            Effect::Reserve { channel, resume } => {
                self.tokens += 1;
                let token = ResumeToken([self.tokens; 16]);
                let reservation = self.extranonces.reserve(resume, token, self.now.moment);
                self.session.answer(self.now, Answer::Reserved(channel, reservation));
            }
            Effect::Authorize { channel, login } => {
                let outcome = admit(&login);
                self.logins.push(*login);
                if self.answers_logins {
                    self.session.answer(self.now, Answer::Authorized(channel, outcome));
                }
            }
            Effect::Open { channel, opening } => {
                self.openings.push(*opening);
                self.session.answer(self.now, Answer::Opened(channel, self.opening.map(decision)));
            }
            Effect::Supply { channel, account } => {
                self.supplied.push(account);
                let work = self.board.job(self.now);
                self.session.offer(self.now, Recipient::Channel(channel), &work);
            }
            Effect::Review { review, .. } => {
                self.order.push("review");
                self.reviews.push(*review);
            }
            Effect::FreshWork { channel, sent, .. } => {
                self.order.push("fresh");
                self.fresh_after.push(sent);
                let work = self.board.job(self.now);
                self.session.offer(self.now, Recipient::Channel(channel), &work);
            }
            Effect::Record { share, .. } => {
                self.order.push("record");
                self.recorded.push(share);
            }
            Effect::Block { block, .. } => {
                self.order.push("block");
                self.blocks.push(*block);
            }
            Effect::Rejected(reason) => self.rejected.push(reason),
            Effect::Established => self.established += 1,
            Effect::Release { .. } | Effect::Name { .. } | Effect::Unsupply(_) | Effect::Note(_) => {
                panic!("what only protocols with many channels need: {effect:?}")
            }
            Effect::Close(why) => self.closed = Some(why),
        }
    }

    pub(crate) fn offer(&mut self) -> Arc<Announcement> {
        let work = self.board.job(self.now);
        self.session.offer(self.now, Recipient::Everyone, &work);
        work
    }

    pub(crate) fn decide(&mut self, difficulty: f64) {
        self.session.answer(self.now, Answer::Reviewed(CHANNEL, Some(decision(difficulty))));
        self.run();
    }

    pub(crate) fn answer_login(&mut self) {
        self.answer_login_only();
        self.run();
    }

    pub(crate) fn answer_login_only(&mut self) {
        let outcome = admit(self.logins.last().unwrap());
        self.session.answer(self.now, Answer::Authorized(CHANNEL, outcome));
    }

    pub(crate) fn flush(&mut self) -> String {
        let mut out = Vec::new();
        self.session.transmit(self.now, &mut out);
        self.run();
        String::from_utf8(out).unwrap()
    }

    pub(crate) fn lines(&mut self) -> Vec<Value> {
        parse(&self.flush())
    }

    /// Lets time pass as a driver does: to each deadline, and to the end.
    pub(crate) fn pass(&mut self, time: Duration) {
        let end = self.now.moment.after(time);
        while let Some(deadline) = self.session.deadline().filter(|deadline| *deadline <= end) {
            self.now = at(deadline.0.max(self.now.moment.0));
            self.session.timeout(self.now);
            self.run();
            assert!(self.session.deadline() != Some(deadline), "a deadline that does not move");
        }
        self.now = at(end.0);
    }
}

pub(crate) fn at(millis: u64) -> Now {
    Now { moment: Moment(millis), wall: Timestamp(u64::from(MIN_TIME + 600) * 1000 + millis) }
}

pub(crate) fn decision(difficulty: f64) -> Decision {
    Decision {
        difficulty: Difficulty::saturating(difficulty),
        review_after: Duration::from_secs(60),
        review_after_shares: 1000,
        memo: Memo::default(),
    }
}

/// `ACCOUNT.WORKER` is welcome unless the account is "mallory" or "later".
fn admit(login: &Login) -> Result<Box<Admission>, Refusal> {
    let (account, worker) = login.username.split_once('.').unwrap_or((&login.username, ""));
    match account {
        "mallory" => return Err(Refusal::UnknownUser("nobody of that name".into())),
        "later" => return Err(Refusal::TryLater("try later".into())),
        _ => {}
    }
    let grant = Grant {
        account: AccountName::new(account).unwrap(),
        worker: WorkerName::new(worker).unwrap(),
        payout_address: None,
        start: None,
        minimum: None,
        maximum: None,
    };
    Ok(Box::new(Admission { grant, account: AccountId(1), worker: WorkerId(2) }))
}

pub(crate) fn parse(text: &str) -> Vec<Value> {
    assert!(text.is_empty() || text.ends_with('\n'), "{text:?}");
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// A notify as a miner reads it.
#[derive(Clone, Debug)]
pub(crate) struct Notify {
    pub(crate) job: String,
    pub(crate) previous: String,
    pub(crate) coinbase: (Vec<u8>, Vec<u8>),
    pub(crate) branch: Vec<[u8; 32]>,
    pub(crate) version: u32,
    pub(crate) bits: u32,
    pub(crate) ntime: u32,
    pub(crate) clean: bool,
}

/// Builds headers from the wire alone.
#[derive(Clone, Debug)]
pub(crate) struct Miner {
    pub(crate) session: String,
    pub(crate) extranonce1: String,
    pub(crate) extranonce2_size: usize,
    pub(crate) difficulty: Option<f64>,
    pub(crate) jobs: Vec<Notify>,
    pub(crate) counter: u64,
}

impl Miner {
    pub(crate) fn subscribed(reply: &Value) -> Self {
        let result = reply["result"].as_array().unwrap();
        assert_eq!(reply["error"], Value::Null);
        Self {
            session: result[0][0][1].as_str().unwrap().to_owned(),
            extranonce1: result[1].as_str().unwrap().to_owned(),
            extranonce2_size: usize::try_from(result[2].as_u64().unwrap()).unwrap(),
            difficulty: None,
            jobs: Vec::new(),
            counter: 0,
        }
    }

    /// Takes what the pool says of itself. A notify makes the difficulty before it effective (V1-39).
    pub(crate) fn hear(&mut self, lines: &[Value]) {
        for line in lines {
            match line["method"].as_str() {
                Some("mining.set_difficulty") => self.difficulty = line["params"][0].as_f64(),
                Some("mining.notify") => self.jobs.push(Notify::read(&line["params"])),
                _ => {}
            }
        }
    }

    pub(crate) fn job(&self) -> &Notify {
        self.jobs.last().unwrap()
    }

    /// Mines a share of `job` at `difficulty`; returns the six parameters.
    pub(crate) fn mine(&mut self, job: &Notify, difficulty: f64, bits: u32) -> [String; 6] {
        let target = Difficulty::saturating(difficulty).to_target();
        self.search(job, bits, |hash| target.is_met_by(hash))
    }

    /// Mines something that meets `wanted`.
    pub(crate) fn search(
        &mut self,
        job: &Notify,
        bits: u32,
        wanted: impl Fn(BlockHash) -> bool,
    ) -> [String; 6] {
        self.counter += 1;
        let width = self.extranonce2_size * 2;
        let extranonce2 = format!("{:0width$x}", self.counter);
        let header = job.header(&self.extranonce1, &extranonce2, bits);
        let nonce = (0..u32::MAX).find(|nonce| wanted(hash(header, *nonce))).unwrap();
        [
            "alice.rig".into(),
            job.job.clone(),
            extranonce2,
            format!("{:08x}", job.ntime),
            format!("{nonce:08x}"),
            format!("{bits:08x}"),
        ]
    }
}

pub(crate) fn hash(mut header: [u8; 80], nonce: u32) -> BlockHash {
    header[76..].copy_from_slice(&nonce.to_le_bytes());
    BlockHash::from_byte_array(sha256d::Hash::hash(&header).to_byte_array())
}

impl Notify {
    pub(crate) fn read(params: &Value) -> Self {
        assert_eq!(params.as_array().unwrap().len(), 9, "V1-49");
        let text = |index: usize| params[index].as_str().unwrap().to_owned();
        let bytes = |index: usize| hex::decode(text(index)).unwrap();
        let word = |index: usize| u32::from_str_radix(&text(index), 16).unwrap();
        let nodes = params[4].as_array().unwrap().iter();
        Self {
            job: text(0),
            previous: text(1),
            coinbase: (bytes(2), bytes(3)),
            branch: nodes
                .map(|node| hex::decode(node.as_str().unwrap()).unwrap().try_into().unwrap())
                .collect(),
            version: word(5),
            bits: word(6),
            ntime: word(7),
            clean: params[8].as_bool().unwrap(),
        }
    }

    /// The header without its nonce, by the recipe of V1-50.
    pub(crate) fn header(&self, extranonce1: &str, extranonce2: &str, bits: u32) -> [u8; 80] {
        let decode = |text: &str| hex::decode(text).unwrap();
        let coinbase =
            [self.coinbase.0.clone(), decode(extranonce1), decode(extranonce2), self.coinbase.1.clone()]
                .concat();
        let mut root = sha256d::Hash::hash(&coinbase).to_byte_array();
        for node in &self.branch {
            root = sha256d::Hash::hash(&[root, *node].concat()).to_byte_array();
        }
        let mut header = [0; 80];
        header[..4].copy_from_slice(&(self.version | bits).to_le_bytes());
        let previous = decode(&self.previous);
        for (to, from) in header[4..36].chunks_exact_mut(4).zip(previous.chunks_exact(4)) {
            to.copy_from_slice(&[from[3], from[2], from[1], from[0]]);
        }
        header[36..68].copy_from_slice(&root);
        header[68..72].copy_from_slice(&self.ntime.to_le_bytes());
        header[72..76].copy_from_slice(&self.bits.to_le_bytes());
        header
    }
}

/// A `mining.submit` line with these parameters.
pub(crate) fn submit(id: u64, params: &[String]) -> String {
    serde_json::json!({"id": id, "method": "mining.submit", "params": params}).to_string()
}

/// The code of an error that is an array of three (V1-11).
pub(crate) fn code(reply: &Value) -> i64 {
    let error = reply["error"].as_array().unwrap_or_else(|| panic!("{reply}"));
    assert_eq!(error.len(), 3, "{reply}");
    error[0].as_i64().unwrap()
}

/// Which of the pool's lines are what: methods, or `reply`.
pub(crate) fn kinds(lines: &[Value]) -> Vec<&str> {
    lines.iter().map(|line| line["method"].as_str().unwrap_or("reply")).collect()
}

pub(crate) fn meets(block: &FoundBlock, bits: u32) -> bool {
    Target::from_compact(CompactTarget::from_consensus(bits)).is_met_by(block.hash)
}

/// The coinbase and header of a found block, from its bytes.
pub(crate) fn coinbase_of(block: &FoundBlock) -> (bitcoin::block::Header, bitcoin::Transaction) {
    if let Ok(block) = consensus::deserialize::<Block>(&block.block) {
        return (block.header, block.txdata[0].clone());
    }
    // Test templates carry transactions without bytes.
    let (header, used) = consensus::deserialize_partial(&block.block).unwrap();
    let (_, more) = consensus::deserialize_partial::<bitcoin::VarInt>(&block.block[used..]).unwrap();
    let (coinbase, _) = consensus::deserialize_partial(&block.block[used + more..]).unwrap();
    (header, coinbase)
}
