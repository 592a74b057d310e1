//! A pool around one connection. Its client is in [`crate::miner`].

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use sluice_core::extranonce::{ExtranoncePrefix, Extranonces, ResumeToken};
use sluice_core::ids::{AccountId, AccountName, ChannelId, JobId, WorkerId, WorkerName};
use sluice_core::job::Job;
use sluice_core::policy::auth::{Grant, Login, Refusal};
use sluice_core::policy::vardiff::{Decision, Memo, Opening, Review};
use sluice_core::session::{Admission, Answer, Close, Effect, Note, Recipient, Session};
use sluice_core::share::{FoundBlock, Reason, Share};
use sluice_core::units::{Difficulty, Moment, Now, Timestamp};
use sluice_stratum_v2::messages::{
    ClientMessage, CloseChannel, OpenExtendedMiningChannel, OpenStandardMiningChannel, SetupConnection,
    UpdateChannel,
};
use sluice_stratum_v2::noise::{AuthoritySecret, Identity, Initiator, Validity};
use sluice_stratum_v2::{Broadcast, Connection, Security, SessionConfig};

use crate::board::{Board, MIN_TIME};
use crate::miner::{Link, Miner, Proof, Said};

/// Difficulty 1: a test never finds a block by chance.
pub(crate) const HARD: u32 = 0x1d00_ffff;
/// Regtest: every second hash is a block.
pub(crate) const REGTEST: u32 = 0x207f_ffff;
/// 43 hashes a share.
pub(crate) const EASY: f64 = 0.000_000_01;
/// Any target will do.
pub(crate) const ANY: [u8; 32] = [0xff; 32];
/// The first channel of a connection.
pub(crate) const FIRST: u32 = 2;
pub(crate) const GROUP: u32 = 1;

/// How the connection is protected.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Wire {
    Plain,
    Noise,
}

impl Wire {
    pub(crate) const BOTH: [Self; 2] = [Self::Plain, Self::Noise];
}

pub(crate) fn config() -> SessionConfig {
    let mut config = SessionConfig::new("test".into());
    config.start = Difficulty::saturating(EASY);
    config.floor = Difficulty::MIN;
    config
}

/// What the pool does by itself.
#[derive(Clone, Copy)]
pub(crate) struct Mood {
    /// Shares reach the log at once.
    pub(crate) commits: bool,
    pub(crate) answers_logins: bool,
    /// The vardiff policy is asked in vain: its answers are given by hand.
    pub(crate) answers_openings: bool,
    /// There is work.
    pub(crate) has_work: bool,
    /// An extranonce is free.
    pub(crate) has_room: bool,
    /// The ledger has numbers for workers.
    pub(crate) names: bool,
    /// What the vardiff policy says of a channel that opens; `None`: nothing.
    pub(crate) opening: Option<f64>,
}

/// A connection, the pool that serves it, and all that came of it.
pub(crate) struct Pool {
    pub(crate) session: Connection,
    pub(crate) link: Link,
    pub(crate) miner: Miner,
    pub(crate) now: Now,
    pub(crate) board: Board,
    pub(crate) extranonces: Extranonces,
    pub(crate) mood: Mood,
    pub(crate) recorded: Vec<(Share, AccountId, WorkerId)>,
    pub(crate) rejected: Vec<Reason>,
    pub(crate) blocks: Vec<(FoundBlock, Arc<Job>)>,
    pub(crate) notes: Vec<Note>,
    /// Kinds of effects, in order.
    pub(crate) order: Vec<&'static str>,
    pub(crate) logins: Vec<(ChannelId, Login)>,
    pub(crate) openings: Vec<(ChannelId, Opening)>,
    pub(crate) reviews: Vec<(ChannelId, Review)>,
    pub(crate) supplied: Vec<(ChannelId, AccountName)>,
    pub(crate) unsupplied: Vec<AccountName>,
    /// Accounts whose work is wanted.
    pub(crate) supplies: BTreeSet<AccountName>,
    /// The jobs that fresh ones were to be newer than.
    pub(crate) fresh_after: Vec<(ChannelId, Option<JobId>)>,
    pub(crate) named: Vec<(AccountName, WorkerName)>,
    pub(crate) reserved: Vec<ExtranoncePrefix>,
    pub(crate) released: Vec<ExtranoncePrefix>,
    /// Whether each of those was sent work.
    pub(crate) released_used: Vec<bool>,
    pub(crate) established: u32,
    pub(crate) closed: Option<Close>,
    /// Bytes that the session did not take yet.
    pub(crate) waiting: Vec<u8>,
}

