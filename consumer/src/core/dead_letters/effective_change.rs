//! The part of a dead letter that a replay still has to apply.
//!
//! Pure. A row's state is the fold of its records. A letter applied late must leave the row as if
//! it had been applied at its own place in the log. So whatever a later record set or deleted
//! stays, and only the rest of the letter applies.

use write_behind_shared::{Cell, Change};

/// The part of a letter that remains to be applied.
#[derive(Clone, Debug)]
pub enum EffectiveChange {
    /// The whole letter.
    Whole(Change),
    /// This part; the letter's values for these columns are older than what they hold.
    Part(Change, Vec<String>),
    /// Nothing: later records have overwritten all of it.
    Nothing,
}

/// What remains of `letter` after `later`, the fold of the applied records of its row behind it
/// ([`Change::default`] if there are none). `version` is the row's version column, if there is one:
/// a letter keeps its version, so that the database can judge it.
#[must_use]
pub fn effective_change(letter: &Change, later: &Change, version: Option<&str>) -> EffectiveChange {
    if later.resets() {
        return EffectiveChange::Nothing;
    }
    if !later.writes() {
        return EffectiveChange::Whole(letter.clone());
    }
    if letter.resets() {
        // After the delete, the row consists only of what was written behind it.
        let mut change = letter.clone();
        change.fold(later.clone());
        return EffectiveChange::Part(
            change,
            later.cells().map(|(name, _)| name.to_owned()).collect(),
        );
    }
    let mut change = Change::new();
    let mut left_out = Vec::new();
    for (name, cell) in letter.cells().filter(|(name, _)| Some(*name) != version) {
        let behind = later.cells().find(|(column, _)| *column == name).map(|(_, cell)| cell);
        match (cell, behind) {
            (_, Some(Cell::Set(_) | Cell::SetThenAdd(..))) => left_out.push(name.to_owned()),
            // The column already includes what was added later, and additions commute.
            (cell @ Cell::Add(_), _) | (cell, None) => change.write(name, cell.clone()),
            // The later increment was added to the value that the letter would have replaced.
            (cell, Some(added)) => {
                change.write(name, cell.clone());
                change.write(name, added.clone());
            }
        }
    }
    // A later record has written the row, so it exists: with nothing to set, nothing remains.
    if change.cells().len() == 0 {
        return EffectiveChange::Nothing;
    }
    if let Some((name, cell)) = letter.cells().find(|(name, _)| Some(*name) == version) {
        change.write(name, cell.clone());
    }
    if left_out.is_empty() {
        EffectiveChange::Whole(change)
    } else {
        EffectiveChange::Part(change, left_out)
    }
}
