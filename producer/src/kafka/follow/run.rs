//! The reading thread of the tail: it gives records to their partitions in log order, and says when it
//! has caught up, falls behind, or has lost its place.

use std::sync::Arc;
use std::sync::mpsc::{Receiver, TryRecvError};
use std::time::{Duration, Instant};

use rdkafka::Offset;
use rdkafka::consumer::Consumer;
use rdkafka::error::{KafkaError, KafkaResult, RDKafkaErrorCode};
use rdkafka::message::{BorrowedMessage, Headers, Message};
use tokio::sync::oneshot;
use tracing::{debug, error, info, warn};
use write_behind_shared::{NextOffset, Partition};

use crate::core::columns::Columns;
use crate::core::decode::{Decoded, Decoder};
use crate::core::tail::LogRecord;
use crate::core::tail_position::{Step, TailPosition};
use crate::error::BuildError;
use crate::kafka::follow::client::Client;
use crate::metrics::Metrics;
use crate::partitions::Partitions;

/// What the tail has to know of its handle.
pub(crate) struct Follower {
    pub(crate) partitions: Arc<Partitions>,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) columns: Columns,
    /// How long Kafka may be silent before the handle is built.
    pub(crate) start_timeout: Duration,
}

/// What the reading thread remembers from turn to turn.
pub(super) struct TailReader<'c> {
    pub(super) client: &'c Client,
    pub(super) follower: Follower,
    decoder: Decoder,
    pub(super) tail_positions: Vec<TailPosition>,
    /// By partition: the record that comes next. A partition that is read again gives some twice.
    pub(super) positions: Vec<NextOffset>,
    /// By partition: what this turn read.
    pub(super) batches: Vec<Vec<LogRecord>>,
    /// The partitions that this turn read something of.
    touched: Vec<usize>,
    pub(super) ends_taken_at: Instant,
    measured: Instant,
    lost: Option<Lost>,
    pub(super) phase: Phase,
    was_behind: bool,
    unread_told: bool,
    pub(super) last_error: Option<KafkaError>,
}

/// What Kafka's client said of some partition; it does not say of which.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Lost {
    /// Its place is not in the log.
    Place,
    /// The log was cut off behind what was read, and may have grown again since.
    Tail,
}

/// What the thread does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    /// It reads what was in the log when the handle was being built.
    Beginning,
    /// It reads what is written.
    Following,
    /// Nothing more: the log is not the one that was read.
    Over,
}

/// Whether a log is the one that was read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum LogIdentity {
    Same,
    Other,
}

/// How long a turn waits for its first record.
const IDLE_POLL: Duration = Duration::from_millis(100);
/// Records of one turn at most, so that no partition is locked for long.
const TURN_RECORDS_MAX: usize = 512;
/// And their bytes.
const TURN_BYTES_MAX: usize = 4 << 20;
/// Without a look at the log's end for so long, nobody knows whether the tail keeps up.
const ENDS_MAX_AGE: Duration = Duration::from_secs(2);
const METRICS_INTERVAL: Duration = Duration::from_millis(100);
const SEEK_TIMEOUT: Duration = Duration::from_secs(1);

impl<'c> TailReader<'c> {
    pub(super) fn new(client: &'c Client, follower: Follower, decoder: Decoder) -> Self {
        let now = Instant::now();
        Self {
            client,
            follower,
            decoder,
            tail_positions: Vec::new(),
            positions: Vec::new(),
            batches: client.partitions().map(|_| Vec::new()).collect(),
            touched: Vec::new(),
            ends_taken_at: now,
            measured: now,
            lost: None,
            phase: Phase::Beginning,
            was_behind: false,
            unread_told: false,
            last_error: None,
        }
    }

