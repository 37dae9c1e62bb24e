//! Histories of a process that records its writes, is killed at any moment, and begins again on what
//! its disk has: everything recorded is in the log exactly once, as the consumer counts, in order.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Mutex;

use prometheus::Registry;
use proptest::prelude::*;
use serde_json::json;
use write_behind_shared::{Change, WriteId, record};

use super::disk::SharedDisk;
use super::setup::{PENDING_BYTES, setup};
use super::*;
use crate::core::entry::RowState;
use crate::core::journaled::Position;
use crate::core::replayed::Replayed;
use crate::error::{Full as Limited, WriteError};
use crate::metrics::Metrics;
use crate::partitions::journaling::Recording as _;
use crate::partitions::outlet::{Content, NotTaken};
use crate::writes::accept::Acceptor;
use crate::writes::encode::{Encoder, Prepared};

const PARTITIONS: i32 = 2;

/// What happens next.
#[derive(Clone, Debug)]
enum Op {
    /// A row is put, deleted or added to.
    Write(u8, u8),
    /// The disk takes this many more entries.
    Record(usize),
    /// The disk has no room, or has some again.
    Fill(bool),
    HandOver,
    /// Kafka appends this many records of a partition, and answers or not.
    Append(i32, usize, bool),
    /// The client fails, and another takes over. What it had may get to Kafka yet.
    ClientFails,
    /// Kafka appends what a client had that is gone.
    AppendLate(i32, usize),
    Release,
    /// The process ends. This many entries that were not recorded are on the disk all the same, and
    /// the last releases may not be.
    Crash(usize, bool),
}

fn ops() -> impl Strategy<Value = Vec<Op>> {
    let op = prop_oneof![
        8 => (0_u8..5, 0_u8..5).prop_map(|(row, kind)| Op::Write(row, kind)),
        4 => (1_usize..4).prop_map(Op::Record),
        1 => any::<bool>().prop_map(Op::Fill),
        3 => Just(Op::HandOver),
        4 => (0..PARTITIONS, 1_usize..4, prop::bool::weighted(0.8))
            .prop_map(|(partition, records, acks)| Op::Append(partition, records, acks)),
        1 => Just(Op::ClientFails),
        2 => (0..PARTITIONS, 1_usize..4).prop_map(|(partition, n)| Op::AppendLate(partition, n)),
        2 => Just(Op::Release),
        1 => (0_usize..4, any::<bool>()).prop_map(|(more, noted)| Op::Crash(more, noted)),
    ];
    prop::collection::vec(op, 0..120)
}

/// A record on its way.
#[derive(Clone, Debug)]
struct Sent {
    low_bits: usize,
    id: WriteId,
    key: Vec<u8>,
    change: Change,
}

/// A client, and what it has of each partition.
#[derive(Debug, Default)]
struct Client(Mutex<[VecDeque<Sent>; PARTITIONS as usize]>);

impl Outlet for Client {
    fn enqueue(
        &self,
        partition: Partition,
        id: WriteId,
        content: Content<'_>,
    ) -> Result<(), NotTaken> {
        let change = record::decode(content.value, content.add).expect("a record");
        let (low_bits, key) = (content.sequence as usize, content.key.to_vec());
        let sent = Sent { low_bits, id, key, change };
        self.0.lock().unwrap()[partition.0 as usize].push_back(sent);
        Ok(())
    }
}

/// A write that was accepted.
struct Written {
    position: Position,
    key: Vec<u8>,
    change: Change,
}

struct World {
    lives: u128,
    coalesces: bool,
    metrics: Arc<Metrics>,
    disk: SharedDisk,
    partitions: Arc<Partitions>,
    client: Arc<Client>,
    /// What clients had that are gone.
    late: [VecDeque<Sent>; PARTITIONS as usize],
    log: [Vec<Sent>; PARTITIONS as usize],
    written: Vec<Written>,
}

impl World {
    fn new(coalesces: bool) -> Self {
        let disk = SharedDisk::default();
        let client = Arc::<Client>::default();
        let metrics = Arc::new(Metrics::new(&Registry::new(), "topic").expect("metrics").0);
        let partitions = Self::begin(1, coalesces, &disk, &client);
        let (late, log, written) = Default::default();
        Self { lives: 1, coalesces, metrics, disk, partitions, client, late, log, written }
    }

    /// A life of the process begins on what the disk has.
    fn begin(
        life: u128,
        coalesces: bool,
        disk: &SharedDisk,
        client: &Arc<Client>,
    ) -> Arc<Partitions> {
        let (kept, released) = {
            let disk = disk.0.lock().unwrap();
            (disk.entries.clone(), disk.released)
        };
        let journaling = Journaling::new(Arc::new(disk.clone()), kept.len() as Position);
        let partitions = Partitions::new(Setup {
            partitions: PARTITIONS as usize,
            writer: Uuid::from_u128(life),
            journal: Some(Arc::new(journaling)),
            coalesce: coalesces.then_some(Duration::from_nanos(1)),
            ..setup()
        });
        for (position, entry) in (0..).zip(&kept).skip(released as usize) {
            let write = Replayed::read(entry, PARTITIONS, None).expect("an entry");
            partitions.replay(position, write).expect("it is joined again");
        }
        partitions.replayed();
        let outlet: Arc<dyn Outlet> = Arc::<Client>::clone(client);
        partitions.set_outlet(Some(&outlet));
        Arc::new(partitions)
    }

