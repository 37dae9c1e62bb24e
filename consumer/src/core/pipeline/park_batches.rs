//! How the pipeline parks a batch whose row refers to a missing row, and retries it.
//!
//! A parked batch frees its worker, but keeps its place in its partitions and counts as memory in
//! use. The missing row may be among what any other partition here has read or still has in its
//! log, so a failed try counts only once everything ahead at that time is in the database. Rows
//! that another consumer must write are invisible here; they get the time of a few tries.

use std::time::Duration;

use write_behind_shared::NextOffset;

use crate::core::batch::{Batch, BatchId, RoutePartition};
use crate::core::pipeline::action::Action;
use crate::core::pipeline::parked::ParkedBatch;
use crate::core::pipeline::partition::Fetching;
use crate::core::pipeline::{InFlight, Pipeline};

impl Pipeline {
    /// A batch was rolled back because one of its rows refers to a missing row.
    pub fn park(&mut self, now: Duration, id: BatchId, batch: Box<Batch>) {
        let Some(mut flight) = self.in_flight.remove(&id) else { return };
        let is_ours = |(tp, _): &(RoutePartition, _)| {
            self.partitions.get(tp).is_some_and(|partition| partition.in_flight == Some(id))
        };
        // If every partition was released, the batch is dropped: the next owner reads its records
        // again, and a retry here would only be fenced.
        if flight.tps.iter().any(is_ours) {
            let mut parked = match flight.parked.take() {
                Some(mut parked) => {
                    parked.failed(now, |tp| self.still_comes(*tp));
                    parked
                }
                None => ParkedBatch::new(now, self.limits.bounds.parked, self.ahead_of(&flight)),
            };
            parked.batch = Some(batch);
            flight.parked = Some(parked);
            self.in_flight.insert(id, flight);
        } else {
            self.budget.changed(self.routes[flight.route].limits.priority, flight.bytes, 0);
        }
        self.advance(now);
    }

    /// Updates where these partitions' logs end.
    pub fn ends(&mut self, ends: impl IntoIterator<Item = (RoutePartition, NextOffset)>) {
        for (tp, end) in ends {
            if let Some(partition) = self.partitions.get_mut(&tp) {
                partition.end = Some(end);
            }
        }
    }

    /// How many workers have a batch.
    pub(super) fn at_workers(&self) -> usize {
        self.in_flight.values().filter(|flight| !flight.is_parked()).count()
    }

    /// Hands parked batches that are due to free workers.
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
                    // Refuse only after enough counted tries. Refusing earlier would set a good
                    // record aside because the row it refers to came late.
                    batch.refuse_missing_references =
                        parked.tries >= self.limits.bounds.parked_tries;
                    self.actions.push_back(Action::WriteAgain(id, batch));
                }
            }
            self.in_flight.insert(id, flight);
        }
    }

    /// Drops parked batches whose partitions have all been released.
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

    /// What the other partitions have read or have in their logs, and the database does not have
    /// yet.
    fn ahead_of(&self, flight: &InFlight) -> Vec<(RoutePartition, NextOffset)> {
        let others =
            self.partitions.iter().filter(|(tp, _)| flight.tps.iter().all(|(own, _)| own != *tp));
        let ahead = others.map(|(tp, partition)| {
            (*tp, partition.end.map_or(partition.next, |end| partition.next.max(end)))
        });
        ahead.filter(|ahead| !self.has_come(ahead)).collect()
    }

    /// Whether a partition has come this far, or can't until a parked batch is written: it is
    /// parked itself, or no memory is left to read it.
    fn has_come(&self, (tp, next): &(RoutePartition, NextOffset)) -> bool {
        let Some(partition) = self.partitions.get(tp) else { return true };
        let flight = partition.in_flight.and_then(|id| self.in_flight.get(&id));
        partition.written.is_some_and(|written| written >= *next)
            // Two parked batches that wait for each other would otherwise never be retried.
            || flight.is_some_and(|flight| flight.parked.is_some())
            || self.budget.is_over_limit(self.routes[tp.route].limits.priority)
                && partition.buffer.is_none()
    }

    /// Whether anything of this partition is held, or it is kept from being read. If neither, its
    /// log may end without a record, for example after a transaction marker.
    fn still_comes(&self, tp: RoutePartition) -> bool {
        self.partitions.get(&tp).is_some_and(|partition| {
            partition.buffer.is_some()
                || partition.in_flight.is_some()
                || partition.fetching != Fetching::Yes
        })
    }
}
