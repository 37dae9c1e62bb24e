//! The reading thread of the tail: it gives records to their partitions in log order, and says when
//! it has caught up, falls behind, or has lost its place.

use std::sync::Arc;
use std::sync::mpsc::{Receiver, TryRecvError};
use std::time::{Duration, Instant};

use tokio::sync::oneshot;
use tracing::{debug, error, info, warn};
use write_behind_shared::{NextOffset, Partition};

use crate::core::columns::Columns;
use crate::core::decode::{Decoded, Decoder};
use crate::core::tail::LogRecord;
use crate::core::tail_position::{Step, TailPosition};
use crate::error::BuildError;
use crate::kafka::follow::source::{Lost, TailEvent, TailRecord, TailSource};
use crate::kafka::offsets::NoAnswer;
use crate::metrics::Metrics;
use crate::partitions::Partitions;
use crate::partitions::tail::Tail;

/// What the tail has to know of its handle.
pub(crate) struct Follower {
    pub(crate) partitions: Arc<Partitions>,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) columns: Columns,
    /// The column that holds the rows' versions.
    pub(crate) version: Option<Arc<str>>,
    /// How long Kafka may be silent before the handle is built.
    pub(crate) start_timeout: Duration,
}

/// What the reading thread remembers from turn to turn.
pub(crate) struct TailReader<'s, S> {
    pub(super) source: &'s S,
    pub(super) tail: &'s Tail,
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
    pub(super) last_error: Option<String>,
}

/// What the thread does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Phase {
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

/// How long a read waits for its first record.
const IDLE_POLL: Duration = Duration::from_millis(100);
/// Records of one read at most, so that no partition is locked for long.
const READ_RECORDS_MAX: usize = 512;
/// And their bytes.
const READ_BYTES_MAX: usize = 4 << 20;
/// Without knowing the log's end for this long, nobody knows whether the tail keeps up.
const ENDS_MAX_AGE: Duration = Duration::from_secs(2);
const METRICS_INTERVAL: Duration = Duration::from_millis(100);

impl<'s, S: TailSource> TailReader<'s, S> {
    pub(crate) fn new(
        (source, tail): (&'s S, &'s Tail),
        follower: Follower,
        decoder: Decoder,
        now: Instant,
    ) -> Self {
        Self {
            source,
            tail,
            follower,
            decoder,
            tail_positions: Vec::new(),
            positions: Vec::new(),
            batches: source.partitions().map(|_| Vec::new()).collect(),
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
            self.read();
            self.turn(Instant::now());
        }
    }

    /// Waits for a record and takes what has come.
    pub(crate) fn read(&mut self) {
        let (source, mut wait, mut bytes) = (self.source, IDLE_POLL, 0);
        for _ in 0..READ_RECORDS_MAX {
            let came = source.poll(wait, &mut |event| bytes += self.hear(event));
            if !came || bytes >= READ_BYTES_MAX {
                break;
            }
            wait = Duration::ZERO;
        }
    }

    /// Gives what was read to its partitions, and judges how the tail stands.
    pub(crate) fn turn(&mut self, now: Instant) {
        self.hand_over();
        if let Some(lost) = self.lost {
            match self.relocate(lost) {
                Ok(LogIdentity::Same) => self.lost = None,
                Ok(LogIdentity::Other) => self.phase = Phase::Over,
                Err(NoAnswer(reason)) => self.last_error = Some(reason.to_string()),
            }
        }
        self.judge(now);
        if now.saturating_duration_since(self.measured) >= METRICS_INTERVAL {
            self.measured = now;
            let lag = self.tail_positions.iter().map(TailPosition::lag).sum();
            self.follower.metrics.follow_lag(lag);
        }
    }

