//! Every bound with its reason. A bound is a constant here or a documented setting, never a literal.

use std::time::Duration;

/// Bytes of a database or table name (LinDB's limit, the widest of the five systems).
pub const TABLE_NAME_BYTES_MAX: usize = 256;
/// Bytes of a tag or field name.
pub const COLUMN_NAME_BYTES_MAX: usize = 128;
/// Bytes of a tag value: long values belong into string fields.
pub const TAG_VALUE_BYTES_MAX: usize = 1024;
/// Tags of a table: every tag is a column of every file.
pub const TAGS_MAX: usize = 128;
/// Columns of a table: a file keeps a writer buffer per column.
pub const COLUMNS_MAX: usize = 1000;
/// Bytes of one line of line protocol.
pub const LINE_BYTES_MAX: usize = 256 << 10;
/// Bytes of a measurement with its tags; InfluxDB's own limit.
pub const SERIES_KEY_BYTES_MAX: usize = 65_535;
/// Bytes of a request body as sent.
pub const BODY_BYTES_MAX: usize = 32 << 20;
/// Bytes of a request body after inflation.
pub const BODY_INFLATED_BYTES_MAX: usize = 128 << 20;
/// Inflation ratio above which a body is a bomb, applied beyond the first MiB.
pub const BODY_INFLATE_RATIO_MAX: usize = 100;
/// Rows of one internal write; larger bodies are split.
pub const WRITE_ROWS_MAX: usize = 50_000;
/// Bytes of an SQL text.
pub const SQL_TEXT_BYTES_MAX: usize = 1 << 20;
/// Regions of one table: one route record must fit an etcd value.
pub const REGIONS_MAX: u32 = 1000;
/// How far ahead of the wall clock a row may lie (a wrong unit shows up here).
pub const FUTURE_MAX: Duration = Duration::from_hours(24);
/// Default wall time of a query.
pub const QUERY_TIMEOUT: Duration = Duration::from_mins(1);
/// How long a write waits for durability before its outcome is unknown.
pub const WAL_ACK_TIMEOUT: Duration = Duration::from_secs(10);
/// Tokens a region remembers; 16 bytes each.
pub const TOKENS_MAX: usize = 1_000_000;
/// How long a token is remembered.
pub const TOKEN_WINDOW: Duration = Duration::from_mins(15);
/// How long an HTTP connection may take for a request's head, idle time included: hyper runs one timer for both,
/// and agents that flush once a minute keep their connection.
pub const HTTP_IDLE_TIMEOUT: Duration = Duration::from_mins(2);
/// How long a request's body may stand still.
pub const BODY_IDLE_TIMEOUT: Duration = Duration::from_secs(30);
/// Connections of one HTTP listener.
pub const HTTP_CONNECTIONS_MAX: usize = 4096;
/// Connections of the PostgreSQL listener.
pub const POSTGRES_CONNECTIONS_MAX: usize = 1000;
/// Connections of the MySQL listener.
pub const MYSQL_CONNECTIONS_MAX: usize = 1000;
/// How long a client may take to log in.
pub const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(5);
/// Longest wall time a client may ask for.
pub const QUERY_TIMEOUT_MAX: Duration = Duration::from_mins(10);
/// Bytes of plans that a frontend keeps for queries that come again: some thousand.
pub const PLAN_CACHE_BYTES_MAX: u64 = 16 << 20;
/// Bytes of an HTTP answer held back so that a late error can still become a status; longer answers stream.
pub const ANSWER_HELD_BYTES_MAX: usize = 8 << 20;
