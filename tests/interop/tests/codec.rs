//! Every message of table W that a mining pool sends or receives, against SRI's `mining_sv2`, `common_messages_sv2`,
//! `extensions_sv2` and `parsers_sv2`: from the same values both must make the same bytes, and each must read the
//! other's.

use anyhow::{Result, anyhow};
use proptest::collection::vec;
use proptest::prelude::{Strategy, any, proptest};
use proptest::sample::Index;
use sluice_stratum_v2::messages::{
    ChannelEndpointChanged, ClientMessage, CloseChannel, Decoded, ExtendedJob, ExtendedJobTail,
    NewExtendedMiningJob, NewMiningJob, OpenExtendedMiningChannel, OpenExtendedMiningChannelSuccess,
    OpenMiningChannelError, OpenStandardMiningChannel, OpenStandardMiningChannelSuccess, Reconnect,
    RequestExtensions, RequestExtensionsError, RequestExtensionsSuccess, ServerMessage, SetExtranoncePrefix,
    SetGroupChannel, SetNewPrevHash, SetTarget, SetupConnection, SetupConnectionError,
    SetupConnectionSuccess, SubmitSharesError, SubmitSharesExtended, SubmitSharesStandard,
    SubmitSharesSuccess, UpdateChannel, UpdateChannelError, write_frame_with,
};
use sluice_stratum_v2::wire::{FrameHeader, Integers, tlv};
use stratum_apps::stratum_core::binary_sv2::{Seq064KOwned, Seq0255Owned, Sv2OptionOwned, U256Owned};
use stratum_apps::stratum_core::codec_sv2::{Encoder, MessageFrame};
use stratum_apps::stratum_core::common_messages_sv2 as common;
use stratum_apps::stratum_core::extensions_sv2 as extensions;
use stratum_apps::stratum_core::framing_sv2::header::Header;
use stratum_apps::stratum_core::mining_sv2 as mining;
use stratum_apps::stratum_core::parsers_sv2::{
    AnyMessage, AnyMessageOwned, CommonMessagesOwned, ExtensionsNegotiationOwned, ExtensionsOwned,
    MiningOwned, Tlv, TlvList, parse_message_frame_with_tlvs,
};

/// SRI's frame of a message.
fn by_sri(message: AnyMessageOwned) -> Vec<u8> {
    let frame: MessageFrame<AnyMessageOwned> = message.try_into().unwrap();
    let bytes = Encoder::new().encode(frame).unwrap();
    AsRef::<[u8]>::as_ref(&bytes).to_vec()
}

/// What SRI reads in a frame.
fn read_by_sri(frame: &[u8]) -> Result<AnyMessageOwned> {
    let mut frame = frame.to_vec();
    let (header, payload) = frame.split_at_mut(6);
    let header = Header::from_bytes(header).map_err(|error| anyhow!("{error:?}"))?;
    let message = AnyMessage::try_from((header, payload)).map_err(|error| anyhow!("{error}"))?;
    Ok(message.into_owned())
}

/// A frame cut in its payload, with a header that agrees.
fn cut(frame: &[u8], at: Index) -> Option<Vec<u8>> {
    let length = frame.len() - 6;
    if length == 0 {
        return None;
    }
    let length = at.index(length);
    let mut cut = frame[..6 + length].to_vec();
    cut[3..6].copy_from_slice(&u32::try_from(length).unwrap().to_le_bytes()[..3]);
    Some(cut)
}

fn parts(frame: &[u8]) -> (FrameHeader, &[u8]) {
    let (header, payload) = frame.split_first_chunk::<6>().unwrap();
    (FrameHeader::read(*header), payload)
}

macro_rules! agreement {
    ($name:ident, $direction:ident) => {
        /// Same bytes; each reads what the other wrote; neither reads it cut short (F-28).
        fn $name(ours: $direction<'_>, sri: AnyMessageOwned, at: Index) {
            let mut frame = Vec::new();
            ours.write_frame(&mut frame);
            assert_eq!(hex::encode(&frame), hex::encode(by_sri(sri)));
            assert_eq!(by_sri(read_by_sri(&frame).unwrap()), frame);
            let (header, payload) = parts(&frame);
            let expected = Decoded::Message { message: ours, trailing: &[][..] };
            assert_eq!($direction::decode(header, payload), Ok(expected));
            let Some(cut) = cut(&frame, at) else { return };
            let (header, payload) = parts(&cut);
            assert!($direction::decode(header, payload).is_err(), "we read {} cut short", ours.name());
            assert!(read_by_sri(&cut).is_err(), "SRI reads {} cut short", ours.name());
        }
    };
}

