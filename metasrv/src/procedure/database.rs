//! Databases: create, change the ttl, drop with all tables.

use varve_model::id::DatabaseId;
use varve_model::limits::REGIONS_MAX;
use varve_model::name::{self, DEFAULT_DATABASE};
use varve_model::table::{DatabaseInfo, TableInfo, Ttl};
use varve_model::{Error, ErrorKind, Reason, Result};
use varve_proto::metasrv::Outcome;

use super::{Executor, Progress, TRIES_MAX, contended};
use crate::kv::key::{
    CounterKey, CounterRecord, DatabaseKey, DatabaseNameKey, DatabaseNameRecord, DatabaseRecord, ProcedureKey,
    TableKey, Work,
};
use crate::kv::{Change, Versioned};

impl Executor {
    /// The database of this name. Errors: `NotFound`.
    pub(super) async fn database(&self, name: &str) -> Result<Versioned<DatabaseRecord>> {
        let missing = || Error::not_found(format!("database '{name}' not found")).with_reason(Reason::Database);
        let id = self.records.get(&DatabaseNameKey(name.to_owned())).await?.ok_or_else(missing)?.record.id;
        self.records.get(&DatabaseKey(id)).await?.filter(|found| !found.record.dropping).ok_or_else(missing)
    }

    /// The next number of a counter, to be put with the change that uses it.
    pub(super) async fn next(&self, counter: CounterKey, change: &mut Change) -> Result<u64> {
        let found = self.records.get(&counter).await?;
        let (revision, next) = found.map_or((0, 1), |found| (found.revision, found.record.next));
        change.expect(&counter, revision);
        change.put(&counter, &CounterRecord { next: next + 1 })?;
        Ok(next)
    }

    pub(super) async fn create_database(
        &self,
        name: String,
        ttl: Option<Ttl>,
        regions: u32,
        if_not_exists: bool,
    ) -> Result<Outcome> {
        name::check_database(&name)?;
        if regions == 0 || regions > REGIONS_MAX {
            return Err(Error::invalid(format!("regions must be 1 to {REGIONS_MAX}, not {regions}"))
                .with_reason(Reason::BadValue));
        }
        let name_key = DatabaseNameKey(name.clone());
        for _ in 0..TRIES_MAX {
            if let Some(found) = self.records.get(&name_key).await? {
                if if_not_exists {
                    return Ok(Outcome { revision: found.revision, changed: false });
                }
                return Err(Error::new(ErrorKind::AlreadyExists, format!("database '{name}' already exists"))
                    .with_reason(Reason::Database));
            }
            let mut change = Change::default();
            let id = u32::try_from(self.next(CounterKey::Database, &mut change).await?)
                .map(DatabaseId)
                .map_err(|_| Error::internal("database ids are used up"))?;
            let info = DatabaseInfo { id, name: name.clone(), ttl, regions };
            change.expect(&name_key, 0);
            change.put(&name_key, &DatabaseNameRecord { id })?;
            change.put(&DatabaseKey(id), &DatabaseRecord { info, dropping: false })?;
            if let Some(revision) = self.records.commit(change).await? {
                return Ok(Outcome { revision, changed: true });
            }
        }
        Err(contended())
    }

    /// The outcome of a drop that found nothing.
    pub(super) fn nothing_to_drop(&self) -> Outcome {
        Outcome { revision: self.feed.revision(), changed: false }
    }

    pub(super) async fn alter_database(
        &self,
        name: &str,
        ttl: Option<Ttl>,
        request_id: String,
        progress: &Progress,
    ) -> Result<Outcome> {
        let id = self.database(name).await?.record.info.id;
        let guard = self.locks.database(id).await;
        let mut found = self.database(name).await?;
        found.record.info.ttl = ttl;
        let (key, record) = self.begin(Work::AlterDatabase { database: id }, request_id);
        let mut change = Change::default();
        change.expect(&DatabaseKey(id), found.revision);
        change.put(&DatabaseKey(id), &found.record)?;
        change.put(&key, &record)?;
        let revision = self.records.commit(change).await?.ok_or_else(contended)?;
        self.finish_alter_database(id, key, progress).await?;
        drop(guard);
        Ok(Outcome { revision, changed: true })
    }

    /// Brings the ttl to the regions of tables that inherit it.
    pub(super) async fn finish_alter_database(
        &self,
        id: DatabaseId,
        key: ProcedureKey,
        progress: &Progress,
    ) -> Result<()> {
        for table in self.tables_of(id).await?.iter().filter(|table| table.options.ttl.is_none()) {
            let _guard = self.locks.table(table.id).await;
            self.bring_to_regions(table.id, progress).await?;
        }
        let mut change = Change::default();
        change.delete(&key);
        self.records.commit(change).await.map(drop)
    }

    /// Tables of a database, those being dropped too.
    async fn tables_of(&self, id: DatabaseId) -> Result<Vec<TableInfo>> {
        let tables = self.records.all::<TableKey>().await?.into_iter().map(|(_, found)| found.record.info);
        Ok(tables.filter(|info| info.database == id).collect())
    }

    pub(super) async fn drop_database(
        &self,
        name: &str,
        if_exists: bool,
        request_id: String,
        progress: &Progress,
    ) -> Result<Outcome> {
        if name == DEFAULT_DATABASE {
            return Err(Error::invalid(format!("database '{name}' cannot be dropped")).with_reason(Reason::Database));
        }
        let id = match self.database(name).await {
            Err(error) if error.kind() == ErrorKind::NotFound && if_exists => return Ok(self.nothing_to_drop()),
            found => found?.record.info.id,
        };
        let guard = self.locks.database(id).await;
        let mut found = self.database(name).await?;
        found.record.dropping = true;
        let (key, record) = self.begin(Work::DropDatabase { database: id }, request_id);
        let mut change = Change::default();
        change.expect(&DatabaseKey(id), found.revision);
        change.put(&DatabaseKey(id), &found.record)?;
        change.delete(&DatabaseNameKey(name.to_owned()));
        change.put(&key, &record)?;
        let revision = self.records.commit(change).await?.ok_or_else(contended)?;
        let (executor, shown) = (self.clone(), progress.clone());
        self.in_background("drop database", async move {
            let _guard = guard;
            executor.finish_drop_database(id, key, &shown).await
        })
        .await?;
        Ok(Outcome { revision, changed: true })
    }

    pub(super) async fn finish_drop_database(
        &self,
        id: DatabaseId,
        key: ProcedureKey,
        progress: &Progress,
    ) -> Result<()> {
        for table in self.tables_of(id).await? {
            let _guard = self.locks.table(table.id).await;
            self.hide_table(table.id).await?;
            self.finish_drop(table.id, None, progress).await?;
        }
        let mut change = Change::default();
        change.delete(&DatabaseKey(id));
        change.delete(&key);
        self.records.commit(change).await.map(drop)
    }
}
