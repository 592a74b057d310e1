//! Hex digits, in both directions.

/// Not a hex digit.
const NONE: u8 = 0xff;

static VALUES: [u8; 256] = {
    let mut values = [NONE; 256];
    let mut digit = 0u8;
    while digit < 16 {
        values[LOWER[digit as usize] as usize] = digit;
        values[LOWER[digit as usize].to_ascii_uppercase() as usize] = digit;
        digit += 1;
    }
    values
};

static LOWER: &[u8; 16] = b"0123456789abcdef";

/// One to eight hex digits of either case: shorter ones count as padded on the left (V1-68).
pub(crate) fn read_u32(text: &[u8]) -> Option<u32> {
    if text.is_empty() || text.len() > 8 {
        return None;
    }
    let mut value = 0u32;
    let mut seen = 0u8;
    for byte in text {
        let digit = VALUES[usize::from(*byte)];
        seen |= digit;
        value = (value << 4) | u32::from(digit & 0xf);
    }
    (seen < 16).then_some(value)
}

/// Fills `out` from exactly twice as many digits of either case.
pub(crate) fn read_bytes(text: &[u8], out: &mut [u8]) -> bool {
    let mut seen = 0u8;
    for (byte, pair) in out.iter_mut().zip(text.chunks_exact(2)) {
        let (high, low) = (VALUES[usize::from(pair[0])], VALUES[usize::from(pair[1])]);
        seen |= high | low;
        *byte = (high << 4) | (low & 0xf);
    }
    seen < 16 && text.len() == out.len() * 2
}

/// Whether all of `text` is hex digits.
pub(crate) fn is_hex(text: &[u8]) -> bool {
    text.iter().all(|byte| VALUES[usize::from(*byte)] != NONE)
}

/// Appends lower-case digits.
pub(crate) fn write(bytes: impl IntoIterator<Item = u8>, out: &mut Vec<u8>) {
    for byte in bytes {
        out.push(LOWER[usize::from(byte >> 4)]);
        out.push(LOWER[usize::from(byte & 0xf)]);
    }
}
