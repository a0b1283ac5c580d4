//! One region: a single writer that gives sequences and ids, readers beside it, recovery before it.
//!
//! All writes pass one task, so that the order of sequences, of the log and of
//! visibility is one order. Readers take a snapshot and ask nobody.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::{mpsc, oneshot};
use tracing::{Instrument, Span};
use varve_model::batch::RegionBatch;
use varve_model::budget::{Account, Charge};
use varve_model::id::{RegionEpoch, RegionId, Sequence};
use varve_model::limits::WAL_ACK_TIMEOUT;
use varve_model::matcher::Matcher;
use varve_model::region::Permit;
use varve_model::scan::{DescribeSpec, RegionStatistics, ScanSpec};
use varve_model::table::{TableInfo, Ttl};
use varve_model::time::TimeRange;
use varve_model::{Error, ErrorKind, Result};

use crate::fault::bug::{self, Bug};
use crate::index::SeriesIndex;
use crate::manifest::Manifest;
use crate::scan::{self, RegionScan};
use crate::store::FileContext;
use crate::version::{Frozen, VersionSet};
use crate::wal::Wal;

mod batch;
mod maintain;
mod open;
pub mod options;
mod tokens;
mod worker;

use crate::gc::Garbage;
pub(crate) use open::{Opening, open};
use options::EngineOptions;
use tokens::TokenWindow;
use worker::{Asker, Command};

/// A write is durable and readable.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ack {
    /// Number of the write's last row.
    pub sequence: Sequence,
    /// Rows written; 0 for a delete, whose count is not known.
    pub rows: u64,
}

/// The answer to a [`DescribeSpec`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RegionDescription {
    /// Distinct values, sorted.
    TagValues(Vec<String>),
    /// Registry keys, in key order.
    Series(Vec<Vec<u8>>),
    /// Sizes and counts.
    Statistics(RegionStatistics),
}

/// An open region. Dropping it does not close it; [`Region::close`] does.
#[derive(Debug)]
pub struct Region {
    shared: Arc<Shared>,
    commands: mpsc::Sender<Command>,
}

/// What the writer, the readers and the background work of a region share.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) ctx: FileContext,
    pub(crate) version: VersionSet,
    index: Arc<SeriesIndex>,
    wal: Arc<dyn Wal>,
    /// Memtables are charged here.
    memory: Account,
    /// The index is charged here.
    indexes: Account,
    index_charge: Mutex<Charge>,
    permit: Mutex<Option<Permit>>,
    /// A newer owner was met: nothing is acknowledged or committed any more.
    fenced: AtomicBool,
    tokens: Mutex<TokenWindow>,
    maintenance: tokio::sync::Mutex<Maintenance>,
    compaction: tokio::sync::Mutex<()>,
    /// Blocks in memory that are not in files, oldest first.
    unflushed: Mutex<VecDeque<Unflushed>>,
    /// Last sequence given.
    sequence: AtomicU64,
    manifest_version: AtomicU64,
    /// Background jobs begun: the next one's number in log lines.
    jobs: AtomicU64,
    garbage: Mutex<Garbage>,
    options: EngineOptions,
    /// Wall clock and boot clock when the region was opened, to notice a jump.
    opened_at: (i64, Duration),
}

/// What one background job at a time may change.
#[derive(Debug)]
struct Maintenance {
    manifest: Manifest,
    /// A generation that was closed and not yet committed.
    frozen: Option<Arc<Frozen>>,
}

#[derive(Debug)]
struct Unflushed {
    last: Sequence,
    at: Duration,
    _charge: Charge,
}

impl Shared {
    /// Charges what the index has grown by.
    fn charge_index(&self) {
        self.index_charge.lock().set(self.index.bytes_len() as u64);
    }

    fn region(&self) -> RegionId {
        self.ctx.region
    }

    fn epoch(&self) -> RegionEpoch {
        self.ctx.region_epoch
    }

    fn check_epoch(&self, epoch: RegionEpoch) -> Result<()> {
        if epoch == self.epoch() {
            return Ok(());
        }
        Err(Error::new(
            ErrorKind::StaleRoute,
            format!("region {} has epoch {}, not {epoch}", self.region(), self.epoch()),
        ))
    }

    /// Whether an answer may be given now. Errors: `Unavailable`.
    fn check_permit(&self) -> Result<()> {
        if self.fenced.load(Ordering::Acquire) {
            return Err(Error::unavailable(format!("region {} has a newer owner", self.region())));
        }
        let now = self.ctx.clock.boot();
        if self.permit.lock().is_some_and(|permit| permit.allows(self.epoch(), now)) {
            return Ok(());
        }
        Err(Error::unavailable(format!("region {} has no valid lease", self.region())))
    }

