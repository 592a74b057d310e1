//! What a policy looks up.

use std::fmt::Write;

use sluice_policy::lookup::{LookupFault, LookupStatus};

use super::{escaped, grouped};

/// Granted URLs that the page shows; the API has all.
const SHOWN: usize = 5;

/// A row below the policy's own.
pub(super) fn rows(lookup: &LookupStatus) -> String {
    let mut text = format!(
        "lookups: {} requests, {} us each, {} answered from memory, {} with old answers; {} under way, {} logins wait",
        grouped(lookup.requests),
        grouped(lookup.latency.mean_nanos.div_ceil(1000)),
        grouped(lookup.fresh + lookup.joined),
        grouped(lookup.stale),
        grouped(lookup.in_flight),
        grouped(lookup.waiting),
    );
    let failures = LookupFault::ALL.map(|fault| (lookup.failures.of(fault), fault.label()));
    let others = [
        (lookup.denied, "denied"),
        (lookup.turned_away, "logins put off: too many waited"),
        (lookup.given_up, "logins put off: too long a wait"),
    ];
    for (count, what) in failures.into_iter().chain(others).filter(|(count, _)| *count > 0) {
        let _ = write!(text, ", {} {}", grouped(count), what.replace('_', " "));
    }
    for grant in lookup.grants.iter().take(SHOWN) {
        let failing = if grant.failing { ": fails now" } else { "" };
        let _ = write!(text, "<br>{}{failing}", escaped(&grant.url));
    }
    format!(r#"<tr class="lookup"><td colspan="9">{text}</td></tr>"#)
}
