//! The offsets of a partition that its client skipped, until a second client has checked them.
//!
//! A log has offsets without a record: markers of transactions, aborted records, and records that a
//! compaction removed. A client that loses a record looks the same from here. So a buffer with such
//! a skip does not leave before another client, which asks the partition's leader, has read the same
//! span and found no more records in it than were folded. Nothing else is proof: an answer that did
//! not come, or a log that is too short, only means that the span is looked at again.
//!
//! Skips near each other are looked at together. The span from the first of them to the record
//! behind the last stands for all, with the number of records that were folded of it, so a topic
//! that is full of markers costs no memory here.

use std::time::Duration;

use write_behind_shared::{NextOffset, Offset};

/// How long a span is left alone after a look that proved nothing.
const LOOK_AGAIN: Duration = Duration::from_secs(1);

/// The number of a look, so that the answer to an earlier one is ignored.
pub type LookId = u64;

/// A span that another client is to read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SkipLook {
    /// The first offset that was passed over.
    pub start: NextOffset,
    /// The offset behind the record that ended the last skip.
    pub end: NextOffset,
    /// How many records of the span were folded.
    pub folded: u64,
}

/// What the leader and another client say of a span.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SkipFacts {
    /// The first offset that the leader's log has.
    pub low: NextOffset,
    /// How many records the other client read, to the span's end.
    pub records: u64,
    /// Whether the topic is compacted.
    pub is_compacted: bool,
}

/// What became of the offsets without a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SkipVerdict {
    /// Nothing was passed over: markers of transactions, or aborted records.
    Nothing,
    /// Nothing that is still there was passed over; a compaction may have removed this many records.
    Compacted(u64),
    /// The log no longer begins before them, so nobody knows what they were.
    Removed,
    /// There are records that were not delivered.
    PassedOver,
}

impl SkipLook {
    /// Judges the span by what was found.
    pub fn judge(&self, facts: &SkipFacts) -> SkipVerdict {
        let offsets = self.start.distance_to(self.end);
        if facts.records > self.folded {
            SkipVerdict::PassedOver
        } else if facts.low > self.start {
            SkipVerdict::Removed
        } else if facts.is_compacted {
            SkipVerdict::Compacted(offsets.saturating_sub(self.folded))
        } else {
            SkipVerdict::Nothing
        }
    }
}

/// The skips of one partition's open buffer.
#[derive(Debug, Default)]
pub(super) struct Skips {
    /// What no look has proved yet.
    unproven: Option<SkipLook>,
    /// Records folded since `unproven.start`, those behind its end included.
    folded: u64,
    asked: Option<(LookId, SkipLook)>,
    not_before: Duration,
    /// Where records were passed over. Once it is read again, it happens there no more.
    passed_over_at: Option<NextOffset>,
}

impl Skips {
    /// A record at `offset` is folded, where `next` was expected. Returns whether offsets between
    /// them were skipped.
    pub(super) fn folded(&mut self, next: NextOffset, offset: Offset) -> bool {
        let is_skip = offset != next.offset();
        if self.unproven.is_none() && !is_skip {
            return false;
        }
        self.folded += 1;
        if is_skip {
            let start = self.unproven.map_or(next, |unproven| unproven.start);
            self.unproven = Some(SkipLook { start, end: offset.next(), folded: self.folded });
        }
        is_skip
    }

    /// Whether nothing is unproven, so that the buffer may leave.
    pub(super) fn are_proved(&self) -> bool {
        self.unproven.is_none()
    }

    /// The next look, which gets this number; `None`: one is under way, or none is due.
    pub(super) fn next_look(&mut self, now: Duration, id: LookId) -> Option<SkipLook> {
        let look = self.unproven.filter(|_| self.asked.is_none() && now >= self.not_before)?;
        self.asked = Some((id, look));
        Some(look)
    }

    /// The look that this answers, if it is still of interest.
    pub(super) fn answered(&mut self, id: LookId) -> Option<SkipLook> {
        self.asked.take_if(|(asked, _)| *asked == id).map(|(_, look)| look)
    }

    /// No record of the look's span was passed over.
    pub(super) fn proved(&mut self, look: &SkipLook) {
        self.folded -= look.folded;
        self.unproven = self.unproven.filter(|unproven| unproven.end > look.end).map(|later| {
            SkipLook { start: look.end, end: later.end, folded: later.folded - look.folded }
        });
        if self.unproven.is_none() {
            self.folded = 0;
        }
    }

    /// Records of the span were passed over. Returns whether that happens here again.
    pub(super) fn passed_over(&mut self, look: &SkipLook) -> bool {
        self.passed_over_at.replace(look.start) == Some(look.start)
    }

    /// A look proved nothing: another one comes later.
    pub(super) fn look_later(&mut self, now: Duration) {
        self.not_before = now + LOOK_AGAIN;
    }

    /// The buffer is dropped, and its records will be read again.
    pub(super) fn dropped(&mut self) {
        (self.unproven, self.folded, self.asked) = (None, 0, None);
    }
}

#[cfg(test)]
#[path = "tests/skips.rs"]
mod tests;
