//! The reading thread of the tail: takes records from Kafka, gives them to the lanes in log order,
//! partition by partition, and says when it has caught up, falls behind, or has lost its place.

use std::sync::atomic::Ordering;
use std::sync::mpsc::{Receiver, RecvTimeoutError, TryRecvError};
use std::time::{Duration, Instant};

use rdkafka::Offset;
use rdkafka::consumer::Consumer;
use rdkafka::error::{KafkaError, KafkaResult, RDKafkaErrorCode};
use rdkafka::message::{BorrowedMessage, Headers, Message};
use tokio::sync::oneshot;
use tracing::{debug, error, info, warn};
use write_behind_shared::{NextOffset, Partition};

use super::decode::{Decoded, Decoder};
use super::standing::{Standing, Step, Why, start};
use super::{Follower, Tail};
use crate::error::BuildError;
use crate::tailed::Tailed;

/// What the reading thread remembers from turn to turn.
pub(super) struct Run<'t> {
    tail: &'t Tail,
    follower: Follower,
    decoder: Decoder,
    standings: Vec<Standing>,
    /// By partition: the record that comes next. A partition that is read again gives some twice.
    positions: Vec<NextOffset>,
    /// By partition: what this turn read.
    batches: Vec<Vec<Tailed>>,
    /// The partitions that this turn read something of.
    touched: Vec<usize>,
    looked: Instant,
    measured: Instant,
    /// Kafka's client lost its place in some partition.
    lost_place: bool,
    caught_up: bool,
    was_behind: bool,
    unread_told: bool,
    last_error: Option<KafkaError>,
}

/// Reading what was in the log when the handle was being built.
struct Backlog {
    targets: Vec<NextOffset>,
    records: u64,
    missing: u64,
    moved: Instant,
    told: Instant,
}

/// How long a turn waits for its first record.
const IDLE_POLL: Duration = Duration::from_millis(100);
/// Records of one turn at most, so that no lane is locked for long.
const TURN_RECORDS_MAX: usize = 512;
/// And their bytes.
const TURN_BYTES_MAX: usize = 4 << 20;
/// Without a look at the log's end for so long, nobody knows whether the tail keeps up.
const LOOK_MAX_AGE: Duration = Duration::from_secs(2);
const METRICS_INTERVAL: Duration = Duration::from_millis(100);
/// How often the log is told how far the start has come.
const PROGRESS_INTERVAL: Duration = Duration::from_secs(5);
/// How long before Kafka is asked again for what it did not answer.
const RETRY_INTERVAL: Duration = Duration::from_millis(100);
const SEEK_TIMEOUT: Duration = Duration::from_secs(1);

