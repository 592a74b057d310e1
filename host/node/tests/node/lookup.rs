//! One-off questions: to nodes that do not know, do not answer or are others, and to a real bitcoind.

use serde_json::{Value, json};
use sluice_core::bitcoin::{Amount, BlockHash, Network, OutPoint, Txid};
use sluice_node::{Lookup, LookupError, Mempool, NodeConfig, NodeFault};

use crate::support::bitcoind::Bitcoind;
use crate::support::fake::{FakeNode, Mode, config, tip_hash};

fn txid(number: u8) -> Txid {
    tip_hash(number).parse().expect("a hash")
}

fn block_hash(number: u8) -> BlockHash {
    tip_hash(number).parse().expect("a hash")
}

fn coin() -> OutPoint {
    OutPoint::new(txid(7), 1)
}

fn unspent(value: &Value) -> Value {
    json!({
        "bestblock": tip_hash(1), "confirmations": 101, "value": value, "coinbase": true,
        "scriptPubKey": { "asm": "1", "hex": "51", "type": "nonstandard" }
    })
}

fn faults(error: LookupError) -> Vec<NodeFault> {
    match error {
        LookupError::NoAnswer(faults) => faults.into_iter().map(|(_, fault)| fault).collect(),
        LookupError::NoNodes => panic!("there are nodes"),
    }
}

#[test]
fn the_next_node_answers_where_one_does_not_and_stays_the_one_that_is_asked() {
    let (away, well) = (FakeNode::start(), FakeNode::start());
    away.set(|state| state.mode = Mode::Raw(b"HTTP/1.1 500 oops\r\nContent-Length: 0\r\n\r\n".to_vec()));
    well.set(|state| state.answers = vec![("gettxout", Ok(unspent(&json!(12.5))))]);
    let lookup = Lookup::new(config(&[&away, &well]));
    for _ in 0..3 {
        let found = lookup.unspent(coin(), Mempool::Counts).unwrap().unwrap();
        assert_eq!(
            (found.amount, found.confirmations, found.coinbase),
            (Amount::from_sat(1_250_000_000), 101, true)
        );
        assert_eq!((found.script.as_bytes(), found.tip), ([0x51].as_slice(), block_hash(1)));
    }
    away.until(|state| state.asked.len() == 1);
    // Its network and progress once, then the question.
    well.until(|state| state.asked == ["getblockchaininfo", "gettxout", "gettxout", "gettxout"]);
}

#[test]
fn amounts_are_exact() {
    let node = FakeNode::start();
    let lookup = Lookup::new(config(&[&node]));
    for (told, sats) in
        [(json!(0.1), 10_000_000), (json!(20_999_999.976_9), 2_099_999_997_690_000), (json!(1e-8), 1)]
    {
        node.set(|state| state.answers = vec![("gettxout", Ok(unspent(&told)))]);
        assert_eq!(
            lookup.unspent(coin(), Mempool::Ignored).unwrap().unwrap().amount.to_sat(),
            sats,
            "{told}"
        );
    }
    node.set(|state| state.answers = vec![("gettxout", Ok(Value::Null))]);
    assert_eq!(lookup.unspent(coin(), Mempool::Ignored).unwrap(), None);
    node.set(|state| state.answers = vec![("gettxout", Ok(unspent(&json!(-1))))]);
    let error = lookup.unspent(coin(), Mempool::Ignored).unwrap_err().to_string();
    assert!(error.contains("garbage to gettxout"), "{error}");
}

#[test]
fn every_node_is_asked_before_a_transaction_is_unknown() {
    let (without, with) = (FakeNode::start(), FakeNode::start());
    let coinbase = "01000000010000000000000000000000000000000000000000000000000000000000000000ffffffff0151ffffffff\
                    0100f2052a010000000151\
                    00000000";
    let transaction: sluice_core::bitcoin::Transaction =
        sluice_core::bitcoin::consensus::encode::deserialize_hex(coinbase).unwrap();
    let id = transaction.compute_txid();
    without.set(|state| state.answers = vec![("getrawtransaction", Err(-5))]);
    with.set(|state| {
        state.answers = vec![("getrawtransaction", Ok(json!({ "hex": coinbase, "blockhash": tip_hash(9) })))];
    });
    let lookup = Lookup::new(config(&[&without, &with]));
    let found = lookup.transaction(id, None).unwrap().unwrap();
    assert_eq!((found.transaction, found.block), (transaction, Some(block_hash(9))));
    // A node that sends another transaction than it was asked for.
    let error = Lookup::new(config(&[&with])).transaction(txid(3), None).unwrap_err().to_string();
    assert!(error.contains("another transaction"), "{error}");
    with.set(|state| state.answers = vec![("getrawtransaction", Err(-5))]);
    assert_eq!(lookup.transaction(id, None).unwrap(), None);
    // One that refuses for another reason says nothing of the transaction.
    with.set(|state| state.answers = vec![("getrawtransaction", Err(-1))]);
    assert_eq!(lookup.transaction(id, None).unwrap(), None);
    assert!(Lookup::new(config(&[&with])).transaction(id, None).is_err());
}

