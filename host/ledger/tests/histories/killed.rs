//! A pool's process that is killed while it works, hundreds of times, on one ledger.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{self, Receiver};
use std::thread;
use std::time::{Duration, Instant};

use rusqlite::config::DbConfig;
use rusqlite::{Connection, Row};
use sluice_core::bitcoin::BlockHash;
use sluice_core::bitcoin::hashes::Hash;
use sluice_ledger::{BlockState, Verdict};

use crate::books::{audited, balanced};
use crate::support::{number, open, sql};
use crate::work::{DIRECTORY, FOLDED_AFTER, LIFE, MINERS, Rng, credit, hash_of_share, settle};

/// How often the process is killed.
const KILLS: u64 = 300;
/// Lives between two audits, and before the write-ahead log is moved by an orderly end.
const AUDIT_EVERY: u64 = 25;
/// One in so many is killed at the start, running or not.
const EARLY: u64 = 8;
/// The most shares of a miner that wait for a commit.
const IN_FLIGHT: u64 = 8;
/// A process that says nothing for so long hangs.
const SOON: Duration = Duration::from_secs(60);

/// What a process said before it died.
#[derive(Default)]
struct Said {
    /// Shares of each miner that were committed.
    shares: [u64; MINERS],
    blocks: Vec<String>,
    settled: Vec<String>,
    accrued: Vec<(u64, u64)>,
    paid: Vec<i64>,
}

impl Said {
    fn hear(&mut self, line: &str) {
        let words: Vec<&str> = line.split(' ').collect();
        let value = |at: usize| words[at].parse::<u64>().expect("a number");
        match words[0] {
            "shares" => self.shares[usize::try_from(value(1)).expect("few")] = value(2),
            "block" => self.blocks.push(words[1].to_owned()),
            "settled" => self.settled.push(words[1].to_owned()),
            "accrued" => self.accrued.push((value(1), value(2))),
            "paid" => self.paid.push(words[1].parse().expect("a number")),
            _ => {}
        }
    }
}

/// Kills later while processes die before they have settled a block, and earlier while they do not.
struct Pace {
    rng: Rng,
    span: Duration,
}

impl Pace {
    fn learn(&mut self, said: &Said) {
        let settled = !said.settled.is_empty();
        self.span = if settled { self.span.mul_f64(0.95) } else { self.span.mul_f64(1.05) };
        self.span = self.span.clamp(Duration::from_millis(4), Duration::from_millis(200));
    }

    fn wait(&mut self) -> Duration {
        self.span.mul_f64(self.rng.part())
    }
}

fn start(dir: &Path, life: u64) -> Child {
    Command::new(std::env::current_exe().expect("this program"))
        .args(["--exact", "work::the_pool_that_is_killed", "--nocapture"])
        .env(DIRECTORY, dir)
        .env(LIFE, life.to_string())
        .stdout(Stdio::piped())
        .spawn()
        .expect("it runs")
}

/// Reads what it says until it is dead. The last line counts only if it is whole.
fn listen(child: &mut Child) -> Receiver<String> {
    let mut output = BufReader::new(child.stdout.take().expect("piped"));
    let (sender, lines) = mpsc::channel();
    thread::spawn(move || {
        let mut line = String::new();
        while output.read_line(&mut line).is_ok_and(|bytes| bytes > 0) {
            if let Some(said) = line.strip_prefix("@ ").and_then(|said| said.strip_suffix('\n')) {
                let _ = sender.send(said.to_owned());
            }
            line.clear();
        }
    });
    lines
}

fn live_and_die(dir: &Path, life: u64, pace: &mut Pace) -> Said {
    let mut said = Said::default();
    let mut child = start(dir, life);
    let lines = listen(&mut child);
    let early = life.is_multiple_of(EARLY);
    if !early {
        while lines.recv_timeout(SOON).expect("it does not run") != "running" {}
    }
    let end = Instant::now() + pace.wait();
    thread::sleep(end.saturating_duration_since(Instant::now()));
    child.kill().expect("it ran");
    let status = child.wait().expect("it ended");
    assert!(status.code().is_none(), "it ended by itself: {status}");
    lines.iter().for_each(|line| said.hear(&line));
    if !early {
        pace.learn(&said);
    }
    said
}

/// What the parent has seen in the ledger so far.
#[derive(Default)]
struct Seen {
    /// The newest share.
    last: u64,
    shares: HashSet<Vec<u8>>,
    blocks: HashMap<String, u64>,
    settled: HashSet<String>,
    /// Lives by what the end came into the middle of.
    unreported: u32,
    unsettled: u32,
    unpaid: u32,
}

