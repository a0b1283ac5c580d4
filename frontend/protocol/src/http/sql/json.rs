//! The JSON formats: GreptimeDB's, an array of objects, and InfluxDB's.

use std::io::Write as _;

use arrow_array::Array;
use arrow_schema::Schema;
use serde::de::IgnoredAny;
use varve_model::schema::LogicalType;
use varve_model::{Error, Reason, Result};

use super::encode::{Batch, Encoder, type_name};
use crate::output::column::{Cells, Column, ColumnType};

/// Appends to a buffer, which cannot fail.
macro_rules! put {
    ($out:expr, $($format:tt)*) => { write!($out, $($format)*).expect("a Vec takes all bytes") };
}

/// Appends a JSON string.
pub(super) fn string(out: &mut Vec<u8>, text: &str) {
    serde_json::to_writer(out, text).expect("a Vec takes all bytes");
}

/// Appends an integer: the most frequent cell, so without the formatting machinery.
fn integer(out: &mut Vec<u8>, value: impl lexical_core::ToLexical) {
    let mut buffer = [0; 64];
    out.extend_from_slice(lexical_core::write(value, &mut buffer));
}

/// Appends one cell.
pub(super) fn cell(out: &mut Vec<u8>, cells: &Cells, kind: ColumnType, row: usize) {
    if cells.is_null(row) {
        out.extend_from_slice(b"null");
        return;
    }
    match cells {
        Cells::Null => out.extend_from_slice(b"null"),
        Cells::Bool(values) => out.extend_from_slice(if values.value(row) { b"true" } else { b"false" }),
        Cells::I64(values) => integer(out, values.value(row)),
        Cells::U64(values) => integer(out, values.value(row)),
        // serde_json writes null for what JSON cannot hold.
        Cells::F32(values) => serde_json::to_writer(out, &values.value(row)).expect("a Vec takes all bytes"),
        Cells::F64(values) => serde_json::to_writer(out, &values.value(row)).expect("a Vec takes all bytes"),
        Cells::Text(values) if kind == ColumnType::Logical(LogicalType::Json) => {
            let text = values.value(row);
            // Stored text that is no JSON must not break the document around it.
            if serde_json::from_str::<IgnoredAny>(text).is_ok() {
                out.extend_from_slice(text.as_bytes());
            } else {
                string(out, text);
            }
        }
        Cells::Text(values) => string(out, values.value(row)),
        Cells::Binary(values) => {
            out.push(b'[');
            for (at, byte) in values.value(row).iter().enumerate() {
                if at > 0 {
                    out.push(b',');
                }
                integer(out, *byte);
            }
            out.push(b']');
        }
    }
}

/// Appends `[cell,cell,..]` per row, with a comma before every row but the first of all.
fn rows(out: &mut Vec<u8>, batch: &Batch<'_>, first: &mut bool, write: impl Fn(&mut Vec<u8>, usize, usize)) {
    for row in 0..batch.raw.num_rows() {
        out.extend_from_slice(if std::mem::take(first) { b"[" } else { b",[" });
        for column in 0..batch.columns.len() {
            if column > 0 {
                out.push(b',');
            }
            write(out, column, row);
        }
        out.push(b']');
    }
}

/// `{"output":[{"records":{..}},{"affectedrows":n}],"execution_time_ms":n}`.
#[derive(Debug, Default)]
pub(super) struct Greptime {
    outputs: usize,
    rows: usize,
    first_row: bool,
}

impl Greptime {
    fn next_output(&mut self, out: &mut Vec<u8>) {
        out.extend_from_slice(if self.outputs == 0 { b"{\"output\":[" } else { b"," });
        self.outputs += 1;
    }
}

impl Encoder for Greptime {
    fn rows_start(&mut self, out: &mut Vec<u8>, _: &Schema, columns: &[Column]) -> Result<()> {
        self.next_output(out);
        (self.rows, self.first_row) = (0, true);
        out.extend_from_slice(b"{\"records\":{\"schema\":{\"column_schemas\":[");
        for (at, column) in columns.iter().enumerate() {
            out.extend_from_slice(if at == 0 { b"{\"name\":" } else { b",{\"name\":" });
            string(out, &column.name);
            put!(out, ",\"data_type\":\"{}\"}}", type_name(column));
        }
        out.extend_from_slice(b"]},\"rows\":[");
        Ok(())
    }

    fn batch(&mut self, out: &mut Vec<u8>, batch: &Batch<'_>) -> Result<()> {
        self.rows += batch.raw.num_rows();
        rows(out, batch, &mut self.first_row, |out, column, row| {
            cell(out, &batch.cells[column], batch.columns[column].kind, row);
        });
        Ok(())
    }

    fn rows_end(&mut self, out: &mut Vec<u8>) -> Result<()> {
        put!(out, "],\"total_rows\":{}}}}}", self.rows);
        Ok(())
    }

    fn count(&mut self, out: &mut Vec<u8>, rows: u64) {
        self.next_output(out);
        put!(out, "{{\"affectedrows\":{rows}}}");
    }

