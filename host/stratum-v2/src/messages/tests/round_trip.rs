//! Every message with any content comes back as it was, in as many bytes as table W says.

use proptest::collection::vec;
use proptest::prelude::*;

use super::checked as payload;
use crate::messages::*;
use crate::wire::Integers;

fn string() -> impl Strategy<Value = Vec<u8>> {
    vec(any::<u8>(), 0..=255)
}

fn short() -> impl Strategy<Value = Vec<u8>> {
    vec(any::<u8>(), 0..=32)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn setting_up(numbers: (u8, u16, u16, u32, u16), host in string(), vendor in string(),
                  hardware in string(), firmware in string(), device in string()) {
        let (protocol, min_version, max_version, flags, endpoint_port) = numbers;
        let setup = SetupConnection {
            protocol, min_version, max_version, flags, endpoint_host: &host, endpoint_port, vendor: &vendor,
            hardware_version: &hardware, firmware: &firmware, device_id: &device,
        };
        prop_assert!((16..=1291).contains(&payload(&setup, &mut Vec::new())));
        let success = SetupConnectionSuccess { used_version: min_version, flags };
        prop_assert_eq!(payload(&success, &mut Vec::new()), 6);
        let error = SetupConnectionError { flags, error_code: &host };
        prop_assert!((5..=260).contains(&payload(&error, &mut Vec::new())));
        prop_assert_eq!(payload(&ChannelEndpointChanged { channel_id: flags }, &mut Vec::new()), 4);
        let reconnect = Reconnect { new_host: &host, new_port: endpoint_port };
        prop_assert!((3..=258).contains(&payload(&reconnect, &mut Vec::new())));
    }

    #[test]
    fn opening(ids: (u32, u32, u32), size: u16, nominal_hash_rate: f32, target: [u8; 32],
               user in string(), prefix in short()) {
        let (request_id, channel_id, group_channel_id) = ids;
        let open = OpenStandardMiningChannel {
            request_id, user_identity: &user, nominal_hash_rate, max_target: target,
        };
        prop_assert!((41..=296).contains(&payload(&open, &mut Vec::new())));
        let open = OpenExtendedMiningChannel {
            request_id, user_identity: &user, nominal_hash_rate, max_target: target, min_extranonce_size: size,
        };
        prop_assert!((43..=298).contains(&payload(&open, &mut Vec::new())));
        let success = OpenStandardMiningChannelSuccess {
            request_id, channel_id, target, extranonce_prefix: &prefix, group_channel_id,
        };
        prop_assert!((45..=77).contains(&payload(&success, &mut Vec::new())));
        let success = OpenExtendedMiningChannelSuccess {
            request_id, channel_id, target, extranonce_size: size, extranonce_prefix: &prefix, group_channel_id,
        };
        prop_assert!((47..=79).contains(&payload(&success, &mut Vec::new())));
        let error = OpenMiningChannelError { request_id, error_code: &user };
        prop_assert!((5..=260).contains(&payload(&error, &mut Vec::new())));
    }

    #[test]
    fn changing(channel_id: u32, nominal_hash_rate: f32, maximum_target: [u8; 32], text in string(),
                prefix in short(), ids in vec(any::<[u8; 4]>(), 0..100)) {
        let update = UpdateChannel { channel_id, nominal_hash_rate, maximum_target };
        prop_assert_eq!(payload(&update, &mut Vec::new()), 40);
        let error = UpdateChannelError { channel_id, error_code: &text };
        prop_assert!((5..=260).contains(&payload(&error, &mut Vec::new())));
        let close = CloseChannel { channel_id, reason_code: &text };
        prop_assert!((5..=260).contains(&payload(&close, &mut Vec::new())));
        let change = SetExtranoncePrefix { channel_id, extranonce_prefix: &prefix };
        prop_assert!((5..=37).contains(&payload(&change, &mut Vec::new())));
        let group = SetGroupChannel { group_channel_id: channel_id, channel_ids: Integers(&ids) };
        prop_assert_eq!(payload(&group, &mut Vec::new()), 6 + 4 * ids.len());
    }

    #[test]
    fn working(ids: (u32, u32), min_ntime: Option<u32>, numbers: (u32, u32, u32), hash: [u8; 32]) {
        let (channel_id, job_id) = ids;
        let (version, ntime, nbits) = numbers;
        let job = NewMiningJob { channel_id, job_id, min_ntime, version, merkle_root: hash };
        prop_assert_eq!(payload(&job, &mut Vec::new()), if min_ntime.is_some() { 49 } else { 45 });
        let block = SetNewPrevHash { channel_id, job_id, prev_hash: hash, min_ntime: ntime, nbits };
        prop_assert_eq!(payload(&block, &mut Vec::new()), 48);
        prop_assert_eq!(payload(&SetTarget { channel_id, maximum_target: hash }, &mut Vec::new()), 36);
    }

    #[test]
    fn working_extended(ids: (u32, u32), min_ntime: Option<u32>, version: u32, version_rolling_allowed: bool,
                        path in vec(any::<[u8; 32]>(), 0..16), prefix in vec(any::<u8>(), 0..300),
                        suffix in vec(any::<u8>(), 0..300)) {
        let job = NewExtendedMiningJob {
            channel_id: ids.0, job_id: ids.1, min_ntime, version, version_rolling_allowed, merkle_path: &path,
            coinbase_tx_prefix: &prefix, coinbase_tx_suffix: &suffix,
        };
        let head = if min_ntime.is_some() { 13 } else { 9 };
        let expected = head + 4 + 1 + 1 + 32 * path.len() + 2 + prefix.len() + 2 + suffix.len();
        prop_assert_eq!(payload(&job, &mut Vec::new()), expected);
    }

    #[test]
    fn submitting(numbers: (u32, u32, u32, u32, u32, u32), sum: u64, extranonce in short(), text in string()) {
        let (channel_id, sequence_number, job_id, nonce, ntime, version) = numbers;
        let share = SubmitSharesStandard { channel_id, sequence_number, job_id, nonce, ntime, version };
        prop_assert_eq!(payload(&share, &mut Vec::new()), 24);
        let share = SubmitSharesExtended {
            channel_id, sequence_number, job_id, nonce, ntime, version, extranonce: &extranonce,
        };
        prop_assert!((25..=57).contains(&payload(&share, &mut Vec::new())));
        let success = SubmitSharesSuccess {
            channel_id, last_sequence_number: sequence_number, new_submits_accepted_count: job_id,
            new_shares_sum: sum,
        };
        prop_assert_eq!(payload(&success, &mut Vec::new()), 20);
        let error = SubmitSharesError { channel_id, sequence_number, error_code: &text };
        prop_assert!((9..=264).contains(&payload(&error, &mut Vec::new())));
    }

    #[test]
    fn negotiating(request_id: u16, some in vec(any::<[u8; 2]>(), 0..50), more in vec(any::<[u8; 2]>(), 0..50)) {
        let request = RequestExtensions { request_id, requested: Integers(&some) };
        prop_assert_eq!(payload(&request, &mut Vec::new()), 4 + 2 * some.len());
        let success = RequestExtensionsSuccess { request_id, supported: Integers(&some) };
        prop_assert_eq!(payload(&success, &mut Vec::new()), 4 + 2 * some.len());
        let error = RequestExtensionsError { request_id, unsupported: Integers(&some), required: Integers(&more) };
        prop_assert_eq!(payload(&error, &mut Vec::new()), 6 + 2 * (some.len() + more.len()));
    }
}
