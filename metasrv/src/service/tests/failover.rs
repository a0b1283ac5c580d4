//! What becomes of sessions and regions when datanodes and metasrvs go and come.

use varve_model::id::RegionEpoch;

use super::cluster::{Cluster, Datanode};
use super::*;
use crate::kv::fault::KvFaults;
use crate::kv::key::{Key, SessionKey, SessionRecord, SessionState};
use crate::kv::memory::Backup;

/// TTL and margin, and what a step and an order take.
const DEAD_AFTER: Duration = Duration::from_secs(12);
const SLACK: Duration = Duration::from_secs(4);

async fn created(cluster: &Cluster, regions: u32) {
    create_table(&cluster.api, "cpu", Some(regions)).await.expect("create");
}

async fn session_state(cluster: &Cluster, session: NodeEpoch) -> Option<SessionState> {
    let key = SessionKey(session);
    let entry = cluster.kv.get(&key.text()).await.expect("get")?;
    let record: SessionRecord = crate::kv::key::decode(&key, &entry.value).expect("decode");
    Some(record.state)
}

fn owned(routes: &[varve_model::region::Route], session: NodeEpoch) -> usize {
    routes.iter().filter(|route| route.owner == session).count()
}

fn is_open(kind: &OrderKind) -> bool {
    matches!(kind, OrderKind::Open(_))
}

#[tokio::test(start_paused = true)]
async fn a_dead_datanodes_regions_go_to_the_others_after_its_lease_and_the_seal() {
    let cluster = Cluster::start(1);
    let nodes = [cluster.datanode(1, None).await, cluster.datanode(2, None).await, cluster.datanode(3, None).await];
    cluster.sleep(1).await;
    created(&cluster, 6).await;
    let before = cluster.until_open(|_| true).await;
    assert_eq!(nodes.each_ref().map(|node| owned(&before, node.session)), [2, 2, 2], "spread evenly");
    cluster.sleep(7).await;
    let dead = nodes[0].session;
    nodes[0].kill();
    let start = cluster.clock.boot();
    cluster
        .until("fencing", async || (session_state(&cluster, dead).await != Some(SessionState::Live)).then_some(()))
        .await;
    let fenced = cluster.clock.boot();
    assert!(fenced >= nodes[0].said.lock().valid_until + Duration::from_secs(2), "not before its lease and a margin");
    assert!(fenced <= start + DEAD_AFTER + SLACK);
    let after = cluster.until_open(|owner| owner != dead).await;
    assert!(cluster.bucket.lock().sealed.contains(&dead), "sealed before anything was granted");
    assert_eq!([1, 2].map(|at: usize| owned(&after, nodes[at].session)), [3, 3], "spread over those that live");
    for (before, after) in before.iter().zip(&after) {
        let moved = u64::from(before.owner == dead);
        assert_eq!(after.epoch.0, before.epoch.0 + moved, "one grant, and none for the others");
    }
    let heard = super::catalog(&cluster.api, 0).await;
    assert_eq!(heard.nodes.len(), 3, "routes come with the addresses of nodes");
}

#[tokio::test(start_paused = true)]
async fn nothing_is_granted_before_the_seal_is_reported_and_a_silent_sealer_is_replaced() {
    let cluster = Cluster::start(1);
    let nodes = [cluster.datanode(1, None).await, cluster.datanode(2, None).await, cluster.datanode(3, None).await];
    cluster.sleep(1).await;
    created(&cluster, 3).await;
    nodes[1].set(|said| said.deaf_to_seal = true);
    nodes[2].set(|said| said.deaf_to_seal = true);
    let dead = nodes[0].session;
    nodes[0].kill();
    cluster.sleep(40).await;
    assert_eq!(session_state(&cluster, dead).await, Some(SessionState::Fencing));
    assert_eq!(owned(&cluster.routes().await, dead), 1, "its region is still its own");
    assert_eq!(nodes[1].count(is_open) + nodes[2].count(is_open), 2, "no second grant");
    nodes[2].set(|said| said.deaf_to_seal = false);
    cluster.until_open(|owner| owner != dead).await;
    assert_eq!(nodes[2].count(|kind| *kind == OrderKind::Seal(dead)), 1, "the other one was asked too");
}

