//! Values of columns whose declared type is narrower than the stored one.

use varve_model::batch::{Values, Vector};
use varve_model::schema::LogicalType;

/// Rounds or checks every value; calls `refuse` for each row whose value does not fit.
pub(super) fn narrow(vector: &mut Vector, logical: LogicalType, mut refuse: impl FnMut(usize)) {
    let signed = match logical {
        LogicalType::Int8 => Some((i64::from(i8::MIN), i64::from(i8::MAX))),
        LogicalType::Int16 => Some((i64::from(i16::MIN), i64::from(i16::MAX))),
        LogicalType::Int32 | LogicalType::Date => Some((i64::from(i32::MIN), i64::from(i32::MAX))),
        _ => None,
    };
    let unsigned_max = match logical {
        LogicalType::UInt8 => Some(u64::from(u8::MAX)),
        LogicalType::UInt16 => Some(u64::from(u16::MAX)),
        LogicalType::UInt32 => Some(u64::from(u32::MAX)),
        _ => None,
    };
    match (&mut vector.values, signed, unsigned_max) {
        (Values::I64(values), Some((low, high)), _) => {
            let outside = values.iter().enumerate().filter(|(_, value)| !(low..=high).contains(*value));
            outside.for_each(|(row, _)| refuse(row));
        }
        (Values::U64(values), _, Some(high)) => {
            let outside = values.iter().enumerate().filter(|(_, value)| **value > high);
            outside.for_each(|(row, _)| refuse(row));
        }
        (Values::F64(values), ..) if logical == LogicalType::Float32 => {
            for (row, value) in values.iter_mut().enumerate() {
                let narrow = f64::from(*value as f32);
                if narrow.is_infinite() && value.is_finite() {
                    refuse(row);
                } else if !value.is_nan() {
                    *value = narrow;
                }
            }
        }
        _ => {}
    }
}
