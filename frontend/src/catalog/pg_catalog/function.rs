//! Functions that PostgreSQL's and MySQL's clients call about server and catalog.

use std::hash::{Hash, Hasher};
use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::types::Int64Type;
use arrow_array::{Array, ArrayRef, BooleanArray, StringArray};
use arrow_schema::DataType;
use datafusion::common::{Result, ScalarValue, plan_err};
use datafusion::logical_expr::{
    ColumnarValue, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, TypeSignature, Volatility,
};
use rustc_hash::FxHashMap;
use varve_protocol::session::{Session, Wire};

use super::{oid, relation};
use crate::cluster::View;

/// What PostgreSQL's clients parse to find out which server this is.
const PG_VERSION: &str = concat!("PostgreSQL 15.0 (varve ", env!("CARGO_PKG_VERSION"), ")");
const MYSQL_VERSION: &str = concat!("8.4.2-varve-", env!("CARGO_PKG_VERSION"));

/// The function of this name for a session; `None` when it is not one of these.
pub(super) fn of(name: &str, session: &Session, view: &View) -> Option<ScalarUDF> {
    let text = |value: &str| Some(ScalarUDF::from(Constant::new(name, ScalarValue::Utf8(Some(value.to_owned())))));
    let truth = |value| Some(ScalarUDF::from(Constant::new(name, ScalarValue::Boolean(Some(value)))));
    let number = |value| Some(ScalarUDF::from(Constant::new(name, ScalarValue::Int64(Some(value)))));
    match name {
        "version" if session.wire == Wire::Mysql => text(MYSQL_VERSION),
        "version" => text(PG_VERSION),
        "current_schema" | "current_database" | "database" | "schema" | "current_catalog" => text(&session.database),
        "current_user" | "session_user" | "system_user" | "user" | "current_role" => text(user(session)),
        "pg_get_userbyid" => text("varve"),
        "pg_encoding_to_char" => text("UTF8"),
        "pg_postmaster_start_time"
        | "pg_get_indexdef"
        | "pg_get_constraintdef"
        | "pg_get_viewdef"
        | "pg_tablespace_location"
        | "shobj_description"
        | "pg_get_partkeydef" => Some(ScalarUDF::from(Constant::new(name, ScalarValue::Utf8(None)))),
        "current_schemas" => {
            let names = [ScalarValue::Utf8(Some(session.database.clone()))];
            let list = ScalarValue::new_list_nullable(&names, &DataType::Utf8);
            Some(ScalarUDF::from(Constant::new(name, ScalarValue::List(list))))
        }
        "pg_is_in_recovery" => truth(false),
        "pg_function_is_visible" | "pg_type_is_visible" | "pg_relation_is_publishable" => truth(true),
        // Without authentication everybody may do everything.
        "has_table_privilege"
        | "has_schema_privilege"
        | "has_database_privilege"
        | "has_any_column_privilege"
        | "has_column_privilege"
        | "pg_has_role" => truth(true),
        "pg_backend_pid" | "connection_id" => number(i64::from(session.connection)),
        "last_insert_id" | "row_count" | "found_rows" => number(0),
        "pg_table_is_visible" => Some(ScalarUDF::from(Lookup::visible(session, view))),
        "format_type" => Some(ScalarUDF::from(Lookup::format_type())),
        "pg_relation_name" => Some(ScalarUDF::from(Lookup::relation_names(session, view))),
        "pg_namespace_name" => Some(ScalarUDF::from(Lookup::namespace_names(view))),
        "obj_description" | "col_description" => Some(ScalarUDF::from(Lookup::comments(name, view))),
        "pg_cancel_backend" | "pg_terminate_backend" => Some(ScalarUDF::from(Alone::new(name))),
        _ => super::super::mysql::text_function(name),
    }
}

fn user(session: &Session) -> &str {
    if session.user.is_empty() { "varve" } else { &session.user }
}

/// A function that answers the same for all rows of a session.
#[derive(Debug, PartialEq, Eq, Hash)]
struct Constant {
    name: String,
    value: ScalarValue,
    signature: Signature,
}

impl Constant {
    fn new(name: &str, value: ScalarValue) -> Self {
        let any = TypeSignature::OneOf(vec![TypeSignature::Nullary, TypeSignature::VariadicAny]);
        Self { name: name.to_owned(), value, signature: Signature::new(any, Volatility::Stable) }
    }
}

impl ScalarUDFImpl for Constant {
    fn name(&self) -> &str {
        &self.name
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _: &[DataType]) -> Result<DataType> {
        Ok(self.value.data_type())
    }

    fn invoke_with_args(&self, _: ScalarFunctionArgs) -> Result<ColumnarValue> {
        Ok(ColumnarValue::Scalar(self.value.clone()))
    }
}

/// A function that is a statement of its own, and an error as part of a query: what it does is not
/// to depend on how the query is planned.
#[derive(Debug, PartialEq, Eq, Hash)]
struct Alone {
    name: String,
    signature: Signature,
}

