//! A read: pending, then the clean copies, then the loader; one load per row at a time.

use std::sync::Arc;
use std::time::Duration;

use tracing::{Instrument as _, debug_span};
use write_behind_shared::partition;

use crate::core::entry::Visible;
use crate::core::ledger::Key;
use crate::core::pending::CleanCopies as _;
use crate::error::{Halt, LoadError, ReadError};
use crate::load::{AnyLoader, Reading};
use crate::metrics::Metrics;
use crate::partitions::admission::Held;
use crate::partitions::partition::SharedLane;
use crate::partitions::sync;
use crate::partitions::tail::Tail;
use crate::partitions::{Lanes, text};
use crate::reads::single_flight::{Load, Waiting, finish_all};

/// Reads rows.
pub(crate) struct Reader<K> {
    pub(crate) lanes: Arc<Lanes>,
    pub(crate) loader: Option<Arc<dyn AnyLoader<K>>>,
    pub(crate) load_timeout: Duration,
    pub(crate) metrics: Arc<Metrics>,
    /// With `follow`.
    pub(crate) tail: Option<Arc<Tail>>,
}

/// How a row is to be had that is not known here.
enum Loading {
    /// By a load that is under way.
    Joined(Waiting),
    /// By this load, which has yet to be run.
    Begun(Load, Waiting),
}

