//! Tables that have no row in varve: there are no views, triggers, events, routines, foreign keys, plugins or grants.
//!
//! MySQL's tools ask for them all; the columns are MySQL's. `procedure_info` is
//! GreptimeDB's: its metasrv records each DDL, varve's carries it out within the
//! statement and keeps no record.

use super::super::system::Kind::{Int, Text, Time};
use super::super::system::{Sheet, Viewer, empties};
use crate::cluster::View;

empties! {
    check_constraints: "constraint_catalog" Text, "constraint_schema" Text, "constraint_name" Text,
        "check_clause" Text;
    column_privileges: "grantee" Text, "table_catalog" Text, "table_schema" Text, "table_name" Text,
        "column_name" Text, "privilege_type" Text, "is_grantable" Text;
    events: "event_catalog" Text, "event_schema" Text, "event_name" Text, "definer" Text, "time_zone" Text,
        "event_body" Text, "event_definition" Text, "event_type" Text, "execute_at" Time, "interval_value" Text,
        "interval_field" Text, "sql_mode" Text, "starts" Time, "ends" Time, "status" Text, "on_completion" Text,
        "created" Time, "last_altered" Time, "last_executed" Time, "event_comment" Text, "originator" Int,
        "character_set_client" Text, "collation_connection" Text, "database_collation" Text;
    parameters: "specific_catalog" Text, "specific_schema" Text, "specific_name" Text, "ordinal_position" Int,
        "parameter_mode" Text, "parameter_name" Text, "data_type" Text, "character_maximum_length" Int,
        "character_octet_length" Int, "numeric_precision" Int, "numeric_scale" Int, "datetime_precision" Int,
        "character_set_name" Text, "collation_name" Text, "dtd_identifier" Text, "routine_type" Text;
    plugins: "plugin_name" Text, "plugin_version" Text, "plugin_status" Text, "plugin_type" Text,
        "plugin_type_version" Text, "plugin_library" Text, "plugin_library_version" Text, "plugin_author" Text,
        "plugin_description" Text, "plugin_license" Text, "load_option" Text;
    procedures: "procedure_id" Text, "procedure_type" Text, "start_time" Time, "end_time" Time, "status" Text,
        "lock_keys" Text;
    referential_constraints: "constraint_catalog" Text, "constraint_schema" Text, "constraint_name" Text,
        "unique_constraint_catalog" Text, "unique_constraint_schema" Text, "unique_constraint_name" Text,
        "match_option" Text, "update_rule" Text, "delete_rule" Text, "table_name" Text,
        "referenced_table_name" Text;
    routines: "specific_name" Text, "routine_catalog" Text, "routine_schema" Text, "routine_name" Text,
        "routine_type" Text, "data_type" Text, "character_maximum_length" Int, "character_octet_length" Int,
        "numeric_precision" Int, "numeric_scale" Int, "datetime_precision" Int, "character_set_name" Text,
        "collation_name" Text, "dtd_identifier" Text, "routine_body" Text, "routine_definition" Text,
        "external_name" Text, "external_language" Text, "parameter_style" Text, "is_deterministic" Text,
        "sql_data_access" Text, "sql_path" Text, "security_type" Text, "created" Time, "last_altered" Time,
        "sql_mode" Text, "routine_comment" Text, "definer" Text, "character_set_client" Text,
        "collation_connection" Text, "database_collation" Text;
    schema_privileges: "grantee" Text, "table_catalog" Text, "table_schema" Text, "privilege_type" Text,
        "is_grantable" Text;
    status: "variable_name" Text, "variable_value" Text;
    table_privileges: "grantee" Text, "table_catalog" Text, "table_schema" Text, "table_name" Text,
        "privilege_type" Text, "is_grantable" Text;
    triggers: "trigger_catalog" Text, "trigger_schema" Text, "trigger_name" Text, "event_manipulation" Text,
        "event_object_catalog" Text, "event_object_schema" Text, "event_object_table" Text, "action_order" Int,
        "action_condition" Text, "action_statement" Text, "action_orientation" Text, "action_timing" Text,
        "action_reference_old_table" Text, "action_reference_new_table" Text, "action_reference_old_row" Text,
        "action_reference_new_row" Text, "created" Time, "sql_mode" Text, "definer" Text,
        "character_set_client" Text, "collation_connection" Text, "database_collation" Text;
    views: "table_catalog" Text, "table_schema" Text, "table_name" Text, "view_definition" Text,
        "check_option" Text, "is_updatable" Text, "definer" Text, "security_type" Text,
        "character_set_client" Text, "collation_connection" Text;
}
