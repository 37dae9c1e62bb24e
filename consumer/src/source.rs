//! The poll thread: takes records and decisions from Kafka, feeds the pipeline, does what it says.
//!
//! One OS thread owns the consumer and the pipeline. It never waits for the database, a worker or a
//! channel: it asks by a queue and is answered by another, and polls all the while, so that the
//! consumer stays in its group however long the database is away.
//!
//! A partition is handed to librdkafka only with the offset that the database says, in the `assign`
//! itself: there is no seek. An assignment is acknowledged at once, as an empty one, so that a
//! database that is away does not hold up the whole group; the partitions follow when their
//! positions are known.

use std::collections::BTreeSet;
use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rdkafka::config::ClientConfig;
use rdkafka::consumer::{Consumer, RebalanceProtocol};
use rdkafka::error::{KafkaError, KafkaResult, RDKafkaErrorCode};
use rdkafka::message::{BorrowedMessage, Headers, Message};
use rdkafka::topic_partition_list::{Offset as KafkaOffset, TopicPartitionList};
use tokio::sync::mpsc;
use tokio::sync::mpsc::error::TryRecvError;
use write_behind_shared::{NextOffset, Offset, Partition};

use crate::action::{Action, BatchId, Closed, Ended, Limits, Located, Notice, Place};
use crate::broker;
use crate::buffer::Incoming;
use crate::config::{Config, OnBadRecord, Route};
use crate::group::{self, GroupEvent, Member, Partitions};
use crate::locate::Wanted;
use crate::pipeline::Pipeline;
use crate::status::Status;
use crate::worker::bad_record;

/// Records taken before the other queues are looked at.
const BURST: usize = 1_000;
/// How long a poll waits while something is held, and while nothing is.
const WAIT_BUSY: Duration = Duration::from_millis(5);
const WAIT_IDLE: Duration = Duration::from_millis(50);
/// Failed commits in a row of which a person is told.
const COMMIT_FAILURES_TOLD: u32 = 10;

/// How the reading ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Exit {
    /// As asked; what was held is written, or will be read again when the time was over.
    Drained {
        /// Whether all of it was written.
        clean: bool,
    },
    /// A safety check refuses to go on.
    Refused(String),
    /// It can't go on.
    Failed(String),
}

/// An answer or an order to the poll thread.
#[derive(Debug)]
pub(crate) enum Input {
    /// Where partitions stand.
    Located(Vec<Located>),
    /// A worker finished a batch.
    Finished(BatchId, Ended),
    /// Stop reading, write what is held, and end.
    Drain,
    /// End now.
    End(Exit),
}

/// What the poll thread is connected to.
pub(crate) struct Ends {
    /// One queue a worker, each with room for one batch.
    pub(crate) workers: Vec<mpsc::Sender<Closed>>,
    /// Answers and orders. When all its senders are gone, so is whoever runs this.
    pub(crate) inbox: mpsc::Receiver<Input>,
    /// Partitions whose positions are asked for.
    pub(crate) wanted: Arc<Wanted>,
    /// What the world may know.
    pub(crate) status: Arc<Status>,
}

/// The poll thread's state.
pub(crate) struct Source {
    consumer: Member,
    pipeline: Pipeline,
    /// The topic of each route.
    topics: Vec<Arc<str>>,
    ends: Ends,
    /// Workers without a batch. The pipeline never has more batches in flight than workers.
    free: Vec<usize>,
    /// Which worker has which batch.
    busy: Vec<(BatchId, usize)>,
    /// Partitions that librdkafka was given.
    assigned: BTreeSet<Place>,
    /// Those of them that it was told to pause.
    paused: BTreeSet<Place>,
    /// The route of the last record, which is mostly that of the next.
    last_route: usize,
    drain_time: Duration,
    /// When a drain is over, whatever is left.
    deadline: Option<Duration>,
    started: Instant,
    /// The time of this turn.
    now: Duration,
    /// Commits that failed in a row.
    commit_failures: u32,
    /// The last error of the broker that was told, so that it is told once.
    told: Option<RDKafkaErrorCode>,
}

