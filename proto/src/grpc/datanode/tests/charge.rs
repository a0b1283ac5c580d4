//! What calls are charged, and what a full account refuses of them.

use std::pin::pin;

use varve_model::Reason;
use varve_model::budget::Charge;

use super::*;

/// Both ends with accounts of their own.
struct Ends {
    api: Arc<Echo>,
    client: DatanodeClient,
    /// Of the caller.
    asking: Account,
    /// Of the callee.
    asked: Accounts,
    stop: CancellationToken,
}

impl Ends {
    async fn with(asking: u64, asked: u64) -> Self {
        let (api, asking, asked) = (Arc::new(Echo::default()), account(asking), accounts(asked));
        let (address, stop) = served(Arc::clone(&api) as Arc<dyn DatanodeApi>, asked.clone()).await;
        let client = DatanodeClient::new(&address, &asking).expect("client");
        Self { api, client, asking, asked, stop }
    }

    /// Bytes of the caller, of requests and of scans.
    fn bytes(&self) -> [u64; 3] {
        [self.asking.bytes(), self.asked.requests.bytes(), self.asked.queries.bytes()]
    }

    /// Ends when everything is given back.
    async fn settle(self) {
        until(|| self.bytes() == [0; 3]).await;
        self.stop.cancel();
    }

    async fn scan(&self, kind: &'static [u8]) -> Result<ScanReply> {
        self.client.scan(&call("r"), ScanTicket::Sql(Bytes::from_static(kind))).await
    }

    async fn describe(&self, id: &str) -> Result<Description> {
        let spec = DescribeSpec::Series { matchers: vec![] };
        self.client.describe(&call(id), DescribeRequest { region: RegionId(1), epoch: RegionEpoch(1), spec }).await
    }
}

/// Asks with the id "wait"; does something when the call has come, and lets it go on.
async fn meanwhile<T: std::fmt::Debug, U>(
    ends: &Ends,
    asking: impl Future<Output = T>,
    then: impl AsyncFnOnce() -> U,
) -> (T, U) {
    let mut asking = pin!(asking);
    tokio::select! {
        early = &mut asking => panic!("it does not wait: {early:?}"),
        () = until(|| ends.api.waiting.load(Ordering::SeqCst) == 1) => {}
    }
    let said = then().await;
    ends.api.gate.notify_one();
    (asking.await, said)
}

fn call(id: &str) -> Call {
    Call::system(id, PATIENCE)
}

async fn until(holds: impl Fn() -> bool) {
    while !holds() {
        tokio::task::yield_now().await;
    }
}

/// Rows of more than so many bytes.
fn large(bytes: u64) -> WriteRequest {
    let rows = bytes as usize / 8;
    let WriteRequest { mut writes } = request();
    if let RegionWrite::Insert(batch) = &mut writes[0] {
        batch.series = vec![0; rows];
        batch.ts = vec![0; rows];
        batch.fields[0].vector = Vector { values: Values::F64(vec![0.5; rows]), validity: None };
    }
    WriteRequest { writes }
}

/// Fills the account to its limit.
fn fill(account: &Account) -> Charge {
    leave(account, 0)
}

/// Fills the account up to so many bytes.
fn leave(account: &Account, room: u64) -> Charge {
    let mut filling = account.empty();
    filling.set(account.bytes_max() - account.bytes() - room);
    filling
}

fn assert_busy<T: std::fmt::Debug>(result: Result<T>) {
    let error = result.expect_err("there is no room");
    assert_eq!(error.kind(), ErrorKind::Busy, "{error}");
    assert!(error.message().contains("memory account 'test' is full"), "{error}");
}

fn assert_too_large<T: std::fmt::Debug>(result: Result<T>) {
    let error = result.expect_err("there is never room");
    assert_eq!((error.kind(), error.reason()), (ErrorKind::InvalidRequest, Reason::TooLarge), "{error}");
}

#[tokio::test]
async fn a_call_is_charged_at_both_ends_until_it_is_answered() {
    let ends = Ends::with(AMPLE, AMPLE).await;
    let waiting = call("wait");
    let writing = ends.client.write(&waiting, large(LARGE));
    let (reply, [asking, requests, queries]) = meanwhile(&ends, writing, async || ends.bytes()).await;
    assert!(asking > LARGE && asking == requests, "{asking} bytes asked, {requests} taken");
    assert_eq!(queries, 0);
    reply.expect("acknowledged");
    ends.settle().await;
}

#[tokio::test]
async fn a_call_that_is_cancelled_gives_back_its_memory() {
    let ends = Ends::with(AMPLE, AMPLE).await;
    let waiting = call("wait");
    tokio::select! {
        reply = ends.client.write(&waiting, large(LARGE)) => panic!("nobody lets it go: {reply:?}"),
        () = until(|| ends.api.waiting.load(Ordering::SeqCst) == 1) => assert!(ends.asked.requests.bytes() > LARGE),
    }
    ends.settle().await;
}

#[tokio::test]
async fn a_write_that_finds_no_room_is_busy_and_the_connection_lives_on() {
    let ends = Ends::with(AMPLE, AMPLE).await;
    let full = leave(&ends.asked.requests, 1 << 20);
    // Answered over the same connection.
    let (described, ()) = meanwhile(&ends, ends.describe("wait"), async || {
        assert_busy(ends.client.write(&call("r"), large(LARGE)).await);
        ends.client.write(&call("r"), request()).await.expect("a small one fits");
        assert_busy(ends.client.write(&call("r"), large(LARGE)).await);
    })
    .await;
    described.expect("answer");
    drop(full);
    ends.settle().await;
}

