//! Following the log: takes what everybody writes to the topic, gives it to the lanes.
//!
//! A client that never joins the sink group reads every partition from the group's committed offset
//! on. A handle is built when it has read what was in the log by then, so that a restarted service
//! reads what it wrote before, though the database may not have it yet; from then on it reads what
//! others write as soon as it is replicated.
//!
//! A tail that does not keep up is never taken for one that does: another thread asks where the log
//! ends, and what was not read two seconds later makes [`Tail::may_be_behind`] true.

mod decode;
mod standing;
mod start;
mod run;

use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::Builder;
use std::time::Duration;

use rdkafka::config::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::{KafkaError, KafkaResult, RDKafkaErrorCode};
use rdkafka::{Offset, TopicPartitionList};
use tokio::sync::oneshot;
use tracing::debug;
use write_behind_shared::kafka::KafkaSettings;
use write_behind_shared::{NextOffset, Partition};

use crate::columns::Columns;
use crate::error::BuildError;
use crate::lanes::Lanes;
use crate::metrics::Metrics;
use crate::persisted::{self, Quiet};
use decode::Decoder;
use run::Run;

/// The client that reads the log, and how well it keeps up.
pub(crate) struct Tail {
    consumer: BaseConsumer<Quiet>,
    topic: String,
    /// Where the partitions end, when that was asked last; taken by the reading thread.
    ends: Mutex<Option<Vec<NextOffset>>>,
    /// How often in a row the reading thread has not taken them.
    untaken: AtomicU32,
    /// By partition.
    behind: Box<[AtomicBool]>,
    ended: AtomicBool,
}

/// Stops following when it is dropped.
#[derive(Debug)]
pub(crate) struct Following {
    #[expect(dead_code, reason = "dropping them is the signal")]
    signals: [Sender<()>; 2],
}

/// What the tail has to know of its handle.
pub(crate) struct Follower {
    pub(crate) lanes: Arc<Lanes>,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) columns: Columns,
    /// How long Kafka may be silent before the handle is built.
    pub(crate) start_timeout: Duration,
}

/// Resolves when all that was in the log at the start is read.
pub(crate) type CaughtUp = oneshot::Receiver<Result<(), BuildError>>;

/// Ours, unless the user sets them: a bounded queue that is filled again at once when there is room.
const DEFAULTS: &[(&str, &str)] = &[
    ("queued.max.messages.kbytes", "16384"),
    ("fetch.queue.backoff.ms", "10"),
    // Kafka answers at once when there is a record; this is how soon it says that there is none.
    ("fetch.wait.max.ms", "100"),
];
/// Ours, always: it commits nothing, skips nothing, and hears of the log's end.
const FIXED: &[(&str, &str)] = &[
    ("enable.auto.commit", "false"),
    ("enable.auto.offset.store", "false"),
    ("allow.auto.create.topics", "false"),
    ("auto.offset.reset", "error"),
    ("isolation.level", "read_committed"),
    ("check.crcs", "true"),
    ("enable.partition.eof", "true"),
];
/// How often it is asked where the log ends. What is not read four asks later is behind.
const LOOK_INTERVAL: Duration = Duration::from_millis(500);
/// How long one question may take.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(2);
/// The reading thread is stuck when it has left so many answers.
const UNTAKEN_MAX: u32 = 4;

impl Tail {
    /// A client for all partitions of `topic`, and for what `group` has committed there.
    pub(crate) fn new(
        settings: &KafkaSettings,
        group: &str,
        topic: &str,
        partitions: i32,
    ) -> Result<Self, BuildError> {
        let mut config = ClientConfig::new();
        let own = settings.iter().filter(|(name, _)| persisted::suits_a_consumer(name));
        for (name, value) in DEFAULTS.iter().copied().chain(own).chain(FIXED.iter().copied()) {
            config.set(name, value);
        }
        config.set("group.id", group);
        let consumer = config.create_with_context(Quiet);
        let consumer = consumer.map_err(|error| BuildError::Client(error.to_string()))?;
        Ok(Self {
            consumer,
            topic: topic.to_owned(),
            ends: Mutex::default(),
            untaken: AtomicU32::new(0),
            behind: (0..partitions).map(|_| AtomicBool::new(true)).collect(),
            ended: AtomicBool::new(false),
        })
    }

