//! Subsets of rows, with only the series keys that they use.

use varve_model::limits::WRITE_ROWS_MAX;
use varve_model::rows::{RowField, TableRows};
use varve_model::series::SeriesKeys;

/// The keys that these rows use, and the rows' slots among them.
pub(super) fn reslot(keys: &SeriesKeys, series: &[u32], rows: &[u32]) -> (SeriesKeys, Vec<u32>) {
    const UNUSED: u32 = u32::MAX;
    let mut slots = vec![UNUSED; keys.len()];
    let mut used = SeriesKeys::default();
    let series = rows.iter().map(|&row| {
        let old = series[row as usize];
        let slot = &mut slots[old as usize];
        if *slot == UNUSED {
            *slot = used.push(keys.get(old));
        }
        *slot
    });
    let series = series.collect();
    (used, series)
}

/// The rows in pieces of at most [`WRITE_ROWS_MAX`], in order. One piece is moved, not copied.
///
/// The cut depends on the request alone, so that a repeated request is cut the
/// same way whatever the routes are, and its tokens fit.
pub(super) fn pieces(rows: TableRows) -> Vec<TableRows> {
    if rows.len() <= WRITE_ROWS_MAX {
        return vec![rows];
    }
    let all = (0..rows.len() as u32).collect::<Vec<_>>();
    all.chunks(WRITE_ROWS_MAX).map(|piece| take(&rows, piece)).collect()
}

fn take(rows: &TableRows, piece: &[u32]) -> TableRows {
    let (keys, series) = reslot(&rows.keys, &rows.series, piece);
    let field = |field: &RowField| RowField {
        name: field.name.clone(),
        logical: field.logical,
        vector: field.vector.gather(piece),
    };
    TableRows {
        table: rows.table.clone(),
        unit: rows.unit,
        tags: rows.tags.clone(),
        keys,
        series,
        ts: piece.iter().map(|&row| rows.ts[row as usize]).collect(),
        origin: piece.iter().map(|&row| rows.origin[row as usize]).collect(),
        fields: rows.fields.iter().map(field).collect(),
    }
}
