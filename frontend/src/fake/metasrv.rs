//! Catalog and routes in a mutex.

use std::collections::BTreeMap;
use std::sync::Arc;

use async_trait::async_trait;
use futures::{StreamExt, stream};
use parking_lot::Mutex;
use tokio::sync::broadcast;
use varve_model::id::{DatabaseId, FrontendId, Incarnation, NodeEpoch, NodeId, RegionEpoch, RegionId, TableId};
use varve_model::partition::Partition;
use varve_model::region::{Route, RouteState};
use varve_model::schema::Schema;
use varve_model::table::{DatabaseInfo, TableInfo};
use varve_model::{Error, ErrorKind, Reason, Result};
use varve_proto::call::Call;
use varve_proto::metasrv::*;

/// The number of the only frontend.
pub(crate) const SEAT: FrontendId = FrontendId(17);

#[derive(Debug)]
pub(crate) struct FakeMetasrv {
    nodes: u64,
    state: Mutex<State>,
    news: broadcast::Sender<Arc<News>>,
}

#[derive(Debug, Default)]
struct State {
    revision: u64,
    next: u32,
    databases: BTreeMap<String, Arc<DatabaseInfo>>,
    tables: BTreeMap<TableId, (Arc<TableInfo>, Arc<[Route]>)>,
    actions: Vec<(RegionAction, TableId)>,
    /// What this frontend asked, what it answered, and what the others answer.
    asked: Vec<(FrontendId, Inquiry)>,
    answered: Vec<(u64, Answer)>,
    answers: Said,
}

/// What asking the other frontends comes to.
#[derive(Clone, Debug)]
pub(crate) enum Said {
    Answers(Answers),
    /// Metasrv is away.
    Nothing,
    /// The asker waits for ever.
    Never,
}

impl Default for Said {
    fn default() -> Self {
        Self::Answers(Answers::default())
    }
}

impl FakeMetasrv {
    pub(crate) fn new(nodes: u64) -> Self {
        let public = DatabaseInfo { id: DatabaseId(1), name: "public".into(), ttl: None, regions: 1 };
        let databases = BTreeMap::from([("public".to_owned(), Arc::new(public))]);
        let state = State { revision: 1, next: 1024, databases, ..State::default() };
        Self { nodes, state: Mutex::new(state), news: broadcast::Sender::new(1024) }
    }

    /// The epoch of a region, as its owner has it.
    pub(crate) fn route(&self, region: RegionId) -> Option<Route> {
        let state = self.state.lock();
        let (_, routes) = state.tables.get(&region.table())?;
        routes.iter().find(|route| route.region == region).cloned()
    }

    pub(crate) fn table(&self, id: TableId) -> Arc<TableInfo> {
        Arc::clone(&self.state.lock().tables[&id].0)
    }

    /// Moves every region of a table to the next node, under the next epoch; `tell` spreads the news.
    pub(crate) fn move_regions(&self, table: &str, tell: bool) {
        let mut state = self.state.lock();
        let (info, routes) = state.tables.values().find(|(info, _)| info.name == table).cloned().unwrap();
        let moved = routes.iter().map(|route| Route {
            epoch: RegionEpoch(route.epoch.0 + 1),
            node: NodeId(route.node.0 % self.nodes + 1),
            ..route.clone()
        });
        let routes: Arc<[Route]> = moved.collect();
        state.tables.insert(info.id, (Arc::clone(&info), Arc::clone(&routes)));
        if tell {
            self.tell(&mut state, Change::Table(info, routes));
        }
    }

    /// Tells again what a table is now.
    pub(crate) fn tell_table(&self, table: &str) {
        let mut state = self.state.lock();
        let (info, routes) = state.tables.values().find(|(info, _)| info.name == table).cloned().unwrap();
        self.tell(&mut state, Change::Table(info, routes));
    }

    pub(crate) fn actions(&self) -> Vec<RegionAction> {
        self.state.lock().actions.iter().map(|(action, _)| *action).collect()
    }

    /// What the other frontends answer from now on.
    pub(crate) fn answer_with(&self, answers: Said) {
        self.state.lock().answers = answers;
    }

