//! How long answers serve, and which go first.

use super::super::request::Request;
use super::super::url::UrlPrefix;
use super::*;
use crate::bindings::lookup as wit;

const SECOND: Duration = Duration::from_secs(1);

fn key(name: &str) -> Key {
    let url = format!("http://host/{name}");
    Request::check(wit::Request { url, body: None, content_type: String::new() }).unwrap().key()
}

fn answer(status: u16, bytes: usize) -> Kept {
    Kept { status, body: Arc::from(vec![b'x'; bytes]) }
}

fn grant() -> UrlGrant {
    let prefix = UrlPrefix::parse("http://host/").unwrap();
    UrlGrant { fresh: 10 * SECOND, stale: 100 * SECOND, negative: 5 * SECOND, ..UrlGrant::new(prefix) }
}

#[test]
fn an_answer_is_fresh_then_stale_then_gone() {
    let (mut cache, now) = (Cache::new(100, 1 << 20), Instant::now());
    cache.keep(key("a"), &answer(200, 1), &grant(), now);
    for (age, fresh, stale) in
        [(0, true, true), (9, true, true), (10, false, true), (99, false, true), (100, false, false)]
    {
        let at = now + age * SECOND;
        assert_eq!(cache.stale(key("a"), at).is_some(), stale, "after {age} s");
        assert_eq!(cache.fresh(key("a"), at).is_some(), fresh, "after {age} s");
    }
    assert_eq!((cache.entries(), cache.bytes()), (0, 0), "what will never do is not kept");
}

#[test]
fn a_no_is_short_lived_never_stands_in_and_takes_the_place_of_a_yes() {
    let (mut cache, now) = (Cache::new(100, 1 << 20), Instant::now());
    cache.keep(key("a"), &answer(200, 1), &grant(), now);
    cache.keep(key("a"), &answer(404, 1), &grant(), now + SECOND);
    assert_eq!(cache.fresh(key("a"), now + 5 * SECOND).unwrap().status, 404);
    assert_eq!(cache.fresh(key("a"), now + 6 * SECOND), None);
    assert_eq!(cache.stale(key("a"), now + 2 * SECOND), None, "who was removed stays out");
    cache.keep(key("a"), &answer(200, 1), &grant(), now + 7 * SECOND);
    assert_eq!(cache.fresh(key("a"), now + 8 * SECOND).unwrap().status, 200);
}

#[test]
fn come_back_later_is_not_kept_and_takes_nothing_away() {
    let (mut cache, now) = (Cache::new(100, 1 << 20), Instant::now());
    cache.keep(key("a"), &answer(200, 1), &grant(), now);
    for status in [408, 429] {
        cache.keep(key("a"), &answer(status, 1), &grant(), now + SECOND);
        cache.keep(key("b"), &answer(status, 1), &grant(), now);
    }
    assert_eq!(cache.fresh(key("a"), now + SECOND).unwrap().status, 200);
    assert_eq!(cache.fresh(key("b"), now), None);
}

#[test]
fn without_lifetimes_nothing_is_kept() {
    let (mut cache, now) = (Cache::new(100, 1 << 20), Instant::now());
    let never =
        UrlGrant { fresh: Duration::ZERO, stale: Duration::ZERO, negative: Duration::ZERO, ..grant() };
    cache.keep(key("a"), &answer(200, 1), &never, now);
    cache.keep(key("b"), &answer(404, 1), &never, now);
    assert_eq!((cache.entries(), cache.bytes()), (0, 0));
    let only_stale = UrlGrant { fresh: Duration::ZERO, ..grant() };
    cache.keep(key("a"), &answer(200, 1), &only_stale, now);
    assert_eq!(cache.fresh(key("a"), now), None);
    assert!(cache.stale(key("a"), now).is_some());
}

#[test]
fn the_least_recently_used_goes_first() {
    let (mut cache, now) = (Cache::new(4, 1 << 20), Instant::now());
    for name in ["a", "b", "c"] {
        cache.keep(key(name), &answer(200, 1), &grant(), now);
    }
    cache.fresh(key("a"), now).unwrap();
    cache.keep(key("d"), &answer(200, 1), &grant(), now);
    assert!(cache.fresh(key("b"), now).is_none());
    assert!(["a", "c", "d"].into_iter().all(|name| cache.fresh(key(name), now).is_some()));
}

#[test]
fn bytes_are_bounded_and_what_is_larger_is_not_kept() {
    let limit = 40_000;
    let (mut cache, now) = (Cache::new(1000, limit), Instant::now());
    for index in 0..100 {
        cache.keep(key(&index.to_string()), &answer(200, 5000), &grant(), now);
        assert!(cache.bytes() <= limit);
    }
    let kept = cache.entries();
    assert!((4..=8).contains(&kept), "{kept}");
    cache.keep(key("large"), &answer(200, limit), &grant(), now);
    assert_eq!(cache.entries(), kept);
    cache.keep(key("99"), &answer(200, 100), &grant(), now);
    assert_eq!(cache.entries(), kept, "an answer takes the place of the one before");
}

#[test]
fn names_that_are_made_up_push_nobody_out() {
    let (mut cache, now) = (Cache::new(40, 1 << 20), Instant::now());
    for index in 0..30 {
        cache.keep(key(&format!("miner{index}")), &answer(200, 1), &grant(), now);
    }
    for index in 0..1000 {
        cache.keep(key(&format!("nobody{index}")), &answer(404, 1), &grant(), now);
    }
    assert!((0..30).all(|index| cache.fresh(key(&format!("miner{index}")), now).is_some()));
    assert!(cache.entries() <= 40);
}
