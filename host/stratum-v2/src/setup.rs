//! SetupConnection: who comes, and whether we speak the same (03§3.6.1…3; S-1…S-20).

use std::sync::Arc;

use sluice_core::ids::Protocol;
use sluice_core::policy::Client;

use crate::codes::SetupError;
use crate::messages::common::{
    MINING, REQUIRES_STANDARD_JOBS, REQUIRES_VERSION_ROLLING, REQUIRES_WORK_SELECTION, VERSION,
};
use crate::messages::{
    Message, SetupConnection, SetupConnectionError, SetupConnectionSuccess, inbound_limit,
};
use crate::wire::FrameHeader;
use crate::wire::text::printable;

/// What the specification defines.
const DEFINED: u32 = REQUIRES_STANDARD_JOBS | REQUIRES_WORK_SELECTION | REQUIRES_VERSION_ROLLING;
/// What this server does: all but custom work (S-7).
const SUPPORTED: u32 = REQUIRES_STANDARD_JOBS | REQUIRES_VERSION_ROLLING;

/// Before the setup only the setup is read (F-13).
pub(crate) fn limit(header: FrameHeader) -> Option<u32> {
    let is_setup = (header.extension, header.message) == (SetupConnection::EXTENSION, SetupConnection::TYPE);
    inbound_limit(header.extension, header.message).filter(|_| is_setup)
}

/// What to answer, in the order of S-20. A permissive success: no flags (S-13).
pub(crate) fn answer(
    setup: &SetupConnection<'_>,
) -> Result<SetupConnectionSuccess, SetupConnectionError<'static>> {
    let refuse = |flags, code: SetupError| Err(SetupConnectionError { flags, error_code: code.as_bytes() });
    if setup.protocol != MINING {
        return refuse(0, SetupError::UnsupportedProtocol);
    }
    if !(setup.min_version..=setup.max_version).contains(&VERSION) {
        return refuse(0, SetupError::VersionMismatch);
    }
    if setup.flags & !SUPPORTED != 0 {
        // All that is not supported, asked for or not (S-6), bits without a meaning included (S-8).
        return refuse((DEFINED | setup.flags) & !SUPPORTED, SetupError::UnsupportedFlags);
    }
    Ok(SetupConnectionSuccess { used_version: VERSION, flags: 0 })
}

/// What policies learn of the peer: nothing of it is proved (S-17).
pub(crate) fn client(setup: &SetupConnection<'_>, listener: &Arc<str>, address: &Arc<str>) -> Client {
    let agent = [setup.vendor, setup.firmware].map(printable);
    Client {
        protocol: Protocol::StratumV2,
        listener: Arc::clone(listener),
        address: Arc::clone(address),
        agent: agent.join(" ").trim().into(),
        hardware: printable(setup.hardware_version).into(),
    }
}
