//! Lost writes that no caller has been told about, as ranges of sequences.

use std::ops::Range;

/// A write's place in its partition.
type Sequence = u64;

/// Ranges in order, apart from each other.
#[derive(Debug)]
pub(crate) struct Untold {
    ranges: Vec<Range<Sequence>>,
    /// Ranges that are kept. Beyond, the last two become one: reporting a loss twice is better
    /// than not at all.
    ranges_max: usize,
}

impl Untold {
    pub(crate) fn new(ranges_max: usize) -> Self {
        Self { ranges: Vec::new(), ranges_max }
    }

    /// The write is lost.
    pub(crate) fn add(&mut self, sequence: Sequence) {
        let place = self.ranges.partition_point(|range| range.start <= sequence);
        match place.checked_sub(1).and_then(|place| self.ranges.get_mut(place)) {
            Some(before) if sequence <= before.end => before.end = before.end.max(sequence + 1),
            _ => self.ranges.insert(place, sequence..sequence + 1),
        }
        if self.ranges.len() > self.ranges_max
            && let Some(last) = self.ranges.pop()
            && let Some(before) = self.ranges.last_mut()
        {
            before.end = before.end.max(last.end);
        }
    }

    /// The first, if it is below `end`.
    pub(crate) fn first_below(&self, end: Sequence) -> Option<Sequence> {
        self.ranges.first().map(|range| range.start).filter(|first| *first < end)
    }

    /// Somebody was told of what was lost among these.
    pub(crate) fn told(&mut self, told: &Range<Sequence>) {
        let rest = |range: &Range<Sequence>| {
            [range.start..range.end.min(told.start), range.start.max(told.end)..range.end]
        };
        self.ranges = self.ranges.iter().flat_map(rest).filter(|range| !range.is_empty()).collect();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_told_is_told_once_and_the_rest_stays() {
        let mut untold = Untold::new(10);
        for sequence in [4, 5, 6, 9, 2] {
            untold.add(sequence);
        }
        assert_eq!(untold.first_below(2), None);
        assert_eq!(untold.first_below(3), Some(2));
        untold.told(&(2..3));
        untold.told(&(5..6));
        assert_eq!(untold.ranges, [4..5, 6..7, 9..10]);
        untold.told(&(0..9));
        assert_eq!(untold.first_below(100), Some(9));
        untold.told(&(0..100));
        assert_eq!(untold.first_below(100), None);
    }

    #[test]
    fn with_too_many_ranges_none_is_left_out() {
        let mut untold = Untold::new(3);
        (0..100).rev().step_by(2).for_each(|sequence| untold.add(sequence));
        assert_eq!(untold.ranges.len(), 3);
        let has = |sequence| untold.ranges.iter().any(|range| range.contains(&sequence));
        assert!((1..100).step_by(2).all(has), "{:?}", untold.ranges);
    }
}
