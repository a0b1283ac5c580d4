//! Metasrv's calls over a real socket, while the memory of both ends is used up.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use futures::StreamExt;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use varve_model::budget::{Account, Charge};
use varve_model::id::{ClusterId, FrontendId, NodeEpoch, NodeId, RegionId, TableId};
use varve_model::scan::RegionStatistics;
use varve_model::{Error, ErrorKind, Result};

use super::*;
use crate::call::Call;
use crate::grpc::Accounts;
use crate::metasrv::*;

/// Does what it is told.
#[derive(Debug)]
struct Willing;

#[async_trait]
impl MetasrvApi for Willing {
    async fn register(&self, _: &Call, _: Registration) -> Result<Session> {
        let (lease, interval) = (Duration::from_secs(10), Duration::from_secs(1));
        Ok(Session { cluster: ClusterId(1), epoch: NodeEpoch(1), lease, interval })
    }

    async fn heartbeat(&self, _: &Call, _: NodeEpoch, beats: Messages<Beat>) -> Result<Messages<Result<BeatReply>>> {
        Ok(Box::pin(beats.map(|beat| Ok(BeatReply { beat: Some(beat.number), orders: vec![] }))))
    }

    async fn watch(&self, _: &Call, _: Option<Watcher>) -> Result<Messages<Result<Arc<News>>>> {
        let news = News { revision: 1, change: Change::Node(NodeId(1), "n".repeat(LARGE as usize)) };
        let news = futures::stream::iter([Ok(Arc::new(news))]);
        Ok(Box::pin(news.chain(futures::stream::pending())))
    }

    async fn execute(&self, _: &Call, _: Procedure) -> Result<Outcome> {
        Ok(Outcome { revision: 1, changed: true })
    }

    async fn region_statistics(&self, _: &Call, _: Option<TableId>) -> Result<Vec<RegionReport>> {
        Ok(vec![])
    }

    async fn ask(&self, _: &Call, _: FrontendId, _: Inquiry) -> Result<Answers> {
        Ok(Answers::default())
    }

    async fn answer(&self, _: &Call, _: FrontendId, _: u64, _: Answer) -> Result<()> {
        Err(Error::not_found("nobody waits"))
    }
}

/// Bytes of a message that is more than a stream's window.
const LARGE: u64 = 8 << 20;

/// A client, its account, the server's accounts, and the end of it.
async fn served() -> (MetasrvClient, Account, Accounts, CancellationToken) {
    let account = || Account::root("test", 1 << 20);
    let (asking, asked) = (account(), Accounts { requests: account(), queries: account() });
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("bind");
    let address = listener.local_addr().expect("address").to_string();
    let stop = CancellationToken::new();
    #[allow(clippy::disallowed_methods, reason = "varve-proto has no TaskSet; the test ends the server by its token")]
    tokio::spawn(serve_metasrv(Arc::new(Willing), asked.clone(), listener, stop.clone()));
    (MetasrvClient::new(&address, &asking).expect("client"), asking, asked, stop)
}

fn call() -> Call {
    Call::system("test", Duration::from_mins(2))
}

/// Fills the account to its limit.
fn fill(account: &Account) -> Charge {
    let mut filling = account.empty();
    filling.set(account.bytes_max());
    filling
}

async fn until(holds: impl Fn() -> bool) {
    while !holds() {
        tokio::task::yield_now().await;
    }
}

fn registration() -> Registration {
    Registration { node: NodeId(1), cluster: None, address: String::new(), volume: None, seen_epoch: NodeEpoch(0) }
}

/// A beat of a node with so many regions that it is large.
fn beat(number: u64) -> Beat {
    let statistics = RegionStatistics { series: 1, file_bytes: 1 << 30, ..RegionStatistics::default() };
    Beat { number, regions: (0..100_000).map(|region| (RegionId(region), statistics)).collect(), ..Beat::default() }
}

#[tokio::test]
async fn beats_registrations_and_watches_pass_when_the_accounts_are_full() {
    let (client, asking, asked, stop) = served().await;
    let full = [&asking, &asked.requests, &asked.queries].map(fill);
    client.register(&call(), registration()).await.expect("a session");
    let beats = futures::stream::iter([beat(1), beat(2)]).chain(futures::stream::pending());
    let mut replies = client.heartbeat(&call(), NodeEpoch(1), Box::pin(beats)).await.expect("opened");
    for number in [1, 2] {
        let reply = replies.next().await.expect("a reply").expect("no error");
        assert_eq!(reply.beat, Some(number));
    }
    let mut news = client.watch(&call(), None).await.expect("opened");
    news.next().await.expect("news").expect("no error");
    client.ask(&call(), FrontendId(1), Inquiry::Processes).await.expect("answers");
    drop((replies, news));
    // Nothing is left but what fills them.
    until(|| [&asking, &asked.requests, &asked.queries].iter().all(|account| account.bytes() == 1 << 20)).await;
    drop(full);
    stop.cancel();
}

#[tokio::test]
async fn a_change_of_the_catalog_waits_for_room() {
    let (client, _, asked, stop) = served().await;
    let change = || Procedure::DropDatabase { name: "x".to_owned(), if_exists: true };
    let full = fill(&asked.requests);
    let error = client.execute(&call(), change()).await.expect_err("there is no room");
    assert_eq!(error.kind(), ErrorKind::Busy, "{error}");
    drop(full);
    client.execute(&call(), change()).await.expect("done");
    stop.cancel();
}

#[tokio::test]
async fn news_that_were_taken_up_are_given_back_while_the_next_are_awaited() {
    let (client, asking, asked, stop) = served().await;
    let mut news = client.watch(&call(), None).await.expect("opened");
    news.next().await.expect("news").expect("no error");
    assert!(asking.bytes() >= LARGE, "what they were read from");
    tokio::select! {
        more = news.next() => panic!("there are no more: {more:?}"),
        () = until(|| asking.bytes() == 0 && asked.requests.bytes() == 0) => {}
    }
    stop.cancel();
}
