//! Metasrv from outside, through `MetasrvApi`, with datanodes that only report.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use futures::StreamExt;
use futures::future::join_all;
use varve_model::budget::Account;
use varve_model::region::RouteState;
use varve_model::schema::{LogicalType, NewColumn};
use varve_model::table::{TableInfo, TableOptions, Ttl};
use varve_model::time::TimeUnit;
use varve_model::{Error, ErrorKind};
use varve_proto::grpc::{Accounts, MetasrvClient, serve_metasrv};
use varve_proto::metasrv::{
    Catalog, Change as NewsChange, CreateTable, Life, OrderKind, RegionAction, TableChange, TableName,
};
use varve_service::clock::{ManualClock, SystemClock};
use varve_service::task::Blocking;

use super::*;
use crate::kv::{MemoryKv, RedbKv};

mod chaos;
mod cluster;
mod failover;
mod node;
mod on_etcd;

use node::{Behaviour, call, obedient, registration};

/// What gRPC is charged to.
fn accounts() -> Accounts {
    let account = || Account::root("test", 1 << 30);
    Accounts { requests: account(), queries: account() }
}

/// One metasrv over some store; `restart` is what a crash and a start are.
struct Server {
    kv: Arc<dyn KvStore>,
    clock: SharedClock,
    tasks: TaskSet,
    api: Arc<dyn MetasrvApi>,
}

impl Server {
    async fn start(kv: Arc<dyn KvStore>) -> Self {
        let clock: SharedClock = Arc::new(ManualClock::new(1, 1_790_000_000_000_000_000));
        let tasks = TaskSet::new(Blocking::Inline);
        let api = Metasrv::start(Config::default(), Arc::clone(&kv), Arc::clone(&clock), tasks.clone()).await;
        Self { kv, clock, tasks, api: api.expect("start") }
    }

    /// The same, called over loopback gRPC.
    async fn start_over_grpc(kv: Arc<dyn KvStore>) -> Self {
        let server = Self::start(kv).await;
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("bind");
        let address = listener.local_addr().expect("address").to_string();
        let stop = server.tasks.token().clone();
        server.tasks.spawn("gRPC", serve_metasrv(Arc::clone(&server.api), accounts(), listener, stop));
        Self { api: Arc::new(MetasrvClient::new(&address, &accounts().queries).expect("client")), ..server }
    }

    async fn restart(&mut self) {
        self.tasks.kill();
        self.tasks = TaskSet::new(Blocking::Inline);
        let (kv, clock) = (Arc::clone(&self.kv), Arc::clone(&self.clock));
        self.api = Metasrv::start(Config::default(), kv, clock, self.tasks.clone()).await.expect("restart");
    }

    async fn pause(&self) {
        self.clock.sleep(Duration::from_millis(10)).await;
    }
}

/// The same bodies run over gRPC, where sockets need real time.
macro_rules! on_grpc_too {
    ($($name:ident)*) => {
        mod on_grpc { $(
            #[tokio::test]
            async fn $name() {
                super::$name(super::Server::start_over_grpc(super::Arc::new(super::MemoryKv::new())).await).await;
            }
        )* }
    };
}

on_grpc_too! {
    a_created_table_is_open_on_every_region_and_in_the_catalog
    concurrent_widening_adds_each_column_once
    a_datanode_that_starts_on_a_volume_takes_over_its_regions
    names_and_options_are_checked
    a_database_takes_its_tables_along
    each_region_is_ordered_and_the_first_failure_told
    a_region_that_is_damaged_does_not_block_the_others
}

/// The same bodies run on both stores.
macro_rules! on_every_store {
    ($($name:ident)*) => {
        mod on_memory { $(
            #[tokio::test(start_paused = true)]
            async fn $name() {
                super::$name(super::Server::start(super::Arc::new(super::MemoryKv::new())).await).await;
            }
        )* }
        mod on_redb { $(
            #[tokio::test(start_paused = true)]
            async fn $name() {
                let folder = tempfile::tempdir().expect("temp folder");
                let tasks = super::TaskSet::new(super::Blocking::Inline);
                let kv = super::RedbKv::open(&folder.path().join("meta.redb"), &tasks).await.expect("open");
                super::$name(super::Server::start(super::Arc::new(kv)).await).await;
            }
        )* }
    };
}

