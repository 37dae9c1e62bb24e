//! The reader: pending rows, then the cache, then the loader; one load per row at a time.

use std::sync::Arc;
use std::time::Duration;

use tokio::runtime::Handle;
use tracing::{Instrument as _, debug_span};
use write_behind_shared::partition;

use crate::core::cache::Cache as _;
use crate::core::delta::Row;
use crate::core::entry::RowState;
use crate::core::ledger::Key;
use crate::core::loaded::Reading;
use crate::error::{Halt, LoadError, ReadError};
use crate::load::AnyLoader;
use crate::metrics::Metrics;
use crate::partitions::loads::LoadReceiver;
use crate::partitions::partition::SharedPending;
use crate::partitions::sync;
use crate::partitions::tail::Tail;
use crate::partitions::{Partitions, text};
use crate::reads::single_flight::{Load, finish_all};

/// Reads rows.
pub(crate) struct Reader<K> {
    pub(crate) partitions: Arc<Partitions>,
    pub(crate) loader: Option<Arc<dyn AnyLoader<K>>>,
    pub(crate) load_timeout: Duration,
    pub(crate) metrics: Arc<Metrics>,
    /// With `follow`.
    pub(crate) tail: Option<Arc<Tail>>,
    /// Where loads run that a thread without a runtime of its own asks for. None: under test.
    pub(crate) runtime: Option<Handle>,
}

/// Where a row is known here.
#[derive(Debug, PartialEq, Eq)]
enum InMemory {
    Pending(Option<Row>),
    Cached(Option<Row>),
    /// Changes are pending, and what lies beneath them is not known.
    Beneath,
    Nothing,
}

/// How to get a row that is not known here.
enum Loading {
    /// By a load that is under way.
    Joined(LoadReceiver),
    /// By this load, which has yet to be run.
    Begun(Load, LoadReceiver),
}

