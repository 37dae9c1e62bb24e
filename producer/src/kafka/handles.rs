//! The handles that share a Kafka client: what it reports reaches each by its place.

use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::{Duration, Instant};

use tracing::{info, warn};
use write_behind_shared::Partition;

use crate::core::ledger::HANDLE_BITS;
use crate::error::BuildError;
use crate::event::{Event, Lag, Lagging};
use crate::kafka::producer_client::{DeliveryReport, ProducerClient, ReportListener};
use crate::metrics::Metrics;
use crate::partitions::Partitions;

/// The handles that share a client, by their place.
#[derive(Debug, Default)]
pub(crate) struct ClientHandles {
    /// A place is never given twice: an answer may still be on its way to it.
    by_place: RwLock<Vec<Option<Arc<ClientHandle>>>>,
    /// The client; none while it is being replaced.
    producer: Mutex<Option<Arc<dyn ProducerClient>>>,
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
}

impl ClientHandles {
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
        by_place.push(Some(Arc::clone(&handle)));
        Ok(handle)
    }

    /// Frees the handle at `place`.
    pub(crate) fn remove(&self, place: usize) {
        let mut by_place = self.by_place.write().unwrap_or_else(PoisonError::into_inner);
        if let Some(handle) = by_place.get_mut(place) {
            *handle = None;
        }
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
        *current = producer.cloned();
        self.each(|handle| handle.set_producer(producer));
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
            answers.iter().filter(|(_, at)| at.is_err()).for_each(|_| handle.metrics.lost());
            handle.partitions.answered(partition, answers.drain(..));
        }
        answers.clear();
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
        let outlet = producer.map(outlet);
        self.partitions.set_outlet(outlet.as_ref());
    }

    /// Hands over what waits in all partitions, as far as it is due. Says whether there is more at
    /// once.
    pub(crate) fn hand_over_all(&self, now: Instant) -> bool {
        let mut more = false;
        for (_, pending) in self.partitions.iter().filter(|(_, pending)| pending.has_waiting()) {
            let (more_here, lost) = self.partitions.hand_over(pending, now);
            (0..lost).for_each(|_| self.metrics.lost());
            more |= more_here;
        }
        more
    }

    /// Brings the metrics up to date, and tells when the database begins or ceases to lag.
    pub(crate) fn measure(&self, now: Instant) {
        let stats = self.partitions.stats(now);
        self.metrics.measured(&stats);
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
