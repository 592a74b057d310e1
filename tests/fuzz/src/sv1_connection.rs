//! A whole connection: any bytes in any pieces, any answers at any time, and what must hold all the while.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use serde_json::value::RawValue;
use sluice_core::bitcoin::hashes::Hash;
use sluice_core::bitcoin::{Amount, BlockHash, CompactTarget, Network};
use sluice_core::coinbase::{Payment, PoolMark, parse_address};
use sluice_core::extranonce::{Extranonces, ResumeToken};
use sluice_core::ids::{AccountId, AccountName, JobId, TemplateId, WorkerId, WorkerName};
use sluice_core::job::{Job, TipNumber, Work};
use sluice_core::policy::auth::{Grant, Refusal};
use sluice_core::policy::vardiff::{Decision, Memo};
use sluice_core::session::{Admission, Answer, Effect, Recipient, Session};
use sluice_core::template::Template;
use sluice_core::units::{Difficulty, Moment, Now, Timestamp, VersionMask};
use sluice_stratum_v1::{Announcement, Connection, SessionConfig};

/// Steps of one input; what is beyond them is ignored.
const STEPS: usize = 512;

/// The first byte of a step says what happens, the second how much of it.
pub fn run(data: &[u8]) {
    let mut pool = Pool::new();
    let mut data = data;
    for _ in 0..STEPS {
        let [what, amount, rest @ ..] = data else { break };
        data = rest;
        match what % 8 {
            0..=2 => {
                let (bytes, rest) = data.split_at(usize::from(*amount).min(data.len()));
                data = rest;
                pool.receive(bytes);
            }
            3 => pool.line(usize::from(*amount)),
            4 => pool.pass(u64::from(*amount) * 1000),
            5 => pool.offer(amount % 2 == 0),
            6 => pool.commit(u64::from(*amount)),
            _ => pool.mood = *amount,
        }
        pool.settle();
    }
    pool.end();
}

/// Lines that lead deep into the protocol, so that random bytes need not.
const LINES: [&str; 14] = [
    r#"{"id":1,"method":"mining.subscribe","params":["fuzz/1"]}"#,
    r#"{"id":2,"method":"mining.authorize","params":["alice.rig","x"]}"#,
    r#"{"id":3,"method":"mining.configure","params":[["version-rolling"],{"version-rolling.mask":"1fffe000"}]}"#,
    r#"{"id":4,"method":"mining.submit","params":["alice.rig","1","0000000000000001","6553f100","00000001"]}"#,
    r#"{"id":4,"method":"mining.submit","params":["alice.rig","2","0000000000000002","6553f100","2","2000"]}"#,
    r#"{"id":4,"method":"mining.submit","params":["alice.rig","1","0000000000000001","6553f100","00000001"]}"#,
    r#"{"id":null,"method":"mining.submit","params":["bob","1","00","6553f100","00000001"]}"#,
    r#"{"id":5,"method":"mining.suggest_difficulty","params":[0.001]}"#,
    r#"{"id":6,"method":"mining.authorize","params":["bob"]}"#,
    r#"{"id":7,"method":"mining.extranonce.subscribe"}"#,
    r#"{"id":8,"method":"mining.ping"}"#,
    r#"{"id":9,"method":"mining.subscribe","params":["fuzz/1","000102030405060708090a0b0c0d0e0f"]}"#,
    r#"{"id":10,"method":"client.get_version"}"#,
    r#"{"id":11,"method":"mining.configure","params":[["minimum-difficulty"],{"minimum-difficulty.value":2}]}"#,
];

/// A driver around one connection.
pub struct Pool {
    session: Connection,
    now: Now,
    extranonces: Extranonces,
    next_job: u32,
    tip: u64,
    /// Bytes that the session did not take yet.
    waiting: VecDeque<u8>,
    /// Sent, up to the last whole line.
    out: Vec<u8>,
    /// Shares that were given to the log, and how many of them are in it.
    recorded: u64,
    committed: u64,
    /// Submits that were answered with yes.
    acknowledged: u64,
    /// Which answers the policies give.
    mood: u8,
    closed: bool,
}

