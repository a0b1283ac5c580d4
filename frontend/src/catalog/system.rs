//! Tables that describe: made from the view when a query names them.

use std::sync::Arc;

use arrow_array::builder::{BooleanBuilder, Int64Builder, ListBuilder, StringBuilder, TimestampMillisecondBuilder};
use arrow_array::{ArrayRef, RecordBatch};
use arrow_schema::{DataType, Field, Schema, TimeUnit};
use async_trait::async_trait;
use datafusion::catalog::{SchemaProvider, TableProvider};
use datafusion::common::Result;
use datafusion::datasource::MemTable;
use varve_model::id::process::Process;
use varve_model::name::SYSTEM_DATABASES;
use varve_model::schema::LogicalType;
use varve_model::time::TimeUnit as Unit;
use varve_proto::metasrv::RegionReport;
use varve_protocol::session::{Session, Wire};
use varve_query::error::into_datafusion;

use super::{information_schema, pg_catalog};
use crate::cluster::View;
use crate::process::Peers;

/// What a column of a describing table holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Text,
    Int,
    Bool,
    /// Milliseconds since the epoch.
    Time,
    /// A list of texts; only ever NULL here.
    Texts,
}

impl Kind {
    /// The nearest type of a table's column.
    fn logical(self) -> LogicalType {
        match self {
            Self::Text | Self::Texts => LogicalType::String,
            Self::Int => LogicalType::Int64,
            Self::Bool => LogicalType::Boolean,
            Self::Time => LogicalType::Timestamp(Unit::Millisecond),
        }
    }
}

/// One value of a describing table.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Cell {
    Null,
    Text(String),
    Int(i64),
    Bool(bool),
}

impl From<&str> for Cell {
    fn from(text: &str) -> Self {
        Self::Text(text.to_owned())
    }
}

impl From<String> for Cell {
    fn from(text: String) -> Self {
        Self::Text(text)
    }
}

impl From<i64> for Cell {
    fn from(value: i64) -> Self {
        Self::Int(value)
    }
}

impl From<bool> for Cell {
    fn from(value: bool) -> Self {
        Self::Bool(value)
    }
}

/// Columns of a describing table.
pub(super) type Columns = &'static [(&'static str, Kind)];

/// A describing table with its rows.
#[derive(Debug)]
pub(super) struct Sheet {
    columns: Columns,
    rows: Vec<Vec<Cell>>,
}

impl Sheet {
    pub(super) fn new(columns: Columns) -> Self {
        Self { columns, rows: Vec::new() }
    }

    /// Appends a row with one cell per column.
    pub(super) fn push(&mut self, row: Vec<Cell>) {
        debug_assert_eq!(row.len(), self.columns.len());
        self.rows.push(row);
    }

    fn provider(&self) -> Result<Arc<dyn TableProvider>> {
        let field = |(name, kind): &(&str, Kind)| {
            let data_type = match kind {
                Kind::Text => DataType::Utf8,
                Kind::Int => DataType::Int64,
                Kind::Bool => DataType::Boolean,
                Kind::Time => DataType::Timestamp(TimeUnit::Millisecond, None),
                Kind::Texts => DataType::List(Arc::new(Field::new("item", DataType::Utf8, true))),
            };
            Field::new(*name, data_type, true)
        };
        let schema = Arc::new(Schema::new(self.columns.iter().map(field).collect::<Vec<_>>()));
        let arrays = self.columns.iter().enumerate().map(|(at, (_, kind))| self.array(at, *kind)).collect();
        let batch = RecordBatch::try_new(Arc::clone(&schema), arrays)?;
        Ok(Arc::new(MemTable::try_new(schema, vec![vec![batch]])?))
    }

    fn array(&self, at: usize, kind: Kind) -> ArrayRef {
        let cells = self.rows.iter().map(|row| &row[at]);
        match kind {
            Kind::Text => {
                let mut builder = StringBuilder::new();
                cells.for_each(|cell| {
                    builder.append_option(if let Cell::Text(text) = cell { Some(text) } else { None });
                });
                Arc::new(builder.finish())
            }
            Kind::Int => {
                let mut builder = Int64Builder::new();
                cells.for_each(|cell| {
                    builder.append_option(if let Cell::Int(value) = cell { Some(*value) } else { None });
                });
                Arc::new(builder.finish())
            }
            Kind::Bool => {
                let mut builder = BooleanBuilder::new();
                cells.for_each(|cell| {
                    builder.append_option(if let Cell::Bool(value) = cell { Some(*value) } else { None });
                });
                Arc::new(builder.finish())
            }
            Kind::Time => {
                let mut builder = TimestampMillisecondBuilder::new();
                cells.for_each(|cell| {
                    builder.append_option(if let Cell::Int(value) = cell { Some(*value) } else { None });
                });
                Arc::new(builder.finish())
            }
            Kind::Texts => {
                let mut builder = ListBuilder::new(StringBuilder::new());
                cells.for_each(|_| builder.append_null());
                Arc::new(builder.finish())
            }
        }
    }
}

/// Who looks: what describing tables depend on beside the catalog.
#[derive(Clone, Debug)]
pub(crate) struct Viewer {
    /// The user's name; never empty.
    pub(super) user: String,
    /// Whether types and keys are shown as MySQL's tools know them.
    pub(super) is_mysql: bool,
}

