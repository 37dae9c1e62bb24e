//! The offsets that Kafka does not know yet, and the one commit under way.
//!
//! Kafka's offset is advisory; the database's counts. So a failed commit is never an error: it is
//! retried with growing waits until Kafka knows what the database says. One commit is under way at
//! a time.

use std::collections::BTreeMap;
use std::time::Duration;

use write_behind_shared::NextOffset;

use crate::core::batch::{RoutePartition, Written};
use crate::core::pipeline::bounds::{Bounds, Waits};

/// The number of a commit: a late answer to an earlier commit does not count for the current one.
pub type CommitId = u64;

/// Per partition, the database's next offset and what Kafka knows of it.
#[derive(Debug)]
pub struct Commits {
    waits: Waits,
    /// A commit without an answer counts as failed after this time.
    answer_within: Duration,
    partitions: BTreeMap<RoutePartition, PartitionCommit>,
    under_way: Option<UnderWay>,
    last_id: CommitId,
    /// The wait after the last failure; zero when the last commit succeeded.
    backoff: Duration,
    not_before: Duration,
}

#[derive(Debug)]
struct PartitionCommit {
    wanted: NextOffset,
    known: Option<NextOffset>,
}

#[derive(Debug)]
struct UnderWay {
    id: CommitId,
    offsets: Vec<(RoutePartition, NextOffset)>,
    since: Duration,
}

impl Commits {
    /// No partition, and no commit under way.
    pub fn new(bounds: &Bounds) -> Self {
        Self {
            waits: bounds.commit,
            answer_within: bounds.commit_answer,
            partitions: BTreeMap::new(),
            under_way: None,
            last_id: 0,
            backoff: Duration::ZERO,
            not_before: Duration::ZERO,
        }
    }

    /// Starts a partition: the database is at `next`, Kafka at `committed`.
    pub fn located(&mut self, tp: RoutePartition, committed: Option<NextOffset>, next: NextOffset) {
        self.partitions.insert(tp, PartitionCommit { wanted: next, known: committed });
    }

    /// The database has committed a batch.
    pub fn written(&mut self, tp: RoutePartition, written: &Written) {
        if let (Some(partition), Some(end)) =
            (self.partitions.get_mut(&tp), written.end_of(tp.partition))
        {
            // Only a `Written` moves the frontier: otherwise a crash could leave Kafka's offset
            // past the database's.
            partition.wanted = end;
        }
    }

    /// Another consumer owns the partition now.
    pub fn forget(&mut self, tp: RoutePartition) {
        self.partitions.remove(&tp);
    }

    /// The commit to make now, if any.
    pub fn next(&mut self, now: Duration) -> Option<(CommitId, Vec<(RoutePartition, NextOffset)>)> {
        if let Some(commit) = &self.under_way
            && now >= commit.since + self.answer_within
        {
            self.answered(now, commit.id, false);
        }
        // One at a time: of two commits under way, the earlier one might take effect last and move
        // Kafka's offset back.
        if self.under_way.is_some() || now < self.not_before {
            return None;
        }
        let open = |(tp, partition): (&RoutePartition, &PartitionCommit)| {
            (partition.known != Some(partition.wanted)).then_some((*tp, partition.wanted))
        };
        let offsets: Vec<_> = self.partitions.iter().filter_map(open).collect();
        if offsets.is_empty() {
            return None;
        }
        self.last_id += 1;
        let id = self.last_id;
        self.under_way = Some(UnderWay { id, offsets: offsets.clone(), since: now });
        Some((id, offsets))
    }

    /// Kafka answered commit `id`. An answer that came too late is ignored.
    pub fn answered(&mut self, now: Duration, id: CommitId, succeeded: bool) {
        let Some(commit) = self.under_way.take_if(|commit| commit.id == id) else { return };
        if succeeded {
            self.backoff = Duration::ZERO;
            for (tp, next) in commit.offsets {
                if let Some(partition) = self.partitions.get_mut(&tp) {
                    // What was sent, not what is wanted now: batches may have been written in the
                    // meantime.
                    partition.known = Some(next);
                }
            }
        } else {
            self.backoff = self.waits.after(self.backoff);
            self.not_before = now + self.backoff;
        }
    }

    /// Whether Kafka knows what the database says of a partition.
    pub fn is_known(&self, tp: RoutePartition) -> bool {
        self.partitions.get(&tp).is_none_or(|partition| partition.known == Some(partition.wanted))
    }