impl Pool {
    /// A connection that is encrypted, if it is to be, and has said nothing yet.
    pub(crate) fn new(wire: Wire) -> Self {
        Self::with(wire, config(), HARD)
    }

    pub(crate) fn with(wire: Wire, config: SessionConfig, bits: u32) -> Self {
        match wire {
            Wire::Plain => Self::bare(Security::PlainText, config, bits),
            Wire::Noise => {
                let mut pool = Self::bare(noise(), config, bits);
                pool.shake_hands();
                pool
            }
        }
    }

    /// A connection whose client has not begun.
    pub(crate) fn bare(security: Security, config: SessionConfig, bits: u32) -> Self {
        let now = at(0);
        Self {
            session: Connection::new(Arc::new(config), security, "192.0.2.7".into(), now),
            link: Link::Plain,
            miner: Miner::default(),
            now,
            board: Board::new(bits),
            extranonces: Extranonces::new(0),
            mood: Mood {
                commits: true,
                answers_logins: true,
                answers_openings: true,
                has_work: true,
                has_room: true,
                names: true,
                opening: Some(EASY),
            },
            recorded: Vec::new(),
            rejected: Vec::new(),
            blocks: Vec::new(),
            notes: Vec::new(),
            order: Vec::new(),
            logins: Vec::new(),
            openings: Vec::new(),
            reviews: Vec::new(),
            supplied: Vec::new(),
            unsupplied: Vec::new(),
            supplies: BTreeSet::new(),
            fresh_after: Vec::new(),
            named: Vec::new(),
            reserved: Vec::new(),
            released: Vec::new(),
            released_used: Vec::new(),
            established: 0,
            closed: None,
            waiting: Vec::new(),
        }
    }

    fn shake_hands(&mut self) {
        let authority = AuthoritySecret::from_entropy([7; 32]).unwrap().public();
        let (initiator, act_1) = Initiator::new(Some(authority), [0x42; 32]).unwrap();
        let act_2: [u8; 234] = self.exchange(&act_1).try_into().unwrap();
        let transport = initiator.finish(&act_2, self.now.wall.seconds()).unwrap();
        self.link = Link::Noise(Box::new(transport));
    }

    /// A connection that is set up.
    pub(crate) fn ready(wire: Wire) -> Self {
        Self::ready_with(wire, config(), HARD, 0)
    }

    pub(crate) fn ready_with(wire: Wire, config: SessionConfig, bits: u32, flags: u32) -> Self {
        let mut pool = Self::with(wire, config, bits);
        let said = pool.say(&setup(flags));
        assert!(matches!(&said[..], [Said::SetUp(_)]), "{said:?}");
        pool.miner.flags = flags;
        pool
    }

    /// One with a standard channel, [`FIRST`].
    pub(crate) fn standard(wire: Wire) -> Self {
        let mut pool = Self::ready(wire);
        pool.open_standard("alice.rig");
        pool
    }

    /// One with an extended channel, [`FIRST`].
    pub(crate) fn extended(wire: Wire) -> Self {
        let mut pool = Self::ready(wire);
        pool.open_extended("alice.rig");
        pool
    }

    /// Opens a channel that has its first job, and returns its id.
    pub(crate) fn open_standard(&mut self, user: &str) -> u32 {
        let said = self.say(&open_standard(9, user));
        opened(&said)
    }

    pub(crate) fn open_extended(&mut self, user: &str) -> u32 {
        let said = self.say(&open_extended(9, user));
        opened(&said)
    }

