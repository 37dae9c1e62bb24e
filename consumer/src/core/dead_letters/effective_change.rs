//! What is left to do of a dead letter: takes its change and the fold of what later records did to the
//! same row, gives the change that brings the row to where the log says it should be.
//!
//! Pure. The state of a row is the fold of its records. A letter that is applied late must leave the
//! row as if it had been applied at its own place: so whatever a later record has set or deleted
//! stays, and only the rest of the letter is still to be done.

use write_behind_shared::{Cell, Change};

/// What is left to do of a letter.
#[derive(Clone, Debug)]
pub enum EffectiveChange {
    /// All of it.
    Whole(Change),
    /// This; what it says of these columns is older than what they hold.
    Part(Change, Vec<String>),
    /// Nothing: later records have said otherwise of all of it.
    Nothing,
}

/// What is left to do of `letter` after `later`, the fold of the row's records behind it that were
/// applied ([`Change::default`] where there is none). `version` is the column of the row's version,
/// where there is one: a letter keeps its version, for the database to judge it by.
#[must_use]
pub fn effective_change(letter: &Change, later: &Change, version: Option<&str>) -> EffectiveChange {
    if later.resets() {
        return EffectiveChange::Nothing;
    }
    if !later.writes() {
        return EffectiveChange::Whole(letter.clone());
    }
    if letter.resets() {
        // The row begins anew with what was written behind the delete.
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
            // What was added later is in the column already, and adding is in any order the same.
            (cell @ Cell::Add(_), _) | (cell, None) => change.write(name, cell.clone()),
            // What was added later was added to what the letter would have replaced.
            (cell, Some(added)) => {
                change.write(name, cell.clone());
                change.write(name, added.clone());
            }
        }
    }
    // The row is there, for a later record has written it: nothing set is nothing to do.
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
