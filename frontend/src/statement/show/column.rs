//! SHOW COLUMNS and DESC, of users' tables and of those that describe.

use varve_model::schema::{Column, ColumnRole, LogicalType};
use varve_model::{Error, Reason, Result};
use varve_protocol::output::Output;

use super::super::{Conductor, Scope, table_of};
use super::{Sheet, is_mysql, text};
use crate::catalog::types::{default_text, describe_type, mysql_type, sql_type};
use crate::catalog::{mysql_key, system_columns, system_tables};
use crate::language::sql::Name;

/// One column in the words of all these statements.
struct Described {
    name: String,
    logical: LogicalType,
    nullable: bool,
    /// The column's part in keys as SHOW COLUMNS has it, and as DESC has it.
    key: [&'static str; 2],
    default: Option<String>,
    comment: String,
    role: &'static str,
}

impl Described {
    fn of(column: &Column) -> Self {
        let (key, role) = match column.role {
            ColumnRole::Tag => (["PRI", "PRI"], "TAG"),
            ColumnRole::TimeIndex => (["TIME INDEX", "PRI"], "TIMESTAMP"),
            ColumnRole::Field => (["", ""], "FIELD"),
        };
        Self {
            name: column.name.clone(),
            logical: column.logical,
            nullable: column.nullable,
            key,
            default: column.default.as_ref().map(|default| default_text(default, column.logical)),
            comment: column.comment.clone().unwrap_or_default(),
            role,
        }
    }

    /// A column of a table that describes.
    fn system((name, logical): (&str, LogicalType)) -> Self {
        let (name, comment) = (name.to_owned(), String::new());
        Self { name, logical, nullable: true, key: ["", ""], default: None, comment, role: "FIELD" }
    }
}

impl Conductor {
    /// The columns of a table in their order.
    fn described(&self, scope: &Scope, name: &Name) -> Result<Vec<Described>> {
        let database = name.database.as_deref().unwrap_or(&scope.session.database);
        let view = self.feed.view();
        if system_tables(database).is_some() {
            let columns = system_columns(database, &name.table, &view);
            let columns = columns.ok_or_else(|| {
                Error::not_found(format!("table '{database}.{}' not found", name.table)).with_reason(Reason::Table)
            })?;
            return Ok(columns.into_iter().map(Described::system).collect());
        }
        let table = table_of(scope, &view, name)?;
        let described = |column| {
            let mut described = Described::of(column);
            if is_mysql(scope) {
                described.key[0] = mysql_key(column, &table.info);
            }
            described
        };
        Ok(table.info.schema.columns.iter().map(described).collect())
    }

    pub(super) fn show_columns(&self, scope: &Scope, full: bool, table: &Name) -> Result<Sheet> {
        let mut columns = self.described(scope, table)?;
        let names: &[&str] = if full {
            &["Field", "Type", "Collation", "Null", "Key", "Default", "Comment", "Privileges", "Extra", "Greptime_type"]
        } else {
            &["Field", "Type", "Null", "Key", "Default", "Extra", "Greptime_type"]
        };
        let mut sheet = Sheet::new(names);
        // MySQL's tools take the rows for the columns' order, GreptimeDB sorts them by name.
        if !is_mysql(scope) {
            columns.sort_unstable_by(|a, b| a.name.cmp(&b.name));
        }
        for column in columns {
            let kind = text(shown_type(scope, column.logical));
            let null = text(if column.nullable { "YES" } else { "NO" });
            // Without a default it is NULL, which GreptimeDB leaves empty.
            let default = column.default.or_else(|| if is_mysql(scope) { None } else { text("") });
            let (field, key, extra) = (text(column.name), text(column.key[0]), text(""));
            let native = text(describe_type(column.logical));
            sheet.push(if full {
                let collation = matches!(column.logical, LogicalType::String).then(|| collation(scope).to_owned());
                let comment = text(column.comment);
                vec![field, kind, collation, null, key, default, comment, text("select,insert"), extra, native]
            } else {
                vec![field, kind, null, key, default, extra, native]
            });
        }
        Ok(sheet)
    }

    pub(in super::super) fn describe(&self, scope: &Scope, name: &Name) -> Result<Output> {
        let mut sheet = Sheet::new(&["Column", "Type", "Key", "Null", "Default", "Semantic Type"]);
        for column in self.described(scope, name)? {
            sheet.push(vec![
                text(column.name),
                text(describe_type(column.logical)),
                text(column.key[1]),
                text(if column.nullable { "YES" } else { "NO" }),
                text(column.default.unwrap_or_default()),
                text(column.role),
            ]);
        }
        Ok(sheet.output())
    }
}

fn shown_type(scope: &Scope, logical: LogicalType) -> String {
    if is_mysql(scope) { mysql_type(logical).to_owned() } else { sql_type(logical).to_lowercase() }
}

fn collation(scope: &Scope) -> &'static str {
    if is_mysql(scope) { "utf8mb4_bin" } else { "utf8_bin" }
}
