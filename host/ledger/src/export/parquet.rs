//! Parquet: typed columns in groups of rows, compressed with Snappy. Every column may be empty where the row has nothing.

use std::fs::File;
use std::io::{self, BufWriter, ErrorKind};
use std::mem;
use std::sync::Arc;

use ::parquet::basic::{Compression, LogicalType, Repetition, TimeUnit, Type as Physical};
use ::parquet::data_type::{ByteArray, ByteArrayType, DoubleType, Int64Type};
use ::parquet::errors::{ParquetError, Result};
use ::parquet::file::properties::{EnabledStatistics, WriterProperties};
use ::parquet::file::writer::{SerializedColumnWriter, SerializedFileWriter};
use ::parquet::schema::types::{Type, TypePtr};

use super::Cell;
use super::csv::{BUFFER, flush};
use super::tables::{Column, Kind};

/// A group of rows is held in memory until it is full: so many rows, or so many bytes of them.
const GROUP_ROWS: usize = 100_000;
const GROUP_BYTES: usize = 64 << 20;
/// What a number takes, with its level.
const NUMBER_BYTES: usize = 10;
/// What a text takes beside its bytes.
const TEXT_BYTES: usize = 48;

pub(super) struct ParquetFile {
    writer: SerializedFileWriter<BufWriter<File>>,
    group: Vec<Held>,
    rows: usize,
    bytes: usize,
}

/// A column's part of a group: its values, and for each row whether it has one.
struct Held {
    present: Vec<i16>,
    values: Values,
}

enum Values {
    Integers(Vec<i64>),
    Reals(Vec<f64>),
    Texts(Vec<ByteArray>),
}

impl Held {
    fn new(column: &Column) -> Self {
        let values = match column.kind {
            Kind::Integer | Kind::Millis => Values::Integers(Vec::new()),
            Kind::Real => Values::Reals(Vec::new()),
            Kind::Text | Kind::Json | Kind::Bytes | Kind::Hash | Kind::Big => Values::Texts(Vec::new()),
        };
        Self { present: Vec::new(), values }
    }

    /// Returns about how many bytes it takes.
    fn push(&mut self, cell: &Cell<'_>) -> io::Result<usize> {
        self.present.push(i16::from(*cell != Cell::Nothing));
        Ok(match (&mut self.values, cell) {
            (_, Cell::Nothing) => mem::size_of::<i16>(),
            (Values::Integers(list), Cell::Integer(value)) => {
                list.push(*value);
                NUMBER_BYTES
            }
            (Values::Reals(list), Cell::Real(value)) => {
                list.push(*value);
                NUMBER_BYTES
            }
            (Values::Texts(list), Cell::Text(text) | Cell::Json(text)) => {
                list.push(ByteArray::from(*text));
                TEXT_BYTES + text.len()
            }
            (Values::Texts(list), cell) => {
                let text = cell.to_string();
                let bytes = TEXT_BYTES + text.len();
                list.push(ByteArray::from(text.into_bytes()));
                bytes
            }
            (Values::Integers(_) | Values::Reals(_), _) => {
                return Err(io::Error::new(
                    ErrorKind::InvalidData,
                    "a column of numbers holds something else",
                ));
            }
        })
    }

    fn write(&mut self, column: &mut SerializedColumnWriter<'_>) -> Result<()> {
        let present = mem::take(&mut self.present);
        let present = Some(present.as_slice());
        match &mut self.values {
            Values::Integers(list) => {
                column.typed::<Int64Type>().write_batch(&mem::take(list), present, None)?;
            }
            Values::Reals(list) => {
                column.typed::<DoubleType>().write_batch(&mem::take(list), present, None)?;
            }
            Values::Texts(list) => {
                column.typed::<ByteArrayType>().write_batch(&mem::take(list), present, None)?;
            }
        }
        Ok(())
    }
}

impl ParquetFile {
    pub(super) fn begin(file: File, columns: &[Column]) -> io::Result<Self> {
        let properties = WriterProperties::builder()
            .set_compression(Compression::SNAPPY)
            .set_statistics_enabled(EnabledStatistics::Chunk)
            .build();
        let file = BufWriter::with_capacity(BUFFER, file);
        let writer = schema(columns)
            .and_then(|schema| SerializedFileWriter::new(file, schema, Arc::new(properties)))
            .map_err(other)?;
        Ok(Self { writer, group: columns.iter().map(Held::new).collect(), rows: 0, bytes: 0 })
    }

    pub(super) fn row(&mut self, cells: &[Cell<'_>]) -> io::Result<()> {
        for (held, cell) in self.group.iter_mut().zip(cells) {
            self.bytes += held.push(cell)?;
        }
        self.rows += 1;
        if self.rows >= GROUP_ROWS || self.bytes >= GROUP_BYTES {
            self.write_group().map_err(other)?;
        }
        Ok(())
    }

    fn write_group(&mut self) -> Result<()> {
        let mut group = self.writer.next_row_group()?;
        for held in &mut self.group {
            let mut column = group.next_column()?.ok_or_else(|| {
                ParquetError::General("a column has no place in the file's schema".to_owned())
            })?;
            held.write(&mut column)?;
            column.close()?;
        }
        group.close()?;
        (self.rows, self.bytes) = (0, 0);
        Ok(())
    }

    pub(super) fn finish(mut self) -> io::Result<()> {
        if self.rows > 0 {
            self.write_group().map_err(other)?;
        }
        flush(self.writer.into_inner().map_err(other)?)
    }
}

fn schema(columns: &[Column]) -> Result<TypePtr> {
    let fields = columns.iter().map(|column| Ok(Arc::new(field(column)?))).collect::<Result<Vec<_>>>()?;
    Ok(Arc::new(Type::group_type_builder("row").with_fields(fields).build()?))
}

fn field(column: &Column) -> Result<Type> {
    let (physical, logical) = match column.kind {
        Kind::Integer => (Physical::INT64, None),
        Kind::Millis => (Physical::INT64, Some(LogicalType::timestamp(true, TimeUnit::MILLIS))),
        Kind::Real => (Physical::DOUBLE, None),
        _ => (Physical::BYTE_ARRAY, Some(LogicalType::String)),
    };
    Type::primitive_type_builder(column.name, physical)
        .with_repetition(Repetition::OPTIONAL)
        .with_logical_type(logical)
        .build()
}

fn other(error: ParquetError) -> io::Error {
    match error {
        ParquetError::External(source) => match source.downcast::<io::Error>() {
            Ok(source) => *source,
            Err(source) => io::Error::other(source),
        },
        error => io::Error::other(error),
    }
}
