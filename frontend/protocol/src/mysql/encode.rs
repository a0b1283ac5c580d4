//! Rows as packets, in text and binary.

use std::fmt::Write as _;
use std::ops::Range;

use arrow_array::timezone::Tz;
use bytes::{BufMut, BytesMut};
use chrono::{DateTime, Datelike, NaiveDateTime, TimeZone, Timelike};
use mysql_common::io::BufMutExt;
use varve_model::schema::LogicalType;
use varve_model::time::TimeUnit;

use super::kind;
use super::wire::Outbox;
use crate::output::column::{Cells, Column, ColumnType};
use crate::output::float::write_float;
use crate::stream::OUTBOX_BYTES_MAX;

/// How values are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Format {
    /// Answers to texts.
    Text,
    /// Answers to prepared statements.
    Binary,
}

/// The zone that timestamps are shown in.
#[derive(Clone, Copy, Debug)]
pub(super) struct Zone(Option<Tz>);

impl Zone {
    /// The zone of a session. The database checked the name; one it could not know means UTC.
    pub(super) fn of(name: &str) -> Self {
        Self(if name.eq_ignore_ascii_case("utc") { None } else { name.parse().ok() })
    }

    fn local(self, time: NaiveDateTime) -> NaiveDateTime {
        self.0.map_or(time, |zone| zone.from_utc_datetime(&time).naive_local())
    }
}

/// In place of a text value: NULL.
const NULL: u8 = 0xfb;
/// What MySQL shows for a date that it has no digits for.
const ZERO_DATE: &str = "0000-00-00";
const ZERO_TIME: &str = "0000-00-00 00:00:00";
/// Years that four digits show.
const YEARS: Range<i32> = 0..10_000;

/// How all rows of an answer are written.
#[derive(Clone, Copy, Debug)]
pub(super) struct Style {
    pub(super) format: Format,
    pub(super) zone: Zone,
}

/// Appends one packet per row, until there is much to send. Returns the first row that is left.
pub(super) fn rows(out: &mut Outbox, cells: &[Cells], columns: &[Column], style: Style, rows: Range<usize>) -> usize {
    let end = rows.end;
    for row in rows {
        if out.bytes.len() > OUTBOX_BYTES_MAX {
            return row;
        }
        out.put(|out| match style.format {
            Format::Text => {
                for (cells, column) in cells.iter().zip(columns) {
                    text(out, cells, column, row, style.zone);
                }
            }
            Format::Binary => binary_row(out, cells, columns, row, style.zone),
        });
    }
    end
}

fn integer(out: &mut BytesMut, value: impl lexical_core::ToLexical) {
    let mut buffer = [0; 64];
    out.put_lenenc_str(lexical_core::write(value, &mut buffer));
}

/// Appends a text of at most 250 bytes, which `write` appends.
fn short(out: &mut BytesMut, write: impl FnOnce(&mut BytesMut) -> std::fmt::Result) {
    let at = out.len();
    out.put_u8(0);
    // Writing to a BytesMut cannot fail: it grows.
    let _ = write(out);
    out[at] = (out.len() - at - 1) as u8;
}

fn text(out: &mut BytesMut, cells: &Cells, column: &Column, row: usize, zone: Zone) {
    if cells.is_null(row) {
        return out.put_u8(NULL);
    }
    match cells {
        Cells::Null => {}
        Cells::Bool(values) => out.put_lenenc_str(if values.value(row) { b"1" } else { b"0" }),
        Cells::I64(values) => match column.kind {
            ColumnType::Logical(LogicalType::Date) => match day(values.value(row)) {
                Some(date) => short(out, |out| write_date(out, &date)),
                None => out.put_lenenc_str(ZERO_DATE.as_bytes()),
            },
            ColumnType::Logical(LogicalType::Timestamp(unit)) => match moment(values.value(row), unit, zone) {
                Some(time) => short(out, |out| write_time(out, &time, unit)),
                None => out.put_lenenc_str(ZERO_TIME.as_bytes()),
            },
            _ => integer(out, values.value(row)),
        },
        Cells::U64(values) => integer(out, values.value(row)),
        Cells::F32(values) => short(out, |out| write_float(out, values.value(row))),
        Cells::F64(values) => short(out, |out| write_float(out, values.value(row))),
        Cells::Text(values) => out.put_lenenc_str(values.value(row).as_bytes()),
        Cells::Binary(values) => out.put_lenenc_str(values.value(row)),
    }
}

