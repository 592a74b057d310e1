use std::io::{BufRead, BufReader as StdReader, Write};
use std::os::unix::net::UnixStream as StdStream;

use sluice_core::policy::PolicyFailure;
use sluice_core::policy::auth::{AuthPolicy, Grant, Login, Refusal};
use sluice_core::policy::payout::{Accrued, Entitlement, PayoutPolicy, Plan, Round, Tally};
use sluice_core::policy::vardiff::{Decision, Opening, Review, VardiffPolicy};

use super::*;

struct Silent;

fn nothing<T>() -> Result<T, PolicyFailure> {
    Err(PolicyFailure::Unavailable("not here".to_owned()))
}

impl AuthPolicy for Silent {
    fn authorize(&mut self, _: &Login) -> Result<Result<Grant, Refusal>, PolicyFailure> {
        nothing()
    }
}

impl VardiffPolicy for Silent {
    fn open(&mut self, _: &Opening) -> Result<Decision, PolicyFailure> {
        nothing()
    }

    fn review_all(&mut self, _: &[Review]) -> Result<Vec<Decision>, PolicyFailure> {
        nothing()
    }
}

impl PayoutPolicy for Silent {
    fn plan(&mut self) -> Result<Plan, PolicyFailure> {
        nothing()
    }

    fn settle(&mut self, _: &Round) -> Result<Vec<Entitlement>, PolicyFailure> {
        nothing()
    }

    fn accrue(&mut self, _: &[Tally]) -> Result<Vec<Accrued>, PolicyFailure> {
        nothing()
    }
}

/// Asks line by line, as another process does.
fn ask(path: &Path, lines: &[&str]) -> Vec<Answer> {
    let mut stream = StdStream::connect(path).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
    let mut reader = StdReader::new(stream.try_clone().unwrap());
    let one = |line: &&str| {
        stream.write_all(line.as_bytes()).unwrap();
        stream.write_all(b"\n").unwrap();
        let mut answer = String::new();
        reader.read_line(&mut answer).unwrap();
        serde_json::from_str(&answer).unwrap()
    };
    lines.iter().map(one).collect()
}

/// Sends a line without an end until the pool has enough of it.
fn flood(path: &Path) {
    let mut stream = StdStream::connect(path).unwrap();
    stream.set_write_timeout(Some(Duration::from_secs(60))).unwrap();
    let error =
        (0..10_000).find_map(|_| stream.write_all(&[b'x'; 1024]).err()).expect("it is not read for ever");
    let kinds = [std::io::ErrorKind::BrokenPipe, std::io::ErrorKind::ConnectionReset];
    assert!(kinds.contains(&error.kind()), "{error}");
}

#[tokio::test]
async fn requests_are_answered_line_by_line_and_nonsense_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    // What a pool that was killed leaves behind.
    std::fs::write(dir.path().join(FILE), b"stale").unwrap();
    let socket = ControlSocket::open(dir.path()).unwrap();
    let path = dir.path().join(FILE);
    assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    let policies = Policies::native(Box::new(Silent), Box::new(Silent), Box::new(Silent)).unwrap();
    let server = tokio::spawn(socket.serve(policies));
    let there = path.clone();
    let asked = tokio::task::spawn_blocking(move || {
        ask(
            &there,
            &[
                r#"{"command":"status"}"#,
                r#"{"command":"promote","kind":"auth"}"#,
                r#"{"command":"promote","kind":"luck"}"#,
                r#"{"command":"pin","kind":"auth","sudo":true}"#,
                "promote",
            ],
        )
    });
    let answers = asked.await.unwrap();
    assert!(matches!(&answers[0], Answer::Ok(Value::Array(kinds)) if kinds.len() == 3), "{:?}", answers[0]);
    assert!(matches!(&answers[1], Answer::Error(why) if why.contains("native")), "{:?}", answers[1]);
    for refused in &answers[2..5] {
        assert!(matches!(refused, Answer::Error(why) if why.starts_with("no request")), "{refused:?}");
    }
    let there = path.clone();
    let flooded = tokio::task::spawn_blocking(move || {
        flood(&there);
        ask(&there, &[r#"{"command":"status"}"#])
    });
    assert!(matches!(flooded.await.unwrap()[..], [Answer::Ok(_)]));
    server.abort();
    let _ = server.await;
    assert!(!path.exists());
}

#[test]
fn a_path_that_nobody_can_connect_to_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    // The name that it is made under fits, its own does not.
    let deep = dir.path().join("d".repeat(102 - dir.path().as_os_str().len() - 1));
    std::fs::create_dir(&deep).unwrap();
    let error = ControlSocket::open(&deep).unwrap_err();
    assert!(format!("{error:#}").contains(FILE), "{error:#}");
    assert_eq!(std::fs::read_dir(&deep).unwrap().count(), 0);
}

#[tokio::test]
async fn one_connection_too_many_is_told_so() {
    let dir = tempfile::tempdir().unwrap();
    let socket = ControlSocket::open(dir.path()).unwrap();
    let path = dir.path().join(FILE);
    let policies = Policies::native(Box::new(Silent), Box::new(Silent), Box::new(Silent)).unwrap();
    let server = tokio::spawn(socket.serve(policies));
    let told = tokio::task::spawn_blocking(move || {
        // Each has its place once it is answered.
        let busy: Vec<_> = (0..CONNECTIONS)
            .map(|_| {
                let mut stream = StdStream::connect(&path).unwrap();
                stream.write_all(b"{\"command\":\"status\"}\n").unwrap();
                let mut reader = StdReader::new(stream);
                reader.read_line(&mut String::new()).unwrap();
                reader
            })
            .collect();
        let mut told = String::new();
        StdReader::new(StdStream::connect(&path).unwrap()).read_line(&mut told).unwrap();
        drop(busy);
        serde_json::from_str::<Answer>(&told).unwrap()
    });
    assert!(matches!(told.await.unwrap(), Answer::Error(why) if why.contains("try again")));
    server.abort();
}
