//! Writes and their outcomes.

use varve_model::id::{RegionEpoch, RegionId, SchemaVersion, Sequence};
use varve_model::time::TimeRange;
use varve_model::{Error, Result};

use super::{batch, from_json, missing, to_json};
use crate::datanode::{RegionDelete, RegionWrite, WriteAck, WriteReply, WriteRequest};
use crate::status::{from_detail, to_detail};
use crate::wire;

/// Errors: `InvalidRequest`.
pub(crate) fn request_to_wire(request: &WriteRequest) -> Result<wire::WriteRequest> {
    let writes = request.writes.iter().map(|write| {
        let write = match write {
            RegionWrite::Insert(rows) => wire::region_write::Write::Batch(batch::encode(rows).into()),
            RegionWrite::Delete(delete) => wire::region_write::Write::Delete(wire::RegionDelete {
                region: delete.region.0,
                epoch: delete.epoch.0,
                schema_version: delete.schema_version.0,
                matchers_json: to_json("matchers", &delete.matchers)?,
                start: delete.time.start,
                end: delete.time.end,
            }),
        };
        Ok(wire::RegionWrite { write: Some(write) })
    });
    Ok(wire::WriteRequest { writes: writes.collect::<Result<_>>()? })
}

/// Errors: `InvalidRequest`.
pub(crate) fn request_from_wire(request: wire::WriteRequest) -> Result<WriteRequest> {
    let writes = request.writes.into_iter().map(|write| {
        Ok(match write.write.ok_or_else(|| missing("a write"))? {
            wire::region_write::Write::Batch(bytes) => RegionWrite::Insert(batch::decode(&bytes)?),
            wire::region_write::Write::Delete(delete) => RegionWrite::Delete(RegionDelete {
                region: RegionId(delete.region),
                epoch: RegionEpoch(delete.epoch),
                schema_version: SchemaVersion(delete.schema_version),
                matchers: from_json("matchers", &delete.matchers_json)?,
                time: TimeRange { start: delete.start, end: delete.end },
            }),
        })
    });
    Ok(WriteRequest { writes: writes.collect::<Result<_>>()? })
}

pub(crate) fn reply_to_wire(reply: &WriteReply) -> wire::WriteReply {
    let parts = reply.parts.iter().map(|part| {
        let outcome = match part {
            Ok(ack) => wire::write_part::Outcome::Ack(wire::WriteAck { sequence: ack.sequence.0, rows: ack.rows }),
            Err(error) => wire::write_part::Outcome::Error(to_detail(error)),
        };
        wire::WritePart { outcome: Some(outcome) }
    });
    wire::WriteReply { parts: parts.collect() }
}

/// Errors: `Unavailable` when the reply is not one to this many writes: their outcome is unknown.
pub(crate) fn reply_from_wire(reply: wire::WriteReply, writes: usize) -> Result<WriteReply> {
    let unknown = || Error::unavailable("a datanode's reply is malformed, so the outcome of the write is unknown");
    if reply.parts.len() != writes {
        return Err(unknown());
    }
    let parts = reply.parts.into_iter().map(|part| match part.outcome {
        Some(wire::write_part::Outcome::Ack(ack)) => Ok(WriteAck { sequence: Sequence(ack.sequence), rows: ack.rows }),
        Some(wire::write_part::Outcome::Error(detail)) => Err(from_detail(detail)),
        None => Err(unknown()),
    });
    Ok(WriteReply { parts: parts.collect() })
}
