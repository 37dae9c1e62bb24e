//! Writes under a scheduler that tries orders: single ones, batches, urgent ones and gathered ones,
//! to a client that takes none for a while, refuses batches that it takes a moment later, and is
//! given only a few at once. In the end the log has each sequence once and in order, and each row's
//! records fold into what was written.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use prometheus::Registry;
use shuttle::rand::{Rng as _, thread_rng};
use shuttle::sync::Mutex;
use shuttle::{future, thread};
use write_behind_shared::{Change, NextOffset, Partition, WriteId, record};

use crate::core::priority::Priority;
use crate::core::reason::Reason;
use crate::core::unanswered::{Failure, GivenBack};
use crate::core::usage::Full;
use crate::core::window::Window;
use crate::error::Refusal;
use crate::metrics::Metrics;
use crate::partitions::outlet::{Content, NotTaken, Outlet};
use crate::partitions::setup::{PENDING_BYTES, setup};
use crate::partitions::sync::in_many_orders;
use crate::partitions::{Partitions, Setup};
use crate::writes::accept::Acceptor;
use crate::writes::encode::{Encoder, Prepared};

const PARTITION: Partition = Partition(0);
const WRITERS: i64 = 2;
/// What each writer adds in all: single writes, a batch of three, and one that is urgent.
const ADDS: i64 = 6;

/// A record as the client has it.
#[derive(Clone, Debug)]
struct Sent {
    sequence: u64,
    key: Vec<u8>,
    change: Change,
    is_high: bool,
}

/// The client and the brokers.
#[derive(Debug, Default)]
struct Kafka {
    with_the_client: VecDeque<Sent>,
    /// A batch was refused: the client sends nothing behind it, and another must take over.
    has_failed: bool,
    log: Vec<Sent>,
}

#[derive(Debug)]
struct Client(Arc<Mutex<Kafka>>);

fn not_now() -> Reason {
    "not enough replicas".into()
}

impl Outlet for Client {
    fn enqueue(&self, _: Partition, id: WriteId, content: Content<'_>) -> Result<(), NotTaken> {
        match thread_rng().gen_range(0..6) {
            0 => return Err(NotTaken::Yet),
            1 => return Err(NotTaken::NotNow(not_now())),
            _ => {}
        }
        let change = record::decode(content.value, content.add).expect("a change");
        let is_high = content.priority == Priority::High;
        let sent = Sent { sequence: id.sequence, key: content.key.to_vec(), change, is_high };
        let mut kafka = self.0.lock().unwrap();
        if kafka.has_failed {
            return Err(NotTaken::Yet);
        }
        kafka.with_the_client.push_back(sent);
        Ok(())
    }
}

struct Model {
    partitions: Arc<Partitions>,
    acceptor: Acceptor,
    encoder: Encoder,
    kafka: Arc<Mutex<Kafka>>,
    writers_done: AtomicUsize,
    /// Minutes that have passed for the polling thread.
    minutes: AtomicU64,
}

impl Model {
    fn new(coalesce: Option<Duration>, metrics: &Arc<Metrics>) -> Self {
        let partitions = Arc::new(Partitions::new(Setup { coalesce, ..setup() }));
        let kafka = Arc::<Mutex<Kafka>>::default();
        let outlet: Arc<dyn Outlet> = Arc::new(Client(Arc::clone(&kafka)));
        partitions.set_outlet(Some(&outlet));
        partitions.set_window(Window::queue(2, usize::MAX));
        Self {
            acceptor: Acceptor {
                partitions: Arc::clone(&partitions),
                write_timeout: None,
                waits_recorded: false,
                metrics: Arc::clone(metrics),
            },
            encoder: Encoder::plain(1, PENDING_BYTES, PENDING_BYTES),
            partitions,
            kafka,
            writers_done: AtomicUsize::new(0),
            minutes: AtomicU64::new(0),
        }
    }

    fn add(&self, key: i64) -> Result<Prepared, Refusal> {
        self.encoder.change(&key, Change::new().add("n", 1))
    }

    fn write(&self) {
        let write = |prepared| self.acceptor.try_write(None, prepared).expect("there is room");
        write(self.add(7));
        let batch = [7, 8, 7].map(|key| self.add(key)).into_iter().collect();
        future::block_on(self.acceptor.write_many(batch)).expect("there is room");
        let urgent = self.add(8).map(|write| Prepared { priority: Priority::High, ..write });
        write(urgent);
        thread::yield_now();
        write(self.add(7));
        self.writers_done.fetch_add(1, Ordering::SeqCst);
    }

