//! Statements as parsed: names are folded, nothing is looked up yet.

use datafusion::sql::sqlparser::ast;
use varve_model::id::ProcessId;
use varve_model::id::process::CancelScope;
use varve_model::schema::NewColumn;
use varve_model::table::{TableOptions, Ttl};
use varve_proto::metasrv::RegionAction;

/// A table's name as written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Name {
    /// The database, unless the session's is meant.
    pub(crate) database: Option<String>,
    pub(crate) table: String,
}

/// One statement.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Statement {
    /// Anything that answers rows and that DataFusion plans.
    Query(Box<ast::Query>),
    Explain {
        analyze: bool,
        verbose: bool,
        query: Box<ast::Query>,
    },
    Insert(Box<Insert>),
    Delete(Box<Delete>),
    CreateDatabase(CreateDatabase),
    CreateTable(Box<CreateTable>),
    AlterTable {
        table: Name,
        actions: Vec<AlterAction>,
    },
    AlterDatabase {
        database: String,
        ttl: Option<Ttl>,
    },
    Drop(Drop),
    Truncate(Name),
    Show(Show),
    Kill(Kill),
    Describe(Name),
    Use(String),
    Set(Setting),
    /// BEGIN, COMMIT, ROLLBACK and their kin: accepted, without effect.
    Transaction(&'static str),
    /// ADMIN flush_table('t'), compact_table('t').
    Admin {
        function: String,
        action: RegionAction,
        table: String,
    },
}

/// KILL, or a function that does the same.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Kill {
    pub(crate) process: ProcessId,
    pub(crate) scope: CancelScope,
    /// The function's name, which answers whether there was such a process.
    pub(crate) function: Option<&'static str>,
}

/// INSERT.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Insert {
    pub(crate) table: Name,
    /// Empty: all columns in order.
    pub(crate) columns: Vec<String>,
    pub(crate) source: InsertSource,
}

/// Where inserted rows come from.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum InsertSource {
    Values(Vec<Vec<ast::Expr>>),
    Query(Box<ast::Query>),
}

/// DELETE.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Delete {
    pub(crate) table: Name,
    pub(crate) condition: Option<ast::Expr>,
}

/// CREATE DATABASE.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct CreateDatabase {
    pub(crate) name: String,
    pub(crate) if_not_exists: bool,
    pub(crate) ttl: Option<Ttl>,
    pub(crate) regions: Option<u32>,
}

/// CREATE TABLE.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct CreateTable {
    pub(crate) name: Name,
    pub(crate) if_not_exists: bool,
    pub(crate) columns: Vec<NewColumn>,
    pub(crate) primary_key: Vec<String>,
    pub(crate) options: TableOptions,
    pub(crate) regions: Option<u32>,
}

/// One change of ALTER TABLE.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum AlterAction {
    /// The columns, and whether existing ones are skipped.
    AddColumns {
        columns: Vec<NewColumn>,
        if_not_exists: bool,
    },
    DropColumn(String),
    Rename(String),
    SetOptions(Vec<(String, String)>),
    UnsetOptions(Vec<String>),
}

/// DROP.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Drop {
    Tables { names: Vec<Name>, if_exists: bool },
    Database { name: String, if_exists: bool },
}

/// SHOW.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Show {
    Databases {
        full: bool,
        filter: ShowFilter,
    },
    Tables {
        full: bool,
        database: Option<String>,
        filter: ShowFilter,
    },
    Columns {
        full: bool,
        table: Name,
        filter: ShowFilter,
    },
    Index {
        table: Name,
        filter: ShowFilter,
    },
    /// What the session's user may do.
    Grants,
    CreateTable(Name),
    CreateDatabase(String),
    /// One setting by its name in lower case, or all that match.
    Variables {
        name: Option<String>,
        filter: ShowFilter,
    },
    /// What runs; the whole texts or their beginnings.
    Processes {
        full: bool,
        filter: ShowFilter,
    },
    /// MySQL's list of tables with their sizes, which varve leaves open.
    TableStatus {
        database: Option<String>,
        filter: ShowFilter,
    },
    /// Something that is the same for every varve: columns and rows; no rows for what it has none of.
    Fixed {
        columns: &'static [&'static str],
        rows: &'static [&'static [&'static str]],
        filter: ShowFilter,
    },
}

/// Which of the rows to show.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum ShowFilter {
    All,
    Like(String),
    Where(Box<ast::Expr>),
}

/// SET.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Setting {
    TimeZone(String),
    Database(String),
    Ignored,
}
