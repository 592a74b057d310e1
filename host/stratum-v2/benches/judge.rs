//! What a submission costs over the header hash that its judgement needs: from bytes to the answer's bytes, on standard
//! and extended channels, in the clear and encrypted. Then what a job costs: its encoding, once, and sending it, for
//! each connection. Prints the ratios at the end.

#![allow(clippy::unwrap_used, reason = "a bench that cannot be set up is to stop")]

use std::hint::black_box;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bitcoin::hashes::Hash;
use bitcoin::{Amount, BlockHash, CompactTarget, Network, Txid, Wtxid};
use criterion::Criterion;
use sluice_core::coinbase::{Payment, PoolMark, parse_address};
use sluice_core::extranonce::{ExtranoncePrefix, Reservation, ResumeToken};
use sluice_core::ids::{AccountId, AccountName, ChannelId, JobId, TemplateId, WorkerId, WorkerName};
use sluice_core::job::{Job, TipNumber, Work};
use sluice_core::policy::auth::Grant;
use sluice_core::session::{Admission, Answer, ChannelKind, Effect, Recipient, Session};
use sluice_core::sha::HeaderMidstate;
use sluice_core::template::{Template, TemplateTransaction};
use sluice_core::units::{Difficulty, Moment, Now, Timestamp, VersionMask};
use sluice_stratum_v2::messages::{
    OpenExtendedMiningChannel, OpenStandardMiningChannel, SetupConnection, SubmitSharesExtended,
    SubmitSharesStandard, write_frame,
};
use sluice_stratum_v2::noise::{AuthoritySecret, Identity, Initiator, Transport, Validity};
use sluice_stratum_v2::wire::FrameHeader;
use sluice_stratum_v2::{Broadcast, Connection, Security, SessionConfig};

const TIME: u32 = 1_700_000_000;
/// The first channel of a connection.
const CHANNEL: ChannelId = ChannelId(2);
/// No share of the bench meets it.
const UNREACHABLE: f64 = 1e20;
/// Nearly every share meets it.
const ANYTHING: f64 = 0.0;
/// Submissions in one segment: a driver reads what is there.
const BATCH: u32 = 16;
/// Segments, or jobs, of one measurement.
const ROUND: u32 = 200;
/// Measurements; the best counts, since noise can only add.
const MEASUREMENTS: u32 = 40;
/// Transactions are 2^12 - 1.
const DEPTH: u32 = 12;

fn now() -> Now {
    Now { moment: Moment(0), wall: Timestamp(u64::from(TIME) * 1000) }
}

/// Jobs of one template whose merkle branch has [`DEPTH`] nodes and whose coinbase pays two addresses.
fn jobs(count: u32) -> Vec<Arc<Job>> {
    let transactions = (0..(1u32 << DEPTH) - 1).map(|index| TemplateTransaction {
        data: vec![],
        txid: Txid::hash(&index.to_le_bytes()),
        wtxid: Wtxid::hash(&index.to_le_bytes()),
    });
    let value = Amount::from_sat(312_500_000);
    let template = Template {
        id: TemplateId(1),
        network: Network::Bitcoin,
        height: 900_000,
        previous: BlockHash::all_zeros(),
        version: 0x2000_0000,
        bits: CompactTarget::from_consensus(0x1702_0000),
        min_time: TIME,
        cur_time: TIME,
        coinbase_value: value,
        subsidy: value,
        witness_commitment: Some(vec![0x6a; 38]),
        transactions: transactions.collect(),
        received: Timestamp(0),
    };
    let work = Arc::new(Work::new(Arc::new(template), (TipNumber(1), Moment(0)), VersionMask::BIP320));
    assert_eq!(work.branch.len(), DEPTH as usize);
    let address = parse_address("bc1qw508d6qejxtdg4y5r3zarvary0c5xw7kv8f3t4", Network::Bitcoin).unwrap();
    let pay =
        |sats| Payment { account: String::new(), address: address.clone(), amount: Amount::from_sat(sats) };
    let payments: Arc<[Payment]> = [pay(306_250_000), pay(6_250_000)].into();
    let mark = PoolMark { tag: b"/Sluice/".to_vec(), extranonce_length: 12 };
    let job = |id: u32| {
        let ids = (JobId(id), u64::from(id));
        Arc::new(Job::new(ids, Arc::clone(&work), Arc::clone(&payments), &mark, now()).unwrap())
    };
    (1..=count).map(job).collect()
}

fn broadcast(job: &Arc<Job>) -> Arc<Broadcast> {
    Arc::new(Broadcast::new(Arc::clone(job)).unwrap())
}

/// A connection with one channel at work, and its client's end of the encryption.
struct Peer {
    session: Connection,
    client: Option<Transport>,
    recorded: u64,
    out: Vec<u8>,
}

