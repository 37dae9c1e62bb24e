//! The real partitions, cache and reader under a scheduler that tries orders of everything that
//! happens to one row at once: it is written, answered, applied, committed, evicted, followed and
//! read.
//!
//! The row after each write is another, so that what a read sees says which writes it has. A read
//! must have all that were accepted before it began, none that were not accepted when it ended, all
//! that an earlier read of the same reader had, and each exactly once.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use prometheus::Registry;
use serde_json::Value;
use shuttle::sync::Mutex;
use shuttle::{future, thread};
use uuid::Uuid;
use write_behind_shared::{Change, NextOffset, Offset, Partition, WriteId};

use crate::LoadError;
use crate::core::cache::Cache as _;
use crate::core::delta::{Delta, Row};
use crate::core::ledger::{Key, Sequence};
use crate::core::lost_writes::Loss;
use crate::core::pending::cost;
use crate::core::priority::Priority;
use crate::core::tail::LogRecord;
use crate::core::usage::Full;
use crate::load::{Loaded, Loader};
use crate::metrics::Metrics;
use crate::partitions::admission::WhenFull;
use crate::partitions::outlet::{Content, NotTaken, Outlet};
use crate::partitions::setup::{PENDING_BYTES, setup};
use crate::partitions::sync::in_many_orders;
use crate::partitions::{Partitions, Setup};
use crate::reads::reader::Reader;
use crate::writes::accept::Acceptor;
use crate::writes::encode::{KeyText, Prepared};

const PARTITION: Partition = Partition(0);
/// What the write that the broker refuses adds: it tells itself from all others.
const REFUSED: i64 = 1_000;

/// What a schedule is made of.
#[derive(Clone, Debug)]
struct Plan {
    writes: Vec<Delta>,
    /// How many records another writer appends, and this handle's tail reads.
    foreign: usize,
    /// Memory is short now and then.
    forgets: bool,
}

fn step(v: i64) -> Delta {
    let change = Change::new().set("v", &v).unwrap().add("n", 1);
    Delta::Change(Box::new(change))
}

fn refused() -> Delta {
    Delta::Change(Box::new(Change::new().add("n", REFUSED)))
}

