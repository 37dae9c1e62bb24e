//! The step after every event: the pipeline does whatever the event made possible.
//!
//! Batches leave, partitions pause and resume, offsets are committed, a revoke is answered, a drain
//! ends. The order matters little, because the next event comes soon and does the rest.

use std::collections::BTreeSet;
use std::time::Duration;

use write_behind_shared::NextOffset;

use crate::core::batch::RoutePartition;
use crate::core::pipeline::action::{Action, Closed, Notice};
use crate::core::pipeline::buffer::Buffer;
use crate::core::pipeline::partition::{Fetching, PartitionState};
use crate::core::pipeline::route::Fill;
use crate::core::pipeline::schedule::TurnOwner;
use crate::core::pipeline::{InFlight, Pipeline};

impl Pipeline {
    /// Does whatever the last event made possible.
    pub(super) fn advance(&mut self, now: Duration) {
        self.probe_stopped(now);
        self.try_held(now);
        self.look_at_skips(now);
        self.look_at_ends(now);
        self.dispatch_parked(now);
        self.dispatch(now);
        self.pause_and_resume(now);
        if let Some((id, offsets)) = self.commits.next(now) {
            self.actions.push_back(Action::Commit(id, offsets));
        }
        // A commit that fails during a rebalance does not hold up the group: the next owner makes
        // it. At the end there may be no next owner, so a drain retries it until its deadline.
        if self.revoke.as_ref().is_some_and(|revoke| {
            let is_done = |tp: &RoutePartition| {
                self.is_written(*tp) && (self.commits.is_known(*tp) || self.commits.is_failing())
            };
            now >= revoke.deadline || revoke.tps.iter().all(is_done)
        }) && let Some(revoke) = self.revoke.take()
        {
            self.release(revoke.tps);
        }
        // A drain also waits for the commits. Without them, a later start would find the group
        // behind the database.
        let is_done = |tp: &RoutePartition| self.is_written(*tp) && self.commits.is_known(*tp);
        let empty = || self.partitions.keys().all(is_done);
        if self.draining && !self.drained && self.in_flight.is_empty() && empty() {
            self.drained = true;
            self.actions.push_back(Action::Drained);
        }
    }

    /// Hands ripe buffers to free workers.
    fn dispatch(&mut self, now: Duration) {
        while self.at_workers() < self.limits.workers + self.limits.prepared {
            let Some(owner) = self.whose_turn(now) else { return };
            let tps = self.gather(now, owner);
            if self.at_workers() >= self.limits.workers && !self.may_prepare(now, &tps) {
                return;
            }
            self.close(now, owner, &tps);
        }
    }

    /// Whether the batch of these partitions, which is the next in turn, may be closed although it
    /// can't be written yet.
    ///
    /// Only full buffers qualify; the others keep folding until a connection is free. Prepared and
    /// written batches together must fit the memory budget of written ones. A batch that is not
    /// prepared stays at the front of the queue, or it would never get its turn.
    fn may_prepare(&self, now: Duration, tps: &[RoutePartition]) -> bool {
        let mut bytes: usize = 0;
        for tp in tps {
            let Some(partition) = self.partitions.get(tp) else { return false };
            let Some(buffer) = &partition.buffer else { return false };
            let fill = self.routes[tp.route].fill(buffer, self.limits.max_bytes);
            if fill < Fill::Full && partition.reading {
                return false;
            }
            bytes += buffer.bytes();
        }
        let at_workers = self.in_flight.values().filter(|flight| !flight.is_parked());
        bytes += at_workers.map(|flight| flight.bytes).sum::<usize>();
        bytes <= self.limits.max_bytes.saturating_mul(self.limits.workers)
            && !self.has_parked_due(now)
    }

    /// Whose batch goes next, if one may go.
    fn whose_turn(&self, now: Duration) -> Option<TurnOwner> {
        let (mut waiting, mut leaving) = (BTreeSet::new(), false);
        for (tp, partition) in &self.partitions {
            if self.is_waiting(now, *tp, partition) {
                // Partitions being released have a deadline, so they go first: a revoke that runs
                // out of time drops its buffer, and the next owner reads the same records again.
                if !partition.reading && !leaving {
                    leaving = true;
                    waiting.clear();
                }
                if !leaving || !partition.reading {
                    waiting.insert(Self::turn_owner(*tp, partition));
                }
            }
        }
        let may_go = |owner: &TurnOwner| self.routes[owner.route].throttle.is_free(now);
        let first = self.schedule.first(waiting.into_iter().filter(may_go))?;
        // If the first must wait for the ceiling, the others wait too; otherwise they would
        // overtake it forever.
        self.ceiling.is_free(now, self.schedule.priority(first)).then_some(first)
    }

