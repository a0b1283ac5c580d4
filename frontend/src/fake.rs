//! A cluster in memory for tests: metasrv and datanodes as small as their traits allow.
//!
//! Merging is "the last row of a key wins"; predicates are evaluated row by row.
//! The real merge and the real catalog have their own tests.

mod metasrv;
mod node;
mod rows;

use std::sync::Arc;
use std::time::Duration;

use arrow_array::RecordBatch;
use futures::TryStreamExt;
use varve_model::Result;
use varve_model::budget::Account;
use varve_model::id::NodeId;
use varve_proto::datanode::DatanodeApi;
use varve_protocol::gateway::{Gateway, Query};
use varve_protocol::output::Output;
use varve_protocol::session::{Session, Wire};
use varve_service::clock::SystemClock;
use varve_service::task::{Blocking, TaskSet};

pub(crate) use metasrv::{FakeMetasrv, SEAT, Said};
pub(crate) use node::FakeNode;

use crate::{ExchangeMode, Frontend, FrontendConfig, FrontendSetup, start};

/// A frontend over fakes.
#[derive(Debug)]
pub(crate) struct Cluster {
    pub(crate) metasrv: Arc<FakeMetasrv>,
    pub(crate) nodes: Vec<Arc<FakeNode>>,
    pub(crate) frontend: Arc<Frontend>,
    pub(crate) session: Session,
}

impl Cluster {
    /// So many datanodes and a ready frontend.
    pub(crate) async fn start(nodes: u64) -> Self {
        let cluster = Self::begin(nodes);
        cluster.frontend.ready().await;
        cluster
    }

    /// So many datanodes and a frontend that knows nothing yet; rows of several datanodes meet there.
    pub(crate) fn begin(nodes: u64) -> Self {
        Self::begin_with(nodes, ExchangeMode::Frontend)
    }

    /// So many datanodes, which exchange rows between them.
    pub(crate) async fn shuffling(nodes: u64) -> Self {
        let cluster = Self::begin_with(nodes, ExchangeMode::Shuffle);
        cluster.frontend.ready().await;
        cluster
    }

    fn begin_with(nodes: u64, exchange: ExchangeMode) -> Self {
        let metasrv = Arc::new(FakeMetasrv::new(nodes));
        let nodes = (1..=nodes).map(|id| Arc::new(FakeNode::new(NodeId(id), Arc::clone(&metasrv))));
        let nodes = nodes.collect::<Vec<_>>();
        for node in &nodes {
            node.meet(&nodes);
        }
        let known = nodes.clone();
        let frontend = start(FrontendSetup {
            metasrv: Arc::clone(&metasrv) as _,
            connect: Arc::new(move |id, _| Ok(Arc::clone(&known[id.0 as usize - 1]) as Arc<dyn DatanodeApi>)),
            clock: Arc::new(SystemClock),
            tasks: TaskSet::new(Blocking::Inline),
            memory: Account::root("frontend", 1 << 30),
            config: FrontendConfig { query_partitions: 2, exchange, ..FrontendConfig::default() },
        })
        .unwrap();
        frontend.processes().listens_on(FrontendConfig::default().http_addr);
        let session = Session { timeout: Duration::from_secs(20), ..Session::new(Wire::HttpSql) };
        Self { metasrv, nodes, frontend, session }
    }

    pub(crate) async fn run(&self, sql: &str) -> Result<Vec<Output>> {
        self.frontend.run(&self.session, Query::Sql { text: sql.to_owned(), params: Vec::new() }).await
    }

    /// Runs statements that answer a count or nothing; returns the last count.
    pub(crate) async fn exec(&self, sql: &str) -> u64 {
        let outputs = self.run(sql).await.unwrap_or_else(|error| panic!("{sql}: {error:?}"));
        match outputs.last() {
            Some(Output::Count { rows, .. }) => *rows,
            _ => 0,
        }
    }

    pub(crate) async fn batches(&self, sql: &str) -> Result<Vec<RecordBatch>> {
        let mut batches = Vec::new();
        for output in self.run(sql).await? {
            if let Output::Rows { stream, .. } = output {
                batches.extend(stream.try_collect::<Vec<_>>().await?);
            }
        }
        Ok(batches)
    }

    /// The answer as text: one line per row, cells joined by `|`.
    pub(crate) async fn rows(&self, sql: &str) -> Vec<String> {
        let batches = self.batches(sql).await.unwrap_or_else(|error| panic!("{sql}: {error:?}"));
        let mut lines = Vec::new();
        for batch in batches {
            for row in 0..batch.num_rows() {
                let cell = |array: &arrow_array::ArrayRef| {
                    datafusion::arrow::util::display::array_value_to_string(array, row).unwrap()
                };
                lines.push(batch.columns().iter().map(cell).collect::<Vec<_>>().join("|"));
            }
        }
        lines
    }

    /// Rows that datanodes have answered so far.
    pub(crate) fn rows_sent(&self) -> u64 {
        self.nodes.iter().map(|node| node.rows_sent()).sum()
    }

    /// The error of a statement that must fail.
    pub(crate) async fn error(&self, sql: &str) -> varve_model::Error {
        match self.batches(sql).await {
            Err(error) => error,
            Ok(rows) => panic!("{sql} answered {rows:?}"),
        }
    }
}
