//! When a worker gives a batch back: it fails over and over, and the failure is its own.

use std::sync::Arc;

use crate::apply::failures::{Cause, Failures};
use crate::apply::log::Log;
use crate::apply::retry::WriteError;
use crate::apply::{Connect, Target, Worker};
use crate::clock::Clock;
use crate::core::batch::{Batch, Span};
use crate::core::table::Table;
use crate::core::verdict::OnUncertain;
use crate::store::{Known, Store as _, StoreError, Transaction, WriteOptions};

impl<C: Connect, L: Log, T: Clock> Worker<C, L, T> {
    /// Why to give the batch back: it has failed for long, and the failure is its own. As long as it
    /// holds a worker, no other route gets that one.
    pub(super) async fn fails_alone(
        &mut self,
        batch: &Batch,
        table: Option<Arc<Table>>,
        failures: Failures,
        error: &WriteError,
    ) -> Option<String> {
        let target = self.target(batch.route).ok()?;
        if let WriteError::Store(StoreError::Uncertain(_)) = error {
            // A few refusals later the batch is taken apart, which tells more. Given back before
            // that, it would be tried from the start each time, and never be taken apart.
            target.history.doubts().refused(&batch.spans);
            return None;
        }
        let saturated = matches!(error, WriteError::Store(StoreError::Saturated(_)));
        let shrinks = saturated && self.retry.rows_per_statement() > 1;
        let given_back = target.history.doubts().has_given_back();
        if !failures.failing(self.clock.now(), given_back, shrinks).is_long() {
            return None;
        }
        let why = match Cause::of(error) {
            Cause::Connection => return None,
            Cause::Batch(why) => why,
            Cause::AskDatabase(why) => {
                let table = table?;
                self.takes_writes(&target, &table, batch).await.then_some(why)?
            }
        };
        target.history.doubts().gave_back();
        Some(why)
    }

    /// Whether the database takes a transaction that changes nothing: the batch's offsets move to
    /// where they are.
    async fn takes_writes(&mut self, target: &Target, table: &Table, batch: &Batch) -> bool {
        let stays = |span: &Span| Span { end: span.start, ..*span };
        let spans: Vec<Span> = batch.spans.iter().map(stays).collect();
        let options = WriteOptions {
            rows_per_statement: 1,
            set_aside_max: 0,
            refuse_missing_references: false,
            on_uncertain: OnUncertain::Fail,
            in_log_order: false,
            folds_records: false,
        };
        let Ok(store) = self.connected().await else { return false };
        let Target { scope, partitions, .. } = target;
        let transaction = Transaction::moving(scope, *partitions, &spans, table, options);
        let answer = store.apply(&transaction).await;
        if answer.is_err() {
            self.drop_connection();
        }
        answer.is_ok()
    }

    /// What the database knows of each target's partitions; nothing where it does not answer.
    pub async fn known(&mut self) -> Vec<Vec<Known>> {
        let targets = Arc::clone(&self.targets);
        let mut all = Vec::with_capacity(targets.len());
        for target in targets.iter() {
            let Ok(store) = self.connected().await else { break };
            let Ok(known) = store.known(&target.scope).await else {
                self.drop_connection();
                break;
            };
            all.push(known);
        }
        self.give_connection_back();
        all
    }
}
