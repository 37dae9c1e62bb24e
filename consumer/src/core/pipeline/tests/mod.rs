//! The pipeline in a simulated world of a log, a database, a group, failing workers and time, with
//! events in any order. After every event the database must be an exact prefix of the log.

use std::collections::BTreeMap;
use std::sync::Arc;

use proptest::prelude::*;
use uuid::Uuid;
use write_behind_shared::{Offset, Partition, WriteId, record};

use super::*;
use crate::core::batch::{Batch, Stop};
use crate::core::pipeline::bounds::Bounds;
use crate::core::pipeline::schedule::Priority;
use crate::core::pipeline::skips::{SkipFacts, SkipLook};

mod model;
mod ops;
mod answers;
pub(in crate::core) mod cases;
mod checks;
mod early;
mod urgent;
mod placements;
mod prepared;
mod shares;
mod stops;
mod ends;
mod look_at_skips;
mod look_at_ends;
use model::{Entry, Kind, Table, prefix, transact};
use ops::{Answer, Op, an_op};

const PARTITIONS: usize = 3;
const MEMORY: usize = 3_000;

struct World {
    pipeline: Pipeline,
    /// The database's ceiling of rows per second.
    ceiling: Option<u32>,
    now: Duration,
    logs: [Vec<Entry>; PARTITIONS],
    tables: [Table; PARTITIONS],
    committed: [Option<i64>; PARTITIONS],
    /// Whether a restore may have removed, or may still remove, what was committed.
    restored: [bool; PARTITIONS],
    /// Whether others have moved the database, which only a fence reveals.
    moved: [bool; PARTITIONS],
    owned: [bool; PARTITIONS],
    revoking: bool,
    /// The offset that the source fetches next, and whether it is paused.
    fetching: BTreeMap<usize, (usize, bool)>,
    /// The record that the client lost last.
    lost: [Option<usize>; PARTITIONS],
    asked: Vec<(RoutePartition, Epoch)>,
    looks: Vec<(RoutePartition, LookId, SkipLook)>,
    /// How often each partition was started, which tells batches apart.
    lives: [usize; PARTITIONS],
    batches: Vec<(BatchId, Batch)>,
    /// The lives of their partitions.
    batch_lives: BTreeMap<BatchId, Vec<(Partition, usize)>>,
    /// Batches given back to be retried later.
    held: Vec<BatchId>,
    /// Batches of consumers that died.
    orphans: Vec<Batch>,
    committing: Option<(CommitId, Vec<(RoutePartition, NextOffset)>)>,
}

/// An ordinary route.
const ROUTE: RouteLimits = RouteLimits { priority: Priority::Normal, rows_per_second: None };

/// The first and the last partition belong to one route.
fn tp(partition: usize) -> RoutePartition {
    RoutePartition { route: partition % 2, partition: Partition(partition as i32) }
}

fn limits(rows_per_second: Option<u32>) -> PipelineLimits {
    PipelineLimits {
        max_rows: 4,
        max_bytes: 1_500,
        max_age: Duration::from_millis(50),
        target_time: Duration::from_millis(200),
        memory: MEMORY,
        workers: 2,
        prepared: 1,
        rows_per_second,
        bounds: Bounds { stands_still: Duration::from_millis(100), ..Bounds::STANDARD },
    }
}

impl World {
    fn new(ceiling: Option<u32>) -> Self {
        Self {
            pipeline: Pipeline::new(limits(ceiling), [ROUTE; 2]),
            ceiling,
            now: Duration::ZERO,
            logs: Default::default(),
            tables: Default::default(),
            committed: Default::default(),
            restored: Default::default(),
            moved: Default::default(),
            owned: Default::default(),
            revoking: false,
            fetching: BTreeMap::new(),
            lost: Default::default(),
            asked: Vec::new(),
            looks: Vec::new(),
            lives: Default::default(),
            batches: Vec::new(),
            batch_lives: BTreeMap::new(),
            held: Vec::new(),
            orphans: Vec::new(),
            committing: None,
        }
    }

    fn append(&mut self, partition: usize, kind: Kind, is_urgent: bool) {
        let log = &mut self.logs[partition];
        let last = log.iter().rev().find(|entry| !matches!(entry.kind, Kind::Marker)).cloned();
        let entry = match (kind, last) {
            (Kind::Repeat, Some(last)) => last,
            (Kind::Repeat, None) => return,
            (kind, last) => {
                let sequence = last.map_or(0, |last| last.sequence + 1);
                Entry { kind, sequence, is_urgent }
            }
        };
        log.push(entry);
    }

