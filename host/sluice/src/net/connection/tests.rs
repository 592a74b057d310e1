//! The driver with a made-up protocol: lines that tell the session what to ask for, and lines that tell what it was
//! answered.

use std::cell::RefCell;
use std::path::Path;
use std::sync::{Once, mpsc};
use std::task::Context;

use bitcoin::hashes::Hash;
use bitcoin::{Amount, BlockHash, CompactTarget, Network};
use sluice_core::coinbase::{Payment, PoolMark, parse_address};
use sluice_core::extranonce::ResumeToken;
use sluice_core::ids::{AccountName, ChannelId, TemplateId};
use sluice_core::job::{TipNumber, Work};
use sluice_core::policy::PolicyFailure;
use sluice_core::policy::auth::{AuthPolicy, Grant, Login, Refusal};
use sluice_core::policy::payout::{Accrued, Entitlement, PayoutPolicy, Plan, Round, Tally, Window};
use sluice_core::policy::vardiff::{Decision, Opening, Review, VardiffPolicy};
use sluice_core::template::Template;
use sluice_core::units::{Timestamp, VersionMask};
use sluice_ledger::{Durability, LedgerConfig};
use sluice_stratum_v1::Announcement;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader, DuplexStream, ReadBuf, ReadHalf, WriteHalf};
use tokio::task::JoinHandle;

use super::*;
use crate::jobs::BoardConfig;
use crate::jobs::board::tests::{classes, client};
use crate::net::handshakes::Handshakes;
use crate::net::prefixes::Quota;

mod parrot;

use parrot::Parrot;

pub(super) const SOON: Duration = Duration::from_secs(10);

// === a board ===

/// A board with work, and no task that keeps it: the test publishes.
pub(super) fn board(per_finder: bool) -> Arc<Board> {
    let config = BoardConfig {
        mark: PoolMark { tag: b"/test/".to_vec(), extranonce_length: 12 },
        rollable: VersionMask::BIP320,
        refresh: Duration::from_secs(60),
        classes: classes(),
    };
    let clock = Clock::start();
    let board = Board::new(config, clock, plan(per_finder), 1, Arc::new(Metrics::new()));
    // Nobody makes first jobs.
    let value = Amount::from_sat(5_000_000_000);
    let template = Template {
        id: TemplateId(1),
        network: Network::Regtest,
        height: 200,
        previous: BlockHash::all_zeros(),
        version: 0x2000_0000,
        bits: CompactTarget::from_consensus(0x207f_ffff),
        min_time: 1_700_000_000,
        cur_time: 1_700_000_600,
        coinbase_value: value,
        subsidy: value,
        witness_commitment: None,
        transactions: [].into_iter().collect(),
        received: Timestamp(0),
    };
    let place = (TipNumber(1), clock.moment());
    board.set_work(&Arc::new(Work::new(Arc::new(template), place, VersionMask::BIP320)));
    board
}

pub(super) fn plan(per_finder: bool) -> Plan {
    Plan { window: Window::None, per_finder, accrues: false, pays_balances: false }
}

pub(super) fn name(text: &str) -> AccountName {
    AccountName::new(text).unwrap()
}

pub(super) fn publish(board: &Board, owner: Option<&str>) {
    publish_to(board, owner, Class::DEFAULT);
}

fn publish_to(board: &Board, owner: Option<&str>, class: Class) {
    let address = parse_address("bcrt1qw508d6qejxtdg4y5r3zarvary0c5xw7kygt080", Network::Regtest).unwrap();
    let amount = Amount::from_sat(5_000_000_000);
    board.publish(&owner.map(name), class, [Payment { account: String::new(), address, amount }].into());
}

// === policies ===

/// Logs nobody in; user "slow" has to wait for a signal.
struct Doorman(mpsc::Receiver<()>);

impl AuthPolicy for Doorman {
    fn authorize(&mut self, login: &Login) -> Result<Result<Grant, Refusal>, PolicyFailure> {
        if login.username == "slow" {
            self.0.recv_timeout(SOON).expect("a signal in time");
        }
        Ok(Err(Refusal::Forbidden("nobody comes in".to_owned())))
    }
}

