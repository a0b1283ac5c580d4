//! What metasrv does for the other roles.
//!
//! Nothing dials back: orders ride on the heartbeat stream that a datanode
//! opened, news of catalog and routes on the watch that a frontend opened.

use std::fmt::Debug;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use futures::Stream;
use varve_model::id::{ClusterId, DatabaseId, FrontendId, NodeEpoch, NodeId, RegionEpoch, RegionId, TableId, VolumeId};
use varve_model::region::Route;
use varve_model::scan::RegionStatistics;
use varve_model::schema::NewColumn;
use varve_model::table::{DatabaseInfo, TableInfo, TableOptions, Ttl};
use varve_model::{Error, Reason, Result};

use crate::call::Call;

mod relay;

pub use relay::{ABSENCE_MAX, Answer, Answers, Inquiry, Question, WATCH_PAUSE_MAX, Watcher};

/// A stream that metasrv or a datanode keeps open.
pub type Messages<T> = Pin<Box<dyn Stream<Item = T> + Send>>;

/// The truth about catalog, routes and leases.
#[async_trait]
pub trait MetasrvApi: Debug + Send + Sync {
    /// Opens a session for a datanode process. An earlier session of the node is fenced.
    ///
    /// Errors: `InvalidRequest` for another cluster or version; `Busy` while an earlier session of
    /// the node still beats (two processes with one node id, or one that is about to be noticed dead).
    async fn register(&self, call: &Call, registration: Registration) -> Result<Session>;

    /// Renews the session's lease with every beat; replies carry orders as soon as they exist.
    ///
    /// Errors, also in the stream: `Fenced` when the session has ended or is unknown: seal yourself
    /// and restart. Any other: open another stream.
    async fn heartbeat(
        &self,
        call: &Call,
        session: NodeEpoch,
        beats: Messages<Beat>,
    ) -> Result<Messages<Result<BeatReply>>>;

    /// News of catalog and routes: first a snapshot, then every change in order. A frontend also
    /// learns its number, before all else, and then what other frontends ask.
    ///
    /// Errors: `Busy` when all numbers are taken.
    async fn watch(&self, call: &Call, watcher: Option<Watcher>) -> Result<Messages<Result<Arc<News>>>>;

    /// Runs a change of catalog or regions to its end.
    async fn execute(&self, call: &Call, procedure: Procedure) -> Result<Outcome>;

    /// The newest statistics that beats brought, by region; of one table or of all. A region whose
    /// owner has not beaten in this leader's term is missing.
    async fn region_statistics(&self, call: &Call, table: Option<TableId>) -> Result<Vec<RegionReport>>;

    /// Asks all frontends but the asking one, and waits for their answers: for a second, or as long
    /// as the call if that is less. What is lost with a leader is the caller's to ask again: a
    /// frontend that a cancel is for and that has not come to a new leader yet counts as silent.
    async fn ask(&self, call: &Call, from: FrontendId, inquiry: Inquiry) -> Result<Answers>;

    /// A frontend's answer to a [`Question`]; nothing happens when nobody waits for it any more.
    async fn answer(&self, call: &Call, from: FrontendId, question: u64, answer: Answer) -> Result<()>;
}

/// The error of a metasrv that does not lead: nothing was done, ask the leader.
pub fn not_leader(leader: Option<&str>) -> Error {
    let error = Error::unavailable("this metasrv does not lead").with_reason(Reason::NotLeader);
    match leader {
        Some(address) => error.with_hint(format!("{LEADER_HINT}{address}")),
        None => error.with_hint("no leader is known yet, ask again"),
    }
}

/// The address that [`not_leader`] named, if it is that error and named one.
pub fn leader_of(error: &Error) -> Option<&str> {
    let hint = error.hint().filter(|_| error.reason() == Reason::NotLeader)?;
    hint.strip_prefix(LEADER_HINT)
}

/// What the hint that names a leader begins with.
const LEADER_HINT: &str = "the leader is at ";

/// A datanode process that starts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Registration {
    /// The configured node.
    pub node: NodeId,
    /// The cluster it was part of, if any.
    pub cluster: Option<ClusterId>,
    /// Where frontends reach it; empty in process.
    pub address: String,
    /// The local WAL directory it holds the lock of.
    pub volume: Option<VolumeId>,
    /// The highest session epoch found on that volume or bucket: a new one must be above.
    pub seen_epoch: NodeEpoch,
}