on_every_store! {
    a_created_table_is_open_on_every_region_and_in_the_catalog
    concurrent_widening_adds_each_column_once
    a_change_survives_a_crash_between_its_steps
    a_drop_survives_a_crash_between_its_steps
    a_datanode_that_starts_on_a_volume_takes_over_its_regions
    names_and_options_are_checked
    a_database_takes_its_tables_along
    each_region_is_ordered_and_the_first_failure_told
    a_region_that_is_damaged_does_not_block_the_others
    a_procedure_outlives_the_call
}

fn name(table: &str) -> TableName {
    TableName { database: "public".to_owned(), table: table.to_owned() }
}

fn create(table: &str, regions: Option<u32>) -> CreateTable {
    CreateTable {
        table: name(table),
        columns: vec![
            NewColumn::tag("host"),
            NewColumn::time("time", TimeUnit::Nanosecond),
            NewColumn::field("usage", LogicalType::Float64),
        ],
        primary_key: vec![],
        options: TableOptions::default(),
        regions,
        if_not_exists: false,
    }
}

async fn execute(api: &Arc<dyn MetasrvApi>, procedure: Procedure) -> Result<Outcome> {
    api.execute(&call(), procedure).await
}

async fn create_table(api: &Arc<dyn MetasrvApi>, table: &str, regions: Option<u32>) -> Result<Outcome> {
    execute(api, Procedure::CreateTable(create(table, regions))).await
}

async fn alter(api: &Arc<dyn MetasrvApi>, table: &str, change: TableChange) -> Result<Outcome> {
    execute(api, Procedure::AlterTable { table: name(table), change }).await
}

/// A frontend's catalog at this revision or later.
async fn catalog(api: &Arc<dyn MetasrvApi>, revision: u64) -> Catalog {
    loop {
        let mut news = api.watch(&call(), None).await.expect("watch");
        let first = news.next().await.expect("a snapshot").expect("no error");
        let NewsChange::Snapshot(catalog) = &first.change else { panic!("the first news is a snapshot") };
        if first.revision >= revision {
            return catalog.clone();
        }
        while news.next().await.expect("news").expect("no error").revision < revision {}
    }
}

async fn table(api: &Arc<dyn MetasrvApi>, wanted: &str, revision: u64) -> Option<TableInfo> {
    let catalog = catalog(api, revision).await;
    catalog.tables.iter().map(|(info, _)| (**info).clone()).find(|info| info.name == wanted)
}

async fn a_created_table_is_open_on_every_region_and_in_the_catalog(server: Server) {
    let api = &server.api;
    let error = create_table(api, "cpu", None).await.expect_err("no datanode");
    assert_eq!(error.kind(), ErrorKind::Unavailable);
    let nodes = [node::start(api, 1, 1, obedient()).await, node::start(api, 2, 2, obedient()).await];
    let outcome = create_table(api, "cpu", Some(3)).await.expect("create");
    let catalog = catalog(api, outcome.revision).await;
    let (info, routes) = catalog.tables.first().expect("the table");
    assert_eq!((info.name.as_str(), routes.len()), ("cpu", 3));
    assert!(routes.iter().all(|route| route.state == RouteState::Open));
    assert!(info.regions().eq(routes.iter().map(|route| route.region)), "in partition order");
    assert_eq!(catalog.nodes.len(), 2);
    let opened = nodes.each_ref().map(|node| node.count(|kind| matches!(kind, OrderKind::Open(_))));
    assert_eq!(opened, [2, 1], "spread evenly, each region ordered once");
    let error = create_table(api, "cpu", None).await.expect_err("exists");
    assert_eq!(error.kind(), ErrorKind::AlreadyExists);
    let again = CreateTable { if_not_exists: true, ..create("cpu", None) };
    assert!(!execute(api, Procedure::CreateTable(again)).await.expect("exists").changed);
}

