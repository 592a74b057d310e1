//! What an auth policy may look up, as a whole.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use sluice_policy::lookup::{Header, LookupConfig, UrlGrant};

use super::{at_most, size, twice, value};
use crate::config::Lookup;
use crate::config::raw;
use crate::config::reader::{At, Notes};

pub(super) fn validate(raw: raw::Lookup, base: &Path, notes: &mut Notes<'_>) -> Option<Lookup> {
    let prefixes = raw.grants.iter().filter_map(|grant| grant.url.as_ref());
    twice(prefixes.map(|at| (at.value.to_string(), &at.place)), "grant", notes);
    let pair = raw.timeout_ms.as_ref().zip(raw.login_timeout_ms.as_ref());
    at_most(pair, "timeout_ms", &|millis: &u64| *millis, notes);
    let grants: Vec<Option<UrlGrant>> = raw.grants.into_iter().map(|raw| grant(raw, notes)).collect();
    let rules = LookupConfig {
        grants: grants.into_iter().collect::<Option<_>>()?,
        timeout: Duration::from_millis(value(raw.timeout_ms)?),
        login_timeout: Duration::from_millis(value(raw.login_timeout_ms)?),
        answer_bytes: size(raw.answer_kb)? << 10,
        concurrency: size(raw.concurrency)?,
        waiting: size(raw.waiting)?,
        cache_bytes: size(raw.cache_mb)? << 20,
        ..LookupConfig::default()
    };
    let authorities = raw.authorities.settled()?.map(|file| base.join(file));
    Some(Lookup { rules, authorities })
}

fn grant(raw: raw::Grant, notes: &mut Notes<'_>) -> Option<UrlGrant> {
    if raw.is_overloaded()
        && let Some(headers) = &raw.headers
    {
        notes.wrong(&headers.place, format!("has {} headers", headers.value.len()), "at most 32 are allowed");
    }
    check_names(raw.headers.as_ref(), notes);
    Some(UrlGrant {
        prefix: value(raw.url)?,
        headers: Arc::from(value(raw.headers)?),
        fresh: value(raw.fresh)?,
        stale: value(raw.stale)?,
        negative: value(raw.negative)?,
    })
}

/// A header's name in two ways of writing is one header.
fn check_names(headers: Option<&At<Vec<Header>>>, notes: &mut Notes<'_>) {
    let Some(At { value: headers, place }) = headers else { return };
    twice(headers.iter().map(|header| (header.name(), place)), "header", notes);
}
