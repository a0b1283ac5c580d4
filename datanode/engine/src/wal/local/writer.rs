//! The writer task: gathers waiters into a group, writes it as one record, syncs, confirms.

use std::collections::BTreeMap;
use std::sync::Arc;

use tokio::sync::{mpsc, oneshot};
use varve_model::id::{NodeEpoch, RegionId, Sequence};
use varve_model::{Error, ErrorKind, Result};
use varve_service::clock::SharedClock;
use varve_service::task::TaskSet;
use varve_service::telemetry::stage::{self, Stage};

use super::disk::DiskFile;
use super::index::{Index, Segment, segment_name};
use super::recover::{UNFINISHED, append_footer, index_blocks};
use super::{Request, Shared, io_error, stopped};
use crate::format::segment::{HEADER, IndexEntry, RECORD, RecordKind, SegmentHeader, seal_record};
use crate::wal::{EncodedBlock, Position};

/// Number of the newest segment of the session; 0 before the first.
pub(super) fn newest(index: &Index, session: NodeEpoch) -> u64 {
    index.segments.range((session, 0)..=(session, u64::MAX)).next_back().map_or(0, |((_, seq), _)| *seq)
}

/// The segment that is written.
#[derive(Clone, Debug)]
struct Open {
    file: Arc<DiskFile>,
    seq: u64,
    offset: u64,
    entries: Vec<IndexEntry>,
    /// Footer and trailer are written: it takes no record any more.
    closed: bool,
}

#[derive(Debug)]
pub(super) struct Writer {
    shared: Arc<Shared>,
    tasks: TaskSet,
    clock: SharedClock,
    open: Option<Open>,
    next_record: u64,
    crc: u32,
    /// Last sequence logged per region, to refuse a gap.
    last: BTreeMap<RegionId, Sequence>,
}

type Waiter = (EncodedBlock, oneshot::Sender<Result<Position>>);

/// What the disk did with a group.
enum Wrote {
    Durable,
    /// Definitely nothing of it will be read.
    Refused(Error),
    /// Nobody knows; the process must end.
    Fatal(String),
}

impl Writer {
    pub(super) fn new(shared: Arc<Shared>, tasks: TaskSet, clock: SharedClock) -> Self {
        Self { shared, tasks, clock, open: None, next_record: 0, crc: 0, last: BTreeMap::new() }
    }

    pub(super) async fn run(mut self, mut requests: mpsc::Receiver<Request>) {
        let mut group = Vec::new();
        let mut held = None;
        loop {
            let first = match held.take() {
                Some(request) => request,
                None => match requests.recv().await {
                    Some(request) => request,
                    None => return,
                },
            };
            match first {
                Request::Seal(reply) => {
                    requests.close();
                    let sealed = self.close().await;
                    let _ = reply.send(sealed);
                    while let Some(late) = requests.recv().await {
                        refuse(late);
                    }
                    return;
                }
                Request::Close(reply) => {
                    let _ = reply.send(self.close().await);
                }
                Request::Append(block, reply) => {
                    let mut bytes = block.bytes.len();
                    group.push((block, reply));
                    held = self.gather(&mut requests, &mut group, &mut bytes).await;
                    if !self.commit(std::mem::take(&mut group)).await {
                        return;
                    }
                }
            }
        }
    }

    /// Takes all that waits, up to the cap; returns the request that did not fit.
    async fn gather(
        &self,
        requests: &mut mpsc::Receiver<Request>,
        group: &mut Vec<Waiter>,
        bytes: &mut usize,
    ) -> Option<Request> {
        let mut lingered = self.shared.options.linger.is_zero();
        loop {
            match requests.try_recv() {
                Ok(Request::Append(block, reply))
                    if *bytes + block.bytes.len() <= self.shared.options.group_bytes_max =>
                {
                    *bytes += block.bytes.len();
                    group.push((block, reply));
                }
                Ok(other) => return Some(other),
                Err(_) if lingered || group.len() > 1 => return None,
                Err(_) => {
                    lingered = true;
                    self.clock.sleep(self.shared.options.linger).await;
                }
            }
        }
    }

    /// Writes one group and answers its waiters. False when the log cannot go on.
    async fn commit(&mut self, group: Vec<Waiter>) -> bool {
        let group = self.refuse_gaps(group);
        if group.is_empty() {
            return true;
        }
        match self.write(&group).await {
            Ok((Wrote::Durable, positions)) => {
                for ((block, reply), position) in group.into_iter().zip(positions) {
                    self.last.insert(block.region, Sequence(block.first_seq.0 + block.rows - 1));
                    let _ = reply.send(Ok(position));
                }
                true
            }
            Ok((Wrote::Refused(error), _)) | Err(error) => {
                for (_, reply) in group {
                    let _ = reply.send(Err(copy(&error)));
                }
                // Only a full disk is a definite refusal after which the log can go on.
                error.kind() == ErrorKind::Busy
            }
            Ok((Wrote::Fatal(why), _)) => {
                (self.shared.options.on_fatal.0)(&why);
                false
            }
        }
    }

