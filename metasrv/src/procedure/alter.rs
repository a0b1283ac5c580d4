//! ALTER TABLE: record the next table, bring it to every region, then publish it.
//!
//! Regions learn first, so that no frontend writes a column that a region does
//! not know. The next table lies in the table's own record: a region that is
//! opened in between is opened with it.

use varve_model::id::TableId;
use varve_model::schema::NewColumn;
use varve_model::table::{TableInfo, TableOptions, Ttl};
use varve_model::{Error, ErrorKind, Reason, Result, name};
use varve_proto::metasrv::{Grant, OrderKind, Outcome, TableChange, TableName};

use super::create::check_defaults;
use super::{Executor, Progress, contended};
use crate::kv::key::{DatabaseKey, ProcedureKey, TableKey, TableNameKey, TableNameRecord, TableRecord, Work};
use crate::kv::{Change, Revision, Versioned};

impl Executor {
    /// The table of this name. Errors: `NotFound`.
    pub(super) async fn table(&self, name: &TableName) -> Result<Versioned<TableRecord>> {
        let missing = || Error::not_found(format!("table '{}' not found", name.table)).with_reason(Reason::Table);
        let database = self.database(&name.database).await?.record.info.id;
        let key = TableNameKey(database, name.table.clone());
        let id = self.records.get(&key).await?.ok_or_else(missing)?.record.id;
        self.records.get(&TableKey(id)).await?.filter(|found| !found.record.dropping).ok_or_else(missing)
    }

    pub(super) async fn alter_table(
        &self,
        table: &TableName,
        change: TableChange,
        request_id: String,
        progress: &Progress,
    ) -> Result<Outcome> {
        let id = self.table(table).await?.record.info.id;
        progress.set(format!("another change of table '{}' goes first", table.table));
        let _guard = self.locks.table(id).await;
        let mut found = self.table(table).await?;
        if found.record.info.id != id {
            return Err(contended());
        }
        let Some(next) = next_table(&found.record.info, change)? else {
            let routes = self.routes.get(id).await?;
            return Ok(Outcome { revision: found.revision.max(routes.revision), changed: false });
        };
        let (key, record) = self.begin(Work::AlterTable { table: id }, request_id);
        let mut txn = Change::default();
        txn.expect(&TableKey(id), found.revision);
        if next.name != found.record.info.name {
            let name = TableNameKey(next.database, next.name.clone());
            if self.records.get(&name).await?.is_some() {
                return Err(Error::new(ErrorKind::AlreadyExists, format!("table '{}' already exists", next.name))
                    .with_reason(Reason::Table));
            }
            txn.expect(&name, 0);
            txn.put(&name, &TableNameRecord { id })?;
        }
        found.record.next = Some(next);
        txn.put(&TableKey(id), &found.record)?;
        txn.put(&key, &record)?;
        self.records.commit(txn).await?.ok_or_else(contended)?;
        let revision = self.finish_alter(id, key, progress).await?;
        Ok(Outcome { revision, changed: true })
    }

    /// Brings `next` to the regions and publishes it. The caller holds the table's lock.
    pub(super) async fn finish_alter(&self, id: TableId, key: ProcedureKey, progress: &Progress) -> Result<Revision> {
        self.bring_to_regions(id, progress).await?;
        let mut txn = Change::default();
        txn.delete(&key);
        if let Some(found) = self.records.get(&TableKey(id)).await? {
            let mut record = found.record;
            if let Some(next) = record.next.take() {
                if next.name != record.info.name {
                    txn.delete(&TableNameKey(next.database, record.info.name.clone()));
                }
                record.info = next;
                txn.expect(&TableKey(id), found.revision);
                txn.put(&TableKey(id), &record)?;
            }
        }
        self.records.commit(txn).await?.ok_or_else(contended)
    }

    /// Orders every region to serve the table as its record has it.
    pub(super) async fn bring_to_regions(&self, id: TableId, progress: &Progress) -> Result<()> {
        let Some((table, ttl)) = self.table_and_ttl(id).await? else { return Ok(()) };
        let table = std::sync::Arc::new(table);
        self.until_done(id, progress, |route| {
            let grant = Grant { region: route.region, epoch: route.epoch, table: table.clone(), ttl };
            OrderKind::Alter(grant)
        })
        .await
    }

    /// What regions of a table are opened with; `None` when it is gone.
    pub(super) async fn table_and_ttl(&self, id: TableId) -> Result<Option<(TableInfo, Ttl)>> {
        let Some(found) = self.records.get(&TableKey(id)).await? else { return Ok(None) };
        let info = found.record.newest().clone();
        let database = self.records.get(&DatabaseKey(info.database)).await?;
        let inherited = database.and_then(|found| found.record.info.ttl);
        let ttl = info.options.ttl.or(inherited).unwrap_or(Ttl::Forever);
        Ok(Some((info, ttl)))
    }
}

/// The table after a change; `None` when it is so already.
fn next_table(table: &TableInfo, change: TableChange) -> Result<Option<TableInfo>> {
    let mut next = table.clone();
    match change {
        TableChange::AddColumns(columns) => next.schema = table.schema.add_columns(checked(columns)?)?,
        TableChange::Widen(columns) => next.schema = table.schema.widen(checked(columns)?)?,
        TableChange::DropColumn(name) => next.schema = table.schema.drop_column(&name)?,
        TableChange::Rename(name) => {
            name::check_table(&name)?;
            next.name = name;
        }
        TableChange::SetOptions(options) => {
            check_options(&table.options, &options)?;
            next.options = options;
        }
    }
    Ok((next != *table).then_some(next))
}

fn checked(columns: Vec<NewColumn>) -> Result<Vec<NewColumn>> {
    check_defaults(&columns)?;
    Ok(columns)
}

/// Rows that were merged cannot be unmerged, and rows that were kept apart have no common newest.
fn check_options(old: &TableOptions, new: &TableOptions) -> Result<()> {
    if old.merge_mode == new.merge_mode {
        return Ok(());
    }
    Err(Error::unsupported("the merge mode of a table cannot be changed")
        .with_hint("create another table and copy the rows"))
}
