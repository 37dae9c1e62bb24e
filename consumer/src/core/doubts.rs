//! What the workers of a route know together of batches that could not be written, and whether
//! others were written since.
//!
//! Pure. A batch is known by where its partitions stand, since nothing of it was written: when its
//! records are read again, they start at the same offsets.

use std::collections::HashMap;

use write_behind_shared::{NextOffset, Partition};

use crate::core::batch::Span;
use crate::core::verdict::Doubt;

/// The doubts about the batches of one route.
#[derive(Debug, Default)]
pub struct Doubts {
    /// Batches written that wrote a row.
    written: u64,
    /// Per partition, the batch that was refused with an uncertain code.
    refused: HashMap<Partition, Refused>,
    /// Whether a batch failed for long and was given back, and none was written since.
    given_back: bool,
}

#[derive(Clone, Copy, Debug)]
struct Refused {
    start: NextOffset,
    /// How many batches had been written when it was refused first.
    written: u64,
    doubted: bool,
}

impl Doubts {
    /// A batch of these spans was refused with an uncertain code.
    pub fn refused(&mut self, spans: &[Span]) {
        for span in spans {
            let new = Refused { start: span.start, written: self.written, doubted: false };
            let known = self.refused.entry(span.partition).or_insert(new);
            if known.start != span.start {
                *known = new;
            }
        }
    }

    /// A batch was given back because it failed for long.
    pub fn gave_back(&mut self) {
        self.given_back = true;
    }

    /// A batch of these spans was given back because none of it could be written.
    pub fn doubted(&mut self, spans: &[Span]) {
        for span in spans {
            if let Some(refused) = self.refused.get_mut(&span.partition) {
                refused.doubted |= refused.start == span.start;
            }
        }
    }

    /// A batch of these spans was written, with or without a row.
    pub fn written(&mut self, spans: &[Span], a_row: bool) {
        self.given_back = false;
        self.written += u64::from(a_row);
        for span in spans {
            self.refused.remove(&span.partition);
        }
    }

    /// Whether a batch failed for long and was given back, and none was written since.
    #[must_use]
    pub fn has_given_back(&self) -> bool {
        self.given_back
    }

    /// What is known of a batch of these spans, refused this often.
    #[must_use]
    pub fn about(&self, spans: &[Span], refused: u32, rows: usize) -> Doubt {
        let (doubted, others_written) = (self.was_doubted(spans), self.others_written(spans));
        Doubt { refused, doubted, others_written, rows }
    }

    /// Whether all of these spans were in batches of which nothing could be written.
    fn was_doubted(&self, spans: &[Span]) -> bool {
        self.all(spans, |refused| refused.doubted)
    }

    /// Whether other batches were written since each of these spans was refused first.
    fn others_written(&self, spans: &[Span]) -> bool {
        self.all(spans, |refused| refused.written < self.written)
    }

    /// Whether all of these spans were refused, and it is so of each. What is found out about a
    /// batch holds for all of its rows, so a span that was never refused must not inherit it.
    fn all(&self, spans: &[Span], is_so: impl Fn(&Refused) -> bool) -> bool {
        spans.iter().all(|span| {
            let refused = self.refused.get(&span.partition);
            refused.is_some_and(|refused| refused.start == span.start && is_so(refused))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn span(partition: i32, start: i64, end: i64) -> Span {
        let partition = Partition(partition);
        Span { partition, start: NextOffset(start), end: NextOffset(end) }
    }

    #[test]
    fn a_refused_batch_is_known_again_with_more_records_behind_it() {
        let mut doubts = Doubts::default();
        doubts.refused(&[span(0, 7, 8)]);
        assert!(!doubts.was_doubted(&[span(0, 7, 8)]));
        doubts.doubted(&[span(0, 7, 8)]);
        assert!(doubts.was_doubted(&[span(0, 7, 99)]));
        assert!(!doubts.was_doubted(&[span(0, 8, 99)]), "another batch");
        assert!(!doubts.was_doubted(&[span(1, 7, 8)]), "another partition");
        doubts.written(&[span(0, 7, 99)], true);
        assert!(!doubts.was_doubted(&[span(0, 7, 99)]));
    }

    #[test]
    fn only_a_row_written_after_the_refusal_speaks_against_a_batch() {
        let mut doubts = Doubts::default();
        doubts.written(&[span(1, 0, 5)], true);
        doubts.refused(&[span(0, 7, 8)]);
        assert!(!doubts.others_written(&[span(0, 7, 8)]), "it was before");
        doubts.written(&[span(1, 5, 6)], false);
        assert!(!doubts.others_written(&[span(0, 7, 8)]), "deletes prove nothing");
        doubts.written(&[span(1, 6, 7)], true);
        doubts.refused(&[span(0, 7, 8)]);
        assert!(doubts.others_written(&[span(0, 7, 8)]), "refused again, it is the same batch");
        doubts.refused(&[span(0, 8, 9)]);
        assert!(!doubts.others_written(&[span(0, 8, 9)]), "another batch is doubted afresh");
    }

    #[test]
    fn what_is_known_of_one_partition_does_not_hold_for_another_of_the_same_batch() {
        let mut doubts = Doubts::default();
        let (old, new) = (span(0, 7, 8), span(1, 3, 4));
        doubts.refused(&[old]);
        doubts.doubted(&[old]);
        doubts.written(&[span(2, 0, 5)], true);
        assert!(doubts.was_doubted(&[old]) && doubts.others_written(&[old]));
        assert!(!doubts.was_doubted(&[old, new]) && !doubts.others_written(&[old, new]));
        doubts.refused(&[old, new]);
        assert!(!doubts.others_written(&[old, new]), "nothing was written since the later one");
        doubts.doubted(&[old, new]);
        doubts.written(&[span(2, 5, 6)], true);
        assert!(doubts.was_doubted(&[old, new]) && doubts.others_written(&[old, new]));
    }
}
