//! One request's id in the spans of every stage, in process and over gRPC.

use std::collections::BTreeSet;
use std::sync::Arc;

use parking_lot::Mutex;
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id};
use tracing::{Metadata, Subscriber};
use tracing_subscriber::layer::{Context, Layer, SubscriberExt};
use tracing_subscriber::registry::{LookupSpan, Registry};
use varve::standalone::Adapter;

use crate::kit::Varve;

/// Every span of this thread: a test's runtime is one thread.
#[derive(Clone, Debug, Default)]
struct Collector(Arc<Mutex<Vec<Begun>>>);

#[derive(Debug)]
struct Begun {
    metadata: &'static Metadata<'static>,
    parent: Option<usize>,
    request: Option<String>,
    trace: Option<String>,
}

/// Where a span is among those that were collected: ids of spans are used again.
#[derive(Clone, Copy, Debug)]
struct Place(usize);

/// Reads what names a request.
impl Visit for Begun {
    fn record_debug(&mut self, field: &Field, value: &dyn std::fmt::Debug) {
        // What is recorded by its Display comes here, too.
        if field.name() == "request" {
            self.request = Some(format!("{value:?}"));
        }
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        match field.name() {
            "request" => self.request = Some(value.to_owned()),
            "trace" => self.trace = Some(value.to_owned()),
            _ => {}
        }
    }
}

impl<S: Subscriber + for<'s> LookupSpan<'s>> Layer<S> for Collector {
    fn on_new_span(&self, attributes: &Attributes<'_>, id: &Id, context: Context<'_, S>) {
        let Some(span) = context.span(id) else { return };
        let parent = span.parent().and_then(|parent| parent.extensions().get::<Place>().map(|place| place.0));
        let mut begun = Begun { metadata: span.metadata(), parent, request: None, trace: None };
        attributes.record(&mut begun);
        let mut all = self.0.lock();
        span.extensions_mut().insert(Place(all.len()));
        all.push(begun);
    }
}

impl Collector {
    /// The spans that carry this request's id, or are below one that does: package and name.
    fn stages_of(&self, request: &str) -> BTreeSet<(&'static str, &'static str)> {
        let all = self.0.lock();
        let request_of = |at: usize| {
            let mut up = std::iter::successors(Some(at), |at| all[*at].parent);
            up.find_map(|at| all[at].request.as_deref())
        };
        let found = (0..all.len()).filter(|at| request_of(*at) == Some(request)).map(|at| all[at].metadata);
        found.map(|span| (span.target().split("::").next().unwrap_or_default(), span.name())).collect()
    }

    /// The trace contexts that spans of a package carry.
    fn traces_of(&self, package: &str) -> BTreeSet<String> {
        let all = self.0.lock();
        let of_package = all.iter().filter(|begun| begun.metadata.target().starts_with(package));
        of_package.filter_map(|begun| begun.trace.clone()).collect()
    }
}

fn lacking(stages: &BTreeSet<(&'static str, &'static str)>, wanted: &[(&'static str, &'static str)]) -> Vec<String> {
    wanted.iter().filter(|stage| !stages.contains(stage)).map(|(package, name)| format!("{package} {name}")).collect()
}

#[tokio::test]
async fn the_id_of_a_request_is_in_the_spans_of_every_stage() {
    for adapter in [Adapter::InProcess, Adapter::Grpc] {
        let collector = Collector::default();
        let _while_it_lives = tracing::subscriber::set_default(Registry::default().with(collector.clone()));
        let varve = Varve::start_with(adapter).await;
        varve.run("CREATE TABLE m (host STRING PRIMARY KEY, t TIMESTAMP(3) TIME INDEX, v DOUBLE)").await;
        let write = varve.http.post(varve.url("/write?db=public&precision=ms")).header("x-request-id", "write-1");
        let reply = write.body("m,host=a v=1 1\n").send().await.expect("a reply");
        assert_eq!(reply.status().as_u16(), 204);
        let query = varve.request("public", "SELECT host, count(*) FROM m GROUP BY host");
        let reply = query.header("x-request-id", "query-1").send().await.expect("a reply");
        assert_eq!(reply.headers()["x-request-id"], "query-1");
        let text = reply.text().await.expect("a body");
        assert!(text.contains("[[\"a\",1]]"), "{text}");
        let flush = varve.request("public", "ADMIN FLUSH_TABLE('m')").header("x-request-id", "flush-1");
        assert!(flush.send().await.expect("a reply").status().is_success());

        let way_of_a_row = [
            ("varve_protocol", "http"),
            ("varve_frontend", "write"),
            ("varve_frontend", "resolve"),
            ("varve_frontend", "split"),
            ("varve_frontend", "dispatch"),
            ("varve_datanode", "write"),
            ("varve_engine", "sequence"),
            ("varve_engine", "append"),
            ("varve_engine", "apply"),
        ];
        let stages = collector.stages_of("write-1");
        assert_eq!(lacking(&stages, &way_of_a_row), Vec::<String>::new(), "{adapter:?} has {stages:?}");
        let way_of_a_query = [
            ("varve_protocol", "http"),
            ("varve_frontend", "run"),
            ("varve_frontend", "plan"),
            ("varve_frontend", "distribute"),
            ("varve_frontend", "merge"),
            ("varve_datanode", "fragment"),
            ("varve_engine", "scan"),
        ];
        let stages = collector.stages_of("query-1");
        assert_eq!(lacking(&stages, &way_of_a_query), Vec::<String>::new(), "{adapter:?} has {stages:?}");
        varve.stop().await;
    }
}

#[tokio::test]
async fn a_clients_trace_names_the_request_and_reaches_the_datanode() {
    const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";
    let collector = Collector::default();
    let _while_it_lives = tracing::subscriber::set_default(Registry::default().with(collector.clone()));
    let varve = Varve::start_with(Adapter::Grpc).await;
    let context = format!("00-{TRACE}-b7ad6b7169203331-01");
    let write = varve.http.post(varve.url("/write?db=public&precision=ms")).header("traceparent", &context);
    let reply = write.body("m,host=a v=1 1\n").send().await.expect("a reply");
    assert_eq!(reply.headers()["x-request-id"], TRACE);
    assert!(collector.stages_of(TRACE).contains(&("varve_engine", "apply")));
    for package in ["varve_frontend", "varve_datanode"] {
        assert_eq!(collector.traces_of(package), BTreeSet::from([context.clone()]), "{package}");
    }
    // A context that says nothing names nothing.
    for bad in ["", "00-0-0-01", &format!("00-{}-b7ad6b7169203331-01", "0".repeat(32)), &context.to_uppercase()] {
        let reply = varve.http.get(varve.url("/health")).header("traceparent", bad).send().await.expect("a reply");
        assert_ne!(reply.headers()["x-request-id"], TRACE, "{bad}");
    }
    varve.stop().await;
}
