//! Several nodes in one process: planning, answers, losses and ends.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::Duration;

use arrow_array::{ArrayRef, Float64Array, Int64Array, RecordBatch, StringViewArray, TimestampMillisecondArray};
use arrow_schema::{Field, Schema as ArrowSchema, SchemaRef};
use async_trait::async_trait;
use bytes::Bytes;
use datafusion::catalog::{Session, TableProvider};
use datafusion::common::Result as DataFusionResult;
use datafusion::datasource::TableType;
use datafusion::logical_expr::Expr;
use datafusion::physical_plan::{ExecutionPlan, displayable, execute_stream};
use datafusion::prelude::SessionContext;
use futures::{StreamExt, TryStreamExt, stream};
use varve_model::budget::Account;
use varve_model::id::{NodeId, RegionEpoch, RegionId};
use varve_model::scan::ScanSpec;
use varve_model::schema::{LogicalType, NewColumn, Schema};
use varve_model::time::{TimeRange, TimeUnit};
use varve_model::{Error, ErrorKind, Result};

use super::*;
use crate::column::ScanTable;
use crate::context::Sessions;
use crate::error::from_datafusion;
use crate::operator::{RegionReader, RegionScanExec, ScanRegion, ScanSource};

const NODES: u64 = 3;
const ROWS: i64 = 300;

/// A table whose regions 0..n lie on nodes 1..=3 in turn.
#[derive(Debug)]
struct Table {
    scan: Arc<ScanTable>,
    schema: Schema,
    regions: Vec<ScanRegion>,
}

impl Table {
    fn new(first: u64, regions: u64) -> Self {
        let columns = vec![
            NewColumn::tag("host"),
            NewColumn::time("ts", TimeUnit::Millisecond),
            NewColumn::field("v", LogicalType::Float64),
            NewColumn::field("n", LogicalType::Int64),
        ];
        let schema = Schema::create(columns, &[]).unwrap();
        let region = |number| ScanRegion { region: RegionId(first + number), epoch: RegionEpoch(1) };
        Self { scan: Arc::new(ScanTable::new("t", &schema)), schema, regions: (0..regions).map(region).collect() }
    }
}

#[async_trait]
impl TableProvider for Table {
    fn schema(&self) -> SchemaRef {
        self.scan.schema(&[0, 1, 2, 3])
    }

    fn table_type(&self) -> TableType {
        TableType::Base
    }

    async fn scan(
        &self,
        _: &dyn Session,
        projection: Option<&Vec<usize>>,
        _: &[Expr],
        limit: Option<usize>,
    ) -> DataFusionResult<Arc<dyn ExecutionPlan>> {
        Ok(Arc::new(RegionScanExec::new(ScanSource {
            table: Arc::clone(&self.scan),
            regions: self.regions.clone(),
            time: TimeRange::ALL,
            matchers: Vec::new(),
            projection: projection.cloned().unwrap_or_else(|| (0..4).collect()),
            fetch: limit,
            padding: 0,
        })))
    }
}

fn owner(region: RegionId) -> Peer {
    Peer { node: NodeId(region.0 % NODES + 1), address: String::new() }
}

/// What regions contain: 300 rows each, or no end of them.
#[derive(Debug, Default)]
struct Rows {
    /// `None` reads everywhere.
    node: Option<NodeId>,
    schema: OnceLock<Schema>,
    endless: BTreeSet<RegionId>,
    stale: BTreeSet<RegionId>,
    /// Streams that are being read.
    open: Arc<AtomicI64>,
}

struct Reading(Arc<AtomicI64>);

