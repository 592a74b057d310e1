//! How fast a channel works: an exponential moving average of difficulty per second, and its form in the memo.
//!
//! Work and time decay together and the estimate is their quotient, so it is unbiased from the first share on, and
//! holds across changes of difficulty. The decayed count of shares says how far it can be trusted.

/// What is remembered of a channel between two reviews.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Memo {
    pub estimate: Estimate,
    /// The suggestion that was last acted on; 0 for none.
    pub suggested: f64,
    /// When that was, in milliseconds since 1970.
    pub suggested_at: u64,
    /// Milliseconds without a share since the difficulty was last changed or halved.
    pub silent_ms: u64,
}

/// Numbers in a memo, of 8 bytes each.
const MEMO_FIELDS: usize = 6;
/// Size of a memo, in bytes.
pub const MEMO_BYTES: usize = MEMO_FIELDS * 8;

impl Memo {
    /// Nonsense reads as nothing known: the memo comes from the host, and may be of another version's making.
    pub fn read(bytes: &[u8]) -> Self {
        let mut words = [0u64; MEMO_FIELDS];
        if bytes.len() != MEMO_BYTES {
            return Self::default();
        }
        for (word, chunk) in words.iter_mut().zip(bytes.chunks_exact(8)) {
            *word = chunk.iter().rev().fold(0, |sum, byte| (sum << 8) | u64::from(*byte));
        }
        let [work, seconds, shares, suggested, suggested_at, silent_ms] = words;
        let [work, seconds, shares, suggested] = [work, seconds, shares, suggested].map(f64::from_bits);
        let sound = [work, seconds, shares, suggested].iter().all(|n| n.is_finite() && *n >= 0.0);
        let estimate = Estimate { work, seconds, shares };
        if sound { Self { estimate, suggested, suggested_at, silent_ms } } else { Self::default() }
    }

    pub fn write(&self) -> Vec<u8> {
        let Estimate { work, seconds, shares } = self.estimate;
        let floats = [work, seconds, shares, self.suggested].map(f64::to_bits);
        let words = floats.into_iter().chain([self.suggested_at, self.silent_ms]);
        words.flat_map(u64::to_le_bytes).collect()
    }
}

/// Decayed sums of what was seen.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Estimate {
    /// Sum of difficulties.
    work: f64,
    seconds: f64,
    shares: f64,
}

/// Shares in a stretch of time.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Stretch {
    pub seconds: f64,
    pub shares: f64,
    /// Sum of difficulties.
    pub work: f64,
}

/// How unlikely a stretch must be under the estimate until the estimate is thrown away: the deviance of a Poisson
/// count, 16 for four standard deviations.
const JUMP_DEVIANCE: f64 = 16.0;

impl Estimate {
    /// Adds a stretch; what is older fades with the time constant `window` in seconds. A machine that was switched to
    /// another speed does not fade in: a stretch that the estimate cannot explain replaces it.
    #[must_use]
    pub fn with(self, stretch: Stretch, window: f64) -> Self {
        let old = if self.is_contradicted_by(stretch) { Self::default() } else { self };
        let keep = (-stretch.seconds / window).exp();
        Self {
            work: old.work * keep + stretch.work,
            seconds: old.seconds * keep + stretch.seconds,
            shares: old.shares * keep + stretch.shares,
        }
    }

    /// Difficulty per second; `None` while nothing was seen.
    pub fn speed(self) -> Option<f64> {
        (self.shares > 0.0 && self.seconds > 0.0).then(|| self.work / self.seconds)
    }

    /// Relative standard deviation of the speed: shares come as a Poisson process.
    pub fn doubt(self) -> f64 {
        if self.shares > 0.0 { 1.0 / self.shares.sqrt() } else { f64::INFINITY }
    }

    fn is_contradicted_by(self, stretch: Stretch) -> bool {
        let Some(speed) = self.speed() else { return false };
        if stretch.shares <= 0.0 {
            // Silence is answered by halving, not by an estimate.
            return false;
        }
        let expected = speed * stretch.seconds * stretch.shares / stretch.work;
        let deviance =
            2.0 * (stretch.shares * (stretch.shares / expected).ln() - (stretch.shares - expected));
        // The estimate's own doubt widens what it can explain.
        deviance > JUMP_DEVIANCE * (1.0 + expected / self.shares)
    }
}

#[cfg(test)]
mod tests;
