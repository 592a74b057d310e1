//! What is compared with a policy.

use std::fmt::Write;

use super::{escaped, grouped, hash, pill};
use crate::http::ShadowInfo;

/// Differences that the page shows; the API has more.
const SHOWN: usize = 3;

/// Rows below the policy's own.
pub(super) fn rows(shadow: &ShadowInfo) -> String {
    let mut text = format!(
        "shadow {} {} {} {} {}: {} of {} agree, {} differ, {} failed, {} traps, {} dropped, {} skipped, {} us a call",
        escaped(&shadow.name),
        escaped(&shadow.version),
        escaped(&shadow.file),
        hash(&shadow.hash),
        pill(&shadow.state),
        grouped(shadow.agreed),
        grouped(shadow.compared),
        grouped(shadow.differed),
        grouped(shadow.failed),
        grouped(shadow.traps),
        grouped(shadow.dropped),
        grouped(shadow.skipped),
        grouped(shadow.call_mean_nanos.div_ceil(1000)),
    );
    if let Some(error) = &shadow.error {
        let _ = write!(text, "<br>its file is refused: {}", escaped(error));
    }
    for example in shadow.examples.iter().take(SHOWN) {
        let (input, live, other) = (&example.input, &example.live, &example.shadow);
        let _ = write!(text, "<br>{}: {} | shadow: {}", escaped(input), escaped(live), escaped(other));
    }
    format!(r#"<tr class="shadow"><td colspan="9">{text}</td></tr>"#)
}
