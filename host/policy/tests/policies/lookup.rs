//! Auth policies that look things up: who waits, who does not, and what they are told.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use sluice_core::policy::PolicyKind;
use sluice_core::policy::auth::{Grant, Refusal};
use sluice_policy::Policies;
use sluice_policy::lookup::{
    Header, LookupConfig, LookupStatus, Outgoing, Outside, Pending, Reply, Transport, TransportError,
    UrlGrant, UrlPrefix,
};
use sluice_policy::status::SlotState;
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;

mod loading;
mod trials;

use crate::guest::{Guest, TRAP};
use crate::house::{House, applied, login, status};
use crate::shadow::until;

const USERS: &str = "http://accounts.example/users/";
const TEAMS: &str = "http://accounts.example/teams/";

/// A grant at 1200 and a refusal at 1104 from what `$fetch` left at 1024: a body of status 200 names the account, any
/// other refuses; `denied` forbids, `unavailable` says to try later. A stale answer shows as the worker.
const VERDICT: &str = "(func $verdict (param $fresh i32) (param $stale i32) (result i32)
   (i32.store8 (i32.const 1104) (i32.const 1))
   (if (i32.load8_u (i32.const 1024)) (then
     (i32.store8 (i32.const 1112) (i32.add (i32.load8_u (i32.const 1028)) (i32.const 2)))
     (i32.store (i32.const 1116) (i32.load (i32.const 1032)))
     (i32.store (i32.const 1120) (i32.load (i32.const 1036)))
     (return (i32.const 1104))))
   (if (i32.ne (i32.load16_u (i32.const 1028)) (i32.const 200)) (then
     (i32.store8 (i32.const 1112) (i32.const 0))
     (i32.store (i32.const 1116) (i32.load (i32.const 1032)))
     (i32.store (i32.const 1120) (i32.load (i32.const 1036)))
     (return (i32.const 1104))))
   (i32.store (i32.const 1208) (i32.load (i32.const 1032)))
   (i32.store (i32.const 1212) (i32.load (i32.const 1036)))
   (i32.store (i32.const 1216)
     (select (local.get $stale) (local.get $fresh) (i32.load8_u (i32.const 1040))))
   (i32.store (i32.const 1220) (i32.const 5))
   (i32.const 1200))
 (func $ask (param $at i32) (param $length i32) (param $name i32) (param $rest i32)
   (local $url i32)
   (local.set $url (call $alloc (i32.add (local.get $length) (local.get $rest))))
   (memory.copy (local.get $url) (local.get $at) (local.get $length))
   (memory.copy (i32.add (local.get $url) (local.get $length)) (local.get $name) (local.get $rest))
   (call $fetch (local.get $url) (i32.add (local.get $length) (local.get $rest))
     (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 1024)))";

/// Asks each of `prefixes` with the username behind it; the last answer decides, unless one before is no grant.
pub(crate) fn asks(name: &str, prefixes: &[&str]) -> Guest {
    asks_with(name, prefixes, "", "")
}

/// As [`asks`], with more instructions before it answers with a grant.
fn asks_then(name: &str, prefixes: &[&str], then: &str) -> Guest {
    asks_with(name, prefixes, "", then)
}

/// As [`asks`], with more instructions behind each lookup and before the grant.
pub(crate) fn asks_with(name: &str, prefixes: &[&str], each: &str, then: &str) -> Guest {
    let mut guest = Guest::new(PolicyKind::Auth, name).looks_up().with(VERDICT);
    let (fresh, stale) = (guest.put(b"fresh"), guest.put(b"stale"));
    let mut body = "(local $answer i32)".to_owned();
    for prefix in prefixes {
        let at = guest.put(prefix.as_bytes());
        body += &format!(
            "(call $ask (i32.const {at}) (i32.const {}) (local.get 0) (local.get 1))
             {each}
             (local.set $answer (call $verdict (i32.const {fresh}) (i32.const {stale})))
             (if (i32.load8_u (local.get $answer)) (then (return (local.get $answer))))",
            prefix.len()
        );
    }
    guest.body("authorize", &format!("{body} {then} (local.get $answer)"))
}

type Outcome = Result<Reply, TransportError>;

/// A request that was sent, and how to answer it.
struct Sent {
    request: Outgoing,
    reply: oneshot::Sender<Outcome>,
}

impl Sent {
    fn path(&self) -> &str {
        self.request.url.target()
    }

    fn say(self, status: u16, body: &str) {
        // Whoever asked may have given up.
        let _ = self.reply.send(Ok(Reply { status, body: body.as_bytes().to_vec() }));
    }

