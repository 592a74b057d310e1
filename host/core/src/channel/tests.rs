use bitcoin::{Amount, CompactTarget, Network, Txid, Wtxid};

use super::*;
use crate::coinbase::{Payment, PoolMark, parse_address};
use crate::extranonce::ExtranoncePrefix;
use crate::ids::TemplateId;
use crate::job::Work;
use crate::share::FoundBlock;
use crate::template::{Template, TemplateTransaction};
use crate::units::Timestamp;

/// Difficulty 1: no test finds such a block.
const HARD: u32 = 0x1d00_ffff;
/// Every second hash is a block.
const REGTEST: u32 = 0x207f_ffff;
const MIN_TIME: u32 = 1_700_000_000;
const NTIME: u32 = MIN_TIME + 600;
const MASK: VersionMask = VersionMask::BIP320;
const GRACE: Duration = Duration::from_secs(2);
/// One hash in about four.
const LOW: f64 = 1.0 / 1_000_000_000.0;
/// One hash in about sixty-four.
const HIGH: f64 = 15.0 / 1_000_000_000.0;

fn at(millis: u64) -> Now {
    Now { moment: Moment(millis), wall: Timestamp(u64::from(NTIME) * 1000 + millis) }
}

fn difficulty(value: f64) -> Difficulty {
    Difficulty::saturating(value)
}

fn job(id: u32, tip: u64, bits: u32) -> Arc<Job> {
    let address = parse_address("bcrt1qw508d6qejxtdg4y5r3zarvary0c5xw7kygt080", Network::Regtest).unwrap();
    let value = Amount::from_sat(50);
    let template = Template {
        id: TemplateId(u64::from(id)),
        network: Network::Regtest,
        height: 200,
        previous: BlockHash::from_byte_array([u8::try_from(tip).unwrap(); 32]),
        version: 0x3fff_ffff,
        bits: CompactTarget::from_consensus(bits),
        min_time: MIN_TIME,
        cur_time: NTIME,
        coinbase_value: value,
        subsidy: value,
        witness_commitment: None,
        transactions: [TemplateTransaction {
            data: vec![0xee],
            txid: Txid::from_byte_array([5; 32]),
            wtxid: Wtxid::from_byte_array([6; 32]),
        }]
        .into(),
        received: Timestamp(0),
    };
    let work = Work::new(Arc::new(template), (TipNumber(tip), Moment(0)), MASK);
    let payments = [Payment { account: String::new(), address, amount: value }];
    let mark = PoolMark { tag: b"/t/".to_vec(), extranonce_length: 12 };
    Arc::new(Job::new((JobId(id), u64::from(id)), Arc::new(work), payments.into(), &mark, at(0)).unwrap())
}

fn channel(value: f64) -> Channel {
    let prefix = ExtranoncePrefix([1, 2, 3, 4]);
    Channel::new(Extranonce::rolled(prefix, 8), difficulty(value), MASK, Rules { stale_grace: GRACE }, None)
}

fn submission(job: &Job, nonce: u32) -> Submission<'static> {
    let extranonce2 = &[0; 8];
    Submission { job: job.id, extranonce2, ntime: job.ntime, nonce, version: RolledVersion::Unrolled }
}

/// The hash of a submission, by way of the job alone.
fn hash(job: &Job, submission: &Submission<'_>) -> BlockHash {
    let extranonce = [&[1, 2, 3, 4], submission.extranonce2].concat();
    let version = match submission.version {
        RolledVersion::Unrolled => job.work.version,
        RolledVersion::Bits(bits) => job.work.version | bits,
        RolledVersion::Whole(whole) => whole,
    };
    let solution =
        Solution { extranonce: &extranonce, version, ntime: submission.ntime, nonce: submission.nonce };
    BlockHash::from_byte_array(sha::double_header(&job.header(solution)))
}

/// The first submission from `nonce` on whose hash is `wanted`.
fn find(job: &Job, base: Submission<'static>, wanted: impl Fn(BlockHash) -> bool) -> Submission<'static> {
    (base.nonce..)
        .map(|nonce| Submission { nonce, ..base })
        .find(|submission| wanted(hash(job, submission)))
        .unwrap()
}

fn share(job: &Job, value: f64, nonce: u32) -> Submission<'static> {
    let target = difficulty(value).to_target();
    find(job, submission(job, nonce), |hash| target.is_met_by(hash))
}

/// Meets `low` and not `high`.
fn between(job: &Job, low: f64, high: f64, nonce: u32) -> Submission<'static> {
    let (low, high) = (difficulty(low).to_target(), difficulty(high).to_target());
    find(job, submission(job, nonce), |hash| low.is_met_by(hash) && !high.is_met_by(hash))
}

