//! Hash rates and times as people write them: `"0.5MH/s"`, `"90m"`.

use std::fmt;

use serde::Deserialize;

/// Hashes per second, above zero.
#[derive(Clone, Copy, Debug, PartialEq, Deserialize)]
#[serde(try_from = "String")]
pub(super) struct Rate(pub(super) f64);

/// Seconds, not negative.
#[derive(Clone, Copy, Debug, Default, PartialEq, PartialOrd, Deserialize)]
#[serde(try_from = "String")]
pub(super) struct Span(pub(super) f64);

/// Text that is no such quantity.
#[derive(Debug, PartialEq, thiserror::Error)]
pub(super) enum QuantityError {
    #[error(
        "{0:?} is no hash rate; a number above 0 with H/s, kH/s, MH/s, GH/s, TH/s, PH/s or EH/s is, at most 1000 EH/s"
    )]
    Rate(String),
    #[error("{0:?} is no time; a number with ms, s, m, h or d is, at most 366d")]
    Span(String),
}

const RATES: [(&str, f64); 7] = [
    ("H/s", 1.0),
    ("kH/s", 1e3),
    ("MH/s", 1e6),
    ("GH/s", 1e9),
    ("TH/s", 1e12),
    ("PH/s", 1e15),
    ("EH/s", 1e18),
];
const SPANS: [(&str, f64); 5] = [("ms", 1e-3), ("s", 1.0), ("m", 60.0), ("h", 3600.0), ("d", 86_400.0)];
const RATE_LIMIT: f64 = 1e21;
const SPAN_LIMIT: f64 = 366.0 * 86_400.0;

/// The number times its unit.
fn measured(text: &str, units: &[(&str, f64)]) -> Option<f64> {
    let end = text.find(|c: char| !(c.is_ascii_digit() || c == '.')).unwrap_or(text.len());
    let (number, unit) = text.split_at(end);
    let (_, factor) = units.iter().find(|(name, _)| *name == unit.trim_start())?;
    Some(number.parse::<f64>().ok()? * factor)
}

impl TryFrom<String> for Rate {
    type Error = QuantityError;

    fn try_from(text: String) -> Result<Self, QuantityError> {
        let rate = measured(text.trim(), &RATES).filter(|rate| *rate > 0.0 && *rate <= RATE_LIMIT);
        rate.map(Self).ok_or(QuantityError::Rate(text))
    }
}

impl TryFrom<String> for Span {
    type Error = QuantityError;

    fn try_from(text: String) -> Result<Self, QuantityError> {
        let seconds = measured(text.trim(), &SPANS).filter(|seconds| *seconds <= SPAN_LIMIT);
        seconds.map(Self).ok_or(QuantityError::Span(text))
    }
}

/// Two of its units, the larger first.
impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let seconds = self.0;
        if seconds < 100.0 {
            return write!(f, "{seconds:.0} s");
        }
        let minutes = (seconds / 60.0).round();
        match minutes {
            m if m < 60.0 => write!(f, "{:.1} min", seconds / 60.0),
            m if m < 48.0 * 60.0 && m % 60.0 == 0.0 => write!(f, "{} h", m / 60.0),
            m if m < 48.0 * 60.0 => write!(f, "{} h {:02} min", (m / 60.0).floor(), m % 60.0),
            m => write!(f, "{} d {} h", (m / 1440.0).floor(), ((m % 1440.0) / 60.0).floor()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hash_rates_have_units() {
        let rate = |text: &str| Rate::try_from(text.to_owned()).map(|rate| rate.0);
        assert_eq!(rate("0.5MH/s"), Ok(500_000.0));
        assert_eq!(rate("1EH/s"), Ok(1e18));
        assert_eq!(rate("120 TH/s"), Ok(1.2e14));
        for bad in ["", "5", "0MH/s", "-1MH/s", "1 mh", "1e3TH/s", "5000EH/s", "MH/s", "1.2.3TH/s"] {
            assert!(rate(bad).unwrap_err().to_string().contains("EH/s"), "{bad}");
        }
    }

    #[test]
    fn times_have_units() {
        let span = |text: &str| Span::try_from(text.to_owned()).map(|span| span.0);
        assert_eq!(
            [span("90m"), span("1.5h"), span("250ms"), span("0s")],
            [Ok(5400.0), Ok(5400.0), Ok(0.25), Ok(0.0)]
        );
        assert!(span("90").unwrap_err().to_string().contains("ms, s, m, h or d"));
        assert_eq!(
            [Span(42.4), Span(150.0), Span(5400.0), Span(43_200.0)].map(|s| s.to_string()),
            ["42 s", "2.5 min", "1 h 30 min", "12 h"]
        );
    }
}
