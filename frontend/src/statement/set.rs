//! SET and USE: changes of the connection's session, which the wire keeps.

use varve_model::Result;
use varve_model::name::SYSTEM_DATABASES;
use varve_protocol::output::{Output, SessionChange};

use super::Conductor;
use crate::language::sql::Setting;

impl Conductor {
    pub(super) fn use_database(&self, database: String, verb: &'static str) -> Result<Output> {
        if !SYSTEM_DATABASES.contains(&database.as_str()) {
            self.feed.view().database(&database)?;
        }
        Ok(Output::Set { verb, change: SessionChange::Database(database) })
    }

    pub(super) fn set(&self, setting: Setting) -> Output {
        let change = match setting {
            Setting::TimeZone(zone) => SessionChange::TimeZone(zone),
            // A search path may name schemas that do not exist; only a known one is entered.
            Setting::Database(database) if self.feed.view().databases.contains_key(&database) => {
                SessionChange::Database(database)
            }
            Setting::Database(_) | Setting::Ignored => SessionChange::Ignored,
        };
        Output::Set { verb: "SET", change }
    }
}
