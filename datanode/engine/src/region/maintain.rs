//! Background work of one region: flush, compaction, retention, alter, truncate, drop.
//!
//! Each changes the manifest first and the readers' view after, and gives back
//! log and memory last. One at a time holds the manifest.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use varve_model::id::{Sequence, SeriesId};
use varve_model::schema::Schema;
use varve_model::table::{TableInfo, Ttl};
use varve_model::{Error, Result, ResultExt};

use super::{Maintenance, Shared};
use crate::compaction::{self, CompactionOutput, Force, Now, Task};
use crate::fault::bug::{self, Bug};
use crate::flush::run::{self, FlushOutput};
use crate::gc;
use crate::manifest::{Create, Edit, ManifestState};
use crate::version::Frozen;
use crate::wal::Source;

/// A wall clock that moved this much against the boot clock is not trusted to expire rows.
const CLOCK_JUMP_MAX: Duration = Duration::from_hours(1);

/// Brings everything written so far into files. What comes meanwhile is the next flush's: with it this one would not
/// end while writers are quick.
pub(crate) async fn flush(shared: &Shared) -> Result<()> {
    let mut maintenance = shared.maintenance.lock().await;
    let upto = Sequence(shared.sequence.load(Ordering::Acquire));
    // A generation whose flush failed comes first: generations are committed in order.
    while maintenance.flush_one(shared).await.context(|| format!("flush region {}", shared.region()))?
        && maintenance.manifest.state().flushed_to < upto
    {}
    Ok(())
}

impl Maintenance {
    /// Flushes one generation. False when there is none.
    async fn flush_one(&mut self, shared: &Shared) -> Result<bool> {
        failpoint!("flush.freeze.before");
        if self.frozen.is_none() {
            self.frozen = shared.version.freeze();
        }
        let Some(frozen) = self.frozen.clone() else {
            let flushed_to = self.manifest.state().flushed_to;
            shared.release(flushed_to);
            self.drop_sources(shared, flushed_to).await?;
            return Ok(false);
        };
        failpoint!("flush.freeze.after");
        let view = shared.version.view();
        let output = run::flush(&shared.ctx, &view, &frozen, indexed_to(self.manifest.state())).await?;
        tracing::debug!(upto = frozen.upto.0, files = output.files.len(), "a generation is in files");
        let mut edit = self.edit(shared, frozen.upto);
        edit.tokens = shared.tokens.lock().upto(frozen.upto);
        add_output(&mut edit, output);
        self.commit(shared, edit, Some(&frozen)).await?;
        self.frozen = None;
        failpoint!("flush.release.before");
        shared.release(frozen.upto);
        shared.wal.trim(shared.region(), frozen.upto).await?;
        failpoint!("flush.release.after");
        Ok(true)
    }

    /// Commits that the region needs no log of another session any more, if the manifest still names one.
    async fn drop_sources(&mut self, shared: &Shared, flushed_to: Sequence) -> Result<()> {
        let edit = self.edit(shared, flushed_to);
        let is_kept = |known: &Source| edit.sources.iter().any(|source| source.session == known.session);
        if !self.manifest.state().sources.iter().all(is_kept) {
            self.commit(shared, edit, None).await?;
        }
        shared.wal.trim(shared.region(), flushed_to).await
    }

    /// An edit that changes nothing but the flushed sequence.
    fn edit(&self, shared: &Shared, flushed_to: Sequence) -> Edit {
        let state = self.manifest.state();
        Edit {
            flushed_to,
            sources: shared.wal.sources(shared.region(), flushed_to, &state.sources),
            next_series: state.next_series,
            at_s: shared.ctx.clock.wall_nanos() / 1_000_000_000,
            add: Vec::new(),
            remove: Vec::new(),
            index: Vec::new(),
            tombstones: Vec::new(),
            tombstones_done: Vec::new(),
            tokens: Vec::new(),
            change: None,
            consumers: Vec::new(),
        }
    }

    /// Commits and shows the result to readers; files that left are queued for deletion.
    async fn commit(&mut self, shared: &Shared, edit: Edit, flushed: Option<&Frozen>) -> Result<()> {
        let removed = edit.remove.clone();
        self.manifest.commit(edit).await?;
        let state = self.manifest.state();
        tracing::debug!(version = state.version, flushed_to = state.flushed_to.0, "manifest committed");
        shared.manifest_version.store(state.version, Ordering::Release);
        shared.version.install(state.files.clone(), state.tombstones.clone(), flushed);
        let due = shared.ctx.clock.boot() + shared.options.delete_grace;
        shared.garbage.lock().push(removed, due);
        Ok(())
    }
}

