//! The polling thread without a thread, a broker or a clock: its turns, one by one.

use std::sync::Mutex;

use prometheus::Registry;
use write_behind_shared::{NextOffset, Offset, Partition, WriteId};

use super::*;
use crate::core::delta::Delta;
use crate::core::ledger::{Key, Sequence};
use crate::core::lost_writes::Loss;
use crate::core::tail::LogRecord;
use crate::core::unanswered::{Failure, GivenBack};
use crate::event::Lag;
use crate::kafka::handles::ClientHandle;
use crate::kafka::producer_client::ReportListener;
use crate::metrics::Metrics;
use crate::partitions::Partitions;
use crate::partitions::outlet::{Content, NotTaken, Outlet};
use crate::partitions::partition::Stage;
use crate::partitions::setup::setup;

const PARTITION: Partition = Partition(0);

/// A client that takes every record, and answers and fails as the test says.
struct Scripted {
    listener: Arc<dyn ReportListener>,
    taken: Mutex<Vec<Sequence>>,
    answers: Mutex<Vec<i64>>,
    /// What it could not deliver, of what it has taken.
    failures: Mutex<Vec<(Sequence, GivenBack)>>,
    /// It knows no such topic.
    takes_nothing: AtomicBool,
    fatal: AtomicBool,
}

#[derive(Debug)]
struct ScriptedOutlet(Arc<Scripted>);

impl Outlet for ScriptedOutlet {
    fn enqueue(&self, _: Partition, id: WriteId, _: Content<'_>) -> Result<(), NotTaken> {
        if self.0.takes_nothing.load(Ordering::Acquire) {
            return Err(NotTaken::NotNow("unknown topic".into()));
        }
        self.0.taken.lock().unwrap().push(id.sequence);
        Ok(())
    }
}

impl ProducerClient for Scripted {
    fn outlet(self: Arc<Self>, _: Arc<str>, _: usize) -> Arc<dyn Outlet> {
        Arc::new(ScriptedOutlet(self))
    }

    fn poll(&self, _: Duration) -> bool {
        !self.answers.lock().unwrap().is_empty()
    }

    fn tell_handles(&self) {
        for offset in std::mem::take(&mut *self.answers.lock().unwrap()) {
            let sequence = self.taken.lock().unwrap().remove(0) as usize;
            self.listener.answered(0, PARTITION, &mut vec![(sequence, Ok(offset))]);
        }
        let failures = std::mem::take(&mut *self.failures.lock().unwrap());
        self.taken.lock().unwrap().retain(|taken| failures.iter().all(|(one, _)| one != taken));
        let failure = |(sequence, how): &(Sequence, GivenBack)| Failure {
            low_bits: *sequence as usize,
            how: *how,
            reason: "not authorized".into(),
            may_be_logged: false,
        };
        let failures: Vec<Failure> = failures.iter().map(failure).collect();
        self.listener.failed(0, PARTITION, &failures);
    }

    fn fatal_error(&self) -> Option<Reason> {
        self.fatal.load(Ordering::Acquire).then(|| "fenced".into())
    }

    fn end(&self, _: bool) {}
}

impl std::fmt::Debug for Scripted {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Scripted").finish_non_exhaustive()
    }
}

struct Scene {
    polling: Polling,
    clients: Arc<Mutex<Vec<Arc<Scripted>>>>,
    partitions: Arc<Partitions>,
    start: Instant,
}

impl Scene {
    fn new() -> Self {
        let (clients, start) = (Arc::<Mutex<Vec<Arc<Scripted>>>>::default(), Instant::now());
        let made = Arc::clone(&clients);
        let make = move |listener| -> Result<Arc<dyn ProducerClient>, BuildError> {
            let client = Arc::new(Scripted {
                listener,
                taken: Mutex::default(),
                answers: Mutex::default(),
                failures: Mutex::default(),
                takes_nothing: AtomicBool::new(false),
                fatal: AtomicBool::new(false),
            });
            made.lock().unwrap().push(Arc::clone(&client));
            Ok(client)
        };
        let handles = Arc::new(ClientHandles::default());
        let polling = Polling::start(Box::new(make), Arc::clone(&handles), start).unwrap();
        let partitions = Arc::new(Partitions::new(setup()));
        let handle = handles.add(|place| ClientHandle {
            topic: "scores".into(),
            place,
            partitions: Arc::clone(&partitions),
            metrics: Arc::new(Metrics::new(&Registry::new(), "scores").unwrap().0),
            coalesce: None,
            lag: Lag::new(Duration::from_mins(1)),
            may_send: AtomicBool::new(true),
        });
        handles.connect(&handle.unwrap());
        Self { polling, clients, partitions, start }
    }

