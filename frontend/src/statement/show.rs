//! SHOW and DESC: the catalog in the columns that GreptimeDB prints.

use std::sync::Arc;

use arrow_array::{ArrayRef, RecordBatch, StringArray};
use arrow_schema::{DataType, Field, Schema};
use datafusion::datasource::MemTable;
use futures::stream;
use varve_model::name::SYSTEM_DATABASES;
use varve_model::schema::{Column, ColumnRole, LogicalType};
use varve_model::{Error, Reason, Result};
use varve_protocol::output::Output;
use varve_query::error::from_datafusion;

use super::{Conductor, Scope, table_of};
use crate::catalog::types::{default_text, describe_type, sql_type, ttl_text};
use crate::language::sql::{Name, Show, ShowFilter};

mod create;
mod filter;
mod process;
mod variable;

/// An answer of texts: column names and rows.
struct Sheet {
    columns: Vec<String>,
    rows: Vec<Vec<Option<String>>>,
}

impl Sheet {
    fn new(columns: &[&str]) -> Self {
        Self { columns: columns.iter().map(|&name| name.to_owned()).collect(), rows: Vec::new() }
    }

    fn push(&mut self, row: Vec<Option<String>>) {
        debug_assert_eq!(row.len(), self.columns.len());
        self.rows.push(row);
    }

    /// Keeps the rows whose first column matches.
    fn keep(&mut self, filter: &ShowFilter) {
        if let ShowFilter::Like(pattern) = filter {
            self.rows.retain(|row| row[0].as_deref().is_some_and(|text| filter::like(pattern, text)));
        }
    }

    fn batch(&self) -> RecordBatch {
        let fields = self.columns.iter().map(|name| Field::new(name, DataType::Utf8, true)).collect::<Vec<_>>();
        let column = |at: usize| Arc::new(self.rows.iter().map(|row| row[at].as_deref()).collect::<StringArray>());
        let columns = (0..self.columns.len()).map(|at| column(at) as ArrayRef).collect();
        RecordBatch::try_new(Arc::new(Schema::new(fields)), columns).expect("all columns have the sheet's rows")
    }

    fn output(&self) -> Output {
        let batch = self.batch();
        Output::Rows { schema: batch.schema(), stream: Box::pin(stream::iter([Ok(batch)])) }
    }
}

/// A text cell.
#[allow(clippy::unnecessary_wraps, reason = "cells are optional, and this makes one")]
fn text(value: impl Into<String>) -> Option<String> {
    Some(value.into())
}

impl Conductor {
    pub(super) async fn show(&self, scope: &Scope, show: Show) -> Result<Output> {
        let (mut sheet, filter) = match show {
            Show::Databases { full, filter } => (self.show_databases(full), filter),
            Show::Tables { full, database, filter } => (self.show_tables(scope, full, database)?, filter),
            Show::Columns { full, table, filter } => (self.show_columns(scope, full, &table)?, filter),
            Show::Index { table } => (self.show_index(scope, &table)?, ShowFilter::All),
            Show::CreateTable(table) => (self.show_create_table(scope, &table)?, ShowFilter::All),
            Show::CreateDatabase(name) => (self.show_create_database(&name)?, ShowFilter::All),
            Show::Variables { name, filter } => (variable::show(scope, name.as_deref())?, filter),
            Show::Processes { full, filter } => (self.show_processes(full).await, filter),
            Show::TableStatus { database, filter } => (self.show_table_status(scope, database)?, filter),
            Show::Fixed { columns, rows, filter } => {
                let mut sheet = Sheet::new(columns);
                for row in rows {
                    sheet.push(row.iter().map(|cell| text(*cell)).collect());
                }
                (sheet, filter)
            }
        };
        sheet.keep(&filter);
        match filter {
            ShowFilter::Where(condition) => self.filter(scope, &sheet, *condition).await,
            _ => Ok(sheet.output()),
        }
    }