/// Looks, and leaves the write-ahead log to the next process.
fn look(dir: &Path) -> Connection {
    let books = sql(dir);
    books.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true).expect("set");
    books
}

fn list<T>(books: &Connection, query: &str, read: fn(&Row<'_>) -> rusqlite::Result<T>) -> Vec<T> {
    let mut statement = books.prepare(query).expect("a query");
    statement.query_map([], read).expect("rows").collect::<Result<_, _>>().expect("rows")
}

fn unsigned(row: &Row<'_>, column: usize) -> rusqlite::Result<u64> {
    Ok(row.get::<_, i64>(column)?.unsigned_abs())
}

impl Seen {
    fn verify(&mut self, dir: &Path, life: u64, said: &Said) {
        let books = look(dir);
        balanced(&books);
        self.shares(&books, life, said);
        self.blocks(&books, said);
        accruals(&books, said);
        self.payouts(&books, said);
    }

    /// Acknowledged shares are there, in order, once; those that nobody heard of at most once; and nothing else.
    fn shares(&mut self, books: &Connection, life: u64, said: &Said) {
        let query = format!("SELECT seq, hash FROM shares WHERE seq > {} ORDER BY seq", self.last);
        let mut logged: BTreeMap<Vec<u8>, u64> = BTreeMap::new();
        for (seq, hash) in list(books, &query, |row| Ok((unsigned(row, 0)?, row.get::<_, Vec<u8>>(1)?))) {
            assert_eq!(seq, self.last + 1, "a gap in the log");
            self.last = seq;
            assert!(self.shares.insert(hash.clone()), "share {seq} is there twice");
            logged.insert(hash, seq);
        }
        let mut found = 0;
        for (miner, acknowledged) in (0u64..).zip(said.shares) {
            let there = |count: &u64| logged.contains_key(&hash_of_share(life, miner, *count)[..16]);
            let count = (0u64..).take_while(there).count() as u64;
            assert!(
                count >= acknowledged,
                "miner {miner} of life {life}: {acknowledged} acknowledged, {count} logged"
            );
            assert!(count <= acknowledged + IN_FLIGHT, "{count} of {acknowledged}");
            self.unreported += u32::from(count > acknowledged);
            found += count;
        }
        assert_eq!(found, logged.len() as u64, "shares that nobody sent in life {life}");
        let kept = number(books, "SELECT count(*) + (SELECT through FROM folded) FROM shares").unsigned_abs();
        assert_eq!(kept, self.last, "older shares");
        let hours = "SELECT coalesce(sum(shares), 0) = (SELECT through FROM folded) FROM share_hours";
        assert_eq!(number(books, hours), 1, "folded shares");
    }

    /// A block that was written down stays, is settled once, and is in the books if it is in the chain.
    fn blocks(&mut self, books: &Connection, said: &Said) {
        let rows = list(
            books,
            "SELECT hash, through, state IN ('accepted', 'immature', 'mature'), id IN (SELECT block FROM rounds), \
             (SELECT count(*) FROM journal WHERE block = b.id), \
             (SELECT coalesce(max(number), 0) FROM journal WHERE block = b.id) FROM blocks b ORDER BY id",
            |row| {
                let hash = BlockHash::from_byte_array(row.get(0)?).to_string();
                let facts: (bool, bool, i64, i64) = (row.get(2)?, row.get(3)?, row.get(4)?, row.get(5)?);
                Ok((hash, unsigned(row, 1)?, facts))
            },
        );
        let mut open = 0;
        let count = rows.len();
        let mut found = HashMap::new();
        for (hash, through, (counts, settled, journals, last)) in rows {
            assert_eq!(journals, last, "transactions of {hash}");
            assert_eq!(
                journals % 2 == 1,
                settled && counts,
                "{hash}: settled {settled}, in the chain {counts}"
            );
            assert!(settled || !self.settled.contains(&hash), "{hash} was settled");
            self.settled.extend(settled.then(|| hash.clone()));
            open += u32::from(!settled);
            found.insert(hash, through);
        }
        assert_eq!(found.len(), count, "a block is there twice");
        let stays = |(hash, through): (&String, &u64)| found.get(hash) == Some(through);
        assert!(self.blocks.iter().all(stays), "a block is gone, or another round ends with it");
        assert!(said.blocks.iter().all(|hash| found.contains_key(hash)), "a block is lost");
        assert!(said.settled.iter().all(|hash| self.settled.contains(hash)), "a settlement is lost");
        self.blocks = found;
        self.unsettled += u32::from(open > 0);
    }

    /// What a batch takes is taken while it stands, once; its fee when it is confirmed.
    fn payouts(&mut self, books: &Connection, said: &Said) {
        let wrong = "SELECT count(*) FROM payouts p WHERE (SELECT count(*) FROM journal WHERE payout = p.id) % 2 \
                     <> (state <> 'cancelled') OR (SELECT count(*) FROM journal WHERE fee = p.id) <> (state = 'confirmed')";
        assert_eq!(number(books, wrong), 0, "payouts and their transactions");
        let held = "SELECT (SELECT coalesce(sum(amount), 0) FROM entries WHERE book = 'payout') \
                    - (SELECT coalesce(sum(l.amount), 0) FROM payout_lines l JOIN payouts p ON p.id = l.payout \
                       WHERE state <> 'cancelled') - (SELECT coalesce(sum(fee), 0) FROM payouts)";
        assert_eq!(number(books, held), 0, "what payouts hold");
        let confirmed = list(books, "SELECT id FROM payouts WHERE state = 'confirmed'", |row| row.get(0));
        assert!(said.paid.iter().all(|id| confirmed.contains(id)), "a payment is lost");
        let open = number(books, "SELECT count(*) FROM payouts WHERE state IN ('prepared', 'sent')");
        self.unpaid += u32::from(open > 0);
    }
}

/// One behind the other from the first share on, so that each share is in one at most.
fn accruals(books: &Connection, said: &Said) {
    let query = "SELECT first, through FROM accruals ORDER BY id";
    let found = list(books, query, |row| Ok((unsigned(row, 0)?, unsigned(row, 1)?)));
    let mut after = 0;
    for (first, through) in &found {
        assert_eq!(*first, after + 1, "shares are left out, or counted twice");
        after = *through;
    }
    assert!(said.accrued.iter().all(|accrual| found.contains(accrual)), "an accrual is lost");
    let unlike =
        "SELECT count(*) FROM accruals a WHERE (SELECT count(*) FROM journal WHERE accrual = a.id) <> 1";
    assert_eq!(number(books, unlike), 0, "accruals that are not booked once");
}

/// What a pool that lives does with what it finds: every block gets its verdict, every round and share its credit. Then all
/// of it is computed again.
async fn audit(dir: &Path) {
    let ledger = open(dir);
    for block in ledger.blocks(usize::MAX).await.expect("blocks") {
        if matches!(block.state, BlockState::Found | BlockState::Submitted) {
            ledger.block_verdict(block.hash, Verdict::Accepted).await.expect("known");
        }
    }
    settle(&ledger, |_| {}).await;
    credit(&ledger, |_| {}).await;
    assert_eq!(ledger.unaccrued().await.expect("read"), 0);
    ledger.close().await;
    let report = audited(dir);
    assert!(report.is_clean(), "{report:#?}");
    assert_eq!((report.other_entries, report.between_accruals), (0, 0));
}

#[test]
fn a_pool_that_is_killed_hundreds_of_times_has_everything_once() {
    let dir = tempfile::tempdir().expect("a directory");
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().expect("a runtime");
    let mut pace = Pace { rng: Rng::new(1), span: Duration::from_millis(25) };
    let mut seen = Seen::default();
    for life in 1..=KILLS {
        let said = live_and_die(dir.path(), life, &mut pace);
        seen.verify(dir.path(), life, &said);
        if life.is_multiple_of(AUDIT_EVERY) {
            runtime.block_on(audit(dir.path()));
        }
    }
    let books = sql(dir.path());
    let folded = number(&books, "SELECT through FROM folded");
    let paid = number(&books, "SELECT count(*) FROM payouts WHERE state = 'confirmed'");
    let Seen { last, settled, unreported, unsettled, unpaid, .. } = &seen;
    println!(
        "{last} shares, {} rounds, {paid} payouts; killed with shares committed and unreported {unreported} times, with a \
         block that was not settled {unsettled} times, with a payout under way {unpaid} times; {folded} shares folded; \
         kills within {:?}",
        settled.len(),
        pace.span
    );
    assert!(settled.len() > 50 && paid > 0, "too little happened to prove anything");
    assert!(
        *unreported >= 10 && *unsettled >= 10 && *unpaid >= 10,
        "the end never came into the middle of anything"
    );
    assert!(folded > 0, "nothing was folded in {FOLDED_AFTER} lives");
}
