//! The handles that share a Kafka client: what it reports reaches each by its place.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::{Duration, Instant};

use tracing::{info, warn};
use write_behind_shared::Partition;

use crate::core::gate::GateNews;
use crate::core::ledger::HANDLE_BITS;
use crate::core::unanswered::Failure;
use crate::core::window::Window;
use crate::error::BuildError;
use crate::event::{Event, Lag, Lagging};
use crate::kafka::producer_client::{DeliveryReport, ProducerClient, ReportListener};
use crate::metrics::Metrics;
use crate::partitions::Partitions;
use crate::partitions::hand_over::HandedOver;
use crate::partitions::partition::SharedPending;

/// The handles that share a client, by their place.
#[derive(Debug)]
pub(crate) struct ClientHandles {
    /// What the client queues at most.
    queue: Window,
    /// A place is never given twice: an answer may still be on its way to it.
    by_place: RwLock<Vec<Option<Arc<ClientHandle>>>>,
    /// The client; none while it is being replaced.
    producer: Mutex<Option<Arc<dyn ProducerClient>>>,
    /// Since the client was made, it could not deliver writes of some partition.
    gave_back: AtomicBool,
    /// Another client would be made with other settings.
    wants_another: AtomicBool,
}

/// A handle as its client sees it.
#[derive(Debug)]
pub(crate) struct ClientHandle {
    pub(crate) topic: Arc<str>,
    /// Its place among the handles.
    pub(crate) place: usize,
    pub(crate) partitions: Arc<Partitions>,
    pub(crate) metrics: Arc<Metrics>,
    /// How long writes are gathered at most.
    pub(crate) coalesce: Option<Duration>,
    pub(crate) lag: Lag,
    /// Its records may leave: the topic is known to be as it was taken to be.
    pub(crate) may_send: AtomicBool,
}

/// What came of handing over in all partitions.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct AllHandedOver {
    /// There is more at once.
    pub(crate) more: bool,
    /// A partition needs another client before it can go on.
    pub(crate) is_stuck: bool,
}

impl Default for ClientHandles {
    fn default() -> Self {
        Self::new(Window::UNBOUNDED)
    }
}

impl ClientHandles {
    /// None yet, of a client with this queue.
    pub(crate) fn new(queue: Window) -> Self {
        Self {
            queue,
            by_place: RwLock::default(),
            producer: Mutex::default(),
            gave_back: AtomicBool::new(false),
            wants_another: AtomicBool::new(false),
        }
    }

    /// The handle at `place`, unless it was closed.
    pub(crate) fn at(&self, place: usize) -> Option<Arc<ClientHandle>> {
        let by_place = self.by_place.read().unwrap_or_else(PoisonError::into_inner);
        by_place.get(place)?.clone()
    }

    /// Does something to every handle.
    pub(crate) fn each(&self, mut what: impl FnMut(&Arc<ClientHandle>)) {
        let by_place = self.by_place.read().unwrap_or_else(PoisonError::into_inner).clone();
        by_place.iter().flatten().for_each(&mut what);
    }

    /// Lets a handle use the client, at a place of its own.
    pub(crate) fn add(
        &self,
        handle: impl FnOnce(usize) -> ClientHandle,
    ) -> Result<Arc<ClientHandle>, BuildError> {
        let mut by_place = self.by_place.write().unwrap_or_else(PoisonError::into_inner);
        let place = by_place.len();
        if place >> HANDLE_BITS > 0 {
            return Err(BuildError::Limit("a Kafka client has had too many handles: make another"));
        }
        let handle = Arc::new(handle(place));
        // Their records would share batches, and each would take what a broker says of a batch for
        // what it says of its own records alone.
        if by_place.iter().flatten().any(|other| other.topic == handle.topic) {
            return Err(BuildError::Limit(
                "the Kafka client has a handle of this topic: clone that one, or make another client",
            ));
        }
        by_place.push(Some(Arc::clone(&handle)));
        self.share_the_queue(&by_place);
        Ok(handle)
    }

    /// Runs a thread of the client. Should it panic, all handles are told: accepted writes would
    /// stay here, and nobody would know.
    pub(crate) fn run(&self, thread: impl FnOnce()) {
        if catch_unwind(AssertUnwindSafe(thread)).is_err() {
            // First: the client that ends then may panic as well.
            self.each(|handle| handle.partitions.panicked());
            self.set_producer(None);
        }
    }

    /// Frees the handle at `place`.
    pub(crate) fn remove(&self, place: usize) {
        let mut by_place = self.by_place.write().unwrap_or_else(PoisonError::into_inner);
        if let Some(handle) = by_place.get_mut(place) {
            *handle = None;
        }
        self.share_the_queue(&by_place);
    }

    /// Each partition of all handles has the same part of the client's queue.
    fn share_the_queue(&self, by_place: &[Option<Arc<ClientHandle>>]) {
        let handles = || by_place.iter().flatten();
        let partitions = handles().map(|handle| handle.partitions.count() as usize).sum();
        handles().for_each(|handle| handle.partitions.set_window(self.queue.share(partitions)));
    }

    /// Another client is to take over: it would be made with other settings.
    pub(crate) fn want_another_client(&self) {
        self.wants_another.store(true, Ordering::Release);
    }

