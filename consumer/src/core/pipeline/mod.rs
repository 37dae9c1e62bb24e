//! The core of the consumer: a state machine that decides what to write, commit, pause and release.
//!
//! It does no I/O and has no clock: every event carries the time since the start, and its decisions
//! queue up as [`Action`]s. It keeps four promises. A partition's batches leave in log order, one
//! at a time, each starting where the one before ended. It commits to Kafka only what a
//! [`Written`](crate::core::batch::Written) proves or the database reports. It holds no more than
//! the memory limit and one record. Where the database is limited, routes share it by priority.
//!
//! It does not know tables, connections, topic names, or why a write took long.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use write_behind_shared::NextOffset;

use crate::core::batch::{BatchId, Epoch, RoutePartition};
use crate::core::pipeline::action::{
    Action, BatchResult, Counts, Located, Notice, PipelineLimits, RouteLimits,
};
use crate::core::pipeline::budget::MemoryBudget;
use crate::core::pipeline::buffer::{Buffer, Folded};
use crate::core::pipeline::commit::{CommitId, Commits};
use crate::core::pipeline::held::HeldPartitions;
use crate::core::pipeline::memory::PartitionMemory;
use crate::core::pipeline::parked::ParkedBatch;
use crate::core::pipeline::partition::{Fetching, PartitionState};
use crate::core::pipeline::placement::Placement;
use crate::core::pipeline::route::RouteState;
use crate::core::pipeline::schedule::Schedule;
use crate::core::pipeline::skips::LookId;
use crate::core::pipeline::stopped_routes::StoppedRoutes;
use crate::core::pipeline::throttle::Ceiling;
use crate::core::record::Incoming;

pub mod shape;
pub mod heap_size;
mod rows;
pub mod placement;
pub mod memory;
pub mod buffer;
pub mod action;
pub mod schedule;
pub mod throttle;
pub mod batch_size;
pub mod budget;
pub mod commit;
pub mod watchdog;
pub mod bounds;
mod route;
mod partition;
mod stopped_routes;
mod stop_routes;
mod held;
mod hold_partitions;
mod parked;
pub mod ahead;
mod park_batches;
pub mod skips;
mod look_at_skips;
mod look_at_ends;
mod stand_still;
mod advance;
mod progress;

/// The minimum wait for a partition that makes no progress before its end.
const STALLED_AFTER: Duration = Duration::from_mins(2);

/// The state of every route and partition of this consumer.
#[derive(Debug)]
pub struct Pipeline {
    limits: PipelineLimits,
    routes: Vec<RouteState>,
    partitions: BTreeMap<RoutePartition, PartitionState>,
    in_flight: BTreeMap<BatchId, InFlight>,
    /// Bytes held in open buffers and batches.
    budget: MemoryBudget,
    schedule: Schedule,
    ceiling: Ceiling,
    stopped: StoppedRoutes,
    held: HeldPartitions,
    commits: Commits,
    revoke: Option<Revoke>,
    /// How long a partition that stands still before its end is waited for.
    stalled_after: Duration,
    draining: bool,
    drained: bool,
    last_epoch: Epoch,
    last_batch: BatchId,
    last_look: LookId,
    counts: Counts,
    actions: VecDeque<Action>,
}

#[derive(Debug)]
struct InFlight {
    route: usize,
    bytes: usize,
    rows: usize,
    /// Its partitions, each with the timestamp of its oldest record.
    tps: Vec<(RoutePartition, Option<i64>)>,
    /// What the batch waits for, and the batch itself while no worker has it.
    parked: Option<ParkedBatch>,
}

impl InFlight {
    fn is_parked(&self) -> bool {
        self.parked.as_ref().is_some_and(ParkedBatch::waits)
    }
}

/// A revoke that is not answered until its partitions are written or its deadline passes.
#[derive(Debug)]
struct Revoke {
    tps: Vec<RoutePartition>,
    deadline: Duration,
}

impl Pipeline {
    /// A consumer of these routes that holds nothing.
    pub fn new(limits: PipelineLimits, routes: impl IntoIterator<Item = RouteLimits>) -> Self {
        let route_state = |route| RouteState::new(&limits, route);
        let routes: Vec<RouteState> = routes.into_iter().map(route_state).collect();
        let priorities = || routes.iter().map(|route_state| route_state.limits.priority);
        Self {
            limits,
            partitions: BTreeMap::new(),
            in_flight: BTreeMap::new(),
            budget: MemoryBudget::new(limits.memory, priorities()),
            schedule: Schedule::new(priorities()),
            ceiling: Ceiling::new(limits.rows_per_second),
            routes,
            stopped: StoppedRoutes::new(limits.bounds.stopped),
            held: HeldPartitions::new(limits.bounds.stopped),
            commits: Commits::new(&limits.bounds),
            revoke: None,
            stalled_after: STALLED_AFTER,
            draining: false,
            drained: false,
            last_epoch: 0,
            last_batch: 0,
            last_look: 0,
            counts: Counts::default(),
            actions: VecDeque::new(),
        }
    }

