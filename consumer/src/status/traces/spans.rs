//! The spans of traced records and of the batches that they are in.
//!
//! A batch folds many records, of many requests. So each followed record has a span of its own, in the
//! trace of its request, from its reading to the commit; and its batch has one span, in a trace of its
//! own. The two link to each other. How many records are followed at a time is bounded
//! ([`TracedRecords`]); a batch without one has no span.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use opentelemetry::propagation::{Extractor, TextMapPropagator as _};
use opentelemetry::trace::{
    Link, Span as _, SpanContext, SpanKind, Status as SpanStatus, TraceContextExt as _,
    Tracer as _, TracerProvider as _,
};
use opentelemetry::{Context, InstrumentationScope, KeyValue};
use opentelemetry_otlp::{SpanExporter, WithExportConfig as _, WithHttpConfig as _};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::propagation::TraceContextPropagator;
use opentelemetry_sdk::trace::{SdkTracer, SdkTracerProvider};
use write_behind_shared::{Offset, Partition};

use crate::apply::Stats;
use crate::config::Config;
use crate::core::batch::{Batch, RoutePartition};
use crate::core::record::Incoming;
use crate::core::traced_records::{Traced, TracedRecords};
use crate::status::traces::collector::Collector;
use crate::version;

/// The header that names a record's trace and its parent in it.
const TRACEPARENT: &str = "traceparent";
/// How long the end waits for the collector.
const END_WITHIN: Duration = Duration::from_secs(5);
/// The name of the service, unless `OTEL_SERVICE_NAME` says another.
const SERVICE: &str = "write-behind";

/// The followed records, and who makes their spans.
#[derive(Debug)]
pub(in crate::status) struct Spans {
    records: Mutex<TracedRecords<Request>>,
    propagator: TraceContextPropagator,
    provider: SdkTracerProvider,
    tracer: SdkTracer,
    /// The consumer group.
    group: String,
    /// The topic and the table of each route.
    routes: Vec<(String, String)>,
}

/// A record's place in the trace of its request.
#[derive(Debug)]
struct Request {
    parent: SpanContext,
    read: SystemTime,
}

/// A record's headers. Of two with one name the later one counts: a client that passes a record on
/// appends.
struct HeadersOf<'a>(&'a [(&'a str, Option<&'a [u8]>)]);

impl Extractor for HeadersOf<'_> {
    fn get(&self, key: &str) -> Option<&str> {
        let header = self.0.iter().rev().find(|(name, _)| name.eq_ignore_ascii_case(key));
        header.and_then(|(_, value)| std::str::from_utf8((*value)?).ok())
    }

    fn keys(&self) -> Vec<&str> {
        self.0.iter().map(|(name, _)| *name).collect()
    }
}

impl Spans {
    pub(in crate::status) fn start(config: &Config) -> Result<Option<Self>, String> {
        let Some(settings) = &config.traces else { return Ok(None) };
        let exporter = SpanExporter::builder()
            .with_http()
            .with_http_client(Collector::new(&settings.endpoint))
            .with_endpoint(&settings.endpoint)
            .build()
            .map_err(|error| format!("`traces.endpoint`: {error}"))?;
        let mut resource =
            Resource::builder().with_attribute(KeyValue::new("service.version", version::VERSION));
        if std::env::var_os("OTEL_SERVICE_NAME").is_none() {
            resource = resource.with_service_name(SERVICE);
        }
        let provider = SdkTracerProvider::builder()
            .with_resource(resource.build())
            .with_batch_exporter(exporter)
            .build();
        let scope =
            InstrumentationScope::builder(env!("CARGO_PKG_NAME")).with_version(version::VERSION);
        let tracer = provider.tracer_with_scope(scope.build());
        let route = |route: &crate::config::Route| (route.topic.clone(), route.table.clone());
        Ok(Some(Self {
            records: Mutex::new(TracedRecords::new(settings.max_records)),
            propagator: TraceContextPropagator::new(),
            provider,
            tracer,
            group: config.name.clone(),
            routes: config.routes.iter().map(route).collect(),
        }))
    }

    pub(in crate::status) fn read(&self, route: usize, record: &Incoming<'_>) {
        if !record.headers.iter().any(|(name, _)| name.eq_ignore_ascii_case(TRACEPARENT)) {
            return;
        }
        let headers = HeadersOf(record.headers);
        let context = self.propagator.extract_with_context(&Context::new(), &headers);
        let parent = context.span().span_context().clone();
        // What is no `traceparent` is no error of the record; nor is a request that nobody traces.
        if parent.is_sampled() {
            let tp = RoutePartition { route, partition: record.partition };
            let request = Request { parent, read: SystemTime::now() };
            self.records().read(tp, record.offset, request);
        }
    }

