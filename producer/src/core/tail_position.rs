//! How far the tail has come in one partition, whether it keeps up, and what to do when it does
//! not.
//!
//! Records alone don't tell: the last offsets of a log may be markers of a transaction, which no
//! reader is given. So a partition that stands still before the log's end is read again from where
//! it stands; the end of the log that is met afterwards proves that nothing lies in between.

use write_behind_shared::NextOffset;

/// How far the tail has come in one partition.
#[derive(Clone, Copy, Debug)]
pub(crate) struct TailPosition {
    /// Every record below was read.
    read: NextOffset,
    /// Where the log ended when it was last asked.
    end: NextOffset,
    /// A record came since then.
    moved: bool,
    reread: Reread,
    /// How often in a row the end that was asked for before had not been reached.
    missed: u32,
    /// It is behind when it has missed the end this often.
    missed_max: u32,
    /// How often in a row the log ended before what was read.
    shrunk: u32,
}

/// Whether the partition is being read again from where it stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Reread {
    No,
    /// Since the log ended at `end`, this many observations ago.
    Begun {
        end: NextOffset,
        observations: u32,
    },
    /// And the end was met without a record.
    EndMet {
        end: NextOffset,
    },
}

/// What follows from where the log ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    /// Nothing.
    GoOn,
    /// Every offset below the new position was read; there was no record in it.
    Passed(NextOffset),
    /// It stands still before the end: it must be read again from where it stands.
    ReadAgain,
    /// The log ends before what was read: it was cut off, or is another one.
    OtherLog,
}

/// Where the tail begins in one partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Start {
    pub(crate) at: NextOffset,
    pub(crate) reason: StartReason,
}

/// Why it begins there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum StartReason {
    /// The group's committed offset, or the beginning of a log of which nothing was committed.
    Complete,
    /// Records that the database may not have are no longer in the log.
    Trimmed,
    /// The group has committed more than the log has.
    PastTheEnd,
}

/// After this many observations without progress a partition is read again once more. Kafka may
/// take a good part of a second for each of the two answers that lead to the log's end.
const AGAIN_AFTER: u32 = 8;
/// A leader that was just elected may show a shorter log for a moment.
const SHRUNK_MAX: u32 = 4;

/// Where to begin in a log that has `low..end`, if the group has `committed` so much of it.
pub(crate) fn start(committed: Option<NextOffset>, low: NextOffset, end: NextOffset) -> Start {
    match committed {
        Some(committed) if committed > end => Start { at: end, reason: StartReason::PastTheEnd },
        Some(committed) if committed >= low => {
            Start { at: committed, reason: StartReason::Complete }
        }
        None if low == NextOffset::ZERO => Start { at: low, reason: StartReason::Complete },
        _ => Start { at: low, reason: StartReason::Trimmed },
    }
}

impl TailPosition {
    /// At `read`, in a log that ends at `end`; behind when it misses the end `missed_max` times in
    /// a row.
    pub(crate) fn new(read: NextOffset, end: NextOffset, missed_max: u32) -> Self {
        Self { read, end, moved: false, reread: Reread::No, missed: 0, missed_max, shrunk: 0 }
    }

    /// Every record below was read.
    pub(crate) fn read(&self) -> NextOffset {
        self.read
    }

    /// A record was read, or all below `next` were.
    pub(crate) fn advance(&mut self, next: NextOffset) {
        self.read = self.read.max(next);
        self.moved = true;
        self.reread = Reread::No;
    }

    /// The end of the log was met.
    pub(crate) fn meet_end(&mut self) {
        if let Reread::Begun { end, .. } = self.reread {
            self.reread = Reread::EndMet { end };
        }
    }

    /// The log ends at `end` now.
    pub(crate) fn observe_end(&mut self, end: NextOffset) -> Step {
        let (before, moved) = (self.end, std::mem::replace(&mut self.moved, false));
        self.end = end;
        self.shrunk = if end < self.read { self.shrunk + 1 } else { 0 };
        if self.shrunk >= SHRUNK_MAX {
            return Step::OtherLog;
        }
        if self.read >= before {
            self.missed = 0;
            self.reread = Reread::No;
            return Step::GoOn;
        }
        self.missed = self.missed.saturating_add(1);
        match self.reread {
            // The log still has what it had, so its end was not met too early, on a leader that
            // was behind.
            Reread::EndMet { end: met } if end >= met => {
                self.read = met;
                self.missed = 0;
                self.reread = Reread::No;
                Step::Passed(met)
            }
            Reread::Begun { end, observations } if observations < AGAIN_AFTER => {
                self.reread = Reread::Begun { end, observations: observations + 1 };
                Step::GoOn
            }
            _ if moved => Step::GoOn,
            _ => {
                self.reread = Reread::Begun { end: before, observations: 1 };
                Step::ReadAgain
            }
        }
    }

    /// Nobody could say where the log ends.
    pub(crate) fn end_unknown(&mut self) {
        self.missed = self.missed_max;
    }

    /// It goes on at `at`, in a log that ends at `end`.
    pub(crate) fn relocate(&mut self, at: NextOffset, end: NextOffset) {
        *self = Self { missed: self.missed, ..Self::new(at, end, self.missed_max) };
    }

    /// Records may be in the log for long that were not read.
    pub(crate) fn is_behind(&self) -> bool {
        self.missed >= self.missed_max || self.shrunk >= SHRUNK_MAX / 2
    }

