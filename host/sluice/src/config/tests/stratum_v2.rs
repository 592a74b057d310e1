use std::path::Path;
use std::time::Duration;

use super::{ADDRESS, SIMULATED, check, good, problems};
use crate::config::{IdentitySource, ProxyProtocol, StratumV2};

const ENABLED: &str = "[stratum_v2]\nenabled = true\nauthority_key = \"k\"\n";

fn v2(more: &str) -> StratumV2 {
    good(&format!("{SIMULATED}{ENABLED}{more}")).stratum_v2.expect("it is enabled")
}

#[test]
fn it_is_off_unless_enabled() {
    assert_eq!(good(SIMULATED).stratum_v2, None);
    assert_eq!(good(&format!("{SIMULATED}[stratum_v2]\nauthority_key = \"k\"\n")).stratum_v2, None);
    // What it would take from others is free while it is off.
    good(&format!(
        "{SIMULATED}stratum_v2.listen = \"127.0.0.1:3333\"\nstratum_v2.name = \"main\"\n\
         http.listen = \"127.0.0.1:3336\"\n"
    ));
}

#[test]
fn defaults_are_those_of_the_design() {
    let v2 = v2("");
    assert_eq!((v2.listen.to_string().as_str(), v2.name.as_str()), ("127.0.0.1:3336", "stratum-v2"));
    assert_eq!(v2.identity, IdentitySource::Authority("etc/k".into()));
    // N-1
    assert_eq!(v2.plain_text_listen, None);
    assert_eq!(v2.proxy_protocol, ProxyProtocol::Off);
    // N-22, S-16
    let seconds = [v2.handshake_timeout, v2.setup_timeout, v2.channel_timeout].map(|time| time.as_secs());
    assert_eq!(seconds, [10, 10, 60]);
    // M-8
    let channels = [v2.channels_per_connection, v2.max_channels_per_address, v2.max_channels];
    assert_eq!(channels, [1000, 20_000, 200_000]);
    assert_eq!(v2.max_unfinished_handshakes, 1024);
    // M-84
    assert_eq!((v2.acknowledge_shares, v2.acknowledge_after), (16, Duration::from_secs(1)));
}

#[test]
fn what_both_protocols_have_is_the_same() {
    let config = good(&format!("{SIMULATED}{ENABLED}"));
    let (v1, v2) = (&config.stratum_v1, config.stratum_v2.as_ref().unwrap());
    let listener = &v1.listeners[0];
    assert_eq!(v1.door, v2.door);
    assert_eq!((v1.idle_timeout, v1.stale_grace), (v2.idle_timeout, v2.stale_grace));
    assert_eq!(
        (v1.messages_per_minute, v1.rejected_in_a_row),
        (v2.messages_per_minute, v2.rejected_in_a_row)
    );
    assert_eq!(
        (listener.start_difficulty, listener.minimum_difficulty, listener.maximum_difficulty),
        (v2.start_difficulty, v2.minimum_difficulty, v2.maximum_difficulty)
    );
}

#[test]
fn every_key_is_taken() {
    let v2 = v2("listen = \"[::1]:1\"\nname = \"two\"\nplain_text_listen = \"127.0.0.2:2\"\n\
        proxy_protocol = \"v2\"\nstart_difficulty = 3\nminimum_difficulty = 2\nmaximum_difficulty = 4\n\
        handshake_timeout_s = 5\nsetup_timeout_s = 6\nchannel_timeout_s = 7\nidle_timeout_s = 18\n\
        stale_grace_ms = 9\nmax_connections = 10\nmax_connections_per_address = 8\nreconnects_per_minute = 12\n\
        ban_s = 13\nnever_ban = []\nmessages_per_minute = 60\nrejected_in_a_row = 0\n\
        channels_per_connection = 15\nmax_channels = 16\nmax_channels_per_address = 18\n\
        max_unfinished_handshakes = 17\n\
        acknowledge_shares = 1\nacknowledge_after_ms = 19\n");
    assert_eq!((v2.listen.to_string().as_str(), v2.name.as_str()), ("[::1]:1", "two"));
    assert_eq!(v2.plain_text_listen.unwrap().to_string(), "127.0.0.2:2");
    assert_eq!(v2.proxy_protocol, ProxyProtocol::V2);
    let difficulties = [v2.minimum_difficulty, v2.start_difficulty, v2.maximum_difficulty];
    assert_eq!(difficulties.map(|difficulty| difficulty.get()), [2.0, 3.0, 4.0]);
    let times = [v2.handshake_timeout, v2.setup_timeout, v2.channel_timeout, v2.idle_timeout, v2.door.ban];
    assert_eq!(times.map(|time| time.as_secs()), [5, 6, 7, 18, 13]);
    assert_eq!([v2.stale_grace, v2.acknowledge_after].map(|time| time.as_millis()), [9, 19]);
    assert_eq!((v2.door.max_connections, v2.door.max_connections_per_address), (10, 8));
    assert_eq!((v2.door.reconnects_per_minute, v2.door.never_ban.len()), (12, 0));
    assert_eq!((v2.messages_per_minute, v2.rejected_in_a_row, v2.acknowledge_shares), (60, 0, 1));
    assert_eq!((v2.channels_per_connection, v2.max_channels, v2.max_unfinished_handshakes), (15, 16, 17));
    assert_eq!(v2.max_channels_per_address, 18);
}

