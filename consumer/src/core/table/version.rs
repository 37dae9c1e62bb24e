//! Versions of a row, compared without the database.
//!
//! Pure. The database decides which change applies. The pipeline asks here whether two changes of a
//! row can be folded whatever version the row has; replay and `verify` ask afterwards what the
//! database decided. An instant finer than its column is one version as given and another as
//! stored, so for two close instants it may be unclear which is older.

use jiff::Timestamp;
use write_behind_shared::{Cell, Change, Number, json};

use crate::core::table::{ColumnKind, Table};

/// The column that holds the rows' versions, by its name in records.
#[derive(Clone, Debug)]
pub struct VersionColumn {
    member: Box<str>,
    kind: ColumnKind,
}

/// The version that a record sets.
#[derive(Clone, Debug)]
pub enum RowVersion {
    /// A number, which the column stores exactly.
    Number(Number),
    /// An instant.
    Instant {
        /// Nanoseconds since 1970.
        nanoseconds: i128,
        /// The column's resolution in nanoseconds.
        unit: i128,
    },
    /// An instant that databases read differently.
    Unclear,
}

impl VersionColumn {
    /// The column that records call `member`.
    #[must_use]
    pub fn new(member: &str, kind: ColumnKind) -> Self {
        Self { member: member.into(), kind }
    }

    /// The version column of a table, if its route has one.
    #[must_use]
    pub fn of(table: &Table) -> Option<Self> {
        let (member, place) = (table.version_member()?, table.version?);
        Some(Self::new(member, table.columns[place].kind.clone()))
    }

    /// The version that `change` sets; `None`: it sets none, so it is bad.
    #[must_use]
    pub fn version_of(&self, change: &Change) -> Option<RowVersion> {
        let value = set_in(change, &self.member)?;
        let text = json::unquoted(value);
        match self.kind {
            ColumnKind::Instant(_) if value == "null" => None,
            ColumnKind::Instant(digits) => Some(instant(text, digits)),
            _ => text.parse().ok().map(RowVersion::Number),
        }
    }
}

fn instant(text: &str, digits: u32) -> RowVersion {
    // Databases read a leap second as the second before or the one after.
    let leaps = text.get(17..19) == Some("60");
    match text.parse::<Timestamp>() {
        Ok(instant) if !leaps => RowVersion::Instant {
            nanoseconds: instant.as_nanosecond(),
            unit: 10_i128.pow(9_u32.saturating_sub(digits)),
        },
        _ => RowVersion::Unclear,
    }
}

impl RowVersion {
    /// Whether a record with this version is left out because the row has the version `row`;
    /// `None`: unclear.
    #[must_use]
    pub fn is_older_than(&self, row: &RowVersion) -> Option<bool> {
        match (self, row) {
            (Self::Number(this), Self::Number(row)) => Some(this.is_less_than(row)),
            (Self::Instant { nanoseconds: this, unit }, Self::Instant { nanoseconds: row, .. }) => {
                let kept_as_they_are = this % unit == 0 && row % unit == 0;
                let far_apart = (this - row).abs() >= 2 * unit;
                (kept_as_they_are || far_apart).then_some(this < row)
            }
            _ => None,
        }
    }
}

/// The outcome of a change that follows another change of its row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Meeting {
    /// Both apply, or only the later one's columns matter: fold them.
    Folds,
    /// The later one has an older version: it is left out whatever the row holds.
    Older,
    /// It depends on the row: each must be tried alone, in order.
    RowByRow,
}

/// The outcome of `later` after `earlier`, where the member `version` holds the versions.
pub(crate) fn meet(earlier: &Change, later: &Change, version: &str) -> Meeting {
    // A delete always applies, and so does whatever directly follows one.
    if later.resets() || (earlier.resets() && !earlier.writes()) {
        return Meeting::Folds;
    }
    let number = |change| json::unquoted(set_in(change, version)?).parse::<Number>().ok();
    // Only numbers can be compared without the column's type.
    let (Some(before), Some(after)) = (number(earlier), number(later)) else {
        return Meeting::RowByRow;
    };
    if after.is_less_than(&before) {
        return Meeting::Older;
    }
    // After a delete, the earlier change certainly applies. Otherwise the row may be newer than the
    // earlier change but not than the later one; then nothing of the earlier one may remain.
    if earlier.resets() || replaces(later, earlier) { Meeting::Folds } else { Meeting::RowByRow }
}

/// Whether nothing of `earlier` remains after `later`.
fn replaces(later: &Change, earlier: &Change) -> bool {
    let sets = |name: &str| {
        later.cells().any(|(other, cell)| other == name && matches!(cell, Cell::Set(_)))
    };
    earlier.cells().all(|(name, _)| sets(name))
        && later.cells().all(|(_, cell)| matches!(cell, Cell::Set(_)))
}

