use serde_json::{Value, json};

use super::*;

fn answer() -> Value {
    json!({
        "capabilities": ["proposal"], "version": 536_870_912, "rules": ["csv", "!segwit", "taproot"],
        "previousblockhash": "0f9188f13cb7b2c71f2a335e3a4fc328bf5beb436012afca590b1a11466e2206",
        "transactions": [{
            "data": "0200", "txid": "11".repeat(32), "hash": "22".repeat(32), "depends": [], "fee": 1, "sigops": 1, "weight": 8
        }],
        "coinbaseaux": {}, "coinbasevalue": 5_000_000_001u64,
        "longpollid": "0f9188f13cb7b2c71f2a335e3a4fc328bf5beb436012afca590b1a11466e22061",
        "mintime": 1_296_688_603, "curtime": 1_700_000_000, "bits": "207fffff", "height": 1,
        "default_witness_commitment": "6a24aa21a9ed"
    })
}

fn parse(value: &Value, network: Network) -> Result<Received, TemplateError> {
    Received::parse(&value.to_string(), network, Timestamp(5))
}

fn with(field: &str, value: Value) -> Value {
    let mut answer = answer();
    answer[field] = value;
    answer
}

#[test]
fn a_whole_template() {
    let received = parse(&answer(), Network::Regtest).unwrap();
    let template = &received.template;
    assert_eq!((template.height, template.min_time, template.cur_time), (1, 1_296_688_603, 1_700_000_000));
    assert_eq!(template.fees(), Amount::from_sat(1));
    assert_eq!(template.transactions[0].data, [2, 0]);
    assert_eq!(template.transactions[0].wtxid.to_string(), "22".repeat(32));
    assert_eq!(template.witness_commitment.as_deref(), Some(&[0x6a, 0x24, 0xaa, 0x21, 0xa9, 0xed][..]));
    assert_eq!(template.received, Timestamp(5));
    assert!(received.longpollid.is_some());
    let later = parse(&answer(), Network::Regtest).unwrap();
    assert!(later.template.id > template.id);
}

#[test]
fn every_bad_field_has_its_error() {
    let fails = |field: &str, value: Value| parse(&with(field, value), Network::Regtest).unwrap_err();
    assert!(matches!(
        fails("previousblockhash", json!("00")),
        TemplateError::Hash { field: "previousblockhash" }
    ));
    assert!(matches!(fails("bits", json!("207ffff")), TemplateError::Bits(..)));
    assert!(matches!(fails("bits", json!("+07fffff")), TemplateError::Bits(..)));
    assert!(matches!(fails("bits", json!("00000000")), TemplateError::Bits(..)));
    assert!(matches!(fails("bits", json!("04923456")), TemplateError::Bits(..)));
    assert!(matches!(fails("coinbasevalue", json!(2_100_000_000_000_001u64)), TemplateError::Value(_)));
    assert!(matches!(fails("coinbasevalue", json!(-1)), TemplateError::Fields(_)));
    assert!(matches!(fails("default_witness_commitment", json!("abc")), TemplateError::Hex { .. }));
    assert!(matches!(fails("rules", json!(["!quantum"])), TemplateError::Rule(_)));
    assert!(matches!(fails("longpollid", json!("x".repeat(257))), TemplateError::LongpollId));
    assert!(matches!(fails("height", json!("1")), TemplateError::Fields(_)));
    for (field, value) in [("data", "0g"), ("data", ""), ("data", "zz"), ("txid", "11"), ("hash", "é")] {
        let mut answer = answer();
        answer["transactions"][0][field] = json!(value);
        let error = parse(&answer, Network::Regtest).unwrap_err();
        assert!(matches!(error, TemplateError::Hash { .. } | TemplateError::Hex { .. }), "{field}: {error}");
    }
}

#[test]
fn regtest_bits_are_refused_on_main() {
    assert!(matches!(parse(&answer(), Network::Bitcoin), Err(TemplateError::Bits(..))));
}

#[test]
fn no_commitment_and_no_longpoll_are_allowed() {
    let mut answer = answer();
    answer.as_object_mut().unwrap().remove("default_witness_commitment");
    answer.as_object_mut().unwrap().remove("longpollid");
    let received = parse(&answer, Network::Regtest).unwrap();
    assert_eq!((received.template.witness_commitment.clone(), received.longpollid), (None, None));
}

proptest::proptest! {
    #[test]
    fn hex_there_and_back(bytes: Vec<u8>) {
        proptest::prop_assert_eq!(decode_hex(&encode_hex(&bytes)), Some(bytes.clone()));
        proptest::prop_assert_eq!(decode_hex(&encode_hex(&bytes).to_uppercase()), Some(bytes));
    }

    #[test]
    fn no_text_panics(text: String) {
        let _ = decode_hex(&text);
        let _ = Received::parse(&text, Network::Bitcoin, Timestamp(0));
    }
}
