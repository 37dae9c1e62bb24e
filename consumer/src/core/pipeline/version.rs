//! Two changes of one row on a route with a `version`: takes both, says what their fold would be, if
//! that can be said without the row that the database holds.
//!
//! Pure. A change is applied when its version is not older than the row's, so folding two is right
//! only where the outcome is the same whatever the row's version is.

use write_behind_shared::{Cell, Change, Number, json};

/// What becomes of a change that comes after another one of its row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Meeting {
    /// Both are applied, or only the later one's columns matter: fold them.
    Folds,
    /// The later one has an older version: it is left out whatever the row holds.
    Older,
    /// It depends on the row: each must be tried alone, in order.
    RowByRow,
}

/// What becomes of `later` after `earlier`, where the column `version` holds the versions.
pub(crate) fn meet(earlier: &Change, later: &Change, version: &str) -> Meeting {
    // A delete always applies, and so does whatever comes right after one.
    if later.resets() || (earlier.resets() && !earlier.writes()) {
        return Meeting::Folds;
    }
    let (Some(before), Some(after)) = (version_in(earlier, version), version_in(later, version))
    else {
        return Meeting::RowByRow;
    };
    if after.is_less_than(&before) {
        return Meeting::Older;
    }
    // After a delete it is known that the earlier one applies. Otherwise the row may be newer than
    // the earlier one alone; then nothing of it may be left beside the later one.
    if earlier.resets() || replaces(later, earlier) { Meeting::Folds } else { Meeting::RowByRow }
}

/// Whether nothing of `earlier` is left after `later`.
fn replaces(later: &Change, earlier: &Change) -> bool {
    let sets = |name: &str| {
        later.cells().any(|(other, cell)| other == name && matches!(cell, Cell::Set(_)))
    };
    earlier.cells().all(|(name, _)| sets(name))
        && later.cells().all(|(_, cell)| matches!(cell, Cell::Set(_)))
}

/// The version that a change sets, if it is a number; only these can be compared here.
fn version_in(change: &Change, version: &str) -> Option<Number> {
    change.cells().find(|(name, _)| *name == version).and_then(|(_, cell)| match cell {
        Cell::Set(value) => json::unquoted(value.get()).parse().ok(),
        _ => None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

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
