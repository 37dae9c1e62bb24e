//! The changes of one row that are in the log and not yet in its base, in the order of the log.

use write_behind_shared::{NextOffset, Offset};

use crate::core::delta::{Alteration, Row, fold_all};

/// Changes in the order of the log. Boxed, because a row that is written whole has none.
#[derive(Debug, Default)]
pub(crate) struct LoggedChanges(Option<Box<Changes>>);

#[derive(Debug, Default)]
struct Changes {
    /// Each with its offset where that is known.
    in_order: Vec<(Alteration, Option<Offset>)>,
    bytes: usize,
}

/// How logged changes are kept.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Rules {
    /// A load may need the offsets of changes over an unknown base, so they are kept apart.
    pub(crate) exact: bool,
    /// With `follow`: every record below was read from the log. A record of another writer may
    /// still turn up between two changes from here on.
    pub(crate) tail: Option<NextOffset>,
}

impl LoggedChanges {
    /// An estimate of the memory they take, in bytes.
    pub(crate) fn bytes(&self) -> usize {
        self.0.as_ref().map_or(0, |changes| changes.bytes)
    }

    fn in_order(&self) -> &[(Alteration, Option<Offset>)] {
        self.0.as_ref().map_or(&[], |changes| &changes.in_order)
    }

    /// Takes a change. Two are folded into one unless they must be kept `apart`, or something may
    /// still turn up between them.
    pub(crate) fn insert(
        &mut self,
        change: Alteration,
        offset: Option<Offset>,
        apart: bool,
        tail: Option<NextOffset>,
    ) {
        let is_final = |at: Option<Offset>| match (tail, at) {
            (Some(tail), Some(at)) => tail.is_past(at),
            (Some(_), None) => false,
            (None, _) => true,
        };
        let comes_before = |at: Option<Offset>| offset.is_none() || at.is_none() || at < offset;
        let changes = self.0.get_or_insert_default();
        match (changes.in_order.last_mut(), change) {
            (Some((Alteration::Plain(earlier), at)), Alteration::Plain(change))
                if !apart && comes_before(*at) && is_final(offset) && is_final(*at) =>
            {
                changes.bytes -= earlier.bytes();
                earlier.fold(change);
                changes.bytes += earlier.bytes();
                *at = offset;
            }
            (_, change) => {
                changes.bytes += change.change().bytes();
                let place = changes.in_order.iter().rposition(|(_, at)| comes_before(*at));
                changes.in_order.insert(place.map_or(0, |place| place + 1), (change, offset));
            }
        }
    }

    /// Forgets those that a row as of `next` holds. The log is in order: what comes before a change
    /// that the row has is in it too. Says whether there were any.
    pub(crate) fn forget_below(&mut self, next: Option<NextOffset>) -> bool {
        let first = self.first_not_in(next);
        self.keep(|place, _| place >= first);
        first > 0
    }

    /// Whether the offsets of all are known.
    pub(crate) fn all_are_placed(&self) -> bool {
        self.in_order().iter().all(|(_, at)| at.is_some())
    }

    /// Forgets those whose offset is not known.
    pub(crate) fn forget_unplaced(&mut self) {
        self.keep(|_, at| at.is_some());
    }

    /// Forgets all but those past `offset`.
    pub(crate) fn keep_past(&mut self, offset: Option<Offset>) {
        self.keep(|_, at| offset.is_some_and(|offset| at > Some(offset)));
    }

    /// Forgets all.
    pub(crate) fn clear(&mut self) {
        self.keep(|_, _| false);
    }

    /// Folds those together that need not be kept apart any longer.
    pub(crate) fn compact(&mut self, tail: Option<NextOffset>) {
        let changes = self.0.take().unwrap_or_default();
        for (change, offset) in changes.in_order {
            self.insert(change, offset, false, tail);
        }
    }

    /// Whether something is added whose place relative to a row as of `next` is not known.
    pub(crate) fn has_unplaced(&self, next: Option<NextOffset>) -> bool {
        let unplaced = |(change, offset): &(Alteration, Option<Offset>)| {
            // Of what is set, only a row that may be newer than it matters.
            let is_set_late = offset.is_none() && next.is_some();
            is_set_late
                || change.change().needs_earlier_value() && (offset.is_none() || next.is_none())
        };
        self.in_order().iter().any(unplaced)
    }

