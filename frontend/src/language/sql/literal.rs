//! Constants in statements, and how they become values of a column.

use chrono::NaiveDate;
use datafusion::sql::sqlparser::ast::{self, Expr, UnaryOperator};
use varve_model::schema::LogicalType;
use varve_model::value::Value;
use varve_model::{Error, Reason, Result};
use varve_query::zone::{Zone, parse_timestamp};

use crate::catalog::types::describe_type;

/// A constant as written.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Literal {
    Null,
    /// The keyword DEFAULT.
    Default,
    Bool(bool),
    Int(i128),
    Float(f64),
    Text(String),
    Bytes(Vec<u8>),
}

/// The constant that an expression is; `None` when it has to be computed.
///
/// `params` are the values of `$1`, `$2`, ..
pub(crate) fn literal(expr: &Expr, params: &[Value]) -> Option<Literal> {
    match expr {
        Expr::Value(value) => of_token(&value.value, params),
        Expr::UnaryOp { op: UnaryOperator::Minus, expr } => match literal(expr, params)? {
            Literal::Int(value) => Some(Literal::Int(-value)),
            Literal::Float(value) => Some(Literal::Float(-value)),
            _ => None,
        },
        Expr::UnaryOp { op: UnaryOperator::Plus, expr } | Expr::Nested(expr) => literal(expr, params),
        Expr::Identifier(ident) if ident.quote_style.is_none() && ident.value.eq_ignore_ascii_case("default") => {
            Some(Literal::Default)
        }
        _ => None,
    }
}

fn of_token(value: &ast::Value, params: &[Value]) -> Option<Literal> {
    Some(match value {
        ast::Value::Null => Literal::Null,
        ast::Value::Boolean(value) => Literal::Bool(*value),
        ast::Value::Number(text, _) => match text.parse::<i128>() {
            Ok(value) => Literal::Int(value),
            Err(_) => Literal::Float(text.parse().ok()?),
        },
        ast::Value::SingleQuotedString(text)
        | ast::Value::DoubleQuotedString(text)
        | ast::Value::EscapedStringLiteral(text)
        | ast::Value::NationalStringLiteral(text)
        | ast::Value::UnicodeStringLiteral(text) => Literal::Text(text.clone()),
        ast::Value::DollarQuotedString(text) => Literal::Text(text.value.clone()),
        ast::Value::HexStringLiteral(hex) => Literal::Bytes(from_hex(hex)?),
        ast::Value::Placeholder(name) => {
            let number = name.strip_prefix('$')?.parse::<usize>().ok()?;
            literal_of_value(params.get(number.checked_sub(1)?)?)
        }
        _ => return None,
    })
}

/// A parameter as if it were written.
pub(crate) fn literal_of_value(value: &Value) -> Literal {
    match value {
        Value::Null => Literal::Null,
        Value::F64(value) => Literal::Float(*value),
        Value::I64(value) => Literal::Int(i128::from(*value)),
        Value::U64(value) => Literal::Int(i128::from(*value)),
        Value::Bool(value) => Literal::Bool(*value),
        Value::String(text) => Literal::Text(text.clone()),
        Value::Binary(bytes) => Literal::Bytes(bytes.clone()),
    }
}

fn from_hex(hex: &str) -> Option<Vec<u8>> {
    let digits = hex.as_bytes();
    if !digits.len().is_multiple_of(2) {
        return None;
    }
    let digit = |byte: u8| (byte as char).to_digit(16).map(|digit| digit as u8);
    digits.chunks_exact(2).map(|pair| Some(digit(pair[0])? << 4 | digit(pair[1])?)).collect()
}

/// In a VALUES list of INSERT a double-quoted name is text, as in MySQL: no column can be meant there.
pub(super) fn unquote_values(row: Vec<Expr>) -> Vec<Expr> {
    let unquote = |expr| match expr {
        Expr::Identifier(ident) if ident.quote_style == Some('"') => {
            Expr::Value(ast::Value::SingleQuotedString(ident.value).into())
        }
        other => other,
    };
    row.into_iter().map(unquote).collect()
}

