//! Names to columns: tables and columns appear, rows that cannot be stored are refused one by one.
//!
//! The cost is per column and per batch; rows are only touched to check
//! timestamps and, when some are refused, to copy the others.

use std::sync::Arc;
use std::time::Duration;

use varve_model::batch::{FieldColumn, Vector};
use varve_model::id::Token;
use varve_model::limits::FUTURE_MAX;
use varve_model::name::{self, TIME_COLUMN};
use varve_model::rows::{Rows, TableRows};
use varve_model::schema::{ColumnDefault, ColumnRole, NewColumn};
use varve_model::table::{MergeMode, TableOptions, Ttl};
use varve_model::time::TimeUnit;
use varve_model::value::Value;
use varve_model::{ErrorKind, Reason, Result};
use varve_proto::metasrv::{CreateTable, Procedure, TableChange, TableName};
use varve_protocol::gateway::{Refused, RefusedCause};
use varve_protocol::session::Session;
use varve_service::clock::SharedClock;
use varve_service::telemetry::stage::{Stage, StageTimer};

use super::ResolvedRows;
use super::assemble::constant;
use super::conflict::{Fit, Refusals, fit};
use super::cut::{pieces, reslot};
use super::narrow::narrow;
use super::token::{of_kept, write_key};
use crate::cluster::{Feed, Table};
use crate::deadline::Deadline;

/// How often the schema is changed for one batch: others may change it at the same time.
const SCHEMA_ATTEMPTS: usize = 4;

/// Resolves rows against the catalog and extends it.
#[derive(Clone, Debug)]
pub(crate) struct Resolver {
    feed: Arc<Feed>,
    clock: SharedClock,
}

/// Resolved rows of a request, and those refused.
#[derive(Debug, Default)]
pub(crate) struct Resolved {
    pub(crate) rows: Vec<ResolvedRows>,
    pub(crate) refused: Vec<Refused>,
}

impl Resolver {
    pub(crate) fn new(feed: Arc<Feed>, clock: SharedClock) -> Self {
        Self { feed, clock }
    }

    /// Errors: `NotFound/Database`; errors of DDL.
    #[tracing::instrument(level = "debug", skip_all)]
    pub(crate) async fn resolve(&self, session: &Session, rows: Rows, deadline: &Deadline) -> Result<Resolved> {
        self.feed.view().database(&session.database)?;
        let key = write_key(session)?;
        let mut resolved = Resolved::default();
        let mut chunk = 0;
        for table in rows.tables {
            for piece in pieces(table) {
                let token = key.map(|key| Token::new(key, chunk));
                chunk += 1;
                let (rows, refused) = self.table(session, piece, token, deadline).await?;
                resolved.rows.extend(rows);
                resolved.refused.extend(refused);
            }
        }
        resolved.refused.sort_by_key(|refused| refused.origin);
        Ok(resolved)
    }

    async fn table(
        &self,
        session: &Session,
        rows: TableRows,
        token: Option<Token>,
        deadline: &Deadline,
    ) -> Result<(Option<ResolvedRows>, Vec<Refused>)> {
        if let Err(error) = name::check_table(&rows.table) {
            return Ok((None, refuse_all(&rows, error.message())));
        }
        let mut changed = Ok(());
        for _ in 0..SCHEMA_ATTEMPTS {
            let view = self.feed.view();
            let table = view.database(&session.database)?.tables.get(&rows.table).cloned();
            let mut refusals = Refusals::default();
            let time = table.as_ref().map_or(TIME_COLUMN, |table| &table.info.schema.time_index().name);
            let fit = fit(&rows, table.as_ref(), time, &mut refusals);
            match table {
                Some(table) if fit.missing.is_empty() => {
                    let timer = StageTimer::start(Stage::Resolve);
                    let count = rows.len();
                    let resolved = self.bind(rows, &table, fit, refusals, token);
                    timer.finish(count, 0);
                    return Ok(resolved);
                }
                table => {
                    if refusals.kept().is_some_and(|kept| kept.is_empty()) {
                        return Ok((None, refusals.list));
                    }
                    let name = TableName { database: session.database.clone(), table: rows.table.clone() };
                    changed = self.extend(name, table.is_some(), fit.missing, deadline).await;
                }
            }
            match &changed {
                // Somebody else was faster, with another type or a table of that name: look again.
                Err(error) if error.reason() == Reason::TypeConflict || error.kind() == ErrorKind::AlreadyExists => {
                    self.feed.newer_than(view.revision, Duration::from_millis(100)).await;
                }
                Err(error) if error.reason() == Reason::Cardinality => {
                    return Ok((None, refuse_all(&rows, error.message())));
                }
                Err(_) => break,
                Ok(()) => {}
            }
        }
        changed?;
        Err(varve_model::Error::unavailable(format!("the schema of table '{}' kept changing", rows.table)))
    }

