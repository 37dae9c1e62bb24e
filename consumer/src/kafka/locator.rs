//! The locator: it answers the pipeline's questions where partitions stand, with positions that
//! were judged safe to go on from.
//!
//! While the database or Kafka is away, it keeps asking, partition by partition: one without a
//! leader, or of a topic that is gone, does not hold up the others. Only the last question about a
//! partition is answered, and none about one that was given back.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::{Notify, mpsc};

use crate::apply::{Connect, Target};
use crate::core::batch::{Epoch, RoutePartition};
use crate::core::pipeline::action::Located;
use crate::kafka::messages::PollMessage;
use crate::status::Status;
use crate::store::StoreError;

/// Partitions whose positions are asked for. It is bounded: a partition has one entry at most.
#[derive(Debug, Default)]
pub(crate) struct LocateQueue {
    tps: Mutex<BTreeMap<RoutePartition, Epoch>>,
    asked: Notify,
}

impl LocateQueue {
    /// Asks for these partitions' positions. Never waits.
    pub(crate) fn ask(&self, tps: Vec<(RoutePartition, Epoch)>) {
        self.lock().extend(tps);
        self.asked.notify_one();
    }

    /// Forgets these partitions, which were given back.
    pub(crate) fn forget(&self, tps: &[RoutePartition]) {
        self.lock().retain(|tp, _| !tps.contains(tp));
    }

    /// Waits until something is asked for.
    pub(super) async fn asked(&self) {
        self.asked.notified().await;
    }

    pub(super) async fn next(&self) -> BTreeMap<RoutePartition, Epoch> {
        loop {
            let wanted = self.lock().clone();
            if !wanted.is_empty() {
                return wanted;
            }
            self.asked().await;
        }
    }

    /// Forgets what was answered. A question asked again meanwhile, in another epoch, stays open.
    pub(super) fn answered(&self, answers: &[Located]) {
        let mut wanted = self.lock();
        for answer in answers {
            if wanted.get(&answer.tp) == Some(&answer.epoch) {
                wanted.remove(&answer.tp);
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<RoutePartition, Epoch>> {
        self.tps.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

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

#[cfg(test)]
mod tests {
    use write_behind_shared::{NextOffset, Partition};

    use super::*;

    fn tp(partition: i32) -> RoutePartition {
        RoutePartition { route: 0, partition: Partition(partition) }
    }

    #[tokio::test]
    async fn what_was_given_back_or_asked_for_again_is_not_asked_for_as_before() {
        let wanted = LocateQueue::default();
        wanted.ask(vec![(tp(0), 1), (tp(1), 2), (tp(2), 3)]);
        wanted.forget(&[tp(1)]);
        assert_eq!(wanted.next().await, BTreeMap::from([(tp(0), 1), (tp(2), 3)]));
        // An answer to the question before does not count as one to the last.
        wanted.ask(vec![(tp(2), 4)]);
        let answer = |partition, epoch| Located {
            tp: tp(partition),
            epoch,
            next: NextOffset(5),
            committed: None,
            writers: Vec::new(),
        };
        wanted.answered(&[answer(0, 1), answer(2, 3)]);
        assert_eq!(wanted.next().await, BTreeMap::from([(tp(2), 4)]));
    }
}
