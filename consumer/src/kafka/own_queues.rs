//! The queues of the partitions that are read, one each, and whose turn it is.
//!
//! librdkafka puts what it fetches of a partition into that partition's queue, and stops fetching it
//! once the queue has its share of memory. So a partition that is paused is just not polled: what was
//! fetched of it stays, and is there at once when it is read on. librdkafka's own pause would throw
//! it away, to be fetched again.

use std::time::Duration;

use rdkafka::consumer::base_consumer::PartitionQueue as FetchedQueue;
use rdkafka::error::KafkaResult;
use rdkafka::message::BorrowedMessage;

use crate::core::batch::RoutePartition;
use crate::kafka::group::Group;

/// How many records a partition passes on before the next has its turn.
const TURN: u32 = 250;

/// The queues of all partitions that are read.
#[derive(Default)]
pub(super) struct OwnQueues {
    queues: Vec<OwnQueue>,
    /// Whose turn it is.
    at: usize,
    /// How many records are left of that turn.
    left: u32,
}

struct OwnQueue {
    tp: RoutePartition,
    fetched: FetchedQueue<Group>,
    is_paused: bool,
}

impl OwnQueues {
    /// Whether this partition has a queue.
    pub(super) fn has(&self, tp: RoutePartition) -> bool {
        self.queues.iter().any(|queue| queue.tp == tp)
    }

    /// The partitions that have one.
    pub(super) fn all(&self) -> impl Iterator<Item = RoutePartition> {
        self.queues.iter().map(|queue| queue.tp)
    }

    /// Forgets the queue of this partition. Before it is opened again: what is forgotten rings no bell
    /// any more, and librdkafka has one queue a partition.
    pub(super) fn forget(&mut self, tp: RoutePartition) {
        self.queues.retain(|queue| queue.tp != tp);
    }

    /// Reads this partition, which has no queue yet, from this one.
    pub(super) fn open(&mut self, tp: RoutePartition, fetched: FetchedQueue<Group>) {
        self.queues.push(OwnQueue { tp, fetched, is_paused: false });
    }

    /// Passes nothing on of these for now, or passes it on again.
    pub(super) fn pause(&mut self, tps: &[RoutePartition], is_paused: bool) {
        for queue in self.queues.iter_mut().filter(|queue| tps.contains(&queue.tp)) {
            queue.is_paused = is_paused;
        }
    }

    /// Reads this partition no more. librdkafka has been told so, and takes what is still in the queue
    /// for outdated: looked at, it is thrown away.
    pub(super) fn close(&mut self, tp: RoutePartition) {
        for closed in self.queues.extract_if(.., |queue| queue.tp == tp) {
            while closed.fetched.poll(Duration::ZERO).is_some() {}
        }
    }

    /// Passes the next record or error to `hear`, whichever partition has one; whether one had.
    pub(super) fn poll(
        &mut self,
        hear: impl FnOnce(RoutePartition, KafkaResult<BorrowedMessage<'_>>),
    ) -> bool {
        // The one whose turn has ended is asked again if no other has anything.
        for _ in 0..=self.queues.len() {
            if self.left > 0
                && let Some(queue) = self.queues.get(self.at).filter(|queue| !queue.is_paused)
                && let Some(message) = queue.fetched.poll(Duration::ZERO)
            {
                self.left -= 1;
                hear(queue.tp, message);
                return true;
            }
            self.at = if self.at + 1 < self.queues.len() { self.at + 1 } else { 0 };
            self.left = TURN;
        }
        false
    }
}
