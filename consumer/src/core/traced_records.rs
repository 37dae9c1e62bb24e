//! Which traced records are followed to their commit: of each partition, the first ones that are not
//! written yet. So what is remembered is bounded, also in an outage.

use std::collections::BTreeMap;

use write_behind_shared::{NextOffset, Offset};

use crate::core::batch::RoutePartition;

/// The records that are followed, each with what the caller knows of it.
#[derive(Debug)]
pub(crate) struct TracedRecords<T> {
    max: usize,
    partitions: BTreeMap<RoutePartition, BTreeMap<Offset, Traced<T>>>,
}

/// A record that is followed.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Traced<T> {
    /// What is known of it.
    pub(crate) about: T,
    /// Whether it became a dead letter.
    pub(crate) set_aside: bool,
}

impl<T> TracedRecords<T> {
    /// Follows at most `max` records of each partition at a time.
    pub(crate) fn new(max: usize) -> Self {
        Self { max, partitions: BTreeMap::new() }
    }

    /// Follows a record that was read, if there is room. A record that is read again is followed
    /// since it was read first.
    pub(crate) fn read(&mut self, tp: RoutePartition, offset: Offset, about: T) {
        let followed = self.partitions.entry(tp).or_default();
        if followed.len() < self.max {
            followed.entry(offset).or_insert(Traced { about, set_aside: false });
        }
    }

    /// The record at this offset became a dead letter.
    pub(crate) fn set_aside(&mut self, tp: RoutePartition, offset: Offset) {
        let followed = self.partitions.get_mut(&tp);
        if let Some(record) = followed.and_then(|records| records.get_mut(&offset)) {
            record.set_aside = true;
        }
    }

    /// The database has passed `end`, and this process wrote what lies from `start` on: returns the
    /// followed records of that. Those before it were written by another process.
    pub(crate) fn written(
        &mut self,
        tp: RoutePartition,
        start: NextOffset,
        end: NextOffset,
    ) -> Vec<(Offset, Traced<T>)> {
        let Some(followed) = self.partitions.get_mut(&tp) else { return Vec::new() };
        let later = followed.split_off(&Offset(end.0));
        let below = std::mem::replace(followed, later);
        below.into_iter().filter(|(offset, _)| offset.0 >= start.0).collect()
    }

    /// These partitions are another process's now.
    pub(crate) fn forget(&mut self, tps: &[RoutePartition]) {
        self.partitions.retain(|tp, _| !tps.contains(tp));
    }
}

#[cfg(test)]
mod tests {
    use write_behind_shared::Partition;

    use super::*;

    const TP: RoutePartition = RoutePartition { route: 0, partition: Partition(3) };

    fn offsets(written: &[(Offset, Traced<&str>)]) -> Vec<i64> {
        written.iter().map(|(offset, _)| offset.0).collect()
    }

    #[test]
    fn the_first_records_that_are_not_written_are_followed_and_then_the_next() {
        let mut records = TracedRecords::new(2);
        for offset in 0..5 {
            records.read(TP, Offset(offset), "");
        }
        assert_eq!(offsets(&records.written(TP, NextOffset(0), NextOffset(1))), [0]);
        records.read(TP, Offset(5), "");
        records.read(TP, Offset(6), "");
        assert_eq!(offsets(&records.written(TP, NextOffset(1), NextOffset(9))), [1, 5]);
        assert_eq!(offsets(&records.written(TP, NextOffset(9), NextOffset(99))), [0; 0]);
    }

    #[test]
    fn a_record_that_is_read_again_is_followed_since_it_was_read_first() {
        let mut records = TracedRecords::new(9);
        records.read(TP, Offset(1), "first");
        records.read(TP, Offset(1), "again");
        records.set_aside(TP, Offset(1));
        records.set_aside(TP, Offset(2));
        let written = records.written(TP, NextOffset(0), NextOffset(2));
        assert_eq!(written, [(Offset(1), Traced { about: "first", set_aside: true })]);
    }

    #[test]
    fn what_another_process_has_written_is_followed_no_more() {
        let other = RoutePartition { route: 1, ..TP };
        let mut records = TracedRecords::new(9);
        for offset in [1, 2] {
            records.read(TP, Offset(offset), "");
            records.read(other, Offset(offset), "");
        }
        assert_eq!(offsets(&records.written(TP, NextOffset(2), NextOffset(3))), [2]);
        records.forget(&[TP, other]);
        assert_eq!(offsets(&records.written(other, NextOffset(0), NextOffset(9))), [0; 0]);
    }
}
