//! Submissions and their answers (05 §5.3.11 to 5.3.14). Nothing here allocates, but for the growth of `out`.

use crate::wire::CORE;

message! {
    /// 05 §5.3.11 (M-70).
    SubmitSharesStandard, "SubmitSharesStandard": CORE, 0x1a, true {
        channel_id: u32 = u32,
        sequence_number: u32 = u32,
        job_id: u32 = u32,
        nonce: u32 = u32,
        ntime: u32 = u32,
        /// The whole version field of the header (M-76).
        version: u32 = u32,
    }
}

message! {
    /// 05 §5.3.12 (M-70). TLVs may follow, see [`crate::wire::tlv`].
    SubmitSharesExtended<'a>, "SubmitSharesExtended": CORE, 0x1b, true {
        channel_id: u32 = u32,
        sequence_number: u32 = u32,
        job_id: u32 = u32,
        nonce: u32 = u32,
        ntime: u32 = u32,
        /// The whole version field of the header (M-76).
        version: u32 = u32,
        /// The client's part, behind the channel's prefix.
        extranonce: &'a [u8] = b0_32,
    }
}

message! {
    /// Accepts a batch (05 §5.3.13, M-80).
    SubmitSharesSuccess, "SubmitShares.Success": CORE, 0x1c, true {
        channel_id: u32 = u32,
        last_sequence_number: u32 = u32,
        /// Of this batch (M-82).
        new_submits_accepted_count: u32 = u32,
        /// Difficulties of this batch, rounded down once (M-83).
        new_shares_sum: u64 = u64,
    }
}

message! {
    /// Refuses one submission (05 §5.3.14, M-78).
    SubmitSharesError<'a>, "SubmitShares.Error": CORE, 0x1d, true {
        channel_id: u32 = u32,
        sequence_number: u32 = u32,
        error_code: &'a [u8] = str0_255,
    }
}