impl<K: Clone + Send + Sync + 'static> Reader<K> {
    /// The row that this process sees.
    pub(crate) async fn read(&self, id: &K, key: Key) -> Result<Reading, ReadError> {
        self.metrics.reads.inc();
        loop {
            if let Some(row) = self.find(&key)? {
                return Ok(row);
            }
            match self.join_load(&key)? {
                Loading::Begun(load, waiting) => {
                    self.run(vec![(id.clone(), load)]);
                    return wait(waiting).await.unwrap_or_else(cut_short);
                }
                Loading::Joined(waiting) => {
                    // Else it ended with the runtime of whoever began it, and this read begins one
                    // on its own, or joins that of another who does.
                    if let Some(result) = wait(waiting).await {
                        return result;
                    }
                }
            }
        }
    }

    /// The rows that this process sees, in the order of the keys; one question to the loader for
    /// all that have to be loaded.
    pub(crate) async fn read_many(&self, rows: Vec<(&K, Key)>) -> Result<Vec<Reading>, ReadError> {
        /// What is known of one row so far.
        enum Place {
            Known(Reading),
            Waits(Waiting, bool),
        }
        let (mut places, mut loads) = (Vec::with_capacity(rows.len()), Vec::new());
        for (id, key) in &rows {
            self.metrics.reads.inc();
            places.push(match self.find(key)? {
                Some(row) => Place::Known(row),
                None => match self.join_load(key)? {
                    Loading::Joined(waiting) => Place::Waits(waiting, true),
                    Loading::Begun(load, waiting) => {
                        loads.push(((*id).clone(), load));
                        Place::Waits(waiting, false)
                    }
                },
            });
        }
        if !loads.is_empty() {
            self.run(loads);
        }
        let mut found = Vec::with_capacity(rows.len());
        for (place, (id, key)) in places.into_iter().zip(rows) {
            found.push(match place {
                Place::Known(row) => row,
                Place::Waits(waiting, joined) => match wait(waiting).await {
                    Some(result) => result?,
                    None if joined => self.read(id, key).await?,
                    None => cut_short()?,
                },
            });
        }
        Ok(found)
    }

    /// Loads the row anew, unless what is pending says what it is.
    pub(crate) async fn refresh(&self, id: &K, key: Key) -> Result<Reading, ReadError> {
        let lane = self.lane(&key)?;
        self.metrics.reads.inc();
        let waiting = {
            let mut state = lane.lock();
            match state.core.read(&key) {
                Some(Visible::Row(row)) => {
                    self.metrics.hits_pending.inc();
                    return Ok(Reading::of(Some(row)));
                }
                Some(Visible::Missing) => {
                    self.metrics.hits_pending.inc();
                    return Ok(Reading::default());
                }
                Some(Visible::NeedsBase) => {}
                // What an earlier load found and has not passed on yet is as old as the copy.
                None => state.core.invalidate(&key),
            }
            if self.loader.is_none() {
                return Err(ReadError::NoLoader);
            }
            self.metrics.misses.inc();
            let (load, waiting) = self.lanes.change(state, Held::default(), |state, _| {
                Load::begin(&self.lanes, lane, state, &key)
            });
            self.run(vec![(id.clone(), load)]);
            waiting
        };
        wait(waiting).await.unwrap_or_else(cut_short)
    }

    /// Forgets the clean copy, and has no load that is under way kept.
    pub(crate) fn invalidate(&self, key: &Key) {
        let Ok(lane) = self.lane(key) else { return };
        self.lanes.change(lane.lock(), Held::default(), |state, clean| {
            state.loads.remove(key);
            state.core.invalidate(key);
            clean.forget(key);
        });
    }

    /// The same for every row.
    pub(crate) fn invalidate_all(&self) {
        for (_, lane) in self.lanes.iter() {
            self.lanes.change(lane.lock(), Held::default(), |state, _| {
                state.loads.clear();
                state.core.invalidate_all();
            });
        }
        // After the lanes: what one of them kept before its turn is among what is forgotten here.
        self.lanes.clean.forget_all();
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

    /// The row, if it is known here.
    fn find(&self, key: &Key) -> Result<Option<Reading>, ReadError> {
        let lane = self.lane(key)?;
        let pending = lane.lock().core.read(key);
        let known = match pending {
            Some(Visible::Row(row)) => Some(row),
            Some(Visible::Missing) => None,
            Some(Visible::NeedsBase) => {
                self.metrics.misses.inc();
                return if self.loader.is_none() { Err(ReadError::NoLoader) } else { Ok(None) };
            }
            None => {
                // A row is put among the clean copies before it stops being pending, so one that
                // was not pending a moment ago is there by now, if anywhere.
                if let Some(row) = self.lanes.clean.look_up(key) {
                    self.metrics.hits_clean.inc();
                    return Ok(Some(Reading::of(row)));
                }
                self.metrics.misses.inc();
                if self.loader.is_some() {
                    return Ok(None);
                }
                let may_be_behind = lane.lock().core.forgotten(key).is_some();
                return Ok(Some(Reading { row: None, may_be_behind }));
            }
        };
        self.metrics.hits_pending.inc();
        Ok(Some(Reading::of(known)))
    }

    /// Joins the load of the row that is under way, or begins one.
    fn join_load(&self, key: &Key) -> Result<Loading, ReadError> {
        let lane = self.lane(key)?;
        let state = lane.lock();
        if let Some(load) = state.loads.get(&**key) {
            return Ok(Loading::Joined(load.clone()));
        }
        let (load, waiting) = self
            .lanes
            .change(state, Held::default(), |state, _| Load::begin(&self.lanes, lane, state, key));
        Ok(Loading::Begun(load, waiting))
    }

    /// Asks the loader, in a task of its own, for all rows at once.
    fn run(&self, rows: Vec<(K, Load)>) {
        let Some(loader) = self.loader.clone() else { return };
        self.metrics.loads.inc_by(rows.len() as u64);
        let timeout = self.load_timeout;
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
            let answer = sync::timeout(timeout, asked).await.unwrap_or_else(|| {
                Err(LoadError::new(format!("the loader gave no answer within {timeout:?}")))
            });
            finish_all(loads, answer).await;
        };
        sync::spawn(asked.instrument(span));
    }

    fn lane(&self, key: &Key) -> Result<&Arc<SharedLane>, ReadError> {
        let lane = self.lanes.of(partition::partition_of(key, self.lanes.count()));
        lane.ok_or_else(|| ReadError::Load(LoadError::new("the topic has no partitions")))
    }
}

/// What the load found; `None`: it ended without an answer.
async fn wait(mut waiting: Waiting) -> Option<Result<Reading, ReadError>> {
    let result = waiting.wait_for(Option::is_some).await.ok()?;
    result.clone().map(|result| result.map_err(ReadError::Load))
}

fn cut_short() -> Result<Reading, ReadError> {
    Err(ReadError::Load(LoadError::new("the runtime that ran the load ended")))
}

impl<K> std::fmt::Debug for Reader<K> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Reader").field("loads", &self.loader.is_some()).finish_non_exhaustive()
    }
}
