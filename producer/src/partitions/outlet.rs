//! The outlet of a partition's records: a Kafka client bound to its topic, or a test's stand-in.

use std::fmt::Debug;

use write_behind_shared::{Partition, WriteId};

use crate::core::ledger::Sequence;
use crate::core::priority::Priority;
use crate::core::reason::Reason;
use crate::core::record_headers::RecordHeaders;
use crate::error::Refusal;

/// Takes records on their way to Kafka.
pub(crate) trait Outlet: Debug + Send + Sync {
    /// Takes a record, to be sent under this `write-id` after those that were taken before it. It
    /// never blocks: it is called under the partition's lock, so that its order is the log's.
    fn enqueue(
        &self,
        partition: Partition,
        write_id: WriteId,
        content: Content<'_>,
    ) -> Result<(), NotTaken>;

    /// What was taken by now is sent without waiting for more. It never blocks. An outlet that sends
    /// each record at once has nothing to do.
    fn send_now(&self) {}
}

/// A record's content, and the write that it is of.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Content<'r> {
    /// The write's place in its partition, by which its answer is told. One of an earlier life has
    /// another in its `write-id`.
    pub(crate) sequence: Sequence,
    pub(crate) key: &'r [u8],
    /// `None`: a tombstone.
    pub(crate) value: Option<&'r [u8]>,
    pub(crate) add: Option<&'r str>,
    /// Those that the service gave it.
    pub(crate) headers: Option<&'r RecordHeaders>,
    pub(crate) priority: Priority,
}

/// Why a record was not taken.
#[derive(Debug)]
pub(crate) enum NotTaken {
    /// Not yet: the client's queue is full, or it failed for good and will be replaced.
    Yet,
    /// Not now, for this reason, which may pass: the topic is unknown, or not for this client.
    NotNow(Reason),
    /// Never.
    Refused(Refusal),
}
