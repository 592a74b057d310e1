//! What `[[policy.auth.lookup]]` and `[policy.auth.lookup_limits]` mean.

use std::path::PathBuf;

use sluice_policy::lookup::LookupConfig;

/// What the auth policy may look up.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Lookup {
    /// The granted URLs with their headers, which are secret, and the limits of all requests.
    pub rules: LookupConfig,
    /// A PEM file of certificate authorities that are trusted beside the machine's.
    pub authorities: Option<PathBuf>,
}
