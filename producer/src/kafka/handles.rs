//! The handles that share a Kafka client: what it reports reaches each by its place.

use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::{Duration, Instant};

use tracing::{info, warn};
use write_behind_shared::Partition;

use crate::core::ledger::HANDLE_BITS;
use crate::error::BuildError;
use crate::event::{Event, Lag, Lagging};
use crate::kafka::link::{Answer, Link, ReportListener, TopicOutlet};
use crate::metrics::Metrics;
use crate::partitions::Lanes;
use crate::partitions::admission::Held;
use crate::partitions::outlet::Outlet;

/// The handles that share a client, by their place.
#[derive(Debug, Default)]
pub(crate) struct Members {
    /// A place is never given twice: an answer may still be on its way to it.
    by_place: RwLock<Vec<Option<Arc<Member>>>>,
    /// The client; none while it is being replaced.
    link: Mutex<Option<Arc<Link>>>,
}

/// A handle as its client sees it.
#[derive(Debug)]
pub(crate) struct Member {
    pub(crate) topic: Arc<str>,
    /// Its place among the members.
    pub(crate) place: usize,
    pub(crate) lanes: Arc<Lanes>,
    pub(crate) metrics: Arc<Metrics>,
    /// How long writes are gathered at most.
    pub(crate) coalesce: Option<Duration>,
    pub(crate) lag: Lag,
}

impl Members {
    /// The handle at `place`, unless it was closed.
    pub(crate) fn at(&self, place: usize) -> Option<Arc<Member>> {
        let by_place = self.by_place.read().unwrap_or_else(PoisonError::into_inner);
        by_place.get(place)?.clone()
    }

    /// Does something to every handle.
    pub(crate) fn each(&self, mut what: impl FnMut(&Arc<Member>)) {
        let by_place = self.by_place.read().unwrap_or_else(PoisonError::into_inner).clone();
        by_place.iter().flatten().for_each(&mut what);
    }

    /// Lets a handle use the client, at a place of its own.
    pub(crate) fn add(
        &self,
        member: impl FnOnce(usize) -> Member,
    ) -> Result<Arc<Member>, BuildError> {
        let mut by_place = self.by_place.write().unwrap_or_else(PoisonError::into_inner);
        let place = by_place.len();
        if place >> HANDLE_BITS > 0 {
            return Err(BuildError::Limit("a Kafka client has had too many handles: make another"));
        }
        let member = Arc::new(member(place));
        by_place.push(Some(Arc::clone(&member)));
        Ok(member)
    }

    /// Frees the handle at `place`.
    pub(crate) fn remove(&self, place: usize) {
        let mut by_place = self.by_place.write().unwrap_or_else(PoisonError::into_inner);
        if let Some(member) = by_place.get_mut(place) {
            *member = None;
        }
    }

    /// The client, unless it is being replaced.
    pub(crate) fn link(&self) -> Option<Arc<Link>> {
        self.link.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The client of all handles from now on; with none, their writes wait for the next.
    pub(crate) fn set_link(&self, link: Option<&Arc<Link>>) {
        let mut current = self.link.lock().unwrap_or_else(PoisonError::into_inner);
        *current = link.cloned();
        self.each(|member| member.set_link(link));
    }

    /// Gives a new handle the client. It is among the members already, so that it gets the next one.
    pub(crate) fn connect(&self, member: &Member) {
        let current = self.link.lock().unwrap_or_else(PoisonError::into_inner);
        member.set_link(current.as_ref());
    }
}

impl ReportListener for Members {
    fn answered(&self, place: usize, partition: Partition, answers: &mut Vec<Answer>) {
        // Without a handle, it was closed without waiting for them.
        if let Some(member) = self.at(place) {
            answers.iter().filter(|(_, at)| at.is_err()).for_each(|_| member.metrics.lost());
            member.lanes.answered(partition, answers.drain(..));
        }
        answers.clear();
    }

    fn tell_waiters(&self, place: usize, partition: Partition) {
        if let Some(member) = self.at(place) {
            member.lanes.publish(partition);
        }
    }

    fn client_error(&self) {
        self.each(|member| member.metrics.client_error());
    }
}

impl Member {
    /// The client of the handle from now on.
    fn set_link(&self, link: Option<&Arc<Link>>) {
        let outlet = link.map(|link| -> Arc<dyn Outlet> {
            let (link, topic) = (Arc::clone(link), Arc::clone(&self.topic));
            Arc::new(TopicOutlet { link, topic, place: self.place })
        });
        self.lanes.set_outlet(outlet.as_ref());
    }

    /// Hands over what waits in all lanes, as far as it is due. Says whether there is more at once.
    pub(crate) fn hand_over_all(&self, now: Instant) -> bool {
        let (mut more, writer) = (false, self.lanes.writer);
        for (partition, lane) in self.lanes.iter().filter(|(_, lane)| lane.has_waiting()) {
            let handed = self.lanes.change(lane.lock(), Held::default(), |state, clean| {
                let handed = state.hand_over(partition, writer, now, clean);
                lane.set_waiting(!state.core.ledger().all_are_handed());
                handed
            });
            for refusal in handed.refused {
                self.metrics.lost();
                warn!(topic = &*self.topic, %refusal, "a write cannot be sent");
            }
            more |= handed.more;
        }
        more
    }

    /// Brings the metrics up to date, and tells when the database begins or ceases to lag.
    pub(crate) fn measure(&self, now: Instant) {
        let glance = self.lanes.glance(now);
        self.metrics.measured(&glance);
        let (replicated, persisted) = (glance.replicated_lag, glance.persisted_lag);
        let topic = &*self.topic;
        match self.lag.look(persisted) {
            Some(Lagging::Begins) => {
                warn!(topic, ?replicated, ?persisted, "the database lags behind");
                self.lanes.events.tell(|| Event::Lagging { replicated, persisted });
            }
            Some(Lagging::Ends) => {
                info!(topic, "the database has caught up");
                self.lanes.events.tell(|| Event::CaughtUp);
            }
            None => {}
        }
    }
}
