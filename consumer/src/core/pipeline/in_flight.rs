//! A batch in flight: at a worker, or parked.

use crate::core::batch::RoutePartition;
use crate::core::pipeline::parked::ParkedBatch;

/// What the pipeline keeps of a batch until it has ended.
#[derive(Debug)]
pub(super) struct InFlight {
    pub(super) route: usize,
    pub(super) bytes: usize,
    pub(super) rows: usize,
    /// Its partitions, each with the timestamp of its oldest record.
    pub(super) tps: Vec<(RoutePartition, Option<i64>)>,
    /// What the batch waits for, and the batch itself while no worker has it.
    pub(super) parked: Option<ParkedBatch>,
}

impl InFlight {
    pub(super) fn is_parked(&self) -> bool {
        self.parked.as_ref().is_some_and(ParkedBatch::waits)
    }
}