impl Default for Pool {
    fn default() -> Self {
        Self::new()
    }
}

impl Pool {
    pub fn new() -> Self {
        let mut config = SessionConfig::new("fuzz".into());
        config.start = Difficulty::MIN;
        config.floor = Difficulty::MIN;
        config.held_replies = 8;
        let now = Now { moment: Moment(0), wall: Timestamp(1_700_000_000_000) };
        Self {
            session: Connection::new(Arc::new(config), "192.0.2.1".into(), now),
            now,
            extranonces: Extranonces::new(7),
            next_job: 1,
            tip: 1,
            waiting: VecDeque::new(),
            out: Vec::new(),
            recorded: 0,
            committed: 0,
            acknowledged: 0,
            mood: 0,
            closed: false,
        }
    }

    /// 0: connected; 1: subscribed; 2: at work.
    pub fn handshake(&mut self, stage: usize) {
        for index in 0..stage {
            self.line(index);
        }
        if stage == 2 {
            self.offer(false);
        }
    }

    fn line(&mut self, index: usize) {
        self.receive(LINES[index % LINES.len()].as_bytes());
        self.receive(b"\n");
    }

    pub fn receive(&mut self, bytes: &[u8]) {
        if !self.closed {
            self.waiting.extend(bytes);
        }
        self.settle();
    }

    fn pass(&mut self, millis: u64) {
        self.now.moment = Moment(self.now.moment.0 + millis);
        self.now.wall = Timestamp(self.now.wall.0 + millis);
        if self.session.deadline().is_some_and(|deadline| deadline <= self.now.moment) {
            self.session.timeout(self.now);
        }
    }

    fn offer(&mut self, new_tip: bool) {
        self.tip += u64::from(new_tip);
        let work = self.job();
        self.session.offer(self.now, Recipient::Everyone, &work);
        self.settle();
    }

    fn commit(&mut self, shares: u64) {
        let shares = shares.min(self.recorded - self.committed);
        self.committed += shares;
        self.session.committed(self.committed);
    }

    /// Lets everything happen that can, and checks what must hold.
    fn settle(&mut self) {
        loop {
            self.effects();
            self.transmit();
            if self.closed || self.waiting.is_empty() || !self.session.wants_input() {
                return;
            }
            let bytes = self.waiting.make_contiguous();
            let used = self.session.receive(self.now, bytes);
            assert!(used <= bytes.len(), "it took {used} bytes of {}", bytes.len());
            self.waiting.drain(..used);
            if used == 0 && self.session.wants_input() {
                // It may want to be asked again only after an effect.
                let effect = self.session.next_effect();
                let Some(effect) = effect else { panic!("it wants input and takes none") };
                self.effect(effect);
            }
        }
    }

    fn effects(&mut self) {
        while let Some(effect) = self.session.next_effect() {
            self.effect(effect);
        }
    }

    fn effect(&mut self, effect: Effect) {
        let answer = match effect {
            Effect::Reserve { channel, resume } => {
                let fresh = ResumeToken([u8::try_from(self.next_job % 256).unwrap_or(0); 16]);
                let reserved = self.extranonces.reserve(resume, fresh, self.now.moment);
                Answer::Reserved(channel, reserved.filter(|_| self.mood % 16 != 15))
            }
            Effect::Authorize { channel, .. } => Answer::Authorized(channel, self.admission()),
            Effect::Open { channel, .. } => Answer::Opened(channel, self.decision()),
            Effect::Review { channel, .. } => Answer::Reviewed(channel, self.decision()),
            Effect::Supply { channel, .. } | Effect::FreshWork { channel, .. } => {
                let work = self.job();
                return self.session.offer(self.now, Recipient::Channel(channel), &work);
            }
            Effect::Record { share, .. } => {
                assert!(share.difficulty >= Difficulty::MIN);
                self.recorded += 1;
                return;
            }
            Effect::Block { block, .. } => {
                return assert_eq!(block.block.get(..4), Some(&[0, 0, 0, 0x20][..]));
            }
            Effect::Rejected(_) | Effect::Established => return,
            Effect::Release { .. } | Effect::Name { .. } | Effect::Unsupply(_) | Effect::Note(_) => {
                panic!("what only protocols with many channels need: {effect:?}")
            }
            Effect::Close(_) => {
                assert!(!self.closed, "it closes twice");
                self.closed = true;
                return;
            }
        };
        self.session.answer(self.now, answer);
    }

