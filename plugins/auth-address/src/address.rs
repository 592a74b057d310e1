//! Bitcoin addresses: whether a text is one, of which network, and its one canonical spelling.
//!
//! Only addresses that a coin can be spent from again are taken: P2PKH and P2SH (base58check), witness version 0 (BIP173)
//! and taproot (BIP350). Other witness programs are valid and anyone can spend them: a typing mistake, not a wish.

/// The networks that Sluice runs on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Network {
    Main,
    Testnet4,
    Signet,
    Regtest,
}

impl Network {
    /// For messages.
    pub const NAMES: &str = "main, testnet4, signet or regtest";

    pub fn parse(name: &str) -> Option<Self> {
        match name {
            "main" => Some(Self::Main),
            "testnet4" => Some(Self::Testnet4),
            "signet" => Some(Self::Signet),
            "regtest" => Some(Self::Regtest),
            _ => None,
        }
    }

    pub const fn name(self) -> &'static str {
        match self {
            Self::Main => "main",
            Self::Testnet4 => "testnet4",
            Self::Signet => "signet",
            Self::Regtest => "regtest",
        }
    }

    /// Human-readable part of its segwit addresses.
    const fn hrp(self) -> &'static str {
        match self {
            Self::Main => "bc",
            Self::Testnet4 | Self::Signet => "tb",
            Self::Regtest => "bcrt",
        }
    }

    /// Version bytes of P2PKH and P2SH.
    const fn versions(self) -> [u8; 2] {
        match self {
            Self::Main => [0x00, 0x05],
            Self::Testnet4 | Self::Signet | Self::Regtest => [0x6f, 0xc4],
        }
    }
}

/// Why a text is not an address of ours. Fit for the miner's eyes: nothing of the text is repeated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AddressError {
    /// Empty, too long, or of characters that no address has.
    NotAnAddress,
    /// Looks like one, and its checksum or length is wrong.
    Mistyped,
    OtherNetwork,
    /// Anyone could spend what is sent there.
    Unsafe,
}

/// The longest segwit address, in bytes (BIP173).
const LENGTH_LIMIT: usize = 90;
/// Version byte and hash160.
const BASE58_PAYLOAD: usize = 21;
const TAPROOT_PROGRAM: usize = 32;

/// The canonical spelling of `text`: bech32 in lower case, base58 as it is.
///
/// # Errors
/// It is no address, or none of `network`.
pub fn canonical(text: &str, network: Network) -> Result<String, AddressError> {
    if text.is_empty() || text.len() > LENGTH_LIMIT || !text.bytes().all(|b| b.is_ascii_alphanumeric()) {
        return Err(AddressError::NotAnAddress);
    }
    match segwit_network(text) {
        Some(hrp) => check_segwit(text, &hrp, network),
        None => check_base58(text, network),
    }
}

/// The part before the first `1`, in lower case, if it is one that Bitcoin uses.
fn segwit_network(text: &str) -> Option<String> {
    let (hrp, _) = text.split_once('1')?;
    let hrp = hrp.to_ascii_lowercase();
    matches!(hrp.as_str(), "bc" | "tb" | "bcrt").then_some(hrp)
}

fn check_segwit(text: &str, hrp: &str, network: Network) -> Result<String, AddressError> {
    let (_, version, program) = bech32::segwit::decode(text).map_err(|_| AddressError::Mistyped)?;
    if hrp != network.hrp() {
        return Err(AddressError::OtherNetwork);
    }
    match (version.to_u8(), program.len()) {
        (0, _) | (1, TAPROOT_PROGRAM) => Ok(text.to_ascii_lowercase()),
        _ => Err(AddressError::Unsafe),
    }
}

fn check_base58(text: &str, network: Network) -> Result<String, AddressError> {
    let payload = base58ck::decode_check(text).map_err(|_| match looks_like_base58(text) {
        true => AddressError::Mistyped,
        false => AddressError::NotAnAddress,
    })?;
    match payload.as_slice() {
        [version, ..] if payload.len() == BASE58_PAYLOAD => {
            let known =
                Network::Main.versions().contains(version) || Network::Testnet4.versions().contains(version);
            match (network.versions().contains(version), known) {
                (true, _) => Ok(text.to_owned()),
                (false, true) => Err(AddressError::OtherNetwork),
                (false, false) => Err(AddressError::NotAnAddress),
            }
        }
        _ => Err(AddressError::NotAnAddress),
    }
}

/// Length and first letter of a P2PKH or P2SH address of any network.
fn looks_like_base58(text: &str) -> bool {
    (26..=35).contains(&text.len()) && text.starts_with(['1', '2', '3', 'm', 'n'])
}

#[cfg(test)]
mod tests;
