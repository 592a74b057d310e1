//! Stratum V2 frames one behind another, unencrypted: a header is what it was, and whatever its payload holds is read
//! or refused.

use sluice_stratum_v2::wire::FrameHeader;

use super::sv2_message;

pub fn run(data: &[u8]) {
    let mut rest = data;
    while let Some((head, behind)) = rest.split_first_chunk() {
        let header = FrameHeader::read(*head);
        assert_eq!(header.write(), *head);
        let Some((payload, next)) = behind.split_at_checked(header.length as usize) else { return };
        sv2_message::read(header, payload);
        rest = next;
    }
}
