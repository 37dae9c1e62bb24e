//! The sink group's committed offsets, which say what is in the database.
//!
//! A consumer that never joins the group asks, on a thread of its own, and only while something is
//! pending. It also looks whether the topic still has the partitions it had.
//!
//! Silence is never taken for progress: no answer, no committed offset, or one past the end of the
//! log leave everything pending.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread::Builder;
use std::time::{Duration, Instant};

use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::KafkaResult;
use rdkafka::{Offset, TopicPartitionList};
use tracing::{error, info, warn};
use write_behind_shared::kafka::KafkaSettings;
use write_behind_shared::{NextOffset, Partition};

use crate::error::{BuildError, Halt};
use crate::kafka::dead_letters::Letters;
use crate::kafka::settings::{QuietContext, consumer_config};
use crate::metrics::Metrics;
use crate::partitions::Partitions;

/// Ours, always: it commits nothing, and creates no topic.
const FIXED: &[(&str, &str)] = &[
    // The end of the log must lie past our own records, even while another's transaction is open.
    ("isolation.level", "read_uncommitted"),
    ("enable.auto.commit", "false"),
    ("allow.auto.create.topics", "false"),
];

/// Asks Kafka about the sink group and the topic.
pub(crate) struct GroupOffsets {
    consumer: BaseConsumer<QuietContext>,
    topic: String,
}

/// Stops the poller's thread when it is dropped.
#[derive(Debug)]
pub(crate) struct CommitPollerGuard {
    #[expect(dead_code, reason = "dropping it is the signal")]
    signal: Sender<()>,
}

/// What the polling thread remembers from one poll to the next.
struct CommitPoller {
    group_offsets: GroupOffsets,
    partitions: Arc<Partitions>,
    metrics: Arc<Metrics>,
    /// The ends of partitions, as far as they were asked for.
    ends: HashMap<Partition, NextOffset>,
    /// The partitions whose committed offset is past the end of their log.
    past_the_end: HashSet<Partition>,
    letters: Option<Letters>,
    healthy: bool,
    partitions_checked: Instant,
}

/// How long one question may take.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(5);
/// How often the partition count is compared with that of the start.
const PARTITIONS_INTERVAL: Duration = Duration::from_secs(30);

impl GroupOffsets {
    /// A client that asks for the offsets of `group` in `topic`.
    pub(crate) fn new(
        settings: &KafkaSettings,
        group: &str,
        topic: &str,
    ) -> Result<Self, BuildError> {
        let consumer =
            consumer_config(settings, group, &[], FIXED).create_with_context(QuietContext);
        let consumer = consumer.map_err(|error| BuildError::Client(error.to_string()))?;
        Ok(Self { consumer, topic: topic.to_owned() })
    }

    /// How many partitions the topic has. Blocks until Kafka answers or `timeout` is over.
    pub(crate) fn partitions(&self, timeout: Duration) -> Result<i32, BuildError> {
        let metadata = self.consumer.fetch_metadata(Some(&self.topic), timeout);
        let metadata = metadata.map_err(|error| BuildError::NoAnswer(error.to_string()))?;
        let topic = metadata.topics().iter().find(|topic| topic.name() == self.topic);
        match topic {
            Some(topic) if topic.error().is_none() && !topic.partitions().is_empty() => {
                Ok(topic.partitions().len() as i32)
            }
            _ => Err(BuildError::NoTopic(self.topic.clone())),
        }
    }

    /// The cluster's id. Blocks until Kafka answers or `timeout` is over.
    pub(crate) fn cluster_id(&self, timeout: Duration) -> Result<String, BuildError> {
        let id = self.consumer.client().fetch_cluster_id(timeout);
        id.ok_or_else(|| BuildError::NoAnswer("no cluster id".to_owned()))
    }

    /// What the group has committed, of these partitions; those without an answer are left out.
    pub(crate) fn committed(
        &self,
        partitions: &[Partition],
        timeout: Duration,
    ) -> KafkaResult<Vec<(Partition, NextOffset)>> {
        let mut asked = TopicPartitionList::with_capacity(partitions.len());
        for partition in partitions {
            asked.add_partition(&self.topic, partition.0);
        }
        let answered = self.consumer.committed_offsets(asked, timeout)?;
        let committed = answered.elements().into_iter().filter_map(|element| {
            match (element.error(), element.offset()) {
                // No commit yet is an offset of its own kind, not a number.
                (Ok(()), Offset::Offset(next)) => {
                    Some((Partition(element.partition()), NextOffset(next)))
                }
                _ => None,
            }
        });
        Ok(committed.collect())
    }

