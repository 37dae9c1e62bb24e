//! A request is followed to its commit: what a collector receives of records that carry a `traceparent`.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::Bytes;
use axum::routing::post;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::KeyValue;
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::trace::v1::span::SpanKind;
use opentelemetry_proto::tonic::trace::v1::{Span, status::StatusCode};
use prost::Message as _;
use write_behind_consumer::run::{Drained, RunOptions};

use crate::world::{Running, World, wait_for};

/// A collector: it takes OTLP's protocol buffers over HTTP, and keeps them.
struct Collector {
    url: String,
    received: Arc<Mutex<Vec<ExportTraceServiceRequest>>>,
    _runtime: tokio::runtime::Runtime,
}

impl Collector {
    fn start() -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
        let received = Arc::new(Mutex::new(Vec::new()));
        let kept = Arc::clone(&received);
        let take = async move |body: Bytes| {
            kept.lock().unwrap().push(ExportTraceServiceRequest::decode(body).unwrap());
        };
        let listener = runtime.block_on(tokio::net::TcpListener::bind("127.0.0.1:0")).unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let app = Router::new().route("/v1/traces", post(take));
        runtime.spawn(async move { axum::serve(listener, app).await });
        Self { url, received, _runtime: runtime }
    }

    fn spans(&self) -> Vec<Span> {
        let received = self.received.lock().unwrap();
        let resources = received.iter().flat_map(|request| &request.resource_spans);
        let scopes = resources.flat_map(|resource| &resource.scope_spans);
        scopes.flat_map(|scope| scope.spans.clone()).collect()
    }

    /// The attributes of the service.
    fn service(&self) -> BTreeMap<String, String> {
        let received = self.received.lock().unwrap();
        let resource = received[0].resource_spans[0].resource.as_ref().unwrap();
        attributes(&resource.attributes)
    }
}

fn attributes(pairs: &[KeyValue]) -> BTreeMap<String, String> {
    let text = |pair: &KeyValue| match pair.value.as_ref()?.value.as_ref()? {
        Value::StringValue(text) => Some(text.clone()),
        Value::IntValue(number) => Some(number.to_string()),
        _ => None,
    };
    pairs.iter().filter_map(|pair| Some((pair.key.clone(), text(pair)?))).collect()
}

/// The n-th request's trace and span, as bytes and as its `traceparent`.
fn request(n: u8, sampled: bool) -> (Vec<u8>, Vec<u8>, String) {
    let (trace, span) = ([n; 16], [n; 8]);
    let (trace_id, span_id) = (u128::from_be_bytes(trace), u64::from_be_bytes(span));
    let header = format!("00-{trace_id:032x}-{span_id:016x}-0{}", u8::from(sampled));
    (trace.into(), span.into(), header)
}

fn start(world: &World, endpoint: &str) -> Running {
    let traces = format!("[traces]\nendpoint = \"{endpoint}\"\n");
    Running::start(world.config("", &traces), RunOptions::default())
}

#[test]
fn a_traced_record_has_a_span_in_its_requests_trace_until_the_commit() {
    let (world, collector) = (World::new(), Collector::start());
    let consumer = start(&world, &collector.url);
    let send = |key: &str, value: &str, traceparent: &str| {
        world.send_with(1, Some(key), Some(value), &[("traceparent", traceparent)]);
    };
    send("1", r#"{"name":"Ada"}"#, &request(7, true).2);
    send("1", r#"{"points":3}"#, &request(8, true).2);
    send("2", r#"{"nosuch":1}"#, &request(9, true).2);
    // Nobody follows these: not sampled, no `traceparent` at all, and none that can be read.
    send("3", "{}", &request(10, false).2);
    send("4", "{}", "00-0-0-01");
    send("5", "{}", "grüße");
    world.send_with(1, Some("6"), Some("{}"), &[]);
    world.flush();
    let rows = || world.number("SELECT count(*) FROM scores");
    wait_for("all good records are written", rows, |rows| *rows == 5);
    assert_eq!(consumer.drain(), Ok(Drained { clean: true }));

    let spans = collector.spans();
    let kind = |kind: SpanKind| spans.iter().filter(move |span| span.kind == kind as i32);
    let batches: Vec<&Span> = kind(SpanKind::Client).collect();
    let mut linked = 0;
    for (n, offset, outcome) in [(7, "0", "written"), (8, "1", "written"), (9, "2", "set-aside")] {
        let (trace, parent, _) = request(n, true);
        let of_trace: Vec<_> =
            kind(SpanKind::Consumer).filter(|one| one.trace_id == trace).collect();
        let [span] = of_trace[..] else { panic!("a span for request {n}: {spans:#?}") };
        assert_eq!((&*span.name, &span.parent_span_id), ("process scores", &parent));
        let told = attributes(&span.attributes);
        assert_eq!(told["messaging.destination.partition.id"], "1");
        assert_eq!(told["messaging.kafka.offset"], offset);
        assert_eq!(told["messaging.consumer.group.name"], "scores");
        assert_eq!(told["write_behind.outcome"], outcome);
        let is_error = span.status.as_ref().is_some_and(|one| one.code == StatusCode::Error as i32);
        assert_eq!(is_error, outcome == "set-aside");
        let taken = span.events[0].time_unix_nano;
        assert!(span.start_time_unix_nano <= taken && taken <= span.end_time_unix_nano);
        // Its batch's span and this one name each other.
        let batch = batches.iter().find(|batch| span.links[0].span_id == batch.span_id).unwrap();
        assert!(
            batch.links.iter().any(|link| (&link.trace_id, &link.span_id) == (&trace, &parent))
        );
        assert_eq!(batch.end_time_unix_nano, span.end_time_unix_nano);
        linked += 1;
    }
    assert_eq!((linked, kind(SpanKind::Consumer).count()), (3, 3));
    assert_eq!(batches.iter().map(|batch| batch.links.len()).sum::<usize>(), 3);
    let batch = attributes(&batches[0].attributes);
    assert_eq!((&*batches[0].name, &*batch["db.collection.name"]), ("write scores", "scores"));
    assert!(batches[0].parent_span_id.is_empty());
    assert_eq!(collector.service()["service.name"], "write-behind");
}

#[test]
fn a_collector_that_is_away_holds_up_nothing() {
    let world = World::new();
    let nobody = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let consumer = start(&world, &format!("http://{nobody}"));
    world.send_with(1, Some("1"), Some("{}"), &[("traceparent", &request(7, true).2)]);
    world.flush();
    let rows = || world.number("SELECT count(*) FROM scores");
    wait_for("the record is written", rows, |rows| *rows == 1);
    assert_eq!(consumer.drain(), Ok(Drained { clean: true }));
}