impl Drop for Reading {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

/// Mostly the row's number, and what is compared in its own way.
fn measured(row: i64) -> Option<f64> {
    match row % 29 {
        0 => None,
        1 => Some(f64::NAN),
        2 => Some(-0.0),
        3 => Some(0.0),
        _ => Some(row as f64),
    }
}

fn batch(spec: &ScanSpec, schema: &Schema, from: i64) -> RecordBatch {
    let rows = from..from + ROWS;
    let offset = spec.region.0 as i64 % 100 * 10_000;
    let columns = spec.columns.iter().map(|id| {
        let name = schema.column_by_id(*id).unwrap().name.as_str();
        let array: ArrayRef = match name {
            "host" => Arc::new(rows.clone().map(|row| Some(format!("h{}", row % 7))).collect::<StringViewArray>()),
            "ts" => Arc::new(TimestampMillisecondArray::from_iter_values(rows.clone().map(|row| row + offset))),
            "v" => Arc::new(rows.clone().map(measured).collect::<Float64Array>()),
            _ => Arc::new(rows.clone().map(|row| (row % 31 > 0).then_some(row % 50)).collect::<Int64Array>()),
        };
        (Field::new(name, array.data_type().clone(), true), array)
    });
    let (fields, arrays): (Vec<_>, Vec<_>) = columns.unzip();
    RecordBatch::try_new(Arc::new(ArrowSchema::new(fields)), arrays).unwrap()
}

#[async_trait]
impl RegionReader for Rows {
    async fn read(&self, spec: ScanSpec) -> Result<BatchStream> {
        let here = self.node.is_none_or(|node| owner(spec.region).node == node);
        if !here || self.stale.contains(&spec.region) {
            return Err(Error::new(ErrorKind::StaleRoute, format!("region {} is not here", spec.region)));
        }
        let schema = self.schema.get_or_init(|| Table::new(0, 1).schema).clone();
        self.open.fetch_add(1, Ordering::SeqCst);
        let reading = Reading(Arc::clone(&self.open));
        let last = if self.endless.contains(&spec.region) { i64::MAX } else { 1 };
        let batches = stream::iter(0..last).then(move |at| {
            let _held = &reading;
            let batch = batch(&spec, &schema, at * ROWS);
            async move {
                tokio::task::yield_now().await;
                Ok(batch)
            }
        });
        Ok(batches.boxed())
    }
}

/// Nodes and the wires between them.
#[derive(Debug)]
struct Net {
    nodes: Vec<(Worker, Arc<Rows>)>,
    dead: Mutex<BTreeSet<NodeId>>,
    /// Batches until a node dies while its rows are read.
    dies_after: Option<(NodeId, u64)>,
    carried: AtomicU64,
    /// Rows on their way to the frontend, and between nodes.
    to_frontend: AtomicU64,
    between: AtomicU64,
}

/// A net as the frontend or as a node has it.
#[derive(Debug)]
struct Wire {
    net: Arc<Net>,
    is_frontend: bool,
}

#[async_trait]
impl Exchange for Wire {
    async fn open(&self, peer: &Peer, ticket: Bytes) -> Result<BatchStream> {
        let (net, node) = (Arc::clone(&self.net), peer.node);
        net.check(node)?;
        let (worker, rows) = &net.nodes[node.0 as usize - 1];
        let host = Host {
            reader: Arc::clone(rows) as Arc<dyn RegionReader>,
            exchange: Arc::new(Self { net: Arc::clone(&net), is_frontend: false }),
        };
        let (_, batches) = worker.serve(&ticket, host).await?;
        let is_frontend = self.is_frontend;
        let net = Arc::clone(&self.net);
        Ok(batches.map(move |batch| net.carry(node, is_frontend, batch)).boxed())
    }
}

impl Net {
    fn new(make: impl Fn(NodeId) -> Rows) -> Self {
        let node = |id| {
            let sessions = Sessions::new(&Account::root("node", 1 << 28), 2).unwrap();
            (Worker::new(&sessions), Arc::new(make(NodeId(id))))
        };
        Self {
            nodes: (1..=NODES).map(node).collect(),
            dead: Mutex::default(),
            dies_after: None,
            carried: AtomicU64::new(0),
            to_frontend: AtomicU64::new(0),
            between: AtomicU64::new(0),
        }
    }

