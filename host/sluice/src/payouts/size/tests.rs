use bitcoin::hashes::Hash;
use bitcoin::key::{Keypair, TapTweak};
use bitcoin::secp256k1::{All, Message, Secp256k1, SecretKey};
use bitcoin::sighash::{EcdsaSighashType, Prevouts, SighashCache, TapSighashType};
use bitcoin::{
    Address, CompressedPublicKey, EcdsaSighashType as Sighash, KnownHrp, Network, OutPoint, PublicKey,
    ScriptBuf, Transaction, TxOut, Txid, Witness, XOnlyPublicKey, ecdsa, script, taproot,
};

use super::*;
use crate::payouts::testchain::{output, spending};

struct Wallet {
    secp: Secp256k1<All>,
    secret: SecretKey,
    public: PublicKey,
}

impl Wallet {
    fn new(number: u8) -> Self {
        let secp = Secp256k1::new();
        let secret = SecretKey::from_slice(&[number; 32]).unwrap();
        let public = PublicKey::new(secret.public_key(&secp));
        Self { secp, secret, public }
    }

    fn script(&self, kind: Spend) -> ScriptBuf {
        let compressed = CompressedPublicKey::try_from(self.public).unwrap();
        let address = match kind {
            Spend::P2wpkh => Address::p2wpkh(&compressed, KnownHrp::Regtest),
            Spend::P2shP2wpkh => Address::p2shwpkh(&compressed, Network::Regtest),
            Spend::P2pkh => Address::p2pkh(self.public, Network::Regtest),
            Spend::P2tr => {
                let key = XOnlyPublicKey::from(self.public.inner);
                Address::p2tr(&self.secp, key, None, KnownHrp::Regtest)
            }
            Spend::Told(_) => unreachable!("no key signs for it"),
        };
        address.script_pubkey()
    }

    fn ecdsa(&self, hash: [u8; 32]) -> ecdsa::Signature {
        let signature = self.secp.sign_ecdsa(&Message::from_digest(hash), &self.secret);
        ecdsa::Signature { signature, sighash_type: Sighash::All }
    }

    /// Signs input `index` of `transaction`.
    fn sign(&self, transaction: &mut Transaction, index: usize, kind: Spend, coins: &[TxOut]) {
        let cache = &mut SighashCache::new(transaction.clone());
        let code = coins[index].script_pubkey.clone();
        let push = |bytes: &[u8]| script::PushBytesBuf::try_from(bytes.to_vec()).unwrap();
        let input = &mut transaction.input[index];
        match kind {
            Spend::P2wpkh | Spend::P2shP2wpkh => {
                let program = self.script(Spend::P2wpkh);
                let hash = cache
                    .p2wpkh_signature_hash(index, &program, coins[index].value, EcdsaSighashType::All)
                    .unwrap();
                input.witness = Witness::p2wpkh(&self.ecdsa(hash.to_byte_array()), &self.public.inner);
                if kind == Spend::P2shP2wpkh {
                    input.script_sig =
                        script::Builder::new().push_slice(push(program.as_bytes())).into_script();
                }
            }
            Spend::P2pkh => {
                let hash = cache.legacy_signature_hash(index, &code, Sighash::All.to_u32()).unwrap();
                let signature = self.ecdsa(hash.to_byte_array()).to_vec();
                let builder = script::Builder::new().push_slice(push(&signature)).push_key(&self.public);
                input.script_sig = builder.into_script();
            }
            Spend::P2tr => {
                let prevouts = Prevouts::All(coins);
                let hash = cache
                    .taproot_key_spend_signature_hash(index, &prevouts, TapSighashType::Default)
                    .unwrap();
                let pair = Keypair::from_secret_key(&self.secp, &self.secret).tap_tweak(&self.secp, None);
                let message = Message::from_digest(hash.to_byte_array());
                let signature = self.secp.sign_schnorr_no_aux_rand(&message, &pair.to_keypair());
                let signature = taproot::Signature { signature, sighash_type: TapSighashType::Default };
                input.witness = Witness::p2tr_key_spend(&signature);
            }
            Spend::Told(_) => unreachable!("no key signs for it"),
        }
    }
}