async fn concurrent_widening_adds_each_column_once(server: Server) {
    let api = &server.api;
    let _node = node::start(api, 1, 1, obedient()).await;
    create_table(api, "cpu", Some(2)).await.expect("create");
    let widen = |at: usize| {
        let columns = vec![
            NewColumn::field(format!("f{}", at % 5), LogicalType::Int64),
            NewColumn::field("shared", LogicalType::Float64),
            NewColumn::tag("rack"),
        ];
        alter(api, "cpu", TableChange::Widen(columns))
    };
    let outcomes = join_all((0..20).map(widen)).await;
    let outcomes = outcomes.into_iter().map(|outcome| outcome.expect("widen")).collect::<Vec<_>>();
    assert_eq!(outcomes.iter().filter(|outcome| outcome.changed).count(), 5);
    let last = outcomes.iter().map(|outcome| outcome.revision).max().expect("some");
    let info = table(api, "cpu", last).await.expect("there");
    assert_eq!(info.schema.columns.len(), 3 + 5 + 2);
    assert_eq!(info.schema.version.0, 5);
    let mut ids = info.schema.columns.iter().map(|column| column.id).collect::<Vec<_>>();
    ids.dedup();
    assert_eq!(ids.len(), info.schema.columns.len(), "every column has an id of its own");
    let conflict = vec![NewColumn::field("usage", LogicalType::String)];
    let error = alter(api, "cpu", TableChange::Widen(conflict)).await.expect_err("another type");
    assert_eq!(error.reason(), varve_model::Reason::TypeConflict);
}

/// Reports every order but those that match.
fn deaf_to(deaf: fn(&OrderKind) -> bool) -> Behaviour {
    Arc::new(move |order| (!deaf(&order.kind)).then_some(Ok(())))
}

async fn a_change_survives_a_crash_between_its_steps(mut server: Server) {
    let old = node::start(&server.api, 1, 1, deaf_to(|kind| matches!(kind, OrderKind::Alter(_)))).await;
    create_table(&server.api, "cpu", Some(2)).await.expect("create");
    let add = TableChange::AddColumns(vec![NewColumn::field("late", LogicalType::Int64)]);
    let error = alter(&server.api, "cpu", add).await.expect_err("the regions keep silent");
    assert_eq!(error.kind(), ErrorKind::Timeout);
    assert!(error.message().contains("goes on: region 1.0"), "{error}");
    assert_eq!(table(&server.api, "cpu", 0).await.expect("there").schema.version.0, 0, "not published");
    drop(old);
    server.restart().await;
    assert_eq!(table(&server.api, "cpu", 0).await.expect("there").schema.version.0, 0, "still not");
    let new = node::start(&server.api, 1, 1, obedient()).await;
    while table(&server.api, "cpu", 0).await.expect("there").schema.column("late").is_none() {
        server.pause().await;
    }
    let opened_with = new.orders.lock().iter().find_map(|order| match &order.kind {
        OrderKind::Open(grant) => Some(grant.table.schema.version.0),
        _ => None,
    });
    assert_eq!(opened_with, Some(1), "a region is opened with what it may already hold");
    let again = TableChange::Widen(vec![NewColumn::field("late", LogicalType::Int64)]);
    assert!(!alter(&server.api, "cpu", again).await.expect("there").changed);
}

async fn a_drop_survives_a_crash_between_its_steps(mut server: Server) {
    let old = node::start(&server.api, 1, 1, deaf_to(|kind| matches!(kind, OrderKind::Drop(_)))).await;
    create_table(&server.api, "cpu", Some(2)).await.expect("create");
    let drop_table = || Procedure::DropTable { table: name("cpu"), if_exists: false };
    let outcome = execute(&server.api, drop_table()).await.expect("the name is gone at once");
    assert_eq!(table(&server.api, "cpu", outcome.revision).await, None);
    drop(old);
    server.restart().await;
    assert_eq!(table(&server.api, "cpu", 0).await, None);
    let error = execute(&server.api, drop_table()).await.expect_err("gone");
    assert_eq!(error.kind(), ErrorKind::NotFound);
    let new = node::start(&server.api, 1, 1, obedient()).await;
    create_table(&server.api, "cpu", None).await.expect("the name is free");
    while !server.kv.range("procedure/").await.expect("range").entries.is_empty() {
        server.pause().await;
    }
    assert_eq!(new.count(|kind| matches!(kind, OrderKind::Drop(_))), 2);
    assert_eq!(server.kv.range("route/").await.expect("range").entries.len(), 1, "only the new table is left");
    let outcome = execute(&server.api, Procedure::DropTable { table: name("no"), if_exists: true }).await;
    assert!(!outcome.expect("if exists").changed);
}

