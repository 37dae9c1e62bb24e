//! The polling thread without a thread, a broker or a clock: its turns, one by one.

use std::sync::Mutex;

use prometheus::Registry;
use write_behind_shared::{Partition, WriteId};

use super::*;
use crate::core::delta::Delta;
use crate::core::ledger::{Key, Sequence};
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
    fatal: AtomicBool,
}

#[derive(Debug)]
struct ScriptedOutlet(Arc<Scripted>);

impl Outlet for ScriptedOutlet {
    fn enqueue(&self, _: Partition, id: WriteId, _: Content<'_>) -> Result<(), NotTaken> {
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
        let mut taken = self.taken.lock().unwrap();
        for offset in self.answers.lock().unwrap().drain(..) {
            let sequence = taken.remove(0) as usize;
            self.listener.answered(0, PARTITION, &mut vec![(sequence, Ok(offset))]);
        }
    }

    fn fatal_error(&self) -> Option<Arc<str>> {
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
            state.core.accept(Key::from(*b"7"), Delta::Delete, cache);
            pending.set_waiting(true);
        });
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

#[tokio::test]
async fn what_a_failed_client_had_not_answered_goes_to_the_next_in_order() {
    let mut scene = Scene::new();
    scene.write();
    scene.write();
    scene.turn(0);
    scene.client(0).fatal.store(true, Ordering::Release);
    scene.turn(1);
    assert_eq!(scene.turn(2), Wait::Park(IDLE_POLL), "a new client is not made at once");
    assert_eq!(scene.clients.lock().unwrap().len(), 1);
    scene.turn(301);
    assert_eq!(scene.clients.lock().unwrap().len(), 2);
    assert_eq!(scene.taken(1), [0, 1], "under their old sequences");
    scene.client(1).answers.lock().unwrap().extend([7, 8]);
    scene.turn(302);
    let pending = Arc::clone(scene.partitions.of(PARTITION).unwrap());
    assert_eq!(pending.pass(Stage::Replicated, 0..2).await, Ok(()));
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