impl Alone {
    fn new(name: &str) -> Self {
        Self { name: name.to_owned(), signature: Signature::variadic_any(Volatility::Volatile) }
    }
}

impl ScalarUDFImpl for Alone {
    fn name(&self) -> &str {
        &self.name
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _: &[DataType]) -> Result<DataType> {
        let name = &self.name;
        plan_err!("{name} takes a number and stands alone, as in SELECT {name}(7): it cannot be part of a query")
    }

    fn invoke_with_args(&self, _: ScalarFunctionArgs) -> Result<ColumnarValue> {
        plan_err!("{} cannot be part of a query", self.name)
    }
}

/// What a [`Lookup`] finds.
#[derive(Debug)]
enum Found {
    /// Text by one or two numbers.
    Text(FxHashMap<(i64, i64), String>),
    /// Whether the number is known.
    Truth(FxHashMap<(i64, i64), String>),
}

/// A function of an object's number, and perhaps a column's.
#[derive(Debug)]
struct Lookup {
    name: String,
    found: Arc<Found>,
    /// How many arguments count; others are ignored.
    keys: usize,
    signature: Signature,
}

impl PartialEq for Lookup {
    fn eq(&self, other: &Self) -> bool {
        self.name == other.name && Arc::ptr_eq(&self.found, &other.found)
    }
}

impl Eq for Lookup {}

impl Hash for Lookup {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.name.hash(state);
    }
}

impl Lookup {
    fn new(name: &str, keys: usize, found: Found) -> Self {
        let signature = Signature::variadic_any(Volatility::Stable);
        Self { name: name.to_owned(), found: Arc::new(found), keys, signature }
    }

    /// Tables that need no qualifier in this session.
    fn visible(session: &Session, view: &View) -> Self {
        let tables = view.databases.get(&session.database).map(|database| &database.tables);
        let known = tables.into_iter().flat_map(|tables| tables.values());
        let known = known.map(|table| ((oid::table(table.info.id), 0), String::new()));
        Self::new("pg_table_is_visible", 1, Found::Truth(known.collect()))
    }

    fn format_type() -> Self {
        let mut names = FxHashMap::default();
        for (number, _, _, _, array, shown) in oid::TYPES {
            names.insert((number, 0), shown.to_owned());
            names.insert((array, 0), format!("{shown}[]"));
        }
        Self::new("format_type", 1, Found::Text(names))
    }

    fn relation_names(session: &Session, view: &View) -> Self {
        let mut names = FxHashMap::default();
        for (database, table) in super::super::information_schema::all_tables(view) {
            let name = &table.info.name;
            let shown = if database == session.database { name.clone() } else { format!("{database}.{name}") };
            names.insert((oid::table(table.info.id), 0), shown);
        }
        Self::new("pg_relation_name", 1, Found::Text(names))
    }

    fn namespace_names(view: &View) -> Self {
        let names = view.databases.iter().map(|(name, database)| ((oid::namespace(database.info.id), 0), name.clone()));
        Self::new("pg_namespace_name", 1, Found::Text(names.collect()))
    }

    fn comments(name: &str, view: &View) -> Self {
        let keys = if name == "col_description" { 2 } else { 1 };
        let comments = relation::comments(view).into_iter().filter(|(_, sub, _)| (keys == 2) != (*sub == 0));
        Self::new(name, keys, Found::Text(comments.map(|(number, sub, text)| ((number, sub), text)).collect()))
    }
}

impl ScalarUDFImpl for Lookup {
    fn name(&self) -> &str {
        &self.name
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _: &[DataType]) -> Result<DataType> {
        Ok(match *self.found {
            Found::Text(_) => DataType::Utf8,
            Found::Truth(_) => DataType::Boolean,
        })
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let rows = args.number_rows;
        let keys = args.args.iter().take(self.keys);
        let keys = keys.map(|value| {
            let array = value.clone().into_array(rows)?;
            Ok(datafusion::arrow::compute::cast(&array, &DataType::Int64)?)
        });
        let keys = keys.collect::<Result<Vec<ArrayRef>>>()?;
        let at = |key: usize, row: usize| {
            let array = keys.get(key)?.as_primitive::<Int64Type>();
            array.is_valid(row).then(|| array.value(row))
        };
        let second = |row| if self.keys == 2 { at(1, row) } else { Some(0) };
        let both = |row| Some((at(0, row)?, second(row)?));
        let array: ArrayRef = match &*self.found {
            Found::Text(names) => Arc::new(
                (0..rows)
                    .map(|row| both(row).and_then(|key| names.get(&key)).map(String::as_str))
                    .collect::<StringArray>(),
            ),
            Found::Truth(known) => {
                Arc::new((0..rows).map(|row| both(row).map(|key| known.contains_key(&key))).collect::<BooleanArray>())
            }
        };
        Ok(ColumnarValue::Array(array))
    }
}