async fn a_datanode_that_starts_on_a_volume_takes_over_its_regions(server: Server) {
    let api = &server.api;
    let old = node::start(api, 1, 77, obedient()).await;
    let bystander = node::start(api, 2, 78, obedient()).await;
    let outcome = create_table(api, "cpu", Some(4)).await.expect("create");
    let before = catalog(api, outcome.revision).await.tables[0].1.clone();
    let new = node::start(api, 1, 77, obedient()).await;
    assert!(new.session.epoch > old.session.epoch);
    let deadline = server.clock.boot() + Duration::from_secs(5);
    let after = loop {
        let after = catalog(api, 0).await.tables[0].1.clone();
        if after.iter().all(|route| route.state == RouteState::Open && route.owner != old.session.epoch) {
            break after;
        }
        assert!(server.clock.boot() < deadline, "no lease is waited for");
        server.pause().await;
    };
    for (before, after) in before.iter().zip(after.iter()) {
        if before.owner == old.session.epoch {
            assert_eq!((after.owner, after.epoch.0), (new.session.epoch, before.epoch.0 + 1));
        } else {
            assert_eq!((after, after.owner), (before, bystander.session.epoch));
        }
    }
    let beats = Box::pin(futures::stream::pending());
    let error = api.heartbeat(&call(), old.session.epoch, beats).await.err().expect("the old session ended");
    assert_eq!(error.kind(), ErrorKind::Fenced);
    let seen = Registration { seen_epoch: NodeEpoch(1000), ..registration(1, Some(77)) };
    assert_eq!(api.register(&call(), seen).await.expect("register").epoch, NodeEpoch(1001));
    let stranger = Registration { cluster: Some(ClusterId(1)), ..registration(3, None) };
    assert_eq!(api.register(&call(), stranger).await.expect_err("stranger").kind(), ErrorKind::InvalidRequest);
}

async fn names_and_options_are_checked(server: Server) {
    let api = &server.api;
    let _node = node::start(api, 1, 1, obedient()).await;
    let database =
        |name: &str| Procedure::CreateDatabase { name: name.to_owned(), ttl: None, regions: 1, if_not_exists: false };
    for bad in ["", "information_schema"] {
        assert_eq!(execute(api, database(bad)).await.expect_err(bad).kind(), ErrorKind::InvalidRequest);
    }
    assert_eq!(execute(api, database("public")).await.expect_err("exists").kind(), ErrorKind::AlreadyExists);
    let mut bad = create("cpu", None);
    bad.columns.push(NewColumn::field("__seq", LogicalType::Int64));
    assert_eq!(execute(api, Procedure::CreateTable(bad)).await.expect_err("name").kind(), ErrorKind::InvalidRequest);
    let mut elsewhere = create("cpu", None);
    elsewhere.table.database = "nowhere".to_owned();
    let error = execute(api, Procedure::CreateTable(elsewhere)).await.expect_err("no database");
    assert_eq!((error.kind(), error.reason()), (ErrorKind::NotFound, varve_model::Reason::Database));
    for table in ["cpu", "mem"] {
        create_table(api, table, None).await.expect("create");
    }
    let rename = |to: &str| TableChange::Rename(to.to_owned());
    assert_eq!(alter(api, "cpu", rename("mem")).await.expect_err("taken").kind(), ErrorKind::AlreadyExists);
    let outcome = alter(api, "cpu", rename("load")).await.expect("rename");
    assert!(table(api, "load", outcome.revision).await.is_some());
    assert_eq!(alter(api, "cpu", rename("x")).await.expect_err("old name").kind(), ErrorKind::NotFound);
    create_table(api, "cpu", None).await.expect("the old name is free");
    let append = TableOptions { merge_mode: varve_model::table::MergeMode::Append, ..TableOptions::default() };
    alter(api, "load", TableChange::SetOptions(append)).await.expect_err("rows are merged already");
    let short = TableOptions { ttl: Some(Ttl::For(Duration::from_mins(1))), ..TableOptions::default() };
    let outcome = alter(api, "load", TableChange::SetOptions(short.clone())).await.expect("ttl");
    assert_eq!(table(api, "load", outcome.revision).await.expect("there").options, short);
}