/// The value that `change` sets `column` to, as JSON.
fn set_in<'c>(change: &'c Change, column: &str) -> Option<&'c str> {
    let (_, cell) = change.cells().find(|(name, _)| *name == column)?;
    if let Cell::Set(value) = cell { Some(value.get()) } else { None }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn version(kind: ColumnKind, json: &str) -> Option<RowVersion> {
        let column = VersionColumn::new("v", kind);
        let value = format!(r#"{{"a":1,"v":{json}}}"#);
        column
            .version_of(&write_behind_shared::record::decode(Some(value.as_bytes()), None).unwrap())
    }

    fn older(kind: &ColumnKind, this: &str, row: &str) -> Option<bool> {
        let of = |json| version(kind.clone(), json).unwrap();
        of(this).is_older_than(&of(row))
    }

    #[test]
    fn numbers_are_ordered_as_numbers_however_they_are_spelled() {
        let kind = ColumnKind::Numeric(None);
        assert_eq!(older(&kind, "9", "10"), Some(true));
        assert_eq!(older(&kind, "\"9.75\"", "9.5"), Some(false));
        assert_eq!(older(&kind, "1e1", "10.00"), Some(false));
        for none in ["null", "\"\"", "true", "{}"] {
            assert!(version(kind.clone(), none).is_none(), "{none}");
        }
    }

    #[test]
    fn instants_are_ordered_wherever_they_are_and_unclear_below_what_the_column_keeps() {
        let seconds = ColumnKind::Instant(0);
        for (this, row, expected) in [
            ("2013-01-01T10:00:00+02:00", "2013-01-01T09:00:00Z", Some(true)),
            ("2013-01-01T10:00:00Z", "2013-01-01T12:00:00+02:00", Some(false)),
            ("2013-01-01T10:00:00.4Z", "2013-01-01T10:00:00.6Z", None),
            ("2013-01-01T10:00:00.6Z", "2013-01-01T10:00:00.6Z", None),
            ("2013-01-01T10:00:00.6Z", "2013-01-01T10:00:03Z", Some(true)),
            ("2013-01-01T23:59:60Z", "2012-01-01T10:00:03Z", None),
            ("2013-02-30T10:00:00Z", "2012-01-01T10:00:03Z", None),
        ] {
            let quoted = |text| format!("{text:?}");
            assert_eq!(older(&seconds, &quoted(this), &quoted(row)), expected, "{this} and {row}");
        }
        let (this, row) = ("\"2013-01-01T10:00:00.4Z\"", "\"2013-01-01T10:00:00.600001Z\"");
        assert_eq!(older(&ColumnKind::Instant(6), this, row), Some(true));
        assert!(version(seconds, "null").is_none());
    }

    fn change(value: &str, add: &str) -> Change {
        write_behind_shared::record::decode(Some(value.as_bytes()), Some(add)).unwrap()
    }

    fn met(earlier: &Change, later: &Change) -> Meeting {
        meet(earlier, later, "v")
    }

    #[test]
    fn an_older_version_is_left_out_and_one_that_replaces_the_earlier_is_folded() {
        let first = change(r#"{"v":2,"a":1}"#, "");
        assert_eq!(met(&first, &change(r#"{"v":1.9,"a":1,"b":1}"#, "")), Meeting::Older);
        assert_eq!(met(&first, &change(r#"{"v":2,"a":2}"#, "")), Meeting::Folds);
        assert_eq!(met(&first, &change(r#"{"v":"10","a":2,"b":1}"#, "")), Meeting::Folds);
    }

    #[test]
    fn what_depends_on_the_row_is_taken_alone() {
        let first = change(r#"{"v":2,"a":1}"#, "");
        for later in [
            change(r#"{"v":3,"b":1}"#, ""),
            change(r#"{"v":3,"a":1}"#, "a"),
            change(r#"{"v":3,"a":1,"n":1}"#, "n"),
            change(r#"{"a":1}"#, ""),
            change(r#"{"v":"2013-01-31","a":1}"#, ""),
        ] {
            assert_eq!(met(&first, &later), Meeting::RowByRow, "{later:?}");
        }
        let counted = change(r#"{"v":2,"n":1}"#, "n");
        assert_eq!(met(&counted, &change(r#"{"v":3,"n":1}"#, "")), Meeting::Folds);
    }

    #[test]
    fn after_a_delete_the_row_is_known() {
        let mut again = Change::delete();
        assert_eq!(met(&change(r#"{"v":2}"#, ""), &again), Meeting::Folds);
        assert_eq!(met(&again, &change(r#"{"v":1}"#, "")), Meeting::Folds);
        again.fold(change(r#"{"v":2,"a":1}"#, ""));
        assert_eq!(met(&again, &change(r#"{"v":3,"n":1}"#, "n")), Meeting::Folds);
        assert_eq!(met(&again, &change(r#"{"v":1,"b":1}"#, "")), Meeting::Older);
        assert_eq!(met(&again, &change(r#"{"b":1}"#, "")), Meeting::RowByRow);
    }
}