/// The constant as a value of a column of this type; `Null` stays `Null`.
///
/// Errors: `BadValue` when it does not fit. Precondition: not `Default`.
pub(crate) fn convert(literal: &Literal, logical: LogicalType, zone: Zone) -> Result<Value> {
    let misfit = || {
        let shown = match literal {
            Literal::Text(text) => format!("'{text}'"),
            Literal::Int(value) => value.to_string(),
            Literal::Float(value) => value.to_string(),
            Literal::Bool(value) => value.to_string(),
            other => format!("{other:?}"),
        };
        Error::invalid(format!("{shown} does not fit type {}", describe_type(logical))).with_reason(Reason::BadValue)
    };
    let value = match (literal, logical) {
        (Literal::Null, _) => Some(Value::Null),
        (_, LogicalType::Timestamp(unit)) => match literal {
            Literal::Int(count) => i64::try_from(*count).ok().map(Value::I64),
            Literal::Text(text) => return parse_timestamp(text, unit, zone).map(Value::I64),
            _ => None,
        },
        (_, LogicalType::Date) => date(literal),
        (_, LogicalType::Boolean) => boolean(literal),
        (_, LogicalType::String) => text(literal),
        (_, LogicalType::Json) => json(literal),
        (_, LogicalType::Binary) => match literal {
            Literal::Text(text) => Some(Value::Binary(text.clone().into_bytes())),
            Literal::Bytes(bytes) => Some(Value::Binary(bytes.clone())),
            _ => None,
        },
        (_, LogicalType::Float32 | LogicalType::Float64) => float(literal, logical),
        _ => integer(literal, logical),
    };
    value.ok_or_else(misfit)
}

fn integer(literal: &Literal, logical: LogicalType) -> Option<Value> {
    let value = match literal {
        Literal::Int(value) => *value,
        Literal::Float(value) if value.fract() == 0.0 && value.abs() < 1e18 => *value as i128,
        Literal::Bool(value) => i128::from(*value),
        Literal::Text(text) => text.trim().parse().ok()?,
        _ => return None,
    };
    let (low, high) = integer_range(logical)?;
    if !(low..=high).contains(&value) {
        return None;
    }
    Some(if low < 0 { Value::I64(value as i64) } else { Value::U64(value as u64) })
}

fn integer_range(logical: LogicalType) -> Option<(i128, i128)> {
    Some(match logical {
        LogicalType::Int8 => (i8::MIN.into(), i8::MAX.into()),
        LogicalType::Int16 => (i16::MIN.into(), i16::MAX.into()),
        LogicalType::Int32 => (i32::MIN.into(), i32::MAX.into()),
        LogicalType::Int64 => (i64::MIN.into(), i64::MAX.into()),
        LogicalType::UInt8 => (0, u8::MAX.into()),
        LogicalType::UInt16 => (0, u16::MAX.into()),
        LogicalType::UInt32 => (0, u32::MAX.into()),
        LogicalType::UInt64 => (0, u64::MAX.into()),
        _ => return None,
    })
}

fn float(literal: &Literal, logical: LogicalType) -> Option<Value> {
    let value = match literal {
        Literal::Int(value) => *value as f64,
        Literal::Float(value) => *value,
        Literal::Bool(value) => f64::from(u8::from(*value)),
        Literal::Text(text) => text.trim().parse().ok()?,
        _ => return None,
    };
    if logical == LogicalType::Float64 {
        return Some(Value::F64(value));
    }
    let narrow = value as f32;
    (narrow.is_finite() == value.is_finite()).then(|| Value::F64(f64::from(narrow)))
}

fn boolean(literal: &Literal) -> Option<Value> {
    match literal {
        Literal::Bool(value) => Some(Value::Bool(*value)),
        Literal::Int(value @ (0 | 1)) => Some(Value::Bool(*value == 1)),
        Literal::Text(text) => match text.to_lowercase().as_str() {
            "true" | "t" | "1" => Some(Value::Bool(true)),
            "false" | "f" | "0" => Some(Value::Bool(false)),
            _ => None,
        },
        _ => None,
    }
}

fn text(literal: &Literal) -> Option<Value> {
    Some(Value::String(match literal {
        Literal::Text(text) => text.clone(),
        Literal::Int(value) => value.to_string(),
        Literal::Float(value) => value.to_string(),
        Literal::Bool(value) => value.to_string(),
        Literal::Bytes(bytes) => String::from_utf8(bytes.clone()).ok()?,
        Literal::Null | Literal::Default => return None,
    }))
}

fn json(literal: &Literal) -> Option<Value> {
    let Literal::Text(text) = literal else { return None };
    serde_json::from_str::<serde::de::IgnoredAny>(text).ok()?;
    Some(Value::String(text.clone()))
}

fn date(literal: &Literal) -> Option<Value> {
    match literal {
        Literal::Int(days) => i32::try_from(*days).ok().map(|days| Value::I64(days.into())),
        Literal::Text(text) => {
            let day = text.trim().split([' ', 'T']).next()?;
            let date = NaiveDate::parse_from_str(day, "%Y-%m-%d").ok()?;
            Some(Value::I64(date.signed_duration_since(NaiveDate::default()).num_days()))
        }
        _ => None,
    }
}
