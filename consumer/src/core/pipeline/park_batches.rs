//! Batches that wait because a row of theirs refers to one that is not in the database yet: takes how
//! far the other partitions are, says when a batch is tried again and when the row is refused.
//!
//! A parked batch leaves its worker to others, keeps its place in its partitions and is counted in the
//! memory. The row that is missing may stand in what was read or is still in the log of any other
//! partition here, so a try counts only when all that was ahead then is in the database. What another
//! consumer has to write is not seen here, and is given the time of [`TRIES`] tries.

use std::time::Duration;

use write_behind_shared::NextOffset;

use crate::core::batch::{Batch, BatchId, RoutePartition};
use crate::core::pipeline::action::Action;
use crate::core::pipeline::parked::{ParkedBatch, TRIES};
use crate::core::pipeline::partition::Fetching;
use crate::core::pipeline::{InFlight, Pipeline};

impl Pipeline {
    /// A batch was rolled back, for a row of it refers to one that is not there.
    pub fn park(&mut self, now: Duration, id: BatchId, batch: Box<Batch>) {
        let Some(mut flight) = self.in_flight.remove(&id) else { return };
        let is_ours = |(tp, _): &(RoutePartition, _)| {
            self.partitions.get(tp).is_some_and(|partition| partition.in_flight == Some(id))
        };
        if flight.tps.iter().any(is_ours) {
            let mut parked = match flight.parked.take() {
                Some(mut parked) => {
                    parked.failed(now, |tp| self.still_comes(*tp));
                    parked
                }
                None => ParkedBatch::new(now, self.ahead_of(&flight)),
            };
            parked.batch = Some(batch);
            flight.parked = Some(parked);
            self.in_flight.insert(id, flight);
        } else {
            self.budget.changed(self.routes[flight.route].limits.priority, flight.bytes, 0);
        }
        self.advance(now);
    }

    /// The log of these partitions ends there.
    pub fn ends(&mut self, ends: impl IntoIterator<Item = (RoutePartition, NextOffset)>) {
        for (tp, end) in ends {
            if let Some(partition) = self.partitions.get_mut(&tp) {
                partition.end = end;
            }
        }
    }

    /// How many workers have a batch.
    pub(super) fn at_workers(&self) -> usize {
        self.in_flight.values().filter(|flight| !flight.is_parked()).count()
    }

    /// Hands parked batches whose time has come to free workers.
    pub(super) fn dispatch_parked(&mut self, now: Duration) {
        let waiting: Vec<BatchId> = self
            .in_flight
            .iter()
            .filter(|(_, flight)| flight.is_parked())
            .map(|(id, _)| *id)
            .collect();
        for id in waiting {
            let Some(mut flight) = self.in_flight.remove(&id) else { continue };
            if let Some(parked) = &mut flight.parked {
                parked.comes(now, |ahead| self.has_come(ahead));
                if parked.until <= now
                    && self.at_workers() < self.limits.workers
                    && let Some(mut batch) = parked.batch.take()
                {
                    batch.refuse_missing_references = parked.tries >= TRIES;
                    self.actions.push_back(Action::WriteAgain(id, batch));
                }
            }
            self.in_flight.insert(id, flight);
        }
    }

    /// Forgets parked batches of which no partition is left here.
    pub(super) fn forget_parked(&mut self) {
        let (partitions, budget, routes) = (&self.partitions, &mut self.budget, &self.routes);
        self.in_flight.retain(|id, flight| {
            let is_left = |(tp, _): &(RoutePartition, _)| {
                partitions.get(tp).is_some_and(|partition| partition.in_flight == Some(*id))
            };
            let stays = !flight.is_parked() || flight.tps.iter().any(is_left);
            if !stays {
                budget.changed(routes[flight.route].limits.priority, flight.bytes, 0);
            }
            stays
        });
    }

    /// What is read or in the log of the other partitions, and not in the database.
    fn ahead_of(&self, flight: &InFlight) -> Vec<(RoutePartition, NextOffset)> {
        let others =
            self.partitions.iter().filter(|(tp, _)| flight.tps.iter().all(|(own, _)| own != *tp));
        let ahead = others.map(|(tp, partition)| (*tp, partition.next.max(partition.end)));
        ahead.filter(|ahead| !self.has_come(ahead)).collect()
    }

    /// Whether a partition is as far as that, or can't come further before a parked batch is written:
    /// it waits itself, or there is no memory left to read it.
    fn has_come(&self, (tp, next): &(RoutePartition, NextOffset)) -> bool {
        let Some(partition) = self.partitions.get(tp) else { return true };
        let flight = partition.in_flight.and_then(|id| self.in_flight.get(&id));
        partition.written.is_some_and(|written| written >= *next)
            || flight.is_some_and(|flight| flight.parked.is_some())
            || self.budget.is_over_limit(self.routes[tp.route].limits.priority)
                && partition.buffer.is_none()
    }

    /// Whether something of this partition is here or is kept from being read. If not, its log may
    /// end without a record, as after a transaction's marker.
    fn still_comes(&self, tp: RoutePartition) -> bool {
        self.partitions.get(&tp).is_some_and(|partition| {
            partition.buffer.is_some()
                || partition.in_flight.is_some()
                || partition.fetching != Fetching::Yes
        })
    }
}
