//! Rows as DataRow messages, in text and binary.

use std::fmt::Write as _;
use std::ops::Range;

use bytes::{BufMut, BytesMut};
use chrono::{DateTime, Datelike, Timelike};
use varve_model::schema::LogicalType;
use varve_model::time::TimeUnit;

use super::kind::{self, Format};
use crate::output::column::{Cells, Column, ColumnType};
use crate::output::float::write_float;
use crate::stream::OUTBOX_BYTES_MAX;

/// Days from 1970-01-01 to PostgreSQL's epoch, 2000-01-01.
pub(super) const EPOCH_DAYS: i64 = 10_957;
/// Microseconds of them.
pub(super) const EPOCH_MICROS: i64 = EPOCH_DAYS * 86_400_000_000;

/// Appends one DataRow per row, until there is much to send. Returns the first row that is left.
pub(super) fn rows(
    out: &mut BytesMut,
    cells: &[Cells],
    columns: &[Column],
    formats: &[Format],
    rows: Range<usize>,
) -> usize {
    let end = rows.end;
    for row in rows {
        if out.len() > OUTBOX_BYTES_MAX {
            return row;
        }
        out.put_u8(b'D');
        let start = out.len();
        out.put_i32(0);
        out.put_i16(cells.len() as i16);
        for ((cells, column), format) in cells.iter().zip(columns).zip(formats) {
            if cells.is_null(row) {
                out.put_i32(-1);
                continue;
            }
            let at = out.len();
            out.put_i32(0);
            match format {
                Format::Text => text(out, cells, column, row),
                Format::Binary => binary(out, cells, column, row),
            }
            set_len(out, at, out.len() - at - 4);
        }
        set_len(out, start, out.len() - start);
    }
    end
}

fn set_len(out: &mut BytesMut, at: usize, len: usize) {
    out[at..at + 4].copy_from_slice(&(len as i32).to_be_bytes());
}

fn integer(out: &mut BytesMut, value: impl lexical_core::ToLexical) {
    let mut buffer = [0; 64];
    out.extend_from_slice(lexical_core::write(value, &mut buffer));
}

fn text(out: &mut BytesMut, cells: &Cells, column: &Column, row: usize) {
    match cells {
        Cells::Null => {}
        Cells::Bool(values) => out.put_u8(if values.value(row) { b't' } else { b'f' }),
        Cells::I64(values) => match column.kind {
            ColumnType::Logical(LogicalType::Date) => date(out, values.value(row)),
            ColumnType::Logical(LogicalType::Timestamp(unit)) => timestamp(out, values.value(row), unit, column.zoned),
            _ => integer(out, values.value(row)),
        },
        Cells::U64(values) => integer(out, values.value(row)),
        // Writing to a BytesMut cannot fail: it grows.
        Cells::F32(values) => drop(write_float(out, values.value(row))),
        Cells::F64(values) => drop(write_float(out, values.value(row))),
        Cells::Text(values) => out.extend_from_slice(values.value(row).as_bytes()),
        Cells::Binary(values) => {
            out.extend_from_slice(b"\\x");
            for byte in values.value(row) {
                let _ = write!(out, "{byte:02x}");
            }
        }
    }
}

fn year(out: &mut BytesMut, date: &impl Datelike) -> &'static str {
    let (year, era) = if date.year() > 0 { (date.year(), "") } else { (1 - date.year(), " BC") };
    let _ = write!(out, "{year:04}-{:02}-{:02}", date.month(), date.day());
    era
}

fn infinity(out: &mut BytesMut, value: i64) {
    out.extend_from_slice(if value < 0 { b"-infinity" } else { b"infinity" });
}

fn date(out: &mut BytesMut, days: i64) {
    let Some(time) = days.checked_mul(86_400).and_then(|seconds| DateTime::from_timestamp(seconds, 0)) else {
        return infinity(out, days);
    };
    let era = year(out, &time);
    out.extend_from_slice(era.as_bytes());
}

