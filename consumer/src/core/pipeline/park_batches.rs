//! How the pipeline parks a batch whose row refers to a missing row, and retries it.
//!
//! A parked batch frees its worker, but keeps its place in its partitions and counts as memory in
//! use. The missing row may be among what any other partition has read or still has in its log,
//! also one that another process has, so a failed try counts only once everything that was ahead at
//! the first one is in the database.

use std::time::Duration;

use write_behind_shared::NextOffset;

use crate::core::batch::{Batch, BatchId, RoutePartition};
use crate::core::pipeline::action::{Action, Notice};
use crate::core::pipeline::ahead::{Ahead, Survey, Surveyed};
use crate::core::pipeline::parked::ParkedBatch;
use crate::core::pipeline::partition::{Fetching, PartitionState};
use crate::core::pipeline::{InFlight, Pipeline};

impl Pipeline {
    /// A batch was rolled back because one of its rows refers to a missing row. `survey`: where all
    /// partitions stood after that.
    pub fn park(&mut self, now: Duration, id: BatchId, batch: Box<Batch>, survey: &Survey) {
        let Some(mut flight) = self.in_flight.remove(&id) else { return };
        let is_ours = |(tp, _): &(RoutePartition, _)| {
            self.partitions.get(tp).is_some_and(|partition| partition.in_flight == Some(id))
        };
        // If every partition was released, the batch is dropped: the next owner reads its records
        // again, and a retry here would only be fenced.
        if flight.tps.iter().any(is_ours) {
            let mut parked = if let Some(mut parked) = flight.parked.take() {
                parked.failed(now, survey, |ahead| self.still_comes(now, &flight, ahead));
                parked
            } else {
                let ahead = self.ahead_of(now, &flight, survey);
                ParkedBatch::new(now, self.limits.bounds.parked, ahead)
            };
            for (tp, _) in &flight.tps {
                self.held.remove(*tp);
            }
            self.look_for_a_restore(now, &flight, &mut parked, survey);
            parked.batch = Some(batch);
            flight.parked = Some(parked);
            self.in_flight.insert(id, flight);
        } else {
            self.budget.changed(self.routes[flight.route].limits.priority, flight.bytes, 0);
        }
        self.advance(now);
    }

    /// A database that was restored may have lost the missing row with what was written to it, and a
    /// partition without new records would meet no fence that says so. So a partition of which it
    /// holds less than was written, at two looks in a row, is located and read again, and waited for.
    /// One look proves nothing: it may be from before the last batch.
    fn look_for_a_restore(
        &mut self,
        now: Duration,
        flight: &InFlight,
        parked: &mut ParkedBatch,
        survey: &Survey,
    ) {
        let behind = |(tp, partition): (&RoutePartition, &PartitionState)| {
            let (written, standing) = (partition.written?, survey.0.get(tp)?);
            let is_idle = partition.reading && partition.in_flight.is_none();
            let is_other = flight.tps.iter().all(|(own, _)| own != tp);
            let is_behind = is_idle && is_other && standing.written? < written;
            is_behind.then_some((*tp, written))
        };
        let behind: Vec<(RoutePartition, NextOffset)> =
            self.partitions.iter().filter_map(behind).collect();
        let before = std::mem::replace(&mut parked.behind, behind);
        let restored: Vec<_> =
            parked.behind.iter().copied().filter(|one| before.contains(one)).collect();
        for (tp, written) in &restored {
            let Some(partition) = self.partitions.get_mut(tp) else { continue };
            let Some(standing) = survey.0.get(tp) else { continue };
            let end = Some(partition.next.max(partition.end.unwrap_or_default()));
            parked.waits_also_for(Ahead::new(now, *tp, Surveyed { end, ..*standing }));
            // Not when it is located: until then the row would count as one that has come.
            partition.written = standing.written;
            let back = standing.written.unwrap_or_default();
            self.actions.push_back(Action::Tell(Notice::DatabaseWentBack(*tp, *written, back)));
        }
        let restored: Vec<RoutePartition> = restored.into_iter().map(|(tp, _)| tp).collect();
        self.locate_again(&restored);
    }

    /// Updates where these partitions' logs end.
    pub fn ends(&mut self, ends: impl IntoIterator<Item = (RoutePartition, NextOffset)>) {
        for (tp, end) in ends {
            if let Some(partition) = self.partitions.get_mut(&tp) {
                partition.end = Some(end);
            }
        }
    }

