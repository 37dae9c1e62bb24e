//! The watch for partitions that the client silently stopped fetching.
//!
//! A client that silently stops fetching a partition looks like one with nothing to fetch. The end
//! of a log proves nothing, because transaction markers are offsets without a record. So the
//! watchdog asks another client about a partition that stands still before its end, and only a
//! record that this client received is proof. The partition is then read again once; if it stands
//! still at the same offset again, the client is beyond repair.
//!
//! Only a partition whose records are all written can stand still in this sense. So a slow or
//! absent database, a pause or a throttle never counts.

use std::collections::BTreeMap;
use std::time::Duration;

use write_behind_shared::NextOffset;

use crate::core::batch::RoutePartition;
use crate::core::pipeline::action::PartitionProgress;

/// Watches every partition being read.
#[derive(Debug)]
pub struct Watchdog {
    patience: Duration,
    watched: BTreeMap<RoutePartition, Watched>,
}

/// A partition, and since when it has stood at this offset.
#[derive(Clone, Copy, Debug)]
struct Watched {
    next: NextOffset,
    since: Duration,
    /// Another client was asked and has not answered yet.
    asked: bool,
    /// The partition was already read again from this offset.
    read_anew: bool,
    /// There is no record below this offset.
    nothing_below: NextOffset,
}

/// What another client found from an offset on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProbeResult {
    /// A record.
    Record,
    /// No record below this offset.
    NothingBelow(NextOffset),
    /// It had no answer either.
    NoAnswer,
}

/// What to do about a partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Remedy {
    /// Read it again from the database's offset.
    ReadAnew,
    /// Exit: a new process has a new client.
    GiveUp,
}

impl Watchdog {
    /// Watches nothing yet. `patience`: how long a partition may stand still before the end of its
    /// log.
    pub fn new(patience: Duration) -> Self {
        Self { patience, watched: BTreeMap::new() }
    }

    /// Checks all partitions against the ends of their logs. Returns those to ask another client
    /// about, each with the offset to look from.
    pub fn check(
        &mut self,
        now: Duration,
        partitions: &[PartitionProgress],
        ends: &BTreeMap<RoutePartition, NextOffset>,
    ) -> Vec<(RoutePartition, NextOffset)> {
        self.watched.retain(|tp, _| partitions.iter().any(|partition| partition.tp == *tp));
        let mut suspects = Vec::new();
        for partition in partitions {
            let new = Watched {
                next: partition.next,
                since: now,
                asked: false,
                read_anew: false,
                nothing_below: partition.next,
            };
            let watched = self.watched.entry(partition.tp).or_insert(new);
            // While a partition is being located it is not read, and its offset means nothing.
            if partition.reading && watched.next != partition.next {
                *watched = new;
            }
            let end = ends.get(&partition.tp).copied().unwrap_or(NextOffset::ZERO);
            let is_behind = end > watched.nothing_below;
            if !partition.reading
                || partition.paused
                || partition.written != Some(partition.next)
                || !is_behind
            {
                watched.since = now;
            } else if !watched.asked && now.saturating_sub(watched.since) >= self.patience {
                watched.asked = true;
                suspects.push((partition.tp, partition.next));
            }
        }
        suspects
    }

