//! A Kafka client and the handles that share it: polls for answers on a thread, hands over what had
//! to wait, and replaces a client that has failed for good.
//!
//! librdkafka fails for good when it can no longer promise order and exactly-once. Then a new client
//! sends what was not answered again, in order and under the same `write-id`s; the consumer drops
//! what it has seen.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::thread::{Builder as ThreadBuilder, JoinHandle, park_timeout};
use std::time::{Duration, Instant};

use serde::Serialize;
use serde::de::DeserializeOwned;
use tracing::{error, info, warn};
use write_behind_shared::kafka::{KafkaSettings, RESERVED_BY_PRODUCER};

use crate::admission::Held;
use crate::builder::Builder;
use crate::error::BuildError;
use crate::event::{Event, Lag, Lagging};
use crate::lanes::Lanes;
use crate::ledger::HANDLE_BITS;
use crate::metrics::Metrics;
use crate::publish::{Address, Link};

/// A Kafka client that several handles share: one set of connections, one queue, one thread.
///
/// [`WriteBehind::builder`](crate::WriteBehind::builder) makes one for its handle alone. Clones are
/// the same client; it ends when the last of them and of its handles is gone.
#[derive(Clone)]
pub struct Kafka(Arc<Shared>);

struct Shared {
    settings: KafkaSettings,
    members: Arc<Members>,
    stop: Arc<AtomicBool>,
    polling: Mutex<Option<JoinHandle<()>>>,
}

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
    pub(crate) address: Address,
    pub(crate) lanes: Arc<Lanes>,
    pub(crate) metrics: Arc<Metrics>,
    /// How long writes are gathered at most.
    pub(crate) coalesce: Option<Duration>,
    lag: Lag,
}

/// The polling thread's own.
struct Polling {
    settings: KafkaSettings,
    members: Arc<Members>,
    idle: bool,
    /// When a new client may be made.
    replace_at: Instant,
    replace_delay: Duration,
}

/// How long the thread blocks in a poll when no answers have come lately. A poll spins for the last
/// part of a millisecond of its time, because librdkafka counts in whole ones, so it is not short.
const IDLE_POLL: Duration = Duration::from_millis(50);
/// A shorter wait would be none at all, because librdkafka counts in whole milliseconds.
const SHORTEST_POLL: Duration = Duration::from_millis(1);
/// How long answers are left to gather while they keep coming. It bounds how late waiters learn of
/// their watermark under load.
const GATHER: Duration = Duration::from_millis(1);
/// How often the metrics are brought up to date.
const METRICS_INTERVAL: Duration = Duration::from_millis(100);
/// Polls of one turn at most, so that whoever waits is told however many answers keep coming.
const POLLS_OF_A_TURN: usize = 64;
/// How long it takes at least to replace a client that has failed, and at most if that goes on.
const REPLACE_DELAY: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(10));
/// A client that lived so long had recovered.
const HAD_RECOVERED: Duration = Duration::from_mins(1);

impl Kafka {
    /// A client with these librdkafka properties. It connects when the first handle is built.
    ///
    /// # Errors
    /// [`BuildError`]: a property is wrong or reserved, or no broker is named.
    pub fn new(
        properties: impl IntoIterator<Item = (impl Into<String>, impl Into<String>)>,
    ) -> Result<Self, BuildError> {
        let settings = KafkaSettings::new(properties, RESERVED_BY_PRODUCER)?;
        let members = Arc::new(Members::default());
        let link = Arc::new(Link::new(&settings, Arc::clone(&members))?);
        members.set_link(Some(&link));
        let stop = Arc::new(AtomicBool::new(false));
        let mut polling = Polling {
            settings: settings.clone(),
            members: Arc::clone(&members),
            idle: true,
            replace_at: Instant::now(),
            replace_delay: REPLACE_DELAY.0,
        };
        let stopped = Arc::clone(&stop);
        let builder = ThreadBuilder::new().name("write-behind-publish".to_owned());
        let thread = builder.spawn(move || polling.run(&stopped))?;
        Ok(Self(Arc::new(Shared { settings, members, stop, polling: Mutex::new(Some(thread)) })))
    }

