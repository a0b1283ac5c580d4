//! The formats, and what an encoder of one is asked to do.

use varve_model::{Error, Reason, Result};

use super::super::params::Params;
use super::{delimited, ipc, json, table};
use crate::output::Output;
use crate::output::column::{Cells, Column};
use arrow_array::RecordBatch;
use arrow_schema::Schema;

/// A batch in both forms.
#[derive(Debug)]
pub(super) struct Batch<'b> {
    pub(super) raw: &'b RecordBatch,
    pub(super) cells: &'b [Cells],
    pub(super) columns: &'b [Column],
}

/// Writes the outputs of one request, in order, into the buffers it is given.
pub(super) trait Encoder: Send {
    /// Rows follow.
    fn rows_start(&mut self, out: &mut Vec<u8>, schema: &Schema, columns: &[Column]) -> Result<()>;
    /// Some rows.
    fn batch(&mut self, out: &mut Vec<u8>, batch: &Batch<'_>) -> Result<()>;
    /// The rows of one statement end.
    fn rows_end(&mut self, out: &mut Vec<u8>) -> Result<()>;
    /// A statement without rows.
    fn count(&mut self, out: &mut Vec<u8>, rows: u64);
    /// The last statement was written.
    fn finish(&mut self, out: &mut Vec<u8>, elapsed_ms: u128);
}

/// A format of `/v1/sql`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Format {
    Greptime,
    Json,
    Csv(delimited::Head),
    Table,
    Arrow(ipc::Compression),
    Influx(Option<json::Epoch>),
    Null,
}

impl Format {
    /// The format the parameters name; unknown ones are GreptimeDB's. Errors: a bad `epoch` or `compression`.
    pub(super) fn of(params: &Params) -> Result<Self> {
        let name = params.get("format").unwrap_or_default().to_ascii_lowercase();
        Ok(match name.as_str() {
            "json" => Self::Json,
            "csv" => Self::Csv(delimited::Head::None),
            "csvwithnames" => Self::Csv(delimited::Head::Names),
            "csvwithnamesandtypes" => Self::Csv(delimited::Head::NamesAndTypes),
            "table" => Self::Table,
            "arrow" => Self::Arrow(ipc::Compression::of(params.get("compression"))?),
            "influxdb_v1" => Self::Influx(params.get("epoch").map(json::Epoch::of).transpose()?),
            "null" => Self::Null,
            _ => Self::Greptime,
        })
    }

    /// Refuses several statements where the format holds one answer.
    pub(super) fn check(self, outputs: &[Output]) -> Result<()> {
        let single = matches!(self, Self::Json | Self::Csv(_) | Self::Arrow(_));
        if single && outputs.len() > 1 {
            let text = format!("format '{}' takes one statement, not {}", self.name(), outputs.len());
            return Err(Error::invalid(text).with_reason(Reason::BadValue));
        }
        Ok(())
    }

    /// The name in the answer's header.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Greptime => "greptimedb_v1",
            Self::Json => "json",
            Self::Csv(delimited::Head::None) => "csv",
            Self::Csv(delimited::Head::Names) => "csvWithNames",
            Self::Csv(delimited::Head::NamesAndTypes) => "csvWithNamesAndTypes",
            Self::Table => "table",
            Self::Arrow(_) => "arrow",
            Self::Influx(_) => "influxdb_v1",
            Self::Null => "null",
        }
    }

    pub(super) fn content_type(self) -> &'static str {
        match self {
            Self::Greptime | Self::Json | Self::Influx(_) => "application/json",
            Self::Csv(_) => "text/csv; charset=utf-8",
            Self::Table | Self::Null => "text/plain; charset=utf-8",
            Self::Arrow(_) => "application/arrow",
        }
    }

    pub(super) fn encoder(self) -> Box<dyn Encoder> {
        match self {
            Self::Greptime => Box::new(json::Greptime::default()),
            Self::Json => Box::new(json::Objects::default()),
            Self::Csv(head) => Box::new(delimited::Csv::new(head)),
            Self::Table => Box::new(table::Table::default()),
            Self::Arrow(compression) => Box::new(ipc::Ipc::new(compression)),
            Self::Influx(epoch) => Box::new(json::Influx::new(epoch)),
            Self::Null => Box::new(table::Nothing::default()),
        }
    }
}

/// GreptimeDB's name of a column's type.
pub(super) fn type_name(column: &Column) -> String {
    use crate::output::column::ColumnType;
    use varve_model::schema::LogicalType;
    use varve_model::time::TimeUnit;
    match column.kind {
        ColumnType::Null => "Null".to_owned(),
        ColumnType::Decimal { precision, scale } => format!("Decimal({precision}, {scale})"),
        ColumnType::Other => "String".to_owned(),
        ColumnType::Logical(LogicalType::Timestamp(unit)) => match unit {
            TimeUnit::Second => "TimestampSecond".to_owned(),
            TimeUnit::Millisecond => "TimestampMillisecond".to_owned(),
            TimeUnit::Microsecond => "TimestampMicrosecond".to_owned(),
            TimeUnit::Nanosecond => "TimestampNanosecond".to_owned(),
        },
        // The others are named as the enum names them.
        ColumnType::Logical(logical) => format!("{logical:?}"),
    }
}