    pub(crate) fn say(&mut self, message: &ClientMessage<'_>) -> Vec<Said> {
        let mut frame = Vec::new();
        message.write_frame(&mut frame);
        self.say_frames(&frame)
    }

    /// The client closes a channel or the group: nothing more is said to it (M-60).
    pub(crate) fn close(&mut self, id: u32) -> Vec<Said> {
        self.miner.close(id);
        self.say(&close(id))
    }

    /// Says frames that are given in the clear, in one piece.
    pub(crate) fn say_frames(&mut self, frames: &[u8]) -> Vec<Said> {
        let bytes = self.link.seal(frames);
        self.send(&bytes)
    }

    pub(crate) fn submit(&mut self, proof: &Proof) -> Vec<Said> {
        self.say_frames(&proof.frame())
    }

    /// Mines a good share of the newest job and hands it in.
    pub(crate) fn mine(&mut self, channel: u32) -> Vec<Said> {
        let proof = self.miner.mine(channel);
        self.submit(&proof)
    }

    /// Hands bytes of the wire in as a driver does, and returns the messages that come back.
    pub(crate) fn send(&mut self, bytes: &[u8]) -> Vec<Said> {
        let out = self.exchange(bytes);
        self.hear(&out)
    }

    /// The same, in bytes.
    pub(crate) fn exchange(&mut self, bytes: &[u8]) -> Vec<u8> {
        self.feed(bytes);
        self.transmit()
    }

    pub(crate) fn feed(&mut self, bytes: &[u8]) {
        self.waiting.extend_from_slice(bytes);
        loop {
            let used = self.session.receive(self.now, &self.waiting);
            self.waiting.drain(..used);
            let was_waiting = !self.session.wants_input();
            self.run();
            if self.waiting.is_empty() || (used == 0 && was_waiting && !self.session.wants_input()) {
                break;
            }
            assert!(used > 0 || was_waiting, "it wants input and takes none");
        }
    }

    /// Runs effects until there are none.
    pub(crate) fn run(&mut self) {
        while let Some(effect) = self.session.next_effect() {
            assert_eq!(self.closed, None, "after the close: {effect:?}");
            self.effect(effect);
        }
        if self.mood.commits {
            self.session.committed(self.recorded.len() as u64);
        }
    }

    /// The log has so many shares.
    pub(crate) fn commit(&mut self, shares: usize) -> Vec<Said> {
        assert!(shares <= self.recorded.len());
        self.session.committed(shares as u64);
        self.flush()
    }

    fn effect(&mut self, effect: Effect) {
        let now = self.now;
        match effect {
            Effect::Reserve { channel, resume } => {
                assert!(resume.is_none(), "nothing is taken up again in SV2");
                let token = ResumeToken([0; 16]);
                let reserved = self.extranonces.reserve(None, token, now.moment);
                let reserved = reserved.filter(|_| self.mood.has_room);
                self.reserved.extend(reserved.as_ref().map(|reservation| reservation.prefix));
                self.session.answer(now, Answer::Reserved(channel, reserved));
            }
            Effect::Release { prefix, used } => {
                self.released.push(prefix);
                self.released_used.push(used);
            }
            Effect::Authorize { channel, login } => {
                self.logins.push((channel, *login));
                if self.mood.answers_logins {
                    self.answer_login_only();
                }
            }
            Effect::Open { channel, opening } => {
                self.openings.push((channel, *opening));
                if self.mood.answers_openings {
                    let opening = self.mood.opening.map(decision);
                    self.session.answer(now, Answer::Opened(channel, opening));
                }
            }
            Effect::Supply { channel, account } => {
                if self.mood.has_work {
                    let work = self.board.present(&account, now);
                    self.session.offer(now, Recipient::Channel(channel), &work);
                }
                self.supplies.insert(account.clone());
                self.supplied.push((channel, account));
            }
            Effect::Unsupply(account) => {
                assert!(self.supplies.remove(&account), "{account} was not supplied");
                self.unsupplied.push(account);
            }
            Effect::Review { channel, review } => {
                self.order.push("review");
                self.reviews.push((channel, *review));
            }
            Effect::Name { channel, account, worker } => {
                self.named.push((account, worker));
                let number = u32::try_from(self.named.len()).unwrap() + 100;
                let number = self.mood.names.then_some(WorkerId(number));
                self.session.answer(now, Answer::Named(channel, number));
            }
            Effect::FreshWork { channel, account, sent } => {
                self.order.push("fresh");
                self.fresh_after.push((channel, sent));
                let work = self.board.job(Some(&account), now);
                self.session.offer(now, Recipient::Channel(channel), &work);
            }
            Effect::Record { share, account, worker } => {
                self.order.push("record");
                self.recorded.push((share, account, worker));
            }
            Effect::Block { block, job, .. } => {
                self.order.push("block");
                self.blocks.push((*block, job));
            }
            Effect::Rejected(reason) => self.rejected.push(reason),
            Effect::Established => self.established += 1,
            Effect::Note(note) => self.notes.push(note),
            Effect::Close(why) => self.closed = Some(why),
        }
    }