/// Builds and signs a transaction that spends one coin of each kind: what it was estimated at, and what it has.
fn measured(kinds: &[Spend], outputs: usize) -> (u64, u64) {
    let wallet = Wallet::new(u8::try_from(outputs % 200 + 1).unwrap());
    let coins: Vec<TxOut> = kinds.iter().map(|kind| output(&wallet.script(*kind), 100_000)).collect();
    let number = |index: usize| u8::try_from(index).unwrap();
    let outpoints: Vec<OutPoint> =
        (0..kinds.len()).map(|index| OutPoint::new(Txid::from_byte_array([number(index); 32]), 0)).collect();
    let paid = (0..outputs).map(|_| output(&wallet.script(Spend::P2tr), 1000)).collect();
    let mut transaction = spending(&outpoints, paid);
    let spends: Vec<Spend> = coins.iter().map(|coin| Spend::of(&coin.script_pubkey, None).unwrap()).collect();
    assert_eq!(spends, kinds);
    let estimate = signed_vsize(&transaction, &spends);
    for (index, kind) in kinds.iter().enumerate() {
        wallet.sign(&mut transaction, index, *kind, &coins);
    }
    (estimate, transaction.vsize() as u64)
}

#[test]
fn estimates_are_never_below_what_is_signed_and_close_to_it() {
    let all = [Spend::P2wpkh, Spend::P2tr, Spend::P2pkh, Spend::P2shP2wpkh];
    let mut cases: Vec<Vec<Spend>> = all.iter().flat_map(|kind| [vec![*kind], vec![*kind; 7]]).collect();
    cases.push(all.to_vec());
    for kinds in cases {
        // 253 outputs are where their count takes three bytes.
        for outputs in [1, 2, 3, 50, 252, 253] {
            let (estimate, signed) = measured(&kinds, outputs);
            assert!(estimate >= signed, "{kinds:?}, {outputs}: {estimate} < {signed}");
            assert!(
                estimate <= signed + 2 * kinds.len() as u64,
                "{kinds:?}, {outputs}: {estimate}, {signed}"
            );
        }
    }
}

#[test]
fn the_operator_says_what_scripts_do_not() {
    let wsh = Address::p2wsh(&ScriptBuf::new(), Network::Regtest).script_pubkey();
    assert_eq!(Spend::of(&wsh, None), None);
    assert_eq!(Spend::of(&wsh, Some(105)), Some(Spend::Told(105)));
    assert_eq!(Spend::Told(105).vsize(), 105);
    let wallet = Wallet::new(1);
    assert_eq!(Spend::of(&wallet.script(Spend::P2shP2wpkh), Some(105)), Some(Spend::Told(105)));
    // What is certain is not asked for.
    assert_eq!(Spend::of(&wallet.script(Spend::P2wpkh), Some(105)), Some(Spend::P2wpkh));
}

#[test]
fn fee_rates_are_read_to_the_thousandth_and_fees_rounded_up() {
    let rate = |text: &str| text.parse::<FeeRate>();
    assert_eq!(rate("2").unwrap().fee(141), Amount::from_sat(282));
    assert_eq!(rate("2.5").unwrap().fee(141), Amount::from_sat(353));
    assert_eq!(rate("0.001").unwrap().fee(1), Amount::from_sat(1));
    assert_eq!(rate("1000").unwrap().to_string(), "1000 sat/vB");
    assert_eq!(rate("1.25").unwrap().to_string(), "1.250 sat/vB");
    for wrong in
        ["0", "0.000", "-1", "1000.001", "1001", "1e3", "", ".5", "1.", "1.2345", "99999999999999999999"]
    {
        assert!(rate(wrong).unwrap_err().to_string().contains("no fee rate"), "{wrong}");
    }
}