#[tokio::test]
async fn what_never_finds_room_at_one_end_is_too_large() {
    for (asking, asked) in [(AMPLE, 1 << 20), (1 << 20, AMPLE)] {
        let ends = Ends::with(asking, asked).await;
        assert_too_large(ends.client.write(&call("r"), large(LARGE)).await);
        assert_too_large(ends.describe("large").await);
        ends.client.write(&call("r"), request()).await.expect("a small one fits");
        ends.settle().await;
    }
}

#[tokio::test]
async fn a_caller_without_room_asks_nobody() {
    let ends = Ends::with(AMPLE, AMPLE).await;
    let full = leave(&ends.asking, 1 << 20);
    assert_busy(ends.client.write(&call("wait"), large(LARGE)).await);
    drop(full);
    let full = fill(&ends.asking);
    assert_busy(ends.describe("wait").await);
    assert_busy(ends.scan(b"silent").await);
    assert_eq!(ends.api.waiting.load(Ordering::SeqCst), 0);
    assert_eq!(ends.api.open_streams.load(Ordering::SeqCst), 0);
    drop(full);
    ends.settle().await;
}

#[tokio::test]
async fn a_large_answer_is_refused_where_there_is_no_room_for_it() {
    for fill_asked in [true, false] {
        let ends = Ends::with(AMPLE, AMPLE).await;
        let full = leave(if fill_asked { &ends.asked.requests } else { &ends.asking }, 1 << 20);
        assert_busy(ends.describe("large").await);
        ends.describe("small").await.expect("answer");
        drop(full);
        ends.settle().await;
    }
}

#[tokio::test]
async fn a_write_that_was_done_is_acknowledged_whatever_room_there_is() {
    let ends = Ends::with(AMPLE, AMPLE).await;
    let waiting = call("wait");
    let full = async || (fill(&ends.asking), fill(&ends.asked.requests));
    let (reply, full) = meanwhile(&ends, ends.client.write(&waiting, request()), full).await;
    reply.expect("acknowledged");
    drop(full);
    ends.settle().await;
}

#[tokio::test]
async fn a_scan_that_finds_no_room_is_busy_before_its_work_begins() {
    let ends = Ends::with(AMPLE, AMPLE).await;
    let full = fill(&ends.asked.queries);
    assert_busy(ends.scan(b"endless").await);
    assert_eq!(ends.api.open_streams.load(Ordering::SeqCst), 0);
    ends.describe("small").await.expect("requests have an account of their own");
    drop(full);
    ends.settle().await;
}

#[tokio::test]
async fn an_open_scan_holds_its_window_and_what_waits_for_its_reader() {
    let ends = Ends::with(AMPLE, AMPLE).await;
    let window = u64::from(window::STREAM_WINDOW_BYTES);
    let mut reply = ends.scan(b"endless").await.expect("scan");
    assert!(ends.asking.bytes() >= window);
    // The reader's window is full, and the sender holds what comes after it.
    let batch = rows(1000).get_array_memory_size();
    until(|| ends.api.taken.load(Ordering::SeqCst) * batch > window as usize).await;
    until(|| ends.asked.queries.bytes() > 0).await;
    reply.stream.next().await.expect("a batch").expect("no error");
    assert!(ends.asking.bytes() > window, "the message that is read");
    drop(reply);
    ends.settle().await;
}

#[tokio::test]
async fn a_scan_whose_node_runs_full_ends_with_busy() {
    for fill_asked in [true, false] {
        let ends = Ends::with(AMPLE, AMPLE).await;
        let mut reply = ends.scan(b"endless").await.expect("scan");
        reply.stream.next().await.expect("a batch").expect("no error");
        let full = fill(if fill_asked { &ends.asked.queries } else { &ends.asking });
        let error = loop {
            match reply.stream.next().await.expect("it is endless") {
                // What was under way.
                Ok(_) => {}
                Err(error) => break error,
            }
        };
        assert_busy(Err::<(), _>(error));
        until(|| ends.api.open_streams.load(Ordering::SeqCst) == 0).await;
        drop((reply, full));
        ends.settle().await;
    }
}

#[tokio::test]
async fn a_process_of_one_gigabyte_has_room_for_the_streams_of_a_shuffled_query() {
    // Its queries' account; three exchanges of 64 streams, both ends of each of them.
    let both = account((1 << 30) / 100 * 36);
    let asked = Accounts { requests: account(AMPLE), queries: both.clone() };
    let api = Arc::new(Echo::default());
    let (address, stop) = served(Arc::clone(&api) as Arc<dyn DatanodeApi>, asked).await;
    let client = DatanodeClient::new(&address, &both).expect("client");
    let mut open = Vec::new();
    for _ in 0..3 * 64 {
        let mut reply = client.scan(&call("r"), ScanTicket::Sql(Bytes::from_static(b"endless"))).await.expect("scan");
        reply.stream.next().await.expect("a batch").expect("no error");
        open.push(reply);
    }
    for reply in &mut open {
        reply.stream.next().await.expect("a batch").expect("no error");
    }
    stop.cancel();
}
