//! Accepting a write: takes one that has everything but room, gives its ticket.
//!
//! Room, the lane's lock, a ticket, a place in librdkafka's queue and a pending entry are taken
//! together or not at all, and nothing is awaited between them: a caller that goes away either has
//! written or has not (INV-3).

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use tokio::sync::SemaphorePermit;
use write_behind_shared::WriteId;

use crate::error::{Full, Refusal, WriteError};
use crate::metrics::Metrics;
use crate::partitions::Lanes;
use crate::partitions::admission::{Gate, Held, WhenFull};
use crate::partitions::outlet::{Content, NotTaken};
use crate::partitions::partition::State;
use crate::writes::encode::Prepared;
use crate::writes::write::Write;

/// Takes writes of one handle.
#[derive(Debug)]
pub(crate) struct Acceptor {
    pub(crate) lanes: Arc<Lanes>,
    pub(crate) metrics: Arc<Metrics>,
}

/// The room that a write was given.
#[derive(Default)]
struct Room<'g> {
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
            .and_then(|write| self.accept_if_there_is_room(&write, &mut Room::default()));
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
            Ok(write) => match self.accept_if_there_is_room(&write, &mut Room::default()) {
                Err(WriteError::Overloaded(_)) if self.lanes.when_full != WhenFull::Reject => {
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
        room: &mut Room<'g>,
    ) -> Result<Write, WriteError> {
        loop {
            match self.accept(write, room) {
                Err(WriteError::Overloaded(Full::PendingBytes | Full::PendingRows))
                    if self.lanes.make_room(write.partition, write.cost) => {}
                result => return result,
            }
        }
    }

    /// Takes the room it needs, the lane's lock, a ticket and a pending entry: all of them or none.
    fn accept<'g>(&'g self, write: &Prepared, room: &mut Room<'g>) -> Result<Write, WriteError> {
        if let Some(halt) = self.lanes.halt.get() {
            return Err(WriteError::Halted(halt.clone()));
        }
        let gates = &self.lanes.gates;
        if gates.bytes.is_closed() {
            return Err(WriteError::Closed);
        }
        if room.bytes.is_none() {
            let permit = gates.bytes.try_take(write.cost);
            room.bytes = Some(permit.ok_or(WriteError::Overloaded(Full::PendingBytes))?);
        }
        if let Some(in_flight) = &gates.in_flight
            && room.in_flight.is_none()
        {
            let permit = in_flight.try_take(1);
            room.in_flight = Some(permit.ok_or(WriteError::Overloaded(Full::InFlight))?);
        }
        if let Some(bytes) = &gates.in_flight_bytes
            && room.in_flight_bytes.is_none()
        {
            let permit = bytes.try_take(write.cost);
            room.in_flight_bytes = Some(permit.ok_or(WriteError::Overloaded(Full::InFlightBytes))?);
        }
        let Some(lane) = self.lanes.of(write.partition) else { return Err(WriteError::Closed) };
        let state = lane.lock();
        if state.closed {
            return Err(WriteError::Closed);
        }
        if let Some(rows) = &gates.rows
            && room.row.is_none()
            && !state.core.has(&write.key)
        {
            let permit = rows.try_take(1);
            room.row = Some(permit.ok_or(WriteError::Overloaded(Full::PendingRows))?);
        }
        let handed = self.enqueue(write, &state)?;
        let ticket = self.lanes.change(state, room.used(write.cost), |state, clean| {
            let gathers = state.handing.gathers();
            if gathers && let Some(ticket) = state.core.join(&write.key, &write.delta, write.room) {
                state.handing.joined += 1;
                return ticket;
            }
            let key = Arc::clone(&write.key);
            let ticket = state.core.accept(key, write.delta.clone(), clean);
            if handed {
                state.core.hand(ticket);
            } else {
                state.handing.waits(ticket, Instant::now);
                lane.set_waiting(true);
            }
            ticket
        });
        Ok(Write { lane: Arc::clone(lane), ticket })
    }

    /// Gives the write to the Kafka client, unless it has to wait for its turn. Says whether it did.
    fn enqueue(&self, write: &Prepared, state: &State) -> Result<bool, WriteError> {
        let Some(outlet) = &state.outlet else { return Ok(false) };
        let ledger = state.core.ledger();
        if state.handing.gathers() || !ledger.all_are_handed() {
            return Ok(false);
        }
        let write_id = WriteId { writer: self.lanes.writer, sequence: ledger.next() };
        let content =
            Content { key: &write.key, value: write.value.as_deref(), add: write.add.as_deref() };
        match outlet.enqueue(write.partition, write_id, content) {
            Ok(()) => Ok(true),
            Err(NotTaken::Yet) => Ok(false),
            Err(NotTaken::Refused(refusal)) => Err(refusal.into()),
        }
    }

    /// Waits in line for whatever room is missing. Dropped while it waits, it leaves nothing.
    async fn accept_when_there_is_room(&self, write: &Prepared) -> Result<Write, WriteError> {
        let gates = &self.lanes.gates;
        let _waiting = Waiting::new(&gates.waiting);
        let mut room = Room { bytes: gates.bytes.take(write.cost).await, ..Room::default() };
        loop {
            let full = match self.accept_if_there_is_room(write, &mut room) {
                Err(WriteError::Overloaded(full)) => full,
                result => return result,
            };
            match full {
                Full::PendingBytes => room.bytes = gates.bytes.take(write.cost).await,
                Full::PendingRows => room.row = room_at(gates.rows.as_ref(), 1).await,
                Full::InFlight => room.in_flight = room_at(gates.in_flight.as_ref(), 1).await,
                Full::InFlightBytes => {
                    room.in_flight_bytes =
                        room_at(gates.in_flight_bytes.as_ref(), write.cost).await;
                }
            }
        }
    }
}

impl Room<'_> {
    /// The permits are used: what they stood for is given back as the lane's writes go.
    fn used(&mut self, cost: usize) -> Held {
        let used = |permit: &mut Option<SemaphorePermit<'_>>, n: usize| {
            permit.take().map(SemaphorePermit::forget).map_or(0, |()| n)
        };
        Held {
            bytes: used(&mut self.bytes, cost),
            rows: used(&mut self.row, 1),
            in_flight: used(&mut self.in_flight, 1),
            in_flight_bytes: used(&mut self.in_flight_bytes, cost),
        }
    }
}

/// Room for `n` at a limit that was reached, so that there is one; `None`: closed.
async fn room_at(gate: Option<&Gate>, n: usize) -> Option<SemaphorePermit<'_>> {
    gate?.take(n).await
}

/// A write that waits for room.
struct Waiting<'w>(&'w AtomicUsize);

impl<'w> Waiting<'w> {
    fn new(count: &'w AtomicUsize) -> Self {
        count.fetch_add(1, Ordering::AcqRel);
        Self(count)
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::AcqRel);
    }
}
