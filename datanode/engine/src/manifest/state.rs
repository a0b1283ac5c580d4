//! What the versions of a manifest add up to. Pure: the same records give the same state everywhere.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use varve_model::id::{ColumnId, NodeEpoch, RegionEpoch, RegionId, Sequence, SeriesId};
use varve_model::limits::{TOKEN_WINDOW, TOKENS_MAX};
use varve_model::table::{TableInfo, Ttl};
use varve_model::{Error, Result, ResultExt};

use super::record::{Claim, Create, Edit, Hash, Kind, Record, TokenEntry};
use crate::index::meta::IndexSegmentMeta;
use crate::sst::meta::{FileMeta, Tombstone};
use crate::wal::Source;

/// A region's content at one version.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ManifestState {
    /// The version.
    pub version: u64,
    /// Whose.
    pub region: RegionId,
    /// The grant of the last claim.
    pub region_epoch: RegionEpoch,
    /// The session of the last claim.
    pub node_epoch: NodeEpoch,
    /// The table; it has the region's incarnation.
    pub table: TableInfo,
    /// How long rows live.
    pub ttl: Ttl,
    /// Rows up to this one are in files or deleted.
    pub flushed_to: Sequence,
    /// Sessions that may hold rows above it.
    pub sources: Vec<Source>,
    /// The id the next series gets is at least this.
    pub next_series: SeriesId,
    /// Data files.
    pub files: Vec<FileMeta>,
    /// Index segments, in id order.
    pub index: Vec<IndexSegmentMeta>,
    /// Deletes that files do not show yet.
    pub tombstones: Vec<Tombstone>,
    /// Tokens of flushed blocks, oldest first.
    pub tokens: Vec<TokenEntry>,
    /// Series orders that files may have: id to key columns.
    pub orders: BTreeMap<u32, Vec<ColumnId>>,
    /// Reserved for change feeds. Refused when set.
    pub consumers: Vec<serde_json::Value>,
    /// Whether the region was dropped.
    pub dropped: bool,
}

/// Invariant I8: versions are dense and hash-chained; epochs and the flushed sequence never fall.
pub fn follows(state: &ManifestState, head_hash: Hash, record: &Record) -> Result<(), String> {
    let flushed_to = match &record.kind {
        Kind::Edit(edit) => edit.flushed_to,
        _ => state.flushed_to,
    };
    let checks = [
        (record.region == state.region, "it is of another region"),
        (record.version == state.version + 1, "its version is not the next"),
        (record.prev_hash == head_hash, "it does not follow the version before it"),
        (record.region_epoch >= state.region_epoch, "its epoch is below that of the version before it"),
        (flushed_to >= state.flushed_to, "its flushed sequence is below that of the version before it"),
        (!state.dropped, "the region was dropped before it"),
        (
            matches!(record.kind, Kind::Claim(_)) == (record.region_epoch > state.region_epoch),
            "only a claim changes the epoch, and every claim does",
        ),
    ];
    match checks.iter().find(|(holds, _)| !holds) {
        None => Ok(()),
        Some((_, why)) => Err(format!("manifest version {} of region {}: {why}", record.version, record.region)),
    }
}

impl ManifestState {
    /// The state after version 0. Errors: `Corrupt`.
    pub fn create(record: &Record) -> Result<Self> {
        let Kind::Claim(claim) = &record.kind else { return Err(bad(record, "a region begins with a claim")) };
        let (Claim { sources, create: Some(create), change: None }, 0, Hash(0)) =
            (&**claim, record.version, record.prev_hash)
        else {
            return Err(bad(record, "a region begins with version 0, which creates it"));
        };
        let mut state = Self {
            version: 0,
            region: record.region,
            region_epoch: record.region_epoch,
            node_epoch: record.node_epoch,
            table: create.table.clone(),
            ttl: create.ttl,
            flushed_to: Sequence(0),
            sources: sources.clone(),
            next_series: SeriesId(0),
            files: Vec::new(),
            index: Vec::new(),
            tombstones: Vec::new(),
            tokens: Vec::new(),
            orders: BTreeMap::new(),
            consumers: Vec::new(),
            dropped: false,
        };
        state.note_order();
        Ok(state)
    }