    /// The row after those that `row`, as of `next`, does not hold.
    pub(crate) fn over(&self, row: Option<Row>, next: Option<NextOffset>) -> Option<Row> {
        let from = self.first_not_in(next);
        fold_all(row, self.in_order().iter().skip(from).map(|(change, _)| change))
    }

    /// The row after those below `passed`, which are forgotten, if versions are told apart: nothing
    /// else folds them into one.
    pub(crate) fn settle_versions(&mut self, row: Option<Row>, passed: NextOffset) -> Option<Row> {
        let versioned = |(change, _): &(Alteration, _)| matches!(change, Alteration::Versioned(_));
        if !self.in_order().first().is_some_and(versioned) {
            return row;
        }
        let settled = self.first_not_in(Some(passed));
        let row = fold_all(row, self.in_order().iter().take(settled).map(|(change, _)| change));
        self.keep(|place, _| place >= settled);
        row
    }

    fn keep(&mut self, keep: impl Fn(usize, Option<Offset>) -> bool) {
        let Some(changes) = &mut self.0 else { return };
        let mut place = 0;
        changes.in_order.retain(|(_, at)| {
            place += 1;
            keep(place - 1, *at)
        });
        changes.bytes = changes.in_order.iter().map(|(change, _)| change.change().bytes()).sum();
        // A row may stay for hours; the room of what it folded need not.
        self.0.take_if(|changes| changes.in_order.is_empty());
    }

    fn first_not_in(&self, next: Option<NextOffset>) -> usize {
        let has = |(_, offset): &(Alteration, Option<Offset>)| {
            next.is_some_and(|next| offset.is_some_and(|at| next.is_past(at)))
        };
        self.in_order().iter().rposition(has).map_or(0, |last| last + 1)
    }
}

#[cfg(test)]
mod tests {
    use write_behind_shared::Change;

    use super::*;

    fn add(n: i64) -> Alteration {
        Alteration::Plain(Change::new().add("n", n))
    }

    fn set(n: i64) -> Alteration {
        Alteration::Plain(Change::new().set("n", &n).unwrap())
    }

    fn read(logged: &LoggedChanges) -> String {
        let row = logged.over(Some(Row::from(*b"{}")), None).unwrap();
        String::from_utf8(row.to_vec()).unwrap()
    }

    #[test]
    fn a_change_that_turns_up_late_takes_its_place_in_the_log() {
        let mut logged = LoggedChanges::default();
        let tail = Some(NextOffset(5));
        logged.insert(add(1), Some(Offset(7)), false, tail);
        logged.insert(set(10), Some(Offset(5)), false, tail);
        assert_eq!(read(&logged), r#"{"n":11}"#);
        logged.insert(set(50), Some(Offset(6)), false, Some(NextOffset(6)));
        assert_eq!(read(&logged), r#"{"n":51}"#);
    }

    #[test]
    fn what_the_tail_has_passed_is_folded_into_one() {
        let mut logged = LoggedChanges::default();
        let mut bytes = Vec::new();
        for offset in 1..10 {
            logged.insert(add(1), Some(Offset(offset)), false, Some(NextOffset(offset + 1)));
            bytes.push(logged.bytes());
        }
        // The second one makes a sum of the first.
        assert_eq!(bytes[8], bytes[1], "{bytes:?}");
        assert_eq!(read(&logged), r#"{"n":9}"#);
    }

    #[test]
    fn what_a_loaded_row_holds_is_not_folded_over_it_again() {
        let mut logged = LoggedChanges::default();
        for offset in 0..4 {
            logged.insert(add(1), Some(Offset(offset)), true, None);
        }
        let row = logged.over(Some(Row::from(*br#"{"n":102}"#)), Some(NextOffset(2)));
        assert_eq!(row.as_deref(), Some(&br#"{"n":104}"#[..]));
        assert!(logged.forget_below(Some(NextOffset(2))));
        assert_eq!(read(&logged), r#"{"n":2}"#);
    }
}