    /// What this frontend has asked the others.
    pub(crate) fn asked(&self) -> Vec<(FrontendId, Inquiry)> {
        self.state.lock().asked.clone()
    }

    /// Asks as another frontend, and waits for the answer.
    pub(crate) async fn question(&self, inquiry: Inquiry) -> Answer {
        let id = {
            let mut state = self.state.lock();
            state.next += 1;
            u64::from(state.next)
        };
        let question = Question { id, inquiry: Arc::new(inquiry) };
        drop(self.news.send(Arc::new(News { revision: 0, change: Change::Asked(question) })));
        loop {
            if let Some((_, answer)) = self.state.lock().answered.iter().find(|(question, _)| *question == id) {
                return answer.clone();
            }
            tokio::task::yield_now().await;
        }
    }

    fn tell(&self, state: &mut State, change: Change) {
        state.revision += 1;
        drop(self.news.send(Arc::new(News { revision: state.revision, change })));
    }

    fn find(state: &State, name: &TableName) -> Result<Arc<TableInfo>> {
        let database = state.databases.get(&name.database).ok_or_else(|| missing("database", &name.database))?;
        let mut tables = state.tables.values().map(|(info, _)| info);
        let found = tables.find(|info| info.database == database.id && info.name == name.table);
        found.cloned().ok_or_else(|| missing("table", &name.table))
    }

    fn create_table(&self, state: &mut State, create: CreateTable) -> Result<bool> {
        match Self::find(state, &create.table) {
            Ok(_) if create.if_not_exists => return Ok(false),
            Ok(_) => {
                return Err(Error::new(ErrorKind::AlreadyExists, format!("table '{}' exists", create.table.table))
                    .with_reason(Reason::Table));
            }
            Err(error) if error.reason() == Reason::Database => return Err(error),
            Err(_) => {}
        }
        let database = Arc::clone(&state.databases[&create.table.database]);
        state.next += 1;
        let id = TableId(state.next);
        let partition = Partition::even(create.regions.unwrap_or(database.regions))?;
        let info = Arc::new(TableInfo {
            id,
            database: database.id,
            name: create.table.table,
            incarnation: Incarnation(u128::from(id.0)),
            schema: Schema::create(create.columns, &create.primary_key)?,
            options: create.options,
            partition,
            created_ms: 0,
            requires: Vec::new(),
        });
        let route = |(at, region)| Route {
            region,
            epoch: RegionEpoch(1),
            owner: NodeEpoch(1),
            node: NodeId(at as u64 % self.nodes + 1),
            state: RouteState::Open,
        };
        let routes: Arc<[Route]> = info.regions().enumerate().map(route).collect();
        state.tables.insert(id, (Arc::clone(&info), Arc::clone(&routes)));
        self.tell(state, Change::Table(info, routes));
        Ok(true)
    }

    fn alter(&self, state: &mut State, name: &TableName, change: TableChange) -> Result<bool> {
        let mut info = (*Self::find(state, name)?).clone();
        let routes = Arc::clone(&state.tables[&info.id].1);
        match change {
            TableChange::AddColumns(columns) => info.schema = info.schema.add_columns(columns)?,
            TableChange::Widen(columns) => info.schema = info.schema.widen(columns)?,
            TableChange::DropColumn(column) => info.schema = info.schema.drop_column(&column)?,
            TableChange::Rename(name) => info.name = name,
            TableChange::SetOptions(options) => info.options = options,
        }
        let info = Arc::new(info);
        state.tables.insert(info.id, (Arc::clone(&info), Arc::clone(&routes)));
        self.tell(state, Change::Table(info, routes));
        Ok(true)
    }