#[test]
fn nodes_that_cannot_be_believed_are_not_asked() {
    let (other, behind) = (FakeNode::start(), FakeNode::start());
    other.set(|state| state.chain = "main");
    let wrong = faults(Lookup::new(config(&[&other])).tip().unwrap_err());
    assert!(matches!(&wrong[..], [NodeFault::WrongNetwork { found, .. }] if found == "main"));
    // On regtest a chain may be old and complete; elsewhere it is not.
    behind.set(|state| (state.chain, state.downloading) = ("main", true));
    let settings = NodeConfig { network: Network::Bitcoin, ..config(&[&behind]) };
    let catching_up = faults(Lookup::new(settings).tip().unwrap_err());
    assert!(matches!(&catching_up[..], [NodeFault::CatchingUp { blocks: 100, .. }]));
    let none = Lookup::new(NodeConfig { nodes: Vec::new(), ..config(&[]) });
    assert!(matches!(none.tip(), Err(LookupError::NoNodes)));
}

#[test]
fn answers_of_the_wrong_kind_are_errors() {
    let node = FakeNode::start();
    let lookup = Lookup::new(config(&[&node]));
    for answer in [json!("zz"), json!("00"), json!(7), json!(null)] {
        node.set(|state| state.answers = vec![("getblock", Ok(answer.clone()))]);
        assert!(
            lookup.block(block_hash(4)).unwrap_err().to_string().contains("garbage to getblock"),
            "{answer}"
        );
    }
    node.set(|state| state.answers = vec![("getblock", Err(-5)), ("getblockhash", Err(-8))]);
    assert_eq!(lookup.block(block_hash(4)).unwrap(), None);
    assert_eq!(lookup.block_txids(block_hash(4)).unwrap(), None);
    assert_eq!(lookup.block_hash(4).unwrap(), None);
    // Core before 24.
    node.set(|state| state.answers = vec![("gettxspendingprevout", Err(-32601))]);
    assert_eq!(lookup.waiting_spender(coin()).unwrap(), None);
}

#[test]
fn core_tells_of_blocks_coins_and_transactions() {
    let Some(node) = Bitcoind::start("core_tells_of_blocks_coins_and_transactions") else { return };
    node.generate(3);
    let lookup = Lookup::new(node.config());
    let tip = lookup.tip().unwrap();
    assert_eq!((tip.height, tip.confirmations), (3, Some(1)));
    let hash = lookup.block_hash(2).unwrap().unwrap();
    assert_eq!(lookup.block_hash(4).unwrap(), None);
    let place = lookup.block_place(hash).unwrap().unwrap();
    assert_eq!((place.height, place.confirmations), (2, Some(2)));
    assert_eq!(lookup.block_place(block_hash(9)).unwrap(), None);
    let block = lookup.block(hash).unwrap().unwrap();
    assert_eq!(block.block_hash(), hash);
    let coinbase = block.txdata[0].compute_txid();
    assert_eq!(lookup.block_txids(hash).unwrap().unwrap(), [coinbase]);

    // Without an index a node finds it in the block only.
    assert_eq!(lookup.transaction(coinbase, None).unwrap(), None);
    let found = lookup.transaction(coinbase, Some(hash)).unwrap().unwrap();
    assert_eq!((found.transaction, found.block), (block.txdata[0].clone(), Some(hash)));
    assert_eq!(lookup.transaction(txid(9), Some(hash)).unwrap(), None);

    let coin = OutPoint::new(coinbase, 0);
    let unspent = lookup.unspent(coin, Mempool::Counts).unwrap().unwrap();
    assert_eq!(
        (unspent.amount, unspent.confirmations, unspent.coinbase),
        (Amount::from_btc(50.0).unwrap(), 2, true)
    );
    assert_eq!((unspent.script, unspent.tip), (block.txdata[0].output[0].script_pubkey.clone(), tip.hash));
    assert_eq!(lookup.unspent(OutPoint::new(coinbase, 99), Mempool::Counts).unwrap(), None);
    assert_eq!(lookup.waiting_spender(coin).unwrap(), None);

    let _: Value = node.call("invalidateblock", &[json!(hash)]);
    assert_eq!(lookup.block_place(hash).unwrap().unwrap().confirmations, None);
    assert_eq!(lookup.tip().unwrap().height, 1);
}
