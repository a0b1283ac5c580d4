//! Three members on a real etcd, called over gRPC, in real time with the shortest leases.

use varve_proto::grpc::{MetasrvMembers, Wait};
use varve_service::clock::Clock;

use super::*;
use crate::kv::tests::server::Etcd;
use crate::{Member, MemberSetup};

/// How long anything may take here before the test fails; a busy machine is slow.
const PATIENCE: Duration = Duration::from_mins(1);

struct Seat {
    address: String,
    member: Arc<Member>,
    tasks: TaskSet,
}

async fn start(etcd: &Etcd, name: &str) -> Seat {
    let tasks = TaskSet::new(Blocking::Threads);
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("bind");
    let address = listener.local_addr().expect("address").to_string();
    let member = Member::start(MemberSetup {
        config: Config { leader_lease_ms: 2_000, ..Config::default() },
        name: name.to_owned(),
        address: address.clone(),
        kv: etcd.kv("cluster"),
        clock: Arc::new(SystemClock),
        tasks: tasks.clone(),
    })
    .expect("start");
    tasks.spawn("gRPC", serve_metasrv(member.clone(), accounts(), listener, tasks.token().clone()));
    Seat { address, member, tasks }
}

fn client(seats: &[Seat]) -> Arc<dyn MetasrvApi> {
    let wait: Wait = Arc::new(|pause| SystemClock.sleep(pause));
    let addresses = seats.iter().map(|seat| seat.address.clone()).collect();
    Arc::new(MetasrvMembers::over_grpc(addresses, &accounts().queries, wait).expect("members"))
}

async fn leader(seats: &[Seat]) -> usize {
    let looking = async {
        loop {
            if let Some(at) = seats.iter().position(|seat| seat.member.is_leader()) {
                return at;
            }
            SystemClock.sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(PATIENCE, looking).await.expect("somebody leads")
}

#[tokio::test(flavor = "multi_thread")]
async fn three_members_on_etcd_survive_the_loss_of_their_leader_and_of_etcd() {
    let Some(mut etcd) = Etcd::start() else { return };
    let mut seats = vec![start(&etcd, "a").await, start(&etcd, "b").await, start(&etcd, "c").await];
    let api = client(&seats);
    let session = api.register(&Call::system("test", PATIENCE), node::registration(1, None)).await.expect("register");
    let first = leader(&seats).await;
    assert_eq!(seats.iter().filter(|seat| seat.member.is_leader()).count(), 1);
    // Killed without a farewell: its lease must run out.
    let killed = seats.remove(first);
    killed.tasks.kill();
    leader(&seats).await;
    // The test's datanode opens its stream once: the client must know the new leader by then.
    catalog(&api, 0).await;
    let node = node::start(&api, 2, 2, obedient()).await;
    assert!(node.session.epoch > session.epoch, "the counter lives in etcd");
    create_table(&api, "cpu", Some(3)).await.expect("create");
    assert_eq!(node.count(|kind| matches!(kind, OrderKind::Open(_))), 3);
    // One that stops resigns: another leads without waiting for a lease.
    let at = leader(&seats).await;
    let stopped = seats.remove(at);
    stopped.tasks.stop().await;
    assert_eq!(catalog(&api, 0).await.tables.len(), 1);
    // Without etcd the last one falls silent within its lease.
    etcd.kill();
    let silent = async {
        while seats[0].member.is_leader() {
            SystemClock.sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(PATIENCE, silent).await.expect("it leads no longer");
    let error = seats[0].member.watch(&call(), None).await.err().expect("nobody leads");
    assert_eq!(error.reason(), varve_model::Reason::NotLeader);
    etcd.restart();
    leader(&seats).await;
    let info = table(&api, "cpu", 0).await.expect("still there");
    assert_eq!(info.name, "cpu");
    seats[0].tasks.stop().await;
}
