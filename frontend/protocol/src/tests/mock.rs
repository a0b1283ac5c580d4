//! A scripted database behind the [`Gateway`], for the tests of all protocols.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use arrow_array::{ArrayRef, RecordBatch, StringArray};
use arrow_schema::DataType;
use async_trait::async_trait;
use futures::{StreamExt, stream};
use parking_lot::Mutex;
use tokio::net::TcpListener;
use tokio::sync::Notify;
use varve_model::budget::Account;
use varve_model::id::ProcessId;
use varve_model::id::process::{Cancel, CancelScope, Process};
use varve_model::rows::Rows;
use varve_model::{Error, ErrorKind, Reason, Result};
use varve_service::clock::SystemClock;
use varve_service::net::status::Node;
use varve_service::task::{Blocking, TaskSet};
use varve_service::telemetry::metrics::Metrics;

use crate::gateway::{Gateway, Prepared, Query, Written};
use crate::http::HttpSetup;
use crate::output::{Output, SessionChange};
use crate::process::{Processes, Verdict};
use crate::session::Session;

/// What the mock answers to one text.
#[derive(Clone, Debug)]
pub(crate) enum Answer {
    Batches(Vec<RecordBatch>),
    /// Batches, then an error.
    Broken(Vec<RecordBatch>, ErrorKind, Reason),
    Count(&'static str, u64),
    Set(&'static str, SessionChange),
    Error(ErrorKind, Reason, String),
    /// Batches, then a panic.
    Lost(Vec<RecordBatch>),
    /// The same batch for ever.
    Endless(RecordBatch),
    /// Several statements.
    Many(Vec<Answer>),
    Never,
    Panic,
}

#[derive(Debug)]
pub(crate) struct Mock {
    pub(crate) writes: Mutex<Vec<(Session, Rows)>>,
    pub(crate) queries: Mutex<Vec<(Session, Query)>>,
    pub(crate) write_answer: Mutex<Option<Result<Written, (ErrorKind, Reason)>>>,
    pub(crate) answers: Mutex<HashMap<String, Answer>>,
    /// Fails everything.
    pub(crate) failure: Mutex<Option<(ErrorKind, Reason)>>,
    pub(crate) params: Mutex<HashMap<String, Vec<Option<DataType>>>>,
    /// Told when an [`Answer::Never`] begins, and when it or an [`Answer::Endless`] is dropped.
    pub(crate) begun: Notify,
    pub(crate) ended: Arc<Notify>,
    /// Batches of [`Answer::Endless`] so far.
    pulled: Arc<AtomicU64>,
    pub(crate) processes: Processes,
}

impl Default for Mock {
    fn default() -> Self {
        Self {
            writes: Mutex::default(),
            queries: Mutex::default(),
            write_answer: Mutex::default(),
            answers: Mutex::default(),
            failure: Mutex::default(),
            params: Mutex::default(),
            begun: Notify::new(),
            ended: Arc::default(),
            pulled: Arc::default(),
            processes: Processes::new(Arc::new(SystemClock)),
        }
    }
}

/// Tells that a query that never ends was dropped.
struct Ended(Arc<Notify>);

impl Drop for Ended {
    fn drop(&mut self) {
        self.0.notify_one();
    }
}

pub(crate) fn error(kind: ErrorKind, reason: Reason) -> Error {
    Error::new(kind, format!("mock {kind:?} {reason:?}")).with_reason(reason).with_hint("mock hint")
}

impl Mock {
    pub(crate) fn answer(&self, text: &str, answer: Answer) {
        self.answers.lock().insert(text.to_owned(), answer);
    }

    /// Waits until nobody takes more of an [`Answer::Endless`]: its client does not read, and all buffers are full.
    pub(crate) async fn until_stuck(&self) {
        let mut before = 0;
        loop {
            for _ in 0..1000 {
                tokio::task::yield_now().await;
            }
            let pulled = self.pulled.load(Ordering::Relaxed);
            if pulled > 0 && pulled == before {
                self.pulled.store(0, Ordering::Relaxed);
                return;
            }
            before = pulled;
        }
    }

    /// The only statement that runs.
    pub(crate) fn running(&self) -> Process {
        let mut list = self.processes.list();
        assert_eq!(list.len(), 1, "{list:?}");
        list.remove(0)
    }

    /// Ends a statement or a connection as KILL does.
    pub(crate) fn kill(&self, process: ProcessId, scope: CancelScope) -> Verdict {
        self.processes.cancel(&Cancel { process, scope, secret: None })
    }

    fn check(&self) -> Result<()> {
        self.failure.lock().map_or(Ok(()), |(kind, reason)| Err(error(kind, reason)))
    }

    fn outputs(answer: Answer) -> Result<Vec<Output>> {
        Ok(vec![match answer {
            Answer::Batches(batches) => rows(batches, None),
            Answer::Broken(batches, kind, reason) => rows(batches, Some(error(kind, reason))),
            Answer::Count(verb, rows) => Output::Count { verb, rows },
            Answer::Set(verb, change) => Output::Set { verb, change },
            Answer::Error(kind, reason, text) => {
                return Err(Error::new(kind, text).with_reason(reason).with_hint("mock hint"));
            }
            Answer::Many(answers) => {
                let mut outputs = Vec::new();
                for answer in answers {
                    outputs.extend(Self::outputs(answer)?);
                }
                return Ok(outputs);
            }
            Answer::Lost(batches) => {
                let Output::Rows { schema, stream } = rows(batches, None) else { unreachable!("rows are rows") };
                let lost = stream::once(async { panic!("the mock was told to panic") });
                Output::Rows { schema, stream: Box::pin(stream.chain(lost)) }
            }
            Answer::Panic => panic!("the mock was told to panic"),
            Answer::Never | Answer::Endless(_) => unreachable!("handled by run"),
        }])
    }
}

/// A mebibyte of text in so few cells that it is encoded where it stands.
pub(crate) fn mebibyte() -> RecordBatch {
    let text = StringArray::from(vec!["x".repeat(1 << 10); 1 << 10]);
    RecordBatch::try_from_iter([("t", Arc::new(text) as ArrayRef)]).expect("a batch")
}

/// Yields until the condition holds, which takes a few turns of the event loop. Whether it did.
pub(crate) async fn soon(mut holds: impl FnMut() -> bool) -> bool {
    for _ in 0..100_000 {
        if holds() {
            return true;
        }
        tokio::task::yield_now().await;
    }
    false
}

fn rows(batches: Vec<RecordBatch>, last: Option<Error>) -> Output {
    let schema = batches[0].schema();
    let items = batches.into_iter().map(Ok).chain(last.map(Err)).collect::<Vec<_>>();
    Output::Rows { schema, stream: Box::pin(stream::iter(items)) }
}

#[async_trait]
impl Gateway for Mock {
    async fn write(&self, session: &Session, rows: Rows) -> Result<Written> {
        self.check()?;
        if session.database.starts_with("nope") || session.database.ends_with("/nope") {
            return Err(Error::not_found("database not found").with_reason(Reason::Database));
        }
        let count = rows.len() as u64;
        self.writes.lock().push((session.clone(), rows));
        match self.write_answer.lock().clone() {
            None => Ok(Written { rows: count, refused: Vec::new() }),
            Some(Ok(written)) => Ok(written),
            Some(Err((kind, reason))) => Err(error(kind, reason)),
        }
    }

    async fn prepare(&self, _session: &Session, sql: &str) -> Result<Prepared> {
        let schema = match self.answers.lock().get(sql) {
            Some(Answer::Batches(batches) | Answer::Broken(batches, ..)) => Some(batches[0].schema()),
            Some(Answer::Error(kind, reason, text)) => return Err(Error::new(*kind, text.clone()).with_reason(*reason)),
            _ => None,
        };
        Ok(Prepared { params: self.params.lock().get(sql).cloned().unwrap_or_default(), schema })
    }

    async fn run(&self, session: &Session, query: Query) -> Result<Vec<Output>> {
        self.check()?;
        let Query::Sql { text, .. } = &query;
        let text = text.clone();
        self.queries.lock().push((session.clone(), query));
        let answer = self.answers.lock().get(&text).cloned();
        match answer {
            Some(Answer::Never) => {
                let _ended = Ended(self.ended.clone());
                self.begun.notify_one();
                futures::future::pending().await
            }
            Some(Answer::Endless(batch)) => {
                let (schema, pulled) = (batch.schema(), self.pulled.clone());
                let stream = stream::unfold(Ended(self.ended.clone()), move |ended| {
                    pulled.fetch_add(1, Ordering::Relaxed);
                    let batch = batch.clone();
                    async move { Some((Ok(batch), ended)) }
                });
                Ok(vec![Output::Rows { schema, stream: Box::pin(stream) }])
            }
            Some(answer) => Self::outputs(answer),
            None if text.starts_with("CREATE DATABASE") || text.starts_with("DROP DATABASE") => {
                Ok(vec![Output::Count { verb: "CREATE DATABASE", rows: 0 }])
            }
            None => Err(Error::invalid(format!("the mock has no answer to: {text}")).with_reason(Reason::Syntax)),
        }
    }

    async fn cancel(&self, cancel: Cancel) -> Result<()> {
        match self.processes.cancel(&cancel) {
            Verdict::Found => Ok(()),
            Verdict::Wrong | Verdict::Unknown => Err(Error::not_found("no such process").with_reason(Reason::Process)),
        }
    }

    fn processes(&self) -> &Processes {
        &self.processes
    }
}

/// A mock behind an HTTP server on a free port.
#[derive(Debug)]
pub(crate) struct Server {
    pub(crate) mock: Arc<Mock>,
    pub(crate) url: String,
    pub(crate) ready: Arc<AtomicBool>,
    pub(crate) tasks: TaskSet,
    pub(crate) memory: Account,
}

impl Server {
    pub(crate) async fn start() -> Self {
        Self::with(1 << 30).await
    }

    /// A server whose memory account takes so many bytes.
    pub(crate) async fn with(memory_bytes: u64) -> Self {
        let memory = Account::root("test bodies", memory_bytes);
        let mock = Arc::new(Mock::default());
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let url = format!("http://{}", listener.local_addr().expect("bound"));
        let ready = Arc::new(AtomicBool::new(true));
        let tasks = TaskSet::new(Blocking::Threads);
        let setup = HttpSetup {
            gateway: mock.clone(),
            metrics: Metrics::default(),
            ready: ready.clone(),
            node: Node { name: "node-0".to_owned(), role: "standalone", version: "9.9.9", commit: "abc" },
            clock: Arc::new(SystemClock),
            memory: memory.clone(),
        };
        crate::mux::serve_http(listener, setup, tasks.clone());
        Self { mock, url, ready, tasks, memory }
    }

    pub(crate) async fn get(&self, path: &str) -> Reply {
        Reply::of(reqwest::Client::new().get(format!("{}{path}", self.url))).await
    }

    pub(crate) async fn post(&self, path: &str, body: impl Into<reqwest::Body>) -> Reply {
        Reply::of(reqwest::Client::new().post(format!("{}{path}", self.url)).body(body)).await
    }

    pub(crate) async fn form(&self, path: &str, body: &str) -> Reply {
        let request = reqwest::Client::new().post(format!("{}{path}", self.url));
        Reply::of(request.header("content-type", "application/x-www-form-urlencoded").body(body.to_owned())).await
    }
}

#[derive(Clone, Debug)]
pub(crate) struct Reply {
    pub(crate) status: u16,
    pub(crate) headers: http::HeaderMap,
    pub(crate) body: Vec<u8>,
}

impl Reply {
    pub(crate) async fn of(request: reqwest::RequestBuilder) -> Self {
        let response = request.send().await.expect("an answer");
        let (status, headers) = (response.status().as_u16(), response.headers().clone());
        Self { status, headers, body: response.bytes().await.expect("a body").to_vec() }
    }

    pub(crate) fn text(&self) -> &str {
        std::str::from_utf8(&self.body).expect("text")
    }

    pub(crate) fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("{error}: {:?}", self.text()))
    }

    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap_or("not ASCII"))
    }
}