    /// A block behind a refused one of its region must not be logged: replay would find a gap.
    fn refuse_gaps(&self, group: Vec<Waiter>) -> Vec<Waiter> {
        let mut last = BTreeMap::new();
        let mut good = Vec::with_capacity(group.len());
        for (block, reply) in group {
            let before = last.get(&block.region).or_else(|| self.last.get(&block.region));
            if before.is_some_and(|before| before.0 + 1 != block.first_seq.0) {
                let _ = reply.send(Err(Error::busy("an earlier write of the region was refused: send again")));
                continue;
            }
            last.insert(block.region, Sequence(block.first_seq.0 + block.rows - 1));
            good.push((block, reply));
        }
        good
    }

    async fn write(&mut self, group: &[Waiter]) -> Result<(Wrote, Vec<Position>)> {
        let body = group.iter().map(|(block, _)| block.bytes.len()).sum::<usize>();
        let mut record = Vec::with_capacity(RECORD + body);
        record.resize(RECORD, 0);
        for (block, _) in group {
            record.extend_from_slice(&block.bytes);
        }
        let crc = {
            let open = self.segment_for(record.len() as u64).await?;
            debug_assert!(open.offset >= HEADER as u64);
            seal_record(&mut record, RecordKind::Group, self.shared.session, self.next_record, self.crc)
        };
        let open = self.open.as_mut().expect("segment_for leaves a segment open");
        let mut entries = Vec::with_capacity(group.len());
        index_blocks(&record[RECORD..], open.offset + RECORD as u64, &mut entries)?;
        let (file, offset, len) = (Arc::clone(&open.file), open.offset, record.len());
        let wrote = self.store(file, offset, record).await?;
        if let Wrote::Durable = wrote {
            stage::count(Stage::WalSync, group.iter().map(|(block, _)| block.rows as usize).sum(), len);
            let open = self.open.as_mut().expect("nobody else closes it");
            open.offset += len as u64;
            self.next_record += 1;
            self.crc = crc;
            let mut index = self.shared.index.lock();
            if let Some(segment) = index.segments.get_mut(&(self.shared.session, open.seq)) {
                segment.bytes = open.offset;
                segment.note(&entries);
            }
            let position = |entry: &IndexEntry| Position {
                session: self.shared.session,
                lane: 0,
                seq: open.seq,
                offset: entry.offset,
            };
            let positions = entries.iter().map(position).collect();
            open.entries.extend(entries);
            return Ok((wrote, positions));
        }
        Ok((wrote, Vec::new()))
    }

    /// Writes and syncs one record: two steps where a simulated crash may come between, else one.
    async fn store(&self, file: Arc<DiskFile>, offset: u64, record: Vec<u8>) -> Result<Wrote> {
        if self.shared.options.latency_max.is_zero() {
            let both = move || write_record(&file, offset, &record).unwrap_or_else(|| sync_record(&file));
            return self.tasks.blocking("write and sync the log", both).await;
        }
        self.pause().await;
        let written = {
            let file = Arc::clone(&file);
            self.tasks.blocking("write the log", move || write_record(&file, offset, &record)).await?
        };
        if let Some(failed) = written {
            return Ok(failed);
        }
        self.pause().await;
        self.tasks.blocking("sync the log", move || sync_record(&file)).await
    }

    /// Simulated time of the disk.
    async fn pause(&self) {
        let max = self.shared.options.latency_max.as_micros() as u64;
        if max > 0 {
            self.clock.sleep(std::time::Duration::from_micros(self.clock.random() as u64 % max)).await;
        }
    }

    /// The open segment, or a new one when the record does not fit.
    async fn segment_for(&mut self, bytes: u64) -> Result<&mut Open> {
        let options = &self.shared.options;
        let fits =
            |open: &Open| !open.closed && (open.entries.is_empty() || open.offset + bytes <= options.segment_bytes);
        if !self.open.as_ref().is_some_and(fits) {
            let room = options.segment_bytes.max(bytes + HEADER as u64);
            self.rotate(room).await?;
        }
        Ok(self.open.as_mut().expect("rotation opened one"))
    }

