//! An open file: footer and series table, read once, checked and kept in a cache.

use std::ops::Range;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

use arrow_schema::{DataType, Field, Schema as ArrowSchema};
use object_store::path::Path;
use parquet::arrow::arrow_reader::{ArrowReaderMetadata, ArrowReaderOptions};
use parquet::file::metadata::{PageIndexPolicy, ParquetMetaData, ParquetMetaDataReader};
use roaring::RoaringBitmap;
use varve_model::id::ColumnId;
use varve_model::time::TimeRange;
use varve_model::{Error, Result, ResultExt};

use super::cache::Cache;
use super::meta::{FileMeta, FileName};
use super::schema::{FORMAT, SEQ, key};
use super::sidecar::{self, Check, Run};
use super::sparse::{Sparse, guarded};
use crate::format::checksum::crc32c;
use crate::store::FileContext;
use crate::store::path::RegionPaths;

/// Footers and series tables kept per region: those of the hot window.
const CACHE_BYTES: u64 = 32 << 20;

/// A file ready to be read. Everything in it was checked.
#[derive(Debug)]
pub struct OpenFile {
    /// Its entry in the manifest.
    pub meta: FileMeta,
    pub(super) path: Path,
    pub(super) arrow: ArrowReaderMetadata,
    pub(super) checks: Vec<Check>,
    /// Place of the first row of each row group, and the number of all rows at the end.
    pub(super) group_starts: Vec<u64>,
    runs: Vec<Run>,
    segments: Vec<Segment>,
    /// Places of runs by series, made when a reader first wants few of many.
    by_series: OnceLock<Vec<u32>>,
}

/// The part of a file that holds one time bucket.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Segment {
    /// First timestamp of the bucket.
    pub bucket: i64,
    /// Smallest and largest timestamp.
    pub time: TimeRange,
    runs: Range<usize>,
}

/// Open files of a region by name.
#[derive(Debug)]
pub struct OpenFiles {
    cache: Cache<FileName, Arc<OpenFile>>,
    opens: AtomicU64,
}

impl Default for OpenFiles {
    fn default() -> Self {
        Self { cache: Cache::new(CACHE_BYTES), opens: AtomicU64::new(0) }
    }
}

impl OpenFiles {
    /// The file, opened if need be. Errors: `Corrupt`, `Unavailable`, `Busy`.
    pub async fn open(&self, ctx: &FileContext, meta: &FileMeta) -> Result<Arc<OpenFile>> {
        self.opens.fetch_add(1, Ordering::Relaxed);
        if let Some(open) = self.cache.get(&meta.name) {
            return Ok(open);
        }
        let open = OpenFile::open(ctx, meta).await.context(|| format!("open file {}", meta.name))?;
        let open = Arc::new(open);
        self.cache.insert(meta.name, open.clone(), open.bytes());
        Ok(open)
    }

    /// Bytes that open files hold.
    pub fn bytes(&self) -> u64 {
        self.cache.bytes()
    }

    /// How often a reader asked for a file: tests assert that tag questions never do.
    pub fn opens(&self) -> u64 {
        self.opens.load(Ordering::Relaxed)
    }
}

impl OpenFile {
    async fn open(ctx: &FileContext, meta: &FileMeta) -> Result<Self> {
        if meta.is_newer() {
            return Err(Error::unsupported("a newer varve wrote it: rollup, series offset or key range"));
        }
        let paths = RegionPaths::new(meta.origin);
        let sidecar_path = paths.sidecar(meta.name);
        let sidecar = ctx.download(&sidecar_path, meta.sidecar_bytes, meta.sidecar_crc32c).await.map_err(gone)?;
        let sidecar = sidecar::decode(sidecar)?;
        let path = paths.data(meta.name);
        let (tail, chunks) = sidecar.checks.split_last().ok_or_else(|| Error::corrupt("sidecar: no checksums"))?;
        let start = chunks.last().map_or(0, |check| check.end);
        if tail.end != meta.bytes {
            return Err(Error::corrupt("sidecar: it belongs to a data file of another size"));
        }
        let bytes = ctx.read_range(&path, start..tail.end).await.map_err(gone)?;
        if crc32c(&bytes) != tail.crc32c {
            return Err(Error::corrupt(format!("object {path}: the footer differs from its checksum")));
        }
        let tail = Sparse { len: meta.bytes, parts: vec![(start, bytes)] };
        let footer = guarded(|| {
            ParquetMetaDataReader::new()
                .with_column_index_policy(PageIndexPolicy::Skip)
                .with_offset_index_policy(PageIndexPolicy::Optional)
                .parse_and_finish(&tail)
        });
        let footer = footer.map_err(|error| Error::corrupt("data file: footer").with_source(error))?;
        let group_starts = check_footer(&footer, chunks, meta)?;
        let arrow = arrow_metadata(footer)?;
        let segments = segments(&sidecar.runs);
        let (checks, runs) = (sidecar.checks, sidecar.runs);
        if runs.iter().map(|run| u64::from(run.rows)).sum::<u64>() != meta.rows {
            return Err(Error::corrupt("sidecar: its series have another number of rows than the file"));
        }
        Ok(Self { meta: meta.clone(), path, arrow, checks, group_starts, runs, segments, by_series: OnceLock::new() })
    }

    fn bytes(&self) -> u64 {
        (self.runs.len() * size_of::<Run>() + self.checks.len() * size_of::<Check>()) as u64
            + self.arrow.metadata().memory_size() as u64
    }

    /// Its buckets, ascending.
    pub fn segments(&self) -> &[Segment] {
        &self.segments
    }

