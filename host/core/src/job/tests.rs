use std::str::FromStr;

use bitcoin::consensus::encode::{deserialize, serialize};
use bitcoin::{Amount, Block, Network, Transaction, blockdata::constants::genesis_block};
use proptest::prelude::*;

use super::*;
use crate::coinbase::parse_address;
use crate::ids::TemplateId;
use crate::template::TemplateTransaction;
use crate::units::Timestamp;

/// A mainnet block, by what a block explorer shows of it.
struct Known {
    hash: &'static str,
    previous: &'static str,
    txids: &'static [&'static str],
    version: i32,
    time: u32,
    bits: u32,
    nonce: u32,
}

const KNOWN: [Known; 2] = [
    // Height 170: the first with a payment.
    Known {
        hash: "00000000d1145790a8694403d4063f323d499e655c83426834d4ce2f8dd4a2ee",
        previous: "000000002a22cfee1f2c846adbd12b3e183d4f97683f85dad08a79780a84bd55",
        txids: &[
            "b1fea52486ce0c62bb442b530a3f0132b826c74e473d1f2c220bfa78111c5082",
            "f4184fc596403b9d638783cf57adfe4c75c605f6356fbc91338530e9831e9e16",
        ],
        version: 1,
        time: 1_231_731_025,
        bits: 0x1d00_ffff,
        nonce: 1_889_418_792,
    },
    // Height 100,000.
    Known {
        hash: "000000000003ba27aa200b1cecaad478d2b00432346c3f1f3986da1afd33e506",
        previous: "000000000002d01c1fccc21636b607dfd930d31d01c3a62104612a1719011250",
        txids: &[
            "8c14f0db3df150123e6f3dbbf30f8b955a8249b62ac1d1ff16284aefa3d06d87",
            "fff2525b8931402dd09222c50775608f75787bd2b87e56995a7bdd30f79702c4",
            "6359f0868171b1d194cbee1af2f16ea598ae8fad666d9b012c8ed2b79a236ec4",
            "e9a66845e05d5abc0ad04ec80f774a7e585c6e8db975962d069a522137b80c1d",
        ],
        version: 1,
        time: 1_293_623_863,
        bits: 0x1b04_864c,
        nonce: 274_148_111,
    },
];

fn txid(text: &str) -> Txid {
    Txid::from_str(text).unwrap()
}

#[test]
fn mainnet_headers_hash_to_what_the_chain_says() {
    for known in KNOWN {
        let branch = merkle::branch(&known.txids[1..].iter().map(|t| txid(t)).collect::<Vec<_>>());
        let root = merkle::root(txid(known.txids[0]).to_byte_array(), &branch);
        let header = Header {
            version: Version::from_consensus(known.version),
            prev_blockhash: BlockHash::from_str(known.previous).unwrap(),
            merkle_root: TxMerkleNode::from_byte_array(root),
            time: known.time,
            bits: CompactTarget::from_consensus(known.bits),
            nonce: known.nonce,
        };
        let bytes: [u8; 80] = serialize(&header).try_into().unwrap();
        let hash = BlockHash::from_byte_array(sha::double_header(&bytes));
        assert_eq!(hash.to_string(), known.hash);
        assert!(Target::from_compact(header.bits).is_met_by(hash));
        assert_eq!(read_header(&bytes), header);
    }
}

#[test]
fn the_genesis_coinbase_hashes_in_parts() {
    let coinbase = serialize(&genesis_block(Network::Bitcoin).txdata[0]);
    let expected = genesis_block(Network::Bitcoin).txdata[0].compute_txid();
    // Any cut into prefix, extranonce and suffix gives the txid.
    for at in 1..coinbase.len() - 13 {
        let parts = Coinbase {
            prefix: coinbase[..at].to_vec(),
            suffix: coinbase[at + 12..].to_vec(),
            extranonce_length: 12,
            has_witness: false,
        };
        assert_eq!(
            CoinbaseHasher::new(&parts).hash(&coinbase[at..at + 12]),
            expected.to_byte_array(),
            "cut at {at}"
        );
    }
}

