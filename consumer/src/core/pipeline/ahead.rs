//! The partitions that may still bring a missing row: those of every route, in any process.
//!
//! Pure. A row counts as missing only once the database has passed, in each of them, the end that
//! the log had when its reference was found to be missing.

use std::collections::BTreeMap;
use std::time::Duration;

use write_behind_shared::NextOffset;

use crate::core::batch::RoutePartition;

/// Where partitions stand by what Kafka and the database say, without those whose log is empty.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Survey(pub BTreeMap<RoutePartition, Surveyed>);

/// Where one partition stands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Surveyed {
    /// Where its log ends; `None`: it has no leader, or nobody answers.
    pub end: Option<NextOffset>,
    /// Everything below is in the database; `None`: nothing is, or nobody answers.
    pub written: Option<NextOffset>,
}

/// A partition that must come this far first.
#[derive(Clone, Copy, Debug)]
pub(super) struct Ahead {
    pub(super) tp: RoutePartition,
    /// The end of its log when it was first known.
    pub(super) end: Option<NextOffset>,
    written: Option<NextOffset>,
    /// Since when the database stands there.
    since: Duration,
}

impl Ahead {
    pub(super) fn new(now: Duration, tp: RoutePartition, standing: Surveyed) -> Self {
        Self { tp, end: standing.end, written: standing.written, since: now }
    }

    /// Looks again.
    pub(super) fn look(&mut self, now: Duration, survey: &Survey) {
        let Some(standing) = survey.0.get(&self.tp) else { return };
        self.end = self.end.or(standing.end);
        if standing.written > self.written {
            self.written = standing.written;
            self.since = now;
        }
    }

    /// Whether the database has come this far, by the last look.
    pub(super) fn has_passed(&self) -> bool {
        self.end.is_some_and(|end| self.written >= Some(end))
    }

    /// Whether it has not moved for so long that nobody will write it: its log may end without a
    /// record, as after a transaction marker, or its batch may itself wait for a row. One without a
    /// leader may bring anything.
    pub(super) fn is_stalled(&self, now: Duration, patience: Duration) -> bool {
        self.end.is_some() && now.saturating_sub(self.since) >= patience
    }
}

#[cfg(test)]
mod tests {
    use write_behind_shared::Partition;

    use super::*;

    #[test]
    fn a_partition_of_another_process_is_waited_for_until_it_has_passed_the_end_first_seen() {
        let tp = RoutePartition { route: 0, partition: Partition(0) };
        let standing = |end: Option<i64>, written: Option<i64>| Surveyed {
            end: end.map(NextOffset),
            written: written.map(NextOffset),
        };
        let (patience, second) = (Duration::from_mins(1), Duration::from_secs(1));
        // The first look, a later one, seconds between them; passed, stalled.
        for (first, later, after, passed, stalled) in [
            ((Some(9), Some(9)), (Some(9), Some(9)), 0, true, false),
            ((Some(9), Some(5)), (Some(9), Some(5)), 1, false, false),
            ((Some(9), Some(5)), (Some(99), Some(9)), 1, true, false),
            ((Some(9), Some(5)), (Some(99), Some(8)), 1, false, false),
            ((Some(9), None), (Some(9), None), 1, false, false),
            ((Some(9), None), (Some(9), None), 60, false, true),
            ((Some(9), Some(5)), (Some(9), Some(5)), 60, false, true),
            ((Some(9), Some(5)), (Some(9), Some(6)), 60, false, false),
            // Without a leader nobody knows what it holds, however long that lasts.
            ((None, Some(5)), (None, Some(5)), 600, false, false),
            ((None, Some(5)), (Some(7), Some(5)), 1, false, false),
            ((None, Some(5)), (Some(5), Some(5)), 1, true, false),
            // No further answers: the last known state counts.
            ((Some(9), Some(5)), (None, None), 1, false, false),
        ] {
            let mut ahead = Ahead::new(Duration::ZERO, tp, standing(first.0, first.1));
            let now = second * after;
            ahead.look(now, &Survey([(tp, standing(later.0, later.1))].into()));
            let found = (ahead.has_passed(), ahead.is_stalled(now, patience));
            assert_eq!(found, (passed, stalled), "{first:?} {later:?} {after}");
        }
    }
}