    fn turn(&mut self, after_ms: u64) -> Wait {
        self.polling.turn(self.start + Duration::from_millis(after_ms))
    }

    /// A write that has to wait for the polling thread.
    fn write(&self) {
        let pending = self.partitions.of(PARTITION).unwrap();
        self.partitions.change(pending.lock(), |state, cache| {
            state.core.accept(b"7", Delta::Delete, cache);
            pending.set_waiting(true);
        });
    }

    /// The first write, which goes alone, is in the log.
    fn begin(&mut self) {
        self.write();
        self.turn(0);
        self.client(0).answers.lock().unwrap().push(0);
        self.turn(0);
    }

    fn client(&self, number: usize) -> Arc<Scripted> {
        Arc::clone(&self.clients.lock().unwrap()[number])
    }

    fn taken(&self, number: usize) -> Vec<Sequence> {
        self.client(number).taken.lock().unwrap().clone()
    }
}

#[test]
fn a_turn_hands_over_what_waits_and_an_idle_one_waits_for_answers() {
    let mut scene = Scene::new();
    scene.write();
    assert_eq!(scene.turn(0), Wait::ForAnswer(IDLE_POLL), "nothing was left for the next turn");
    assert_eq!(scene.taken(0), [0]);
    scene.client(0).answers.lock().unwrap().push(5);
    scene.polling.wait_for_answer(IDLE_POLL);
    assert_eq!(scene.turn(1), Wait::Park(GATHER), "more answers may gather");
    let pending = scene.partitions.of(PARTITION).unwrap();
    assert_eq!(pending.lock().core.ledger().replicated(), 1);
    assert_eq!(scene.turn(2), Wait::ForAnswer(IDLE_POLL));
}

#[test]
fn a_backlog_is_handed_over_a_part_under_each_lock_and_without_a_wait_between_them() {
    let mut scene = Scene::new();
    scene.begin();
    let part = scene.partitions.bounds.records_at_once;
    (0..=part).for_each(|_| scene.write());
    assert_eq!(scene.turn(1), Wait::ForNothing);
    assert_eq!(scene.taken(0).len(), part);
    assert_eq!(scene.turn(1), Wait::ForAnswer(IDLE_POLL));
    assert_eq!(scene.taken(0).len(), part + 1);
}

#[tokio::test]
async fn what_a_failed_client_had_not_answered_goes_to_the_next_in_order() {
    let mut scene = Scene::new();
    scene.begin();
    scene.write();
    scene.write();
    scene.turn(1);
    assert_eq!(scene.taken(0), [1, 2]);
    scene.client(0).fatal.store(true, Ordering::Release);
    scene.turn(1);
    assert_eq!(scene.turn(2), Wait::Park(IDLE_POLL), "a new client is not made at once");
    assert_eq!(scene.clients.lock().unwrap().len(), 1);
    scene.turn(301);
    assert_eq!(scene.clients.lock().unwrap().len(), 2);
    assert_eq!(scene.taken(1), [1], "alone, until brokers know the client, and as it was");
    scene.client(1).answers.lock().unwrap().push(7);
    scene.turn(302);
    assert_eq!(scene.taken(1), [2]);
    scene.client(1).answers.lock().unwrap().push(8);
    scene.turn(303);
    let pending = Arc::clone(scene.partitions.of(PARTITION).unwrap());
    assert_eq!(pending.pass(Stage::Replicated, 0..3).await, Ok(()));
}

