//! The progress of reading offset ranges of a log to their ends.
//!
//! An end-of-log event does not finish a span: a lagging follower or a newly elected leader reports
//! the end of its own copy, and records may lie behind it. A span is finished once an offset at or
//! past its end is reached, by a record or by the client's position, which also moves past
//! transaction markers. An event short of the end only makes the reader ask the partition's leader
//! whether it still has the records and whether its log is long enough.
//!
//! A span whose last offsets were compacted away would not finish before the next record. No such
//! span exists: Kafka never compacts the active segment, and `run` refuses compacted topics.

use std::fmt;
use std::time::Duration;

use write_behind_shared::{NextOffset, Offset, Partition};

use crate::core::batch::Span;

/// A read of each record of some spans, one span per partition.
#[derive(Clone, Debug)]
pub struct SpanRead {
    /// What is left of each span.
    unread: Vec<Span>,
    /// Time spent waiting for Kafka since the read last advanced; for a best effort, in total.
    silent: Duration,
    patience: Duration,
    /// The partition whose leader must report where its log starts and ends.
    ask: Option<Partition>,
    failed: Option<ReadFailure>,
    /// Whether a failed span leaves the others to be read, within one patience for the whole read.
    is_best_effort: bool,
    /// The partitions whose spans a best effort gave up.
    given_up: Vec<Partition>,
    /// The partitions whose spans were finished or given up since this was last asked.
    ended: Vec<Partition>,
}

/// What the read needs next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ReadStep {
    /// The next record or event.
    Poll,
    /// Where the partition's log starts and ends, according to its leader.
    AskEnds(Partition),
    /// Nothing: every record of every span has been read.
    Finished,
    /// Nothing: the spans can't be read to their ends.
    Failed(ReadFailure),
}

/// Why spans can't be read to their ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReadFailure {
    /// No record came within this time. Another read may succeed.
    Silence(Duration),
    /// The leader's log ends before the span does. Another read may succeed: a newly elected leader
    /// may not show its whole log yet.
    Short {
        /// The partition.
        partition: Partition,
        /// Where the leader's log ends.
        high: NextOffset,
        /// Where the span ends.
        end: NextOffset,
    },
    /// The log no longer has the next record.
    Gone,
}

impl fmt::Display for ReadFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ReadFailure::Silence(time) => write!(f, "no record within {time:?}"),
            ReadFailure::Short { partition, high, end } => {
                write!(f, "partition {partition} ends at {high}, before {end}")
            }
            ReadFailure::Gone => f.write_str("its records are gone: retention has passed them"),
        }
    }
}

impl SpanRead {
    /// Starts a read of `spans`. It fails if nothing comes for longer than `patience`.
    pub fn new(spans: &[Span], patience: Duration) -> Self {
        Self {
            unread: spans.iter().copied().filter(|span| span.start < span.end).collect(),
            silent: Duration::ZERO,
            patience,
            ask: None,
            failed: None,
            is_best_effort: false,
            given_up: Vec::new(),
            ended: Vec::new(),
        }
    }

    /// Starts a best effort: it reads what it can of `spans` within `limit`, which bounds the whole
    /// read. A span that fails does not stop the others.
    pub fn best_effort(spans: &[Span], limit: Duration) -> Self {
        Self { is_best_effort: true, ..Self::new(spans, limit) }
    }

    /// The partitions whose spans were not read to their ends.
    pub fn unfinished(&self) -> Vec<Partition> {
        let unread = self.unread.iter().map(|span| span.partition);
        self.given_up.iter().copied().chain(unread).collect()
    }

    /// The partitions of which nothing more is wanted, each once. A client that goes on fetching them
    /// keeps the others waiting: an answer has room for one large batch, and theirs comes first.
    pub fn take_ended(&mut self) -> Vec<Partition> {
        std::mem::take(&mut self.ended)
    }

    /// How long to wait for an answer from a leader.
    pub fn answer_within(&self) -> Duration {
        let spent = if self.is_best_effort { self.silent } else { Duration::ZERO };
        self.patience.saturating_sub(spent)
    }

