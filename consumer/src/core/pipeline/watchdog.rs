//! Whether partitions are read at all: takes where each stands, where its log ends and what another
//! client found there; says which are to be asked about, read anew, or given up.
//!
//! A client that silently stops to fetch one partition looks like one that has nothing to fetch. The
//! end of a log alone proves nothing: the markers of transactions are offsets without a record. So a
//! partition that stands still before the end is asked about, and only a record that another client
//! was given is a proof. A partition is then read anew once; if it stands still again at the same
//! offset, the client is beyond help.
//!
//! Only a partition of which everything read is written can stand still in this sense, so a database
//! that is away or slow, a pause or a throttle is never taken for it.

use std::collections::BTreeMap;
use std::time::Duration;

use write_behind_shared::NextOffset;

use crate::core::batch::Place;
use crate::core::pipeline::action::PartProgress;

/// Watches every partition that is read.
#[derive(Debug)]
pub struct Watchdog {
    patience: Duration,
    watched: BTreeMap<Place, Watched>,
}

/// A partition, since it has stood where it stands.
#[derive(Clone, Copy, Debug)]
struct Watched {
    next: NextOffset,
    since: Duration,
    /// Another client is asked and has not answered.
    asked: bool,
    /// It was read anew from here already.
    read_anew: bool,
    /// There is no record below.
    nothing_below: NextOffset,
}

/// What another client found at an offset and after it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Found {
    /// A record.
    Record,
    /// No record below this offset.
    NothingBelow(NextOffset),
    /// It had no answer either.
    NoAnswer,
}

/// What is to be done about a partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Remedy {
    /// Read it anew from where the database stands.
    ReadAnew,
    /// End: a new process has a new client.
    GiveUp,
}

impl Watchdog {
    /// Watches nothing yet. `patience`: how long a partition may stand still before its log's end.
    pub fn new(patience: Duration) -> Self {
        Self { patience, watched: BTreeMap::new() }
    }

    /// Looks at all partitions and the ends of their logs. Gives those of which another client is to
    /// be asked what it finds from this offset on.
    pub fn look(
        &mut self,
        now: Duration,
        parts: &[PartProgress],
        ends: &BTreeMap<Place, NextOffset>,
    ) -> Vec<(Place, NextOffset)> {
        self.watched.retain(|place, _| parts.iter().any(|part| part.place == *place));
        let mut suspects = Vec::new();
        for part in parts {
            let new = Watched {
                next: part.next,
                since: now,
                asked: false,
                read_anew: false,
                nothing_below: part.next,
            };
            let watched = self.watched.entry(part.place).or_insert(new);
            // While it is located its offset means nothing, and it is not read.
            if part.reading && watched.next != part.next {
                *watched = new;
            }
            let end = ends.get(&part.place).copied().unwrap_or(NextOffset::ZERO);
            let is_behind = end > watched.nothing_below;
            if !part.reading || part.paused || part.written != Some(part.next) || !is_behind {
                watched.since = now;
            } else if !watched.asked && now.saturating_sub(watched.since) >= self.patience {
                watched.asked = true;
                suspects.push((part.place, part.next));
            }
        }
        suspects
    }