    /// Returns the turn that a partition's buffer takes. An urgent record moves its buffer, with
    /// everything ahead of it in the partition, to another turn.
    fn turn_owner(tp: RoutePartition, partition: &PartitionState) -> TurnOwner {
        let is_urgent = partition.buffer.as_ref().is_some_and(Buffer::is_urgent);
        TurnOwner { route: tp.route, is_urgent }
    }

    /// Whether a partition has something to write and no batch in flight.
    pub(super) fn is_waiting(
        &self,
        now: Duration,
        tp: RoutePartition,
        partition: &PartitionState,
    ) -> bool {
        // Unproved, the offset would pass records that nobody has read.
        partition.skips.are_proved()
            && (self.is_due(now, tp, partition)
                || partition.is_open() && self.may_go_early(now, tp.route))
    }

    /// Whether a partition has no batch in flight, and something that should wait no longer.
    fn is_due(&self, now: Duration, tp: RoutePartition, partition: &PartitionState) -> bool {
        let Some(buffer) = partition.buffer.as_ref().filter(|_| partition.is_open()) else {
            return false;
        };
        let route_state = &self.routes[tp.route];
        !partition.reading
            || route_state.fill(buffer, self.limits.max_bytes) >= Fill::Ripe
            || now.saturating_sub(buffer.opened()) >= self.limits.max_age
            || self.budget.is_over_limit(route_state.limits.priority)
    }

    /// Whether a batch of `route` need not wait until it is worth writing. A database that has
    /// nothing to do takes a lone write at once; while it is busy, or rests, writes fold. So small
    /// batches take a fixed share of its time at most, however slow it is.
    fn may_go_early(&self, now: Duration, route: usize) -> bool {
        self.routes[route].is_rested(now)
            && !self.in_flight.values().any(|flight| flight.route == route && !flight.is_parked())
    }

    /// How many routes other than `route` have something to write.
    pub(super) fn others_active(&self, route: usize) -> usize {
        let is_active = |partition: &PartitionState| {
            partition.buffer.is_some() || partition.in_flight.is_some()
        };
        let others = self.partitions.iter().filter(|(tp, _)| tp.route != route);
        let active = others.filter(|(_, partition)| is_active(partition));
        active.map(|(tp, _)| tp.route).collect::<BTreeSet<usize>>().len()
    }

    /// The partitions that share the next batch of this turn.
    fn gather(&self, now: Duration, owner: TurnOwner) -> Vec<RoutePartition> {
        let route = owner.route;
        let mut waiting: Vec<_> = self
            .partitions
            .iter()
            .filter(|(tp, partition)| {
                Self::turn_owner(**tp, partition) == owner && self.is_waiting(now, **tp, partition)
            })
            .filter_map(|(tp, partition)| {
                Some((partition.reading, partition.buffer.as_ref()?, *tp))
            })
            .collect();
        // Partitions being released have a deadline; of the others, the oldest goes first.
        waiting.sort_by_key(|(reading, buffer, tp)| (*reading, buffer.opened(), *tp));
        let (mut rows, mut bytes, mut tps) = (0, 0, Vec::new());
        for (_, buffer, tp) in waiting {
            let fits = rows + buffer.rows() <= self.routes[route].size.target()
                && bytes + buffer.bytes() <= self.limits.max_bytes;
            if tps.is_empty() || fits {
                rows += buffer.rows();
                bytes += buffer.bytes();
                tps.push(tp);
            }
        }
        tps.sort_unstable();
        tps
    }

    /// Closes these partitions' buffers and sends them to a worker as one batch.
    fn close(&mut self, now: Duration, owner: TurnOwner, tps: &[RoutePartition]) {
        let route = owner.route;
        self.last_batch += 1;
        let id = self.last_batch;
        let mut buffers = Vec::with_capacity(tps.len());
        let mut flight = InFlight { route, bytes: 0, rows: 0, tps: Vec::new(), parked: None };
        for tp in tps {
            let Some(partition) = self.partitions.get_mut(tp) else { continue };
            let Some(buffer) = partition.buffer.take() else { continue };
            partition.in_flight = Some(id);
            flight.bytes += buffer.bytes();
            flight.rows += buffer.rows();
            flight.tps.push((*tp, buffer.oldest()));
            buffers.push(buffer);
        }
        let opened = buffers.iter().map(Buffer::opened).min().unwrap_or(now);
        self.routes[route].went(now, flight.rows);
        self.ceiling.charge(now, self.schedule.priority(owner), flight.rows);
        self.schedule.went(owner, flight.rows);
        self.counts.batches += 1;
        self.counts.rows += flight.rows as u64;
        self.in_flight.insert(id, flight);
        self.stopped.left(id, tps);
        let age = now.saturating_sub(opened);
        self.actions.push_back(Action::Write(Closed { id, route, buffers, age }));
    }

