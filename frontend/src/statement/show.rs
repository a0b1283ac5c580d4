//! SHOW and DESC: the catalog in the columns that GreptimeDB prints.

use std::sync::Arc;

use arrow_array::{ArrayRef, RecordBatch, StringArray};
use arrow_schema::{DataType, Field, Schema};
use datafusion::datasource::MemTable;
use futures::stream;
use varve_model::Result;
use varve_model::name::SYSTEM_DATABASES;
use varve_protocol::output::Output;
use varve_protocol::session::Wire;
use varve_query::error::from_datafusion;

use super::{Conductor, Scope, table_of};
use crate::catalog::types::ttl_text;
use crate::catalog::{PRIVILEGES, Viewer};
use crate::language::sql::{Name, Show, ShowFilter};

mod column;
mod create;
mod filter;
mod process;
mod table;
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
            Show::Index { table, filter } => (self.show_index(scope, &table)?, filter),
            Show::Grants => (grants(scope), ShowFilter::All),
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
            Some(names) if is_mysql(scope) => (names, "SYSTEM VIEW"),
            Some(names) => (names, "LOCAL TEMPORARY"),
            None => (view.database(&database)?.tables.keys().cloned().collect(), "BASE TABLE"),
        };
        for name in names {
            sheet.push(if full { vec![text(name), text(kind)] } else { vec![text(name)] });
        }
        Ok(sheet)
    }

    fn show_create_table(&self, scope: &Scope, table: &Name) -> Result<Sheet> {
        let table = table_of(scope, &self.feed.view(), table)?;
        let mut sheet = Sheet::new(&["Table", "Create Table"]);
        let created = if is_mysql(scope) { create::mysql_table_text(&table) } else { create::table_text(&table) };
        sheet.push(vec![text(&table.info.name), text(created)]);
        Ok(sheet)
    }

    fn show_create_database(&self, name: &str) -> Result<Sheet> {
        let view = self.feed.view();
        let database = view.database(name)?;
        let mut sheet = Sheet::new(&["Database", "Create Database"]);
        sheet.push(vec![text(name), text(create::database_text(&database.info))]);
        Ok(sheet)
    }
}

/// Whether the answer is for MySQL's tools, which read more out of it than GreptimeDB's columns say.
fn is_mysql(scope: &Scope) -> bool {
    scope.session.wire == Wire::Mysql
}

/// What everybody may do while nobody is authenticated.
fn grants(scope: &Scope) -> Sheet {
    let viewer = Viewer::of(&scope.session);
    let mut sheet = Sheet::new(&[&format!("Grants for {}@%", scope.session.user)]);
    sheet.push(vec![text(format!("GRANT {} ON *.* TO {}", PRIVILEGES.join(", "), viewer.account('`')))]);
    sheet
}