impl Peer {
    fn new(encrypted: bool, kind: ChannelKind, difficulty: f64, first: &Arc<Broadcast>) -> Self {
        let mut config = SessionConfig::new("bench".into());
        (config.messages_per_minute, config.rejected_in_a_row) = (0, 0);
        config.start = Difficulty::saturating(difficulty);
        config.floor = Difficulty::MIN;
        let security = if encrypted { noise() } else { Security::PlainText };
        let session = Connection::new(Arc::new(config), security, "192.0.2.1".into(), now());
        let mut peer = Self { session, client: None, recorded: 0, out: Vec::new() };
        if encrypted {
            let (initiator, act_1) = Initiator::new(None, [5; 32]).unwrap();
            peer.session.receive(now(), &act_1);
            peer.session.transmit(now(), &mut peer.out);
            let act_2 = peer.out.as_slice().try_into().unwrap();
            peer.client = Some(initiator.finish(act_2, TIME).unwrap());
        }
        peer.open(kind, first);
        peer
    }

    fn open(&mut self, kind: ChannelKind, first: &Arc<Broadcast>) {
        let segment = self.seal(&opening(kind));
        self.session.receive(now(), &segment);
        let name = "bc1qw508d6qejxtdg4y5r3zarvary0c5xw7kv8f3t4";
        let grant = Grant {
            account: AccountName::new(name).unwrap(),
            worker: WorkerName::new("rig1").unwrap(),
            payout_address: None,
            start: None,
            minimum: None,
            maximum: None,
        };
        let admission = Admission { grant, account: AccountId(1), worker: WorkerId(1) };
        self.session.answer(now(), Answer::Authorized(CHANNEL, Ok(Box::new(admission))));
        let prefix = ExtranoncePrefix([0; 4]);
        let reservation = Reservation { prefix, token: ResumeToken([1; 16]), resumed: None };
        self.session.answer(now(), Answer::Reserved(CHANNEL, Some(reservation)));
        self.session.answer(now(), Answer::Opened(CHANNEL, None));
        self.offer(first);
        self.run();
    }

    fn seal(&mut self, frames: &[u8]) -> Vec<u8> {
        let Some(client) = &mut self.client else { return frames.to_vec() };
        let (mut out, mut rest) = (Vec::new(), frames);
        while let Some((header, behind)) = rest.split_first_chunk() {
            let (payload, next) = behind.split_at(FrameHeader::read(*header).length as usize);
            client.send.seal(*header, &[payload], &mut out);
            rest = next;
        }
        out
    }

    fn run(&mut self) {
        while let Some(effect) = self.session.next_effect() {
            self.recorded += u64::from(matches!(effect, Effect::Record { .. }));
        }
    }

    /// From bytes to the answers' bytes, as a driver calls it; what is accepted is in the log at once.
    fn answer(&mut self, segment: &[u8]) {
        self.out.clear();
        let used = self.session.receive(now(), segment);
        assert_eq!(used, segment.len());
        self.run();
        self.session.committed(self.recorded);
        self.session.transmit(now(), &mut self.out);
        self.run();
    }

    fn offer(&mut self, work: &Arc<Broadcast>) {
        self.out.clear();
        self.session.offer(now(), Recipient::Everyone, work);
        self.session.transmit(now(), &mut self.out);
    }
}

fn noise() -> Security {
    let authority = AuthoritySecret::from_entropy([7; 32]).unwrap();
    let validity = Validity { valid_from: TIME - 1, not_valid_after: TIME + 1_000_000 };
    let identity = Identity::issue([9; 32], &authority, validity).unwrap();
    Security::Noise { identity: Arc::new(identity), entropy: [3; 32] }
}

fn opening(kind: ChannelKind) -> Vec<u8> {
    let mut frames = Vec::new();
    let setup = SetupConnection {
        protocol: 0,
        min_version: 2,
        max_version: 2,
        flags: 0,
        endpoint_host: b"",
        endpoint_port: 0,
        vendor: b"bench",
        hardware_version: b"",
        firmware: b"",
        device_id: b"",
    };
    write_frame(&setup, &mut frames);
    let (request_id, user_identity) = (1, b"alice".as_slice());
    let (nominal_hash_rate, max_target) = (1e12, [0xff; 32]);
    match kind {
        ChannelKind::Standard => {
            let open = OpenStandardMiningChannel { request_id, user_identity, nominal_hash_rate, max_target };
            write_frame(&open, &mut frames);
        }
        ChannelKind::Extended => {
            let open = OpenExtendedMiningChannel {
                request_id,
                user_identity,
                nominal_hash_rate,
                max_target,
                min_extranonce_size: 8,
            };
            write_frame(&open, &mut frames);
        }
    }
    frames
}

/// [`BATCH`] submissions that were not made before.
fn segment(kind: ChannelKind, number: u32) -> Vec<u8> {
    let mut frames = Vec::new();
    for nonce in number * BATCH..(number + 1) * BATCH {
        let (channel_id, sequence_number, job_id) = (CHANNEL.0, nonce, 1);
        let (ntime, version) = (TIME, 0x2000_2000);
        match kind {
            ChannelKind::Standard => {
                let share =
                    SubmitSharesStandard { channel_id, sequence_number, job_id, nonce, ntime, version };
                write_frame(&share, &mut frames);
            }
            ChannelKind::Extended => {
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
                write_frame(&share, &mut frames);
            }
        }
    }
    frames
}

