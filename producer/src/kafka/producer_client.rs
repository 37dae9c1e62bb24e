//! What the polling thread needs of a Kafka producer: librdkafka's, or what stands in for it.

use std::fmt::Debug;
use std::sync::Arc;
use std::time::Duration;

use write_behind_shared::Partition;

use crate::core::lost_writes::Loss;
use crate::core::reason::Reason;
use crate::core::unanswered::Failure;
use crate::error::BuildError;
use crate::partitions::outlet::Outlet;

/// One life of a Kafka client: until it fails for good or is closed.
pub(crate) trait ProducerClient: Debug + Send + Sync {
    /// The way of a handle's records to its topic. `place`: the handle's among those that share the
    /// client.
    fn outlet(self: Arc<Self>, topic: Arc<str>, place: usize) -> Arc<dyn Outlet>;

    /// Takes what answers there are, or waits for one for up to `wait`. Says whether there were
    /// any.
    fn poll(&self, wait: Duration) -> bool;

    /// Tells the handles what came.
    fn tell_handles(&self);

    /// Why the client failed for good, if it has.
    fn fatal_error(&self) -> Option<Reason>;

    /// Ends the client, and takes the answers it still has. `replaced`: what it has not delivered
    /// will be sent by another; otherwise each such write is told that it is not known.
    fn end(&self, replaced: bool);
}

/// Makes a client that reports to the listener.
pub(crate) type MakeClient =
    dyn Fn(Arc<dyn ReportListener>) -> Result<Arc<dyn ProducerClient>, BuildError> + Send + Sync;

/// Learns what a client has to say of its handles' writes. Called by the polling thread alone.
pub(crate) trait ReportListener: Send + Sync {
    /// Kafka answered for writes of one partition of the handle at `place`, in this order. They are
    /// drained.
    fn answered(&self, place: usize, partition: Partition, answers: &mut Vec<DeliveryReport>);

    /// The client could not deliver writes of one partition of the handle at `place`.
    fn failed(&self, place: usize, partition: Partition, failures: &[Failure]);

    /// Tells those who wait for writes of the partition how far they are.
    fn notify_waiters(&self, place: usize, partition: Partition);

    /// The client had an error that it gets over by itself.
    fn client_error(&self);
}

/// The low bits of a write's sequence, and its offset or how it was lost.
pub(crate) type DeliveryReport = (usize, Result<i64, Loss>);