fn put(v: i64) -> Delta {
    Delta::Put(format!(r#"{{"n":{v}00,"v":{v}}}"#).into_bytes().into())
}

fn key() -> Key {
    Key::from(*b"7")
}

fn initial() -> Row {
    Row::from(*br#"{"n":100,"v":0}"#)
}

fn prepared(delta: &Delta) -> Prepared {
    let (value, add) = delta.to_record().expect("one record says it");
    Prepared {
        key: KeyText::from_slice(&key()),
        partition: PARTITION,
        delta: delta.clone(),
        changed: value.map(|value| value.to_vec()),
        add,
        headers: None,
        priority: Priority::Normal,
        cost: cost(&key(), delta),
        joined_bytes_max: usize::MAX,
    }
}

fn is_refused(delta: &Delta) -> bool {
    matches!(delta, Delta::Change(change) if change.cells().len() == 1 && change.needs_earlier_value())
}

/// What another writer does to the row: a column of its own.
fn foreign(f: usize) -> Delta {
    Delta::Change(Box::new(Change::new().set("f", &f).unwrap()))
}

/// Of a row that was read, what this handle's writes made of it.
fn seen(row: Option<&Row>) -> Option<(i64, i64)> {
    let row: Value = serde_json::from_slice(row?).unwrap();
    let number = |name: &str| row[name].as_i64().unwrap_or(0);
    Some((number("v"), number("n") % REFUSED))
}

/// Kafka, the consumer and the database.
#[derive(Debug, Default)]
struct Behind {
    on_their_way: VecDeque<Sequence>,
    log: Vec<(Option<Sequence>, Delta)>,
    row: Option<Row>,
    next: i64,
}

struct Model {
    plan: Plan,
    partitions: Arc<Partitions>,
    metrics: Arc<Metrics>,
    behind: Arc<Mutex<Behind>>,
    /// What reads see after each number of writes.
    states: Vec<Option<(i64, i64)>>,
    begun: AtomicUsize,
    accepted: AtomicUsize,
    /// Who is still at work on what reads see; the tail and the consumer end last.
    records: usize,
}

/// The client: what it takes is on its way.
#[derive(Debug)]
struct OnTheirWay(Arc<Mutex<Behind>>);

impl Outlet for OnTheirWay {
    fn enqueue(&self, _: Partition, id: WriteId, _: Content<'_>) -> Result<(), NotTaken> {
        self.0.lock().unwrap().on_their_way.push_back(id.sequence);
        Ok(())
    }
}

struct Database(Arc<Mutex<Behind>>);

impl Loader<i32> for Database {
    async fn load(&self, _: &i32) -> Result<Loaded, LoadError> {
        let (row, next) = {
            let behind = self.0.lock().unwrap();
            (behind.row.clone(), NextOffset(behind.next))
        };
        // The answer is under way.
        future::yield_now().await;
        let row = row.map_or_else(|| Ok(Loaded::missing()), |row| Loaded::json(&row));
        row.map(|row| row.at(next))
    }
}

impl Model {
    fn new(plan: Plan, metrics: Arc<Metrics>) -> Self {
        let partitions = Partitions::new(Setup {
            loads: true,
            follows: plan.foreign > 0,
            when_full: if plan.forgets { WhenFull::ForgetRows } else { WhenFull::Wait },
            ..setup()
        });
        let mut row = Some(initial());
        let mut states = vec![seen(row.as_ref())];
        for delta in &plan.writes {
            row = delta.over(row);
            states.push(seen(row.as_ref()));
        }
        let good = plan.writes.iter().filter(|delta| !is_refused(delta)).count();
        let behind = Behind { row: Some(initial()), ..Behind::default() };
        let behind = Arc::new(Mutex::new(behind));
        let outlet: Arc<dyn Outlet> = Arc::new(OnTheirWay(Arc::clone(&behind)));
        partitions.of(PARTITION).unwrap().lock().outlet = Some(outlet);
        Self {
            records: good + plan.foreign,
            plan,
            partitions: Arc::new(partitions),
            metrics,
            behind,
            states,
            begun: AtomicUsize::new(0),
            accepted: AtomicUsize::new(0),
        }
    }

    fn write(&self) {
        let acceptor = Acceptor {
            partitions: Arc::clone(&self.partitions),
            write_timeout: None,
            waits_recorded: false,
            metrics: Arc::clone(&self.metrics),
        };
        for delta in &self.plan.writes {
            self.begun.fetch_add(1, Ordering::SeqCst);
            acceptor.try_write(None, Ok(prepared(delta))).expect("there is room");
            self.accepted.fetch_add(1, Ordering::SeqCst);
        }
    }

    /// The broker appends or refuses, and answers; what had to wait for that is handed over.
    fn answer(&self) {
        let pending = self.partitions.of(PARTITION).unwrap();
        let mut left = self.plan.writes.len();
        while left > 0 {
            if pending.has_waiting() {
                self.partitions.hand_over(pending, Instant::now());
            }
            let Some(sequence) = self.behind.lock().unwrap().on_their_way.pop_front() else {
                thread::yield_now();
                continue;
            };
            left -= 1;
            let delta = self.plan.writes[sequence as usize].clone();
            let answer = if is_refused(&delta) {
                Err(Loss::Failed("refused".into()))
            } else {
                let mut behind = self.behind.lock().unwrap();
                behind.log.push((Some(sequence), delta));
                Ok(behind.log.len() as i64 - 1)
            };
            self.partitions.answered(PARTITION, std::iter::once((sequence as usize, answer)));
        }
    }

    fn write_elsewhere(&self) {
        for f in 1..=self.plan.foreign {
            self.behind.lock().unwrap().log.push((None, foreign(f)));
        }
    }

    /// The consumer applies, commits, and its commit is heard of.
    fn apply(&self) {
        let mut next = 0;
        while next < self.records as i64 {
            {
                let mut behind = self.behind.lock().unwrap();
                let Some((_, delta)) = behind.log.get(next as usize).cloned() else {
                    drop(behind);
                    thread::yield_now();
                    continue;
                };
                behind.row = delta.over(behind.row.take());
                next += 1;
                behind.next = next;
            }
            self.partitions.committed(PARTITION, NextOffset(next));
        }
    }

    fn tail(&self) {
        let mut next = 0;
        while self.plan.foreign > 0 && next < self.records {
            let read = self.behind.lock().unwrap().log.get(next).cloned();
            let Some((sequence, delta)) = read else {
                thread::yield_now();
                continue;
            };
            let pending = self.partitions.of(PARTITION).unwrap();
            let write_id = sequence.map(|sequence| pending.lock().ids.of(sequence));
            let write_id =
                write_id.or(Some(WriteId { writer: Uuid::nil(), sequence: next as u64 }));
            let offset = Offset(next as i64);
            next += 1;
            let record = LogRecord { offset, key: key(), delta, write_id };
            self.partitions.log_read(PARTITION, vec![record], offset.next());
        }
    }

    /// Cached rows may go at any time; rows of memory when it is short.
    fn evict(&self) {
        for _ in 0..3 {
            self.partitions.cache.remove(&key());
            thread::yield_now();
            if self.plan.forgets {
                self.partitions.make_room(PARTITION, 1);
            }
        }
    }

    fn read(&self, reader: &Reader<i32>, reads: usize) {
        let mut last = 0;
        for _ in 0..reads {
            let accepted = self.accepted.load(Ordering::SeqCst);
            let reading = future::block_on(reader.read(&7, key())).expect("a row");
            let begun = self.begun.load(Ordering::SeqCst);
            if reading.may_be_behind {
                assert!(self.plan.forgets, "nothing was forgotten");
                continue;
            }
            let row = seen(reading.row.as_ref());
            let possible = last.max(accepted)..=begun;
            let found = possible.clone().find(|writes| self.states[*writes] == row);
            let Some(writes) = found else {
                panic!("{row:?} is what reads see after none of {possible:?} writes")
            };
            last = writes;
        }
    }

    /// All is committed: the row is the fold of the log, and no room is held.
    fn check_the_end(&self, reader: &Reader<i32>) {
        let reading = future::block_on(reader.read(&7, key())).expect("a row");
        assert!(!reading.may_be_behind, "all is in the database");
        assert_eq!(
            reading.row.as_deref().map(serde_json::from_slice::<Value>).transpose().unwrap(),
            self.fold().as_deref().map(serde_json::from_slice::<Value>).transpose().unwrap(),
        );
        let stats = self.partitions.stats(Instant::now());
        assert_eq!((stats.rows, stats.bytes, stats.in_flight), (0, 0, 0));
        assert_eq!(self.partitions.limits.of(Full::PendingBytes).unwrap().free(), PENDING_BYTES);
    }

    fn fold(&self) -> Option<Row> {
        let behind = self.behind.lock().unwrap();
        let mut row = Some(initial());
        for (_, delta) in &behind.log {
            row = delta.over(row);
        }
        row
    }
}

fn run(plan: &Plan, metrics: &Arc<Metrics>) {
    let model = Arc::new(Model::new(plan.clone(), Arc::clone(metrics)));
    let reader = Arc::new(Reader {
        partitions: Arc::clone(&model.partitions),
        loader: Some(Arc::new(Database(Arc::clone(&model.behind)))),
        metrics: Arc::clone(metrics),
        load_timeout: Duration::MAX,
        tail: None,
        runtime: None,
    });
    let parts: [fn(&Model); 6] = [
        Model::write,
        Model::answer,
        Model::write_elsewhere,
        Model::apply,
        Model::tail,
        Model::evict,
    ];
    let mut threads: Vec<_> = parts
        .map(|part| {
            let model = Arc::clone(&model);
            thread::spawn(move || part(&model))
        })
        .into();
    for _ in 0..2 {
        let (model, reader) = (Arc::clone(&model), Arc::clone(&reader));
        threads.push(thread::spawn(move || model.read(&reader, 4)));
    }
    for thread in threads {
        thread.join().unwrap();
    }
    model.check_the_end(&reader);
}

fn check(plan: Plan, orders: usize) {
    let plan = Arc::new(plan);
    let metrics = Arc::new(Metrics::new(&Registry::new(), "topic").unwrap().0);
    in_many_orders(orders, move || run(&plan, &metrics));
}

#[test]
fn reads_never_go_back_and_increments_count_once() {
    let writes = vec![step(1), step(2), put(3), step(4), Delta::Delete, step(6)];
    check(Plan { writes, foreign: 0, forgets: false }, 1_500);
}

#[test]
fn a_counter_that_is_only_added_to_is_loaded_right() {
    let writes = vec![step(1), step(2), step(3), step(4)];
    check(Plan { writes, foreign: 0, forgets: false }, 1_500);
}

#[test]
fn a_write_that_the_broker_refuses_leaves_nothing_behind() {
    let writes = vec![step(1), refused(), step(2), put(3), refused(), step(4)];
    check(Plan { writes, foreign: 0, forgets: false }, 1_500);
}

#[test]
fn reads_never_go_back_while_others_write_the_row_and_the_log_is_followed() {
    let writes = vec![step(1), step(2), refused(), put(4), step(5)];
    check(Plan { writes, foreign: 2, forgets: false }, 1_500);
}

#[test]
fn what_is_forgotten_is_read_right_or_said_to_be_behind() {
    let writes = vec![step(1), put(2), step(3), step(4)];
    check(Plan { writes: writes.clone(), foreign: 0, forgets: true }, 1_000);
    check(Plan { writes, foreign: 2, forgets: true }, 1_000);
}
