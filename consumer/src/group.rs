//! The consumer group's decisions as events: takes librdkafka's callbacks, gives a queue that the
//! poll loop empties.
//!
//! A callback runs inside `poll`, on the poll thread, so it only writes down what happened. librdkafka
//! waits for the `assign` or `unassign` that answers a rebalance, and keeps sending heartbeats while
//! it waits; so the answer may come later, when the database has said where the partitions stand or
//! has taken what was held of them. Once the consumer closes nobody empties the queue, and a
//! callback answers by itself.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use rdkafka::ClientContext;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::consumer::{BaseConsumer, Consumer, ConsumerContext, RebalanceProtocol};
use rdkafka::error::{KafkaError, KafkaResult};
use rdkafka::topic_partition_list::TopicPartitionList;
use rdkafka::types::RDKafkaRespErr;

/// Partitions by topic and number.
pub(crate) type Partitions = Vec<(String, i32)>;

/// Something the group decided or answered.
#[derive(Debug)]
pub(crate) enum GroupEvent {
    /// These partitions are ours now.
    Assigned(Partitions),
    /// These are to be given back.
    Revoked(Partitions),
    /// These were given to another already.
    Lost(Partitions),
    /// The commit was answered: whether it succeeded.
    Committed(Result<(), String>),
}

/// Collects what happens in the callbacks.
#[derive(Debug, Default)]
pub(crate) struct Group {
    events: Mutex<VecDeque<GroupEvent>>,
    closing: AtomicBool,
}

impl Group {
    /// The next event.
    pub(crate) fn next(&self) -> Option<GroupEvent> {
        self.lock().pop_front()
    }

    fn lock(&self) -> MutexGuard<'_, VecDeque<GroupEvent>> {
        self.events.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Leaves the group and ends the client. Blocks, for longer than anyone should wait if no broker
/// answers.
pub(crate) fn close(consumer: BaseConsumer<Group>) {
    let context = consumer.context();
    context.closing.store(true, Ordering::SeqCst);
    // What was written down and not answered yet, nobody else will answer.
    while let Some(event) = context.next() {
        if matches!(event, GroupEvent::Assigned(_)) {
            tell("assigning", assign(&consumer, &TopicPartitionList::new()));
        }
    }
    tell("unassigning", unassign(&consumer, &TopicPartitionList::new()));
    drop(consumer);
}

/// What fails while closing matters to nobody.
fn tell(what: &str, result: KafkaResult<()>) {
    if let Err(error) = result {
        tracing::debug!(what, %error, "closing");
    }
}

/// Adds `partitions`; where the protocol knows no part of an assignment, they are all of it.
pub(crate) fn assign(
    consumer: &BaseConsumer<Group>,
    partitions: &TopicPartitionList,
) -> KafkaResult<()> {
    match consumer.rebalance_protocol() {
        RebalanceProtocol::Cooperative => consumer.incremental_assign(partitions),
        RebalanceProtocol::Eager | RebalanceProtocol::None => consumer.assign(partitions),
    }
}

/// Gives back `partitions`; all of them where the protocol knows no part of an assignment.
pub(crate) fn unassign(
    consumer: &BaseConsumer<Group>,
    partitions: &TopicPartitionList,
) -> KafkaResult<()> {
    match consumer.rebalance_protocol() {
        RebalanceProtocol::Cooperative => consumer.incremental_unassign(partitions),
        RebalanceProtocol::Eager | RebalanceProtocol::None => consumer.unassign(),
    }
}

impl ClientContext for Group {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        match level {
            RDKafkaLogLevel::Emerg | RDKafkaLogLevel::Alert | RDKafkaLogLevel::Critical => {
                tracing::warn!(facility, message, "librdkafka");
            }
            _ => tracing::debug!(facility, message, "librdkafka"),
        }
    }

    fn error(&self, error: KafkaError, reason: &str) {
        tracing::debug!(%error, reason, "librdkafka");
    }
}

impl ConsumerContext for Group {
    fn rebalance(
        &self,
        consumer: &BaseConsumer<Self>,
        what: RDKafkaRespErr,
        partitions: &mut TopicPartitionList,
    ) {
        if self.closing.load(Ordering::SeqCst) {
            tell("unassigning", unassign(consumer, partitions));
            return;
        }
        let named = partitions.elements();
        let named = named.iter().map(|one| (one.topic().to_owned(), one.partition())).collect();
        let event = match what {
            RDKafkaRespErr::RD_KAFKA_RESP_ERR__ASSIGN_PARTITIONS => GroupEvent::Assigned(named),
            _ if consumer.assignment_lost() => GroupEvent::Lost(named),
            _ => GroupEvent::Revoked(named),
        };
        self.lock().push_back(event);
    }

    fn commit_callback(&self, result: KafkaResult<()>, offsets: &TopicPartitionList) {
        let each = || offsets.elements().iter().try_for_each(|one| one.error());
        let result = result.and_then(|()| each()).map_err(|error| error.to_string());
        self.lock().push_back(GroupEvent::Committed(result));
    }
}
