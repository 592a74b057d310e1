//! The pool's Stratum V2 identity: the static key and the certificate that every handshake presents.
//!
//! [`start`] makes or loads it; a [`Keeper`] has it signed again in time (N-16), or reads its file again when that
//! changes (N-17). The authority stays the same while the pool runs: miners have it in their configuration (N-42).

pub mod file;
mod left;

use std::fmt;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, bail};
use sluice_core::units::Timestamp;
use sluice_stratum_v2::noise::{AuthorityKey, AuthoritySecret, Identity, Validity};
use tokio::sync::watch;

use crate::clock;
use crate::config::IdentitySource;
use crate::http::StratumV2Info;
use crate::metrics::Metrics;
use file::Stamp;
use left::Alarm;

/// How often the file and the clock are looked at.
const LOOK_INTERVAL: Duration = Duration::from_secs(5);
/// How long a certificate holds that the pool signs itself, in seconds from its signature. At least half of it is left
/// of every certificate that is handed out (N-16).
const LIFE_S: u32 = 48 * 3600;
/// How long before its signature a certificate holds, in seconds: the clocks of many devices are late (N-16).
const BACK_DATED_S: u32 = 3600;

/// A certificate's span: from an hour ago until `life_s` seconds from now.
pub fn validity(now: Timestamp, life_s: u32) -> Validity {
    let now = now.seconds();
    Validity { valid_from: now.saturating_sub(BACK_DATED_S), not_valid_after: now.saturating_add(life_s) }
}

/// 32 bytes from the operating system.
///
/// # Errors
/// It gives none.
pub fn entropy() -> anyhow::Result<[u8; 32]> {
    let mut bytes = [0; 32];
    getrandom::fill(&mut bytes)
        .map_err(|error| anyhow::anyhow!("the system gives no randomness: {error}"))?;
    Ok(bytes)
}

/// What a listener presents.
#[derive(Clone, Debug)]
pub struct Identities {
    /// What miners check certificates with.
    pub authority: AuthorityKey,
    /// The present identity, to be read for each handshake.
    pub current: watch::Receiver<Arc<Identity>>,
}

/// Where SV2 miners connect.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Endpoint {
    pub address: SocketAddr,
    pub authority: AuthorityKey,
    /// The unencrypted listener for labs.
    pub plain_text: Option<SocketAddr>,
}

/// The URL that miners take (N-40), as the status page shows it.
impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let info = StratumV2Info {
            address: self.address.to_string(),
            authority_public_key: self.authority.to_string(),
        };
        f.write_str(&info.url())
    }
}

/// Keeps the identity fresh.
#[derive(Debug)]
pub struct Keeper {
    source: Source,
    authority: AuthorityKey,
    current: watch::Sender<Arc<Identity>>,
    alarm: Alarm,
}

#[derive(Debug)]
enum Source {
    /// The pool signs.
    Signer(AuthoritySecret),
    File(Followed),
}

/// A file with an identity that was signed elsewhere.
#[derive(Debug)]
struct Followed {
    path: PathBuf,
    /// What the present identity was read from.
    seen: Stamp,
    /// What could not be used and was told of.
    refused: Option<Stamp>,
}

/// Makes or loads the identity.
///
/// # Errors
/// The file cannot be read, others can read it, it is no key, or its certificate is not valid at `now`.
pub fn start(source: &IdentitySource, now: Timestamp) -> anyhow::Result<(Identities, Keeper)> {
    let (source, authority, identity) = match source {
        IdentitySource::Authority(path) => {
            let secret = authority(path)?;
            let identity = Identity::issue(entropy()?, &secret, validity(now, LIFE_S))?;
            let public = secret.public();
            (Source::Signer(secret), public, identity)
        }
        IdentitySource::Certificate(path) => {
            // Looked at first: what changes while the file is read is read again.
            let seen = Stamp::of(path);
            let (authority, identity) = certified(path, now)?;
            (Source::File(Followed { path: path.clone(), seen, refused: None }), authority, identity)
        }
    };
    let (sender, current) = watch::channel(Arc::new(identity));
    let mut keeper = Keeper { source, authority, current: sender, alarm: Alarm::default() };
    keeper.look(now);
    Ok((Identities { authority, current }, keeper))
}

