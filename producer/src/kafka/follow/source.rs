//! What the tail reads from: all partitions of a topic's log.

use std::time::Duration;

use write_behind_shared::{NextOffset, Offset, Partition};

use crate::kafka::offsets::NoAnswer;

/// Gives records in the order of each partition's log, and answers where the log begins and ends:
/// Kafka, or what stands in for it. Lists are by partition, in their order.
pub(crate) trait TailSource: Send + Sync {
    /// Waits up to `wait` for what comes next and has it heard. False: nothing came.
    fn poll(&self, wait: Duration, hear: &mut impl FnMut(TailEvent<'_>)) -> bool;

    /// Where the partitions begin.
    fn begins(&self) -> Result<Vec<NextOffset>, NoAnswer>;

    /// Where the partitions end.
    fn ends(&self) -> Result<Vec<NextOffset>, NoAnswer>;

    /// What the sink group has committed; `None`: nothing yet.
    fn committed(&self) -> Result<Vec<Option<NextOffset>>, NoAnswer>;

    /// Reads all partitions on from these positions.
    fn assign(&self, at: &[NextOffset]) -> Result<(), NoAnswer>;

    /// Reads one partition on from this position.
    fn seek(&self, partition: Partition, at: NextOffset) -> Result<(), NoAnswer>;

    /// The topic.
    fn topic(&self) -> &str;

    /// How many partitions are read.
    fn partition_count(&self) -> i32;

    /// The partitions, in their order.
    fn partitions(&self) -> impl Iterator<Item = Partition> {
        (0..self.partition_count()).map(Partition)
    }
}

/// What the source has to say.
pub(crate) enum TailEvent<'r> {
    Record(TailRecord<'r>),
    /// The end of the partition's log was met.
    End(Partition),
    /// A place in the log is lost, and why the client says so.
    Lost(Lost, String),
    /// An error that the client gets over by itself.
    Failed(String),
}

/// A record as it stands in the log.
pub(crate) struct TailRecord<'r> {
    pub(crate) partition: Partition,
    pub(crate) offset: Offset,
    pub(crate) key: Option<&'r [u8]>,
    pub(crate) value: Option<&'r [u8]>,
    pub(crate) headers: &'r mut dyn Iterator<Item = (&'r str, Option<&'r [u8]>)>,
}

/// What Kafka's client said of some partition; it does not say of which.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Lost {
    /// Its place is not in the log.
    Place,
    /// The log was cut off behind what was read, and may have grown again since.
    Tail,
}
