//! What is found out about an error whose code says nothing certain, and about a batch that fails
//! over and over.
//!
//! Pure. A code of a trigger or an extension may be the row's fault, the schema's or the server's.
//! The batch is tried a few times, then taken apart. A record that is refused alone while others of
//! the table are written is bad. If nothing is written, it may be the schema: the batch is held, and
//! tried again with whatever has arrived behind it.
//!
//! INV-10: a record is set aside only for its own content.

use std::time::Duration;

/// Failed tries before a batch is taken apart.
const TRIES: u32 = 3;
/// The most rows tried alone before a batch is taken apart whole: if none of them can be written,
/// the table is at fault and not thousands of rows.
pub const SAMPLE: usize = 32;
/// The most rows that other batches may speak against. Of more rows that all fail it is likelier
/// that the table is at fault.
const FEW: usize = 8;
/// How long a batch fails before it is given back, and how often at least.
const PATIENCE: Duration = Duration::from_secs(10);
const FAILURES: u32 = 2;

/// What a refusal with an uncertain code counts as.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnUncertain {
    /// The whole transaction fails.
    Fail,
    /// The batch is taken apart. A record refused alone is bad if anything else is written.
    TakeApart,
    /// The same, and something else was written already.
    SetAside,
}

/// What is known of a batch that was refused with an uncertain code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Doubt {
    /// How often it was refused so.
    pub refused: u32,
    /// Whether it was taken apart before, and nothing of it could be written.
    pub doubted: bool,
    /// Whether another batch of its table was written since the first refusal.
    pub others_written: bool,
    /// Its rows.
    pub rows: usize,
}

impl Doubt {
    /// What the next refusal counts as.
    #[must_use]
    pub fn decide(self) -> OnUncertain {
        if self.refused < TRIES && !self.doubted {
            OnUncertain::Fail
        } else if self.others_written && self.rows <= FEW {
            OnUncertain::SetAside
        } else {
            OnUncertain::TakeApart
        }
    }
}

/// Whether refusals with an uncertain code are the records' own, once the batch was taken apart.
#[must_use]
pub fn are_bad(on_uncertain: OnUncertain, something_written: bool) -> bool {
    something_written || on_uncertain == OnUncertain::SetAside
}

/// Up to [`SAMPLE`] places among `rows`, spread evenly.
pub fn sample(rows: usize) -> impl Iterator<Item = usize> {
    let count = rows.min(SAMPLE);
    (0..count).map(move |at| at * rows / count)
}

/// A batch that can't be written for now, though nothing is wrong with its records as far as is
/// known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Failing {
    /// Failed attempts.
    pub failures: u32,
    /// Since the first one.
    pub lasts: Duration,
    /// Whether the last batch of its table was given back too.
    pub given_back: bool,
    /// Whether a smaller statement may still help.
    pub shrinks: bool,
}

impl Failing {
    /// Whether to look if the batch fails alone, so that it must not hold its worker.
    #[must_use]
    pub fn is_long(self) -> bool {
        let long = self.failures >= FAILURES && self.lasts >= PATIENCE;
        !self.shrinks && (long || self.given_back)
    }
}

/// The reason shown when no row of a batch can be written and the code does not explain it.
#[must_use]
pub fn doubtful(code: &str) -> String {
    format!(
        "the database refuses every row that was tried (code {code}; its log has the message): a \
         trigger, a function or a constraint of the table is at fault, or these records are. Mend \
         the table; records at fault are set aside as soon as another one of the table can be \
         written"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_uncertain_refusal_is_tried_again_then_taken_apart_then_believed() {
        let first = Doubt { refused: 0, doubted: false, others_written: false, rows: 1 };
        for (doubt, expected) in [
            (first, OnUncertain::Fail),
            (Doubt { refused: 2, ..first }, OnUncertain::Fail),
            (Doubt { refused: 2, others_written: true, ..first }, OnUncertain::Fail),
            (Doubt { refused: 3, ..first }, OnUncertain::TakeApart),
            (Doubt { doubted: true, ..first }, OnUncertain::TakeApart),
            (Doubt { doubted: true, others_written: true, ..first }, OnUncertain::SetAside),
            (Doubt { refused: 3, others_written: true, rows: FEW, ..first }, OnUncertain::SetAside),
            (
                Doubt { refused: 3, others_written: true, rows: FEW + 1, ..first },
                OnUncertain::TakeApart,
            ),
        ] {
            assert_eq!(doubt.decide(), expected, "{doubt:?}");
        }
    }

    #[test]
    fn a_record_is_bad_only_beside_one_that_is_written() {
        for (on_uncertain, written, bad) in [
            (OnUncertain::TakeApart, false, false),
            (OnUncertain::TakeApart, true, true),
            (OnUncertain::SetAside, false, true),
            (OnUncertain::SetAside, true, true),
        ] {
            assert_eq!(are_bad(on_uncertain, written), bad, "{on_uncertain:?} {written}");
        }
    }

    #[test]
    fn a_sample_is_spread_over_all_rows() {
        assert_eq!(sample(0).count(), 0);
        assert_eq!(sample(3).collect::<Vec<_>>(), [0, 1, 2]);
        let places: Vec<_> = sample(10_000).collect();
        assert_eq!((places.len(), places[0], places[SAMPLE - 1]), (SAMPLE, 0, 9_687));
        assert!(places.is_sorted_by(|a, b| a < b));
    }

    #[test]
    fn a_batch_that_fails_for_long_is_looked_into() {
        let seconds = Duration::from_secs;
        let failing =
            Failing { failures: 2, lasts: seconds(10), given_back: false, shrinks: false };
        for (failing, long) in [
            (failing, true),
            (Failing { failures: 1, ..failing }, false),
            (Failing { failures: 99, lasts: seconds(9), ..failing }, false),
            (Failing { shrinks: true, ..failing }, false),
            (Failing { failures: 1, lasts: seconds(0), given_back: true, ..failing }, true),
        ] {
            assert_eq!(failing.is_long(), long, "{failing:?}");
        }
    }
}