    fn deliver(&mut self, partition: usize, count: usize) {
        for _ in 0..count {
            let Some((offset, false)) = self.fetching.get(&partition).copied() else { return };
            if offset >= self.logs[partition].len() {
                return;
            }
            self.fetching.insert(partition, (offset + 1, false));
            self.deliver_one(partition, offset);
            self.act();
        }
    }

    fn deliver_one(&mut self, partition: usize, offset: usize) {
        let entry = &self.logs[partition][offset];
        if matches!(entry.kind, Kind::Marker) {
            return;
        }
        let (key, value, add) = entry.value();
        let id = WriteId { writer: Uuid::from_u128(1), sequence: entry.sequence }.encode();
        let mut headers = vec![(record::WRITE_ID, Some(&id[..]))];
        let high = Some(record::HIGH.as_bytes());
        headers.extend(entry.is_urgent.then_some((record::PRIORITY, high)));
        headers.extend(add.map(|add| (record::ADD, Some(add.as_bytes()))));
        let key = key.map(|key| [key]);
        let incoming = Incoming {
            partition: Partition(partition as i32),
            offset: Offset(offset as i64),
            timestamp: None,
            key: key.as_ref().map(|key| &key[..]),
            value: value.as_deref().map(str::as_bytes),
            headers: &headers,
        };
        self.pipeline.record(self.now, tp(partition).route, &incoming);
    }

    fn crash(&mut self) {
        self.orphans.extend(self.batches.drain(..).map(|(_, batch)| batch));
        self.pipeline = Pipeline::new(limits(self.ceiling), [ROUTE; 2]);
        self.batch_lives.clear();
        self.held.clear();
        self.fetching.clear();
        self.asked.clear();
        self.looks.clear();
        self.committing = None;
        self.owned = Default::default();
        self.revoking = false;
    }

    fn step(&mut self, op: &Op) {
        match *op {
            Op::Append(partition, kind, is_urgent) => self.append(partition, kind, is_urgent),
            Op::Deliver(partition, count) => self.deliver(partition, count),
            Op::DeliverAgain(partition) => {
                let fetching = self.fetching.get(&partition).copied();
                let before = fetching.and_then(|(offset, _)| offset.checked_sub(1));
                if let Some(offset) = before.filter(|offset| self.lost[partition] != Some(*offset))
                {
                    self.deliver_one(partition, offset);
                }
            }
            Op::PassOver(partition) => self.pass_over(partition),
            Op::Look(is_answered) => self.look(is_answered),
            Op::Tick(millis) => {
                self.now += Duration::from_millis(millis);
                let ends =
                    (0..PARTITIONS).map(|at| (tp(at), NextOffset(self.logs[at].len() as i64)));
                self.pipeline.ends(ends);
                self.pipeline.tick(self.now);
            }
            Op::Locate => self.locate(),
            Op::Finish(chosen) => self.finish(chosen),
            Op::LoseAnswer(chosen) => {
                if let Some((_, batch)) = self.batches.get(chosen % self.batches.len().max(1)) {
                    transact(&mut self.tables, batch);
                }
            }
            Op::Refuse(chosen) | Op::Hold(chosen) | Op::Delay(chosen) => self.give_back(chosen, op),
            Op::Commit(answer) => self.answer_commit(answer),
            Op::Assign(partition) if !self.owned[partition] && !self.revoking => {
                self.owned[partition] = true;
                self.pipeline.assign(&[tp(partition)]);
            }
            Op::Revoke(partition, millis) if self.owned[partition] && !self.revoking => {
                self.revoking = true;
                let deadline = self.now + Duration::from_millis(millis);
                self.pipeline.revoke(self.now, vec![tp(partition)], deadline);
            }
            Op::Lose(partition) if self.owned[partition] && !self.revoking => {
                self.pipeline.lose(self.now, vec![tp(partition)]);
            }
            Op::Assign(_) | Op::Revoke(..) | Op::Lose(_) => {}
            Op::OtherWrites(partition, count) => {
                let log = &self.logs[partition];
                let next = (self.tables[partition].next + count).min(log.len());
                self.tables[partition] = prefix(log, next);
                self.moved[partition] = true;
            }
            Op::Restore(partition) => {
                self.tables[partition] = Table::default();
                self.restored[partition] = true;
                self.moved[partition] = true;
            }
            Op::Crash => self.crash(),
        }
        self.act();
    }

