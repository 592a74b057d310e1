//! TLS on a listener (V1-81): certificate files are read again when they change.

use std::path::Path;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::{Duration, SystemTime};

use anyhow::Context;
use rustls::ServerConfig;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::TlsAcceptor;

use crate::config::Tls;

/// How often the files are looked at.
const LOOK_INTERVAL: Duration = Duration::from_secs(5);

/// A certificate that follows its files.
#[derive(Debug)]
pub struct Certificate {
    files: Tls,
    current: RwLock<Arc<ServerConfig>>,
}

impl Certificate {
    /// # Errors
    /// A file cannot be read, is no PEM, or the key does not fit the certificate.
    pub fn load(files: Tls) -> anyhow::Result<Arc<Self>> {
        let config = read(&files)?;
        Ok(Arc::new(Self { files, current: RwLock::new(config) }))
    }

    pub fn acceptor(&self) -> TlsAcceptor {
        TlsAcceptor::from(Arc::clone(&self.current.read().unwrap_or_else(PoisonError::into_inner)))
    }

    /// Reads the files again whenever they change; a bad pair changes nothing. Runs for ever.
    pub async fn follow(self: Arc<Self>) {
        let mut seen = stamps(&self.files);
        let mut interval = tokio::time::interval(LOOK_INTERVAL);
        loop {
            interval.tick().await;
            let now = stamps(&self.files);
            if now == seen {
                continue;
            }
            match read(&self.files) {
                Ok(config) => {
                    seen = now;
                    *self.current.write().unwrap_or_else(PoisonError::into_inner) = config;
                    tracing::info!(file = %self.files.certificate.display(), "certificate read again");
                }
                // The key may follow in a moment; looked at again with the next change or tick.
                Err(error) => {
                    tracing::warn!(error = %format!("{error:#}"), "certificate not read; the old one stays");
                }
            }
        }
    }
}

fn read(files: &Tls) -> anyhow::Result<Arc<ServerConfig>> {
    let certificates = CertificateDer::pem_file_iter(&files.certificate)
        .and_then(Iterator::collect::<Result<Vec<_>, _>>)
        .with_context(|| format!("failed to read the certificate {}", files.certificate.display()))?;
    let key = PrivateKeyDer::from_pem_file(&files.key)
        .with_context(|| format!("failed to read the key {}", files.key.display()))?;
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_no_client_auth()
        .with_single_cert(certificates, key)
        .with_context(|| format!("{} does not fit {}", files.key.display(), files.certificate.display()))?;
    Ok(Arc::new(config))
}

fn stamps(files: &Tls) -> [Option<SystemTime>; 2] {
    [stamp(&files.certificate), stamp(&files.key)]
}

fn stamp(path: &Path) -> Option<SystemTime> {
    std::fs::metadata(path).and_then(|metadata| metadata.modified()).ok()
}
