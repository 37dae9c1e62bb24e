//! Many workers of one group: they come, go, freeze and are slow, and the table is exact.

mod churn;
mod identity;
mod references;
mod rollout;
mod scale;
mod silence;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::{Result, ensure};
use integration_tests::counters::Counters;
use integration_tests::stack::Pipeline;
use integration_tests::worker::Worker;
use tokio::task::JoinHandle;

/// Increments that are appended without a pause, until told to stop.
struct Load {
    stop: Arc<AtomicBool>,
    appending: JoinHandle<Result<Counters>>,
}

impl Load {
    fn start(pipeline: &Arc<Pipeline>) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let (pipeline, told) = (Arc::clone(pipeline), Arc::clone(&stop));
        let appending = tokio::spawn(async move {
            let mut counters = Counters::new(1_000);
            while !told.load(Ordering::Relaxed) {
                counters.append(&pipeline, 100).await?;
            }
            Ok(counters)
        });
        Self { stop, appending }
    }

    /// What was appended adds up to this.
    async fn stop(self) -> Result<Counters> {
        self.stop.store(true, Ordering::Relaxed);
        self.appending.await?
    }
}

/// Told to end, a worker does so in good order.
async fn end(worker: &Worker) -> Result<()> {
    let status = worker.terminate().await?;
    ensure!(status.success(), "told to end, worker {} says {status}", worker.client());
    Ok(())
}