fn timestamp(out: &mut BytesMut, value: i64, unit: TimeUnit, zoned: bool) {
    let per_second = unit.per_second();
    let nanos = value.rem_euclid(per_second) * (1_000_000_000 / per_second);
    let Some(time) = DateTime::from_timestamp(value.div_euclid(per_second), nanos as u32) else {
        return infinity(out, value);
    };
    let era = year(out, &time);
    let _ = write!(out, " {:02}:{:02}:{:02}", time.hour(), time.minute(), time.second());
    // PostgreSQL has microseconds; more digits would not parse there.
    let micros = time.nanosecond() / 1000;
    if micros > 0 {
        let digits = format!("{micros:06}");
        let _ = write!(out, ".{}", digits.trim_end_matches('0'));
    }
    if zoned {
        out.extend_from_slice(b"+00");
    }
    out.extend_from_slice(era.as_bytes());
}

fn binary(out: &mut BytesMut, cells: &Cells, column: &Column, row: usize) {
    let oid = kind::of_column(column);
    match cells {
        Cells::Null => {}
        Cells::Bool(values) => out.put_u8(u8::from(values.value(row))),
        Cells::I64(values) => match column.kind {
            ColumnType::Logical(LogicalType::Timestamp(unit)) => out.put_i64(micros(values.value(row), unit)),
            ColumnType::Logical(LogicalType::Date) => {
                out.put_i32((values.value(row) - EPOCH_DAYS).clamp(i64::from(i32::MIN), i64::from(i32::MAX)) as i32);
            }
            _ => fixed(out, values.value(row), oid),
        },
        Cells::U64(values) if oid == kind::NUMERIC => numeric(out, &values.value(row).to_string()),
        Cells::U64(values) => fixed(out, values.value(row) as i64, oid),
        Cells::F32(values) => out.put_f32(values.value(row)),
        Cells::F64(values) => out.put_f64(values.value(row)),
        Cells::Text(values) if oid == kind::NUMERIC => numeric(out, values.value(row)),
        Cells::Text(values) => out.extend_from_slice(values.value(row).as_bytes()),
        Cells::Binary(values) => out.extend_from_slice(values.value(row)),
    }
}

/// An integer in the width of its type; values were range-checked when they were stored.
fn fixed(out: &mut BytesMut, value: i64, oid: u32) {
    match oid {
        kind::INT2 => out.put_i16(value as i16),
        kind::INT4 => out.put_i32(value as i32),
        _ => out.put_i64(value),
    }
}

/// Microseconds since PostgreSQL's epoch; beyond its range, its infinities.
fn micros(value: i64, unit: TimeUnit) -> i64 {
    let micros = unit.convert(value, TimeUnit::Microsecond).and_then(|micros| micros.checked_sub(EPOCH_MICROS));
    micros.unwrap_or(if value < 0 { i64::MIN } else { i64::MAX })
}

/// A decimal number as groups of four digits.
pub(super) fn numeric(out: &mut BytesMut, text: &str) {
    const NEGATIVE: u16 = 0x4000;
    let (negative, digits) = text.strip_prefix('-').map_or((false, text), |digits| (true, digits));
    let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
    let whole = whole.trim_start_matches('0');
    let padded = format!(
        "{}{whole}{fraction}{}",
        "0".repeat((4 - whole.len() % 4) % 4),
        "0".repeat((4 - fraction.len() % 4) % 4)
    );
    let groups = padded.as_bytes().chunks(4);
    let mut groups = groups
        .map(|group| group.iter().fold(0i16, |sum, digit| sum * 10 + i16::from(digit - b'0')))
        .collect::<Vec<_>>();
    let mut weight = whole.len().div_ceil(4) as i16 - 1;
    let leading = groups.iter().take_while(|group| **group == 0).count();
    groups.drain(..leading);
    weight -= leading as i16;
    while groups.last() == Some(&0) {
        groups.pop();
    }
    if groups.is_empty() {
        weight = 0;
    }
    out.put_i16(groups.len() as i16);
    out.put_i16(weight);
    out.put_u16(if negative && !groups.is_empty() { NEGATIVE } else { 0 });
    out.put_u16(fraction.len() as u16);
    for group in groups {
        out.put_i16(group);
    }
}
