//! SHOW TABLE STATUS and SHOW INDEX.

use varve_model::Result;

use super::super::{Conductor, Scope, table_of};
use super::{Sheet, is_mysql, text};
use crate::catalog::key_parts;
use crate::language::sql::Name;

impl Conductor {
    pub(super) fn show_table_status(&self, scope: &Scope, database: Option<String>) -> Result<Sheet> {
        let database = database.unwrap_or_else(|| scope.session.database.clone());
        let mut sheet = Sheet::new(&[
            "Name",
            "Engine",
            "Version",
            "Row_format",
            "Rows",
            "Avg_row_length",
            "Data_length",
            "Max_data_length",
            "Index_length",
            "Data_free",
            "Auto_increment",
            "Create_time",
            "Update_time",
            "Check_time",
            "Collation",
            "Checksum",
            "Create_options",
            "Comment",
        ]);
        if crate::catalog::system_tables(&database).is_some() {
            return Ok(sheet);
        }
        for table in self.feed.view().database(&database)?.tables.values() {
            let created = chrono::DateTime::from_timestamp_millis(table.info.created_ms);
            let mut row = vec![None; sheet.columns.len()];
            row[0] = text(&table.info.name);
            row[1] = text("mito");
            row[11] = created.map(|at| at.format("%Y-%m-%d %H:%M:%S").to_string());
            row[14] = text("utf8mb4_bin");
            row[16] = text("");
            row[17] = text(table.info.options.comment.clone().unwrap_or_default());
            sheet.push(row);
        }
        Ok(sheet)
    }

    pub(super) fn show_index(&self, scope: &Scope, table: &Name) -> Result<Sheet> {
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
        let parts = if is_mysql(scope) {
            key_parts(&table.info)
                .map(|part| (part.column, part.is_unique, part.index, part.sequence, "BTREE"))
                .collect::<Vec<_>>()
        } else {
            let keys =
                schema.key_columns().enumerate().map(|(at, column)| (column, true, "PRIMARY", at + 1, "PRIMARY"));
            keys.chain([(schema.time_index(), false, "TIME INDEX", 1, "TIME")]).collect()
        };
        for (column, is_unique, name, sequence, kind) in parts {
            sheet.push(vec![
                text(&table.info.name),
                text(if is_unique { "0" } else { "1" }),
                text(name),
                text(sequence.to_string()),
                text(&column.name),
                text("A"),
                None,
                None,
                None,
                text(if column.nullable { "YES" } else { "" }),
                text(kind),
                text(""),
                text(""),
                text("YES"),
                None,
            ]);
        }
        Ok(sheet)
    }
}
