//! The thread that makes a client send what it has without waiting for `linger.ms`.
//!
//! `linger.ms` is a setting of the whole client, and a second client would put records of one
//! partition out of order. But librdkafka does not linger while it is being flushed, so a write that
//! must not wait flushes the client, for as long as it would have waited. What else is queued leaves
//! too, in its order.

use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{OnceLock, Weak};
use std::thread::Builder;
use std::time::Duration;

use tracing::warn;
use write_behind_shared::kafka::KafkaSettings;

/// Starts the thread when it is asked for the first time: most clients never have such a write.
#[derive(Debug, Default)]
pub(crate) struct SendNow {
    /// For how long the client does not linger; none: it never does.
    linger: Option<Duration>,
    /// Dropping it ends the thread.
    asked: OnceLock<Option<SyncSender<()>>>,
}

/// The client as the thread sees it.
pub(crate) trait Lingers: Send + Sync + 'static {
    /// Sends what is queued. Blocks until it is answered, at most this long.
    fn send_now(&self, at_most: Duration);
}

impl SendNow {
    /// For a client that waits so long before it sends.
    pub(crate) fn new(linger: Duration) -> Self {
        Self { linger: (!linger.is_zero()).then_some(linger), asked: OnceLock::new() }
    }

    /// What was queued by now is sent. Never blocks: it is called under a partition's lock.
    pub(crate) fn ask<C: Lingers>(&self, client: impl FnOnce() -> Weak<C>) {
        let Some(linger) = self.linger else { return };
        let asked = self.asked.get_or_init(|| start(client(), linger));
        if let Some(asked) = asked {
            // One that waits to be heard is heard after this: it stands for both.
            let _ = asked.try_send(());
        }
    }
}

fn start<C: Lingers>(client: Weak<C>, linger: Duration) -> Option<SyncSender<()>> {
    let (asked, hears): (_, Receiver<()>) = sync_channel(1);
    let run = move || {
        while hears.recv().is_ok() {
            let Some(client) = client.upgrade() else { return };
            client.send_now(linger);
        }
    };
    match Builder::new().name("write-behind-send-now".to_owned()).spawn(run) {
        Ok(_) => Some(asked),
        Err(error) => {
            warn!(%error, "without a thread for it, urgent writes wait for `linger.ms`");
            None
        }
    }
}

/// How long a client with these settings waits for more records before it sends.
pub(crate) fn linger_of(settings: &KafkaSettings, default: &str) -> Duration {
    // One property with two names; librdkafka's own rule is that the later one wins, which is not
    // known here, so the longer one counts.
    let names = ["linger.ms", "queue.buffering.max.ms"];
    let set = names.iter().filter_map(|name| settings.get(name));
    let millis = |text: &str| text.trim().parse::<f64>().ok();
    let longest = set.filter_map(millis).reduce(f64::max).or_else(|| millis(default));
    Duration::try_from_secs_f64(longest.unwrap_or_default() / 1_000.0).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::mpsc::{Sender, channel};

    use super::*;

    struct Client(Sender<Duration>);

    impl Lingers for Client {
        fn send_now(&self, at_most: Duration) {
            self.0.send(at_most).unwrap();
        }
    }

    #[test]
    fn a_client_that_lingers_is_flushed_for_as_long_as_it_would_linger_and_the_thread_ends_with_it()
    {
        let (told, flushes) = channel();
        let client = Arc::new(Client(told));
        let send_now = SendNow::new(Duration::from_millis(5));
        send_now.ask(|| Arc::downgrade(&client));
        assert_eq!(flushes.recv(), Ok(Duration::from_millis(5)));
        send_now.ask(|| Arc::downgrade(&client));
        assert_eq!(flushes.recv(), Ok(Duration::from_millis(5)));
        drop((client, send_now));
        assert!(flushes.recv().is_err(), "nobody has the client any more");
    }

    #[test]
    fn a_client_that_does_not_linger_needs_no_thread() {
        let send_now = SendNow::new(Duration::ZERO);
        send_now.ask(|| -> Weak<Client> { panic!("asked for the client") });
    }

    #[test]
    fn the_time_is_the_longest_that_either_name_of_the_property_says() {
        let settings = |more: &[(&str, &str)]| {
            let properties = [("bootstrap.servers", "localhost")].into_iter();
            KafkaSettings::new(properties.chain(more.iter().copied()), &[]).unwrap()
        };
        let millis = Duration::from_millis;
        assert_eq!(linger_of(&settings(&[]), "5"), millis(5));
        assert_eq!(linger_of(&settings(&[("linger.ms", "0.5")]), "5"), Duration::from_micros(500));
        let both = [("linger.ms", "20"), ("queue.buffering.max.ms", "30")];
        assert_eq!(linger_of(&settings(&both), "5"), millis(30));
        assert_eq!(linger_of(&settings(&[("linger.ms", "0")]), "5"), Duration::ZERO);
        assert_eq!(linger_of(&settings(&[("linger.ms", "-1")]), "5"), Duration::ZERO);
    }
}
