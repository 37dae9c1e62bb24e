//! Shared memory of a route's workers: its table's columns, and the records it recently set aside.
//!
//! A record with a column that the table lacks is bad. But if the table had that column when it was
//! last written to, the table has changed, and a person must know before every record is set aside.
//! The memory ends with the process.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::core::batch::{FoldedRow, Stop};
use crate::core::doubts::Doubts;
use crate::core::flood::{Flood, FloodLimits};
use crate::core::record::DeadLetter;
use crate::core::row_by_row;
use crate::core::table::Table;

/// The history of a route in this process.
#[derive(Debug)]
pub struct RouteHistory {
    /// Known columns, each with whether a new row had to name it.
    columns: Mutex<BTreeMap<String, bool>>,
    limits: FloodLimits,
    flood: Mutex<Flood>,
    doubts: Mutex<Doubts>,
}

impl RouteHistory {
    /// A history of nothing.
    #[must_use]
    pub fn new(limits: FloodLimits) -> Self {
        let (columns, flood) = (Mutex::default(), Mutex::new(Flood::new(limits)));
        Self { columns, limits, flood, doubts: Mutex::default() }
    }

    /// Remembers a table that was just read for the first time, or just written to.
    pub(crate) fn learn(&self, table: &Table) {
        let columns = table.columns.iter().map(|column| (column.name.clone(), column.required));
        lock(&self.columns).extend(columns);
    }

    /// Whether no table was remembered yet.
    pub(crate) fn is_empty(&self) -> bool {
        lock(&self.columns).is_empty()
    }

    /// Why to stop, if these rows name a column that the table had and has lost.
    pub(crate) fn lost<'a>(
        &self,
        table: &Table,
        mut rows: impl Iterator<Item = &'a FoldedRow>,
    ) -> Option<String> {
        let known = lock(&self.columns);
        let is_lost = |name: &str| known.contains_key(name) && table.member(name).is_none();
        let lost = rows.find_map(|row| {
            row.change.cells().map(|(name, _)| name).find(|name| is_lost(name)).map(str::to_owned)
        })?;
        Some(format!(
            "its column {lost:?} is gone, and records name it; add it again, or restart the \
             consumer to set such records aside"
        ))
    }

    /// The columns that the table has only now made required, by index.
    pub(crate) fn newly_required(&self, table: &Table) -> Vec<usize> {
        let known = lock(&self.columns);
        let is_new = |name: &str| known.get(name) != Some(&true);
        let columns = table.columns.iter().enumerate();
        columns
            .filter(|(_, column)| column.required && is_new(&column.name))
            .filter(|(_, column)| !table.is_key(&column.name))
            .map(|(place, _)| place)
            .collect()
    }

    /// The stop for a batch with more bad records than may be set aside. It quotes nothing of their
    /// content, because it ends up in logs and on the status page.
    pub(crate) fn too_many(&self, table: &Table, letters: &[DeadLetter]) -> Stop {
        let place = |letter: &&DeadLetter| (letter.record.partition, letter.record.offset);
        let first = letters.iter().min_by_key(place);
        let told = first.map_or(String::new(), |letter| {
            let (partition, offset) = (letter.record.partition, letter.record.offset);
            let reason = row_by_row::reason_without_values(table, letter);
            format!("partition {partition}, offset {offset}: {reason}; ")
        });
        let what_to_do = if self.limits == FloodLimits::NONE {
            "the record is bad, and the route says on_bad_record = \"stop\": correct the table so that \
             the record fits; or set it to \"dead-letter\" to set such records aside, and restart the \
             consumer"
        } else {
            "so many records are bad that none is set aside any more. Correct the table, or what \
             writes such records; or raise `bad_records.max_ratio` or `bad_records.max_per_second` to \
             set them aside, and restart the consumer"
        };
        let partition = first.map(|letter| letter.record.partition);
        Stop { why: format!("{told}{what_to_do}"), partition }
    }

    /// How many of a batch's records may be set aside `now`, by the clock that all workers share.
    pub(crate) fn allowance(&self, now: Duration, records: u64) -> usize {
        lock(&self.flood).allowance(now, records)
    }

    /// Counts the records of a written batch, and those of them set aside.
    pub(crate) fn set_aside(&self, now: Duration, records: u64, letters: usize) {
        lock(&self.flood).written(now, records, letters as u64);
    }

    /// What the workers know of batches that could not be written.
    pub(crate) fn doubts(&self) -> MutexGuard<'_, Doubts> {
        lock(&self.doubts)
    }

    /// Notes that a batch had more bad records than it was allowed.
    pub(crate) fn flooded(&self) {
        lock(&self.flood).flooded();
    }
}

/// Why to stop, if a record was refused that lacks the newly required column `name`.
pub(crate) fn demanded(name: &str) -> String {
    format!(
        "its column {name:?} has become NOT NULL without a default, and records do not name it; give \
         it a default, or restart the consumer to set such records aside"
    )
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use write_behind_shared::key::KeyKind;

    use super::*;
    use crate::core::flood::FEW;
    use crate::core::table::{Column, ColumnKind};

    /// A table with a required key and a column `n`, required if `required`.
    fn table(required: bool) -> Table {
        let column = |name, required| Column { required, ..Column::plain(name, ColumnKind::Text) };
        let columns = vec![column("id", true), column("n", required), column("m", false)];
        Table::plain("t", KeyKind::Text, columns)
    }

    #[test]
    fn a_column_is_newly_required_until_it_was_written_to_as_such() {
        let history = RouteHistory::new(FloodLimits::STANDARD);
        let mut before = table(false);
        before.columns[0].required = false;
        history.learn(&before);
        assert_eq!(
            history.newly_required(&table(true)),
            [1],
            "the key is no column of a row's own"
        );
        history.learn(&table(true));
        assert_eq!(history.newly_required(&table(true)), [0; 0]);
    }

    #[test]
    fn what_was_set_aside_takes_room_and_a_flood_takes_all_of_it() {
        let history = RouteHistory::new(FloodLimits::STANDARD);
        let now = Duration::from_secs(7);
        assert_eq!(history.allowance(now, 1), FEW as usize);
        history.set_aside(now, 1, 40);
        assert_eq!(history.allowance(now, 1), FEW as usize - 40);
        history.flooded();
        assert_eq!(history.allowance(now, 1), 0);
    }
}