impl Source {
    /// Joins the group. Nothing is read before the first turn.
    pub(crate) fn subscribe(config: &Config, ends: Ends) -> Result<Self, String> {
        let consumer = Member::new(&reading_config(config))?;
        let topics: Vec<Arc<str>> =
            config.routes.iter().map(|route| Arc::from(&*route.topic)).collect();
        let named: Vec<&str> = topics.iter().map(|topic| &**topic).collect();
        consumer.subscribe(&named).map_err(|error| error.to_string())?;
        let limits = Limits {
            max_rows: config.batch.max_rows,
            max_bytes: config.batch.max_bytes,
            max_age: config.batch.max_age,
            target_time: config.batch.target_time,
            memory: config.memory_buffers,
            workers: ends.workers.len(),
            rows_per_second: config.database.rows_per_second,
        };
        let aside = |route: &Route| route.on_bad_record == OnBadRecord::DeadLetter;
        Ok(Self {
            consumer,
            pipeline: Pipeline::new(limits, config.routes.iter().map(aside).collect()),
            topics,
            free: (0..ends.workers.len()).collect(),
            busy: Vec::new(),
            ends,
            assigned: BTreeSet::new(),
            paused: BTreeSet::new(),
            last_route: 0,
            drain_time: config.batch.drain_time,
            deadline: None,
            started: Instant::now(),
            now: Duration::ZERO,
            commit_failures: 0,
            told: None,
        })
    }

    /// Reads until told to stop, and gives back the consumer, still in its group.
    pub(crate) fn run(mut self) -> (Exit, Member) {
        loop {
            if let ControlFlow::Break(exit) = self.turn() {
                self.publish();
                return (exit, self.consumer);
            }
        }
    }

    /// One turn: records, the group's events, answers, the time; then what they make possible.
    fn turn(&mut self) -> ControlFlow<Exit> {
        self.now = self.started.elapsed();
        self.read()?;
        while let Some(event) = self.consumer.context().next() {
            self.group_event(event)?;
        }
        loop {
            match self.ends.inbox.try_recv() {
                Ok(input) => self.input(input)?,
                Err(TryRecvError::Empty) => break,
                Err(TryRecvError::Disconnected) => {
                    return ControlFlow::Break(Exit::Drained { clean: false });
                }
            }
        }
        self.now = self.started.elapsed();
        self.pipeline.tick(self.now);
        self.act()?;
        self.publish();
        if self.deadline.is_some_and(|deadline| self.now >= deadline) {
            let clean = self.pipeline.is_idle();
            tracing::warn!(clean, "the drain's time is over; what is not written will be read again");
            return ControlFlow::Break(Exit::Drained { clean });
        }
        ControlFlow::Continue(())
    }

    /// Takes what records there are, up to a burst.
    fn read(&mut self) -> ControlFlow<Exit> {
        let mut wait = if self.pipeline.is_idle() { WAIT_IDLE } else { WAIT_BUSY };
        for _ in 0..BURST {
            match self.consumer.poll(wait) {
                None => break,
                Some(Ok(message)) => {
                    self.told = None;
                    let route = route_of(&self.topics, self.last_route, message.topic());
                    let Some(route) = route else { continue };
                    self.last_route = route;
                    take(&mut self.pipeline, self.now, route, &message);
                }
                Some(Err(error)) => self.broker_error(&error)?,
            }
            if self.pipeline.has_actions() {
                self.act()?;
            }
            wait = Duration::ZERO;
        }
        ControlFlow::Continue(())
    }

    fn broker_error(&mut self, error: &KafkaError) -> ControlFlow<Exit> {
        let code = error.rdkafka_error_code();
        match (error, code) {
            (_, Some(RDKafkaErrorCode::AutoOffsetReset | RDKafkaErrorCode::OffsetOutOfRange)) => {
                ControlFlow::Break(Exit::Refused(format!(
                    "the log does not have the offset that the database continues at ({error}): it was \
                 truncated or recreated, or its retention has passed the offset. Run `check` to see \
                 which partition, and what to do"
                )))
            }
            (KafkaError::MessageConsumptionFatal(_), _) => {
                ControlFlow::Break(Exit::Failed(format!("Kafka's client can't go on: {error}")))
            }
            _ => {
                self.ends.status.metrics().broker_error();
                if self.told != code {
                    self.told = code;
                    tracing::warn!(%error, "kafka");
                }
                ControlFlow::Continue(())
            }
        }
    }

    fn group_event(&mut self, event: GroupEvent) -> ControlFlow<Exit> {
        match event {
            GroupEvent::Assigned(partitions) => {
                let places = self.places(&partitions);
                tracing::info!(partitions = places.len(), "partitions assigned");
                self.ends.status.joined();
                done("assign", group::assign(&self.consumer, &TopicPartitionList::new()))?;
                self.pipeline.assign(&places);
            }
            GroupEvent::Revoked(partitions) => {
                let places = self.places(&partitions);
                tracing::info!(partitions = places.len(), "partitions revoked");
                self.pipeline.revoke(self.now, places, self.now + self.drain_time);
            }
            GroupEvent::Lost(partitions) => {
                let places = self.places(&partitions);
                tracing::warn!(
                    partitions = places.len(),
                    "partitions lost: the group gave them away"
                );
                self.pipeline.lose(self.now, places);
            }
            GroupEvent::Committed(result) => {
                match &result {
                    Ok(()) => self.commit_failures = 0,
                    Err(error) => self.commit_failed(error),
                }
                self.pipeline.commit_answered(self.now, result.is_ok());
            }
        }
        self.act()
    }

