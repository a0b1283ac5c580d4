//! CSV after RFC 4180: CRLF, quotes where needed; NULL is empty, an empty text is `""`.

use arrow_schema::Schema;
use varve_model::Result;

use super::encode::{Batch, Encoder, type_name};
use super::json;
use crate::output::column::{Cells, Column};

/// Lines before the rows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Head {
    None,
    Names,
    NamesAndTypes,
}

#[derive(Debug)]
pub(super) struct Csv {
    head: Head,
}

impl Csv {
    pub(super) fn new(head: Head) -> Self {
        Self { head }
    }
}

fn text(out: &mut Vec<u8>, text: &str) {
    if !text.is_empty() && !text.contains([',', '"', '\r', '\n']) {
        out.extend_from_slice(text.as_bytes());
        return;
    }
    out.push(b'"');
    for byte in text.bytes() {
        if byte == b'"' {
            out.push(b'"');
        }
        out.push(byte);
    }
    out.push(b'"');
}

fn line<'t>(out: &mut Vec<u8>, fields: impl Iterator<Item = std::borrow::Cow<'t, str>>) {
    for (at, field) in fields.enumerate() {
        if at > 0 {
            out.push(b',');
        }
        text(out, &field);
    }
    out.extend_from_slice(b"\r\n");
}

/// Appends one cell as plain text.
pub(super) fn plain(out: &mut Vec<u8>, cells: &Cells, column: &Column, row: usize) {
    match cells {
        Cells::Text(values) => out.extend_from_slice(values.value(row).as_bytes()),
        other => json::cell(out, other, column.kind, row),
    }
}

impl Encoder for Csv {
    fn rows_start(&mut self, out: &mut Vec<u8>, _: &Schema, columns: &[Column]) -> Result<()> {
        if self.head != Head::None {
            line(out, columns.iter().map(|column| column.name.as_str().into()));
        }
        if self.head == Head::NamesAndTypes {
            line(out, columns.iter().map(|column| type_name(column).into()));
        }
        Ok(())
    }

    fn batch(&mut self, out: &mut Vec<u8>, batch: &Batch<'_>) -> Result<()> {
        for row in 0..batch.raw.num_rows() {
            for (at, (cells, column)) in batch.cells.iter().zip(batch.columns).enumerate() {
                if at > 0 {
                    out.push(b',');
                }
                match cells {
                    _ if cells.is_null(row) => {}
                    Cells::Text(values) => text(out, values.value(row)),
                    Cells::Binary(_) => {
                        let mut shown = Vec::new();
                        json::cell(&mut shown, cells, column.kind, row);
                        text(out, &String::from_utf8_lossy(&shown));
                    }
                    // JSON has no word for these; CSV's readers know them.
                    Cells::F64(values) if !values.value(row).is_finite() => {
                        out.extend_from_slice(values.value(row).to_string().as_bytes());
                    }
                    Cells::F32(values) if !values.value(row).is_finite() => {
                        out.extend_from_slice(values.value(row).to_string().as_bytes());
                    }
                    _ => json::cell(out, cells, column.kind, row),
                }
            }
            out.extend_from_slice(b"\r\n");
        }
        Ok(())
    }

    fn rows_end(&mut self, _: &mut Vec<u8>) -> Result<()> {
        Ok(())
    }

    fn count(&mut self, out: &mut Vec<u8>, rows: u64) {
        out.extend_from_slice(rows.to_string().as_bytes());
        out.extend_from_slice(b"\r\n");
    }

    fn finish(&mut self, _: &mut Vec<u8>, _: u128) {}
}
