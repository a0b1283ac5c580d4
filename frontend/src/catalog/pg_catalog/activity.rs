//! `pg_stat_activity`: the statements that run on all frontends, in PostgreSQL's columns.

use varve_model::id::process::Process;

use super::super::system::Kind::{Int, Text, Time};
use super::super::system::{Cell, Columns, Sheet};
use crate::process::NOBODY;

const COLUMNS: Columns = &[
    ("datid", Int),
    ("datname", Text),
    ("pid", Int),
    ("usesysid", Int),
    ("usename", Text),
    ("application_name", Text),
    ("client_addr", Text),
    ("backend_start", Time),
    ("query_start", Time),
    ("state_change", Time),
    ("wait_event_type", Text),
    ("wait_event", Text),
    ("state", Text),
    ("query", Text),
    ("backend_type", Text),
];

pub(super) fn list(processes: &[Process]) -> Sheet {
    let mut sheet = Sheet::new(COLUMNS);
    for process in processes {
        sheet.push(vec![
            Cell::Null,
            process.database.as_str().into(),
            i64::from(process.id.0).into(),
            Cell::Null,
            process.user.as_str().into(),
            "".into(),
            process.client.as_str().into(),
            Cell::Null,
            process.started_ms.into(),
            process.started_ms.into(),
            Cell::Null,
            Cell::Null,
            if process.id == NOBODY { Cell::Null } else { "active".into() },
            process.query.as_str().into(),
            "client backend".into(),
        ]);
    }
    sheet
}
