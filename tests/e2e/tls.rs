//! The doors of a listener: TLS with files that change (V1-81), and the PROXY protocol.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::sync::Arc;

use anyhow::{Context, Result, ensure};
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use sluice_tests::miner::Miner;
use sluice_tests::pool::{Pool, Setup, address_after};
use sluice_tests::{POLL, SOON};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

const SUBSCRIBE: &[u8] = b"{\"id\":1,\"method\":\"mining.subscribe\",\"params\":[]}\n";

/// Writes a new certificate for `localhost` and its key; returns the certificate.
fn certify(dir: &Path) -> Result<CertificateDer<'static>> {
    let made = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()])?;
    std::fs::write(dir.join("key.pem"), made.signing_key.serialize_pem())?;
    std::fs::write(dir.join("cert.pem"), made.cert.pem())?;
    Ok(made.cert.der().clone())
}

/// Subscribes over TLS, trusting `certificate` alone.
async fn subscribe(pool: SocketAddr, certificate: &CertificateDer<'static>) -> Result<String> {
    let mut roots = RootCertStore::empty();
    roots.add(certificate.clone())?;
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots)
        .with_no_client_auth();
    let stream = TcpStream::connect(pool).await?;
    let name = ServerName::try_from("localhost")?;
    let mut stream = TlsConnector::from(Arc::new(config)).connect(name, stream).await?;
    stream.write_all(SUBSCRIBE).await?;
    let mut line = String::new();
    BufReader::new(stream).read_line(&mut line).await?;
    Ok(line)
}

/// A pool with one more listener, whose table `extra` completes.
async fn with_listener(extra: &str) -> Result<(Pool, SocketAddr)> {
    let table = format!(
        "[[stratum_v1.listener]]\nname = \"door\"\nlisten = \"{}\"\n{extra}",
        SocketAddr::from((Ipv4Addr::LOCALHOST, 0))
    );
    let pool = Pool::ready(Setup::without_blocks(1e-6).with(&table)).await?;
    let door = |line: &str| {
        let ours = line.contains("(door)").then_some(line)?;
        address_after(ours, "stratum+ssl://").or_else(|| address_after(ours, "stratum+tcp://"))
    };
    let address = pool.output().find(SOON, door).await?;
    Ok((pool, address))
}

#[tokio::test]
async fn a_certificate_is_read_again_when_it_changes_and_a_bad_one_changes_nothing() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let first = certify(dir.path())?;
    let (cert, key) = (dir.path().join("cert.pem"), dir.path().join("key.pem"));
    let extra = format!("tls = {{ certificate = \"{}\", key = \"{}\" }}\n", cert.display(), key.display());
    let (pool, door) = with_listener(&extra).await?;
    ensure!(subscribe(door, &first).await?.contains("mining.notify"));

    // A certificate without its key: said, and the old pair goes on.
    let other = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()])?;
    std::fs::write(&cert, other.cert.pem())?;
    pool.output().find(SOON, |line| line.contains("the old one stays").then_some(())).await?;
    ensure!(subscribe(door, &first).await?.contains("mining.notify"));

    let second = certify(dir.path())?;
    let changed = async {
        while subscribe(door, &second).await.is_err() {
            tokio::time::sleep(POLL).await;
        }
    };
    tokio::time::timeout(SOON, changed).await.context("the new certificate is never shown")?;
    Ok(())
}

#[tokio::test]
async fn a_proxy_header_is_demanded_and_names_the_miner() -> Result<()> {
    let (pool, door) = with_listener("proxy_protocol = \"any\"\n").await?;
    let mut plain = TcpStream::connect(door).await?;
    plain.write_all(SUBSCRIBE).await?;
    let mut rest = Vec::new();
    // Closed without an answer; a reset is as good.
    let _ = plain.read_to_end(&mut rest).await;
    ensure!(rest.is_empty(), "{}", String::from_utf8_lossy(&rest));

    let mut proxied = Miner::connect(door).await?;
    proxied.send_raw("PROXY TCP4 192.0.2.77 192.0.2.1 40000 3333\r\n").await?;
    proxied.subscribe(None).await?;
    pool.output().find(SOON, |line| line.contains("192.0.2.77").then_some(())).await?;
    Ok(())
}
