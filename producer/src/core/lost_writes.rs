//! The lost writes of one partition, and which of them no caller has seen yet.

use std::collections::VecDeque;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::core::reason::Reason;
use crate::core::untold::Untold;

/// A write's place in its partition.
type Sequence = u64;

/// How a write ended that is not simply in the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Loss {
    /// It is not in the log and never will be.
    Failed(Reason),
    /// Whether it is in the log cannot be told.
    Unknown(Reason),
    /// It is in the log, but the database refused it: it is a dead letter.
    DeadLetter(Arc<str>),
}

/// The writes that were lost, as ranges of sequences; the oldest are forgotten.
#[derive(Debug)]
pub(crate) struct LostWrites {
    ranges: VecDeque<(Range<Sequence>, Loss)>,
    ranges_max: usize,
    /// All ranges that were forgotten lie in this one.
    forgotten: Range<Sequence>,
    untold: Untold,
    /// Whether any was ever lost, for those who ask without the lock that covers the rest.
    any: Arc<AtomicBool>,
}

impl LostWrites {
    pub(crate) fn new(ranges_max: usize) -> Self {
        let untold = Untold::new(ranges_max);
        let any = Arc::default();
        Self { ranges: VecDeque::new(), ranges_max, forgotten: 0..0, untold, any }
    }

    /// Says whether any write was ever lost.
    pub(crate) fn any(&self) -> Arc<AtomicBool> {
        Arc::clone(&self.any)
    }

    /// Remembers that the write was lost.
    pub(crate) fn add(&mut self, sequence: Sequence, loss: Loss) {
        self.any.store(true, Ordering::Release);
        self.untold.add(sequence);
        match self.ranges.back_mut() {
            Some((range, same)) if range.end == sequence && *same == loss => range.end += 1,
            _ => self.ranges.push_back((sequence..sequence + 1, loss)),
        }
        if self.ranges.len() > self.ranges_max
            && let Some((range, _)) = self.ranges.pop_front()
        {
            let none = self.forgotten.is_empty();
            let first = if none { range.start } else { self.forgotten.start.min(range.start) };
            self.forgotten = first..self.forgotten.end.max(range.end);
        }
    }

    /// The first loss among the writes.
    pub(crate) fn first_in(&self, sequences: &Range<Sequence>) -> Option<Loss> {
        if overlap(&self.forgotten, sequences) {
            return Some(Loss::Unknown(
                "it is no longer known: too many writes were lost since".into(),
            ));
        }
        let lost = self.ranges.iter().find(|(range, _)| overlap(range, sequences));
        lost.map(|(_, loss)| loss.clone())
    }

    /// The first loss among the writes, for a caller that is told of it now.
    pub(crate) fn tell_first_in(&mut self, sequences: &Range<Sequence>) -> Option<Loss> {
        let loss = self.first_in(sequences)?;
        self.untold.told(sequences);
        Some(loss)
    }

    /// The first loss below `end` that nobody was told of, for a caller that is told of it now.
    pub(crate) fn tell_untold_below(&mut self, end: Sequence) -> Option<Loss> {
        let first = self.untold.first_below(end)?;
        let loss = self.first_in(&(first..end));
        self.untold.told(&(0..end));
        loss
    }
}

fn overlap(one: &Range<Sequence>, other: &Range<Sequence>) -> bool {
    one.start < other.end && other.start < one.end
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_forgotten_makes_no_doubt_of_writes_that_lie_apart_from_it() {
        let mut lost = LostWrites::new(2);
        for sequence in [10, 12, 14, 16] {
            lost.add(sequence, Loss::Failed("refused".into()));
        }
        let first_in = |sequence: Sequence| lost.first_in(&(sequence..sequence + 1));
        assert_eq!([9, 13, 15, 17].map(first_in), [None, None, None, None]);
        assert!(matches!(first_in(10), Some(Loss::Unknown(_))), "it is no longer known");
        assert!(matches!(first_in(14), Some(Loss::Failed(_))));
    }
}
