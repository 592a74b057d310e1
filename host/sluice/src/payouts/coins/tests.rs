use bitcoin::TxOut;
use sluice_core::units::Timestamp;
use sluice_ledger::payouts::{BatchId, Line};

use super::*;
use crate::payouts::testchain::{TestChain, address, output, script, spending};

struct Pool {
    chain: TestChain,
    coinbases: Vec<OwnCoinbase>,
}

impl Pool {
    fn new() -> Self {
        Self { chain: TestChain::new(), coinbases: Vec::new() }
    }

    /// A block of the pool's whose coinbase pays it so much, beside a miner.
    fn block(&mut self, sats: u64) -> OutPoint {
        let outputs = vec![output(&script(50), 777), output(&script(1), sats)];
        let txid = self.chain.mine(outputs, vec![]);
        self.coinbases.push(OwnCoinbase {
            block: self.chain.tip_hash(),
            height: self.chain.height(),
            address: address(1).to_string(),
            amount: Amount::from_sat(sats),
        });
        OutPoint::new(txid, 1)
    }

    fn spend(&mut self, coin: OutPoint, outputs: Vec<TxOut>) -> Txid {
        let transaction = spending(&[coin], outputs);
        let txid = transaction.compute_txid();
        self.chain.mine(vec![TxOut::NULL], vec![transaction]);
        txid
    }

    fn purse(&self, batches: &[Batch], taken: &[OutPoint]) -> Vec<(OutPoint, u64)> {
        let taken = taken.iter().copied().collect();
        let own = [script(1)];
        let coinbases = self.coinbases.clone();
        let holdings = Holdings { network: Network::Regtest, coinbases, batches, own: &own, taken };
        let mut purse = Purse::new(&self.chain, holdings).unwrap();
        let next = || purse.take().unwrap();
        std::iter::from_fn(next).map(|input| (input.coin.outpoint, input.coin.amount.to_sat())).collect()
    }
}

fn confirmed(txid: Txid, height: u32, number: u8, sats: u64) -> Batch {
    let line =
        Line { account: "a".into(), address: address(number).to_string(), amount: Amount::from_sat(sats) };
    let state = BatchState::Confirmed { txid, height, fee: Amount::from_sat(1) };
    Batch { id: BatchId(1), at: Timestamp(0), state, lines: vec![line], coins: vec![] }
}

#[test]
fn mature_and_unspent_coinbases_are_given_out_the_largest_first() {
    let mut pool = Pool::new();
    let small = pool.block(1_000);
    let spent = pool.block(9_000);
    let large = pool.block(5_000);
    let taken = pool.block(7_000);
    pool.spend(spent, vec![TxOut::NULL]);
    pool.chain.mine_empty(98);
    let young = pool.block(8_000);
    assert_eq!(pool.purse(&[], &[taken]), [(large, 5_000), (small, 1_000)]);
    // A coinbase can be spent by the block after the 100th (consensus).
    pool.chain.mine_empty(98);
    assert!(!pool.purse(&[], &[taken]).contains(&(young, 8_000)));
    pool.chain.mine_empty(1);
    assert_eq!(pool.purse(&[], &[taken])[0], (young, 8_000));
    // What waits in the mempool is spent.
    pool.chain.mempool.push(spending(&[young], vec![TxOut::NULL]));
    assert_eq!(pool.purse(&[], &[taken])[0], (large, 5_000));
}

#[test]
fn change_of_confirmed_batches_is_the_pools_again() {
    let mut pool = Pool::new();
    let coin = pool.block(1_000_000);
    pool.chain.mine_empty(100);
    let outputs =
        vec![output(&script(60), 400_000), output(&script(1), 550_000), output(&script(61), 40_000)];
    let txid = pool.spend(coin, outputs);
    let batch = confirmed(txid, pool.chain.height(), 60, 400_000);
    assert_eq!(pool.purse(std::slice::from_ref(&batch), &[]), [(OutPoint::new(txid, 1), 550_000)]);
    pool.spend(OutPoint::new(txid, 1), vec![TxOut::NULL]);
    assert_eq!(pool.purse(&[batch], &[]), []);
}

#[test]
fn a_coin_is_found_with_its_transaction_without_an_index() {
    let mut pool = Pool::new();
    let coin = pool.block(1_000_000);
    assert_eq!(input(&pool.chain, coin, Mempool::Counts).unwrap(), None, "not mature");
    pool.chain.mine_empty(99);
    let found = input(&pool.chain, coin, Mempool::Counts).unwrap().unwrap();
    assert_eq!((found.coin.amount.to_sat(), found.script), (1_000_000, script(1)));
    assert_eq!(found.previous.unwrap().compute_txid(), coin.txid);
    pool.chain.mempool.push(spending(&[coin], vec![TxOut::NULL]));
    assert_eq!(input(&pool.chain, coin, Mempool::Counts).unwrap(), None);
    assert!(input(&pool.chain, coin, Mempool::Ignored).unwrap().is_some());
}
