//! What a worker does before it writes a batch: it reads the table, judges the rows by it, and reads
//! the records again of those that it must take one by one.

use std::sync::Arc;

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

impl<C: Connect, L: Log, T: Clock> Worker<C, L, T> {
    pub(super) async fn plan<'b>(&mut self, batch: &'b Batch) -> Result<Plan<'b>, WriteError> {
        let known = self.tables.get(batch.route).cloned().flatten();
        let (mut table, mut fresh) = match known {
            Some(table) => (table, false),
            None => (self.describe(batch.route).await?, true),
        };
        let mut marked = row_by_row::marked(&table, batch);
        let mut judged = row_by_row::judge(&table, batch, &marked);
        if !judged.misfits.is_empty() && !fresh {
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
        let (reread, folds_records) = (Reread::default(), false);
        Ok(Plan { table, fresh, fallback, judged, reread, read_again, folds_records })
    }

    async fn describe(&mut self, route: usize) -> Result<Arc<Table>, WriteError> {
        let target = self.target(route)?;
        let store = self.connected().await?;
        let table = Arc::new(target.describe(store).await?);
        // It may have been dropped and created again since the offsets were read.
        judged_again(store, &target, &table).await?;
        if target.history.is_empty() {
            target.history.learn(&table);
        }
        self.tables[route] = Some(Arc::clone(&table));
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