impl<K: Clone + Send + Sync + 'static> Reader<K> {
    /// The row that this process sees.
    #[cfg(test)]
    pub(crate) async fn read<Q>(&self, id: &Q, key: Key) -> Result<Reading, ReadError>
    where
        Q: ToOwned<Owned = K> + ?Sized,
    {
        match self.look_up(&key)? {
            Some(row) => Ok(row),
            None => self.read_loaded(id, key).await,
        }
    }

    /// The row that this process sees, if it is known here; otherwise it has to be loaded.
    pub(crate) fn look_up(&self, key: &[u8]) -> Result<Option<Reading>, ReadError> {
        self.metrics.reads.inc();
        self.find(self.pending(key)?, key)
    }

    /// The row that this process sees, which was not known here.
    pub(crate) async fn read_loaded<Q>(&self, id: &Q, key: Key) -> Result<Reading, ReadError>
    where
        Q: ToOwned<Owned = K> + ?Sized,
    {
        let pending = self.pending(&key)?;
        loop {
            if let Some(result) = self.load(pending, id, &key).await {
                return result;
            }
            if let Some(row) = self.find_again(pending, &key)? {
                return Ok(row);
            }
        }
    }

    /// The row, if it is known here; no load.
    pub(crate) fn peek(&self, key: &[u8]) -> Option<Reading> {
        match self.in_memory(self.pending(key).ok()?, key) {
            InMemory::Pending(row) | InMemory::Cached(row) => Some(Reading::of(row)),
            InMemory::Beneath | InMemory::Nothing => None,
        }
    }

    /// The rows that this process sees, in the order of the keys; one question to the loader for
    /// all that have to be loaded.
    pub(crate) async fn read_many<Q>(&self, rows: Vec<(&Q, Key)>) -> Result<Vec<Reading>, ReadError>
    where
        Q: ToOwned<Owned = K> + ?Sized,
    {
        /// What is known of one row so far.
        enum Lookup {
            Known(Reading),
            Waits(LoadReceiver, bool),
        }
        let (mut lookups, mut loads) = (Vec::with_capacity(rows.len()), Vec::new());
        for (id, key) in &rows {
            self.metrics.reads.inc();
            let pending = self.pending(key)?;
            lookups.push(match self.find(pending, key)? {
                Some(row) => Lookup::Known(row),
                None => match self.join_load(pending, key) {
                    Loading::Joined(waiting) => Lookup::Waits(waiting, true),
                    Loading::Begun(load, waiting) => {
                        loads.push(((*id).to_owned(), load));
                        Lookup::Waits(waiting, false)
                    }
                },
            });
        }
        if !loads.is_empty() {
            self.run(loads);
        }
        let mut found = Vec::with_capacity(rows.len());
        for (lookup, (id, key)) in lookups.into_iter().zip(rows) {
            found.push(match lookup {
                Lookup::Known(row) => row,
                Lookup::Waits(waiting, joined) => match wait(waiting).await {
                    Some(result) => result?,
                    None if joined => match self.find_again(self.pending(&key)?, &key)? {
                        Some(row) => row,
                        None => self.read_loaded(id, key).await?,
                    },
                    None => cut_short()?,
                },
            });
        }
        Ok(found)
    }

    /// Loads the row again, unless what is pending says what it is.
    pub(crate) async fn refresh<Q>(&self, id: &Q, key: Key) -> Result<Reading, ReadError>
    where
        Q: ToOwned<Owned = K> + ?Sized,
    {
        let pending = self.pending(&key)?;
        self.metrics.reads.inc();
        let waiting = {
            let mut state = pending.lock();
            match state.core.read(&key) {
                Some(RowState::Known(row)) => {
                    self.metrics.hits_pending.inc();
                    return Ok(Reading::of(row));
                }
                Some(RowState::Unknown) => {}
                // What an earlier load found and has not passed on yet is as old as the copy.
                None => state.core.invalidate(&key),
            }
            if self.loader.is_none() {
                return Err(ReadError::NoLoader);
            }
            self.metrics.misses.inc();
            let (load, waiting) = self
                .partitions
                .change(state, |state, _| Load::begin(&self.partitions, pending, state, &key));
            self.run(vec![(id.to_owned(), load)]);
            waiting
        };
        wait(waiting).await.unwrap_or_else(cut_short)
    }

    /// Forgets the cached row, and has no load that is under way kept.
    pub(crate) fn invalidate(&self, key: &Key) {
        let Ok(pending) = self.pending(key) else { return };
        self.partitions.change(pending.lock(), |state, cache| {
            state.loads.invalidate(&mut state.core, key);
            cache.remove(key);
        });
    }

    /// The same for every row.
    pub(crate) fn invalidate_all(&self) {
        for (_, pending) in self.partitions.iter() {
            self.partitions.change(pending.lock(), |state, _| {
                state.loads.invalidate_all(&mut state.core);
            });
        }
        // After the partitions: what one of them cached before its turn is cleared here.
        self.partitions.cache.clear();
    }

    /// Whether the tail may have missed what others wrote of the row; never without `follow`.
    pub(crate) fn tail_may_be_behind(&self, key: &[u8]) -> bool {
        let partition = partition::partition_of(key, self.partitions.count());
        self.tail.as_ref().is_some_and(|tail| tail.may_be_behind(partition) || self.moved())
    }

    /// Whether all that others write is read here, but for the last moments.
    pub(crate) fn tail_is_current(&self) -> bool {
        self.tail.as_ref().is_some_and(|tail| tail.is_current() && !self.moved())
    }

    /// Whether rows may be in partitions that were added, which are not read here.
    fn moved(&self) -> bool {
        matches!(
            self.partitions.halt.get(),
            Some(Halt::Repartitioned { .. } | Halt::LogReplaced { .. })
        )
    }

    /// The row, if it is known here; counts how the read was answered.
    fn find(&self, pending: &SharedPending, key: &[u8]) -> Result<Option<Reading>, ReadError> {
        let found = self.in_memory(pending, key);
        match &found {
            InMemory::Pending(_) => self.metrics.hits_pending.inc(),
            InMemory::Cached(_) => self.metrics.hits_cache.inc(),
            InMemory::Beneath | InMemory::Nothing => self.metrics.misses.inc(),
        }
        self.known(pending, key, found)
    }

    /// The same for a read that is counted already.
    fn find_again(
        &self,
        pending: &SharedPending,
        key: &[u8],
    ) -> Result<Option<Reading>, ReadError> {
        self.known(pending, key, self.in_memory(pending, key))
    }

    fn known(
        &self,
        pending: &SharedPending,
        key: &[u8],
        found: InMemory,
    ) -> Result<Option<Reading>, ReadError> {
        match found {
            InMemory::Pending(row) | InMemory::Cached(row) => Ok(Some(Reading::of(row))),
            InMemory::Beneath | InMemory::Nothing if self.loader.is_some() => Ok(None),
            InMemory::Beneath => Err(ReadError::NoLoader),
            InMemory::Nothing => {
                let may_be_behind = pending.lock().core.forgotten_below(key).is_some();
                Ok(Some(Reading { row: None, may_be_behind }))
            }
        }
    }

    fn in_memory(&self, pending: &SharedPending, key: &[u8]) -> InMemory {
        // The lock is not held while the cache is asked. A row goes into the cache before it stops
        // being pending, so one that was not pending a moment ago is there by now, if anywhere. The
        // other way round, cache first, a row that leaves in between would be found in neither.
        let visible = if pending.may_have(key) { pending.lock().core.read(key) } else { None };
        match visible {
            Some(RowState::Known(row)) => InMemory::Pending(row),
            Some(RowState::Unknown) => InMemory::Beneath,
            None => self.partitions.cache.look_up(key).map_or(InMemory::Nothing, InMemory::Cached),
        }
    }

    /// What a load of the row finds: one that is under way, or one that begins here. None: it was
    /// another's, and ended with the runtime that ran it.
    pub(crate) async fn load<Q>(
        &self,
        pending: &Arc<SharedPending>,
        id: &Q,
        key: &Key,
    ) -> Option<Result<Reading, ReadError>>
    where
        Q: ToOwned<Owned = K> + ?Sized,
    {
        match self.join_load(pending, key) {
            Loading::Begun(load, waiting) => {
                self.run(vec![(id.to_owned(), load)]);
                Some(wait(waiting).await.unwrap_or_else(cut_short))
            }
            Loading::Joined(waiting) => wait(waiting).await,
        }
    }

    /// Joins the load of the row that is under way, or begins one.
    fn join_load(&self, pending: &Arc<SharedPending>, key: &Key) -> Loading {
        let state = pending.lock();
        if let Some(load) = state.loads.join(key) {
            return Loading::Joined(load);
        }
        let (load, waiting) = self
            .partitions
            .change(state, |state, _| Load::begin(&self.partitions, pending, state, key));
        Loading::Begun(load, waiting)
    }

    /// Asks the loader, in a task of its own, for all rows at once.
    fn run(&self, rows: Vec<(K, Load)>) {
        let Some(loader) = self.loader.clone() else { return };
        self.metrics.loads.inc_by(rows.len() as u64);
        let (timeout, clock) = (self.load_timeout, self.partitions.clock);
        let (begun, metrics) = (clock(), Arc::clone(&self.metrics));
        let time_left = move || timeout.saturating_sub(clock().saturating_duration_since(begun));
        // What the loader logs, its queries for one, stands in this span.
        let span = if let [(_, load)] = &*rows {
            debug_span!("load", key = %text(load.key()))
        } else {
            debug_span!("load", rows = rows.len())
        };
        let asked = async move {
            let (ids, loads): (Vec<K>, Vec<Load>) = rows.into_iter().unzip();
            let asked = async {
                match &*ids {
                    [id] => loader.load_boxed(id).await.map(|found| vec![found]),
                    _ => loader.load_many_boxed(&ids).await,
                }
            };
            let rows = loads.len() as u64;
            let answer = sync::timeout(timeout, asked).await.unwrap_or_else(|| {
                Err(LoadError::new(format!("the loader gave no answer within {timeout:?}")))
            });
            metrics.load_seconds.observe(clock().saturating_duration_since(begun).as_secs_f64());
            if answer.is_err() {
                metrics.load_failures.inc_by(rows);
            }
            finish_all(loads, answer, time_left).await;
        };
        // The caller's own comes first: it runs while somebody waits, the one of `build` may be gone.
        let runtime = Handle::try_current().ok().or_else(|| self.runtime.clone());
        sync::spawn(runtime.as_ref(), asked.instrument(span));
    }

    pub(crate) fn pending(&self, key: &[u8]) -> Result<&Arc<SharedPending>, ReadError> {
        let pending = self.partitions.of(partition::partition_of(key, self.partitions.count()));
        pending.ok_or_else(|| ReadError::Load(LoadError::new("the topic has no partitions")))
    }
}

/// What the load found; `None`: it ended without an answer.
async fn wait(mut waiting: LoadReceiver) -> Option<Result<Reading, ReadError>> {
    let result = waiting.wait_for(Option::is_some).await.ok()?;
    result.clone()
}

fn cut_short() -> Result<Reading, ReadError> {
    Err(ReadError::Load(LoadError::new("the runtime that ran the load ended")))
}

impl<K> std::fmt::Debug for Reader<K> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Reader").field("loads", &self.loader.is_some()).finish_non_exhaustive()
    }
}
