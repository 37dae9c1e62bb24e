//! The locator: it answers the pipeline's questions where partitions stand, with positions that
//! were judged safe to go on from.
//!
//! While the database or Kafka is away, it keeps asking, partition by partition: one without a
//! leader, or of a topic that is gone, does not hold up the others.

use std::collections::BTreeSet;
use std::sync::Arc;

use tokio::sync::mpsc;

use crate::apply::{Connect, Target};
use crate::core::batch::Epoch;
use crate::kafka::messages::PollMessage;
use crate::kafka::partition_queue::PartitionQueue;
use crate::status::Status;
use crate::store::StoreError;

/// Partitions whose positions are asked for.
pub(crate) type LocateQueue = PartitionQueue<Epoch>;

/// Finds out where partitions stand.
pub(crate) struct Locator<C, Q, T> {
    pub(crate) targets: Arc<[Target]>,
    pub(crate) connect: C,
    pub(crate) broker: Q,
    pub(crate) clock: T,
    pub(crate) adopt_offsets: bool,
    pub(crate) wanted: Arc<LocateQueue>,
    /// The routes whose tables could not be claimed at the start. Nothing of them is read before
    /// that.
    pub(crate) unclaimed: BTreeSet<usize>,
    pub(crate) status: Arc<Status>,
    pub(crate) answers: mpsc::Sender<PollMessage>,
}

impl<C: Connect, Q, T> Locator<C, Q, T> {
    /// The connection, which is made where there is none.
    pub(super) async fn connected<'s>(
        &self,
        store: &'s mut Option<C::Store>,
    ) -> Result<&'s mut C::Store, StoreError> {
        let connected = match store.take() {
            Some(store) => store,
            None => self.connect.connect().await?,
        };
        Ok(store.insert(connected))
    }
}
