//! Requests under way: how many, in which order, and what becomes of them.

use std::sync::atomic::{AtomicU64, Ordering};

use tokio::sync::{mpsc, oneshot};

use super::super::transport::Pending;
use super::super::url::UrlPrefix;
use super::*;
use crate::bindings::lookup as wit;

type Outcome = Result<Reply, TransportError>;

/// Hands every request to the test.
#[derive(Debug)]
struct Held(mpsc::UnboundedSender<(Outgoing, oneshot::Sender<Outcome>)>);

impl Transport for Held {
    fn send(&self, request: Outgoing) -> Pending<'_> {
        let (reply, answer) = oneshot::channel();
        self.0.send((request, reply)).expect("the test goes on");
        Box::pin(async move { answer.await.unwrap_or(Err(TransportError::Timeout)) })
    }
}

struct Bench {
    service: Arc<Service>,
    sent: mpsc::UnboundedReceiver<(Outgoing, oneshot::Sender<Outcome>)>,
    /// Milliseconds since the beginning.
    now: Arc<AtomicU64>,
}

impl Bench {
    fn new(change: impl FnOnce(&mut LookupConfig)) -> Self {
        let mut config = LookupConfig {
            grants: vec![UrlGrant::new(UrlPrefix::parse("http://host/").unwrap())],
            timeout: Duration::from_secs(60),
            ..LookupConfig::default()
        };
        change(&mut config);
        let (sender, sent) = mpsc::unbounded_channel();
        let (began, now) = (Instant::now(), Arc::new(AtomicU64::new(0)));
        let own = now.clone();
        let clock: Clock = Arc::new(move || began + Duration::from_millis(own.load(Ordering::Relaxed)));
        let outside = Outside::new(Arc::new(Held(sender))).with_clock(clock);
        Self { service: Service::new(config, outside, Handle::current()), sent, now }
    }

    fn ask(&self, name: &str) -> tokio::task::JoinHandle<Said> {
        let (service, request) = (self.service.clone(), request(name));
        tokio::spawn(async move { service.fetch(&request).await })
    }

    /// The next request that is sent: its path, and how to answer it.
    async fn next(&mut self) -> (String, oneshot::Sender<Outcome>) {
        let (request, reply) = self.sent.recv().await.expect("there is one");
        (request.url.target().to_owned(), reply)
    }

    fn pass(&self, time: Duration) {
        self.now.fetch_add(u64::try_from(time.as_millis()).unwrap(), Ordering::Relaxed);
    }
}

/// Waits for what no event tells of.
async fn until(mut there: impl FnMut() -> bool) {
    let began = Instant::now();
    while !there() {
        assert!(began.elapsed() < Duration::from_secs(60), "it never comes to that");
        tokio::task::yield_now().await;
    }
}

fn request(name: &str) -> Request {
    let url = format!("http://host/{name}");
    Request::check(wit::Request { url, body: None, content_type: String::new() }).unwrap()
}

fn reply(status: u16, body: &str) -> Outcome {
    Ok(Reply { status, body: body.as_bytes().to_vec() })
}

fn answer(status: u16, body: &str, stale: bool) -> Said {
    Said::Answer { status, body: Arc::from(body.as_bytes()), stale }
}

#[tokio::test]
async fn as_many_at_once_as_are_allowed_the_others_in_order() {
    let mut bench = Bench::new(|config| config.concurrency = 2);
    let mut asked = Vec::new();
    for name in ["a", "b", "c", "d"] {
        asked.push(bench.ask(name));
        tokio::task::yield_now().await;
    }
    let (first, to_first) = bench.next().await;
    let (second, to_second) = bench.next().await;
    assert_eq!((first.as_str(), second.as_str()), ("/a", "/b"));
    assert!(bench.sent.try_recv().is_err(), "a third waits");
    assert_eq!(bench.service.status().in_flight, 2);
    to_second.send(reply(200, "b")).unwrap();
    let (third, to_third) = bench.next().await;
    assert_eq!(third, "/c");
    to_third.send(reply(200, "c")).unwrap();
    let (fourth, to_fourth) = bench.next().await;
    assert_eq!(fourth, "/d");
    to_first.send(reply(200, "a")).unwrap();
    to_fourth.send(reply(200, "d")).unwrap();
    for (asked, body) in asked.into_iter().zip(["a", "b", "c", "d"]) {
        assert_eq!(asked.await.unwrap(), answer(200, body, false));
    }
    let status = bench.service.status();
    assert_eq!((status.requests, status.in_flight, status.latency.p50_micros > 0), (4, 0, true));
}