    fn finish(&mut self, out: &mut Vec<u8>, elapsed_ms: u128) {
        if self.outputs == 0 {
            out.extend_from_slice(b"{\"output\":[");
        }
        put!(out, "],\"execution_time_ms\":{elapsed_ms}}}");
    }
}

/// `{"data":[{"column":cell},..],"execution_time_ms":n}`.
#[derive(Debug, Default)]
pub(super) struct Objects {
    started: bool,
    rows: usize,
}

impl Encoder for Objects {
    fn rows_start(&mut self, out: &mut Vec<u8>, _: &Schema, _: &[Column]) -> Result<()> {
        self.started = true;
        out.extend_from_slice(b"{\"data\":[");
        Ok(())
    }

    fn batch(&mut self, out: &mut Vec<u8>, batch: &Batch<'_>) -> Result<()> {
        for row in 0..batch.raw.num_rows() {
            out.extend_from_slice(if self.rows == 0 { b"{" } else { b",{" });
            self.rows += 1;
            for (at, column) in batch.columns.iter().enumerate() {
                if at > 0 {
                    out.push(b',');
                }
                string(out, &column.name);
                out.push(b':');
                cell(out, &batch.cells[at], column.kind, row);
            }
            out.push(b'}');
        }
        Ok(())
    }

    fn rows_end(&mut self, _: &mut Vec<u8>) -> Result<()> {
        Ok(())
    }

    fn count(&mut self, _: &mut Vec<u8>, _: u64) {}

    fn finish(&mut self, out: &mut Vec<u8>, elapsed_ms: u128) {
        if !self.started {
            out.extend_from_slice(b"{\"data\":[");
        }
        put!(out, "],\"execution_time_ms\":{elapsed_ms}}}");
    }
}

/// The unit of timestamps in InfluxDB's format.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Epoch {
    per_second: i64,
}

impl Epoch {
    /// The unit of this name. Errors: `InvalidRequest/BadValue`.
    pub(super) fn of(name: &str) -> Result<Self> {
        let per_second = match name {
            "ns" | "n" => 1_000_000_000,
            "us" | "u" | "\u{b5}" | "\u{3bc}" => 1_000_000,
            "ms" => 1_000,
            "s" => 1,
            _ => {
                let text = format!("epoch must be one of ns, u, ms and s, not '{name}'");
                return Err(Error::invalid(text).with_reason(Reason::BadValue));
            }
        };
        Ok(Self { per_second })
    }

    fn convert(self, value: i64, from_per_second: i64) -> i128 {
        (i128::from(value) * i128::from(self.per_second)).div_euclid(i128::from(from_per_second))
    }
}

/// `{"results":[{"statement_id":0,"series":[{"name":"","columns":[..],"values":[..]}]}],"execution_time_ms":n}`.
#[derive(Debug)]
pub(super) struct Influx {
    epoch: Option<Epoch>,
    statements: usize,
    first_row: bool,
}

impl Influx {
    pub(super) fn new(epoch: Option<Epoch>) -> Self {
        Self { epoch, statements: 0, first_row: true }
    }

    fn next_statement(&mut self, out: &mut Vec<u8>) {
        out.extend_from_slice(if self.statements == 0 { b"{\"results\":[" } else { b"," });
        put!(out, "{{\"statement_id\":{}", self.statements);
        self.statements += 1;
    }
}

impl Encoder for Influx {
    fn rows_start(&mut self, out: &mut Vec<u8>, _: &Schema, columns: &[Column]) -> Result<()> {
        self.next_statement(out);
        self.first_row = true;
        out.extend_from_slice(b",\"series\":[{\"name\":\"\",\"columns\":[");
        for (at, column) in columns.iter().enumerate() {
            if at > 0 {
                out.push(b',');
            }
            string(out, &column.name);
        }
        out.extend_from_slice(b"],\"values\":[");
        Ok(())
    }

    fn batch(&mut self, out: &mut Vec<u8>, batch: &Batch<'_>) -> Result<()> {
        let epoch = self.epoch;
        rows(out, batch, &mut self.first_row, |out, column, row| {
            let kind = batch.columns[column].kind;
            match (epoch, kind, &batch.cells[column]) {
                (Some(epoch), ColumnType::Logical(LogicalType::Timestamp(unit)), Cells::I64(values))
                    if !values.is_null(row) =>
                {
                    put!(out, "{}", epoch.convert(values.value(row), unit.per_second()));
                }
                (_, _, cells) => cell(out, cells, kind, row),
            }
        });
        Ok(())
    }

    fn rows_end(&mut self, out: &mut Vec<u8>) -> Result<()> {
        out.extend_from_slice(b"]}]}");
        Ok(())
    }

    fn count(&mut self, out: &mut Vec<u8>, _: u64) {
        self.next_statement(out);
        out.push(b'}');
    }

    fn finish(&mut self, out: &mut Vec<u8>, elapsed_ms: u128) {
        if self.statements == 0 {
            out.extend_from_slice(b"{\"results\":[");
        }
        put!(out, "],\"execution_time_ms\":{elapsed_ms}}}");
    }
}
