use sluice_core::extranonce::ExtranoncePrefix;

use super::*;

const V1: Protocol = Protocol::StratumV1;
const V2: Protocol = Protocol::StratumV2;
const HERE: [u8; 4] = [192, 0, 2, 1];
const THERE: [u8; 4] = [192, 0, 2, 2];
const EXEMPT: [u8; 4] = [127, 0, 0, 1];

fn prefixes(channels: usize, channels_per_address: Option<usize>) -> Prefixes {
    let exempt: Vec<AddressRange> = vec!["127.0.0.0/8".parse().unwrap()];
    Prefixes::new(3, |_| Quota { channels, channels_per_address, exempt: exempt.clone() })
}

fn holder(protocol: Protocol, address: [u8; 4]) -> Holder {
    Holder { protocol, address: address.into() }
}

fn reserve(prefixes: &Prefixes, holder: Holder, at: u64) -> Result<ExtranoncePrefix, Full> {
    let reservation = prefixes.reserve(holder, None, ResumeToken([1; 16]), Moment(at));
    reservation.map(|reservation| reservation.prefix)
}

fn park(prefixes: &Prefixes, holder: Holder, prefix: ExtranoncePrefix, used: bool) {
    prefixes.park(holder, vec![Parked { prefix, resume: None, used }], Moment(1));
}

#[test]
fn each_protocol_has_a_quota_of_its_own() {
    // M-8
    let quota = |protocol| {
        let channels = if protocol == V2 { 2 } else { 3 };
        Quota { channels, channels_per_address: None, exempt: Vec::new() }
    };
    let prefixes = Prefixes::new(0, quota);
    let (first, second) = (holder(V1, HERE), holder(V2, HERE));
    let of_first: Vec<_> = (0..4).filter_map(|_| reserve(&prefixes, first, 0).ok()).collect();
    let of_second: Vec<_> = (0..4).filter_map(|_| reserve(&prefixes, second, 0).ok()).collect();
    assert_eq!((of_first.len(), of_second.len()), (3, 2));
    park(&prefixes, first, of_first[0], true);
    assert_eq!(reserve(&prefixes, second, 1), Err(Full::Channels), "another protocol's place");
    assert!(reserve(&prefixes, first, 1).is_ok());
    park(&prefixes, second, of_second[0], true);
    assert!(reserve(&prefixes, second, 1).is_ok());
}

#[test]
fn who_opens_and_closes_channels_without_end_takes_nothing_from_another_protocol() {
    // M-1, M-8
    let prefixes = prefixes(10, Some(10));
    let (peer, miner) = (holder(V2, HERE), holder(V1, HERE));
    let mut ended = 0;
    let refused = loop {
        match reserve(&prefixes, peer, 0) {
            Ok(prefix) => park(&prefixes, peer, prefix, true),
            Err(refused) => break refused,
        }
        ended += 1;
    };
    assert_eq!((refused, ended), (Full::Prefixes, LEAST_PREFIXES));
    assert!(reserve(&prefixes, miner, 0).is_ok());
    let later = u64::try_from(sluice_core::extranonce::QUARANTINE.as_millis()).unwrap() + 1;
    assert!(reserve(&prefixes, peer, later).is_ok(), "they come back");
}

#[test]
fn channels_that_had_no_work_use_up_nothing() {
    let prefixes = prefixes(10, Some(10));
    let peer = holder(V2, HERE);
    for _ in 0..2000 {
        let prefix = reserve(&prefixes, peer, 0).unwrap();
        assert_eq!(prefix.0, [3, 0x80, 0, 0], "the same again");
        park(&prefixes, peer, prefix, false);
    }
}

#[test]
fn no_protocol_has_numbers_of_another_however_many_channels_it_may_have() {
    for channels in [1, 200_000, 4_000_000, usize::MAX] {
        let (first, second) = (numbers(V1, channels), numbers(V2, channels));
        assert!(first.end <= second.start && second.end <= SPACE, "{first:?} {second:?}");
        let each = usize::try_from(first.end).unwrap();
        assert!(each >= channels.min(4_000_000), "enough for all that are live");
        assert_eq!(second.end - second.start, first.end);
    }
    assert_eq!(numbers(V1, 500_000).end, 2_000_000);
}

#[test]
fn one_address_cannot_take_all_channels() {
    // M-8
    let prefixes = prefixes(4, Some(2));
    let (here, there) = (holder(V2, HERE), holder(V2, THERE));
    let first = reserve(&prefixes, here, 0).unwrap();
    reserve(&prefixes, here, 0).unwrap();
    assert_eq!(reserve(&prefixes, here, 0), Err(Full::ChannelsOfAddress));
    reserve(&prefixes, there, 0).unwrap();
    reserve(&prefixes, there, 0).unwrap();
    assert_eq!(reserve(&prefixes, here, 0), Err(Full::Channels));
    park(&prefixes, here, first, true);
    assert!(reserve(&prefixes, here, 0).is_ok(), "a place is given back");
}

#[test]
fn addresses_are_forgotten_with_their_last_channel() {
    let prefixes = prefixes(10, Some(2));
    for last in 0..=255 {
        let peer = holder(V2, [198, 51, 100, last]);
        let prefix = reserve(&prefixes, peer, 0).unwrap();
        park(&prefixes, peer, prefix, true);
    }
    assert!(prefixes.part(V2).by_address.is_empty());
}

#[test]
fn exempt_addresses_have_as_many_as_there_are() {
    let prefixes = prefixes(4, Some(2));
    let peer = holder(V2, EXEMPT);
    let open: Vec<_> = (0..5).map(|_| reserve(&prefixes, peer, 0)).collect();
    assert_eq!(open.iter().filter(|outcome| outcome.is_ok()).count(), 4);
    assert_eq!(open[4], Err(Full::Channels));
    assert!(prefixes.part(V2).by_address.is_empty());
}