    fn step(&mut self, op: &Op) {
        match *op {
            Op::Write(row, kind) => self.write(row, kind),
            Op::Record(entries) => self.record(entries),
            Op::Fill(full) => self.disk.0.lock().unwrap().is_full = full,
            Op::HandOver => self.partitions.hand_over_recorded(),
            Op::Append(partition, records, acks) => self.append(partition, records, acks),
            Op::ClientFails => self.client_fails(),
            Op::AppendLate(partition, records) => {
                let late = &mut self.late[partition as usize];
                let records = late.drain(..records.min(late.len())).collect::<Vec<_>>();
                self.log[partition as usize].extend(records);
            }
            Op::Release => self.partitions.release_answered(),
            Op::Crash(more, noted) => self.crash(more, noted),
        }
    }

    /// A row is put, deleted or added to.
    fn prepared(&self, row: u8, kind: u8) -> Prepared {
        let encoder = Encoder::plain(PARTITIONS, PENDING_BYTES, PENDING_BYTES);
        let prepared = match kind {
            0 => encoder.put(&row, &json!({"n": self.written.len()})),
            1 => encoder.delete(&row),
            _ => encoder.change(&row, Change::new().add("n", i64::from(kind))),
        };
        prepared.expect("it can be written")
    }

    fn try_write(&self, prepared: Prepared) -> Result<(), WriteError> {
        let acceptor = Acceptor {
            partitions: Arc::clone(&self.partitions),
            write_timeout: None,
            waits_recorded: false,
            metrics: Arc::clone(&self.metrics),
        };
        acceptor.try_write(None, Ok(prepared)).map(drop)
    }

    fn write(&mut self, row: u8, kind: u8) {
        let prepared = self.prepared(row, kind);
        let change = record::decode(prepared.value(), prepared.add.as_deref()).expect("a record");
        let (position, key) = (self.disk.next(), prepared.key.to_vec());
        match self.try_write(prepared) {
            Ok(()) => self.written.push(Written { position, key, change }),
            Err(WriteError::Overloaded(Limited::Journal)) => {
                assert!(self.disk.0.lock().unwrap().is_full);
                assert_eq!(self.disk.next(), position, "nothing changed");
            }
            Err(error) => panic!("{error}"),
        }
    }

    fn record(&mut self, entries: usize) {
        let mut disk = self.disk.0.lock().unwrap();
        disk.recorded = (disk.recorded + entries as Position).min(disk.entries.len() as Position);
        disk.noted = disk.released;
        self.partitions.journal.as_ref().expect("a journal").advance(disk.recorded);
    }

    fn append(&mut self, partition: i32, records: usize, acks: bool) {
        for _ in 0..records {
            let sent = self.client.0.lock().unwrap()[partition as usize].pop_front();
            let Some(sent) = sent else { return };
            let offset = self.log[partition as usize].len() as i64;
            let low_bits = sent.low_bits;
            self.log[partition as usize].push(sent);
            if !acks {
                // The answer is lost, and with it the client.
                return self.client_fails();
            }
            let answer = std::iter::once((low_bits, Ok(offset)));
            self.partitions.answered(Partition(partition), answer);
        }
    }

    /// What a client had gets to Kafka in its order, or not at all.
    fn leave_late(&mut self) {
        let client = std::mem::take(&mut self.client);
        let left = std::mem::take(&mut *client.0.lock().unwrap());
        for (late, left) in self.late.iter_mut().zip(left) {
            late.extend(left);
        }
    }

    fn client_fails(&mut self) {
        self.partitions.set_outlet(None);
        self.leave_late();
        self.partitions.requeue();
        let outlet: Arc<dyn Outlet> = Arc::<Client>::clone(&self.client);
        self.partitions.set_outlet(Some(&outlet));
    }

    fn crash(&mut self, more: usize, noted: bool) {
        self.partitions.set_outlet(None);
        self.leave_late();
        {
            let mut disk = self.disk.0.lock().unwrap();
            let kept = (disk.recorded as usize + more).min(disk.entries.len());
            disk.entries.truncate(kept);
            disk.recorded = kept as Position;
            if !noted {
                disk.released = disk.noted;
            }
            self.written.retain(|write| write.position < kept as Position);
        }
        self.lives += 1;
        self.partitions = Self::begin(self.lives, self.coalesces, &self.disk, &self.client);
        self.check_reads();
    }

    fn expected(&self) -> BTreeMap<Vec<u8>, Option<serde_json::Value>> {
        rows(self.written.iter().map(|write| (&write.key, &write.change)))
    }

