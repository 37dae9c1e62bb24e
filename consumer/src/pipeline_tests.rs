//! The pipeline in a simulated world: a log, a database, a group, workers that fail, and time, in
//! any order of events. After every event the database must be an exact prefix of the log.

use std::collections::BTreeMap;
use std::sync::Arc;

use proptest::prelude::*;
use uuid::Uuid;
use write_behind_shared::{Cell, Change, Offset, Partition, WriteId, record};

use super::*;
use crate::batch::{Batch, Written};

const PARTITIONS: usize = 3;
const MEMORY: usize = 3_000;

/// What happens next. Numbers choose among what there is.
#[derive(Clone, Debug)]
enum Op {
    /// A producer writes to a partition: a value, an increment, a tombstone, its last record again,
    /// or something that is no record at all.
    Append(usize, Kind),
    Deliver(usize, usize),
    /// An old record once more, as a fetch that overlaps a pause may bring.
    DeliverAgain(usize),
    Tick(u64),
    Locate,
    /// A worker's transaction is committed and answered.
    Finish(usize),
    /// It is committed, but its answer is lost, and it will be tried again.
    LoseAnswer(usize),
    /// Kafka takes a commit and answers; or takes it and the answer is lost; or refuses it.
    Commit(Answer),
    Assign(usize),
    Revoke(usize, u64),
    Lose(usize),
    /// Another consumer, which took us for dead, writes a partition.
    OtherWrites(usize, usize),
    /// The database is restored to its beginning.
    Restore(usize),
    /// The consumer dies; a transaction of its may still be under way.
    Crash,
}

#[derive(Clone, Copy, Debug)]
enum Kind {
    Set(u8, i64),
    Add(u8, i64),
    Delete(u8),
    Repeat,
    Garbage,
    Marker,
}

#[derive(Clone, Copy, Debug)]
enum Answer {
    Taken,
    TakenSilently,
    Refused,
}

#[derive(Clone, Debug)]
struct Entry {
    kind: Kind,
    sequence: u64,
}

#[derive(Clone, Debug, Default, PartialEq)]
struct Table {
    next: usize,
    rows: BTreeMap<u8, BTreeMap<String, i64>>,
    last_sequence: Option<u64>,
    dead_letters: Vec<i64>,
}

struct World {
    pipeline: Pipeline,
    now: Duration,
    logs: [Vec<Entry>; PARTITIONS],
    tables: [Table; PARTITIONS],
    committed: [Option<i64>; PARTITIONS],
    /// A restore may have taken away what was committed, or is about to be.
    restored: [bool; PARTITIONS],
    owned: [bool; PARTITIONS],
    revoking: bool,
    /// The offset the source fetches next, and whether it is paused.
    fetching: BTreeMap<usize, (usize, bool)>,
    asked: Vec<(Place, Epoch)>,
    batches: Vec<(BatchId, Batch)>,
    /// Batches of consumers that died.
    orphans: Vec<Batch>,
    committing: Option<Vec<(Place, NextOffset)>>,
}

fn place(partition: usize) -> Place {
    Place { route: 0, partition: Partition(partition as i32) }
}

fn limits() -> Limits {
    Limits {
        max_rows: 4,
        max_bytes: 1_500,
        max_age: Duration::from_millis(50),
        target_time: Duration::from_millis(200),
        memory: MEMORY,
        workers: 2,
        rows_per_second: Some(200),
    }
}

/// What a change does to a row; the model of a database.
fn apply(rows: &mut BTreeMap<u8, BTreeMap<String, i64>>, key: u8, change: &Change) {
    if change.resets() {
        rows.remove(&key);
    }
    if change.writes() {
        let row = rows.entry(key).or_default();
        for (name, cell) in change.cells() {
            let held = row.get(name).copied().unwrap_or(0);
            let value = match cell {
                Cell::Add(delta) => held + delta.as_i64().unwrap(),
                set => set.value(name).unwrap().parse().unwrap(),
            };
            row.insert(name.to_owned(), value);
        }
    }
}

