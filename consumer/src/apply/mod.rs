//! Writes batches: judges their rows, runs the fenced transaction, tries again for as long as the
//! database is away, isolates what it refuses. Gives the proof that a batch is written.
//!
//! One worker owns one connection, and makes a new one after any error that is not the data's. It
//! does not know where batches come from, nor what becomes of Kafka's offsets.

mod target;
pub(crate) mod claim;
pub mod retry;
pub mod log;
pub mod history;

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::watch;
use write_behind_shared::NextOffset;

use crate::apply::log::{Log, RereadError, gone};
use crate::apply::retry::{Retry, RetryLimits, Trouble};
use crate::core::batch::{Batch, Written};
use crate::core::isolate;
use crate::core::isolate::{Judged, Places, Singly};
use crate::core::record::DeadLetter;
use crate::core::table::Table;
use crate::store::{AnyStore, Database, Manner, Outcome, Store, StoreError, Timeouts, Transaction};

pub use crate::apply::target::Target;

/// Makes connections.
pub trait Connect: Send + Sync + 'static {
    /// What it connects to.
    type Store: Store;

    /// Makes one connection.
    fn connect(&self) -> impl Future<Output = Result<Self::Store, StoreError>> + Send;
}

/// How a batch ended.
#[derive(Debug)]
pub enum Applied {
    /// It is in the database.
    Written(Written, Stats),
    /// The database stands elsewhere: what it says of each span, in their order. Nothing was
    /// written.
    Fenced(Vec<Option<NextOffset>>),
    /// These records are bad and may not be set aside. Nothing was written.
    Bad(Vec<DeadLetter>),
    /// It can't be written until a person mends this. Nothing was written, or all of it when the
    /// answer to COMMIT was lost: the bookkeeping knows.
    Refused(String),
    /// A row refers to one that is not there, for this reason. Nothing was written.
    Held(String),
    /// Told to shut down before it was written. An attempt whose answer was lost may have written
    /// it: the bookkeeping knows.
    Interrupted,
}

/// How a batch was written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    /// Rows written or deleted as they were folded.
    pub rows: usize,
    /// Records applied alone.
    pub singly: usize,
    /// Records set aside, those that could not be decoded included.
    pub dead_letters: usize,
    /// Rows and single records left out because the table has a newer revision.
    pub older: u64,
    /// Attempts that failed before.
    pub retries: u32,
    /// Those of them that asked too much of the database.
    pub saturated: u32,
    /// How long the last transaction took.
    pub took: Duration,
}

/// What a worker tells while it works.
#[derive(Debug)]
pub enum Event<'a> {
    /// An attempt to write a batch of this route failed; there will be another one.
    Failed(usize, &'a Trouble),
    /// Rows were refused, and their records are taken one by one.
    Isolated(usize),
}

/// One connection's worth of writing.
pub struct Worker<C: Connect, L> {
    connect: C,
    log: Arc<L>,
    targets: Arc<[Target]>,
    retry: Retry,
    observe: Arc<dyn Fn(Event<'_>) + Send + Sync>,
    store: Option<C::Store>,
    /// The targets' tables, as far as they were needed yet.
    tables: Vec<Option<Arc<Table>>>,
}

/// A batch on its way into the database.
struct Plan<'b> {
    table: Arc<Table>,
    /// Whether the catalogue was read for this batch. Nothing counts as bad by an older reading.
    fresh: bool,
    isolated: Places,
    judged: Judged<'b>,
    singly: Singly,
    /// Whether `singly` is that of `isolated`.
    read_again: bool,
}

impl Connect for (Database, Timeouts) {
    type Store = AnyStore;

    async fn connect(&self) -> Result<AnyStore, StoreError> {
        let (database, timeouts) = self;
        database.connect(timeouts).await
    }
}