    fn fail(self) {
        let _ = self.reply.send(Err(TransportError::Connect("refused".to_owned())));
    }
}

/// Hands every request to the test.
#[derive(Debug)]
struct Held(mpsc::UnboundedSender<Sent>);

impl Transport for Held {
    fn send(&self, request: Outgoing) -> Pending<'_> {
        let (reply, answer) = oneshot::channel();
        // The test may be over.
        let _ = self.0.send(Sent { request, reply });
        Box::pin(async move { answer.await.unwrap_or(Err(TransportError::Timeout)) })
    }
}

/// A pool whose auth policy may look up what is below `http://accounts.example/`, and the service it asks.
struct Pool {
    house: House,
    policies: Policies,
    sent: mpsc::UnboundedReceiver<Sent>,
    millis: Arc<AtomicU64>,
}

fn granting() -> LookupConfig {
    let grant = UrlGrant {
        headers: Arc::from([Header::new("x-api-key", "s3cret").unwrap()]),
        fresh: Duration::from_secs(60),
        stale: Duration::from_secs(600),
        negative: Duration::from_secs(10),
        ..UrlGrant::new(UrlPrefix::parse("http://accounts.example").unwrap())
    };
    LookupConfig { grants: vec![grant], login_timeout: Duration::from_secs(60), ..LookupConfig::default() }
}

impl Pool {
    async fn new(guest: Guest) -> Self {
        Self::with(guest, |_| {}).await
    }

    async fn with(guest: Guest, change: impl FnOnce(&mut House)) -> Self {
        let mut house = House::new();
        house.put(PolicyKind::Auth, &guest.build());
        house.config.auth.lookup = granting();
        let (sender, sent) = mpsc::unbounded_channel();
        let (began, millis) = (Instant::now(), Arc::new(AtomicU64::new(0)));
        let own = millis.clone();
        house.config.outside = Outside::new(Arc::new(Held(sender)))
            .with_clock(Arc::new(move || began + Duration::from_millis(own.load(Ordering::Relaxed))));
        change(&mut house);
        let policies = house.start().await;
        Self { house, policies, sent, millis }
    }

    fn login(&self, name: &str) -> JoinHandle<Result<Grant, Refusal>> {
        let (policies, login) = (self.policies.clone(), login(name));
        tokio::spawn(async move { policies.authorize(login).await })
    }

    async fn next(&mut self) -> Sent {
        let next = tokio::time::timeout(Duration::from_secs(60), self.sent.recv());
        next.await.expect("a request is sent").expect("the policies live")
    }

    /// A login that is answered from what is kept.
    async fn answered_at_once(&mut self, name: &str) -> Result<Grant, Refusal> {
        let answer = self.policies.authorize(login(name)).await;
        assert!(self.sent.try_recv().is_err(), "nobody was asked about {name}");
        answer
    }

    /// A login about which the service says this.
    async fn told(&mut self, name: &str, status: u16, body: &str) -> Result<Grant, Refusal> {
        let login = self.login(name);
        self.next().await.say(status, body);
        login.await.unwrap()
    }

    fn pass(&self, seconds: u64) {
        self.millis.fetch_add(1000 * seconds, Ordering::Relaxed);
    }

    fn lookups(&self) -> LookupStatus {
        status(&self.policies, PolicyKind::Auth).lookup.expect("there is a grant")
    }

    /// Traps, failures of other sorts, and the generation.
    fn faults(&self) -> (u64, u64, u64) {
        let status = status(&self.policies, PolicyKind::Auth);
        let figures = &status.figures;
        (figures.traps, figures.internal + figures.bad_answers + figures.unavailable, status.generation)
    }
}

fn account(answer: Result<Grant, Refusal>) -> String {
    answer.expect("welcome").account.to_string()
}

#[tokio::test]
async fn the_service_decides_and_the_policy_is_not_to_blame_for_asking() {
    let mut pool = Pool::new(asks("directory", &[USERS])).await;
    let login = pool.login("alice");
    let sent = pool.next().await;
    assert_eq!(sent.request.url.to_string(), "http://accounts.example/users/alice");
    assert_eq!((sent.request.headers[0].name(), sent.request.headers[0].value()), ("x-api-key", "s3cret"));
    assert_eq!(pool.lookups().waiting, 1);
    sent.say(200, "alice-ltd");
    assert_eq!(account(login.await.unwrap()), "alice-ltd");
    assert_eq!(
        pool.told("bob", 404, "who is bob?").await,
        Err(Refusal::UnknownUser("who is bob?".to_owned()))
    );
    assert_eq!(pool.faults(), (0, 0, 1));
    let figures = status(&pool.policies, PolicyKind::Auth).figures;
    assert_eq!((figures.items, figures.calls), (2, 4), "each login is one question in two calls");
    let lookups = pool.lookups();
    assert_eq!((lookups.requests, lookups.waiting, lookups.in_flight), (2, 0, 0));
}