    /// Closes the open segment and begins the next, which gets its name only when the one before is closed.
    async fn rotate(&mut self, room: u64) -> Result<()> {
        failpoint!("wal.rotate.before");
        let seq = self.open.as_ref().map_or(0, |open| open.seq + 1);
        let name = segment_name(self.shared.session, seq);
        let unfinished = format!("{name}{UNFINISHED}");
        let shared = Arc::clone(&self.shared);
        let file = {
            let unfinished = unfinished.clone();
            self.tasks.blocking("reserve a segment", move || shared.disk.create(&unfinished, room)).await?
        };
        let file = Arc::new(file.map_err(|error| io_error("reserve a segment", error))?);
        self.close().await?;
        let header = SegmentHeader {
            session: self.shared.session,
            lane: 0,
            seq,
            volume: self.shared.volume,
            first_record: self.next_record,
            previous_crc: self.crc,
        };
        let (shared, new) = (Arc::clone(&self.shared), Arc::clone(&file));
        let begun = self
            .tasks
            .blocking("begin a segment", move || {
                new.write_at(0, &header.encode())?;
                new.sync()?;
                shared.disk.rename(&unfinished, &name)?;
                shared.disk.sync_folder()
            })
            .await?;
        begun.map_err(|error| self.fatal("begin a segment", &error))?;
        failpoint!("wal.rotate.after");
        self.open = Some(Open { file, seq, offset: HEADER as u64, entries: Vec::new(), closed: false });
        let segment = Segment { bytes: HEADER as u64, ..Segment::default() };
        self.shared.index.lock().segments.insert((self.shared.session, seq), segment);
        Ok(())
    }

    /// Writes footer and trailer, gives back the reserved room, syncs. The segment stays `open` without room.
    async fn close(&mut self) -> Result<()> {
        let Some(open) = self.open.as_ref().filter(|open| !open.closed) else { return Ok(()) };
        let mut bytes = Vec::new();
        let crc = append_footer_at(&mut bytes, open, (self.shared.session, self.next_record, self.crc));
        let (file, offset, len) = (Arc::clone(&open.file), open.offset, bytes.len() as u64);
        let closed = self
            .tasks
            .blocking("close a segment", move || {
                file.write_at(offset, &bytes)?;
                file.set_len(offset + len)?;
                file.sync()
            })
            .await?;
        closed.map_err(|error| self.fatal("close a segment", &error))?;
        self.next_record += 1;
        self.crc = crc;
        let open = self.open.as_mut().expect("nobody else closes it");
        open.closed = true;
        let id = (self.shared.session, open.seq);
        if let Some(segment) = self.shared.index.lock().segments.get_mut(&id) {
            segment.footer = offset;
            segment.bytes = offset + len;
        }
        Ok(())
    }

    /// Any disk error but a full disk ends the process.
    fn fatal(&self, doing: &str, error: &std::io::Error) -> Error {
        if error.kind() != std::io::ErrorKind::StorageFull {
            (self.shared.options.on_fatal.0)(&format!("cannot {doing}: {error}"));
        }
        io_error(doing, error.kind().into())
    }
}

/// `None` when all is written.
fn write_record(file: &DiskFile, offset: u64, record: &[u8]) -> Option<Wrote> {
    let error = file.write_at(offset, record).err()?;
    Some(match error.kind() {
        std::io::ErrorKind::StorageFull => Wrote::Refused(io_error("write", error)),
        _ => Wrote::Fatal(format!("a write failed: {error}")),
    })
}

fn sync_record(file: &DiskFile) -> Wrote {
    if crate::fault::bug::is(crate::fault::bug::Bug::AckBeforeFdatasync) {
        return Wrote::Durable;
    }
    failpoint!("wal.fdatasync.before");
    let synced = file.sync();
    failpoint!("wal.fdatasync.after");
    match synced {
        Ok(()) => Wrote::Durable,
        Err(error) => Wrote::Fatal(format!("a sync failed: {error}")),
    }
}

fn append_footer_at(bytes: &mut Vec<u8>, open: &Open, chain: (NodeEpoch, u64, u32)) -> u32 {
    let crc = append_footer(bytes, &open.entries, chain);
    // The trailer names the footer's place in the file, not in this buffer.
    let trailer = bytes.len() - crate::format::segment::TRAILER;
    bytes.truncate(trailer);
    bytes.extend_from_slice(&crate::format::segment::encode_trailer(open.offset));
    crc
}

fn refuse(request: Request) {
    match request {
        Request::Append(_, reply) => {
            let _ = reply.send(Err(stopped()));
        }
        Request::Close(reply) => {
            let _ = reply.send(Err(stopped()));
        }
        Request::Seal(reply) => {
            let _ = reply.send(Ok(()));
        }
    }
}

/// The same error for each waiter.
fn copy(error: &Error) -> Error {
    Error::new(error.kind(), error.message()).with_reason(error.reason())
}
