//! What a scan reads: sources that hold wanted rows, in sets that must be merged together.

use std::sync::Arc;

use futures::{StreamExt, TryStreamExt};
use roaring::RoaringBitmap;
use rustc_hash::FxHashMap;
use varve_model::Result;
use varve_model::scan::ScanSpec;
use varve_model::time::TimeRange;

use super::ScanOptions;
use crate::memtable::Mask;
use crate::merge::{Counted, Source, components, series_of};
use crate::store::FileContext;
use crate::version::View;

/// Files opened side by side.
const OPENS: usize = 8;

/// Everything a scan may have to read.
pub(super) struct Picked {
    time: TimeRange,
    sources: Vec<Source>,
    masks: Vec<Arc<Mask>>,
}

/// Sources whose times overlap, with their series in key order.
pub(super) struct Component {
    pub(super) sources: Vec<Source>,
    pub(super) series: Vec<Counted>,
    /// Rows outside are not wanted.
    pub(super) time: TimeRange,
    /// Deletes that may concern these rows.
    pub(super) masks: Vec<Arc<Mask>>,
}

/// Chooses the sources. Newer sources come later.
pub(super) async fn pick(view: &View, spec: &ScanSpec, ctx: &FileContext) -> Result<Picked> {
    let time = spec.time.intersect(view.alive(ctx.clock.wall_nanos()));
    let ids = if spec.matchers.is_empty() { None } else { Some(view.index.select(&spec.matchers)?) };
    let nothing = time.is_empty() || ids.as_ref().is_some_and(RoaringBitmap::is_empty);
    let mut sources = Vec::new();
    if !nothing {
        let wanted = view.files.iter().filter(|meta| meta.time.overlaps(time));
        // Collected first: a lazy iterator that borrows would make the future unnameable.
        let opens = wanted.map(|meta| view.open_files.open(ctx, meta)).collect::<Vec<_>>();
        let files = futures::stream::iter(opens).buffered(OPENS).try_collect::<Vec<_>>().await?;
        sources.extend(files.iter().flat_map(|file| Source::of_file(file, ids.as_ref(), time)));
        let parts = view.memtables().flat_map(|memtable| memtable.parts());
        sources.extend(parts.filter_map(|part| Source::of_part(part, ids.as_ref(), time)));
    }
    let masks = view.masks().into_iter().filter(|mask| mask.time.overlaps(time)).collect();
    Ok(Picked { time, sources, masks })
}

impl Picked {
    /// Cuts the work by series, so that each stream merges all rows of its series.
    pub(super) fn partition(self, view: &View, options: &ScanOptions) -> Vec<Vec<Component>> {
        let key_columns = view.key_columns();
        let all = series_of(&self.sources, &view.index, &key_columns);
        let rows = all.iter().map(|counted| counted.rows).sum::<u64>();
        let streams = (rows / options.stream_rows_min.max(1)).clamp(1, options.streams_max.max(1) as u64);
        let mut stream_of = FxHashMap::default();
        if streams > 1 {
            let mut before = 0;
            for counted in &all {
                stream_of.insert(counted.id, (before * streams / rows.max(1)) as usize);
                before += counted.rows;
            }
        }
        let times = self.sources.iter().map(Source::time).collect::<Vec<_>>();
        let mut parts = (0..streams).map(|_| Vec::new()).collect::<Vec<_>>();
        for set in components(&times) {
            let sources = set.iter().map(|&at| self.sources[at].clone()).collect::<Vec<_>>();
            for (stream, part) in parts.iter_mut().enumerate() {
                let mine = |id: u32| streams == 1 || stream_of.get(&id) == Some(&stream);
                let sources = sources.iter().filter_map(|source| source.only(mine)).collect::<Vec<_>>();
                if !sources.is_empty() {
                    part.push(self.component(sources, view, &key_columns));
                }
            }
        }
        parts
    }

    fn component(&self, sources: Vec<Source>, view: &View, key_columns: &[String]) -> Component {
        let series = series_of(&sources, &view.index, key_columns);
        let covered = sources.iter().fold(TimeRange::EMPTY, |all, source| all.union(source.time()));
        let oldest = sources.iter().map(Source::oldest).min().unwrap_or_default();
        let concerns = |mask: &&Arc<Mask>| {
            mask.sequence > oldest
                && mask.time.overlaps(covered)
                && mask.series.as_ref().is_none_or(|ids| series.iter().any(|counted| ids.contains(counted.id)))
        };
        let masks = self.masks.iter().filter(concerns).cloned().collect();
        Component { sources, series, time: self.time, masks }
    }
}