agreement!(from_client, ClientMessage);
agreement!(from_server, ServerMessage);

fn text() -> impl Strategy<Value = Vec<u8>> {
    vec(any::<u8>(), 0..=255)
}

fn prefix() -> impl Strategy<Value = Vec<u8>> {
    vec(any::<u8>(), 0..=32)
}

/// Six numbers: a share without its extranonce.
fn share() -> impl Strategy<Value = [u32; 6]> {
    any::<[u32; 6]>()
}

fn hash() -> impl Strategy<Value = [u8; 32]> {
    any::<[u8; 32]>()
}

fn numbers<const WIDTH: usize>() -> impl Strategy<Value = Vec<[u8; WIDTH]>> {
    vec(any::<[u8; WIDTH]>(), 0..40)
}

/// As SRI wants bytes of whatever bound.
fn bytes<T: TryFrom<Vec<u8>>>(value: &[u8]) -> T {
    T::try_from(value.to_vec()).ok().unwrap()
}

fn u16s(values: &[[u8; 2]]) -> Seq064KOwned<u16> {
    Seq064KOwned::new(Integers(values).iter().collect()).unwrap()
}

fn path(values: &[[u8; 32]]) -> Seq0255Owned<U256Owned> {
    Seq0255Owned::new(values.iter().map(|node| (*node).into()).collect()).unwrap()
}

fn mining(message: MiningOwned) -> AnyMessageOwned {
    AnyMessageOwned::Mining(message)
}

fn common(message: CommonMessagesOwned) -> AnyMessageOwned {
    AnyMessageOwned::Common(message)
}

fn negotiation(message: ExtensionsNegotiationOwned) -> AnyMessageOwned {
    AnyMessageOwned::Extensions(ExtensionsOwned::ExtensionsNegotiation(message))
}

const PROTOCOLS: [common::Protocol; 3] = [
    common::Protocol::MiningProtocol,
    common::Protocol::JobDeclarationProtocol,
    common::Protocol::TemplateDistributionProtocol,
];

