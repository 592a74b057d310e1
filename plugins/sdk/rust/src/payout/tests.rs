use super::*;

fn bps(value: u64) -> BasisPoints {
    BasisPoints::new(value).unwrap()
}

#[test]
fn a_part_is_rounded_down() {
    assert_eq!(bps(0).of(1_000), 0);
    assert_eq!(bps(100).of(199), 1);
    assert_eq!(bps(9_999).of(1), 0);
    assert_eq!(bps(10_000).of(312_500_001), 312_500_001);
    assert_eq!(bps(150).of(2_100_000_000_000_000), 31_500_000_000_000);
}

#[test]
fn more_than_all_is_refused() {
    assert_eq!(BasisPoints::new(10_001), None);
    assert_eq!(BasisPoints::new(u64::MAX), None);
}

#[test]
fn it_reads_as_percent() {
    let texts = [0, 5, 10, 100, 150, 155, 10_000].map(|v| bps(v).to_string());
    assert_eq!(texts, ["0%", "0.05%", "0.1%", "1%", "1.5%", "1.55%", "100%"]);
}

#[test]
fn a_part_and_what_is_left_are_the_whole() {
    for value in [0, 1, 150, 9_999, 10_000] {
        assert_eq!(u64::from(bps(value).get() + bps(value).complement().get()), 10_000);
    }
}