#[tokio::test]
async fn who_asks_the_same_waits_for_the_same_request() {
    let mut bench = Bench::new(|_| {});
    let asked: Vec<_> = (0..10).map(|_| bench.ask("a")).collect();
    let (_, to_all) = bench.next().await;
    until(|| bench.service.status().joined == 9).await;
    to_all.send(reply(200, "alice")).unwrap();
    for asked in asked {
        assert_eq!(asked.await.unwrap(), answer(200, "alice", false));
    }
    assert_eq!(bench.service.status().requests, 1);
}

#[tokio::test]
async fn each_failure_is_counted_by_its_sort_and_none_is_an_answer() {
    let mut bench = Bench::new(|config| config.answer_bytes = 4);
    for (outcome, fault, says) in [
        (Err(TransportError::Connect("refused".to_owned())), LookupFault::Connect, "refused"),
        (Err(TransportError::Timeout), LookupFault::Timeout, "in time"),
        (Err(TransportError::TooLarge { limit: 4 }), LookupFault::TooLarge, "larger than 4"),
        (reply(200, "12345"), LookupFault::TooLarge, "larger than 4"),
        (Err(TransportError::Protocol("garbage".to_owned())), LookupFault::Protocol, "garbage"),
        (reply(503, ""), LookupFault::Server, "503"),
        (reply(99, ""), LookupFault::Protocol, "99"),
        (reply(600, ""), LookupFault::Protocol, "600"),
    ] {
        let before = bench.service.status().failures.of(fault);
        let asked = bench.ask("a");
        bench.next().await.1.send(outcome).unwrap();
        let Said::Unavailable(why) = asked.await.unwrap() else { panic!("{fault:?} is no answer") };
        assert!(why.contains(says), "{why}");
        assert_eq!(bench.service.status().failures.of(fault), before + 1, "{fault:?}");
    }
    for status in [200, 204, 301, 404, 429, 499] {
        let asked = bench.ask(&status.to_string());
        bench.next().await.1.send(reply(status, "1234")).unwrap();
        assert_eq!(asked.await.unwrap(), answer(status, "1234", false));
    }
}

#[tokio::test]
async fn a_transport_that_forgets_its_timeout_is_ended_for_it() {
    let mut bench = Bench::new(|config| config.timeout = Duration::from_millis(1));
    let asked = bench.ask("a");
    let (_, _held) = bench.next().await;
    assert!(matches!(asked.await.unwrap(), Said::Unavailable(why) if why.contains("in time")));
    assert_eq!(bench.service.status().failures.timeout, 1);
}

#[tokio::test]
async fn whose_turn_does_not_come_in_time_is_told_so() {
    let mut bench = Bench::new(|config| {
        config.concurrency = 1;
        config.timeout = Duration::from_millis(50);
    });
    let first = bench.ask("a");
    let (_, held) = bench.next().await;
    let second = bench.ask("b");
    // The first is held for longer than its own timeout and the second's patience.
    assert!(matches!(second.await.unwrap(), Said::Unavailable(why) if why.contains("before it")));
    assert!(matches!(first.await.unwrap(), Said::Unavailable(_)));
    assert_eq!(bench.service.status().failures.busy, 1);
    drop(held);
}

#[tokio::test]
async fn requests_that_wait_are_bounded_and_given_up_with_those_who_asked() {
    let mut bench = Bench::new(|config| (config.concurrency, config.waiting) = (1, 1));
    let first = bench.ask("a");
    let (_, to_first) = bench.next().await;
    let second = bench.ask("b");
    until(|| lock(&bench.service.flights).len() == 2).await;
    assert!(matches!(bench.ask("c").await.unwrap(), Said::Unavailable(why) if why.contains("too many")));
    second.abort();
    until(|| lock(&bench.service.flights).len() == 1).await;
    let third = bench.ask("c");
    to_first.send(reply(200, "a")).unwrap();
    let (path, to_third) = bench.next().await;
    assert_eq!(path, "/c", "nobody waited for /b any more");
    to_third.send(reply(200, "c")).unwrap();
    assert_eq!(first.await.unwrap(), answer(200, "a", false));
    assert_eq!(third.await.unwrap(), answer(200, "c", false));
}