fn template(transactions: &[Transaction]) -> Template {
    let transactions: Vec<TemplateTransaction> = transactions
        .iter()
        .map(|t| TemplateTransaction { data: serialize(t), txid: t.compute_txid(), wtxid: t.compute_wtxid() })
        .collect();
    let leaves = std::iter::once([0; 32]).chain(transactions.iter().map(|t| t.wtxid.to_byte_array()));
    let root = bitcoin::merkle_tree::calculate_root(leaves.map(Txid::from_byte_array)).unwrap();
    let commitment = sha::double_pair(&root.to_byte_array(), &[0; 32]);
    let script = [[0x6a, 0x24, 0xaa, 0x21, 0xa9, 0xed].as_slice(), &commitment].concat();
    Template {
        id: TemplateId(1),
        network: Network::Regtest,
        height: 200,
        previous: BlockHash::from_byte_array([7; 32]),
        version: 0x2000_0000 | 0x0000_4000,
        bits: CompactTarget::from_consensus(0x207f_ffff),
        min_time: 1_700_000_000,
        cur_time: 1_700_000_100,
        coinbase_value: Amount::from_sat(2_500_000_000),
        subsidy: Amount::from_sat(2_500_000_000),
        witness_commitment: Some(script),
        transactions: transactions.into(),
        received: Timestamp(0),
    }
}

fn job(transactions: &[Transaction], nonce: u64) -> Job {
    let work = Work::new(Arc::new(template(transactions)), (TipNumber(1), Moment(0)), VersionMask::BIP320);
    let address = parse_address("bcrt1qw508d6qejxtdg4y5r3zarvary0c5xw7kygt080", Network::Regtest).unwrap();
    let payment = Payment { account: String::new(), address, amount: Amount::from_sat(2_500_000_000) };
    let mark = PoolMark { tag: b"/Sluice/".to_vec(), extranonce_length: 12 };
    let now = Now { moment: Moment(0), wall: Timestamp(1_700_000_200_000) };
    Job::new((JobId(5), nonce), Arc::new(work), [payment].into(), &mark, now).unwrap()
}

fn some_transactions(count: usize) -> Vec<Transaction> {
    (0..count)
        .map(|index| {
            let mut transaction = genesis_block(Network::Bitcoin).txdata[0].clone();
            transaction.input[0].previous_output.vout = u32::try_from(index).unwrap();
            transaction.input[0].witness.push([1, 2, 3]);
            transaction
        })
        .collect()
}

fn solution(extranonce: &[u8]) -> Solution<'_> {
    Solution { extranonce, version: 0x2000_0000, ntime: 1_700_000_200, nonce: 9 }
}

#[test]
fn two_jobs_of_a_template_differ_in_their_coinbase() {
    // V1-52
    assert_ne!(job(&[], 1).header(solution(&[0; 12])), job(&[], 2).header(solution(&[0; 12])));
}

#[test]
fn the_rollable_bits_are_cleared_in_the_job() {
    // V1-75
    assert_eq!(job(&[], 1).work.version, 0x2000_0000);
}

proptest! {
    #[test]
    fn a_block_is_consistent(count in 0usize..12, extranonce in prop::collection::vec(any::<u8>(), 12)) {
        let job = job(&some_transactions(count), 3);
        let header = job.header(solution(&extranonce));
        let found = job.block(&header, &extranonce);
        let block: Block = deserialize(&found.block).unwrap();
        prop_assert!(block.check_merkle_root());
        prop_assert!(block.check_witness_commitment());
        prop_assert_eq!(block.bip34_block_height().unwrap(), 200);
        prop_assert_eq!(block.block_hash(), found.hash);
        prop_assert_eq!(block.txdata.len(), count + 1);
    }
}