    /// What is left of each span.
    pub fn unread(&self) -> &[Span] {
        &self.unread
    }

    /// What to do next.
    pub fn step(&self) -> ReadStep {
        match (self.failed, self.ask) {
            _ if self.unread.is_empty() => ReadStep::Finished,
            (Some(failure), _) => ReadStep::Failed(failure),
            _ if self.silent > self.patience => {
                ReadStep::Failed(ReadFailure::Silence(self.patience))
            }
            (None, Some(partition)) => ReadStep::AskEnds(partition),
            (None, None) => ReadStep::Poll,
        }
    }

    /// Takes a record. If it lies in a span, returns how many offsets the read advanced by.
    pub fn record(&mut self, partition: Partition, offset: Offset) -> Option<u64> {
        let span = self.unread.iter_mut().find(|span| span.partition == partition)?;
        let (before, end) = (span.start, span.end);
        // Below the start, the client repeats itself; past the end, it has fetched ahead.
        let is_in_span = !before.is_past(offset) && end.is_past(offset);
        let advanced = before.distance_to(offset.next().min(end));
        self.reached(partition, offset.next());
        is_in_span.then_some(advanced)
    }

    /// The client reached the end of one replica's log, at `position` if it has one.
    pub fn end_of_log(&mut self, partition: Partition, position: Option<NextOffset>) {
        self.reached(partition, position.unwrap_or(NextOffset::ZERO));
        let is_unread = self.unread.iter().any(|span| span.partition == partition);
        self.ask = is_unread.then_some(partition);
    }

    /// The leader of the partition in question has the records from `low` up to `high`.
    pub fn ends(&mut self, low: NextOffset, high: NextOffset) {
        let asked = self.ask.take();
        let asked = self.unread.iter().find(|span| Some(span.partition) == asked);
        let Some(&Span { partition, start, end }) = asked else { return };
        let failure = if low > start {
            ReadFailure::Gone
        } else if high < end {
            ReadFailure::Short { partition, high, end }
        } else {
            // The leader has the whole span, so the replica lags: the rest will come.
            return;
        };
        if self.is_best_effort {
            self.give_up(partition);
        } else {
            self.failed = Some(failure);
        }
    }

    /// The leader did not answer. Returns whether the read continues without its span.
    pub fn no_answer(&mut self) -> bool {
        let asked = self.ask.take().filter(|_| self.is_best_effort);
        if let Some(partition) = asked {
            self.give_up(partition);
        }
        asked.is_some()
    }

    /// The client asked for an offset that the log does not have. It does not name the partition,
    /// so a best effort reads on until its time is up.
    pub fn out_of_range(&mut self) {
        if !self.is_best_effort {
            self.failed = Some(ReadFailure::Gone);
        }
    }

    /// Counts the time spent on a question to a leader, answered or not, in a best effort only.
    pub fn asked_for(&mut self, time: Duration) {
        if self.is_best_effort {
            self.silent += time;
        }
    }

    fn give_up(&mut self, partition: Partition) {
        self.unread.retain(|span| span.partition != partition);
        self.given_up.push(partition);
        self.ended.push(partition);
    }

    /// Counts the time spent waiting for the client. Call it after each poll, whatever came:
    /// otherwise records of a finished partition would hide that another partition is silent.
    pub fn waited(&mut self, time: Duration) {
        self.silent += time;
    }

    fn reached(&mut self, partition: Partition, next: NextOffset) {
        for span in self.unread.iter_mut().filter(|span| span.partition == partition) {
            if next > span.start {
                span.start = next;
                if !self.is_best_effort {
                    self.silent = Duration::ZERO;
                }
            }
        }
        let unread = self.unread.len();
        self.unread.retain(|span| span.start < span.end);
        if self.unread.len() < unread {
            self.ended.push(partition);
        }
    }
}

#[cfg(test)]
#[path = "tests/span_read.rs"]
mod tests;
