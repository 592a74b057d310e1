//! The one secp256k1 context of the process.

use std::sync::LazyLock;

use bitcoin::secp256k1::{All, Secp256k1};

static CURVE: LazyLock<Secp256k1<All>> = LazyLock::new(Secp256k1::new);

/// The shared context: making one costs as much as a handshake.
pub(super) fn curve() -> &'static Secp256k1<All> {
    &CURVE
}
