//! `process_list` and MySQL's `processlist`: the statements that run on all frontends.

use varve_model::id::process::Process;
use varve_query::context::CATALOG;

use super::super::system::Kind::{Int, Text, Time};
use super::super::system::{Columns, Sheet};
use crate::process::NOBODY;

/// GreptimeDB's columns, and the user, whose name cannot be `user`: that is a function. `elapsed_time` is in milliseconds.
const COLUMNS: Columns = &[
    ("id", Int),
    ("catalog", Text),
    ("schemas", Text),
    ("query", Text),
    ("client", Text),
    ("frontend", Text),
    ("start_timestamp", Time),
    ("elapsed_time", Int),
    ("user_name", Text),
];

pub(super) fn list(processes: &[Process]) -> Sheet {
    let mut sheet = Sheet::new(COLUMNS);
    for process in processes {
        sheet.push(vec![
            i64::from(process.id.0).into(),
            CATALOG.into(),
            process.database.as_str().into(),
            process.query.as_str().into(),
            process.client.as_str().into(),
            process.frontend.as_str().into(),
            process.started_ms.into(),
            (process.elapsed.as_millis() as i64).into(),
            process.user.as_str().into(),
        ]);
    }
    sheet
}

/// MySQL's columns.
const MYSQL_COLUMNS: Columns = &[
    ("id", Int),
    ("user", Text),
    ("host", Text),
    ("db", Text),
    ("command", Text),
    ("time", Int),
    ("state", Text),
    ("info", Text),
];

pub(super) fn mysql_list(processes: &[Process]) -> Sheet {
    let mut sheet = Sheet::new(MYSQL_COLUMNS);
    for process in processes {
        let (command, state) = if process.id == NOBODY { ("Unknown", "") } else { ("Query", "executing") };
        sheet.push(vec![
            i64::from(process.id.0).into(),
            process.user.as_str().into(),
            process.client.as_str().into(),
            process.database.as_str().into(),
            command.into(),
            (process.elapsed.as_secs() as i64).into(),
            state.into(),
            process.query.as_str().into(),
        ]);
    }
    sheet
}