fn indexed_to(state: &ManifestState) -> SeriesId {
    state.index.last().map_or(SeriesId(0), |last| SeriesId(last.first.0 + last.count))
}

fn add_output(edit: &mut Edit, output: FlushOutput) {
    edit.add = output.files;
    edit.tombstones = output.tombstones;
    if let Some(segment) = output.index_segment {
        edit.next_series = SeriesId(segment.first.0 + segment.count);
        edit.index.push(segment);
    }
}

impl Shared {
    /// Gives back memory and tokens of rows that are in files.
    fn release(&self, flushed_to: Sequence) {
        self.tokens.lock().flushed(flushed_to);
        let mut unflushed = self.unflushed.lock();
        while unflushed.front().is_some_and(|front| front.last <= flushed_to) {
            unflushed.pop_front();
        }
    }
}

/// Brings everything written so far into files, and those into their final order.
pub(crate) async fn compact_all(shared: &Shared) -> Result<()> {
    let doing = || format!("compact region {}", shared.region());
    let _one = shared.compaction.lock().await;
    flush(shared).await?;
    let upto = shared.version.view().flushed_to;
    expire(shared).await.context(doing)?;
    while compact_one(shared, Some(upto)).await.context(doing)? {}
    Ok(())
}

/// Rewrites files once, if it is worth it. Whether it was.
pub(crate) async fn compact(shared: &Shared) -> Result<bool> {
    let doing = || format!("compact region {}", shared.region());
    let _one = shared.compaction.lock().await;
    expire(shared).await.context(doing)?;
    compact_one(shared, None).await.context(doing)
}

/// One compaction: of what is worth it, or of all files with rows up to a sequence. False when there is nothing to do.
async fn compact_one(shared: &Shared, all_upto: Option<Sequence>) -> Result<bool> {
    let view = shared.version.view();
    let now = Now { wall_nanos: shared.ctx.clock.wall_nanos(), unit: view.table.schema.time_unit() };
    let task = match all_upto {
        None => compaction::pick(&view.files, &view.tombstones, now, Force::No),
        Some(upto) => {
            // Files that were flushed since lie behind all inputs. With them this would not end while writers are quick.
            let files = view.files.iter().filter(|file| file.seq.1 <= upto).cloned().collect::<Vec<_>>();
            compaction::pick(&files, &view.tombstones, now, Force::Final)
        }
    };
    let Some(task) = task else { return Ok(false) };
    let output = compaction::run(&shared.ctx, &view, &task).await?;
    drop(view);
    commit_compaction(shared, &task, output).await
}

async fn commit_compaction(shared: &Shared, task: &Task, output: CompactionOutput) -> Result<bool> {
    let mut maintenance = shared.maintenance.lock().await;
    let state = maintenance.manifest.state();
    let (inputs, flushed_to) = (&task.inputs, state.flushed_to);
    if !inputs.iter().all(|name| state.files.iter().any(|file| file.name == *name)) {
        // Truncated or expired meanwhile: what was written is garbage of our own epoch.
        let due = shared.ctx.clock.boot() + shared.options.delete_grace;
        shared.garbage.lock().push(output.add.into_iter().map(|file| file.name), due);
        return Ok(false);
    }
    let mut edit = maintenance.edit(shared, flushed_to);
    edit.remove = output.remove;
    edit.add = output.add;
    edit.tombstones_done = output.tombstones_dropped;
    failpoint!("compaction.commit.before");
    maintenance.commit(shared, edit, None).await?;
    failpoint!("compaction.commit.after");
    Ok(true)
}

/// Drops files whose rows have all expired, unless the wall clock jumped.
async fn expire(shared: &Shared) -> Result<()> {
    let (wall, boot) = (shared.ctx.clock.wall_nanos(), shared.ctx.clock.boot());
    let (wall_then, boot_then) = shared.opened_at;
    let drift = i128::from(wall) - i128::from(wall_then) - boot.saturating_sub(boot_then).as_nanos() as i128;
    if drift.unsigned_abs() > CLOCK_JUMP_MAX.as_nanos() {
        tracing::warn!(region = %shared.region(), "the wall clock jumped: no file is expired");
        return Ok(());
    }
    let mut maintenance = shared.maintenance.lock().await;
    let view = shared.version.view();
    let expired = compaction::retention::expired(&view.files, view.alive(wall));
    if expired.is_empty() {
        return Ok(());
    }
    let mut edit = maintenance.edit(shared, maintenance.manifest.state().flushed_to);
    edit.remove = expired;
    maintenance.commit(shared, edit, None).await
}

