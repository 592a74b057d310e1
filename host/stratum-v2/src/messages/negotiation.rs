//! Agreeing on extensions: extension 0x0001 (E-1). Its request ids are U16.

use crate::wire::{Integers, NEGOTIATION};

message! {
    RequestExtensions<'a>, "RequestExtensions": NEGOTIATION, 0x00, false {
        request_id: u16 = u16,
        requested: Integers<'a, 2> = seq_u16,
    }
}

message! {
    RequestExtensionsSuccess<'a>, "RequestExtensions.Success": NEGOTIATION, 0x01, false {
        request_id: u16 = u16,
        supported: Integers<'a, 2> = seq_u16,
    }
}

message! {
    RequestExtensionsError<'a>, "RequestExtensions.Error": NEGOTIATION, 0x02, false {
        request_id: u16 = u16,
        unsupported: Integers<'a, 2> = seq_u16,
        /// What the server requires and was not asked for (E-4).
        required: Integers<'a, 2> = seq_u16,
    }
}
