//! Opening: claim the manifest, load the index, replay the log, then serve.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use futures::StreamExt;
use parking_lot::Mutex;
use varve_model::budget::Account;
use varve_model::id::{NodeEpoch, Sequence};
use varve_model::table::{TableInfo, Ttl};
use varve_model::{Error, ErrorKind, Result, ResultExt};

use super::options::EngineOptions;
use super::tokens::TokenWindow;
use super::{Maintenance, Region, Shared, Unflushed, maintain};
use crate::fault::bug::{self, Bug};
use crate::format::block::Block;
use crate::gc::Garbage;
use crate::index::SeriesIndex;
use crate::manifest::{Claimant, Create, Manifest};
use crate::store::FileContext;
use crate::version::VersionSet;
use crate::wal::Wal;
use crate::wal::local::Damage;

/// What opening needs beside the region's own files.
#[derive(Debug)]
pub(crate) struct Opening {
    pub(crate) session: NodeEpoch,
    pub(crate) wal: Arc<dyn Wal>,
    pub(crate) memory: Account,
    pub(crate) indexes: Account,
    pub(crate) options: EngineOptions,
}

/// Claims, replays and starts a region. Errors: `Fenced`, `Corrupt`, `AlreadyExists`, `NotFound`, `Unavailable`.
pub(crate) async fn open(ctx: FileContext, opening: Opening, table: Arc<TableInfo>, ttl: Ttl) -> Result<Region> {
    failpoint!("region.open.before");
    let region = ctx.region;
    let doing = || format!("open region {region}");
    let claimant = Claimant {
        session: opening.session,
        create: Create { table: TableInfo::clone(&table), ttl },
        checkpoint_every: opening.options.checkpoint_every,
        wal: &*opening.wal,
    };
    let manifest = Manifest::open(ctx.clone(), claimant).await.context(doing)?;
    let state = manifest.state();
    let index = Arc::new(SeriesIndex::load(&ctx, &state.index).await.context(doing)?);
    if index.next_id() < state.next_series {
        return Err(Error::corrupt("index segments define fewer series than the manifest says").context(doing()));
    }
    let version = VersionSet::new(
        Arc::new(state.table.clone()),
        state.ttl,
        Arc::clone(&index),
        state.files.clone(),
        state.tombstones.clone(),
        state.flushed_to,
    );
    let now = ctx.clock.boot();
    let mut tokens = TokenWindow::default();
    if !bug::is(Bug::TokenWindowLost) {
        tokens.restore(&state.tokens, state.flushed_to, now);
    }
    let shared = Arc::new(Shared {
        version,
        index,
        wal: opening.wal,
        memory: opening.memory,
        index_charge: Mutex::new(opening.indexes.empty()),
        indexes: opening.indexes,
        permit: Mutex::new(None),
        fenced: AtomicBool::new(false),
        tokens: Mutex::new(tokens),
        compaction: tokio::sync::Mutex::new(()),
        unflushed: Mutex::new(VecDeque::new()),
        sequence: AtomicU64::new(state.flushed_to.0),
        manifest_version: AtomicU64::new(state.version),
        jobs: AtomicU64::new(0),
        garbage: Mutex::new(Garbage::default()),
        options: opening.options,
        opened_at: (ctx.clock.wall_nanos(), now),
        maintenance: tokio::sync::Mutex::new(Maintenance { manifest, frozen: None }),
        ctx,
    });
    replay(&shared).await.context(doing)?;
    shared.charge_index();
    failpoint!("region.open.after");
    Ok(Region::new(shared))
}

/// Applies the region's unflushed blocks in sequence order. Errors: `Corrupt` on a gap or a damaged block.
async fn replay(shared: &Shared) -> Result<()> {
    failpoint!("region.replay.before");
    let flushed_to = Sequence(shared.sequence.load(Ordering::Acquire));
    // Everything below is in files: the log may go, too, if the last process did not come to it.
    shared.wal.trim(shared.region(), flushed_to).await?;
    let sources = shared.maintenance.lock().await.manifest.state().sources.clone();
    let mut blocks = shared.wal.replay(shared.region(), flushed_to, &sources);
    if bug::is(Bug::ReplayOffByOne)
        && let Some(Ok(skipped)) = blocks.next().await
    {
        shared.sequence.store(skipped.last_seq().0, Ordering::Release);
    }
    while let Some(block) = blocks.next().await {
        restore(shared, block?).await?;
    }
    failpoint!("region.replay.after");
    Ok(())
}

async fn restore(shared: &Shared, block: Block) -> Result<()> {
    let expected = shared.sequence.load(Ordering::Acquire) + 1;
    if block.epoch > shared.epoch() {
        return Err(Error::corrupt(format!("the log has a block of the newer epoch {}", block.epoch)));
    }
    if block.first_seq.0 != expected {
        let text = format!("the log continues at row {} where row {expected} should be", block.first_seq);
        let may_skip = shared.options.wal.damage == Damage::Skip && block.first_seq.0 > expected;
        if !may_skip {
            return Err(Error::corrupt(text));
        }
        tracing::error!(target: "varve::audit", region = %shared.region(), "skipped lost rows: {text}");
    }
    let bytes = block.bytes_len() as u64;
    let charge = match shared.memory.charge(bytes) {
        Err(error) if error.kind() == ErrorKind::Busy => {
            // More in the log than fits: make room with what was replayed so far.
            maintain::flush(shared).await?;
            shared.memory.charge(bytes)?
        }
        other => other?,
    };
    let (last, tokens) = (block.last_seq(), block.tokens.clone());
    shared.version.apply(Arc::new(block))?;
    shared.sequence.store(last.0, Ordering::Release);
    let (now, wall_s) = (shared.ctx.clock.boot(), shared.ctx.clock.wall_nanos() / 1_000_000_000);
    if !bug::is(Bug::TokenWindowLost) {
        shared.tokens.lock().confirm(&tokens, last, now, wall_s);
    }
    shared.unflushed.lock().push_back(Unflushed { last, at: now, _charge: charge });
    Ok(())
}
