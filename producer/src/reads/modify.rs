//! Read-modify-write: a row is read, given to a closure, and written as that makes it, if it is
//! still what was read; otherwise all of it again.
//!
//! The row is pinned from its reading to its writing, so that under the partition's lock the two
//! can be compared. They are compared by what they say: however the row came back to what the
//! closure saw, what the closure made of it is right.

use std::time::Duration;

use crate::core::delta::Row;
use crate::core::ledger::Key;
use crate::core::usage::Usage;
use crate::error::{LoadError, ModifyError, ReadError, WriteError};
use crate::metrics::Metrics;
use crate::partitions::partition::{SharedPending, Stage};
use crate::partitions::{Partitions, sync};
use crate::reads::reader::Reader;
use crate::writes::accept::Acceptor;
use crate::writes::encode::Prepared;
use crate::writes::permits::Permits;
use crate::writes::receipt::Receipt;

/// How long at least, and at most, a row that could not be kept is left alone before it is loaded
/// again.
const SHORTEST_PAUSE: Duration = Duration::from_millis(1);
const LONGEST_PAUSE: Duration = Duration::from_millis(250);

/// A row that stays in memory as long as this lives.
struct PinnedRow<'p> {
    partitions: &'p Partitions,
    pending: &'p SharedPending,
    key: &'p Key,
}

impl<'p> PinnedRow<'p> {
    fn new(partitions: &'p Partitions, pending: &'p SharedPending, key: &'p Key) -> Self {
        partitions.change(pending.lock(), |state, cache| state.core.pin(key, cache));
        Self { partitions, pending, key }
    }

    /// The row; None: it must be loaded.
    #[expect(clippy::option_option, reason = "not known, and known to be missing")]
    fn row(&self) -> Option<Option<Row>> {
        self.pending.lock().core.pinned(self.key)
    }
}

impl Drop for PinnedRow<'_> {
    fn drop(&mut self) {
        self.partitions.change(self.pending.lock(), |state, cache| {
            state.core.unpin(self.key, cache);
        });
    }
}

impl<K: Clone + Send + Sync + 'static> Reader<K> {
    /// Gives the row to `change` and writes what that makes of it, if anything, unless another
    /// write came in between: then again. Gives what `change` told beside the write.
    pub(crate) async fn modify<Q, T>(
        &self,
        acceptor: &Acceptor,
        (id, key): (&Q, &Key),
        mut change: impl FnMut(Option<&Row>) -> Result<(T, Option<Prepared>), ModifyError>,
    ) -> Result<(T, Option<Receipt>), ModifyError>
    where
        Q: ToOwned<Owned = K> + ?Sized,
    {
        let start = Metrics::sampled_start();
        let mut permits = Permits::default();
        loop {
            let (pinned, row) = self.pin(id, key).await?;
            let (told, write) = change(row.as_ref())?;
            let Some(mut write) = write else { return Ok((told, None)) };
            match acceptor.write_if(start, &mut write, &mut permits, row.as_ref()) {
                Ok(Some(receipt)) => {
                    drop(pinned);
                    acceptor.recorded(&receipt).await?;
                    return Ok((told, Some(receipt)));
                }
                // Another write of the row came in between.
                Ok(None) => {}
                Err(WriteError::Overloaded(full)) if acceptor.waits_for_room() => {
                    // A pinned row takes room that others, or this one, wait for.
                    drop((pinned, told));
                    let needed = Usage::of_write(write.cost);
                    let waiting = acceptor.wait_for_room(full, needed, &mut permits);
                    let waiting = async {
                        waiting.await;
                        Ok(())
                    };
                    acceptor.in_time(waiting).await?;
                }
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// The row, known for sure and kept in memory: loaded first, if it must be.
    async fn pin<'p, Q>(
        &'p self,
        id: &Q,
        key: &'p Key,
    ) -> Result<(PinnedRow<'p>, Option<Row>), ReadError>
    where
        Q: ToOwned<Owned = K> + ?Sized,
    {
        self.metrics.reads.inc();
        let pending = self.pending(key)?;
        let pinned = PinnedRow::new(&self.partitions, pending, key);
        if let Some(row) = pinned.row() {
            self.metrics.hits_pending.inc();
            return Ok((pinned, row));
        }
        self.metrics.misses.inc();
        if self.loader.is_none() {
            return Err(ReadError::NoLoader);
        }
        let (begun, mut pause) = ((self.partitions.clock)(), SHORTEST_PAUSE);
        loop {
            let may_be_behind = match self.load(pending, id, key).await {
                Some(found) => found?.may_be_behind,
                None => false,
            };
            if let Some(row) = pinned.row() {
                return Ok((pinned, row));
            }
            if may_be_behind {
                return Err(ReadError::MayBeBehind);
            }
            let took = (self.partitions.clock)().saturating_duration_since(begun);
            let left = self.load_timeout.saturating_sub(took);
            if left.is_zero() {
                return Err(ReadError::NoAnswerInTime);
            }
            let (has_writes, end) = {
                let state = pending.lock();
                (state.core.has(key), state.core.ledger().next())
            };
            if !has_writes {
                // It was invalidated meanwhile, or the tail is behind what the loader found.
                sync::pause(pause.min(left)).await;
                pause = pause.saturating_mul(2).min(LONGEST_PAUSE);
                continue;
            }
            // Which of the row's increments the loaded row holds can't be told: it holds all that
            // are in the database, so the next load is exact once they are.
            match sync::timeout(left, pending.wait(Stage::Persisted, end)).await {
                Some(true) => {}
                Some(false) => return Err(LoadError::new("the handle was closed").into()),
                None => return Err(ReadError::NoAnswerInTime),
            }
        }
    }
}
