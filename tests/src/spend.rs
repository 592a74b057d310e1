//! Transactions without a wallet: coins that anybody may spend, in a segwit and in a legacy shape.

use anyhow::{Context, Result};
use bitcoin::absolute::LockTime;
use bitcoin::opcodes::OP_TRUE;
use bitcoin::script::{Builder, PushBytesBuf};
use bitcoin::transaction::Version;
use bitcoin::{Address, Amount, Network, OutPoint, ScriptBuf, Sequence, Transaction, TxIn, TxOut, Witness};

use crate::bitcoind::Bitcoind;

/// How a coin is locked; the script inside is `OP_TRUE` for both.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lock {
    /// Spent by a witness.
    Segwit,
    /// P2SH, spent by its script.
    Legacy,
}

/// Coinbases mature after so many blocks.
const MATURITY: u32 = 100;
/// What each transaction pays.
const FEE: Amount = Amount::from_sat(2_000);

fn anyone() -> ScriptBuf {
    Builder::new().push_opcode(OP_TRUE).into_script()
}

impl Lock {
    pub fn script(self) -> ScriptBuf {
        match self {
            Self::Segwit => anyone().to_p2wsh(),
            Self::Legacy => anyone().to_p2sh(),
        }
    }

    fn input(self, coin: OutPoint) -> TxIn {
        let (mut script_sig, mut witness) = (ScriptBuf::new(), Witness::new());
        match self {
            Self::Segwit => witness.push(anyone().as_bytes()),
            Self::Legacy => {
                let redeem = PushBytesBuf::try_from(anyone().into_bytes()).expect("one byte can be pushed");
                script_sig = Builder::new().push_slice(redeem).into_script();
            }
        }
        TxIn { previous_output: coin, script_sig, sequence: Sequence::MAX, witness }
    }
}

/// The address that [`Lock::Segwit`] is paid to.
pub fn anyones_address() -> Address {
    Address::from_script(&Lock::Segwit.script(), Network::Regtest).expect("a P2WSH script has an address")
}

/// Fills the mempool of a fresh chain with `count` transactions that do not depend on each other, every second one a
/// segwit spend, and returns them.
///
/// # Errors
/// The node refuses one.
pub fn fill_mempool(node: &Bitcoind, count: usize) -> Result<Vec<Transaction>> {
    let blocks = node.generate(MATURITY + 1, &anyones_address())?;
    let first = node.block(blocks.first().context("one block at least")?)?;
    let coinbase = first.txdata.first().context("every block has a coinbase")?;
    let locks: Vec<Lock> = [Lock::Segwit, Lock::Legacy].into_iter().cycle().take(count).collect();
    let fan = split(coinbase, &locks)?;
    node.send(&fan)?;
    node.generate(1, &anyones_address())?;
    let spends: Vec<Transaction> = locks
        .iter()
        .zip(&fan.output)
        .zip(0..)
        .map(|((lock, coin), vout)| spend(&fan, *lock, coin, vout))
        .collect();
    spends.iter().try_for_each(|transaction| node.send(transaction))?;
    Ok(spends)
}

fn split(coinbase: &Transaction, locks: &[Lock]) -> Result<Transaction> {
    let value = coinbase.output.first().context("a coinbase pays something")?.value;
    let fee = FEE * u64::try_from(locks.len())?;
    let each = (value - fee) / u64::try_from(locks.len())?;
    let output = locks.iter().map(|lock| TxOut { value: each, script_pubkey: lock.script() }).collect();
    let input = vec![Lock::Segwit.input(OutPoint { txid: coinbase.compute_txid(), vout: 0 })];
    Ok(Transaction { version: Version::TWO, lock_time: LockTime::ZERO, input, output })
}

fn spend(fan: &Transaction, lock: Lock, coin: &TxOut, vout: u32) -> Transaction {
    let input = vec![lock.input(OutPoint { txid: fan.compute_txid(), vout })];
    let output = vec![TxOut { value: coin.value - FEE, script_pubkey: Lock::Segwit.script() }];
    Transaction { version: Version::TWO, lock_time: LockTime::ZERO, input, output }
}
