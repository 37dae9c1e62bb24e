//! Acceptance of an encoded write.
//!
//! Permits, the partition's lock, a sequence, a place in librdkafka's queue and a pending entry are
//! taken together or not at all, and nothing is awaited between them: a caller that goes away
//! either has written or has not (INV-3).

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use crate::core::delta::{Delta, Row};
use crate::core::ledger::Sequence;
use crate::core::priority::Priority;
use crate::core::usage::{Full, Usage};
use crate::error::{Refusal, WriteError};
use crate::metrics::Metrics;
use crate::partitions::Partitions;
use crate::partitions::admission::WhenFull;
use crate::partitions::cache::RowCache;
use crate::partitions::outlet::{Content, NotTaken};
use crate::partitions::partition::{Extras, SharedPending, State};
use crate::partitions::sync::{self, MutexGuard};
use crate::writes::encode::Prepared;
use crate::writes::entry::record;
use crate::writes::permits::Permits;
use crate::writes::receipt::{Accepted, Receipt};

/// How many writes that wait are handed over ahead of a new one. More than one, so that a backlog
/// ends however busy the polling thread is.
const WAITING_AT_ONCE: usize = 4;

/// Takes writes of one handle.
#[derive(Debug)]
pub(crate) struct Acceptor {
    pub(crate) partitions: Arc<Partitions>,
    /// How long a write may wait for room.
    pub(crate) write_timeout: Option<Duration>,
    /// Whether a write returns only when it is recorded.
    pub(crate) waits_recorded: bool,
    pub(crate) metrics: Arc<Metrics>,
}

impl Acceptor {
    /// Takes a write at once or not at all.
    pub(crate) fn try_write(
        &self,
        start: Option<Instant>,
        prepared: Result<Prepared, Refusal>,
    ) -> Result<Receipt, WriteError> {
        let result = prepared.map_err(WriteError::from).and_then(|mut write| {
            self.accept_if_there_is_room(&mut write, &mut Permits::default())
        });
        self.written(start, &result);
        result
    }

    /// Takes a write, and waits for room if there is none and the handle is set to wait.
    pub(crate) async fn write(
        &self,
        start: Option<Instant>,
        prepared: Result<Prepared, Refusal>,
    ) -> Result<Receipt, WriteError> {
        let result = match prepared {
            Err(refusal) => Err(WriteError::from(refusal)),
            Ok(mut write) => {
                // Not in the scrutinee: its permits would live on while the write waits for them.
                let tried = self.accept_if_there_is_room(&mut write, &mut Permits::default());
                match tried {
                    Err(WriteError::Overloaded(_)) if self.waits_for_room() => {
                        self.in_time(self.accept_when_there_is_room(&mut write)).await
                    }
                    result => result,
                }
            }
        };
        self.written(start, &result);
        if let Ok(receipt) = &result {
            self.recorded(receipt).await?;
        }
        result
    }

    /// Waits until the write is recorded, if it must be before its call returns.
    pub(crate) async fn recorded(&self, receipt: &Receipt) -> Result<(), WriteError> {
        #[cfg(feature = "journal")]
        if self.waits_recorded && receipt.recorded().await.is_err() {
            self.check_open()?;
            return Err(WriteError::Closed);
        }
        #[cfg(not(feature = "journal"))]
        let _ = (receipt, self.waits_recorded);
        Ok(())
    }

    fn written(&self, start: Option<Instant>, result: &Result<Receipt, WriteError>) {
        self.metrics.written(start, result);
        if let (Some(start), Ok(receipt)) = (start, result) {
            receipt.pending.lock().time(receipt.sequence, start);
        }
    }