    /// SHOW .. WHERE: a query over the sheet; columns may be written in any case.
    async fn filter(
        &self,
        scope: &Scope,
        sheet: &Sheet,
        condition: datafusion::sql::sqlparser::ast::Expr,
    ) -> Result<Output> {
        let batch = sheet.batch();
        let provider = MemTable::try_new(batch.schema(), vec![vec![batch]]).map_err(from_datafusion)?;
        let mut state = self.sessions.base().clone();
        state.config_mut().options_mut().sql_parser.enable_ident_normalization = false;
        let catalogs = Arc::new(datafusion::catalog::MemoryCatalogProviderList::new());
        state.register_catalog_list(catalogs);
        let context = datafusion::prelude::SessionContext::new_with_state(state);
        let frame = context.read_table(Arc::new(provider)).map_err(from_datafusion)?;
        let condition = filter::fold_names(condition, &sheet.columns);
        let text = condition.to_string();
        let expr = frame.parse_sql_expr(&text).map_err(from_datafusion)?;
        let frame = frame.filter(expr).map_err(from_datafusion)?;
        let schema = Arc::new(frame.schema().as_arrow().clone());
        let batches = scope.deadline.bound("SHOW", async { frame.collect().await.map_err(from_datafusion) }).await?;
        Ok(Output::Rows { schema, stream: Box::pin(stream::iter(batches.into_iter().map(Ok))) })
    }

    fn show_databases(&self, full: bool) -> Sheet {
        let view = self.feed.view();
        let mut sheet = Sheet::new(if full { &["Database", "Options"] } else { &["Database"] });
        let mut names = view.databases.keys().cloned().collect::<Vec<_>>();
        names.extend(SYSTEM_DATABASES.iter().map(|&name| name.to_owned()));
        names.sort_unstable();
        for name in names {
            let options = view.databases.get(&name).and_then(|database| database.info.ttl);
            let options = options.map_or(String::new(), |ttl| format!("'ttl'='{}'\n", ttl_text(ttl)));
            sheet.push(if full { vec![text(name), text(options)] } else { vec![text(name)] });
        }
        sheet
    }

    fn show_tables(&self, scope: &Scope, full: bool, database: Option<String>) -> Result<Sheet> {
        let database = database.unwrap_or_else(|| scope.session.database.clone());
        let title = format!("Tables_in_{database}");
        let names = [title.as_str(), "Table_type"];
        let mut sheet = Sheet::new(if full { &names } else { &names[..1] });
        let view = self.feed.view();
        let (names, kind) = match crate::catalog::system_tables(&database) {
            Some(names) => (names, "LOCAL TEMPORARY"),
            None => (view.database(&database)?.tables.keys().cloned().collect(), "BASE TABLE"),
        };
        for name in names {
            sheet.push(if full { vec![text(name), text(kind)] } else { vec![text(name)] });
        }
        Ok(sheet)
    }

    fn show_table_status(&self, scope: &Scope, database: Option<String>) -> Result<Sheet> {
        let database = database.unwrap_or_else(|| scope.session.database.clone());
        let mut sheet = Sheet::new(&["Name", "Engine", "Rows", "Create_time", "Collation", "Comment"]);
        if crate::catalog::system_tables(&database).is_some() {
            return Ok(sheet);
        }
        for table in self.feed.view().database(&database)?.tables.values() {
            let created = chrono::DateTime::from_timestamp_millis(table.info.created_ms);
            let created = created.map(|at| at.format("%Y-%m-%d %H:%M:%S").to_string());
            let comment = text(table.info.options.comment.clone().unwrap_or_default());
            sheet.push(vec![text(&table.info.name), text("mito"), None, created, text("utf8mb4_bin"), comment]);
        }
        Ok(sheet)
    }

