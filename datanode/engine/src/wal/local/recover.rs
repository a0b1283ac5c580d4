//! Reads what earlier sessions left, decides what is a torn tail and what is damage, and makes the tail durable.
//!
//! A group is one record and no record is written before the sync of the one
//! before returned. So a power cut can only tear the last record of a session:
//! a bad record with any valid later one behind it is damage, and is never
//! passed over silently. What replay reads may exist in the page cache only
//! (write, kill, restart), so each tail is copied to a fresh file and synced
//! before anything is served from it.

use varve_model::id::NodeEpoch;
use varve_model::{Error, Result};

use super::disk::Disk;
use super::index::{Index, Segment, parse_segment_name, segment_name};
use super::{Damage, LocalOptions, io_error};
use crate::format::block;
use crate::format::segment::{
    self, HEADER, IndexEntry, RECORD, RecordKind, SegmentHeader, TRAILER, encode_footer, encode_trailer, seal_record,
};

/// Suffix of files that are not yet part of the log.
pub(super) const UNFINISHED: &str = ".new";

/// Ids of the segments in the folder, oldest first. Removes unfinished files.
pub(super) fn list(disk: &Disk) -> Result<Vec<(NodeEpoch, u64)>> {
    let mut segments = Vec::new();
    for (name, _) in disk.list().map_err(|error| io_error("list the folder", error))? {
        if name.ends_with(UNFINISHED) {
            disk.remove(&name).map_err(|error| io_error("remove an unfinished file", error))?;
        } else if let Some(id) = parse_segment_name(&name) {
            segments.push(id);
        }
    }
    segments.sort_unstable();
    Ok(segments)
}

/// The end of a segment as the next one must find it.
struct End {
    session: NodeEpoch,
    seq: u64,
    next_record: u64,
    crc: u32,
}

/// Reads all segments and closes those that a crash left open.
pub(super) fn recover(disk: &Disk, ids: &[(NodeEpoch, u64)], options: &LocalOptions) -> Result<Index> {
    let mut index = Index::default();
    let mut before: Option<End> = None;
    for (at, &(session, seq)) in ids.iter().enumerate() {
        let is_last = ids.get(at + 1).is_none_or(|next| next.0 != session);
        let recovery = Recovery { disk, options, name: segment_name(session, seq), session, seq };
        let previous = before.take().filter(|end| end.session == session);
        if let Some(end) = previous.as_ref().filter(|end| end.seq + 1 != seq) {
            let what = format!("segment {} is missing", segment_name(session, end.seq + 1));
            recovery.damaged(0, &what)?;
        }
        if let Some((segment, end)) = recovery.open(previous.as_ref(), is_last)? {
            index.segments.insert((session, seq), segment);
            before = Some(end);
        }
    }
    Ok(index)
}

struct Recovery<'a> {
    disk: &'a Disk,
    options: &'a LocalOptions,
    name: String,
    session: NodeEpoch,
    seq: u64,
}

/// The records of a segment that was not closed.
struct Scan {
    entries: Vec<IndexEntry>,
    /// Bytes of header and good records.
    bytes: u64,
    next_record: u64,
    crc: u32,
}