    fn check(&self, node: NodeId) -> Result<()> {
        if self.dead.lock().unwrap().contains(&node) {
            return Err(Error::unavailable(format!("node {node} cannot be reached")));
        }
        Ok(())
    }

    fn carry(&self, node: NodeId, is_frontend: bool, batch: Result<RecordBatch>) -> Result<RecordBatch> {
        if let Some((mortal, after)) = self.dies_after
            && mortal == node
            && self.carried.fetch_add(1, Ordering::SeqCst) >= after
        {
            self.dead.lock().unwrap().insert(node);
        }
        self.check(node)?;
        let batch = batch?;
        let counter = if is_frontend { &self.to_frontend } else { &self.between };
        counter.fetch_add(batch.num_rows() as u64, Ordering::SeqCst);
        Ok(batch)
    }

    fn open(&self) -> i64 {
        self.nodes.iter().map(|(_, rows)| rows.open.load(Ordering::SeqCst)).sum()
    }

    fn held(&self) -> u64 {
        self.nodes.iter().map(|(worker, _)| worker.held()).sum()
    }
}

fn on(node: NodeId) -> Rows {
    Rows { node: Some(node), ..Rows::default() }
}

struct Frontend {
    sessions: Sessions,
    context: SessionContext,
}

impl Frontend {
    fn new() -> Self {
        let sessions = Sessions::new(&Account::root("frontend", 1 << 28), 2).unwrap();
        let context = SessionContext::new_with_state(sessions.base().clone());
        let catalog = Arc::new(datafusion::catalog::MemoryCatalogProvider::new());
        let schema = Arc::new(datafusion::catalog::MemorySchemaProvider::new());
        datafusion::catalog::CatalogProvider::register_schema(&*catalog, "public", schema).unwrap();
        context.register_catalog("varve", catalog);
        for (name, first, regions) in [("a", 0, 6), ("b", 100, 4), ("one", 200, 1), ("lone", 298, 1)] {
            context.register_table(name, Arc::new(Table::new(first, regions))).unwrap();
        }
        Self { sessions, context }
    }

    async fn plan(&self, sql: &str) -> Arc<dyn ExecutionPlan> {
        self.context.sql(sql).await.unwrap().create_physical_plan().await.unwrap()
    }

    async fn shuffled(&self, sql: &str, net: &Arc<Net>) -> Arc<dyn ExecutionPlan> {
        let exchange = Arc::new(Wire { net: Arc::clone(net), is_frontend: true });
        let setting = Setting { exchange, sessions: self.sessions.clone(), time_zone: "UTC".into() };
        shuffle(self.plan(sql).await, &|region| Ok(owner(region)), &Arc::new(setting)).unwrap()
    }

    /// Leaves that stay read everywhere, as the frontend's own reader does.
    fn run(&self, plan: Arc<dyn ExecutionPlan>) -> BatchStream {
        let context = self.sessions.task_of(self.sessions.base(), Arc::new(Rows::default()));
        execute_stream(plan, context).unwrap().map(|batch| batch.map_err(from_datafusion)).boxed()
    }