#[test]
fn what_kafka_does_not_take_now_is_kept_and_tried_alone_after_ever_longer_waits() {
    let mut scene = Scene::new();
    scene.begin();
    let mut events = scene.partitions.events.listen();
    (0..3).for_each(|_| scene.write());
    scene.turn(1);
    assert_eq!(scene.taken(0), [1, 2, 3]);
    let given_back = [1, 2, 3].map(|sequence| (sequence, GivenBack::Unsent));
    scene.client(0).failures.lock().unwrap().extend(given_back);
    scene.turn(2);
    assert!(matches!(events.try_next(), Some(Event::WritesHeld { partition: 0, .. })));
    scene.write();
    scene.turn(251);
    assert!(scene.taken(0).is_empty(), "not before a quarter of a second");
    assert_eq!(scene.partitions.stats(scene.start).held, 1);
    scene.turn(252);
    assert_eq!(scene.taken(0), [1]);
    scene.turn(401);
    assert_eq!(scene.taken(0), [1], "nothing behind it before Kafka has it");
    scene.client(0).failures.lock().unwrap().push((1, GivenBack::Unsent));
    scene.turn(402);
    scene.turn(901);
    assert!(scene.taken(0).is_empty(), "twice as long this time");
    scene.turn(902);
    scene.client(0).answers.lock().unwrap().push(5);
    scene.turn(903);
    assert_eq!(scene.taken(0), [2, 3, 4], "in order, and the new one last");
    assert_eq!(events.try_next(), Some(Event::WritesResumed { partition: 0 }));
    assert_eq!(scene.partitions.stats(scene.start).held, 0);
    assert_eq!(scene.clients.lock().unwrap().len(), 1, "the client serves others meanwhile");
}

#[test]
fn what_kafka_did_not_take_is_tried_soon_once_the_handle_is_being_closed() {
    let mut scene = Scene::new();
    scene.begin();
    scene.client(0).takes_nothing.store(true, Ordering::Release);
    scene.write();
    for now in (1..60_000).step_by(100) {
        scene.turn(now);
    }
    scene.client(0).takes_nothing.store(false, Ordering::Release);
    scene.partitions.stop_intake();
    scene.turn(60_000);
    scene.turn(60_250);
    assert_eq!(scene.taken(0), [1]);
}

#[test]
fn after_a_long_pause_nothing_follows_the_first_write_before_kafka_has_it() {
    let mut scene = Scene::new();
    scene.begin();
    scene.turn(1_000);
    scene.turn(400_000);
    (0..3).for_each(|_| scene.write());
    scene.turn(400_001);
    assert_eq!(scene.taken(0), [1], "brokers may have forgotten the client");
    scene.client(0).answers.lock().unwrap().push(5);
    scene.turn(400_002);
    assert_eq!(scene.taken(0), [2, 3]);
}

#[test]
fn a_topic_that_the_client_does_not_know_keeps_the_writes_waiting() {
    let mut scene = Scene::new();
    scene.begin();
    scene.client(0).takes_nothing.store(true, Ordering::Release);
    (0..3).for_each(|_| scene.write());
    for now in (1..5_000).step_by(100) {
        scene.turn(now);
    }
    let pending = Arc::clone(scene.partitions.of(PARTITION).unwrap());
    assert_eq!(pending.lock().core.ledger().in_flight(), 3, "none is lost");
    scene.client(0).takes_nothing.store(false, Ordering::Release);
    scene.turn(20_000);
    assert_eq!(scene.taken(0), [1]);
}

/// As a broker does with `message.max.bytes`: it refuses a batch for one record in it.
#[test]
fn of_writes_that_a_broker_refuses_together_only_the_one_fails_that_it_refuses_alone() {
    let mut scene = Scene::new();
    scene.begin();
    (0..4).for_each(|_| scene.write());
    scene.turn(1);
    let refused = [1, 2, 3].map(|sequence| (sequence, GivenBack::Refused));
    scene.client(0).failures.lock().unwrap().extend(refused);
    scene.client(0).fatal.store(true, Ordering::Release);
    scene.turn(2);
    scene.turn(3);
    scene.turn(200);
    for (sequence, offset) in [(1, 7), (2, 8)] {
        assert_eq!(scene.taken(1), [sequence], "one by one");
        scene.client(1).answers.lock().unwrap().push(offset);
        scene.turn(200 + offset as u64);
    }
    assert_eq!(scene.taken(1), [3]);
    scene.client(1).failures.lock().unwrap().push((3, GivenBack::Refused));
    scene.client(1).fatal.store(true, Ordering::Release);
    scene.turn(300);
    let pending = Arc::clone(scene.partitions.of(PARTITION).unwrap());
    let loss_of = |one: Sequence| pending.lock().core.ledger().lost.first_in(&(one..one + 1));
    assert_eq!(loss_of(3), Some(Loss::Failed("not authorized".into())));
    assert_eq!([1, 2, 4].map(loss_of), [None, None, None]);
    scene.turn(301);
    scene.turn(600);
    assert_eq!(scene.taken(2), [4]);
}

