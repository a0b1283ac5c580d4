use std::sync::Arc;
use std::time::Duration;

use varve_model::ErrorKind;
use varve_model::id::{DatabaseId, NodeId, TableId};
use varve_model::rows::Rows;
use varve_model::table::{DatabaseInfo, Ttl};
use varve_proto::metasrv::{Catalog, Change, News};
use varve_protocol::gateway::Gateway;

use super::*;
use crate::fake::Cluster;

fn database(id: u32, name: &str, ttl: Option<Ttl>) -> Arc<DatabaseInfo> {
    Arc::new(DatabaseInfo { id: DatabaseId(id), name: name.into(), ttl, regions: 1 })
}

fn news(revision: u64, change: Change) -> News {
    News { revision, change }
}

#[tokio::test]
async fn tables_follow_renames_and_inherit_the_ttl_live() {
    let cluster = Cluster::start(1).await;
    cluster.exec("CREATE TABLE t (ts TIMESTAMP TIME INDEX, v DOUBLE)").await;
    let info = cluster.metasrv.table(TableId(1025));
    let routes: Arc<[_]> = Arc::from(vec![cluster.metasrv.route(info.regions().next().unwrap()).unwrap()]);
    let snapshot = Catalog { databases: vec![database(1, "public", None)], ..Catalog::default() };
    let view = View::default().after(&news(5, Change::Snapshot(snapshot)));
    let view = view.after(&news(6, Change::Table(Arc::clone(&info), Arc::clone(&routes))));
    let ttl = Ttl::For(Duration::from_mins(1));
    let view = view.after(&news(7, Change::Database(database(1, "public", Some(ttl)))));
    assert_eq!(view.table("public", "t").unwrap().ttl(), ttl);
    let renamed = Arc::new(varve_model::table::TableInfo { name: "u".into(), ..(*info).clone() });
    let view = view.after(&news(8, Change::Table(renamed, routes)));
    assert!(view.table("public", "t").is_err());
    assert!(view.table("public", "u").is_ok());
    let view = view.after(&news(9, Change::Node(NodeId(3), "somewhere".into())));
    assert_eq!((view.revision, view.nodes[&NodeId(3)].as_str()), (9, "somewhere"));
    let view = view.after(&news(10, Change::TableDropped(info.id)));
    assert!(view.table("public", "u").is_err());
    let view = view.after(&news(11, Change::DatabaseDropped(DatabaseId(1))));
    assert!(view.database("public").is_err());
}

#[tokio::test]
async fn before_the_catalog_is_known_everything_is_to_be_tried_again() {
    // The runtime has one thread: the watch begins at the first await.
    let cluster = Cluster::begin(1);
    assert_eq!(cluster.error("SELECT * FROM t").await.kind(), ErrorKind::Unavailable);
    let written = cluster.frontend.write(&cluster.session, Rows::default()).await;
    assert_eq!(written.unwrap_err().kind(), ErrorKind::Unavailable);
    cluster.frontend.ready().await;
    assert_eq!(cluster.error("SELECT * FROM t").await.kind(), ErrorKind::NotFound);
}
