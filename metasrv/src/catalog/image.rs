//! The catalog as of a revision, made from records alone. Pure.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use varve_model::Result;
use varve_model::id::{DatabaseId, NodeEpoch, NodeId, TableId};
use varve_model::region::{Route, RouteState};
use varve_model::table::{DatabaseInfo, TableInfo};
use varve_proto::metasrv::{Catalog, Change, News};

use crate::kv::key::{self, DatabaseKey, ProcedureKey, RouteKey, SessionKey, SessionRecord, SessionState, TableKey};
use crate::kv::{Changes, Revision};

/// Databases, tables with routes, nodes.
#[derive(Clone, Debug, Default)]
pub(crate) struct Image {
    /// The last revision that brought news: frontends reach exactly this one.
    revision: Revision,
    /// The last revision applied, with news or without.
    applied: Revision,
    databases: BTreeMap<DatabaseId, Arc<DatabaseInfo>>,
    tables: BTreeMap<TableId, Arc<TableInfo>>,
    routes: BTreeMap<TableId, Arc<[Route]>>,
    nodes: BTreeMap<NodeId, (NodeEpoch, String)>,
    /// All sessions there are records of; frontends do not see them.
    sessions: BTreeMap<NodeEpoch, SessionRecord>,
    procedures: BTreeSet<ProcedureKey>,
}

/// How far the regions of a table have come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Openness {
    /// No such table.
    Absent,
    /// Some are not open yet.
    Opening,
    /// All are open.
    Open,
    /// None is opening, and some are damaged.
    Corrupt,
}

impl Image {
    /// The last revision that brought news.
    pub(crate) fn revision(&self) -> Revision {
        self.revision
    }

    /// The last revision applied, with news or without.
    pub(crate) fn applied(&self) -> Revision {
        self.applied
    }

    /// How far the regions of a table have come.
    pub(crate) fn openness(&self, table: TableId) -> Openness {
        let Some(routes) = self.tables.get(&table).and_then(|_| self.routes.get(&table)) else {
            return Openness::Absent;
        };
        if routes.iter().any(|route| route.state == RouteState::Opening) {
            Openness::Opening
        } else if routes.iter().any(|route| route.state == RouteState::Corrupt) {
            Openness::Corrupt
        } else {
            Openness::Open
        }
    }

    /// Number of regions by owner.
    pub(crate) fn load(&self) -> BTreeMap<NodeEpoch, usize> {
        let mut load = BTreeMap::new();
        for route in self.routes.values().flat_map(|routes| routes.iter()) {
            *load.entry(route.owner).or_default() += 1;
        }
        load
    }

    /// Tables with a route of this kind.
    pub(crate) fn tables_with(&self, which: impl Fn(&Route) -> bool) -> Vec<TableId> {
        self.routes.iter().filter(|(_, routes)| routes.iter().any(&which)).map(|(table, _)| *table).collect()
    }

    /// Sessions there are records of.
    pub(crate) fn sessions(&self) -> BTreeMap<NodeEpoch, SessionRecord> {
        self.sessions.clone()
    }

    /// Procedures that are not at their end.
    pub(crate) fn procedures(&self) -> Vec<ProcedureKey> {
        self.procedures.iter().copied().collect()
    }

    /// All of it.
    pub(crate) fn catalog(&self) -> Catalog {
        let tables = self.tables.iter().filter_map(|(id, info)| {
            let routes = self.routes.get(id)?;
            Some((Arc::clone(info), Arc::clone(routes)))
        });
        Catalog {
            databases: self.databases.values().cloned().collect(),
            tables: tables.collect(),
            nodes: self.nodes.iter().map(|(node, (_, address))| (*node, address.clone())).collect(),
        }
    }

    /// Applies one transaction; returns its news. Errors: `Corrupt`.
    ///
    /// Several news of one transaction: only the last carries its revision, so that whoever waits
    /// for a revision sees the whole transaction.
    pub(crate) fn apply(&mut self, changes: &Changes) -> Result<Vec<News>> {
        let mut news = Vec::new();
        let mut touched = BTreeSet::new();
        for (text, value) in &changes.events {
            let value = value.as_deref();
            if let Some(key) = key::parse::<DatabaseKey>(text)? {
                news.extend(self.database(key, value)?);
            } else if let Some(key) = key::parse::<TableKey>(text)? {
                news.extend(self.table(key, value)?);
                touched.insert(key.0);
            } else if let Some(key) = key::parse::<RouteKey>(text)? {
                match value {
                    Some(value) => {
                        self.routes.insert(key.table, key::decode(&key, value)?.routes.into());
                        touched.insert(key.table);
                    }
                    None => drop(self.routes.remove(&key.table)),
                }
            } else if let Some(key) = key::parse::<SessionKey>(text)? {
                news.extend(self.session(key, value)?);
            } else if let Some(key) = key::parse::<ProcedureKey>(text)? {
                match value {
                    Some(_) => drop(self.procedures.insert(key)),
                    None => drop(self.procedures.remove(&key)),
                }
            }
        }
        for id in touched {
            if let (Some(info), Some(routes)) = (self.tables.get(&id), self.routes.get(&id)) {
                news.push(Change::Table(Arc::clone(info), Arc::clone(routes)));
            }
        }
        self.applied = changes.revision;
        if !news.is_empty() {
            self.revision = changes.revision;
        }
        let last = news.len().saturating_sub(1);
        let revision = |at| if at == last { changes.revision } else { changes.revision - 1 };
        Ok(news.into_iter().enumerate().map(|(at, change)| News { revision: revision(at), change }).collect())
    }

    fn database(&mut self, key: DatabaseKey, value: Option<&[u8]>) -> Result<Option<Change>> {
        let record = value.map(|value| key::decode(&key, value)).transpose()?;
        Ok(match record.filter(|record| !record.dropping) {
            Some(record) => {
                let info = Arc::new(record.info);
                self.databases.insert(key.0, Arc::clone(&info));
                Some(Change::Database(info))
            }
            None => self.databases.remove(&key.0).map(|_| Change::DatabaseDropped(key.0)),
        })
    }

    /// News of a table that lives come after the whole transaction, together with its routes.
    fn table(&mut self, key: TableKey, value: Option<&[u8]>) -> Result<Option<Change>> {
        let record = value.map(|value| key::decode(&key, value)).transpose()?;
        Ok(match record.filter(|record| !record.dropping) {
            Some(record) => {
                self.tables.insert(key.0, Arc::new(record.info));
                None
            }
            None => self.tables.remove(&key.0).map(|_| Change::TableDropped(key.0)),
        })
    }

    /// A node is where its newest session is.
    fn session(&mut self, key: SessionKey, value: Option<&[u8]>) -> Result<Option<Change>> {
        let Some(value) = value else {
            self.sessions.remove(&key.0);
            return Ok(None);
        };
        let record = key::decode(&key, value)?;
        self.sessions.insert(key.0, record.clone());
        let is_newest = self.nodes.get(&record.node).is_none_or(|(epoch, _)| *epoch <= key.0);
        if record.state != SessionState::Live || !is_newest {
            return Ok(None);
        }
        self.nodes.insert(record.node, (key.0, record.address.clone()));
        Ok(Some(Change::Node(record.node, record.address)))
    }
}