impl Viewer {
    pub(crate) fn of(session: &Session) -> Self {
        let user = if session.user.is_empty() { "varve" } else { &session.user };
        Self { user: user.to_owned(), is_mysql: session.wire == Wire::Mysql }
    }

    /// The account, as MySQL writes it.
    pub(crate) fn account(&self, quote: char) -> String {
        format!("{quote}{}{quote}@{quote}%{quote}", self.user.replace(quote, &format!("{quote}{quote}")))
    }
}

/// How a describing table is made: its name, columns, and rows from the view for who looks.
pub(super) type Maker = (&'static str, fn(&View, &Viewer) -> Sheet);

/// Makers of tables that have no row: a function's name, and names and kinds of columns.
macro_rules! empties {
    ($($name:ident: $($column:literal $kind:ident),*;)*) => {$(
        pub(super) fn $name(_: &View, _: &Viewer) -> Sheet {
            Sheet::new(&[$(($column, $kind)),*])
        }
    )*};
}
pub(super) use empties;

/// How a table over what others must be asked for is made: its name, and columns and rows.
pub(super) type LiveMaker = (&'static str, Live);

/// Who is asked, and what is made of the answer.
#[derive(Clone, Copy, Debug)]
pub(super) enum Live {
    /// Metasrv, for what datanodes reported.
    Regions(fn(&View, &[RegionReport]) -> Sheet),
    /// All frontends, for what runs.
    Processes(fn(&[Process]) -> Sheet),
}

impl Live {
    /// The table as it is when nobody has anything to say.
    fn empty(self, view: &View) -> Sheet {
        match self {
            Self::Regions(make) => make(view, &[]),
            Self::Processes(make) => make(&[]),
        }
    }
}

/// Those of a database.
fn live_makers(database: &str) -> &'static [LiveMaker] {
    match database {
        "information_schema" => information_schema::LIVE_TABLES,
        "pg_catalog" => pg_catalog::LIVE_TABLES,
        _ => &[],
    }
}

/// The describing databases.
pub(super) fn makers(database: &str) -> Option<&'static [Maker]> {
    match database {
        "information_schema" => Some(information_schema::TABLES),
        "pg_catalog" => Some(pg_catalog::TABLES),
        _ => None,
    }
}

/// Names of the tables in a database that only describes; `None` for all others.
pub(crate) fn system_tables(database: &str) -> Option<Vec<String>> {
    let names = makers(database)?.iter().map(|(name, _)| *name);
    let mut names =
        names.chain(live_makers(database).iter().map(|(name, _)| *name)).map(str::to_owned).collect::<Vec<_>>();
    names.sort_unstable();
    Some(names)
}

/// Names and types of a describing table's columns; `None` when there is no such table.
pub(crate) fn system_columns(database: &str, table: &str, view: &View) -> Option<Vec<(&'static str, LogicalType)>> {
    let nobody = Viewer { user: String::new(), is_mysql: false };
    let made = makers(database)?.iter().find(|(name, _)| *name == table).map(|(_, make)| make(view, &nobody));
    let live = || live_makers(database).iter().find(|(name, _)| *name == table).map(|(_, live)| live.empty(view));
    let columns = made.or_else(live)?.columns;
    Some(columns.iter().map(|(name, kind)| (*name, kind.logical())).collect())
}

/// One describing database.
#[derive(Debug)]
pub(super) struct SystemSchema {
    database: &'static str,
    makers: &'static [Maker],
    live: &'static [LiveMaker],
    peers: Arc<Peers>,
    view: Arc<View>,
    viewer: Arc<Viewer>,
}

impl SystemSchema {
    /// The describing database of this name, if it is one.
    pub(super) fn find(name: &str, peers: &Arc<Peers>, view: &Arc<View>, viewer: &Arc<Viewer>) -> Option<Self> {
        let database = SYSTEM_DATABASES.into_iter().find(|database| *database == name)?;
        Some(Self {
            database,
            makers: makers(database)?,
            live: live_makers(database),
            peers: Arc::clone(peers),
            view: Arc::clone(view),
            viewer: Arc::clone(viewer),
        })
    }
}

#[async_trait]
impl SchemaProvider for SystemSchema {
    fn table_names(&self) -> Vec<String> {
        system_tables(self.database).unwrap_or_default()
    }

    async fn table(&self, name: &str) -> Result<Option<Arc<dyn TableProvider>>> {
        if let Some((_, live)) = self.live.iter().find(|(known, _)| *known == name) {
            let sheet = match live {
                Live::Regions(make) => {
                    make(&self.view, &self.peers.feed().region_statistics().await.map_err(into_datafusion)?)
                }
                Live::Processes(make) => make(&self.peers.list().await),
            };
            return sheet.provider().map(Some);
        }
        let maker = self.makers.iter().find(|(known, _)| *known == name);
        maker.map(|(_, make)| make(&self.view, &self.viewer).provider()).transpose()
    }

    fn table_exist(&self, name: &str) -> bool {
        self.makers.iter().any(|(known, _)| *known == name) || self.live.iter().any(|(known, _)| *known == name)
    }
}
