use proptest::prelude::*;

use super::*;

/// BIP173 and BIP350 example programs, and base58 from well-known places.
const MAIN: [&str; 5] = [
    "1A1zP1eP5QGefi2DMPTfTL5SLmv7DivfNa",
    "3J98t1WpEZ73CNmQviecrnyiWrnqRhWNLy",
    "bc1qw508d6qejxtdg4y5r3zarvary0c5xw7kv8f3t4",
    "bc1qrp33g0q5c5txsp9arysrx4k6zdkfs4nce4xj0gdcccefvpysxf3qccfmv3",
    "bc1p0xlxvlhemja6c4dqv22uapctqupfhlxm9h8z3k2e72q4k9hcz7vqzk5jj0",
];
const TEST: [&str; 4] = [
    "mipcBbFg9gMiCh81Kj8tqqdgoZub1ZJRfn",
    "2MzQwSSnBHWHqSAqtTVQ6v47XtaisrJa1Vc",
    "tb1qw508d6qejxtdg4y5r3zarvary0c5xw7kxpjzsx",
    "tb1qqqqqp399et2xygdj5xreqhjjvcmzhxw4aywxecjdzew6hylgvsesrxh6hy",
];
const REGTEST: [&str; 1] = ["bcrt1qw508d6qejxtdg4y5r3zarvary0c5xw7kygt080"];

const NETWORKS: [Network; 4] = [Network::Main, Network::Testnet4, Network::Signet, Network::Regtest];

#[test]
fn an_address_belongs_to_its_networks() {
    let base58 = |text: &str| !text.contains("1q") && !text.contains("1p");
    for (texts, own) in [
        (&MAIN[..], &[Network::Main][..]),
        (&TEST[..], &[Network::Testnet4, Network::Signet][..]),
        (&REGTEST[..], &[Network::Regtest][..]),
    ] {
        for text in texts {
            for network in NETWORKS {
                // Base58 has one form for every network but main.
                let fits = own.contains(&network)
                    || (base58(text) && own.contains(&Network::Testnet4) && network == Network::Regtest);
                let wanted = if fits { Ok((*text).to_owned()) } else { Err(AddressError::OtherNetwork) };
                assert_eq!(canonical(text, network), wanted, "{text} on {network:?}");
            }
        }
    }
}

#[test]
fn bech32_has_one_spelling() {
    for text in &MAIN[2..] {
        assert_eq!(canonical(&text.to_uppercase(), Network::Main), Ok((*text).to_owned()));
        let mixed = text.replacen('q', "Q", 1).replacen('p', "P", 1);
        assert_eq!(canonical(&mixed, Network::Main), Err(AddressError::Mistyped), "{mixed}");
    }
}

#[test]
fn what_anyone_could_spend_is_refused() {
    // BIP350: valid, and of a witness version without rules.
    for text in ["BC1SW50QGDZ25J", "bc1zw508d6qejxtdg4y5r3zarvaryvaxxpcs"] {
        assert_eq!(canonical(text, Network::Main), Err(AddressError::Unsafe), "{text}");
    }
    // Pay to anchor.
    assert_eq!(canonical("bc1pfeessrawgf", Network::Main), Err(AddressError::Unsafe));
}

#[test]
fn bad_segwit_is_mistyped() {
    // BIP173 and BIP350 invalid vectors: checksum of the other kind, version 17, lengths, padding, empty data.
    for text in [
        "bc1qw508d6qejxtdg4y5r3zarvary0c5xw7kv8f3t5",
        "bc1p0xlxvlhemja6c4dqv22uapctqupfhlxm9h8z3k2e72q4k9hcz7vqh2y7hd",
        "BC1S0XLXVLHEMJA6C4DQV22UAPCTQUPFHLXM9H8Z3K2E72Q4K9HCZ7VQ54WELL",
        "bc1p38j9r5y49hruaue7wxjce0updqjuyyx0kh56v8s25huc6995vvpql3jow4",
        "BC130XLXVLHEMJA6C4DQV22UAPCTQUPFHLXM9H8Z3K2E72Q4K9HCZ7VQ7ZWS8R",
        "bc1pw5dgrnzv",
        "BC1QR508D6QEJXTDG4Y5R3ZARVARYV98GJ9P",
        "bc1gmk9yu",
        "bc1",
    ] {
        assert_eq!(canonical(text, Network::Main), Err(AddressError::Mistyped), "{text}");
    }
}

#[test]
fn what_is_no_address_is_told_from_a_mistyped_one() {
    assert_eq!(canonical("1A1zP1eP5QGefi2DMPTfTL5SLmv7DivfNb", Network::Main), Err(AddressError::Mistyped));
    // A private key, in the format of wallets: base58check and no address.
    let key = "5HueCGU8rMjxEXxiPuD5BDku4MkFqeZyd4dZ1jvhTVqvbTLvyTJ";
    assert_eq!(canonical(key, Network::Main), Err(AddressError::NotAnAddress));
    for text in
        ["", "alice", "x", "1", "bc", "ltc1qw508d6qejxtdg4y5r3zarvary0c5xw7kgmn4n9", "ü", &"1".repeat(500)]
    {
        assert_eq!(canonical(text, Network::Main), Err(AddressError::NotAnAddress), "{text}");
    }
}

#[test]
fn networks_are_named_as_in_the_configuration() {
    for network in NETWORKS {
        assert_eq!(Network::parse(network.name()), Some(network));
    }
    assert_eq!(Network::parse("testnet"), None);
}

proptest! {
    #[test]
    fn one_wrong_letter_is_always_found(which in 0..5usize, at in any::<prop::sample::Index>(), letter in "[0-9a-z]") {
        let text = MAIN[which];
        let at = at.index(text.len());
        prop_assume!(!text[at..=at].eq_ignore_ascii_case(&letter));
        let wrong = format!("{}{letter}{}", &text[..at], &text[at + 1..]);
        prop_assert!(canonical(&wrong, Network::Main).is_err(), "{}", wrong);
    }

    #[test]
    fn no_text_is_too_odd(text in "\\PC{0,120}") {
        for network in NETWORKS {
            if let Ok(address) = canonical(&text, network) {
                prop_assert_eq!(canonical(&address, network), Ok(address.clone()));
            }
        }
    }
}
