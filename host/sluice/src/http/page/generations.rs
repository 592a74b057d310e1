//! What a policy may use and has used, what it last did wrong, and what served before it.

use std::fmt::Write;

use sluice_policy::GenerationStatus;

use super::{ago, escaped, grouped, hash};
use crate::http::PolicyInfo;
use sluice_core::units::Timestamp;

/// Generations before the present one that the page shows; the API has more.
const SHOWN: usize = 3;

/// Rows below the policy's own.
pub(super) fn rows(policy: &PolicyInfo, now: Timestamp) -> String {
    let mut text = escaped(&policy.budgets.to_string()).to_string();
    if policy.unavailable + policy.queue_full > 0 {
        let (backing_off, full) = (grouped(policy.unavailable), grouped(policy.queue_full));
        let _ =
            write!(text, "<br>default given: {backing_off} while backing off, {full} with the queue full");
    }
    if let Some(failure) = &policy.last_failure {
        let _ = write!(
            text,
            "<br>last failure {}, generation {}, {}: {}",
            ago(now, Timestamp(failure.at)),
            failure.generation,
            escaped(failure.cause.label()),
            escaped(&failure.why),
        );
        if let Some(said) = &failure.said {
            let _ = write!(text, "; it last said: {}", escaped(said));
        }
    }
    for one in policy.generations.iter().take(SHOWN + 1) {
        let _ = write!(text, "<br>{}", generation(one));
    }
    format!(r#"<tr class="budget"><td colspan="9">{text}</td></tr>"#)
}

fn generation(one: &GenerationStatus) -> String {
    let figures = &one.figures;
    let mut text = format!(
        "generation {} {}: {} calls, {} us at p99",
        one.generation,
        hash(&one.hash),
        grouped(figures.calls),
        grouped(figures.latency.p99_micros),
    );
    for (count, what) in [
        (figures.traps, "traps"),
        (figures.bad_answers, "bad answers"),
        (figures.internal, "errors"),
        (figures.bad_input, "refused inputs"),
        (figures.log_dropped, "log lines dropped"),
    ] {
        if count > 0 {
            let _ = write!(text, ", {} {what}", grouped(count));
        }
    }
    text
}
