//! Procedures and their outcome.

use varve_model::Result;

use super::{from_json, missing, to_json};
use crate::metasrv::{CreateTable, Outcome, Procedure, RegionAction, TableChange, TableName};
use crate::wire;
use crate::wire::procedure::Procedure as Wire;

const ACTIONS: [RegionAction; 3] = [RegionAction::Truncate, RegionAction::Flush, RegionAction::Compact];

/// Errors: `InvalidRequest`.
pub(crate) fn to_wire(from: Procedure) -> Result<wire::Procedure> {
    let procedure = match from {
        Procedure::CreateDatabase { name, ttl, regions, if_not_exists } => {
            let ttl_json = to_json("ttl", &ttl)?;
            Wire::CreateDatabase(wire::CreateDatabase { name, ttl_json, regions, if_not_exists })
        }
        Procedure::AlterDatabase { name, ttl } => {
            Wire::AlterDatabase(wire::AlterDatabase { name, ttl_json: to_json("ttl", &ttl)? })
        }
        Procedure::DropDatabase { name, if_exists } => Wire::DropDatabase(wire::DropDatabase { name, if_exists }),
        Procedure::CreateTable(create) => Wire::CreateTable(wire::CreateTable {
            table: Some(name_to_wire(create.table)),
            columns_json: to_json("columns", &create.columns)?,
            primary_key: create.primary_key,
            options_json: to_json("options", &create.options)?,
            regions: create.regions,
            if_not_exists: create.if_not_exists,
        }),
        Procedure::AlterTable { table, change } => {
            let change = Some(change_to_wire(change)?);
            Wire::AlterTable(wire::AlterTable { table: Some(name_to_wire(table)), change })
        }
        Procedure::DropTable { table, if_exists } => {
            Wire::DropTable(wire::DropTable { table: Some(name_to_wire(table)), if_exists })
        }
        Procedure::EachRegion { table, action } => Wire::EachRegion(wire::EachRegion {
            table: Some(name_to_wire(table)),
            action: ACTIONS.iter().position(|known| *known == action).unwrap_or(0) as u32,
        }),
    };
    Ok(wire::Procedure { procedure: Some(procedure) })
}

/// Errors: `InvalidRequest`.
pub(crate) fn from_wire(from: wire::Procedure) -> Result<Procedure> {
    Ok(match from.procedure.ok_or_else(|| missing("a procedure"))? {
        Wire::CreateDatabase(from) => Procedure::CreateDatabase {
            name: from.name,
            ttl: from_json("ttl", &from.ttl_json)?,
            regions: from.regions,
            if_not_exists: from.if_not_exists,
        },
        Wire::AlterDatabase(from) => {
            Procedure::AlterDatabase { name: from.name, ttl: from_json("ttl", &from.ttl_json)? }
        }
        Wire::DropDatabase(from) => Procedure::DropDatabase { name: from.name, if_exists: from.if_exists },
        Wire::CreateTable(from) => Procedure::CreateTable(CreateTable {
            table: name_from_wire(from.table)?,
            columns: from_json("columns", &from.columns_json)?,
            primary_key: from.primary_key,
            options: from_json("options", &from.options_json)?,
            regions: from.regions,
            if_not_exists: from.if_not_exists,
        }),
        Wire::AlterTable(from) => Procedure::AlterTable {
            table: name_from_wire(from.table)?,
            change: change_from_wire(from.change.ok_or_else(|| missing("a change"))?)?,
        },
        Wire::DropTable(from) => Procedure::DropTable { table: name_from_wire(from.table)?, if_exists: from.if_exists },
        Wire::EachRegion(from) => Procedure::EachRegion {
            table: name_from_wire(from.table)?,
            action: *ACTIONS.get(from.action as usize).ok_or_else(|| missing("an action"))?,
        },
    })
}

fn change_to_wire(from: TableChange) -> Result<wire::alter_table::Change> {
    use wire::alter_table::Change;
    Ok(match from {
        TableChange::AddColumns(columns) => Change::AddColumnsJson(to_json("columns", &columns)?),
        TableChange::Widen(columns) => Change::WidenJson(to_json("columns", &columns)?),
        TableChange::DropColumn(name) => Change::DropColumn(name),
        TableChange::Rename(name) => Change::Rename(name),
        TableChange::SetOptions(options) => Change::SetOptionsJson(to_json("options", &options)?),
    })
}

fn change_from_wire(from: wire::alter_table::Change) -> Result<TableChange> {
    use wire::alter_table::Change;
    Ok(match from {
        Change::AddColumnsJson(columns) => TableChange::AddColumns(from_json("columns", &columns)?),
        Change::WidenJson(columns) => TableChange::Widen(from_json("columns", &columns)?),
        Change::DropColumn(name) => TableChange::DropColumn(name),
        Change::Rename(name) => TableChange::Rename(name),
        Change::SetOptionsJson(options) => TableChange::SetOptions(from_json("options", &options)?),
    })
}

fn name_to_wire(from: TableName) -> wire::TableName {
    wire::TableName { database: from.database, table: from.table }
}

fn name_from_wire(from: Option<wire::TableName>) -> Result<TableName> {
    let from = from.ok_or_else(|| missing("a table name"))?;
    Ok(TableName { database: from.database, table: from.table })
}

pub(crate) fn outcome_to_wire(from: &Outcome) -> wire::Outcome {
    wire::Outcome { revision: from.revision, changed: from.changed }
}

pub(crate) fn outcome_from_wire(from: &wire::Outcome) -> Outcome {
    Outcome { revision: from.revision, changed: from.changed }
}
