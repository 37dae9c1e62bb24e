//! How the tail begins: finds where the sink group stands in every partition, and reads from there
//! what is in the log, before the handle is built.

use std::sync::mpsc::{Receiver, RecvTimeoutError, TryRecvError};
use std::time::{Duration, Instant};

use tracing::{error, info};
use write_behind_shared::NextOffset;

use crate::core::tail_position::{StartReason, TailPosition, start};
use crate::error::BuildError;
use crate::kafka::follow::run::{Phase, TailReader};
use crate::kafka::follow::source::TailSource;
use crate::kafka::offsets::NoAnswer;

/// Reading what was in the log when the handle was being built.
struct Backlog {
    targets: Vec<NextOffset>,
    records: u64,
    missing: u64,
    moved: Instant,
    told: Instant,
}

/// How often the log is told how far the start has come.
const PROGRESS_INTERVAL: Duration = Duration::from_secs(5);
/// How long before Kafka is asked again for what it did not answer.
const RETRY_INTERVAL: Duration = Duration::from_millis(100);

impl<S: TailSource> TailReader<'_, S> {
    /// Finds where to begin, and begins there.
    pub(super) fn begin(&mut self, stopped: &Receiver<()>) -> Result<(), BuildError> {
        let asked = Instant::now();
        while let Err(NoAnswer(reason)) = self.locate() {
            let timeout = self.follower.start_timeout;
            if asked.elapsed() >= timeout {
                return Err(BuildError::NoAnswer(reason));
            }
            if stopped.recv_timeout(RETRY_INTERVAL) != Err(RecvTimeoutError::Timeout) {
                return Err(BuildError::NoAnswer("the handle was given up".into()));
            }
        }
        Ok(())
    }

    /// Finds where to begin in each partition, and reads from there on.
    pub(crate) fn locate(&mut self) -> Result<(), NoAnswer> {
        let (source, partitions) = (self.source, &self.follower.partitions);
        let committed = source.committed()?;
        let lows = source.begins()?;
        let ends = source.ends()?;
        // Kafka may have taken a while to answer, and the ends are not older than the answer.
        self.ends_taken_at = (partitions.clock)();
        let missed_max = partitions.bounds.missed_ends;
        let places = source.partitions().zip(committed).zip(lows.into_iter().zip(ends));
        let mut tail_positions = Vec::with_capacity(self.batches.len());
        for ((partition, committed), (low, end)) in places {
            let begin = start(committed, low, end);
            match (begin.reason, committed) {
                (StartReason::Complete, Some(committed)) => {
                    partitions.committed(partition, committed);
                }
                (StartReason::Complete, None) => {}
                (StartReason::Trimmed, committed) => {
                    error!(
                        %partition, ?committed, %low,
                        "records that the sink group has not committed are no longer in the log; \
                         keep them longer than the database may be down (`retention.ms`)"
                    );
                    partitions.log_lost(partition, begin.at);
                }
                (StartReason::PastTheEnd, committed) => {
                    error!(
                        %partition, ?committed, %end,
                        "the group has committed past the end of the log: it is another log, or \
                         the offset was set by hand; what is in the log is not followed"
                    );
                    partitions.log_lost(partition, begin.at);
                }
            }
            partitions.log_read(partition, Vec::new(), begin.at);
            tail_positions.push(TailPosition::new(begin.at, end, missed_max));
        }
        self.positions = tail_positions.iter().map(TailPosition::read).collect();
        self.tail_positions = tail_positions;
        source.assign(&self.positions)
    }

    /// Reads what was in the log when it was located. Only silence ends it early.
    pub(super) fn read_backlog(&mut self, stopped: &Receiver<()>) -> Result<(), BuildError> {
        let targets = self.tail_positions.iter().map(|at| at.read().offset().0 + at.lag() as i64);
        let targets: Vec<_> = targets.map(NextOffset).collect();
        let records = self.tail_positions.iter().map(TailPosition::lag).sum();
        let start = Instant::now();
        let mut backlog = Backlog { targets, records, missing: records, moved: start, told: start };
        while backlog.missing > 0 {
            if stopped.try_recv() != Err(TryRecvError::Empty) {
                return Err(BuildError::NoAnswer("the handle was given up".into()));
            }
            self.read();
            let now = Instant::now();
            self.turn(now);
            if self.phase == Phase::Over {
                return Err(BuildError::NoAnswer("the log changed while it was read".into()));
            }
            self.note_progress(&mut backlog, now)?;
        }
        self.phase = Phase::Following;
        self.tail.set_behind(self.tail_positions.iter().map(|_| false));
        info!(
            topic = self.source.topic(),
            records,
            seconds = start.elapsed().as_secs_f64(),
            "read what was in the log"
        );
        Ok(())
    }

    fn note_progress(&self, backlog: &mut Backlog, now: Instant) -> Result<(), BuildError> {
        let missing = self.tail_positions.iter().zip(&backlog.targets);
        let missing = missing.map(|(at, target)| at.read().distance_to(*target)).sum();
        if missing < backlog.missing {
            backlog.missing = missing;
            backlog.moved = now;
        } else if now.saturating_duration_since(backlog.moved) >= self.follower.start_timeout {
            let error =
                self.last_error.as_ref().map_or(String::new(), |error| format!(": {error}"));
            let reason = format!("{missing} records of the log were not given{error}");
            return Err(BuildError::NoAnswer(reason.into()));
        }
        if now.saturating_duration_since(backlog.told) >= PROGRESS_INTERVAL {
            backlog.told = now;
            let (read, of) = (backlog.records - missing, backlog.records);
            info!(topic = self.source.topic(), read, of, "reading what was in the log");
        }
        Ok(())
    }
}