    fn show_columns(&self, scope: &Scope, full: bool, table: &Name) -> Result<Sheet> {
        let table = table_of(scope, &self.feed.view(), table)?;
        let names: &[&str] = if full {
            &["Field", "Type", "Collation", "Null", "Key", "Default", "Comment", "Privileges", "Extra", "Greptime_type"]
        } else {
            &["Field", "Type", "Null", "Key", "Default", "Extra", "Greptime_type"]
        };
        let mut sheet = Sheet::new(names);
        let mut columns = table.info.schema.columns.iter().collect::<Vec<_>>();
        columns.sort_unstable_by(|a, b| a.name.cmp(&b.name));
        for column in columns {
            let field = text(&column.name);
            let kind = text(sql_type(column.logical).to_lowercase());
            let null = text(if column.nullable { "YES" } else { "NO" });
            let key = text(key_text(column, "TIME INDEX"));
            let default = column.default.as_ref().map(|default| default_text(default, column.logical));
            let default = default.or_else(|| text(""));
            let extra = text("");
            let native = text(describe_type(column.logical));
            sheet.push(if full {
                let collation = matches!(column.logical, LogicalType::String).then(|| "utf8_bin".to_owned());
                let comment = text(column.comment.clone().unwrap_or_default());
                vec![field, kind, collation, null, key, default, comment, text("select,insert"), extra, native]
            } else {
                vec![field, kind, null, key, default, extra, native]
            });
        }
        Ok(sheet)
    }

    fn show_index(&self, scope: &Scope, table: &Name) -> Result<Sheet> {
        let table = table_of(scope, &self.feed.view(), table)?;
        let mut sheet = Sheet::new(&[
            "Table",
            "Non_unique",
            "Key_name",
            "Seq_in_index",
            "Column_name",
            "Collation",
            "Cardinality",
            "Sub_part",
            "Packed",
            "Null",
            "Index_type",
            "Comment",
            "Index_comment",
            "Visible",
            "Expression",
        ]);
        let schema = &table.info.schema;
        let keys = schema.key_columns().enumerate().map(|(at, column)| (column, "0", "PRIMARY", at + 1, "PRIMARY"));
        let time = [(schema.time_index(), "1", "TIME INDEX", 1, "TIME")];
        for (column, unique, name, sequence, kind) in keys.chain(time) {
            let null = text(if column.nullable { "YES" } else { "" });
            sheet.push(vec![
                text(&table.info.name),
                text(unique),
                text(name),
                text(sequence.to_string()),
                text(&column.name),
                text("A"),
                None,
                None,
                None,
                null,
                text(kind),
                text(""),
                text(""),
                text("YES"),
                None,
            ]);
        }
        Ok(sheet)
    }

    fn show_create_table(&self, scope: &Scope, table: &Name) -> Result<Sheet> {
        let table = table_of(scope, &self.feed.view(), table)?;
        let mut sheet = Sheet::new(&["Table", "Create Table"]);
        sheet.push(vec![text(&table.info.name), text(create::table_text(&table))]);
        Ok(sheet)
    }

    fn show_create_database(&self, name: &str) -> Result<Sheet> {
        let view = self.feed.view();
        let database = view.database(name)?;
        let mut sheet = Sheet::new(&["Database", "Create Database"]);
        sheet.push(vec![text(name), text(create::database_text(&database.info))]);
        Ok(sheet)
    }

    pub(super) fn describe(&self, scope: &Scope, name: Name) -> Result<Output> {
        let database = name.database.as_deref().unwrap_or(&scope.session.database);
        if SYSTEM_DATABASES.contains(&database) {
            return Err(Error::unsupported(format!("DESC of a table in {database}")).with_reason(Reason::Unsupported));
        }
        let table = table_of(scope, &self.feed.view(), &name)?;
        let mut sheet = Sheet::new(&["Column", "Type", "Key", "Null", "Default", "Semantic Type"]);
        for column in &table.info.schema.columns {
            let role = match column.role {
                ColumnRole::Tag => "TAG",
                ColumnRole::Field => "FIELD",
                ColumnRole::TimeIndex => "TIMESTAMP",
            };
            let default = column.default.as_ref().map(|default| default_text(default, column.logical));
            sheet.push(vec![
                text(&column.name),
                text(describe_type(column.logical)),
                text(key_text(column, "PRI")),
                text(if column.nullable { "YES" } else { "NO" }),
                text(default.unwrap_or_default()),
                text(role),
            ]);
        }
        Ok(sheet.output())
    }
}

fn key_text(column: &Column, time: &'static str) -> &'static str {
    match column.role {
        ColumnRole::Tag => "PRI",
        ColumnRole::TimeIndex => time,
        ColumnRole::Field => "",
    }
}