    fn apply(&self, state: &mut State, procedure: Procedure) -> Result<bool> {
        match procedure {
            Procedure::CreateDatabase { name, ttl, regions, if_not_exists } => {
                if state.databases.contains_key(&name) {
                    let exists = Error::new(ErrorKind::AlreadyExists, format!("database '{name}' exists"));
                    return if if_not_exists { Ok(false) } else { Err(exists.with_reason(Reason::Database)) };
                }
                state.next += 1;
                let info = Arc::new(DatabaseInfo { id: DatabaseId(state.next), name: name.clone(), ttl, regions });
                state.databases.insert(name, Arc::clone(&info));
                self.tell(state, Change::Database(info));
                Ok(true)
            }
            Procedure::AlterDatabase { name, ttl } => {
                let mut info = (**state.databases.get(&name).ok_or_else(|| missing("database", &name))?).clone();
                info.ttl = ttl;
                let info = Arc::new(info);
                state.databases.insert(name, Arc::clone(&info));
                self.tell(state, Change::Database(info));
                Ok(true)
            }
            Procedure::DropDatabase { name, if_exists } => match state.databases.remove(&name) {
                Some(info) => {
                    state.tables.retain(|_, (table, _)| table.database != info.id);
                    self.tell(state, Change::DatabaseDropped(info.id));
                    Ok(true)
                }
                None if if_exists => Ok(false),
                None => Err(missing("database", &name)),
            },
            Procedure::CreateTable(create) => self.create_table(state, create),
            Procedure::AlterTable { table, change } => self.alter(state, &table, change),
            Procedure::DropTable { table, if_exists } => match Self::find(state, &table) {
                Ok(info) => {
                    state.tables.remove(&info.id);
                    self.tell(state, Change::TableDropped(info.id));
                    Ok(true)
                }
                Err(_) if if_exists => Ok(false),
                Err(error) => Err(error),
            },
            Procedure::EachRegion { table, action } => {
                let id = Self::find(state, &table)?.id;
                state.actions.push((action, id));
                Ok(true)
            }
        }
    }
}

fn missing(what: &str, name: &str) -> Error {
    let reason = if what == "table" { Reason::Table } else { Reason::Database };
    Error::not_found(format!("{what} '{name}' not found")).with_reason(reason)
}

#[async_trait]
impl MetasrvApi for FakeMetasrv {
    async fn register(&self, _: &Call, _: Registration) -> Result<Session> {
        Err(Error::unsupported("the fake has no sessions"))
    }

    async fn heartbeat(&self, _: &Call, _: NodeEpoch, _: Messages<Beat>) -> Result<Messages<Result<BeatReply>>> {
        Err(Error::unsupported("the fake has no sessions"))
    }

    async fn watch(&self, _: &Call, watcher: Option<Watcher>) -> Result<Messages<Result<Arc<News>>>> {
        let state = self.state.lock();
        let catalog = Catalog {
            databases: state.databases.values().cloned().collect(),
            tables: state.tables.values().cloned().collect(),
            nodes: (1..=self.nodes).map(|id| (NodeId(id), String::new())).collect(),
        };
        let snapshot = Arc::new(News { revision: state.revision, change: Change::Snapshot(catalog) });
        let rest = stream::unfold(self.news.subscribe(), |mut news| async {
            news.recv().await.ok().map(|next| (Ok(next), news))
        });
        let seated = watcher.map(|_| Arc::new(News { revision: 0, change: Change::Seated(SEAT) }));
        Ok(Box::pin(stream::iter(seated.into_iter().chain([snapshot]).map(Ok)).chain(rest)))
    }

    async fn execute(&self, _: &Call, procedure: Procedure) -> Result<Outcome> {
        let mut state = self.state.lock();
        let changed = self.apply(&mut state, procedure)?;
        Ok(Outcome { revision: state.revision, changed })
    }

    async fn region_statistics(&self, _: &Call, _: Option<TableId>) -> Result<Vec<RegionReport>> {
        Err(Error::unsupported("the fake has no datanodes"))
    }

    async fn ask(&self, _: &Call, from: FrontendId, inquiry: Inquiry) -> Result<Answers> {
        let answers = {
            let mut state = self.state.lock();
            state.asked.push((from, inquiry));
            state.answers.clone()
        };
        match answers {
            Said::Answers(answers) => Ok(answers),
            Said::Nothing => Err(Error::unavailable("no metasrv")),
            Said::Never => std::future::pending().await,
        }
    }

    async fn answer(&self, _: &Call, _: FrontendId, question: u64, answer: Answer) -> Result<()> {
        self.state.lock().answered.push((question, answer));
        Ok(())
    }
}
