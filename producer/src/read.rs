//! A read: pending, then the clean copies, then the loader; one load per row at a time.
//!
//! A load never overwrites a newer write: the row is registered in its lane before the loader is
//! asked, and what the loader found is folded under what was written in the meantime. A load runs
//! as a task of its own, so that a reader that goes away takes nothing from the others.
//!
//! INV-4: a load never overwrites a newer write or delete.

use std::sync::Arc;

use tokio::sync::watch;
use tracing::{Instrument as _, debug_span};
use write_behind_shared::partition;

use crate::admission::Held;
use crate::delta::Row;
use crate::entry::Visible;
use crate::error::{DeliveryError, Halt, LoadError, ReadError};
use crate::follow::Tail;
use crate::found::{Found, Loaded};
use crate::lane::{SharedLane, Stage};
use crate::lanes::Lanes;
use crate::ledger::Key;
use crate::load::{self, AnyLoader, LoadResult, Reading};
use crate::metrics::Metrics;
use crate::sync;

/// Reads rows.
pub(crate) struct Reader<K> {
    pub(crate) lanes: Arc<Lanes>,
    pub(crate) loader: Option<Arc<dyn AnyLoader<K>>>,
    pub(crate) metrics: Arc<Metrics>,
    /// With `follow`.
    pub(crate) tail: Option<Arc<Tail>>,
}

impl<K: Clone + Send + Sync + 'static> Reader<K> {
    /// The row that this process sees.
    pub(crate) async fn read(&self, id: &K, key: Key) -> Result<Reading, ReadError> {
        let partition = partition::partition_of(&key, self.lanes.count());
        let Some(lane) = self.lanes.of(partition) else { return Ok(Reading::default()) };
        self.metrics.reads.inc();
        let needs_base = match lane.lock().core.read(&key) {
            Some(Visible::Row(row)) => {
                self.metrics.hits_pending.inc();
                return Ok(Reading::of(Some(row)));
            }
            Some(Visible::Missing) => {
                self.metrics.hits_pending.inc();
                return Ok(Reading::default());
            }
            Some(Visible::NeedsBase) => true,
            None => false,
        };
        // A row is put among the clean copies before it stops being pending, so one that was not
        // pending a moment ago is there by now, if anywhere.
        if !needs_base && let Some(row) = self.lanes.clean.0.get(&key) {
            self.metrics.hits_clean.inc();
            return Ok(Reading::of(Some(row)));
        }
        self.metrics.misses.inc();
        let Some(loader) = &self.loader else {
            if needs_base {
                return Err(ReadError::NoLoader);
            }
            let may_be_behind = lane.lock().core.forgotten(&key).is_some();
            return Ok(Reading { row: None, may_be_behind });
        };
        let mut waiting = self.join_load(lane, loader, id, &key);
        match waiting.wait_for(Option::is_some).await {
            Ok(result) => result.clone().unwrap_or(Ok(Reading::default())).map_err(ReadError::Load),
            Err(_) => Err(ReadError::Load(LoadError::new("the loader panicked"))),
        }
    }

    /// Whether the tail may have missed what others wrote of the row; never without `follow`.
    pub(crate) fn tail_may_be_behind(&self, key: &Key) -> bool {
        let partition = partition::partition_of(key, self.lanes.count());
        self.tail.as_ref().is_some_and(|tail| tail.may_be_behind(partition) || self.moved())
    }

    /// Whether all that others write is read here, but for the last moments.
    pub(crate) fn tail_is_current(&self) -> bool {
        self.tail.as_ref().is_some_and(|tail| tail.is_current() && !self.moved())
    }

    /// Whether rows may be in partitions that were added, which are not read here.
    fn moved(&self) -> bool {
        matches!(self.lanes.halt.get(), Some(Halt::Repartitioned { .. }))
    }

    /// Joins the load of the row that is under way, or begins one.
    fn join_load(
        &self,
        lane: &Arc<SharedLane>,
        loader: &Arc<dyn AnyLoader<K>>,
        id: &K,
        key: &Key,
    ) -> watch::Receiver<Option<LoadResult>> {
        let mut state = lane.lock();
        if let Some(load) = state.loads.get(&**key) {
            return load.clone();
        }
        let (result, waiting) = watch::channel(None);
        state.loads.insert(Key::clone(key), waiting.clone());
        self.lanes.change(state, Held::default(), |state, _| state.core.load_begins(key));
        self.metrics.loads.inc();
        let load = Load {
            lanes: Arc::clone(&self.lanes),
            lane: Arc::clone(lane),
            key: Key::clone(key),
            result,
        };
        let (loader, id) = (Arc::clone(loader), id.clone());
        // What the loader logs, its queries for one, stands in this span.
        let span = debug_span!("load", key = %String::from_utf8_lossy(key));
        let asked = async move {
            let found = loader.load_boxed(&id).await;
            load.finish(found).await;
        };
        sync::spawn(asked.instrument(span));
        waiting
    }
}

/// A load under way. Dropped unfinished, because the loader failed or panicked or the runtime
/// ended, it leaves the row as if it had not begun.
struct Load {
    lanes: Arc<Lanes>,
    lane: Arc<SharedLane>,
    key: Key,
    result: watch::Sender<Option<LoadResult>>,
}

impl Load {
    async fn finish(self, found: LoadedOrError) {
        let result = match found {
            Ok(load::Loaded(found)) => self.fold(&found).await,
            Err(error) => Err(error),
        };
        // It ends before its result is told: who reads from here on begins another.
        let waiting = self.result.clone();
        drop(self);
        waiting.send_replace(Some(result));
    }

    /// Folds what was written since the row was read over it.
    async fn fold(&self, found: &Found) -> LoadResult {
        // What is accepted from here on cannot be in the row.
        let horizon = self.lane.lock().core.ledger().next();
        loop {
            let step = self.lanes.change(self.lane.lock(), Held::default(), |state, clean| {
                let step = state.core.loaded(&self.key, found, horizon, clean);
                if !matches!(step, Loaded::WaitFor(_)) {
                    // In the same step: a read of a write that comes after must not join this load.
                    state.loads.remove(&self.key);
                }
                step
            });
            match step {
                Loaded::Row(row) => return Ok(Reading::of(row)),
                Loaded::MayBeBehind(row) => return Ok(Reading { row, may_be_behind: true }),
                // However that write ends, the answer is then known.
                Loaded::WaitFor(ticket) => {
                    let writes = ticket..ticket + 1;
                    if let Err(DeliveryError::Closed) =
                        self.lane.pass(Stage::Replicated, writes).await
                    {
                        return Err(LoadError::new("the handle was closed"));
                    }
                }
            }
        }
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        self.lanes.change(self.lane.lock(), Held::default(), |state, clean| {
            let same = |load: &watch::Receiver<_>| load.same_channel(&self.result.subscribe());
            if state.loads.get(&self.key).is_some_and(same) {
                state.loads.remove(&self.key);
                state.core.load_ends(&self.key, clean);
            }
        });
    }
}

impl Reading {
    fn of(row: Option<Row>) -> Self {
        Self { row, may_be_behind: false }
    }
}

type LoadedOrError = Result<load::Loaded, LoadError>;

impl<K> std::fmt::Debug for Reader<K> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Reader").field("loads", &self.loader.is_some()).finish_non_exhaustive()
    }
}