/// Nanoseconds for one of `parts` of what `work` does, measured once.
fn nanoseconds(parts: u32, work: impl FnOnce()) -> f64 {
    let start = Instant::now();
    work();
    start.elapsed().as_secs_f64() * 1e9 / f64::from(parts)
}

/// A header hash from its midstate: what every share needs at least.
fn header_hash() -> f64 {
    let mut header = [0x5a; 80];
    let mut midstate = None;
    nanoseconds(ROUND * BATCH, || {
        for nonce in 0..ROUND * BATCH {
            header[76..].copy_from_slice(&nonce.to_le_bytes());
            black_box(HeaderMidstate::double_header(&mut midstate, black_box(&header)));
        }
    })
}

/// One submission, on a fresh connection: its sealing is not counted.
fn submission(encrypted: bool, kind: ChannelKind, difficulty: f64, first: &Arc<Broadcast>) -> f64 {
    let mut peer = Peer::new(encrypted, kind, difficulty, first);
    let segments: Vec<Vec<u8>> =
        (0..ROUND).map(|number| segment(kind, number)).map(|frames| peer.seal(&frames)).collect();
    let each = nanoseconds(ROUND * BATCH, || {
        segments.iter().for_each(|segment| peer.answer(black_box(segment)));
    });
    let accepted = peer.recorded > u64::from(ROUND * BATCH / 2);
    assert_eq!(accepted, difficulty < 1.0, "{} were accepted", peer.recorded);
    each
}

/// Sending one job to one connection that has a channel.
fn sending(encrypted: bool, kind: ChannelKind, works: &[Arc<Broadcast>]) -> f64 {
    let (first, rest) = works.split_first().unwrap();
    let mut peer = Peer::new(encrypted, kind, UNREACHABLE, first);
    let count = u32::try_from(rest.len()).unwrap();
    nanoseconds(count, || rest.iter().for_each(|work| peer.offer(black_box(work))))
}

fn encoding(jobs: &[Arc<Job>]) -> f64 {
    let count = u32::try_from(jobs.len()).unwrap();
    nanoseconds(count, || jobs.iter().for_each(|job| drop(black_box(broadcast(job)))))
}

/// A figure: how it is measured, and the best of it so far.
struct Row<'a> {
    name: String,
    /// Of how many things the measurement is the mean.
    parts: u32,
    measure: Box<dyn Fn() -> f64 + 'a>,
    best: f64,
}

impl<'a> Row<'a> {
    fn new(name: String, parts: u32, measure: impl Fn() -> f64 + 'a) -> Self {
        Self { name, parts, measure: Box::new(measure), best: f64::MAX }
    }

    /// As many measurements as make `count` things.
    fn total(&self, count: u64) -> Duration {
        let measurements = count.div_ceil(u64::from(self.parts));
        let sum: f64 = (0..measurements).map(|_| (self.measure)()).sum();
        Duration::from_secs_f64(sum / measurements as f64 * count as f64 / 1e9)
    }
}

fn rows<'a>(jobs: &'a [Arc<Job>], works: &'a [Arc<Broadcast>]) -> Vec<Row<'a>> {
    let wires = [("clear", false), ("encrypted", true)];
    let mut rows = Vec::new();
    for ((wire, encrypted), kind) in
        wires.into_iter().flat_map(|wire| ChannelKind::ALL.map(|kind| (wire, kind)))
    {
        for (what, difficulty) in [("missed", UNREACHABLE), ("accepted", ANYTHING)] {
            let name = format!("{} share, {what}, {wire}", kind.label());
            let measure = move || submission(encrypted, kind, difficulty, &works[0]);
            rows.push(Row::new(name, ROUND * BATCH, measure));
        }
        let name = format!("job, {} channel, {wire}", kind.label());
        rows.push(Row::new(name, ROUND, move || sending(encrypted, kind, works)));
    }
    rows.push(Row::new("job, encoded once".to_owned(), ROUND, move || encoding(jobs)));
    rows
}

fn main() {
    let mut criterion = Criterion::default()
        .sample_size(10)
        .warm_up_time(Duration::from_millis(200))
        .measurement_time(Duration::from_secs(1))
        .configure_from_args();
    let jobs = jobs(ROUND + 1);
    let works: Vec<Arc<Broadcast>> = jobs.iter().map(broadcast).collect();
    let mut rows = rows(&jobs, &works);
    for row in &rows {
        criterion.bench_function(&format!("sv2 {}", row.name), |b| b.iter_custom(|count| row.total(count)));
    }
    // Interleaved, so that all see the same machine.
    let mut bare = f64::MAX;
    for _ in 0..MEASUREMENTS {
        bare = bare.min(header_hash());
        for row in &mut rows {
            row.best = row.best.min((row.measure)());
        }
    }
    println!("\nnanoseconds; multiples of a header hash from its midstate, {bare:.0} ns (branch of {DEPTH})");
    for row in rows {
        println!("{:36} {:7.0} = {:6.2}x", row.name, row.best, row.best / bare);
    }
}
