use std::time::Duration;

use proptest::prelude::*;

use super::*;

fn share(sequence: u32, difficulty: f64, at: u64) -> Held {
    let difficulty = Difficulty::saturating(difficulty);
    Held { channel: 2, sequence, difficulty, at: Moment(at), is_block: false }
}

#[test]
fn a_sum_is_truncated_once() {
    // M-82, M-83: 0.4 thrice is one, and what is left over is not carried on.
    let mut batch = Batch::default();
    for sequence in 1..=3 {
        batch.add(&share(sequence, 0.4, 0));
    }
    let told = batch.take(2, Moment(0));
    assert_eq!((told.new_submits_accepted_count, told.new_shares_sum), (3, 1));
    assert_eq!((told.channel_id, told.last_sequence_number), (2, 3));
    batch.add(&share(4, 0.9, 0));
    assert_eq!(batch.take(2, Moment(0)).new_shares_sum, 0);
}

#[test]
fn targets_of_a_batch_may_differ() {
    // M-82: each share by the difficulty it was assigned.
    let mut batch = Batch::default();
    batch.add(&share(1, 1000.5, 0));
    batch.add(&share(2, 8.5, 0));
    assert_eq!(batch.take(2, Moment(0)).new_shares_sum, 1009);
}

proptest! {
    #[test]
    fn batches_come_to_all_shares(
        difficulties in prop::collection::vec(0.001f64..5000.0, 1..200),
        cuts in prop::collection::vec(any::<bool>(), 200),
    ) {
        let (mut batch, mut count, mut sum, mut batches) = (Batch::default(), 0, 0, 0);
        for (difficulty, cut) in difficulties.iter().zip(&cuts) {
            batch.add(&share(7, *difficulty, 0));
            if *cut {
                let told = batch.take(2, Moment(0));
                prop_assert!(batch.is_empty());
                (count, sum, batches) =
                    (count + told.new_submits_accepted_count, sum + told.new_shares_sum, batches + 1);
            }
        }
        let rest = batch.take(2, Moment(0));
        (count, sum, batches) =
            (count + rest.new_submits_accepted_count, sum + rest.new_shares_sum, batches + 1);
        prop_assert_eq!(usize::try_from(count).unwrap(), difficulties.len());
        // Less than one is lost with each.
        let exact: f64 = difficulties.iter().sum();
        prop_assert!(sum as f64 <= exact && exact - sum as f64 <= f64::from(batches));
    }
}

#[test]
fn a_batch_is_due_by_count_by_time_or_at_once() {
    // M-84, M-85
    let after = Duration::from_secs(1);
    let mut batch = Batch::default();
    assert!(batch.add(&share(1, 1.0, 5_000)), "it begins");
    assert_eq!(batch.due(16, after), Moment(0), "nothing was told before");
    batch.take(2, Moment(5_000));
    batch.add(&share(2, 1.0, 5_500));
    assert!(!batch.add(&share(3, 1.0, 5_600)));
    assert_eq!(batch.due(16, after), Moment(6_500));
    assert_eq!(batch.due(2, after), Moment(0));
    batch.add(&Held { is_block: true, ..share(4, 1.0, 5_700) });
    assert_eq!(batch.due(16, after), Moment(0));
    batch.take(2, Moment(5_700));
    batch.add(&share(5, 1.0, 6_700));
    assert_eq!(batch.due(16, after), Moment(0), "after a pause");
}