#[tokio::test(start_paused = true)]
async fn a_grant_stays_with_a_datanode_that_lives_and_keeps_silent_and_moves_when_it_dies() {
    let cluster = Cluster::start(1);
    let deaf = cluster.datanode(1, None).await;
    deaf.set(|said| said.deaf_to_open = true);
    cluster.sleep(1).await;
    let api = Arc::clone(&cluster.api);
    let tasks = TaskSet::new(Blocking::Inline);
    tasks.spawn("client", async move { drop(create_table(&api, "cpu", Some(1)).await) });
    cluster.sleep(1).await;
    let other = cluster.datanode(2, None).await;
    cluster.sleep(120).await;
    assert_eq!(other.count(is_open), 0, "no report, no death: no second grant");
    let routes = cluster.routes().await;
    assert_eq!((routes[0].owner, routes[0].epoch.0), (deaf.session, 1));
    deaf.kill();
    let routes = cluster.until_open(|owner| owner == other.session).await;
    assert_eq!(routes[0].epoch.0, 2);
}

#[tokio::test(start_paused = true)]
async fn a_datanode_that_returns_has_its_old_session_sealed_at_once_and_gets_its_regions_back() {
    let cluster = Cluster::start(1);
    let bystander = cluster.datanode(2, None).await;
    let old = cluster.datanode(1, None).await;
    cluster.sleep(1).await;
    created(&cluster, 4).await;
    old.kill();
    cluster.sleep(1).await;
    let start = cluster.clock.boot();
    let new = cluster.datanode(1, None).await;
    let routes = cluster.until_open(|owner| owner != old.session).await;
    assert!(cluster.clock.boot() < start + Duration::from_secs(5), "no lease is waited for");
    assert_eq!((owned(&routes, new.session), owned(&routes, bystander.session)), (2, 2), "as before");
    assert!(cluster.bucket.lock().sealed.contains(&old.session));
}

#[tokio::test(start_paused = true)]
async fn the_only_datanode_seals_its_own_old_session() {
    let cluster = Cluster::start(1);
    let old = cluster.datanode(1, None).await;
    cluster.sleep(1).await;
    created(&cluster, 2).await;
    old.kill();
    cluster.sleep(60).await;
    assert_eq!(session_state(&cluster, old.session).await, Some(SessionState::Live), "nobody would take its regions");
    let new = cluster.datanode(1, None).await;
    cluster.until_open(|owner| owner == new.session).await;
}

#[tokio::test(start_paused = true)]
async fn a_second_process_with_the_same_node_id_is_refused_while_the_first_beats() {
    let cluster = Cluster::start(1);
    let first = cluster.datanode(1, None).await;
    cluster.sleep(1).await;
    let error = cluster.try_datanode(1, None).await.err().expect("the first is alive");
    assert_eq!(error.kind(), ErrorKind::Busy, "{error}");
    assert!(error.message().contains("node id"), "{error}");
    cluster.sleep(20).await;
    assert!(!first.is_fenced());
    // A paused process is replaced once it is silent, and learns it when it wakes up.
    first.set(|said| said.is_paused = true);
    cluster.sleep(7).await;
    let second = cluster.datanode(1, None).await;
    first.set(|said| said.is_paused = false);
    cluster.until("the first learns", async || first.is_fenced().then_some(())).await;
    cluster.sleep(5).await;
    assert!(!second.is_fenced());
}

#[tokio::test(start_paused = true)]
async fn a_paused_datanode_that_wakes_up_after_its_lease_is_told_to_seal_itself() {
    let cluster = Cluster::start(1);
    let (sleeper, other) = (cluster.datanode(1, None).await, cluster.datanode(2, None).await);
    cluster.sleep(1).await;
    created(&cluster, 2).await;
    sleeper.set(|said| said.is_paused = true);
    cluster.until_open(|owner| owner == other.session).await;
    sleeper.set(|said| said.is_paused = false);
    cluster.until("the sleeper learns", async || sleeper.is_fenced().then_some(())).await;
    assert!(sleeper.said.lock().valid_until < cluster.clock.boot());
}

#[tokio::test(start_paused = true)]
async fn regions_on_a_local_volume_wait_for_it() {
    let cluster = Cluster::start(1);
    let (local, other) = (cluster.datanode(1, Some(7)).await, cluster.datanode(2, None).await);
    cluster.sleep(1).await;
    created(&cluster, 2).await;
    local.kill();
    cluster.sleep(120).await;
    let routes = cluster.routes().await;
    assert_eq!((owned(&routes, local.session), owned(&routes, other.session)), (1, 1));
    let back = cluster.datanode(1, Some(7)).await;
    let routes = cluster.until_open(|owner| owner != local.session).await;
    assert_eq!(owned(&routes, back.session), 1);
    assert_eq!(cluster.bucket.lock().sealed, [], "nobody seals a disk");
    cluster.until("forgotten", async || session_state(&cluster, local.session).await.is_none().then_some(())).await;
    assert_eq!(cluster.bucket.lock().forgotten, [], "the volume's holder trims its log");
}