    fn admission(&self) -> Result<Box<Admission>, Refusal> {
        if self.mood % 4 == 3 {
            return Err(Refusal::UnknownUser("nobody".to_owned()));
        }
        let (account, worker) = (AccountName::new("alice"), WorkerName::new("rig"));
        let grant = Grant {
            account: account.expect("a plain name"),
            worker: worker.expect("a plain name"),
            payout_address: None,
            start: None,
            minimum: None,
            maximum: None,
        };
        Ok(Box::new(Admission { grant, account: AccountId(1), worker: WorkerId(1) }))
    }

    fn decision(&self) -> Option<Decision> {
        let difficulty = match self.mood % 8 {
            0..=3 => Difficulty::MIN,
            4 => Difficulty::ONE,
            5 => Difficulty::MAX,
            _ => return None,
        };
        let review_after = Duration::from_secs(u64::from(self.mood));
        Some(Decision { difficulty, review_after, review_after_shares: 4, memo: Memo::default() })
    }

    fn job(&mut self) -> Arc<Announcement> {
        let address = parse_address("bcrt1qw508d6qejxtdg4y5r3zarvary0c5xw7kygt080", Network::Regtest);
        let value = Amount::from_sat(5_000_000_000);
        let payment =
            Payment { account: String::new(), address: address.expect("a known address"), amount: value };
        let template = Template {
            id: TemplateId(u64::from(self.next_job)),
            network: Network::Regtest,
            height: 200,
            previous: BlockHash::from_byte_array([u8::try_from(self.tip % 256).unwrap_or(0); 32]),
            version: 0x2000_0000,
            bits: CompactTarget::from_consensus(0x207f_ffff),
            min_time: 1_699_999_000,
            cur_time: 1_700_000_000,
            coinbase_value: value,
            subsidy: value,
            witness_commitment: None,
            transactions: Arc::new([]),
            received: Timestamp(0),
        };
        let work = Work::new(Arc::new(template), (TipNumber(self.tip), self.now.moment), VersionMask::BIP320);
        let mark = PoolMark { tag: b"fuzz".to_vec(), extranonce_length: 12 };
        let ids = (JobId(self.next_job), u64::from(self.next_job));
        self.next_job += 1;
        let job = Job::new(ids, Arc::new(work), [payment].into(), &mark, self.now);
        Arc::new(Announcement::new(Arc::new(job.expect("the payments come to the value"))))
    }

    /// All that is sent is lines of JSON, and nothing is acknowledged that is not in the log.
    fn transmit(&mut self) {
        self.session.transmit(self.now, &mut self.out);
        let whole = self.out.iter().rposition(|byte| *byte == b'\n').map_or(0, |end| end + 1);
        assert_eq!(whole, self.out.len(), "half a line was sent");
        for line in self.out.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()) {
            // Raw: an id of 1e999 is JSON and goes back as it came, though no number holds it.
            let parts: BTreeMap<String, &RawValue> =
                serde_json::from_slice(line).expect("what is sent is JSON");
            let part = |name: &str| parts.get(name).map(|value| value.get());
            assert!(part("method").is_some() != part("result").is_some(), "{parts:?}");
            // Ids 4 and null are submits alone in what this driver sends by itself; others may be anything.
            self.acknowledged += u64::from(part("id") == Some("4") && part("result") == Some("true"));
        }
        self.out.clear();
    }

    fn end(&mut self) {
        assert!(self.committed <= self.recorded);
        self.session.shut_down(self.now, sluice_core::session::Close::Shutdown);
        self.transmit();
        for parked in self.session.park() {
            self.extranonces.park(parked, self.now.moment);
        }
    }
}
