//! The same questions in process and over loopback gRPC give the same answers.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use arrow_array::{Int64Array, RecordBatch};
use arrow_schema::{DataType, Field, Schema};
use async_trait::async_trait;
use bytes::Bytes;
use futures::StreamExt;
use tokio::net::TcpListener;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;
use varve_model::batch::{FieldColumn, RegionBatch, Values, Vector};
use varve_model::budget::Account;
use varve_model::id::{ColumnId, RegionEpoch, RegionId, SchemaVersion, Sequence};
use varve_model::scan::{DescribeSpec, ScanSpec};
use varve_model::series::SeriesKeys;
use varve_model::time::TimeRange;
use varve_model::{Error, ErrorKind, Result};

use super::*;
use crate::call::Call;
use crate::datanode::*;
use crate::grpc::{Accounts, window};

mod charge;

/// Answers from the request alone, so that both ways can be compared.
#[derive(Debug, Default)]
struct Echo {
    /// Streams that are being read.
    open_streams: Arc<AtomicUsize>,
    /// Batches that the transport has taken from all of them.
    taken: Arc<AtomicUsize>,
    /// Calls with the id "wait" that have come.
    waiting: AtomicUsize,
    /// Lets one of them go on.
    gate: Notify,
}

impl Echo {
    async fn wait(&self, call: &Call) {
        if call.request_id == "wait" {
            self.waiting.fetch_add(1, Ordering::SeqCst);
            self.gate.notified().await;
        }
    }
}

struct Reading(Arc<AtomicUsize>);

impl Drop for Reading {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

fn rows(count: i64) -> RecordBatch {
    let schema = Schema::new(vec![Field::new("v", DataType::Int64, false)]);
    RecordBatch::try_new(Arc::new(schema), vec![Arc::new(Int64Array::from_iter_values(0..count))]).expect("batch")
}

#[async_trait]
impl DatanodeApi for Echo {
    async fn write(&self, call: &Call, request: WriteRequest) -> Result<WriteReply> {
        if call.request_id == "refuse" {
            return Err(Error::busy("full").with_hint("wait").context("write"));
        }
        self.wait(call).await;
        let parts = request.writes.iter().map(|write| match write {
            RegionWrite::Insert(batch) => {
                Ok(WriteAck { sequence: Sequence(batch.region.0), rows: batch.rows() as u64 })
            }
            RegionWrite::Delete(_) => Err(Error::new(ErrorKind::StaleRoute, format!("{:?}", call.principal))),
        });
        Ok(WriteReply { parts: parts.collect() })
    }

    async fn scan(&self, _: &Call, ticket: ScanTicket) -> Result<ScanReply> {
        let ScanTicket::Sql(fragment) = ticket else { return Err(Error::not_found("no region")) };
        let endless = fragment.as_ref() == b"endless";
        self.open_streams.fetch_add(1, Ordering::SeqCst);
        let reading = Reading(Arc::clone(&self.open_streams));
        let last = if endless { usize::MAX } else { 4 };
        let taken = Arc::clone(&self.taken);
        let stream = futures::stream::iter(0..last).map(move |at: usize| {
            let _held = &reading;
            taken.fetch_add(1, Ordering::SeqCst);
            if at < 3 || endless { Ok(rows(1000)) } else { Err(Error::corrupt("torn page").context("scan")) }
        });
        let silent = fragment.as_ref() == b"silent";
        let stream = if silent { futures::stream::pending().boxed() } else { stream.boxed() };
        Ok(ScanReply { schema: rows(0).schema(), stream })
    }

