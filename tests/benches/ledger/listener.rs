//! What one core of SV1 listeners can judge and answer: connections' state machines fed with submissions, from the bytes
//! of the lines to the records for the log and the bytes of the answers. No clock, no metrics, no scheduler, no ledger: a
//! real listener is slower, so the ledger is held against more than it will meet.

use std::hint::black_box;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::sync::Arc;
use std::time::{Duration, Instant};

use bitcoin::hashes::Hash;
use bitcoin::{Amount, BlockHash, CompactTarget, Network, Txid, Wtxid};
use sluice_core::coinbase::{Payment, PoolMark, parse_address};
use sluice_core::extranonce::{ExtranoncePrefix, Reservation, ResumeToken};
use sluice_core::ids::{
    AccountId, AccountName, ChannelId, JobId, Protocol, TemplateId, WorkerId, WorkerName,
};
use sluice_core::job::{Job, TipNumber, Work};
use sluice_core::policy::auth::Grant;
use sluice_core::session::{Admission, Answer, Effect, Recipient, Session};
use sluice_core::share::ShareRecord;
use sluice_core::template::{Template, TemplateTransaction};
use sluice_core::units::{Difficulty, Moment, Now, Timestamp, VersionMask};
use sluice_stratum_v1::{Announcement, Connection, SessionConfig};

const ADDRESS: &str = "bc1qw508d6qejxtdg4y5r3zarvary0c5xw7kv8f3t4";
const TIME: u32 = 1_700_000_000;
const CHANNEL: ChannelId = ChannelId(0);
const CONNECTIONS: u32 = 100;
/// Submissions in one segment: a driver reads what is there.
const SEGMENT: u32 = 16;
/// Times that all connections are served.
const PASSES: u32 = 200;
/// Passes with the same job.
const PASSES_PER_JOB: u32 = 4;
/// Of 2^32 hashes 2^16 miss the least difficulty there is.
const LEAST_ACCEPTED: u64 = PASSES as u64 * (CONNECTIONS * SEGMENT) as u64 * 999 / 1000;

/// Where lines come from and answers go to.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Wire {
    /// Loopback: a read and a write for each segment, as the driver has them.
    Sockets,
    Memory,
}

/// Submissions judged and answered in a second, nearly all of them accepted, of jobs whose merkle branch has `depth` nodes.
pub(crate) fn submissions_per_second(wire: Wire, depth: u32) -> f64 {
    let (work, config) = (work(depth), config());
    let mut miners: Vec<_> = (0..CONNECTIONS).map(|number| Miner::new(wire, &config, number)).collect();
    let (mut took, mut desk) = (Duration::ZERO, Desk::default());
    for pass in 0..PASSES {
        let number = pass / PASSES_PER_JOB + 1;
        if pass % PASSES_PER_JOB == 0 {
            hand_out(&mut miners, &job(&work, number));
        }
        let lines = lines(number, pass);
        miners.iter_mut().for_each(|miner| miner.submit(&lines));
        let start = Instant::now();
        for miner in &mut miners {
            desk.serve(miner, black_box(&lines));
        }
        took += start.elapsed();
        miners.iter_mut().for_each(Miner::hear);
    }
    let accepted: u64 = miners.iter().map(|miner| miner.recorded).sum();
    assert!(accepted >= LEAST_ACCEPTED, "{accepted} submissions were accepted");
    f64::from(PASSES * CONNECTIONS * SEGMENT) / took.as_secs_f64()
}

/// A connection and both its ends.
struct Miner {
    connection: Connection,
    recorded: u64,
    /// The pool's end and the miner's.
    sockets: Option<(TcpStream, TcpStream)>,
    /// Bytes that it was answered and has not read.
    unheard: usize,
}

impl Miner {
    fn new(wire: Wire, config: &Arc<SessionConfig>, number: u32) -> Self {
        let sockets = (wire == Wire::Sockets).then(sockets);
        Self { connection: working(config, number), recorded: 0, sockets, unheard: 0 }
    }

    fn submit(&mut self, lines: &[u8]) {
        if let Some((_, miner)) = &mut self.sockets {
            miner.write_all(lines).expect("room in its buffer");
        }
    }

    fn hear(&mut self) {
        let mut answers = vec![0; std::mem::take(&mut self.unheard)];
        if let Some((_, miner)) = &mut self.sockets {
            miner.read_exact(&mut answers).expect("answers");
        }
    }
}

fn sockets() -> (TcpStream, TcpStream) {
    let door = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port");
    let miner = TcpStream::connect(door.local_addr().expect("an address")).expect("a connection");
    let (pool, _) = door.accept().expect("a connection");
    pool.set_nodelay(true).expect("a socket");
    (pool, miner)
}

/// What the driver keeps from one segment to the next.
#[derive(Default)]
struct Desk {
    input: Vec<u8>,
    records: Vec<ShareRecord>,
    output: Vec<u8>,
}