impl<'t> Run<'t> {
    pub(super) fn new(tail: &'t Tail, follower: Follower, decoder: Decoder) -> Self {
        let now = Instant::now();
        Self {
            tail,
            follower,
            decoder,
            standings: Vec::new(),
            positions: Vec::new(),
            batches: tail.partitions().map(|_| Vec::new()).collect(),
            touched: Vec::new(),
            looked: now,
            measured: now,
            lost_place: false,
            caught_up: false,
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
        while goes_on && stopped.try_recv() == Err(TryRecvError::Empty) {
            self.turn();
        }
    }

    /// Finds where to begin, and begins there.
    fn begin(&mut self, stopped: &Receiver<()>) -> Result<(), BuildError> {
        let asked = Instant::now();
        while let Err(error) = self.locate() {
            let timeout = self.follower.start_timeout;
            if asked.elapsed() >= timeout {
                return Err(BuildError::NoAnswer(error.to_string()));
            }
            if stopped.recv_timeout(RETRY_INTERVAL) != Err(RecvTimeoutError::Timeout) {
                return Err(BuildError::NoAnswer("the handle was given up".to_owned()));
            }
        }
        Ok(())
    }

    fn locate(&mut self) -> KafkaResult<()> {
        let (tail, lanes) = (self.tail, &self.follower.lanes);
        let committed = tail.committed()?;
        let lows = tail.offsets(Offset::Beginning)?;
        let ends = tail.offsets(Offset::End)?;
        let places = tail.partitions().zip(committed).zip(lows.into_iter().zip(ends));
        let mut standings = Vec::with_capacity(self.batches.len());
        for ((partition, committed), (low, end)) in places {
            let begin = start(committed, low, end);
            match (begin.why, committed) {
                (Why::Complete, Some(committed)) => lanes.committed(partition, committed),
                (Why::Complete, None) => {}
                (Why::Trimmed, committed) => {
                    error!(
                        %partition, ?committed, %low,
                        "records that the sink group has not committed are no longer in the log; \
                         keep them longer than the database may be down (`retention.ms`)"
                    );
                    lanes.tail_lost(partition, begin.at);
                }
                (Why::PastTheEnd, committed) => {
                    error!(
                        %partition, ?committed, %end,
                        "the group has committed past the end of the log: it is another log, or \
                         the offset was set by hand; what is in the log is not followed"
                    );
                    lanes.tail_lost(partition, begin.at);
                }
            }
            standings.push(Standing::new(begin.at, end));
        }
        self.positions = standings.iter().map(Standing::read).collect();
        self.standings = standings;
        self.looked = Instant::now();
        tail.assign(&self.positions)
    }

    /// Reads what was in the log when it was located. Only silence ends it early.
    fn read_backlog(&mut self, stopped: &Receiver<()>) -> Result<(), BuildError> {
        let targets = self.standings.iter().map(|at| at.read().offset().0 + at.lag() as i64);
        let targets: Vec<_> = targets.map(NextOffset).collect();
        let records = self.standings.iter().map(Standing::lag).sum();
        let now = Instant::now();
        let mut backlog = Backlog { targets, records, missing: records, moved: now, told: now };
        while backlog.missing > 0 {
            if stopped.try_recv() != Err(TryRecvError::Empty) {
                return Err(BuildError::NoAnswer("the handle was given up".to_owned()));
            }
            self.turn();
            self.note_progress(&mut backlog)?;
        }
        self.caught_up = true;
        for behind in &self.tail.behind {
            behind.store(false, Ordering::Release);
        }
        info!(
            topic = self.tail.topic,
            records,
            seconds = now.elapsed().as_secs_f64(),
            "read what was in the log"
        );
        Ok(())
    }

    fn note_progress(&self, backlog: &mut Backlog) -> Result<(), BuildError> {
        let missing = self.standings.iter().zip(&backlog.targets);
        let missing = missing.map(|(at, target)| at.read().distance_to(*target)).sum();
        if missing < backlog.missing {
            backlog.missing = missing;
            backlog.moved = Instant::now();
        } else if backlog.moved.elapsed() >= self.follower.start_timeout {
            let error =
                self.last_error.as_ref().map_or(String::new(), |error| format!(": {error}"));
            let why = format!("{missing} records of the log were not given{error}");
            return Err(BuildError::NoAnswer(why));
        }
        if backlog.told.elapsed() >= PROGRESS_INTERVAL {
            backlog.told = Instant::now();
            let (read, of) = (backlog.records - missing, backlog.records);
            info!(topic = self.tail.topic, read, of, "reading what was in the log");
        }
        Ok(())
    }

    /// Waits for a record, takes what has come, and looks how the tail stands.
    fn turn(&mut self) {
        let (mut wait, mut bytes) = (IDLE_POLL, 0);
        for _ in 0..TURN_RECORDS_MAX {
            match self.tail.consumer.poll(wait) {
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
        if self.lost_place {
            match self.relocate() {
                Ok(()) => self.lost_place = false,
                Err(error) => self.last_error = Some(error),
            }
        }
        self.judge();
        if self.measured.elapsed() >= METRICS_INTERVAL {
            self.measured = Instant::now();
            let lag = self.standings.iter().map(Standing::lag).sum();
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
                batch.push(Tailed { offset, key, delta, write_id });
            }
            Err(unread) => {
                if !std::mem::replace(&mut self.unread_told, true) {
                    warn!(
                        topic = self.tail.topic, %partition, %offset, %unread,
                        "a record can't be followed; others are only told at debug level"
                    );
                }
                debug!(%partition, %offset, %unread, "a record can't be followed");
            }
        }
    }

    fn hear(&mut self, error: KafkaError) {
        use RDKafkaErrorCode::{AutoOffsetReset, OffsetOutOfRange};
        match error {
            KafkaError::PartitionEOF(partition) => {
                let standing = self.standings.get_mut(partition as usize);
                if let Some(standing) = standing {
                    standing.meet_end();
                }
                return;
            }
            KafkaError::MessageConsumption(AutoOffsetReset | OffsetOutOfRange) => {
                self.lost_place = true;
            }
            _ => self.follower.metrics.client_error(),
        }
        // librdkafka reconnects by itself; what matters is whether the tail keeps up.
        debug!(%error, topic = self.tail.topic, "the tail's client");
        self.last_error = Some(error);
    }

    fn hand_over(&mut self) {
        for place in self.touched.drain(..) {
            let (Some(position), Some(standing), Some(batch)) = (
                self.positions.get(place),
                self.standings.get_mut(place),
                self.batches.get_mut(place),
            ) else {
                continue;
            };
            standing.advance(*position);
            let records = std::mem::take(batch);
            self.follower.lanes.tailed(Partition(place as i32), records, standing.read());
        }
    }

    /// Some place is not in the log any more: retention passed the tail, or the log is another one.
    fn relocate(&mut self) -> KafkaResult<()> {
        let lows = self.tail.offsets(Offset::Beginning)?;
        let ends = self.tail.offsets(Offset::End)?;
        let places = self.positions.iter_mut().zip(&mut self.standings);
        for (((partition, (position, standing)), low), end) in
            self.tail.partitions().zip(places).zip(lows).zip(ends)
        {
            if (low..=end).contains(position) {
                continue;
            }
            error!(
                topic = self.tail.topic, %partition, stood_at = %position, %low, %end,
                "the tail's place is no longer in the log: retention passed it, or the topic was \
                 cut off or made anew; it goes on from the log's beginning"
            );
            *position = low;
            standing.relocate(low, end);
            self.follower.lanes.tail_lost(partition, low);
        }
        // Kafka's client does not say in which partition it has stopped, so all are read on anew.
        self.tail.assign(&self.positions)
    }

    /// Compares what was read with where the log ends, and tells whoever reads.
    fn judge(&mut self) {
        if let Some(ends) = self.tail.take_look() {
            self.looked = Instant::now();
            for (place, end) in ends.into_iter().enumerate() {
                self.look(place, end);
            }
        } else if self.looked.elapsed() >= LOOK_MAX_AGE {
            self.standings.iter_mut().for_each(Standing::look_in_vain);
        } else {
            return;
        }
        if !self.caught_up {
            return;
        }
        for (standing, flag) in self.standings.iter().zip(&self.tail.behind) {
            flag.store(standing.is_behind(), Ordering::Release);
        }
        let behind = self.standings.iter().filter(|standing| standing.is_behind()).count();
        if (behind > 0) != self.was_behind {
            self.was_behind = behind > 0;
            self.tell(behind);
        }
    }

    fn look(&mut self, place: usize, end: NextOffset) {
        let (Some(standing), Some(position)) =
            (self.standings.get_mut(place), self.positions.get(place))
        else {
            return;
        };
        let partition = Partition(place as i32);
        match standing.look(end) {
            Step::GoOn => {}
            Step::Passed(next) => self.follower.lanes.tailed(partition, Vec::new(), next),
            Step::Relocate => self.lost_place = true,
            Step::ReadAgain => {
                let (topic, at) = (&self.tail.topic, Offset::Offset(position.0));
                let sought = self.tail.consumer.seek(topic, partition.0, at, SEEK_TIMEOUT);
                if let Err(error) = sought {
                    debug!(%error, topic, %partition, "the partition can't be read again yet");
                }
            }
        }
    }

    fn tell(&self, behind: usize) {
        let topic = &self.tail.topic;
        if behind == 0 {
            info!(topic, "the log is followed closely again");
            return;
        }
        let lag: u64 = self.standings.iter().map(Standing::lag).sum();
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