    /// Whether records may be in the partition for two seconds or longer that were not read here.
    pub(crate) fn may_be_behind(&self, partition: Partition) -> bool {
        let behind = usize::try_from(partition.0).ok().and_then(|place| self.behind.get(place));
        self.ended.load(Ordering::Acquire)
            || self.untaken.load(Ordering::Acquire) >= UNTAKEN_MAX
            || behind.is_none_or(|behind| behind.load(Ordering::Acquire))
    }

    /// Whether no partition may be behind.
    pub(crate) fn is_current(&self) -> bool {
        self.partitions().all(|partition| !self.may_be_behind(partition))
    }

    /// Reads on threads of its own, until the first of the results is dropped. The second resolves
    /// when what is in the log now is read.
    pub(crate) fn follow_on_a_thread(
        self: &Arc<Self>,
        follower: Follower,
    ) -> Result<(Following, CaughtUp), BuildError> {
        let (stop_reading, reading_stopped) = channel();
        let (stop_asking, asking_stopped) = channel::<()>();
        let (told, caught_up) = oneshot::channel();
        let decoder = Decoder { columns: follower.columns, partitions: self.behind.len() as i32 };
        let tail = Arc::clone(self);
        Builder::new().name("write-behind-follow".to_owned()).spawn(move || {
            let _ended = Ended(&tail);
            Run::new(&tail, follower, decoder).run(told, &reading_stopped);
        })?;
        let tail = Arc::clone(self);
        Builder::new().name("write-behind-log-end".to_owned()).spawn(move || {
            while asking_stopped.recv_timeout(LOOK_INTERVAL) == Err(RecvTimeoutError::Timeout) {
                tail.look();
            }
        })?;
        Ok((Following { signals: [stop_reading, stop_asking] }, caught_up))
    }

    /// Asks where the log ends and leaves the answer to the reading thread.
    fn look(&self) {
        match self.offsets(Offset::End) {
            Ok(ends) => {
                let mut latest = self.ends.lock().unwrap_or_else(PoisonError::into_inner);
                if latest.replace(ends).is_some() {
                    self.untaken.fetch_add(1, Ordering::AcqRel);
                }
            }
            Err(error) => debug!(%error, topic = self.topic, "nobody says where the log ends"),
        }
    }

    /// Where the partitions ended when that was asked last, once.
    fn take_look(&self) -> Option<Vec<NextOffset>> {
        let taken = self.ends.lock().unwrap_or_else(PoisonError::into_inner).take();
        self.untaken.store(0, Ordering::Release);
        taken
    }

    /// Where all partitions begin or end, in their order. One request to each leader.
    fn offsets(&self, at: Offset) -> KafkaResult<Vec<NextOffset>> {
        let asked = self.list(|_| at)?;
        let answered = self.consumer.offsets_for_times(asked, ANSWER_TIMEOUT)?;
        let mut offsets = vec![None; self.behind.len()];
        for element in answered.elements() {
            element.error()?;
            if let (Offset::Offset(offset), Some(place)) =
                (element.offset(), offsets.get_mut(element.partition() as usize))
            {
                *place = Some(NextOffset(offset));
            }
        }
        let all: Option<Vec<_>> = offsets.into_iter().collect();
        all.ok_or(KafkaError::OffsetFetch(RDKafkaErrorCode::NoOffset))
    }