impl Desk {
    /// As the driver does it, without waiting for the log.
    fn serve(&mut self, miner: &mut Miner, lines: &[u8]) {
        let Self { input, records, output } = self;
        let lines = match &mut miner.sockets {
            Some((pool, _)) => {
                input.resize(lines.len(), 0);
                pool.read_exact(input).expect("lines");
                input.as_slice()
            }
            None => lines,
        };
        judge(&mut miner.connection, lines, records);
        miner.recorded += records.len() as u64;
        black_box(&records);
        output.clear();
        miner.connection.committed(miner.recorded);
        miner.connection.transmit(now(), output);
        miner.unheard = output.len();
        match &mut miner.sockets {
            Some((pool, _)) => pool.write_all(output).expect("room in its buffer"),
            None => {
                black_box(&output);
            }
        }
    }
}

/// Leaves what the log would take in `records`.
fn judge(connection: &mut Connection, lines: &[u8], records: &mut Vec<ShareRecord>) {
    records.clear();
    assert_eq!(connection.receive(now(), lines), lines.len());
    while let Some(effect) = connection.next_effect() {
        if let Effect::Record { share, account, worker } = effect {
            records.push(ShareRecord {
                at: now().wall,
                account,
                worker,
                protocol: Protocol::StratumV1,
                template: share.template,
                difficulty: share.difficulty,
                hash: share.hash,
            });
        }
    }
}

fn now() -> Now {
    Now { moment: Moment(0), wall: Timestamp(u64::from(TIME) * 1000) }
}

fn config() -> Arc<SessionConfig> {
    let mut config = SessionConfig::new("bench".into());
    (config.start, config.floor) = (Difficulty::MIN, Difficulty::MIN);
    config.messages_per_minute = 0;
    Arc::new(config)
}

/// A connection that has logged in.
fn working(config: &Arc<SessionConfig>, number: u32) -> Connection {
    let mut connection = Connection::new(Arc::clone(config), "192.0.2.1".into(), now());
    connection.receive(now(), b"{\"id\":1,\"method\":\"mining.subscribe\",\"params\":[\"bench\"]}\n");
    let reservation = Reservation {
        prefix: ExtranoncePrefix(number.to_be_bytes()),
        token: ResumeToken([1; 16]),
        resumed: None,
    };
    connection.answer(now(), Answer::Reserved(CHANNEL, Some(reservation)));
    let login =
        format!("{{\"id\":2,\"method\":\"mining.authorize\",\"params\":[\"{ADDRESS}.rig1\",\"x\"]}}\n");
    connection.receive(now(), login.as_bytes());
    let grant = Grant {
        account: AccountName::new(ADDRESS).expect("a name"),
        worker: WorkerName::new("rig1").expect("a name"),
        payout_address: None,
        start: None,
        minimum: None,
        maximum: None,
    };
    let admission = Admission { grant, account: AccountId(1), worker: WorkerId(1) };
    connection.answer(now(), Answer::Authorized(CHANNEL, Ok(Box::new(admission))));
    connection.answer(now(), Answer::Opened(CHANNEL, None));
    connection
}

fn hand_out(miners: &mut [Miner], job: &Arc<Job>) {
    let announcement = Arc::new(Announcement::new(Arc::clone(job)));
    for Miner { connection, .. } in miners {
        connection.offer(now(), Recipient::Channel(CHANNEL), &announcement);
        connection.transmit(now(), &mut Vec::new());
        while connection.next_effect().is_some() {}
    }
}

fn work(depth: u32) -> Arc<Work> {
    let count = if depth == 0 { 0 } else { (1u32 << depth) - 1 };
    let transactions = (0..count).map(|index| TemplateTransaction {
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
    Arc::new(Work::new(Arc::new(template), (TipNumber(1), Moment(0)), VersionMask::BIP320))
}

/// A job whose coinbase pays two addresses.
fn job(work: &Arc<Work>, number: u32) -> Arc<Job> {
    let address = parse_address(ADDRESS, Network::Bitcoin).expect("an address");
    let pay =
        |sats| Payment { account: String::new(), address: address.clone(), amount: Amount::from_sat(sats) };
    let mark = PoolMark { tag: b"/Sluice/".to_vec(), extranonce_length: 12 };
    let payments = [pay(306_250_000), pay(6_250_000)];
    let id = (JobId(number), u64::from(number));
    Arc::new(Job::new(id, Arc::clone(work), payments.into(), &mark, now()).expect("a job"))
}

/// As ESP-Miner and cgminer print them; no two passes have the same.
fn lines(job: u32, pass: u32) -> Vec<u8> {
    let line = |index| {
        format!(
            "{{\"id\": {}, \"method\": \"mining.submit\", \"params\": [\"{ADDRESS}.rig1\", \"{job:x}\", \"{pass:016x}\", \"{TIME:08x}\", \"{:08x}\", \"00002000\"]}}\n",
            pass * SEGMENT + index + 4,
            index * 0x0107_3301,
        )
    };
    (0..SEGMENT).flat_map(|index| line(index).into_bytes()).collect()
}
