//! SHOW VARIABLES, and PostgreSQL's `SHOW name`.

use varve_model::{Error, Reason, Result};

use super::super::Scope;
use super::{Sheet, text};
use crate::catalog::variable;

/// All settings in the order of their names, or one as PostgreSQL's `SHOW name` answers it.
pub(super) fn show(scope: &Scope, name: Option<&str>) -> Result<Sheet> {
    let Some(wanted) = name else {
        let mut sheet = Sheet::new(&["Variable_name", "Value"]);
        for (name, value) in variable::all(&scope.session) {
            sheet.push(vec![text(name), text(value)]);
        }
        return Ok(sheet);
    };
    let value = variable::find(&scope.session, wanted).ok_or_else(|| {
        Error::unsupported(format!("unrecognized configuration parameter \"{wanted}\""))
            .with_reason(Reason::Unsupported)
    })?;
    let mut sheet = Sheet::new(&[wanted]);
    sheet.push(vec![text(value)]);
    Ok(sheet)
}
