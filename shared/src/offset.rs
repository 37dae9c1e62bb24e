//! Offsets and partitions as types, so that "this record" and "the next one" cannot be mixed up.
//!
//! Kafka's committed offset is that of the *next* record to read. Every off-by-one in a pipeline
//! confuses it with the offset of the last record read.

use std::fmt;

/// A partition's number, from 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Partition(pub i32);

/// The position of one record in its partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Offset(pub i64);

/// The first offset not processed yet: every record below it was.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NextOffset(pub i64);

impl Offset {
    /// The offset after this one. Nowhere else is one added.
    #[must_use]
    pub fn next(self) -> NextOffset {
        NextOffset(self.0 + 1)
    }
}

impl NextOffset {
    /// The start of every log.
    pub const ZERO: Self = Self(0);

    /// Whether the record at `offset` is below this, and so was processed.
    #[must_use]
    pub fn is_past(self, offset: Offset) -> bool {
        offset.0 < self.0
    }

    /// The offset of the record to process next.
    #[must_use]
    pub fn offset(self) -> Offset {
        Offset(self.0)
    }

    /// How many offsets there are from here up to `end`; 0 when `end` is below.
    #[must_use]
    pub fn distance_to(self, end: NextOffset) -> u64 {
        u64::try_from(end.0.saturating_sub(self.0)).unwrap_or(0)
    }
}

impl fmt::Display for Partition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Display for Offset {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Display for NextOffset {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_committed_offset_covers_the_records_below_it_and_not_the_one_at_it() {
        let committed = Offset(7).next();
        assert_eq!(committed, NextOffset(8));
        assert!(committed.is_past(Offset(7)));
        assert!(!committed.is_past(Offset(8)));
        assert_eq!(committed.offset(), Offset(8));
    }

    #[test]
    fn the_distance_to_an_end_that_lies_below_is_zero() {
        assert_eq!(NextOffset(3).distance_to(NextOffset(10)), 7);
        assert_eq!(NextOffset(10).distance_to(NextOffset(3)), 0);
    }
}
