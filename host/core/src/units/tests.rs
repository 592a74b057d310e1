use bitcoin::Target;
use proptest::prelude::*;

use super::*;

#[test]
fn difficulty_one_is_bitcoins() {
    // V1-38; the constant is Bitcoin's difficulty-1 target.
    assert_eq!(Difficulty::ONE.to_target(), Target::MAX_ATTAINABLE_MAINNET);
}

#[test]
fn known_targets() {
    let hex = |d: f64| format!("{:x}", Difficulty::new(d).unwrap().to_target());
    assert_eq!(hex(2.0), format!("{:0>64}", "7fff8000000000000000000000000000000000000000000000000000"));
    assert_eq!(
        hex(3.0),
        format!(
            "{:0>64}",
            "5555000000000000000000000000000000000000000000000000000000000000"[..56].to_string()
        )
    );
    assert_eq!(hex(0.5), format!("{:0>64}", "1fffe0000000000000000000000000000000000000000000000000000"));
}

#[test]
fn refuses_what_is_no_difficulty() {
    for bad in [0.0, -1.0, f64::NAN, f64::INFINITY, f64::NEG_INFINITY, 1e-300, 1e300] {
        assert!(Difficulty::new(bad).is_err(), "{bad}");
    }
}

#[test]
fn prints_without_exponent() {
    // V1-38: integers without a point, fractions without an exponent.
    assert_eq!(Difficulty::new(1024.0).unwrap().to_string(), "1024");
    assert_eq!(Difficulty::new(0.00001).unwrap().to_string(), "0.00001");
    assert_eq!(Difficulty::new(1e22).unwrap().to_string(), "10000000000000000000000");
}

#[test]
fn masked_replace() {
    assert_eq!(VersionMask::BIP320.replace(0x2000_0000, 0x3fff_ffff), 0x3fff_e000);
    assert!(!VersionMask::BIP320.allows(0x2000_0000));
}

proptest! {
    #[test]
    fn targets_fall_as_difficulty_rises(a in 1e-9f64..1e30, factor in 1.000_001f64..1e6) {
        let low = Difficulty::new(a).unwrap();
        let high = Difficulty::new(a * factor).unwrap();
        prop_assert!(high.to_target() <= low.to_target());
    }

    #[test]
    fn there_and_back(value in 1e-4f64..1e30) {
        let difficulty = Difficulty::new(value).unwrap();
        let back = Difficulty::from_target(difficulty.to_target()).get();
        prop_assert!((back / value - 1.0).abs() < 1e-9, "{value} became {back}");
    }

    #[test]
    fn rounds_down(value in 1e-3f64..1e12) {
        // The target times the difficulty never exceeds 0xffff * 2^208 by more than the mantissa's rounding.
        let target = Difficulty::new(value).unwrap().to_target();
        let product = Difficulty::from_target(target).get();
        prop_assert!(product >= value * (1.0 - 1e-15));
    }
}

proptest! {
    #[test]
    fn at_most_never_exceeds_the_target(bytes in prop::array::uniform32(any::<u8>()), zeros in 0usize..16) {
        // M-14
        let mut bytes = bytes;
        bytes[..zeros].fill(0);
        let target = Target::from_be_bytes(bytes);
        let difficulty = Difficulty::at_most(target);
        prop_assert!(difficulty.to_target() <= target, "{difficulty:?}");
        let easier = Difficulty::saturating(difficulty.get() * (1.0 - 1e-9));
        prop_assert!(difficulty == Difficulty::MIN || easier.to_target() > target, "no harder than needed");
    }
}