    /// Reads until it is stopped.
    pub(super) fn run(
        mut self,
        told: oneshot::Sender<Result<(), BuildError>>,
        stopped: &Receiver<()>,
    ) {
        let started = self.begin(stopped).and_then(|()| self.read_backlog(stopped));
        let goes_on = started.is_ok();
        // Nobody waits any more when the building was given up.
        let _ = told.send(started);
        while goes_on && self.phase != Phase::Over && stopped.try_recv() == Err(TryRecvError::Empty)
        {
            self.turn();
        }
    }

    /// Waits for a record, takes what has come, and looks how the tail stands.
    pub(super) fn turn(&mut self) {
        let (mut wait, mut bytes) = (IDLE_POLL, 0);
        for _ in 0..TURN_RECORDS_MAX {
            match self.client.consumer.poll(wait) {
                None => break,
                Some(Ok(message)) => {
                    bytes += message.payload_len() + message.key_len();
                    self.take(&message);
                }
                Some(Err(error)) => self.hear(error),
            }
            if bytes >= TURN_BYTES_MAX {
                break;
            }
            wait = Duration::ZERO;
        }
        self.hand_over();
        if let Some(lost) = self.lost {
            match self.relocate(lost) {
                Ok(LogIdentity::Same) => self.lost = None,
                Ok(LogIdentity::Other) => self.phase = Phase::Over,
                Err(error) => self.last_error = Some(error),
            }
        }
        self.judge();
        if self.measured.elapsed() >= METRICS_INTERVAL {
            self.measured = Instant::now();
            let lag = self.tail_positions.iter().map(TailPosition::lag).sum();
            self.follower.metrics.follow_lag(lag);
        }
    }

    fn take(&mut self, message: &BorrowedMessage<'_>) {
        let (partition, offset) =
            (Partition(message.partition()), write_behind_shared::Offset(message.offset()));
        let place = partition.0 as usize;
        let (Some(position), Some(batch)) =
            (self.positions.get_mut(place), self.batches.get_mut(place))
        else {
            return;
        };
        if position.is_past(offset) {
            return;
        }
        *position = offset.next();
        if self.touched.last() != Some(&place) && !self.touched.contains(&place) {
            self.touched.push(place);
        }
        let headers = message.headers().into_iter().flat_map(Headers::iter);
        let headers = headers.map(|header| (header.key, header.value));
        match self.decoder.decode(partition, message.key(), message.payload(), headers) {
            Ok(Decoded { key, delta, write_id }) => {
                batch.push(LogRecord { offset, key, delta, write_id });
            }
            Err(unread) => {
                if !std::mem::replace(&mut self.unread_told, true) {
                    warn!(
                        topic = self.client.topic, %partition, %offset, %unread,
                        "a record can't be followed; others are only told at debug level"
                    );
                }
                debug!(%partition, %offset, %unread, "a record can't be followed");
            }
        }
    }

    fn hear(&mut self, error: KafkaError) {
        use RDKafkaErrorCode::{AutoOffsetReset, LogTruncation, OffsetOutOfRange};
        match error {
            KafkaError::PartitionEOF(partition) => {
                let tail_position = self.tail_positions.get_mut(partition as usize);
                if let Some(tail_position) = tail_position {
                    tail_position.meet_end();
                }
                return;
            }
            KafkaError::MessageConsumption(AutoOffsetReset | OffsetOutOfRange) => {
                self.lost = self.lost.or(Some(Lost::Place));
            }
            KafkaError::MessageConsumption(LogTruncation) => self.lost = Some(Lost::Tail),
            _ => self.follower.metrics.client_error(),
        }
        // librdkafka reconnects by itself; what matters is whether the tail keeps up.
        debug!(%error, topic = self.client.topic, "the tail's client");
        self.last_error = Some(error);
    }

    fn hand_over(&mut self) {
        for place in self.touched.drain(..) {
            let (Some(position), Some(tail_position), Some(batch)) = (
                self.positions.get(place),
                self.tail_positions.get_mut(place),
                self.batches.get_mut(place),
            ) else {
                continue;
            };
            tail_position.advance(*position);
            let records = std::mem::take(batch);
            self.follower.partitions.log_read(
                Partition(place as i32),
                records,
                tail_position.read(),
            );
        }
    }