impl Keeper {
    /// Keeps looking. Runs for ever.
    pub async fn run(mut self, metrics: Arc<Metrics>) {
        let mut interval = tokio::time::interval(LOOK_INTERVAL);
        loop {
            interval.tick().await;
            self.look(clock::wall());
            metrics.certificate_ends(self.current.borrow().validity().not_valid_after.into());
        }
    }

    /// Signs or reads again where that is due at `now`, and raises the alarm where the certificate runs out.
    pub fn look(&mut self, now: Timestamp) {
        let present = Arc::clone(&self.current.borrow());
        let next = match &mut self.source {
            Source::Signer(secret) => renewed(&present, secret, now),
            Source::File(followed) => followed.look(self.authority, now),
        };
        if let Some(next) = next {
            let Validity { valid_from, not_valid_after } = next.validity();
            tracing::info!(valid_from, not_valid_after, "new SV2 certificate");
            self.current.send_replace(Arc::new(next));
        }
        let validity = self.current.borrow().validity();
        self.alarm.look(validity, now);
    }
}

/// The same static key with a new certificate, at half life or where the clock was set back before its beginning.
fn renewed(present: &Identity, secret: &AuthoritySecret, now: Timestamp) -> Option<Identity> {
    let Validity { valid_from, not_valid_after } = present.validity();
    let half_life = not_valid_after.saturating_sub(LIFE_S / 2);
    let fresh = (valid_from..half_life).contains(&now.seconds());
    (!fresh).then(|| present.renewed(secret, validity(now, LIFE_S)))
}

impl Followed {
    /// The file's identity where the file has changed and can be used. What cannot is tried again with every look
    /// (it may become valid, or the rest may follow), and told of once.
    fn look(&mut self, authority: AuthorityKey, now: Timestamp) -> Option<Identity> {
        let stamp = Stamp::of(&self.path);
        if stamp == self.seen {
            return None;
        }
        match same_authority(&self.path, authority, now) {
            Ok(identity) => {
                (self.seen, self.refused) = (stamp, None);
                Some(identity)
            }
            Err(error) => {
                if self.refused.as_ref() != Some(&stamp) {
                    let error = format!("{error:#}");
                    tracing::warn!(error, "SV2 certificate not read; the old one stays");
                    self.refused = Some(stamp);
                }
                None
            }
        }
    }
}

fn same_authority(path: &Path, expected: AuthorityKey, now: Timestamp) -> anyhow::Result<Identity> {
    let (authority, identity) = certified(path, now)?;
    if authority != expected {
        bail!(
            "{} is of another authority, {authority}; miners know {expected} (another one takes a restart)",
            path.display()
        );
    }
    Ok(identity)
}

/// The authority's secret key in a file (N-41).
///
/// # Errors
/// The file cannot be read, others can read it, or it is no secret key.
pub fn authority(path: &Path) -> anyhow::Result<AuthoritySecret> {
    let text = file::read_secret(path)?;
    text.trim().parse().with_context(|| format!("{} is no authority key", path.display()))
}

/// The identity in a file, with its authority; signed by it, and valid at `now`.
fn certified(path: &Path, now: Timestamp) -> anyhow::Result<(AuthorityKey, Identity)> {
    let text = file::read_secret(path)?;
    let (authority, identity) =
        file::parse(&text).with_context(|| format!("{} is no certificate file", path.display()))?;
    identity
        .certificate()
        .verify(&authority, identity.static_key(), now.seconds())
        .with_context(|| format!("the certificate in {} cannot be used", path.display()))?;
    Ok((authority, identity))
}

#[cfg(test)]
mod tests;
