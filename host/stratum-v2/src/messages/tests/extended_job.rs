use proptest::collection::vec;
use proptest::prelude::*;

use crate::messages::{ExtendedJob, ExtendedJobTail, NewExtendedMiningJob, TailError, write_frame};

#[test]
fn a_coinbase_that_does_not_fit_is_refused_not_cut() {
    let long = vec![0; 65_536];
    let refused = TailError::Coinbase { part: "suffix", length: 65_536 };
    assert_eq!(ExtendedJobTail::new(2, true, &[], &[], &long), Err(refused));
    assert!(ExtendedJobTail::new(2, true, &[], &long[1..], &long[1..]).is_ok());
    let path = vec![[0; 32]; 256];
    let refused = TailError::MerklePath { length: 256 };
    assert_eq!(ExtendedJobTail::new(2, true, &path, &[], &[]), Err(refused));
    assert!(ExtendedJobTail::new(2, true, &path[1..], &[], &[]).is_ok());
}

proptest! {
    #[test]
    fn head_and_tail_are_the_whole_message(
        channel_id: u32, job_id: u32, min_ntime: Option<u32>, version: u32, version_rolling_allowed: bool,
        path in vec(any::<[u8; 32]>(), 0..16), prefix in vec(any::<u8>(), 0..300),
        suffix in vec(any::<u8>(), 0..300),
    ) {
        let mut whole = Vec::new();
        let message = NewExtendedMiningJob {
            channel_id, job_id, min_ntime, version, version_rolling_allowed, merkle_path: &path,
            coinbase_tx_prefix: &prefix, coinbase_tx_suffix: &suffix,
        };
        write_frame(&message, &mut whole);
        let tail = ExtendedJobTail::new(version, version_rolling_allowed, &path, &prefix, &suffix).unwrap();
        let job = ExtendedJob { channel_id, job_id, min_ntime, tail: &tail };
        let mut frame = Vec::new();
        job.write_frame(&mut frame);
        prop_assert_eq!(&frame, &whole);
        let parts = [&job.header().write()[..], job.head().as_ref(), tail.bytes()].concat();
        prop_assert_eq!(parts, whole);
    }
}
