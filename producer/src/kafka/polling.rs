//! The polling thread of a Kafka client: it polls for answers, hands over what had to wait, and
//! replaces a client that has failed for good.
//!
//! librdkafka fails for good when it can no longer promise order and exactly-once. Then a new client
//! sends what was not answered again, in order and under the same `write-id`s; the consumer drops
//! what it has seen.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::park_timeout;
use std::time::{Duration, Instant};

use tracing::{error, info, warn};
use write_behind_shared::kafka::KafkaSettings;

use crate::event::Event;
use crate::kafka::handles::ClientHandles;
use crate::kafka::producer::KafkaProducer;

/// What the polling thread remembers from turn to turn.
pub(crate) struct Polling {
    settings: KafkaSettings,
    handles: Arc<ClientHandles>,
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
/// Polls of one turn at most, so that waiters are told however many answers keep coming.
const POLLS_OF_A_TURN: usize = 64;
/// How long it takes at least to replace a client that has failed, and at most if that goes on.
const REPLACE_DELAY: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(10));
/// A client that lived so long had recovered.
const HAD_RECOVERED: Duration = Duration::from_mins(1);

impl Polling {
    pub(crate) fn new(settings: KafkaSettings, handles: Arc<ClientHandles>) -> Self {
        Self {
            settings,
            handles,
            idle: true,
            replace_at: Instant::now(),
            replace_delay: REPLACE_DELAY.0,
        }
    }

    /// Polls until it is stopped, then ends the client.
    pub(crate) fn run(&mut self, stopped: &AtomicBool) {
        let mut measured = Instant::now();
        while !stopped.load(Ordering::Acquire) {
            self.turn();
            if measured.elapsed() >= METRICS_INTERVAL {
                measured = Instant::now();
                self.handles.each(|handle| handle.measure(measured));
            }
        }
        // What is still here can't be waited for any longer. The reports of what is purged tell
        // each of those writes so.
        self.handles.each(|handle| {
            handle.partitions.stop_intake();
            let undelivered = handle.partitions.stats(Instant::now()).in_flight;
            if undelivered > 0 {
                let topic = &*handle.topic;
                warn!(topic, undelivered, "closed with writes that kafka has not answered");
            }
        });
        let producer = self.handles.producer();
        self.handles.set_producer(None);
        if let Some(producer) = producer {
            producer.end(false);
        }
        self.handles.each(|handle| {
            handle.partitions.close();
            handle.measure(Instant::now());
        });
    }

    /// Takes answers, lets go what waits, and replaces the client if it has failed for good.
    fn turn(&mut self) {
        match self.handles.producer() {
            Some(producer) => {
                self.poll(&producer);
                producer.tell_handles();
                if let Some(reason) = producer.fatal_error() {
                    self.give_up(&producer, &reason);
                }
            }
            None => self.make_another(),
        }
        let now = Instant::now();
        let mut more = false;
        self.handles.each(|handle| {
            more |= handle.hand_over_all(now);
            handle.partitions.turn_ends();
        });
        self.idle &= !more;
    }

    /// Blocks when idle; otherwise takes what there is and lets more gather.
    fn poll(&mut self, producer: &KafkaProducer) {
        let mut answered = false;
        if self.idle {
            let mut wait = IDLE_POLL;
            self.handles.each(|handle| {
                wait =
                    wait.min(handle.coalesce.map_or(wait, |window| window / 8)).max(SHORTEST_POLL);
            });
            answered = producer.poll(wait);
        } else {
            for _ in 0..POLLS_OF_A_TURN {
                if !producer.poll(Duration::ZERO) {
                    break;
                }
                answered = true;
            }
            park_timeout(GATHER);
        }
        self.idle = !answered;
    }

    /// The client failed for good. Its answers up to then count; the rest is sent again.
    fn give_up(&mut self, producer: &KafkaProducer, reason: &Arc<str>) {
        error!(%reason, "the kafka client failed for good and is replaced");
        self.handles.set_producer(None);
        producer.end(true);
        self.handles.each(|handle| {
            handle.metrics.client_failed();
            handle.partitions.requeue();
            handle.partitions.events.tell(|| Event::ClientFailed { reason: Arc::clone(reason) });
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
        match KafkaProducer::new(&self.settings, Arc::<ClientHandles>::clone(&self.handles)) {
            Ok(producer) => {
                self.handles.set_producer(Some(&Arc::new(producer)));
                self.idle = false;
                info!("a new kafka client took over");
                self.handles.each(|handle| handle.partitions.events.tell(|| Event::Recovered));
            }
            Err(error) => {
                warn!(%error, "a new kafka client cannot be made yet");
                self.replace_at = Instant::now() + self.replace_delay;
            }
        }
    }
}
