//! The consumer group's decisions as events, in a queue that the poll loop empties.
//!
//! A callback runs inside `poll`, on the poll thread, so it only records what happened. librdkafka
//! waits for the `assign` or `unassign` that answers a rebalance, and keeps sending heartbeats
//! while it waits; so the answer may come later, when the database has said where the partitions
//! stand or has taken what was held of them. Once the consumer is closing, nobody empties the
//! queue, and the callback answers by itself.
//!
//! A commit blocks until Kafka answers (rdkafka passes the answer to an asynchronous one to
//! nobody), so a thread of its own commits, and its answers come through the same queue.

use std::collections::VecDeque;
use std::ops::Deref;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{SyncSender, sync_channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;

use rdkafka::ClientContext;
use rdkafka::config::{ClientConfig, RDKafkaLogLevel};
use rdkafka::consumer::base_consumer::PartitionQueue as FetchedQueue;
use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer, ConsumerContext, RebalanceProtocol};
use rdkafka::error::{KafkaError, KafkaResult};
use rdkafka::topic_partition_list::TopicPartitionList;
use rdkafka::types::{RDKafkaErrorCode, RDKafkaRespErr};

use crate::core::pipeline::commit::CommitId;
use crate::kafka::bell::Bell;
use crate::kafka::failures::ConnectionFailures;
use crate::kafka::statistics::{FetchedLogs, logs};

/// Partitions by topic and number.
pub type Partitions = Vec<(String, i32)>;

/// Something the group decided or answered.
#[derive(Debug)]
pub enum GroupEvent<P = Partitions> {
    /// These partitions are ours now.
    Assigned(P),
    /// The group wants these back.
    Revoked(P),
    /// The group has already given these to another member.
    Lost(P),
    /// The commit with this number was answered: whether it succeeded.
    Committed(CommitId, Result<(), String>),
}

impl<P> GroupEvent<P> {
    /// Converts the event's partitions with `say`.
    pub(crate) fn map<Q>(self, say: impl FnOnce(P) -> Q) -> GroupEvent<Q> {
        match self {
            GroupEvent::Assigned(partitions) => GroupEvent::Assigned(say(partitions)),
            GroupEvent::Revoked(partitions) => GroupEvent::Revoked(say(partitions)),
            GroupEvent::Lost(partitions) => GroupEvent::Lost(say(partitions)),
            GroupEvent::Committed(id, result) => GroupEvent::Committed(id, result),
        }
    }
}

/// Collects what happens in the callbacks.
#[derive(Debug, Default)]
pub(crate) struct Group {
    events: Mutex<VecDeque<GroupEvent>>,
    /// What the last statistics say of the logs, until it is taken.
    logs: Mutex<FetchedLogs>,
    failures: ConnectionFailures,
    closing: AtomicBool,
}

