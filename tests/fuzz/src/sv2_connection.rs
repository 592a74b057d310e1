//! A whole Stratum V2 connection, in the clear or behind a handshake: any frames and any bytes in any pieces, any answers
//! at any time, a client that does not read, and what must hold all the while.

use std::collections::{BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use sluice_core::bitcoin::hashes::Hash;
use sluice_core::bitcoin::{Amount, BlockHash, CompactTarget, Network};
use sluice_core::coinbase::{Payment, PoolMark, parse_address};
use sluice_core::extranonce::{ExtranoncePrefix, Extranonces, ResumeToken};
use sluice_core::ids::{AccountId, AccountName, ChannelId, JobId, TemplateId, WorkerId, WorkerName};
use sluice_core::job::{Job, TipNumber, Work};
use sluice_core::policy::auth::{Grant, Refusal};
use sluice_core::policy::vardiff::{Decision, Memo};
use sluice_core::session::{Admission, Answer, Close, Effect, Recipient, Session};
use sluice_core::template::Template;
use sluice_core::units::{Difficulty, Moment, Now, Timestamp, VersionMask};
use sluice_stratum_v2::messages::{
    ClientMessage, CloseChannel, Decoded, OpenExtendedMiningChannel, OpenStandardMiningChannel,
    RequestExtensions, ServerMessage, SetupConnection, SubmitSharesExtended, SubmitSharesStandard,
    UpdateChannel, write_frame_with,
};
use sluice_stratum_v2::noise::{
    AuthoritySecret, HEADER_RECORD, Identity, Initiator, Transport, Validity, sealed_length,
};
use sluice_stratum_v2::wire::{FrameHeader, Integers, tlv};
use sluice_stratum_v2::{Broadcast, Connection, Security, SessionConfig};

/// Steps of one input; what is beyond them is ignored.
const STEPS: usize = 512;
/// What a connection may have to say at once: its answers, and a job for each of its few channels.
const OUTPUT_LIMIT: usize = 256 * 1024;
/// What one call may lead to.
const EFFECTS_LIMIT: usize = 20_000;

/// The first byte says whether the connection is encrypted. Then the first byte of a step says what happens, the second
/// how much of it.
pub fn run(data: &[u8]) {
    let Some((first, mut data)) = data.split_first() else { return };
    let mut pool = Pool::new(first % 2 == 1);
    for _ in 0..STEPS {
        let [what, amount, rest @ ..] = data else { break };
        data = rest;
        let mut take = |length: usize| {
            let (bytes, rest) = data.split_at(length.min(data.len()));
            data = rest;
            bytes
        };
        match what % 12 {
            0 => pool.receive(take(usize::from(*amount))),
            1 => pool.any_frame(take(3), &[]),
            2 => {
                let head = take(3);
                pool.any_frame(head, take(usize::from(*amount)));
            }
            3 => pool.message(*amount),
            4 | 5 => pool.share(*amount),
            6 => pool.pass(u64::from(*amount) * 500),
            7 => pool.offer(*amount),
            8 => pool.commit(u64::from(*amount)),
            9 => pool.mood = *amount,
            10 => pool.answer(usize::from(*amount)),
            _ => pool.reads = amount % 4 != 0,
        }
        pool.settle();
    }
    pool.end();
}

/// A driver around one connection.
struct Pool {
    session: Connection,
    /// The client's end, where it is encrypted.
    client: Option<Transport>,
    now: Now,
    extranonces: Extranonces,
    next_job: u32,
    tip: u64,
    /// Bytes that the session did not take yet.
    waiting: VecDeque<u8>,
    /// Whether the client takes what is sent.
    reads: bool,
    /// What it did not take.
    unread: bool,
    /// Questions to the policies that were not answered yet.
    asked: VecDeque<Question>,
    recorded: u64,
    committed: u64,
    acknowledged: u64,
    reserved: Vec<ExtranoncePrefix>,
    returned: Vec<ExtranoncePrefix>,
    /// Accounts that have channels.
    supplied: BTreeSet<AccountName>,
    /// Which answers the policies give.
    mood: u8,
    closed: bool,
    shares: u32,
}

enum Question {
    Login(ChannelId),
    Open(ChannelId),
    Review(ChannelId),
}

impl Pool {
    fn new(encrypted: bool) -> Self {
        let mut config = SessionConfig::new("fuzz".into());
        config.start = Difficulty::MIN;
        config.floor = Difficulty::MIN;
        (config.held_shares, config.channels, config.rejected_in_a_row) = (8, 12, 6);
        let now = Now { moment: Moment(0), wall: Timestamp(1_700_000_000_000) };
        let security = if encrypted { noise() } else { Security::PlainText };
        let mut pool = Self {
            session: Connection::new(Arc::new(config), security, "192.0.2.1".into(), now),
            client: None,
            now,
            extranonces: Extranonces::new(7),
            next_job: 1,
            tip: 1,
            waiting: VecDeque::new(),
            reads: true,
            unread: false,
            asked: VecDeque::new(),
            recorded: 0,
            committed: 0,
            acknowledged: 0,
            reserved: Vec::new(),
            returned: Vec::new(),
            supplied: BTreeSet::new(),
            mood: 0,
            closed: false,
            shares: 0,
        };
        if encrypted {
            pool.shake_hands();
        }
        pool
    }

    fn shake_hands(&mut self) {
        let (initiator, act_1) = Initiator::new(None, [5; 32]).expect("entropy with a key in it");
        self.session.receive(self.now, &act_1);
        let mut out = Vec::new();
        self.session.transmit(self.now, &mut out);
        let act_2 = out.as_slice().try_into().expect("Act 2 and nothing else");
        self.client = Some(initiator.finish(act_2, 1_700_000_000).expect("it is for us"));
    }

    /// Bytes of the wire.
    fn receive(&mut self, bytes: &[u8]) {
        if !self.closed {
            self.waiting.extend(bytes);
        }
    }

    /// A frame in the clear, with a header that is right about its length.
    fn frame(&mut self, frame: &[u8]) {
        let Some((head, payload)) = frame.split_first_chunk() else { return };
        match &mut self.client {
            None => self.receive(frame),
            Some(client) => {
                let mut out = Vec::new();
                client.send.seal(*head, &[payload], &mut out);
                self.receive(&out);
            }
        }
    }

    fn any_frame(&mut self, head: &[u8], payload: &[u8]) {
        let [low, high, message] = head else { return };
        let [a, b, ..] = payload.len().to_le_bytes();
        self.frame(&[&[*low, *high, *message, a, b, 0], payload].concat());
    }

    fn message(&mut self, amount: u8) {
        let channel_id = u32::from(amount / 16) + 1;
        let rates = [0.0, 1e3, f32::NAN, 1e15];
        let nominal_hash_rate = rates[usize::from(amount / 16) % rates.len()];
        let user_identity: &[u8] = [&b"alice.rig"[..], b"bob", b"\xff", b""][usize::from(amount / 64)];
        let max_target = [0xff, 0x00, 0x7f, 0xff].map(|byte| [byte; 32])[usize::from(amount / 32) % 4];
        let message = match amount % 16 {
            0 | 1 => ClientMessage::SetupConnection(SetupConnection {
                protocol: amount & 1,
                min_version: 2,
                max_version: 2,
                flags: u32::from(amount / 16),
                endpoint_host: b"",
                endpoint_port: 0,
                vendor: b"fuzz",
                hardware_version: b"",
                firmware: b"",
                device_id: b"",
            }),
            2..=5 => ClientMessage::OpenStandardMiningChannel(OpenStandardMiningChannel {
                request_id: 1,
                user_identity,
                nominal_hash_rate,
                max_target,
            }),
            6..=9 => ClientMessage::OpenExtendedMiningChannel(OpenExtendedMiningChannel {
                request_id: 1,
                user_identity,
                nominal_hash_rate,
                max_target,
                min_extranonce_size: u16::from(amount / 16),
            }),
            10 | 11 => ClientMessage::UpdateChannel(UpdateChannel {
                channel_id,
                nominal_hash_rate,
                maximum_target: max_target,
            }),
            12 | 13 => {
                let requested = Integers(&[[2, 0], [9, 9]]);
                ClientMessage::RequestExtensions(RequestExtensions { request_id: 3, requested })
            }
            _ => ClientMessage::CloseChannel(CloseChannel { channel_id, reason_code: b"" }),
        };
        let mut frame = Vec::new();
        message.write_frame(&mut frame);
        self.frame(&frame);
    }

    /// Of one of the first jobs and channels, mostly of its own.
    fn share(&mut self, amount: u8) {
        self.shares += u32::from(!amount.is_multiple_of(8));
        let (sequence_number, nonce) = (self.shares, self.shares);
        let channel_id = u32::from(amount / 8 % 4) + 2;
        let job_id = self.next_job.saturating_sub(u32::from(amount / 32 % 2) + 1);
        let (ntime, version) = (1_700_000_000, 0x2000_0000);
        let mut frame = Vec::new();
        if amount & 0x80 == 0 {
            let share = SubmitSharesStandard { channel_id, sequence_number, job_id, nonce, ntime, version };
            write_frame_with(&share, &[], &mut frame);
        } else {
            let extranonce = &u64::from(nonce).to_le_bytes();
            let share = SubmitSharesExtended {
                channel_id,
                sequence_number,
                job_id,
                nonce,
                ntime,
                version,
                extranonce,
            };
            let mut worker = Vec::new();
            tlv::write_worker(&[b'a' + amount % 4], &mut worker);
            write_frame_with(&share, &worker, &mut frame);
        }
        self.frame(&frame);
    }

    fn pass(&mut self, millis: u64) {
        self.now.moment = Moment(self.now.moment.0 + millis);
        self.now.wall = Timestamp(self.now.wall.0 + millis);
        if self.session.deadline().is_some_and(|deadline| deadline <= self.now.moment) {
            self.session.timeout(self.now);
            self.effects();
            let next = self.session.deadline();
            assert!(next.is_none_or(|next| next > self.now.moment), "it would never sleep");
        }
    }

    fn offer(&mut self, amount: u8) {
        self.tip += u64::from(amount % 2);
        let owner = if amount & 2 == 0 { None } else { Some(account()) };
        let work = self.job(owner);
        self.session.offer(self.now, Recipient::Everyone, &work);
    }

    fn commit(&mut self, shares: u64) {
        self.committed += shares.min(self.recorded - self.committed);
        self.session.committed(self.committed);
    }

    /// One of the questions that wait is answered: logins come one at a time, reviews in any order.
    fn answer(&mut self, which: usize) {
        let Some(place) = which.checked_rem(self.asked.len()) else { return };
        let Some(question) = self.asked.remove(place) else { return };
        let answer = match question {
            Question::Login(channel) => Answer::Authorized(channel, self.admission()),
            Question::Open(channel) => Answer::Opened(channel, self.decision()),
            Question::Review(channel) => Answer::Reviewed(channel, self.decision()),
        };
        self.session.answer(self.now, answer);
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
            assert!(used > 0 && used <= bytes.len(), "it took {used} bytes of {}", bytes.len());
            self.waiting.drain(..used);
        }
    }

    fn effects(&mut self) {
        let mut count = 0;
        while let Some(effect) = self.session.next_effect() {
            assert!(!self.closed, "after the close: {effect:?}");
            self.effect(effect);
            count += 1;
            assert!(count < EFFECTS_LIMIT, "effects without end");
        }
    }

    fn effect(&mut self, effect: Effect) {
        match effect {
            Effect::Reserve { channel, resume } => {
                assert!(resume.is_none());
                let reserved = self.extranonces.reserve(None, ResumeToken([0; 16]), self.now.moment);
                let reserved = reserved.filter(|_| self.mood % 16 != 15);
                self.reserved.extend(reserved.as_ref().map(|reservation| reservation.prefix));
                self.session.answer(self.now, Answer::Reserved(channel, reserved));
            }
            Effect::Release { prefix, .. } => self.returned.push(prefix),
            Effect::Authorize { channel, .. } => self.ask(Question::Login(channel)),
            Effect::Open { channel, .. } => self.ask(Question::Open(channel)),
            Effect::Review { channel, .. } => self.ask(Question::Review(channel)),
            Effect::Name { channel, .. } => {
                let number = (self.mood % 8 != 7).then_some(WorkerId(9));
                self.session.answer(self.now, Answer::Named(channel, number));
            }
            Effect::Supply { channel, account } => {
                self.supplied.insert(account);
                if self.mood & 0x40 == 0 {
                    let work = self.job(None);
                    self.session.offer(self.now, Recipient::Channel(channel), &work);
                }
            }
            Effect::Unsupply(account) => assert!(self.supplied.remove(&account)),
            Effect::FreshWork { channel, .. } => {
                let work = self.job(None);
                self.session.offer(self.now, Recipient::Channel(channel), &work);
            }
            Effect::Record { share, .. } => {
                assert!(share.difficulty >= Difficulty::MIN);
                self.recorded += 1;
            }
            Effect::Block { block, .. } => assert_eq!(block.block.get(..4), Some(&[0, 0, 0, 0x20][..])),
            Effect::Rejected(_) | Effect::Established | Effect::Note(_) => {}
            Effect::Close(_) => self.closed = true,
        }
    }

    /// Answered at once, or later by [`Pool::answer`].
    fn ask(&mut self, question: Question) {
        self.asked.push_back(question);
        if self.mood & 0x80 == 0 {
            self.answer(self.asked.len() - 1);
        }
    }

    fn admission(&self) -> Result<Box<Admission>, Refusal> {
        if self.mood % 4 == 3 {
            return Err(Refusal::UnknownUser("nobody".to_owned()));
        }
        let grant = Grant {
            account: account(),
            worker: WorkerName::new("rig").expect("a plain name"),
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

    fn job(&mut self, owner: Option<AccountName>) -> Arc<Broadcast> {
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
        let job = job.expect("the payments come to the value").owned_by(owner);
        Arc::new(Broadcast::new(Arc::new(job)).expect("a short coinbase"))
    }

    /// All that is sent is whole frames of a server's messages, and nothing is acknowledged that is not in the log.
    fn transmit(&mut self) {
        if !self.reads && self.unread && !self.closed {
            return;
        }
        let mut out = Vec::new();
        self.session.transmit(self.now, &mut out);
        self.unread = !out.is_empty();
        assert!(out.len() < OUTPUT_LIMIT, "{} bytes at once", out.len());
        let mut rest = out.as_slice();
        while !rest.is_empty() {
            rest = self.read(rest);
        }
        assert!(self.acknowledged <= self.committed, "{} of {}", self.acknowledged, self.committed);
        self.effects();
    }

    /// Reads one message, and returns what follows it.
    fn read<'a>(&mut self, bytes: &'a [u8]) -> &'a [u8] {
        let (header, payload, rest) = self.open(bytes);
        let message = ServerMessage::decode(header, &payload).expect("what is sent can be read");
        let Decoded::Message { message, trailing: [] } = message else { panic!("{message:?}") };
        assert_eq!(message.is_channel_message(), header.channel_message);
        if let ServerMessage::SubmitSharesSuccess(success) = message {
            assert!(success.new_submits_accepted_count > 0);
            self.acknowledged += u64::from(success.new_submits_accepted_count);
        }
        rest
    }

    fn open<'a>(&mut self, bytes: &'a [u8]) -> (FrameHeader, Vec<u8>, &'a [u8]) {
        let Some(client) = &mut self.client else {
            let (head, rest) = bytes.split_first_chunk().expect("a whole header");
            let header = FrameHeader::read(*head);
            let (payload, rest) = rest.split_at(header.length as usize);
            return (header, payload.to_vec(), rest);
        };
        let (record, rest) = bytes.split_first_chunk::<HEADER_RECORD>().expect("a whole record");
        let header = FrameHeader::read(client.receive.open_header(record).expect("it is sealed"));
        let (records, rest) = rest.split_at(sealed_length(header.length as usize));
        let mut payload = Vec::new();
        client.receive.open_payload(records, &mut payload).expect("it is sealed");
        (header, payload, rest)
    }

    fn end(&mut self) {
        self.reads = true;
        self.session.shut_down(self.now, Close::Shutdown);
        self.settle();
        assert!(self.closed && self.session.deadline().is_none() && !self.session.wants_input());
        self.returned.extend(self.session.park().into_iter().map(|parked| parked.prefix));
        self.returned.sort();
        self.reserved.sort();
        assert_eq!(self.returned, self.reserved);
    }
}

fn account() -> AccountName {
    AccountName::new("alice").expect("a plain name")
}

fn noise() -> Security {
    let authority = AuthoritySecret::from_entropy([7; 32]).expect("a secret in range");
    let validity = Validity { valid_from: 0, not_valid_after: u32::MAX };
    let identity = Identity::issue([9; 32], &authority, validity).expect("a secret in range");
    Security::Noise { identity: Arc::new(identity), entropy: [3; 32] }
}
