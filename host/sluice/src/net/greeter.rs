//! What differs between the protocols at the door: how a session is made of a newcomer.

use std::sync::Arc;

use sluice_core::ids::Protocol;
use sluice_core::session::Session;
use sluice_core::units::Now;
use sluice_stratum_v1 as v1;
use sluice_stratum_v2 as v2;
use sluice_stratum_v2::Security;
use sluice_stratum_v2::noise::Identity;
use tokio::sync::watch;

use crate::identity;
use crate::metrics::Refused;

use super::connection::Pick;

/// Makes the sessions of one listener.
pub trait Greeter: Send + Sync + 'static {
    type Session: Session + Send + 'static;

    fn protocol(&self) -> Protocol;

    /// The listener's name in the configuration.
    fn name(&self) -> &str;

    /// How many connections may be in their handshake at a time (N-22); `None` where it costs next to nothing.
    fn handshakes_limit(&self) -> Option<usize>;

    /// A session for a connection from `address` (IP without port).
    ///
    /// # Errors
    /// The system gives no randomness.
    fn session(&self, address: Arc<str>, now: Now) -> Result<Self::Session, Refused>;

    /// The protocol's form of a job.
    fn pick(&self) -> Pick<<Self::Session as Session>::Work>;
}

/// SV1.
pub struct StratumV1(pub Arc<v1::SessionConfig>);

impl Greeter for StratumV1 {
    type Session = v1::Connection;

    fn protocol(&self) -> Protocol {
        Protocol::StratumV1
    }

    fn name(&self) -> &str {
        &self.0.listener
    }

    fn handshakes_limit(&self) -> Option<usize> {
        None
    }

    fn session(&self, address: Arc<str>, now: Now) -> Result<v1::Connection, Refused> {
        Ok(v1::Connection::new(Arc::clone(&self.0), address, now))
    }

    fn pick(&self) -> Pick<v1::Announcement> {
        |published| &published.stratum_v1
    }
}

/// SV2.
pub struct StratumV2 {
    pub session: Arc<v2::SessionConfig>,
    pub protection: Protection,
    pub handshakes_limit: usize,
}

/// Whether connections are encrypted (N-1).
pub enum Protection {
    /// With the identity that is current when they come.
    Noise(watch::Receiver<Arc<Identity>>),
    PlainText,
}

impl Greeter for StratumV2 {
    type Session = v2::Connection;

    fn protocol(&self) -> Protocol {
        Protocol::StratumV2
    }

    fn name(&self) -> &str {
        &self.session.listener
    }

    fn handshakes_limit(&self) -> Option<usize> {
        Some(self.handshakes_limit)
    }

    fn session(&self, address: Arc<str>, now: Now) -> Result<v2::Connection, Refused> {
        let security = match &self.protection {
            Protection::Noise(current) => Security::Noise {
                identity: Arc::clone(&current.borrow()),
                entropy: identity::entropy().map_err(|_| Refused::Full)?,
            },
            Protection::PlainText => Security::PlainText,
        };
        Ok(v2::Connection::new(Arc::clone(&self.session), security, address, now))
    }

    fn pick(&self) -> Pick<v2::Broadcast> {
        |published| &published.stratum_v2
    }
}
