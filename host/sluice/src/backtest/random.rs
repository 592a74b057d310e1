//! Numbers that look random and are the same for the same seed, on every machine and in every version. Not for secrets.
//!
//! xoshiro256++ (D. Blackman, S. Vigna, "Scrambled linear pseudorandom number generators", 2019), seeded by splitmix64.

use std::f64::consts::TAU;

/// A stream of numbers.
#[derive(Clone, Debug)]
pub(super) struct Random([u64; 4]);

impl Random {
    /// The stream `number` of `seed`; streams have nothing to do with each other.
    pub(super) fn new(seed: u64, number: u64) -> Self {
        let mut state = mix(seed).wrapping_add(mix(number ^ 0x5851_f42d_4c95_7f2d));
        Self(std::array::from_fn(|_| {
            state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
            mix(state)
        }))
    }

    fn next(&mut self) -> u64 {
        let [a, b, c, d] = &mut self.0;
        let result = a.wrapping_add(*d).rotate_left(23).wrapping_add(*a);
        let shifted = *b << 17;
        *c ^= *a;
        *d ^= *b;
        *b ^= *c;
        *a ^= *d;
        *c ^= shifted;
        *d = d.rotate_left(45);
        result
    }

    /// Evenly from 0 to below 1.
    pub(super) fn even(&mut self) -> f64 {
        (self.next() >> 11) as f64 / (1u64 << 53) as f64
    }

    /// The time to the next event of a Poisson process of rate 1.
    pub(super) fn waiting(&mut self) -> f64 {
        -(1.0 - self.even()).ln()
    }

    /// Of mean 0 and standard deviation 1.
    pub(super) fn normal(&mut self) -> f64 {
        (2.0 * self.waiting()).sqrt() * (TAU * self.even()).cos()
    }
}

/// The last step of splitmix64.
fn mix(mut z: u64) -> u64 {
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mean(count: u32, mut draw: impl FnMut() -> f64) -> f64 {
        (0..count).map(|_| draw()).sum::<f64>() / f64::from(count)
    }

    #[test]
    fn a_seed_is_a_stream_and_streams_differ() {
        let draw = |seed, number| {
            let mut random = Random::new(seed, number);
            [random.next(), random.next(), random.next()]
        };
        assert_eq!(draw(7, 1), draw(7, 1));
        assert_ne!(draw(7, 1), draw(7, 2));
        assert_ne!(draw(7, 1), draw(8, 1));
    }

    #[test]
    fn the_distributions_have_their_moments() {
        let mut random = Random::new(1, 0);
        let count = 200_000;
        assert!((mean(count, || random.even()) - 0.5).abs() < 0.01);
        assert!((mean(count, || random.waiting()) - 1.0).abs() < 0.02);
        assert!((mean(count, || random.waiting().powi(2)) - 2.0).abs() < 0.1);
        assert!(mean(count, || random.normal()).abs() < 0.02);
        assert!((mean(count, || random.normal().powi(2)) - 1.0).abs() < 0.03);
    }
}