    /// New work for all that work for no account of their own.
    pub(crate) fn offer(&mut self) -> Arc<Broadcast> {
        let work = self.board.job(None, self.now);
        self.session.offer(self.now, Recipient::Everyone, &work);
        work
    }

    pub(crate) fn offer_to_account(&mut self, account: &str) -> Arc<Broadcast> {
        let work = self.board.job(Some(&AccountName::new(account).unwrap()), self.now);
        self.session.offer(self.now, Recipient::Everyone, &work);
        work
    }

    /// New work, sent.
    pub(crate) fn publish(&mut self) -> Vec<Said> {
        self.offer();
        self.flush()
    }

    /// A block was found elsewhere: work on it.
    pub(crate) fn new_tip(&mut self) -> Vec<Said> {
        self.board.tip += 1;
        self.publish()
    }

    /// The vardiff policy's answer to a review.
    pub(crate) fn decide(&mut self, channel: u32, difficulty: f64) -> Vec<Said> {
        self.session.answer(self.now, Answer::Reviewed(ChannelId(channel), Some(decision(difficulty))));
        self.run();
        self.flush()
    }

    pub(crate) fn answer_login(&mut self) -> Vec<Said> {
        self.answer_login_quietly();
        self.flush()
    }

    pub(crate) fn answer_login_quietly(&mut self) {
        self.answer_login_only();
        self.run();
        self.feed(&[]);
    }

    fn answer_login_only(&mut self) {
        let (channel, login) = self.logins.last().unwrap();
        let answer = Answer::Authorized(*channel, admit(login));
        self.session.answer(self.now, answer);
    }

    pub(crate) fn flush(&mut self) -> Vec<Said> {
        let out = self.transmit();
        self.hear(&out)
    }

    fn transmit(&mut self) -> Vec<u8> {
        let mut out = Vec::new();
        self.session.transmit(self.now, &mut out);
        self.run();
        out
    }

    fn hear(&mut self, bytes: &[u8]) -> Vec<Said> {
        let said = self.link.open(bytes);
        said.iter().for_each(|said| self.miner.hear(said));
        said
    }

    /// Lets time pass as a driver does: to each deadline, and to the end. A deadline must move although nothing can be
    /// sent: the socket may be full.
    pub(crate) fn pass(&mut self, time: Duration) -> Vec<Said> {
        let end = self.now.moment.after(time);
        let mut said = Vec::new();
        while let Some(deadline) = self.session.deadline().filter(|deadline| *deadline <= end) {
            self.now = at(deadline.0.max(self.now.moment.0));
            self.session.timeout(self.now);
            self.run();
            assert!(self.session.deadline() != Some(deadline), "a deadline that does not move");
            said.extend(self.flush());
        }
        self.now = at(end.0);
        said
    }

    pub(crate) fn is_full(&self) -> bool {
        !self.session.wants_input()
    }

    /// Ends the connection as a driver does, and checks that every prefix comes back once.
    pub(crate) fn end(mut self) {
        let parked = self.session.park().into_iter().map(|parked| parked.prefix);
        let mut back: Vec<_> = self.released.iter().copied().chain(parked).collect();
        back.sort();
        self.reserved.sort();
        assert_eq!(back, self.reserved);
        assert!(self.session.park().is_empty());
    }
}

