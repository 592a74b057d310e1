//! Comma-separated values as in RFC 4180, with a line feed at the end of a line.

use std::fmt::Write;

use sluice_core::bitcoin::BlockHash;

pub(crate) enum Cell<'a> {
    Integer(i64),
    /// The shortest decimal that reads back as the same number.
    Real(f64),
    Text(&'a str),
    /// Hex.
    Bytes(&'a [u8]),
    Hash(BlockHash),
}

/// Appends a line.
pub(crate) fn row<'a>(line: &mut String, cells: impl Iterator<Item = Cell<'a>>) {
    for (index, cell) in cells.enumerate() {
        if index > 0 {
            line.push(',');
        }
        append(line, &cell);
    }
    line.push('\n');
}

fn append(line: &mut String, cell: &Cell<'_>) {
    // Writing to a string cannot fail.
    let _ = match cell {
        Cell::Integer(value) => write!(line, "{value}"),
        Cell::Real(value) => write!(line, "{value}"),
        Cell::Hash(hash) => write!(line, "{hash}"),
        Cell::Bytes(bytes) => bytes.iter().try_for_each(|byte| write!(line, "{byte:02x}")),
        Cell::Text(text) if text.contains(['"', ',', '\n', '\r']) => {
            line.push('"');
            line.push_str(&text.replace('"', "\"\""));
            line.write_char('"')
        }
        Cell::Text(text) => line.write_str(text),
    };
}

#[cfg(test)]
mod tests {
    use super::{Cell, row};

    #[test]
    fn what_would_break_a_line_is_quoted() {
        let mut line = String::new();
        let cells = [
            Cell::Text("a,b"),
            Cell::Text("say \"no\""),
            Cell::Text(""),
            Cell::Text("plain"),
            Cell::Integer(-5),
        ];
        row(&mut line, cells.into_iter());
        assert_eq!(line, "\"a,b\",\"say \"\"no\"\"\",,plain,-5\n");
    }

    #[test]
    fn numbers_read_back_as_they_were() {
        for value in [2.4e-10, 1.0 / 3.0, 1e14 + 0.015_625, 5e-324] {
            let mut line = String::new();
            row(&mut line, [Cell::Real(value)].into_iter());
            assert_eq!(line.trim_end().parse(), Ok(value));
        }
    }
}