    /// Takes an event: how many bytes of a record it brought.
    fn hear(&mut self, event: TailEvent<'_>) -> usize {
        let error = match event {
            TailEvent::Record(record) => return self.take(record),
            TailEvent::End(partition) => {
                if let Some(at) = self.tail_positions.get_mut(partition.0 as usize) {
                    at.meet_end();
                }
                return 0;
            }
            TailEvent::Lost(Lost::Place, error) => {
                self.lost = self.lost.or(Some(Lost::Place));
                error
            }
            TailEvent::Lost(Lost::Tail, error) => {
                self.lost = Some(Lost::Tail);
                error
            }
            TailEvent::Failed(error) => {
                self.follower.metrics.client_error();
                error
            }
        };
        // What matters is whether the tail keeps up.
        debug!(error, topic = self.source.topic(), "the tail's client");
        self.last_error = Some(error);
        0
    }

    fn take(&mut self, record: TailRecord<'_>) -> usize {
        let TailRecord { partition, offset, key, value, headers } = record;
        let bytes = key.map_or(0, <[u8]>::len) + value.map_or(0, <[u8]>::len);
        let place = partition.0 as usize;
        let (Some(position), Some(batch)) =
            (self.positions.get_mut(place), self.batches.get_mut(place))
        else {
            return bytes;
        };
        if position.is_past(offset) {
            return bytes;
        }
        *position = offset.next();
        if self.touched.last() != Some(&place) && !self.touched.contains(&place) {
            self.touched.push(place);
        }
        match self.decoder.decode(partition, key, value, headers) {
            Ok(Decoded { key, delta, write_id }) => {
                batch.push(LogRecord { offset, key, delta, write_id });
            }
            Err(unread) => {
                if !std::mem::replace(&mut self.unread_told, true) {
                    warn!(
                        topic = self.source.topic(), %partition, %offset, %unread,
                        "a record can't be followed; others are only told at debug level"
                    );
                }
                debug!(%partition, %offset, %unread, "a record can't be followed");
            }
        }
        bytes
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
    fn relocate(&mut self, lost: Lost) -> Result<LogIdentity, NoAnswer> {
        let lows = self.source.begins()?;
        let ends = self.source.ends()?;
        let mut log = if lost == Lost::Tail { LogIdentity::Other } else { LogIdentity::Same };
        let places = self.positions.iter_mut().zip(&mut self.tail_positions);
        for (((partition, (position, tail_position)), low), end) in
            self.source.partitions().zip(places).zip(lows).zip(ends)
        {
            let partitions = &self.follower.partitions;
            if *position > end {
                log = LogIdentity::Other;
                partitions.log_lost(partition, *position);
            } else if *position < low {
                error!(
                    topic = self.source.topic(), %partition, stood_at = %position, %low,
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
                topic = self.source.topic(),
                "the log ends before what was read from it: it was cut off, or the topic was made \
                 again; it is not followed any more, restart every writer"
            );
            return Ok(log);
        }
        // Kafka's client does not say in which partition it has stopped, so all are assigned again.
        self.source.assign(&self.positions)?;
        Ok(log)
    }

    /// Compares what was read with where the log ends, and tells those who read.
    fn judge(&mut self, now: Instant) {
        if let Some(ends) = self.tail.take_ends() {
            self.ends_taken_at = now;
            for (place, end) in ends.into_iter().enumerate() {
                self.observe_end(place, end);
            }
        } else if now.saturating_duration_since(self.ends_taken_at) >= ENDS_MAX_AGE {
            self.tail_positions.iter_mut().for_each(TailPosition::end_unknown);
        } else {
            return;
        }
        if self.phase != Phase::Following {
            return;
        }
        self.tail.set_behind(self.tail_positions.iter().map(TailPosition::is_behind));
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
                if let Err(error) = self.source.seek(partition, *position) {
                    let topic = self.source.topic();
                    debug!(%error, topic, %partition, "the partition can't be read again yet");
                }
            }
        }
    }

    fn tell(&self, behind: usize) {
        let topic = self.source.topic();
        if behind == 0 {
            info!(topic, "the log is followed closely again");
            return;
        }
        let lag: u64 = self.tail_positions.iter().map(TailPosition::lag).sum();
        let error = self.last_error.as_deref();
        warn!(
            topic,
            partitions = behind,
            lag,
            error,
            "the log is not followed closely; reads may miss what others wrote"
        );
    }
}
