//! One stream of a scan: component by component, group by group, merged as it is polled.

use std::collections::VecDeque;
use std::sync::Arc;

use arrow_array::RecordBatch;
use varve_model::budget::Charge;
use varve_model::table::MergeMode;
use varve_model::time::TimeRange;
use varve_model::{Error, Result};

use super::pick::Component;
use super::project::Output;
use super::{BatchStream, ScanOptions};
use crate::memtable::Part;
use crate::merge::{Counted, Merger, Rules, Source, groups};
use crate::sst::{Cursor, Projection};
use crate::store::FileContext;
use crate::version::View;

/// Where a stream is.
struct State {
    /// Keeps the files in the bucket.
    view: Arc<View>,
    ctx: FileContext,
    output: Arc<Output>,
    options: ScanOptions,
    components: VecDeque<Component>,
    current: Option<Current>,
    ready: VecDeque<RecordBatch>,
    /// The memory of the batches in `ready`.
    charge: Option<Charge>,
}

/// A component being read.
struct Current {
    readers: Vec<Reader>,
    groups: VecDeque<Vec<Counted>>,
    projection: Projection,
    merger: Merger,
}

enum Reader {
    File(Box<Cursor>),
    Memory(Part, TimeRange),
}

/// The stream over these components.
pub(super) fn stream(
    view: &Arc<View>,
    ctx: &FileContext,
    output: &Arc<Output>,
    components: Vec<Component>,
    options: ScanOptions,
) -> BatchStream {
    let state = State {
        view: view.clone(),
        ctx: ctx.clone(),
        output: output.clone(),
        options,
        components: components.into(),
        current: None,
        ready: VecDeque::new(),
        charge: None,
    };
    Box::pin(futures::stream::try_unfold(state, |mut state| async move {
        Ok(state.next().await?.map(|batch| (batch, state)))
    }))
}

impl State {
    async fn next(&mut self) -> Result<Option<RecordBatch>> {
        loop {
            if let Some(batch) = self.ready.pop_front() {
                return Ok(Some(batch));
            }
            self.charge = None;
            let Some(current) = &mut self.current else {
                let Some(component) = self.components.pop_front() else { return Ok(None) };
                self.current = Some(self.open(component));
                continue;
            };
            let Some(group) = current.groups.pop_front() else {
                if current.readers.iter().any(|reader| matches!(reader, Reader::File(cursor) if !cursor.is_done())) {
                    return Err(Error::corrupt("a file's series are not in the order of the table's key"));
                }
                self.current = None;
                continue;
            };
            self.read(&group).await?;
            // Memory alone never waits: give other tasks a turn.
            tokio::task::yield_now().await;
        }
    }

    fn open(&self, component: Component) -> Current {
        let mode = self.view.mode();
        let Component { sources, series, time, masks } = component;
        let competing = sources.len() > 1 || !masks.is_empty();
        let cut = sources.iter().any(|source| time.intersect(source.time()) != source.time());
        let doubtful = mode != MergeMode::Append
            && sources.iter().any(|source| matches!(source, Source::File { file, .. } if !file.meta.unique));
        let projection = Projection {
            fields: self.output.fields.clone(),
            ts: self.output.ts || competing || cut || doubtful,
            seq: competing || doubtful,
        };
        let table = &self.view.table.schema;
        let time_column = (table.time_index().id, table.time_unit());
        let readers = sources.into_iter().map(|source| match source {
            Source::File { file, runs, .. } => {
                Reader::File(Box::new(Cursor::new(&self.ctx, file, runs, &projection, time_column)))
            }
            Source::Memory { part, time, .. } => Reader::Memory(part, time),
        });
        Current {
            readers: readers.collect(),
            groups: groups(&series, self.options.group_rows).into_iter().map(<[Counted]>::to_vec).collect(),
            merger: Merger::new(Rules { mode, time, masks }),
            projection,
        }
    }

    /// Reads, merges and cuts one group of series.
    async fn read(&mut self, group: &[Counted]) -> Result<()> {
        let Some(current) = &mut self.current else { return Ok(()) };
        let rows = group.iter().map(|counted| counted.rows).sum::<u64>();
        // Read once and merged once, 8 bytes a value; text is charged with its chunk.
        let bytes = rows * 16 * (self.output.schema.fields().len() as u64 + 2);
        self.charge = Some(self.ctx.account.charge(bytes)?);
        let ids = group.iter().map(|counted| counted.id).collect::<Vec<_>>();
        let mut pieces = Vec::with_capacity(current.readers.len());
        for reader in &mut current.readers {
            let piece = match reader {
                Reader::File(cursor) => cursor.take(&ids).await?,
                Reader::Memory(part, time) => part.piece(&ids, *time, &current.projection)?,
            };
            if piece.rows() > 0 {
                pieces.push(piece);
            }
        }
        let rows = current.merger.merge(&ids, &pieces)?;
        if rows.runs.is_empty() {
            return Ok(());
        }
        let batch = self.output.batch(&rows)?;
        let mut at = 0;
        while at < batch.num_rows() {
            let len = self.options.batch_rows.min(batch.num_rows() - at);
            self.ready.push_back(batch.slice(at, len));
            at += len;
        }
        Ok(())
    }
}
