//! Registration, beats, orders and their reports.

use std::sync::Arc;
use std::time::Duration;

use varve_model::Result;
use varve_model::id::{ClusterId, NodeEpoch, NodeId, RegionEpoch, RegionId, VolumeId};

use super::describe::{statistics_from_wire, statistics_to_wire};
use super::{from_json, from_u128, missing, to_json, to_u128};
use crate::metasrv::{
    Beat, BeatReply, Found, Grant, Life, Order, OrderKind, RegionReport, Registration, Report, Session,
};
use crate::status::{from_detail, to_detail};
use crate::wire;

const LIVES: [Life; 3] = [Life::Serving, Life::Draining, Life::Sealed];

pub(crate) fn registration_to_wire(from: Registration) -> wire::Registration {
    wire::Registration {
        node: from.node.0,
        cluster: from.cluster.map(|id| from_u128(id.0)).unwrap_or_default(),
        address: from.address,
        volume: from.volume.map(|id| from_u128(id.0)).unwrap_or_default(),
        seen_epoch: from.seen_epoch.0,
    }
}

/// Errors: `InvalidRequest`.
pub(crate) fn registration_from_wire(from: wire::Registration) -> Result<Registration> {
    Ok(Registration {
        node: NodeId(from.node),
        cluster: to_u128("cluster", &from.cluster)?.map(ClusterId),
        address: from.address,
        volume: to_u128("volume", &from.volume)?.map(VolumeId),
        seen_epoch: NodeEpoch(from.seen_epoch),
    })
}

pub(crate) fn session_to_wire(from: &Session) -> wire::Session {
    wire::Session {
        cluster: from_u128(from.cluster.0),
        epoch: from.epoch.0,
        lease_nanos: from.lease.as_nanos() as u64,
        interval_nanos: from.interval.as_nanos() as u64,
    }
}

/// Errors: `InvalidRequest`.
pub(crate) fn session_from_wire(from: &wire::Session) -> Result<Session> {
    Ok(Session {
        cluster: to_u128("cluster", &from.cluster)?.map(ClusterId).ok_or_else(|| missing("cluster"))?,
        epoch: NodeEpoch(from.epoch),
        lease: Duration::from_nanos(from.lease_nanos),
        interval: Duration::from_nanos(from.interval_nanos),
    })
}

pub(crate) fn beat_to_wire(from: Beat) -> wire::Beat {
    let report = |report: Report| wire::Report {
        order: report.order,
        error: report.outcome.err().map(|error| to_detail(&error)),
        found: report.found.map(|found| match found {
            Found::Epoch(epoch) => wire::report::Found::FoundEpoch(epoch.0),
            Found::Owner(owner) => wire::report::Found::FoundOwner(owner.0),
        }),
    };
    let regions = from.regions.iter().map(|(region, statistics)| wire::RegionState {
        region: region.0,
        statistics: Some(statistics_to_wire(statistics)),
    });
    wire::Beat {
        number: from.number,
        life: LIVES.iter().position(|life| *life == from.life).unwrap_or(0) as u32,
        reports: from.reports.into_iter().map(report).collect(),
        regions: regions.collect(),
    }
}

pub(crate) fn beat_from_wire(from: wire::Beat) -> Beat {
    let report = |report: wire::Report| Report {
        order: report.order,
        outcome: report.error.map_or(Ok(()), |detail| Err(Arc::new(from_detail(detail)))),
        found: report.found.map(|found| match found {
            wire::report::Found::FoundEpoch(epoch) => Found::Epoch(RegionEpoch(epoch)),
            wire::report::Found::FoundOwner(owner) => Found::Owner(NodeEpoch(owner)),
        }),
    };
    let regions = from.regions.iter().map(|region| {
        let statistics = region.statistics.as_ref().map(statistics_from_wire).unwrap_or_default();
        (RegionId(region.region), statistics)
    });
    Beat {
        number: from.number,
        // A stage that a newer datanode knows: it still beats, so it still serves.
        life: LIVES.get(from.life as usize).copied().unwrap_or_default(),
        reports: from.reports.into_iter().map(report).collect(),
        regions: regions.collect(),
    }
}

