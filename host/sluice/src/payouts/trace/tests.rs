use bitcoin::{ScriptBuf, TxOut};

use super::*;
use crate::payouts::testchain::{SPACING, START, TestChain, output, script, spending};

/// A chain of `height` blocks with one coin in the first.
fn chain(height: u32) -> (TestChain, OutPoint) {
    let mut chain = TestChain::new();
    let txid = chain.mine(vec![output(&script(1), 50_000)], vec![]);
    chain.mine_empty(height - 1);
    (chain, OutPoint::new(txid, 0))
}

fn pay(coin: OutPoint, number: u8) -> Transaction {
    spending(&[coin], vec![output(&script(number), 40_000)])
}

fn at(height: u32) -> Timestamp {
    Timestamp(u64::from(START + height * SPACING) * 1000)
}

fn search(chain: &TestChain, txid: Option<Txid>, coins: &[OutPoint], since: Timestamp) -> Found {
    find(chain, txid, coins, since, &mut |_| {}).unwrap()
}

#[test]
fn waits_in_the_mempool_then_is_in_a_block_without_any_index() {
    let (mut chain, coin) = chain(300);
    let transaction = pay(coin, 2);
    let txid = transaction.compute_txid();
    assert!(matches!(search(&chain, Some(txid), &[coin], at(290)), Found::Nothing { whole: true, .. }));
    chain.mempool.push(transaction.clone());
    let Found::Seen(seen) = search(&chain, Some(txid), &[coin], at(290)) else { panic!("it waits") };
    assert_eq!((seen.txid, seen.block), (txid, None));
    chain.mempool.clear();
    chain.mine(vec![TxOut::NULL], vec![transaction.clone()]);
    chain.mine_empty(5);
    let Found::Seen(seen) = search(&chain, Some(txid), &[], at(290)) else { panic!("it is in a block") };
    let block = seen.block.unwrap();
    assert_eq!((seen.transaction, block.height, block.confirmations), (transaction, 301, Some(6)));
}

#[test]
fn reads_no_more_blocks_than_the_time_asks_for() {
    let (chain, coin) = chain(300);
    let txid = pay(coin, 2).compute_txid();
    let found = search(&chain, Some(txid), &[coin], at(290));
    // From block 300 to three hours before block 290, and a dozen more.
    let blocks = 11 + 18 + OLD_IN_A_ROW;
    assert_eq!(found, Found::Nothing { blocks, whole: true });
    assert_eq!(chain.read.get(), blocks);
    // To the first block, and no further.
    assert_eq!(search(&chain, Some(txid), &[], Timestamp(0)), Found::Nothing { blocks: 301, whole: true });
}

#[test]
fn an_index_spares_the_search() {
    let (mut chain, coin) = chain(300);
    let transaction = pay(coin, 2);
    chain.mine(vec![TxOut::NULL], vec![transaction.clone()]);
    chain.mine_empty(2);
    chain.index = true;
    let found = search(&chain, Some(transaction.compute_txid()), &[coin], at(0));
    assert!(matches!(found, Found::Seen(Sighting { block: Some(_), .. })));
    assert_eq!(chain.read.get(), 0);
}

#[test]
fn another_transaction_with_the_coin_is_found_in_mempool_and_chain() {
    let (mut chain, coin) = chain(200);
    let (ours, other) = (pay(coin, 2).compute_txid(), pay(coin, 3));
    chain.mempool.push(other.clone());
    let Found::Seen(by) = search(&chain, Some(ours), &[coin], at(195)) else { panic!("seen") };
    assert_eq!((by.txid, by.block), (other.compute_txid(), None));
    chain.mempool.clear();
    chain.mine(vec![TxOut::NULL], vec![other.clone()]);
    let Found::Seen(by) = search(&chain, Some(ours), &[coin], at(195)) else { panic!("seen") };
    assert_eq!((by.txid, by.block.unwrap().height), (other.compute_txid(), 201));
    // A reorganisation takes it away again.
    chain.lose_tip();
    assert!(matches!(search(&chain, Some(ours), &[coin], at(195)), Found::Nothing { whole: true, .. }));
}

#[test]
fn the_fee_is_known_where_all_inputs_are() {
    let (mut chain, coin) = chain(10);
    let foreign = chain.mine(vec![output(&ScriptBuf::new(), 7_000)], vec![]);
    let foreign = OutPoint::new(foreign, 0);
    let transaction = spending(&[coin, foreign], vec![output(&script(2), 56_000)]);
    let reserved = [Coin { outpoint: coin, amount: Amount::from_sat(50_000) }];
    assert_eq!(fee(&chain, &transaction, &reserved).unwrap(), None);
    chain.index = true;
    assert_eq!(fee(&chain, &transaction, &reserved).unwrap(), Some(Amount::from_sat(1_000)));
    let ours = spending(&[coin], vec![output(&script(2), 49_500)]);
    chain.index = false;
    assert_eq!(fee(&chain, &ours, &reserved).unwrap(), Some(Amount::from_sat(500)));
}