    /// What Kafka knows of a partition.
    pub fn known(&self, tp: RoutePartition) -> Option<NextOffset> {
        self.partitions.get(&tp)?.known
    }

    /// Whether the last commit failed and the next one is not made yet.
    pub fn is_failing(&self) -> bool {
        self.under_way.is_none() && self.backoff > Duration::ZERO
    }
}

#[cfg(test)]
mod tests {
    use write_behind_shared::Partition;

    use super::*;
    use crate::core::batch::Span;

    const TP: RoutePartition = RoutePartition { route: 0, partition: Partition(0) };
    const BOUNDS: Bounds = Bounds::STANDARD;

    fn written(end: i64) -> Written {
        let (start, end) = (NextOffset(0), NextOffset(end));
        Written::new(vec![Span { partition: Partition(0), start, end }])
    }

    fn at(millis: u64) -> Duration {
        Duration::from_millis(millis)
    }

    #[test]
    fn kafka_is_caught_up_with_a_database_that_is_ahead_and_left_alone_when_it_is_not() {
        let mut commits = Commits::new(&BOUNDS);
        commits.located(TP, Some(NextOffset(3)), NextOffset(9));
        assert_eq!(commits.next(at(0)), Some((1, vec![(TP, NextOffset(9))])));
        commits.answered(at(1), 1, true);
        assert_eq!(commits.next(at(1)), None);
    }

    #[test]
    fn one_commit_is_under_way_at_a_time() {
        let mut commits = Commits::new(&BOUNDS);
        commits.located(TP, None, NextOffset(0));
        assert!(commits.next(at(0)).is_some());
        commits.written(TP, &written(5));
        assert_eq!(commits.next(at(0)), None);
        commits.answered(at(0), 1, true);
        assert_eq!(commits.next(at(0)), Some((2, vec![(TP, NextOffset(5))])));
    }

    #[test]
    fn a_failed_commit_is_tried_again_later_and_later() {
        let mut commits = Commits::new(&BOUNDS);
        commits.located(TP, None, NextOffset(1));
        let (mut now, mut waits) = (at(0), Vec::new());
        for _ in 0..10 {
            let before = now;
            let id = loop {
                match commits.next(now) {
                    Some((id, _)) => break id,
                    None => now += at(50),
                }
            };
            waits.push(now.saturating_sub(before));
            commits.answered(now, id, false);
        }
        assert!(waits.is_sorted(), "{waits:?}");
        assert_eq!((waits[1], waits[9]), (BOUNDS.commit.first, BOUNDS.commit.longest));
    }

    #[test]
    fn a_commit_that_succeeds_ends_the_failing() {
        let mut commits = Commits::new(&BOUNDS);
        commits.located(TP, None, NextOffset(1));
        let (failed, _) = commits.next(at(0)).unwrap();
        assert!(!commits.is_failing(), "nobody has answered yet");
        commits.answered(at(0), failed, false);
        assert!(commits.is_failing());
        let (succeeded, _) = commits.next(BOUNDS.commit.first).unwrap();
        commits.answered(BOUNDS.commit.first, succeeded, true);
        assert!(!commits.is_failing());
    }

    #[test]
    fn a_commit_never_answered_is_tried_again() {
        let mut commits = Commits::new(&BOUNDS);
        commits.located(TP, None, NextOffset(1));
        assert!(commits.next(at(0)).is_some());
        assert_eq!(commits.next(BOUNDS.commit_answer), None);
        assert!(commits.next(BOUNDS.commit_answer + BOUNDS.commit.first).is_some());
    }

    #[test]
    fn an_answer_that_comes_after_its_time_is_not_taken_for_the_next_one_s() {
        let mut commits = Commits::new(&BOUNDS);
        commits.located(TP, None, NextOffset(1));
        let (late, _) = commits.next(at(0)).unwrap();
        assert_eq!(commits.next(BOUNDS.commit_answer), None, "it counts as failed");
        commits.written(TP, &written(5));
        let (present, offsets) = commits.next(BOUNDS.commit_answer + BOUNDS.commit.first).unwrap();
        assert_eq!(offsets, [(TP, NextOffset(5))]);
        commits.answered(BOUNDS.commit_answer + BOUNDS.commit.first, late, true);
        assert!(!commits.is_known(TP), "nobody has answered for offset 5");
        commits.answered(BOUNDS.commit_answer + BOUNDS.commit.first, present, true);
        assert!(commits.is_known(TP));
    }
}
