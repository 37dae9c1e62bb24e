//! Increments judged by their column, and the text in which the database takes their sum.
//!
//! A delta is judged as it was sent, not as it was folded: a batch sums what another cut of the log
//! would have judged alone.
//!
//! INV-16: what becomes of a delta does not depend on the others of its batch.

use write_behind_shared::{Increments, Number};

use crate::core::table::column::{Unfit, finite, is_not, kept, not_between, significant, unfit};
use crate::core::table::{Column, ColumnKind, Float};

/// The text of the sum of `increments` for `column`.
///
/// # Errors
/// The sum does not fit the column, or one of the increments does not.
pub(crate) fn sum_text(column: &Column, increments: &Increments) -> Result<String, Unfit> {
    increments.hardest().try_for_each(|delta| judge_delta(column, delta))?;
    delta_text(column, increments.total())
}

/// The text of an increment for `column`.
///
/// # Errors
/// The increment does not fit the column.
pub(crate) fn delta_text(column: &Column, delta: &Number) -> Result<String, Unfit> {
    judge_delta(column, delta)?;
    Ok(delta.to_string())
}

/// Judges an increment as it was sent: whether its column could hold it.
fn judge_delta(column: &Column, delta: &Number) -> Result<(), Unfit> {
    let text = || delta.to_string();
    match &column.kind {
        ColumnKind::Integer(range) => match delta.as_i64() {
            // A decrement of an unsigned column is a negative delta.
            Some(delta) if (-range.end()..=*range.end()).contains(&delta) => Ok(()),
            Some(delta) if range.contains(&delta) => Ok(()),
            Some(_) => Err(not_between(&text(), range)),
            None => Err(is_not(&text(), "an integer in the column's range")),
        },
        ColumnKind::Numeric(scale) => {
            // Rounding each delta and rounding their sum give different results, and which one it
            // is would depend on where a batch ends.
            kept(&text(), *scale)?;
            match column.whole_digits {
                Some(most) if delta.whole_digits() > most => {
                    Err(unfit(&text(), "has more digits before the point than the column"))
                }
                _ => Ok(()),
            }
        }
        ColumnKind::Significant(most) => significant(&text(), *most).map(|_| ()),
        ColumnKind::Float(float @ Float { scale, .. }) => {
            finite(kept(&text(), *scale)?, *float).map(|_| ())
        }
        _ => Err(unfit(&text(), "is added to a column that is not numeric")),
    }
}

#[cfg(test)]
mod tests {
    use write_behind_shared::Change;
    use write_behind_shared::change::Cell;

    use super::*;

    fn column(kind: ColumnKind) -> Column {
        Column::plain("n", kind)
    }

    /// `numeric(6, 2)`.
    fn cents() -> Column {
        Column { whole_digits: Some(4), ..column(ColumnKind::Numeric(Some(2))) }
    }

    /// Whether the sum of `deltas` fits, each of them folded as a record.
    fn fits(column: &Column, deltas: &[&str]) -> bool {
        let add = |change: Change, delta: &&str| change.add("n", delta.parse::<Number>().unwrap());
        let change = deltas.iter().fold(Change::new(), add);
        let Some((_, Cell::Add(increments))) = change.cells().next() else { panic!("it is added") };
        sum_text(column, increments).is_ok()
    }

    #[test]
    fn a_delta_is_judged_as_it_was_sent_and_not_as_it_was_summed() {
        let small = || column(ColumnKind::Integer(-32_768..=32_767));
        let large = || column(ColumnKind::Integer(i64::MIN..=i64::MAX));
        let fifteen = || column(ColumnKind::Significant(15));
        let double = || column(ColumnKind::Float(Float::DOUBLE));
        let single = || column(ColumnKind::Float(Float { single: true, scale: None }));
        let hundreds = || column(ColumnKind::Numeric(Some(-2)));
        for (column, bad) in [
            (cents(), ["0.005", "0.005"]),
            (cents(), ["-0.001", "0.001"]),
            (cents(), ["10000", "-1"]),
            (cents(), ["-10000.00", "10000.00"]),
            (small(), ["40000", "-40000"]),
            (small(), ["-1", "32769"]),
            (small(), ["0.5", "0.5"]),
            (small(), ["1e2", "-1"]),
            (large(), ["9223372036854775808", "-1"]),
            (fifteen(), ["0.1234567890123456", "-0.1234567890123456"]),
            (fifteen(), ["9223372036854775808", "-9000000000000000000"]),
            (double(), ["1e400", "-1e400"]),
            (double(), ["1e-400", "0.25"]),
            (single(), ["1e39", "-1e39"]),
            (single(), ["1e-46", "7.00000000000000000000000000000000000000000000000001"]),
            (hundreds(), ["5", "95"]),
            (hundreds(), ["150", "50"]),
        ] {
            let [first, second] = bad;
            for order in [[first, second], [second, first]] {
                assert!(!fits(&column, &order), "{order:?} in {:?}", column.kind);
            }
            let all = ["100", first, second, "-100"];
            assert!(!fits(&column, &all), "{bad:?} in {:?}", column.kind);
        }
        for (column, good) in [
            (cents(), ["0.250", "-9999.99"]),
            (small(), ["-32768", "32767"]),
            (large(), ["9223372036854775807", "-9223372036854775808"]),
            (fifteen(), ["9223372036854775807", "-9223372036854775808"]),
            (fifteen(), ["1.50000000000000000000", "0.12345678901234"]),
            (double(), ["0.1", "-1e300"]),
            (single(), ["0.1", "-1e38"]),
            (hundreds(), ["100", "-12300"]),
            (column_without_limits(), ["1e900", "1e-900"]),
        ] {
            assert!(fits(&column, &good), "{good:?} in {:?}", column.kind);
        }
    }

    fn column_without_limits() -> Column {
        column(ColumnKind::Numeric(None))
    }

    #[test]
    fn from_a_column_without_negative_numbers_may_be_taken_what_it_can_hold() {
        let unsigned = column(ColumnKind::Integer(0..=255));
        for (delta, fits) in [(255, true), (-255, true), (256, false), (-256, false)] {
            assert_eq!(delta_text(&unsigned, &Number::from(delta)).is_ok(), fits, "{delta}");
        }
    }

    #[test]
    fn a_delta_keeps_its_text_and_needs_a_column_of_numbers() {
        assert_eq!(delta_text(&cents(), &"-0.25".parse().unwrap()), Ok("-0.25".to_owned()));
        for kind in [ColumnKind::Text, ColumnKind::Ordinal(1901..=2155)] {
            assert!(delta_text(&column(kind), &Number::from(1)).is_err());
        }
    }
}