/// Takes over a changed table.
pub(super) async fn alter(shared: &Shared, table: Arc<TableInfo>, ttl: Ttl) -> Result<()> {
    let mut maintenance = shared.maintenance.lock().await;
    let view = shared.version.view();
    let known = &view.table;
    if table.id != known.id || table.incarnation != known.incarnation {
        return Err(Error::invalid(format!("region {} is of another table", shared.region())));
    }
    let is_older = |new: &Schema, old: &Schema| new.version < old.version;
    if is_older(&table.schema, &known.schema) || (table == *known && ttl == view.ttl) {
        return Ok(());
    }
    let mut edit = maintenance.edit(shared, maintenance.manifest.state().flushed_to);
    edit.change = Some(Create { table: TableInfo::clone(&table), ttl });
    maintenance.commit(shared, edit, None).await.context(|| format!("alter region {}", shared.region()))?;
    shared.version.alter(table, ttl);
    Ok(())
}

/// Removes all rows. Precondition: writes are held and everything before is applied.
pub(super) async fn truncate(shared: &Shared) -> Result<()> {
    let mut maintenance = shared.maintenance.lock().await;
    let upto = Sequence(shared.sequence.load(Ordering::Acquire));
    let state = maintenance.manifest.state();
    let mut edit = maintenance.edit(shared, upto.max(state.flushed_to));
    edit.remove = state.files.iter().map(|file| file.name).collect();
    edit.tombstones_done = state.tombstones.clone();
    edit.tokens = shared.tokens.lock().upto(upto);
    // Series keep their ids: the next flush writes the definitions that the log loses now.
    let (from, next) = (indexed_to(state), shared.index.next_id());
    if let Some(segment) = crate::index::segment::write(&shared.ctx, &shared.index, from, next).await? {
        edit.next_series = SeriesId(segment.first.0 + segment.count);
        edit.index.push(segment);
    }
    maintenance.commit(shared, edit, None).await.context(|| format!("truncate region {}", shared.region()))?;
    maintenance.frozen = None;
    shared.version.clear();
    shared.release(upto);
    shared.wal.trim(shared.region(), upto).await
}

/// Removes everything but the manifest, which says for ever that the region is gone.
pub(super) async fn drop_data(shared: &Shared) -> Result<()> {
    let mut maintenance = shared.maintenance.lock().await;
    maintenance.manifest.tombstone().await.context(|| format!("drop region {}", shared.region()))?;
    shared.version.clear();
    shared.wal.trim(shared.region(), Sequence(u64::MAX)).await?;
    shared.release(Sequence(u64::MAX));
    gc::delete_all(&shared.ctx).await
}

/// Deletes what is due, nobody reads and nobody refers to. What cannot be deleted is due again at once.
pub(crate) async fn collect(shared: &Shared) -> Result<()> {
    let now = shared.ctx.clock.boot();
    let due = shared.garbage.lock().due(now, |name| shared.version.in_use(name) && !bug::is(Bug::GcIgnoresPins));
    if due.is_empty() {
        return Ok(());
    }
    let kept = match gc::reference::kept(&shared.ctx).await {
        Ok(kept) => kept,
        Err(error) => {
            shared.garbage.lock().push(due, now);
            return Err(error);
        }
    };
    let (referenced, free) = due.into_iter().partition::<Vec<_>, _>(|name| kept.has(*name));
    shared.garbage.lock().put_aside(referenced);
    let mut free = free.into_iter();
    while let Some(name) = free.next() {
        failpoint!("compaction.delete.before");
        if let Err(error) = gc::delete_file(&shared.ctx, name).await {
            shared.garbage.lock().push(std::iter::once(name).chain(free), now);
            return Err(error);
        }
        failpoint!("compaction.delete.after");
    }
    Ok(())
}

/// Deletes files of older epochs that nothing names: their writers can never commit them.
pub(crate) async fn collect_orphans(shared: &Shared) -> Result<u64> {
    // The manifest is held, so that nothing is committed between its reading and the listing.
    let maintenance = shared.maintenance.lock().await;
    let state = maintenance.manifest.state();
    let data = state.files.iter().map(|file| file.name);
    let named = data.chain(state.index.iter().map(|segment| segment.name)).collect();
    let orphans = gc::orphans(&shared.ctx, &named, shared.options.orphan_age).await?;
    drop(maintenance);
    let unused = orphans.into_iter().filter(|(name, _)| !shared.version.in_use(*name));
    let paths = unused.map(|(_, path)| path).collect::<Vec<_>>();
    let count = paths.len() as u64;
    gc::delete_paths(&shared.ctx, paths).await?;
    Ok(count)
}