    /// The rows as sorted lines.
    async fn lines(&self, plan: Arc<dyn ExecutionPlan>) -> Result<Vec<String>> {
        let batches = self.run(plan).try_collect::<Vec<_>>().await?;
        let text = datafusion::arrow::util::pretty::pretty_format_batches(&batches).unwrap().to_string();
        let mut lines = text.lines().map(str::to_owned).collect::<Vec<_>>();
        lines.sort();
        Ok(lines)
    }
}

fn text(plan: &Arc<dyn ExecutionPlan>) -> String {
    displayable(plan.as_ref()).indent(false).to_string()
}

const JOIN: &str = "SELECT a.host, a.n, count(*) c, sum(b.v) s FROM a a \
                    JOIN b b ON a.n = b.n AND a.host = b.host GROUP BY a.host, a.n";
const MEET: &str = "SELECT count(*) FROM a x JOIN b y ON x.v = y.v";

#[tokio::test]
async fn queries_of_several_stages_answer_what_one_place_answers() {
    let frontend = Frontend::new();
    for sql in [
        JOIN,
        "SELECT DISTINCT n, host FROM a",
        "SELECT ts, count(*) FROM a GROUP BY ts ORDER BY ts DESC LIMIT 7",
        "SELECT host, w, count(*) FROM (SELECT host, ts w FROM a WHERE n > 3) GROUP BY host, w",
        "SELECT date_bin(INTERVAL '1 minute', ts) w, v, count(*) FROM a GROUP BY w, v",
        "SELECT host, n, row_number() OVER (PARTITION BY host ORDER BY ts, n) r FROM a",
        MEET,
        "SELECT count(*) FROM (SELECT x.v FROM a x JOIN b y ON x.v = y.v LIMIT 10)",
        "SELECT x.host, x.v FROM a x LEFT JOIN b y ON x.ts = y.ts WHERE y.ts IS NULL",
        "SELECT x.v, y.v FROM a x FULL JOIN b y ON x.ts = y.ts",
        "SELECT v FROM a x WHERE EXISTS (SELECT 1 FROM b y WHERE y.v = x.v AND y.n < 9)",
        "SELECT n, count(*) FROM (SELECT n FROM a UNION ALL SELECT n FROM b) GROUP BY n",
        "SELECT g, count(*) FROM (SELECT host, count(DISTINCT n) g FROM a GROUP BY host) GROUP BY g",
        "SELECT count(*) FROM a WHERE v > (SELECT avg(x.n) FROM a x JOIN b y ON x.n = y.n AND x.host = y.host)",
        "SELECT v, count(*) FROM a GROUP BY v",
        "SELECT host, n, count(*), sum(n) FROM a GROUP BY ROLLUP (host, n)",
        "SELECT count(*) FROM (SELECT v, n FROM a UNION ALL SELECT v, n FROM b) x JOIN b y ON x.v = y.v",
        "SELECT ts, sum(v) OVER (PARTITION BY host ORDER BY ts ROWS BETWEEN 2 PRECEDING AND CURRENT ROW) s FROM a",
        "SELECT ts, lag(v, 2, -1.0) OVER (PARTITION BY host ORDER BY ts) l FROM a",
        "SELECT ts, count(DISTINCT n) OVER (PARTITION BY host) d FROM a",
    ] {
        let net = Arc::new(Net::new(on));
        let plan = frontend.shuffled(sql, &net).await;
        assert!(text(&plan).contains("ShuffleExec: nodes=3"), "{sql}\n{}", text(&plan));
        let expected = frontend.lines(frontend.plan(sql).await).await.unwrap();
        assert_eq!(frontend.lines(plan).await.unwrap(), expected, "{sql}");
        assert!(net.between.load(Ordering::SeqCst) > 0, "{sql}");
        assert_eq!(net.open(), 0, "{sql}");
    }
}

#[tokio::test]
async fn only_the_answer_crosses_to_the_frontend() {
    let (frontend, net) = (Frontend::new(), Arc::new(Net::new(on)));
    let plan = frontend.shuffled(MEET, &net).await;
    let lines = frontend.lines(plan).await.unwrap();
    assert_eq!(lines, frontend.lines(frontend.plan(MEET).await).await.unwrap());
    let crossed = net.to_frontend.load(Ordering::SeqCst);
    assert!(crossed <= 6, "{crossed} rows crossed for one count of each of 6 partitions");
}

#[tokio::test]
async fn what_needs_no_exchange_or_may_not_be_spread_stays_as_it_is() {
    let frontend = Frontend::new();
    let net = Arc::new(Net::new(on));
    for sql in [
        "SELECT v FROM a WHERE v > 5",
        "SELECT count(*) FROM a",
        "SELECT v FROM a ORDER BY v LIMIT 3",
        "SELECT row_number() OVER (ORDER BY ts) FROM a",
        // The bytes of a plan lose what these say.
        "SELECT ts, count(*) FILTER (WHERE v > 200) OVER (PARTITION BY host) c FROM a",
        "SELECT ts, sum(v) FILTER (WHERE v > (SELECT avg(n) FROM b)) OVER (PARTITION BY host) s FROM a",
        "SELECT ts, lag(v) IGNORE NULLS OVER (PARTITION BY host ORDER BY ts) l FROM a",
        "SELECT lag(v) OVER (PARTITION BY host ORDER BY ts) x, lag(v) OVER (PARTITION BY host ORDER BY ts DESC) y FROM a",
        // One node has all rows.
        "SELECT host, count(*) FROM one GROUP BY host",
        // Each row of the left side must know of all rows of the right side.
        "SELECT v FROM a WHERE n NOT IN (SELECT n FROM b)",
        "SELECT x.v FROM a x JOIN b y ON x.v < y.v",
        // Few groups by their nature: their partial states meet at the frontend.
        "SELECT host, date_bin(INTERVAL '1 minute', ts) w, avg(v) FROM a WHERE n > 3 GROUP BY host, w ORDER BY host, w",
        "SELECT count(*) FROM (SELECT host, date_trunc('hour', ts) w FROM a GROUP BY host, w) GROUP BY w",
        // The subquery's value is only known where the whole plan runs.
        "SELECT host, count(*) FROM a WHERE v > (SELECT avg(v) FROM b) GROUP BY host",
        // Rows that no region has would be read by every node.
        "SELECT * FROM a x JOIN (VALUES (1), (2)) y(n) ON x.n = y.n",
    ] {
        let plan = frontend.shuffled(sql, &net).await;
        assert!(!text(&plan).contains("ShuffleExec"), "{sql}\n{}", text(&plan));
    }
}

#[tokio::test]
async fn tables_of_one_region_on_different_nodes_meet() {
    let frontend = Frontend::new();
    let sql = "SELECT count(*) FROM one x JOIN lone y ON x.v = y.v AND x.host = y.host";
    let net = Arc::new(Net::new(on));
    let plan = frontend.shuffled(sql, &net).await;
    let lines = frontend.lines(plan).await.unwrap();
    assert_eq!(lines, frontend.lines(frontend.plan(sql).await).await.unwrap());
}

#[tokio::test]
async fn a_subquery_of_several_rows_is_an_error_and_not_an_answer() {
    let frontend = Frontend::new();
    let net = Arc::new(Net::new(on));
    let sql = "SELECT host, count(*) FROM a WHERE v > (SELECT v FROM b) GROUP BY host";
    let plan = frontend.shuffled(sql, &net).await;
    let error = frontend.lines(plan).await.unwrap_err();
    assert!(error.to_string().contains("more than one row"), "{error}");
}

#[tokio::test]
async fn a_region_that_moved_is_a_stale_route_to_the_frontend() {
    let frontend = Frontend::new();
    let moved = |node| Rows { stale: BTreeSet::from([RegionId(103)]), ..on(node) };
    let net = Arc::new(Net::new(moved));
    let plan = frontend.shuffled(JOIN, &net).await;
    let mut rows = frontend.run(plan);
    let error = rows.next().await.unwrap().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::StaleRoute, "{error:?}");
    assert!(rows.next().await.is_none());
}

