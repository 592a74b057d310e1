//! What a submission costs over the SHA-256 compressions that its judgement needs, measured in one run: from bytes to
//! the answer's bytes, the core's judgement alone, and the bare compressions. Prints the ratios at the end.

#![allow(clippy::unwrap_used, reason = "a bench that cannot be set up is to stop")]

use std::hint::black_box;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bitcoin::hashes::Hash;
use bitcoin::{Amount, BlockHash, CompactTarget, Network, Txid, Wtxid};
use criterion::Criterion;
use sluice_core::channel::{Channel, Rules};
use sluice_core::coinbase::{Payment, PoolMark, parse_address};
use sluice_core::extranonce::{Extranonce, ExtranoncePrefix, Reservation, ResumeToken};
use sluice_core::ids::{AccountId, AccountName, ChannelId, JobId, TemplateId, WorkerId, WorkerName};
use sluice_core::job::{Job, TipNumber, Work};
use sluice_core::policy::auth::Grant;
use sluice_core::session::{Admission, Answer, Effect, Recipient, Session};
use sluice_core::sha;
use sluice_core::share::{RolledVersion, Submission};
use sluice_core::template::{Template, TemplateTransaction};
use sluice_core::units::{Difficulty, Moment, Now, Timestamp, VersionMask};
use sluice_stratum_v1::{Announcement, Connection, SessionConfig};

const TIME: u32 = 1_700_000_000;
const MASK: VersionMask = VersionMask::BIP320;
const CHANNEL: ChannelId = ChannelId(0);
/// No share of the bench meets it.
const UNREACHABLE: f64 = 1e20;
/// Submissions in one segment: a driver reads what is there.
const BATCH: usize = 16;

fn now() -> Now {
    Now { moment: Moment(0), wall: Timestamp(u64::from(TIME) * 1000) }
}

/// A job whose merkle branch has `depth` nodes and whose coinbase pays two addresses.
fn job(depth: u32) -> Arc<Job> {
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
    let work = Work::new(Arc::new(template), (TipNumber(1), Moment(0)), MASK);
    assert_eq!(work.branch.len(), depth as usize);
    let address = parse_address("bc1qw508d6qejxtdg4y5r3zarvary0c5xw7kv8f3t4", Network::Bitcoin).unwrap();
    let pay =
        |sats| Payment { account: String::new(), address: address.clone(), amount: Amount::from_sat(sats) };
    let payments = [pay(306_250_000), pay(6_250_000)];
    let mark = PoolMark { tag: b"/Sluice/".to_vec(), extranonce_length: 12 };
    Arc::new(Job::new((JobId(0xabc), 7), Arc::new(work), payments.into(), &mark, now()).unwrap())
}

/// Compressions a judgement needs: the coinbase after its first, fixed block, the second hash of it, three for each
/// level and three for the header.
fn compressions(job: &Job) -> usize {
    let padded = (job.coinbase.len() + 9).div_ceil(64);
    (padded - job.coinbase.prefix.len() / 64) + 1 + 3 * job.work.branch.len() + 3
}

/// The compressions alone, each depending on the one before, in the runs that hashing needs.
fn hash_alone(job: &Job) -> sha::State {
    let blocks = [[0x5a; 64]; 8];
    let mut state = [1; 8];
    let mut left = compressions(job) - 1 - 3 * job.work.branch.len() - 3;
    while left > 0 {
        let run = left.min(blocks.len());
        sha::absorb(&mut state, black_box(&blocks[..run]));
        left -= run;
    }
    sha::absorb(&mut state, black_box(&blocks[..1]));
    for _ in 0..=job.work.branch.len() {
        sha::absorb(&mut state, black_box(&blocks[..2]));
        sha::absorb(&mut state, black_box(&blocks[..1]));
    }
    state
}

fn hash_batch(job: &Job) {
    for _ in 0..BATCH {
        black_box(hash_alone(job));
    }
}

fn working(job: &Arc<Job>) -> Connection {
    let mut config = SessionConfig::new("bench".into());
    (config.messages_per_minute, config.rejected_in_a_row) = (0, 0);
    config.start = Difficulty::saturating(UNREACHABLE);
    let mut session = Connection::new(Arc::new(config), "192.0.2.1".into(), now());
    session.receive(now(), b"{\"id\":1,\"method\":\"mining.subscribe\",\"params\":[\"bench\"]}\n");
    let reservation =
        Reservation { prefix: ExtranoncePrefix([0; 4]), token: ResumeToken([1; 16]), resumed: None };
    session.answer(now(), Answer::Reserved(CHANNEL, Some(reservation)));
    session.receive(now(), b"{\"id\":2,\"method\":\"mining.authorize\",\"params\":[\"bc1qw508d6qejxtdg4y5r3zarvary0c5xw7kv8f3t4.rig1\",\"x\"]}\n");
    let grant = Grant {
        account: AccountName::new("bc1qw508d6qejxtdg4y5r3zarvary0c5xw7kv8f3t4").unwrap(),
        worker: WorkerName::new("rig1").unwrap(),
        payout_address: None,
        start: None,
        minimum: None,
        maximum: None,
    };
    let admission = Admission { grant, account: AccountId(1), worker: WorkerId(1) };
    session.answer(now(), Answer::Authorized(CHANNEL, Ok(Box::new(admission))));
    session.answer(now(), Answer::Opened(CHANNEL, None));
    session.offer(now(), Recipient::Channel(CHANNEL), &Arc::new(Announcement::new(Arc::clone(job))));
    session.transmit(now(), &mut Vec::new());
    while session.next_effect().is_some() {}
    session
}