#[tokio::test(start_paused = true)]
async fn a_datanode_that_sealed_itself_is_not_waited_for() {
    let cluster = Cluster::start(1);
    let (leaving, other) = (cluster.datanode(1, None).await, cluster.datanode(2, None).await);
    cluster.sleep(1).await;
    created(&cluster, 2).await;
    leaving.set(|said| said.life = Life::Draining);
    cluster.sleep(4).await;
    create_table(&cluster.api, "mem", Some(3)).await.expect("create");
    assert_eq!(other.count(is_open), 4, "no new regions for who drains");
    leaving.set(|said| said.life = Life::Sealed);
    let start = cluster.clock.boot();
    cluster.until_open(|owner| owner == other.session).await;
    assert!(cluster.clock.boot() < start + Duration::from_secs(5), "no lease is waited for");
    assert_eq!(cluster.bucket.lock().sealed, [], "it sealed its own lanes");
}

#[tokio::test(start_paused = true)]
async fn what_a_sealed_session_left_is_deleted_and_its_record_goes() {
    let cluster = Cluster::start(1);
    let (dead, _other) = (cluster.datanode(1, None).await, cluster.datanode(2, None).await);
    cluster.sleep(1).await;
    created(&cluster, 2).await;
    dead.kill();
    cluster.until_open(|owner| owner != dead.session).await;
    assert_eq!(session_state(&cluster, dead.session).await, Some(SessionState::Sealed));
    cluster.until("forgotten", async || session_state(&cluster, dead.session).await.is_none().then_some(())).await;
    assert_eq!(cluster.bucket.lock().forgotten, [dead.session]);
}

#[tokio::test(start_paused = true)]
async fn killing_the_leader_costs_seconds_and_no_session() {
    let mut cluster = Cluster::start(3);
    let nodes = [cluster.datanode(1, None).await, cluster.datanode(2, None).await];
    cluster.sleep(1).await;
    created(&cluster, 4).await;
    for _ in 0..2 {
        let killed = cluster.kill_leader();
        let start = cluster.clock.boot();
        let widen = TableChange::Widen(vec![NewColumn::tag(format!("at{}", start.as_millis()))]);
        alter(&cluster.api, "cpu", widen).await.expect("the adapter finds the next leader");
        let took = cluster.clock.boot().saturating_sub(start);
        assert!(took < Duration::from_secs(9), "{took:?}");
        for node in &nodes {
            assert!(!node.is_fenced());
        }
        cluster.start_member(&killed);
        cluster.sleep(30).await;
    }
    assert_eq!(cluster.bucket.lock().sealed, []);
    let reports = cluster.api.region_statistics(&call(), None).await.expect("statistics");
    assert_eq!(reports.len(), 4, "every member answers through the leader");
    assert!(reports.iter().all(|report| report.age <= Duration::from_secs(3)));
}

#[tokio::test(start_paused = true)]
async fn followers_name_the_leader_and_a_deposed_leader_falls_silent() {
    let cluster = Cluster::start(3);
    let leader = cluster.until("a leader", async || cluster.leader()).await;
    cluster.sleep(3).await;
    let members = cluster.members.lock().clone();
    for (name, member) in &members {
        if *name != leader {
            let error = member.watch(&call(), None).await.err().expect("a follower");
            assert_eq!(varve_proto::metasrv::leader_of(&error), Some(leader.as_str()));
            assert_eq!(member.leader(), Some((leader.clone(), leader.clone())));
        }
    }
    let old = &members[&leader];
    let session = old.register(&call(), node::registration(1, None)).await.expect("register");
    let (beats, stream) = tokio::sync::mpsc::channel(4);
    let stream = Box::pin(tokio_stream::wrappers::ReceiverStream::new(stream));
    let mut replies = old.heartbeat(&call(), session.epoch, stream).await.expect("heartbeat");
    let mut news = old.watch(&call(), None).await.expect("watch");
    beats.send(Beat { number: 1, ..Beat::default() }).await.expect("beat");
    assert_eq!(replies.next().await.expect("reply").expect("ok").beat, Some(1));
    // Cut from the store and not from its datanodes: it must not answer once another may lead.
    cluster.sets[&leader].1.set(KvFaults { is_cut: true, ..KvFaults::default() });
    let elected = async {
        cluster.until("another leader", async || cluster.leader().filter(|name| *name != leader)).await;
        cluster.clock.boot()
    };
    let beating = async {
        let mut last = Duration::ZERO;
        for number in 2..200 {
            if beats.send(Beat { number, ..Beat::default() }).await.is_err() {
                break;
            }
            match replies.next().await {
                Some(Ok(reply)) if reply.beat.is_some() => last = cluster.clock.boot(),
                Some(Ok(_)) => {}
                Some(Err(error)) => {
                    assert_eq!(error.kind(), ErrorKind::Unavailable, "not `Fenced`: the session lives on: {error}");
                    break;
                }
                None => break,
            }
            cluster.clock.sleep(Duration::from_millis(100)).await;
        }
        last
    };
    let (elected, last) = futures::future::join(elected, beating).await;
    assert!(last > Duration::ZERO && last <= elected, "answered at {last:?}, elected at {elected:?}");
    while let Some(Ok(_)) = news.next().await {}
    let error = old.register(&call(), node::registration(2, None)).await.expect_err("no leader");
    assert_eq!(error.reason(), varve_model::Reason::NotLeader);
}

