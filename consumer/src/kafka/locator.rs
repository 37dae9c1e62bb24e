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
pub type LocateQueue = PartitionQueue<Epoch>;

/// Finds out where partitions stand.
pub struct Locator<C, Q, T> {
    pub targets: Arc<[Target]>,
    pub connect: C,
    pub broker: Q,
    pub clock: T,
    pub adopt_offsets: bool,
    pub wanted: Arc<LocateQueue>,
    /// The routes whose tables could not be claimed at the start. Nothing of them is read before
    /// that.
    pub unclaimed: BTreeSet<usize>,
    pub status: Arc<Status>,
    pub answers: mpsc::Sender<PollMessage>,
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
