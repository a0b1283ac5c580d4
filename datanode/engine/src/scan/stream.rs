//! One stream of a scan: component by component, group by group, merged as it is polled.

use std::collections::VecDeque;
use std::sync::Arc;

use arrow_array::RecordBatch;
use varve_model::budget::Charge;
use varve_model::table::MergeMode;
use varve_model::{Error, Result};

use super::pick::Component;
use super::project::Output;
use super::{BatchStream, ScanOptions};
use crate::merge::{Counted, Merger, Readers, Rules, Source, groups, is_long};
use crate::sst::{Projection, Rows};
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
    readers: Readers,
    groups: VecDeque<Vec<Counted>>,
    /// The series being read in steps.
    long: Option<Counted>,
    merger: Merger,
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
            if current.long.is_some() {
                self.step().await?;
                continue;
            }
            let Some(group) = current.groups.pop_front() else {
                if !current.readers.is_done() {
                    return Err(Error::corrupt("a file's series are not in the order of the table's key"));
                }
                self.current = None;
                continue;
            };
            if is_long(&group, self.options.group_rows) {
                current.readers.begin_long(group[0].id, self.options.group_rows as u32);
                current.long = Some(group[0]);
                continue;
            }
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
        let groups = groups(&series, self.options.group_rows);
        let in_steps = groups.iter().any(|group| is_long(group, self.options.group_rows));
        let projection = Projection {
            fields: self.output.fields.clone(),
            ts: self.output.ts || competing || cut || doubtful || in_steps,
            seq: competing || doubtful,
        };
        let table = &self.view.table.schema;
        let time_column = (table.time_index().id, table.time_unit());
        Current {
            readers: Readers::new(&self.ctx, sources, projection, time_column),
            groups: groups.into_iter().map(<[Counted]>::to_vec).collect(),
            long: None,
            merger: Merger::new(Rules { mode, time, masks }),
        }
    }

    /// Reads, merges and cuts one group of series.
    async fn read(&mut self, group: &[Counted]) -> Result<()> {
        let Some(current) = &mut self.current else { return Ok(()) };
        let rows = group.iter().map(|counted| counted.rows).sum::<u64>();
        self.charge = Some(self.ctx.account.charge(self.output.bytes(rows))?);
        let ids = group.iter().map(|counted| counted.id).collect::<Vec<_>>();
        let pieces = current.readers.group(&ids).await?;
        let rows = current.merger.merge(&ids, &pieces)?;
        self.emit(&rows)
    }

    /// Reads, merges and cuts the next rows of a long series.
    async fn step(&mut self) -> Result<()> {
        let Some(current) = &mut self.current else { return Ok(()) };
        let Some(series) = current.long else { return Ok(()) };
        let rows = series.rows.min(self.options.group_rows * 2);
        self.charge = Some(self.ctx.account.charge(self.output.bytes(rows))?);
        let Some(pieces) = current.readers.step_long().await? else {
            current.long = None;
            return Ok(());
        };
        let rows = current.merger.merge(&[series.id], &pieces)?;
        self.emit(&rows)
    }

    fn emit(&mut self, rows: &Rows) -> Result<()> {
        if rows.runs.is_empty() {
            return Ok(());
        }
        let batch = self.output.batch(rows)?;
        let mut at = 0;
        while at < batch.num_rows() {
            let len = self.options.batch_rows.min(batch.num_rows() - at);
            self.ready.push_back(batch.slice(at, len));
            at += len;
        }
        Ok(())
    }
}