impl<C: Connect, L: Log> Worker<C, L> {
    /// A worker that will connect when there is something to write.
    pub fn new(
        connect: C,
        log: Arc<L>,
        targets: Arc<[Target]>,
        retry: (RetryLimits, u64),
        observe: Arc<dyn Fn(Event<'_>) + Send + Sync>,
    ) -> Self {
        let (limits, seed) = retry;
        let tables = vec![None; targets.len()];
        let retry = Retry::new(limits, seed);
        Self { connect, log, targets, retry, observe, store: None, tables }
    }

    /// Writes `batch`, however long it takes. When `shutdown` becomes true, the attempt under way
    /// is finished, and no other one is begun.
    pub async fn apply(&mut self, batch: &Batch, shutdown: &mut watch::Receiver<bool>) -> Applied {
        let mut plan = None;
        let (mut retries, mut saturated) = (0, 0);
        loop {
            let trouble = match self.attempt(batch, &mut plan).await {
                Ok(Some(applied)) => {
                    self.succeeded(batch);
                    return with_retries(applied, retries, saturated);
                }
                Ok(None) => continue,
                Err(trouble) => trouble,
            };
            let by_an_old_reading = plan.as_ref().is_some_and(|plan: &Plan<'_>| !plan.fresh);
            if let Trouble::Connect(_) | Trouble::Store(_) = trouble {
                // Whatever happened meanwhile, the table may not be as it was.
                self.store = None;
                self.tables.fill(None);
                plan = None;
            }
            let trouble = match trouble {
                Trouble::Store(StoreError::Stop(_)) if by_an_old_reading => continue,
                Trouble::Store(StoreError::Stop(why)) => return Applied::Refused(why),
                Trouble::Store(StoreError::NotYet(why)) => return Applied::Held(why),
                passing => passing,
            };
            (self.observe)(Event::Failed(batch.route, &trouble));
            retries += 1;
            saturated += u32::from(matches!(trouble, Trouble::Store(StoreError::Saturated(_))));
            let next = self.retry.failed(&trouble);
            if let Some(say) = next.say {
                tracing::debug!(topic = %batch.topic, error = %say, "can't write; trying again");
            }
            tokio::select! {
                biased;
                () = told(shutdown) => return Applied::Interrupted,
                () = tokio::time::sleep(next.wait) => {}
            }
        }
    }

    fn succeeded(&mut self, batch: &Batch) {
        if let Some(failures) = self.retry.succeeded() {
            tracing::debug!(topic = %batch.topic, failures, "writing again");
        }
    }

    /// One attempt; `None`: more is known than before, so try again at once.
    async fn attempt<'b>(
        &mut self,
        batch: &'b Batch,
        kept: &mut Option<Plan<'b>>,
    ) -> Result<Option<Applied>, Trouble> {
        let mut plan = match kept.take() {
            Some(plan) => plan,
            None => self.plan(batch).await?,
        };
        if !plan.read_again
            && let Err(trouble) = self.read_again(batch, &mut plan).await
        {
            *kept = Some(plan);
            return Err(trouble);
        }
        let target = self.target(batch.route)?;
        let started = Instant::now();
        let outcome = self.write(batch, &plan).await;
        let plan = kept.insert(plan);
        match outcome? {
            Outcome::Committed(set_aside) => {
                let older = self.store.as_ref().map_or(0, Store::older);
                let stats = plan.stats(batch, set_aside.len(), started.elapsed());
                target.history.set_aside(batch.records, stats.dead_letters);
                if plan.fresh {
                    target.history.learn(&plan.table);
                }
                let written = Written::new(batch.spans.clone());
                Ok(Some(Applied::Written(written, Stats { older, ..stats })))
            }
            Outcome::Fenced(found) => {
                let ends = batch.spans.iter().map(|span| Some(span.end));
                if !found.iter().copied().eq(ends) {
                    return Ok(Some(Applied::Fenced(found)));
                }
                // An earlier attempt was committed, and its answer was lost.
                let stats = plan.stats(batch, 0, started.elapsed());
                Ok(Some(Applied::Written(Written::new(batch.spans.clone()), stats)))
            }
            Outcome::Bad(letters) if target.set_aside => {
                target.history.flooded();
                Err(StoreError::Stop(flood(&letters)).into())
            }
            Outcome::Bad(letters) => Ok(Some(Applied::Bad(letters))),
            Outcome::Refused(rows) => {
                let refused = rows.iter().filter_map(|row| plan.judged.rows.get(*row));
                if plan.fresh
                    && let Some(why) = target.history.demanded(&plan.table, refused)
                {
                    return Err(StoreError::Stop(why).into());
                }
                if plan.fresh {
                    (self.observe)(Event::Isolated(rows.len()));
                    plan.isolate(batch, rows);
                } else {
                    // Before a record counts as bad: perhaps it is the table that has changed.
                    self.tables.fill(None);
                    *kept = None;
                }
                Ok(None)
            }
        }
    }

    async fn plan<'b>(&mut self, batch: &'b Batch) -> Result<Plan<'b>, Trouble> {
        let known = self.tables.get(batch.route).cloned().flatten();
        let (mut table, mut fresh) = match known {
            Some(table) => (table, false),
            None => (self.describe(batch.route).await?, true),
        };
        let alone = isolate::taken_singly(batch);
        let mut judged = isolate::judge(&table, batch, &alone);
        if !judged.misfits.is_empty() && !fresh {
            (table, fresh) = (self.describe(batch.route).await?, true);
            judged = isolate::judge(&table, batch, &alone);
        }
        let mut isolated = std::mem::take(&mut judged.misfits);
        if !isolated.is_empty() {
            let misfits = isolated.iter().filter_map(|place| batch.rows.get(*place));
            if let Some(why) = self.target(batch.route)?.history.lost(&table, misfits) {
                return Err(StoreError::Stop(why).into());
            }
            (self.observe)(Event::Isolated(isolated.len()));
        }
        isolated.extend(alone);
        let read_again = isolated.is_empty();
        Ok(Plan { table, fresh, isolated, judged, singly: Singly::default(), read_again })
    }

    async fn describe(&mut self, route: usize) -> Result<Arc<Table>, Trouble> {
        let target = self.target(route)?;
        let store = self.connected().await?;
        let table = Arc::new(target.describe(store).await?);
        if target.history.is_empty() {
            target.history.learn(&table);
        }
        self.tables[route] = Some(Arc::clone(&table));
        Ok(table)
    }

    async fn read_again(&mut self, batch: &Batch, plan: &mut Plan<'_>) -> Result<(), Trouble> {
        let (wanted, spans) = isolate::wanted(batch, &plan.isolated);
        let (log, topic) = (Arc::clone(&self.log), Arc::clone(&batch.topic));
        let reading = tokio::task::spawn_blocking(move || {
            log.records(&topic, &spans, &wanted).map(|records| (wanted, records))
        });
        let (wanted, records) =
            reading.await.map_err(|error| RereadError::Unavailable(error.to_string()))??;
        let singly = isolate::singly(&plan.table, batch, &wanted, records);
        plan.singly = singly.ok_or_else(|| gone(&batch.topic))?;
        plan.read_again = true;
        Ok(())
    }

    async fn write(&mut self, batch: &Batch, plan: &Plan<'_>) -> Result<Outcome, Trouble> {
        let target = self.target(batch.route)?;
        let manner = Manner {
            rows_per_statement: self.retry.rows_per_statement(),
            set_aside_max: if target.set_aside { target.history.room(batch.records) } else { 0 },
            refuse_missing_references: batch.refuse_missing_references,
        };
        let dead_letters = [&batch.dead_letters[..], &plan.singly.dead_letters].concat();
        let store = self.connected().await?;
        let transaction = Transaction {
            scope: &target.scope,
            partitions: target.partitions,
            spans: &batch.spans,
            table: &plan.table,
            rows: &plan.judged.rows,
            singly: &plan.singly.records,
            dead_letters: &dead_letters,
            writers: &batch.writers,
            forgotten: &batch.forgotten,
            last_records: &batch.last_records,
            manner,
        };
        Ok(store.apply(&transaction).await?)
    }

    fn target(&self, route: usize) -> Result<Target, StoreError> {
        let target = self.targets.get(route).cloned();
        target.ok_or_else(|| StoreError::Stop(format!("there is no route {route}")))
    }

    async fn connected(&mut self) -> Result<&mut C::Store, Trouble> {
        let store = match self.store.take() {
            Some(store) => store,
            None => self.connect.connect().await.map_err(Trouble::Connect)?,
        };
        Ok(self.store.insert(store))
    }
}

