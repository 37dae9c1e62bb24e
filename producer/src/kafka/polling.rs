//! The polling thread of a Kafka client: it takes answers, hands over what had to wait, and
//! replaces a client that has failed for good.
//!
//! librdkafka fails for good when it can no longer promise order and exactly-once. Then a new
//! client sends what was not answered again, in order and under the same `write-id`s; the consumer
//! drops what it has seen.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{park_timeout, yield_now};
use std::time::{Duration, Instant};

use tracing::{error, info, warn};

use crate::core::reason::Reason;
use crate::error::BuildError;
use crate::event::Event;
use crate::kafka::handles::ClientHandles;
use crate::kafka::producer_client::{MakeClient, ProducerClient};

/// What the polling thread remembers from turn to turn.
pub(crate) struct Polling {
    make_client: Box<MakeClient>,
    handles: Arc<ClientHandles>,
    /// Answers came while the thread waited for them.
    answered: bool,
    /// A partition needs another client before it can go on.
    is_stuck: bool,
    /// The last client ended over writes of a partition, which are told of by themselves.
    was_well: bool,
    /// When the metrics were brought up to date.
    measured: Instant,
    /// When the client was made.
    made: Instant,
    /// When a new client may be made. It is not known before the failed one has ended, which may
    /// take a while: the turn after that counts the delay.
    replace_at: Option<Instant>,
    replace_delay: Duration,
}

/// What to wait for before the next turn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Wait {
    /// Nothing: there is more to hand over.
    ForNothing,
    /// An answer, for no longer than this.
    ForAnswer(Duration),
    /// This long, so that more answers gather or a new client may be made.
    Park(Duration),
}

/// How long the thread waits for an answer when none have come lately. A poll spins for the last
/// part of a millisecond of its time, because librdkafka counts in whole ones, so it is not short.
const IDLE_POLL: Duration = Duration::from_millis(50);
/// A shorter wait would be none at all, because librdkafka counts in whole milliseconds.
const SHORTEST_POLL: Duration = Duration::from_millis(1);
/// How long answers are left to gather while they keep coming. It bounds how late waiters learn of
/// their watermark under load.
const GATHER: Duration = Duration::from_millis(1);
/// How often the metrics are brought up to date.
const METRICS_INTERVAL: Duration = Duration::from_millis(100);
/// Polls of one turn at most, so that waiters are told however many answers keep coming.
const POLLS_OF_A_TURN: usize = 64;
/// Why a client is replaced that has not failed.
const STUCK: &str = "it keeps some writes of a partition, and gave others back";
const SMALLER_BATCHES: &str = "a topic takes smaller batches only";
/// How long it takes at least to replace a client that has failed, and at most if that goes on.
const REPLACE_DELAY: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(10));
/// A client that lived this long had recovered.
const HAD_RECOVERED: Duration = Duration::from_mins(1);

impl Polling {
    /// Makes the first client.
    pub(crate) fn start(
        make_client: Box<MakeClient>,
        handles: Arc<ClientHandles>,
        now: Instant,
    ) -> Result<Self, BuildError> {
        let client = make_client(Arc::<ClientHandles>::clone(&handles))?;
        handles.set_producer(Some(&client));
        Ok(Self {
            make_client,
            handles,
            answered: false,
            is_stuck: false,
            was_well: false,
            measured: now,
            made: now,
            replace_at: None,
            replace_delay: REPLACE_DELAY.0,
        })
    }

    /// Polls until it is stopped, then ends the client.
    pub(crate) fn run(&mut self, stopped: &AtomicBool) {
        while !stopped.load(Ordering::Acquire) {
            match self.turn(Instant::now()) {
                // Those who wait for the lock of a partition get it: it is not handed on by itself.
                Wait::ForNothing => yield_now(),
                Wait::ForAnswer(time) => self.wait_for_answer(time),
                Wait::Park(time) => park_timeout(time),
            }
        }
        self.end(Instant::now());
    }

    /// Takes what answers there are, hands over what waits, and replaces the client if it has
    /// failed for good. Never blocks.
    pub(crate) fn turn(&mut self, now: Instant) -> Wait {
        let mut busy = std::mem::take(&mut self.answered);
        let (mut wait, mut more) = (None, false);
        match self.handles.producer() {
            Some(client) => {
                busy |= drain(&*client);
                client.tell_handles();
                let stuck = std::mem::take(&mut self.is_stuck).then_some(STUCK);
                let ends = self.handles.take_wants_another().then_some(SMALLER_BATCHES).or(stuck);
                if let Some(reason) = client.fatal_error() {
                    self.give_up(&*client, &reason, self.handles.take_gave_back(), now);
                } else if let Some(reason) = ends {
                    self.give_up(&*client, &reason.into(), true, now);
                }
            }
            None => wait = Some(Wait::Park(self.make_another(now))),
        }
        self.handles.each(|handle| {
            let handed = handle.hand_over_all(now);
            more |= handed.more;
            self.is_stuck |= handed.is_stuck;
            handle.partitions.turn_ends();
        });
        if now.saturating_duration_since(self.measured) >= METRICS_INTERVAL {
            self.measured = now;
            self.handles.each(|handle| handle.measure(now));
        }
        match wait {
            Some(wait) => wait,
            None if more => Wait::ForNothing,
            None if busy => Wait::Park(GATHER),
            None => self.wait_when_idle(),
        }
    }