async fn a_database_takes_its_tables_along(server: Server) {
    let api = &server.api;
    let node = node::start(api, 1, 1, obedient()).await;
    let ttl = Ttl::For(Duration::from_hours(1));
    let made = Procedure::CreateDatabase { name: "plant".to_owned(), ttl: None, regions: 2, if_not_exists: false };
    execute(api, made).await.expect("create database");
    let mut inside = create("cpu", None);
    inside.table.database = "plant".to_owned();
    execute(api, Procedure::CreateTable(inside.clone())).await.expect("create table");
    execute(api, Procedure::AlterDatabase { name: "plant".to_owned(), ttl: Some(ttl) }).await.expect("alter");
    let altered = node.count(|kind| matches!(kind, OrderKind::Alter(grant) if grant.ttl == ttl));
    assert_eq!(altered, 2, "both regions have the database's ttl");
    let gone = || Procedure::DropDatabase { name: "plant".to_owned(), if_exists: true };
    let outcome = execute(api, gone()).await.expect("drop");
    let catalog = catalog(api, outcome.revision).await;
    assert_eq!(catalog.databases.iter().map(|info| info.name.as_str()).collect::<Vec<_>>(), ["public"]);
    assert_eq!(catalog.tables, []);
    assert_eq!(node.count(|kind| matches!(kind, OrderKind::Drop(_))), 2);
    assert!(!execute(api, gone()).await.expect("if exists").changed);
    execute(api, Procedure::CreateTable(inside)).await.expect_err("the database is gone");
    let public = Procedure::DropDatabase { name: "public".to_owned(), if_exists: false };
    assert_eq!(execute(api, public).await.expect_err("stays").kind(), ErrorKind::InvalidRequest);
}

async fn each_region_is_ordered_and_the_first_failure_told(server: Server) {
    let api = &server.api;
    let behaviour: Behaviour = Arc::new(|order| {
        Some(match &order.kind {
            OrderKind::Compact(region) if region.number() == 1 => Err(Arc::new(Error::busy("no space"))),
            _ => Ok(()),
        })
    });
    let node = node::start(api, 1, 1, behaviour).await;
    create_table(api, "cpu", Some(3)).await.expect("create");
    let order = |action| execute(api, Procedure::EachRegion { table: name("cpu"), action });
    order(RegionAction::Flush).await.expect("flush");
    assert_eq!(node.count(|kind| matches!(kind, OrderKind::Flush(_))), 3);
    order(RegionAction::Truncate).await.expect("truncate");
    assert_eq!(node.count(|kind| matches!(kind, OrderKind::Truncate(_))), 3);
    let error = order(RegionAction::Compact).await.expect_err("one region fails");
    assert_eq!((error.kind(), error.to_string().as_str()), (ErrorKind::Busy, "compact region 1.1: no space"));
}

async fn a_region_that_is_damaged_does_not_block_the_others(server: Server) {
    let api = &server.api;
    let tries = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&tries);
    let behaviour: Behaviour = Arc::new(move |order| {
        Some(match &order.kind {
            OrderKind::Open(grant) if grant.region.number() == 0 => Err(Arc::new(Error::corrupt("torn"))),
            OrderKind::Open(grant) if grant.region.number() == 1 && counted.fetch_add(1, Ordering::Relaxed) < 3 => {
                Err(Arc::new(Error::unavailable("the bucket is away")))
            }
            _ => Ok(()),
        })
    });
    let _node = node::start(api, 1, 1, behaviour).await;
    let error = create_table(api, "cpu", Some(3)).await.expect_err("damaged");
    assert_eq!(error.kind(), ErrorKind::Corrupt);
    let states = catalog(api, 0).await.tables[0].1.iter().map(|route| route.state).collect::<Vec<_>>();
    assert_eq!(states, [RouteState::Corrupt, RouteState::Open, RouteState::Open]);
    assert_eq!(tries.load(Ordering::Relaxed), 4, "what may pass is tried again");
    let widen = TableChange::Widen(vec![NewColumn::tag("rack")]);
    alter(api, "cpu", widen).await.expect("a damaged region does not hold up a change");
}

async fn a_procedure_outlives_the_call(server: Server) {
    let api = &server.api;
    let silent = node::start(api, 1, 1, deaf_to(|kind| matches!(kind, OrderKind::Open(_)))).await;
    let brief = Call::system("test", Duration::from_secs(2));
    let error = api.execute(&brief, Procedure::CreateTable(create("cpu", None))).await.expect_err("silent");
    assert_eq!(error.kind(), ErrorKind::Timeout);
    assert!(error.message().contains("did not report open"), "{error}");
    drop(silent);
    let _node = node::start(api, 1, 1, obedient()).await;
    let again = CreateTable { if_not_exists: true, ..create("cpu", None) };
    assert!(!execute(api, Procedure::CreateTable(again)).await.expect("opened meanwhile").changed);
}