    /// Bytes in memory and the age of the oldest row, for the flush schedule.
    pub(crate) fn load(&self) -> (u64, Option<Duration>) {
        let oldest = self.unflushed.lock().front().map(|unflushed| unflushed.at);
        (self.version.memtable_bytes(), oldest)
    }
}

impl Region {
    pub(crate) fn new(shared: Arc<Shared>) -> Self {
        let (commands, queue) = mpsc::channel(shared.options.region_queue_max);
        let worker = worker::Worker::new(Arc::clone(&shared));
        // A span of its own: the writer outlives the order that opened the region.
        let span = tracing::info_span!(parent: None, "writer", region = %shared.region());
        shared.ctx.tasks.spawn("region writer", worker.run(queue).instrument(span));
        Self { shared, commands }
    }

    pub(crate) fn shared(&self) -> &Arc<Shared> {
        &self.shared
    }

    /// Its id.
    pub fn id(&self) -> RegionId {
        self.shared.region()
    }

    /// The grant it was opened under.
    pub fn epoch(&self) -> RegionEpoch {
        self.shared.epoch()
    }

    /// Whether a newer owner was met: the host shall close it.
    pub fn is_fenced(&self) -> bool {
        self.shared.fenced.load(Ordering::Acquire)
    }

    /// The session has ended: no answer is given any more.
    pub(crate) fn fence(&self) {
        self.shared.fenced.store(true, Ordering::Release);
    }

    /// Sets until when writes may be acknowledged and reads answered; the host renews it.
    pub fn permit(&self, permit: Permit) {
        *self.shared.permit.lock() = Some(permit);
    }

    /// Appends rows. Errors: `StaleRoute`, `InvalidRequest`, `Busy` = not written; `Unavailable` = unknown.
    pub async fn write(&self, batch: RegionBatch) -> Result<Ack> {
        self.shared.check_epoch(batch.epoch)?;
        self.shared.check_permit()?;
        batch.check()?;
        if batch.rows() == 0 {
            return Ok(Ack { sequence: Sequence(self.shared.sequence.load(Ordering::Acquire)), rows: 0 });
        }
        let charge = self.shared.memory.admit(batch.bytes_len() as u64)?;
        self.send(|asker| Command::Insert { batch, charge, asker }).await
    }

    /// Deletes rows of matching series in a time range, as far as they were written before.
    /// Errors: as [`Region::write`].
    pub async fn delete(&self, epoch: RegionEpoch, matchers: Vec<Matcher>, time: TimeRange) -> Result<Ack> {
        self.shared.check_epoch(epoch)?;
        self.shared.check_permit()?;
        self.send(|asker| Command::Delete { matchers, time, asker }).await
    }

    async fn send(&self, command: impl FnOnce(Asker) -> Command) -> Result<Ack> {
        let (reply, answer) = oneshot::channel();
        let closed = || Error::unavailable(format!("region {} is closing", self.id()));
        let asker = Asker { reply, span: Span::current() };
        self.commands.send(command(asker)).await.map_err(|_| closed())?;
        let unknown = |why: &str| {
            Err(Error::unavailable(format!("region {} {why}: the outcome of the write is unknown", self.id())))
        };
        let limit = self.shared.ctx.clock.sleep(WAL_ACK_TIMEOUT);
        tokio::select! {
            biased;
            answer = answer => answer.unwrap_or_else(|_| unknown("stopped")),
            () = limit => unknown("waits for its log"),
        }
    }

    /// Reads a snapshot. Errors: `StaleRoute`, `InvalidRequest`, `Unavailable`, `Corrupt`.
    #[tracing::instrument(level = "debug", skip_all, fields(region = %self.id()))]
    pub async fn scan(&self, spec: &ScanSpec) -> Result<RegionScan> {
        self.shared.check_epoch(spec.epoch)?;
        if !bug::is(Bug::ReadWithoutPermit) {
            self.shared.check_permit()?;
        }
        scan::scan(self.shared.version.view(), spec, &self.shared.ctx).await
    }

    /// Answers from the index and statistics, never from samples. Errors: as [`Region::scan`].
    pub fn describe(&self, epoch: RegionEpoch, spec: &DescribeSpec) -> Result<RegionDescription> {
        self.shared.check_epoch(epoch)?;
        self.shared.check_permit()?;
        let index = &self.shared.index;
        Ok(match spec {
            DescribeSpec::TagValues { tag, matchers } => RegionDescription::TagValues(index.tag_values(tag, matchers)?),
            DescribeSpec::Series { matchers } => {
                let keys = index.series_keys(matchers)?;
                RegionDescription::Series(keys.iter().map(<[u8]>::to_vec).collect())
            }
            DescribeSpec::Statistics => RegionDescription::Statistics(self.statistics()),
        })
    }

