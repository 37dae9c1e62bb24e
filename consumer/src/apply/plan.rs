//! Changes to a plan after the database's answer, and the events they report.

use std::time::Duration;

use crate::apply::{Event, Plan, Stats};
use crate::core::batch::Batch;
use crate::core::record::DeadLetter;
use crate::core::row_by_row::{self, Places};

impl<'b> Plan<'b> {
    /// The database refused these of the judged rows: moves them to the fallback.
    pub(super) fn fall_back(
        &mut self,
        batch: &'b Batch,
        rows: Vec<usize>,
        observe: &(dyn Fn(Event<'_>) + Send + Sync),
    ) {
        observe(Event::RowByRow(rows.len()));
        let places = rows.into_iter().filter_map(|row| self.judged.places.get(row).copied());
        self.fallback.extend(places);
        self.judged = row_by_row::judge(&self.table, batch, &self.fallback);
        self.read_again = false;
    }

    /// Tells of the records that a written batch set aside; `refused`: those that the database
    /// refused.
    pub(super) fn tell_set_aside(
        &self,
        batch: &Batch,
        refused: &[DeadLetter],
        observe: &(dyn Fn(Event<'_>) + Send + Sync),
    ) {
        let letters = || {
            let judged = batch.dead_letters.iter().chain(&self.reread.first.dead_letters);
            judged.chain(refused)
        };
        if let Some(first) = row_by_row::first_of(&self.table, letters()) {
            let places = letters().map(|letter| (letter.record.partition, letter.record.offset));
            observe(Event::SetAside(batch.route, places.collect(), first));
        }
    }

    /// A row refers to a missing one. In a table that refers to itself that may be a row of this
    /// batch: then the order of the log is one in which each is there in time. Says whether that is
    /// tried next.
    pub(super) fn may_refer_to_itself(&mut self, batch: &'b Batch) -> bool {
        let all = batch.rows.len();
        let goes = !self.table.own_references.is_empty() && self.fallback.len() < all && all > 1;
        if goes {
            self.take_in_log_order(batch, (0..all).collect());
        }
        goes
    }

    /// Lets the records of these rows be written one by one, in log order: no other row can be in the way
    /// of one of them.
    pub(super) fn take_in_log_order(&mut self, batch: &'b Batch, rows: Places) {
        self.in_log_order = true;
        self.fallback.extend(rows);
        self.judged = row_by_row::judge(&self.table, batch, &self.fallback);
        self.read_again = false;
    }

    /// `set_aside` includes the bad ones of the `later` records.
    pub(super) fn stats(
        &self,
        batch: &Batch,
        set_aside: usize,
        later: (usize, usize),
        took: Duration,
    ) -> Stats {
        let first = &self.reread.first;
        Stats {
            rows: self.judged.rows.len(),
            row_by_row: (first.records.len() + later.0 + later.1).saturating_sub(set_aside),
            dead_letters: batch.dead_letters.len() + first.dead_letters.len() + set_aside,
            older: 0,
            retries: 0,
            saturated: 0,
            took,
        }
    }
}
