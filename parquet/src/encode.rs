//! Values as the bytes of a Parquet file, and back.
//!
//! A file has one row group and pages compressed with Snappy, which every reader has. Segments are files of the same
//! form, so that a file is made of them without knowing records.

use std::sync::Arc;

use bytes::Bytes;
use parquet::basic::{Compression, LogicalType, Repetition, TimeUnit, Type as Physical};
use parquet::column::reader::get_typed_column_reader;
use parquet::data_type::{BoolType, ByteArrayType, DataType, DoubleType, FloatType, Int32Type, Int64Type};
use parquet::errors::ParquetError as Fault;
use parquet::file::properties::WriterProperties;
use parquet::file::reader::{FileReader, SerializedFileReader};
use parquet::file::writer::SerializedFileWriter;
use parquet::schema::types::{Type, TypePtr};

use crate::column::{Cells, Column, Kind, Values};

/// How the columns are described in a file.
pub(crate) fn schema(columns: &[Column]) -> Result<TypePtr, Fault> {
    let fields = columns.iter().map(|column| {
        let (physical, logical) = match column.kind {
            Kind::Bool => (Physical::BOOLEAN, None),
            Kind::I32 => (Physical::INT32, None),
            Kind::I64 => (Physical::INT64, None),
            Kind::Time => {
                let (is_adjusted_to_u_t_c, unit) = (true, TimeUnit::MILLIS);
                (Physical::INT64, Some(LogicalType::Timestamp { is_adjusted_to_u_t_c, unit }))
            }
            Kind::F32 => (Physical::FLOAT, None),
            Kind::F64 => (Physical::DOUBLE, None),
            Kind::Text => (Physical::BYTE_ARRAY, Some(LogicalType::String)),
            Kind::Bytes => (Physical::BYTE_ARRAY, None),
        };
        let repetition = if column.optional { Repetition::OPTIONAL } else { Repetition::REQUIRED };
        let field = Type::primitive_type_builder(&column.name, physical);
        field.with_logical_type(logical).with_repetition(repetition).build().map(Arc::new)
    });
    let fields = fields.collect::<Result<Vec<_>, Fault>>()?;
    Ok(Arc::new(Type::group_type_builder("record").with_fields(fields).build()?))
}

/// The bytes of a file.
pub(crate) fn file_of(schema: &TypePtr, cells: &[Cells]) -> Result<Vec<u8>, Fault> {
    let properties = WriterProperties::builder()
        .set_compression(Compression::SNAPPY)
        .set_created_by(format!("highwater version {}", env!("CARGO_PKG_VERSION")));
    let mut writer = SerializedFileWriter::new(Vec::new(), Arc::clone(schema), Arc::new(properties.build()))?;
    let mut group = writer.next_row_group()?;
    for cells in cells {
        let Some(mut column) = group.next_column()? else {
            return Err(Fault::General("it has fewer columns than the sink".to_owned()));
        };
        let levels = cells.levels.as_deref();
        match &cells.values {
            Values::Bool(values) => column.typed::<BoolType>().write_batch(values, levels, None)?,
            Values::I32(values) => column.typed::<Int32Type>().write_batch(values, levels, None)?,
            Values::I64(values) => column.typed::<Int64Type>().write_batch(values, levels, None)?,
            Values::F32(values) => column.typed::<FloatType>().write_batch(values, levels, None)?,
            Values::F64(values) => column.typed::<DoubleType>().write_batch(values, levels, None)?,
            Values::Bytes(values) => column.typed::<ByteArrayType>().write_batch(values, levels, None)?,
        };
        column.close()?;
    }
    group.close()?;
    writer.into_inner()
}

/// Adds the rows of a segment; how many there were.
pub(crate) fn add(file: Bytes, schema: &TypePtr, cells: &mut [Cells]) -> Result<u64, Fault> {
    let reader = SerializedFileReader::new(file)?;
    let described = reader.metadata().file_metadata().schema();
    if described.get_fields() != schema.get_fields() {
        return Err(Fault::General("its columns are others".to_owned()));
    }
    let mut rows = 0;
    for number in 0..reader.num_row_groups() {
        let group = reader.get_row_group(number)?;
        let count = group.metadata().num_rows() as usize;
        for (index, cells) in cells.iter_mut().enumerate() {
            let column = group.get_column_reader(index)?;
            let levels = cells.levels.as_mut();
            match &mut cells.values {
                Values::Bool(values) => read::<BoolType>(column, count, levels, values)?,
                Values::I32(values) => read::<Int32Type>(column, count, levels, values)?,
                Values::I64(values) => read::<Int64Type>(column, count, levels, values)?,
                Values::F32(values) => read::<FloatType>(column, count, levels, values)?,
                Values::F64(values) => read::<DoubleType>(column, count, levels, values)?,
                Values::Bytes(values) => read::<ByteArrayType>(column, count, levels, values)?,
            }
        }
        rows += count as u64;
    }
    Ok(rows)
}

fn read<T: DataType>(
    column: parquet::column::reader::ColumnReader,
    rows: usize,
    mut levels: Option<&mut Vec<i16>>,
    values: &mut Vec<T::T>,
) -> Result<(), Fault> {
    let mut reader = get_typed_column_reader::<T>(column);
    let mut left = rows;
    while left > 0 {
        let (read, _, _) = reader.read_records(left, levels.as_deref_mut(), None, values)?;
        if read == 0 {
            return Err(Fault::EOF(format!("{left} of {rows} rows are not there")));
        }
        left -= read;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::column::{Field, empty};
    use highwater::state::Timestamp;

    #[test]
    fn what_is_written_is_read_and_segments_follow_each_other() {
        let column = |name: &str, kind, optional| Column { name: name.to_owned(), kind, optional };
        let columns = [
            column("flag", Kind::Bool, false),
            column("count", Kind::I64, true),
            column("at", Kind::Time, false),
            column("text", Kind::Text, true),
            column("share", Kind::F64, false),
        ];
        let schema = schema(&columns).expect("the columns are good");
        let mut all = empty(&columns);
        let mut files = Vec::new();
        for from in [0i64, 100, 100, 150] {
            let mut cells = empty(&columns);
            for number in from..from + if from == 100 { 0 } else { 50 } {
                for cells in [&mut cells, &mut all] {
                    (number % 2 == 0).put(&mut cells[0]);
                    (number % 3 != 0).then_some(number).put(&mut cells[1]);
                    Timestamp::from_millis(-number).put(&mut cells[2]);
                    (number % 5 == 0).then(|| format!("ä{number}")).put(&mut cells[3]);
                    (number as f64 / 7.0).put(&mut cells[4]);
                }
            }
            files.push(Bytes::from(file_of(&schema, &cells).expect("it is written")));
        }
        let mut read = empty(&columns);
        let rows: u64 =
            files.iter().map(|file| add(file.clone(), &schema, &mut read).expect("it is read")).sum();
        assert_eq!(rows, 100);
        for (read, all) in read.iter().zip(&all) {
            assert_eq!((&read.levels, &read.values), (&all.levels, &all.values));
        }
        let cut = files[0].slice(..files[0].len() - 9);
        assert!(add(cut, &schema, &mut empty(&columns)).is_err());
        let others = super::schema(&columns[1..]).expect("the columns are good");
        assert!(add(files[0].clone(), &others, &mut empty(&columns[1..])).is_err());
    }
}
