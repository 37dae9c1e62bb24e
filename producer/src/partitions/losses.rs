//! Losses that are not logged yet, by partition and reason.
//!
//! A topic that goes away may lose 200,000 writes at once: a line for each would drown the log and
//! slow the polling thread down, so they are counted here and logged now and then.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use write_behind_shared::Partition;

use crate::core::lost_writes::Loss;
use crate::error::DeliveryError;

/// How many writes of a partition were lost for a reason.
#[derive(Debug, Default)]
pub(crate) struct Losses(Mutex<BTreeMap<(Partition, String), u64>>);

/// Reasons that are told apart until the next log line; dead letters may have one each.
const REASONS_MAX: usize = 256;

impl Losses {
    /// One more.
    pub(crate) fn add(&self, partition: Partition, loss: &Loss) {
        let mut losses = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let mut reason = (partition, DeliveryError::from(loss.clone()).to_string());
        if losses.len() >= REASONS_MAX && !losses.contains_key(&reason) {
            reason = (partition, String::from("many other reasons"));
        }
        *losses.entry(reason).or_default() += 1;
    }

    /// All since the last time.
    pub(crate) fn take(&self) -> BTreeMap<(Partition, String), u64> {
        std::mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn losses_are_counted_by_partition_and_reason_and_taken_once() {
        let losses = Losses::default();
        let refused = |reason: &str| Loss::Failed(reason.into());
        for _ in 0..1_000 {
            losses.add(Partition(1), &refused("too large"));
        }
        losses.add(Partition(2), &refused("too large"));
        let taken: Vec<_> = losses.take().into_iter().map(|((p, _), count)| (p.0, count)).collect();
        assert_eq!(taken, [(1, 1_000), (2, 1)]);
        assert!(losses.take().is_empty());
        for n in 0..2_000 {
            losses.add(Partition(0), &refused(&n.to_string()));
        }
        let taken = losses.take();
        assert_eq!((taken.len(), taken.values().sum::<u64>()), (REASONS_MAX + 1, 2_000));
    }
}
