//! The operator's signer: what it makes of the PSBTs that `sluice payouts psbt` writes, with the house's key.

use std::collections::BTreeMap;

use anyhow::{Context, Result, ensure};
use bitcoin::absolute::LockTime;
use bitcoin::bip32::{DerivationPath, Fingerprint};
use bitcoin::consensus::deserialize;
use bitcoin::key::{PrivateKey, PublicKey, Secp256k1};
use bitcoin::secp256k1::SecretKey;
use bitcoin::transaction::Version;
use bitcoin::{
    Amount, Network, OutPoint, Psbt, ScriptBuf, Sequence, Transaction, TxIn, TxOut, VarInt, Witness,
};

/// The secret key of [`HOUSE`](crate::pool::HOUSE).
fn house_key() -> Result<PrivateKey> {
    let mut secret = [0; 32];
    secret[31] = 1;
    Ok(PrivateKey::new(SecretKey::from_slice(&secret)?, Network::Regtest))
}

/// Signs every input, all of which must be the house's, and returns the transaction as it is broadcast.
///
/// # Errors
/// It is no PSBT of version 0, or spends a coin that is somebody else's.
pub fn sign(bytes: &[u8]) -> Result<Transaction> {
    let mut psbt = Psbt::deserialize(bytes).context("no PSBT of version 0")?;
    let (secp, key) = (Secp256k1::new(), house_key()?);
    let public = PublicKey::from_private_key(&secp, &key);
    for input in &mut psbt.inputs {
        // What a wallet knows of its own coins.
        input.bip32_derivation.insert(public.inner, (Fingerprint::default(), DerivationPath::default()));
    }
    psbt.sign(&BTreeMap::from([(public, key)]), &secp)
        .map_err(|(_, errors)| anyhow::anyhow!("not signed: {errors:?}"))?;
    for input in &mut psbt.inputs {
        let signature = input.partial_sigs.get(&public).context("an input that is not the house's")?;
        input.final_script_witness = Some(Witness::p2wpkh(signature, &public.inner));
    }
    Ok(psbt.extract_tx()?)
}

/// What an operator's own wallet might do meanwhile: all coins of a PSBT go to `to`, less a fee.
///
/// # Errors
/// It is no PSBT of version 0, or spends a coin that is somebody else's.
pub fn divert(bytes: &[u8], to: ScriptBuf, fee: Amount) -> Result<Transaction> {
    let mut psbt = Psbt::deserialize(bytes)?;
    let coins = psbt.iter_funding_utxos().map(|coin| Ok(coin?.value)).sum::<Result<Amount>>()?;
    psbt.unsigned_tx.output = vec![TxOut { value: coins - fee, script_pubkey: to }];
    psbt.outputs.truncate(1);
    sign(&psbt.serialize())
}

/// The transaction of a PSBT of version 0 without its signatures.
///
/// # Errors
/// It is none.
pub fn unsigned(bytes: &[u8]) -> Result<Transaction> {
    Ok(Psbt::deserialize(bytes)?.unsigned_tx)
}

/// The keys and values up to a separator, by the key's type; none of those looked at has data in its key.
type Map = BTreeMap<u8, Vec<u8>>;

/// The transaction of a PSBT of version 2 (BIP 370) without its signatures, read as that says.
///
/// # Errors
/// It is none.
pub fn unsigned_2(bytes: &[u8]) -> Result<Transaction> {
    let mut rest = bytes.strip_prefix(b"psbt\xff").context("no PSBT")?;
    let global = map(&mut rest)?;
    ensure!(word(&global, 0xfb)? == 2, "not of version 2");
    ensure!(!global.contains_key(&0), "version 2 has no unsigned transaction");
    let (inputs, outputs) = (count(&global, 0x04)?, count(&global, 0x05)?);
    let input = (0..inputs).map(|_| input(&map(&mut rest)?)).collect::<Result<_>>()?;
    let output = (0..outputs).map(|_| output(&map(&mut rest)?)).collect::<Result<_>>()?;
    ensure!(rest.is_empty(), "{} bytes too many", rest.len());
    let version = Version(i32::from_le_bytes(bytes_of(&global, 0x02)?));
    let lock_time = LockTime::from_consensus(word(&global, 0x03).unwrap_or(0));
    Ok(Transaction { version, lock_time, input, output })
}

fn input(map: &Map) -> Result<TxIn> {
    ensure!(map.contains_key(&0x01), "an input without the coin that it spends");
    let txid = deserialize(value(map, 0x0e)?)?;
    Ok(TxIn {
        previous_output: OutPoint { txid, vout: word(map, 0x0f)? },
        script_sig: ScriptBuf::new(),
        sequence: Sequence(word(map, 0x10).unwrap_or(u32::MAX)),
        witness: Witness::new(),
    })
}

fn output(map: &Map) -> Result<TxOut> {
    let value = Amount::from_sat(u64::from_le_bytes(bytes_of(map, 0x03)?));
    Ok(TxOut { value, script_pubkey: ScriptBuf::from_bytes(self::value(map, 0x04)?.to_vec()) })
}

fn map(rest: &mut &[u8]) -> Result<Map> {
    let mut map = Map::new();
    loop {
        let key = sized(rest)?;
        let Some(kind) = key.first() else { return Ok(map) };
        let value = sized(rest)?;
        ensure!(key.len() > 1 || map.insert(*kind, value.to_vec()).is_none(), "key {kind} twice");
    }
}

/// Bytes behind their length.
fn sized<'a>(rest: &mut &'a [u8]) -> Result<&'a [u8]> {
    let (length, used): (VarInt, usize) = bitcoin::consensus::deserialize_partial(rest)?;
    let end = used + usize::try_from(length.0)?;
    let bytes = rest.get(used..end).context("cut off")?;
    *rest = &rest[end..];
    Ok(bytes)
}

fn value(map: &Map, key: u8) -> Result<&[u8]> {
    map.get(&key).map(Vec::as_slice).with_context(|| format!("key {key:#x} is missing"))
}

fn bytes_of<const N: usize>(map: &Map, key: u8) -> Result<[u8; N]> {
    value(map, key)?.try_into().with_context(|| format!("key {key:#x} has not {N} bytes"))
}

fn word(map: &Map, key: u8) -> Result<u32> {
    Ok(u32::from_le_bytes(bytes_of(map, key)?))
}

fn count(map: &Map, key: u8) -> Result<u64> {
    Ok(deserialize::<VarInt>(value(map, key)?)?.0)
}
