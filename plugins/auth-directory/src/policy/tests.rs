use std::cell::RefCell;

use sluice_plugin::{Client, Protocol, configure};

use super::*;

const GET: &str = r#"{"url": "https://accounts.example/v1/{account}?pool=1"}"#;
const POST: &str = r#"{"url": "https://accounts.example/login", "check-password": true}"#;

/// A service that always says the same, and remembers what it was asked.
struct Service {
    says: Result<Answer, Failure>,
    asked: RefCell<Vec<Request>>,
}

impl Service {
    fn says(status: u16, body: &str) -> Self {
        let answer = Answer { status, body: body.as_bytes().to_vec(), stale: false };
        Self { says: Ok(answer), asked: RefCell::default() }
    }

    fn fails(failure: Failure) -> Self {
        Self { says: Err(failure), asked: RefCell::default() }
    }

    fn asked(&self) -> Vec<Request> {
        self.asked.borrow().clone()
    }
}

impl Lookup for Service {
    fn fetch(&self, request: &Request) -> Result<Answer, Failure> {
        self.asked.borrow_mut().push(request.clone());
        self.says.clone()
    }
}

fn login(username: &str) -> Login {
    let client = Client {
        protocol: Protocol::StratumV1,
        listener: "sv1".to_owned(),
        address: "127.0.0.1".to_owned(),
        agent: "cgminer/4".to_owned(),
        hardware: String::new(),
    };
    Login { username: username.to_owned(), password: Some("pa\"ss".to_owned()), client }
}

fn ask(settings: &str, username: &str, service: &Service) -> Result<Grant, Refusal> {
    configure::<DirectoryAuth>(settings).unwrap().authorize(&login(username), service)
}

#[test]
fn the_service_says_who_a_login_is() {
    let service = Service::says(
        200,
        r#"{"account": "alice-7", "address": "bcrt1qxyz", "start_difficulty": 64,
            "minimum_difficulty": 1.5, "maximum_difficulty": null, "tier": {"gold": true}}"#,
    );
    let grant = Grant {
        account: "alice-7".to_owned(),
        worker: "rig.1".to_owned(),
        payout_address: Some("bcrt1qxyz".to_owned()),
        start_difficulty: Some(64.0),
        minimum_difficulty: Some(1.5),
        maximum_difficulty: None,
    };
    assert_eq!(ask(GET, "alice.rig.1", &service), Ok(grant));
    assert_eq!(service.asked(), [Request::get("https://accounts.example/v1/alice?pool=1")]);
}

#[test]
fn an_answer_that_says_nothing_grants_the_account_that_was_asked_for() {
    let granted = ask(GET, "bob", &Service::says(200, "{}")).unwrap();
    assert_eq!(granted, Grant { account: "bob".to_owned(), ..Grant::default() });
}

#[test]
fn with_check_password_it_is_posted_and_never_part_of_the_url() {
    let service = Service::says(200, "{}");
    ask(POST, "alice.rig", &service).unwrap();
    let [request] = &service.asked()[..] else { panic!("asked {:?}", service.asked()) };
    assert_eq!(request.url, "https://accounts.example/login");
    let body: serde_json::Value = serde_json::from_slice(request.body.as_ref().unwrap()).unwrap();
    assert_eq!(body, serde_json::json!({"account": "alice", "worker": "rig", "password": "pa\"ss"}));

    let plain = Service::says(200, "{}");
    ask(GET, "alice.rig", &plain).unwrap();
    assert!(plain.asked()[0].body.is_none(), "{:?}", plain.asked());
}

#[test]
fn each_status_is_the_fitting_refusal() {
    type Sort = fn(&Refusal) -> bool;
    let unknown: Sort = |refusal| matches!(refusal, Refusal::UnknownUser(_));
    let forbidden: Sort = |refusal| matches!(refusal, Refusal::Forbidden(_));
    let wrong: Sort = |refusal| matches!(refusal, Refusal::WrongPassword(_));
    let later: Sort = |refusal| matches!(refusal, Refusal::TryLater(_));
    for (settings, status, sort) in [
        (GET, 404, unknown),
        (GET, 410, unknown),
        (GET, 403, forbidden),
        (POST, 403, forbidden),
        (POST, 401, wrong),
        // Nobody's password was sent: the service refuses the pool.
        (GET, 401, later),
        (GET, 302, later),
        (GET, 400, later),
        (GET, 429, later),
    ] {
        let refusal = ask(settings, "alice", &Service::says(status, "{}")).unwrap_err();
        assert!(sort(&refusal), "{status}: {refusal:?}");
    }
}

