//! What clients do: put, delete, append with and without a token, flush, merge.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use varve_model::id::SchemaVersion;
use varve_model::matcher::{MatchOp, Matcher, MissingTag};
use varve_model::partition::Partition;
use varve_model::rows::{Rows, TableRows};
use varve_model::schema::{LogicalType, NewColumn, StoredType};
use varve_model::series::encode_key;
use varve_model::table::{MergeMode, TableOptions};
use varve_model::time::{TimeRange, TimeUnit};
use varve_model::{ErrorKind, Result};
use varve_proto::datanode::{DatanodeApi, RegionDelete, RegionWrite, WriteRequest};
use varve_proto::metasrv::{CreateTable, MetasrvApi, Procedure, RegionAction, TableName};
use varve_protocol::gateway::Gateway;
use varve_protocol::session::{Session, Wire};

use crate::history::{Fate, History, Key};
use crate::node::Node;
use crate::read::{call, locate};
use crate::world::World;

/// Regions of the append table.
pub(crate) const REGIONS: u32 = 2;
/// Longest a client waits.
const PATIENCE: Duration = Duration::from_secs(15);

/// What a client works with.
#[derive(Clone, Debug)]
pub(crate) struct Client {
    pub(crate) number: u64,
    pub(crate) world: Arc<World>,
    pub(crate) node: Arc<Mutex<Option<Arc<Node>>>>,
    pub(crate) history: Arc<Mutex<History>>,
    /// Held while an operation runs; a judge takes all of it.
    pub(crate) running: Arc<tokio::sync::RwLock<()>>,
}

fn table(name: &str) -> TableName {
    TableName { database: "public".to_owned(), table: name.to_owned() }
}

/// Creates the append table, unless it is there.
pub(crate) async fn create(node: &Node) -> Result<()> {
    let create = CreateTable {
        table: table("a"),
        columns: vec![
            NewColumn::tag("s"),
            NewColumn::time("time", TimeUnit::Nanosecond),
            NewColumn::field("v", LogicalType::Int64),
        ],
        primary_key: Vec::new(),
        options: TableOptions { merge_mode: MergeMode::Append, ..TableOptions::default() },
        regions: Some(REGIONS),
        if_not_exists: true,
    };
    node.metasrv.execute(&call(), Procedure::CreateTable(create)).await.map(|_| ())
}

/// Rows of one table: (series, ts, value).
fn rows_of(name: &str, rows: &[(String, i64, i64)]) -> Rows {
    let mut table = TableRows::new(name, TimeUnit::Nanosecond);
    table.tags.push("s".to_owned());
    let field = table.field_mut("v", StoredType::I64);
    for (at, (series, ts, value)) in rows.iter().enumerate() {
        let slot = table.keys.push_with(|bytes| encode_key(&mut [(b"s", series.as_bytes())], bytes));
        table.series.push(slot);
        table.ts.push(*ts);
        table.origin.push(at as u32);
        let varve_model::batch::Values::I64(values) = &mut table.fields[field].vector.values else { continue };
        values.push(*value);
    }
    Rows { tables: vec![table] }
}

impl Client {
    /// Works until its task is dropped.
    pub(crate) async fn work(self) {
        for turn in 0u64.. {
            self.world.sleep_millis(20 + self.world.draw(1500)).await;
            let Some(node) = self.node.lock().clone() else { continue };
            let _running = self.running.read().await;
            match self.world.draw(20) {
                0 | 1 => self.delete(&node).await,
                2 => self.admin(&node).await,
                3..=9 => self.append(&node, turn).await,
                _ => self.put(&node, turn).await,
            }
        }
    }