    /// A handle on the rows of `topic` that uses this client.
    pub fn builder<K, V>(&self, topic: impl Into<String>) -> Builder<K, V>
    where
        K: Serialize + Clone + Send + Sync + 'static,
        V: Serialize + DeserializeOwned,
    {
        Builder::new(topic.into(), Ok(self.clone()))
    }

    pub(crate) fn settings(&self) -> &KafkaSettings {
        &self.0.settings
    }

    /// Lets a handle use the client.
    pub(crate) fn join(
        &self,
        topic: &str,
        lanes: &Arc<Lanes>,
        metrics: &Arc<Metrics>,
        (coalesce, lagging_after): (Option<Duration>, Duration),
    ) -> Result<Arc<Member>, BuildError> {
        let member = self.0.members.add(|place| Member {
            address: Address { topic: topic.to_owned(), place },
            lanes: Arc::clone(lanes),
            metrics: Arc::clone(metrics),
            coalesce,
            lag: Lag::new(lagging_after),
        })?;
        self.0.members.connect(&member);
        Ok(member)
    }

    /// A handle no longer uses the client. If it was the last, the client ends: what Kafka has not
    /// answered is given up, and this blocks until that is told.
    pub(crate) fn leave(self, member: &Member) {
        let members = Arc::clone(&self.0.members);
        if let Some(shared) = Arc::into_inner(self.0) {
            shared.stop.store(true, Ordering::Release);
            let thread = shared.polling.lock().unwrap_or_else(PoisonError::into_inner).take();
            if thread.is_some_and(|thread| thread.join().is_err()) {
                error!("the polling thread panicked");
            }
        }
        member.lanes.close();
        members.remove(member.address.place);
        member.measure(Instant::now());
    }

    /// The same without waiting for anything.
    pub(crate) fn abandon(self, member: &Member) {
        member.lanes.stop_intake();
        if Arc::strong_count(&self.0) > 1 {
            member.lanes.close();
            self.0.members.remove(member.address.place);
        }
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Release);
    }
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

    fn add(&self, member: impl FnOnce(usize) -> Member) -> Result<Arc<Member>, BuildError> {
        let mut by_place = self.by_place.write().unwrap_or_else(PoisonError::into_inner);
        let place = by_place.len();
        if place >> HANDLE_BITS > 0 {
            return Err(BuildError::Limit("a Kafka client has had too many handles: make another"));
        }
        let member = Arc::new(member(place));
        by_place.push(Some(Arc::clone(&member)));
        Ok(member)
    }

    fn remove(&self, place: usize) {
        let mut by_place = self.by_place.write().unwrap_or_else(PoisonError::into_inner);
        if let Some(member) = by_place.get_mut(place) {
            *member = None;
        }
    }

    fn link(&self) -> Option<Arc<Link>> {
        self.link.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The client of all handles from now on; with none, their writes wait for the next.
    fn set_link(&self, link: Option<&Arc<Link>>) {
        let mut current = self.link.lock().unwrap_or_else(PoisonError::into_inner);
        *current = link.cloned();
        self.each(|member| member.lanes.set_link(link));
    }

    /// Gives a new handle the client. It is among the members already, so that it gets the next one.
    fn connect(&self, member: &Member) {
        let current = self.link.lock().unwrap_or_else(PoisonError::into_inner);
        member.lanes.set_link(current.as_ref());
    }
}

impl Polling {
    fn run(&mut self, stopped: &AtomicBool) {
        let mut measured = Instant::now();
        while !stopped.load(Ordering::Acquire) {
            self.turn();
            if measured.elapsed() >= METRICS_INTERVAL {
                measured = Instant::now();
                self.members.each(|member| member.measure(measured));
            }
        }
        // What is still here can't be waited for any longer. The reports of what is purged tell
        // each of those writes so.
        self.members.each(|member| {
            member.lanes.stop_intake();
            let undelivered = member.lanes.glance(Instant::now()).in_flight;
            if undelivered > 0 {
                let topic = &member.address.topic;
                warn!(topic, undelivered, "closed with writes that kafka has not answered");
            }
        });
        let link = self.members.link();
        self.members.set_link(None);
        if let Some(link) = link {
            link.end(false);
        }
        self.members.each(|member| {
            member.lanes.close();
            member.measure(Instant::now());
        });
    }

