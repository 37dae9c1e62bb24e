//! The report of `verify`: the first differences, and the number of all of them.

use serde::Serialize;

/// How a row differs from the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum DifferenceKind {
    /// The log has it, the table does not.
    Missing,
    /// The table has it, and according to the log it does not exist.
    Extra,
    /// Some columns hold other values.
    Different,
}

/// A column that holds another value, both values in the database's notation; `None`: NULL.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct ColumnDiffers {
    /// The column.
    pub column: String,
    /// What the log makes of it.
    pub expected: Option<String>,
    /// What it holds.
    pub found: Option<String>,
}

/// A row that differs from the log.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Difference {
    /// How it differs.
    pub kind: DifferenceKind,
    /// The key columns' texts, in the key's order.
    pub key: Vec<String>,
    /// The partition of its records; `None`: there is none.
    pub partition: Option<i32>,
    /// The offsets of its last records, oldest first.
    pub offsets: Vec<i64>,
    /// The columns that differ.
    pub columns: Vec<ColumnDiffers>,
}

/// What was compared, and the outcome.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct VerifyReport {
    /// The topic.
    pub topic: String,
    /// The table.
    pub table: String,
    /// The offset up to which each partition was folded: the database's, in its snapshot.
    pub next_offsets: Vec<(i32, i64)>,
    /// How many rows the log has, the deleted ones included.
    pub rows: u64,
    /// How often the log was read.
    pub passes: u32,
    /// How many rows are missing.
    pub missing: u64,
    /// How many rows are too many.
    pub extra: u64,
    /// How many rows hold other values.
    pub different: u64,
    /// The first differences.
    pub differences: Vec<Difference>,
    /// What could not be compared, and why.
    pub remarks: Vec<String>,
}

impl VerifyReport {
    /// Whether no row that was compared differs from the log.
    #[must_use]
    pub fn is_equal(&self) -> bool {
        self.missing + self.extra + self.different == 0
    }

    /// Counts a difference, and keeps it unless there are `at_most` already.
    pub fn add(&mut self, difference: Difference, at_most: usize) {
        match difference.kind {
            DifferenceKind::Missing => self.missing += 1,
            DifferenceKind::Extra => self.extra += 1,
            DifferenceKind::Different => self.different += 1,
        }
        if self.differences.len() < at_most {
            self.differences.push(difference);
        }
    }
}

impl std::fmt::Display for Difference {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let kind = match self.kind {
            DifferenceKind::Missing => "missing",
            DifferenceKind::Extra => "extra",
            DifferenceKind::Different => "different",
        };
        write!(f, "{kind} row {}", self.key.join(", "))?;
        for ColumnDiffers { column, expected, found } in &self.columns {
            let text = |text: &Option<String>| text.clone().unwrap_or_else(|| "NULL".to_owned());
            write!(f, "; {column} is {} and should be {}", text(found), text(expected))?;
        }
        if let Some(partition) = self.partition {
            let offsets: Vec<String> = self.offsets.iter().map(ToString::to_string).collect();
            write!(f, " (partition {partition}, last records at {})", offsets.join(", "))?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn difference(kind: DifferenceKind) -> Difference {
        let (expected, found) = (Some("2".to_owned()), None);
        let columns = vec![ColumnDiffers { column: "n".to_owned(), expected, found }];
        let key = vec!["7".to_owned(), "x".to_owned()];
        Difference { kind, key, partition: Some(3), offsets: vec![8, 9], columns }
    }

    #[test]
    fn every_kind_of_difference_is_counted_and_only_the_first_few_are_kept() {
        for kind in [DifferenceKind::Missing, DifferenceKind::Extra, DifferenceKind::Different] {
            let mut report = VerifyReport::default();
            assert!(report.is_equal());
            (0..3).for_each(|_| report.add(difference(kind), 2));
            assert!(!report.is_equal(), "{kind:?}");
            assert_eq!(report.missing + report.extra + report.different, 3);
            assert_eq!(report.differences.len(), 2);
        }
    }

    #[test]
    fn a_difference_says_what_is_there_and_what_is_to_be() {
        let told = difference(DifferenceKind::Different).to_string();
        let expected =
            "different row 7, x; n is NULL and should be 2 (partition 3, last records at 8, 9)";
        assert_eq!(told, expected);
    }
}
