//! Comma-separated values as in RFC 4180, with a line feed at the end of a line.

use std::fmt::Write as _;
use std::fs::File;
use std::io::{self, BufWriter, Write};

use super::Cell;
use super::tables::Column;

/// Bytes between two writes.
pub(super) const BUFFER: usize = 1 << 20;

pub(super) struct CsvFile {
    file: BufWriter<File>,
    line: String,
}

impl CsvFile {
    /// With a header.
    pub(super) fn begin(file: File, columns: &[Column]) -> io::Result<Self> {
        let mut begun = Self { file: BufWriter::with_capacity(BUFFER, file), line: String::new() };
        let names: Vec<Cell<'_>> = columns.iter().map(|column| Cell::Text(column.name)).collect();
        begun.row(&names)?;
        Ok(begun)
    }

    pub(super) fn row(&mut self, cells: &[Cell<'_>]) -> io::Result<()> {
        self.line.clear();
        append(&mut self.line, cells);
        self.file.write_all(self.line.as_bytes())
    }

    pub(super) fn finish(self) -> io::Result<()> {
        flush(self.file)
    }
}

/// Everything is on disk when this returns.
pub(super) fn flush(file: BufWriter<File>) -> io::Result<()> {
    file.into_inner().map_err(io::IntoInnerError::into_error)?.sync_all()
}

fn append(line: &mut String, cells: &[Cell<'_>]) {
    for (index, cell) in cells.iter().enumerate() {
        if index > 0 {
            line.push(',');
        }
        match cell {
            Cell::Text(text) if text.contains(['"', ',', '\n', '\r']) => {
                line.push('"');
                line.push_str(&text.replace('"', "\"\""));
                line.push('"');
            }
            Cell::Text(text) => line.push_str(text),
            // Writing to a string cannot fail.
            _ => drop(write!(line, "{cell}")),
        }
    }
    line.push('\n');
}

#[cfg(test)]
mod tests {
    use super::{Cell, append};

    #[test]
    fn what_would_break_a_line_is_quoted() {
        let mut line = String::new();
        let cells = [
            Cell::Text("a,b"),
            Cell::Text("say \"no\""),
            Cell::Text(""),
            Cell::Text("plain"),
            Cell::Integer(-5),
            Cell::Nothing,
        ];
        append(&mut line, &cells);
        assert_eq!(line, "\"a,b\",\"say \"\"no\"\"\",,plain,-5,\n");
    }

    #[test]
    fn numbers_read_back_as_they_were() {
        for value in [2.4e-10, 1.0 / 3.0, 1e14 + 0.015_625, 5e-324] {
            let mut line = String::new();
            append(&mut line, &[Cell::Real(value)]);
            assert_eq!(line.trim_end().parse(), Ok(value));
        }
    }
}
