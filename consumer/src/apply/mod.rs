//! The worker: it writes batches in fenced transactions until they are written, and proves that
//! they are.
//!
//! It judges a batch's rows, retries while the database is away, and isolates the rows that the
//! database refuses. One worker owns one connection and replaces it after any error that is not the
//! data's; workers can share connections, and have one only while they use it. It does not know where
//! batches come from, or what happens to Kafka's offsets.

mod target;
mod applied;
mod connect;
mod connections;
mod reread;
pub mod claim;
pub mod retry;
pub mod log;
pub mod history;
mod failures;
mod plan;
mod give_back;
mod prepare;

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use write_behind_shared::{Offset, Partition};

use crate::apply::connections::Lent;
use crate::apply::failures::Failures;
use crate::apply::log::{Log, RereadError};
use crate::apply::reread::Reread;
use crate::apply::retry::{Retry, RetryLimits, WriteError};
use crate::clock::{Clock, MonotonicClock};
use crate::core::batch::{Batch, Stop, Written};
use crate::core::row_by_row::{self, JudgedRows, Places};
use crate::core::table::Table;
use crate::core::verdict;
use crate::store::{Outcome, Store, StoreError, Transaction, WriteOptions};

pub use crate::apply::applied::{Applied, Stats};
pub use crate::apply::connect::Connect;
pub use crate::apply::connections::Connections;
pub use crate::apply::target::Target;

/// What a worker reports while it works.
#[derive(Debug)]
pub enum Event<'a> {
    /// An attempt to write a batch of this route failed; another one will follow.
    Failed(usize, &'a WriteError),
    /// This many rows were refused; their records are tried one by one.
    RowByRow(usize),
    /// These records of this route were set aside, and the place of the first with why it is bad,
    /// without its values.
    SetAside(usize, Vec<(Partition, Offset)>, String),
}

/// A writer of batches, which has one connection at most.
pub struct Worker<C: Connect, L, T = MonotonicClock> {
    connect: C,
    log: Arc<L>,
    targets: Arc<[Target]>,
    retry: Retry,
    observe: Arc<dyn Fn(Event<'_>) + Send + Sync>,
    /// Shared by all workers: what a route set aside is counted by its time.
    clock: T,
    connections: Arc<Connections<C::Store>>,
    /// The connection that it has.
    lent: Option<Lent<C::Store>>,
    /// The targets' tables, as far as they were needed, each with the time when it was read.
    tables: Vec<Option<(Arc<Table>, Duration)>>,
}

/// The outcome of one attempt.
enum Attempt {
    /// The batch is finished.
    Ended(Applied),
    /// More is known than before: retry at once.
    Again,
}

/// How to write a batch, by what is known so far.
#[expect(clippy::struct_excessive_bools, reason = "each is a fact of its own")]
struct Plan<'b> {
    table: Arc<Table>,
    /// Whether the catalogue was read for this batch. No record counts as bad by an older reading.
    fresh: bool,
    fallback: Places,
    /// Whether all rows that may conflict with each other are among them.
    in_log_order: bool,
    judged: JudgedRows<'b>,
    /// The records of `fallback`, if they have been read again.
    reread: Reread,
    /// Whether they have.
    read_again: bool,
    /// See [`WriteOptions::folds_records`].
    folds_records: bool,
}