#[tokio::test(start_paused = true)]
async fn an_order_is_sent_again_until_the_datanode_reports_it() {
    let server = Server::start(Arc::new(MemoryKv::new())).await;
    let api = &server.api;
    let session = api.register(&call(), registration(1, Some(1))).await.expect("register");
    let (beats, stream) = tokio::sync::mpsc::channel(4);
    let stream = Box::pin(tokio_stream::wrappers::ReceiverStream::new(stream));
    let mut replies = api.heartbeat(&call(), session.epoch, stream).await.expect("heartbeat");
    beats.send(Beat { number: 1, ..Beat::default() }).await.expect("beat");
    assert_eq!(replies.next().await.expect("reply").expect("ok").beat, Some(1));
    let datanode = async {
        let pushed = replies.next().await.expect("pushed").expect("ok");
        assert_eq!((pushed.beat, pushed.orders.len()), (None, 1), "at once, not with the next beat");
        for number in 2..4 {
            server.clock.sleep(session.interval * 2).await;
            beats.send(Beat { number, ..Beat::default() }).await.expect("beat");
            let reply = replies.next().await.expect("reply").expect("ok");
            assert_eq!((reply.beat, &reply.orders), (Some(number), &pushed.orders));
        }
        let reports = vec![varve_proto::metasrv::Report { order: pushed.orders[0].id, outcome: Ok(()), found: None }];
        beats.send(Beat { number: 9, reports, ..Beat::default() }).await.expect("beat");
        assert_eq!(replies.next().await.expect("reply").expect("ok").orders, []);
    };
    let (created, ()) = futures::future::join(create_table(api, "cpu", None), datanode).await;
    created.expect("create");
}

#[tokio::test(start_paused = true)]
async fn the_answer_to_the_first_beat_comes_with_or_after_every_order_to_open() {
    let server = Server::start(Arc::new(MemoryKv::new())).await;
    let api = &server.api;
    let old = node::start(api, 1, 1, obedient()).await;
    create_table(api, "cpu", Some(150)).await.expect("create");
    create_table(api, "mem", Some(1)).await.expect("create");
    drop(old);
    let session = api.register(&call(), registration(1, Some(1))).await.expect("register");
    let beats = futures::stream::iter([Beat { number: 1, ..Beat::default() }]).chain(futures::stream::pending());
    let mut replies = api.heartbeat(&call(), session.epoch, Box::pin(beats)).await.expect("heartbeat");
    let mut opens = 0;
    loop {
        let reply = replies.next().await.expect("reply").expect("ok");
        opens += reply.orders.len();
        if reply.beat == Some(1) {
            break;
        }
    }
    assert_eq!(opens, 151);
}

#[tokio::test(start_paused = true)]
async fn a_watcher_that_lags_is_told_to_start_anew() {
    let server = Server::start(Arc::new(MemoryKv::new())).await;
    let mut news = server.api.watch(&call(), None).await.expect("watch");
    for at in 0..1100 {
        let procedure =
            Procedure::CreateDatabase { name: format!("d{at}"), ttl: None, regions: 1, if_not_exists: false };
        execute(&server.api, procedure).await.expect("create");
    }
    let mut last = 0;
    let error = loop {
        match news.next().await.expect("an error comes before the end") {
            Ok(one) => {
                assert!(one.revision >= last);
                last = one.revision;
            }
            Err(error) => break error,
        }
    };
    assert_eq!(error.kind(), ErrorKind::Unavailable);
    assert!(news.next().await.is_none());
}

#[tokio::test]
async fn another_protocol_version_is_refused() {
    let clock: SharedClock = Arc::new(SystemClock);
    let kv: Arc<dyn KvStore> = Arc::new(MemoryKv::new());
    let api = Metasrv::start(Config::default(), kv, clock, TaskSet::new(Blocking::Inline)).await.expect("start");
    let other = Call { protocol_version: 99, ..call() };
    let error = api.watch(&other, None).await.err().expect("refused");
    assert!(error.message().contains("version 99"), "{error}");
    let bad = Config { lease_ms: 1, beat_ms: 1, ..Config::default() };
    assert_eq!(bad.check().expect_err("too short").kind(), ErrorKind::InvalidRequest);
}