fn credit(verdict: &Verdict) -> Option<f64> {
    match verdict {
        Verdict::Accepted(share) | Verdict::Block(share, _) => Some(share.difficulty.get()),
        Verdict::Rejected(_) | Verdict::RejectedBlock(..) => None,
    }
}

fn reason(verdict: &Verdict) -> Option<Reason> {
    match verdict {
        Verdict::Rejected(reason) | Verdict::RejectedBlock(reason, _) => Some(*reason),
        Verdict::Accepted(_) | Verdict::Block(..) => None,
    }
}

fn block(verdict: Verdict) -> Option<FoundBlock> {
    match verdict {
        Verdict::Block(_, block) | Verdict::RejectedBlock(_, block) => Some(*block),
        Verdict::Accepted(_) | Verdict::Rejected(_) => None,
    }
}

#[test]
fn a_good_share_counts_once_and_names_its_template() {
    let (mut channel, job) = (channel(LOW), job(7, 1, HARD));
    assert!(channel.send(&job, Moment(0)));
    let share = share(&job, LOW, 0);
    let Verdict::Accepted(accepted) = channel.judge(&share, at(0)) else { panic!("not accepted") };
    assert_eq!((accepted.hash, accepted.template), (hash(&job, &share), TemplateId(7)));
    assert_eq!(accepted.difficulty, difficulty(LOW));
    // V1-71
    assert_eq!(reason(&channel.judge(&share, at(1))), Some(Reason::Duplicate));
}

#[test]
fn every_reason_but_those_of_the_wire() {
    let job = job(1, 1, HARD);
    let good = share(&job, LOW, 0);
    let target = difficulty(LOW).to_target();
    let low = find(&job, submission(&job, 0), |hash| !target.is_met_by(hash));
    let cases = [
        (Submission { job: JobId(2), ..good }, Reason::UnknownJob),
        (Submission { extranonce2: &[0; 7], ..good }, Reason::BadExtranonce),
        (Submission { extranonce2: &[0; 9], ..good }, Reason::BadExtranonce),
        (Submission { extranonce2: &[0; 200], ..good }, Reason::BadExtranonce),
        (Submission { extranonce2: &[], ..good }, Reason::BadExtranonce),
        (Submission { ntime: MIN_TIME - 1, ..good }, Reason::TimeTooOld),
        (Submission { ntime: u32::MAX, ..good }, Reason::TimeTooNew),
        (Submission { version: RolledVersion::Bits(1), ..good }, Reason::BadVersion),
        (low, Reason::LowDifficulty),
    ];
    for (submission, expected) in cases {
        let mut channel = channel(LOW);
        channel.send(&job, Moment(0));
        assert_eq!(reason(&channel.judge(&submission, at(0))), Some(expected));
    }
}

#[test]
fn header_times_from_the_minimum_to_what_the_clock_allows() {
    // V1-70
    let job = job(1, 1, HARD);
    let latest = NTIME + CLOCK_LEAD.min(NTIME_LEAD);
    for (ntime, expected) in [
        (MIN_TIME - 1, Some(Reason::TimeTooOld)),
        (MIN_TIME, None),
        (NTIME, None),
        (latest, None),
        (latest + 1, Some(Reason::TimeTooNew)),
    ] {
        let target = difficulty(LOW).to_target();
        let base = Submission { ntime, ..submission(&job, 0) };
        let share = find(&job, base, |hash| target.is_met_by(hash));
        let mut channel = channel(LOW);
        channel.send(&job, Moment(0));
        assert_eq!(reason(&channel.judge(&share, at(0))), expected, "{ntime}");
    }
}

#[test]
fn versions_within_the_mask() {
    // V1-34, V1-75
    let job = job(1, 1, HARD);
    assert_eq!(job.work.version & MASK.0, 0, "the mask's bits are cleared");
    let narrow = VersionMask(0x00c0_0000);
    let whole = |bits| RolledVersion::Whole(job.work.version ^ bits);
    for (mask, version, allowed) in [
        (MASK, RolledVersion::Bits(0), true),
        (MASK, RolledVersion::Bits(MASK.0), true),
        (MASK, RolledVersion::Bits(MASK.0 | 1), false),
        (MASK, RolledVersion::Bits(0x2000_0000), false),
        (narrow, RolledVersion::Bits(0x0040_0000), true),
        (narrow, RolledVersion::Bits(0x2000), false),
        (VersionMask::NONE, RolledVersion::Unrolled, true),
        (VersionMask::NONE, RolledVersion::Bits(0), true),
        (VersionMask::NONE, RolledVersion::Bits(0x2000), false),
        (MASK, whole(0), true),
        (MASK, whole(0x2000), true),
        (narrow, whole(0x2000), false),
        (MASK, whole(0x2000_0000), false),
    ] {
        let target = difficulty(LOW).to_target();
        let base = Submission { version, ..submission(&job, 0) };
        let share = find(&job, base, |hash| target.is_met_by(hash));
        let mut channel = channel(LOW);
        channel.set_mask(mask);
        channel.send(&job, Moment(0));
        let expected = (!allowed).then_some(Reason::BadVersion);
        assert_eq!(reason(&channel.judge(&share, at(0))), expected, "{mask} {version:?}");
    }
}