/// Has no opinion.
struct Silent;

impl VardiffPolicy for Silent {
    fn open(&mut self, _opening: &Opening) -> Result<Decision, PolicyFailure> {
        Err(PolicyFailure::Unavailable("silent".to_owned()))
    }

    fn review_all(&mut self, _reviews: &[Review]) -> Result<Vec<Decision>, PolicyFailure> {
        Err(PolicyFailure::Unavailable("silent".to_owned()))
    }
}

impl PayoutPolicy for Silent {
    fn plan(&mut self) -> Result<Plan, PolicyFailure> {
        Ok(plan(false))
    }

    fn settle(&mut self, _round: &Round) -> Result<Vec<Entitlement>, PolicyFailure> {
        Ok(Vec::new())
    }

    fn accrue(&mut self, _tallies: &[Tally]) -> Result<Vec<Accrued>, PolicyFailure> {
        Ok(Vec::new())
    }
}

// === a connection ===

const PEER: IpAddr = IpAddr::V4(std::net::Ipv4Addr::LOCALHOST);
const PICK: Pick<Announcement> = |published| &published.stratum_v1;

fn newcomer(place: Option<Place>) -> Newcomer {
    Newcomer { protocol: Protocol::StratumV2, id: ConnectionId(1), address: PEER, place }
}

fn shared(
    dir: &Path,
    board: Arc<Board>,
    channels: usize,
    signalled: mpsc::Receiver<()>,
    closing: watch::Receiver<Option<Close>>,
) -> Arc<Shared> {
    let config = LedgerConfig {
        dir: dir.join("ledger"),
        durability: Durability::Process,
        queue_limit: sluice_ledger::QUEUE_LIMIT,
    };
    let policies =
        Policies::native(Box::new(Doorman(signalled)), Box::new(Silent), Box::new(Silent)).unwrap();
    Arc::new(Shared {
        clock: Clock::start(),
        ledger: Ledger::open(&config).unwrap(),
        policies,
        board,
        blocks: BlockDesk::new().0,
        prefixes: Prefixes::new(0, |_| Quota { channels, ..Quota::default() }),
        metrics: Arc::new(Metrics::new()),
        closing,
        accepting: watch::channel(true).1,
    })
}

/// A peer that always has something to say, until it ends.
struct Chatter {
    begins: &'static [u8],
    ends: std::time::Instant,
}

