//! Accepting an encoded write.
//!
//! Permits, the partition's lock, a sequence, a place in librdkafka's queue and a pending entry are
//! taken together or not at all, and nothing is awaited between them: a caller that goes away
//! either has written or has not (INV-3).

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use tokio::sync::SemaphorePermit;
use write_behind_shared::WriteId;

use crate::error::{Full, Refusal, WriteError};
use crate::metrics::Metrics;
use crate::partitions::Partitions;
use crate::partitions::admission::{Limit, Usage, WhenFull};
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

/// The permits that a write holds.
#[derive(Default)]
struct Permits<'g> {
    bytes: Option<SemaphorePermit<'g>>,
    row: Option<SemaphorePermit<'g>>,
    in_flight: Option<SemaphorePermit<'g>>,
    in_flight_bytes: Option<SemaphorePermit<'g>>,
}

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
            Ok(write) => match self.accept_if_there_is_room(&write, &mut Permits::default()) {
                Err(WriteError::Overloaded(_)) if self.partitions.when_full != WhenFull::Reject => {
                    self.accept_when_there_is_room(&write).await
                }
                result => result,
            },
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
        if limits.bytes.is_closed() {
            return Err(WriteError::Closed);
        }
        if permits.bytes.is_none() {
            let permit = limits.bytes.try_take(write.cost);
            permits.bytes = Some(permit.ok_or(WriteError::Overloaded(Full::PendingBytes))?);
        }
        if let Some(in_flight) = &limits.in_flight
            && permits.in_flight.is_none()
        {
            let permit = in_flight.try_take(1);
            permits.in_flight = Some(permit.ok_or(WriteError::Overloaded(Full::InFlight))?);
        }
        if let Some(bytes) = &limits.in_flight_bytes
            && permits.in_flight_bytes.is_none()
        {
            let permit = bytes.try_take(write.cost);
            permits.in_flight_bytes =
                Some(permit.ok_or(WriteError::Overloaded(Full::InFlightBytes))?);
        }
        let Some(pending) = self.partitions.of(write.partition) else {
            return Err(WriteError::Closed);
        };
        let state = pending.lock();
        if state.closed {
            return Err(WriteError::Closed);
        }
        if let Some(rows) = &limits.rows
            && permits.row.is_none()
            && !state.core.has(&write.key)
        {
            let permit = rows.try_take(1);
            permits.row = Some(permit.ok_or(WriteError::Overloaded(Full::PendingRows))?);
        }
        let sent = self.enqueue(write, &state)?;
        let sequence = self.partitions.change(state, permits.used(write.cost), |state, cache| {
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
    fn enqueue(&self, write: &Prepared, state: &State) -> Result<bool, WriteError> {
        let Some(outlet) = &state.outlet else { return Ok(false) };
        let ledger = state.core.ledger();
        if state.outbox.coalesces() || !ledger.all_are_sent() {
            return Ok(false);
        }
        let write_id = WriteId { writer: self.partitions.writer, sequence: ledger.next() };
        let content =
            Content { key: &write.key, value: write.value.as_deref(), add: write.add.as_deref() };
        match outlet.enqueue(write.partition, write_id, content) {
            Ok(()) => Ok(true),
            Err(NotTaken::Yet) => Ok(false),
            Err(NotTaken::Refused(refusal)) => Err(refusal.into()),
        }
    }

    /// Waits in line for the permits that are missing. Dropped while it waits, it leaves nothing.
    async fn accept_when_there_is_room(&self, write: &Prepared) -> Result<Write, WriteError> {
        let limits = &self.partitions.limits;
        let _waiting = WaitingWrite::new(&limits.waiting);
        let mut permits =
            Permits { bytes: limits.bytes.take(write.cost).await, ..Permits::default() };
        loop {
            let full = match self.accept_if_there_is_room(write, &mut permits) {
                Err(WriteError::Overloaded(full)) => full,
                result => return result,
            };
            match full {
                Full::PendingBytes => permits.bytes = limits.bytes.take(write.cost).await,
                Full::PendingRows => permits.row = permits_of(limits.rows.as_ref(), 1).await,
                Full::InFlight => {
                    permits.in_flight = permits_of(limits.in_flight.as_ref(), 1).await;
                }
                Full::InFlightBytes => {
                    permits.in_flight_bytes =
                        permits_of(limits.in_flight_bytes.as_ref(), write.cost).await;
                }
            }
        }
    }
}

impl Permits<'_> {
    /// Uses the permits up: what they stood for comes back as the partition's writes go.
    fn used(&mut self, cost: usize) -> Usage {
        let used = |permit: &mut Option<SemaphorePermit<'_>>, n: usize| {
            permit.take().map(SemaphorePermit::forget).map_or(0, |()| n)
        };
        Usage {
            bytes: used(&mut self.bytes, cost),
            rows: used(&mut self.row, 1),
            in_flight: used(&mut self.in_flight, 1),
            in_flight_bytes: used(&mut self.in_flight_bytes, cost),
        }
    }
}

/// Permits of a limit that was reached, so that there is one; `None`: closed.
async fn permits_of(limit: Option<&Limit>, n: usize) -> Option<SemaphorePermit<'_>> {
    limit?.take(n).await
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
