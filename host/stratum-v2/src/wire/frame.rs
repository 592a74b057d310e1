//! The six bytes before every payload (03 §3.2; F-1 to F-5).

#[cfg(test)]
mod tests;

/// The top bit of the first field: the payload begins with a channel id (F-3).
const CHANNEL_BIT: u16 = 0x8000;
/// The largest length a U24 can state (F-2).
pub const PAYLOAD_LIMIT: u32 = 0xff_ffff;

/// The header of a frame. Every combination of bytes is one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FrameHeader {
    /// The extension's number, without the channel bit (F-4): 15 bits.
    pub extension: u16,
    /// Whether the payload says that it begins with a U32 channel id (F-5). Received bits are not to be relied on
    /// (F-8).
    pub channel_message: bool,
    /// What it is within the extension.
    pub message: u8,
    /// Bytes of payload behind this header, before encryption (F-2): 24 bits.
    pub length: u32,
}

impl FrameHeader {
    /// Bytes on the wire.
    pub const LENGTH: usize = 6;

    /// Reads any six bytes.
    pub const fn read(bytes: [u8; Self::LENGTH]) -> Self {
        let [low, high, message, a, b, c] = bytes;
        let extension = u16::from_le_bytes([low, high]);
        Self {
            extension: extension & !CHANNEL_BIT,
            channel_message: extension & CHANNEL_BIT != 0,
            message,
            length: u32::from_le_bytes([a, b, c, 0]),
        }
    }

    /// The bytes to send. What 15 or 24 bits cannot hold is cut to them; nothing this crate encodes is that large.
    pub const fn write(self) -> [u8; Self::LENGTH] {
        let bit = if self.channel_message { CHANNEL_BIT } else { 0 };
        let [low, high] = (self.extension & !CHANNEL_BIT | bit).to_le_bytes();
        let length = if self.length > PAYLOAD_LIMIT { PAYLOAD_LIMIT } else { self.length };
        let [a, b, c, _] = length.to_le_bytes();
        [low, high, self.message, a, b, c]
    }
}
