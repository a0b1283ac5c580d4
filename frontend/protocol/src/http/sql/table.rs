//! Formats for people: a drawn table, and the mere number of rows.

use arrow_schema::Schema;
use varve_model::limits::ANSWER_HELD_BYTES_MAX;
use varve_model::{Error, Reason, Result};

use super::delimited::plain;
use super::encode::{Batch, Encoder};
use crate::output::column::Column;

/// A table with borders. Widths are known only at the end, so all cells are held, within a bound.
#[derive(Debug, Default)]
pub(super) struct Table {
    lines: Vec<Vec<String>>,
    bytes: usize,
}

impl Encoder for Table {
    fn rows_start(&mut self, _: &mut Vec<u8>, _: &Schema, columns: &[Column]) -> Result<()> {
        self.bytes = 0;
        self.lines = vec![columns.iter().map(|column| column.name.clone()).collect()];
        Ok(())
    }

    fn batch(&mut self, _: &mut Vec<u8>, batch: &Batch<'_>) -> Result<()> {
        for row in 0..batch.raw.num_rows() {
            let mut line = Vec::with_capacity(batch.columns.len());
            for (cells, column) in batch.cells.iter().zip(batch.columns) {
                let mut text = Vec::new();
                if !cells.is_null(row) {
                    plain(&mut text, cells, column, row);
                }
                self.bytes += text.len() + size_of::<String>();
                line.push(String::from_utf8_lossy(&text).into_owned());
            }
            self.lines.push(line);
        }
        if self.bytes > ANSWER_HELD_BYTES_MAX {
            return Err(Error::invalid(format!("format 'table' holds at most {ANSWER_HELD_BYTES_MAX} bytes"))
                .with_reason(Reason::TooLarge)
                .with_hint("use limit, or another format"));
        }
        Ok(())
    }

    fn rows_end(&mut self, out: &mut Vec<u8>) -> Result<()> {
        let lines = std::mem::take(&mut self.lines);
        let columns = lines.first().map_or(0, Vec::len);
        let width = |column: usize| lines.iter().map(|line| line[column].chars().count()).max().unwrap_or(0);
        let widths = (0..columns).map(width).collect::<Vec<_>>();
        let border = widths.iter().map(|width| "-".repeat(width + 2)).collect::<Vec<_>>().join("+");
        let mut text = format!("+{border}+\n");
        for (at, line) in lines.iter().enumerate() {
            for (cell, width) in line.iter().zip(&widths) {
                text.extend(["| ", cell, &" ".repeat(width - cell.chars().count() + 1)]);
            }
            text += "|\n";
            if at == 0 {
                text.extend(["+", &border, "+\n"]);
            }
        }
        if lines.len() > 1 {
            text.extend(["+", &border, "+\n"]);
        }
        out.extend_from_slice(text.as_bytes());
        Ok(())
    }

    fn count(&mut self, out: &mut Vec<u8>, rows: u64) {
        out.extend_from_slice(format!("Affected Rows: {rows}\n").as_bytes());
    }

    fn finish(&mut self, _: &mut Vec<u8>, _: u128) {}
}

/// Runs the query and shows the number of rows only.
#[derive(Debug, Default)]
pub(super) struct Nothing {
    rows: usize,
}

impl Encoder for Nothing {
    fn rows_start(&mut self, _: &mut Vec<u8>, _: &Schema, _: &[Column]) -> Result<()> {
        self.rows = 0;
        Ok(())
    }

    fn batch(&mut self, _: &mut Vec<u8>, batch: &Batch<'_>) -> Result<()> {
        self.rows += batch.raw.num_rows();
        Ok(())
    }

    fn rows_end(&mut self, out: &mut Vec<u8>) -> Result<()> {
        out.extend_from_slice(format!("{} rows in set.\n", self.rows).as_bytes());
        Ok(())
    }

    fn count(&mut self, out: &mut Vec<u8>, rows: u64) {
        out.extend_from_slice(format!("{rows} rows affected.\n").as_bytes());
    }

    fn finish(&mut self, out: &mut Vec<u8>, elapsed_ms: u128) {
        out.extend_from_slice(format!("Elapsed: {elapsed_ms} ms\n").as_bytes());
    }
}