/// A server's side, with an identity that the authority of entropy 7 signed.
pub(crate) fn noise() -> Security {
    let authority = AuthoritySecret::from_entropy([7; 32]).unwrap();
    let validity = Validity { valid_from: MIN_TIME, not_valid_after: MIN_TIME + 1_000_000 };
    let identity = Identity::issue([9; 32], &authority, validity).unwrap();
    Security::Noise { identity: Arc::new(identity), entropy: [0x17; 32] }
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

/// `ACCOUNT.WORKER` is welcome unless the account is one of those that are not.
fn admit(login: &Login) -> Result<Box<Admission>, Refusal> {
    let (account, worker) = login.username.split_once('.').unwrap_or((&login.username, ""));
    match account {
        "mallory" => return Err(Refusal::UnknownUser("nobody of that name".into())),
        "banned" => return Err(Refusal::Forbidden("not here".into())),
        "later" => return Err(Refusal::TryLater("try later".into())),
        _ => {}
    }
    let grant = Grant {
        account: AccountName::new(account).unwrap(),
        worker: WorkerName::new(worker).unwrap(),
        payout_address: None,
        start: (account == "slow").then(|| Difficulty::saturating(EASY * 4.0)),
        minimum: (account == "big").then_some(Difficulty::ONE),
        maximum: (account == "capped").then(|| Difficulty::saturating(EASY * 100.0)),
    };
    Ok(Box::new(Admission { grant, account: AccountId(1), worker: WorkerId(2) }))
}

pub(crate) fn opened(said: &[Said]) -> u32 {
    let [Said::Opened(opened), ..] = said else { panic!("not opened: {said:?}") };
    opened.channel_id
}

pub(crate) fn setup(flags: u32) -> ClientMessage<'static> {
    ClientMessage::SetupConnection(SetupConnection {
        protocol: 0,
        min_version: 2,
        max_version: 2,
        flags,
        endpoint_host: b"pool.example",
        endpoint_port: 3336,
        vendor: b"Maker",
        hardware_version: b"M1",
        firmware: b"1.0",
        device_id: b"",
    })
}

pub(crate) fn open_standard(request_id: u32, user: &str) -> ClientMessage<'_> {
    ClientMessage::OpenStandardMiningChannel(OpenStandardMiningChannel {
        request_id,
        user_identity: user.as_bytes(),
        nominal_hash_rate: 1000.0,
        max_target: ANY,
    })
}

pub(crate) fn open_extended(request_id: u32, user: &str) -> ClientMessage<'_> {
    ClientMessage::OpenExtendedMiningChannel(OpenExtendedMiningChannel {
        request_id,
        user_identity: user.as_bytes(),
        nominal_hash_rate: 1000.0,
        max_target: ANY,
        min_extranonce_size: 8,
    })
}

pub(crate) fn close(channel_id: u32) -> ClientMessage<'static> {
    ClientMessage::CloseChannel(CloseChannel { channel_id, reason_code: b"done" })
}

pub(crate) fn update(
    channel_id: u32,
    nominal_hash_rate: f32,
    maximum_target: [u8; 32],
) -> ClientMessage<'static> {
    ClientMessage::UpdateChannel(UpdateChannel { channel_id, nominal_hash_rate, maximum_target })
}

/// Frames one behind the other.
pub(crate) fn frames(messages: &[ClientMessage<'_>]) -> Vec<u8> {
    let mut frames = Vec::new();
    messages.iter().for_each(|message| message.write_frame(&mut frames));
    frames
}

/// Any frame at all, in the clear.
pub(crate) fn frame(extension: u16, message: u8, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_le_bytes();
    [&extension.to_le_bytes(), &[message][..], &length[..3], payload].concat()
}

pub(crate) fn target_of(difficulty: f64) -> [u8; 32] {
    Difficulty::saturating(difficulty).to_target().to_le_bytes()
}
