//! Accepting a write: takes one that has everything but room, gives its ticket.
//!
//! Room, the lane's lock, a ticket, a place in librdkafka's queue and a pending entry are taken
//! together or not at all, and nothing is awaited between them: a caller that goes away either has
//! written or has not (INV-3).

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::SemaphorePermit;
use tracing::{info, warn};

use crate::admission::WhenFull;
use crate::delta::Delta;
use crate::encode::{Limits, Prepared};
use crate::error::{DeliveryError, Full, Refusal, Undelivered, WriteError};
use crate::lanes::{Lanes, Stage};
use crate::persisted::Watching;
use crate::publish::{Polling, Publisher};
use crate::read::Reader;
use crate::write::Write;

/// What all clones of a handle share; when the last one goes, the threads end.
pub(crate) struct Owner<K> {
    pub(crate) topic: String,
    pub(crate) lanes: Arc<Lanes>,
    pub(crate) limits: Limits,
    publisher: Arc<Publisher>,
    pub(crate) reader: Reader<K>,
    threads: Mutex<Option<(Polling, Watching)>>,
}

/// The room that a write was given.
#[derive(Default)]
struct Room<'g> {
    bytes: Option<SemaphorePermit<'g>>,
    row: Option<SemaphorePermit<'g>>,
}

impl<K> Owner<K> {
    pub(crate) fn new(
        topic: String,
        lanes: Arc<Lanes>,
        limits: Limits,
        publisher: Arc<Publisher>,
        reader: Reader<K>,
        threads: (Polling, Watching),
    ) -> Self {
        Self { topic, lanes, limits, publisher, reader, threads: Mutex::new(Some(threads)) }
    }

    pub(crate) fn try_write(
        &self,
        start: Option<Instant>,
        prepared: Result<Prepared, Refusal>,
    ) -> Result<Write, WriteError> {
        let result = prepared
            .map_err(WriteError::from)
            .and_then(|write| self.accept(&write, &mut Room::default(), false));
        self.reader.metrics.written(start, &result);
        result
    }

    pub(crate) async fn write(
        &self,
        start: Option<Instant>,
        prepared: Result<Prepared, Refusal>,
    ) -> Result<Write, WriteError> {
        let result = match prepared {
            Err(refusal) => Err(WriteError::from(refusal)),
            Ok(write) => match self.accept(&write, &mut Room::default(), false) {
                Err(WriteError::Overloaded(_)) if self.lanes.when_full == WhenFull::Wait => {
                    self.accept_when_there_is_room(&write).await
                }
                result => result,
            },
        };
        self.reader.metrics.written(start, &result);
        result
    }