#[tokio::test(start_paused = true)]
async fn a_new_leader_counts_from_its_election_and_goes_on_with_fencing() {
    let mut cluster = Cluster::start(3);
    let nodes = [cluster.datanode(1, None).await, cluster.datanode(2, None).await];
    cluster.sleep(1).await;
    created(&cluster, 2).await;
    nodes[1].set(|said| said.deaf_to_seal = true);
    let dead = nodes[0].session;
    nodes[0].kill();
    cluster
        .until("fencing", async || (session_state(&cluster, dead).await == Some(SessionState::Fencing)).then_some(()))
        .await;
    cluster.kill_leader();
    nodes[1].set(|said| said.deaf_to_seal = false);
    cluster.until_open(|owner| owner == nodes[1].session).await;
    assert!(!nodes[1].is_fenced());
    // A datanode that dies with the leader is dead a whole lease after the next election.
    let third = cluster.datanode(3, None).await;
    cluster.sleep(1).await;
    create_table(&cluster.api, "mem", Some(2)).await.expect("create");
    third.kill();
    cluster.sleep(9).await;
    cluster.kill_leader();
    cluster.until("a leader", async || cluster.leader()).await;
    let elected = cluster.clock.boot();
    cluster
        .until("fencing", async || {
            (session_state(&cluster, third.session).await != Some(SessionState::Live)).then_some(())
        })
        .await;
    let waited = cluster.clock.boot().saturating_sub(elected);
    assert!(waited + Duration::from_secs(1) >= DEAD_AFTER && waited <= DEAD_AFTER + SLACK, "{waited:?}");
}

#[tokio::test(start_paused = true)]
async fn epochs_are_never_given_twice_by_metadata_from_an_old_backup() {
    let mut cluster = Cluster::start(2);
    let first = cluster.datanode(1, None).await;
    cluster.sleep(1).await;
    created(&cluster, 2).await;
    cluster.until_open(|_| true).await;
    let backup = cluster.kv.backup();
    // Sessions and grants that the backup does not know.
    let mut last = first;
    for _ in 0..4 {
        last.kill();
        cluster.sleep(1).await;
        last = cluster.datanode(1, None).await;
        let session = last.session;
        cluster.until_open(|owner| owner == session).await;
    }
    let claimed = cluster.bucket.lock().claimed.clone();
    assert!(claimed.values().all(|epoch| epoch.0 == 5));
    cluster.restore(&backup);
    cluster.until("the session is unknown", async || last.is_fenced().then_some(())).await;
    let back: Datanode = cluster.datanode(1, None).await;
    assert!(back.session > last.session);
    let routes = cluster.until_open(|owner| owner == back.session).await;
    for route in &routes {
        assert!(route.epoch > claimed[&route.region], "I13: {route:?} after {claimed:?}");
    }
    cluster.kill_leader();
    let error = create_table(&cluster.api, "cpu", None).await.expect_err("exists");
    assert_eq!(error.kind(), ErrorKind::AlreadyExists);
}

