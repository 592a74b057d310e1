//! The Noise handshake from both sides: to the pool any bytes may come in any pieces, to a client any Act 2, and only
//! what the other side made opens a session.

use std::sync::Arc;

use sluice_core::session::{Close, Effect, Session};
use sluice_core::units::{Moment, Now, Timestamp};
use sluice_stratum_v2::noise::{
    ACT_1, ACT_2, AuthoritySecret, Identity, Initiator, MAC, Responder, Validity,
};
use sluice_stratum_v2::{Connection, Security, SessionConfig};

const NOW: u32 = 1_700_000_000;

/// The first byte says which side, and how large the pieces are.
pub fn run(data: &[u8]) {
    let Some((first, data)) = data.split_first() else { return };
    if first % 2 == 0 { to_the_pool(usize::from(first / 2).max(1), data) } else { to_a_client(data) }
}

fn identity() -> (AuthoritySecret, Arc<Identity>) {
    let authority = AuthoritySecret::from_entropy([7; 32]).expect("a secret in range");
    let validity = Validity { valid_from: NOW - 1, not_valid_after: NOW + 1 };
    let identity = Identity::issue([9; 32], &authority, validity).expect("a secret in range");
    (authority, Arc::new(identity))
}

/// Nobody who did not take part can say anything: no bytes get further than to an answer to Act 1 (N-21).
fn to_the_pool(piece: usize, data: &[u8]) {
    let now = Now { moment: Moment(0), wall: Timestamp(u64::from(NOW) * 1000) };
    let security = Security::Noise { identity: identity().1, entropy: [3; 32] };
    let config = Arc::new(SessionConfig::new("fuzz".into()));
    let mut session = Connection::new(config, security, "192.0.2.1".into(), now);
    let (mut out, mut closed) = (Vec::new(), None);
    for piece in data.chunks(piece) {
        let used = session.receive(now, piece);
        assert_eq!(used, piece.len());
        while let Some(effect) = session.next_effect() {
            let Effect::Close(why) = effect else { panic!("{effect:?}") };
            assert_eq!(closed.replace(why), None);
        }
        session.transmit(now, &mut out);
    }
    match closed {
        None => assert!(data.len() < ACT_1 + 6 + MAC),
        Some(Close::EarlyBytes) => assert!(out.is_empty()),
        Some(why) => assert_eq!(why, Close::BadMac),
    }
    assert!(out.is_empty() || out.len() == ACT_2, "{} bytes", out.len());
    assert!(session.park().is_empty());
}

/// What is not exactly the pool's answer is refused; the bytes are laid over it.
fn to_a_client(data: &[u8]) {
    let (authority, identity) = identity();
    let (client, act_1) =
        Initiator::new(Some(authority.public()), [5; 32]).expect("entropy with a key in it");
    let (act_2, _) = Responder::answer(&identity, &act_1, [3; 32]).expect("entropy with a key in it");
    let mut changed = act_2;
    for (place, change) in data.chunks_exact(2).filter_map(|pair| pair.split_first()) {
        if let (Some(byte), [change]) = (changed.get_mut(usize::from(*place)), change) {
            *byte ^= change;
        }
    }
    assert_eq!(client.finish(&changed, NOW).is_ok(), changed == act_2);
}
