//! What an auth policy may look up.

use std::path::Path;
use std::time::Duration;

use sluice_policy::lookup::{LookupConfig, UrlGrant};

use super::{SIMULATED, check, good, problems};

const GRANT: &str = "[[policy.auth.lookup]]\nurl = \"https://accounts.example/v1/\"\n";

#[test]
fn nothing_is_granted_by_default() {
    let lookup = good(SIMULATED).policy.lookup;
    assert_eq!((lookup.rules, lookup.authorities), (LookupConfig::default(), None));
}

#[test]
fn a_grant_is_a_url_with_headers_and_lifetimes() {
    let lookup = good(&format!(
        "{SIMULATED}{GRANT}headers = {{ Authorization = \"Bearer key\" }}\nfresh_s = 0\nstale_s = 5\n\
         [[policy.auth.lookup]]\nurl = \"http://127.0.0.1:8000\"\nnegative_s = 0\n\
         [policy.auth.lookup_limits]\ntimeout_ms = 500\nlogin_timeout_ms = 500\nanswer_kb = 1\nconcurrency = 8\n\
         waiting = 2\ncache_mb = 1\nauthorities = \"ca.pem\"\n"
    ))
    .policy
    .lookup;
    let [first, second] = &lookup.rules.grants[..] else { panic!("{lookup:?}") };
    assert_eq!(first.prefix.to_string(), "https://accounts.example/v1/");
    assert_eq!((first.fresh, first.stale), (Duration::ZERO, Duration::from_secs(5)));
    assert_eq!((first.headers[0].name(), first.headers[0].value()), ("authorization", "Bearer key"));
    assert_eq!(second.prefix.to_string(), "http://127.0.0.1:8000/");
    assert_eq!((second.fresh, second.negative), (UrlGrant::FRESH, Duration::ZERO));
    let rules = &lookup.rules;
    assert_eq!(
        (rules.timeout, rules.login_timeout),
        (Duration::from_millis(500), Duration::from_millis(500))
    );
    assert_eq!((rules.answer_bytes, rules.concurrency, rules.waiting), (1024, 8, 2));
    assert_eq!(rules.cache_bytes, 1 << 20);
    assert_eq!(lookup.authorities.as_deref(), Some(Path::new("etc/ca.pem")));
}

#[test]
fn headers_never_show() {
    let text = format!("{SIMULATED}{GRANT}headers = {{ X-Key = \"hunter2\" }}\n");
    let shown = format!("{:?}", good(&text));
    assert!(shown.contains("x-key") && !shown.contains("hunter2"), "{shown}");
    for wrong in
        ["\"X Key\" = \"hunter2\"", "Host = \"hunter2\"", "X-Key = \"hunter2\\n\"", "X-Key = [\"hunter2\"]"]
    {
        let found = problems(&format!("{SIMULATED}{GRANT}headers = {{ {wrong} }}\n"));
        assert!(found.len() == 1 && found[0].contains("policy.auth.lookup[0].headers"), "{wrong}: {found:?}");
        assert!(!found[0].contains("hunter2"), "{found:?}");
    }
}

#[test]
fn a_wrong_url_is_named_and_what_may_be_a_password_is_not_shown() {
    for (url, said) in [
        ("accounts.example/v1", "begins with http:// or https://"),
        ("ftp://accounts.example/", "begins with http:// or https://"),
        ("https://user:hunter2@accounts.example/", "no user and no password"),
        ("https://accounts.example:0/", "port"),
        ("https://accounts.example/a/../b", "'.' or '..'"),
        ("https://accounts.example/%2e%2e/b", "'.' or '..'"),
        ("https://accounts.example/?a=b", "no query"),
        ("https://accounts.example/#a", "no fragment"),
        ("https:///v1/", "host"),
    ] {
        let found = problems(&format!("{SIMULATED}[[policy.auth.lookup]]\nurl = \"{url}\"\n"));
        let begins = "pool.toml:7:7: policy.auth.lookup[0].url: is wrong: ";
        assert!(
            found.len() == 1 && found[0].starts_with(begins) && found[0].contains(said),
            "{url}: {found:?}"
        );
        assert!(!found[0].contains("hunter2"), "{found:?}");
    }
}

#[test]
fn what_is_wrong_is_named_with_its_place() {
    let at = |line: usize, rest: &str| format!("pool.toml:{line}:{rest}");
    check(
        "[[policy.auth.lookup]]\nfresh_s = 1\n",
        &at(
            6,
            "1: policy.auth.lookup[0].url: is missing; the beginning of the URLs that may be asked, such as \
                \"https://accounts.example/v1/\", is required",
        ),
    );
    check(
        &format!("{GRANT}{GRANT}"),
        &at(9, "7: policy.auth.lookup[1].url: is the same as that of an earlier grant; each once is allowed"),
    );
    // Another way of writing it.
    check(
        &format!("{GRANT}[[policy.auth.lookup]]\nurl = \"HTTPS://Accounts.Example:443/v1/\"\n"),
        &at(9, "7: policy.auth.lookup[1].url: is the same as that of an earlier grant; each once is allowed"),
    );
    check(
        &format!("{GRANT}headers = {{ A = \"x\", a = \"y\" }}\n"),
        &at(
            8,
            "11: policy.auth.lookup[0].headers: is the same as that of an earlier header; each once is allowed",
        ),
    );
    check(
        &format!("{GRANT}frehs_s = 1\n"),
        &at(
            8,
            "1: policy.auth.lookup[0].frehs_s: is an unknown key, did you mean `fresh_s`?; allowed here: url, \
                headers, fresh_s, stale_s, negative_s",
        ),
    );
    for key in ["timeout_ms", "answer_kb", "concurrency", "waiting", "cache_mb"] {
        let found = problems(&format!("{SIMULATED}[policy.auth.lookup_limits]\n{key} = 0\n"));
        let begins =
            format!("pool.toml:7:{}: policy.auth.lookup_limits.{key}: 0 is out of range", key.len() + 4);
        assert!(found.len() == 1 && found[0].starts_with(&begins), "{found:?}");
    }
    check(
        "[policy.auth.lookup_limits]\ntimeout_ms = 20000\n",
        &at(
            6,
            "1: policy.auth.lookup_limits.login_timeout_ms: is 10000, below timeout_ms = 20000; at least that is \
                allowed (raise this or lower timeout_ms)",
        ),
    );
}

#[test]
fn only_an_auth_policy_looks_things_up() {
    for kind in ["vardiff", "payout"] {
        check(
            &format!("[[policy.{kind}.lookup]]\nurl = \"https://accounts.example/\"\n"),
            &format!(
                "pool.toml:6:1: policy.{kind}.lookup: has no meaning here; only an auth policy may look something up: \
                 policy.auth has this key"
            ),
        );
    }
}
