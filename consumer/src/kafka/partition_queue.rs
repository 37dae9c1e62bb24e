//! A queue of questions about partitions, from the poll thread to a task.
//!
//! Only the last question about a partition is answered, and none about one that was given back, so
//! the queue is bounded.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

use crate::core::batch::RoutePartition;

/// The open questions: one at most about each partition.
#[derive(Debug)]
pub struct PartitionQueue<T> {
    questions: Mutex<BTreeMap<RoutePartition, T>>,
    asked: Notify,
}

impl<T> Default for PartitionQueue<T> {
    fn default() -> Self {
        Self { questions: Mutex::default(), asked: Notify::new() }
    }
}

impl<T: Copy + PartialEq> PartitionQueue<T> {
    /// Asks these questions. Never waits.
    pub fn ask(&self, questions: impl IntoIterator<Item = (RoutePartition, T)>) {
        self.lock().extend(questions);
        self.asked.notify_one();
    }

    /// Forgets what was asked about these partitions, which were given back.
    pub fn forget(&self, tps: &[RoutePartition]) {
        self.lock().retain(|tp, _| !tps.contains(tp));
    }

    /// Waits until something is asked.
    pub(super) async fn asked(&self) {
        self.asked.notified().await;
    }

    /// The open questions, as soon as there is one.
    pub async fn next(&self) -> BTreeMap<RoutePartition, T> {
        loop {
            let open = self.lock().clone();
            if !open.is_empty() {
                return open;
            }
            self.asked().await;
        }
    }

    /// Forgets what was answered. Another question asked meanwhile about the same partition stays
    /// open.
    pub fn answered(&self, answered: impl IntoIterator<Item = (RoutePartition, T)>) {
        let mut open = self.lock();
        for (tp, question) in answered {
            if open.get(&tp) == Some(&question) {
                open.remove(&tp);
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<RoutePartition, T>> {
        self.questions.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use write_behind_shared::Partition;

    use super::*;

    fn tp(partition: i32) -> RoutePartition {
        RoutePartition { route: 0, partition: Partition(partition) }
    }

    #[tokio::test]
    async fn what_was_given_back_or_asked_again_is_not_asked_as_before() {
        let queue = PartitionQueue::default();
        queue.ask([(tp(0), 1), (tp(1), 2), (tp(2), 3)]);
        queue.forget(&[tp(1)]);
        assert_eq!(queue.next().await, BTreeMap::from([(tp(0), 1), (tp(2), 3)]));
        // An answer to the question before does not count as one to the last.
        queue.ask([(tp(2), 4)]);
        queue.answered([(tp(0), 1), (tp(2), 3)]);
        assert_eq!(queue.next().await, BTreeMap::from([(tp(2), 4)]));
    }
}