/// Errors: `InvalidRequest`.
pub(crate) fn reply_to_wire(from: BeatReply) -> Result<wire::BeatReply> {
    let orders = from.orders.into_iter().map(order_to_wire).collect::<Result<_>>()?;
    Ok(wire::BeatReply { beat: from.beat, orders })
}

/// Errors: `InvalidRequest`.
pub(crate) fn reply_from_wire(from: wire::BeatReply) -> Result<BeatReply> {
    let orders = from.orders.into_iter().map(order_from_wire).collect::<Result<_>>()?;
    Ok(BeatReply { beat: from.beat, orders })
}

fn order_to_wire(from: Order) -> Result<wire::Order> {
    use wire::order::Kind;
    let kind = match from.kind {
        OrderKind::Open(grant) => Kind::Open(grant_to_wire(&grant)?),
        OrderKind::Alter(grant) => Kind::Alter(grant_to_wire(&grant)?),
        OrderKind::Drop(region) => Kind::Drop(region.0),
        OrderKind::Truncate(region) => Kind::Truncate(region.0),
        OrderKind::Flush(region) => Kind::Flush(region.0),
        OrderKind::Compact(region) => Kind::Compact(region.0),
        OrderKind::Seal(session) => Kind::Seal(session.0),
        OrderKind::Forget(session) => Kind::Forget(session.0),
    };
    Ok(wire::Order { id: from.id, kind: Some(kind) })
}

fn order_from_wire(from: wire::Order) -> Result<Order> {
    use wire::order::Kind;
    let kind = match from.kind.ok_or_else(|| missing("an order"))? {
        Kind::Open(grant) => OrderKind::Open(grant_from_wire(&grant)?),
        Kind::Alter(grant) => OrderKind::Alter(grant_from_wire(&grant)?),
        Kind::Drop(region) => OrderKind::Drop(RegionId(region)),
        Kind::Truncate(region) => OrderKind::Truncate(RegionId(region)),
        Kind::Flush(region) => OrderKind::Flush(RegionId(region)),
        Kind::Compact(region) => OrderKind::Compact(RegionId(region)),
        Kind::Seal(session) => OrderKind::Seal(NodeEpoch(session)),
        Kind::Forget(session) => OrderKind::Forget(NodeEpoch(session)),
    };
    Ok(Order { id: from.id, kind })
}

fn grant_to_wire(from: &Grant) -> Result<wire::Grant> {
    Ok(wire::Grant {
        region: from.region.0,
        epoch: from.epoch.0,
        table_json: to_json("table", &*from.table)?,
        ttl_json: to_json("ttl", &from.ttl)?,
    })
}

fn grant_from_wire(from: &wire::Grant) -> Result<Grant> {
    Ok(Grant {
        region: RegionId(from.region),
        epoch: RegionEpoch(from.epoch),
        table: Arc::new(from_json("table", &from.table_json)?),
        ttl: from_json("ttl", &from.ttl_json)?,
    })
}

pub(crate) fn region_reports_to_wire(from: &[RegionReport]) -> wire::RegionReports {
    let regions = from.iter().map(|report| wire::RegionReport {
        region: report.region.0,
        session: report.session.0,
        age_nanos: report.age.as_nanos() as u64,
        statistics: Some(statistics_to_wire(&report.statistics)),
    });
    wire::RegionReports { regions: regions.collect() }
}

pub(crate) fn region_reports_from_wire(from: &wire::RegionReports) -> Vec<RegionReport> {
    let regions = from.regions.iter().map(|report| RegionReport {
        region: RegionId(report.region),
        session: NodeEpoch(report.session),
        age: Duration::from_nanos(report.age_nanos),
        statistics: report.statistics.as_ref().map(statistics_from_wire).unwrap_or_default(),
    });
    regions.collect()
}