#[test]
fn without_an_answer_the_miner_may_come_back() {
    for failure in [Failure::Unavailable("down".to_owned()), Failure::Denied("no grant".to_owned())] {
        let refusal = ask(GET, "alice", &Service::fails(failure)).unwrap_err();
        // What went wrong is none of the miner's business.
        assert!(
            matches!(&refusal, Refusal::TryLater(text) if !text.contains("down") && !text.contains("grant"))
        );
    }
}

#[test]
fn an_answer_that_cannot_be_used_lets_nobody_in() {
    for body in [
        "",
        "<html>",
        "[]",
        r#"{"account": ""}"#,
        r#"{"account": 7}"#,
        r#"{"account": "a<b"}"#,
        r#"{"address": "two words"}"#,
        r#"{"address": ""}"#,
        r#"{"start_difficulty": "64"}"#,
        r#"{"start_difficulty": 0}"#,
        r#"{"minimum_difficulty": 1e39}"#,
        r#"{"minimum_difficulty": 8, "maximum_difficulty": 4}"#,
    ] {
        let answer = ask(GET, "alice", &Service::says(200, body));
        assert!(matches!(answer, Err(Refusal::TryLater(_))), "{body}: {answer:?}");
    }
}

#[test]
fn what_no_account_can_be_called_is_not_asked_about() {
    let service = Service::says(200, "{}");
    for username in ["", ".rig", "..", "a<b", "ä", "\u{7f}", "a\"b.rig", &"a".repeat(129)] {
        let answer = ask(GET, username, &service);
        assert!(matches!(answer, Err(Refusal::UnknownUser(_))), "{username}: {answer:?}");
    }
    assert_eq!(service.asked(), []);
    ask(GET, "a/b?c#d", &service).unwrap();
    assert_eq!(service.asked()[0].url, "https://accounts.example/v1/a%2Fb%3Fc%23d?pool=1");
}

#[test]
fn members_may_have_other_names() {
    let settings =
        r#"{"url": "http://127.0.0.1:8000/{account}", "account-field": "login", "address-field": "btc"}"#;
    let granted = ask(settings, "bob", &Service::says(200, r#"{"login": "rob", "btc": "x1", "account": 3}"#));
    assert_eq!(
        granted,
        Ok(Grant { account: "rob".to_owned(), payout_address: Some("x1".to_owned()), ..Grant::default() })
    );
}

#[test]
fn wrong_settings_are_named() {
    for (settings, said) in [
        ("{}", "url: missing"),
        (r#"{"url": "ftp://a.example/{account}"}"#, "is not an http:// or https:// URL"),
        (r#"{"url": "https://a.example/"}"#, "holds no {account}"),
        (r#"{"url": "https://{account}.example/"}"#, "is not an http"),
        (r#"{"url": "https://a.example/{account}/{account}"}"#, "is not an http"),
        (r#"{"url": "https://a.example"}"#, "is not an http"),
        (r#"{"url": "https://a.example/a b/{account}"}"#, "is not an http"),
        (r##"{"url": "https://a.example/#{account}"}"##, "is not an http"),
        (r#"{"url": "https://a.example/{account}", "account-field": ""}"#, "account-field"),
        (r#"{"url": "https://a.example/{account}", "user": "x"}"#, "no such setting"),
    ] {
        let error = configure::<DirectoryAuth>(settings).unwrap_err();
        assert!(error.contains(said), "{settings}: {error}");
    }
}

#[test]
fn it_passes_its_own_test() {
    configure::<DirectoryAuth>(GET).unwrap().self_test().unwrap();
    configure::<DirectoryAuth>(POST).unwrap().self_test().unwrap();
}