    /// A row that is known is as it was before the crash.
    fn check_reads(&self) {
        let expected = self.expected();
        for (key, row) in &expected {
            for (_, pending) in self.partitions.iter() {
                if let Some(RowState::Known(read)) = pending.lock().core.read(key) {
                    let read: Option<serde_json::Value> =
                        read.map(|row| serde_json::from_slice(&row).expect("JSON"));
                    assert_eq!(read, *row, "the row {}", text(key));
                }
            }
        }
    }

    fn finish(mut self) {
        self.disk.0.lock().unwrap().is_full = false;
        for _ in 0..1_000 {
            self.record(usize::MAX >> 1);
            self.partitions.hand_over_recorded();
            for partition in 0..PARTITIONS {
                self.append(partition, usize::MAX, true);
            }
            if self.partitions.keys_in_flight().is_empty() {
                break;
            }
        }
        for partition in 0..PARTITIONS {
            self.step(&Op::AppendLate(partition, usize::MAX));
        }
        assert_eq!(self.partitions.keys_in_flight().len(), 0, "all of it is in the log");
        assert_eq!(self.partitions.stats(Instant::now()).lost, 0);
        let mut counted = Vec::new();
        for log in &self.log {
            let mut last = BTreeMap::new();
            for sent in log {
                let seen = last.get(&sent.id.writer).copied();
                if seen.is_none_or(|seen| sent.id.sequence > seen) {
                    let next = seen.map_or(sent.id.sequence, |seen| seen + 1);
                    assert_eq!(sent.id.sequence, next, "a record is missing");
                    last.insert(sent.id.writer, sent.id.sequence);
                    counted.push((&sent.key, &sent.change));
                }
            }
        }
        assert_eq!(rows(counted.into_iter()), self.expected());
        self.partitions.release_answered();
        let disk = self.disk.0.lock().unwrap();
        assert_eq!(disk.released, disk.entries.len() as Position, "the disk is given back");
    }
}

/// The rows after these changes.
fn rows<'c>(
    changes: impl Iterator<Item = (&'c Vec<u8>, &'c Change)>,
) -> BTreeMap<Vec<u8>, Option<serde_json::Value>> {
    let mut rows = BTreeMap::<Vec<u8>, Change>::new();
    for (key, change) in changes {
        rows.entry(key.clone()).or_insert_with(Change::delete).fold(change.clone());
    }
    let row = |change: &Change| {
        let row = change.to_row().expect("numbers");
        row.map(|row| serde_json::from_slice(&row).expect("JSON"))
    };
    rows.iter().map(|(key, change)| (key.clone(), row(change))).collect()
}

/// 500 histories each, or what `PROPTEST_CASES` says.
fn config() -> ProptestConfig {
    let default = ProptestConfig::default();
    let is_set = std::env::var_os("PROPTEST_CASES").is_some();
    let cases = if is_set { default.cases } else { 500 };
    ProptestConfig { cases, failure_persistence: None, ..default }
}

fn run(coalesces: bool, ops: &[Op]) {
    let mut world = World::new(coalesces);
    for op in ops {
        world.step(op);
    }
    world.finish();
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn what_was_recorded_is_in_the_log_once_and_in_order_after_any_crash(ops in ops()) {
        run(false, &ops);
    }

    #[test]
    fn so_is_what_was_joined_into_one_record(ops in ops()) {
        run(true, &ops);
    }
}

#[test]
fn no_client_is_given_a_write_before_it_is_recorded() {
    let mut world = World::new(false);
    (0..3).for_each(|_| world.write(1, 2));
    world.record(2);
    for _ in 0..4 {
        world.partitions.hand_over_recorded();
        (0..PARTITIONS).for_each(|partition| world.append(partition, 9, true));
    }
    assert_eq!(world.log.iter().map(Vec::len).sum::<usize>(), 2);
    // A new write helps those that wait along, and no further than this.
    world.write(1, 2);
    assert!(world.client.0.lock().unwrap().iter().all(VecDeque::is_empty));
}

#[tokio::test]
async fn after_an_error_of_the_disk_only_what_was_recorded_is_sent_and_nothing_is_taken() {
    let mut world = World::new(false);
    (0..3).for_each(|_| world.write(1, 2));
    world.record(2);
    let journal = world.partitions.journal.clone().expect("a journal");
    journal.end("the disk failed");
    world.partitions.halt_if_the_journal_ended();

    let refused = world.try_write(world.prepared(2, 0));
    assert!(matches!(refused, Err(WriteError::Halted(Halt::Journal(_)))), "{refused:?}");
    assert!(journal.wait(2).await.is_ok());
    let lost = journal.wait(3).await.expect_err("it was not recorded").to_string();
    assert!(lost.contains("the disk failed"), "{lost}");
    for _ in 0..4 {
        world.partitions.hand_over_recorded();
        (0..PARTITIONS).for_each(|partition| world.append(partition, 9, true));
    }
    assert_eq!(world.log.iter().map(Vec::len).sum::<usize>(), 2);
    assert_eq!(world.partitions.keys_in_flight().len(), 1, "the third is named by `close`");
    world.crash(0, true);
    world.finish();
}
