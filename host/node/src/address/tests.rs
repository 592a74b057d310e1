use super::*;

fn auth() -> Auth {
    Auth::User { user: "pool".into(), password: Secret::new("hunter2") }
}

fn parse(text: &str) -> Result<(String, u16), AddressError> {
    NodeAddress::parse(text, Network::Regtest, auth()).map(|address| (address.host, address.port))
}

#[test]
fn hosts_and_ports() {
    for (text, host, port) in [
        ("127.0.0.1", "127.0.0.1", 18443),
        ("node.lan:9000", "node.lan", 9000),
        ("http://127.0.0.1:8332", "127.0.0.1", 8332),
        ("http://127.0.0.1:8332/", "127.0.0.1", 8332),
        ("[::1]:8332", "::1", 8332),
        ("[::1]", "::1", 18443),
        ("::1", "::1", 18443),
    ] {
        assert_eq!(parse(text), Ok((host.to_owned(), port)), "{text}");
    }
}

#[test]
fn what_is_refused() {
    assert!(matches!(parse("https://node:8332"), Err(AddressError::Https(_))));
    assert_eq!(parse("http://user:secret@node:8332"), Err(AddressError::Credentials));
    assert!(matches!(parse("node:8332/wallet/x"), Err(AddressError::Path(_))));
    assert!(matches!(parse(""), Err(AddressError::Host(_))));
    assert!(matches!(parse(":8332"), Err(AddressError::Host(_))));
    for port in ["node:0", "node:65536", "node:rpc", "node:"] {
        assert!(matches!(parse(port), Err(AddressError::Port(_))), "{port}");
    }
}

#[test]
fn every_network_has_its_port() {
    let port = |network| NodeAddress::parse("node", network, auth()).unwrap().port;
    assert_eq!(port(Network::Bitcoin), 8332);
    assert_eq!(port(Network::Testnet4), 48332);
    assert_eq!(port(Network::Signet), 38332);
    assert_eq!(port(Network::Regtest), 18443);
}

#[test]
fn debug_hides_the_password_and_the_name_holds_none() {
    let address = NodeAddress::parse("node:1", Network::Bitcoin, auth()).unwrap();
    assert!(!format!("{address:?}").contains("hunter2"));
    assert_eq!(address.name(), "node:1");
    assert_eq!(NodeAddress::parse("[::1]:5", Network::Bitcoin, auth()).unwrap().name(), "[::1]:5");
}