/// A backup in which the first node's session is being given up; what it had is the second node's when this returns.
async fn backup_amid_failover(cluster: &Cluster) -> (Datanode, Backup) {
    let first = cluster.datanode(1, None).await;
    cluster.sleep(1).await;
    created(cluster, 2).await;
    cluster.until_open(|owner| owner == first.session).await;
    let second = cluster.datanode(2, None).await;
    second.set(|said| said.deaf_to_seal = true);
    first.kill();
    let fencing = async || (session_state(cluster, first.session).await == Some(SessionState::Fencing)).then_some(());
    cluster.until("a failover has begun", fencing).await;
    let backup = cluster.kv.backup();
    second.set(|said| said.deaf_to_seal = false);
    cluster.until_open(|owner| owner == second.session).await;
    (second, backup)
}

#[tokio::test(start_paused = true)]
async fn an_owner_that_a_backup_does_not_know_is_sealed_only_after_its_lease() {
    let cluster = Cluster::start(2);
    let (second, backup) = backup_amid_failover(&cluster).await;
    second.kill();
    let stranger = cluster.datanode(3, None).await;
    cluster.until_open(|owner| owner == stranger.session).await;
    stranger.set(|said| said.is_paused = true);
    cluster.restore(&backup);
    let heir = cluster.datanode(4, None).await;
    cluster.until_open(|owner| owner == heir.session).await;
    assert!(cluster.bucket.lock().sealed.contains(&stranger.session));
    assert_eq!(cluster.bucket.lock().violations, Vec::<String>::new());
}

#[tokio::test(start_paused = true)]
async fn an_owner_that_lives_keeps_the_regions_that_a_backup_gives_to_others() {
    let cluster = Cluster::start(2);
    let (second, backup) = backup_amid_failover(&cluster).await;
    // Both are there when the regions are granted again.
    second.set(|said| said.deaf_to_seal = true);
    cluster.restore(&backup);
    let third = cluster.datanode(3, None).await;
    cluster.until("regions were granted to the third", async || (third.count(is_open) > 0).then_some(())).await;
    cluster.until_open(|owner| owner == second.session).await;
    assert!(!cluster.bucket.lock().sealed.contains(&second.session) && !second.is_fenced());
    assert_eq!(cluster.bucket.lock().violations, Vec::<String>::new());
}

#[tokio::test(start_paused = true)]
async fn a_route_that_is_older_than_its_region_is_granted_again() {
    let cluster = Cluster::start(1);
    let only = cluster.datanode(1, None).await;
    cluster.sleep(1).await;
    created(&cluster, 2).await;
    let routes = cluster.until_open(|_| true).await;
    let backup = cluster.kv.backup();
    // The region has a grant that the backup does not know, and so have the beats.
    let region = routes[0].region;
    cluster.bucket.lock().claimed.insert(region, RegionEpoch(7));
    cluster.restore(&backup);
    let above = async || cluster.routes().await.into_iter().find(|route| route.epoch > RegionEpoch(7));
    let route = cluster.until("it is granted again", above).await;
    assert_eq!((route.region, route.owner), (region, only.session));
    let routes = cluster.until_open(|owner| owner == only.session).await;
    assert_eq!(routes[1].epoch, RegionEpoch(1), "the other is as it was");
}

#[tokio::test(start_paused = true)]
async fn lost_requests_replies_and_watches_of_the_store_only_cost_time() {
    let cluster = Cluster::start(3);
    let nodes = [cluster.datanode(1, None).await, cluster.datanode(2, None).await];
    cluster.sleep(1).await;
    created(&cluster, 4).await;
    for (_, link) in cluster.sets.values() {
        let delay_max = Duration::from_millis(100);
        link.set(KvFaults { is_cut: false, delay_max, lost_requests: 10, lost_replies: 10 });
    }
    for round in 0..20 {
        let name = format!("r{round}");
        let change = TableChange::Widen(vec![NewColumn::tag(name.clone())]);
        // Unknown outcomes are made known by asking again, as clients do.
        let mut tries = 0;
        while alter(&cluster.api, "cpu", change.clone()).await.is_err() {
            tries += 1;
            assert!(tries < 50, "{name}");
            cluster.sleep(1).await;
        }
        cluster.kv.end_watches();
        if round % 5 == 4 {
            cluster.kv.compact();
            cluster.kv.depose();
        }
    }
    for (_, link) in cluster.sets.values() {
        link.set(KvFaults::default());
    }
    cluster.sleep(30).await;
    let info = table(&cluster.api, "cpu", 0).await.expect("there");
    assert_eq!(info.schema.columns.len(), 3 + 20, "each column once");
    cluster.until_open(|owner| nodes.iter().any(|node| node.session == owner)).await;
    let left = cluster.kv.range("procedure/").await.expect("range").entries;
    assert_eq!(left, [], "every procedure came to its end");
}