    pub(in crate::status) fn set_aside(&self, route: usize, places: &[(Partition, Offset)]) {
        let mut records = self.records();
        for (partition, offset) in places {
            records.set_aside(RoutePartition { route, partition: *partition }, *offset);
        }
    }

    pub(in crate::status) fn written(&self, batch: &Batch, stats: &Stats, taken: SystemTime) {
        let followed: Vec<_> = {
            let mut records = self.records();
            let of_span = |span: &crate::core::batch::Span| {
                let partition = span.partition;
                let tp = RoutePartition { route: batch.route, partition };
                let written = records.written(tp, span.start, span.end);
                written.into_iter().map(move |(offset, record)| (partition, offset, record))
            };
            batch.spans.iter().flat_map(of_span).collect()
        };
        if followed.is_empty() {
            return;
        }
        let written = SystemTime::now();
        let links =
            followed.iter().map(|(.., record)| Link::with_context(record.about.parent.clone()));
        let mut span = self
            .tracer
            .span_builder(format!("write {}", self.routes[batch.route].1))
            .with_kind(SpanKind::Client)
            .with_start_time(taken)
            .with_links(links.collect())
            .with_attributes(self.of_batch(batch, stats))
            .start_with_context(&self.tracer, &Context::new());
        let whole = span.span_context().clone();
        span.end_with_timestamp(written);
        for (partition, offset, record) in followed {
            let is_duplicate = batch.duplicates.contains(&(partition, offset));
            let outcome = match record {
                Traced { set_aside: true, .. } => "set-aside",
                _ if is_duplicate => "duplicate",
                _ => "written",
            };
            let parent = Context::new().with_remote_span_context(record.about.parent);
            let mut span = self
                .tracer
                .span_builder(format!("process {}", batch.topic))
                .with_kind(SpanKind::Consumer)
                .with_start_time(record.about.read)
                .with_links(vec![Link::with_context(whole.clone())])
                .with_attributes(self.of_record(batch, partition, offset, outcome))
                .start_with_context(&self.tracer, &parent);
            span.add_event_with_timestamp("its batch goes to the database", taken, Vec::new());
            if record.set_aside {
                span.set_status(SpanStatus::error("set aside: it is a dead letter"));
            }
            span.end_with_timestamp(written);
        }
    }

    pub(in crate::status) fn forget(&self, tps: &[RoutePartition]) {
        self.records().forget(tps);
    }

    /// Blocks until the last spans are sent.
    pub(in crate::status) fn end(&self) {
        if let Err(error) = self.provider.shutdown_with_timeout(END_WITHIN) {
            tracing::debug!(%error, "the last spans may be lost");
        }
    }

    /// What both have: the names are those of OpenTelemetry's conventions for messages.
    fn of_both(&self, batch: &Batch) -> Vec<KeyValue> {
        vec![
            KeyValue::new("messaging.system", "kafka"),
            KeyValue::new("messaging.operation.type", "process"),
            KeyValue::new("messaging.destination.name", batch.topic.to_string()),
            KeyValue::new("messaging.consumer.group.name", self.group.clone()),
            KeyValue::new("db.collection.name", self.routes[batch.route].1.clone()),
        ]
    }

    fn of_batch(&self, batch: &Batch, stats: &Stats) -> Vec<KeyValue> {
        let mut attributes = self.of_both(batch);
        let rows = stats.rows + stats.row_by_row;
        attributes.extend([
            KeyValue::new("messaging.batch.message_count", batch.records as i64),
            KeyValue::new("db.operation.batch.size", rows as i64),
            KeyValue::new("write_behind.dead_letters", stats.dead_letters as i64),
            KeyValue::new("write_behind.retries", i64::from(stats.retries)),
            KeyValue::new("write_behind.transaction_seconds", stats.took.as_secs_f64()),
        ]);
        attributes
    }

    fn of_record(
        &self,
        batch: &Batch,
        partition: Partition,
        offset: Offset,
        outcome: &'static str,
    ) -> Vec<KeyValue> {
        let mut attributes = self.of_both(batch);
        attributes.extend([
            KeyValue::new("messaging.destination.partition.id", partition.to_string()),
            KeyValue::new("messaging.kafka.offset", offset.0),
            KeyValue::new("write_behind.outcome", outcome),
        ]);
        attributes
    }

    fn records(&self) -> MutexGuard<'_, TracedRecords<Request>> {
        self.records.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