    fn input(&mut self, input: Input) -> ControlFlow<Exit> {
        match input {
            Input::Located(found) => self.pipeline.located(self.now, found),
            Input::Finished(id, ended) => {
                if let Some(at) = self.busy.iter().position(|(batch, _)| *batch == id) {
                    self.free.push(self.busy.swap_remove(at).1);
                }
                self.pipeline.finished(self.now, id, &ended);
            }
            Input::Drain => {
                self.deadline = Some(self.now + self.drain_time);
                self.pipeline.drain(self.now);
            }
            Input::End(exit) => return ControlFlow::Break(exit),
        }
        self.act()
    }

    /// Does everything the pipeline says.
    fn act(&mut self) -> ControlFlow<Exit> {
        while let Some(action) = self.pipeline.next_action() {
            match action {
                Action::Locate(asked) => self.ends.wanted.ask(asked),
                Action::Read(places) => done("assign", self.start_reading(&places))?,
                Action::Write(closed) => self.hand_over(closed)?,
                Action::Pause(places) => {
                    self.paused.extend(&places);
                    done("pause", self.consumer.pause(&self.list(&places)))?;
                }
                Action::Resume(places) => {
                    self.paused.retain(|place| !places.contains(place));
                    done("resume", self.consumer.resume(&self.list(&places)))?;
                }
                Action::Commit(offsets) => self.commit(&offsets),
                Action::Release(places) => self.release(&places)?,
                Action::StopAtBad(place, letter) => {
                    let (partition, offset) = (place.partition, letter.record.offset);
                    let told = format!("partition {partition}, offset {offset}: {}", letter.reason);
                    let why = bad_record(&self.topics[place.route], &told);
                    return ControlFlow::Break(Exit::Failed(why));
                }
                Action::Drained => return ControlFlow::Break(Exit::Drained { clean: true }),
                Action::Tell(notice) => self.tell(&notice),
            }
        }
        ControlFlow::Continue(())
    }

    fn hand_over(&mut self, closed: Closed) -> ControlFlow<Exit> {
        let id = closed.id;
        let worker = self.free.pop();
        let sent = worker.map(|worker| (worker, self.ends.workers[worker].try_send(closed)));
        if let Some((worker, Ok(()))) = sent {
            self.busy.push((id, worker));
            return ControlFlow::Continue(());
        }
        // Only a worker that is gone takes no batch.
        ControlFlow::Break(Exit::Failed("a worker has ended".to_owned()))
    }

    fn commit(&mut self, offsets: &[(Place, NextOffset)]) {
        if !self.consumer.commit(self.positions(offsets)) {
            self.pipeline.commit_answered(self.now, false);
        }
    }

    /// A few failures belong to every rebalance.
    fn commit_failed(&mut self, error: &str) {
        self.commit_failures += 1;
        if self.commit_failures == COMMIT_FAILURES_TOLD {
            tracing::warn!(%error, "commits to kafka keep failing; the database is not affected");
        } else {
            tracing::debug!(%error, "the commit to kafka failed and is tried again");
        }
    }

    /// Gives librdkafka these partitions, from these offsets on.
    fn start_reading(&mut self, places: &[(Place, NextOffset)]) -> KafkaResult<()> {
        if let RebalanceProtocol::Cooperative = self.consumer.rebalance_protocol() {
            let again: Vec<Place> =
                places.iter().map(|one| one.0).filter(|one| self.assigned.contains(one)).collect();
            if !again.is_empty() {
                self.consumer.incremental_unassign(&self.list(&again))?;
            }
            self.consumer.incremental_assign(&self.positions(places))?;
            self.assigned.extend(places.iter().map(|(place, _)| *place));
        } else {
            // The whole assignment is replaced, so the others are named too, where they stand.
            self.assigned.extend(places.iter().map(|(place, _)| *place));
            let position = |place: &Place| Some((*place, self.pipeline.next_of(*place)?));
            let all: Vec<_> = self.assigned.iter().filter_map(position).collect();
            self.consumer.assign(&self.positions(&all))?;
        }
        self.paused.retain(|paused| !places.iter().any(|(place, _)| place == paused));
        // A partition that was paused before stays so only if it is told again.
        let resumed: Vec<Place> = places.iter().map(|(place, _)| *place).collect();
        self.consumer.resume(&self.list(&resumed))?;
        let paused: Vec<Place> = self.paused.iter().copied().collect();
        self.consumer.pause(&self.list(&paused))
    }