    /// The runs of a segment whose series are among `ids` and which touch the time range, in file order.
    pub fn pick(&self, segment: &Segment, ids: Option<&RoaringBitmap>, time: TimeRange) -> Vec<Run> {
        let runs = &self.runs[segment.runs.clone()];
        match ids {
            Some(ids) if ids.len() < runs.len() as u64 / 16 => {
                let mut places = ids.iter().flat_map(|id| self.places(id)).copied().collect::<Vec<_>>();
                places.retain(|place| segment.runs.contains(&(*place as usize)));
                places.sort_unstable();
                let few = places.into_iter().map(|place| self.runs[place as usize]);
                few.filter(|run| run.time.overlaps(time)).collect()
            }
            _ => {
                let wanted = |run: &&Run| run.time.overlaps(time) && ids.is_none_or(|ids| ids.contains(run.series));
                runs.iter().filter(wanted).copied().collect()
            }
        }
    }

    /// Places of the runs of a series.
    fn places(&self, id: u32) -> &[u32] {
        let by_series = self.by_series.get_or_init(|| {
            let mut places = (0..self.runs.len() as u32).collect::<Vec<_>>();
            places.sort_unstable_by_key(|&place| (self.runs[place as usize].series, place));
            places
        });
        let from = by_series.partition_point(|&place| self.runs[place as usize].series < id);
        let len = by_series[from..].partition_point(|&place| self.runs[place as usize].series == id);
        &by_series[from..from + len]
    }

    /// Place of the column with this field id, if the file has it.
    pub(super) fn root_of(&self, column: ColumnId) -> Option<usize> {
        let roots = self.arrow.parquet_schema().root_schema().get_fields();
        roots.iter().position(|root| root.get_basic_info().has_id() && root.get_basic_info().id() == column.0 as i32)
    }

    /// Place of the sequences.
    pub(super) fn seq_root(&self) -> Option<usize> {
        self.arrow.parquet_schema().root_schema().get_fields().iter().position(|root| root.name() == SEQ)
    }

    /// Bytes of a column chunk: first byte, end, checksum.
    pub(super) fn chunk(&self, group: usize, root: usize) -> (u64, Check) {
        let columns = self.arrow.parquet_schema().num_columns();
        let at = group * columns + root;
        let start = if at == 0 { 0 } else { self.checks[at - 1].end };
        (start, self.checks[at])
    }
}

/// A file that the manifest names and that is not there is damage, not a wrong request.
fn gone(error: Error) -> Error {
    if error.kind() == varve_model::ErrorKind::NotFound {
        Error::corrupt("a file named by the manifest is gone").with_source(error)
    } else {
        error
    }
}

/// Checks that footer, sidecar and manifest agree; returns the first row of each row group.
fn check_footer(footer: &ParquetMetaData, chunks: &[Check], meta: &FileMeta) -> Result<Vec<u64>> {
    let bad = |what: &str| Error::corrupt(format!("data file: {what}"));
    let pairs = footer.file_metadata().key_value_metadata().cloned().unwrap_or_default();
    let value = |key: &str| pairs.iter().find(|pair| pair.key == key).and_then(|pair| pair.value.as_deref());
    if value(key::FORMAT) != Some(FORMAT) || value(key::KIND) != Some("data") {
        return Err(bad("unknown format"));
    }
    let mut ends = footer.row_groups().iter().flat_map(|group| group.columns()).map(|chunk| {
        let (start, len) = chunk.byte_range();
        start + len
    });
    if !ends.by_ref().eq(chunks.iter().map(|check| check.end)) {
        return Err(bad("column chunks are not where the sidecar has them"));
    }
    let mut starts = vec![0];
    for group in footer.row_groups() {
        starts.push(starts[starts.len() - 1] + group.num_rows().max(0) as u64);
    }
    if starts.last() != Some(&meta.rows) {
        return Err(bad("another number of rows than the manifest says"));
    }
    Ok(starts)
}

/// Arrow types to decode to: views for text and bytes, else what the file says.
fn arrow_metadata(footer: ParquetMetaData) -> Result<ArrowReaderMetadata> {
    let bad = |error| Error::corrupt("data file: schema").with_source(error);
    let footer = Arc::new(footer);
    let options = ArrowReaderOptions::new().with_skip_arrow_metadata(true);
    let plain = ArrowReaderMetadata::try_new(footer.clone(), options).map_err(bad)?;
    let fields = plain.schema().fields().iter().map(|field| match field.data_type() {
        DataType::Utf8 => Field::clone(field).with_data_type(DataType::Utf8View),
        DataType::Binary => Field::clone(field).with_data_type(DataType::BinaryView),
        _ => Field::clone(field),
    });
    let schema = ArrowSchema::new_with_metadata(fields.collect::<Vec<_>>(), plain.schema().metadata().clone());
    let options = ArrowReaderOptions::new().with_skip_arrow_metadata(true).with_schema(Arc::new(schema));
    ArrowReaderMetadata::try_new(footer, options).map_err(bad)
}

/// Buckets of a series table.
fn segments(runs: &[Run]) -> Vec<Segment> {
    let mut segments: Vec<Segment> = Vec::new();
    for (at, run) in runs.iter().enumerate() {
        match segments.last_mut() {
            Some(last) if last.bucket == run.bucket => {
                last.time = last.time.union(run.time);
                last.runs.end = at + 1;
            }
            _ => segments.push(Segment { bucket: run.bucket, time: run.time, runs: at..at + 1 }),
        }
    }
    segments
}
