//! Events: what happens to a handle apart from the calls on it, told to every listener.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::sync::broadcast;
use tokio::sync::broadcast::error::RecvError;

use crate::core::reason::Reason;
use crate::error::DeliveryError;

/// Something that the service may want to act on.
///
/// Each is logged too, at level `warn` where something is wrong. Lost writes and dead letters come
/// by the thousand when a topic goes away, so the log has one line per partition and reason, with
/// how many writes they were, at most ten times a second; here each is told.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Event {
    /// An accepted write failed, or whether it is in the log cannot be told. Those who wait for the
    /// write get the same error; if nobody does, the next [`persisted_all`](crate::WriteBehind::persisted_all),
    /// [`replicated_all`](crate::WriteBehind::replicated_all) or
    /// [`close`](crate::WriteBehind::close) returns it.
    WriteLost {
        /// The row's canonical key.
        key: String,
        /// How it ended.
        error: DeliveryError,
    },
    /// The database refused a write of this handle; it is among the dead letters, and reads no
    /// longer see it. Told only if the loader knows of dead letters, as the table loaders do.
    DeadLetter {
        /// The row's canonical key.
        key: String,
        /// The record's partition.
        partition: i32,
        /// The record's offset.
        offset: i64,
        /// Why, as the consumer wrote it down.
        reason: String,
    },
    /// Records were gone from the log before they were read here: retention passed them, or the
    /// topic was recreated. Reads of this partition may be behind until the database has them.
    LogLost {
        /// The partition.
        partition: i32,
        /// The records below this offset are gone.
        below: i64,
    },
    /// Kafka answers a handle that was built while it was away
    /// ([`start_offline`](crate::Builder::start_offline)): what was written meanwhile is sent.
    Connected,
    /// The Kafka client gave up for good, as it must when it can no longer promise order. It is
    /// being replaced, and what it had not delivered will be sent again, in order.
    ClientFailed {
        /// What it said.
        reason: Reason,
    },
    /// A new Kafka client took over.
    Recovered,
    /// Kafka does not take the writes of a partition now, for a reason that may pass: the topic is
    /// unknown or not for this client, say. They are kept, and tried again with ever longer waits,
    /// up to 30 s, until Kafka takes them or the handle is closed. New writes are accepted as long
    /// as there is room. Told once.
    WritesHeld {
        /// The partition.
        partition: i32,
        /// What Kafka or its client said.
        reason: Reason,
    },
    /// Kafka takes the writes of a partition again.
    WritesResumed {
        /// The partition.
        partition: i32,
    },
    /// The oldest write that is not in the database is older than
    /// [`lagging_after`](crate::Builder::lagging_after).
    Lagging {
        /// Age of the oldest write that Kafka has not answered.
        replicated: Duration,
        /// Age of the oldest write that is not in the database.
        persisted: Duration,
    },
    /// The oldest write that is not in the database is again younger than half of
    /// [`lagging_after`](crate::Builder::lagging_after).
    CaughtUp,
    /// Writes have waited for five seconds, and the sink group has never committed an offset of the
    /// topic: is its name right, and does its consumer run? Told once.
    NeverCommitted {
        /// The sink group.
        group: Arc<str>,
    },
    /// This many events were missed, because more than 1,024 waited to be taken.
    Missed(u64),
}

/// The events of a handle from the call of [`events`](crate::WriteBehind::events) on.
#[derive(Debug)]
pub struct EventStream(broadcast::Receiver<Event>);

impl EventStream {
    /// Waits for the next event; `None` when the handle and all its clones are gone. Cancelled, it
    /// misses none.
    pub async fn next(&mut self) -> Option<Event> {
        match self.0.recv().await {
            Ok(event) => Some(event),
            Err(RecvError::Lagged(missed)) => Some(Event::Missed(missed)),
            Err(RecvError::Closed) => None,
        }
    }

    /// The next event, if there is one.
    #[cfg(test)]
    pub(crate) fn try_next(&mut self) -> Option<Event> {
        self.0.try_recv().ok()
    }
}

/// Whether a handle lags.
#[derive(Debug)]
pub(crate) struct Lag {
    after: Duration,
    lags: AtomicBool,
}

/// What changed since the last look.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Lagging {
    Begins,
    Ends,
}

impl Lag {
    /// Lagging is what is older than `after`, until it is younger than half of that.
    pub(crate) fn new(after: Duration) -> Self {
        Self { after, lags: AtomicBool::new(false) }
    }

    pub(crate) fn look(&self, age: Duration) -> Option<Lagging> {
        let lagged = self.lags.load(Ordering::Relaxed);
        let lags = if lagged { age >= self.after / 2 } else { age > self.after };
        self.lags.store(lags, Ordering::Relaxed);
        match (lagged, lags) {
            (false, true) => Some(Lagging::Begins),
            (true, false) => Some(Lagging::Ends),
            _ => None,
        }
    }
}

/// Events that are kept for a listener that is slow.
const KEPT: usize = 1_024;

/// Where events are told.
#[derive(Debug)]
pub(crate) struct Events(broadcast::Sender<Event>);

impl Default for Events {
    fn default() -> Self {
        Self(broadcast::Sender::new(KEPT))
    }
}

impl Events {
    /// Tells an event, if anybody listens.
    pub(crate) fn tell(&self, event: impl FnOnce() -> Event) {
        if self.0.receiver_count() > 0 {
            // It fails when the last listener went away just now, which is as well.
            let _ = self.0.send(event());
        }
    }

    pub(crate) fn listen(&self) -> EventStream {
        EventStream(self.0.subscribe())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lagging_is_told_once_and_so_is_its_end() {
        let lag = Lag::new(Duration::from_secs(10));
        let seen: Vec<_> =
            [1, 11, 12, 9, 6, 4, 1, 11].map(|age| lag.look(Duration::from_secs(age))).into();
        let (begins, ends) = (Some(Lagging::Begins), Some(Lagging::Ends));
        assert_eq!(seen, [None, begins, None, None, None, ends, None, begins]);
    }

    #[tokio::test]
    async fn who_listens_too_slowly_is_told_how_much_was_missed() {
        let events = Events::default();
        events.tell(|| Event::Recovered);
        let mut stream = events.listen();
        for _ in 0..KEPT + 3 {
            events.tell(|| Event::CaughtUp);
        }
        assert_eq!(stream.next().await, Some(Event::Missed(3)), "not what was before it listened");
        assert_eq!(stream.next().await, Some(Event::CaughtUp));
        drop(events);
        for _ in 1..KEPT {
            assert_eq!(stream.next().await, Some(Event::CaughtUp));
        }
        assert_eq!(stream.next().await, None);
    }
}