impl Recovery<'_> {
    /// Refuses, or goes on when the operator said so.
    fn damaged(&self, offset: u64, what: &str) -> Result<()> {
        let text = format!("write-ahead log segment {} is damaged at byte {offset}: {what}", self.name);
        match self.options.damage {
            Damage::Refuse => Err(Error::corrupt(text)
                .with_hint("restore the file, or start with wal recovery 'skip' to lose the rows in it")),
            Damage::Skip => {
                tracing::error!(target: "varve::audit", segment = %self.name, offset, what, "skipped a damaged part of the write-ahead log");
                Ok(())
            }
        }
    }

    fn open(&self, previous: Option<&End>, is_last: bool) -> Result<Option<(Segment, End)>> {
        let read =
            |offset, len| self.disk.read(&self.name, offset, len).map_err(|error| io_error("read a segment", error));
        let bytes = read(0, u64::MAX)?;
        let header = match SegmentHeader::decode(&bytes) {
            Ok(header) if (header.session, header.seq) == (self.session, self.seq) => header,
            Ok(_) => return self.damaged(0, "its header belongs to another segment").map(|()| None),
            Err(error) => return self.damaged(0, error.message()).map(|()| None),
        };
        if let Some(end) = previous
            && (end.next_record, end.crc) != (header.first_record, header.previous_crc)
        {
            self.damaged(0, "it does not follow the segment before it")?;
        }
        if let Some(closed) = self.closed(&bytes, &header) {
            return Ok(Some(closed));
        }
        if !is_last {
            self.damaged(0, "it has no footer though a later segment exists")?;
        }
        let scan = self.scan(&bytes, &header)?;
        self.close(&bytes, scan).map(Some)
    }

    /// The index of a closed segment; its blocks are checked when they are replayed.
    fn closed(&self, bytes: &[u8], header: &SegmentHeader) -> Option<(Segment, End)> {
        let footer = segment::decode_trailer(bytes)?;
        let record = bytes.get(usize::try_from(footer).ok()?..)?;
        let (head, body) = segment::take_record(record).ok()?;
        if head.kind != RecordKind::Footer || head.session != self.session || head.record < header.first_record {
            return None;
        }
        let mut found = Segment { bytes: bytes.len() as u64, footer, ..Segment::default() };
        found.note(&segment::decode_footer(body).ok()?);
        Some((found, End { session: self.session, seq: self.seq, next_record: head.record + 1, crc: head.crc32c }))
    }

    /// Reads record after record up to the torn tail.
    fn scan(&self, bytes: &[u8], header: &SegmentHeader) -> Result<Scan> {
        let mut scan = Scan {
            entries: Vec::new(),
            bytes: HEADER as u64,
            next_record: header.first_record,
            crc: header.previous_crc,
        };
        let mut at = HEADER;
        loop {
            let rest = &bytes[at.min(bytes.len())..];
            match segment::take_record(rest) {
                Ok((head, _)) if !self.continues(&scan, &head) => {
                    self.damaged(at as u64, "a record does not follow the one before it")?;
                    break;
                }
                Ok((head, _)) if head.kind == RecordKind::Footer => break,
                Ok((head, body)) => {
                    index_blocks(body, (at + RECORD) as u64, &mut scan.entries)?;
                    at += RECORD + body.len();
                    scan.bytes = at as u64;
                    scan.next_record = head.record + 1;
                    scan.crc = head.crc32c;
                }
                Err(error) => {
                    if let Some(later) = self.later_record(bytes, at, scan.next_record) {
                        self.damaged(
                            at as u64,
                            &format!("{}, but a later one at byte {later} is whole", error.message()),
                        )?;
                    }
                    break;
                }
            }
        }
        Ok(scan)
    }

    fn continues(&self, scan: &Scan, head: &segment::RecordHeader) -> bool {
        head.session == self.session && head.record == scan.next_record && head.previous_crc == scan.crc
    }

    /// Where a whole record with a later number begins, if there is one behind `at`.
    fn later_record(&self, bytes: &[u8], at: usize, bad_record: u64) -> Option<usize> {
        let session = self.session.0.to_le_bytes();
        let mut from = at + 1;
        // The session is at bytes 16..24 of a record's header.
        while let Some(found) = bytes.get(from + 16..).and_then(|rest| find(rest, &session)) {
            let start = from + found;
            if let Ok((head, _)) = segment::take_record(&bytes[start..])
                && head.session == self.session
                && head.record > bad_record
            {
                return Some(start);
            }
            from = start + 1;
        }
        None
    }

    /// Copies the good records to a fresh file, with footer and trailer, and syncs it.
    fn close(&self, bytes: &[u8], scan: Scan) -> Result<(Segment, End)> {
        let mut copy = bytes[..scan.bytes as usize].to_vec();
        let footer = scan.bytes;
        let crc = append_footer(&mut copy, &scan.entries, (self.session, scan.next_record, scan.crc));
        let unfinished = format!("{}{UNFINISHED}", self.name);
        let write = || {
            let file = self.disk.create(&unfinished, 0)?;
            file.write_at(0, &copy)?;
            if !crate::fault::bug::is(crate::fault::bug::Bug::NoSyncOnOpen) {
                file.sync()?;
            }
            self.disk.rename(&unfinished, &self.name)?;
            self.disk.sync_folder()
        };
        write().map_err(|error| io_error("close a segment", error))?;
        let mut segment = Segment { bytes: copy.len() as u64, footer, ..Segment::default() };
        segment.note(&scan.entries);
        Ok((segment, End { session: self.session, seq: self.seq, next_record: scan.next_record + 1, crc }))
    }
}

/// Appends the footer record and the trailer; `chain` is session, record number, checksum before. Returns the footer's checksum.
pub(super) fn append_footer(bytes: &mut Vec<u8>, entries: &[IndexEntry], chain: (NodeEpoch, u64, u32)) -> u32 {
    let start = bytes.len();
    bytes.resize(start + RECORD, 0);
    bytes.extend_from_slice(&encode_footer(entries));
    let crc = seal_record(&mut bytes[start..], RecordKind::Footer, chain.0, chain.1, chain.2);
    bytes.extend_from_slice(&encode_trailer(start as u64));
    debug_assert!(bytes.len() >= start + RECORD + TRAILER);
    crc
}

/// Adds the blocks of a record that begins at `offset` of its file.
pub(super) fn index_blocks(body: &[u8], offset: u64, entries: &mut Vec<IndexEntry>) -> Result<()> {
    let mut at = 0;
    while at < body.len() {
        let head = block::head(&body[at..])?;
        let end = at + head.len as usize;
        let crc = u32::from_le_bytes(body[end - 4..end].try_into().expect("four bytes"));
        entries.push(IndexEntry::of(&head, offset + at as u64, crc));
        at = end;
    }
    Ok(())
}

fn find(haystack: &[u8], needle: &[u8]) -> Option<usize> {
    haystack.windows(needle.len()).position(|window| window == needle)
}