impl Group {
    /// What the client has learnt of the logs since this was last asked.
    pub(crate) fn take_logs(&self) -> FetchedLogs {
        std::mem::take(&mut self.logs.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Why connections fail, if they do.
    pub(crate) fn failures(&self) -> &ConnectionFailures {
        &self.failures
    }

    /// The next event.
    pub(crate) fn next(&self) -> Option<GroupEvent> {
        self.lock().pop_front()
    }

    fn lock(&self) -> MutexGuard<'_, VecDeque<GroupEvent>> {
        self.events.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Logs a failure while closing, which nothing depends on.
fn tell(what: &str, result: KafkaResult<()>) {
    if let Err(error) = result {
        tracing::debug!(what, %error, "closing");
    }
}

/// Assigns `partitions` in addition; with the eager protocol, they replace the whole assignment.
pub(crate) fn assign(
    consumer: &BaseConsumer<Group>,
    partitions: &TopicPartitionList,
) -> KafkaResult<()> {
    match consumer.rebalance_protocol() {
        RebalanceProtocol::Cooperative => consumer.incremental_assign(partitions),
        RebalanceProtocol::Eager | RebalanceProtocol::None => consumer.assign(partitions),
    }?;
    settle(consumer)
}

/// A consumer in its group, and the thread that commits for it.
pub(crate) struct Member {
    consumer: Arc<BaseConsumer<Group>>,
    commits: SyncSender<(CommitId, TopicPartitionList)>,
    /// Whether a commit waits for its answer.
    is_committing: Arc<AtomicBool>,
    committer: JoinHandle<()>,
}

impl Member {
    /// Makes a consumer and its committing thread. `bell` rings when it has something to tell.
    pub(crate) fn new(config: &ClientConfig, bell: &Arc<Bell>) -> Result<Self, String> {
        let consumer = config.create_with_context(Group::default());
        let mut consumer: BaseConsumer<Group> =
            consumer.map_err(|error: KafkaError| error.to_string())?;
        let (rung, answered) = (Arc::clone(bell), Arc::clone(bell));
        consumer.set_nonempty_callback(move || rung.ring());
        let consumer = Arc::new(consumer);
        let (commits, offsets) = sync_channel::<(CommitId, TopicPartitionList)>(1);
        let is_committing = Arc::new(AtomicBool::new(false));
        let (committing, is_waiting) = (Arc::clone(&consumer), Arc::clone(&is_committing));
        let commit = move || {
            for (id, offsets) in offsets {
                // This may take longer than the pipeline waits. Without `id`, a late answer would
                // be taken for that of the commit after it.
                let result = committing.commit(&offsets, CommitMode::Sync);
                let result = result.map_err(|error| error.to_string());
                // Before the event: the poll thread may commit again as soon as it hears it.
                is_waiting.store(false, Ordering::SeqCst);
                committing.context().lock().push_back(GroupEvent::Committed(id, result));
                answered.ring();
            }
        };
        let thread = std::thread::Builder::new().name("write-behind-commit".to_owned());
        let committer = thread.spawn(commit).map_err(|error| error.to_string())?;
        Ok(Self { consumer, commits, is_committing, committer })
    }

    /// The queue of a partition, for what is fetched of it from its next assignment on. `bell` rings
    /// when there is something in it.
    pub(crate) fn queue(
        &self,
        topic: &str,
        partition: i32,
        bell: &Arc<Bell>,
    ) -> Option<FetchedQueue<Group>> {
        let mut queue = self.consumer.split_partition_queue(topic, partition)?;
        let rung = Arc::clone(bell);
        queue.set_nonempty_callback(move || rung.ring());
        Some(queue)
    }

    /// Commits `offsets` as the commit `id`; an event tells how that went. `false`: the commit
    /// before is not answered yet, so this one is not made.
    pub(crate) fn commit(&self, id: CommitId, offsets: TopicPartitionList) -> bool {
        // One that waited behind a late one would be answered after its time, too.
        !self.is_committing.swap(true, Ordering::SeqCst)
            && self.commits.try_send((id, offsets)).is_ok()
    }

    /// Leaves the group and ends the client. Blocks, for minutes if no broker answers.
    pub(crate) fn close(self) {
        let Self { consumer, commits, committer, .. } = self;
        let context = consumer.context();
        context.closing.store(true, Ordering::SeqCst);
        // librdkafka waits for an answer to each recorded rebalance before it closes, and nobody
        // else will answer these.
        while let Some(event) = context.next() {
            if matches!(event, GroupEvent::Assigned(_)) {
                tell("assigning", assign(&consumer, &TopicPartitionList::new()));
            }
        }
        tell("unassigning", unassign(&consumer, &TopicPartitionList::new()));
        drop(commits);
        if committer.join().is_err() {
            tracing::debug!("the committing thread has panicked");
        }
        drop(consumer);
    }
}

impl Deref for Member {
    type Target = BaseConsumer<Group>;

    fn deref(&self) -> &Self::Target {
        &self.consumer
    }
}

/// Unassigns `partitions`; with the eager protocol, all that is assigned.
pub(crate) fn unassign(
    consumer: &BaseConsumer<Group>,
    partitions: &TopicPartitionList,
) -> KafkaResult<()> {
    match consumer.rebalance_protocol() {
        RebalanceProtocol::Cooperative => consumer.incremental_unassign(partitions),
        RebalanceProtocol::Eager | RebalanceProtocol::None => consumer.unassign(),
    }?;
    settle(consumer)
}

/// Waits until librdkafka has stopped what was assigned before. It does so by and by, and ends the
/// process by an assertion if the assignment changes again before that. Its thread answers these
/// questions after the stops: the first has them begun, the second ended.
pub(crate) fn settle<C: ConsumerContext>(consumer: &BaseConsumer<C>) -> KafkaResult<()> {
    for _ in 0..2 {
        consumer.assignment()?;
    }
    Ok(())
}

/// Why the client can't go on, in words for an operator.
pub(crate) fn fatal(code: RDKafkaErrorCode, reason: &str) -> String {
    let why = match code {
        RDKafkaErrorCode::FencedInstanceId | RDKafkaErrorCode::UnreleasedInstanceId => {
            "another member of the group has the same `group.instance.id`: give each process one of \
             its own, or start this one again once the other is gone"
        }
        _ => "Kafka's client can't go on",
    };
    format!("{why} ({reason})")
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

    fn stats_raw(&self, statistics: &[u8]) {
        *self.logs.lock().unwrap_or_else(PoisonError::into_inner) = logs(statistics);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        tracing::debug!(%error, reason, "librdkafka");
        self.failures.note(&error, reason);
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
        // A lost partition is already another member's: what is held of it must not wait to be
        // written, as it would for one that was revoked.
        let event = match what {
            RDKafkaRespErr::RD_KAFKA_RESP_ERR__ASSIGN_PARTITIONS => GroupEvent::Assigned(named),
            _ if consumer.assignment_lost() => GroupEvent::Lost(named),
            _ => GroupEvent::Revoked(named),
        };
        self.lock().push_back(event);
    }
}
