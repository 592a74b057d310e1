//! Setting up and moving a connection (03 §3.6).

use crate::wire::CORE;

/// The mining protocol in [`SetupConnection::protocol`]; 1 is job declaration, 2 template distribution (S-4).
pub const MINING: u8 = 0;
/// The only version there is (S-5).
pub const VERSION: u16 = 2;

/// Request flags of the mining protocol (05 §5.3.1, S-10).
pub const REQUIRES_STANDARD_JOBS: u32 = 1 << 0;
/// See [`REQUIRES_STANDARD_JOBS`].
pub const REQUIRES_WORK_SELECTION: u32 = 1 << 1;
/// See [`REQUIRES_STANDARD_JOBS`].
pub const REQUIRES_VERSION_ROLLING: u32 = 1 << 2;
/// Answer flags of the mining protocol (05 §5.3.1, S-10).
pub const REQUIRES_FIXED_VERSION: u32 = 1 << 0;
/// See [`REQUIRES_FIXED_VERSION`].
pub const REQUIRES_EXTENDED_CHANNELS: u32 = 1 << 1;

message! {
    /// The first message of a client (03 §3.6.1, S-3). The strings are bytes that nobody vouches for (S-17).
    SetupConnection<'a>, "SetupConnection": CORE, 0x00, false {
        protocol: u8 = u8,
        min_version: u16 = u16,
        max_version: u16 = u16,
        flags: u32 = u32,
        endpoint_host: &'a [u8] = str0_255,
        endpoint_port: u16 = u16,
        vendor: &'a [u8] = str0_255,
        hardware_version: &'a [u8] = str0_255,
        firmware: &'a [u8] = str0_255,
        device_id: &'a [u8] = str0_255,
    }
}

message! {
    /// 03 §3.6.2.
    SetupConnectionSuccess, "SetupConnection.Success": CORE, 0x01, false {
        used_version: u16 = u16,
        flags: u32 = u32,
    }
}

message! {
    /// 03 §3.6.3.
    SetupConnectionError<'a>, "SetupConnection.Error": CORE, 0x02, false {
        /// Every flag this server does not support; 0 if flags are not the reason (S-6).
        flags: u32 = u32,
        error_code: &'a [u8] = str0_255,
    }
}

message! {
    /// A proxy says that a channel's other end changed (03 §3.6.4, S-19).
    ChannelEndpointChanged, "ChannelEndpointChanged": CORE, 0x03, true {
        channel_id: u32 = u32,
    }
}

message! {
    /// 03 §3.6.5.
    Reconnect<'a>, "Reconnect": CORE, 0x04, false {
        /// Empty: the present one.
        new_host: &'a [u8] = str0_255,
        /// 0: the present one.
        new_port: u16 = u16,
    }
}