    /// How many offsets were not read when the end was last asked for.
    pub(crate) fn lag(&self) -> u64 {
        self.read.distance_to(self.end)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::bounds::Bounds;

    const MISSED_MAX: u32 = Bounds::STANDARD.missed_ends;

    fn at(offset: i64) -> NextOffset {
        NextOffset(offset)
    }

    #[test]
    fn it_begins_where_the_group_has_committed_else_at_the_beginning() {
        let begins = |committed: Option<i64>, low, end| {
            let start = start(committed.map(NextOffset), at(low), at(end));
            (start.at.0, start.reason)
        };
        assert_eq!(begins(Some(7), 0, 9), (7, StartReason::Complete));
        assert_eq!(begins(Some(9), 0, 9), (9, StartReason::Complete));
        assert_eq!(begins(None, 0, 9), (0, StartReason::Complete));
        assert_eq!(begins(Some(3), 5, 9), (5, StartReason::Trimmed));
        assert_eq!(begins(None, 5, 9), (5, StartReason::Trimmed));
        assert_eq!(begins(Some(10), 0, 9), (9, StartReason::PastTheEnd));
    }

    #[test]
    fn one_that_reads_what_the_log_had_a_look_ago_is_not_behind() {
        let mut tail_position = TailPosition::new(at(0), at(5), MISSED_MAX);
        for end in 1..100 {
            tail_position.advance(at(end * 5));
            assert_eq!(tail_position.observe_end(at((end + 1) * 5)), Step::GoOn);
            assert!(!tail_position.is_behind());
            assert_eq!(tail_position.lag(), 5);
        }
    }

    #[test]
    fn one_that_reads_too_slowly_is_behind_until_it_has_caught_up() {
        let mut tail_position = TailPosition::new(at(0), at(100), MISSED_MAX);
        for offset in 1..=MISSED_MAX {
            assert!(!tail_position.is_behind());
            tail_position.advance(at(i64::from(offset)));
            assert_eq!(tail_position.observe_end(at(300)), Step::GoOn);
        }
        assert!(tail_position.is_behind());
        tail_position.advance(at(300));
        tail_position.observe_end(at(301));
        assert!(!tail_position.is_behind());
    }

    #[test]
    fn one_that_stands_still_is_read_again_and_behind_if_that_does_not_help() {
        let mut tail_position = TailPosition::new(at(5), at(9), MISSED_MAX);
        let steps: Vec<_> = (0..=AGAIN_AFTER).map(|_| tail_position.observe_end(at(9))).collect();
        let reread = |step: &&Step| **step == Step::ReadAgain;
        assert_eq!(steps.iter().filter(reread).count(), 2, "not so often that it never ends");
        assert_eq!((steps[0], steps.last()), (Step::ReadAgain, Some(&Step::ReadAgain)));
        assert!(tail_position.is_behind());
    }

    #[test]
    fn offsets_without_records_are_passed_once_the_end_is_met_after_reading_again() {
        let mut tail_position = TailPosition::new(at(5), at(6), MISSED_MAX);
        tail_position.meet_end();
        assert_eq!(
            tail_position.observe_end(at(6)),
            Step::ReadAgain,
            "that end may have been another"
        );
        tail_position.meet_end();
        assert_eq!(tail_position.observe_end(at(8)), Step::Passed(at(6)));
        assert_eq!((tail_position.read(), tail_position.is_behind()), (at(6), false));
    }

    #[test]
    fn an_end_that_a_leader_showed_too_early_proves_nothing() {
        let mut tail_position = TailPosition::new(at(5), at(9), MISSED_MAX);
        assert_eq!(tail_position.observe_end(at(9)), Step::ReadAgain);
        tail_position.meet_end();
        assert_eq!(
            tail_position.observe_end(at(7)),
            Step::ReadAgain,
            "the end that was met counts for less"
        );
        assert_eq!(tail_position.read(), at(5));
    }

    #[test]
    fn a_record_after_the_end_was_met_proves_that_it_was_not_the_end() {
        let mut tail_position = TailPosition::new(at(5), at(9), MISSED_MAX);
        assert_eq!(tail_position.observe_end(at(9)), Step::ReadAgain);
        tail_position.meet_end();
        tail_position.advance(at(6));
        assert_eq!(tail_position.observe_end(at(9)), Step::GoOn);
        assert_eq!(tail_position.read(), at(6));
    }

    #[test]
    fn a_log_that_stays_shorter_than_what_was_read_is_another_one() {
        let mut tail_position = TailPosition::new(at(9), at(9), MISSED_MAX);
        for _ in 1..SHRUNK_MAX {
            assert_eq!(
                tail_position.observe_end(at(2)),
                Step::GoOn,
                "a new leader may show less for a while"
            );
        }
        assert_eq!(tail_position.observe_end(at(2)), Step::OtherLog);
        assert!(tail_position.is_behind());
    }

    #[test]
    fn without_an_answer_it_is_behind_until_it_is_known_not_to_be() {
        let mut tail_position = TailPosition::new(at(9), at(9), MISSED_MAX);
        tail_position.end_unknown();
        assert!(tail_position.is_behind());
        tail_position.observe_end(at(9));
        assert!(!tail_position.is_behind());
    }
}