    /// Some place is not in the log any more. What retention has passed is said to be lost, and
    /// the rest is read. Where the log ends before what was read, its offsets stand for other
    /// records now, and nothing can be vouched for until a new handle begins.
    fn relocate(&mut self, lost: Lost) -> KafkaResult<LogIdentity> {
        let lows = self.client.offsets(Offset::Beginning)?;
        let ends = self.client.offsets(Offset::End)?;
        let mut log = if lost == Lost::Tail { LogIdentity::Other } else { LogIdentity::Same };
        let places = self.positions.iter_mut().zip(&mut self.tail_positions);
        for (((partition, (position, tail_position)), low), end) in
            self.client.partitions().zip(places).zip(lows).zip(ends)
        {
            let partitions = &self.follower.partitions;
            if *position > end {
                log = LogIdentity::Other;
                partitions.log_lost(partition, *position);
            } else if *position < low {
                error!(
                    topic = self.client.topic, %partition, stood_at = %position, %low,
                    "records are gone from the log that were not read; keep them longer \
                     (`retention.ms`)"
                );
                *position = low;
                tail_position.relocate(low, end);
                partitions.log_lost(partition, low);
            } else if lost == Lost::Tail {
                partitions.log_lost(partition, *position);
            }
        }
        if log == LogIdentity::Other {
            error!(
                topic = self.client.topic,
                "the log ends before what was read from it: it was cut off, or the topic was made \
                 again; it is not followed any more, restart every writer"
            );
            return Ok(log);
        }
        // Kafka's client does not say in which partition it has stopped, so all are assigned again.
        self.client.assign(&self.positions)?;
        Ok(log)
    }

    /// Compares what was read with where the log ends, and tells those who read.
    fn judge(&mut self) {
        if let Some(ends) = self.client.take_ends() {
            self.ends_taken_at = Instant::now();
            for (place, end) in ends.into_iter().enumerate() {
                self.observe_end(place, end);
            }
        } else if self.ends_taken_at.elapsed() >= ENDS_MAX_AGE {
            self.tail_positions.iter_mut().for_each(TailPosition::end_unknown);
        } else {
            return;
        }
        if self.phase != Phase::Following {
            return;
        }
        self.client.tail.set_behind(self.tail_positions.iter().map(TailPosition::is_behind));
        let behind =
            self.tail_positions.iter().filter(|tail_position| tail_position.is_behind()).count();
        if (behind > 0) != self.was_behind {
            self.was_behind = behind > 0;
            self.tell(behind);
        }
    }

    fn observe_end(&mut self, place: usize, end: NextOffset) {
        let (Some(tail_position), Some(position)) =
            (self.tail_positions.get_mut(place), self.positions.get(place))
        else {
            return;
        };
        let partition = Partition(place as i32);
        match tail_position.observe_end(end) {
            Step::GoOn => {}
            Step::Passed(next) => self.follower.partitions.log_read(partition, Vec::new(), next),
            Step::OtherLog => self.lost = self.lost.or(Some(Lost::Place)),
            Step::ReadAgain => {
                let (topic, at) = (&self.client.topic, Offset::Offset(position.0));
                let sought = self.client.consumer.seek(topic, partition.0, at, SEEK_TIMEOUT);
                if let Err(error) = sought {
                    debug!(%error, topic, %partition, "the partition can't be read again yet");
                }
            }
        }
    }

    fn tell(&self, behind: usize) {
        let topic = &self.client.topic;
        if behind == 0 {
            info!(topic, "the log is followed closely again");
            return;
        }
        let lag: u64 = self.tail_positions.iter().map(TailPosition::lag).sum();
        let error = self.last_error.as_ref().map(ToString::to_string);
        warn!(
            topic,
            partitions = behind,
            lag,
            error,
            "the log is not followed closely; reads may miss what others wrote"
        );
    }
}
