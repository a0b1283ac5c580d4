//! How a frozen memtable becomes files.
//!
//! Only a flush may give all its rows one `__seq`, because only its generation
//! is closed: every competitor of another generation is wholly older or newer.
//! Deletes of the generation are applied here to its own rows, and go on as
//! tombstones for the files before it.

use std::collections::BTreeMap;
use std::sync::Arc;

use varve_model::Result;
use varve_model::budget::Account;
use varve_model::id::{Sequence, SeriesId};
use varve_model::table::{MergeMode, TableInfo};
use varve_service::telemetry::stage::{self, Stage, StageTimer};

use crate::index::meta::IndexSegmentMeta;
use crate::index::{SeriesIndex, segment};
use crate::memtable::{Memtable, Part};
use crate::merge::{Counted, Merger, Rules, Source, groups, series_of};
use crate::sst::bucket::{self, YOUNG_HOURS};
use crate::sst::meta::{FileMeta, Tombstone};
use crate::sst::schema::stored_fields;
use crate::sst::{Encoded, FileSpec, Projection, Writer};
use crate::store::FileContext;
use crate::version::{Frozen, View};

/// Files of one flush: beyond, the oldest buckets share one.
const FILES_MAX: usize = 8;
/// Rows merged and encoded at once.
const GROUP_ROWS: u64 = 256 << 10;

/// What a flush made; the manifest commit names it.
#[derive(Clone, Debug, Default)]
pub struct FlushOutput {
    /// One per bucket, or fewer.
    pub files: Vec<FileMeta>,
    /// Definitions of series not yet in a segment.
    pub index_segment: Option<IndexSegmentMeta>,
    /// Deletes of the generation, for older files.
    pub tombstones: Vec<Tombstone>,
}

/// Writes a frozen generation into files. `index_from` is the first series not yet in an index segment.
/// Errors: `Unavailable`, `Busy`; nothing refers to what was uploaded then.
#[tracing::instrument(level = "debug", skip_all, fields(upto = frozen.upto.0))]
pub async fn flush(ctx: &FileContext, view: &View, frozen: &Frozen, index_from: SeriesId) -> Result<FlushOutput> {
    let width = bucket::width(YOUNG_HOURS, view.table.schema.time_unit());
    let job = Arc::new(Job {
        table: view.table.clone(),
        index: view.index.clone(),
        memtable: frozen.memtable.clone(),
        seq: frozen.upto,
        width,
        key_columns: view.key_columns(),
        account: ctx.account.clone(),
    });
    // Held while the file is built: about what the generation takes in memory.
    let charge = ctx.account.charge(frozen.memtable.bytes())?;
    let mut output = FlushOutput::default();
    for buckets in plan(&job.rows_per_bucket()) {
        let (job, spec) = (job.clone(), job.spec(ctx, &buckets));
        let encoded = ctx.tasks.blocking("flush", move || job.encode(spec, &buckets)).await??;
        if let Some(encoded) = encoded {
            let (rows, bytes) = (encoded.rows() as usize, encoded.bytes());
            failpoint!("flush.sst.before");
            output.files.push(encoded.upload(ctx).await?);
            failpoint!("flush.sst.after");
            stage::count(Stage::Upload, rows, bytes);
        }
    }
    drop(charge);
    failpoint!("flush.sidecar.before");
    output.index_segment = segment::write(ctx, &view.index, index_from, view.index.next_id()).await?;
    failpoint!("flush.sidecar.after");
    output.tombstones = frozen.memtable.deletes().iter().map(|mask| mask.tombstone(frozen.upto)).collect();
    Ok(output)
}

/// Which buckets share a file: each its own, but the oldest together when there are many.
fn plan(rows_per_bucket: &BTreeMap<i64, u64>) -> Vec<Vec<i64>> {
    let buckets = rows_per_bucket.keys().copied().collect::<Vec<_>>();
    if buckets.len() <= FILES_MAX {
        return buckets.into_iter().map(|bucket| vec![bucket]).collect();
    }
    let (late, young) = buckets.split_at(buckets.len() - (FILES_MAX - 1));
    let mut files = vec![late.to_vec()];
    files.extend(young.iter().map(|&bucket| vec![bucket]));
    files
}