    /// Runs on the node's tasks, so that a kill ends it where it stands.
    async fn on_node<T: Send + 'static>(
        &self,
        node: &Arc<Node>,
        work: impl Future<Output = Result<T>> + Send + 'static,
    ) -> Option<Result<T>> {
        let handle = node.tasks.spawn("client request", work);
        tokio::time::timeout(PATIENCE, handle).await.ok()?.ok()
    }

    async fn write(&self, node: &Arc<Node>, rows: Rows, token: Option<String>) -> Fate {
        let mut session = Session::new(Wire::Influx);
        session.timeout = Duration::from_secs(10);
        session.idempotency_key = token;
        let frontend = Arc::clone(&node.frontend);
        match self.on_node(node, async move { frontend.write(&session, rows).await }).await {
            Some(Ok(written)) if written.refused.is_empty() => Fate::Acked,
            Some(Ok(_)) => Fate::Refused,
            Some(Err(error)) if error.kind() == ErrorKind::InvalidRequest => Fate::Refused,
            Some(Err(_)) | None => Fate::Unknown,
        }
    }

    async fn put(&self, node: &Arc<Node>, turn: u64) {
        let series = format!("c{}x{}", self.number, self.world.draw(5));
        let value = (self.number << 32 | turn) as i64;
        let hour = 3_600_000_000_000;
        let mut stamps = (0..=self.world.draw(20))
            .map(|_| self.world.draw(40) as i64 * 1_000_000_000 + self.world.draw(3) as i64 * 5 * hour)
            .collect::<Vec<_>>();
        stamps.sort_unstable();
        stamps.dedup();
        let rows = stamps.iter().map(|&ts| (series.clone(), ts, value)).collect::<Vec<_>>();
        let keys = stamps.iter().map(|&ts| (series.clone(), ts)).collect::<Vec<Key>>();
        let fate = self.write(node, rows_of("m", &rows), None).await;
        self.world.note(format_args!(
            "client {} puts {value} at {} keys of {series}: {fate:?}",
            self.number,
            keys.len()
        ));
        self.history.lock().put(&keys, Some(value), fate);
    }

    async fn append(&self, node: &Arc<Node>, turn: u64) {
        let request = self.number << 32 | turn;
        let count = 1 + self.world.draw(30);
        let rows = (0..count)
            .map(|at| {
                let id = (request << 8 | at) as i64;
                (format!("s{}", self.world.draw(50)), id % 1000 * 60_000_000_000, id)
            })
            .collect::<Vec<_>>();
        let token = (self.world.draw(2) == 0).then(|| format!("r{request}"));
        let fate = match token {
            None => self.write(node, rows_of("a", &rows), None).await,
            Some(token) => self.write_twice(node, &rows, token).await,
        };
        let partition = Partition::even(REGIONS).expect("a valid count");
        let mut regions = BTreeMap::new();
        for (series, _, id) in &rows {
            let mut key = Vec::new();
            encode_key(&mut [(b"s".as_slice(), series.as_bytes())], &mut key);
            regions.insert(*id, partition.ranges[partition.range_of(&key)].region);
        }
        self.world.note(format_args!("client {} appends {} rows as {request}: {fate:?}", self.number, rows.len()));
        self.history.lock().append(request, regions, fate);
    }

    /// Sends the same request twice under one token, the second while the first is on its way or after it.
    /// One acknowledgement is enough: the rows must then be there, once.
    async fn write_twice(&self, node: &Arc<Node>, rows: &[(String, i64, i64)], token: String) -> Fate {
        let pause = self.world.draw(40);
        let second = async {
            self.world.sleep_millis(pause).await;
            let node = self.node.lock().clone();
            match node {
                Some(node) => self.write(&node, rows_of("a", rows), Some(token.clone())).await,
                None => Fate::Unknown,
            }
        };
        match futures::join!(self.write(node, rows_of("a", rows), Some(token.clone())), second) {
            (Fate::Acked, _) | (_, Fate::Acked) => Fate::Acked,
            (Fate::Refused, Fate::Refused) => Fate::Refused,
            _ => Fate::Unknown,
        }
    }

    async fn delete(&self, node: &Arc<Node>) {
        let series = format!("c{}x{}", self.number, self.world.draw(5));
        let (from, to) = (0, self.world.draw(40) as i64 * 1_000_000_000);
        let keys = self.history.lock().keys_of(&series, from, to);
        let work = {
            let (node, series) = (Arc::clone(node), series.clone());
            async move {
                let Some((table, routes)) = locate(&node, "m").await? else { return Ok(()) };
                let writes = routes.iter().map(|route| {
                    RegionWrite::Delete(RegionDelete {
                        region: route.region,
                        epoch: route.epoch,
                        schema_version: SchemaVersion(table.schema.version.0),
                        matchers: vec![Matcher {
                            tag: "s".to_owned(),
                            op: MatchOp::In(vec![series.clone()]),
                            missing: MissingTag::Unknown,
                        }],
                        time: TimeRange { start: from, end: to },
                    })
                });
                let reply = node.datanode.write(&call(), WriteRequest { writes: writes.collect() }).await?;
                reply.parts.into_iter().try_for_each(|part| part.map(|_| ()))
            }
        };
        let fate = match self.on_node(node, work).await {
            Some(Ok(())) => Fate::Acked,
            Some(Err(_)) | None => Fate::Unknown,
        };
        self.world.note(format_args!("client {} deletes {} keys of {series}: {fate:?}", self.number, keys.len()));
        self.history.lock().put(&keys, None, fate);
    }

    async fn admin(&self, node: &Arc<Node>) {
        let name = if self.world.draw(2) == 0 { "m" } else { "a" };
        let action = if self.world.draw(3) == 0 { RegionAction::Compact } else { RegionAction::Flush };
        let metasrv = Arc::clone(&node.metasrv);
        let procedure = Procedure::EachRegion { table: table(name), action };
        let done = self.on_node(node, async move { metasrv.execute(&call(), procedure).await }).await;
        self.world.note(format_args!("{action:?} of {name}: {}", matches!(done, Some(Ok(_)))));
    }
}