    fn end(&self, partition: Partition) -> KafkaResult<NextOffset> {
        let (_, end) = self.consumer.fetch_watermarks(&self.topic, partition.0, ANSWER_TIMEOUT)?;
        Ok(NextOffset(end))
    }

    /// Asks every `interval` while something is pending.
    pub(crate) fn poll_on_a_thread(
        self,
        interval: Duration,
        partitions: Arc<Partitions>,
        metrics: Arc<Metrics>,
        letters: Option<Letters>,
    ) -> Result<CommitPollerGuard, BuildError> {
        let (signal, stopped) = channel();
        let mut poller = CommitPoller {
            group_offsets: self,
            partitions,
            metrics,
            ends: HashMap::new(),
            past_the_end: HashSet::new(),
            letters,
            healthy: true,
            partitions_checked: Instant::now(),
        };
        Builder::new()
            .name("write-behind-persisted".to_owned())
            .spawn(move || poller.run(interval, &stopped))?;
        Ok(CommitPollerGuard { signal })
    }
}

impl CommitPoller {
    fn run(&mut self, interval: Duration, stopped: &Receiver<()>) {
        while stopped.recv_timeout(interval) == Err(RecvTimeoutError::Timeout) {
            let looked = self.look();
            if looked.is_ok() != self.healthy {
                self.healthy = looked.is_ok();
                match &looked {
                    Ok(()) => info!("the sink group's offsets can be asked for again"),
                    Err(error) => warn!(%error, "the sink group's offsets cannot be asked for"),
                }
            }
            if looked.is_err() {
                self.metrics.watch_error();
            }
            if self.partitions_checked.elapsed() >= PARTITIONS_INTERVAL {
                self.partitions_checked = Instant::now();
                self.check_partitions();
            }
        }
    }

    /// One poll of the partitions with something pending.
    fn look(&mut self) -> KafkaResult<()> {
        let behind: Vec<Partition> = self
            .partitions
            .iter()
            .filter(|(_, pending)| pending.lock().core.wants_commits())
            .map(|(partition, _)| partition)
            .collect();
        if behind.is_empty() {
            return Ok(());
        }
        self.place_unknown_offsets(&behind)?;
        let mut advanced = Vec::new();
        for (partition, committed) in self.group_offsets.committed(&behind, ANSWER_TIMEOUT)? {
            if self.is_within_the_log(partition, committed)? {
                advanced.push((partition, committed));
            }
        }
        // Before they count as persisted, so that nobody is told so of a dead letter.
        if let Some(letters) = &mut self.letters
            && !letters.tell(&advanced, &self.partitions)
        {
            self.metrics.watch_error();
            return Ok(());
        }
        for (partition, committed) in advanced {
            self.partitions.committed(partition, committed);
        }
        Ok(())
    }

    /// Writes whose offset is unknown lie below the end of the log as it is now: the mark is taken
    /// before the end is asked for.
    fn place_unknown_offsets(&mut self, behind: &[Partition]) -> KafkaResult<()> {
        for partition in behind {
            let Some(pending) = self.partitions.of(*partition) else { continue };
            let mark = pending.lock().core.wants_sample();
            if let Some(mark) = mark {
                let end = self.group_offsets.end(*partition)?;
                self.partitions.sampled(*partition, mark, end);
            }
        }
        Ok(())
    }

    /// An offset past the end of the log speaks of another log, or was set by hand.
    fn is_within_the_log(
        &mut self,
        partition: Partition,
        committed: NextOffset,
    ) -> KafkaResult<bool> {
        if self.ends.get(&partition).is_some_and(|end| committed <= *end) {
            return Ok(true);
        }
        let end = self.group_offsets.end(partition)?;
        self.ends.insert(partition, end);
        if committed <= end {
            self.past_the_end.remove(&partition);
            return Ok(true);
        }
        self.metrics.watch_error();
        if self.past_the_end.insert(partition) {
            error!(
                %partition, %committed, %end,
                "the group has committed past the end of the log: it is another log, or the \
                 offset was set by hand; its writes stay pending"
            );
        }
        Ok(false)
    }

    fn check_partitions(&self) {
        let was = self.partitions.count();
        if let Ok(now) = self.group_offsets.partitions(ANSWER_TIMEOUT)
            && now != was
            && self.partitions.halt(Halt::Repartitioned { was, now })
        {
            error!(was, now, "the topic's partition count changed; writes are halted");
        }
    }
}

impl std::fmt::Debug for GroupOffsets {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("GroupOffsets").field("topic", &self.topic).finish_non_exhaustive()
    }
}
