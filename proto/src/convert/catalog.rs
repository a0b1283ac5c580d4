//! The catalog and its news.

use std::sync::Arc;

use varve_model::Result;
use varve_model::id::{DatabaseId, FrontendId, NodeEpoch, NodeId, RegionEpoch, RegionId, TableId};
use varve_model::region::{Route, RouteState};
use varve_model::table::TableInfo;

use super::{from_json, missing, relay, to_json};
use crate::metasrv::{Catalog, Change, News};
use crate::wire;

const STATES: [RouteState; 3] = [RouteState::Opening, RouteState::Open, RouteState::Corrupt];

/// Errors: `InvalidRequest`.
pub(crate) fn news_to_wire(from: &News) -> Result<wire::News> {
    use wire::news::Change as To;
    let change = match &from.change {
        Change::Snapshot(catalog) => To::Snapshot(catalog_to_wire(catalog)?),
        Change::Database(info) => To::DatabaseJson(to_json("database", &**info)?),
        Change::DatabaseDropped(id) => To::DatabaseDropped(id.0),
        Change::Table(info, routes) => To::Table(table_to_wire(info, routes)?),
        Change::TableDropped(id) => To::TableDropped(id.0),
        Change::Node(id, address) => To::Node(node_to_wire(*id, address)),
        Change::Seated(frontend) => To::Seated(frontend.0),
        Change::Asked(question) => To::Asked(relay::question_to_wire(question)),
    };
    Ok(wire::News { revision: from.revision, change: Some(change) })
}

/// Errors: `InvalidRequest`.
pub(crate) fn news_from_wire(from: wire::News) -> Result<News> {
    use wire::news::Change as From;
    let change = match from.change.ok_or_else(|| missing("a change"))? {
        From::Snapshot(catalog) => Change::Snapshot(catalog_from_wire(catalog)?),
        From::DatabaseJson(info) => Change::Database(Arc::new(from_json("database", &info)?)),
        From::DatabaseDropped(id) => Change::DatabaseDropped(DatabaseId(id)),
        From::Table(table) => {
            let (info, routes) = table_from_wire(&table)?;
            Change::Table(info, routes)
        }
        From::TableDropped(id) => Change::TableDropped(TableId(id)),
        From::Node(node) => Change::Node(NodeId(node.id), node.address),
        From::Seated(frontend) => Change::Seated(FrontendId(frontend)),
        From::Asked(question) => Change::Asked(relay::question_from_wire(question)?),
    };
    Ok(News { revision: from.revision, change })
}

fn catalog_to_wire(from: &Catalog) -> Result<wire::Catalog> {
    let databases = from.databases.iter().map(|info| to_json("database", &**info));
    let tables = from.tables.iter().map(|(info, routes)| table_to_wire(info, routes));
    Ok(wire::Catalog {
        databases_json: databases.collect::<Result<_>>()?,
        tables: tables.collect::<Result<_>>()?,
        nodes: from.nodes.iter().map(|(id, address)| node_to_wire(*id, address)).collect(),
    })
}

fn catalog_from_wire(from: wire::Catalog) -> Result<Catalog> {
    let databases = from.databases_json.iter().map(|info| Ok(Arc::new(from_json("database", info)?)));
    Ok(Catalog {
        databases: databases.collect::<Result<_>>()?,
        tables: from.tables.iter().map(table_from_wire).collect::<Result<_>>()?,
        nodes: from.nodes.into_iter().map(|node| (NodeId(node.id), node.address)).collect(),
    })
}

fn table_to_wire(info: &TableInfo, routes: &[Route]) -> Result<wire::Table> {
    let routes = routes.iter().map(|route| wire::Route {
        region: route.region.0,
        epoch: route.epoch.0,
        owner: route.owner.0,
        node: route.node.0,
        state: STATES.iter().position(|state| *state == route.state).unwrap_or(0) as u32,
    });
    Ok(wire::Table { info_json: to_json("table", info)?, routes: routes.collect() })
}

fn table_from_wire(from: &wire::Table) -> Result<(Arc<TableInfo>, Arc<[Route]>)> {
    let routes = from.routes.iter().map(|route| {
        Ok(Route {
            region: RegionId(route.region),
            epoch: RegionEpoch(route.epoch),
            owner: NodeEpoch(route.owner),
            node: NodeId(route.node),
            state: *STATES.get(route.state as usize).ok_or_else(|| missing("a route's state"))?,
        })
    });
    let routes = routes.collect::<Result<Vec<_>>>()?;
    Ok((Arc::new(from_json("table", &from.info_json)?), routes.into()))
}

fn node_to_wire(id: NodeId, address: &str) -> wire::Node {
    wire::Node { id: id.0, address: address.to_owned() }
}