    /// Sets, for each route, the value's member that holds the row's version, if it has one.
    #[must_use]
    pub fn with_versions(mut self, versions: impl IntoIterator<Item = Option<Arc<str>>>) -> Self {
        for (route_state, version) in self.routes.iter_mut().zip(versions) {
            route_state.version = version;
        }
        self
    }

    /// Sets, for each route, where its keys belong. Without it nobody looks.
    #[must_use]
    pub fn with_placements(mut self, placements: impl IntoIterator<Item = Placement>) -> Self {
        for (route_state, placement) in self.routes.iter_mut().zip(placements) {
            route_state.placement = Some(placement);
        }
        self
    }

    /// Sets how long the group takes to give a dead process's partitions to another one. A
    /// missing row that they may bring is awaited for twice that time.
    #[must_use]
    pub fn with_session(mut self, session_timeout: Duration) -> Self {
        self.stalled_after = STALLED_AFTER.max(session_timeout * 2);
        self
    }

    /// The next action to carry out.
    pub fn next_action(&mut self) -> Option<Action> {
        self.actions.pop_front()
    }

    /// Whether an action is queued.
    pub fn has_actions(&self) -> bool {
        !self.actions.is_empty()
    }

    /// Whether nothing is held, so that no time limit runs.
    pub fn is_idle(&self) -> bool {
        self.budget.held() == 0 && self.in_flight.is_empty()
    }

    /// The group assigned these partitions.
    pub fn assign(&mut self, tps: &[RoutePartition]) {
        if self.draining {
            return;
        }
        let mut asked = Vec::with_capacity(tps.len());
        for tp in tps {
            // Every assignment gets a new epoch. Otherwise an answer to an earlier one would start
            // the read at an outdated offset.
            self.last_epoch += 1;
            self.drop_buffer(*tp);
            self.partitions.insert(*tp, PartitionState::new(self.last_epoch));
            if self.stopped.may_read(*tp) {
                asked.push((*tp, self.last_epoch));
            }
        }
        if !asked.is_empty() {
            self.actions.push_back(Action::Locate(asked));
        }
    }

    /// The answer to [`Action::Locate`].
    pub fn located(&mut self, now: Duration, found: Vec<Located>) {
        let mut read = Vec::with_capacity(found.len());
        for located in found {
            let Some(partition) = self.partitions.get_mut(&located.tp) else { continue };
            // The partition may have been revoked and assigned again while this answer was on its
            // way. The answer then names an offset from before the other owner wrote, and a batch
            // from there would be fenced for nothing.
            if partition.epoch != located.epoch || partition.reading || self.draining {
                continue;
            }
            let (tp, next) = (located.tp, located.next);
            if let Some(written) = partition.written.filter(|written| *written != next) {
                let notice = if next < written {
                    Notice::DatabaseWentBack(tp, written, next)
                } else {
                    Notice::DatabaseWentAhead(tp, written, next)
                };
                self.actions.push_back(Action::Tell(notice));
            }
            partition.reading = true;
            partition.fetching = Fetching::Yes;
            partition.next = next;
            partition.written = Some(next);
            partition.memory = PartitionMemory::new(&self.limits.bounds, located.writers);
            if let Some(route_state) = self.routes.get(tp.route) {
                partition.memory.of_route(route_state.version.clone(), route_state.placement);
            }
            self.commits.located(tp, located.committed, next);
            read.push((tp, next));
        }
        if !read.is_empty() {
            self.actions.push_back(Action::Read(read));
        }
        self.advance(now);
    }

