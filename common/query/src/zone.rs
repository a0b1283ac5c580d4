//! Time zones, and timestamps written as text: how every statement reads them.

use std::str::FromStr;

use arrow_array::timezone::Tz;
use datafusion::arrow::compute::kernels::cast_utils::string_to_datetime;
use varve_model::time::TimeUnit;
use varve_model::{Error, Reason, Result};

/// The zone in which timestamps without one are read.
#[derive(Clone, Copy, Debug)]
pub struct Zone(Tz);

impl Zone {
    /// `UTC`, an IANA name or an offset like `+08:00`. Errors: `BadValue`.
    pub fn parse(name: &str) -> Result<Self> {
        Tz::from_str(&canonical(name))
            .map(Self)
            .map_err(|_| Error::invalid(format!("unknown time zone '{name}'")).with_reason(Reason::BadValue))
    }

    /// The name in the form that every part of varve reads, if it is one. Errors: `BadValue`.
    pub fn check(name: &str) -> Result<String> {
        Self::parse(name).map(|_| canonical(name))
    }
}

fn canonical(name: &str) -> String {
    let name = match name {
        "SYSTEM" | "system" | "Z" | "" => "UTC",
        name => name,
    };
    // MySQL's clients send `+8:00`.
    match name.as_bytes() {
        [sign @ (b'+' | b'-'), hour, b':', ..] => format!("{}0{}{}", *sign as char, *hour as char, &name[2..]),
        _ => name.to_owned(),
    }
}

/// A written timestamp as a count of `unit`; finer digits are cut off towards the past.
///
/// Errors: `BadValue` for text that is no timestamp or lies outside the unit's range.
pub fn parse_timestamp(text: &str, unit: TimeUnit, zone: Zone) -> Result<i64> {
    let moment = string_to_datetime(&zone.0, text.trim())
        .map_err(|_| Error::invalid(format!("'{text}' is not a timestamp")).with_reason(Reason::BadValue))?;
    let nanos = i128::from(moment.timestamp()) * 1_000_000_000 + i128::from(moment.timestamp_subsec_nanos());
    let per_unit = i128::from(1_000_000_000 / unit.per_second());
    i64::try_from(nanos.div_euclid(per_unit)).map_err(|_| {
        Error::invalid(format!("timestamp '{text}' is outside the column's range")).with_reason(Reason::BadValue)
    })
}