/// The client took a write between two of our turns, after it had given up those before it.
#[test]
fn a_write_that_a_later_one_has_overtaken_is_told_as_unknown_and_not_sent_again() {
    let mut scene = Scene::new();
    let mut events = scene.partitions.events.listen();
    scene.begin();
    (0..3).for_each(|_| scene.write());
    scene.turn(1);
    scene.client(0).failures.lock().unwrap().extend([(1, GivenBack::Unsent)]);
    scene.turn(2);
    scene.client(0).answers.lock().unwrap().extend([7, 8]);
    scene.turn(3);
    let pending = Arc::clone(scene.partitions.of(PARTITION).unwrap());
    let loss_of = |one: Sequence| pending.lock().core.ledger().lost.first_in(&(one..one + 1));
    assert!(matches!(loss_of(1), Some(Loss::Unknown(_))), "{:?}", loss_of(1));
    let told = std::iter::from_fn(|| events.try_next());
    let told: Vec<_> = told.filter(|event| matches!(event, Event::WriteLost { .. })).collect();
    assert_eq!(told.len(), 1, "{told:?}");
    assert_eq!(scene.partitions.stats(scene.start).lost, 1);
    assert_eq!([2, 3].map(loss_of), [None, None]);
    scene.turn(1_000);
    assert!(scene.taken(0).is_empty());
}

/// With `follow`, the log may bring the later write before Kafka's answer does.
#[test]
fn a_write_that_a_later_one_has_overtaken_is_told_also_if_the_log_says_so() {
    let mut scene = Scene::new();
    let mut events = scene.partitions.events.listen();
    scene.begin();
    (0..2).for_each(|_| scene.write());
    scene.turn(1);
    scene.client(0).failures.lock().unwrap().extend([(1, GivenBack::Unsent)]);
    scene.turn(2);
    let record = LogRecord {
        offset: Offset(1),
        key: Key::from(*b"7"),
        delta: Delta::Delete,
        write_id: Some(scene.partitions.of(PARTITION).unwrap().lock().ids.of(2)),
    };
    scene.partitions.log_read(PARTITION, vec![record], NextOffset(2));
    let told = std::iter::from_fn(|| events.try_next());
    assert!(told.into_iter().any(|event| matches!(event, Event::WriteLost { .. })));
    assert_eq!(scene.partitions.stats(scene.start).lost, 1);
}

#[test]
fn a_client_that_gives_back_some_writes_of_a_partition_and_keeps_others_is_replaced() {
    let mut scene = Scene::new();
    scene.begin();
    (0..3).for_each(|_| scene.write());
    scene.turn(1);
    let given_back = [2, 3].map(|sequence| (sequence, GivenBack::Unsent));
    scene.client(0).failures.lock().unwrap().extend(given_back);
    scene.turn(2);
    scene.turn(300);
    scene.turn(301);
    scene.turn(302);
    scene.turn(500);
    assert_eq!(scene.clients.lock().unwrap().len(), 2);
    assert_eq!(scene.taken(1), [1]);
    scene.client(1).answers.lock().unwrap().push(7);
    scene.turn(501);
    assert_eq!(scene.taken(1), [2, 3]);
}

/// The end of a client may take a while, because it delivers what it can.
#[test]
fn the_wait_for_a_new_client_begins_when_the_failed_one_has_ended() {
    let mut scene = Scene::new();
    scene.client(0).fatal.store(true, Ordering::Release);
    scene.turn(1);
    assert_eq!(scene.turn(501), Wait::Park(IDLE_POLL), "it ended just before this turn");
    assert_eq!(scene.clients.lock().unwrap().len(), 1);
    scene.turn(501 + 200);
    assert_eq!(scene.clients.lock().unwrap().len(), 2);
}