    /// The state after the next version. Errors: `Corrupt` when it does not follow, `InvalidRequest` when it uses
    /// what this varve does not know.
    pub fn apply(&self, record: &Record, head_hash: Hash) -> Result<Self> {
        follows(self, head_hash, record).map_err(Error::corrupt)?;
        let mut next = self.clone();
        next.version = record.version;
        next.region_epoch = record.region_epoch;
        next.node_epoch = record.node_epoch;
        match &record.kind {
            Kind::Claim(claim) => {
                if claim.create.is_some() {
                    return Err(bad(record, "only version 0 creates a region"));
                }
                next.sources.clone_from(&claim.sources);
                next.change(record, claim.change.as_ref())?;
            }
            Kind::Edit(edit) => next.edit(record, edit)?,
            Kind::Tombstone => {
                next.dropped = true;
                next.sources.clear();
            }
            Kind::Release(_) | Kind::Split(_) | Kind::SplitAborted(_) => {
                return Err(Error::unsupported(format!(
                    "manifest version {} of region {} is of a kind that a newer varve wrote",
                    record.version, record.region
                )));
            }
        }
        Ok(next)
    }

    fn edit(&mut self, record: &Record, edit: &Edit) -> Result<()> {
        check_reserved(&edit.add, &edit.tombstones, &edit.consumers)
            .context(|| doing(record.version, record.region))?;
        self.flushed_to = edit.flushed_to;
        self.sources.clone_from(&edit.sources);
        self.next_series = self.next_series.max(edit.next_series);
        for name in &edit.remove {
            let at = self.files.iter().position(|file| file.name == *name);
            self.files.remove(at.ok_or_else(|| bad(record, "it removes a file that is not there"))?);
        }
        for file in &edit.add {
            if self.files.iter().any(|known| known.name == file.name) {
                return Err(bad(record, "it adds a file that is there"));
            }
            self.files.push(file.clone());
        }
        for segment in &edit.index {
            let end = self.index.last().map_or(0, |last| last.first.0 + last.count);
            if segment.first.0 != end {
                return Err(bad(record, "an index segment leaves a gap"));
            }
            self.index.push(segment.clone());
        }
        self.tombstones.retain(|tombstone| !edit.tombstones_done.contains(tombstone));
        self.tombstones.extend(edit.tombstones.iter().cloned());
        self.remember(edit);
        self.change(record, edit.change.as_ref())
    }

    /// As a checkpoint's, which was not made by applying versions.
    /// Errors: `InvalidRequest` when it uses what this varve does not know.
    pub(super) fn check(&self) -> Result<()> {
        check_reserved(&self.files, &self.tombstones, &self.consumers)
            .context(|| format!("manifest checkpoint {} of region {}", self.version, self.region))
    }

    fn remember(&mut self, edit: &Edit) {
        self.tokens.extend(&edit.tokens);
        let oldest = edit.at_s.saturating_sub(TOKEN_WINDOW.as_secs() as i64);
        self.tokens.retain(|token| token.at_s >= oldest);
        let surplus = self.tokens.len().saturating_sub(TOKENS_MAX);
        self.tokens.drain(..surplus);
    }

    fn change(&mut self, record: &Record, change: Option<&Create>) -> Result<()> {
        if let Some(change) = change {
            if change.table.incarnation != self.table.incarnation {
                return Err(bad(record, "it is of another life of the table"));
            }
            self.table = change.table.clone();
            self.ttl = change.ttl;
            self.note_order();
        }
        Ok(())
    }

    /// A primary key only grows at its end, so the number of its columns names the order.
    fn note_order(&mut self) {
        let key = &self.table.schema.primary_key;
        self.orders.insert(key.len() as u32, key.clone());
    }
}

fn doing(version: u64, region: RegionId) -> String {
    format!("manifest version {version} of region {region}")
}

/// Reserved fields must be as if they were not there.
fn check_reserved(files: &[FileMeta], tombstones: &[Tombstone], consumers: &[serde_json::Value]) -> Result<()> {
    let is_newer = !consumers.is_empty()
        || files.iter().any(FileMeta::is_newer)
        || tombstones.iter().any(|tombstone| tombstone.key_range.is_some());
    if is_newer { Err(Error::unsupported("it uses fields that a newer varve wrote")) } else { Ok(()) }
}

fn bad(record: &Record, why: &str) -> Error {
    Error::corrupt(format!("manifest version {} of region {}: {why}", record.version, record.region))
}