#[test]
fn a_raise_binds_to_later_jobs_only() {
    // V1-40
    let (mut channel, old, new) = (channel(LOW), job(1, 1, HARD), job(2, 1, HARD));
    channel.send(&old, Moment(0));
    assert!(channel.set_difficulty(difficulty(HIGH), Moment(0)));
    assert!(!channel.set_difficulty(difficulty(HIGH), Moment(0)));
    channel.send(&new, Moment(0));
    assert_eq!(credit(&channel.judge(&share(&old, HIGH, 0), at(0))), Some(LOW), "never the higher");
    assert_eq!(credit(&channel.judge(&between(&old, LOW, HIGH, 0), at(90_000))), Some(LOW));
    let low = channel.judge(&between(&new, LOW, HIGH, 0), at(0));
    assert_eq!(reason(&low), Some(Reason::LowDifficulty));
    assert_eq!(credit(&channel.judge(&share(&new, HIGH, 0), at(0))), Some(HIGH));
}

#[test]
fn a_lowering_counts_for_older_jobs_for_a_minute_or_two_notifies() {
    // V1-40
    let lowered = || {
        let (mut channel, old) = (channel(HIGH), job(1, 1, HARD));
        channel.send(&old, Moment(0));
        channel.set_difficulty(difficulty(LOW), Moment(0));
        (channel, old)
    };
    let (mut channel, old) = lowered();
    assert_eq!(credit(&channel.judge(&between(&old, LOW, HIGH, 0), at(60_000))), Some(LOW));
    let met = channel.judge(&share(&old, HIGH, 0), at(60_000));
    assert_eq!(credit(&met), Some(LOW), "either of two would be worth more than the work");
    let late = channel.judge(&between(&old, LOW, HIGH, 1000), at(60_001));
    assert_eq!(reason(&late), Some(Reason::LowDifficulty));

    let (mut channel, old) = lowered();
    for id in 2..4 {
        channel.send(&job(id, 1, HARD), Moment(0));
        let verdict = channel.judge(&between(&old, LOW, HIGH, id * 1000), at(0));
        assert_eq!(credit(&verdict), Some(LOW), "after notify {id}");
    }
    channel.send(&job(4, 1, HARD), Moment(0));
    let late = channel.judge(&between(&old, LOW, HIGH, 9000), at(0));
    assert_eq!(reason(&late), Some(Reason::LowDifficulty));
}

#[test]
fn an_older_tip_counts_within_the_grace_and_is_forgotten_later() {
    // V1-56, V1-57
    let (mut channel, old) = (channel(LOW), job(1, 1, HARD));
    channel.send(&old, Moment(0));
    channel.hear(&job(2, 2, HARD), Moment(1000));
    assert_eq!(credit(&channel.judge(&share(&old, LOW, 0), at(2999))), Some(LOW));
    let stale = channel.judge(&share(&old, LOW, 1000), at(3000));
    assert_eq!(reason(&stale), Some(Reason::Stale), "whether or not newer work was sent");
    channel.send(&job(3, 2, HARD), Moment(11_000));
    assert_eq!(reason(&channel.judge(&share(&old, LOW, 2000), at(11_000))), Some(Reason::Stale));
    channel.send(&job(4, 2, HARD), Moment(11_001));
    assert_eq!(reason(&channel.judge(&share(&old, LOW, 2000), at(11_001))), Some(Reason::UnknownJob));
}

