//! A load under way, shared by all who wait for its row.
//!
//! It runs as a task of its own, so a reader that is cancelled takes nothing from the others. It is
//! registered in its partition before the loader is asked, and what was written in the meantime is
//! folded over what the loader found. When the row is invalidated, the load goes on for those who
//! already wait for it, and what it finds is not kept.
//!
//! INV-4: a load never overwrites a newer write or delete.

use std::sync::Arc;
use std::time::Duration;

use crate::core::ledger::{Key, Sequence};
use crate::core::loaded::{Loaded, Reading};
use crate::error::{LoadError, ReadError};
use crate::partitions::loads::{LoadReceiver, LoadSender};
use crate::partitions::partition::{SharedPending, Stage, State};
use crate::partitions::{Partitions, sync};

/// A load under way. Dropped unfinished, because the loader failed or panicked or the runtime
/// ended, it leaves the row as if it had not begun.
pub(crate) struct Load {
    partitions: Arc<Partitions>,
    pending: Arc<SharedPending>,
    key: Key,
    result: LoadSender,
    /// Its partition knows that it is over.
    over: bool,
}

impl Load {
    /// Begins a load of the row in the partition whose lock is held as `state`. An earlier load of
    /// the row that is still under way is not kept.
    pub(crate) fn begin(
        partitions: &Arc<Partitions>,
        pending: &Arc<SharedPending>,
        state: &mut State,
        key: &Key,
    ) -> (Self, LoadReceiver) {
        let (result, waiting) = state.loads.begins(&mut state.core, key);
        let load = Self {
            partitions: Arc::clone(partitions),
            pending: Arc::clone(pending),
            key: Key::clone(key),
            result,
            over: false,
        };
        (load, waiting)
    }

    /// The row that is loaded.
    pub(crate) fn key(&self) -> &Key {
        &self.key
    }

    /// Tells everyone who waits for the load.
    pub(crate) fn tell(self, result: Result<Reading, ReadError>) {
        // It ends before its result is told: who reads from here on begins another.
        let waiting = self.result.clone();
        drop(self);
        waiting.send_replace(Some(result));
    }

    /// What is accepted from here on cannot be in a row that the loader has found.
    fn horizon(&self) -> Sequence {
        self.pending.lock().core.ledger().next()
    }

    /// Folds what was written since the row was read over it. `Err`: try again when Kafka has
    /// answered the write of this sequence.
    fn fold(&mut self, found: &Loaded, horizon: Sequence) -> Result<Reading, Sequence> {
        let outcome = self.partitions.change(self.pending.lock(), |state, cache| {
            let load = (&self.key, &self.result);
            state.loads.found(&mut state.core, load, found, horizon, cache)
        });
        self.over = outcome.is_ok();
        outcome
    }

    /// The same, and waits for Kafka's answers, but no longer than `time_left` says.
    async fn finish(mut self, found: Loaded, horizon: Sequence, time_left: impl Fn() -> Duration) {
        let result = loop {
            match self.fold(&found, horizon) {
                Ok(row) => break Ok(row),
                // However that write ends, the answer is then known.
                Err(sequence) => {
                    let answered = self.pending.wait(Stage::Replicated, sequence + 1);
                    match sync::timeout(time_left(), answered).await {
                        Some(true) => {}
                        Some(false) => break Err(LoadError::new("the handle was closed").into()),
                        None => break Err(ReadError::NoAnswerInTime),
                    }
                }
            }
        };
        self.tell(result);
    }
}

/// Finishes all of `loads`, for whose rows a loader gave these answers in one go. `time_left`: how
/// long they may still take.
pub(crate) async fn finish_all(
    loads: Vec<Load>,
    answer: Result<Vec<Loaded>, LoadError>,
    time_left: impl Fn() -> Duration,
) {
    let found = match answer {
        Ok(found) if found.len() == loads.len() => found,
        Ok(found) => {
            let (rows, keys) = (found.len(), loads.len());
            let error = format!("the loader gave {rows} answers to {keys} keys");
            return fail_all(loads, &LoadError::new(error));
        }
        Err(error) => return fail_all(loads, &error),
    };
    let mut unanswered = Vec::new();
    for (mut load, found) in loads.into_iter().zip(found) {
        let horizon = load.horizon();
        match load.fold(&found, horizon) {
            Ok(row) => load.tell(Ok(row)),
            // The others need not wait for this one's write.
            Err(_) => unanswered.push((load, found, horizon)),
        }
    }
    for (load, found, horizon) in unanswered {
        load.finish(found, horizon, &time_left).await;
    }
}

fn fail_all(loads: Vec<Load>, error: &LoadError) {
    for load in loads {
        load.tell(Err(error.clone().into()));
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        if self.over {
            return;
        }
        self.partitions.change(self.pending.lock(), |state, cache| {
            state.loads.fails(&mut state.core, (&self.key, &self.result), cache);
        });
        if std::thread::panicking() {
            self.result.send_replace(Some(Err(LoadError::new("the loader panicked").into())));
        }
    }
}