    /// Sizes and counts.
    pub fn statistics(&self) -> RegionStatistics {
        let view = self.shared.version.view();
        RegionStatistics {
            series: u64::from(self.shared.index.next_id().0),
            memtable_rows: view.memtable_rows(),
            memtable_bytes: view.memtable_bytes(),
            files: view.files.len() as u64,
            file_rows: view.files.iter().map(|file| file.rows).sum(),
            file_bytes: view.files.iter().map(|file| file.bytes + file.sidecar_bytes).sum(),
            sequence: self.shared.sequence.load(Ordering::Acquire),
            flushed_to: view.flushed_to.0,
            manifest_version: self.shared.manifest_version.load(Ordering::Acquire),
            epoch: self.epoch(),
        }
    }

    /// The table as the region knows it.
    pub fn table(&self) -> Arc<TableInfo> {
        Arc::clone(&self.shared.version.view().table)
    }

    /// Takes over a changed table; an older one is left aside. Errors: `Fenced`, `InvalidRequest`.
    pub async fn alter(&self, table: Arc<TableInfo>, ttl: Ttl) -> Result<()> {
        self.job("alter", move |shared, _| async move { maintain::alter(&shared, table, ttl).await }).await
    }

    /// Brings all rows written so far into files. Errors: `Fenced`, `Unavailable`, `Busy`.
    pub async fn flush(&self) -> Result<()> {
        self.job("flush", |shared, _| async move { maintain::flush(&shared).await }).await
    }

    /// Rewrites files once, if it is worth it. Whether it was. Errors: as [`Region::flush`].
    pub(crate) async fn compact(&self) -> Result<bool> {
        self.job("compact", |shared, _| async move { maintain::compact(&shared).await }).await
    }

    /// Brings all rows written so far into files, and those into their final order. Errors: as [`Region::flush`].
    pub async fn compact_all(&self) -> Result<()> {
        self.job("compact all", |shared, _| async move { maintain::compact_all(&shared).await }).await
    }

    /// Removes all rows written so far. Writes wait meanwhile. Errors: as [`Region::flush`].
    pub async fn truncate(&self) -> Result<()> {
        self.job("truncate", |shared, commands| async move {
            let held = worker::hold(&commands).await?;
            let truncated = maintain::truncate(&shared).await;
            drop(held);
            truncated
        })
        .await
    }

    /// Takes no more writes, answers those it has, ends the writer. Rows stay in the log.
    pub async fn close(&self) {
        let (reply, done) = oneshot::channel();
        if self.commands.send(Command::Close(reply)).await.is_ok() {
            let _ = done.await;
        }
    }

    /// Closes the region and removes its data for ever. Errors: as [`Region::flush`].
    pub async fn drop_data(&self) -> Result<()> {
        self.close().await;
        self.job("drop", |shared, _| async move { maintain::drop_data(&shared).await }).await
    }

    /// Deletes files that left the manifest and have no reader any more. Errors: `Unavailable`.
    pub async fn collect(&self) -> Result<()> {
        if self.shared.garbage.lock().is_empty() {
            return Ok(());
        }
        self.job("collect", |shared, _| async move { maintain::collect(&shared).await }).await
    }

    /// Deletes files that earlier owners left without naming them. Errors: `Unavailable`.
    pub async fn collect_orphans(&self) -> Result<()> {
        self.job("collect orphans", |shared, _| async move { maintain::collect_orphans(&shared).await.map(|_| ()) })
            .await
    }

    /// Runs a job to its end even when the caller goes away: a commit must not stop half way.
    async fn job<T, F>(
        &self,
        name: &'static str,
        job: impl FnOnce(Arc<Shared>, mpsc::Sender<Command>) -> F,
    ) -> Result<T>
    where
        T: Send + 'static,
        F: Future<Output = Result<T>> + Send + 'static,
    {
        let number = self.shared.jobs.fetch_add(1, Ordering::Relaxed);
        let span = tracing::info_span!("job", name, region = %self.id(), job = number);
        let future = job(Arc::clone(&self.shared), self.commands.clone());
        match self.shared.ctx.tasks.spawn(name, future.instrument(span)).await {
            Ok(result) => result.inspect_err(|error| {
                if error.kind() == ErrorKind::Fenced {
                    self.shared.fenced.store(true, Ordering::Release);
                }
            }),
            Err(error) => {
                Err(Error::unavailable(format!("{name} of region {} was cut off", self.id())).with_source(error))
            }
        }
    }
}
