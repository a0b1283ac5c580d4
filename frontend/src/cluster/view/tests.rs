use std::time::Duration;

use varve_model::id::{NodeEpoch, RegionEpoch};
use varve_model::region::RouteState;
use varve_proto::metasrv::Catalog;

use super::*;
use crate::fake::Cluster;

fn database(id: u32, name: &str, ttl: Option<Ttl>) -> Arc<DatabaseInfo> {
    Arc::new(DatabaseInfo { id: DatabaseId(id), name: name.into(), ttl, regions: 1 })
}

/// Makes tables of three regions, each region on another node.
struct Maker(Arc<TableInfo>);

impl Maker {
    async fn new() -> Self {
        let cluster = Cluster::start(1).await;
        cluster.exec("CREATE TABLE t (ts TIMESTAMP TIME INDEX, v DOUBLE) WITH (regions = '3')").await;
        Self(cluster.metasrv.table(TableId(1025)))
    }

    fn table(&self, id: u32, database: u32, name: &str) -> (Arc<TableInfo>, Arc<[Route]>) {
        let (id, database) = (TableId(id), DatabaseId(database));
        let info = TableInfo { id, database, name: name.into(), ..(*self.0).clone() };
        let route = |region: RegionId| Route {
            region,
            epoch: RegionEpoch(1),
            owner: NodeEpoch(1),
            node: NodeId(u64::from(region.number()) + 10),
            state: RouteState::Open,
        };
        let routes = info.regions().map(route).collect();
        (Arc::new(info), routes)
    }

    fn put(&self, id: u32, database: u32, name: &str) -> Change {
        let (info, routes) = self.table(id, database, name);
        Change::Table(info, routes)
    }
}

/// Tables as `id:database.table`, found by name; by id the same ones are found, and no others.
fn tables(view: &View) -> String {
    let named = view.databases.values().flat_map(|database| database.tables.values()).collect::<Vec<_>>();
    for table in &named {
        assert!(Arc::ptr_eq(view.table_by_id(table.info.id).expect("its id"), table));
    }
    assert_eq!(view.by_id.len(), named.len());
    let text = |table: &&Arc<Table>| format!("{}:{}.{}", table.info.id, table.database.name, table.info.name);
    named.iter().map(text).collect::<Vec<_>>().join(" ")
}

#[tokio::test]
async fn a_table_is_found_by_id_as_long_as_by_name() {
    let make = Maker::new().await;
    let catalog = Catalog {
        databases: vec![database(1, "a", None), database(2, "b", None)],
        tables: vec![make.table(5, 1, "t"), make.table(6, 1, "u"), make.table(7, 2, "t")],
        nodes: vec![],
    };
    let steps = [
        (Change::Snapshot(catalog), "5:a.t 6:a.u 7:b.t"),
        (make.put(8, 2, "v"), "5:a.t 6:a.u 7:b.t 8:b.v"),
        (make.put(6, 1, "w"), "5:a.t 6:a.w 7:b.t 8:b.v"),
        // One takes the name that another has given up.
        (make.put(5, 1, "u"), "5:a.u 6:a.w 7:b.t 8:b.v"),
        (make.put(6, 1, "t"), "6:a.t 5:a.u 7:b.t 8:b.v"),
        (Change::TableDropped(TableId(6)), "5:a.u 7:b.t 8:b.v"),
        (Change::Database(database(2, "b", Some(Ttl::For(Duration::from_mins(1))))), "5:a.u 7:b.t 8:b.v"),
        (Change::Database(database(2, "c", None)), "5:a.u 7:c.t 8:c.v"),
        (Change::TableDropped(TableId(7)), "5:a.u 8:c.v"),
        (Change::TableDropped(TableId(7)), "5:a.u 8:c.v"),
        (make.put(9, 3, "nowhere"), "5:a.u 8:c.v"),
        (Change::DatabaseDropped(DatabaseId(2)), "5:a.u"),
        (Change::Snapshot(Catalog::default()), ""),
    ];
    let mut view = View::default();
    for (revision, (change, expected)) in (1..).zip(steps) {
        let before = tables(&view);
        let next = view.after(&News { revision, change });
        assert_eq!(tables(&next), expected, "{revision}");
        // Statements that run keep what they have.
        assert_eq!(tables(&view), before);
        view = next;
    }
}

#[tokio::test]
async fn a_region_is_where_its_tables_last_news_says() {
    let make = Maker::new().await;
    let database = Catalog { databases: vec![database(1, "a", None)], ..Catalog::default() };
    let view = View::default().after(&News { revision: 1, change: Change::Snapshot(database) });
    let view = view.after(&News { revision: 2, change: make.put(5, 1, "t") });
    let region = |number| RegionId::new(TableId(5), number);
    let node =
        |view: &View, number| view.table_by_id(TableId(5)).expect("a table").route(region(number)).map(|r| r.node);
    for number in [2, 0, 1] {
        assert_eq!(node(&view, number).expect("a route"), NodeId(u64::from(number) + 10));
    }
    assert_eq!(node(&view, 3).expect_err("no such region").kind(), varve_model::ErrorKind::StaleRoute);
    let (info, routes) = make.table(5, 1, "t");
    let moved = routes.iter().rev().map(|route| Route { node: NodeId(route.node.0 + 10), ..route.clone() }).collect();
    let view = view.after(&News { revision: 3, change: Change::Table(info, moved) });
    for number in [2, 0, 1] {
        assert_eq!(node(&view, number).expect("a route"), NodeId(u64::from(number) + 20));
    }
}
