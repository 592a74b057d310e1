//! Quantities with their units. Conversions between difficulty, target and work live here and nowhere else.

use std::fmt;
use std::time::Duration;

use bitcoin::Target;
use serde::{Deserialize, Serialize};

/// Wall-clock time in milliseconds since 1970-01-01 UTC. For records and block times; it may step.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Timestamp(pub u64);

impl Timestamp {
    /// Whole seconds, saturating at the end of block time (2106).
    pub fn seconds(self) -> u32 {
        u32::try_from(self.0 / 1000).unwrap_or(u32::MAX)
    }
}

/// Milliseconds on a clock that never steps back, from an arbitrary start. For timeouts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Moment(pub u64);

impl Moment {
    pub fn after(self, duration: Duration) -> Self {
        Self(self.0.saturating_add(u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)))
    }

    /// How long after `earlier`; zero if it was not.
    pub fn since(self, earlier: Self) -> Duration {
        Duration::from_millis(self.0.saturating_sub(earlier.0))
    }
}

/// The two clocks, read once per event by the driver and handed in.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Now {
    pub moment: Moment,
    pub wall: Timestamp,
}

/// The hashes that difficulty 1 stands for: 2^32, as pools count (exactly 2^48 / 0xffff).
const HASHES_PER_DIFFICULTY: f64 = 4_294_967_296.0;

/// Pool difficulty: 1.0 is the target `0xffff * 2^208`. Finite, positive, within [`Difficulty::MIN`] and [`Difficulty::MAX`].
#[derive(Clone, Copy, PartialEq, PartialOrd, Serialize, Deserialize)]
#[serde(try_from = "f64", into = "f64")]
pub struct Difficulty(f64);

/// A number that is no difficulty.
#[derive(Clone, Copy, Debug, PartialEq, thiserror::Error)]
#[error("difficulty {0} is not allowed: a number from 2^-32 to 2^128 is")]
pub struct DifficultyError(pub f64);

impl Difficulty {
    /// 2^-32: a target that every hash but one in 65,536 meets.
    pub const MIN: Self = Self(1.0 / 4_294_967_296.0);
    pub const ONE: Self = Self(1.0);
    /// 2^128, far beyond the network.
    pub const MAX: Self = Self(340_282_366_920_938_463_463_374_607_431_768_211_456.0);

    /// # Errors
    /// NaN, infinite, zero, negative or out of range.
    pub fn new(value: f64) -> Result<Self, DifficultyError> {
        if (Self::MIN.0..=Self::MAX.0).contains(&value) {
            Ok(Self(value))
        } else {
            Err(DifficultyError(value))
        }
    }

    /// The nearest difficulty in range; NaN becomes [`Difficulty::MIN`].
    pub fn saturating(value: f64) -> Self {
        Self(if value.is_nan() { Self::MIN.0 } else { value.clamp(Self::MIN.0, Self::MAX.0) })
    }

    pub const fn get(self) -> f64 {
        self.0
    }

    #[must_use]
    pub fn min(self, other: Self) -> Self {
        Self(self.0.min(other.0))
    }

    #[must_use]
    pub fn max(self, other: Self) -> Self {
        Self(self.0.max(other.0))
    }

    /// Between `floor` and `ceiling`; the floor wins where they cross.
    #[must_use]
    pub fn within(self, floor: Self, ceiling: Self) -> Self {
        self.min(ceiling).max(floor)
    }

    /// The target `0xffff * 2^208 / difficulty`, rounded down (V1-38); everything at or above 2^256 becomes 2^256 - 1.
    pub fn to_target(self) -> Target {
        let (mantissa, exponent) = decompose(self.0);
        // target = 0xffff * 2^(208 - exponent) / mantissa, with 0xffff << 240 as the widest numerator that fits.
        let shift = 240i32 - (208 - exponent);
        let mut numerator = [0u8; 32];
        numerator[0] = 0xff;
        numerator[1] = 0xff;
        let (quotient, remainder) = divide(numerator, mantissa);
        if shift >= 0 {
            Target::from_be_bytes(shift_right(quotient, shift.unsigned_abs()))
        } else {
            shift_left(quotient, remainder, mantissa, shift.unsigned_abs())
                .map_or(Target::from_be_bytes([0xff; 32]), Target::from_be_bytes)
        }
    }

    /// The difficulty of a target; the inverse of [`Difficulty::to_target`] up to rounding.
    pub fn from_target(target: Target) -> Self {
        let value = target.to_be_bytes().iter().fold(0.0f64, |sum, byte| sum * 256.0 + f64::from(*byte));
        Self::saturating(65535.0 * 2f64.powi(208) / value)
    }

    /// The least difficulty whose target is not above `target` (M-14).
    pub fn at_most(target: Target) -> Self {
        let mut difficulty = Self::from_target(target);
        // Rounding is off by a few steps at most; at the ends of the range nothing more can be done.
        for _ in 0..8 {
            if difficulty.to_target() <= target {
                break;
            }
            difficulty = Self::saturating(difficulty.0.next_up());
        }
        difficulty
    }

