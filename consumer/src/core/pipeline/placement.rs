//! Whether a record lies in the partition that its key belongs to.
//!
//! Records of one row have an order only within one partition. A client with another partitioner puts
//! them elsewhere: alone it keeps its own order, beside others it does not.

use serde::Deserialize;
use write_behind_shared::Partition;
use write_behind_shared::partition::partition_of;

/// What happens to a record in another partition than its key's.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum OnWrongPartition {
    /// It is applied, counted and told.
    #[default]
    Tell,
    /// It is set aside.
    DeadLetter,
}

/// Where the keys of a route's topic belong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Placement {
    /// How many partitions the topic has.
    pub partitions: i32,
    /// What happens to a record that lies elsewhere.
    pub on_wrong: OnWrongPartition,
}

impl Placement {
    /// The partition that `key` belongs to, if it is not `partition`.
    pub(super) fn elsewhere(
        self,
        partition: Partition,
        key: &[u8],
        has_write_id: bool,
    ) -> Option<Partition> {
        // The producer crate computes the partition itself, so its records need no hash. All of a
        // row's records must share one fate, though, or a row would be applied in part.
        if has_write_id && self.on_wrong == OnWrongPartition::Tell {
            return None;
        }
        Some(partition_of(key, self.partitions)).filter(|belongs_to| *belongs_to != partition)
    }
}
