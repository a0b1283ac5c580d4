//! CREATE TABLE: one transaction makes table, name and routes; then every region is opened.
//!
//! No procedure record is needed: a route that is `opening` says all that is
//! left to do, and is acted on after every start.

use varve_model::id::{Incarnation, RegionEpoch, TableId};
use varve_model::name;
use varve_model::partition::Partition;
use varve_model::region::{Route, RouteState};
use varve_model::schema::{ColumnDefault, NewColumn, Schema};
use varve_model::table::{DatabaseInfo, TableInfo};
use varve_model::value::Value;
use varve_model::{Error, ErrorKind, Reason, Result};
use varve_proto::metasrv::{CreateTable, Outcome};

use super::{Executor, Progress, TRIES_MAX, contended};
use crate::catalog::Openness;
use crate::kv::key::{
    CounterKey, DatabaseKey, RouteKey, RouteRecord, TableKey, TableNameKey, TableNameRecord, TableRecord,
};
use crate::kv::{Change, Revision, Versioned};
use crate::placement::{Candidate, place};

impl Executor {
    pub(super) async fn create_table(&self, request: CreateTable, progress: &Progress) -> Result<Outcome> {
        name::check_table(&request.table.table)?;
        check_defaults(&request.columns)?;
        let schema = Schema::create(request.columns.clone(), &request.primary_key)?;
        for _ in 0..TRIES_MAX {
            let database = self.database(&request.table.database).await?;
            let name = TableNameKey(database.record.info.id, request.table.table.clone());
            if let Some(found) = self.records.get(&name).await? {
                return self.table_exists(&request, found, progress).await;
            }
            let mut change = Change::default();
            // Fails when the database is dropped or changed meanwhile.
            change.expect(&DatabaseKey(database.record.info.id), database.revision);
            change.expect(&name, 0);
            let id = u32::try_from(self.next(CounterKey::Table, &mut change).await?)
                .map(TableId)
                .map_err(|_| Error::internal("table ids are used up"))?;
            let info = self.new_table(id, &request, &schema, &database.record.info)?;
            let routes = self.new_routes(&info)?;
            change.put(&name, &TableNameRecord { id })?;
            change.put(&TableKey(id), &TableRecord { info, next: None, dropping: false })?;
            change.put(&RouteKey::new(id), &RouteRecord { routes })?;
            if let Some(made) = self.records.commit(change).await? {
                self.start_opening(id);
                let revision = self.opened(id, made, progress).await?;
                return Ok(Outcome { revision, changed: true });
            }
        }
        Err(contended())
    }

    async fn table_exists(
        &self,
        request: &CreateTable,
        found: Versioned<TableNameRecord>,
        progress: &Progress,
    ) -> Result<Outcome> {
        if !request.if_not_exists {
            let text = format!("table '{}' already exists", request.table.table);
            return Err(Error::new(ErrorKind::AlreadyExists, text).with_reason(Reason::Table));
        }
        let revision = self.opened(found.record.id, found.revision, progress).await?;
        Ok(Outcome { revision, changed: false })
    }

    fn new_table(
        &self,
        id: TableId,
        request: &CreateTable,
        schema: &Schema,
        database: &DatabaseInfo,
    ) -> Result<TableInfo> {
        Ok(TableInfo {
            id,
            database: database.id,
            name: request.table.table.clone(),
            incarnation: Incarnation(self.clock.random()),
            schema: schema.clone(),
            options: request.options.clone(),
            partition: Partition::even(request.regions.unwrap_or(database.regions))?,
            created_ms: self.now_ms(),
            requires: Vec::new(),
        })
    }

    /// Grants every region to a session. Errors: `Unavailable` without any.
    fn new_routes(&self, info: &TableInfo) -> Result<Vec<Route>> {
        let load = self.feed.read(|image| image.load());
        let alive = self.registry.placeable(self.clock.boot()).into_iter();
        let candidates = alive.map(|member| Candidate::new(member.session, member.node, &load)).collect::<Vec<_>>();
        let owners = place(info.partition.ranges.len(), &candidates);
        if owners.is_empty() {
            return Err(Error::unavailable("no datanode is connected to metasrv"));
        }
        let grant = |(region, owner): (_, Candidate)| Route {
            region,
            epoch: RegionEpoch(1),
            owner: owner.session,
            node: owner.node,
            state: RouteState::Opening,
        };
        Ok(info.regions().zip(owners).map(grant).collect())
    }

    /// Waits until no region of a table that was there at revision `since` is opening; a revision
    /// that shows it.
    /// Errors: `Corrupt`, `NotFound` when it is dropped meanwhile.
    pub(super) async fn opened(&self, id: TableId, since: Revision, progress: &Progress) -> Result<Revision> {
        let openness = self.feed.wait(|image| match image.openness(id) {
            Openness::Absent if image.applied() < since => None,
            Openness::Opening => {
                progress.set(format!("table {id} has regions that did not report open yet"));
                None
            }
            openness => Some((openness, image.revision())),
        });
        match openness.await {
            (Openness::Absent, _) => {
                Err(Error::not_found("the table was dropped meanwhile").with_reason(Reason::Table))
            }
            (Openness::Corrupt, _) => Err(Error::corrupt(format!("a region of table {id} is damaged"))),
            (_, revision) => Ok(revision),
        }
    }
}

/// A default must survive its JSON record. Errors: `InvalidRequest`.
pub(super) fn check_defaults(columns: &[NewColumn]) -> Result<()> {
    for column in columns {
        if let Some(ColumnDefault::Value(Value::F64(value))) = &column.default
            && !value.is_finite()
        {
            let text = format!("column '{}': the default must be a finite number", column.name);
            return Err(Error::unsupported(text));
        }
    }
    Ok(())
}