    /// Takes answers, lets go what waits, and replaces the client if it has failed for good.
    fn turn(&mut self) {
        match self.members.link() {
            Some(link) => {
                self.poll(&link);
                link.tell_lanes();
                if let Some(reason) = link.fatal_error() {
                    self.give_up(&link, &reason);
                }
            }
            None => self.make_another(),
        }
        let now = Instant::now();
        let mut more = false;
        self.members.each(|member| {
            more |= member.hand_over_all(now);
            member.lanes.turn_ends();
        });
        self.idle &= !more;
    }

    /// Blocks when idle; otherwise takes what there is and lets more gather.
    fn poll(&mut self, link: &Link) {
        let mut answered = false;
        if self.idle {
            let mut wait = IDLE_POLL;
            self.members.each(|member| {
                wait =
                    wait.min(member.coalesce.map_or(wait, |window| window / 8)).max(SHORTEST_POLL);
            });
            answered = link.poll(wait);
        } else {
            for _ in 0..POLLS_OF_A_TURN {
                if !link.poll(Duration::ZERO) {
                    break;
                }
                answered = true;
            }
            park_timeout(GATHER);
        }
        self.idle = !answered;
    }

    /// The client failed for good. Its answers up to then count; the rest is sent again.
    fn give_up(&mut self, link: &Link, reason: &Arc<str>) {
        error!(%reason, "the kafka client failed for good and is replaced");
        self.members.set_link(None);
        link.end(true);
        self.members.each(|member| {
            member.metrics.client_failed();
            member.lanes.take_back();
            member.lanes.events.tell(|| Event::ClientFailed { reason: Arc::clone(reason) });
        });
        let now = Instant::now();
        let lately = now.saturating_duration_since(self.replace_at) < HAD_RECOVERED;
        self.replace_delay =
            if lately { (self.replace_delay * 2).min(REPLACE_DELAY.1) } else { REPLACE_DELAY.0 };
        self.replace_at = now + self.replace_delay;
    }

    fn make_another(&mut self) {
        let wait = self.replace_at.saturating_duration_since(Instant::now());
        if !wait.is_zero() {
            park_timeout(wait.min(IDLE_POLL));
            return;
        }
        match Link::new(&self.settings, Arc::clone(&self.members)) {
            Ok(link) => {
                self.members.set_link(Some(&Arc::new(link)));
                self.idle = false;
                info!("a new kafka client took over");
                self.members.each(|member| member.lanes.events.tell(|| Event::Recovered));
            }
            Err(error) => {
                warn!(%error, "a new kafka client cannot be made yet");
                self.replace_at = Instant::now() + self.replace_delay;
            }
        }
    }
}

impl Member {
    /// Hands over what waits in all lanes, as far as it is due. Says whether there is more at once.
    fn hand_over_all(&self, now: Instant) -> bool {
        let mut more = false;
        for (partition, lane) in self.lanes.iter().filter(|(_, lane)| lane.has_waiting()) {
            more |= self.lanes.change(lane.lock(), Held::default(), |state, _| {
                let more = self.hand_over(partition, state, now);
                lane.set_waiting(!state.core.ledger().all_are_handed());
                more
            });
        }
        more
    }

    fn measure(&self, now: Instant) {
        let glance = self.lanes.glance(now);
        self.metrics.measured(&glance);
        let (replicated, persisted) = (glance.replicated_lag, glance.persisted_lag);
        let topic = &self.address.topic;
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

impl std::fmt::Debug for Kafka {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Kafka").field("settings", &self.0.settings).finish_non_exhaustive()
    }
}