#[test]
fn identity_is_one_of_two_files() {
    let found = good(&format!("{SIMULATED}[stratum_v2]\nenabled = true\ncertificate = \"/c\"\n"));
    assert_eq!(found.stratum_v2.unwrap().identity, IdentitySource::Certificate(Path::new("/c").into()));
    check(
        "[stratum_v2]\nenabled = true",
        "pool.toml:6:1: stratum_v2: lacks an identity; either authority_key or certificate (files that `sluice \
         keygen` writes) is required",
    );
    // Also where it is off: one of the two would be forgotten there.
    for enabled in ["true", "false"] {
        check(
            &format!("[stratum_v2]\nenabled = {enabled}\nauthority_key = \"k\"\ncertificate = \"c\""),
            "pool.toml:9:15: stratum_v2.certificate: is given beside authority_key; either authority_key or \
             certificate (files that `sluice keygen` writes) is allowed",
        );
    }
}

#[test]
fn plain_text_stays_on_this_machine() {
    // N-1
    for address in ["0.0.0.0:3337", "192.0.2.1:3337", "[::]:3337"] {
        check(
            &format!("{ENABLED}plain_text_listen = \"{address}\""),
            &format!(
                "pool.toml:9:21: stratum_v2.plain_text_listen: {address} can be reached from other machines, and \
                 nothing is encrypted there; a loopback address is allowed, for labs (remote miners use `listen`)"
            ),
        );
    }
    assert!(v2("plain_text_listen = \"[::1]:0\"").plain_text_listen.is_some());
}

#[test]
fn names_and_addresses_are_nobody_elses() {
    check(
        &format!("{ENABLED}listen = \"127.0.0.1:3333\""),
        "pool.toml:9:10: stratum_v2.listen: 127.0.0.1:3333 is taken by stratum_v1 listener \"main\"; an address of \
         its own is allowed",
    );
    check(
        &format!("{ENABLED}plain_text_listen = \"127.0.0.1:3336\""),
        "pool.toml:9:21: stratum_v2.plain_text_listen: 127.0.0.1:3336 is taken by stratum_v2.listen; an address of \
         its own is allowed",
    );
    check(
        &format!("{ENABLED}[http]\nlisten = \"127.0.0.1:3336\""),
        "pool.toml:10:10: http.listen: 127.0.0.1:3336 is taken by stratum_v2.listen; an address of its own is allowed",
    );
    check(
        &format!("{ENABLED}name = \"main\""),
        "pool.toml:9:8: stratum_v2.name: \"main\" is the name of a stratum_v1 listener; a name of its own is allowed",
    );
    let free = v2("listen = \"127.0.0.1:0\"\nplain_text_listen = \"127.0.0.1:0\"\n");
    assert_eq!(free.listen.port(), 0);
}

#[test]
fn numbers_that_cannot_be_are_refused() {
    check(
        &format!("{ENABLED}max_channels = 10"),
        "pool.toml:9:16: stratum_v2.max_channels: is 10, below channels_per_connection = 1000; at least that is \
         allowed (raise this or lower channels_per_connection)",
    );
    check(
        &format!("{ENABLED}max_channels_per_address = 10"),
        "pool.toml:9:28: stratum_v2.max_channels_per_address: is 10, below channels_per_connection = 1000; at least \
         that is allowed (raise this or lower channels_per_connection)",
    );
    check(
        &format!("{ENABLED}max_connections = 10"),
        "pool.toml:9:19: stratum_v2.max_connections: is 10, below max_connections_per_address = 1000; at least that \
         is allowed (raise this or lower max_connections_per_address)",
    );
    check(
        &format!("{ENABLED}minimum_difficulty = 2048"),
        "pool.toml:6:1: stratum_v2.start_difficulty: is 1024, below minimum_difficulty = 2048; at least that is \
         allowed (raise this or lower minimum_difficulty)",
    );
    for key in [
        "handshake_timeout_s",
        "setup_timeout_s",
        "channel_timeout_s",
        "idle_timeout_s",
        "max_connections",
        "max_connections_per_address",
        "reconnects_per_minute",
        "messages_per_minute",
        "channels_per_connection",
        "max_channels",
        "max_channels_per_address",
        "max_unfinished_handshakes",
        "acknowledge_shares",
        "acknowledge_after_ms",
    ] {
        let found = problems(&format!("{SIMULATED}{ENABLED}{key} = 0"));
        let expected = format!("stratum_v2.{key}: 0 is out of range; a whole number from ");
        assert!(found.len() == 1 && found[0].contains(&expected), "{found:?}");
    }
}

#[test]
fn typing_mistakes_are_recognised() {
    let found = problems(&format!("{SIMULATED}{ENABLED}authorty_key = \"{ADDRESS}\""));
    assert!(found[0].contains("stratum_v2.authorty_key: is an unknown key, did you mean `authority_key`?"));
    let found = problems(&format!("{SIMULATED}stratum_v2.authority_key = \"\""));
    assert!(found[0].contains("stratum_v2.authority_key: is empty"), "{found:?}");
}
