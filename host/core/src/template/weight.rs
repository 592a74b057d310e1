//! Weights of transactions (BIP141), read off their bytes without taking them apart.

/// Of a block, header and all (consensus).
const BLOCK_WEIGHT: u64 = 4_000_000;
/// Header of 80 bytes and a count of transactions of up to 5.
const HEADER_WEIGHT: u64 = 85 * 4;
/// Marker, flag, and a witness of one item of 32 bytes.
const COINBASE_WITNESS: u64 = 36;

/// Bytes of a coinbase without its witness beside transactions that weigh so much together.
pub(super) fn coinbase_room(transactions: u64) -> usize {
    let left = BLOCK_WEIGHT.saturating_sub(transactions + HEADER_WEIGHT + COINBASE_WITNESS) / 4;
    usize::try_from(left).unwrap_or(usize::MAX)
}

/// Of a transaction as a block carries it; the most it can be where the bytes are none.
pub(super) fn weight(transaction: &[u8]) -> u64 {
    let all = transaction.len();
    let base = base_length(transaction).unwrap_or(all);
    u64::try_from(base * 3 + all).unwrap_or(u64::MAX)
}

/// The length without marker, flag and witness.
fn base_length(transaction: &[u8]) -> Option<usize> {
    const VERSION: usize = 4;
    const LOCK_TIME: usize = 4;
    let mut rest = transaction.get(VERSION..)?;
    if !rest.starts_with(&[0, 1]) {
        return Some(transaction.len());
    }
    skip(&mut rest, 2)?;
    let begin = rest.len();
    for _ in 0..count(&mut rest)? {
        skip(&mut rest, 36)?;
        skip_script(&mut rest)?;
        skip(&mut rest, 4)?;
    }
    for _ in 0..count(&mut rest)? {
        skip(&mut rest, 8)?;
        skip_script(&mut rest)?;
    }
    Some(VERSION + (begin - rest.len()) + LOCK_TIME)
}

fn skip(rest: &mut &[u8], length: usize) -> Option<()> {
    *rest = rest.get(length..)?;
    Some(())
}

fn skip_script(rest: &mut &[u8]) -> Option<()> {
    let length = usize::try_from(count(rest)?).ok()?;
    skip(rest, length)
}

/// A CompactSize.
fn count(rest: &mut &[u8]) -> Option<u64> {
    let (first, after) = rest.split_first()?;
    let length = match first {
        0xfd => 2,
        0xfe => 4,
        0xff => 8,
        short => {
            *rest = after;
            return Some(u64::from(*short));
        }
    };
    let (number, after) = after.split_at_checked(length)?;
    *rest = after;
    let mut bytes = [0; 8];
    bytes[..length].copy_from_slice(number);
    Some(u64::from_le_bytes(bytes))
}

#[cfg(test)]
mod tests {
    use bitcoin::absolute::LockTime;
    use bitcoin::transaction::Version;
    use bitcoin::{Amount, OutPoint, ScriptBuf, Sequence, Transaction, TxIn, TxOut, Witness, consensus};
    use proptest::prelude::*;

    use super::*;

    type Input = (usize, Vec<usize>);

    fn transaction(inputs: &[Input], outputs: &[usize]) -> Transaction {
        let script = |length: usize| ScriptBuf::from_bytes(vec![1; length]);
        let input = |(length, items): &Input| TxIn {
            previous_output: OutPoint::null(),
            script_sig: script(*length),
            sequence: Sequence::MAX,
            witness: items.iter().map(|item| vec![2; *item]).collect::<Vec<_>>().into(),
        };
        Transaction {
            version: Version::TWO,
            lock_time: LockTime::ZERO,
            input: inputs.iter().map(input).collect(),
            output: outputs
                .iter()
                .map(|length| TxOut { value: Amount::ONE_SAT, script_pubkey: script(*length) })
                .collect(),
        }
    }

    #[test]
    fn a_full_block_is_as_heavy_as_it_may_be() {
        let script = ScriptBuf::from_bytes(vec![1; 100]);
        let input = TxIn { script_sig: script, witness: Witness::from(vec![vec![0; 32]]), ..TxIn::default() };
        let mut coinbase = transaction(&[], &[30; 40]);
        coinbase.input = vec![input];
        let others = BLOCK_WEIGHT - coinbase.weight().to_wu() - HEADER_WEIGHT;
        assert_eq!(coinbase_room(others), coinbase.base_size());
        assert_eq!(coinbase_room(others + 1), coinbase.base_size() - 1);
        assert_eq!(coinbase_room(u64::MAX / 2), 0);
    }

    proptest! {
        #[test]
        fn weights_are_those_of_the_library(
            inputs in prop::collection::vec((0usize..300, prop::collection::vec(0usize..300, 0..4)), 1..260),
            outputs in prop::collection::vec(0usize..300, 0..5),
        ) {
            let transaction = transaction(&inputs, &outputs);
            let bytes = consensus::serialize(&transaction);
            prop_assert_eq!(weight(&bytes), transaction.weight().to_wu());
        }

        #[test]
        fn any_bytes_have_a_weight(bytes in prop::collection::vec(any::<u8>(), 0..200), segwit in any::<bool>()) {
            let mark: &[u8] = if segwit { &[2, 0, 0, 0, 0, 1] } else { &[] };
            let bytes = [mark, &bytes].concat();
            let length = u64::try_from(bytes.len()).unwrap();
            prop_assert!((length..=length * 4).contains(&weight(&bytes)));
        }
    }
}