#[tokio::test]
async fn looking_up_is_no_strike_however_often() {
    let mut pool = Pool::new(asks("directory", &[USERS])).await;
    for index in 0..50 {
        let name = format!("miner{index}");
        assert_eq!(account(pool.told(&name, 200, &name).await), name);
    }
    assert_eq!(pool.faults(), (0, 0, 1));
    assert_eq!(status(&pool.policies, PolicyKind::Auth).state, SlotState::Active);
}

/// V1-21: the answers of a connection come in order; those of others do not wait for it.
#[tokio::test]
async fn a_slow_service_delays_that_login_alone() {
    let mut pool = Pool::new(asks("directory", &[USERS])).await;
    account(pool.told("known", 200, "known").await);
    let slow = pool.login("slow");
    let held = pool.next().await;
    for index in 0..200 {
        account(pool.answered_at_once("known").await);
        let name = format!("new{index}");
        account(pool.told(&name, 200, &name).await);
    }
    assert!(!slow.is_finished());
    held.say(200, "slow");
    assert_eq!(account(slow.await.unwrap()), "slow");
}

#[tokio::test]
async fn answers_are_fresh_then_asked_again_and_stand_in_where_the_service_fails() {
    let mut pool = Pool::new(asks("directory", &[USERS])).await;
    let first = pool.told("alice", 200, "alice").await.unwrap();
    assert_eq!(first.worker.as_str(), "fresh");
    pool.pass(59);
    account(pool.answered_at_once("alice").await);
    pool.pass(1);
    assert_eq!(account(pool.told("alice", 200, "renamed").await), "renamed");
    pool.pass(60);
    let login = pool.login("alice");
    pool.next().await.fail();
    let stale = login.await.unwrap().unwrap();
    assert_eq!((stale.account.as_str(), stale.worker.as_str()), ("renamed", "stale"));
    pool.pass(600);
    let login = pool.login("alice");
    pool.next().await.fail();
    assert!(matches!(login.await.unwrap(), Err(Refusal::TryLater(why)) if why.contains("refused")));
    let lookups = pool.lookups();
    assert_eq!((lookups.fresh, lookups.stale, lookups.failures.connect), (1, 1, 2));
    assert_eq!(pool.faults(), (0, 0, 1));
}

#[tokio::test]
async fn a_no_is_remembered_for_its_own_time() {
    let mut pool = Pool::new(asks("directory", &[USERS])).await;
    pool.told("bob", 404, "no").await.unwrap_err();
    pool.pass(9);
    pool.answered_at_once("bob").await.unwrap_err();
    pool.pass(1);
    assert_eq!(account(pool.told("bob", 200, "bob").await), "bob");
}

#[tokio::test]
async fn a_herd_that_logs_in_at_once_asks_once() {
    let mut pool = Pool::new(asks("directory", &[USERS])).await;
    let logins: Vec<_> = (0..100).map(|_| pool.login("alice")).collect();
    let sent = pool.next().await;
    until(|| (pool.lookups().waiting == 100).then_some(())).await;
    sent.say(200, "alice");
    for login in logins {
        assert_eq!(account(login.await.unwrap()), "alice");
    }
    assert_eq!((pool.lookups().requests, pool.lookups().joined), (1, 99));
}

#[tokio::test]
async fn one_answer_leads_to_the_next_question() {
    let mut pool = Pool::new(asks("directory", &[USERS, TEAMS])).await;
    let login = pool.login("alice");
    pool.next().await.say(200, "alice");
    let second = pool.next().await;
    assert_eq!(second.path(), "/teams/alice");
    second.say(200, "miners-united");
    assert_eq!(account(login.await.unwrap()), "miners-united");
    assert_eq!(pool.lookups().requests, 2, "what was found is not asked again");
}