    /// Accepts the write if its pinned row is still `seen`; otherwise returns `None`.
    pub(crate) fn write_if<'g>(
        &'g self,
        start: Option<Instant>,
        write: &mut Prepared,
        permits: &mut Permits<'g>,
        seen: Option<&Row>,
    ) -> Result<Option<Receipt>, WriteError> {
        let result = self.enter(write, permits).and_then(|(pending, mut state)| {
            // Under the lock that the write is taken under, so that nothing comes in between.
            let is_seen = state.core.pinned(&write.key).is_some_and(|row| row.as_ref() == seen);
            if is_seen { self.accept(write, permits, pending, state).map(Some) } else { Ok(None) }
        });
        match &result {
            Ok(None) => {}
            Err(WriteError::Overloaded(_)) if self.waits_for_room() => {}
            _ => self.metrics.written(start, &result),
        }
        result
    }

    /// Whether a write that finds no room waits for it.
    pub(crate) fn waits_for_room(&self) -> bool {
        self.partitions.when_full != WhenFull::Reject
    }

    /// Waits in line for what writes lack. Dropped while it waits, it leaves nothing.
    pub(crate) async fn wait_for_room<'g>(
        &'g self,
        lacking: Full,
        needed: Usage,
        permits: &mut Permits<'g>,
    ) {
        let limits = &self.partitions.limits;
        let _waiting = WaitingWrite::new(&limits.waiting);
        if let (Full::Journal, Some(journal)) = (lacking, &self.partitions.journal) {
            journal.wait_for_room().await;
        }
        permits.take(limits, lacking, needed).await;
    }

    /// Waits for room, at most as long as a write may.
    pub(crate) async fn in_time<T>(
        &self,
        waiting: impl Future<Output = Result<T, WriteError>>,
    ) -> Result<T, WriteError> {
        match self.write_timeout {
            Some(time) => {
                sync::timeout(time, waiting).await.unwrap_or(Err(WriteError::NoRoomInTime))
            }
            None => waiting.await,
        }
    }

    /// Why no more writes are accepted, if so.
    pub(crate) fn check_open(&self) -> Result<(), WriteError> {
        if let Some(halt) = self.partitions.halt.get() {
            return Err(WriteError::Halted(halt.clone()));
        }
        if self.partitions.limits.are_closed() { Err(WriteError::Closed) } else { Ok(()) }
    }

    fn accept_if_there_is_room<'g>(
        &'g self,
        write: &mut Prepared,
        permits: &mut Permits<'g>,
    ) -> Result<Receipt, WriteError> {
        match self.enter(write, permits) {
            Ok((pending, state)) => self.accept(write, permits, pending, state),
            Err(WriteError::Overloaded(full)) => {
                self.accept_without_room(write).ok_or(WriteError::Overloaded(full))
            }
            Err(error) => Err(error),
        }
    }

    /// Takes a write that goes with an earlier one of its row and adds next to nothing to it: another
    /// increment of a counter needs no room.
    fn accept_without_room(&self, write: &Prepared) -> Option<Receipt> {
        let pending = self.partitions.of(write.partition)?;
        let state = pending.lock();
        if state.closed || !state.outbox.coalesces() {
            return None;
        }
        let accepted = self.partitions.change(state, |state, _| {
            let bytes_max = state.core.joined_without_room(&write.key)?;
            self.join(write, state, bytes_max).ok()?
        })?;
        self.hurry(write, pending, accepted.sequence);
        Some(Receipt::new(pending, accepted))
    }

    /// The write goes with an earlier one, if one record of at most `bytes_max` says both. None: it
    /// does not.
    fn join(
        &self,
        write: &Prepared,
        state: &mut State,
        bytes_max: usize,
    ) -> Result<Option<Accepted>, WriteError> {
        let position = match &self.partitions.journal {
            None => None,
            Some(journal) => {
                let joins = state.core.would_join(&write.key, &write.delta, bytes_max);
                let Some(sequence) = joins else { return Ok(None) };
                let position = record(journal, write, state, Some(sequence))?;
                state.journaled.join(sequence, position);
                Some(position)
            }
        };
        let joined = state.core.join(&write.key, &write.delta, bytes_max);
        let Some(sequence) = joined else { return Ok(None) };
        state.outbox.coalesced += 1;
        if write.priority == Priority::High {
            state.extras.entry(sequence).or_default().priority = Priority::High;
            state.outbox.hurries(sequence);
        }
        Ok(Some(Accepted { sequence, position }))
    }

    fn hurry(&self, write: &Prepared, pending: &SharedPending, sequence: Sequence) {
        if write.priority == Priority::High && pending.has_waiting() {
            self.partitions.hurry(pending, sequence);
        }
    }

    /// The lock of the write's partition, with permits for what the write needs. Makes room, where
    /// something may be forgotten for it, before it says that there is none.
    fn enter<'g>(
        &'g self,
        write: &Prepared,
        permits: &mut Permits<'g>,
    ) -> Result<(&'g Arc<SharedPending>, MutexGuard<'g, State>), WriteError> {
        loop {
            match self.try_enter(write, permits) {
                Err(WriteError::Overloaded(Full::PendingBytes | Full::PendingRows))
                    if self.partitions.make_room(write.partition, write.cost) => {}
                result => return result,
            }
        }
    }

    fn try_enter<'g>(
        &'g self,
        write: &Prepared,
        permits: &mut Permits<'g>,
    ) -> Result<(&'g Arc<SharedPending>, MutexGuard<'g, State>), WriteError> {
        self.check_open()?;
        let (limits, needed) = (&self.partitions.limits, Usage::of_write(write.cost));
        for limit in Full::TAKEN.into_iter().filter(|limit| *limit != Full::PendingRows) {
            permits.take_now(limits, limit, needed)?;
        }
        let Some(pending) = self.partitions.of(write.partition) else {
            return Err(WriteError::Closed);
        };
        let state = pending.lock();
        // Under the lock: a handle that was closed meanwhile has counted what Kafka must answer,
        // and this write would be neither waited for nor named as undelivered.
        if state.closed {
            return Err(WriteError::Closed);
        }
        // Under the lock too: another write of the row may come or leave, and the row with it.
        if limits.of(Full::PendingRows).is_some() && !state.core.has(&write.key) {
            permits.take_now(limits, Full::PendingRows, needed)?;
        }
        Ok((pending, state))
    }

    fn accept(
        &self,
        write: &mut Prepared,
        permits: &mut Permits<'_>,
        pending: &Arc<SharedPending>,
        state: MutexGuard<'_, State>,
    ) -> Result<Receipt, WriteError> {
        let accepted = self.partitions.change(state, |state, cache| {
            let accepted = self.accept_locked(write, pending, (state, cache));
            if accepted.is_ok() {
                state.granted = state.granted + permits.use_up();
            }
            accepted
        })?;
        self.hurry(write, pending, accepted.sequence);
        Ok(Receipt::new(pending, accepted))
    }

    /// Under the partition's lock: the write gets a sequence, a place in the client's queue and a
    /// pending entry, which has what it writes from then on; or nothing changes.
    pub(crate) fn accept_locked(
        &self,
        write: &mut Prepared,
        pending: &SharedPending,
        (state, cache): (&mut State, &RowCache),
    ) -> Result<Accepted, WriteError> {
        // The client has the record before the entry exists. Its answer cannot overtake the entry,
        // because it takes this lock; and a client that refuses leaves nothing to undo.
        let sent = self.enqueue(write, state)?;
        if state.outbox.coalesces()
            && let Some(accepted) = self.join(write, state, write.joined_bytes_max)?
        {
            return Ok(accepted);
        }
        // The last step that may refuse the write.
        let position = match &self.partitions.journal {
            None => None,
            Some(journal) => {
                let position = record(journal, write, state, None)?;
                state.journaled.push(position);
                Some(position)
            }
        };
        let delta = std::mem::replace(&mut write.delta, Delta::Delete);
        let sequence = state.core.accept(&write.key, delta, cache);
        if write.headers.is_some() || write.priority != Priority::Normal {
            let extras = Extras { headers: write.headers.take(), priority: write.priority };
            state.extras.insert(sequence, extras);
        }
        if sent {
            state.core.mark_sent(sequence);
        } else {
            state.outbox.waits(sequence, self.partitions.clock);
            if write.priority == Priority::High {
                state.outbox.hurries(sequence);
            }
            pending.set_waiting(true);
        }
        Ok(Accepted { sequence, position })
    }

    /// Enqueues the write with the Kafka client, unless it has to wait for its turn. Says whether
    /// it did.
    fn enqueue(&self, write: &Prepared, state: &mut State) -> Result<bool, WriteError> {
        if !state.core.ledger().all_are_sent() {
            state.hand_over_some(write.partition, WAITING_AT_ONCE);
        }
        // INV-17: the client gets it when it is recorded.
        if self.partitions.journal.is_some() {
            return Ok(false);
        }
        let Some(outlet) = &state.outlet else { return Ok(false) };
        let sequence = state.core.ledger().next();
        // Behind a write that waits, all wait (INV-15): sent now, this one would be ahead of it in
        // the log, and the consumer would drop the other as a duplicate of an older sequence.
        if state.outbox.coalesces()
            || !state.core.ledger().all_are_sent()
            || !state.gate.is_open() && !state.may_be_first()
            || !state.window_has_room()
        {
            return Ok(false);
        }
        let write_id = state.ids.of(sequence);
        let (value, add) = (write.value(), write.add.as_deref());
        let (headers, priority) = (write.headers.as_deref(), write.priority);
        let content = Content { sequence, key: &write.key, value, add, headers, priority };
        match outlet.enqueue(write.partition, write_id, content) {
            Ok(()) => Ok(true),
            Err(NotTaken::Yet) => Ok(false),
            // It waits with those behind it, and is sent once that has passed.
            Err(NotTaken::NotNow(reason)) => {
                state.gate.hold(&reason);
                Ok(false)
            }
            Err(NotTaken::Refused(refusal)) => Err(refusal.into()),
        }
    }

    /// Waits in line for the permits that are missing. Dropped while it waits, it leaves nothing.
    async fn accept_when_there_is_room(&self, write: &mut Prepared) -> Result<Receipt, WriteError> {
        let (mut permits, mut lacking) = (Permits::default(), Full::PendingBytes);
        loop {
            self.wait_for_room(lacking, Usage::of_write(write.cost), &mut permits).await;
            match self.accept_if_there_is_room(write, &mut permits) {
                Err(WriteError::Overloaded(full)) => lacking = full,
                result => return result,
            }
        }
    }
}

/// A write that waits for room.
struct WaitingWrite<'w>(&'w AtomicUsize);

impl<'w> WaitingWrite<'w> {
    fn new(count: &'w AtomicUsize) -> Self {
        count.fetch_add(1, Ordering::AcqRel);
        Self(count)
    }
}

impl Drop for WaitingWrite<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::AcqRel);
    }
}

#[cfg(test)]
#[path = "tests/accept.rs"]
mod tests;