    /// Takes what another client found from `next` on.
    pub fn answered(
        &mut self,
        now: Duration,
        place: Place,
        next: NextOffset,
        found: Found,
    ) -> Option<Remedy> {
        // It has moved on meanwhile, or was given back.
        let watched = self.watched.get_mut(&place).filter(|watched| watched.next == next)?;
        watched.asked = false;
        let stood_still = now.saturating_sub(watched.since) >= self.patience;
        watched.since = now;
        match found {
            Found::Record if !stood_still => None,
            Found::Record if watched.read_anew => Some(Remedy::GiveUp),
            Found::Record => {
                watched.read_anew = true;
                Some(Remedy::ReadAnew)
            }
            Found::NothingBelow(end) => {
                watched.nothing_below = end;
                None
            }
            Found::NoAnswer => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use write_behind_shared::Partition;

    use super::*;

    const PATIENCE: u64 = 60;
    const PLACE: Place = Place { route: 0, partition: Partition(3) };

    /// All that was read is written.
    fn standing_at(next: i64) -> PartProgress {
        PartProgress {
            place: PLACE,
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

    /// Looks every five seconds; gives the seconds at which it asked.
    fn look(
        dog: &mut Watchdog,
        part: PartProgress,
        end: i64,
        times: std::ops::Range<u64>,
    ) -> Vec<u64> {
        let ends = BTreeMap::from([(PLACE, NextOffset(end))]);
        let mut look = |at: &u64| !dog.look(seconds(*at), &[part], &ends).is_empty();
        times.step_by(5).filter(|at| look(at)).collect()
    }

    fn dog() -> Watchdog {
        Watchdog::new(seconds(PATIENCE))
    }

    #[test]
    fn a_record_that_does_not_arrive_is_read_anew_once_and_then_given_up() {
        let mut dog = dog();
        let answer =
            |dog: &mut Watchdog, at, found| dog.answered(seconds(at), PLACE, NextOffset(7), found);
        assert_eq!(look(&mut dog, standing_at(7), 9, 0..100), [60]);
        assert_eq!(answer(&mut dog, 100, Found::Record), Some(Remedy::ReadAnew));
        let locating = PartProgress { reading: false, ..standing_at(7) };
        assert!(look(&mut dog, locating, 9, 100..300).is_empty());
        assert_eq!(look(&mut dog, standing_at(7), 9, 300..400), [355]);
        assert_eq!(answer(&mut dog, 400, Found::Record), Some(Remedy::GiveUp));
    }

    #[test]
    fn one_that_moves_after_it_was_read_anew_is_trusted_again() {
        let mut dog = dog();
        look(&mut dog, standing_at(7), 9, 0..65);
        let first = dog.answered(seconds(65), PLACE, NextOffset(7), Found::Record);
        assert_eq!(first, Some(Remedy::ReadAnew));
        assert_eq!(look(&mut dog, standing_at(8), 9, 70..140), [130]);
        let second = dog.answered(seconds(140), PLACE, NextOffset(8), Found::Record);
        assert_eq!(second, Some(Remedy::ReadAnew));
    }

    #[test]
    fn offsets_without_a_record_are_asked_about_once() {
        let mut dog = dog();
        assert_eq!(look(&mut dog, standing_at(7), 9, 0..65), [60]);
        let found = Found::NothingBelow(NextOffset(9));
        assert_eq!(dog.answered(seconds(65), PLACE, NextOffset(7), found), None);
        assert!(look(&mut dog, standing_at(7), 9, 65..600).is_empty());
        // The log grows, and what grew does not arrive.
        assert_eq!(look(&mut dog, standing_at(7), 10, 600..700), [655]);
    }

    #[test]
    fn without_an_answer_it_is_asked_again_and_nothing_is_done() {
        let mut dog = dog();
        assert_eq!(look(&mut dog, standing_at(7), 9, 0..65), [60]);
        assert_eq!(dog.answered(seconds(65), PLACE, NextOffset(7), Found::NoAnswer), None);
        assert_eq!(look(&mut dog, standing_at(7), 9, 65..130), [125]);
    }

    #[test]
    fn an_answer_that_comes_after_it_moved_on_does_nothing() {
        let mut dog = dog();
        look(&mut dog, standing_at(7), 9, 0..65);
        look(&mut dog, standing_at(8), 9, 65..70);
        assert_eq!(dog.answered(seconds(70), PLACE, NextOffset(7), Found::Record), None);
    }

    #[test]
    fn an_answer_about_one_that_was_paused_meanwhile_does_nothing() {
        let mut dog = dog();
        assert_eq!(look(&mut dog, standing_at(7), 9, 0..65), [60]);
        let paused = PartProgress { paused: true, ..standing_at(7) };
        look(&mut dog, paused, 9, 65..75);
        assert_eq!(dog.answered(seconds(75), PLACE, NextOffset(7), Found::Record), None);
        // It was not read anew, so it may be once it has stood still for long enough.
        assert_eq!(look(&mut dog, standing_at(7), 9, 75..140), [135]);
        let second = dog.answered(seconds(140), PLACE, NextOffset(7), Found::Record);
        assert_eq!(second, Some(Remedy::ReadAnew));
    }

    #[test]
    fn an_answer_about_an_earlier_offset_does_nothing_however_long_it_stands_now() {
        let mut dog = dog();
        look(&mut dog, standing_at(7), 9, 0..65);
        look(&mut dog, standing_at(8), 9, 65..70);
        assert_eq!(dog.answered(seconds(200), PLACE, NextOffset(7), Found::Record), None);
    }

    #[test]
    fn one_that_was_read_anew_is_given_up_whatever_its_offset_was_meanwhile() {
        let mut dog = dog();
        look(&mut dog, standing_at(7), 9, 0..65);
        let first = dog.answered(seconds(65), PLACE, NextOffset(7), Found::Record);
        assert_eq!(first, Some(Remedy::ReadAnew));
        let locating = PartProgress { reading: false, ..standing_at(0) };
        look(&mut dog, locating, 9, 65..70);
        assert_eq!(look(&mut dog, standing_at(7), 9, 70..135), [125]);
        let second = dog.answered(seconds(135), PLACE, NextOffset(7), Found::Record);
        assert_eq!(second, Some(Remedy::GiveUp));
    }

    #[test]
    fn one_that_was_given_back_is_watched_as_new_when_it_comes_again() {
        let mut dog = dog();
        assert_eq!(look(&mut dog, standing_at(7), 9, 0..65), [60]);
        assert!(dog.look(seconds(65), &[], &BTreeMap::new()).is_empty());
        assert_eq!(look(&mut dog, standing_at(7), 9, 70..140), [130]);
    }

    #[test]
    fn who_waits_for_the_database_or_has_read_all_is_not_suspected() {
        let waiting = PartProgress { written: Some(NextOffset(3)), ..standing_at(7) };
        let paused = PartProgress { paused: true, ..standing_at(7) };
        let locating = PartProgress { reading: false, ..standing_at(7) };
        for part in [waiting, paused, locating] {
            assert!(look(&mut dog(), part, 9, 0..600).is_empty(), "{part:?}");
        }
        assert!(look(&mut dog(), standing_at(9), 9, 0..600).is_empty());
    }

    proptest! {
        /// Whatever happens: nothing is done without a record's proof, nor before its patience is
        /// over, and it gives up only on an offset that was read anew.
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
                let part = PartProgress { paused, ..standing_at(next) };
                let ends = BTreeMap::from([(PLACE, NextOffset(next + 5))]);
                for (place, at) in dog.look(seconds(now), &[part], &ends) {
                    prop_assert!(now - still_since >= PATIENCE);
                    let found = match found {
                        0 => Found::NoAnswer,
                        1 => Found::NothingBelow(NextOffset(next + 5)),
                        _ => Found::Record,
                    };
                    match dog.answered(seconds(now), place, at, found) {
                        None => prop_assert!(found != Found::Record),
                        Some(Remedy::ReadAnew) => {
                            prop_assert!(found == Found::Record && read_anew != Some(next));
                            read_anew = Some(next);
                        }
                        Some(Remedy::GiveUp) => {
                            prop_assert!(found == Found::Record && read_anew == Some(next));
                        }
                    }
                    still_since = now;
                }
            }
        }
    }
}