impl<C: Connect, L: Log, T: Clock> Worker<C, L, T> {
    /// A worker with a connection of its own, which connects once there is something to write.
    pub fn new(
        connect: C,
        log: Arc<L>,
        targets: Arc<[Target]>,
        retry: (RetryLimits, u64),
        observe: Arc<dyn Fn(Event<'_>) + Send + Sync>,
        clock: T,
    ) -> Self {
        let (limits, seed) = retry;
        let tables = vec![None; targets.len()];
        let retry = Retry::new(limits, seed);
        let (connections, lent) = (Arc::new(Connections::new(1)), None);
        Self { connect, log, targets, retry, observe, clock, connections, lent, tables }
    }

    /// The same, with these connections instead of its own.
    #[must_use]
    pub fn sharing(self, connections: Arc<Connections<C::Store>>) -> Self {
        Self { connections, ..self }
    }

    /// Writes `batch`, for as long as it takes while nobody could write; a batch that fails alone is
    /// given back. When `shutdown` becomes true, the attempt under way is finished, and no other one
    /// starts.
    pub async fn apply(&mut self, batch: &Batch, shutdown: &mut watch::Receiver<bool>) -> Applied {
        let applied = self.apply_until(batch, shutdown).await;
        self.give_connection_back();
        applied
    }

    async fn apply_until(
        &mut self,
        batch: &Batch,
        shutdown: &mut watch::Receiver<bool>,
    ) -> Applied {
        let mut plan = None;
        let mut failures = Failures::default();
        loop {
            let error = match self.attempt(batch, &mut plan, failures.refused).await {
                Ok(Attempt::Ended(applied)) => {
                    self.succeeded(batch);
                    return applied.after(failures.retries, failures.saturated);
                }
                Ok(Attempt::Again) => continue,
                Err(error) => error,
            };
            let by_an_old_reading = plan.as_ref().is_some_and(|plan: &Plan<'_>| !plan.fresh);
            let table = plan.as_ref().map(|plan| Arc::clone(&plan.table));
            if let WriteError::Connect(_) | WriteError::Store(_) = error {
                // The table may have changed during the failure.
                self.drop_connection();
                self.tables.fill(None);
                plan = None;
            }
            let error = match error {
                WriteError::Store(StoreError::Stop(_)) if by_an_old_reading => continue,
                WriteError::Store(StoreError::Refused(why)) => return Applied::Refused(why),
                WriteError::Store(StoreError::Stop(why))
                | WriteError::Log(RereadError::Stop(why)) => {
                    return Applied::Stopped(Stop { why, partition: None });
                }
                WriteError::Store(StoreError::MissingReference(why)) => {
                    return Applied::MissingReference(why);
                }
                passing => passing,
            };
            (self.observe)(Event::Failed(batch.route, &error));
            failures.failed(self.clock.now(), &error);
            let next = self.retry.failed(&error);
            if let Some(say) = next.say {
                tracing::debug!(topic = %batch.topic, error = %say, "can't write; trying again");
            }
            if let Some(why) = self.fails_alone(batch, table, failures, &error).await {
                return Applied::Held(why);
            }
            // Let other batches try in the meantime.
            self.give_connection_back();
            tokio::select! {
                biased;
                () = told(shutdown) => return Applied::Interrupted,
                () = self.clock.sleep(next.wait) => {}
            }
        }
    }

    fn succeeded(&mut self, batch: &Batch) {
        if let Some(failures) = self.retry.succeeded() {
            tracing::debug!(topic = %batch.topic, failures, "writing again");
        }
    }

    /// Makes one attempt to write the batch.
    async fn attempt<'b>(
        &mut self,
        batch: &'b Batch,
        slot: &mut Option<Plan<'b>>,
        refused: u32,
    ) -> Result<Attempt, WriteError> {
        let mut plan = match slot.take() {
            Some(plan) => plan,
            None => self.plan(batch).await?,
        };
        if !plan.read_again {
            // Others may write while Kafka is asked.
            self.give_connection_back();
            if let Err(error) = self.read_again(batch, &mut plan).await {
                *slot = Some(plan);
                return Err(error);
            }
        }
        // The wait for a connection is no work of the database, and may be long.
        if let Err(error) = self.connected().await {
            *slot = Some(plan);
            return Err(error);
        }
        if !plan.fresh && self.known_table(batch.route).is_none() {
            return Ok(Attempt::Again);
        }
        let started = self.clock.now();
        let outcome = self.write(batch, &plan, refused).await;
        let took = self.clock.now().saturating_sub(started);
        let plan = slot.insert(plan);
        if let Err(WriteError::Store(StoreError::MissingReference(_))) = outcome
            && plan.may_refer_to_itself(batch)
        {
            self.drop_connection();
            return Ok(Attempt::Again);
        }
        let (outcome, later) = outcome?;
        Ok(self.ended(batch, slot, outcome, later, (started, took))?)
    }

    /// Turns the transaction's outcome into the attempt's result. `later`: see [`Self::write`].
    fn ended<'b>(
        &mut self,
        batch: &'b Batch,
        slot: &mut Option<Plan<'b>>,
        outcome: Outcome,
        later: (usize, usize),
        (started, took): (Duration, Duration),
    ) -> Result<Attempt, StoreError> {
        let target = self.target(batch.route)?;
        let Some(plan) = slot else { return Ok(Attempt::Again) };
        match outcome {
            Outcome::Committed { set_aside, older, has_written } => {
                let stats = Stats { older, ..plan.stats(batch, set_aside.len(), later, took) };
                plan.tell_set_aside(batch, &set_aside, &*self.observe);
                target.history.set_aside(started + took, batch.records, stats.dead_letters);
                target.history.doubts().written(&batch.spans, has_written);
                if plan.fresh {
                    target.history.learn(&plan.table);
                }
                Ok(Attempt::Ended(Applied::Written(Written::new(batch.spans.clone()), stats)))
            }
            Outcome::Fenced(found) => {
                let ends = batch.spans.iter().map(|span| Some(span.end));
                if !found.iter().copied().eq(ends) {
                    return Ok(Attempt::Ended(Applied::Fenced(found)));
                }
                // An earlier attempt committed, and its answer was lost. The offsets show that the
                // whole batch is in the database. As a fenced batch it would be read and tried
                // again for nothing.
                let stats = plan.stats(batch, 0, later, took);
                plan.tell_set_aside(batch, &[], &*self.observe);
                Ok(Attempt::Ended(Applied::Written(Written::new(batch.spans.clone()), stats)))
            }
            Outcome::Bad(_)
            | Outcome::Rejected(_)
            | Outcome::OutOfTurn
            | Outcome::Demanded(_)
            | Outcome::Doubtful(_)
                if !plan.fresh =>
            {
                // Read the table again before a record counts as bad: perhaps the table has
                // changed, and a good record would be set aside.
                self.tables.fill(None);
                *slot = None;
                Ok(Attempt::Again)
            }
            Outcome::OutOfTurn => {
                plan.take_in_log_order(batch, row_by_row::contested(&plan.table, batch));
                // Only rows that compete for a unique value keep log order; a hot row must not cost
                // a statement per record.
                plan.folds_records = row_by_row::may_fold(&plan.table, batch);
                Ok(Attempt::Again)
            }
            // Already reported as an error.
            Outcome::Unread => Ok(Attempt::Again),
            Outcome::Bad(letters) => {
                target.history.flooded();
                let stop = target.history.too_many(&plan.table, &letters);
                Ok(Attempt::Ended(Applied::Stopped(stop)))
            }
            Outcome::Doubtful(code) => {
                target.history.doubts().doubted(&batch.spans);
                Ok(Attempt::Ended(Applied::Held(verdict::doubtful(&code))))
            }
            Outcome::Demanded(column) => {
                let why = history::demanded(&plan.table.columns[column].name);
                Ok(Attempt::Ended(Applied::Stopped(Stop { why, partition: None })))
            }
            Outcome::Rejected(rows) => {
                plan.fall_back(batch, rows, &*self.observe);
                Ok(Attempt::Again)
            }
        }
    }

