//! A handle whose client refuses what waited: the loss is told to all who ask.

use std::sync::Arc;
use std::time::{Duration, Instant};

use prometheus::Registry;
use write_behind_shared::{Partition, WriteId};

use super::*;
use crate::core::delta::Delta;
use crate::error::{DeliveryError, Halt, Refusal};
use crate::partitions::outlet::{Content, NotTaken, Outlet};
use crate::partitions::partition::Stage;
use crate::partitions::setup::setup;
use crate::writes::receipt::{Accepted, Receipt};

const PARTITION: Partition = Partition(0);

/// A client that can send nothing.
#[derive(Debug)]
struct Refuses;

impl Outlet for Refuses {
    fn enqueue(&self, _: Partition, _: WriteId, _: Content<'_>) -> Result<(), NotTaken> {
        Err(NotTaken::Refused(Refusal::TooLarge { bytes: 2, limit: 1 }))
    }
}

/// A handle with one write that waits for its client.
fn handle() -> (ClientHandle, Receipt) {
    let partitions = Arc::new(Partitions::new(setup()));
    let pending = Arc::clone(partitions.of(PARTITION).unwrap());
    let sequence = partitions.change(pending.lock(), |state, cache| {
        pending.set_waiting(true);
        state.core.accept(b"7", Delta::Put(b"{}".to_vec().into()), cache)
    });
    let handle = ClientHandle {
        topic: "scores".into(),
        place: 0,
        partitions,
        metrics: Arc::new(Metrics::new(&Registry::new(), "scores").unwrap().0),
        coalesce: None,
        lag: Lag::new(Duration::from_mins(1)),
        may_send: AtomicBool::new(true),
    };
    (handle, Receipt::new(&pending, Accepted { sequence, position: None }))
}

#[tokio::test]
async fn a_write_that_is_refused_when_it_is_handed_over_wakes_its_waiters_and_is_an_event() {
    let (handle, write) = handle();
    let mut events = handle.partitions.events.listen();
    let waiting = write.clone();
    let waiting = tokio::spawn(async move { waiting.replicated().await });
    tokio::task::yield_now().await;
    handle.partitions.set_outlet(Some(&(Arc::new(Refuses) as Arc<dyn Outlet>)));
    handle.hand_over_all(Instant::now());
    handle.partitions.turn_ends();
    let told = tokio::time::timeout(Duration::from_secs(5), waiting).await.expect("an answer");
    assert!(matches!(told.unwrap(), Err(DeliveryError::Failed(_))));
    let event =
        tokio::time::timeout(Duration::from_secs(5), events.next()).await.expect("an event");
    assert!(matches!(event, Some(Event::WriteLost { .. })), "{event:?}");
    let passed = handle.partitions.of(PARTITION).unwrap().pass(Stage::Persisted, 0..1).await;
    assert!(matches!(passed, Err(DeliveryError::Failed(_))));
}

#[test]
fn a_write_is_shown_without_any_row_and_without_its_partitions_lock() {
    let (_handle, write) = handle();
    let _locked = write.pending.lock();
    assert_eq!(
        format!("{write:?}"),
        "Receipt { position: None, partition: 0, sequence: 0, replicated: false, persisted: false }"
    );
}

#[tokio::test]
async fn a_loss_that_its_own_waiter_was_told_of_is_not_told_again() {
    let (handle, write) = handle();
    handle.partitions.set_outlet(Some(&(Arc::new(Refuses) as Arc<dyn Outlet>)));
    handle.hand_over_all(Instant::now());
    handle.partitions.turn_ends();
    assert!(matches!(write.replicated().await, Err(DeliveryError::Failed(_))));
    assert_eq!(write.pending.lock().core.ledger.lost.tell_untold_below(u64::MAX), None);
    assert!(matches!(write.persisted().await, Err(DeliveryError::Failed(_))), "still known");
}

/// What a broker says of a batch would be taken for what it says of one handle's records.
#[test]
fn a_client_has_one_handle_of_a_topic_until_that_is_closed() {
    let handles = ClientHandles::default();
    let join = |topic: &str| {
        let topic = topic.into();
        handles.add(|place| ClientHandle { topic, place, ..handle().0 }).map(|handle| handle.place)
    };
    assert_eq!(join("scores").unwrap(), 0);
    assert_eq!(join("others").unwrap(), 1);
    let error = join("scores").unwrap_err().to_string();
    assert!(error.contains("clone that one"), "{error}");
    handles.remove(0);
    assert_eq!(join("scores").unwrap(), 2);
}

#[derive(Clone, Default)]
struct Log(Arc<std::sync::Mutex<Vec<u8>>>);

impl std::io::Write for Log {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().write(bytes)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[test]
fn many_losses_of_one_reason_are_one_line_in_the_log() {
    let (handle, write) = handle();
    for n in 0..500_u32 {
        handle.partitions.change(write.pending.lock(), |state, cache| {
            state.core.accept(&n.to_be_bytes(), Delta::Delete, cache)
        });
    }
    handle.partitions.set_outlet(Some(&(Arc::new(Refuses) as Arc<dyn Outlet>)));
    let log = Log::default();
    let writer = log.clone();
    let subscriber =
        tracing_subscriber::fmt().with_ansi(false).with_writer(move || writer.clone()).finish();
    tracing::subscriber::with_default(subscriber, || {
        while handle.hand_over_all(Instant::now()).more {}
        handle.measure(Instant::now());
        handle.measure(Instant::now());
    });
    let log = String::from_utf8(log.0.lock().unwrap().clone()).unwrap();
    assert_eq!(log.lines().count(), 1, "{log}");
    assert!(log.contains("partition=0 writes=501") && log.contains("takes 2 bytes"), "{log}");
}

#[tokio::test]
async fn a_thread_that_panics_halts_its_handles_and_wakes_all_who_wait() {
    let handles = ClientHandles::default();
    let (ClientHandle { partitions, .. }, write) = handle();
    let joined = handles.add(|place| ClientHandle {
        place,
        partitions: Arc::clone(&partitions),
        ..handle().0
    });
    joined.unwrap();
    let waiting = tokio::spawn(async move { write.replicated().await });
    tokio::task::yield_now().await;
    handles.run(|| panic!("a defect"));
    assert_eq!(partitions.halt.get(), Some(&Halt::Panicked));
    assert!(partitions.limits.are_closed());
    let told = tokio::time::timeout(Duration::from_secs(5), waiting).await.expect("an answer");
    assert_eq!(told.unwrap(), Err(DeliveryError::Closed));
}

#[test]
fn a_panic_under_a_partitions_lock_halts_the_handle_and_reads_go_on() {
    let (ClientHandle { partitions, .. }, write) = handle();
    let panicked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        partitions.change(write.pending.lock(), |_, _| panic!("a defect"));
    }));
    assert!(panicked.is_err());
    assert!(write.pending.lock().core.read(b"7").is_some());
    assert_eq!(partitions.halt.get(), Some(&Halt::Panicked));
}