impl AsyncRead for Chatter {
    fn poll_read(
        mut self: Pin<&mut Self>,
        _context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if std::time::Instant::now() < self.ends {
            let begins = std::mem::take(&mut self.begins);
            buffer.put_slice(begins);
            buffer.put_slice(b"\n");
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Chatter {
    fn poll_write(self: Pin<&mut Self>, _context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

struct Peer {
    shared: Arc<Shared>,
    channels_limit: usize,
    /// Lets a slow login go on.
    signal: mpsc::Sender<()>,
    /// Where the connection has the only place while it is in its handshake.
    places: Arc<Handshakes>,
    reader: BufReader<ReadHalf<DuplexStream>>,
    writer: WriteHalf<DuplexStream>,
    driver: JoinHandle<Close>,
    _closing: watch::Sender<Option<Close>>,
    _dir: tempfile::TempDir,
}

impl Peer {
    fn connect(per_finder: bool, channels_limit: usize) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let (signal, signalled) = mpsc::channel();
        let (closing, closing_seen) = watch::channel(None);
        let shared = shared(dir.path(), board(per_finder), channels_limit, signalled, closing_seen);
        let places = Handshakes::new(1);
        let (here, there) = tokio::io::duplex(64 * 1024);
        let newcomer = newcomer(places.enter().ok());
        let mut connection = Connection::new(Arc::clone(&shared), newcomer, Parrot::default(), there, PICK);
        let driver = tokio::spawn(async move { connection.run().await });
        let (reader, writer) = tokio::io::split(here);
        let reader = BufReader::new(reader);
        Self { shared, channels_limit, signal, places, reader, writer, driver, _closing: closing, _dir: dir }
    }

    async fn say(&mut self, lines: &str) {
        self.writer.write_all(lines.replace("; ", "\n").as_bytes()).await.unwrap();
        self.writer.write_all(b"\n").await.unwrap();
    }

    async fn hear(&mut self) -> String {
        let mut line = String::new();
        let heard = tokio::time::timeout(SOON, self.reader.read_line(&mut line)).await;
        heard.expect("a line in time").unwrap();
        line.trim_end().to_owned()
    }

    async fn ask(&mut self, lines: &str) -> String {
        self.say(lines).await;
        self.hear().await
    }

    /// Channels that there may be beside those that are. Takes them.
    fn free(&self) -> usize {
        let moment = self.shared.clock.moment();
        let reserve = |_| {
            let fresh = ResumeToken([7; 16]);
            let holder = Holder { protocol: Protocol::StratumV2, address: PEER };
            self.shared.prefixes.reserve(holder, None, fresh, moment).ok()
        };
        (0..=self.channels_limit).map_while(reserve).count()
    }

    /// Ends the connection. Returns what the metrics say then.
    async fn end(mut self) -> String {
        self.say("end").await;
        assert_eq!(tokio::time::timeout(SOON, &mut self.driver).await.unwrap().unwrap(), Close::Malformed);
        assert_eq!(self.free(), self.channels_limit, "every prefix was given back");
        self.shared.metrics.encode()
    }
}

#[tokio::test]
async fn reading_goes_on_while_a_policy_thinks_about_a_login() {
    let mut peer = Peer::connect(false, 10);
    peer.say("login 1 slow").await;
    assert_eq!(peer.ask("reserve 2").await, "reserved 2 true");
    assert_eq!(peer.ask("name 3 alice rig").await, "named 3 true");
    assert_eq!(peer.ask("open 4").await, "opened 4 false");
    peer.signal.send(()).unwrap();
    assert_eq!(peer.hear().await, "authorized 1 false");
}

#[tokio::test]
async fn a_peer_that_goes_is_noticed_while_its_session_waits_for_a_login() {
    // V1-21: what nobody waits for any more keeps no place.
    let mut peer = Peer::connect(false, 10);
    assert_eq!(peer.ask("login 1 slow; reserve 2").await, "reserved 2 true");
    peer.say("still").await;
    assert!(peer.places.enter().is_err());
    peer.writer.shutdown().await.unwrap();
    let ended = tokio::time::timeout(SOON, &mut peer.driver).await;
    assert_eq!(ended.expect("an end in time").unwrap(), Close::Peer);
    assert!(peer.places.enter().is_ok());
    assert_eq!(peer.free(), peer.channels_limit);
    peer.signal.send(()).unwrap();
}

async fn poll_once(
    pending: &mut Pending,
    stream: &mut DuplexStream,
    session: &mut Parrot,
) -> Poll<io::Result<Moved>> {
    let now = Clock::start().now();
    poll_fn(|context| Poll::Ready(pending.poll_move(context, stream, session, || now))).await
}

#[tokio::test]
async fn little_is_read_while_a_session_wants_nothing_and_nothing_is_lost() {
    let (mut here, mut there) = tokio::io::duplex(64 * 1024);
    let (mut pending, mut parrot) = (Pending::default(), Parrot::default());
    let now = Clock::start().now();
    parrot.receive(now, b"still\n");
    here.write_all(&[b'\n'; 10_000]).await.unwrap();
    let moved = poll_once(&mut pending, &mut there, &mut parrot).await;
    assert!(matches!(moved, Poll::Ready(Ok(Moved::Read(4096)))), "{moved:?}");
    let moved = poll_once(&mut pending, &mut there, &mut parrot).await;
    assert!(moved.is_pending(), "{moved:?}");
    assert_eq!(pending.input.len(), 4096);
    parrot.answer(now, Answer::Opened(ChannelId(1), None));
    pending.feed(&mut parrot, now);
    assert_eq!(pending.input.len(), 0);
    let moved = poll_once(&mut pending, &mut there, &mut parrot).await;
    assert!(matches!(moved, Poll::Ready(Ok(Moved::Read(5904)))), "{moved:?}");
    parrot.receive(now, b"still\n");
    drop(here);
    let moved = poll_once(&mut pending, &mut there, &mut parrot).await;
    assert!(matches!(moved, Poll::Ready(Ok(Moved::EndOfFile))), "{moved:?}");
}

#[tokio::test]
async fn every_channel_that_opens_is_answered() {
    let mut peer = Peer::connect(false, 10);
    let lines: Vec<String> = (0..200).map(|channel| format!("open {channel}")).collect();
    peer.say(&lines.join("; ")).await;
    let mut answered = Vec::new();
    for _ in 0..200 {
        answered.push(peer.hear().await);
    }
    answered.sort_unstable();
    let mut expected: Vec<String> = (0..200).map(|channel| format!("opened {channel} false")).collect();
    expected.sort_unstable();
    assert_eq!(answered, expected);
}

#[tokio::test]
async fn work_goes_to_a_channel_first_and_to_everyone_later() {
    let mut peer = Peer::connect(false, 10);
    publish(&peer.shared.board, None);
    assert_eq!(peer.ask("supply 1 alice").await, "work 1 -");
    assert_eq!(peer.ask("supply 2 bob").await, "work 2 -");
    publish(&peer.shared.board, None);
    assert_eq!(peer.hear().await, "work everyone -");
    assert_eq!(peer.ask("fresh 2 bob -").await, "work 2 -");
    // Another plan: alice and bob are on lines of their own from then on.
    peer.shared.board.set_plan(plan(true));
    // Answered together with what comes before it.
    assert_eq!(peer.ask("supply 3 carol; reserve 9").await, "reserved 9 true");
    for account in ["carol", "bob", "alice"] {
        publish(&peer.shared.board, Some(account));
        assert_eq!(peer.hear().await, format!("work everyone {account}"));
    }
    assert_eq!(peer.ask("unsupply 0 bob; supply 4 alice").await, "work 4 alice");
    publish(&peer.shared.board, Some("bob"));
    publish(&peer.shared.board, Some("carol"));
    assert_eq!(peer.hear().await, "work everyone carol");
}

#[tokio::test]
async fn a_connection_gets_the_coinbases_of_the_class_that_it_is_in_when_a_channel_opens() {
    // V1-92. Nothing is known of the machine when it logs in first.
    let rented = classes().of(&client("NiceHash/1", ""));
    let mut peer = Peer::connect(false, 10);
    assert_eq!(peer.ask("login 1 alice").await, "authorized 1 false");
    assert_eq!(peer.ask("open 1 NiceHash/1").await, "opened 1 false");
    publish_to(&peer.shared.board, None, Class::DEFAULT);
    // There is no job for its class yet.
    assert_eq!(peer.ask("supply 1 alice; reserve 9").await, "reserved 9 true");
    assert_eq!(peer.shared.board.wanted(), [(None, vec![Class::DEFAULT, rented])]);
    publish_to(&peer.shared.board, None, Class::DEFAULT);
    publish_to(&peer.shared.board, None, rented);
    assert_eq!(peer.hear().await, "work everyone -");
    assert_eq!(peer.ask("fresh 1 alice -").await, "work 1 -");
    // With another plan it stays in its class.
    peer.shared.board.set_plan(plan(true));
    assert_eq!(peer.ask("reserve 7").await, "reserved 7 true");
    publish_to(&peer.shared.board, Some("alice"), Class::DEFAULT);
    publish_to(&peer.shared.board, Some("alice"), rented);
    assert_eq!(peer.hear().await, "work everyone alice");
    assert_eq!(peer.ask("reserve 6").await, "reserved 6 true", "and nothing of the other's");
}

#[tokio::test]
async fn an_account_that_leaves_and_comes_back_is_served() {
    let mut peer = Peer::connect(true, 10);
    publish(&peer.shared.board, Some("alice"));
    assert_eq!(peer.ask("supply 1 alice; unsupply 0 alice; supply 2 alice").await, "work 1 alice");
    assert_eq!(peer.hear().await, "work 2 alice");
    publish(&peer.shared.board, Some("alice"));
    assert_eq!(peer.hear().await, "work everyone alice");
}

#[tokio::test]
async fn the_pool_has_only_so_many_channels() {
    // M-8, M-63
    let mut peer = Peer::connect(false, 2);
    assert_eq!(peer.ask("reserve 1").await, "reserved 1 true");
    assert_eq!(peer.ask("reserve 2").await, "reserved 2 true");
    assert_eq!(peer.ask("reserve 3").await, "reserved 3 false");
    assert_eq!(peer.ask("release; reserve 4").await, "reserved 4 true");
    peer.end().await;
}

#[tokio::test]
async fn a_place_is_given_back_when_the_peer_has_come_through() {
    // N-22
    let mut peer = Peer::connect(false, 10);
    assert_eq!(peer.ask("reserve 1").await, "reserved 1 true");
    assert!(peer.places.enter().is_err());
    assert_eq!(peer.ask("established; reserve 2").await, "reserved 2 true");
    assert!(peer.places.enter().is_ok());
    let metrics = peer.end().await;
    assert!(!metrics.contains("sluice_handshakes_failed_total{"), "{metrics}");
}

#[tokio::test]
async fn who_goes_before_is_counted_as_failed() {
    let peer = Peer::connect(false, 10);
    let places = Arc::clone(&peer.places);
    let metrics = peer.end().await;
    let failed = "sluice_handshakes_failed_total{protocol=\"stratum_v2\",reason=\"malformed\"} 1";
    assert!(metrics.contains(failed), "{metrics}");
    assert!(places.enter().is_ok());
}

#[tokio::test]
async fn channels_that_end_with_their_connection_are_closed_too() {
    let mut peer = Peer::connect(false, 10);
    assert_eq!(peer.ask("opened; opened; opened; closed; reserve 1").await, "reserved 1 true");
    let open = |count| format!("sluice_channels{{protocol=\"stratum_v2\",kind=\"extended\"}} {count}\n");
    let metrics = peer.shared.metrics.encode();
    assert!(metrics.contains(&open(2)), "{metrics}");
    let metrics = peer.end().await;
    assert!(metrics.contains(&open(0)), "{metrics}");
    assert!(metrics.contains("sluice_channels_opened_total{protocol=\"stratum_v2\",kind=\"extended\"} 3"));
}

#[tokio::test]
async fn a_deadline_is_noticed_while_the_peer_never_stops_talking() {
    // M-84
    let dir = tempfile::tempdir().unwrap();
    let (_signal, signalled) = mpsc::channel();
    let (_closing, closing_seen) = watch::channel(None);
    let shared = shared(dir.path(), board(false), 1, signalled, closing_seen);
    let chatter = Chatter { begins: b"due 20\n", ends: std::time::Instant::now() + SOON };
    let mut connection = Connection::new(shared, newcomer(None), Parrot::default(), chatter, PICK);
    assert_eq!(connection.run().await, Close::Idle);
}

#[tokio::test]
async fn a_deadline_that_stays_does_not_keep_the_peer_from_being_heard() {
    let mut peer = Peer::connect(false, 10);
    let mut alarm = Alarm::new(peer.shared.clock);
    let clock = peer.shared.clock;
    let past = Some(clock.moment());
    assert!(alarm.is_due(clock, past) && !alarm.is_due(clock, past) && alarm.is_due(clock, past));
    assert!(!alarm.is_due(clock, Some(clock.moment().after(FAR))));
    assert_eq!(peer.ask("due 3600000; reserve 1").await, "reserved 1 true");
}

#[tokio::test]
async fn refusals_and_strays_are_counted_by_their_code() {
    // F-8, M-55
    let mut peer = Peer::connect(false, 10);
    assert_eq!(peer.ask("refuse; keep; keep; stray; reserve 1").await, "reserved 1 true");
    let metrics = peer.end().await;
    for line in [
        "sluice_channels_refused_total{protocol=\"stratum_v2\",code=\"unknown-user\"} 1",
        "sluice_updates_refused_total{protocol=\"stratum_v2\",code=\"invalid-channel-id\"} 2",
        "sluice_strayed_total{protocol=\"stratum_v2\",what=\"channel_bit\"} 1",
    ] {
        assert!(metrics.contains(line), "{line} is not in\n{metrics}");
    }
}

thread_local! {
    /// What this thread logged.
    static LOG: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

struct OfThisThread;

impl io::Write for OfThisThread {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        LOG.with_borrow_mut(|log| log.extend_from_slice(bytes));
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// For the whole process: whether a line is logged at all is remembered for the process, by who comes by first.
fn keep_logs() {
    static KEPT: Once = Once::new();
    KEPT.call_once(|| {
        let log = tracing_subscriber::fmt().with_max_level(tracing::Level::DEBUG).with_ansi(false);
        tracing::subscriber::set_global_default(log.with_writer(|| OfThisThread).finish()).unwrap();
    });
}

#[tokio::test]
async fn refusals_are_in_the_log_with_who_and_why() {
    // F-25
    keep_logs();
    let mut peer = Peer::connect(false, 1);
    assert_eq!(peer.ask("reserve 1").await, "reserved 1 true");
    assert_eq!(peer.ask("refuse; keep; stray; reserve 2").await, "reserved 2 false");
    assert_eq!(peer.ask("login 3 mal\u{1b}[31m\u{202e}lory").await, "authorized 3 false");
    peer.end().await;
    let text = String::from_utf8(LOG.take()).unwrap();
    let who = "conn.id=1 peer.addr=127.0.0.1 protocol=stratum_v2";
    for (what, why) in [
        ("channel refused", "code=\"unknown-user\""),
        ("channel not changed", "code=\"invalid-channel-id\""),
        ("not as specified, let pass", "code=\"channel_bit\""),
        ("no place for a channel", "code=\"channels\""),
        (
            "login refused",
            "outcome=\"forbidden\" username=\"mal\\u{1b}[31m\\u{202e}lory\" said=\"nobody comes in\"",
        ),
    ] {
        let is_told = text.lines().any(|line| line.contains(&format!("{what} {who} {why}")));
        assert!(is_told, "{what}: {why} is not in\n{text}");
    }
}

#[tokio::test]
async fn fresh_work_is_made_once_for_all_who_need_one() {
    // V1-41, M-52
    let board = board(false);
    let (alice, bob) = (name("alice"), name("bob"));
    assert!(board.fresh(&alice, Class::DEFAULT, None).is_none(), "no job was made yet");
    publish(&board, None);
    let (posting, _) = board.subscribe(&alice, Class::DEFAULT);
    let posted = posting.borrow().clone().unwrap().job.id;
    assert_eq!(board.fresh(&alice, Class::DEFAULT, None).unwrap().job.id, posted, "what is there will do");
    let variant = board.fresh(&alice, Class::DEFAULT, Some(posted)).unwrap().job.id;
    assert_ne!(variant, posted);
    assert_eq!(board.fresh(&bob, Class::DEFAULT, Some(posted)).unwrap().job.id, variant, "one for both");
    assert_ne!(board.fresh(&bob, Class::DEFAULT, Some(variant)).unwrap().job.id, variant);
}

#[test]
fn who_asks_for_fresh_work_at_the_same_time_gets_it() {
    let board = board(false);
    let alice = name("alice");
    assert!(board.fresh(&alice, Class::DEFAULT, None).is_none());
    publish(&board, None);
    let posted = board.fresh(&alice, Class::DEFAULT, None).unwrap().job.id;
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                let mut sent = posted;
                for _ in 0..50 {
                    let fresh = board.fresh(&alice, Class::DEFAULT, Some(sent)).unwrap().job.id;
                    assert!(fresh > sent, "{fresh} after {sent}");
                    sent = fresh;
                }
            });
        }
        scope.spawn(|| (0..20).for_each(|_| publish(&board, None)));
    });
}

#[test]
fn an_idle_connection_is_small() {
    type Idle = Connection<sluice_stratum_v1::Connection, tokio::net::TcpStream>;
    fn future_of<F: Future>(_: impl FnOnce(&'static mut Idle) -> F) -> usize {
        size_of::<F>()
    }
    let sizes = [size_of::<Idle>(), future_of(|idle| idle.run())];
    println!("Connection: {sizes:?} bytes");
    assert!(sizes.iter().sum::<usize>() <= 2048, "{sizes:?}");
}
