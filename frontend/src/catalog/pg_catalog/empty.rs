//! Relations that have no row in varve: there are no indexes, constraints, triggers or procedures.

use super::super::system::Kind::{Bool, Int, Text, Texts};
use super::super::system::{Sheet, Viewer, empties};
use crate::cluster::View;

/// Every relation that is always empty. Some have no columns here: a query that
/// joins one of them has no row, whatever else it asks for (see `adapt`).
pub(super) const NAMES: &[&str] = &[
    "pg_auth_members",
    "pg_collation",
    "pg_constraint",
    "pg_depend",
    "pg_enum",
    "pg_event_trigger",
    "pg_extension",
    "pg_foreign_data_wrapper",
    "pg_foreign_server",
    "pg_foreign_table",
    "pg_index",
    "pg_indexes",
    "pg_inherits",
    "pg_language",
    "pg_matviews",
    "pg_opclass",
    "pg_operator",
    "pg_partitioned_table",
    "pg_policy",
    "pg_proc",
    "pg_publication",
    "pg_publication_namespace",
    "pg_publication_rel",
    "pg_range",
    "pg_rewrite",
    "pg_seclabel",
    "pg_sequence",
    "pg_sequences",
    "pg_shdescription",
    "pg_statistic_ext",
    "pg_stat_user_tables",
    "pg_subscription",
    "pg_tablespace",
    "pg_trigger",
    "pg_views",
];

empties! {
    collations: "oid" Int, "collname" Text, "collnamespace" Int, "collprovider" Text, "collencoding" Int;
    constraints: "oid" Int, "conname" Text, "connamespace" Int, "contype" Text, "condeferrable" Bool,
        "condeferred" Bool, "convalidated" Bool, "conrelid" Int, "contypid" Int, "conindid" Int, "conparentid" Int,
        "confrelid" Int, "confupdtype" Text, "confdeltype" Text, "confmatchtype" Text, "conkey" Texts,
        "confkey" Texts, "conbin" Text;
    depends: "classid" Int, "objid" Int, "objsubid" Int, "refclassid" Int, "refobjid" Int, "refobjsubid" Int,
        "deptype" Text;
    enums: "oid" Int, "enumtypid" Int, "enumsortorder" Int, "enumlabel" Text;
    extensions: "oid" Int, "extname" Text, "extowner" Int, "extnamespace" Int, "extversion" Text;
    indexes: "indexrelid" Int, "indrelid" Int, "indnatts" Int, "indnkeyatts" Int, "indisunique" Bool,
        "indisprimary" Bool, "indisexclusion" Bool, "indimmediate" Bool, "indisclustered" Bool, "indisvalid" Bool,
        "indisready" Bool, "indislive" Bool, "indisreplident" Bool, "indkey" Texts, "indoption" Texts,
        "indexprs" Text, "indpred" Text;
    index_texts: "schemaname" Text, "tablename" Text, "indexname" Text, "tablespace" Text, "indexdef" Text;
    inherits: "inhrelid" Int, "inhparent" Int, "inhseqno" Int, "inhdetachpending" Bool;
    procedures: "oid" Int, "proname" Text, "pronamespace" Int, "proowner" Int, "prokind" Text, "prorettype" Int,
        "proargtypes" Texts;
    ranges: "rngtypid" Int, "rngsubtype" Int, "rngmultitypid" Int, "rngcollation" Int;
    tablespaces: "oid" Int, "spcname" Text, "spcowner" Int;
    triggers: "oid" Int, "tgrelid" Int, "tgname" Text, "tgenabled" Text, "tgisinternal" Bool;
    views: "schemaname" Text, "viewname" Text, "viewowner" Text, "definition" Text, "matviewname" Text;
}