    async fn describe(&self, call: &Call, request: DescribeRequest) -> Result<Description> {
        self.wait(call).await;
        if call.request_id == "large" {
            return Ok(Description::TagValues(vec!["x".repeat(LARGE as usize)]));
        }
        Ok(Description::TagValues(vec![call.request_id.clone(), format!("{:?}", request.spec)]))
    }
}

/// More than any test here needs.
const AMPLE: u64 = 1 << 40;
/// Bytes of a message that is more than a stream's window.
const LARGE: u64 = 8 << 20;

fn account(bytes_max: u64) -> Account {
    Account::root("test", bytes_max)
}

async fn over_grpc(api: Arc<dyn DatanodeApi>) -> (DatanodeClient, CancellationToken) {
    let (address, stop) = served(api, accounts(AMPLE)).await;
    (DatanodeClient::new(&address, &account(AMPLE)).expect("client"), stop)
}

fn accounts(bytes_max: u64) -> Accounts {
    Accounts { requests: account(bytes_max), queries: account(bytes_max) }
}

/// Where it is served, until the token is cancelled.
async fn served(api: Arc<dyn DatanodeApi>, accounts: Accounts) -> (String, CancellationToken) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("bind");
    let address = listener.local_addr().expect("address").to_string();
    let stop = CancellationToken::new();
    #[allow(clippy::disallowed_methods, reason = "varve-proto has no TaskSet; the test ends the server by its token")]
    tokio::spawn(serve_datanode(api, accounts, listener, stop.clone()));
    (address, stop)
}

fn request() -> WriteRequest {
    let mut keys = SeriesKeys::default();
    keys.push(b"\x01a\x01b");
    let vector = Vector { values: Values::F64(vec![f64::NAN, -0.0]), validity: None };
    let insert = RegionBatch {
        region: RegionId(7),
        epoch: RegionEpoch(1),
        schema_version: SchemaVersion(0),
        keys,
        series: vec![0, 0],
        ts: vec![i64::MIN, i64::MAX],
        fields: vec![FieldColumn { column: ColumnId(3), vector }],
        tokens: vec![],
    };
    let delete = RegionDelete {
        region: RegionId(8),
        epoch: RegionEpoch(1),
        schema_version: SchemaVersion(0),
        matchers: vec![],
        time: TimeRange::ALL,
    };
    WriteRequest { writes: vec![RegionWrite::Insert(insert), RegionWrite::Delete(delete)] }
}

/// All that a caller can see, as text.
async fn conversation(api: &dyn DatanodeApi) -> Vec<String> {
    let mut heard = Vec::new();
    let user = crate::call::Principal::User("jürgen".to_owned());
    let call = Call { principal: user, ..Call::system("r-1", Duration::from_secs(10)) };
    heard.push(format!("{:?}", api.write(&call, request()).await));
    let refused = Call { request_id: "refuse".to_owned(), ..call.clone() };
    heard.push(format!("{:?}", api.write(&refused, request()).await));
    let spec = DescribeSpec::Series { matchers: vec![] };
    let question = DescribeRequest { region: RegionId(1), epoch: RegionEpoch(1), spec };
    heard.push(format!("{:?}", api.describe(&call, question).await));
    let reply = api.scan(&call, ScanTicket::Sql(Bytes::from_static(b"finite"))).await.expect("scan");
    heard.push(format!("{:?}", reply.schema));
    heard.extend(reply.stream.map(|batch| format!("{batch:?}")).collect::<Vec<_>>().await);
    let spec = ScanSpec {
        region: RegionId(1),
        epoch: RegionEpoch(1),
        time: TimeRange::ALL,
        matchers: vec![],
        columns: vec![ColumnId(1)],
    };
    heard.push(format!("{:?}", api.scan(&call, ScanTicket::Region(spec)).await));
    heard
}

#[tokio::test]
async fn grpc_and_in_process_say_the_same() {
    let api = Arc::new(Echo::default());
    let (client, stop) = over_grpc(Arc::clone(&api) as Arc<dyn DatanodeApi>).await;
    assert_eq!(conversation(&client).await, conversation(&*api).await);
    stop.cancel();
}

