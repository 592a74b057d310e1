//! What is no URL, and what no grant covers.

use proptest::prelude::*;

use super::*;

fn url(text: &str) -> Url {
    Url::parse(text).unwrap_or_else(|why| panic!("{text}: {why}"))
}

fn prefix(text: &str) -> UrlPrefix {
    UrlPrefix::parse(text).unwrap_or_else(|why| panic!("{text}: {why}"))
}

#[test]
fn scheme_host_and_port_are_read_as_everybody_reads_them() {
    for (text, same) in [
        ("https://accounts.example", "https://accounts.example/"),
        ("HTTPS://Accounts.EXAMPLE:443/v1", "https://accounts.example/v1"),
        ("http://127.0.0.1:8080/a?b=/../c", "http://127.0.0.1:8080/a?b=/../c"),
        ("http://[0:0::1]:80/", "http://[::1]/"),
        ("http://host?x=1", "http://host/?x=1"),
        ("http://host:80", "http://host/"),
        ("https://host:80/", "https://host:80/"),
        ("http://host/users/a%20b%2Fc", "http://host/users/a%20b%2Fc"),
    ] {
        assert_eq!(url(text).to_string(), same);
    }
    let parts = url("https://[2001:db8::7]:8443/v1/users?name=a");
    assert_eq!((parts.scheme(), parts.host(), parts.port()), (Scheme::Https, "2001:db8::7", 8443));
    assert_eq!((parts.host_header().as_str(), parts.target()), ("[2001:db8::7]:8443", "/v1/users?name=a"));
}

#[test]
fn what_is_unusual_is_refused() {
    for (text, why) in [
        ("", UrlError::Scheme),
        ("accounts.example/v1", UrlError::Scheme),
        ("//accounts.example/", UrlError::Scheme),
        ("ftp://host/", UrlError::Scheme),
        ("file:///etc/passwd", UrlError::Scheme),
        ("http:/host/", UrlError::Scheme),
        ("http://", UrlError::Host),
        ("http:///path", UrlError::Host),
        ("http://:80/", UrlError::Host),
        ("http://user@host/", UrlError::User),
        ("http://user:secret@host/", UrlError::User),
        ("http://granted.example@evil.example/", UrlError::User),
        ("http://host%2eexample/", UrlError::Host),
        ("http://ho,st/", UrlError::Host),
        ("http://[::1/", UrlError::Port),
        ("http://[fe80::1%25eth0]/", UrlError::Host),
        ("http://[::1]x/", UrlError::Host),
        ("http://host:/", UrlError::Port),
        ("http://host:0/", UrlError::Port),
        ("http://host:080/", UrlError::Port),
        ("http://host:+80/", UrlError::Port),
        ("http://host:65536/", UrlError::Port),
        ("http://host:80:80/", UrlError::Port),
        ("http://host/#top", UrlError::Fragment),
        ("http://host/a b", UrlError::Character(' ')),
        ("http://host\\@evil/", UrlError::Character('\\')),
        ("http://host/a\\..\\b", UrlError::Character('\\')),
        ("http://host/\r\nX: y", UrlError::Character('\r')),
        ("http://host/\u{e9}", UrlError::Character('\u{e9}')),
        ("http://host/{name}", UrlError::Character('{')),
        ("http://host/%", UrlError::Percent),
        ("http://host/%2", UrlError::Percent),
        ("http://host/%zz", UrlError::Percent),
        ("http://host/?q=%g0", UrlError::Percent),
        ("http://host/%2525252525252541", UrlError::Layers),
    ] {
        assert_eq!(Url::parse(text).err(), Some(why), "{text:?}");
    }
    let long = format!("http://host/{}", "x".repeat(URL_LIMIT));
    assert_eq!(Url::parse(&long).err(), Some(UrlError::Long(long.len())));
    assert_eq!(UrlPrefix::parse("http://host/?user=").err(), Some(UrlError::Query));
}

#[test]
fn no_way_up_however_it_is_written() {
    for path in [
        "/v1/../admin",
        "/v1/..",
        "/..",
        "/./v1",
        "/v1/.",
        "/v1/%2e%2e/admin",
        "/v1/%2E%2e/admin",
        "/v1/.%2e/admin",
        "/v1/%2e/admin",
        "/v1/%252e%252e/admin",
        "/v1/%25252e%25252e/admin",
        "/v1/..%2fadmin",
        "/v1/..%5cadmin",
        "/v1/a%2f..%2f..%2fadmin",
        "/v1/a%252f..%252fadmin",
        "/v1/a%5c%2e%2e%5cadmin",
        "/v1/..;/admin",
        "/v1/..;a=b/admin",
        "/v1/%2e%2e%3bx/admin",
        "/v1/.;/admin",
        "/v1/..%3fx/admin",
        "/v1/..%23/admin",
        "/v1/..%00/admin",
        "/v1/..%20/admin",
        "/v1/%20../admin",
        "/v1/..%09%3b/admin",
        "/v1/..%2500/admin",
        "/v1/..%7f",
    ] {
        assert_eq!(Url::parse(&format!("http://host{path}")).err(), Some(UrlError::Dots), "{path}");
    }
    for path in ["/v1/...", "/v1/a..b", "/v1/..a", "/v1/.well-known", "/v1/a%2fb", "/v1/a;..", "/v1/?a=/../"]
    {
        url(&format!("http://host{path}"));
    }
}

