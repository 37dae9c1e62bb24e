//! Reports the outcome of traced records to the span exporter.

use std::sync::Arc;
use std::time::SystemTime;

use write_behind_shared::{Offset, Partition};

use crate::apply::Stats;
use crate::config::Config;
use crate::core::batch::{Batch, RoutePartition};
use crate::core::record::Incoming;
use crate::status::Status;
use crate::status::traces::Spans;

impl Status {
    /// Begins to follow traced records, if the configuration says so. Spans are sent by the tokio
    /// runtime that this is called in.
    pub(crate) fn start_traces(&self, config: &Config) -> Result<(), String> {
        if let Some(spans) = Spans::start(config)? {
            let _ = self.spans.set(Arc::new(spans));
        }
        Ok(())
    }

    /// The poll thread has read a record of `route`.
    pub(crate) fn record_read(&self, route: usize, record: &Incoming<'_>) {
        if let Some(spans) = self.spans.get() {
            spans.read(route, record);
        }
    }

    /// These records of `route` are in the dead letters; their batch is about to be told as written.
    pub(crate) fn records_set_aside(&self, route: usize, places: &[(Partition, Offset)]) {
        if let Some(spans) = self.spans.get() {
            spans.set_aside(route, places);
        }
    }

    /// A batch that a worker took at `taken` is in the database.
    pub(crate) fn records_written(&self, batch: &Batch, stats: &Stats, taken: SystemTime) {
        if let Some(spans) = self.spans.get() {
            spans.written(batch, stats, taken);
        }
    }

    /// These partitions are another process's now.
    pub(crate) fn partitions_released(&self, tps: &[RoutePartition]) {
        if let Some(spans) = self.spans.get() {
            spans.forget(tps);
        }
    }

    /// Sends the last spans, for at most five seconds.
    pub(crate) async fn end_traces(&self) {
        if let Some(spans) = self.spans.get().cloned() {
            // It waits for the collector.
            let _ = tokio::task::spawn_blocking(move || spans.end()).await;
        }
    }
}