    fn act(&mut self) {
        while let Some(action) = self.pipeline.next_action() {
            let index = |tp: &RoutePartition| tp.partition.0 as usize;
            match action {
                Action::Locate(asked) => self.asked.extend(asked),
                Action::Read(tps) => {
                    for (tp, next) in &tps {
                        self.lives[index(tp)] += 1;
                        self.fetching.insert(index(tp), (next.0 as usize, false));
                    }
                }
                Action::Write(closed) => {
                    let id = closed.id;
                    let batch = closed.into_batch(Arc::from("topic"));
                    self.check_alone(id, &batch);
                    self.batches.push((id, batch));
                    self.check_workers();
                }
                Action::WriteAgain(id, batch) => {
                    self.leaves_again(id, &batch);
                    self.batches.push((id, *batch));
                    self.check_workers();
                }
                Action::Pause(tps) => self.pause(&tps, true),
                Action::Resume(tps) => self.pause(&tps, false),
                Action::Commit(id, offsets) => {
                    assert!(self.committing.is_none(), "one commit at a time");
                    self.committing = Some((id, offsets));
                }
                Action::Release(tps) => {
                    self.revoking = false;
                    for tp in &tps {
                        self.owned[index(tp)] = false;
                        self.fetching.remove(&index(tp));
                    }
                }
                Action::LookAtSkip(tp, id, look) => self.looks.push((tp, id, look)),
                // Its process ends, and the next one begins with a new client.
                Action::GiveUp(..) => self.crash(),
                Action::Drained => panic!("unasked: {action:?}"),
                Action::Tell(_) => {}
            }
        }
        self.check();
    }

    fn check_workers(&self) {
        let PipelineLimits { workers, prepared, .. } = limits(self.ceiling);
        assert!(self.batches.len() <= workers + prepared, "every worker is busy");
    }

    /// A partition has one batch in flight, unless it was released and started again.
    fn check_alone(&mut self, id: BatchId, batch: &Batch) {
        let life = |partition: Partition| (partition, self.lives[partition.0 as usize]);
        let lives: Vec<_> = batch.spans.iter().map(|span| life(span.partition)).collect();
        let on_their_way = self.batches.iter().map(|(other, _)| other).chain(&self.held);
        for other in on_their_way {
            let shared = self.batch_lives[other].iter().find(|one| lives.contains(one));
            assert_eq!(shared, None, "two batches of a partition are on their way");
        }
        self.batch_lives.insert(id, lives);
    }

    /// A batch that was held leaves, perhaps with others of its route in it that were held too.
    fn leaves_again(&mut self, id: BatchId, batch: &Batch) {
        let mut lives = self.batch_lives[&id].clone();
        let is_new = |(partition, life): &(Partition, usize)| {
            batch.spans.iter().any(|span| span.partition == *partition)
                && self.lives[partition.0 as usize] == *life
                && self.batch_lives[&id].iter().all(|(own, _)| own != partition)
        };
        let is_joined = |other: &BatchId| self.batch_lives[other].iter().all(is_new);
        let (joined, held): (Vec<_>, Vec<_>) =
            self.held.iter().filter(|held| **held != id).partition(|other| is_joined(other));
        lives.extend(joined.iter().flat_map(|other| self.batch_lives[other].clone()));
        self.batch_lives.insert(id, lives);
        self.held = held;
    }

    fn pause(&mut self, tps: &[RoutePartition], paused: bool) {
        for tp in tps {
            if let Some(fetching) = self.fetching.get_mut(&(tp.partition.0 as usize)) {
                fetching.1 = paused;
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(3_000))]

    #[test]
    fn in_any_order_of_events_the_database_is_an_exact_prefix_and_reaches_the_end(
        ops in prop::collection::vec(an_op(), 1..150),
        ceiling in prop::sample::select(vec![None, Some(200)]),
    ) {
        let mut world = World::new(ceiling);
        for partition in 0..PARTITIONS {
            world.step(&Op::Assign(partition));
        }
        world.step(&Op::Locate);
        for op in &ops {
            world.step(op);
        }
        world.advance();
    }
}
