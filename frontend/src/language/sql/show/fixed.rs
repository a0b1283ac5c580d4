//! SHOW of what is the same for every varve: its engine and character set, and lists that are always empty.
//!
//! The columns are MySQL's, since its tools read them by name before they look whether there is a row.

use datafusion::sql::sqlparser::parser::Parser;
use datafusion::sql::sqlparser::tokenizer::Token;
use varve_model::Result;

use super::super::ast::{Show, ShowFilter};
use super::super::parse::{skip, skip_statement, words};
use super::filter;

type Columns = &'static [&'static str];
type Rows = &'static [&'static [&'static str]];

/// How it is written, its columns and its rows.
type Fixed = (&'static [&'static str], Columns, Rows);

const ENGINES: (Columns, Rows) = (
    &["Engine", "Support", "Comment", "Transactions", "XA", "Savepoints"],
    &[&["mito", "DEFAULT", "Time series on object storage", "NO", "NO", "NO"]],
);
const CHARACTER_SETS: (Columns, Rows) =
    (&["Charset", "Description", "Default collation", "Maxlen"], &[&["utf8mb4", "UTF-8 Unicode", "utf8mb4_bin", "4"]]);

/// Those with rows; they can be filtered.
const FULL: &[Fixed] = &[
    (&["CHARSET"], CHARACTER_SETS.0, CHARACTER_SETS.1),
    (&["CHARACTER", "SET"], CHARACTER_SETS.0, CHARACTER_SETS.1),
    (
        &["COLLATION"],
        &["Collation", "Charset", "Id", "Default", "Compiled", "Sortlen", "Pad_attribute"],
        &[&["utf8mb4_bin", "utf8mb4", "46", "Yes", "Yes", "1", "NO PAD"]],
    ),
    (&["ENGINES"], ENGINES.0, ENGINES.1),
    (&["STORAGE", "ENGINES"], ENGINES.0, ENGINES.1),
    (
        &["PRIVILEGES"],
        &["Privilege", "Context", "Comment"],
        &[
            &["Alter", "Tables", "To alter the table"],
            &["Create", "Databases,Tables,Indexes", "To create new databases and tables"],
            &["Delete", "Tables", "To delete existing rows"],
            &["Drop", "Databases,Tables", "To drop databases and tables"],
            &["Insert", "Tables", "To insert data into tables"],
            &["Process", "Server Admin", "To view the statements that run"],
            &["Select", "Tables", "To retrieve rows from table"],
            &["Show databases", "Server Admin", "To see all databases"],
        ],
    ),
];

const WARNINGS: Columns = &["Level", "Code", "Message"];
const ROUTINES: Columns = &[
    "Db",
    "Name",
    "Type",
    "Definer",
    "Modified",
    "Created",
    "Security_type",
    "Comment",
    "character_set_client",
    "collation_connection",
    "Database Collation",
];
const LOG_STATUS: Columns = &["File", "Position", "Binlog_Do_DB", "Binlog_Ignore_DB", "Executed_Gtid_Set"];
const REPLICA_STATUS: Columns = &["Replica_IO_State", "Source_Host", "Source_User", "Source_Port"];

/// Those without a row: whatever they are filtered by, nothing is left. Longer forms come first.
const EMPTY: &[(&[&str], Columns)] = &[
    (&["STATUS"], &["Variable_name", "Value"]),
    (&["WARNINGS"], WARNINGS),
    (&["ERRORS"], WARNINGS),
    (&["VIEWS"], &["Views"]),
    (&["FLOWS"], &["Flows"]),
    (
        &["TRIGGERS"],
        &[
            "Trigger",
            "Event",
            "Table",
            "Statement",
            "Timing",
            "Created",
            "sql_mode",
            "Definer",
            "character_set_client",
            "collation_connection",
            "Database Collation",
        ],
    ),
    (
        &["EVENTS"],
        &[
            "Db",
            "Name",
            "Definer",
            "Time zone",
            "Type",
            "Execute at",
            "Interval value",
            "Interval field",
            "Starts",
            "Ends",
            "Status",
            "Originator",
            "character_set_client",
            "collation_connection",
            "Database Collation",
        ],
    ),
    (&["PROCEDURE", "STATUS"], ROUTINES),
    (&["FUNCTION", "STATUS"], ROUTINES),
    (&["PLUGINS"], &["Name", "Status", "Type", "Library", "License"]),
    (&["OPEN", "TABLES"], &["Database", "Table", "In_use", "Name_locked"]),
    (&["PROFILES"], &["Query_ID", "Duration", "Query"]),
    (&["MASTER", "STATUS"], LOG_STATUS),
    (&["BINARY", "LOG", "STATUS"], LOG_STATUS),
    (&["REPLICA", "STATUS"], REPLICA_STATUS),
    (&["SLAVE", "STATUS"], REPLICA_STATUS),
    (&["REPLICAS"], &["Server_Id", "Host", "Port", "Source_Id", "Replica_UUID"]),
    (&["SLAVE", "HOSTS"], &["Server_Id", "Host", "Port", "Source_Id", "Replica_UUID"]),
];

/// What comes next, if it is one of these. Errors: `InvalidRequest` for a filter that cannot be read.
pub(super) fn server(parser: &mut Parser<'_>) -> Result<Option<Show>> {
    for (written, columns, rows) in FULL {
        if words(parser, written) {
            return Ok(Some(Show::Fixed { columns, rows, filter: filter(parser)? }));
        }
    }
    for (written, columns) in EMPTY {
        if words(parser, written) {
            skip_statement(parser);
            return Ok(Some(Show::Fixed { columns, rows: &[], filter: ShowFilter::All }));
        }
    }
    Ok(count(parser))
}

/// `COUNT(*) WARNINGS` and `COUNT(*) ERRORS`.
fn count(parser: &mut Parser<'_>) -> Option<Show> {
    let tokens = [Token::LParen, Token::Mul, Token::RParen];
    let is_count = super::word(parser, 0).is_some_and(|word| word == "COUNT")
        && tokens.iter().enumerate().all(|(at, token)| parser.peek_nth_token_ref(at + 1).token == *token);
    let columns: Columns = match super::word(parser, 4)?.as_str() {
        "WARNINGS" if is_count => &["@@session.warning_count"],
        "ERRORS" if is_count => &["@@session.error_count"],
        _ => return None,
    };
    skip(parser, 5);
    Some(Show::Fixed { columns, rows: &[&["0"]], filter: ShowFilter::All })
}