#[test]
fn the_grace_is_for_the_tip_before_and_may_be_none() {
    // V1-57, M-79
    let (mut channel, old) = (channel(LOW), job(1, 1, HARD));
    channel.send(&old, Moment(0));
    channel.hear(&job(2, 2, HARD), Moment(1000));
    channel.hear(&job(3, 3, HARD), Moment(1001));
    assert_eq!(reason(&channel.judge(&share(&old, LOW, 0), at(1001))), Some(Reason::Stale), "two tips back");
    let rules = Rules { stale_grace: Duration::ZERO };
    let extranonce = Extranonce::rolled(ExtranoncePrefix([1, 2, 3, 4]), 8);
    let mut strict = Channel::new(extranonce, difficulty(LOW), MASK, rules, None);
    strict.send(&old, Moment(0));
    strict.hear(&job(2, 2, HARD), Moment(1000));
    assert_eq!(reason(&strict.judge(&share(&old, LOW, 0), at(1000))), Some(Reason::Stale), "at once");
}

#[test]
fn jobs_of_one_tip_are_kept_for_two_minutes() {
    // V1-56: more than two refresh periods of 30 s.
    let (mut channel, first) = (channel(LOW), job(1, 1, HARD));
    channel.send(&first, Moment(0));
    for id in 2..=5 {
        assert!(!channel.send(&job(id, 1, HARD), Moment(u64::from(id - 1) * 30_000)), "the same tip");
    }
    assert_eq!(credit(&channel.judge(&share(&first, LOW, 0), at(120_000))), Some(LOW));
    channel.send(&job(6, 1, HARD), Moment(150_000));
    assert!(channel.job(JobId(1)).is_none());
    assert!(channel.job(JobId(2)).is_some());
    assert_eq!(channel.last_sent(), Some(JobId(6)));
}

#[test]
fn the_number_of_jobs_is_bounded() {
    let mut channel = channel(LOW);
    for id in 0..100 {
        channel.send(&job(id, 1, HARD), Moment(u64::from(id)));
    }
    assert!(channel.job(JobId(99)).is_some());
    let kept = channel.into_sent_jobs();
    assert_eq!(kept.len(), JOBS_LIMIT);
    assert!(!kept.is_empty());
}

#[test]
fn the_newest_job_is_kept_however_old() {
    let (mut channel, only) = (channel(LOW), job(1, 1, HARD));
    channel.send(&only, Moment(0));
    channel.send(&only, Moment(500_000));
    assert_eq!(credit(&channel.judge(&share(&only, LOW, 0), at(600_000))), Some(LOW));
}

#[test]
fn duplicates_are_known_across_a_resume() {
    // V1-71, V1-76
    let (mut first, job) = (channel(LOW), job(1, 1, HARD));
    first.send(&job, Moment(0));
    let share = share(&job, LOW, 0);
    assert!(credit(&first.judge(&share, at(0))).is_some());
    let rules = Rules { stale_grace: GRACE };
    let prefix = ExtranoncePrefix([1, 2, 3, 4]);
    let mut second = Channel::new(
        Extranonce::rolled(prefix, 8),
        difficulty(HIGH),
        MASK,
        rules,
        Some(first.into_sent_jobs()),
    );
    assert_eq!(reason(&second.judge(&share, at(0))), Some(Reason::Duplicate));
}

#[test]
fn a_job_takes_so_many_shares_and_forgets_none() {
    // M-86, V1-71: nothing can be handed in twice by pushing it out of memory.
    let (mut channel, job) = (channel(1e-30), job(1, 1, HARD));
    channel.send(&job, Moment(0));
    let verdict = |channel: &mut Channel, nonce| reason(&channel.judge(&submission(&job, nonce), at(0)));
    let mut good = (0..2_000_000).filter(|nonce| verdict(&mut channel, *nonce).is_none());
    let first = good.next().unwrap();
    let last = good.nth(SEEN_LIMIT - 2).unwrap();
    for nonce in last + 1..last + 20 {
        // Hardly any hash is above the easiest target.
        assert!(matches!(verdict(&mut channel, nonce), Some(Reason::UnknownJob | Reason::LowDifficulty)));
    }
    assert_eq!(verdict(&mut channel, first), Some(Reason::Duplicate));
    // Other jobs go on.
    let next = self::job(2, 1, HARD);
    channel.send(&next, Moment(1));
    assert_eq!(reason(&channel.judge(&submission(&next, 0), at(1))), None);
}

#[test]
fn a_block_on_the_tip_is_credited_and_complete() {
    // V1-69; the network is easier than the pool here, and the block is worth what the network asks.
    let (mut channel, job) = (channel(1.0), job(1, 1, REGTEST));
    channel.send(&job, Moment(0));
    let solved = find(&job, submission(&job, 0), |hash| job.work.target.is_met_by(hash));
    let verdict = channel.judge(&solved, at(0));
    assert_eq!(credit(&verdict), Some(job.work.template.network_difficulty().get()));
    let block = block(verdict).expect("a block");
    assert_eq!((block.height, block.hash), (200, hash(&job, &solved)));
    let extranonce = [[1u8, 2, 3, 4].as_slice(), &[0; 8]].concat();
    let coinbase = job.coinbase.for_block(&extranonce);
    let body = [[2u8].as_slice(), &coinbase, &[0xee]].concat();
    assert_eq!(&block.block[80..], body);
    assert!(
        matches!(channel.judge(&solved, at(0)), Verdict::Rejected(Reason::Duplicate)),
        "handed over once"
    );
}