    /// Creates the table, or the columns that it lacks.
    async fn extend(
        &self,
        name: TableName,
        exists: bool,
        mut columns: Vec<NewColumn>,
        deadline: &Deadline,
    ) -> Result<()> {
        tracing::debug!(table = name.table, exists, "extending the schema for written rows");
        let procedure = if exists {
            Procedure::AlterTable { table: name, change: TableChange::Widen(columns) }
        } else {
            let primary_key = columns.iter().filter(|column| column.role == ColumnRole::Tag);
            let primary_key = primary_key.map(|column| column.name.clone()).collect::<Vec<_>>();
            columns.insert(primary_key.len(), NewColumn::time(TIME_COLUMN, TimeUnit::Nanosecond));
            Procedure::CreateTable(CreateTable {
                table: name,
                columns,
                primary_key,
                options: TableOptions { merge_mode: MergeMode::LastNonNull, ..TableOptions::default() },
                regions: None,
                if_not_exists: true,
            })
        };
        self.feed.execute(&deadline.call(), procedure).await.map(|_| ())
    }

    /// Rows whose columns all exist, without those that cannot be stored.
    fn bind(
        &self,
        mut rows: TableRows,
        table: &Arc<Table>,
        fit: Fit,
        mut refusals: Refusals,
        token: Option<Token>,
    ) -> (Option<ResolvedRows>, Vec<Refused>) {
        self.check_time(&mut rows, table, &mut refusals);
        let mut fields = take_fields(&mut rows, table, &fit, &mut refusals);
        complete(&rows, table, &mut fields, &mut refusals);
        fields.sort_unstable_by_key(|field| field.column);
        let token = token.map(|token| of_kept(token, &refusals.list));
        let kept = refusals.kept();
        let resolved = match kept {
            None => Some(ResolvedRows {
                table: Arc::clone(table),
                keys: rows.keys,
                series: rows.series,
                ts: rows.ts,
                fields,
                token,
            }),
            Some(kept) if kept.is_empty() => None,
            Some(kept) => {
                let (keys, series) = reslot(&rows.keys, &rows.series, &kept);
                let gather =
                    |field: FieldColumn| FieldColumn { column: field.column, vector: field.vector.gather(&kept) };
                Some(ResolvedRows {
                    table: Arc::clone(table),
                    keys,
                    series,
                    ts: kept.iter().map(|&row| rows.ts[row as usize]).collect(),
                    fields: fields.into_iter().map(gather).collect(),
                    token,
                })
            }
        };
        (resolved, refusals.list)
    }