    /// Whether a parked batch waits for nothing but a connection.
    pub(super) fn has_parked_due(&self, now: Duration) -> bool {
        let mut parked = self.in_flight.values().filter(|flight| flight.is_parked());
        parked.any(|flight| flight.parked.as_ref().is_some_and(|parked| parked.until <= now))
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
                    if parked.tries > 0 {
                        self.join_waiting(id, &mut flight, &mut batch);
                    }
                    // Refuse only after enough counted tries, and look only now: a batch that has
                    // just been joined may have had fewer. Refusing earlier would set a good record
                    // aside because the row it refers to came late.
                    let tries = flight.parked.as_ref().map_or(0, |parked| parked.tries);
                    batch.refuse_missing_references = tries >= self.limits.bounds.parked_tries;
                    self.actions.push_back(Action::WriteAgain(id, batch));
                }
            }
            self.in_flight.insert(id, flight);
        }
    }

    /// Joins the parked batches of the same route to a batch that has nothing to wait for any more: the
    /// rows of a table may refer to each other, and each batch may have a row that the other one lacks.
    fn join_waiting(&mut self, id: BatchId, flight: &mut InFlight, batch: &mut Batch) {
        let partitions = &self.partitions;
        let is_whole = |id: BatchId, flight: &InFlight| {
            let is_ours = |tp| partitions.get(tp).is_some_and(|it| it.in_flight == Some(id));
            flight.tps.iter().all(|(tp, _)| is_ours(tp))
        };
        if !is_whole(id, flight) {
            return;
        }
        let joins = |(other, it): &(&BatchId, &InFlight)| {
            it.route == flight.route && it.is_parked() && is_whole(**other, it)
        };
        let joining: Vec<BatchId> =
            self.in_flight.iter().filter(joins).map(|(other, _)| *other).collect();
        for other in joining {
            let Some(other) = self.in_flight.remove(&other) else { continue };
            for (tp, _) in &other.tps {
                if let Some(partition) = self.partitions.get_mut(tp) {
                    partition.in_flight = Some(id);
                }
            }
            flight.bytes += other.bytes;
            flight.rows += other.rows;
            flight.tps.extend(other.tps);
            flight.tps.sort_by_key(|(tp, _)| *tp);
            let (Some(parked), Some(mut joined)) = (&mut flight.parked, other.parked) else {
                continue;
            };
            if let Some(joined) = joined.batch.take() {
                batch.join(*joined);
            }
            let tps = &flight.tps;
            parked.join(&joined, |tp| tps.iter().any(|(own, _)| *own == tp));
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
    fn ahead_of(&self, now: Duration, flight: &InFlight, survey: &Survey) -> Vec<Ahead> {
        let own = self.partitions.iter().map(|(tp, partition)| {
            let seen = Some(partition.end.map_or(partition.next, |end| partition.next.max(end)));
            // One that was asked about in vain may have more than was read of it.
            let end = survey
                .0
                .get(tp)
                .map_or(seen, |standing| standing.end.max(seen).filter(|_| standing.end.is_some()));
            Ahead::new(now, *tp, Surveyed { end, written: partition.written })
        });
        let elsewhere = survey.0.iter().filter(|(tp, _)| !self.partitions.contains_key(tp));
        let elsewhere = elsewhere.map(|(tp, standing)| Ahead::new(now, *tp, *standing));
        own.chain(elsewhere)
            .filter(|ahead| flight.tps.iter().all(|(tp, _)| *tp != ahead.tp))
            .filter(|ahead| !self.has_come(ahead))
            .collect()
    }

    /// Whether a partition has come this far.
    fn has_come(&self, ahead: &Ahead) -> bool {
        let Some(partition) = self.partitions.get(&ahead.tp) else { return ahead.has_passed() };
        ahead.end.is_some_and(|end| partition.written >= Some(end))
    }

    /// Whether something may still come out of a partition before the parked batch of `flight` is
    /// written.
    fn still_comes(&self, now: Duration, flight: &InFlight, ahead: &Ahead) -> bool {
        let first = |flight: &InFlight| flight.tps.first().map(|(tp, _)| *tp);
        let Some((other, parked)) = self.parked_at(ahead.tp) else {
            return self.brings(now, ahead);
        };
        // If parked batches wait only for each other, only the first is retried. If all were, a row
        // that needs one of the others might be refused.
        let is_ours = |tp| flight.tps.iter().any(|(own, _)| *own == tp);
        first(other) < first(flight)
            || parked.ahead().iter().any(|ahead| {
                !is_ours(ahead.tp) && self.parked_at(ahead.tp).is_none() && self.brings(now, ahead)
            })
    }

    /// The batch of a partition, if it is parked or tried again.
    fn parked_at(&self, tp: RoutePartition) -> Option<(&InFlight, &ParkedBatch)> {
        let flight = self.in_flight.get(&self.partitions.get(&tp)?.in_flight?)?;
        Some((flight, flight.parked.as_ref()?))
    }

    /// Whether something may still come out of a partition that no parked batch keeps: it is held
    /// here, or it is kept from being read, or it moves.
    fn brings(&self, now: Duration, ahead: &Ahead) -> bool {
        if self.has_come(ahead) {
            return false;
        }
        let moves = ahead.end.is_none() || !ahead.is_stalled(now, self.stalled_after);
        let Some(partition) = self.partitions.get(&ahead.tp) else { return moves };
        if partition.buffer.is_some() || partition.in_flight.is_some() || ahead.end.is_none() {
            return true;
        }
        // Without memory to read it, nothing comes until the parked batch is written.
        let priority = self.routes[ahead.tp.route].limits.priority;
        !self.budget.is_over_limit(priority) && (partition.fetching != Fetching::Yes || moves)
    }
}

#[cfg(test)]
#[path = "tests/park_batches.rs"]
mod tests;