#[tokio::test]
async fn dropping_a_stream_ends_the_work_behind_it() {
    let api = Arc::new(Echo::default());
    let (client, stop) = over_grpc(Arc::clone(&api) as Arc<dyn DatanodeApi>).await;
    let call = Call::system("r", Duration::from_secs(10));
    let mut reply = client.scan(&call, ScanTicket::Sql(Bytes::from_static(b"endless"))).await.expect("scan");
    reply.stream.next().await.expect("a batch").expect("ok");
    assert_eq!(api.open_streams.load(Ordering::SeqCst), 1);
    drop(reply);
    while api.open_streams.load(Ordering::SeqCst) > 0 {
        tokio::task::yield_now().await;
    }
    stop.cancel();
}

/// How long something may take before it counts as stopped.
const PATIENCE: Duration = Duration::from_mins(2);

#[tokio::test]
async fn streams_that_nobody_reads_do_not_stop_another_one() {
    const UNREAD: usize = 7;
    let api = Arc::new(Echo::default());
    let (address, stop) = served(Arc::clone(&api) as Arc<dyn DatanodeApi>, accounts(AMPLE)).await;
    let client = DatanodeClient::with_scans(&address, &account(AMPLE), UNREAD as u32 + 1).expect("client");
    let call = Call::system("r", PATIENCE);
    let endless = || client.scan(&call, ScanTicket::Sql(Bytes::from_static(b"endless")));
    let window = window::STREAM_WINDOW_BYTES as usize;
    let batch = rows(1000).get_array_memory_size();
    let reading = async {
        let mut unread = Vec::new();
        for _ in 0..UNREAD {
            unread.push(endless().await.expect("scan"));
        }
        // Each of them fills its window, but for what the framing takes of it.
        while api.taken.load(Ordering::SeqCst) * batch < UNREAD * window * 3 / 4 {
            tokio::task::yield_now().await;
        }
        let mut read = endless().await.expect("scan").stream;
        for _ in 0..10 * window / batch {
            read.next().await.expect("a batch").expect("no error");
        }
        // What was not read is still there.
        for mut reply in unread {
            for _ in 0..2 * window / batch {
                reply.stream.next().await.expect("a batch").expect("no error");
            }
        }
    };
    tokio::time::timeout(PATIENCE, reading).await.expect("nobody is stopped");
    stop.cancel();
}

#[tokio::test]
async fn beside_as_many_scans_as_a_connection_takes_writes_and_questions_are_answered() {
    let (client, stop) = over_grpc(Arc::new(Echo::default())).await;
    let call = Call::system("r", PATIENCE);
    let silent = |_| client.scan(&call, ScanTicket::Sql(Bytes::from_static(b"silent")));
    let scans = futures::stream::iter(0..window::STREAMS_MAX).map(silent).buffer_unordered(100);
    let mut scans = scans.map(|scan| scan.expect("scan")).collect::<Vec<_>>().await;
    // One more would wait for the others; it does not.
    assert_eq!(silent(0).await.expect_err("no stream is left").kind(), ErrorKind::Busy);
    let reply = client.write(&call, request()).await.expect("acknowledged");
    assert_eq!(reply.parts.len(), 2);
    let spec = DescribeSpec::Series { matchers: vec![] };
    client.describe(&call, DescribeRequest { region: RegionId(1), epoch: RegionEpoch(1), spec }).await.expect("answer");
    // A stream that ends leaves its place.
    scans.pop();
    scans.push(silent(0).await.expect("scan"));
    stop.cancel();
}

#[tokio::test]
async fn a_datanode_that_is_not_there_is_unavailable() {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("bind");
    let address = listener.local_addr().expect("address").to_string();
    drop(listener);
    let client = DatanodeClient::new(&address, &account(AMPLE)).expect("client");
    let call = Call::system("r", Duration::from_secs(10));
    let error = client.write(&call, request()).await.expect_err("nobody listens");
    assert_eq!(error.kind(), ErrorKind::Unavailable, "{error}");
    DatanodeClient::new("no address", &account(AMPLE)).expect_err("malformed");
}