#[tokio::test]
async fn a_node_that_cannot_be_reached_is_named_at_once() {
    let frontend = Frontend::new();
    let net = Arc::new(Net::new(on));
    net.dead.lock().unwrap().insert(NodeId(2));
    let plan = frontend.shuffled(JOIN, &net).await;
    let failed = tokio::time::timeout(Duration::from_secs(5), frontend.lines(plan)).await.expect("at once");
    let error = failed.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable);
    assert!(error.to_string().contains("node 2"), "{error}");
}

#[tokio::test]
async fn a_node_lost_in_the_middle_is_an_error_and_never_a_part_of_the_rows() {
    let frontend = Frontend::new();
    let expected = frontend.lines(frontend.plan(JOIN).await).await.unwrap();
    let mut lost = 0;
    for after in (0..40).step_by(4) {
        let net = Arc::new(Net { dies_after: Some((NodeId(2), after)), ..Net::new(on) });
        let plan = frontend.shuffled(JOIN, &net).await;
        match frontend.lines(plan).await {
            Ok(lines) => assert_eq!(lines, expected, "died after {after} batches"),
            Err(error) => {
                assert_eq!(error.kind(), ErrorKind::Unavailable, "{error:?}");
                lost += 1;
            }
        }
    }
    assert!(lost > 2, "{lost} of 10 queries met the loss");
}

