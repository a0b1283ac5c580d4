//! Settings that clients ask for when they connect. They describe varve; none can be changed but the time zone.

use varve_model::{Error, Reason, Result};

use super::super::Scope;
use super::{Sheet, text};

/// Name and value, as PostgreSQL and MySQL know them.
const FIXED: [(&str, &str); 27] = [
    ("application_name", ""),
    ("auto_increment_increment", "1"),
    ("autocommit", "ON"),
    ("character_set_client", "utf8mb4"),
    ("character_set_connection", "utf8mb4"),
    ("character_set_results", "utf8mb4"),
    ("character_set_server", "utf8mb4"),
    ("client_encoding", "UTF8"),
    ("collation_connection", "utf8mb4_bin"),
    ("collation_server", "utf8mb4_bin"),
    ("datestyle", "ISO, MDY"),
    ("default_transaction_isolation", "read committed"),
    ("default_transaction_read_only", "off"),
    ("extra_float_digits", "1"),
    ("integer_datetimes", "on"),
    ("intervalstyle", "postgres"),
    ("is_superuser", "on"),
    ("lower_case_table_names", "0"),
    ("max_allowed_packet", "33554432"),
    ("max_identifier_length", "256"),
    ("server_encoding", "UTF8"),
    ("server_version", "15.0"),
    ("server_version_num", "150000"),
    ("sql_mode", "ANSI_QUOTES"),
    ("standard_conforming_strings", "on"),
    ("transaction_isolation", "read committed"),
    ("version_comment", "varve"),
];

/// All settings in the order of their names, or one as PostgreSQL's `SHOW name` answers it.
pub(super) fn show(scope: &Scope, name: Option<&str>) -> Result<Sheet> {
    let mut all = FIXED.map(|(name, value)| (name, value.to_owned())).to_vec();
    all.push(("search_path", scope.session.database.clone()));
    all.push(("session_authorization", scope.session.user.clone()));
    all.push(("system_time_zone", "UTC".to_owned()));
    all.push(("time_zone", scope.session.time_zone.clone()));
    all.push(("timezone", scope.session.time_zone.clone()));
    all.push(("version", format!("8.4.2-varve-{}", env!("CARGO_PKG_VERSION"))));
    all.sort_unstable();
    let Some(wanted) = name else {
        let mut sheet = Sheet::new(&["Variable_name", "Value"]);
        for (name, value) in all {
            sheet.push(vec![text(name), text(value)]);
        }
        return Ok(sheet);
    };
    let (name, value) = all.into_iter().find(|(name, _)| *name == wanted).ok_or_else(|| {
        Error::unsupported(format!("unrecognized configuration parameter \"{wanted}\""))
            .with_reason(Reason::Unsupported)
    })?;
    let mut sheet = Sheet::new(&[name]);
    sheet.push(vec![text(value)]);
    Ok(sheet)
}