#[test]
fn a_grant_covers_whole_segments_of_the_same_place() {
    let granted = prefix("https://accounts.example/v1/users");
    for covered in [
        "https://accounts.example/v1/users",
        "https://accounts.example/v1/users/alice",
        "https://accounts.example/v1/users?name=alice",
        "https://ACCOUNTS.example:443/v1/users/",
    ] {
        assert!(granted.covers(&url(covered)), "{covered}");
    }
    for other in [
        "https://accounts.example/v1/usersx",
        "https://accounts.example/v1/users%2Falice",
        "https://accounts.example/v1/Users/alice",
        "https://accounts.example/v1/",
        "https://accounts.example/x/v1/users/alice",
        "https://accounts.example//v1/users/alice",
        "https://accounts.example/?/v1/users/alice",
        "http://accounts.example/v1/users/alice",
        "https://accounts.example:8443/v1/users/alice",
        "https://accounts.example.evil.example/v1/users/alice",
        "https://evil.example/accounts.example/v1/users/alice",
        "https://accounts.example./v1/users/alice",
        "https://xaccounts.example/v1/users/alice",
    ] {
        assert!(!granted.covers(&url(other)), "{other}");
    }
    let open = prefix("https://accounts.example/v1/users/");
    assert!(open.covers(&url("https://accounts.example/v1/users/alice")));
    assert!(!open.covers(&url("https://accounts.example/v1/users")));
    assert!(prefix("http://host").covers(&url("http://host/anything")));
}

#[test]
fn the_log_shows_neither_users_nor_queries() {
    for (text, log) in [
        ("https://host/users?name=alice&password=x@y", "https://host/users"),
        ("https://host/users/a@b", "https://host/users/a@b"),
        ("http://user:secret@host/a@b", "http://host/a@b"),
        ("http://u:se?cret@host/", "http://host/"),
        ("http://host#secret", "http://host"),
        ("no url ?secret", "no url "),
    ] {
        assert_eq!(shown(text), log);
    }
    assert_eq!(shown(&format!("http://host/{}", "x".repeat(5000))).len(), SHOWN_LIMIT);
}

/// Pieces that attacks are made of.
fn piece() -> impl Strategy<Value = String> {
    prop_oneof![
        "[a-z]{1,3}",
        Just("/".to_owned()),
        Just("..".to_owned()),
        Just(".".to_owned()),
        Just("%2e".to_owned()),
        Just("%2F".to_owned()),
        Just("%5c".to_owned()),
        Just("%25".to_owned()),
        Just(";".to_owned()),
        Just("%00".to_owned()),
        Just("%20".to_owned()),
        Just("%3f".to_owned()),
        Just("%23".to_owned()),
        Just("@".to_owned()),
        Just(":".to_owned()),
        Just("?".to_owned()),
        Just("%".to_owned()),
        Just("\\".to_owned()),
    ]
}

/// What a service makes of a path: decoded as often as it can be, `\` as `/`, everything behind a name cut off, dots
/// followed.
fn understood(path: &str) -> Vec<String> {
    let mut path = path.as_bytes().to_vec();
    loop {
        let decoded = decode(&path);
        if decoded == path {
            break;
        }
        path = decoded;
    }
    let text = String::from_utf8_lossy(&path).replace('\\', "/");
    let mut segments = Vec::new();
    for segment in text.split('/') {
        match segment.trim().split([';', '?', '#', '\0', ' ']).next().unwrap_or_default() {
            ".." => drop(segments.pop()),
            "" | "." => {}
            plain => segments.push(plain.to_owned()),
        }
    }
    segments
}

proptest! {
    /// Whatever is put behind a granted prefix stays there, for the most inventive of services.
    #[test]
    fn nothing_leaves_the_prefix(pieces in proptest::collection::vec(piece(), 0..12)) {
        let text = format!("http://host/v1/users/{}", pieces.concat());
        let Ok(url) = Url::parse(&text) else { return Ok(()) };
        prop_assert!(prefix("http://host/v1/users/").covers(&url), "{}", url);
        let segments = understood(url.path());
        prop_assert!(segments.starts_with(&["v1".to_owned(), "users".to_owned()]), "{}: {:?}", url, segments);
    }

    /// What is put into the authority reaches the granted host or nobody.
    #[test]
    fn nothing_reaches_another_host(pieces in proptest::collection::vec(piece(), 0..8)) {
        let text = format!("http://{}host/v1", pieces.concat());
        let Ok(url) = Url::parse(&text) else { return Ok(()) };
        if prefix("http://host/v1").covers(&url) {
            prop_assert_eq!((url.host(), url.port()), ("host", 80));
            prop_assert!(url.path() == "/v1" || url.path().starts_with("/v1/"));
        }
    }

    /// Reading what was written gives the same.
    #[test]
    fn a_url_is_read_as_it_is_written(text in "(http|HTTPS)://[a-zA-Z0-9.:\\[\\]-]{1,12}(/[a-z%.2eE;:@]{0,8}){0,3}(\\?[a-z=&/.]{0,8})?") {
        let Ok(first) = Url::parse(&text) else { return Ok(()) };
        prop_assert_eq!(&Url::parse(&first.to_string()).expect("what is written is a URL"), &first);
    }
}