#[tokio::test]
async fn eight_lookups_and_no_more() {
    let prefixes: Vec<String> = (0..9).map(|index| format!("http://accounts.example/{index}/")).collect();
    let prefixes: Vec<&str> = prefixes.iter().map(String::as_str).collect();
    let mut pool = Pool::new(asks("greedy", &prefixes)).await;
    let login = pool.login("alice");
    for index in 0..8 {
        let sent = pool.next().await;
        assert_eq!(sent.path(), format!("/{index}/alice"));
        sent.say(200, "alice");
    }
    assert!(matches!(login.await.unwrap(), Err(Refusal::Forbidden(why)) if why.contains("8 lookups")));
    // From what is kept there are no more either.
    let again = pool.answered_at_once("alice").await;
    assert!(matches!(again, Err(Refusal::Forbidden(why)) if why.contains("8 lookups")));
    assert_eq!(pool.lookups().denied, 2);
}

#[tokio::test]
async fn what_is_not_granted_or_breaks_a_rule_is_denied_without_asking() {
    for (prefix, says) in [
        ("http://elsewhere.example/", "no grant"),
        ("https://accounts.example/", "no grant"),
        ("http://accounts.example.evil.example/", "no grant"),
        ("http://accounts.example/../", "'..'"),
        ("http://accounts.example@evil.example/", "no user"),
        ("accounts.example/", "http://"),
    ] {
        let mut pool = Pool::new(asks("curious", &[prefix])).await;
        let answer = pool.answered_at_once("alice").await;
        let Err(Refusal::Forbidden(why)) = answer else { panic!("{prefix}: {answer:?}") };
        assert!(why.contains(says), "{prefix}: {why}");
        assert_eq!((pool.lookups().denied, pool.lookups().requests), (1, 0));
    }
}

#[tokio::test]
async fn one_login_too_many_is_told_to_try_later_at_once() {
    let mut pool =
        Pool::with(asks("directory", &[USERS]), |house| house.config.auth.lookup.waiting = 2).await;
    let (first, second) = (pool.login("a"), pool.login("b"));
    let held = [pool.next().await, pool.next().await];
    assert!(matches!(pool.answered_at_once("c").await, Err(Refusal::TryLater(_))));
    assert_eq!(pool.lookups().turned_away, 1);
    for sent in held {
        sent.say(200, "them");
    }
    account(first.await.unwrap());
    account(second.await.unwrap());
    assert_eq!(account(pool.told("c", 200, "c").await), "c", "there is room again");
}

#[tokio::test]
async fn a_login_waits_so_long_and_no_longer() {
    let mut pool = Pool::with(asks("directory", &[USERS]), |house| {
        house.config.auth.lookup.login_timeout = Duration::from_millis(100);
    })
    .await;
    let login = pool.login("alice");
    let held = pool.next().await;
    assert!(matches!(login.await.unwrap(), Err(Refusal::TryLater(_))));
    assert_eq!((pool.lookups().given_up, pool.lookups().waiting), (1, 0));
    // It comes too late for this login, and in time for the next.
    held.say(200, "alice");
    until(|| (pool.lookups().cached_answers == 1).then_some(())).await;
    assert_eq!(account(pool.answered_at_once("alice").await), "alice");
    assert_eq!(pool.faults(), (0, 0, 1));
}

#[tokio::test]
async fn an_answer_that_is_too_large_or_too_slow_is_unavailable() {
    let mut pool =
        Pool::with(asks("directory", &[USERS]), |house| house.config.auth.lookup.answer_bytes = 10).await;
    let large = pool.told("alice", 200, "eleven-more").await;
    assert!(matches!(large, Err(Refusal::TryLater(why)) if why.contains("10 bytes")));
    let short = |house: &mut House| house.config.auth.lookup.timeout = Duration::from_millis(50);
    let mut pool = Pool::with(asks("directory", &[USERS]), short).await;
    let slow = pool.login("bob");
    let held = pool.next().await;
    assert!(matches!(slow.await.unwrap(), Err(Refusal::TryLater(why)) if why.contains("in time")));
    drop(held);
}

/// A login that waits holds at most twice the largest answer.
#[tokio::test]
async fn answers_that_are_too_large_together_are_unavailable_too() {
    let prefixes = [USERS, TEAMS, "http://accounts.example/sites/"];
    let mut pool =
        Pool::with(asks("hoarder", &prefixes), |house| house.config.auth.lookup.answer_bytes = 10).await;
    let login = pool.login("alice");
    for _ in 0..3 {
        pool.next().await.say(200, "ten-bytes!");
    }
    let answer = login.await.unwrap();
    assert!(matches!(answer, Err(Refusal::TryLater(why)) if why.contains("together larger than 20 bytes")));
}

