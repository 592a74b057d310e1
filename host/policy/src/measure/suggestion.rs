//! Limits for one plugin, from what was measured of it: ten times what it took, so that only what goes wrong meets them.

use std::fmt::{self, Display, Formatter};
use std::time::Duration;

use serde::Serialize;
use sluice_core::policy::PolicyKind;

use super::{Asked, BATCH, Measured, Spread};
use crate::config::Limits;
use crate::instance::SETUP_FACTOR;

/// How far a limit is from what was measured.
const MARGIN: u64 = 10;
/// The same for memory, of which nobody has ten times as much to spare.
const MEMORY_MARGIN: u64 = 4;
/// A busy machine may take the processor away for so long.
const LEAST_DEADLINE_MS: u64 = 100;
const LONGEST_DEADLINE_MS: u64 = 60_000;
const LEAST_FUEL: u64 = 100_000;
const LEAST_MEMORY_MB: u64 = 16;
const LEAST_TABLE_ELEMENTS: u64 = 1000;
const LEAST_ANSWER_KB: u64 = 16;
/// The most accounts that a payout policy is asked about.
const ACCOUNTS: u64 = 100_000;
/// What a round of so many accounts takes in memory is not measured: bytes for each, enough in any language.
const BYTES_PER_ACCOUNT: u64 = 1024;

/// The table `[policy.KIND.limits]` for a plugin.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Suggestion {
    pub kind: PolicyKind,
    pub fuel: u64,
    pub fuel_per_item: u64,
    pub deadline_ms: u64,
    pub memory_mb: u64,
    pub table_elements: u64,
    pub answer_kb: u64,
}

/// What something takes without items, and for each of them.
#[derive(Clone, Copy)]
struct Line {
    base: u64,
    each: u64,
}

impl Line {
    /// Through the smallest and the largest question; no question lies above it.
    fn through(asked: &[Asked], of: impl Fn(&Asked) -> u64) -> Self {
        let items = |asked: &Asked| u64::try_from(asked.items).unwrap_or(u64::MAX);
        // Of several small questions the cheapest: so the line is rather too steep than too flat.
        let (Some(few), Some(many)) = (
            asked.iter().min_by_key(|asked| (asked.items, of(asked))),
            asked.iter().max_by_key(|asked| asked.items),
        ) else {
            return Self { base: 0, each: 0 };
        };
        let more = of(many).saturating_sub(of(few));
        let each = more.checked_div(items(many) - items(few)).unwrap_or(0);
        let above = |asked: &Asked| of(asked).saturating_sub(each.saturating_mul(items(asked)));
        Self { base: asked.iter().map(above).max().unwrap_or(0), each }
    }

    fn at(self, items: u64) -> u64 {
        self.base.saturating_add(self.each.saturating_mul(items))
    }
}

impl Measured {
    /// Limits with which only what goes wrong is stopped.
    pub fn suggestion(&self, kind: PolicyKind) -> Suggestion {
        let most = match kind {
            PolicyKind::Auth => 1,
            PolicyKind::Vardiff => u64::try_from(BATCH).unwrap_or(u64::MAX),
            PolicyKind::Payout => ACCOUNTS,
        };
        let fuel = Line::through(&self.questions, |asked| p99(&asked.fuel));
        let time = Line::through(&self.questions, |asked| p99(&asked.time_ns));
        let answer = Line::through(&self.questions, |asked| asked.answer);
        let rounds = if kind == PolicyKind::Payout { ACCOUNTS * BYTES_PER_ACCOUNT } else { 0 };
        // Getting ready may take so many times what a call may.
        let setup = u64::from(SETUP_FACTOR);
        let nanos = time.at(most).max(self.instantiate_ns.max / setup);
        let deadline_ms = beyond(nanos / 1_000_000, MARGIN, LEAST_DEADLINE_MS);
        Suggestion {
            kind,
            fuel: beyond(fuel.base.max(self.setup_fuel / setup), MARGIN, LEAST_FUEL),
            fuel_per_item: if kind == PolicyKind::Auth { 0 } else { beyond(fuel.each, MARGIN, 0) },
            deadline_ms: deadline_ms.min(LONGEST_DEADLINE_MS),
            memory_mb: beyond((self.memory * MEMORY_MARGIN + rounds).div_ceil(1 << 20), 1, LEAST_MEMORY_MB),
            table_elements: beyond(self.table_elements, MARGIN, LEAST_TABLE_ELEMENTS),
            answer_kb: beyond(answer.at(most).div_ceil(1 << 10), MARGIN, LEAST_ANSWER_KB),
        }
    }
}

fn p99(spread: &Spread) -> u64 {
    spread.p99
}

/// So many times as much, at least the least, in two digits.
fn beyond(value: u64, margin: u64, least: u64) -> u64 {
    let wanted = value.saturating_mul(margin).max(least);
    let mut step = 1;
    while wanted / step >= 100 {
        step *= 10;
    }
    wanted.div_ceil(step) * step
}

impl Suggestion {
    /// The same as limits, with the defaults of the kind for what is not measured.
    pub fn limits(&self) -> Limits {
        let narrow = |number: u64| usize::try_from(number).unwrap_or(usize::MAX);
        Limits {
            fuel: self.fuel,
            fuel_per_item: self.fuel_per_item,
            deadline: Duration::from_millis(self.deadline_ms),
            memory: narrow(self.memory_mb << 20),
            table_elements: narrow(self.table_elements),
            answer_bytes: narrow(self.answer_kb << 10),
            ..Limits::of(self.kind)
        }
    }
}

/// As it is written in the configuration.
impl Display for Suggestion {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        writeln!(f, "[policy.{}.limits]", self.kind)?;
        writeln!(f, "fuel = {}", self.fuel)?;
        if self.kind != PolicyKind::Auth {
            writeln!(f, "fuel_per_item = {}", self.fuel_per_item)?;
        }
        writeln!(f, "deadline_ms = {}", self.deadline_ms)?;
        writeln!(f, "memory_mb = {}", self.memory_mb)?;
        writeln!(f, "table_elements = {}", self.table_elements)?;
        writeln!(f, "answer_kb = {}", self.answer_kb)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(items: usize, fuel: u64) -> Asked {
        let spread = |p99| Spread { p99, ..Spread::default() };
        let (time_ns, fuel) = (spread(1_000_000), spread(fuel));
        Asked { question: "", items, calls: 1, first_ns: 0, time_ns, fuel, answer: 100 }
    }

    #[test]
    fn what_grows_with_the_items_is_told_from_what_does_not() {
        let questions = [asked(1, 5000), asked(1, 1100), asked(256, 26_600)];
        let line = Line::through(&questions, |asked| asked.fuel.p99);
        assert_eq!((line.base, line.each), (4900, 100));
        assert!(questions.iter().all(|one| line.at(one.items as u64) >= one.fuel.p99));
        let alone = Line::through(&questions[..1], |asked| asked.fuel.p99);
        assert_eq!((alone.base, alone.each), (5000, 0));
    }

    #[test]
    fn limits_have_two_digits_and_are_never_below_what_was_asked_for() {
        assert_eq!([beyond(1234, 10, 0), beyond(0, 10, 7), beyond(99, 1, 0)], [13_000, 7, 99]);
    }
}