    /// Whether another client is to take over. Asked once.
    pub(crate) fn take_wants_another(&self) -> bool {
        self.wants_another.swap(false, Ordering::AcqRel)
    }

    /// Whether the client that is gone could not deliver writes of some partition.
    pub(crate) fn take_gave_back(&self) -> bool {
        self.gave_back.swap(false, Ordering::AcqRel)
    }

    /// The client, unless it is being replaced.
    pub(crate) fn producer(&self) -> Option<Arc<dyn ProducerClient>> {
        self.producer.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The client of all handles from now on; with none, their writes wait for the next.
    pub(crate) fn set_producer(&self, producer: Option<&Arc<dyn ProducerClient>>) {
        let mut current = self.producer.lock().unwrap_or_else(PoisonError::into_inner);
        // Under the lock that `connect` takes: a handle that joins meanwhile gets this client or the
        // next, and never keeps one that was replaced.
        let before = std::mem::replace(&mut *current, producer.cloned());
        self.each(|handle| handle.set_producer(producer));
        // Outside the lock: a client that ends reports what it has not sent.
        drop(current);
        drop(before);
    }

    /// Gives a new handle the client. It is among the handles already, so that it gets the next
    /// one.
    pub(crate) fn connect(&self, handle: &ClientHandle) {
        let current = self.producer.lock().unwrap_or_else(PoisonError::into_inner);
        handle.set_producer(current.as_ref());
    }
}

impl ReportListener for ClientHandles {
    fn answered(&self, place: usize, partition: Partition, answers: &mut Vec<DeliveryReport>) {
        // Without a handle, it was closed without waiting for them.
        if let Some(handle) = self.at(place) {
            let opened = handle.partitions.answered(partition, answers.drain(..));
            // Not in the next turn, which may be a while off: this thread may be waiting for answers.
            if opened && let Some(pending) = handle.partitions.of(partition) {
                handle.hand_over(pending, (handle.partitions.clock)());
            }
        }
        answers.clear();
    }

    fn failed(&self, place: usize, partition: Partition, failures: &[Failure]) {
        self.gave_back.fetch_or(!failures.is_empty(), Ordering::AcqRel);
        if let Some(handle) = self.at(place) {
            handle.partitions.failed(partition, failures);
        }
    }

    fn notify_waiters(&self, place: usize, partition: Partition) {
        if let Some(handle) = self.at(place) {
            handle.partitions.notify_waiters(partition);
        }
    }

    fn client_error(&self) {
        self.each(|handle| handle.metrics.client_error());
    }
}

impl ClientHandle {
    /// The client of the handle from now on.
    fn set_producer(&self, producer: Option<&Arc<dyn ProducerClient>>) {
        let outlet = |client: &Arc<dyn ProducerClient>| {
            Arc::clone(client).outlet(Arc::clone(&self.topic), self.place)
        };
        let outlet = producer.filter(|_| self.may_send.load(Ordering::Acquire)).map(outlet);
        self.partitions.set_outlet(outlet.as_ref());
    }

    /// Hands over what waits in all partitions, as far as it is due.
    pub(crate) fn hand_over_all(&self, now: Instant) -> AllHandedOver {
        let mut all = AllHandedOver::default();
        for (_, pending) in self.partitions.iter().filter(|(_, pending)| pending.has_waiting()) {
            let handed = self.hand_over(pending, now);
            all.more |= handed.more;
            all.is_stuck |= handed.is_stuck;
        }
        all
    }

    fn hand_over(&self, pending: &SharedPending, now: Instant) -> HandedOver {
        let handed = self.partitions.hand_over(pending, now);
        let (topic, partition) = (&*self.topic, pending.partition.0);
        match &handed.news {
            Some(GateNews::OnHold(reason)) => {
                let reason = reason.clone();
                warn!(
                    topic,
                    partition,
                    %reason,
                    "kafka does not take the partition's writes now; they are kept and sent again"
                );
                self.partitions.events.tell(|| Event::WritesHeld { partition, reason });
            }
            Some(GateNews::Open) => {
                info!(topic, partition, "kafka takes the partition's writes again");
                self.partitions.events.tell(|| Event::WritesResumed { partition });
            }
            None => {}
        }
        handed
    }

    /// Brings the metrics up to date, and tells when the database begins or ceases to lag.
    pub(crate) fn measure(&self, now: Instant) {
        let stats = self.metrics.stats(&self.partitions, now);
        self.metrics.show(&stats);
        self.metrics.replicated(&self.partitions.take_times());
        let (replicated, persisted) = (stats.replicated_lag, stats.persisted_lag);
        let topic = &*self.topic;
        self.partitions.log_losses(topic);
        match self.lag.look(persisted) {
            Some(Lagging::Begins) => {
                warn!(topic, ?replicated, ?persisted, "the database lags behind");
                self.partitions.events.tell(|| Event::Lagging { replicated, persisted });
            }
            Some(Lagging::Ends) => {
                info!(topic, "the database has caught up");
                self.partitions.events.tell(|| Event::CaughtUp);
            }
            None => {}
        }
    }
}

#[cfg(test)]
#[path = "tests/handles.rs"]
mod tests;