    /// Takes the room it needs, the lane's lock, a ticket, a place in librdkafka's queue and a
    /// pending entry: all of them or none.
    fn accept<'g>(
        &'g self,
        write: &Prepared,
        room: &mut Room<'g>,
        in_line: bool,
    ) -> Result<Write, WriteError> {
        if let Some(halt) = self.lanes.halt.get() {
            return Err(WriteError::Halted(halt.clone()));
        }
        if self.lanes.bytes.is_closed() {
            return Err(WriteError::Closed);
        }
        if !in_line && self.lanes.line.length.load(Ordering::Acquire) > 0 {
            return Err(WriteError::Overloaded(Full::Queue));
        }
        if room.bytes.is_none() {
            let permit = self.lanes.bytes.try_take(write.cost);
            room.bytes = Some(permit.ok_or(WriteError::Overloaded(Full::PendingBytes))?);
        }
        let Some(lane) = self.lanes.of(write.partition) else { return Err(WriteError::Closed) };
        let state = lane.lock();
        if state.closed {
            return Err(WriteError::Closed);
        }
        let idle = !state.core.has(&write.key);
        if let Some(rows) = &self.lanes.rows
            && idle
            && room.row.is_none()
        {
            let permit = rows.try_take(1);
            room.row = Some(permit.ok_or(WriteError::Overloaded(Full::PendingRows))?);
        }
        self.publisher.enqueue(write, state.core.ledger().next())?;
        let granted = (write.cost, usize::from(room.row.is_some()));
        if let Some(permit) = room.bytes.take() {
            permit.forget();
        }
        if let Some(permit) = room.row.take() {
            permit.forget();
        }
        let ticket = self.lanes.change(state, granted, |state, clean| {
            let over = match write.delta {
                Delta::Change(_) if idle => clean.0.get(&write.key),
                _ => None,
            };
            state.core.accept(Arc::clone(&write.key), write.delta.clone(), over)
        });
        Ok(Write { lane: Arc::clone(lane), ticket })
    }

    /// Waits in line for whatever room is missing. Dropped while it waits, it leaves nothing.
    async fn accept_when_there_is_room(&self, write: &Prepared) -> Result<Write, WriteError> {
        let mut room = Room { bytes: self.lanes.bytes.take(write.cost).await, row: None };
        loop {
            match self.accept(write, &mut room, false) {
                Err(WriteError::Overloaded(Full::PendingRows)) => match &self.lanes.rows {
                    Some(rows) => room.row = rows.take(1).await,
                    None => return Err(WriteError::Overloaded(Full::PendingRows)),
                },
                Err(WriteError::Overloaded(Full::PendingBytes)) => {
                    room.bytes = self.lanes.bytes.take(write.cost).await;
                }
                Err(WriteError::Overloaded(Full::Queue)) => break,
                result => return result,
            }
        }
        self.accept_in_line(write, &mut room).await
    }

    /// Waits for librdkafka's queue. Only the first in line tries, so that waiters get in in the
    /// order they came.
    async fn accept_in_line<'g>(
        &'g self,
        write: &Prepared,
        room: &mut Room<'g>,
    ) -> Result<Write, WriteError> {
        let line = &self.lanes.line;
        let _place = InLine::new(&line.length);
        let _turn = line.turn.lock().await;
        loop {
            let moved = line.moved.notified();
            tokio::pin!(moved);
            // Registered before the try, so that room made right after it is not missed.
            moved.as_mut().enable();
            match self.accept(write, room, true) {
                Err(WriteError::Overloaded(Full::Queue)) => moved.await,
                Err(WriteError::Overloaded(Full::PendingRows)) => {
                    if let Some(rows) = &self.lanes.rows {
                        room.row = rows.take(1).await;
                    }
                }
                result => return result,
            }
        }
    }

    pub(crate) async fn pass(&self, stage: Stage) -> Result<(), DeliveryError> {
        let pending: Vec<_> = self
            .lanes
            .iter()
            .map(|(_, lane)| {
                let state = lane.lock();
                let ledger = state.core.ledger();
                let from = match stage {
                    Stage::Replicated => ledger.replicated(),
                    Stage::Persisted => ledger.persisted(),
                };
                (Arc::clone(lane), from..ledger.next())
            })
            .filter(|(_, writes)| !writes.is_empty())
            .collect();
        let mut outcome = Ok(());
        for (lane, writes) in pending {
            outcome = outcome.and(lane.pass(stage, writes).await);
        }
        outcome
    }

    pub(crate) async fn close(&self, deadline: Duration) -> Result<(), Undelivered> {
        self.lanes.stop_intake();
        // Lost writes were told to whoever waits for them; here only the unanswered count.
        let _ = tokio::time::timeout(deadline, self.pass(Stage::Replicated)).await;
        let undelivered = self.lanes.keys_in_flight();
        if let Some((polling, _watching)) = self.take_threads() {
            let joined = tokio::task::spawn_blocking(move || polling.join()).await;
            if let Err(error) = joined {
                warn!(%error, "the polling thread was not waited for");
            }
        }
        info!(topic = self.topic, undelivered = undelivered.len(), "closed");
        if undelivered.is_empty() {
            return Ok(());
        }
        let writes = undelivered.len();
        let mut keys: Vec<String> =
            undelivered.iter().map(|key| String::from_utf8_lossy(key).into_owned()).collect();
        keys.sort_unstable();
        keys.dedup();
        Err(Undelivered { writes, keys })
    }

    fn take_threads(&self) -> Option<(Polling, Watching)> {
        let mut threads = self.threads.lock().unwrap_or_else(PoisonError::into_inner);
        threads.take()
    }
}

impl<K> Drop for Owner<K> {
    fn drop(&mut self) {
        if let Some((polling, _watching)) = self.take_threads() {
            polling.stop();
            let undelivered = self.lanes.keys_in_flight().len();
            if undelivered > 0 {
                warn!(
                    topic = self.topic,
                    undelivered, "dropped without close; call `close` to wait for these writes"
                );
            }
        }
    }
}

/// A place in the line for librdkafka's queue.
struct InLine<'l>(&'l AtomicUsize);

impl<'l> InLine<'l> {
    fn new(length: &'l AtomicUsize) -> Self {
        length.fetch_add(1, Ordering::AcqRel);
        Self(length)
    }
}

impl Drop for InLine<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::AcqRel);
    }
}