    /// Runs the transaction. Also returns how many records it read again, good and bad.
    async fn write(
        &mut self,
        batch: &Batch,
        plan: &Plan<'_>,
        refused: u32,
    ) -> Result<(Outcome, (usize, usize)), WriteError> {
        let target = self.target(batch.route)?;
        let doubt = target.history.doubts().about(&batch.spans, refused, batch.rows.len());
        let options = WriteOptions {
            rows_per_statement: self.retry.rows_per_statement(),
            set_aside_max: target.history.allowance(self.clock.now(), batch.records),
            refuse_missing_references: batch.refuse_missing_references,
            on_uncertain: doubt.decide(),
            in_log_order: plan.in_log_order || plan.fallback.len() == batch.rows.len(),
            folds_records: plan.folds_records,
        };
        let first = &plan.reread.first;
        let newly_required = target.history.newly_required(&plan.table);
        let dead_letters = [&batch.dead_letters[..], &first.dead_letters].concat();
        let log = Arc::clone(&self.log);
        let others = plan.reread.others(&*log, &plan.table, batch);
        let store = self.connected().await?;
        let transaction = Transaction {
            scope: &target.scope,
            partitions: target.partitions,
            spans: &batch.spans,
            table: &plan.table,
            newly_required: &newly_required,
            rows: &plan.judged.rows,
            row_by_row: &first.records,
            more_records: plan.reread.has_others().then_some(&others),
            dead_letters: &dead_letters,
            writers: &batch.writers,
            forgotten: &batch.forgotten,
            last_records: &batch.last_records,
            options,
        };
        match store.apply(&transaction).await? {
            Outcome::Unread => Err(others.failure().into()),
            outcome => Ok((outcome, others.counts())),
        }
    }

    fn target(&self, route: usize) -> Result<Target, StoreError> {
        let target = self.targets.get(route).cloned();
        target.ok_or_else(|| StoreError::Stop(format!("there is no route {route}")))
    }

    /// Its connection, which it waits for if all are lent.
    async fn connected(&mut self) -> Result<&mut C::Store, WriteError> {
        let lent = match self.lent.take() {
            Some(lent) => lent,
            None => self.connections.lend().await,
        };
        let lent = self.lent.insert(lent);
        let store = match lent.store.take() {
            Some(store) => store,
            None => self.connect.connect().await.map_err(WriteError::Connect)?,
        };
        Ok(lent.store.insert(store))
    }

    /// Drops its connection, whose state is unknown; the next call opens another.
    fn drop_connection(&mut self) {
        if let Some(lent) = &mut self.lent {
            lent.store = None;
        }
    }

    fn give_connection_back(&mut self) {
        if let Some(lent) = self.lent.take() {
            self.connections.take_back(lent);
        }
    }
}

/// Completes on shutdown, or when the sender is gone.
pub async fn told(shutdown: &mut watch::Receiver<bool>) {
    let _ = shutdown.wait_for(|shut_down| *shut_down).await;
}

impl<C: Connect, L, T> std::fmt::Debug for Worker<C, L, T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Worker").field("connected", &self.lent.is_some()).finish_non_exhaustive()
    }
}