#[tokio::test]
async fn a_service_that_failed_is_not_waited_for_where_an_old_answer_can_stand_in() {
    let mut bench = Bench::new(|_| {});
    for name in ["a", "b"] {
        let asked = bench.ask(name);
        bench.next().await.1.send(reply(200, name)).unwrap();
        asked.await.unwrap();
    }
    bench.pass(UrlGrant::FRESH);
    assert_eq!(bench.service.at_hand(&request("a")), None, "it has to be asked");
    let asked = bench.ask("a");
    bench.next().await.1.send(reply(500, "")).unwrap();
    assert_eq!(asked.await.unwrap(), answer(200, "a", true));
    assert!(!bench.service.status().grants[0].failing, "that may be about one account alone");
    assert_eq!(bench.service.at_hand(&request("b")), None);
    let asked = bench.ask("a");
    bench.next().await.1.send(Err(TransportError::Timeout)).unwrap();
    assert_eq!(asked.await.unwrap(), answer(200, "a", true));
    assert!(bench.service.status().grants[0].failing);
    assert_eq!(bench.service.at_hand(&request("b")), Some(answer(200, "b", true)), "at once, for a while");
    bench.pass(GRACE);
    assert_eq!(bench.service.at_hand(&request("b")), None, "it is asked again");
    let asked = bench.ask("b");
    bench.next().await.1.send(reply(200, "new")).unwrap();
    assert_eq!(asked.await.unwrap(), answer(200, "new", false));
    assert!(!bench.service.status().grants[0].failing);
    bench.pass(UrlGrant::STALE);
    let asked = bench.ask("a");
    bench.next().await.1.send(reply(500, "")).unwrap();
    assert!(matches!(asked.await.unwrap(), Said::Unavailable(_)), "too old to stand in");
}

#[derive(Debug)]
struct Panics;

impl Transport for Panics {
    fn send(&self, _: Outgoing) -> Pending<'_> {
        Box::pin(async { panic!("a transport that panics") })
    }
}

#[tokio::test]
async fn a_transport_that_panics_leaves_nothing_behind() {
    let config = LookupConfig {
        grants: vec![UrlGrant::new(UrlPrefix::parse("http://host/").unwrap())],
        ..LookupConfig::default()
    };
    let service = Service::new(config, Outside::new(Arc::new(Panics)), Handle::current());
    for _ in 0..2 {
        assert!(matches!(service.fetch(&request("a")).await, Said::Unavailable(_)));
    }
    until(|| lock(&service.flights).is_empty()).await;
    let status = service.status();
    assert_eq!((status.requests, status.in_flight), (2, 0));
}

#[tokio::test]
async fn the_longest_grant_says_which_headers_are_sent() {
    let with = |prefix: &str, value: &str| UrlGrant {
        headers: Arc::from([super::super::config::Header::new("x-key", value).unwrap()]),
        ..UrlGrant::new(UrlPrefix::parse(prefix).unwrap())
    };
    let mut bench = Bench::new(|config| {
        config.grants = vec![
            with("http://host/", "secret-all"),
            with("http://host/v1/", "secret-v1"),
            with("http://host/v1/u", "secret-u"),
        ];
    });
    for (name, value) in [("v1/users", "secret-v1"), ("v1/u/7", "secret-u"), ("v2/u/7", "secret-all")] {
        let asked = bench.ask(name);
        let (outgoing, to_it) = bench.sent.recv().await.unwrap();
        assert_eq!(outgoing.headers[0].value(), value, "{name}");
        assert!(!format!("{outgoing:?}").contains("secret"), "{outgoing:?}");
        to_it.send(reply(200, "")).unwrap();
        asked.await.unwrap();
    }
    assert!(bench.service.permit(&request("v1/users")).is_ok());
    let elsewhere = wit::Request { url: "http://other/".to_owned(), body: None, content_type: String::new() };
    assert!(bench.service.permit(&Request::check(elsewhere).unwrap()).is_err());
}