/// A session was opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Session {
    /// The cluster.
    pub cluster: ClusterId,
    /// Unique, never reused.
    pub epoch: NodeEpoch,
    /// How long a beat renews the lease, counted from its send.
    pub lease: Duration,
    /// How often to beat.
    pub interval: Duration,
}

/// A datanode's report.
#[derive(Clone, Debug, Default)]
pub struct Beat {
    /// Counts beats of a session; the reply names it.
    pub number: u64,
    /// How far the process has come.
    pub life: Life,
    /// Outcomes of orders since the last beat.
    pub reports: Vec<Report>,
    /// Statistics of open regions.
    pub regions: Vec<(RegionId, RegionStatistics)>,
}

/// How far a datanode's process has come.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Life {
    /// It serves and may get regions.
    #[default]
    Serving,
    /// It is about to stop: no new regions for it.
    Draining,
    /// It has sealed its own lanes and stopped every region: they may go to others at once.
    Sealed,
}

/// What became of an order.
#[derive(Clone, Debug)]
pub struct Report {
    /// The order.
    pub order: u64,
    /// Its outcome.
    pub outcome: Result<(), Arc<Error>>,
    /// Why a grant was refused, when the bucket knows what metasrv forgot.
    pub found: Option<Found>,
}

/// What a datanode found in the bucket that metadata from an old backup does not know.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Found {
    /// The region epoch at the head of the manifest: the next grant must be above.
    Epoch(RegionEpoch),
    /// The session that owns the region, and nobody has sealed it: it may be alive and answer reads.
    Owner(NodeEpoch),
}

/// What a beat said of a region.
#[derive(Clone, Debug, PartialEq)]
pub struct RegionReport {
    /// The region.
    pub region: RegionId,
    /// The session that said it.
    pub session: NodeEpoch,
    /// How long ago.
    pub age: Duration,
    /// What it said.
    pub statistics: RegionStatistics,
}

/// Metasrv's answer to a beat, or orders in between.
#[derive(Clone, Debug, Default)]
pub struct BeatReply {
    /// The beat that is answered, which renews the lease; `None` when only orders come.
    pub beat: Option<u64>,
    /// What to do now. An order is repeated until it is reported.
    pub orders: Vec<Order>,
}

/// Something a datanode shall do.
#[derive(Clone, Debug, PartialEq)]
pub struct Order {
    /// Unique within the session.
    pub id: u64,
    /// What.
    pub kind: OrderKind,
}

/// What a datanode shall do. Each kind is idempotent.
#[derive(Clone, Debug, PartialEq)]
pub enum OrderKind {
    /// Claim and serve a region.
    Open(Grant),
    /// Serve a region under a changed table (schema, options, name).
    Alter(Grant),
    /// Stop serving a region and delete its data.
    Drop(RegionId),
    /// Delete all rows of a region.
    Truncate(RegionId),
    /// Write the region's memtable to files.
    Flush(RegionId),
    /// Merge the region's files to their final order.
    Compact(RegionId),
    /// Seal every lane of a session that is over, so that it can never acknowledge again. Done when
    /// each lane's highest object is a SEAL; a session without its object gets one that is a SEAL.
    Seal(NodeEpoch),
    /// Delete the log of a sealed session as far as the bucket allows: each region in it has
    /// flushed past it or is gone. Done when nothing but SEALs is left; `Busy` while rows are needed.
    Forget(NodeEpoch),
}

/// What an order is about: orders about one thing are carried out one after another.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Subject {
    /// A region.
    Region(RegionId),
    /// A session, mostly another one than the order's own.
    Session(NodeEpoch),
}

impl OrderKind {
    /// What it is about.
    pub fn subject(&self) -> Subject {
        match self {
            Self::Open(grant) | Self::Alter(grant) => Subject::Region(grant.region),
            Self::Drop(region) | Self::Truncate(region) | Self::Flush(region) | Self::Compact(region) => {
                Subject::Region(*region)
            }
            Self::Seal(session) | Self::Forget(session) => Subject::Session(*session),
        }
    }
}

impl std::fmt::Display for Subject {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Region(region) => write!(f, "region {region}"),
            Self::Session(session) => write!(f, "session {session}"),
        }
    }
}

/// The right to own a region, with all that is needed to serve it.
#[derive(Clone, Debug, PartialEq)]
pub struct Grant {
    /// The region.
    pub region: RegionId,
    /// This grant.
    pub epoch: RegionEpoch,
    /// Its table.
    pub table: Arc<TableInfo>,
    /// The ttl in force: the table's, else its database's.
    pub ttl: Ttl,
}

