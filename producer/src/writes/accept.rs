//! Acceptance of an encoded write.
//!
//! Permits, the partition's lock, a sequence, a place in librdkafka's queue and a pending entry are
//! taken together or not at all, and nothing is awaited between them: a caller that goes away
//! either has written or has not (INV-3).

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use tokio::sync::SemaphorePermit;
use write_behind_shared::WriteId;

use crate::core::usage::{Full, Usage};
use crate::error::{Refusal, WriteError};
use crate::metrics::Metrics;
use crate::partitions::Partitions;
use crate::partitions::admission::{Limits, WhenFull};
use crate::partitions::outlet::{Content, NotTaken};
use crate::partitions::partition::State;
use crate::writes::encode::Prepared;
use crate::writes::write::Write;

/// Takes writes of one handle.
#[derive(Debug)]
pub(crate) struct Acceptor {
    pub(crate) partitions: Arc<Partitions>,
    pub(crate) metrics: Arc<Metrics>,
}

/// The permits that a write holds, in the order of [`Full::ALL`].
#[derive(Default)]
struct Permits<'l>([Option<SemaphorePermit<'l>>; Full::ALL.len()]);

impl Acceptor {
    /// Takes a write at once or not at all.
    pub(crate) fn try_write(
        &self,
        start: Option<Instant>,
        prepared: Result<Prepared, Refusal>,
    ) -> Result<Write, WriteError> {
        let result = prepared
            .map_err(WriteError::from)
            .and_then(|write| self.accept_if_there_is_room(&write, &mut Permits::default()));
        self.metrics.written(start, &result);
        result
    }

    /// Takes a write, and waits for room if there is none and the handle is set to wait.
    pub(crate) async fn write(
        &self,
        start: Option<Instant>,
        prepared: Result<Prepared, Refusal>,
    ) -> Result<Write, WriteError> {
        let result = match prepared {
            Err(refusal) => Err(WriteError::from(refusal)),
            Ok(write) => {
                // Not in the scrutinee: its permits would live on while the write waits for them.
                let tried = self.accept_if_there_is_room(&write, &mut Permits::default());
                match tried {
                    Err(WriteError::Overloaded(_))
                        if self.partitions.when_full != WhenFull::Reject =>
                    {
                        self.accept_when_there_is_room(&write).await
                    }
                    result => result,
                }
            }
        };
        self.metrics.written(start, &result);
        result
    }

    /// Makes room, where something may be forgotten for it, before it says that there is none.
    fn accept_if_there_is_room<'g>(
        &'g self,
        write: &Prepared,
        permits: &mut Permits<'g>,
    ) -> Result<Write, WriteError> {
        loop {
            match self.accept(write, permits) {
                Err(WriteError::Overloaded(Full::PendingBytes | Full::PendingRows))
                    if self.partitions.make_room(write.partition, write.cost) => {}
                result => return result,
            }
        }
    }

    /// Takes the permits it needs, the partition's lock, a sequence and a pending entry: all of
    /// them or none.
    fn accept<'g>(
        &'g self,
        write: &Prepared,
        permits: &mut Permits<'g>,
    ) -> Result<Write, WriteError> {
        if let Some(halt) = self.partitions.halt.get() {
            return Err(WriteError::Halted(halt.clone()));
        }
        let limits = &self.partitions.limits;
        if limits.are_closed() {
            return Err(WriteError::Closed);
        }
        for limit in [Full::PendingBytes, Full::InFlight, Full::InFlightBytes] {
            permits.take_now(limits, limit, write)?;
        }
        let Some(pending) = self.partitions.of(write.partition) else {
            return Err(WriteError::Closed);
        };
        let mut state = pending.lock();
        // Under the lock: a handle that was closed meanwhile has counted what Kafka must answer,
        // and this write would be neither waited for nor named as undelivered.
        if state.closed {
            return Err(WriteError::Closed);
        }
        // Under the lock too: another write of the row may come or leave, and the row with it.
        if limits.of(Full::PendingRows).is_some() && !state.core.has(&write.key) {
            permits.take_now(limits, Full::PendingRows, write)?;
        }
        // The client has the record before the entry exists. Its answer cannot overtake the entry,
        // because it takes this lock; and a client that refuses leaves nothing to undo.
        let sent = self.enqueue(write, &mut state)?;
        state.granted = state.granted + permits.used(write);
        let sequence = self.partitions.change(state, |state, cache| {
            let coalesces = state.outbox.coalesces();
            if coalesces
                && let Some(sequence) =
                    state.core.join(&write.key, &write.delta, write.joined_bytes_max)
            {
                state.outbox.coalesced += 1;
                return sequence;
            }
            let key = Arc::clone(&write.key);
            let sequence = state.core.accept(key, write.delta.clone(), cache);
            if sent {
                state.core.mark_sent(sequence);
            } else {
                state.outbox.waits(sequence, self.partitions.clock);
                pending.set_waiting(true);
            }
            sequence
        });
        Ok(Write { pending: Arc::clone(pending), sequence })
    }

    /// Enqueues the write with the Kafka client, unless it has to wait for its turn. Says whether
    /// it did.
    fn enqueue(&self, write: &Prepared, state: &mut State) -> Result<bool, WriteError> {
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
        let write_id = WriteId { writer: self.partitions.writer, sequence };
        let content =
            Content { key: &write.key, value: write.value.as_deref(), add: write.add.as_deref() };
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
    async fn accept_when_there_is_room(&self, write: &Prepared) -> Result<Write, WriteError> {
        let limits = &self.partitions.limits;
        let _waiting = WaitingWrite::new(&limits.waiting);
        let mut permits = Permits::default();
        permits.take(limits, Full::PendingBytes, write).await;
        loop {
            match self.accept_if_there_is_room(write, &mut permits) {
                Err(WriteError::Overloaded(full)) => permits.take(limits, full, write).await,
                result => return result,
            }
        }
    }
}

impl<'l> Permits<'l> {
    /// Takes what the write needs of a limit, unless it has it already.
    fn take_now(
        &mut self,
        limits: &'l Limits,
        which: Full,
        write: &Prepared,
    ) -> Result<(), WriteError> {
        let permit = &mut self.0[which as usize];
        if let (None, Some(limit)) = (&permit, limits.of(which)) {
            let taken = limit.try_take(Usage::of_write(write.cost)[which]);
            *permit = Some(taken.ok_or(WriteError::Overloaded(which))?);
        }
        Ok(())
    }

    /// Like `take_now`, but waits for room. Takes nothing if the handle is closed meanwhile.
    async fn take(&mut self, limits: &'l Limits, which: Full, write: &Prepared) {
        if let Some(limit) = limits.of(which) {
            self.0[which as usize] = limit.take(Usage::of_write(write.cost)[which]).await;
        }
    }

    /// Uses the permits up: what they stood for comes back as the partition's writes go.
    fn used(&mut self, write: &Prepared) -> Usage {
        let mut usage = Usage::of_write(write.cost);
        for (permit, amount) in self.0.iter_mut().zip(&mut usage.0) {
            match permit.take() {
                Some(permit) => permit.forget(),
                None => *amount = 0,
            }
        }
        usage
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
