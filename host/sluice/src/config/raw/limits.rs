//! The keys of `[policy.KIND.limits]`. The defaults are the policy host's own.

use std::ops::RangeInclusive;
use std::time::Duration;

use sluice_core::policy::PolicyKind;
use sluice_policy::Limits;

use crate::config::reader::Section;

/// Below the least no plugin gets through its start.
const FUEL: RangeInclusive<u64> = 10_000..=1_000_000_000_000;
const FUEL_PER_ITEM: RangeInclusive<u64> = 0..=1_000_000_000;
const DEADLINE_MS: RangeInclusive<u64> = 1..=60_000;
const MEMORY_MB: RangeInclusive<u64> = 1..=4096;
/// Every component has a table or two.
const TABLE_ELEMENTS: RangeInclusive<u64> = 100..=10_000_000;
const ANSWER_KB: RangeInclusive<u64> = 1..=1 << 20;
const LOG_LINES: RangeInclusive<u64> = 0..=10_000;

/// `None`: one of them is wrong.
pub(super) fn read(limits: &mut Section<'_, '_>, kind: PolicyKind) -> Option<Limits> {
    let usual = Limits::of(kind);
    let fuel = limits.integer("fuel", usual.fuel, FUEL);
    let fuel_per_item = if kind == PolicyKind::Auth {
        limits.misplaced(
            "fuel_per_item",
            "an auth policy is asked about one login at a time: `fuel` is allowed",
        );
        Some(usual.fuel_per_item)
    } else {
        limits.integer("fuel_per_item", usual.fuel_per_item, FUEL_PER_ITEM).map(|at| at.value)
    };
    let usual_ms = u64::try_from(usual.deadline.as_millis()).unwrap_or(u64::MAX);
    let deadline_ms = limits.integer("deadline_ms", usual_ms, DEADLINE_MS);
    let memory_mb = limits.integer("memory_mb", wide(usual.memory >> 20), MEMORY_MB);
    let table_elements = limits.integer("table_elements", wide(usual.table_elements), TABLE_ELEMENTS);
    let answer_kb = limits.integer("answer_kb", wide(usual.answer_bytes >> 10), ANSWER_KB);
    let log_lines = limits.integer("log_lines", usual.log_lines.into(), LOG_LINES);
    let per_second = limits.integer("log_lines_per_second", usual.log_lines_per_second.into(), LOG_LINES);
    Some(Limits {
        fuel: fuel?.value,
        fuel_per_item: fuel_per_item?,
        deadline: Duration::from_millis(deadline_ms?.value),
        memory: narrow(memory_mb?.value << 20),
        table_elements: narrow(table_elements?.value),
        answer_bytes: narrow(answer_kb?.value << 10),
        log_lines: u32::try_from(log_lines?.value).unwrap_or(u32::MAX),
        log_lines_per_second: u32::try_from(per_second?.value).unwrap_or(u32::MAX),
        queue: usual.queue,
    })
}

fn wide(number: usize) -> u64 {
    u64::try_from(number).unwrap_or(u64::MAX)
}

fn narrow(number: u64) -> usize {
    usize::try_from(number).unwrap_or(usize::MAX)
}
