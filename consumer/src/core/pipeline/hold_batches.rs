//! Batches that wait because a row of theirs refers to one that is not in the database yet: takes how
//! far the other partitions are, says when a batch is tried again and when the row is refused.
//!
//! A held batch leaves its worker to others, keeps its place in its partitions and is counted in the
//! memory. The row that is missing may stand in what was read or is still in the log of any other
//! partition here, so a try counts only when all that was ahead then is in the database. What another
//! consumer has to write is not seen here, and is given the time of [`TRIES`] tries.

use std::time::Duration;

use write_behind_shared::NextOffset;

use crate::core::batch::{Batch, BatchId, Place};
use crate::core::pipeline::action::Action;
use crate::core::pipeline::held::{Held, TRIES};
use crate::core::pipeline::partition::Fetching;
use crate::core::pipeline::{InFlight, Pipeline};

impl Pipeline {
    /// A batch was rolled back, for a row of it refers to one that is not there.
    pub fn hold(&mut self, now: Duration, id: BatchId, batch: Box<Batch>) {
        let Some(mut flight) = self.in_flight.remove(&id) else { return };
        let is_ours = |(place, _): &(Place, _)| {
            self.parts.get(place).is_some_and(|part| part.in_flight == Some(id))
        };
        if flight.places.iter().any(is_ours) {
            let mut held = match flight.held.take() {
                Some(mut held) => {
                    held.failed(now, |place| self.still_comes(*place));
                    held
                }
                None => Held::new(now, self.ahead_of(&flight)),
            };
            held.batch = Some(batch);
            flight.held = Some(held);
            self.in_flight.insert(id, flight);
        } else {
            self.room.changed(self.lanes[flight.route].limits.priority, flight.bytes, 0);
        }
        self.settle(now);
    }

    /// The log of these partitions ends there.
    pub fn ends(&mut self, ends: impl IntoIterator<Item = (Place, NextOffset)>) {
        for (place, end) in ends {
            if let Some(part) = self.parts.get_mut(&place) {
                part.end = end;
            }
        }
    }

    /// How many workers have a batch.
    pub(super) fn at_workers(&self) -> usize {
        self.in_flight.values().filter(|flight| !flight.is_held()).count()
    }

    /// Hands held batches whose time has come to free workers.
    pub(super) fn dispatch_held(&mut self, now: Duration) {
        let waiting: Vec<BatchId> = self
            .in_flight
            .iter()
            .filter(|(_, flight)| flight.is_held())
            .map(|(id, _)| *id)
            .collect();
        for id in waiting {
            let Some(mut flight) = self.in_flight.remove(&id) else { continue };
            if let Some(held) = &mut flight.held {
                held.comes(now, |ahead| self.has_come(ahead));
                if held.until <= now
                    && self.at_workers() < self.limits.workers
                    && let Some(mut batch) = held.batch.take()
                {
                    batch.refuse_missing_references = held.tries >= TRIES;
                    self.actions.push_back(Action::WriteAgain(id, batch));
                }
            }
            self.in_flight.insert(id, flight);
        }
    }

    /// Forgets held batches of which no partition is left here.
    pub(super) fn forget_held(&mut self) {
        let (parts, room, lanes) = (&self.parts, &mut self.room, &self.lanes);
        self.in_flight.retain(|id, flight| {
            let is_left = |(place, _): &(Place, _)| {
                parts.get(place).is_some_and(|part| part.in_flight == Some(*id))
            };
            let stays = !flight.is_held() || flight.places.iter().any(is_left);
            if !stays {
                room.changed(lanes[flight.route].limits.priority, flight.bytes, 0);
            }
            stays
        });
    }

    /// What is read or in the log of the other partitions, and not in the database.
    fn ahead_of(&self, flight: &InFlight) -> Vec<(Place, NextOffset)> {
        let others = self
            .parts
            .iter()
            .filter(|(place, _)| flight.places.iter().all(|(own, _)| own != *place));
        let ahead = others.map(|(place, part)| (*place, part.next.max(part.end)));
        ahead.filter(|ahead| !self.has_come(ahead)).collect()
    }

    /// Whether a partition is as far as that, or can't come further before a held batch is written:
    /// it waits itself, or there is no memory left to read it.
    fn has_come(&self, (place, next): &(Place, NextOffset)) -> bool {
        let Some(part) = self.parts.get(place) else { return true };
        let flight = part.in_flight.and_then(|id| self.in_flight.get(&id));
        part.written.is_some_and(|written| written >= *next)
            || flight.is_some_and(|flight| flight.held.is_some())
            || self.room.is_tight(self.lanes[place.route].limits.priority) && part.buffer.is_none()
    }

    /// Whether something of this partition is here or is kept from being read. If not, its log may
    /// end without a record, as after a transaction's marker.
    fn still_comes(&self, place: Place) -> bool {
        self.parts.get(&place).is_some_and(|part| {
            part.buffer.is_some() || part.in_flight.is_some() || part.fetching != Fetching::Yes
        })
    }
}
