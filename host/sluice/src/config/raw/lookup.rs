//! The keys of `[[policy.auth.lookup]]` and `[policy.auth.lookup_limits]`.

use std::time::Duration;

use sluice_policy::lookup::{Header, LookupConfig, UrlGrant, UrlPrefix};

use super::{DAY_S, path};
use crate::config::reader::{At, Given, Section};

/// More services than this are never asked about one login.
const GRANT_LIMIT: usize = 64;
/// Headers of a grant.
const HEADER_LIMIT: usize = 32;

pub(in crate::config) struct Lookup {
    pub(in crate::config) grants: Vec<Grant>,
    pub(in crate::config) timeout_ms: Option<At<u64>>,
    pub(in crate::config) login_timeout_ms: Option<At<u64>>,
    pub(in crate::config) answer_kb: Option<At<u64>>,
    pub(in crate::config) concurrency: Option<At<u64>>,
    pub(in crate::config) waiting: Option<At<u64>>,
    pub(in crate::config) cache_mb: Option<At<u64>>,
    pub(in crate::config) authorities: Given<String>,
}

pub(in crate::config) struct Grant {
    pub(in crate::config) url: Option<At<UrlPrefix>>,
    pub(in crate::config) headers: Option<At<Vec<Header>>>,
    pub(in crate::config) fresh: Option<At<Duration>>,
    pub(in crate::config) stale: Option<At<Duration>>,
    pub(in crate::config) negative: Option<At<Duration>>,
}

/// From the table `[policy.auth]`.
pub(super) fn read(auth: &mut Section<'_, '_>) -> Lookup {
    let grants = auth.sections("lookup", GRANT_LIMIT, grant);
    auth.section("lookup_limits", |limits| {
        let usual = LookupConfig::default();
        let (kb, mb) = (usual.answer_bytes >> 10, usual.cache_bytes >> 20);
        Lookup {
            grants,
            timeout_ms: limits.integer("timeout_ms", millis(usual.timeout), 10..=60_000),
            login_timeout_ms: limits.integer("login_timeout_ms", millis(usual.login_timeout), 10..=300_000),
            answer_kb: limits.integer("answer_kb", count(kb), 1..=512),
            concurrency: limits.integer("concurrency", count(usual.concurrency), 1..=1024),
            waiting: limits.integer("waiting", count(usual.waiting), 1..=65_536),
            cache_mb: limits.integer("cache_mb", count(mb), 1..=4096),
            authorities: limits.optional("authorities", "the path of a PEM file", path),
        }
    })
}

fn grant(grant: &mut Section<'_, '_>) -> Grant {
    let url = "the beginning of the URLs that may be asked, such as \"https://accounts.example/v1/\",";
    let headers = "a table of at most 32 headers";
    Grant {
        url: grant.required("url", url, |text| {
            UrlPrefix::parse(text).map_err(|wrong| format!("is wrong: {wrong}"))
        }),
        headers: grant.secrets("headers", headers, |name, value| {
            Header::new(name, value).map_err(|wrong| format!("is wrong: {wrong}"))
        }),
        fresh: grant.seconds("fresh_s", UrlGrant::FRESH.as_secs(), 0..=30 * DAY_S),
        stale: grant.seconds("stale_s", UrlGrant::STALE.as_secs(), 0..=30 * DAY_S),
        negative: grant.seconds("negative_s", UrlGrant::NEGATIVE.as_secs(), 0..=DAY_S),
    }
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

fn count(number: usize) -> u64 {
    u64::try_from(number).unwrap_or(u64::MAX)
}

impl Grant {
    /// Whether it has more headers than a request can carry.
    pub(in crate::config) fn is_overloaded(&self) -> bool {
        self.headers.as_ref().is_some_and(|headers| headers.value.len() > HEADER_LIMIT)
    }
}
