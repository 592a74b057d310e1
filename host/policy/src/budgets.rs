//! What a call may use, and what one has used: for the page, the API and the console.

use std::fmt::{self, Display, Formatter};

use serde::{Deserialize, Serialize};

use crate::config::Limits;
use crate::counters::Figures;

/// The most that the generation that serves used of something, and what it may use.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Budget {
    pub used: u64,
    pub limit: u64,
}

/// What one call may use, beside the most that one used.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Budgets {
    /// The limit is that of a call without items.
    pub fuel: Budget,
    /// What each item of a batch adds to the limit.
    pub fuel_per_item: u64,
    pub micros: Budget,
    /// Of all linear memories of an instance.
    pub memory_bytes: Budget,
    pub table_elements: Budget,
    pub answer_bytes: Budget,
    /// Of a call; further ones are dropped.
    pub log_lines: u64,
    /// Of all instances together.
    pub log_lines_per_second: u64,
    /// Questions that wait now, and how many may.
    pub queue: Budget,
}

impl Budgets {
    pub(crate) fn of(limits: &Limits, figures: Option<&Figures>, waiting: usize) -> Self {
        let wide = |number: usize| u64::try_from(number).unwrap_or(u64::MAX);
        let used = |figure: fn(&Figures) -> u64| figures.map_or(0, figure);
        let micros = u64::try_from(limits.deadline.as_micros()).unwrap_or(u64::MAX);
        let memory = Budget { used: used(|all| all.memory_peak), limit: wide(limits.memory) };
        Self {
            fuel: Budget { used: used(|all| all.fuel_peak), limit: limits.fuel },
            fuel_per_item: limits.fuel_per_item,
            micros: Budget { used: used(|all| all.latency.max_micros), limit: micros },
            memory_bytes: memory,
            table_elements: Budget { used: used(|all| all.table_peak), limit: wide(limits.table_elements) },
            answer_bytes: Budget { used: used(|all| all.answer_peak), limit: wide(limits.answer_bytes) },
            log_lines: limits.log_lines.into(),
            log_lines_per_second: limits.log_lines_per_second.into(),
            queue: Budget { used: wide(waiting), limit: wide(limits.queue) },
        }
    }
}

impl Display for Budgets {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(f, "fuel {}", self.fuel.shown(FUEL))?;
        if self.fuel_per_item > 0 {
            write!(f, " and {} an item", Amount(self.fuel_per_item, FUEL))?;
        }
        write!(f, ", time {}", self.micros.shown(TIME))?;
        write!(f, ", memory {}", self.memory_bytes.shown(BYTES))?;
        write!(f, ", tables {}", self.table_elements.shown(COUNT))?;
        write!(f, ", answer {}", self.answer_bytes.shown(BYTES))?;
        write!(f, ", waiting {}", self.queue.shown(COUNT))
    }
}

impl Budget {
    fn shown(self, scale: Scale) -> String {
        format!("{} of {}", Amount(self.used, scale), Amount(self.limit, scale))
    }
}

/// Units, each so many times the one before.
type Scale = &'static [(u64, &'static str)];

const COUNT: Scale = &[(1, "")];
const FUEL: Scale = &[(1, ""), (1000, " k"), (1000, " M")];
const BYTES: Scale = &[(1, " B"), (1024, " KiB"), (1024, " MiB")];
/// Of microseconds.
const TIME: Scale = &[(1, " us"), (1000, " ms")];

/// A number in the largest unit that leaves something before the point.
struct Amount(u64, Scale);

impl Display for Amount {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let Self(number, scale) = *self;
        let (mut size, mut unit) = (1, "");
        for (times, name) in scale {
            if number < size * times && *times > 1 {
                break;
            }
            (size, unit) = (size * times, name);
        }
        let tenths = if number < 100 * size && size > 1 { number * 10 / size % 10 } else { 0 };
        f.write_str(&grouped(number / size))?;
        if tenths > 0 {
            write!(f, ".{tenths}")?;
        }
        f.write_str(unit)
    }
}

/// With a comma between groups of three digits.
fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut out = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn what_was_used_stands_beside_what_may_be() {
        let limits = Limits { deadline: Duration::from_millis(2000), ..Limits::default() };
        let figures = Figures {
            fuel_peak: 1_234_567,
            memory_peak: 3 << 20 | 200 << 10,
            table_peak: 41,
            answer_peak: 2100,
            ..Figures::default()
        };
        let budgets = Budgets::of(&limits, Some(&figures), 3);
        assert_eq!(
            budgets.to_string(),
            "fuel 1.2 M of 2,000 M and 2 M an item, time 0 us of 2,000 ms, memory 3.1 MiB of 256 MiB, tables 41 of \
             200,000, answer 2 KiB of 1 MiB, waiting 3 of 1,024"
        );
    }

    #[test]
    fn nothing_is_rounded_to_nothing() {
        let shown = |number, scale| Amount(number, scale).to_string();
        assert_eq!([shown(0, FUEL), shown(999, FUEL), shown(1000, FUEL)], ["0", "999", "1 k"]);
        assert_eq!([shown(1023, BYTES), shown(1536, BYTES), shown(7, TIME)], ["1,023 B", "1.5 KiB", "7 us"]);
        assert_eq!(shown(u64::MAX, FUEL), "18,446,744,073,709 M");
    }
}