    /// The polling thread, whose clock runs so fast that no wait is long.
    fn poll(&self) {
        let pending = self.partitions.of(PARTITION).expect("the partition");
        loop {
            let minutes = self.minutes.fetch_add(1, Ordering::SeqCst);
            if pending.has_waiting() {
                let now = Instant::now() + Duration::from_mins(minutes);
                self.partitions.hand_over(pending, now);
            }
            self.answer();
            let written = self.writers_done.load(Ordering::SeqCst) == WRITERS as usize;
            if written && pending.lock().core.ledger().in_flight() == 0 {
                return;
            }
            thread::yield_now();
        }
    }

    /// A broker appends the next record, or refuses all that the client has, for a reason that may
    /// pass or as one bad batch that is none; then another client takes over.
    fn answer(&self) {
        let mut kafka = self.kafka.lock().unwrap();
        if kafka.with_the_client.is_empty() {
            return;
        }
        let how = match thread_rng().gen_range(0..6) {
            0 => GivenBack::NotNow,
            1 if kafka.with_the_client.len() > 1 => GivenBack::Refused,
            _ => {
                let sent = kafka.with_the_client.pop_front().expect("a record");
                let (low_bits, offset) = (sent.sequence as usize, kafka.log.len() as i64);
                kafka.log.push(sent);
                drop(kafka);
                self.partitions.answered(PARTITION, std::iter::once((low_bits, Ok(offset))));
                return;
            }
        };
        let failure = |sent: Sent| Failure {
            low_bits: sent.sequence as usize,
            how,
            reason: not_now(),
            may_be_logged: false,
        };
        let failures: Vec<Failure> = kafka.with_the_client.drain(..).map(failure).collect();
        kafka.has_failed = true;
        drop(kafka);
        self.partitions.failed(PARTITION, &failures);
        self.partitions.set_outlet(None);
        thread::yield_now();
        self.partitions.requeue();
        self.kafka.lock().unwrap().has_failed = false;
        let outlet: Arc<dyn Outlet> = Arc::new(Client(Arc::clone(&self.kafka)));
        self.partitions.set_outlet(Some(&outlet));
    }

    fn check_the_end(&self, gathers: bool) {
        let kafka = self.kafka.lock().unwrap();
        let sequences: Vec<u64> = kafka.log.iter().map(|sent| sent.sequence).collect();
        let all: Vec<u64> = (0..sequences.len() as u64).collect();
        assert_eq!(sequences, all, "each once, in order");
        assert!(gathers || sequences.len() as i64 == WRITERS * ADDS);
        let mut rows = BTreeMap::<&[u8], Change>::new();
        for sent in &kafka.log {
            rows.entry(&sent.key).or_default().fold(sent.change.clone());
        }
        let expected = [(7, WRITERS * 4), (8, WRITERS * 2)];
        for (key, n) in expected {
            let row = &rows[key.to_string().as_bytes()];
            assert_eq!(row.encode(), Change::new().add("n", n).encode(), "the row {key}");
        }
        assert!(kafka.log.iter().any(|sent| sent.is_high && sent.key == b"8"));
        assert!(kafka.log.iter().all(|sent| !sent.is_high || sent.key == b"8"));
        let (end, stats) =
            (NextOffset(kafka.log.len() as i64), self.partitions.stats(Instant::now()));
        assert_eq!((stats.in_flight, stats.lost, stats.held), (0, 0, 0));
        let pending = self.partitions.of(PARTITION).expect("the partition");
        let mark = pending.lock().core.wants_sample();
        if let Some(mark) = mark {
            self.partitions.sampled(PARTITION, mark, end);
        }
        self.partitions.committed(PARTITION, end);
        let stats = self.partitions.stats(Instant::now());
        assert_eq!((stats.rows, stats.bytes), (0, 0), "all is in the database");
        let free = self.partitions.limits.of(Full::PendingBytes).unwrap().free();
        assert_eq!(free, PENDING_BYTES, "no room is held");
    }
}

fn check(coalesce: Option<Duration>, orders: usize) {
    let metrics = Arc::new(Metrics::new(&Registry::new(), "topic").expect("metrics").0);
    in_many_orders(orders, move || {
        let model = Arc::new(Model::new(coalesce, &metrics));
        let mut threads: Vec<_> = (0..WRITERS)
            .map(|_| {
                let model = Arc::clone(&model);
                thread::spawn(move || model.write())
            })
            .collect();
        let polling = Arc::clone(&model);
        threads.push(thread::spawn(move || polling.poll()));
        for thread in threads {
            thread.join().expect("no panic");
        }
        model.check_the_end(coalesce.is_some());
    });
}

#[test]
fn batches_and_urgent_writes_reach_the_log_once_and_in_order_past_every_refusal_that_passes() {
    check(None, 1_500);
}

#[test]
fn gathered_writes_reach_the_log_once_and_in_order_past_every_refusal_that_passes() {
    check(Some(Duration::from_mins(2)), 1_500);
}
