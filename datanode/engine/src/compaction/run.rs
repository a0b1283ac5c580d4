//! How files become fewer and larger ones: series by series, sequences copied.
//!
//! A row keeps its `__seq`; a row merged of several takes the highest. Raising a
//! sequence would bring back what a delete had masked.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use varve_model::table::MergeMode;
use varve_model::time::TimeRange;
use varve_model::{Error, Result};
use varve_service::telemetry::stage::{self, Stage, StageTimer};

use super::pick::{Task, is_convex};
use crate::fault::bug::{self, Bug};
use crate::memtable::Memtable;
use crate::merge::{Counted, Merger, Readers, Rules, Source, groups, is_long, series_of};
use crate::sst::bucket;
use crate::sst::meta::{FileMeta, FileName, Tombstone};
use crate::sst::schema::stored_fields;
use crate::sst::{Encoded, FileSpec, OpenFile, Piece, Projection, Writer};
use crate::store::FileContext;
use crate::version::View;

/// Rows merged and encoded at once.
const GROUP_ROWS: u64 = 256 << 10;

/// What a compaction made; the manifest commit names it.
#[derive(Clone, Debug, Default)]
pub struct CompactionOutput {
    /// Files that are replaced.
    pub remove: Vec<FileName>,
    /// Files that replace them.
    pub add: Vec<FileMeta>,
    /// Deletes that no file needs any more; none in this version.
    pub tombstones_dropped: Vec<Tombstone>,
}

/// Rewrites the files of a task. Errors: `Internal` when the view does not name them, `Corrupt`, `Unavailable`, `Busy`.
#[tracing::instrument(level = "debug", name = "compaction", skip_all, fields(inputs = task.inputs.len()))]
pub async fn run(ctx: &FileContext, view: &View, task: &Task) -> Result<CompactionOutput> {
    let mut inputs = Vec::new();
    for name in &task.inputs {
        let meta = view.files.iter().find(|file| file.name == *name);
        inputs.push(meta.ok_or_else(|| Error::internal(format!("compaction of {name}, which the region has not")))?);
    }
    let mode = match view.mode() {
        // Fields of rows may not be merged around a file outside: keep all rows, they still merge at read time.
        MergeMode::LastNonNull if !is_convex(&inputs, &view.files, &[]) => MergeMode::Append,
        mode => mode,
    };
    let charge = ctx.account.charge(inputs.iter().map(|file| file.bytes).sum())?;
    let mut files = Vec::with_capacity(inputs.len());
    for meta in &inputs {
        files.push(view.open_files.open(ctx, meta).await?);
    }
    let mut output = CompactionOutput { remove: task.inputs.clone(), ..CompactionOutput::default() };
    if bug::is(Bug::TombstoneDroppedEarly) {
        output.tombstones_dropped = view.tombstones.to_vec();
    }
    for (window, sources) in windows(&files, task.width) {
        let spec = FileSpec {
            table: view.table.clone(),
            region: ctx.region,
            epoch: ctx.region_epoch,
            bucket: Some(bucket::bucket(window, task.width)),
            level: task.level,
        };
        let encoded = Window { ctx, view, mode, spec }.rewrite(sources).await?;
        if let Some(encoded) = encoded {
            let (rows, bytes) = (encoded.rows() as usize, encoded.bytes());
            failpoint!("compaction.upload.before");
            output.add.push(encoded.upload(ctx).await?);
            failpoint!("compaction.upload.after");
            stage::count(Stage::Upload, rows, bytes);
        }
    }
    drop(charge);
    Ok(output)
}

/// Sources per window of the output, in sequence order.
fn windows(files: &[Arc<OpenFile>], width: i64) -> BTreeMap<i64, Vec<Source>> {
    let mut numbers = BTreeSet::new();
    for segment in files.iter().flat_map(|file| file.segments()) {
        numbers.extend(bucket::number(segment.time.start, width)..=bucket::number(segment.time.end, width));
    }
    let sources = |number: i64| {
        let time = bucket::bucket(number, width).time();
        files.iter().flat_map(|file| Source::of_file(file, None, time)).collect::<Vec<_>>()
    };
    numbers.into_iter().map(|number| (number, sources(number))).filter(|(_, sources)| !sources.is_empty()).collect()
}

/// One window being rewritten.
struct Window<'a> {
    ctx: &'a FileContext,
    view: &'a View,
    mode: MergeMode,
    spec: FileSpec,
}

impl Window<'_> {
    async fn rewrite(self, sources: Vec<Source>) -> Result<Option<Encoded>> {
        let time = self.spec.bucket.map_or(TimeRange::ALL, |bucket| bucket.time());
        let table = &self.view.table.schema;
        let projection = Projection { fields: stored_fields(table), ts: true, seq: true };
        let series = series_of(&sources, &self.view.index, &self.view.key_columns());
        let masks = self.view.tombstone_masks().iter().filter(|mask| mask.time.overlaps(time)).cloned().collect();
        let mut merger = Merger::new(Rules { mode: self.mode, time, masks });
        let mut writer = Writer::new(self.spec.clone(), self.view.index.clone(), self.ctx.account.empty());
        let time_column = (table.time_index().id, table.time_unit());
        let mut readers = Readers::new(self.ctx, sources, projection, time_column);
        for group in groups(&series, GROUP_ROWS) {
            let ids = group.iter().map(|counted: &Counted| counted.id).collect::<Vec<_>>();
            let long = is_long(group, GROUP_ROWS);
            if long {
                readers.begin_long(ids[0], GROUP_ROWS as u32);
            }
            loop {
                let pieces = if long { readers.step_long().await? } else { Some(readers.group(&ids).await?) };
                let Some(pieces) = pieces else { break };
                (merger, writer) = self.write(merger, writer, ids.clone(), pieces).await?;
                if !long {
                    break;
                }
            }
        }
        if !readers.is_done() {
            return Err(Error::corrupt("a file's series are not in the order of the table's key"));
        }
        self.ctx.tasks.blocking("compaction", move || writer.finish()).await?
    }

    /// Merges and encodes away from the event loop.
    async fn write(
        &self,
        mut merger: Merger,
        mut writer: Writer,
        ids: Vec<u32>,
        pieces: Vec<Piece>,
    ) -> Result<(Merger, Writer)> {
        let newest =
            self.view.memtables().last().map(Memtable::upto).filter(|_| bug::is(Bug::CompactionRaisesSequence));
        let work = move || {
            let mut rows = merger.merge(&ids, &pieces)?;
            if let Some(newest) = newest {
                rows.seq = vec![newest.0; rows.ts.len()].into();
            }
            // The merge counts itself.
            let timer = StageTimer::start(Stage::Compact);
            writer.write(&rows)?;
            timer.finish(rows.ts.len(), 0);
            Ok((merger, writer))
        };
        self.ctx.tasks.blocking("compaction", work).await?
    }
}
