//! A difficulty in the password, as miners have always written it (V1-45): `x,d=500`.

/// Names that mean "the difficulty I want".
const NAMES: [&str; 5] = ["d", "diff", "difficulty", "sd", "suggestdiff"];

/// The first difficulty named in `password`. Words are parted by `, ; | &` or space; a value that is no positive number
/// is passed over, since passwords are free text.
pub fn difficulty(password: &str) -> Option<f64> {
    password.split([',', ';', '|', '&', ' ']).find_map(word_difficulty)
}

fn word_difficulty(word: &str) -> Option<f64> {
    let (name, value) = word.split_once('=')?;
    if !NAMES.iter().any(|known| name.eq_ignore_ascii_case(known)) {
        return None;
    }
    value.parse::<f64>().ok().filter(|value| value.is_finite() && *value > 0.0)
}

#[cfg(test)]
mod tests;
