//! What readers of a region see: schema, memtables, files, deletes, index; one cheap snapshot.
//!
//! CONTRACT between the halves of the engine (B implements, the region worker calls):
//! ```ignore
//! pub struct VersionSet;                      // one per region; mutated only by the region's worker
//! impl VersionSet {
//!   pub fn new(table: Arc<TableInfo>, ttl: Ttl, index: Arc<SeriesIndex>, files: Vec<FileMeta>,
//!              tombstones: Vec<Tombstone>, flushed_to: Sequence) -> Self;
//!   pub fn view(&self) -> Arc<View>;          // snapshot; readers and flush/compaction use it
//!   pub fn apply(&self, block: Arc<Block>) -> Result<()>;   // durable blocks, in sequence order
//!   pub fn freeze(&self) -> Option<Arc<Frozen>>;  // None when nothing is in the memtable. Frozen has pub after, upto: Sequence = (a, b]
//!   /// after a manifest commit: files and tombstones as now in the manifest; `flushed` is dropped
//!   pub fn install(&self, files: Vec<FileMeta>, tombstones: Vec<Tombstone>, flushed: Option<&Frozen>);
//!   pub fn alter(&self, table: Arc<TableInfo>, ttl: Ttl);
//!   pub fn clear(&self);                      // truncate: no memtable, frozen, files or tombstones any more
//!   pub fn memtable_bytes(&self) -> u64; pub fn memtable_rows(&self) -> u64;  // active + frozen
//! }
//! pub struct View { table: Arc<TableInfo>, ttl: Ttl, index: Arc<SeriesIndex>, files: Arc<[FileMeta]>, tombstones: Arc<[Tombstone]>, ... }
//! index:      SeriesIndex::load(ctx: &FileContext, segments: &[IndexSegmentMeta]) -> Result<SeriesIndex> (async)
//!             get(&[u8]) -> Option<SeriesId>; insert(&[u8]) -> SeriesId; restore(first, &SeriesKeys) -> Result<()>; next_id() -> SeriesId;
//!             select(&[Matcher]) -> Result<RoaringBitmap>; key(id) -> Vec<u8>; tag_values(tag, &[Matcher]) -> Result<Vec<String>>
//!             bytes_len() -> usize (memory, for the account)
//! flush::run: pub async fn flush(ctx: &FileContext, view: &View, frozen: &Frozen, index_from: SeriesId) -> Result<FlushOutput>
//!             FlushOutput { files, index_segment: Option<IndexSegmentMeta>, tombstones: Vec<Tombstone> } ; index_from = first id not yet in a segment
//! compaction: pick(files: &[FileMeta], tombstones: &[Tombstone], now: Now{wall_nanos, unit}, force: Force) -> Option<Task>
//!             run(ctx: &FileContext, view: &View, task: &Task) -> Result<CompactionOutput { remove: Vec<FileName>, add: Vec<FileMeta>, tombstones_dropped: Vec<Tombstone> }>
//! scan:       scan(view: Arc<View>, spec: &ScanSpec, ctx: &FileContext) -> Result<RegionScan { schema: SchemaRef, streams: Vec<BatchStream> }>
//!             BatchStream = Pin<Box<dyn Stream<Item = Result<RecordBatch>> + Send>>
//! ```
