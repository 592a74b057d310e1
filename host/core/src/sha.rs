//! Double SHA-256 with nothing hashed twice: midstates, and padding laid out ahead.

use sha2::block_api::compress256;

/// A SHA-256 block.
pub type Block = [u8; 64];
/// SHA-256 state between blocks.
pub type State = [u32; 8];

const INITIAL: State =
    [0x6a09_e667, 0xbb67_ae85, 0x3c6e_f372, 0xa54f_f53a, 0x510e_527f, 0x9b05_688c, 0x1f83_d9ab, 0x5be0_cd19];

/// The padding block after 64 bytes of message.
const PADDING_AFTER_64: Block = {
    let mut block = [0; 64];
    block[0] = 0x80;
    block[62] = 2;
    block
};

/// The state after whole blocks.
pub fn midstate(blocks: &[Block]) -> State {
    let mut state = INITIAL;
    compress256(&mut state, blocks);
    state
}

/// Goes on with whole blocks.
pub fn absorb(state: &mut State, blocks: &[Block]) {
    compress256(state, blocks);
}

/// `SHA256(SHA256(message))` where `first` is the state before the last blocks of the padded message.
pub fn finish_double(first: State, blocks: &[Block]) -> [u8; 32] {
    let mut state = first;
    compress256(&mut state, blocks);
    second(state)
}

/// The outer hash of a finished inner state.
fn second(inner: State) -> [u8; 32] {
    let mut block = [0; 64];
    write_state(inner, &mut block);
    block[32] = 0x80;
    block[62] = 1;
    let mut state = INITIAL;
    compress256(&mut state, &[block]);
    let mut out = [0; 32];
    write_state(state, &mut out);
    out
}

fn write_state(state: State, out: &mut [u8]) {
    for (bytes, word) in out.chunks_exact_mut(4).zip(state) {
        bytes.copy_from_slice(&word.to_be_bytes());
    }
}

/// Double SHA-256 of two nodes of a merkle tree: three compressions.
pub fn double_pair(left: &[u8; 32], right: &[u8; 32]) -> [u8; 32] {
    let mut block = [0; 64];
    block[..32].copy_from_slice(left);
    block[32..].copy_from_slice(right);
    finish_double(INITIAL, &[block, PADDING_AFTER_64])
}

/// Double SHA-256 of a block header: three compressions.
pub fn double_header(header: &[u8; 80]) -> [u8; 32] {
    let mut blocks = [[0; 64]; 2];
    blocks[0].copy_from_slice(&header[..64]);
    blocks[1][..16].copy_from_slice(&header[64..]);
    blocks[1][16] = 0x80;
    // 640 bits.
    blocks[1][62] = 0x02;
    blocks[1][63] = 0x80;
    finish_double(INITIAL, &blocks)
}

/// A block header's first 64 bytes, hashed: for miners that change only the time and the nonce.
#[derive(Clone, Copy, Debug)]
pub struct HeaderMidstate {
    version: [u8; 4],
    state: State,
}

impl HeaderMidstate {
    /// Double SHA-256 of `header`, whose first 64 bytes differ between calls in the version only: two compressions where
    /// the version is that of the last call, else three.
    pub fn double_header(cached: &mut Option<Self>, header: &[u8; 80]) -> [u8; 32] {
        let version = [header[0], header[1], header[2], header[3]];
        let state = match cached {
            Some(known) if known.version == version => known.state,
            _ => {
                let mut first = [0; 64];
                first.copy_from_slice(&header[..64]);
                let state = midstate(&[first]);
                *cached = Some(Self { version, state });
                state
            }
        };
        let mut last = [0; 64];
        last[..16].copy_from_slice(&header[64..]);
        last[16] = 0x80;
        // 640 bits.
        last[62] = 0x02;
        last[63] = 0x80;
        finish_double(state, &[last])
    }
}

/// Lays `tail` out in padded blocks, for a message of `total` bytes of which `tail` are the last.
pub fn padded(tail: &[u8], total: usize) -> Vec<Block> {
    let mut bytes = tail.to_vec();
    bytes.push(0x80);
    while bytes.len() % 64 != 56 {
        bytes.push(0);
    }
    let bits = u64::try_from(total).unwrap_or(u64::MAX).saturating_mul(8);
    bytes.extend_from_slice(&bits.to_be_bytes());
    bytes
        .chunks_exact(64)
        .map(|chunk| {
            let mut block = [0; 64];
            block.copy_from_slice(chunk);
            block
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use bitcoin::hashes::{Hash, sha256d};
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn agrees_with_the_library(message in prop::collection::vec(any::<u8>(), 0..400), blocks in 0usize..7) {
            let whole = blocks.min(message.len() / 64);
            let head: Vec<Block> = message[..whole * 64].chunks_exact(64).map(|c| c.try_into().unwrap()).collect();
            let tail = padded(&message[whole * 64..], message.len());
            let ours = finish_double(midstate(&head), &tail);
            prop_assert_eq!(ours, sha256d::Hash::hash(&message).to_byte_array());
        }

        #[test]
        fn pairs_and_headers(bytes in prop::collection::vec(any::<u8>(), 80)) {
            let header: [u8; 80] = bytes.clone().try_into().unwrap();
            prop_assert_eq!(double_header(&header), sha256d::Hash::hash(&bytes).to_byte_array());
            let mut cached = None;
            for nonce in 0..3u8 {
                let mut header = header;
                header[0] ^= nonce / 2;
                header[79] = nonce;
                let ours = HeaderMidstate::double_header(&mut cached, &header);
                prop_assert_eq!(ours, sha256d::Hash::hash(&header).to_byte_array());
            }
            let left = bytes[..32].try_into().unwrap();
            let right = bytes[32..64].try_into().unwrap();
            prop_assert_eq!(double_pair(&left, &right), sha256d::Hash::hash(&bytes[..64]).to_byte_array());
        }
    }
}