fn day(days: i64) -> Option<NaiveDateTime> {
    let time = DateTime::from_timestamp(days.checked_mul(86_400)?, 0)?.naive_utc();
    YEARS.contains(&time.year()).then_some(time)
}

fn moment(value: i64, unit: TimeUnit, zone: Zone) -> Option<NaiveDateTime> {
    let per_second = unit.per_second();
    let nanos = value.rem_euclid(per_second) * (1_000_000_000 / per_second);
    let utc = DateTime::from_timestamp(value.div_euclid(per_second), nanos as u32)?.naive_utc();
    // Beyond these years no offset makes four digits of it, and chrono's arithmetic ends soon after.
    if !YEARS.contains(&utc.year()) {
        return None;
    }
    let time = zone.local(utc);
    YEARS.contains(&time.year()).then_some(time)
}

fn write_date(out: &mut BytesMut, date: &NaiveDateTime) -> std::fmt::Result {
    write!(out, "{:04}-{:02}-{:02}", date.year(), date.month(), date.day())
}

fn write_time(out: &mut BytesMut, time: &NaiveDateTime, unit: TimeUnit) -> std::fmt::Result {
    write_date(out, time)?;
    write!(out, " {:02}:{:02}:{:02}", time.hour(), time.minute(), time.second())?;
    match kind::decimals(unit) {
        0 => Ok(()),
        3 => write!(out, ".{:03}", time.nanosecond() / 1_000_000),
        _ => write!(out, ".{:06}", time.nanosecond() / 1000),
    }
}

fn binary_row(out: &mut BytesMut, cells: &[Cells], columns: &[Column], row: usize, zone: Zone) {
    out.put_u8(0);
    // Two bits are reserved before the first column's.
    let nulls = out.len();
    out.put_bytes(0, (cells.len() + 2).div_ceil(8));
    for (at, (cells, column)) in cells.iter().zip(columns).enumerate() {
        if cells.is_null(row) {
            out[nulls + (at + 2) / 8] |= 1 << ((at + 2) % 8);
        } else {
            binary(out, cells, column, row, zone);
        }
    }
}

fn binary(out: &mut BytesMut, cells: &Cells, column: &Column, row: usize, zone: Zone) {
    let ColumnType::Logical(logical) = column.kind else {
        if let Cells::Text(values) = cells {
            out.put_lenenc_str(values.value(row).as_bytes());
        }
        return;
    };
    match cells {
        Cells::Null => {}
        Cells::Bool(values) => out.put_u8(u8::from(values.value(row))),
        Cells::I64(values) => match logical {
            LogicalType::Date => binary_time(out, day(values.value(row)), 4),
            LogicalType::Timestamp(unit) => binary_time(out, moment(values.value(row), unit, zone), 11),
            _ => fixed(out, values.value(row), logical),
        },
        Cells::U64(values) => fixed(out, values.value(row) as i64, logical),
        Cells::F32(values) => out.put_f32_le(values.value(row)),
        Cells::F64(values) => out.put_f64_le(values.value(row)),
        Cells::Text(values) => out.put_lenenc_str(values.value(row).as_bytes()),
        Cells::Binary(values) => out.put_lenenc_str(values.value(row)),
    }
}

/// An integer in the width of its type; values were range-checked when they were stored.
fn fixed(out: &mut BytesMut, value: i64, logical: LogicalType) {
    match logical {
        LogicalType::Int8 | LogicalType::UInt8 => out.put_u8(value as u8),
        LogicalType::Int16 | LogicalType::UInt16 => out.put_u16_le(value as u16),
        LogicalType::Int32 | LogicalType::UInt32 => out.put_u32_le(value as u32),
        _ => out.put_i64_le(value),
    }
}

/// A date or time in as few bytes as it needs; none at all is MySQL's zero date.
fn binary_time(out: &mut BytesMut, time: Option<NaiveDateTime>, bytes_max: u8) {
    let Some(time) = time else { return out.put_u8(0) };
    let micros = time.nanosecond() / 1000;
    let midnight = time.num_seconds_from_midnight() == 0;
    let bytes = match (midnight, micros) {
        (true, 0) => 4,
        (false, 0) => 7,
        _ => 11,
    };
    let bytes = bytes_max.min(bytes);
    out.put_u8(bytes);
    out.put_u16_le(time.year() as u16);
    out.put_slice(&[time.month() as u8, time.day() as u8]);
    if bytes > 4 {
        out.put_slice(&[time.hour() as u8, time.minute() as u8, time.second() as u8]);
    }
    if bytes > 7 {
        out.put_u32_le(micros);
    }
}
