//! What a worker does before it writes a batch: it reads the table, judges the rows by it, and reads
//! the records again of those that it must take one by one.

use std::sync::Arc;
use std::time::Duration;

use crate::apply::claim::judged_again;
use crate::apply::log::Log;
use crate::apply::reread::Reread;
use crate::apply::retry::WriteError;
use crate::apply::{Connect, Event, Plan, Worker};
use crate::clock::Clock;
use crate::core::batch::Batch;
use crate::core::row_by_row;
use crate::core::table::Table;
use crate::store::StoreError;

/// How long a reading of the catalogue counts: as long as an operator may wait before a change of the
/// table is known to those who write it.
const DESCRIBED_FOR: Duration = Duration::from_secs(5);

impl<C: Connect, L: Log, T: Clock> Worker<C, L, T> {
    pub(super) async fn plan<'b>(&mut self, batch: &'b Batch) -> Result<Plan<'b>, WriteError> {
        let (mut table, mut fresh) = match self.known_table(batch.route) {
            Some(table) => (table, false),
            None => (self.describe(batch.route).await?, true),
        };
        let mut marked = row_by_row::marked(&table, batch);
        let mut judged = row_by_row::judge(&table, batch, &marked);
        // Marked rows have not been judged: their records will be, each alone, and the bad ones set aside.
        if !(fresh || judged.misfits.is_empty() && marked.is_empty()) {
            (table, fresh) = (self.describe(batch.route).await?, true);
            marked = row_by_row::marked(&table, batch);
            judged = row_by_row::judge(&table, batch, &marked);
        }
        let mut fallback = std::mem::take(&mut judged.misfits);
        if !fallback.is_empty() {
            let misfits = fallback.iter().filter_map(|place| batch.rows.get(*place));
            if let Some(why) = self.target(batch.route)?.history.lost(&table, misfits) {
                return Err(StoreError::Stop(why).into());
            }
            (self.observe)(Event::RowByRow(fallback.len()));
        }
        fallback.extend(marked);
        let read_again = fallback.is_empty();
        Ok(Plan {
            table,
            fresh,
            fallback,
            in_log_order: false,
            judged,
            reread: Reread::default(),
            read_again,
            folds_records: false,
        })
    }

    /// The table as it was read not long ago. What stands around it (a trigger of a partition, a function,
    /// a foreign key of another table) may change without a sign that the transaction would see.
    pub(super) fn known_table(&self, route: usize) -> Option<Arc<Table>> {
        let (table, read) = self.tables.get(route)?.as_ref()?;
        let age = self.clock.now().saturating_sub(*read);
        (age < DESCRIBED_FOR).then(|| Arc::clone(table))
    }

    async fn describe(&mut self, route: usize) -> Result<Arc<Table>, WriteError> {
        let target = self.target(route)?;
        let read = self.clock.now();
        let store = self.connected().await?;
        let table = Arc::new(target.describe(store).await?);
        // It may have been dropped and created again since the offsets were read.
        judged_again(store, &target, &table).await?;
        if target.history.is_empty() {
            target.history.learn(&table);
        }
        self.tables[route] = Some((Arc::clone(&table), read));
        // Others may write while rows are judged.
        self.give_connection_back();
        Ok(table)
    }

    pub(super) async fn read_again(
        &mut self,
        batch: &Batch,
        plan: &mut Plan<'_>,
    ) -> Result<(), WriteError> {
        plan.reread = Reread::first(&*self.log, &plan.table, batch, &plan.fallback).await?;
        plan.read_again = true;
        Ok(())
    }
}
