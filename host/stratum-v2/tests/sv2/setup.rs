//! SetupConnection (S-1 to S-20).

use sluice_core::ids::Protocol;
use sluice_core::session::{Close, Session};
use sluice_core::units::Difficulty;
use sluice_stratum_v2::messages::{ClientMessage, SetupConnection};

use crate::miner::{Said, kinds};
use crate::support::*;

fn with(change: impl FnOnce(&mut SetupConnection<'static>)) -> ClientMessage<'static> {
    let ClientMessage::SetupConnection(mut message) = setup(0) else { unreachable!() };
    change(&mut message);
    ClientMessage::SetupConnection(message)
}

/// The flags and the code of a refusal, after which the connection ends (S-14).
fn refused(message: &ClientMessage<'_>) -> (u32, String) {
    let mut outcomes = Wire::BOTH.map(|wire| {
        let mut pool = Pool::new(wire);
        let said = pool.say(message);
        assert_eq!(pool.closed, Some(Close::SetupRefused));
        assert_eq!(pool.established, 0);
        let [Said::NotSetUp { flags, code }] = &said[..] else { panic!("{said:?}") };
        (*flags, code.clone())
    });
    assert_eq!(outcomes[0], outcomes[1]);
    std::mem::take(&mut outcomes[0])
}

fn accepted(message: &ClientMessage<'_>) {
    for wire in Wire::BOTH {
        let mut pool = Pool::new(wire);
        let said = pool.say(message);
        let [Said::SetUp(success)] = &said[..] else { panic!("{said:?}") };
        // S-5, S-11, S-13
        assert_eq!((success.used_version, success.flags), (2, 0));
        assert_eq!((pool.closed, pool.established), (None, 1));
    }
}

#[test]
fn only_mining_is_offered() {
    // S-4
    for protocol in [1, 2, 3, 255] {
        let outcome = refused(&with(|setup| setup.protocol = protocol));
        assert_eq!(outcome, (0, "unsupported-protocol".into()));
    }
    accepted(&setup(0));
}

#[test]
fn version_two_is_spoken() {
    // S-5
    for (min, max) in [(2, 2), (0, 2), (1, 2), (2, 3), (2, 65535), (0, 65535)] {
        accepted(&with(|setup| (setup.min_version, setup.max_version) = (min, max)));
    }
    for (min, max) in [(0, 1), (1, 1), (3, 3), (3, 65535), (3, 1), (2, 1), (65535, 0)] {
        let outcome = refused(&with(|setup| (setup.min_version, setup.max_version) = (min, max)));
        assert_eq!(outcome, (0, "protocol-version-mismatch".into()), "{min} to {max}");
    }
}

#[test]
fn flags_are_those_of_the_specification() {
    // S-7, S-10, S-12: standard jobs and version rolling are, work selection is not.
    for flags in [0, 0b001, 0b100, 0b101] {
        accepted(&setup(flags));
    }
    // S-6: the full set of what is not, asked for or not; S-8: probes with every bit.
    for flags in [0b010, 0b111, 1 << 3, 1 << 31, 0b101 | 1 << 20, u32::MAX] {
        let (lacking, code) = refused(&setup(flags));
        assert_eq!(lacking, (0b010 | flags) & !0b101, "{flags:#b}");
        assert_eq!(code, "unsupported-feature-flags");
    }
}

#[test]
fn the_checks_have_an_order() {
    // S-20
    let all_wrong = |setup: &mut SetupConnection<'static>| {
        (setup.protocol, setup.min_version, setup.max_version, setup.flags) = (9, 7, 3, u32::MAX);
    };
    assert_eq!(refused(&with(all_wrong)), (0, "unsupported-protocol".into()));
    let mining = with(|setup| {
        all_wrong(setup);
        setup.protocol = 0;
    });
    assert_eq!(refused(&mining), (0, "protocol-version-mismatch".into()));
}

#[test]
fn a_second_setup_ends_the_connection() {
    // S-15
    for wire in Wire::BOTH {
        let mut pool = Pool::ready(wire);
        assert!(pool.say(&setup(0)).is_empty());
        assert_eq!(pool.closed, Some(Close::OutOfOrder));
    }
}

#[test]
fn what_the_client_says_of_itself_is_made_fit_to_print() {
    // S-17, F-25
    let mut pool = Pool::new(Wire::Noise);
    pool.say(&with(|setup| {
        setup.vendor = b"Ma\x1b[31mker\n";
        setup.firmware = b"1.\xff0\0";
        setup.hardware_version = b"M\r1";
        setup.device_id = &[0xff; 255];
        setup.endpoint_host = b"\0\0";
    }));
    pool.open_standard("alice.rig");
    let client = &pool.logins[0].1.client;
    assert_eq!(client.protocol, Protocol::StratumV2);
    assert_eq!((&*client.agent, &*client.hardware), ("Ma[31mker 1.\u{fffd}0", "M1"));
    assert_eq!((&*client.listener, &*client.address), ("test", "192.0.2.7"));
}

#[test]
fn an_empty_vendor_is_welcome() {
    // S-17: the reference's own test miner has none.
    let mut pool = Pool::new(Wire::Noise);
    let said = pool.say(&with(|setup| {
        (setup.vendor, setup.firmware, setup.hardware_version) = (b"", b"", b"");
    }));
    assert_eq!(kinds(&said), ["set up"]);
    pool.open_standard("alice");
    assert_eq!(&*pool.logins[0].1.client.agent, "");
}

#[test]
fn the_longest_setup_is_read() {
    // S-3: 1,291 bytes
    let longest = with(|setup| {
        let text: &'static [u8] = &[b'x'; 255];
        (setup.endpoint_host, setup.vendor, setup.hardware_version) = (text, text, text);
        (setup.firmware, setup.device_id) = (text, text);
    });
    assert_eq!(frames(&[longest]).len(), 6 + 1291);
    accepted(&longest);
}

#[test]
fn nothing_is_said_before_the_answer_to_the_setup() {
    // S-2: a client takes whatever comes first for that answer.
    for wire in Wire::BOTH {
        let mut pool = Pool::new(wire);
        pool.offer();
        assert!(pool.flush().is_empty());
        let bytes = pool.link.seal(&frames(&[setup(0), open_standard(1, "alice")]));
        for byte in &bytes[..40] {
            assert!(pool.exchange(&[*byte]).is_empty());
        }
        pool.board.tip += 1;
        pool.offer();
        assert!(pool.pass(std::time::Duration::from_secs(9)).is_empty());
        assert_eq!(kinds(&pool.send(&bytes[40..])), ["set up", "opened", "future job", "prev hash"]);
        pool.end();
    }
    // Nor before Act 2.
    let mut pool = Pool::bare(noise(), config(), HARD);
    pool.offer();
    assert!(pool.exchange(&[5; 63]).is_empty());
    assert_eq!(pool.exchange(&[5]).len(), 234, "and nothing behind it");
    // A pool that stops meanwhile has nothing to say either.
    let mut pool = Pool::new(Wire::Noise);
    pool.session.shut_down(pool.now, Close::Shutdown);
    pool.run();
    assert!(pool.flush().is_empty());
}

#[test]
fn flags_do_not_depend_on_the_configuration() {
    // S-9: the servers behind one address answer alike.
    let mut other = config();
    other.listener = "elsewhere".into();
    other.start = Difficulty::saturating(9.0);
    other.extranonce_size = 4;
    (other.channels, other.messages_per_minute) = (1, 60);
    for flags in (0..8).chain([1 << 3, 1 << 31, u32::MAX]) {
        let said =
            [config(), other.clone()].map(|config| Pool::with(Wire::Noise, config, HARD).say(&setup(flags)));
        assert_eq!(said[0], said[1], "{flags:#b}");
        assert_eq!(said[0].len(), 1);
    }
}
