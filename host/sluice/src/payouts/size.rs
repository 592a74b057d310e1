//! How large a transaction is once it is signed, and what it costs.
//!
//! What a signature adds is estimated by the script of the coin, for the largest signature that wallets make (72 bytes
//! with its sighash byte; an odd one has 71):
//!
//! | coin | script | witness | an input in all |
//! |---|---|---|---|
//! | P2WPKH | - | 108 | 68 vB |
//! | P2TR, key path, default sighash | - | 66 | 57.5 vB |
//! | P2SH-P2WPKH | 23 | 108 | 91 vB |
//! | P2PKH, compressed key | 107 | - | 148 vB |
//! | anything else | what the operator says | | |

use std::fmt;
use std::str::FromStr;

use bitcoin::{Amount, Script, Transaction};

/// Weight of an input before it is signed: outpoint, an empty script, sequence (BIP 141).
const BARE_INPUT_WEIGHT: u64 = 4 * 41;
/// Marker and flag of a transaction with witnesses.
const SEGWIT_WEIGHT: u64 = 2;

/// How a coin is spent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Spend {
    P2wpkh,
    P2tr,
    P2shP2wpkh,
    P2pkh,
    /// So many virtual bytes, as the operator says.
    Told(u32),
}

impl Spend {
    /// `told` is the operator's word on coins whose script does not say how they are spent; P2SH is taken for
    /// P2SH-P2WPKH without it. `None` where it is needed.
    pub fn of(script: &Script, told: Option<u32>) -> Option<Self> {
        if script.is_p2wpkh() {
            Some(Self::P2wpkh)
        } else if script.is_p2tr() {
            Some(Self::P2tr)
        } else if script.is_p2pkh() {
            Some(Self::P2pkh)
        } else {
            let nested = script.is_p2sh().then_some(Self::P2shP2wpkh);
            told.map(Self::Told).or(nested)
        }
    }

    /// What the script and the witness add to a bare input.
    const fn signed_weight(self) -> u64 {
        match self {
            // Two elements: signature and key.
            Self::P2wpkh => 1 + (1 + 72) + (1 + 33),
            // One element: a Schnorr signature (BIP 341).
            Self::P2tr => 1 + (1 + 64),
            Self::P2shP2wpkh => 4 * 23 + 1 + (1 + 72) + (1 + 33),
            Self::P2pkh => 4 * ((1 + 72) + (1 + 33)),
            Self::Told(vsize) => (vsize as u64 * 4).saturating_sub(BARE_INPUT_WEIGHT),
        }
    }

    const fn has_witness(self) -> bool {
        !matches!(self, Self::P2pkh)
    }

    /// An input in all, rounded up.
    pub const fn vsize(self) -> u64 {
        (BARE_INPUT_WEIGHT + self.signed_weight()).div_ceil(4)
    }
}

/// The size of `unsigned` once its inputs are signed, in virtual bytes. Not less than it will be.
pub fn signed_vsize(unsigned: &Transaction, spends: &[Spend]) -> u64 {
    let mut weight = unsigned.base_size() as u64 * 4;
    weight += spends.iter().map(|spend| spend.signed_weight()).sum::<u64>();
    if spends.iter().any(|spend| spend.has_witness()) {
        // An empty witness takes a byte too.
        let without = spends.iter().filter(|spend| !spend.has_witness()).count();
        weight += SEGWIT_WEIGHT + without as u64;
    }
    weight.div_ceil(4)
}

/// The most that is taken for a fee rate, in satoshis a virtual byte.
pub const RATE_LIMIT: u64 = 1000;
/// The digits after the point that count.
const RATE_DIGITS: usize = 3;

/// A fee rate, in thousandths of a satoshi a virtual byte.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct FeeRate(u64);

/// A text that is no fee rate.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "{0:?} is no fee rate; a number of sat/vB above 0 and up to {RATE_LIMIT}, with at most {RATE_DIGITS} decimals, is \
     allowed"
)]
pub struct FeeRateError(String);

impl FeeRate {
    /// Rounded up.
    pub fn fee(self, vsize: u64) -> Amount {
        Amount::from_sat(self.0.saturating_mul(vsize).div_ceil(1000))
    }
}

impl FromStr for FeeRate {
    type Err = FeeRateError;

    fn from_str(text: &str) -> Result<Self, FeeRateError> {
        let wrong = || FeeRateError(text.chars().take(40).collect());
        let (whole, part) = text.split_once('.').unwrap_or((text, "0"));
        let digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
        if !digits(whole) || !digits(part) || part.len() > RATE_DIGITS {
            return Err(wrong());
        }
        let number = |text: &str| text.parse::<u64>().map_err(|_| wrong());
        let thousandths = number(&format!("{part:0<RATE_DIGITS$}"))?;
        let rate = number(whole)?.checked_mul(1000).and_then(|whole| whole.checked_add(thousandths));
        rate.filter(|rate| (1..=RATE_LIMIT * 1000).contains(rate)).map(Self).ok_or_else(wrong)
    }
}

impl fmt::Display for FeeRate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (whole, part) = (self.0 / 1000, self.0 % 1000);
        if part == 0 { write!(f, "{whole} sat/vB") } else { write!(f, "{whole}.{part:03} sat/vB") }
    }
}

#[cfg(test)]
mod tests;