impl Entry {
    fn value(&self) -> (Option<u8>, Option<String>, Option<&'static str>) {
        match self.kind {
            Kind::Set(key, n) => (Some(key), Some(format!(r#"{{"a":{n}}}"#)), None),
            Kind::Add(key, n) => (Some(key), Some(format!(r#"{{"a":{n},"b":1}}"#)), Some("a,b")),
            Kind::Delete(key) => (Some(key), None, None),
            Kind::Garbage => (Some(0), Some("{".to_owned()), None),
            Kind::Repeat | Kind::Marker => (None, None, None),
        }
    }
}

/// The fold of a log's first entries, one by one: what the database must hold.
fn prefix(log: &[Entry], next: usize) -> Table {
    let mut table = Table { next, ..Table::default() };
    for (offset, entry) in log[..next].iter().enumerate() {
        if matches!(entry.kind, Kind::Marker) || table.last_sequence >= Some(entry.sequence) {
            continue;
        }
        table.last_sequence = Some(entry.sequence);
        let (key, value, add) = entry.value();
        match record::decode(value.as_deref().map(str::as_bytes), add) {
            Ok(change) => apply(&mut table.rows, key.unwrap(), &change),
            Err(_) => table.dead_letters.push(offset as i64),
        }
    }
    table
}

impl World {
    fn new() -> Self {
        Self {
            pipeline: Pipeline::new(limits(), vec![true]),
            now: Duration::ZERO,
            logs: Default::default(),
            tables: Default::default(),
            committed: Default::default(),
            restored: Default::default(),
            owned: Default::default(),
            revoking: false,
            fetching: BTreeMap::new(),
            asked: Vec::new(),
            batches: Vec::new(),
            orphans: Vec::new(),
            committing: None,
        }
    }

    fn append(&mut self, partition: usize, kind: Kind) {
        let log = &mut self.logs[partition];
        let last = log.iter().rev().find(|entry| !matches!(entry.kind, Kind::Marker)).cloned();
        let entry = match (kind, last) {
            (Kind::Repeat, Some(last)) => last,
            (Kind::Repeat, None) => return,
            (kind, last) => Entry { kind, sequence: last.map_or(0, |last| last.sequence + 1) },
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
        self.pipeline.record(self.now, 0, &incoming);
    }

    /// The fenced transaction: all of a batch, or none of it.
    fn transact(tables: &mut [Table; PARTITIONS], batch: &Batch) -> Ended {
        let stands = |table: &Table| NextOffset(table.next as i64);
        let of = |partition: Partition| partition.0 as usize;
        if batch.spans.iter().all(|span| stands(&tables[of(span.partition)]) == span.end) {
            return Ended::Written(Written::new(batch.spans.clone()));
        }
        if batch.spans.iter().any(|span| stands(&tables[of(span.partition)]) != span.start) {
            return Ended::Fenced;
        }
        for row in &batch.rows {
            apply(&mut tables[of(row.partition)].rows, row.key[0], &row.change);
        }
        for letter in &batch.dead_letters {
            let table = &mut tables[of(letter.record.partition)];
            table.dead_letters.push(letter.record.offset.0);
        }
        for seen in &batch.writers {
            tables[of(seen.partition)].last_sequence = Some(seen.last.sequence);
        }
        for span in &batch.spans {
            tables[of(span.partition)].next = span.end.0 as usize;
        }
        Ended::Written(Written::new(batch.spans.clone()))
    }

    fn finish(&mut self, chosen: usize) {
        let all = self.batches.len() + self.orphans.len();
        if all == 0 {
            return;
        }
        let chosen = chosen % all;
        if chosen >= self.batches.len() {
            let orphan = self.orphans.swap_remove(chosen - self.batches.len());
            Self::transact(&mut self.tables, &orphan);
            return;
        }
        let (id, batch) = self.batches.swap_remove(chosen);
        let ended = Self::transact(&mut self.tables, &batch);
        self.pipeline.finished(self.now, id, &ended);
    }

    fn answer_commit(&mut self, answer: Answer) {
        let Some(offsets) = self.committing.take() else { return };
        if !matches!(answer, Answer::Refused) {
            for (place, next) in offsets {
                let partition = place.partition.0 as usize;
                self.committed[partition] = Some(next.0);
            }
        }
        self.pipeline.commit_answered(self.now, matches!(answer, Answer::Taken));
    }

    fn locate(&mut self) {
        let found = std::mem::take(&mut self.asked).into_iter().map(|(place, epoch)| {
            let partition = place.partition.0 as usize;
            let table = &self.tables[partition];
            let id = |sequence| WriteId { writer: Uuid::from_u128(1), sequence };
            Located {
                place,
                epoch,
                next: NextOffset(table.next as i64),
                committed: self.committed[partition].map(NextOffset),
                writers: table.last_sequence.map(id).into_iter().collect(),
            }
        });
        let found = found.collect();
        self.pipeline.located(self.now, found);
    }

    fn crash(&mut self) {
        self.orphans.extend(self.batches.drain(..).map(|(_, batch)| batch));
        self.pipeline = Pipeline::new(limits(), vec![true]);
        self.fetching.clear();
        self.asked.clear();
        self.committing = None;
        self.owned = Default::default();
        self.revoking = false;
    }

    fn step(&mut self, op: &Op) {
        match *op {
            Op::Append(partition, kind) => self.append(partition, kind),
            Op::Deliver(partition, count) => self.deliver(partition, count),
            Op::DeliverAgain(partition) => {
                let fetching = self.fetching.get(&partition).copied();
                if let Some((offset, _)) = fetching.filter(|(offset, _)| *offset > 0) {
                    self.deliver_one(partition, offset - 1);
                }
            }
            Op::Tick(millis) => {
                self.now += Duration::from_millis(millis);
                self.pipeline.tick(self.now);
            }
            Op::Locate => self.locate(),
            Op::Finish(chosen) => self.finish(chosen),
            Op::LoseAnswer(chosen) => {
                if let Some((_, batch)) = self.batches.get(chosen % self.batches.len().max(1)) {
                    Self::transact(&mut self.tables, batch);
                }
            }
            Op::Commit(answer) => self.answer_commit(answer),
            Op::Assign(partition) if !self.owned[partition] && !self.revoking => {
                self.owned[partition] = true;
                self.pipeline.assign(&[place(partition)]);
            }
            Op::Revoke(partition, millis) if self.owned[partition] && !self.revoking => {
                self.revoking = true;
                let deadline = self.now + Duration::from_millis(millis);
                self.pipeline.revoke(self.now, vec![place(partition)], deadline);
            }
            Op::Lose(partition) if self.owned[partition] && !self.revoking => {
                self.pipeline.lose(self.now, vec![place(partition)]);
            }
            Op::Assign(_) | Op::Revoke(..) | Op::Lose(_) => {}
            Op::OtherWrites(partition, count) => {
                let log = &self.logs[partition];
                let next = (self.tables[partition].next + count).min(log.len());
                self.tables[partition] = prefix(log, next);
            }
            Op::Restore(partition) => {
                self.tables[partition] = Table::default();
                self.restored[partition] = true;
            }
            Op::Crash => self.crash(),
        }
        self.act();
    }

    fn act(&mut self) {
        while let Some(action) = self.pipeline.next_action() {
            let index = |place: &Place| place.partition.0 as usize;
            match action {
                Action::Locate(asked) => self.asked.extend(asked),
                Action::Read(places) => {
                    for (place, next) in &places {
                        self.fetching.insert(index(place), (next.0 as usize, false));
                    }
                }
                Action::Write(closed) => {
                    let id = closed.id;
                    self.batches.push((id, closed.into_batch(Arc::from("topic"))));
                    assert!(self.batches.len() <= limits().workers, "every worker is busy");
                }
                Action::Pause(places) => self.pause(&places, true),
                Action::Resume(places) => self.pause(&places, false),
                Action::Commit(offsets) => {
                    assert!(self.committing.is_none(), "one commit at a time");
                    self.committing = Some(offsets);
                }
                Action::Release(places) => {
                    self.revoking = false;
                    for place in &places {
                        self.owned[index(place)] = false;
                        self.fetching.remove(&index(place));
                    }
                }
                Action::StopAtBad(..) | Action::Drained => panic!("unasked: {action:?}"),
                Action::Tell(_) => {}
            }
        }
        self.check();
    }

    fn pause(&mut self, places: &[Place], paused: bool) {
        for place in places {
            if let Some(fetching) = self.fetching.get_mut(&(place.partition.0 as usize)) {
                fetching.1 = paused;
            }
        }
    }

    /// What must hold at every instant.
    fn check(&self) {
        for partition in 0..PARTITIONS {
            let table = &self.tables[partition];
            let expected = prefix(&self.logs[partition], table.next);
            assert_eq!(*table, expected, "partition {partition} is an exact prefix of its log");
            if let (Some(committed), false) = (self.committed[partition], self.restored[partition])
            {
                assert!(committed as usize <= table.next, "Kafka is never ahead of the database");
            }
        }
        let progress = self.pipeline.progress();
        let held = progress.open_bytes + progress.in_flight_bytes;
        assert!(held <= MEMORY + 1_000, "{held} bytes are within the limit and one record");
    }

    /// Whether everything is written and Kafka knows it.
    fn is_done(&self) -> bool {
        (0..PARTITIONS).all(|partition| {
            let is_record = |entry: &Entry| !matches!(entry.kind, Kind::Marker);
            let end = self.logs[partition].iter().rposition(is_record).map_or(0, |last| last + 1);
            let next = self.tables[partition].next;
            next >= end && self.committed[partition] == Some(next as i64)
        })
    }

    /// Without further faults everything is written, and soon. A database that was restored is
    /// noticed by the next record, so there is one more for each partition.
    fn settle(&mut self) {
        for partition in 0..PARTITIONS {
            self.append(partition, Kind::Add(0, 1));
        }
        for _ in 0..1_000 {
            if self.is_done() {
                return;
            }
            for partition in 0..PARTITIONS {
                self.step(&Op::Assign(partition));
                self.step(&Op::Deliver(partition, 10));
            }
            self.step(&Op::Locate);
            self.step(&Op::Finish(0));
            self.step(&Op::Commit(Answer::Taken));
            self.step(&Op::Tick(100));
        }
        panic!("it never ends: {:?}", self.pipeline);
    }
}

fn an_op() -> impl Strategy<Value = Op> {
    let partition = || 0..PARTITIONS;
    let kind = prop_oneof![
        4 => (0_u8..6, -9_i64..9).prop_map(|(key, n)| Kind::Set(key, n)),
        6 => (0_u8..6, -9_i64..9).prop_map(|(key, n)| Kind::Add(key, n)),
        1 => (0_u8..6).prop_map(Kind::Delete),
        1 => Just(Kind::Repeat),
        1 => Just(Kind::Garbage),
        1 => Just(Kind::Marker),
    ];
    let answer = prop_oneof![
        4 => Just(Answer::Taken),
        1 => Just(Answer::TakenSilently),
        1 => Just(Answer::Refused),
    ];
    prop_oneof![
        20 => (partition(), kind).prop_map(|(partition, kind)| Op::Append(partition, kind)),
        20 => (partition(), 1_usize..12).prop_map(|(partition, n)| Op::Deliver(partition, n)),
        2 => partition().prop_map(Op::DeliverAgain),
        8 => (0_u64..200).prop_map(Op::Tick),
        8 => Just(Op::Locate),
        8 => (0_usize..8).prop_map(Op::Finish),
        2 => (0_usize..8).prop_map(Op::LoseAnswer),
        6 => answer.prop_map(Op::Commit),
        8 => partition().prop_map(Op::Assign),
        2 => (partition(), 0_u64..300).prop_map(|(partition, n)| Op::Revoke(partition, n)),
        1 => partition().prop_map(Op::Lose),
        1 => (partition(), 1_usize..9).prop_map(|(partition, n)| Op::OtherWrites(partition, n)),
        1 => partition().prop_map(Op::Restore),
        1 => Just(Op::Crash),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(3_000))]

    #[test]
    fn in_any_order_of_events_the_database_is_an_exact_prefix_and_reaches_the_end(
        ops in prop::collection::vec(an_op(), 1..150),
    ) {
        let mut world = World::new();
        for partition in 0..PARTITIONS {
            world.step(&Op::Assign(partition));
        }
        world.step(&Op::Locate);
        for op in &ops {
            world.step(op);
        }
        world.settle();
    }
}
