//! A scripted database behind the [`Gateway`], for the tests of all protocols.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use arrow_array::RecordBatch;
use arrow_schema::DataType;
use async_trait::async_trait;
use futures::stream;
use parking_lot::Mutex;
use tokio::net::TcpListener;
use varve_model::budget::Account;
use varve_model::id::process::Cancel;
use varve_model::rows::Rows;
use varve_model::{Error, ErrorKind, Reason, Result};
use varve_service::clock::SystemClock;
use varve_service::net::status::Node;
use varve_service::task::{Blocking, TaskSet};
use varve_service::telemetry::metrics::Metrics;

use crate::gateway::{Gateway, Prepared, Query, Written};
use crate::http::HttpSetup;
use crate::output::{Output, SessionChange};
use crate::process::Processes;
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
    /// Told when an [`Answer::Never`] begins, and when it is dropped.
    pub(crate) begun: tokio::sync::Notify,
    pub(crate) ended: tokio::sync::Notify,
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
            begun: tokio::sync::Notify::new(),
            ended: tokio::sync::Notify::new(),
            processes: Processes::new(Arc::new(SystemClock)),
        }
    }
}

/// Tells that a query that never ends was dropped.
struct Ended<'m>(&'m tokio::sync::Notify);

impl Drop for Ended<'_> {
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
            Answer::Panic => panic!("the mock was told to panic"),
            Answer::Never => unreachable!("handled by run"),
        }])
    }
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
                let _ended = Ended(&self.ended);
                self.begun.notify_one();
                futures::future::pending().await
            }
            Some(answer) => Self::outputs(answer),
            None if text.starts_with("CREATE DATABASE") || text.starts_with("DROP DATABASE") => {
                Ok(vec![Output::Count { verb: "CREATE DATABASE", rows: 0 }])
            }
            None => Err(Error::invalid(format!("the mock has no answer to: {text}")).with_reason(Reason::Syntax)),
        }
    }

    async fn cancel(&self, cancel: Cancel) -> Result<()> {
        let missing = || Error::not_found("no such process").with_reason(Reason::Process);
        self.processes.cancel(&cancel).then_some(()).ok_or_else(missing)
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
}

impl Server {
    pub(crate) async fn start() -> Self {
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
            memory: Account::root("test bodies", 1 << 30),
        };
        crate::mux::serve_http(listener, setup, tasks.clone());
        Self { mock, url, ready, tasks }
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