    /// Converts timestamps to the table's unit; refuses what lies outside, ahead or beyond the ttl.
    fn check_time(&self, rows: &mut TableRows, table: &Table, refusals: &mut Refusals) {
        let unit = table.info.schema.time_unit();
        if rows.unit != unit {
            for row in 0..rows.ts.len() {
                if let Some(ts) = rows.unit.convert(rows.ts[row], unit) {
                    rows.ts[row] = ts;
                } else {
                    let text = format!("timestamp {} lies outside the range of table '{}'", rows.ts[row], rows.table);
                    refusals.add(rows, row, || RefusedCause::Rule(text));
                }
            }
        }
        let now = self.clock.wall_nanos();
        let oldest = match table.ttl() {
            Ttl::Forever => i64::MIN,
            Ttl::For(ttl) => in_unit(i128::from(now) - ttl.as_nanos() as i128, unit),
        };
        let newest = in_unit(i128::from(now) + FUTURE_MAX.as_nanos() as i128, unit);
        let (low, high) = rows.ts.iter().fold((i64::MAX, i64::MIN), |(low, high), &ts| (low.min(ts), high.max(ts)));
        if low >= oldest && high <= newest {
            return;
        }
        for row in 0..rows.ts.len() {
            let ts = rows.ts[row];
            if ts < oldest {
                refusals.add(rows, row, || RefusedCause::Expired);
            } else if ts > newest {
                let hours = FUTURE_MAX.as_secs() / 3600;
                refusals
                    .add(rows, row, || RefusedCause::Rule(format!("timestamp {ts} lies more than {hours} h ahead")));
            }
        }
    }
}

/// A count of nanoseconds in a unit, as far as an i64 reaches.
fn in_unit(nanos: i128, unit: TimeUnit) -> i64 {
    let count = nanos.div_euclid(i128::from(1_000_000_000 / unit.per_second()));
    count.clamp(i128::from(i64::MIN), i128::from(i64::MAX)) as i64
}

fn refuse_all(rows: &TableRows, rule: &str) -> Vec<Refused> {
    let refused = |&origin: &u32| Refused { origin, cause: RefusedCause::Rule(rule.to_owned()) };
    rows.origin.iter().map(refused).collect()
}

/// Moves the fields that fit out of the request.
fn take_fields(rows: &mut TableRows, table: &Table, fit: &Fit, refusals: &mut Refusals) -> Vec<FieldColumn> {
    let mut taken = Vec::with_capacity(fit.fields.len());
    for &at in &fit.fields {
        let field = &mut rows.fields[at];
        let stored = field.vector.values.stored();
        let mut vector = std::mem::replace(&mut field.vector, Vector::new(stored));
        let Some(column) = table.column(&field.name) else { continue };
        if column.logical != stored.logical() {
            narrow(&mut vector, column.logical, |row| {
                refusals.add(rows, row, || RefusedCause::Rule(format!("value of '{}' is out of range", column.name)));
            });
        }
        taken.push(FieldColumn { column: column.id, vector });
    }
    taken
}

/// Fills defaults and refuses rows without a value that must be there. Tables made by a protocol have neither.
fn complete(rows: &TableRows, table: &Table, fields: &mut Vec<FieldColumn>, refusals: &mut Refusals) {
    for column in &table.info.schema.columns {
        let rule = || RefusedCause::Rule(format!("column '{}' must not be null", column.name));
        match column.role {
            ColumnRole::TimeIndex => {}
            ColumnRole::Tag if !column.nullable => refusals.add_series(rows, &column.name, false, &rule()),
            ColumnRole::Tag => {}
            ColumnRole::Field if column.nullable && column.default.is_none() => {}
            ColumnRole::Field => {
                let sent = fields.iter().position(|field| field.column == column.id);
                // A default would overwrite what an earlier row said when fields merge one by one.
                let default = match (&column.default, table.info.options.merge_mode) {
                    (Some(ColumnDefault::Value(value)), MergeMode::LastRow | MergeMode::Append) => value.clone(),
                    _ => Value::Null,
                };
                match (sent, &default) {
                    (None, Value::Null) if column.nullable => {}
                    (None, Value::Null) => (0..rows.len()).for_each(|row| refusals.add(rows, row, rule)),
                    (None, value) => {
                        let vector = constant(column.logical, value, rows.len());
                        fields.push(FieldColumn { column: column.id, vector });
                    }
                    (Some(at), _) if !column.nullable => {
                        let absent =
                            (0..rows.len()).filter(|&row| !fields[at].vector.is_valid(row)).collect::<Vec<_>>();
                        for row in absent {
                            refusals.add(rows, row, rule);
                        }
                    }
                    (Some(_), _) => {}
                }
            }
        }
    }
}