    /// Drops a partition's open buffer.
    pub(super) fn drop_buffer(&mut self, tp: RoutePartition) -> Option<Buffer> {
        let partition = self.partitions.get_mut(&tp)?;
        partition.skips.dropped();
        let buffer = partition.buffer.take()?;
        self.budget.changed(self.routes[tp.route].limits.priority, buffer.bytes(), 0);
        Some(buffer)
    }

    /// The database is no longer at these offsets, where this consumer left it. A partition with a
    /// batch in flight, or with one written since, is left alone: the fence in the transaction
    /// decides.
    pub fn doubt(&mut self, now: Duration, found: &[(RoutePartition, NextOffset)]) {
        let is_idle = |(tp, left): &&(RoutePartition, NextOffset)| {
            let partition = self.partitions.get(tp);
            partition.is_some_and(|partition| {
                partition.reading
                    && partition.in_flight.is_none()
                    && partition.written == Some(*left)
            })
        };
        let doubted: Vec<RoutePartition> =
            found.iter().filter(is_idle).map(|(tp, _)| *tp).collect();
        self.locate_again(&doubted);
        self.advance(now);
    }

    /// The database stands elsewhere: drops what these partitions hold and asks where they stand.
    pub(super) fn locate_again(&mut self, tps: &[RoutePartition]) {
        let mut asked = Vec::with_capacity(tps.len());
        for tp in tps {
            let leaving = self.draining || self.is_revoked(*tp);
            self.drop_buffer(*tp);
            let Some(partition) = self.partitions.get_mut(tp) else { continue };
            if !leaving && self.stopped.may_read(*tp) {
                // A new epoch: the answer to an earlier question may be from before the database
                // moved.
                self.last_epoch += 1;
                partition.epoch = self.last_epoch;
                partition.reading = false;
                asked.push((*tp, partition.epoch));
            }
        }
        if !asked.is_empty() {
            self.actions.push_back(Action::Locate(asked));
        }
    }

    pub(super) fn is_revoked(&self, tp: RoutePartition) -> bool {
        self.revoke.as_ref().is_some_and(|revoke| revoke.tps.contains(&tp))
    }

    /// Whether nothing of a partition is held.
    fn is_written(&self, tp: RoutePartition) -> bool {
        let partition = self.partitions.get(&tp);
        partition
            .is_none_or(|partition| partition.buffer.is_none() && partition.in_flight.is_none())
    }

    pub(super) fn release(&mut self, tps: Vec<RoutePartition>) {
        let mut dropped = 0;
        for tp in &tps {
            self.commits.forget(*tp);
            self.held.remove(*tp);
            dropped += self.drop_buffer(*tp).map_or(0, |buffer| buffer.records());
            self.partitions.remove(tp);
        }
        self.forget_parked();
        if dropped > 0 {
            self.actions.push_back(Action::Tell(Notice::Dropped(dropped)));
        }
        self.actions.push_back(Action::Release(tps));
    }

    /// The partitions that only skipped offsets keep from being written now.
    fn only_unproved(&self, now: Duration) -> Vec<RoutePartition> {
        if self.at_workers() >= self.limits.workers {
            return Vec::new();
        }
        let may_go = |route: usize| {
            let route_state = &self.routes[route];
            route_state.throttle.is_free(now)
                && self.ceiling.is_free(now, route_state.limits.priority)
        };
        let is_one = |(tp, partition): &(&RoutePartition, &PartitionState)| {
            !partition.skips.are_proved() && self.is_due(now, **tp, partition) && may_go(tp.route)
        };
        self.partitions.iter().filter(is_one).map(|(tp, _)| *tp).collect()
    }

    fn pause_and_resume(&mut self, now: Duration) {
        let (mut pause, mut resume) = (Vec::new(), Vec::new());
        // Where every transaction leaves a marker, each look would end before a new skip, and the
        // buffer would never leave.
        let unproved = self.only_unproved(now);
        for (tp, partition) in &mut self.partitions {
            let route_state = &self.routes[tp.route];
            let buffer = partition.buffer.as_ref();
            let is_full = buffer.is_some_and(|buffer| {
                route_state.fill(buffer, self.limits.max_bytes) == Fill::Full
            });
            let stop = !partition.reading
                || is_full
                || unproved.contains(tp)
                || self.budget.is_over_limit(route_state.limits.priority);
            match partition.fetching {
                Fetching::Yes if stop => {
                    partition.fetching = Fetching::Paused;
                    pause.push(*tp);
                }
                Fetching::Paused if !stop => {
                    partition.fetching = Fetching::Yes;
                    resume.push(*tp);
                }
                Fetching::NotYet | Fetching::Yes | Fetching::Paused => {}
            }
        }
        if !pause.is_empty() {
            self.actions.push_back(Action::Pause(pause));
        }
        if !resume.is_empty() {
            self.actions.push_back(Action::Resume(resume));
        }
    }
}