impl<'b> Plan<'b> {
    /// The database refused these of the judged rows.
    fn isolate(&mut self, batch: &'b Batch, rows: Vec<usize>) {
        let places = rows.into_iter().filter_map(|row| self.judged.places.get(row).copied());
        self.isolated.extend(places);
        self.judged = isolate::judge(&self.table, batch, &self.isolated);
        self.read_again = false;
    }

    fn stats(&self, batch: &Batch, set_aside: usize, took: Duration) -> Stats {
        Stats {
            rows: self.judged.rows.len(),
            singly: self.singly.records.len().saturating_sub(set_aside),
            dead_letters: batch.dead_letters.len() + self.singly.dead_letters.len() + set_aside,
            older: 0,
            retries: 0,
            saturated: 0,
            took,
        }
    }
}

/// What to say when more records are bad than may be set aside.
fn flood(letters: &[DeadLetter]) -> String {
    let first = letters.iter().min_by_key(|letter| (letter.record.partition, letter.record.offset));
    let told = first.map_or(String::new(), |letter| {
        let (partition, offset) = (letter.record.partition, letter.record.offset);
        format!("partition {partition}, offset {offset}: {}; ", letter.reason)
    });
    format!(
        "{told}so many records are bad that none is set aside any more. Correct the table, or what \
         writes such records; or raise `bad_records.max_ratio` or `bad_records.max_per_second` to \
         set them aside, and restart the consumer"
    )
}

fn with_retries(applied: Applied, retries: u32, saturated: u32) -> Applied {
    match applied {
        Applied::Written(written, stats) => {
            Applied::Written(written, Stats { retries, saturated, ..stats })
        }
        other => other,
    }
}

/// Ends when told to shut down; a teller that is gone has told it.
async fn told(shutdown: &mut watch::Receiver<bool>) {
    let _ = shutdown.wait_for(|shut_down| *shut_down).await;
}

impl<C: Connect, L> std::fmt::Debug for Worker<C, L> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Worker").field("connected", &self.store.is_some()).finish_non_exhaustive()
    }
}
