//! The three difficulties that a grant may wish for, as settings.

use crate::settings::Settings;

use super::Grant;

/// The least difficulty of the contract, 2^-32.
const DIFFICULTY_MIN: f64 = 1.0 / 4_294_967_296.0;
/// Far beyond any machine, and exact as a whole number in JSON readers.
const DIFFICULTY_MAX: f64 = 1e18;

/// `start-difficulty`, `minimum-difficulty` and `maximum-difficulty`, each optional and in order of size.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Limits {
    pub start: Option<f64>,
    pub minimum: Option<f64>,
    pub maximum: Option<f64>,
}

impl Limits {
    /// Takes them from a table; a start outside the bounds or bounds that cross are problems.
    pub fn take(settings: &mut Settings) -> Self {
        let range = DIFFICULTY_MIN..=DIFFICULTY_MAX;
        let limits = Self {
            start: settings.number("start-difficulty", range.clone()),
            minimum: settings.number("minimum-difficulty", range.clone()),
            maximum: settings.number("maximum-difficulty", range),
        };
        limits.check(settings);
        limits
    }

    fn check(self, settings: &mut Settings) {
        let above = |a: Option<f64>, b: Option<f64>| a.zip(b).is_some_and(|(a, b)| a > b);
        if above(self.minimum, self.maximum) {
            settings.problem("minimum-difficulty", "above maximum-difficulty");
        } else if above(self.minimum, self.start) {
            settings.problem("start-difficulty", "below minimum-difficulty");
        } else if above(self.start, self.maximum) {
            settings.problem("start-difficulty", "above maximum-difficulty");
        }
    }

    /// The grant with these wishes.
    #[must_use]
    pub fn on(self, grant: Grant) -> Grant {
        Grant {
            start_difficulty: self.start,
            minimum_difficulty: self.minimum,
            maximum_difficulty: self.maximum,
            ..grant
        }
    }
}

#[cfg(test)]
mod tests;
