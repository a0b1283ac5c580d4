//! SHOW PROCESSLIST in MySQL's columns: the statements of all frontends.

use super::{Conductor, Sheet, text};
use crate::process::NOBODY;

/// Characters of a statement's text without FULL.
const INFO_CHARS_MAX: usize = 100;

impl Conductor {
    pub(super) async fn show_processes(&self, full: bool) -> Sheet {
        let mut sheet = Sheet::new(&["Id", "User", "Host", "db", "Command", "Time", "State", "Info"]);
        for process in self.peers.list().await {
            let chars_max = if full { usize::MAX } else { INFO_CHARS_MAX };
            let info = process.query.chars().take(chars_max).collect::<String>();
            let (command, state) = if process.id == NOBODY { ("Unknown", "") } else { ("Query", "executing") };
            sheet.push(vec![
                text(process.id.to_string()),
                text(process.user),
                text(process.client),
                text(process.database),
                text(command),
                text(process.elapsed.as_secs().to_string()),
                text(state),
                text(info),
            ]);
        }
        sheet
    }
}
