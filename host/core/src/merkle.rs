//! Merkle branches of the coinbase.

use bitcoin::Txid;
use bitcoin::hashes::Hash;

use crate::sha::double_pair;

/// A node of the tree, in internal byte order.
pub type Node = [u8; 32];

/// What the coinbase's hash is joined with, from the leaves up: `ceil(log2(n + 1))` nodes for `n` other transactions.
pub fn branch(others: &[Txid]) -> Vec<Node> {
    // The coinbase is not known yet; its place in every level is the gap that the branch fills.
    let mut level: Vec<Node> = others.iter().map(|txid| txid.to_byte_array()).collect();
    let mut branch = Vec::new();
    while let Some((first, rest)) = level.split_first() {
        branch.push(*first);
        level = rest.chunks(2).map(|pair| double_pair(&pair[0], pair.last().unwrap_or(&pair[0]))).collect();
    }
    branch
}

/// The root over the coinbase and its branch: three compressions per level.
pub fn root(coinbase: Node, branch: &[Node]) -> Node {
    branch.iter().fold(coinbase, |left, right| double_pair(&left, right))
}

#[cfg(test)]
mod tests {
    use bitcoin::merkle_tree;
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn agrees_with_the_library(seeds in prop::collection::vec(any::<[u8; 32]>(), 1..70)) {
            let txids: Vec<Txid> = seeds.into_iter().map(Txid::from_byte_array).collect();
            let expected = merkle_tree::calculate_root(txids.iter().copied()).unwrap().to_byte_array();
            prop_assert_eq!(root(txids[0].to_byte_array(), &branch(&txids[1..])), expected);
        }
    }
}
