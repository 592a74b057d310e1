//! Logins that a service is asked about: by its answer, and in the time it takes, without any other miner noticing.

mod service;

use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use sluice_tests::miner::{Miner, address, error_code};
use sluice_tests::plugins::{AUTH, DIRECTORY, Plugins, shipped, variant};
use sluice_tests::pool::{Addresses, Pool, Setup};
use sluice_tests::sv2::{Client, Kind, client::Opening};
use sluice_tests::{SOON, binary, http};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::PrivatePkcs8KeyDer;

use service::{Asked, Says, Service, known};

/// So easy that a share is found at once.
const SHARE: f64 = 1e-9;
/// One reload on a busy machine: debounce, compile, try.
const RELOAD: Duration = Duration::from_secs(120);
/// For a service that does not answer: a login that waits for it is refused after this.
const PATIENCE: Duration = Duration::from_millis(1500);

/// GET `/v1/ACCOUNT`.
fn by_account(service: &Service) -> String {
    format!("{{ url = \"{}\" }}", service.url("/v1/{account}"))
}

/// A grant of `/v1/` with other lines of its own, and lines of limits.
fn grant(service: &Service, lines: &str, limits: &str) -> String {
    let url = service.url("/v1/");
    format!("[[policy.auth.lookup]]\nurl = \"{url}\"\n{lines}\n[policy.auth.lookup_limits]\n{limits}\n")
}

/// A pool whose logins `service` is asked about.
async fn pool(service: &Service, lines: &str, limits: &str) -> Result<Pool> {
    let setup = Setup::without_blocks(SHARE).directory(&by_account(service), &grant(service, lines, limits));
    Pool::ready(setup).await
}

/// Subscribes, asks to log in, and returns the reply.
async fn try_login(pool: &Pool, user: &str, password: &str) -> Result<Value> {
    let mut miner = Miner::connect(pool.sv1).await?;
    miner.subscribe(None).await?;
    miner.call("mining.authorize", json!([user, password])).await
}

/// What the refusal says.
async fn refusal(pool: &Pool, user: &str) -> Result<String> {
    let reply = try_login(pool, user, "x").await?;
    error_code(&reply).with_context(|| format!("{user} was let in"))?;
    Ok(reply["error"][1].as_str().unwrap_or_default().to_owned())
}

async fn figures(pool: &Pool) -> Result<Value> {
    let policies = http::json(pool.http, "/api/v1/policies").await?;
    let auth = policies.as_array().and_then(|list| list.iter().find(|one| one["kind"] == "auth").cloned());
    Ok(auth.context("no auth policy")?["lookup"].clone())
}

async fn metric(pool: &Pool, name: &str) -> Result<f64> {
    http::metric(pool.http, &format!("sluice_policy_lookup_{name}")).await
}