/// A change of the catalog, or all of it; or a word to one frontend.
#[derive(Clone, Debug, PartialEq)]
pub struct News {
    /// Never falls. The last change of a transaction carries its revision, those before it one less.
    /// 0 for a word to one frontend, which is in no order with changes.
    pub revision: u64,
    /// What changed.
    pub change: Change,
}

/// What a frontend's catalog learns.
#[derive(Clone, Debug, PartialEq)]
pub enum Change {
    /// All there is.
    Snapshot(Catalog),
    /// A database is new or changed.
    Database(Arc<DatabaseInfo>),
    /// A database and all its tables are gone.
    DatabaseDropped(DatabaseId),
    /// A table is new or changed, or its routes are.
    Table(Arc<TableInfo>, Arc<[Route]>),
    /// A table is gone.
    TableDropped(TableId),
    /// A node is new or moved.
    Node(NodeId, String),
    /// A word to one frontend: its number while this watch lives.
    Seated(FrontendId),
    /// A word to one frontend: another one asks.
    Asked(Question),
}

/// Everything a frontend caches.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Catalog {
    /// All databases.
    pub databases: Vec<Arc<DatabaseInfo>>,
    /// All tables with their routes, in partition order.
    pub tables: Vec<(Arc<TableInfo>, Arc<[Route]>)>,
    /// Addresses of datanodes.
    pub nodes: Vec<(NodeId, String)>,
}

/// A change that metasrv carries through.
#[derive(Clone, Debug, PartialEq)]
pub enum Procedure {
    /// CREATE DATABASE.
    CreateDatabase {
        /// Its name.
        name: String,
        /// Inherited by its tables.
        ttl: Option<Ttl>,
        /// Regions of automatically created tables.
        regions: u32,
        /// Succeed when it exists.
        if_not_exists: bool,
    },
    /// ALTER DATABASE SET ttl.
    AlterDatabase {
        /// Its name.
        name: String,
        /// The new value.
        ttl: Option<Ttl>,
    },
    /// DROP DATABASE with all its tables.
    DropDatabase {
        /// Its name.
        name: String,
        /// Succeed when it is missing.
        if_exists: bool,
    },
    /// CREATE TABLE.
    CreateTable(CreateTable),
    /// A change of one table.
    AlterTable {
        /// The table.
        table: TableName,
        /// The change.
        change: TableChange,
    },
    /// DROP TABLE.
    DropTable {
        /// The table.
        table: TableName,
        /// Succeed when it is missing.
        if_exists: bool,
    },
    /// An order to every region of a table.
    EachRegion {
        /// The table.
        table: TableName,
        /// What.
        action: RegionAction,
    },
}

/// A table by name.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TableName {
    /// Database name.
    pub database: String,
    /// Table name.
    pub table: String,
}

/// CREATE TABLE, resolved to columns.
#[derive(Clone, Debug, PartialEq)]
pub struct CreateTable {
    /// The table.
    pub table: TableName,
    /// Columns in order.
    pub columns: Vec<NewColumn>,
    /// Tags in key order; tags not named follow.
    pub primary_key: Vec<String>,
    /// Options.
    pub options: TableOptions,
    /// Number of regions; `None` takes the database's.
    pub regions: Option<u32>,
    /// Succeed when it exists.
    pub if_not_exists: bool,
}

/// A change of one table.
#[derive(Clone, Debug, PartialEq)]
pub enum TableChange {
    /// Adds columns; one that exists is `AlreadyExists`.
    AddColumns(Vec<NewColumn>),
    /// Adds the columns that are missing; what exists must agree (automatic widening).
    Widen(Vec<NewColumn>),
    /// Drops a field.
    DropColumn(String),
    /// Renames the table.
    Rename(String),
    /// Replaces the options. Errors: `InvalidRequest` for a change that the data forbids.
    SetOptions(TableOptions),
}

/// What each region of a table shall do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum RegionAction {
    /// Delete all rows.
    Truncate,
    /// Write memtables to files.
    Flush,
    /// Merge files to their final order.
    Compact,
}

/// A procedure has ended well.
#[derive(Clone, Debug, PartialEq)]
pub struct Outcome {
    /// A catalog at this revision or later shows the change.
    pub revision: u64,
    /// Whether anything changed.
    pub changed: bool,
}
