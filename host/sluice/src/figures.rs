//! Numbers for people.

/// Satoshis in a bitcoin.
const BITCOIN: u64 = 100_000_000;

/// Groups of three digits with `separator` between them.
pub(crate) fn grouped(number: u64, separator: char) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(separator);
        }
        text.push(digit);
    }
    text
}

/// An amount in bitcoin, to the satoshi.
pub(crate) fn bitcoins(sat: u64) -> String {
    format!("{}.{:08}", sat / BITCOIN, sat % BITCOIN)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn thousands_are_told_apart() {
        let commas = |number| grouped(number, ',');
        assert_eq!([0, 12, 999, 1000, 1_234_567].map(commas), ["0", "12", "999", "1,000", "1,234,567"]);
    }

    #[test]
    fn an_amount_has_all_its_digits() {
        assert_eq!([0, 1, 312_500_000].map(bitcoins), ["0.00000000", "0.00000001", "3.12500000"]);
    }
}
