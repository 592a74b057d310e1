//! JSON lines: a table whose columns are JSON themselves, character by character as it is recorded.

use std::fs::File;
use std::io::{self, BufWriter, Write};

use serde_json::value::RawValue;

use super::Cell;
use super::csv::{BUFFER, flush};
use super::tables::Column;

pub(super) struct LinesFile {
    file: BufWriter<File>,
    columns: &'static [Column],
}

impl LinesFile {
    pub(super) fn begin(file: File, columns: &'static [Column]) -> Self {
        Self { file: BufWriter::with_capacity(BUFFER, file), columns }
    }

    pub(super) fn row(&mut self, cells: &[Cell<'_>]) -> io::Result<()> {
        let file = &mut self.file;
        for (index, (column, cell)) in self.columns.iter().zip(cells).enumerate() {
            let before = if index == 0 { "{" } else { "," };
            write!(file, "{before}\"{}\":", column.name)?;
            value(file, cell)?;
        }
        file.write_all(b"}\n")
    }

    pub(super) fn finish(self) -> io::Result<()> {
        flush(self.file)
    }
}

fn value(file: &mut BufWriter<File>, cell: &Cell<'_>) -> io::Result<()> {
    match cell {
        Cell::Nothing => file.write_all(b"null"),
        Cell::Json(text) if is_line(text) => file.write_all(text.as_bytes()),
        Cell::Integer(_) => write!(file, "{cell}"),
        Cell::Real(value) => Ok(serde_json::to_writer(file, value)?),
        Cell::Text(text) | Cell::Json(text) => Ok(serde_json::to_writer(file, text)?),
        Cell::Bytes(_) | Cell::Hash(_) | Cell::Big(_) => write!(file, "\"{cell}\""),
    }
}

/// What is no JSON, or takes more than one line, is written as a string.
fn is_line(text: &str) -> bool {
    !text.contains(['\n', '\r']) && serde_json::from_str::<&RawValue>(text).is_ok()
}
