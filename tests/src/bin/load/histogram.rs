//! Latencies in buckets that are a sixteenth of their value wide.

use std::time::Duration;

const SUB_BITS: u32 = 4;
const SUBS: usize = 1 << SUB_BITS;
const BUCKETS: usize = (64 - SUB_BITS as usize + 1) * SUBS;

#[derive(Clone, Debug)]
pub(crate) struct Histogram {
    counts: Box<[u64]>,
    total: u64,
    max: u64,
}

impl Default for Histogram {
    fn default() -> Self {
        Self { counts: vec![0; BUCKETS].into(), total: 0, max: 0 }
    }
}

impl Histogram {
    /// Notes `count` events that took `nanos` each.
    pub(crate) fn record(&mut self, nanos: u64, count: u64) {
        self.counts[bucket(nanos)] += count;
        self.total += count;
        self.max = self.max.max(nanos);
    }

    /// What `part` (0 to 1) of the events took at most; exact to a sixteenth.
    pub(crate) fn quantile(&self, part: f64) -> Duration {
        let rank = (self.total as f64 * part).ceil() as u64;
        let mut seen = 0;
        for (index, count) in self.counts.iter().enumerate() {
            seen += count;
            if seen >= rank && *count > 0 {
                return Duration::from_nanos(upper(index).min(self.max));
            }
        }
        self.max()
    }

    pub(crate) fn max(&self) -> Duration {
        Duration::from_nanos(self.max)
    }
}

fn bucket(value: u64) -> usize {
    let Some(exponent) = value.checked_ilog2().filter(|exponent| *exponent >= SUB_BITS) else {
        return value as usize;
    };
    let shift = exponent - SUB_BITS;
    (shift as usize + 1) * SUBS + ((value >> shift) as usize & (SUBS - 1))
}

/// The largest value of a bucket.
fn upper(index: usize) -> u64 {
    let (row, sub) = (index / SUBS, (index % SUBS) as u64);
    match row.checked_sub(1) {
        None => sub,
        Some(shift) => ((SUBS as u64 + sub + 1) << shift).wrapping_sub(1),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_value_lies_in_its_bucket() {
        let mut last = 0;
        for value in (0..2000).chain([1 << 20, (1 << 20) + 1, u64::MAX / 3, u64::MAX]) {
            let index = bucket(value);
            assert!(index >= last && upper(index) >= value, "{value}");
            assert!(index == 0 || upper(index - 1) < value, "{value}");
            last = index;
        }
    }

    #[test]
    fn quantiles_of_a_known_distribution() {
        let mut histogram = Histogram::default();
        (1..=1000).for_each(|micros| histogram.record(micros * 1000, 1));
        let near = |found: Duration, micros: f64| (found.as_secs_f64() * 1e6 / micros - 1.0).abs() < 0.07;
        assert!(near(histogram.quantile(0.5), 500.0));
        assert!(near(histogram.quantile(0.99), 990.0));
        assert_eq!(histogram.max(), Duration::from_micros(1000));
    }
}
