//! Opening, changing, grouping and closing channels (05 §5.3.2 to 5.3.10, 5.3.22).

use crate::wire::{CORE, Integers};

message! {
    /// 05 §5.3.2 (M-10).
    OpenStandardMiningChannel<'a>, "OpenStandardMiningChannel": CORE, 0x10, false {
        /// The client's own, repeated as it is (M-11).
        request_id: u32 = u32,
        user_identity: &'a [u8] = str0_255,
        /// Hashes per second, any bits; see [`crate::wire::types::nominal_hash_rate`].
        nominal_hash_rate: f32 = f32,
        max_target: [u8; 32] = u256,
    }
}

message! {
    /// 05 §5.3.3 (M-17).
    OpenStandardMiningChannelSuccess<'a>, "OpenStandardMiningChannel.Success": CORE, 0x11, false {
        request_id: u32 = u32,
        channel_id: u32 = u32,
        target: [u8; 32] = u256,
        /// The whole extranonce of the channel (M-18).
        extranonce_prefix: &'a [u8] = b0_32,
        group_channel_id: u32 = u32,
    }
}

message! {
    /// The refusal of either kind of channel (05 §5.3.6).
    OpenMiningChannelError<'a>, "OpenMiningChannel.Error": CORE, 0x12, false {
        request_id: u32 = u32,
        error_code: &'a [u8] = str0_255,
    }
}

message! {
    /// 05 §5.3.4 (M-10).
    OpenExtendedMiningChannel<'a>, "OpenExtendedMiningChannel": CORE, 0x13, false {
        /// The client's own, repeated as it is (M-11).
        request_id: u32 = u32,
        user_identity: &'a [u8] = str0_255,
        /// Hashes per second, any bits; see [`crate::wire::types::nominal_hash_rate`].
        nominal_hash_rate: f32 = f32,
        max_target: [u8; 32] = u256,
        /// Bytes.
        min_extranonce_size: u16 = u16,
    }
}

message! {
    /// 05 §5.3.5 (M-17): the size comes before the prefix.
    OpenExtendedMiningChannelSuccess<'a>, "OpenExtendedMiningChannel.Success": CORE, 0x14, false {
        request_id: u32 = u32,
        channel_id: u32 = u32,
        target: [u8; 32] = u256,
        /// Bytes the client may fill, behind the prefix.
        extranonce_size: u16 = u16,
        extranonce_prefix: &'a [u8] = b0_32,
        group_channel_id: u32 = u32,
    }
}

message! {
    /// 05 §5.3.7 (M-53).
    UpdateChannel, "UpdateChannel": CORE, 0x16, true {
        channel_id: u32 = u32,
        /// Hashes per second, any bits; see [`crate::wire::types::nominal_hash_rate`].
        nominal_hash_rate: f32 = f32,
        maximum_target: [u8; 32] = u256,
    }
}

message! {
    /// 05 §5.3.8 (M-55).
    UpdateChannelError<'a>, "UpdateChannel.Error": CORE, 0x17, true {
        channel_id: u32 = u32,
        error_code: &'a [u8] = str0_255,
    }
}

message! {
    /// Either side ends a channel or all channels of a group (05 §5.3.9, M-61).
    CloseChannel<'a>, "CloseChannel": CORE, 0x18, true {
        channel_id: u32 = u32,
        reason_code: &'a [u8] = str0_255,
    }
}

message! {
    /// For jobs sent afterwards (05 §5.3.10, M-64).
    SetExtranoncePrefix<'a>, "SetExtranoncePrefix": CORE, 0x19, true {
        channel_id: u32 = u32,
        extranonce_prefix: &'a [u8] = b0_32,
    }
}

message! {
    /// 05 §5.3.22. It names channels and yet has no channel bit (M-100).
    SetGroupChannel<'a>, "SetGroupChannel": CORE, 0x25, false {
        group_channel_id: u32 = u32,
        channel_ids: Integers<'a, 4> = seq_u32,
    }
}