    /// What the group has committed of each partition, in their order; `None`: nothing yet.
    fn committed(&self) -> KafkaResult<Vec<Option<NextOffset>>> {
        let asked = self.list(|_| Offset::Invalid)?;
        let answered = self.consumer.committed_offsets(asked, ANSWER_TIMEOUT)?;
        let mut offsets = vec![None; self.behind.len()];
        for element in answered.elements() {
            element.error()?;
            if let (Offset::Offset(next), Some(place)) =
                (element.offset(), offsets.get_mut(element.partition() as usize))
            {
                *place = Some(NextOffset(next));
            }
        }
        Ok(offsets)
    }

    /// Reads all partitions on from these places.
    fn assign(&self, at: &[NextOffset]) -> KafkaResult<()> {
        let list = self.list(|place| Offset::Offset(at.get(place).map_or(0, |next| next.0)))?;
        self.consumer.assign(&list)
    }

    fn list(&self, at: impl Fn(usize) -> Offset) -> KafkaResult<TopicPartitionList> {
        let mut list = TopicPartitionList::with_capacity(self.behind.len());
        for (place, partition) in self.partitions().enumerate() {
            list.add_partition_offset(&self.topic, partition.0, at(place))?;
        }
        Ok(list)
    }

    fn partitions(&self) -> impl Iterator<Item = Partition> {
        (0..self.behind.len() as i32).map(Partition)
    }
}

/// Says that nothing is read any more, however the thread ends.
struct Ended<'t>(&'t Tail);

impl Drop for Ended<'_> {
    fn drop(&mut self) {
        self.0.ended.store(true, Ordering::Release);
    }
}

impl std::fmt::Debug for Tail {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Tail").field("topic", &self.topic).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicUsize;
    use std::thread::park_timeout;
    use std::time::Instant;

    use prometheus::Registry;
    use rdkafka::mocking::MockCluster;

    use super::*;
    use crate::admission::{Gate, Gates, WhenFull};
    use crate::lanes::{Clean, Setup};

    fn follow(bootstrap: &str) -> (Arc<Tail>, Following, CaughtUp) {
        let settings = KafkaSettings::new([("bootstrap.servers", bootstrap)], &[]).unwrap();
        let tail = Arc::new(Tail::new(&settings, "sink", "scores", 1).unwrap());
        let lanes = Lanes::new(Setup {
            partitions: 1,
            loads: false,
            follows: true,
            clean: Clean(moka::sync::Cache::builder().build_with_hasher(ahash::RandomState::new())),
            gates: Gates {
                bytes: Gate::new(1 << 20),
                rows: None,
                in_flight: None,
                waiting: AtomicUsize::new(0),
            },
            when_full: WhenFull::Wait,
            coalesce: None,
        });
        let follower = Follower {
            lanes: Arc::new(lanes),
            metrics: Arc::new(Metrics::new(&Registry::new(), "scores").unwrap()),
            columns: Columns::of::<()>(),
            start_timeout: Duration::from_mins(1),
        };
        let (following, caught_up) = tail.follow_on_a_thread(follower).unwrap();
        (tail, following, caught_up)
    }

    fn until_nobody_else_has(tail: &Arc<Tail>) {
        let start = Instant::now();
        while Arc::strong_count(tail) > 1 {
            assert!(start.elapsed() < Duration::from_secs(20), "its threads have not ended");
            park_timeout(Duration::from_millis(5));
        }
    }

    #[test]
    fn a_tail_that_nobody_wants_ends_its_threads_and_vouches_for_nothing() {
        let cluster = MockCluster::new(1).unwrap();
        cluster.create_topic("scores", 1, 1).unwrap();
        let (tail, following, caught_up) = follow(&cluster.bootstrap_servers());
        caught_up.blocking_recv().unwrap().unwrap();
        assert!(tail.is_current());
        drop(following);
        until_nobody_else_has(&tail);
        assert!(!tail.is_current());
    }

    #[test]
    fn a_tail_that_is_given_up_while_kafka_is_silent_ends_too() {
        let (tail, following, caught_up) = follow("127.0.0.1:1");
        assert!(!tail.is_current());
        drop((following, caught_up));
        until_nobody_else_has(&tail);
    }
}