/// What encoding needs, away from the event loop.
struct Job {
    table: Arc<TableInfo>,
    index: Arc<SeriesIndex>,
    memtable: Memtable,
    seq: Sequence,
    width: i64,
    key_columns: Vec<String>,
    account: Account,
}

impl Job {
    fn rows_per_bucket(&self) -> BTreeMap<i64, u64> {
        let mut rows: BTreeMap<i64, u64> = BTreeMap::new();
        for part in self.memtable.parts() {
            let time = part.time();
            let (first, last) = (bucket::number(time.start, self.width), bucket::number(time.end, self.width));
            if first == last {
                *rows.entry(first).or_default() += part.rows() as u64;
                continue;
            }
            // Neighbours share a bucket nearly always: one look-up per change.
            let mut last = (first, 0);
            for &ts in part.timestamps() {
                let number = bucket::number(ts, self.width);
                if number != last.0 {
                    *rows.entry(last.0).or_default() += last.1;
                    last = (number, 0);
                }
                last.1 += 1;
            }
            *rows.entry(last.0).or_default() += last.1;
        }
        rows.retain(|_, rows| *rows > 0);
        rows
    }

    fn spec(&self, ctx: &FileContext, buckets: &[i64]) -> FileSpec {
        let bucket = match buckets {
            [one] => Some(bucket::bucket(*one, self.width)),
            _ => None,
        };
        FileSpec { table: self.table.clone(), region: ctx.region, epoch: ctx.region_epoch, bucket, level: 0 }
    }

    /// One file of these buckets. `None` when deletes leave nothing.
    fn encode(&self, spec: FileSpec, buckets: &[i64]) -> Result<Option<Encoded>> {
        let mut writer = Writer::new(spec, self.index.clone(), self.account.empty());
        for &number in buckets {
            let bucket = bucket::bucket(number, self.width);
            writer.start_bucket(bucket.start)?;
            let time = bucket.time();
            let sources = |part: &Part| Source::of_part(part, None, time);
            let sources = self.memtable.parts().iter().filter_map(sources).collect::<Vec<_>>();
            let series = series_of(&sources, &self.index, &self.key_columns);
            let masks = self.memtable.deletes().iter().filter(|mask| mask.time.overlaps(time)).cloned().collect();
            let mut merger = Merger::new(Rules { mode: self.mode(), time, masks });
            for group in groups(&series, GROUP_ROWS) {
                self.encode_group(&mut writer, &mut merger, &sources, group)?;
            }
        }
        let timer = StageTimer::start(Stage::FlushEncode);
        let encoded = writer.finish()?;
        timer.finish(0, encoded.as_ref().map_or(0, Encoded::bytes));
        Ok(encoded)
    }

    fn encode_group(
        &self,
        writer: &mut Writer,
        merger: &mut Merger,
        sources: &[Source],
        group: &[Counted],
    ) -> Result<()> {
        let projection = Projection { fields: stored_fields(&self.table.schema), ts: true, seq: true };
        let ids = group.iter().map(|counted| counted.id).collect::<Vec<_>>();
        let mut pieces = Vec::with_capacity(sources.len());
        for source in sources {
            if let Source::Memory { part, time, .. } = source {
                pieces.push(part.piece(&ids, *time, &projection)?);
            }
        }
        let mut rows = merger.merge(&ids, &pieces)?;
        rows.seq = vec![self.seq.0; rows.ts.len()].into();
        let timer = StageTimer::start(Stage::FlushEncode);
        writer.write(&rows)?;
        timer.finish(rows.ts.len(), 0);
        Ok(())
    }

    fn mode(&self) -> MergeMode {
        self.table.options.merge_mode
    }
}