#[tokio::test]
async fn a_login_of_either_protocol_is_what_the_service_says() -> Result<()> {
    let paid = address(7);
    let says =
        format!(r#"{{"account": "alice-7", "address": "{paid}", "start_difficulty": 2e-9, "tier": 3}}"#);
    let service = Service::start(move |asked| match asked.account() {
        "alice" => Says::Answer(200, says.clone()),
        "eve" => Says::Answer(403, String::new()),
        _ => Says::Answer(404, String::new()),
    });
    let service = service.await?;
    let settings = by_account(&service);
    let tables = grant(&service, "headers = { Authorization = \"Bearer hunter2\" }", "");
    let setup = Setup { log: "trace", ..Setup::without_blocks(SHARE).sv2() };
    let setup = Setup {
        difficulty: sluice_tests::pool::Difficulty { start: SHARE, floor: 3e-10, ceiling: 1.0 },
        ..setup.directory(&settings, &tables)
    };
    let pool = Pool::ready(setup).await?;

    let mut miner = Miner::working(pool.sv1, "alice.rig").await?;
    // As near as a target comes to it.
    let start = miner.difficulty().context("no difficulty")?;
    ensure!((start / 2e-9 - 1.0).abs() < 0.01, "the start difficulty is {start}");
    let job = miner.job().await?;
    let share = miner.mine(&job)?;
    miner.submit_good(&share).await?;
    let (mut client, channel) = Client::working(pool.sv2()?, Kind::Extended, "alice.farm").await?;
    let job = client.job(channel).await?;
    let share = client.mine(&job)?;
    client.submit_good(&share).await?;
    // Both are machines of the account that the service named.
    let both = |workers: &Value| {
        let has = |name: &str| {
            workers.as_array()?.iter().find(|one| one["account"] == "alice-7" && one["worker"] == name)
        };
        has("rig").and(has("farm")).map(|_| ())
    };
    http::json_until(pool.http, "/api/v1/workers", SOON, both).await?;
    // Solo pays the finder: the address of the answer is in the coinbase.
    let subscription = miner.subscription()?.clone();
    let outputs = miner.job().await?.outputs(&subscription.extranonce1, subscription.extranonce2_size)?;
    ensure!(outputs.iter().any(|(script, _)| *script == paid.script_pubkey()), "{outputs:?}");

    ensure!(refusal(&pool, "mallory").await?.contains("no such account"));
    ensure!(refusal(&pool, "eve").await?.contains("not welcome"));
    let refused = client.try_open(&Opening::of(Kind::Extended, "mallory")).await?;
    ensure!(refused.is_err(), "an unknown user has an SV2 channel");

    // One request for each account: the answers are used again. The header came each time, and is nowhere else.
    let asked = service.asked();
    ensure!(asked.len() == 3, "{asked:#?}");
    for one in &asked {
        ensure!(one.method() == "GET" && one.header("authorization") == Some("Bearer hunter2"), "{one:?}");
        let agent = one.header("user-agent").unwrap_or_default();
        ensure!(agent.starts_with("sluice/"), "{agent}");
    }
    let figures = figures(&pool).await?;
    ensure!(figures["requests"] == 3 && figures["fresh"].as_u64() >= Some(2), "{figures}");
    ensure!(metric(&pool, "requests_total").await? >= 3.0);
    for (place, text) in [
        ("log", pool.output().lines().join("\n")),
        ("API", http::get(pool.http, "/api/v1/policies").await?.body),
        ("page", http::get(pool.http, "/").await?.body),
        ("metrics", http::get(pool.http, "/metrics").await?.body),
    ] {
        ensure!(!text.contains("hunter2"), "the {place} shows the header");
    }
    Ok(())
}

#[tokio::test]
async fn a_password_is_posted_and_judged_by_the_service() -> Result<()> {
    let judge = |asked: &Asked| match serde_json::from_str::<Value>(&asked.body) {
        Ok(login) if login["password"] == "correct-horse" => known(),
        Ok(_) => Says::Answer(401, String::new()),
        Err(_) => Says::Answer(400, String::new()),
    };
    let service = Service::start(judge).await?;
    let settings = format!("{{ url = \"{}\", check-password = true }}", service.url("/v1/login"));
    let tables = grant(&service, "fresh_s = 0\nnegative_s = 0", "");
    let setup = Setup { log: "trace", ..Setup::without_blocks(SHARE).directory(&settings, &tables) };
    let pool = Pool::ready(setup).await?;
    let reply = try_login(&pool, "alice.rig", "correct-horse").await?;
    ensure!(reply["result"] == true, "{reply}");
    let reply = try_login(&pool, "alice.rig", "battery-staple").await?;
    ensure!(reply["error"][1].as_str().is_some_and(|text| text.contains("wrong password")), "{reply}");
    let [first, second] = &service.asked()[..] else { anyhow::bail!("{:?}", service.asked()) };
    let body: Value = serde_json::from_str(&first.body)?;
    ensure!(body == json!({"account": "alice", "worker": "rig", "password": "correct-horse"}), "{body}");
    for asked in [first, second] {
        ensure!(
            asked.method() == "POST" && asked.header("content-type") == Some("application/json"),
            "{asked:?}"
        );
        ensure!(!asked.head.contains("horse") && !asked.head.contains("staple"), "{asked:?}");
    }
    let said = pool.output().lines().join("\n");
    ensure!(!said.contains("correct-horse") && !said.contains("battery-staple"), "the log shows a password");
    Ok(())
}

#[tokio::test]
async fn a_service_that_never_answers_delays_that_login_alone() -> Result<()> {
    let silent = |asked: &Asked| if asked.account() == "slow" { Says::Silence } else { known() };
    let service = Service::start(silent).await?;
    let limits = format!("timeout_ms = {0}\nlogin_timeout_ms = {0}", 60_000);
    let pool = pool(&service, "", &limits).await?;
    let mut working = Miner::working(pool.sv1, "third.rig").await?;

    // V1-21: what was asked first is answered first, although the second needs nobody's help.
    let mut waiting = Miner::connect(pool.sv1).await?;
    waiting.send("mining.authorize", json!(["slow.rig", "x"])).await?;
    waiting.send("mining.subscribe", json!([])).await?;
    service.reached(2).await?;

    // Meanwhile a newcomer is let in, and shares are acknowledged.
    Miner::working(pool.sv1, "second.rig").await?;
    let job = working.job().await?;
    for _ in 0..20 {
        let share = working.mine(&job)?;
        working.submit_good(&share).await?;
    }
    let figures = figures(&pool).await?;
    ensure!(figures["waiting"] == 1 && figures["in_flight"] == 1, "the login waits no more: {figures}");
    ensure!(metric(&pool, "waiting").await? == 1.0 && metric(&pool, "in_flight").await? == 1.0);
    let early = waiting.line_within(Duration::from_millis(200)).await;
    ensure!(early.is_err(), "something came before the login was judged (V1-21): {early:?}");
    Ok(())
}

#[tokio::test]
async fn a_login_that_waited_too_long_may_come_back_and_replies_stay_in_order() -> Result<()> {
    let service = Service::start(|_| Says::Silence).await?;
    let pool = pool(&service, "", &format!("timeout_ms = {}", PATIENCE.as_millis())).await?;
    let mut miner = Miner::connect(pool.sv1).await?;
    let began = Instant::now();
    let login = miner.send("mining.authorize", json!(["slow.rig", "x"])).await?;
    let subscribe = miner.send("mining.subscribe", json!([])).await?;
    let refused = miner.reply(login).await?;
    ensure!(refused["result"] != true, "{refused}");
    ensure!(refused["error"][1].as_str().is_some_and(|text| text.contains("try again")), "{refused}");
    ensure!(began.elapsed() >= PATIENCE, "it did not wait for {PATIENCE:?}");
    // The connection goes on.
    let reply = miner.reply(subscribe).await?;
    miner.subscribed(&reply)?;
    let figures = figures(&pool).await?;
    ensure!(figures["failures"]["timeout"] == 1, "{figures}");
    ensure!(metric(&pool, "failures_total{reason=\"timeout\"}").await? == 1.0);
    Ok(())
}

#[tokio::test]
async fn what_the_service_said_earlier_lets_a_known_miner_in_while_it_is_down() -> Result<()> {
    let service = Service::start(|_| known()).await?;
    let pool = pool(&service, "fresh_s = 0", "timeout_ms = 1000").await?;
    Miner::working(pool.sv1, "alice.rig").await?;
    drop(service);
    Miner::working(pool.sv1, "alice.rig").await?;
    let said = refusal(&pool, "bob.rig").await?;
    ensure!(said.contains("try again"), "{said}");
    let figures = figures(&pool).await?;
    ensure!(
        figures["stale"].as_u64() >= Some(1) && figures["failures"]["connect"].as_u64() >= Some(1),
        "{figures}"
    );
    ensure!(metric(&pool, "answers_total{source=\"stale\"}").await? >= 1.0);
    Ok(())
}

#[tokio::test]
async fn answers_that_are_none_let_nobody_in_and_are_counted() -> Result<()> {
    let service = Service::start(|asked| match asked.account() {
        "large" => Says::Answer(200, format!("{{\"pad\": \"{}\"}}", "x".repeat(1100))),
        "fits" => Says::Answer(200, format!("{{\"pad\": \"{}\"}}", "x".repeat(1000))),
        "moved" => Says::Redirect("/v1/fits"),
        "broken" => Says::Answer(500, String::new()),
        _ => Says::Answer(200, "no JSON".to_owned()),
    });
    let service = service.await?;
    let pool = pool(&service, "stale_s = 0", "answer_kb = 1").await?;
    Miner::working(pool.sv1, "fits.rig").await?;
    for user in ["large", "moved", "broken", "odd"] {
        let said = refusal(&pool, user).await?;
        ensure!(said.contains("try again"), "{user}: {said}");
    }
    let figures = figures(&pool).await?;
    ensure!(figures["failures"]["too_large"] == 1 && figures["failures"]["server"] == 1, "{figures}");
    // Where the redirect points to was asked once: by the first miner.
    let followed = service.asked().iter().filter(|asked| asked.account() == "fits").count();
    ensure!(followed == 1, "the redirect was followed: {:#?}", service.asked());
    Ok(())
}

#[tokio::test]
async fn what_is_not_granted_is_not_asked_and_said() -> Result<()> {
    let service = Service::start(|_| known()).await?;
    let other = Service::start(|_| known()).await?;
    let settings = format!("{{ url = \"{}\" }}", other.url("/v1/{account}"));
    let pool =
        Pool::ready(Setup::without_blocks(SHARE).directory(&settings, &grant(&service, "", ""))).await?;
    ensure!(refusal(&pool, "alice").await?.contains("not set up"));
    let figures = figures(&pool).await?;
    ensure!(figures["denied"].as_u64() >= Some(1) && figures["requests"] == 0, "{figures}");
    ensure!(metric(&pool, "denied_total").await? >= 1.0);
    let port = format!(":{}/v1/alice", other.address.port());
    pool.output().find(SOON, |line| (line.contains("denied") && line.contains(&port)).then_some(())).await?;
    ensure!(other.asked().is_empty() && service.asked().is_empty());
    Ok(())
}

#[tokio::test]
async fn without_a_grant_such_a_plugin_is_refused_at_start_and_at_a_reload() -> Result<()> {
    let missing = "[[policy.auth.lookup]]";
    let setup =
        Setup::without_blocks(SHARE).directory("{ url = \"https://accounts.example/{account}\" }", "");
    let Err(error) = Pool::run(setup).await else { anyhow::bail!("the pool starts without a grant") };
    ensure!(format!("{error:#}").contains(missing), "{error:#}");

    let pool = Pool::ready(Setup::without_blocks(SHARE)).await?;
    pool.plugins.replace(AUTH, &shipped(DIRECTORY)?)?;
    let refused = |policies: &Value| {
        let auth = policies.as_array()?.iter().find(|one| one["kind"] == "auth")?;
        let reload = &auth["last_reload"];
        (reload["outcome"] == "rejected").then(|| reload["error"].as_str().unwrap_or_default().to_owned())
    };
    let why = http::json_until(pool.http, "/api/v1/policies", RELOAD, refused).await?;
    ensure!(why.contains(missing), "{why}");
    Miner::working(pool.sv1, &format!("{}.rig", address(1))).await?;
    Ok(())
}

/// What a command says, on both streams.
async fn said(mut command: Command) -> Result<String> {
    let output = tokio::task::spawn_blocking(move || command.env("NO_COLOR", "1").output()).await??;
    Ok([output.stdout, output.stderr].map(|text| String::from_utf8_lossy(&text).into_owned()).concat())
}

#[tokio::test]
async fn check_and_inspect_name_the_grant() -> Result<()> {
    let (home, plugins) = (tempfile::tempdir()?, Plugins::copy()?);
    let service = Service::start(|_| known()).await?;
    let (any, file) = (SocketAddr::from((Ipv4Addr::LOCALHOST, 0)), home.path().join("sluice.toml"));
    let check = |tables: &str| -> Result<Command> {
        let setup = Setup::without_blocks(SHARE).directory(&by_account(&service), tables);
        let at = Addresses { sv1: any, sv2: any, http: any };
        std::fs::write(&file, setup.toml(at, home.path(), &home.path().join("data"), plugins.path()))?;
        let mut command = Command::new(binary::sluice()?);
        command.arg("check").arg("--config").arg(&file);
        Ok(command)
    };
    let wrong = said(check("")?).await?;
    ensure!(wrong.contains("policy.auth: ") && wrong.contains("[[policy.auth.lookup]]"), "{wrong}");
    let right = said(check(&grant(&service, "headers = { Key = \"hunter2\" }", ""))?).await?;
    ensure!(right.ends_with("ok\n"), "{right}");
    let authorities = format!("authorities = \"{}\"", home.path().join("none.pem").display());
    let wrong = said(check(&grant(&service, "headers = { Key = \"hunter2\" }", &authorities))?).await?;
    ensure!(wrong.contains("none.pem") && !wrong.contains("hunter2"), "{wrong}");
    ensure!(service.asked().is_empty(), "check asked the service");

    let mut inspect = Command::new(binary::sluice()?);
    inspect.args(["plugin", "inspect"]).arg(plugins.file(DIRECTORY));
    let inspected = said(inspect).await?;
    ensure!(
        inspected.contains("sluice:policy/lookup") && inspected.contains("[[policy.auth.lookup]]"),
        "{inspected}"
    );
    Ok(())
}

/// A certificate of `localhost` by an authority of its own, which is written to `ca`.
fn private_tls(ca: &Path) -> Result<TlsAcceptor> {
    let mut authority = rcgen::CertificateParams::new(Vec::<String>::new())?;
    authority.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    let key = rcgen::KeyPair::generate()?;
    let signed = authority.self_signed(&key)?;
    std::fs::write(ca, signed.pem())?;
    let issuer = rcgen::Issuer::new(authority, key);
    let key = rcgen::KeyPair::generate()?;
    let leaf = rcgen::CertificateParams::new(vec!["localhost".to_owned()])?.signed_by(&key, &issuer)?;
    let secret = PrivatePkcs8KeyDer::from(key.serialize_der());
    let config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()?
        .with_no_client_auth()
        .with_single_cert(vec![leaf.der().clone()], secret.into())?;
    Ok(TlsAcceptor::from(Arc::new(config)))
}

#[tokio::test]
async fn a_private_service_is_believed_by_its_authority_alone() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let (ca, other) = (dir.path().join("ca.pem"), dir.path().join("other.pem"));
    let service = Service::start_tls(private_tls(&ca)?, |_| known()).await?;
    private_tls(&other)?;
    let trusting = |file: &Path| format!("authorities = \"{}\"", file.display());
    let trusted = pool(&service, "", &trusting(&ca)).await?;
    Miner::working(trusted.sv1, "alice.rig").await?;
    ensure!(service.asked().len() == 1);

    let wary = pool(&service, "", &trusting(&other)).await?;
    ensure!(refusal(&wary, "alice.rig").await?.contains("try again"));
    let certificate = |line: &str| (line.contains("certificate") && line.contains("localhost")).then_some(());
    wary.output().find(SOON, certificate).await?;
    ensure!(service.asked().len() == 1, "a login went to somebody who is not trusted");
    ensure!(figures(&wary).await?["failures"]["connect"] == 1);
    Ok(())
}