    /// Takes a record of the route's topic.
    pub fn record(&mut self, now: Duration, route: usize, record: &Incoming<'_>) {
        let tp = RoutePartition { route, partition: record.partition };
        let partition = match self.partitions.get_mut(&tp) {
            // After a seek the client may still deliver records of the old position. One below
            // `next` would be folded a second time.
            Some(partition) if partition.reading && !partition.next.is_past(record.offset) => {
                partition
            }
            _ => {
                self.counts.strays += 1;
                return;
            }
        };
        let is_skip = partition.skips.folded(partition.next, record.offset);
        self.counts.skips += u64::from(is_skip);
        let (start, route_state, max_bytes) =
            (partition.next, &mut self.routes[route], self.limits.max_bytes);
        let (opened, buffer) = match &mut partition.buffer {
            Some(buffer) => (false, buffer),
            none => (true, none.insert(Buffer::new(record.partition, start, now))),
        };
        let (bytes, fill) =
            (if opened { 0 } else { buffer.bytes() }, route_state.fill(buffer, max_bytes));
        let folded = buffer.fold(record, &mut partition.memory);
        if let Err(error) = &folded {
            buffer.set_aside(record, error);
            self.counts.bad += 1;
        }
        let (priority, was_over_limit) =
            (route_state.limits.priority, self.budget.is_over_limit(route_state.limits.priority));
        self.budget.changed(priority, bytes, buffer.bytes());
        partition.next = buffer.next();
        route_state.records_read += 1;
        self.counts.records += 1;
        self.counts.duplicates += u64::from(folded == Ok(Folded::Duplicate));
        self.counts.older += u64::from(folded == Ok(Folded::Older));
        if let Some(id) = partition.memory.take_gap() {
            self.counts.gaps += 1;
            let notice = Notice::RecordsMissing(tp, record.offset, id);
            self.actions.push_back(Action::Tell(notice));
        }
        if let Some(belongs_to) = partition.memory.take_misplaced() {
            self.counts.misplaced += 1;
            if !std::mem::replace(&mut route_state.told_misplaced, true) {
                let notice = Notice::Misplaced(tp, record.offset, belongs_to);
                self.actions.push_back(Action::Tell(notice));
            }
        }
        // Smaller changes wait for the next tick, which comes soon.
        if route_state.fill(buffer, max_bytes) > fill
            || self.budget.is_over_limit(priority) && !was_over_limit
        {
            self.advance(now);
        }
    }

    /// Time has passed.
    pub fn tick(&mut self, now: Duration) {
        self.advance(now);
    }

    /// A batch was written or fenced.
    pub fn finished(&mut self, now: Duration, id: BatchId, ended: &BatchResult) {
        let Some(flight) = self.in_flight.remove(&id) else { return };
        let mut again = Vec::new();
        for (tp, _) in &flight.tps {
            // A partition released in the meantime no longer belongs to this batch.
            let Some(partition) = self.partitions.get_mut(tp) else { continue };
            // It may have been assigned again and have another batch in flight: only that one
            // counts. If this one advanced the commit, the offset could go back.
            if partition.in_flight != Some(id) {
                continue;
            }
            partition.in_flight = None;
            self.hold_no_more(now, *tp);
            let Some(partition) = self.partitions.get_mut(tp) else { continue };
            match ended {
                BatchResult::Written(written, _) => {
                    if std::mem::take(&mut partition.locates_again) {
                        again.push(*tp);
                    }
                    partition.written = written.end_of(tp.partition).or(partition.written);
                    self.commits.written(*tp, written);
                }
                BatchResult::Fenced => again.push(*tp),
            }
        }
        if matches!(ended, BatchResult::Written(..)) {
            self.probe_written(now, id);
        }
        let routes = 1 + self.others_active(flight.route);
        let route_state = &mut self.routes[flight.route];
        self.budget.changed(route_state.limits.priority, flight.bytes, 0);
        match ended {
            BatchResult::Written(_, effort) => {
                route_state.size.written(flight.rows, *effort);
                route_state.rests(now, effort.took, routes);
            }
            BatchResult::Fenced => self.counts.fenced += 1,
        }
        self.locate_again(&again);
        self.advance(now);
    }

    /// Kafka answered commit `id`.
    pub fn commit_answered(&mut self, now: Duration, id: CommitId, succeeded: bool) {
        self.counts.commit_failures += u64::from(!succeeded);
        self.commits.answered(now, id, succeeded);
        self.advance(now);
    }

    /// The group revokes these partitions: what they hold is written until the deadline.
    pub fn revoke(&mut self, now: Duration, tps: Vec<RoutePartition>, deadline: Duration) {
        for tp in &tps {
            if let Some(partition) = self.partitions.get_mut(tp) {
                partition.let_go();
            }
        }
        self.revoke = Some(Revoke { tps, deadline });
        self.advance(now);
    }

    /// The group has already taken these partitions away.
    pub fn lose(&mut self, now: Duration, tps: Vec<RoutePartition>) {
        self.release(tps);
        self.advance(now);
    }

    /// Stops reading; what is held is written and committed.
    pub fn drain(&mut self, now: Duration) {
        self.draining = true;
        for partition in self.partitions.values_mut() {
            partition.let_go();
        }
        self.advance(now);
    }

    /// The counts so far.
    pub fn counts(&self) -> Counts {
        self.counts
    }

    /// The next offset to read, if the partition is being read.
    pub fn next_of(&self, tp: RoutePartition) -> Option<NextOffset> {
        self.partitions
            .get(&tp)
            .filter(|partition| partition.reading)
            .map(|partition| partition.next)
    }
}

#[cfg(test)]
pub(in crate::core) mod tests;
