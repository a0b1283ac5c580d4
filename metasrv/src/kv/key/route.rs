//! `route/<table:08x>/<chunk:04x>`: who owns the regions of a table.
//!
//! `{"routes": [Route, ...]}` in partition order. One record per table, so that
//! a takeover is one put; chunk 0 is the only one up to 1000 regions.

use serde::{Deserialize, Serialize};
use varve_model::id::{RegionId, TableId};
use varve_model::region::Route;

use super::{Key, hex};

/// A table's routes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct RouteKey {
    /// The table.
    pub table: TableId,
    /// Part of the regions, from 0.
    pub chunk: u16,
}

impl RouteKey {
    /// The first chunk, which holds all routes.
    pub fn new(table: TableId) -> Self {
        Self { table, chunk: 0 }
    }
}

/// Value of [`RouteKey`].
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RouteRecord {
    /// In partition order.
    pub routes: Vec<Route>,
}

impl RouteRecord {
    /// The route of this region.
    pub fn of(&self, region: RegionId) -> Option<&Route> {
        self.routes.iter().find(|route| route.region == region)
    }
}

impl Key for RouteKey {
    const KIND: &'static str = "route";
    type Record = RouteRecord;

    fn path(&self) -> String {
        format!("{:08x}/{:04x}", self.table.0, self.chunk)
    }

    fn parse(path: &str) -> Option<Self> {
        let (table, chunk) = path.split_once('/')?;
        Some(Self { table: TableId(hex(table, 8)? as u32), chunk: hex(chunk, 4)? as u16 })
    }
}