    /// Expected hashes per share.
    pub fn hashes(self) -> f64 {
        self.0 * HASHES_PER_DIFFICULTY
    }
}

impl fmt::Debug for Difficulty {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Difficulty({})", self.0)
    }
}

/// Decimal without an exponent and without a trailing `.0`, as miners need it on the wire (V1-38).
impl fmt::Display for Difficulty {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

impl TryFrom<f64> for Difficulty {
    type Error = DifficultyError;

    fn try_from(value: f64) -> Result<Self, DifficultyError> {
        Self::new(value)
    }
}

impl From<Difficulty> for f64 {
    fn from(value: Difficulty) -> Self {
        value.0
    }
}

/// `value = mantissa * 2^exponent` with an odd or full 53-bit mantissa; `value` is positive and normal.
fn decompose(value: f64) -> (u64, i32) {
    let bits = value.to_bits();
    let exponent = i32::try_from((bits >> 52) & 0x7ff).unwrap_or(0) - 1075;
    ((bits & ((1 << 52) - 1)) | (1 << 52), exponent)
}

fn divide(numerator: [u8; 32], divisor: u64) -> ([u8; 32], u64) {
    let mut remainder = 0u128;
    let mut quotient = [0u8; 32];
    for (out, digits) in quotient.chunks_exact_mut(4).zip(numerator.chunks_exact(4)) {
        let digit = digits.iter().fold(0u128, |sum, byte| (sum << 8) | u128::from(*byte));
        let current = (remainder << 32) | digit;
        let part = u32::try_from(current / u128::from(divisor)).unwrap_or(u32::MAX);
        out.copy_from_slice(&part.to_be_bytes());
        remainder = current % u128::from(divisor);
    }
    (quotient, u64::try_from(remainder).unwrap_or(0))
}

fn shift_right(value: [u8; 32], bits: u32) -> [u8; 32] {
    let mut out = [0u8; 32];
    let (bytes, bits) = (usize::try_from(bits / 8).unwrap_or(32), bits % 8);
    for index in (bytes..32).rev() {
        let high = if index > bytes { u16::from(value[index - bytes - 1]) } else { 0 };
        let pair = (high << 8) | u16::from(value[index - bytes]);
        out[index] = u8::try_from((pair >> bits) & 0xff).unwrap_or(0);
    }
    out
}

/// Doubles quotient and remainder `bits` times; `None` on overflow.
fn shift_left(mut value: [u8; 32], remainder: u64, divisor: u64, bits: u32) -> Option<[u8; 32]> {
    let mut remainder = remainder;
    for _ in 0..bits {
        let doubled = u128::from(remainder) * 2;
        let mut carry = u8::from(doubled >= u128::from(divisor));
        remainder = u64::try_from(doubled % u128::from(divisor)).unwrap_or(0);
        for byte in value.iter_mut().rev() {
            let next = *byte >> 7;
            *byte = (*byte << 1) | carry;
            carry = next;
        }
        if carry != 0 {
            return None;
        }
    }
    Some(value)
}

/// Hashes per second.
#[derive(Clone, Copy, Debug, Default, PartialEq, PartialOrd, Serialize, Deserialize)]
pub struct Hashrate(pub f64);

impl Hashrate {
    /// `difficulty_sum` of accepted shares over `elapsed`.
    pub fn from_work(difficulty_sum: f64, elapsed: Duration) -> Self {
        let seconds = elapsed.as_secs_f64();
        Self(if seconds > 0.0 { difficulty_sum * HASHES_PER_DIFFICULTY / seconds } else { 0.0 })
    }
}

impl fmt::Display for Hashrate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const UNITS: [&str; 7] = ["H/s", "kH/s", "MH/s", "GH/s", "TH/s", "PH/s", "EH/s"];
        let mut value = self.0;
        let mut unit = UNITS[0];
        for next in &UNITS[1..] {
            if value < 1000.0 {
                break;
            }
            value /= 1000.0;
            unit = next;
        }
        write!(f, "{value:.2} {unit}")
    }
}

/// Bits of the block version that miners may roll (BIP320: `0x1fffe000`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct VersionMask(pub u32);

impl VersionMask {
    pub const NONE: Self = Self(0);
    pub const BIP320: Self = Self(0x1fff_e000);
    /// Bits 5 to 28 (BIP323), which SV2 miners may always roll (M-3).
    pub const BIP323: Self = Self(0x1fff_ffe0);

    /// Masked replace (V1-75): the mask's bits from `rolled`, the others from `version`.
    pub const fn replace(self, version: u32, rolled: u32) -> u32 {
        (version & !self.0) | (rolled & self.0)
    }

    /// Whether `bits` touches nothing outside the mask.
    pub const fn allows(self, bits: u32) -> bool {
        bits & !self.0 == 0
    }

    #[must_use]
    pub const fn intersect(self, other: Self) -> Self {
        Self(self.0 & other.0)
    }
}

/// Eight lower-case hex digits.
impl fmt::Display for VersionMask {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:08x}", self.0)
    }
}

#[cfg(test)]
mod tests;
