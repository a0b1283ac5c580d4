//! Questions about one region, and statistics.

use varve_model::Result;
use varve_model::id::{RegionEpoch, RegionId};
use varve_model::scan::RegionStatistics;

use super::{from_json, missing, to_json};
use crate::datanode::{DescribeRequest, Description};
use crate::wire;

/// Errors: `InvalidRequest`.
pub(crate) fn request_to_wire(request: &DescribeRequest) -> Result<wire::DescribeRequest> {
    Ok(wire::DescribeRequest {
        region: request.region.0,
        epoch: request.epoch.0,
        spec_json: to_json("describe", &request.spec)?,
    })
}

/// Errors: `InvalidRequest`.
pub(crate) fn request_from_wire(request: &wire::DescribeRequest) -> Result<DescribeRequest> {
    Ok(DescribeRequest {
        region: RegionId(request.region),
        epoch: RegionEpoch(request.epoch),
        spec: from_json("describe", &request.spec_json)?,
    })
}

pub(crate) fn description_to_wire(description: Description) -> wire::Description {
    use wire::description::Answer;
    let answer = match description {
        Description::TagValues(values) => Answer::TagValues(wire::TagValues { values }),
        Description::Series(keys) => Answer::Series(wire::Series { keys: keys.into_iter().map(Into::into).collect() }),
        Description::Statistics(statistics) => Answer::Statistics(statistics_to_wire(&statistics)),
    };
    wire::Description { answer: Some(answer) }
}

/// Errors: `InvalidRequest`.
pub(crate) fn description_from_wire(description: wire::Description) -> Result<Description> {
    use wire::description::Answer;
    Ok(match description.answer.ok_or_else(|| missing("a description"))? {
        Answer::TagValues(found) => Description::TagValues(found.values),
        Answer::Series(found) => Description::Series(found.keys.into_iter().map(Into::into).collect()),
        Answer::Statistics(found) => Description::Statistics(statistics_from_wire(&found)),
    })
}

pub(crate) fn statistics_to_wire(from: &RegionStatistics) -> wire::Statistics {
    let RegionStatistics {
        series,
        memtable_rows,
        memtable_bytes,
        files,
        file_rows,
        file_bytes,
        sequence,
        flushed_to,
        manifest_version,
        epoch,
    } = *from;
    wire::Statistics {
        series,
        memtable_rows,
        memtable_bytes,
        files,
        file_rows,
        file_bytes,
        sequence,
        flushed_to,
        manifest_version,
        epoch: epoch.0,
    }
}

pub(crate) fn statistics_from_wire(from: &wire::Statistics) -> RegionStatistics {
    let wire::Statistics {
        series,
        memtable_rows,
        memtable_bytes,
        files,
        file_rows,
        file_bytes,
        sequence,
        flushed_to,
        manifest_version,
        epoch,
    } = *from;
    RegionStatistics {
        series,
        memtable_rows,
        memtable_bytes,
        files,
        file_rows,
        file_bytes,
        sequence,
        flushed_to,
        manifest_version,
        epoch: RegionEpoch(epoch),
    }
}