proptest! {
    // 03 §3.6; W-00 to W-04.

    #[test]
    fn setup_connection(
        at in any::<Index>(), protocol in 0u8..3, numbers in any::<(u16, u16, u32, u16)>(),
        texts in (text(), text(), text(), text(), text()),
    ) {
        let (min_version, max_version, flags, endpoint_port) = numbers;
        let (endpoint_host, vendor, hardware_version, firmware, device_id) = &texts;
        let ours = SetupConnection {
            protocol, min_version, max_version, flags, endpoint_host, endpoint_port, vendor, hardware_version, firmware,
            device_id,
        };
        let sri = common::SetupConnectionOwned {
            protocol: PROTOCOLS[usize::from(protocol)], min_version, max_version, flags,
            endpoint_host: bytes(endpoint_host), endpoint_port, vendor: bytes(vendor),
            hardware_version: bytes(hardware_version), firmware: bytes(firmware), device_id: bytes(device_id),
        };
        from_client(ClientMessage::SetupConnection(ours), common(CommonMessagesOwned::SetupConnection(sri)), at);
    }

    #[test]
    fn setup_connection_success(at in any::<Index>(), used_version in any::<u16>(), flags in any::<u32>()) {
        let ours = SetupConnectionSuccess { used_version, flags };
        let sri = common::SetupConnectionSuccess { used_version, flags }.into_owned();
        from_server(
            ServerMessage::SetupConnectionSuccess(ours),
            common(CommonMessagesOwned::SetupConnectionSuccess(sri)),
            at,
        );
    }

    #[test]
    fn setup_connection_error(at in any::<Index>(), flags in any::<u32>(), error_code in text()) {
        let ours = SetupConnectionError { flags, error_code: &error_code };
        let sri = common::SetupConnectionErrorOwned { flags, error_code: bytes(&error_code) };
        from_server(
            ServerMessage::SetupConnectionError(ours),
            common(CommonMessagesOwned::SetupConnectionError(sri)),
            at,
        );
    }

    #[test]
    fn channel_endpoint_changed(at in any::<Index>(), channel_id in any::<u32>()) {
        let ours = ChannelEndpointChanged { channel_id };
        let sri = common::ChannelEndpointChanged { channel_id }.into_owned();
        from_server(
            ServerMessage::ChannelEndpointChanged(ours),
            common(CommonMessagesOwned::ChannelEndpointChanged(sri)),
            at,
        );
    }

    #[test]
    fn reconnect(at in any::<Index>(), new_host in text(), new_port in any::<u16>()) {
        let ours = Reconnect { new_host: &new_host, new_port };
        let sri = common::ReconnectOwned { new_host: bytes(&new_host), new_port };
        from_server(ServerMessage::Reconnect(ours), common(CommonMessagesOwned::Reconnect(sri)), at);
    }

    // 05 §5.3.2 to 5.3.10, 5.3.22; W-10 to W-14, W-16 to W-19, W-25.

    #[test]
    fn open_standard_mining_channel(
        at in any::<Index>(), request_id in any::<u32>(), user_identity in text(), nominal_hash_rate in any::<f32>(),
        max_target in hash(),
    ) {
        let ours = OpenStandardMiningChannel {
            request_id, user_identity: &user_identity, nominal_hash_rate, max_target,
        };
        let sri = mining::OpenStandardMiningChannelOwned {
            request_id, user_identity: bytes(&user_identity), nominal_hash_rate, max_target: max_target.into(),
        };
        from_client(
            ClientMessage::OpenStandardMiningChannel(ours),
            mining(MiningOwned::OpenStandardMiningChannel(sri)),
            at,
        );
    }

    #[test]
    fn open_standard_mining_channel_success(
        at in any::<Index>(), ids in any::<(u32, u32, u32)>(), target in hash(), extranonce_prefix in prefix(),
    ) {
        let (request_id, channel_id, group_channel_id) = ids;
        let ours = OpenStandardMiningChannelSuccess {
            request_id, channel_id, target, extranonce_prefix: &extranonce_prefix, group_channel_id,
        };
        let sri = mining::OpenStandardMiningChannelSuccessOwned {
            request_id, channel_id, target: target.into(), extranonce_prefix: bytes(&extranonce_prefix),
            group_channel_id,
        };
        from_server(
            ServerMessage::OpenStandardMiningChannelSuccess(ours),
            mining(MiningOwned::OpenStandardMiningChannelSuccess(sri)),
            at,
        );
    }

    #[test]
    fn open_mining_channel_error(at in any::<Index>(), request_id in any::<u32>(), error_code in text()) {
        let ours = OpenMiningChannelError { request_id, error_code: &error_code };
        let sri = mining::OpenMiningChannelErrorOwned { request_id, error_code: bytes(&error_code) };
        from_server(
            ServerMessage::OpenMiningChannelError(ours),
            mining(MiningOwned::OpenMiningChannelError(sri)),
            at,
        );
    }

    #[test]
    fn open_extended_mining_channel(
        at in any::<Index>(), request_id in any::<u32>(), user_identity in text(), nominal_hash_rate in any::<f32>(),
        max_target in hash(), min_extranonce_size in any::<u16>(),
    ) {
        let ours = OpenExtendedMiningChannel {
            request_id, user_identity: &user_identity, nominal_hash_rate, max_target, min_extranonce_size,
        };
        let sri = mining::OpenExtendedMiningChannelOwned {
            request_id, user_identity: bytes(&user_identity), nominal_hash_rate, max_target: max_target.into(),
            min_extranonce_size,
        };
        from_client(
            ClientMessage::OpenExtendedMiningChannel(ours),
            mining(MiningOwned::OpenExtendedMiningChannel(sri)),
            at,
        );
    }

    #[test]
    fn open_extended_mining_channel_success(
        at in any::<Index>(), ids in any::<(u32, u32, u32)>(), target in hash(), extranonce_prefix in prefix(),
        extranonce_size in any::<u16>(),
    ) {
        let (request_id, channel_id, group_channel_id) = ids;
        let ours = OpenExtendedMiningChannelSuccess {
            request_id, channel_id, target, extranonce_size, extranonce_prefix: &extranonce_prefix, group_channel_id,
        };
        let sri = mining::OpenExtendedMiningChannelSuccessOwned {
            request_id, channel_id, target: target.into(), extranonce_size,
            extranonce_prefix: bytes(&extranonce_prefix), group_channel_id,
        };
        from_server(
            ServerMessage::OpenExtendedMiningChannelSuccess(ours),
            mining(MiningOwned::OpenExtendedMiningChannelSuccess(sri)),
            at,
        );
    }

    #[test]
    fn update_channel(
        at in any::<Index>(), channel_id in any::<u32>(), nominal_hash_rate in any::<f32>(), maximum_target in hash(),
    ) {
        let ours = UpdateChannel { channel_id, nominal_hash_rate, maximum_target };
        let sri = mining::UpdateChannelOwned {
            channel_id, nominal_hash_rate, maximum_target: maximum_target.into(),
        };
        from_client(ClientMessage::UpdateChannel(ours), mining(MiningOwned::UpdateChannel(sri)), at);
    }

    #[test]
    fn update_channel_error(at in any::<Index>(), channel_id in any::<u32>(), error_code in text()) {
        let ours = UpdateChannelError { channel_id, error_code: &error_code };
        let sri = mining::UpdateChannelErrorOwned { channel_id, error_code: bytes(&error_code) };
        from_server(ServerMessage::UpdateChannelError(ours), mining(MiningOwned::UpdateChannelError(sri)), at);
    }

    #[test]
    fn close_channel(at in any::<Index>(), channel_id in any::<u32>(), reason_code in text()) {
        let ours = CloseChannel { channel_id, reason_code: &reason_code };
        let sri = mining::CloseChannelOwned { channel_id, reason_code: bytes(&reason_code) };
        from_client(ClientMessage::CloseChannel(ours), mining(MiningOwned::CloseChannel(sri.clone())), at);
        from_server(ServerMessage::CloseChannel(ours), mining(MiningOwned::CloseChannel(sri)), at);
    }

    #[test]
    fn set_extranonce_prefix(at in any::<Index>(), channel_id in any::<u32>(), extranonce_prefix in prefix()) {
        let ours = SetExtranoncePrefix { channel_id, extranonce_prefix: &extranonce_prefix };
        let sri =
            mining::SetExtranoncePrefixOwned { channel_id, extranonce_prefix: bytes(&extranonce_prefix) };
        from_server(ServerMessage::SetExtranoncePrefix(ours), mining(MiningOwned::SetExtranoncePrefix(sri)), at);
    }

    #[test]
    fn set_group_channel(at in any::<Index>(), group_channel_id in any::<u32>(), ids in numbers::<4>()) {
        let ours = SetGroupChannel { group_channel_id, channel_ids: Integers(&ids) };
        let channel_ids = Seq064KOwned::new(Integers(&ids).iter().collect()).unwrap();
        let sri = mining::SetGroupChannelOwned { group_channel_id, channel_ids };
        from_server(ServerMessage::SetGroupChannel(ours), mining(MiningOwned::SetGroupChannel(sri)), at);
    }

    // 05 §5.3.15 to 5.3.17, 5.3.21; W-15, W-1f, W-20, W-21.

    #[test]
    fn new_mining_job(
        at in any::<Index>(), ids in any::<(u32, u32, u32)>(), min_ntime in any::<Option<u32>>(), merkle_root in hash(),
    ) {
        let (channel_id, job_id, version) = ids;
        let ours = NewMiningJob { channel_id, job_id, min_ntime, version, merkle_root };
        let sri = mining::NewMiningJobOwned {
            channel_id, job_id, min_ntime: Sv2OptionOwned::new(min_ntime), version, merkle_root: merkle_root.into(),
        };
        from_server(ServerMessage::NewMiningJob(ours), mining(MiningOwned::NewMiningJob(sri)), at);
    }

    #[test]
    fn new_extended_mining_job(
        at in any::<Index>(), ids in any::<(u32, u32, u32)>(), min_ntime in any::<Option<u32>>(),
        version_rolling_allowed in any::<bool>(), merkle_path in vec(hash(), 0..16),
        coinbase in (vec(any::<u8>(), 0..600), vec(any::<u8>(), 0..600)),
    ) {
        let (channel_id, job_id, version) = ids;
        let (coinbase_tx_prefix, coinbase_tx_suffix) = &coinbase;
        let ours = NewExtendedMiningJob {
            channel_id, job_id, min_ntime, version, version_rolling_allowed, merkle_path: &merkle_path,
            coinbase_tx_prefix, coinbase_tx_suffix,
        };
        let sri = mining::NewExtendedMiningJobOwned {
            channel_id, job_id, min_ntime: Sv2OptionOwned::new(min_ntime), version, version_rolling_allowed,
            merkle_path: path(&merkle_path), coinbase_tx_prefix: bytes(coinbase_tx_prefix),
            coinbase_tx_suffix: bytes(coinbase_tx_suffix),
        };
        // The form that is encoded once for many.
        let tail = ExtendedJobTail::new(
            version, version_rolling_allowed, &merkle_path, coinbase_tx_prefix, coinbase_tx_suffix,
        );
        let mut frame = Vec::new();
        ExtendedJob { channel_id, job_id, min_ntime, tail: &tail.unwrap() }.write_frame(&mut frame);
        let sri = mining(MiningOwned::NewExtendedMiningJob(sri));
        assert_eq!(by_sri(sri.clone()), frame);
        from_server(ServerMessage::NewExtendedMiningJob(ours), sri, at);
    }

    #[test]
    fn set_new_prev_hash(at in any::<Index>(), numbers in any::<(u32, u32, u32, u32)>(), prev_hash in hash()) {
        let (channel_id, job_id, min_ntime, nbits) = numbers;
        let ours = SetNewPrevHash { channel_id, job_id, prev_hash, min_ntime, nbits };
        let sri = mining::SetNewPrevHashOwned { channel_id, job_id, prev_hash: prev_hash.into(), min_ntime, nbits };
        from_server(ServerMessage::SetNewPrevHash(ours), mining(MiningOwned::SetNewPrevHash(sri)), at);
    }

    #[test]
    fn set_target(at in any::<Index>(), channel_id in any::<u32>(), maximum_target in hash()) {
        let ours = SetTarget { channel_id, maximum_target };
        let sri = mining::SetTargetOwned { channel_id, maximum_target: maximum_target.into() };
        from_server(ServerMessage::SetTarget(ours), mining(MiningOwned::SetTarget(sri)), at);
    }

    // 05 §5.3.11 to 5.3.14; W-1a to W-1d.

    #[test]
    fn submit_shares_standard(at in any::<Index>(), share in share()) {
        let [channel_id, sequence_number, job_id, nonce, ntime, version] = share;
        let ours = SubmitSharesStandard { channel_id, sequence_number, job_id, nonce, ntime, version };
        let sri = mining::SubmitSharesStandardOwned { channel_id, sequence_number, job_id, nonce, ntime, version };
        from_client(ClientMessage::SubmitSharesStandard(ours), mining(MiningOwned::SubmitSharesStandard(sri)), at);
    }

    #[test]
    fn submit_shares_extended(at in any::<Index>(), share in share(), extranonce in prefix()) {
        let [channel_id, sequence_number, job_id, nonce, ntime, version] = share;
        let ours = SubmitSharesExtended {
            channel_id, sequence_number, job_id, nonce, ntime, version, extranonce: &extranonce,
        };
        let sri = mining::SubmitSharesExtendedOwned {
            channel_id, sequence_number, job_id, nonce, ntime, version, extranonce: bytes(&extranonce),
        };
        from_client(ClientMessage::SubmitSharesExtended(ours), mining(MiningOwned::SubmitSharesExtended(sri)), at);
    }

    // E-20, F-6, F-41, F-44.
    #[test]
    fn submit_shares_extended_with_worker(
        share in share(), extranonce in prefix(), name in "[a-zA-Z0-9._ äöü-]{0,16}",
    ) {
        let [channel_id, sequence_number, job_id, nonce, ntime, version] = share;
        let ours = SubmitSharesExtended {
            channel_id, sequence_number, job_id, nonce, ntime, version, extranonce: &extranonce,
        };
        let sri = mining::SubmitSharesExtendedOwned {
            channel_id, sequence_number, job_id, nonce, ntime, version, extranonce: bytes(&extranonce),
        };
        let field = Tlv::new(
            extensions::EXTENSION_TYPE_WORKER_HASHRATE_TRACKING,
            extensions::TLV_FIELD_TYPE_USER_IDENTITY,
            name.as_bytes().to_vec(),
        );
        let fields = TlvList::from_slice(std::slice::from_ref(&field)).unwrap();
        let theirs = fields.build_frame_bytes_with_tlvs(MiningOwned::SubmitSharesExtended(sri)).unwrap();

        let (mut worker, mut frame) = (Vec::new(), Vec::new());
        tlv::write_worker(name.as_bytes(), &mut worker);
        write_frame_with(&ours, &worker, &mut frame);
        assert_eq!(hex::encode(&frame), hex::encode(theirs));

        let (header, payload) = parts(&frame);
        let Ok(Decoded::Message { message, trailing }) = ClientMessage::decode(header, payload) else {
            panic!("we do not read it");
        };
        assert_eq!(message, ClientMessage::SubmitSharesExtended(ours));
        assert_eq!(tlv::worker(trailing).unwrap().unwrap().name, name);

        let (header, payload) = frame.split_at_mut(6);
        let header = Header::from_bytes(header).unwrap();
        let (_, read) = parse_message_frame_with_tlvs(header, payload, &[0x0002]).unwrap();
        assert_eq!(read.unwrap_or_default(), [field]);
    }

    #[test]
    fn submit_shares_success(at in any::<Index>(), numbers in any::<(u32, u32, u32)>(), new_shares_sum in any::<u64>()) {
        let (channel_id, last_sequence_number, new_submits_accepted_count) = numbers;
        let ours =
            SubmitSharesSuccess { channel_id, last_sequence_number, new_submits_accepted_count, new_shares_sum };
        let sri = mining::SubmitSharesSuccessOwned {
            channel_id, last_sequence_number, new_submits_accepted_count, new_shares_sum,
        };
        from_server(ServerMessage::SubmitSharesSuccess(ours), mining(MiningOwned::SubmitSharesSuccess(sri)), at);
    }

    #[test]
    fn submit_shares_error(
        at in any::<Index>(), channel_id in any::<u32>(), sequence_number in any::<u32>(), error_code in text(),
    ) {
        let ours = SubmitSharesError { channel_id, sequence_number, error_code: &error_code };
        let sri = mining::SubmitSharesErrorOwned { channel_id, sequence_number, error_code: bytes(&error_code) };
        from_server(ServerMessage::SubmitSharesError(ours), mining(MiningOwned::SubmitSharesError(sri)), at);
    }

    // Extension 0x0001; W-E1.

    #[test]
    fn request_extensions(at in any::<Index>(), request_id in any::<u16>(), requested in numbers::<2>()) {
        let ours = RequestExtensions { request_id, requested: Integers(&requested) };
        let sri = extensions::RequestExtensionsOwned { request_id, requested_extensions: u16s(&requested) };
        from_client(
            ClientMessage::RequestExtensions(ours),
            negotiation(ExtensionsNegotiationOwned::RequestExtensions(sri)),
            at,
        );
    }

    #[test]
    fn request_extensions_success(at in any::<Index>(), request_id in any::<u16>(), supported in numbers::<2>()) {
        let ours = RequestExtensionsSuccess { request_id, supported: Integers(&supported) };
        let sri = extensions::RequestExtensionsSuccessOwned { request_id, supported_extensions: u16s(&supported) };
        from_server(
            ServerMessage::RequestExtensionsSuccess(ours),
            negotiation(ExtensionsNegotiationOwned::RequestExtensionsSuccess(sri)),
            at,
        );
    }

    #[test]
    fn request_extensions_error(
        at in any::<Index>(), request_id in any::<u16>(), unsupported in numbers::<2>(), required in numbers::<2>(),
    ) {
        let ours = RequestExtensionsError {
            request_id, unsupported: Integers(&unsupported), required: Integers(&required),
        };
        let sri = extensions::RequestExtensionsErrorOwned {
            request_id, unsupported_extensions: u16s(&unsupported), required_extensions: u16s(&required),
        };
        from_server(
            ServerMessage::RequestExtensionsError(ours),
            negotiation(ExtensionsNegotiationOwned::RequestExtensionsError(sri)),
            at,
        );
    }
}