    /// Waits for an answer; the next turn takes those that come with it.
    pub(crate) fn wait_for_answer(&mut self, time: Duration) {
        // Without a client, it failed for good in the last turn; the next one makes another.
        if let Some(client) = self.handles.producer() {
            self.answered |= client.poll(time);
        }
    }

    /// Ends the client: what Kafka has not answered can't be waited for any longer.
    pub(crate) fn end(&mut self, now: Instant) {
        self.handles.each(|handle| {
            handle.partitions.stop_intake();
            let undelivered = handle.partitions.stats(now).in_flight;
            if undelivered > 0 {
                let topic = &*handle.topic;
                warn!(topic, undelivered, "closed with writes that kafka has not answered");
            }
        });
        let client = self.handles.producer();
        self.handles.set_producer(None);
        if let Some(client) = client {
            // The reports of what is purged tell each of those writes that its outcome is unknown.
            client.end(false);
        }
        self.handles.each(|handle| {
            handle.partitions.close();
            handle.measure(now);
        });
    }

    fn wait_when_idle(&self) -> Wait {
        let mut wait = IDLE_POLL;
        self.handles.each(|handle| {
            wait = wait.min(handle.coalesce.map_or(wait, |window| window / 8)).max(SHORTEST_POLL);
        });
        Wait::ForAnswer(wait)
    }

    /// The client failed for good. Its answers up to then count; the rest is sent again.
    /// `was_well`: it ended over a partition, which is told of by itself and waits. The others need
    /// not.
    fn give_up(
        &mut self,
        client: &dyn ProducerClient,
        reason: &Reason,
        was_well: bool,
        now: Instant,
    ) {
        // No write may reach the old client once it is purged, and none the new one before the old
        // one's reports are in: it would overtake those that are sent again.
        self.handles.set_producer(None);
        client.end(true);
        // What it could not deliver is among the last that it reports, if its end was seen first.
        let was_well = self.handles.take_gave_back() || was_well;
        self.was_well = was_well;
        if was_well {
            info!(%reason, "another kafka client takes over");
        } else {
            error!(%reason, "the kafka client failed for good and is replaced");
        }
        self.handles.each(|handle| {
            handle.partitions.requeue();
            if !was_well {
                handle.metrics.client_failed();
                let failed = || Event::ClientFailed { reason: reason.clone() };
                handle.partitions.events.tell(failed);
            }
        });
        let lately = !was_well && now.saturating_duration_since(self.made) < HAD_RECOVERED;
        self.replace_delay =
            if lately { (self.replace_delay * 2).min(REPLACE_DELAY.1) } else { REPLACE_DELAY.0 };
        self.replace_at = None;
    }

    /// Makes a client if one may be made by now. Says how long to wait before the next turn.
    fn make_another(&mut self, now: Instant) -> Duration {
        let replace_at = *self.replace_at.get_or_insert(now + self.replace_delay);
        let wait = replace_at.saturating_duration_since(now);
        if !wait.is_zero() {
            return wait.min(IDLE_POLL);
        }
        match (self.make_client)(Arc::<ClientHandles>::clone(&self.handles)) {
            Ok(client) => {
                self.handles.set_producer(Some(&client));
                self.made = now;
                info!("a new kafka client took over");
                if !self.was_well {
                    self.handles.each(|handle| handle.partitions.events.tell(|| Event::Recovered));
                }
                GATHER
            }
            Err(error) => {
                warn!(%error, "a new kafka client cannot be made yet");
                self.replace_at = Some(now + self.replace_delay);
                self.replace_delay.min(IDLE_POLL)
            }
        }
    }
}

/// Takes what answers there are. Says whether there were any.
fn drain(client: &dyn ProducerClient) -> bool {
    let mut answered = false;
    for _ in 0..POLLS_OF_A_TURN {
        if !client.poll(Duration::ZERO) {
            break;
        }
        answered = true;
    }
    answered
}

#[cfg(test)]
#[path = "tests/polling.rs"]
mod tests;
