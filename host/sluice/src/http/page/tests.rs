use std::time::Duration;

use super::{Short, bitcoins, escaped, grouped, middle, span, tail};

#[test]
fn text_from_outside_stays_text() {
    let hostile = "<script>alert('x')</script>\"&\u{0}\u{1b}";
    let shown = escaped(hostile).to_string();
    assert!(!shown.contains(['<', '>', '"', '\'', '\u{0}', '\u{1b}']), "{shown}");
    assert!(shown.starts_with("&lt;script&gt;alert(&#39;x&#39;)"));
}

#[test]
fn numbers_are_written_for_people() {
    assert_eq!(grouped(7), "7");
    assert_eq!(grouped(1_234_567).replace('\u{202f}', " "), "1 234 567");
    assert_eq!(bitcoins(312_500_001), "3.12500001");
    assert_eq!(bitcoins(u64::MAX), "184467440737.09551615");
    for (value, expected) in [(0.0, "0.00"), (12.345, "12.35"), (1e-6, "1.000e-6"), (2.5e9, "2.500e9")] {
        assert_eq!(Short(value).to_string(), expected);
    }
}

#[test]
fn times_take_the_fitting_unit() {
    for (seconds, expected) in [(0, "0 s"), (119, "119 s"), (120, "2 min"), (7200, "2 h"), (172_800, "2 d")] {
        assert_eq!(span(Duration::from_secs(seconds)), expected);
    }
}

#[test]
fn long_names_are_shortened_whatever_they_are_made_of() {
    assert_eq!(middle("bc1qw508d6qejxtdg4y5r3zarvary0c5xw7kv8f3t4"), "bc1qw508d6qe…7kv8f3t4");
    assert_eq!(middle("short"), "short");
    assert_eq!(tail(&"0".repeat(64)), format!("…{}", "0".repeat(16)));
    for text in ["", "é", &"é".repeat(100), &"<".repeat(100)] {
        assert!(!middle(text).contains('<') && !tail(text).contains('<'));
    }
}