    /// Acknowledges that nothing of these is held any more.
    fn release(&mut self, places: &[Place]) -> ControlFlow<Exit> {
        let ours: Vec<Place> =
            places.iter().copied().filter(|one| self.assigned.remove(one)).collect();
        self.paused.retain(|place| !places.contains(place));
        done("unassign", group::unassign(&self.consumer, &self.list(&ours)))
    }

    fn publish(&self) {
        self.ends.status.publish(self.now, self.pipeline.counts(), || self.pipeline.progress());
    }

    fn places(&self, partitions: &Partitions) -> Vec<Place> {
        let place = |(topic, partition): &(String, i32)| {
            let route = self.topics.iter().position(|one| **one == **topic)?;
            Some(Place { route, partition: Partition(*partition) })
        };
        partitions.iter().filter_map(place).collect()
    }

    fn list(&self, places: &[Place]) -> TopicPartitionList {
        let mut list = TopicPartitionList::with_capacity(places.len());
        for place in places {
            list.add_partition(&self.topics[place.route], place.partition.0);
        }
        list
    }

    fn positions(&self, positions: &[(Place, NextOffset)]) -> TopicPartitionList {
        let mut list = TopicPartitionList::with_capacity(positions.len());
        for (place, next) in positions {
            let mut element = list.add_partition(&self.topics[place.route], place.partition.0);
            #[expect(clippy::expect_used, reason = "only a negative offset is refused")]
            element.set_offset(KafkaOffset::Offset(next.0)).expect("an offset is not negative");
        }
        list
    }

    fn tell(&self, notice: &Notice) {
        let topic = |place: &Place| Arc::clone(&self.topics[place.route]);
        match notice {
            Notice::RecordsMissing(place, offset, id) => tracing::error!(
                topic = %topic(place), partition = %place.partition, %offset,
                writer = %id.writer, sequence = id.sequence,
                "records of this writer before this one are missing from the log"
            ),
            Notice::OffsetsSkipped(place, from, to) => tracing::info!(
                topic = %topic(place), partition = %place.partition, %from, %to,
                "the log has no records at some offsets (a transaction's markers, or compaction)"
            ),
            Notice::DatabaseWentBack(place, from, to) => tracing::error!(
                topic = %topic(place), partition = %place.partition, %from, %to,
                "the database went back, as if restored; its records are applied again from there"
            ),
            Notice::DatabaseWentAhead(place, from, to) => tracing::warn!(
                topic = %topic(place), partition = %place.partition, %from, %to,
                "another consumer wrote this partition; going on from where the database stands"
            ),
            Notice::Dropped(records) => tracing::warn!(
                records,
                "partitions were let go with unwritten records; their next owner reads them again"
            ),
        }
    }
}

/// A call that only fails when librdkafka can't go on.
fn done(call: &str, result: KafkaResult<()>) -> ControlFlow<Exit> {
    match result {
        Ok(()) => ControlFlow::Continue(()),
        Err(error) => {
            ControlFlow::Break(Exit::Failed(format!("Kafka's client refused to {call}: {error}")))
        }
    }
}

/// The client that reads: the reserved properties, and modest defaults for memory.
fn reading_config(config: &Config) -> ClientConfig {
    let mut client = broker::client_config(&config.kafka, &config.name);
    client.set("auto.offset.reset", "error");
    client.set("isolation.level", "read_committed");
    client.set("check.crcs", "true");
    client.set("enable.partition.eof", "false");
    for (property, value) in [
        ("queued.max.messages.kbytes", "16384"),
        ("fetch.message.max.bytes", "1048576"),
        ("fetch.wait.max.ms", "100"),
    ] {
        if config.kafka.get(property).is_none() {
            client.set(property, value);
        }
    }
    client
}

fn route_of(topics: &[Arc<str>], last: usize, topic: &str) -> Option<usize> {
    if *topics[last] == *topic {
        return Some(last);
    }
    topics.iter().position(|one| **one == *topic)
}

fn take(pipeline: &mut Pipeline, now: Duration, route: usize, message: &BorrowedMessage<'_>) {
    let headers: Vec<(&str, Option<&[u8]>)> = message.headers().map_or(Vec::new(), |headers| {
        headers.iter().map(|header| (header.key, header.value)).collect()
    });
    let record = Incoming {
        partition: Partition(message.partition()),
        offset: Offset(message.offset()),
        timestamp: message.timestamp().to_millis(),
        key: message.key(),
        value: message.payload(),
        headers: &headers,
    };
    pipeline.record(now, route, &record);
}
