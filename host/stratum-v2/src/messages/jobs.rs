//! Work and its target (05 §5.3.15 to 5.3.17, 5.3.21). [`super::ExtendedJob`] writes extended jobs for many.

use crate::wire::CORE;

message! {
    /// A job of a standard channel (05 §5.3.15, M-31).
    NewMiningJob, "NewMiningJob": CORE, 0x15, true {
        channel_id: u32 = u32,
        job_id: u32 = u32,
        /// `None`: a future job, dormant until a [`SetNewPrevHash`] names it (M-35).
        min_ntime: Option<u32> = option_u32,
        version: u32 = u32,
        merkle_root: [u8; 32] = u256,
    }
}

message! {
    /// A job of an extended channel or of a group (05 §5.3.16, M-32). Prefix and suffix without the BIP141 parts
    /// (M-38).
    NewExtendedMiningJob<'a>, "NewExtendedMiningJob": CORE, 0x1f, true {
        channel_id: u32 = u32,
        job_id: u32 = u32,
        /// `None`: a future job, dormant until a [`SetNewPrevHash`] names it (M-35).
        min_ntime: Option<u32> = option_u32,
        version: u32 = u32,
        version_rolling_allowed: bool = bool,
        merkle_path: &'a [[u8; 32]] = seq_u256,
        coinbase_tx_prefix: &'a [u8] = b0_64k,
        coinbase_tx_suffix: &'a [u8] = b0_64k,
    }
}

message! {
    /// Begins work on a block with a future job; every other job of the addressed channels dies (05 §5.3.17, M-41).
    SetNewPrevHash, "SetNewPrevHash": CORE, 0x20, true {
        channel_id: u32 = u32,
        job_id: u32 = u32,
        prev_hash: [u8; 32] = u256,
        min_ntime: u32 = u32,
        nbits: u32 = u32,
    }
}

message! {
    /// 05 §5.3.21 (M-50).
    SetTarget, "SetTarget": CORE, 0x21, true {
        channel_id: u32 = u32,
        maximum_target: [u8; 32] = u256,
    }
}
