//! Keys and certificates, from `sluice keygen` to a client that checks them; the demo.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Output};

use anyhow::{Context, Result, ensure};
use sluice_stratum_v2::noise::AuthorityKey;
use sluice_tests::miner::address;
use sluice_tests::pool::{Pool, Setup};
use sluice_tests::sv2::{Client, Endpoint, Kind, Wire, new_authority};
use sluice_tests::{SOON, binary, http};
use tempfile::TempDir;

fn sluice(home: &Path, args: &[&str]) -> Result<Output> {
    Command::new(binary::sluice()?)
        .args(args)
        .env("NO_COLOR", "1")
        .current_dir(home)
        .output()
        .context("sluice does not run")
}

fn text(output: &Output) -> String {
    [&output.stdout, &output.stderr].map(|bytes| String::from_utf8_lossy(bytes).into_owned()).concat()
}

fn succeeds(home: &Path, args: &[&str]) -> Result<String> {
    let output = sluice(home, args)?;
    ensure!(output.status.success(), "{args:?}: {}", text(&output));
    Ok(text(&output))
}

fn mode(file: &Path) -> Result<u32> {
    Ok(fs::metadata(file)?.permissions().mode() & 0o777)
}

/// The authority that `sluice keygen` makes in `home/keys`.
fn authority(home: &Path) -> Result<AuthorityKey> {
    let said = succeeds(home, &["keygen", "keys"])?;
    let public = fs::read_to_string(home.join("keys/authority.pub"))?;
    ensure!(said.contains(public.trim()), "the key is not shown: {said}");
    ensure!(mode(&home.join("keys/authority.key"))? == 0o600);
    Ok(public.trim().parse()?)
}

async fn mines(pool: Endpoint) -> Result<()> {
    let (mut client, channel) = Client::working(pool, Kind::Extended, &format!("{}.a", address(3))).await?;
    let job = client.job(channel).await?;
    let share = client.mine(&job)?;
    client.submit_good(&share).await
}

/// The pool proves itself to who knows `authority`, and to nobody who knows another.
async fn proves(pool: &Pool, authority: AuthorityKey) -> Result<()> {
    let endpoint = pool.sv2()?;
    ensure!(endpoint.authority == authority, "the URL names {}, not {authority}", endpoint.authority);
    mines(endpoint).await?;
    let stranger = new_authority()?.public();
    let wrong = Wire::connect(endpoint.address, Some(stranger)).await;
    ensure!(wrong.is_err(), "a certificate of another authority is taken");
    let info = http::json(pool.http, "/api/v1/pool").await?;
    let shown = &info["stratum_v2"];
    ensure!(shown["authority_public_key"] == authority.to_string(), "{info}");
    ensure!(shown["address"] == endpoint.address.to_string(), "{info}");
    Ok(())
}

#[tokio::test]
async fn a_key_from_keygen_is_what_clients_check() -> Result<()> {
    // N-14, N-40, N-41
    let home = TempDir::new()?;
    let authority = authority(home.path())?;
    let line = format!("authority_key = \"{}\"", home.path().join("keys/authority.key").display());
    let mut pool = Pool::ready(Setup::without_blocks(1e-6).sv2_as(&line)).await?;
    proves(&pool, authority).await?;
    let metrics = http::get(pool.http, "/metrics").await?.body;
    ensure!(!metrics.contains("sluice_stratum_v2_certificate_end_seconds 0"), "no end of the certificate");
    // The authority outlives the process; the static key need not.
    pool.kill()?;
    pool.restart().await?;
    proves(&pool, authority).await?;
    // Never over an existing one.
    let again = sluice(home.path(), &["keygen", "keys"])?;
    ensure!(!again.status.success(), "{}", text(&again));
    Ok(())
}

#[tokio::test]
async fn with_a_certificate_the_secret_stays_elsewhere_and_a_new_one_is_read() -> Result<()> {
    // N-17, N-42
    let home = TempDir::new()?;
    let authority = authority(home.path())?;
    let certify = |out: &str| {
        succeeds(home.path(), &["keygen", "--certify", "keys/authority.key", "--days", "2", "--out", out])
    };
    certify("pool.cert")?;
    certify("next.cert")?;
    let file = home.path().join("pool.cert");
    ensure!(mode(&file)? == 0o600);
    fs::rename(home.path().join("keys"), home.path().join("elsewhere"))?;
    let line = format!("certificate = \"{}\"", file.display());
    let pool = Pool::ready(Setup::without_blocks(1e-6).sv2_as(&line)).await?;
    proves(&pool, authority).await?;
    fs::rename(home.path().join("next.cert"), &file)?;
    pool.output().find(SOON, |line| line.contains("new SV2 certificate").then_some(())).await?;
    proves(&pool, authority).await?;
    // What is none changes nothing.
    fs::write(home.path().join("broken"), "no certificate")?;
    fs::set_permissions(home.path().join("broken"), fs::Permissions::from_mode(0o600))?;
    fs::rename(home.path().join("broken"), &file)?;
    pool.output().find(SOON, |line| line.contains("the old one stays").then_some(())).await?;
    proves(&pool, authority).await
}

#[tokio::test]
async fn secrets_that_others_can_read_are_refused() -> Result<()> {
    let home = TempDir::new()?;
    authority(home.path())?;
    let key = home.path().join("keys/authority.key");
    fs::set_permissions(&key, fs::Permissions::from_mode(0o644))?;
    let line = format!("authority_key = \"{}\"", key.display());
    let started = Pool::run(Setup::without_blocks(1e-6).sv2_as(&line)).await;
    let said = format!("{:#}", started.err().context("it starts")?);
    ensure!(said.contains("chmod 600"), "{said}");
    ensure!(!said.contains("panicked"), "{said}");
    Ok(())
}

#[tokio::test]
async fn the_demo_speaks_sv2_and_says_where() -> Result<()> {
    // N-40
    let pool = Pool::demo().await?;
    pool.wait_ready().await?;
    let endpoint = pool.sv2()?;
    let info = http::json(pool.http, "/api/v1/pool").await?;
    ensure!(info["stratum_v2"]["authority_public_key"] == endpoint.authority.to_string(), "{info}");
    // Difficulty 0.001 is some four million hashes.
    let (mut client, channel) =
        Client::working(endpoint, Kind::Standard, &format!("{}.a", address(3))).await?;
    let job = client.job(channel).await?;
    let (mut client, share) = tokio::task::spawn_blocking(move || {
        let share = client.mine(&job);
        (client, share)
    })
    .await?;
    client.submit_good(&share?).await?;
    let counted = "sluice_shares_accepted_total{protocol=\"stratum_v2\"}";
    http::metric_reaches(pool.http, counted, 1.0).await
}