    /// Handles what another client found from `next` on.
    pub fn answered(
        &mut self,
        now: Duration,
        tp: RoutePartition,
        next: NextOffset,
        found: ProbeResult,
    ) -> Option<Remedy> {
        // An answer about an offset that the partition has left, or about one given back, is
        // ignored.
        let watched = self.watched.get_mut(&tp).filter(|watched| watched.next == next)?;
        watched.asked = false;
        let stood_still = now.saturating_sub(watched.since) >= self.patience;
        watched.since = now;
        match found {
            ProbeResult::Record if !stood_still => None,
            ProbeResult::Record if watched.read_anew => Some(Remedy::GiveUp),
            ProbeResult::Record => {
                watched.read_anew = true;
                Some(Remedy::ReadAnew)
            }
            ProbeResult::NothingBelow(end) => {
                watched.nothing_below = end;
                None
            }
            ProbeResult::NoAnswer => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use write_behind_shared::Partition;

    use super::*;

    const PATIENCE: u64 = 60;
    const TP: RoutePartition = RoutePartition { route: 0, partition: Partition(3) };

    /// A partition whose records are all written.
    fn standing_at(next: i64) -> PartitionProgress {
        PartitionProgress {
            tp: TP,
            reading: true,
            leaving: false,
            paused: false,
            next: NextOffset(next),
            written: Some(NextOffset(next)),
            committed: None,
            buffer_rows: 0,
            buffer_bytes: 0,
            oldest: None,
        }
    }

    fn seconds(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    /// Checks every five seconds; returns the seconds at which it asked.
    fn check(
        dog: &mut Watchdog,
        partition: PartitionProgress,
        end: i64,
        times: std::ops::Range<u64>,
    ) -> Vec<u64> {
        let ends = BTreeMap::from([(TP, NextOffset(end))]);
        let mut suspects = |at: &u64| !dog.check(seconds(*at), &[partition], &ends).is_empty();
        times.step_by(5).filter(|at| suspects(at)).collect()
    }

    fn dog() -> Watchdog {
        Watchdog::new(seconds(PATIENCE))
    }

    #[test]
    fn a_record_that_does_not_arrive_is_read_anew_once_and_then_given_up() {
        let mut dog = dog();
        let answer =
            |dog: &mut Watchdog, at, found| dog.answered(seconds(at), TP, NextOffset(7), found);
        assert_eq!(check(&mut dog, standing_at(7), 9, 0..100), [60]);
        assert_eq!(answer(&mut dog, 100, ProbeResult::Record), Some(Remedy::ReadAnew));
        let locating = PartitionProgress { reading: false, ..standing_at(7) };
        assert!(check(&mut dog, locating, 9, 100..300).is_empty());
        assert_eq!(check(&mut dog, standing_at(7), 9, 300..400), [355]);
        assert_eq!(answer(&mut dog, 400, ProbeResult::Record), Some(Remedy::GiveUp));
    }

    #[test]
    fn one_that_moves_after_it_was_read_anew_is_trusted_again() {
        let mut dog = dog();
        check(&mut dog, standing_at(7), 9, 0..65);
        let first = dog.answered(seconds(65), TP, NextOffset(7), ProbeResult::Record);
        assert_eq!(first, Some(Remedy::ReadAnew));
        assert_eq!(check(&mut dog, standing_at(8), 9, 70..140), [130]);
        let second = dog.answered(seconds(140), TP, NextOffset(8), ProbeResult::Record);
        assert_eq!(second, Some(Remedy::ReadAnew));
    }

    #[test]
    fn offsets_without_a_record_are_asked_about_once() {
        let mut dog = dog();
        assert_eq!(check(&mut dog, standing_at(7), 9, 0..65), [60]);
        let found = ProbeResult::NothingBelow(NextOffset(9));
        assert_eq!(dog.answered(seconds(65), TP, NextOffset(7), found), None);
        assert!(check(&mut dog, standing_at(7), 9, 65..600).is_empty());
        // The log grows, but the new records do not arrive.
        assert_eq!(check(&mut dog, standing_at(7), 10, 600..700), [655]);
    }

    #[test]
    fn without_an_answer_it_is_asked_again_and_nothing_is_done() {
        let mut dog = dog();
        assert_eq!(check(&mut dog, standing_at(7), 9, 0..65), [60]);
        assert_eq!(dog.answered(seconds(65), TP, NextOffset(7), ProbeResult::NoAnswer), None);
        assert_eq!(check(&mut dog, standing_at(7), 9, 65..130), [125]);
    }

    #[test]
    fn an_answer_that_comes_after_it_moved_on_does_nothing() {
        let mut dog = dog();
        check(&mut dog, standing_at(7), 9, 0..65);
        check(&mut dog, standing_at(8), 9, 65..70);
        assert_eq!(dog.answered(seconds(70), TP, NextOffset(7), ProbeResult::Record), None);
    }

    #[test]
    fn an_answer_about_one_that_was_paused_meanwhile_does_nothing() {
        let mut dog = dog();
        assert_eq!(check(&mut dog, standing_at(7), 9, 0..65), [60]);
        let paused = PartitionProgress { paused: true, ..standing_at(7) };
        check(&mut dog, paused, 9, 65..75);
        assert_eq!(dog.answered(seconds(75), TP, NextOffset(7), ProbeResult::Record), None);
        // It was not read again, so that can still happen once it has stood still long enough.
        assert_eq!(check(&mut dog, standing_at(7), 9, 75..140), [135]);
        let second = dog.answered(seconds(140), TP, NextOffset(7), ProbeResult::Record);
        assert_eq!(second, Some(Remedy::ReadAnew));
    }

    #[test]
    fn an_answer_about_an_earlier_offset_does_nothing_however_long_it_stands_now() {
        let mut dog = dog();
        check(&mut dog, standing_at(7), 9, 0..65);
        check(&mut dog, standing_at(8), 9, 65..70);
        assert_eq!(dog.answered(seconds(200), TP, NextOffset(7), ProbeResult::Record), None);
    }

    #[test]
    fn one_that_was_read_anew_is_given_up_whatever_its_offset_was_meanwhile() {
        let mut dog = dog();
        check(&mut dog, standing_at(7), 9, 0..65);
        let first = dog.answered(seconds(65), TP, NextOffset(7), ProbeResult::Record);
        assert_eq!(first, Some(Remedy::ReadAnew));
        let locating = PartitionProgress { reading: false, ..standing_at(0) };
        check(&mut dog, locating, 9, 65..70);
        assert_eq!(check(&mut dog, standing_at(7), 9, 70..135), [125]);
        let second = dog.answered(seconds(135), TP, NextOffset(7), ProbeResult::Record);
        assert_eq!(second, Some(Remedy::GiveUp));
    }

    #[test]
    fn one_that_was_given_back_is_watched_as_new_when_it_comes_again() {
        let mut dog = dog();
        assert_eq!(check(&mut dog, standing_at(7), 9, 0..65), [60]);
        assert!(dog.check(seconds(65), &[], &BTreeMap::new()).is_empty());
        assert_eq!(check(&mut dog, standing_at(7), 9, 70..140), [130]);
    }

    #[test]
    fn who_waits_for_the_database_or_has_read_all_is_not_suspected() {
        let waiting = PartitionProgress { written: Some(NextOffset(3)), ..standing_at(7) };
        let paused = PartitionProgress { paused: true, ..standing_at(7) };
        let locating = PartitionProgress { reading: false, ..standing_at(7) };
        for partition in [waiting, paused, locating] {
            assert!(check(&mut dog(), partition, 9, 0..600).is_empty(), "{partition:?}");
        }
        assert!(check(&mut dog(), standing_at(9), 9, 0..600).is_empty());
    }

    proptest! {
        /// Whatever happens, nothing is done without the proof of a record or before the patience
        /// is over, and it gives up only on an offset that was read again.
        #[test]
        fn nothing_is_done_without_proof(
            steps in proptest::collection::vec((0_u64..40, 0_i64..3, any::<bool>(), 0_u8..4), 1..60),
        ) {
            let mut dog = dog();
            let (mut now, mut next, mut still_since) = (0, 0, 0);
            let mut read_anew = None;
            for (passed, moved, paused, found) in steps {
                now += passed;
                next += i64::from(moved == 2);
                if moved == 2 || paused {
                    still_since = now;
                }
                let partition = PartitionProgress { paused, ..standing_at(next) };
                let ends = BTreeMap::from([(TP, NextOffset(next + 5))]);
                for (tp, at) in dog.check(seconds(now), &[partition], &ends) {
                    prop_assert!(now - still_since >= PATIENCE);
                    let found = match found {
                        0 => ProbeResult::NoAnswer,
                        1 => ProbeResult::NothingBelow(NextOffset(next + 5)),
                        _ => ProbeResult::Record,
                    };
                    match dog.answered(seconds(now), tp, at, found) {
                        None => prop_assert!(found != ProbeResult::Record),
                        Some(Remedy::ReadAnew) => {
                            prop_assert!(found == ProbeResult::Record && read_anew != Some(next));
                            read_anew = Some(next);
                        }
                        Some(Remedy::GiveUp) => {
                            prop_assert!(found == ProbeResult::Record && read_anew == Some(next));
                        }
                    }
                    still_since = now;
                }
            }
        }
    }
}
