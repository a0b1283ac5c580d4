use std::sync::atomic::{AtomicUsize, Ordering};

use super::*;
use crate::metasrv::not_leader;

/// How a member answers every call.
type Reply = Box<dyn Fn() -> Result<()> + Send + Sync>;

struct Member {
    reply: Reply,
    asked: AtomicUsize,
}

impl fmt::Debug for Member {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "asked {:?}", self.asked)
    }
}

impl Member {
    fn reply(&self) -> Result<()> {
        self.asked.fetch_add(1, Ordering::SeqCst);
        (self.reply)()
    }
}

#[async_trait]
impl MetasrvApi for Member {
    async fn register(&self, _: &Call, _: Registration) -> Result<Session> {
        Err(Error::unsupported("not asked here"))
    }

    async fn heartbeat(&self, _: &Call, _: NodeEpoch, _: Messages<Beat>) -> Result<Messages<Result<BeatReply>>> {
        self.reply()?;
        Ok(Box::pin(futures::stream::empty()))
    }

    async fn watch(&self, _: &Call, _: Option<Watcher>) -> Result<Messages<Result<Arc<News>>>> {
        self.reply()?;
        Ok(Box::pin(futures::stream::empty()))
    }

    async fn execute(&self, _: &Call, _: Procedure) -> Result<Outcome> {
        self.reply()?;
        Ok(Outcome { revision: 1, changed: true })
    }

    async fn region_statistics(&self, _: &Call, _: Option<TableId>) -> Result<Vec<RegionReport>> {
        self.reply()?;
        Ok(vec![])
    }

    async fn ask(&self, _: &Call, _: FrontendId, _: Inquiry) -> Result<Answers> {
        self.reply()?;
        Ok(Answers::default())
    }

    async fn answer(&self, _: &Call, _: FrontendId, _: u64, _: Answer) -> Result<()> {
        self.reply()
    }
}

const TIMEOUT: Duration = Duration::from_mins(1);

fn call() -> Call {
    Call::system("test", TIMEOUT)
}

/// Members a, b, c with these answers. Pauses take no time, longer waits never end.
fn members(replies: [Reply; 3]) -> (MetasrvMembers, [Arc<Member>; 3]) {
    let made = replies.map(|reply| Arc::new(Member { reply, asked: AtomicUsize::new(0) }));
    let names = ["a", "b", "c"];
    let known = made.clone();
    let connect: ConnectMetasrv = Arc::new(move |address| {
        let at = names.iter().position(|name| *name == address);
        let member: Arc<dyn MetasrvApi> = known[at.expect("a known member")].clone();
        Ok(member)
    });
    let wait: Wait = Arc::new(|pause| {
        Box::pin(async move {
            if pause > PAUSE_MAX {
                std::future::pending::<()>().await;
            }
            tokio::task::yield_now().await;
        })
    });
    (MetasrvMembers::new(names.map(str::to_owned).to_vec(), connect, wait).expect("members"), made)
}

fn asked(members: &[Arc<Member>; 3]) -> [usize; 3] {
    members.each_ref().map(|member| member.asked.load(Ordering::SeqCst))
}

fn follower(leader: Option<&'static str>) -> Reply {
    Box::new(move || Err(not_leader(leader)))
}

fn leader() -> Reply {
    Box::new(|| Ok(()))
}

fn truncate() -> Procedure {
    let table = crate::metasrv::TableName { database: "public".to_owned(), table: "cpu".to_owned() };
    Procedure::EachRegion { table, action: crate::metasrv::RegionAction::Truncate }
}

#[tokio::test]
async fn a_redirect_is_followed_and_remembered() {
    let (group, members) = members([follower(Some("c")), leader(), leader()]);
    group.execute(&call(), truncate()).await.expect("the leader does it");
    group.execute(&call(), truncate()).await.expect("the leader is known");
    assert_eq!(asked(&members), [1, 0, 2]);
}

#[tokio::test]
async fn who_is_away_or_knows_no_leader_is_passed_over() {
    let away = || Error::unavailable("refused").with_reason(Reason::Unreachable);
    let (group, members) = members([Box::new(move || Err(away())), follower(None), leader()]);
    group.execute(&call(), truncate()).await.expect("nothing was done before");
    assert_eq!(asked(&members), [1, 1, 1]);
}

#[tokio::test]
async fn what_may_have_been_done_is_not_sent_again_unless_that_changes_nothing() {
    let broken = || -> Reply { Box::new(|| Err(Error::unavailable("the connection broke"))) };
    let (group, asked_members) = members([broken(), leader(), leader()]);
    let error = group.execute(&call(), truncate()).await.expect_err("unknown");
    assert_eq!((error.kind(), asked(&asked_members)), (ErrorKind::Unavailable, [1, 0, 0]));
    let repeatable = Procedure::DropDatabase { name: "x".to_owned(), if_exists: true };
    group.execute(&call(), repeatable).await.expect("asked again");
    assert_eq!(asked(&asked_members), [2, 1, 0]);
}

#[tokio::test]
async fn a_cancel_that_may_have_arrived_is_not_sent_again() {
    let broken: Reply = Box::new(|| Err(Error::unavailable("the connection broke")));
    let (group, members) = members([broken, leader(), leader()]);
    let error = group.ask(&call(), FrontendId(1), Inquiry::Processes).await.expect_err("unknown");
    assert_eq!((error.kind(), asked(&members)), (ErrorKind::Unavailable, [1, 0, 0]));
}

#[tokio::test]
async fn a_heartbeat_is_tried_once_and_the_next_goes_elsewhere() {
    let (group, members) = members([follower(Some("b")), leader(), leader()]);
    let beats = || Box::pin(futures::stream::empty());
    assert!(group.heartbeat(&call(), NodeEpoch(1), beats()).await.is_err(), "redirected");
    drop(group.heartbeat(&call(), NodeEpoch(1), beats()).await.expect("opened"));
    assert_eq!(asked(&members), [1, 1, 0]);
}

#[tokio::test]
async fn a_refusal_is_final() {
    let refuse: Reply = Box::new(|| Err(Error::not_found("no such table")));
    let (group, members) = members([refuse, leader(), leader()]);
    let error = group.execute(&call(), truncate()).await.expect_err("refused");
    assert_eq!((error.kind(), asked(&members)), (ErrorKind::NotFound, [1, 0, 0]));
}

#[tokio::test]
async fn members_that_point_at_each_other_are_asked_with_pauses_until_the_time_is_over() {
    let (group, _members) = members([follower(Some("b")), follower(Some("a")), leader()]);
    // The shortest timeout ends at the next pause.
    let brief = Call::system("test", Duration::ZERO);
    let error = group.watch(&brief, None).await.err().expect("nobody leads");
    assert!(matches!(error.kind(), ErrorKind::Unavailable | ErrorKind::Timeout), "{error}");
}

#[tokio::test]
async fn a_closed_port_is_known_to_have_got_nothing() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("bind");
    let address = listener.local_addr().expect("address").to_string();
    drop(listener);
    let client = MetasrvClient::new(&address, &Account::root("test", 1 << 20)).expect("client");
    let error = client.execute(&Call::system("test", TIMEOUT), truncate()).await.expect_err("nobody listens");
    assert_eq!((error.kind(), error.reason()), (ErrorKind::Unavailable, Reason::Unreachable), "{error}");
    let none = MetasrvMembers::over_grpc(
        vec![],
        &Account::root("test", 1 << 20),
        Arc::new(|_| Box::pin(std::future::ready(()))),
    );
    assert_eq!(none.expect_err("no address").kind(), ErrorKind::InvalidRequest);
}