/// Waits until so many logins wait for answers.
async fn waiting(pool: &Pool, count: usize) -> Result<Value> {
    let all = |policies: &Value| {
        let auth = policies.as_array()?.iter().find(|one| one["kind"] == "auth")?;
        (auth["lookup"]["waiting"] == count).then(|| auth["lookup"].clone())
    };
    http::json_until(pool.http, "/api/v1/policies", SOON, all).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_thousand_logins_at_once_are_answered_eight_at_a_time() -> Result<()> {
    const LOGINS: usize = 1000;
    let service = Service::start(|_| Says::Held(200, "{}".to_owned())).await?;
    let pool = pool(&service, "", "concurrency = 8\ntimeout_ms = 60000\nlogin_timeout_ms = 60000").await?;
    let mut miners = tokio::task::JoinSet::new();
    for number in 0..LOGINS {
        let sv1 = pool.sv1;
        miners.spawn(async move { Miner::log_in(sv1, &format!("miner{number}.rig")).await.map(drop) });
    }
    let all = waiting(&pool, LOGINS).await?;
    service.reached(8).await?;
    ensure!(all["in_flight"] == 8 && service.asked().len() == 8, "{} requests: {all}", service.asked().len());
    service.open();
    while let Some(login) = miners.join_next().await {
        login??;
    }
    ensure!(service.asked().len() == LOGINS, "{} requests", service.asked().len());
    ensure!(service.peak() == 8, "{} requests at once", service.peak());
    let after = waiting(&pool, 0).await?;
    ensure!(after["requests"] == LOGINS && after["in_flight"] == 0, "{after}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn logins_that_wait_during_a_reload_are_answered() -> Result<()> {
    const LOGINS: usize = 20;
    let service = Service::start(|_| Says::Held(200, "{}".to_owned())).await?;
    let pool = pool(&service, "", "timeout_ms = 60000\nlogin_timeout_ms = 300000").await?;
    let mut miners = tokio::task::JoinSet::new();
    for number in 0..LOGINS {
        let sv1 = pool.sv1;
        miners.spawn(async move { Miner::log_in(sv1, &format!("miner{number}.rig")).await.map(drop) });
    }
    service.reached(LOGINS).await?;
    let generation = |policies: &Value| {
        let auth = policies.as_array()?.iter().find(|one| one["kind"] == "auth")?;
        auth["generation"].as_u64()
    };
    let before = http::json_until(pool.http, "/api/v1/policies", SOON, generation).await?;
    pool.plugins.replace(DIRECTORY, &variant(DIRECTORY, 1)?)?;
    let swapped = |policies: &Value| generation(policies).filter(|now| *now > before);
    http::json_until(pool.http, "/api/v1/policies", RELOAD, swapped).await?;
    ensure!(figures(&pool).await?["waiting"] == LOGINS, "they wait no more");
    service.open();
    while let Some(login) = miners.join_next().await {
        login??;
    }
    ensure!(service.asked().len() == LOGINS, "{} requests", service.asked().len());
    Ok(())
}