#[tokio::test]
async fn dropping_the_stream_ends_the_work_of_all_nodes() {
    let frontend = Frontend::new();
    let all = (0..300).map(RegionId).collect::<BTreeSet<_>>();
    let net = Arc::new(Net::new(|node| Rows { endless: all.clone(), ..on(node) }));
    let plan = frontend.shuffled("SELECT x.v, y.n FROM a x JOIN b y ON x.v = y.v", &net).await;
    let mut rows = frontend.run(plan);
    // Three stages on three nodes.
    while net.between.load(Ordering::SeqCst) < 5_000 || net.held() < 9 {
        assert!(futures::poll!(rows.next()).is_pending());
        tokio::task::yield_now().await;
    }
    assert!(net.open() > 0);
    drop(rows);
    let ended = async {
        while net.open() > 0 || net.held() > 0 {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(1), ended).await.expect("within a second");
}

#[tokio::test]
async fn a_plan_may_run_twice_at_once() {
    let (frontend, net) = (Frontend::new(), Arc::new(Net::new(on)));
    let plan = frontend.shuffled(JOIN, &net).await;
    let (one, other) = tokio::join!(frontend.lines(Arc::clone(&plan)), frontend.lines(plan));
    assert_eq!(one.unwrap(), other.unwrap());
}

#[tokio::test]
async fn a_hostile_partitioning_is_refused() {
    let net = Arc::new(Net::new(on));
    let (worker, rows) = &net.nodes[0];
    let key = datafusion_distributed::TaskKey { query_id: uuid::Uuid::from_u128(7), stage_id: 1, task_number: 0 };
    let hash = |partition_count| {
        use datafusion_proto::protobuf::{Partitioning, PhysicalHashRepartition, partitioning::PartitionMethod};
        let hash = PhysicalHashRepartition { hash_expr: Vec::new(), partition_count };
        prost::Message::encode_to_vec(&Partitioning { partition_method: Some(PartitionMethod::Hash(hash)) })
    };
    for body in [hash(0), hash(u64::MAX), b"\x08\x07".to_vec(), vec![0xff; 9]] {
        let read = ticket::Read { task: ticket::Task::new(key), partition: 0, spreads: true };
        let bytes = ticket::Ticket::Read(read, body.into()).encode().unwrap();
        let exchange = Arc::new(Wire { net: Arc::clone(&net), is_frontend: false });
        let host = Host { reader: Arc::clone(rows) as Arc<dyn RegionReader>, exchange };
        let error = worker.serve(&bytes, host).await.map(drop).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidRequest, "{error}");
    }
}

#[tokio::test(start_paused = true)]
async fn rows_for_a_task_that_never_came_are_unavailable() {
    let net = Net::new(on);
    let key = datafusion_distributed::TaskKey { query_id: uuid::Uuid::from_u128(7), stage_id: 1, task_number: 0 };
    let read = ticket::Read { task: ticket::Task::new(key), partition: 0, spreads: false };
    let bytes = ticket::Ticket::Read(read, Bytes::new()).encode().unwrap();
    let (worker, rows) = &net.nodes[0];
    let exchange = Arc::new(Wire { net: Arc::new(Net::new(on)), is_frontend: false });
    let host = Host { reader: Arc::clone(rows) as Arc<dyn RegionReader>, exchange };
    let error = worker.serve(&bytes, host).await.map(drop).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable, "{error}");
}