/// As ESP-Miner and cgminer print them.
fn lines() -> Vec<u8> {
    let mut bytes = Vec::new();
    for nonce in 0..BATCH {
        bytes.extend_from_slice(
            format!(
                "{{\"id\": {}, \"method\": \"mining.submit\", \"params\": [\"bc1qw508d6qejxtdg4y5r3zarvary0c5xw7kv8f3t4.rig1\", \"abc\", \"00000000000000{nonce:02x}\", \"{TIME:08x}\", \"{:08x}\", \"00002000\"]}}\n",
                nonce + 4,
                nonce * 77
            )
            .as_bytes(),
        );
    }
    bytes
}

/// From bytes to the answers' bytes, as a driver calls it.
fn from_bytes(session: &mut Connection, bytes: &[u8], out: &mut Vec<u8>) {
    out.clear();
    let used = session.receive(now(), bytes);
    assert_eq!(used, bytes.len());
    while let Some(effect) = session.next_effect() {
        assert!(matches!(effect, Effect::Rejected(_)));
    }
    session.transmit(now(), out);
}

fn judge_alone(channel: &mut Channel) {
    for nonce in 0..BATCH {
        let extranonce2 = [0, 0, 0, 0, 0, 0, 0, u8::try_from(nonce).unwrap()];
        let submission = Submission {
            job: JobId(0xabc),
            extranonce2: black_box(&extranonce2),
            ntime: TIME,
            nonce: u32::try_from(nonce).unwrap() * 77,
            version: RolledVersion::Bits(0x2000),
        };
        black_box(channel.judge(&submission, now()));
    }
}

/// Nanoseconds for one of the `BATCH` calls in `work`: the best of many rounds, which noise can only raise.
fn best(rounds: u32, mut work: impl FnMut()) -> f64 {
    let inner = 200;
    let mut best = Duration::MAX;
    for _ in 0..rounds {
        let start = Instant::now();
        for _ in 0..inner {
            work();
        }
        best = best.min(start.elapsed() / inner);
    }
    best.as_secs_f64() * 1e9 / BATCH as f64
}

fn main() {
    let mut criterion = Criterion::default().configure_from_args();
    let mut summary = Vec::new();
    for depth in [0, 12] {
        let job = job(depth);
        let (mut session, bytes, mut out) = (working(&job), lines(), Vec::new());
        let rules = Rules { stale_grace: Duration::ZERO };
        let start = Difficulty::saturating(UNREACHABLE);
        let mut channel =
            Channel::new(Extranonce::rolled(ExtranoncePrefix([0; 4]), 8), start, MASK, rules, None);
        channel.send(&job, Moment(0));
        criterion.bench_function(&format!("sv1 submissions x{BATCH}, branch of {depth}"), |b| {
            b.iter(|| from_bytes(&mut session, black_box(&bytes), &mut out));
        });
        criterion.bench_function(&format!("core judge x{BATCH}, branch of {depth}"), |b| {
            b.iter(|| judge_alone(&mut channel));
        });
        criterion.bench_function(&format!("bare compressions x{BATCH}, branch of {depth}"), |b| {
            b.iter(|| hash_batch(&job));
        });
        // Once more, interleaved, so that the three see the same machine.
        let (mut whole, mut judged, mut bare) = (f64::MAX, f64::MAX, f64::MAX);
        for _ in 0..20 {
            whole = whole.min(best(5, || from_bytes(&mut session, black_box(&bytes), &mut out)));
            judged = judged.min(best(5, || judge_alone(&mut channel)));
            bare = bare.min(best(5, || hash_batch(&job)));
        }
        summary.push((depth, compressions(&job), whole, judged, bare));
    }
    println!("\none submission, nanoseconds; multiples of the SHA-256 compressions it needs (target 1.5)");
    for (depth, count, whole, judged, bare) in summary {
        println!(
            "branch of {depth:2}: {count:2} compressions {bare:6.0} | judge {judged:6.0} = {:.2}x | bytes to bytes {whole:6.0} = {:.2}x, {:.0} ns over judge",
            judged / bare,
            whole / bare,
            whole - judged
        );
    }
}