#[tokio::test]
async fn a_miner_that_goes_away_leaves_its_place() {
    let mut pool =
        Pool::with(asks("directory", &[USERS]), |house| house.config.auth.lookup.waiting = 1).await;
    let login = pool.login("alice");
    let _held = pool.next().await;
    login.abort();
    until(|| (pool.lookups().waiting == 0).then_some(())).await;
    let bob = pool.login("bob");
    let sent = pool.next().await;
    sent.say(200, "bob");
    assert_eq!(account(bob.await.unwrap()), "bob");
}

/// The generation that serves when the answer comes gives it.
#[tokio::test]
async fn who_waits_while_the_policy_is_replaced_is_answered_by_the_new_one() {
    let mut pool = Pool::new(asks("first", &[USERS])).await;
    let mut events = pool.policies.events();
    let login = pool.login("alice");
    let held = pool.next().await;
    pool.house.put(PolicyKind::Auth, &asks("second", &[USERS, TEAMS]).build());
    assert_eq!(applied(&mut events).await, "second");
    let other = pool.login("carol");
    let carol = pool.next().await;
    held.say(200, "alice");
    let team = pool.next().await;
    assert_eq!(team.path(), "/teams/alice", "what was found is known to the new one");
    team.say(200, "miners-united");
    assert_eq!(account(login.await.unwrap()), "miners-united");
    // One that asks nobody needs no answer.
    pool.house.put(PolicyKind::Auth, &Guest::new(PolicyKind::Auth, "third").build());
    assert_eq!(applied(&mut events).await, "third");
    carol.say(404, "no");
    assert_eq!(account(other.await.unwrap()), "third");
}

#[tokio::test]
async fn at_the_end_everybody_who_waits_is_answered() {
    let mut pool = Pool::new(asks("directory", &[USERS])).await;
    let logins: Vec<_> = (0..20).map(|index| pool.login(&format!("miner{index}"))).collect();
    let mut held = Vec::new();
    while held.len() < 20 {
        held.push(pool.next().await);
    }
    pool.policies.shutdown();
    for login in logins {
        assert!(matches!(login.await.unwrap(), Err(Refusal::TryLater(_))));
    }
}

#[tokio::test]
async fn a_trap_over_an_answer_is_a_trap_like_any_other() {
    let trap = format!("(if (i32.eq (local.get 1) (i32.const 4)) (then {TRAP}))");
    let mut pool = Pool::new(asks_then("fragile", &[USERS], &trap)).await;
    for index in 0..4 {
        let refused = pool.told(&format!("bad{index}"), 200, "bad").await;
        assert!(matches!(refused, Err(Refusal::TryLater(_))), "{refused:?}");
        assert_eq!(pool.faults().0, index + 1);
    }
    assert_eq!(status(&pool.policies, PolicyKind::Auth).state, SlotState::BackingOff, "the fourth in a row");
}

/// Answers in a row that break a rule count as a failure, whatever is looked up in between.
#[tokio::test]
async fn lookups_between_bad_answers_excuse_nothing() {
    let mut pool = Pool::new(asks("clumsy", &[USERS])).await;
    for index in 0..(64 * 4) {
        let refused = pool.told(&format!("miner{index}"), 200, "<no account>").await;
        assert!(matches!(refused, Err(Refusal::TryLater(_))), "{refused:?}");
    }
    let after = status(&pool.policies, PolicyKind::Auth);
    assert_eq!((after.state, after.figures.bad_answers), (SlotState::BackingOff, 256));
}

/// A guest is begun anew in another instance, where a counter of calls is back at its beginning.
#[tokio::test]
async fn one_that_asks_differently_the_second_time_is_asked_about_that() {
    let mut guest = Guest::new(PolicyKind::Auth, "moody").looks_up().with(VERDICT);
    let (users, teams) = (guest.put(USERS.as_bytes()), guest.put(TEAMS.as_bytes()));
    assert_eq!(USERS.len(), TEAMS.len());
    let body = format!(
        "(call $ask (select (i32.const {teams}) (i32.const {users}) (global.get $calls)) (i32.const {})
           (local.get 0) (local.get 1))
         (global.set $calls (i32.const 1))
         (call $verdict (i32.const {users}) (i32.const {users}))",
        USERS.len()
    );
    let mut pool = Pool::new(guest.body("authorize", &body)).await;
    account(pool.told("alice", 200, "alice").await);
    let login = pool.login("bob");
    let first = pool.next().await;
    assert_eq!(first.path(), "/teams/bob");
    first.say(200, "not-asked-for");
    let second = pool.next().await;
    assert_eq!(second.path(), "/users/bob");
    second.say(200, "bob");
    assert_eq!(account(login.await.unwrap()), "bob");
}
