//! Read-modify-writes under a scheduler that tries orders of everything that happens to one row at
//! once: several tasks modify it, another adds to it, it is sent, answered, applied, committed,
//! evicted and loaded. No update is lost: in the end each has counted once.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use prometheus::Registry;
use serde::{Deserialize, Serialize};
use shuttle::sync::Mutex;
use shuttle::{future, thread};
use write_behind_shared::{Change, NextOffset, Partition, WriteId, record};

use crate::LoadError;
use crate::core::cache::Cache as _;
use crate::core::delta::{Delta, Row};
use crate::core::ledger::{Key, Sequence};
use crate::load::{Loaded, Loader};
use crate::metrics::Metrics;
use crate::partitions::outlet::{Content, NotTaken, Outlet};
use crate::partitions::setup::{PENDING_BYTES, setup};
use crate::partitions::sync::in_many_orders;
use crate::partitions::{Partitions, Setup};
use crate::reads::reader::Reader;
use crate::writes::accept::Acceptor;
use crate::writes::encode::Encoder;

const PARTITION: Partition = Partition(0);
const MODIFIERS: i64 = 2;
const MODIFIES: i64 = 2;
const ADDS: i64 = 2;
/// What the database holds at first.
const INITIAL: i64 = 100;

#[derive(Serialize, Deserialize)]
struct Counter {
    n: i64,
}

fn key() -> Key {
    Key::from(*b"7")
}

fn n_of(row: Option<&Row>) -> i64 {
    serde_json::from_slice::<Counter>(row.expect("a row")).expect("a counter").n
}

/// Kafka, the consumer and the database.
#[derive(Debug, Default)]
struct Behind {
    on_their_way: VecDeque<(Sequence, Delta)>,
    log: Vec<Delta>,
    row: Option<Row>,
    next: i64,
}

#[derive(Debug)]
struct Client(Arc<Mutex<Behind>>);

impl Outlet for Client {
    fn enqueue(&self, _: Partition, id: WriteId, content: Content<'_>) -> Result<(), NotTaken> {
        let change = record::decode(content.value, content.add).expect("a record");
        let delta = Delta::Change(Box::new(change));
        self.0.lock().unwrap().on_their_way.push_back((id.sequence, delta));
        Ok(())
    }
}

struct Database {
    behind: Arc<Mutex<Behind>>,
    /// Whether it says how far the partition is.
    is_exact: bool,
}

impl Loader<i32> for Database {
    async fn load(&self, _: &i32) -> Result<Loaded, LoadError> {
        let (row, next) = {
            let behind = self.behind.lock().unwrap();
            (behind.row.clone(), NextOffset(behind.next))
        };
        // The answer is under way.
        future::yield_now().await;
        let found = Loaded::json(&row.expect("a row"))?;
        Ok(if self.is_exact { found.at(next) } else { found })
    }
}

struct Model {
    partitions: Arc<Partitions>,
    behind: Arc<Mutex<Behind>>,
    acceptor: Acceptor,
    reader: Reader<i32>,
    encoder: Encoder,
}

impl Model {
    fn new(is_exact: bool, metrics: &Arc<Metrics>) -> Self {
        let partitions = Arc::new(Partitions::new(Setup { loads: true, ..setup() }));
        let row = Some(Row::from(format!(r#"{{"n":{INITIAL}}}"#).into_bytes()));
        let behind = Arc::new(Mutex::new(Behind { row, ..Behind::default() }));
        let client: Arc<dyn Outlet> = Arc::new(Client(Arc::clone(&behind)));
        partitions.set_outlet(Some(&client));
        let metrics = Arc::clone(metrics);
        Self {
            acceptor: Acceptor {
                partitions: Arc::clone(&partitions),
                write_timeout: None,
                waits_recorded: false,
                metrics: Arc::clone(&metrics),
            },
            reader: Reader {
                partitions: Arc::clone(&partitions),
                loader: Some(Arc::new(Database { behind: Arc::clone(&behind), is_exact })),
                load_timeout: Duration::MAX,
                metrics,
                tail: None,
                runtime: None,
            },
            encoder: Encoder::plain(1, PENDING_BYTES, PENDING_BYTES),
            partitions,
            behind,
        }
    }

    fn modify(&self) {
        let key = key();
        for _ in 0..MODIFIES {
            let modified = self.reader.modify(&self.acceptor, (&7, &key), |row| {
                let counter = Counter { n: n_of(row) + 1 };
                Ok(((), Some(self.encoder.put(&7, &counter).expect("a row"))))
            });
            future::block_on(modified).expect("it is written").1.expect("a receipt");
        }
    }

    fn add(&self) {
        for _ in 0..ADDS {
            let change = self.encoder.change(&7, Change::new().add("n", 1));
            self.acceptor.try_write(None, change).expect("there is room");
            thread::yield_now();
        }
    }

    /// The client sends, and the broker appends and answers.
    fn send(&self) {
        let pending = self.partitions.of(PARTITION).expect("the partition");
        let mut left = MODIFIERS * MODIFIES + ADDS;
        while left > 0 {
            self.partitions.hand_over(pending, Instant::now());
            let Some((sequence, delta)) = self.behind.lock().unwrap().on_their_way.pop_front()
            else {
                thread::yield_now();
                continue;
            };
            left -= 1;
            let offset = {
                let mut behind = self.behind.lock().unwrap();
                behind.log.push(delta);
                behind.log.len() as i64 - 1
            };
            self.partitions.answered(PARTITION, std::iter::once((sequence as usize, Ok(offset))));
        }
    }

    /// The consumer applies, commits, and its commit is heard of.
    fn apply(&self) {
        let mut next = 0;
        while next < MODIFIERS * MODIFIES + ADDS {
            {
                let mut behind = self.behind.lock().unwrap();
                let Some(delta) = behind.log.get(next as usize).cloned() else {
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

    /// Cached rows may go at any time.
    fn evict(&self) {
        for _ in 0..4 {
            self.partitions.cache.remove(&key());
            thread::yield_now();
        }
    }
}

fn run(is_exact: bool, metrics: &Arc<Metrics>) {
    let model = Arc::new(Model::new(is_exact, metrics));
    let parts: [fn(&Model); 6] =
        [Model::modify, Model::modify, Model::add, Model::send, Model::apply, Model::evict];
    let threads = parts.map(|part| {
        let model = Arc::clone(&model);
        thread::spawn(move || part(&model))
    });
    for thread in threads {
        thread.join().unwrap();
    }
    let all = INITIAL + MODIFIERS * MODIFIES + ADDS;
    assert_eq!(n_of(model.behind.lock().unwrap().row.as_ref()), all, "in the database");
    let reading = future::block_on(model.reader.read(&7, key())).expect("a row");
    assert_eq!(n_of(reading.row.as_ref()), all, "as it is read");
    let stats = model.partitions.stats(Instant::now());
    assert_eq!((stats.rows, stats.bytes, stats.in_flight), (0, 0, 0), "nothing is held");
}

fn check(is_exact: bool, orders: usize) {
    let metrics = Arc::new(Metrics::new(&Registry::new(), "topic").unwrap().0);
    in_many_orders(orders, move || run(is_exact, &metrics));
}

#[test]
fn no_update_is_lost_between_tasks_that_modify_and_add() {
    check(true, 1_000);
}

#[test]
fn no_update_is_lost_or_counted_twice_where_the_loader_does_not_say_what_its_row_holds() {
    check(false, 1_000);
}
