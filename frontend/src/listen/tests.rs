use varve_protocol::session::Wire;
use varve_service::clock::SystemClock;
use varve_service::task::Blocking;

use super::*;
use crate::fake::Cluster;

#[tokio::test]
async fn lists_name_the_address_that_was_bound() {
    let cluster = Cluster::start(1).await;
    let free = "127.0.0.1:0".parse().expect("an address");
    let config = FrontendConfig { http_addr: free, mysql_addr: free, postgres_addr: free, ..FrontendConfig::default() };
    let tasks = TaskSet::new(Blocking::Inline);
    let host = Host {
        node: Node { name: "node-0".to_owned(), role: "frontend", version: "9.9.9", commit: "abc" },
        metrics: Metrics::default(),
        ready: Arc::default(),
        clock: Arc::new(SystemClock),
        requests: Account::root("requests", 1 << 20),
        tasks: tasks.clone(),
    };
    let bound = listen(&config, cluster.frontend.clone(), host).await.expect("free ports");
    assert_ne!(bound.http.port(), 0);
    let connection = cluster.frontend.processes().enter(Wire::Mysql, None);
    let _execution = connection.begin(&cluster.session, "q");
    let rows = cluster.rows("SELECT frontend FROM information_schema.process_list").await;
    assert_eq!(rows, [bound.http.to_string()]);
    tasks.stop().await;
}
