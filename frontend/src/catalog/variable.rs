//! Settings that clients ask for when they connect. They describe varve; none can be changed but the time zone.

use varve_model::limits::SQL_TEXT_BYTES_MAX;
use varve_protocol::session::{Session, Wire};

/// Name and value, as PostgreSQL and MySQL know them.
const FIXED: &[(&str, &str)] = &[
    ("application_name", ""),
    ("auto_increment_increment", "1"),
    ("auto_increment_offset", "1"),
    ("autocommit", "ON"),
    ("character_set_client", "utf8mb4"),
    ("character_set_connection", "utf8mb4"),
    ("character_set_database", "utf8mb4"),
    ("character_set_results", "utf8mb4"),
    ("character_set_server", "utf8mb4"),
    ("character_set_system", "utf8mb4"),
    ("client_encoding", "UTF8"),
    ("collation_connection", "utf8mb4_bin"),
    ("collation_database", "utf8mb4_bin"),
    ("collation_server", "utf8mb4_bin"),
    ("datestyle", "ISO, MDY"),
    ("default_storage_engine", "mito"),
    ("default_transaction_isolation", "read committed"),
    ("default_transaction_read_only", "off"),
    ("extra_float_digits", "1"),
    ("foreign_key_checks", "ON"),
    ("have_openssl", "DISABLED"),
    ("have_ssl", "DISABLED"),
    ("init_connect", ""),
    ("integer_datetimes", "on"),
    ("interactive_timeout", "28800"),
    ("intervalstyle", "postgres"),
    ("is_superuser", "on"),
    ("last_insert_id", "0"),
    ("license", "Apache-2.0"),
    ("log_bin", "OFF"),
    ("lower_case_table_names", "0"),
    ("max_connections", "1000"),
    ("max_execution_time", "60000"),
    ("max_identifier_length", "256"),
    ("net_buffer_length", "16384"),
    ("net_read_timeout", "30"),
    ("net_write_timeout", "60"),
    ("performance_schema", "OFF"),
    ("protocol_version", "10"),
    ("query_cache_size", "0"),
    ("query_cache_type", "OFF"),
    ("read_only", "OFF"),
    ("server_encoding", "UTF8"),
    ("server_version", "15.0"),
    ("server_version_num", "150000"),
    ("sql_auto_is_null", "OFF"),
    ("sql_mode", "ANSI_QUOTES,PIPES_AS_CONCAT"),
    ("sql_notes", "ON"),
    ("sql_quote_show_create", "ON"),
    ("sql_safe_updates", "OFF"),
    ("sql_select_limit", "18446744073709551615"),
    ("standard_conforming_strings", "on"),
    ("super_read_only", "OFF"),
    ("system_time_zone", "UTC"),
    ("transaction_read_only", "OFF"),
    ("tx_read_only", "OFF"),
    ("unique_checks", "ON"),
    ("version_comment", "varve"),
    ("version_compile_machine", std::env::consts::ARCH),
    ("version_compile_os", std::env::consts::OS),
    ("wait_timeout", "28800"),
];

/// All settings in the order of their names.
pub(crate) fn all(session: &Session) -> Vec<(&'static str, String)> {
    let isolation = if session.wire == Wire::Mysql { "READ-COMMITTED" } else { "read committed" };
    let mut all = FIXED.iter().map(|(name, value)| (*name, (*value).to_owned())).collect::<Vec<_>>();
    all.extend([
        // Drivers pack statements up to it, so it is the limit of a statement and not the wire's wider one.
        ("max_allowed_packet", SQL_TEXT_BYTES_MAX.to_string()),
        ("pseudo_thread_id", session.connection.to_string()),
        ("search_path", session.database.clone()),
        ("session_authorization", session.user.clone()),
        ("time_zone", session.time_zone.clone()),
        ("timezone", session.time_zone.clone()),
        ("transaction_isolation", isolation.to_owned()),
        ("tx_isolation", isolation.to_owned()),
        ("version", format!("8.4.2-varve-{}", env!("CARGO_PKG_VERSION"))),
    ]);
    all.sort_unstable();
    all
}

/// One setting by its name in lower case.
pub(crate) fn find(session: &Session, name: &str) -> Option<String> {
    all(session).into_iter().find(|(known, _)| *known == name).map(|(_, value)| value)
}