#[test]
fn a_share_is_worth_a_block_at_most() {
    // Harder than the network: whether a hash is a block or meets the target too, both at their price would be worth nearly
    // twice the work.
    let network = job(1, 1, REGTEST).work.network_difficulty.get();
    let (mut channel, job) = (channel(network * 4.0), job(1, 1, REGTEST));
    channel.send(&job, Moment(0));
    for nonce in 0..64 {
        let submission = submission(&job, nonce);
        let verdict = channel.judge(&submission, at(0));
        let is_block = job.work.target.is_met_by(hash(&job, &submission));
        assert_eq!(credit(&verdict), is_block.then_some(network), "nonce {nonce}");
    }
}

#[test]
fn a_block_passes_every_other_objection() {
    // V1-69: the difficulty, the clock, the mask and the tip do not keep a block from the network.
    let job = job(1, 1, REGTEST);
    let base = submission(&job, 0);
    for (submission, expected) in [
        (Submission { ntime: MIN_TIME - 1, ..base }, Reason::TimeTooOld),
        (Submission { ntime: u32::MAX, ..base }, Reason::TimeTooNew),
        (Submission { version: RolledVersion::Bits(1 << 30), ..base }, Reason::BadVersion),
    ] {
        let mut channel = channel(LOW);
        channel.send(&job, Moment(0));
        let solved = find(&job, submission, |hash| job.work.target.is_met_by(hash));
        let verdict = channel.judge(&solved, at(0));
        assert_eq!(reason(&verdict), Some(expected));
        assert!(block(verdict).is_some(), "{expected:?}");
        assert!(matches!(channel.judge(&solved, at(0)), Verdict::Rejected(Reason::Duplicate)));
    }
    let mut channel = channel(LOW);
    channel.send(&job, Moment(0));
    channel.hear(&self::job(2, 2, REGTEST), Moment(0));
    let solved = find(&job, base, |hash| job.work.target.is_met_by(hash));
    let verdict = channel.judge(&solved, at(5000));
    assert_eq!(reason(&verdict), Some(Reason::Stale), "V1-56: it may win a race");
    assert!(block(verdict).is_some());
}

#[test]
fn a_fixed_coinbase_judges_like_the_extended_one_it_equals() {
    // M-18, M-70: the prefix is the whole extranonce; the miner hands in none.
    let prefix = ExtranoncePrefix([1, 2, 3, 4]);
    let rules = Rules { stale_grace: GRACE };
    let fixed = Extranonce::fixed(prefix, 8);
    assert_eq!((&*fixed.chosen(), fixed.length()), (&[1, 2, 3, 4, 0, 0, 0, 0, 0, 0, 0, 0][..], 12));
    let mut standard = Channel::new(fixed, difficulty(LOW), VersionMask::BIP323, rules, None);
    let mut extended =
        Channel::new(Extranonce::rolled(prefix, 8), difficulty(LOW), VersionMask::BIP323, rules, None);
    let job = job(1, 1, HARD);
    standard.send(&job, Moment(0));
    extended.send(&job, Moment(0));
    assert_eq!(standard.root(job.id), Some(job.root(&fixed.chosen())));
    assert_eq!(extended.root(job.id), None);
    for nonce in 0..64u32 {
        // The version changes with every fourth nonce, so that the kept midstate is used and replaced.
        let version = RolledVersion::Whole(job.work.version ^ ((nonce / 4) << 5));
        let full = Submission { version, ..submission(&job, nonce) };
        let bare = Submission { extranonce2: &[], ..full };
        let (a, b) = (standard.judge(&bare, at(0)), extended.judge(&full, at(0)));
        assert_eq!((credit(&a), reason(&a)), (credit(&b), reason(&b)));
        let again = standard.judge(&bare, at(0));
        assert_eq!(reason(&again), Some(reason(&a).unwrap_or(Reason::Duplicate)));
    }
    // M-73: an extranonce on a standard channel.
    let stranger = submission(&job, 0);
    assert_eq!(reason(&standard.judge(&stranger, at(0))), Some(Reason::BadExtranonce));
}
